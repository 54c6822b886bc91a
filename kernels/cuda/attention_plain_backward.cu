/* attention_plain_backward.cu - attention on CUDA cores, backward, in fp32 whatever the storage (attention_plain.cu says for which
 * operands).
 *
 * With P = exp(S - lse) and D = rowsum(dout * attended),   dV = P^T dout,   dS = P * (dout V^T - D),   dQ = scale dS K,   dK = scale dS^T Q
 * (Dao 2023, arXiv 2307.08691). Two kernels, each with scores of its own, so that every sum has one owner and one order: dQ by tiles of
 * columns, dK and dV by tiles of keys, which go through the visits that see them. */
#include "kernels/cuda/attention_plain.cuh"

/* Columns and keys of a step. Heads above 128 take fewer, to stay within an A100's shared memory. */
template <int HEAD> struct PlainQueries {
    static constexpr int COLUMNS = HEAD > 128 ? 32 : 64, KEYS = 32, PITCH = HEAD + PLAIN_PAD, WEIGHTS_PITCH = KEYS + PLAIN_PAD;
    static constexpr int SHARES = ATTENTION_STEP / COLUMNS; /* blocks that share a tile */
    static constexpr int BYTES = (int)sizeof(float) * (2 * COLUMNS * PITCH + 2 * KEYS * PITCH + COLUMNS * WEIGHTS_PITCH);
};
template <int HEAD> struct PlainKeys {
    static constexpr int KEYS = HEAD > 128 ? 32 : 64, COLUMNS = 32, PITCH = HEAD + PLAIN_PAD, WEIGHTS_PITCH = COLUMNS + PLAIN_PAD;
    static constexpr int SHARES = ATTENTION_KEYS / KEYS; /* blocks that share a key tile */
    static constexpr int BYTES =
        (int)sizeof(float) * (2 * KEYS * PITCH + 2 * COLUMNS * PITCH + 2 * KEYS * WEIGHTS_PITCH + 2 * COLUMNS) + (int)sizeof(int) * COLUMNS;
};

template <typename T, int HEAD>
__global__ void __launch_bounds__(PLAIN_THREADS, Plain<HEAD>::BLOCKS) attention_plain_dq_kernel(AttentionCall c, int whole) {
    typedef PlainQueries<HEAD> P;
    constexpr int COLUMNS = P::COLUMNS, KEYS = P::KEYS, PITCH = P::PITCH, OWN = COLUMNS / PLAIN_SIDE;
    SHARED_DYN(float, queries);
    float *douts = queries + COLUMNS * PITCH, *keys = douts + COLUMNS * PITCH, *values = keys + KEYS * PITCH,
          *weights = values + KEYS * PITCH;
    int block = blockIdx.x / P::SHARES, first = (int)blockIdx.x % P::SHARES * COLUMNS;
    AttentionTile tile = c.lists.tiles[block / c.kv_heads];
    int kv_head = block % c.kv_heads, columns = tile.rows_n * c.lists.group, E = c.E, group = c.lists.group;
    int side = threadIdx.x % PLAIN_SIDE, own = (int)threadIdx.x / PLAIN_SIDE * OWN, warp_column = first + (int)threadIdx.x / 32 * 2 * OWN;
    if (first >= columns) return;
    rows_fill(queries, PITCH, COLUMNS, (const T *)c.q, E, whole,
        [&](int r) { return first + r < columns ? column_query(c, tile, kv_head, first + r) : (int64_t)-1; });
    rows_fill(douts, PITCH, COLUMNS, (const T *)c.dout, E, whole,
        [&](int r) { return first + r < columns ? column_head(c, tile, kv_head, first + r) * E : (int64_t)-1; });
    float sums[OWN][HEAD / PLAIN_SIDE], lses[OWN], deltas[OWN];
    UNROLL
    for (int i = 0; i < OWN; i++) {
        int there = first + own + i < columns;
        int64_t head = there ? column_head(c, tile, kv_head, first + own + i) : 0;
        lses[i] = there ? c.lse[head] : 0.0f;
        deltas[i] = there ? c.delta[head] : 0.0f;
        UNROLL
        for (int e = 0; e < HEAD / PLAIN_SIDE; e++) sums[i][e] = 0;
    }
    for (int s = 0; s < tile.sights_n; s++) {
        AttentionSight sight = c.lists.sights[tile.sight_first + s];
        int sees = columns_see_most(sight, warp_column, warp_column + 2 * OWN, group);
        for (int key = 0; key < columns_see_most(sight, first, first + COLUMNS, group); key += KEYS) {
            auto slot = [&](int r) {
                return key + r < sight.keys ? (sight.key_first + key + r) * c.kv_stride + (int64_t)kv_head * E : (int64_t)-1;
            };
            __syncthreads();
            rows_fill(keys, PITCH, KEYS, (const T *)c.k, E, whole, slot);
            rows_fill(values, PITCH, KEYS, (const T *)c.v, E, whole, slot);
            __syncthreads();
            if (sees <= key) continue;
            float scores[OWN][KEYS / PLAIN_SIDE], dscores[OWN][KEYS / PLAIN_SIDE];
            rows_dot(scores, queries, own, keys, side, PITCH, E);
            rows_dot(dscores, douts, own, values, side, PITCH, E);
            UNROLL
            for (int i = 0; i < OWN; i++) {
                int left = column_sees(sight, first + own + i, group) - key - side;
                UNROLL
                for (int j = 0; j < KEYS / PLAIN_SIDE; j++) {
                    float weight = j * PLAIN_SIDE < left ? expf(scores[i][j] * c.scale - lses[i]) : 0.0f;
                    weights[(own + i) * P::WEIGHTS_PITCH + side + j * PLAIN_SIDE] = weight * (dscores[i][j] - deltas[i]);
                }
            }
            __syncwarp(FULL_WARP);
            rows_weigh<OWN, HEAD>(sums, weights, P::WEIGHTS_PITCH, own, keys, PITCH, KEYS, E);
            __syncwarp(FULL_WARP);
        }
    }
    UNROLL
    for (int i = 0; i < OWN; i++)
        if (first + own + i < columns)
            share_store<T, HEAD>((T *)c.dq + column_query(c, tile, kv_head, first + own + i), sums[i], c.scale, E, whole);
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(PLAIN_THREADS, Plain<HEAD>::BLOCKS) attention_plain_dkv_kernel(AttentionCall c, int whole) {
    typedef PlainKeys<HEAD> P;
    constexpr int COLUMNS = P::COLUMNS, KEYS = P::KEYS, PITCH = P::PITCH, OWN = KEYS / PLAIN_SIDE;
    SHARED_DYN(float, keys);
    float *values = keys + KEYS * PITCH, *queries = values + KEYS * PITCH, *douts = queries + COLUMNS * PITCH,
          *weights = douts + COLUMNS * PITCH, *dweights = weights + KEYS * P::WEIGHTS_PITCH, *lses = dweights + KEYS * P::WEIGHTS_PITCH,
          *deltas = lses + COLUMNS;
    int *ends = (int *)(deltas + COLUMNS); /* the slot behind the last that a column sees */
    int block = blockIdx.x / P::SHARES, first = (int)blockIdx.x % P::SHARES * KEYS;
    AttentionKeyTile key_tile = c.lists.key_tiles[block / c.kv_heads];
    int kv_head = block % c.kv_heads, E = c.E, group = c.lists.group;
    int side = threadIdx.x % PLAIN_SIDE, own = (int)threadIdx.x / PLAIN_SIDE * OWN;
    if (first >= key_tile.slots_n) return;
    auto slot = [&](int r) {
        return first + r < key_tile.slots_n ? (key_tile.slot_first + first + r) * c.kv_stride + (int64_t)kv_head * E : (int64_t)-1;
    };
    rows_fill(keys, PITCH, KEYS, (const T *)c.k, E, whole, slot);
    rows_fill(values, PITCH, KEYS, (const T *)c.v, E, whole, slot);
    float dkeys[OWN][HEAD / PLAIN_SIDE], dvalues[OWN][HEAD / PLAIN_SIDE];
    UNROLL
    for (int i = 0; i < OWN; i++) UNROLL
    for (int e = 0; e < HEAD / PLAIN_SIDE; e++) dkeys[i][e] = dvalues[i][e] = 0;
    for (int v = 0; v < key_tile.visits_n * (ATTENTION_STEP / COLUMNS); v++) {
        AttentionVisit visit = c.lists.visits[key_tile.visit_first + v / (ATTENTION_STEP / COLUMNS)];
        AttentionTile tile = c.lists.tiles[visit.tile];
        AttentionSight sight = c.lists.sights[visit.sight];
        int column = visit.column + v % (ATTENTION_STEP / COLUMNS) * COLUMNS, columns = tile.rows_n * group;
        int sees = columns_see_most(sight, column, column + COLUMNS, group);
        if (sees == 0 || sight.key_first + sees <= key_tile.slot_first + first) continue;
        __syncthreads();
        rows_fill(queries, PITCH, COLUMNS, (const T *)c.q, E, whole,
            [&](int r) { return column + r < columns ? column_query(c, tile, kv_head, column + r) : (int64_t)-1; });
        rows_fill(douts, PITCH, COLUMNS, (const T *)c.dout, E, whole,
            [&](int r) { return column + r < columns ? column_head(c, tile, kv_head, column + r) * E : (int64_t)-1; });
        for (int r = threadIdx.x; r < COLUMNS; r += PLAIN_THREADS) {
            int there = column + r < columns;
            int64_t head = there ? column_head(c, tile, kv_head, column + r) : 0;
            lses[r] = there ? c.lse[head] : 0.0f;
            deltas[r] = there ? c.delta[head] : 0.0f;
            ends[r] = sight.key_first + column_sees(sight, column + r, group);
        }
        __syncthreads();
        float scores[OWN][COLUMNS / PLAIN_SIDE], dscores[OWN][COLUMNS / PLAIN_SIDE];
        rows_dot(scores, keys, own, queries, side, PITCH, E);
        rows_dot(dscores, values, own, douts, side, PITCH, E);
        UNROLL
        for (int i = 0; i < OWN; i++) {
            int at = key_tile.slot_first + first + own + i;
            UNROLL
            for (int j = 0; j < COLUMNS / PLAIN_SIDE; j++) {
                int r = side + j * PLAIN_SIDE;
                float weight = at >= sight.key_first && at < ends[r] ? expf(scores[i][j] * c.scale - lses[r]) : 0.0f;
                weights[(own + i) * P::WEIGHTS_PITCH + r] = weight;
                dweights[(own + i) * P::WEIGHTS_PITCH + r] = weight * (dscores[i][j] - deltas[r]);
            }
        }
        __syncwarp(FULL_WARP);
        rows_weigh<OWN, HEAD>(dvalues, weights, P::WEIGHTS_PITCH, own, douts, PITCH, COLUMNS, E);
        rows_weigh<OWN, HEAD>(dkeys, dweights, P::WEIGHTS_PITCH, own, queries, PITCH, COLUMNS, E);
    }
    UNROLL
    for (int i = 0; i < OWN; i++) {
        if (first + own + i >= key_tile.slots_n) continue;
        share_store<T, HEAD>((T *)c.dk + slot(own + i), dkeys[i], c.scale, E, whole);
        share_store<T, HEAD>((T *)c.dv + slot(own + i), dvalues[i], 1.0f, E, whole);
    }
}

template <typename T> static void backward_launch(const AttentionCall *c) {
    const void *operands[] = { c->q, c->k, c->v, c->dout, c->dq, c->dk, c->dv };
    int whole = rows_whole<T>(c, operands, 7);
    FOR_HEAD(c->E, HEAD, {
        unsigned tiles = (unsigned)(c->lists.tiles_n * c->kv_heads), key_tiles = (unsigned)(c->lists.key_tiles_n * c->kv_heads);
        if (tiles)
            LAUNCH((attention_plain_dq_kernel<T, HEAD>), tiles * PlainQueries<HEAD>::SHARES, PLAIN_THREADS, (PlainQueries<HEAD>::BYTES),
                cuda_stream(), *c, whole);
        if (key_tiles)
            LAUNCH((attention_plain_dkv_kernel<T, HEAD>), key_tiles * PlainKeys<HEAD>::SHARES, PLAIN_THREADS, (PlainKeys<HEAD>::BYTES),
                cuda_stream(), *c, whole);
    });
}

void attention_plain_backward(const AttentionCall *c, DType dtype) {
    if (dtype == FP32) backward_launch<float>(c);
    else backward_launch<bf16>(c);
}

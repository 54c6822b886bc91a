/* attention_plain.cu - attention on CUDA cores, forward, in fp32 whatever the storage: for fp32 operands, and for bfloat16 whose head sizes
 * or strides the tensor-core kernels do not take. Follows Dao 2023 (arXiv 2307.08691).
 *
 * A block of 16 x 16 threads holds a tile of queries and, one after the other, tiles of keys and of values in shared memory as fp32. A
 * thread makes COLUMNS / 16 by KEYS / 16 scores; the 16 threads of a row of the block share their columns' maxima and sums by shuffles, and
 * their weights through shared memory that no others touch. */
#include "kernels/cuda/attention_plain.cuh"

enum { FORWARD_COLUMNS = 64, FORWARD_OWN = FORWARD_COLUMNS / PLAIN_SIDE /* columns of a thread */ };

template <int HEAD> struct PlainForward {
    static constexpr int KEYS = HEAD > 128 ? 32 : 64, PITCH = HEAD + PLAIN_PAD, WEIGHTS_PITCH = KEYS + PLAIN_PAD;
    static constexpr int BYTES = (int)sizeof(float) * (FORWARD_COLUMNS * PITCH + KEYS * PITCH + FORWARD_COLUMNS * WEIGHTS_PITCH);
    static constexpr int BLOCKS = HEAD > 128 ? 1 : 2; /* of a multiprocessor: asked for more, the compiler spills registers */
};

/* Weights of the scores of one tile of keys, from its first key on, in place; carries the columns' largest score and sum of weights on. */
template <int KEYS>
__device__ __forceinline__ void plain_softmax(float (&scores)[FORWARD_OWN][KEYS / PLAIN_SIDE], float (&tops)[FORWARD_OWN],
    float (&totals)[FORWARD_OWN], float (&fades)[FORWARD_OWN], const AttentionSight &sight, int key, int column, int group, float scale) {
    UNROLL
    for (int i = 0; i < FORWARD_OWN; i++) {
        int sees = column_sees(sight, column + i, group) - key - (int)(threadIdx.x % PLAIN_SIDE);
        float top = -INFINITY, total = 0;
        UNROLL
        for (int j = 0; j < KEYS / PLAIN_SIDE; j++) {
            scores[i][j] = j * PLAIN_SIDE < sees ? scores[i][j] * scale : -INFINITY;
            top = fmaxf(top, scores[i][j]);
        }
        UNROLL
        for (int step = PLAIN_SIDE / 2; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, step));
        top = fmaxf(top, tops[i]);
        float base = top == -INFINITY ? 0.0f : top; /* a column that has seen nothing yet */
        UNROLL
        for (int j = 0; j < KEYS / PLAIN_SIDE; j++) total += scores[i][j] = expf(scores[i][j] - base);
        UNROLL
        for (int step = PLAIN_SIDE / 2; step > 0; step /= 2) total += __shfl_xor_sync(FULL_WARP, total, step);
        fades[i] = expf(tops[i] - base);
        totals[i] = totals[i] * fades[i] + total;
        tops[i] = top;
    }
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(PLAIN_THREADS, PlainForward<HEAD>::BLOCKS) attention_plain_forward_kernel(AttentionCall c, int whole) {
    typedef PlainForward<HEAD> P;
    constexpr int OWN = FORWARD_OWN, KEYS = P::KEYS, PITCH = P::PITCH;
    SHARED_DYN(float, queries);
    float *rows = queries + FORWARD_COLUMNS * PITCH, *weights = rows + KEYS * PITCH; /* rows: of keys, then of values */
    AttentionTile tile = c.lists.tiles[blockIdx.x / c.kv_heads];
    int kv_head = blockIdx.x % c.kv_heads, columns = tile.rows_n * c.lists.group, E = c.E;
    int side = threadIdx.x % PLAIN_SIDE, column = (int)threadIdx.x / PLAIN_SIDE * OWN, warp_column = (int)threadIdx.x / 32 * 2 * OWN;
    rows_fill(queries, PITCH, FORWARD_COLUMNS, (const T *)c.q, E, whole,
        [&](int r) { return r < columns ? column_query(c, tile, kv_head, r) : (int64_t)-1; });
    float sums[OWN][HEAD / PLAIN_SIDE], tops[OWN], totals[OWN], fades[OWN];
    UNROLL
    for (int i = 0; i < OWN; i++) {
        tops[i] = -INFINITY, totals[i] = 0;
        UNROLL
        for (int e = 0; e < HEAD / PLAIN_SIDE; e++) sums[i][e] = 0;
    }
    for (int s = 0; s < tile.sights_n; s++) {
        AttentionSight sight = c.lists.sights[tile.sight_first + s];
        int sees = columns_see_most(sight, warp_column, warp_column + 2 * OWN, c.lists.group);
        for (int key = 0; key < sight.keys; key += KEYS) {
            auto slot = [&](int r) {
                return key + r < sight.keys ? (sight.key_first + key + r) * c.kv_stride + (int64_t)kv_head * E : (int64_t)-1;
            };
            __syncthreads();
            rows_fill(rows, PITCH, KEYS, (const T *)c.k, E, whole, slot);
            __syncthreads();
            float scores[OWN][KEYS / PLAIN_SIDE];
            if (sees > key) {
                rows_dot(scores, queries, column, rows, side, PITCH, E);
                plain_softmax<KEYS>(scores, tops, totals, fades, sight, key, column, c.lists.group, c.scale);
            }
            __syncthreads();
            rows_fill(rows, PITCH, KEYS, (const T *)c.v, E, whole, slot);
            if (sees > key) {
                UNROLL
                for (int i = 0; i < OWN; i++) {
                    UNROLL
                    for (int j = 0; j < KEYS / PLAIN_SIDE; j++)
                        weights[(column + i) * P::WEIGHTS_PITCH + side + j * PLAIN_SIDE] = scores[i][j];
                    UNROLL
                    for (int e = 0; e < HEAD / PLAIN_SIDE; e++) sums[i][e] *= fades[i];
                }
            }
            __syncthreads();
            if (sees > key) rows_weigh<OWN, HEAD>(sums, weights, P::WEIGHTS_PITCH, column, rows, PITCH, KEYS, E);
        }
    }
    UNROLL
    for (int i = 0; i < OWN; i++) {
        if (column + i >= columns) continue;
        float share = totals[i] > 0 ? 1.0f / totals[i] : 0.0f, lse = tops[i] + logf(totals[i]); /* of no keys: 0 and -infinity */
        if (tile.part < 0) {
            int64_t head = column_head(c, tile, kv_head, column + i);
            share_store<T, HEAD>((T *)c.out + head * E, sums[i], share, E, whole);
            if (side == 0 && c.lse) c.lse[head] = lse;
        } else {
            int64_t part = column_part(c, tile, kv_head, column + i);
            share_store<float, HEAD>(c.part_out + part * E, sums[i], share, E, whole);
            if (side == 0) c.part_lse[part] = lse;
        }
    }
}

template <typename T> static void forward_launch(const AttentionCall *c) {
    const void *operands[] = { c->q, c->k, c->v, c->out };
    int whole = rows_whole<T>(c, operands, 4);
    FOR_HEAD(c->E, HEAD, {
        LAUNCH((attention_plain_forward_kernel<T, HEAD>), (unsigned)(c->lists.tiles_n * c->kv_heads), PLAIN_THREADS,
            (PlainForward<HEAD>::BYTES), cuda_stream(), *c, whole);
    });
}

void attention_plain_forward(const AttentionCall *c, DType dtype) {
    if (dtype == FP32) forward_launch<float>(c);
    else forward_launch<bf16>(c);
}

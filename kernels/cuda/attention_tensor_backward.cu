/* attention_tensor_backward.cu - attention on tensor cores, backward, for bfloat16 whose heads start at multiples of 16 bytes.
 *
 * With P = exp(S - lse) and D = rowsum(dout * attended),   dV = P^T dout,   dS = P * (dout V^T - D),   dQ = scale dS K,   dK = scale dS^T Q
 * (Dao 2023, arXiv 2307.08691). Two kernels, each with scores of its own, so that every sum has one owner and one order. dQ goes like
 * forward, by tiles of columns. dK and dV go by tiles of keys: a warp has 16 keys, makes the scores transposed, keys by columns, and so has
 * P^T and dS^T as left operands in its registers; columns come 32 at a time, from one visit after another, one step ahead of the one at
 * work. */
#include "kernels/cuda/attention_tensor.cuh"

/* ---- dQ ---- */

template <int HEAD> struct TensorQueries {
    static constexpr int WARPS = HEAD == 112 ? 8 : 4;
    static constexpr int GROUPS = HEAD > 96 ? 1 : 2; /* of 16 columns, per warp */
    static constexpr int HELD = HEAD > 96; /* queries and douts as fragments, not in shared memory, which has no room for more blocks */
    static constexpr int OWN = 16 * GROUPS, COLUMNS = WARPS * OWN, THREADS = WARPS * 32, STAGES = 2;
    static constexpr int BLOCKS = HEAD == 112 ? 1 : 2;
    static constexpr int AT_ONCE = HELD ? HEAD / 16 : 3; /* steps of a product: more, and registers spill */
    static constexpr int BYTES = ((HELD ? 0 : 2 * COLUMNS) + STAGES * 2 * ATTENTION_KEYS) * HEAD * (int)sizeof(bf16);
    static_assert(2 * COLUMNS <= STAGES * 2 * ATTENTION_KEYS || !HELD, "queries and douts pass through the stages");
};
enum { DQ_KEYS = 32 /* of the scores that a warp has at a time */ };

/* Scores and dout V^T of 16 columns become dS. `low` and `high` are how many of the DQ_KEYS keys the lane's two columns see. */
__device__ __forceinline__ void columns_dscores(float (&scores)[DQ_KEYS / 8][4], const float (&dweights)[DQ_KEYS / 8][4],
    const float lse[2], const float delta[2], const int sees[2], float scale) {
    int t = threadIdx.x % 4 * 2;
    UNROLL
    for (int n = 0; n < DQ_KEYS / 8; n++) UNROLL
    for (int i = 0; i < 4; i++) {
        int h = i / 2;
        float weight = n * 8 + t + i % 2 < sees[h] ? exp2_approx(fmaf(scores[n][i], scale, -lse[h])) : 0.0f;
        scores[n][i] = weight * (dweights[n][i] - delta[h]);
    }
}

template <int HEAD>
__global__ void __launch_bounds__(TensorQueries<HEAD>::THREADS, TensorQueries<HEAD>::BLOCKS) attention_tensor_dq_kernel(AttentionCall c) {
    typedef TensorQueries<HEAD> D;
    constexpr int GROUPS = D::GROUPS, THREADS = D::THREADS, STEPS = HEAD / 16, TILE = ATTENTION_KEYS * HEAD;
    SHARED_DYN(bf16, queries);
    bf16 *douts = queries + D::COLUMNS * HEAD, *stages = D::HELD ? queries : douts + D::COLUMNS * HEAD; /* keys, values; keys, values */
    AttentionTile tile = c.lists.tiles[blockIdx.x / c.kv_heads];
    int kv_head = blockIdx.x % c.kv_heads, group = c.lists.group, columns = tile.rows_n * group, E = c.E;
    int lane = threadIdx.x % 32, first = (int)threadIdx.x / 32 * D::OWN; /* the warp's first column */
    Copy<HEAD, THREADS> copy = copy_open<HEAD, THREADS>();
    rows_copy_async<D::COLUMNS>(
        queries, copy, (const bf16 *)c.q, E, [&](int r) { return r < columns ? column_query(c, tile, kv_head, r) : (int64_t)-1; });
    rows_copy_async<D::COLUMNS>(
        douts, copy, (const bf16 *)c.dout, E, [&](int r) { return r < columns ? column_head(c, tile, kv_head, r) * E : (int64_t)-1; });

    float sums[GROUPS][HEAD / 8][4], lse[GROUPS][2], delta[GROUPS][2];
    UNROLL
    for (int m = 0; m < GROUPS; m++) {
        UNROLL
        for (int h = 0; h < 2; h++) {
            int own = first + 16 * m + lane / 4 + 8 * h, there = own < columns;
            int64_t head = there ? column_head(c, tile, kv_head, own) : 0;
            lse[m][h] = there ? c.lse[head] * LOG2_E : 0.0f;
            delta[m][h] = there ? c.delta[head] : 0.0f;
        }
        results_zero(sums[m]);
    }
    uint32_t q[D::HELD ? STEPS : 1][4], g[D::HELD ? STEPS : 1][4];
    if constexpr (D::HELD) {
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
        UNROLL
        for (int k = 0; k < STEPS; k++) {
            rows_as_a<HEAD>(q[k], queries, first, k);
            rows_as_a<HEAD>(g[k], douts, first, k);
        }
        __syncthreads();
    }
    Cursor next = cursor_open(c.lists, tile);
    key_tile_copy(stages, copy, c, kv_head, next);
    cp_async_commit();
    int most = 0; /* keys of the sight that the warp's columns see */
    for (int stage = 0, more = 1; more; stage ^= 1) {
        AttentionSight sight = next.sight;
        int key = next.key;
        cp_async_wait<0>();
        __syncthreads();
        more = cursor_next(next);
        if (more) key_tile_copy(stages + (stage ^ 1) * 2 * TILE, copy, c, kv_head, next);
        cp_async_commit();
        if (key == 0) most = columns_see_most(sight, first, first + D::OWN, group);
        bf16 *keys = stages + stage * 2 * TILE, *values = keys + TILE;
        int sees[GROUPS][2];
        UNROLL
        for (int m = 0; m < GROUPS; m++) UNROLL
        for (int h = 0; h < 2; h++) sees[m][h] = column_sees(sight, first + 16 * m + lane / 4 + 8 * h, group) - key;
        UNROLL
        for (int part = 0; part < ATTENTION_KEYS; part += DQ_KEYS) {
            if (most <= key + part) continue;
            float scores[GROUPS][DQ_KEYS / 8][4], dweights[GROUPS][DQ_KEYS / 8][4];
            UNROLL
            for (int m = 0; m < GROUPS; m++) results_zero(scores[m]), results_zero(dweights[m]);
            UNROLL_BY(D::AT_ONCE)
            for (int k = 0; k < STEPS; k++) {
                uint32_t a[GROUPS][4], d[GROUPS][4];
                UNROLL
                for (int m = 0; m < GROUPS; m++) {
                    if constexpr (D::HELD) {
                        UNROLL
                        for (int i = 0; i < 4; i++) a[m][i] = q[k][i], d[m][i] = g[k][i];
                    } else {
                        rows_as_a<HEAD>(a[m], queries, first + 16 * m, k);
                        rows_as_a<HEAD>(d[m], douts, first + 16 * m, k);
                    }
                }
                UNROLL
                for (int n = 0; n < DQ_KEYS / 16; n++) {
                    uint32_t b[4];
                    rows_as_b<HEAD>(b, keys, part + 16 * n, k);
                    UNROLL
                    for (int m = 0; m < GROUPS; m++) {
                        mma_m16n8k16_bf16(scores[m][2 * n], a[m], b, scores[m][2 * n]);
                        mma_m16n8k16_bf16(scores[m][2 * n + 1], a[m], b + 2, scores[m][2 * n + 1]);
                    }
                    rows_as_b<HEAD>(b, values, part + 16 * n, k);
                    UNROLL
                    for (int m = 0; m < GROUPS; m++) {
                        mma_m16n8k16_bf16(dweights[m][2 * n], d[m], b, dweights[m][2 * n]);
                        mma_m16n8k16_bf16(dweights[m][2 * n + 1], d[m], b + 2, dweights[m][2 * n + 1]);
                    }
                }
            }
            UNROLL
            for (int m = 0; m < GROUPS; m++) {
                int left[2] = { sees[m][0] - part, sees[m][1] - part };
                columns_dscores(scores[m], dweights[m], lse[m], delta[m], left, c.scale * LOG2_E);
            }
            UNROLL
            for (int k = 0; k < DQ_KEYS / 16; k++) {
                uint32_t a[GROUPS][4];
                UNROLL
                for (int m = 0; m < GROUPS; m++) results_as_a(a[m], scores[m][2 * k], scores[m][2 * k + 1]);
                UNROLL
                for (int n = 0; n < STEPS; n++) {
                    uint32_t b[4];
                    rows_as_b_trans<HEAD>(b, keys, part + 16 * k, n);
                    UNROLL
                    for (int m = 0; m < GROUPS; m++) {
                        mma_m16n8k16_bf16(sums[m][2 * n], a[m], b, sums[m][2 * n]);
                        mma_m16n8k16_bf16(sums[m][2 * n + 1], a[m], b + 2, sums[m][2 * n + 1]);
                    }
                }
            }
        }
    }
    if (D::HELD) __syncthreads(); /* what holds the results was keys */
    UNROLL
    for (int m = 0; m < GROUPS; m++) {
        int column = first + 16 * m;
        results_store<HEAD>((bf16 *)c.dq, queries + column * HEAD, sums[m], c.scale, c.scale, E,
            [&](int r) { return column + r < columns ? column_query(c, tile, kv_head, column + r) : (int64_t)-1; });
    }
}

/* ---- dK and dV ---- */

enum { DKV_WARPS = ATTENTION_KEYS / 16, DKV_THREADS = DKV_WARPS * 32, DKV_COLUMNS = 32 };

template <int HEAD> struct TensorKeys {
    static constexpr int HELD = HEAD <= 80;              /* keys and values as fragments */
    static constexpr int AT_ONCE = HELD ? HEAD / 16 : 4; /* steps of a product: more, and registers spill */
    static constexpr int STAGE = 2 * DKV_COLUMNS * HEAD;
    static constexpr int BYTES = (2 * ATTENTION_KEYS * HEAD + 2 * STAGE) * (int)sizeof(bf16) + 2 * 3 * DKV_COLUMNS * (int)sizeof(float);
};

/* DKV_COLUMNS columns of a visit. */
struct Step {
    int index;           /* among the key tile's steps */
    int column, columns; /* the first; how many its tile has */
    AttentionTile tile;
    AttentionSight sight;
    int least, most; /* behind the slots that all columns see; that any sees */
};
/* Goes on to the next step whose columns see one of the keys; 0 when there is none. */
__device__ __forceinline__ int step_next(Step &s, const AttentionLists &lists, const AttentionKeyTile &key_tile) {
    constexpr int EACH = ATTENTION_STEP / DKV_COLUMNS;
    for (s.index++; s.index < key_tile.visits_n * EACH; s.index++) {
        AttentionVisit visit = lists.visits[key_tile.visit_first + s.index / EACH];
        s.tile = lists.tiles[visit.tile];
        s.sight = lists.sights[visit.sight];
        s.column = visit.column + s.index % EACH * DKV_COLUMNS;
        s.columns = s.tile.rows_n * lists.group;
        int end = s.column + DKV_COLUMNS, sees = columns_see_most(s.sight, s.column, end, lists.group);
        s.most = s.sight.key_first + sees;
        s.least = s.sight.key_first + columns_see_least(s.sight, s.column, end, s.columns, lists.group);
        if (sees > 0 && s.most > key_tile.slot_first) return 1;
    }
    return 0;
}

/* What the columns of a step have besides rows, one array of DKV_COLUMNS each. */
enum { STEP_LSE, STEP_DELTA, STEP_END /* the slot behind the last that the column sees */ };
__device__ __forceinline__ float step_number(const AttentionCall &c, const Step &s, int kv_head) {
    int what = threadIdx.x / 32, column = s.column + (int)threadIdx.x % 32;
    if (what == STEP_END) return __int_as_float(s.sight.key_first + column_sees(s.sight, column, c.lists.group));
    if (column >= s.columns || what > STEP_END) return 0.0f;
    int64_t head = column_head(c, s.tile, kv_head, column);
    return what == STEP_LSE ? c.lse[head] * LOG2_E : c.delta[head];
}
static_assert(DKV_COLUMNS == 32 && DKV_WARPS > (int)STEP_END, "a warp fetches one number of every column");

/* Scores of 16 keys, whose 16 numbers from 16 * k on are operand a, and DKV_COLUMNS rows: adds the products of these numbers. */
template <int HEAD>
__device__ __forceinline__ void rows_multiply(float (&scores)[DKV_COLUMNS / 8][4], const uint32_t a[4], bf16 *rows, int k) {
    UNROLL
    for (int n = 0; n < DKV_COLUMNS / 16; n++) {
        uint32_t b[4];
        rows_as_b<HEAD>(b, rows, 16 * n, k);
        mma_m16n8k16_bf16(scores[2 * n], a, b, scores[2 * n]);
        mma_m16n8k16_bf16(scores[2 * n + 1], a, b + 2, scores[2 * n + 1]);
    }
}
/* Adds the rows, each times its weight, to the sums of 16 keys. */
template <int HEAD>
__device__ __forceinline__ void rows_weigh(float (&sums)[HEAD / 8][4], const float (&weights)[DKV_COLUMNS / 8][4], bf16 *rows) {
    UNROLL
    for (int k = 0; k < DKV_COLUMNS / 16; k++) {
        uint32_t a[4];
        results_as_a(a, weights[2 * k], weights[2 * k + 1]);
        UNROLL
        for (int n = 0; n < HEAD / 16; n++) {
            uint32_t b[4];
            rows_as_b_trans<HEAD>(b, rows, 16 * k, n);
            mma_m16n8k16_bf16(sums[2 * n], a, b, sums[2 * n]);
            mma_m16n8k16_bf16(sums[2 * n + 1], a, b + 2, sums[2 * n + 1]);
        }
    }
}

template <int HEAD> __global__ void __launch_bounds__(DKV_THREADS, 2) attention_tensor_dkv_kernel(AttentionCall c) {
    typedef TensorKeys<HEAD> D;
    constexpr int STEPS = HEAD / 16, TILE = ATTENTION_KEYS * HEAD;
    SHARED_DYN(bf16, keys);
    bf16 *values = keys + TILE, *stages = values + TILE; /* queries, douts; queries, douts */
    float *numbers = (float *)(stages + 2 * D::STAGE);
    AttentionKeyTile key_tile = c.lists.key_tiles[blockIdx.x / c.kv_heads];
    int kv_head = blockIdx.x % c.kv_heads, E = c.E;
    int lane = threadIdx.x % 32, own = (int)threadIdx.x / 32 * 16, slot = key_tile.slot_first + own; /* the warp's first key */
    int64_t head = (int64_t)kv_head * E;
    Copy<HEAD, DKV_THREADS> copy = copy_open<HEAD, DKV_THREADS>();
    auto stage_copy = [&](const Step &s, int stage) {
        bf16 *to = Rows<HEAD>::at(stages + stage * D::STAGE, copy.row, copy.piece);
        if (copy.row >= copy.AT_ONCE || copy.row >= DKV_COLUMNS) return;
        for (int r = 0; r < DKV_COLUMNS; r += copy.AT_ONCE) {
            int column = s.column + copy.row + r, there = column < s.columns && copy.piece * 8 < E;
            int64_t query = there ? column_query(c, s.tile, kv_head, column) + copy.piece * 8 : 0;
            int64_t head = there ? column_head(c, s.tile, kv_head, column) * E + copy.piece * 8 : 0;
            cp_async_16(to + r * HEAD, (const bf16 *)c.q + query, there ? 16 : 0);
            cp_async_16(to + (DKV_COLUMNS + r) * HEAD, (const bf16 *)c.dout + head, there ? 16 : 0);
        }
    };
    slots_copy_async(keys, copy, (const bf16 *)c.k + head, key_tile.slot_first, key_tile.slots_n, c.kv_stride, E);
    slots_copy_async(values, copy, (const bf16 *)c.v + head, key_tile.slot_first, key_tile.slots_n, c.kv_stride, E);
    cp_async_commit();

    float dkeys[HEAD / 8][4], dvalues[HEAD / 8][4];
    results_zero(dkeys);
    results_zero(dvalues);
    uint32_t k_held[D::HELD ? STEPS : 1][4], v_held[D::HELD ? STEPS : 1][4];
    auto held_as_a = [&](uint32_t a[4], const uint32_t(&held)[D::HELD ? STEPS : 1][4], bf16 *rows, int k) {
        if constexpr (D::HELD) {
            UNROLL
            for (int i = 0; i < 4; i++) a[i] = held[k][i];
        } else rows_as_a<HEAD>(a, rows, own, k);
    };
    if constexpr (D::HELD) {
        cp_async_wait<0>();
        __syncthreads();
        UNROLL
        for (int k = 0; k < STEPS; k++) {
            rows_as_a<HEAD>(k_held[k], keys, own, k);
            rows_as_a<HEAD>(v_held[k], values, own, k);
        }
    }
    Step next;
    next.index = -1;
    int more = step_next(next, c.lists, key_tile);
    float number = 0;
    if (more) {
        stage_copy(next, 0);
        number = step_number(c, next, kv_head);
    }
    cp_async_commit();
    for (int stage = 0; more; stage ^= 1) {
        int key_first = next.sight.key_first, least = next.least, most = next.most;
        float *lses = numbers + stage * 3 * DKV_COLUMNS;
        if (threadIdx.x < 3 * DKV_COLUMNS) lses[threadIdx.x] = number;
        cp_async_wait<0>();
        __syncthreads();
        more = step_next(next, c.lists, key_tile);
        if (more) {
            stage_copy(next, stage ^ 1);
            number = step_number(c, next, kv_head);
        }
        cp_async_commit();
        if (slot >= most || slot + 16 <= key_first) continue;
        int masked = slot < key_first || slot + 16 > least;
        bf16 *queries = stages + stage * D::STAGE, *douts = queries + DKV_COLUMNS * HEAD;
        float scores[DKV_COLUMNS / 8][4], dscores[DKV_COLUMNS / 8][4];
        results_zero(scores);
        results_zero(dscores);
        UNROLL_BY(D::AT_ONCE)
        for (int k = 0; k < STEPS; k++) {
            uint32_t a[4];
            held_as_a(a, k_held, keys, k);
            rows_multiply<HEAD>(scores, a, queries, k);
        }
        UNROLL
        for (int n = 0; n < DKV_COLUMNS / 8; n++) {
            const float *at = lses + n * 8 + lane % 4 * 2;
            Vec<float, 2> lse = vec_load<2>(at), end = vec_load<2>(at + STEP_END * DKV_COLUMNS);
            UNROLL
            for (int i = 0; i < 4; i++) {
                int key = slot + lane / 4 + i / 2 * 8;
                float weight = exp2_approx(fmaf(scores[n][i], c.scale * LOG2_E, -lse.v[i % 2]));
                scores[n][i] = masked && (key < key_first || key >= __float_as_int(end.v[i % 2])) ? 0.0f : weight;
            }
        }
        rows_weigh<HEAD>(dvalues, scores, douts);
        UNROLL_BY(D::AT_ONCE)
        for (int k = 0; k < STEPS; k++) {
            uint32_t a[4];
            held_as_a(a, v_held, values, k);
            rows_multiply<HEAD>(dscores, a, douts, k);
        }
        UNROLL
        for (int n = 0; n < DKV_COLUMNS / 8; n++) {
            Vec<float, 2> delta = vec_load<2>(lses + STEP_DELTA * DKV_COLUMNS + n * 8 + lane % 4 * 2);
            UNROLL
            for (int i = 0; i < 4; i++) dscores[n][i] = scores[n][i] * (dscores[n][i] - delta.v[i % 2]);
        }
        rows_weigh<HEAD>(dkeys, dscores, queries);
    }
    cp_async_wait<0>();
    __syncthreads(); /* the keys and values of a key tile that nobody sees are on the way still */
    auto to = [&](int r) { return own + r < key_tile.slots_n ? (slot + r) * c.kv_stride + head : (int64_t)-1; };
    results_store<HEAD>((bf16 *)c.dk, keys + own * HEAD, dkeys, c.scale, c.scale, E, to);
    results_store<HEAD>((bf16 *)c.dv, values + own * HEAD, dvalues, 1.0f, 1.0f, E, to);
}

void attention_tensor_backward(const AttentionCall *c) {
    unsigned tiles = (unsigned)(c->lists.tiles_n * c->kv_heads), key_tiles = (unsigned)(c->lists.key_tiles_n * c->kv_heads);
    FOR_TENSOR_HEAD(c->E, HEAD, {
        if (tiles)
            LAUNCH(attention_tensor_dq_kernel<HEAD>, tiles, TensorQueries<HEAD>::THREADS, TensorQueries<HEAD>::BYTES, cuda_stream(), *c);
        if (key_tiles) LAUNCH(attention_tensor_dkv_kernel<HEAD>, key_tiles, DKV_THREADS, TensorKeys<HEAD>::BYTES, cuda_stream(), *c);
    });
}

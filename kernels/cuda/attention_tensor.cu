/* attention_tensor.cu - attention on tensor cores, forward (Dao 2023, arXiv 2307.08691), for bfloat16 whose heads start at multiples of 16
 * bytes.
 *
 * A warp holds 16 or 32 columns: their queries as fragments, scores and sums as results of products, a quarter of a warp's lanes per row.
 * Key tiles come by asynchronous copies, one ahead of the one at work, with one barrier each. Weights go from results of one product to
 * operands of the next in registers. Only results and log-sum-exp are stored. */
#include "kernels/cuda/attention_tensor.cuh"

/* Two blocks of these sizes have room on an A100's multiprocessor (but one at 112), and registers enough to spill none. */
template <int HEAD> struct TensorForward {
    static constexpr int WARPS = HEAD == 112 ? 8 : 4;
    static constexpr int GROUPS = HEAD > 96 ? 1 : 2; /* of 16 columns, per warp */
    static constexpr int OWN = 16 * GROUPS, COLUMNS = WARPS * OWN, THREADS = WARPS * 32, STAGES = 2, BLOCKS = HEAD == 112 ? 1 : 2;
    static constexpr int BYTES = (COLUMNS + STAGES * 2 * ATTENTION_KEYS) * HEAD * (int)sizeof(bf16);
};

/* Online softmax of a warp's 16 columns over one key tile: scores become weights. `low` and `high` are how many of the tile's keys the
 * lane's two columns see. */
struct Columns {
    float top[2], total[2]; /* of the lane's two columns: largest score; sum of weights in this lane */
};
__device__ __forceinline__ void columns_softmax(
    Columns &c, float (&scores)[ATTENTION_KEYS / 8][4], float fades[2], const int sees[2], int masked, float scale) {
    int t = threadIdx.x % 4 * 2;
    UNROLL
    for (int h = 0; h < 2; h++) {
        float top = c.top[h];
        UNROLL
        for (int n = 0; n < ATTENTION_KEYS / 8; n++) {
            float *s = &scores[n][2 * h];
            if (masked) {
                if (n * 8 + t >= sees[h]) s[0] = -INFINITY;
                if (n * 8 + t + 1 >= sees[h]) s[1] = -INFINITY;
            }
            top = fmaxf(top, fmaxf(s[0], s[1]));
        }
        top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 1));
        top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 2));
        float base = top == -INFINITY ? 0.0f : top; /* a column that has seen nothing yet */
        fades[h] = exp2_approx((c.top[h] - base) * scale);
        float total = c.total[h] * fades[h];
        UNROLL
        for (int n = 0; n < ATTENTION_KEYS / 8; n++) UNROLL
        for (int i = 0; i < 2; i++) {
            float weight = exp2_approx(fmaf(scores[n][2 * h + i], scale, -base * scale));
            scores[n][2 * h + i] = weight;
            total += weight;
        }
        c.top[h] = top, c.total[h] = total;
    }
}

template <int HEAD>
__global__ void __launch_bounds__(TensorForward<HEAD>::THREADS, TensorForward<HEAD>::BLOCKS)
    attention_tensor_forward_kernel(AttentionCall c) {
    typedef TensorForward<HEAD> F;
    constexpr int GROUPS = F::GROUPS, THREADS = F::THREADS, STEPS = HEAD / 16, KEY_STEPS = ATTENTION_KEYS / 16;
    constexpr int TILE = ATTENTION_KEYS * HEAD;
    SHARED_DYN(bf16, queries);
    bf16 *stages = queries + F::COLUMNS * HEAD; /* keys, values; keys, values */
    AttentionTile tile = c.lists.tiles[blockIdx.x / c.kv_heads];
    int kv_head = blockIdx.x % c.kv_heads, group = c.lists.group, columns = tile.rows_n * group, E = c.E;
    int lane = threadIdx.x % 32, first = (int)threadIdx.x / 32 * F::OWN; /* the warp's first column */
    Copy<HEAD, THREADS> copy = copy_open<HEAD, THREADS>();
    rows_copy_async<F::COLUMNS>(
        queries, copy, (const bf16 *)c.q, E, [&](int r) { return r < columns ? column_query(c, tile, kv_head, r) : (int64_t)-1; });
    Cursor next = cursor_open(c.lists, tile);
    key_tile_copy(stages, copy, c, kv_head, next);
    cp_async_commit();

    float sums[GROUPS][HEAD / 8][4];
    Columns state[GROUPS];
    UNROLL
    for (int m = 0; m < GROUPS; m++) {
        UNROLL
        for (int h = 0; h < 2; h++) state[m].top[h] = -INFINITY, state[m].total[h] = 0;
        results_zero(sums[m]);
    }
    int most = 0, least = 0; /* keys of the sight that the warp's columns see */
    for (int stage = 0, more = 1; more; stage ^= 1) {
        AttentionSight sight = next.sight;
        int key = next.key;
        cp_async_wait<0>();
        __syncthreads();
        more = cursor_next(next);
        if (more) key_tile_copy(stages + (stage ^ 1) * 2 * TILE, copy, c, kv_head, next);
        cp_async_commit();
        if (key == 0) {
            most = columns_see_most(sight, first, first + F::OWN, group);
            least = columns_see_least(sight, first, first + F::OWN, columns, group);
        }
        if (most <= key) continue;
        bf16 *keys = stages + stage * 2 * TILE, *values = keys + TILE;
        float scores[GROUPS][ATTENTION_KEYS / 8][4];
        UNROLL
        for (int m = 0; m < GROUPS; m++) results_zero(scores[m]);
        UNROLL
        for (int k = 0; k < STEPS; k++) {
            uint32_t q[GROUPS][4];
            UNROLL
            for (int m = 0; m < GROUPS; m++) rows_as_a<HEAD>(q[m], queries, first + 16 * m, k);
            UNROLL
            for (int n = 0; n < KEY_STEPS; n++) {
                if (key + 16 * n >= most) continue;
                uint32_t b[4];
                rows_as_b<HEAD>(b, keys, 16 * n, k);
                UNROLL
                for (int m = 0; m < GROUPS; m++) {
                    mma_m16n8k16_bf16(scores[m][2 * n], q[m], b, scores[m][2 * n]);
                    mma_m16n8k16_bf16(scores[m][2 * n + 1], q[m], b + 2, scores[m][2 * n + 1]);
                }
            }
        }
        int masked = least < key + ATTENTION_KEYS;
        UNROLL
        for (int m = 0; m < GROUPS; m++) {
            float fades[2];
            int sees[2] = { ATTENTION_KEYS, ATTENTION_KEYS };
            if (masked) {
                UNROLL
                for (int h = 0; h < 2; h++) sees[h] = column_sees(sight, first + 16 * m + lane / 4 + 8 * h, group) - key;
            }
            columns_softmax(state[m], scores[m], fades, sees, masked, c.scale * LOG2_E);
            UNROLL
            for (int n = 0; n < HEAD / 8; n++) UNROLL
            for (int i = 0; i < 4; i++) sums[m][n][i] *= fades[i / 2];
        }
        UNROLL
        for (int k = 0; k < KEY_STEPS; k++) {
            if (key + 16 * k >= most) continue;
            uint32_t p[GROUPS][4];
            UNROLL
            for (int m = 0; m < GROUPS; m++) results_as_a(p[m], scores[m][2 * k], scores[m][2 * k + 1]);
            UNROLL
            for (int n = 0; n < STEPS; n++) {
                uint32_t b[4];
                rows_as_b_trans<HEAD>(b, values, 16 * k, n);
                UNROLL
                for (int m = 0; m < GROUPS; m++) {
                    mma_m16n8k16_bf16(sums[m][2 * n], p[m], b, sums[m][2 * n]);
                    mma_m16n8k16_bf16(sums[m][2 * n + 1], p[m], b + 2, sums[m][2 * n + 1]);
                }
            }
        }
    }
    UNROLL
    for (int m = 0; m < GROUPS; m++) {
        float share[2];
        int column = first + 16 * m;
        UNROLL
        for (int h = 0; h < 2; h++) {
            float total = state[m].total[h];
            total += __shfl_xor_sync(FULL_WARP, total, 1);
            total += __shfl_xor_sync(FULL_WARP, total, 2);
            share[h] = total > 0 ? 1.0f / total : 0.0f;
            int own = column + lane / 4 + 8 * h;
            if (own >= columns) continue;
            float lse = state[m].top[h] * c.scale + logf(total); /* of no keys: -infinity */
            if (tile.part < 0) {
                if (lane % 4 == 0 && c.lse) c.lse[column_head(c, tile, kv_head, own)] = lse;
                continue;
            }
            int64_t part = column_part(c, tile, kv_head, own);
            if (lane % 4 == 0) c.part_lse[part] = lse;
            UNROLL
            for (int n = 0; n < HEAD / 8; n++) {
                int e = n * 8 + lane % 4 * 2;
                Vec<float, 2> y = { { sums[m][n][2 * h] * share[h], sums[m][n][2 * h + 1] * share[h] } };
                if (e < E) vec_store_global(c.part_out + part * E + e, y);
            }
        }
        if (tile.part < 0)
            results_store<HEAD>((bf16 *)c.out, queries + column * HEAD, sums[m], share[0], share[1], E,
                [&](int r) { return column + r < columns ? column_head(c, tile, kv_head, column + r) * E : (int64_t)-1; });
    }
}

int attention_tensor_columns(int E) {
    int columns = 0;
    FOR_TENSOR_HEAD(E, HEAD, columns = TensorForward<HEAD>::COLUMNS);
    return columns;
}

void attention_tensor_forward(const AttentionCall *c) {
    FOR_TENSOR_HEAD(c->E, HEAD, {
        LAUNCH(attention_tensor_forward_kernel<HEAD>, (unsigned)(c->lists.tiles_n * c->kv_heads), TensorForward<HEAD>::THREADS,
            TensorForward<HEAD>::BYTES, cuda_stream(), *c);
    });
}

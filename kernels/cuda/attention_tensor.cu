/* attention_tensor.cu - attention forward on tensor cores: bfloat16 operands, fp32 scores and sums (Dao 2023, arXiv 2307.08691).
 *
 * A block of 4 warps has a tile of up to 128 columns; warp w computes strips w and w + 4 of it, so that each fragment of keys and values that
 * it reads serves two strips, and short tiles and the causal diagonal keep all warps busy. Keys and values are loaded once per tile, 64 at a
 * time: the values of a key tile come in while its scores are computed, the next keys while the values are added up. Weights stay in
 * registers: accumulators of scores are left operands of the next product. Stored are results and log-sum-exps alone.
 *
 * A key tile of which a row sees nothing changes none of its bits, whether the strip is skipped or not: maxima stay, sums are multiplied by
 * exactly 1 and get zeros. */
#include "kernels/cuda/attention_tile.cuh"

enum { WARPS = 4, THREADS = WARPS * 32, COLUMNS = ATTENTION_COLUMNS_MOST, STRIPS = COLUMNS / STRIP / WARPS /* of a warp */ };
static_assert(WARPS == KEY_STRIPS, "each warp loads a strip of a key tile");

/* What a warp carries for one strip: numerators, and of rows g and g + 8 the largest score and the lane's part of the denominator. */
template <int HEAD> struct Sums {
    float o[STRIPS][HEAD / 8][4], top[STRIPS][2], total[STRIPS][2];
};

/* Scores of a key tile become weights; what was summed before fades to the new maximum. scale: log2 e times that of scores. */
template <int HEAD>
__device__ __forceinline__ void strip_soften(float (&s)[8][4], float (&o)[HEAD / 8][4], float (&top)[2], float (&total)[2], float scale) {
    UNROLL
    for (int h = 0; h < 2; h++) {
        float most = top[h], sum = 0;
        UNROLL
        for (int n = 0; n < 8; n++) most = fmaxf(most, fmaxf(s[n][h * 2], s[n][h * 2 + 1]));
        most = fmaxf(most, __shfl_xor_sync(FULL_WARP, most, 1));
        most = fmaxf(most, __shfl_xor_sync(FULL_WARP, most, 2));
        float base = most == -INFINITY ? 0.0f : most, fade = exp2_approx((top[h] - base) * scale), shift = base * scale;
        UNROLL
        for (int n = 0; n < 8; n++)
            UNROLL
            for (int i = h * 2; i < h * 2 + 2; i++) sum += s[n][i] = exp2_approx(fmaf(s[n][i], scale, -shift));
        top[h] = most;
        total[h] = total[h] * fade + sum;
        UNROLL
        for (int e = 0; e < HEAD / 8; e++) o[e][h * 2] *= fade, o[e][h * 2 + 1] *= fade;
    }
}

/* Hides the keys from `low` on from row g, those from `high` on from row g + 8. */
__device__ __forceinline__ void strip_mask(float (&s)[8][4], int low, int high) {
    int t = threadIdx.x % 4;
    UNROLL
    for (int n = 0; n < 8; n++)
        UNROLL
        for (int i = 0; i < 4; i++)
            if (n * 8 + t * 2 + i % 2 >= (i < 2 ? low : high)) s[n][i] = -INFINITY;
}

/* Results of a strip: rounded by way of shared memory, or as a part in fp32. */
template <int HEAD>
__device__ __forceinline__ void strip_finish(const AttentionCall &c, const AttentionTile &tile, int kv_head, int first, int columns, bf16 *strip,
    const float (&o)[HEAD / 8][4], const float (&top)[2], const float (&total)[2]) {
    int lane = threadIdx.x % 32, t = lane % 4;
    float share[2];
    UNROLL
    for (int h = 0; h < 2; h++) {
        float sum = total[h] + __shfl_xor_sync(FULL_WARP, total[h], 1);
        sum += __shfl_xor_sync(FULL_WARP, sum, 2);
        share[h] = sum > 0 ? 1.0f / sum : 0.0f;
        int column = first + lane / 4 + h * 8;
        float lse = sum > 0 ? top[h] * c.scale + logf(sum) : -INFINITY;
        if (column >= columns) continue;
        if (tile.part >= 0) {
            int64_t at = column_part(c, tile, kv_head, column);
            if (t == 0) c.part_lse[at] = lse;
            UNROLL
            for (int e = 0; e < HEAD / 8; e++)
                if (e * 8 < c.E)
                    vec_store(c.part_out + at * c.E + e * 8 + t * 2, Vec<float, 2>{ { o[e][h * 2] * share[h], o[e][h * 2 + 1] * share[h] } });
        } else if (c.lse && t == 0) {
            c.lse[column_head(c, tile, kv_head, column)] = lse;
        }
    }
    if (tile.part >= 0) return;
    int column = first + lane % 16;
    strip_write<HEAD>(strip, o, share[0], share[1]);
    __syncwarp(FULL_WARP);
    strip_scatter<HEAD>((bf16 *)c.out, column < columns ? column_head(c, tile, kv_head, column) * c.E : -1, strip, c.E / CHUNK);
}

template <int HEAD> __global__ void __launch_bounds__(THREADS, 2) attention_tensor_forward_kernel(AttentionCall c) {
    SHARED_DYN(bf16, queries);
    bf16 *keys = queries + COLUMNS / STRIP * Strip<HEAD>::SIZE, *values = keys + KEY_STRIPS * Strip<HEAD>::SIZE;
    const AttentionTile tile = c.lists.tiles[blockIdx.x / c.kv_heads];
    int kv_head = blockIdx.x % c.kv_heads, group = c.lists.group, columns = tile.rows_n * group, chunks = c.E / CHUNK;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4;
    const bf16 *k = (const bf16 *)c.k + (int64_t)kv_head * c.E, *v = (const bf16 *)c.v + (int64_t)kv_head * c.E;
    float scale = c.scale * LOG2_E;
    bf16 *own = queries + warp * Strip<HEAD>::SIZE; /* and WARPS strips on, the second */
    constexpr int APART = WARPS * Strip<HEAD>::SIZE;

    UNROLL
    for (int z = 0; z < STRIPS; z++) {
        int first = (warp + z * WARPS) * STRIP, column = first + lane % 16;
        if (first < columns)
            strip_gather<HEAD>(own + z * APART, (const bf16 *)c.q, column < columns ? column_query(c, tile, kv_head, column) : -1, chunks);
    }
    KeyWalk walk = walk_start(c, tile);
    keys_load<HEAD>(keys, k, c.kv_stride, walk, warp, chunks);
    cp_async_commit();
    Sums<HEAD> sums;
    UNROLL
    for (int z = 0; z < STRIPS; z++) {
        UNROLL
        for (int i = 0; i < HEAD / 8 * 4; i++) sums.o[z][i / 4][i % 4] = 0;
        UNROLL
        for (int h = 0; h < 2; h++) sums.top[z][h] = -INFINITY, sums.total[z][h] = 0;
    }
    int sees[STRIPS][2] = {};
    for (bool more = true; more;) {
        if (walk.from == 0) {
            UNROLL
            for (int i = 0; i < STRIPS * 2; i++)
                sees[i / 2][i % 2] = column_sees(*walk.sight, (warp + i / 2 * WARPS) * STRIP + g + i % 2 * 8, group);
        }
        View view[STRIPS];
        bool all = true;
        UNROLL
        for (int z = 0; z < STRIPS; z++) {
            view[z] = strip_view(sees[z][0] - walk.from, sees[z][1] - walk.from);
            all = all && view[z] == VIEW_ALL;
        }
        KeyWalk ahead = walk;
        more = walk_next(ahead);
        float s[STRIPS][8][4];
        cp_async_wait<0>();
        __syncthreads(); /* keys are here, and nobody reads the last values */
        keys_load<HEAD>(values, v, c.kv_stride, walk, warp, chunks);
        cp_async_commit();
        if (all) {
            strips_dot<HEAD, STRIPS, KEY_STRIPS>(s, own, APART, keys);
        } else {
            UNROLL
            for (int z = 0; z < STRIPS; z++) {
                if (view[z] == VIEW_NONE) continue;
                strips_dot<HEAD, 1, KEY_STRIPS>(s + z, own + z * APART, 0, keys);
                if (view[z] == VIEW_PART) strip_mask(s[z], sees[z][0] - walk.from, sees[z][1] - walk.from);
            }
        }
        cp_async_wait<0>();
        __syncthreads(); /* values are here, and nobody reads the keys */
        if (more) keys_load<HEAD>(keys, k, c.kv_stride, ahead, warp, chunks);
        cp_async_commit();
        UNROLL
        for (int z = 0; z < STRIPS; z++)
            if (all || view[z] != VIEW_NONE) strip_soften<HEAD>(s[z], sums.o[z], sums.top[z], sums.total[z], scale);
        if (all) {
            strips_weigh<HEAD, STRIPS, KEY_STRIPS>(sums.o, s, values);
        } else {
            UNROLL
            for (int z = 0; z < STRIPS; z++)
                if (view[z] != VIEW_NONE) strips_weigh<HEAD, 1, KEY_STRIPS>(sums.o + z, s + z, values);
        }
        walk = ahead;
    }
    UNROLL
    for (int z = 0; z < STRIPS; z++) {
        int first = (warp + z * WARPS) * STRIP;
        if (first < columns)
            strip_finish<HEAD>(c, tile, kv_head, first, columns, own + z * APART, sums.o[z], sums.top[z], sums.total[z]);
    }
}

int attention_tensor_columns(int E) {
    (void)E;
    return COLUMNS;
}

void attention_tensor_forward(const AttentionCall *c) {
    if (c->lists.tiles_n == 0) return;
    unsigned blocks = (unsigned)c->lists.tiles_n * (unsigned)c->kv_heads;
    FOR_TENSOR_HEAD(c->E, HEAD, {
        size_t shared = sizeof(bf16) * (COLUMNS / STRIP + 2 * KEY_STRIPS) * Strip<HEAD>::SIZE;
        LAUNCH(attention_tensor_forward_kernel<HEAD>, blocks, THREADS, shared, cuda_stream(), *c);
    });
}

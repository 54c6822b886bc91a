/* skinny.cu - y = x w^T of 1 to 32 rows, as when tokens are decoded: each weight is read once, in accesses of 16 bytes past the caches, and
 * the bandwidth of that is the time. A row's result has the same bits whatever rows it shares the product with: the order of its sum
 * depends on the length of the sum alone.
 *
 * bf16: beyond a few rows the multiply-add units would fall behind the memory, so that tensor cores do all of it: 16 rows of w are the rows
 * of an operation, 8 of x its columns. A sum over k has no order that memory need follow, so a lane loads 8 consecutive k of a row and
 * calls them the 2 + 2 + 2 + 2 that two operations want of it; x is read alike, and nothing passes through shared memory. The warps of a
 * block share the rows of w and divide k among them; their sums are added in the order of warps.
 * fp32: a warp takes 4 rows of w, its lanes divide k; x passes through shared memory, from where each lane uses it for all 4. */
#include "kernels/cuda/products.cuh"
#include "kernels/cuda/ptx.cuh"

enum {
    THREADS = 256,
    WARPS = THREADS / 32,
    MMA_ROWS = 16,    /* of w, in one operation */
    MMA_COLUMNS = 8,  /* rows of x */
    STEP = 32,        /* k that a warp loads in one access: 4 lanes to a row */
    UNIT = 128,       /* k that a warp takes before the next warp's share begins */
    IN_FLIGHT = 4,    /* accesses of each of two rows of w that a lane has on the way */
    FP32_ROWS = 4,    /* of w, per warp */
    FP32_CHUNK = 128, /* k of x in shared memory at a time: 4 of each lane */
};

/* ---- bf16 ---- */

/* Eight elements as four registers of two; zeros beyond `left`. STREAM: used once, past the caches. */
template <int VECTORS, int STREAM> __device__ __forceinline__ void eight_load(uint32_t (&r)[4], const bf16 *from, int left) {
    Vec<bf16, 8> v = elements_zero<bf16, 8>();
    if constexpr (VECTORS) {
        if (left > 0) v = STREAM ? vec_load_stream<8>(from) : vec_load<8>(from);
    } else {
        UNROLL
        for (int j = 0; j < 8; j++)
            if (j < left) v.v[j] = from[j];
    }
    memcpy(r, &v, sizeof r);
}

/* Where the sum of row `row` of x and row `column` of w lies in a warp's part. Pairs of rows of x are 8 further apart than they are long:
 * then neither the layout of an operation's sums nor a run of columns meets a bank of shared memory twice. */
template <int ROWS> __device__ __forceinline__ int part_at(int row, int column) { return row * ROWS + row / 2 * 8 + column; }

/* A block has TILES times 16 rows of w; x has up to GROUPS times 8 rows. */
template <int GROUPS, int TILES, int VECTORS>
__global__ void __launch_bounds__(THREADS, 2) skinny_bf16_kernel(const bf16 *x, const bf16 *w, int depth, Epilogue e) {
    /* From memory without vectors the instructions are the limit. */
    constexpr int DEEP = VECTORS ? IN_FLIGHT / TILES : 1;
    constexpr int ROWS = TILES * MMA_ROWS, PART = GROUPS * MMA_COLUMNS * (ROWS + 4);
    SHARED(float, parts, WARPS *PART);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int first = (int)blockIdx.x * ROWS;
    int64_t eight_rows = (int64_t)depth * 8;
    const bf16 *lane_w = w + (int64_t)(first + g) * depth + t * 8, *lane_x = x + (int64_t)g * depth + t * 8;
    float sums[TILES][GROUPS][4] = {};
    for (int unit = warp * UNIT; unit < depth; unit += WARPS * UNIT) {
        UNROLL_BY(1) /* or registers run out */
        for (int from = unit; from < unit + UNIT; from += DEEP * STEP) {
            uint32_t rw[DEEP][TILES * 2][4];
            UNROLL
            for (int d = 0; d < DEEP; d++) {
                UNROLL
                for (int i = 0; i < TILES * 2; i++) {
                    int at = from + d * STEP, left = first + g + i * 8 < e.n ? depth - t * 8 - at : 0;
                    eight_load<VECTORS, 1>(rw[d][i], lane_w + i * eight_rows + at, left);
                }
            }
            UNROLL
            for (int d = 0; d < DEEP; d++) {
                uint32_t rx[GROUPS][4];
                UNROLL
                for (int j = 0; j < GROUPS; j++) {
                    int at = from + d * STEP, left = g + j * 8 < e.m ? depth - t * 8 - at : 0;
                    eight_load<VECTORS, 0>(rx[j], lane_x + j * eight_rows + at, left);
                }
                UNROLL
                for (int half = 0; half < 4; half += 2) {
                    UNROLL
                    for (int i = 0; i < TILES; i++) {
                        const uint32_t a[4] = { rw[d][i * 2][half], rw[d][i * 2 + 1][half], rw[d][i * 2][half + 1],
                            rw[d][i * 2 + 1][half + 1] };
                        UNROLL
                        for (int j = 0; j < GROUPS; j++) mma_m16n8k16_bf16(sums[i][j], a, rx[j] + half, sums[i][j]);
                    }
                }
            }
        }
    }
    UNROLL
    for (int i = 0; i < TILES; i++) {
        UNROLL
        for (int j = 0; j < GROUPS; j++) {
            float *at = parts + warp * PART + part_at<ROWS>(j * MMA_COLUMNS + t * 2, i * MMA_ROWS + g);
            at[0] = sums[i][j][0], at[ROWS] = sums[i][j][1];
            at[8] = sums[i][j][2], at[ROWS + 8] = sums[i][j][3];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < ROWS * e.m; i += THREADS) {
        int row = i / ROWS, column = i % ROWS;
        float sum = 0;
        UNROLL
        for (int p = 0; p < WARPS; p++) sum += parts[p * PART + part_at<ROWS>(row, column)];
        epilogue_store(e, row, first + column, sum);
    }
}

template <int GROUPS, int TILES> static void bf16_run(const CudaProduct *p, int vectors) {
    unsigned blocks = (unsigned)blocks_for(p->n, TILES * MMA_ROWS);
    const bf16 *x = (const bf16 *)p->a.at, *w = (const bf16 *)p->b.at;
    Epilogue e = epilogue_of(p);
    if (vectors) LAUNCH((skinny_bf16_kernel<GROUPS, TILES, 1>), blocks, THREADS, 0, cuda_stream(), x, w, p->k, e);
    else LAUNCH((skinny_bf16_kernel<GROUPS, TILES, 0>), blocks, THREADS, 0, cuda_stream(), x, w, p->k, e);
}

/* ---- fp32 ---- */

/* Sums of each of COUNT numbers (a power of two, at most 32) over the lanes: lane l gets that of number l / (32 / COUNT). The tree of
 * additions is the same for every number and every COUNT. */
template <int COUNT> __device__ __forceinline__ float warp_sum_each(float (&v)[COUNT]) {
    int lane = threadIdx.x % 32;
    UNROLL
    for (int step = 16, half = COUNT / 2; step > 0; step /= 2, half /= 2) {
        bool upper = lane & step;
        UNROLL
        for (int i = 0; i < COUNT / 2; i++) {
            if (i >= half) continue;
            float keep = upper ? v[i + half] : v[i], give = upper ? v[i] : v[i + half];
            v[i] = keep + __shfl_xor_sync(FULL_WARP, give, step);
        }
        if (half == 0) v[0] += __shfl_xor_sync(FULL_WARP, v[0], step);
    }
    return v[0];
}

template <int VECTORS, int STREAM> __device__ __forceinline__ Vec<float, 4> four_load(const float *from, int left) {
    Vec<float, 4> v = elements_zero<float, 4>();
    if constexpr (VECTORS) {
        if (left > 0) v = STREAM ? vec_load_stream<4>(from) : vec_load<4>(from);
    } else {
        UNROLL
        for (int j = 0; j < 4; j++)
            if (j < left) v.v[j] = from[j];
    }
    return v;
}

/* x has up to ROWS rows. */
template <int ROWS, int VECTORS>
__global__ void __launch_bounds__(THREADS, ROWS > 8 ? 1 : 2) skinny_fp32_kernel(const float *x, const float *w, int depth, Epilogue e) {
    constexpr int PIECES = ROWS * (FP32_CHUNK / 4), PER = (PIECES + THREADS - 1) / THREADS; /* fours of a chunk of x */
    SHARED(float, chunks, 2 * ROWS * FP32_CHUNK);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int first = ((int)blockIdx.x * WARPS + warp) * FP32_ROWS;
    float sums[FP32_ROWS][ROWS] = {};
    Vec<float, 4> wide_w[FP32_ROWS], wide_x[PER];
    auto load = [&](int from) {
        UNROLL
        for (int i = 0; i < FP32_ROWS; i++) {
            int at = from + lane * 4;
            wide_w[i] = four_load<VECTORS, 1>(w + (int64_t)(first + i) * depth + at, first + i < e.n ? depth - at : 0);
        }
        UNROLL
        for (int p = 0; p < PER; p++) {
            int piece = (int)threadIdx.x + p * THREADS, row = piece / (FP32_CHUNK / 4), at = from + piece % (FP32_CHUNK / 4) * 4;
            wide_x[p] = four_load<VECTORS, 0>(x + (int64_t)row * depth + at, row < e.m ? depth - at : 0);
        }
    };
    load(0);
    for (int from = 0, turn = 0; from < depth; from += FP32_CHUNK, turn ^= 1) {
        float *chunk = chunks + turn * (ROWS * FP32_CHUNK);
        UNROLL
        for (int p = 0; p < PER; p++) {
            int piece = (int)threadIdx.x + p * THREADS;
            if (piece < PIECES) vec_store(chunk + piece * 4, wide_x[p]);
        }
        Vec<float, 4> now[FP32_ROWS];
        UNROLL
        for (int i = 0; i < FP32_ROWS; i++) now[i] = wide_w[i];
        __syncthreads(); /* the other chunk was last read before the barrier of the last turn */
        if (from + FP32_CHUNK < depth) load(from + FP32_CHUNK);
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            Vec<float, 4> four = vec_load<4>(chunk + r * FP32_CHUNK + lane * 4);
            UNROLL
            for (int i = 0; i < FP32_ROWS; i++) {
                UNROLL
                for (int j = 0; j < 4; j++) sums[i][r] = fmaf(now[i].v[j], four.v[j], sums[i][r]);
            }
        }
    }
    float four[FP32_ROWS];
    UNROLL
    for (int i = 0; i < FP32_ROWS; i++) four[i] = warp_sum_each(sums[i]);
    if (lane % (32 / ROWS) == 0) epilogue_store_four(e, lane / (32 / ROWS), first, four);
}

template <int ROWS> static void fp32_run(const CudaProduct *p, int vectors) {
    unsigned blocks = (unsigned)blocks_for(p->n, WARPS * FP32_ROWS);
    const float *x = (const float *)p->a.at, *w = (const float *)p->b.at;
    Epilogue e = epilogue_of(p);
    if (vectors) LAUNCH((skinny_fp32_kernel<ROWS, 1>), blocks, THREADS, 0, cuda_stream(), x, w, p->k, e);
    else LAUNCH((skinny_fp32_kernel<ROWS, 0>), blocks, THREADS, 0, cuda_stream(), x, w, p->k, e);
}

/* Whether vectors are loaded depends on the length of the sum and on where x and w begin, and does not change the order of the sum. */
extern "C" void skinny_run(const CudaProduct *p) {
    const Buf operands[] = { p->a, p->b };
    int wide = p->b.dtype == FP32, vectors = p->k % (wide ? 4 : 8) == 0 && buffers_aligned(16, operands, 2);
    if (wide && p->m == 1) fp32_run<1>(p, vectors);
    else if (wide && p->m <= 4) fp32_run<4>(p, vectors);
    else if (wide && p->m <= 8) fp32_run<8>(p, vectors);
    else if (wide && p->m <= 16) fp32_run<16>(p, vectors);
    else if (wide) fp32_run<32>(p, vectors);
    else if (p->m <= MMA_COLUMNS) bf16_run<1, 1>(p, vectors);
    else if (p->m <= 2 * MMA_COLUMNS) bf16_run<2, 1>(p, vectors);
    else bf16_run<4, 2>(p, vectors);
}

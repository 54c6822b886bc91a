/* gemm_fp32.cu - products of fp32 operands on the multiply-add units: exact products, sums over k in ascending order.
 *
 * A block computes a tile of c; each of its 256 threads holds a square of sums in registers. Tiles of a and b pass through shared memory
 * with k as their rows, twice, so that the next is on its way from memory, in registers, while the current one is used. */
#include "kernels/cuda/products.cuh"

enum {
    THREADS = 256,
    SIDE = 16,   /* threads of a block, in both directions of the tile */
    LARGE = 128, /* tiles: of large results ... */
    SMALL = 64   /* ... and of those that would leave multiprocessors without one */
};

/* One operand: element (i, k), i a row or a column of c, is at i * stride_i + k * stride_k, and one of the strides is 1. */
typedef struct Operand {
    const float *at;
    int64_t row; /* the stride that is not 1 */
    int extent;  /* of i */
} Operand;

/* k of a tile: as many as give every thread four elements to fetch of each operand. */
template <int TILE> struct Depth { static constexpr int K = 4 * THREADS / TILE; };

/* Where (i, k) lies in a tile of shared memory. Where memory runs along k, rows are permuted by groups of i, so that what a warp stores
 * (fours of k, each of as many i as there are lanes left) falls into 32 banks; fours of i stay together. */
template <int TILE, int ALONG_K> __device__ __forceinline__ int tile_at(int i, int k) {
    constexpr int FOURS = Depth<TILE>::K / 4;
    return k * TILE + (ALONG_K ? i ^ (k / 4 * (32 / FOURS)) : i);
}

/* Four elements along memory, zeros beyond `left`. */
template <int VECTORS> __device__ __forceinline__ Vec<float, 4> four_load(const float *from, int left) {
    Vec<float, 4> v = elements_zero<float, 4>();
    if constexpr (VECTORS) {
        if (left > 0) v = elements_load<4>(from);
    } else {
        UNROLL
        for (int j = 0; j < 4; j++)
            if (j < left) v.v[j] = from[j];
    }
    return v;
}

/* A thread's four elements of a tile. ALONG_K: memory runs along k. */
template <int TILE, int ALONG_K> struct TilePart {
    static constexpr int DEPTH = Depth<TILE>::K;
    const float *from; /* of the next tile */
    int64_t step;      /* to the tile after it */
    int place, left;   /* in a tile of shared memory; k that are left from there, 0 beyond the last i */
    int there;         /* i that are left, where memory runs along them */
    Vec<float, 4> v;

    __device__ __forceinline__ TilePart(const Operand &o, int first, int depth) {
        int piece = threadIdx.x, across = ALONG_K ? DEPTH / 4 : TILE / 4;
        int along = piece % across * 4, row = piece / across, i = ALONG_K ? row : along, k = ALONG_K ? along : row;
        place = tile_at<TILE, ALONG_K>(i, k);
        there = o.extent - first - i;
        left = there > 0 ? depth - k : 0;
        from = o.at + (ALONG_K ? (first + i) * o.row + k : k * o.row + first + i);
        step = DEPTH * (ALONG_K ? 1 : o.row);
    }
    template <int VECTORS> __device__ __forceinline__ void load(void) {
        v = four_load<VECTORS>(from, ALONG_K || VECTORS || left <= 0 ? left : there);
        left -= DEPTH;
        from += step;
    }
    __device__ __forceinline__ void store(float *tile) const {
        if constexpr (ALONG_K) {
            UNROLL
            for (int j = 0; j < 4; j++) tile[place + j * TILE] = v.v[j];
        } else {
            vec_store(tile + place, v);
        }
    }
};

/* The large tile of two operands along k wants a register more than two blocks of a multiprocessor have. Threads of a warp are 4 by 8; each
 * has fours of rows and of columns, 64 apart. */
template <int TILE, int A_ALONG_K, int B_ALONG_K, int VECTORS>
__global__ void __launch_bounds__(THREADS, TILE == LARGE && A_ALONG_K && B_ALONG_K ? 1 : 2)
    gemm_fp32_kernel(Operand a, Operand b, int depth, Epilogue e) {
    constexpr int FOURS = TILE / SIDE / 4, DEPTH = Depth<TILE>::K;
    SHARED(float, tile_a, 2 * DEPTH * TILE);
    SHARED(float, tile_b, 2 * DEPTH * TILE);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int ty = warp / 2 * 4 + lane / 8, tx = warp % 2 * 8 + lane % 8;
    int first_row = (int)blockIdx.x * TILE, first_column = (int)blockIdx.y * TILE;
    float sums[FOURS * 4][FOURS * 4] = {};
    TilePart<TILE, A_ALONG_K> part_a(a, first_row, depth);
    TilePart<TILE, B_ALONG_K> part_b(b, first_column, depth);
    part_a.template load<VECTORS>();
    part_b.template load<VECTORS>();
    for (int left = depth, turn = 0; left > 0; left -= DEPTH, turn ^= 1) {
        float *ta = tile_a + turn * (DEPTH * TILE), *tb = tile_b + turn * (DEPTH * TILE);
        part_a.store(ta);
        part_b.store(tb);
        __syncthreads(); /* the other tiles were last read before the barrier of the last turn */
        if (left > DEPTH) {
            part_a.template load<VECTORS>();
            part_b.template load<VECTORS>();
        }
        UNROLL
        for (int k = 0; k < DEPTH; k++) {
            Vec<float, 4> va[FOURS], vb[FOURS];
            UNROLL
            for (int f = 0; f < FOURS; f++) {
                va[f] = vec_load<4>(ta + tile_at<TILE, A_ALONG_K>(ty * 4 + f * 64, k));
                vb[f] = vec_load<4>(tb + tile_at<TILE, B_ALONG_K>(tx * 4 + f * 64, k));
            }
            UNROLL
            for (int i = 0; i < FOURS * 4; i++) {
                UNROLL
                for (int j = 0; j < FOURS * 4; j++) sums[i][j] = fmaf(va[i / 4].v[i % 4], vb[j / 4].v[j % 4], sums[i][j]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < FOURS * 4; i++) {
        UNROLL
        for (int f = 0; f < FOURS; f++) {
            float four[4] = { sums[i][f * 4], sums[i][f * 4 + 1], sums[i][f * 4 + 2], sums[i][f * 4 + 3] };
            epilogue_store_four(e, first_row + ty * 4 + i / 4 * 64 + i % 4, first_column + tx * 4 + f * 64, four);
        }
    }
}

template <int TILE, int VECTORS> static void tiles_run(const CudaProduct *p, Operand a, Operand b) {
    dim3 grid((unsigned)blocks_for(p->m, TILE), (unsigned)blocks_for(p->n, TILE));
    Epilogue e = epilogue_of(p);
    if (p->form == FORM_X_WT) LAUNCH((gemm_fp32_kernel<TILE, 1, 1, VECTORS>), grid, THREADS, 0, cuda_stream(), a, b, p->k, e);
    else if (p->form == FORM_X_W) LAUNCH((gemm_fp32_kernel<TILE, 1, 0, VECTORS>), grid, THREADS, 0, cuda_stream(), a, b, p->k, e);
    else LAUNCH((gemm_fp32_kernel<TILE, 0, 0, VECTORS>), grid, THREADS, 0, cuda_stream(), a, b, p->k, e);
}

extern "C" void gemm_fp32_run(const CudaProduct *p) {
    const Buf operands[] = { p->a, p->b };
    int64_t row_a = p->form == FORM_XT_Y ? p->m : p->k, row_b = p->form == FORM_X_WT ? p->k : p->n;
    Operand a = { (const float *)p->a.at, row_a, p->m }, b = { (const float *)p->b.at, row_b, p->n };
    int vectors = row_a % 4 == 0 && row_b % 4 == 0 && buffers_aligned(16, operands, 2);
    int large = blocks_for(p->m, LARGE) * blocks_for(p->n, LARGE) >= cuda_multiprocessors();
    if (large && vectors) tiles_run<LARGE, 1>(p, a, b);
    else if (vectors) tiles_run<SMALL, 1>(p, a, b);
    else tiles_run<SMALL, 0>(p, a, b); /* large tiles would want more registers than there are */
}

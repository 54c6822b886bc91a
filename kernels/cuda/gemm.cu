/* gemm.cu - products of bf16 operands on tensor cores (mma.sync.m16n8k16), sums in fp32: any shape, any alignment, any epilogue.
 *
 * A block of four warps computes a tile of c, each warp a quarter. Tiles of a and b, 32 deep, pass through a ring of stages in shared
 * memory by asynchronous copies, three ahead of their use; fragments are loaded a step ahead of the products. Chunks of 16 bytes are
 * permuted within a stage so that neither the copies nor ldmatrix meet a bank twice. The sums leave through shared memory, so that global
 * memory sees whole rows. Operands whose rows are not aligned to 16 bytes are copied element by element, through registers. */
#include "kernels/cuda/products.cuh"
#include "kernels/cuda/ptx.cuh"

enum {
    THREADS = 128,
    DEPTH = 32, /* k of a stage */
    STEP = 16,  /* k of an operation */
    STEPS = DEPTH / STEP,
    STAGES = 4,
    CHUNK = 8,   /* elements of 16 bytes */
    LARGE = 128, /* tiles: of large results ... */
    SMALL = 64,  /* ... and of those that would leave multiprocessors without one */
    BAND = 8     /* rows of tiles that blocks take together, so that what they read stays in the second-level cache */
};

/* One operand: element (i, k), i a row or a column of c; memory runs along k in rows of i, or along i in rows of k. */
typedef struct Operand {
    const bf16 *at;
    int64_t row; /* elements of a row of memory */
    int extent;  /* of i */
} Operand;

/* Where the chunk that holds (i, k) lies in a stage. Rows of 4 chunks (along k) are permuted by pairs of rows, which are 128 bytes; longer
 * rows (along i) each. Eight rows' chunks of the same place are then in 32 banks. */
template <int TILE, int ALONG_K> __device__ __forceinline__ int chunk_at(int i, int k) {
    if constexpr (ALONG_K) return i * DEPTH + ((k / CHUNK) ^ (i / 2 % 4)) * CHUNK;
    else return k * TILE + ((i / CHUNK) ^ (k % 8)) * CHUNK;
}

/* A thread's share of an operand's tiles. Its chunks lie a fixed number of rows apart, a multiple of 8: their places in a stage too. */
template <int TILE, int ALONG_K, int VECTORS> struct Copy {
    static constexpr int ROW = ALONG_K ? DEPTH / CHUNK : TILE / CHUNK; /* chunks */
    static constexpr int APART = THREADS / ROW, ROWS = ALONG_K ? TILE : DEPTH, PER = ROWS / APART;
    const bf16 *from;
    int64_t row;
    int place, i, k, extent;

    __device__ __forceinline__ Copy(const Operand &o, int first) {
        int along = (int)threadIdx.x % ROW * CHUNK, across = (int)threadIdx.x / ROW;
        i = ALONG_K ? across : along, k = ALONG_K ? along : across;
        place = chunk_at<TILE, ALONG_K>(i, k);
        i += first;
        row = o.row, extent = o.extent;
        from = o.at + (ALONG_K ? i * row + k : k * row + i);
    }
    /* The next tile, of which `left` k are there. */
    __device__ __forceinline__ void next(bf16 *stage, int left) {
        UNROLL
        for (int p = 0; p < PER; p++) {
            int at_i = ALONG_K ? i + p * APART : i, at_k = ALONG_K ? k : k + p * APART;
            int there = ALONG_K ? (at_i < extent ? left - at_k : 0) : (at_k < left ? extent - at_i : 0);
            bf16 *to = stage + place + p * APART * ROW * CHUNK;
            const bf16 *chunk = from + p * APART * row;
            if constexpr (VECTORS) {
                cp_async_16(to, chunk, there > 0 ? 16 : 0);
            } else {
                Vec<bf16, CHUNK> v = elements_zero<bf16, CHUNK>();
                UNROLL
                for (int j = 0; j < CHUNK; j++)
                    if (j < there) v.v[j] = chunk[j];
                vec_store(to, v);
            }
        }
        from += DEPTH * (ALONG_K ? 1 : row);
    }
};

/* A quarter of a tile, from row and column `at_a`, `at_b` of it: sums, and the fragments of two steps. */
template <int TILE, int A_ALONG_K, int B_ALONG_K> struct Quarter {
    static constexpr int SIDE = TILE / 2, ROWS = SIDE / 16, COLUMNS = SIDE / 8;
    float sums[ROWS][COLUMNS][4];
    uint32_t a[2][ROWS][4], b[2][COLUMNS][2];

    /* Matrices of 8 x 8, in the order of an operation's registers: of a first the rows then k, of b first k then the columns. */
    __device__ __forceinline__ void load(int turn, const bf16 *stage_a, const bf16 *stage_b, int at_a, int at_b, int k) {
        int lane = threadIdx.x % 32, within = lane % 8, low = lane / 8 % 2 * 8, high = lane / 16 * 8;
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            const bf16 *at =
                stage_a + chunk_at<TILE, A_ALONG_K>(at_a + r * 16 + low + (A_ALONG_K ? within : 0), k + high + (A_ALONG_K ? 0 : within));
            if constexpr (A_ALONG_K) ldmatrix_x4(a[turn][r], at);
            else ldmatrix_x4_trans(a[turn][r], at);
        }
        UNROLL
        for (int c = 0; c < COLUMNS; c += 2) {
            const bf16 *at =
                stage_b + chunk_at<TILE, B_ALONG_K>(at_b + c * 8 + high + (B_ALONG_K ? within : 0), k + low + (B_ALONG_K ? 0 : within));
            uint32_t four[4];
            if constexpr (B_ALONG_K) ldmatrix_x4(four, at);
            else ldmatrix_x4_trans(four, at);
            b[turn][c][0] = four[0], b[turn][c][1] = four[1], b[turn][c + 1][0] = four[2], b[turn][c + 1][1] = four[3];
        }
    }
    __device__ __forceinline__ void multiply(int turn) {
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            UNROLL
            for (int c = 0; c < COLUMNS; c++) mma_m16n8k16_bf16(sums[r][c], a[turn][r], b[turn][c], sums[r][c]);
        }
    }
    /* Through `own` memory of the warp, SIDE x SIDE. Groups of 8 sums are permuted by rows: no bank is met twice. */
    __device__ __forceinline__ void store(const Epilogue &e, float *own, int row, int column) const {
        int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            UNROLL
            for (int c = 0; c < COLUMNS; c++) {
                float *at = own + (r * 16 + g) * SIDE + (c ^ (g % 4)) * 8 + t * 2;
                vec_store(at, Vec<float, 2>{ { sums[r][c][0], sums[r][c][1] } });
                vec_store(at + 8 * SIDE, Vec<float, 2>{ { sums[r][c][2], sums[r][c][3] } });
            }
        }
        __syncwarp(FULL_WARP);
        constexpr int FOURS = SIDE / 4, AT_ONCE = 32 / FOURS; /* rows */
        for (int r = lane / FOURS; r < SIDE; r += AT_ONCE) {
            int c = lane % FOURS * 4;
            Vec<float, 4> v = vec_load<4>(own + r * SIDE + ((c / 8) ^ (r % 4)) * 8 + c % 8);
            epilogue_store_four(e, row + r, column + c, v.v);
        }
    }
};

template <int TILE> struct Ring {
    static constexpr int STAGE = 2 * TILE * DEPTH, BYTES = STAGES * STAGE * (int)sizeof(bf16);
    static_assert(BYTES >= TILE * TILE * (int)sizeof(float), "the sums leave through the stages");
};

template <int TILE, int A_ALONG_K, int B_ALONG_K, int VECTORS>
__global__ void __launch_bounds__(THREADS, 2) gemm_bf16_kernel(Operand a, Operand b, int depth, int tiles_m, int tiles_n, Epilogue e) {
    SHARED_DYN(bf16, ring);
    constexpr int STAGE = Ring<TILE>::STAGE, HALF = TILE / 2;
    /* Blocks in order take bands of BAND rows of tiles, each column by column. */
    int band = (int)blockIdx.x / (BAND * tiles_n), within = (int)blockIdx.x % (BAND * tiles_n), rows = min(BAND, tiles_m - band * BAND);
    int first_row = (band * BAND + within % rows) * TILE, first_column = within / rows * TILE;
    int warp = threadIdx.x / 32, at_a = warp / 2 * HALF, at_b = warp % 2 * HALF;
    int tiles = (depth + DEPTH - 1) / DEPTH;
    Copy<TILE, A_ALONG_K, VECTORS> copy_a(a, first_row);
    Copy<TILE, B_ALONG_K, VECTORS> copy_b(b, first_column);
    Quarter<TILE, A_ALONG_K, B_ALONG_K> quarter;
    memset(quarter.sums, 0, sizeof quarter.sums);
    for (int tile = 0; tile < STAGES - 1; tile++) {
        if (tile < tiles) {
            bf16 *stage = ring + tile * STAGE;
            copy_a.next(stage, depth - tile * DEPTH);
            copy_b.next(stage + TILE * DEPTH, depth - tile * DEPTH);
        }
        cp_async_commit();
    }
    cp_async_wait<STAGES - 2>();
    __syncthreads();
    if (tiles) quarter.load(0, ring, ring + TILE * DEPTH, at_a, at_b, 0);
    for (int tile = 0; tile < tiles; tile++) {
        const bf16 *stage = ring + tile % STAGES * STAGE;
        UNROLL
        for (int step = 0; step < STEPS; step++) {
            int turn = step % 2;
            if (step < STEPS - 1) {
                quarter.load(!turn, stage, stage + TILE * DEPTH, at_a, at_b, (step + 1) * STEP);
            } else {
                cp_async_wait<STAGES - 2>();
                __syncthreads(); /* the next tile is there for all, and all have loaded what they need of this one */
                const bf16 *next = ring + (tile + 1) % STAGES * STAGE;
                if (tile + 1 < tiles) quarter.load(!turn, next, next + TILE * DEPTH, at_a, at_b, 0);
            }
            if (step == 0) {
                int ahead = tile + STAGES - 1;
                if (ahead < tiles) {
                    bf16 *to = ring + ahead % STAGES * STAGE;
                    copy_a.next(to, depth - ahead * DEPTH);
                    copy_b.next(to + TILE * DEPTH, depth - ahead * DEPTH);
                }
                cp_async_commit();
            }
            quarter.multiply(turn);
        }
    }
    /* No copy is on the way: those of tiles beyond the last are empty. The last barrier stands behind every use of a stage. */
    quarter.store(e, (float *)ring + warp * (HALF * HALF), first_row + at_a, first_column + at_b);
}

template <int TILE, int VECTORS> static void tiles_run(const CudaProduct *p, Operand a, Operand b) {
    int m = (int)blocks_for(p->m, TILE), n = (int)blocks_for(p->n, TILE);
    int64_t blocks = (int64_t)m * n;
    constexpr int BYTES = Ring<TILE>::BYTES;
    Epilogue e = epilogue_of(p);
    if (p->form == FORM_X_WT)
        LAUNCH((gemm_bf16_kernel<TILE, 1, 1, VECTORS>), (unsigned)blocks, THREADS, BYTES, cuda_stream(), a, b, p->k, m, n, e);
    else if (p->form == FORM_X_W)
        LAUNCH((gemm_bf16_kernel<TILE, 1, 0, VECTORS>), (unsigned)blocks, THREADS, BYTES, cuda_stream(), a, b, p->k, m, n, e);
    else LAUNCH((gemm_bf16_kernel<TILE, 0, 0, VECTORS>), (unsigned)blocks, THREADS, BYTES, cuda_stream(), a, b, p->k, m, n, e);
}

extern "C" void gemm_bf16_run(const CudaProduct *p) {
    const Buf operands[] = { p->a, p->b };
    int64_t row_a = p->form == FORM_XT_Y ? p->m : p->k, row_b = p->form == FORM_X_WT ? p->k : p->n;
    Operand a = { (const bf16 *)p->a.at, row_a, p->m }, b = { (const bf16 *)p->b.at, row_b, p->n };
    int vectors = row_a % CHUNK == 0 && row_b % CHUNK == 0 && buffers_aligned(16, operands, 2);
    int large = blocks_for(p->m, LARGE) * blocks_for(p->n, LARGE) >= cuda_multiprocessors();
    if (large && vectors) tiles_run<LARGE, 1>(p, a, b);
    else if (vectors) tiles_run<SMALL, 1>(p, a, b);
    else tiles_run<SMALL, 0>(p, a, b); /* large tiles would want more registers than there are */
}

/* norm.cu - RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba, Kiros, Hinton 2016), forward and backward.
 *
 * A row is read once and stays in registers between its statistics and its use: 32 lanes hold a narrow row, 128 or 512 a wide one. A block
 * takes a run of rows, so that weights are read once per block, and the gradients of weight and bias are summed in registers over the run,
 * written once as a partial sum of the block, and added up by a second kernel in the order of blocks. Every sum has a fixed order.
 * Statistics are fp32, for LayerNorm mean first, then squared deviations: no cancellation.
 * Refuses rows wider than the registers of 512 lanes hold: 8192 elements. */
#include "kernels/cuda/rows.cuh"

enum {
    NORM_THREADS = 256, /* of a block whose warps have a row each: few, so that each has registers to read ahead */
    COLUMN_LANES = 32,  /* of the second kernel: columns of a block, and strips of partial sums beside one another */
    COLUMN_STRIPS = 16
};

/* How rows lie in a block: LANES threads share a row, each holds PER vectors of N elements of it; ROWS rows are worked on at once. */
template <int LANES> struct Groups { static constexpr int THREADS = LANES == 32 ? NORM_THREADS : LANES, COUNT = THREADS / LANES; };

/* Sums of v[] over the lanes of a row, which every lane gets. `parts` holds two sets, used in turns: one barrier is enough. */
template <int LANES, int COUNT> __device__ __forceinline__ void row_sums(float (&v)[COUNT], float *parts, int &turn) {
    UNROLL
    for (int c = 0; c < COUNT; c++) v[c] = warp_sum(v[c]);
    if constexpr (LANES > 32) {
        constexpr int WARPS = LANES / 32;
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        float *part = parts + turn * (WARPS * COUNT);
        if (lane == 0) {
            UNROLL
            for (int c = 0; c < COUNT; c++) part[c * WARPS + warp] = v[c];
        }
        __syncthreads();
        UNROLL
        for (int c = 0; c < COUNT; c++) v[c] = warp_sum(lane < WARPS ? part[c * WARPS + lane] : 0.0f);
        turn ^= 1;
    }
}

/* A lane's part of a row; zeros beyond it. */
template <int LANES, int PER, typename T, int N>
__device__ __forceinline__ void row_load(Vec<T, N> (&v)[PER], const T *row, int lane, int vectors, bool there) {
    UNROLL
    for (int p = 0; p < PER; p++) {
        int i = lane + p * LANES;
        v[p] = there && i < vectors ? elements_load<N>(row + i * N) : elements_zero<T, N>();
    }
}

/* A block's copy of a weight. Where one group of lanes is the block, each lane keeps its part in registers; where many share it, it lies in
 * shared memory, zeros beyond the row. */
template <int LANES, int PER, typename T, int N> struct Weights {
    static constexpr bool SHARED_COPY = Groups<LANES>::COUNT > 1;
    Vec<T, N> held[SHARED_COPY ? 1 : PER];
    const T *copy;

    __device__ __forceinline__ void load(const T *w, T *shared, int vectors) {
        if constexpr (SHARED_COPY) {
            for (int i = threadIdx.x; i < LANES * PER; i += NORM_THREADS)
                vec_store(shared + i * N, i < vectors ? elements_load<N>(w + i * N) : elements_zero<T, N>());
            copy = shared;
            __syncthreads();
        } else {
            row_load<LANES>(held, w, (int)threadIdx.x, vectors, true);
        }
    }
    __device__ __forceinline__ Vec<T, N> at(int lane, int p) const {
        if constexpr (SHARED_COPY) return elements_load<N>(copy + (lane + p * LANES) * N);
        else return held[p];
    }
    /* elements of shared memory */
    static constexpr int ROOM = SHARED_COPY ? LANES * PER * N : 1;
};

typedef struct NormForward {
    void *y;
    const void *x, *w, *b;
    float *mean, *rstd; /* or NULL */
    int rows, D, block_rows;
    float eps;
} NormForward;

template <typename T, int N, int LANES, int PER, int ROWS, bool LAYER>
__global__ void __launch_bounds__(Groups<LANES>::THREADS, 512 / Groups<LANES>::THREADS) norm_forward_kernel(NormForward f) {
    constexpr int GROUPS = Groups<LANES>::COUNT, WARPS = LANES / 32;
    SHARED(float, parts, 2 * WARPS * ROWS);
    int lane = threadIdx.x % LANES, group = threadIdx.x / LANES, vectors = f.D / N, turn = 0;
    int first = blockIdx.x * f.block_rows, end = first + f.block_rows < f.rows ? first + f.block_rows : f.rows;
    typedef Weights<LANES, PER, T, N> Held;
    SHARED(T, w_shared, Held::ROOM);
    SHARED(T, b_shared, LAYER ? Held::ROOM : 1);
    Held w, b;
    w.load((const T *)f.w, w_shared, vectors);
    if constexpr (LAYER) b.load((const T *)f.b, b_shared, vectors);
    for (int base = first; base < end; base += GROUPS * ROWS) {
        Vec<T, N> x[ROWS][PER];
        float mean[ROWS], rstd[ROWS];
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            int row = base + r * GROUPS + group;
            row_load<LANES>(x[r], (const T *)f.x + (int64_t)row * f.D, lane, vectors, row < end);
            mean[r] = rstd[r] = 0;
        }
        if constexpr (LAYER) {
            UNROLL
            for (int i = 0; i < ROWS * PER * N; i++) mean[i / (PER * N)] += to_float(x[i / (PER * N)][i / N % PER].v[i % N]);
            row_sums<LANES>(mean, parts, turn);
            UNROLL
            for (int r = 0; r < ROWS; r++) mean[r] /= (float)f.D;
        }
        UNROLL
        for (int i = 0; i < ROWS * PER * N; i++) {
            int r = i / (PER * N), p = i / N % PER;
            float d = lane + p * LANES < vectors ? to_float(x[r][p].v[i % N]) - mean[r] : 0.0f;
            rstd[r] += d * d;
        }
        row_sums<LANES>(rstd, parts, turn);
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            int row = base + r * GROUPS + group;
            float scale = 1.0f / sqrtf(rstd[r] / (float)f.D + f.eps);
            if (row >= end) continue;
            if (lane == 0) {
                if (f.mean) f.mean[row] = mean[r];
                if (f.rstd) f.rstd[row] = scale;
            }
            UNROLL
            for (int p = 0; p < PER; p++) {
                int i = lane + p * LANES;
                if (i >= vectors) continue;
                Vec<T, N> y, wp = w.at(lane, p), bp = LAYER ? b.at(lane, p) : wp;
                UNROLL
                for (int j = 0; j < N; j++) {
                    float n = (to_float(x[r][p].v[j]) - mean[r]) * scale * to_float(wp.v[j]);
                    if constexpr (LAYER) n += to_float(bp.v[j]);
                    y.v[j] = from_float<T>(n);
                }
                elements_store((T *)f.y + (int64_t)row * f.D + i * N, y);
            }
        }
    }
}

typedef struct NormBackward {
    void *dx;
    const void *dy, *x, *w;
    const float *mean, *rstd;   /* mean: LayerNorm only */
    float *dw_parts, *db_parts; /* (blocks, D), or NULL */
    int rows, D, block_rows;
} NormBackward;

/* What a lane reads of ROWS rows. */
template <typename T, int N, int PER, int ROWS> struct NormRows {
    Vec<T, N> x[ROWS][PER], dy[ROWS][PER];
    float mean[ROWS], rstd[ROWS];
};

template <int LANES, bool LAYER, typename T, int N, int PER, int ROWS>
__device__ __forceinline__ void norm_rows_load(NormRows<T, N, PER, ROWS> &v, const NormBackward &f, int row, int end, int lane) {
    UNROLL
    for (int r = 0; r < ROWS; r++, row += Groups<LANES>::COUNT) {
        bool there = row < end;
        row_load<LANES>(v.x[r], (const T *)f.x + (int64_t)row * f.D, lane, f.D / N, there);
        row_load<LANES>(v.dy[r], (const T *)f.dy + (int64_t)row * f.D, lane, f.D / N, there);
        v.rstd[r] = there ? f.rstd[row] : 0.0f;
        v.mean[r] = LAYER && there ? f.mean[row] : 0.0f;
    }
}

/* Where the block's sum for element j of vector i lies in its partial sums: the quads of all lanes side by side, so that a warp's stores
 * are contiguous. part_column is the inverse. */
template <int N> __device__ __forceinline__ int part_at(int i, int j, int vectors) {
    constexpr int QUAD = N < 4 ? N : 4;
    return (j / QUAD * vectors + i) * QUAD + j % QUAD;
}
__device__ __forceinline__ int part_column(int at, int vectors, int N) {
    int quad = N < 4 ? N : 4;
    return at / quad % vectors * N + at / quad / vectors * quad + at % quad;
}

/* Writes the sums of a block: the groups' sums are added in their order in shared memory. */
template <int LANES, int PER, int N> __device__ __forceinline__ void parts_write(float *parts, const float (&sum)[PER][N], int vectors) {
    constexpr int GROUPS = Groups<LANES>::COUNT, QUAD = N < 4 ? N : 4;
    int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
    if constexpr (GROUPS == 1) {
        UNROLL
        for (int p = 0; p < PER; p++) {
            int i = lane + p * LANES;
            if (i >= vectors) continue;
            UNROLL
            for (int j = 0; j < N; j += QUAD) {
                Vec<float, QUAD> quad;
                UNROLL
                for (int q = 0; q < QUAD; q++) quad.v[q] = sum[p][j + q];
                elements_store(parts + part_at<N>(i, j, vectors), quad);
            }
        }
    } else {
        SHARED(float, total, LANES *PER *N);
        __syncthreads(); /* whoever still reads another sum from it */
        for (int g = 0; g < GROUPS; g++) {
            if (g == group) {
                UNROLL
                for (int p = 0; p < PER; p++) {
                    int i = lane + p * LANES;
                    if (i >= vectors) continue;
                    UNROLL
                    for (int j = 0; j < N; j += QUAD) {
                        float *at = total + part_at<N>(i, j, vectors);
                        Vec<float, QUAD> quad = g > 0 ? elements_load<QUAD>((const float *)at) : elements_zero<float, QUAD>();
                        UNROLL
                        for (int q = 0; q < QUAD; q++) quad.v[q] += sum[p][j + q];
                        vec_store(at, quad);
                    }
                }
            }
            __syncthreads();
        }
        for (int at = threadIdx.x; at < vectors * N; at += NORM_THREADS) parts[at] = total[at];
    }
}

/* dx += rstd * (g - centre * mean(g) - n * mean(g n)) with g = dy w and n = (x - mean) rstd. RMSNorm subtracts no mean, so centre is 0.
 * AHEAD: the next rows are read while these are worked on. dx may be dy. */
template <typename T, int N, int LANES, int PER, int ROWS, bool AHEAD, bool LAYER>
__global__ void __launch_bounds__(Groups<LANES>::THREADS) norm_backward_kernel(NormBackward f) {
    constexpr int GROUPS = Groups<LANES>::COUNT, WARPS = LANES / 32, SUMS = LAYER ? 2 : 1;
    SHARED(float, parts, 2 * WARPS * ROWS * SUMS);
    int lane = threadIdx.x % LANES, group = threadIdx.x / LANES, vectors = f.D / N, turn = 0;
    int first = blockIdx.x * f.block_rows, end = first + f.block_rows < f.rows ? first + f.block_rows : f.rows;
    typedef Weights<LANES, PER, T, N> Held;
    SHARED(T, w_shared, Held::ROOM);
    Held w;
    w.load((const T *)f.w, w_shared, vectors);
    float dw[PER][N] = {}, db[LAYER ? PER : 1][N] = {};
    NormRows<T, N, PER, ROWS> next;
    if constexpr (AHEAD) norm_rows_load<LANES, LAYER>(next, f, first + group, end, lane);
    for (int base = first; base < end; base += GROUPS * ROWS) {
        NormRows<T, N, PER, ROWS> v;
        Vec<T, N> dx[ROWS][PER];
        if constexpr (AHEAD) {
            v = next;
            norm_rows_load<LANES, LAYER>(next, f, base + GROUPS * ROWS + group, end, lane);
        } else {
            norm_rows_load<LANES, LAYER>(v, f, base + group, end, lane);
        }
        float sums[ROWS * SUMS] = {};
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            int row = base + r * GROUPS + group;
            row_load<LANES>(dx[r], (const T *)f.dx + (int64_t)row * f.D, lane, vectors, row < end);
            UNROLL
            for (int p = 0; p < PER; p++) {
                Vec<T, N> wp = w.at(lane, p);
                UNROLL
                for (int j = 0; j < N; j++) {
                    float d = to_float(v.dy[r][p].v[j]), g = d * to_float(wp.v[j]), n = (to_float(v.x[r][p].v[j]) - v.mean[r]) * v.rstd[r];
                    sums[r * SUMS] += g * n;
                    dw[p][j] += d * n;
                    if constexpr (LAYER) {
                        sums[r * SUMS + 1] += g;
                        db[p][j] += d;
                    }
                }
            }
        }
        row_sums<LANES>(sums, parts, turn);
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            int row = base + r * GROUPS + group;
            float mean_gn = sums[r * SUMS] / (float)f.D, mean_g = LAYER ? sums[r * SUMS + SUMS - 1] / (float)f.D : 0.0f;
            if (row >= end) continue;
            UNROLL
            for (int p = 0; p < PER; p++) {
                int i = lane + p * LANES;
                if (i >= vectors) continue;
                Vec<T, N> out, wp = w.at(lane, p);
                UNROLL
                for (int j = 0; j < N; j++) {
                    float g = to_float(v.dy[r][p].v[j]) * to_float(wp.v[j]), n = (to_float(v.x[r][p].v[j]) - v.mean[r]) * v.rstd[r];
                    out.v[j] = from_float<T>(to_float(dx[r][p].v[j]) + v.rstd[r] * (g - mean_g - n * mean_gn));
                }
                elements_store((T *)f.dx + (int64_t)row * f.D + i * N, out);
            }
        }
    }
    if (f.dw_parts) parts_write<LANES>(f.dw_parts + (int64_t)blockIdx.x * f.D, dw, vectors);
    if constexpr (LAYER) {
        if (f.db_parts) parts_write<LANES>(f.db_parts + (int64_t)blockIdx.x * f.D, db, vectors);
    }
}

/* dw (or, in the second layer of the grid, db) += the blocks' partial sums, in order within each strip of blocks and then over strips. */
__global__ void __launch_bounds__(COLUMN_LANES *COLUMN_STRIPS)
    norm_columns_kernel(float *dw, float *db, const float *dw_parts, const float *db_parts, int blocks, int D, int N) {
    SHARED(float, strips, COLUMN_LANES *COLUMN_STRIPS);
    float *to = blockIdx.y ? db : dw;
    const float *parts = blockIdx.y ? db_parts : dw_parts;
    int lane = threadIdx.x % COLUMN_LANES, strip = threadIdx.x / COLUMN_LANES, at = blockIdx.x * COLUMN_LANES + lane;
    float sum = 0;
    if (to && at < D)
        for (int block = strip; block < blocks; block += COLUMN_STRIPS) sum += parts[(int64_t)block * D + at];
    strips[threadIdx.x] = sum;
    __syncthreads();
    if (!to || at >= D || strip > 0) return;
    for (int s = 1; s < COLUMN_STRIPS; s++) sum += strips[s * COLUMN_LANES + lane];
    to[part_column(at, D / N, N)] += sum;
}

/* ---- launching ---- */

/* One call: forward where dx is BUF_NONE. LayerNorm has b (forward) and mean. */
typedef struct NormCall {
    Buf y, x, w, b, mean, rstd, dx, dw, db, dy;
    int layer, rows, D;
    float eps;
} NormCall;

/* Rows of a block. What a block reads and writes beside its rows, `block_bytes`, should be at most 3 % of the traffic of its rows; where
 * rows are few, filling a third of the processors matters more. */
static int rows_per_block(int rows, int at_once, int64_t block_bytes, int64_t row_bytes, int resident) {
    int64_t enough = blocks_for(33 * block_bytes, row_bytes), third = most(cuda_multiprocessors() / 3, 1);
    int64_t blocks = most(rows / enough, least(blocks_for(rows, at_once), third));
    blocks = least(blocks, (int64_t)cuda_multiprocessors() * resident);
    return (int)blocks_for(rows, blocks);
}

template <typename T, int N, int LANES, int PER, int ROWS, bool AHEAD> static void norm_launch(const NormCall *c) {
    constexpr int GROUPS = Groups<LANES>::COUNT, THREADS = Groups<LANES>::THREADS, SIZE = sizeof(T);
    cudaStream_t stream = cuda_stream();
    if (!c->dx.at) {
        int block_rows = rows_per_block(c->rows, GROUPS, (1 + c->layer) * SIZE, 2 * SIZE, 2048 / THREADS);
        unsigned blocks = (unsigned)blocks_for(c->rows, block_rows);
        NormForward f = { c->y.at, c->x.at, c->w.at, c->b.at, (float *)c->mean.at, (float *)c->rstd.at, c->rows, c->D, block_rows, c->eps };
        if (c->layer) LAUNCH((norm_forward_kernel<T, N, LANES, PER, ROWS, true>), blocks, THREADS, 0, stream, f);
        else LAUNCH((norm_forward_kernel<T, N, LANES, PER, ROWS, false>), blocks, THREADS, 0, stream, f);
        return;
    }
    int sums = (c->dw.at != NULL) + (c->db.at != NULL);
    int block_rows = rows_per_block(c->rows, GROUPS, SIZE + sums * 8, 4 * SIZE, 512 / THREADS);
    int64_t blocks = blocks_for(c->rows, block_rows), D = c->D;
    float *parts = sums ? (float *)cuda_scratch(CUDA_SCRATCH_NORM, blocks * D * sums * 4) : NULL;
    if (sums && !parts) return;
    NormBackward f = { c->dx.at, c->dy.at, c->x.at, c->w.at, (const float *)c->mean.at, (const float *)c->rstd.at, c->dw.at ? parts : NULL,
        c->db.at ? parts + (sums - 1) * blocks * D : NULL, c->rows, c->D, block_rows };
    /* LayerNorm's second sum leaves the widest blocks no registers to read ahead. */
    if (c->layer)
        LAUNCH((norm_backward_kernel < T, N, LANES, PER, ROWS, AHEAD && LANES != 512, true >), (unsigned)blocks, THREADS, 0, stream, f);
    else LAUNCH((norm_backward_kernel<T, N, LANES, PER, ROWS, AHEAD, false>), (unsigned)blocks, THREADS, 0, stream, f);
    if (!sums) return;
    dim3 grid((unsigned)blocks_for(D, COLUMN_LANES), c->db.at ? 2 : 1);
    LAUNCH(norm_columns_kernel, grid, COLUMN_LANES * COLUMN_STRIPS, 0, stream, (float *)c->dw.at, (float *)c->db.at, f.dw_parts, f.db_parts,
        (int)blocks, c->D, N);
}

/* The narrowest arrangement of lanes that holds a row. Rows worked on at once, and those read ahead, are what registers allow. */
template <typename T> static void norm_choose(const char *operation, const NormCall *c, int vectorised) {
    constexpr int N = Full<T>::N;
    int vectors = vectorised ? c->D / N : c->D;
    if constexpr (N == 4) {
        if (vectorised && vectors > 1024 && vectors <= 2048) return norm_launch<T, N, 512, 4, 1, false>(c);
    }
    if (vectorised && vectors <= 64) norm_launch<T, N, 32, 2, 1, true>(c);
    else if (vectorised && vectors <= 128) norm_launch<T, N, 32, 4, 1, true>(c);
    else if (vectorised && vectors <= 256) norm_launch<T, N, 128, 2, 2, false>(c);
    else if (vectorised && vectors <= 512) norm_launch<T, N, 512, 1, 2, true>(c);
    else if (vectorised && vectors <= 1024) norm_launch<T, N, 512, 2, 1, true>(c);
    else if (!vectorised && vectors <= 128) norm_launch<T, 1, 32, 4, 1, true>(c);
    else if (!vectorised && vectors <= 1024) norm_launch<T, 1, 128, 8, 1, true>(c);
    else if (!vectorised && vectors <= 8192) norm_launch<T, 1, 512, 16, 1, false>(c);
    else cuda_failure_set(operation, "rows of %d elements, too wide", c->D);
}

static void norm(const char *operation, const NormCall *c) {
    const Buf typed[] = { c->y, c->x, c->w, c->b, c->dx, c->dy }, sums[] = { c->mean, c->rstd, c->dw, c->db };
    if (c->rows <= 0 || c->D <= 0 || !dtypes_agree(operation, c->x.dtype, typed, 6) || !dtypes_agree(operation, FP32, sums, 4)) return;
    FOR_DTYPE(c->x.dtype, T, norm_choose<T>(operation, c, c->D % Full<T>::N == 0 && buffers_aligned(16, typed, 6)));
}

extern "C" void cuda_rmsnorm_forward(Buf y, Buf rstd, Buf x, Buf w, int T, int D, float eps) {
    NormCall c = {};
    c.y = y, c.rstd = rstd, c.x = x, c.w = w, c.rows = T, c.D = D, c.eps = eps;
    norm("rmsnorm_forward", &c);
}

extern "C" void cuda_layernorm_forward(Buf y, Buf mean, Buf rstd, Buf x, Buf w, Buf b, int T, int D, float eps) {
    NormCall c = {};
    c.layer = 1, c.y = y, c.mean = mean, c.rstd = rstd, c.x = x, c.w = w, c.b = b, c.rows = T, c.D = D, c.eps = eps;
    norm("layernorm_forward", &c);
}

extern "C" void cuda_rmsnorm_backward(Buf dx, Buf dw, Buf dy, Buf x, Buf w, Buf rstd, int T, int D) {
    NormCall c = {};
    c.dx = dx, c.dw = dw, c.dy = dy, c.x = x, c.w = w, c.rstd = rstd, c.rows = T, c.D = D;
    norm("rmsnorm_backward", &c);
}

extern "C" void cuda_layernorm_backward(Buf dx, Buf dw, Buf db, Buf dy, Buf x, Buf w, Buf mean, Buf rstd, int T, int D) {
    NormCall c = {};
    c.layer = 1, c.dx = dx, c.dw = dw, c.db = db, c.dy = dy, c.x = x, c.w = w, c.mean = mean, c.rstd = rstd, c.rows = T, c.D = D;
    norm("layernorm_backward", &c);
}

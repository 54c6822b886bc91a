/* logprob.cu - the lm_head applied to scored rows: log-probabilities of targets and their gradient, in chunks of rows.
 *
 * Logits of a chunk (rows x vocabulary, fp32) are one product and are read once: a block takes a row and keeps the sums of its softmax
 * relative to the largest logit so far (Milakov and Gimelshein 2018, arXiv 1805.02867). With p = softmax(l): logp = l[target] - lse,
 * entropy = lse - sum p l, dL/dl[j] = dL/dlogp (1[j = target] - p[j]). Backward computes the chunk's logits again rather than keep them,
 * and takes only rows that have a gradient: which those are it reads from the device first, so it waits. */
#include "kernels/cuda/products.cuh"

#include <math.h>
#include <stdlib.h>

/* Backward reads and writes the gradient of w (V, D) once per chunk: 2000 rows of 32000 logits make that a fifth of the products' time. */
extern "C" int64_t cuda_logprob_chunk_bytes;
int64_t cuda_logprob_chunk_bytes = CUDA_LOGITS_BYTES;

enum {
    ROW_THREADS = 256,
    ROW_DEEP = 4,             /* vectors of a row that a thread has in flight */
    CHUNK_ROWS_MOST = 1 << 16 /* of short rows: their targets pass through the ring of state.h */
};

/* Rows per chunk: as even as can be, so that no chunk is a short remainder. */
static int chunk_rows(int R, int V) {
    int64_t rows = least(most(cuda_logprob_chunk_bytes / ((int64_t)V * 4), 1), CHUNK_ROWS_MOST);
    return (int)blocks_for(R, blocks_for(R, rows));
}

/* ---- statistics of a row ---- */

/* Sums over logits: of exp(l - largest), of that times (l - largest), of l. */
typedef struct RowSums {
    float largest, exps, weighted, logits;
} RowSums;

template <int COUNT> __device__ __forceinline__ void sums_add(RowSums &s, const float (&x)[COUNT], const bool (&there)[COUNT]) {
    float largest = s.largest;
    UNROLL
    for (int i = 0; i < COUNT; i++)
        if (there[i]) largest = fmaxf(largest, x[i]);
    if (largest > s.largest) {
        float by = s.largest - largest, shrink = __expf(by);
        if (s.exps > 0) s.weighted = (s.weighted + s.exps * by) * shrink;
        s.exps *= shrink;
        s.largest = largest;
    }
    UNROLL
    for (int i = 0; i < COUNT; i++) {
        if (!there[i]) continue;
        float d = x[i] - largest, e = __expf(d);
        s.exps += e;
        s.weighted += e > 0 ? e * d : 0.0f; /* d may be -infinity */
        s.logits += x[i];
    }
}

typedef struct RowResults {
    float *logp, *entropy, *hit, *mean_logit, *lse, *largest; /* each may be NULL */
} RowResults;

__device__ __forceinline__ void put(float *to, int at, double v) {
    if (to) to[at] = (float)v;
}

/* Row blockIdx.x of a chunk is row first + blockIdx.x of the results. A vector has N logits. */
template <int N>
__global__ void __launch_bounds__(ROW_THREADS)
    logprob_kernel(RowResults out, const float *logits, const int *targets, int first, int V, double inverse_V) {
    const float *l = logits + (int64_t)blockIdx.x * V;
    int target = targets[blockIdx.x], beaten = 0;
    bool here = target >= 0 && target < V; /* else in another slice of the vocabulary, and everything beats it */
    float at_target = here ? l[target] : -INFINITY;
    RowSums s = { -INFINITY, 0, 0, 0 };
    for (int i = (int)threadIdx.x * N; i < V; i += ROW_THREADS * N * ROW_DEEP) {
        float x[ROW_DEEP * N];
        bool there[ROW_DEEP * N];
        UNROLL
        for (int d = 0; d < ROW_DEEP; d++) {
            int at = i + d * ROW_THREADS * N;
            Vec<float, N> v = at < V ? elements_load<N>(l + at) : elements_zero<float, N>();
            UNROLL
            for (int j = 0; j < N; j++) {
                x[d * N + j] = v.v[j], there[d * N + j] = at < V;
                /* The argmax is the lowest id among equals. */
                beaten |= at < V && (v.v[j] > at_target || (v.v[j] == at_target && at + j < target));
            }
        }
        sums_add(s, x, there);
    }
    float largest = block_max<ROW_THREADS>(s.largest), by = s.largest - largest, shrink = s.exps > 0 ? expf(by) : 0.0f;
    float part = s.exps > 0 ? (s.weighted + s.exps * by) * shrink : 0.0f;
    double exps = block_sum_double<ROW_THREADS>(s.exps * shrink);
    double weighted = block_sum_double<ROW_THREADS>(part);
    double total = block_sum_double<ROW_THREADS>(s.logits);
    beaten = __syncthreads_or(beaten);
    if (threadIdx.x) return;
    int r = first + (int)blockIdx.x;
    double log_sum = log(exps);
    put(out.lse, r, (double)largest + log_sum);
    put(out.logp, r, ((double)at_target - (double)largest) - log_sum);
    put(out.largest, r, largest);
    put(out.entropy, r, log_sum - weighted * exp(-log_sum));
    put(out.hit, r, here && !beaten);
    put(out.mean_logit, r, total * inverse_V);
}

extern "C" void cuda_logprob_forward(
    Buf logp, Buf entropy, Buf hit, Buf mean_logit, Buf lse, Buf largest, Buf h, Buf w, const int *targets, int R, int V, int D) {
    const Buf all[] = { logp, entropy, hit, mean_logit, lse, largest };
    if (R <= 0 || !dtypes_agree("logprob_forward", FP32, all, 6)) return;
    int chunk = chunk_rows(R, V), vectors = V % 4 == 0;
    float *l = (float *)cuda_scratch(CUDA_SCRATCH_LOGITS, (int64_t)chunk * V * 4);
    if (!l) return;
    RowResults out = { (float *)logp.at, (float *)entropy.at, (float *)hit.at, (float *)mean_logit.at, (float *)lse.at,
        (float *)largest.at };
    for (int from = 0; from < R; from += chunk) {
        int rows = (int)least(chunk, R - from);
        const int *staged = (const int *)cuda_stage(targets + from, rows * (int64_t)sizeof *targets);
        if (!staged) return;
        cuda_logits(Buf{ l, FP32 }, buf_at(h, (int64_t)from * D), w, rows, V, D);
        if (vectors) LAUNCH((logprob_kernel<4>), (unsigned)rows, ROW_THREADS, 0, cuda_stream(), out, l, staged, from, V, 1.0 / V);
        else LAUNCH((logprob_kernel<1>), (unsigned)rows, ROW_THREADS, 0, cuda_stream(), out, l, staged, from, V, 1.0 / V);
    }
}

/* ---- gradient ---- */

/* A chunk's rows, and where they come from. */
typedef struct ChunkRows {
    const int *rows, *targets; /* of each row of the chunk: its row among the scored, its target */
    const float *lse, *dlogp;  /* of the scored rows */
} ChunkRows;

/* to = dlogp (1[j = target] - exp(l - lse)); `to` may be l itself; the target may be outside the slice. Block (i, j) takes part j of row i. */
template <typename T, int N>
__global__ void __launch_bounds__(ROW_THREADS) logit_gradient_kernel(T *to, const float *logits, ChunkRows chunk, int V) {
    int64_t start = (int64_t)blockIdx.x * V;
    int row = chunk.rows[blockIdx.x], target = chunk.targets[blockIdx.x];
    float lse = chunk.lse[row], dlogp = chunk.dlogp[row];
    int first = ((int)blockIdx.y * (ROW_THREADS * ROW_DEEP) + (int)threadIdx.x) * N;
    Vec<float, N> x[ROW_DEEP];
    UNROLL
    for (int d = 0; d < ROW_DEEP; d++) {
        int at = first + d * ROW_THREADS * N;
        if (at < V) x[d] = elements_load<N>(logits + start + at);
    }
    UNROLL
    for (int d = 0; d < ROW_DEEP; d++) {
        int at = first + d * ROW_THREADS * N;
        if (at >= V) continue;
        Vec<T, N> out;
        UNROLL
        for (int j = 0; j < N; j++) {
            float g = -dlogp * expf(x[d].v[j] - lse);
            out.v[j] = from_float<T>(at + j == target ? g + dlogp : g);
        }
        elements_store(to + start + at, out);
    }
}

template <typename T> static void logit_gradient(T *to, const float *logits, const ChunkRows *chunk, int rows, int V) {
    int N = V % 4 == 0 ? 4 : 1;
    dim3 grid((unsigned)rows, (unsigned)blocks_for(V, ROW_THREADS * ROW_DEEP * N));
    if (N == 4) LAUNCH((logit_gradient_kernel<T, 4>), grid, ROW_THREADS, 0, cuda_stream(), to, logits, *chunk, V);
    else LAUNCH((logit_gradient_kernel<T, 1>), grid, ROW_THREADS, 0, cuda_stream(), to, logits, *chunk, V);
}

static int64_t rounded_up(int64_t bytes) { return blocks_for(bytes, 256) * 256; }

/* Device memory of a chunk, and the host's lists of its rows. */
typedef struct Backward {
    Buf logits, gradient, hs, dhs;
    int chunk, *rows, *targets;
} Backward;

static int backward_scratch(Backward *b, Buf dh, Buf h, Buf w, int V, int D) {
    int64_t logits = rounded_up((int64_t)b->chunk * V * 4), narrow = w.dtype == BF16 ? (int64_t)b->chunk * V * 2 : 0;
    int64_t hs = rounded_up((int64_t)b->chunk * D * (int64_t)dtype_size(h.dtype)),
            dhs = (int64_t)b->chunk * D * (int64_t)dtype_size(dh.dtype);
    char *l = (char *)cuda_scratch(CUDA_SCRATCH_LOGITS, logits + narrow), *gathered = (char *)cuda_scratch(CUDA_SCRATCH_SCORED, hs + dhs);
    if (!l || !gathered) return -1;
    b->logits = Buf{ l, FP32 };
    b->gradient = narrow ? Buf{ l + logits, BF16 } : b->logits;
    b->hs = Buf{ gathered, h.dtype }, b->dhs = Buf{ gathered + hs, dh.dtype };
    return 0;
}

/* The gradient through n rows, whose indices and targets are in b. Rows that lie side by side are used where they are. */
static void backward_chunk(const Backward *b, int n, Buf dh, Buf dw, Buf dlogp, Buf lse, Buf h, Buf w, int V, int D) {
    int apart = b->rows[n - 1] - b->rows[0] != n - 1;
    Buf hs = apart ? b->hs : buf_at(h, (int64_t)b->rows[0] * D), dhs = apart ? b->dhs : buf_at(dh, (int64_t)b->rows[0] * D);
    if (apart) cuda_rows_gather(hs, h, b->rows, n, D);
    cuda_logits(b->logits, hs, w, n, V, D);
    int64_t bytes = n * (int64_t)sizeof(int);
    const int *rows = (const int *)cuda_stage(b->rows, bytes), *targets = (const int *)cuda_stage(b->targets, bytes);
    if (!rows || !targets) return;
    ChunkRows chunk = { rows, targets, (const float *)lse.at, (const float *)dlogp.at };
    FOR_DTYPE(b->gradient.dtype, T, logit_gradient((T *)b->gradient.at, (const float *)b->logits.at, &chunk, n, V));
    cuda_linear_backward_input(dhs, b->gradient, w, n, V, D, 0);
    if (apart) cuda_rows_store(dh, D, dhs, D, b->rows, n, D);
    if (dw.at) cuda_linear_backward_weight(dw, BUF_NONE, b->gradient, hs, n, V, D);
}

extern "C" void cuda_logprob_backward(Buf dh, Buf dw, Buf dlogp, Buf lse, Buf h, Buf w, const int *targets, int R, int V, int D) {
    const Buf all[] = { dw, dlogp, lse };
    if (R <= 0 || !dtypes_agree("logprob_backward", FP32, all, 3)) return;
    Backward b = { BUF_NONE, BUF_NONE, BUF_NONE, BUF_NONE, chunk_rows(R, V), NULL, NULL };
    float *dlogps = (float *)malloc((size_t)R * sizeof *dlogps + 2 * (size_t)b.chunk * sizeof *b.rows);
    if (!dlogps) cuda_failure_set("out of memory", "no room for the gradients of %d log-probs", R);
    if (!dlogps || backward_scratch(&b, dh, h, w, V, D)) {
        free(dlogps);
        return;
    }
    b.rows = (int *)(dlogps + R), b.targets = b.rows + b.chunk;
    cuda_download(dlogps, dlogp, R);
    cuda_zero(dh, (int64_t)R * D);
    for (int next = 0; next < R;) {
        int n = 0;
        for (; next < R && n < b.chunk; next++)
            if (dlogps[next] != 0.0f) b.rows[n] = next, b.targets[n++] = targets[next];
        if (n) backward_chunk(&b, n, dh, dw, dlogp, lse, h, w, V, D);
    }
    free(dlogps);
}

extern "C" void cuda_logits(Buf logits, Buf h, Buf w, int R, int V, int D) {
    cuda_linear_forward(logits, h, w, BUF_NONE, BUF_NONE, R, V, D);
}

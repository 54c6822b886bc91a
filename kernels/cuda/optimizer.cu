/* optimizer.cu - AdamW (Loshchilov and Hutter 2019), sums of squares, scaling.
 *
 * AdamW repeats torch.optim.AdamW's order of operations in fp32: decay first, then the moments, then p -= lr / bias1 * m / (sqrt(v) /
 * sqrt(bias2) + eps). The two step sizes are computed in double and rounded once, as that code does. Weights, moments and gradients pass
 * once, around the caches: a model's are far larger than those. */
#include "kernels/cuda/rows.cuh"

#include <math.h>

enum {
    ADAMW_THREADS = 256,
    ADAMW_N = 4, /* elements of a vector: 16 bytes of fp32, 8 of bf16 */
    SQUARES_THREADS = 256,
    SQUARES_BLOCKS = 1024, /* at most: fixed, so that the sum does not depend on the device */
    SQUARES_DEEP = 4
};

typedef struct AdamWStep {
    float step_size, root2, keep, rest1, beta2, rest2, eps, by;
} AdamWStep;

__device__ __forceinline__ float adamw_element(float w, float &m, float &v, float g, const AdamWStep &a) {
    float gi = g * a.by;
    m = m + a.rest1 * (gi - m);
    v = a.beta2 * v + a.rest2 * gi * gi;
    return w * a.keep - a.step_size * (m / (sqrtf(v) / a.root2 + a.eps));
}

/* w: the masters, whose rounded values go to p, or the weights themselves where p is NULL. */
__global__ void __launch_bounds__(ADAMW_THREADS, 4)
    adamw_kernel(bf16 *p, float *w, float *m, float *v, const float *g, Span span, AdamWStep a) {
    int64_t thread = (int64_t)blockIdx.x * ADAMW_THREADS + threadIdx.x;
    if (thread < span.vectors) {
        int64_t at = span.head + thread * ADAMW_N;
        Vec<float, ADAMW_N> ws = vec_load_stream<ADAMW_N>(w + at), ms = vec_load_stream<ADAMW_N>(m + at),
                            vs = vec_load_stream<ADAMW_N>(v + at), gs = vec_load_stream<ADAMW_N>(g + at);
        Vec<bf16, ADAMW_N> ps;
        UNROLL
        for (int j = 0; j < ADAMW_N; j++) {
            ws.v[j] = adamw_element(ws.v[j], ms.v[j], vs.v[j], gs.v[j], a);
            ps.v[j] = from_float<bf16>(ws.v[j]);
        }
        vec_store_stream(w + at, ws);
        vec_store_stream(m + at, ms);
        vec_store_stream(v + at, vs);
        if (p) elements_store(p + at, ps);
    }
    for (int64_t s = thread; s < span.singles; s += (int64_t)gridDim.x * ADAMW_THREADS) {
        int64_t i = single_at(span, s, ADAMW_N);
        float mi = m[i], vi = v[i], wi = adamw_element(w[i], mi, vi, g[i], a);
        w[i] = wi, m[i] = mi, v[i] = vi;
        if (p) p[i] = from_float<bf16>(wi);
    }
}

extern "C" void cuda_adamw(Buf p, Buf master, Buf m, Buf v, Buf g, int64_t n, const AdamW *a) {
    Buf w = master.at ? master : p, rounded = master.at ? p : BUF_NONE;
    const Buf wide[] = { w, m, v, g }, all[] = { w, m, v, g, rounded };
    if (n <= 0 || !dtypes_agree("adamw", FP32, wide, 4) || !dtypes_agree("adamw", BF16, &rounded, 1)) return;
    double bias1 = 1 - pow(a->beta1, (double)a->step), bias2 = 1 - pow(a->beta2, (double)a->step);
    AdamWStep step = { (float)((double)a->lr / bias1), (float)sqrt(bias2), (float)(1 - (double)a->lr * a->weight_decay),
        (float)(1 - a->beta1), (float)a->beta2, (float)(1 - a->beta2), a->eps, a->gradient_scale };
    Span span = span_of(n, ADAMW_N, all, 5);
    unsigned blocks = (unsigned)blocks_for(most(span.vectors, blocks_for(span.singles, ADAMW_N)), ADAMW_THREADS);
    LAUNCH(adamw_kernel, blocks, ADAMW_THREADS, 0, cuda_stream(), (bf16 *)rounded.at, (float *)w.at, (float *)m.at, (float *)v.at,
        (const float *)g.at, span, step);
}

/* sums[block] = the block's part of the sum of squares */
template <typename T> __global__ void __launch_bounds__(SQUARES_THREADS) squares_kernel(double *sums, const T *x, Span span) {
    constexpr int N = Full<T>::N;
    int64_t thread = (int64_t)blockIdx.x * SQUARES_THREADS + threadIdx.x, threads = (int64_t)gridDim.x * SQUARES_THREADS;
    double sum = 0;
    for (int64_t base = thread; base < span.vectors; base += threads * SQUARES_DEEP) {
        Vec<T, N> v[SQUARES_DEEP];
        UNROLL
        for (int d = 0; d < SQUARES_DEEP; d++)
            v[d] = base + d * threads < span.vectors ? elements_load<N>(x + span.head + (base + d * threads) * N) : elements_zero<T, N>();
        UNROLL
        for (int k = 0; k < SQUARES_DEEP * N; k++) {
            double e = to_float(v[k / N].v[k % N]);
            sum += e * e;
        }
    }
    for (int64_t s = thread; s < span.singles; s += threads) {
        double e = to_float(x[single_at(span, s, N)]);
        sum += e * e;
    }
    sum = block_sum_double<SQUARES_THREADS>(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(SQUARES_THREADS) sums_kernel(double *total, const double *sums, int n) {
    double sum = 0;
    for (int i = threadIdx.x; i < n; i += SQUARES_THREADS) sum += sums[i];
    sum = block_sum_double<SQUARES_THREADS>(sum);
    if (threadIdx.x == 0) *total = sum;
}

extern "C" double cuda_norm_squared(Buf x, int64_t n) {
    double total = 0;
    if (n <= 0) return 0;
    double *sums = (double *)cuda_scratch(CUDA_SCRATCH_ROWS, (SQUARES_BLOCKS + 1) * (int64_t)sizeof *sums);
    if (!sums) return 0;
    FOR_DTYPE(x.dtype, T, {
        Span span = span_of(n, Full<T>::N, &x, 1);
        int blocks = (int)most(1, least(blocks_for(n, SQUARES_THREADS * SQUARES_DEEP * Full<T>::N), SQUARES_BLOCKS));
        LAUNCH((squares_kernel<T>), (unsigned)blocks, SQUARES_THREADS, 0, cuda_stream(), sums + 1, (const T *)x.at, span);
        LAUNCH(sums_kernel, 1, SQUARES_THREADS, 0, cuda_stream(), sums, (const double *)(sums + 1), blocks);
    });
    cuda_bytes_download(&total, sums, sizeof total);
    return total;
}

struct Scale {
    static constexpr int INPUTS = 1;
    static __device__ __forceinline__ float at(float x, float, float by) { return x * by; }
};

extern "C" void cuda_scale(Buf x, float by, int64_t n) { elements_map<Scale>("scale", x, x, BUF_NONE, by, n); }

/* linear.cu - products with weights, forward and backward: the choice of path, and the gradient of a bias.
 *
 * Three ways, chosen here and nowhere else: skinny.cu for few rows, at the bandwidth of the weights; cuBLASLt for the rest, where it has
 * the product; the kernels of gemm.cu and gemm_fp32.cu where it does not (a bias or residual of another dtype than the result, say).
 * Weights are used as they are stored: nothing is packed, and nothing has to be forgotten when they change.
 *
 * Gradients: dL/dx = dy w, dL/dw = dy^T x, dL/db = column sums of dy. */
#include "kernels/cuda/products.cuh"

#include <stdlib.h>

typedef enum Choice { CHOICE_AUTO, CHOICE_OWN, CHOICE_CUBLASLT, CHOICES } Choice;
static const char *const choice_names[CHOICES] = { "auto", "own", "cublaslt" };

/* Looked at in every call: tests set it as they go. CHOICES after a failure. */
static Choice choice(void) {
    const char *name = getenv("RLAIFV_PRODUCTS");
    int c = 0;
    if (!name) return CHOICE_AUTO;
    while (c < CHOICES && strcmp(name, choice_names[c])) c++;
    if (c == CHOICES) cuda_failure_set("RLAIFV_PRODUCTS names no way of computing products", "%s, expected own, cublaslt or auto", name);
    return (Choice)c;
}

extern "C" void cuda_product(const CudaProduct *p) {
    Choice c = choice();
    int few = p->form == FORM_X_WT && p->m <= SKINNY_ROWS;
    if (c == CHOICES || p->m <= 0 || p->n <= 0) return;
    if ((c == CHOICE_CUBLASLT || (c == CHOICE_AUTO && !few)) && cublaslt_run(p)) return;
    if (few) skinny_run(p);
    else if (p->b.dtype == FP32) gemm_fp32_run(p);
    else gemm_bf16_run(p);
}

/* ---- the operations ---- */

extern "C" void cuda_linear_forward(Buf y, Buf x, Buf w, Buf bias, Buf residual, int M, int N, int K) {
    CudaProduct p = { FORM_X_WT, M, N, K, y, x, w, bias, residual };
    cuda_product(&p);
}

extern "C" void cuda_linear_backward_input(Buf dx, Buf dy, Buf w, int M, int N, int K, int accumulate) {
    CudaProduct p = { FORM_X_W, M, K, N, dx, dy, w, BUF_NONE, accumulate ? dx : BUF_NONE };
    cuda_product(&p);
}

enum {
    BIAS_WARPS = 8,
    BIAS_THREADS = 32 * BIAS_WARPS,
    BIAS_ROWS_LEAST = 64, /* that a block adds up */
    BIAS_BLOCKS = 4       /* per multiprocessor */
};

/* partial (strips, N) = sums of the rows of each strip. A lane has V columns; the warps take rows in turns and are added in order. */
template <typename T, int V>
__global__ void __launch_bounds__(BIAS_THREADS) bias_strip_kernel(float *partial, const T *dy, int M, int N, int strip_rows) {
    constexpr int PITCH = 32 + 32 / V; /* so that the lanes of the last sum meet no bank twice */
    SHARED(float, sums, BIAS_WARPS *V *PITCH);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = ((int)blockIdx.x * 32 + lane) * V;
    int first = (int)blockIdx.y * strip_rows, end = min(first + strip_rows, M);
    float sum[V] = {};
    if (column < N) {
        for (int row = first + warp; row < end; row += BIAS_WARPS) {
            Vec<T, V> v = elements_load<V>(dy + (int64_t)row * N + column);
            UNROLL
            for (int i = 0; i < V; i++) sum[i] += to_float(v.v[i]);
        }
    }
    UNROLL
    for (int i = 0; i < V; i++) sums[(warp * V + i) * PITCH + lane] = sum[i];
    __syncthreads();
    for (int i = threadIdx.x; i < 32 * V; i += BIAS_THREADS) {
        int own = (int)blockIdx.x * 32 * V + i;
        float total = 0;
        UNROLL
        for (int w = 0; w < BIAS_WARPS; w++) total += sums[(w * V + i % V) * PITCH + i / V];
        if (own < N) partial[(int64_t)blockIdx.y * N + own] = total;
    }
}

/* db (N) += sums over the strips, in order */
__global__ void __launch_bounds__(BIAS_THREADS) bias_sum_kernel(float *db, const float *partial, int strips, int N) {
    int column = (int)blockIdx.x * BIAS_THREADS + threadIdx.x;
    if (column >= N) return;
    double total = 0;
    for (int s = 0; s < strips; s++) total += (double)partial[(int64_t)s * N + column];
    db[column] += (float)total;
}

template <typename T, int V> static void bias_gradient(float *db, const T *dy, int M, int N) {
    int64_t columns = blocks_for(N, 32 * V), strips = blocks_for((int64_t)cuda_multiprocessors() * BIAS_BLOCKS, columns);
    int64_t strip_rows = most(blocks_for(M, strips), BIAS_ROWS_LEAST);
    strips = blocks_for(M, strip_rows);
    float *partial = (float *)cuda_scratch(CUDA_SCRATCH_BIAS, strips * N * (int64_t)sizeof *partial);
    if (!partial) return;
    dim3 grid((unsigned)columns, (unsigned)strips);
    LAUNCH((bias_strip_kernel<T, V>), grid, BIAS_THREADS, 0, cuda_stream(), partial, dy, M, N, (int)strip_rows);
    LAUNCH(bias_sum_kernel, (unsigned)blocks_for(N, BIAS_THREADS), BIAS_THREADS, 0, cuda_stream(), db, partial, (int)strips, N);
}

extern "C" void cuda_linear_backward_weight(Buf dw, Buf db, Buf dy, Buf x, int M, int N, int K) {
    if (M <= 0 || N <= 0) return;
    if (db.at)
        FOR_DTYPE(dy.dtype, T, {
            int vectors = N % Full<T>::N == 0 && buffers_aligned(16, &dy, 1);
            if (vectors) bias_gradient<T, Full<T>::N>((float *)db.at, (const T *)dy.at, M, N);
            else bias_gradient<T, 1>((float *)db.at, (const T *)dy.at, M, N);
        });
    CudaProduct p = { FORM_XT_Y, N, K, M, dw, dy, x, BUF_NONE, dw };
    cuda_product(&p);
}

extern "C" void cuda_weights_changed(Buf, int64_t) {}

/* rows.cuh - what the kernels that live by memory bandwidth share: operands of one dtype, runs of elements cut into 16-byte pieces, and the
 * loop over elements.
 *
 * Arithmetic is fp32 whatever the storage. A run of n elements is walked as a Span: vectors where every operand is aligned for them, single
 * elements before the first vector, behind the last, or throughout where the operands' alignments differ. */
#ifndef RLAIFV_KERNELS_CUDA_ROWS_CUH
#define RLAIFV_KERNELS_CUDA_ROWS_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/state.h"

/* Runs the statement with T as the element type. */
#define FOR_DTYPE(dtype, T, ...)                                                                                                           \
    do {                                                                                                                                   \
        if ((dtype) == FP32) {                                                                                                             \
            typedef float T;                                                                                                               \
            __VA_ARGS__;                                                                                                                   \
        } else {                                                                                                                           \
            typedef bf16 T;                                                                                                                \
            __VA_ARGS__;                                                                                                                   \
        }                                                                                                                                  \
    } while (0)

/* Elements of a 16-byte access. */
template <typename T> struct Full { static constexpr int N = 16 / (int)sizeof(T); };

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t blocks_for(int64_t n, int64_t each) { return (n + each - 1) / each; }

/* 1 when all operands that are there have dtype t; otherwise the failure is recorded. */
static inline int dtypes_agree(const char *operation, DType t, const Buf *b, int n) {
    for (int i = 0; i < n; i++)
        if (b[i].at && b[i].dtype != t) {
            cuda_failure_set(operation, "operands of two dtypes");
            return 0;
        }
    return 1;
}

/* 1 when the elements of all operands that are there start at a multiple of `bytes`. */
static inline int buffers_aligned(int bytes, const Buf *b, int n) {
    for (int i = 0; i < n; i++)
        if (b[i].at && (uintptr_t)b[i].at % (uintptr_t)bytes) return 0;
    return 1;
}

/* A run of elements: `head` single ones, `vectors` of N, and the rest single again. */
typedef struct Span {
    int64_t head, vectors, singles; /* singles: before and behind */
} Span;

static inline Span span_of(int64_t n, int N, const Buf *b, int count) {
    int64_t head = -1;
    for (int i = 0; i < count; i++) {
        if (!b[i].at) continue;
        int64_t past = (int64_t)((uintptr_t)b[i].at / dtype_size(b[i].dtype) % (uintptr_t)N), own = past ? N - past : 0;
        if (head >= 0 && own != head) return Span{ n, 0, n };
        head = own;
    }
    if (head > n) head = n;
    int64_t vectors = (n - head) / N;
    return Span{ head, vectors, n - vectors * N };
}

/* The element that single number s of a Span is. */
__device__ __forceinline__ int64_t single_at(const Span &span, int64_t s, int N) { return s < span.head ? s : s + span.vectors * N; }

/* One element or a vector of them; stores go to global memory. */
template <int N, typename T> __device__ __forceinline__ Vec<T, N> elements_load(const T *p) {
    if constexpr (N == 1) return Vec<T, 1>{ { *p } };
    else return vec_load<N>(p);
}
template <typename T, int N> __device__ __forceinline__ void elements_store(T *p, const Vec<T, N> &v) {
    if constexpr (N == 1) *p = v.v[0];
    else vec_store_global(p, v);
}
template <typename T, int N> __device__ __forceinline__ Vec<T, N> elements_zero() {
    Vec<T, N> v;
    UNROLL
    for (int i = 0; i < N; i++) v.v[i] = from_float<T>(0.0f);
    return v;
}

enum { MAP_THREADS = 256, MAP_DEEP = 2 }; /* vectors that a thread has in flight of each input */

/* y[i] = F::at(a[i], b[i], by), b only where F::INPUTS is 2. y may be a or b. */
template <typename T, typename F>
__global__ void __launch_bounds__(MAP_THREADS, 4) map_kernel(T *y, const T *a, const T *b, Span span, float by) {
    constexpr int N = Full<T>::N;
    const T *va = a + span.head, *vb = b + span.head;
    int64_t first = (int64_t)blockIdx.x * (MAP_THREADS * MAP_DEEP) + threadIdx.x;
    Vec<T, N> left[MAP_DEEP], right[MAP_DEEP];
    UNROLL
    for (int d = 0; d < MAP_DEEP; d++) {
        int64_t i = first + d * MAP_THREADS;
        if (i >= span.vectors) continue;
        left[d] = elements_load<N>(va + i * N);
        if constexpr (F::INPUTS == 2) right[d] = elements_load<N>(vb + i * N);
    }
    UNROLL
    for (int d = 0; d < MAP_DEEP; d++) {
        int64_t i = first + d * MAP_THREADS;
        if (i >= span.vectors) continue;
        Vec<T, N> out;
        UNROLL
        for (int j = 0; j < N; j++)
            out.v[j] = from_float<T>(F::at(to_float(left[d].v[j]), F::INPUTS == 2 ? to_float(right[d].v[j]) : 0.0f, by));
        elements_store(y + span.head + i * N, out);
    }
    for (int64_t s = (int64_t)blockIdx.x * MAP_THREADS + threadIdx.x; s < span.singles; s += (int64_t)gridDim.x * MAP_THREADS) {
        int64_t i = single_at(span, s, N);
        y[i] = from_float<T>(F::at(to_float(a[i]), F::INPUTS == 2 ? to_float(b[i]) : 0.0f, by));
    }
}

static inline unsigned map_blocks(const Span &span) {
    return (unsigned)most(blocks_for(span.vectors, MAP_THREADS * MAP_DEEP), blocks_for(span.singles, MAP_THREADS * 16));
}

template <typename F> static void elements_map(const char *operation, Buf y, Buf a, Buf b, float by, int64_t n) {
    const Buf all[] = { y, a, b };
    if (n <= 0 || !dtypes_agree(operation, y.dtype, all, 3)) return;
    FOR_DTYPE(y.dtype, T, {
        Span span = span_of(n, Full<T>::N, all, 3);
        LAUNCH((map_kernel<T, F>), map_blocks(span), MAP_THREADS, 0, cuda_stream(), (T *)y.at, (const T *)a.at, (const T *)b.at, span, by);
    });
}

#endif

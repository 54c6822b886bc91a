/* device.cuh - what every .cu file includes first: how kernels are launched, shared memory, vector loads, reductions, bfloat16.
 *
 * Under nvcc these are thin wrappers of the toolkit; elsewhere tests/simt/simt.h gives the language and the same file is compiled as C++,
 * so that every kernel runs on a CPU. Hence the words: LAUNCH in place of <<<>>>, SHARED and SHARED_DYN in place of __shared__. Masks of
 * warp-wide operations are explicit, sums have a fixed order, and floats are never added atomically. */
#ifndef RLAIFV_KERNELS_CUDA_DEVICE_CUH
#define RLAIFV_KERNELS_CUDA_DEVICE_CUH

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <string.h>
#else
#include "tests/simt/simt.h"
#endif
#include <stdint.h>

#include "kernels/cuda/state.h"

typedef __nv_bfloat16 bf16;

#define FULL_WARP 0xffffffffu

/* ---- launches ---- */

/* What stands between a launcher and a kernel: room for dynamic shared memory beyond what every kernel has. */
enum { SHARED_WITHOUT_ASKING = 48 << 10 };
static inline void launch_result(int error, const char *kernel, const char *file, int line) {
    if (error)
        cuda_failure_set("a kernel could not be launched", "%s at %s:%d: %s", kernel, file, line, cudaGetErrorString((cudaError_t)error));
}

#ifdef __CUDACC__
#define UNROLL _Pragma("unroll")
#define UNROLL_PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(n) UNROLL_PRAGMA(unroll n)
#define SHARED(T, name, N) __shared__ __align__(16) T name[N]
#define SHARED_DYN(T, name)                                                                                                                \
    extern __shared__ __align__(128) unsigned char shared_dynamic_bytes[];                                                                 \
    T *name = (T *)shared_dynamic_bytes
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                                             \
    do {                                                                                                                                   \
        cudaError_t launch_error_ = cudaSuccess;                                                                                           \
        if ((size_t)(shared_bytes) > SHARED_WITHOUT_ASKING)                                                                                \
            launch_error_ = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(shared_bytes));                \
        if (!launch_error_) {                                                                                                              \
            kernel<<<(grid), (block), (size_t)(shared_bytes), (stream)>>>(__VA_ARGS__);                                                    \
            launch_error_ = cudaGetLastError();                                                                                            \
        }                                                                                                                                  \
        launch_result(launch_error_, #kernel, __FILE__, __LINE__);                                                                         \
    } while (0)
#else
#define UNROLL
#define UNROLL_BY(n)
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                                             \
    launch_result(simt_launch(SIMT_HERE, #kernel, kernel, dim3(grid), dim3(block), (size_t)(shared_bytes), (stream), __VA_ARGS__),         \
        #kernel, __FILE__, __LINE__)
#endif

/* ---- numbers ---- */

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
/* Rounds to nearest even. */
template <typename T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }

/* Two numbers as a register of two bfloat16, the first in the lower half. */
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
    __nv_bfloat162 pair;
    pair.x = __float2bfloat16_rn(low);
    pair.y = __float2bfloat16_rn(high);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

/* ---- vectors: one access of 4, 8 or 16 bytes ---- */

template <typename T, int N> struct alignas(sizeof(T) * N) Vec { T v[N]; };

/* The type of so many bytes that is loaded and stored whole. */
template <int BYTES> struct Word;
#ifdef __CUDACC__
template <> struct Word<2> { typedef unsigned short type; };
template <> struct Word<4> { typedef unsigned type; };
template <> struct Word<8> { typedef uint2 type; };
template <> struct Word<16> { typedef uint4 type; };
#define WHOLE
#else
#define WHOLE volatile /* or the compiler may load elements one by one, and the counts of accesses would not be a GPU's */
template <> struct Word<2> { typedef uint16_t type; };
template <> struct Word<4> { typedef uint32_t type; };
template <> struct Word<8> { typedef uint64_t type; };
template <> struct Word<16> { typedef uint32_t type __attribute__((vector_size(16))); };
#endif
template <int N, typename T> using WordOf = typename Word<(int)sizeof(T) * N>::type;

template <int N, typename T, typename W> __device__ __forceinline__ Vec<T, N> vec_of(const W &word) {
    Vec<T, N> v;
    memcpy((void *)&v, &word, sizeof v);
    return v;
}
template <typename T, int N> __device__ __forceinline__ WordOf<N, T> word_of(const Vec<T, N> &v) {
    WordOf<N, T> word;
    memcpy(&word, (const void *)&v, sizeof v);
    return word;
}
template <int N, typename T> __device__ __forceinline__ Vec<T, N> vec_load(const T *p) {
    WordOf<N, T> word = *(const WHOLE WordOf<N, T> *)p;
    return vec_of<N, T>(word);
}
template <typename T, int N> __device__ __forceinline__ void vec_store(T *p, const Vec<T, N> &v) { *(WHOLE WordOf<N, T> *)p = word_of(v); }
/* To global memory, whole for sure: nvcc takes the plain store apart where the parts were computed one by one, and then every element is an
 * access of its own. */
template <typename T, int N> __device__ __forceinline__ void vec_store_global(T *p, const Vec<T, N> &v) {
    __stcg((WordOf<N, T> *)p, word_of(v));
}
/* Past the caches: for what is used once. */
template <int N, typename T> __device__ __forceinline__ Vec<T, N> vec_load_stream(const T *p) {
    return vec_of<N, T>(__ldcs((const WordOf<N, T> *)p));
}
template <typename T, int N> __device__ __forceinline__ void vec_store_stream(T *p, const Vec<T, N> &v) {
    __stcs((WordOf<N, T> *)p, word_of(v));
}

/* ---- reductions, in one order always; every lane or thread has the result ---- */

__device__ __forceinline__ float warp_sum(float x) {
    UNROLL
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(FULL_WARP, x, step);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
    UNROLL
    for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, step));
    return x;
}
__device__ __forceinline__ double warp_sum_double(double x) {
    UNROLL
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(FULL_WARP, x, step);
    return x;
}

/* Over a block of THREADS, a multiple of 32, from what its warps have. Two barriers, so that calls may follow each other. */
template <int THREADS, typename T, typename Join> __device__ __forceinline__ T block_join(T of_warp, Join join) {
    SHARED(T, parts, THREADS / 32);
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = of_warp;
    __syncthreads();
    T all = parts[0];
    UNROLL
    for (int i = 1; i < THREADS / 32; i++) all = join(all, parts[i]);
    return all;
}
template <int THREADS> __device__ __forceinline__ float block_sum(float x) {
    return block_join<THREADS>(warp_sum(x), [](float a, float b) { return a + b; });
}
template <int THREADS> __device__ __forceinline__ float block_max(float x) {
    return block_join<THREADS>(warp_max(x), [](float a, float b) { return fmaxf(a, b); });
}
template <int THREADS> __device__ __forceinline__ double block_sum_double(double x) {
    return block_join<THREADS>(warp_sum_double(x), [](double a, double b) { return a + b; });
}

#endif

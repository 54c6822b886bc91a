/* simt.h - what kernels/cuda/device.cuh includes where no CUDA compiler is at work: the language of CUDA kernels in plain C++, so that
 * every .cu file is executed on a CPU, unchanged.
 *
 * Each CUDA thread is a fiber; a fiber runs until it waits: at a barrier, in a warp-wide operation, or at its end. A warp-wide operation is
 * a collective: lanes park their operands and the last to come performs it for all. Lanes of a mask that stand in different operations, at
 * different lines or with different masks, and barriers that not all threads reach, end the run with kernel, block, thread, file and line.
 *
 * Blocks are spread over OpenMP threads. In which order warps go on is the schedule (engine.cpp): SIMT_SCHEDULE = fifo | lifo | random,
 * SIMT_SEED. Shared memory is filled with 0xFF (NaN) per block, with red zones around every array. cp.async copies land at the wait, or at
 * the issue, as the seed has it.
 *
 * Not modelled: approximate arithmetic (plain functions stand in), the memory model's subtleties, time. */
#ifndef RLAIFV_TESTS_SIMT_SIMT_H
#define RLAIFV_TESTS_SIMT_SIMT_H

#ifndef __cplusplus
#error "the emulator compiles .cu files as C++"
#endif
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <functional>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <tuple>
#include <type_traits>

/* ---- the engine (engine.cpp) ---- */

/* A place in a kernel's source. */
struct SimtSite {
    const char *file;
    int line;
};
#define SIMT_HERE (SimtSite{ __FILE__, __LINE__ })

struct SimtLaunch {
    const char *name, *file;
    int line;
    dim3 grid, block;
    size_t shared_bytes;
    std::function<void()> body; /* what one thread does */
};
/* Runs a launch to its end, now. */
void simt_run(const SimtLaunch &launch);
/* Puts a launch into a stream's queue (the emulated runtime); without that runtime, runs it. 0 or a cudaError_t. */
int simt_enqueue(SimtLaunch launch, cudaStream_t stream);

struct SimtThread {
    uint3 thread, block;
    dim3 block_dim, grid_dim;
    int linear;    /* index in its block */
    void *dynamic; /* dynamic shared memory */
};
extern __thread SimtThread *simt_self; /* __thread: read without a call, unlike thread_local */

/* First thing in a thread: where its kernel's arguments are. */
void simt_called(const void *call, size_t bytes);

/* The memory of a static shared array of the running block; `key` is one address per array of the source. */
void *simt_shared(const void *key, size_t bytes, SimtSite site);

enum SimtBarrier { SIMT_SYNC, SIMT_SYNC_OR, SIMT_SYNC_AND, SIMT_SYNC_COUNT };
int simt_barrier(SimtBarrier kind, int predicate, SimtSite site);

/* Parks `operand`; when all lanes of the mask are here, `perform` is called once with every lane's operand (NULL outside the mask). */
typedef void (*SimtPerform)(void *const operand[32], unsigned mask);
void simt_collective(SimtPerform perform, void *operand, unsigned mask, SimtSite site);

/* Asynchronous copies of the running thread: 16 bytes, of which the first `valid` come from `from` and the rest are zero. */
void simt_copy_async(void *to, const void *from, int valid, SimtSite site);
void simt_copy_commit(void);
void simt_copy_wait(int groups_left);

/* Ends the process with a message that names kernel, block and thread. */
[[noreturn]] void simt_fail(SimtSite site, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- the language ---- */

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __launch_bounds__
#undef __forceinline__
#define __global__
#define __device__
#define __host__
#define __constant__ const
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline)) /* so that every use is an instruction of its own to the checker */

#define threadIdx (simt_self->thread)
#define blockIdx (simt_self->block)
#define blockDim (simt_self->block_dim)
#define gridDim (simt_self->grid_dim)
#define warpSize 32

#define __syncthreads() ((void)simt_barrier(SIMT_SYNC, 0, SIMT_HERE))
#define __syncthreads_or(p) simt_barrier(SIMT_SYNC_OR, (p), SIMT_HERE)
#define __syncthreads_and(p) simt_barrier(SIMT_SYNC_AND, (p), SIMT_HERE)
#define __syncthreads_count(p) simt_barrier(SIMT_SYNC_COUNT, (p), SIMT_HERE)

#define SHARED(T, name, N)                                                                                                                 \
    static const char name##_simt_key = 0;                                                                                                 \
    T(&name)[N] = *(T(*)[N])simt_shared(&name##_simt_key, sizeof(T) * (N), SIMT_HERE)
#define SHARED_DYN(T, name) T *name = (T *)simt_self->dynamic

/* A kernel and its arguments, converted to the parameters' types and copied, as a launch does. */
template <typename... P> struct SimtCall {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
    void operator()() const {
        simt_called(this, sizeof *this);
        std::apply(kernel, arguments);
    }
};
template <typename... P, typename... A>
static int simt_launch(SimtSite site, const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
    cudaStream_t stream, A... arguments) {
    return simt_enqueue(
        SimtLaunch{ name, site.file, site.line, grid, block, shared_bytes, SimtCall<P...>{ kernel, { arguments... } } }, stream);
}

/* ---- warps ---- */

struct SimtShuffle {
    uint64_t value, result;
    int lane, from;
};
static inline int simt_lane(void) { return simt_self->linear & 31; }
void simt_perform_shuffle(void *const operand[32], unsigned mask);
void simt_perform_ballot(void *const operand[32], unsigned mask);
void simt_perform_sync(void *const operand[32], unsigned mask);

/* Value of lane `from`; of a lane's own where `from` is outside the width's segment, as the hardware does. */
template <typename T> static inline T simt_shuffle(unsigned mask, T value, int from, SimtSite site) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "shuffles move 4 or 8 bytes");
    SimtShuffle s = { 0, 0, simt_lane(), from };
    memcpy(&s.value, &value, sizeof value);
    simt_collective(simt_perform_shuffle, &s, mask, site);
    memcpy(&value, &s.result, sizeof value);
    return value;
}
template <typename T> static inline T simt_shuffle_at(unsigned mask, T v, int from, int width, SimtSite site) {
    return simt_shuffle(mask, v, (simt_lane() & ~(width - 1)) | (from & (width - 1)), site);
}
template <typename T> static inline T simt_shuffle_xor(unsigned mask, T v, int by, int width, SimtSite site) {
    int lane = simt_lane(), from = lane ^ by;
    return simt_shuffle(mask, v, (from & ~(width - 1)) > (lane & ~(width - 1)) ? lane : from, site);
}
template <typename T> static inline T simt_shuffle_up(unsigned mask, T v, int by, int width, SimtSite site) {
    int lane = simt_lane(), within = lane & (width - 1);
    return simt_shuffle(mask, v, within < by ? lane : lane - by, site);
}
template <typename T> static inline T simt_shuffle_down(unsigned mask, T v, int by, int width, SimtSite site) {
    int lane = simt_lane(), within = lane & (width - 1);
    return simt_shuffle(mask, v, within + by >= width ? lane : lane + by, site);
}
/* The optional width of the intrinsics. */
#define __shfl_sync(...) simt_shuffle_at(SIMT_FOUR(__VA_ARGS__, 32, 0), SIMT_HERE)
#define __shfl_xor_sync(...) simt_shuffle_xor(SIMT_FOUR(__VA_ARGS__, 32, 0), SIMT_HERE)
#define __shfl_up_sync(...) simt_shuffle_up(SIMT_FOUR(__VA_ARGS__, 32, 0), SIMT_HERE)
#define __shfl_down_sync(...) simt_shuffle_down(SIMT_FOUR(__VA_ARGS__, 32, 0), SIMT_HERE)
#define SIMT_FOUR(mask, v, by, width, ...) mask, v, by, width

struct SimtBallot {
    int predicate, lane;
    unsigned result;
};
static inline unsigned simt_ballot(unsigned mask, int predicate, SimtSite site) {
    SimtBallot b = { predicate != 0, simt_lane(), 0 };
    simt_collective(simt_perform_ballot, &b, mask, site);
    return b.result;
}
#define __ballot_sync(mask, p) simt_ballot((mask), (p), SIMT_HERE)
#define __any_sync(mask, p) (simt_ballot((mask), (p), SIMT_HERE) != 0)
#define __all_sync(mask, p) (simt_ballot((mask), !(p), SIMT_HERE) == 0)
static inline void simt_syncwarp(SimtSite site, unsigned mask = 0xffffffffu) { simt_collective(simt_perform_sync, NULL, mask, site); }
#define __syncwarp(...) simt_syncwarp(SIMT_HERE, ##__VA_ARGS__)

/* ---- memory ---- */

template <typename T> static inline T __ldcs(const T *p) { return *(const volatile T *)p; }
template <typename T> static inline T __ldcg(const T *p) { return *p; }
template <typename T> static inline T __ldg(const T *p) { return *p; }
template <typename T> static inline void __stcs(T *p, T v) { *(volatile T *)p = v; }
template <typename T> static inline void __stcg(T *p, T v) { *(volatile T *)p = v; }
static inline void __threadfence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_block(void) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

/* Integers only: an order of float additions would not repeat. */
template <typename T> static inline T atomicAdd(T *p, T v) {
    static_assert(std::is_integral<T>::value, "atomics on floats have no fixed order");
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
template <typename T> static inline T atomicExch(T *p, T v) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
template <typename T> static inline T atomicCAS(T *p, T expected, T v) {
    __atomic_compare_exchange_n(p, &expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}
template <typename T> static inline T atomicMax(T *p, T v) {
    static_assert(std::is_integral<T>::value, "integers only");
    T old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
    while (old < v && !__atomic_compare_exchange_n(p, &old, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
    return old;
}
template <typename T> static inline T atomicMin(T *p, T v) {
    static_assert(std::is_integral<T>::value, "integers only");
    T old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
    while (old > v && !__atomic_compare_exchange_n(p, &old, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
    return old;
}
template <typename T> static inline T atomicOr(T *p, T v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }

/* ---- arithmetic ---- */

#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __exp2f(x) exp2f(x)
#define __fdividef(x, y) ((x) / (y))
#define __frcp_rn(x) (1.0f / (x))
static inline float simt_rsqrt(float x) { return 1.0f / sqrtf(x); }
#define rsqrtf(x) simt_rsqrt(x)
#define __fmaf_rn(a, b, c) fmaf(a, b, c)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define sincosf(x, s, c) simt_sincos(x, s, c)
static inline void simt_sincos(float x, float *s, float *c) { *s = sinf(x), *c = cosf(x); }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1u) << (31 - i);
    return y;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
template <typename To, typename From> static inline To simt_bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}
static inline unsigned __float_as_uint(float x) { return simt_bits<unsigned>(x); }
static inline int __float_as_int(float x) { return simt_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return simt_bits<float>(x); }
static inline float __int_as_float(int x) { return simt_bits<float>(x); }

#endif

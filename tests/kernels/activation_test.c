/* activation_test.c - GELU, quick-GELU, SwiGLU and addition against double precision; slopes by differences of the definition. */
#include "tests/kernels/kernel_test.h"

static double value_of(Activation a, double x) { return a == GELU ? 0.5 * x * (1 + erf(x / sqrt(2))) : x / (1 + exp(-1.702 * x)); }
static double slope_by_differences(double (*f)(double), double x) {
    return (f(x - 2e-3) - 8 * f(x - 1e-3) + 8 * f(x + 1e-3) - f(x + 2e-3)) / 12e-3;
}
static double gelu(double x) { return value_of(GELU, x); }
static double quick_gelu(double x) { return value_of(QUICK_GELU, x); }
static double silu(double x) { return x / (1 + exp(-x)); }

/* Values from far below to far above zero, and the ends themselves. */
static float *inputs(int64_t n, DType t) {
    float *x = fill_normal(n, 4, t, 1);
    static const float ends[] = { 0, -0.0f, 30, -30, 100, -100 };
    for (int64_t i = 0; i < n && i < 6; i++) x[i] = t == BF16 ? bf16_round(ends[i]) : ends[i];
    return x;
}

static void test_activations(void **state) {
    (void)state;
    static const int64_t counts[] = { 1, 7, 33, 1024, 40001 };
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (Activation a = GELU; a <= QUICK_GELU; a++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
                int64_t n = counts[c];
                float *fx = inputs(n, t), *fg = fill_normal(n, 1, t, 2);
                double *y = malloc((size_t)n * sizeof *y), *dx = malloc((size_t)n * sizeof *dx);
                for (int64_t i = 0; i < n; i++) {
                    y[i] = value_of(a, fx[i]);
                    dx[i] = fg[i] * slope_by_differences(a == GELU ? gelu : quick_gelu, fx[i]);
                }
                Buf x = buf_of(k, t, fx, n), g = buf_of(k, t, fg, n), to = buf_new(k, t, n);
                k->activation_forward(to, x, a, n);
                compare_nmse(k, "activation", to, y, n, nmse_bound(t));
                k->activation_backward(to, g, x, a, n);
                compare_nmse(k, "activation slope", to, dx, n, nmse_bound(t));
                k->activation_backward(g, g, x, a, n); /* dx in place of dy */
                compare_bits(k, "activation slope in place", to, g, n);
                k->free(x), k->free(g), k->free(to);
                free(fx), free(fg), free(y), free(dx);
            }
}

static void test_swiglu(void **state) {
    (void)state;
    static const int shapes[][2] = { { 1, 1 }, { 3, 5 }, { 7, 172 }, { 2, 1100 }, { 40, 1031 }, { 3, 2368 } };
    for (size_t c = 0; c < sizeof shapes / sizeof *shapes; c++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
            int T = shapes[c][0], F = shapes[c][1], n = T * F;
            float *x = inputs(2 * n, t), *g = fill_normal(n, 1, t, 2);
            double *y = malloc((size_t)n * sizeof *y), *dx = malloc((size_t)(2 * n) * sizeof *dx);
            for (int r = 0; r < T; r++)
                for (int i = 0; i < F; i++) {
                    double gate = x[r * 2 * F + i], up = x[r * 2 * F + F + i], dy = g[r * F + i];
                    y[r * F + i] = silu(gate) * up;
                    dx[r * 2 * F + i] = dy * up * slope_by_differences(silu, gate);
                    dx[r * 2 * F + F + i] = dy * silu(gate);
                }
            Buf gate_up = buf_of(k, t, x, 2 * n), dy = buf_of(k, t, g, n), to = buf_new(k, t, n), grad = buf_new(k, t, 2 * n);
            k->swiglu_forward(to, gate_up, T, F);
            compare_nmse(k, "swiglu", to, y, n, nmse_bound(t));
            k->swiglu_backward(grad, dy, gate_up, T, F);
            compare_nmse(k, "swiglu gradient", grad, dx, 2 * n, nmse_bound(t));
            k->free(gate_up), k->free(dy), k->free(to), k->free(grad);
            free(x), free(g), free(y), free(dx);
        }
}

static void test_add(void **state) {
    (void)state;
    FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
        enum { N = 2051 };
        float *fa = fill_normal(N, 1, t, 1), *fb = fill_normal(N, 1, t, 2);
        double want[N];
        for (int i = 0; i < N; i++) want[i] = (double)fa[i] + fb[i];
        Buf a = buf_of(k, t, fa, N), b = buf_of(k, t, fb, N), y = buf_new(k, t, N);
        k->add(y, a, b, N);
        compare_nmse(k, "add", y, want, N, nmse_bound(t));
        k->add(b, a, b, N);
        compare_bits(k, "add in place", y, b, N);
        k->free(a), k->free(b), k->free(y);
        free(fa), free(fb);
    }
}

/* Operands that start at any element give what aligned ones give, and nothing beside them is written. */
static void test_offsets(void **state) {
    (void)state;
    enum { N = 1003, ROOM = N + 16 };
    static const int offsets[][3] = { { 1, 1, 1 }, { 7, 7, 7 }, { 0, 3, 0 }, { 2, 1, 5 }, { 8, 8, 0 } };
    for (size_t c = 0; c < sizeof offsets / sizeof *offsets; c++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
            float *fx = inputs(ROOM, t), *fg = fill_normal(ROOM, 1, t, 2), *fy = fill_normal(ROOM, 1, t, 3);
            Buf x = buf_of(k, t, fx, ROOM), g = buf_of(k, t, fg, ROOM), y = buf_of(k, t, fy, ROOM);
            const int *o = offsets[c];
            Buf want = buf_new(k, t, N), wx = buf_of(k, t, fx + o[0], N), wg = buf_of(k, t, fg + o[1], N);
            k->activation_backward(want, wg, wx, GELU, N);
            k->activation_backward(buf_at(y, o[2]), buf_at(g, o[1]), buf_at(x, o[0]), GELU, N);
            compare_bits(k, "slope at an offset", buf_at(y, o[2]), want, N);
            k->add(want, wg, wx, N);
            k->add(buf_at(y, o[2]), buf_at(g, o[1]), buf_at(x, o[0]), N);
            compare_bits(k, "add at an offset", buf_at(y, o[2]), want, N);
            k->swiglu_forward(want, wx, 1, N / 2);
            k->swiglu_forward(buf_at(y, o[2]), buf_at(x, o[0]), 1, N / 2);
            compare_bits(k, "swiglu at an offset", buf_at(y, o[2]), want, N);
            float *all = buf_read(k, y, ROOM);
            for (int i = 0; i < ROOM; i++)
                if (i < o[2] || i >= o[2] + N) assert_true(all[i] == fy[i]);
            k->free(x), k->free(g), k->free(y), k->free(want), k->free(wx), k->free(wg);
            free(fx), free(fg), free(fy), free(all);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_activations), cmocka_unit_test(test_swiglu), cmocka_unit_test(test_add),
        cmocka_unit_test(test_offsets) };
    return cmocka_run_group_tests_name("activation_test", tests, NULL, NULL);
}

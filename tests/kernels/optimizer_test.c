/* optimizer_test.c - AdamW over several steps against the formula in double precision, master weights, sums of squares. */
#include "tests/kernels/kernel_test.h"

/* Runs `steps` steps with changing gradients. With bf16 the weights come from masters. All operands begin `shift` elements into their
 * buffers, as parameters do in a model's; the masters two more. */
static void adamw_check(const Kernels *k, DType t, int n, int shift, double decay) {
    enum { STEPS = 6 };
    const double lr = 2e-2, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, by = 0.5;
    float *start = fill_normal(n, 1, t, 1);
    double *w = wide_of(start, n), *m = calloc((size_t)n, sizeof *m), *v = calloc((size_t)n, sizeof *v);
    Buf whole[4] = { buf_new(k, t, n + shift), buf_new(k, FP32, n + shift), buf_new(k, FP32, n + shift), buf_new(k, FP32, n + 3 * shift) };
    Buf p = buf_at(whole[0], shift), bm = buf_at(whole[1], shift), bv = buf_at(whole[2], shift), master = buf_at(whole[3], 3 * shift);
    k->upload(master, start, n);
    k->copy(p, master, n);
    if (t == FP32) master = BUF_NONE;
    for (int step = 1; step <= STEPS; step++) {
        float *g = fill_normal(n, 0.3f, FP32, (uint64_t)(10 + step));
        Buf whole_g = buf_new(k, FP32, n + shift), bg = buf_at(whole_g, shift);
        k->upload(bg, g, n);
        AdamW a = { .lr = (float)lr,
            .beta1 = beta1,
            .beta2 = beta2,
            .eps = (float)eps,
            .weight_decay = (float)decay,
            .gradient_scale = (float)by,
            .step = step };
        k->adamw(p, master, bm, bv, bg, n, &a);
        for (int i = 0; i < n; i++) {
            double gi = by * (double)g[i];
            w[i] -= lr * decay * w[i];
            m[i] = beta1 * m[i] + (1 - beta1) * gi;
            v[i] = beta2 * v[i] + (1 - beta2) * gi * gi;
            w[i] -= lr / (1 - pow(beta1, step)) * m[i] / (sqrt(v[i]) / sqrt(1 - pow(beta2, step)) + eps);
        }
        k->free(whole_g);
        free(g);
    }
    compare_nmse(k, "adamw", p, w, n, nmse_bound(t));
    if (master.at) {
        compare_nmse(k, "adamw master", master, w, n, NMSE_FP32);
        float *exact = buf_read(k, master, n), *rounded = buf_read(k, p, n);
        for (int i = 0; i < n; i++) assert_true(rounded[i] == bf16_round(exact[i]));
        free(exact), free(rounded);
    }
    compare_nmse(k, "adamw m", bm, m, n, NMSE_FP32);
    compare_nmse(k, "adamw v", bv, v, n, NMSE_FP32);
    for (int i = 0; i < 4; i++) k->free(whole[i]);
    free(start), free(w), free(m), free(v);
}

static void test_adamw(void **state) {
    (void)state;
    static const int counts[] = { 1, 17, 1000, 33333 };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
            adamw_check(k, t, counts[i], 0, 0);
            adamw_check(k, t, counts[i], 1, 0.1);
        }
}

static void test_norm_and_scale(void **state) {
    (void)state;
    static const int64_t counts[] = { 0, 1, 255, 1025, 300001 };
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
            int64_t n = counts[c];
            float *x = fill_normal(n, 1e3f, t, 1);
            double want = 0, *scaled = wide_of(x, n);
            for (int64_t i = 0; i < n; i++) {
                want += (double)x[i] * x[i];
                scaled[i] *= -0.75;
            }
            Buf b = buf_of(k, t, x, n);
            double got = k->norm_squared(b, n);
            assert_true(fabs(got - want) <= 1e-12 * want);
            assert_true(k->norm_squared(b, n) == got);
            k->scale(b, -0.75f, n);
            compare_nmse(k, "scale", b, scaled, n, nmse_bound(t));
            k->free(b);
            free(x), free(scaled);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_adamw), cmocka_unit_test(test_norm_and_scale) };
    return cmocka_run_group_tests_name("optimizer_test", tests, NULL, NULL);
}

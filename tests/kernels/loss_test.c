/* loss_test.c - preference losses: values written out by hand, gradients by differences, at margins from hopeless to certain. */
#include "tests/kernels/kernel_test.h"

enum { PAIRS = 5, ROWS = 37 };
static const int first[2 * PAIRS + 1] = { 0, 3, 7, 8, 9, 16, 18, 20, 21, 30, 37 };

typedef struct Case {
    LossKind kind;
    float beta, label_smoothing, sft_weight;
} Case;
static const Case cases[] = {
    { LOSS_SIGMOID, 0.1f, 0, 0 },
    { LOSS_SIGMOID, 0.5f, 0.25f, 0.3f },
    { LOSS_IPO, 0.1f, 0, 0 },
    { LOSS_IPO, 0.4f, 0, 0.5f },
    { LOSS_HINGE, 0.1f, 0, 0 },
    { LOSS_HINGE, 0.3f, 0, 0.25f },
    { LOSS_ROBUST, 0.1f, 0.125f, 0 },
    { LOSS_ROBUST, 0.2f, 0.25f, 1 },
    { LOSS_SIGMOID_NORM, 2, 0, 0 },
    { LOSS_SIGMOID_NORM, 10, 0, 0.1f },
};

static double log_sigmoid(double z) { return -(z > 0 ? log1p(exp(-z)) : log1p(exp(z)) - z); }

/* The formulas as INTEROP quotes TRL, one pair. */
static double twin_loss(const PreferenceLoss *l, const double *logp, const double *ref, int pair, double *d_w, double *d_l) {
    double sum[2] = { 0, 0 }, tokens[2], beta = l->beta, e = l->label_smoothing, value = 0;
    for (int side = 0; side < 2; side++) {
        tokens[side] = first[2 * pair + side + 1] - first[2 * pair + side];
        for (int r = first[2 * pair + side]; r < first[2 * pair + side + 1]; r++) sum[side] += logp[r];
    }
    *d_w = sum[0] - ref[2 * pair], *d_l = sum[1] - ref[2 * pair + 1];
    double z = beta * (*d_w - *d_l), by_token = *d_w / tokens[0] - *d_l / tokens[1];
    if (l->kind == LOSS_SIGMOID) value = -(1 - e) * log_sigmoid(z) - e * log_sigmoid(-z);
    if (l->kind == LOSS_ROBUST) value = (-(1 - e) * log_sigmoid(z) + e * log_sigmoid(-z)) / (1 - 2 * e);
    if (l->kind == LOSS_HINGE) value = fmax(0, 1 - z);
    if (l->kind == LOSS_IPO) value = pow(by_token - 1 / (2 * beta), 2);
    if (l->kind == LOSS_SIGMOID_NORM) value = -log_sigmoid(beta * by_token);
    return value - (double)l->sft_weight * sum[0] / tokens[0];
}

static void test_losses(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) FOR_EACH_ISA(k) {
            PreferenceLoss l = { cases[i].kind, cases[i].beta, cases[i].label_smoothing, cases[i].sft_weight, 0.25f };
            float *x = fill_normal(ROWS, 3, FP32, 1);
            for (int r = 0; r < ROWS; r++) x[r] -= 5;
            double *logp = wide_of(x, ROWS), ref[2 * PAIRS], columns[PAIRS * PAIR_COLUMNS], want[ROWS];
            for (int s = 0; s < 2 * PAIRS; s++) {
                ref[s] = s < 6 ? 1.5 * (s % 4) : s == 6 ? -9000 : 9000; /* the last pairs: certain and hopeless beyond what exp can hold */
                for (int r = first[s]; r < first[s + 1]; r++) ref[s] += logp[r] * (s < 6);
            }
            ref[7] = 9000, ref[8] = 9000, ref[9] = -9000;
            Buf b = buf_of(k, FP32, x, ROWS), db = buf_new(k, FP32, ROWS);
            k->preference_loss(db, columns, b, first, ref, PAIRS, &l);
            for (int p = 0; p < PAIRS; p++) {
                double d_w, d_l, value = twin_loss(&l, logp, ref, p, &d_w, &d_l), *c = columns + p * PAIR_COLUMNS, beta = l.beta;
                assert_true(isfinite(value) && fabs(c[PAIR_LOSS] - value) <= 1e-9 * (1 + fabs(value)));
                assert_true(fabs(c[PAIR_REWARD_CHOSEN] - beta * d_w) < 1e-9 && fabs(c[PAIR_REWARD_REJECTED] - beta * d_l) < 1e-9);
                assert_true(
                    fabs(c[PAIR_LOGP_CHOSEN] - (d_w + ref[2 * p])) < 1e-9 && fabs(c[PAIR_LOGP_REJECTED] - (d_l + ref[2 * p + 1])) < 1e-9);
                for (int r = first[2 * p]; r < first[2 * p + 2]; r++) {
                    double at = logp[r], side[2];
                    for (int up = 0; up < 2; up++) {
                        logp[r] = at + (up ? 1e-4 : -1e-4);
                        side[up] = twin_loss(&l, logp, ref, p, &d_w, &d_l);
                    }
                    logp[r] = at;
                    want[r] = 0.25 * (side[1] - side[0]) / 2e-4;
                }
            }
            compare_nmse(k, "loss gradient", db, want, ROWS, 1e-11);
            k->preference_loss(BUF_NONE, columns, b, first, ref, PAIRS, &l); /* evaluation: no gradient wanted */
            k->free(b), k->free(db);
            free(x), free(logp);
        }
}

/* A number anyone can check: equal policies and references give log 2. */
static void test_log_two(void **state) {
    (void)state;
    FOR_EACH_ISA(k) {
        static const int two[] = { 0, 1, 3 };
        const float x[] = { -1, -2, -4 };
        const double ref[] = { -1, -6 };
        double columns[PAIR_COLUMNS];
        PreferenceLoss l = { LOSS_SIGMOID, 0.1f, 0, 0, 1 };
        Buf b = buf_of(k, FP32, x, 3), db = buf_new(k, FP32, 3);
        k->preference_loss(db, columns, b, two, ref, 1, &l);
        assert_true(fabs(columns[PAIR_LOSS] - 0.6931471805599453) < 1e-15);
        const double want[] = { -0.05, 0.05, 0.05 };
        compare_nmse(k, "log 2", db, want, 3, 1e-13);
        k->free(b), k->free(db);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_losses), cmocka_unit_test(test_log_two) };
    return cmocka_run_group_tests_name("loss_test", tests, NULL, NULL);
}

/* loss_test.c - preference losses: values written out by hand, gradients by differences, at margins from hopeless to certain. */
#include "tests/kernels/kernel_test.h"

enum { PAIRS = 5, MOST_ROWS = 64, MOST_SEQUENCES = 3 * PAIRS };
/* Tokens of chosen and rejected; chosen comes a third time where the loss compares it with and without the image. */
static const int tokens_of[PAIRS][2] = { { 3, 4 }, { 1, 1 }, { 7, 2 }, { 2, 1 }, { 9, 7 } };

typedef struct Case {
    LossKind kind;
    float beta, label_smoothing, sft_weight;
    int sft_sum;
    float conditional_weight, anchor_weight;
    int weighted;
} Case;
static const Case cases[] = {
    { LOSS_SIGMOID, 0.1f, 0, 0, 0, 0, 0, 1 },
    { LOSS_SIGMOID_NORM, 5, 0, 0.5f, 1, 0, 0, 1 },
    { LOSS_IPO, 0.4f, 0, 0, 0, 0, 0.5f, 1 },
    { LOSS_SIGMOID, 0.1f, 0, 0.2f, 1, 0, 0, 0 },
    { LOSS_SIGMOID, 0.1f, 0, 0, 0, 1, 1, 0 },
    { LOSS_SIGMOID, 0.3f, 0.1f, 0.1f, 0, 0.7f, 0.3f, 1 },
    { LOSS_HINGE, 0.3f, 0, 0, 0, 0.5f, 0, 0 },
    { LOSS_SIGMOID, 0.1f, 0, 0, 0, 0, 2, 0 },
    { LOSS_SIGMOID, 0.1f, 0, 0, 0, 0, 0, 0 },
    { LOSS_SIGMOID, 0.5f, 0.25f, 0.3f, 0, 0, 0, 0 },
    { LOSS_IPO, 0.1f, 0, 0, 0, 0, 0, 0 },
    { LOSS_IPO, 0.4f, 0, 0.5f, 0, 0, 0, 0 },
    { LOSS_HINGE, 0.1f, 0, 0, 0, 0, 0, 0 },
    { LOSS_HINGE, 0.3f, 0, 0.25f, 0, 0, 0, 0 },
    { LOSS_ROBUST, 0.1f, 0.125f, 0, 0, 0, 0, 0 },
    { LOSS_ROBUST, 0.2f, 0.25f, 1, 0, 0, 0, 0 },
    { LOSS_SIGMOID_NORM, 2, 0, 0, 0, 0, 0, 0 },
    { LOSS_SIGMOID_NORM, 10, 0, 0.1f, 0, 0, 0, 0 },
};

static double log_sigmoid(double z) { return -(z > 0 ? log1p(exp(-z)) : log1p(exp(z)) - z); }

/* The formulas as docs/losses.md states them, one pair of `n` sequences. */
static double twin_loss(const Case *l, const double *logp, const float *weights, const int *first, const double *ref, int pair, double *d, double *sum) {
    int n = l->conditional_weight != 0 ? 3 : 2;
    double weight[3], beta = l->beta, e = l->label_smoothing, value = 0, tokens = 0;
    for (int side = 0; side < n; side++) {
        int s = n * pair + side;
        d[side] = -ref[s], sum[side] = weight[side] = 0;
        for (int r = first[s]; r < first[s + 1]; r++) d[side] += weights[r] * logp[r], weight[side] += weights[r], sum[side] += logp[r];
        if (side == 0) tokens = first[s + 1] - first[s];
    }
    double z = beta * (d[0] - d[1]), by_token = d[0] / weight[0] - d[1] / weight[1];
    if (l->kind == LOSS_SIGMOID) value = -(1 - e) * log_sigmoid(z) - e * log_sigmoid(-z);
    if (l->kind == LOSS_ROBUST) value = (-(1 - e) * log_sigmoid(z) + e * log_sigmoid(-z)) / (1 - 2 * e);
    if (l->kind == LOSS_HINGE) value = fmax(0, 1 - z);
    if (l->kind == LOSS_IPO) value = pow(by_token - 1 / (2 * beta), 2);
    if (l->kind == LOSS_SIGMOID_NORM) value = -log_sigmoid(beta * by_token);
    if (n == 3) value -= (double)l->conditional_weight * log_sigmoid(beta * (d[0] - d[2]));
    value -= (double)l->anchor_weight * log_sigmoid(beta * d[0]);
    return value - (double)l->sft_weight * sum[0] / (l->sft_sum ? 1 : tokens);
}

static void test_losses(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) FOR_EACH_ISA(k) {
            const Case *c = &cases[i];
            PreferenceLoss l = { c->kind, c->beta, c->label_smoothing, c->sft_weight, c->sft_sum, c->conditional_weight, c->anchor_weight, 0.25f };
            int n = loss_sequences(&l), first[MOST_SEQUENCES + 1] = { 0 }, rows;
            for (int s = 0; s < n * PAIRS; s++) first[s + 1] = first[s] + tokens_of[s / n][s % n == 1];
            rows = first[n * PAIRS];
            assert_in_range(rows, 1, MOST_ROWS);
            float *x = fill_normal(rows, 3, FP32, 1), weights[MOST_ROWS];
            for (int r = 0; r < rows; r++) x[r] -= 5, weights[r] = c->weighted ? 0.5f + (float)(r % 4) : 1;
            double *logp = wide_of(x, rows), ref[MOST_SEQUENCES], columns[PAIRS * PAIR_COLUMNS], want[MOST_ROWS], d[3], sum[3];
            for (int s = 0; s < n * PAIRS; s++) {
                int pair = s / n, near = pair < 3; /* the last pairs: certain and hopeless beyond what exp can hold */
                ref[s] = near ? 1.5 * (s % 4) : (s % n == 1) == (pair == 3) ? 9000 : -9000;
                for (int r = first[s]; r < first[s + 1]; r++) ref[s] += weights[r] * logp[r] * near;
            }
            Buf b = buf_of(k, FP32, x, rows), db = buf_new(k, FP32, rows);
            k->preference_loss(db, columns, b, c->weighted ? weights : NULL, first, ref, PAIRS, &l);
            for (int p = 0; p < PAIRS; p++) {
                double value = twin_loss(c, logp, weights, first, ref, p, d, sum), *got = columns + p * PAIR_COLUMNS, beta = l.beta;
                assert_true(isfinite(value) && fabs(got[PAIR_LOSS] - value) <= 1e-9 * (1 + fabs(value)));
                assert_true(fabs(got[PAIR_REWARD_CHOSEN] - beta * d[0]) < 1e-9 && fabs(got[PAIR_REWARD_REJECTED] - beta * d[1]) < 1e-9);
                assert_true(fabs(got[PAIR_LOGP_CHOSEN] - sum[0]) < 1e-9 && fabs(got[PAIR_LOGP_REJECTED] - sum[1]) < 1e-9);
                for (int r = first[n * p]; r < first[n * p + n]; r++) {
                    double at = logp[r], side[2];
                    for (int up = 0; up < 2; up++) {
                        logp[r] = at + (up ? 1e-4 : -1e-4);
                        side[up] = twin_loss(c, logp, weights, first, ref, p, d, sum);
                    }
                    logp[r] = at;
                    want[r] = 0.25 * (side[1] - side[0]) / 2e-4;
                }
            }
            compare_nmse(k, "loss gradient", db, want, rows, 1e-11);
            k->preference_loss(BUF_NONE, columns, b, NULL, first, ref, PAIRS, &l); /* evaluation: no gradient wanted */
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
        PreferenceLoss l = { .kind = LOSS_SIGMOID, .beta = 0.1f, .pair_scale = 1 };
        Buf b = buf_of(k, FP32, x, 3), db = buf_new(k, FP32, 3);
        k->preference_loss(db, columns, b, NULL, two, ref, 1, &l);
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

/* norm_test.c - RMSNorm and LayerNorm against a double-precision twin, whose gradients are checked by differences. */
#include "tests/kernels/kernel_test.h"

/* Widths: one element, tails of every vector, and rows longer than the piece in which they are walked; then one of every arrangement of
 * rows in a CUDA block, aligned and not, with rows enough that a block takes several at a time, and again. */
static const struct Shape {
    int D, T;
} shapes[] = { { 1, 13 }, { 5, 13 }, { 16, 13 }, { 33, 13 }, { 64, 13 }, { 100, 13 }, { 1023, 13 }, { 1025, 13 }, { 3000, 13 }, { 60, 601 },
    { 512, 599 }, { 768, 601 }, { 131, 150 }, { 1280, 150 }, { 4096, 140 }, { 8191, 2 }, { 8192, 70 } };
enum { SHAPES = sizeof shapes / sizeof *shapes };
static const double eps = 1e-5;

/* Normalises one row; `b` is NULL for RMSNorm. */
static void twin_row(double *y, const double *x, const double *w, const double *b, int D, double *mean_out, double *rstd_out) {
    double mean = 0, square = 0;
    if (b)
        for (int i = 0; i < D; i++) mean += x[i] / D;
    for (int i = 0; i < D; i++) square += (x[i] - mean) * (x[i] - mean) / D;
    double rstd = 1 / sqrt(square + eps);
    for (int i = 0; i < D; i++) y[i] = (x[i] - mean) * rstd * w[i] + (b ? b[i] : 0);
    *mean_out = mean, *rstd_out = rstd;
}

static void twin_row_backward(
    double *dx, double *dw, double *db, const double *dy, const double *x, const double *w, int D, double mean, double rstd) {
    double g_mean = 0, gn_mean = 0;
    for (int i = 0; i < D; i++) {
        if (db) g_mean += dy[i] * w[i] / D;
        gn_mean += dy[i] * w[i] * (x[i] - mean) * rstd / D;
    }
    for (int i = 0; i < D; i++) {
        double n = (x[i] - mean) * rstd;
        dx[i] += rstd * (dy[i] * w[i] - g_mean - n * gn_mean);
        dw[i] += dy[i] * n;
        if (db) db[i] += dy[i];
    }
}

typedef struct Case {
    int layer; /* LayerNorm, or RMSNorm */
    int T, D;
    DType dtype;
    float *x, *w, *b, *dy, *dx, *dw, *db; /* dx, dw, db: what gradients are added to */
    double *wide_y, *mean, *rstd, *wide_dx, *wide_dw, *wide_db;
} Case;

static Case case_new(int layer, int T, int D, DType t) {
    Case c = { .layer = layer, .T = T, .D = D, .dtype = t };
    c.x = fill_normal(T * D, 2, t, 1), c.w = fill_normal(D, 1, t, 2), c.b = fill_normal(D, 1, t, 3), c.dy = fill_normal(T * D, 1, t, 4);
    c.dx = fill_normal(T * D, 1, t, 5), c.dw = fill_normal(D, 1, FP32, 6), c.db = fill_normal(D, 1, FP32, 7);
    for (int i = 0; i < T * D; i++) c.x[i] += 3; /* a mean worth subtracting */
    if (t == BF16)
        for (int i = 0; i < T * D; i++) c.x[i] = bf16_round(c.x[i]);
    double *x = wide_of(c.x, T * D), *w = wide_of(c.w, D), *b = wide_of(c.b, D), *dy = wide_of(c.dy, T * D);
    c.wide_y = calloc((size_t)T * (size_t)D, sizeof(double));
    c.mean = calloc((size_t)T, sizeof(double)), c.rstd = calloc((size_t)T, sizeof(double));
    c.wide_dx = wide_of(c.dx, T * D), c.wide_dw = wide_of(c.dw, D), c.wide_db = wide_of(c.db, D);
    for (int r = 0; r < T; r++) {
        twin_row(c.wide_y + r * D, x + r * D, w, layer ? b : NULL, D, &c.mean[r], &c.rstd[r]);
        twin_row_backward(c.wide_dx + r * D, c.wide_dw, layer ? c.wide_db : NULL, dy + r * D, x + r * D, w, D, c.mean[r], c.rstd[r]);
    }
    free(x), free(w), free(b), free(dy);
    return c;
}
static void case_free(Case *c) {
    free(c->x), free(c->w), free(c->b), free(c->dy), free(c->dx), free(c->dw), free(c->db);
    free(c->wide_y), free(c->mean), free(c->rstd), free(c->wide_dx), free(c->wide_dw), free(c->wide_db);
}

static void case_check(const Kernels *k, const Case *c) {
    int T = c->T, D = c->D;
    DType t = c->dtype;
    const char *name = c->layer ? "layernorm" : "rmsnorm";
    Buf x = buf_of(k, t, c->x, T * D), w = buf_of(k, t, c->w, D), b = buf_of(k, t, c->b, D), dy = buf_of(k, t, c->dy, T * D);
    Buf y = buf_new(k, t, T * D), mean = buf_new(k, FP32, T), rstd = buf_new(k, FP32, T), dx[2], dw[2], db[2];
    if (c->layer) k->layernorm_forward(y, mean, rstd, x, w, b, T, D, (float)eps);
    else k->rmsnorm_forward(y, rstd, x, w, T, D, (float)eps);
    compare_nmse(k, name, y, c->wide_y, T * D, nmse_bound(t));
    /* One element varies by nothing but rounding: its rstd is 1 / sqrt(eps), which fp32 sees as it is. */
    compare_nmse(k, name, rstd, c->rstd, T, 1e-9);
    if (c->layer) compare_nmse(k, name, mean, c->mean, T, NMSE_FP32);
    for (int run = 0; run < 2; run++) {
        dx[run] = buf_of(k, t, c->dx, T * D), dw[run] = buf_of(k, FP32, c->dw, D), db[run] = buf_of(k, FP32, c->db, D);
        if (c->layer) k->layernorm_backward(dx[run], dw[run], db[run], dy, x, w, mean, rstd, T, D);
        else k->rmsnorm_backward(dx[run], dw[run], dy, x, w, rstd, T, D);
    }
    compare_nmse(k, name, dx[0], c->wide_dx, T * D, nmse_bound(t));
    compare_nmse(k, name, dw[0], c->wide_dw, D, NMSE_FP32);
    if (c->layer) compare_nmse(k, name, db[0], c->wide_db, D, NMSE_FP32);
    compare_bits(k, name, dx[0], dx[1], T * D);
    compare_bits(k, name, dw[0], dw[1], D);
    compare_bits(k, name, db[0], db[1], D);
    /* Absent outputs, and a result in place of x, change nothing. */
    Buf in_place = buf_of(k, t, c->x, T * D), dx_alone = buf_of(k, t, c->dx, T * D);
    if (c->layer) k->layernorm_forward(in_place, BUF_NONE, BUF_NONE, in_place, w, b, T, D, (float)eps);
    else k->rmsnorm_forward(in_place, BUF_NONE, in_place, w, T, D, (float)eps);
    compare_bits(k, name, y, in_place, T * D);
    if (c->layer) k->layernorm_backward(dx_alone, BUF_NONE, BUF_NONE, dy, x, w, mean, rstd, T, D);
    else k->rmsnorm_backward(dx_alone, BUF_NONE, dy, x, w, rstd, T, D);
    compare_bits(k, name, dx[0], dx_alone, T * D);
    /* One of two sums wanted. */
    Buf dw_alone = buf_of(k, FP32, c->dw, D), db_alone = buf_of(k, FP32, c->db, D);
    if (c->layer) {
        k->layernorm_backward(dx[1], dw_alone, BUF_NONE, dy, x, w, mean, rstd, T, D);
        k->layernorm_backward(dx[1], BUF_NONE, db_alone, dy, x, w, mean, rstd, T, D);
        compare_bits(k, name, dw[0], dw_alone, D);
        compare_bits(k, name, db[0], db_alone, D);
    }
    Buf all[] = { x, w, b, dy, y, mean, rstd, dx[0], dw[0], db[0], dx[1], dw[1], db[1], in_place, dx_alone, dw_alone, db_alone };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) k->free(all[i]);
}

static void norm_test(int layer) {
    /* A LayerNorm over one element subtracts it from itself: nothing is left to compare. */
    for (int i = layer; i < SHAPES; i++) FOR_EACH_DTYPE(t) {
            if (!case_taken()) continue;
            Case c = case_new(layer, shapes[i].T, shapes[i].D, t);
            FOR_EACH_ISA(k) case_check(k, &c);
            case_free(&c);
        }
}
static void test_rmsnorm(void **state) { (void)state, norm_test(0); }
static void test_layernorm(void **state) { (void)state, norm_test(1); }

#ifdef WITH_SIMT
/* What the CUDA kernels refuse is reported by sync, and nothing is written. */
static void test_refusals(void **state) {
    (void)state;
    FOR_EACH_ISA(k) {
        enum { D = 8193 };
        Error e;
        char line[2048];
        Buf x = buf_new(k, FP32, D), w = buf_new(k, FP32, D), narrow = buf_new(k, BF16, D);
        k->rmsnorm_forward(x, BUF_NONE, x, w, 1, D, 1e-5f);
        assert_int_equal(k->sync(&e), -1);
        assert_non_null(strstr(error_text(&e, line, sizeof line), "too wide"));
        k->rmsnorm_forward(narrow, BUF_NONE, x, w, 1, 8, 1e-5f);
        assert_int_equal(k->sync(&e), -1);
        assert_non_null(strstr(error_text(&e, line, sizeof line), "two dtypes"));
        assert_int_equal(k->sync(&e), 0);
        k->free(x), k->free(w), k->free(narrow);
    }
}
#endif

static void test_twin_gradients(void **state) {
    (void)state;
    enum { D = 7 };
    for (int layer = 0; layer < 2; layer++) {
        float *fx = fill_normal(D, 2, FP32, 1), *fw = fill_normal(D, 1, FP32, 2), *fg = fill_normal(D, 1, FP32, 3);
        double *x = wide_of(fx, D), *w = wide_of(fw, D), *g = wide_of(fg, D), b[D] = { 0 }, y[D], dx[D] = { 0 }, dw[D] = { 0 },
               db[D] = { 0 }, mean, rstd;
        twin_row(y, x, w, layer ? b : NULL, D, &mean, &rstd);
        twin_row_backward(dx, dw, layer ? db : NULL, g, x, w, D, mean, rstd);
        double *inputs[] = { x, w, b }, *grads[] = { dx, dw, db };
        for (int which = 0; which < 2 + layer; which++)
            for (int i = 0; i < D; i++) {
                double at = inputs[which][i], loss[2] = { 0 };
                for (int side = 0; side < 2; side++) {
                    inputs[which][i] = at + (side ? 1e-5 : -1e-5);
                    twin_row(y, x, w, layer ? b : NULL, D, &mean, &rstd);
                    for (int j = 0; j < D; j++) loss[side] += g[j] * y[j];
                }
                inputs[which][i] = at;
                assert_true(fabs((loss[1] - loss[0]) / 2e-5 - grads[which][i]) < 1e-7);
            }
        free(fx), free(fw), free(fg), free(x), free(w), free(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin_gradients),
        cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_layernorm),
#ifdef WITH_SIMT
        cmocka_unit_test(test_refusals),
#endif
    };
    return cmocka_run_group_tests_name("norm_test", tests, NULL, NULL);
}

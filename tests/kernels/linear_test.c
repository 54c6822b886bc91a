/* linear_test.c - products with weights against a double-precision twin: forward, both backwards, packs that must not go stale. */
#include "tests/kernels/isa_run.h"

/* Rows, columns, inner length: single rows and columns, no multiples of anything, every count of few rows, tiles and chunks crossed; tiles
 * of devices just filled and just not, with rows aligned to 16 bytes and without. */
typedef struct Shape {
    int M, N, K;
} Shape;
static const Shape shapes[] = { { 1, 1, 1 }, { 1, 1, 300 }, { 1, 7, 1 }, { 3, 1, 5 }, { 33, 1, 17 }, { 5, 64, 33 }, { 20, 129, 515 },
    { 33, 130, 67 }, { 47, 31, 1 }, { 65, 5, 259 }, { 70, 300, 1030 }, { 129, 33, 40 }, { 530, 35, 47 }, { 1030, 18, 21 },
    { 36, 290, 4100 }, { 63, 64, 65 }, { 127, 129, 24 }, { 128, 128, 72 }, { 129, 264, 8 }, { 264, 72, 136 }, { 40, 136, 264 } };
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* A device computes products in several ways (kernels/cuda/linear.cu): unless RLAIFV_PRODUCTS names one, its own kernels and the choice
 * between these and the library take turns, so that every shape sees both. */
static int ways_in_turn;
static void way_take(int turn) {
    if (ways_in_turn) assert_int_equal(setenv("RLAIFV_PRODUCTS", turn & 1 ? "auto" : "own", 1), 0);
}

/* c (M, N) = a b^T in double */
static double *twin_forward(const float *x, const float *w, const float *bias, const float *residual, Shape s) {
    double *y = malloc((size_t)s.M * (size_t)s.N * sizeof *y);
    assert_non_null(y);
    for (int m = 0; m < s.M; m++)
        for (int n = 0; n < s.N; n++) {
            double sum = (bias ? (double)bias[n] : 0) + (residual ? (double)residual[m * s.N + n] : 0);
#pragma omp simd reduction(+ : sum)
            for (int i = 0; i < s.K; i++) sum += (double)x[(size_t)m * s.K + i] * (double)w[(size_t)n * s.K + i];
            y[(size_t)m * s.N + n] = sum;
        }
    return y;
}

/* One element off by more than its rounding fails even where NMSE over all of them would not. */
static void compare_each(const char *what, Buf got, const double *want, int64_t n) {
    float *x = buf_read(k, got, n);
    double mean_square = 0;
    for (int64_t i = 0; i < n; i++) mean_square += want[i] * want[i] / (double)n;
    double relative = got.dtype == FP32 ? 1e-5 : 1.0 / 256, absolute = 2e-5 * sqrt(mean_square);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - want[i]) <= relative * fabs(want[i]) + absolute))
            fail_msg("%s (%s): element %lld is %.9g, expected %.9g", what, k->isa, (long long)i, (double)x[i], want[i]);
    free(x);
}

static void compare(const char *what, Buf got, const double *want, int64_t n) {
    compare_each(what, got, want, n);
    if (n >= 64) compare_nmse(k, what, got, want, n, nmse_bound(got.dtype)); /* its bound is for the average rounding of many */
}

static void forward_case(Shape s, DType t, DType result, int with_bias, int with_residual) {
    if (!case_taken()) return;
    int64_t mn = (int64_t)s.M * s.N;
    float *x = fill_normal((int64_t)s.M * s.K, 1, t, 1), *w = fill_normal((int64_t)s.N * s.K, 1, t, 2);
    float *bias = fill_normal(s.N, 3, t, 3), *residual = fill_normal(mn, 5, result, 4);
    double *want = twin_forward(x, w, with_bias ? bias : NULL, with_residual ? residual : NULL, s);
    Buf bx = buf_of(k, t, x, (int64_t)s.M * s.K), bw = buf_of(k, t, w, (int64_t)s.N * s.K), bb = buf_of(k, t, bias, s.N);
    Buf br = buf_of(k, result, residual, mn), y = buf_new(k, result, mn), again = buf_new(k, result, mn);
    k->linear_forward(y, bx, bw, with_bias ? bb : BUF_NONE, with_residual ? br : BUF_NONE, s.M, s.N, s.K);
    sync_ok();
    char what[128];
    snprintf(what, sizeof what, "linear_forward %dx%dx%d bias %d residual %d", s.M, s.N, s.K, with_bias, with_residual);
    compare(what, y, want, mn);
    k->linear_forward(again, bx, bw, with_bias ? bb : BUF_NONE, with_residual ? br : BUF_NONE, s.M, s.N, s.K);
    compare_bits(k, what, y, again, mn);
    if (with_residual) { /* in place */
        k->linear_forward(br, bx, bw, with_bias ? bb : BUF_NONE, br, s.M, s.N, s.K);
        compare(what, br, want, mn);
    }
    sync_ok();
    Buf all[] = { bx, bw, bb, br, y, again };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) k->free(all[i]);
    free(x), free(w), free(bias), free(residual), free(want);
}

static void test_forward(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) FOR_EACH_DTYPE(t)
    for (int flags = 0; flags < 4; flags++) {
        way_take(i + flags + flags / 2);
        forward_case(shapes[i], t, t, flags & 1, flags & 2);
        way_take(i + flags + flags / 2 + 1);
        if (t == BF16) forward_case(shapes[i], t, FP32, flags & 1, flags & 2);
    }
}

static void test_forward_few_rows(void **state) {
    (void)state;
    for (int m = 1; m <= 33; m++) FOR_EACH_DTYPE(t) {
            forward_case((Shape){ m, 37, 51 }, t, t, m & 1, m & 2);
            forward_case((Shape){ m, 132, 288 }, t, FP32, m & 2, m & 1); /* enough weights for more than one thread */
        }
}

/* Operands that begin anywhere, as parts of larger ones do: no access wider than an element is aligned. */
static void test_unaligned(void **state) {
    (void)state;
    static const Shape odd[] = { { 3, 40, 64 }, { 20, 40, 64 }, { 70, 136, 64 } };
    FOR_EACH_DTYPE(t)
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        for (int which = 0; which < 3; which++) { /* of x, w, y */
            Shape s = odd[i];
            way_take((int)i + which);
            int64_t mn = (int64_t)s.M * s.N, mk = (int64_t)s.M * s.K, nk = (int64_t)s.N * s.K;
            float *x = fill_normal(mk + 1, 1, t, 1), *w = fill_normal(nk + 1, 1, t, 2);
            double *want = twin_forward(x + (which == 0), w + (which == 1), NULL, NULL, s);
            Buf bx = buf_of(k, t, x, mk + 1), bw = buf_of(k, t, w, nk + 1), y = buf_new(k, t, mn + 1), to = buf_at(y, which == 2);
            k->linear_forward(to, buf_at(bx, which == 0), buf_at(bw, which == 1), BUF_NONE, BUF_NONE, s.M, s.N, s.K);
            sync_ok();
            compare("operands that are not aligned", to, want, mn);
            k->free(bx), k->free(bw), k->free(y);
            free(x), free(w), free(want);
        }
}

/* A row's result has the same bits whatever the number of rows and wherever it stands among them: what is sampled must not depend on what
 * shares the batch. oneDNN's bf16 products, and the libraries of devices, do not promise it for many rows. */
static void test_rows_alone(void **state) {
    (void)state;
    enum { MOST = 300, FEW = 32 };
    const char *products = getenv("RLAIFV_PRODUCTS");
    int library = products && !strcmp(products, "cublaslt");
    static const int widths[][2] = { { 131, 333 }, { 512, 128 }, { 96, 1376 }, { 40, 72 } },
                     counts[] = { 2, 5, 16, FEW, 33, 64, 100, 257, MOST };
    FOR_EACH_DTYPE(t)
    for (size_t s = 0; s < sizeof widths / sizeof *widths; s++) {
        if (!case_taken()) continue;
        int N = widths[s][0], K = widths[s][1], most = !k->unified ? library ? 0 : FEW : t == BF16 && k->native_bf16 ? 0 : MOST;
        float *x = fill_normal((int64_t)MOST * K, 1, t, 5), *w = fill_normal((int64_t)N * K, 1, t, 6);
        Buf bx = buf_of(k, t, x, (int64_t)MOST * K), bw = buf_of(k, t, w, (int64_t)N * K);
        Buf one = buf_new(k, FP32, (int64_t)MOST * N), y = buf_new(k, FP32, (int64_t)MOST * N);
        for (int m = 0; m < most; m++)
            k->linear_forward(buf_at(one, (int64_t)m * N), buf_at(bx, (int64_t)m * K), bw, BUF_NONE, BUF_NONE, 1, N, K);
        for (size_t i = 0; i < sizeof counts / sizeof *counts && counts[i] <= most; i++) {
            k->linear_forward(y, bx, bw, BUF_NONE, BUF_NONE, counts[i], N, K);
            compare_bits(k, "rows together and alone", y, one, (int64_t)counts[i] * N);
        }
        sync_ok();
        k->free(bx), k->free(bw), k->free(y), k->free(one);
        free(x), free(w);
    }
}

static void backward_case(Shape s, DType t, int accumulate) {
    if (!case_taken()) return;
    int64_t mn = (int64_t)s.M * s.N, mk = (int64_t)s.M * s.K, nk = (int64_t)s.N * s.K;
    float *x = fill_normal(mk, 1, t, 1), *w = fill_normal(nk, 1, t, 2), *dy = fill_normal(mn, 1, t, 3);
    float *dx0 = fill_normal(mk, 2, t, 4), *dw0 = fill_normal(nk, 2, FP32, 5), *db0 = fill_normal(s.N, 2, FP32, 6);
    double *dx = accumulate ? wide_of(dx0, mk) : calloc((size_t)mk, sizeof *dx), *dw = wide_of(dw0, nk), *db = wide_of(db0, s.N);
    for (int m = 0; m < s.M; m++)
        for (int n = 0; n < s.N; n++) {
            double g = dy[(int64_t)m * s.N + n];
            db[n] += g;
            for (int i = 0; i < s.K; i++) {
                dx[(int64_t)m * s.K + i] += g * (double)w[(int64_t)n * s.K + i];
                dw[(int64_t)n * s.K + i] += g * (double)x[(int64_t)m * s.K + i];
            }
        }
    Buf bx = buf_of(k, t, x, mk), bw = buf_of(k, t, w, nk), bdy = buf_of(k, t, dy, mn);
    for (int repeat = 0; repeat < 2; repeat++) {
        Buf bdx = buf_of(k, t, dx0, mk), bdw = buf_of(k, FP32, dw0, nk), bdb = buf_of(k, FP32, db0, s.N);
        static Buf first_dx, first_dw, first_db;
        k->linear_backward_input(bdx, bdy, bw, s.M, s.N, s.K, accumulate);
        k->linear_backward_weight(bdw, accumulate ? bdb : BUF_NONE, bdy, bx, s.M, s.N, s.K);
        sync_ok();
        char what[128];
        snprintf(what, sizeof what, "linear_backward %dx%dx%d", s.M, s.N, s.K);
        if (repeat == 0) {
            compare(what, bdx, dx, mk);
            compare(what, bdw, dw, nk);
            if (accumulate) compare(what, bdb, db, s.N);
            first_dx = bdx, first_dw = bdw, first_db = bdb;
            continue;
        }
        compare_bits(k, what, bdx, first_dx, mk);
        compare_bits(k, what, bdw, first_dw, nk);
        compare_bits(k, what, bdb, first_db, s.N);
        k->free(bdx), k->free(bdw), k->free(bdb), k->free(first_dx), k->free(first_dw), k->free(first_db);
    }
    k->free(bx), k->free(bw), k->free(bdy);
    free(x), free(w), free(dy), free(dx0), free(dw0), free(db0), free(dx), free(dw), free(db);
}

static void test_backward(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) FOR_EACH_DTYPE(t)
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        way_take(i + accumulate + (int)t);
        backward_case(shapes[i], t, accumulate);
    }
    FOR_EACH_DTYPE(t) backward_case((Shape){ 260, 4099, 23 }, t, 1); /* dy w from weights packed for the call */
}

/* sum of c * linear_forward(x, w, bias), in double */
static double objective(Buf x, Buf w, Buf bias, const float *c, Shape s) {
    int64_t n = (int64_t)s.M * s.N;
    Buf y = buf_new(k, FP32, n);
    k->weights_changed(w, (int64_t)s.N * s.K);
    k->linear_forward(y, x, w, bias, BUF_NONE, s.M, s.N, s.K);
    float *v = buf_read(k, y, n);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)v[i] * (double)c[i];
    k->free(y);
    free(v);
    return sum;
}

static void test_finite_differences(void **state) {
    (void)state;
    Shape s = { 41, 19, 23 };
    float *x = fill_normal(s.M * s.K, 1, FP32, 1), *w = fill_normal(s.N * s.K, 1, FP32, 2), *b = fill_normal(s.N, 1, FP32, 3);
    float *c = fill_normal(s.M * s.N, 1, FP32, 4);
    Buf bufs[] = { buf_of(k, FP32, x, s.M * s.K), buf_of(k, FP32, w, s.N * s.K), buf_of(k, FP32, b, s.N) },
        dy = buf_of(k, FP32, c, s.M * s.N);
    float *values[] = { x, w, b };
    int sizes[] = { s.M * s.K, s.N * s.K, s.N };
    Buf grads[] = { buf_new(k, FP32, sizes[0]), buf_new(k, FP32, sizes[1]), buf_new(k, FP32, sizes[2]) };
    k->linear_backward_input(grads[0], dy, bufs[1], s.M, s.N, s.K, 0);
    k->linear_backward_weight(grads[1], grads[2], dy, bufs[0], s.M, s.N, s.K);
    for (int which = 0; which < 3; which++) {
        float *gradient = buf_read(k, grads[which], sizes[which]), *value = values[which];
        for (int i = 0; i < sizes[which]; i += 7) {
            if (!case_taken()) continue;
            Buf at = buf_at(bufs[which], i);
            float h = 0.25f, more = value[i] + h, less = value[i] - h; /* the objective is linear: a wide step costs nothing */
            k->upload(at, &more, 1);
            double up = objective(bufs[0], bufs[1], bufs[2], c, s);
            k->upload(at, &less, 1);
            double down = objective(bufs[0], bufs[1], bufs[2], c, s);
            k->upload(at, &value[i], 1);
            double want = (up - down) / (2 * (double)h), got = gradient[i];
            if (fabs(got - want) > 1e-3 * (1 + fabs(want)))
                fail_msg("operand %d, element %d: gradient %g, difference %g", which, i, got, want);
        }
        free(gradient);
    }
    for (int i = 0; i < 3; i++) k->free(bufs[i]), k->free(grads[i]);
    k->free(dy);
    free(x), free(w), free(b), free(c);
}

/* Packed weights follow the weights: after weights_changed over any overlapping range, under another shape, and in freed memory. Each product is made
 * three times, as a pack may be kept from the second on. */
enum { PACKED_M = 40, PACKED_N = 64, PACKED_K = 48, PACKED_WEIGHTS = PACKED_N * PACKED_K };
static void packed_product(const char *what, Buf x, Buf w, const double *want, int M, int N, int K) {
    Buf y = buf_new(k, FP32, (int64_t)M * N);
    for (int again = 0; again < 3; again++) {
        k->zero(y, (int64_t)M * N);
        k->linear_forward(y, x, w, BUF_NONE, BUF_NONE, M, N, K);
        compare(what, y, want, (int64_t)M * N);
    }
    k->free(y);
}

static void test_packs_follow(void **state) {
    (void)state;
    enum { M = PACKED_M, N = PACKED_N, K = PACKED_K, W = PACKED_WEIGHTS, TURNED_M = M * K / N };
    FOR_EACH_DTYPE(t) {
        float *x = fill_normal(M * K, 1, t, 1), *w[3];
        double *want[3][2];
        for (int i = 0; i < 3; i++) {
            w[i] = fill_normal(2 * W, 1, t, 10 + (uint64_t)i);
            for (int half = 0; half < 2; half++) want[i][half] = twin_forward(x, w[i] + half * W, NULL, NULL, (Shape){ M, N, K });
        }
        Buf bx = buf_of(k, t, x, M * K), arena = buf_of(k, t, w[0], 2 * W), fresh = buf_of(k, t, w[1], 2 * W);
        for (int half = 0; half < 2; half++) packed_product("first weights", bx, buf_at(arena, half * W), want[0][half], M, N, K);
        k->copy(arena, fresh, 2 * W);
        k->weights_changed(buf_at(arena, W - 1), 2); /* the last weight of one half, the first of the other */
        for (int half = 0; half < 2; half++) packed_product("changed weights", bx, buf_at(arena, half * W), want[1][half], M, N, K);
        double *turned = twin_forward(x, w[1], NULL, NULL, (Shape){ TURNED_M, K, N });
        packed_product("the same weights under another shape", bx, arena, turned, TURNED_M, K, N);
        packed_product("and under the first again", bx, arena, want[1][0], M, N, K);
        int reused = 0;
        for (int i = 0; i < 8; i++) { /* the allocator gives the address back sooner or later; its pack must not */
            Buf gone = arena;
            k->free(arena);
            arena = buf_of(k, t, w[2 * (i % 2)], 2 * W);
            reused |= gone.at == arena.at;
            packed_product("new weights at an old address", bx, arena, want[2 * (i % 2)][0], M, N, K);
        }
        if (!reused) print_message("no address came back\n");
        sync_ok();
        k->free(bx), k->free(arena), k->free(fresh);
        for (int i = 0; i < 3; i++) {
            for (int half = 0; half < 2; half++) free(want[i][half]);
            free(w[i]);
        }
        free(turned), free(x);
    }
}

/* More shapes than are kept at once: what was dropped is made again. */
static void test_many_shapes(void **state) {
    (void)state;
    way_take(1);
    enum { MOST = 700, N = 8, K = 5 };
    float *x = fill_normal(MOST * K, 1, FP32, 1), *w = fill_normal(N * K, 1, FP32, 2);
    Buf bx = buf_of(k, FP32, x, MOST * K), bw = buf_of(k, FP32, w, N * K), y = buf_new(k, FP32, MOST * N);
    double *want = twin_forward(x, w, NULL, NULL, (Shape){ MOST, N, K });
    for (int round = 0; round < 2; round++)
        for (int m = 33; m <= MOST; m++) {
            if (!case_taken()) continue;
            k->linear_forward(y, bx, bw, BUF_NONE, BUF_NONE, m, N, K);
            compare_each("one of many shapes", y, want, (int64_t)m * N);
        }
    sync_ok();
    k->free(bx), k->free(bw), k->free(y);
    free(x), free(w), free(want);
}

static void test_no_rows(void **state) {
    (void)state;
    float one = 7;
    Buf y = buf_of(k, FP32, &one, 1), w = buf_of(k, FP32, &one, 1);
    k->linear_forward(y, BUF_NONE, w, BUF_NONE, BUF_NONE, 0, 1, 1);
    k->linear_backward_input(y, BUF_NONE, w, 0, 1, 1, 0);
    k->linear_backward_weight(y, BUF_NONE, BUF_NONE, BUF_NONE, 0, 1, 1);
    sync_ok();
    float *got = buf_read(k, y, 1);
    assert_true(*got == 7);
    free(got);
    k->free(y), k->free(w);
}

int main(void) {
#ifdef WITH_SIMT
    setenv("SIMT_MULTIPROCESSORS", "4", 0); /* so few that shapes of tests are large for them */
    ways_in_turn = !getenv("RLAIFV_PRODUCTS");
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_forward_few_rows),
        cmocka_unit_test(test_unaligned),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_packs_follow),
        cmocka_unit_test(test_many_shapes),
        cmocka_unit_test(test_no_rows),
    };
    return ISA_GROUPS_RUN("linear", tests);
}

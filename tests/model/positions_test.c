/* positions_test.c - tables of positions at other sizes against PyTorch's (tests/golden/omnilmm: growing, shrinking, staying), and the way
 * back against the way there. */
#include "tests/model/steps.h"

#include "model/positions.h"

static const char golden[] = "tests/golden/omnilmm";
enum { WIDTH = 3, SIDE_MOST = 32, CELLS = SIDE_MOST * SIDE_MOST };
static const struct { int own, side; } cases[] = { { 3, 5 }, { 4, 5 }, { 2, 4 }, { 5, 3 }, { 7, 4 }, { 16, 32 }, { 4, 4 } };
enum { CASES_N = sizeof cases / sizeof *cases };

static const char *name_of(int i, const char *what) {
    static char name[64];
    snprintf(name, sizeof name, "%d.%d.%s", cases[i].own, cases[i].side, what);
    return name;
}

static void test_golden(void **state) {
    (void)state;
    TensorSet s;
    Error e = { 0 };
    static float got[(CELLS + 1) * WIDTH];
    ok(tensors_open(&s, at(at(golden, "expect"), "positions.safetensors"), &e), &e);
    assert_int_equal(s.n, 3 * CASES_N);
    for (int i = 0; i < CASES_N; i++) {
        int own = cases[i].own, side = cases[i].side;
        int64_t n = (int64_t)side * side * WIDTH;
        float *table = read_floats(&s, name_of(i, "table"), ((int64_t)own * own + 1) * WIDTH);
        float *tower = read_floats(&s, name_of(i, "tower"), n + WIDTH), *plain = read_floats(&s, name_of(i, "resampler"), n);
        ok(positions_resize(got, side, table + WIDTH, own, WIDTH, POSITIONS_SMOOTH, &e), &e);
        within(name_of(i, "tower"), largest_gap(got, tower + WIDTH, n), 1e-6);
        assert_memory_equal(tower, table, WIDTH * sizeof *table); /* the class token's row */
        ok(positions_resize(got, side, table + WIDTH, own, WIDTH, POSITIONS_PLAIN, &e), &e);
        within(name_of(i, "resampler"), largest_gap(got, plain, n), 1e-6);
        if (own != side) assert_true(largest_gap(tower + WIDTH, plain, n) > 1e-3); /* else the two could be exchanged */
        free(table), free(tower), free(plain);
    }
    tensors_close(&s);
}

/* <resize(x), y> = <x, back(y)> for any x and y. */
static void test_backward(void **state) {
    (void)state;
    Error e = { 0 };
    static float x[CELLS * WIDTH], y[CELLS * WIDTH], there[CELLS * WIDTH], back[CELLS * WIDTH];
    for (int i = 0; i < CASES_N; i++)
        for (int f = POSITIONS_SMOOTH; f <= POSITIONS_PLAIN; f++) {
            int own = cases[i].own, side = cases[i].side, n = own * own * WIDTH, m = side * side * WIDTH;
            for (int j = 0; j < n; j++) x[j] = sinf(1.7f * (float)j), back[j] = 1;
            for (int j = 0; j < m; j++) y[j] = cosf(2.3f * (float)j + .4f);
            ok(positions_resize(there, side, x, own, WIDTH, (PositionsFilter)f, &e), &e);
            ok(positions_resize_backward(back, own, y, side, WIDTH, (PositionsFilter)f, &e), &e);
            double a = 0, b = 0;
            for (int j = 0; j < m; j++) a += (double)there[j] * y[j];
            for (int j = 0; j < n; j++) b += (double)x[j] * (back[j] - 1.0); /* added to what was there */
            within(name_of(i, "back"), fabs(a - b), 1e-4);
            assert_true(fabs(a) > 1e-3);
        }
}

/* The table of the golden resampler is what NumPy makes of the formula. */
static void test_sincos(void **state) {
    (void)state;
    TensorSet s;
    Error e = { 0 };
    ok(tensors_open(&s, at(at(golden, "model"), "model.safetensors"), &e), &e);
    float *want = read_floats(&s, "model.resampler.pos_embed", 16 * 32);
    for (int i = 0; i < 16 * 32; i++) assert_float_equal(positions_sincos(i, 4, 32), want[i], 1e-6);
    free(want);
    tensors_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_golden), cmocka_unit_test(test_backward), cmocka_unit_test(test_sincos) };
    return cmocka_run_group_tests_name("positions", tests, NULL, NULL);
}

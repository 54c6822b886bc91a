/* sum_tree_test.c - sums of runs: against double precision, in the bits of the pairwise tree written plainly, and of sums of sums. */
#include "tests/check.h"
#include "tests/kernels/isa_run.h"

static const int runs[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 33, 63, 64 };
static const int64_t counts[] = { 1, 3, 8, 9, 64, 255, 513, 1025, 4099 };
enum { RUNS = sizeof runs / sizeof *runs, COUNTS = sizeof counts / sizeof *counts, DEEPEST = SUM_TREE_MOST };

/* One level after the other: neighbours are added, the odd one goes up as it is. */
static float tree(const float *x, int n, int64_t stride) {
    float level[DEEPEST];
    for (int i = 0; i < n; i++) level[i] = x[i * stride];
    for (; n > 1; n = (n + 1) / 2)
        for (int i = 0; i < n; i += 2) level[i / 2] = i + 1 < n ? level[i] + level[i + 1] : level[i];
    return level[0];
}

/* Runs of widely differing size, so that every order of sums has bits of its own. */
static float *runs_fill(int n, int64_t count, DType t, uint64_t seed) {
    float *x = fill_normal(n * count, 1, t, seed);
    for (int r = 0; r < n; r++)
        for (int64_t i = 0; i < count; i++) x[r * count + i] *= (float)(1 << (r * 5 + (int)i) % 12); /* exact */
    return x;
}

static void check(DType t, int n, int64_t count, int64_t parts_at, int64_t y_at) {
    float *x = runs_fill(n, count, t, (uint64_t)(n * 1000 + count));
    Buf parts = buf_new(k, t, n * count + parts_at), y = buf_new(k, t, count + y_at + 3), from = buf_of(k, t, x, n * count);
    k->copy(buf_at(parts, parts_at), from, n * count);
    k->sum_tree(buf_at(y, y_at), buf_at(parts, parts_at), n, count);
    double *want = calloc((size_t)count, sizeof *want);
    assert_non_null(want);
    for (int r = 0; r < n; r++)
        for (int64_t i = 0; i < count; i++) want[i] += x[r * count + i];
    /* half a unit of bf16 squared is this at most, and on average nmse_bound */
    compare_nmse(k, "sum_tree", buf_at(y, y_at), want, count, t == BF16 ? 0x1p-16 : nmse_bound(t));
    float *got = buf_read(k, y, count + y_at + 3);
    for (int64_t i = 0; i < count + y_at + 3; i++) {
        int inside = i >= y_at && i < y_at + count;
        float bits = inside ? tree(x + i - y_at, n, count) : 0;
        if (t == BF16) bits = bf16_round(bits);
        if (memcmp(&bits, &got[i], sizeof bits))
            fail_msg("%s: %d runs of %lld: element %lld is %.9g, the tree's %.9g", k->isa, n, (long long)count, (long long)(i - y_at),
                (double)got[i], (double)bits);
    }
    k->free(parts), k->free(y), k->free(from);
    free(x), free(want), free(got);
    sync_ok();
}

static void test_tree(void **state) {
    (void)state;
    FOR_EACH_DTYPE(t)
    for (int r = 0; r < RUNS; r++)
        for (int c = 0; c < COUNTS; c++) check(t, runs[r], counts[c], c % 4, (c + r) % 3);
}

/* Above where the CPU wakes its threads, and where a device has many blocks. */
static void test_large(void **state) {
    (void)state;
    FOR_EACH_DTYPE(t)
    check(t, 5, 70001, 0, 0), check(t, 8, 65536, 0, 0);
}

/* What 2, 4 or 8 neighbours have summed by themselves sums to the same bits; fp32 only, bf16 is rounded on the way. */
static void test_sums_of_sums(void **state) {
    (void)state;
    enum { N = 16, COUNT = 1003 };
    float *x = runs_fill(N, COUNT, FP32, 5);
    Buf parts = buf_of(k, FP32, x, N * COUNT), whole = buf_new(k, FP32, COUNT), y = buf_new(k, FP32, COUNT);
    k->sum_tree(whole, parts, N, COUNT);
    for (int each = 2; each <= 8; each *= 2) {
        Buf sums = buf_new(k, FP32, N / each * COUNT);
        for (int g = 0; g < N / each; g++) k->sum_tree(buf_at(sums, g * COUNT), buf_at(parts, g * each * COUNT), each, COUNT);
        k->sum_tree(y, sums, N / each, COUNT);
        compare_bits(k, "a sum of sums", y, whole, COUNT);
        k->free(sums);
    }
    k->free(parts), k->free(whole), k->free(y), free(x);
    sync_ok();
}

static void test_in_place(void **state) {
    (void)state;
    enum { N = 7, COUNT = 777 };
    FOR_EACH_DTYPE(t)
    for (int r = 0; r < N; r += 3) {
        float *x = runs_fill(N, COUNT, t, 9);
        Buf parts = buf_of(k, t, x, N * COUNT), y = buf_new(k, t, COUNT);
        k->sum_tree(y, parts, N, COUNT);
        k->sum_tree(buf_at(parts, r * COUNT), parts, N, COUNT);
        compare_bits(k, "in place of a run", buf_at(parts, r * COUNT), y, COUNT);
        k->free(parts), k->free(y), free(x);
    }
    sync_ok();
}

static void test_special(void **state) {
    (void)state;
    const float x[2][4] = { { -0.0f, INFINITY, NAN, 3e38f }, { -0.0f, -INFINITY, 1, 3e38f } };
    Buf parts = buf_of(k, FP32, x[0], 8), y = buf_new(k, FP32, 4);
    k->sum_tree(y, parts, 2, 4);
    float *got = buf_read(k, y, 4);
    assert_true(got[0] == 0 && signbit(got[0]) && isnan(got[1]) && isnan(got[2]) && isinf(got[3]));
    free(got);
    k->sum_tree(y, parts, 2, 0);
    sync_ok();
    k->free(parts), k->free(y);
}

static void test_refusals(void **state) {
    (void)state;
    Error e;
    Buf y = buf_new(k, FP32, 8), narrow = buf_new(k, BF16, 8);
    const int bad[] = { 0, -1, SUM_TREE_MOST + 1 };
    for (int i = 0; i < 3; i++) {
        k->sum_tree(y, y, bad[i], 0);
        assert_int_equal(k->sync(&e), -1);
        error_says(&e, "sum_tree");
    }
    k->sum_tree(y, narrow, 2, 4);
    assert_int_equal(k->sync(&e), -1);
    error_says(&e, "two dtypes");
    k->free(y), k->free(narrow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_sums_of_sums),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_refusals),
    };
    return ISA_GROUPS_RUN("sum_tree", tests);
}

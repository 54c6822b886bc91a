/* dispatch_test.c - the choice of a table, its refusals, and the memory behind every table. */
#include "tests/check.h"
#include "tests/kernels/kernel_test.h"

static const Kernels *open_with(const char *isa, Error *e) {
    setenv("RLAIFV_ISA", isa, 1);
    const Kernels *k = kernels_open("cpu", 0, e);
    unsetenv("RLAIFV_ISA");
    return k;
}

static void test_every_isa(void **state) {
    (void)state;
    Error e;
    const Kernels *best = kernels_open("cpu", 2, &e), *last = NULL;
    assert_non_null(best);
    FOR_EACH_ISA(k) {
        assert_string_equal(k->name, "cpu");
        assert_string_equal(k->isa, test_isas[isa_i]);
        assert_int_equal(k->unified, 1);
        assert_int_equal(k->native_bf16, strcmp(k->isa, "avx512bf16") == 0);
        /* no operation is missing: the table's pointers run from alloc to its end */
        for (const char *p = (const char *)k + offsetof(Kernels, alloc); p < (const char *)(k + 1); p += sizeof(void *)) {
            void *operation;
            memcpy(&operation, p, sizeof operation);
            assert_non_null(operation);
        }
        last = k;
    }
    assert_ptr_equal(best, last); /* test_isas names the least first */
    assert_ptr_equal(open_with("", &e), best);
}

static void test_refusals(void **state) {
    (void)state;
    Error e;
    assert_null(open_with("avx51", &e));
    error_says(&e, "RLAIFV_ISA");
    error_says(&e, "avx51");
    error_says(&e, "did you mean avx512?");
    assert_null(open_with("AVX2 ", &e));
    error_says(&e, "unknown instruction set");
    assert_null(kernels_open("gpu", 0, &e));
    error_says(&e, "unknown device");
    error_says(&e, "gpu");
    assert_null(kernels_open("cpu", -1, &e));
    error_says(&e, "threads");
    assert_null(kernels_open("cpu", 1 << 20, &e));
    error_says(&e, "threads");
    for (size_t i = 0; i < sizeof test_isas / sizeof *test_isas; i++) {
        if (open_with(test_isas[i], &e)) continue;
        error_says(&e, "this machine lacks");
        error_says(&e, test_isas[i]);
    }
}

static void test_memory(void **state) {
    (void)state;
    FOR_EACH_ISA(k) {
        Error e;
        Buf none, big, small;
        assert_int_equal(k->alloc(&none, FP32, -1, "a negative thing", &e), -1);
        error_says(&e, "a negative thing");
        assert_int_equal(k->alloc(&none, FP32, INT64_MAX / 2, "an overflowing thing", &e), -1);
        error_says(&e, "an overflowing thing");
        assert_int_equal(k->alloc(&none, BF16, (int64_t)1 << 60, "a thing too large", &e), -1);
        error_says(&e, "a thing too large");
        assert_null(none.at);
        int64_t before = k->bytes_peak();
        int64_t n = before / 4 + (1 << 20) + 3; /* more than the peak so far: it must move, by as much as is known to be live */
        assert_int_equal(k->alloc(&big, FP32, n, "big", &e), 0);
        assert_int_equal(k->alloc(&small, BF16, 5, "small", &e), 0);
        assert_true(k->bytes_peak() >= n * 4 + 10);
        assert_int_equal((uintptr_t)big.at % 64, 0);
        assert_int_equal((uintptr_t)small.at % 64, 0);
        for (int64_t i = 0; i < n; i += 509) assert_true(((float *)big.at)[i] == 0);
        int64_t peak = k->bytes_peak();
        k->free(big);
        assert_int_equal(k->alloc(&big, FP32, 1000, "reuse", &e), 0);
        for (int i = 0; i < 1000; i++) assert_true(((float *)big.at)[i] == 0);
        assert_int_equal(k->bytes_peak(), peak);
        k->free(big), k->free(small), k->free(BUF_NONE);
        assert_int_equal(k->sync(&e), 0);
    }
}

static void test_copy(void **state) {
    (void)state;
    enum { N = 70001 };
    FOR_EACH_ISA(k) {
        float *x = fill_normal(N, 3, FP32, 1), *rounded = malloc(N * sizeof *rounded);
        assert_non_null(rounded);
        /* halfway cases go to even; the largest numbers overflow; small ones stay */
        const uint32_t special[] = { 0x3F808000u, 0x3F818000u, 0x3F80FFFFu, 0x7F7FFFFFu, 0x80000001u, 0x7F800000u, 0xFF800000u,
            0x00008000u };
        memcpy(x, special, sizeof special);
        for (int i = 0; i < N; i++) rounded[i] = bf16_round(x[i]);
        Buf wide = buf_of(k, FP32, x, N), narrow = buf_new(k, BF16, N), back = buf_new(k, FP32, N), same = buf_new(k, BF16, N);
        k->copy(narrow, wide, N);
        k->copy(same, narrow, N);
        k->copy(back, same, N);
        assert_memory_equal(back.at, rounded, N * sizeof(float));
        const uint16_t halves[] = { 0x3F80, 0x3F82, 0x3F81, 0x7F80, 0x8000, 0x7F80, 0xFF80, 0x0000 };
        assert_memory_equal(narrow.at, halves, sizeof halves);
        uint32_t quiet_nan = 0x7FC00000u, odd_nan = 0x7F800001u; /* a NaN whose upper half alone would be an infinity */
        float nans[2], got[2];
        memcpy(nans, &quiet_nan, 4), memcpy(nans + 1, &odd_nan, 4);
        k->upload(wide, nans, 2);
        k->copy(narrow, wide, 2);
        k->copy(back, narrow, 2);
        k->download(got, back, 2);
        assert_true(isnan(got[0]) && isnan(got[1]));
        k->zero(back, N);
        for (int i = 0; i < N; i++) assert_true(((float *)back.at)[i] == 0);
        k->copy(back, wide, 0), k->upload(back, NULL, 0), k->zero(BUF_NONE, 0);
        k->free(wide), k->free(narrow), k->free(back), k->free(same);
        free(x), free(rounded);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_isa),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_copy),
    };
    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}

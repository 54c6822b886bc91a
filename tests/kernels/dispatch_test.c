/* dispatch_test.c - the choice of a device and of its table, and the refusals. */
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
    for (const char **device = (const char *[]){ "cuda", "simt", NULL }; *device; device++) { /* not in the programs of these tests */
        assert_null(kernels_open(*device, 0, &e));
        error_says(&e, "this program was built without");
        error_says(&e, *device);
        error_says(&e, "--device cpu");
    }
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_isa),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}

/* vmath_test.c - exp, erf, sigmoid and bf16 rounding against the C library over the whole range of floats. */
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/vmath.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* |got - want| in units in the last place of want, for normal numbers; in the smallest denormal below. */
static double units(float got, double want) {
    double a = fabs(want), unit = a < (double)FLT_MIN ? (double)FLT_TRUE_MIN : ldexp(1, ilogb(a) - 23);
    return fabs((double)got - want) / unit;
}

static void test_exp(void **state) {
    (void)state;
    double worst = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 1009) {
        float x = vm_from_bits((uint32_t)bits), y = vm_exp(x);
        if (isnan(x)) {
            assert_true(isnan(y));
            continue;
        }
        double want = exp((double)x);
        if (want > (double)FLT_MAX) {
            assert_true(y == INFINITY || want < (double)FLT_MAX * 1.000001);
            continue;
        }
        double u = units(y, want);
        if (u > worst) worst = u;
    }
    assert_true(worst < 1.5);
    assert_true(vm_exp(0) == 1 && vm_exp(-INFINITY) == 0 && vm_exp(INFINITY) == INFINITY && vm_exp(-1e30f) == 0);
}

static void test_erf_and_sigmoid(void **state) {
    (void)state;
    double worst_erf = 0, worst_sigmoid = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 1009) {
        float x = vm_from_bits((uint32_t)bits);
        if (isnan(x)) {
            assert_true(isnan(vm_erf(x)) && isnan(vm_sigmoid(x)));
            continue;
        }
        double u = units(vm_erf(x), erf((double)x)), s = fabs((double)vm_sigmoid(x) - 1 / (1 + exp(-(double)x)));
        if (fabsf(x) > 1e-37f && u > worst_erf) worst_erf = u;
        if (s > worst_sigmoid) worst_sigmoid = s;
    }
    assert_true(worst_erf < 3);
    assert_true(worst_sigmoid < 2e-7);
    assert_true(vm_erf(INFINITY) == 1 && vm_erf(-INFINITY) == -1 && vm_erf(0) == 0);
    assert_true(vm_sigmoid(-INFINITY) == 0 && vm_sigmoid(INFINITY) == 1);
}

static void test_bf16(void **state) {
    (void)state;
    for (uint32_t h = 0; h <= UINT16_MAX; h++) {
        float x = bf16_to_float((bf16)h);
        if (isnan(x)) assert_true(isnan(bf16_to_float(float_to_bf16(x))));
        else assert_int_equal(float_to_bf16(x), h);
    }
    for (uint32_t h = 0; h < 0x7F7F; h += 13) { /* between neighbours: below, at and above the middle */
        uint32_t low = h << 16;
        assert_int_equal(float_to_bf16(vm_from_bits(low + 0x7FFF)), h);
        assert_int_equal(float_to_bf16(vm_from_bits(low + 0x8000)), h + (h & 1));
        assert_int_equal(float_to_bf16(vm_from_bits(low + 0x8001)), h + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_erf_and_sigmoid),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests_name("vmath", tests, NULL, NULL);
}

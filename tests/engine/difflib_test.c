/* difflib_test.c - matching blocks against Python's own (tests/golden/difflib_vectors.py), and which tokens count as corrected. */
#include "tests/check.h"

#include "engine/difflib.h"

#include <stdlib.h>

static int *numbers_read(FILE *in, int *n) {
    if (fscanf(in, "%d", n) != 1) return NULL;
    int *list = calloc((size_t)*n + 1, sizeof *list);
    assert_non_null(list);
    for (int i = 0; i < *n; i++) assert_int_equal(fscanf(in, "%d", &list[i]), 1);
    return list;
}

static void as_python(void **state) {
    (void)state;
    FILE *in = fopen("tests/golden/difflib.txt", "r");
    assert_non_null(in);
    int n, m, numbers, count, cases = 0, *a, junk = 0;
    for (; (a = numbers_read(in, &n)); cases++) {
        int *b = numbers_read(in, &m), *want = numbers_read(in, &numbers);
        Error e = { 0 };
        MatchBlock *blocks = calloc((size_t)(n < m ? n : m) + 1, sizeof *blocks);
        assert_true(b && want && blocks);
        assert_int_equal(difflib_blocks(a, n, b, m, blocks, &count, &e), 0);
        if (count != numbers / 3) fail_msg("case %d: %d blocks, not %d", cases, count, numbers / 3);
        for (int i = 0; i < count; i++) {
            assert_int_equal(blocks[i].a, want[3 * i]);
            assert_int_equal(blocks[i].b, want[3 * i + 1]);
            assert_int_equal(blocks[i].size, want[3 * i + 2]);
        }
        junk += m >= 200;
        free(a), free(b), free(want), free(blocks);
    }
    fclose(in);
    assert_true(cases > 50 && junk > 5);
}

static void corrections(void **state) {
    (void)state;
    /* a: 1 2 3 [4 5] 6 7 8 9; b: 1 2 3 [14] 6 7 8 [20 21] 9 9 9: the second span is an insertion, and a run of one token ends nothing */
    static const int a[] = { 1, 2, 3, 4, 5, 6, 7, 8, 30, 31, 32 }, b[] = { 1, 2, 3, 14, 6, 7, 8, 20, 21, 30, 31, 32 };
    unsigned char changed_a[11], changed_b[12];
    Error e = { 0 };
    assert_int_equal(difflib_changed(a, 11, b, 12, 3, changed_a, changed_b, &e), 0);
    static const unsigned char want_a[] = { 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0 }, want_b[] = { 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0 };
    assert_memory_equal(changed_a, want_a, 11);
    assert_memory_equal(changed_b, want_b, 12);
    assert_int_equal(difflib_changed(a, 11, b, 12, 4, changed_a, changed_b, &e), 0); /* no run is as long: everything was corrected */
    for (int i = 0; i < 11; i++) assert_int_equal(changed_a[i], 1);
    assert_int_equal(difflib_changed(a, 3, a, 3, 3, changed_a, changed_b, &e), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(changed_a[i] + changed_b[i], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_python), cmocka_unit_test(corrections) };
    return cmocka_run_group_tests_name("difflib", tests, NULL, NULL);
}

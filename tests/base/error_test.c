/* error_test.c - the error record's one line, name suggestions, checked allocation. */
#include "tests/check.h"

static void text_joins_what_is_there(void **state) {
    (void)state;
    Error e;
    char line[2048], narrow[16];
    assert_int_equal(error_what(&e, "bad %s", "thing"), -1);
    assert_string_equal(error_text(&e, line, sizeof line), "bad thing");
    error_where(&e, "a.txt:%d", 3), error_found(&e, "x"), error_expected(&e, "y"), error_hint(&e, "try z");
    assert_string_equal(error_text(&e, line, sizeof line), "bad thing: a.txt:3; found x; expected y; try z");
    assert_string_equal(error_text(&e, narrow, sizeof narrow), "bad thing: a.tx");
    error_what(&e, "new");
    assert_string_equal(error_text(&e, line, sizeof line), "new");
    memset(&e, 0, sizeof e);
    assert_string_equal(error_text(&e, line, sizeof line), "failed");
}

static void no_record_is_fine(void **state) {
    (void)state;
    assert_int_equal(error_what(NULL, "x"), -1);
    assert_int_equal(error_hint(NULL, "x"), -1);
}

static void long_fields_are_cut(void **state) {
    (void)state;
    Error e;
    char text[1000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    error_what(&e, "%s", text);
    assert_int_equal(strlen(e.what), sizeof e.what - 1);
}

static void bytes_are_shown(void **state) {
    (void)state;
    char text[8];
    assert_string_equal(bytes_show("a b~", 4, text, sizeof text), "a b~");
    assert_string_equal(bytes_show("\33[\0\177\377\n", 6, text, sizeof text), "?[????");
    assert_string_equal(bytes_show("12345678", 8, text, sizeof text), "1234567");
    assert_string_equal(bytes_show(NULL, 0, text, sizeof text), "");
}

static void near_names(void **state) {
    (void)state;
    const char *const names[] = { "learning_rate", "beta", "steps", "max_length" };
    assert_string_equal(nearest_name("learning-rate", names, 4), "learning_rate");
    assert_string_equal(nearest_name("bta", names, 4), "beta");
    assert_string_equal(nearest_name("step", names, 4), "steps");
    assert_null(nearest_name("temperature", names, 4));
    assert_null(nearest_name("beta", names, 0));
}

static void memory(void **state) {
    (void)state;
    Error e;
    int *p = mem_new(4, sizeof *p, "numbers", &e);
    assert_non_null(p);
    assert_int_equal(p[3], 0);
    free(p);
    assert_null(mem_new(SIZE_MAX, 2, "numbers", &e));
    error_says(&e, "size overflows: numbers");
    int *list = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(mem_grow(&list, &capacity, i + 1, sizeof *list, "list", &e), 0);
        list[i] = (int)i;
    }
    assert_int_equal(list[999], 999);
    assert_int_equal(mem_grow(&list, &capacity, SIZE_MAX / 2, sizeof *list, "list", &e), -1);
    error_says(&e, "list");
    assert_int_equal(list[999], 999);
    free(list);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(text_joins_what_is_there), cmocka_unit_test(no_record_is_fine),
        cmocka_unit_test(long_fields_are_cut), cmocka_unit_test(bytes_are_shown), cmocka_unit_test(near_names), cmocka_unit_test(memory) };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}

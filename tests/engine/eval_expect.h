/* eval_expect.h - results of evaluations beside what tests/golden/eval_twin.py says of the same answers. */
#ifndef RLAIFV_TESTS_ENGINE_EVAL_EXPECT_H
#define RLAIFV_TESTS_ENGINE_EVAL_EXPECT_H

#include "tests/check.h"

#include "base/json.h"

#include <math.h>

#define EVAL_GOLDEN "tests/golden/eval"

/* Each test has a folder, and a file for the tables that people read. */
static char folder[PATH_SIZE];
static FILE *table;

CHECK_UNUSED static int setup(void **state) {
    (void)state;
    scratch_make(folder);
    table = fopen(at(folder, "table"), "w+");
    assert_non_null(table);
    return 0;
}
CHECK_UNUSED static int teardown(void **state) {
    (void)state;
    fclose(table);
    scratch_drop(folder);
    return 0;
}

/* expect.json's PART.NAME; the whole is kept for the life of the program. */
CHECK_UNUSED static json_t *expected(const char *part, const char *name) {
    static json_t *all;
    if (!all) assert_int_equal(json_read_object(EVAL_GOLDEN "/expect.json", &all, NULL), 0);
    json_t *found = json_object_get(json_object_get(all, part), name);
    assert_non_null(found);
    return found;
}

/* One number of a measure; null is null. */
CHECK_UNUSED static void number_agrees(const json_t *want, const json_t *have, const char *section, const char *name, const char *which) {
    const json_t *a = json_object_get(want, which), *b = json_object_get(have, which);
    assert_non_null(b);
    int same = json_is_null(a) ? json_is_null(b) : json_is_number(b) && fabs(json_number_value(a) - json_number_value(b)) < 1e-9;
    if (!same) fail_msg("%s %s %s: %.12g, the twin says %.12g", section, name, which, json_number_value(b), json_number_value(a));
}

/* The measures of a result file are those expected, all of them and no others; with intervals where those are expected. */
CHECK_UNUSED static void result_agrees(const char *path, json_t *want) {
    json_t *result, *sections, *measures, *value;
    const char *section, *name;
    size_t numbers = 0;
    assert_int_equal(json_read_object(path, &result, NULL), 0);
    json_t *have = json_object_get(result, "measures");
    assert_int_equal(json_object_size(have), json_object_size(want));
    json_object_foreach(want, section, measures) {
        sections = json_object_get(have, section);
        assert_non_null(json_object_get(sections, "answers"));
        json_object_foreach(measures, name, value) {
            if (!json_is_object(value)) continue;
            number_agrees(value, json_object_get(sections, name), section, name, "value");
            if (json_object_get(value, "low")) number_agrees(value, json_object_get(sections, name), section, name, "low");
            if (json_object_get(value, "low")) number_agrees(value, json_object_get(sections, name), section, name, "high");
            numbers++;
        }
        assert_int_equal(json_object_size(sections), 1 + json_object_size(measures) - (json_object_get(measures, "mark") != NULL));
    }
    assert_true(numbers > 0);
    json_decref(result);
}

/* A whole number of the result's top, or of a section. */
CHECK_UNUSED static int64_t result_count(const char *path, const char *section, const char *name) {
    json_t *result;
    assert_int_equal(json_read_object(path, &result, NULL), 0);
    const json_t *value = json_object_get(section ? json_object_get(json_object_get(result, "measures"), section) : result, name);
    assert_true(json_is_integer(value));
    int64_t n = json_integer_value(value);
    json_decref(result);
    return n;
}

#endif

/* golden.h - what the tokenizer's tests share: the golden cases, and lists of ids out of JSON. */
#ifndef RLAIFV_TESTS_TOKENIZER_GOLDEN_H
#define RLAIFV_TESTS_TOKENIZER_GOLDEN_H

#include "base/json.h"
#include "tokenizer/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const golden_cases[] = { "llava15-hub", "llava15-orig", "llava15-v5" };
enum { GOLDEN_CASES = 3 };

/* Fails the test with the Error's text when `ok` is 0. */
static inline void must(int ok, const Error *e) {
    char text[2048];
    if (!ok) fail_msg("%s", error_text(e, text, sizeof text));
}

static inline Tokenizer *golden_tokenizer(const char *name) {
    char folder[PATH_SIZE];
    Error e = { 0 };
    snprintf(folder, sizeof folder, "tests/golden/%s/model", name);
    Tokenizer *t = tokenizer_load(folder, &e);
    must(t != NULL, &e);
    return t;
}

static inline void golden_open(JsonLines *rows, const char *name, const char *file) {
    char path[PATH_SIZE];
    Error e = { 0 };
    snprintf(path, sizeof path, "tests/golden/%s/%s", name, file);
    must(!jsonl_open(rows, path, &e), &e);
}

/* The next row, or NULL at the end. */
static inline json_t *golden_next(JsonLines *rows) {
    json_t *row = NULL;
    Error e = { 0 };
    int got = jsonl_next(rows, &row, &e);
    must(got >= 0, &e);
    return got ? row : NULL;
}

/* `ids` are exactly the integers of `array`; `what` names the row in messages. */
static inline void ids_equal(const int *ids, size_t n, const json_t *array, const char *what) {
    if (n != json_array_size(array)) fail_msg("%s: %zu ids, expected %zu", what, n, json_array_size(array));
    for (size_t i = 0; i < n; i++)
        if (ids[i] != json_integer_value(json_array_get(array, i)))
            fail_msg("%s: id %zu is %d, expected %d", what, i, ids[i], (int)json_integer_value(json_array_get(array, i)));
}

static inline IdList encode(const Tokenizer *t, const char *text) {
    IdList list = { 0 };
    Error e = { 0 };
    must(!tokenizer_encode(t, text, strlen(text), &list, &e), &e);
    return list;
}

static inline void decodes_to(const Tokenizer *t, const int *ids, size_t n, const char *expected) {
    Error e = { 0 };
    char *text = tokenizer_decode(t, ids, n, &e);
    must(text != NULL, &e);
    assert_string_equal(text, expected);
    free(text);
}

#endif

/* json_test.c - strict JSON, typed fields with places in the messages, JSONL rows. */
#include "tests/check.h"
#include "base/json.h"

#include <math.h>

static char folder[PATH_SIZE];
static int set_up(void **state) { return (void)state, scratch_make(folder), 0; }
static int tear_down(void **state) { return (void)state, scratch_drop(folder), 0; }

static void malformed_files(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        const char *says;
    } cases[] = {
#define CASE(TEXT, SAYS) { TEXT, sizeof TEXT - 1, SAYS }
        CASE("", "f.json:1; found"), CASE("[1]", "found an array; expected an object"),
        CASE("{\"a\":1,\n\"a\":2}", "f.json:2; found duplicate object key"), CASE("{} x", "f.json:1; found end of file expected"),
        CASE("{\"a\":\n\n1,}", "f.json:3"), CASE("{\"a\":NaN}", "found invalid token"), CASE("{\"a\":01}", "found"),
        CASE("{\"a\":1e999}", "found real number overflow"), CASE("{\"a\":123456789012345678901234567890}", "found too big integer"),
        CASE("{\"a\":\"\xff\"}", "found unable to decode byte 0xff"), CASE("{\"a\":\"\xc0\xaf\"}", "found unable to decode"),
        CASE("{\"a\":\"\\u0000\"}", "\\u0000 is not allowed"), CASE("{\"a\0\":1}", "found"), CASE("{\"a\":\"\\ud800\"}", "found"),
        CASE("\xef\xbb\xbf{}", "remove the byte order mark"), CASE("{'a':1}", "found"), CASE("{\"a\":1", "found"),
        CASE("{\"a\":\"x", "found"), CASE("null", "expected near 'null'")
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e;
        json_t *out;
        put(at(folder, "f.json"), cases[i].text, cases[i].size);
        if (!json_read_object(at(folder, "f.json"), &out, &e)) fail_msg("read: %s", cases[i].text);
        error_says(&e, "bad JSON");
        error_says(&e, cases[i].says);
    }
    Error e;
    json_t *out;
    char *deep = malloc(200000);
    memcpy(deep, "{\"a\":", 5), memset(deep + 5, '[', 199995);
    put(at(folder, "f.json"), deep, 200000);
    free(deep);
    assert_int_equal(json_read_object(at(folder, "f.json"), &out, &e), -1);
    error_says(&e, "maximum parsing depth");
    assert_int_equal(json_read_object(at(folder, "none"), &out, &e), -1);
    error_says(&e, "cannot open file");
}

static void arrays(void **state) {
    (void)state;
    Error e;
    json_t *out;
    put(at(folder, "f.json"), "[1, {}]", 7);
    assert_int_equal(json_read_array(at(folder, "f.json"), &out, &e), 0);
    assert_int_equal(json_array_size(out), 2);
    json_decref(out);
    put(at(folder, "f.json"), "{\"a\":[]}", 8);
    assert_int_equal(json_read_array(at(folder, "f.json"), &out, &e), -1);
    error_says(&e, "found an object; expected an array");
}

static void text_of_no_file(void **state) {
    (void)state;
    Error e;
    json_t *out;
    assert_int_equal(json_text_object("{\"a\": 1}", "built in", &out, &e), 0);
    assert_int_equal(json_integer_value(json_object_get(out, "a")), 1);
    json_decref(out);
    assert_int_equal(json_text_object("{\"a\":\n1,}", "built in", &out, &e), -1);
    error_says(&e, "built in:2");
}

static void fields(void **state) {
    (void)state;
    Error e;
    json_t *o;
    const char text[] = "{\"s\":\"x\",\"i\":5,\"r\":2.5,\"t\":true,\"f\":false,\"n\":null,\"big\":9007199254740993,\"a\":[]}", *s = NULL,
               *w = "p.jsonl:17";
    int64_t i = 7;
    double d = 7;
    int b = 7;
    put(at(folder, "f.json"), text, sizeof text - 1);
    assert_int_equal(json_read_object(at(folder, "f.json"), &o, &e), 0);
    assert_int_equal(json_need_string(o, "s", w, &s, &e), 0);
    assert_string_equal(s, "x");
    assert_int_equal(json_need_integer(o, "i", w, 5, 5, &i, &e), 0);
    assert_int_equal(i, 5);
    assert_int_equal(json_need_integer(o, "big", w, 0, INT64_MAX, &i, &e), 0);
    assert_true(i == 9007199254740993);
    assert_int_equal(json_need_number(o, "r", w, &d, &e), 0);
    assert_true(d == 2.5);
    assert_int_equal(json_need_number(o, "i", w, &d, &e), 0);
    assert_true(d == 5);
    assert_int_equal(json_may_bool(o, "t", w, &b, &e), 0);
    assert_int_equal(b, 1);
    assert_int_equal(json_may_bool(o, "f", w, &b, &e), 0);
    assert_int_equal(b, 0);
    /* Optional and absent, or null: untouched. */
    s = "kept", i = 7, d = 7, b = 7;
    static const char *const absent[] = { "none", "n" };
    for (int k = 0; k < 2; k++) {
        assert_int_equal(json_may_string(o, absent[k], w, &s, &e), 0);
        assert_int_equal(json_may_integer(o, absent[k], w, 0, 1, &i, &e), 0);
        assert_int_equal(json_may_number(o, absent[k], w, &d, &e), 0);
        assert_int_equal(json_may_bool(o, absent[k], w, &b, &e), 0);
    }
    assert_string_equal(s, "kept");
    assert_int_equal(i, 7);
    assert_true(d == 7);
    assert_int_equal(b, 7);
    /* What fails, and what it says. */
    char line[2048];
    assert_int_equal(json_need_string(o, "i", w, &s, &e), -1);
    assert_string_equal(error_text(&e, line, sizeof line), "wrong type: p.jsonl:17: field \"i\"; found an integer; expected a string");
    assert_int_equal(json_need_string(o, "none", w, &s, &e), -1);
    error_says(&e, "missing field: p.jsonl:17: field \"none\"");
    assert_int_equal(json_need_string(o, "n", w, &s, &e), -1);
    error_says(&e, "found null");
    assert_int_equal(json_may_string(o, "a", w, &s, &e), -1);
    error_says(&e, "found an array");
    assert_int_equal(json_need_integer(o, "r", w, 0, 9, &i, &e), -1);
    error_says(&e, "found a number; expected an integer from 0 to 9");
    assert_int_equal(json_may_integer(o, "i", w, 0, 4, &i, &e), -1);
    error_says(&e, "out of range: p.jsonl:17: field \"i\"; found 5; expected an integer from 0 to 4");
    assert_int_equal(json_may_number(o, "s", w, &d, &e), -1);
    error_says(&e, "found a string; expected a number");
    assert_int_equal(json_may_bool(o, "i", w, &b, &e), -1);
    error_says(&e, "expected true or false");
    json_decref(o);
}

static void rows(void **state) {
    (void)state;
    const char text[] = "{\"k\":1}\r\n\n  \t\n{\"k\":2}\n[3]\n{\"k\":4,}\n{\"k\":5}\n{\"k\":";
    static const int results[] = { 1, 1, -1, -1, 1, -1, 0, 0 }, lines[] = { 1, 4, 5, 6, 7, 8 };
    Error e;
    JsonLines r;
    json_t *row;
    put(at(folder, "r.jsonl"), text, sizeof text - 1);
    assert_int_equal(jsonl_open(&r, at(folder, "r.jsonl"), &e), 0);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        assert_int_equal(jsonl_next(&r, &row, &e), results[i]);
        if (results[i]) assert_int_equal(r.line, lines[i]);
        if (results[i] == 1) json_decref(row);
        if (results[i] < 0) {
            char place[32];
            snprintf(place, sizeof place, "r.jsonl:%d", lines[i]);
            error_says(&e, place);
            assert_non_null(strstr(r.where, place));
        }
    }
    error_says(&e, "was it cut short?");
    jsonl_close(&r);
    jsonl_close(&r);
    assert_int_equal(jsonl_open(&r, at(folder, "none"), &e), -1);
    error_says(&e, "cannot open file");
    assert_int_equal(jsonl_open(&r, folder, &e), -1);
    error_says(&e, "found a folder");
    /* A last line without its end is a row; a file without lines has none. */
    put(at(folder, "r.jsonl"), "{}", 2);
    assert_int_equal(jsonl_open(&r, at(folder, "r.jsonl"), &e), 0);
    assert_int_equal(jsonl_next(&r, &row, &e), 1);
    json_decref(row);
    assert_int_equal(jsonl_next(&r, &row, &e), 0);
    jsonl_close(&r);
    put(at(folder, "r.jsonl"), "", 0);
    assert_int_equal(jsonl_open(&r, at(folder, "r.jsonl"), &e), 0);
    assert_int_equal(jsonl_next(&r, &row, &e), 0);
    jsonl_close(&r);
}

static void long_lines(void **state) {
    (void)state;
    size_t limit = 64 << 20, size = limit + 10;
    char *text = malloc(size);
    Error e;
    JsonLines r;
    json_t *row;
    memset(text, ' ', size);
    text[limit + 1] = '\n';
    memcpy(text + limit + 2, "{\"k\":2}\n", 8);
    put(at(folder, "r.jsonl"), text, size);
    free(text);
    assert_int_equal(jsonl_open(&r, at(folder, "r.jsonl"), &e), 0);
    assert_int_equal(jsonl_next(&r, &row, &e), -1);
    error_says(&e, "line too long");
    assert_int_equal(jsonl_next(&r, &row, &e), 1);
    json_decref(row);
    jsonl_close(&r);
}

static void writing(void **state) {
    (void)state;
    Error e;
    FileOut f;
    char *text;
    assert_int_equal(file_create(&f, at(folder, "w.jsonl"), &e), 0);
    assert_int_equal(jsonl_write(f.stream, json_pack("{s:s, s:f, s:i, s:b}", "z", "a\nb\xc3\xa9", "x", 0.1, "a", 3, "t", 1), &e), 0);
    assert_int_equal(jsonl_write(f.stream, json_pack("{s:f}", "x", (double)NAN), &e), -1);
    error_says(&e, "not finite");
    assert_int_equal(file_commit(&f, &e), 0);
    assert_int_equal(file_read(at(folder, "w.jsonl"), 1000, &text, NULL, &e), 0);
    assert_string_equal(text, "{\"z\":\"a\\nb\xc3\xa9\",\"x\":0.10000000000000001,\"a\":3,\"t\":true}\n");
    free(text);
    FILE *full = fopen("/dev/full", "w");
    if (!full) return print_message("skipped: /dev/full is absent\n");
    setvbuf(full, NULL, _IONBF, 0);
    assert_int_equal(jsonl_write(full, json_pack("{s:i}", "x", 1), &e), -1);
    error_says(&e, "No space left");
    fclose(full);
}

int main(void) {
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = { TEST(malformed_files), TEST(arrays), TEST(text_of_no_file), TEST(fields), TEST(rows),
        TEST(long_lines), TEST(writing) };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}

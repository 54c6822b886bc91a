/* ledger_test.c - an arrow is done only while its inputs and outputs are as they were, and a crash leaves a ledger that still tells the
 * truth. */
#include "engine/ledger.h"
#include "engine/version.h"
#include "tests/check.h"

static char folder[PATH_SIZE];

static int setup(void **state) {
    (void)state;
    scratch_make(folder);
    put(at(folder, "prompts.jsonl"), "{}\n", 3);
    assert_int_equal(folder_make(at(folder, "model/vision"), NULL), 0);
    put(at(folder, "model/config.json"), "{}", 2);
    put(at(folder, "model/vision/weights"), "www", 3);
    put(at(folder, "candidates.jsonl"), "cc\n", 3);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    scratch_drop(folder);
    return 0;
}

static void inputs(Arrow *a, int iteration, const char *settings) {
    Error e = { 0 };
    assert_int_equal(arrow_begin(a, iteration, "sample", &e), 0);
    assert_int_equal(arrow_input_file(a, "prompts", at(folder, "prompts.jsonl"), &e), 0);
    assert_int_equal(arrow_input_file(a, "model", at(folder, "model"), &e), 0);
    assert_int_equal(arrow_input_text(a, "settings", settings, &e), 0);
}

/* Asks a freshly opened ledger, as a new process would. */
static void expect_done(int iteration, const char *settings, int expected, const char *reason) {
    Ledger l;
    Arrow a;
    char why[256];
    Error e = { 0 };
    assert_int_equal(ledger_open(&l, folder, &e), 0);
    inputs(&a, iteration, settings);
    assert_int_equal(ledger_done(&l, &a, why, sizeof why, &e), expected);
    assert_string_equal(why, reason);
    arrow_free(&a);
    ledger_close(&l);
}

static void record(int iteration, const char *settings) {
    Ledger l;
    Arrow a;
    char why[256];
    Error e = { 0 };
    assert_int_equal(ledger_open(&l, folder, &e), 0);
    inputs(&a, iteration, settings);
    assert_int_equal(arrow_output(&a, &l, "candidates.jsonl", &e), 0);
    assert_int_equal(arrow_count(&a, "answers", 10, &e), 0);
    assert_int_equal(ledger_record(&l, &a, &e), 0);
    assert_int_equal(ledger_done(&l, &a, why, sizeof why, &e), 1);
    arrow_free(&a);
    ledger_close(&l);
}

/* A row says what made its outputs, and whether that was this program on these instructions. */
static void test_program(void **state) {
    (void)state;
    Ledger l;
    Arrow a;
    Error e = { 0 };
    assert_int_equal(ledger_open(&l, at(folder, "program"), &e), 0);
    assert_int_equal(arrow_begin(&a, 1, "sample", &e), 0);
    assert_int_equal(ledger_record(&l, &a, &e), 0);
    json_t *row = (json_t *)(uintptr_t)ledger_find(&l, 1, "sample");
    assert_string_equal(json_string_value(json_object_get(row, "program")), program_version());
    assert_null(json_object_get(row, "isa")); /* nobody said */
    l.isa = "avx2";
    assert_int_equal(ledger_by_other(&l, row), 0);
    assert_int_equal(ledger_record(&l, &a, &e), 0);
    ledger_close(&l);

    assert_int_equal(ledger_open(&l, at(folder, "program"), &e), 0);
    row = (json_t *)(uintptr_t)ledger_find(&l, 1, "sample");
    l.isa = "avx2";
    assert_int_equal(ledger_by_other(&l, row), 0);
    l.isa = "generic";
    assert_int_equal(ledger_by_other(&l, row), 1);
    l.isa = "avx2";
    assert_int_equal(json_object_set_new(row, "program", json_string("another")), 0);
    assert_int_equal(ledger_by_other(&l, row), 1);
    assert_int_equal(json_object_set_new(row, "program", json_integer(1)), 0); /* not what this program writes */
    assert_int_equal(ledger_by_other(&l, row), 0);
    arrow_free(&a);
    ledger_close(&l);
}

static void test_done(void **state) {
    (void)state;
    expect_done(1, "s", 0, "not done yet");
    record(1, "s");
    expect_done(1, "s", 1, "done");
    expect_done(2, "s", 0, "not done yet");
    expect_done(1, "t", 0, "settings changed since it was done");
    record(1, "t"); /* the last row counts */
    expect_done(1, "s", 0, "settings changed since it was done");
    expect_done(1, "t", 1, "done");

    put(at(folder, "model/vision/weights"), "wwx", 3);
    expect_done(1, "t", 0, "model changed since it was done");
    put(at(folder, "model/vision/weights"), "www", 3);
    expect_done(1, "t", 1, "done");
    put(at(folder, "model/extra"), "", 0);
    expect_done(1, "t", 0, "model changed since it was done");
    assert_int_equal(remove(at(folder, "model/extra")), 0);
    put(at(folder, "candidates.jsonl"), "cd\n", 3);
    expect_done(1, "t", 0, "candidates.jsonl is not as it was written");
    assert_int_equal(remove(at(folder, "candidates.jsonl")), 0);
    expect_done(1, "t", 0, "candidates.jsonl is gone");
}

static void test_fewer_inputs(void **state) {
    (void)state;
    Ledger l;
    Arrow a;
    char why[256];
    Error e = { 0 };
    record(1, "s");
    assert_int_equal(ledger_open(&l, folder, &e), 0);
    assert_int_equal(arrow_begin(&a, 1, "sample", &e), 0);
    assert_int_equal(ledger_done(&l, &a, why, sizeof why, &e), 0);
    assert_string_equal(why, "it was done with more inputs than it has now");
    assert_non_null(ledger_find(&l, 1, "sample"));
    assert_null(ledger_find(&l, 1, "label"));
    assert_float_equal(json_number_value(json_object_get(json_object_get(ledger_find(&l, 1, "sample"), "counts"), "answers")), 10, 0);
    arrow_free(&a);
    ledger_close(&l);
}

static void test_torn_row(void **state) {
    (void)state;
    record(1, "s");
    FILE *f = fopen(at(folder, "ledger.jsonl"), "a");
    fputs("{\"iteration\":1,\"arrow\":\"label\",\"inp", f);
    fclose(f);
    expect_done(1, "s", 1, "done");
    record(2, "s"); /* appended where the torn row was */
    expect_done(2, "s", 1, "done");
}

static void test_mistakes(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "nonsense\n", "ledger.jsonl:1" },
        { "{\"arrow\":\"x\",\"inputs\":{},\"outputs\":{}}\n", "field \"iteration\"" },
        { "{\"iteration\":1,\"arrow\":\"x\",\"inputs\":{},\"outputs\":[]}\n", "field \"outputs\"; found an array" },
        { "{\"iteration\":1,\"arrow\":\"x\",\"outputs\":{}}\n", "field \"inputs\"; found nothing" },
    };
    Ledger l;
    Arrow a;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = { 0 };
        put(at(folder, "ledger.jsonl"), cases[i].text, strlen(cases[i].text));
        assert_int_equal(ledger_open(&l, folder, &e), -1);
        error_says(&e, cases[i].says);
        error_says(&e, "without the ledger every arrow runs again");
    }
    Error e = { 0 };
    assert_int_equal(arrow_begin(&a, 1, "sample", &e), 0);
    assert_int_equal(arrow_input_file(&a, "model", at(folder, "absent"), &e), -1);
    error_says(&e, "absent");
    assert_int_equal(arrow_input_text(&a, "settings", "\xff", &e), -1);
    error_says(&e, "cannot keep a ledger entry: sample: settings");
    arrow_free(&a);
}

/* A run that is at work may be looked at: its torn last row is passed over and stays; a bad row inside is refused; nothing is made. */
static void test_reading(void **state) {
    (void)state;
    static const char torn[] = "{\"iteration\":1,\"arrow\":\"sample\",\"inputs\":{},\"outputs\":{}}\n{\"iteration\":1,\"arr";
    Ledger l;
    Error e = { 0 };
    char *text;
    size_t n;
    assert_int_equal(ledger_read(&l, at(folder, "none"), &e), 0);
    assert_int_equal(json_array_size(l.rows), 0);
    ledger_close(&l);
    assert_false(file_exists(at(folder, "none")));
    put(at(folder, "ledger.jsonl"), torn, sizeof torn - 1);
    assert_int_equal(ledger_read(&l, folder, &e), 0);
    assert_int_equal(json_array_size(l.rows), 1);
    assert_non_null(ledger_find(&l, 1, "sample"));
    ledger_close(&l);
    assert_int_equal(file_read(at(folder, "ledger.jsonl"), 1000, &text, &n, &e), 0);
    assert_int_equal(n, sizeof torn - 1);
    free(text);
    put(at(folder, "ledger.jsonl"), "{\"iteration\":1,\n{}\n", 18);
    assert_int_equal(ledger_read(&l, folder, &e), -1);
    error_says(&e, "ledger.jsonl:1");
    put(at(folder, "ledger.jsonl"), "{\"iteration\":1}\n", 16);
    assert_int_equal(ledger_read(&l, folder, &e), -1);
    error_says(&e, "arrow");
}

int main(void) {
    const struct CMUnitTest ledger_test[] = {
        cmocka_unit_test_setup_teardown(test_program, setup, teardown),
        cmocka_unit_test_setup_teardown(test_done, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fewer_inputs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mistakes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reading, setup, teardown),
    };
    return cmocka_run_group_tests(ledger_test, NULL, NULL);
}

/* claims_arrow_test.c - claims by a model from file to file, on a golden checkpoint whose random replies are all malformed: asked for
 * twice, counted, dropped; what survives an end half way; what cannot be asked; what the ledger is told. */
#include "tests/engine/own_folder.h"

#include "engine/arrows.h"
#include "engine/claim_replies.h"
#include "engine/loop.h"

#include <stdlib.h>
#include <unistd.h>

static const char *const CASE = "llava15-hub";
enum { ANSWERS = 40, LONG = 36, EMPTY = 5 };

/* Answers of which one says nothing and one is longer than the model takes. */
static int setup(void **state) {
    (void)state;
    static char text[40000];
    if (folder_open() || file_write(at("split.txt"), "Facts of {answer}:\n", 19, NULL) ||
        file_write(at("question.txt"), "Questions: {facts}\n", 19, NULL))
        return -1;
    FILE *f = fopen(at("answers.jsonl"), "w");
    for (int i = 0; f && i < ANSWERS; i++) {
        int n = snprintf(text, sizeof text, "There are %d cats.", i);
        if (i == EMPTY) strcpy(text, " ... ");
        for (int k = 0; i == LONG && k < 4000; k++) n += snprintf(text + n, sizeof text - (size_t)n, " red %d", k % 7);
        if (jsonl_write(f,
                json_pack("{s:o, s:n, s:s, s:i, s:s}", "id", json_sprintf("p%d", i / 4), "image", "question", "What is it?", "candidate",
                    i % 4, "text", text),
                NULL))
            return -1;
    }
    return f ? fclose(f) : -1;
}
static RunConfig *config_new(void) {
    RunConfig *c = calloc(1, sizeof *c);
    assert_non_null(c);
    config_defaults(c);
    c->claims.mode = CLAIM_BY_MODEL;
    c->claims.max_new_tokens = 10;
    c->sample.batch = 2; /* batches of 32 answers */
    snprintf(c->claims.split_prompt, PATH_SIZE, "%s", at("split.txt"));
    snprintf(c->claims.question_prompt, PATH_SIZE, "%s", at("question.txt"));
    return c;
}

static void garbage_is_counted(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    ClaimCounts n;
    RunConfig *c = config_new();
    golden_open(&v, CASE, FP32);
    if (arrow_claims_model(NULL, &v, c, at("answers.jsonl"), at("claims.jsonl"), &n, NULL, &e)) fail_with(&e);
    assert_int_equal(n.answers, ANSWERS), assert_int_equal(n.without, ANSWERS), assert_int_equal(n.claims, 0);
    assert_int_equal(n.retried, ANSWERS - 2), assert_int_equal(n.dropped, ANSWERS - 1);
    json_t *rows = rows_of(at("claims.jsonl"));
    assert_int_equal(json_array_size(rows), ANSWERS);
    for (int i = 0; i < ANSWERS; i++) {
        const json_t *row = json_array_get(rows, (size_t)i);
        char id[16];
        snprintf(id, sizeof id, "p%d", i / 4);
        assert_string_equal(text_of(row, "id"), id);
        assert_int_equal(json_integer_value(json_object_get(row, "candidate")), i % 4);
        assert_int_equal(json_array_size(json_object_get(row, "claims")), 0);
        assert_int_equal(json_integer_value(json_object_get(row, "retried")), i != EMPTY && i != LONG);
        if (i == EMPTY) assert_null(json_object_get(row, "dropped"));
        else if (i == LONG) assert_string_equal(text_of(row, "dropped"), "longer than the model takes");
        else assert_non_null(text_of(row, "dropped"));
    }
    json_decref(rows);
    /* batches change nothing */
    c->sample.batch = 64;
    if (arrow_claims_model(NULL, &v, c, at("answers.jsonl"), at("again.jsonl"), &n, NULL, &e)) fail_with(&e);
    same_files(at("claims.jsonl"), at("again.jsonl"));
    /* the second try is drawn, by the run's seed */
    c->run.seed = 9;
    if (arrow_claims_model(NULL, &v, c, at("answers.jsonl"), at("seed.jsonl"), &n, NULL, &e)) fail_with(&e);
    json_t *a = rows_of(at("claims.jsonl")), *b = rows_of(at("seed.jsonl"));
    assert_false(json_equal(a, b));
    json_decref(a), json_decref(b);
    vlm_close(&v);
    free(c);
}

/* Ends in the second batch, at an answer that cannot be asked; then goes on. */
static void a_stopped_arrow_goes_on(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    ClaimCounts n;
    RunConfig *c = config_new();
    golden_open(&v, CASE, FP32);
    c->data.strict = 1;
    assert_int_equal(arrow_claims_model(NULL, &v, c, at("answers.jsonl"), at("stopped.jsonl"), &n, NULL, &e), -1);
    assert_string_equal(e.what, "prompt too long");
    assert_false(file_exists(at("stopped.jsonl")));
    assert_true(file_exists(at("stopped.jsonl.growing")));
    c->data.strict = 0;
    int64_t before = v.work.tokens;
    if (arrow_claims_model(NULL, &v, c, at("answers.jsonl"), at("stopped.jsonl"), &n, NULL, &e)) fail_with(&e);
    int64_t rest = v.work.tokens - before;
    assert_int_equal(n.dropped, ANSWERS - 1);
    same_files(at("claims.jsonl"), at("stopped.jsonl"));
    before = v.work.tokens;
    if (arrow_claims_model(NULL, &v, c, at("answers.jsonl"), at("whole.jsonl"), &n, NULL, &e)) fail_with(&e);
    assert_true(rest * 3 < v.work.tokens - before); /* 7 of 39 were left */

    /* what was done with another prompt does not count */
    assert_int_equal(file_copy(at("claims.jsonl"), at("other.jsonl"), &e), 0);
    c->data.strict = 1;
    assert_int_equal(arrow_claims_model(NULL, &v, c, at("answers.jsonl"), at("other.jsonl"), &n, NULL, &e), -1);
    assert_int_equal(file_write(at("split.txt"), "Say of {answer}:\n", 17, &e), 0);
    c->data.strict = 0;
    int64_t all = v.work.tokens;
    if (arrow_claims_model(NULL, &v, c, at("answers.jsonl"), at("other.jsonl"), &n, NULL, &e)) fail_with(&e);
    assert_true(v.work.tokens - all > 3 * rest);
    assert_int_equal(file_write(at("split.txt"), "Facts of {answer}:\n", 19, &e), 0);
    vlm_close(&v);
    free(c);
}

static void what_is_refused(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    ClaimCounts n;
    RunConfig *c = config_new();
    golden_open(&v, CASE, FP32);
    assert_int_equal(arrow_claims_model(NULL, &v, c, at("absent.jsonl"), at("no.jsonl"), &n, NULL, &e), -1);
    assert_int_equal(file_write(at("bad.jsonl"), "{\"id\": \"p\", \"candidate\": 0, \"text\": \"A cat.\"}\n{\"id\": 5}\n", 57, &e), 0);
    assert_int_equal(arrow_claims_model(NULL, &v, c, at("bad.jsonl"), at("no.jsonl"), &n, NULL, &e), -1);
    assert_non_null(strstr(e.where, "bad.jsonl:2"));
    assert_false(file_exists(at("no.jsonl")));
    v.model.config.decoder.positions = 12; /* the prompt alone is longer */
    assert_int_equal(arrow_claims_model(NULL, &v, c, at("answers.jsonl"), at("no.jsonl"), &n, NULL, &e), -1);
    assert_string_equal(e.what, "prompt too long");
    assert_non_null(strstr(e.hint, "claims.split_prompt"));
    snprintf(c->claims.question_prompt, PATH_SIZE, "%s", at("split.txt"));
    assert_int_equal(arrow_claims_model(NULL, &v, c, at("answers.jsonl"), at("no.jsonl"), &n, NULL, &e), -1);
    assert_string_equal(e.what, "not a prompt for claims");
    vlm_close(&v);
    free(c);
}

static void who_is_asked_how(void **state) {
    (void)state;
    RunConfig *c = config_new();
    assert_string_equal(claims_model(c, "labeler"), "labeler");
    assert_string_equal(claims_template(c), TEMPLATE_AUTO); /* the labeler's */
    strcpy(c->claims.dir, "llama");
    assert_string_equal(claims_model(c, "labeler"), "llama");
    assert_string_equal(claims_template(c), ""); /* the checkpoint says */
    strcpy(c->claims.template_name, "llava_v1");
    assert_string_equal(claims_template(c), "llava_v1");
    char before[HASH_TEXT], after[HASH_TEXT];
    assert_int_equal(config_hash(c, claims_settings(c), before, NULL), 0);
    c->run.seed++;
    assert_int_equal(config_hash(c, claims_settings(c), after, NULL), 0);
    assert_string_not_equal(before, after);
    c->claims.mode = CLAIM_BY_RULE; /* rules know no seed */
    assert_int_equal(config_hash(c, claims_settings(c), before, NULL), 0);
    c->run.seed++;
    assert_int_equal(config_hash(c, claims_settings(c), after, NULL), 0);
    assert_string_equal(before, after);
    free(c);
}

/* The ledger's inputs name the model and the prompts by content. */
static void the_ledger_is_told(void **state) {
    (void)state;
    Loop l = { 0 };
    Arrow a;
    Error e = { 0 };
    RunConfig *c = config_new();
    l.config = c;
    if (arrow_begin(&a, 1, "claims", &e) || loop_input_claims(&l, &a, golden_path(CASE, "model"), &e)) fail_with(&e);
    char model[HASH_TEXT], prompts[HASH_TEXT];
    assert_int_equal(hash_path(golden_path(CASE, "model"), model, &e), 0);
    assert_string_equal(text_of(a.inputs, "claims_model"), model);
    snprintf(prompts, sizeof prompts, "%s", text_of(a.inputs, "claims_prompts"));
    arrow_free(&a);
    assert_int_equal(file_write(at("split.txt"), "Say {answer}:\n", 14, &e), 0);
    if (arrow_begin(&a, 1, "claims", &e) || loop_input_claims(&l, &a, golden_path(CASE, "model"), &e)) fail_with(&e);
    assert_string_not_equal(text_of(a.inputs, "claims_prompts"), prompts);
    arrow_free(&a);
    assert_int_equal(file_write(at("split.txt"), "Facts of {answer}:\n", 19, &e), 0);
    c->claims.mode = CLAIM_BY_RULE;
    if (arrow_begin(&a, 1, "claims", &e) || loop_input_claims(&l, &a, golden_path(CASE, "model"), &e)) fail_with(&e);
    assert_int_equal(json_object_size(a.inputs), 0);
    arrow_free(&a);
    free(l.known);
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_is_counted),
        cmocka_unit_test(a_stopped_arrow_goes_on),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(who_is_asked_how),
        cmocka_unit_test(the_ledger_is_told),
    };
    return cmocka_run_group_tests_name("claims by a model", tests, setup, folder_teardown);
}

/* arrows_test.c - sample, claims, label from file to file on a golden checkpoint: fields, scores, counts, what survives an end half way. */
#include "tests/engine/own_folder.h"

#include "engine/arrows.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const CASE = "llava15-hub";

/* Prompts about copies of the golden images in a folder of our own, so that one can be damaged. */
static int setup(void **state) {
    (void)state;
    if (folder_open()) return -1;
    FILE *f = fopen(at("prompts.jsonl"), "w");
    if (!f) return -1;
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "images/%d.png", i);
        char *from = strdup(golden_path(CASE, name));
        snprintf(name, sizeof name, "%d.png", i);
        if (!from || file_copy(from, at(name), NULL)) return -1;
        free(from);
        fprintf(f, "{\"id\": \"p%d\", \"image\": \"%d.png\", \"question\": \"What is in picture %d?\"}\n", i, i, i);
    }
    return fclose(f);
}
static RunConfig *config_new(void) {
    RunConfig *c = calloc(1, sizeof *c);
    assert_non_null(c);
    config_defaults(c);
    c->sample.n = 3;
    c->sample.temperature = 1.2;
    c->sample.max_new_tokens = 12;
    c->sample.batch = 2;
    return c;
}

static void prompts_read(Dataset *d) {
    Error e = { 0 };
    if (dataset_read(d, at("prompts.jsonl"), &(DataOptions){ .need = DATA_IMAGE | DATA_QUESTION | DATA_UNIQUE }, &e)) fail_with(&e);
    assert_int_equal(d->n, 4);
}

/* Equal rows, log-probs to rounding: a resumed run has other company in its batches. */
static void same_candidates(const char *a, const char *b) {
    json_t *one = rows_of(a), *two = rows_of(b);
    assert_int_equal(json_array_size(one), json_array_size(two));
    for (size_t i = 0; i < json_array_size(one); i++) {
        json_t *x = json_array_get(one, i), *y = json_array_get(two, i);
        assert_true(fabs(json_number_value(json_object_get(x, "logp")) - json_number_value(json_object_get(y, "logp"))) < 1e-4);
        json_object_del(x, "logp");
        json_object_del(y, "logp");
        assert_true(json_equal(x, y));
    }
    json_decref(one);
    json_decref(two);
}

/* Keeps the first bytes of a PNG so that it is found but does not decode. */
static void damage(const char *path) {
    char *bytes;
    size_t size;
    assert_int_equal(file_read(path, 1 << 20, &bytes, &size, NULL), 0);
    assert_int_equal(file_write(path, bytes, 60, NULL), 0);
    free(bytes);
}

static void sample_rows(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    Dataset d;
    SampleCounts counts;
    RunConfig *c = config_new();
    golden_open(&v, CASE, FP32);
    prompts_read(&d);
    if (arrow_sample(NULL, &v, c, 5, &d, at("candidates.jsonl"), &counts, NULL, &e)) fail_with(&e);
    assert_int_equal(counts.prompts, 4);
    assert_int_equal(counts.refused, 0);
    assert_int_equal(counts.candidates, 12);
    json_t *rows = rows_of(at("candidates.jsonl"));
    assert_int_equal(json_array_size(rows), 12);
    int64_t tokens = 0;
    for (size_t i = 0; i < 12; i++) {
        const json_t *row = json_array_get(rows, i);
        char id[8];
        snprintf(id, sizeof id, "p%zu", i / 3);
        assert_string_equal(text_of(row, "id"), id);
        assert_int_equal(json_integer_value(json_object_get(row, "candidate")), i % 3);
        assert_int_equal(text_of(row, "image")[0], '/');
        assert_true(file_exists(text_of(row, "image")));
        assert_non_null(text_of(row, "text"));
        assert_true(json_number_value(json_object_get(row, "logp")) < 0);
        assert_true(json_is_boolean(json_object_get(row, "finished")));
        tokens += json_integer_value(json_object_get(row, "tokens"));
    }
    assert_int_equal(tokens, counts.tokens);
    json_decref(rows);
    dataset_free(&d);
    vlm_close(&v);
    free(c);
}

/* Ends half way at an image that does not decode (strict); once it does, the arrow goes on and the file is the same as in one go. */
static void sample_resumes(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    Dataset d;
    SampleCounts counts;
    RunConfig *c = config_new();
    golden_open(&v, CASE, FP32);
    prompts_read(&d);
    damage(at("3.png"));
    c->data.strict = 1;
    c->sample.batch = 3; /* one prompt after another, nearly */
    assert_int_equal(arrow_sample(NULL, &v, c, 5, &d, at("again.jsonl"), &counts, NULL, &e), -1);
    assert_non_null(strstr(e.where, "3.png"));
    assert_false(file_exists(at("again.jsonl")));
    assert_true(file_exists(at("again.jsonl.growing")));
    assert_int_equal(file_copy(golden_path(CASE, "images/3.png"), at("3.png"), &e), 0);
    int64_t before = v.work.tokens;
    if (arrow_sample(NULL, &v, c, 5, &d, at("again.jsonl"), &counts, NULL, &e)) fail_with(&e);
    int64_t rest = v.work.tokens - before;
    same_candidates(at("again.jsonl"), at("candidates.jsonl"));
    assert_int_equal(counts.candidates, 12);
    before = v.work.tokens;
    if (arrow_sample(NULL, &v, c, 5, &d, at("whole.jsonl"), &counts, NULL, &e)) fail_with(&e);
    assert_true(rest < v.work.tokens - before); /* finished prompts were not done again */

    damage(at("3.png")); /* not strict: dropped and counted */
    c->data.strict = 0;
    if (arrow_sample(NULL, &v, c, 5, &d, at("dropped.jsonl"), &counts, NULL, &e)) fail_with(&e);
    assert_int_equal(counts.refused, 1);
    assert_int_equal(counts.candidates, 9);
    assert_int_equal(file_copy(golden_path(CASE, "images/3.png"), at("3.png"), &e), 0);
    dataset_free(&d);
    vlm_close(&v);
    free(c);
}

/* Three answers whose claims are known. */
static void write_answers(const char *path) {
    static const char *const texts[] = { "There is a red cat in the room. The dog is next to a tall green tree.", "Yes.",
        "There is a red cat in the room. A small bird sits on the wall. There is a red cat in the room." };
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int p = 0; p < 4; p++)
        for (int i = 0; i < 3; i++)
            assert_int_equal(jsonl_write(f,
                                 json_pack("{s:o, s:s, s:s, s:i, s:s}", "id", json_sprintf("p%d", p), "image",
                                     at(p % 2 ? "1.png" : "0.png"), "question", "What is it?", "candidate", i, "text", texts[i]),
                                 NULL),
                0);
    fclose(f);
}

static void claims_and_labels(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    ClaimCounts split;
    LabelCounts counts;
    RunConfig *c = config_new();
    golden_open(&v, CASE, FP32);
    write_answers(at("answers.jsonl"));
    if (arrow_claims(c, at("answers.jsonl"), at("claims.jsonl"), &split, &e)) fail_with(&e);
    assert_int_equal(split.answers, 12);
    assert_int_equal(split.without, 4);
    json_t *claims = rows_of(at("claims.jsonl"));
    assert_int_equal(json_array_size(claims), 12);
    assert_string_equal(
        text_of(json_array_get(json_object_get(json_array_get(claims, 0), "claims"), 0), "claim"), "There is a red cat in the room");
    if (arrow_label(NULL, &v, c, at("answers.jsonl"), at("claims.jsonl"), at("labels.jsonl"), &counts, NULL, &e)) fail_with(&e);
    assert_int_equal(counts.answers, 12);
    assert_int_equal(counts.unscored, 4);
    assert_int_equal(counts.claims, split.claims);
    assert_int_equal(counts.probes, split.claims - split.unasked);
    json_t *labels = rows_of(at("labels.jsonl"));
    int64_t rejected = 0;
    for (size_t i = 0; i < 12; i++) {
        const json_t *row = json_array_get(labels, i), *probes = json_object_get(row, "probes"), *probe;
        size_t k;
        int own = 0;
        assert_string_equal(text_of(row, "id"), text_of(json_array_get(claims, i), "id"));
        assert_int_equal(json_array_size(probes), json_array_size(json_object_get(json_array_get(claims, i), "claims")));
        json_array_foreach(probes, k, probe) {
            double yes = json_number_value(json_object_get(probe, "p_yes")), no = json_number_value(json_object_get(probe, "p_no"));
            assert_int_equal(json_is_true(json_object_get(probe, "accepted")), yes > no);
            own += yes <= no;
        }
        rejected += own;
        if (i % 3 == 1) assert_true(json_is_null(json_object_get(row, "score")));
        else assert_int_equal(json_integer_value(json_object_get(row, "score")), -own);
    }
    assert_int_equal(rejected, counts.rejected);
    assert_true(fabs(counts.score + (double)rejected) < 1e-9);
    json_decref(claims);
    json_decref(labels);
    vlm_close(&v);
    free(c);
}

static void labels_resume(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    LabelCounts counts;
    RunConfig *c = config_new();
    golden_open(&v, CASE, FP32);
    c->label.batch = 1; /* every prompt is a batch */
    c->data.strict = 1;
    damage(at("1.png"));
    assert_int_equal(arrow_label(NULL, &v, c, at("answers.jsonl"), at("claims.jsonl"), at("labels2.jsonl"), &counts, NULL, &e), -1);
    assert_true(file_exists(at("labels2.jsonl.growing")));
    assert_int_equal(file_copy(golden_path(CASE, "images/1.png"), at("1.png"), &e), 0);
    int64_t before = v.work.tokens;
    if (arrow_label(NULL, &v, c, at("answers.jsonl"), at("claims.jsonl"), at("labels2.jsonl"), &counts, NULL, &e)) fail_with(&e);
    int64_t rest = v.work.tokens - before;
    assert_int_equal(counts.answers, 12);
    before = v.work.tokens;
    if (arrow_label(NULL, &v, c, at("answers.jsonl"), at("claims.jsonl"), at("labels3.jsonl"), &counts, NULL, &e)) fail_with(&e);
    assert_int_equal(rest * 4, (v.work.tokens - before) * 3); /* three prompts of four were left */
    same_files(at("labels2.jsonl"), at("labels3.jsonl"));

    c->data.strict = 0; /* an answer whose image is gone has no score */
    damage(at("1.png"));
    vlm_forget_features(&v);
    if (arrow_label(NULL, &v, c, at("answers.jsonl"), at("claims.jsonl"), at("labels4.jsonl"), &counts, NULL, &e)) fail_with(&e);
    assert_int_equal(counts.unscored, 4 + 4);
    assert_int_equal(file_copy(golden_path(CASE, "images/1.png"), at("1.png"), &e), 0);
    vlm_close(&v);
    free(c);
}

static void files_that_do_not_match(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    LabelCounts counts;
    ClaimCounts split;
    RunConfig *c = config_new();
    golden_open(&v, CASE, FP32);
    FILE *f = fopen(at("short.jsonl"), "w");
    assert_non_null(f);
    fputs("{\"id\": \"p0\", \"candidate\": 1, \"claims\": []}\n", f);
    fclose(f);
    assert_int_equal(arrow_label(NULL, &v, c, at("answers.jsonl"), at("short.jsonl"), at("no.jsonl"), &counts, NULL, &e), -1);
    assert_string_equal(e.what, "rows do not match");
    assert_non_null(strstr(e.hint, "made again"));
    assert_false(file_exists(at("no.jsonl")));
    assert_int_equal(arrow_claims(c, at("absent.jsonl"), at("no.jsonl"), &split, &e), -1);
    f = fopen(at("bad.jsonl"), "w");
    assert_non_null(f);
    fputs("{\"id\": \"p0\", \"candidate\": 0, \"text\": \"A cat.\"}\n{\"id\": \"p0\", \"candidate\": \"one\"}\n", f);
    fclose(f);
    assert_int_equal(arrow_claims(c, at("bad.jsonl"), at("no.jsonl"), &split, &e), -1);
    assert_non_null(strstr(e.where, "bad.jsonl:2"));
    assert_false(file_exists(at("no.jsonl")));
    vlm_close(&v);
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sample_rows),
        cmocka_unit_test(sample_resumes),
        cmocka_unit_test(claims_and_labels),
        cmocka_unit_test(labels_resume),
        cmocka_unit_test(files_that_do_not_match),
    };
    return cmocka_run_group_tests_name("arrows", tests, setup, folder_teardown);
}

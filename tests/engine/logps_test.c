/* logps_test.c - references in the public code's column: written by score, believed by training only when they fit, and then the very
 * references that training computes. Also which steps save a checkpoint. */
#include "tests/engine/own_folder.h"

#include "engine/commands.h"
#include "engine/logps.h"
#include "engine/train.h"

#include <math.h>
#include <stdlib.h>

static int setup(void **state) {
    (void)state;
    return folder_open();
}

/* Trains two steps on `pairs`; the losses and margins of both. 0, or -1 with the Error filled. */
static int train(const char *pairs, const char *name, const char *const keys[][2], int n, double out[4], Error *e) {
    RunConfig *c = calloc(1, sizeof *c);
    Vlm v;
    Ranks ranks;
    TrainResult result;
    char path[PATH_SIZE];
    static const char *const fixed[][2] = { { "train.steps", "2" }, { "train.batch_pairs", "4" }, { "train.lr", "5e-4" },
        { "train.warmup_ratio", "0" } };
    config_defaults(c);
    for (int i = 0; i < 4; i++) assert_int_equal(config_set(c, fixed[i][0], fixed[i][1], "test", e), 0);
    for (int i = 0; i < n; i++) assert_int_equal(config_set(c, keys[i][0], keys[i][1], "test", e), 0);
    snprintf(path, sizeof path, "%.4000s/%s", folder, name);
    golden_open(&v, "llava15-hub", FP32);
    Metrics *metrics = metrics_open(path, e);
    assert_non_null(metrics);
    assert_int_equal(ranks_lone(&ranks, v.model.k, e), 0);
    TrainPlan plan = { .config = c, .pairs = pairs, .folder = path, .iteration = 1, .ranks = &ranks, .metrics = metrics };
    int bad = train_pairs(&v, &plan, &result, e);
    ranks_close(&ranks);
    metrics_close(metrics);
    vlm_close(&v);
    free(c);
    if (bad) return -1;
    JsonLines lines;
    json_t *row;
    int at_row = 0;
    strncat(path, "/metrics.jsonl", 32);
    assert_int_equal(jsonl_open(&lines, path, NULL), 0);
    while (jsonl_next(&lines, &row, NULL) == 1) {
        assert_true(at_row < 2);
        out[2 * at_row] = json_number_value(json_object_get(row, "loss"));
        out[2 * at_row++ + 1] = json_number_value(json_object_get(row, "rewards/margins"));
        json_decref(row);
    }
    jsonl_close(&lines);
    assert_int_equal(at_row, 2);
    return 0;
}

static void scored(const char *out) {
    Error e = { 0 };
    char *argv[] = { "--model", "tests/golden/llava15-hub/model", "--data", "tests/golden/llava15-hub/pairs.jsonl", "--logps", "upstream",
        "--out", (char *)(uintptr_t)out };
    if (command_score(8, argv, &e)) fail_with(&e);
}

static json_t *column_list(const json_t *row) {
    json_t *top = json_loads(text_of(row, "logps"), 0, NULL), *list = json_incref(json_object_get(top, "logps"));
    json_decref(top);
    return list;
}

static void score_writes_the_column(void **state) {
    (void)state;
    scored(at("scored.jsonl"));
    json_t *expected = golden_rows("llava15-hub", "expect/score.jsonl"), *row;
    JsonLines lines;
    size_t i = 0;
    Vlm v;
    golden_open(&v, "llava15-hub", FP32);
    assert_int_equal(jsonl_open(&lines, at("scored.jsonl"), NULL), 0);
    while (jsonl_next(&lines, &row, NULL) == 1) {
        json_t *list = column_list(row);
        Prompt prompt;
        Error e = { 0 };
        assert_int_equal(json_array_size(list), 6);
        assert_int_equal(text_of(row, "image")[0], '/');
        if (vlm_prompt(&v, text_of(row, "image"), text_of(row, "question"), &prompt, &e)) fail_with(&e);
        for (size_t side = 0; side < 2; side++) {
            const json_t *want = json_object_get(json_array_get(expected, i), side ? "rejected" : "chosen"),
                         *logps = json_object_get(want, "logps");
            const json_t *tokens = json_array_get(list, 3 * side + 2);
            size_t n = json_array_size(logps), skip = (size_t)prompt_tokens(&v, &prompt) - 1;
            double sum = json_number_value(json_object_get(want, "sum"));
            assert_true(fabs(json_number_value(json_array_get(list, 3 * side)) - sum) < 1e-3);
            assert_true(fabs(json_number_value(json_array_get(list, 3 * side + 1)) - sum / (double)n) < 1e-4);
            assert_int_equal(json_array_size(tokens), skip + n);
            for (size_t t = 0; t < skip; t++) assert_true(json_number_value(json_array_get(tokens, t)) == 0);
            for (size_t t = 0; t < n; t++)
                assert_true(fabs(json_number_value(json_array_get(tokens, skip + t)) - json_number_value(json_array_get(logps, t))) < 1e-4);
        }
        prompt_free(&prompt);
        json_decref(list);
        json_decref(row);
        i++;
    }
    jsonl_close(&lines);
    assert_int_equal(i, json_array_size(expected));
    json_decref(expected);
    vlm_close(&v);
}

/* References from the file are those that are computed, weighted tokens included. */
static void file_or_computed(void **state) {
    (void)state;
    static const char *const keys[][2] = { { "train.reference", "file" }, { "train.token_weight", "5" } };
    Error e = { 0 };
    double computed[4], file[4], weighted[4], weighted_file[4];
    scored(at("scored.jsonl"));
    if (train(at("scored.jsonl"), "computed", NULL, 0, computed, &e) || train(at("scored.jsonl"), "file", keys, 1, file, &e) ||
        train(at("scored.jsonl"), "weighted", keys + 1, 1, weighted, &e) ||
        train(at("scored.jsonl"), "weighted-file", keys, 2, weighted_file, &e))
        fail_with(&e);
    assert_false(file_exists(at("file/reference.jsonl")));
    assert_true(file_exists(at("computed/reference.jsonl")));
    for (int i = 0; i < 4; i++) {
        if (fabs(computed[i] - file[i]) > 1e-5) fail_msg("%d: %g computed, %g from the file", i, computed[i], file[i]);
        if (fabs(weighted[i] - weighted_file[i]) > 1e-5)
            fail_msg("weighted %d: %g computed, %g from the file", i, weighted[i], weighted_file[i]);
    }
    assert_true(fabs(computed[2] - weighted[2]) > 1e-4); /* the weights do count */
    /* another model's references change the loss, as they should */
    json_t *row;
    JsonLines lines;
    FILE *f = fopen(at("other.jsonl"), "w");
    assert_int_equal(jsonl_open(&lines, at("scored.jsonl"), NULL), 0);
    while (jsonl_next(&lines, &row, NULL) == 1) {
        json_t *list = column_list(row);
        json_array_set_new(list, 0, json_real(1.01 * json_number_value(json_array_get(list, 0))));
        char *text = json_dumps(list, 0); /* the older form, a bare list */
        json_object_set_new(row, "logps", json_string(text));
        free(text);
        json_decref(list);
        jsonl_write(f, row, NULL);
    }
    jsonl_close(&lines);
    fclose(f);
    if (train(at("other.jsonl"), "other", keys, 1, weighted, &e)) fail_with(&e);
    assert_true(fabs(weighted[0] - file[0]) > 1e-3);
}

/* A row's column with one thing wrong, and what is said of it. */
static void refused(const char *column, const char *said) {
    Error e = { 0 };
    char text[sizeof(Error) + 64];
    double sums[2];
    static const LogpsSide sides[2] = { { 3, 2, NULL, NULL }, { 3, 1, NULL, NULL } };
    json_t *row = column ? json_pack("{s:s}", "logps", column) : json_pack("{s:i}", "logps", 7);
    if (column && !column[0]) json_object_clear(row);
    int got = logps_read(row, "f:1", sides, sums, &e);
    json_decref(row);
    if (!said) {
        if (got) fail_with(&e);
        assert_true(sums[0] == -3 && sums[1] == -4);
        return;
    }
    assert_int_equal(got, -1);
    if (!strstr(error_text(&e, text, sizeof text), said)) fail_msg("%s: \"%s\" does not say \"%s\"", column ? column : "7", text, said);
}

static void refusals(void **state) {
    (void)state;
    refused("{\"logps\":[-3,-1.5,[0,0,-1,-2],-4,-4,[-9,-9,-4]]}", NULL);
    refused("[-3,-1.5,[0,0,-1,-2],-4,-4,[-9,-9,-4]]", NULL);
    refused("", "a pair without reference log-probs");
    refused(NULL, "field \"logps\"");
    refused("{", "bad reference log-probs");
    refused("{\"logps\":7}", "an integer");
    refused("[-3,-1.5,[0,0,-1,-2],-4,-4]", "a list of 6");
    refused("[-3,-1.5,[0,0,-1,-2],-4,-4,-4]", "rejected; expected a sum, a mean and a list");
    refused("[\"-3\",-1.5,[0,0,-1,-2],-4,-4,[0,0,-4]]", "chosen; expected a sum");
    refused("[-3,-1.5,[0,0,0,-1,-2],-4,-4,[0,0,-4]]", "chosen; found 5 positions; expected 4: 3 of the prompt and 2 of the answer");
    refused("[-3,-1.5,[0,0,-1,-2],-4,-4,[0,-4]]", "rejected; found 2 positions");
    refused("[-3,-1,[0,0,-1,-2],-4,-4,[0,0,-4]]", "3.0 times its mean");
    refused("[-3,-1.5,[0,0,-1,\"-2\"],-4,-4,[0,0,-4]]", "position 3");
    refused("[-3,-1.5,[0,0,1,-4],-4,-4,[0,0,-4]]", "not above 0");

    Error e = { 0 };
    char text[sizeof(Error) + 64];
    double out[4];
    static const char *const keys[][2] = { { "train.reference", "file" } };
    assert_int_equal(train("tests/golden/llava15-hub/pairs.jsonl", "none", keys, 1, out, &e), -1);
    assert_non_null(strstr(error_text(&e, text, sizeof text), "pairs.jsonl:1: field \"logps\""));
}

static void checkpoints_by_epochs(void **state) {
    (void)state;
    RunConfig *c = calloc(1, sizeof *c);
    config_defaults(c);
    int n = 0;
    /* the paper's first iteration: 5342 pairs in batches of 8, a checkpoint every quarter of an epoch, as upstream's save_steps of 167 */
    c->train.save_epochs = .25;
    for (int64_t step = 1; step <= 2671; step++)
        if (train_saves(c, 5342, step, 2671)) assert_int_equal(++n == 16 ? 2671 : 167 * n, step);
    assert_int_equal(n, 16);
    c->train.save_epochs = 1e-3; /* never more often than every step */
    assert_true(train_saves(c, 8, 1, 4) && train_saves(c, 8, 2, 4));
    c->train.save_epochs = 0;
    assert_false(train_saves(c, 8, 3, 4));
    assert_true(train_saves(c, 8, 4, 4));
    c->train.save_every = 3;
    assert_true(train_saves(c, 8, 3, 4) && !train_saves(c, 8, 2, 4));
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(score_writes_the_column), cmocka_unit_test(file_or_computed),
        cmocka_unit_test(refusals), cmocka_unit_test(checkpoints_by_epochs) };
    return cmocka_run_group_tests_name("logps", tests, setup, folder_teardown);
}

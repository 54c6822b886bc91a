/* best_test.c - best-of-N on golden checkpoints: the values against those PyTorch has for the same answers, and that each rule keeps the largest of the first N. */
#include "tests/engine/own_folder.h"

#include "engine/commands.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const CASE = "llava15-hub", *const OTHER = "llava15-v5";
static int setup(void **state) {
    (void)state;
    return folder_open();
}

/* Both answers of each pair, and the first of another, as one model's candidates; or all of a prompt in one row. */
static void candidates_write(const char *path, int together) {
    json_t *rows = golden_rows(CASE, "pairs.jsonl");
    FILE *out = fopen(path, "w");
    char image[PATH_SIZE];
    assert_non_null(out);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *next = json_array_get(rows, (i + 1) % json_array_size(rows));
        const char *texts[] = { text_of(row, "chosen"), text_of(row, "rejected"), text_of(next, "chosen") };
        char id[32];
        assert_non_null(realpath(golden_path(CASE, text_of(row, "image")), image));
        snprintf(id, sizeof id, "p%zu", i);
        json_t *answers = json_array();
        for (int k = 0; k < 3; k++) {
            json_t *answer = json_pack("{s:s, s:s, s:s, s:i, s:s}", "id", id, "image", image, "question", text_of(row, "question"), "candidate", k, "text", texts[k]);
            if (!together) json_dumpf(answer, out, 0), fputc('\n', out);
            json_array_append_new(answers, answer);
        }
        json_t *all = json_pack("{s:s, s:s, s:s, s:o}", "id", id, "image", image, "question", text_of(row, "question"), "answers", answers);
        if (together) json_dumpf(all, out, 0), fputc('\n', out);
        json_decref(all);
    }
    fclose(out);
    json_decref(rows);
}

static json_t *kept_rows(const char *name) {
    char path[96];
    snprintf(path, sizeof path, "out/%s", name);
    return rows_of(at(path));
}

static double number_of(const json_t *row, const char *key) { return json_number_value(json_object_get(row, key)); }

static int best(const char *data, const char *counts) {
    char policy[PATH_SIZE], reference[PATH_SIZE], out[PATH_SIZE];
    Error e = { 0 };
    snprintf(policy, sizeof policy, "%s", golden_path(CASE, "model"));
    snprintf(reference, sizeof reference, "%s", golden_path(OTHER, "model"));
    snprintf(out, sizeof out, "%s/out", folder);
    char *argv[] = { "--policy", policy, "--reference", reference, "--data", (char *)data, "--out", out, "--n", (char *)counts, "--template", "vicuna_v1", NULL };
    int got = command_best(12, argv, &e);
    if (got == -1) fail_with(&e);
    return got;
}

static void values_and_choices(void **state) {
    (void)state;
    static const char *const rules[] = { "reward", "reward-sum", "policy-ppl", "reference-ppl" };
    char data[PATH_SIZE];
    for (int together = 0; together < 2; together++) {
        snprintf(data, sizeof data, "%s/candidates.jsonl", folder);
        candidates_write(data, together);
        assert_int_equal(best(data, "1,2,64"), 0);
        json_t *all = kept_rows("scores.jsonl"), *golden = golden_rows(CASE, "expect/score.jsonl");
        size_t prompts = json_array_size(golden);
        assert_int_equal(json_array_size(all), 3 * prompts);
        for (size_t i = 0; i < 2 * prompts; i++) {
            const json_t *row = json_array_get(all, i / 2 * 3 + i % 2), *side = json_object_get(json_array_get(golden, i / 2), i % 2 ? "rejected" : "chosen");
            double tokens = number_of(row, "tokens"), sum = 0;
            assert_int_equal(tokens, json_array_size(json_object_get(side, "response_ids")));
            for (size_t t = 0; t < (size_t)tokens; t++) sum += json_number_value(json_array_get(json_object_get(side, "logps"), t));
            assert_float_equal(number_of(row, "policy-ppl"), sum / tokens, 5e-5);
            assert_float_equal(number_of(row, "reward-sum"), 0.1 * tokens * (number_of(row, "policy-ppl") - number_of(row, "reference-ppl")), 1e-9);
            assert_float_equal(number_of(row, "reward"), number_of(row, "reward-sum") / tokens, 1e-12);
        }
        for (int rule = 0; rule < 4; rule++)
            for (int c = 0; c < 3; c++) {
                char name[64];
                int count = c == 2 ? 64 : c + 1, others = 0;
                snprintf(name, sizeof name, "%s-%d.jsonl", rules[rule], count);
                json_t *kept = kept_rows(name);
                assert_int_equal(json_array_size(kept), prompts);
                for (size_t i = 0; i < prompts; i++) {
                    const json_t *row = json_array_get(kept, i);
                    assert_string_equal(text_of(row, "id"), text_of(json_array_get(all, 3 * i), "id"));
                    for (size_t k = 0; k < 3 && k < (size_t)count; k++)
                        assert_true(number_of(row, rules[rule]) >= number_of(json_array_get(all, 3 * i + k), rules[rule]));
                    assert_true(number_of(row, "candidate") < count);
                    others += number_of(row, "candidate") > 0;
                }
                if (count == 64) assert_true(others > 0); /* else nothing was chosen */
                json_decref(kept);
            }
        json_decref(all);
        json_decref(golden);
    }
}

static void refusals(void **state) {
    (void)state;
    Error e = { 0 };
    char data[PATH_SIZE], out[PATH_SIZE];
    snprintf(data, sizeof data, "%s/none.jsonl", folder), snprintf(out, sizeof out, "%s/never", folder);
    assert_int_equal(best(golden_path(CASE, "pairs.jsonl"), "0"), 2);
    assert_int_equal(best(golden_path(CASE, "pairs.jsonl"), "1;2"), 2);
    char *argv[] = { "--policy", "tests/golden/llava15-hub/model", "--reference", "tests/golden/llava15-v5/model", "--data", "tests/golden/llava15-hub/pairs.jsonl", "--out", out,
        NULL };
    assert_int_equal(command_best(8, argv, &e), -1); /* pairs are not answers */
    assert_non_null(strstr(e.where, "text"));
    assert_int_not_equal(access(out, F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(values_and_choices, setup, folder_teardown), cmocka_unit_test_setup_teardown(refusals, setup, folder_teardown) };
    return cmocka_run_group_tests_name("best", tests, NULL, NULL);
}

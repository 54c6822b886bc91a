/* scenes_files_test.c - `rlaifv eval scenes`: numbers of answers and pairs in files by hand-counted truth, the same as the loop's own evaluation has, and
 * corrections. */
#include "tests/scratch.h"

#include "engine/commands.h"
#include "engine/eval/scenes_eval.h"
#include "engine/scenes/scenes.h"

#include <math.h>
#include <unistd.h>

static char line[2048];

/* Two scenes: a red ball and a white moon on gray; a blue box and a green tree on black. */
static void data_make(void) {
    static const char rows[] =
        "{\"id\": \"a\", \"question\": \"q\", \"truth\": {\"background\": \"gray\", \"objects\": [{\"kind\": \"ball\", \"color\": \"red\", \"size\": \"small\", \"position\": \"north\"}, "
        "{\"kind\": \"moon\", \"color\": \"white\", \"size\": \"large\", \"position\": \"southwest\"}]}}\n"
        "{\"id\": \"b\", \"question\": \"q\", \"truth\": {\"background\": \"black\", \"objects\": [{\"kind\": \"box\", \"color\": \"blue\", \"size\": \"small\", \"position\": \"east\"}, "
        "{\"kind\": \"tree\", \"color\": \"green\", \"size\": \"large\", \"position\": \"west\"}]}}\n";
    put(at(folder, "data.jsonl"), rows, sizeof rows - 1);
}

static int ran(int n, const char *const *more, Error *e) {
    char data[PATH_SIZE], out[PATH_SIZE];
    snprintf(data, sizeof data, "%s", at(folder, "data.jsonl"));
    snprintf(out, sizeof out, "%s", at(folder, "result.json"));
    char *argv[16] = { "scenes", "--data", data, "--out", out };
    int known, argc = 5;
    for (int i = 0; i < n; i++) argv[argc++] = (char *)(uintptr_t)more[i];
    *e = (Error){ 0 };
    fflush(stdout);
    return command_benchmark(argc, argv, &known, e);
}

static double measure(const char *section, const char *name) {
    json_t *top;
    assert_int_equal(json_read_object(at(folder, "result.json"), &top, NULL), 0);
    const json_t *x = json_object_get(json_object_get(json_object_get(top, "measures"), section), name);
    assert_non_null(x);
    double value = json_number_value(json_is_object(x) ? json_object_get(x, "value") : x);
    json_decref(top);
    return value;
}

static void near(double got, double wanted) {
    if (fabs(got - wanted) > 1e-9) fail_msg("%.12g, expected %.12g", got, wanted);
}

static void answers_are_counted(void **state) {
    (void)state;
    static const char answers[] = "{\"id\": \"a\", \"image\": \"a.png\", \"question\": \"q\", \"candidate\": 0, \"text\": \"There is a red ball. There is a box.\"}\n"
                                  "{\"id\": \"b\", \"text\": \"There is a green box.\"}\n"
                                  "{\"id\": \"b\", \"text\": \"There are two objects. There is a blue box. I can see a tree.\"}\n";
    Error e;
    data_make();
    put(at(folder, "answers.jsonl"), answers, sizeof answers - 1);
    char file[PATH_SIZE], fixed[PATH_SIZE];
    snprintf(file, sizeof file, "%s", at(folder, "answers.jsonl"));
    snprintf(fixed, sizeof fixed, "%s", at(folder, "pairs.jsonl"));
    const char *const with[] = { "--answers", file, "--corrections", fixed };
    if (ran(4, with, &e)) fail_msg("%s", error_text(&e, line, sizeof line));
    near(measure("all", "object_responses"), 100. / 3);
    near(measure("all", "object_mentions"), 100. / 5);
    near(measure("all", "any_false"), 200. / 3);
    near(measure("all", "false_claims"), 200. / 9); /* box; green; of 3 + 2 + 4 */
    near(measure("all", "coverage"), 400. / 6);
    near(measure("all", "words"), (9 + 5 + 14) / 3.);
    near(measure("all", "answers"), 3);

    /* as the loop's own evaluation counts them */
    Dataset set;
    ScenesTruth truth;
    TruthTally tally;
    assert_int_equal(dataset_read(&set, at(folder, "data.jsonl"), &(DataOptions){ .need = DATA_QUESTION }, &e), 0);
    assert_int_equal(scenes_truth_read(&set, &truth, &e), 0);
    assert_int_equal(scenes_eval(&truth, file, &tally, &e), 0);
    TruthRates rates = truth_rates(&tally);
    near(measure("all", "object_responses"), 100 * rates.object_responses);
    near(measure("all", "object_mentions"), 100 * rates.object_mentions);
    near(measure("all", "any_false"), 100 * rates.any_false);
    near(measure("all", "false_claims"), 100 * rates.false_claims);
    near(measure("all", "coverage"), 100 * rates.coverage);
    near(measure("all", "words"), rates.words);
    near(measure("all", "distinct"), rates.distinct);
    scenes_truth_free(&truth);
    dataset_free(&set);

    /* corrections of the two that need one, pictures and questions kept, and what they amount to as pairs */
    char *text;
    assert_int_equal(file_read(fixed, 1 << 16, &text, NULL, NULL), 0);
    assert_string_equal(text,
        "{\"id\":\"a\",\"chosen\":\"There is a red ball. There is a moon.\",\"rejected\":\"There is a red ball. There is a box.\",\"image\":\"a.png\",\"question\":\"q\"}\n"
        "{\"id\":\"b\",\"chosen\":\"There is a blue box.\",\"rejected\":\"There is a green box.\"}\n");
    free(text);
    const char *const pairs[] = { "--pairs", fixed };
    if (ran(2, pairs, &e)) fail_msg("%s", error_text(&e, line, sizeof line));
    near(measure("pairs", "agreement"), 100);
    near(measure("pairs", "answers"), 2);
}

static void pairs_are_counted(void **state) {
    (void)state;
    static const char pairs[] = "{\"id\": \"a\", \"chosen\": \"There is a ball.\", \"rejected\": \"There is a box.\"}\n"
                                "{\"id\": \"a\", \"chosen\": \"There is a box. There is a tree.\", \"rejected\": \"There is a box.\"}\n"
                                "{\"id\": \"b\", \"chosen\": \"There is a ball.\", \"rejected\": \"There is a moon.\"}\n"
                                "{\"id\": \"b\", \"chosen\": \"There is a blue box.\", \"rejected\": \"There is a red box.\"}\n";
    Error e;
    data_make();
    put(at(folder, "p.jsonl"), pairs, sizeof pairs - 1);
    char file[PATH_SIZE];
    snprintf(file, sizeof file, "%s", at(folder, "p.jsonl"));
    const char *const with[] = { "--pairs", file };
    if (ran(2, with, &e)) fail_msg("%s", error_text(&e, line, sizeof line));
    near(measure("pairs", "agreement"), 200. / 3);
    near(measure("pairs", "right"), 50);
    near(measure("pairs", "ties"), 25);
}

static void refused(const char *rows, int n, const char *const *with, const char *part) {
    Error e;
    char text[2048];
    data_make();
    put(at(folder, "answers.jsonl"), rows, strlen(rows));
    unlink(at(folder, "result.json"));
    if (!ran(n, with, &e)) fail_msg("taken: %s", rows);
    error_text(&e, text, sizeof text);
    if (!strstr(text, part)) fail_msg("\"%s\" does not say \"%s\"", text, part);
    assert_false(file_exists(at(folder, "result.json")));
    assert_false(file_exists(at(folder, "pairs.jsonl")));
}

static void bad_input_is_refused(void **state) {
    (void)state;
    char file[PATH_SIZE], fixed[PATH_SIZE];
    snprintf(file, sizeof file, "%s", at(folder, "answers.jsonl"));
    snprintf(fixed, sizeof fixed, "%s", at(folder, "pairs.jsonl"));
    const char *const with[] = { "--answers", file, "--corrections", fixed };
    refused("", 0, with, "nothing to evaluate");
    refused("", 2, with + 2, "nothing to evaluate");
    refused("{\"id\": \"a\", \"text\": \"There is a box.\"}\n", 4, with, "prompts without an answer");
    refused("{\"id\": \"x\", \"text\": \"There is a box.\"}\n", 4, with, "unknown prompt");
    refused("{\"id\": \"a\"}\n", 4, with, "text");
    const char *const pairs[] = { "--pairs", file };
    refused("{\"id\": \"a\", \"chosen\": \"x\"}\n", 2, pairs, "rejected");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(pairs_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_input_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests_name("scenes in files", tests, NULL, NULL);
}

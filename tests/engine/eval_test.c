/* Judging files of answers: against the truth of scenes, and by the labeler's labels. */
#include "tests/scratch.h"

#include "engine/eval/labeler_eval.h"
#include "engine/eval/scenes_eval.h"

static const char *file(const char *name, const char *text) {
    const char *path = at(folder, name);
    put(path, text, strlen(text));
    return path;
}

/* Two answers to a: five claims (exists, colour, size, place, background) with one rejected; none. One to b: asked, image refused. */
static const char candidates[] =
    "{\"id\":\"a\",\"candidate\":0,\"text\":\"There is a small red ball in the north. The background is gray.\"}\n"
    "{\"id\":\"a\",\"candidate\":1,\"text\":\"\"}\n"
    "{\"id\":\"b\",\"candidate\":0,\"text\":\"There is a box.\"}\n";
#define YES(Q) "{\"question\":\"" Q "\",\"p_yes\":0.9,\"p_no\":0.1,\"accepted\":true}"
#define NO(Q) "{\"question\":\"" Q "\",\"p_yes\":0.1,\"p_no\":0.9,\"accepted\":false}"
static const char labels[] =
    "{\"id\":\"a\",\"candidate\":0,\"probes\":[" YES("Is there a ball?") "," YES("Is the ball small?") "," NO("Is the ball red?") "," YES(
        "Is the ball in the north?") "," YES("Is the background gray?") "],\"score\":-1}\n"
                                                                        "{\"id\":\"a\",\"candidate\":1,\"probes\":[],\"score\":null}\n"
                                                                        "{\"id\":\"b\",\"candidate\":0,\"probes\":[" NO(
                                                                            "Is there a box?") "],\"score\":null}\n";

static void rates_of_labels(void **state) {
    (void)state;
    LabelerRates r;
    const char *c = file("c.jsonl", candidates), *l = file("l.jsonl", labels);
    assert_int_equal(labeler_eval(c, l, &r, NULL), 0);
    assert_int_equal(r.answers, 2);
    assert_int_equal(r.refused, 1);
    assert_true(r.rejections == 0.5);
    assert_true(r.any == 0.5);
    assert_true(r.accepted == 2);
    assert_true(r.objects == 0.5);
    assert_true(r.words == 13 / 2.0);
}

static void rows_that_do_not_match(void **state) {
    (void)state;
    LabelerRates r;
    Error e = { 0 };
    const char *c = file("c.jsonl", candidates), *l = file("l.jsonl", "{\"id\":\"a\",\"candidate\":1,\"probes\":[],\"score\":null}\n");
    assert_int_equal(labeler_eval(c, l, &r, &e), -1);
    error_says(&e, "rows do not match");
    error_says(&e, "l.jsonl:1");
    l = file("l.jsonl", "{\"id\":\"a\",\"candidate\":0,\"probes\":[],\"score\":null}\n");
    assert_int_equal(labeler_eval(c, l, &r, &e), -1);
    error_says(&e, "the end of the file");
    l = file("l.jsonl", "{\"id\":\"a\",\"candidate\":0,\"probes\":3,\"score\":null}\n");
    assert_int_equal(labeler_eval(c, l, &r, &e), -1);
    error_says(&e, "\"probes\"");
}

static const char truth_row[] = "{\"id\":\"a\",\"question\":\"q\",\"truth\":{\"background\":\"gray\",\"objects\":["
                                "{\"kind\":\"ball\",\"color\":\"blue\",\"size\":\"small\",\"position\":\"north\"},"
                                "{\"kind\":\"cone\",\"color\":\"red\",\"size\":\"large\",\"position\":\"south\"}]}}\n";

static void answers_against_truth(void **state) {
    (void)state;
    Dataset set;
    ScenesTruth truth;
    TruthTally tally;
    DataOptions options = { .need = DATA_QUESTION };
    Error e = { 0 };
    assert_int_equal(dataset_read(&set, file("d.jsonl", truth_row), &options, &e), 0);
    assert_int_equal(scenes_truth_read(&set, &truth, &e), 0);
    assert_non_null(scenes_truth_find(&truth, "a"));
    assert_null(scenes_truth_find(&truth, "b"));
    assert_int_equal(
        scenes_eval(&truth, file("c.jsonl", "{\"id\":\"a\",\"text\":\"There is a small red ball in the north.\"}\n"), &tally, &e), 0);
    assert_int_equal(tally.answers, 1);
    assert_int_equal(tally.claims, 4);
    assert_int_equal(tally.false_claims, 1);
    assert_int_equal(tally.present, 2);
    assert_int_equal(tally.covered, 1);
    assert_int_equal(scenes_eval(&truth, file("c.jsonl", "{\"id\":\"b\",\"text\":\"\"}\n"), &tally, &e), -1);
    error_says(&e, "unknown prompt");
    assert_int_equal(scenes_eval(&truth, file("c.jsonl", ""), &tally, &e), -1);
    error_says(&e, "no answers");
    scenes_truth_free(&truth);
    dataset_free(&set);
}

static void rows_without_truth(void **state) {
    (void)state;
    Dataset set;
    ScenesTruth truth;
    DataOptions options = { .need = DATA_QUESTION };
    Error e = { 0 };
    assert_int_equal(dataset_read(&set, file("d.jsonl", "\n{\"id\":\"a\",\"question\":\"q\"}\n"), &options, &e), 0);
    assert_int_equal(scenes_truth_read(&set, &truth, &e), -1);
    error_says(&e, "no truth");
    error_says(&e, "d.jsonl:2");
    dataset_free(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rates_of_labels, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_that_do_not_match, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_against_truth, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_without_truth, setup, teardown),
    };
    return cmocka_run_group_tests_name("eval", tests, NULL, NULL);
}

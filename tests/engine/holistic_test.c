/* holistic_test.c - whole answers asked about: one claim each, the labeler's confidence for a score in either unit, pairs by that score. */
#include "tests/engine/own_folder.h"

#include "engine/arrows.h"
#include "engine/claim_replies.h"
#include "engine/label.h"
#include "engine/pairs.h"

#include <math.h>
#include <stdlib.h>

static const char *const CASE = "llava15-hub";

static const char *const texts[] = { "There is a red cat in the room.", "...", "A dog. A tree. {question}",
    "There is a red cat in the room." };
enum { ANSWERS = 4 };

static int setup(void **state) {
    (void)state;
    if (folder_open()) return -1;
    FILE *f = fopen(at("answers.jsonl"), "w");
    if (!f) return -1;
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < ANSWERS; i++)
            if (jsonl_write(f,
                    json_pack("{s:o, s:s, s:s, s:i, s:s}", "id", json_sprintf("p%d", p), "image",
                        golden_path(CASE, p ? "images/1.png" : "images/0.png"), "question", "What is it?", "candidate", i, "text",
                        texts[i]),
                    NULL))
                return -1;
    return fclose(f);
}
static RunConfig *config_new(void) {
    RunConfig *c = calloc(1, sizeof *c);
    assert_non_null(c);
    config_defaults(c);
    c->label.mode = LABEL_HOLISTIC;
    c->pair.balance_length = BALANCE_OFF;
    return c;
}

static void one_claim_an_answer(void **state) {
    (void)state;
    RunConfig *c = config_new();
    ClaimCounts n;
    Error e = { 0 };
    c->claims.mode = CLAIM_BY_MODEL; /* says nothing here */
    assert_false(claims_by_model(c));
    assert_string_equal(claims_settings(c), "label.mode");
    if (arrow_claims(c, at("answers.jsonl"), at("claims.jsonl"), &n, &e)) fail_with(&e);
    assert_int_equal(n.answers, 8);
    assert_int_equal(n.without, 2);
    assert_int_equal(n.claims, 6);
    json_t *rows = rows_of(at("claims.jsonl"));
    for (size_t i = 0; i < 8; i++) {
        const json_t *claims = json_object_get(json_array_get(rows, i), "claims"), *claim = json_array_get(claims, 0);
        assert_int_equal(json_array_size(claims), i % ANSWERS != 1);
        if (!claim) continue;
        assert_string_equal(text_of(claim, "claim"), texts[i % ANSWERS]);
        const char *question = text_of(claim, "question"), *asked = strstr(question, "Question: What is it?"),
                   *answer = strstr(question, texts[i % ANSWERS]);
        assert_true(asked && answer && asked < answer);
        assert_int_equal(question[strlen(question) - 1], '?');
        assert_null(strstr(question, "{answer}"));
    }
    json_decref(rows);
    free(c);
}

/* The probability that the labeler itself gives to a row's question. */
static ProbeResult asked(Vlm *v, const json_t *candidate, const char *question) {
    Error e = { 0 };
    Prompt p;
    ProbeResult r;
    int words[PROBE_WORDS];
    char *text;
    assert_true(asprintf(&text, "%s%s", question, claim_probe_ending) > 0);
    if (probe_word_ids(v, words, &e) || vlm_prompt(v, text_of(candidate, "image"), text, &p, &e) ||
        label_probes(v, words, &p, 1, 0, &r, NULL, NULL, &e))
        fail_with(&e);
    prompt_free(&p);
    free(text);
    return r;
}

static void confidence_is_the_score(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    LabelCounts n[2];
    PairCounts pairs;
    ClaimCounts split;
    RunConfig *c = config_new();
    golden_open(&v, CASE, FP32);
    if (arrow_claims(c, at("answers.jsonl"), at("claims.jsonl"), &split, &e)) fail_with(&e);
    if (arrow_label(NULL, &v, c, at("answers.jsonl"), at("claims.jsonl"), at("odds.jsonl"), &n[0], NULL, &e)) fail_with(&e);
    c->label.score = SCORE_P_YES;
    if (arrow_label(NULL, &v, c, at("answers.jsonl"), at("claims.jsonl"), at("share.jsonl"), &n[1], NULL, &e)) fail_with(&e);
    json_t *answers = rows_of(at("answers.jsonl")), *claims = rows_of(at("claims.jsonl")), *odds = rows_of(at("odds.jsonl")),
           *share = rows_of(at("share.jsonl"));
    double score[8], sum = 0;
    for (size_t i = 0; i < 8; i++) {
        const json_t *a = json_object_get(json_array_get(odds, i), "score"), *b = json_object_get(json_array_get(share, i), "score");
        if (i % ANSWERS == 1) {
            assert_true(json_is_null(a) && json_is_null(b));
            continue;
        }
        ProbeResult r = asked(
            &v, json_array_get(answers, i), text_of(json_array_get(json_object_get(json_array_get(claims, i), "claims"), 0), "question"));
        score[i] = json_real_value(a);
        sum += score[i];
        assert_true(fabs(score[i] - log(r.p_yes / r.p_no)) < 1e-4);
        assert_true(fabs(json_real_value(b) - r.p_yes / (r.p_yes + r.p_no)) < 1e-5);
        assert_int_equal(
            json_is_true(json_object_get(json_array_get(json_object_get(json_array_get(odds, i), "probes"), 0), "accepted")), score[i] > 0);
    }
    for (int k = 0; k < 2; k++) assert_true(n[k].answers == 8 && n[k].unscored == 2 && n[k].probes == 6);
    assert_true(fabs(n[0].score - sum) < 1e-9);
    /* the gap is in the score's units: answers 0 and 2 may be paired just below it, and not above */
    double gap = fmin(fabs(score[0] - score[2]), fabs(score[4] - score[6]));
    assert_true(gap > 0);
    c->pair.min_gap = gap * .999;
    if (pairs_write(c, at("answers.jsonl"), at("odds.jsonl"), at("pairs.jsonl"), 1, &pairs, &e)) fail_with(&e);
    assert_int_equal(pairs.kept, 2);
    json_t *kept = rows_of(at("pairs.jsonl"));
    for (size_t p = 0; p < 2; p++) {
        const json_t *row = json_array_get(kept, p);
        assert_string_equal(text_of(row, "chosen"), texts[score[4 * p] > score[4 * p + 2] ? 0 : 2]);
        assert_true(json_number_value(json_object_get(row, "chosen_score")) > json_number_value(json_object_get(row, "rejected_score")));
    }
    c->pair.min_gap = gap * 1.001;
    if (pairs_write(c, at("answers.jsonl"), at("odds.jsonl"), at("pairs.jsonl"), 1, &pairs, &e)) fail_with(&e);
    assert_true(pairs.kept < 2);
    json_decref(kept), json_decref(answers), json_decref(claims), json_decref(odds), json_decref(share);
    vlm_close(&v);
    free(c);
}

static void prompts_that_ask_nothing(void **state) {
    (void)state;
    static const char *const bad[] = { "Is it true?", "{answer} {answer}?", "{answer} {question} {question}?" };
    RunConfig *c = config_new();
    ClaimCounts n;
    snprintf(c->label.prompt, sizeof c->label.prompt, "%s", at("own.txt"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Error e = { 0 };
        assert_int_equal(file_write(c->label.prompt, bad[i], strlen(bad[i]), NULL), 0);
        assert_int_equal(arrow_claims(c, at("answers.jsonl"), at("no.jsonl"), &n, &e), -1);
        assert_string_equal(e.what, "not a prompt for claims");
        assert_false(file_exists(at("no.jsonl")));
    }
    Error e = { 0 };
    assert_int_equal(file_write(c->label.prompt, "Right: {answer}?\n", 17, NULL), 0);
    if (arrow_claims(c, at("answers.jsonl"), at("own.jsonl"), &n, &e)) fail_with(&e);
    json_t *rows = rows_of(at("own.jsonl"));
    assert_string_equal(
        text_of(json_array_get(json_object_get(json_array_get(rows, 2), "claims"), 0), "question"), "Right: A dog. A tree. {question}?");
    json_decref(rows);
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(one_claim_an_answer), cmocka_unit_test(confidence_is_the_score),
        cmocka_unit_test(prompts_that_ask_nothing) };
    return cmocka_run_group_tests_name("holistic", tests, setup, folder_teardown);
}

/* score_test.c - log-probs of given answers against the golden cases, and their independence of how steps are packed. */
#include "tests/engine/golden_case.h"

#include "engine/score.h"

#include <math.h>
#include <stdlib.h>

enum { MOST = 16 };

typedef struct Rows {
    Vlm v;
    json_t *pairs, *expect;
    char paths[MOST][PATH_SIZE];
    Prompt prompts[MOST];
    IdList answers[2 * MOST];
    ScoreItem items[MOST];
    size_t n;
} Rows;

static const char *const sides[] = { "chosen", "rejected" };

static void rows_open(Rows *r, const char *name) {
    Error e = { 0 };
    memset(r, 0, sizeof *r);
    golden_open(&r->v, name, FP32);
    r->pairs = golden_rows(name, "pairs.jsonl");
    r->expect = golden_rows(name, "expect/score.jsonl");
    r->n = json_array_size(r->expect);
    assert_in_range(r->n, 1, MOST);
    for (size_t i = 0; i < r->n; i++) {
        json_t *row = json_array_get(r->pairs, i);
        golden_prompt(&r->v, name, row, r->paths[i], &r->prompts[i]);
        for (int s = 0; s < 2; s++)
            if (template_answer(r->v.chat, text_of(row, sides[s]), 1, &r->answers[2 * i + (size_t)s], &e)) fail_with(&e);
        r->items[i] = (ScoreItem){ &r->prompts[i], &r->answers[2 * i], 2 };
    }
}

static void rows_close(Rows *r) {
    for (size_t i = 0; i < r->n; i++) {
        prompt_free(&r->prompts[i]);
        idlist_free(&r->answers[2 * i]);
        idlist_free(&r->answers[2 * i + 1]);
    }
    json_decref(r->pairs);
    json_decref(r->expect);
    vlm_close(&r->v);
}

static void golden(void **state) {
    (void)state;
    for (int c = 0; c < GOLDEN_CASES; c++) {
        Rows r;
        Error e = { 0 };
        AnswerScore *scores;
        double worst = 0;
        rows_open(&r, golden_cases[c]);
        if (score_answers(&r.v, r.items, r.n, 0, &scores, NULL, NULL, &e)) fail_with(&e);
        for (size_t i = 0; i < r.n; i++)
            for (int s = 0; s < 2; s++) {
                const json_t *want = json_object_get(json_array_get(r.expect, i), sides[s]), *logps = json_object_get(want, "logps");
                const AnswerScore *got = &scores[2 * i + (size_t)s];
                assert_int_equal(got->tokens, json_array_size(logps));
                for (int t = 0; t < got->tokens; t++) {
                    double off = fabs(got->logps[t] - json_number_value(json_array_get(logps, (size_t)t)));
                    worst = off > worst ? off : worst;
                }
                assert_true(fabs(got->sum - json_number_value(json_object_get(want, "sum"))) < 5e-5 * got->tokens);
            }
        printf("%s: largest difference of a log-prob %.2g\n", golden_cases[c], worst);
        assert_true(worst < 5e-5);
        scores_free(scores, 2 * r.n);
        rows_close(&r);
    }
}

/* One item a step, everything in one step, and each answer alone agree. */
static void packing(void **state) {
    (void)state;
    Rows r;
    Error e = { 0 };
    AnswerScore *together, *apart;
    rows_open(&r, "llava15-v5");
    if (score_answers(&r.v, r.items, r.n, 1 << 20, &together, NULL, NULL, &e)) fail_with(&e);
    int64_t steps = r.v.work.steps, rows = r.v.work.tokens;
    assert_int_equal(steps, 1);
    if (score_answers(&r.v, r.items, r.n, 1, &apart, NULL, NULL, &e)) fail_with(&e);
    assert_int_equal(r.v.work.steps - steps, r.n);
    assert_true(r.v.work.tokens - rows > rows); /* what is shared is computed once */
    for (size_t a = 0; a < 2 * r.n; a++) {
        AnswerScore *alone;
        ScoreItem item = { &r.prompts[a / 2], &r.answers[a], 1 };
        if (score_answers(&r.v, &item, 1, 0, &alone, NULL, NULL, &e)) fail_with(&e);
        for (int t = 0; t < together[a].tokens; t++) {
            assert_true(fabsf(together[a].logps[t] - apart[a].logps[t]) < 1e-5f);
            assert_true(fabsf(together[a].logps[t] - alone->logps[t]) < 1e-5f);
        }
        scores_free(alone, 1);
    }
    scores_free(together, 2 * r.n);
    scores_free(apart, 2 * r.n);
    rows_close(&r);
}

typedef struct Refused {
    size_t item;
    int n;
    Error why;
} Refused;
static int note(void *context, size_t item, const Error *why, Error *e) {
    (void)e;
    Refused *r = context;
    r->item = item;
    r->n++;
    r->why = *why;
    return 0;
}

static void refusals(void **state) {
    (void)state;
    Rows r;
    Error e = { 0 };
    AnswerScore *scores, *clean;
    Refused seen = { 0 };
    rows_open(&r, "llava15-hub");
    if (score_answers(&r.v, r.items, 3, 0, &clean, NULL, NULL, &e)) fail_with(&e);
    Prompt broken = { .image.path = "/nonexistent.png", .tail = r.prompts[1].tail };
    ScoreItem items[3] = { r.items[0], { &broken, &r.answers[2], 2 }, r.items[2] };
    assert_int_equal(score_answers(&r.v, items, 3, 0, &scores, NULL, NULL, &e), -1);
    assert_string_equal(e.what, "no such image");
    if (score_answers(&r.v, items, 3, 0, &scores, &(Refusals){ &seen, note }, NULL, &e)) fail_with(&e);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.item, 1);
    assert_null(scores[2].logps);
    assert_int_equal(scores[3].tokens, 0);
    assert_true(fabs(scores[4].sum - clean[4].sum) < 1e-4 && fabs(scores[1].sum - clean[1].sum) < 1e-4);
    scores_free(scores, 6);
    scores_free(clean, 6);

    IdList empty = { 0 };
    ScoreItem nothing = { &r.prompts[0], &empty, 1 };
    assert_int_equal(score_answers(&r.v, &nothing, 1, 0, &scores, NULL, NULL, &e), -1);
    assert_string_equal(e.what, "an empty answer cannot be scored");
    IdList endless = { 0 };
    for (int i = 0; i < r.v.model.config.decoder.positions; i++) assert_int_equal(idlist_append(&endless, &r.v.ends.ids[0], 1, &e), 0);
    ScoreItem longer = { &r.prompts[0], &endless, 1 };
    assert_int_equal(score_answers(&r.v, &longer, 1, 0, &scores, NULL, NULL, &e), -1);
    assert_string_equal(e.what, "answer too long");
    rows_close(&r);

    /* A window that bounds the positions is named wherever they end. */
    rows_open(&r, "text-mistral");
    const DecoderConfig *d = &r.v.model.config.decoder;
    const char *why = "sliding window of 128 positions";
    char text[2048], *question = malloc(2000);
    Prompt prompt;
    assert_int_equal(d->window + d->positions, 256); /* of 512 that config.json says */
    ScoreItem beyond = { &r.prompts[0], &endless, 1 };
    assert_int_equal(score_answers(&r.v, &beyond, 1, 0, &scores, NULL, NULL, &e), -1);
    assert_string_equal(e.what, "answer too long");
    assert_non_null(strstr(error_text(&e, text, sizeof text), why));
    idlist_free(&endless);
    memset(question, 'x', 1999), question[1999] = 0;
    assert_int_equal(vlm_prompt(&r.v, NULL, question, &prompt, &e), -1);
    assert_string_equal(e.what, "prompt too long");
    assert_non_null(strstr(error_text(&e, text, sizeof text), why));
    Forest f = { 0 };
    int ids[129] = { 0 }, segment = forest_segment(&f, -1, 129, &e);
    if (segment < 0 || forest_extend(&f, segment, ids, 129, &e) || forest_want(&f, segment, &e)) fail_with(&e);
    assert_int_equal(model_forward(&r.v.model, &f, BUF_NONE, STEP_SCORE, &e), -1);
    assert_non_null(strstr(error_text(&e, text, sizeof text), "position 128"));
    assert_non_null(strstr(text, why));
    forest_free(&f);
    free(question);
    rows_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
        cmocka_unit_test(packing),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("score", tests, NULL, NULL);
}

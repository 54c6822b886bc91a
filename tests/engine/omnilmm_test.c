/* omnilmm_test.c - OmniLMM through the engine, by ids: log-probs and greedy answers of the golden case, whose images are squashed to the
 * tower's square and take as many rows as the resampler has queries. */
#include "tests/engine/golden_case.h"

#include "engine/sample.h"
#include "engine/score.h"

#include <math.h>
#include <stdlib.h>

static const char name[] = "omnilmm";
enum { MOST = 16, IM_PATCH = 476 };

typedef struct Rows {
    Vlm v;
    json_t *list;
    char paths[MOST][PATH_SIZE];
    Prompt prompts[MOST];
    size_t n;
} Rows;

static void ids_append(IdList *out, const json_t *list, size_t from, size_t end) {
    Error e = { 0 };
    for (size_t i = from; i < end; i++) {
        int id = (int)json_integer_value(json_array_get(list, i));
        if (idlist_append(out, &id, 1, &e)) fail_with(&e);
    }
}

/* The model, driven by ids: what stands before the image is the same in all prompts. `ids_of`: where a row has its prompt's. */
static void rows_open(Rows *r, const char *file, const json_t *(*ids_of)(const json_t *row)) {
    Error e = { 0 };
    memset(r, 0, sizeof *r);
    const Kernels *k = kernels_open("cpu", 0, &e);
    if (!k || vlm_open_ids(&r->v, k, golden_path(name, "model"), FP32, &e)) fail_with(&e);
    if (idlist_append(&r->v.ends, &(int){ 2 }, 1, &e)) fail_with(&e);
    for (int id = 0; id < r->v.model.config.decoder.vocab; id++) r->v.emit[id] = id < IM_PATCH;
    r->list = golden_rows(name, file);
    r->n = json_array_size(r->list);
    assert_in_range(r->n, 1, MOST);
    for (size_t i = 0; i < r->n; i++) {
        const json_t *row = json_array_get(r->list, i), *ids = ids_of(row);
        size_t head = 0, rows = (size_t)r->v.model.config.image_tokens;
        while (json_integer_value(json_array_get(ids, head)) != IM_PATCH) head++;
        if (i == 0) {
            r->v.head.count = 0;
            ids_append(&r->v.head, ids, 0, head);
        }
        assert_int_equal(head, r->v.head.count);
        snprintf(r->paths[i], PATH_SIZE, "%s", golden_path(name, text_of(row, "image")));
        r->prompts[i].image.path = r->paths[i];
        ids_append(&r->prompts[i].tail, ids, head + rows, json_array_size(ids));
        assert_int_equal(prompt_tokens(&r->v, &r->prompts[i]), json_array_size(ids));
    }
}

static void rows_close(Rows *r) {
    for (size_t i = 0; i < r->n; i++) prompt_free(&r->prompts[i]);
    json_decref(r->list);
    vlm_close(&r->v);
}

static const json_t *scored_ids(const json_t *row) { return json_object_get(json_object_get(row, "chosen"), "prompt_ids"); }
static const json_t *asked_ids(const json_t *row) { return json_object_get(row, "prompt_ids"); }

static void scores(void **state) {
    (void)state;
    static const char *const sides[] = { "chosen", "rejected" };
    Rows r;
    Error e = { 0 };
    IdList answers[2 * MOST] = { 0 };
    ScoreItem items[MOST];
    AnswerScore *got;
    rows_open(&r, "expect/score.jsonl", scored_ids);
    for (size_t i = 0; i < r.n; i++) {
        for (size_t s = 0; s < 2; s++) {
            const json_t *ids = json_object_get(json_object_get(json_array_get(r.list, i), sides[s]), "response_ids");
            ids_append(&answers[2 * i + s], ids, 0, json_array_size(ids));
        }
        items[i] = (ScoreItem){ &r.prompts[i], &answers[2 * i], 2 };
    }
    if (score_answers(&r.v, items, r.n, 0, &got, NULL, NULL, &e)) fail_with(&e);
    double worst = 0;
    for (size_t i = 0; i < r.n; i++)
        for (size_t s = 0; s < 2; s++) {
            const json_t *logps = json_object_get(json_object_get(json_array_get(r.list, i), sides[s]), "logps");
            assert_int_equal(got[2 * i + s].tokens, json_array_size(logps));
            for (int t = 0; t < got[2 * i + s].tokens; t++)
                worst = fmax(worst, fabs(got[2 * i + s].logps[t] - json_number_value(json_array_get(logps, (size_t)t))));
        }
    printf("%s: largest difference of a log-prob %.2g\n", name, worst);
    assert_true(worst < 5e-5);
    scores_free(got, 2 * r.n);
    for (size_t i = 0; i < 2 * r.n; i++) idlist_free(&answers[i]);
    rows_close(&r);
}

static void greedy(void **state) {
    (void)state;
    Rows r;
    Error e = { 0 };
    Candidate *got;
    int compared = 0;
    rows_open(&r, "expect/greedy.jsonl", asked_ids);
    SampleConfig config = { .n = 1, .temperature = 0, .top_p = 1, .max_new_tokens = 16 };
    if (sample_all(&r.v, r.prompts, r.n, &config, &got, NULL, NULL, &e)) fail_with(&e);
    for (size_t i = 0; i < r.n; i++) {
        const json_t *row = json_array_get(r.list, i), *ids = json_object_get(row, "greedy_ids");
        if (json_number_value(json_object_get(row, "min_gap")) < 1e-3) continue; /* another rounding may choose otherwise */
        compared++;
        assert_int_equal(got[i].ids.count, json_array_size(ids));
        for (size_t t = 0; t < got[i].ids.count; t++) assert_int_equal(got[i].ids.ids[t], json_integer_value(json_array_get(ids, t)));
    }
    assert_true(compared >= (int)r.n - 1);
    candidates_free(got, r.n);
    rows_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(scores), cmocka_unit_test(greedy) };
    return cmocka_run_group_tests_name("omnilmm in the engine", tests, NULL, NULL);
}

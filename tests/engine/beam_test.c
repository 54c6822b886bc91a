/* beam_test.c - search with beams: against all answers there are where so many beams follow them all, against Transformers' answers to the prompts of golden
 * cases (make_beams.py), full forward passes over the same ids, other batches, limits. */
#include "tests/engine/golden_case.h"

#include "engine/beam.h"
#include "engine/sample.h"
#include "engine/score.h"

#include <math.h>
#include <stdlib.h>

/* ---- all answers there are ---- */

enum { END = 2, TOKENS = 3, LENGTH = 3, ANSWERS = 15 };

static int ends_here(const void *context, int id) {
    (void)context;
    return id == END;
}

/* The model of this test: a token's log-prob hangs on the tokens before it. */
static double token_logp(const int *before, int n, int id) {
    double z = 0, l[TOKENS], mixed = 3;
    for (int i = 0; i < n; i++) mixed = mixed * 2 + before[i];
    for (int t = 0; t < TOKENS; t++) z += exp(l[t] = 2 * sin(mixed * (t + 2)));
    return l[id] - log(z);
}

typedef struct Answer {
    int ids[LENGTH], n;
    double mean;
} Answer;

static int higher(const void *a, const void *b) {
    double x = ((const Answer *)a)->mean, y = ((const Answer *)b)->mean;
    return (x < y) - (x > y);
}

static void all_answers(Answer *out, int *count, Answer so_far, double logp) {
    for (int id = 0; id < TOKENS; id++) {
        Answer a = so_far;
        double sum = logp + token_logp(a.ids, a.n, id);
        a.ids[a.n++] = id;
        a.mean = sum / a.n;
        if (id == END || a.n == LENGTH) out[(*count)++] = a;
        else all_answers(out, count, a, sum);
    }
}

/* The tokens behind every beam, best first, in rows of `n`. */
static void tokens_best(const BeamSearch *s, int *ids, float *logps, int n) {
    for (int b = 0; b < beams_rows(s); b++) {
        const Beam *beam = &s->beams[b];
        int order[TOKENS];
        double p[TOKENS];
        for (int id = 0; id < TOKENS; id++) {
            int at = id;
            p[id] = token_logp(beam->ids.ids, (int)beam->ids.count, id);
            for (; at > 0 && p[order[at - 1]] < p[id]; at--) order[at] = order[at - 1];
            order[at] = id;
        }
        for (int j = 0; j < n; j++) {
            ids[b * n + j] = j < TOKENS ? order[j] : -1;
            logps[b * n + j] = j < TOKENS ? (float)p[order[j]] : -INFINITY;
        }
    }
}

/* The score that such an answer has. */
static double score_of(const Answer *all, const IdList *ids) {
    for (int i = 0; i < ANSWERS; i++)
        if (all[i].n == (int)ids->count && !memcmp(all[i].ids, ids->ids, ids->count * sizeof *ids->ids)) return all[i].mean;
    fail_msg("an answer that there is not");
    return 0;
}

static void finds_all(void **state) {
    (void)state;
    Answer all[ANSWERS + 1];
    int count = 0, ids[BEAMS_MOST * 2 * BEAMS_MOST];
    float logps[BEAMS_MOST * 2 * BEAMS_MOST];
    BeamSearch s;
    Error e = { 0 };
    all_answers(all, &count, (Answer){ .n = 0 }, 0);
    assert_int_equal(count, ANSWERS);
    qsort(all, ANSWERS, sizeof *all, higher);
    for (int width = 1; width <= BEAMS_MOST; width++) {
        int steps = 0, n = beams_tokens(width, 1);
        for (beams_begin(&s, width, LENGTH); !s.done; steps++) {
            tokens_best(&s, ids, logps, n);
            if (beams_step(&s, ids, logps, n, ends_here, NULL, &e)) fail_with(&e);
            assert_true(s.n <= width && s.ended_n <= width);
            for (int i = 1; i < s.n; i++) assert_true(s.beams[i].logp <= s.beams[i - 1].logp);
        }
        assert_in_range(steps, 1, LENGTH);
        assert_int_equal(s.ended_n, width < ANSWERS ? width : ANSWERS);
        for (int i = 0; i < s.ended_n; i++) {
            const Beam *b = &s.ended[i];
            assert_true(i == 0 || beam_score(b) <= beam_score(b - 1));
            assert_int_equal(b->finished, b->ids.ids[b->ids.count - 1] == END);
            assert_true(fabs(beam_score(b) - score_of(all, &b->ids)) < 1e-6);
            if (width == BEAMS_MOST) assert_true(fabs(beam_score(b) - all[i].mean) < 1e-6); /* none is dropped: each answer in its place */
        }
        beams_free(&s);
    }
}

/* ---- the model's ---- */

static int same_ids(const IdList *ids, const json_t *want) {
    int same = ids->count == json_array_size(want);
    for (size_t t = 0; same && t < ids->count; t++) same = ids->ids[t] == json_integer_value(json_array_get(want, t));
    return same;
}

typedef struct Asked {
    Vlm v;
    json_t *rows;
    size_t n;
    char (*paths)[PATH_SIZE];
    Prompt *list;
} Asked;

/* The rows of a case with so many beams and tokens. */
static void asked_open(Asked *a, const char *name, int beams, int most) {
    json_t *all = rows_of("tests/golden/beams.jsonl"), *row;
    size_t i;
    memset(a, 0, sizeof *a);
    golden_open(&a->v, name, FP32);
    a->rows = json_array();
    json_array_foreach(all, i, row) {
        if (strcmp(text_of(row, "case"), name) || json_integer_value(json_object_get(row, "beams")) != beams) continue;
        if (json_integer_value(json_object_get(row, "max_new_tokens")) == most) json_array_append(a->rows, row);
    }
    json_decref(all);
    a->n = json_array_size(a->rows);
    assert_true(a->n > 0);
    a->paths = calloc(a->n, sizeof *a->paths);
    a->list = calloc(a->n, sizeof *a->list);
    assert_true(a->paths && a->list);
    for (i = 0; i < a->n; i++) golden_prompt(&a->v, name, json_array_get(a->rows, i), a->paths[i], &a->list[i]);
}

static void asked_close(Asked *a) {
    for (size_t i = 0; i < a->n; i++) prompt_free(&a->list[i]);
    free(a->list);
    free(a->paths);
    json_decref(a->rows);
    vlm_close(&a->v);
}

static const char *const cases[] = { "llava15-v5", "text-mistral", "text-llama3", "text-qwen2" };
static const struct {
    int beams, n, most;
} searches[] = { { 2, 1, 16 }, { 3, 3, 16 }, { 5, 2, 9 }, { 3, 1, 1 } };

static SampleConfig config_of(int search, int leaves) {
    return (SampleConfig){ .n = searches[search].n, .top_p = 1, .max_new_tokens = searches[search].most, .leaves = leaves, .beams = searches[search].beams };
}

/* Ids and scores are Transformers'; sums of log-probs those of a forward pass. The prompts four times over: all at once, one after another, and some at once, so
 * that searches begin beside others that have come far. */
static void golden_beams(void **state) {
    (void)state;
    for (int c = 0; c < 4; c++)
        for (int s = 0; s < 4; s++)
            for (int way = 0; way < 3; way++) {
                Asked a;
                Error e = { 0 };
                Candidate *got;
                size_t n = (size_t)searches[s].n;
                asked_open(&a, cases[c], searches[s].beams, searches[s].most);
                SampleConfig config = config_of(s, way == 0 ? 0 : way == 1 ? 1 : 2 * searches[s].beams + 1);
                Prompt *list = calloc(4 * a.n, sizeof *list);
                assert_non_null(list);
                for (size_t i = 0; i < 4 * a.n; i++) list[i] = a.list[i % a.n];
                if (sample_all(&a.v, list, 4 * a.n, &config, &got, NULL, NULL, &e)) fail_with(&e);
                for (size_t i = 0; i < 4 * a.n; i++) {
                    const json_t *answers = json_object_get(json_array_get(a.rows, i % a.n), "answers");
                    assert_int_equal(json_array_size(answers), n);
                    for (size_t j = 0; j < n; j++) {
                        const Candidate *x = &got[i * n + j];
                        const json_t *want = json_array_get(answers, j);
                        if (!same_ids(&x->ids, json_object_get(want, "ids"))) fail_msg("%s, %d beams, prompt %zu: another answer %zu", cases[c], searches[s].beams, i, j);
                        assert_true(fabs(x->logp / (double)x->ids.count - json_number_value(json_object_get(want, "score"))) < 2e-5);
                        assert_int_equal(x->finished, vlm_ends(&a.v, x->ids.ids[x->ids.count - 1]));
                        AnswerScore *scores;
                        ScoreItem item = { &list[i], (IdList *)(uintptr_t)&x->ids, 1 };
                        if (score_answers(&a.v, &item, 1, 0, &scores, NULL, NULL, &e)) fail_with(&e);
                        assert_true(fabs(scores->sum - x->logp) < 1e-5 * scores->tokens);
                        scores_free(scores, 1);
                    }
                }
                candidates_free(got, 4 * a.n * n);
                free(list);
                asked_close(&a);
            }
}

static void limits_and_refusals(void **state) {
    (void)state;
    Asked a;
    Error e = { 0 };
    Candidate *got, *whole;
    asked_open(&a, "llava15-v5", 3, 16);
    SampleConfig config = config_of(1, 0);
    if (sample_all(&a.v, a.list, a.n, &config, &whole, NULL, NULL, &e)) fail_with(&e);

    int refused = 0; /* the others' answers are what they were */
    Prompt list[3] = { a.list[0], { .image.path = "/nonexistent.png", .tail = a.list[1].tail }, a.list[2] };
    assert_int_equal(sample_all(&a.v, list, 3, &config, &got, NULL, NULL, &e), -1);
    assert_string_equal(e.what, "no such image");
    if (sample_all(&a.v, list, 3, &config, &got, &(Refusals){ &refused, second_refused }, NULL, &e)) fail_with(&e);
    assert_int_equal(refused, 1);
    for (size_t i = 0; i < 9; i++) {
        const IdList *ids = &got[i].ids, *before = &whole[i].ids;
        if (i >= 3 && i < 6) assert_int_equal(ids->count, 0);
        else assert_true(ids->count == before->count && !memcmp(ids->ids, before->ids, ids->count * sizeof *ids->ids));
    }
    candidates_free(got, 9);

    /* text beside images */
    Prompt mixed[3] = { a.list[0], a.list[0], a.list[1] };
    if (vlm_prompt(&a.v, NULL, "What is red?", &mixed[1], &e)) fail_with(&e);
    if (sample_all(&a.v, mixed, 3, &config, &got, NULL, NULL, &e)) fail_with(&e);
    for (size_t i = 0; i < 9; i++) assert_true(got[i].ids.count > 0);
    assert_memory_equal(got[0].ids.ids, whole[0].ids.ids, whole[0].ids.count * sizeof(int));
    assert_memory_equal(got[6].ids.ids, whole[3].ids.ids, whole[3].ids.count * sizeof(int));
    candidates_free(got, 9);
    prompt_free(&mixed[1]);
    candidates_free(whole, a.n * 3);

    for (size_t i = 0; i < a.v.ends.count; i++) a.v.emit[a.v.ends.ids[i]] = 0; /* never ends: the model's last position does it */
    config.max_new_tokens = 5000;
    a.v.model.config.decoder.positions = prompt_tokens(&a.v, &a.list[0]) + 7;
    if (sample_all(&a.v, a.list, 1, &config, &got, NULL, NULL, &e)) fail_with(&e);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(got[i].ids.count, 8);
        assert_int_equal(got[i].finished, 0);
    }
    candidates_free(got, 3);
    asked_close(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(finds_all), cmocka_unit_test(golden_beams), cmocka_unit_test(limits_and_refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

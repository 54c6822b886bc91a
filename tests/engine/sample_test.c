/* sample_test.c - growth of candidates: greedy ids of the golden cases, independence of batch and order, refill, key/value memory against
 * full forward passes, limits. */
#include "tests/engine/golden_case.h"

#include "engine/sample.h"
#include "engine/score.h"

#include <math.h>
#include <stdlib.h>

enum { MOST = 32 };

typedef struct Prompts {
    Vlm v;
    json_t *expect;
    char paths[MOST][PATH_SIZE];
    Prompt list[MOST];
    size_t n;
} Prompts;

static void prompts_open(Prompts *p, const char *name) {
    memset(p, 0, sizeof *p);
    golden_open(&p->v, name, FP32);
    p->expect = golden_rows(name, "expect/greedy.jsonl");
    p->n = json_array_size(p->expect);
    assert_in_range(p->n, 1, MOST);
    for (size_t i = 0; i < p->n; i++) golden_prompt(&p->v, name, json_array_get(p->expect, i), p->paths[i], &p->list[i]);
}

static void prompts_close(Prompts *p) {
    for (size_t i = 0; i < p->n; i++) prompt_free(&p->list[i]);
    json_decref(p->expect);
    vlm_close(&p->v);
}

static int are_same(const Candidate *a, const Candidate *b) {
    return a->ids.count == b->ids.count && !memcmp(a->ids.ids, b->ids.ids, a->ids.count * sizeof *a->ids.ids) &&
           a->finished == b->finished && a->logp == b->logp;
}

/* Candidate b[i] stands for a[of[i]] (of NULL: i), to the bit. */
static void same_candidates(const Candidate *a, const Candidate *b, const uint32_t *of, int n) {
    int other = 0;
    for (int i = 0; i < n; i++) other += !are_same(&a[of ? of[i] : (uint32_t)i], &b[i]);
    assert_int_equal(other, 0);
}

static void golden_greedy(void **state) {
    (void)state;
    for (int c = 0; c < GOLDEN_CASES; c++) {
        Prompts p;
        Error e = { 0 };
        Candidate *got;
        int compared = 0;
        prompts_open(&p, golden_cases[c]);
        SampleConfig config = { .n = 1, .temperature = 0, .top_p = 1, .max_new_tokens = 16 };
        if (sample_all(&p.v, p.list, p.n, &config, &got, NULL, NULL, &e)) fail_with(&e);
        for (size_t i = 0; i < p.n; i++) {
            const json_t *row = json_array_get(p.expect, i), *ids = json_object_get(row, "greedy_ids");
            if (json_number_value(json_object_get(row, "min_gap")) < 1e-3) continue; /* another rounding may choose otherwise */
            compared++;
            assert_int_equal(got[i].ids.count, json_array_size(ids));
            for (size_t t = 0; t < got[i].ids.count; t++) assert_int_equal(got[i].ids.ids[t], json_integer_value(json_array_get(ids, t)));
            assert_int_equal(got[i].finished, vlm_ends(&p.v, got[i].ids.ids[got[i].ids.count - 1]));
        }
        assert_true(compared >= (int)p.n - 1);
        candidates_free(got, p.n);
        prompts_close(&p);
    }
}

/* Greedy answers with a penalty on what they have said, as Transformers gives them, whether they grow alone or together; and no penalty is none. */
static void golden_penalty(void **state) {
    (void)state;
    json_t *rows = rows_of("tests/golden/penalty.jsonl"), *row;
    size_t i;
    int n = 0;
    for (int c = 0; c < GOLDEN_CASES; c++) {
        Vlm v;
        Error e = { 0 };
        if (strncmp(golden_cases[c], "text-", 5)) continue;
        golden_open(&v, golden_cases[c], FP32);
        json_array_foreach(rows, i, row) {
            if (strcmp(text_of(row, "case"), golden_cases[c])) continue;
            const json_t *ids = json_object_get(row, "ids");
            Prompt list[2];
            Candidate *got, *off;
            for (int p = 0; p < 2; p++)
                if (vlm_prompt(&v, NULL, p ? "Is it?" : text_of(row, "question"), &list[p], &e)) fail_with(&e);
            SampleConfig config = { .n = 1, .top_p = 1, .max_new_tokens = 24 };
            if (sample_all(&v, list, 1, &config, &off, NULL, NULL, &e)) fail_with(&e);
            config.repetition_penalty = (float)json_number_value(json_object_get(row, "penalty"));
            for (size_t prompts = 1; prompts <= 2; prompts++) {
                if (sample_all(&v, list, prompts, &config, &got, NULL, NULL, &e)) fail_with(&e);
                assert_int_equal(got[0].ids.count, json_array_size(ids));
                for (size_t t = 0; t < got[0].ids.count; t++) assert_int_equal(got[0].ids.ids[t], json_integer_value(json_array_get(ids, t)));
                candidates_free(got, prompts);
            }
            config.repetition_penalty = 1;
            if (sample_all(&v, list, 1, &config, &got, NULL, NULL, &e)) fail_with(&e);
            assert_true(are_same(&got[0], &off[0]));
            candidates_free(got, 1);
            candidates_free(off, 1);
            for (int p = 0; p < 2; p++) prompt_free(&list[p]);
            n++;
        }
        vlm_close(&v);
    }
    assert_true(n > 0 && n == (int)json_array_size(rows));
    json_decref(rows);
}

/* The same tokens whatever the number of leaves in flight and whichever prompts share the batch. Few leaves make candidates wait and
 * trunks outlive their first leaves; end tokens are frequent at this temperature, so leaves are refilled at different times. */
static void batch_independence(void **state) {
    (void)state;
    Prompts p;
    Error e = { 0 };
    enum { N = 5 };
    prompts_open(&p, "llava15-v5");
    SampleConfig config = { .n = N, .temperature = 2.0f, .top_p = 0.98f, .top_k = 200, .max_new_tokens = 40, .seed = 77 };
    Candidate *all;
    config.leaves = 1000;
    if (sample_all(&p.v, p.list, p.n, &config, &all, NULL, NULL, &e)) fail_with(&e);
    int ended = 0, distinct = 0;
    for (size_t i = 0; i < p.n * N; i++) {
        ended += all[i].finished;
        if (i % N)
            distinct +=
                all[i].ids.count != all[i - 1].ids.count || memcmp(all[i].ids.ids, all[i - 1].ids.ids, all[i].ids.count * sizeof(int));
        for (size_t t = 0; t < all[i].ids.count; t++) assert_int_equal(p.v.emit[all[i].ids.ids[t]], 1);
    }
    assert_true(ended > 0 && distinct > (int)p.n);
    const int leaves[] = { 1, 3, 7, 64 };
    for (int l = 0; l < 4; l++) {
        Candidate *few;
        config.leaves = leaves[l];
        int64_t steps = p.v.work.steps;
        if (sample_all(&p.v, p.list, p.n, &config, &few, NULL, NULL, &e)) fail_with(&e);
        same_candidates(all, few, NULL, (int)p.n * N);
        if (leaves[l] == 3) { /* full batches: no more steps than tokens / leaves, the prefills and one longest answer */
            int64_t tokens = 0;
            for (size_t i = 0; i < p.n * N; i++) tokens += (int64_t)all[i].ids.count;
            assert_true(p.v.work.steps - steps <= tokens / 3 + (int64_t)p.n + 40);
        }
        candidates_free(few, p.n * N);
    }
    candidates_free(all, p.n * N);
    prompts_close(&p);
}

typedef struct Kept {
    Candidate out[MOST * 4];
    int n, done;
} Kept;
static int keep(void *context, size_t prompt, Candidate *candidates, Error *e) {
    (void)e;
    Kept *k = context;
    memcpy(k->out + prompt * (size_t)k->n, candidates, (size_t)k->n * sizeof *candidates);
    memset(candidates, 0, (size_t)k->n * sizeof *candidates);
    k->done++;
    return 0;
}

/* A part of the prompts in another order, under their own instruction indices, gives the same tokens; other seeds give others. */
static void order_and_seed(void **state) {
    (void)state;
    Prompts p;
    Error e = { 0 };
    prompts_open(&p, "llava15-hub");
    SampleConfig config = { .n = 4, .temperature = 1.5f, .top_p = 1, .max_new_tokens = 24, .leaves = 6, .seed = 1 };
    Candidate *all;
    if (sample_all(&p.v, p.list, p.n, &config, &all, NULL, NULL, &e)) fail_with(&e);
    Prompt some[3] = { p.list[5], p.list[0], p.list[3] };
    const uint32_t rows[3] = { 5, 0, 3 };
    Kept kept = { .n = 4 };
    SampleSink sink = { &kept, keep };
    if (sample_candidates(&p.v, some, rows, 3, &config, &sink, NULL, NULL, &e)) fail_with(&e);
    assert_int_equal(kept.done, 3);
    uint32_t of[12];
    for (uint32_t i = 0; i < 12; i++) of[i] = 4 * rows[i / 4] + i % 4;
    same_candidates(all, kept.out, of, 12);
    for (int i = 0; i < 12; i++) idlist_free(&kept.out[i].ids);
    Candidate *other;
    config.seed = 2;
    if (sample_all(&p.v, p.list, 1, &config, &other, NULL, NULL, &e)) fail_with(&e);
    assert_true(other[0].ids.count != all[0].ids.count || memcmp(other[0].ids.ids, all[0].ids.ids, all[0].ids.count * sizeof(int)));
    candidates_free(other, 4);
    candidates_free(all, p.n * 4);
    prompts_close(&p);
}

/* Sums of log-probs drawn over key/value memory equal those of full forward passes over the same ids. */
static void decode_equals_forward(void **state) {
    (void)state;
    for (int c = 0; c < GOLDEN_CASES; c++) {
        Prompts p;
        Error e = { 0 };
        enum { N = 3 };
        Candidate *got;
        prompts_open(&p, golden_cases[c]);
        SampleConfig config = { .n = N, .temperature = 0.7f, .top_p = 0.9f, .max_new_tokens = 32, .leaves = 8, .seed = 3 };
        if (sample_all(&p.v, p.list, p.n, &config, &got, NULL, NULL, &e)) fail_with(&e);
        for (size_t i = 0; i < p.n; i++) {
            IdList ids[N];
            AnswerScore *scores;
            for (int a = 0; a < N; a++) ids[a] = got[i * N + (size_t)a].ids;
            ScoreItem item = { &p.list[i], ids, N };
            if (score_answers(&p.v, &item, 1, 0, &scores, NULL, NULL, &e)) fail_with(&e);
            for (int a = 0; a < N; a++) assert_true(fabs(scores[a].sum - got[i * N + (size_t)a].logp) < 1e-5 * scores[a].tokens);
            scores_free(scores, N);
        }
        candidates_free(got, p.n * N);
        prompts_close(&p);
    }
}

static void limits_and_refusals(void **state) {
    (void)state;
    Prompts p;
    Error e = { 0 };
    Candidate *got;
    prompts_open(&p, "llava15-orig");
    SampleConfig config = { .n = 2, .temperature = 1, .top_p = 1, .max_new_tokens = 1 };
    if (sample_all(&p.v, p.list, p.n, &config, &got, NULL, NULL, &e)) fail_with(&e);
    for (size_t i = 0; i < 2 * p.n; i++) assert_int_equal(got[i].ids.count, 1);
    candidates_free(got, 2 * p.n);

    p.v.emit[p.v.ends.ids[0]] = 0; /* never ends: the model's last position does it */
    config.max_new_tokens = 5000;
    config.leaves = 2;
    int positions = p.v.model.config.decoder.positions;
    p.v.model.config.decoder.positions = prompt_tokens(&p.v, &p.list[0]) + 7;
    if (sample_all(&p.v, p.list, 1, &config, &got, NULL, NULL, &e)) fail_with(&e);
    assert_int_equal(got[0].ids.count, 8);
    assert_int_equal(got[1].finished, 0);
    candidates_free(got, 2);
    p.v.model.config.decoder.positions = positions;

    int refused = 0;
    Prompt list[3] = { p.list[0], { .image.path = "/nonexistent.png", .tail = p.list[1].tail }, p.list[2] };
    config.max_new_tokens = 3;
    assert_int_equal(sample_all(&p.v, list, 3, &config, &got, NULL, NULL, &e), -1);
    assert_string_equal(e.what, "no such image");
    if (sample_all(&p.v, list, 3, &config, &got, &(Refusals){ &refused, second_refused }, NULL, &e)) fail_with(&e);
    assert_int_equal(refused, 1);
    assert_int_equal(got[2].ids.count + got[3].ids.count, 0);
    assert_int_equal(got[5].ids.count, 3);
    candidates_free(got, 6);
    if (sample_all(&p.v, list + 1, 0, &config, &got, NULL, NULL, &e)) fail_with(&e);
    candidates_free(got, 0);
    prompts_close(&p);
}

static void text_alone(void **state) {
    (void)state;
    Prompts p;
    Error e = { 0 };
    Candidate *mixed, *alone;
    prompts_open(&p, "llava15-hub");
    Prompt list[3] = { p.list[0], p.list[0], p.list[1] };
    if (vlm_prompt(&p.v, NULL, "What is red?", &list[1], &e)) fail_with(&e);
    SampleConfig config = { .n = 2, .temperature = 0, .top_p = 1, .max_new_tokens = 12 };
    if (sample_all(&p.v, list, 3, &config, &mixed, NULL, NULL, &e)) fail_with(&e);
    if (sample_all(&p.v, &list[1], 1, &config, &alone, NULL, NULL, &e)) fail_with(&e);
    assert_true(are_same(&mixed[2], &alone[0]) && are_same(&mixed[3], &alone[1]));
    candidates_free(mixed, 6);
    candidates_free(alone, 2);
    prompt_free(&list[1]);
    prompts_close(&p);
}

/* Texts with a common beginning, which is held once: the same ids as without, the same bits whatever grows beside them, fewer rows. */
static void a_shared_head(void **state) {
    (void)state;
    enum { N = 7 };
    Vlm v;
    Error e = { 0 };
    Prompt list[N];
    Candidate *apart, *shared, *one;
    golden_open(&v, "llava15-hub", FP32);
    for (int i = 0; i < N; i++) {
        char text[128];
        snprintf(text, sizeof text, i == 5 ? "Another thing, number %d" : "List the facts of this answer, one by one: %.*s", i == 5 ? i : 3 * i + 1,
            "a cat and a dog sit on a red sofa");
        if (vlm_prompt(&v, NULL, text, &list[i], &e)) fail_with(&e);
    }
    size_t common = 0; /* of all but the one that goes its own way */
    while (common < list[0].tail.count && list[0].tail.ids[common] == list[1].tail.ids[common]) common++;
    IdList head = { .ids = list[2].tail.ids, .count = common };
    assert_true(common > 10 && memcmp(head.ids, list[5].tail.ids, common * sizeof *head.ids));
    SampleConfig config = { .n = 1, .temperature = 0, .top_p = 1, .max_new_tokens = 12, .leaves = 3 };
    if (sample_all(&v, list, N, &config, &apart, NULL, NULL, &e)) fail_with(&e);
    int64_t before = v.work.tokens;
    config.head = &head;
    if (sample_all(&v, list, N, &config, &shared, NULL, NULL, &e)) fail_with(&e);
    int64_t with = v.work.tokens - before;
    assert_int_equal(before - with, (int64_t)common * (N - 2));
    for (int i = 0; i < N; i++) {
        assert_true(apart[i].ids.count == shared[i].ids.count && !memcmp(apart[i].ids.ids, shared[i].ids.ids, apart[i].ids.count * sizeof(int)));
        assert_true(fabs(apart[i].logp - shared[i].logp) < 1e-4);
        if (sample_all(&v, &list[i], 1, &config, &one, NULL, NULL, &e)) fail_with(&e);
        assert_true(are_same(one, &shared[i]));
        candidates_free(one, 1);
    }
    candidates_free(apart, N), candidates_free(shared, N);
    Prompt exact = { .tail = head }; /* nothing of its own: it stands alone */
    if (sample_all(&v, &exact, 1, &config, &one, NULL, NULL, &e)) fail_with(&e);
    assert_true(one->ids.count > 0);
    candidates_free(one, 1);
    for (int i = 0; i < N; i++) prompt_free(&list[i]);
    vlm_close(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_greedy),
        cmocka_unit_test(golden_penalty),
        cmocka_unit_test(batch_independence),
        cmocka_unit_test(order_and_seed),
        cmocka_unit_test(decode_equals_forward),
        cmocka_unit_test(limits_and_refusals),
        cmocka_unit_test(text_alone),
        cmocka_unit_test(a_shared_head),
    };
    return cmocka_run_group_tests_name("sample", tests, NULL, NULL);
}

/* label_test.c - yes/no probes against the golden cases, equal probes asked once, packing, refusals. */
#include "tests/engine/golden_case.h"

#include "engine/label.h"

#include <math.h>

enum { MOST = 32 };

typedef struct Probes {
    Vlm v;
    json_t *expect;
    char paths[MOST][PATH_SIZE];
    Prompt list[MOST];
    int words[PROBE_WORDS];
    size_t n;
} Probes;

static void probes_open(Probes *p, const char *name) {
    Error e = { 0 };
    memset(p, 0, sizeof *p);
    golden_open(&p->v, name, FP32);
    p->expect = golden_rows(name, "expect/greedy.jsonl");
    p->n = json_array_size(p->expect);
    assert_in_range(p->n, 1, MOST);
    for (size_t i = 0; i < p->n; i++) golden_prompt(&p->v, name, json_array_get(p->expect, i), p->paths[i], &p->list[i]);
    if (probe_word_ids(&p->v, p->words, &e)) fail_with(&e);
}

static void probes_close(Probes *p) {
    for (size_t i = 0; i < p->n; i++) prompt_free(&p->list[i]);
    json_decref(p->expect);
    vlm_close(&p->v);
}

static void golden(void **state) {
    (void)state;
    for (int c = 0; c < GOLDEN_CASES; c++) {
        Probes p;
        Error e = { 0 };
        ProbeResult got[MOST];
        probes_open(&p, golden_cases[c]);
        if (label_probes(&p.v, p.words, p.list, p.n, 0, got, NULL, NULL, &e)) fail_with(&e);
        for (size_t i = 0; i < p.n; i++) {
            const json_t *row = json_array_get(p.expect, i), *want = json_object_get(row, "yes_no"),
                         *ids = json_object_get(row, "yes_no_ids");
            double yes = 0, no = 0;
            for (int w = 0; w < PROBE_WORDS; w++) {
                double probability = json_number_value(json_object_get(want, probe_words[w]));
                assert_int_equal(p.words[w], json_integer_value(json_object_get(ids, probe_words[w])));
                assert_true(fabs(got[i].p[w] - probability) < 5e-5 * probability); /* the bound of log-probs */
                *(w <= WORD_YES ? &yes : &no) += probability;
            }
            assert_true(fabs(got[i].p_yes - yes) < 5e-5 * yes && fabs(got[i].p_no - no) < 5e-5 * no);
            assert_int_equal(got[i].accepted, yes > no);
            assert_int_equal(got[i].refused, 0);
        }
        probes_close(&p);
    }
}

static void equal_probes_asked_once(void **state) {
    (void)state;
    Probes p;
    Error e = { 0 };
    ProbeResult got[MOST];
    probes_open(&p, "llava15-hub");
    Prompt list[6] = { p.list[0], p.list[1], p.list[0], p.list[0], p.list[2], p.list[1] };
    if (label_probes(&p.v, p.words, list, 6, 0, got, NULL, NULL, &e)) fail_with(&e);
    assert_int_equal(p.v.work.scored, 3);
    assert_memory_equal(&got[0], &got[2], sizeof *got);
    assert_memory_equal(&got[0], &got[3], sizeof *got);
    assert_memory_equal(&got[1], &got[5], sizeof *got);
    assert_memory_not_equal(&got[0], &got[1], sizeof *got);
    probes_close(&p);
}

static void packing(void **state) {
    (void)state;
    Probes p;
    Error e = { 0 };
    ProbeResult together[MOST], apart[MOST];
    probes_open(&p, "llava15-orig");
    if (label_probes(&p.v, p.words, p.list, p.n, 1 << 20, together, NULL, NULL, &e)) fail_with(&e);
    assert_int_equal(p.v.work.steps, 1);
    if (label_probes(&p.v, p.words, p.list, p.n, 1, apart, NULL, NULL, &e)) fail_with(&e);
    assert_int_equal(p.v.work.steps, 1 + p.n);
    for (size_t i = 0; i < p.n; i++)
        for (int w = 0; w < PROBE_WORDS; w++) assert_true(fabsf(together[i].p[w] - apart[i].p[w]) <= 1e-5f * apart[i].p[w]);
    probes_close(&p);
}

static int count_refused(void *context, size_t item, const Error *why, Error *e) {
    (void)item;
    (void)why;
    (void)e;
    ++*(int *)context;
    return 0;
}

static void refusals(void **state) {
    (void)state;
    Probes p;
    Error e = { 0 };
    ProbeResult got[4], alone;
    int refused = 0;
    probes_open(&p, "llava15-hub");
    Prompt list[4] = { { .image.path = "/nonexistent.png", .tail = p.list[0].tail }, p.list[1], { .image.path = "/nonexistent.png", .tail = p.list[1].tail },
        p.list[2] };
    assert_int_equal(label_probes(&p.v, p.words, list, 4, 0, got, NULL, NULL, &e), -1);
    assert_string_equal(e.what, "no such image");
    if (label_probes(&p.v, p.words, list, 4, 0, got, &(Refusals){ &refused, count_refused }, NULL, &e)) fail_with(&e);
    assert_int_equal(refused, 2);
    assert_true(got[0].refused && got[2].refused && !got[1].refused && !got[0].accepted);
    if (label_probes(&p.v, p.words, &list[3], 1, 0, &alone, NULL, NULL, &e)) fail_with(&e);
    assert_true(fabs(alone.p_yes - got[3].p_yes) < 1e-5);
    /* nothing but refused ones */
    if (label_probes(&p.v, p.words, list, 1, 0, got, &(Refusals){ &refused, count_refused }, NULL, &e)) fail_with(&e);
    assert_true(got[0].refused);
    probes_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
        cmocka_unit_test(equal_probes_asked_once),
        cmocka_unit_test(packing),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("label", tests, NULL, NULL);
}

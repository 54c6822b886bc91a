/* reserve_test.c - buffers are made before the first operation of a phase: sampling, labelling, scoring and a training step allocate nothing
 * once they compute, and what model_sizes predicts is what model_reserve makes. */
#include "tests/engine/golden_case.h"

#include "engine/dpo.h"
#include "engine/label.h"
#include "engine/sample.h"
#include "engine/score.h"

#include <stdlib.h>

enum { MOST = 16 };

/* A device that counts. */
static const Kernels *inner;
static Kernels counting;
static int computing, late;

static int alloc_counted(Buf *out, DType dtype, int64_t count, const char *what, Error *e) {
    if (computing) {
        late++;
        printf("allocated while computing: %s, %lld\n", what, (long long)count);
    }
    return inner->alloc(out, dtype, count, what, e);
}
static void patches_counted(Buf y, Buf pixels, int B, int C, int S, int p) {
    computing = 1;
    inner->patches_gather(y, pixels, B, C, S, p);
}
static void embed_counted(Buf y, Buf table, Buf features, const int *ids, const int *image_rows, int T, int D) {
    computing = 1;
    inner->embed_forward(y, table, features, ids, image_rows, T, D);
}

typedef struct Case {
    Vlm v;
    json_t *rows;
    char paths[MOST][PATH_SIZE];
    Prompt prompts[MOST];
    IdList answers[2 * MOST];
    size_t n;
} Case;

static void case_open(Case *c) {
    Error e = { 0 };
    const char *name = golden_cases[0];
    memset(c, 0, sizeof *c);
    inner = kernels_open("cpu", 0, &e);
    if (!inner) fail_with(&e);
    counting = *inner;
    counting.alloc = alloc_counted, counting.patches_gather = patches_counted, counting.embed_forward = embed_counted;
    computing = late = 0;
    if (vlm_open(&c->v, &counting, golden_path(name, "model"), FP32, NULL, IMAGE_PAD, &e)) fail_with(&e);
    c->rows = golden_rows(name, "pairs.jsonl");
    c->n = json_array_size(c->rows);
    assert_in_range(c->n, 2, MOST);
    for (size_t i = 0; i < c->n; i++) {
        json_t *row = json_array_get(c->rows, i);
        golden_prompt(&c->v, name, row, c->paths[i], &c->prompts[i]);
        if (template_answer(c->v.tokenizer, text_of(row, "chosen"), 1, &c->answers[2 * i], &e) ||
            template_answer(c->v.tokenizer, text_of(row, "rejected"), 1, &c->answers[2 * i + 1], &e))
            fail_with(&e);
    }
}

static void case_close(Case *c) {
    for (size_t i = 0; i < c->n; i++) {
        prompt_free(&c->prompts[i]);
        idlist_free(&c->answers[2 * i]);
        idlist_free(&c->answers[2 * i + 1]);
    }
    json_decref(c->rows);
    vlm_close(&c->v);
}

static void scoring(void **state) {
    (void)state;
    for (int rows = 40; rows <= 4000; rows *= 10) {
        Case c;
        Error e = { 0 };
        AnswerScore *scores;
        ScoreItem items[MOST];
        case_open(&c);
        for (size_t i = 0; i < c.n; i++) items[i] = (ScoreItem){ &c.prompts[i], &c.answers[2 * i], 2 };
        if (score_answers(&c.v, items, c.n, rows, &scores, NULL, NULL, &e)) fail_with(&e);
        assert_true(computing);
        assert_int_equal(late, 0);
        scores_free(scores, 2 * c.n);
        case_close(&c);
    }
}

static void labelling(void **state) {
    (void)state;
    for (int rows = 40; rows <= 4000; rows *= 10) {
        Case c;
        Error e = { 0 };
        int words[PROBE_WORDS];
        ProbeResult results[MOST];
        case_open(&c);
        if (probe_word_ids(&c.v, words, &e) || label_probes(&c.v, words, c.prompts, c.n, rows, results, NULL, NULL, &e)) fail_with(&e);
        assert_true(computing);
        assert_int_equal(late, 0);
        case_close(&c);
    }
}

static void sampling(void **state) {
    (void)state;
    for (int leaves = 2; leaves <= 50; leaves *= 5) {
        Case c;
        Error e = { 0 };
        Candidate *candidates;
        SampleConfig config = { .n = 3, .temperature = 1, .top_p = 1, .max_new_tokens = 12, .leaves = leaves, .seed = 5 };
        case_open(&c);
        if (sample_all(&c.v, c.prompts, c.n, &config, &candidates, NULL, NULL, &e)) fail_with(&e);
        assert_true(computing);
        assert_int_equal(late, 0);
        candidates_free(candidates, c.n * 3);
        case_close(&c);
    }
}

/* Two steps of training, the second of another shape, with and without the tower. */
static void training(void **state) {
    (void)state;
    for (int tower = 0; tower < 2; tower++) {
        Case c;
        Error e = { 0 };
        Trunks t = { 0 };
        DpoPair pairs[2];
        DpoSums sums = { 0 };
        PreferenceLoss loss = { .kind = LOSS_SIGMOID, .beta = 0.1f, .pair_scale = 1 };
        case_open(&c);
        c.v.tower_trained = tower;
        int64_t rows = 0;
        for (int i = 0; i < 2; i++) rows += prompt_tokens(&c.v, &c.prompts[i]) + (int64_t)(c.answers[2 * i].count + c.answers[2 * i + 1].count);
        StepSize size = vlm_step_size(&c.v.model.config, STEP_TRAIN, 0, rows, rows, 2, tower);
        if (params_train_begin(&c.v.model.params, &counting, tower ? 0 : 1u << PART_VISION, &e) || vlm_reserve(&c.v, &size, &e)) fail_with(&e);
        for (int n = 2; n > 0; n--) {
            trunks_clear(&t);
            for (int i = 0; i < n; i++) {
                int trunk = trunks_find(&c.v, &t, &c.prompts[i], &e);
                if (trunk < 0) fail_with(&e);
                for (int s = 0; s < 2; s++)
                    pairs[i].sequences[s] = (DpoSequence){ .trunk = trunk, .answer = &c.answers[2 * i + s], .reference = -9 + s };
            }
            if (dpo_backward(&c.v, &t.forest, &t.images, pairs, n, &loss, &sums, &e)) fail_with(&e);
        }
        assert_true(computing);
        assert_int_equal(late, 0);
        trunks_free(&t);
        params_train_end(&c.v.model.params, &counting);
        case_close(&c);
    }
}

static void bytes_add(void *sum, const char *what, int64_t bytes) {
    (void)what;
    *(int64_t *)sum += bytes;
}

static void predicted(void **state) {
    (void)state;
    static const struct {
        StepMode mode;
        unsigned uses;
        int64_t rows, scored, images, slots;
        int tower;
    } steps[] = { { STEP_SCORE, USES_SCORES, 777, 90, 2, 0, 0 }, { STEP_SCORE, USES_LOGITS, 33, 3, 0, 0, 0 },
        { STEP_CACHED, USES_LOGITS | USES_SLOTS, 120, 7, 1, 999, 0 }, { STEP_TRAIN, 0, 500, 150, 1, 0, 0 }, { STEP_TRAIN, 0, 501, 33, 2, 0, 1 } };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        Case c;
        Error e = { 0 };
        int64_t sum = 0;
        case_open(&c);
        StepSize s = vlm_step_size(
            &c.v.model.config, steps[i].mode, steps[i].uses, steps[i].rows, steps[i].scored, steps[i].images, steps[i].tower);
        s.slots = steps[i].slots;
        int64_t before = model_bytes(&c.v.model);
        if (model_reserve(&c.v.model, &s, &e)) fail_with(&e);
        model_sizes(&c.v.model.config, FP32, &s, bytes_add, &sum);
        assert_true(sum > 0);
        assert_int_equal(sum, model_bytes(&c.v.model) - before);
        case_close(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(scoring), cmocka_unit_test(labelling), cmocka_unit_test(sampling),
        cmocka_unit_test(training), cmocka_unit_test(predicted) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* pairs_test.c - which pairs are drawn: the cap of a prompt and of an image, gaps, duplicates, draws that the seed decides. */
#include "engine/compat.h"
#include "engine/pairs.h"
#include "tests/check.h"

#include <stdlib.h>

enum { PROMPTS = 6, N = 5 };
static const char *const images[PROMPTS] = { "a", "b", "a", "c", "a", "b" };

static RunConfig *fresh(void) {
    RunConfig *c = malloc(sizeof *c);
    assert_non_null(c);
    config_defaults(c);
    c->run.seed = 3;
    return c;
}

/* Five answers to each prompt; of scores 0, -1, -2, -2, none; the last but one says what the first says. */
static void drawn(const RunConfig *c, PairList *list, PairCounts *n) {
    static const char *const texts[N] = { "one", "two two", "three three three", "one", "five" };
    static const double scores[N] = { 0, -1, -2, -2, 0 };
    Error e = { 0 };
    *list = (PairList){ 0 };
    *n = (PairCounts){ 0 };
    for (int p = 0; p < PROMPTS; p++) {
        PairCandidate of[N];
        for (int i = 0; i < N; i++)
            of[i] =
                (PairCandidate){ .text = texts[i], .candidate = i, .scored = i != 4, .score = scores[i], .words = words_count(texts[i]) };
        assert_int_equal(pairs_draw(c, p, (uint64_t)p, of, N, list, n, &e), 0);
    }
}

static void cap_of_a_prompt(void **state) {
    (void)state;
    RunConfig *c = fresh();
    PairList list;
    PairCounts n;
    drawn(c, &list, &n);
    assert_int_equal(n.possible, 3 * PROMPTS); /* 0-1, 0-2, 1-2 */
    assert_int_equal(n.duplicates, PROMPTS);
    assert_int_equal(n.unscored, PROMPTS);
    assert_int_equal(list.n, 2 * PROMPTS);
    for (size_t i = 0; i < list.n; i++) assert_true(list.list[i].chosen < list.list[i].rejected && list.list[i].rejected < 3);
    pairs_free(&list);
    c->pair.min_gap = 2;
    drawn(c, &list, &n);
    assert_int_equal(list.n, PROMPTS);
    pairs_free(&list);
    free(c);
}

static void cap_of_an_image(void **state) {
    (void)state;
    RunConfig *c = fresh();
    PairList list, again;
    PairCounts n;
    Error e = { 0 };
    int seen[PROMPTS] = { 0 };
    c->pair.cap = CAP_IMAGE;
    for (uint64_t stream = 0; stream < 60; stream++) {
        drawn(c, &list, &n);
        assert_int_equal(list.n, 3 * PROMPTS); /* before the cap, all */
        assert_int_equal(pairs_cap_image(c, images, stream, &list, &n, &e), 0);
        assert_int_equal(list.n, 3 * 2);
        assert_int_equal(n.drawn, 3 * 2);
        int of[3] = { 0 };
        for (size_t i = 0; i < list.n; i++) {
            of[images[list.list[i].prompt][0] - 'a']++;
            seen[list.list[i].prompt]++;
            assert_true(i == 0 || list.list[i].prompt >= list.list[i - 1].prompt); /* in the order of the file */
        }
        assert_true(of[0] == 2 && of[1] == 2 && of[2] == 2);
        drawn(c, &again, &n); /* the same draw again */
        assert_int_equal(pairs_cap_image(c, images, stream, &again, &n, &e), 0);
        assert_memory_equal(list.list, again.list, list.n * sizeof *list.list);
        pairs_free(&list);
        pairs_free(&again);
    }
    for (int p = 0; p < PROMPTS; p++) assert_true(seen[p] > 10); /* none of an image's prompts is left out for good */
    free(c);
}

/* Answers 0 and 2 by the policy, 1 and 3 by the other model: of the couples with a gap, 0-1 and 1-2 are between the two. */
static void between_models(void **state) {
    (void)state;
    RunConfig *c = fresh();
    Error e = { 0 };
    for (int between = 0; between < 2; between++) {
        PairList list = { 0 };
        PairCounts n = { 0 };
        c->pair.between = between ? BETWEEN_MODELS : BETWEEN_ANY;
        PairCandidate of[3];
        for (int i = 0; i < 3; i++) of[i] = (PairCandidate){ .text = i == 0 ? "a" : i == 1 ? "b" : "c", .candidate = i, .other = i == 1, .scored = 1, .score = -i, .words = 1 };
        assert_int_equal(pairs_draw(c, 0, 1, of, 3, &list, &n, &e), 0);
        assert_int_equal(n.possible, between ? 2 : 3);
        pairs_free(&list);
    }
    free(c);
}

/* Of the pairs past the filter so many are kept: at random, in the file's order, the same for the same seed. */
static void the_most(void **state) {
    (void)state;
    RunConfig *c = fresh();
    Error e = { 0 };
    int seen[PROMPTS] = { 0 };
    c->pair.balance_length = BALANCE_OFF;
    c->pair.most = 5;
    for (uint64_t stream = 0; stream < 60; stream++) {
        PairList list, again;
        PairCounts n;
        drawn(c, &list, &n);
        assert_int_equal(pairs_filter(c, stream, &list, &n, &e), 0);
        assert_true(list.n == 5 && n.kept == 5 && n.past_most == 2 * PROMPTS - 5 && n.balanced_away == 0);
        double words = 0;
        for (size_t i = 0; i < list.n; i++) {
            seen[list.list[i].prompt]++, words += list.list[i].words_chosen;
            assert_true(i == 0 || list.list[i].prompt >= list.list[i - 1].prompt);
        }
        assert_true(words / 5 == n.words_chosen);
        drawn(c, &again, &n);
        assert_int_equal(pairs_filter(c, stream, &again, &n, &e), 0);
        assert_memory_equal(list.list, again.list, list.n * sizeof *list.list);
        pairs_free(&list);
        pairs_free(&again);
    }
    for (int p = 0; p < PROMPTS; p++) assert_true(seen[p] > 10);
    free(c);
}

/* From files: prompts of one image share the cap only where that is asked for. */
static void from_files(void **state) {
    (void)state;
    char folder[PATH_SIZE];
    RunConfig *c = fresh();
    PairCounts n;
    Error e = { 0 };
    scratch_make(folder);
    c->pair.balance_length = BALANCE_OFF;
    FILE *a = fopen(at(folder, "candidates.jsonl"), "w"), *b = fopen(at(folder, "labels.jsonl"), "w");
    for (int p = 0; p < PROMPTS; p++)
        for (int i = 0; i < N; i++) {
            fprintf(a, "{\"id\":\"p%d\",\"image\":%s%s%s,\"question\":\"q\",\"candidate\":%d,\"text\":\"t%d\"}\n", p, p == 3 ? "" : "\"/",
                p == 3 ? "null" : images[p], p == 3 ? "" : "\"", i, i);
            fprintf(b, "{\"id\":\"p%d\",\"candidate\":%d,\"probes\":[],\"score\":%d}\n", p, i, -i);
        }
    fclose(a), fclose(b);
    assert_int_equal(pairs_write(c, at(folder, "candidates.jsonl"), at(folder, "labels.jsonl"), at(folder, "pairs.jsonl"), 1, &n, &e), 0);
    assert_int_equal(n.kept, 2 * PROMPTS);
    c->pair.cap = CAP_IMAGE;
    assert_int_equal(pairs_write(c, at(folder, "candidates.jsonl"), at(folder, "labels.jsonl"), at(folder, "pairs.jsonl"), 1, &n, &e), 0);
    assert_int_equal(n.kept, 2 * 3);
    assert_int_equal(n.drawn, n.kept);
    scratch_drop(folder);
    free(c);
}

static void upstream_by_keys(void **state) {
    (void)state;
    RunConfig *c = fresh();
    Error e = { 0 };
    assert_int_equal(compat_apply(c, &e), 0);
    assert_true(c->sample.top_k == 0 && c->train.pairs_aspect == PAIRS_SAME && c->pair.cap == CAP_PROMPT);
    c->run.compat = COMPAT_UPSTREAM;
    c->sample.top_k = 7; /* what was said stays */
    assert_int_equal(compat_apply(c, &e), 0);
    assert_true(c->sample.top_k == 7 && c->train.pairs_aspect == PAIRS_CROP && c->pair.cap == CAP_IMAGE);
    char text[4096] = { 0 };
    FILE *f = fmemopen(text, sizeof text - 1, "w");
    Progress progress;
    progress_init(&progress, f);
    compat_say(c, &progress);
    fclose(f);
    static const char *const said[] = { "not as upstream: sample.top_k", "as upstream: train.pairs_aspect = crop",
        "as upstream: pair.cap = image" };
    for (size_t i = 0; i < 3; i++)
        if (!strstr(text, said[i])) fail_msg("\"%s\" is not said: %s", said[i], text);
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(cap_of_a_prompt), cmocka_unit_test(cap_of_an_image), cmocka_unit_test(between_models), cmocka_unit_test(the_most),
        cmocka_unit_test(from_files),
        cmocka_unit_test(upstream_by_keys) };
    return cmocka_run_group_tests_name("pairs", tests, NULL, NULL);
}

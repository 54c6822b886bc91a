/* scenes_files.c - owns the numbers of answers and pairs about scenes that stand in files. The definitions are truth.c's. Refuses ids that the data does not
 * have. */
#include "engine/eval/scenes_files.h"

#include "engine/eval/answers.h"
#include "engine/eval/scenes_eval.h"

#include <stdlib.h>
#include <string.h>

enum { NAMING, ABSENT, FALSE, MENTIONS, ABSENT_MENTIONS, CLAIMS, FALSE_CLAIMS, PRESENT, COVERED, WORDS, SENTENCES, MALFORMED, DISTINCT, ONE, COLUMNS };

/* part: numerator * COLUMNS + denominator. */
#define OVER(A, B) ((A) * COLUMNS + (B))
static double percent(const int64_t *s, int part) { return share((double)s[part / COLUMNS], (double)s[part % COLUMNS]); }
static double mean(const int64_t *s, int part) { return percent(s, part) / 100; }
static const Measure measures[] = {
    { "all", "object_responses", percent, OVER(ABSENT, NAMING) },
    { "all", "object_mentions", percent, OVER(ABSENT_MENTIONS, MENTIONS) },
    { "all", "any_false", percent, OVER(FALSE, ONE) },
    { "all", "false_claims", percent, OVER(FALSE_CLAIMS, CLAIMS) },
    { "all", "coverage", percent, OVER(COVERED, PRESENT) },
    { "all", "malformed", percent, OVER(MALFORMED, SENTENCES) },
    { "all", "words", mean, OVER(WORDS, ONE) },
    { "all", "distinct", mean, OVER(DISTINCT, ONE) },
};

enum { RIGHT, WRONG, TIE, PAIR_COLUMNS };
static double agreement(const int64_t *s, int part) { return (void)part, share((double)s[RIGHT], (double)(s[RIGHT] + s[WRONG])); }
static double right(const int64_t *s, int part) { return (void)part, share((double)s[RIGHT], (double)(s[RIGHT] + s[WRONG] + s[TIE])); }
static double ties(const int64_t *s, int part) { return (void)part, share((double)s[TIE], (double)(s[RIGHT] + s[WRONG] + s[TIE])); }
static const Measure pair_measures[] = { { "pairs", "agreement", agreement, 0 }, { "pairs", "right", right, 0 }, { "pairs", "ties", ties, 0 } };

typedef struct Work {
    Dataset data;
    ScenesTruth truth;
    Counts answers, pairs;
    EvalResult result;
    FileOut corrections;
    int corrects;
    int64_t corrected;
    json_t *answered; /* ids */
} Work;

static const Scene *scene_of(const Work *w, const char *id, const char *where, Error *e) {
    const Scene *s = scenes_truth_find(&w->truth, id);
    if (!s) error_what(e, "answer to an unknown prompt"), error_where(e, "%s", where), error_found(e, "id %.200s", id), error_expected(e, "an id of --data: %.300s", w->data.path);
    return s;
}

static int correction_write(Work *w, const Scene *s, const json_t *row, const char *id, const char *text, Error *e) {
    static const char *const keys[] = { "image", "question" };
    size_t size = truth_correct_size(text);
    char *better = mem_new(size, 1, "a correction", e);
    if (!better) return -1;
    json_t *out = NULL;
    int wanted = truth_correct(s, text, better), bad = 0;
    if (wanted) {
        out = json_pack("{s:s, s:s, s:s}", "id", id, "chosen", better, "rejected", text);
        for (int k = 0; out && k < 2; k++)
            if (json_object_get(row, keys[k])) json_object_set(out, keys[k], json_object_get(row, keys[k]));
        bad = out ? jsonl_write(w->corrections.stream, out, e) : error_what(e, "out of memory");
        w->corrected++;
    }
    free(better);
    return bad ? -1 : 0;
}

static int answer_add(void *context, const json_t *row, const char *where, Error *e) {
    Work *w = context;
    const char *id, *text;
    const Scene *s;
    if (json_need_string(row, "id", where, &id, e) || json_need_string(row, "text", where, &text, e) || !(s = scene_of(w, id, where, e))) return -1;
    TruthAnswer a;
    truth_answer(s, text, &a);
    const int32_t counts[COLUMNS] = { a.named != 0, a.absent_mentions > 0, a.false_claims > 0, a.mentions, a.absent_mentions, a.claims, a.false_claims, s->count,
        truth_bits(a.covered), a.words, a.sentences, a.malformed, truth_bits(a.named), 1 };
    if (json_object_set_new(w->answered, id, json_true())) return error_what(e, "out of memory"), error_where(e, "%s", where);
    return counts_add(&w->answers, counts, e) || (w->corrects && correction_write(w, s, row, id, text, e)) ||
                   eval_row(&w->result,
                       json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "id", id, "claims", a.claims, "false_claims", a.false_claims, "mentions", a.mentions,
                           "absent_mentions", a.absent_mentions, "covered", truth_bits(a.covered), "present", s->count),
                       e)
               ? -1
               : 0;
}

static int pair_add(void *context, const json_t *row, const char *where, Error *e) {
    Work *w = context;
    const char *id, *sides[2];
    const Scene *s;
    TruthAnswer a[2];
    if (json_need_string(row, "id", where, &id, e) || json_need_string(row, "chosen", where, &sides[0], e) || json_need_string(row, "rejected", where, &sides[1], e) ||
        !(s = scene_of(w, id, where, e)))
        return -1;
    for (int i = 0; i < 2; i++) truth_answer(s, sides[i], &a[i]);
    int32_t counts[PAIR_COLUMNS] = { 0 };
    counts[a[0].false_claims < a[1].false_claims ? RIGHT : a[0].false_claims > a[1].false_claims ? WRONG : TIE] = 1;
    return counts_add(&w->pairs, counts, e) || eval_row(&w->result, json_pack("{s:s, s:i, s:i}", "id", id, "chosen_false", a[0].false_claims, "rejected_false", a[1].false_claims), e)
               ? -1
               : 0;
}

static int work_do(Work *w, const EvalSettings *s, const ScenesFiles *f, Error *e) {
    if (s->answers && (rows_each(s->answers, answer_add, w, e) || eval_count(&w->result, "all", "answers", (int64_t)w->answers.n, e) ||
                          eval_measure(&w->result, &w->answers, measures, sizeof measures / sizeof *measures, s, e)))
        return -1;
    if (f->pairs && (rows_each(f->pairs, pair_add, w, e) || eval_count(&w->result, "pairs", "answers", (int64_t)w->pairs.n, e) ||
                        eval_measure(&w->result, &w->pairs, pair_measures, sizeof pair_measures / sizeof *pair_measures, s, e)))
        return -1;
    w->result.answers = (int)w->answers.n;
    w->result.missing = s->answers ? w->data.n - (int)json_object_size(w->answered) : 0;
    if (w->result.missing && !s->partial)
        return error_what(e, "prompts without an answer"), error_where(e, "%s", s->answers), error_found(e, "%d of %d", w->result.missing, w->data.n),
               error_hint(e, "--partial counts them and goes on");
    if (!w->corrects) return 0;
    if (eval_count(&w->result, NULL, "corrections", w->corrected, e)) return -1;
    w->corrects = 0;
    return file_commit(&w->corrections, e);
}

int scenes_files_eval(const EvalSettings *s, const ScenesFiles *f, const char *out, FILE *table, Error *e) {
    Work w = { .answers = { .columns = COLUMNS }, .pairs = { .columns = PAIR_COLUMNS } };
    const DataOptions options = { .need = DATA_QUESTION, .strict = 1 };
    if (!s->answers && (!f->pairs || f->corrections))
        return error_what(e, "nothing to evaluate"), error_where(e, "command line"), error_expected(e, "%s", f->corrections ? "--answers, to correct" : "--answers or --pairs");
    if (dataset_read(&w.data, f->data, &options, e)) return -1;
    int bad = scenes_truth_read(&w.data, &w.truth, e), truth = !bad, open = 0;
    if (!bad && !(w.answered = json_object())) bad = error_what(e, "out of memory");
    if (!bad) bad = eval_open(&w.result, "scenes", s, e), open = !bad;
    if (!bad && f->corrections) bad = file_create(&w.corrections, f->corrections, e), w.corrects = !bad;
    if (!bad) bad = work_do(&w, s, f, e);
    if (w.corrects) file_abandon(&w.corrections);
    if (open && bad) eval_abandon(&w.result);
    if (!bad) bad = eval_finish(&w.result, out, table, e);
    if (truth) scenes_truth_free(&w.truth);
    json_decref(w.answered);
    counts_free(&w.answers);
    counts_free(&w.pairs);
    dataset_free(&w.data);
    return bad ? -1 : 0;
}

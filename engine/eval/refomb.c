/* refomb.c - RefoMB (Yu et al. 2024, arXiv 2405.17220): a judge compares the model's answer with a reference answer, told of the picture by
 * a person's description (win); from its review alone it is asked a second time which of them hallucinates less (trust). Half a point for a
 * tie. Reviews without a verdict are left out and counted as unread; the original asks again until there is one. */
#include "engine/eval/judged.h"
#include "engine/eval/verdicts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const char data_prompts_refomb_txt[], data_prompts_refomb_hallucination_txt[];

/* Of the first question, then of the second. Points are halves: 2 for a win, 1 for a tie. */
enum { ASKED, READ, POINTS, TIES, COLUMNS_EACH, SECOND = COLUMNS_EACH, COLUMNS = 2 * COLUMNS_EACH };

static double part(const int64_t *s, int section, int column) { return (double)s[section * COLUMNS + column]; }
static double won(const int64_t *s, int k, int from) { return share(part(s, k, from + POINTS), 2 * part(s, k, from + READ)); }
static double tied(const int64_t *s, int k, int from) { return share(part(s, k, from + TIES), part(s, k, from + READ)); }
static double lost(const int64_t *s, int k, int from) {
    return share(part(s, k, from + ASKED) - part(s, k, from + READ), part(s, k, from + ASKED));
}
static double win(const int64_t *s, int k) { return won(s, k, 0); }
static double win_ties(const int64_t *s, int k) { return tied(s, k, 0); }
static double win_unread(const int64_t *s, int k) { return lost(s, k, 0); }
static double trust(const int64_t *s, int k) { return won(s, k, SECOND); }
static double trust_ties(const int64_t *s, int k) { return tied(s, k, SECOND); }
static double trust_unread(const int64_t *s, int k) { return lost(s, k, SECOND); }

static const JudgedBenchmark benchmark = { .name = "refomb",
    .question = { "question" },
    .reference = { "reference", "gpt4v_answer", "gpt_4v_answer", "answer" },
    .context = { "description", "image_description", "context" },
    .category = { "type", "category", "type_name" } };

/* The model's halves of a point: it is B, or, where the answers were swapped, A. -1: unread. */
static int points_of(char verdict, int swapped) { return !verdict ? -1 : verdict == 'C' ? 1 : (verdict == 'B') != swapped ? 2 : 0; }

static void verdict_count(int points, int32_t *counts) {
    counts[ASKED]++;
    counts[READ] += points >= 0;
    counts[POINTS] += points > 0 ? points : 0;
    counts[TIES] += points == 1;
}

static int pair_count(
    Judged *j, const JudgedItem *item, const Ask *review, const Ask *second, int swapped, int32_t counts[COLUMNS], Error *e) {
    static const char *const said[] = { "unread", "loss", "tie", "win" };
    int first = points_of(verdict_read(review->reply), swapped), fewer = points_of(verdict_read(second->reply), swapped);
    verdict_count(first, counts);
    verdict_count(fewer, counts + SECOND);
    return eval_row(&j->result,
        json_pack("{s:s, s:s, s:i, s:b, s:s, s:s, s:s, s:s}", "id", item->id, "category", item->category, "run", review->run, "swapped",
            swapped, "win", said[first + 1], "trust", said[fewer + 1], "review", review->reply, "hallucination", second->reply),
        e);
}

/* What is asked n times: by item, run and, with swap, order. */
typedef struct Plan {
    size_t runs, orders, n;
} Plan;
static const JudgedItem *item_of(const Judged *j, const Plan *p, size_t i) { return &j->set.all[i / (p->runs * p->orders)]; }
static int swapped_of(const Plan *p, size_t i) { return (int)(i % p->orders); }

/* Asks for one of the two steps; reviews NULL: the first. */
static int step_ask(Judged *j, const Plan *p, const Ask *reviews, Ask *asks, Error *e) {
    for (size_t i = 0; i < p->n; i++) {
        const JudgedItem *item = item_of(j, p, i);
        asks[i] = (Ask){ .text = judged_text(j->prompts[reviews != NULL], item, swapped_of(p, i), reviews ? reviews[i].reply : NULL, e),
            .id = item->id,
            .step = reviews ? "hallucination" : "review",
            .run = (int)(i / p->orders % p->runs) };
        if (!asks[i].text) return -1;
    }
    return text_judge_ask(&j->judge, asks, p->n, e);
}

static int pairs_count(Judged *j, const Plan *p, const Ask *reviews, const Ask *seconds, Error *e) {
    size_t each = p->runs * p->orders;
    int bad = 0;
    for (size_t i = 0; i < j->set.n && !bad; i++) {
        int32_t counts[COLUMNS] = { 0 };
        for (size_t k = i * each; k < (i + 1) * each && !bad; k++)
            bad = pair_count(j, &j->set.all[i], &reviews[k], &seconds[k], swapped_of(p, k), counts, e);
        bad = bad || sections_add(&j->sections, j->set.all[i].category, counts, e);
    }
    return bad;
}

int refomb_eval(const EvalSettings *s, const JudgedFiles *f, const JudgeSettings *judge, const char *out, FILE *table, Error *e) {
    static const JudgedPrompt prompts[] = { { "comparisons", data_prompts_refomb_txt, "configs/prompts/refomb.txt", "{answer_b}" },
        { "hallucinations", data_prompts_refomb_hallucination_txt, "configs/prompts/refomb-hallucination.txt", "{review}" } };
    static const SectionMeasure measures[] = { { "win", win }, { "win_ties", win_ties }, { "win_unread", win_unread }, { "trust", trust },
        { "trust_ties", trust_ties }, { "trust_unread", trust_unread } };
    Judged j;
    if (judged_open(&j, &benchmark, s, f, judge, prompts, 2, out, e)) return -1;
    j.sections.columns = COLUMNS;
    Plan p = { .runs = (size_t)f->runs, .orders = f->swap ? 2 : 1 };
    p.n = j.set.n * p.runs * p.orders;
    Ask *reviews = mem_new(p.n, sizeof *reviews, "requests", e), *seconds = mem_new(p.n, sizeof *seconds, "requests", e);
    int bad = !reviews || !seconds || step_ask(&j, &p, NULL, reviews, e) || step_ask(&j, &p, reviews, seconds, e) ||
              pairs_count(&j, &p, reviews, seconds, e) || eval_note(&j.result, "orders", f->swap ? "both" : "the reference first", e);
    asks_free(reviews, p.n);
    asks_free(seconds, p.n);
    return judged_finish(&j, bad, measures, sizeof measures / sizeof *measures, s, f, out, table, e);
}

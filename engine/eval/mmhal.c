/* mmhal.c - MMHal-Bench (Sun et al. 2023, arXiv 2309.14525): a judge rates each answer from 0 to 6; below 3 it has a hallucination. A reply
 * without one rating counts as 0, as in the original, and as unread. */
#include "engine/eval/judged.h"
#include "engine/eval/verdicts.h"

#include <math.h>

extern const char data_prompts_mmhal_txt[];

enum { ASKED, RATING, HALLUCINATED, INFORMATIVE, UNREAD, COLUMNS };
enum { RATING_MOST = 6, RATING_SOUND = 3 };

static double part(const int64_t *s, int section, int column) { return (double)s[section * COLUMNS + column]; }
static double score(const int64_t *s, int k) { return quotient(part(s, k, RATING), part(s, k, ASKED)); }
static double hallucination(const int64_t *s, int k) { return share(part(s, k, HALLUCINATED), part(s, k, ASKED)); }
static double informativeness(const int64_t *s, int k) {
    return share(part(s, k, INFORMATIVE), (RATING_MOST - RATING_SOUND) * part(s, k, ASKED));
}
static double unread(const int64_t *s, int k) { return share(part(s, k, UNREAD), part(s, k, ASKED)); }

static const char *const types[] = { "attribute", "adversarial", "comparison", "counting", "relation", "environment", "holistic", "other" };
static const JudgedBenchmark benchmark = { .name = "mmhal",
    .question = { "question" },
    .reference = { "gt_answer", "reference" },
    .context = { "image_content", "context" },
    .category = { "question_type", "category" },
    .cycle = types,
    .period = sizeof types / sizeof *types };

static int rating_count(Judged *j, const JudgedItem *item, const Ask *a, int32_t *counts, Error *e) {
    int read = rating_read(a->reply), rating = read < 0 ? 0 : read, sound = rating >= RATING_SOUND;
    counts[ASKED]++;
    counts[RATING] += rating;
    counts[HALLUCINATED] += !sound;
    counts[INFORMATIVE] += sound ? rating - RATING_SOUND : rating;
    counts[UNREAD] += read < 0;
    return eval_row(&j->result,
        json_pack("{s:s, s:s, s:i, s:i, s:b, s:s}", "id", item->id, "category", item->category, "run", a->run, "rating", rating, "unread",
            read < 0, "review", a->reply),
        e);
}

int mmhal_eval(const EvalSettings *s, const JudgedFiles *f, const JudgeSettings *judge, const char *out, FILE *table, Error *e) {
    static const JudgedPrompt prompt = { "ratings", data_prompts_mmhal_txt, "configs/prompts/mmhal.txt", "{answer}" };
    static const SectionMeasure measures[] = { { "score", score }, { "hallucination", hallucination },
        { "informativeness", informativeness }, { "unread", unread } };
    Judged j;
    if (judged_open(&j, &benchmark, s, f, judge, &prompt, 1, out, e)) return -1;
    j.sections.columns = COLUMNS;
    int bad = judged_ask(&j, "rating", f->runs, rating_count, e);
    return judged_finish(&j, bad, measures, sizeof measures / sizeof *measures, s, f, out, table, e);
}

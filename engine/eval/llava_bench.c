/* llava_bench.c - LLaVA-Bench (Liu et al. 2023, arXiv 2304.08485): a judge gives a reference answer and the model's a score from 1 to 10
 * each; the number is their means' relation. Reviews without two scores are left out, as in the original, and counted as unread. */
#include "engine/eval/judged.h"
#include "engine/eval/verdicts.h"

#include <math.h>

extern const char data_prompts_llava_bench_txt[];

enum { ASKED, READ, REFERENCE, MODEL, COLUMNS };
enum { THOUSANDTHS = 1000 }; /* scores are summed in these */

static double part(const int64_t *s, int section, int column) { return (double)s[section * COLUMNS + column]; }
static double score(const int64_t *s, int k) { return share(part(s, k, MODEL), part(s, k, REFERENCE)); }
static double reference_mean(const int64_t *s, int k) { return quotient(part(s, k, REFERENCE), THOUSANDTHS * part(s, k, READ)); }
static double model_mean(const int64_t *s, int k) { return quotient(part(s, k, MODEL), THOUSANDTHS * part(s, k, READ)); }
static double unread(const int64_t *s, int k) { return share(part(s, k, ASKED) - part(s, k, READ), part(s, k, ASKED)); }

static const JudgedBenchmark benchmark = { .name = "llava-bench",
    .question = { "text", "question" },
    .reference = { "reference", "gpt_answer", "gpt4_answer", "gpt-4_answer" },
    .context = { "context" },
    .category = { "category" } };

static int scores_count(Judged *j, const JudgedItem *item, const Ask *a, int32_t *counts, Error *e) {
    double scores[2] = { 0 };
    int is_read = !scores_read(a->reply, scores);
    counts[ASKED]++;
    counts[READ] += is_read;
    if (is_read) counts[REFERENCE] += (int32_t)lrint(THOUSANDTHS * scores[0]), counts[MODEL] += (int32_t)lrint(THOUSANDTHS * scores[1]);
    json_t *row = json_pack(
        "{s:s, s:s, s:i, s:b, s:s}", "id", item->id, "category", item->category, "run", a->run, "unread", !is_read, "review", a->reply);
    if (row && is_read) json_object_set_new(row, "scores", json_pack("[f, f]", scores[0], scores[1]));
    return eval_row(&j->result, row, e);
}

int llava_bench_eval(const EvalSettings *s, const JudgedFiles *f, const JudgeSettings *judge, const char *out, FILE *table, Error *e) {
    static const JudgedPrompt prompt = { "two scores", data_prompts_llava_bench_txt, "configs/prompts/llava-bench.txt", "{answer_b}" };
    static const SectionMeasure measures[] = { { "score", score }, { "reference_mean", reference_mean }, { "model_mean", model_mean },
        { "unread", unread } };
    Judged j;
    if (judged_open(&j, &benchmark, s, f, judge, &prompt, 1, out, e)) return -1;
    j.sections.columns = COLUMNS;
    int bad = judged_ask(&j, "scores", f->runs, scores_count, e);
    return judged_finish(&j, bad, measures, sizeof measures / sizeof *measures, s, f, out, table, e);
}

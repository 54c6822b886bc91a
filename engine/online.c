/* online.c - owns the order of iterations, the measuring before and after, and the choice of the final model; the command `run`. */
#include "engine/online.h"

#include "engine/commands.h"
#include "engine/crew.h"
#include "engine/examples.h"
#include "engine/iteration.h"
#include "engine/mixed.h"
#include "engine/plan.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int report_add(Report *r, ReportRole role, int iteration, const Judgement *j, Error *e) {
    if (mem_grow(&r->rows, &r->rows_cap, (size_t)r->n + 1, sizeof *r->rows, "report", e)) return -1;
    r->rows[r->n++] = (ReportRow){ role, iteration, j->scenes, j->labeler };
    if (role == REPORT_BEFORE) r->prompts = j->prompts, r->answers = j->answers;
    return 0;
}

static int evaluate(Loop *l, ReportRole role, int iteration, const char *model, Report *r, Error *e) {
    char folder[64], result[64];
    Judgement j;
    if (!l->config->data.eval[0]) return 0;
    int labeler = role == REPORT_LABELER;
    snprintf(folder, sizeof folder, labeler ? "labeler/eval" : "iter-%d/eval", iteration);
    snprintf(result, sizeof result, labeler ? "labeler/eval.json" : "iter-%d/eval.json", iteration);
    Answers a = { .iteration = iteration, .name = labeler ? "eval-labeler" : "eval", .folder = folder, .model = model };
    return judge_evaluate(l, a, result, &j, e) || report_add(r, role, iteration, &j, e) ? -1 : 0;
}

/* What the policy names before anything is trained. */
static int measure_before(Loop *l, double *before, Error *e) {
    const RunConfig *c = l->config;
    *before = 0;
    if (!select_judges(c)) return 0;
    Answers a = { 0, "valid", "iter-0/validation", c->model.dir, select_prompts(c), c->select.prompts };
    LabelerRates rates;
    if (answers_make(l, &a, e) || answers_label(l, &a, e) || answers_rates(l, &a, &rates, e)) return -1;
    *before = select_named(c, &rates);
    progress_say(&l->progress, "  before: %.3f claims rejected an answer, %.3f %s, %.1f words", rates.rejections, *before,
        select_named_what(c), rates.words);
    return 0;
}

/* Chooses among the iterations by the rule that chose their checkpoints, and makes RUN/model. */
static int final_choose(Loop *l, const SelectEntry *list, int n, double before, int *iteration, Error *e) {
    const RunConfig *c = l->config;
    SelectChoice choice = { .index = n - 1, .why = "the last iteration" };
    char from[PATH_SIZE], model[PATH_SIZE], number[16];
    Arrow a;
    if (select_judges(c)) select_choose(list, n, before, select_ratio(c), select_named_what(c), &choice);
    *iteration = choice.index + 1;
    snprintf(number, sizeof number, "%d", *iteration);
    progress_say(&l->progress, "result: iteration %d: %s", *iteration, choice.why);
    if (loop_path(l, from, e, "iter-%d/model", *iteration) || loop_path(l, model, e, "model") || arrow_begin(&a, n, "final", e)) return -1;
    int bad = loop_input_model(l, &a, "model", from, e) || arrow_input_text(&a, "iteration", number, e);
    int skip = bad ? -1 : loop_skip(l, &a, e);
    if (skip == 0)
        skip = loop_install(l, from, model, e) || arrow_count(&a, "iteration", *iteration, e) || arrow_output(&a, &l->ledger, "model", e) ||
                       ledger_record(&l->ledger, &a, e)
                   ? -1
                   : 0;
    arrow_free(&a);
    return skip < 0 ? -1 : 0;
}

/* 0, ITERATION_WITHOUT_PAIRS, or -1. */
static int iterate(Loop *l, int i, double before, SelectEntry *chosen, Report *r, Error *e) {
    char policy[PATH_SIZE], model[PATH_SIZE];
    const RunConfig *c = l->config;
    progress_say(&l->progress, "iteration %d of %d", i, c->run.iterations);
    if (i == 1) snprintf(policy, sizeof policy, "%s", c->model.dir);
    else if (loop_path(l, policy, e, "iter-%d/model", i - 1)) return -1;
    int got = iteration_data(l, i, policy, e);
    if (got) return got;
    return iteration_train(l, i, policy, before, chosen, e) || loop_path(l, model, e, "iter-%d/model", i) ||
                   evaluate(l, REPORT_ITERATION, i, model, r, e)
               ? -1
               : 0;
}

/* All of them, or as many as there are pairs to learn from. */
static int iterations(Loop *l, double before, SelectEntry *chosen, int *n, Report *r, Error *e) {
    for (*n = 0; *n < l->config->run.iterations; ++*n) {
        int got = iterate(l, *n + 1, before, &chosen[*n], r, e);
        if (got < 0) return -1;
        chosen[*n].step = *n + 1; /* from here on it stands for the iteration */
        if (got != ITERATION_WITHOUT_PAIRS) continue;
        if (*n > 0)
            return progress_say(&l->progress, "  no two answers may be paired: nothing is left to learn from, the run ends here"), 0;
        return error_what(e, "no preference pairs"), error_where(e, "%s/iter-1/pairs.jsonl", l->config->run.dir),
               error_found(e, "no two answers to a prompt that may be paired"),
               error_hint(e, "more prompts or answers (sample.n), or weaker rules in [pair]");
    }
    return 0;
}

static int table_write(const Loop *l, const Report *r, ReportStyle style, const char *name, Error *e) {
    char path[PATH_SIZE];
    FileOut f;
    if (loop_path(l, path, e, "%s", name) || file_create(&f, path, e)) return -1;
    if (report_print(r, style, f.stream, e)) {
        file_abandon(&f);
        return -1;
    }
    return file_commit(&f, e);
}

static int finish(Loop *l, const SelectEntry *list, int n, double before, Report *r, Error *e) {
    const RunConfig *c = l->config;
    char after[64];
    if (final_choose(l, list, n, before, &r->chosen, e)) return -1;
    if (!c->data.eval[0]) return 0;
    if (c->eval.kind == EVAL_SCENES && c->labeler.dir[0] && evaluate(l, REPORT_LABELER, 0, c->labeler.dir, r, e)) return -1;
    snprintf(after, sizeof after, "iter-%d/eval", r->chosen);
    if (examples_make(l, n, "iter-0/eval", after, r, e)) return -1;
    return table_write(l, r, REPORT_PLAIN, "table.txt", e) || table_write(l, r, REPORT_MARKDOWN, "table.md", e) ? -1 : 0;
}

static int run_lead(Loop *l, void *context, Error *e) {
    const RunConfig *c = l->config;
    Report *report = context;
    SelectEntry *chosen = mem_new((size_t)c->run.iterations, sizeof *chosen, "iterations", e);
    double before = 0;
    int n = 0;
    if (!chosen) return -1;
    progress_say(&l->progress, "before the first iteration");
    int bad = pairs_merge_check(c, e) || ranks_divide(c, c->model.dir, e) || (c->labeler.dir[0] && ranks_divide(c, c->labeler.dir, e)) ||
              (claims_by_model(c) && c->claims.dir[0] && ranks_divide(c, c->claims.dir, e)) ||
              (c->sample.other_n > 0 && c->sample.other[0] && ranks_divide(c, c->sample.other, e)) || loop_plan(l, PLAN_OF_RUN, e) ||
              loop_config_write(l, e) || evaluate(l, REPORT_BEFORE, 0, c->model.dir, report, e) || measure_before(l, &before, e);
    if (!bad) bad = iterations(l, before, chosen, &n, report, e) || finish(l, chosen, n, before, report, e);
    free(chosen);
    return bad ? -1 : 0;
}

int online_run(const RunConfig *c, Report *report, Error *e) {
    *report = (Report){ .kind = c->eval.kind, .temperature = c->eval.temperature };
    return crew_run(c, run_lead, report, e);
}

/* ---- the command ---- */

static int settings_check(const RunConfig *c, Error *e) {
    if (c->select.rule == SELECT_REJECTIONS && config_need(c, "data.validation", e))
        return error_hint(e, "prompts that are neither trained nor evaluated on; or select.rule = last");
    if (c->select.rule == SELECT_TEST_SET && config_need(c, "data.eval", e)) return error_hint(e, "what select.rule = test_set chooses by");
    if (c->train.reference == REFERENCE_FILE)
        return error_what(e, "pairs of a run bring no references"), error_where(e, "reference in [train]"), error_found(e, "file"),
               error_expected(e, "compute"), error_hint(e, "`rlaifv train` takes references from data.train");
    return c->eval.kind == EVAL_SCENES ? config_need(c, "data.eval", e) : 0;
}

int command_run(int argc, char **argv, Error *e) {
    static const char *const needed[] = { "run.dir", "model.dir", "data.prompts", NULL };
    RunConfig *c = mem_new(1, sizeof *c, "config", e);
    if (!c) return -1;
    int got = command_config_ranks(c, argc, argv, "run CONFIG [--section.key=value]...", needed, e);
    if (!got) {
        Report report;
        const char *plain = getenv("NO_COLOR");
        int colour = isatty(STDOUT_FILENO) && !(plain && *plain);
        got = settings_check(c, e);
        if (!got) {
            got = online_run(c, &report, e);
            int lead = world_here()->rank == 0;
            if (!got && lead && report.n > 0) got = report_print(&report, colour ? REPORT_COLOUR : REPORT_PLAIN, stdout, e);
            if (!got && lead) printf("model: %s/model (iteration %d)\n", c->run.dir, report.chosen);
            report_free(&report);
        }
        got = got ? -1 : 0;
    }
    free(c);
    return got == 1 ? 0 : got;
}

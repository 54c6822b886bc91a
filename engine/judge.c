/* judge.c - owns the arrows NAME-answers, NAME-labels and NAME of evaluation and validation. */
#include "engine/crew.h"
#include "engine/judge.h"

#include "engine/eval/scenes_eval.h"

#include <stdlib.h>
#include <string.h>

/* What answers depend on besides the model and the prompts; batch sizes change nothing. */
static const char answer_settings[] =
    "eval.n eval.temperature eval.top_p eval.top_k eval.max_new_tokens eval.repetition_penalty eval.beams run.seed run.dtype chat train.image_aspect data.exif "
    "data.images data.strict";

const char *judge_folder(const RunConfig *c) { return labeler_or(c, c->model.dir); }

static int arrow_name(const Answers *a, const char *step, char out[32], Error *e) {
    int n = snprintf(out, 32, "%s-%s", a->name, step);
    return n < 32 ? 0 : (error_what(e, "name of an arrow is too long"), error_where(e, "%s-%s", a->name, step));
}

static int file_of(const Loop *l, const Answers *a, const char *name, char path[PATH_SIZE], Error *e) {
    return loop_path(l, path, e, "%s/%s", a->folder, name);
}

static int output(Loop *l, Arrow *arrow, const Answers *a, const char *name, Error *e) {
    char relative[PATH_SIZE];
    return path_join(relative, a->folder, name, e) || arrow_output(arrow, &l->ledger, relative, e) ? -1 : 0;
}

/* ---- answers ---- */

static int answers_sample(Loop *l, Arrow *arrow, const Answers *a, Error *e) {
    char path[PATH_SIZE];
    Dataset set;
    SampleCounts n;
    if (loop_dataset(l, a->data, 0, a->prompts, &set, e)) return -1;
    loop_dataset_say(l, &set);
    int bad = file_of(l, a, "candidates.jsonl", path, e) || crew_sample(l, a->model, l->answering, loop_seed_judged(l->config), &set, path, &n, e);
    if (!bad) {
        progress_say(&l->progress, "  %s: %lld answers to %d prompts (%d of %d refused), %lld ended by themselves, %lld tokens",
            arrow->name, (long long)n.candidates, n.prompts - n.refused, n.refused, n.prompts, (long long)n.finished, (long long)n.tokens);
        bad = arrow_count(arrow, "prompts", n.prompts, e) || arrow_count(arrow, "refused", n.refused, e) ||
              arrow_count(arrow, "dropped", set.drops_n, e) || arrow_count(arrow, "answers", (double)n.candidates, e) ||
              arrow_count(arrow, "tokens", (double)n.tokens, e) || output(l, arrow, a, "candidates.jsonl", e) ||
              ledger_record(&l->ledger, arrow, e);
    }
    dataset_free(&set);
    return bad ? -1 : 0;
}

int answers_make(Loop *l, const Answers *a, Error *e) {
    Arrow arrow;
    char name[32], prompts[32];
    snprintf(prompts, sizeof prompts, "%d", a->prompts);
    if (arrow_name(a, "answers", name, e) || arrow_begin(&arrow, a->iteration, name, e)) return -1;
    int bad = loop_input_model(l, &arrow, "model", a->model, e) || arrow_input_file(&arrow, "data", a->data, e) ||
              arrow_input_text(&arrow, "prompts", prompts, e) || loop_input_settings(l, &arrow, answer_settings, e);
    int skip = bad ? -1 : loop_skip(l, &arrow, e);
    if (skip == 0) skip = answers_sample(l, &arrow, a, e);
    arrow_free(&arrow);
    return skip < 0 ? -1 : 0;
}

static int claims_and_label_settings(Loop *l, Arrow *arrow, Error *e) {
    char settings[256];
    snprintf(settings, sizeof settings, "%s %s", claims_settings(l->config), label_settings(l->config));
    return loop_input_settings(l, arrow, settings, e) || loop_input_claims(l, arrow, judge_folder(l->config), e) ? -1 : 0;
}

int answers_label(Loop *l, const Answers *a, Error *e) {
    Arrow arrow;
    char name[32], candidates[PATH_SIZE], claims[PATH_SIZE], labels[PATH_SIZE];
    ClaimCounts split;
    LabelCounts n;
    if (file_of(l, a, "candidates.jsonl", candidates, e) || file_of(l, a, "claims.jsonl", claims, e) ||
        file_of(l, a, "labels.jsonl", labels, e) || arrow_name(a, "labels", name, e) || arrow_begin(&arrow, a->iteration, name, e))
        return -1;
    int bad = loop_input_model(l, &arrow, "judge", judge_folder(l->config), e) || arrow_input_file(&arrow, "candidates", candidates, e) ||
              claims_and_label_settings(l, &arrow, e);
    int skip = bad ? -1 : loop_skip(l, &arrow, e);
    if (skip == 0) {
        bad = crew_claims(l, judge_folder(l->config), candidates, claims, &split, e) || crew_label(l, judge_folder(l->config), candidates, claims, labels, &n, e);
        if (!bad)
            progress_say(&l->progress, "  %s: %lld claims, %lld rejected, %lld accepted; %lld of %lld answers without a score", arrow.name,
                (long long)n.claims, (long long)n.rejected, (long long)(n.claims - n.rejected), (long long)n.unscored,
                (long long)n.answers);
        skip = bad || arrow_count(&arrow, "claims", (double)n.claims, e) || arrow_count(&arrow, "rejected", (double)n.rejected, e) ||
                       arrow_count(&arrow, "retries", (double)split.retried, e) || arrow_count(&arrow, "malformed", (double)split.dropped, e) ||
                       output(l, &arrow, a, "claims.jsonl", e) || output(l, &arrow, a, "labels.jsonl", e) ||
                       ledger_record(&l->ledger, &arrow, e)
                   ? -1
                   : 0;
    }
    arrow_free(&arrow);
    return skip < 0 ? -1 : 0;
}

int answers_rates(const Loop *l, const Answers *a, LabelerRates *out, Error *e) {
    char candidates[PATH_SIZE], labels[PATH_SIZE];
    return file_of(l, a, "candidates.jsonl", candidates, e) || file_of(l, a, "labels.jsonl", labels, e) ||
                   labeler_eval(candidates, labels, out, e)
               ? -1
               : 0;
}

/* ---- evaluation ---- */

/* out NULL: only whether the data has truth, which is better known before answers are sampled than after. */
static int scenes_judge(const Loop *l, const Answers *a, Judgement *out, Error *e) {
    char candidates[PATH_SIZE];
    Dataset set;
    ScenesTruth truth;
    TruthTally tally;
    if (file_of(l, a, "candidates.jsonl", candidates, e) || loop_dataset(l, a->data, 0, a->prompts, &set, e)) return -1;
    int bad = scenes_truth_read(&set, &truth, e);
    if (!bad) {
        if (out) bad = scenes_eval(&truth, candidates, &tally, e);
        scenes_truth_free(&truth);
    }
    dataset_free(&set);
    if (bad || !out) return bad ? -1 : 0;
    out->answers = tally.answers;
    out->scenes = truth_rates(&tally);
    return 0;
}

static json_t *judgement_json(const RunConfig *c, const Judgement *j) {
    json_t *rates = c->eval.kind == EVAL_SCENES ? truth_rates_to_json(&j->scenes) : labeler_rates_to_json(&j->labeler);
    json_t *top = json_pack("{s:s, s:i, s:i, s:f}", "kind", c->eval.kind == EVAL_SCENES ? "scenes" : "labeler", "prompts", j->prompts,
        "answers", j->answers, "temperature", c->eval.temperature);
    if (!top || !rates || json_object_update_missing(top, rates)) {
        json_decref(top);
        top = NULL;
    }
    json_decref(rates);
    return top;
}

static int judgement_metrics(Loop *l, const Arrow *arrow, json_t *top, Error *e) {
    MetricRow row;
    const char *key;
    json_t *value;
    if (loop_metrics(l, arrow, &row, e)) return -1;
    json_object_foreach(top, key, value) if (json_is_number(value)) metric_set(&row, key, json_number_value(value));
    return metrics_write(l->metrics, &row, e);
}

static int result_write(const char *path, json_t *top, Error *e) {
    char *text = top ? json_dumps(top, JSON_INDENT(1) | JSON_REAL_PRECISION(10)) : NULL;
    if (!text) return error_what(e, "out of memory"), error_where(e, "%s", path);
    size_t n = strlen(text);
    text[n] = '\n'; /* in the place of the end */
    int bad = file_write(path, text, n + 1, e);
    free(text);
    return bad;
}

char *judgement_text(const RunConfig *c, const Judgement *j, char *out, size_t size) {
    if (c->eval.kind == EVAL_SCENES)
        snprintf(out, size,
            "object hallucination %.1f %% of responses, %.1f %% of mentions; any false claim %.1f %%; coverage %.1f %%; %.1f words",
            100 * j->scenes.object_responses, 100 * j->scenes.object_mentions, 100 * j->scenes.any_false, 100 * j->scenes.coverage,
            j->scenes.words);
    else
        snprintf(out, size, "rejected claims in %.1f %% of answers, %.2f an answer, %.2f accepted; %.1f words", 100 * j->labeler.any,
            j->labeler.rejections, j->labeler.accepted, j->labeler.words);
    return out;
}

static int evaluate_record(Loop *l, Arrow *arrow, const char *result, const Judgement *j, Error *e) {
    char path[PATH_SIZE], line[256];
    json_t *top = judgement_json(l->config, j);
    int bad = loop_path(l, path, e, "%s", result) || result_write(path, top, e) || judgement_metrics(l, arrow, top, e) ||
              arrow_output(arrow, &l->ledger, result, e) || ledger_record(&l->ledger, arrow, e);
    json_decref(top);
    if (!bad) progress_say(&l->progress, "  %s: %s", arrow->name, judgement_text(l->config, j, line, sizeof line));
    return bad ? -1 : 0;
}

int judge_evaluate(Loop *l, Answers a, const char *result, Judgement *out, Error *e) {
    const RunConfig *c = l->config;
    int scenes = c->eval.kind == EVAL_SCENES;
    char path[PATH_SIZE];
    Arrow arrow;
    memset(out, 0, sizeof *out);
    if (!a.name) a.name = "eval";
    if (!a.data) a.data = c->data.eval, a.prompts = c->eval.prompts;
    if ((scenes && scenes_judge(l, &a, NULL, e)) || answers_make(l, &a, e) || (!scenes && answers_label(l, &a, e))) return -1;
    if (scenes ? scenes_judge(l, &a, out, e) : answers_rates(l, &a, &out->labeler, e)) return -1;
    if (!scenes) out->answers = out->labeler.answers;
    out->prompts = out->answers / c->eval.n;
    if (arrow_begin(&arrow, a.iteration, a.name, e)) return -1;
    int bad = file_of(l, &a, scenes ? "candidates.jsonl" : "labels.jsonl", path, e) || arrow_input_file(&arrow, "answers", path, e) ||
              arrow_input_file(&arrow, "data", a.data, e) || loop_input_settings(l, &arrow, "eval", e);
    int skip = bad ? -1 : loop_skip(l, &arrow, e);
    if (skip == 0) skip = evaluate_record(l, &arrow, result, out, e);
    arrow_free(&arrow);
    return skip < 0 ? -1 : 0;
}

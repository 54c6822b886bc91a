/* iteration.c - owns the arrows of an iteration in the ledger: their inputs, their log lines with counts that add up, their outputs. */
#include "engine/crew.h"
#include "engine/iteration.h"

#include "engine/checkpoint.h"
#include "engine/mixed.h"
#include "engine/pairs.h"
#include "engine/train.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char train_settings[] =
    TRAIN_LOSS_SETTINGS
    " train.lr train.lr_end train.schedule train.warmup_steps "
    "train.warmup_ratio train.steps "
    "train.epochs train.batch_pairs train.order train.adam_beta1 train.adam_beta2 train.adam_eps train.weight_decay train.clip "
    "train.freeze "
    "train.image_aspect train.pairs_aspect data.exif train.save_every train.save_epochs train.rows train.max_tokens train.save_dtype run.seed run.dtype chat data.images data.strict";

static int file_of(const Loop *l, int iteration, const char *name, char path[PATH_SIZE], Error *e) {
    return loop_path(l, path, e, "iter-%d/%s", iteration, name);
}

static int output(Loop *l, Arrow *a, const char *name, Error *e) {
    char relative[64];
    snprintf(relative, sizeof relative, "iter-%d/%s", a->iteration, name);
    return arrow_output(a, &l->ledger, relative, e);
}

/* Counts of an arrow: in the ledger, and as a row of metrics. */
typedef struct Count {
    const char *name;
    double value;
} Count;
static int counts_record(Loop *l, Arrow *a, const Count *list, int n, Error *e) {
    MetricRow row;
    if (loop_metrics(l, a, &row, e)) return -1;
    for (int i = 0; i < n; i++) {
        metric_set(&row, list[i].name, list[i].value);
        if (arrow_count(a, list[i].name, list[i].value, e)) return -1;
    }
    return metrics_write(l->metrics, &row, e) || ledger_record(&l->ledger, a, e) ? -1 : 0;
}
#define COUNTS_RECORD(L, A, E, ...)                                                                                                        \
    counts_record(L, A, (const Count[]){ __VA_ARGS__ }, (int)(sizeof((const Count[]){ __VA_ARGS__ }) / sizeof(Count)), E)

/* ---- sample ---- */

#define SAMPLE_SETTINGS                                                                                                                    \
    "sample.n sample.temperature sample.top_p sample.top_k sample.max_new_tokens sample.repetition_penalty sample.beams run.seed run.dtype chat train.image_aspect data.exif "    \
    "data.images data.per_iteration data.strict"

/* Where this iteration's prompts begin: windows of per_iteration, one after another, from the start again when they run out. */
static int window_first(Loop *l, int iteration, int *first, Error *e) {
    const RunConfig *c = l->config;
    Dataset all;
    *first = 0;
    if (c->data.per_iteration == 0) return 0;
    if (loop_dataset(l, c->data.prompts, 0, 1, &all, e)) return -1;
    int good = all.n + all.past_limit, windows = good / c->data.per_iteration;
    dataset_free(&all);
    if (windows < 1) windows = 1;
    *first = (iteration - 1) % windows * c->data.per_iteration;
    if (iteration > windows)
        progress_say(&l->progress, "  prompts are used again: %d rows are %d windows of %d", good, windows, c->data.per_iteration);
    return 0;
}

/* Who answers an iteration's prompts, and where the answers go. */
typedef struct Answering {
    const char *arrow, *file, *model;
    const RunConfig *config;
    uint64_t seed;
} Answering;

/* w->model NULL: the answers stand in files by model, and are joined. */
static int sample_run(Loop *l, Arrow *a, const Answering *w, Error *e) {
    const RunConfig *c = l->config;
    char out[PATH_SIZE], own[PATH_SIZE], other[PATH_SIZE];
    Dataset set;
    SampleCounts n;
    int first;
    if (file_of(l, a->iteration, w->file, out, e) || file_of(l, a->iteration, "policy.jsonl", own, e) || file_of(l, a->iteration, "other.jsonl", other, e) ||
        window_first(l, a->iteration, &first, e) || loop_dataset(l, c->data.prompts, first, c->data.per_iteration, &set, e))
        return -1;
    loop_dataset_say(l, &set);
    int bad = (w->model ? crew_sample(l, w->model, w->config, w->seed, &set, out, &n, e) : answers_join(&set, own, other, out, &n, e)) || output(l, a, w->file, e);
    int dropped = set.drops_n, lines[2] = { set.rows[0].line, set.rows[set.n - 1].line };
    dataset_free(&set);
    if (bad) return -1;
    progress_say(&l->progress,
        "  %s: lines %d to %d of the prompts; %d prompts = %d answered + %d refused; %lld answers = %lld ended by themselves + %lld cut at their limit; %lld tokens",
        a->name, lines[0], lines[1], n.prompts, n.prompts - n.refused, n.refused, (long long)n.candidates, (long long)n.finished, (long long)(n.candidates - n.finished),
        (long long)n.tokens);
    return COUNTS_RECORD(l, a, e, { "prompts", n.prompts }, { "refused", n.refused }, { "dropped_rows", dropped },
        { "first_line", lines[0] }, { "last_line", lines[1] }, { "answers", (double)n.candidates }, { "finished", (double)n.finished }, { "tokens", (double)n.tokens });
}

static int answering_arrow(Loop *l, int iteration, const Answering *w, Error *e) {
    const RunConfig *c = l->config;
    char own[PATH_SIZE], other[PATH_SIZE];
    Arrow a;
    if (file_of(l, iteration, "policy.jsonl", own, e) || file_of(l, iteration, "other.jsonl", other, e) || arrow_begin(&a, iteration, w->arrow, e)) return -1;
    int bad = (w->model ? loop_input_model(l, &a, "model", w->model, e)
                        : arrow_input_file(&a, "policy", own, e) || arrow_input_file(&a, "other", other, e)) ||
              arrow_input_file(&a, "prompts", c->data.prompts, e) ||
              loop_input_settings(l, &a, w->config == l->other ? SAMPLE_SETTINGS " sample.other_n sample.other_temperature sample.other_beams sample.other_template" : SAMPLE_SETTINGS, e);
    int skip = bad ? -1 : loop_skip(l, &a, e);
    if (skip == 0) skip = sample_run(l, &a, w, e);
    arrow_free(&a);
    return skip < 0 ? -1 : 0;
}

static int sample_arrow(Loop *l, int iteration, const char *policy, Error *e) {
    const RunConfig *c = l->config;
    uint64_t seed = loop_seed(c, iteration);
    if (c->sample.other_n == 0) return answering_arrow(l, iteration, &(Answering){ "sample", "candidates.jsonl", policy, c, seed }, e);
    return answering_arrow(l, iteration, &(Answering){ "sample-policy", "policy.jsonl", policy, c, seed }, e) ||
                   answering_arrow(l, iteration, &(Answering){ "sample-other", "other.jsonl", other_model(c, policy), l->other, other_seed(seed) }, e) ||
                   answering_arrow(l, iteration, &(Answering){ .arrow = "sample", .file = "candidates.jsonl" }, e)
               ? -1
               : 0;
}

/* ---- claims ---- */

static void reason_add(json_t *reasons, const char *why) {
    if (why) json_object_set_new(reasons, why, json_integer(json_integer_value(json_object_get(reasons, why)) + 1));
}

/* Says why sentences and answers were left out: reasons with counts. */
static int left_out_say(Loop *l, const char *claims, Error *e) {
    JsonLines lines;
    json_t *row, *reasons = json_object(), *dropped = json_object(), *item, *count;
    const char *why;
    size_t i;
    int got;
    if (!reasons || !dropped || jsonl_open(&lines, claims, e)) {
        json_decref(reasons);
        json_decref(dropped);
        return -1;
    }
    while ((got = jsonl_next(&lines, &row, e)) > 0) {
        json_array_foreach(json_object_get(row, "left_out"), i, item) reason_add(reasons, json_string_value(json_object_get(item, "why")));
        reason_add(dropped, json_string_value(json_object_get(row, "dropped")));
        json_decref(row);
    }
    jsonl_close(&lines);
    json_object_foreach(reasons, why, count)
        progress_say(&l->progress, "    left out: %lld sentences: %s", (long long)json_integer_value(count), why);
    json_object_foreach(dropped, why, count)
        progress_say(&l->progress, "    dropped: %lld answers: %s", (long long)json_integer_value(count), why);
    json_decref(reasons);
    json_decref(dropped);
    return got < 0 ? -1 : 0;
}

static int claims_run(Loop *l, Arrow *a, const char *labeler, const char *candidates, const char *out, Error *e) {
    ClaimCounts n;
    if (crew_claims(l, labeler, candidates, out, &n, e) || output(l, a, "claims.jsonl", e)) return -1;
    progress_say(&l->progress,
        "  claims: %lld answers = %lld with claims + %lld without; %lld claims = %lld to ask + %lld rejected unasked; %lld sentences left "
        "out",
        (long long)n.answers, (long long)(n.answers - n.without), (long long)n.without, (long long)n.claims,
        (long long)(n.claims - n.unasked), (long long)n.unasked, (long long)n.left_out);
    if (claims_by_model(l->config))
        progress_say(&l->progress, "  claims: %lld replies asked for again, %lld answers dropped as the second was malformed too",
            (long long)n.retried, (long long)n.dropped);
    if (n.left_out + n.dropped > 0 && left_out_say(l, out, e)) return -1;
    return COUNTS_RECORD(l, a, e, { "answers", (double)n.answers }, { "without", (double)n.without }, { "claims", (double)n.claims },
        { "claims_per_answer", n.answers ? (double)n.claims / (double)n.answers : 0 }, { "unasked", (double)n.unasked },
        { "left_out", (double)n.left_out }, { "retries", (double)n.retried }, { "malformed", (double)n.dropped });
}

static ClaimCounts claims_counted(const json_t *counts) {
#define COUNTED(NAME) (int64_t)json_number_value(json_object_get(counts, NAME))
    return (ClaimCounts){ COUNTED("answers"), COUNTED("without"), COUNTED("claims"), COUNTED("unasked"), COUNTED("left_out"), COUNTED("retries"),
        COUNTED("malformed") };
#undef COUNTED
}

int iteration_claims(Loop *l, int iteration, const char *policy, ClaimCounts *counts, Error *e) {
    const char *labeler = labeler_or(l->config, policy);
    char candidates[PATH_SIZE], out[PATH_SIZE];
    Arrow a;
    if (file_of(l, iteration, "candidates.jsonl", candidates, e) || file_of(l, iteration, "claims.jsonl", out, e) ||
        arrow_begin(&a, iteration, "claims", e))
        return -1;
    int bad = arrow_input_file(&a, "candidates", candidates, e) || loop_input_settings(l, &a, claims_settings(l->config), e) ||
              loop_input_claims(l, &a, labeler, e);
    int skip = bad ? -1 : loop_skip(l, &a, e);
    if (skip == 0) skip = claims_run(l, &a, labeler, candidates, out, e);
    arrow_free(&a);
    if (skip >= 0 && counts) *counts = claims_counted(json_object_get(ledger_find(&l->ledger, iteration, "claims"), "counts"));
    return skip < 0 ? -1 : 0;
}

/* ---- label ---- */

static int label_run(Loop *l, Arrow *a, const char *labeler, const char *candidates, const char *claims, const char *out, Error *e) {
    LabelCounts n;
    if (crew_label(l, labeler, candidates, claims, out, &n, e) ||
        output(l, a, "labels.jsonl", e))
        return -1;
    double scored = (double)(n.answers - n.unscored);
    progress_say(&l->progress,
        "  label: %lld claims = %lld accepted + %lld rejected; %lld answers = %.0f scored (mean %.3f) + %lld without a score",
        (long long)n.claims, (long long)(n.claims - n.rejected), (long long)n.rejected, (long long)n.answers, scored,
        scored > 0 ? n.score / scored : 0, (long long)n.unscored);
    return COUNTS_RECORD(l, a, e, { "answers", (double)n.answers }, { "unscored", (double)n.unscored }, { "claims", (double)n.claims },
        { "rejected", (double)n.rejected }, { "probes", (double)n.probes }, { "probes_yes", (double)n.probes_yes },
        { "score", scored > 0 ? n.score / scored : 0 });
}

static int label_arrow(Loop *l, int iteration, const char *policy, Error *e) {
    const RunConfig *c = l->config;
    const char *labeler = labeler_or(c, policy);
    char candidates[PATH_SIZE], claims[PATH_SIZE], out[PATH_SIZE];
    Arrow a;
    if (file_of(l, iteration, "candidates.jsonl", candidates, e) || file_of(l, iteration, "claims.jsonl", claims, e) ||
        file_of(l, iteration, "labels.jsonl", out, e) || arrow_begin(&a, iteration, "label", e))
        return -1;
    int bad = loop_input_model(l, &a, "labeler", labeler, e) || arrow_input_file(&a, "candidates", candidates, e) ||
              arrow_input_file(&a, "claims", claims, e) || loop_input_settings(l, &a, label_settings(c), e);
    int skip = bad ? -1 : loop_skip(l, &a, e);
    if (skip == 0) skip = label_run(l, &a, labeler, candidates, claims, out, e);
    arrow_free(&a);
    return skip < 0 ? -1 : 0;
}

/* ---- pair ---- */

static int pair_run(Loop *l, Arrow *a, const char *candidates, const char *labels, const char *out, Error *e) {
    PairCounts n;
    if (pairs_write(l->config, candidates, labels, out, a->iteration, &n, e) || output(l, a, "pairs.jsonl", e)) return -1;
    progress_say(&l->progress,
        "  pair: %d prompts = %d with pairs + %d without; %d answers, %d without a score, %d repeat another; %lld possible pairs, %d drawn "
        "= %d kept + %d "
        "dropped for length + %d past pair.most; words %.1f chosen, %.1f rejected",
        n.prompts, n.prompts - n.prompts_without, n.prompts_without, n.candidates, n.unscored, n.duplicates, (long long)n.possible, n.drawn,
        n.kept, n.balanced_away, n.past_most, n.words_chosen, n.words_rejected);
    return COUNTS_RECORD(l, a, e, { "prompts", n.prompts }, { "prompts_without", n.prompts_without }, { "duplicates", n.duplicates },
        { "unscored", n.unscored }, { "possible", (double)n.possible }, { "drawn", n.drawn }, { "balanced_away", n.balanced_away }, { "past_most", n.past_most },
        { "pairs", n.kept }, { "words_chosen", n.words_chosen }, { "words_rejected", n.words_rejected });
}

static int pair_arrow(Loop *l, int iteration, Error *e) {
    char candidates[PATH_SIZE], labels[PATH_SIZE], out[PATH_SIZE];
    Arrow a;
    if (file_of(l, iteration, "candidates.jsonl", candidates, e) || file_of(l, iteration, "labels.jsonl", labels, e) ||
        file_of(l, iteration, "pairs.jsonl", out, e) || arrow_begin(&a, iteration, "pair", e))
        return -1;
    int bad = arrow_input_file(&a, "candidates", candidates, e) || arrow_input_file(&a, "labels", labels, e) ||
              loop_input_settings(l, &a, "pair run.seed", e);
    int skip = bad ? -1 : loop_skip(l, &a, e);
    if (skip == 0) skip = pair_run(l, &a, candidates, labels, out, e);
    arrow_free(&a);
    if (skip < 0) return -1;
    const json_t *row = ledger_find(&l->ledger, iteration, "pair");
    return json_number_value(json_object_get(json_object_get(row, "counts"), "pairs")) > 0 ? 0 : ITERATION_WITHOUT_PAIRS;
}

/* ---- merge ---- */

/* What is trained on: the iteration's own pairs, or these and data.pairs. */
static const char *trained_pairs(const RunConfig *c) { return c->data.pairs[0] ? "merged.jsonl" : "pairs.jsonl"; }

static int merge_run(Loop *l, Arrow *a, const char *pairs, const char *out, Error *e) {
    MergeCounts n;
    if (pairs_merge(l->config, pairs, out, &n, e) || output(l, a, "merged.jsonl", e)) return -1;
    progress_say(&l->progress, "  merge: %d pairs = %d of this iteration + %d of data.pairs, where %d rows were dropped", n.own + n.other, n.own, n.other, n.dropped);
    return COUNTS_RECORD(l, a, e, { "own", n.own }, { "other", n.other }, { "dropped", n.dropped });
}

static int merge_arrow(Loop *l, int iteration, Error *e) {
    const RunConfig *c = l->config;
    char pairs[PATH_SIZE], out[PATH_SIZE];
    Arrow a;
    if (!c->data.pairs[0]) return 0;
    if (file_of(l, iteration, "pairs.jsonl", pairs, e) || file_of(l, iteration, "merged.jsonl", out, e) || arrow_begin(&a, iteration, "merge", e)) return -1;
    int bad = arrow_input_file(&a, "pairs", pairs, e) || arrow_input_file(&a, "other", c->data.pairs, e) ||
              loop_input_settings(l, &a, "data.images data.strict", e);
    int skip = bad ? -1 : loop_skip(l, &a, e);
    if (skip == 0) skip = merge_run(l, &a, pairs, out, e);
    arrow_free(&a);
    return skip < 0 ? -1 : 0;
}

int iteration_data(Loop *l, int iteration, const char *policy, Error *e) {
    if (sample_arrow(l, iteration, policy, e) || iteration_claims(l, iteration, policy, NULL, e) || label_arrow(l, iteration, policy, e)) return -1;
    int got = pair_arrow(l, iteration, e);
    return got ? got : merge_arrow(l, iteration, e);
}

/* ---- train ---- */

/* What training left behind, as train.json says it. */
typedef struct Trained {
    int64_t *steps; /* of the checkpoints, ascending */
    int n;
} Trained;

static int trained_read(const char *path, Trained *t, Error *e) {
    json_t *top, *item;
    size_t i;
    *t = (Trained){ 0 };
    if (json_read_object(path, &top, e)) return -1;
    const json_t *list = json_object_get(top, "checkpoints");
    int bad = json_array_size(list) == 0 ? error_what(e, "no checkpoints listed"), error_where(e, "%s", path), -1 : 0;
    if (!bad && !(t->steps = mem_new(json_array_size(list), sizeof *t->steps, "checkpoints", e))) bad = -1;
    json_array_foreach(list, i, item) if (!bad) bad = json_need_integer(item, "step", path, 1, INT64_MAX, &t->steps[t->n++], e);
    json_decref(top);
    if (bad) free(t->steps);
    return bad ? -1 : 0;
}

static int trained_write(const Loop *l, const char *folder, const TrainResult *r, Error *e) {
    char path[PATH_SIZE], hash[HASH_TEXT];
    json_t *list = json_array();
    int bad = !list ? error_what(e, "out of memory") : 0;
    for (int64_t step = 1; step <= r->steps && !bad; step++) {
        if (!train_saves(l->config, r->pairs, step, r->steps)) continue;
        checkpoint_path(path, folder, step);
        bad = hash_path(path, hash, e);
        if (!bad && json_array_append_new(list, json_pack("{s:I, s:s}", "step", (json_int_t)step, "hash", hash)))
            bad = error_what(e, "out of memory");
    }
    json_t *top = bad ? NULL
                      : json_pack("{s:I, s:i, s:i, s:O}", "steps", (json_int_t)r->steps, "pairs", r->pairs, "dropped", r->dropped,
                            "checkpoints", list);
    char *text = top ? json_dumps(top, JSON_INDENT(1)) : NULL;
    json_decref(top);
    json_decref(list);
    if (!bad && !text) bad = error_what(e, "out of memory");
    if (!bad) bad = path_join(path, folder, "train.json", e) || file_write(path, text, strlen(text), e);
    free(text);
    return bad ? -1 : 0;
}

/* Removes checkpoints that were not made for `inputs`: training would otherwise leave them between its own. `all`: these too. */
static int checkpoints_clear(const char *folder, const json_t *inputs, int all, Error *e) {
    char path[PATH_SIZE], *text;
    json_t *before = NULL;
    if (path_join(path, folder, "training.json", e)) return -1;
    if (!all && file_exists(path) && !json_read_object(path, &before, NULL) && json_equal(before, inputs)) return json_decref(before), 0;
    json_decref(before);
    DIR *d = opendir(folder);
    int bad = 0;
    for (struct dirent *entry; d && !bad && (entry = readdir(d));) {
        char old[PATH_SIZE];
        if (!strncmp(entry->d_name, "checkpoint-", 11)) bad = path_join(old, folder, entry->d_name, e) || folder_remove(old, e);
    }
    if (d) closedir(d);
    text = bad ? NULL : json_dumps(inputs, JSON_INDENT(1));
    if (!bad) bad = !text ? error_what(e, "out of memory") : (folder_make(folder, e) || file_write(path, text, strlen(text), e));
    free(text);
    return bad ? -1 : 0;
}

static int train_run(Loop *l, Arrow *a, const char *policy, const char *pairs, const char *folder, int again, Error *e) {
    TrainResult r;
    TrainPlan plan = { .config = l->config, .pairs = pairs, .folder = folder, .iteration = a->iteration };
    if (checkpoints_clear(folder, a->inputs, again, e) || crew_train(l, policy, plan, &r, e) || trained_write(l, folder, &r, e) || output(l, a, "train.json", e)) return -1;
    progress_say(&l->progress, "  train: %d pairs = %d used + %d dropped; %lld steps of %d pairs", r.pairs + r.dropped, r.pairs, r.dropped,
        (long long)r.steps, l->config->train.batch_pairs);
    return arrow_count(a, "pairs", r.pairs, e) || arrow_count(a, "dropped", r.dropped, e) || arrow_count(a, "steps", (double)r.steps, e) ||
                   ledger_record(&l->ledger, a, e)
               ? -1
               : 0;
}

static int train_arrow(Loop *l, int iteration, const char *policy, int again, Error *e) {
    char pairs[PATH_SIZE], folder[PATH_SIZE];
    Arrow a;
    if (file_of(l, iteration, trained_pairs(l->config), pairs, e) || arrow_folder(l->config, iteration, folder, e) ||
        arrow_begin(&a, iteration, "train", e))
        return -1;
    int bad = loop_input_model(l, &a, "model", policy, e) || arrow_input_file(&a, "pairs", pairs, e) ||
              loop_input_settings(l, &a, train_settings, e);
    int skip = bad ? -1 : again ? 0 : loop_skip(l, &a, e);
    if (skip == 0) skip = train_run(l, &a, policy, pairs, folder, again, e);
    arrow_free(&a);
    return skip < 0 ? -1 : 0;
}

/* ---- select ---- */

enum { CHECKPOINTS_GONE = 1 };

static int select_write(const char *path, const SelectEntry *list, int n, const SelectChoice *choice, double before, Error *e) {
    json_t *entries = json_array();
    for (int i = 0; entries && i < n; i++)
        json_array_append_new(entries,
            json_pack("{s:I, s:f, s:f}", "step", (json_int_t)list[i].step, "rejections", list[i].rejections, "named", list[i].named));
    const SelectEntry *x = &list[choice->index];
    json_t *top = entries ? json_pack("{s:I, s:f, s:f, s:f, s:s, s:O}", "step", (json_int_t)x->step, "rejections", x->rejections, "named",
                                x->named, "named_before", before, "why", choice->why, "checkpoints", entries)
                          : NULL;
    char *text = top ? json_dumps(top, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    int bad = text ? file_write(path, text, strlen(text), e) : error_what(e, "out of memory");
    free(text);
    json_decref(top);
    json_decref(entries);
    return bad;
}

static int select_read(const char *path, SelectEntry *out, Error *e) {
    json_t *top;
    if (json_read_object(path, &top, e)) return -1;
    int bad = json_need_integer(top, "step", path, 1, INT64_MAX, &out->step, e) ||
              json_need_number(top, "rejections", path, &out->rejections, e) || json_need_number(top, "named", path, &out->named, e);
    json_decref(top);
    return bad ? -1 : 0;
}

/* Validates every checkpoint: first all answer, then the judge reads all, so that it is opened once. */
static int checkpoints_validate(Loop *l, int iteration, const char *folder, const Trained *t, SelectEntry *list, Error *e) {
    const RunConfig *c = l->config;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < t->n; i++) {
            char name[32], where[64], model[PATH_SIZE];
            snprintf(name, sizeof name, "valid-%lld", (long long)t->steps[i]);
            snprintf(where, sizeof where, "iter-%d/validation/checkpoint-%lld", iteration, (long long)t->steps[i]);
            checkpoint_path(model, folder, t->steps[i]);
            Answers a = { iteration, name, where, model, select_prompts(c), c->select.prompts };
            LabelerRates rates;
            if (pass == 0) {
                if (answers_make(l, &a, e)) return -1;
                continue;
            }
            if (answers_label(l, &a, e) || answers_rates(l, &a, &rates, e)) return -1;
            list[i] = (SelectEntry){ t->steps[i], rates.rejections, select_named(c, &rates) };
            progress_say(&l->progress, "  checkpoint %lld: %.3f claims rejected an answer, %.3f %s, %.1f words", (long long)t->steps[i],
                rates.rejections, list[i].named, select_named_what(c), rates.words);
        }
    return 0;
}

static int select_run(Loop *l, Arrow *a, const char *folder, const Trained *t, double before, Error *e) {
    const RunConfig *c = l->config;
    char path[PATH_SIZE], model[PATH_SIZE];
    SelectChoice choice = { .index = t->n - 1, .qualified = t->n, .why = "the last checkpoint" };
    SelectEntry *list = mem_new((size_t)t->n, sizeof *list, "checkpoints", e);
    if (!list) return -1;
    int bad = 0;
    if (select_judges(c)) {
        bad = checkpoints_validate(l, a->iteration, folder, t, list, e);
        if (!bad) select_choose(list, t->n, before, select_ratio(c), select_named_what(c), &choice);
    } else
        for (int i = 0; i < t->n; i++) list[i].step = t->steps[i];
    const SelectEntry *x = &list[choice.index];
    if (!bad) {
        checkpoint_path(path, folder, x->step);
        bad = path_join(model, folder, "model", e) || loop_install(l, path, model, e) || path_join(path, folder, "select.json", e) ||
              select_write(path, list, t->n, &choice, before, e) || output(l, a, "select.json", e) || output(l, a, "model", e);
    }
    if (!bad) {
        progress_say(&l->progress, "  select: checkpoint %lld of %d: %s", (long long)x->step, t->n, choice.why);
        bad = COUNTS_RECORD(
            l, a, e, { "chosen_step", (double)x->step }, { "rejections", x->rejections }, { "named", x->named }, { "checkpoints", t->n });
    }
    free(list);
    return bad ? -1 : 0;
}

static int checkpoints_there(const char *folder, const Trained *t) {
    for (int i = 0; i < t->n; i++) {
        char path[PATH_SIZE];
        checkpoint_path(path, folder, t->steps[i]);
        if (!file_exists(path)) return 0;
    }
    return 1;
}

/* 0 done, CHECKPOINTS_GONE when there is something to choose but no longer what to choose from, -1. */
static int select_arrow(Loop *l, int iteration, double before, SelectEntry *chosen, Error *e) {
    const RunConfig *c = l->config;
    char folder[PATH_SIZE], trained[PATH_SIZE], path[PATH_SIZE], least[64], settings[256];
    Trained t;
    Arrow a;
    if (arrow_folder(c, iteration, folder, e) || path_join(trained, folder, "train.json", e) || path_join(path, folder, "select.json", e) ||
        trained_read(trained, &t, e))
        return -1;
    if (arrow_begin(&a, iteration, "select", e)) {
        free(t.steps);
        return -1;
    }
    snprintf(least, sizeof least, "%.17g", before);
    snprintf(settings, sizeof settings, "select eval.n eval.temperature eval.top_p eval.top_k eval.max_new_tokens eval.repetition_penalty eval.beams %s", claims_settings(c));
    int bad = arrow_input_file(&a, "trained", trained, e) || loop_input_settings(l, &a, settings, e);
    if (!bad && select_judges(c))
        bad = loop_input_claims(l, &a, judge_folder(c), e) || arrow_input_text(&a, "named_before", least, e) || arrow_input_file(&a, "validation", select_prompts(c), e) ||
              loop_input_model(l, &a, "judge", judge_folder(c), e);
    int skip = bad ? -1 : loop_skip(l, &a, e), gone = 0;
    if (skip == 0) {
        gone = !checkpoints_there(folder, &t);
        if (!gone) skip = select_run(l, &a, folder, &t, before, e);
    }
    arrow_free(&a);
    if (skip >= 0 && !gone) {
        skip = select_read(path, chosen, e);
        if (skip == 0) skip = checkpoint_prune(folder, c->train.keep, &chosen->step, 1, e);
    }
    free(t.steps);
    return skip < 0 ? -1 : gone ? CHECKPOINTS_GONE : 0;
}

int iteration_train(Loop *l, int iteration, const char *policy, double before, SelectEntry *chosen, Error *e) {
    if (train_arrow(l, iteration, policy, 0, e)) return -1;
    int got = select_arrow(l, iteration, before, chosen, e);
    if (got != CHECKPOINTS_GONE) return got;
    progress_say(&l->progress, "  train: again, as checkpoints to choose from are gone");
    if (train_arrow(l, iteration, policy, 1, e)) return -1;
    return select_arrow(l, iteration, before, chosen, e) ? -1 : 0;
}

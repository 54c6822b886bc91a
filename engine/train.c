/* train.c - owns DPO over a file of pairs: what is read, in which order it is used, when it is logged and saved, and how it goes on after a kill.
 *
 * A step takes batch_pairs pairs, going round the (shuffled, or file) order; epochs follow one another without a partial batch. A step is computed in
 * chunks of at most train.rows token rows. Reference log-probs are taken from the starting weights before the first step and kept by content
 * (weights, tokenizer, template, image, question and answer), so a second run, or a resumed one, does not compute them again; or, where that is asked for,
 * they are those that the rows bring (logps.h). */
#include "engine/train.h"

#include "base/philox.h"
#include "engine/checkpoint.h"
#include "engine/dataset.h"
#include "engine/difflib.h"
#include "engine/dpo.h"
#include "engine/logps.h"
#include "engine/optimizer.h"
#include "engine/parts.h"
#include "engine/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_PAIRS = VLM_IMAGES,
    ROUND_PAIRS = 32 /* reference log-probs of each rank between additions to their cache: what a kill loses */
};

typedef struct Row {
    Prompt prompt;
    IdList answers[2]; /* chosen, rejected, each ended by eos */
    float *weights[2]; /* of their tokens in the loss; NULL: ones */
    double reference[DPO_SEQUENCES];
    char key[DPO_SEQUENCES][HASH_TEXT];
} Row;

/* The pairs of a step: their rows, and whose part each belongs to. */
typedef struct StepRows {
    int *chosen, *part_of;
} StepRows;

typedef struct Job {
    Vlm *v;
    const TrainPlan *plan;
    const RunConfig *config;
    PreferenceLoss loss;
    int sequences; /* of a pair */
    Dataset data;
    Row *rows;
    int n;
    Trunks trunks;
    DpoPair *pairs; /* of a chunk */
    Shard *shard;
    StepRows *step;
    int *tokens, *part; /* costs of a step's pairs; rows of one part */
    DpoSums *sums; /* of this rank's parts */
} Job;

static int row_tokens(const Job *job, const Row *r) {
    return prompt_tokens(job->v, &r->prompt) + (int)(r->answers[0].count > r->answers[1].count ? r->answers[0].count : r->answers[1].count);
}

static int answer_of(int sequence) { return sequence == 1; } /* the third is chosen again */

static PreferenceLoss loss_of(const RunConfig *c) {
    return (PreferenceLoss){ .kind = c->train.loss,
        .beta = (float)c->train.beta,
        .label_smoothing = (float)c->train.label_smoothing,
        .sft_weight = (float)c->train.sft_weight,
        .sft_sum = c->train.sft_reduce == SFT_SUM,
        .conditional_weight = (float)c->train.conditional_weight,
        .anchor_weight = (float)c->train.anchor_weight,
        .pair_scale = 1.0f / (float)c->train.batch_pairs };
}

/* What each token counts for: DDPO's corrected spans (Yu et al. 2023, arXiv 2312.00849), LD-DPO's tokens beyond the shorter answer (Liu et al. 2024, arXiv
 * 2409.06411). Policy and reference are weighted alike. */
static int row_weights(const Job *job, Row *r, Error *e) {
    enum { SHORTEST = 3 }; /* runs of fewer equal tokens part no spans, as in RLHF-V's code */
    const RunConfig *c = job->config;
    const IdList *a = r->answers;
    size_t shorter = a[0].count < a[1].count ? a[0].count : a[1].count;
    if (c->train.token_weight == 1 && c->train.length_alpha == 1) return 0;
    unsigned char *changed = mem_new(a[0].count + a[1].count, 1, "token weights", e);
    int bad = !changed || (c->train.token_weight != 1 && difflib_changed(a[0].ids, (int)a[0].count, a[1].ids, (int)a[1].count, SHORTEST, changed, changed + a[0].count, e));
    for (int side = 0; side < 2 && !bad; side++) {
        if ((bad = !(r->weights[side] = mem_new(a[side].count, sizeof(float), "token weights", e)))) break;
        for (size_t t = 0; t < a[side].count; t++)
            r->weights[side][t] = (float)((changed[side ? a[0].count + t : t] ? c->train.token_weight : 1) * (t < shorter ? 1 : c->train.length_alpha));
    }
    free(changed);
    return bad ? -1 : 0;
}

static void row_free(Row *r) {
    prompt_free(&r->prompt);
    for (int side = 0; side < 2; side++) idlist_free(&r->answers[side]), free(r->weights[side]);
    memset(r, 0, sizeof *r);
}

/* Tokenises every pair; what does not fit is dropped with its reason, never cut. */
static int rows_encode(Job *job, Error *e) {
    const RunConfig *c = job->config;
    job->rows = mem_new((size_t)job->data.n, sizeof *job->rows, "pairs", e);
    if (!job->rows) return -1;
    int limit = c->train.max_tokens, positions = job->v->model.config.decoder.positions;
    if (limit <= 0 || limit > positions) limit = positions;
    for (int i = 0; i < job->data.n;) {
        DataRow *d = &job->data.rows[i];
        Row *r = &job->rows[job->n];
        Error why = { 0 };
        int bad = vlm_prompt(job->v, d->image, d->question, &r->prompt, &why) || template_answer(job->v->chat, d->chosen, 1, &r->answers[0], &why) ||
                  template_answer(job->v->chat, d->rejected, 1, &r->answers[1], &why);
        if (!bad && row_tokens(job, r) > limit) {
            bad = error_what(&why, "pair is too long");
            error_where(&why, "%.300s:%d", job->data.path, d->line);
            error_found(&why, "%d tokens", row_tokens(job, r));
            error_expected(&why, "at most %d (train.max_tokens)", limit);
            if (limit == positions) config_explain_positions(&job->v->model.config.decoder, &why);
        }
        if (!bad) {
            if (row_weights(job, r, e)) return row_free(r), -1;
            job->n++, i++;
            continue;
        }
        row_free(r);
        if (c->data.strict) {
            if (e) *e = why;
            return -1;
        }
        if (dataset_drop(&job->data, i, &why, e)) return -1;
    }
    if (job->n == 0) return error_what(e, "no pair is left to train on"), error_where(e, "%s", job->plan->pairs), error_found(e, "%d rows, all dropped", job->data.rows_read);
    return 0;
}

/* Token rows of a pair that shares its trunk with no other. */
static int pair_tokens(const Job *job, const Row *r) {
    int blind = job->sequences == 3 ? (int)(job->v->head.count + r->prompt.tail.count + r->answers[0].count) : 0;
    return prompt_tokens(job->v, &r->prompt) + (int)(r->answers[0].count + r->answers[1].count) + blind;
}

/* How many of rows order[0 .. n) make a chunk: as many as fit the row budget. */
static int chunk_count(const Job *job, const int *order, int n) {
    int tokens = 0, count = 0;
    while (count < n && count < CHUNK_PAIRS) {
        tokens += pair_tokens(job, &job->rows[order[count]]);
        if (count > 0 && tokens > job->config->train.rows) break;
        count++;
    }
    return count;
}

/* Builds a chunk's trunks and pairs from the first of rows order[0 .. n). Returns how many, or -1. */
static int chunk_build(Job *job, const int *order, int n, Error *e) {
    int most = chunk_count(job, order, n), count = 0;
    trunks_clear(&job->trunks);
    while (count < most) {
        const Row *r = &job->rows[order[count]];
        int trunk = trunks_find(job->v, &job->trunks, &r->prompt, e), blind = trunk;
        if (trunk < 0 || (job->sequences == 3 && (blind = trunks_find_blind(job->v, &job->trunks, &r->prompt, e)) < 0)) return -1;
        for (int s = 0; s < job->sequences; s++)
            job->pairs[count].sequences[s] = (DpoSequence){ .trunk = s == 2 ? blind : trunk,
                .answer = &r->answers[answer_of(s)],
                .weights = r->weights[answer_of(s)],
                .reference = r->reference[s] };
        count++;
    }
    return count;
}

StepSize train_step_size(const ModelConfig *c, const RunConfig *config, int parts, StepMode mode, int64_t longest, int64_t pairs, int64_t images) {
    /* References go in rounds. A part of a step has a pair less than the step for every other part, which has one at least (parts.h). */
    int64_t budget = config->train.rows, most = mode == STEP_TRAIN ? config->train.batch_pairs - parts + 1 : ROUND_PAIRS;
    if (mode != STEP_TRAIN && pairs < most) most = pairs;
    int64_t rows = longest * most < budget ? longest * most : budget > longest ? budget : longest;
    unsigned uses = USES_SCORES | (config->train.recompute == RECOMPUTE_LAYER ? USES_KEEP_INPUTS : 0);
    int tower = mode == STEP_TRAIN && !(config->train.freeze & 1u << PART_VISION);
    return vlm_step_size(c, mode, uses, rows, rows, images < most ? images : most, tower);
}

/* Buffers of the largest chunk when `pairs` pairs are at hand. */
static int chunks_reserve(const Job *job, StepMode mode, int64_t pairs, Error *e) {
    int64_t longest = 0, images = 0;
    for (int i = 0; i < job->n; i++) {
        const Row *r = &job->rows[i];
        int64_t tokens = pair_tokens(job, r);
        images += prompt_has_image(&r->prompt);
        if (tokens > longest) longest = tokens;
    }
    const Ranks *ranks = job->plan->ranks;
    StepSize size = train_step_size(&job->v->model.config, job->config, ranks->passes * ranks->size, mode, longest, pairs, images);
    vlm_release(job->v);
    return vlm_reserve(job->v, &size, e);
}

/* Computes the references of rows first .. first + n - 1, into references (n, DPO_SEQUENCES). */
static int references_compute(Job *job, int first, int n, double (*references)[DPO_SEQUENCES], Error *e) {
    int rows[ROUND_PAIRS];
    for (int i = 0; i < n; i++) rows[i] = first + i;
    for (int at = 0, count; at < n; at += count) {
        count = chunk_build(job, rows + at, n - at, e);
        if (count < 0 || dpo_reference(job->v, &job->trunks.forest, &job->trunks.images, job->pairs, count, job->sequences, e)) return -1;
        for (int i = 0; i < count; i++)
            for (int s = 0; s < job->sequences; s++) references[at + i][s] = job->pairs[i].sequences[s].reference;
    }
    return 0;
}

/* Rows first .. first + round - 1, a run for each rank; what is new goes to the cache (rank 0's; the others have none). */
static int round_run(Job *job, ReferenceCache *cache, int first, int round, Error *e) {
    const Ranks *r = job->plan->ranks;
    double mine[ROUND_PAIRS][DPO_SEQUENCES] = { 0 };
    int from = (int)comm_part(round, r->size, r->rank), count = (int)comm_part(round, r->size, r->rank + 1) - from, bad = 0;
    WorldBytes all = { 0 };
    if (references_compute(job, first + from, count, mine, e) ||
        world_all_gather("reference log-probs", mine, r->slice == 0 ? count * (int64_t)sizeof *mine : 0, &all, e)) /* all slices have the same */
        return -1;
    for (int i = 0; i < round && !bad; i++) {
        Row *row = &job->rows[first + i];
        double known;
        memcpy(row->reference, all.data + (size_t)i * sizeof *mine, sizeof *mine);
        for (int s = 0; s < job->sequences && cache && !bad; s++)
            if (!reference_find(cache, row->key[s], &known)) bad = reference_add(cache, row->key[s], row->reference[s], e);
    }
    world_bytes_free(&all);
    return bad;
}

static int is_missing(const double *known) { return isnan(known[0]) || isnan(known[1]) || isnan(known[2]); }

/* How many of a round's pairs lack a log-prob. */
static int round_lacks(double (*known)[DPO_SEQUENCES], int n) {
    int lacks = 0;
    for (int i = 0; i < n; i++) lacks += is_missing(known[i]);
    return lacks;
}

/* Reference log-probs of all rows: from rank 0's cache, or computed now and added to it. Rounds are cut from the file alone, and one that lacks
 * anything is computed whole: so what a killed start left changes no chunk, and no bit. */
static int references_fill(Job *job, const char *model, const char *path, Error *e) {
    const Ranks *r = job->plan->ranks;
    Progress *progress = job->plan->progress;
    ReferenceCache cache;
    int lead = ranks_lead(r), missing = 0, result = -1, round = ROUND_PAIRS * r->size;
    double(*known)[DPO_SEQUENCES] = mem_new((size_t)job->n, sizeof *known, "reference log-probs", e); /* NAN: not known */
    if (!known || (lead && reference_open(&cache, path, e))) {
        free(known);
        return -1;
    }
    for (int i = 0; i < job->n; i++)
        for (int s = 0; s < job->sequences && lead; s++) {
            Row *row = &job->rows[i];
            known[i][s] = NAN;
            if (reference_key(model, &row->prompt, &row->answers[answer_of(s)], row->weights[answer_of(s)], s == 2, row->key[s], e)) goto done;
            reference_find(&cache, row->key[s], &known[i][s]);
        }
    if (world_broadcast("reference log-probs", 0, known, job->n * (int64_t)sizeof *known, e)) goto done;
    for (int i = 0; i < job->n; i++) {
        missing += is_missing(known[i]);
        memcpy(job->rows[i].reference, known[i], sizeof known[i]);
    }
    if (missing > 0) {
        if (chunks_reserve(job, STEP_SCORE, job->n, e)) goto done;
        progress_begin(progress, "reference log-probs", "pairs", job->n, job->n - missing);
        for (int at = 0; at < job->n; at += round) {
            int n = job->n - at < round ? job->n - at : round;
            if (!round_lacks(known + at, n)) continue;
            for (int i = (int)comm_part(n, r->size, r->rank); i < (int)comm_part(n, r->size, r->rank + 1); i++) vlm_ahead(job->v, &job->rows[at + i].prompt.image);
        }
        for (int at = 0; at < job->n; at += round) {
            int n = job->n - at < round ? job->n - at : round, lacks = round_lacks(known + at, n);
            if (lacks > 0 && round_run(job, lead ? &cache : NULL, at, n, e)) goto done;
            progress_add(progress, lacks);
        }
        progress_end(progress);
    }
    result = 0;
done:
    vlm_ahead_clear(job->v);
    if (lead && reference_close(&cache, result == 0 ? e : NULL)) result = -1;
    free(known);
    return result;
}

/* References that the rows bring: no model is asked, so whose they are is the user's word. */
static int references_read(Job *job, Error *e) {
    for (int i = 0; i < job->n; i++) {
        Row *r = &job->rows[i];
        LogpsSide sides[2];
        char where[PATH_SIZE + 16];
        snprintf(where, sizeof where, "%s:%d", job->data.path, job->data.rows[i].line);
        for (int side = 0; side < 2; side++)
            sides[side] = (LogpsSide){ prompt_tokens(job->v, &r->prompt), (int)r->answers[side].count, NULL, r->weights[side] };
        if (logps_read(job->data.rows[i].json, where, sides, r->reference, e)) return -1;
    }
    progress_say(job->plan->progress, "reference log-probs: those of the rows (train.reference = file)");
    return 0;
}

/* order[0 .. n) of an epoch: file order, or a shuffle by (seed, iteration, epoch). */
static void epoch_order(const Job *job, int64_t epoch, int *order) {
    for (int i = 0; i < job->n; i++) order[i] = i;
    if (job->config->train.order == ORDER_FILE) return;
    Rng rng = { (uint64_t)job->config->run.seed, hash64(&epoch, sizeof epoch, (uint64_t)job->plan->iteration + 0x7261696eu), 0 };
    for (int i = job->n - 1; i > 0; i--) {
        int j = (int)rng_below(&rng, (uint32_t)i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

static int job_hash(const Job *job, const char *model, const char *pairs, int64_t steps, char out[HASH_TEXT], Error *e) {
    char settings[HASH_TEXT], text[512];
    if (config_hash(job->config, TRAIN_LOSS_SETTINGS " train.lr train.lr_end train.schedule train.warmup_steps train.warmup_ratio "
                                 "train.batch_pairs train.order train.adam_beta1 train.adam_beta2 train.adam_eps train.weight_decay train.clip train.freeze train.image_aspect data.exif "
                                 "train.max_tokens train.rows run.seed run.dtype",
            settings, e))
        return -1;
    int n = snprintf(text, sizeof text, "%s %s %s %lld %d %s%s", settings, pairs, model, (long long)steps, job->plan->iteration, template_hash(job->v->chat),
        job->config->train.reference == REFERENCE_FILE ? " references of the file" : "");
    hash_bytes(text, (size_t)n, out);
    return 0;
}

/* Ranks with other pairs, another model or other settings would train on, to nothing of use. */
static int job_agree(const Job *job, const char *model, const char *pairs, const char *hash, Error *e) {
    char text[256];
    snprintf(text, sizeof text, "model %s, pairs %s, %d of them fit, job %s", model, pairs, job->n, hash);
    return ranks_agree(job->plan->ranks, "what to train", text, e);
}

static int step_log(const Job *job, const DpoSums *s, int64_t step, int64_t steps, double lr, double norm, int64_t tokens, double seconds, Error *e) {
    const RunConfig *c = job->config;
    double n = s->pairs, all = (double)(s->tokens[0] + s->tokens[1]);
    MetricRow row;
    metric_row(&row, job->plan->iteration, "train", step);
    metric_set(&row, "loss", s->loss / n);
    metric_set(&row, "learning_rate", lr);
    metric_set(&row, "grad_norm", norm);
    metric_set(&row, "rewards/chosen", s->reward[0] / n);
    metric_set(&row, "rewards/rejected", s->reward[1] / n);
    metric_set(&row, "rewards/accuracies", s->accuracies / n);
    metric_set(&row, "rewards/margins", (s->reward[0] - s->reward[1]) / n);
    metric_set(&row, "logps/chosen", s->logp[0] / n);
    metric_set(&row, "logps/rejected", s->logp[1] / n);
    metric_set(&row, "logits/chosen", s->logit[0] / (double)s->tokens[0]);
    metric_set(&row, "logits/rejected", s->logit[1] / (double)s->tokens[1]);
    metric_set(&row, "entropy", s->entropy / all);
    metric_set(&row, "mean_token_accuracy", s->hits / all);
    metric_set(&row, "num_tokens", (double)tokens);
    metric_set(&row, "epoch", (double)(step * c->train.batch_pairs) / job->n);
    metric_set(&row, "step_time", seconds);
    char text[160];
    progress_note(job->plan->progress, "%s", metric_row_text(&row, text, sizeof text));
    int log = step % c->train.log_every == 0 || step == 1 || step == steps;
    return log && job->plan->metrics ? metrics_write(job->plan->metrics, &row, e) : 0;
}

/* ---- steps ---- */

/* Chooses the pairs of step t and deals them. Steps are dealt in their order, one before it is computed, so that its images are made ready
 * while the step before it runs; order and *epoch go along. */
static int step_deal(Job *job, int64_t t, int *order, int64_t *epoch, StepRows *step, Error *e) {
    const Ranks *r = job->plan->ranks;
    int batch = job->config->train.batch_pairs;
    for (int i = 0; i < batch; i++) {
        int64_t at = t * batch + i;
        if (at / job->n != *epoch) epoch_order(job, *epoch = at / job->n, order);
        step->chosen[i] = order[at % job->n];
        job->tokens[i] = pair_tokens(job, &job->rows[step->chosen[i]]);
    }
    if (parts_deal(job->tokens, batch, r->passes * r->size, step->part_of, e)) return -1;
    for (int pass = 0; pass < r->passes; pass++)
        for (int i = 0; i < batch; i++)
            if (step->part_of[i] == pass * r->size + r->rank) vlm_ahead(job->v, &job->rows[step->chosen[i]].prompt.image);
    return 0;
}

/* Rows of part `part` of the step's pairs, in their order in it: into job->part. */
static int part_list(Job *job, int part) {
    int n = 0;
    for (int i = 0; i < job->config->train.batch_pairs; i++)
        if (job->step->part_of[i] == part) job->part[n++] = job->step->chosen[i];
    return n;
}

static int chunks_of(const Job *job, const int *rows, int n) {
    int chunks = 0;
    for (int at = 0; at < n; chunks++) at += chunk_count(job, rows + at, n - at);
    return chunks;
}

/* Gradients of one part. Where blocks travel between ranks every rank has to compute as many chunks as any: the last one again, at no weight. */
static int part_run(Job *job, int pass, PreferenceLoss loss, DpoSums *sums, Error *e) {
    const Ranks *r = job->plan->ranks;
    int most = 0, chunks = 0, n, count = 0, at = 0;
    for (int rank = 0; rank < r->size && shard_mode(job->shard) >= SHARD_GRADIENTS; rank++) {
        n = part_list(job, pass * r->size + rank);
        int needed = chunks_of(job, job->part, n);
        most = needed > most ? needed : most;
    }
    n = part_list(job, pass * r->size + r->rank);
    DpoSums none = { 0 };
    for (; at < n || chunks < most; chunks++) {
        if (at == n) at -= count, loss.pair_scale = 0, sums = &none;
        count = chunk_build(job, job->part + at, n - at, e);
        if (at + count == n) shard_pass_last(job->shard);
        if (count < 0 || dpo_backward(job->v, &job->trunks.forest, &job->trunks.images, job->pairs, count, &loss, sums, e)) return -1;
        at += count;
    }
    return shard_pass_end(job->shard, e);
}

static void sums_add(DpoSums *to, const DpoSums *s) {
    to->pairs += s->pairs, to->rows += s->rows;
    for (int side = 0; side < 2; side++) {
        to->tokens[side] += s->tokens[side];
        to->reward[side] += s->reward[side], to->logp[side] += s->logp[side], to->logit[side] += s->logit[side];
    }
    to->loss += s->loss, to->accuracies += s->accuracies, to->entropy += s->entropy, to->hits += s->hits;
}

/* Gradients of the step's pairs, summed over all ranks; what is known of all pairs goes to *sums, added in the order of parts. */
static int step_gradients(Job *job, const PreferenceLoss *loss, DpoSums *sums, Error *e) {
    const Ranks *r = job->plan->ranks;
    WorldBytes all = { 0 };
    for (int pass = 0; pass < r->passes; pass++) {
        job->sums[pass] = (DpoSums){ 0 };
        if (part_run(job, pass, *loss, &job->sums[pass], e)) return -1;
    }
    if (r->size > 1 && world_all_gather("sums of a step", job->sums, r->slice == 0 ? r->passes * (int64_t)sizeof *job->sums : 0, &all, e)) return -1;
    const DpoSums *parts = r->size > 1 ? (const DpoSums *)all.data : job->sums;
    *sums = (DpoSums){ 0 };
    for (int pass = 0; pass < r->passes; pass++)
        for (int rank = 0; rank < r->size; rank++) sums_add(sums, &parts[rank * r->passes + pass]);
    world_bytes_free(&all);
    return 0;
}

int train_saves(const RunConfig *c, int pairs, int64_t step, int64_t steps) {
    int64_t every = c->train.save_every;
    if (c->train.save_epochs > 0) {
        every = llround(c->train.save_epochs * pairs / c->train.batch_pairs);
        if (every < 1) every = 1;
    }
    return step == steps || (every > 0 && step % every == 0);
}

static int steps_run(Job *job, TrainState *state, int64_t steps, TrainResult *result, Error *e) {
    const RunConfig *c = job->config;
    const Ranks *r = job->plan->ranks;
    Model *m = &job->v->model;
    int bad = -1, batch = c->train.batch_pairs;
    int *order = mem_new((size_t)job->n, sizeof *order, "order", e), *lists = mem_new(6 * (size_t)batch, sizeof *lists, "batch", e);
    int64_t epoch = -1, taken = 0;
    job->sums = mem_new((size_t)r->passes, sizeof *job->sums, "sums of a step", e);
    if (!order || !lists || !job->sums || chunks_reserve(job, STEP_TRAIN, batch, e)) goto done;
    job->tokens = lists, job->part = lists + batch;
    StepRows deals[2] = { { lists + 2 * batch, lists + 3 * batch }, { lists + 4 * batch, lists + 5 * batch } }; /* by step, odd and even */
    if (state->step < steps && step_deal(job, state->step, order, &epoch, &deals[state->step & 1], e)) goto done;
    progress_begin(job->plan->progress, "train", "steps", steps, state->step);
    for (; state->step < steps; taken++) {
        double start = progress_seconds(), norm;
        int64_t t = state->step;
        if (t + 1 < steps && step_deal(job, t + 1, order, &epoch, &deals[(t + 1) & 1], e)) goto done;
        job->step = &deals[t & 1];
        DpoSums sums;
        if (step_gradients(job, &job->loss, &sums, e)) goto done;
        double lr = schedule_lr(c, t, steps);
        state->step = t + 1;
        state->tokens += sums.rows;
        if (optimizer_step(job->shard, c, lr, state->step, &norm, e)) goto done;
        if (job->v->tower_trained) vlm_forget_features(job->v);
        result->loss += sums.loss / sums.pairs;
        if (step_log(job, &sums, state->step, steps, lr, norm, state->tokens, progress_seconds() - start, e)) goto done;
        progress_add(job->plan->progress, 1);
        if (train_saves(c, job->n, state->step, steps))
            if (checkpoint_save(m, job->shard, r, c, job->plan->folder, state, e)) goto done;
    }
    progress_end(job->plan->progress);
    if (taken > 0) result->loss /= (double)taken;
    bad = 0;
done:
    vlm_ahead_clear(job->v);
    free(order);
    free(lists);
    free(job->sums);
    return bad;
}

int train_pairs(Vlm *v, const TrainPlan *plan, TrainResult *result, Error *e) {
    const RunConfig *c = plan->config;
    Model *m = &v->model;
    Job job = { .v = v, .plan = plan, .config = c, .loss = loss_of(c) };
    char path[PATH_SIZE], unpack[PATH_SIZE], model[HASH_TEXT], pairs[HASH_TEXT];
    TrainState state = { 0 };
    const Kernels *host;
    double start = progress_seconds();
    int bad = -1, resumed;
    memset(result, 0, sizeof *result);
    job.sequences = loss_sequences(&job.loss);
    unsigned image = m->config.vision.layers > 0 ? DATA_IMAGE : 0; /* a decoder alone learns from text */
    DataOptions options = { .need = image | DATA_QUESTION | DATA_PAIR, .images = c->data.images, .unpack = unpack, .strict = c->data.strict };
    if (path_join(unpack, plan->folder, "images", e) || dataset_read(&job.data, plan->pairs, &options, e)) return -1;
    job.pairs = mem_new(CHUNK_PAIRS, sizeof *job.pairs, "pairs", e);
    if (!job.pairs || rows_encode(&job, e) || (ranks_lead(plan->ranks) && folder_make(plan->folder, e))) goto done;
    char line[600];
    progress_say(plan->progress, "%s", dataset_summary(&job.data, line, sizeof line));
    for (int i = 0; i < job.data.drops_n; i++) progress_say(plan->progress, "  dropped: %s", job.data.drops[i].reason);

    int64_t steps = c->train.steps > 0 ? c->train.steps : (int64_t)ceil(c->train.epochs * job.n / c->train.batch_pairs);
    if (reference_model_key(v, model, e) || hash_file(plan->pairs, pairs, e) || job_hash(&job, model, pairs, steps, state.job, e) ||
        job_agree(&job, model, pairs, state.job, e))
        goto done;
    if (c->train.reference == REFERENCE_FILE ? references_read(&job, e)
                                             : path_join(path, plan->folder, "reference.jsonl", e) || references_fill(&job, model, path, e))
        goto done;
    char own[HASH_TEXT];
    memcpy(own, state.job, sizeof own);
    v->tower_trained = !(c->train.freeze & 1u << PART_VISION);
    m->recompute = c->train.recompute == RECOMPUTE_LAYER;
    vlm_release(v);
    if (ranks_offload(c, &host, e) || shard_open(&job.shard, m, plan->ranks->data, c->ranks.shard, c->train.freeze, plan->ranks->passes, host, e)) goto done;
    resumed = checkpoint_latest(plan->folder, plan->ranks, own, &state, e);
    if (resumed < 0) goto done;
    if (!resumed) state = (TrainState){ 0 };
    memcpy(state.job, own, sizeof own);
    if (resumed && checkpoint_load(m, job.shard, plan->ranks, plan->folder, &state, e)) goto done;
    if (resumed) progress_say(plan->progress, "continuing from step %lld of %lld", (long long)state.step, (long long)steps);
    if (plan->metrics && metrics_resume(plan->metrics, plan->iteration, "train", state.step, e)) goto done;
    if (steps_run(&job, &state, steps, result, e)) goto done;
    *result = (TrainResult){ .steps = steps, .pairs = job.n, .dropped = job.data.drops_n, .loss = result->loss, .seconds = progress_seconds() - start };
    bad = 0;
done:
    vlm_release(v);
    if (shard_close(job.shard, bad ? NULL : e)) bad = -1;
    v->tower_trained = 0;
    m->recompute = 0;
    trunks_free(&job.trunks);
    for (int i = 0; i < job.n; i++) row_free(&job.rows[i]);
    free(job.rows);
    free(job.pairs);
    dataset_free(&job.data);
    return bad;
}

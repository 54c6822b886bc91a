/* arrows.c - owns the loop's way from prompts to labels: candidates.jsonl and labels.jsonl; claims.jsonl is claims_arrow.c's.
 *
 * Scores follow PAPER 3.5: minus the number of claims that are not accepted; answers without claims have none. The ablation that asks about whole
 * answers (label.mode = holistic) has the labeler's confidence for a score. */
#include "engine/arrows.h"

#include "engine/commands.h"
#include "engine/eval/labeler_eval.h"
#include "engine/label.h"
#include "engine/partial.h"
#include "engine/sample.h"
#include "kernels/comm/world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int arrow_folder(const RunConfig *c, int iteration, char out[PATH_SIZE], Error *e) {
    char name[32];
    snprintf(name, sizeof name, "iter-%d", iteration);
    return path_join(out, c->run.dir, name, e);
}

int arrow_model_key(Vlm *v, char *out, size_t size, Error *e) {
    char weights[HASH_TEXT], words[HASH_TEXT];
    if (model_hash(&v->model, weights, e) || v->model.k->sync(e)) return -1;
    tokenizer_hash(v->tokenizer, words);
    if (snprintf(out, size, "weights %s tokenizer %s template %s ends %016llx aspect %d exif %d dtype %d", weights, words, template_hash(v->chat),
            (unsigned long long)hash64(v->ends.ids, v->ends.count * sizeof *v->ends.ids, 0), v->aspect, v->exif, v->model.dtype) < (int)size)
        return 0;
    return error_what(e, "key is too long");
}

/* ---- sample ---- */

typedef struct SampleArrow {
    Vlm *v;
    const Dataset *set;
    const uint32_t *rows; /* by prompt handed to the sampler: its row */
    Partial *partial;
    Progress *progress;
    int n;
} SampleArrow;

static json_t *text_or_null(const char *text) { return text ? json_string(text) : json_null(); }

static int sample_done(void *context, size_t prompt, Candidate *candidates, Error *e) {
    SampleArrow *a = context;
    const DataRow *r = &a->set->rows[a->rows[prompt]];
    char *absolute = r->image ? realpath(r->image, NULL) : NULL;
    json_t *rows = json_array();
    int bad = 0;
    for (int i = 0; i < a->n && !bad; i++) {
        const Candidate *c = &candidates[i];
        char *text = template_answer_text(a->v->chat, c->ids.ids, c->ids.count, e);
        json_t *row = text ? json_pack("{s:s, s:o, s:s, s:i, s:s, s:i, s:f, s:b}", "id", r->id, "image",
                                 text_or_null(absolute ? absolute : r->image), "question", r->question, "candidate", i, "text", text,
                                 "tokens", (int)c->ids.count, "logp", c->logp, "finished", c->finished)
                           : NULL;
        if (text && !row) error_what(e, "out of memory"), error_where(e, "candidates");
        bad = !row || json_array_append_new(rows, row);
        free(text);
    }
    free(absolute);
    if (!bad) return partial_add(a->partial, a->rows[prompt], rows, NULL, e);
    json_decref(rows);
    return -1;
}

static int sample_refuse(SampleArrow *a, size_t row, const Error *why, Error *e) {
    char text[1600];
    error_text(why, text, sizeof text);
    progress_say(a->progress, "prompt dropped: %s:%d: %s", a->set->path, a->set->rows[row].line, text);
    return partial_add(a->partial, row, json_array(), text, e);
}

static int sample_refused(void *context, size_t prompt, const Error *why, Error *e) {
    SampleArrow *a = context;
    return sample_refuse(a, a->rows[prompt], why, e);
}

static void sample_count(void *context, const json_t *row) {
    SampleCounts *c = context;
    c->candidates++;
    c->finished += json_is_true(json_object_get(row, "finished"));
    c->tokens += json_integer_value(json_object_get(row, "tokens"));
}

/* Everything the candidates depend on. */
static int sample_key(Vlm *v, const SampleConfig *s, const Dataset *set, char key[PATH_SIZE], Error *e) {
    char model[512];
    uint64_t h = 0;
    if (arrow_model_key(v, model, sizeof model, e)) return -1;
    for (int i = 0; i < set->n; i++) {
        const DataRow *r = &set->rows[i];
        h = hash64(r->id, strlen(r->id) + 1, h);
        h = hash64(r->question, strlen(r->question) + 1, h);
        if (r->image) h = hash64(r->image, strlen(r->image) + 1, h);
    }
    snprintf(key, PATH_SIZE, "sample %s prompts %d %016llx n %d temperature %.9g top_p %.9g top_k %d max_new_tokens %d repetition_penalty %.9g beams %d seed %llu", model,
        set->n, (unsigned long long)h, s->n, (double)s->temperature, (double)s->top_p, s->top_k, s->max_new_tokens,
        (double)s->repetition_penalty, s->beams, (unsigned long long)s->seed);
    return 0;
}

/* 1 for prompts of this rank's share: a run of those that wait, cut where the tokens are. */
static void share_cut(const Ranks *r, const Prompt *list, size_t n, const Vlm *v, size_t *first, size_t *end) {
    int64_t total = 0, before = 0;
    for (size_t i = 0; i < n; i++) total += prompt_tokens(v, &list[i]);
    *first = *end = 0;
    for (size_t i = 0; i < n; i++) {
        int owner = (int)(before * r->size / (total > 0 ? total : 1));
        before += prompt_tokens(v, &list[i]);
        if (owner < r->rank) *first = i + 1;
        if (owner <= r->rank) *end = i + 1;
    }
}

int arrow_sample(const Ranks *ranks, Vlm *policy, const RunConfig *c, uint64_t seed, const Dataset *prompts, const char *out, SampleCounts *counts,
    Progress *progress, Error *e) {
    SampleConfig config = { .n = c->sample.n,
        .temperature = (float)c->sample.temperature,
        .top_p = (float)c->sample.top_p,
        .top_k = c->sample.top_k,
        .max_new_tokens = c->sample.max_new_tokens,
        .leaves = c->sample.batch,
        .seed = seed,
        .repetition_penalty = (float)c->sample.repetition_penalty,
        .beams = c->sample.beams };
    char key[PATH_SIZE];
    Partial partial;
    if (sample_key(policy, &config, prompts, key, e) || partial_open(&partial, out, key, ranks, e)) return -1;
    size_t n = (size_t)prompts->n, waiting = 0, first = 0, end;
    Prompt *list = mem_new(n + 1, sizeof *list, "prompts", e);
    uint32_t *rows = mem_new(n + 1, sizeof *rows, "prompts", e);
    SampleArrow a = { policy, prompts, rows, &partial, progress, config.n };
    int bad = !list || !rows, lead = !ranks || ranks_lead(ranks);
    progress_begin(progress, "sample", "answers", (int64_t)n * config.n, (int64_t)partial.done * config.n);
    for (size_t i = 0; i < n && !bad; i++) {
        Error why = { 0 };
        if (partial_has(&partial, i)) continue;
        const DataRow *r = &prompts->rows[i];
        if (!vlm_prompt(policy, r->image, r->question, &list[waiting], &why)) rows[waiting++] = (uint32_t)i;
        else if (c->data.strict) {
            if (e) *e = why;
            bad = -1;
        } else if (lead) bad = sample_refuse(&a, i, &why, e);
    }
    end = waiting;
    if (ranks && !bad) share_cut(ranks, list, waiting, policy, &first, &end);
    a.rows += first;
    if (!bad)
        bad = sample_candidates(policy, list + first, rows + first, end - first, &config, &(SampleSink){ &a, sample_done },
            c->data.strict ? NULL : &(Refusals){ &a, sample_refused }, progress, e);
    *counts = (SampleCounts){ .prompts = prompts->n };
    if (!bad) bad = partial_finish(&partial, n, sample_count, counts, &counts->refused, e);
    else partial_close(&partial);
    progress_end(progress);
    if (list) prompts_free(list, waiting);
    free(rows);
    if (!bad && lead && counts->candidates == 0)
        return error_what(e, "no prompt could be answered"), error_where(e, "%s", prompts->path),
               error_hint(e, "the messages say why each was dropped");
    return bad ? -1 : 0;
}

/* ---- label ---- */

/* One answer's claims, read from both files. */
typedef struct LabelAnswer {
    char *id;
    int64_t candidate;
    ClaimList claims;
    size_t group, first; /* prompt; its first probe of the batch */
} LabelAnswer;

typedef struct LabelArrow {
    const Ranks *ranks;
    Vlm *v;
    const RunConfig *config;
    Partial *partial;
    Progress *progress;
    const char *path; /* of the candidates, for messages */
    LabelAnswer *answers;
    size_t answers_n, answers_cap;
    Prompt *probes;
    size_t probes_n, probes_cap;
    size_t *owner; /* by probe: its answer */
    size_t owner_cap;
    char **images; /* by group of the batch: paths the probes borrow */
    size_t images_n, images_cap;
    ProbeResult *results;
    size_t results_cap;
} LabelArrow;

static void label_batch_clear(LabelArrow *a) {
    for (size_t i = 0; i < a->answers_n; i++) {
        free(a->answers[i].id);
        claims_free(&a->answers[i].claims);
    }
    for (size_t i = 0; i < a->probes_n; i++) prompt_free(&a->probes[i]);
    for (size_t i = 0; i < a->images_n; i++) free(a->images[i]);
    a->answers_n = a->probes_n = a->images_n = 0;
}

static void label_say(const LabelArrow *a, const LabelAnswer *l, const Error *why) {
    char text[1600];
    progress_say(a->progress, "answer not scored: %s: %s candidate %lld: %s", a->path, l->id, (long long)l->candidate,
        error_text(why, text, sizeof text));
}

static int label_refused(void *context, size_t probe, const Error *why, Error *e) {
    (void)e;
    const LabelArrow *a = context;
    const LabelAnswer *l = &a->answers[a->owner[probe]];
    if (probe == l->first) label_say(a, l, why); /* once per answer */
    return 0;
}

/* An answer with a question that the labeler cannot be asked: without claims it has no score. */
static int label_unaskable(LabelArrow *a, LabelAnswer *l, const Error *why, Error *e) {
    if (a->config->data.strict) {
        if (e) *e = *why;
        return -1;
    }
    while (a->probes_n > l->first) prompt_free(&a->probes[--a->probes_n]);
    label_say(a, l, why);
    claims_free(&l->claims);
    return 0;
}

/* Appends an answer and its probes to the batch. */
static int label_add(
    LabelArrow *a, const char *id, int64_t candidate, const json_t *claims, const char *where, size_t group, const char *image, Error *e) {
    if (mem_grow(&a->answers, &a->answers_cap, a->answers_n + 1, sizeof *a->answers, "answers", e)) return -1;
    LabelAnswer *l = &a->answers[a->answers_n];
    *l = (LabelAnswer){ .candidate = candidate, .group = group, .first = a->probes_n };
    if (claims_from_json(claims, where, &l->claims, e)) return -1;
    l->id = strdup(id);
    a->answers_n++;
    if (!l->id) return error_what(e, "out of memory");
    for (size_t i = 0; i < l->claims.count; i++) {
        const char *question = l->claims.claims[i].question;
        char *text;
        if (!question) continue;
        if (mem_grow(&a->probes, &a->probes_cap, a->probes_n + 1, sizeof *a->probes, "probes", e) ||
            mem_grow(&a->owner, &a->owner_cap, a->probes_n + 1, sizeof *a->owner, "probes", e))
            return -1;
        if (asprintf(&text, "%s%s", question, claim_probe_ending) < 0) return error_what(e, "out of memory");
        Error why = { 0 };
        int bad = vlm_prompt(a->v, image, text, &a->probes[a->probes_n], &why);
        free(text);
        a->owner[a->probes_n] = a->answers_n - 1;
        if (!bad) a->probes_n++;
        else return label_unaskable(a, l, &why, e);
    }
    return 0;
}

const char *label_settings(const RunConfig *c) {
    return c->label.mode == LABEL_HOLISTIC ? "run.dtype chat train.image_aspect data.exif label.mode label.score" : "run.dtype chat train.image_aspect data.exif";
}

/* What the labeler thinks of a whole answer. Probabilities that vanish count as the least that fp32 tells from 0. */
static json_t *whole_score(const RunConfig *c, const ProbeResult *r) {
    const double least = 1e-38;
    double yes = fmax(r->p_yes, least), no = fmax(r->p_no, least);
    return json_real(c->label.score == SCORE_LOG_ODDS ? log(yes / no) : yes / (yes + no));
}

/* The row of an answer. A refused probe leaves the answer without a score. */
static json_t *label_row(const LabelArrow *a, const LabelAnswer *l) {
    json_t *probes = json_array();
    int rejected = 0, refused = 0;
    size_t probe = l->first;
    for (size_t i = 0; i < l->claims.count; i++) {
        const char *question = l->claims.claims[i].question;
        static const ProbeResult unasked;
        const ProbeResult *r = question ? &a->results[probe++] : &unasked;
        rejected += !r->accepted;
        refused |= r->refused;
        json_array_append_new(probes, json_pack("{s:o, s:f, s:f, s:b}", "question", text_or_null(question), "p_yes", r->p_yes, "p_no",
                                          r->p_no, "accepted", r->accepted));
    }
    json_t *score = l->claims.count == 0 || refused                ? json_null()
                    : a->config->label.mode == LABEL_HOLISTIC ? whole_score(a->config, &a->results[l->first])
                                                              : json_integer(-rejected);
    return json_pack("{s:s, s:I, s:o, s:o}", "id", l->id, "candidate", (json_int_t)l->candidate, "probes", probes, "score", score);
}

static int label_batch_run(LabelArrow *a, const int words[PROBE_WORDS], Error *e) {
    if (a->answers_n == 0) return 0;
    if (mem_grow(&a->results, &a->results_cap, a->probes_n + 1, sizeof *a->results, "probe results", e)) return -1;
    progress_note(a->progress, "%zu probes", a->probes_n);
    if (label_probes(a->v, words, a->probes, a->probes_n, a->config->label.batch, a->results,
            a->config->data.strict ? NULL : &(Refusals){ a, label_refused }, NULL, e))
        return -1;
    for (size_t i = 0; i < a->answers_n;) {
        json_t *rows = json_array();
        size_t group = a->answers[i].group;
        for (; i < a->answers_n && a->answers[i].group == group; i++) {
            json_t *row = label_row(a, &a->answers[i]);
            if (!row || json_array_append_new(rows, row)) {
                json_decref(rows);
                return error_what(e, "out of memory"), error_where(e, "labels");
            }
            progress_add(a->progress, 1);
        }
        if (partial_add(a->partial, group, rows, NULL, e)) return -1;
    }
    label_batch_clear(a);
    return 0;
}

static void label_count(void *context, const json_t *row) {
    LabelCounts *c = context;
    const json_t *score = json_object_get(row, "score"), *probe;
    size_t i;
    c->answers++;
    c->unscored += !json_is_number(score);
    c->score += json_number_value(score);
    json_array_foreach(json_object_get(row, "probes"), i, probe) {
        int accepted = json_is_true(json_object_get(probe, "accepted"));
        c->claims++;
        c->rejected += !accepted;
        if (json_is_null(json_object_get(probe, "question"))) continue;
        c->probes++;
        c->probes_yes += accepted;
    }
}

/* Groups of this rank that are not done: every size-th. */
static int label_mine(const LabelArrow *a, size_t group) {
    return !partial_has(a->partial, group) && (!a->ranks || (int)(group % (size_t)a->ranks->size) == a->ranks->rank);
}

/* Streams both files through the labeler. *groups: prompts seen. */
static int label_stream(LabelArrow *a, JsonLines *candidates, JsonLines *claims, const int words[PROBE_WORDS], size_t *groups, Error *e) {
    char *last = NULL;
    json_t *one, *two;
    int got, bad = 0;
    while (!bad && (got = rows_next_two(candidates, claims, &one, &two, e)) == 1) {
        const char *id = json_string_value(json_object_get(one, "id")), *image = NULL;
        if (!last || strcmp(last, id)) {
            if (a->probes_n >= (size_t)a->config->label.batch) bad = label_batch_run(a, words, e); /* what a kill can lose */
            free(last);
            last = strdup(id);
            ++*groups;
            if (!bad) bad = json_may_string(one, "image", candidates->where, &image, e) || !last;
            if (!bad && label_mine(a, *groups - 1)) {
                bad = mem_grow(&a->images, &a->images_cap, a->images_n + 1, sizeof *a->images, "images", e);
                if (!bad) {
                    a->images[a->images_n] = image ? strdup(image) : NULL;
                    bad = image && !a->images[a->images_n] ? error_what(e, "out of memory") : 0;
                    a->images_n++;
                }
            }
        }
        if (!bad && label_mine(a, *groups - 1))
            bad = label_add(a, id, json_integer_value(json_object_get(one, "candidate")), json_object_get(two, "claims"), claims->where,
                *groups - 1, a->images[a->images_n - 1], e);
        else if (!bad) progress_add(a->progress, 1); /* done before a kill, or by another rank */
        json_decref(one);
        json_decref(two);
    }
    free(last);
    if (!bad && got == 0) return label_batch_run(a, words, e);
    return -1;
}

static int label_key(Vlm *v, const RunConfig *c, const char *candidates, const char *claims, char key[PATH_SIZE], Error *e) {
    char model[512], hashes[2][HASH_TEXT];
    if (arrow_model_key(v, model, sizeof model, e) || hash_file(candidates, hashes[0], e) || hash_file(claims, hashes[1], e)) return -1;
    int n = snprintf(key, PATH_SIZE, "label %s candidates %s claims %s", model, hashes[0], hashes[1]);
    if (c->label.mode == LABEL_HOLISTIC) snprintf(key + n, PATH_SIZE - (size_t)n, " holistic %d", c->label.score);
    return 0;
}

int arrow_label(const Ranks *ranks, Vlm *labeler, const RunConfig *c, const char *candidates, const char *claims, const char *out, LabelCounts *counts,
    Progress *progress, Error *e) {
    int words[PROBE_WORDS];
    char key[PATH_SIZE];
    Partial partial;
    JsonLines one, two;
    size_t groups = 0;
    memset(counts, 0, sizeof *counts);
    if (probe_word_ids(labeler, words, e) || label_key(labeler, c, candidates, claims, key, e) || jsonl_open(&one, candidates, e)) return -1;
    if (jsonl_open(&two, claims, e)) {
        jsonl_close(&one);
        return -1;
    }
    LabelArrow a = { .ranks = ranks, .v = labeler, .config = c, .partial = &partial, .progress = progress, .path = candidates };
    int bad = partial_open(&partial, out, key, ranks, e);
    if (!bad) {
        progress_begin(progress, "label", "answers", file_lines(candidates), 0);
        bad = label_stream(&a, &one, &two, words, &groups, e);
        if (!bad) bad = partial_finish(&partial, groups, label_count, counts, NULL, e);
        else partial_close(&partial);
        progress_end(progress);
    }
    jsonl_close(&one);
    jsonl_close(&two);
    label_batch_clear(&a);
    free(a.answers);
    free(a.probes);
    free(a.owner);
    free(a.images);
    free(a.results);
    return bad ? -1 : 0;
}

/* ---- how commands begin ---- */

int command_config(RunConfig *c, int argc, char **argv, const char *synopsis, const char *const *needed, Error *e) {
    config_defaults(c);
    int got = config_arguments(c, argc, argv, e);
    if (got == CONFIG_HELP) {
        if (world_here()->rank == 0) printf("usage: rlaifv %s\n\n", synopsis), config_help(stdout);
        return 1;
    }
    if (got == CONFIG_USAGE) return 2;
    if (got) return -1;
    for (; *needed; needed++)
        if (config_need(c, *needed, e)) return -1;
    return 0;
}

int command_config_ranks(RunConfig *c, int argc, char **argv, const char *synopsis, const char *const *needed, Error *e) {
    int64_t lead, got = lead = command_config(c, argc, argv, synopsis, needed, e);
    if (world_here()->size > 1) { /* rank 0 says what is wrong for all; a file that only another rank cannot read is that rank's to tell */
        if (world_broadcast("reading the config", 0, &lead, sizeof lead, e) || (!lead && got)) world_fail(e);
    }
    if (!lead) world_watchdog_set(c->ranks.watchdog);
    return (int)lead;
}

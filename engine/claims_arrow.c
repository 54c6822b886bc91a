/* claims_arrow.c - owns claims.jsonl: claims by rule, by a text model over the ranks, and whole answers as one claim each.
 *
 * By model, every answer is a job (claim_replies.h). Jobs are done in batches of many times the leaves that grow together: all are split,
 * the malformed replies are asked for again, then all questions are asked for, and again. The fixed beginning of each prompt is held once.
 * A job that is done goes to the partial file at once, so that a kill costs the jobs of one batch at most. */
#include "engine/arrows.h"

#include "engine/claim_replies.h"
#include "engine/partial.h"
#include "engine/sample.h"

#include <stdlib.h>
#include <string.h>

enum { BATCHES = 16 }; /* jobs of a batch, in leaves: the last ones to end leave others idle, once in a batch */

const char *claims_model(const RunConfig *c, const char *labeler) { return c->claims.dir[0] ? c->claims.dir : labeler; }

const char *claims_template(const RunConfig *c) {
    return c->claims.template_name[0] || c->claims.dir[0] ? c->claims.template_name : c->chat.template_name;
}

/* Folders and prompts' files are hashed by content beside these. */
const char *claims_settings(const RunConfig *c) {
    if (c->label.mode == LABEL_HOLISTIC) return "label.mode";
    return c->claims.mode == CLAIM_BY_RULE ? "claims.mode claims.grammar"
                                           : "claims.mode claims.grammar claims.template claims.max_new_tokens run.dtype run.seed chat";
}

/* ---- by rule, or none ---- */

/* whole: what asks about a whole answer, or NULL for claims by rule. */
static int rule_row(const RunConfig *c, const char *whole, const json_t *row, const char *where, FILE *to, ClaimCounts *counts, Error *e) {
    const char *id, *text, *question = "";
    int64_t candidate;
    ClaimList list = { 0 };
    if (json_need_string(row, "id", where, &id, e) || json_need_integer(row, "candidate", where, 0, INT32_MAX, &candidate, e) ||
        json_need_string(row, "text", where, &text, e) || json_may_string(row, "question", where, &question, e) ||
        (whole ? claim_whole(whole, question, text, &list, e) : claims_by_rule(c->claims.grammar, text, &list, e)))
        return -1;
    counts->answers++;
    counts->without += list.count == 0;
    counts->claims += (int64_t)list.count;
    counts->left_out += (int64_t)list.drop_count;
    for (size_t i = 0; i < list.count; i++) counts->unasked += !list.claims[i].question;
    json_t *out = claims_row(&list, id, candidate);
    claims_free(&list);
    return out ? jsonl_write(to, out, e) : error_what(e, "out of memory");
}

int arrow_claims(const RunConfig *c, const char *candidates, const char *out, ClaimCounts *counts, Error *e) {
    JsonLines in;
    FileOut file;
    json_t *row;
    char *whole = NULL;
    int got, bad = 0;
    memset(counts, 0, sizeof *counts);
    if ((c->label.mode == LABEL_HOLISTIC && claim_whole_load(&whole, c->label.prompt, e)) || jsonl_open(&in, candidates, e))
        return free(whole), -1;
    if (file_create(&file, out, e)) {
        jsonl_close(&in);
        free(whole);
        return -1;
    }
    while (!bad && (got = jsonl_next(&in, &row, e)) != 0) {
        if (got < 0) bad = -1;
        else {
            bad = rule_row(c, whole, row, in.where, file.stream, counts, e);
            json_decref(row);
        }
    }
    jsonl_close(&in);
    free(whole);
    if (bad) {
        file_abandon(&file);
        return -1;
    }
    return file_commit(&file, e);
}

/* ---- by model ---- */

typedef struct Job {
    ClaimJob job;
    char *id;
    int64_t candidate;
    size_t row; /* of candidates.jsonl */
} Job;

typedef struct ModelArrow {
    const Ranks *ranks;
    Vlm *v;
    const RunConfig *config;
    Partial *partial;
    Progress *progress;
    ClaimPrompts prompts;
    IdList heads[2]; /* by stage: what all its prompts begin with */
    Job *jobs;
    size_t jobs_n, jobs_cap;
    size_t *asked; /* by prompt handed to the sampler: its job */
    uint32_t *rows;
    Prompt *list;
} ModelArrow;

static void job_free(Job *j) {
    claim_job_free(&j->job);
    free(j->id);
}

static void jobs_clear(ModelArrow *a) {
    while (a->jobs_n > 0) job_free(&a->jobs[--a->jobs_n]);
}

/* What the prompts of a stage begin with, whatever they are filled with: found by filling one with texts that have nothing in common. */
static int head_find(ModelArrow *a, ClaimStage stage, Error *e) {
    static const char *const fills[] = { "A cat.", "the 3rd", "1", "\"So" };
    IdList *head = &a->heads[stage];
    for (size_t i = 0; i < sizeof fills / sizeof *fills; i++) {
        ClaimJob job;
        Prompt p;
        if (claim_job_begin(&job, fills[i], fills[i], e)) return -1;
        job.stage = stage;
        char *text = stage == CLAIM_ASK && claims_add(&job.list, fills[i], strlen(fills[i]), NULL, CLAIM_SOUND, e)
                         ? NULL
                         : claim_job_prompt(&job, &a->prompts, e);
        int bad = !text || vlm_prompt(a->v, NULL, text, &p, e);
        free(text);
        claim_job_free(&job);
        if (bad)
            return error_hint(
                e, "a shorter claims.%s, or a claims.dir with more positions", stage == CLAIM_SPLIT ? "split_prompt" : "question_prompt");
        if (i == 0) *head = p.tail;
        else {
            size_t n = 0;
            while (n < head->count && n < p.tail.count && head->ids[n] == p.tail.ids[n]) n++;
            head->count = n;
            prompt_free(&p);
        }
    }
    return 0;
}

static int job_done(ModelArrow *a, Job *j, Error *e) {
    json_t *row = claim_job_row(&j->job, j->id, j->candidate), *rows = row ? json_array() : NULL;
    if (!rows || json_array_append_new(rows, row)) {
        json_decref(rows);
        return error_what(e, "out of memory"), error_where(e, "claims");
    }
    progress_add(a->progress, 1);
    return partial_add(a->partial, j->row, rows, NULL, e);
}

static int reply_take(void *context, size_t prompt, Candidate *candidates, Error *e) {
    ModelArrow *a = context;
    Job *j = &a->jobs[a->asked[prompt]];
    char *text = template_answer_text(a->v->chat, candidates->ids.ids, candidates->ids.count, e);
    int bad = !text || claim_job_reply(&j->job, text, candidates->finished, e);
    free(text);
    return bad ? -1 : j->job.stage == CLAIM_DONE ? job_done(a, j, e) : 0;
}

/* Greedy at first; the second try of a stage has a seed of its own. */
static SampleConfig decoding(const ModelArrow *a, ClaimStage stage, int again) {
    const RunConfig *c = a->config;
    return (SampleConfig){ .n = 1,
        .temperature = again ? CLAIM_RETRY_TEMPERATURE : 0,
        .top_p = 1,
        .max_new_tokens = c->claims.max_new_tokens,
        .leaves = c->sample.batch,
        .seed = hash64(&c->run.seed, sizeof c->run.seed, 0x636c61696dull + (uint64_t)stage),
        .head = &a->heads[stage] };
}

/* The prompt of a job; one that the model cannot take ends the job, or with [data] strict the arrow. 1 to be asked, 0, -1. */
static int job_prompt(ModelArrow *a, Job *j, Prompt *out, Error *e) {
    char *text = claim_job_prompt(&j->job, &a->prompts, e), said[1600];
    Error why = { 0 };
    if (!text) return -1;
    int bad = vlm_prompt(a->v, NULL, text, out, &why);
    free(text);
    if (!bad) return 1;
    if (a->config->data.strict) {
        if (e) *e = why;
        return -1;
    }
    progress_say(
        a->progress, "answer without claims: %s candidate %lld: %s", j->id, (long long)j->candidate, error_text(&why, said, sizeof said));
    claim_job_drop(&j->job, "longer than the model takes");
    return job_done(a, j, e) ? -1 : 0;
}

/* Asks the jobs that stand at this stage and try. */
static int stage_run(ModelArrow *a, ClaimStage stage, int again, Error *e) {
    size_t n = 0;
    int bad = 0;
    for (size_t i = 0; i < a->jobs_n && !bad; i++) {
        Job *j = &a->jobs[i];
        if (j->job.stage != stage || j->job.again != again) continue;
        int got = job_prompt(a, j, &a->list[n], e);
        if (got > 0) a->asked[n] = i, a->rows[n++] = (uint32_t)j->row;
        bad = got < 0;
    }
    if (!bad && n > 0) {
        SampleConfig config = decoding(a, stage, again);
        progress_note(a->progress, "%s%s: %zu", stage == CLAIM_SPLIT ? "facts" : "questions", again ? ", again" : "", n);
        bad = sample_candidates(a->v, a->list, a->rows, n, &config, &(SampleSink){ a, reply_take }, NULL, NULL, e);
    }
    while (n > 0) prompt_free(&a->list[--n]);
    return bad ? -1 : 0;
}

static int batch_run(ModelArrow *a, Error *e) {
    for (size_t i = 0; i < a->jobs_n; i++)
        if (a->jobs[i].job.stage == CLAIM_DONE && job_done(a, &a->jobs[i], e)) return -1; /* nothing to split */
    for (int pass = 0; pass < 4; pass++)
        if (stage_run(a, pass < 2 ? CLAIM_SPLIT : CLAIM_ASK, pass & 1, e)) return -1;
    jobs_clear(a);
    return 0;
}

static int job_add(ModelArrow *a, const json_t *row, const char *where, size_t number, Error *e) {
    const char *id, *text, *question = "";
    int64_t candidate;
    if (json_need_string(row, "id", where, &id, e) || json_need_integer(row, "candidate", where, 0, INT32_MAX, &candidate, e) ||
        json_need_string(row, "text", where, &text, e) || json_may_string(row, "question", where, &question, e))
        return -1;
    Job *j = &a->jobs[a->jobs_n];
    *j = (Job){ .id = strdup(id), .candidate = candidate, .row = number };
    if (j->id && !claim_job_begin(&j->job, question, text, e)) return a->jobs_n++, 0;
    if (!j->id) error_what(e, "out of memory"), error_where(e, "claims");
    free(j->id);
    return -1;
}

/* Streams the answers through the model. *rows: answers seen. */
static int answers_stream(ModelArrow *a, JsonLines *in, size_t *rows, Error *e) {
    json_t *row;
    int got, bad = 0;
    while (!bad && (got = jsonl_next(in, &row, e)) == 1) {
        size_t number = (*rows)++;
        int mine = !a->ranks || (int)(number % (size_t)a->ranks->size) == a->ranks->rank;
        if (partial_has(a->partial, number) || !mine) progress_add(a->progress, 1);
        else {
            bad = job_add(a, row, in->where, number, e);
            if (!bad && a->jobs_n == a->jobs_cap) bad = batch_run(a, e);
        }
        json_decref(row);
    }
    return bad || got < 0 || batch_run(a, e) ? -1 : 0;
}

static void row_count(void *context, const json_t *row) {
    ClaimCounts *c = context;
    size_t claims = json_array_size(json_object_get(row, "claims"));
    c->answers++;
    c->without += claims == 0;
    c->claims += (int64_t)claims;
    c->left_out += (int64_t)json_array_size(json_object_get(row, "left_out"));
    c->retried += json_integer_value(json_object_get(row, "retried"));
    c->dropped += json_is_string(json_object_get(row, "dropped"));
}

/* Everything the claims depend on. */
static int claims_key(ModelArrow *a, const char *candidates, char key[PATH_SIZE], Error *e) {
    char model[512], hash[HASH_TEXT];
    if (arrow_model_key(a->v, model, sizeof model, e) || hash_file(candidates, hash, e)) return -1;
    snprintf(key, PATH_SIZE, "claims %s prompts %s candidates %s max_new_tokens %d seed %lld", model, a->prompts.hash, hash,
        a->config->claims.max_new_tokens, (long long)a->config->run.seed);
    return 0;
}

static int arrow_open(ModelArrow *a, Error *e) {
    const RunConfig *c = a->config;
    int leaves = c->sample.batch > 0 ? c->sample.batch : SAMPLE_LEAVES;
    a->jobs_cap = (size_t)leaves * BATCHES;
    if (claim_prompts_load(&a->prompts, c->claims.split_prompt, c->claims.question_prompt, e)) return -1;
    a->jobs = mem_new(a->jobs_cap, sizeof *a->jobs, "claims", e);
    a->asked = mem_new(a->jobs_cap, sizeof *a->asked, "claims", e);
    a->rows = mem_new(a->jobs_cap, sizeof *a->rows, "claims", e);
    a->list = mem_new(a->jobs_cap, sizeof *a->list, "claims", e);
    if (!a->jobs || !a->asked || !a->rows || !a->list) return -1;
    return head_find(a, CLAIM_SPLIT, e) || head_find(a, CLAIM_ASK, e) ? -1 : 0;
}

static void arrow_close(ModelArrow *a) {
    if (a->jobs) jobs_clear(a);
    claim_prompts_free(&a->prompts);
    idlist_free(&a->heads[0]);
    idlist_free(&a->heads[1]);
    free(a->jobs), free(a->asked), free(a->rows), free(a->list);
}

int arrow_claims_model(const Ranks *ranks, Vlm *v, const RunConfig *c, const char *candidates, const char *out, ClaimCounts *counts,
    Progress *progress, Error *e) {
    char key[PATH_SIZE];
    Partial partial;
    JsonLines in;
    size_t rows = 0;
    ModelArrow a = { .ranks = ranks, .v = v, .config = c, .partial = &partial, .progress = progress };
    memset(counts, 0, sizeof *counts);
    int bad = arrow_open(&a, e) || claims_key(&a, candidates, key, e) || jsonl_open(&in, candidates, e);
    if (!bad) {
        bad = partial_open(&partial, out, key, ranks, e);
        if (!bad) {
            progress_begin(progress, "claims", "answers", file_lines(candidates), 0);
            bad = answers_stream(&a, &in, &rows, e);
            if (!bad) bad = partial_finish(&partial, rows, row_count, counts, NULL, e);
            else partial_close(&partial);
            progress_end(progress);
        }
        jsonl_close(&in);
    }
    arrow_close(&a);
    return bad ? -1 : 0;
}

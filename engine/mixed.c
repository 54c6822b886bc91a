/* mixed.c - owns the joining of answers by two models, and of pairs from two sources. Texts pass as they are. Refuses rows without what it looks at. */
#include "engine/mixed.h"

#include "engine/dataset.h"

#include <stdlib.h>
#include <string.h>

const char *other_model(const RunConfig *c, const char *policy) { return c->sample.other[0] ? c->sample.other : policy; }

uint64_t other_seed(uint64_t seed) { return hash64(&seed, sizeof seed, 0x6f74686572u); }

/* ---- answers ---- */

typedef struct Source {
    const char *name;
    JsonLines lines;
    json_t *row; /* read, and not yet of a prompt asked for; NULL at the end */
    int open;
} Source;

static int source_next(Source *s, Error *e) {
    json_decref(s->row);
    s->row = NULL;
    return jsonl_next(&s->lines, &s->row, e) < 0 ? -1 : 0;
}

static int source_open(Source *s, const char *name, const char *path, Error *e) {
    *s = (Source){ .name = name };
    if (jsonl_open(&s->lines, path, e)) return -1;
    s->open = 1;
    return source_next(s, e);
}

static void source_close(Source *s) {
    json_decref(s->row);
    if (s->open) jsonl_close(&s->lines);
}

/* The rows of prompt `id` at the front, numbered on from *candidate. */
static int source_take(Source *s, const char *id, int *candidate, FileOut *out, SampleCounts *counts, Error *e) {
    const char *here;
    while (s->row) {
        if (json_need_string(s->row, "id", s->lines.where, &here, e)) return -1;
        if (strcmp(here, id)) return 0;
        if (json_object_set_new(s->row, "candidate", json_integer((*candidate)++)) || json_object_set_new(s->row, "model", json_string(s->name)))
            return error_what(e, "out of memory"), error_where(e, "%s", s->lines.where);
        counts->candidates++;
        counts->finished += json_is_true(json_object_get(s->row, "finished"));
        counts->tokens += json_integer_value(json_object_get(s->row, "tokens"));
        if (jsonl_write(out->stream, json_incref(s->row), e) || source_next(s, e)) return -1;
    }
    return 0;
}

int answers_join(const Dataset *prompts, const char *policy, const char *other, const char *out, SampleCounts *counts, Error *e) {
    Source sources[2] = { 0 };
    FileOut file;
    *counts = (SampleCounts){ .prompts = prompts->n };
    int bad = source_open(&sources[0], "policy", policy, e) || source_open(&sources[1], "other", other, e) || file_create(&file, out, e), created = !bad;
    for (int i = 0; i < prompts->n && !bad; i++) {
        int candidate = 0;
        for (int k = 0; k < 2 && !bad; k++) bad = source_take(&sources[k], prompts->rows[i].id, &candidate, &file, counts, e);
        counts->refused += candidate == 0;
    }
    for (int k = 0; k < 2 && !bad; k++)
        if (sources[k].row)
            bad = (error_what(e, "answers in another order than their prompts, or to others"), error_where(e, "%s", sources[k].lines.where),
                error_hint(e, "remove the file, so that it is made again"), -1);
    source_close(&sources[0]);
    source_close(&sources[1]);
    if (!bad) return file_commit(&file, e);
    if (created) file_abandon(&file);
    return -1;
}

int mixed_sample(Loop *l, const char *policy, uint64_t seed, const Dataset *prompts, const char *folder, SampleCounts *counts, Error *e) {
    const RunConfig *c = l->config;
    char candidates[PATH_SIZE], own[PATH_SIZE], other[PATH_SIZE];
    SampleCounts each;
    if (path_join(candidates, folder, "candidates.jsonl", e)) return -1;
    if (c->sample.other_n == 0) return crew_sample(l, policy, c, seed, prompts, candidates, counts, e);
    return path_join(own, folder, "policy.jsonl", e) || path_join(other, folder, "other.jsonl", e) || crew_sample(l, policy, c, seed, prompts, own, &each, e) ||
                   crew_sample(l, other_model(c, policy), l->other, other_seed(seed), prompts, other, &each, e) ||
                   answers_join(prompts, own, other, candidates, counts, e)
               ? -1
               : 0;
}

/* ---- pairs ---- */

static json_t *merged_row(const DataRow *r) {
    char *image = r->image ? realpath(r->image, NULL) : NULL;
    json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", r->id, "question", r->question, "chosen", r->chosen, "rejected", r->rejected, "from", "data.pairs");
    if (row && r->image) json_object_set_new(row, "image", json_string(image ? image : r->image));
    free(image);
    return row;
}

static int own_copy(const char *pairs, FILE *to, int *n, Error *e) {
    JsonLines lines;
    json_t *row;
    int got;
    if (jsonl_open(&lines, pairs, e)) return -1;
    while ((got = jsonl_next(&lines, &row, e)) > 0) {
        ++*n;
        if (jsonl_write(to, row, e)) {
            got = -1;
            break;
        }
    }
    jsonl_close(&lines);
    return got < 0 ? -1 : 0;
}

int pairs_merge_check(const RunConfig *c, Error *e) {
    Dataset set;
    const DataOptions options = { .need = DATA_QUESTION | DATA_PAIR | DATA_LOOK, .images = c->data.images, .strict = c->data.strict };
    if (!c->data.pairs[0]) return 0;
    if (dataset_read(&set, c->data.pairs, &options, e)) return -1;
    dataset_free(&set);
    return 0;
}

int pairs_merge(const RunConfig *c, const char *pairs, const char *out, MergeCounts *counts, Error *e) {
    char unpack[PATH_SIZE];
    Dataset set;
    FileOut file;
    *counts = (MergeCounts){ 0 };
    if (path_join(unpack, c->run.dir, "images", e)) return -1;
    DataOptions options = { .need = DATA_QUESTION | DATA_PAIR, .images = c->data.images, .unpack = unpack, .strict = c->data.strict };
    if (dataset_read(&set, c->data.pairs, &options, e)) return -1;
    counts->dropped = set.drops_n;
    int bad = file_create(&file, out, e), created = !bad;
    if (!bad) bad = own_copy(pairs, file.stream, &counts->own, e);
    for (int i = 0; i < set.n && !bad; i++) {
        json_t *row = merged_row(&set.rows[i]);
        bad = row ? jsonl_write(file.stream, row, e) : error_what(e, "out of memory");
        counts->other++;
    }
    dataset_free(&set);
    if (!bad) return file_commit(&file, e);
    if (created) file_abandon(&file);
    return -1;
}

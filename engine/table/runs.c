/* runs.c - owns the finding of runs by their names, and the reading of one value from one of them. Refuses an evaluation that is not what
 * its place says, and a run from which a file is gone that its ledger has. */
#include "engine/table/runs.h"

#include "model/params.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the folder ---- */

/* RUN-SEED with RUN of the spec: its place there, else -1. */
static int run_of(const TableSpec *s, const char *name, int64_t *seed) {
    const char *dash = strrchr(name, '-');
    size_t digits = dash ? strspn(dash + 1, "0123456789") : 0;
    if (!digits || digits > 15 || dash[1 + digits] || dash[1] == '0') return -1;
    *seed = strtoll(dash + 1, NULL, 10);
    for (int i = 0; i < s->runs_n; i++)
        if (strlen(s->runs[i].key) == (size_t)(dash - name) && !memcmp(s->runs[i].key, name, (size_t)(dash - name))) return i;
    return -1;
}

static int by_run(const void *a, const void *b) {
    const SeedRun *x = a, *y = b;
    return x->run != y->run ? (x->run > y->run) - (x->run < y->run) : (x->seed > y->seed) - (x->seed < y->seed);
}

int runs_open(TableRuns *r, const TableSpec *s, const char *folder, Error *e) {
    struct dirent *entry;
    memset(r, 0, sizeof *r);
    if (strlen(folder) >= sizeof r->folder) return error_what(e, "path too long"), error_where(e, "%.100s...", folder);
    strcpy(r->folder, folder);
    DIR *dir = opendir(folder);
    if (!dir) return errno == ENOENT ? 0 : file_error(e, "cannot read folder", folder);
    int bad = 0;
    while (!bad && (entry = readdir(dir))) {
        int64_t seed;
        int run = run_of(s, entry->d_name, &seed);
        if (run < 0) continue;
        if ((bad = mem_grow(&r->list, &r->cap, (size_t)r->n + 1, sizeof *r->list, "runs", e))) break;
        r->list[r->n++] = (SeedRun){ .run = run, .seed = seed, .name = strdup(entry->d_name), .read = json_object() };
        if (!r->list[r->n - 1].name || !r->list[r->n - 1].read) bad = error_what(e, "out of memory"), error_where(e, "%s", folder);
    }
    closedir(dir);
    if (bad) return runs_close(r), -1;
    if (r->n) qsort(r->list, (size_t)r->n, sizeof *r->list, by_run);
    return 0;
}

void runs_close(TableRuns *r) {
    for (int i = 0; i < r->n; i++) {
        if (r->list[i].opened) run_folder_close(&r->list[i].folder);
        free(r->list[i].name);
        json_decref(r->list[i].read);
    }
    free(r->list);
    memset(r, 0, sizeof *r);
}

void runs_forget(TableRuns *r) {
    for (int i = 0; i < r->n; i++) json_object_clear(r->list[i].read);
}

/* ---- one run ---- */

/* Parameters of the checkpoint in `folder`; 0 where it is gone or cannot be read: a size is a remark. */
static int64_t parameters_of(const char *folder) {
    ModelConfig *c = mem_new(1, sizeof *c, "model", NULL);
    Params p;
    int64_t count = 0;
    if (c && folder[0] && !config_load(folder, c, NULL) && !params_plan(&p, c, NULL)) {
        for (int i = 0; i < p.n; i++) count += p.list[i].count;
        params_plan_free(&p);
    }
    free(c);
    return count;
}

static void size_write(SeedRun *r) {
    const RunConfig *c = r->folder.config;
    int64_t count = parameters_of(c->model.dir);
    int used = 0;
    if (count >= 1000000000) used = snprintf(r->size, SIZE_TEXT, "policy of %.1f B parameters", (double)count / 1e9);
    else if (count) used = snprintf(r->size, SIZE_TEXT, "policy of %.*f M parameters", count < 10000000 ? 1 : 0, (double)count / 1e6);
    const char *comma = used ? ", " : "";
    if (c->data.per_iteration && !c->data.train[0])
        snprintf(r->size + used, (size_t)(SIZE_TEXT - used), "%s%d prompts an iteration", comma, c->data.per_iteration);
    else if (c->data.train[0]) snprintf(r->size + used, (size_t)(SIZE_TEXT - used), "%son given pairs", comma);
}

/* 1; 0: hardly begun, without settings and ledger; -1. */
static int seed_run_open(TableRuns *all, SeedRun *r, Error *e) {
    char path[PATH_SIZE], settings[PATH_SIZE], ledger[PATH_SIZE];
    if (r->opened) return 1;
    if (path_join(path, all->folder, r->name, e) || path_join(settings, path, "config.ini", e) ||
        path_join(ledger, path, "ledger.jsonl", e))
        return -1;
    if (!file_exists(settings) && !file_exists(ledger)) return 0;
    if (run_folder_open(&r->folder, path, e)) return -1;
    r->opened = 1;
    size_write(r);
    return 1;
}

/* The file below the run as JSON. 1; 0: not there; -1. */
static int document_read(SeedRun *r, const char *relative, char path[PATH_SIZE], json_t **out, Error *e) {
    char hash[HASH_TEXT];
    int got = run_folder_has(&r->folder, path, e, "%s", relative);
    if (got <= 0) return got;
    if (json_read_object(path, out, e)) return -1;
    if (json_object_get(r->read, relative)) return 1;
    if (!hash_file(path, hash, e) && !json_object_set_new(r->read, relative, json_string(hash))) return 1;
    json_decref(*out);
    return -1;
}

/* The folder of the answers that `m` means, below the run. 1; 0: the run has no result yet. */
static int folder_of(const SeedRun *r, const TableMeasured *m, char out[64]) {
    int iteration = m->at == AT_CHOSEN ? r->folder.table.chosen : m->iteration;
    out[0] = 0;
    if (m->at == AT_CHOSEN && !iteration) return 0;
    if (m->at == AT_START || m->at == AT_CHOSEN || m->at == AT_ITERATION) snprintf(out, 64, "iter-%d/", iteration);
    if (m->at == AT_LABELER) snprintf(out, 64, "labeler/");
    return 1;
}

/* ---- values ---- */

static int taken(const TablePlace *p, double value, Reading *out) {
    out->place = p;
    out->value = value * p->scale + p->offset;
    return 1;
}

/* Of an eval.json, which is whole or refused. 0: of another kind. */
static int rate_of(const json_t *top, const char *path, const TablePlace *p, Reading *out, Error *e) {
    const char *kind;
    double value;
    TruthRates truth;
    LabelerRates labeler;
    if (json_need_string(top, "kind", path, &kind, e)) return -1;
    if (strcmp(kind, p->from)) return 0;
    int bad = strcmp(kind, "scenes") ? labeler_rates_from_json(top, path, &labeler, e) : truth_rates_from_json(top, path, &truth, e);
    if (bad || json_need_number(top, p->field, path, &value, e) || json_may_integer(top, "answers", path, 0, INT32_MAX, &out->answers, e))
        return -1;
    return taken(p, value, out);
}

/* A judge, or what lists the objects of answers; of results without one nothing, or a text. */
static void judge_of(const json_t *top, Reading *out) {
    const json_t *judge = json_object_get(top, "judge"), *who = judge ? judge : json_object_get(top, "extractor");
    const char *name = json_string_value(json_object_get(who, "name")), *version = json_string_value(json_object_get(who, "version"));
    char *all = name ? json_dumps(who, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    out->judge[0] = 0;
    out->judged = all ? hash64(all, strlen(all), 0) : 0;
    free(all);
    if (name) snprintf(out->judge, JUDGE_TEXT, "%.100s, version %.80s", name, version ? version : "not said");
}

/* Of a result of `rlaifv eval NAME`. 0: of another benchmark, without the section where that may be, or undefined. */
static int measure_of(const json_t *top, const char *path, const TablePlace *p, int must, Reading *out, Error *e) {
    const char *benchmark;
    const json_t *measures = json_object_get(top, "measures"), *section, *measure, *value;
    if (json_need_string(top, "benchmark", path, &benchmark, e)) return -1;
    if (strcmp(benchmark, p->benchmark)) {
        if (must) return 0;
        return error_what(e, "a result of another benchmark"), error_where(e, "%s", path), error_found(e, "%.60s", benchmark),
               error_expected(e, "%s", p->benchmark);
    }
    if (!json_is_object(measures))
        return error_what(e, measures ? "wrong type" : "missing field"), error_where(e, "%s: field \"measures\"", path),
               error_found(e, "%s", json_kind(measures)), error_expected(e, "an object");
    section = json_object_get(measures, p->section);
    if (!section && !must) return 0;
    measure = json_object_get(section, p->field);
    value = json_is_object(measure) ? json_object_get(measure, "value") : measure;
    if (value && json_is_null(value)) return 0;
    if (!json_is_number(value))
        return error_what(e, "a result without its number"), error_where(e, "%s: measures.%s.%s", path, p->section, p->field),
               error_found(e, "%s", json_kind(value)),
               error_expected(e, "{\"value\": a number or null}, as `rlaifv eval %s` writes", p->benchmark);
    if (json_may_integer(section, "answers", path, 0, INT32_MAX, &out->answers, e)) return -1;
    judge_of(top, out);
    return taken(p, json_number_value(value), out);
}

/* One place of the column. 1, 0, -1. */
static int place_measure(SeedRun *r, const TableMeasured *m, const char *folder, const TablePlace *p, Reading *out, Error *e) {
    char path[PATH_SIZE];
    json_t *top;
    if (!place_applies(p, m)) return 0;
    if (m->at == AT_FILE) snprintf(out->file, PATH_SIZE, "%s", m->file);
    else if (p->kind == PLACE_EVAL) snprintf(out->file, PATH_SIZE, "%seval.json", folder);
    else snprintf(out->file, PATH_SIZE, "%sevals/%s.json", folder, p->from);
    int got = document_read(r, out->file, path, &top, e);
    if (got <= 0) return got;
    out->answers = 0;
    got = p->kind == PLACE_EVAL ? rate_of(top, path, p, out, e) : measure_of(top, path, p, m->at == AT_FILE, out, e);
    json_decref(top);
    return got;
}

int runs_measure(TableRuns *all, int i, const TableMeasured *m, const TableColumn *c, Reading *out, Error *e) {
    SeedRun *r = &all->list[i];
    char folder[64];
    memset(out, 0, sizeof *out);
    int got = seed_run_open(all, r, e);
    if (got <= 0) return got;
    if (!folder_of(r, m, folder)) return 0;
    got = 0;
    for (int j = 0; j < c->places_n && !got; j++) got = place_measure(r, m, folder, &c->places[j], out, e);
    return got;
}

/* ---- hashes ---- */

int seed_run_read_hash(const SeedRun *r, char out[HASH_TEXT], Error *e) {
    char *text = json_dumps(r->read, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text) return error_what(e, "out of memory"), error_where(e, "%s", r->name);
    hash_bytes(text, strlen(text), out);
    free(text);
    return 0;
}

/* The row as it stands in the file. */
int seed_run_ledger_hash(const SeedRun *r, char out[HASH_TEXT], Error *e) {
    size_t n = json_array_size(r->folder.ledger.rows);
    out[0] = 0;
    if (!n) return 0;
    char *text = json_dumps(json_array_get(r->folder.ledger.rows, n - 1), JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (!text) return error_what(e, "out of memory"), error_where(e, "%s", r->name);
    hash_bytes(text, strlen(text), out);
    free(text);
    return 0;
}

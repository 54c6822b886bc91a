/* run_folder.c - owns what a page knows of a run as a whole: settings, ledger, the table's rows, and the truth where data has some. */
#include "engine/report/run_folder.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Relative path -> made, by the ledger's rows. The row that made it, or NULL. */
static const json_t *made_by(const Ledger *l, const char *relative) {
    for (size_t i = json_array_size(l->rows); i-- > 0;) {
        const json_t *row = json_array_get(l->rows, i);
        if (json_object_get(json_object_get(row, "outputs"), relative)) return row;
    }
    return NULL;
}

int run_folder_has(const RunFolder *r, char path[PATH_SIZE], Error *e, const char *format, ...) {
    char relative[PATH_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(relative, sizeof relative, format, args);
    va_end(args);
    if (n < 0 || n >= PATH_SIZE || path_join(path, r->folder, relative, e)) return -1;
    if (file_exists(path)) return 1;
    const json_t *row = made_by(&r->ledger, relative);
    if (!row) return 0;
    error_what(e, "a file of the run is gone"), error_where(e, "%s", path);
    error_expected(e, "what %s of iteration %lld made", json_string_value(json_object_get(row, "arrow")),
        (long long)json_integer_value(json_object_get(row, "iteration")));
    return error_hint(e, "put it back, or let `rlaifv run` make it again");
}

double run_folder_count(const RunFolder *r, int iteration, const char *arrow, const char *count) {
    const json_t *value = json_object_get(json_object_get(ledger_find(&r->ledger, iteration, arrow), "counts"), count);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

const Scene *run_folder_scene(const RunFolder *r, int which, const char *id) {
    return r->truth[which].index ? scenes_truth_find(&r->truth[which], id) : NULL;
}

/* ---- opening ---- */

static int table_row(RunFolder *r, ReportRole role, int iteration, const char *path, Error *e) {
    Report *t = &r->table;
    const char *kind, *expected = t->kind == EVAL_SCENES ? "scenes" : "labeler";
    int64_t prompts, answers;
    json_t *top;
    if (json_read_object(path, &top, e)) return -1;
    ReportRow row = { .role = role, .iteration = iteration };
    int bad = json_need_string(top, "kind", path, &kind, e) || json_need_integer(top, "prompts", path, 0, INT32_MAX, &prompts, e) ||
              json_need_integer(top, "answers", path, 0, INT32_MAX, &answers, e);
    if (!bad && strcmp(kind, expected)) {
        error_what(e, "an evaluation of another kind"), error_where(e, "%s", path), error_found(e, "%.60s", kind);
        bad = (error_expected(e, "%s, as config.ini says", expected), error_hint(e, "`rlaifv run` evaluates again"));
    }
    if (!bad)
        bad =
            t->kind == EVAL_SCENES ? truth_rates_from_json(top, path, &row.scenes, e) : labeler_rates_from_json(top, path, &row.labeler, e);
    if (!bad) bad = mem_grow(&t->rows, &t->rows_cap, (size_t)t->n + 1, sizeof *t->rows, "report", e);
    if (!bad) {
        if (t->n == 0) t->prompts = (int)prompts, t->answers = (int)answers;
        t->rows[t->n++] = row;
    }
    json_decref(top);
    return bad ? -1 : 0;
}

static int table_read(RunFolder *r, Error *e) {
    char path[PATH_SIZE];
    int got = 0;
    r->table.kind = r->config->eval.kind, r->table.temperature = r->config->eval.temperature;
    for (int i = 0; i <= r->iterations; i++) {
        got = run_folder_has(r, path, e, "iter-%d/eval.json", i);
        if (got < 0 || (got && table_row(r, i ? REPORT_ITERATION : REPORT_BEFORE, i, path, e))) return -1;
    }
    got = run_folder_has(r, path, e, "labeler/eval.json");
    return got < 0 || (got && table_row(r, REPORT_LABELER, 0, path, e)) ? -1 : 0;
}

static void ledger_look(RunFolder *r) {
    for (size_t i = 0; i < json_array_size(r->ledger.rows); i++) {
        const json_t *row = json_array_get(r->ledger.rows, i);
        int iteration = (int)json_integer_value(json_object_get(row, "iteration"));
        if (iteration > r->iterations) r->iterations = iteration;
        if (!strcmp(json_string_value(json_object_get(row, "arrow")), "final"))
            r->table.chosen = (int)json_number_value(json_object_get(json_object_get(row, "counts"), "iteration"));
    }
}

/* Data that is gone, or has no truth, only leaves the truth unknown. */
static void truth_read(const RunConfig *c, const char *path, ScenesTruth *out) {
    Dataset set;
    DataOptions options = { .need = DATA_IMAGE | DATA_QUESTION | DATA_UNIQUE | DATA_LOOK, .images = c->data.images };
    memset(out, 0, sizeof *out);
    if (c->eval.kind != EVAL_SCENES || !path[0] || dataset_read(&set, path, &options, NULL)) return;
    if (scenes_truth_read(&set, out, NULL)) memset(out, 0, sizeof *out);
    dataset_free(&set);
}

int run_folder_open(RunFolder *r, const char *folder, Error *e) {
    char path[PATH_SIZE];
    memset(r, 0, sizeof *r);
    if (path_join(path, folder, "config.ini", e)) return -1;
    if (!file_exists(path))
        return error_what(e, "not a run's folder"), error_where(e, "%s", folder), error_expected(e, "config.ini and ledger.jsonl in it"),
               error_hint(e, "give the folder that run.dir names");
    snprintf(r->folder, sizeof r->folder, "%s", folder);
    if (!(r->config = mem_new(1, sizeof *r->config, "config", e))) return -1;
    config_defaults(r->config);
    if (config_read(r->config, path, e) || ledger_read(&r->ledger, folder, e)) goto fail;
    ledger_look(r);
    if (table_read(r, e)) goto fail;
    return 0;
fail:
    run_folder_close(r);
    return -1;
}

void run_folder_truth_read(RunFolder *r) {
    truth_read(r->config, r->config->data.eval, &r->truth[TRUTH_EVAL]);
    truth_read(r->config, r->config->data.prompts, &r->truth[TRUTH_PROMPTS]);
}

void run_folder_close(RunFolder *r) {
    for (int i = 0; i < 2; i++)
        if (r->truth[i].index) scenes_truth_free(&r->truth[i]);
    report_free(&r->table);
    if (r->ledger.rows) ledger_close(&r->ledger);
    free(r->config);
    memset(r, 0, sizeof *r);
}

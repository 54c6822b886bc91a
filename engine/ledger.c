/* ledger.c - owns ledger.jsonl: which arrows of the loop are done, with what, and what they made.
 *
 * A row is appended and flushed only after the arrow's outputs are in place, so a crash in between costs one arrow, never a wrong claim
 * that it is done. Refuses rows that are not arrows, except a last line without its end, which is what a crash leaves. */
#include "engine/ledger.h"

#include "engine/progress.h" /* the clock */
#include "engine/version.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the file ---- */

static int row_check(const json_t *row, const char *where, Error *e) {
    int64_t iteration;
    const char *arrow;
    if (json_need_integer(row, "iteration", where, 0, INT32_MAX, &iteration, e) || json_need_string(row, "arrow", where, &arrow, e))
        return -1;
    static const char *const objects[] = { "inputs", "outputs" };
    for (size_t i = 0; i < 2; i++) {
        const json_t *value = json_object_get(row, objects[i]);
        if (!json_is_object(value))
            return error_what(e, "wrong type"), error_where(e, "%s: field \"%s\"", where, objects[i]),
                   error_found(e, "%s", json_kind(value)), error_expected(e, "an object");
    }
    return 0;
}

/* torn: what a last line without its end is: 0 refused, 1 passed over, as another process may be writing it. */
static int rows_read(Ledger *l, int torn, Error *e) {
    JsonLines lines;
    json_t *row;
    int got;
    if (jsonl_open(&lines, l->path, e)) return -1;
    while ((got = jsonl_next(&lines, &row, e)) > 0) {
        if (row_check(row, lines.where, e)) {
            json_decref(row);
            got = -1;
            break;
        }
        if (json_array_append_new(l->rows, row)) {
            error_what(e, "out of memory"), error_where(e, "%s", lines.where);
            got = -2;
            break;
        }
    }
    if (got == -1 && torn && feof(lines.stream)) got = 0;
    jsonl_close(&lines);
    return got < 0 ? error_hint(e, "mend or remove the line; without the ledger every arrow runs again") : 0;
}

static int ledger_begin(Ledger *l, const char *folder, Error *e) {
    memset(l, 0, sizeof *l);
    snprintf(l->folder, sizeof l->folder, "%s", folder);
    if (path_join(l->path, folder, "ledger.jsonl", e)) return -1;
    return (l->rows = json_array()) ? 0 : (error_what(e, "out of memory"), error_where(e, "%s", l->path));
}

int ledger_open(Ledger *l, const char *folder, Error *e) {
    if (folder_make(folder, e) || ledger_begin(l, folder, e)) return -1;
    if (!file_exists(l->path) || (!file_cut_torn_line(l->path, e) && !rows_read(l, 0, e))) return 0;
    ledger_close(l);
    return -1;
}

int ledger_read(Ledger *l, const char *folder, Error *e) {
    if (ledger_begin(l, folder, e)) return -1;
    if (!file_exists(l->path) || !rows_read(l, 1, e)) return 0;
    ledger_close(l);
    return -1;
}

void ledger_close(Ledger *l) {
    json_decref(l->rows);
    l->rows = NULL;
}

const json_t *ledger_find(const Ledger *l, int iteration, const char *arrow) {
    for (size_t i = json_array_size(l->rows); i-- > 0;) {
        const json_t *row = json_array_get(l->rows, i);
        if (json_integer_value(json_object_get(row, "iteration")) == iteration &&
            !strcmp(json_string_value(json_object_get(row, "arrow")), arrow))
            return row;
    }
    return NULL;
}

/* ---- arrows ---- */

int arrow_begin(Arrow *a, int iteration, const char *name, Error *e) {
    memset(a, 0, sizeof *a);
    a->iteration = iteration;
    snprintf(a->name, sizeof a->name, "%s", name);
    a->inputs = json_object(), a->outputs = json_object(), a->counts = json_object();
    a->started = progress_seconds();
    if (a->inputs && a->outputs && a->counts) return 0;
    arrow_free(a);
    return error_what(e, "out of memory"), error_where(e, "ledger row of %s", name);
}

void arrow_free(Arrow *a) {
    json_decref(a->inputs);
    json_decref(a->outputs);
    json_decref(a->counts);
    a->inputs = a->outputs = a->counts = NULL;
}

static int set_new(json_t *object, const char *name, json_t *value, const Arrow *a, Error *e) {
    if (!json_object_set_new(object, name, value)) return 0;
    return error_what(e, "cannot keep a ledger entry"), error_where(e, "%s: %s", a->name, name),
           error_expected(e, "UTF-8 text or a finite number");
}

int arrow_input_text(Arrow *a, const char *name, const char *text, Error *e) { return set_new(a->inputs, name, json_string(text), a, e); }

int arrow_input_file(Arrow *a, const char *name, const char *path, Error *e) {
    char hash[HASH_TEXT];
    return hash_path(path, hash, e) ? -1 : arrow_input_text(a, name, hash, e);
}

int arrow_output(Arrow *a, const Ledger *l, const char *relative, Error *e) {
    char path[PATH_SIZE], hash[HASH_TEXT];
    if (path_join(path, l->folder, relative, e) || hash_path(path, hash, e)) return -1;
    return set_new(a->outputs, relative, json_string(hash), a, e);
}

int arrow_count(Arrow *a, const char *name, double value, Error *e) { return set_new(a->counts, name, json_real(value), a, e); }

int ledger_done(const Ledger *l, const Arrow *a, char *why, size_t why_size, Error *e) {
    const json_t *row = ledger_find(l, a->iteration, a->name), *value;
    const char *key;
    if (!row) return snprintf(why, why_size, "not done yet"), 0;
    json_t *before = json_object_get(row, "inputs"), *after = json_object_get(row, "outputs");
    if (!json_equal(before, a->inputs)) {
        json_object_foreach(a->inputs, key, value) if (!json_equal(value, json_object_get(before, key))) {
            snprintf(why, why_size, "%s changed since it was done", key);
            return 0;
        }
        return snprintf(why, why_size, "it was done with more inputs than it has now"), 0;
    }
    json_object_foreach(after, key, value) {
        char path[PATH_SIZE], hash[HASH_TEXT];
        if (path_join(path, l->folder, key, e)) return -1;
        if (!file_exists(path)) return snprintf(why, why_size, "%s is gone", key), 0;
        if (hash_path(path, hash, e)) return -1;
        if (!json_is_string(value) || strcmp(hash, json_string_value(value)))
            return snprintf(why, why_size, "%s is not as it was written", key), 0;
    }
    return snprintf(why, why_size, "done"), 1;
}

int ledger_by_other(const Ledger *l, const json_t *row) {
    const char *program = json_string_value(json_object_get(row, "program")), *isa = json_string_value(json_object_get(row, "isa"));
    return program && isa && l->isa && (strcmp(program, program_version()) != 0 || strcmp(isa, l->isa) != 0);
}

int ledger_record(Ledger *l, const Arrow *a, Error *e) {
    json_t *row = json_pack("{s:i,s:s,s:O,s:O,s:O,s:f,s:s,s:s*}", "iteration", a->iteration, "arrow", a->name, "inputs", a->inputs, "outputs",
        a->outputs, "counts", a->counts, "seconds", progress_seconds() - a->started, "program", program_version(), "isa", l->isa);
    if (!row) return error_what(e, "cannot make a ledger row"), error_where(e, "%s", a->name), error_expected(e, "UTF-8, and memory");
    FILE *f = fopen(l->path, "ae");
    if (!f) {
        json_decref(row);
        return error_what(e, "cannot open ledger"), error_where(e, "%s", l->path), error_found(e, "%s", strerror(errno));
    }
    int failed = jsonl_write(f, json_incref(row), e);
    if (!failed && (fflush(f) || fsync(fileno(f))))
        failed = error_what(e, "cannot write ledger"), error_where(e, "%s", l->path), error_found(e, "%s", strerror(errno)),
        error_hint(e, "free space on this disk");
    if (fclose(f) && !failed)
        failed = error_what(e, "cannot write ledger"), error_where(e, "%s", l->path), error_found(e, "%s", strerror(errno));
    if (!failed && json_array_append(l->rows, row)) failed = error_what(e, "out of memory"), error_where(e, "%s", l->path);
    json_decref(row);
    return failed;
}

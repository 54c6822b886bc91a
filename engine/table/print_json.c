/* print_json.c - owns how a filled table looks as JSON. What is unknown is null. */
#include "engine/table/print.h"

#include <math.h>
#include <stdlib.h>

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }
static json_t *text(const char *s) { return s && s[0] ? json_string(s) : json_null(); }

/* Appends a new value, which may be NULL for memory that was out. */
static int append(json_t *list, json_t *value) { return json_array_append_new(list, value); }

static json_t *papers_json(const TableFilled *f, const TableCell *cell) {
    json_t *list = json_array();
    for (int i = 0; list && i < cell->papers; i++)
        if (append(list, json_pack("{s:f, s:s}", "value", cell->paper[i].value, "source", f->spec->sources[cell->paper[i].source].key)))
            return json_decref(list), NULL;
    return list;
}

static json_t *samples_json(const Samples *s) {
    json_t *list = json_array();
    for (int i = 0; list && i < s->n; i++)
        if (append(list, json_pack("{s:I, s:f, s:o}", "seed", (json_int_t)s->list[i].seed, "value", s->list[i].value, "file",
                             text(s->list[i].file))))
            return json_decref(list), NULL;
    return list;
}

static json_t *cell_json(const TableFilled *f, int row, int j, Error *e) {
    const TableCell *cell = table_cell(f, row, j);
    const Samples *s = &cell->measured;
    char *command = cell->from ? table_command(f, cell, j, 1, e) : NULL;
    if (cell->from && !command) return NULL;
    json_t *out = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "row", f->table->rows[row].key, "column",
        f->spec->columns[f->table->columns[j]].key, "paper", papers_json(f, cell), "measured", number(s->mean), "spread", number(s->spread),
        "seeds", samples_json(s), "measured_by", text(cell->place ? cell->place->from : NULL), "size", text(cell->size), "fill_command",
        text(command));
    free(command);
    return out;
}

static json_t *columns_json(const TableFilled *f) {
    static const char *const better[] = { [BETTER_LOWER] = "lower", [BETTER_HIGHER] = "higher", [BETTER_NEITHER] = NULL };
    json_t *list = json_array();
    for (int j = 0; list && j < f->table->columns_n; j++) {
        const TableColumn *c = &f->spec->columns[f->table->columns[j]];
        if (append(list, json_pack("{s:s, s:s, s:s?, s:s?, s:s?}", "key", c->key, "name", c->name, "paper", c->paper, "unit", c->unit,
                             "better", better[c->better])))
            return json_decref(list), NULL;
    }
    return list;
}

static json_t *rows_json(const TableFilled *f) {
    json_t *list = json_array();
    for (int i = 0; list && i < f->table->rows_n; i++) {
        const TableRow *r = &f->table->rows[i];
        if (append(list, json_pack("{s:s, s:s, s:s?, s:s?}", "key", r->key, "title", r->title, "is", r->is, "base",
                             r->base >= 0 ? f->table->rows[r->base].key : NULL)))
            return json_decref(list), NULL;
    }
    return list;
}

static json_t *checks_json(const TableFilled *f) {
    json_t *list = json_array();
    for (int i = 0; list && i < f->table->checks_n; i++) {
        const CheckResult *r = &f->checks[i];
        if (append(list, json_pack("{s:s, s:s, s:o, s:o, s:i, s:o, s:o, s:i}", "text", f->table->checks[i].text, "verdict",
                             check_verdicts[r->verdict], "number", number(r->number), "spread", number(r->seeds ? r->spread : NAN), "seeds",
                             r->seeds, "other", number(r->other), "other_spread", number(r->other_spread), "other_seeds", r->other_seeds)))
            return json_decref(list), NULL;
    }
    return list;
}

static json_t *runs_json(const TableFilled *f, Error *e) {
    json_t *list = json_array();
    for (int i = 0; list && i < f->runs->n; i++) {
        const SeedRun *r = &f->runs->list[i];
        char ledger[HASH_TEXT], read[HASH_TEXT];
        if (!json_object_size(r->read)) continue;
        if (seed_run_ledger_hash(r, ledger, e) || seed_run_read_hash(r, read, e) ||
            append(list, json_pack("{s:s, s:o, s:o, s:s, s:O}", "run", r->name, "size", text(r->size), "ledger", text(ledger), "read", read,
                             "files", r->read)))
            return json_decref(list), NULL;
    }
    return list;
}

/* Sources that the program's tables quote, whether this one does or not. */
static json_t *sources_json(const TableFilled *f) {
    json_t *all = json_object();
    for (int i = 0; all && i < f->spec->sources_n; i++)
        if (json_object_set_new(all, f->spec->sources[i].key, json_string(f->spec->sources[i].text))) return json_decref(all), NULL;
    return all;
}

json_t *table_to_json(const TableFilled *f, Error *e) {
    json_t *cells = json_array(), *out = NULL;
    int n = f->table->rows_n * f->table->columns_n, i = 0;
    while (cells && i < n && !append(cells, cell_json(f, i / f->table->columns_n, i % f->table->columns_n, e))) i++;
    if (cells && i == n)
        out = json_pack("{s:s, s:s, s:s?, s:s, s:O, s:o, s:o, s:o, s:o, s:o}", "name", f->table->name, "title", f->table->title, "note",
            f->table->note, "folder", f->runs->folder, "cells", cells, "columns", columns_json(f), "rows", rows_json(f), "checks",
            checks_json(f), "sources", sources_json(f), "runs", runs_json(f, e));
    json_decref(cells);
    if (!out) error_what(e, "cannot make JSON of a table"), error_where(e, "%s", f->table->name), error_expected(e, "UTF-8, and memory");
    return out;
}

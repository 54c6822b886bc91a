/* spec.c - owns the reading of the tables' file. Refuses what it does not know, at the place where it stands, so that a slip in a name
 * cannot leave a cell empty. */
#include "engine/table/spec.h"

#include "engine/eval/labeler_eval.h"
#include "engine/scenes/truth.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

extern const char data_tables_tables_json[];

enum { WHERE = 320, NAMES_MOST = 256, DECIMALS_MOST = 6 };

static void place_name(char out[WHERE], const char *format, ...) __attribute__((format(printf, 2, 3)));
static void place_name(char out[WHERE], const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(out, WHERE, format, args);
    va_end(args);
}

/* ---- fields ---- */

/* Refuses fields that are not in `names` (words apart by blanks), and values that are no objects. */
static int fields_check(const json_t *object, const char *names, const char *where, Error *e) {
    const char *key, *known[16];
    char words[256], *rest = words;
    json_t *value;
    size_t n = 0;
    if (!json_is_object(object))
        return error_what(e, "wrong type"), error_where(e, "%s", where), error_found(e, "%s", json_kind(object)),
               error_expected(e, "an object");
    snprintf(words, sizeof words, "%s", names);
    for (char *word; n < 16 && (word = strsep(&rest, " "));) known[n++] = word;
    json_object_foreach((json_t *)object, key, value) {
        size_t i = 0;
        while (i < n && strcmp(known[i], key)) i++;
        if (i < n) continue;
        const char *near = nearest_name(key, known, n);
        error_what(e, "unknown field"), error_where(e, "%s", where), error_found(e, "\"%.80s\"", key), error_expected(e, "%s", names);
        return near ? error_hint(e, "did you mean %s?", near) : -1;
    }
    return 0;
}

/* A text that can be a cell of a Markdown table. needed 0: NULL where it is absent. */
static int text_field(const json_t *object, const char *key, int needed, const char *where, const char **out, Error *e) {
    *out = NULL;
    if (needed ? json_need_string(object, key, where, out, e) : json_may_string(object, key, where, out, e)) return -1;
    if (!*out || (**out && !strpbrk(*out, "|\n\r"))) return 0;
    return error_what(e, "a text that cannot stand in a table"), error_where(e, "%s: field \"%s\"", where, key),
           error_found(e, **out ? "a '|' or a line end" : "nothing"), error_expected(e, "one line without '|'");
}

/* The member `key` of type `type`, or, absent and not needed, NULL. */
static int part_field(const json_t *object, const char *key, json_type type, int needed, const char *where, const json_t **out, Error *e) {
    *out = json_object_get(object, key);
    if (*out ? json_typeof(*out) == type : !needed) return 0;
    return error_what(e, *out ? "wrong type" : "missing field"), error_where(e, "%s: field \"%s\"", where, key),
           error_found(e, "%s", json_kind(*out)), error_expected(e, type == JSON_ARRAY ? "an array" : "an object");
}

/* The place of `name` among the n texts that lie `stride` bytes apart, or -1 with the Error filled. */
static int find(const char *name, const void *first, int n, size_t stride, const char *sort, const char *where, Error *e) {
    const char *names[NAMES_MOST];
    for (int i = 0; i < n && i < NAMES_MOST; i++) {
        memcpy(&names[i], (const char *)first + (size_t)i * stride, sizeof *names);
        if (!strcmp(names[i], name)) return i;
    }
    const char *near = nearest_name(name, names, (size_t)(n < NAMES_MOST ? n : NAMES_MOST));
    error_what(e, "no such %s", sort), error_where(e, "%s", where), error_found(e, "\"%.80s\"", name);
    return near ? error_hint(e, "did you mean %s?", near) : error_expected(e, "one of the file's own");
}
#define FIND(NAME, LIST, N, FIELD, SORT, WHERE_, E)                                                                                        \
    find(NAME, (N) ? (const void *)&(LIST)[0].FIELD : NULL, N, sizeof *(LIST), SORT, WHERE_, E)

static int column_in(const TableSpec *s, const Table *t, const char *name, const char *where, Error *e) {
    const char *names[TABLE_COLUMNS_MOST];
    for (int i = 0; i < t->columns_n; i++) names[i] = s->columns[t->columns[i]].key;
    return find(name, names, t->columns_n, sizeof *names, "column in this table", where, e);
}

static int choice(const char *text, const char *const *names, const char *where, const char *field, Error *e) {
    char all[200];
    size_t used = 0;
    for (int i = 0; names[i]; i++) {
        if (!strcmp(text, names[i])) return i;
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i ? " | " : "", names[i]);
    }
    return error_what(e, "unknown value"), error_where(e, "%s: field \"%s\"", where, field), error_found(e, "\"%.80s\"", text),
           error_expected(e, "%s", all);
}

/* ---- sources, runs, columns ---- */

static int sources_read(TableSpec *s, const json_t *object, const char *name, Error *e) {
    const char *key;
    json_t *value;
    if (!(s->sources = mem_new(json_object_size(object), sizeof *s->sources, "tables", e))) return -1;
    json_object_foreach((json_t *)object, key, value) {
        TableSource *x = &s->sources[s->sources_n++];
        char where[WHERE];
        x->key = key;
        place_name(where, "%s: sources", name);
        if (text_field(object, key, 1, where, &x->text, e)) return -1;
    }
    return 0;
}

static int runs_read(TableSpec *s, const json_t *object, const char *name, Error *e) {
    const char *key;
    json_t *value;
    if (!(s->runs = mem_new(json_object_size(object), sizeof *s->runs, "tables", e))) return -1;
    json_object_foreach((json_t *)object, key, value) {
        TableRun *x = &s->runs[s->runs_n++];
        char where[WHERE];
        x->key = key;
        place_name(where, "%s: runs.%s", name, key);
        if (fields_check(value, "scenes full", where, e) || text_field(value, "scenes", 1, where, &x->scenes, e) ||
            text_field(value, "full", 0, where, &x->full, e))
            return -1;
    }
    return 0;
}

/* Whether the rates of that kind have the field: their writers know. */
static int rate_check(const char *kind, const char *field, const char *where, Error *e) {
    TruthRates truth = { 0 };
    LabelerRates labeler = { 0 };
    json_t *rates = strcmp(kind, "scenes") ? labeler_rates_to_json(&labeler) : truth_rates_to_json(&truth);
    const char *names[32], *key;
    json_t *value;
    int n = 0;
    if (!rates) return error_what(e, "out of memory"), error_where(e, "%s", where);
    json_object_foreach(rates, key, value) if (n < 32) names[n++] = key;
    int bad = find(field, names, n, sizeof *names, "field of an evaluation", where, e) < 0;
    json_decref(rates);
    return bad ? -1 : 0;
}

static int place_read(TablePlace *p, const json_t *object, const char *where, Error *e) {
    static const char *const kinds[] = { "scenes", "labeler", NULL };
    int result = json_object_get(object, "result") != NULL;
    *p = (TablePlace){ .kind = result ? PLACE_RESULT : PLACE_EVAL, .scale = 1 };
    if (fields_check(object, result ? "result benchmark section measure scale offset" : "eval field scale offset", where, e) ||
        text_field(object, result ? "result" : "eval", 1, where, &p->from, e) ||
        text_field(object, result ? "measure" : "field", 1, where, &p->field, e) || json_may_number(object, "scale", where, &p->scale, e) ||
        json_may_number(object, "offset", where, &p->offset, e))
        return -1;
    if (!result) return choice(p->from, kinds, where, "eval", e) < 0 || rate_check(p->from, p->field, where, e) ? -1 : 0;
    if (text_field(object, "benchmark", 0, where, &p->benchmark, e) || text_field(object, "section", 1, where, &p->section, e)) return -1;
    if (!p->benchmark) p->benchmark = p->from;
    return 0;
}

static int column_read(TableSpec *s, TableColumn *c, const json_t *object, const char *where, Error *e) {
    static const char *const directions[] = { "lower", "higher", NULL };
    const char *better, *change_of;
    const json_t *places;
    int64_t decimals = 1;
    c->change_of = -1;
    if (fields_check(object, "name paper unit decimals better places change_of", where, e) ||
        text_field(object, "name", 1, where, &c->name, e) || text_field(object, "paper", 0, where, &c->paper, e) ||
        text_field(object, "unit", 0, where, &c->unit, e) || text_field(object, "better", 0, where, &better, e) ||
        json_may_integer(object, "decimals", where, 0, DECIMALS_MOST, &decimals, e) ||
        text_field(object, "change_of", 0, where, &change_of, e) || part_field(object, "places", JSON_ARRAY, !change_of, where, &places, e))
        return -1;
    int direction = better ? choice(better, directions, where, "better", e) : BETTER_NEITHER;
    if (direction < 0) return -1;
    c->better = (Better)direction, c->decimals = (int)decimals;
    if (change_of && places)
        return error_what(e, "a column of changes has no places"), error_where(e, "%s", where), error_found(e, "change_of and places"),
               error_expected(e, "one of them");
    if (change_of)
        return (c->change_of = FIND(change_of, s->columns, s->columns_n - 1, key, "column before this one", where, e)) < 0 ? -1 : 0;
    if (!(c->places = mem_new(json_array_size(places), sizeof *c->places, "tables", e))) return -1;
    for (size_t i = 0; i < json_array_size(places); i++) {
        char at[WHERE];
        place_name(at, "%.200s.places[%zu]", where, i);
        if (place_read(&c->places[c->places_n++], json_array_get(places, i), at, e)) return -1;
    }
    return 0;
}

static int columns_read(TableSpec *s, const json_t *object, const char *name, Error *e) {
    const char *key;
    json_t *value;
    if (!(s->columns = mem_new(json_object_size(object), sizeof *s->columns, "tables", e))) return -1;
    json_object_foreach((json_t *)object, key, value) {
        TableColumn *c = &s->columns[s->columns_n++];
        char where[WHERE];
        c->key = key;
        place_name(where, "%s: columns.%s", name, key);
        if (column_read(s, c, value, where, e)) return -1;
    }
    return 0;
}

/* ---- rows ---- */

static int at_read(TableMeasured *m, const char *where, Error *e) {
    static const struct {
        const char *text;
        TableAt at;
    } plain[] = { { "start", AT_START }, { "chosen", AT_CHOSEN }, { "labeler", AT_LABELER }, { "eval", AT_EVAL } };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (!strcmp(m->at_text, plain[i].text)) return m->at = plain[i].at, 0;
    char *end = NULL;
    long iteration = strncmp(m->at_text, "iteration ", 10) ? 0 : strtol(m->at_text + 10, &end, 10);
    if (iteration > 0 && iteration <= INT32_MAX && !*end) return m->at = AT_ITERATION, m->iteration = (int)iteration, 0;
    if (!strncmp(m->at_text, "file ", 5) && m->at_text[5] && m->at_text[5] != '/' && !strstr(m->at_text, ".."))
        return m->at = AT_FILE, m->file = m->at_text + 5, 0;
    return error_what(e, "unknown value"), error_where(e, "%s: field \"at\"", where), error_found(e, "\"%.80s\"", m->at_text),
           error_expected(e, "start, iteration K, chosen, labeler, eval, or file PATH, below the run");
}

static int measured_read(const TableSpec *s, const Table *t, TableMeasured *m, const json_t *object, const char *where, Error *e) {
    const char *run;
    const json_t *columns;
    if (fields_check(object, "run at columns command full", where, e) || text_field(object, "run", 1, where, &run, e) ||
        text_field(object, "at", 1, where, &m->at_text, e) || text_field(object, "command", 0, where, &m->command, e) ||
        text_field(object, "full", 0, where, &m->full, e) || part_field(object, "columns", JSON_ARRAY, 0, where, &columns, e) ||
        at_read(m, where, e) || (m->run = FIND(run, s->runs, s->runs_n, key, "run", where, e)) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(columns); i++) {
        const json_t *name = json_array_get(columns, i);
        int column = json_is_string(name) ? column_in(s, t, json_string_value(name), where, e) : -1;
        if (!json_is_string(name))
            error_what(e, "wrong type"), error_where(e, "%s: field \"columns\"", where), error_found(e, "%s", json_kind(name)),
                error_expected(e, "names of columns");
        if (column < 0) return -1;
        m->columns |= 1u << column;
    }
    if (!m->command) m->command = s->runs[m->run].scenes;
    if (!m->full) m->full = s->runs[m->run].full;
    return 0;
}

/* Gives the columns that no entry names to the entry that names none. */
static int measured_share(const Table *t, TableRow *r, const char *where, Error *e) {
    unsigned named = 0, all = (1u << t->columns_n) - 1;
    int rest = -1;
    for (int i = 0; i < r->measured_n; i++) {
        const TableMeasured *m = &r->measured[i];
        if ((m->columns & named) || (!m->columns && rest >= 0))
            return error_what(e, "a cell that is measured twice"), error_where(e, "%s.measured[%d]", where, i),
                   error_expected(e, "each column in one entry, and one entry without columns for the rest");
        named |= m->columns;
        if (!m->columns) rest = i;
    }
    if (rest >= 0) r->measured[rest].columns = all & ~named;
    return 0;
}

static int paper_read(const TableSpec *s, const Table *t, TableRow *r, const json_t *object, const char *where, Error *e) {
    const char *source, *column;
    json_t *numbers, *value;
    for (int i = 0; i < TABLE_PAPERS_MOST; i++)
        for (int j = 0; j < TABLE_COLUMNS_MOST; j++) r->paper[i][j] = NAN;
    json_object_foreach((json_t *)object, source, numbers) {
        if (r->sources_n == TABLE_PAPERS_MOST)
            return error_what(e, "too many sources of a row"), error_where(e, "%s", where),
                   error_expected(e, "at most %d", TABLE_PAPERS_MOST);
        int i = r->sources_n++, j;
        if ((r->sources[i] = FIND(source, s->sources, s->sources_n, key, "source", where, e)) < 0) return -1;
        if (!json_is_object(numbers))
            return error_what(e, "wrong type"), error_where(e, "%s: field \"%s\"", where, source), error_found(e, "%s", json_kind(numbers)),
                   error_expected(e, "an object");
        json_object_foreach(numbers, column, value) {
            if ((j = column_in(s, t, column, where, e)) < 0 || json_need_number(numbers, column, where, &r->paper[i][j], e)) return -1;
        }
    }
    return 0;
}

static int row_read(const TableSpec *s, Table *t, const json_t *object, const char *where, Error *e) {
    TableRow *r = &t->rows[t->rows_n];
    const json_t *paper, *measured;
    const char *base;
    if (fields_check(object, "key title is base paper measured", where, e) || text_field(object, "key", 1, where, &r->key, e) ||
        text_field(object, "title", 1, where, &r->title, e) || text_field(object, "is", 0, where, &r->is, e) ||
        text_field(object, "base", 0, where, &base, e) || part_field(object, "paper", JSON_OBJECT, 0, where, &paper, e) ||
        part_field(object, "measured", JSON_ARRAY, 0, where, &measured, e) || paper_read(s, t, r, paper, where, e))
        return -1;
    for (int i = 0; i < t->rows_n; i++)
        if (!strcmp(t->rows[i].key, r->key))
            return error_what(e, "two rows of one key"), error_where(e, "%s", where), error_found(e, "\"%.80s\"", r->key);
    r->base = base ? FIND(base, t->rows, t->rows_n, key, "row before this one", where, e) : -1;
    t->rows_n++;
    if (base && r->base < 0) return -1;
    if (measured && !(r->measured = mem_new(json_array_size(measured), sizeof *r->measured, "tables", e))) return -1;
    for (size_t i = 0; i < json_array_size(measured); i++) {
        char at[WHERE];
        place_name(at, "%.200s.measured[%zu]", where, i);
        if (measured_read(s, t, &r->measured[r->measured_n++], json_array_get(measured, i), at, e)) return -1;
    }
    return measured_share(t, r, where, e);
}

/* ---- checks ---- */

static int cell_read(const TableSpec *s, const Table *t, const json_t *pair, const char *where, int *row, int *column, Error *e) {
    const char *r = json_string_value(json_array_get(pair, 0)), *c = json_string_value(json_array_get(pair, 1));
    if (json_array_size(pair) != 2 || !r || !c)
        return error_what(e, "not a cell"), error_where(e, "%s", where), error_found(e, "%s", json_kind(pair)),
               error_expected(e, "[ROW, COLUMN]");
    return (*row = FIND(r, t->rows, t->rows_n, key, "row", where, e)) < 0 || (*column = column_in(s, t, c, where, e)) < 0 ? -1 : 0;
}

static int check_read(const TableSpec *s, const Table *t, TableCheck *c, const json_t *object, const char *where, Error *e) {
    static const char *const kinds[] = { [CHECK_REDUCTION_AT_LEAST] = "reduction_at_least",
        [CHECK_REDUCTION_AT_MOST] = "reduction_at_most",
        [CHECK_LESS_THAN] = "less_than",
        [CHECK_MORE_THAN] = "more_than",
        [CHECK_WORSE_BY_SPREAD] = "worse_by_spread",
        NULL };
    const char *kind_text;
    const json_t *than = json_object_get(object, "than");
    c->than_row = c->than_column = -1, c->value = NAN;
    if (fields_check(object, "text kind cell than value", where, e) || text_field(object, "text", 1, where, &c->text, e) ||
        text_field(object, "kind", 1, where, &kind_text, e) ||
        cell_read(s, t, json_object_get(object, "cell"), where, &c->row, &c->column, e) ||
        (than && cell_read(s, t, than, where, &c->than_row, &c->than_column, e)) || json_may_number(object, "value", where, &c->value, e))
        return -1;
    int kind = choice(kind_text, kinds, where, "kind", e);
    if (kind < 0) return -1;
    c->kind = (CheckKind)kind;
    int reduction = c->kind == CHECK_REDUCTION_AT_LEAST || c->kind == CHECK_REDUCTION_AT_MOST, spread = c->kind == CHECK_WORSE_BY_SPREAD;
    if ((than != NULL) == !isnan(c->value) || (reduction && than) || (spread && !than))
        return error_what(e, "a check against the wrong thing"), error_where(e, "%s", where),
               error_found(e, than              ? isnan(c->value) ? "than" : "than and value"
                              : isnan(c->value) ? "neither than nor value"
                                                : "value"),
               error_expected(e, reduction ? "value"
                                 : spread  ? "than"
                                           : "than or value");
    if (reduction && t->rows[c->row].base < 0)
        return error_what(e, "a reduction from nothing"), error_where(e, "%s", where), error_expected(e, "a row with a base");
    if (spread && s->columns[t->columns[c->column]].better == BETTER_NEITHER)
        return error_what(e, "worse of a column that has no better"), error_where(e, "%s", where), error_expected(e, "lower or higher");
    return 0;
}

/* ---- tables ---- */

static int table_columns_read(const TableSpec *s, Table *t, const json_t *names, const char *where, Error *e) {
    if (json_array_size(names) == 0 || json_array_size(names) > TABLE_COLUMNS_MOST)
        return error_what(e, "wrong number of columns"), error_where(e, "%s", where), error_found(e, "%zu", json_array_size(names)),
               error_expected(e, "1 to %d", TABLE_COLUMNS_MOST);
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        int column = FIND(name ? name : "", s->columns, s->columns_n, key, "column", where, e), of;
        if (column < 0) return -1;
        t->columns[t->columns_n++] = column;
        of = s->columns[column].change_of;
        if (of >= 0 && column_in(s, t, s->columns[of].key, where, e) < 0) return error_hint(e, "a change stands behind what changes");
    }
    return 0;
}

static int table_read(TableSpec *s, Table *t, const json_t *object, const char *where, Error *e) {
    const json_t *columns, *rows, *checks;
    char at[WHERE];
    if (fields_check(object, "name title note columns rows checks", where, e) || text_field(object, "name", 1, where, &t->name, e) ||
        text_field(object, "title", 1, where, &t->title, e) || text_field(object, "note", 0, where, &t->note, e) ||
        part_field(object, "columns", JSON_ARRAY, 1, where, &columns, e) || part_field(object, "rows", JSON_ARRAY, 1, where, &rows, e) ||
        part_field(object, "checks", JSON_ARRAY, 0, where, &checks, e) || table_columns_read(s, t, columns, where, e) ||
        !(t->rows = mem_new(json_array_size(rows), sizeof *t->rows, "tables", e)) ||
        !(t->checks = mem_new(json_array_size(checks), sizeof *t->checks, "tables", e)))
        return -1;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        place_name(at, "%.200s.rows[%zu]", where, i);
        if (row_read(s, t, json_array_get(rows, i), at, e)) return -1;
    }
    for (size_t i = 0; i < json_array_size(checks); i++) {
        place_name(at, "%.200s.checks[%zu]", where, i);
        if (check_read(s, t, &t->checks[t->checks_n++], json_array_get(checks, i), at, e)) return -1;
    }
    return 0;
}

static int spec_read(TableSpec *s, const char *name, Error *e) {
    const json_t *sources, *runs, *columns, *tables;
    if (fields_check(s->json, "sources runs columns tables", name, e) ||
        part_field(s->json, "sources", JSON_OBJECT, 1, name, &sources, e) || part_field(s->json, "runs", JSON_OBJECT, 1, name, &runs, e) ||
        part_field(s->json, "columns", JSON_OBJECT, 1, name, &columns, e) ||
        part_field(s->json, "tables", JSON_ARRAY, 1, name, &tables, e) || sources_read(s, sources, name, e) ||
        runs_read(s, runs, name, e) || columns_read(s, columns, name, e) ||
        !(s->tables = mem_new(json_array_size(tables), sizeof *s->tables, "tables", e)))
        return -1;
    for (size_t i = 0; i < json_array_size(tables); i++) {
        char where[WHERE];
        place_name(where, "%.200s: tables[%zu]", name, i);
        if (table_read(s, &s->tables[s->tables_n++], json_array_get(tables, i), where, e)) return -1;
    }
    return 0;
}

int spec_open(TableSpec *s, const char *path, Error *e) {
    memset(s, 0, sizeof *s);
    if (path ? json_read_object(path, &s->json, e) : json_text_object(data_tables_tables_json, "tables.json", &s->json, e)) return -1;
    if (!spec_read(s, path ? path : "tables.json", e)) return 0;
    spec_free(s);
    return -1;
}

void spec_free(TableSpec *s) {
    for (int i = 0; i < s->columns_n; i++) free(s->columns[i].places);
    for (int i = 0; i < s->tables_n; i++) {
        for (int j = 0; j < s->tables[i].rows_n; j++) free(s->tables[i].rows[j].measured);
        free(s->tables[i].rows), free(s->tables[i].checks);
    }
    free(s->sources), free(s->runs), free(s->columns), free(s->tables);
    json_decref(s->json);
    memset(s, 0, sizeof *s);
}

/* ---- looked up ---- */

const Table *spec_table(const TableSpec *s, const char *name, Error *e) {
    char names[280] = "all";
    int i = FIND(name, s->tables, s->tables_n, name, "table", "command line", e);
    if (i >= 0) return &s->tables[i];
    for (i = 0; i < s->tables_n && strlen(names) + strlen(s->tables[i].name) + 3 < sizeof names; i++)
        strcat(strcat(names, ", "), s->tables[i].name);
    return error_expected(e, "%s", names), NULL;
}

const TableMeasured *spec_measured(const TableSpec *s, const Table *t, int row, int column) {
    const TableRow *r = &t->rows[row];
    int of = s->columns[t->columns[column]].change_of;
    for (int j = 0; of >= 0 && j < t->columns_n; j++)
        if (t->columns[j] == of) column = j;
    for (int i = 0; i < r->measured_n; i++)
        if (r->measured[i].columns >> column & 1) return &r->measured[i];
    return NULL;
}

int place_applies(const TablePlace *p, const TableMeasured *m) {
    int file = p->kind == PLACE_RESULT;
    return m->at == AT_FILE ? file : !file || strcmp(p->benchmark, "scenes") != 0;
}

int spec_can_fill(const TableColumn *c, const TableMeasured *m, int in_scenes) {
    for (int i = 0; m && i < c->places_n; i++)
        if (place_applies(&c->places[i], m) &&
            (!in_scenes || !strcmp(c->places[i].kind == PLACE_EVAL ? c->places[i].from : c->places[i].benchmark, "scenes")))
            return 1;
    return 0;
}

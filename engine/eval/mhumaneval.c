/* mhumaneval.c - owns the sheet of MHumanEval and its numbers. */
#include "engine/eval/mhumaneval.h"

#include "engine/eval/answers.h"
#include "engine/eval/sheet.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { ID, IMAGE, QUESTION, ANSWER, DONE, FIXED };
enum { OBJECT, POSITION, NUMBER, ATTRIBUTE, ACTION, OTHER, TYPES };
static const char *const columns[FIXED + TYPES] = { "id", "image", "question", "answer", "done", "object", "position", "number",
    "attribute", "action", "other" };

/* ---- export ---- */

typedef struct Export {
    AnswerSet answers;
    FILE *to;
    size_t place;
    int rows;
} Export;

/* The first of the fields that is there; "" where none is. */
static const char *first_text(const json_t *row, const char *const *keys) {
    for (; *keys; keys++)
        if (json_is_string(json_object_get(row, *keys))) return json_string_value(json_object_get(row, *keys));
    return "";
}

static int export_row(Export *x, const json_t *row, const char *id, const char *where, Error *e) {
    static const char *const images[] = { "image", "image_path", "image_src", "image_url", "image_id", NULL }, *const questions[] = {
        "question", "text", NULL
    };
    const char *cells[FIXED + TYPES];
    const Answer *a;
    if (answers_ask(&x->answers, id, where, &a, e)) return -1;
    if (!a) return 0;
    for (int i = 0; i < FIXED + TYPES; i++) cells[i] = "";
    cells[ID] = id, cells[IMAGE] = first_text(row, images), cells[QUESTION] = first_text(row, questions), cells[ANSWER] = a->text;
    if (!*cells[QUESTION]) return error_what(e, "missing field"), error_where(e, "%s", where), error_expected(e, "question or text");
    if (strlen(cells[IMAGE]) > PATH_SIZE) cells[IMAGE] = ""; /* the picture itself, in base64: nothing for a cell */
    sheet_write(x->to, cells, FIXED + TYPES);
    x->rows++;
    return 0;
}

static int question_add(void *context, const json_t *row, const char *where, Error *e) {
    Export *x = context;
    char *id;
    if (row_id(row, IDS_OR_PLACES, x->place++, where, &id, e)) return -1;
    int bad = export_row(x, row, id, where, e);
    free(id);
    return bad;
}

int mhumaneval_export(const EvalSettings *s, const char *questions, const char *out, FILE *talk, Error *e) {
    Export x = { 0 };
    FileOut file;
    int bad = answers_read(&x.answers, s->answers, IDS_OR_PLACES, e);
    if (!bad) {
        bad = file_create(&file, out, e);
        if (!bad) {
            x.to = file.stream;
            sheet_begin(x.to);
            sheet_write(x.to, columns, FIXED + TYPES);
            bad = rows_each(questions, question_add, &x, e) || answers_settle(&x.answers, s->partial, e);
            if (bad) file_abandon(&file);
            else bad = file_commit(&file, e);
        }
        answers_free(&x.answers);
    }
    if (!bad) fprintf(talk, "%s: %d answers to be marked\n", out, x.rows);
    return bad ? -1 : 0;
}

/* ---- import ---- */

enum { ANSWERS, FALSE_ANSWERS, FALSE_OF_TYPE, PIECES = FALSE_OF_TYPE + TYPES, PIECES_OF_TYPE, COUNTS = PIECES_OF_TYPE + TYPES };

static double responses(const int64_t *s, int column) { return share((double)s[column], (double)s[ANSWERS]); }
static double pieces_each(const int64_t *s, int column) { return quotient((double)s[column], (double)s[ANSWERS]); }

typedef struct Import {
    const char *path;
    int at[FIXED + TYPES]; /* where the columns stand; -1: nowhere */
    json_t *seen;
    Counts counts;
    EvalResult *result;
    int waiting;       /* rows not done */
    int first_waiting; /* the line of the first */
} Import;

static int refuse_row(const Import *im, const SheetRow *row, const char *column, const char *found, const char *expected, Error *e) {
    return error_what(e, "bad label"), error_where(e, "%s:%d: column %s", im->path, row->line, column), error_found(e, "\"%.120s\"", found),
           error_expected(e, "%s", expected);
}

/* The text with each run of blanks as one, none at its ends, in small letters. */
static char *plain_text(const char *from, size_t n) {
    char *out = malloc(n + 1), *to = out;
    for (size_t i = 0; out && i < n; i++) {
        if (!isspace((unsigned char)from[i])) *to++ = (char)tolower((unsigned char)from[i]);
        else if (to > out && to[-1] != ' ') *to++ = ' ';
    }
    if (out && to > out && to[-1] == ' ') to--;
    if (out) *to = 0;
    return out;
}

/* The pieces in one cell: 0, with *n of them and their list, or -1. */
static int pieces_read(const Import *im, const SheetRow *row, int type, const char *answer, json_t *list, int32_t *n, Error *e) {
    const char *cell = row->cells[im->at[FIXED + type]], *column = columns[FIXED + type];
    *n = 0;
    for (const char *p = cell; *cell;) {
        size_t size = strcspn(p, "|"), i;
        char *piece = plain_text(p, size);
        json_t *had;
        int bad = !piece ? error_what(e, "out of memory") : 0;
        if (!bad && !*piece && (*n || p[size])) bad = refuse_row(im, row, column, cell, "a piece of the answer on each side of |", e);
        if (!bad && !strstr(answer, piece))
            bad = refuse_row(im, row, column, piece, "a piece of the row's answer, word for word; several apart by |", e);
        if (!bad)
            json_array_foreach(list, i, had) if (!bad && !strcmp(json_string_value(had), piece)) bad =
                refuse_row(im, row, column, piece, "each piece once", e);
        if (!bad && *piece) *n += 1, bad = json_array_append_new(list, json_string(piece)) ? error_what(e, "out of memory") : 0;
        free(piece);
        if (bad) return -1;
        if (!p[size]) break;
        p += size + 1;
    }
    return 0;
}

/* 1 done, 0 not yet, -1. */
static int done_read(const Import *im, const SheetRow *row, Error *e) {
    static const char *const yes[] = { "yes", "y", "1", "x", "true", "done" }, *const no[] = { "", "no", "n", "0", "false" };
    const char *cell = row->cells[im->at[DONE]];
    char *said = plain_text(cell, strlen(cell));
    int got = -1;
    if (!said) return error_what(e, "out of memory");
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!strcmp(said, yes[i])) got = 1;
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (!strcmp(said, no[i])) got = 0;
    free(said);
    return got < 0 ? refuse_row(im, row, columns[DONE], cell, "yes, or nothing", e) : got;
}

static int row_count(Import *im, const SheetRow *row, const char *id, Error *e) {
    int32_t counts[COUNTS] = { [ANSWERS] = 1 };
    const char *cell = row->cells[im->at[ANSWER]];
    char *answer = plain_text(cell, strlen(cell));
    json_t *marked = json_object();
    int bad = !answer || !marked ? error_what(e, "out of memory") : 0;
    for (int type = 0; type < TYPES && !bad; type++) {
        json_t *list = json_array();
        bad = !list || json_object_set_new(marked, columns[FIXED + type], list)
                  ? error_what(e, "out of memory")
                  : pieces_read(im, row, type, answer, list, &counts[PIECES_OF_TYPE + type], e);
        counts[PIECES] += counts[PIECES_OF_TYPE + type];
        counts[FALSE_OF_TYPE + type] = counts[PIECES_OF_TYPE + type] > 0;
    }
    counts[FALSE_ANSWERS] = counts[PIECES] > 0;
    free(answer);
    if (!bad) bad = counts_add(&im->counts, counts, e) || eval_row(im->result, json_pack("{s:s, s:O}", "id", id, "marked", marked), e);
    json_decref(marked);
    return bad;
}

static int is_marked(const Import *im, const SheetRow *row) {
    for (int type = 0; type < TYPES; type++)
        if (row->cells[im->at[FIXED + type]][strspn(row->cells[im->at[FIXED + type]], " \t\r\n")]) return 1;
    return 0;
}

static int row_take(Import *im, const SheetRow *row, size_t width, Error *e) {
    if (row->n != width)
        return error_what(e, "bad sheet"), error_where(e, "%s:%d", im->path, row->line), error_found(e, "%zu cells", row->n),
               error_expected(e, "%zu, as in its first line", width);
    const char *id = row->cells[im->at[ID]];
    if (!*id) return refuse_row(im, row, columns[ID], id, "the id that was exported", e);
    if (json_object_get(im->seen, id)) return refuse_row(im, row, columns[ID], id, "each id once", e);
    if (json_object_set_new(im->seen, id, json_true())) return error_what(e, "out of memory");
    int done = done_read(im, row, e);
    if (done == 0 && is_marked(im, row))
        return refuse_row(im, row, columns[DONE], row->cells[im->at[DONE]], "yes in a row that has marks", e);
    if (done == 0 && !im->waiting++) im->first_waiting = row->line;
    return done > 0 ? row_count(im, row, id, e) : done;
}

static int header_read(Import *im, const SheetRow *row, Error *e) {
    for (int k = 0; k < FIXED + TYPES; k++) {
        im->at[k] = -1;
        for (size_t i = 0; i < row->n; i++) {
            if (strcasecmp(row->cells[i], columns[k])) continue;
            if (im->at[k] >= 0)
                return error_what(e, "bad sheet"), error_where(e, "%s:%d", im->path, row->line),
                       error_found(e, "two columns %s", columns[k]);
            im->at[k] = (int)i;
        }
        if (im->at[k] < 0 && k != IMAGE && k != QUESTION)
            return error_what(e, "bad sheet"), error_where(e, "%s:%d", im->path, row->line), error_found(e, "no column %s", columns[k]),
                   error_expected(e, "the columns that `mhumaneval export` writes");
    }
    return 0;
}

static int sheet_count(Import *im, const Sheet *sheet, int partial, Error *e) {
    if (sheet->n < 2) return error_what(e, "no labels"), error_where(e, "%s", im->path);
    if (header_read(im, &sheet->rows[0], e)) return -1;
    for (size_t i = 1; i < sheet->n; i++)
        if (row_take(im, &sheet->rows[i], sheet->rows[0].n, e)) return -1;
    if (!im->waiting || (partial && im->counts.n)) return 0;
    error_what(e, "answers that nobody is done with"), error_where(e, "%s:%d", im->path, im->first_waiting);
    error_found(e, "%d of %zu rows without yes in column done", im->waiting, sheet->n - 1),
        error_expected(e, "yes in each row that was looked at, marks or none");
    if (im->counts.n) error_hint(e, "--partial counts those that are done");
    return -1;
}

static int import_measure(const Import *im, EvalResult *r, const EvalSettings *s, Error *e) {
    Measure measures[2 * (1 + TYPES)];
    int n = 0;
    measures[n++] = (Measure){ "responses", "all", responses, FALSE_ANSWERS };
    for (int i = 0; i < TYPES; i++) measures[n++] = (Measure){ "responses", columns[FIXED + i], responses, FALSE_OF_TYPE + i };
    measures[n++] = (Measure){ "pieces", "all", pieces_each, PIECES };
    for (int i = 0; i < TYPES; i++) measures[n++] = (Measure){ "pieces", columns[FIXED + i], pieces_each, PIECES_OF_TYPE + i };
    return eval_count(r, "responses", "answers", (int64_t)im->counts.n, e) ||
           eval_count(r, "pieces", "answers", (int64_t)im->counts.n, e) || eval_measure(r, &im->counts, measures, n, s, e);
}

int mhumaneval_import(const EvalSettings *s, const char *labels, const char *people, const char *out, FILE *table, Error *e) {
    EvalResult r;
    Sheet sheet;
    char hash[HASH_TEXT];
    Import im = { .path = labels, .seen = json_object(), .counts = { .columns = COUNTS }, .result = &r };
    if (!im.seen) return error_what(e, "out of memory");
    if (hash_file(labels, hash, e) || sheet_read(&sheet, labels, e)) return json_decref(im.seen), -1;
    int bad = eval_open(&r, "mhumaneval", s, e);
    if (!bad) {
        json_t *by = json_pack("{s:s, s:s}", "name", people, "version", hash);
        bad = (!by || json_object_set_new(r.json, "judge", by) ? error_what(e, "out of memory") : 0) ||
              sheet_count(&im, &sheet, s->partial, e) || import_measure(&im, &r, s, e);
        r.answers = (int)im.counts.n;
        r.missing = im.waiting;
        if (bad) eval_abandon(&r);
        else bad = eval_finish(&r, out, table, e);
    }
    sheet_free(&sheet);
    counts_free(&im.counts);
    json_decref(im.seen);
    return bad ? -1 : 0;
}

/* sheet.c - owns the writing and reading of CSV. */
#include "engine/eval/sheet.h"

#include "base/file.h"
#include "tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MARK "\xef\xbb\xbf"

/* ---- writing ---- */

static int looks_like_formula(char c) { return c && strchr("=+-@\t\r", c); }
static int is_guarded(const char *cell) { return looks_like_formula(*cell) || *cell == '\''; }

void sheet_begin(FILE *to) { fputs(MARK, to); }

static void cell_write(FILE *to, const char *cell) {
    int quoted = is_guarded(cell) || cell[strcspn(cell, ",;\t\"\r\n")] || *cell == ' ' || (*cell && cell[strlen(cell) - 1] == ' ');
    if (quoted) putc('"', to);
    if (is_guarded(cell)) putc('\'', to);
    for (; *cell; cell++) {
        if (*cell == '"') putc('"', to);
        putc(*cell, to);
    }
    if (quoted) putc('"', to);
}

void sheet_write(FILE *to, const char *const *cells, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (i) putc(',', to);
        cell_write(to, cells[i]);
    }
    fputs("\r\n", to);
}

/* ---- reading ---- */

typedef struct Cursor {
    const char *p, *end, *path;
    int line;
    char apart;
} Cursor;

static int bad_at(const Cursor *c, int line, const char *found, const char *expected, Error *e) {
    return error_what(e, "bad sheet"), error_where(e, "%s:%d", c->path, line), error_found(e, "%s", found),
           error_expected(e, "%s", expected);
}

/* Without the ' that guards it. */
static char *cell_bare(char *cell) {
    if (cell[0] == '\'' && is_guarded(cell + 1)) memmove(cell, cell + 1, strlen(cell));
    return cell;
}

static int cell_add(Cursor *c, SheetRow *row, const char *text, size_t n, Error *e) {
    if (row->n == SHEET_CELLS_MOST)
        return bad_at(c, c->line, "more than 1000 cells in a row", "the columns of the sheet that was exported", e);
    if (mem_grow(&row->cells, &row->cap, row->n + 1, sizeof *row->cells, "a sheet", e)) return -1;
    char *cell = strndup(text, n);
    if (!cell) return error_what(e, "out of memory"), error_where(e, "a sheet");
    row->cells[row->n++] = cell_bare(cell);
    return 0;
}

/* After the opening quote; `buffer` is as long as the file. */
static int quoted_take(Cursor *c, SheetRow *row, char *buffer, Error *e) {
    size_t n = 0;
    int line = c->line;
    for (;; c->p++) {
        if (c->p == c->end) return bad_at(c, line, "a quote that does not close", "\" at the end of the cell", e);
        if (*c->p == '"') {
            if (c->p + 1 == c->end || c->p[1] != '"') break;
            c->p++;
        } else if (*c->p == '\n') c->line++;
        if (n == SHEET_CELL_MOST) return bad_at(c, line, "a cell above 1 MiB", "shorter ones; does a quote not close?", e);
        buffer[n++] = *c->p;
    }
    c->p++;
    if (c->p < c->end && *c->p != c->apart && *c->p != '\n' && *c->p != '\r')
        return bad_at(c, c->line, "text after a closing quote", "quotes within a cell twice (\"\")", e);
    return cell_add(c, row, buffer, n, e);
}

static int plain_take(Cursor *c, SheetRow *row, Error *e) {
    const char *start = c->p;
    for (; c->p < c->end && *c->p != c->apart && *c->p != '\n' && *c->p != '\r'; c->p++)
        if (*c->p == '"') return bad_at(c, c->line, "a quote within a cell that does not begin with one", "the whole cell in quotes", e);
    return cell_add(c, row, start, (size_t)(c->p - start), e);
}

/* One row, its line end included. */
static int row_take(Cursor *c, SheetRow *row, char *buffer, Error *e) {
    row->line = c->line;
    for (;;) {
        int quoted = c->p < c->end && *c->p == '"';
        if (quoted) c->p++;
        if (quoted ? quoted_take(c, row, buffer, e) : plain_take(c, row, e)) return -1;
        if (c->p == c->end || *c->p != c->apart) break;
        c->p++;
    }
    if (c->p < c->end && *c->p == '\r') c->p++;
    if (c->p < c->end && *c->p == '\n') c->p++;
    c->line++;
    return 0;
}

static void row_free(SheetRow *row) {
    for (size_t i = 0; i < row->n; i++) free(row->cells[i]);
    free(row->cells);
    memset(row, 0, sizeof *row);
}

static int rows_take(Sheet *s, Cursor *c, char *buffer, Error *e) {
    while (c->p < c->end) {
        SheetRow row = { 0 };
        int bad = row_take(c, &row, buffer, e), empty = row.n == 1 && !*row.cells[0];
        if (!bad && !empty) bad = mem_grow(&s->rows, &s->cap, s->n + 1, sizeof *s->rows, "a sheet", e);
        if (!bad && !empty) s->rows[s->n++] = row;
        else row_free(&row);
        if (bad) return -1;
    }
    return 0;
}

int sheet_read(Sheet *s, const char *path, Error *e) {
    enum { LIMIT = 64 << 20 };
    char *text, *buffer = NULL;
    size_t size;
    memset(s, 0, sizeof *s);
    if (file_read(path, LIMIT, &text, &size, e)) return -1;
    Cursor c = { text, text + size, path, 1, ',' };
    if (size >= strlen(MARK) && !memcmp(text, MARK, strlen(MARK))) c.p += strlen(MARK);
    const char *first = c.p + strcspn(c.p, ",;\t\n");
    if (*first && *first != '\n') c.apart = *first;
    int bad = 0;
    if (memchr(text, 0, size)) bad = bad_at(&c, 1, "a NUL byte", "CSV in UTF-8 (some programs call UTF-16 \"Unicode text\")", e);
    else if (utf8_valid(text, size) != size) bad = bad_at(&c, 1, "text that is not UTF-8", "the sheet saved as CSV in UTF-8", e);
    if (!bad && !(buffer = mem_new(size + 1, 1, "a sheet", e))) bad = -1;
    bad = bad || rows_take(s, &c, buffer, e);
    free(buffer);
    free(text);
    if (bad) sheet_free(s);
    return bad ? -1 : 0;
}

void sheet_free(Sheet *s) {
    for (size_t i = 0; i < s->n; i++) row_free(&s->rows[i]);
    free(s->rows);
    memset(s, 0, sizeof *s);
}

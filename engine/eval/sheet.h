/* sheet.h - tables for people's spreadsheets, as CSV (RFC 4180).
 *
 * Written with a byte order mark (else Excel reads UTF-8 as something else), commas and CRLF. A cell that a spreadsheet would take for a
 * formula (it begins with = + - @, a tab or CR) or that begins with ' gets a ' in front, which reading takes off again. */
#ifndef RLAIFV_ENGINE_EVAL_SHEET_H
#define RLAIFV_ENGINE_EVAL_SHEET_H

#include "base/error.h"

#include <stdio.h>

void sheet_begin(FILE *to);                                     /* the mark */
void sheet_write(FILE *to, const char *const *cells, size_t n); /* one row; the stream keeps errors */

/* A sheet in memory: rows of cells, with the line that each row begins in. */
typedef struct SheetRow {
    char **cells;
    size_t n, cap;
    int line;
} SheetRow;
typedef struct Sheet {
    SheetRow *rows;
    size_t n, cap;
} Sheet;
enum { SHEET_CELL_MOST = 1 << 20, SHEET_CELLS_MOST = 1000 };
/* Reads a file of at most 64 MiB whose cells stand apart by commas, semicolons or tabs, whichever comes first in its first line; empty
 * lines are passed over. Refuses quotes that do not close or stand within a cell, NUL bytes, text that is not UTF-8, cells and rows that
 * are too long. */
int sheet_read(Sheet *s, const char *path, Error *e);
void sheet_free(Sheet *s);

#endif

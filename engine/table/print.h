/* print.h - filled tables as Markdown for people, as CSV with one line a cell, as JSON with the value of each seed. The same cells always
 * give the same bytes; whether `to` took them is the caller's to check. */
#ifndef RLAIFV_ENGINE_TABLE_PRINT_H
#define RLAIFV_ENGINE_TABLE_PRINT_H

#include "engine/table/cells.h"

int table_print_markdown(const TableFilled *f, FILE *to, Error *e);
void csv_heading_print(FILE *to);
int table_print_csv(const TableFilled *f, FILE *to, Error *e);
/* The table as an object; NULL with the Error filled. */
json_t *table_to_json(const TableFilled *f, Error *e);

/* What checks are called, by verdict. */
extern const char *const check_verdicts[];

#endif

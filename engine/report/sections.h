/* sections.h - the parts of the page that show rows of files: each writes a section's content, whole for any run, however little of it is
 * done. 0 or -1. */
#ifndef RLAIFV_ENGINE_REPORT_SECTIONS_H
#define RLAIFV_ENGINE_REPORT_SECTIONS_H

#include "engine/report/answers.h"
#include "engine/report/picture.h"

/* Pictures with what was answered before and after: RUN/examples, then as many of the evaluation's prompts as `most` leaves room for. */
int gallery_write(const RunFolder *r, int most, Pictures *pictures, FILE *to, Error *e);
/* Pairs for the page's script, `most` of them spread over the iterations: the filters, and the data as JSON. */
int browser_write(const RunFolder *r, int most, Pictures *pictures, FILE *to, Error *e);
/* What was left out on the way, counted and with reasons. */
int dropped_write(const RunFolder *r, FILE *to, Error *e);
/* Settings, the plan where the folder has one, and the ledger. */
int settings_write(const RunFolder *r, FILE *to, Error *e);
int ledger_write(const RunFolder *r, FILE *to, Error *e);

#endif

/* examples.h - a few prompts with what was answered before and after, and what the labeler rejects of both, for the report.
 *
 * Taken are the first evaluation prompts whose first answer before held a false claim (by the truth, or where there is none by the
 * labeler): there is nothing to see in the others. RUN/examples/candidates.jsonl has each twice, as candidate 0 before and 1 after. */
#ifndef RLAIFV_ENGINE_EXAMPLES_H
#define RLAIFV_ENGINE_EXAMPLES_H

#include "engine/judge.h"
#include "engine/report_text.h"

/* Fills r->examples. `iteration`: of the ledger; before, after: folders of the evaluations' answers, relative to the run folder. */
int examples_make(Loop *l, int iteration, const char *before, const char *after, Report *r, Error *e);

#endif

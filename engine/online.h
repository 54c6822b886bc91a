/* online.h - RLAIF-V's loop: iterations of sample, label, pair, train, and choice of a checkpoint, each from the last one's choice
 * (PAPER 5.1).
 *
 * What is chosen never looks at the evaluation: checkpoints, and at the end the iteration, are chosen on the validation prompts (select.h).
 * A run may stop anywhere, and the same command goes on from there to the same files; settings may be changed in between, and then what
 * depends on them is done again. */
#ifndef RLAIFV_ENGINE_ONLINE_H
#define RLAIFV_ENGINE_ONLINE_H

#include "engine/config.h"
#include "engine/report_text.h"

/* Runs all iterations. *report is filled for printing; it has no rows when nothing is evaluated (no data.eval). */
int online_run(const RunConfig *c, Report *report, Error *e);

#endif

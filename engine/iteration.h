/* iteration.h - one round of the loop: sample, claims, label, pair, train, select. Files go to RUN/iter-N.
 *
 *   candidates.jsonl claims.jsonl labels.jsonl pairs.jsonl    the arrows of data
 *   checkpoint-N/ reference.jsonl training.json train.json    training: what it was started for, and what it made
 *   validation/checkpoint-N/                                  what the checkpoints answered to the validation prompts, and its labels
 *   select.json model/                                        which checkpoint was chosen and why, and its weights */
#ifndef RLAIFV_ENGINE_ITERATION_H
#define RLAIFV_ENGINE_ITERATION_H

#include "engine/judge.h"
#include "engine/select.h"

/* The arrows of data, each skipped when it is done: from the prompts to pairs.jsonl. policy: the checkpoint folder that answers. 0;
 * ITERATION_WITHOUT_PAIRS when no two answers may be paired, so that there is nothing to learn from; -1. */
enum { ITERATION_WITHOUT_PAIRS = 1 };
int iteration_data(Loop *l, int iteration, const char *policy, Error *e);
/* claims.jsonl alone, of the candidates that are there; counts (may be NULL): what the ledger says of it. */
int iteration_claims(Loop *l, int iteration, const char *policy, ClaimCounts *counts, Error *e);

/* Training on pairs.jsonl, and the choice of a checkpoint, left in RUN/iter-N/model. `before`: what the model at the start of the run names
 * (select_named). *chosen: the checkpoint's step with its validation numbers (0 where the rule asks for none). */
int iteration_train(Loop *l, int iteration, const char *policy, double before, SelectEntry *chosen, Error *e);

#endif

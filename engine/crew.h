/* crew.h - the loop over ranks: rank 0 leads it, keeps its files and speaks; the others do their share of what it orders.
 *
 * What takes long is ordered: answers, labels, training. Each rank holds the model that the order names, takes its prompts, answers or pairs, and
 * leaves what it made where rank 0 finds it. Between orders the others wait. With one rank the orders are plain calls.
 *
 * An error of rank 0 outside orders ends the run as that of a lone process does; one during an order, on any rank, ends all ranks at once
 * (world_fail), and the run is continued as after a kill. */
#ifndef RLAIFV_ENGINE_CREW_H
#define RLAIFV_ENGINE_CREW_H

#include "engine/loop.h"
#include "engine/train.h"

/* Runs `lead` on rank 0 with an open loop while the others serve. */
int crew_run(const RunConfig *c, int (*lead)(Loop *l, void *context, Error *e), void *context, Error *e);

/* For `lead` alone. The model is opened on all ranks. */
int crew_sample(Loop *l, const char *model, const RunConfig *c, uint64_t seed, const Dataset *prompts, const char *out, SampleCounts *counts,
    Error *e); /* c: the loop's config, its answering or its other */
/* claims.jsonl in the mode of the config; model: who labels. Without a claims model rank 0 does it alone. */
int crew_claims(Loop *l, const char *model, const char *candidates, const char *out, ClaimCounts *counts, Error *e);
int crew_label(Loop *l, const char *model, const char *candidates, const char *claims, const char *out, LabelCounts *counts, Error *e);
/* plan: ranks, metrics and progress are filled in. The model is dropped: its weights have changed. */
int crew_train(Loop *l, const char *model, TrainPlan plan, TrainResult *result, Error *e);

#endif

/* optimizer.h - one optimiser step: schedule, global-norm clipping, AdamW over the parameter arena. */
#ifndef RLAIFV_ENGINE_OPTIMIZER_H
#define RLAIFV_ENGINE_OPTIMIZER_H

#include "engine/config.h"
#include "model/shard.h"

/* Warm-up steps of a run of `steps` (train.warmup_steps, else the ratio of the steps rounded up, as Transformers does). */
int64_t schedule_warmup(const RunConfig *c, int64_t steps);
/* Learning rate of step t (from 0) of `steps`: lr * t / warmup while t < warmup, then the schedule down to lr * lr_end. */
double schedule_lr(const RunConfig *c, int64_t t, int64_t steps);

/* Steps this rank's pieces with their summed gradient (every pass has ended), sends the new weights to all ranks, and clears the gradients. `step` counts
 * from 1 (Adam's bias correction). Weight decay falls on tensors of two or more dimensions. *norm: global gradient norm before clipping. */
int optimizer_step(Shard *s, const RunConfig *c, double lr, int64_t step, double *norm, Error *e);

#endif

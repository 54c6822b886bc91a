/* slices.h - what the ranks that hold the slices of one model tell each other in a step; private to the model room.
 *
 * Tensor parallelism as of Shoeybi et al. 2019 (arXiv 1909.08053): each rank has some of the heads, of the feed-forward's columns and of
 * the vocabulary (config_slice), and everything else whole. The residual stream is the same on all, to the bit: a block's two partial
 * products are summed over the ranks by Comm's tree before they are added to it, and on the way back the gradients that leave a block's
 * first products are.
 *
 * Without slices every function does nothing, or what its name says for the one model. */
#ifndef RLAIFV_MODEL_SLICES_H
#define RLAIFV_MODEL_SLICES_H

#include "model/workspace.h"

/* x = the sum of all ranks' x. */
int slices_sum(Model *m, const char *what, Buf x, int64_t count, Error *e);
/* x = residual + the sum of all ranks' x. */
int slices_sum_onto(Model *m, const char *what, Buf x, Buf residual, int64_t count, Error *e);

/* Targets of lm_head's rows on this rank (outside them: another rank's), good until the next call; all targets where the model is whole.
 * NULL: no memory. */
const int *slices_targets(Model *m, const Forest *f, Error *e);
/* logp, entropy, hit, mean_logit and lse of the workspace are those of this rank's slice; they become those of the whole vocabulary. */
int slices_scores(Model *m, int R, Error *e);
/* One row of it: says[i] are rank i's six numbers, in steps of `stride`. What becomes of the largest logit is not told. */
enum { SAYS_LOGP, SAYS_LSE, SAYS_LARGEST, SAYS_ENTROPY, SAYS_HIT, SAYS_MEAN, SAYS = SLICE_SCORES };
void slices_row(float out[SAYS], const float *const *says, int n, int64_t stride);

/* Where this rank's logits (R, V / n) go, and the making of the workspace's (R, V) from those of all. */
Buf slices_logits_place(const Model *m, int R);
int slices_logits(Model *m, int R, Error *e);

#endif

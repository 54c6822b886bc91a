/* dpo.h - preference pairs -> gradients: one forward and backward over the Forest of a step.
 *
 * Chosen and rejected are leaves of one trunk that holds image and question, so the trunk is computed once for both, in both directions. A step of many
 * pairs may be cut into chunks (forests) whose gradients add up; pair_scale carries the mean over the whole step. */
#ifndef RLAIFV_ENGINE_DPO_H
#define RLAIFV_ENGINE_DPO_H

#include "engine/vlm.h"

typedef struct DpoPair {
    int trunk; /* segment of the forest the answers hang from */
    const int *chosen, *rejected;
    int chosen_n, rejected_n;
    double reference[2]; /* summed log-probs of chosen and rejected under the reference */
} DpoPair;

/* Sums over pairs and tokens; divide by pairs or tokens for TRL's metrics. */
typedef struct DpoSums {
    int pairs;
    int64_t tokens[2]; /* of chosen, of rejected */
    int64_t rows;      /* token rows computed */
    double loss, reward[2], logp[2], logit[2], accuracies, entropy, hits;
} DpoSums;

/* Appends the leaves to the forest (whose trunks are built), runs forward, the preference loss and backward: gradients are added to the model's. Adds to
 * *sums. images: the step's, or NULL. */
int dpo_backward(Vlm *v, Forest *f, StepImages *images, const DpoPair *pairs, int n, const PreferenceLoss *loss, DpoSums *sums, Error *e);
/* The same leaves without gradients: the summed log-probs go to pairs[i].reference. */
int dpo_reference(Vlm *v, Forest *f, StepImages *images, DpoPair *pairs, int n, Error *e);

#endif

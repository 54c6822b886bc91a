/* dpo.h - preference pairs -> gradients: one forward and backward over the Forest of a step.
 *
 * Chosen and rejected are leaves of one trunk that holds image and question, so the trunk is computed once for both, in both directions. A step of many
 * pairs may be cut into chunks (forests) whose gradients add up; pair_scale carries the mean over the whole step. */
#ifndef RLAIFV_ENGINE_DPO_H
#define RLAIFV_ENGINE_DPO_H

#include "engine/vlm.h"

enum { DPO_SEQUENCES = 3 }; /* chosen, rejected, chosen without the image */

/* One answer: hangs from `trunk`. */
typedef struct DpoSequence {
    int trunk;            /* segment of the forest */
    const IdList *answer; /* ids */
    const float *weights; /* of its tokens in the loss; NULL: ones */
    double reference;     /* its log-prob under the reference, weighted alike */
} DpoSequence;

typedef struct DpoPair {
    DpoSequence sequences[DPO_SEQUENCES]; /* the loss says how many there are (loss_sequences) */
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
/* The same leaves without gradients: their log-probs become the references. sequences: of each pair. */
int dpo_reference(Vlm *v, Forest *f, StepImages *images, DpoPair *pairs, int n, int sequences, Error *e);

#endif

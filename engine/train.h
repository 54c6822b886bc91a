/* train.h - DPO over a file of preference pairs: reference log-probs, steps, metrics, checkpoints, resume. */
#ifndef RLAIFV_ENGINE_TRAIN_H
#define RLAIFV_ENGINE_TRAIN_H

#include "engine/config.h"
#include "engine/metrics.h"
#include "engine/progress.h"
#include "engine/ranks.h"
#include "engine/vlm.h"

/* The settings that say what a pair's loss is. */
#define TRAIN_LOSS_SETTINGS                                                                                                                \
    "train.loss train.beta train.label_smoothing train.sft_weight train.sft_reduce train.token_weight train.length_alpha "                 \
    "train.conditional_weight train.anchor_weight"

typedef struct TrainPlan {
    const RunConfig *config;
    const char *pairs;  /* pairs.jsonl */
    const char *folder; /* gets checkpoint-N and reference.jsonl */
    int iteration;
    const Ranks *ranks; /* all of them train together, each calling train_pairs with an equal plan; rank 0 writes */
    Metrics *metrics;   /* may be NULL */
    Progress *progress; /* may be NULL */
} TrainPlan;

typedef struct TrainResult {
    int64_t steps;   /* of the whole run */
    int pairs, dropped;
    double loss;     /* mean over the steps taken in this call */
    double seconds;
} TrainResult;

/* Trains v's model from where it stands (its weights are the reference), or from the newest checkpoint of the same job in the folder. Leaves the last
 * checkpoint in FOLDER/checkpoint-STEPS and training state freed. */
int train_pairs(Vlm *v, const TrainPlan *plan, TrainResult *result, Error *e);

/* 1 when a checkpoint is due after `step` of `steps` steps on `pairs` pairs: by save_every or save_epochs, and at the end. */
int train_saves(const RunConfig *c, int pairs, int64_t step, int64_t steps);

/* The size of the largest chunk, or of the largest step that takes references (mode STEP_SCORE), when a step has `parts` parts, `pairs` pairs are at
 * hand, and prompt and both answers have `longest` tokens at most. images: pairs with one. */
StepSize train_step_size(const ModelConfig *c, const RunConfig *config, int parts, StepMode mode, int64_t longest, int64_t pairs, int64_t images);

#endif

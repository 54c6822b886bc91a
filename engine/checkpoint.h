/* checkpoint.h - checkpoint-N folders: the model in its Hugging Face layout, and all that training needs to go on as if it never stopped.
 *
 * A checkpoint folder holds what params_export writes, plus optimizer.safetensors (Adam's moments m and v and the fp32 master weights, each one flat
 * tensor over the parameter arena) and trainer_state.json. It is written under a temporary name, flushed, and renamed: a folder named
 * checkpoint-N is whole. */
#ifndef RLAIFV_ENGINE_CHECKPOINT_H
#define RLAIFV_ENGINE_CHECKPOINT_H

#include "engine/config.h"
#include "model/model.h"

typedef struct TrainState {
    int64_t step; /* steps taken */
    int64_t tokens;
    char job[HASH_TEXT]; /* hash of the settings and data that determine the run: another run's checkpoint is not continued */
} TrainState;

/* Writes FOLDER/checkpoint-STEP. */
int checkpoint_save(Model *m, const RunConfig *c, const char *folder, const TrainState *s, Error *e);
/* The newest step with a checkpoint of this job in FOLDER: 1 found and *s filled, 0 none, -1. */
int checkpoint_latest(const char *folder, const char *job, TrainState *s, Error *e);
/* Fills weights, master weights and moments of a model in training (params_train_begin done) from FOLDER/checkpoint-STEP. */
int checkpoint_load(Model *m, const char *folder, int64_t step, Error *e);
/* Removes all but the newest `keep` checkpoints, sparing those in `spare`. keep 0: nothing is removed. */
int checkpoint_prune(const char *folder, int keep, const int64_t *spare, int spare_n, Error *e);
void checkpoint_path(char out[PATH_SIZE], const char *folder, int64_t step);
TensorType checkpoint_dtype(const Model *m, const RunConfig *c);

#endif

/* checkpoint.h - checkpoint-N folders: the model in its Hugging Face layout, and all that training needs to go on as if it never stopped.
 *
 * A checkpoint folder holds what params_export writes, plus the training state: optimizer-R-of-N.safetensors, one from every rank that owns a
 * part (exact fp32 weights and Adam's moments m and v, flat, and which runs of the whole model's arena they are), trainer_state.json, and state.json, which
 * lists these files with their hashes. It is written under a temporary name by all ranks together, flushed, and renamed: a folder named
 * checkpoint-N is whole. What N ranks saved, any number of ranks can load, in any mode of sharding and any number of slices. */
#ifndef RLAIFV_ENGINE_CHECKPOINT_H
#define RLAIFV_ENGINE_CHECKPOINT_H

#include "engine/ranks.h"
#include "model/shard.h"

typedef struct TrainState {
    int64_t step; /* steps taken */
    int64_t tokens;
    char job[HASH_TEXT]; /* hash of the settings and data that determine the run: another run's checkpoint is not continued */
} TrainState;

/* Writes FOLDER/checkpoint-STEP. Called by all ranks. */
int checkpoint_save(Model *m, Shard *shard, const Ranks *r, const RunConfig *c, const char *folder, const TrainState *s, Error *e);
/* The newest step with a checkpoint of this job in FOLDER: 1 found and *s filled, 0 none, -1. Called by all ranks, which hear what rank 0 finds.
 * What a kill left of checkpoints that were being written is removed. */
int checkpoint_latest(const char *folder, const Ranks *r, const char *job, TrainState *s, Error *e);
/* Fills weights, master weights and moments of this rank's pieces from FOLDER/checkpoint-STEP. Called by all ranks. Refuses files that are not what was
 * written, by name; then the hint names the checkpoint before, if there is one of this job. */
int checkpoint_load(Model *m, Shard *shard, const Ranks *r, const char *folder, const TrainState *s, Error *e);
/* Removes all but the newest `keep` checkpoints, sparing those in `spare`. keep 0: nothing is removed. */
int checkpoint_prune(const char *folder, int keep, const int64_t *spare, int spare_n, Error *e);
void checkpoint_path(char out[PATH_SIZE], const char *folder, int64_t step);
TensorType checkpoint_dtype(const RunConfig *c);
/* 1 for files of a checkpoint that are not the model. */
int checkpoint_is_state(const char *name);

#endif

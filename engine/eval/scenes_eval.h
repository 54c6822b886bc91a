/* scenes_eval.h - answers about scenes of the built-in world held against the truth in the prompts' rows. */
#ifndef RLAIFV_ENGINE_EVAL_SCENES_EVAL_H
#define RLAIFV_ENGINE_EVAL_SCENES_EVAL_H

#include "engine/dataset.h"
#include "engine/scenes/truth.h"

/* The rows of a data file by id, with their scenes. */
typedef struct ScenesTruth {
    json_t *index; /* id -> place in scenes */
    Scene *scenes;
} ScenesTruth;
/* Refuses a row without `truth`, or with a truth that is not of the world. */
int scenes_truth_read(const Dataset *data, ScenesTruth *out, Error *e);
void scenes_truth_free(ScenesTruth *t);
const Scene *scenes_truth_find(const ScenesTruth *t, const char *id); /* or NULL */

/* Judges every row {id, text} of a candidates file. Refuses an id that has no truth, and a file without rows. 0 or -1. */
int scenes_eval(const ScenesTruth *truth, const char *candidates, TruthTally *out, Error *e);

#endif

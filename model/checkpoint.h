/* checkpoint.h - the tensors of a checkpoint folder matched with the parameter table: what params_load reads and model_inspect describes.
 */
#ifndef RLAIFV_MODEL_CHECKPOINT_H
#define RLAIFV_MODEL_CHECKPOINT_H

#include "model/params.h"
#include "model/safetensors.h"

typedef struct Checkpoint {
    const Params *params;
    TensorSet main, tower; /* tower: of config.vision_folder, when the checkpoint itself holds no tensor of the tower */
    Layout layout;
    const Tensor **tensors; /* per entry of the table, NULL when there is none */
    unsigned char *taken;   /* per tensor of main: 1 when the table has it, 2 when it is known to be harmless */
} Checkpoint;

/* Opens the files and matches names; nothing is read. 0 or -1 with nothing held. */
int checkpoint_open(Checkpoint *c, const Params *p, const char *folder, Error *e);
void checkpoint_close(Checkpoint *c);

/* The first problem at or after place `from` of the checkpoint: a tensor that is missing, has another shape or a type without a meaning
 * here, or a stray one. Fills *problem and returns its place, or -1 when there is none. All of them: for (int i = 0; (i =
 * checkpoint_problem(c, i, &problem)) >= 0; i++) */
int checkpoint_problem(const Checkpoint *c, int from, Error *problem);

/* How elements of a dtype are called in a file. */
TensorType params_tensor_type(DType dtype);
/* The weights alone into `folder`, in layout p->layout: the part of params_export between its files. */
int params_write(const Params *p, const Kernels *k, const ParamSource *source, TensorType store, const char *folder, int64_t shard_limit, Error *e);

#endif

/* pickle.h - the tensors that a pickle of torch.save describes, found without doing anything a pickle asks for.
 *
 * A pickle is a program for a stack machine, and calling functions is among its instructions. This reader knows three callables, which build
 * dictionaries and tensors, and refuses every other by name. */
#ifndef RLAIFV_MODEL_PICKLE_H
#define RLAIFV_MODEL_PICKLE_H

#include "model/safetensors.h"

enum { PICKLE_NAME = 512 };

/* A named view of a storage, as the pickle has it: sizes, strides and offset are 0 or more, nothing else about them is checked. */
typedef struct PickleTensor {
    char name[PICKLE_NAME]; /* printable ASCII */
    const char *key;        /* of the storage, in the pickle, without an end */
    size_t key_n;
    TensorType type;
    int64_t storage_count, offset; /* elements of the whole storage; where the view begins */
    int ndim;
    int64_t shape[TENSOR_DIMS], stride[TENSOR_DIMS];
} PickleTensor;

typedef int (*PickleTake)(void *context, const PickleTensor *t, Error *e); /* 0 to go on */

/* Calls `take` for each tensor of the dictionary of tensors that the pickle of `size` bytes holds: the outermost, or what that has under
 * "state_dict", "model" or "module". `path` is for messages. 0 or -1. */
int pickle_tensors(const void *bytes, size_t size, const char *path, PickleTake take, void *context, Error *e);

#endif

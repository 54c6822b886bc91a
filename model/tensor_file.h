/* tensor_file.h - the formats of files that hold tensors, for tensor_set.c: each adds the tensors of one mapped file to a set. */
#ifndef RLAIFV_MODEL_TENSOR_FILE_H
#define RLAIFV_MODEL_TENSOR_FILE_H

#include "model/safetensors.h"

/* Both append to s->list, in no order; the tensors borrow from the map and from f->path. 0, or -1 with the set still fit to be closed. */
int safetensors_add(TensorSet *s, const TensorFile *f, Error *e);
int torch_add(TensorSet *s, const TensorFile *f, Error *e);

/* The Error of a tensor in a file; returns -1. */
int tensor_bad(const char *what, const char *file, const char *name, Error *e);
/* Bytes of `ndim` sizes of elements of `size` bytes; -1 when that overflows. */
int64_t tensor_bytes(const int64_t *shape, int ndim, size_t size);

#endif

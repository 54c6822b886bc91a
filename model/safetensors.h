/* safetensors.h - named tensors in files of the safetensors format (github.com/huggingface/safetensors), read mapped and written whole.
 *
 * A file is an 8-byte little-endian header length, a JSON header {name: {dtype, shape, data_offsets}} and one byte buffer. A checkpoint is
 * one file, or shards with model.safetensors.index.json. PyTorch's own files, *.bin, are read too, and look the same from here on. */
#ifndef RLAIFV_MODEL_SAFETENSORS_H
#define RLAIFV_MODEL_SAFETENSORS_H

#include "base/file.h"

#include <stddef.h>
#include <stdint.h>

enum { TENSOR_DIMS = 8 };

typedef enum TensorType {
    TENSOR_F64,
    TENSOR_F32,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_I64,
    TENSOR_I32,
    TENSOR_I16,
    TENSOR_I8,
    TENSOR_U64,
    TENSOR_U32,
    TENSOR_U16,
    TENSOR_U8,
    TENSOR_BOOL,
    TENSOR_F8_E4M3,
    TENSOR_F8_E5M2,
    TENSOR_TYPES
} TensorType;
const char *tensor_type_name(TensorType type); /* "F32", "BF16", ... as the format spells it */
size_t tensor_type_size(TensorType type);

/* Converts n elements between F64 (from only), F32, F16 and BF16, rounding to nearest even; the buffers need no alignment and must not
 * overlap. Other types convert only to themselves. 0, or -1: also for numbers that F16 would make infinite. */
int tensor_convert(const void *from, TensorType from_type, void *to, TensorType to_type, int64_t n, Error *e);

/* ---- reading ---- */

typedef struct Tensor {
    char *name;
    TensorType type;
    int ndim; /* 0: a scalar */
    int64_t shape[TENSOR_DIMS], count;
    const void *data; /* in the mapped file; not aligned to more than a byte */
    const char *file; /* where it stands, for messages */
} Tensor;

typedef enum TensorFormat { FORMAT_SAFETENSORS, FORMAT_TORCH } TensorFormat;

typedef struct TensorFile {
    TensorFormat format;
    char *path;
    const void *map;
    size_t size;
    FileIdentity which;
} TensorFile;

typedef struct TensorSet {
    Tensor *list; /* in order of names */
    size_t n;
    TensorFile *files;
    size_t files_n;
} TensorSet;

/* Opens a file, which is PyTorch's when it is called *.bin, or a folder that holds model.safetensors, model.safetensors.index.json with its shards,
 * pytorch_model.bin or pytorch_model.bin.index.json with its: the first of these. Every header is checked in full: known dtypes, products that do not
 * overflow, data within the file (in safetensors, offsets that cover the buffer exactly without overlap), names unique across shards, and an index
 * that names only files and tensors that exist. A pickle is read, not run (pickle.h). 0 or -1 with nothing held. */
int tensors_open(TensorSet *s, const char *path, Error *e);
/* Adds the tensors of one more file, whose names must be new. 0, or -1 with the set fit only to be closed. */
int tensors_add(TensorSet *s, const char *path, Error *e);
void tensors_close(TensorSet *s);
/* NULL when absent. */
const Tensor *tensors_find(const TensorSet *s, const char *name);
/* The tensor's count elements as `type`, in `out`. */
int tensor_read(const Tensor *t, TensorType type, void *out, Error *e);

/* Reads elements as they are stored, at the disk's speed (file_reopen); a thread has one of its own, which begins as zeros. */
typedef struct TensorReader {
    const TensorFile *open; /* NULL: none */
    int file;
} TensorReader;
/* Elements [first, first + n) of a tensor of the set. */
int tensor_reader_read(TensorReader *r, const TensorSet *s, const Tensor *t, int64_t first, int64_t n, void *out, Error *e);
void tensor_reader_close(TensorReader *r);

/* ---- writing ---- */

/* Declares every tensor first (the header precedes the data), then takes their elements in the same order, in pieces of any size:
 *
 *     tensors_create(&w, folder, limit, e);
 *     tensors_declare(w, name, type, ndim, shape, e) ...
 *     tensors_append(w, name, data, data_type, n, e) ...
 *     tensors_commit(w, e);
 *
 * After a failure only tensors_abandon is left to call; commit frees the writer either way. */
typedef struct TensorWriter TensorWriter;

/* shard_limit 0: `path` is the one file to write. Otherwise `path` is a folder (made when absent) that gets model.safetensors or, when the
 * tensors hold more than shard_limit bytes, model-00001-of-0000N.safetensors and so on with the index. A single tensor above the limit has
 * a shard of its own. Each file appears only when it is whole, the index last. */
int tensors_create(TensorWriter **w, const char *path, int64_t shard_limit, Error *e);
int tensors_declare(TensorWriter *w, const char *name, TensorType type, int ndim, const int64_t *shape, Error *e);
/* Appends n elements to tensor `name`, which must be the one now being filled, converting data_type to the declared type. */
int tensors_append(TensorWriter *w, const char *name, const void *data, TensorType data_type, int64_t n, Error *e);
int tensors_commit(TensorWriter *w, Error *e);
void tensors_abandon(TensorWriter *w);

#endif

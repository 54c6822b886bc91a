/* params_io.c - owns the way of weights from the arena to a checkpoint's files, and their hash. They pass through a piece of host memory of fixed size, so that
 * nothing but the arena grows with the model. */
#include "model/checkpoint.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Elements on the way at a time: enough that the calls cost nothing beside the bytes. */
enum { PIECE = 1 << 20 };

TensorType params_tensor_type(DType dtype) { return dtype == BF16 ? TENSOR_BF16 : TENSOR_F32; }

static int64_t piece_of(int64_t count, int64_t done) { return count - done < PIECE ? count - done : PIECE; }

/* ---- write ---- */

/* Where the weights of `unit` are: the source's, or those that are held; of a tensor its master where there is one. */
static int unit_open(const Params *p, const ParamSource *source, int unit, Buf *weights, Error *e) {
    *weights = p->units[unit].weights;
    return source ? source->unit(source->context, unit, weights, e) : 0;
}

/* A part of the tensor whose elements lie side by side in it, from the device. */
static int write_run(const Kernels *k, Buf from, int64_t count, const char *name, TensorWriter *w, void *piece, Error *e) {
    for (int64_t done = 0, n; done < count; done += n) {
        n = piece_of(count, done);
        k->download(piece, buf_at(from, done), n);
        if (k->sync(e) || tensors_append(w, name, piece, params_tensor_type(from.dtype), n, e)) return -1;
    }
    return 0;
}

/* Whole rows of a tensor whose columns are cut, from the slices, which stand `apart` elements from each other: as many rows at a time as make a piece. */
static int write_columns(const Kernels *k, const Param *q, int slices, Buf from, int64_t apart, const char *name, TensorWriter *w, Error *e) {
    int64_t rows = q->shape[0], columns = q->shape[1], most = PIECE / (columns * slices);
    size_t size = dtype_size(from.dtype);
    if (most < 1) most = 1;
    char *part = mem_new((size_t)(most * columns), size, "writing weights", e);
    char *whole = part ? mem_new((size_t)(most * columns * slices), size, "writing weights", e) : NULL;
    int bad = !whole;
    for (int64_t done = 0, n; done < rows && !bad; done += n) {
        n = rows - done < most ? rows - done : most;
        for (int s = 0; s < slices; s++) {
            k->download(part, buf_at(from, s * apart + done * columns), n * columns);
            for (int64_t r = 0; r < n; r++)
                memcpy(whole + (size_t)((r * slices + s) * columns) * size, part + (size_t)(r * columns) * size, (size_t)columns * size);
        }
        bad = k->sync(e) || tensors_append(w, name, whole, params_tensor_type(from.dtype), n * columns * slices, e);
    }
    free(part);
    free(whole);
    return bad ? -1 : 0;
}

/* from: the tensor in the first slice; apart: elements from one slice to the next. */
static int write_tensor(const Params *p, const Kernels *k, const Param *q, Buf from, int64_t apart, TensorWriter *w, void *piece, Error *e) {
    char name[PARAM_NAME];
    int slices = q->cut == CUT_NONE ? 1 : config_slices(p->config);
    params_name(q, p->layout, name);
    if (q->cut == CUT_COLUMNS) return write_columns(k, q, slices, from, apart, name, w, e);
    for (int s = 0; s < slices; s++)
        if (write_run(k, buf_at(from, s * apart), q->count, name, w, piece, e)) return -1;
    return 0;
}

int params_write(const Params *p, const Kernels *k, const ParamSource *source, TensorType store, const char *folder, int64_t shard_limit, Error *e) {
    TensorWriter *w;
    Buf weights = BUF_NONE;
    assert(source || config_slices(p->config) == 1);
    if (k->sync(e)) return -1;
    void *piece = mem_new(PIECE, sizeof(float), "writing weights", e);
    if (!piece) return -1;
    int failed = tensors_create(&w, folder, shard_limit, e);
    if (failed) {
        free(piece);
        return -1;
    }
    for (int i = 0; i < p->n && !failed; i++) {
        char name[PARAM_NAME];
        int64_t shape[4];
        const Param *q = &p->list[i];
        params_name(q, p->layout, name);
        params_whole_shape(p, q, shape);
        failed = !q->absent && tensors_declare(w, name, store == (TensorType)TENSOR_AS_STORED ? q->stored : store, q->ndim, shape, e);
    }
    for (int i = 0, unit = -1; i < p->n && !failed; i++) {
        const Param *q = &p->list[i];
        if (q->unit != unit) failed = unit_open(p, source, unit = q->unit, &weights, e);
        /* The master copy is what training stepped; the model's own copy is its rounding. */
        Buf from = !source && p->master.at && q->trained ? buf_at(p->master, q->offset) : buf_at(weights, q->offset - p->units[unit].offset);
        failed = failed || (!q->absent && write_tensor(p, k, q, from, p->units[unit].count, w, piece, e));
    }
    free(piece);
    if (!failed) return tensors_commit(w, e);
    tensors_abandon(w);
    return -1;
}

/* ---- hash ---- */

enum { HASHED = 8 }; /* elements of a run: no slice begins or ends within one */

/* The sum over the runs of `n` elements from element `from` of a tensor on. */
static uint64_t runs_hash(const Params *p, const Param *q, int64_t from, int64_t n, const unsigned char *bytes, uint64_t seed) {
    size_t size = dtype_size(p->weights.dtype);
    uint64_t sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (int64_t at = 0; at < n; at += HASHED) {
        int64_t beside, place = params_whole_at(p, q, from + at, &beside) / HASHED, run = n - at < HASHED ? n - at : HASHED;
        sum += hash64(bytes + (size_t)at * size, (size_t)run * size, seed + (uint64_t)place);
    }
    return sum;
}

/* Unused tensors do not count: they change no result. */
ParamSums params_sums(const Params *p, const Kernels *k) {
    unsigned char piece[1 << 16];
    int64_t most = (int64_t)(sizeof piece / dtype_size(p->weights.dtype));
    ParamSums sums = { 0 };
    for (int i = 0; i < p->n; i++) {
        const Param *q = &p->list[i];
        if (!q->used) continue;
        uint64_t seed = hash64(&(int64_t[2]){ q->kind, q->layer }, 2 * sizeof(int64_t), p->weights.dtype), sum = 0;
        for (int64_t done = 0, n; done < q->count; done += n) {
            n = q->count - done < most ? q->count - done : most;
            k->download(piece, buf_at(p->weights, q->offset + done), n);
            sum += runs_hash(p, q, done, n, piece, seed);
        }
        *(q->cut == CUT_NONE ? &sums.whole : &sums.cut) += sum;
    }
    return sums;
}

void params_sums_hash(const Params *p, ParamSums s, char out[HASH_TEXT]) {
    hash_bytes(&(uint64_t[2]){ p->weights.dtype, s.cut + s.whole }, 2 * sizeof(uint64_t), out);
}

void params_hash(const Params *p, const Kernels *k, char out[HASH_TEXT]) {
    assert(config_slices(p->config) == 1);
    params_sums_hash(p, params_sums(p, k), out);
}

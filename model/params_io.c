/* params_io.c - owns the way of weights between a checkpoint's files and the arena, and their hash.
 *
 * Tensors stored in the arena's type go straight from the mapped file to the device; others pass through a piece of host memory of fixed size and
 * are converted there, so that nothing but the arena grows with the model.
 * Refuses what checkpoint.c finds wrong, before the arena is allocated. */
#include "model/checkpoint.h"

#include <stdlib.h>

/* Elements on the way at a time: enough that the calls cost nothing beside the bytes. */
enum { PIECE = 1 << 20 };

TensorType params_tensor_type(DType dtype) { return dtype == BF16 ? TENSOR_BF16 : TENSOR_F32; }

static int64_t piece_of(int64_t count, int64_t done) { return count - done < PIECE ? count - done : PIECE; }

/* ---- load ---- */

static int read_tensor(const Params *p, const Kernels *k, const Param *q, const Tensor *t, void *piece, Error *e) {
    Buf to = buf_at(p->weights, q->offset);
    size_t size = tensor_type_size(t->type);
    if (t->type == params_tensor_type(to.dtype)) { /* as they are stored: from the mapped file to the device */
        k->upload(to, t->data, q->count);
        return 0;
    }
    for (int64_t done = 0, n; done < q->count; done += n) {
        n = piece_of(q->count, done);
        if (tensor_convert((const char *)t->data + (size_t)done * size, t->type, piece, params_tensor_type(to.dtype), n, e))
            return error_where(e, "%s: tensor \"%s\"", t->file, t->name);
        k->upload(buf_at(to, done), piece, n);
    }
    return 0;
}

/* What an export of the same dtype means: the type of all tensors, F32 where they differ. */
static TensorType stored_type(const Params *p, const Checkpoint *c) {
    const Tensor *first = NULL;
    for (int i = 0; i < p->n; i++) {
        const Tensor *t = c->tensors[i];
        if (!t) continue;
        if (t->type != TENSOR_BF16 && t->type != TENSOR_F16) return TENSOR_F32;
        if (first && first->type != t->type) return TENSOR_F32;
        first = t;
    }
    return first ? first->type : TENSOR_F32;
}

static int load(Params *p, const Kernels *k, DType dtype, const Checkpoint *c, Error *e) {
    if (checkpoint_problem(c, 0, e) >= 0) return -1;
    void *piece = mem_new(PIECE, dtype_size(dtype), "loading weights", e);
    if (!piece) return -1;
    int failed = k->alloc(&p->weights, dtype, p->count, "weights", e);
    for (int i = 0; i < p->n && !failed; i++) {
        p->list[i].absent = !c->tensors[i];
        failed = c->tensors[i] && read_tensor(p, k, &p->list[i], c->tensors[i], piece, e);
    }
    if (!failed) failed = k->sync(e);
    free(piece);
    if (failed && p->weights.at) k->free(p->weights), p->weights = BUF_NONE;
    params_units_at(p, p->weights, BUF_NONE);
    p->layout = c->layout;
    p->stored = stored_type(p, c);
    return failed ? -1 : 0;
}

int params_load(Params *p, const Kernels *k, DType dtype, const char *folder, Error *e) {
    Checkpoint c;
    if (checkpoint_open(&c, p, folder, e)) return -1;
    int failed = load(p, k, dtype, &c, e);
    checkpoint_close(&c);
    return failed;
}

/* ---- write ---- */

/* Where the weights of `unit` are: the source's, or those that are held; of a tensor its master where there is one. */
static int unit_open(const Params *p, const ParamSource *source, int unit, Buf *weights, Error *e) {
    *weights = p->units[unit].weights;
    return source ? source->unit(source->context, unit, weights, e) : 0;
}

static int write_tensor(const Params *p, const Kernels *k, const Param *q, Buf from, TensorWriter *w, void *piece, Error *e) {
    char name[PARAM_NAME];
    params_name(q, p->layout, name);
    for (int64_t done = 0, n; done < q->count; done += n) {
        n = piece_of(q->count, done);
        k->download(piece, buf_at(from, done), n);
        if (k->sync(e) || tensors_append(w, name, piece, params_tensor_type(from.dtype), n, e)) return -1;
    }
    return 0;
}

int params_write(const Params *p, const Kernels *k, const ParamSource *source, TensorType store, const char *folder, int64_t shard_limit, Error *e) {
    TensorWriter *w;
    Buf weights = BUF_NONE;
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
        const Param *q = &p->list[i];
        params_name(q, p->layout, name);
        failed = !q->absent && tensors_declare(w, name, store, q->ndim, q->shape, e);
    }
    for (int i = 0, unit = -1; i < p->n && !failed; i++) {
        const Param *q = &p->list[i];
        if (q->unit != unit) failed = unit_open(p, source, unit = q->unit, &weights, e);
        /* The master copy is what training stepped; the model's own copy is its rounding. */
        Buf from = !source && p->master.at && q->trained ? buf_at(p->master, q->offset) : buf_at(weights, q->offset - p->units[unit].offset);
        failed = failed || (!q->absent && write_tensor(p, k, q, from, w, piece, e));
    }
    free(piece);
    if (!failed) return tensors_commit(w, e);
    tensors_abandon(w);
    return -1;
}

/* ---- hash ---- */

/* Of the tensors' bytes in the table's order, chained. Unused tensors do not count: they change no result. */
void params_hash(const Params *p, const Kernels *k, char out[HASH_TEXT]) {
    unsigned char piece[1 << 16];
    size_t size = dtype_size(p->weights.dtype);
    int64_t most = (int64_t)(sizeof piece / size);
    uint64_t all = p->weights.dtype;
    for (int i = 0; i < p->n; i++) {
        const Param *q = &p->list[i];
        if (!q->used) continue;
        all = hash64(&(int64_t[2]){ q->kind, q->layer }, 2 * sizeof(int64_t), all);
        for (int64_t done = 0, n; done < q->count; done += n) {
            n = q->count - done < most ? q->count - done : most;
            k->download(piece, buf_at(p->weights, q->offset + done), n);
            all = hash64(piece, (size_t)n * size, all);
        }
    }
    hash_bytes(&all, sizeof all, out);
}

/* params_load.c - owns the way of weights from a checkpoint's files to the arena.
 *
 * Threads take pieces in the order in which they stand in the files, and the disk is asked for those that come next, so that it need not wait for
 * the threads. Tensors stored in the arena's type are read straight into it where the host may write there; others, and all for devices, pass
 * through memory of a piece's size. Nothing but the arena grows with the model. What the threads do not read at a time, the columns of a slice,
 * is taken from the map.
 * Refuses what checkpoint.c finds wrong, before the arena is allocated. */
#include "model/checkpoint.h"

#include <assert.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* What other sizes take is in bench/SPEED.md. */
    PIECE = 2 << 20,  /* bytes of a file that a thread reads at once */
    AHEAD = 64 << 20, /* bytes that the disk is asked for before they are read */
    THREADS_MOST = 8, /* more streams than this make a disk seek, and few have it to give */
};

typedef struct Piece {
    const Param *param;
    const Tensor *tensor;
    const TensorSet *set;
    int64_t done, n; /* elements of the param */
    /* the stretch of the map from its first element to its last */
    const char *at;
    size_t bytes;
} Piece;

typedef struct Load {
    const Params *params;
    const Kernels *k;
    Piece *list;
    size_t n;
    size_t ahead, ahead_bytes; /* pieces that the disk has been asked for, and how much of them no thread has taken */
    /* the first piece that failed, and why */
    size_t failed_at;
    Error failure;
} Load;

static int by_place(const void *a, const void *b) {
    const Piece *p = a, *q = b;
    return ((uintptr_t)p->at > (uintptr_t)q->at) - ((uintptr_t)p->at < (uintptr_t)q->at);
}

static int pieces_list(Load *l, const Checkpoint *c, Error *e) {
    size_t cap = 0;
    for (int i = 0; i < l->params->n; i++) {
        const Param *q = &l->params->list[i];
        const Tensor *t = c->tensors[i];
        if (!t) continue;
        int64_t most = PIECE / (int64_t)tensor_type_size(t->type);
        const TensorSet *set = c->main.n && t >= c->main.list && t < c->main.list + c->main.n ? &c->main : &c->tower;
        for (int64_t done = 0; done < q->count; done += most) {
            if (mem_grow(&l->list, &cap, l->n + 1, sizeof *l->list, "loading weights", e)) return -1;
            int64_t run, n = q->count - done < most ? q->count - done : most;
            int64_t first = params_whole_at(l->params, q, done, &run), last = params_whole_at(l->params, q, done + n - 1, &run);
            size_t size = tensor_type_size(t->type);
            assert(first <= last && last < t->count);
            l->list[l->n++] = (Piece){ q, t, set, done, n, (const char *)t->data + (size_t)first * size, (size_t)(last + 1 - first) * size };
        }
    }
    if (l->n) qsort(l->list, l->n, sizeof *l->list, by_place);
    l->failed_at = l->n;
    return 0;
}

/* A thread's own: what it reads by, and room for a piece as it is stored and as it is in the arena. */
typedef struct Worker {
    TensorReader reader;
    void *stored, *ready;
} Worker;

/* Into `to`. The elements lie side by side in the file, or, where columns are cut, in runs, one in each row. */
static int piece_read(const Load *l, Worker *w, const Piece *p, void *to, TensorType type, Error *e) {
    const Tensor *t = p->tensor;
    size_t size = tensor_type_size(type);
    int64_t run, first = params_whole_at(l->params, p->param, p->done, &run);
    if (run >= p->n && t->type == type) return tensor_reader_read(&w->reader, p->set, t, first, p->n, to, e);
    if (run >= p->n)
        return tensor_reader_read(&w->reader, p->set, t, first, p->n, w->stored, e) || tensor_convert(w->stored, t->type, to, type, p->n, e) ? -1 : 0;
    for (int64_t at = 0, m; at < p->n; at += m) {
        first = params_whole_at(l->params, p->param, p->done + at, &run);
        m = run < p->n - at ? run : p->n - at;
        if (tensor_convert((const char *)t->data + (size_t)first * tensor_type_size(t->type), t->type, (char *)to + (size_t)at * size, type, m, e)) return -1;
    }
    return 0;
}

/* Piece i is about to be read: the disk gets the next ones to do. The threads wait for one another here, which costs less than the disk does. */
static void ask_ahead(Load *l, size_t i) {
#pragma omp critical(params_ahead)
    {
        for (; l->ahead < l->n && (l->ahead <= i || l->ahead_bytes < AHEAD); l->ahead++) {
            file_read_ahead(l->list[l->ahead].at, l->list[l->ahead].bytes);
            l->ahead_bytes += l->list[l->ahead].bytes;
        }
        l->ahead_bytes -= l->list[i].bytes;
    }
}

static int piece_load(const Load *l, Worker *w, const Piece *p, Error *e) {
    Buf to = buf_at(l->params->weights, p->param->offset + p->done);
    if (piece_read(l, w, p, l->k->unified ? to.at : w->ready, params_tensor_type(to.dtype), e)) {
        if (e && !e->where[0]) error_where(e, "%s: tensor \"%s\"", p->tensor->file, p->tensor->name);
        return -1;
    }
    if (!l->k->unified) l->k->upload(to, w->ready, p->n);
    return 0;
}

static int worker_open(Worker *w, Error *e) {
    *w = (Worker){ .stored = mem_new(PIECE, 1, "loading weights", e) };
    return (w->ready = w->stored ? mem_new(PIECE / sizeof(uint16_t), sizeof(float), "loading weights", e) : NULL) ? 0 : -1;
}

static void worker_close(Worker *w) {
    tensor_reader_close(&w->reader);
    free(w->stored);
    free(w->ready);
}

static int is_stopped(Load *l, size_t before) {
    size_t at;
#pragma omp atomic read
    at = l->failed_at;
    return at < before;
}

static void failed(Load *l, size_t at, const Error *why) {
#pragma omp critical(params_load)
    if (at < l->failed_at) {
        l->failure = *why;
#pragma omp atomic write
        l->failed_at = at;
    }
}

/* Only one thread speaks to a device. */
static int pieces_load(Load *l, Error *e) {
    int threads = omp_get_max_threads();
    if (threads > THREADS_MOST) threads = THREADS_MOST;
#pragma omp parallel num_threads(threads) if (l->k->unified)
    {
        Worker w;
        Error why = { 0 };
        int ready = !worker_open(&w, &why);
        if (!ready) failed(l, 0, &why);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < l->n; i++)
            if (ready && !is_stopped(l, i)) {
                ask_ahead(l, i);
                if (piece_load(l, &w, &l->list[i], &why)) failed(l, i, &why);
            }
        worker_close(&w);
    }
    if (l->failed_at == l->n) return 0;
    if (e) *e = l->failure;
    return -1;
}

/* What an export of the same dtype means. */
static TensorType stored_type(const Tensor *t) { return t && (t->type == TENSOR_BF16 || t->type == TENSOR_F16) ? t->type : TENSOR_F32; }

static int load(Params *p, const Kernels *k, DType dtype, const Checkpoint *c, Error *e) {
    if (checkpoint_problem(c, 0, e) >= 0) return -1;
    Load l = { .params = p, .k = k };
    int bad = pieces_list(&l, c, e) || k->alloc(&p->weights, dtype, p->count, "weights", e) || pieces_load(&l, e) || k->sync(e);
    free(l.list);
    for (int i = 0; i < p->n; i++) {
        p->list[i].absent = !c->tensors[i];
        p->list[i].stored = stored_type(c->tensors[i]);
    }
    if (bad && p->weights.at) k->free(p->weights), p->weights = BUF_NONE;
    params_units_at(p, p->weights, BUF_NONE);
    p->layout = c->layout;
    return bad ? -1 : 0;
}

int params_load(Params *p, const Kernels *k, DType dtype, const char *folder, Error *e) {
    Checkpoint c;
    if (checkpoint_open(&c, p, folder, e)) return -1;
    int failed = load(p, k, dtype, &c, e);
    checkpoint_close(&c);
    return failed;
}

/* shard.c - see shard.h. Owns the training state, who holds which run of it, and the buffers in which units travel. */
#include "model/shard.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGN = 16,   /* elements: runs of units start at multiples of this in a rank's own buffers */
    TRAVELS = 2,  /* units on their way: one computes while the other comes or goes */
    LEVELS = 16,  /* of the tree of passes */
    SLICE = 1 << 20 /* elements of state in host memory that are stepped at a time */
};

typedef struct Run {
    int trained, travels;
    int64_t first, count; /* of the unit's elements */
    int64_t own;          /* where it stands in the rank's own buffers of state */
    int64_t weights;      /* where its weights stand: own run in own_weights when it travels, else the unit in rest_weights */
    int64_t grads;        /* where the gradients of a unit that does not travel stand in rest_grads */
    int summed;           /* this pass's gradients of a unit that does not travel are on their way, or there */
} Run;

/* Elements of a rank's own buffers. */
typedef struct RunSizes {
    int64_t state, own_weights, rest_weights, rest_grads, longest_run, longest_unit; /* longest_unit: of those that travel */
} RunSizes;

/* A buffer in which whole units come, or leave as gradients. */
typedef struct Travel {
    Buf buf;
    int unit;    /* -1: none */
    int pending; /* the collective on it is not waited for */
    int64_t turn; /* of its last use, for weights */
} Travel;

struct Shard {
    Model *model;
    Comm *comm;
    ShardMode mode;
    unsigned frozen;
    int rank, n, passes, pass, pass_last;
    int sent; /* units whose stepped weights are on their way, or there */
    Run *runs; /* by unit */
    RunSizes sizes;
    const Kernels *keeper;          /* of master, m and v: the model's kernels, or the host's */
    Buf master, m, v;               /* those of Params where the model's device keeps them */
    Buf slice_g, slice_p;           /* state in host memory: a slice of gradients that came down, of weights to go up */
    Buf sums, part;                 /* summed gradients of own runs; one run on its way */
    Buf rest_grads;                 /* modes gradients and parameters: of units that do not travel */
    Buf own_weights, rest_weights;  /* mode parameters */
    Buf exact, slices;              /* one unit gathered for a checkpoint; of all slices */
    Buf levels[LEVELS];
    int levels_n;
    Travel weights[TRAVELS], grads[TRAVELS];
    int64_t turns;
    ShardPiece *pieces;
    int pieces_n;
    UnitMover mover;
};

static int64_t align_up(int64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }
static int whole_grads(ShardMode mode) { return mode == SHARD_NONE || mode == SHARD_OPTIMIZER; }
static int offloaded(const Shard *s) { return s->keeper != s->model->k; }

/* ---- who owns what ---- */

static ParamPart unit_part(const Params *p, int unit) {
    int i = 0;
    while (p->list[i].unit != unit) i++;
    return p->list[i].part;
}

static int unit_is_trained(const Params *p, unsigned frozen, int unit) {
    for (int i = 0; i < p->n; i++)
        if (p->list[i].unit == unit && params_may_train(&p->list[i], frozen)) return 1;
    return 0;
}

/* Fills the runs of a rank. */
static RunSizes runs_lay(Run *runs, const Params *p, ShardMode mode, unsigned frozen, int rank, int n) {
    RunSizes s = { 0 };
    for (int u = 0; u < p->units_n; u++) {
        int64_t count = p->units[u].count, first = mode == SHARD_NONE ? 0 : comm_part(count, n, rank);
        int64_t end = mode == SHARD_NONE ? count : comm_part(count, n, rank + 1);
        Run *r = &runs[u];
        *r = (Run){ .trained = unit_is_trained(p, frozen, u), .first = first, .count = end - first };
        r->travels = r->trained && !whole_grads(mode) && unit_part(p, u) == PART_DECODER;
        if (mode == SHARD_NONE) r->own = p->units[u].offset;
        else if (r->trained) r->own = s.state, s.state += align_up(end - first);
        if (r->travels) r->weights = s.own_weights, s.own_weights += align_up(end - first);
        else r->weights = s.rest_weights, s.rest_weights += align_up(count);
        if (r->trained && !r->travels) r->grads = s.rest_grads, s.rest_grads += align_up(count);
        if (end - first > s.longest_run) s.longest_run = end - first;
        if (r->travels && count > s.longest_unit) s.longest_unit = count;
    }
    if (mode == SHARD_NONE) s.state = params_trained_count(p, frozen);
    return s;
}

static int levels_of(int passes) {
    int n = 0;
    while ((passes - 1) >> n) n++;
    return n;
}

void shard_sizes(const Params *p, DType dtype, ShardMode mode, unsigned frozen, int passes, int offload, int rank, int n,
    void (*visit)(void *context, const char *what, int64_t bytes), void *context) {
    Run *runs = calloc((size_t)p->units_n, sizeof *runs);
    if (!runs) return;
    RunSizes s = runs_lay(runs, p, mode, frozen, rank, n);
    int64_t size = (int64_t)dtype_size(dtype);
    free(runs);
    if (whole_grads(mode)) visit(context, "gradients", params_trained_count(p, frozen) * 4);
    else visit(context, "gradients of units", (TRAVELS * s.longest_unit + s.rest_grads) * 4);
    if (mode != SHARD_NONE) visit(context, "summed gradients", (s.state + s.longest_run) * 4);
    if (!offload) {
        visit(context, "first moments", s.state * 4);
        visit(context, "second moments", s.state * 4);
        if (dtype == BF16) visit(context, "master weights", s.state * 4);
    }
    if (passes > 1) visit(context, "gradients of passes", levels_of(passes) * s.state * 4);
    if (mode != SHARD_PARAMETERS) return;
    visit(context, "own weights", (s.own_weights + s.rest_weights) * size);
    visit(context, "weights of units", TRAVELS * s.longest_unit * size);
    visit(context, "weights", -p->count * size);
}

/* ---- travelling units ---- */

static Travel *travel_of(Travel *list, int unit) {
    for (int i = 0; i < TRAVELS; i++)
        if (list[i].unit == unit) return &list[i];
    return NULL;
}

/* The one used longest ago, but not `keep`. */
static Travel *travel_oldest(Travel *list, const Travel *keep) {
    Travel *oldest = NULL;
    for (int i = 0; i < TRAVELS; i++)
        if (&list[i] != keep && (!oldest || list[i].turn < oldest->turn)) oldest = &list[i];
    return oldest;
}

static void weights_drop(Shard *s, Travel *t) {
    if (t->unit < 0) return;
    ParamUnit *u = &s->model->params.units[t->unit];
    s->model->k->weights_changed(t->buf, u->count);
    u->weights = BUF_NONE;
    t->unit = -1;
    t->pending = 0;
}

static int weights_fetch(Shard *s, Travel *t, int unit, Error *e) {
    ParamUnit *u = &s->model->params.units[unit];
    weights_drop(s, t);
    t->unit = unit;
    t->pending = 1;
    t->turn = ++s->turns;
    u->weights = t->buf;
    return comm_all_gather(s->comm, "gathering weights", t->buf, buf_at(s->own_weights, s->runs[unit].weights), u->count, e);
}

static int weights_need_move(void *context, int unit, int next, Error *e) {
    Shard *s = context;
    if (s->mode != SHARD_PARAMETERS || !s->runs[unit].travels) return 0;
    Travel *t = travel_of(s->weights, unit);
    if (!t) {
        t = travel_oldest(s->weights, NULL);
        if (weights_fetch(s, t, unit, e)) return -1;
    }
    if (t->pending) {
        if (comm_wait(s->comm, e)) return -1;
        for (int i = 0; i < TRAVELS; i++) s->weights[i].pending = 0;
    }
    t->turn = ++s->turns;
    if (next < 0 || !s->runs[next].travels || travel_of(s->weights, next)) return 0;
    return weights_fetch(s, travel_oldest(s->weights, t), next, e);
}

static void weights_forget(Shard *s) {
    for (int i = 0; i < TRAVELS; i++) weights_drop(s, &s->weights[i]);
}

/* The sum over ranks that is on its way is added to the rank's own, and its buffer is free again. One is on its way at a time. */
static int grads_arrive(Shard *s, Error *e) {
    for (int i = 0; i < TRAVELS; i++) {
        Travel *t = &s->grads[i];
        if (!t->pending) continue;
        const Run *r = &s->runs[t->unit];
        Buf sum = buf_at(s->sums, r->own);
        if (comm_wait(s->comm, e)) return -1;
        if (r->count > 0) s->model->k->add(sum, sum, s->part, r->count);
        t->unit = -1;
        t->pending = 0;
    }
    return 0;
}

static int grads_need_move(void *context, int unit, Error *e) {
    Shard *s = context;
    ParamUnit *u = &s->model->params.units[unit];
    if (!s->runs[unit].travels || u->grads.at) return 0;
    Travel *t = travel_of(s->grads, -1);
    if (!t) {
        if (grads_arrive(s, e)) return -1;
        t = travel_of(s->grads, -1);
    }
    assert(t); /* one unit besides the one at work may be open: a head tied to the embedding */
    t->unit = unit;
    s->model->k->zero(t->buf, u->count);
    u->grads = t->buf;
    return 0;
}

/* Sums a unit that does not travel over the ranks, once a pass. */
static int unit_sum(Shard *s, int unit, Error *e) {
    const ParamUnit *u = &s->model->params.units[unit];
    Run *r = &s->runs[unit];
    if (!r->trained || r->travels || r->summed) return 0;
    r->summed = 1;
    return s->mode == SHARD_NONE ? comm_all_reduce(s->comm, "summing gradients", u->grads, u->count, e)
                                 : comm_reduce_scatter(s->comm, "summing gradients", buf_at(s->sums, r->own), u->grads, u->count, e);
}

static int grads_done_move(void *context, int unit, Error *e) {
    Shard *s = context;
    ParamUnit *u = &s->model->params.units[unit];
    /* projector and tower wait for the end of the pass: another rank's last backward may have no images */
    if (whole_grads(s->mode)) return s->pass_last && unit_part(&s->model->params, unit) == PART_DECODER ? unit_sum(s, unit, e) : 0;
    if (!s->runs[unit].travels || !u->grads.at) return 0;
    if (grads_arrive(s, e)) return -1;
    Travel *t = travel_of(s->grads, unit);
    u->grads = BUF_NONE;
    t->pending = 1;
    return comm_reduce_scatter(s->comm, "summing gradients", s->part, t->buf, u->count, e);
}

/* ---- the end of a pass ---- */

static Buf sums_of(const Shard *s) { return s->mode == SHARD_NONE ? s->model->params.grads : s->sums; }

static int ranks_add(Shard *s, Error *e) {
    const Params *p = &s->model->params;
    if (s->mode == SHARD_NONE && s->n == 1) return 0;
    if (grads_arrive(s, e)) return -1;
    for (int u = p->units_n - 1; u >= 0; u--) /* those that travel have gone one by one */
        if (unit_sum(s, u, e)) return -1;
    for (int u = 0; u < p->units_n; u++) s->runs[u].summed = 0;
    s->pass_last = 0;
    return comm_wait(s->comm, e);
}

static void pass_zero(Shard *s) {
    const Kernels *k = s->model->k;
    Params *p = &s->model->params;
    if (whole_grads(s->mode)) k->zero(p->grads, p->trained_count);
    if (s->rest_grads.at) k->zero(s->rest_grads, s->sizes.rest_grads);
    if (!whole_grads(s->mode)) k->zero(s->sums, s->sizes.state); /* else they are set, not added to */
}

void shard_pass_last(Shard *s) { s->pass_last = 1; }

int shard_pass_end(Shard *s, Error *e) {
    const Kernels *k = s->model->k;
    Buf sum = sums_of(s);
    int64_t n = s->sizes.state;
    int pass = s->pass++, last = s->pass == s->passes, level = 0;
    assert(pass < s->passes);
    if (ranks_add(s, e)) return -1;
    for (; level < s->levels_n && (last || pass >> level & 1); level++)
        if (pass >> level & 1) k->add(sum, s->levels[level], sum, n);
    if (last) return 0;
    k->copy(s->levels[level], sum, n);
    pass_zero(s);
    return k->sync(e);
}

/* ---- the step ---- */

const ShardPiece *shard_pieces(const Shard *s, int *n) {
    *n = s->pieces_n;
    return s->pieces;
}

ShardMode shard_mode(const Shard *s) { return s->mode; }

int shard_gradient_squares(Shard *s, double *sum, Error *e) {
    const Kernels *k = s->model->k;
    const DecoderConfig *d = &s->model->config.decoder;
    int sliced = config_slices(&s->model->config) > 1, counts = s->mode != SHARD_NONE || s->rank == 0;
    double own = 0;
    for (int i = 0; i < s->pieces_n; i++) {
        const ShardPiece *p = &s->pieces[i];
        if (p->param->cut == CUT_NONE && d->slice > 0) continue; /* slice 0 has the same */
        own += k->norm_squared(p->g, p->count);
    }
    if (k->sync(e)) return -1;
    if (sliced && !counts) own = 0; /* rank 0 has the same sums */
    if (((s->mode != SHARD_NONE && s->n > 1) || sliced) && world_all_reduce_double("norm of the gradient", WORLD_SUM, &own, 1, e)) return -1;
    *sum = s->n * s->passes > 1 || sliced ? (double)(float)own : own;
    return 0;
}

/* Weights of the units before `end` are what they will be: they go to all ranks, in one order everywhere. */
static int weights_send(Shard *s, int end, Error *e) {
    const Params *p = &s->model->params;
    for (; s->sent < end; s->sent++) {
        const ParamUnit *unit = &p->units[s->sent];
        const Run *r = &s->runs[s->sent];
        if (s->mode == SHARD_NONE || !r->trained || (s->mode == SHARD_PARAMETERS && r->travels)) continue;
        if (comm_all_gather(s->comm, "gathering weights", unit->weights, buf_at(unit->weights, r->first), unit->count, e)) return -1;
    }
    return 0;
}

/* Elements at .. at + count - 1 of a piece whose state is in host memory: weights, rounded from their masters, go up. */
static void slice_up(Shard *s, const ShardPiece *p, int64_t at, int64_t count, int rounded) {
    Buf from = buf_at(p->master, at);
    if (p->p.dtype == BF16 && !rounded) s->keeper->copy(s->slice_p, from, count);
    s->model->k->upload(buf_at(p->p, at), p->p.dtype == BF16 ? s->slice_p.at : from.at, count);
}

/* The device copies a slice up while the host steps the next one. */
static void piece_step_host(Shard *s, const ShardPiece *p, const AdamW *a) {
    int wide = p->p.dtype == FP32;
    for (int64_t at = 0, n; at < p->count; at += n) {
        n = p->count - at < SLICE ? p->count - at : SLICE;
        Buf master = buf_at(p->master, at);
        s->model->k->download(s->slice_g.at, buf_at(p->g, at), n);
        s->keeper->adamw(wide ? master : s->slice_p, wide ? BUF_NONE : master, buf_at(p->m, at), buf_at(p->v, at), s->slice_g, n, a);
        slice_up(s, p, at, n, 1);
    }
}

int shard_piece_step(Shard *s, int i, const AdamW *a, Error *e) {
    const ShardPiece *p = &s->pieces[i];
    if (offloaded(s)) piece_step_host(s, p, a);
    else s->model->k->adamw(p->p, p->master, p->m, p->v, p->g, p->count, a);
    return weights_send(s, i + 1 < s->pieces_n ? p[1].param->unit : s->model->params.units_n, e);
}

void shard_masters_loaded(Shard *s) {
    for (int i = 0; i < s->pieces_n; i++) {
        const ShardPiece *p = &s->pieces[i];
        if (!offloaded(s) && p->master.at) s->model->k->copy(p->p, p->master, p->count);
        for (int64_t at = 0; at < p->count && offloaded(s); at += SLICE)
            slice_up(s, p, at, p->count - at < SLICE ? p->count - at : SLICE, 0);
    }
}

int shard_step_end(Shard *s, Error *e) {
    const Params *p = &s->model->params;
    const Kernels *k = s->model->k;
    s->pass = 0;
    pass_zero(s);
    weights_forget(s);
    if (weights_send(s, p->units_n, e) || comm_wait(s->comm, e)) return -1;
    s->sent = 0;
    if (s->mode == SHARD_PARAMETERS) k->weights_changed(s->rest_weights, s->sizes.rest_weights);
    model_weights_changed(s->model);
    return k->sync(e);
}

/* This rank's exact run of a unit's weights, where they are not in the unit's own; none: they are. */
static Buf run_exact(const Shard *s, const Run *r) {
    if (!r->trained) return BUF_NONE;
    if (s->model->dtype == BF16) return buf_at(s->master, r->own);
    return s->mode == SHARD_PARAMETERS && r->travels ? buf_at(s->own_weights, r->weights) : BUF_NONE;
}

/* This slice's. */
static int unit_exact(Shard *s, int unit, Buf *weights, Error *e) {
    const Params *p = &s->model->params;
    const Kernels *k = s->model->k;
    const Run *r = &s->runs[unit];
    const ParamUnit *u = &p->units[unit];
    Buf own = run_exact(s, r);
    int up = own.at && s->model->dtype == BF16 && offloaded(s);
    *weights = own.at ? own : u->weights;
    if (!own.at || (s->mode == SHARD_NONE && !up)) return 0;
    if (!s->exact.at) {
        int64_t longest = 0;
        for (int i = 0; i < p->units_n; i++) longest = p->units[i].count > longest ? p->units[i].count : longest;
        if (k->alloc(&s->exact, FP32, longest, "a unit for the checkpoint", e)) return -1;
    }
    *weights = s->exact;
    if (up) {
        k->upload(buf_at(s->exact, r->first), own.at, r->count);
        own = buf_at(s->exact, r->first);
    }
    if (s->mode == SHARD_NONE) return 0;
    return comm_all_gather(s->comm, "gathering a checkpoint", s->exact, own, u->count, e) || comm_wait(s->comm, e) ? -1 : 0;
}

int shard_unit_exact(Shard *s, int unit, Buf *weights, Error *e) {
    const Params *p = &s->model->params;
    const ParamUnit *u = &p->units[unit];
    int n = config_slices(p->config);
    if (unit_exact(s, unit, weights, e)) return -1;
    if (n == 1 || !u->cut || s->rank > 0) return 0;
    if (!s->slices.at) {
        int64_t longest = 0;
        for (int i = 0; i < p->units_n; i++)
            if (p->units[i].cut && p->units[i].count > longest) longest = p->units[i].count;
        if (s->model->k->alloc(&s->slices, FP32, longest * n, "slices of a unit for the checkpoint", e)) return -1;
    }
    Buf all = { s->slices.at, weights->dtype };
    if (comm_all_gather(s->model->slices, "gathering slices for a checkpoint", all, *weights, u->count * n, e) || comm_wait(s->model->slices, e)) return -1;
    *weights = all;
    return 0;
}

/* ---- open, close ---- */

static int pieces_list(Shard *s, Error *e) {
    Params *p = &s->model->params;
    s->pieces = mem_new((size_t)p->n, sizeof *s->pieces, "pieces of the training state", e);
    if (!s->pieces) return -1;
    for (int i = 0; i < p->n; i++) {
        const Param *q = &p->list[i];
        const ParamUnit *unit = &p->units[q->unit];
        const Run *r = &s->runs[q->unit];
        int64_t at = q->offset - unit->offset, first = at > r->first ? at : r->first;
        int64_t end = at + q->count < r->first + r->count ? at + q->count : r->first + r->count;
        if (!q->trained || first >= end) continue;
        int64_t own = r->own + first - r->first;
        Buf weights = s->mode == SHARD_PARAMETERS && r->travels ? buf_at(s->own_weights, r->weights + first - r->first)
                                                                : buf_at(unit->weights, first);
        s->pieces[s->pieces_n++] = (ShardPiece){ .param = q,
            .first = first - at,
            .count = end - first,
            .keeper = s->keeper,
            .p = weights,
            .master = s->master.at ? buf_at(s->master, own) : BUF_NONE,
            .m = buf_at(s->m, own),
            .v = buf_at(s->v, own),
            .g = buf_at(sums_of(s), own) };
    }
    return 0;
}

/* What the device keeps is also known as the parameters' own (params.h). */
static int state_make(Shard *s, int64_t count, Error *e) {
    const Kernels *k = s->keeper;
    Params *p = &s->model->params;
    int away = offloaded(s), bad = k->alloc(&s->m, FP32, count, "first moments", e) || k->alloc(&s->v, FP32, count, "second moments", e) ||
                                   ((away || s->model->dtype == BF16) && k->alloc(&s->master, FP32, count, "master weights", e)) ||
                                   (away && k->alloc(&s->slice_g, FP32, SLICE, "gradients on their way", e)) ||
                                   (away && s->model->dtype == BF16 && k->alloc(&s->slice_p, BF16, SLICE, "weights on their way", e));
    if (!away) p->m = s->m, p->v = s->v, p->master = s->master;
    return bad ? -1 : 0;
}

static int buffers_make(Shard *s, Error *e) {
    Params *p = &s->model->params;
    const Kernels *k = s->model->k;
    const RunSizes *sizes = &s->sizes;
    int64_t state = sizes->state;
    if ((whole_grads(s->mode) && k->alloc(&p->grads, FP32, p->trained_count, "gradients", e)) || state_make(s, state, e)) return -1;
    if (s->mode != SHARD_NONE &&
        (k->alloc(&s->sums, FP32, state, "summed gradients", e) || k->alloc(&s->part, FP32, sizes->longest_run, "summed gradients", e)))
        return -1;
    if (!whole_grads(s->mode) && sizes->rest_grads > 0 && k->alloc(&s->rest_grads, FP32, sizes->rest_grads, "gradients of units", e)) return -1;
    for (; s->levels_n < levels_of(s->passes); s->levels_n++)
        if (k->alloc(&s->levels[s->levels_n], FP32, state, "gradients of passes", e)) return -1;
    for (int i = 0; i < TRAVELS; i++)
        if ((!whole_grads(s->mode) && k->alloc(&s->grads[i].buf, FP32, sizes->longest_unit, "gradients of a unit", e)) ||
            (s->mode == SHARD_PARAMETERS && k->alloc(&s->weights[i].buf, s->model->dtype, sizes->longest_unit, "weights of a unit", e)))
            return -1;
    return 0;
}

/* Mode parameters: this rank keeps its runs of what travels, and the rest. */
static int weights_deal(Shard *s, Error *e) {
    Params *p = &s->model->params;
    const Kernels *k = s->model->k;
    if (k->alloc(&s->own_weights, s->model->dtype, s->sizes.own_weights, "own weights", e) ||
        k->alloc(&s->rest_weights, s->model->dtype, s->sizes.rest_weights, "own weights", e))
        return -1;
    for (int u = 0; u < p->units_n; u++) {
        const Run *r = &s->runs[u];
        Buf whole = buf_at(p->weights, p->units[u].offset);
        if (!r->travels) k->copy(buf_at(s->rest_weights, r->weights), whole, p->units[u].count);
        else if (r->count > 0) k->copy(buf_at(s->own_weights, r->weights), buf_at(whole, r->first), r->count);
    }
    if (k->sync(e)) return -1;
    model_weights_changed(s->model);
    k->free(p->weights);
    p->weights = BUF_NONE;
    return 0;
}

static int weights_return(Shard *s, Error *e) {
    Params *p = &s->model->params;
    const Kernels *k = s->model->k;
    k->weights_changed(s->rest_weights, s->sizes.rest_weights);
    if (k->alloc(&p->weights, s->model->dtype, p->count, "weights", e)) return -1;
    for (int u = 0; u < p->units_n; u++) {
        const Run *r = &s->runs[u];
        Buf whole = buf_at(p->weights, p->units[u].offset);
        if (!r->travels) k->copy(whole, buf_at(s->rest_weights, r->weights), p->units[u].count);
        else if (comm_all_gather(s->comm, "gathering weights", whole, buf_at(s->own_weights, r->weights), p->units[u].count, e)) return -1;
    }
    return comm_wait(s->comm, e) || k->sync(e) ? -1 : 0;
}

/* Where each unit's weights and gradients are from here on. */
static void units_place(Shard *s) {
    Params *p = &s->model->params;
    params_units_at(p, p->weights, p->grads);
    for (int u = 0; u < p->units_n; u++) {
        const Run *r = &s->runs[u];
        if (s->mode == SHARD_PARAMETERS) p->units[u].weights = r->travels ? BUF_NONE : buf_at(s->rest_weights, r->weights);
        if (s->rest_grads.at && r->trained && !r->travels) p->units[u].grads = buf_at(s->rest_grads, r->grads);
    }
}

static void masters_start(Shard *s) {
    const Kernels *k = s->model->k;
    for (int i = 0; i < s->pieces_n; i++) {
        const ShardPiece *p = &s->pieces[i];
        if (!offloaded(s) && p->master.at) k->copy(p->master, p->p, p->count);
        for (int64_t at = 0, n; at < p->count && offloaded(s); at += n) {
            n = p->count - at < SLICE ? p->count - at : SLICE;
            Buf master = buf_at(p->master, at);
            k->download(p->p.dtype == BF16 ? s->slice_p.at : master.at, buf_at(p->p, at), n);
            if (p->p.dtype == BF16) s->keeper->copy(master, s->slice_p, n);
        }
    }
}

int shard_open(Shard **out, Model *m, Comm *comm, ShardMode mode, unsigned frozen, int passes, const Kernels *host, Error *e) {
    Params *p = &m->params;
    assert(!p->m.at && (!host || host->unified) && passes >= 1 && levels_of(passes) <= LEVELS);
    *out = NULL;
    if (params_mark_trained(p, frozen, e)) return -1;
    Shard *s = mem_new(1, sizeof *s, "training state", e);
    if (!s) return -1;
    *s = (Shard){ .model = m, .comm = comm, .mode = mode, .frozen = frozen, .rank = comm_rank(comm), .n = comm_size(comm), .passes = passes };
    s->keeper = host && !m->k->unified ? host : m->k;
    for (int i = 0; i < TRAVELS; i++) s->weights[i].unit = s->grads[i].unit = -1;
    s->runs = mem_new((size_t)p->units_n, sizeof *s->runs, "training state", e);
    int bad = !s->runs;
    if (!bad) {
        s->sizes = runs_lay(s->runs, p, mode, frozen, s->rank, s->n);
        bad = (mode == SHARD_PARAMETERS && weights_deal(s, e)) || buffers_make(s, e); /* whole weights are gone before the state comes */
    }
    if (!bad) units_place(s);
    if (bad || pieces_list(s, e)) {
        shard_close(s, NULL);
        return -1;
    }
    masters_start(s);
    s->mover = (UnitMover){ s, weights_need_move, grads_need_move, grads_done_move };
    if (!whole_grads(mode) || s->n > 1) m->mover = &s->mover;
    *out = s;
    return 0;
}

int shard_close(Shard *s, Error *e) {
    if (!s) return 0;
    Model *m = s->model;
    const Kernels *k = m->k;
    Params *p = &m->params;
    int bad = 0;
    weights_forget(s);
    m->mover = NULL;
    params_train_end(p, k); /* the state that the device keeps, too; before whole weights come */
    const Buf away[] = { s->m, s->v, s->master, s->slice_g, s->slice_p };
    for (size_t i = 0; i < sizeof away / sizeof *away && offloaded(s); i++)
        if (away[i].at) s->keeper->free(away[i]);
    for (int i = 0; i < TRAVELS; i++) {
        if (s->weights[i].buf.at) k->free(s->weights[i].buf);
        if (s->grads[i].buf.at) k->free(s->grads[i].buf);
    }
    for (int i = 0; i < s->levels_n; i++) k->free(s->levels[i]);
    if (s->sums.at) k->free(s->sums);
    if (s->part.at) k->free(s->part);
    if (e && !p->weights.at) bad = weights_return(s, e);
    params_units_at(p, p->weights, BUF_NONE);
    const Buf more[] = { s->rest_grads, s->own_weights, s->rest_weights, s->exact, s->slices };
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (more[i].at) k->free(more[i]);
    free(s->runs);
    free(s->pieces);
    free(s);
    return bad ? -1 : 0;
}

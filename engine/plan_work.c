/* plan_work.c - owns what a plan predicts: tokens, FLOPs, bytes read and sent, and seconds of each phase for stated speeds.
 *
 * A product's time is its FLOPs over TFLOP/s; where a step reads more bytes than its FLOPs hide (decoding), those over GB/s; sums over
 * ranks go over the network's GB/s (docs/ranks.md has the bytes). In modes none and optimizer gradients are summed after the last backward,
 * so all of that is waited for; in gradients and parameters they go beside backward, and weights beside both. What slices of a model sum is
 * waited for. Nothing else is counted: not the host, not the files, not the images, not what is copied where
 * beams fork. */
#include "engine/plan.h"
#include "engine/ranks.h"
#include "engine/sample.h"

#include <math.h>
#include <stdlib.h>

typedef struct Rates {
    double row, key, scored, tower,
        projector;      /* FLOPs of a row in all layers, of a key that one sees, of a scored row, of an image, of what makes its rows of them */
    double weights, kv; /* bytes: of what a step of decoding reads, of a key and value in all layers */
    double slices;      /* bytes sent for a row that the slices of a model sum once in every layer */
} Rates;

static Rates rates_of(const ModelConfig *c, DType dtype) {
    const DecoderConfig *d = &c->decoder;
    const VisionConfig *v = &c->vision;
    double D = d->width, q = (double)d->heads * d->head_size, kv = (double)d->kv_heads * d->head_size, F = d->ff, L = d->layers,
           W = v->width;
    double size = (double)dtype_size(dtype), block = 2 * D * q + 2 * D * kv + 3 * D * F, rows = v->patches + 1.0;
    return (Rates){ .row = 2 * L * block,
        .key = 4 * L * q,
        .scored = 2 * D * config_head_rows(c),
        .tower = v->layers ? 2.0 * c->tiles * rows * v->feature_layers * (4 * W * W + 2 * W * v->ff + 2 * rows * W) : 0,
        .projector = c->tiles * model_projector_flops(c),
        .weights = (L * block + D * config_head_rows(c)) * size,
        .kv = L * 2 * kv * size,
        .slices = L * D * size * 2 * (config_slices(c) - 1.0) / config_slices(c) };
}

static double seconds(const PlanSpeeds *s, double flops, double bytes) {
    return fmax(s->tflops > 0 ? flops / (s->tflops * 1e12) : 0, s->bandwidth > 0 ? bytes / (s->bandwidth * 1e9) : 0);
}
static double sending(const PlanSpeeds *s, double bytes) { return s->network > 0 ? bytes / (s->network * 1e9) : 0; }

/* What slices of a model wait for each other: two sums in every layer, which nothing hides. */
static void slices_add(PlanPhase *x, const Rates *r, const PlanSpeeds *s) {
    double bytes = 2 * x->tokens * r->slices;
    if (!x->wanted || x->steps <= 0) return;
    x->sent += bytes / x->steps;
    x->exposed += sending(s, bytes);
    x->seconds += sending(s, bytes);
}

/* FLOPs of a forward over `rows` rows that see half of each other; `seen` rows before them. */
static double forward(const Rates *r, double rows, double seen) { return rows * (r->row + r->key * (seen + rows / 2)); }

static double images_flops(const Plan *p, const Rates *r, double images) { return p->data->images ? images * (r->tower + r->projector) : 0; }

/* Trunks once, answers token by token, `leaves` at a time: a step reads the weights and every leaf's keys, the trunk's once for all answers
 * that hang from it. */
static void sample_work(
    const Plan *p, PlanPhase *x, const Rates *r, const PlanSpeeds *s, double prompts, double trunk, int n, double answer, int leaves) {
    double rows = prompts * n * answer, all = prompts * n, steps = leaves > 0 ? ceil(fmax(all / leaves, 1)) * answer : 0,
           keys = trunk + answer / 2;
    double first = forward(r, trunk, 0) * prompts + images_flops(p, r, prompts),
           decode = rows * (r->row + r->key * keys + r->scored);
    double read = steps * r->weights + rows * (trunk / n + answer / 2) * r->kv;
    x->tokens = rows + prompts * trunk;
    x->flops = first + decode;
    x->traffic = read;
    x->steps = steps;
    x->seconds = seconds(s, first, 0) + seconds(s, decode, read);
}

/* Two prompts an answer, each below a beginning that is held once; facts and questions are about as long as the answer. */
static void claims_work(const Plan *p, PlanPhase *x, const Rates *r, const PlanSpeeds *s, double prompts) {
    const PlanData *d = p->data;
    double all = 2 * prompts * plan_answers(p->config), tail = d->claims_prompt.mean, reply = d->answer.mean, head = (double)d->claims_head;
    double steps = ceil(fmax(all / p->config->sample.batch, 1)) * reply, first = all * forward(r, tail, head),
           decode = all * reply * (r->row + r->key * (head + tail + reply / 2) + r->scored);
    double read = steps * (r->weights + head * r->kv) + all * reply * (tail + reply / 2) * r->kv;
    x->tokens = all * (tail + reply);
    x->flops = first + decode;
    x->traffic = read;
    x->steps = steps;
    x->seconds = seconds(s, first, 0) + seconds(s, decode, read);
}

static void label_work(const Plan *p, PlanPhase *x, const Rates *r, const PlanSpeeds *s, double prompts) {
    const PlanData *d = p->data;
    double trunk = d->images ? (double)d->head + p->labeler->image_tokens : 0, tail = d->probe.mean - trunk;
    double probes = prompts * plan_answers(p->config) * d->claims.mean;
    x->tokens = prompts * trunk + probes * tail;
    x->flops = forward(r, trunk, 0) * prompts + images_flops(p, r, prompts) + probes * (forward(r, tail, trunk) + r->scored);
    x->steps = ceil(x->tokens / p->config->label.batch);
    x->traffic = x->steps * r->weights;
    x->seconds = seconds(s, x->flops, x->traffic);
}

/* FLOPs of a forward over a pair: trunk, and two answers below it. */
static double pair_flops(const Plan *p, const Rates *r) {
    const PlanData *d = p->data;
    double trunk = d->pair.mean - 2 * d->answer.mean, answers = 2 * d->answer.mean;
    if (trunk < d->pair.mean / 4) trunk = d->pair.mean / 4, answers = d->pair.mean - trunk;
    return forward(r, trunk, 0) + forward(r, answers, trunk) + answers * r->scored +
           (p->data->images ? r->projector : 0);
}

/* Elements that are trained: of the units that travel (shard.h), and of the others. */
typedef struct Trained {
    double travel, rest;
} Trained;

static int trained_count(const Plan *p, Trained *t, Error *e) {
    Params params;
    *t = (Trained){ 0 };
    int bad = params_plan(&params, p->policy, e);
    for (int i = 0; i < params.n && !bad; i++) {
        const Param *q = &params.list[i];
        if (!params_may_train(q, p->config->train.freeze)) continue;
        if (q->part == PART_DECODER) t->travel += (double)q->count;
        else t->rest += (double)q->count;
    }
    params_plan_free(&params);
    return bad ? -1 : 0;
}

/* Training of one iteration: steps of `mine` pairs on this rank. */
static void train_work(const Plan *p, PlanPhase *x, const Rates *r, const PlanSpeeds *s, const Trained *t) {
    const RunConfig *c = p->config;
    const PlanData *d = p->data;
    int copies = ranks_copies(c, p->ranks), passes = ranks_parts(c, p->ranks) / copies;
    double mine = (double)c->train.batch_pairs / copies, chunks = passes * fmax(ceil(mine / passes * d->pair.mean / c->train.rows), 1);
    double recompute = c->train.recompute == RECOMPUTE_LAYER, tower = c->train.freeze & 1u << PART_VISION ? 0 : 3;
    double once = mine * (pair_flops(p, r) + tower / 3 * (d->images ? r->tower : 0)), trained = t->travel + t->rest,
           size = (double)dtype_size(c->run.dtype);
    double own = c->ranks.shard == SHARD_NONE ? trained : trained / copies, wire = (copies - 1.0) / copies;
    double sums = 4 * wire, all = size * wire, hidden = 0,
           open = 0; /* bytes an element that travels costs; bytes sent beside compute, and not */
    x->steps = c->train.steps > 0 ? c->train.steps : ceil(c->train.epochs * (double)d->pairs.most / c->train.batch_pairs);
    switch (c->ranks.shard) {
    case SHARD_NONE:
        open = passes * 2 * sums * trained;
        break;
    case SHARD_OPTIMIZER:
        open = passes * sums * trained + all * trained;
        break;
    case SHARD_GRADIENTS:
        hidden = chunks * sums * t->travel, open = passes * sums * t->rest + all * trained;
        break;
    case SHARD_PARAMETERS:
        hidden = chunks * (sums + 2 * all) * t->travel, open = (passes * sums + all) * t->rest;
        break;
    }
    double compute = seconds(s, once * (3 + recompute), 0), update = seconds(s, 0, own * (7 * 4 + size));
    double backward = compute * (2 + recompute) / (3 + recompute), beside = c->ranks.shard == SHARD_PARAMETERS ? compute : backward;
    open += mine * d->pair.mean * (4 + recompute) *
            r->slices; /* forwards two sums in every layer, backwards two, one where a block is computed again */
    double waits = sending(s, open) + fmax(sending(s, hidden) - beside, 0);
    x->tokens = x->steps * mine * d->pair.mean;
    x->flops = x->steps * once * (3 + recompute);
    x->traffic = x->steps * own * (7 * 4 + size);
    x->sent = open + hidden;
    x->exposed = x->steps * waits;
    x->seconds = x->steps * (compute + update + waits);
}

int plan_work(Plan *p, const PlanSpeeds *s, Error *e) {
    const RunConfig *c = p->config;
    const PlanData *d = p->data;
    Rates policy = rates_of(p->policy, c->run.dtype), labeler = rates_of(p->labeler, c->run.dtype), claims = rates_of(p->claims, c->run.dtype),
          other = rates_of(p->other, c->run.dtype);
    double copies = ranks_copies(c, p->ranks), prompts = (double)d->prompts.most / copies, pairs = (double)d->pairs.most / copies;
    Trained trained;
    if (trained_count(p, &trained, e)) return -1;
    PlanPhase *x = p->phases;
    if (x[PLAN_SAMPLE].wanted)
        sample_work(p, &x[PLAN_SAMPLE], &policy, s, prompts, d->prompt.mean, sample_spread(c->sample.n, c->sample.beams), d->answer.mean, c->sample.batch);
    if (x[PLAN_OTHER].wanted)
        sample_work(p, &x[PLAN_OTHER], &other, s, prompts, d->prompt.mean, sample_spread(c->sample.other_n, c->sample.other_beams), d->answer.mean, c->sample.batch);
    if (x[PLAN_CLAIMS].wanted) claims_work(p, &x[PLAN_CLAIMS], &claims, s, prompts);
    if (x[PLAN_LABEL].wanted) label_work(p, &x[PLAN_LABEL], &labeler, s, prompts);
    if (x[PLAN_REFERENCE].wanted) {
        PlanPhase *y = &x[PLAN_REFERENCE];
        y->tokens = pairs * d->pair.mean;
        y->flops = pairs * pair_flops(p, &policy);
        y->steps = ceil(y->tokens / c->train.rows);
        y->traffic = y->steps * policy.weights;
        y->seconds = seconds(s, y->flops, y->traffic);
    }
    slices_add(&x[PLAN_SAMPLE], &policy, s);
    slices_add(&x[PLAN_OTHER], &other, s);
    slices_add(&x[PLAN_CLAIMS], &claims, s);
    slices_add(&x[PLAN_LABEL], &labeler, s);
    slices_add(&x[PLAN_REFERENCE], &policy, s);
    if (x[PLAN_TRAIN].wanted) train_work(p, &x[PLAN_TRAIN], &policy, s, &trained);
    if (x[PLAN_EVALUATE].wanted)
        sample_work(p, &x[PLAN_EVALUATE], &policy, s, (double)d->eval_prompts.most / copies, d->eval_prompt.mean, sample_spread(c->eval.n, c->eval.beams), d->answer.mean,
            c->sample.batch);
    slices_add(&x[PLAN_EVALUATE], &policy, s);
    return 0;
}

/* decoder.c - the Llama decoder (Touvron et al. 2023, as in Transformers' LlamaModel) over a Forest, forward and backward.
 *
 * Pre-norm blocks: RMSNorm, rotary attention with grouped key/value heads, RMSNorm, SwiGLU. Query, key and value are one product, gate and
 * up another. Mistral and Qwen2 are the same blocks: heads of any size, biases of query, key and value, scaled rotary frequencies (rope.c);
 * a sliding window is as long as the longest sequence at least (config.h), so nothing here knows of it.
 *
 * Only scored rows matter after the last block's keys and values exist, so from its attention on it runs on the "tail" alone: for each
 * segment, the run from its first row that predicts something to its last. For a trunk that is one row of hundreds.
 *
 * Of a model in slices each rank has some heads and some columns of the feed-forward; what they add to the stream is summed over the ranks
 * (slices.h), and so are the gradients that come back through the products at a block's and the feed-forward's beginning. Norms and the
 * embedding see the same rows and gradients on every rank.
 *
 * With Model.recompute a training step keeps only the streams that enter the blocks; backward computes each block again before it (Chen et
 * al. 2016, arXiv 1604.06174). The bits of the gradients are the same. */
#include "model/decoder.h"

#include "model/slices.h"

#include <math.h>
#include <string.h>

typedef struct Shape {
    int T, D, H, K, E, F, Q, U, R; /* Q: width of a qkv row; U: rows of the tail */
    float eps;
} Shape;

static Shape shape_of(const Model *m, const Forest *f) {
    const DecoderConfig *c = &m->config.decoder;
    return (Shape){ .T = f->rows_n,
        .D = c->width,
        .H = c->heads,
        .K = c->kv_heads,
        .E = c->head_size,
        .F = c->ff,
        .Q = (c->heads + 2 * c->kv_heads) * c->head_size,
        .U = m->work->tail_n,
        .R = f->scored_n,
        .eps = c->eps };
}

/* Finds the tail: per segment the run of rows from the first to the last that is scored, and where each scored row stands in it. */
static int tail_find(Model *m, const Forest *f, Error *e) {
    Workspace *w = m->work;
    int T = f->rows_n;
    if (mem_grow(&w->row_to_tail, &w->row_to_tail_cap, (size_t)T, sizeof(int), "tail rows", e) ||
        mem_grow(&w->tail_rows, &w->tail_rows_cap, (size_t)T, sizeof(int), "tail rows", e) ||
        mem_grow(&w->scored_in_tail, &w->scored_in_tail_cap, (size_t)f->scored_n, sizeof(int), "tail rows", e) ||
        mem_grow(&w->tail_segments, &w->tail_segments_cap, (size_t)f->plan_segments_n, sizeof *w->tail_segments, "tail plan", e))
        return -1;
    memset(w->row_to_tail, 0, (size_t)T * sizeof(int));
    for (int r = 0; r < f->scored_n; r++) w->row_to_tail[f->score_rows[r]] = 1;
    w->tail_n = w->tail_segments_n = 0;
    for (int s = 0; s < f->plan_segments_n; s++) {
        AttentionSegment a = f->plan_segments[s];
        int first = 0, end = a.q_count;
        while (first < end && !w->row_to_tail[a.q_first + first]) first++;
        while (end > first && !w->row_to_tail[a.q_first + end - 1]) end--;
        if (first == end) continue;
        a.q_first += first;
        a.q_count = end - first;
        a.self_before += first;
        w->tail_segments[w->tail_segments_n++] = a;
        for (int i = 0; i < a.q_count; i++) {
            w->row_to_tail[a.q_first + i] = w->tail_n;
            w->tail_rows[w->tail_n++] = a.q_first + i;
        }
    }
    for (int r = 0; r < f->scored_n; r++) w->scored_in_tail[r] = w->row_to_tail[f->score_rows[r]];
    return 0;
}

static AttentionPlan plan_of(const Model *m, const Forest *f, int tail) {
    const DecoderConfig *c = &m->config.decoder;
    return (AttentionPlan){ .segments = tail ? m->work->tail_segments : f->plan_segments,
        .segments_n = tail ? m->work->tail_segments_n : f->plan_segments_n,
        .ranges = f->plan_ranges,
        .ranges_n = f->plan_ranges_n,
        .causal = 1,
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head_size = c->head_size,
        .scale = 1.0f / sqrtf((float)c->head_size) };
}

/* Where a block's activations are: one set serves all blocks unless backward reads them. */
static DecoderLayer *block_of(const Model *m, int l, int train) { return &m->work->layers[train && !m->recompute ? l : 0]; }

/* What a dump may ask of block l. attended: of the M rows behind attention. */
static int block_dump(Model *m, const Shape *s, int l, const DecoderLayer *y, int M, Buf attended, Buf out, Error *e) {
    int HE = s->H * s->E;
    return dump_write(m, "decoder.{i}.norm1", l, y->norm1.buf, s->T, s->D, e) || dump_write(m, "decoder.{i}.qkv", l, y->qkv.buf, s->T, s->Q, e) ||
           dump_write(m, "decoder.{i}.attended", l, y->attended.buf, s->T, HE, e) ||
           dump_product(m, "decoder.{i}.attention", l, attended, weight(m, P_O, l), BUF_NONE, M, s->D, HE, e) ||
           dump_write(m, "decoder.{i}.mid", l, y->mid.buf, M, s->D, e) || dump_write(m, "decoder.{i}.norm2", l, y->norm2.buf, M, s->D, e) ||
           dump_write(m, "decoder.{i}.gated", l, y->gated.buf, M, s->F, e) ||
           dump_product(m, "decoder.{i}.mlp", l, y->gated.buf, weight(m, P_DOWN, l), BUF_NONE, M, s->D, s->F, e) ||
           dump_write(m, "decoder.{i}.out", l, out, M, s->D, e);
}

/* Block l from its input stream x (T, D) to `next`; what backward reads stays in block_of(l). next none: only that is wanted. */
static int block_forward(Model *m, const Forest *f, const Shape *s, int l, StepMode mode, Buf x, Buf next, Error *e) {
    const Kernels *k = m->k;
    const DecoderConfig *c = &m->config.decoder;
    Workspace *w = m->work;
    int train = mode == STEP_TRAIN, T = s->T, D = s->D, HE = s->H * s->E, KE = s->K * s->E, sliced = config_slices(&m->config) > 1;
    int last = l + 1 == c->layers, gather = last && s->U < T, M = last ? s->U : T;
    DecoderLayer *y = block_of(m, l, train);
    AttentionPlan plan = plan_of(m, f, last);
    k->rmsnorm_forward(y->norm1.buf, y->rstd1.buf, x, weight(m, P_ATTN_NORM, l), T, D, s->eps);
    k->linear_forward(y->qkv.buf, y->norm1.buf, weight(m, P_Q, l), c->qkv_bias ? weight(m, P_Q_B, l) : BUF_NONE, BUF_NONE, T, s->Q, D);
    k->rope(y->qkv.buf, s->Q, f->positions, T, s->H + s->K, s->E, w->frequencies, 1); /* queries and keys adjoin */
    Buf keys = buf_at(y->qkv.buf, HE);
    int64_t stride = s->Q;
    if (mode == STEP_CACHED) {
        k->rows_store(w->kv[l].buf, 2 * KE, keys, s->Q, f->plan_slots, T, 2 * KE);
        keys = w->kv[l].buf;
        stride = 2 * KE;
    }
    k->attention_forward(y->attended.buf, train ? y->lse.buf : BUF_NONE, y->qkv.buf, keys, buf_at(keys, KE), s->Q, stride, &plan);
    Buf attended = y->attended.buf, stream = x;
    if (gather) {
        k->rows_gather(w->tail_attended.buf, attended, w->tail_rows, s->U, HE);
        k->rows_gather(w->tail_x.buf, x, w->tail_rows, s->U, D);
        attended = w->tail_attended.buf, stream = w->tail_x.buf;
    }
    k->linear_forward(y->mid.buf, attended, weight(m, P_O, l), BUF_NONE, sliced ? BUF_NONE : stream, M, D, HE);
    if (slices_sum_onto(m, "summing attention", y->mid.buf, stream, (int64_t)M * D, e)) return -1;
    k->rmsnorm_forward(y->norm2.buf, y->rstd2.buf, y->mid.buf, weight(m, P_FF_NORM, l), M, D, s->eps);
    k->linear_forward(y->gate_up.buf, y->norm2.buf, weight(m, P_GATE, l), BUF_NONE, BUF_NONE, M, 2 * s->F, D);
    k->swiglu_forward(y->gated.buf, y->gate_up.buf, M, s->F);
    if (!next.at) return 0;
    k->linear_forward(next, y->gated.buf, weight(m, P_DOWN, l), BUF_NONE, sliced ? BUF_NONE : y->mid.buf, M, D, s->F);
    if (slices_sum_onto(m, "summing the feed-forward", next, y->mid.buf, (int64_t)M * D, e)) return -1;
    return model_dump_waits(m) && block_dump(m, s, l, y, M, attended, next, e) ? -1 : 0;
}

int decoder_forward(Model *m, Forest *f, Buf features, StepMode mode, Error *e) {
    const Kernels *k = m->k;
    Workspace *w = m->work;
    if (tail_find(m, f, e)) return -1;
    Shape s = shape_of(m, f);
    int L = m->config.decoder.layers, train = mode == STEP_TRAIN;
    StepSize need = { .uses = USES_DECODER, .rows = s.T, .tail = s.U, .scored = s.R };
    if (train) need.uses |= m->recompute ? USES_KEEP_INPUTS : USES_KEEP;
    if (workspace_need(m, &need, e)) return -1;

    int head = unit_of(m, P_NORM, -1);
    if (weights_need(m, unit_of(m, P_EMBED, -1), unit_of(m, P_Q, 0), e)) return -1;
    Buf x = w->layers[0].x.buf;
    k->embed_forward(x, weight(m, P_EMBED, -1), features, f->ids, f->image_rows, s.T, s.D);
    if (dump_write(m, "decoder.embedded", 0, x, s.T, s.D, e)) return -1;
    for (int l = 0; l < L; l++) {
        Buf next = l + 1 == L ? w->final.buf : train ? w->layers[l + 1].x.buf : x;
        if (weights_need(m, unit_of(m, P_Q, l), l + 1 == L ? head : unit_of(m, P_Q, l + 1), e)) return -1;
        if (block_forward(m, f, &s, l, mode, x, next, e)) return -1;
        x = next;
    }
    if (weights_need(m, head, -1, e)) return -1;
    k->rows_gather(w->final_x.buf, x, w->scored_in_tail, s.R, s.D);
    k->rmsnorm_forward(w->hidden.buf, w->final_rstd.buf, w->final_x.buf, weight(m, P_NORM, -1), s.R, s.D, s.eps);
    return 0;
}

int decoder_backward(Model *m, const Forest *f, Buf dfeatures, Error *e) {
    const Kernels *k = m->k;
    const DecoderConfig *c = &m->config.decoder;
    Workspace *w = m->work;
    Shape s = shape_of(m, f);
    int L = c->layers, T = s.T, D = s.D, HE = s.H * s.E, KE = s.K * s.E;
    Buf dnorm = w->dnorm.buf, dqkv = w->dqkv.buf, dgate_up = w->dgate_up.buf, dgated = w->dgated.buf, dattended = w->dattended.buf;

    /* scored rows -> the tail: dhidden is already dL/d(normed scored rows) */
    Buf dx = w->dtail.buf;
    k->zero(dnorm, (int64_t)s.R * D);
    int head = unit_of(m, P_NORM, -1), embed = unit_of(m, P_EMBED, -1);
    if (weights_need(m, head, unit_of(m, P_Q, L - 1), e) || grads_need(m, head, e)) return -1;
    k->rmsnorm_backward(
        dnorm, trained_grad(m, P_NORM, -1), w->dhidden.buf, w->final_x.buf, weight(m, P_NORM, -1), w->final_rstd.buf, s.R, D);
    if (grads_done(m, head, e)) return -1;
    k->zero(dx, (int64_t)s.U * D);
    k->rows_scatter_add(dx, dnorm, w->scored_in_tail, s.R, D);

    for (int l = L - 1; l >= 0; l--) {
        DecoderLayer *y = block_of(m, l, 1);
        int unit = unit_of(m, P_Q, l);
        if (weights_need(m, unit, l > 0 ? unit_of(m, P_Q, l - 1) : -1, e) || grads_need(m, unit, e)) return -1;
        Buf x = w->layers[l].x.buf;
        if (m->recompute && block_forward(m, f, &s, l, STEP_TRAIN, x, BUF_NONE, e)) return -1;
        int last = l + 1 == L, gather = last && s.U < T, M = last ? s.U : T;
        AttentionPlan plan = plan_of(m, f, last);
        linear_grads(m, trained_grad(m, P_DOWN, l), BUF_NONE, dx, y->gated.buf, M, D, s.F);
        k->linear_backward_input(dgated, dx, weight(m, P_DOWN, l), M, D, s.F, 0);
        k->swiglu_backward(dgate_up, dgated, y->gate_up.buf, M, s.F);
        linear_grads(m, trained_grad(m, P_GATE, l), BUF_NONE, dgate_up, y->norm2.buf, M, 2 * s.F, D);
        k->linear_backward_input(dnorm, dgate_up, weight(m, P_GATE, l), M, 2 * s.F, D, 0);
        if (slices_sum(m, "summing gradients of the feed-forward", dnorm, (int64_t)M * D, e)) return -1;
        k->rmsnorm_backward(dx, trained_grad(m, P_FF_NORM, l), dnorm, y->mid.buf, weight(m, P_FF_NORM, l), y->rstd2.buf, M, D);
        linear_grads(m, trained_grad(m, P_O, l), BUF_NONE, dx, gather ? w->tail_attended.buf : y->attended.buf, M, D, HE);
        if (gather) { /* from the tail back to all rows: the others got nothing from this block but keys and values */
            k->linear_backward_input(w->dtail_attended.buf, dx, weight(m, P_O, l), M, D, HE, 0);
            k->rows_store(dattended, HE, w->dtail_attended.buf, HE, w->tail_rows, s.U, HE);
            k->zero(w->dx.buf, (int64_t)T * D);
            k->rows_store(w->dx.buf, D, dx, D, w->tail_rows, s.U, D);
            k->zero(dqkv, (int64_t)T * s.Q);
            dx = w->dx.buf;
        } else {
            k->linear_backward_input(dattended, dx, weight(m, P_O, l), M, D, HE, 0);
            if (last) { /* U == T: the gradient moves out of the tail's buffer, which holds rows in order */
                k->copy(w->dx.buf, dx, (int64_t)T * D);
                dx = w->dx.buf;
            }
        }
        k->attention_backward(dqkv, buf_at(dqkv, HE), buf_at(dqkv, HE + KE), dattended, y->attended.buf, y->lse.buf, y->qkv.buf,
            buf_at(y->qkv.buf, HE), buf_at(y->qkv.buf, HE + KE), s.Q, s.Q, T, T, &plan);
        k->rope(dqkv, s.Q, f->positions, T, s.H + s.K, s.E, w->frequencies, -1);
        linear_grads(m, trained_grad(m, P_Q, l), c->qkv_bias ? trained_grad(m, P_Q_B, l) : BUF_NONE, dqkv, y->norm1.buf, T, s.Q, D);
        k->linear_backward_input(dnorm, dqkv, weight(m, P_Q, l), T, s.Q, D, 0);
        if (slices_sum(m, "summing gradients of attention", dnorm, (int64_t)T * D, e)) return -1;
        k->rmsnorm_backward(dx, trained_grad(m, P_ATTN_NORM, l), dnorm, x, weight(m, P_ATTN_NORM, l), y->rstd1.buf, T, D);
        if (grads_done(m, unit, e)) return -1;
    }
    if (grads_need(m, embed, e)) return -1;
    k->embed_backward(trained_grad(m, P_EMBED, -1), dfeatures, dx, f->ids, f->image_rows, T, D);
    return grads_done(m, embed, e);
}

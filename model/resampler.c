/* resampler.c - what stands in the projector's place in OmniLMM: one cross attention from learned queries to an image's features (the
 * perceiver resampler of Qwen-VL, Bai et al. 2023, arXiv 2308.12966), forward and backward.
 *
 *     v = ln_kv(x kv_proj^T)        k = v + positions of the features' grid        q = ln_q(query) + positions of the queries' grid
 *     y = ln_post(attention(q, k, v)) proj        attention with in and out products and their biases
 *
 * The positions are a constant table for the queries' grid, which is resampled to the features' once. Queries are the same for every image,
 * so they are computed once a step and copied. In proj the input comes first, as PyTorch multiplies a parameter from the right: the roles
 * of linear_forward and linear_backward_input are exchanged. */
#include "model/positions.h"
#include "model/workspace.h"

#include <math.h>

typedef struct Shape {
    int images, Q, P, D, W; /* queries and features of an image */
    int rows, features;     /* of all images */
    int64_t grid;           /* elements of an image's features at width D */
    AttentionPlan plan;
} Shape;

static int shape_open(Model *m, int rows, Shape *s, Error *e) {
    Workspace *w = m->work;
    const ModelConfig *c = &m->config;
    int Q = c->queries, P = c->tile_rows, D = c->decoder.width, images = rows / Q, size = D / c->resampler_heads;
    if (mem_grow(&w->resampler_segments, &w->resampler_segments_cap, (size_t)images, sizeof *w->resampler_segments, "resampler plan", e))
        return -1;
    for (int b = 0; b < images; b++) /* not causal: every query sees all self_before + q_count keys */
        w->resampler_segments[b] = (AttentionSegment){ .q_first = b * Q, .q_count = Q, .self_first = b * P, .self_before = P - Q };
    *s = (Shape){ .images = images,
        .Q = Q,
        .P = P,
        .D = D,
        .W = c->vision.width,
        .rows = rows,
        .features = images * P,
        .grid = (int64_t)P * D,
        .plan = { .segments = w->resampler_segments,
            .segments_n = images,
            .causal = 0,
            .heads = c->resampler_heads,
            .kv_heads = c->resampler_heads,
            .head_size = size,
            .scale = 1.0f / sqrtf((float)size) } };
    return 0;
}

static int positions_need(Model *m, const Shape *s, Error *e) {
    Workspace *w = m->work;
    if (w->resampler_positions_made) return 0;
    int side = m->config.vision.image_side / m->config.vision.patch, own = (int)lround(sqrt(s->Q));
    if (positions_table(m->k, w->resampler_positions.buf, side, weight(m, P_RESAMPLER_POSITION, -1), own, s->D, 0, POSITIONS_PLAIN, e))
        return -1;
    w->resampler_positions_made = 1;
    return 0;
}

/* One of the three products that make queries, keys and values: 0, 1, 2. */
static Buf in_weight(const Model *m, const Shape *s, int which) {
    return buf_at(weight(m, P_RESAMPLER_IN_W, -1), (int64_t)which * s->D * s->D);
}
static void in_forward(const Model *m, const Shape *s, int which, Buf y, Buf x, int rows) {
    m->k->linear_forward(
        y, x, in_weight(m, s, which), buf_at(weight(m, P_RESAMPLER_IN_B, -1), (int64_t)which * s->D), BUF_NONE, rows, s->D, s->D);
}
static void in_grads(const Model *m, const Shape *s, int which, Buf dy, Buf x, int rows) {
    Buf dw = trained_grad(m, P_RESAMPLER_IN_W, -1), db = trained_grad(m, P_RESAMPLER_IN_B, -1);
    if (dw.at) linear_grads(m, buf_at(dw, (int64_t)which * s->D * s->D), buf_at(db, (int64_t)which * s->D), dy, x, rows, s->D, s->D);
}

/* asked: queries behind their norm, with positions; values: features behind theirs, keys: with positions; attended, attention: before the product that ends
 * attention and behind it; normed: behind the last norm. */
static int dump(Model *m, const Shape *s, Error *e) {
    const Workspace *w = m->work;
    return dump_write(m, "resampler.asked", 0, w->resampler_asked.buf, s->Q, s->D, e) ||
           dump_write(m, "resampler.values", 0, w->resampler_values.buf, s->features, s->D, e) ||
           dump_write(m, "resampler.keys", 0, w->resampler_keys.buf, s->features, s->D, e) ||
           dump_write(m, "resampler.attended", 0, w->resampler_attended.buf, s->rows, s->D, e) ||
           dump_write(m, "resampler.attention", 0, w->resampler_out.buf, s->rows, s->D, e) ||
           dump_write(m, "resampler.normed", 0, w->resampler_normed.buf, s->rows, s->D, e);
}

int resampler_forward(Model *m, Buf vision, int image_rows, Error *e) {
    const Kernels *k = m->k;
    Workspace *w = m->work;
    Shape s;
    if (shape_open(m, image_rows, &s, e)) return -1;
    if (workspace_need(m, &(StepSize){ .uses = USES_PROJECTOR, .image_rows = image_rows, .feature_rows = s.features }, e) ||
        positions_need(m, &s, e))
        return -1;
    const float eps = 1e-6f;
    int Q = s.Q, D = s.D;
    int64_t QD = (int64_t)Q * D;

    k->layernorm_forward(w->resampler_asked.buf, w->resampler_asked_mean.buf, w->resampler_asked_rstd.buf, weight(m, P_RESAMPLER_QUERY, -1),
        weight(m, P_RESAMPLER_LN_Q_W, -1), weight(m, P_RESAMPLER_LN_Q_B, -1), Q, D, eps);
    k->add(w->resampler_asked.buf, w->resampler_asked.buf, weight(m, P_RESAMPLER_POSITION, -1), QD);
    in_forward(m, &s, 0, w->resampler_q.buf, w->resampler_asked.buf, Q);
    for (int b = 1; b < s.images; b++) k->copy(buf_at(w->resampler_q.buf, b * QD), w->resampler_q.buf, QD);

    k->linear_forward(w->resampler_in.buf, vision, weight(m, P_RESAMPLER_KV, -1), BUF_NONE, BUF_NONE, s.features, D, s.W);
    k->layernorm_forward(w->resampler_values.buf, w->resampler_in_mean.buf, w->resampler_in_rstd.buf, w->resampler_in.buf,
        weight(m, P_RESAMPLER_LN_KV_W, -1), weight(m, P_RESAMPLER_LN_KV_B, -1), s.features, D, eps);
    for (int b = 0; b < s.images; b++)
        k->add(buf_at(w->resampler_keys.buf, b * s.grid), buf_at(w->resampler_values.buf, b * s.grid), w->resampler_positions.buf, s.grid);
    in_forward(m, &s, 1, w->resampler_k.buf, w->resampler_keys.buf, s.features);
    in_forward(m, &s, 2, w->resampler_v.buf, w->resampler_values.buf, s.features);

    k->attention_forward(
        w->resampler_attended.buf, w->resampler_lse.buf, w->resampler_q.buf, w->resampler_k.buf, w->resampler_v.buf, D, D, &s.plan);
    k->linear_forward(w->resampler_out.buf, w->resampler_attended.buf, weight(m, P_RESAMPLER_OUT_W, -1), weight(m, P_RESAMPLER_OUT_B, -1),
        BUF_NONE, s.rows, D, D);
    k->layernorm_forward(w->resampler_normed.buf, w->resampler_out_mean.buf, w->resampler_out_rstd.buf, w->resampler_out.buf,
        weight(m, P_RESAMPLER_LN_POST_W, -1), weight(m, P_RESAMPLER_LN_POST_B, -1), s.rows, D, eps);
    for (int b = 0; b < s.images; b++) /* one by one: the bits of this product may depend on how many rows it has */
        k->linear_backward_input(
            buf_at(w->projected.buf, b * QD), buf_at(w->resampler_normed.buf, b * QD), weight(m, P_RESAMPLER_PROJ, -1), Q, D, D, 0);
    return dump(m, &s, e) ? -1 : 0;
}

int resampler_backward(Model *m, Buf dprojected, Buf vision, Buf dvision, int image_rows, Error *e) {
    const Kernels *k = m->k;
    Workspace *w = m->work;
    Shape s;
    if (shape_open(m, image_rows, &s, e)) return -1;
    int Q = s.Q, D = s.D, R = s.rows, K = s.features;
    int64_t QD = (int64_t)Q * D, RD = (int64_t)R * D, KD = (int64_t)K * D;
    Buf dout = w->dresampler_out.buf, dattended = w->dresampler_attended.buf, dq = w->dresampler_q.buf, dk = w->dresampler_k.buf,
        dv = w->dresampler_v.buf, din = w->dresampler_in.buf, dasked = w->dresampler_asked.buf;

    linear_grads(m, trained_grad(m, P_RESAMPLER_PROJ, -1), BUF_NONE, w->resampler_normed.buf, dprojected, R, D, D);
    k->linear_forward(dattended, dprojected, weight(m, P_RESAMPLER_PROJ, -1), BUF_NONE, BUF_NONE, R, D, D); /* of the norm's result */
    k->zero(dout, RD);
    k->layernorm_backward(dout, trained_grad(m, P_RESAMPLER_LN_POST_W, -1), trained_grad(m, P_RESAMPLER_LN_POST_B, -1), dattended,
        w->resampler_out.buf, weight(m, P_RESAMPLER_LN_POST_W, -1), w->resampler_out_mean.buf, w->resampler_out_rstd.buf, R, D);
    linear_grads(
        m, trained_grad(m, P_RESAMPLER_OUT_W, -1), trained_grad(m, P_RESAMPLER_OUT_B, -1), dout, w->resampler_attended.buf, R, D, D);
    k->linear_backward_input(dattended, dout, weight(m, P_RESAMPLER_OUT_W, -1), R, D, D, 0);
    k->attention_backward(dq, dk, dv, dattended, w->resampler_attended.buf, w->resampler_lse.buf, w->resampler_q.buf, w->resampler_k.buf,
        w->resampler_v.buf, D, D, R, K, &s.plan);

    in_grads(m, &s, 1, dk, w->resampler_keys.buf, K);
    in_grads(m, &s, 2, dv, w->resampler_values.buf, K);
    k->linear_backward_input(din, dk, in_weight(m, &s, 1), K, D, D, 0); /* positions are constant: keys' gradient is the values' too */
    k->linear_backward_input(din, dv, in_weight(m, &s, 2), K, D, D, 1);
    k->zero(dk, KD);
    k->layernorm_backward(dk, trained_grad(m, P_RESAMPLER_LN_KV_W, -1), trained_grad(m, P_RESAMPLER_LN_KV_B, -1), din, w->resampler_in.buf,
        weight(m, P_RESAMPLER_LN_KV_W, -1), w->resampler_in_mean.buf, w->resampler_in_rstd.buf, K, D);
    linear_grads(m, trained_grad(m, P_RESAMPLER_KV, -1), BUF_NONE, dk, vision, K, D, s.W);
    if (dvision.at) k->linear_backward_input(dvision, dk, weight(m, P_RESAMPLER_KV, -1), K, D, s.W, 0);

    for (int b = 0; b < s.images; b++) {
        in_grads(m, &s, 0, buf_at(dq, b * QD), w->resampler_asked.buf, Q);
        k->linear_backward_input(dasked, buf_at(dq, b * QD), in_weight(m, &s, 0), Q, D, D, b > 0);
    }
    Buf dquery = trained_grad(m, P_RESAMPLER_QUERY, -1);
    k->zero(dq, QD);
    k->layernorm_backward(dq, trained_grad(m, P_RESAMPLER_LN_Q_W, -1), trained_grad(m, P_RESAMPLER_LN_Q_B, -1), dasked,
        weight(m, P_RESAMPLER_QUERY, -1), weight(m, P_RESAMPLER_LN_Q_W, -1), w->resampler_asked_mean.buf, w->resampler_asked_rstd.buf, Q,
        D);
    if (dquery.at) {
        k->copy(w->dresampler_query.buf, dq, QD); /* to fp32 */
        k->add(dquery, dquery, w->dresampler_query.buf, QD);
    }
    return 0;
}

/* clip.c - the CLIP vision tower (Radford et al. 2021, as in Transformers' CLIPVisionModel), forward and backward.
 *
 * Patch embedding without bias, class token, learned positions, layer norm before the first block, pre-norm blocks with (quick) GELU. Only
 * the blocks before the feature layer run: LLaVA reads hidden_states[-2], so the last block and the norm after it have no say and no
 * gradient. The rows of an image are one segment that sees all of itself. */
#include "model/workspace.h"

#include <math.h>

/* The plan of B images of `rows` tokens each: every one its own segment, without causality. */
static int vision_plan(Model *m, int images, AttentionPlan *plan, Error *e) {
    Workspace *w = m->work;
    const VisionConfig *c = &m->config.vision;
    int rows = c->patches + 1;
    if (mem_grow(&w->vision_segments, &w->vision_segments_cap, (size_t)images, sizeof *w->vision_segments, "tower plan", e)) return -1;
    for (int b = 0; b < images; b++)
        w->vision_segments[b] = (AttentionSegment){ .q_first = b * rows, .q_count = rows, .self_first = b * rows };
    *plan = (AttentionPlan){ .segments = w->vision_segments,
        .segments_n = images,
        .causal = 0,
        .heads = c->heads,
        .kv_heads = c->heads,
        .head_size = c->width / c->heads,
        .scale = 1.0f / sqrtf((float)(c->width / c->heads)) };
    return 0;
}

/* Rows of the stream that are features: all but the class token's, unless it is kept. */
static int feature_rows(Model *m, int images, Error *e) {
    Workspace *w = m->work;
    int P = m->config.vision.patches, keep = m->config.vision.keep_class, n = 0;
    if (mem_grow(&w->vision_rows, &w->vision_rows_cap, (size_t)images * (size_t)(P + 1), sizeof(int), "tower rows", e)) return -1;
    for (int b = 0; b < images; b++)
        for (int i = keep ? 0 : 1; i <= P; i++) w->vision_rows[n++] = b * (P + 1) + i;
    return n;
}

int model_encode(Model *m, Buf features, const float *pixels, int images, int save, Error *e) {
    const VisionConfig *c = &m->config.vision;
    const Kernels *k = m->k;
    Workspace *w = m->work;
    if (c->layers == 0)
        return error_what(e, "this model has no vision tower"), error_where(e, "%s", m->folder), error_hint(e, "use text-only prompts");
    int P = c->patches, S = c->image_side, W = c->width, F = c->ff, C = 3, L = c->feature_layers;
    int T = images * (P + 1), patch_size = C * c->patch * c->patch;
    int64_t pixel_count = (int64_t)images * C * S * S;
    AttentionPlan plan;
    if (vision_plan(m, images, &plan, e)) return -1;
    int features_n = feature_rows(m, images, e);
    if (features_n < 0) return -1;
    if (workspace_need(m, &(StepSize){ .uses = save ? USES_TOWER | USES_TOWER_KEEP : USES_TOWER, .images = images }, e)) return -1;

    k->upload(w->vision_pixels.buf, pixels, pixel_count);
    k->patches_gather(w->vision_patches.buf, w->vision_pixels.buf, images, C, S, c->patch);
    k->linear_forward(
        w->vision_embedded.buf, w->vision_patches.buf, weight(m, P_VISION_PATCH, -1), BUF_NONE, BUF_NONE, images * P, W, patch_size);
    k->patches_embed(
        w->vision_pre.buf, w->vision_embedded.buf, weight(m, P_VISION_CLASS, -1), weight(m, P_VISION_POSITION, -1), images, P, W);
    if (dump_write(m, "vision.embedded", 0, w->vision_pre.buf, T, W, e)) return -1;
    Buf x = L > 0 ? w->vision_layers[0].x.buf : w->vision_final.buf;
    k->layernorm_forward(x, w->vision_pre_mean.buf, w->vision_pre_rstd.buf, w->vision_pre.buf, weight(m, P_VISION_PRE_W, -1),
        weight(m, P_VISION_PRE_B, -1), T, W, c->eps);
    for (int l = 0; l < L; l++) {
        VisionLayer *y = &w->vision_layers[save ? l : 0];
        Buf next = l + 1 == L ? w->vision_final.buf : save ? w->vision_layers[l + 1].x.buf : y->x.buf;
        k->layernorm_forward(
            y->norm1.buf, y->mean1.buf, y->rstd1.buf, x, weight(m, P_VISION_LN1_W, l), weight(m, P_VISION_LN1_B, l), T, W, c->eps);
        k->linear_forward(y->qkv.buf, y->norm1.buf, weight(m, P_VISION_Q_W, l), weight(m, P_VISION_Q_B, l), BUF_NONE, T, 3 * W, W);
        k->attention_forward(
            y->attended.buf, y->lse.buf, y->qkv.buf, buf_at(y->qkv.buf, W), buf_at(y->qkv.buf, 2 * W), 3 * W, 3 * W, &plan);
        k->linear_forward(y->mid.buf, y->attended.buf, weight(m, P_VISION_O_W, l), weight(m, P_VISION_O_B, l), x, T, W, W);
        k->layernorm_forward(
            y->norm2.buf, y->mean2.buf, y->rstd2.buf, y->mid.buf, weight(m, P_VISION_LN2_W, l), weight(m, P_VISION_LN2_B, l), T, W, c->eps);
        k->linear_forward(y->fc1.buf, y->norm2.buf, weight(m, P_VISION_FC1_W, l), weight(m, P_VISION_FC1_B, l), BUF_NONE, T, F, W);
        k->activation_forward(y->activated.buf, y->fc1.buf, c->activation, (int64_t)T * F);
        k->linear_forward(next, y->activated.buf, weight(m, P_VISION_FC2_W, l), weight(m, P_VISION_FC2_B, l), y->mid.buf, T, W, F);
        if (dump_write(m, "vision.{i}.qkv", l, y->qkv.buf, T, 3 * W, e) || dump_write(m, "vision.{i}.attended", l, y->attended.buf, T, W, e) ||
            dump_write(m, "vision.{i}.mid", l, y->mid.buf, T, W, e) || dump_write(m, "vision.{i}.activated", l, y->activated.buf, T, F, e) ||
            dump_write(m, "vision.{i}.out", l, next, T, W, e))
            return -1;
        x = next;
    }
    k->rows_gather(features, x, w->vision_rows, features_n, W);
    w->vision_images = save ? images : 0;
    return 0;
}

int model_encode_backward(Model *m, Buf dfeatures, Error *e) {
    const VisionConfig *c = &m->config.vision;
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int images = w->vision_images, P = c->patches, W = c->width, F = c->ff, L = c->feature_layers, T = images * (P + 1),
        patch_size = 3 * c->patch * c->patch;
    if (images == 0)
        return error_what(e, "the tower's activations were not kept"), error_where(e, "tower backward"), error_hint(e, "encode with save");
    AttentionPlan plan;
    if (vision_plan(m, images, &plan, e)) return -1;
    int features_n = feature_rows(m, images, e);
    if (features_n < 0) return -1;
    if (workspace_need(m, &(StepSize){ .uses = USES_TOWER_BACKWARD, .images = images }, e)) return -1;
    Buf dx = w->vision_dx.buf, dnorm = w->vision_dnorm.buf, dff = w->vision_dff.buf, dqkv = w->vision_dqkv.buf,
        dattended = w->vision_dattended.buf;
    k->zero(dx, (int64_t)T * W);
    k->rows_scatter_add(dx, dfeatures, w->vision_rows, features_n, W);
    for (int l = L - 1; l >= 0; l--) {
        VisionLayer *y = &w->vision_layers[l];
        linear_grads(m, trained_grad(m, P_VISION_FC2_W, l), trained_grad(m, P_VISION_FC2_B, l), dx, y->activated.buf, T, W, F);
        k->linear_backward_input(dff, dx, weight(m, P_VISION_FC2_W, l), T, W, F, 0);
        k->activation_backward(dff, dff, y->fc1.buf, c->activation, (int64_t)T * F);
        linear_grads(m, trained_grad(m, P_VISION_FC1_W, l), trained_grad(m, P_VISION_FC1_B, l), dff, y->norm2.buf, T, F, W);
        k->linear_backward_input(dnorm, dff, weight(m, P_VISION_FC1_W, l), T, F, W, 0);
        k->layernorm_backward(dx, trained_grad(m, P_VISION_LN2_W, l), trained_grad(m, P_VISION_LN2_B, l), dnorm, y->mid.buf,
            weight(m, P_VISION_LN2_W, l), y->mean2.buf, y->rstd2.buf, T, W);
        linear_grads(m, trained_grad(m, P_VISION_O_W, l), trained_grad(m, P_VISION_O_B, l), dx, y->attended.buf, T, W, W);
        k->linear_backward_input(dattended, dx, weight(m, P_VISION_O_W, l), T, W, W, 0);
        k->attention_backward(dqkv, buf_at(dqkv, W), buf_at(dqkv, 2 * W), dattended, y->attended.buf, y->lse.buf, y->qkv.buf,
            buf_at(y->qkv.buf, W), buf_at(y->qkv.buf, 2 * W), 3 * W, 3 * W, T, T, &plan);
        linear_grads(m, trained_grad(m, P_VISION_Q_W, l), trained_grad(m, P_VISION_Q_B, l), dqkv, y->norm1.buf, T, 3 * W, W);
        k->linear_backward_input(dnorm, dqkv, weight(m, P_VISION_Q_W, l), T, 3 * W, W, 0);
        k->layernorm_backward(dx, trained_grad(m, P_VISION_LN1_W, l), trained_grad(m, P_VISION_LN1_B, l), dnorm, y->x.buf,
            weight(m, P_VISION_LN1_W, l), y->mean1.buf, y->rstd1.buf, T, W);
    }
    /* the norm before the first block: its input gradient starts from nothing */
    k->zero(dnorm, (int64_t)T * W);
    k->layernorm_backward(dnorm, trained_grad(m, P_VISION_PRE_W, -1), trained_grad(m, P_VISION_PRE_B, -1), dx, w->vision_pre.buf,
        weight(m, P_VISION_PRE_W, -1), w->vision_pre_mean.buf, w->vision_pre_rstd.buf, T, W);
    k->patches_embed_backward(
        w->vision_dembedded.buf, trained_grad(m, P_VISION_CLASS, -1), trained_grad(m, P_VISION_POSITION, -1), dnorm, images, P, W);
    linear_grads(
        m, trained_grad(m, P_VISION_PATCH, -1), BUF_NONE, w->vision_dembedded.buf, w->vision_patches.buf, images * P, W, patch_size);
    return 0;
}

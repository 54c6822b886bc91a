/* tower.c - owns one pass of a vision tower, forward and backward: pixels to patches, the attention plan, and which rows of the stream are
 * features. What lies between is clip.c's or eva.c's. The rows of an image are one segment that sees all of itself. Refuses models without
 * a tower, and a way back whose way there was not kept. */
#include "model/tower.h"

#include <math.h>

static int pass_open(Model *m, int images, int save, TowerPass *pass, Error *e) {
    Workspace *w = m->work;
    const VisionConfig *c = &m->config.vision;
    int rows = c->patches + 1;
    if (mem_grow(&w->vision_segments, &w->vision_segments_cap, (size_t)images, sizeof *w->vision_segments, "tower plan", e)) return -1;
    for (int b = 0; b < images; b++)
        w->vision_segments[b] = (AttentionSegment){ .q_first = b * rows, .q_count = rows, .self_first = b * rows };
    *pass = (TowerPass){ .images = images,
        .rows = images * rows,
        .save = save,
        .plan = { .segments = w->vision_segments,
            .segments_n = images,
            .causal = 0,
            .heads = c->heads,
            .kv_heads = c->heads,
            .head_size = c->width / c->heads,
            .scale = 1.0f / sqrtf((float)(c->width / c->heads)) } };
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

int tower_block_dump(Model *m, const TowerPass *pass, int l, const TowerProducts *p, Buf next, Error *e) {
    const VisionLayer *y = tower_block(m, pass, l);
    int T = pass->rows, W = m->config.vision.width, F = m->config.vision.ff;
    return dump_write(m, "vision.{i}.qkv", l, y->qkv.buf, T, 3 * W, e) ||
                   dump_write(m, "vision.{i}.attended", l, y->attended.buf, T, W, e) ||
                   dump_product(m, "vision.{i}.attention", l, y->attended.buf, weight(m, p->attention, l), weight(m, p->attention_bias, l), T, W, W, e) ||
                   dump_write(m, "vision.{i}.mid", l, y->mid.buf, T, W, e) ||
                   dump_write(m, "vision.{i}.activated", l, y->activated.buf, T, F, e) ||
                   dump_product(m, "vision.{i}.mlp", l, y->activated.buf, weight(m, p->mlp, l), weight(m, p->mlp_bias, l), T, W, F, e) ||
                   dump_write(m, "vision.{i}.out", l, next, T, W, e)
               ? -1
               : 0;
}

int model_encode(Model *m, Buf features, const float *pixels, int images, int save, Error *e) {
    const VisionConfig *c = &m->config.vision;
    const Kernels *k = m->k;
    Workspace *w = m->work;
    if (c->layers == 0)
        return error_what(e, "this model has no vision tower"), error_where(e, "%s", m->folder), error_hint(e, "use text-only prompts");
    int S = c->image_side, C = 3;
    TowerPass pass;
    Buf stream;
    if (pass_open(m, images, save, &pass, e)) return -1;
    int features_n = feature_rows(m, images, e);
    if (features_n < 0) return -1;
    if (workspace_need(m, &(StepSize){ .uses = save ? USES_TOWER | USES_TOWER_KEEP : USES_TOWER, .images = images }, e)) return -1;
    k->upload(w->vision_pixels.buf, pixels, (int64_t)images * C * S * S);
    k->patches_gather(w->vision_patches.buf, w->vision_pixels.buf, images, C, S, c->patch);
    if (c->kind == TOWER_EVA ? eva_forward(m, &pass, &stream, e) : clip_forward(m, &pass, &stream, e)) return -1;
    k->rows_gather(features, stream, w->vision_rows, features_n, c->width);
    w->vision_images = save ? images : 0;
    return 0;
}

int model_encode_backward(Model *m, Buf dfeatures, Error *e) {
    const VisionConfig *c = &m->config.vision;
    Workspace *w = m->work;
    int images = w->vision_images;
    if (images == 0)
        return error_what(e, "the tower's activations were not kept"), error_where(e, "tower backward"), error_hint(e, "encode with save");
    TowerPass pass;
    if (pass_open(m, images, 1, &pass, e)) return -1;
    int features_n = feature_rows(m, images, e);
    if (features_n < 0) return -1;
    if (workspace_need(m, &(StepSize){ .uses = USES_TOWER_BACKWARD, .images = images }, e)) return -1;
    Buf dx = w->vision_dx.buf;
    m->k->zero(dx, (int64_t)pass.rows * c->width);
    m->k->rows_scatter_add(dx, dfeatures, w->vision_rows, features_n, c->width);
    if (c->kind == TOWER_EVA) return eva_backward(m, &pass, dx, e);
    clip_backward(m, &pass, dx);
    return 0;
}

/* eva.c - the tower of OmniLMM: EVA-02-enormous (Sun et al. 2023, arXiv 2303.15389; as in timm's eva02_enormous_patch14_clip_224), forward
 * and backward.
 *
 * Patch embedding with bias, class token, learned positions, blocks with exact GELU, a norm at the end. The norms of a block stand behind
 * its branches: x + norm(attention(x)), x + norm(mlp(x)); keys have no bias. OmniLMM drops the last block. The table of positions is for a
 * coarser grid than the image is read at; it is resampled on the host once for a set of weights, its first row, the class token's, kept as
 * it is. */
#include "model/positions.h"
#include "model/tower.h"

#include <stdlib.h>

static int grid_side(const VisionConfig *c) { return c->image_side / c->patch; }

/* Makes the table at the size of the image, of the weights as they are, unless it is made. */
static int positions_need(Model *m, Error *e) {
    Workspace *w = m->work;
    const VisionConfig *c = &m->config.vision;
    if (w->vision_positions_made) return 0;
    if (positions_table(m->k, w->vision_positions.buf, grid_side(c), weight(m, P_EVA_POSITION, -1), c->positions_side, c->width, 1,
            POSITIONS_SMOOTH, e))
        return -1;
    w->vision_positions_made = 1;
    return 0;
}

int eva_forward(Model *m, const TowerPass *pass, Buf *stream, Error *e) {
    const VisionConfig *c = &m->config.vision;
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int images = pass->images, T = pass->rows, P = c->patches, W = c->width, F = c->ff, L = c->feature_layers,
        patch_size = 3 * c->patch * c->patch;
    int64_t TW = (int64_t)T * W;
    if (positions_need(m, e)) return -1;
    Buf x = L > 0 ? w->vision_layers[0].x.buf : w->vision_final.buf;
    k->linear_forward(w->vision_embedded.buf, w->vision_patches.buf, weight(m, P_EVA_PATCH_W, -1), weight(m, P_EVA_PATCH_B, -1), BUF_NONE,
        images * P, W, patch_size);
    k->patches_embed(x, w->vision_embedded.buf, weight(m, P_EVA_CLASS, -1), w->vision_positions.buf, images, P, W);
    if (dump_write(m, "vision.embedded", 0, x, T, W, e)) return -1;
    for (int l = 0; l < L; l++) { /* norm1 and norm2 hold what the norms read */
        VisionLayer *y = tower_block(m, pass, l);
        Buf next = tower_next(m, pass, l);
        k->linear_forward(y->qkv.buf, x, weight(m, P_EVA_QKV_W, l), weight(m, P_EVA_Q_B, l), BUF_NONE, T, 3 * W, W);
        k->attention_forward(
            y->attended.buf, y->lse.buf, y->qkv.buf, buf_at(y->qkv.buf, W), buf_at(y->qkv.buf, 2 * W), 3 * W, 3 * W, &pass->plan);
        k->linear_forward(y->norm1.buf, y->attended.buf, weight(m, P_EVA_O_W, l), weight(m, P_EVA_O_B, l), BUF_NONE, T, W, W);
        k->layernorm_forward(
            y->mid.buf, y->mean1.buf, y->rstd1.buf, y->norm1.buf, weight(m, P_EVA_LN1_W, l), weight(m, P_EVA_LN1_B, l), T, W, c->eps);
        k->add(y->mid.buf, y->mid.buf, x, TW);
        k->linear_forward(y->fc1.buf, y->mid.buf, weight(m, P_EVA_FC1_W, l), weight(m, P_EVA_FC1_B, l), BUF_NONE, T, F, W);
        k->activation_forward(y->activated.buf, y->fc1.buf, c->activation, (int64_t)T * F);
        k->linear_forward(y->norm2.buf, y->activated.buf, weight(m, P_EVA_FC2_W, l), weight(m, P_EVA_FC2_B, l), BUF_NONE, T, W, F);
        k->layernorm_forward(
            next, y->mean2.buf, y->rstd2.buf, y->norm2.buf, weight(m, P_EVA_LN2_W, l), weight(m, P_EVA_LN2_B, l), T, W, c->eps);
        k->add(next, next, y->mid.buf, TW);
        if (tower_block_dump(m, pass, l, &(TowerProducts){ P_EVA_O_W, P_EVA_O_B, P_EVA_FC2_W, P_EVA_FC2_B }, next, e)) return -1;
        x = next;
    }
    k->layernorm_forward(w->vision_pre.buf, w->vision_pre_mean.buf, w->vision_pre_rstd.buf, x, weight(m, P_EVA_NORM_W, -1),
        weight(m, P_EVA_NORM_B, -1), T, W, c->eps);
    *stream = w->vision_pre.buf;
    return 0;
}

/* dposition: the gradient of the table at the image's size, fp32. */
static int positions_backward(Model *m, Buf dposition, Error *e) {
    const Kernels *k = m->k;
    const VisionConfig *c = &m->config.vision;
    Buf grad = trained_grad(m, P_EVA_POSITION, -1);
    int64_t W = c->width, own = ((int64_t)c->positions_side * c->positions_side + 1) * W, n = (c->patches + 1) * W;
    float *resized = mem_new((size_t)n, sizeof *resized, "positions", e),
          *table = resized ? mem_new((size_t)own, sizeof *table, "positions", e) : NULL;
    int bad = !table;
    if (!bad) {
        k->download(resized, dposition, n);
        k->download(table, grad, own);
        bad = k->sync(e);
    }
    if (!bad) {
        for (int64_t i = 0; i < W; i++) table[i] += resized[i];
        bad = positions_resize_backward(table + W, c->positions_side, resized + W, grid_side(c), c->width, POSITIONS_SMOOTH, e);
    }
    if (!bad) k->upload(grad, table, own);
    free(resized);
    free(table);
    return bad ? -1 : 0;
}

int eva_backward(Model *m, const TowerPass *pass, Buf dx, Error *e) {
    const VisionConfig *c = &m->config.vision;
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int images = pass->images, T = pass->rows, P = c->patches, W = c->width, F = c->ff, L = c->feature_layers,
        patch_size = 3 * c->patch * c->patch;
    int64_t TW = (int64_t)T * W;
    Buf dnorm = w->vision_dnorm.buf, dff = w->vision_dff.buf, dqkv = w->vision_dqkv.buf, dattended = w->vision_dattended.buf;
    Buf dposition = w->vision_dposition.buf;
    k->zero(dnorm, TW);
    k->layernorm_backward(dnorm, trained_grad(m, P_EVA_NORM_W, -1), trained_grad(m, P_EVA_NORM_B, -1), dx, w->vision_final.buf,
        weight(m, P_EVA_NORM_W, -1), w->vision_pre_mean.buf, w->vision_pre_rstd.buf, T, W);
    k->copy(dx, dnorm, TW);
    for (int l = L - 1; l >= 0; l--) {
        VisionLayer *y = &w->vision_layers[l];
        k->zero(dnorm, TW);
        k->layernorm_backward(dnorm, trained_grad(m, P_EVA_LN2_W, l), trained_grad(m, P_EVA_LN2_B, l), dx, y->norm2.buf,
            weight(m, P_EVA_LN2_W, l), y->mean2.buf, y->rstd2.buf, T, W);
        linear_grads(m, trained_grad(m, P_EVA_FC2_W, l), trained_grad(m, P_EVA_FC2_B, l), dnorm, y->activated.buf, T, W, F);
        k->linear_backward_input(dff, dnorm, weight(m, P_EVA_FC2_W, l), T, W, F, 0);
        k->activation_backward(dff, dff, y->fc1.buf, c->activation, (int64_t)T * F);
        linear_grads(m, trained_grad(m, P_EVA_FC1_W, l), trained_grad(m, P_EVA_FC1_B, l), dff, y->mid.buf, T, F, W);
        k->linear_backward_input(dx, dff, weight(m, P_EVA_FC1_W, l), T, F, W, 1);
        k->zero(dnorm, TW);
        k->layernorm_backward(dnorm, trained_grad(m, P_EVA_LN1_W, l), trained_grad(m, P_EVA_LN1_B, l), dx, y->norm1.buf,
            weight(m, P_EVA_LN1_W, l), y->mean1.buf, y->rstd1.buf, T, W);
        linear_grads(m, trained_grad(m, P_EVA_O_W, l), trained_grad(m, P_EVA_O_B, l), dnorm, y->attended.buf, T, W, W);
        k->linear_backward_input(dattended, dnorm, weight(m, P_EVA_O_W, l), T, W, W, 0);
        k->attention_backward(dqkv, buf_at(dqkv, W), buf_at(dqkv, 2 * W), dattended, y->attended.buf, y->lse.buf, y->qkv.buf,
            buf_at(y->qkv.buf, W), buf_at(y->qkv.buf, 2 * W), 3 * W, 3 * W, T, T, &pass->plan);
        linear_grads(m, trained_grad(m, P_EVA_QKV_W, l), trained_grad(m, P_EVA_Q_B, l), dqkv, y->x.buf, T, 3 * W, W);
        k->linear_backward_input(dx, dqkv, weight(m, P_EVA_QKV_W, l), T, 3 * W, W, 1);
    }
    k->zero(dposition, (int64_t)(P + 1) * W);
    k->patches_embed_backward(w->vision_dembedded.buf, trained_grad(m, P_EVA_CLASS, -1), dposition, dx, images, P, W);
    linear_grads(m, trained_grad(m, P_EVA_PATCH_W, -1), trained_grad(m, P_EVA_PATCH_B, -1), w->vision_dembedded.buf, w->vision_patches.buf,
        images * P, W, patch_size);
    return trained_grad(m, P_EVA_POSITION, -1).at ? positions_backward(m, dposition, e) : 0;
}

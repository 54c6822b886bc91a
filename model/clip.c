/* clip.c - the CLIP vision tower (Radford et al. 2021, as in Transformers' CLIPVisionModel), forward and backward.
 *
 * Patch embedding without bias, class token, learned positions, layer norm before the first block, pre-norm blocks with (quick) GELU. Only
 * the blocks before the feature layer run: LLaVA reads hidden_states[-2], so the last block and the norm after it have no say and no
 * gradient. */
#include "model/tower.h"

int clip_forward(Model *m, const TowerPass *pass, Buf *stream, Error *e) {
    const VisionConfig *c = &m->config.vision;
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int images = pass->images, T = pass->rows, P = c->patches, W = c->width, F = c->ff, L = c->feature_layers,
        patch_size = 3 * c->patch * c->patch;
    k->linear_forward(
        w->vision_embedded.buf, w->vision_patches.buf, weight(m, P_VISION_PATCH, -1), BUF_NONE, BUF_NONE, images * P, W, patch_size);
    k->patches_embed(
        w->vision_pre.buf, w->vision_embedded.buf, weight(m, P_VISION_CLASS, -1), weight(m, P_VISION_POSITION, -1), images, P, W);
    if (dump_write(m, "vision.embedded", 0, w->vision_pre.buf, T, W, e)) return -1;
    Buf x = L > 0 ? w->vision_layers[0].x.buf : w->vision_final.buf;
    k->layernorm_forward(x, w->vision_pre_mean.buf, w->vision_pre_rstd.buf, w->vision_pre.buf, weight(m, P_VISION_PRE_W, -1),
        weight(m, P_VISION_PRE_B, -1), T, W, c->eps);
    for (int l = 0; l < L; l++) {
        VisionLayer *y = tower_block(m, pass, l);
        Buf next = tower_next(m, pass, l);
        k->layernorm_forward(
            y->norm1.buf, y->mean1.buf, y->rstd1.buf, x, weight(m, P_VISION_LN1_W, l), weight(m, P_VISION_LN1_B, l), T, W, c->eps);
        k->linear_forward(y->qkv.buf, y->norm1.buf, weight(m, P_VISION_Q_W, l), weight(m, P_VISION_Q_B, l), BUF_NONE, T, 3 * W, W);
        k->attention_forward(
            y->attended.buf, y->lse.buf, y->qkv.buf, buf_at(y->qkv.buf, W), buf_at(y->qkv.buf, 2 * W), 3 * W, 3 * W, &pass->plan);
        k->linear_forward(y->mid.buf, y->attended.buf, weight(m, P_VISION_O_W, l), weight(m, P_VISION_O_B, l), x, T, W, W);
        k->layernorm_forward(
            y->norm2.buf, y->mean2.buf, y->rstd2.buf, y->mid.buf, weight(m, P_VISION_LN2_W, l), weight(m, P_VISION_LN2_B, l), T, W, c->eps);
        k->linear_forward(y->fc1.buf, y->norm2.buf, weight(m, P_VISION_FC1_W, l), weight(m, P_VISION_FC1_B, l), BUF_NONE, T, F, W);
        k->activation_forward(y->activated.buf, y->fc1.buf, c->activation, (int64_t)T * F);
        k->linear_forward(next, y->activated.buf, weight(m, P_VISION_FC2_W, l), weight(m, P_VISION_FC2_B, l), y->mid.buf, T, W, F);
        if (tower_block_dump(m, pass, l, &(TowerProducts){ P_VISION_O_W, P_VISION_O_B, P_VISION_FC2_W, P_VISION_FC2_B }, next, e)) return -1;
        x = next;
    }
    *stream = x;
    return 0;
}

void clip_backward(Model *m, const TowerPass *pass, Buf dx) {
    const VisionConfig *c = &m->config.vision;
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int images = pass->images, T = pass->rows, P = c->patches, W = c->width, F = c->ff, L = c->feature_layers,
        patch_size = 3 * c->patch * c->patch;
    Buf dnorm = w->vision_dnorm.buf, dff = w->vision_dff.buf, dqkv = w->vision_dqkv.buf, dattended = w->vision_dattended.buf;
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
            buf_at(y->qkv.buf, W), buf_at(y->qkv.buf, 2 * W), 3 * W, 3 * W, T, T, &pass->plan);
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
}

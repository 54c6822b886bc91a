/* projector.c - LLaVA's two-layer projector (Liu et al. 2023, mlp2x_gelu): Linear, exact GELU, Linear; and the learned row that ends rows of patches in
 * tiled images (LLaVA-NeXT's image_newline), which stands before the others. Forward and backward. */
#include "model/workspace.h"

int projector_forward(Model *m, Buf vision, int image_rows, Error *e) {
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int W = m->config.vision.width, D = m->config.decoder.width, lead = config_image_lead(&m->config), rows = config_feature_rows(&m->config, image_rows);
    if (workspace_need(m, &(StepSize){ .uses = USES_PROJECTOR, .image_rows = image_rows, .feature_rows = rows }, e)) return -1;
    if (lead) k->copy(w->projected.buf, weight(m, P_NEWLINE, -1), D);
    k->linear_forward(
        w->projector_hidden.buf, vision, weight(m, P_PROJECTOR_1_W, -1), weight(m, P_PROJECTOR_1_B, -1), BUF_NONE, rows, D, W);
    k->activation_forward(w->projector_act.buf, w->projector_hidden.buf, GELU, (int64_t)rows * D);
    k->linear_forward(buf_at(w->projected.buf, (int64_t)lead * D), w->projector_act.buf, weight(m, P_PROJECTOR_2_W, -1),
        weight(m, P_PROJECTOR_2_B, -1), BUF_NONE, rows, D, D);
    return dump_write(m, "projector.hidden", 0, w->projector_hidden.buf, rows, D, e) || dump_write(m, "projector.activated", 0, w->projector_act.buf, rows, D, e)
               ? -1
               : 0;
}

void projector_backward(Model *m, Buf dprojected, Buf vision, Buf dvision, int image_rows) {
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int W = m->config.vision.width, D = m->config.decoder.width, lead = config_image_lead(&m->config), rows = config_feature_rows(&m->config, image_rows);
    Buf dhidden = w->dprojector_hidden.buf;
    if (lead) {
        Buf grad = trained_grad(m, P_NEWLINE, -1);
        k->copy(w->dnewline.buf, dprojected, D); /* to fp32 */
        if (grad.at) k->add(grad, grad, w->dnewline.buf, D);
        dprojected = buf_at(dprojected, (int64_t)lead * D);
    }
    linear_grads(
        m, trained_grad(m, P_PROJECTOR_2_W, -1), trained_grad(m, P_PROJECTOR_2_B, -1), dprojected, w->projector_act.buf, rows, D, D);
    k->linear_backward_input(dhidden, dprojected, weight(m, P_PROJECTOR_2_W, -1), rows, D, D, 0);
    k->activation_backward(dhidden, dhidden, w->projector_hidden.buf, GELU, (int64_t)rows * D);
    linear_grads(m, trained_grad(m, P_PROJECTOR_1_W, -1), trained_grad(m, P_PROJECTOR_1_B, -1), dhidden, vision, rows, D, W);
    if (dvision.at) k->linear_backward_input(dvision, dhidden, weight(m, P_PROJECTOR_1_W, -1), rows, D, W, 0);
}

double model_projector_flops(const ModelConfig *c) {
    double W = c->vision.width, D = c->decoder.width, P = c->tile_rows, Q = c->queries;
    if (!c->vision.layers) return 0;
    return Q > 0 ? 2 * P * (W * D + 2 * D * D) + 6 * Q * D * D + 4 * P * Q * D : 2 * P * (W * D + D * D);
}

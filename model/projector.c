/* projector.c - LLaVA-1.5's two-layer projector (Liu et al. 2023, mlp2x_gelu): Linear, exact GELU, Linear; forward and backward. */
#include "model/workspace.h"

int projector_forward(Model *m, Buf vision, int rows, Error *e) {
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int W = m->config.vision.width, D = m->config.decoder.width;
    if (workspace_need(m, &(StepSize){ .uses = USES_PROJECTOR, .image_rows = rows, .feature_rows = rows }, e)) return -1;
    k->linear_forward(
        w->projector_hidden.buf, vision, weight(m, P_PROJECTOR_1_W, -1), weight(m, P_PROJECTOR_1_B, -1), BUF_NONE, rows, D, W);
    k->activation_forward(w->projector_act.buf, w->projector_hidden.buf, GELU, (int64_t)rows * D);
    k->linear_forward(
        w->projected.buf, w->projector_act.buf, weight(m, P_PROJECTOR_2_W, -1), weight(m, P_PROJECTOR_2_B, -1), BUF_NONE, rows, D, D);
    return 0;
}

void projector_backward(Model *m, Buf dprojected, Buf vision, Buf dvision, int rows) {
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int W = m->config.vision.width, D = m->config.decoder.width;
    Buf dhidden = w->dprojector_hidden.buf;
    linear_grads(
        m, trained_grad(m, P_PROJECTOR_2_W, -1), trained_grad(m, P_PROJECTOR_2_B, -1), dprojected, w->projector_act.buf, rows, D, D);
    k->linear_backward_input(dhidden, dprojected, weight(m, P_PROJECTOR_2_W, -1), rows, D, D, 0);
    k->activation_backward(dhidden, dhidden, w->projector_hidden.buf, GELU, (int64_t)rows * D);
    linear_grads(m, trained_grad(m, P_PROJECTOR_1_W, -1), trained_grad(m, P_PROJECTOR_1_B, -1), dhidden, vision, rows, D, W);
    if (dvision.at) k->linear_backward_input(dvision, dhidden, weight(m, P_PROJECTOR_1_W, -1), rows, D, W, 0);
}

/* workspace.c - owns the buffers of a step: they grow to the largest step seen and are used again. */
#include "model/workspace.h"

#include <stdlib.h>
#include <string.h>

int workspace_open(Model *m, Error *e) {
    Workspace *w = mem_new(1, sizeof *w, "workspace", e);
    if (!w) return -1;
    w->layers = mem_new((size_t)m->config.decoder.layers, sizeof *w->layers, "workspace layers", e);
    w->kv = mem_new((size_t)m->config.decoder.layers, sizeof *w->kv, "workspace key/value memory", e);
    w->vision_layers = mem_new((size_t)m->config.vision.layers, sizeof *w->vision_layers, "workspace tower layers", e);
    m->work = w;
    if (w->layers && w->kv && w->vision_layers) return 0;
    workspace_close(m);
    return -1;
}

/* Every slab of the workspace, visited once: freeing and counting are the same walk. */
static int64_t slabs_walk(const Model *m, int release) {
    Workspace *w = m->work;
    int64_t bytes = 0;
    Slab *singles[] = { &w->final, &w->final_x, &w->hidden, &w->final_rstd, &w->tail_x, &w->tail_attended, &w->projector_hidden,
        &w->projector_act, &w->projected, &w->logp, &w->entropy, &w->hit, &w->mean_logit, &w->lse, &w->dlogp, &w->logits, &w->dx, &w->dnorm,
        &w->dqkv, &w->dattended, &w->dgate_up, &w->dgated, &w->dhidden, &w->dtail, &w->dtail_attended, &w->dprojected,
        &w->dprojector_hidden, &w->dfeatures, &w->vision_patches, &w->vision_embedded, &w->vision_pixels, &w->vision_final, &w->vision_dx,
        &w->vision_dnorm, &w->vision_dqkv, &w->vision_dattended, &w->vision_dff, &w->vision_dembedded, &w->vision_pre, &w->vision_pre_mean,
        &w->vision_pre_rstd };
    struct {
        Slab *first;
        size_t n;
    } groups[] = { { (Slab *)w->layers, w->layers ? (size_t)m->config.decoder.layers * (sizeof(DecoderLayer) / sizeof(Slab)) : 0 },
        { (Slab *)w->vision_layers, w->vision_layers ? (size_t)m->config.vision.layers * (sizeof(VisionLayer) / sizeof(Slab)) : 0 },
        { w->kv, w->kv ? (size_t)m->config.decoder.layers : 0 } };
    for (size_t i = 0; i < sizeof singles / sizeof *singles; i++) {
        bytes += singles[i]->cap * (int64_t)dtype_size(singles[i]->buf.dtype);
        if (release && singles[i]->buf.at) m->k->free(singles[i]->buf);
    }
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
        for (size_t i = 0; i < groups[g].n; i++) {
            bytes += groups[g].first[i].cap * (int64_t)dtype_size(groups[g].first[i].buf.dtype);
            if (release && groups[g].first[i].buf.at) m->k->free(groups[g].first[i].buf);
        }
    return bytes;
}

void workspace_close(Model *m) {
    Workspace *w = m->work;
    if (!w) return;
    slabs_walk(m, 1);
    free(w->layers);
    free(w->kv);
    free(w->vision_layers);
    free(w->tail_rows);
    free(w->scored_in_tail);
    free(w->row_to_tail);
    free(w->tail_segments);
    free(w->vision_rows);
    free(w->vision_segments);
    free(w);
    m->work = NULL;
}

int64_t workspace_bytes(const Model *m) { return slabs_walk(m, 0); }

int slab_need(Model *m, Slab *s, DType dtype, int64_t count, const char *what, Error *e) {
    if (count < 1) count = 1;
    if (s->buf.at && s->cap >= count) return 0;
    /* a quarter more, so that steps of slowly growing size do not allocate each time */
    int64_t want = s->buf.at ? count + count / 4 : count;
    if (s->buf.at) m->k->free(s->buf);
    s->buf = BUF_NONE;
    s->cap = 0;
    if (m->k->alloc(&s->buf, dtype, want, what, e)) return -1;
    s->cap = want;
    return 0;
}

Buf trained_grad(const Model *m, ParamKind kind, int layer) {
    const Params *p = &m->params;
    if (!p->grads.at) return BUF_NONE;
    int64_t offset = params_offset(p, kind, layer);
    return params_is_trained(p, kind, layer) ? buf_at(p->grads, offset) : BUF_NONE;
}

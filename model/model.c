/* model.c - owns a Model: loading it, one step over a Forest, scoring, and the way back.
 *
 * The lm_head touches only scored rows, in chunks, inside the logprob kernels; logits exist whole only for rows being sampled or probed. */
#include "model/model.h"
#include "model/decoder.h"
#include "model/names.h"
#include "model/safetensors.h"
#include "model/slices.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int model_open(Model *m, const Kernels *k, Comm *slices, const char *folder, DType dtype, Error *e) {
    memset(m, 0, sizeof *m);
    m->k = k;
    m->slices = slices;
    m->dtype = dtype;
    if (strlen(folder) >= sizeof m->folder) return error_what(e, "path is too long"), error_where(e, "%.200s...", folder);
    strcpy(m->folder, folder);
    return config_load(folder, &m->config, e) || (slices && config_slice(&m->config, comm_rank(slices), comm_size(slices), folder, e)) ||
                   params_plan(&m->params, &m->config, e) || workspace_open(m, e)
               ? -1
               : 0;
}

int model_load_slice(Model *m, const Kernels *k, Comm *slices, const char *folder, DType dtype, Error *e) {
    if (!model_open(m, k, slices, folder, dtype, e) && !params_load(&m->params, k, dtype, folder, e)) return 0;
    model_free(m);
    return -1;
}

int model_load(Model *m, const Kernels *k, const char *folder, DType dtype, Error *e) { return model_load_slice(m, k, NULL, folder, dtype, e); }

int model_init(Model *m, const Kernels *k, const char *folder, DType dtype, uint64_t seed, Error *e) {
    if (!model_open(m, k, NULL, folder, dtype, e) &&
        !params_init(&m->params, k, dtype, names_preferred(&m->config), seed, e))
        return 0;
    model_free(m);
    return -1;
}

void model_free(Model *m) {
    if (m->work) workspace_close(m);
    if (m->params.weights.at) m->k->weights_changed(m->params.weights, m->params.count);
    params_free(&m->params, m->k);
    memset(m, 0, sizeof *m);
}

void model_weights_changed(Model *m) {
    if (m->params.weights.at) m->k->weights_changed(m->params.weights, m->params.count);
    m->work->vision_positions_made = 0;
}

static int step_check(const Model *m, const Forest *f, Buf vision, StepMode mode, Error *e) {
    if (f->rows_n == 0 || f->scored_n == 0)
        return error_what(e, "a step needs tokens and something to score"), error_where(e, "forest"),
               error_found(e, "%d rows, %d scored", f->rows_n, f->scored_n);
    if (f->image_rows_n > 0 && !vision.at)
        return error_what(e, "the step holds image rows but no vision features were given"), error_where(e, "forest");
    if (mode == STEP_CACHED && (f->slots == 0 || f->slots > m->work->slots))
        return error_what(e, "key/value memory is too small"), error_where(e, "forest"), error_found(e, "%d slots", m->work->slots),
               error_expected(e, "%d", f->slots), error_hint(e, "model_reserve first");
    if (mode != STEP_CACHED && f->slots > 0) return error_what(e, "a forest with slots runs in cached mode"), error_where(e, "forest");
    int V = m->config.decoder.vocab;
    for (int t = 0; t < f->rows_n; t++) {
        if (f->ids[t] >= V)
            return error_what(e, "token id is beyond the vocabulary"), error_where(e, "%s", m->folder), error_found(e, "%d", f->ids[t]),
                   error_expected(e, "below %d", V);
        if (f->positions[t] >= m->config.decoder.positions)
            return error_what(e, "sequence is longer than the model's positions"), error_where(e, "%s", m->folder),
                   error_found(e, "position %d", f->positions[t]), error_expected(e, "below %d", m->config.decoder.positions),
                   error_hint(e, "shorten the answer (max_new_tokens, max_tokens)"), config_explain_positions(&m->config.decoder, e);
    }
    return 0;
}

int model_forward(Model *m, Forest *f, Buf vision, StepMode mode, Error *e) {
    Workspace *w = m->work;
    if (step_check(m, f, vision, mode, e) || forest_plan(f, e)) return -1;
    w->mode = mode;
    w->vision = vision;
    w->image_rows = f->image_rows_n;
    Buf features = BUF_NONE;
    if (f->image_rows_n > 0) {
        if (m->config.queries ? resampler_forward(m, vision, f->image_rows_n, e) : projector_forward(m, vision, f->image_rows_n, e)) return -1;
        features = w->projected.buf;
        int rows = config_feature_rows(&m->config, f->image_rows_n), lead = config_image_lead(&m->config), D = m->config.decoder.width;
        if (dump_write(m, "vision_features", 0, vision, rows, m->config.vision.width, e) ||
            dump_write(m, "projected", 0, buf_at(features, (int64_t)lead * D), f->image_rows_n - lead, D, e))
            return -1;
    }
    if (decoder_forward(m, f, features, mode, e)) return -1;
    return dump_write(m, "hidden", 0, w->hidden.buf, f->scored_n, m->config.decoder.width, e);
}

static ParamKind head_kind(const Model *m) { return m->config.decoder.tied ? P_EMBED : P_HEAD; }
static Buf head_of(const Model *m) { return weight(m, head_kind(m), -1); }
static int head_need(Model *m, Error *e) { return weights_need(m, unit_of(m, head_kind(m), -1), -1, e); }

int model_score(Model *m, const Forest *f, float *logp, float *entropy, float *hit, float *mean_logit, Error *e) {
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int R = f->scored_n, V = config_head_rows(&m->config), D = m->config.decoder.width, sliced = config_slices(&m->config) > 1;
    for (int r = 0; r < R; r++) assert(f->score_targets[r] >= 0);
    if (workspace_need(m, &(StepSize){ .uses = USES_SCORES, .scored = R }, e) || head_need(m, e)) return -1;
    const int *targets = slices_targets(m, f, e);
    if (!targets) return -1;
    k->logprob_forward(w->logp.buf, entropy || sliced ? w->entropy.buf : BUF_NONE, hit || sliced ? w->hit.buf : BUF_NONE,
        mean_logit || sliced ? w->mean_logit.buf : BUF_NONE, w->lse.buf, w->largest.buf, w->hidden.buf, head_of(m), targets, R, V, D);
    if (slices_scores(m, R, e)) return -1;
    if (logp) k->download(logp, w->logp.buf, R);
    if (entropy) k->download(entropy, w->entropy.buf, R);
    if (hit) k->download(hit, w->hit.buf, R);
    if (mean_logit) k->download(mean_logit, w->mean_logit.buf, R);
    return k->sync(e);
}

Buf model_logp(const Model *m) { return m->work->logp.buf; }

int model_logits(Model *m, const Forest *f, Buf *logits, Error *e) {
    Workspace *w = m->work;
    int R = f->scored_n, V = m->config.decoder.vocab;
    if (workspace_need(m, &(StepSize){ .uses = USES_LOGITS, .scored = R }, e) || head_need(m, e)) return -1;
    m->k->logits(slices_logits_place(m, R), w->hidden.buf, head_of(m), R, config_head_rows(&m->config), m->config.decoder.width);
    if (slices_logits(m, R, e)) return -1;
    *logits = w->logits.buf;
    return dump_write(m, "logits", 0, w->logits.buf, R, V, e);
}

void model_kv_copy(Model *m, int from, int to, int n) {
    int64_t width = 2 * (int64_t)m->config.decoder.kv_heads * m->config.decoder.head_size;
    for (int l = 0; l < m->config.decoder.layers; l++)
        m->k->copy(buf_at(m->work->kv[l].buf, to * width), buf_at(m->work->kv[l].buf, from * width), n * width);
}

int model_probe(Model *m, const Forest *f, const int *ids, int n, float *p, Error *e) {
    Buf logits;
    assert(n <= MODEL_PROBES);
    if (model_logits(m, f, &logits, e)) return -1;
    m->k->probe(m->work->probes.buf, logits, ids, n, f->scored_n, m->config.decoder.vocab);
    m->k->download(p, m->work->probes.buf, (int64_t)f->scored_n * n);
    return m->k->sync(e);
}

Buf model_dlogp(Model *m, const Forest *f, Error *e) {
    return workspace_need(m, &(StepSize){ .uses = USES_SCORES, .scored = f->scored_n }, e) ? BUF_NONE : m->work->dlogp.buf;
}

/* Parts behind the decoder that this step's gradients reach. */
static int tower_reached(const Model *m) {
    return m->work->image_rows > 0 && params_part_is_trained(&m->params, PART_VISION);
}
static int projector_reached(const Model *m) {
    return m->work->image_rows > 0 && (tower_reached(m) || params_part_is_trained(&m->params, PART_PROJECTOR));
}

static int backward_need(Model *m, const Forest *f, Error *e) {
    const Workspace *w = m->work;
    StepSize s = { .uses = USES_BACKWARD, .rows = f->rows_n, .tail = w->tail_n, .scored = f->scored_n };
    if (w->image_rows) s.image_rows = w->image_rows, s.feature_rows = config_feature_rows(&m->config, w->image_rows);
    if (projector_reached(m)) s.uses |= USES_PROJECTOR_BACKWARD;
    if (tower_reached(m)) s.uses |= USES_TOWER_BACKWARD | USES_DFEATURES, s.images = w->vision_images;
    return workspace_need(m, &s, e);
}

int model_backward(Model *m, const Forest *f, Buf dlogp, Error *e) {
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int R = f->scored_n, V = config_head_rows(&m->config), D = m->config.decoder.width, rows = w->image_rows;
    const int *targets = slices_targets(m, f, e);
    assert(w->mode == STEP_TRAIN && m->params.trained_count > 0);
    if (!targets || backward_need(m, f, e) || head_need(m, e) || grads_need(m, unit_of(m, head_kind(m), -1), e)) return -1;
    k->logprob_backward(w->dhidden.buf, trained_grad(m, head_kind(m), -1), dlogp, w->lse.buf, w->hidden.buf,
        head_of(m), targets, R, V, D);
    if (slices_sum(m, "summing gradients of scored rows", w->dhidden.buf, (int64_t)R * D, e)) return -1;
    int tower = tower_reached(m), projector = projector_reached(m);
    if (projector && m->config.grids_n) k->zero(w->dprojected.buf, (int64_t)rows * D); /* rows in the margins of a fitted image are not read */
    if (decoder_backward(m, f, projector ? w->dprojected.buf : BUF_NONE, e)) return -1;
    Buf dfeatures = tower ? w->dfeatures.buf : BUF_NONE;
    if (projector && m->config.queries && resampler_backward(m, w->dprojected.buf, w->vision, dfeatures, rows, e)) return -1;
    if (projector && !m->config.queries) projector_backward(m, w->dprojected.buf, w->vision, dfeatures, rows);
    if (tower && model_encode_backward(m, w->dfeatures.buf, e)) return -1;
    return k->sync(e);
}

int64_t model_bytes(const Model *m) {
    const Params *p = &m->params;
    int64_t bytes = p->count * (int64_t)dtype_size(p->weights.dtype);
    const Buf state[] = { p->master, p->grads, p->m, p->v };
    for (int i = 0; i < 4; i++)
        if (state[i].at) bytes += p->trained_count * 4;
    return bytes + workspace_bytes(m);
}

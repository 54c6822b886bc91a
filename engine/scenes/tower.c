/* tower.c - owns the pretraining of a demo tower on the built-in world, a stand-in for CLIP's.
 *
 * A linear probe for each attribute (kind, colour, size, cell) reads each feature row; cross-entropy against what stands in that cell, summed over the
 * probes, trains tower and probes together. "Nothing there" is a class of its own. The probes are thrown away. A stopped run starts again: it is a minute's work. */
#include "engine/optimizer.h"
#include "engine/ranks.h"
#include "engine/scenes/world.h"
#include "engine/sft.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROBES = 4 };
static const int probe_classes[PROBES] = { SCENE_KINDS + 1, SCENE_COLOURS + 1, SCENE_SIZES + 1, SCENE_CELLS };
static const char *const probe_metrics[PROBES] = { "accuracy/kind", "accuracy/colour", "accuracy/size", "accuracy/cell" };

typedef struct Tower {
    Vlm *v;
    const RunConfig *config;
    int images, rows, W;
    float *pixels, *gradient, *logp_host, *hit_host;
    int *targets[PROBES];
    Buf features, dfeatures, dpart, logp, hit, lse, dlogp;
    Buf w[PROBES], dw[PROBES], m[PROBES], v_[PROBES];
} Tower;

static int tower_open(Tower *t, Error *e) {
    const Kernels *k = t->v->model.k;
    const VisionConfig *c = &t->v->model.config.vision;
    DType dtype = t->v->model.dtype;
    int R = t->rows, W = t->W;
    t->pixels = mem_new((size_t)t->images * 3 * (size_t)c->image_side * (size_t)c->image_side, sizeof(float), "pixels", e);
    t->gradient = mem_new((size_t)R, sizeof(float), "probe gradients", e);
    t->logp_host = mem_new((size_t)R, sizeof(float), "probe log-probs", e);
    t->hit_host = mem_new((size_t)R, sizeof(float), "probe hits", e);
    if (!t->pixels || !t->gradient || !t->logp_host || !t->hit_host) return -1;
    if (k->alloc(&t->features, dtype, (int64_t)R * W, "features", e) || k->alloc(&t->dfeatures, dtype, (int64_t)R * W, "feature gradients", e) ||
        k->alloc(&t->dpart, dtype, (int64_t)R * W, "feature gradients", e) || k->alloc(&t->logp, FP32, R, "probe log-probs", e) || k->alloc(&t->hit, FP32, R, "probe hits", e) ||
        k->alloc(&t->lse, FP32, R, "probe sums", e) || k->alloc(&t->dlogp, FP32, R, "probe gradients", e))
        return -1;
    for (int p = 0; p < PROBES; p++) {
        int64_t n = (int64_t)probe_classes[p] * W;
        t->targets[p] = mem_new((size_t)R, sizeof(int), "probe targets", e);
        /* probes start at zero: uniform predictions, and the first gradients decide */
        if (!t->targets[p] || k->alloc(&t->w[p], dtype, n, "probe", e) || k->alloc(&t->dw[p], FP32, n, "probe", e) || k->alloc(&t->m[p], FP32, n, "probe", e) ||
            k->alloc(&t->v_[p], FP32, n, "probe", e))
            return -1;
    }
    return 0;
}

static void tower_close(Tower *t) {
    const Kernels *k = t->v->model.k;
    Buf bufs[] = { t->features, t->dfeatures, t->dpart, t->logp, t->hit, t->lse, t->dlogp };
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        if (bufs[i].at) k->free(bufs[i]);
    for (int p = 0; p < PROBES; p++) {
        free(t->targets[p]);
        if (t->w[p].at) k->weights_changed(t->w[p], (int64_t)probe_classes[p] * t->W);
        Buf own[] = { t->w[p], t->dw[p], t->m[p], t->v_[p] };
        for (int i = 0; i < 4; i++)
            if (own[i].at) k->free(own[i]);
    }
    free(t->pixels);
    free(t->gradient);
    free(t->logp_host);
    free(t->hit_host);
}

static int scenes_load(Tower *t, int64_t first, Error *e) {
    const ModelConfig *c = &t->v->model.config;
    int S = c->vision.image_side;
    unsigned char rgb[SCENE_BYTES];
    for (int b = 0; b < t->images; b++) {
        Scene s;
        scene_make((uint64_t)t->config->run.seed, (uint64_t)(first + b), &s, rgb);
        Image image = { SCENE_SIDE, SCENE_SIDE, rgb };
        if (image_preprocess(&image, (ImageAspect)t->v->aspect, S, c->image_mean, c->image_std, t->pixels + (size_t)b * 3 * (size_t)S * (size_t)S, e)) return -1;
        for (int cell = 0; cell < SCENE_CELLS; cell++) {
            const SceneObject *o = scene_at(&s, cell);
            int row = b * SCENE_CELLS + cell, truth[PROBES] = { o ? o->kind + 1 : 0, o ? o->colour + 1 : 0, o ? o->size + 1 : 0, cell };
            for (int p = 0; p < PROBES; p++) t->targets[p][row] = truth[p];
        }
    }
    return 0;
}

int sft_tower(Vlm *v, const RunConfig *c, Metrics *metrics, Progress *progress, Error *e) {
    Model *m = &v->model;
    const Kernels *k = m->k;
    if (m->config.image_tokens != SCENE_CELLS)
        return error_what(e, "the tower does not see one patch per cell"), error_where(e, "%s", m->folder), error_found(e, "%d image tokens", m->config.image_tokens),
               error_expected(e, "%d", SCENE_CELLS), error_hint(e, "sft.task = tower is for models of the built-in world");
    if (c->train.steps <= 0) return error_what(e, "fresh scenes have no epochs"), error_where(e, "train.steps"), error_found(e, "0"), error_hint(e, "set train.steps");
    Tower t = { .v = v, .config = c, .images = c->sft.batch_images, .rows = c->sft.batch_images * SCENE_CELLS, .W = m->config.vision.width };
    Ranks ranks = { 0 };
    Shard *shard = NULL;
    int bad = -1;
    if (tower_open(&t, e) || ranks_lone(&ranks, k, e) ||
        shard_open(&shard, m, ranks.data, SHARD_NONE, 1u << PART_PROJECTOR | 1u << PART_DECODER, 1, NULL, e) || (metrics && metrics_resume(metrics, 0, "tower", 0, e))) goto done;
    for (int r = 0; r < t.rows; r++) t.gradient[r] = -1.0f / (float)t.rows;
    k->upload(t.dlogp, t.gradient, t.rows);
    progress_begin(progress, "tower", "steps", c->train.steps, 0);
    for (int64_t step = 0; step < c->train.steps; step++) {
        double loss = 0, accuracy[PROBES], norm, lr = schedule_lr(c, step, c->train.steps);
        if (scenes_load(&t, step * t.images, e) || model_encode(m, t.features, t.pixels, t.images, 1, e)) goto done;
        k->zero(t.dfeatures, (int64_t)t.rows * t.W);
        for (int p = 0; p < PROBES; p++) {
            int n = probe_classes[p];
            k->logprob_forward(t.logp, BUF_NONE, t.hit, BUF_NONE, t.lse, BUF_NONE, t.features, t.w[p], t.targets[p], t.rows, n, t.W);
            k->logprob_backward(t.dpart, t.dw[p], t.dlogp, t.lse, t.features, t.w[p], t.targets[p], t.rows, n, t.W);
            k->add(t.dfeatures, t.dfeatures, t.dpart, (int64_t)t.rows * t.W);
            if (k->sync(e)) goto done;
            k->download(t.logp_host, t.logp, t.rows);
            k->download(t.hit_host, t.hit, t.rows);
            accuracy[p] = 0;
            for (int r = 0; r < t.rows; r++) loss -= t.logp_host[r] / (double)t.rows, accuracy[p] += t.hit_host[r] / (double)t.rows;
            AdamW a = { (float)lr, (float)c->train.adam_beta1, (float)c->train.adam_beta2, (float)c->train.adam_eps, (float)c->train.weight_decay, 1, step + 1 };
            k->adamw(t.w[p], BUF_NONE, t.m[p], t.v_[p], t.dw[p], (int64_t)n * t.W, &a);
            k->zero(t.dw[p], (int64_t)n * t.W);
            k->weights_changed(t.w[p], (int64_t)n * t.W);
        }
        if (model_encode_backward(m, t.dfeatures, e) || shard_pass_end(shard, e) || optimizer_step(shard, c, lr, step + 1, &norm, e)) goto done;
        MetricRow row;
        metric_row(&row, 0, "tower", step + 1);
        metric_set(&row, "loss", loss);
        metric_set(&row, "learning_rate", lr);
        metric_set(&row, "grad_norm", norm);
        for (int p = 0; p < PROBES; p++) metric_set(&row, probe_metrics[p], accuracy[p]);
        char text[160];
        progress_note(progress, "%s", metric_row_text(&row, text, sizeof text));
        if (metrics && ((step + 1) % c->train.log_every == 0 || step + 1 == c->train.steps) && metrics_write(metrics, &row, e)) goto done;
        progress_add(progress, 1);
    }
    progress_end(progress);
    bad = 0;
done:
    if (shard_close(shard, bad ? NULL : e)) bad = -1;
    ranks_close(&ranks);
    tower_close(&t);
    return bad;
}

/* workspace.c - owns the buffers of a step: one table says what they are and how large; they grow to the largest step asked for and are used
 * again. What a plan predicts, what is reserved beforehand and what a step asks for are all read from this table. */
#include "model/workspace.h"

#include "model/rope.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Whose member a buffer is. */
typedef enum SlabOwner { WORK, LAYER, TOWER, SLOTS } SlabOwner;

/* Rows of a buffer. MIDDLE: from the last block's attention on, training keeps the tail alone. */
typedef enum SlabRows { ONE_T, ONE_U, MIDDLE, ONE_R, T_OR_R, ONCE, IMAGE_ROWS, FEATURE_ROWS, TOWER_ROWS, PATCHES, IMAGES, SLOT_ROWS } SlabRows;

typedef struct SlabRow {
    SlabOwner owner;
    size_t offset;
    unsigned uses; /* any of them needs it */
    SlabRows rows;
    int64_t (*width)(const ModelConfig *c);
    int is_fp32; /* else the model's dtype */
    const char *what;
} SlabRow;

#define WIDTH(name, value)                                                                                                                 \
    static int64_t name(const ModelConfig *c) {                                                                                            \
        const DecoderConfig *d = &c->decoder;                                                                                              \
        const VisionConfig *v = &c->vision;                                                                                                \
        (void)d, (void)v;                                                                                                                  \
        return (int64_t)(value);                                                                                                           \
    }
WIDTH(width_one, 1)
WIDTH(width_newline, c->newline ? d->width : 0)
WIDTH(width_d, d->width)
WIDTH(width_q, (d->heads + 2 * d->kv_heads) * d->head_size)
WIDTH(width_kv, 2 * d->kv_heads * d->head_size)
WIDTH(width_attended, d->heads *d->head_size)
WIDTH(width_heads, d->heads)
WIDTH(width_f, d->ff)
WIDTH(width_2f, 2LL * d->ff)
WIDTH(width_v, d->vocab)
WIDTH(width_slice_one, d->slices > 1)
WIDTH(width_slice_scores, d->slices > 1 ? SLICE_SCORES * d->slices : 0)
WIDTH(width_slice_v, d->slices > 1 ? d->vocab : 0)
WIDTH(width_probes, MODEL_PROBES)
WIDTH(width_w, v->width)
WIDTH(width_3w, 3LL * v->width)
WIDTH(width_tower_heads, v->heads)
WIDTH(width_tower_f, v->ff)
WIDTH(width_patch, 3LL * v->patch *v->patch)
WIDTH(width_image, 3LL * v->image_side *v->image_side)
/* of EVA's tower and OmniLMM's resampler alone, and what the others have in the resampler's place */
WIDTH(width_eva_positions, v->kind == TOWER_EVA ? (v->patches + 1LL) * v->width : 0)
WIDTH(width_projector, c->queries ? 0 : d->width)
WIDTH(width_resampler, c->queries ? d->width : 0)
WIDTH(width_resampler_one, c->queries > 0)
WIDTH(width_resampler_heads, c->queries ? c->resampler_heads : 0)
WIDTH(width_queries, (int64_t)c->queries *d->width)
WIDTH(width_queries_one, c->queries)
WIDTH(width_resampler_positions, c->queries ? (int64_t)v->patches *d->width : 0)
#undef WIDTH

#define OF_WORK(member) WORK, offsetof(Workspace, member)
#define OF_LAYER(member) LAYER, offsetof(DecoderLayer, member)
#define OF_TOWER(member) TOWER, offsetof(VisionLayer, member)
static const SlabRow table[] = {
    { OF_LAYER(x), USES_DECODER, ONE_T, width_d, 0, "residual stream" },
    { OF_LAYER(norm1), USES_DECODER, ONE_T, width_d, 0, "norm" },
    { OF_LAYER(rstd1), USES_DECODER, ONE_T, width_one, 1, "rstd" },
    { OF_LAYER(qkv), USES_DECODER, ONE_T, width_q, 0, "qkv" },
    { OF_LAYER(attended), USES_DECODER, ONE_T, width_attended, 0, "attention" },
    { OF_LAYER(lse), USES_KEEP | USES_KEEP_INPUTS, ONE_T, width_heads, 1, "attention lse" },
    { OF_LAYER(mid), USES_DECODER, MIDDLE, width_d, 0, "residual stream" },
    { OF_LAYER(norm2), USES_DECODER, MIDDLE, width_d, 0, "norm" },
    { OF_LAYER(rstd2), USES_DECODER, MIDDLE, width_one, 1, "rstd" },
    { OF_LAYER(gate_up), USES_DECODER, MIDDLE, width_2f, 0, "gate and up" },
    { OF_LAYER(gated), USES_DECODER, MIDDLE, width_f, 0, "swiglu" },
    { OF_WORK(tail_x), USES_DECODER, ONE_U, width_d, 0, "tail" },
    { OF_WORK(tail_attended), USES_DECODER, ONE_U, width_attended, 0, "tail" },
    { OF_WORK(final), USES_DECODER, ONE_U, width_d, 0, "final stream" },
    { OF_WORK(final_x), USES_DECODER, ONE_R, width_d, 0, "scored rows" },
    { OF_WORK(hidden), USES_DECODER, ONE_R, width_d, 0, "scored rows" },
    { OF_WORK(final_rstd), USES_DECODER, ONE_R, width_one, 1, "rstd" },
    { SLOTS, 0, USES_SLOTS, SLOT_ROWS, width_kv, 0, "key/value memory" },

    { OF_WORK(logp), USES_SCORES, ONE_R, width_one, 1, "log-probs" },
    { OF_WORK(entropy), USES_SCORES, ONE_R, width_one, 1, "entropies" },
    { OF_WORK(hit), USES_SCORES, ONE_R, width_one, 1, "hits" },
    { OF_WORK(mean_logit), USES_SCORES, ONE_R, width_one, 1, "mean logits" },
    { OF_WORK(lse), USES_SCORES, ONE_R, width_one, 1, "log sums" },
    { OF_WORK(dlogp), USES_SCORES, ONE_R, width_one, 1, "log-prob gradients" },
    { OF_WORK(largest), USES_SCORES, ONE_R, width_slice_one, 1, "largest logits" },
    { OF_WORK(slice_scores), USES_SCORES, ONE_R, width_slice_scores, 1, "scores of slices" },
    { OF_WORK(slice_logits), USES_LOGITS, ONE_R, width_slice_v, 1, "logits of slices" },
    { OF_WORK(logits), USES_LOGITS, ONE_R, width_v, 1, "logits" },
    { OF_WORK(probes), USES_LOGITS, ONE_R, width_probes, 1, "probabilities" },

    { OF_WORK(dhidden), USES_BACKWARD, ONE_R, width_d, 0, "gradient" },
    { OF_WORK(dx), USES_BACKWARD, ONE_T, width_d, 0, "gradient" },
    { OF_WORK(dnorm), USES_BACKWARD, T_OR_R, width_d, 0, "gradient" },
    { OF_WORK(dqkv), USES_BACKWARD, ONE_T, width_q, 0, "gradient" },
    { OF_WORK(dattended), USES_BACKWARD, ONE_T, width_attended, 0, "gradient" },
    { OF_WORK(dgate_up), USES_BACKWARD, ONE_T, width_2f, 0, "gradient" },
    { OF_WORK(dgated), USES_BACKWARD, ONE_T, width_f, 0, "gradient" },
    { OF_WORK(dtail), USES_BACKWARD, ONE_U, width_d, 0, "gradient" },
    { OF_WORK(dtail_attended), USES_BACKWARD, ONE_U, width_attended, 0, "gradient" },

    { OF_WORK(projector_hidden), USES_PROJECTOR, FEATURE_ROWS, width_projector, 0, "projector" },
    { OF_WORK(projector_act), USES_PROJECTOR, FEATURE_ROWS, width_projector, 0, "projector" },
    { OF_WORK(projected), USES_PROJECTOR, IMAGE_ROWS, width_d, 0, "projector" },
    { OF_WORK(dprojected), USES_PROJECTOR_BACKWARD, IMAGE_ROWS, width_d, 0, "projector gradient" },
    { OF_WORK(dprojector_hidden), USES_PROJECTOR_BACKWARD, FEATURE_ROWS, width_projector, 0, "projector gradient" },
    { OF_WORK(dnewline), USES_PROJECTOR_BACKWARD, ONCE, width_newline, 1, "projector gradient" },
    { OF_WORK(dfeatures), USES_DFEATURES, FEATURE_ROWS, width_w, 0, "tower gradient" },

    { OF_WORK(resampler_positions), USES_PROJECTOR, ONCE, width_resampler_positions, 0, "resampler positions" },
    { OF_WORK(resampler_asked), USES_PROJECTOR, ONCE, width_queries, 0, "resampler queries" },
    { OF_WORK(resampler_asked_mean), USES_PROJECTOR, ONCE, width_queries_one, 1, "resampler mean" },
    { OF_WORK(resampler_asked_rstd), USES_PROJECTOR, ONCE, width_queries_one, 1, "resampler rstd" },
    { OF_WORK(resampler_in), USES_PROJECTOR, FEATURE_ROWS, width_resampler, 0, "resampler features" },
    { OF_WORK(resampler_in_mean), USES_PROJECTOR, FEATURE_ROWS, width_resampler_one, 1, "resampler mean" },
    { OF_WORK(resampler_in_rstd), USES_PROJECTOR, FEATURE_ROWS, width_resampler_one, 1, "resampler rstd" },
    { OF_WORK(resampler_values), USES_PROJECTOR, FEATURE_ROWS, width_resampler, 0, "resampler features" },
    { OF_WORK(resampler_keys), USES_PROJECTOR, FEATURE_ROWS, width_resampler, 0, "resampler features" },
    { OF_WORK(resampler_k), USES_PROJECTOR, FEATURE_ROWS, width_resampler, 0, "resampler keys" },
    { OF_WORK(resampler_v), USES_PROJECTOR, FEATURE_ROWS, width_resampler, 0, "resampler values" },
    { OF_WORK(resampler_q), USES_PROJECTOR, IMAGE_ROWS, width_resampler, 0, "resampler queries" },
    { OF_WORK(resampler_attended), USES_PROJECTOR, IMAGE_ROWS, width_resampler, 0, "resampler attention" },
    { OF_WORK(resampler_lse), USES_PROJECTOR, IMAGE_ROWS, width_resampler_heads, 1, "resampler lse" },
    { OF_WORK(resampler_out), USES_PROJECTOR, IMAGE_ROWS, width_resampler, 0, "resampler attention" },
    { OF_WORK(resampler_out_mean), USES_PROJECTOR, IMAGE_ROWS, width_resampler_one, 1, "resampler mean" },
    { OF_WORK(resampler_out_rstd), USES_PROJECTOR, IMAGE_ROWS, width_resampler_one, 1, "resampler rstd" },
    { OF_WORK(resampler_normed), USES_PROJECTOR, IMAGE_ROWS, width_resampler, 0, "resampler norm" },
    { OF_WORK(dresampler_out), USES_PROJECTOR_BACKWARD, IMAGE_ROWS, width_resampler, 0, "resampler gradient" },
    { OF_WORK(dresampler_attended), USES_PROJECTOR_BACKWARD, IMAGE_ROWS, width_resampler, 0, "resampler gradient" },
    { OF_WORK(dresampler_q), USES_PROJECTOR_BACKWARD, IMAGE_ROWS, width_resampler, 0, "resampler gradient" },
    { OF_WORK(dresampler_k), USES_PROJECTOR_BACKWARD, FEATURE_ROWS, width_resampler, 0, "resampler gradient" },
    { OF_WORK(dresampler_v), USES_PROJECTOR_BACKWARD, FEATURE_ROWS, width_resampler, 0, "resampler gradient" },
    { OF_WORK(dresampler_in), USES_PROJECTOR_BACKWARD, FEATURE_ROWS, width_resampler, 0, "resampler gradient" },
    { OF_WORK(dresampler_asked), USES_PROJECTOR_BACKWARD, ONCE, width_queries, 0, "resampler gradient" },
    { OF_WORK(dresampler_query), USES_PROJECTOR_BACKWARD, ONCE, width_queries, 1, "resampler gradient" },

    { OF_WORK(vision_pixels), USES_TOWER, IMAGES, width_image, 1, "pixels" },
    { OF_WORK(vision_patches), USES_TOWER, PATCHES, width_patch, 0, "patches" },
    { OF_WORK(vision_embedded), USES_TOWER, PATCHES, width_w, 0, "patch embeddings" },
    { OF_WORK(vision_pre), USES_TOWER, TOWER_ROWS, width_w, 0, "tower stream" },
    { OF_WORK(vision_pre_mean), USES_TOWER, TOWER_ROWS, width_one, 1, "tower mean" },
    { OF_WORK(vision_pre_rstd), USES_TOWER, TOWER_ROWS, width_one, 1, "tower rstd" },
    { OF_WORK(vision_final), USES_TOWER, TOWER_ROWS, width_w, 0, "tower stream" },
    { OF_WORK(vision_positions), USES_TOWER, ONCE, width_eva_positions, 0, "tower positions" },
    { OF_TOWER(x), USES_TOWER, TOWER_ROWS, width_w, 0, "tower stream" },
    { OF_TOWER(norm1), USES_TOWER, TOWER_ROWS, width_w, 0, "tower norm" },
    { OF_TOWER(mean1), USES_TOWER, TOWER_ROWS, width_one, 1, "tower mean" },
    { OF_TOWER(rstd1), USES_TOWER, TOWER_ROWS, width_one, 1, "tower rstd" },
    { OF_TOWER(qkv), USES_TOWER, TOWER_ROWS, width_3w, 0, "tower qkv" },
    { OF_TOWER(attended), USES_TOWER, TOWER_ROWS, width_w, 0, "tower attention" },
    { OF_TOWER(lse), USES_TOWER, TOWER_ROWS, width_tower_heads, 1, "tower lse" },
    { OF_TOWER(mid), USES_TOWER, TOWER_ROWS, width_w, 0, "tower stream" },
    { OF_TOWER(norm2), USES_TOWER, TOWER_ROWS, width_w, 0, "tower norm" },
    { OF_TOWER(mean2), USES_TOWER, TOWER_ROWS, width_one, 1, "tower mean" },
    { OF_TOWER(rstd2), USES_TOWER, TOWER_ROWS, width_one, 1, "tower rstd" },
    { OF_TOWER(fc1), USES_TOWER, TOWER_ROWS, width_tower_f, 0, "tower feed-forward" },
    { OF_TOWER(activated), USES_TOWER, TOWER_ROWS, width_tower_f, 0, "tower feed-forward" },
    { OF_WORK(vision_dx), USES_TOWER_BACKWARD, TOWER_ROWS, width_w, 0, "tower gradient" },
    { OF_WORK(vision_dnorm), USES_TOWER_BACKWARD, TOWER_ROWS, width_w, 0, "tower gradient" },
    { OF_WORK(vision_dqkv), USES_TOWER_BACKWARD, TOWER_ROWS, width_3w, 0, "tower gradient" },
    { OF_WORK(vision_dattended), USES_TOWER_BACKWARD, TOWER_ROWS, width_w, 0, "tower gradient" },
    { OF_WORK(vision_dff), USES_TOWER_BACKWARD, TOWER_ROWS, width_tower_f, 0, "tower gradient" },
    { OF_WORK(vision_dembedded), USES_TOWER_BACKWARD, PATCHES, width_w, 0, "tower gradient" },
    { OF_WORK(vision_dposition), USES_TOWER_BACKWARD, ONCE, width_eva_positions, 1, "tower gradient" },
};
enum { SLAB_ROWS = sizeof table / sizeof *table };

/* How many buffers of this row there are, and how many of them a step of these uses needs. */
static int copies(const ModelConfig *c, const SlabRow *r) {
    return r->owner == WORK ? 1 : r->owner == TOWER ? c->vision.layers : c->decoder.layers;
}
static int copies_needed(const ModelConfig *c, const SlabRow *r, unsigned uses) {
    if (!(r->uses & uses) || !r->width(c)) return 0;
    if (r->owner == LAYER) {
        int is_input = r->offset == offsetof(DecoderLayer, x);
        return uses & USES_KEEP || (uses & USES_KEEP_INPUTS && is_input) ? c->decoder.layers : 1;
    }
    if (r->owner == TOWER) { /* one block's buffers serve all unless backward comes */
        int run = c->vision.feature_layers;
        return uses & USES_TOWER_KEEP ? run : run < 1 ? c->vision.layers > 0 : 1;
    }
    return copies(c, r);
}

static int64_t rows_of(const ModelConfig *c, const SlabRow *r, int copy, const StepSize *s) {
    int64_t tower = s->images;
    switch (r->rows) {
    case ONE_T: return s->rows;
    case ONE_U: return s->tail;
    case MIDDLE: return s->uses & USES_KEEP && copy + 1 == c->decoder.layers ? s->tail : s->rows;
    case ONE_R: return s->scored;
    case T_OR_R: return s->rows > s->scored ? s->rows : s->scored;
    case ONCE: return 1;
    case IMAGE_ROWS: return s->image_rows;
    case FEATURE_ROWS: return s->feature_rows;
    case TOWER_ROWS: return tower * (c->vision.patches + 1);
    case PATCHES: return tower * c->vision.patches;
    case IMAGES: return tower;
    case SLOT_ROWS: return s->slots;
    }
    return 0;
}

static Slab *slab_of(Workspace *w, const SlabRow *r, int copy) {
    switch (r->owner) {
    case WORK: return (Slab *)((char *)w + r->offset);
    case LAYER: return (Slab *)((char *)&w->layers[copy] + r->offset);
    case TOWER: return (Slab *)((char *)&w->vision_layers[copy] + r->offset);
    case SLOTS: return &w->kv[copy];
    }
    return NULL;
}

int workspace_open(Model *m, Error *e) {
    Workspace *w = mem_new(1, sizeof *w, "workspace", e);
    if (!w) return -1;
    w->layers = mem_new((size_t)m->config.decoder.layers, sizeof *w->layers, "workspace layers", e);
    w->kv = mem_new((size_t)m->config.decoder.layers, sizeof *w->kv, "workspace key/value memory", e);
    w->vision_layers = mem_new((size_t)m->config.vision.layers, sizeof *w->vision_layers, "workspace tower layers", e);
    rope_scaled_frequencies(&m->config.decoder, w->frequencies);
    m->work = w;
    if (w->layers && w->kv && w->vision_layers) return 0;
    workspace_close(m);
    return -1;
}

void model_release(Model *m) {
    Workspace *w = m->work;
    for (int r = 0; r < SLAB_ROWS; r++)
        for (int i = 0; i < copies(&m->config, &table[r]); i++) {
            Slab *s = slab_of(w, &table[r], i);
            if (s->buf.at) m->k->free(s->buf);
            *s = (Slab){ 0 };
        }
    w->slots = 0;
    w->vision_positions_made = w->resampler_positions_made = 0;
}

void workspace_close(Model *m) {
    Workspace *w = m->work;
    if (!w) return;
    if (w->layers && w->kv && w->vision_layers) model_release(m);
    free(w->layers);
    free(w->kv);
    free(w->vision_layers);
    free(w->tail_rows);
    free(w->scored_in_tail);
    free(w->row_to_tail);
    free(w->tail_segments);
    free(w->slice_targets);
    free(w->slice_rows);
    free(w->slice_said);
    free(w->vision_rows);
    free(w->vision_segments);
    free(w->resampler_segments);
    free(w);
    m->work = NULL;
}

int64_t workspace_bytes(const Model *m) {
    int64_t bytes = 0;
    for (int r = 0; r < SLAB_ROWS; r++)
        for (int i = 0; i < copies(&m->config, &table[r]); i++) {
            const Slab *s = slab_of(m->work, &table[r], i);
            bytes += s->cap * (int64_t)dtype_size(s->buf.dtype);
        }
    return bytes;
}

static int slab_need(Model *m, Slab *s, DType dtype, int64_t count, const char *what, Error *e) {
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

int workspace_need(Model *m, const StepSize *s, Error *e) {
    for (int r = 0; r < SLAB_ROWS; r++)
        for (int i = 0, n = copies_needed(&m->config, &table[r], s->uses); i < n; i++)
            if (slab_need(m, slab_of(m->work, &table[r], i), table[r].is_fp32 ? FP32 : m->dtype,
                    rows_of(&m->config, &table[r], i, s) * table[r].width(&m->config), table[r].what, e))
                return -1;
    return 0;
}

int model_reserve(Model *m, const StepSize *s, Error *e) {
    if (workspace_need(m, s, e)) return -1;
    if (s->uses & USES_SLOTS && s->slots > m->work->slots) m->work->slots = s->slots;
    return 0;
}

void model_sizes(const ModelConfig *c, DType dtype, const StepSize *s, void (*visit)(void *context, const char *what, int64_t bytes), void *context) {
    for (int r = 0; r < SLAB_ROWS; r++) {
        int64_t bytes = 0, size = table[r].is_fp32 ? 4 : (int64_t)dtype_size(dtype);
        for (int i = 0, n = copies_needed(c, &table[r], s->uses); i < n; i++) bytes += rows_of(c, &table[r], i, s) * table[r].width(c) * size;
        if (bytes > 0) visit(context, table[r].what, bytes);
    }
}

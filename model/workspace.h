/* workspace.h - the buffers of a step, private to the model room.
 *
 * A Slab is a buffer that grows to the largest count asked of it and never shrinks; its content is undefined after it grew. What training
 * keeps for backward exists once per layer, everything else once. */
#ifndef RLAIFV_MODEL_WORKSPACE_H
#define RLAIFV_MODEL_WORKSPACE_H

#include "model/model.h"

enum { SLICE_SCORES = 6 }; /* numbers of a scored row that slices tell each other */

typedef struct Slab {
    Buf buf;
    int64_t cap;
} Slab;

/* One decoder block. x: residual stream entering; mid: after attention. */
typedef struct DecoderLayer {
    Slab x, norm1, rstd1, qkv, attended, lse, mid, norm2, rstd2, gate_up, gated;
} DecoderLayer;

/* One tower block. */
typedef struct VisionLayer {
    Slab x, norm1, mean1, rstd1, qkv, attended, lse, mid, norm2, mean2, rstd2, fc1, activated;
} VisionLayer;

struct Workspace {
    /* decoder */
    float frequencies[ROPE_HEAD_MOST / 2]; /* of the rotary embedding */
    DecoderLayer *layers;
    Slab final, final_x, hidden, final_rstd; /* stream leaving the last block (U rows), scored rows of it, their norm, its rstd */
    Slab tail_x, tail_attended;              /* last block: rows that matter, gathered */
    int *tail_rows, *scored_in_tail;         /* U row numbers; for each scored row its index among them */
    size_t tail_rows_cap, scored_in_tail_cap, row_to_tail_cap, tail_segments_cap;
    int *row_to_tail;
    int tail_n;
    AttentionSegment *tail_segments;
    int tail_segments_n;
    StepMode mode; /* of the last forward */
    int image_rows;
    Buf vision;
    /* projector */
    Slab projector_hidden, projector_act, projected; /* (feature rows, D), twice; (image rows, D) */
    /* resampler: queries, asked as normed, with positions; features through kv_proj, their norm, with positions; what attention reads; its result */
    Slab resampler_asked, resampler_asked_mean, resampler_asked_rstd, resampler_q;
    Slab resampler_in, resampler_in_mean, resampler_in_rstd, resampler_values, resampler_keys, resampler_k, resampler_v;
    Slab resampler_attended, resampler_lse, resampler_out, resampler_out_mean, resampler_out_rstd, resampler_normed;
    Slab dresampler_out, dresampler_attended, dresampler_q, dresampler_k, dresampler_v, dresampler_in, dresampler_asked, dresampler_query;
    Slab resampler_positions; /* (patches, D): the table at the size of the features' grid */
    int resampler_positions_made;
    AttentionSegment *resampler_segments;
    size_t resampler_segments_cap;
    /* key/value memory, one buffer of slots x 2KE per layer */
    Slab *kv;
    int slots;
    /* scoring */
    Slab logp, entropy, hit, mean_logit, lse, dlogp, logits, probes;
    /* of a slice of a model (slices.c): largest logits, what all ranks say of the rows, all ranks' logits; targets, and the numbers of the
     * rows */
    Slab largest, slice_scores, slice_logits;
    int *slice_targets, *slice_rows;
    float *slice_said; /* slice_scores on the host */
    size_t slice_targets_cap, slice_rows_cap, slice_said_cap;
    /* backward */
    Slab dx, dnorm, dqkv, dattended, dgate_up, dgated, dhidden, dtail, dtail_attended, dprojected, dprojector_hidden, dnewline, dfeatures;
    /* tower */
    VisionLayer *vision_layers;
    Slab vision_patches, vision_embedded, vision_pixels, vision_final;
    Slab vision_dx, vision_dnorm, vision_dqkv, vision_dattended, vision_dff, vision_dembedded, vision_pre, vision_pre_mean, vision_pre_rstd;
    Slab vision_positions, vision_dposition; /* EVA: (1 + patches, W), the table at the size of the image */
    int vision_positions_made;
    int vision_images;
    int *vision_rows; /* rows of the tower's stream that are features */
    size_t vision_rows_cap;
    AttentionSegment *vision_segments;
    size_t vision_segments_cap;
    /* dump */
    char dump_name[160], dump_path[PATH_SIZE];
};

int workspace_open(Model *m, Error *e);
void workspace_close(Model *m);
/* Makes every buffer of the uses large enough for the step: what each of them is and how large stands in one table (workspace.c). */
int workspace_need(Model *m, const StepSize *s, Error *e);
int64_t workspace_bytes(const Model *m);

/* projector.c: features (feature_rows, W) -> image rows (image_rows, D) and back; dvision may be none */
int projector_forward(Model *m, Buf vision, int image_rows, Error *e);
void projector_backward(Model *m, Buf dprojected, Buf vision, Buf dvision, int image_rows);
/* resampler.c: the same where a resampler stands in the projector's place */
int resampler_forward(Model *m, Buf vision, int image_rows, Error *e);
int resampler_backward(Model *m, Buf dprojected, Buf vision, Buf dvision, int image_rows, Error *e);
/* Writes `rows` x `width` of a buffer as one tensor if it is the one a dump asked for; {i} in the name stands for `layer`. */
int dump_write(Model *m, const char *name, int layer, Buf b, int rows, int width, Error *e);
/* The same of a product, (rows, inner) with weights (width, inner), that a block adds to the stream at once and keeps nowhere: it is computed again by
 * itself, in fp32, if it is the one. Of a slice it is what this slice adds. */
int dump_product(Model *m, const char *name, int layer, Buf x, Buf weights, Buf bias, int rows, int width, int inner, Error *e);

static inline Buf weight(const Model *m, ParamKind kind, int layer) { return params_weight(&m->params, kind, layer); }
/* The gradient of a tensor, or none when it is frozen. */
static inline Buf trained_grad(const Model *m, ParamKind kind, int layer) { return params_grad(&m->params, kind, layer); }
static inline int unit_of(const Model *m, ParamKind kind, int layer) { return params_find(&m->params, kind, layer)->unit; }
/* See UnitMover in model.h. */
static inline int weights_need(Model *m, int unit, int next, Error *e) {
    return m->mover ? m->mover->weights_need(m->mover->context, unit, next, e) : 0;
}
static inline int grads_need(Model *m, int unit, Error *e) { return m->mover ? m->mover->grads_need(m->mover->context, unit, e) : 0; }
static inline int grads_done(Model *m, int unit, Error *e) { return m->mover ? m->mover->grads_done(m->mover->context, unit, e) : 0; }
/* linear_backward_weight, or nothing when the weight is frozen. */
static inline void linear_grads(const Model *m, Buf dw, Buf db, Buf dy, Buf x, int M, int N, int K) {
    if (dw.at) m->k->linear_backward_weight(dw, db, dy, x, M, N, K);
}

#endif

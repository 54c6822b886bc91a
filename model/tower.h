/* tower.h - what the two kinds of vision tower share, private to the model room. */
#ifndef RLAIFV_MODEL_TOWER_H
#define RLAIFV_MODEL_TOWER_H

#include "model/workspace.h"

typedef struct TowerPass {
    int images, rows; /* rows of the stream: the class token's and the patches', image by image */
    int save;         /* what the way back reads is kept */
    AttentionPlan plan;
} TowerPass;

/* From patches (workspace: vision_patches) to *stream; and back from dx, the gradient of that stream, which is overwritten. */
int clip_forward(Model *m, const TowerPass *pass, Buf *stream, Error *e);
void clip_backward(Model *m, const TowerPass *pass, Buf dx);
int eva_forward(Model *m, const TowerPass *pass, Buf *stream, Error *e);
int eva_backward(Model *m, const TowerPass *pass, Buf dx, Error *e);

/* Where block l keeps its activations, and where its result goes: the next block's input, or the stream that leaves the last. */
static inline VisionLayer *tower_block(const Model *m, const TowerPass *pass, int l) { return &m->work->vision_layers[pass->save ? l : 0]; }
static inline Buf tower_next(const Model *m, const TowerPass *pass, int l) {
    return l + 1 == m->config.vision.feature_layers ? m->work->vision_final.buf : tower_block(m, pass, l + 1)->x.buf;
}

/* The products that end a block's two branches, and their biases. */
typedef struct TowerProducts {
    ParamKind attention, attention_bias, mlp, mlp_bias;
} TowerProducts;
/* Writes what a dump asked for of block l, whose result is `next`. */
int tower_block_dump(Model *m, const TowerPass *pass, int l, const TowerProducts *p, Buf next, Error *e);

#endif

/* model.h - a LLaVA-like vision-language model over a Forest.
 *
 * Shapes glossary (also of the sources): T rows of a step, D decoder width, H query heads, K key/value heads, E head size, F feed-forward
 * width, V vocabulary, R scored rows, B images, P rows of an image (patches, class token dropped), W tower width, S image side.
 *
 * One step:
 *     forest_segment / forest_extend / forest_score ...   build it
 *     model_forward(m, f, vision, mode)                   hidden states of the scored rows
 *     model_score(m, f, ...) or model_logits(m, f)        log-probs, or logits for sampling and probing
 *     model_backward(m, f, dlogp)                         gradients, added to m->params.grads (mode TRAIN)
 * `vision` holds tower features, (feature rows, W): of model_encode for a frozen tower (cache them by content), or of this step's
 * model_encode with save when the tower is trained, in which case model_backward carries the gradient on into the tower.
 *
 * Image rows are what the projector makes of the features, which a Forest refers to: one of each feature row, in order, after
 * config_image_lead rows that the model has learned (image_newline). anyres.h says which of them the decoder reads of a tiled image.
 *
 * Buffers of a step are kept and reused; they grow to the largest step seen. Nothing here depends on the device. */
#ifndef RLAIFV_MODEL_H
#define RLAIFV_MODEL_H

#include "kernels/comm/comm.h"
#include "model/config.h"
#include "model/forest.h"
#include "model/params.h"

typedef enum StepMode {
    STEP_TRAIN, /* keeps what backward needs */
    STEP_SCORE, /* no gradients, no key/value memory */
    STEP_CACHED /* keys and values go to the slots of the forest */
} StepMode;

/* Which buffers a step uses. */
enum {
    USES_DECODER = 1,
    USES_KEEP = 2,      /* what the decoder's backward reads, for every block */
    USES_SCORES = 4,    /* log-probs and what the loss makes of them */
    USES_LOGITS = 8,
    USES_BACKWARD = 16, /* of head and decoder */
    USES_PROJECTOR = 32,
    USES_PROJECTOR_BACKWARD = 64,
    USES_TOWER = 128,
    USES_TOWER_KEEP = 256,
    USES_TOWER_BACKWARD = 512,
    USES_DFEATURES = 1024, /* between projector and tower */
    USES_SLOTS = 2048,     /* key/value memory */
    USES_KEEP_INPUTS = 4096, /* in place of USES_KEEP: every block's input and one block's activations */
    USES_TRAIN = USES_DECODER | USES_SCORES | USES_BACKWARD
};

/* The size of a step. */
typedef struct StepSize {
    unsigned uses;
    int64_t rows, tail, scored; /* T; rows of the last block (tail_find in decoder.c; at most T); R */
    int64_t image_rows;         /* of all images of the step, the learned ones included */
    int64_t feature_rows;       /* of all images */
    int64_t images;             /* tiles of one call of model_encode */
    int64_t slots;
} StepSize;

typedef struct Workspace Workspace;

/* Who brings weights to a unit of the decoder and takes its gradients away, where ranks hold parts of them (shard.h). Each may fail. Projector and
 * tower are whole everywhere. */
typedef struct UnitMover {
    void *context;
    /* Weights of `unit` are read until two others have been asked for; `next` is asked for after it (-1: not known). */
    int (*weights_need)(void *context, int unit, int next, Error *e);
    /* Gradients of `unit` are added to from here on; called again before it is done, it does nothing. */
    int (*grads_need)(void *context, int unit, Error *e);
    int (*grads_done)(void *context, int unit, Error *e); /* nothing more comes in this backward */
} UnitMover;

typedef struct Model {
    const Kernels *k;
    DType dtype;
    int recompute; /* a training step computes each block again in backward in place of keeping its activations */
    ModelConfig config;
    Comm *slices; /* the ranks that hold the slices of this model, each one; NULL: it is whole (borrowed) */
    Params params;
    const UnitMover *mover; /* NULL: all weights and gradients stay where they are */
    Workspace *work; /* activations (workspace.c) */
    char folder[PATH_SIZE]; /* where it was read from: export copies its tokenizer and configs */
} Model;

/* Reads a checkpoint folder. 0 or -1 with nothing held. */
int model_load(Model *m, const Kernels *k, const char *folder, DType dtype, Error *e);
/* The same, cut over the ranks of a group (NULL, or one rank: whole): each reads its slice, and from then on all call the same functions of the model with
 * equal arguments. What they return is equal on all. */
int model_load_slice(Model *m, const Kernels *k, Comm *slices, const char *folder, DType dtype, Error *e);
/* A model with random weights in the shape of DIR/config.json (no weight files needed). */
int model_init(Model *m, const Kernels *k, const char *folder, DType dtype, uint64_t seed, Error *e);
void model_free(Model *m);

/* Makes the buffers of steps up to this size beforehand, so that such steps allocate none. They grow only; the content of those that grow is
 * lost, key/value memory (`slots` tokens in every layer) included. */
int model_reserve(Model *m, const StepSize *s, Error *e);
/* Lets them all go, so that the next phase's are not made beside them. */
void model_release(Model *m);
/* Visits the bytes of every buffer that model_reserve would make; needs no model. */
void model_sizes(const ModelConfig *c, DType dtype, const StepSize *s, void (*visit)(void *context, const char *what, int64_t bytes), void *context);

/* Tower: pixels (B, 3, S, S) host fp32, normalised -> features (B * P, W) in model dtype. save: keep what backward needs (B of one step). */
int model_encode(Model *m, Buf features, const float *pixels, int images, int save, Error *e);

/* The way back through the tower from dL/dfeatures of the last model_encode with save: adds to the tower's gradients. model_backward calls it for a trained tower. */
int model_encode_backward(Model *m, Buf dfeatures, Error *e);

int model_forward(Model *m, Forest *f, Buf vision, StepMode mode, Error *e);
/* FLOPs of what stands between tower and decoder, forward, for one tile. */
double model_projector_flops(const ModelConfig *c);

/* Per scored row (host arrays of f->scored_n, each may be NULL): log-prob of its target, entropy, whether the target is the argmax, mean logit. */
int model_score(Model *m, const Forest *f, float *logp, float *entropy, float *hit, float *mean_logit, Error *e);
/* Device log-probs of the last model_score, (R) fp32: what preference_loss reads. */
Buf model_logp(const Model *m);
/* Logits (R, V) fp32 of the scored rows, on the device, valid until the next step. Queued: what fails in them is for the next sync to say. */
int model_logits(Model *m, const Forest *f, Buf *logits, Error *e);
/* Key/value memory: `n` slots from `to` get what those from `from` hold, in every layer; the two do not overlap. Queued. */
void model_kv_copy(Model *m, int from, int to, int n);
/* Probability of each of n (at most MODEL_PROBES) ids over the full vocabulary: p (R, n) on the host. */
enum { MODEL_PROBES = 8 };
int model_probe(Model *m, const Forest *f, const int *ids, int n, float *p, Error *e);

/* dlogp (R) fp32 device: dL/dlogp of each scored row. Adds gradients of every trained part. */
int model_backward(Model *m, const Forest *f, Buf dlogp, Error *e);
/* A device buffer of R fp32 for dlogp, kept by the workspace. */
Buf model_dlogp(Model *m, const Forest *f, Error *e);

/* params_hash of the whole model. Whether weights could be read is for the next sync to say. */
int model_hash(Model *m, char out[HASH_TEXT], Error *e);

/* After weights were stepped or loaded: cached packs, and tables made of weights, are dropped. */
void model_weights_changed(Model *m);

/* Asks for an activation by its name (dump.c): the first step that computes it writes it to `path` as safetensors, (rows, width) fp32. Refuses names that
 * this model does not compute. model_dump_waits: it was asked for and not computed yet. */
int model_dump(Model *m, const char *name, const char *path, Error *e);
int model_dump_waits(const Model *m);

/* Bytes held by weights, what params_train_begin made, activations and key/value memory. */
int64_t model_bytes(const Model *m);

#endif

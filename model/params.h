/* params.h - all parameters of a model: one arena, one table of names and shapes.
 *
 * The table (params.c) is the only place that says which tensors exist, their shapes and their order. Because the arena is one range, AdamW,
 * norms, checkpoints and sharding are loops over a few ranges. Tensors that one product uses together stand next to each other, so
 * (q, k, v) is one matrix (H*E + 2*K*E, D) and (gate, up) one of (2F, D).
 *
 * The arena holds projector, decoder, tower, in this order, so that the training state of a model whose tower is frozen (as published LLaVA
 * recipes do) is the arena's beginning: up to trained_count. */
#ifndef RLAIFV_MODEL_PARAMS_H
#define RLAIFV_MODEL_PARAMS_H

#include "model/config.h"
#include "model/safetensors.h"

enum { PARAM_NAME = 160 }; /* no name of any layout is longer */

typedef enum ParamPart { PART_VISION, PART_PROJECTOR, PART_DECODER, PARTS } ParamPart;

/* Which tensor of the table. Per-layer kinds repeat for each block. New kinds come last: hashes and initial weights depend on the numbers. */
typedef enum ParamKind {
    P_VISION_CLASS, P_VISION_PATCH, P_VISION_POSITION, P_VISION_PRE_W, P_VISION_PRE_B,
    P_VISION_LN1_W, P_VISION_LN1_B, P_VISION_Q_W, P_VISION_K_W, P_VISION_V_W, P_VISION_Q_B, P_VISION_K_B, P_VISION_V_B, P_VISION_O_W, P_VISION_O_B,
    P_VISION_LN2_W, P_VISION_LN2_B, P_VISION_FC1_W, P_VISION_FC1_B, P_VISION_FC2_W, P_VISION_FC2_B,
    P_VISION_POST_W, P_VISION_POST_B,
    P_PROJECTOR_1_W, P_PROJECTOR_1_B, P_PROJECTOR_2_W, P_PROJECTOR_2_B,
    P_EMBED, P_ATTN_NORM, P_Q, P_K, P_V, P_O, P_FF_NORM, P_GATE, P_UP, P_DOWN, P_NORM, P_HEAD,
    P_NEWLINE,
    /* OmniLMM's tower (eva.c; the bias of its keys is not a parameter, and stays zero) and resampler (resampler.c) */
    P_EVA_CLASS, P_EVA_POSITION, P_EVA_PATCH_W, P_EVA_PATCH_B,
    P_EVA_QKV_W, P_EVA_Q_B, P_EVA_K_B, P_EVA_V_B, P_EVA_O_W, P_EVA_O_B, P_EVA_LN1_W, P_EVA_LN1_B,
    P_EVA_FC1_W, P_EVA_FC1_B, P_EVA_FC2_W, P_EVA_FC2_B, P_EVA_LN2_W, P_EVA_LN2_B,
    P_EVA_NORM_W, P_EVA_NORM_B,
    P_RESAMPLER_POSITION, P_RESAMPLER_QUERY, P_RESAMPLER_KV, P_RESAMPLER_IN_W, P_RESAMPLER_IN_B, P_RESAMPLER_OUT_W, P_RESAMPLER_OUT_B,
    P_RESAMPLER_LN_Q_W, P_RESAMPLER_LN_Q_B, P_RESAMPLER_LN_KV_W, P_RESAMPLER_LN_KV_B, P_RESAMPLER_LN_POST_W, P_RESAMPLER_LN_POST_B, P_RESAMPLER_PROJ,
    P_Q_B, P_K_B, P_V_B,
    PARAM_KINDS
} ParamKind;

/* How a tensor is dealt over the slices of a model (config_slice): whole in each of them, or as runs of its rows, or of its columns. */
typedef enum ParamCut { CUT_NONE, CUT_ROWS, CUT_COLUMNS } ParamCut;

typedef struct Param {
    ParamKind kind;
    ParamPart part;
    int layer;       /* -1 for tensors outside blocks */
    int ndim;
    int64_t shape[4], count, offset; /* offset in elements from the arena's start; of a slice, what it has */
    ParamCut cut;        /* CUT_NONE in a whole model */
    int64_t whole_offset; /* in the arena of the whole model */
    int used;        /* 0: carried for export only (the tower's blocks beyond the feature layer, and its post norm) */
    int constant;    /* never trained: a table that its makers computed */
    int absent;      /* an unused tensor that the checkpoint does not have: not exported either */
    TensorType stored; /* in the checkpoint that was read: F16, BF16, else F32 */
    int trained;     /* set by params_mark_trained */
    int unit;
} Param;

/* Tensors that are read together: a block, what stands before blocks or after them, the projector. Weights and gradients may move between
 * ranks by the unit (shard.h), so their addresses are asked for by the unit. */
typedef struct ParamUnit {
    int64_t offset, count; /* elements of the arena, gaps between its tensors included */
    int cut;               /* holds a tensor that is */
    Buf weights, grads;    /* where they are now; none: elsewhere, or frozen */
} ParamUnit;

typedef struct Params {
    const ModelConfig *config;
    Layout layout;
    int n, units_n;
    Param *list;
    ParamUnit *units;
    int64_t count;      /* elements of the arena, padding included (tensors that must adjoin do; others start at multiples of 16) */
    int64_t whole_count; /* the same of the whole model */
    Buf weights;        /* model dtype */
    Buf master, grads, m, v; /* fp32, while training only; master only for BF16. At the weights' offsets, unless shard.h dealt them over ranks */
    int64_t trained_count;   /* up to the end of the last trained tensor. 0 when not training */
    struct ParamIndex {
        int first, stride; /* list[first + layer * stride]; stride 0 outside blocks; first -1 when the model has none */
    } index[PARAM_KINDS];
} Params;

/* Lays the table out for a config, of a whole model or a slice (no memory for weights yet). */
int params_plan(Params *p, const ModelConfig *c, Error *e);
/* The shape that a tensor has in the whole model. */
void params_whole_shape(const Params *p, const Param *q, int64_t shape[4]);
/* Where element i of a tensor is in the whole one; *run: so many elements from it on lie side by side in both. */
int64_t params_whole_at(const Params *p, const Param *q, int64_t i, int64_t *run);
/* Lets the table go, of Params that have no weights. */
void params_plan_free(Params *p);
/* The table's entry; layer -1 for tensors outside blocks. The head of a tied model is its embedding table. Exists by construction: asserts. */
const Param *params_find(const Params *p, ParamKind kind, int layer);
/* The element offset of a tensor. */
int64_t params_offset(const Params *p, ParamKind kind, int layer);
/* 1 when a tensor of the part takes part in training (between params_mark_trained and params_train_end): the part is not frozen and forward uses it. */
int params_part_is_trained(const Params *p, ParamPart part);
static inline Buf params_weight(const Params *p, ParamKind kind, int layer) {
    const Param *q = params_find(p, kind, layer);
    const ParamUnit *u = &p->units[q->unit];
    return buf_at(u->weights, q->offset - u->offset);
}
/* BUF_NONE for a tensor that is not trained. */
static inline Buf params_grad(const Params *p, ParamKind kind, int layer) {
    const Param *q = params_find(p, kind, layer);
    const ParamUnit *u = &p->units[q->unit];
    return q->trained && u->grads.at ? buf_at(u->grads, q->offset - u->offset) : BUF_NONE;
}
/* Says where the units of an arena are that is held whole. */
void params_units_at(Params *p, Buf weights, Buf grads);

/* The name of a tensor in a layout, in `out` (names.c), and the part of it that layouts share, {i} standing for the layer. */
const char *params_suffix(ParamKind kind);
void params_name(const Param *q, Layout layout, char out[PARAM_NAME]);

/* Reads the checkpoint in `folder` into p->weights, allocated here: layout recognised by its names, every tensor present once with the right
 * shape, stray ones refused by name (known harmless ones such as rotary inv_freq are skipped). A missing tensor is named, with the nearest name
 * the file has. A slice reads what it holds, and no more. */
int params_load(Params *p, const Kernels *k, DType dtype, const char *folder, Error *e);
/* Random weights: linear N(0, 1 / fan_in), attention-out and ff-out further divided by sqrt(2 layers), norms 1, embeddings N(0, .5), head N(0, .02),
 * tower positions and the resampler's queries N(0, .02), its positions sines and cosines, from `seed`, independent of the dtype. A slice gets what the whole model has in its place. */
int params_init(Params *p, const Kernels *k, DType dtype, Layout layout, uint64_t seed, Error *e);

/* Where an export gets its weights: `unit` leaves those of a unit, fp32 or in the model's dtype, on the device until it is called again; of a unit that is
 * cut those of all slices, one after another. It is asked for every unit in turn. */
typedef struct ParamSource {
    void *context;
    int (*unit)(void *context, int unit, Buf *weights, Error *e);
} ParamSource;

enum { TENSOR_AS_STORED = TENSOR_TYPES }; /* each tensor in the type that it was read in */
/* Writes a checkpoint folder in layout p->layout and type `store` (F32, F16, which refuses what is beyond its range, BF16, or TENSOR_AS_STORED; weights from `source`, or from where they are when it is NULL: masters where there are any): safetensors (shards of at most 5 GB
 * with an index), and copies config.json, tokenizer, preprocessor, chat template, generation_config (made sane) and the vision folder from `like`. */
int params_export_from(const Params *p, const Kernels *k, const ParamSource *source, TensorType store, const char *like, const char *folder, Error *e);
static inline int params_export(const Params *p, const Kernels *k, TensorType store, const char *like, const char *folder, Error *e) {
    return params_export_from(p, k, NULL, store, like, folder, e);
}

/* 1 when the tensor takes part in training with these parts frozen (bit mask of 1 << ParamPart). */
static inline int params_may_train(const Param *q, unsigned frozen) { return q->used && !q->constant && !(frozen >> q->part & 1); }
/* Elements up to the end of the last tensor that would train. */
int64_t params_trained_count(const Params *p, unsigned frozen);
/* Sets trained and trained_count; refuses when nothing is left to train. */
int params_mark_trained(Params *p, unsigned frozen, Error *e);
/* Gradients, moments and master weights for every part not frozen, whole, for callers that step by themselves; training goes by shard.h, which deals
 * them over ranks. */
int params_train_begin(Params *p, const Kernels *k, unsigned frozen, Error *e);
void params_train_end(Params *p, const Kernels *k);
void params_free(Params *p, const Kernels *k);
/* The hash of the weights as stored, for cache keys: the sum over runs of 8 elements of each run's XXH3, seeded by its tensor and place, so that slices sum
 * theirs and all get the hash of the whole model. Whether the weights could be read is for k->sync to say. */
typedef struct ParamSums {
    uint64_t cut, whole; /* over tensors that are cut, and those that every slice holds whole */
} ParamSums;
ParamSums params_sums(const Params *p, const Kernels *k);
void params_sums_hash(const Params *p, ParamSums s, char out[HASH_TEXT]); /* s.cut summed over the slices */
void params_hash(const Params *p, const Kernels *k, char out[HASH_TEXT]); /* of a whole model */

#endif

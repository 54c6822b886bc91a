/* config.h - the shape of a checkpoint, as its config.json says it, class defaults applied (hf_config.c). */
#ifndef RLAIFV_MODEL_CONFIG_H
#define RLAIFV_MODEL_CONFIG_H

#include "base/error.h"
#include "base/file.h"
#include "kernels/kernels.h"

/* The naming layouts of a LLaVA checkpoint (names.c). */
typedef enum Layout {
    LAYOUT_HUB,      /* language_model.model.*, vision_tower.vision_model.*, multi_modal_projector.* */
    LAYOUT_ORIGINAL, /* model.layers.*, model.mm_projector.{0,2}, model.vision_tower.vision_tower.vision_model.* */
    LAYOUT_V5,       /* as Transformers 5 saves a model made from scratch: like hub without vision_model. */
    LAYOUT_MEMORY,   /* as Transformers 5 names them in memory: model.language_model.*, model.vision_tower.*, lm_head */
    LAYOUT_TEXT,     /* a text decoder alone: model.layers.*, lm_head */
    LAYOUT_OMNILMM,  /* model.vision_tower.* with timm's names, model.resampler.*, model.layers.*, lm_head */
    LAYOUTS
} Layout;
extern const char *const layout_names[LAYOUTS];

/* Which tower: CLIP's pre-norm blocks (clip.c), or EVA-02-enormous', whose norms stand behind the branches (eva.c). */
typedef enum TowerKind { TOWER_CLIP, TOWER_EVA } TowerKind;

typedef struct VisionConfig {
    TowerKind kind;
    int width, ff, layers, heads, image_side, patch; /* layers 0: a text model */
    int patches;                                    /* (image_side / patch)^2 */
    int feature_layers;                             /* blocks that run: hidden_states[feature_layer] */
    int keep_class;                                 /* vision_feature_select_strategy "full" */
    int positions_side; /* EVA: rows and columns of the grid that its table of positions is for */
    float eps;
    Activation activation;
} VisionConfig;

typedef struct DecoderConfig {
    int width, ff, layers, heads, kv_heads, head_size, vocab, positions;
    float eps, rope_theta;
    int bos, eos, pad;
    int tied; /* lm_head is the embedding table */
    int slice, slices; /* slices above 1: heads, kv_heads and ff are those of one of so many equal slices (config_slice); vocab stays the whole one */
} DecoderConfig;

typedef struct ModelConfig {
    VisionConfig vision;
    DecoderConfig decoder;
    int image_token;  /* id of the image placeholder, -1 when the layout has none */
    int tile_rows;    /* rows of features of one pass of the tower: patches, + 1 when the class token is kept */
    int image_tokens; /* rows an image occupies in the decoder, at most */
    int queries, resampler_heads; /* rows an image occupies when a resampler stands in the projector's place (resampler.c); else 0 */
    int squash; /* images are always resized to the tower's square, whatever their aspect */
    float image_mean[3], image_std[3];
    char model_type[64], vision_folder[PATH_SIZE]; /* vision_folder: where the tower's own config (and weights) stand in the original layout */
} ModelConfig;

/* Reads DIR/config.json (and preprocessor_config.json, and the tower's config in the original layout). Refuses unknown architectures, sizes
 * that make no sense (each bounded), and head counts that do not divide. */
int config_load(const char *folder, ModelConfig *out, Error *e);

/* Makes of a whole model's config that of slice `slice` of `slices`, as one rank of a tensor-parallel group holds it: heads, key/value heads, columns of
 * the feed-forward and rows of lm_head are divided. Refuses, by the name of what does not divide, and tied models. */
int config_slice(ModelConfig *c, int slice, int slices, const char *folder, Error *e);
static inline int config_slices(const ModelConfig *c) { return c->decoder.slices > 1 ? c->decoder.slices : 1; }
/* Rows of lm_head here, and the first of them. */
static inline int config_head_rows(const ModelConfig *c) { return c->decoder.vocab / config_slices(c); }
static inline int config_head_first(const ModelConfig *c) { return c->decoder.slice * config_head_rows(c); }

#endif

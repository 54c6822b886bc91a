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

/* How the frequencies of the rotary embedding differ from theta's powers (rope.c). */
typedef enum RopeKind { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3 } RopeKind;
typedef struct RopeScaling {
    RopeKind kind;
    float factor, low, high; /* low, high: bounds of llama3, in turns within `original` positions */
    int original;
} RopeScaling;

enum { EOS_MOST = 8 };

typedef struct DecoderConfig {
    int width, ff, layers, heads, kv_heads, head_size, vocab;
    int positions; /* that a sequence may have: max_position_embeddings, or the window where that is less */
    int window;    /* keys that a token attends to, itself among them; 0: all. No sequence is longer, so it never shows */
    float eps, rope_theta;
    RopeScaling rope;
    int bos, pad;
    int eos[EOS_MOST], eos_n; /* every id that ends an answer, by config.json and generation_config.json */
    int qkv_bias;             /* query, key and value have biases */
    int tied;                 /* lm_head is the embedding table */
    int slice, slices; /* slices above 1: heads, kv_heads and ff are those of one of so many equal slices (config_slice); vocab stays the whole one */
} DecoderConfig;

enum { GRIDS_MOST = 64 };

typedef struct ModelConfig {
    VisionConfig vision;
    DecoderConfig decoder;
    int image_token;  /* id of the image placeholder, -1 when the layout has none */
    int tile_rows;    /* rows of features of one pass of the tower: patches, + 1 when the class token is kept */
    int image_tokens; /* rows an image occupies in the decoder, at most */
    int queries, resampler_heads; /* queries above 0: the rows of an image in the decoder, made by a resampler in the projector's place (resampler.c) */
    int squash; /* images are always resized to the tower's square, whatever their aspect */
    int tiles;        /* passes of the tower an image takes, at most: 1 unless it is tiled */
    int newline;      /* rows of tiled images end with a learned row, `image_newline` */
    int grids_n;      /* above 0: images are cut into tiles (anyres.h), one of these ways */
    struct TileGrid {
        int down, across; /* tiles */
    } grids[GRIDS_MOST];
    float image_mean[3], image_std[3];
    char model_type[64], vision_folder[PATH_SIZE]; /* vision_folder: where the tower's own config (and weights) stand in the original layout */
} ModelConfig;

/* Reads DIR/config.json (and generation_config.json, preprocessor_config.json, and the tower's config in the original layout). Refuses unknown architectures, sizes
 * that make no sense (each bounded), and head counts that do not divide. */
int config_load(const char *folder, ModelConfig *out, Error *e);

/* 1 for a checkpoint of the original LLaVA code, whose decoder's keys stand at the top. */
int config_is_original(const ModelConfig *c);
/* Adds to an error about a sequence that is too long why the model's positions end where they do. */
int config_explain_positions(const DecoderConfig *d, Error *e); /* -1 */

/* Makes of a whole model's config that of slice `slice` of `slices`, as one rank of a tensor-parallel group holds it: heads, key/value heads, columns of
 * the feed-forward and rows of lm_head are divided. Refuses, by the name of what does not divide, and tied models. */
int config_slice(ModelConfig *c, int slice, int slices, const char *folder, Error *e);
static inline int config_slices(const ModelConfig *c) { return c->decoder.slices > 1 ? c->decoder.slices : 1; }
/* Rows of lm_head here, and the first of them. */
static inline int config_head_rows(const ModelConfig *c) { return c->decoder.vocab / config_slices(c); }
/* Rows of the projector's output before those of images: the learned end of a row of patches (P_NEWLINE). */
static inline int config_image_lead(const ModelConfig *c) { return c->newline; }
/* Of those of images: that one tile gives; that `tiles` tiles give, the lead included; and the rows of features they are made of. */
static inline int config_rows_of_tile(const ModelConfig *c) { return c->queries ? c->queries : c->tile_rows; }
static inline int config_image_rows(const ModelConfig *c, int tiles) { return config_image_lead(c) + tiles * config_rows_of_tile(c); }
static inline int config_feature_rows(const ModelConfig *c, int image_rows) {
    return (image_rows - config_image_lead(c)) / config_rows_of_tile(c) * c->tile_rows;
}
static inline int config_head_first(const ModelConfig *c) { return c->decoder.slice * config_head_rows(c); }

#endif

/* hf_config.h - what the readers of config.json share, private to the model room: hf_config.c, and families that have files of their own.
 * `where` names the file in messages. */
#ifndef RLAIFV_MODEL_HF_CONFIG_H
#define RLAIFV_MODEL_HF_CONFIG_H

#include "base/json.h"
#include "model/config.h"
#include "model/image.h"

/* A few times the largest published models of these families: a size beyond them is a broken file, and products of them stay far below
 * 2^63. */
enum {
    MOST_WIDTH = 1 << 16,
    MOST_FF = 1 << 18,
    MOST_LAYERS = 1 << 10,
    MOST_HEADS = 1 << 10,
    MOST_VOCAB = 1 << 22,
    MOST_POSITIONS = 1 << 24
};
enum { MOST_SIDE = IMAGE_FIT_MOST, MOST_PATCH = 1 << 8, MOST_PATCHES = 1 << 14, HEAD_MULTIPLE = 8 };

/* The keys of a decoder of a family ("llama", "mistral", "qwen2"); absent ones have its class's defaults. */
int hf_read_decoder(const json_t *o, const char *where, const char *family, DecoderConfig *d, Error *e);
/* A flag that must be `wanted`, as it is when absent if preset says so; `why` is the hint otherwise. */
int hf_need_flag(const json_t *o, const char *key, const char *where, int preset, int wanted, const char *why, Error *e);
/* Refuses heads that do not divide a width, or whose size attention does not take. */
int hf_heads_fit(const char *where, const char *what, int width, int heads, Error *e);
/* Refuses what a tower cannot be; sets v->patches. */
int hf_check_vision(const char *where, VisionConfig *v, Error *e);
/* Looks for the folder of a tower called `name`: the name itself when absolute, else below the checkpoint, else beside it, by full name and
 * by last part; the first whose config.json `read` takes. 1 and its path in c->vision_folder, 0 when there is none, -1 for one that is
 * refused. */
int hf_find_tower(const char *folder, const char *name, int (*read)(const char *path, VisionConfig *v, Error *e), ModelConfig *c, Error *e);

/* omnilmm_config.c */
int omnilmm_load(const char *folder, const json_t *o, const char *where, ModelConfig *c, Error *e);

#endif

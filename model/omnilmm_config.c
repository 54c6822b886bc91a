/* omnilmm_config.c - owns the reading of OmniLMM's config.json: Mistral's keys for the decoder, and beside them what says how an image
 * becomes num_query rows.
 *
 * The tower is known by timm's name, eva02_enormous_patch14_clip_224; a folder of that name with a config.json in timm's form
 * (architecture, and model_args that say what differs) describes another size of it. Its last block is not used, and the image is read at
 * image_size, whatever the tower was made for. Refuses other architectures and arguments that change what is computed. */
#include "model/hf_config.h"

#include <math.h>
#include <string.h>

static const char architecture[] = "eva02_enormous_patch14_clip_224";

/* A bounded integer of model_args, `preset` when absent. */
static int argument(const json_t *args, const char *key, const char *where, int most, int preset, int *out, Error *e) {
    int64_t value = preset;
    if (json_may_integer(args, key, where, 1, most, &value, e)) return -1;
    *out = (int)value;
    return 0;
}

static int check_arguments(const json_t *args, const char *where, Error *e) {
    static const char *const known[] = { "img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio" };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)args, key, value) {
        size_t i = 0, n = sizeof known / sizeof *known;
        while (i < n && strcmp(key, known[i])) i++;
        if (i < n) continue;
        return error_what(e, "unsupported tower"), error_where(e, "%s: model_args", where), error_found(e, "\"%.60s\"", key),
               error_expected(e, "img_size, patch_size, embed_dim, depth, num_heads or mlp_ratio");
    }
    return 0;
}

/* The tower from model_args (NULL: as published); its image side is still that of the table of positions. */
static int read_arguments(const json_t *args, const char *where, VisionConfig *v, Error *e) {
    double ratio = 15360.0 / 1792.0;
    *v = (VisionConfig){ .kind = TOWER_EVA, .eps = 1e-6f, .activation = GELU };
    if (args && check_arguments(args, where, e)) return -1;
    if (argument(args, "img_size", where, MOST_SIDE, 224, &v->image_side, e) ||
        argument(args, "patch_size", where, MOST_PATCH, 14, &v->patch, e) ||
        argument(args, "embed_dim", where, MOST_WIDTH, 1792, &v->width, e) ||
        argument(args, "depth", where, MOST_LAYERS, 64, &v->layers, e) ||
        argument(args, "num_heads", where, MOST_HEADS, 16, &v->heads, e) || json_may_number(args, "mlp_ratio", where, &ratio, e))
        return -1;
    if (!(ratio > 0) || (int64_t)v->width * ratio < 1 || (double)v->width * ratio > MOST_FF || v->layers < 2)
        return error_what(e, "out of range"), error_where(e, "%s: model_args", where),
               error_found(e, "depth %d, mlp_ratio %g", v->layers, ratio),
               error_expected(e, "at least 2 blocks, and feed-forward layers of 1 to %d columns", MOST_FF);
    v->ff = (int)(v->width * ratio);
    v->layers--; /* the last block is an identity in OmniLMM, and has no weights */
    v->feature_layers = v->layers;
    if (hf_check_vision(where, v, e)) return -1;
    v->positions_side = v->image_side / v->patch;
    return 0;
}

/* timm's own description of a model in a folder. 1 when it was there. */
static int read_tower(const char *path, VisionConfig *v, Error *e) {
    json_t *o;
    const char *name;
    if (!file_exists(path)) return 0;
    if (json_read_object(path, &o, e)) return -1;
    const json_t *args = json_object_get(o, "model_args");
    int bad = json_need_string(o, "architecture", path, &name, e);
    if (!bad && (strcmp(name, architecture) || (args && !json_is_object(args))))
        bad = (error_what(e, "unsupported tower"), error_where(e, "%s", path), error_found(e, "architecture \"%.60s\"", name),
            error_expected(e, "\"%s\", with model_args as an object", architecture));
    if (!bad) bad = read_arguments(args, path, v, e);
    json_decref(o);
    return bad ? -1 : 1;
}

static int find_tower(const char *folder, const char *name, ModelConfig *c, Error *e) {
    size_t n = strlen(architecture);
    int found = hf_find_tower(folder, name, read_tower, c, e);
    if (found) return found < 0 ? -1 : 0;
    if (!strncmp(name, architecture, n) && (!name[n] || name[n] == '.')) return read_arguments(NULL, name, &c->vision, e);
    return error_what(e, "vision tower not found"), error_where(e, "%s/config.json: field \"mm_vision_tower\"", folder),
           error_found(e, "\"%s\"", name), error_expected(e, "\"%s\", or a folder with timm's config.json", architecture);
}

static int read_queries(const json_t *o, const char *where, ModelConfig *c, Error *e) {
    int64_t queries, heads = c->decoder.width / 128;
    if (json_need_integer(o, "num_query", where, 1, MOST_PATCHES, &queries, e) ||
        json_may_integer(o, "resampler_heads", where, 1, MOST_HEADS, &heads, e))
        return -1;
    int64_t side = lround(sqrt((double)queries));
    if (side * side != queries)
        return error_what(e, "queries do not form a square"), error_where(e, "%s: field \"num_query\"", where),
               error_found(e, "%lld", (long long)queries), error_expected(e, "a square number");
    c->queries = c->image_tokens = (int)queries;
    c->resampler_heads = heads < 1 ? 1 : (int)heads;
    return hf_heads_fit(where, "resampler: hidden_size", c->decoder.width, c->resampler_heads, e);
}

int omnilmm_load(const char *folder, const json_t *o, const char *where, ModelConfig *c, Error *e) {
    const char *tower;
    int64_t side;
    if (hf_read_decoder(o, where, "mistral", &c->decoder, e) || json_need_string(o, "mm_vision_tower", where, &tower, e) ||
        find_tower(folder, tower, c, e) || json_need_integer(o, "image_size", where, 1, MOST_SIDE, &side, e) ||
        hf_need_flag(o, "mm_use_im_start_end", where, 1, 1, "images stand between <im_start> and <im_end> in this family", e) ||
        read_queries(o, where, c, e))
        return -1;
    if (c->vision.width == c->decoder.width)
        return error_what(e, "tower and decoder have one width"), error_where(e, "%s", where), error_found(e, "%d", c->vision.width),
               error_expected(e, "two widths"), error_hint(e, "the resampler has no kv_proj then, which is not computed by this engine");
    c->vision.image_side = (int)side;
    c->image_token = -1;
    c->squash = 1;
    if (hf_check_vision(where, &c->vision, e)) return -1;
    c->tile_rows = c->vision.patches;
    c->tiles = 1;
    return 0;
}

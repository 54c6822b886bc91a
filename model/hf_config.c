/* hf_config.c - owns the reading of config.json and its companions: what shape a checkpoint has.
 *
 * Forms: `llava` and `llava_next` (Hugging Face: text_config and vision_config inside, of which the hub's files say only what differs from the
 * class defaults of Transformers), the original LLaVA code's `llava_llama`, `llava_mistral` and `llava_qwen` (the decoder's keys at the
 * top, mm_* keys beside them, the tower's config in a folder of its own or known by its public name), `omnilmm` (omnilmm_config.c), and a decoder alone. Decoders
 * are of the families in one table: what their classes take where a file says nothing, and what else tells them apart. Newer and older spellings
 * of a key are read alike (rope_parameters and rope_theta, image_token_id and image_token_index). Refuses what this engine would compute
 * wrongly: other architectures, activations, projectors, rotary embeddings (rope.c), biases, quantised weights; and every size outside its
 * bound, before anything is allocated from it. */
#include "model/hf_config.h"

#include "model/anyres.h"
#include "model/rope.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { TILES_MOST = 64 };

typedef struct SizeKey {
    const char *key;
    size_t at; /* of an int in the struct */
    int least, most;
} SizeKey;

static const SizeKey decoder_keys[] = {
    { "hidden_size", offsetof(DecoderConfig, width), 1, MOST_WIDTH },
    { "intermediate_size", offsetof(DecoderConfig, ff), 1, MOST_FF },
    { "num_hidden_layers", offsetof(DecoderConfig, layers), 1, MOST_LAYERS },
    { "num_attention_heads", offsetof(DecoderConfig, heads), 1, MOST_HEADS },
    { "num_key_value_heads", offsetof(DecoderConfig, kv_heads), 1, MOST_HEADS },
    { "head_dim", offsetof(DecoderConfig, head_size), 1, MOST_WIDTH },
    { "vocab_size", offsetof(DecoderConfig, vocab), 1, MOST_VOCAB },
    { "max_position_embeddings", offsetof(DecoderConfig, positions), 1, MOST_POSITIONS },
    { "bos_token_id", offsetof(DecoderConfig, bos), -1, MOST_VOCAB },
    { "pad_token_id", offsetof(DecoderConfig, pad), -1, MOST_VOCAB },
};

/* What LlamaConfig and MistralConfig have in common. */
#define LLAMA_SHAPE                                                                                                                        \
    .width = 4096, .layers = 32, .heads = 32, .vocab = 32000, .eps = 1e-6f, .rope_theta = 1e4f, .bos = 1, .eos = { 2 }, .eos_n = 1, .pad = -1
/* The decoder families. preset: the defaults of their config classes in Transformers; a head_size or kv_heads of 0 follows from the others.
 * Yi and Vicuna are llama. */
static const struct Family {
    const char *type, *original; /* model_type of the decoder, and of an original LLaVA checkpoint that has it */
    int has_bias_flags;          /* attention_bias and mlp_bias mean something to the class */
    int window_has_flag;         /* the window counts where use_sliding_window says so */
    DecoderConfig preset;
} families[] = {
    { "llama", "llava_llama", 1, 0, { LLAMA_SHAPE, .ff = 11008, .positions = 2048 } },
    { "mistral", "llava_mistral", 0, 0, { LLAMA_SHAPE, .ff = 14336, .kv_heads = 8, .positions = 4096 * 32, .window = 4096 } },
    { "qwen2", "llava_qwen", 0, 1,
        { .width = 4096,
            .ff = 22016,
            .layers = 32,
            .heads = 32,
            .kv_heads = 32,
            .vocab = 151936,
            .positions = 32768,
            .window = 4096,
            .eps = 1e-6f,
            .rope_theta = 1e4f,
            .qkv_bias = 1,
            .bos = -1,
            .pad = -1 } },
};
enum { FAMILIES = sizeof families / sizeof *families };

static const SizeKey vision_keys[] = {
    { "hidden_size", offsetof(VisionConfig, width), 1, MOST_WIDTH },
    { "intermediate_size", offsetof(VisionConfig, ff), 1, MOST_FF },
    { "num_hidden_layers", offsetof(VisionConfig, layers), 1, MOST_LAYERS },
    { "num_attention_heads", offsetof(VisionConfig, heads), 1, MOST_HEADS },
    { "image_size", offsetof(VisionConfig, image_side), 1, MOST_SIDE },
    { "patch_size", offsetof(VisionConfig, patch), 1, MOST_PATCH },
};

/* CLIPVisionConfig's defaults: the ViT-B/32 of Radford et al. 2021. */
static const VisionConfig clip_preset = { .width = 768, .ff = 3072, .layers = 12, .heads = 12, .image_side = 224, .patch = 32 };

/* Towers that configs name without giving their sizes. The first is also LlavaConfig's tower when vision_config is absent. */
static const struct {
    const char *name;
    VisionConfig config;
} public_towers[] = {
    { "openai/clip-vit-large-patch14-336",
        { .width = 1024, .ff = 4096, .layers = 24, .heads = 16, .image_side = 336, .patch = 14, .eps = 1e-5f, .activation = QUICK_GELU } },
    { "openai/clip-vit-large-patch14",
        { .width = 1024, .ff = 4096, .layers = 24, .heads = 16, .image_side = 224, .patch = 14, .eps = 1e-5f, .activation = QUICK_GELU } },
};

/* What the file does not say stays as it is in `out`. */
static int read_sizes(const json_t *o, const char *where, const SizeKey *keys, size_t n, void *out, Error *e) {
    for (size_t i = 0; i < n; i++) {
        int *to = (int *)((char *)out + keys[i].at);
        int64_t value = *to;
        if (json_may_integer(o, keys[i].key, where, keys[i].least, keys[i].most, &value, e)) return -1;
        *to = (int)value;
    }
    return 0;
}

/* A word that must be `allowed` or `also`; `preset` when the field is absent. */
static int need_word(
    const json_t *o, const char *key, const char *where, const char *preset, const char *allowed, const char *also, Error *e) {
    const char *word = preset;
    if (json_may_string(o, key, where, &word, e)) return -1;
    if (!strcmp(word, allowed) || (also && !strcmp(word, also))) return 0;
    return error_what(e, "unsupported %s", key), error_where(e, "%s: field \"%s\"", where, key), error_found(e, "\"%s\"", word),
           error_expected(e, also ? "\"%s\" or \"%s\"" : "\"%s\"", allowed, also);
}

int hf_need_flag(const json_t *o, const char *key, const char *where, int preset, int wanted, const char *why, Error *e) {
    int flag = preset;
    if (json_may_bool(o, key, where, &flag, e)) return -1;
    if (flag == wanted) return 0;
    return error_what(e, "unsupported %s", key), error_where(e, "%s: field \"%s\"", where, key), error_found(e, flag ? "true" : "false"),
           error_expected(e, wanted ? "true" : "false"), error_hint(e, "%s", why);
}

static int read_eps(const json_t *o, const char *key, const char *where, double preset, float *out, Error *e) {
    double value = preset;
    if (json_may_number(o, key, where, &value, e)) return -1;
    if (!(value > 0 && value < 1))
        return error_what(e, "out of range"), error_where(e, "%s: field \"%s\"", where, key), error_found(e, "%g", value),
               error_expected(e, "a number above 0 and below 1");
    *out = (float)value;
    return 0;
}

static int heads_divide(const char *where, const char *what, int width, int heads, Error *e) {
    if (width % heads == 0) return 0;
    return error_what(e, "attention heads do not divide"), error_where(e, "%s", where),
           error_found(e, "%s %d over %d heads", what, width, heads), error_expected(e, "a multiple of the number of heads");
}

static int head_size_fits(const char *where, int size, Error *e) {
    if (size % HEAD_MULTIPLE == 0) return 0;
    return error_what(e, "unsupported head size"), error_where(e, "%s", where), error_found(e, "%d", size),
           error_expected(e, "a multiple of %d", HEAD_MULTIPLE);
}

int hf_heads_fit(const char *where, const char *what, int width, int heads, Error *e) {
    return heads_divide(where, what, width, heads, e) || head_size_fits(where, width / heads, e) ? -1 : 0;
}

/* ---- decoder ---- */

/* Adds the ids of "eos_token_id", one or a list, to those that end an answer. */
static int read_eos(const json_t *o, const char *where, DecoderConfig *d, Error *e) {
    const json_t *value = json_object_get(o, "eos_token_id");
    if (!value || json_is_null(value)) return 0;
    for (size_t i = 0, n = json_is_array(value) ? json_array_size(value) : 1; i < n; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id) || json_integer_value(id) < -1 || json_integer_value(id) > MOST_VOCAB)
            return error_what(e, "wrong type"), error_where(e, "%s: field \"eos_token_id\"", where), error_found(e, "%s", json_kind(id)),
                   error_expected(e, "ids from 0 to %d", MOST_VOCAB);
        int known = json_integer_value(id) < 0; /* -1 stands for none */
        for (int j = 0; j < d->eos_n; j++) known |= d->eos[j] == json_integer_value(id);
        if (known) continue;
        if (d->eos_n == EOS_MOST)
            return error_what(e, "too many ids that end an answer"), error_where(e, "%s: field \"eos_token_id\"", where),
                   error_found(e, "%zu ids", n), error_expected(e, "at most %d in config.json and generation_config.json", EOS_MOST);
        d->eos[d->eos_n++] = (int)json_integer_value(id);
    }
    return 0;
}

/* Generation stops at what generation_config.json names too; Llama 3 names the end of a turn only there. */
static int read_generation(const char *folder, DecoderConfig *d, Error *e) {
    char path[PATH_SIZE];
    json_t *o;
    if (path_join(path, folder, "generation_config.json", e)) return -1;
    if (!file_exists(path)) return 0;
    if (json_read_object(path, &o, e)) return -1;
    int failed = read_eos(o, path, d, e);
    json_decref(o);
    return failed;
}

/* How far back a token sees. A window that is shorter than the positions bounds them: no sequence gets so long that it would show. */
static int read_window(const json_t *o, const char *where, const struct Family *family, DecoderConfig *d, Error *e) {
    int64_t window = d->window, full_layers = 28; /* Qwen2Config's max_window_layers: the first so many have no window */
    int used = !family->window_has_flag, slides = 0;
    const json_t *field = json_object_get(o, "sliding_window"), *types = json_object_get(o, "layer_types");
    d->window = 0;
    if (!family->preset.window) return 0;
    if (json_may_integer(o, "sliding_window", where, 1, MOST_POSITIONS, &window, e) ||
        (family->window_has_flag && json_may_bool(o, "use_sliding_window", where, &used, e)) ||
        json_may_integer(o, "max_window_layers", where, 0, MOST_POSITIONS, &full_layers, e))
        return -1;
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (!type || (strcmp(type, "full_attention") && strcmp(type, "sliding_attention")))
            return error_what(e, "unsupported attention"), error_where(e, "%s: field \"layer_types\"", where),
                   error_found(e, "\"%.100s\"", type ? type : json_kind(json_array_get(types, i))),
                   error_expected(e, "full_attention or sliding_attention");
        slides |= !strcmp(type, "sliding_attention");
    }
    if (!json_is_array(types)) slides = full_layers < d->layers;
    if (!used || (field && json_is_null(field)) || (family->window_has_flag && !slides)) return 0;
    d->window = (int)window;
    if (d->window < d->positions) d->positions = d->window;
    return 0;
}

int config_explain_positions(const DecoderConfig *d, Error *e) {
    if (d->window && d->window == d->positions)
        error_hint(e, "the model attends within a sliding window of %d positions, and longer sequences are not computed by this engine",
            d->window);
    return -1;
}

static const struct Family *family_of(const char *type) {
    for (int i = 0; i < FAMILIES; i++)
        if (!strcmp(type, families[i].type) || !strcmp(type, families[i].original)) return &families[i];
    return NULL;
}

/* The names of the families, of their decoders or of original LLaVA checkpoints, one after another. */
static const char *family_names(int original, char *out, size_t size) {
    size_t n = 0;
    out[0] = 0;
    for (int i = 0; i < FAMILIES && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s",
            i == 0                         ? ""
            : i + 1 < FAMILIES || original ? ", "
                                           : " or ",
            original ? families[i].original : families[i].type);
    return out;
}

static int read_decoder(const json_t *o, const char *where, const struct Family *family, DecoderConfig *d, Error *e) {
    *d = family->preset;
    double theta = (double)d->rope_theta;
    if (json_object_get(o, "eos_token_id")) d->eos_n = 0;
    if (json_is_null(json_object_get(o, "num_key_value_heads"))) d->kv_heads = 0;
    if (family->has_bias_flags &&
        (hf_need_flag(o, "attention_bias", where, 0, 0, "a bias of the attention's output is not computed by this engine", e) ||
            hf_need_flag(o, "mlp_bias", where, 0, 0, "feed-forward layers with biases are not computed by this engine", e)))
        return -1;
    if (need_word(o, "hidden_act", where, "silu", "silu", NULL, e) ||
        read_sizes(o, where, decoder_keys, sizeof decoder_keys / sizeof *decoder_keys, d, e) || read_eos(o, where, d, e) ||
        read_eps(o, "rms_norm_eps", where, (double)d->eps, &d->eps, e) || json_may_bool(o, "tie_word_embeddings", where, &d->tied, e) ||
        json_may_number(o, "rope_theta", where, &theta, e))
        return -1;
    d->rope_theta = (float)theta;
    if (rope_read(o, "rope_scaling", where, d, e) || rope_read(o, "rope_parameters", where, d, e)) return -1;
    if (!(d->rope_theta > 1 && d->rope_theta < 1e12f))
        return error_what(e, "out of range"), error_where(e, "%s: field \"rope_theta\"", where),
               error_found(e, "%g", (double)d->rope_theta), error_expected(e, "a number above 1 and below 1e12");
    if (read_window(o, where, family, d, e)) return -1;
    if (!d->kv_heads) d->kv_heads = d->heads;
    if (!d->head_size) {
        if (heads_divide(where, "hidden_size", d->width, d->heads, e)) return -1;
        d->head_size = d->width / d->heads;
    }
    if (d->heads % d->kv_heads)
        return error_what(e, "attention heads do not divide"), error_where(e, "%s", where),
               error_found(e, "%d heads over %d key/value heads", d->heads, d->kv_heads),
               error_expected(e, "a multiple of the key/value heads");
    if ((int64_t)d->heads * d->head_size > MOST_WIDTH)
        return error_what(e, "out of range"), error_where(e, "%s", where), error_found(e, "%d heads of %d", d->heads, d->head_size),
               error_expected(e, "at most %d in all", MOST_WIDTH);
    if (d->head_size > ROPE_HEAD_MOST)
        return error_what(e, "unsupported head size"), error_where(e, "%s", where), error_found(e, "%d", d->head_size),
               error_expected(e, "at most %d", ROPE_HEAD_MOST);
    return head_size_fits(where, d->head_size, e);
}

int hf_read_decoder(const json_t *o, const char *where, const char *family, DecoderConfig *d, Error *e) {
    return read_decoder(o, where, family_of(family), d, e);
}

/* ---- tower ---- */

int hf_check_vision(const char *where, VisionConfig *v, Error *e) {
    if (hf_heads_fit(where, "vision hidden_size", v->width, v->heads, e)) return -1;
    if (v->image_side % v->patch)
        return error_what(e, "patches do not tile the image"), error_where(e, "%s", where),
               error_found(e, "image_size %d, patch_size %d", v->image_side, v->patch), error_expected(e, "a multiple of the patch size");
    int side = v->image_side / v->patch;
    if (side * side > MOST_PATCHES)
        return error_what(e, "out of range"), error_where(e, "%s", where), error_found(e, "%d patches an image", side * side),
               error_expected(e, "at most %d", MOST_PATCHES);
    v->patches = side * side;
    return 0;
}

static int read_vision(const json_t *o, const char *where, VisionConfig *v, Error *e) {
    const char *activation = "quick_gelu";
    int64_t channels = 3;
    *v = clip_preset;
    if (need_word(o, "model_type", where, "clip_vision_model", "clip_vision_model", NULL, e) ||
        need_word(o, "hidden_act", where, activation, "quick_gelu", "gelu", e) || json_may_string(o, "hidden_act", where, &activation, e) ||
        json_may_integer(o, "num_channels", where, 3, 3, &channels, e) || read_eps(o, "layer_norm_eps", where, 1e-5, &v->eps, e) ||
        read_sizes(o, where, vision_keys, sizeof vision_keys / sizeof *vision_keys, v, e))
        return -1;
    v->activation = strcmp(activation, "gelu") ? QUICK_GELU : GELU;
    return hf_check_vision(where, v, e);
}

/* Which hidden state the projector reads: index `layer` of the layers + 1 states, counted from the end when negative. */
static int set_feature(ModelConfig *c, const char *where, const char *key, int64_t layer, int keep_class, Error *e) {
    VisionConfig *v = &c->vision;
    int64_t state = layer < 0 ? v->layers + 1 + layer : layer;
    if (state < 1 || state > v->layers)
        return error_what(e, "out of range"), error_where(e, "%s: field \"%s\"", where, key), error_found(e, "%lld", (long long)layer),
               error_expected(e, "the output of one of the tower's %d blocks", v->layers);
    if (c->grids_n && keep_class)
        return error_what(e, "unsupported image tiling"), error_where(e, "%s", where), error_found(e, "the class token kept in tiled images"),
               error_expected(e, "patches alone"), error_hint(e, "vision_feature_select_strategy \"default\"");
    v->feature_layers = (int)state;
    v->keep_class = keep_class;
    c->tile_rows = v->patches + keep_class;
    config_set_tiles(c);
    return 0;
}

/* The strategy "default" (or "patch") drops the class token, "full" (or "cls_patch") keeps it. */
static int read_feature(const json_t *o, const char *where, const char *layer_key, const char *select_key, const char *drop,
    const char *keep, ModelConfig *c, Error *e) {
    int64_t layer = -2;
    const char *select = drop;
    if (json_is_array(json_object_get(o, layer_key)))
        return error_what(e, "unsupported %s", layer_key), error_where(e, "%s", where), error_found(e, "a list of layers"),
               error_expected(e, "one layer");
    if (json_may_integer(o, layer_key, where, -MOST_LAYERS, MOST_LAYERS, &layer, e) ||
        need_word(o, select_key, where, drop, drop, keep, e) || json_may_string(o, select_key, where, &select, e))
        return -1;
    return set_feature(c, where, layer_key, layer, !strcmp(select, keep), e);
}

/* ---- tiles ---- */

/* One of image_grid_pinpoints, [height, width] in pixels, or [width, height] where the original code wrote it. */
static int read_grid(const json_t *pair, const char *where, int width_first, ModelConfig *c, Error *e) {
    int side = c->vision.image_side;
    int64_t pixels[2] = { 0 };
    for (size_t i = 0; i < 2; i++) pixels[i] = json_integer_value(json_array_get(pair, i));
    int64_t down = pixels[width_first], across = pixels[!width_first];
    if (json_array_size(pair) != 2 || down < side || across < side || down > MOST_SIDE || across > MOST_SIDE || down % side || across % side || down / side * (across / side) > TILES_MOST)
        return error_what(e, "bad image tiling"), error_where(e, "%s: field \"image_grid_pinpoints\"", where),
               error_found(e, "[%lld, %lld]", (long long)pixels[0], (long long)pixels[1]),
               error_expected(e, "two multiples of the tower's image_size %d, at most %d, at most %d tiles", side, MOST_SIDE, TILES_MOST);
    c->grids[c->grids_n++] = (struct TileGrid){ (int)(down / side), (int)(across / side) };
    return 0;
}

/* Absent, they are those of LLaVA-NeXT: 1 x 2, 2 x 1, 2 x 2, 3 x 1 and 1 x 3 tiles. */
static int read_grids(const json_t *o, const char *where, int width_first, ModelConfig *c, Error *e) {
    static const struct TileGrid usual[] = { { 1, 2 }, { 2, 1 }, { 2, 2 }, { 3, 1 }, { 1, 3 } };
    const json_t *list = json_object_get(o, "image_grid_pinpoints"), *pair;
    size_t i;
    c->newline = 1;
    if (!list || json_is_null(list)) {
        memcpy(c->grids, usual, sizeof usual);
        c->grids_n = sizeof usual / sizeof *usual;
        return 0;
    }
    if (!json_is_array(list) || json_array_size(list) < 1 || json_array_size(list) > GRIDS_MOST)
        return error_what(e, "bad image tiling"), error_where(e, "%s: field \"image_grid_pinpoints\"", where),
               error_found(e, json_is_array(list) ? "%zu entries" : "no list", json_array_size(list)), error_expected(e, "a list of 1 to %d sizes", GRIDS_MOST);
    json_array_foreach(list, i, pair) if (read_grid(pair, where, width_first, c, e)) return -1;
    return 0;
}

/* ---- the families ---- */

static int load_hub(const json_t *o, const char *where, int tiled, ModelConfig *c, Error *e) {
    const json_t *text = json_object_get(o, "text_config"), *vision = json_object_get(o, "vision_config");
    char place[PATH_SIZE + 32], known[128];
    const char *type = families[0].type;
    if (!json_is_object(text))
        return error_what(e, "missing field"), error_where(e, "%s: field \"text_config\"", where), error_found(e, "%s", json_kind(text)),
               error_expected(e, "an object"), error_hint(e, "a llava config without mm_vision_tower describes its decoder there");
    if (vision && !json_is_null(vision) && !json_is_object(vision))
        return error_what(e, "wrong type"), error_where(e, "%s: field \"vision_config\"", where), error_found(e, "%s", json_kind(vision)),
               error_expected(e, "an object");
    snprintf(place, sizeof place, "%s: text_config", where);
    if (json_may_string(text, "model_type", place, &type, e)) return -1;
    const struct Family *family = family_of(type);
    if (!family || !strcmp(type, family->original))
        return error_what(e, "unsupported decoder"), error_where(e, "%s: field \"model_type\"", place), error_found(e, "\"%.100s\"", type),
               error_expected(e, "%s", family_names(0, known, sizeof known));
    if (read_decoder(text, place, family, &c->decoder, e)) return -1;
    snprintf(place, sizeof place, "%s: vision_config", where);
    if (json_is_object(vision)) {
        if (read_vision(vision, place, &c->vision, e)) return -1;
    } else {
        c->vision = public_towers[0].config;
        if (hf_check_vision(place, &c->vision, e)) return -1;
    }
    if (tiled && read_grids(o, where, 0, c, e)) return -1;
    int64_t pad = c->decoder.pad, image = 32000;
    int tied = 0;
    if (need_word(o, "projector_hidden_act", where, "gelu", "gelu", NULL, e) ||
        hf_need_flag(o, "multimodal_projector_bias", where, 1, 1, "a projector without biases is not computed by this engine", e) ||
        json_may_bool(o, "tie_word_embeddings", where, &tied, e) ||
        json_may_integer(o, "image_token_index", where, 0, MOST_VOCAB, &image, e) ||
        json_may_integer(o, "image_token_id", where, 0, MOST_VOCAB, &image, e) ||
        (pad < 0 && json_may_integer(o, "pad_token_id", where, -1, MOST_VOCAB, &pad, e)))
        return -1;
    c->image_token = (int)image;
    c->decoder.pad = (int)pad;
    c->decoder.tied |= tied; /* false is the class default, which files repeat beside a text_config that says true */
    return read_feature(o, where, "vision_feature_layer", "vision_feature_select_strategy", "default", "full", c, e);
}

/* Reads a config.json as a tower's config when it exists: the tower's own, or a whole CLIP's with vision_config inside. 1 when it
 * was there. */
static int tower_config(const char *path, VisionConfig *v, Error *e) {
    if (!file_exists(path)) return 0;
    json_t *o;
    if (json_read_object(path, &o, e)) return -1;
    const json_t *inner = json_object_get(o, "vision_config");
    int failed = read_vision(json_is_object(inner) ? inner : o, path, v, e);
    json_decref(o);
    return failed ? -1 : 1;
}

int hf_find_tower(const char *folder, const char *name, int (*read)(const char *path, VisionConfig *v, Error *e), ModelConfig *c, Error *e) {
    const char *last = strrchr(name, '/');
    char above[PATH_SIZE], place[PATH_SIZE], path[PATH_SIZE];
    while (!strncmp(name, "./", 2)) name += 2;
    last = last && last[1] && last >= name ? last + 1 : name;
    if (path_join(above, folder, "..", e)) return -1;
    const char *roots[] = { folder, above }, *names[] = { name, last };
    for (int i = 0; i < 4; i++) {
        if (path_join(place, roots[i / 2], names[i % 2], e) || path_join(path, place, "config.json", e)) return -1;
        int found = read(path, &c->vision, e);
        if (found < 0) return -1;
        if (!found) continue;
        strcpy(c->vision_folder, place);
        return 1;
    }
    return 0;
}

static int find_tower(const char *folder, const char *name, ModelConfig *c, Error *e) {
    int found = hf_find_tower(folder, name, tower_config, c, e);
    if (found) return found < 0 ? -1 : 0;
    while (!strncmp(name, "./", 2)) name += 2;
    for (size_t i = 0; i < sizeof public_towers / sizeof *public_towers; i++)
        if (!strcmp(name, public_towers[i].name)) {
            c->vision = public_towers[i].config;
            return hf_check_vision(name, &c->vision, e);
        }
    return error_what(e, "vision tower not found"), error_where(e, "%s/config.json: field \"mm_vision_tower\"", folder),
           error_found(e, "\"%s\"", name), error_expected(e, "a folder with the tower's config.json, in the checkpoint or beside it"),
           error_hint(e, "known without a folder: %s and %s", public_towers[0].name, public_towers[1].name);
}

static int load_original(const char *folder, const json_t *o, const char *where, ModelConfig *c, Error *e) {
    const char *tower, *aspect = "", *merge = "flat";
    int64_t width = 0;
    if (json_may_string(o, "image_aspect_ratio", where, &aspect, e) || json_may_string(o, "mm_patch_merge_type", where, &merge, e))
        return -1;
    int tiled = !strcmp(aspect, "anyres");
    if ((strstr(aspect, "anyres") && !tiled) || strcmp(merge, tiled ? "spatial_unpad" : "flat"))
        return error_what(e, "unsupported image tiling"), error_where(e, "%s", where),
               error_found(e, "image_aspect_ratio \"%s\", mm_patch_merge_type \"%s\"", aspect, merge),
               error_expected(e, "\"anyres\" with \"spatial_unpad\" (LLaVA 1.6), or one tile an image, \"flat\"");
    if (read_decoder(o, where, family_of(c->model_type), &c->decoder, e) || json_need_string(o, "mm_vision_tower", where, &tower, e) ||
        find_tower(folder, tower, c, e) || (tiled && read_grids(o, where, 1, c, e)) || need_word(o, "mm_projector_type", where, "linear", "mlp2x_gelu", NULL, e) ||
        hf_need_flag(o, "mm_use_im_start_end", where, 0, 0, "image start and end tokens are not placed by this engine's templates", e) ||
        json_may_integer(o, "mm_hidden_size", where, 1, MOST_WIDTH, &width, e))
        return -1;
    if (width && width != c->vision.width)
        return error_what(e, "tower and projector disagree"), error_where(e, "%s: field \"mm_hidden_size\"", where),
               error_found(e, "%lld", (long long)width), error_expected(e, "the tower's hidden_size %d", c->vision.width);
    c->image_token = -1;
    return read_feature(o, where, "mm_vision_select_layer", "mm_vision_select_feature", "patch", "cls_patch", c, e);
}

/* ---- pixels ---- */

static int read_channels(const json_t *o, const char *key, const char *where, double least, float out[3], Error *e) {
    const json_t *list = json_object_get(o, key);
    if (!list || json_is_null(list)) return 0;
    for (size_t i = 0; i < 3; i++) {
        const json_t *x = json_array_get(list, i);
        if (json_array_size(list) != 3 || !json_is_number(x) || !(json_number_value(x) > least && json_number_value(x) < 256))
            return error_what(e, "wrong type"), error_where(e, "%s: field \"%s\"", where, key),
                   error_found(e, "%s", json_kind(x ? x : list)), error_expected(e, "three numbers above %g and below 256", least);
        out[i] = (float)json_number_value(x);
    }
    return 0;
}

/* preprocessor_config.json, or processor_config.json with the image processor inside, as newer Transformers write it. */
static int read_pixels(const char *folder, ModelConfig *c, Error *e) {
    /* Radford et al. 2021: the channel statistics of CLIP's training images. */
    static const float mean[3] = { 0.48145466f, 0.4578275f, 0.40821073f }, std[3] = { 0.26862954f, 0.26130258f, 0.27577711f };
    memcpy(c->image_mean, mean, sizeof mean);
    memcpy(c->image_std, std, sizeof std);
    char path[PATH_SIZE];
    static const char *const names[] = { "preprocessor_config.json", "processor_config.json" };
    for (int i = 0; i < 2; i++) {
        if (path_join(path, folder, names[i], e)) return -1;
        if (!file_exists(path)) continue;
        json_t *o;
        if (json_read_object(path, &o, e)) return -1;
        const json_t *inner = i ? json_object_get(o, "image_processor") : o;
        int failed = json_is_object(inner) && (read_channels(inner, "image_mean", path, -256, c->image_mean, e) ||
                                                  read_channels(inner, "image_std", path, 0, c->image_std, e));
        json_decref(o);
        return failed ? -1 : 0;
    }
    return 0;
}

static int read_config(const char *folder, const json_t *o, const char *where, ModelConfig *c, Error *e) {
    const char *type;
    if (json_need_string(o, "model_type", where, &type, e)) return -1;
    if (json_is_object(json_object_get(o, "quantization_config")))
        return error_what(e, "unsupported weights"), error_where(e, "%s: field \"quantization_config\"", where),
               error_found(e, "quantised weights"), error_expected(e, "float32, float16 or bfloat16"),
               error_hint(e, "use the checkpoint before quantisation");
    int mm = json_object_get(o, "mm_vision_tower") != NULL;
    /* The first original checkpoints say "llava" too; their mm_ keys tell them apart. */
    const struct Family *family =
        family_of(!strcmp(type, "llava") && mm && !json_object_get(o, "text_config") ? families[0].original : type);
    int alone = family && !strcmp(type, family->type);
    snprintf(c->model_type, sizeof c->model_type, "%s", family && !alone ? family->original : type);
    if (family && !alone) return load_original(folder, o, where, c, e) || read_pixels(folder, c, e) ? -1 : 0;
    int tiled = !strcmp(type, "llava_next");
    if (tiled || !strcmp(type, "llava")) return load_hub(o, where, tiled, c, e) || read_pixels(folder, c, e) ? -1 : 0;
    if (!strcmp(type, "omnilmm")) return omnilmm_load(folder, o, where, c, e) || read_pixels(folder, c, e) ? -1 : 0;
    if (alone) {
        c->image_token = -1;
        return read_decoder(o, where, family, &c->decoder, e);
    }
    char originals[128], decoders[128];
    error_what(e, "unsupported architecture"), error_where(e, "%s: field \"model_type\"", where), error_found(e, "\"%.100s\"", type),
        error_expected(e, "llava, llava_next, omnilmm, %s, %s", family_names(1, originals, sizeof originals), family_names(0, decoders, sizeof decoders));
    return -1;
}

int config_is_original(const ModelConfig *c) {
    const struct Family *family = family_of(c->model_type);
    return family && !strcmp(c->model_type, family->original);
}

int config_load(const char *folder, ModelConfig *out, Error *e) {
    char path[PATH_SIZE];
    json_t *o;
    memset(out, 0, sizeof *out);
    if (path_join(path, folder, "config.json", e) || json_read_object(path, &o, e)) return -1;
    int failed = read_config(folder, o, path, out, e) || read_generation(folder, &out->decoder, e);
    json_decref(o);
    return failed ? -1 : 0;
}

/* ---- slices ---- */

static int divides(int whole, int slices, int multiple, const char *what, const char *folder, Error *e) {
    if (whole % slices == 0 && whole / slices % multiple == 0) return 0;
    error_what(e, "the model does not divide into equal slices"), error_where(e, "%s", folder);
    error_found(e, "%d %s for ranks.tensor = %d", whole, what, slices);
    if (multiple > 1) error_expected(e, "slices of a multiple of %d", multiple);
    return error_hint(e, "ranks.tensor must divide heads, key/value heads, feed-forward and vocabulary");
}

int config_slice(ModelConfig *c, int slice, int slices, const char *folder, Error *e) {
    DecoderConfig *d = &c->decoder;
    if (slices == 1) return 0;
    if (d->tied) {
        error_what(e, "a model whose head is its embedding table is not cut into slices"), error_where(e, "%s", folder);
        error_found(e, "ranks.tensor = %d", slices);
        return error_hint(e, "use ranks.tensor = 1; ranks.shard divides its memory too");
    }
    /* 8 elements: what is hashed together (params.h) and loaded as one vector is never cut */
    if (divides(d->heads, slices, 1, "heads", folder, e) || divides(d->kv_heads, slices, 1, "key/value heads", folder, e) ||
        divides(d->head_size, 1, 8, "elements of a head", folder, e) || divides(d->width, 1, 8, "elements of width", folder, e) ||
        divides(d->ff, slices, 8, "columns of the feed-forward", folder, e) ||
        divides(d->vocab, slices, 1, "tokens of vocabulary", folder, e))
        return -1;
    d->heads /= slices, d->kv_heads /= slices, d->ff /= slices;
    d->slice = slice, d->slices = slices;
    return 0;
}

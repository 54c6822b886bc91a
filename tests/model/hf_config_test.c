/* hf_config_test.c - shapes read from config files: the golden cases, class defaults, spellings old and new, towers in folders, and
 * refusals. */
#include "tests/check.h"

#include "base/json.h"
#include "model/config.h"

static const char *const HUB = "tests/golden/llava15-hub/model", *const ORIGINAL = "tests/golden/llava15-orig/model", *const NEXT = "tests/golden/next-mistral/model",
                         *const V5 = "tests/golden/llava15-v5/model";

static ModelConfig load(const char *folder) {
    ModelConfig c;
    Error e = { 0 };
    char line[2048];
    if (config_load(folder, &c, &e)) fail_msg("%s", error_text(&e, line, sizeof line));
    return c;
}

/* Writes FOLDER/NAME. */
static void write_text(const char *folder, const char *name, const char *text) { put(at(folder, name), text, strlen(text)); }

/* What config_load says of a config.json with this text. */
static ModelConfig load_text(const char *text) {
    char folder[PATH_SIZE];
    scratch_make(folder);
    write_text(folder, "config.json", text);
    ModelConfig c = load(folder);
    scratch_drop(folder);
    return c;
}

/* ---- golden ---- */

static void golden_hub(void **state) {
    (void)state;
    ModelConfig c = load(HUB);
    assert_string_equal(c.model_type, "llava");
    assert_int_equal(c.decoder.width, 48);
    assert_int_equal(c.decoder.ff, 112);
    assert_int_equal(c.decoder.layers, 3);
    assert_int_equal(c.decoder.heads, 3);
    assert_int_equal(c.decoder.kv_heads, 3);
    assert_int_equal(c.decoder.head_size, 16);
    assert_int_equal(c.decoder.vocab, 512);
    assert_int_equal(c.decoder.positions, 2048);
    assert_int_equal(c.decoder.pad, 477);
    assert_false(c.decoder.tied);
    assert_true(c.decoder.eps == 1e-5f && c.decoder.rope_theta == 10000.0f);
    assert_int_equal(c.vision.width, 32);
    assert_int_equal(c.vision.ff, 128);
    assert_int_equal(c.vision.layers, 3);
    assert_int_equal(c.vision.feature_layers, 2);
    assert_int_equal(c.vision.heads, 2);
    assert_int_equal(c.vision.image_side, 56);
    assert_int_equal(c.vision.patches, 16);
    assert_int_equal(c.vision.activation, QUICK_GELU); /* the default: the file does not say */
    assert_true(c.vision.eps == 1e-5f);
    assert_int_equal(c.image_token, 476);
    assert_int_equal(c.image_tokens, 16);
    assert_true(c.image_mean[0] == 0.48145466f && c.image_std[2] == 0.27577711f);
}

static void golden_original(void **state) {
    (void)state;
    ModelConfig c = load(ORIGINAL);
    assert_string_equal(c.model_type, "llava_llama");
    assert_int_equal(c.decoder.width, 32);
    assert_int_equal(c.decoder.ff, 96);
    assert_int_equal(c.decoder.head_size, 16);
    assert_int_equal(c.decoder.pad, 0);
    assert_int_equal(c.vision.image_side, 42);
    assert_int_equal(c.vision.patches, 9);
    assert_int_equal(c.vision.layers, 3);
    assert_int_equal(c.vision.feature_layers, 2);
    assert_int_equal(c.image_token, -1);
    assert_int_equal(c.image_tokens, 9);
    assert_string_equal(c.vision_folder, "tests/golden/llava15-orig/model/vision");
}

static void golden_v5(void **state) {
    (void)state;
    ModelConfig c = load(V5);
    assert_int_equal(c.decoder.heads, 4);
    assert_int_equal(c.decoder.kv_heads, 2);
    assert_int_equal(c.decoder.head_size, 8);
    assert_true(c.decoder.rope_theta == 500000.0f); /* inside rope_parameters */
    assert_int_equal(c.vision.heads, 4);
}

/* ---- defaults and spellings ---- */

/* llava-hf/llava-1.5-7b-hf's config.json, which leaves most of the decoder to LlamaConfig. */
static void hub_defaults(void **state) {
    (void)state;
    ModelConfig c = load_text(
        "{\"architectures\": [\"LlavaForConditionalGeneration\"], \"ignore_index\": -100, \"image_token_index\": 32000, \"model_type\": "
        "\"llava\","
        " \"pad_token_id\": 32001, \"projector_hidden_act\": \"gelu\", \"text_config\": {\"_name_or_path\": \"lmsys/vicuna-7b-v1.5\","
        " \"architectures\": [\"LlamaForCausalLM\"], \"max_position_embeddings\": 4096, \"model_type\": \"llama\", \"rms_norm_eps\": 1e-05,"
        " \"torch_dtype\": \"float16\", \"vocab_size\": 32064}, \"tie_word_embeddings\": false, \"torch_dtype\": \"float16\","
        " \"vision_config\": {\"hidden_size\": 1024, \"image_size\": 336, \"intermediate_size\": 4096, \"model_type\": "
        "\"clip_vision_model\","
        " \"num_attention_heads\": 16, \"num_hidden_layers\": 24, \"patch_size\": 14, \"projection_dim\": 768, \"vocab_size\": 32000},"
        " \"vision_feature_layer\": -2, \"vision_feature_select_strategy\": \"default\", \"vocab_size\": 32064}");
    const DecoderConfig *d = &c.decoder;
    int shape[] = { d->width, d->ff, d->layers, d->heads, d->kv_heads, d->head_size, d->vocab, d->positions, d->bos, d->eos_n, d->pad };
    static const int expected[] = { 4096, 11008, 32, 32, 32, 128, 32064, 4096, 1, 1, 32001 };
    assert_memory_equal(shape, expected, sizeof expected);
    assert_true(d->rope_theta == 10000.0f && d->eps == 1e-5f);
    assert_int_equal(d->eos[0], 2);
    assert_int_equal(c.vision.feature_layers, 23);
    assert_int_equal(c.image_tokens, 576);
    assert_int_equal(c.image_token, 32000);
    assert_true(c.image_mean[1] == 0.4578275f && c.image_std[0] == 0.26862954f); /* no preprocessor_config.json: CLIP's */
}

static void class_defaults(void **state) {
    (void)state;
    ModelConfig c = load_text("{\"model_type\": \"llava\", \"text_config\": {}}");
    assert_true(c.decoder.eps == 1e-6f);
    assert_int_equal(c.decoder.vocab, 32000);
    assert_int_equal(c.decoder.positions, 2048);
    assert_int_equal(c.decoder.pad, -1);
    assert_int_equal(c.vision.width, 1024); /* no vision_config at all: LlavaConfig's CLIP-L/336 */
    assert_int_equal(c.vision.patches, 576);
    c = load_text("{\"model_type\": \"llava\", \"text_config\": {}, \"vision_config\": {}}");
    assert_int_equal(c.vision.width, 768); /* an empty one: CLIPVisionConfig's ViT-B/32 */
    assert_int_equal(c.vision.heads, 12);
    assert_int_equal(c.vision.patches, 49);
    assert_int_equal(c.vision.feature_layers, 11);
}

static void spellings(void **state) {
    (void)state;
    ModelConfig c = load_text(
        "{\"model_type\": \"llava\", \"image_token_id\": 7, \"vision_feature_layer\": 3, \"vision_feature_select_strategy\": \"full\","
        " \"text_config\": {\"rope_scaling\": {\"rope_type\": \"default\"}, \"rope_theta\": 5e6, \"eos_token_id\": [9, 10],"
        " \"tie_word_embeddings\": true, \"head_dim\": 64, \"pad_token_id\": null, \"num_key_value_heads\": null},"
        " \"vision_config\": {\"hidden_act\": \"gelu\"}}");
    assert_int_equal(c.image_token, 7);
    assert_int_equal(c.vision.feature_layers, 3);
    assert_int_equal(c.vision.activation, GELU);
    assert_int_equal(c.image_tokens, 50);
    assert_int_equal(c.decoder.eos_n, 2);
    assert_int_equal(c.decoder.eos[0] + 100 * c.decoder.eos[1], 1009);
    assert_int_equal(c.decoder.head_size, 64);
    assert_int_equal(c.decoder.kv_heads, 32);
    assert_true(c.decoder.tied);
    assert_true(c.decoder.rope_theta == 5e6f);
    c = load_text("{\"model_type\": \"llava\", \"tie_word_embeddings\": false, \"text_config\": {\"tie_word_embeddings\": true}}");
    assert_true(c.decoder.tied); /* either may say it */
    c = load_text("{\"model_type\": \"llava\", \"tie_word_embeddings\": true, \"text_config\": {\"tie_word_embeddings\": false}}");
    assert_true(c.decoder.tied);
    c = load_text("{\"model_type\": \"llama\", \"hidden_size\": 64, \"num_attention_heads\": 8, \"num_key_value_heads\": 4}");
    assert_int_equal(c.vision.layers, 0);
    assert_int_equal(c.image_tokens, 0);
    assert_int_equal(c.decoder.head_size, 8);
}

/* ---- decoder families ---- */

#define LLAMA3(LOW, HIGH, ORIGINAL)                                                                                                        \
    "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": " LOW ", \"high_freq_factor\": " HIGH                               \
    ", \"original_max_position_embeddings\": " ORIGINAL "}"

static void class_presets(void **state) {
    (void)state;
    static const struct {
        const char *type;
        int width, ff, layers, heads, kv_heads, head_size, vocab, positions, window, bos, eos_n, qkv_bias;
    } cases[] = { { "llama", 4096, 11008, 32, 32, 32, 128, 32000, 2048, 0, 1, 1, 0 },
        { "mistral", 4096, 14336, 32, 32, 8, 128, 32000, 4096, 4096, 1, 1, 0 },
        { "qwen2", 4096, 22016, 32, 32, 32, 128, 151936, 32768, 0, -1, 0, 1 } };
    for (int i = 0; i < 3; i++)
        for (int nested = 0; nested < 2; nested++) {
            char text[256];
            snprintf(text, sizeof text,
                nested ? "{\"model_type\": \"llava\", \"text_config\": {\"model_type\": \"%s\"}}" : "{\"model_type\": \"%s\"}",
                cases[i].type);
            ModelConfig c = load_text(text);
            const DecoderConfig *d = &c.decoder;
            const int found[] = { d->width, d->ff, d->layers, d->heads, d->kv_heads, d->head_size, d->vocab, d->positions, d->window,
                d->bos, d->eos_n, d->qkv_bias };
            assert_memory_equal(found, &cases[i].width, sizeof found);
            assert_int_equal(d->pad, -1);
            assert_false(d->tied);
            assert_true(d->eps == 1e-6f && d->rope_theta == 1e4f && d->rope.kind == ROPE_PLAIN);
            assert_false(config_is_original(&c));
        }
    ModelConfig c = load_text("{\"model_type\": \"mistral\", \"num_key_value_heads\": null, \"sliding_window\": null}");
    assert_int_equal(c.decoder.kv_heads, 32); /* said to be none is not absent */
    assert_int_equal(c.decoder.positions, 131072);
}

static void windows(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int positions, window;
    } cases[] = {
        { "\"model_type\": \"mistral\", \"max_position_embeddings\": 32768, \"sliding_window\": 512", 512, 512 },
        { "\"model_type\": \"mistral\", \"max_position_embeddings\": 256, \"sliding_window\": 512", 256, 512 },
        { "\"model_type\": \"mistral\", \"sliding_window\": 512, \"use_sliding_window\": false", 512, 512 }, /* MistralConfig knows no flag */
        { "\"model_type\": \"llama\", \"sliding_window\": 512", 2048, 0 }, /* LlamaConfig knows none */
        { "\"model_type\": \"qwen2\", \"sliding_window\": 512", 32768, 0 },
        { "\"model_type\": \"qwen2\", \"sliding_window\": 512, \"use_sliding_window\": false", 32768, 0 },
        { "\"model_type\": \"qwen2\", \"sliding_window\": 512, \"use_sliding_window\": true", 512, 512 }, /* from layer 28 of 32 on */
        { "\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"max_window_layers\": 32", 32768, 0 },
        { "\"model_type\": \"qwen2\", \"sliding_window\": 512, \"use_sliding_window\": true, \"layer_types\": [\"full_attention\"]", 32768,
            0 },
        { "\"model_type\": \"qwen2\", \"sliding_window\": 512, \"use_sliding_window\": true, \"max_window_layers\": 32,"
          " \"layer_types\": [\"full_attention\", \"sliding_attention\"]",
            512, 512 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "{%s}", cases[i].text);
        ModelConfig c = load_text(text);
        assert_int_equal(c.decoder.positions, cases[i].positions);
        assert_int_equal(c.decoder.window, cases[i].window);
        Error e = { 0 };
        error_what(&e, "too long"), error_hint(&e, "first");
        assert_int_equal(config_explain_positions(&c.decoder, &e), -1);
        error_says(&e, c.decoder.positions == c.decoder.window ? "sliding window of 512 positions" : "first");
    }
}

static void scaled_rope(void **state) {
    (void)state;
    ModelConfig c =
        load_text("{\"model_type\": \"llama\", \"head_dim\": 16, \"rope_theta\": 5e5, \"rope_scaling\": " LLAMA3("1", "4", "32") "}");
    const RopeScaling *s = &c.decoder.rope;
    assert_int_equal(s->kind, ROPE_LLAMA3);
    assert_int_equal(s->original, 32);
    assert_true(s->factor == 8 && s->low == 1 && s->high == 4 && c.decoder.rope_theta == 5e5f);
    c = load_text(
        "{\"model_type\": \"llama\", \"max_position_embeddings\": 4096, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8,"
        " \"low_freq_factor\": 1, \"high_freq_factor\": 4}}");
    assert_int_equal(s->original, 4096); /* not said: the positions there are */
    c = load_text("{\"model_type\": \"llama\", \"rope_theta\": 1e4, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5}}");
    assert_true(s->kind == ROPE_LINEAR && s->factor == 2.5f && c.decoder.rope_theta == 1e4f);
    /* rope_parameters is the later word */
    c = load_text("{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5},"
                  " \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 7e4}}");
    assert_true(s->kind == ROPE_PLAIN && c.decoder.rope_theta == 7e4f);
    c = load_text("{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5},"
                  " \"rope_parameters\": {\"rope_theta\": 7e4}}");
    assert_true(s->kind == ROPE_LINEAR && c.decoder.rope_theta == 7e4f);
}

static void ends(void **state) {
    (void)state;
    char folder[PATH_SIZE];
    Error e = { 0 };
    scratch_make(folder);
    write_text(folder, "config.json", "{\"model_type\": \"llama\", \"eos_token_id\": 128001}");
    write_text(folder, "generation_config.json", "{\"eos_token_id\": [128001, 128009]}");
    ModelConfig c = load(folder);
    assert_int_equal(c.decoder.eos_n, 2); /* each once */
    assert_int_equal(c.decoder.eos[0], 128001);
    assert_int_equal(c.decoder.eos[1], 128009);
    write_text(folder, "config.json", "{\"model_type\": \"qwen2\"}");
    write_text(folder, "generation_config.json", "{\"eos_token_id\": 7}");
    c = load(folder);
    assert_int_equal(c.decoder.eos_n, 1);
    assert_int_equal(c.decoder.eos[0], 7);
    write_text(folder, "config.json", "{\"model_type\": \"llama\", \"eos_token_id\": -1}");
    write_text(folder, "generation_config.json", "{}");
    assert_int_equal(load(folder).decoder.eos_n, 0);
    write_text(folder, "generation_config.json", "{\"eos_token_id\": \"</s>\"}");
    assert_int_equal(config_load(folder, &c, &e), -1);
    error_says(&e, "generation_config.json");
    error_says(&e, "eos_token_id");
    write_text(folder, "generation_config.json", "{");
    assert_int_equal(config_load(folder, &c, &e), -1);
    error_says(&e, "bad JSON");
    scratch_drop(folder);
}

static void text_refusals(void **state) {
    (void)state;
    static const struct {
        const char *text, *says[2];
    } cases[] = {
        { "\"model_type\": \"mistral\", \"sliding_window\": 0", { "sliding_window", "out of range" } },
        { "\"model_type\": \"mistral\", \"sliding_window\": \"all\"", { "sliding_window", "a string" } },
        { "\"model_type\": \"mistral\", \"num_attention_heads\": 4", { "4 heads over 8", NULL } },
        { "\"model_type\": \"mistral\", \"hidden_act\": \"gelu\"", { "hidden_act", "silu" } },
        { "\"model_type\": \"qwen2\", \"use_sliding_window\": 1", { "use_sliding_window", "an integer" } },
        { "\"model_type\": \"qwen2\", \"layer_types\": [\"full_attention\", \"chunked_attention\"]",
            { "layer_types", "chunked_attention" } },
        { "\"model_type\": \"qwen2\", \"layer_types\": [3]", { "layer_types", "an integer" } },
        { "\"model_type\": \"qwen2_moe\"", { "unsupported architecture", "qwen2_moe" } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256], folder[PATH_SIZE];
        ModelConfig c;
        Error e = { 0 };
        snprintf(text, sizeof text, "{%s}", cases[i].text);
        scratch_make(folder);
        write_text(folder, "config.json", text);
        if (!config_load(folder, &c, &e)) fail_msg("case %zu was accepted", i);
        for (int j = 0; j < 2 && cases[i].says[j]; j++) error_says(&e, cases[i].says[j]);
        scratch_drop(folder);
    }
}

static void processor_file(void **state) {
    (void)state;
    char folder[PATH_SIZE];
    scratch_make(folder);
    write_text(folder, "config.json", "{\"model_type\": \"llava\", \"text_config\": {}}");
    write_text(folder, "processor_config.json", "{\"image_processor\": {\"image_mean\": [0.5, 0.25, 0], \"image_std\": [1, 2, 3]}}");
    ModelConfig c = load(folder);
    assert_true(c.image_mean[0] == 0.5f && c.image_mean[2] == 0 && c.image_std[1] == 2);
    write_text(folder, "preprocessor_config.json", "{\"image_std\": [1, 0, 3]}");
    Error e = { 0 };
    assert_int_equal(config_load(folder, &c, &e), -1);
    error_says(&e, "image_std");
    scratch_drop(folder);
}

#define ORIGINAL_TEXT(TYPE, TOWER)                                                                                                         \
    "{\"model_type\": \"" TYPE "\", \"mm_vision_tower\": \"" TOWER "\", \"mm_projector_type\": \"mlp2x_gelu\", \"mm_hidden_size\": 1024}"

static void towers(void **state) {
    (void)state;
    ModelConfig c = load_text(ORIGINAL_TEXT("llava", "openai/clip-vit-large-patch14-336")); /* the first originals say "llava" */
    assert_string_equal(c.model_type, "llava_llama");
    assert_string_equal(c.vision_folder, "");
    assert_int_equal(c.vision.layers, 24);
    assert_int_equal(c.image_tokens, 576);
    c = load_text(ORIGINAL_TEXT("llava_llama", "openai/clip-vit-large-patch14"));
    assert_int_equal(c.image_tokens, 256);
    assert_true(config_is_original(&c));

    /* Original checkpoints on other decoders: the keys at the top are of that class. */
    c = load_text(ORIGINAL_TEXT("llava_mistral", "openai/clip-vit-large-patch14"));
    assert_string_equal(c.model_type, "llava_mistral");
    assert_true(config_is_original(&c));
    assert_int_equal(c.decoder.kv_heads, 8);
    assert_int_equal(c.decoder.window, 4096);
    c = load_text(ORIGINAL_TEXT("llava_qwen", "openai/clip-vit-large-patch14"));
    assert_true(config_is_original(&c));
    assert_int_equal(c.decoder.qkv_bias, 1);
    assert_int_equal(c.decoder.vocab, 151936);

    /* A folder beside the checkpoint, under the last part of the name, with the config of a whole CLIP. */
    char folder[PATH_SIZE], model[PATH_SIZE], tower[PATH_SIZE];
    scratch_make(folder);
    strcpy(model, at(folder, "model")), strcpy(tower, at(folder, "clip-huge"));
    assert_int_equal(folder_make(model, NULL) | folder_make(tower, NULL), 0);
    write_text(model, "config.json", ORIGINAL_TEXT("llava_llama", "somebody/clip-huge"));
    Error e = { 0 };
    assert_int_equal(config_load(model, &c, &e), -1);
    error_says(&e, "vision tower not found");
    error_says(&e, "somebody/clip-huge");
    write_text(tower, "config.json", "{\"model_type\": \"clip\", \"vision_config\": {\"hidden_size\": 1024, \"num_attention_heads\": 16}}");
    c = load(model);
    assert_int_equal(c.vision.width, 1024);
    assert_int_equal(c.vision.layers, 12);
    write_text(tower, "config.json", "{\"model_type\": \"clip\", \"vision_config\": {}}");
    assert_int_equal(config_load(model, &c, &e), -1);
    error_says(&e, "mm_hidden_size");
    scratch_drop(folder);
}

/* ---- refusals ---- */

typedef struct Case {
    const char *base, *path, *value, *says[2]; /* value NULL: the field is removed */
} Case;

/* Sets `path` ("a.b") of `o` to the JSON text `value`. */
static void patch(json_t *o, const char *path, const char *value) {
    char first[64];
    const char *dot = strchr(path, '.');
    if (dot) {
        snprintf(first, sizeof first, "%.*s", (int)(dot - path), path);
        o = json_object_get(o, first);
        path = dot + 1;
    }
    if (!value) assert_int_equal(json_object_del(o, path), 0);
    else assert_int_equal(json_object_set_new(o, path, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
}

static void refusals(void **state) {
    (void)state;
    const Case cases[] = {
        { HUB, "model_type", "\"qwen2_vl\"", { "qwen2_vl", "llava, llava_next, omnilmm, llava_llama, llava_mistral, llava_qwen, llama, mistral or qwen2" } },
        { HUB, "model_type", NULL, { "missing field", "model_type" } },
        { HUB, "text_config", NULL, { "missing field", "text_config" } },
        { HUB, "text_config", "[]", { "text_config", "an array" } },
        { HUB, "vision_config", "3", { "vision_config", "an integer" } },
        { HUB, "quantization_config", "{}", { "quantised", NULL } },
        { HUB, "projector_hidden_act", "\"relu\"", { "projector_hidden_act", "relu" } },
        { HUB, "multimodal_projector_bias", "false", { "multimodal_projector_bias", NULL } },
        { HUB, "vision_feature_layer", "[-2, -5]", { "vision_feature_layer", "a list" } },
        { HUB, "vision_feature_layer", "4", { "vision_feature_layer", "3 blocks" } },
        { HUB, "vision_feature_layer", "-9", { "vision_feature_layer", "-9" } },
        { HUB, "vision_feature_select_strategy", "\"some\"", { "vision_feature_select_strategy", "\"full\"" } },
        { HUB, "image_token_index", "-3", { "image_token_index", "out of range" } },
        { HUB, "text_config.model_type", "\"qwen3\"", { "qwen3", "llama, mistral or qwen2" } },
        { HUB, "text_config.model_type", "\"llava_mistral\"", { "unsupported decoder", "llava_mistral" } },
        { HUB, "text_config.model_type", "\"gemma\"", { "model_type", "gemma" } },
        { HUB, "text_config.hidden_act", "\"gelu\"", { "hidden_act", "silu" } },
        { HUB, "text_config.attention_bias", "true", { "attention_bias", "output" } },
        { HUB, "text_config.mlp_bias", "true", { "mlp_bias", NULL } },
        { HUB, "text_config.hidden_size", "1099511627776", { "hidden_size", "1099511627776" } },
        { HUB, "text_config.hidden_size", "-48", { "hidden_size", "-48" } },
        { HUB, "text_config.hidden_size", "0", { "hidden_size", "out of range" } },
        { HUB, "text_config.hidden_size", "\"48\"", { "hidden_size", "a string" } },
        { HUB, "text_config.hidden_size", "48.0", { "hidden_size", "a number" } },
        { HUB, "text_config.hidden_size", "50", { "do not divide", "50" } },
        { HUB, "text_config.hidden_size", "36", { "head size", "12" } },
        { HUB, "text_config.num_hidden_layers", "1000000", { "num_hidden_layers", NULL } },
        { HUB, "text_config.vocab_size", "1099511627776", { "vocab_size", NULL } },
        { HUB, "text_config.num_key_value_heads", "2", { "3 heads over 2", NULL } },
        { HUB, "text_config.rms_norm_eps", "0", { "rms_norm_eps", NULL } },
        { HUB, "text_config.rope_theta", "-1", { "rope_theta", NULL } },
        { HUB, "text_config.rope_scaling", "{\"type\": \"linear\"}", { "rope_scaling", "\"factor\"" } },
        { HUB, "text_config.rope_scaling", "{\"type\": \"linear\", \"factor\": 0.5}", { "rope_scaling", "0.5" } },
        { HUB, "text_config.rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 2}", { "yarn", "default, linear or llama3" } },
        { HUB, "text_config.rope_scaling", "{\"rope_type\": 3}", { "rope_scaling", "an integer" } },
        { HUB, "text_config.rope_scaling", "\"linear\"", { "rope_scaling", "a string" } },
        { HUB, "text_config.eos_token_id", "[\"x\"]", { "eos_token_id", NULL } },
        { HUB, "text_config.eos_token_id", "[3, -7]", { "eos_token_id", NULL } },
        { HUB, "text_config.eos_token_id", "[1, 2, 3, 4, 5, 6, 7, 8, 9]", { "eos_token_id", "at most 8" } },
        { V5, "text_config.rope_parameters", "{\"rope_type\": \"llama3\", \"rope_theta\": 5e5}", { "rope_parameters", "factor" } },
        { V5, "text_config.rope_parameters", LLAMA3("4", "4", "8192"), { "low_freq_factor 4, high_freq_factor 4", NULL } },
        { V5, "text_config.rope_parameters", LLAMA3("0", "4", "8192"), { "low_freq_factor", "out of range" } },
        { V5, "text_config.rope_parameters", LLAMA3("1", "4", "0"), { "original_max_position_embeddings", NULL } },
        { V5, "text_config.rope_parameters", LLAMA3("1", "4", "8192.5"), { "original_max_position_embeddings", NULL } },
        { V5, "text_config.rope_parameters", "{\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}",
            { "partial_rotary_factor", NULL } },
        { V5, "text_config.head_dim", "65536", { "4 heads of 65536", NULL } },
        { V5, "text_config.head_dim", "1032", { "head size", "at most 1024" } },
        { HUB, "vision_config.model_type", "\"siglip_vision_model\"", { "siglip", "clip_vision_model" } },
        { HUB, "vision_config.hidden_act", "\"silu\"", { "hidden_act", "quick_gelu" } },
        { HUB, "vision_config.num_channels", "1", { "num_channels", NULL } },
        { HUB, "vision_config.patch_size", "13", { "do not tile", "56" } },
        { HUB, "vision_config.patch_size", "0", { "patch_size", NULL } },
        { HUB, "vision_config.image_size", "1099511627776", { "image_size", NULL } },
        { HUB, "vision_config.num_attention_heads", "3", { "do not divide", NULL } },
        { ORIGINAL, "mm_vision_tower", NULL, { "mm_vision_tower", "missing" } },
        { ORIGINAL, "mm_vision_tower", "\"./elsewhere\"", { "vision tower not found", "elsewhere" } },
        { ORIGINAL, "mm_projector_type", "\"mlp3x_gelu\"", { "mm_projector_type", "mlp2x_gelu" } },
        { ORIGINAL, "mm_projector_type", NULL, { "mm_projector_type", "linear" } },
        { ORIGINAL, "mm_use_im_start_end", "true", { "mm_use_im_start_end", NULL } },
        { ORIGINAL, "image_aspect_ratio", "\"anyres\"", { "anyres", "spatial_unpad" } },
        { ORIGINAL, "image_aspect_ratio", "\"anyres_max_9\"", { "anyres_max_9", "one tile" } },
        { ORIGINAL, "mm_patch_merge_type", "\"spatial_unpad\"", { "spatial_unpad", "flat" } },
        { NEXT, "image_grid_pinpoints", "[]", { "image_grid_pinpoints", "0 entries" } },
        { NEXT, "image_grid_pinpoints", "28", { "image_grid_pinpoints", "no list" } },
        { NEXT, "image_grid_pinpoints", "[[28, 56], [28, 50]]", { "[28, 50]", "multiples of the tower's image_size 28" } },
        { NEXT, "image_grid_pinpoints", "[[28, 0]]", { "[28, 0]", NULL } },
        { NEXT, "image_grid_pinpoints", "[[28, 56, 84]]", { "image_grid_pinpoints", NULL } },
        { NEXT, "image_grid_pinpoints", "[[28, 1099511627776]]", { "1099511627776", "64 tiles" } },
        { NEXT, "image_grid_pinpoints", "[[120259084288, 120259084288]]", { "120259084288", "at most 4096" } }, /* whose tiles are 2^64 */
        { NEXT, "image_grid_pinpoints", "[[28, 4116]]", { "[28, 4116]", "at most 4096" } },
        { NEXT, "vision_feature_select_strategy", "\"full\"", { "class token", "default" } },
        { ORIGINAL, "mm_hidden_size", "64", { "disagree", "32" } },
        { ORIGINAL, "mm_vision_select_feature", "\"cls\"", { "mm_vision_select_feature", "patch" } },
    };
    char folder[PATH_SIZE];
    scratch_make(folder);
    assert_int_equal(folder_make(at(folder, "vision"), NULL), 0);
    assert_int_equal(file_copy("tests/golden/llava15-orig/model/vision/config.json", at(folder, "vision/config.json"), NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *o;
        Error e = { 0 };
        ModelConfig c;
        assert_int_equal(json_read_object(at(cases[i].base, "config.json"), &o, NULL), 0);
        patch(o, cases[i].path, cases[i].value);
        char *text = json_dumps(o, 0);
        write_text(folder, "config.json", text);
        free(text);
        json_decref(o);
        if (!config_load(folder, &c, &e)) fail_msg("case %zu (%s) was accepted", i, cases[i].path);
        for (int j = 0; j < 2 && cases[i].says[j]; j++) error_says(&e, cases[i].says[j]);
        error_says(&e, "config.json");
    }
    ModelConfig c;
    Error e = { 0 };
    write_text(folder, "config.json", "{\"model_type\": \"llava\",");
    assert_int_equal(config_load(folder, &c, &e), -1);
    error_says(&e, "bad JSON");
    scratch_drop(folder);
    assert_int_equal(config_load(folder, &c, &e), -1);
    error_says(&e, "config.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_hub),
        cmocka_unit_test(golden_original),
        cmocka_unit_test(golden_v5),
        cmocka_unit_test(hub_defaults),
        cmocka_unit_test(class_defaults),
        cmocka_unit_test(spellings),
        cmocka_unit_test(class_presets),
        cmocka_unit_test(windows),
        cmocka_unit_test(scaled_rope),
        cmocka_unit_test(ends),
        cmocka_unit_test(text_refusals),
        cmocka_unit_test(processor_file),
        cmocka_unit_test(towers),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("hf_config", tests, NULL, NULL);
}

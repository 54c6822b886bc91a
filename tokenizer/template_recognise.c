/* template_recognise.c - owns the guess of what chat template a checkpoint was trained with.
 *
 * Looked at in this order: what config.json calls the model; marks in the Jinja template that the folder carries (it is searched, never
 * run); for vision-language models, which often carry none, the kind of text model and the tokenizer's tokens. LLaVA-1.5 in every layout is
 * vicuna_v1, whatever llava-hf's template says: that one leaves out the system sentence LLaVA was trained with. A text model of which
 * nothing is recognised is refused rather than guessed at: a wrong template does not fail, it only makes answers worse. */
#include "tokenizer/template.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

enum { JINJA_BYTES_MOST = 1 << 20 };

typedef struct Facts {
    const Tokenizer *t;
    char type[64], text_type[64]; /* model_type of the whole and of its text model; "" */
    int pictures;                 /* a vision-language model */
    char *jinja;                  /* "" when the folder has none */
    const char *jinja_file;
} Facts;

static void word_of(const json_t *o, const char *key, char out[64]) {
    const char *word = json_string_value(json_object_get(o, key));
    if (word) snprintf(out, 64, "%s", word);
}

static int read_config(Facts *f, const char *folder, Error *e) {
    char path[PATH_SIZE];
    json_t *o;
    if (path_join(path, folder, "config.json", e)) return -1;
    if (!file_exists(path)) return 0;
    if (json_read_reals(path, &o, e)) return -1;
    word_of(o, "model_type", f->type);
    snprintf(f->text_type, sizeof f->text_type, "%s", f->type);
    word_of(json_object_get(o, "text_config"), "model_type", f->text_type);
    f->pictures = json_object_get(o, "mm_vision_tower") || json_object_get(o, "vision_config");
    json_decref(o);
    return 0;
}

/* The template in a JSON file's "chat_template": text, or a list of named ones of which "default" counts. malloc'd, or NULL. */
static char *jinja_of(const char *path) {
    json_t *o;
    if (!file_exists(path) || json_read_reals(path, &o, NULL)) return NULL;
    const json_t *value = json_object_get(o, "chat_template");
    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++) {
        const json_t *named = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(named, "name"));
        if (name && !strcmp(name, "default")) value = json_object_get(named, "template");
    }
    char *text = json_is_string(value) ? strdup(json_string_value(value)) : NULL;
    json_decref(o);
    return text;
}

static int read_jinja(Facts *f, const char *folder, Error *e) {
    static const char *const files[] = { "chat_template.jinja", "chat_template.json", "tokenizer_config.json" };
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof files / sizeof *files && !f->jinja; i++) {
        size_t size;
        if (path_join(path, folder, files[i], e)) return -1;
        f->jinja_file = files[i];
        if (i) f->jinja = jinja_of(path);
        else if (file_exists(path) && file_read(path, JINJA_BYTES_MOST, &f->jinja, &size, e)) return -1;
    }
    if (!f->jinja && !(f->jinja = strdup(""))) return error_what(e, "out of memory for a chat template");
    return 0;
}

static int jinja_has(const Facts *f, const char *mark) { return strstr(f->jinja, mark) != NULL; }
static int token_known(const Facts *f, const char *name) { return f->t && tokenizer_added(f->t, name) >= 0; }

/* Always 1: what was recognised. */
static int is(TemplateGuess *g, const char *name, const char *format, const char *a, const char *b) {
    g->name = name;
    snprintf(g->why, sizeof g->why, format, a, b);
    return 1;
}

static const char *chatml_kind(const Facts *f) {
    if (f->pictures && !strncmp(f->text_type, "llama", 5)) return "chatml_direct";
    if (f->pictures && !strncmp(f->type, "llava_llama", 11)) return "chatml_direct";
    if (jinja_has(f, "You are Qwen, created by Alibaba Cloud")) return "qwen2.5";
    return jinja_has(f, "You are a helpful assistant") || !strncmp(f->text_type, "qwen2", 5) || !strcmp(f->type, "llava_qwen") ? "qwen2"
                                                                                                                               : "chatml";
}

static int is_mistral(const Facts *f) {
    return !strcmp(f->type, "llava_mistral") || !strcmp(f->text_type, "mistral") || !strcmp(f->text_type, "mixtral");
}

static int by_jinja(const Facts *f, TemplateGuess *g) {
    static const char format[] = "its %s has %s";
    if (jinja_has(f, "<|start_header_id|>")) return is(g, "llama-3", format, f->jinja_file, "<|start_header_id|>");
    if (jinja_has(f, "<|im_start|>")) return is(g, chatml_kind(f), format, f->jinja_file, "<|im_start|>");
    /* Phi's roles look like Zephyr's, but end with a token of their own. */
    if (jinja_has(f, "<|user|>") && jinja_has(f, "<|assistant|>") && jinja_has(f, "eos_token") && !jinja_has(f, "<|end|>"))
        return is(g, "zephyr", format, f->jinja_file, "<|user|> and <|assistant|>");
    /* Where [INST] is a token, it is a later format of Mistral's, with other spaces. */
    if (jinja_has(f, "[INST]") && !token_known(f, "[INST]"))
        return is(g, jinja_has(f, "<<SYS>>") && !is_mistral(f) ? "llama-2" : "mistral", format, f->jinja_file, "[INST]");
    if (jinja_has(f, "USER:") || (jinja_has(f, "ASSISTANT:") && f->pictures))
        return is(g, "vicuna_v1", format, f->jinja_file, "ASSISTANT:");
    return 0;
}

static int by_pictures(const Facts *f, TemplateGuess *g) {
    if (is_mistral(f)) return is(g, "mistral", "config.json: a vision-language model on %s%s", "mistral", "");
    if (!strcmp(f->type, "llava_qwen") || !strncmp(f->text_type, "qwen2", 5))
        return is(g, "qwen2", "config.json: a vision-language model on %s%s", "qwen2", "");
    if (token_known(f, "<|im_start|>") && token_known(f, "<|im_end|>"))
        return is(g, chatml_kind(f), "config.json: model_type %s; its tokenizer has %s", f->type, "<|im_start|>");
    if (token_known(f, "<|start_header_id|>"))
        return is(g, "llama-3", "config.json: model_type %s; its tokenizer has %s", f->type, "<|start_header_id|>");
    if (strncmp(f->type, "llava", 5)) return 0;
    return is(g, "vicuna_v1", "config.json: model_type %s%s", f->type, "");
}

static int recognise(const Facts *f, TemplateGuess *g) {
    if (!strcmp(f->type, "omnilmm")) return is(g, "omnilmm", "config.json: model_type %s%s", f->type, "");
    return by_jinja(f, g) || (f->pictures && by_pictures(f, g));
}

int template_recognise(const char *folder, const Tokenizer *t, TemplateGuess *out, Error *e) {
    Facts f = { .t = t };
    int bad = read_config(&f, folder, e) || read_jinja(&f, folder, e);
    if (!bad && !recognise(&f, out)) {
        char list[260];
        error_what(e, "the checkpoint does not say which chat template it takes"), error_where(e, "%s", folder);
        error_found(e, "model_type \"%s\", %s", f.type, f.jinja[0] ? "a chat template that is not known here" : "no chat template");
        error_expected(e, "a template by name: %s", template_names(list, sizeof list));
        bad = error_hint(
            e, "set [chat] template, or --template: plain for a base model, or the path of a file of your own (docs/formats.md)");
    }
    free(f.jinja);
    return bad ? -1 : 0;
}

/* hub_steps.c - reads the stages of tokenizer.json: normalizer, pre_tokenizer, decoder, post_processor.
 *
 * Sequences are flattened, and what one word does in two ways becomes two steps: ByteLevel is a prefix, GPT-2's expression, and words that
 * are bytes; Metaspace is a prefix and a cut. A kind that is not in the tables here is refused by its name, and so is a ByteLevel that
 * others follow. What a post-processor adds beyond one token in front is not used: templates own where texts end. */
#include "tokenizer/hub.h"

#include <stdlib.h>
#include <string.h>

#define GPT2_EXPRESSION "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

int hub_refuse(const char *path, const char *field, const char *what, const char *found, const char *expected, Error *e) {
    error_what(e, "%s", what);
    error_where(e, "%s: field \"%s\"", path, field);
    error_found(e, "%.200s", found);
    return error_expected(e, "%s", expected);
}

/* Where a step stands: the path of the file, and of the step within it. */
typedef struct Place {
    const char *path;
    char field[96], where[PATH_SIZE + 128]; /* where: both, for the readers of base/json.h */
} Place;

static void place_set(Place *p, const char *path, const char *stage, int number) {
    p->path = path;
    if (number < 0) snprintf(p->field, sizeof p->field, "%s", stage);
    else snprintf(p->field, sizeof p->field, "%s, step %d", stage, number);
    snprintf(p->where, sizeof p->where, "%s: %s", path, p->field);
}

typedef int StepReader(Hub *h, const json_t *step, const char *kind, const Place *p, Error *e);

/* Reads one step, or the steps of a Sequence, whose list is called `list`. */
static int read_stage(Hub *h, const json_t *stage, const char *name, const char *list, const char *path, StepReader *read, Error *e) {
    Place p;
    const char *kind;
    place_set(&p, path, name, -1);
    if (!stage || json_is_null(stage)) return 0;
    if (!json_is_object(stage)) return hub_refuse(path, name, "wrong type", json_kind(stage), "an object or null", e);
    if (json_need_string(stage, "type", p.where, &kind, e)) return -1;
    if (strcmp(kind, "Sequence")) return read(h, stage, kind, &p, e);
    const json_t *steps = json_object_get(stage, list), *step;
    size_t i;
    if (!json_is_array(steps)) return hub_refuse(path, name, "a Sequence without its list", json_kind(steps), "an array of steps", e);
    json_array_foreach(steps, i, step) {
        place_set(&p, path, name, (int)i);
        if (!json_is_object(step)) return hub_refuse(path, p.field, "wrong type", json_kind(step), "an object", e);
        if (json_need_string(step, "type", p.where, &kind, e) || read(h, step, kind, &p, e)) return -1;
    }
    return 0;
}

static int unknown_kind(const char *stage, const char *kind, const char *expected, const Place *p, Error *e) {
    char what[80];
    snprintf(what, sizeof what, "this kind of %s is not supported", stage);
    return hub_refuse(p->path, p->field, what, kind, expected, e);
}

static int too_many(const Place *p, Error *e) { return hub_refuse(p->path, p->field, "too many steps", "more", "at most 16", e); }

/* A field that holds a text that is not empty when `needed`. */
static int read_text(const json_t *o, const char *key, const Place *p, int needed, Text *out, Error *e) {
    const char *text;
    if (json_need_string(o, key, p->where, &text, e)) return -1;
    const size_t size = json_string_length(json_object_get(o, key));
    if ((needed && !size) || size > HUB_TOKEN_MOST) {
        error_what(e, "a text of a wrong length"), error_where(e, "%s: field \"%s\"", p->where, key), error_found(e, "%zu bytes", size);
        return error_expected(e, "%d to %d", needed, HUB_TOKEN_MOST);
    }
    return text_copy(out, text, size, e);
}

/* A field that holds one character. */
static int read_character(const json_t *o, const char *key, const Place *p, Text *out, Error *e) {
    uint32_t code;
    if (read_text(o, key, p, 1, out, e)) return -1;
    if (utf8_next(out->data, (size_t)out->size, &code) == out->size) return 0;
    return hub_refuse(p->path, key, "not one character", out->data, "one character", e);
}

/* {"String": S}; {"Regex": S} where an expression is allowed, which leaves its text in *regex. */
static int read_pattern(const json_t *o, const Place *p, Text *string, const json_t **regex, Error *e) {
    const json_t *pattern = json_object_get(o, "pattern"), *r = json_object_get(pattern, "Regex");
    if (json_object_size(pattern) == 1 && json_is_string(r) && regex) return *regex = r, 0;
    if (json_object_size(pattern) == 1 && json_object_get(pattern, "String")) return read_text(pattern, "String", p, 1, string, e);
    return hub_refuse(p->path, p->field, "this kind of pattern is not supported", r ? "Regex" : json_kind(pattern),
        regex ? "{\"String\": ...} or {\"Regex\": ...}" : "{\"String\": ...}", e);
}

/* ---- normalizer ---- */

static int read_normal(Hub *h, const json_t *step, const char *kind, const Place *p, Error *e) {
    if (h->normal_count == HUB_STEPS_MOST) return too_many(p, e);
    NormalStep *n = &h->normal[h->normal_count++];
    if (!strcmp(kind, "NFC")) return n->kind = NORMAL_NFC, 0;
    if (!strcmp(kind, "Prepend")) return n->kind = NORMAL_PREPEND, read_text(step, "prepend", p, 0, &n->content, e);
    if (!strcmp(kind, "Replace"))
        return n->kind = NORMAL_REPLACE,
               read_pattern(step, p, &n->pattern, NULL, e) || read_text(step, "content", p, 0, &n->content, e) ? -1 : 0;
    return unknown_kind("normalizer", kind, "NFC, Prepend, Replace, or a Sequence of them", p, e);
}

int hub_read_normalizer(Hub *h, const json_t *root, const char *path, Error *e) {
    return read_stage(h, json_object_get(root, "normalizer"), "normalizer", "normalizers", path, read_normal, e);
}

/* ---- pre_tokenizer ---- */

static SplitStep *split_new(Hub *h, const Place *p, Error *e) {
    if (h->split_count == HUB_STEPS_MOST) return too_many(p, e), NULL;
    return &h->split[h->split_count++];
}

static int choose(const json_t *o, const char *key, const Place *p, const char *const *names, const char *expected, int *out, Error *e) {
    const char *name = NULL;
    if (json_may_string(o, key, p->where, &name, e)) return -1;
    if (!name) return 0;
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], name)) return *out = i, 0;
    return hub_refuse(p->where, key, "unknown choice", name, expected, e);
}

static int read_behaviour(const json_t *o, const Place *p, Behaviour *out, Error *e) {
    static const char *const names[] = { "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous", NULL };
    int b = (int)*out;
    if (choose(o, "behavior", p, names, "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous", &b, e)) return -1;
    return *out = (Behaviour)b, 0;
}

static int read_byte_level(Hub *h, const json_t *o, const Place *p, Error *e) {
    int prefix = 1, regex = 1;
    if (json_may_bool(o, "add_prefix_space", p->where, &prefix, e) || json_may_bool(o, "use_regex", p->where, &regex, e)) return -1;
    h->byte_level = 1;
    if (prefix) {
        SplitStep *s = split_new(h, p, e);
        if (!s) return -1;
        s->kind = SPLIT_PREFIX, s->prefix = PREFIX_ALWAYS;
        if (text_copy(&s->text, " ", 1, e)) return -1;
    }
    if (!regex) return 0;
    SplitStep *s = split_new(h, p, e);
    if (!s) return -1;
    *s = (SplitStep){ .kind = SPLIT_CUT, .matcher = MATCH_REGEX, .behaviour = CUT_ISOLATED };
    s->regex = regex_new(GPT2_EXPRESSION, sizeof GPT2_EXPRESSION - 1, p->path, p->field, e);
    return s->regex ? 0 : -1;
}

/* Files of before 2024 say add_prefix_space in place of prepend_scheme. */
static int read_scheme(const json_t *o, const Place *p, Prefix *out, Error *e) {
    static const char *const names[] = { "never", "first", "always", NULL };
    int old = 1, scheme = PREFIX_ALWAYS;
    if (json_may_bool(o, "add_prefix_space", p->where, &old, e)) return -1;
    if (!old) scheme = PREFIX_NEVER;
    if (choose(o, "prepend_scheme", p, names, "never, first or always", &scheme, e)) return -1;
    return *out = (Prefix)scheme, 0;
}

static int read_metaspace(Hub *h, const json_t *o, const Place *p, Error *e) {
    int split = 1;
    SplitStep *s = split_new(h, p, e);
    if (!s) return -1;
    *s = (SplitStep){ .kind = SPLIT_PREFIX, .spaces = 1 };
    if (read_character(o, "replacement", p, &s->text, e) || read_scheme(o, p, &s->prefix, e)) return -1;
    if (json_may_bool(o, "split", p->where, &split, e)) return -1;
    if (!split) return 0;
    SplitStep *cut = split_new(h, p, e);
    if (!cut) return -1;
    *cut = (SplitStep){ .kind = SPLIT_CUT, .matcher = MATCH_TEXT, .behaviour = CUT_WITH_NEXT };
    return text_copy(&cut->text, s->text.data, (size_t)s->text.size, e);
}

static int read_split(Hub *h, const json_t *o, const Place *p, Error *e) {
    SplitStep *s = split_new(h, p, e);
    const json_t *regex = NULL;
    if (!s) return -1;
    *s = (SplitStep){ .kind = SPLIT_CUT, .matcher = MATCH_TEXT, .behaviour = CUT_REMOVED };
    const char *behaviour;
    if (json_need_string(o, "behavior", p->where, &behaviour, e) || read_behaviour(o, p, &s->behaviour, e)) return -1;
    if (json_may_bool(o, "invert", p->where, &s->invert, e) || read_pattern(o, p, &s->text, &regex, e)) return -1;
    if (!regex) return 0;
    s->matcher = MATCH_REGEX;
    s->regex = regex_new(json_string_value(regex), json_string_length(regex), p->path, p->field, e);
    return s->regex ? 0 : -1;
}

static int read_class(Hub *h, const json_t *o, const char *kind, const Place *p, Error *e) {
    SplitStep *s = split_new(h, p, e);
    int single = 0;
    if (!s) return -1;
    *s = (SplitStep){ .kind = SPLIT_CUT, .matcher = MATCH_SPACE, .behaviour = CUT_REMOVED };
    if (!strcmp(kind, "WhitespaceSplit")) return 0;
    if (!strcmp(kind, "Digits")) {
        if (json_may_bool(o, "individual_digits", p->where, &single, e)) return -1;
        return s->matcher = MATCH_NUMBER, s->behaviour = single ? CUT_ISOLATED : CUT_TOGETHER, 0;
    }
    return s->matcher = MATCH_PUNCTUATION, s->behaviour = CUT_ISOLATED, read_behaviour(o, p, &s->behaviour, e);
}

static int read_step(Hub *h, const json_t *step, const char *kind, const Place *p, Error *e) {
    if (h->byte_level) return hub_refuse(p->path, p->field, "a pre-tokenizer behind ByteLevel", kind, "ByteLevel to be the last", e);
    if (!strcmp(kind, "ByteLevel")) return read_byte_level(h, step, p, e);
    if (!strcmp(kind, "Metaspace")) return read_metaspace(h, step, p, e);
    if (!strcmp(kind, "Split")) return read_split(h, step, p, e);
    if (!strcmp(kind, "Digits") || !strcmp(kind, "Punctuation") || !strcmp(kind, "WhitespaceSplit")) return read_class(h, step, kind, p, e);
    return unknown_kind("pre_tokenizer", kind, "ByteLevel, Metaspace, Split, Digits, Punctuation, WhitespaceSplit, or a Sequence", p, e);
}

int hub_read_splits(Hub *h, const json_t *root, const char *path, Error *e) {
    return read_stage(h, json_object_get(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers", path, read_step, e);
}

/* ---- decoder ---- */

static int read_decode(Hub *h, const json_t *step, const char *kind, const Place *p, Error *e) {
    if (h->decode_count == HUB_STEPS_MOST) return too_many(p, e);
    DecodeStep *d = &h->decode[h->decode_count++];
    if (!strcmp(kind, "ByteLevel")) return d->kind = DECODE_BYTES, 0;
    if (!strcmp(kind, "ByteFallback")) return d->kind = DECODE_BYTE_FALLBACK, 0;
    if (!strcmp(kind, "Fuse")) return d->kind = DECODE_FUSE, 0;
    if (!strcmp(kind, "Replace"))
        return d->kind = DECODE_REPLACE,
               read_pattern(step, p, &d->pattern, NULL, e) || read_text(step, "content", p, 0, &d->content, e) ? -1 : 0;
    if (!strcmp(kind, "Strip")) {
        int64_t start, stop;
        d->kind = DECODE_STRIP;
        if (read_character(step, "content", p, &d->content, e) || json_need_integer(step, "start", p->where, 0, 1 << 20, &start, e) ||
            json_need_integer(step, "stop", p->where, 0, 1 << 20, &stop, e))
            return -1;
        return d->start = (int)start, d->stop = (int)stop, 0;
    }
    if (!strcmp(kind, "Metaspace")) {
        Prefix scheme;
        d->kind = DECODE_METASPACE;
        if (read_character(step, "replacement", p, &d->pattern, e) || read_scheme(step, p, &scheme, e)) return -1;
        return d->start = scheme != PREFIX_NEVER, 0;
    }
    return unknown_kind("decoder", kind, "ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip, or a Sequence", p, e);
}

int hub_read_decoder(Hub *h, const json_t *root, const char *path, Error *e) {
    const json_t *stage = json_object_get(root, "decoder");
    h->decodes = stage && !json_is_null(stage);
    return read_stage(h, stage, "decoder", "decoders", path, read_decode, e);
}

/* ---- post_processor ---- */

static int read_template_step(Hub *h, const json_t *step, const char *kind, const Place *p, Error *e) {
    if (!strcmp(kind, "ByteLevel")) return 0; /* offsets only */
    if (strcmp(kind, "TemplateProcessing"))
        return unknown_kind("post_processor", kind, "TemplateProcessing, ByteLevel, or a Sequence", p, e);
    const json_t *first = json_object_get(json_array_get(json_object_get(step, "single"), 0), "SpecialToken");
    if (!first) return 0;
    const char *name;
    int64_t id;
    if (json_need_string(first, "id", p->where, &name, e)) return -1;
    const json_t *ids = json_object_get(json_object_get(json_object_get(step, "special_tokens"), name), "ids"),
                 *value = json_array_get(ids, 0);
    id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (json_array_size(ids) != 1 || id < 0 || id >= (int64_t)h->count || !h->flags[id])
        return hub_refuse(
            p->path, p->field, "a template's token without an id", name, "\"special_tokens\" to give it one id of the vocabulary", e);
    return h->template_bos = (int)id, 0;
}

int hub_read_template(Hub *h, const json_t *root, const char *path, Error *e) {
    h->template_bos = -1;
    return read_stage(h, json_object_get(root, "post_processor"), "post_processor", "processors", path, read_template_step, e);
}

void hub_free_steps(Hub *h) {
    for (int i = 0; i < h->normal_count; i++) free(h->normal[i].pattern.data), free(h->normal[i].content.data);
    for (int i = 0; i < h->split_count; i++) regex_free(h->split[i].regex), free(h->split[i].text.data);
    for (int i = 0; i < h->decode_count; i++) free(h->decode[i].pattern.data), free(h->decode[i].content.data);
}

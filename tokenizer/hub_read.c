/* hub_read.c - reads a Hugging Face tokenizer.json with a BPE model: vocabulary, merges, added tokens; builds the tables of encoding.
 *
 * Refuses, each with the file and the field: models other than BPE; dropout, subword prefixes and suffixes; ids that are no integers, stand
 * twice, leave holes below the model's highest, or lie beyond HUB_IDS_MOST; merges of parts that are not in the vocabulary, of empty parts
 * (a merge that makes its own side would never end), that make no token, or stand twice; added tokens without text, twice, or with the id
 * or the name of another token. Merges that touch a special token are left out: text must not become one (tokenizer.h). */
#include "tokenizer/hub.h"

#include <stdlib.h>
#include <string.h>

enum { ADDED_MOST = 1024 /* bytes of an added token: finding them costs this much for a byte of text, at worst */ };
#define ADDED_LENGTHS "1 to 1024 bytes"

/* ---- texts by hash ---- */

int text_copy(Text *to, const char *text, size_t size, Error *e) {
    if (!(to->data = mem_new(size + 1, 1, "the tokenizer", e))) return -1;
    memcpy(to->data, text, size);
    to->size = (int)size;
    return 0;
}

static size_t text_slot(const TextIndex *x, const char *text, size_t size) { return (size_t)hash64(text, size, 0) & x->mask; }

int text_index_build(TextIndex *x, const Text *keys, size_t count, int *twice, Error *e) {
    size_t slots = 64;
    while (slots < 2 * count) slots *= 2;
    if (!(x->slots = mem_new(slots, sizeof *x->slots, "the index of tokens", e))) return -1;
    memset(x->slots, 0xff, slots * sizeof *x->slots);
    x->mask = slots - 1, x->keys = keys;
    if (twice) *twice = -1;
    for (size_t i = 0; i < count; i++) {
        if (!keys[i].data) continue;
        if (text_index_find(x, keys[i].data, (size_t)keys[i].size) >= 0) {
            if (twice) *twice = (int)i;
            continue;
        }
        size_t slot = text_slot(x, keys[i].data, (size_t)keys[i].size);
        while (x->slots[slot] >= 0) slot = (slot + 1) & x->mask;
        x->slots[slot] = (int)i;
    }
    return 0;
}

int text_index_find(const TextIndex *x, const char *text, size_t size) {
    if (!x->slots) return -1;
    for (size_t slot = text_slot(x, text, size);; slot = (slot + 1) & x->mask) {
        const int i = x->slots[slot];
        if (i < 0 || ((size_t)x->keys[i].size == size && !memcmp(x->keys[i].data, text, size))) return i;
    }
}

void text_index_free(TextIndex *x) { free(x->slots), x->slots = NULL; }

int hub_find(const Hub *h, const char *name) { return text_index_find(&h->index, name, strlen(name)); }

/* ---- the vocabulary ---- */

/* "PATH: model.vocab" and a token, for messages. */
static int token_bad(const char *path, const char *field, const char *token, const char *what, const char *expected, Error *e) {
    char found[160];
    snprintf(found, sizeof found, "\"%.100s\"", token);
    return hub_refuse(path, field, what, found, expected, e);
}

/* Room for ids below `count`. */
static int tokens_new(Hub *h, size_t count, Error *e) {
    h->count = count;
    h->tokens = mem_new(count + 1, sizeof *h->tokens, "the vocabulary", e);
    h->flags = mem_new(count + 1, 1, "the vocabulary", e);
    return h->tokens && h->flags ? 0 : -1;
}

static int vocab_id(const json_t *value, const char *path, const char *token, int64_t *id, Error *e) {
    *id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (*id >= 0 && *id < HUB_IDS_MOST) return 0;
    token_bad(path, "model.vocab", token, "a token with a wrong id", "an integer from 0 to 8388607", e);
    return json_is_integer(value) ? error_found(e, "\"%.100s\": %lld", token, (long long)json_integer_value(value)) : -1;
}

/* `extra` added tokens may fill holes; their ids end before `added_end`. */
static int read_vocab(Hub *h, const json_t *model, size_t extra, size_t added_end, const char *path, Error *e) {
    const json_t *vocab = json_object_get(model, "vocab");
    const char *token;
    json_t *value;
    int64_t id, most = -1;
    if (!json_is_object(vocab)) return hub_refuse(path, "model.vocab", "wrong type", json_kind(vocab), "an object of tokens and ids", e);
    const size_t n = json_object_size(vocab);
    if (!n) return hub_refuse(path, "model.vocab", "a tokenizer without tokens", "nothing", "tokens and their ids", e);
    json_object_foreach((json_t *)vocab, token, value) {
        if (vocab_id(value, path, token, &id, e)) return -1;
        if (id > most) most = id;
    }
    if ((size_t)most >= n + extra) {
        hub_refuse(path, "model.vocab", "a vocabulary with holes", "", "ids from 0 on without a hole", e);
        return error_found(e, "ids up to %lld for %zu tokens", (long long)most, n + extra);
    }
    h->model_count = (size_t)most + 1;
    /* Gaps between the model's tokens and the added ones are usual: such ids mean nothing. */
    if (tokens_new(h, added_end > h->model_count ? added_end : h->model_count, e)) return -1;
    json_object_foreach((json_t *)vocab, token, value) {
        const size_t size = strlen(token), at = (size_t)json_integer_value(value);
        if (!size || size > HUB_TOKEN_MOST)
            return token_bad(path, "model.vocab", token, "a token of a wrong length", "1 to 65536 bytes", e);
        if (h->tokens[at].data) return token_bad(path, "model.vocab", token, "two tokens of one id", "an id for each token", e);
        if (text_copy(&h->tokens[at], token, size, e)) return -1;
        h->flags[at] = TOKEN_MODEL;
        const int byte = byte_of_name(token, size);
        if (byte >= 0) h->byte_id[byte] = (int)at;
    }
    return 0;
}

/* ---- added tokens ---- */

static int added_bad(const char *path, const Added *a, const char *what, const char *expected, Error *e) {
    char found[160];
    snprintf(found, sizeof found, "\"%.100s\": %d", a->text.data, a->id);
    return hub_refuse(path, "added_tokens", what, found, expected, e);
}

static int read_added(Added *a, const json_t *o, const char *path, Error *e) {
    char where[PATH_SIZE + 32];
    const char *text;
    int64_t id;
    int flags[5] = { 0 };
    static const char *const keys[] = { "special", "lstrip", "rstrip", "single_word", "normalized" };
    snprintf(where, sizeof where, "%s: added_tokens", path);
    if (!json_is_object(o)) return hub_refuse(path, "added_tokens", "wrong type", json_kind(o), "objects", e);
    if (json_need_integer(o, "id", where, 0, HUB_IDS_MOST - 1, &id, e) || json_need_string(o, "content", where, &text, e)) return -1;
    if (json_may_bool(o, "special", where, &flags[0], e)) return -1;
    flags[4] = !flags[0];
    for (int i = 1; i < 5; i++)
        if (json_may_bool(o, keys[i], where, &flags[i], e)) return -1;
    const size_t size = json_string_length(json_object_get(o, "content"));
    if (!size || size > ADDED_MOST) return token_bad(path, "added_tokens", text, "an added token of a wrong length", ADDED_LENGTHS, e);
    *a = (Added){ .id = (int)id,
        .special = (uint8_t)flags[0],
        .lstrip = (uint8_t)flags[1],
        .rstrip = (uint8_t)flags[2],
        .single_word = (uint8_t)flags[3],
        .normalized = (uint8_t)flags[4],
        .from_text = 1 };
    return text_copy(&a->text, text, size, e);
}

/* Gives an added token its place among the ids. */
static int place_added(Hub *h, const char *path, Error *e) {
    const Added *a = &h->added[h->added_count - 1];
    Text *t = &h->tokens[a->id];
    if (h->flags[a->id] & TOKEN_ADDED) return added_bad(path, a, "two added tokens of one id", "an id of its own", e);
    if (t->data && strcmp(t->data, a->text.data))
        return added_bad(path, a, "an added token with another token's id", "the id of the token of this name, or a free one", e);
    if (!t->data && text_copy(t, a->text.data, (size_t)a->text.size, e)) return -1;
    h->flags[a->id] |= (uint8_t)(TOKEN_ADDED | (a->special ? TOKEN_SPECIAL : 0));
    return 0;
}

static int read_added_list(Hub *h, const json_t *list, const char *path, Error *e) {
    const json_t *o;
    size_t i;
    json_array_foreach(list, i, o) {
        if (read_added(&h->added[h->added_count], o, path, e)) return -1;
        h->added_count++;
        if (place_added(h, path, e)) return -1;
    }
    return 0;
}

/* The tokens of added_tokens.json that tokenizer.json does not have: names without flags, which text never spells. */
static int read_added_names(Hub *h, const json_t *names, const char *path, Error *e) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)names, name, value) {
        const size_t size = strlen(name);
        int64_t id;
        if (json_need_integer(names, name, path, 0, HUB_IDS_MOST - 1, &id, e)) return -1;
        if (!size || size > ADDED_MOST) return token_bad(path, "added_tokens", name, "an added token of a wrong length", ADDED_LENGTHS, e);
        if (h->flags[id] & TOKEN_ADDED && !strcmp(h->tokens[id].data, name)) continue;
        Added *a = &h->added[h->added_count];
        *a = (Added){ .id = (int)id, .special = 1 };
        if (text_copy(&a->text, name, size, e)) return -1;
        h->added_count++;
        if (place_added(h, path, e)) return -1;
    }
    return 0;
}

/* One more than the highest id of added tokens that is in range; what is wrong with the others is said when they are read. */
static size_t added_end(const json_t *list, const json_t *names) {
    const json_t *o;
    const char *name;
    json_t *value;
    size_t i;
    json_int_t end = 0;
    json_array_foreach(list, i, o) {
        const json_int_t id = json_integer_value(json_object_get(o, "id"));
        if (id < HUB_IDS_MOST && id >= end) end = id + 1;
    }
    json_object_foreach((json_t *)names, name, value) {
        const json_int_t id = json_integer_value(value);
        if (id < HUB_IDS_MOST && id >= end) end = id + 1;
    }
    return (size_t)end;
}

static int check_tokens(Hub *h, const char *path, Error *e) {
    for (size_t id = 0; id < h->model_count; id++)
        if (!h->tokens[id].data) {
            hub_refuse(path, "model.vocab", "a vocabulary with holes", "", "ids from 0 on without a hole", e);
            return error_found(e, "no token %zu", id);
        }
    int twice;
    if (text_index_build(&h->index, h->tokens, h->count, &twice, e)) return -1;
    return twice < 0 ? 0 : token_bad(path, "added_tokens", h->tokens[twice].data, "two ids for one token", "one id for each token", e);
}

/* ---- merges ---- */

static int merge_bad(const char *path, size_t at, const char *what, const char *left, size_t size, const char *right, Error *e) {
    char field[48];
    snprintf(field, sizeof field, "model.merges[%zu]", at);
    hub_refuse(path, field, what, "", "two tokens of the vocabulary whose texts together are a third", e);
    return error_found(e, "\"%.*s\" and \"%.100s\"", (int)(size < 100 ? size : 100), left, right);
}

/* A token of the model with this text, or -1. */
static int model_find(const Hub *h, const char *text, size_t size) {
    const int id = text_index_find(&h->index, text, size);
    return id >= 0 && h->flags[id] & TOKEN_MODEL ? id : -1;
}

static int read_merge(const Hub *h, const json_t *value, size_t at, const char *path, char *joined, Merge *m, Error *e) {
    const json_t *a = json_array_get(value, 0), *b = json_array_get(value, 1);
    const char *left, *right;
    size_t left_size, right_size;
    if (json_is_string(value)) {
        left = json_string_value(value), right = strchr(left, ' ');
        if (!right || strchr(right + 1, ' ')) return merge_bad(path, at, "a merge that is no pair", left, strlen(left), "", e);
        left_size = (size_t)(right++ - left), right_size = strlen(right);
    } else if (json_array_size(value) == 2 && json_is_string(a) && json_is_string(b)) {
        left = json_string_value(a), right = json_string_value(b);
        left_size = json_string_length(a), right_size = json_string_length(b);
    } else return merge_bad(path, at, "a merge that is no pair", json_kind(value), strlen(json_kind(value)), "", e);
    if (!left_size || !right_size) return merge_bad(path, at, "a merge with nothing", left, left_size, right, e);
    const int l = model_find(h, left, left_size), r = model_find(h, right, right_size);
    if (l < 0 || r < 0) return merge_bad(path, at, "a merge of what is no token", left, left_size, right, e);
    memcpy(joined, left, left_size), memcpy(joined + left_size, right, right_size);
    *m = (Merge){ (uint32_t)l, (uint32_t)r, model_find(h, joined, left_size + right_size), (uint32_t)at };
    return m->merged >= 0 ? 0 : merge_bad(path, at, "a merge that makes no token", left, left_size, right, e);
}

static int starts_with_mark(const Text *t) { return t->size >= SPACE_MARK_SIZE && !memcmp(t->data, SPACE_MARK, SPACE_MARK_SIZE); }
static int ends_with_mark(const Text *t) {
    return t->size >= SPACE_MARK_SIZE && !memcmp(t->data + t->size - SPACE_MARK_SIZE, SPACE_MARK, SPACE_MARK_SIZE);
}

static int read_merges(Hub *h, const json_t *model, const char *path, Error *e) {
    const json_t *merges = json_object_get(model, "merges"), *value;
    if (!json_is_array(merges)) return hub_refuse(path, "model.merges", "wrong type", json_kind(merges), "an array of pairs", e);
    size_t n = json_array_size(merges), kept = 0, at, twice;
    Merge *list = mem_new(n + 1, sizeof *list, "the merges", e);
    char *joined = mem_new(2 * HUB_TOKEN_MOST + 2, 1, "the merges", e);
    int bad = !list || !joined;
    const int mark = model_find(h, SPACE_MARK, SPACE_MARK_SIZE);
    h->words_apart = !h->byte_level && !h->ignore_merges && mark >= 0 && !(h->flags[mark] & TOKEN_SPECIAL);
    if (!bad) json_array_foreach(merges, at, value) {
            Merge *m = &list[kept];
            if ((bad = read_merge(h, value, at, path, joined, m, e))) break;
            if ((h->flags[m->left] | h->flags[m->right] | h->flags[m->merged]) & TOKEN_SPECIAL) continue;
            if (starts_with_mark(&h->tokens[m->right]) && !ends_with_mark(&h->tokens[m->left])) h->words_apart = 0;
            kept++;
        }
    bad = bad || merge_table_build(&h->merges, list, kept, &twice, e);
    if (!bad && twice < kept)
        bad = merge_bad(path, list[twice].rank, "a merge that stands twice", h->tokens[list[twice].left].data,
            (size_t)h->tokens[list[twice].left].size, h->tokens[list[twice].right].data, e);
    free(list), free(joined);
    return bad ? -1 : 0;
}

/* ---- the model ---- */

static int refuse_option(const json_t *model, const char *key, const char *path, Error *e) {
    const json_t *value = json_object_get(model, key);
    if (!value || json_is_null(value) || (json_is_string(value) && !json_string_length(value)) ||
        (json_is_number(value) && json_number_value(value) == 0))
        return 0;
    char field[64];
    snprintf(field, sizeof field, "model.%s", key);
    return hub_refuse(
        path, field, "this option is not supported", json_is_string(value) ? json_string_value(value) : json_kind(value), "null", e);
}

static int read_options(Hub *h, const json_t *model, const char *path, Error *e) {
    char where[PATH_SIZE + 16];
    const char *kind = "BPE"; /* files of before 2020 do not say */
    snprintf(where, sizeof where, "%s: model", path);
    if (json_may_string(model, "type", where, &kind, e)) return -1;
    if (strcmp(kind, "BPE"))
        return hub_refuse(
            path, "model.type", "this kind of tokenizer is not supported", kind, "a BPE model, as Llama, Mistral and Qwen have", e);
    static const char *const refused[] = { "dropout", "continuing_subword_prefix", "end_of_word_suffix" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (refuse_option(model, refused[i], path, e)) return -1;
    return json_may_bool(model, "byte_fallback", where, &h->byte_fallback, e) || json_may_bool(model, "fuse_unk", where, &h->fuse_unk, e) ||
                   json_may_bool(model, "ignore_merges", where, &h->ignore_merges, e)
               ? -1
               : 0;
}

static int read_unknown(Hub *h, const json_t *model, const char *path, Error *e) {
    char where[PATH_SIZE + 16];
    const char *name = NULL;
    snprintf(where, sizeof where, "%s: model", path);
    if (json_may_string(model, "unk_token", where, &name, e)) return -1;
    h->unk = name ? model_find(h, name, strlen(name)) : -1;
    return name && h->unk < 0 ? token_bad(path, "model.unk_token", name, "an unknown token that is not in the vocabulary", "a token", e)
                              : 0;
}

/* Characters, bytes and whole words by what text may spell: tokens of the model that are not special. */
static int build_tables(Hub *h, Error *e) {
    uint32_t code;
    memset(h->byte_symbol, 0xff, sizeof h->byte_symbol);
    for (size_t id = 0; id < h->model_count; id++) {
        const Text *t = &h->tokens[id];
        if (!(h->flags[id] & TOKEN_MODEL) || h->flags[id] & TOKEN_SPECIAL) continue;
        if (utf8_next(t->data, (size_t)t->size, &code) != t->size) continue;
        if (char_table_set(&h->chars, code, (int)id, e)) return -1;
        if (h->byte_level && character_byte(code) >= 0) h->byte_symbol[character_byte(code)] = (int)id;
    }
    if (!h->ignore_merges) return 0;
    if (!(h->whole = mem_new(h->model_count, sizeof *h->whole, "the index of words", e))) return -1;
    for (size_t id = 0; id < h->model_count; id++) {
        const Text *t = &h->tokens[id];
        if (!(h->flags[id] & TOKEN_MODEL) || h->flags[id] & TOKEN_SPECIAL) continue;
        if (text_copy(&h->whole[id], t->data, (size_t)t->size, e)) return -1;
        if (!h->byte_level) continue;
        int n = 0, at = 0, byte = 0;
        for (; at < t->size && byte >= 0; at += utf8_next(t->data + at, (size_t)(t->size - at), &code)) {
            utf8_next(t->data + at, (size_t)(t->size - at), &code);
            if ((byte = character_byte(code)) >= 0) h->whole[id].data[n++] = (char)byte;
        }
        h->whole[id].size = n;
        if (byte < 0) free(h->whole[id].data), h->whole[id] = (Text){ 0 };
    }
    return text_index_build(&h->whole_index, h->whole, h->model_count, NULL, e);
}

/* ---- all of it ---- */

static int read_root(Hub *h, const json_t *root, const json_t *names, const char *path, const char *added_path, Error *e) {
    const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    memset(h->byte_id, 0xff, sizeof h->byte_id);
    h->unk = h->template_bos = -1;
    if (!json_is_object(model)) return hub_refuse(path, "model", "wrong type", json_kind(model), "an object", e);
    if (added && !json_is_null(added) && !json_is_array(added))
        return hub_refuse(path, "added_tokens", "wrong type", json_kind(added), "an array", e);
    const size_t extra = json_array_size(added) + json_object_size(names);
    if (!(h->added = mem_new(extra + 1, sizeof *h->added, "added tokens", e))) return -1;
    if (read_options(h, model, path, e) || read_vocab(h, model, extra, added_end(added, names), path, e)) return -1;
    if (read_added_list(h, added, path, e) || (names && read_added_names(h, names, added_path, e)) || check_tokens(h, path, e)) return -1;
    if (hub_read_normalizer(h, root, path, e) || hub_read_splits(h, root, path, e) || hub_read_decoder(h, root, path, e)) return -1;
    if (hub_read_template(h, root, path, e) || read_unknown(h, model, path, e) || read_merges(h, model, path, e)) return -1;
    if (build_tables(h, e) || hub_build_trees(h, e)) return -1;
    return (h->words = word_cache_new(e)) ? 0 : -1;
}

/* The hash of a tokenizer is that of its files: what in them does not matter is no reason to look closer. */
static int hash_files(Hub *h, const char *path, const char *added_path, Error *e) {
    char both[2 * HASH_TEXT] = "";
    if (hash_file(path, both, e) || (file_exists(added_path) && hash_file(added_path, both + HASH_TEXT, e))) return -1;
    hash_bytes(both, sizeof both, h->hash);
    return 0;
}

int hub_read(Hub *h, const char *path, const char *added_path, Error *e) {
    json_t *root, *names = NULL;
    if (json_read_object(path, &root, e)) return -1;
    int bad = file_exists(added_path) && json_read_object(added_path, &names, e);
    bad = bad || read_root(h, root, names, path, added_path, e);
    json_decref(root), json_decref(names);
    return bad || hash_files(h, path, added_path, e) ? -1 : 0;
}

void hub_free(Hub *h) {
    for (size_t i = 0; h->tokens && i < h->count; i++) free(h->tokens[i].data);
    for (size_t i = 0; h->whole && i < h->model_count; i++) free(h->whole[i].data);
    for (size_t i = 0; h->added && i < h->added_count; i++) free(h->added[i].text.data);
    free(h->tokens), free(h->flags), free(h->whole), free(h->added);
    free(h->raw.nodes), free(h->normalized.nodes);
    text_index_free(&h->index), text_index_free(&h->whole_index);
    char_table_free(&h->chars);
    merge_table_free(&h->merges);
    word_cache_free(h->words);
    hub_free_steps(h);
    memset(h, 0, sizeof *h);
}

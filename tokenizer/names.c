/* names.c - owns the reading of special tokens out of tokenizer_config.json, special_tokens_map.json, generation_config.json and
 * config.json.
 *
 * Refuses a name that is no token and an id beyond the tokens, but for pad, which nothing here needs: Transformers would add such a token,
 * and the model has no embedding for it. */
#include "tokenizer/names.h"

#include "base/json.h"

#include <string.h>

static const char *const names[SPECIAL_NAMES] = { "bos_token", "eos_token", "unk_token", "pad_token" };

typedef struct Look {
    SpecialIds *s;
    const char *path;
    int count;
    int (*find)(const void *self, const char *name);
    const void *self;
} Look;

static int refuse(const Look *l, const char *key, const char *what, const char *expected, Error *e) {
    error_what(e, "%s", what), error_where(e, "%s: field \"%s\"", l->path, key);
    return error_expected(e, "%s", expected);
}

/* "</s>" or {"content": "</s>"}; null and absent say nothing. */
static int look_name(const Look *l, const json_t *o, int which, Error *e) {
    const char *key = names[which];
    const json_t *value = json_object_get(o, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    if (!value || json_is_null(value) || l->s->id[which] >= 0) return 0;
    if (!json_is_string(value))
        return refuse(l, key, "wrong type", "a token, or an object with \"content\"", e), error_found(e, "%s", json_kind(value));
    const int id = l->find(l->self, json_string_value(value));
    if (id < 0 && which != SPECIAL_PAD)
        return refuse(l, key, "a special token that the tokenizer does not have", "the name of a token", e),
               error_found(e, "\"%.100s\"", json_string_value(value));
    return l->s->id[which] = id, 0;
}

/* An id, or a list of which the first counts. */
static int look_id(const Look *l, const json_t *o, int which, Error *e) {
    char key[32];
    snprintf(key, sizeof key, "%s_id", names[which]);
    const json_t *value = json_object_get(o, key);
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (!value || json_is_null(value) || l->s->id[which] >= 0) return 0;
    const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (json_is_integer(value) && which == SPECIAL_PAD && (id < 0 || id >= l->count)) return 0;
    if (id < 0 || id >= l->count) {
        refuse(l, key, "a special token with a wrong id", "", e), error_expected(e, "an id below %d", l->count);
        return json_is_integer(value) ? error_found(e, "%lld", (long long)id) : error_found(e, "%s", json_kind(value));
    }
    return l->s->id[which] = (int)id, 0;
}

static int look_all(const Look *l, const json_t *o, int (*look)(const Look *, const json_t *, int, Error *), Error *e) {
    for (int i = 0; i < SPECIAL_NAMES; i++)
        if (look(l, o, i, e)) return -1;
    return 0;
}

int special_ids_read(SpecialIds *s, const char *folder, int count, int (*find)(const void *, const char *), const void *self, Error *e) {
    static const char *const files[] = { "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json" };
    char path[PATH_SIZE];
    for (int i = 0; i < 4; i++) {
        json_t *o;
        Look l = { s, path, count, find, self };
        if (path_join(path, folder, files[i], e)) return -1;
        if (!file_exists(path)) continue;
        if ((i < 2 ? json_read_reals : json_read_object)(path, &o, e)) return -1;
        int bad = look_all(&l, o, i < 2 ? look_name : look_id, e);
        const json_t *text = json_object_get(o, "text_config");
        if (!bad && i == 3 && json_is_object(text)) bad = look_all(&l, text, look_id, e);
        if (!bad && i == 0 && s->add_bos < 0) bad = json_may_bool(o, "add_bos_token", path, &s->add_bos, e);
        json_decref(o);
        if (bad) return -1;
    }
    return 0;
}

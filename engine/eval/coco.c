/* coco.c - owns the walk through a large JSON object. What is passed over is skipped by its brackets and quotes; what is taken is parsed in
 * full by Jansson. Refuses files that end within a value. */
#include "engine/eval/coco.h"

#include <string.h>

typedef struct Walk {
    const char *p, *end;
} Walk;

static void blanks(Walk *w) {
    while (w->p < w->end && memchr(" \t\r\n", *w->p, 4)) w->p++;
}

/* Past `c` and the blanks before it; 0, or -1 when something else stands there. */
static int past(Walk *w, char c) {
    blanks(w);
    return w->p < w->end && *w->p == c ? (w->p++, 0) : -1;
}

static int string_skip(Walk *w) {
    if (past(w, '"')) return -1;
    for (; w->p < w->end; w->p++) {
        if (*w->p == '"') return w->p++, 0;
        if (*w->p == '\\') w->p++;
    }
    return w->p = w->end, -1;
}

/* Past a value of any kind. */
static int value_skip(Walk *w) {
    long depth = 0;
    blanks(w);
    const char *start = w->p;
    while (w->p < w->end) {
        char c = *w->p;
        if (c == '"') {
            if (string_skip(w)) return -1;
        } else if (c == '[' || c == '{') depth++, w->p++;
        else if (c == ']' || c == '}') {
            if (!depth) return w->p > start ? 0 : -1; /* ends what holds this value */
            depth--, w->p++;
        } else if (c == ',' && !depth) return w->p > start ? 0 : -1;
        else {
            w->p++;
            continue;
        }
        if (!depth && c != ',' && c != '{' && c != '[') return 0;
    }
    return -1;
}

/* Goes to the value of a member of the object at w. 1; 0 when it has none; -1 when the text is broken. */
static int member_find(Walk *w, const char *key) {
    size_t n = strlen(key);
    if (past(w, '{')) return -1;
    if (!past(w, '}')) return 0;
    do {
        blanks(w);
        const char *name = w->p;
        if (string_skip(w)) return -1;
        int found = (size_t)(w->p - name) == n + 2 && !memcmp(name + 1, key, n);
        if (past(w, ':')) return -1;
        blanks(w);
        if (found) return 1;
        if (value_skip(w)) return -1;
    } while (!past(w, ','));
    return past(w, '}') ? -1 : 0;
}

static int broken(const char *path, const void *map, const Walk *w, Error *e) {
    char text[60];
    size_t left = (size_t)(w->end - w->p);
    error_what(e, "bad JSON"), error_where(e, "%s: byte %zu", path, (size_t)(w->p - (const char *)map));
    if (left) return error_found(e, "%s", bytes_show(w->p, left < 40 ? left : 40, text, sizeof text));
    return error_found(e, "the end of the file"), error_hint(e, "was it cut short?");
}

int coco_has(const char *path, const char *key, Error *e) {
    const void *map;
    size_t size;
    if (file_map(path, &map, &size, e)) return -1;
    Walk w = { map, (const char *)map + size };
    int found = member_find(&w, key);
    file_unmap(map, size);
    return found > 0;
}

/* Whether the object at `at` has an image_id of the set. -1 when it is broken. */
static int is_wanted(Walk at, const json_t *wanted) {
    char id[24];
    int found = member_find(&at, "image_id");
    if (found <= 0) return found;
    size_t n = 0;
    while (n < sizeof id - 1 && at.p < at.end && *at.p >= '0' && *at.p <= '9') id[n++] = *at.p++;
    id[n] = 0;
    return json_object_get(wanted, id) != NULL;
}

static int element_take(const Walk *from, const char *to, RowTaker *take, void *context, const char *where, Error *e) {
    json_error_t bad;
    json_t *row = json_loadb(from->p, (size_t)(to - from->p), JSON_REJECT_DUPLICATES, &bad);
    if (!row) return error_what(e, "bad JSON"), error_where(e, "%s", where), error_found(e, "%s", bad.text);
    int got = json_is_object(row) ? take(context, row, where, e)
                                  : (error_what(e, "wrong type"), error_where(e, "%s", where), error_found(e, "%s", json_kind(row)),
                                        error_expected(e, "an object"));
    json_decref(row);
    return got;
}

static int elements_each(
    Walk *w, const char *path, const void *map, const char *key, const json_t *wanted, RowTaker *take, void *context, Error *e) {
    char where[PATH_SIZE + 64];
    if (past(w, '[')) return broken(path, map, w, e);
    if (!past(w, ']')) return 0;
    for (size_t i = 0;; i++) {
        blanks(w);
        Walk from = *w;
        if (value_skip(w)) return broken(path, map, w, e);
        from.end = w->p;
        int take_it = wanted ? is_wanted(from, wanted) : 1;
        if (take_it < 0) return broken(path, map, &from, e);
        snprintf(where, sizeof where, "%s: %s[%zu]", path, key, i);
        int got = take_it ? element_take(&from, w->p, take, context, where, e) : 0;
        if (got) return got;
        if (!past(w, ',')) continue;
        return past(w, ']') ? broken(path, map, w, e) : 0;
    }
}

int coco_each(const char *path, const char *key, const json_t *wanted, RowTaker *take, void *context, Error *e) {
    const void *map;
    size_t size;
    if (file_map(path, &map, &size, e)) return -1;
    Walk w = { map, (const char *)map + size };
    int got = member_find(&w, key);
    if (got > 0) got = elements_each(&w, path, map, key, wanted, take, context, e);
    else if (got < 0) got = broken(path, map, &w, e);
    else
        got = error_what(e, "missing field"), error_where(e, "%s", path), error_found(e, "no \"%s\"", key),
        error_expected(e, "a file of COCO's annotations");
    file_unmap(map, size);
    return got;
}

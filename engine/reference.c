/* reference.c - owns the file and the table of reference log-probs. */
#include "engine/reference.h"

#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct ReferenceEntry *slot_of(const ReferenceCache *c, const char *key) {
    size_t at = (size_t)hash64(key, HASH_TEXT - 1, 0) & (c->cap - 1);
    while (c->table[at].used && strcmp(c->table[at].key, key)) at = (at + 1) & (c->cap - 1);
    return &c->table[at];
}

static int table_put(ReferenceCache *c, const char *key, double sum, Error *e) {
    if (2 * (c->n + 1) > c->cap) {
        ReferenceCache grown = *c;
        grown.cap = c->cap ? c->cap * 2 : 1024;
        grown.table = mem_new(grown.cap, sizeof *grown.table, "reference log-probs", e);
        if (!grown.table) return -1;
        for (size_t i = 0; i < c->cap; i++)
            if (c->table[i].used) *slot_of(&grown, c->table[i].key) = c->table[i];
        free(c->table);
        *c = grown;
    }
    struct ReferenceEntry *s = slot_of(c, key);
    if (!s->used) c->n++;
    s->used = 1;
    s->sum = sum;
    memcpy(s->key, key, HASH_TEXT);
    return 0;
}

int reference_open(ReferenceCache *c, const char *path, Error *e) {
    memset(c, 0, sizeof *c);
    if (strlen(path) >= sizeof c->path) return error_what(e, "path is too long"), error_where(e, "%.200s...", path);
    strcpy(c->path, path);
    if (file_exists(path)) {
        JsonLines lines;
        json_t *row;
        int got;
        if (file_cut_torn_line(path, e) || jsonl_open(&lines, path, e)) return -1;
        while ((got = jsonl_next(&lines, &row, NULL)) != 0 && got != -2) {
            if (got < 0) continue; /* a line that is none: its number is computed again */
            const char *key;
            double sum;
            int ok = !json_need_string(row, "key", lines.where, &key, NULL) && !json_need_number(row, "sum", lines.where, &sum, NULL) && strlen(key) == HASH_TEXT - 1;
            int bad = ok && table_put(c, key, sum, e);
            json_decref(row);
            if (bad) {
                jsonl_close(&lines);
                free(c->table);
                return -1;
            }
        }
        jsonl_close(&lines);
    }
    c->stream = fopen(path, "a");
    if (c->stream) return 0;
    free(c->table);
    return file_error(e, "cannot open file for appending", path);
}

int reference_find(const ReferenceCache *c, const char *key, double *sum) {
    if (c->cap == 0) return 0;
    const struct ReferenceEntry *s = slot_of(c, key);
    if (s->used) *sum = s->sum;
    return s->used;
}

int reference_add(ReferenceCache *c, const char *key, double sum, Error *e) {
    if (table_put(c, key, sum, e)) return -1;
    json_t *row = json_pack("{s:s, s:f}", "key", key, "sum", sum);
    if (!row) return error_what(e, "out of memory"), error_where(e, "reference log-probs");
    return jsonl_write(c->stream, row, e);
}

int reference_close(ReferenceCache *c, Error *e) {
    int bad = 0;
    if (c->stream) {
        bad = fflush(c->stream) || fsync(fileno(c->stream));
        bad |= fclose(c->stream) != 0;
    }
    free(c->table);
    c->table = NULL;
    c->stream = NULL;
    return bad ? file_error(e, "cannot write file", c->path) : 0;
}

int reference_model_key(Vlm *v, char out[HASH_TEXT], Error *e) {
    Model *m = &v->model;
    char weights[HASH_TEXT], text[256];
    if (model_hash(m, weights, e) || m->k->sync(e)) return -1;
    int n = snprintf(text, sizeof text, "%s %d %d %d %016llx", weights, m->dtype, v->aspect, v->exif, (unsigned long long)hash64(v->head.ids, v->head.count * sizeof(int), 0));
    hash_bytes(text, (size_t)n, out);
    return 0;
}

int reference_key(const char *model, const Prompt *prompt, const IdList *answer, const float *weights, int blind, char out[HASH_TEXT], Error *e) {
    char image[HASH_TEXT] = "", text[320];
    if (prompt->image.path && prompt->image.path[0] && hash_file(prompt->image.path, image, e)) return -1;
    int n = snprintf(text, sizeof text, "%s %s %016llx %zu %016llx %zu", model, image, (unsigned long long)hash64(prompt->tail.ids, prompt->tail.count * sizeof(int), 1),
        prompt->tail.count, (unsigned long long)hash64(answer->ids, answer->count * sizeof(int), 2), answer->count);
    if (weights) n += snprintf(text + n, sizeof text - (size_t)n, " weights %016llx", (unsigned long long)hash64(weights, answer->count * sizeof *weights, 3));
    if (blind) n += snprintf(text + n, sizeof text - (size_t)n, " blind");
    hash_bytes(text, (size_t)n, out);
    return 0;
}

/* safetensors_write.c - owns the writing of safetensors files and sharded checkpoints.
 *
 * Because all tensors are declared before the first element arrives, headers and the division into shards are known from the start and the
 * elements stream through. Shards fill in the order of declaration, as Hugging Face Hub's split does, so a shard ends where the next tensor
 * would go over the limit. Refuses to leave a checkpoint in a folder whose older model.safetensors would be read in its place. */
#include "model/safetensors.h"
#include "base/file.h"
#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct Entry {
    char *name;
    TensorType type;
    int ndim, shard;
    int64_t shape[TENSOR_DIMS], count, bytes;
} Entry;

struct TensorWriter {
    char path[PATH_SIZE]; /* the file, or the folder when limit > 0 */
    int64_t limit;
    Entry *list;
    size_t n, capacity;
    json_t *names; /* of all entries, to see one declared twice */
    int shards;    /* 0 until the first element or the commit plans them */
    size_t at;     /* the entry being filled, and how many of its elements are there */
    int64_t filled;
    int open; /* shard being written, -1: none */
    FileOut out;
    char chunk[1 << 18]; /* converted elements on their way */
};

int tensors_create(TensorWriter **w, const char *path, int64_t shard_limit, Error *e) {
    TensorWriter *made = mem_new(1, sizeof *made, "tensor writer", e);
    if (!made) return -1;
    made->limit = shard_limit;
    made->open = -1;
    made->names = json_object();
    if (!made->names) error_what(e, "out of memory");
    if (!made->names || path_join(made->path, "", path, e) || (shard_limit > 0 && folder_make(path, e))) {
        tensors_abandon(made);
        return -1;
    }
    *w = made;
    return 0;
}

int tensors_declare(TensorWriter *w, const char *name, TensorType type, int ndim, const int64_t *shape, Error *e) {
    int64_t count = 1, bytes = 0;
    if (w->shards) return error_what(e, "tensor declared after the first was written"), error_where(e, "%s: tensor \"%s\"", w->path, name);
    if (ndim < 0 || ndim > TENSOR_DIMS)
        return error_what(e, "bad tensor shape"), error_where(e, "%s: tensor \"%s\"", w->path, name), error_found(e, "%d sizes", ndim),
               error_expected(e, "at most %d", TENSOR_DIMS);
    int bad = 0;
    for (int i = 0; i < ndim && !bad; i++) bad = shape[i] < 0 || __builtin_mul_overflow(count, shape[i], &count);
    if (bad || __builtin_mul_overflow(count, (int64_t)tensor_type_size(type), &bytes))
        return error_what(e, "bad tensor shape"), error_where(e, "%s: tensor \"%s\"", w->path, name),
               error_expected(e, "sizes whose product fits");
    /* Jansson keys are UTF-8 or refused. */
    if (!strcmp(name, "__metadata__") || json_object_get(w->names, name) || json_object_set_new(w->names, name, json_true()))
        return error_what(e, "bad tensor name"), error_where(e, "%s: tensor \"%s\"", w->path, name),
               error_expected(e, "UTF-8, declared once, other than __metadata__");
    if (mem_grow(&w->list, &w->capacity, w->n + 1, sizeof *w->list, "list of tensors", e)) return -1;
    Entry *t = &w->list[w->n];
    *t = (Entry){ .name = strdup(name), .type = type, .ndim = ndim, .count = count, .bytes = bytes };
    if (!t->name) return error_what(e, "out of memory");
    if (ndim) memcpy(t->shape, shape, (size_t)ndim * sizeof *shape);
    w->n++;
    return 0;
}

/* ---- shards ---- */

static void shard_name(const TensorWriter *w, int shard, char out[64]) {
    if (w->shards == 1) snprintf(out, 64, "model.safetensors");
    else snprintf(out, 64, "model-%05d-of-%05d.safetensors", shard + 1, w->shards);
}

static int writer_plan(TensorWriter *w, Error *e) {
    int64_t held = 0;
    char path[PATH_SIZE];
    w->shards = 1;
    for (size_t i = 0; i < w->n; i++) {
        if (w->limit > 0 && held > 0 && w->list[i].bytes > w->limit - held) w->shards++, held = 0;
        w->list[i].shard = w->shards - 1;
        held += w->list[i].bytes;
    }
    if (w->shards == 1) return 0;
    if (path_join(path, w->path, "model.safetensors", e)) return -1;
    if (file_exists(path))
        return error_what(e, "folder holds an older checkpoint"), error_where(e, "%s", path),
               error_hint(e, "write to another folder, or remove that file");
    return 0;
}

static json_t *entry_json(const Entry *t, int64_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < t->ndim; i++)
        if (json_array_append_new(shape, json_integer(t->shape[i]))) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor_type_name(t->type), "shape", shape, "data_offsets", (json_int_t)begin,
        (json_int_t)(begin + t->bytes));
}

/* The header of a shard as text; NULL when memory ran out. */
static char *header_text(const TensorWriter *w, int shard, Error *e) {
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    int64_t begin = 0;
    int failed = !header;
    for (size_t i = 0; i < w->n && !failed; i++) {
        const Entry *t = &w->list[i];
        if (t->shard != shard) continue;
        failed = json_object_set_new(header, t->name, entry_json(t, begin));
        begin += t->bytes;
    }
    char *text = failed ? NULL : json_dumps(header, JSON_COMPACT);
    if (!text) error_what(e, "out of memory"), error_where(e, "%s", w->path);
    json_decref(header);
    return text;
}

static int write_failed(const TensorWriter *w, Error *e) {
    int reason = errno;
    return error_what(e, "cannot write tensors"), error_where(e, "%s", w->out.path), error_found(e, "%s", strerror(reason)),
           error_hint(e, "free space on this disk or choose another folder");
}

static int shard_begin(TensorWriter *w, int shard, Error *e) {
    char name[64], path[PATH_SIZE];
    shard_name(w, shard, name);
    if (w->limit > 0 ? path_join(path, w->path, name, e) : path_join(path, "", w->path, e)) return -1;
    char *text = header_text(w, shard, e);
    if (!text) return -1;
    int result = file_create(&w->out, path, e);
    if (!result) {
        w->open = shard;
        /* Spaces after the JSON make the data start at a multiple of 8. */
        size_t length = strlen(text), padded = (length + 7) / 8 * 8;
        unsigned char prefix[8];
        for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)((uint64_t)padded >> (8 * i));
        if (fwrite(prefix, 1, 8, w->out.stream) != 8 || fprintf(w->out.stream, "%-*s", (int)padded, text) != (int)padded)
            result = write_failed(w, e);
    }
    free(text);
    return result;
}

static int shard_end(TensorWriter *w, Error *e) {
    w->open = -1;
    return file_commit(&w->out, e);
}

/* Moves on to the entry that takes the next element: over full ones (and those without elements), closing and opening shards on the way. */
static int writer_advance(TensorWriter *w, Error *e) {
    if (!w->shards && writer_plan(w, e)) return -1;
    while (w->at < w->n) {
        const Entry *t = &w->list[w->at];
        if (w->open != t->shard) {
            if (w->open >= 0 && shard_end(w, e)) return -1;
            if (shard_begin(w, t->shard, e)) return -1;
        }
        if (w->filled < t->count) return 0;
        w->at++;
        w->filled = 0;
    }
    return 0;
}

int tensors_append(TensorWriter *w, const char *name, const void *data, TensorType data_type, int64_t n, Error *e) {
    if (writer_advance(w, e)) return -1;
    const Entry *t = w->at < w->n ? &w->list[w->at] : NULL;
    if (n == 0) return 0;
    if (!t || strcmp(t->name, name) || n < 0 || n > t->count - w->filled)
        return error_what(e, "elements out of turn"), error_where(e, "%s: tensor \"%s\"", w->path, name),
               error_found(e, "%lld elements", (long long)n),
               t ? error_expected(e, "at most %lld of \"%s\"", (long long)(t->count - w->filled), t->name) : error_expected(e, "no more");
    size_t size = tensor_type_size(t->type), data_size = tensor_type_size(data_type);
    int64_t most = (int64_t)(sizeof w->chunk / size);
    for (int64_t done = 0; done < n;) {
        int64_t now = n - done < most ? n - done : most;
        if (tensor_convert((const char *)data + (size_t)done * data_size, data_type, w->chunk, t->type, now, e)) {
            error_where(e, "%s: tensor \"%s\"", w->path, name);
            return -1;
        }
        if (fwrite(w->chunk, size, (size_t)now, w->out.stream) != (size_t)now) return write_failed(w, e);
        done += now;
    }
    w->filled += n;
    return 0;
}

static int index_write(const TensorWriter *w, Error *e) {
    char name[64], path[PATH_SIZE];
    int64_t total = 0;
    json_t *map = json_object();
    int failed = !map, result = -1;
    for (size_t i = 0; i < w->n && !failed; i++) {
        shard_name(w, w->list[i].shard, name);
        failed = json_object_set_new(map, w->list[i].name, json_string(name));
        total += w->list[i].bytes;
    }
    json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = index && !failed ? json_dumps(index, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    if (!text) error_what(e, "out of memory"), error_where(e, "%s", w->path);
    else if (!path_join(path, w->path, "model.safetensors.index.json", e)) result = file_write(path, text, strlen(text), e);
    free(text);
    json_decref(index);
    return result;
}

static int writer_finish(TensorWriter *w, Error *e) {
    if (writer_advance(w, e)) return -1;
    if (w->at < w->n)
        return error_what(e, "tensor is not complete"), error_where(e, "%s: tensor \"%s\"", w->path, w->list[w->at].name),
               error_found(e, "%lld elements", (long long)w->filled), error_expected(e, "%lld", (long long)w->list[w->at].count);
    if (w->open < 0 && shard_begin(w, 0, e)) return -1; /* no tensors at all: an empty file is still a whole one */
    if (shard_end(w, e)) return -1;
    return w->shards > 1 ? index_write(w, e) : 0;
}

int tensors_commit(TensorWriter *w, Error *e) {
    int result = writer_finish(w, e);
    tensors_abandon(w);
    return result;
}

void tensors_abandon(TensorWriter *w) {
    if (!w) return;
    file_abandon(&w->out);
    for (size_t i = 0; i < w->n; i++) free(w->list[i].name);
    free(w->list);
    json_decref(w->names);
    free(w);
}

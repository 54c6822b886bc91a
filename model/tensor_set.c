/* tensor_set.c - owns which files make a checkpoint, the set of their tensors by name, and the reading of these.
 *
 * Files are mapped, so opening a checkpoint costs its headers; pages come in as tensors are looked at. Whole checkpoints are not read through the map. Both formats are presented alike: what is
 * called
 * *.bin is PyTorch's (torch_file.c), anything else is safetensors (safetensors.c). Refuses names that stand twice, indices that name files
 * elsewhere, and files or tensors an index names that are not there. */
#include "model/tensor_file.h"

#include "base/file.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHARDS_MOST = 100000 };

static int by_name(const void *a, const void *b) { return strcmp(((const Tensor *)a)->name, ((const Tensor *)b)->name); }

/* Maps a file and adds its tensors to the set. On failure the set holds what it holds; the caller closes it. */
static int file_add(TensorSet *s, const char *path, Error *e) {
    TensorFile *f = &s->files[s->files_n];
    size_t n = strlen(path);
    *f = (TensorFile){ .path = strdup(path), .format = n >= 4 && !strcmp(path + n - 4, ".bin") ? FORMAT_TORCH : FORMAT_SAFETENSORS };
    if (!f->path) return error_what(e, "out of memory");
    s->files_n++;
    if (file_map_identified(path, &f->map, &f->size, &f->which, e)) return -1;
    return f->format == FORMAT_TORCH ? torch_add(s, f, e) : safetensors_add(s, f, e);
}

static int names_unique(const TensorSet *s, Error *e) {
    qsort(s->list, s->n, sizeof *s->list, by_name);
    for (size_t i = 1; i < s->n; i++)
        if (!strcmp(s->list[i - 1].name, s->list[i].name))
            return tensor_bad("tensor stands twice", s->list[i].file, s->list[i].name, e),
                   error_found(e, "also in %s", s->list[i - 1].file), error_hint(e, "keep the shards of one checkpoint only");
    return 0;
}

static int shard_name_check(const json_t *value, const char *index, const char *tensor, Error *e) {
    const char *name = json_string_value(value);
    if (name && name[0] && name[0] != '.' && !strchr(name, '/')) return 0;
    return tensor_bad("bad shard name", index, tensor, e), error_found(e, "%s", name ? name : json_kind(value)),
           error_expected(e, "the name of a file in the same folder");
}

/* Opens every shard the index names, once each, in the order first named. `seen` holds the shard names. */
static int shards_open(TensorSet *s, const char *folder, const char *index, const json_t *map, json_t *seen, Error *e) {
    const char *tensor, *shard;
    const json_t *value;
    char path[PATH_SIZE];
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value) {
        if (shard_name_check(value, index, tensor, e)) return -1;
        if (json_object_set_new(seen, json_string_value(value), json_true())) return error_what(e, "out of memory");
    }
    size_t shards = json_object_size(seen);
    if (shards > SHARDS_MOST)
        return error_what(e, "too many shards"), error_where(e, "%s", index), error_found(e, "%zu", shards),
               error_expected(e, "at most %d", SHARDS_MOST);
    if (!(s->files = mem_new(shards, sizeof *s->files, "list of shards", e))) return -1;
    json_object_foreach(seen, shard, value) {
        if (path_join(path, folder, shard, e)) return -1;
        if (!file_exists(path))
            return error_what(e, "shard is missing"), error_where(e, "%s", path),
                   error_hint(e, "%s names it: fetch it, or the whole checkpoint again", index);
        if (file_add(s, path, e)) return -1;
    }
    if (names_unique(s, e)) return -1;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value) {
        const Tensor *t = tensors_find(s, tensor);
        const char *file = t ? strrchr(t->file, '/') : NULL;
        if (!t || strcmp(file ? file + 1 : t->file, json_string_value(value)))
            return tensor_bad("index names a tensor that is not there", index, tensor, e),
                   error_found(e, "%s", t ? t->file : "no such tensor in any shard"), error_expected(e, "%s", json_string_value(value));
    }
    return 0;
}

static int index_open(TensorSet *s, const char *folder, const char *path, Error *e) {
    json_t *index, *seen = json_object();
    int result = -1;
    if (!seen) return error_what(e, "out of memory");
    if (json_read_object(path, &index, e)) {
        json_decref(seen);
        return -1;
    }
    const json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || !json_object_size(map))
        error_what(e, "bad index"), error_where(e, "%s: field \"weight_map\"", path),
            error_found(e, "%s", json_is_object(map) ? "no entries" : json_kind(map)), error_expected(e, "an object of tensor to file");
    else result = shards_open(s, folder, path, map, seen, e);
    json_decref(seen);
    json_decref(index);
    return result;
}

static int single_open(TensorSet *s, const char *path, Error *e) {
    if (!(s->files = mem_new(1, sizeof *s->files, "list of files", e)) || file_add(s, path, e)) return -1;
    return names_unique(s, e);
}

/* Which files a path means: itself, or the first of these that stands in that folder. A single file goes before an index, as in
 * Transformers. */
static int path_open(TensorSet *s, const char *path, Error *e) {
    static const struct {
        const char *name;
        int index;
    } names[] = { { "model.safetensors", 0 }, { "model.safetensors.index.json", 1 }, { "pytorch_model.bin", 0 },
        { "pytorch_model.bin.index.json", 1 } };
    char place[PATH_SIZE];
    if (path_join(place, path, ".", e)) return -1;
    if (!file_exists(place)) return single_open(s, path, e);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (path_join(place, path, names[i].name, e)) return -1;
        if (file_exists(place)) return names[i].index ? index_open(s, path, place, e) : single_open(s, place, e);
    }
    return error_what(e, "no weights"), error_where(e, "%s", path),
           error_expected(e, "model.safetensors or pytorch_model.bin, or one of them with .index.json and its shards");
}

int tensors_open(TensorSet *s, const char *path, Error *e) {
    memset(s, 0, sizeof *s);
    if (!path_open(s, path, e)) return 0;
    tensors_close(s);
    return -1;
}

int tensors_add(TensorSet *s, const char *path, Error *e) {
    TensorFile *files = realloc(s->files, (s->files_n + 1) * sizeof *files);
    if (!files) return error_what(e, "out of memory"), error_where(e, "%s", path);
    s->files = files;
    return file_add(s, path, e) || names_unique(s, e) ? -1 : 0;
}

void tensors_close(TensorSet *s) {
    for (size_t i = 0; i < s->n; i++) free(s->list[i].name);
    for (size_t i = 0; i < s->files_n; i++) {
        file_unmap(s->files[i].map, s->files[i].size);
        free(s->files[i].path);
    }
    free(s->list);
    free(s->files);
    memset(s, 0, sizeof *s);
}

const Tensor *tensors_find(const TensorSet *s, const char *name) {
    Tensor key = { .name = (char *)(uintptr_t)name };
    return s->n ? bsearch(&key, s->list, s->n, sizeof *s->list, by_name) : NULL;
}

void tensor_reader_close(TensorReader *r) {
    if (r->open && r->file >= 0) close(r->file);
    *r = (TensorReader){ 0 };
}

int tensor_reader_read(TensorReader *r, const TensorSet *s, const Tensor *t, int64_t first, int64_t n, void *out, Error *e) {
    size_t size = tensor_type_size(t->type), bytes = (size_t)n * size;
    const char *from = (const char *)t->data + (size_t)first * size;
    if (!n) return 0;
    if (!r->open || r->open->path != t->file) {
        tensor_reader_close(r);
        for (size_t i = 0; i < s->files_n && !r->open; i++)
            if (s->files[i].path == t->file) r->open = &s->files[i];
        r->file = r->open ? file_reopen(r->open->path, r->open->which) : -1;
    }
    if (r->file >= 0) return file_read_at(r->file, t->file, out, bytes, (size_t)(from - (const char *)r->open->map), e);
    memcpy(out, from, bytes);
    return 0;
}

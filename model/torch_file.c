/* torch_file.c - owns the reading of PyTorch's own files, *.bin: a zip archive ARCHIVE/ of data.pkl, which names and describes tensors
 * (pickle.c), and of one entry data/KEY for each storage. The tensors stand in the mapped file as they are, and nothing of them is read
 * here.
 *
 * Refuses files of PyTorch before 1.6, TorchScript, big-endian numbers, storages that are not as long as the pickle says, views that reach
 * beyond their storage, and views whose elements do not lie side by side in order. Storages that no named tensor uses are nobody's concern.
 */
#include "model/tensor_file.h"

#include "model/pickle.h"
#include "model/zip.h"

#include <stdlib.h>
#include <string.h>

/* A pickled number, with which files of PyTorch before 1.6 begin. */
static const unsigned char LEGACY[] = { 0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19 };
static const unsigned char ZIP[] = { 'P', 'K', 3, 4 };

typedef struct Archive {
    Zip zip;
    const char *root; /* the folder of the archive, without an end */
    size_t root_n;
    TensorSet *set;
    size_t capacity; /* of set->list */
    const char *path;
} Archive;

static int begins_with(const TensorFile *f, const unsigned char *lead, size_t n) { return f->size >= n && !memcmp(f->map, lead, n); }

static int file_check(const TensorFile *f, Error *e) {
    if (begins_with(f, ZIP, sizeof ZIP)) return 0;
    if (begins_with(f, LEGACY, sizeof LEGACY))
        return error_what(e, "file of PyTorch before 1.6"), error_where(e, "%s", f->path),
               error_expected(e, "the zip archive torch.save writes since"),
               error_hint(e, "convert it in Python: torch.save(torch.load(F, weights_only=True), F)");
    return error_what(e, "not a file of PyTorch"), error_where(e, "%s", f->path), error_expected(e, "a zip archive, as torch.save writes");
}

static const ZipEntry *archive_find(const Archive *a, const char *name) {
    return zip_find(&a->zip, a->root, a->root_n, name, strlen(name));
}

/* The entry ROOT/data.pkl, which gives the archive its root. */
static const ZipEntry *pickle_find(Archive *a, Error *e) {
    static const char own[] = "/data.pkl";
    const size_t n = sizeof own - 1;
    const ZipEntry *found = NULL;
    for (size_t i = 0; i < a->zip.n; i++) {
        const ZipEntry *entry = &a->zip.list[i];
        if (entry->name_n <= n || memcmp(entry->name + entry->name_n - n, own, n) || memchr(entry->name, '/', entry->name_n - n)) continue;
        if (found) {
            error_what(e, "archive has two roots"), error_where(e, "%s", a->path), error_expected(e, "one entry */data.pkl");
            return NULL;
        }
        found = entry;
        a->root = entry->name, a->root_n = entry->name_n - n;
    }
    if (!found) error_what(e, "zip archive is not a file of PyTorch"), error_where(e, "%s", a->path), error_found(e, "no entry */data.pkl");
    return found;
}

static int archive_check(const Archive *a, Error *e) {
    const ZipEntry *order = archive_find(a, "byteorder");
    if (order && (order->size != 6 || memcmp(order->data, "little", 6))) {
        char said[16];
        return error_what(e, "numbers of another byte order"), error_where(e, "%s", a->path),
               error_found(e, "%s", bytes_show(order->data, order->size, said, sizeof said)), error_expected(e, "little"),
               error_hint(e, "write it again by torch.save on a little-endian machine");
    }
    if (archive_find(a, "constants.pkl"))
        return error_what(e, "file is a TorchScript program"), error_where(e, "%s", a->path), error_expected(e, "tensors alone"),
               error_hint(e, "save the module's state_dict() by torch.save");
    return 0;
}

/* Whether the elements lie side by side in order. The stride of a dimension of one element means nothing, nor do those of an empty tensor.
 */
static int is_contiguous(const PickleTensor *t, int64_t count) {
    int64_t stride = 1;
    for (int i = t->ndim - 1; i >= 0 && count; i--) {
        if (t->shape[i] != 1 && t->stride[i] != stride) return 0;
        stride *= t->shape[i];
    }
    return 1;
}

/* The bytes of the tensor's storage. */
static const ZipEntry *storage_find(const Archive *a, const PickleTensor *t, Error *e) {
    char name[64 + sizeof "data/"] = "data/", shown[64];
    const ZipEntry *entry = NULL;
    if (t->key_n && t->key_n < 64) {
        memcpy(name + 5, t->key, t->key_n);
        entry = zip_find(&a->zip, a->root, a->root_n, name, 5 + t->key_n);
    }
    int64_t bytes = tensor_bytes(&t->storage_count, 1, tensor_type_size(t->type));
    if (entry && bytes >= 0 && entry->size == (uint64_t)bytes) return entry;
    tensor_bad(entry ? "storage is not as long as the pickle says" : "storage is missing", a->path, t->name, e);
    if (entry) {
        error_found(e, "%zu bytes", entry->size);
        error_expected(e, "%lld elements of %s", (long long)t->storage_count, tensor_type_name(t->type));
    } else error_found(e, "no entry data/%s", bytes_show(t->key, t->key_n, shown, sizeof shown));
    return NULL;
}

static int take(void *context, const PickleTensor *t, Error *e) {
    Archive *a = context;
    TensorSet *s = a->set;
    size_t size = tensor_type_size(t->type);
    const ZipEntry *storage = storage_find(a, t, e);
    if (!storage) return -1;
    int64_t bytes = tensor_bytes(t->shape, t->ndim, size), count = bytes / (int64_t)size;
    if (bytes < 0) return tensor_bad("tensor shape overflows", a->path, t->name, e);
    if (!is_contiguous(t, count))
        return tensor_bad("tensor is not contiguous", a->path, t->name, e), error_expected(e, "elements side by side in order"),
               error_hint(e, "save it as TENSOR.contiguous()");
    if (t->offset > t->storage_count || count > t->storage_count - t->offset)
        return tensor_bad("tensor reaches beyond its storage", a->path, t->name, e),
               error_found(e, "%lld elements from %lld", (long long)count, (long long)t->offset),
               error_expected(e, "an end within %lld", (long long)t->storage_count);
    if (mem_grow(&s->list, &a->capacity, s->n + 1, sizeof *s->list, "list of tensors", e)) return -1;
    Tensor *out = &s->list[s->n];
    *out = (Tensor){ .name = strdup(t->name), .type = t->type, .ndim = t->ndim, .count = count, .file = a->path };
    if (!out->name) return error_what(e, "out of memory");
    memcpy(out->shape, t->shape, (size_t)t->ndim * sizeof *t->shape);
    out->data = storage->data + (size_t)t->offset * size;
    s->n++;
    return 0;
}

int torch_add(TensorSet *s, const TensorFile *f, Error *e) {
    Archive a = { .set = s, .capacity = s->n, .path = f->path };
    if (file_check(f, e) || zip_open(&a.zip, f->map, f->size, f->path, e)) return -1;
    const ZipEntry *pickle = pickle_find(&a, e);
    int failed = !pickle || archive_check(&a, e) || pickle_tensors(pickle->data, pickle->size, f->path, take, &a, e);
    zip_close(&a.zip);
    return failed ? -1 : 0;
}

/* safetensors.c - owns the element types of the format, the conversion between them, and the reading of files.
 *
 * Refuses whatever the format's own reader refuses (github.com/huggingface/safetensors, "Format"): headers above 100 MB or not starting with "{", unknown dtypes, sizes that do not
 * follow from shape and dtype, gaps and overlaps in the buffer, bytes after it. */
#include "model/tensor_file.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MOST = 100000000 };

static const struct {
    const char *name;
    size_t size;
} types[TENSOR_TYPES] = { [TENSOR_F64] = { "F64", 8 },
    [TENSOR_F32] = { "F32", 4 },
    [TENSOR_F16] = { "F16", 2 },
    [TENSOR_BF16] = { "BF16", 2 },
    [TENSOR_I64] = { "I64", 8 },
    [TENSOR_I32] = { "I32", 4 },
    [TENSOR_I16] = { "I16", 2 },
    [TENSOR_I8] = { "I8", 1 },
    [TENSOR_U64] = { "U64", 8 },
    [TENSOR_U32] = { "U32", 4 },
    [TENSOR_U16] = { "U16", 2 },
    [TENSOR_U8] = { "U8", 1 },
    [TENSOR_BOOL] = { "BOOL", 1 },
    [TENSOR_F8_E4M3] = { "F8_E4M3", 1 },
    [TENSOR_F8_E5M2] = { "F8_E5M2", 1 } };

const char *tensor_type_name(TensorType type) { return types[type].name; }
size_t tensor_type_size(TensorType type) { return types[type].size; }

/* ---- conversion ---- */

static float f32_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t f32_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Without branches, so that loops of it are vectors: the exponent is moved by a product, which makes subnormal numbers right too; infinity and NaN keep theirs. */
static float f32_of_f16(uint16_t h) {
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, bits = f32_bits(f32_of_bits(magnitude) * 0x1p112f);
    bits |= magnitude >= 0x0f800000 ? 0x7f800000 : 0;
    return f32_of_bits(bits | (uint32_t)(h & 0x8000) << 16);
}

static const float F16_BEYOND = 65520; /* rounds to infinity */
static uint16_t f16_of_f32(float x) {
    uint32_t bits = f32_bits(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);  /* NaN stays NaN */
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (magnitude < 0x38800000) {                                  /* below 2^-14: adding 1/2 lines the bits up, the adder rounds */
        return (uint16_t)(sign | (f32_bits(f32_of_bits(magnitude) + 0.5f) - 0x3f000000));
    }
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13));
}

static uint16_t bf16_of_f32(float x) {
    uint32_t bits = f32_bits(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float load_f32(const char *p, TensorType type) {
    uint16_t h;
    float x;
    double d;
    switch (type) {
    case TENSOR_F64:
        return memcpy(&d, p, sizeof d), (float)d;
    case TENSOR_F16:
        return memcpy(&h, p, sizeof h), f32_of_f16(h);
    case TENSOR_BF16:
        return memcpy(&h, p, sizeof h), f32_of_bits((uint32_t)h << 16);
    default:
        return memcpy(&x, p, sizeof x), x;
    }
}

static inline void store_f32(char *p, TensorType type, float x) {
    uint16_t h = type == TENSOR_F16 ? f16_of_f32(x) : bf16_of_f32(x);
    if (type == TENSOR_F32) memcpy(p, &x, sizeof x);
    else memcpy(p, &h, sizeof h);
}

/* How many numbers are beyond the result's range. */
static inline __attribute__((always_inline)) int64_t run_convert(const char *from, TensorType from_type, char *to, TensorType to_type, int64_t n) {
    size_t from_size = types[from_type].size, to_size = types[to_type].size;
    int64_t beyond = 0;
    for (int64_t i = 0; i < n; i++) {
        float x = load_f32(from + (size_t)i * from_size, from_type);
        if (to_type == TENSOR_F16) beyond += fabsf(x) >= F16_BEYOND && !isinf(x);
        store_f32(to + (size_t)i * to_size, to_type, x);
    }
    return beyond;
}

/* A loop for each two types, which the compiler can make vectors of: with types that it does not know an element took some nanoseconds. */
static int64_t chunk_convert(const char *from, TensorType from_type, char *to, TensorType to_type, int64_t n) {
#define PAIR(A, B)                                                                                                                         \
    if (from_type == (A) && to_type == (B)) return run_convert(from, A, to, B, n)
    PAIR(TENSOR_BF16, TENSOR_F32);
    PAIR(TENSOR_F16, TENSOR_F32);
    PAIR(TENSOR_F32, TENSOR_BF16);
    PAIR(TENSOR_F16, TENSOR_BF16);
    PAIR(TENSOR_F32, TENSOR_F16);
    PAIR(TENSOR_BF16, TENSOR_F16);
#undef PAIR
    return run_convert(from, from_type, to, to_type, n);
}

int tensor_convert(const void *from, TensorType from_type, void *to, TensorType to_type, int64_t n, Error *e) {
    size_t from_size = types[from_type].size, to_size = types[to_type].size;
    if (from_type == to_type) {
        if (n) memcpy(to, from, (size_t)n * from_size);
        return 0;
    }
    int from_fits = from_type == TENSOR_F64 || from_type == TENSOR_F32 || from_type == TENSOR_F16 || from_type == TENSOR_BF16;
    int to_fits = to_type == TENSOR_F32 || to_type == TENSOR_F16 || to_type == TENSOR_BF16;
    if (!from_fits || !to_fits)
        return error_what(e, "cannot convert elements"), error_found(e, "%s", types[from_type].name),
               error_expected(e, "%s", types[to_type].name);
    enum { CHUNK = 1 << 16 };
    int64_t beyond = 0;
#pragma omp parallel for reduction(+ : beyond) if (n > CHUNK)
    for (int64_t i = 0; i < n; i += CHUNK)
        beyond += chunk_convert((const char *)from + (size_t)i * from_size, from_type, (char *)to + (size_t)i * to_size, to_type, n - i < CHUNK ? n - i : CHUNK);
    if (beyond)
        return error_what(e, "numbers are beyond the range of F16"), error_found(e, "%lld above 65504", (long long)beyond),
               error_hint(e, "store as fp32 or bf16 (train.save_dtype)");
    return 0;
}

int tensor_read(const Tensor *t, TensorType type, void *out, Error *e) {
    if (!tensor_convert(t->data, t->type, out, type, t->count, e)) return 0;
    if (e) error_where(e, "%s: tensor \"%s\"", t->file, t->name);
    return -1;
}

/* ---- one file ---- */

int tensor_bad(const char *what, const char *file, const char *name, Error *e) {
    return error_what(e, "%s", what), error_where(e, "%s: tensor \"%s\"", file, name);
}

int64_t tensor_bytes(const int64_t *shape, int ndim, size_t size) {
    int64_t n = (int64_t)size;
    for (int i = 0; i < ndim; i++)
        if (__builtin_mul_overflow(n, shape[i], &n)) return -1;
    return n;
}

/* Non-negative integers of an array of at most `most`; the count, or -1. */
static int integers_read(const json_t *array, int64_t *out, size_t most) {
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n > most) return -1;
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_integer(value) || json_integer_value(value) < 0) return -1;
        out[i] = json_integer_value(value);
    }
    return (int)n;
}

/* One entry of the header, against a buffer of `size` bytes at `buffer`. */
static int entry_read(const json_t *entry, const char *name, const TensorFile *f, const char *buffer, int64_t size, Tensor *t, Error *e) {
    const json_t *value;
    const char *key;
    if (!json_is_object(entry))
        return tensor_bad("bad tensor entry", f->path, name, e), error_found(e, "%s", json_kind(entry)), error_expected(e, "an object");
    json_object_foreach(
        (json_t *)(uintptr_t)entry, key, value) if (strcmp(key, "dtype") && strcmp(key, "shape") && strcmp(key, "data_offsets")) {
        return tensor_bad("bad tensor entry", f->path, name, e), error_found(e, "field \"%s\"", key),
               error_expected(e, "dtype, shape, data_offsets");
    }
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    if (!type) return tensor_bad("bad tensor entry", f->path, name, e), error_found(e, "no dtype"), error_expected(e, "a string");
    for (t->type = 0; t->type < TENSOR_TYPES && strcmp(type, types[t->type].name); t->type++) {}
    if (t->type == TENSOR_TYPES)
        return tensor_bad("unknown dtype", f->path, name, e), error_found(e, "%s", type),
               error_expected(e, "F32, F16, BF16 or another of the format's");
    int64_t span[2];
    t->ndim = integers_read(json_object_get(entry, "shape"), t->shape, TENSOR_DIMS);
    if (t->ndim < 0)
        return tensor_bad("bad tensor shape", f->path, name, e), error_expected(e, "at most %d sizes of 0 or more", TENSOR_DIMS);
    if (integers_read(json_object_get(entry, "data_offsets"), span, 2) != 2 || span[0] > span[1] || span[1] > size)
        return tensor_bad("bad tensor offsets", f->path, name, e),
               error_expected(e, "begin and end within a buffer of %lld bytes", (long long)size),
               error_hint(e, "the file may be cut short: fetch it again");
    int64_t bytes = tensor_bytes(t->shape, t->ndim, types[t->type].size);
    if (bytes < 0) return tensor_bad("tensor shape overflows", f->path, name, e);
    if (bytes != span[1] - span[0])
        return tensor_bad("tensor size does not follow from its shape", f->path, name, e),
               error_found(e, "%lld bytes", (long long)(span[1] - span[0])), error_expected(e, "%lld", (long long)bytes);
    t->count = bytes / (int64_t)types[t->type].size;
    t->data = buffer + span[0];
    t->file = f->path;
    t->name = strdup(name);
    return t->name ? 0 : error_what(e, "out of memory");
}

static int by_data(const void *a, const void *b) {
    const Tensor *s = a, *t = b;
    if (s->data != t->data) return (uintptr_t)s->data < (uintptr_t)t->data ? -1 : 1;
    return (s->count > 0) - (t->count > 0);
}

/* The tensors of one file, in order of their data, cover its buffer: each starts where the one before ends. */
static int coverage_check(Tensor *list, size_t n, const TensorFile *f, const char *buffer, Error *e) {
    const char *end = (const char *)f->map + f->size, *at = buffer;
    qsort(list, n, sizeof *list, by_data);
    for (size_t i = 0; i < n; i++) {
        const char *data = list[i].data;
        if (data != at)
            return tensor_bad(data < at ? "tensors overlap" : "gap before tensor", f->path, list[i].name, e),
                   error_found(e, "offset %lld", (long long)(data - buffer)), error_expected(e, "%lld", (long long)(at - buffer));
        at += (size_t)list[i].count * types[list[i].type].size;
    }
    if (at != end)
        return error_what(e, "bytes after the last tensor"), error_where(e, "%s", f->path), error_found(e, "%lld", (long long)(end - at)),
               error_expected(e, "none");
    return 0;
}

static int header_bad(const TensorFile *f, Error *e) { return error_what(e, "bad safetensors header"), error_where(e, "%s", f->path); }

static int header_parse(const TensorFile *f, json_t **out, const char **buffer, Error *e) {
    const unsigned char *p = f->map;
    uint64_t length = 0;
    json_error_t bad;
    if (f->size < 8) return header_bad(f, e), error_found(e, "a file of %zu bytes", f->size), error_expected(e, "8 or more");
    for (int i = 7; i >= 0; i--) length = length << 8 | p[i];
    if (length > HEADER_MOST || length > f->size - 8)
        return header_bad(f, e), error_found(e, "a header of %llu bytes", (unsigned long long)length),
               error_expected(e, "at most %zu", f->size - 8 < HEADER_MOST ? f->size - 8 : (size_t)HEADER_MOST),
               error_hint(e, "not a safetensors file, or one that is cut short");
    if (!length || p[8] != '{') return header_bad(f, e), error_found(e, "no JSON object"), error_expected(e, "\"{\" after the length");
    *out = json_loadb((const char *)p + 8, (size_t)length, JSON_REJECT_DUPLICATES, &bad);
    if (!*out) return header_bad(f, e), error_found(e, "%s", bad.text), error_expected(e, "strict JSON");
    *buffer = (const char *)p + 8 + length;
    return 0;
}

static int metadata_check(const json_t *metadata, const TensorFile *f, Error *e) {
    const char *key;
    const json_t *value;
    if (!json_is_object(metadata))
        return header_bad(f, e), error_found(e, "__metadata__ is %s", json_kind(metadata)), error_expected(e, "an object");
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value) if (!json_is_string(value)) {
        return header_bad(f, e), error_found(e, "__metadata__ field \"%s\" is %s", key, json_kind(value)), error_expected(e, "a string");
    }
    return 0;
}

int safetensors_add(TensorSet *s, const TensorFile *f, Error *e) {
    json_t *header, *entry;
    const char *name, *buffer;
    if (header_parse(f, &header, &buffer, e)) return -1;
    int result = -1;
    size_t first = s->n, entries = json_object_size(header);
    Tensor *list = realloc(s->list, (first + entries + 1) * sizeof *list);
    if (!list) {
        error_what(e, "out of memory");
        goto end;
    }
    s->list = list;
    int64_t size = (int64_t)(f->size - (size_t)(buffer - (const char *)f->map));
    json_object_foreach(header, name, entry) {
        if (!strcmp(name, "__metadata__")) {
            if (metadata_check(entry, f, e)) goto end;
            continue;
        }
        memset(&list[s->n], 0, sizeof *list);
        if (entry_read(entry, name, f, buffer, size, &list[s->n], e)) goto end;
        s->n++;
    }
    result = coverage_check(list + first, s->n - first, f, buffer, e);
end:
    json_decref(header);
    return result;
}

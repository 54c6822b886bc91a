/* safetensors_test.c - conversion of elements, reading of good and malformed checkpoints, writing of one file and of shards. */
#include "tests/check.h"
#include "base/json.h"
#include "model/safetensors.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static char folder[PATH_SIZE];
static int set_up(void **state) { return (void)state, scratch_make(folder), 0; }
static int tear_down(void **state) { return (void)state, scratch_drop(folder), 0; }

static void conversions(void **state) {
    (void)state;
    /* fp32 to f16 and bf16 by hand: ties to even, subnormals, overflow. */
    static const struct {
        float x;
        uint16_t f16, bf16;
    } cases[] = { { 0, 0, 0 }, { -0.0f, 0x8000, 0x8000 }, { 1, 0x3c00, 0x3f80 }, { -2.5f, 0xc100, 0xc020 }, { 65504, 0x7bff, 0x4780 },
        { 65519.996f, 0x7bff, 0x4780 }, { 65520, 0x7c00, 0x4780 }, { 0x1p-14f, 0x0400, 0x3880 }, { 0x1p-24f, 0x0001, 0x3380 },
        { 0x1p-25f, 0x0000, 0x3300 }, { 0x1.8p-25f, 0x0001, 0x3340 }, { 0x1.8p-24f, 0x0002, 0x33c0 }, { 1 + 0x1p-11f, 0x3c00, 0x3f80 },
        { 1 + 0x1.8p-10f, 0x3c02, 0x3f80 }, { 1 + 0x1p-8f, 0x3c04, 0x3f80 }, { 1 + 0x1.8p-7f, 0x3c0c, 0x3f82 },
        { INFINITY, 0x7c00, 0x7f80 }, { 3.4e38f, 0x7c00, 0x7f80 }, { 0x1.ffcp-15f, 0x0400, 0x3880 } };
    Error e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint16_t half;
        int beyond = isfinite(cases[i].x) && cases[i].f16 == 0x7c00; /* a weight made infinite is lost: refused */
        assert_int_equal(tensor_convert(&cases[i].x, TENSOR_F32, &half, TENSOR_F16, 1, &e), beyond ? -1 : 0);
        assert_int_equal(half, cases[i].f16);
        assert_int_equal(tensor_convert(&cases[i].x, TENSOR_F32, &half, TENSOR_BF16, 1, &e), 0);
        assert_int_equal(half, cases[i].bf16);
    }
    /* Every 16-bit value survives the way to fp32 and back; NaN stays NaN. */
    for (int type = 0; type < 2; type++)
        for (uint32_t v = 0; v < 65536; v++) {
            uint16_t half = (uint16_t)v, back;
            float x;
            assert_int_equal(tensor_convert(&half, type ? TENSOR_BF16 : TENSOR_F16, &x, TENSOR_F32, 1, &e), 0);
            assert_int_equal(tensor_convert(&x, TENSOR_F32, &back, type ? TENSOR_BF16 : TENSOR_F16, 1, &e), 0);
            int nan = type ? (v & 0x7fff) > 0x7f80 : (v & 0x7fff) > 0x7c00;
            assert_int_equal(nan, isnan(x) != 0);
            if (!nan) assert_int_equal(back, v);
            else assert_true((back & 0x7fff) > (type ? 0x7f80 : 0x7c00));
        }
    double d = 1.5;
    float x;
    assert_int_equal(tensor_convert(&d, TENSOR_F64, &x, TENSOR_F32, 1, &e), 0);
    assert_true(x == 1.5f);
    assert_int_equal(tensor_convert(&d, TENSOR_I64, &x, TENSOR_F32, 1, &e), -1);
    error_says(&e, "found I64; expected F32");
}

/* A file of this header and `size` bytes 0, 1, 2, ... */
static const char *file_of(const char *name, const char *header, size_t size) {
    size_t n = strlen(header);
    unsigned char *bytes = malloc(8 + n + size);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < size; i++) bytes[8 + n + i] = (unsigned char)i;
    put(at(folder, name), bytes, 8 + n + size);
    free(bytes);
    return at(folder, name);
}

#define ENTRY(TYPE, SHAPE, FROM, TO) "{\"dtype\":\"" TYPE "\",\"shape\":" SHAPE ",\"data_offsets\":[" FROM "," TO "]}"

static void malformed_files(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t size;
        const char *says;
    } cases[] = { { "{\"a\":" ENTRY("F32", "[2]", "0", "8") "}", 7, "expected begin and end within a buffer of 7 bytes" },
        { "{\"a\":" ENTRY("F32", "[2]", "0", "8") "}", 9, "bytes after the last tensor" },
        { "{\"a\":" ENTRY("F32", "[2]", "4", "12") "}", 12, "gap before tensor" },
        { "{\"a\":" ENTRY("F32", "[2]", "0", "8") ",\"b\":" ENTRY("F32", "[2]", "4", "12") "}", 12, "tensors overlap" },
        { "{\"a\":" ENTRY("F32", "[2]", "0", "8") ",\"b\":" ENTRY("F32", "[2]", "0", "8") "}", 8, "tensors overlap" },
        { "{\"a\":" ENTRY("F32", "[2]", "0", "8") ",\"b\":" ENTRY("F32", "[1]", "12", "16") "}", 16, "gap before tensor" },
        { "{\"a\":" ENTRY("F32", "[3]", "0", "8") "}", 8, "tensor \"a\"; found 8 bytes; expected 12" },
        { "{\"a\":" ENTRY("F32", "[2]", "8", "0") "}", 8, "bad tensor offsets" },
        { "{\"a\":" ENTRY("F32", "[2]", "-8", "0") "}", 8, "bad tensor offsets" },
        { "{\"a\":" ENTRY("F32", "[2]", "0", "8.0") "}", 8, "bad tensor offsets" },
        { "{\"a\":" ENTRY("F32", "[-2]", "0", "8") "}", 8, "bad tensor shape" },
        { "{\"a\":" ENTRY("F32", "2", "0", "8") "}", 8, "bad tensor shape" },
        { "{\"a\":" ENTRY("F32", "[1,1,1,1,1,1,1,1,2]", "0", "8") "}", 8, "expected at most 8 sizes" },
        { "{\"a\":" ENTRY("F32", "[4611686018427387904,4]", "0", "0") "}", 0, "shape overflows" },
        { "{\"a\":" ENTRY("F32", "[4294967296,4294967296]", "0", "0") "}", 0, "shape overflows" },
        { "{\"a\":" ENTRY("F31", "[2]", "0", "8") "}", 8, "unknown dtype" },
        { "{\"a\":" ENTRY("f32", "[2]", "0", "8") "}", 8, "found f32" },
        { "{\"a\":{\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "found no dtype" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "bad tensor shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "bad tensor offsets" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, "found field \"x\"" },
        { "{\"a\":[0,8]}", 8, "found an array; expected an object" },
        { "{\"a\":" ENTRY("F32", "[2]", "0", "8") ",\"a\":" ENTRY("F32", "[2]", "0", "8") "}", 8, "duplicate object key" },
        { "{\"__metadata__\":{\"format\":1}}", 0, "__metadata__ field \"format\" is an integer" },
        { "{\"__metadata__\":[]}", 0, "__metadata__ is an array" }, { "{\"a\":", 8, "expected strict JSON" },
        { "[]", 8, "expected \"{\" after the length" }, { "", 8, "no JSON object" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e;
        TensorSet s;
        if (!tensors_open(&s, file_of("m.safetensors", cases[i].header, cases[i].size), &e)) fail_msg("opened: %s", cases[i].header);
        error_says(&e, cases[i].says);
        error_says(&e, "m.safetensors");
        assert_null(s.files);
    }
    Error e;
    TensorSet s;
    static const char *const lengths[] = { "\xff\xff\xff\xff\xff\xff\xff\xff{}", "\x03\0\0\0\0\0\0\0{}", "\x01\xe1\xf5\x05\0\0\0\0{}" };
    for (size_t i = 0; i < 3; i++) {
        put(at(folder, "m.safetensors"), lengths[i], 10);
        assert_int_equal(tensors_open(&s, at(folder, "m.safetensors"), &e), -1);
        error_says(&e, "bad safetensors header");
        error_says(&e, "cut short");
    }
    put(at(folder, "m.safetensors"), "1234", 4);
    assert_int_equal(tensors_open(&s, at(folder, "m.safetensors"), &e), -1);
    error_says(&e, "found a file of 4 bytes");
    put(at(folder, "m.safetensors"), "", 0);
    assert_int_equal(tensors_open(&s, at(folder, "m.safetensors"), &e), -1);
    error_says(&e, "an empty file");
    assert_int_equal(tensors_open(&s, at(folder, "none"), &e), -1);
    error_says(&e, "cannot open file");
    assert_int_equal(tensors_open(&s, folder, &e), -1);
    error_says(&e, "no weights");
}

static void unusual_but_right(void **state) {
    (void)state;
    Error e;
    TensorSet s;
    /* Out of order, scalar, empty tensor, odd start of the data. */
    const char *header =
        "{\"z\":" ENTRY("U8", "[3]", "4", "7") ",\"s\":" ENTRY("F32", "[]", "0", "4") ",\"none\":" ENTRY("BF16", "[0,5]", "4", "4") "} ";
    assert_int_equal(tensors_open(&s, file_of("m.safetensors", header, 7), &e), 0);
    assert_int_equal(s.n, 3);
    const Tensor *z = tensors_find(&s, "z"), *scalar = tensors_find(&s, "s"), *none = tensors_find(&s, "none");
    assert_memory_equal(z->data, "\4\5\6", 3);
    assert_int_equal(scalar->ndim, 0);
    assert_int_equal(scalar->count, 1);
    assert_int_equal(none->count, 0);
    assert_null(tensors_find(&s, "zz"));
    float x;
    assert_int_equal(tensor_read(scalar, TENSOR_F32, &x, &e), 0);
    assert_memory_equal(&x, "\0\1\2\3", 4);
    assert_int_equal(tensor_read(z, TENSOR_F32, &x, &e), -1);
    error_says(&e, "tensor \"z\"; found U8");
    tensors_close(&s);
    assert_int_equal(tensors_open(&s, file_of("m.safetensors", "{}", 0), &e), 0);
    assert_null(tensors_find(&s, "a"));
    tensors_close(&s);
}

static void malformed_shards(void **state) {
    (void)state;
    static const struct {
        const char *index, *says;
    } cases[] = { { "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"}}", "shard is missing" },
        { "{\"weight_map\":{\"a\":\"1.safetensors\",\"c\":\"2.safetensors\"}}",
            "tensor \"c\"; found no such tensor in any shard; expected 2.safetensors" },
        { "{\"weight_map\":{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}}", "index names a tensor that is not there" },
        { "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1again.safetensors\"}}", "tensor stands twice" },
        { "{\"weight_map\":{\"a\":\"../1.safetensors\"}}", "bad shard name" },
        { "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "bad shard name" }, { "{\"weight_map\":{\"a\":\"\"}}", "bad shard name" },
        { "{\"weight_map\":{\"a\":3}}", "found an integer" }, { "{\"weight_map\":[]}", "found an array" },
        { "{\"weight_map\":{}}", "found no entries" }, { "{}", "found nothing" }, { "[", "bad JSON" } };
    Error e;
    TensorSet s;
    file_of("1.safetensors", "{\"a\":" ENTRY("F32", "[2]", "0", "8") "}", 8);
    file_of("1again.safetensors", "{\"a\":" ENTRY("F32", "[2]", "0", "8") "}", 8);
    file_of("2.safetensors", "{\"b\":" ENTRY("F32", "[2]", "0", "8") "}", 8);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(at(folder, "model.safetensors.index.json"), cases[i].index, strlen(cases[i].index));
        if (!tensors_open(&s, folder, &e)) fail_msg("opened: %s", cases[i].index);
        error_says(&e, cases[i].says);
    }
    const char *good = "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}";
    put(at(folder, "model.safetensors.index.json"), good, strlen(good));
    assert_int_equal(tensors_open(&s, folder, &e), 0);
    assert_int_equal(s.n, 2);
    assert_non_null(strstr(tensors_find(&s, "b")->file, "2.safetensors"));
    tensors_close(&s);
}

/* Writes tensors t0 .. t{n-1}, ti holding (i + 1, 10) elements 100 i + 0, 1, ..., in pieces of 7. */
static int write_some(const char *path, int n, TensorType type, int64_t limit, Error *e) {
    TensorWriter *w;
    char name[16];
    float data[1000];
    if (tensors_create(&w, path, limit, e)) return -1;
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(tensors_declare(w, name, type, 2, (int64_t[]){ i + 1, 10 }, e), 0);
    }
    for (int i = 0; i < n; i++) {
        int count = (i + 1) * 10;
        snprintf(name, sizeof name, "t%d", i);
        for (int k = 0; k < count; k++) data[k] = (float)(100 * i + k);
        for (int k = 0; k < count; k += 7)
            if (tensors_append(w, name, data + k, TENSOR_F32, count - k < 7 ? count - k : 7, e)) return tensors_abandon(w), -1;
    }
    return tensors_commit(w, e);
}

static void check_some(const char *path, int n, TensorType type, size_t files) {
    TensorSet s;
    Error e;
    char name[16];
    float data[1000];
    if (tensors_open(&s, path, &e)) error_says(&e, "opens");
    assert_int_equal(s.n, n);
    assert_int_equal(s.files_n, files);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "t%d", i);
        const Tensor *t = tensors_find(&s, name);
        assert_non_null(t);
        assert_int_equal(t->type, type);
        assert_int_equal(t->shape[0], i + 1);
        assert_int_equal((uintptr_t)t->data % 4, 0); /* the padded header keeps the data aligned */
        assert_int_equal(tensor_read(t, TENSOR_F32, data, &e), 0);
        for (int k = 0; k < (i + 1) * 10; k++) assert_true(data[k] == (float)(100 * i + k));
    }
    tensors_close(&s);
}

static void write_one_file(void **state) {
    (void)state;
    Error e;
    char *bytes;
    assert_int_equal(write_some(at(folder, "one.safetensors"), 3, TENSOR_F32, 0, &e), 0);
    check_some(at(folder, "one.safetensors"), 3, TENSOR_F32, 1);
    assert_int_equal(write_some(at(folder, "one.safetensors"), 3, TENSOR_F16, 0, &e), 0);
    check_some(at(folder, "one.safetensors"), 3, TENSOR_F16, 1);
    assert_int_equal(file_read(at(folder, "one.safetensors"), 10000, &bytes, NULL, &e), 0);
    assert_int_equal(bytes[0] % 8, 0);
    assert_non_null(strstr(
        bytes + 8, "{\"__metadata__\":{\"format\":\"pt\"},\"t0\":{\"dtype\":\"F16\",\"shape\":[1,10],\"data_offsets\":[0,20]},\"t1\":"));
    free(bytes);
    assert_int_equal(write_some(at(folder, "none.safetensors"), 0, TENSOR_F32, 0, &e), 0);
    check_some(at(folder, "none.safetensors"), 0, TENSOR_F32, 1);
    assert_int_equal(write_some(at(folder, "whole"), 3, TENSOR_BF16, 1 << 20, &e), 0); /* under the limit: no index */
    check_some(at(folder, "whole"), 3, TENSOR_BF16, 1);                                /* 209 and below fit 8 bits */
    assert_true(file_exists(at(folder, "whole/model.safetensors")));
    assert_false(file_exists(at(folder, "whole/model.safetensors.index.json")));
}

/* What a thread reads is what the map holds: by the file's name, and where that leads to another file or a shorter one. */
static void read_by_name_or_by_map(void **state) {
    (void)state;
    enum { N = 5 };
    Error e;
    char path[PATH_SIZE];
    float got[N];
    snprintf(path, sizeof path, "%s", at(folder, "a.safetensors"));
    assert_int_equal(write_some(path, N, TENSOR_F32, 0, &e), 0);
    TensorSet s;
    assert_int_equal(tensors_open(&s, path, &e), 0);
    for (int replaced = 0; replaced < 2; replaced++) {
        TensorReader r = { 0 };
        for (size_t i = 0; i < s.n; i++)
            for (int64_t first = 0, n; first < s.list[i].count; first += n) {
                n = s.list[i].count - first < N ? s.list[i].count - first : N;
                assert_int_equal(tensor_reader_read(&r, &s, &s.list[i], first, n, got, &e), 0);
                assert_memory_equal(got, (const float *)s.list[i].data + first, (size_t)n * sizeof *got);
            }
        assert_true((r.file >= 0) == !replaced);
        tensor_reader_close(&r);
        assert_int_equal(file_write(path, "another", 7, &e), 0);
    }
    tensors_close(&s);
    assert_int_equal(write_some(path, N, TENSOR_F32, 0, &e), 0);
    assert_int_equal(tensors_open(&s, path, &e), 0);
    const Tensor *last = &s.list[0];
    for (size_t i = 0; i < s.n; i++)
        if (s.list[i].count && (const char *)s.list[i].data > (const char *)last->data) last = &s.list[i];
    TensorReader r = { 0 };
    assert_int_equal(truncate(path, (off_t)((const char *)last->data - (const char *)s.files[0].map) + 3), 0);
    assert_int_equal(tensor_reader_read(&r, &s, last, 0, 1, got, &e), -1);
    error_says(&e, "became shorter"), error_says(&e, "a.safetensors");
    tensor_reader_close(&r);
    tensors_close(&s);
}

static void write_shards(void **state) {
    (void)state;
    Error e;
    json_t *index;
    int64_t total;
    const char *shard;
    /* 40, 80, 120, 160, 200 bytes and a limit of 130: 40 + 80 | 120 | 160 | 200. */
    assert_int_equal(write_some(at(folder, "model"), 5, TENSOR_F32, 130, &e), 0);
    check_some(at(folder, "model"), 5, TENSOR_F32, 4);
    assert_int_equal(json_read_object(at(folder, "model/model.safetensors.index.json"), &index, &e), 0);
    assert_int_equal(json_need_integer(json_object_get(index, "metadata"), "total_size", "index", 0, 1000, &total, &e), 0);
    assert_int_equal(total, 600);
    assert_int_equal(json_need_string(json_object_get(index, "weight_map"), "t1", "index", &shard, &e), 0);
    assert_string_equal(shard, "model-00001-of-00004.safetensors");
    json_decref(index);
    /* A single file of an earlier run would be read in their place. */
    put(at(folder, "model/model.safetensors"), "old", 3);
    assert_int_equal(write_some(at(folder, "model"), 5, TENSOR_F32, 130, &e), -1);
    error_says(&e, "older checkpoint");
}

static void writer_misuse(void **state) {
    (void)state;
    Error e;
    TensorWriter *w;
    float x[4] = { 0 };
    int64_t two[] = { 2 }, huge[] = { INT64_MAX, 2 }, negative[] = { -1 };
    const char *path = at(folder, "w.safetensors");
    assert_int_equal(tensors_create(&w, path, 0, &e), 0);
    assert_int_equal(tensors_declare(w, "a", TENSOR_F32, 1, two, &e), 0);
    assert_int_equal(tensors_declare(w, "a", TENSOR_F32, 1, two, &e), -1);
    error_says(&e, "declared once");
    assert_int_equal(tensors_declare(w, "\xff", TENSOR_F32, 1, two, &e), -1);
    assert_int_equal(tensors_declare(w, "__metadata__", TENSOR_F32, 1, two, &e), -1);
    assert_int_equal(tensors_declare(w, "b", TENSOR_F32, 2, huge, &e), -1);
    error_says(&e, "product fits");
    assert_int_equal(tensors_declare(w, "b1", TENSOR_F32, 1, negative, &e), -1);
    assert_int_equal(tensors_declare(w, "b2", TENSOR_F32, 9, two, &e), -1);
    assert_int_equal(tensors_append(w, "a", x, TENSOR_F32, 3, &e), -1);
    error_says(&e, "found 3 elements; expected at most 2 of \"a\"");
    assert_int_equal(tensors_append(w, "c", x, TENSOR_F32, 1, &e), -1);
    assert_int_equal(tensors_append(w, "a", x, TENSOR_I32, 1, &e), -1);
    error_says(&e, "tensor \"a\"; found I32; expected F32");
    assert_int_equal(tensors_append(w, "a", x, TENSOR_F32, 1, &e), 0);
    assert_int_equal(tensors_declare(w, "late", TENSOR_F32, 1, two, &e), -1);
    assert_int_equal(tensors_commit(w, &e), -1);
    error_says(&e, "tensor \"a\"; found 1 elements; expected 2");
    assert_false(file_exists(path));
    assert_false(file_exists(at(folder, "w.safetensors.partial")));
    assert_int_equal(tensors_create(&w, at(folder, "none/w.safetensors"), 0, &e), 0);
    assert_int_equal(tensors_commit(w, &e), -1);
    error_says(&e, "cannot create file");
}

static void full_disk(void **state) {
    (void)state;
    Error e;
    static float x[100000];
    int64_t shape[] = { 100000 };
    TensorWriter *w;
    struct rlimit before, small;
    assert_int_equal(write_some(at(folder, "w.safetensors"), 2, TENSOR_F32, 0, &e), 0);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before, small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int declared = tensors_create(&w, at(folder, "w.safetensors"), 0, &e) || tensors_declare(w, "a", TENSOR_F32, 1, shape, &e);
    int failed = declared ? 0 : tensors_append(w, "a", x, TENSOR_F32, 100000, &e);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(declared, 0);
    assert_int_equal(failed, -1);
    error_says(&e, "cannot write");
    tensors_abandon(w);
    check_some(at(folder, "w.safetensors"), 2, TENSOR_F32, 1);
    assert_false(file_exists(at(folder, "w.safetensors.partial")));
}

static void golden_checkpoints(void **state) {
    (void)state;
    Error e;
    TensorSet s;
    char path[PATH_SIZE];
    assert_int_equal(tensors_open(&s, "tests/golden/llava15-orig/model", &e), 0);
    assert_int_equal(s.files_n, 2);
    assert_non_null(tensors_find(&s, "model.mm_projector.0.weight"));
    /* Rewritten as it is, every byte of every tensor comes back. */
    TensorWriter *w;
    path_join(path, folder, "copy", NULL);
    assert_int_equal(tensors_create(&w, path, 200000, &e), 0);
    for (size_t i = 0; i < s.n; i++)
        assert_int_equal(tensors_declare(w, s.list[i].name, s.list[i].type, s.list[i].ndim, s.list[i].shape, &e), 0);
    for (size_t i = 0; i < s.n; i++)
        assert_int_equal(tensors_append(w, s.list[i].name, s.list[i].data, s.list[i].type, s.list[i].count, &e), 0);
    assert_int_equal(tensors_commit(w, &e), 0);
    TensorSet copy;
    assert_int_equal(tensors_open(&copy, path, &e), 0);
    assert_int_equal(copy.n, s.n);
    assert_true(copy.files_n > 1);
    for (size_t i = 0; i < s.n; i++) {
        assert_string_equal(copy.list[i].name, s.list[i].name);
        assert_memory_equal(copy.list[i].data, s.list[i].data, (size_t)s.list[i].count * tensor_type_size(s.list[i].type));
    }
    tensors_close(&copy);
    tensors_close(&s);
}

int main(void) {
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = { TEST(conversions), TEST(malformed_files), TEST(unusual_but_right), TEST(malformed_shards),
        TEST(write_one_file), TEST(read_by_name_or_by_map), TEST(write_shards), TEST(writer_misuse), TEST(full_disk), TEST(golden_checkpoints) };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}

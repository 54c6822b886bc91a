/* torch_file_test.c - PyTorch's files: those that torch.save made (tests/golden/make_bin.py), lying ones made here, and a checkpoint
 * published as LLaVA-1.5 is, which must be the same model bit for bit as its safetensors twin. */
#include "tests/model/zip_write.h"

#include "base/json.h"
#include "model/checkpoint.h"
#include "model/inspect.h"

static const char *const ORIGINAL = "tests/golden/llava15-orig/model", *const BIN = "tests/golden/llava15-bin/model",
                         *const CLIP = "tests/golden/llava15-bin/clip-tiny";

static const Kernels *k;
static char scratch[PATH_SIZE];

static void ok(int failed, const Error *e) {
    char line[2048];
    if (failed) fail_msg("%s", error_text(e, line, sizeof line));
}

static const char *saved(const char *name) { return at("tests/golden/pickle", name); }

/* ---- what torch.save made ---- */

static const Tensor *need(const TensorSet *s, const char *name, TensorType type, int ndim, const int64_t *shape) {
    const Tensor *t = tensors_find(s, name);
    if (!t) fail_msg("no tensor \"%s\"", name);
    assert_int_equal(t->type, type);
    assert_int_equal(t->ndim, ndim);
    int64_t count = 1;
    for (int i = 0; i < ndim; i++) {
        assert_int_equal(t->shape[i], shape[i]);
        count *= shape[i];
    }
    assert_int_equal(t->count, count);
    return t;
}

static void is_counting(const Tensor *t, int from) {
    for (int64_t i = 0; i < t->count; i++) {
        float x;
        memcpy(&x, (const char *)t->data + 4 * i, 4);
        assert_true(x == (float)(from + i));
    }
}

static void kinds(void **state) {
    (void)state;
    static const char *const files[] = { "kinds-2.bin", "kinds-3.bin", "kinds-4.bin", "kinds-5.bin" };
    for (int f = 0; f < 4; f++) {
        TensorSet s;
        Error e = { 0 };
        ok(tensors_open(&s, saved(files[f]), &e), &e);
        assert_int_equal(s.n, 15);
        assert_int_equal(s.files[0].format, FORMAT_TORCH);
        const Tensor *whole = need(&s, "whole", TENSOR_F32, 3, (int64_t[]){ 2, 3, 4 });
        is_counting(whole, 0);
        const Tensor *row = need(&s, "row", TENSOR_F32, 1, (int64_t[]){ 4 });
        is_counting(row, 8);
        assert_ptr_equal(row->data, (const char *)whole->data + 32); /* one storage */
        is_counting(need(&s, "one_wide", TENSOR_F32, 2, (int64_t[]){ 1, 3 }), 0);
        is_counting(need(&s, "scalar", TENSOR_F32, 0, NULL), 7);
        need(&s, "empty", TENSOR_F32, 2, (int64_t[]){ 0, 5 });
        static const float few[] = { 1.5f, -2, 3 };
        const int64_t three[] = { 3 };
        assert_memory_equal(need(&s, "parameter", TENSOR_F32, 1, three)->data, few, sizeof few);
        assert_memory_equal(need(&s, "float64", TENSOR_F64, 1, three)->data, ((const double[]){ 1.5, -2, 3 }), 24);
        assert_memory_equal(need(&s, "float16", TENSOR_F16, 1, three)->data, ((const uint16_t[]){ 0x3e00, 0xc000, 0x4200 }), 6);
        assert_memory_equal(need(&s, "bfloat16", TENSOR_BF16, 1, three)->data, ((const uint16_t[]){ 0x3fc0, 0xc000, 0x4040 }), 6);
        assert_memory_equal(need(&s, "int64", TENSOR_I64, 1, three)->data, ((const int64_t[]){ 1, -2, 3 }), 24);
        assert_memory_equal(need(&s, "int32", TENSOR_I32, 1, three)->data, ((const int32_t[]){ 1, -2, 3 }), 12);
        assert_memory_equal(need(&s, "int16", TENSOR_I16, 1, three)->data, ((const int16_t[]){ 1, -2, 3 }), 6);
        assert_memory_equal(need(&s, "int8", TENSOR_I8, 1, three)->data, ((const int8_t[]){ 1, -2, 3 }), 3);
        assert_memory_equal(need(&s, "uint8", TENSOR_U8, 1, (int64_t[]){ 2 })->data, ((const uint8_t[]){ 1, 254 }), 2);
        assert_memory_equal(need(&s, "bool", TENSOR_BOOL, 1, (int64_t[]){ 2 })->data, ((const uint8_t[]){ 1, 0 }), 2);
        tensors_close(&s);
    }
    static const char *const modules[] = { "module.bin", "nested.bin" };
    for (int f = 0; f < 2; f++) {
        TensorSet s;
        Error e = { 0 };
        ok(tensors_open(&s, saved(modules[f]), &e), &e);
        assert_int_equal(s.n, 2);
        float x;
        memcpy(&x, need(&s, "weight", TENSOR_F32, 2, (int64_t[]){ 2, 3 })->data, sizeof x);
        assert_true(x == 0.5f);
        memcpy(&x, need(&s, "bias", TENSOR_F32, 1, (int64_t[]){ 2 })->data, sizeof x);
        assert_true(x == 0.25f);
        tensors_close(&s);
    }
    static const char *const streams[] = { "stream.bin", "rewritten.bin" };
    for (int f = 0; f < 2; f++) {
        TensorSet s;
        Error e = { 0 };
        ok(tensors_open(&s, saved(streams[f]), &e), &e);
        is_counting(need(&s, "a", TENSOR_F32, 2, (int64_t[]){ 2, 3 }), 0);
        tensors_close(&s);
    }
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *file, *says;
    } cases[] = {
        { "legacy.bin", "file of PyTorch before 1.6" }, { "legacy.bin", "torch.save(torch.load(F, weights_only=True), F)" },
        { "transposed.bin", "tensor \"a\"; expected elements side by side" }, { "expanded.bin", "tensor is not contiguous" },
        { "complex.bin", "would call torch.ComplexFloatStorage" }, { "negated.bin", "torch._utils._rebuild_tensor_v2" },
        { "sparse.bin", "would call torch._utils._rebuild_sparse_tensor" }, { "system.bin", "would call posix.system" },
        { "eval.bin", "would call __builtin__.eval" }, { "load.bin", "would call torch.serialization.load" },
        { "whole-module.bin", "would call torch.nn.modules.linear.Linear" }, { "beside.bin", "entry \"b\"; found a dictionary" },
        { "list.bin", "found a list; expected a dictionary of tensors" }, { "script.bin", "TorchScript programs are not read" },
        { "deflated.bin", "zip entry is compressed: tests/golden/pickle/deflated.bin: entry \"archive/" },
        { "big-endian.bin", "found big; expected little" }, { "kinds-2.pkl", "bad safetensors header" }, /* the name says what a file is */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TensorSet s;
        Error e = { 0 };
        if (!tensors_open(&s, saved(cases[i].file), &e)) fail_msg("opened %s", cases[i].file);
        error_says(&e, cases[i].says);
        error_says(&e, cases[i].file);
        assert_null(s.list);
    }
}

/* ---- archives that lie ---- */

#define B(TEXT) TEXT, sizeof TEXT - 1
#define STORAGE(KEY, COUNT) "(X\7\0\0\0storagectorch\nFloatStorage\n" KEY "X\3\0\0\0cpu" COUNT "tQ"
#define VIEW(STORAGE, REST) "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE REST "\211ccollections\nOrderedDict\n)RtR"
#define PICKLE(STORAGE, REST) "\200\2}X\1\0\0\0a" VIEW(STORAGE, REST) "s."
#define ZERO                                                                                                                               \
    "X\1\0\0\0"                                                                                                                            \
    "0"
#define MANY "\212\10\377\377\377\377\377\377\377\177" /* 2^63 - 1 */

static Error refuse_archive(const Put *list, size_t n) {
    Bytes b = archive_of(list, n);
    TensorSet s;
    Error e = { 0 };
    put(at(scratch, "lie.bin"), b.at, b.n);
    free(b.at);
    assert_int_equal(tensors_open(&s, at(scratch, "lie.bin"), &e), -1);
    assert_null(s.list);
    error_says(&e, "lie.bin");
    return e;
}

static void lies(void **state) {
    (void)state;
    static const struct {
        const char *pickle;
        size_t n;
        const char *says;
    } cases[] = {
        { B(PICKLE(STORAGE(ZERO, "K\7"), "K\0K\2K\3\206K\3K\1\206")), "found 24 bytes; expected 7 elements of F32" },
        { B(PICKLE(STORAGE(ZERO, "K\5"), "K\0K\5\205K\1\205")), "storage is not as long as the pickle says" },
        { B(PICKLE(STORAGE(ZERO, MANY), "K\0K\5\205K\1\205")), "storage is not as long" },
        { B(PICKLE(STORAGE(ZERO, "\212\10\6\0\0\0\0\0\0\100"), "K\0K\6\205K\1\205")),
            "storage is not as long" }, /* 2^62 + 6: 24 bytes, modulo 2^64 */
        { B(PICKLE(STORAGE("X\1\0\0\0"
                           "1",
                       "K\6"),
              "K\0K\6\205K\1\205")),
            "storage is missing: " },
        { B(PICKLE(STORAGE("X\1\0\0\0"
                           "1",
                       "K\6"),
              "K\0K\6\205K\1\205")),
            "found no entry data/1" },
        { B(PICKLE(STORAGE("X\0\0\0\0", "K\6"), "K\0K\6\205K\1\205")), "storage is missing" },
        { B(PICKLE(STORAGE("X\14\0\0\0../byteorder", "K\6"), "K\0K\6\205K\1\205")), "no entry data/../byteorder" },
        { B(PICKLE(STORAGE(ZERO, "K\6"), "K\0K\7\205K\1\205")), "tensor reaches beyond its storage" },
        { B(PICKLE(STORAGE(ZERO, "K\6"), "K\1K\6\205K\1\205")), "found 6 elements from 1; expected an end within 6" },
        { B(PICKLE(STORAGE(ZERO, "K\6"), MANY "K\6\205K\1\205")), "reaches beyond its storage" },
        { B(PICKLE(STORAGE(ZERO, "K\6"), "K\7K\0\205K\1\205")), "reaches beyond its storage" }, /* no elements, but not there */
        { B(PICKLE(STORAGE(ZERO, "K\6"), "K\0" MANY "\205K\1\205")), "tensor shape overflows" },
        { B(PICKLE(STORAGE(ZERO, "K\6"), "K\0" MANY MANY "\206K\1K\1\206")), "tensor shape overflows" },
        { B(PICKLE(STORAGE(ZERO, "K\6"), "K\0"
                                         "\212\5\0\0\0\0\1\212\5\0\0\0\0\1\206K\1K\1\206")),
            "tensor shape overflows" }, /* 2^32 x 2^32 */
        { B(PICKLE(STORAGE(ZERO, "K\6"), "K\0K\2K\3\206K\1K\2\206")), "tensor is not contiguous" },
        { B(PICKLE(STORAGE(ZERO, "K\6"), "K\0K\6\205K\0\205")), "tensor is not contiguous" },
        { B("\200\2}(X\1\0\0\0a" VIEW(STORAGE(ZERO, "K\6"), "K\0K\6\205K\1\205") "X\1\0\0\0a" VIEW(
              STORAGE(ZERO, "K\6"), "K\0K\6\205K\1\205") "u."),
            "tensor stands twice" },
        { B("\200\2}X\1\0\0\0acos\nsystem\nX\2\0\0\0id\205Rs."), "the pickle would call os.system" },
    };
    static const float numbers[6] = { 0, 1, 2, 3, 4, 5 };
    Error e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        e = refuse_archive((const Put[]){ { "r/data.pkl", cases[i].pickle, cases[i].n }, { "r/data/0", numbers, 24 } }, 2);
        error_says(&e, cases[i].says);
    }
    e = refuse_archive((const Put[]){ { "data.pkl", "N", 1 }, { "r/s/data.pkl", "N", 1 }, { "/data.pkl", "N", 1 } }, 3);
    error_says(&e, "found no entry */data.pkl");
    e = refuse_archive((const Put[]){ { "r/data.pkl", "N", 1 }, { "s/data.pkl", "N", 1 } }, 2);
    error_says(&e, "archive has two roots");
    e = refuse_archive((const Put[]){ { "r/data.pkl", "N", 1 }, { "r/byteorder", "little-endian", 13 } }, 2);
    error_says(&e, "found little-endian; expected little");
    e = refuse_archive((const Put[]){ { "r/data.pkl", "N", 1 }, { "r/constants.pkl", "N", 1 } }, 2);
    error_says(&e, "TorchScript");
    TensorSet s;
    put(at(scratch, "lie.bin"), "\177ELF", 4);
    assert_int_equal(tensors_open(&s, at(scratch, "lie.bin"), &e), -1);
    error_says(&e, "not a file of PyTorch");
    put(at(scratch, "lie.bin"), "PK\3\4", 4);
    assert_int_equal(tensors_open(&s, at(scratch, "lie.bin"), &e), -1);
    error_says(&e, "cut short");
    /* Unaligned storages are as good as others. */
    static const char good[] = PICKLE(STORAGE(ZERO, "K\6"), "K\0K\2K\3\206K\3K\1\206");
    for (size_t pad = 0; pad < 4; pad++) {
        Bytes b =
            archive_of((const Put[]){ { "r/pad", "pad", pad }, { "r/data.pkl", good, sizeof good - 1 }, { "r/data/0", numbers, 24 } }, 3);
        put(at(scratch, "good.bin"), b.at, b.n);
        free(b.at);
        ok(tensors_open(&s, at(scratch, "good.bin"), &e), &e);
        float read[6];
        ok(tensor_read(need(&s, "a", TENSOR_F32, 2, (int64_t[]){ 2, 3 }), TENSOR_F32, read, &e), &e);
        assert_memory_equal(read, numbers, sizeof read);
        tensors_close(&s);
    }
}

/* ---- a checkpoint as LLaVA-1.5 is published ---- */

typedef struct Loaded {
    ModelConfig config;
    Params params;
} Loaded;

static void load(Loaded *x, const char *folder, DType dtype, char hash[HASH_TEXT]) {
    Error e = { 0 };
    ok(config_load(folder, &x->config, &e) || params_plan(&x->params, &x->config, &e) || params_load(&x->params, k, dtype, folder, &e), &e);
    params_hash(&x->params, k, hash);
}
static void drop(Loaded *x) { params_free(&x->params, k); }

static Error refuse(const char *folder) {
    Loaded x;
    Error e = { 0 };
    ok(config_load(folder, &x.config, &e) || params_plan(&x.params, &x.config, &e), &e);
    assert_int_equal(params_load(&x.params, k, FP32, folder, &e), -1);
    drop(&x);
    return e;
}

static void copy(const char *from, const char *to, const char *name) {
    Error e = { 0 };
    ok(file_copy(at(from, name), at(to, name), &e), &e);
}

/* The checkpoint and its tower in a folder of their own; `model` becomes the checkpoint. */
static void copy_checkpoint(const char *name, char model[PATH_SIZE]) {
    static const char *const files[] = { "config.json", "mm_projector.bin", "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json" };
    char place[PATH_SIZE], tower[PATH_SIZE];
    Error e = { 0 };
    strcpy(place, at(scratch, name)), strcpy(model, at(place, "model")), strcpy(tower, at(place, "clip-tiny"));
    ok(folder_make(model, &e) || folder_make(tower, &e), &e);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) copy(BIN, model, files[i]);
    copy(CLIP, tower, "config.json"), copy(CLIP, tower, "pytorch_model.bin");
}

static void twin(void **state) {
    (void)state;
    static const DType dtypes[] = { FP32, BF16 };
    Loaded x, y;
    Error e = { 0 };
    char a[HASH_TEXT], b[HASH_TEXT];
    for (int i = 0; i < 2; i++) {
        load(&x, ORIGINAL, dtypes[i], a), load(&y, BIN, dtypes[i], b);
        assert_string_equal(a, b);
        assert_int_equal(y.params.layout, LAYOUT_ORIGINAL);
        assert_int_equal(params_find(&y.params, P_EMBED, -1)->stored, TENSOR_F32);
        drop(&x), drop(&y);
    }
    /* It is written as safetensors, whole: the same tensors as the twin's. */
    load(&y, BIN, FP32, b);
    const char *out = at(scratch, "written");
    ok(params_export(&y.params, k, TENSOR_F32, BIN, out, &e), &e);
    drop(&y);
    TensorSet s, t;
    ok(tensors_open(&s, ORIGINAL, &e) || tensors_open(&t, out, &e), &e);
    assert_int_equal(s.n, t.n);
    for (size_t i = 0; i < s.n; i++) {
        assert_string_equal(s.list[i].name, t.list[i].name);
        assert_int_equal(s.list[i].type, t.list[i].type);
        assert_int_equal(s.list[i].count, t.list[i].count);
        assert_memory_equal(s.list[i].data, t.list[i].data, (size_t)s.list[i].count * 4);
    }
    assert_int_equal(t.files[0].format, FORMAT_SAFETENSORS);
    tensors_close(&s), tensors_close(&t);
    load(&y, out, FP32, a); /* with the tower's config, which travelled along */
    assert_string_equal(a, b);
    assert_false(file_exists(at(out, "pytorch_model.bin.index.json")));
    drop(&y);
}

/* A projector beside the weights counts only where those have none; it is not even opened elsewhere. */
static void projector(void **state) {
    (void)state;
    char model[PATH_SIZE], a[HASH_TEXT], b[HASH_TEXT];
    Loaded x;
    Error e = { 0 };
    copy_checkpoint("projector", model);
    copy("tests/golden/pickle", model, "module.bin");
    ok(folder_rename(at(model, "module.bin"), at(model, "mm_projector.bin"), &e), &e);
    e = refuse(model);
    error_says(&e, "no \"model.mm_projector.0.weight\"");
    assert_int_equal(remove(at(model, "mm_projector.bin")), 0);
    e = refuse(model);
    error_says(&e, "no \"model.mm_projector.0.weight\"");
    copy("tests/golden/pickle", model, "system.bin");
    ok(folder_rename(at(model, "system.bin"), at(model, "mm_projector.bin"), &e), &e);
    e = refuse(model);
    error_says(&e, "the pickle would call posix.system");
    /* Safetensors go before .bin, and hold a projector. */
    copy(ORIGINAL, model, "model-00001-of-00002.safetensors"), copy(ORIGINAL, model, "model-00002-of-00002.safetensors");
    copy(ORIGINAL, model, "model.safetensors.index.json");
    load(&x, ORIGINAL, FP32, a), drop(&x);
    load(&x, model, FP32, b), drop(&x);
    assert_string_equal(a, b);
}

static void towers_and_shards(void **state) {
    (void)state;
    char model[PATH_SIZE], tower[PATH_SIZE], a[HASH_TEXT], b[HASH_TEXT];
    Loaded x;
    Error e = { 0 };
    copy_checkpoint("towers", model);
    strcpy(tower, at(scratch, "towers/clip-tiny"));
    load(&x, BIN, FP32, a), drop(&x);
    load(&x, model, FP32, b), drop(&x);
    assert_string_equal(a, b);
    /* One file in place of the shards goes before the index. */
    copy("tests/golden/pickle", model, "module.bin");
    ok(folder_rename(at(model, "module.bin"), at(model, "pytorch_model.bin"), &e), &e);
    e = refuse(model);
    error_says(&e, "unknown tensor names");
    assert_int_equal(remove(at(model, "pytorch_model.bin")), 0);
    /* A missing shard is named, and so is what the index says of it. */
    ok(folder_rename(at(model, "pytorch_model-00002-of-00002.bin"), at(model, "gone"), &e), &e);
    e = refuse(model);
    error_says(&e, "shard is missing");
    error_says(&e, "pytorch_model-00002-of-00002.bin");
    ok(folder_rename(at(model, "gone"), at(model, "pytorch_model-00002-of-00002.bin"), &e), &e);
    /* The tower's own refusal is told with its hint; without weights there is a hint of where they should be. */
    copy("tests/golden/pickle", tower, "legacy.bin");
    ok(folder_rename(at(tower, "legacy.bin"), at(tower, "pytorch_model.bin"), &e), &e);
    e = refuse(model);
    error_says(&e, "file of PyTorch before 1.6");
    error_says(&e, "convert it");
    assert_int_equal(remove(at(tower, "pytorch_model.bin")), 0);
    e = refuse(model);
    error_says(&e, "no weights");
    error_says(&e, "no vision tower");
}

static void inspecting(void **state) {
    (void)state;
    static const char *const facts[] = { "layout        original, 3 files of PyTorch (.bin)\n",
        "tower from    tests/golden/llava15-bin/model/../clip-tiny, 1 file of PyTorch (.bin)\n",
        "2 tensors are skipped: buffers that are computed" };
    char *text = NULL, *line, model[PATH_SIZE];
    size_t size;
    Error e = { 0 };
    FILE *out = open_memstream(&text, &size);
    ok(model_inspect(BIN, out, &e), &e);
    fclose(out);
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (!strstr(text, facts[i])) fail_msg("no \"%s\" in:\n%s", facts[i], text);
    free(text);
    /* Of both sorts. */
    copy_checkpoint("both", model);
    TensorSet s;
    TensorWriter *w;
    ok(tensors_open(&s, model, &e) || tensors_create(&w, model, INT64_MAX, &e), &e);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < s.n; i++) {
            const Tensor *t = &s.list[i];
            ok(pass ? tensors_append(w, t->name, t->data, t->type, t->count, &e)
                    : tensors_declare(w, t->name, t->type, t->ndim, t->shape, &e),
                &e);
        }
    ok(tensors_commit(w, &e), &e);
    tensors_close(&s);
    out = open_memstream(&text, &size);
    ok(model_inspect(model, out, &e), &e);
    fclose(out);
    line = "layout        original, 2 files of safetensors, 1 of them PyTorch's (.bin)\n";
    if (!strstr(text, line)) fail_msg("no \"%s\" in:\n%s", line, text);
    free(text);
}

static int group_begin(void **state) {
    (void)state;
    Error e = { 0 };
    k = kernels_open("cpu", 1, &e);
    scratch_make(scratch);
    return k ? 0 : -1;
}

static int group_end(void **state) {
    (void)state;
    scratch_drop(scratch);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),
        cmocka_unit_test(refused),
        cmocka_unit_test(lies),
        cmocka_unit_test(twin),
        cmocka_unit_test(projector),
        cmocka_unit_test(towers_and_shards),
        cmocka_unit_test(inspecting),
    };
    return cmocka_run_group_tests_name("torch_file", tests, group_begin, group_end);
}

/* params_io_test.c - checkpoints in and out: the golden cases bit for bit, every layout, dtypes, what may be absent, what is refused, and
 * folders that are replaced only by whole ones. */
#include "tests/check.h"

#include "base/json.h"
#include "model/checkpoint.h"
#include "model/inspect.h"

#include <math.h>
#include <omp.h>

static const char *const HUB = "tests/golden/llava15-hub/model", *const ORIGINAL = "tests/golden/llava15-orig/model",
                         *const V5 = "tests/golden/llava15-v5/model";

static const Kernels *k;
static char scratch[PATH_SIZE];

static void ok(int failed, const Error *e) {
    char line[2048];
    if (failed) fail_msg("%s", error_text(e, line, sizeof line));
}

typedef struct Loaded {
    ModelConfig config;
    Params params;
} Loaded;

static void load(Loaded *x, const char *folder, DType dtype) {
    Error e = { 0 };
    ok(config_load(folder, &x->config, &e) || params_plan(&x->params, &x->config, &e) || params_load(&x->params, k, dtype, folder, &e), &e);
}
static void drop(Loaded *x) { params_free(&x->params, k); }

/* The error of loading a folder whose config is sound. */
static Error refuse(const char *folder) {
    Loaded x;
    Error e = { 0 };
    ok(config_load(folder, &x.config, &e) || params_plan(&x.params, &x.config, &e), &e);
    assert_int_equal(params_load(&x.params, k, FP32, folder, &e), -1);
    assert_null(x.params.weights.at);
    drop(&x);
    return e;
}

/* SCRATCH/NAME-N. */
static void place(char out[PATH_SIZE], const char *name, int n) {
    char last[64];
    snprintf(last, sizeof last, "%s-%d", name, n);
    strcpy(out, at(scratch, last));
}

static TensorSet open_set(const char *folder) {
    TensorSet s;
    Error e = { 0 };
    ok(tensors_open(&s, folder, &e), &e);
    return s;
}

static void write_text(const char *folder, const char *name, const char *text) { put(at(folder, name), text, strlen(text)); }

static void same_file(const char *a, const char *b, const char *name) {
    char x[HASH_TEXT], y[HASH_TEXT];
    Error e = { 0 };
    ok(hash_file(at(a, name), x, &e) || hash_file(at(b, name), y, &e), &e);
    if (strcmp(x, y)) fail_msg("%s differs", name);
}

/* Two folders hold the same tensors: names, types, shapes and bytes. */
static void same_tensors(const char *a, const char *b) {
    TensorSet x = open_set(a), y = open_set(b);
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++) {
        const Tensor *s = &x.list[i], *t = &y.list[i];
        assert_string_equal(s->name, t->name);
        assert_int_equal(s->type, t->type);
        assert_int_equal(s->ndim, t->ndim);
        assert_memory_equal(s->shape, t->shape, (size_t)s->ndim * sizeof *s->shape);
        assert_memory_equal(s->data, t->data, (size_t)s->count * tensor_type_size(s->type));
    }
    tensors_close(&x), tensors_close(&y);
}

/* Copies config and tensors of `from` to `to` (both folders), with a change on the way. */
typedef struct Edit {
    const char *drop, *name, *renamed; /* tensors whose name holds `drop` go; `name` becomes `renamed` */
    const char *flattened, *retyped;   /* this tensor becomes one-dimensional; this one I32 */
    const char *extra[2];              /* one-element tensors more */
    const char *broken;                /* this tensor's first element becomes NaN */
    void (*config)(json_t *o);
} Edit;

static void edit_config(const char *from, const char *to, void (*change)(json_t *o)) {
    json_t *o;
    assert_int_equal(json_read_object(at(from, "config.json"), &o, NULL), 0);
    if (change) change(o);
    char *text = json_dumps(o, 0);
    write_text(to, "config.json", text);
    free(text);
    json_decref(o);
}

static void edit(const char *from, const char *to, Edit x) {
    TensorSet s = open_set(from);
    TensorWriter *w;
    Error e = { 0 };
    ok(folder_make(to, &e), &e);
    edit_config(from, to, x.config);
    ok(tensors_create(&w, to, INT64_MAX, &e), &e);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < s.n; i++) {
            const Tensor *t = &s.list[i];
            const char *name = x.name && !strcmp(t->name, x.name) ? x.renamed : t->name;
            int flat = x.flattened && !strcmp(t->name, x.flattened), integer = x.retyped && !strcmp(t->name, x.retyped);
            if (x.drop && strstr(t->name, x.drop)) continue;
            TensorType type = integer ? TENSOR_I32 : t->type;
            if (!pass) ok(tensors_declare(w, name, type, flat ? 1 : t->ndim, flat ? &t->count : t->shape, &e), &e);
            else {
                uint32_t *copy = malloc((size_t)t->count * 4);
                memcpy(copy, t->data, (size_t)t->count * 4);
                if (x.broken && !strcmp(t->name, x.broken)) copy[0] = 0x7fc00000u;
                ok(tensors_append(w, name, copy, type, t->count, &e), &e);
                free(copy);
            }
        }
        for (int i = 0; i < 2 && x.extra[i]; i++)
            ok(pass ? tensors_append(w, x.extra[i], &(float){ 1 }, TENSOR_F32, 1, &e)
                    : tensors_declare(w, x.extra[i], TENSOR_F32, 1, &(int64_t){ 1 }, &e),
                &e);
    }
    ok(tensors_commit(w, &e), &e);
    tensors_close(&s);
}

/* ---- golden ---- */

static void golden_bits(void **state) {
    (void)state;
    static const struct {
        const char *const *folder;
        Layout layout;
    } cases[] = { { &HUB, LAYOUT_HUB }, { &ORIGINAL, LAYOUT_ORIGINAL }, { &V5, LAYOUT_V5 } };
    for (int i = 0; i < 3; i++) {
        Loaded x;
        load(&x, *cases[i].folder, FP32);
        assert_int_equal(x.params.layout, cases[i].layout);
        TensorSet s = open_set(*cases[i].folder);
        assert_int_equal(s.n, x.params.n);
        for (int j = 0; j < x.params.n; j++) {
            const Param *q = &x.params.list[j];
            char name[PARAM_NAME];
            params_name(q, x.params.layout, name);
            const Tensor *t = tensors_find(&s, name);
            assert_non_null(t);
            assert_false(q->absent);
            float *values = malloc((size_t)q->count * sizeof *values);
            k->download(values, buf_at(x.params.weights, q->offset), q->count);
            assert_memory_equal(values, t->data, (size_t)q->count * sizeof *values);
            free(values);
        }
        tensors_close(&s);
        drop(&x);
    }
}

/* Expected gradients and final weights of the golden cases bear the case's own names. */
static void golden_expected_names(void **state) {
    (void)state;
    static const char *const names[] = { "llava15-hub", "llava15-orig", "llava15-v5" };
    for (int i = 0; i < 3; i++) {
        char path[PATH_SIZE];
        Loaded x;
        snprintf(path, sizeof path, "tests/golden/%s/model", names[i]);
        load(&x, path, FP32);
        snprintf(path, sizeof path, "tests/golden/%s/expect/grad_step0.safetensors", names[i]);
        TensorSet s = open_set(path);
        size_t found = 0;
        for (int j = 0; j < x.params.n; j++) {
            char name[PARAM_NAME];
            params_name(&x.params.list[j], x.params.layout, name);
            const Tensor *t = tensors_find(&s, name);
            if (t) assert_int_equal(t->count, x.params.list[j].count);
            found += t != NULL;
        }
        assert_int_equal(found, s.n);
        tensors_close(&s);
        drop(&x);
    }
}

static void export_same(void **state) {
    (void)state;
    const char *const folders[] = { HUB, ORIGINAL, V5 };
    Error e = { 0 };
    for (int i = 0; i < 3; i++) {
        Loaded x, y;
        char out[PATH_SIZE], a[HASH_TEXT], b[HASH_TEXT];
        place(out, "same", i);
        strcat(out, "/"); /* a slash at the end is fine */
        load(&x, folders[i], FP32);
        ok(params_export(&x.params, k, TENSOR_F32, folders[i], out, &e), &e);
        same_tensors(folders[i], out);
        static const char *const copied[] = { "config.json", "tokenizer.model", "tokenizer.json", "tokenizer_config.json",
            "added_tokens.json", "preprocessor_config.json" };
        for (size_t j = 0; j < sizeof copied / sizeof *copied; j++) same_file(folders[i], out, copied[j]);
        if (i == 1) same_file(folders[i], out, "vision/config.json");
        load(&y, out, FP32);
        params_hash(&x.params, k, a), params_hash(&y.params, k, b);
        assert_string_equal(a, b);
        drop(&x), drop(&y);
    }
}

/* ---- dtypes ---- */

static void export_bf16(void **state) {
    (void)state;
    Loaded x, y;
    Error e = { 0 };
    char out[PATH_SIZE], a[HASH_TEXT], b[HASH_TEXT];
    strcpy(out, at(scratch, "bf16"));
    load(&x, HUB, FP32);
    ok(params_export(&x.params, k, TENSOR_BF16, HUB, out, &e), &e);
    TensorSet s = open_set(HUB), t = open_set(out);
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(t.list[i].type, TENSOR_BF16);
        for (int64_t j = 0; j < s.list[i].count; j++) { /* round to nearest even, by hand */
            uint32_t bits;
            uint16_t stored;
            memcpy(&bits, (const char *)s.list[i].data + 4 * j, 4);
            memcpy(&stored, (const char *)t.list[i].data + 2 * j, 2);
            assert_int_equal(stored, (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        }
    }
    tensors_close(&s), tensors_close(&t);
    json_t *config;
    const char *dtype;
    ok(json_read_object(at(out, "config.json"), &config, &e) || json_need_string(config, "torch_dtype", "config", &dtype, &e), &e);
    assert_string_equal(dtype, "bfloat16");
    json_decref(config);
    drop(&x);

    /* Loading fp32 as bf16 rounds alike, and bf16 read as fp32 is the same numbers. */
    load(&x, HUB, BF16), load(&y, out, BF16);
    assert_int_equal(params_find(&x.params, P_EMBED, -1)->stored, TENSOR_F32); /* what the files held, whatever it is computed in */
    assert_int_equal(params_find(&y.params, P_EMBED, -1)->stored, TENSOR_BF16);
    params_hash(&x.params, k, a), params_hash(&y.params, k, b);
    assert_string_equal(a, b);
    ok(params_export(&x.params, k, TENSOR_BF16, out, at(scratch, "bf16-again"), &e), &e);
    same_tensors(out, at(scratch, "bf16-again"));
    same_file(out, at(scratch, "bf16-again"), "config.json");
    drop(&y);

    /* Training a bf16 model steps its fp32 master copy, and that is what is exported. */
    ok(params_train_begin(&x.params, k, 1u << PART_VISION, &e), &e);
    const Param *q = params_find(&x.params, P_EMBED, -1);
    const float fine = 1.0f + 1e-4f; /* not a bf16 number */
    k->upload(buf_at(x.params.master, q->offset), &fine, 1);
    ok(params_export(&x.params, k, TENSOR_F32, HUB, at(scratch, "master"), &e), &e);
    load(&y, at(scratch, "master"), FP32);
    float first;
    k->download(&first, params_weight(&y.params, P_EMBED, -1), 1);
    assert_true(first == fine);
    drop(&x), drop(&y);

    /* Half precision, as the published models are stored, comes back as it came; what it cannot hold is refused. */
    load(&x, HUB, FP32);
    ok(params_export(&x.params, k, TENSOR_F16, HUB, at(scratch, "f16"), &e), &e);
    load(&y, at(scratch, "f16"), FP32);
    assert_int_equal(params_find(&y.params, P_EMBED, -1)->stored, TENSOR_F16);
    ok(params_export(&y.params, k, (TensorType)TENSOR_AS_STORED, at(scratch, "f16"), at(scratch, "f16-again"), &e), &e);
    same_tensors(at(scratch, "f16"), at(scratch, "f16-again"));
    ok(json_read_object(at(at(scratch, "f16"), "config.json"), &config, &e) ||
            json_need_string(config, "torch_dtype", "config", &dtype, &e),
        &e);
    assert_string_equal(dtype, "float16");
    json_decref(config);
    /* Types may be mixed, as where a tower comes from elsewhere: each tensor keeps its own, and config.json says what it said. */
    for (int i = 0; i < y.params.n; i++)
        if (y.params.list[i].part == PART_VISION) y.params.list[i].stored = TENSOR_F32;
    ok(params_export(&y.params, k, (TensorType)TENSOR_AS_STORED, at(scratch, "f16"), at(scratch, "mixed"), &e), &e);
    same_file(at(scratch, "f16"), at(scratch, "mixed"), "config.json");
    TensorSet mixed = open_set(at(scratch, "mixed"));
    for (size_t i = 0; i < mixed.n; i++)
        assert_int_equal(mixed.list[i].type, strstr(mixed.list[i].name, "vision_tower") ? TENSOR_F32 : TENSOR_F16);
    tensors_close(&mixed);
    const float large = 65520;
    k->upload(params_weight(&y.params, P_EMBED, -1), &large, 1);
    assert_int_equal(params_export(&y.params, k, TENSOR_F16, HUB, at(scratch, "f16-beyond"), &e), -1);
    assert_non_null(strstr(e.what, "range of F16"));
    assert_false(file_exists(at(scratch, "f16-beyond")));
    drop(&x), drop(&y);
}

/* ---- layouts ---- */

static void every_layout(void **state) {
    (void)state;
    static const Layout layouts[] = { LAYOUT_HUB, LAYOUT_ORIGINAL, LAYOUT_V5, LAYOUT_MEMORY };
    char a[HASH_TEXT], b[HASH_TEXT];
    Loaded x;
    Error e = { 0 };
    load(&x, HUB, FP32);
    params_hash(&x.params, k, a);
    for (int i = 0; i < 4; i++) {
        Loaded y;
        char folder[PATH_SIZE];
        place(folder, "layout", i);
        x.params.layout = layouts[i];
        ok(params_export(&x.params, k, TENSOR_F32, HUB, folder, &e), &e);
        load(&y, folder, FP32);
        assert_int_equal(y.params.layout, layouts[i]);
        params_hash(&y.params, k, b);
        assert_string_equal(a, b);
        drop(&y);
    }
    /* Shards: the smallest limit gives each tensor a file of its own, and reads back. */
    Loaded y;
    x.params.layout = LAYOUT_HUB;
    char shards[PATH_SIZE];
    strcpy(shards, at(scratch, "shards"));
    ok(params_write(&x.params, k, NULL, TENSOR_F32, shards, 1 << 16, &e) || file_copy(at(HUB, "config.json"), at(shards, "config.json"), &e), &e);
    assert_true(file_exists(at(shards, "model.safetensors.index.json")));
    load(&y, shards, FP32);
    params_hash(&y.params, k, b);
    assert_string_equal(a, b);
    drop(&x), drop(&y);
}

static void set_text(json_t *o) {
    json_t *text = json_deep_copy(json_object_get(o, "text_config"));
    json_object_clear(o);
    json_object_update(o, text);
    json_decref(text);
}
static void set_tied(json_t *o) {
    set_text(o);
    json_object_set_new(o, "tie_word_embeddings", json_true());
}

static void text_and_tied(void **state) {
    (void)state;
    Loaded x, y;
    Error e = { 0 };
    char text[PATH_SIZE], tied[PATH_SIZE];
    strcpy(text, at(scratch, "text")), strcpy(tied, at(scratch, "tied"));
    load(&x, HUB, FP32);
    x.params.layout = LAYOUT_TEXT;
    ok(params_write(&x.params, k, NULL, TENSOR_F32, at(scratch, "text-raw"), INT64_MAX, &e), &e);
    edit_config(HUB, at(scratch, "text-raw"), NULL);
    edit(at(scratch, "text-raw"), at(scratch, "text-less"), (Edit){ .drop = "vision", .config = set_text });
    edit(at(scratch, "text-less"), text, (Edit){ .drop = "multi_modal" });
    load(&y, text, FP32);
    assert_int_equal(y.params.layout, LAYOUT_TEXT);
    assert_int_equal(y.params.n, 1 + 3 * 9 + 2);
    drop(&x), drop(&y);

    edit(HUB, at(scratch, "tied-llava"), (Edit){ .drop = "lm_head", .config = NULL });
    e = refuse(at(scratch, "tied-llava"));
    error_says(&e, "lm_head");
    edit(text, tied, (Edit){ .drop = "lm_head" });
    write_text(tied, "config.json", "{}");
    edit_config(HUB, tied, set_tied);
    load(&y, tied, FP32);
    assert_int_equal(y.params.n, 1 + 3 * 9 + 1);
    ok(params_export(&y.params, k, TENSOR_F32, tied, at(scratch, "tied-out"), &e), &e);
    same_tensors(tied, at(scratch, "tied-out"));
    drop(&y);
    /* A head of its own beside a tied config would be lost. */
    edit_config(HUB, text, set_tied);
    e = refuse(text);
    error_says(&e, "head differs");
    edit_config(HUB, text, set_text);
}

static void tower_in_its_folder(void **state) {
    (void)state;
    Loaded x, y;
    Error e = { 0 };
    char folder[PATH_SIZE], tower[PATH_SIZE], a[HASH_TEXT], b[HASH_TEXT];
    strcpy(folder, at(scratch, "apart")), strcpy(tower, at(folder, "vision"));
    edit(ORIGINAL, folder, (Edit){ .drop = "vision_tower" });
    ok(folder_make(tower, &e) || file_copy(at(ORIGINAL, "vision/config.json"), at(tower, "config.json"), &e), &e);
    e = refuse(folder);
    error_says(&e, "no vision tower");

    /* The tower as CLIP's own checkpoint has it, beside CLIP's text half. */
    TensorSet s = open_set(ORIGINAL);
    TensorWriter *w;
    const char *lead = "model.vision_tower.vision_tower.";
    ok(tensors_create(&w, tower, INT64_MAX, &e), &e);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < s.n; i++) {
            const Tensor *t = &s.list[i];
            if (strncmp(t->name, lead, strlen(lead))) continue;
            const char *name = t->name + strlen(lead);
            ok(pass ? tensors_append(w, name, t->data, t->type, t->count, &e) : tensors_declare(w, name, t->type, t->ndim, t->shape, &e),
                &e);
        }
        ok(pass ? tensors_append(w, "logit_scale", &(float){ 4 }, TENSOR_F32, 1, &e)
                : tensors_declare(w, "logit_scale", TENSOR_F32, 0, NULL, &e),
            &e);
    }
    ok(tensors_commit(w, &e), &e);
    tensors_close(&s);
    load(&x, ORIGINAL, FP32), load(&y, folder, FP32);
    params_hash(&x.params, k, a), params_hash(&y.params, k, b);
    assert_string_equal(a, b);
    ok(params_export(&y.params, k, TENSOR_F32, folder, at(scratch, "together"), &e), &e);
    same_tensors(ORIGINAL, at(scratch, "together"));
    drop(&x), drop(&y);

    /* A tower beside the checkpoint travels into what is exported. */
    char beside[PATH_SIZE];
    strcpy(beside, at(scratch, "towers/clip-small"));
    ok(folder_make(beside, &e) || file_copy(at(ORIGINAL, "vision/config.json"), at(beside, "config.json"), &e), &e);
    char out[PATH_SIZE], like[PATH_SIZE];
    strcpy(like, at(scratch, "towers/model")), strcpy(out, at(scratch, "far/away/model"));
    edit(ORIGINAL, like, (Edit){ 0 });
    json_t *config;
    ok(json_read_object(at(like, "config.json"), &config, &e), &e);
    json_object_set_new(config, "mm_vision_tower", json_string("openai/clip-small"));
    char *text = json_dumps(config, 0);
    write_text(like, "config.json", text);
    free(text), json_decref(config);
    load(&x, like, FP32);
    ok(params_export(&x.params, k, TENSOR_F32, like, out, &e), &e);
    load(&y, out, FP32);
    params_hash(&y.params, k, b);
    assert_string_equal(a, b);
    drop(&x), drop(&y);
}

/* ---- what may be absent, and what is refused ---- */

static void unused_absent(void **state) {
    (void)state;
    Loaded x, y;
    Error e = { 0 };
    char less[PATH_SIZE], least[PATH_SIZE], a[HASH_TEXT], b[HASH_TEXT];
    strcpy(less, at(scratch, "less")), strcpy(least, at(scratch, "least"));
    edit(HUB, less, (Edit){ .drop = "vision_model.encoder.layers.2." });
    edit(less, least, (Edit){ .drop = "post_layernorm", .extra = { "language_model.model.layers.0.self_attn.rotary_emb.inv_freq", NULL } });
    load(&x, HUB, FP32), load(&y, least, FP32);
    assert_true(params_find(&y.params, P_VISION_POST_B, -1)->absent);
    assert_true(params_find(&y.params, P_VISION_FC1_W, 2)->absent);
    assert_false(params_find(&y.params, P_VISION_FC1_W, 1)->absent);
    params_hash(&x.params, k, a), params_hash(&y.params, k, b);
    assert_string_equal(a, b);
    ok(params_export(&y.params, k, TENSOR_F32, least, at(scratch, "least-out"), &e), &e);
    TensorSet s = open_set(at(scratch, "least-out"));
    assert_int_equal(s.n, 89 - 16 - 2);
    tensors_close(&s);
    drop(&x), drop(&y);
}

static void refusals(void **state) {
    (void)state;
    const struct {
        Edit edit;
        const char *says[3];
    } cases[] = {
        { { .drop = "layers.1.mlp.down_proj" }, { "missing tensor", "language_model.model.layers.1.mlp.down_proj.weight", "(48, 112)" } },
        { { .name = "language_model.model.norm.weight", .renamed = "language_model.model.nrom.weight" },
            { "missing tensor", "language_model.model.norm.weight", "nearest name is \"language_model.model.nrom.weight\"" } },
        { { .name = "vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.weight",
              .renamed = "vision_tower.vision_model.encoder.layers.0.self_attn.o_proj.weight" },
            { "missing tensor", "out_proj.weight",
                "nearest name is \"vision_tower.vision_model.encoder.layers.0.self_attn.o_proj.weight\"" } },
        { { .flattened = "multi_modal_projector.linear_1.weight" }, { "wrong shape", "(1536)", "(48, 32)" } },
        { { .extra = { "language_model.model.layers.0.self_attn.q_proj.bias" } }, { "stray tensor", "q_proj.bias", "hub" } },
        { { .extra = { "language_model.model.layers.3.mlp.up_proj.weight" } }, { "stray tensor", "layers.3", NULL } },
        { { .retyped = "language_model.lm_head.weight" }, { "unsupported dtype", "I32", "lm_head" } },
        { { .drop = ".", .extra = { "something" } }, { "unknown tensor names", "something", "llava" } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[PATH_SIZE];
        place(folder, "refused", (int)i);
        edit(HUB, folder, cases[i].edit);
        Error e = refuse(folder);
        for (int j = 0; j < 3 && cases[i].says[j]; j++) error_says(&e, cases[i].says[j]);
        error_says(&e, "model.safetensors");
    }
    char empty[PATH_SIZE];
    strcpy(empty, at(scratch, "no-weights"));
    assert_int_equal(folder_make(empty, NULL), 0);
    edit_config(HUB, empty, NULL);
    Error e = refuse(empty);
    error_says(&e, "safetensors");
    write_text(empty, "model.safetensors.index.json", "{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\"}}");
    e = refuse(empty);
    error_says(&e, "model-00001-of-00002.safetensors");
}

/* ---- folders ---- */

static void whole_or_nothing(void **state) {
    (void)state;
    Loaded x;
    Error e = { 0 };
    char target[PATH_SIZE], partial[PATH_SIZE + 16];
    strcpy(target, at(scratch, "target"));
    snprintf(partial, sizeof partial, "%s.partial", target);
    load(&x, HUB, FP32);

    /* Nothing to copy the configuration from: nothing is left. */
    assert_int_equal(params_export(&x.params, k, TENSOR_F32, at(scratch, "nowhere"), target, &e), -1);
    error_says(&e, "config.json");
    assert_false(file_exists(target));
    assert_false(file_exists(partial));

    ok(params_export(&x.params, k, TENSOR_F32, HUB, target, &e), &e);
    write_text(target, "old", "mark");
    assert_int_equal(params_export(&x.params, k, TENSOR_BF16, at(scratch, "nowhere"), target, &e), -1);
    same_tensors(HUB, target); /* the old one stands */
    assert_true(file_exists(at(target, "old")));
    write_text(scratch, "left-over", "");
    assert_int_equal(folder_make(partial, NULL), 0); /* as a killed run leaves it */
    write_text(partial, "junk", "x");
    ok(params_export(&x.params, k, TENSOR_BF16, HUB, target, &e), &e);
    assert_false(file_exists(at(target, "old"))); /* replaced whole */
    assert_false(file_exists(at(target, "junk")));
    assert_false(file_exists(partial));
    ok(params_export(&x.params, k, TENSOR_F32, target, target, &e), &e); /* in place */
    same_tensors(HUB, target);

    /* Under a file nothing can be written; a folder of something else is not ours to replace. */
    assert_int_equal(params_export(&x.params, k, TENSOR_F32, HUB, at(scratch, "left-over/model"), &e), -1);
    error_says(&e, "left-over");
    assert_int_equal(params_export(&x.params, k, TENSOR_F32, HUB, at(scratch, "left-over"), &e), -1);
    error_says(&e, "will not replace");
    assert_int_equal(folder_make(at(scratch, "thesis"), NULL), 0);
    write_text(at(scratch, "thesis"), "chapter-1", "dear reader");
    assert_int_equal(params_export(&x.params, k, TENSOR_F32, HUB, at(scratch, "thesis"), &e), -1);
    error_says(&e, "will not replace");
    assert_true(file_exists(at(scratch, "thesis/chapter-1")));
    drop(&x);
}

static void generation_config(void **state) {
    (void)state;
    Loaded x;
    Error e = { 0 };
    json_t *o;
    char like[PATH_SIZE], out[PATH_SIZE];
    strcpy(like, at(scratch, "like")), strcpy(out, at(scratch, "like-out"));
    edit(HUB, like, (Edit){ 0 });
    load(&x, like, FP32);
    write_text(like, "generation_config.json", "{\"bos_token_id\": 1, \"temperature\": 0.9, \"top_p\": 0.6}"); /* vicuna's */
    ok(params_export(&x.params, k, TENSOR_F32, like, out, &e) || json_read_object(at(out, "generation_config.json"), &o, &e), &e);
    assert_int_equal(json_object_size(o), 1);
    json_decref(o);
    write_text(like, "generation_config.json", "{\"do_sample\": true, \"temperature\": 0.9}");
    ok(params_export(&x.params, k, TENSOR_F32, like, out, &e), &e);
    same_file(like, out, "generation_config.json");
    drop(&x);
}

/* ---- inspect ---- */

static char *inspect(const char *folder, int *result, Error *e) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    *result = model_inspect(folder, out, e);
    fclose(out);
    return text;
}

static void inspecting(void **state) {
    (void)state;
    Error e = { 0 };
    int result;
    char *text = inspect(ORIGINAL, &result, &e);
    ok(result, &e);
    static const char *const facts[] = { "llava_llama", "layout        original, 2 files", "2 layers, width 32", "9 rows a tile", "F32",
        "478 ids", "can be used\n" };
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (!strstr(text, facts[i])) fail_msg("no \"%s\" in:\n%s", facts[i], text);
    free(text);

    char folder[PATH_SIZE];
    strcpy(folder, at(scratch, "inspected"));
    edit(HUB, folder,
        (Edit){ .drop = "layers.1.self_attn.v_proj", .extra = { "one", "two" }, .broken = "language_model.model.norm.weight" });
    text = inspect(folder, &result, &e);
    assert_int_equal(result, -1);
    error_says(&e, "missing tensor");
    static const char *const problems[] = { "no \"language_model.model.layers.1.self_attn.v_proj.weight\"",
        "no \"vision_tower.vision_model.encoder.layers.1.self_attn.v_proj.bias\"", "tensor \"one\"", "tensor \"two\"",
        "\"language_model.model.norm.weight\" has 1 values that are not finite", "no tokenizer.model", "cannot be used" };
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        if (!strstr(text, problems[i])) fail_msg("no \"%s\" in:\n%s", problems[i], text);
    free(text);
    text = inspect(at(scratch, "nowhere"), &result, &e);
    assert_int_equal(result, -1);
    error_says(&e, "config.json");
    free(text);
}

/* Decoders alone do not say how they are asked; nothing else is odd about these. */
__attribute__((noinline)) static void check_odd(const char *said) { /* inlined, gcc 12 takes the memory of a stream for a variable that is gone */
    const char *odd = strstr(said, "odd           the checkpoint does not say which chat template");
    assert_non_null(odd);
    assert_null(strstr(odd + 1, "odd  "));
}

/* Decoders alone of each family: read, written back, described. */
static void decoders(void **state) {
    (void)state;
    static const struct {
        const char *folder, *facts[5];
    } cases[] = {
        { "tests/golden/text-llama3/model", { "2 heads of 16, 1 key/value heads", "without biases",
                                                "512 positions, rope theta 10000, scaled as llama3 by 8 from 64 positions (bounds 1 and 4)",
                                                "answers end at id 2, ", "layout        text" } },
        { "tests/golden/text-mistral/model", { "4 heads of 16, 2 key/value heads", "without biases", "128 positions, rope theta 1e+06\n",
                                                 "sliding window of 128 positions, which bounds them", "answers end at id 2\n" } },
        { "tests/golden/text-qwen2/model",
            { "4 heads of 8, 2 key/value heads", "with biases", "(head tied)", "512 positions, rope theta 1e+06\n", "can be used" } },
    };
    for (int i = 0; i < 3; i++) {
        Error e = { 0 };
        int result;
        Loaded x;
        char *text = inspect(cases[i].folder, &result, &e), out[PATH_SIZE];
        ok(result, &e);
        for (int j = 0; j < 5; j++)
            if (!strstr(text, cases[i].facts[j])) fail_msg("no \"%s\" in:\n%s", cases[i].facts[j], text);
        assert_int_equal(strstr(text, "sliding") != NULL, i == 1);
        check_odd(text);
        free(text);
        place(out, "decoder", i);
        load(&x, cases[i].folder, FP32);
        ok(params_export(&x.params, k, TENSOR_F32, cases[i].folder, out, &e), &e);
        TensorSet want = open_set(cases[i].folder), have = open_set(out);
        assert_int_equal(have.n, x.params.n);
        assert_int_equal(want.n, have.n + (size_t)x.config.decoder.tied); /* the head that the file holds twice is written once */
        for (size_t t = 0; t < have.n; t++) {
            const Tensor *a = &have.list[t], *b = tensors_find(&want, a->name);
            assert_non_null(b);
            assert_memory_equal(a->data, b->data, (size_t)a->count * tensor_type_size(a->type));
        }
        tensors_close(&want), tensors_close(&have);
        drop(&x);
        load(&x, out, BF16); /* what was written is a checkpoint */
        drop(&x);
    }
}

static void set_wide(json_t *o) { json_object_set_new(o, "vocab_size", json_integer(50001)); }

/* An embedding of several pieces, the last of them short: every element comes in, whatever its type and the arena's, on one thread and on several. */
static void pieces(void **state) {
    (void)state;
    static const char small[] = "tests/golden/text-mistral/model";
    char folder[PATH_SIZE], hash[2][2][HASH_TEXT];
    for (int half = 0; half < 2; half++) {
        Loaded x;
        Error e = { 0 };
        char like[PATH_SIZE];
        place(like, "wide", half), place(folder, "wide-out", half);
        ok(folder_make(like, &e), &e);
        edit_config(small, like, set_wide);
        ok(config_load(like, &x.config, &e) || params_plan(&x.params, &x.config, &e) || params_init(&x.params, k, FP32, LAYOUT_TEXT, 3, &e), &e);
        const float *made = x.params.weights.at;
        ok(params_write(&x.params, k, NULL, half ? TENSOR_F16 : TENSOR_F32, folder, 0, &e), &e);
        for (int threads = 1; threads <= 3; threads++) {
            Params p;
            omp_set_num_threads(threads);
            for (int dtype = FP32; dtype <= BF16; dtype++) {
                ok(params_plan(&p, &x.config, &e) || params_load(&p, k, (DType)dtype, folder, &e), &e);
                params_hash(&p, k, hash[dtype][threads > 1]);
                if (threads > 1) assert_string_equal(hash[dtype][1], hash[dtype][0]);
                if (dtype == FP32 && !half) assert_memory_equal(p.weights.at, made, (size_t)p.count * sizeof *made);
                for (int64_t i = 0; dtype == FP32 && half && i < p.count; i++) assert_float_equal(((const float *)p.weights.at)[i], made[i], fabsf(made[i]) * 0x1p-10f + 0x1p-24f);
                params_free(&p, k);
            }
        }
        omp_set_num_threads(omp_get_num_procs());
        drop(&x);
    }
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
        cmocka_unit_test(golden_bits),
        cmocka_unit_test(golden_expected_names),
        cmocka_unit_test(export_same),
        cmocka_unit_test(export_bf16),
        cmocka_unit_test(every_layout),
        cmocka_unit_test(text_and_tied),
        cmocka_unit_test(tower_in_its_folder),
        cmocka_unit_test(unused_absent),
        cmocka_unit_test(refusals),
        cmocka_unit_test(whole_or_nothing),
        cmocka_unit_test(generation_config),
        cmocka_unit_test(inspecting),
        cmocka_unit_test(decoders),
        cmocka_unit_test(pieces),
    };
    return cmocka_run_group_tests_name("params_io", tests, group_begin, group_end);
}

/* omnilmm_test.c - what OmniLMM alone has: its config, published and tiny; its parameters, and the way of a checkpoint through them; a
 * trained tower's gradients and eight DPO steps against PyTorch's; images of one step that do not touch each other. Forward is golden_test.c's. */
#include "tests/model/steps.h"

#include "base/json.h"
#include "model/image.h"
#include "model/workspace.h"

static const char golden[] = "tests/golden/omnilmm";

/* ---- config ---- */

static const char published[] =
    "{\"model_type\": \"omnilmm\", \"hidden_size\": 4096, \"intermediate_size\": 14336, \"num_hidden_layers\": 32, "
    "\"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"max_position_embeddings\": 32768, \"sliding_window\": 4096, "
    "\"vocab_size\": 32009, "
    "\"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"pad_token_id\": 2, \"image_size\": 448, \"num_query\": 256, "
    "\"mm_use_im_start_end\": true, "
    "\"mm_vision_tower\": \"eva02_enormous_patch14_clip_224.laion2b_plus\"}";

/* config_load of the published config, a piece of it replaced, or of a tower's config beside it. */
static int load_changed(ModelConfig *c, const char *from, const char *to, const char *tower, Error *e) {
    char folder[PATH_SIZE], text[2048];
    const char *place = strstr(published, from);
    assert_non_null(place);
    int n = snprintf(text, sizeof text, "%.*s%s%s", (int)(place - published), published, to, place + strlen(from));
    scratch_make(folder);
    put(at(folder, "config.json"), text, (size_t)n);
    if (tower) {
        ok(folder_make(at(folder, "tower"), e), e);
        put(at(at(folder, "tower"), "config.json"), tower, strlen(tower));
    }
    int bad = config_load(folder, c, e);
    scratch_drop(folder);
    return bad;
}

static void test_published(void **state) {
    (void)state;
    Error e = { 0 };
    ModelConfig c;
    ok(load_changed(&c, "256", "256", NULL, &e), &e);
    const VisionConfig *v = &c.vision;
    const int found[] = { v->kind, v->width, v->ff, v->layers, v->feature_layers, v->heads, v->image_side, v->patch, v->patches,
        v->positions_side, v->activation, c.queries, c.resampler_heads, c.tile_rows, c.image_tokens, c.decoder.kv_heads,
        c.decoder.positions, c.decoder.vocab, c.squash };
    static const int expected[] = { TOWER_EVA, 1792, 15360, 63, 63, 16, 448, 14, 1024, 16, GELU, 256, 32, 1024, 256, 8, 4096, 32009, 1 };
    assert_memory_equal(found, expected, sizeof expected);
    assert_true(v->eps == 1e-6f && c.image_std[0] == 0.26862954f);
}

static void test_tiny(void **state) {
    (void)state;
    Error e = { 0 };
    ModelConfig c;
    ok(config_load(at(golden, "model"), &c, &e), &e);
    const int found[] = { c.vision.width, c.vision.ff, c.vision.layers, c.vision.patches, c.vision.positions_side, c.queries,
        c.resampler_heads, c.image_tokens, c.tile_rows };
    static const int expected[] = { 24, 80, 2, 25, 3, 16, 2, 16, 25 };
    assert_memory_equal(found, expected, sizeof expected);
}

static void test_config_refusals(void **state) {
    (void)state;
#define TOWER "eva02_enormous_patch14_clip_224.laion2b_plus"
    static const struct {
        const char *from, *to, *tower, *says;
    } cases[] = {
        { "\"num_query\": 256", "\"num_query\": 255", NULL, "queries do not form a square" },
        { "\"num_query\": 256, ", "", NULL, "num_query" },
        { "\"image_size\": 448, ", "", NULL, "image_size" },
        { "\"image_size\": 448", "\"image_size\": 450", NULL, "patches do not tile the image" },
        { "\"mm_use_im_start_end\": true", "\"mm_use_im_start_end\": false", NULL, "<im_start>" },
        { "\"hidden_size\": 4096", "\"resampler_heads\": 3, \"hidden_size\": 4096", NULL, "resampler: hidden_size 4096 over 3 heads" },
        { "\"hidden_size\": 4096", "\"hidden_size\": 1792, \"head_dim\": 128", NULL, "tower and decoder have one width" },
        { TOWER, "eva02_enormous_patch14_clip_2240", NULL, "vision tower not found" },
        { TOWER, "eva02_large_patch14_clip_336", NULL, "vision tower not found" },
        { TOWER, "tower", "{\"architecture\": \"eva02_large_patch14_clip_224\"}", "unsupported tower" },
        { TOWER, "tower", "{\"num_classes\": 0}", "architecture" },
        { TOWER, "tower", "{\"architecture\": \"eva02_enormous_patch14_clip_224\", \"model_args\": []}", "model_args as an object" },
        { TOWER, "tower", "{\"architecture\": \"eva02_enormous_patch14_clip_224\", \"model_args\": {\"use_post_norm\": false}}",
            "\"use_post_norm\"" },
        { TOWER, "tower", "{\"architecture\": \"eva02_enormous_patch14_clip_224\", \"model_args\": {\"depth\": 1}}", "at least 2 blocks" },
        { TOWER, "tower", "{\"architecture\": \"eva02_enormous_patch14_clip_224\", \"model_args\": {\"mlp_ratio\": 1e9}}", "feed-forward" },
        { TOWER, "tower", "{\"architecture\": \"eva02_enormous_patch14_clip_224\", \"model_args\": {\"num_heads\": 15}}", "over 15 heads" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = { 0 };
        ModelConfig c;
        if (!load_changed(&c, cases[i].from, cases[i].to, cases[i].tower, &e)) fail_msg("case %zu was read", i);
        error_says(&e, cases[i].says);
    }
    Error e = { 0 };
    ModelConfig c;
    ok(load_changed(&c, TOWER, "tower", "{\"architecture\": \"eva02_enormous_patch14_clip_224\"}", &e), &e); /* as published */
    assert_int_equal(c.vision.ff, 15360);
#undef TOWER
}

/* ---- parameters ---- */

static void test_params(void **state) {
    (void)state;
    Error e = { 0 };
    Model m;
    open_model(&m, at(golden, "model"), FP32);
    const Params *p = &m.params;
    int64_t q = params_offset(p, P_EVA_Q_B, 1);
    assert_int_equal(p->layout, LAYOUT_OMNILMM);
    assert_int_equal(params_offset(p, P_EVA_K_B, 1), q + 24); /* one bias of 3 W, zeros in its middle */
    assert_int_equal(params_offset(p, P_EVA_V_B, 1), q + 48);
    const Param *none = params_find(p, P_EVA_K_B, 1);
    assert_true(none->absent && !none->used);
    float zeros[24], all[24] = { 0 };
    k->download(zeros, params_weight(p, P_EVA_K_B, 1), 24);
    assert_memory_equal(zeros, all, sizeof all);
    assert_false(params_may_train(params_find(p, P_RESAMPLER_POSITION, -1), 0));
    assert_true(params_may_train(params_find(p, P_RESAMPLER_QUERY, -1), 1u << PART_VISION));

    /* out and in again: the same bits under the same names, and nothing more */
    char folder[PATH_SIZE], before[HASH_TEXT], after[HASH_TEXT];
    scratch_make(folder);
    ok(params_export(p, k, TENSOR_F32, at(golden, "model"), at(folder, "model"), &e), &e);
    Model again;
    open_model(&again, at(folder, "model"), FP32);
    params_hash(p, k, before);
    params_hash(&again.params, k, after);
    assert_string_equal(before, after);
    TensorSet want, have;
    ok(tensors_open(&want, at(golden, "model"), &e) || tensors_open(&have, at(folder, "model"), &e), &e);
    assert_int_equal(want.n, have.n);
    for (size_t i = 0; i < want.n; i++) assert_non_null(tensors_find(&have, want.list[i].name));
    tensors_close(&want), tensors_close(&have);
    model_free(&again);
    scratch_drop(folder);
    model_free(&m);
}

/* Random weights: the table of positions is the resampler's own. */
static void test_init(void **state) {
    (void)state;
    Error e = { 0 };
    Model m, random;
    open_model(&m, at(golden, "model"), FP32);
    ok(model_init(&random, k, at(golden, "model"), FP32, 3, &e), &e);
    float want[16 * 32], got[16 * 32];
    k->download(want, params_weight(&m.params, P_RESAMPLER_POSITION, -1), 16 * 32);
    k->download(got, params_weight(&random.params, P_RESAMPLER_POSITION, -1), 16 * 32);
    within("positions", largest_gap(got, want, 16 * 32), 1e-6);
    assert_int_equal(random.params.layout, LAYOUT_OMNILMM);
    char folder[PATH_SIZE];
    Model again;
    scratch_make(folder);
    ok(params_export(&random.params, k, TENSOR_F32, at(golden, "model"), at(folder, "model"), &e), &e);
    ok(model_load(&again, k, at(folder, "model"), FP32, &e), &e);
    assert_int_equal(again.params.n, m.params.n); /* what it writes are the tensors of the checkpoint, the tower's key biases not among them */
    for (int i = 0; i < m.params.n; i++) assert_int_equal(again.params.list[i].absent, m.params.list[i].absent);
    scratch_drop(folder);
    model_free(&again);
    model_free(&m), model_free(&random);
}

/* ---- images ---- */

static float *pixels_of(const Model *m, const char *name) {
    const ModelConfig *c = &m->config;
    Error e = { 0 };
    Image image;
    int side = c->vision.image_side;
    float *pixels = malloc((size_t)side * (size_t)side * 3 * sizeof *pixels);
    assert_non_null(pixels);
    ok(image_load(at(golden, name), &image, &e) || image_preprocess(&image, IMAGE_SQUASH, side, c->image_mean, c->image_std, pixels, &e),
        &e);
    image_free(&image);
    return pixels;
}

static void test_pixels(void **state) {
    (void)state;
    Error e = { 0 };
    Model m;
    TensorSet s;
    open_model(&m, at(golden, "model"), FP32);
    ok(tensors_open(&s, at(at(golden, "expect"), "pixels.safetensors"), &e), &e);
    assert_int_equal(s.n, 4);
    int64_t n = (int64_t)3 * m.config.vision.image_side * m.config.vision.image_side;
    for (int i = 0; i < 4; i++) {
        char file[32], name[32];
        snprintf(file, sizeof file, "images/%d.png", i);
        snprintf(name, sizeof name, "squash.%d", i);
        float *got = pixels_of(&m, file), *want = read_floats(&s, name, n);
        within(name, largest_gap(got, want, n), 0);
        free(got), free(want);
    }
    tensors_close(&s);
    model_free(&m);
}

/* The features and image rows of a picture are the same bits alone and beside another. */
static void test_images_apart(void **state) {
    (void)state;
    Error e = { 0 };
    Model m;
    open_model(&m, at(golden, "model"), FP32);
    const ModelConfig *c = &m.config;
    int64_t each = (int64_t)c->tile_rows * c->vision.width, count = (int64_t)c->queries * c->decoder.width;
    Buf features;
    ok(k->alloc(&features, FP32, 2 * each, "features", &e), &e);
    float *together = malloc((size_t)(2 * count) * sizeof *together), *alone = malloc((size_t)count * sizeof *alone);
    assert_true(together && alone);
    for (int i = 0; i < 2; i++) {
        float *pixels = pixels_of(&m, i ? "images/2.png" : "images/1.png");
        ok(model_encode(&m, buf_at(features, i * each), pixels, 1, 0, &e), &e);
        free(pixels);
    }
    ok(resampler_forward(&m, features, 2 * c->queries, &e), &e);
    k->download(together, m.work->projected.buf, 2 * count);
    for (int i = 0; i < 2; i++) {
        ok(resampler_forward(&m, buf_at(features, i * each), c->queries, &e), &e);
        k->download(alone, m.work->projected.buf, count);
        assert_memory_equal(alone, together + i * count, (size_t)count * sizeof *alone);
    }
    assert_true(largest_gap(together, together + count, count) > 1e-2);
    free(together), free(alone);
    k->free(features);
    model_free(&m);
}

/* ---- gradients and training ---- */

enum { IDS = 512, PAIRS = 2, IM_PATCH = 476 };

static int ids_of(const json_t *object, const char *key, int *ids) {
    const json_t *list = json_object_get(object, key);
    int n = (int)json_array_size(list);
    assert_in_range(n, 1, IDS);
    for (int i = 0; i < n; i++) ids[i] = (int)json_integer_value(json_array_get(list, (size_t)i));
    return n;
}

/* The two answers to a row's prompt as leaves of their own trunk. */
static void pair_append(Forest *f, const Model *m, const json_t *row, int pair, int *first) {
    static const char *const sides[] = { "chosen", "rejected" };
    Error e = { 0 };
    int ids[IDS], n = ids_of(json_object_get(row, "chosen"), "prompt_ids", ids), head = 0, rows = m->config.image_tokens;
    while (head < n && ids[head] != IM_PATCH) head++;
    int image = add_segment(f, add_text(f, -1, ids, head), rows);
    ok(forest_extend_image(f, image, pair * rows, rows, &e), &e);
    int tail = add_text(f, image, ids + head + rows, n - head - rows);
    for (int side = 0; side < 2; side++) {
        n = ids_of(json_object_get(row, sides[side]), "response_ids", ids);
        ok(forest_score(f, add_text(f, tail, ids, n), 0, &e), &e);
        first[2 * pair + side + 1] = f->scored_n;
    }
}

/* Two pairs of score.jsonl as one step: pixels of their pictures, and the forest. */
typedef struct Batch {
    float *pixels;
    Buf features;
    Forest f;
    int first[2 * PAIRS + 1];
} Batch;

static void batch_open(Batch *b, const Model *m, json_t *const *rows) {
    Error e = { 0 };
    const ModelConfig *c = &m->config;
    int64_t size = (int64_t)3 * c->vision.image_side * c->vision.image_side;
    *b = (Batch){ .pixels = malloc((size_t)(PAIRS * size) * sizeof *b->pixels) };
    assert_non_null(b->pixels);
    for (int pair = 0; pair < PAIRS; pair++) {
        float *one = pixels_of(m, json_string_value(json_object_get(rows[pair], "image")));
        memcpy(b->pixels + pair * size, one, (size_t)size * sizeof *one);
        free(one);
        pair_append(&b->f, m, rows[pair], pair, b->first);
    }
    assert_int_equal(b->first[2 * PAIRS], b->f.scored_n);
    ok(k->alloc(&b->features, FP32, PAIRS * (int64_t)c->tile_rows * c->vision.width, "features", &e), &e);
}

static void batch_close(Batch *b) {
    forest_free(&b->f);
    k->free(b->features);
    free(b->pixels);
}

/* Log-probs of the four answers. */
static void batch_score(Batch *b, Model *m, int save, double sums[2 * PAIRS]) {
    Error e = { 0 };
    float logp[2 * PAIRS * IDS];
    ok(model_encode(m, b->features, b->pixels, PAIRS, save, &e) || model_forward(m, &b->f, b->features, STEP_TRAIN, &e) ||
            model_score(m, &b->f, logp, NULL, NULL, NULL, &e),
        &e);
    for (int s = 0; s < 2 * PAIRS; s++) {
        sums[s] = 0;
        for (int r = b->first[s]; r < b->first[s + 1]; r++) sums[s] += logp[r];
    }
}

/* Adds the gradients of the DPO loss of what batch_score scored; the loss. */
static double batch_backward(Batch *b, Model *m, const double reference[2 * PAIRS]) {
    Error e = { 0 };
    double columns[PAIRS * PAIR_COLUMNS], sum = 0;
    Buf dlogp = model_dlogp(m, &b->f, &e);
    ok(!dlogp.at, &e);
    const PreferenceLoss loss = { .kind = LOSS_SIGMOID, .beta = .1f, .pair_scale = 1.f / PAIRS };
    k->preference_loss(dlogp, columns, model_logp(m), NULL, b->first, reference, PAIRS, &loss);
    ok(model_backward(m, &b->f, dlogp, &e), &e);
    for (int pair = 0; pair < PAIRS; pair++) sum += columns[pair * PAIR_COLUMNS + PAIR_LOSS] / PAIRS;
    return sum;
}

static int rows_read(json_t **rows, int most) {
    Error e = { 0 };
    JsonLines lines;
    int n = 0, got;
    ok(jsonl_open(&lines, at(at(golden, "expect"), "score.jsonl"), &e), &e);
    while (n < most && (got = jsonl_next(&lines, &rows[n], &e)) == 1) n++;
    jsonl_close(&lines);
    return n;
}

static void test_tower_gradients(void **state) {
    (void)state;
    Error e = { 0 };
    Model m;
    Batch b;
    json_t *rows[PAIRS];
    double reference[2 * PAIRS];
    open_model(&m, at(golden, "model"), FP32);
    ok(params_train_begin(&m.params, k, 0, &e), &e);
    assert_int_equal(rows_read(rows, PAIRS), PAIRS);
    batch_open(&b, &m, rows);
    batch_score(&b, &m, 1, reference);
    batch_backward(&b, &m, reference);

    TensorSet want;
    size_t checked = 0;
    ok(tensors_open(&want, at(at(golden, "expect"), "grad_tower.safetensors"), &e), &e);
    for (int i = 0; i < m.params.n; i++) {
        const Param *q = &m.params.list[i];
        char name[PARAM_NAME];
        if (q->part != PART_VISION || !q->used) continue;
        assert_true(q->trained);
        params_name(q, m.params.layout, name);
        float *x = read_floats(&want, name, q->count), *y = malloc((size_t)q->count * sizeof *y);
        assert_non_null(y);
        k->download(y, params_grad(&m.params, q->kind, q->layer), q->count);
        within(name, sqrt(error_squared(y, x, q->count)), 1e-4); /* the bound of golden/README */
        free(x), free(y);
        checked++;
    }
    assert_int_equal(checked, want.n);
    tensors_close(&want);
    batch_close(&b);
    for (int i = 0; i < PAIRS; i++) json_decref(rows[i]);
    params_train_end(&m.params, k);
    model_free(&m);
}

/* ---- the eight steps of dpo.json ---- */

enum { STEPS = 8, ROWS = 8 };

static void adamw_step(Model *m, double lr, int64_t step) {
    Params *p = &m->params;
    for (int i = 0; i < p->n; i++) {
        const Param *q = &p->list[i];
        if (!q->trained) continue;
        AdamW a = { .lr = (float)lr,
            .eps = 1e-4f,
            .weight_decay = q->ndim >= 2 ? .01f : 0,
            .beta1 = .9,
            .beta2 = .999,
            .gradient_scale = 1,
            .step = step };
        k->adamw(buf_at(p->weights, q->offset), BUF_NONE, buf_at(p->m, q->offset), buf_at(p->v, q->offset), buf_at(p->grads, q->offset),
            q->count, &a);
    }
    k->zero(p->grads, p->trained_count);
    model_weights_changed(m);
}

static void test_training(void **state) {
    (void)state;
    Error e = { 0 };
    Model m;
    Batch batches[ROWS / PAIRS];
    json_t *rows[ROWS], *dpo;
    double reference[2 * ROWS], now[2 * PAIRS];
    open_model(&m, at(golden, "model"), FP32);
    ok(params_train_begin(&m.params, k, 1u << PART_VISION, &e) || json_read_object(at(at(golden, "expect"), "dpo.json"), &dpo, &e), &e);
    assert_int_equal(rows_read(rows, ROWS), ROWS);
    for (int i = 0; i < ROWS / PAIRS; i++) {
        batch_open(&batches[i], &m, rows + PAIRS * i);
        batch_score(&batches[i], &m, 0, reference + 2 * PAIRS * i);
    }
    for (int step = 0; step < STEPS; step++) {
        const json_t *want = json_array_get(json_object_get(dpo, "log"), (size_t)step);
        int i = step % (ROWS / PAIRS);
        batch_score(&batches[i], &m, 0, now);
        double loss = batch_backward(&batches[i], &m, reference + 2 * PAIRS * i),
               norm = sqrt(k->norm_squared(m.params.grads, m.params.trained_count));
        within("loss", fabs(loss - json_number_value(json_object_get(want, "loss"))), 2e-5);
        within("gradient norm", fabs(norm / json_number_value(json_object_get(want, "grad_norm")) - 1), 1e-4);
        adamw_step(&m, json_number_value(json_object_get(want, "learning_rate")), step + 1);
    }
    TensorSet final;
    size_t checked = 0;
    ok(tensors_open(&final, at(at(golden, "expect"), "dpo_final.safetensors"), &e), &e);
    for (int i = 0; i < m.params.n; i++) {
        const Param *q = &m.params.list[i];
        char name[PARAM_NAME];
        if (!q->trained) continue;
        params_name(q, m.params.layout, name);
        float *x = read_floats(&final, name, q->count), *y = malloc((size_t)q->count * sizeof *y);
        assert_non_null(y);
        k->download(y, params_weight(&m.params, q->kind, q->layer), q->count);
        within(name, largest_gap(y, x, q->count), 2e-5);
        free(x), free(y);
        checked++;
    }
    assert_int_equal(checked, final.n);
    tensors_close(&final);
    json_decref(dpo);
    for (int i = 0; i < ROWS / PAIRS; i++) batch_close(&batches[i]);
    for (int i = 0; i < ROWS; i++) json_decref(rows[i]);
    params_train_end(&m.params, k);
    model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_tiny),
        cmocka_unit_test(test_config_refusals),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_pixels),
        cmocka_unit_test(test_images_apart),
        cmocka_unit_test(test_tower_gradients),
        cmocka_unit_test(test_training),
    };
    return cmocka_run_group_tests_name("omnilmm", tests, kernels_setup, NULL);
}

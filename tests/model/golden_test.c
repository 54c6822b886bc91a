/* golden_test.c - whole steps of the model against PyTorch's numbers (tests/golden): tower features, projector, logits of every row, and the
 * gradients of the first DPO step, for the three naming layouts of LLaVA, for images in tiles, and for OmniLMM; logits and gradients of decoders alone, of three
 * families. */
#include "tests/model/steps.h"

#include "base/json.h"
#include "model/anyres.h"
#include "model/image.h"

static const char *const CASES[] = { "tests/golden/llava15-hub", "tests/golden/llava15-orig", "tests/golden/llava15-v5",
    "tests/golden/next-mistral", "tests/golden/next-yi", "tests/golden/omnilmm" };
static const char *const TEXT_CASES[] = { "tests/golden/text-llama3", "tests/golden/text-mistral", "tests/golden/text-qwen2" };
enum { CASES_N = sizeof CASES / sizeof *CASES, TEXT_N = sizeof TEXT_CASES / sizeof *TEXT_CASES, IDS = 512, PAIRS = 2, TILES = 8 };

/* Bounds of golden/README for a right fp32 implementation. */
static const double ACTIVATION_RANGE = 2e-5, LOGP = 5e-5, GRADIENT_NORM = 1e-4;
/* bf16 keeps 8 bits: a rounding has a relative variance of 2^-18 / 3 = 1.3e-6 at most. The tower, the projector and the decoder round some fifty
 * times on the way to a logit, which adds up to 6e-5 when the errors are independent; twice that is allowed. */
static const double BF16_NMSE = 1.3e-4;

static TensorSet open_expected(const char *folder, const char *name) {
    TensorSet s;
    Error e = { 0 };
    ok(tensors_open(&s, at(at(folder, "expect"), name), &e), &e);
    return s;
}

/* Features of an image, and how it is laid out. */
static Buf image_features(Model *m, const char *path, ImageLayout *x) {
    const ModelConfig *c = &m->config;
    Error e = { 0 };
    Image image;
    int side = c->vision.image_side;
    ok(image_load(path, &image, &e), &e);
    *x = image_layout(c, image.width, image.height);
    assert_in_range(x->tiles, 1, TILES);
    float *pixels = malloc((size_t)x->tiles * (size_t)side * (size_t)side * 3 * sizeof *pixels);
    assert_non_null(pixels);
    ok(x->tiles > 1 ? image_tiles(&image, x->grid.down, x->grid.across, side, c->image_mean, c->image_std, pixels, &e)
                    : image_preprocess(&image, c->squash ? IMAGE_SQUASH : IMAGE_PAD, side, c->image_mean, c->image_std, pixels, &e),
        &e);
    Buf features;
    ok(k->alloc(&features, m->dtype, (int64_t)x->tiles * c->tile_rows * c->vision.width, "features", &e) ||
           model_encode(m, features, pixels, x->tiles, 0, &e) || k->sync(&e),
        &e);
    image_free(&image);
    free(pixels);
    return features;
}

/* A run of text, every row of which is scored: all but the last by their next id, the last by what follows. Returns the segment. */
static int text_rows(Forest *f, int parent, const int *ids, int n) {
    Error e = { 0 };
    int s = add_text(f, parent, ids, n);
    ok(forest_score(f, s, 1, &e) || forest_want(f, s, &e), &e);
    return s;
}

/* head, one segment per image row (an id cannot stand behind an image row inside a run, so each is asked for by itself), tail, answer. */
static void every_row(Forest *f, const Model *m, const ImageLayout *x, const int *ids, int n, int image_token) {
    Error e = { 0 };
    int head = 0, image_tokens = x->rows, end = config_image_rows(&m->config, x->tiles), rows[IDS];
    image_layout_rows(&m->config, x, 0, rows);
    while (head < n && ids[head] != image_token) head++;
    assert_in_range(head, 1, n - image_tokens - 2);
    int s = text_rows(f, -1, ids, head);
    for (int i = 0; i < image_tokens; i++) {
        assert_int_equal(ids[head + i], image_token);
        s = add_segment(f, s, 1);
        ok(forest_extend_rows(f, s, &rows[i], 1, end, &e) || forest_want(f, s, &e), &e);
    }
    int tail = head + image_tokens, answer = tail + (n - tail) / 2;
    s = text_rows(f, s, ids + tail, answer - tail);
    text_rows(f, s, ids + answer, n - answer);
    assert_int_equal(f->scored_n, n);
}

/* Expanded image rows in the recorded ids carry this id; the original layout has no image id of its own and was recorded with the same one. */
static int image_id(const Model *m) { return m->config.image_token >= 0 ? m->config.image_token : 476; }

static int read_ids(const TensorSet *set, int *ids) {
    Error e = { 0 };
    const Tensor *t = tensors_find(set, "ids");
    assert_non_null(t);
    assert_in_range(t->count, 1, IDS);
    int64_t wide[IDS];
    ok(tensor_read(t, TENSOR_I64, wide, &e), &e);
    for (int i = 0; i < t->count; i++) ids[i] = (int)wide[i];
    return (int)t->count;
}

/* Runs image 1 with its first answer; the logits of all rows, malloc'd. `dump` names an activation to write to `path`, or is NULL. */
static float *forward_all(Model *m, const char *folder, const TensorSet *expect, const char *dump, const char *path) {
    Error e = { 0 };
    int ids[IDS], n = read_ids(expect, ids), V = m->config.decoder.vocab;
    ImageLayout x;
    Buf features = image_features(m, at(folder, "images/1.png"), &x), logits;
    Forest f = { 0 };
    every_row(&f, m, &x, ids, n, image_id(m));
    if (dump) ok(model_dump(m, dump, path, &e), &e);
    ok(model_forward(m, &f, features, STEP_SCORE, &e) || model_logits(m, &f, &logits, &e), &e);
    float *out = malloc((size_t)n * (size_t)V * sizeof *out);
    assert_non_null(out);
    k->download(out, logits, (int64_t)n * V);
    forest_free(&f);
    k->free(features);
    return out;
}

static void test_forward(void **state) {
    (void)state;
    char scratch[PATH_SIZE];
    scratch_make(scratch);
    static const char *const names[] = { "vision_features", "projected", "logits" };
    for (int c = 0; c < CASES_N; c++) {
        TensorSet expect = open_expected(CASES[c], "forward.safetensors");
        Model m;
        open_model(&m, at(CASES[c], "model"), FP32);
        for (int i = 0; i < 3; i++) { /* one activation is kept per step */
            const char *path = at(scratch, "dump.safetensors");
            free(forward_all(&m, CASES[c], &expect, names[i], path));
            TensorSet found;
            Error e = { 0 };
            ok(tensors_open(&found, at(scratch, "dump.safetensors"), &e), &e);
            const Tensor *t = tensors_find(&expect, names[i]);
            assert_non_null(t);
            float *want = read_floats(&expect, names[i], t->count), *got = read_floats(&found, names[i], t->count);
            char what[128];
            snprintf(what, sizeof what, "%s %s, of its range", CASES[c], names[i]);
            within(what, largest_gap(got, want, t->count) / range_of(want, t->count), ACTIVATION_RANGE);
            free(want), free(got);
            tensors_close(&found);
        }
        model_free(&m);
        tensors_close(&expect);
    }
    scratch_drop(scratch);
}

static void test_forward_bf16(void **state) {
    (void)state;
    for (int c = 0; c < CASES_N; c++) {
        TensorSet expect = open_expected(CASES[c], "forward.safetensors");
        Model m;
        open_model(&m, at(CASES[c], "model"), BF16);
        int64_t n = tensors_find(&expect, "logits")->count;
        float *want = read_floats(&expect, "logits", n), *got = forward_all(&m, CASES[c], &expect, NULL, NULL);
        double nmse = error_squared(got, want, n);
        print_message("%s: bf16 logits NMSE %.2g\n", CASES[c], nmse);
        within(CASES[c], nmse, BF16_NMSE);
        assert_true(nmse > 1e-9); /* else nothing was rounded, and this was no bf16 */
        free(want), free(got);
        model_free(&m);
        tensors_close(&expect);
    }
}

/* ---- decoders alone ---- */

/* The logits of the answer's rows behind the prompt, malloc'd. */
static float *text_logits(Model *m, const TensorSet *expect, int64_t *count) {
    Error e = { 0 };
    int ids[IDS], n = read_ids(expect, ids);
    int64_t prompt;
    ok(tensor_read(tensors_find(expect, "prompt"), TENSOR_I64, &prompt, &e), &e);
    assert_in_range(prompt, 1, n - 1);
    Forest f = { 0 };
    Buf logits;
    text_rows(&f, add_text(&f, -1, ids, (int)prompt), ids + prompt, n - (int)prompt);
    ok(model_forward(m, &f, BUF_NONE, STEP_SCORE, &e) || model_logits(m, &f, &logits, &e), &e);
    *count = (int64_t)f.scored_n * m->config.decoder.vocab;
    float *out = malloc((size_t)*count * sizeof *out);
    assert_non_null(out);
    k->download(out, logits, *count);
    forest_free(&f);
    return out;
}

static void test_text(void **state) {
    (void)state;
    for (int c = 0; c < TEXT_N; c++)
        for (DType t = FP32; t <= BF16; t++) {
            TensorSet expect = open_expected(TEXT_CASES[c], "forward.safetensors");
            Model m;
            open_model(&m, at(TEXT_CASES[c], "model"), t);
            int64_t n;
            float *got = text_logits(&m, &expect, &n), *want = read_floats(&expect, "logits", n);
            double gap = largest_gap(got, want, n) / range_of(want, n), nmse = error_squared(got, want, n);
            print_message(
                "%s: %s logits, largest difference %.2g of their range, NMSE %.2g\n", TEXT_CASES[c], t ? "bf16" : "fp32", gap, nmse);
            if (t == FP32) within(TEXT_CASES[c], gap, ACTIVATION_RANGE);
            else within(TEXT_CASES[c], nmse, BF16_NMSE);
            assert_true(t == FP32 || nmse > 1e-9);
            free(got), free(want);
            model_free(&m);
            tensors_close(&expect);
        }
}

/* ---- gradients ---- */

static int ids_of(const json_t *object, const char *key, int *ids) {
    const json_t *list = json_object_get(object, key);
    int n = (int)json_array_size(list);
    assert_in_range(n, 1, IDS);
    for (int i = 0; i < n; i++) ids[i] = (int)json_integer_value(json_array_get(list, (size_t)i));
    return n;
}

/* One pair of score.jsonl as head / image / tail (or text alone: x NULL) with an answer on either side; appends the log-probs PyTorch has for
 * its scored rows. */
static void pair_segments(
    Forest *f, const Model *m, const json_t *row, const ImageLayout *x, int tile, int pair, int *first, float *logps) {
    static const char *const sides[] = { "chosen", "rejected" };
    Error e = { 0 };
    int ids[IDS], rows[IDS], n = ids_of(json_object_get(row, "chosen"), "prompt_ids", ids), head = 0, P = x ? x->rows : 0, above = -1;
    if (x) {
        while (head < n && ids[head] != image_id(m)) head++;
        assert_in_range(head, 1, n - P - 1);
        above = add_segment(f, add_text(f, -1, ids, head), P);
        image_layout_rows(&m->config, x, tile, rows);
        ok(forest_extend_rows(f, above, rows, P, config_image_rows(&m->config, tile + x->tiles), &e), &e);
    }
    int tail = add_text(f, above, ids + head + P, n - head - P);
    for (int side = 0; side < 2; side++) {
        const json_t *answer = json_object_get(row, sides[side]), *logp = json_object_get(answer, "logps");
        n = ids_of(answer, "response_ids", ids);
        int leaf = add_text(f, tail, ids, n);
        first[2 * pair + side] = f->scored_n;
        for (int i = 0; i < n; i++) logps[f->scored_n + i] = (float)json_number_value(json_array_get(logp, (size_t)i));
        ok(forest_score(f, leaf, 0, &e), &e);
    }
}

static void check_gradients(const Model *m, const char *folder) {
    TensorSet expect = open_expected(folder, "grad_step0.safetensors");
    size_t checked = 0;
    for (int i = 0; i < m->params.n; i++) {
        const Param *q = &m->params.list[i];
        if (q->part == PART_VISION || q->constant) {
            assert_false(q->trained);
            continue;
        }
        char name[PARAM_NAME], what[PARAM_NAME + 64];
        params_name(q, m->params.layout, name);
        float *want = read_floats(&expect, name, q->count), *got = malloc((size_t)q->count * sizeof *got);
        assert_non_null(got);
        k->download(got, buf_at(m->params.grads, q->offset), q->count);
        snprintf(what, sizeof what, "%s gradient of %s", folder, name);
        within(what, sqrt(error_squared(got, want, q->count)), GRADIENT_NORM);
        free(want), free(got);
        checked++;
    }
    assert_int_equal(checked, expect.n);
    tensors_close(&expect);
}

/* The first optimiser step of dpo.json: two pairs, the reference is the policy itself, so every loss is ln 2. */
static void dpo_step(const char *folder) {
    Error e = { 0 };
    Model m;
    open_model(&m, at(folder, "model"), FP32);
    ok(params_train_begin(&m.params, k, 1u << PART_VISION, &e), &e);
    const int64_t tile = (int64_t)m.config.tile_rows * m.config.vision.width;
    Buf vision = BUF_NONE;
    if (tile) ok(k->alloc(&vision, FP32, PAIRS * TILES * tile, "features", &e), &e);
    Forest f = { 0 };
    int first[2 * PAIRS + 1];
    float want[2 * PAIRS * IDS], got[2 * PAIRS * IDS];
    JsonLines lines;
    ok(jsonl_open(&lines, at(at(folder, "expect"), "score.jsonl"), &e), &e);
    for (int pair = 0, tiles = 0; pair < PAIRS; pair++) {
        json_t *row;
        ImageLayout x;
        ok(jsonl_next(&lines, &row, &e) != 1, &e);
        if (tile) {
            Buf features = image_features(&m, at(folder, json_string_value(json_object_get(row, "image"))), &x);
            k->copy(buf_at(vision, tiles * tile), features, x.tiles * tile);
            k->free(features);
            pair_segments(&f, &m, row, &x, tiles, pair, first, want);
            tiles += x.tiles;
        } else pair_segments(&f, &m, row, NULL, 0, pair, first, want);
        json_decref(row);
    }
    jsonl_close(&lines);
    first[2 * PAIRS] = f.scored_n;
    ok(model_forward(&m, &f, vision, STEP_TRAIN, &e) || model_score(&m, &f, got, NULL, NULL, NULL, &e), &e);
    within("log-probs", largest_gap(got, want, f.scored_n), LOGP);

    double ref[2 * PAIRS] = { 0 }, columns[PAIRS * PAIR_COLUMNS], norm = 0;
    for (int s = 0; s < 2 * PAIRS; s++)
        for (int r = first[s]; r < first[s + 1]; r++) ref[s] += got[r];
    Buf dlogp = model_dlogp(&m, &f, &e);
    ok(!dlogp.at, &e);
    const PreferenceLoss loss = { .kind = LOSS_SIGMOID, .beta = .1f, .pair_scale = 1.f / PAIRS };
    k->preference_loss(dlogp, columns, model_logp(&m), NULL, first, ref, PAIRS, &loss);
    for (int pair = 0; pair < PAIRS; pair++) assert_float_equal(columns[pair * PAIR_COLUMNS + PAIR_LOSS], log(2), 2e-5);
    ok(model_backward(&m, &f, dlogp, &e), &e);
    check_gradients(&m, folder);

    json_t *dpo;
    ok(json_read_object(at(at(folder, "expect"), "dpo.json"), &dpo, &e), &e);
    double want_norm = json_number_value(json_object_get(json_array_get(json_object_get(dpo, "log"), 0), "grad_norm"));
    json_decref(dpo);
    norm = sqrt(k->norm_squared(m.params.grads, m.params.trained_count));
    within("gradient norm", fabs(norm - want_norm) / want_norm, GRADIENT_NORM);
    forest_free(&f);
    if (tile) k->free(vision);
    params_train_end(&m.params, k);
    model_free(&m);
}

static void test_dpo_gradients(void **state) {
    (void)state;
    for (int c = 0; c < CASES_N; c++) dpo_step(CASES[c]);
    for (int c = 0; c < TEXT_N; c++) dpo_step(TEXT_CASES[c]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_forward_bf16),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_dpo_gradients),
    };
    return cmocka_run_group_tests_name("golden", tests, kernels_setup, NULL);
}

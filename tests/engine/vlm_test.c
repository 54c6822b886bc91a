/* vlm_test.c - prompts, images by content, the feature cache, shared trunks. */
#include "tests/engine/golden_case.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const CASE = "llava15-hub";

static void prompt_ids(void **state) {
    (void)state;
    for (int c = 0; c < GOLDEN_CASES; c++) { /* head + image + tail are the golden prompt ids, image tokens apart */
        Vlm v;
        golden_open(&v, golden_cases[c], FP32);
        json_t *pairs = golden_rows(golden_cases[c], "pairs.jsonl"), *scores = golden_rows(golden_cases[c], "expect/score.jsonl");
        for (size_t i = 0; i < json_array_size(scores); i++) {
            const json_t *want = json_object_get(json_object_get(json_array_get(scores, i), "chosen"), "prompt_ids");
            char path[PATH_SIZE];
            Prompt p;
            golden_prompt(&v, golden_cases[c], json_array_get(pairs, i), path, &p);
            assert_int_equal(json_array_size(want), prompt_tokens(&v, &p));
            size_t head = prompt_has_image(&p) ? v.head.count : 0,
                   after = head + (size_t)(p.image_rows ? p.image_rows : config_rows_of_tile(&v.model.config));
            for (size_t t = 0; t < head; t++) assert_int_equal(v.head.ids[t], json_integer_value(json_array_get(want, t)));
            for (size_t t = 0; t < p.tail.count; t++) assert_int_equal(p.tail.ids[t], json_integer_value(json_array_get(want, after + t)));
            prompt_free(&p);
        }
        json_decref(pairs);
        json_decref(scores);
        vlm_close(&v);
    }
}

static void emits_no_added_token(void **state) {
    (void)state;
    Vlm v;
    golden_open(&v, CASE, FP32);
    int image = tokenizer_added(v.tokenizer, "<image>"), pad = tokenizer_added(v.tokenizer, "<pad>");
    assert_true(image > 0 && pad > 0);
    assert_int_equal(v.emit[image], 0);
    assert_int_equal(v.emit[pad], 0);
    assert_int_equal(v.emit[v.ends.ids[0]], 1);
    for (int id = tokenizer_vocab(v.tokenizer); id < v.model.config.decoder.vocab; id++) assert_int_equal(v.emit[id], 0);
    vlm_close(&v);
}

/* The tokenizer's eos, then those of config.json and generation_config.json, each once; all of them may be drawn. */
static void ends(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    golden_open(&v, "text-llama3", FP32);
    json_t *config;
    if (json_read_object(golden_path("text-llama3", "model/generation_config.json"), &config, &e)) fail_with(&e);
    const json_t *list = json_object_get(config, "eos_token_id");
    assert_int_equal(v.ends.count, 3);
    assert_int_equal(json_array_size(list), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(v.ends.ids[i], json_integer_value(json_array_get(list, (size_t)i)));
        assert_int_equal(v.emit[v.ends.ids[i]], 1);
        assert_true(vlm_ends(&v, v.ends.ids[i]));
    }
    assert_int_equal(v.ends.ids[0], tokenizer_eos(v.tokenizer));
    assert_false(vlm_ends(&v, tokenizer_bos(v.tokenizer)));
    json_decref(config);
    vlm_close(&v);
    if (vlm_open_ids(&v, kernels_open("cpu", 0, &e), golden_path("text-llama3", "model"), FP32, &e)) fail_with(&e);
    assert_int_equal(v.ends.count, 0);
    assert_int_equal(v.emit[2], 0);
    vlm_close(&v);
}

/* Features of one image as host floats. */
static float *features_of(Vlm *v, StepImages *s, int image) {
    Error e = { 0 };
    Buf b;
    if (vlm_features(v, s, &b, &e)) fail_with(&e);
    size_t each = (size_t)v->model.config.tile_rows * (size_t)v->model.config.vision.width;
    float *out = malloc(each * sizeof *out);
    assert_non_null(out);
    v->model.k->download(out, buf_at(b, (int64_t)each * image), (int64_t)each);
    return out;
}

static void features_by_content(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    StepImages s = { 0 };
    char copy[] = "/tmp/vlm_test_XXXXXX";
    close(mkstemp(copy));
    golden_open(&v, CASE, FP32);
    size_t size = (size_t)v.model.config.tile_rows * (size_t)v.model.config.vision.width * sizeof(float);
    assert_int_equal(file_copy(golden_path(CASE, "images/0.png"), copy, &e), 0);
    assert_int_equal(vlm_image_file(&v, &s, golden_path(CASE, "images/0.png"), &e), 0);
    assert_int_equal(vlm_image_file(&v, &s, golden_path(CASE, "images/1.png"), &e), 1);
    assert_int_equal(vlm_image_file(&v, &s, copy, &e), 0); /* equal content under another name */
    assert_int_equal(s.n, 2);
    float *first = features_of(&v, &s, 1);
    assert_int_equal(v.work.images, 2);

    step_images_clear(&s); /* now in the other order, from the cache */
    assert_int_equal(vlm_image_file(&v, &s, golden_path(CASE, "images/1.png"), &e), 0);
    assert_null(s.list[0].pixels);
    assert_int_equal(vlm_image_file(&v, &s, golden_path(CASE, "images/2.png"), &e), 1); /* one new among the cached */
    float *again = features_of(&v, &s, 0);
    assert_int_equal(v.work.images, 3);
    assert_memory_equal(first, again, size);
    free(again);

    step_images_clear(&s); /* a file that changed is noticed */
    assert_int_equal(file_copy(golden_path(CASE, "images/1.png"), copy, &e), 0);
    assert_int_equal(vlm_image_file(&v, &s, copy, &e), 0);
    again = features_of(&v, &s, 0);
    assert_memory_equal(first, again, size);
    free(again);

    vlm_forget_features(&v);
    step_images_clear(&s);
    assert_int_equal(vlm_image_file(&v, &s, golden_path(CASE, "images/1.png"), &e), 0);
    assert_non_null(s.list[0].pixels);
    again = features_of(&v, &s, 0);
    assert_memory_equal(first, again, size);
    free(again);

    vlm_feature_budget(&v, size); /* room for one: two images of a step push each other out, never wrongly */
    int64_t had = v.work.images;
    for (int round = 0; round < 2; round++) {
        step_images_clear(&s);
        assert_int_equal(vlm_image_file(&v, &s, golden_path(CASE, "images/0.png"), &e), 0);
        assert_int_equal(vlm_image_file(&v, &s, golden_path(CASE, "images/1.png"), &e), 1);
        again = features_of(&v, &s, 1);
        assert_memory_equal(first, again, size);
        free(again);
    }
    assert_int_equal(v.work.images - had, 2); /* 0.png pushes 1.png out in round one, 1.png pushes 0.png out in round two */
    free(first);
    step_images_free(&s);
    vlm_close(&v);
    unlink(copy);
}

static void images_refused(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    StepImages s = { 0 };
    golden_open(&v, CASE, FP32);
    assert_int_equal(vlm_image_file(&v, &s, "/nonexistent/0.png", &e), -1);
    assert_non_null(strstr(e.what, "no such image"));
    assert_string_equal(e.where, "/nonexistent/0.png");
    assert_int_equal(vlm_image_file(&v, &s, golden_path(CASE, "case.json"), &e), -1);
    assert_int_equal(s.n, 0);
    step_images_free(&s);
    vlm_close(&v);
}

static void trunks_are_shared(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    golden_open(&v, CASE, FP32);
    char zero[PATH_SIZE], one[PATH_SIZE];
    snprintf(zero, sizeof zero, "%s", golden_path(CASE, "images/0.png"));
    snprintf(one, sizeof one, "%s", golden_path(CASE, "images/1.png"));
    Prompt p[5];
    assert_int_equal(vlm_prompt(&v, zero, "What is it?", &p[0], &e), 0);
    assert_int_equal(vlm_prompt(&v, zero, "Is it red?", &p[1], &e), 0);
    assert_int_equal(vlm_prompt(&v, one, "Is it red?", &p[2], &e), 0);
    assert_int_equal(vlm_prompt(&v, zero, "What is it?", &p[3], &e), 0);
    assert_int_equal(vlm_prompt(&v, NULL, "Is it red?", &p[4], &e), 0);
    Trunks t = { 0 };
    trunks_clear(&t);
    int s[5];
    for (int i = 0; i < 5; i++) assert_true((s[i] = trunks_find(&v, &t, &p[i], &e)) >= 0);
    assert_int_equal(s[0], s[3]);
    assert_int_not_equal(s[0], s[1]);
    const Segment *g = t.forest.segments;
    assert_int_equal(g[s[0]].parent, g[s[1]].parent);
    assert_int_not_equal(g[s[1]].parent, g[s[2]].parent);
    assert_int_equal(g[s[4]].parent, -1);
    assert_int_equal(t.images.n, 2);
    int rows = (int)v.head.count + 2 * v.model.config.tile_rows;
    for (int i = 0; i < 5; i++)
        if (i != 3) rows += (int)p[i].tail.count;
    assert_int_equal(t.forest.rows_n, rows);
    Prompt bad = { .image.path = "/nonexistent", .tail = p[0].tail };
    assert_int_equal(trunks_find(&v, &t, &bad, &e), TRUNK_REFUSED);
    assert_int_equal(t.forest.rows_n, rows);
    for (int i = 0; i < 5; i++) prompt_free(&p[i]);
    trunks_free(&t);
    vlm_close(&v);
}

static void long_prompts_refused(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    golden_open(&v, CASE, FP32);
    char *text = malloc(20001);
    assert_non_null(text);
    for (int i = 0; i < 20000; i++) text[i] = i % 2 ? ' ' : 'q';
    text[20000] = 0;
    Prompt p;
    assert_int_equal(vlm_prompt(&v, NULL, text, &p, &e), -1);
    assert_string_equal(e.what, "prompt too long");
    free(text);
    vlm_close(&v);
}

static void unknown_template(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    const Kernels *k = kernels_open("cpu", 0, &e);
    assert_int_equal(vlm_open(&v, k, golden_path(CASE, "model"), FP32, "vicuna_v2", IMAGE_PAD, &e), -1);
    assert_true(*e.what);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompt_ids),
        cmocka_unit_test(emits_no_added_token),
        cmocka_unit_test(ends),
        cmocka_unit_test(features_by_content),
        cmocka_unit_test(images_refused),
        cmocka_unit_test(trunks_are_shared),
        cmocka_unit_test(long_prompts_refused),
        cmocka_unit_test(unknown_template),
    };
    return cmocka_run_group_tests_name("vlm", tests, NULL, NULL);
}

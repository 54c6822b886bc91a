/* scenes_test.c - the world as data: examples repeat, follow their mix, and the files say the same as the memory. */
#include "base/json.h"
#include "engine/claims.h"
#include "engine/scenes/scenes.h"
#include "model/image.h"
#include "tokenizer/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const ScenesMix mix = { .captions = 2, .yes_no = 3, .open = 4, .short_weight = 4, .noise = { .85, .35, .12, .25 } };

static void examples_follow_their_mix(void **state) {
    (void)state;
    ScenesExample *x = malloc(sizeof *x), *y = malloc(sizeof *y);
    assert_true(x && y);
    Error e = { 0 };
    assert_int_equal(scenes_sft_example(4, 99, &mix, x, &e), 0);
    assert_int_equal(scenes_sft_example(4, 99, &mix, y, &e), 0);
    assert_int_equal(x->count, 9);
    assert_memory_equal(x->rgb, y->rgb, SCENE_BYTES);
    for (int i = 0; i < x->count; i++) {
        const ScenesTurn *t = &x->turns[i];
        assert_string_equal(t->question, y->turns[i].question);
        assert_string_equal(t->answer, y->turns[i].answer);
        assert_true(t->weight == (i < 2 ? 1 : 4));
        char *ending = strstr(t->question, claim_probe_ending);
        assert_true((ending != NULL) == (i >= 2 && i < 5));
        if (ending) {
            SceneFact f;
            *ending = 0;
            assert_int_equal(fact_from_question(t->question, &f), 1);
            assert_string_equal(t->answer, fact_holds(&f, &x->scene) ? "Yes" : "No");
        } else if (i < 2) assert_non_null(strchr(t->answer, '.'));
        else assert_null(strchr(t->answer, ' '));
    }
    assert_true(strcmp(x->turns[0].answer, x->turns[1].answer) != 0);
    ScenesMix wrong = mix;
    wrong.open = SCENES_TURNS_MOST;
    assert_int_equal(scenes_sft_example(4, 99, &wrong, x, &e), -1);
    assert_non_null(strstr(e.expected, "64"));
    wrong.open = -1;
    assert_int_equal(scenes_sft_example(4, 99, &wrong, x, &e), -1);
    free(x), free(y);
}

static void files_agree_with_memory(void **state) {
    (void)state;
    char folder[] = "/tmp/scenes_test.XXXXXX", path[PATH_SIZE];
    assert_non_null(mkdtemp(folder));
    Error e = { 0 };
    ScenesOutput o = { .folder = folder, .seed = 4, .first = 98, .count = 3, .mix = mix };
    assert_int_equal(scenes_write(&o, &e), 0);
    ScenesExample *x = malloc(sizeof *x);
    assert_non_null(x);
    JsonLines prompts, sft;
    assert_int_equal(path_join(path, folder, "prompts.jsonl", &e), 0);
    assert_int_equal(jsonl_open(&prompts, path, &e), 0);
    assert_int_equal(path_join(path, folder, "sft.jsonl", &e), 0);
    assert_int_equal(jsonl_open(&sft, path, &e), 0);
    json_t *row;
    for (uint64_t index = 98; index < 101; index++) {
        assert_int_equal(scenes_sft_example(4, index, &mix, x, &e), 0);
        assert_int_equal(jsonl_next(&prompts, &row, &e), 1);
        Scene s;
        assert_int_equal(scene_from_json(json_object_get(row, "truth"), prompts.where, &s, &e), 0);
        assert_memory_equal(&s, &x->scene, sizeof s);
        assert_string_equal(json_string_value(json_object_get(row, "question")), scenes_prompt(4, index));
        Image picture;
        assert_int_equal(path_join(path, folder, json_string_value(json_object_get(row, "image")), &e), 0);
        assert_int_equal(image_load(path, &picture, &e), 0);
        assert_int_equal(picture.width * picture.height * 3, SCENE_BYTES);
        assert_memory_equal(picture.rgb, x->rgb, SCENE_BYTES);
        image_free(&picture);
        json_decref(row);
        for (int i = 0; i < x->count; i++) {
            assert_int_equal(jsonl_next(&sft, &row, &e), 1);
            assert_string_equal(json_string_value(json_object_get(row, "question")), x->turns[i].question);
            assert_string_equal(json_string_value(json_object_get(row, "answer")), x->turns[i].answer);
            assert_true(json_real_value(json_object_get(row, "weight")) == x->turns[i].weight);
            json_decref(row);
        }
    }
    assert_int_equal(jsonl_next(&prompts, &row, &e), 0);
    assert_int_equal(jsonl_next(&sft, &row, &e), 0);
    jsonl_close(&prompts), jsonl_close(&sft);
    free(x);
    assert_int_equal(folder_remove(folder, &e), 0);
}

static void wrong_requests_are_refused(void **state) {
    (void)state;
    char folder[] = "/tmp/scenes_test.XXXXXX", path[PATH_SIZE];
    assert_non_null(mkdtemp(folder));
    Error e = { 0 };
    ScenesOutput o = { .folder = folder, .count = 0 };
    assert_int_equal(scenes_write(&o, &e), -1);
    assert_non_null(strstr(e.what, "number of scenes"));
    o.count = 1, o.mix.captions = -2;
    assert_int_equal(scenes_write(&o, &e), -1);
    assert_non_null(strstr(e.what, "mix"));
    /* A folder where a file should go: nothing half-written is left. */
    assert_int_equal(path_join(path, folder, "prompts.jsonl", &e), 0);
    assert_int_equal(folder_make(path, &e), 0);
    o.mix.captions = 1;
    assert_int_equal(scenes_write(&o, &e), -1);
    assert_non_null(strstr(e.where, "prompts.jsonl"));
    assert_int_equal(path_join(path, folder, "sft.jsonl", &e), 0);
    assert_int_equal(file_exists(path), 0);
    assert_int_equal(folder_remove(folder, &e), 0);
}

/* The checked-in tokenizer: one id per word and per mark, and the text comes back. Run from the repository's root, as make does. */
static void the_demo_tokenizer_knows_every_word(void **state) {
    (void)state;
    Error e = { 0 };
    Tokenizer *t = tokenizer_load("configs/demo/tokenizer", &e);
    if (!t) fail_msg("%s: %s", e.where, e.what);
    assert_int_equal(tokenizer_added(t, "<image>"), 590);
    assert_int_equal(tokenizer_added(t, "<pad>"), 591);
    ScenesExample *x = malloc(sizeof *x);
    assert_non_null(x);
    for (uint64_t index = 0; index < 200; index++) {
        assert_int_equal(scenes_sft_example(6, index, &mix, x, &e), 0);
        for (int i = 0; i < x->count * 2; i++) {
            const char *text = i % 2 ? x->turns[i / 2].answer : x->turns[i / 2].question;
            size_t expected = 1;
            for (const char *p = text; *p; p++) expected += strchr(" .?", *p) != NULL;
            IdList ids = { 0 };
            assert_int_equal(tokenizer_encode(t, text, strlen(text), &ids, &e), 0);
            assert_int_equal(ids.count, expected);
            char *back = tokenizer_decode(t, ids.ids, ids.count, &e);
            assert_string_equal(back, text);
            free(back);
            idlist_free(&ids);
        }
    }
    free(x);
    tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest scenes_test[] = {
        cmocka_unit_test(examples_follow_their_mix),
        cmocka_unit_test(files_agree_with_memory),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(the_demo_tokenizer_knows_every_word),
    };
    return cmocka_run_group_tests(scenes_test, NULL, NULL);
}

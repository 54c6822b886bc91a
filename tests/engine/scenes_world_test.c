/* scenes_world_test.c - scenes follow their distribution, repeat exactly, look like what they are, and survive JSON. */
#include "base/json.h"
#include "engine/scenes/world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void scenes_are_valid_and_distributed(void **state) {
    (void)state;
    enum { N = 20000 };
    int counts[SCENE_OBJECTS_MOST + 1] = { 0 }, kinds[SCENE_KINDS] = { 0 }, cells[SCENE_CELLS] = { 0 },
                                    backgrounds[SCENE_BACKGROUNDS] = { 0 };
    int objects = 0, typical = 0, large = 0, paired = 0;
    for (int i = 0; i < N; i++) {
        Scene s;
        scene_make(5, (uint64_t)i, &s, NULL);
        assert_in_range(s.count, SCENE_OBJECTS_LEAST, SCENE_OBJECTS_MOST);
        counts[s.count]++, backgrounds[s.background]++;
        for (int k = 0; k < s.count; k++) {
            const SceneObject *o = &s.objects[k];
            assert_ptr_equal(scene_find(&s, o->kind), o); /* the first of its kind and in its cell: distinct */
            assert_ptr_equal(scene_at(&s, o->cell), o);
            objects++, kinds[o->kind]++, cells[o->cell]++, large += o->size, typical += o->colour == scene_typical(o->kind);
            paired += scene_find(&s, scene_partner(o->kind)) != NULL;
        }
    }
    const double count_shares[] = { .2, .3, .3, .2 };
    for (int c = 2; c <= 5; c++) assert_true(fabs((double)counts[c] / N - count_shares[c - 2]) < .015);
    for (int k = 0; k < SCENE_KINDS; k++) assert_true(fabs((double)kinds[k] / objects - 1.0 / SCENE_KINDS) < .01);
    for (int c = 0; c < SCENE_CELLS; c++) assert_true(fabs((double)cells[c] / objects - 1.0 / SCENE_CELLS) < .01);
    for (int b = 0; b < SCENE_BACKGROUNDS; b++) assert_true(fabs((double)backgrounds[b] / N - 1.0 / SCENE_BACKGROUNDS) < .015);
    assert_true(fabs((double)large / objects - .5) < .01);
    assert_true(fabs((double)typical / objects - .5) < .01); /* .4 + .6 / 6 */
    assert_true((double)paired / objects > .5);              /* uniform kinds would give (3.5 - 1) / 7 = .36 */
}

static void partners_are_mutual(void **state) {
    (void)state;
    for (int k = 0; k < SCENE_KINDS; k++) {
        assert_int_not_equal(scene_partner(k), k);
        assert_int_equal(scene_partner(scene_partner(k)), k);
        assert_in_range(scene_typical(k), 0, SCENE_COLOURS - 1);
    }
}

static void scenes_repeat_exactly(void **state) {
    (void)state;
    static unsigned char a[SCENE_BYTES], b[SCENE_BYTES];
    Scene s, t;
    scene_make(9, 1234567, &s, a), scene_make(9, 1234567, &t, b);
    assert_memory_equal(&s, &t, sizeof s);
    assert_memory_equal(a, b, SCENE_BYTES);
    scene_make(9, 1234568, &t, b);
    assert_true(memcmp(a, b, SCENE_BYTES) != 0);
    scene_make(10, 1234567, &t, b);
    assert_true(memcmp(a, b, SCENE_BYTES) != 0);
}

/* A known picture: an empty cell has the background's mean and the noise's deviation; each object's own colour channel stands out where it
 * is. */
static void pictures_show_their_scene(void **state) {
    (void)state;
    static unsigned char rgb[SCENE_BYTES];
    for (int kind = 0; kind < SCENE_KINDS; kind++)
        for (int colour = 0; colour < 3; colour++) { /* red, green, blue: one channel each */
            Scene s = { .count = 2, .background = 0, .objects = { { kind, colour, 1, 0 }, { (kind + 1) % SCENE_KINDS, 5, 0, 8 } } };
            Rng rng = scene_rng(1, (uint64_t)(kind * 3 + colour), SCENE_FOR_PIXELS);
            scene_render(&s, &rng, rgb);
            int bright = 0;
            for (int y = 0; y < SCENE_CELL; y++)
                for (int x = 0; x < SCENE_CELL; x++) {
                    const unsigned char *p = rgb + (y * SCENE_SIDE + x) * 3;
                    bright += p[colour] > 110 && p[colour] > p[(colour + 1) % 3] + 40 && p[colour] > p[(colour + 2) % 3] + 40;
                }
            assert_in_range(bright, 30, 200); /* a shape: neither lost nor the whole cell */
            double sum = 0, squares = 0;
            int n = 0;
            for (int y = SCENE_CELL + 4; y < 2 * SCENE_CELL - 2; y++) /* the middle cell, its red channel: nothing reaches there */
                for (int x = SCENE_CELL + 4; x < 2 * SCENE_CELL - 2; x++, n++) {
                    double v = rgb[(y * SCENE_SIDE + x) * 3];
                    sum += v, squares += v * v;
                }
            double mean = sum / n, deviation = sqrt(squares / n - mean * mean);
            assert_true(fabs(mean - 20) < 3.5);
            assert_true(deviation > 5.5 && deviation < 10.5);
        }
}

static void truth_survives_json(void **state) {
    (void)state;
    for (int i = 0; i < 200; i++) {
        Scene s, t;
        Error e = { 0 };
        scene_make(2, (uint64_t)i, &s, NULL);
        json_t *truth = scene_to_json(&s);
        assert_non_null(truth);
        assert_int_equal(scene_from_json(truth, "rows:1", &t, &e), 0);
        assert_memory_equal(&s, &t, sizeof s);
        json_decref(truth);
    }
}

static void wrong_truth_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *json, *says;
    } cases[] = {
        { "[]", "not an object" },
        { "{\"objects\": []}", "background" },
        { "{\"background\": \"grey\", \"objects\": []}", "gray" },
        { "{\"background\": \"gray\"}", "number of objects" },
        { "{\"background\": \"gray\", \"objects\": [{}]}", "number of objects" },
        { "{\"background\": \"gray\", \"objects\": [{\"kind\": \"ball\"}, {}]}", "color" },
        { "{\"background\": \"gray\", \"objects\": [{\"kind\": \"ball\", \"color\": \"pink\", \"size\": \"small\", \"position\": "
          "\"north\"}, {}]}",
            "pink" },
        { "{\"background\": \"gray\", \"objects\": [{\"kind\": \"ball\", \"color\": \"red\", \"size\": \"small\", \"position\": \"north\"},"
          "{\"kind\": \"box\", \"color\": \"red\", \"size\": \"small\", \"position\": \"north\"}]}",
            "one cell" },
        { "{\"background\": \"gray\", \"objects\": [{\"kind\": \"ball\", \"color\": \"red\", \"size\": \"small\", \"position\": \"north\"},"
          "{\"kind\": \"ball\", \"color\": \"red\", \"size\": \"small\", \"position\": \"west\"}]}",
            "one kind" },
        { "{\"background\": \"gray\", \"objects\": [{\"kind\": 3, \"color\": \"red\", \"size\": \"small\", \"position\": \"north\"}, {}]}",
            "kind" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Scene s;
        Error e = { 0 };
        char text[2048];
        json_t *truth = json_loads(cases[i].json, 0, NULL);
        assert_non_null(truth);
        assert_int_equal(scene_from_json(truth, "rows.jsonl:7", &s, &e), -1);
        error_text(&e, text, sizeof text);
        if (!strstr(text, cases[i].says) || !strstr(text, "rows.jsonl:7")) fail_msg("case %zu says: %s", i, text);
        json_decref(truth);
    }
}

int main(void) {
    const struct CMUnitTest scenes_world_test[] = {
        cmocka_unit_test(scenes_are_valid_and_distributed),
        cmocka_unit_test(partners_are_mutual),
        cmocka_unit_test(scenes_repeat_exactly),
        cmocka_unit_test(pictures_show_their_scene),
        cmocka_unit_test(truth_survives_json),
        cmocka_unit_test(wrong_truth_is_refused),
    };
    return cmocka_run_group_tests(scenes_world_test, NULL, NULL);
}

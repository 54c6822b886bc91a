/* prefetch_test.c - files loaded ahead: results in whatever order they are asked for, never more of them than allowed, none lost or leaked;
 * and a model that is given its images with and without. Run it under a race detector too (docs/images.md). */
#include "engine/prefetch.h"
#include "engine/vlm.h"
#include "tests/check.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* A loader of numbers: "7" makes a 7; multiples of 13 fail. Counts what there is. */
typedef struct Loader {
    atomic_int alive, most, loads;
    int pause;    /* microseconds, by number in an irregular way */
    int needless; /* multiples of this need no loading; 0: none */
} Loader;

static Loader *counts; /* of the test that runs, for number_drop */

static void *number_load(const void *context, const char *path) {
    Loader *l = (Loader *)(uintptr_t)context;
    int number = atoi(path), alive = atomic_fetch_add(&l->alive, 1) + 1, most = atomic_load(&l->most);
    while (alive > most && !atomic_compare_exchange_weak(&l->most, &most, alive)) {}
    atomic_fetch_add(&l->loads, 1);
    if (l->pause) usleep((unsigned)(l->pause * (number * 7 % 5)));
    int *result = number % 13 ? malloc(sizeof *result) : NULL;
    if (result) *result = number;
    else atomic_fetch_sub(&l->alive, 1);
    return result;
}

static void number_drop(void *result) {
    atomic_fetch_sub(&counts->alive, 1);
    free(result);
}

static int number_needless(const void *context, const char *path) {
    const Loader *l = context;
    return l->needless && atoi(path) % l->needless == 0;
}

static Prefetch *numbers(Loader *l, int held, int threads) {
    Error e;
    counts = l;
    Prefetch *p = prefetch_new(&(PrefetchWork){ l, number_load, number_drop, number_needless }, held, threads, &e);
    assert_non_null(p);
    return p;
}

static void add(Prefetch *p, int number) {
    char path[16];
    snprintf(path, sizeof path, "%d", number);
    prefetch_add(p, path);
}

/* Whether the number had been loaded; it is right when it was. */
static int take(Prefetch *p, int number) {
    char path[16];
    snprintf(path, sizeof path, "%d", number);
    int *result = prefetch_take(p, path);
    if (!result) return 0;
    assert_int_equal(*result, number);
    number_drop(result);
    return 1;
}

static void all_in_order(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++)
        for (int held = 1; held <= 7; held += 3) {
            Loader l = { .pause = 20 };
            Prefetch *p = numbers(&l, held, threads);
            for (int i = 0; i < 200; i++) add(p, i);
            int loaded = 0;
            for (int i = 0; i < 200; i++) {
                if (i % 10 == 0) usleep(500); /* computing: the threads get on */
                loaded += take(p, i);
            }
            assert_true(loaded > 0);
            assert_true(l.most <= held + 1); /* and the one just taken */
            assert_int_equal(l.alive, 0);
            assert_true(l.loads <= 200);
            prefetch_free(p);
            assert_int_equal(l.alive, 0);
        }
}

/* What is waited for comes: with time to load, every file is there but those that cannot be loaded and those that need not. */
static void what_is_loaded_is_taken(void **state) {
    (void)state;
    Loader l = { .needless = 10 };
    Prefetch *p = numbers(&l, 5, 2);
    for (int i = 1; i <= 60; i++) add(p, i);
    for (int i = 1; i <= 60; i++) {
        for (int tries = 0; tries < 2000 && l.loads < i - i / 10; tries++) usleep(1000);
        assert_int_equal(take(p, i), i % 13 != 0 && i % 10 != 0);
    }
    assert_int_equal(l.loads, 54);
    prefetch_free(p);
    assert_int_equal(l.alive, 0);
}

/* Files are passed over, asked twice, asked without having been said, said again and again; lists are cleared and freed under way. */
static void any_order(void **state) {
    (void)state;
    uint32_t seed = 1;
    Loader l = { .pause = 10, .needless = 17 };
    Prefetch *p = numbers(&l, 6, 3);
    for (int round = 0, said = 1, asked = 1; round < 3000; round++) {
        seed = seed * 1664525 + 1013904223;
        switch (seed >> 24 & 7) {
        case 0:
        case 1:
        case 2:
            for (uint32_t i = 0; i < (seed >> 16 & 15); i++) add(p, said++);
            break;
        case 3:
            add(p, said - 1);
            break;
        case 4:
            take(p, (int)(seed >> 8 & 1023));
            break;
        case 5:
            asked += (int)(seed >> 12 & 3);
            break;
        case 6:
            take(p, asked - 1);
            break;
        default:
            take(p, asked++);
        }
        if (asked > said) asked = said;
        if (seed % 500 == 0) prefetch_clear(p);
        assert_true(atomic_load(&l.most) <= 7);
    }
    prefetch_free(p);
    assert_int_equal(l.alive, 0);
    prefetch_free(NULL);
}

/* A file that follows itself counts once, and one that comes again while its first result waits is loaded once. */
static void repeats(void **state) {
    (void)state;
    Loader l = { 0 };
    Prefetch *p = numbers(&l, 8, 1);
    for (int i = 0; i < 5; i++) add(p, 3);
    add(p, 4);
    add(p, 3);
    for (int tries = 0; tries < 2000 && l.loads < 2; tries++) usleep(1000);
    usleep(2000);
    assert_int_equal(l.loads, 2);
    assert_true(take(p, 3));
    assert_true(take(p, 4));
    assert_false(take(p, 3)); /* for the caller, who has it cached or loads it */
    prefetch_free(p);
    assert_int_equal(l.alive, 0);
}

/* ---- images of a model ---- */

#define CASE "tests/golden/llava15-hub"

static void open_model(Vlm *v) {
    Error e;
    const Kernels *k = kernels_open("cpu", 2, &e);
    assert_non_null(k);
    assert_int_equal(vlm_open_ids(v, k, CASE "/model", FP32, &e), 0);
}

/* Hashes of the step's images, asked for one after another. */
static void ask(Vlm *v, const char *const *paths, int n, char hashes[][HASH_TEXT]) {
    StepImages s = { 0 };
    Error e;
    for (int i = 0; i < n; i++) {
        int at = vlm_image_file(v, &s, paths[i], &e);
        assert_true(at >= 0);
        memcpy(hashes[i], s.list[at].hash, HASH_TEXT);
        step_images_clear(&s);
    }
    step_images_free(&s);
}

static void images_of_a_model(void **state) {
    (void)state;
    static const char *const paths[] = { CASE "/images/0.png", "tests/golden/images/420.jpg", "tests/golden/images/orientation6.jpg",
        CASE "/images/1.png", CASE "/images/0.png", "tests/golden/images/cmyk.jpg", CASE "/images/2.png", "tests/golden/images/16.bmp" };
    enum { N = sizeof paths / sizeof *paths };
    char without[N][HASH_TEXT], with[N][HASH_TEXT], upright[N][HASH_TEXT];
    Vlm v;
    open_model(&v);
    v.ahead_images = 0;
    for (int i = 0; i < N; i++) vlm_ahead(&v, &(ImageRef){ .path = paths[i] });
    assert_null(v.ahead);
    ask(&v, paths, N, without);
    vlm_close(&v);
    for (int held = 1; held <= 9; held += 4) {
        open_model(&v);
        v.ahead_images = held;
        for (int i = 0; i < N; i++) vlm_ahead(&v, &(ImageRef){ .path = paths[i] });
        vlm_ahead(&v, &(ImageRef){ 0 });
        assert_non_null(v.ahead);
        if (held > 4) usleep(50000);
        ask(&v, paths, N, with);
        assert_memory_equal(with, without, sizeof with);
        for (int i = 0; i < N; i++) vlm_ahead(&v, &(ImageRef){ .path = paths[i] });
        vlm_close(&v); /* with images under way */
    }
    open_model(&v);
    v.exif = EXIF_APPLY;
    ask(&v, paths, N, upright);
    for (int i = 0; i < N; i++) assert_int_equal(!strcmp(upright[i], without[i]), i != 2);
    vlm_close(&v);
}

/* What is wrong with a file is said when it is asked for, also where threads were there first; and a file that changed since is read again.
 */
static void errors_and_changes(void **state) {
    (void)state;
    char folder[PATH_SIZE], path[PATH_SIZE], hashes[2][HASH_TEXT], first[HASH_TEXT];
    scratch_make(folder);
    snprintf(path, sizeof path, "%s", at(folder, "a.img"));
    put(path, "P6 1 1 255 abc", 14);
    const char *const paths[] = { path, path };
    Vlm v;
    Error e;
    StepImages s = { 0 };
    open_model(&v);
    ask(&v, paths, 1, hashes);
    memcpy(first, hashes[0], HASH_TEXT);
    vlm_close(&v);
    open_model(&v);
    vlm_ahead(&v, &(ImageRef){ .path = "tests/golden/images/refused-cut.bmp" });
    vlm_ahead(&v, &(ImageRef){ .path = "/nonexistent.png" });
    vlm_ahead(&v, &(ImageRef){ .path = path });
    usleep(50000);
    put(path, "P6 1 1 255 xyz", 14);
    assert_int_equal(vlm_image_file(&v, &s, "tests/golden/images/refused-cut.bmp", &e), -1);
    error_says(&e, "bad BMP image: tests/golden/images/refused-cut.bmp; found a file that ends too early");
    assert_int_equal(vlm_image_file(&v, &s, "/nonexistent.png", &e), -1);
    error_says(&e, "no such image: /nonexistent.png");
    ask(&v, paths, 2, hashes);
    assert_string_not_equal(hashes[0], first);
    assert_string_equal(hashes[1], hashes[0]);
    step_images_free(&s);
    vlm_close(&v);
    scratch_drop(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_in_order), cmocka_unit_test(what_is_loaded_is_taken),
        cmocka_unit_test(any_order), cmocka_unit_test(repeats), cmocka_unit_test(images_of_a_model), cmocka_unit_test(errors_and_changes) };
    return cmocka_run_group_tests_name("prefetch", tests, NULL, NULL);
}

/* image_kinds_test.c - every kind of file that is read against what Pillow made of it (tests/golden/images/expect.json, written by make.py
 * there), orientation, and what is refused; with the real photographs of the shared data, where it is there. */
#include "base/json.h"
#include "model/image.h"
#include "tests/check.h"

#include <sys/resource.h>

static const char golden[] = "tests/golden/images";

static uint8_t hex_digit(char c) { return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10); }

static void same_pixels(const char *what, const Image *image, const json_t *row) {
    const char *hex = json_string_value(json_object_get(row, "rgb"));
    assert_non_null(hex);
    if (image->width != json_integer_value(json_object_get(row, "width")) ||
        image->height != json_integer_value(json_object_get(row, "height")))
        fail_msg("%s: %d x %d", what, image->width, image->height);
    size_t n = (size_t)image->width * (size_t)image->height * 3;
    assert_int_equal(strlen(hex), 2 * n);
    for (size_t i = 0; i < n; i++) {
        int expected = hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]);
        if (image->rgb[i] != expected)
            fail_msg("%s: channel %zu of pixel %zu is %d, Pillow's %d", what, i % 3, i / 3, image->rgb[i], expected);
    }
}

static void row_check(const json_t *row) {
    const char *file = json_string_value(json_object_get(row, "file")), *says = json_string_value(json_object_get(row, "refused")),
               *path = at(golden, file);
    char *bytes, line[2048];
    size_t size;
    Image image;
    Error e;
    assert_int_equal(file_read(path, 1 << 20, &bytes, &size, &e), 0);
    int bad = image_decode(bytes, size, file, &image, &e);
    if (says) {
        if (!bad) fail_msg("%s was decoded", file);
        assert_null(image.rgb);
        error_says(&e, file);
        error_says(&e, says);
    } else {
        if (bad) fail_msg("%s", error_text(&e, line, sizeof line));
        same_pixels(file, &image, row);
        const json_t *upright = json_object_get(row, "upright");
        int orientation = upright ? (int)json_integer_value(json_object_get(row, "orientation")) : 1;
        if (orientation < 1 || orientation > 8) orientation = 1; /* as good as none */
        assert_int_equal(image_orientation(bytes, size), orientation);
        image_free(&image);
        assert_int_equal(image_load_exif(path, EXIF_APPLY, &image, &e), 0);
        same_pixels(file, &image, upright ? upright : row);
        int width, height;
        assert_int_equal(image_measure(path, EXIF_APPLY, &width, &height, &e), 0);
        assert_true(width == image.width && height == image.height);
        image_free(&image);
        assert_int_equal(image_load(path, &image, &e), 0);
        same_pixels(file, &image, row);
        assert_int_equal(image_measure(path, EXIF_IGNORE, &width, &height, &e), 0);
        assert_true(width == image.width && height == image.height);
    }
    image_free(&image);
    free(bytes);
}

static void all_kinds(void **state) {
    (void)state;
    json_t *all;
    const json_t *row;
    size_t index;
    Error e;
    int read = 0, refused = 0;
    assert_int_equal(json_read_object(at(golden, "expect.json"), &all, &e), 0);
    json_array_foreach(json_object_get(all, "images"), index, row) {
        row_check(row);
        *(json_object_get(row, "refused") ? &refused : &read) += 1;
    }
    json_decref(all);
    assert_true(read >= 100 && refused >= 15);
}

/* Cut anywhere, nothing that is read is read still, but for what may stand after the end, and nothing is looked for beyond it. */
static void cut_anywhere(void **state) {
    (void)state;
    json_t *all;
    const json_t *row;
    size_t index, size;
    Error e;
    assert_int_equal(json_read_object(at(golden, "expect.json"), &all, &e), 0);
    json_array_foreach(json_object_get(all, "images"), index, row) {
        const char *file = json_string_value(json_object_get(row, "file"));
        char *bytes;
        if (json_object_get(row, "refused") || !strcmp(file, "after-the-end.jpg")) continue;
        int digits = strstr(file, "digits") != NULL; /* a number cut short is a number still */
        assert_int_equal(file_read(at(golden, file), 1 << 20, &bytes, &size, &e), 0);
        for (size_t n = 0; n < size - (digits ? 6 : 0); n++) {
            Image image;
            char *exact = malloc(n ? n : 1);
            memcpy(exact, bytes, n);
            if (!image_decode(exact, n, file, &image, &e)) fail_msg("%s cut to %zu bytes was decoded", file, n);
            assert_in_range(image_orientation(exact, n), 1, 8);
            free(exact);
        }
        free(bytes);
    }
    json_decref(all);
}

/* Headers that announce 4e9 pixels cost no memory: within an address space 100 MB above what is in use. */
static void huge_images_allocate_nothing(void **state) {
    (void)state;
    static const char *const files[] = { "refused-huge.jpg", "refused-huge.png", "refused-huge.bmp" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct rusage before, after;
        Image image;
        Error e;
        getrusage(RUSAGE_SELF, &before);
        assert_int_equal(image_load(at(golden, files[i]), &image, &e), -1);
        error_says(&e, "at most 100000000 pixels in all");
        int width, height;
        assert_int_equal(image_measure(at(golden, files[i]), EXIF_IGNORE, &width, &height, &e), -1);
        error_says(&e, "at most 100000000 pixels in all");
        getrusage(RUSAGE_SELF, &after);
        assert_true(after.ru_maxrss - before.ru_maxrss < 10 << 10);
    }
}

/* Memory that the file's text has no right to: a table of offsets that lead anywhere. */
static void exif_stays_within(void **state) {
    (void)state;
    uint32_t seed = 1;
    char *bytes;
    size_t size;
    Error e;
    assert_int_equal(file_read(at(golden, "orientation6.jpg"), 1 << 20, &bytes, &size, &e), 0);
    assert_int_equal(image_orientation(bytes, size), 6);
    for (int round = 0; round < 20000; round++) {
        char *damaged = malloc(size);
        memcpy(damaged, bytes, size);
        for (int k = 0; k < 4; k++) {
            seed = seed * 1664525 + 1013904223;
            damaged[2 + (seed >> 8) % 70] = (char)(seed >> 24);
        }
        assert_in_range(image_orientation(damaged, size), 1, 8);
        free(damaged);
    }
    free(bytes);
    Image none = { 2, 1, malloc(6) };
    memcpy(none.rgb, "abcdef", 6);
    assert_int_equal(image_orient(&none, 0, &e) || image_orient(&none, 1, &e) || image_orient(&none, 9, &e), 0);
    assert_memory_equal(none.rgb, "abcdef", 6);
    image_free(&none);
}

static void extensions(void **state) {
    (void)state;
    assert_string_equal(image_extension("\x89PNG\r\n\x1a\n", 8), "png");
    assert_string_equal(image_extension("\xff\xd8\xff\xe0", 4), "jpg");
    assert_string_equal(image_extension("P6 1", 4), "ppm");
    assert_null(image_extension("P7 1", 4));
    assert_null(image_extension("\x89PNG\r\n", 6));
    assert_null(image_extension("", 0));
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_kinds), cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(huge_images_allocate_nothing), cmocka_unit_test(exif_stays_within), cmocka_unit_test(extensions) };
    return cmocka_run_group_tests_name("image kinds", tests, NULL, NULL);
}

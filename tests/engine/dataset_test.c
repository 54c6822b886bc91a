/* dataset_test.c - rows and their images: the program's own fields and the public code's, every way a row can be bad, and counts that add
 * up. */
#include "engine/dataset.h"
#include "tests/check.h"

#include <sys/wait.h>
#include <unistd.h>

/* A whole 1x1 PNG: its header is all that is looked at here. */
static const unsigned char png[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R', 0, 0, 0, 1, 0, 0, 0, 1,
    8, 2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 12, 'I', 'D', 'A', 'T', 8, 0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0, 0, 3, 1, 1, 0, 0x18, 0xdd,
    0x8d, 0xb0, 0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82 };
/* The same bytes and 14 zeros in base64 (made by another program): more than 100 characters, as embedded images are. */
static const char png_base64[] = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVQI12P4z8AAAAMBAQAY3Y2wAAAAAElFTkSuQmCC"
                                 "AAAAAAAAAAAAAAAAAAA=";

static char folder[PATH_SIZE];

static int setup(void **state) {
    (void)state;
    scratch_make(folder);
    assert_int_equal(folder_make(at(folder, "img"), NULL), 0);
    put(at(folder, "img/a.png"), png, sizeof png);
    put(at(folder, "img/b.jpg"), "\xff\xd8\xff\xe0....", 8);
    put(at(folder, "img/c.webp"), "RIFF....WEBPVP8 ", 16);
    put(at(folder, "img/empty.png"), "", 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    scratch_drop(folder);
    return 0;
}

static int read_rows(Dataset *d, const char *text, const DataOptions *o, Error *e) {
    memset(e, 0, sizeof *e);
    put(at(folder, "rows.jsonl"), text, strlen(text));
    return dataset_read(d, at(folder, "rows.jsonl"), o, e);
}

static void counts_add_up(const Dataset *d) { assert_int_equal(d->rows_read, d->n + d->drops_n + d->past_limit); }

static void test_fields(void **state) {
    (void)state;
    Dataset d;
    Error e;
    const DataOptions o = { .need = DATA_QUESTION | DATA_IMAGE };
    assert_int_equal(read_rows(&d,
                         "{\"id\": \"one\", \"image\": \"img/a.png\", \"question\": \"What?\", \"extra\": [1, 2]}\n"
                         "\n"
                         "{\"ds_question_id\": \"./x/y.jpg\", \"image_path\": \"img/b.jpg\", \"question\": \"Who?\", \"metainfos\": "
                         "{\"reference\": \"\"}}\n"
                         "{\"idx\": 7, \"image\": \"img/a.png\", \"image_path\": null, \"question\": \"Where?\", \"chosen\": \"c\", "
                         "\"rejected\": \"r\"}\n"
                         "{\"image\": \"img/a.png\", \"question\": \"When?\", \"answer\": \"now\"}",
                         &o, &e),
        0);
    assert_int_equal(d.n, 4);
    counts_add_up(&d);
    assert_string_equal(d.rows[0].id, "one");
    assert_string_equal(d.rows[0].image, at(folder, "img/a.png"));
    assert_int_equal(json_array_size(json_object_get(d.rows[0].json, "extra")), 2);
    assert_null(d.rows[0].chosen);
    assert_string_equal(d.rows[1].id, "./x/y.jpg");
    assert_string_equal(d.rows[1].image, at(folder, "img/b.jpg"));
    assert_int_equal(d.rows[1].line, 3);
    assert_string_equal(d.rows[2].id, "7");
    assert_string_equal(d.rows[2].rejected, "r");
    assert_string_equal(d.rows[3].id, "5"); /* the line */
    assert_string_equal(d.rows[3].answer, "now");
    dataset_free(&d);
}

static void test_text_rows(void **state) {
    (void)state;
    Dataset d;
    Error e;
    const DataOptions o = { .need = DATA_QUESTION };
    assert_int_equal(read_rows(&d, "{\"question\": \"What is two and two?\"}\n{\"image\": null, \"question\": \"x\"}\n", &o, &e), 0);
    assert_int_equal(d.n, 2);
    assert_null(d.rows[0].image);
    assert_null(d.rows[1].image);
    dataset_free(&d);
}

static void test_bad_rows(void **state) {
    (void)state;
    static const struct {
        const char *row, *says;
    } cases[] = {
        { "{\"question\": \"q\"", "bad JSON: " },
        { "[1]", "found an array; expected an object" },
        { "{\"image\": \"img/a.png\", \"chosen\": \"c\", \"rejected\": \"r\"}", "missing field: " },
        { "{\"image\": \"img/a.png\", \"question\": 3, \"chosen\": \"c\", \"rejected\": \"r\"}", "field \"question\"; found an integer" },
        { "{\"image\": \"img/a.png\", \"question\": \" \\n\", \"chosen\": \"c\", \"rejected\": \"r\"}", "empty field: " },
        { "{\"image\": \"img/a.png\", \"question\": \"q\", \"chosen\": \"c\"}", "field \"rejected\"; found nothing" },
        { "{\"question\": \"q\", \"chosen\": \"c\", \"rejected\": \"r\"}", "field \"image\"; found nothing" },
        { "{\"image\": \"img/none.png\", \"question\": \"q\", \"chosen\": \"c\", \"rejected\": \"r\"}", "found no file img/none.png" },
        { "{\"image\": {}, \"question\": \"q\", \"chosen\": \"c\", \"rejected\": \"r\"}", "field \"image\"; found an object without an image" },
        { "{\"image\": \"img/c.webp\", \"question\": \"q\", \"chosen\": \"c\", \"rejected\": \"r\"}", "img/c.webp; found a WebP; expected PNG" },
        { "{\"image\": \"img/empty.png\", \"question\": \"q\", \"chosen\": \"c\", \"rejected\": \"r\"}", "an empty file" },
        { "{\"image\": \"img\", \"question\": \"q\", \"chosen\": \"c\", \"rejected\": \"r\"}", "unreadable image" },
        { "{\"id\": \"\", \"image\": \"img/a.png\", \"question\": \"q\", \"chosen\": \"c\", \"rejected\": \"r\"}",
            "field \"id\"; found a string" },
        { "{\"id\": 1, \"id\": 2, \"question\": \"q\"}", "duplicate" },
    };
    enum { CASES = sizeof cases / sizeof *cases };
    static const char good[] = "{\"image\": \"img/a.png\", \"question\": \"q\", \"chosen\": \"c\", \"rejected\": \"r\"}\n";
    char text[8192];
    size_t used = (size_t)snprintf(text, sizeof text, "%s", good);
    Dataset d;
    Error e;
    DataOptions o = { .need = DATA_IMAGE | DATA_QUESTION | DATA_PAIR };
    for (int i = 0; i < CASES; i++) used += (size_t)snprintf(text + used, sizeof text - used, "%s\n", cases[i].row);
    snprintf(text + used, sizeof text - used, "%s", good);
    assert_int_equal(read_rows(&d, text, &o, &e), 0);
    assert_int_equal(d.n, 2);
    assert_int_equal(d.drops_n, CASES);
    counts_add_up(&d);
    json_t *drops = dataset_drops_json(&d);
    assert_int_equal(json_array_size(drops), CASES);
    for (int i = 0; i < CASES; i++) {
        char place[64];
        snprintf(place, sizeof place, "rows.jsonl:%d", i + 2);
        assert_int_equal(d.drops[i].line, i + 2);
        if (!strstr(d.drops[i].reason, cases[i].says) || !strstr(d.drops[i].reason, place))
            fail_msg("\"%s\" does not say \"%s\" at %s", d.drops[i].reason, cases[i].says, place);
        assert_string_equal(json_string_value(json_object_get(json_array_get(drops, (size_t)i), "reason")), d.drops[i].reason);
    }
    json_decref(drops);
    char line[256];
    assert_string_equal(dataset_summary(&d, line, sizeof line), "rows.jsonl: 16 rows, 2 used, 14 dropped");
    dataset_free(&d);
    /* Each alone stops a strict read, with the same message. */
    o.strict = 1;
    for (int i = 0; i < CASES; i++) {
        snprintf(text, sizeof text, "%s%s\n", good, cases[i].row);
        assert_int_equal(read_rows(&d, text, &o, &e), -1);
        error_says(&e, cases[i].says);
        error_says(&e, "rows.jsonl:2");
    }
}

static void test_no_rows(void **state) {
    (void)state;
    Dataset d;
    Error e;
    const DataOptions o = { .need = DATA_QUESTION };
    assert_int_equal(read_rows(&d, "", &o, &e), -1);
    error_says(&e, "no usable rows");
    assert_int_equal(read_rows(&d, "{}\n{}\n", &o, &e), -1);
    error_says(&e, "2 rows, 2 dropped");
    error_says(&e, "rows.jsonl:1");
    assert_int_equal(dataset_read(&d, at(folder, "absent.jsonl"), &o, &e), -1);
    error_says(&e, "absent.jsonl");
}

static void test_upstream_layout(void **state) {
    (void)state;
    Dataset d;
    Error e;
    static const char text[] = "{\"ds_question_id\": \"p\", \"image_path\": \"./examples/imgs_detail/a.png\", \"question\": \"q\"}\n"
                               "{\"ds_question_id\": \"q\", \"image_path\": \"./examples/imgs_detail/z.png\", \"question\": \"q\"}\n";
    DataOptions o = { .need = DATA_QUESTION | DATA_IMAGE };
    assert_int_equal(read_rows(&d, text, &o, &e), -1);
    error_says(&e, "[data] images names a folder");
    char images[PATH_SIZE];
    snprintf(images, sizeof images, "%s", at(folder, "img"));
    o.images = images;
    assert_int_equal(read_rows(&d, text, &o, &e), 0);
    assert_int_equal(d.n, 1);
    assert_int_equal(d.drops_n, 1);
    assert_string_equal(d.rows[0].image, at(folder, "img/a.png"));
    dataset_free(&d);
}

/* Reads rows of one embedded image each, in all the ways that one can be written. */
static void test_embedded(void **state) {
    (void)state;
    Dataset d;
    Error e;
    char text[4096], unpack[PATH_SIZE], *bytes, *absolute;
    size_t size;
    snprintf(unpack, sizeof unpack, "%s", at(folder, "unpacked/here"));
    snprintf(text, sizeof text,
        "{\"image\": \"%s\", \"question\": \"q\"}\n{\"image\": \"data:image/png;base64,%s\", \"question\": \"q\"}\n"
        "{\"image\": {\"bytes\": \"%s\", \"path\": \"not/there.png\"}, \"question\": \"q\"}\n{\"image\": {\"base64\": \"%s\"}, \"question\": \"q\"}\n"
        "{\"image\": {\"bytes\": null, \"path\": \"img/a.png\"}, \"question\": \"q\"}\n",
        png_base64, png_base64, png_base64, png_base64);
    DataOptions o = { .need = DATA_QUESTION | DATA_IMAGE, .unpack = unpack };
    assert_int_equal(read_rows(&d, text, &o, &e), 0);
    assert_int_equal(d.n, 5);
    absolute = realpath(d.rows[0].image, NULL);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(d.rows[i].image, d.rows[0].image); /* one content, one file */
        assert_string_equal(json_string_value(json_object_get(d.rows[i].json, "image")), absolute); /* and no text of it is kept */
    }
    free(absolute);
    assert_string_equal(d.rows[4].image, at(folder, "img/a.png"));
    assert_string_equal(json_string_value(json_object_get(d.rows[4].json, "image")), "img/a.png");
    assert_int_equal(file_read(d.rows[0].image, 1 << 20, &bytes, &size, &e), 0);
    assert_int_equal(size, sizeof png + 14);
    assert_memory_equal(bytes, png, sizeof png);
    free(bytes);
    dataset_free(&d);
    /* Only looked at, nothing is written. */
    assert_int_equal(folder_remove(at(folder, "unpacked"), &e), 0);
    o.need |= DATA_LOOK;
    assert_int_equal(read_rows(&d, text, &o, &e), 0);
    assert_int_equal(d.n, 5);
    assert_string_equal(d.rows[0].image, "");
    assert_false(file_exists(unpack));
    dataset_free(&d);
    o.need &= ~(unsigned)DATA_LOOK;
    o.unpack = NULL;
    assert_int_equal(read_rows(&d, text, &o, &e), 0);
    assert_int_equal(d.drops_n, 4);
    assert_non_null(strstr(d.drops[0].reason, "no folder to unpack"));
    dataset_free(&d);
    /* What is no image, each with its line. */
    static const struct {
        const char *image, *says;
    } cases[] = {
        { "\"%s=\"", "one in base64" },
        { "\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\"", "bytes 41 41 41 41" },
        { "\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQ\"", "one in base64" },
        { "{\"bytes\": \"*%s\"}", "one in base64" },
        { "{\"bytes\": \"\"}", "one in base64" },
        { "{\"bytes\": 3}", "field \"bytes\"; found an integer" },
        { "{\"bytes\": null}", "an object without an image" },
        { "{\"path\": \"img/none.png\"}", "no file img/none.png" },
        { "\"data:image/png,%s\"", "a data URL in base64" },
        { "\"data:image/png;base64\"", "a data URL in base64" },
        { "\"data:image/png;base64,R0lGODlhAQABAAAAADs=\"", "found a GIF" },
        { "[]", "found an array" },
    };
    o.unpack = unpack;
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        char image[1024];
        snprintf(image, sizeof image, cases[i].image, png_base64);
        snprintf(text, sizeof text, "{\"image\": \"img/a.png\", \"question\": \"q\"}\n{\"image\": %s, \"question\": \"q\"}\n", image);
        assert_int_equal(read_rows(&d, text, &o, &e), 0);
        assert_int_equal(d.drops_n, 1);
        if (!strstr(d.drops[0].reason, cases[i].says) || !strstr(d.drops[0].reason, "rows.jsonl:2")) fail_msg("case %d: %s", i, d.drops[0].reason);
        dataset_free(&d);
    }
    assert_false(file_exists(unpack));
}

/* A folder that cannot be made ends in a reason, not in a row without its image. */
static void test_unpack_fails(void **state) {
    (void)state;
    Dataset d;
    Error e;
    char text[1024], unpack[PATH_SIZE];
    snprintf(text, sizeof text, "{\"image\": {\"bytes\": \"%s\"}, \"question\": \"q\"}\n", png_base64);
    snprintf(unpack, sizeof unpack, "%s", at(folder, "img/a.png"));
    DataOptions o = { .need = DATA_QUESTION | DATA_IMAGE, .unpack = unpack, .strict = 1 };
    assert_int_equal(read_rows(&d, text, &o, &e), -1);
    error_says(&e, "a.png");
}

/* Ranks that read the same rows at the same time unpack them into one folder. */
static void test_unpack_together(void **state) {
    (void)state;
    enum { ROWS = 40, READERS = 4 };
    Error e;
    char text[16384], unpack[PATH_SIZE];
    size_t used = 0;
    snprintf(unpack, sizeof unpack, "%s", at(folder, "together"));
    for (int i = 0; i < ROWS; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "{\"image\": \"%.*s%04dAAA=\", \"question\": \"q\"}\n",
            (int)sizeof png_base64 - 1 - 8, png_base64, i);
    put(at(folder, "rows.jsonl"), text, used);
    pid_t readers[READERS];
    for (int i = 0; i < READERS; i++) {
        if ((readers[i] = fork())) continue;
        Dataset d;
        int bad = dataset_read(&d, at(folder, "rows.jsonl"), &(DataOptions){ .need = DATA_IMAGE, .unpack = unpack, .strict = 1 }, &e);
        bad = bad || d.n != ROWS;
        if (!bad) dataset_free(&d);
        _exit(bad);
    }
    for (int i = 0; i < READERS; i++) {
        int status;
        assert_int_equal(waitpid(readers[i], &status, 0), readers[i]);
        assert_int_equal(status, 0);
    }
    Dataset d;
    assert_int_equal(dataset_read(&d, at(folder, "rows.jsonl"), &(DataOptions){ .need = DATA_IMAGE, .unpack = unpack }, &e), 0);
    assert_string_not_equal(d.rows[0].image, d.rows[1].image);
    dataset_free(&d);
}

static void test_unique(void **state) {
    (void)state;
    Dataset d;
    Error e;
    const DataOptions o = { .need = DATA_QUESTION | DATA_UNIQUE };
    assert_int_equal(
        read_rows(&d,
            "{\"id\": \"a\", \"question\": \"one\"}\n{\"id\": \"a\", \"question\": \"two\"}\n{\"id\": \"a\", \"question\": \"one\"}\n"
            "{\"id\": \"a\", \"question\": \"three\"}\n{\"id\": \"a#2\", \"question\": \"four\"}\n",
            &o, &e),
        0);
    assert_int_equal(d.n, 4);
    counts_add_up(&d);
    static const char *const ids[] = { "a", "a#2", "a#3", "a#2#2" };
    for (int i = 0; i < 4; i++) assert_string_equal(d.rows[i].id, ids[i]);
    assert_non_null(strstr(d.drops[0].reason, "the id, image and question of line 1"));
    dataset_free(&d);
}

static void test_slices_and_drops(void **state) {
    (void)state;
    Dataset d;
    Error e, why = { 0 };
    static const char text[] =
        "{\"question\": \"0\"}\n{}\n{\"question\": \"1\"}\n{\"question\": \"2\"}\n{\"question\": \"3\"}\n{\"question\": \"4\"}\n";
    DataOptions o = { .need = DATA_QUESTION, .first = 1, .limit = 3 };
    assert_int_equal(read_rows(&d, text, &o, &e), 0);
    assert_int_equal(d.n, 3);
    assert_int_equal(d.drops_n, 1);
    assert_int_equal(d.past_limit, 2);
    counts_add_up(&d);
    assert_string_equal(d.rows[0].question, "1");
    error_what(&why, "does not decode \xc3"); /* a message cut within a character */
    assert_int_equal(dataset_drop(&d, 1, &why, &e), 0);
    assert_int_equal(d.n, 2);
    counts_add_up(&d);
    assert_string_equal(d.rows[1].question, "3");
    assert_int_equal(d.drops[1].line, 4);
    assert_string_equal(d.drops[1].reason, "does not decode ?");
    json_t *drops = dataset_drops_json(&d);
    assert_int_equal(json_array_size(drops), 2);
    json_decref(drops);
    dataset_free(&d);
    o.first = 9;
    assert_int_equal(read_rows(&d, text, &o, &e), -1);
    error_says(&e, "6 rows, 1 dropped, 5 not asked for");
}

/* The public code's own input: 30 detail prompts, of which only those whose photograph is there are used. */
static void test_public_rows(void **state) {
    (void)state;
    Dataset d;
    Error e = { 0 };
    char images[PATH_SIZE];
    const char *path = shared_path("data-noncommercial/RLAIF-V/eval/detail_test_30_input.jsonl");
    if (!path) skip();
    snprintf(images, sizeof images, "%s", shared_path("data-noncommercial/RLAIF-V/images"));
    const DataOptions o = { .need = DATA_IMAGE | DATA_QUESTION | DATA_UNIQUE, .images = images };
    assert_int_equal(dataset_read(&d, path, &o, &e), 0);
    assert_int_equal(d.rows_read, 30);
    assert_true(d.n > 0);
    assert_true(d.drops_n > 0);
    counts_add_up(&d);
    for (int i = 0; i < d.drops_n; i++) assert_non_null(strstr(d.drops[i].reason, "image not found"));
    for (int i = 0; i < d.n; i++) assert_true(file_exists(d.rows[i].image));
    dataset_free(&d);
}

int main(void) {
    const struct CMUnitTest dataset_test[] = {
        cmocka_unit_test_setup_teardown(test_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_upstream_layout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_embedded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unpack_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unpack_together, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unique, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slices_and_drops, setup, teardown),
        cmocka_unit_test(test_public_rows),
    };
    return cmocka_run_group_tests(dataset_test, NULL, NULL);
}

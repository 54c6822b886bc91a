/* partial_test.c - a file that grows out of order: order at the end, resume, other keys, damage. */
#include "engine/partial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/partial_test_XXXXXX";

static const char *at(const char *name) {
    static char out[PATH_SIZE];
    snprintf(out, sizeof out, "%s/%s", folder, name);
    return out;
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    return folder_remove(folder, NULL);
}

static json_t *rows(int group, int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_pack("{s:i, s:i}", "group", group, "row", i));
    return list;
}

static void count(void *context, const json_t *row) {
    assert_true(json_is_object(row));
    ++*(int *)context;
}

static void content_is(const char *path, const char *want) {
    char *text;
    size_t size;
    assert_int_equal(file_read(path, 1 << 20, &text, &size, NULL), 0);
    assert_string_equal(text, want);
    free(text);
}

static void order_and_resume(void **state) {
    (void)state;
    Partial p;
    Error e = { 0 };
    int seen = 0, refused = 0;
    assert_int_equal(partial_open(&p, at("new/rows.jsonl"), "key one", NULL, &e), 0); /* makes the folder */
    assert_int_equal(partial_add(&p, 2, rows(2, 1), NULL, &e), 0);
    assert_int_equal(partial_add(&p, 0, rows(0, 2), NULL, &e), 0);
    assert_int_equal(partial_finish(&p, 3, NULL, NULL, NULL, &e), -1); /* group 1 is missing */
    assert_string_equal(e.what, "a group is missing");
    assert_false(file_exists(at("new/rows.jsonl")));
    partial_close(&p);

    assert_int_equal(partial_open(&p, at("new/rows.jsonl"), "key one", NULL, &e), 0);
    assert_int_equal(p.done, 2);
    assert_true(partial_has(&p, 0) && !partial_has(&p, 1) && partial_has(&p, 2) && !partial_has(&p, 99));
    assert_int_equal(partial_add(&p, 1, json_array(), "no image", &e), 0);
    assert_int_equal(partial_finish(&p, 3, count, &seen, &refused, &e), 0);
    assert_int_equal(seen, 3);
    assert_int_equal(refused, 1);
    content_is(at("new/rows.jsonl"), "{\"group\":0,\"row\":0}\n{\"group\":0,\"row\":1}\n{\"group\":2,\"row\":0}\n");
    assert_false(file_exists(at("new/rows.jsonl.growing")));
}

static void other_key_starts_afresh(void **state) {
    (void)state;
    Partial p;
    Error e = { 0 };
    assert_int_equal(partial_open(&p, at("key.jsonl"), "key one", NULL, &e), 0);
    assert_int_equal(partial_add(&p, 0, rows(0, 1), NULL, &e), 0);
    partial_close(&p);
    assert_int_equal(partial_open(&p, at("key.jsonl"), "key two", NULL, &e), 0);
    assert_int_equal(p.done, 0);
    assert_int_equal(partial_add(&p, 0, rows(7, 1), NULL, &e), 0);
    assert_int_equal(partial_finish(&p, 1, NULL, NULL, NULL, &e), 0);
    content_is(at("key.jsonl"), "{\"group\":7,\"row\":0}\n");
}

/* A file cut at any byte resumes with its whole lines and ends the same. */
static void cut_anywhere(void **state) {
    (void)state;
    Partial p;
    Error e = { 0 };
    char path[PATH_SIZE], *whole;
    size_t size;
    snprintf(path, sizeof path, "%s", at("cut.jsonl.growing"));
    assert_int_equal(partial_open(&p, at("cut.jsonl"), "k", NULL, &e), 0);
    for (int g = 0; g < 3; g++) assert_int_equal(partial_add(&p, (size_t)g, rows(g, 1), NULL, &e), 0);
    partial_close(&p);
    assert_int_equal(file_read(path, 1 << 20, &whole, &size, &e), 0);
    size_t most = 0;
    for (size_t cut = 0; cut <= size; cut++) {
        assert_int_equal(file_write(path, whole, cut, &e), 0);
        assert_int_equal(partial_open(&p, at("cut.jsonl"), "k", NULL, &e), 0);
        assert_true(p.done >= most);
        most = p.done;
        for (int g = 0; g < 3; g++)
            if (!partial_has(&p, (size_t)g)) assert_int_equal(partial_add(&p, (size_t)g, rows(g, 1), NULL, &e), 0);
        assert_int_equal(partial_finish(&p, 3, NULL, NULL, NULL, &e), 0);
        content_is(at("cut.jsonl"), "{\"group\":0,\"row\":0}\n{\"group\":1,\"row\":0}\n{\"group\":2,\"row\":0}\n");
    }
    assert_int_equal(most, 3);
    free(whole);
}

static void unwritable(void **state) {
    (void)state;
    Partial p;
    Error e = { 0 };
    assert_int_equal(partial_open(&p, "/dev/null/rows.jsonl", "k", NULL, &e), -1);
    assert_true(*e.what);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_resume),
        cmocka_unit_test(other_key_starts_afresh),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(unwritable),
    };
    return cmocka_run_group_tests_name("partial", tests, setup, teardown);
}

/* zip_test.c - stored zip archives: what is in them, zip64, and everything that is refused about their directories. */
#include "tests/model/zip_write.h"

#include "model/zip.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[PATH_SIZE];
static int set_up(void **state) { return (void)state, scratch_make(folder), 0; }
static int tear_down(void **state) { return (void)state, scratch_drop(folder), 0; }

static const Put PUTS[] = { { "root/b", "bytes", 5 }, { "root/a", "", 0 }, { "root", "a file", 6 }, { "root/a/c", "c", 1 },
    { "roo", "o", 1 } };
enum { PUTS_N = sizeof PUTS / sizeof *PUTS };

static void finding(void **state) {
    (void)state;
    Bytes b = archive_of(PUTS, PUTS_N);
    Zip z;
    Error e;
    assert_int_equal(zip_open(&z, b.at, b.n, "f", &e), 0);
    assert_int_equal(z.n, PUTS_N);
    const ZipEntry *entry = zip_find(&z, "root", 4, "b", 1);
    assert_non_null(entry);
    assert_int_equal(entry->size, 5);
    assert_memory_equal(entry->data, "bytes", 5);
    entry = zip_find(&z, "root", 4, "a", 1);
    assert_non_null(entry);
    assert_int_equal(entry->size, 0);
    assert_non_null(zip_find(&z, "root", 4, "a/c", 3));
    assert_non_null(zip_find(&z, "root/a", 6, "c", 1));
    assert_null(zip_find(&z, "root", 4, "c", 1));
    assert_null(zip_find(&z, "root", 4, "", 0));
    assert_null(zip_find(&z, "roo", 3, "b", 1));
    assert_null(zip_find(&z, "rooty", 5, "b", 1));
    zip_close(&z);
    free(b.at);
    b = archive_of(NULL, 0);
    assert_int_equal(zip_open(&z, b.at, b.n, "f", &e), 0);
    assert_null(zip_find(&z, "root", 4, "b", 1));
    zip_close(&z);
    free(b.at);
}

/* The error of an archive, which is freed. Its copy has no byte to spare, so that a sanitizer sees reading beyond it. */
static Error refuse(Bytes b) {
    Zip z;
    Error e = { 0 };
    unsigned char *exact = malloc(b.n ? b.n : 1);
    memcpy(exact, b.at, b.n);
    assert_int_equal(zip_open(&z, exact, b.n, "some.bin", &e), -1);
    assert_null(z.list);
    error_says(&e, "some.bin");
    free(exact), free(b.at);
    return e;
}

/* One field of one record of the archive of PUTS gets another value. */
static void fields(void **state) {
    (void)state;
    static const char CENTRAL[] = "PK\1\2", LOCAL[] = "PK\3\4", END[] = "PK\5\6";
    static const struct {
        const char *mark;
        int n, at, size;
        uint64_t value;
        const char *says;
    } cases[] = {
        { CENTRAL, 0, 0, 1, 'Q', "fewer entries" },
        { CENTRAL, 0, 8, 2, 1, "entry \"root/b\"" },
        { CENTRAL, 0, 8, 2, 1, "encrypted" },
        { CENTRAL, 1, 10, 2, 8, "entry \"root/a\"; found method 8" },
        { CENTRAL, 1, 10, 2, 8, "compressed" },
        { CENTRAL, 0, 20, 4, 4, "two sizes" },
        { CENTRAL, 0, 24, 4, 6, "two sizes" },
        { CENTRAL, 0, 24, 4, 0xffffffff, "no zip64 sizes" },
        { CENTRAL, 0, 42, 4, 0xffffffff, "no zip64 sizes" },
        { CENTRAL, 4, 28, 2, 0xffff, "reaches beyond the directory" },
        { CENTRAL, 4, 30, 2, 1, "reaches beyond the directory" },
        { CENTRAL, 4, 32, 2, 1, "reaches beyond the directory" },
        { CENTRAL, 0, 42, 4, 1, "no entry at byte 1" },
        { CENTRAL, 0, 42, 4, 0xfffffffe, "no entry at byte 4294967294" },
        { CENTRAL, 1, 42, 4, 0, "another name in its own header" },
        { LOCAL, 1, 0, 1, 'Q', "no entry at byte" },
        { LOCAL, 1, 26, 2, 5, "another name" },
        { LOCAL, 1, 30, 1, 'R', "another name" },
        { LOCAL, 4, 28, 2, 1, "reaches beyond the archive's data" },
        { LOCAL, 0, 28, 2, 20, "zip entries overlap" },
        { LOCAL, 4, 28, 2, 0xffff, "reaches beyond the archive's data" },
        { END, 0, 0, 1, 'Q', "no end record" },
        { END, 0, 4, 2, 1, "several parts" },
        { END, 0, 6, 2, 1, "several parts" },
        { END, 0, 8, 2, 4, "several parts" },
        { END, 0, 12, 4, 1, "does not end where" },
        { END, 0, 12, 4, 0xffffffff, "no zip64 end record" },
        { END, 0, 16, 4, 0xffffffff, "no zip64 end record" },
        { END, 0, 16, 4, 0xfffffff0, "does not end where" },
        { END, 0, 20, 2, 1, "comment" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bytes b = archive_of(PUTS, PUTS_N);
        bytes_set(record(&b, cases[i].mark, cases[i].n) + cases[i].at, cases[i].value, cases[i].size);
        Error e = refuse(b);
        error_says(&e, cases[i].says);
    }
    /* Both counts of the end record at once. */
    static const struct {
        uint64_t entries;
        const char *says;
    } counts[] = { { 4, "more entries than the end record" }, { 6, "more entries than the directory" }, { 0xffff, "no zip64 end record" },
        { 60000, "more entries than the directory" } };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        Bytes b = archive_of(PUTS, PUTS_N);
        bytes_set(record(&b, END, 0) + 8, counts[i].entries, 2), bytes_set(record(&b, END, 0) + 10, counts[i].entries, 2);
        Error e = refuse(b);
        error_says(&e, counts[i].says);
    }
}

static void twice_and_over_each_other(void **state) {
    (void)state;
    Error e = refuse(archive_of((const Put[]){ { "r/a", "1", 1 }, { "r/b", "2", 1 }, { "r/a", "3", 1 } }, 3));
    error_says(&e, "stands twice");
    error_says(&e, "entry \"r/a\"");
    /* An entry whose bytes are another's header and bytes. */
    Bytes b = archive_of((const Put[]){ { "r/a", "1", 1 }, { "r/b", "2", 1 } }, 2);
    for (int at = 20; at <= 24; at += 4) bytes_set(record(&b, "PK\1\2", 0) + at, 30, 4);
    e = refuse(b);
    error_says(&e, "zip entries overlap");
    error_says(&e, "begins within \"r/a\"");
    /* A name that a terminal would obey. */
    e = refuse(archive_of((const Put[]){ { "r/\33[2J", "1", 1 }, { "r/\33[2J", "2", 1 } }, 2));
    error_says(&e, "entry \"r/?[2J\"");
}

/* Every proper beginning of an archive is refused, and so is one with anything before or behind it. */
static void cut(void **state) {
    (void)state;
    Bytes whole = archive_of(PUTS, PUTS_N);
    for (size_t n = 0; n < whole.n; n++) {
        Bytes part = { 0 };
        bytes_add(&part, whole.at, n);
        Error e = refuse(part);
        error_says(&e, "cut short or damaged");
    }
    for (int behind = 0; behind < 2; behind++) {
        Bytes more = { 0 };
        if (!behind) bytes_add(&more, "x", 1);
        bytes_add(&more, whole.at, whole.n);
        if (behind) bytes_add(&more, "x", 1);
        Error e = refuse(more);
        error_says(&e, "bad zip archive");
    }
    free(whole.at);
}

/* ---- zip64 ---- */

static Bytes zip64_field(const uint64_t *values, int n) {
    Bytes b = { 0 };
    bytes_number(&b, 0x5346, 2), bytes_number(&b, 3, 2), bytes_add(&b, "pad", 3); /* another field before it */
    bytes_number(&b, 1, 2), bytes_number(&b, (uint64_t)(8 * n), 2);
    for (int i = 0; i < n; i++) bytes_number(&b, values[i], 8);
    return b;
}

/* A small archive that has zip64 records although it needs none, as PyTorch writes; saturated: the end record says so. */
static Bytes with_zip64(int saturated, int entry_saturated) {
    Bytes b = { 0 }, extra = { 0 };
    local_put(&b, "r/a", entry_saturated ? 0xffffffff : 5);
    bytes_add(&b, "bytes", 5);
    size_t place = b.n;
    if (entry_saturated) extra = zip64_field((const uint64_t[]){ 5, 5, 0 }, 3);
    central_put(&b, "r/a", entry_saturated ? 0xffffffff : 5, entry_saturated ? 0xffffffff : 0, extra);
    size_t size = b.n - place;
    end64_put(&b, 1, size, place);
    if (saturated) end_put(&b, 0xffff, 0xffffffff, 0xffffffff);
    else end_put(&b, 1, size, place);
    free(extra.at);
    return b;
}

static void small_zip64(void **state) {
    (void)state;
    Zip z;
    Error e = { 0 };
    for (int i = 0; i < 4; i++) {
        Bytes b = with_zip64(i & 1, i >> 1);
        assert_int_equal(zip_open(&z, b.at, b.n, "f", &e), 0);
        const ZipEntry *entry = zip_find(&z, "r", 1, "a", 1);
        assert_non_null(entry);
        assert_int_equal(entry->size, 5);
        assert_memory_equal(entry->data, "bytes", 5);
        zip_close(&z);
        free(b.at);
    }
    static const char END64[] = "PK\6\6", LOCATOR[] = "PK\6\7", END[] = "PK\5\6";
    static const struct {
        const char *mark;
        int at;
        uint64_t value;
        int saturated;
        const char *says;
    } cases[] = {
        { LOCATOR, 4, 1, 0, "several parts" },
        { LOCATOR, 8, UINT64_MAX, 0, "where its locator says" },
        { LOCATOR, 8, 0, 0, "where its locator says" },
        { END64, 0, 0, 0, "where its locator says" },
        { END64, 4, 45, 0, "makes no sense" },
        { END64, 24, UINT64_MAX, 0, "makes no sense" },
        { END64, 32, 2, 0, "makes no sense" },
        { END64, 40, UINT64_MAX, 1, "does not end where" },
        { END64, 48, UINT64_MAX, 1, "does not end where" },
        { END64, 40, 1, 0, "two end records that disagree" },
        { END, 8, 2 | 2 << 16, 0, "two end records that disagree" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bytes b = with_zip64(cases[i].saturated, 0);
        bytes_set(record(&b, cases[i].mark, 0) + cases[i].at, cases[i].value,
            cases[i].mark == END64 && cases[i].at > 4      ? 8
            : cases[i].mark == LOCATOR && cases[i].at == 8 ? 8
                                                           : 4);
        e = refuse(b);
        error_says(&e, cases[i].says);
    }
    /* As many entries as fit 64 bits. */
    Bytes b = with_zip64(1, 0);
    for (int at = 24; at <= 32; at += 8) bytes_set(record(&b, END64, 0) + at, UINT64_MAX, 8);
    e = refuse(b);
    error_says(&e, "more entries than the directory");
    /* Sizes of a zip64 field: beyond the file, beyond 2^63, and not all there. */
    static const uint64_t sizes[] = { 6, (uint64_t)1 << 63, UINT64_MAX };
    for (int i = 0; i < 3; i++) {
        b = with_zip64(0, 1);
        unsigned char *field = record(&b, "PK\1\2", 0) + 46 + 3 + 7 + 4;
        bytes_set(field, sizes[i], 8), bytes_set(field + 8, sizes[i], 8);
        e = refuse(b);
        error_says(&e, "reaches beyond the archive's data");
    }
    b = with_zip64(0, 1);
    bytes_set(record(&b, "PK\1\2", 0) + 46 + 3 + 7 + 2, 16, 2);
    e = refuse(b);
    error_says(&e, "no zip64 sizes");
    b = with_zip64(0, 1);
    bytes_set(record(&b, "PK\1\2", 0) + 46 + 3 + 7 + 2, 25, 2); /* a field that reaches beyond the extras */
    e = refuse(b);
    error_says(&e, "no zip64 sizes");
}

/* Entries of more than 4 GB and beyond the first 4 GB, in a file that is mostly holes. */
static void beyond_4_gb(void **state) {
    (void)state;
    const uint64_t large = (uint64_t)5 << 30;
    Bytes head = { 0 }, rest = { 0 };
    local_put(&head, "r/large", 0xffffffff);
    uint64_t second = head.n + large;
    local_put(&rest, "r/far", 3);
    bytes_add(&rest, "far", 3);
    uint64_t place = head.n + large + rest.n, before = rest.n;
    Bytes one = zip64_field((const uint64_t[]){ large, large }, 2), two = zip64_field(&second, 1);
    central_put(&rest, "r/large", 0xffffffff, 0, one);
    central_put(&rest, "r/far", 3, 0xffffffff, two);
    uint64_t size = rest.n - before;
    end64_put(&rest, 2, size, place);
    end_put(&rest, 2, size, 0xffffffff);
    int fd = open(at(folder, "large"), O_CREAT | O_RDWR, 0600);
    assert_true(fd >= 0);
    if (ftruncate(fd, (off_t)(head.n + large + rest.n))) {
        print_message("skipped: this disk takes no file of 5 GB, be it of holes\n");
        close(fd);
        skip();
    }
    assert_int_equal(pwrite(fd, head.at, head.n, 0), head.n);
    assert_int_equal(pwrite(fd, rest.at, rest.n, (off_t)second), rest.n);
    close(fd);
    const void *map;
    size_t n;
    Zip z;
    Error e = { 0 };
    assert_int_equal(file_map(at(folder, "large"), &map, &n, &e), 0);
    assert_int_equal(zip_open(&z, map, n, "large", &e), 0);
    const ZipEntry *entry = zip_find(&z, "r", 1, "large", 5);
    assert_non_null(entry);
    assert_true(entry->size == large);
    entry = zip_find(&z, "r", 1, "far", 3);
    assert_non_null(entry);
    assert_memory_equal(entry->data, "far", 3);
    zip_close(&z);
    file_unmap(map, n);
    free(head.at), free(rest.at), free(one.at), free(two.at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finding),
        cmocka_unit_test(fields),
        cmocka_unit_test(twice_and_over_each_other),
        cmocka_unit_test(cut),
        cmocka_unit_test(small_zip64),
        cmocka_unit_test_setup_teardown(beyond_4_gb, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("zip", tests, NULL, NULL);
}

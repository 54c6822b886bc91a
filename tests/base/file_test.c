/* file_test.c - files whole or not at all, folders, paths, hashes. */
#include "tests/check.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[PATH_SIZE];
static int set_up(void **state) { return (void)state, scratch_make(folder), 0; }
static int tear_down(void **state) { return (void)state, scratch_drop(folder), 0; }

static void same_content(const char *path, const char *text) {
    char *data;
    size_t size;
    assert_int_equal(file_read(path, 1000, &data, &size, NULL), 0);
    assert_int_equal(size, strlen(text));
    assert_string_equal(data, text);
    free(data);
}

static void write_read_copy(void **state) {
    (void)state;
    Error e;
    char *data;
    size_t size;
    put(at(folder, "a"), "hello", 5);
    same_content(at(folder, "a"), "hello");
    put(at(folder, "a"), "", 0);
    same_content(at(folder, "a"), "");
    put(at(folder, "a"), "again", 5);
    assert_int_equal(file_copy(at(folder, "a"), at(folder, "b"), &e), 0);
    same_content(at(folder, "b"), "again");
    assert_false(file_exists(at(folder, "a.partial")));
    assert_int_equal(file_read(at(folder, "a"), 5, &data, &size, &e), 0);
    free(data);
    assert_int_equal(file_read(at(folder, "a"), 4, &data, &size, &e), -1);
    error_says(&e, "expected at most 4 bytes");
    assert_int_equal(file_read(at(folder, "none"), 4, &data, &size, &e), -1);
    error_says(&e, "none; found No such file");
    assert_int_equal(file_read(folder, 4, &data, &size, &e), -1);
    error_says(&e, "found a folder");
    assert_int_equal(file_read("/proc/self/stat", 1 << 16, &data, &size, &e), 0); /* a file whose size reads as 0 */
    assert_true(size > 10);
    free(data);
    assert_int_equal(file_copy(at(folder, "none"), at(folder, "c"), &e), -1);
    assert_false(file_exists(at(folder, "c")));
}

static void map(void **state) {
    (void)state;
    Error e;
    const void *p;
    size_t size;
    put(at(folder, "a"), "mapped", 6);
    assert_int_equal(file_map(at(folder, "a"), &p, &size, &e), 0);
    assert_int_equal(size, 6);
    assert_memory_equal(p, "mapped", 6);
    file_unmap(p, size);
    put(at(folder, "a"), "", 0);
    assert_int_equal(file_map(at(folder, "a"), &p, &size, &e), -1);
    error_says(&e, "found an empty file");
    assert_int_equal(file_map("/dev/null", &p, &size, &e), -1);
    error_says(&e, "not a regular file");
    file_unmap(NULL, 0);
}

/* By its name as long as that leads to the file that was mapped; a file cut short has an error, not a signal. */
static void map_read_again(void **state) {
    (void)state;
    Error e;
    const void *p;
    size_t size;
    FileIdentity which;
    char got[8] = "";
    put(at(folder, "a"), "mapped", 6);
    assert_int_equal(file_map_identified(at(folder, "a"), &p, &size, &which, &e), 0);
    int file = file_reopen(at(folder, "a"), which);
    assert_true(file >= 0);
    assert_int_equal(file_read_at(file, "a", got, 3, 2, &e), 0);
    assert_string_equal(got, "ppe");
    assert_int_equal(file_read_at(file, "a", got, 0, 6, &e), 0);
    assert_int_equal(file_read_at(file, "a", got, 4, 4, &e), -1);
    error_says(&e, "file became shorter while it was read"), error_says(&e, "6 bytes"), error_says(&e, "expected 8");
    put(at(folder, "a"), "others", 6); /* another file of this name */
    assert_int_equal(file_reopen(at(folder, "a"), which), -1);
    assert_int_equal(file_read_at(file, "a", got, 6, 0, &e), 0);
    assert_memory_equal(got, p, 6);
    assert_int_equal(file_reopen(at(folder, "none"), which), -1);
    assert_int_equal(file_reopen(folder, which), -1);
    close(file);
    assert_int_equal(file_read_at(file, "a", got, 1, 0, &e), -1);
    error_says(&e, "cannot read file");
    file_unmap(p, size);
}

static void output_appears_only_when_whole(void **state) {
    (void)state;
    Error e;
    FileOut f, second;
    put(at(folder, "a"), "old", 3);
    assert_int_equal(file_create(&f, at(folder, "a"), &e), 0);
    fputs("new", f.stream);
    fflush(f.stream);
    same_content(at(folder, "a"), "old");
    assert_int_equal(file_create(&second, at(folder, "a"), &e), -1);
    error_says(&e, "another writer");
    file_abandon(&f);
    file_abandon(&f);
    same_content(at(folder, "a"), "old");
    assert_false(file_exists(at(folder, "a.partial")));
    assert_int_equal(file_commit(&f, &e), -1);
    put(at(folder, "a.partial"), "left by a crash", 15);
    assert_int_equal(file_create(&f, at(folder, "a"), &e), 0);
    fputs("new", f.stream);
    assert_int_equal(file_commit(&f, &e), 0);
    same_content(at(folder, "a"), "new");
}

static void writes_that_fail(void **state) {
    (void)state;
    Error e;
    FileOut f;
    assert_int_equal(file_write(at(folder, "none/a"), "x", 1, &e), -1);
    error_says(&e, "cannot create file");
    assert_int_equal(file_write(folder, "x", 1, &e), -1);
    error_says(&e, "found a folder");
    assert_int_equal(file_write("/dev/full", "x", 1, &e), -1);
    error_says(&e, "found a device or pipe");
    char *path = malloc(PATH_SIZE + 10);
    memset(path, 'a', PATH_SIZE), path[PATH_SIZE] = 0;
    assert_int_equal(file_write(path, "x", 1, &e), -1);
    error_says(&e, "path too long");
    free(path);
    if (geteuid()) { /* root writes anywhere */
        assert_int_equal(chmod(folder, 0500), 0);
        assert_int_equal(file_write(at(folder, "a"), "x", 1, &e), -1);
        error_says(&e, "check the permissions");
        chmod(folder, 0700);
    }
    /* A disk that fills up, as a limit on file size: the old file stays, and nothing is left beside it. */
    put(at(folder, "a"), "old", 3);
    struct rlimit before, small = { 100000, 100000 };
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    char *big = calloc(1, 300000);
    int wrote = file_write(at(folder, "a"), big, 300000, &e);
    int created = file_create(&f, at(folder, "a"), NULL), committed = 0;
    if (!created) {
        for (int i = 0; i < 3000; i++) fwrite(big, 1, 100, f.stream);
        committed = file_commit(&f, NULL);
    }
    setrlimit(RLIMIT_FSIZE, &before);
    free(big);
    assert_int_equal(wrote, -1);
    error_says(&e, "cannot write file");
    assert_int_equal(created, 0);
    assert_int_equal(committed, -1);
    same_content(at(folder, "a"), "old");
    assert_false(file_exists(at(folder, "a.partial")));
}

static void folders(void **state) {
    (void)state;
    Error e;
    assert_int_equal(folder_make(at(folder, "x/y//z/"), &e), 0);
    assert_int_equal(folder_make(at(folder, "x/y/z"), &e), 0);
    put(at(folder, "x/y/file"), "1", 1);
    assert_int_equal(folder_make(at(folder, "x/y/file"), &e), -1);
    error_says(&e, "a file of that name");
    assert_int_equal(folder_make(at(folder, "x/y/file/deeper"), &e), -1);
    assert_int_equal(folder_make("", &e), -1);
    /* A link inside is removed, what it points to is not. */
    put(at(folder, "kept"), "k", 1);
    assert_int_equal(symlink(at(folder, "kept"), at(folder, "x/link")), 0);
    assert_int_equal(folder_rename(at(folder, "x"), at(folder, "w"), &e), 0);
    same_content(at(folder, "w/y/file"), "1");
    assert_int_equal(folder_rename(at(folder, "none"), at(folder, "v"), &e), -1);
    assert_int_equal(folder_remove(at(folder, "w"), &e), 0);
    assert_false(file_exists(at(folder, "w")));
    same_content(at(folder, "kept"), "k");
    assert_int_equal(folder_remove(at(folder, "w"), &e), 0);
    assert_int_equal(folder_remove(at(folder, "kept"), &e), -1);
    error_says(&e, "not a folder");
}

static void paths(void **state) {
    (void)state;
    static const char *const joins[][3] = { { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "a", "/b", "/b" }, { "", "b", "b" },
        { "/", "b", "/b" } };
    static const char *const parents[][2] = { { "a/b", "a" }, { "a", "." }, { "/a", "/" }, { "a/b/", "a" }, { "a//b", "a" }, { "/", "/" },
        { "", "." } };
    char out[PATH_SIZE], *name = malloc(PATH_SIZE + 1);
    Error e;
    for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
        assert_int_equal(path_join(out, joins[i][0], joins[i][1], &e), 0);
        assert_string_equal(out, joins[i][2]);
    }
    for (size_t i = 0; i < sizeof parents / sizeof *parents; i++) {
        path_folder(out, parents[i][0]);
        assert_string_equal(out, parents[i][1]);
    }
    memset(name, 'a', PATH_SIZE), name[PATH_SIZE] = 0;
    assert_int_equal(path_join(out, "f", name, &e), -1);
    error_says(&e, "path too long");
    free(name);
}

static void hashes(void **state) {
    (void)state;
    char bytes[HASH_TEXT], file[HASH_TEXT];
    size_t size = 3000001; /* more than one chunk of the file hash */
    char *data = malloc(size);
    for (size_t i = 0; i < size; i++) data[i] = (char)(i * 131 >> 3);
    hash_bytes("", 0, bytes);
    assert_string_equal(bytes, "99aa06d3014798d86001c324468d497f"); /* the published value of XXH3-128 of nothing */
    hash_bytes(data, size, bytes);
    put(at(folder, "a"), data, size);
    assert_int_equal(hash_file(at(folder, "a"), file, NULL), 0);
    assert_string_equal(bytes, file);
    data[size / 2] ^= 1;
    hash_bytes(data, size, file);
    assert_string_not_equal(bytes, file);
    assert_int_equal(hash_file(at(folder, "none"), file, NULL), -1);
    assert_true(hash64("a", 1, 0) != hash64("a", 1, 1));
    assert_true(hash64("", 0, 0) == 0x2d06800538d394c2u);
    free(data);
}

static void hashes_of_folders(void **state) {
    (void)state;
    char a[HASH_TEXT], b[HASH_TEXT];
    assert_int_equal(folder_make(at(folder, "model/vision"), NULL), 0);
    put(at(folder, "model/config.json"), "{}", 2);
    put(at(folder, "model/vision/weights"), "www", 3);
    put(at(folder, "file"), "cc\n", 3);
    assert_int_equal(hash_path(at(folder, "model"), a, NULL), 0);
    assert_int_equal(hash_path(at(folder, "model"), b, NULL), 0);
    assert_string_equal(a, b);
    assert_int_equal(rename(at(folder, "model/config.json"), at(folder, "model/other.json")), 0);
    assert_int_equal(hash_path(at(folder, "model"), b, NULL), 0);
    assert_string_not_equal(a, b); /* names count */
    put(at(folder, "model/vision/weights"), "wwx", 3);
    assert_int_equal(hash_path(at(folder, "model"), a, NULL), 0);
    assert_string_not_equal(a, b); /* and what is further down */
    assert_int_equal(hash_path(at(folder, "file"), a, NULL), 0);
    hash_bytes("cc\n", 3, b);
    assert_string_equal(a, b); /* a file is its content */
    assert_int_equal(hash_path(at(folder, "none"), a, NULL), -1);
}

static void lines(void **state) {
    (void)state;
    put(at(folder, "a"), "one\ntwo\nthree", 13);
    assert_int_equal(file_lines(at(folder, "a")), 2);
    put(at(folder, "a"), "", 0);
    assert_int_equal(file_lines(at(folder, "a")), 0);
    assert_int_equal(file_lines(at(folder, "none")), 0);
}

/* Stands before the library's, for file_read_ahead alone: what is asked for, call by call. */
static struct {
    uintptr_t from, end;
    size_t calls, longest;
    int others;
} asked;
int madvise(void *at, size_t size, int advice) {
    asked.others |= advice != MADV_WILLNEED || (uintptr_t)at % (size_t)sysconf(_SC_PAGESIZE) || (asked.calls && (uintptr_t)at != asked.end);
    if (!asked.calls++) asked.from = (uintptr_t)at;
    asked.end = (uintptr_t)at + size;
    if (size > asked.longest) asked.longest = size;
    return 0;
}

/* All of a range from no page's beginning, gaplessly, in no call more than any system brings. */
static void read_ahead(void **state) {
    (void)state;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), map = 1024 * page;
    static const size_t ranges[][2] = { { 0, 1 }, { 5000, 20 << 20 }, { 1, 128 << 10 }, { 0, 128 << 10 }, { 70000, 300000 } };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const uintptr_t from = map + ranges[i][0], end = from + ranges[i][1];
        memset(&asked, 0, sizeof asked);
        file_read_ahead((const void *)from, ranges[i][1]);
        assert_int_equal(asked.others, 0);
        assert_int_equal(asked.from, from / page * page);
        assert_int_equal(asked.end, end);
        assert_in_range(asked.longest, 1, 128 << 10);
    }
    memset(&asked, 0, sizeof asked);
    file_read_ahead((const void *)map, 0);
    assert_int_equal(asked.calls, 0);
}

int main(void) {
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = { TEST(write_read_copy), TEST(map), TEST(read_ahead), TEST(map_read_again), TEST(output_appears_only_when_whole), TEST(writes_that_fail),
        TEST(folders), TEST(paths), TEST(hashes), TEST(hashes_of_folders), TEST(lines) };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}

/* check.h - what test programs share: cmocka, a scratch folder, bytes into files, and the one-clear-error assertion.
 *
 * Tests run from the repository's root. Data beyond the repository is found by RLAIFV_SHARED (default ../shared); tests that need it skip
 * with a reason when it is absent. */
#ifndef RLAIFV_TESTS_CHECK_H
#define RLAIFV_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_UNUSED __attribute__((unused))

/* A fresh folder for one test; remove it with scratch_drop. */
CHECK_UNUSED static void scratch_make(char out[PATH_SIZE]) {
    const char *base = getenv("TMPDIR");
    snprintf(out, PATH_SIZE, "%s/rlaifv-test-XXXXXX", base && base[0] ? base : "/tmp");
    assert_non_null(mkdtemp(out));
}

CHECK_UNUSED static void scratch_drop(const char *folder) { assert_int_equal(folder_remove(folder, NULL), 0); }

/* FOLDER/NAME in a buffer that the next calls but three reuse. */
CHECK_UNUSED static const char *at(const char *folder, const char *name) {
    static char paths[4][PATH_SIZE];
    static int next;
    char *path = paths[next++ % 4];
    assert_int_equal(path_join(path, folder, name, NULL), 0);
    return path;
}

CHECK_UNUSED static void put(const char *path, const void *data, size_t size) { assert_int_equal(file_write(path, data, size, NULL), 0); }

/* The error's one line holds `part`; prints the line when it does not. */
CHECK_UNUSED static void error_says(const Error *e, const char *part) {
    char line[2048];
    error_text(e, line, sizeof line);
    if (!strstr(line, part)) fail_msg("error \"%s\" does not say \"%s\"", line, part);
}

/* RLAIFV_SHARED/NAME when it is there, else NULL after printing why the test skips. */
CHECK_UNUSED static const char *shared_path(const char *name) {
    const char *folder = getenv("RLAIFV_SHARED"), *path = at(folder && folder[0] ? folder : "../shared", name);
    if (file_exists(path)) return path;
    print_message("skipped: %s is absent (set RLAIFV_SHARED)\n", path);
    return NULL;
}

#endif

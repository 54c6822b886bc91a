/* own_folder.h - what tests of arrows from file to file share: a folder of the test program's own, rows read back, files compared. */
#ifndef RLAIFV_TESTS_ENGINE_OWN_FOLDER_H
#define RLAIFV_TESTS_ENGINE_OWN_FOLDER_H

#include "tests/engine/golden_case.h"

#include <stdlib.h>

static char folder[64];

/* A path in it, in a buffer that the eighth call after this one reuses. */
static inline const char *at(const char *name) {
    static char ring[8][PATH_SIZE];
    static int turn;
    char *out = ring[turn++ % 8];
    snprintf(out, PATH_SIZE, "%s/%s", folder, name);
    return out;
}

static inline int folder_open(void) {
    strcpy(folder, "/tmp/rlaifv-arrows-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int folder_teardown(void **state) {
    (void)state;
    return folder_remove(folder, NULL);
}

static inline void same_files(const char *a, const char *b) {
    char one[HASH_TEXT], two[HASH_TEXT];
    assert_int_equal(hash_file(a, one, NULL), 0);
    assert_int_equal(hash_file(b, two, NULL), 0);
    assert_string_equal(one, two);
}

#endif

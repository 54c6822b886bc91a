/* scratch.h - a folder of each test's own: of tests that run with setup and teardown. */
#ifndef RLAIFV_TESTS_SCRATCH_H
#define RLAIFV_TESTS_SCRATCH_H

#include "tests/check.h"

static char folder[PATH_SIZE];

static inline int setup(void **state) {
    (void)state;
    scratch_make(folder);
    return 0;
}

static inline int teardown(void **state) {
    (void)state;
    scratch_drop(folder);
    return 0;
}

#endif

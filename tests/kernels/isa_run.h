/* isa_run.h - runs a group of tests once per instruction set of this machine, each in a process of its own: oneDNN accepts one limit per
 * process, and only a limited oneDNN shows what a lesser machine would compute. The tests find their table in `k`. The emulated device of
 * builds WITH_SIMT has its process too. */
#ifndef RLAIFV_TESTS_KERNELS_ISA_RUN_H
#define RLAIFV_TESTS_KERNELS_ISA_RUN_H

#include "tests/kernels/kernel_test.h"

#include <sys/wait.h>
#include <unistd.h>

static const Kernels *k;

/* The number of processes that failed. */
static inline int isa_groups_run(const char *name, const struct CMUnitTest *tests, size_t n) {
    int failed = 0;
    for (size_t i = 0; i < sizeof test_isas / sizeof *test_isas; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            char group[128];
            k = isa_open(test_isas[i]);
            if (!k) _exit(0);
            snprintf(group, sizeof group, "%s %s", name, test_isas[i]);
            int bad = _cmocka_run_group_tests(group, tests, n, NULL, NULL);
            fflush(NULL);
#ifdef WITH_SIMT
            exit(bad != 0); /* what is never freed is reported at exit */
#else
            _exit(bad != 0);
#endif
        }
        int status = 1;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) failed++;
    }
    return failed;
}
#define ISA_GROUPS_RUN(name, tests) isa_groups_run(name, tests, sizeof(tests) / sizeof *(tests))

/* Fails when the last operations reported a failure. */
static inline void sync_ok(void) {
    Error e;
    char line[2048];
    if (k->sync(&e)) fail_msg("%s", error_text(&e, line, sizeof line));
}

#endif

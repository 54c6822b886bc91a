/* checker_none.cpp - the emulator without the checker: kernels run uninstrumented. */
#include "tests/simt/counters.h"
#include "tests/simt/engine.h"

void checker_region_new(const void *, size_t, const char *) {}
void checker_region_gone(const void *) {}
void checker_region_written(const void *, size_t) {}
void checker_launch_begin(const SimtLaunch &, uint64_t) {}
void checker_launch_end(const SimtLaunch &) {}
void checker_block_begin(SimtBlock *) {}
void checker_shared_new(SimtBlock *, const void *, size_t) {}
void checker_copy_issue(const void *, const void *, int, SimtSite) {}
void checker_copy_land(const void *, SimtSite) {}
void checker_block_end(SimtBlock *) {}
void checker_read_for(int, const void *, size_t, SimtSite) {}
int checker_is_on(void) { return 0; }
int counters_are_here(void) { return 0; }

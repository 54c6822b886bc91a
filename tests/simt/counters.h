/* counters.h - what a GPU would do for the accesses of a kernel, counted: the measure of its memory traffic where no GPU is at hand.
 *
 * A warp's lanes execute an instruction for the n-th time together: those accesses are one request. Of global memory a request touches so
 * many sectors of 32 bytes, and could have touched no fewer than its distinct bytes fill; of shared memory it takes so many passes over the
 * 32 banks of 4 bytes, and no fewer than its distinct bytes fill (accesses of 8 and 16 bytes go by half and quarter warps). Only the
 * checker's build counts, between counters_start and counters_stop. */
#ifndef RLAIFV_TESTS_SIMT_COUNTERS_H
#define RLAIFV_TESTS_SIMT_COUNTERS_H

#include "bench/counts.h"
#include "tests/simt/engine.h"

/* The checker's and the engine's side. */
void counters_access(const SimtBlock *b, const void *at, size_t bytes, int thread, uintptr_t pc, int shared, int write);
void counters_mma(void);
void counters_block_end(SimtBlock *b);
void counters_launch_end(const SimtLaunch &launch);
int counters_pause(int pause); /* returns whether it was paused */

#endif

/* counts.h - what the emulator counts of a kernel, for C. In builds without the counting emulator counters_are_here is absent. */
#ifndef RLAIFV_BENCH_COUNTS_H
#define RLAIFV_BENCH_COUNTS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
/* Of a kernel, or of one line of it. Sectors are 32 bytes of global memory: `sectors` are what the requests of warps touch, each by itself,
 * as if there were no caches; `sectors_once` what a launch reads or writes at all, as if caches were perfect. */
typedef struct KernelCounts {
    char name[96];
    const char *file; /* NULL and 0: the whole kernel */
    int line;
    uint64_t launches, blocks;
    uint64_t requests, sectors, sectors_least, sectors_once, bytes_read, bytes_written; /* of global memory; bytes that lanes asked for */
    uint64_t shared_requests, passes, passes_least;
    uint64_t mma; /* of m16n8k16 */
} KernelCounts;

/* 1 in builds that count. */
int counters_are_here(void) __attribute__((weak));
/* Forgets what was counted and counts from now on. */
void counters_start(void) __attribute__((weak));
/* Counts no more; what was counted, by kernel, in the order of first launches. */
const KernelCounts *counters_stop(int *n) __attribute__((weak));
/* What was counted until counters_stop, by line of each kernel, those with most sectors and passes first. Launches, blocks, sectors_once
 * and mma are those of whole kernels only. */
const KernelCounts *counters_lines(int *n) __attribute__((weak));
#ifdef __cplusplus
}
#endif

#endif

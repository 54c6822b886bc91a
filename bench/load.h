/* load.h - how long a checkpoint takes to load, beside reading its files. */
#ifndef RLAIFV_BENCH_LOAD_H
#define RLAIFV_BENCH_LOAD_H

#include "kernels/kernels.h"

#include <stdio.h>

enum { BENCH_LOADS = 99 };

/* In turn, `runs` times each (at most BENCH_LOADS): the checkpoint's files read by one thread through a small buffer, as cat does; read by one
 * thread into memory as large, in huge pages; and the model loaded. Before each its files leave the page cache, or, where `cached`, are all
 * brought into it. A line a run on `table`, one JSON line with least and median seconds on `out`: `cached_share` is the part of the files that
 * was in the cache before the worst run, null where the system does not tell. 0 or -1. */
int bench_load(const char *folder, const Kernels *k, DType dtype, int runs, int cached, FILE *table, FILE *out, Error *e);

#endif

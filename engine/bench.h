/* bench.h - the parts of `rlaifv bench`; each takes the arguments after its own name and returns as a command does. */
#ifndef RLAIFV_ENGINE_BENCH_H
#define RLAIFV_ENGINE_BENCH_H

#include "base/error.h"

/* The jobs of one online iteration, as bench/peers' scripts time them: one JSON line. */
int bench_jobs(int argc, char **argv, Error *e);

#endif

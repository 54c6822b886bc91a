/* kernels.h - `rlaifv bench kernels`: for each kernel a ladder of rungs, from the naive loop to what the engine runs, on the shapes it
 * runs.
 *
 * A rung is checked against the first before it is timed; a wrong one is an error, not a number. Rates stand beside the roofs of this
 * machine, which are measured first: memory read and copy, and the best product of matrices in fp32 and bf16. The share of a rung is the
 * time the roofs allow (the larger of work / rate and traffic / bandwidth) over the time it took. */
#ifndef RLAIFV_BENCH_KERNELS_H
#define RLAIFV_BENCH_KERNELS_H

#include "kernels/kernels.h"

#include <stdio.h>

/* Runs the groups whose ladders' names contain `name` (all when NULL). One line per rung goes to `table`, and one JSON object per line to
 * `json`; either may be NULL. 0, or -1 when a rung was wrong, memory ran out, or no ladder has the name. */
int bench_kernels(const char *name, const Kernels *k, FILE *table, FILE *json, Error *e);

/* ---- what the groups of ladders use ---- */

typedef struct Bench Bench; /* the run: table, outputs, roofs */

typedef struct BenchRung {
    const char *name;
    void (*run)(void *of); /* one call; it writes the ladder's result */
    double part;           /* the share of the work that one call does, 1 unless the naive loop stops early */
} BenchRung;

enum { BENCH_RUNGS = 4 };
typedef struct BenchLadder {
    const char *kernel; /* "linear_forward" */
    char shape[64];
    DType dtype;
    double flops, bytes; /* of one whole call: multiplications and additions; bytes that must move at least */
    BenchRung rungs[BENCH_RUNGS];
    int rungs_n;
    void *of;   /* given to the rungs */
    Buf result; /* what they write, compared with the first rung's over `compared` elements */
    int64_t compared;
    double bound; /* on the NMSE of that */
} BenchLadder;

const Kernels *bench_table(const Bench *b);
/* Whether ladders of this kernel were asked for: building one costs time. */
int bench_wants(Bench *b, const char *kernel);
/* Checks and times the rungs. 0 or -1. */
int bench_ladder(Bench *b, const BenchLadder *ladder, Error *e);
/* A buffer of n numbers from a fixed sequence, about `scale` large. */
int bench_filled(Bench *b, Buf *out, DType dtype, int64_t n, float scale, Error *e);

/* The groups: each builds and runs its ladders. */
int bench_products(Bench *b, Error *e);   /* kernels_products.c */
int bench_vocabulary(Bench *b, Error *e); /* kernels_vocabulary.c */
int bench_attention(Bench *b, Error *e);  /* kernels_attention.c */
int bench_rows(Bench *b, Error *e);       /* kernels_rows.c */

#endif

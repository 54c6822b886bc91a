/* bootstrap.h - numbers made of counts over answers, with 95 % intervals from resampling the answers.
 *
 * An answer is a row of counts; a measure is a function of the sums of the rows. The percentile bootstrap draws n of n rows with
 * replacement, `resamples` times, and takes the middle 95 % of what a measure says of the draws (Efron 1979). Draws come from Philox by
 * (seed, resample, place), so a result depends on nothing else, not even on the number of threads. */
#ifndef RLAIFV_ENGINE_EVAL_BOOTSTRAP_H
#define RLAIFV_ENGINE_EVAL_BOOTSTRAP_H

#include "base/error.h"

#include <stdint.h>

/* Rows of `columns` counts each. Set columns, add, free. */
typedef struct Counts {
    int columns;
    int32_t *rows; /* (n, columns) */
    size_t n, cap;
} Counts;
int counts_add(Counts *c, const int32_t *row, Error *e); /* 0, or -1 when memory is out */
void counts_free(Counts *c);

/* NAN: undefined for these sums. `part` is the measure's own: which of several alike. */
typedef struct Measure {
    const char *section, *name;
    double (*of)(const int64_t *sums, int part);
    int part;
} Measure;

/* low and high are NAN where the measure is undefined for every draw; draws for which it is are left out. */
typedef struct Estimate {
    double value, low, high;
} Estimate;
enum { RESAMPLES = 10000 }; /* unless asked otherwise */
int bootstrap(const Counts *c, const Measure *measures, int n, int64_t resamples, uint64_t seed, Estimate *out, Error *e);

#endif

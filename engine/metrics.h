/* metrics.h - the one place that numbers about a run go: metrics.jsonl, metrics.csv, a TensorBoard event file, and a line for the terminal.
 *
 * A row belongs to (iteration, phase, step). Names are TRL's (loss, grad_norm, rewards/chosen, ...); phases other than "train" use their
 * own. metrics.jsonl is the truth: the CSV (one column per name seen) and the event file are brought into line with it whenever a run is
 * resumed. Every row is flushed before metrics_write returns. Numbers that are not finite are null in JSON and nan elsewhere. */
#ifndef RLAIFV_ENGINE_METRICS_H
#define RLAIFV_ENGINE_METRICS_H

#include "base/file.h"

enum { METRIC_NAME = 64, METRICS_ROW = 48 };

typedef struct MetricRow {
    int iteration;           /* from 1; 0 outside the loop */
    char phase[METRIC_NAME]; /* "train", "sample", "label", "pair", "eval", "sft", ... */
    int64_t step;
    int n;
    struct {
        char name[METRIC_NAME];
        double value;
    } list[METRICS_ROW];
} MetricRow;

void metric_row(MetricRow *r, int iteration, const char *phase, int64_t step); /* starts an empty row */
void metric_set(MetricRow *r, const char *name, double value);                 /* a name set twice keeps the last value */

typedef struct Metrics Metrics;

/* Opens (or makes) the files in a run folder. Whole rows already there are kept. NULL with the Error filled. */
Metrics *metrics_open(const char *folder, Error *e);
/* Forgets what comes after (iteration, phase, step), as a resumed or repeated arrow will write it again: the first row of a later
 * iteration, or of this iteration and phase with a larger step, and all rows written after it. */
int metrics_resume(Metrics *m, int iteration, const char *phase, int64_t step, Error *e);
int metrics_write(Metrics *m, const MetricRow *r, Error *e);
void metrics_close(Metrics *m);

/* "step 12  loss 0.6931  grad_norm 1.204 ...": the row for people, best-known names first, cut at `size`. Returns out. */
char *metric_row_text(const MetricRow *r, char *out, size_t size);

#endif

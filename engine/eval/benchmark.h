/* benchmark.h - what the evaluations of answers in files have in common: their settings, their result as JSON and as a table, and one row
 * for each answer where asked for. Formulas and files: docs/evaluations.md. */
#ifndef RLAIFV_ENGINE_EVAL_BENCHMARK_H
#define RLAIFV_ENGINE_EVAL_BENCHMARK_H

#include "base/json.h"
#include "engine/eval/bootstrap.h"

typedef struct EvalSettings {
    const char *answers, *rows; /* files; rows NULL: none written. POPE takes several answer files, apart by commas */
    int partial;                /* missing and extra answers are counted, not refused */
    int64_t resamples, seed;    /* of the bootstrap */
} EvalSettings;

/* A result being made: an object {benchmark, answers, missing, extra, bootstrap, ..., measures: {section: {answers, name: {value, low,
 * high}}}}. */
typedef struct EvalResult {
    json_t *json;
    int answers, missing, extra;
    FileOut rows;
    int writes_rows;
} EvalResult;
int eval_open(EvalResult *r, const char *benchmark, const EvalSettings *s, Error *e);
/* Bootstraps `n` measures of `c` and adds them to their sections; the undefined are null. */
int eval_measure(EvalResult *r, const Counts *c, const Measure *measures, int n, const EvalSettings *s, Error *e);
/* Adds a whole number to a section, or, section NULL, to the top; and a text to the top. */
int eval_count(EvalResult *r, const char *section, const char *name, int64_t value, Error *e);
int eval_note(EvalResult *r, const char *name, const char *text, Error *e);
/* Steals `row`. NULL stands for memory that was out. Writes nothing unless rows were asked for. */
int eval_row(EvalResult *r, json_t *row, Error *e);
/* Commits rows, then writes the result to `out`, prints the table, and closes. A result stands only where all before it went well. */
int eval_finish(EvalResult *r, const char *out, FILE *table, Error *e);
void eval_abandon(EvalResult *r);

/* part / whole, and the same in percent, NAN for nothing of nothing; the harmonic mean of two shares, NAN where both are 0 or one is undefined. */
double quotient(double part, double whole);
double share(double part, double whole);
double harmonic(double a, double b);

/* Cuts "a,b,c" into malloc'd names, *out ended by NULL; refuses empty ones. Free with names_free. */
int names_split(const char *text, const char *option, char ***out, int *n, Error *e);
void names_free(char **names);

#endif

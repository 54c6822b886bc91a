/* bootstrap.c - resamples rows of counts.
 *
 * Most benchmarks know few kinds of answers (right or wrong, yes or no), so equal rows are one class, a resample is how often each class
 * was drawn, and its sums are made once from those, not from n rows. */
#include "engine/eval/bootstrap.h"

#include "base/philox.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

int counts_add(Counts *c, const int32_t *row, Error *e) {
    size_t wide = (size_t)c->columns, cells = c->cap * wide;
    if (c->n == c->cap) {
        if (mem_grow(&c->rows, &cells, (c->n + 1) * wide, sizeof *c->rows, "counts of answers", e)) return -1;
        c->cap = cells / wide;
    }
    memcpy(c->rows + c->n++ * wide, row, wide * sizeof *row);
    return 0;
}

void counts_free(Counts *c) {
    free(c->rows);
    c->rows = NULL;
    c->n = c->cap = 0;
}

/* Rows by class: class_of[row], and one row that stands for each class. */
typedef struct Classes {
    uint32_t *class_of, *row_of;
    size_t n;
} Classes;

static int row_compare(const void *a, const void *b, void *context) {
    const Counts *c = context;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int order =
        memcmp(c->rows + (size_t)i * (size_t)c->columns, c->rows + (size_t)j * (size_t)c->columns, (size_t)c->columns * sizeof *c->rows);
    return order ? order : (i > j) - (i < j);
}

static void classes_free(Classes *k) {
    free(k->class_of);
    free(k->row_of);
}

static int classes_make(const Counts *c, Classes *k, Error *e) {
    size_t bytes = (size_t)c->columns * sizeof *c->rows;
    uint32_t *order = mem_new(c->n, sizeof *order, "bootstrap", e);
    k->n = 0;
    k->class_of = mem_new(c->n, sizeof *k->class_of, "bootstrap", e);
    k->row_of = mem_new(c->n, sizeof *k->row_of, "bootstrap", e);
    if (!order || !k->class_of || !k->row_of) {
        free(order);
        classes_free(k);
        return -1;
    }
    for (size_t i = 0; i < c->n; i++) order[i] = (uint32_t)i;
    qsort_r(order, c->n, sizeof *order, row_compare, (void *)c);
    for (size_t i = 0; i < c->n; i++) {
        size_t row = order[i] * (size_t)c->columns;
        if (!i || memcmp(c->rows + row, c->rows + order[i - 1] * (size_t)c->columns, bytes)) k->row_of[k->n++] = order[i];
        k->class_of[order[i]] = (uint32_t)(k->n - 1);
    }
    free(order);
    return 0;
}

/* sums += times * the row of a class */
static void sums_add(const Counts *c, const Classes *k, size_t class, int64_t times, int64_t *sums) {
    const int32_t *row = c->rows + k->row_of[class] * (size_t)c->columns;
    for (int j = 0; j < c->columns; j++) sums[j] += times * row[j];
}

/* How often each class is drawn in one resample: four draws a block of Philox. */
static void resample_draw(const Classes *k, size_t n, int64_t resample, uint64_t seed, int64_t *drawn) {
    memset(drawn, 0, k->n * sizeof *drawn);
    for (size_t i = 0; i < n; i += 4) {
        Philox p = philox4x32((uint32_t)(i / 4), (uint32_t)resample, 0, 0, (uint32_t)seed, (uint32_t)(seed >> 32));
        for (size_t j = 0; j < 4 && i + j < n; j++) drawn[k->class_of[(uint64_t)p.v[j] * n >> 32]]++;
    }
}

static int number_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The middle 95 % of the values that are defined: as many are cut off below as above. */
static void interval(double *values, size_t n, Estimate *out) {
    size_t defined = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(values[i])) values[defined++] = values[i];
    out->low = out->high = NAN;
    if (!defined) return;
    qsort(values, defined, sizeof *values, number_compare);
    size_t cut = defined * 25 / 1000;
    out->low = values[cut];
    out->high = values[defined - 1 - cut];
}

int bootstrap(const Counts *c, const Measure *measures, int n, int64_t resamples, uint64_t seed, Estimate *out, Error *e) {
    if (!c->n || c->n > UINT32_MAX)
        return error_what(e, "nothing to count"), error_found(e, "%zu answers", c->n), error_expected(e, "1 to 4294967295");
    Classes k;
    if (classes_make(c, &k, e)) return -1;
    size_t threads = (size_t)omp_get_max_threads(), wide = (size_t)c->columns, each = k.n + wide;
    int64_t *work = mem_new(threads * each, sizeof *work, "bootstrap", e);
    double *values = mem_new((size_t)n * (size_t)resamples, sizeof *values, "bootstrap", e);
    int bad = !work || !values;
    if (!bad) {
        for (size_t i = 0; i < c->n; i++) sums_add(c, &k, k.class_of[i], 1, work);
        for (int m = 0; m < n; m++) out[m].value = measures[m].of(work, measures[m].part);
#pragma omp parallel for schedule(static)
        for (int64_t r = 0; r < resamples; r++) {
            int64_t *sums = work + (size_t)omp_get_thread_num() * each, *drawn = sums + wide;
            memset(sums, 0, wide * sizeof *sums);
            resample_draw(&k, c->n, r, seed, drawn);
            for (size_t j = 0; j < k.n; j++)
                if (drawn[j]) sums_add(c, &k, j, drawn[j], sums);
            for (int m = 0; m < n; m++) values[(int64_t)m * resamples + r] = measures[m].of(sums, measures[m].part);
        }
        for (int m = 0; m < n; m++) interval(values + (int64_t)m * resamples, (size_t)resamples, &out[m]);
    }
    free(work);
    free(values);
    classes_free(&k);
    return bad ? -1 : 0;
}

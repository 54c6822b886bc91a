/* sections.h - counts of answers by category: the measures of all answers in a section "all", and the same of each category in its own. */
#ifndef RLAIFV_ENGINE_EVAL_SECTIONS_H
#define RLAIFV_ENGINE_EVAL_SECTIONS_H

#include "engine/eval/benchmark.h"

#define CATEGORY_NONE "uncategorised" /* of what has none */

/* Answers with their category and `columns` counts each. Set columns, add, measure, free. */
typedef struct Sections {
    int columns;
    json_t *places; /* category -> its place, in order of first use */
    int32_t *rows;  /* (n, 1 + columns): place of the category, counts */
    size_t n, cells;
} Sections;
/* Refuses a category named "all", and more than 1000 categories. */
int sections_add(Sections *s, const char *category, const int32_t *counts, Error *e);
/* A number of each section; `of` finds its counts from sums[section * columns] on. */
typedef struct SectionMeasure {
    const char *name;
    double (*of)(const int64_t *sums, int section);
} SectionMeasure;
/* Bootstraps the measures of all sections into r, and says how many answers each has. */
int sections_measure(const Sections *s, const SectionMeasure *measures, int n, EvalResult *r, const EvalSettings *settings, Error *e);
void sections_free(Sections *s);

#endif

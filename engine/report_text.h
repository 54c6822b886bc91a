/* report_text.h - what a run came to, as a table for a terminal, a text file or a Markdown page.
 *
 * One row for the policy before, one for each iteration (the chosen one marked), one for the labeler where there is one of its own; then
 * the relative changes beside the paper's; then examples with the rejected claims marked. */
#ifndef RLAIFV_ENGINE_REPORT_TEXT_H
#define RLAIFV_ENGINE_REPORT_TEXT_H

#include "engine/config.h"
#include "engine/eval/labeler_eval.h"
#include "engine/marks.h"
#include "engine/scenes/truth.h"

typedef enum ReportRole { REPORT_BEFORE, REPORT_ITERATION, REPORT_LABELER } ReportRole;
typedef struct ReportRow {
    ReportRole role;
    int iteration;
    TruthRates scenes;    /* kind EVAL_SCENES */
    LabelerRates labeler; /* kind EVAL_LABELER */
} ReportRow;

typedef struct ReportAnswer {
    char *text;
    Marks rejected;
} ReportAnswer;
typedef struct ReportExample {
    char *image, *question;
    ReportAnswer before, after;
} ReportExample;

typedef struct Report {
    EvalKind kind;
    int prompts, answers; /* evaluated, of each model */
    double temperature;
    ReportRow *rows; /* REPORT_BEFORE first */
    int n, chosen;   /* chosen: the iteration that is the result */
    size_t rows_cap;
    ReportExample *examples;
    int examples_n;
    size_t examples_cap;
} Report;
void report_free(Report *r);

typedef enum ReportStyle {
    REPORT_PLAIN,   /* marks as [brackets] */
    REPORT_COLOUR,  /* marks in red, for terminals */
    REPORT_MARKDOWN /* marks struck through */
} ReportStyle;
/* The same report always gives the same bytes. 0, or -1 when memory is out; whether `to` took it is the caller's to check. */
int report_print(const Report *r, ReportStyle style, FILE *to, Error *e);
/* The tables alone, as HTML. Of a run that has no result yet (chosen 0) the changes are those to the newest iteration. */
int report_print_html(const Report *r, FILE *to, Error *e);

#endif

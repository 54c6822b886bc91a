/* curves.h - metrics.jsonl as small charts in SVG.
 *
 * gnuplot draws them where it is installed (Debian: gnuplot-nox). Where it is not, or fails, they are plain lines between a lowest and a
 * highest number, and the page says so. */
#ifndef RLAIFV_ENGINE_REPORT_CURVES_H
#define RLAIFV_ENGINE_REPORT_CURVES_H

#include "engine/report/run_folder.h"

/* The section's content. 0 or -1. */
int curves_write(const RunFolder *r, FILE *to, Error *e);

typedef struct CurveLine {
    double *x, *y;
    size_t n, x_cap, y_cap;
    int colour; /* of the page's palette, from 0 */
} CurveLine;
enum { CURVE_COLOURS = 8, CURVE_WIDTH = 420, CURVE_HEIGHT = 220 };
/* One chart by gnuplot, malloc'd, to stand in a page; NULL when there is no gnuplot or it failed.
 * `number` makes the chart's names its own; chart 0 holds the shapes of points for all. */
char *curve_by_gnuplot(const CurveLine *lines, int n, int number);
void curve_by_hand(const CurveLine *lines, int n, FILE *to);

#endif

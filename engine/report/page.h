/* page.h - a run as one HTML file that needs no other, and no network. */
#ifndef RLAIFV_ENGINE_REPORT_PAGE_H
#define RLAIFV_ENGINE_REPORT_PAGE_H

#include "base/error.h"

enum { PAGE_EXAMPLES = 24, PAGE_PAIRS = 600, PAGE_PICTURE_BYTES = 12 << 20 };

typedef struct PageOptions {
    const char *out;      /* NULL: RUN/report.html */
    int examples, pairs;  /* shown at most */
    size_t picture_bytes; /* of all pictures, as they stand in the page */
} PageOptions;

/* The same folder gives the same bytes, with the same gnuplot. Nothing else in the folder is touched. 0, or -1 with no file left behind. */
int page_make(const char *folder, const PageOptions *o, Error *e);

#endif

/* html.h - text and JSON on their way into a page. Everything that comes from a run's files goes through here. */
#ifndef RLAIFV_ENGINE_REPORT_HTML_H
#define RLAIFV_ENGINE_REPORT_HTML_H

#include "base/json.h"

/* Escaped so that it is text between tags and within quoted attributes, whatever it holds. Control characters become U+FFFD. */
void html_text(FILE *to, const char *text);
void html_bytes(FILE *to, const char *text, size_t size);
/* A value as the content of <script type="application/json">: plain ASCII, and no '<', so that nothing in it ends the element. 0 or -1. */
int html_json(FILE *to, const json_t *value, Error *e);

/* A table that scrolls by itself where it is wider than the screen; `label` is a constant, and escaped already. */
void html_table_open(FILE *to, const char *label);
void html_table_close(FILE *to);
void html_number(
    FILE *to, double value); /* whole numbers without a point, others with four digits, rounding of sums that are nothing as 0 */

#endif

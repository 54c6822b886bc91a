/* html.c - owns escaping: no byte of a run's files reaches the page by another way. Refuses nothing. */
#include "engine/report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void html_bytes(FILE *to, const char *text, size_t size) {
    for (const char *end = text + size; text < end; text++) switch (*text) {
        case '&':
            fputs("&amp;", to);
            break;
        case '<':
            fputs("&lt;", to);
            break;
        case '>':
            fputs("&gt;", to);
            break;
        case '"':
            fputs("&quot;", to);
            break;
        case '\'':
            fputs("&#39;", to);
            break;
        case '\n':
        case '\t':
            putc(*text, to);
            break;
        default:
            if ((unsigned char)*text < 32 || *text == 127) fputs("&#65533;", to);
            else putc(*text, to);
        }
}

void html_text(FILE *to, const char *text) { html_bytes(to, text, strlen(text)); }

int html_json(FILE *to, const json_t *value, Error *e) {
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6)) : NULL;
    if (!text) return error_what(e, "out of memory"), error_where(e, "report");
    for (const char *p = text; *p; p++) /* outside strings JSON has none of the three */
        if (*p == '<' || *p == '>' || *p == '&') fprintf(to, "\\u%04x", (unsigned)*p);
        else putc(*p, to);
    free(text);
    return 0;
}

void html_table_open(FILE *to, const char *label) {
    fprintf(to, "<div class=\"scroller\" tabindex=\"0\" role=\"region\" aria-label=\"%s\"><table><caption>%s</caption>\n", label, label);
}

void html_table_close(FILE *to) { fputs("</table></div>\n", to); }

void html_number(FILE *to, double value) {
    if (fabs(value) < 1e-12) putc('0', to);
    else if (value == floor(value) && fabs(value) < 1e15) fprintf(to, "%.0f", value);
    else fprintf(to, "%.4g", value);
}

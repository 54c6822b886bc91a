/* error.c - owns the Error record, name suggestions and checked allocation. Prints nothing. */
#include "base/error.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fill(char *field, size_t size, const char *format, va_list args) {
    vsnprintf(field, size, format, args);
    return -1;
}

#define SETTER(NAME, CLEAR)                                                                                                                          \
    int error_##NAME(Error *e, const char *format, ...) {                                                                                            \
        if (!e) return -1;                                                                                                                           \
        if (CLEAR) memset(e, 0, sizeof *e);                                                                                                          \
        va_list args;                                                                                                                                \
        va_start(args, format);                                                                                                                      \
        fill(e->NAME, sizeof e->NAME, format, args);                                                                                                 \
        va_end(args);                                                                                                                                \
        return -1;                                                                                                                                   \
    }
SETTER(what, 1)
SETTER(where, 0)
SETTER(found, 0)
SETTER(expected, 0)
SETTER(hint, 0)

char *error_text(const Error *e, char *out, size_t size) {
    int n = snprintf(out, size, "%s", e->what[0] ? e->what : "failed");
    const struct {
        const char *lead, *text;
    } parts[] = { { ": ", e->where }, { "; found ", e->found }, { "; expected ", e->expected }, { "; ", e->hint } };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].text[0] && n >= 0 && (size_t)n < size) n += snprintf(out + n, size - (size_t)n, "%s%s", parts[i].lead, parts[i].text);
    return out;
}

char *bytes_show(const void *bytes, size_t n, char *out, size_t size) {
    const unsigned char *p = bytes;
    if (n > size - 1) n = size - 1;
    for (size_t i = 0; i < n; i++) out[i] = p[i] >= ' ' && p[i] < 127 ? (char)p[i] : '?';
    out[n] = 0;
    return out;
}

/* Levenshtein distance with adjacent transpositions counted as two edits; words are keys, so 64 characters are plenty. */
static int edit_distance(const char *a, const char *b) {
    enum { LONGEST = 64 };
    int row[LONGEST + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST) return LONGEST;
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int up = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best) best = up + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = up;
            row[j] = best;
        }
    }
    return row[m];
}

const char *nearest_name(const char *word, const char *const *names, size_t n) {
    const char *best = NULL;
    int least = (int)strlen(word) / 3 + 2;
    for (size_t i = 0; i < n; i++) {
        int d = edit_distance(word, names[i]);
        if (d < least) least = d, best = names[i];
    }
    return best;
}

void *mem_new(size_t n, size_t size, const char *what, Error *e) {
    if (size && n > SIZE_MAX / size) {
        error_what(e, "size overflows");
        error_where(e, "%s", what);
        return NULL;
    }
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p) {
        error_what(e, "out of memory");
        error_where(e, "%s", what);
        error_expected(e, "%zu bytes", n * size);
        error_hint(e, "use smaller batches or a machine with more memory");
    }
    return p;
}

int mem_grow(void *array, size_t *cap, size_t need, size_t size, const char *what, Error *e) {
    if (need <= *cap) return 0;
    size_t want = *cap ? *cap : 16;
    while (want < need) {
        if (want > SIZE_MAX / 2 / size) return error_what(e, "size overflows"), error_where(e, "%s", what);
        want *= 2;
    }
    void *old;
    memcpy(&old, array, sizeof old);
    void *p = realloc(old, want * size);
    if (!p) return error_what(e, "out of memory"), error_where(e, "%s", what), error_expected(e, "%zu bytes", want * size);
    memcpy(array, &p, sizeof p);
    *cap = want;
    return 0;
}

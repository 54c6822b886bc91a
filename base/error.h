/* error.h - how every function of rlaifv reports a failure.
 *
 * A function that can fail returns 0 or -1 (or a pointer or NULL) and fills the Error it was given: what went wrong, where (file, line, key,
 * tensor), what was found, what was expected, and what to do. Nobody below main.c prints or exits. The setters return -1, so that a failing
 * path reads as one expression:
 *
 *     return error_what(e, "unknown key"), error_where(e, "%s:%d", path, line), error_hint(e, "did you mean %s?", near);
 *
 * error_what() clears the other fields, so it comes first. Passing NULL for the Error is allowed and records nothing. */
#ifndef RLAIFV_BASE_ERROR_H
#define RLAIFV_BASE_ERROR_H

#include <stddef.h>

typedef struct Error {
    char what[320], where[512], found[320], expected[320], hint[320];
} Error;

int error_what(Error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
int error_where(Error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
int error_found(Error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
int error_expected(Error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
int error_hint(Error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line: "WHAT: WHERE; found FOUND; expected EXPECTED; HINT" with absent parts left out. Returns `out`. */
char *error_text(const Error *e, char *out, size_t size);

/* n bytes of a file as text for a message: what is not printable ASCII becomes '?', what does not fit is left out. Returns `out`. */
char *bytes_show(const void *bytes, size_t n, char *out, size_t size);

/* The nearest of `n` names to `word` by edit distance, or NULL when none is near enough to be a likely slip. */
const char *nearest_name(const char *word, const char *const *names, size_t n);

/* Zeroed memory for n * size bytes; NULL with the Error filled when it overflows or there is none. `what` names the thing for the message. */
void *mem_new(size_t n, size_t size, const char *what, Error *e);

/* Grows *array (of elements of `size` bytes, capacity *cap) to hold at least `need`; doubles. 0 or -1. */
int mem_grow(void *array, size_t *cap, size_t need, size_t size, const char *what, Error *e);

#endif

/* json.c - owns the strict reading of JSON and JSONL and the writing of JSONL, through Jansson.
 *
 * Refuses duplicate keys, text after the value, invalid UTF-8, NUL characters, numbers out of range, tops of another type than asked for, and files
 * or lines above 64 MiB (a file of that size is a mistake in every format this program reads). RFC 8259 and jsonlines.org. */
#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LIMIT = 64 << 20 };

const char *json_kind(const json_t *value) {
    if (!value) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "nothing";
}

/* Parses one value of type `top` out of `size` bytes whose first line is `first_line` of `path`. */
static json_t *parse_top(const char *text, size_t size, size_t flags, json_type top, const char *path, int first_line, Error *e) {
    json_error_t bad;
    json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES | flags, &bad);
    if (!value) {
        error_what(e, "bad JSON");
        error_where(e, "%s:%d", path, first_line + (bad.line > 0 ? bad.line - 1 : 0));
        error_found(e, "%s", bad.text);
        if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) error_hint(e, "remove the byte order mark at the start");
        return NULL;
    }
    if (json_typeof(value) != top) {
        error_what(e, "bad JSON"), error_where(e, "%s:%d", path, first_line), error_found(e, "%s", json_kind(value)),
            error_expected(e, top == JSON_ARRAY ? "an array" : "an object");
        json_decref(value);
        return NULL;
    }
    return value;
}

static int read_top(const char *path, size_t flags, json_type top, json_t **out, Error *e) {
    char *text;
    size_t size;
    if (file_read(path, LIMIT, &text, &size, e)) return -1;
    *out = parse_top(text, size, flags, top, path, 1, e);
    free(text);
    return *out ? 0 : -1;
}

int json_read_object(const char *path, json_t **out, Error *e) { return read_top(path, 0, JSON_OBJECT, out, e); }
int json_read_array(const char *path, json_t **out, Error *e) { return read_top(path, 0, JSON_ARRAY, out, e); }
int json_read_reals(const char *path, json_t **out, Error *e) { return read_top(path, JSON_DECODE_INT_AS_REAL, JSON_OBJECT, out, e); }

int json_text_object(const char *text, const char *name, json_t **out, Error *e) {
    *out = parse_top(text, strlen(text), 0, JSON_OBJECT, name, 1, e);
    return *out ? 0 : -1;
}

/* ---- fields ---- */

static int field_error(const char *what, const char *key, const char *where, const char *found, const char *expected, Error *e) {
    return error_what(e, "%s", what), error_where(e, "%s: field \"%s\"", where, key), error_found(e, "%s", found),
           error_expected(e, "%s", expected);
}

/* The field's value; NULL when absent, or null and optional. */
static const json_t *field(const json_t *object, const char *key, int needed) {
    const json_t *value = json_object_get(object, key);
    return !needed && json_is_null(value) ? NULL : value;
}

static int read_string(const json_t *value, const char *key, const char *where, const char **out, Error *e) {
    if (!value) return field_error("missing field", key, where, "nothing", "a string", e);
    if (!json_is_string(value)) return field_error("wrong type", key, where, json_kind(value), "a string", e);
    *out = json_string_value(value);
    return 0;
}

static int read_integer(const json_t *value, const char *key, const char *where, int64_t least, int64_t most, int64_t *out, Error *e) {
    char range[80], number[32];
    snprintf(range, sizeof range, "an integer from %lld to %lld", (long long)least, (long long)most);
    if (!value) return field_error("missing field", key, where, "nothing", range, e);
    if (!json_is_integer(value)) return field_error("wrong type", key, where, json_kind(value), range, e);
    int64_t n = json_integer_value(value);
    snprintf(number, sizeof number, "%lld", (long long)n);
    if (n < least || n > most) return field_error("out of range", key, where, number, range, e);
    *out = n;
    return 0;
}

static int read_number(const json_t *value, const char *key, const char *where, double *out, Error *e) {
    if (!value) return field_error("missing field", key, where, "nothing", "a number", e);
    if (!json_is_number(value)) return field_error("wrong type", key, where, json_kind(value), "a number", e);
    *out = json_number_value(value);
    return 0;
}

int json_need_string(const json_t *object, const char *key, const char *where, const char **out, Error *e) {
    return read_string(field(object, key, 1), key, where, out, e);
}

int json_need_integer(const json_t *object, const char *key, const char *where, int64_t least, int64_t most, int64_t *out, Error *e) {
    return read_integer(field(object, key, 1), key, where, least, most, out, e);
}

int json_need_number(const json_t *object, const char *key, const char *where, double *out, Error *e) {
    return read_number(field(object, key, 1), key, where, out, e);
}

int json_may_string(const json_t *object, const char *key, const char *where, const char **out, Error *e) {
    const json_t *value = field(object, key, 0);
    return value ? read_string(value, key, where, out, e) : 0;
}

int json_may_integer(const json_t *object, const char *key, const char *where, int64_t least, int64_t most, int64_t *out, Error *e) {
    const json_t *value = field(object, key, 0);
    return value ? read_integer(value, key, where, least, most, out, e) : 0;
}

int json_may_number(const json_t *object, const char *key, const char *where, double *out, Error *e) {
    const json_t *value = field(object, key, 0);
    return value ? read_number(value, key, where, out, e) : 0;
}

int json_may_bool(const json_t *object, const char *key, const char *where, int *out, Error *e) {
    const json_t *value = field(object, key, 0);
    if (!value) return 0;
    if (!json_is_boolean(value)) return field_error("wrong type", key, where, json_kind(value), "true or false", e);
    *out = json_is_true(value);
    return 0;
}

/* ---- lines ---- */

int jsonl_open(JsonLines *r, const char *path, Error *e) {
    memset(r, 0, sizeof *r);
    if (strlen(path) >= sizeof r->path)
        return error_what(e, "path too long"), error_where(e, "%.100s...", path), error_expected(e, "at most %d bytes", PATH_SIZE - 1);
    strcpy(r->path, path);
    snprintf(r->where, sizeof r->where, "%s", path);
    r->stream = fopen(path, "re");
    if (!r->stream)
        return error_what(e, "cannot open file"), error_where(e, "%s", path), error_found(e, "%s", strerror(errno)),
               error_hint(e, "check the path");
    struct stat info;
    if (fstat(fileno(r->stream), &info) == 0 && S_ISDIR(info.st_mode)) {
        jsonl_close(r);
        return error_what(e, "cannot read file"), error_where(e, "%s", path), error_found(e, "a folder"),
               error_expected(e, "a file of JSON lines");
    }
    return 0;
}

/* Reads one line without its end. 1; 0 at the end of the file; -1 for a line over the limit (skipped whole); -2 when reading is over. */
static int line_read(JsonLines *r, size_t *length, int *ended, Error *e) {
    size_t n = 0;
    int c, any = 0, over = 0;
    while ((c = getc_unlocked(r->stream)) != EOF) {
        any = 1;
        if (c == '\n') break;
        if (n == LIMIT) over = 1;
        if (over) continue;
        if (n == r->buffer_size && mem_grow(&r->buffer, &r->buffer_size, n + 1, 1, r->path, e)) return -2;
        r->buffer[n++] = (char)c;
    }
    if (ferror(r->stream))
        return error_what(e, "cannot read file"), error_where(e, "%s:%d", r->path, r->line + 1), error_found(e, "%s", strerror(errno)), -2;
    if (!any) return 0;
    r->line++;
    snprintf(r->where, sizeof r->where, "%s:%d", r->path, r->line);
    *length = n;
    *ended = c == '\n';
    if (over) return error_what(e, "line too long"), error_where(e, "%s", r->where), error_expected(e, "at most %d bytes", LIMIT);
    return 1;
}

int jsonl_next(JsonLines *r, json_t **row, Error *e) {
    for (;;) {
        size_t length = 0, blank = 0;
        int ended = 1, got = line_read(r, &length, &ended, e);
        if (got <= 0) return got;
        while (blank < length && (r->buffer[blank] == ' ' || r->buffer[blank] == '\t' || r->buffer[blank] == '\r')) blank++;
        if (blank == length) continue;
        *row = parse_top(r->buffer, length, 0, JSON_OBJECT, r->path, r->line, e);
        if (*row) return 1;
        if (!ended) error_hint(e, "the file ends within this line: was it cut short?");
        return -1;
    }
}

void jsonl_close(JsonLines *r) {
    if (r->stream) fclose(r->stream);
    free(r->buffer);
    r->stream = NULL, r->buffer = NULL, r->buffer_size = 0;
}

/* The file behind a stream, as the kernel knows it: rows are written by many, who know the stream alone. */
static int write_failed(FILE *stream, Error *e) {
    char link[64], path[PATH_SIZE];
    int reason = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fileno(stream));
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    errno = reason;
    return file_error(e, "cannot write a JSON row", path);
}

int jsonl_write(FILE *stream, json_t *row, Error *e) {
    /* Jansson makes no value from NaN, infinity or text that is not UTF-8, so a row with one of them arrives as NULL. */
    if (!row)
        return error_what(e, "cannot make a JSON row"), error_found(e, "a number that is not finite, text that is not UTF-8, or no memory"),
               error_expected(e, "finite numbers and UTF-8");
    int failed = json_dumpf(row, stream, JSON_COMPACT | JSON_REAL_PRECISION(17)) || putc('\n', stream) == EOF;
    if (failed) write_failed(stream, e);
    json_decref(row);
    return failed ? -1 : 0;
}

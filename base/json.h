/* json.h - strict JSON through Jansson, with places in the messages.
 *
 * Duplicate keys, trailing text and invalid UTF-8 are refused. A Json cursor knows the file and line it came from, so that a wrong field is
 * reported as "pairs.jsonl:17: field "chosen"; found a number; expected a string". */
#ifndef RLAIFV_BASE_JSON_H
#define RLAIFV_BASE_JSON_H

#include "base/error.h"
#include "base/file.h"

#include <jansson.h>

/* A whole JSON file of at most 64 MiB whose top is an object. Release with json_decref. 0 or -1. */
int json_read_object(const char *path, json_t **out, Error *e);
/* The same for a file whose top is an array. */
int json_read_array(const char *path, json_t **out, Error *e);
/* An object out of text that is no file; `name` stands for its path in messages. */
int json_text_object(const char *text, const char *name, json_t **out, Error *e);
/* An object's file with whole numbers as reals, for files that hold some beyond 64 bits (tokenizer_config.json's model_max_length). */
int json_read_reals(const char *path, json_t **out, Error *e);

/* Typed reads of fields. `where` is "file" or "file:line". The required forms fail when the field is absent or of another type; the
 * optional forms leave *out as it was when the field is absent or null, and fail on another type. Strings borrow from the object. */
int json_need_string(const json_t *object, const char *key, const char *where, const char **out, Error *e);
int json_need_integer(const json_t *object, const char *key, const char *where, int64_t least, int64_t most, int64_t *out, Error *e);
int json_need_number(const json_t *object, const char *key, const char *where, double *out, Error *e);
int json_may_string(const json_t *object, const char *key, const char *where, const char **out, Error *e);
int json_may_integer(const json_t *object, const char *key, const char *where, int64_t least, int64_t most, int64_t *out, Error *e);
int json_may_number(const json_t *object, const char *key, const char *where, double *out, Error *e);
int json_may_bool(const json_t *object, const char *key, const char *where, int *out, Error *e);
const char *json_kind(const json_t *value); /* "a string", "a number", ... for messages */

/* Rows of a JSONL file, one object a line, at most 64 MiB a line; blank lines are skipped. */
typedef struct JsonLines {
    FILE *stream;
    char *buffer, path[PATH_SIZE], where[PATH_SIZE + 16]; /* where = "path:line" of the current row */
    size_t buffer_size;
    int line;
} JsonLines;
int jsonl_open(JsonLines *r, const char *path, Error *e);
/* 1 and a new reference in *row; 0 at the end; -1 for a bad line (the Error says which), after which reading may go on with the next line;
 * -2 when the stream itself failed and reading is over. */
int jsonl_next(JsonLines *r, json_t **row, Error *e);
void jsonl_close(JsonLines *r);

/* Writes one object as a line (compact, keys in insertion order, floats with 17 digits unless given otherwise) and steals its reference. */
int jsonl_write(FILE *stream, json_t *row, Error *e);

#endif

/* transcript.h - what a judge was asked and what it said, one JSON row for each try, so that nothing is asked twice.
 *
 * A row has `key` (a hash of the judge and of the whole request, text_judge.h) and, of a try that went well, `reply`. Rows are flushed as
 * they are written: a kill costs the request that was under way. A last line without its end is what a kill left, and is cut off. */
#ifndef RLAIFV_ENGINE_EVAL_TRANSCRIPT_H
#define RLAIFV_ENGINE_EVAL_TRANSCRIPT_H

#include "base/json.h"

typedef struct Transcript {
    char path[PATH_SIZE];
    FILE *stream;    /* NULL: nothing is added */
    json_t *replies; /* key -> the row that has its reply */
} Transcript;

/* Takes over what the file has; `adds`: it is made where there is none, and rows can be added, by nobody else meanwhile. Refuses rows that are none of a transcript,
 * and two different replies to one request. */
int transcript_open(Transcript *t, const char *path, int adds, Error *e);
/* The row with the reply to a request, borrowed, or NULL. */
const json_t *transcript_find(const Transcript *t, const char *key);
/* Appends a row and steals it; it is in the file when this returns. */
int transcript_add(Transcript *t, json_t *row, Error *e);
void transcript_close(Transcript *t);

#endif

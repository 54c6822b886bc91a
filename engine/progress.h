/* progress.h - how far a long job is, for people: a bar with rate and time left on a terminal, plain lines every few seconds elsewhere.
 *
 * A Progress writes to the stream it is given (commands give stderr) or, with a NULL stream, nowhere. It never fails. A NULL Progress is
 * allowed everywhere and does nothing. */
#ifndef RLAIFV_ENGINE_PROGRESS_H
#define RLAIFV_ENGINE_PROGRESS_H

#include <stdint.h>
#include <stdio.h>

typedef struct Progress {
    FILE *to;
    int tty, columns;
    char label[64], unit[24], note[160];
    int64_t done, total;   /* total 0: not known */
    int64_t resumed;       /* done before this start: not counted in the rate */
    double started, drawn; /* seconds of a monotonic clock; drawn 0: nothing shown yet */
    int open, on_screen;
} Progress;

/* Prepares a Progress for a stream; jobs follow one another on it. */
void progress_init(Progress *p, FILE *to);
/* "sample [iteration 2]" of `total` "prompts". A job still open is ended first. */
void progress_begin(Progress *p, const char *label, const char *unit, int64_t total, int64_t already_done);
void progress_add(Progress *p, int64_t n);
/* Text shown after the numbers: the last metrics. */
void progress_note(Progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line of talk, above the bar; also between jobs. */
void progress_say(Progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ends the job with its last line: count, time, rate. */
void progress_end(Progress *p);
double progress_seconds(void); /* the monotonic clock */

#endif

/* prefetch.h - files that will be asked for, loaded by threads ahead of the asking.
 *
 * The caller appends the names of files in the order in which it will ask for them, and asks. Between, threads load the next ones, up to a
 * number of results held at a time. Nothing depends on it but time: what is not loaded ahead, or failed to load, is for the caller to load,
 * and so is the error. All functions are called from one thread; `load` and `drop` run in any. */
#ifndef RLAIFV_ENGINE_PREFETCH_H
#define RLAIFV_ENGINE_PREFETCH_H

#include "base/error.h"

typedef struct Prefetch Prefetch;

typedef struct PrefetchWork {
    const void *context;
    void *(*load)(const void *context, const char *path);   /* NULL when it cannot be loaded */
    void (*drop)(void *result);                             /* frees what load returned */
    int (*needless)(const void *context, const char *path); /* asked from the caller's thread before a file's turn to load */
} PrefetchWork;

/* At most `held` results exist at a time, those being made included. Threads start with the first file. */
Prefetch *prefetch_new(const PrefetchWork *work, int held, int threads, Error *e);
void prefetch_free(Prefetch *p); /* waits for loads that have begun; NULL is fine */
/* Appends a file. One that follows itself counts once. Without memory it is merely not loaded ahead. */
void prefetch_add(Prefetch *p, const char *path);
/* The result for `path`, which the caller then owns, waited for when it is being made; NULL when the caller is to load it. Files appended
 * before it were passed over and are forgotten. */
void *prefetch_take(Prefetch *p, const char *path);
/* Forgets all files to come. */
void prefetch_clear(Prefetch *p);

#endif

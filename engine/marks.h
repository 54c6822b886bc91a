/* marks.h - where in an answer's text the rejected claims stand, for showing them to people. */
#ifndef RLAIFV_ENGINE_MARKS_H
#define RLAIFV_ENGINE_MARKS_H

#include "engine/claims.h"
#include "engine/config.h"

typedef struct Mark {
    size_t at, size; /* bytes of the text */
} Mark;

typedef struct Marks {
    Mark *list; /* in order, not overlapping */
    size_t n, cap;
} Marks;

/* probes: those of the answer's row in labels.jsonl, made by the same grammar. In the built-in world the word that states a rejected fact
 * is marked, and whole sentences that were rejected unasked; elsewhere the sentence. Refuses probes that are not of this text. 0 or -1. */
int marks_find(ClaimGrammar grammar, const char *text, const json_t *probes, Marks *out, Error *e);
/* The same where claims are a model's, who does not say where it found them: for each rejected question the sentence that shares most of its words,
 * at least half; none where none does. */
int marks_by_words(const char *text, const json_t *probes, Marks *out, Error *e);
/* Those of a run's answer: by whole answers (label.mode = holistic) none, since nothing in it was judged by itself. */
int marks_of_run(const RunConfig *c, const char *text, const json_t *probes, Marks *out, Error *e);
void marks_free(Marks *m);

/* The text with every mark between `open` and `close`, malloc'd; NULL when memory is out. */
char *marks_apply(const char *text, const Marks *m, const char *open, const char *close, Error *e);

#endif

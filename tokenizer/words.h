/* words.h - inside the tokenizer's room: the ids of words that were met before.
 *
 * A bounded table, one slot for each hash, the newest word wins; longer words than WORD_BYTES, or of more ids than WORD_IDS, are not kept.
 * Any number of threads may read and write it: a slot that is being written reads as absent. What a word's ids are depends on nothing but
 * the word, so neither the order of texts nor of threads shows in the results. */
#ifndef RLAIFV_TOKENIZER_WORDS_H
#define RLAIFV_TOKENIZER_WORDS_H

#include "base/error.h"

enum { WORD_BYTES = 23, WORD_IDS = 8 };

typedef struct WordCache WordCache;
WordCache *word_cache_new(Error *e);
void word_cache_free(WordCache *c);
/* The number of ids of the word, now in `ids`; 0 when it is not there. */
int word_cache_find(WordCache *c, const char *word, size_t size, int ids[WORD_IDS]);
void word_cache_keep(WordCache *c, const char *word, size_t size, const int *ids, size_t count);

#endif

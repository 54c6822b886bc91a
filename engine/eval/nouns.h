/* nouns.h - words of an English text, and the singular of a noun.
 *
 * The official programs use nltk: its tokenizer, WordNet's lemmas, and for AMBER its tagger. Here is the tokenizer by the rules of
 * docs/evaluations.md, the same lemmas where WordNet's files are given, else WordNet's rules over the words a benchmark knows, and, in
 * place of a tagger, a list of words that are often verbs with what stands before those. */
#ifndef RLAIFV_ENGINE_EVAL_NOUNS_H
#define RLAIFV_ENGINE_EVAL_NOUNS_H

#include "base/error.h"

#include <jansson.h>

/* Words and marks of punctuation, each a text of its own; a mark stands between words, so that no pair of words reaches over it. */
typedef struct Tokens {
    const char **words;
    size_t n, cap;
    char *text;
    size_t text_cap;
} Tokens;
/* Replaces what t held. `lower`: ASCII letters made small. 0, or -1 when memory is out. */
int tokens_split(Tokens *t, const char *text, int lower, Error *e);
void tokens_free(Tokens *t);

enum { WORD_SIZE = 100 }; /* longer words are no nouns of a benchmark */

/* What is known of nouns. */
typedef struct Lemmas {
    int wordnet;                /* 1: WordNet's own list of nouns and exceptions */
    json_t *nouns, *exceptions; /* noun -> true; plural -> [singular, ...] */
} Lemmas;
/* `wordnet`: a folder with WordNet's noun.exc and index.noun, or NULL: the built-in exceptions, and nouns as lemmas_know adds them. */
int lemmas_open(Lemmas *l, const char *wordnet, Error *e);
int lemmas_know(Lemmas *l, const char *noun, Error *e); /* changes nothing where WordNet is known; "a b" adds both words */
void lemmas_free(Lemmas *l);
/* The shortest noun among the word itself and its singulars, or the word where none is known. May return `word` or `out`. */
const char *lemma_of(const Lemmas *l, const char *word, char out[WORD_SIZE]);

/* Whether the word at place i, whose lemma is given, can be a noun there (docs/evaluations.md: words that are often verbs). */
int noun_here(const Tokens *t, size_t i, const char *lemma);

#endif

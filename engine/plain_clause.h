/* plain_clause.h - what the files of plain English share: a clause as words, classes of words, splitting and questions. */
#ifndef RLAIFV_ENGINE_PLAIN_CLAUSE_H
#define RLAIFV_ENGINE_PLAIN_CLAUSE_H

#include <stddef.h>

enum {
    CLAUSE_WORDS = 80,      /* a longer sentence is left whole */
    CLAUSE_TEXT = 1200,     /* bytes of a clause written out: PLAIN_BYTES_MOST and some words */
    CLAUSE_PIECES = 12,     /* of one step of splitting */
    SUBJECT_WORDS_MOST = 10 /* a verb further on belongs to a clause, not to the subject */
};

typedef struct Word {
    const char *text;
    int size;
    char mark; /* ',' ';' ':' after it, or 0 */
} Word;

typedef struct Clause {
    Word words[CLAUSE_WORDS];
    int n;
    int front; /* words of an opening like "In the background," that the subject follows */
} Clause;

/* ---- plain_words.c: classes of words ---- */
typedef enum WordClass {
    WORDS_SMALL,      /* lose their capital inside a sentence; any other capital may be a name's */
    WORDS_DETERMINER, /* begin a noun phrase */
    WORDS_POSSESSIVE,
    WORDS_PRONOUN, /* of subjects */
    WORDS_PREPOSITION,
    WORDS_COPULA, /* is, are, was, were */
    WORDS_HAVE,   /* has, have, had */
    WORDS_MODAL,
    WORDS_RELATIVE,
    WORDS_FINITE,     /* verbs that end a subject in descriptions */
    WORDS_TRANSITIVE, /* participles whose objects can be told one by one */
    WORDS_ING_NOUN,   /* end in -ing and are no participles */
    WORDS_ADJECTIVE,
    WORDS_COLOUR,
    WORDS_COLLECTIVE,  /* a predicate with one of these holds of the group, not of each */
    WORDS_KEEP_WHOLE,  /* a clause with one of these is not split */
    WORDS_PLURAL,      /* determiners of many */
    WORDS_SINGULAR,    /* determiners of one */
    WORDS_PLURAL_NOUN, /* without an s */
    WORDS_MALE,
    WORDS_FEMALE,
    WORDS_PERSON,
    WORDS_CONNECTOR, /* "Additionally," says nothing of the picture */
    WORDS_CLASSES
} WordClass;
int word_in(const Word *w, WordClass class);
int word_is(const Word *w, const char *text);
int word_ends(const Word *w, const char *ending);
int word_participle(const Word *w); /* by its -ing */
/* "shows" -> "show" of the verbs that take do-support, else NULL. noun_like: it may be a noun unless a determiner follows. */
const char *verb_base(const Word *w, int *noun_like);

/* ---- clauses ---- */
/* Words of a text; 0 when there are too many. */
int clause_read(const char *text, size_t size, Clause *out);
/* "The dog is big", into out (CLAUSE_TEXT bytes). Returns its size. */
size_t clause_write(const Clause *c, char *out);
/* 1 one, 2 many, 0 cannot be told: of the noun phrase words[from .. to). */
int phrase_number(const Clause *c, int from, int to);
/* Index of the verb (a copula, have, or a modal) of a clause whose subject begins at `from`, or -1. */
int clause_verb(const Clause *c, int from);
/* Index of a verb with do-support ("shows"), or -1. */
int clause_do_verb(const Clause *c, int from);

/* ---- plain_split.c ---- */
/* Cuts a clause into two or more that follow from it and are together what it says. How many, 0 when it stays whole. */
int clause_split(const Clause *c, Clause out[CLAUSE_PIECES]);

/* ---- plain_question.c ---- */
/* The yes/no question of a clause, into out (CLAUSE_TEXT + 32 bytes). text: the sentence as it stands, for the general form. */
void clause_question(const Clause *c, const char *text, size_t size, char *out);
/* The general form alone, for sentences that are no Clause. */
void text_question(const char *text, size_t size, char *out);

#endif

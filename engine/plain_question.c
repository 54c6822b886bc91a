/* plain_question.c - owns how a statement of plain English becomes a yes/no question. */
#include "engine/plain_clause.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static char *put(char *to, const char *text, size_t size) {
    memcpy(to, text, size);
    return to + size;
}

/* Words [from, to) after a blank; `lower`: the first one stood at the beginning of a sentence. */
static char *put_words(char *to, const Clause *c, int from, int to_word, int lower) {
    for (int i = from; i < to_word; i++) {
        const Word *w = &c->words[i];
        *to++ = ' ';
        char *at = to;
        to = put(to, w->text, (size_t)w->size);
        if (i == from && lower && word_in(w, WORDS_SMALL)) *at = (char)tolower((unsigned char)*at);
        if (w->mark && i + 1 < c->n) *to++ = w->mark;
    }
    return to;
}

void text_question(const char *text, size_t size, char *out) {
    static const char opening[] = "Is it true that ";
    out = put(out, opening, sizeof opening - 1);
    char *subject = out;
    Word first = { text, 0, 0 };
    while ((size_t)first.size < size && text[first.size] != ' ' && text[first.size] != '\t') first.size++;
    out = put(out, text, size);
    if (word_in(&first, WORDS_SMALL)) *subject = (char)tolower((unsigned char)*subject);
    *out++ = '?', *out = 0;
}

/* "been", "placed a cup": what follows an auxiliary have. "curved handles" may follow either. */
static int perfect(const Clause *c, int at) {
    const Word *w = &c->words[at], *next = at + 1 < c->n ? w + 1 : NULL;
    if (word_is(w, "been") || word_is(w, "gone") || word_is(w, "fallen")) return 1;
    return word_ends(w, "ed") && !word_in(w, WORDS_COLOUR) && !word_in(w, WORDS_ADJECTIVE) &&
           (!next || word_in(next, WORDS_DETERMINER) || word_in(next, WORDS_PREPOSITION));
}

/* "a tail", "two legs", "long hair": what a main verb have has. */
static int possessed(const Word *w) {
    return word_in(w, WORDS_DETERMINER) || word_in(w, WORDS_ADJECTIVE) || word_in(w, WORDS_COLOUR) || word_is(w, "no");
}

/* VERB SUBJECT BASE REST?, the opening before it. */
static void question_put(const Clause *c, const Word *verb, int at, const char *base, char *out) {
    char *start = out;
    if (c->front) out = put_words(out, c, 0, c->front, 0);
    *out++ = ' ';
    char *first = out;
    for (int i = 0; i < verb->size; i++) *out++ = (char)tolower((unsigned char)verb->text[i]);
    if (!c->front) *first = (char)toupper((unsigned char)*first);
    out = put_words(out, c, c->front, at, 1);
    if (base) *out++ = ' ', out = put(out, base, strlen(base));
    out = put_words(out, c, at + 1, c->n, 0);
    *out++ = '?', *out = 0;
    memmove(start, start + 1, strlen(start + 1) + 1); /* the blank before the first word */
    *start = (char)toupper((unsigned char)*start);
}

/* Whether another clause follows the verb, which an inversion of the first does not reach. */
static int goes_on(const Clause *c, int verb) {
    for (int i = verb + 1; i < c->n; i++) {
        const Word *w = &c->words[i];
        if (word_in(w, WORDS_RELATIVE) || word_is(w, "that")) return 0;
        if (word_in(w, WORDS_COPULA) || word_in(w, WORDS_MODAL) || word_is(w, "has") || word_is(w, "have")) return 1;
        if ((word_is(w, "and") || word_is(w, "but")) && i + 1 < c->n && word_in(w + 1, WORDS_FINITE)) return 1;
    }
    return 0;
}

void clause_question(const Clause *c, const char *text, size_t size, char *out) {
    int at = clause_verb(c, c->front), noun_like;
    if (at >= 0 && at + 1 < c->n && !goes_on(c, at)) {
        const Word *verb = &c->words[at], *next = verb + 1;
        if (!word_in(verb, WORDS_HAVE)) return question_put(c, verb, at, NULL, out);
        if (perfect(c, at + 1)) return question_put(c, verb, at, NULL, out);
        if (possessed(next)) {
            const char *helper = word_is(verb, "has") ? "does" : word_is(verb, "have") ? "do" : "did";
            return question_put(c, &(Word){ helper, (int)strlen(helper), 0 }, at, "have", out);
        }
    } else if (at < 0 && (at = clause_do_verb(c, c->front)) >= 0 && !goes_on(c, at))
        return question_put(c, &(Word){ "does", 4, 0 }, at, verb_base(&c->words[at], &noun_like), out);
    text_question(text, size, out);
}

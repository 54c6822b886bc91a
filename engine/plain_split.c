/* plain_split.c - owns how a clause of plain English is taken apart (plain.h).
 *
 * Every rule looks for one shape and makes clauses that follow from it; what fits no shape stays whole. A phrase after a preposition or a
 * participle may belong to the item before it alone, so lists are cut there only where the items are built alike. */
#include "engine/plain_clause.h"

#include <string.h>

typedef struct Span {
    int from, to;
} Span;

enum { ITEMS_MOST = CLAUSE_PIECES };

static int keeps_whole(const Clause *c) {
    for (int i = 0; i < c->n; i++) {
        const Word *w = &c->words[i];
        if (word_in(w, WORDS_KEEP_WHOLE) || (i > c->front && word_is(w, "that")) || memchr(w->text, '"', (size_t)w->size) ||
            memchr(w->text, '(', (size_t)w->size) || w->mark == ':')
            return 1;
    }
    return 0;
}

/* ---- pieces ---- */

static int put_word(Clause *c, const Word *w) {
    if (c->n >= CLAUSE_WORDS) return 0;
    c->words[c->n++] = *w;
    return 1;
}

/* Appends words [from, to), the last one's mark left out. */
static void put_span(Clause *to, const Clause *c, int from, int end) {
    for (int i = from; i < end; i++)
        if (!put_word(to, &c->words[i])) return;
    if (to->n > 0 && end > from) to->words[to->n - 1].mark = 0;
}

static void put_text(Clause *to, const char *text) { put_word(to, &(Word){ text, (int)strlen(text), 0 }); }

/* A piece that begins with the opening of `c`. */
static void piece_begin(Clause *piece, const Clause *c) {
    piece->n = 0;
    piece->front = c->front;
    for (int i = 0; i < c->front; i++) put_word(piece, &c->words[i]);
}

static const char *verb_for(const Word *plural, int number) {
    static const char *const forms[][2] = { { "is", "are" }, { "was", "were" }, { "has", "have" } };
    for (int i = 0; i < 3; i++)
        if (word_is(plural, forms[i][0]) || word_is(plural, forms[i][1])) return forms[i][number == 2];
    return NULL;
}

/* ---- lists ---- */

/* Cuts words [from, to) at ", a", "and a" into items that each begin with a determiner. How many, 0 when it is no such list. */
static int items_cut(const Clause *c, int from, int to, Span items[ITEMS_MOST]) {
    int n = 0, start = from, joined = 0;
    if (from >= to || !word_in(&c->words[from], WORDS_DETERMINER)) return 0;
    for (int i = from; i < to; i++) {
        const Word *w = &c->words[i];
        if (word_in(w, WORDS_COPULA) || word_in(w, WORDS_HAVE) || word_in(w, WORDS_MODAL) || word_in(w, WORDS_FINITE))
            return 0; /* a clause */
        int next = 0;
        if (c->words[i].mark && i + 1 < to) {
            if (c->words[i].mark != ',') return 0;
            next = i + 1;
            joined = word_is(&c->words[next], "and");
            if (joined) next++;
            if (next >= to || !word_in(&c->words[next], WORDS_DETERMINER)) return 0;
        } else if (i > start && word_is(&c->words[i], "and") && i + 1 < to && word_in(&c->words[i + 1], WORDS_DETERMINER)) {
            next = i + 1;
            joined = 1;
        }
        if (!next) continue;
        int end = c->words[i].mark ? i + 1 : i;
        if (end - start < 2 || n + 2 > ITEMS_MOST) return 0;
        items[n++] = (Span){ start, end };
        start = i = next; /* the word after a determiner cannot begin an item */
    }
    if (n == 0 || !joined || to - start < 2) return 0;
    items[n++] = (Span){ start, to };
    for (int k = 0; k < n; k++) {
        const Word *last = &c->words[items[k].to - 1];
        if (k > 0 && word_in(&c->words[items[k].from], WORDS_POSSESSIVE)) return 0; /* "a man and his dog" */
        if (word_in(last, WORDS_COLOUR) || (word_in(last, WORDS_ADJECTIVE) && items[k].to - items[k].from == 2))
            return 0; /* "a red and a blue car" */
    }
    return n;
}

/* Whether an item has something that may reach over the next one: a preposition or a participle. "of fruit" does not; "of a cat" does. */
static int reaches(const Clause *c, Span item) {
    for (int i = item.from + 1; i < item.to; i++) {
        const Word *w = &c->words[i];
        if (word_is(w, "of") && i + 1 < item.to && !word_in(w + 1, WORDS_DETERMINER)) continue;
        if (word_in(w, WORDS_PREPOSITION) || word_participle(w)) return 1;
    }
    return 0;
}

/* "a picture of a dog and a cat" */
static int holds_of(const Clause *c, Span item) {
    for (int i = item.from; i + 1 < item.to; i++)
        if (word_is(&c->words[i], "of") && word_in(&c->words[i + 1], WORDS_DETERMINER)) return 1;
    return 0;
}

/* No item reaches over the next, unless all after the first that reaches are built like it. */
static int items_apart(const Clause *c, const Span *items, int n) {
    for (int k = 0; k < n; k++) {
        if (holds_of(c, items[k])) return 0;
        if (k + 1 < n && reaches(c, items[k]) && !reaches(c, items[k + 1])) return 0;
    }
    return 1;
}

static int any_preposition(const Clause *c, int from) {
    for (int i = from; i < c->n; i++)
        if (word_in(&c->words[i], WORDS_PREPOSITION) && !word_is(&c->words[i], "of")) return 1;
    return 0;
}

/* ---- the shapes ---- */

/* "There are a table, two chairs and a lamp." */
static int split_there(const Clause *c, Clause *out) {
    Span items[ITEMS_MOST];
    int at = c->front;
    if (at + 2 >= c->n || !word_is(&c->words[at], "there") || !word_in(&c->words[at + 1], WORDS_COPULA)) return 0;
    int n = items_cut(c, at + 2, c->n, items);
    if (n == 0 || !items_apart(c, items, n) || (c->front && any_preposition(c, at))) return 0;
    for (int k = 0; k < n; k++) {
        int number = phrase_number(c, items[k].from, items[k].to);
        if (!number) return 0;
        piece_begin(&out[k], c);
        put_span(&out[k], c, at, at + 1);
        put_text(&out[k], verb_for(&c->words[at + 1], number));
        put_span(&out[k], c, items[k].from, items[k].to);
    }
    return n;
}

/* What can be said of each of several: a place, a state, an action; after have a thing. */
static int distributes(const Clause *c, int verb) {
    const Word *first = &c->words[verb + 1];
    for (int i = verb + 1; i < c->n; i++)
        if (word_in(&c->words[i], WORDS_COLLECTIVE)) return 0;
    if (word_in(&c->words[verb], WORDS_HAVE)) return word_in(first, WORDS_SINGULAR) || word_is(first, "the") || word_is(first, "been");
    return word_in(first, WORDS_PREPOSITION) || word_participle(first) || word_in(first, WORDS_ADJECTIVE) || word_in(first, WORDS_COLOUR) ||
           word_is(first, "made") || word_is(first, "seen") || word_is(first, "shown") ||
           (word_ends(first, "ed") && !word_is(first, "bed"));
}

/* "A dog and a cat are sitting on the sofa." */
static int split_subjects(const Clause *c, Clause *out) {
    Span items[ITEMS_MOST];
    int verb = c->front;
    while (verb < c->n && !word_is(&c->words[verb], "are") && !word_is(&c->words[verb], "were") && !word_is(&c->words[verb], "have")) {
        if (word_in(&c->words[verb], WORDS_FINITE) || word_in(&c->words[verb], WORDS_COPULA) || word_in(&c->words[verb], WORDS_MODAL))
            return 0;
        verb++;
    }
    if (verb + 1 >= c->n || c->words[verb].mark) return 0;
    int n = items_cut(c, c->front, verb, items), number[ITEMS_MOST];
    if (n == 0 || !distributes(c, verb)) return 0;
    for (int k = 0; k < n; k++)
        if (holds_of(c, items[k]) || !(number[k] = phrase_number(c, items[k].from, items[k].to))) return 0;
    /* the verb is plural, so two things of which the first is one are both its subjects, whatever the first has with it */
    if (!(n == 2 && number[0] == 1) && !items_apart(c, items, n)) return 0;
    for (int k = 0; k < n; k++) {
        piece_begin(&out[k], c);
        put_span(&out[k], c, items[k].from, items[k].to);
        put_text(&out[k], verb_for(&c->words[verb], number[k]));
        put_span(&out[k], c, verb + 1, c->n);
    }
    return n;
}

static int has_and(const Clause *c, int from, int to) {
    for (int i = from; i < to; i++)
        if (word_is(&c->words[i], "and")) return 1;
    return 0;
}

/* Subject and verb, then words [from, to). */
static void piece_predicate(Clause *piece, const Clause *c, int verb, int from, int to) {
    piece_begin(piece, c);
    put_span(piece, c, c->front, verb + 1);
    put_span(piece, c, from, to);
}

/* "big and brown", both known, not two colours: "black and white" is one. */
static int split_adjectives(const Clause *c, int verb, Clause *out) {
    if (c->n != verb + 4 || !word_is(&c->words[verb + 2], "and")) return 0;
    const Word *a = &c->words[verb + 1], *b = &c->words[verb + 3];
    int colour[2] = { word_in(a, WORDS_COLOUR), word_in(b, WORDS_COLOUR) };
    if ((colour[0] && colour[1]) || !(colour[0] || word_in(a, WORDS_ADJECTIVE)) || !(colour[1] || word_in(b, WORDS_ADJECTIVE))) return 0;
    piece_predicate(&out[0], c, verb, verb + 1, verb + 2);
    piece_predicate(&out[1], c, verb, verb + 3, c->n);
    return 2;
}

/* A participle that goes on with the subject: not the noun of "living room". */
static int goes_on(const Clause *c, int at) {
    static const char *const nouns[] = { "room", "table", "pool", "lot", "area", "board", "machine", "bag", "suit", "glasses", "gear",
        "equipment" };
    if (at < c->n && word_ends(&c->words[at], "ly")) at++;
    if (at >= c->n || !word_participle(&c->words[at])) return 0;
    if (word_is(&c->words[at], "wearing") || word_is(&c->words[at], "holding") || word_is(&c->words[at], "carrying")) return 1;
    for (size_t i = 0; at + 1 < c->n && i < sizeof nouns / sizeof *nouns; i++)
        if (word_is(&c->words[at + 1], nouns[i])) return 0;
    return 1;
}

/* Whether a verb goes on with the subject of another: "is", "has" after "was". */
static int agrees(const Word *verb, const Word *other) {
    static const char *const verbs[] = { "is", "was", "has", "are", "were", "have" };
    int kind[2] = { -1, -1 };
    for (int i = 0; i < 6; i++) {
        if (word_is(verb, verbs[i])) kind[0] = i / 3;
        if (word_is(other, verbs[i])) kind[1] = i / 3;
    }
    return kind[0] >= 0 && kind[0] == kind[1];
}

/* "The man is wearing a hat, holding a cup and smiling.", "The woman has long hair and is holding a cup." */
static int split_predicates(const Clause *c, Clause *out) {
    int verb = clause_verb(c, c->front), start = verb + 1, n = 0, joined = 0;
    if (verb < 0 || start >= c->n || word_in(&c->words[verb], WORDS_MODAL) || has_and(c, c->front, verb)) return 0;
    if (word_is(&c->words[c->front], "there")) return 0;
    int own = verb; /* the verb of the piece at hand, which ends before `start` */
    int is = word_in(&c->words[verb], WORDS_COPULA);
    if (is && (n = split_adjectives(c, verb, out))) return n;
    int acts = is && goes_on(c, start), inner = 0; /* inner: another participle whose doer "and" may go on with */
    for (int i = start; i < c->n; i++) {
        const Word *w = &c->words[i];
        int next = 0, and_here = word_is(w, "and") && i > start;
        if (w->mark && w->mark != ',') return 0;
        if (w->mark && i + 1 < c->n) next = i + 1 + word_is(w + 1, "and"), and_here = next == i + 2;
        else if (and_here) next = i + 1;
        int verb_next = next && next + 1 < c->n && agrees(&c->words[verb], &c->words[next]);
        if (!next || (!verb_next && (!acts || inner || !goes_on(c, next)))) {
            if (w->mark && i + 1 < c->n) return 0; /* a comma of another kind */
            if (i > start && word_participle(w) && !(i == start + 1 && word_ends(w - 1, "ly"))) inner = 1;
            continue;
        }
        int end = w->mark ? i + 1 : i;
        if (n + 2 > CLAUSE_PIECES) return 0;
        piece_begin(&out[n], c);
        put_span(&out[n], c, c->front, verb);
        put_word(&out[n], &c->words[own]);
        put_span(&out[n++], c, start, end);
        joined |= and_here;
        if (verb_next) own = next;
        start = next + verb_next;
        i = start - 1;
        acts = word_in(&c->words[own], WORDS_COPULA) && goes_on(c, start), inner = 0;
    }
    if (n == 0 || !joined) return 0;
    piece_begin(&out[n], c);
    put_span(&out[n], c, c->front, verb);
    put_word(&out[n], &c->words[own]);
    put_span(&out[n++], c, start, c->n);
    return n;
}

/* "The man is holding a cup and a book.", "The room has a bed and a desk.", "The image shows a man and a dog." */
static int split_objects(const Clause *c, Clause *out) {
    Span items[ITEMS_MOST];
    int verb = clause_verb(c, c->front);
    if (verb < 0) verb = clause_do_verb(c, c->front);
    if (verb < 0 || has_and(c, c->front, verb) || word_in(&c->words[verb], WORDS_MODAL)) return 0;
    if (word_in(&c->words[verb], WORDS_COPULA)) {
        if (verb + 2 >= c->n || !word_in(&c->words[verb + 1], WORDS_TRANSITIVE)) return 0;
        verb++;
    }
    int n = items_cut(c, verb + 1, c->n, items);
    if (n == 0 || !items_apart(c, items, n)) return 0;
    for (int k = 0; k < n; k++) piece_predicate(&out[k], c, verb, items[k].from, items[k].to);
    return n;
}

/* A clause that can stand alone. */
static int stands(const Clause *c, int from, int to) {
    Clause part = { .n = 0 };
    for (int i = from; i < to; i++) {
        const Word *w = &c->words[i];
        int points =
            word_is(w, "it") || word_is(w, "him") || word_is(w, "them") || word_is(w, "he") || word_is(w, "she") || word_is(w, "they");
        if (points || word_in(w, WORDS_POSSESSIVE)) return 0; /* back at the other clause */
        put_word(&part, w);
    }
    int verb = clause_verb(&part, 0);
    if (verb < 0) verb = clause_do_verb(&part, 0);
    return verb > 0 && verb + 1 < part.n && !has_and(&part, 0, verb);
}

/* "The sky is blue and the grass is green." */
static int split_clauses(const Clause *c, Clause *out) {
    int first_verb = clause_verb(c, c->front);
    if (first_verb < 0) first_verb = clause_do_verb(c, c->front);
    if (first_verb < 0) return 0;
    for (int k = first_verb + 2; k + 3 < c->n; k++) {
        const Word *w = &c->words[k];
        int from = 0, end = k;
        if (word_is(w, "and") || word_is(w, "while") || (w[-1].mark == ',' && word_is(w, "but"))) from = k + 1;
        else if (w[-1].mark == ';' || w[-1].mark == ',') from = k;
        if (!from || !stands(c, from, c->n)) continue;
        piece_begin(&out[0], c); /* the opening may be of the first clause alone */
        put_span(&out[0], c, c->front, end);
        out[1].n = out[1].front = 0;
        put_span(&out[1], c, from, c->n);
        return 2;
    }
    return 0;
}

int clause_split(const Clause *c, Clause out[CLAUSE_PIECES]) {
    int n;
    if (keeps_whole(c)) return 0;
    if ((n = split_clauses(c, out)) || (n = split_there(c, out)) || (n = split_subjects(c, out)) || (n = split_predicates(c, out)))
        return n;
    return split_objects(c, out);
}

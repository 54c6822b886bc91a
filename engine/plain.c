/* plain.c - owns the walk over an answer in plain English: its sentences, what is left out of them, which pronouns are resolved, and what
 * is said twice. Any text is taken. */
#include "engine/plain.h"

#include "engine/plain_clause.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    PLAIN_WORDS_LEAST = 3,
    PLAIN_BYTES_MOST = 1000, /* longer than any sentence people write; random models make such, and a probe of one tests nothing */
    PIECES_MOST = 24         /* claims of one sentence: a sentence of more is left whole */
};

/* ---- sentences ---- */

static int space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f'; }

/* A full stop at `end` belongs to the word before it. */
static int abbreviates(const char *text, const char *end) {
    static const char *const words[] = { "Mr", "Mrs", "Ms", "Dr", "St", "e.g", "i.e", "vs", "approx" };
    const char *word = end;
    while (word > text && !space(word[-1])) word--;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == (size_t)(end - word) && !memcmp(word, words[i], (size_t)(end - word)) && end[1]) return 1;
    for (const char *p = word; word == text && isdigit((unsigned char)*p); p++) /* "1. A dog" */
        if (p + 1 == end) return end - word < 3 && end[1] == ' ';
    return 0;
}

int plain_sentence_next(const char **cursor, const char **text, size_t *size, char *mark) {
    const char *p = *cursor;
    while (space(*p)) p++;
    if (!*p) return 0;
    const char *end = p;
    while (*end && *end != '\n' &&
           (!(strchr(".!?", *end) && (!end[1] || space(end[1]) || strchr(".!?\"')", end[1]))) || (*end == '.' && abbreviates(p, end))))
        end++;
    *mark = *end ? *end : '\n';
    *cursor = end;
    while (**cursor && strchr(".!?\"')", **cursor)) { /* "...", "?!" and closing quotes end one sentence, not several */
        if (**cursor == '?') *mark = '?';
        ++*cursor;
    }
    while (end > p && space(end[-1])) end--;
    *text = p, *size = (size_t)(end - p);
    return 1;
}

static int words_within(const char *text, size_t size) {
    int words = 0;
    for (size_t i = 0; i < size; i++) words += !space(text[i]) && (i == 0 || space(text[i - 1]));
    return words;
}

/* ---- openings ---- */

static void words_cut(Clause *c, int from, int n) {
    memmove(c->words + from, c->words + from + n, (size_t)(c->n - from - n) * sizeof *c->words);
    c->n -= n;
}

/* Cuts "Additionally," and "In addition," off. 1 when it did. */
static int connector_cut(Clause *c) {
    int n = 0;
    if (c->n > 1 && c->words[0].mark == ',' && word_in(&c->words[0], WORDS_CONNECTOR)) n = 1;
    else if (c->n > 2 && word_is(&c->words[0], "in") && c->words[1].mark == ',' && word_is(&c->words[1], "addition")) n = 2;
    if (!n || c->n - n < PLAIN_WORDS_LEAST) return 0;
    words_cut(c, 0, n);
    return 1;
}

/* Finds an opening like "In the background,": a preposition and a noun phrase up to a comma. */
static void front_find(Clause *c) {
    if (c->n < 4 || !word_in(&c->words[0], WORDS_PREPOSITION)) return;
    for (int i = 1; i < 8 && i + 2 < c->n; i++) {
        const Word *w = &c->words[i];
        if (word_in(w, WORDS_COPULA) || word_in(w, WORDS_FINITE) || word_in(w, WORDS_RELATIVE) || word_participle(w) ||
            word_is(w, "addition"))
            return;
        if (w->mark != ',') {
            if (w->mark) return;
            continue;
        }
        if (!word_is(w + 1, "and")) c->front = i + 1;
        return;
    }
}

/* ---- pronouns ---- */

typedef enum Kind { KIND_NONE, KIND_IT, KIND_HE, KIND_SHE, KIND_PERSON, KIND_THEY } Kind;

/* What a pronoun at the beginning of the next sentence can mean. */
typedef struct Antecedent {
    Kind kind;
    char text[200]; /* "the brown dog" */
} Antecedent;

static Kind noun_kind(const Word *w) {
    return word_in(w, WORDS_MALE) ? KIND_HE : word_in(w, WORDS_FEMALE) ? KIND_SHE : word_in(w, WORDS_PERSON) ? KIND_PERSON : KIND_IT;
}

/* The phrase words[from .. to) with "the" for "a", and its kind; KIND_NONE when it cannot stand for itself. */
static void antecedent_phrase(const Clause *c, int from, int to, Antecedent *out) {
    int end = from, number = to > from ? phrase_number(c, from, to) : 0, head = from;
    out->kind = KIND_NONE;
    if (!number || !word_in(&c->words[from], WORDS_DETERMINER) || word_in(&c->words[from], WORDS_POSSESSIVE) ||
        word_is(&c->words[from], "each") || word_is(&c->words[from], "every"))
        return;
    for (; end < to; end++) {
        const Word *w = &c->words[end];
        int of = word_is(w, "of") && end + 1 < to && !word_in(w + 1, WORDS_DETERMINER);
        if ((word_in(w, WORDS_PREPOSITION) && !of) || word_participle(w) || word_in(w, WORDS_RELATIVE) || word_is(w, "that")) break;
        if (of) head = -head;
        else if (head >= 0) head = end;
        if (w->mark) {
            end++;
            break;
        }
        if (word_is(w, "and") && end + 1 < to && word_in(w + 1, WORDS_DETERMINER)) return;
    }
    if (head < 0) head = -head;
    if (head == from || end - from > 7) return;
    size_t used = 0;
    int first = from;
    if (word_in(&c->words[from], WORDS_SINGULAR) || word_is(&c->words[from], "some") || word_is(&c->words[from], "several") ||
        word_is(&c->words[from], "many"))
        first++;
    if (word_is(&c->words[from], "a") && number == 2) return; /* "a few people" */
    if (first > from || word_in(&c->words[from], WORDS_PLURAL)) used = 3, memcpy(out->text, "the", 3);
    for (int i = first; i < end; i++) {
        const Word *w = &c->words[i];
        if (used + (size_t)w->size + 2 > sizeof out->text) return;
        if (used) out->text[used++] = ' ';
        memcpy(out->text + used, w->text, (size_t)w->size);
        if (i == first && first == from) out->text[used] = (char)tolower((unsigned char)out->text[used]);
        used += (size_t)w->size;
    }
    out->text[used] = 0;
    out->kind = number == 2 ? KIND_THEY : noun_kind(&c->words[head]);
}

/* Whether anything after the subject might be meant as well. from: the word after the subject's phrase. */
static int rivals(const Clause *c, int from, Kind kind) {
    for (int i = from; i < c->n; i++) {
        const Word *w = &c->words[i];
        if (kind == KIND_IT && word_in(w, WORDS_DETERMINER) && !word_in(w, WORDS_POSSESSIVE) && !word_in(w - 1, WORDS_PREPOSITION))
            return 1; /* an object */
        if ((kind == KIND_HE || kind == KIND_SHE || kind == KIND_PERSON) && noun_kind(w) != KIND_IT) return 1;
        if (kind == KIND_THEY && (word_in(w, WORDS_PLURAL) || word_in(w, WORDS_PLURAL_NOUN) || word_is(w, "some"))) return 1;
        const Word *next = i + 1 < c->n ? w + 1 : NULL;
        int joins =
            word_is(w, "and") && !(next && (word_in(next, WORDS_ADJECTIVE) || word_in(next, WORDS_COLOUR) || word_participle(next)));
        if (joins || w->mark) return 1;
    }
    return 0;
}

static void antecedent_find(const Clause *c, Antecedent *out) {
    int verb = clause_verb(c, c->front), shows = 0;
    out->kind = KIND_NONE;
    if (verb < 0 && (verb = clause_do_verb(c, c->front)) >= 0) {
        int noun_like;
        const char *base = verb_base(&c->words[verb], &noun_like);
        shows = strcmp(base, "sit") && strcmp(base, "stand") && strcmp(base, "wear") && strcmp(base, "hold") && strcmp(base, "appear");
    }
    if (verb < 0) return;
    int there = word_is(&c->words[c->front], "there"), from = there || shows ? verb + 1 : c->front, to = there || shows ? c->n : verb;
    if (!there && !shows)
        for (int i = c->front; i < verb; i++)
            if (c->words[i].mark || word_is(&c->words[i], "and")) return;
    antecedent_phrase(c, from, to, out);
    int after = from;
    while (after < to && !word_in(&c->words[after], WORDS_PREPOSITION) && !word_participle(&c->words[after])) after++;
    if (out->kind != KIND_NONE && rivals(c, there || shows ? after : verb + 1, out->kind)) out->kind = KIND_NONE;
    if (shows && out->kind == KIND_IT) out->kind = KIND_NONE; /* or the picture itself */
}

/* Whether the words after the verb say something of the thing, not of the weather, the time or the picture. */
static int says_of_thing(const Clause *c, int verb, int person) {
    static const char *const vague[] = { "day", "night", "daytime", "nighttime", "time", "possible", "likely", "unclear", "clear",
        "evident", "important", "to", "as", "if", "that", "raining", "snowing", "outside", "cloudy", "dark", "bright", "hot", "cold",
        "quiet", "seems", "worth", "noted" };
    const Word *first = &c->words[verb + 1];
    for (int i = verb + 1; i < c->n && !person; i++)
        for (size_t k = 0; k < sizeof vague / sizeof *vague; k++)
            if (word_is(&c->words[i], vague[k])) return 0;
    if (word_in(&c->words[verb], WORDS_HAVE)) return word_in(first, WORDS_DETERMINER) || word_is(first, "been");
    if (!word_in(&c->words[verb], WORDS_COPULA)) return 0;
    return word_participle(first) || word_in(first, WORDS_COLOUR) || word_in(first, WORDS_ADJECTIVE) || word_in(first, WORDS_PREPOSITION) ||
           word_ends(first, "ed") || (person && (word_is(first, "a") || word_is(first, "an")));
}

static int means(const Word *pronoun, Kind kind) {
    if (word_is(pronoun, "it")) return kind == KIND_IT;
    if (word_is(pronoun, "he")) return kind == KIND_HE || kind == KIND_PERSON;
    if (word_is(pronoun, "she")) return kind == KIND_SHE || kind == KIND_PERSON;
    return word_is(pronoun, "they") && kind == KIND_THEY;
}

/* Puts the antecedent in the place of the pronoun that begins the clause. 1 when it did. */
static int pronoun_resolve(Clause *c, const Antecedent *a) {
    Clause phrase;
    const Word *w = &c->words[c->front];
    int verb = c->front + 1, person = word_is(w, "he") || word_is(w, "she");
    if (a->kind == KIND_NONE || verb + 1 >= c->n || !means(w, a->kind) || !says_of_thing(c, verb, person)) return 0;
    if (!clause_read(a->text, strlen(a->text), &phrase) || c->n + phrase.n > CLAUSE_WORDS) return 0;
    memmove(c->words + c->front + phrase.n, c->words + c->front + 1, (size_t)(c->n - c->front - 1) * sizeof *c->words);
    memcpy(c->words + c->front, phrase.words, (size_t)phrase.n * sizeof *phrase.words);
    c->n += phrase.n - 1;
    return 1;
}

/* ---- claims ---- */

typedef struct Pieces {
    Clause list[PIECES_MOST];
    int n;
} Pieces;

/* Takes a clause apart as far as it goes, in order. 0 when there are too many pieces. */
static int pieces_make(const Clause *c, Pieces *out, int depth) {
    Clause parts[CLAUSE_PIECES];
    int n = depth < 6 ? clause_split(c, parts) : 0;
    if (n == 0) {
        if (out->n == PIECES_MOST) return 0;
        out->list[out->n++] = *c;
        return 1;
    }
    for (int i = 0; i < n; i++)
        if (!pieces_make(&parts[i], out, depth + 1)) return 0;
    return 1;
}

typedef struct Place {
    size_t at, size; /* of the sentence in the answer */
} Place;

static int claim_keep(ClaimList *list, const char *text, size_t size, const char *question, const char *repeats, Place place, Error *e) {
    for (size_t i = 0; i < list->count; i++)
        if (strlen(list->claims[i].text) == size && !memcmp(list->claims[i].text, text, size))
            return claims_drop(list, text, size, repeats, e);
    if (claims_add(list, text, size, question, CLAIM_SOUND, e)) return -1;
    list->claims[list->count - 1].at = place.at, list->claims[list->count - 1].size = place.size;
    return 0;
}

static const char repeats_sentence[] = "repeats an earlier sentence", repeats_claim[] = "repeats an earlier claim";

static int sentence_claims(ClaimList *list, Pieces *pieces, Antecedent *antecedent, const char *text, size_t size, Place place, Error *e) {
    char claim[CLAUSE_TEXT + 1], question[CLAUSE_TEXT + 64];
    Clause c;
    if (!clause_read(text, size, &c)) {
        antecedent->kind = KIND_NONE;
        text_question(text, size, question);
        return claim_keep(list, text, size, question, repeats_sentence, place, e);
    }
    int changed = connector_cut(&c);
    front_find(&c);
    changed |= pronoun_resolve(&c, antecedent);
    Antecedent next;
    antecedent_find(&c, &next);
    pieces->n = 0;
    if (!pieces_make(&c, pieces, 0)) pieces->n = 1, pieces->list[0] = c;
    int bad = 0;
    for (int i = 0; i < pieces->n && !bad; i++) {
        const Clause *piece = &pieces->list[i];
        const char *said = text;
        size_t n = size;
        if (changed || pieces->n > 1) n = clause_write(piece, claim), said = claim;
        clause_question(piece, said, n, question);
        bad = claim_keep(list, said, n, question, pieces->n > 1 ? repeats_claim : repeats_sentence, place, e);
    }
    *antecedent = next; /* its words were those of this sentence and of the one before */
    return bad;
}

static int sentence_take(
    ClaimList *list, Pieces *pieces, Antecedent *antecedent, const char *text, size_t size, char mark, Place place, Error *e) {
    static const Antecedent none;
    size_t skip = strspn(text, "0123456789");
    skip = skip > 0 && skip < 3 && text[skip] == '.' ? skip + 1 : size > 2 && strchr("-*", text[0]) ? 1 : 0;
    if (skip > 0 && skip < size && text[skip] == ' ') { /* an item of a list */
        while (skip < size && space(text[skip])) skip++;
        text += skip, size -= skip;
    }
    const char *why = mark == '?'                                   ? "a question"
                      : words_within(text, size) < PLAIN_WORDS_LEAST ? "fewer than three words"
                      : size > PLAIN_BYTES_MOST                     ? "longer than 1000 bytes"
                                                                    : NULL;
    if (!why) return sentence_claims(list, pieces, antecedent, text, size, place, e);
    *antecedent = none;
    return claims_drop(list, text, size, why, e);
}

int plain_answer(ClaimList *list, const char *answer, Error *e) {
    Antecedent antecedent = { KIND_NONE, "" };
    Pieces *pieces = mem_new(1, sizeof *pieces, "claims", e);
    const char *cursor = answer, *text;
    size_t size;
    char mark;
    int bad = !pieces;
    while (!bad && plain_sentence_next(&cursor, &text, &size, &mark))
        bad = sentence_take(list, pieces, &antecedent, text, size, mark, (Place){ (size_t)(text - answer), size }, e);
    free(pieces);
    return bad ? -1 : 0;
}

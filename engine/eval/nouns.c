/* nouns.c - owns the words of a text and their singulars.
 *
 * Lemmas follow nltk's WordNetLemmatizer over WordNet 3.0 (Fellbaum 1998; morphy's detachment rules for nouns): exceptions first, else the
 * rules, each once; of the results that are nouns, the shortest. Refuses WordNet folders that lack a file. */
#include "engine/eval/nouns.h"

#include "base/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ---- */

/* Bytes of a blank at p: ASCII's, and the no-break space. */
static size_t blank(const char *p) {
    if (*p && strchr(" \t\n\r\f\v", *p)) return 1;
    return !strncmp(p, "\xc2\xa0", 2) ? 2 : 0;
}

/* Bytes of a mark that is always apart from words: brackets, quotes but the straight single one, most punctuation, dashes. */
static size_t mark(const char *p) {
    static const char *const wide[] = { "\xc2\xab", "\xc2\xbb", "\xe2\x80\x9c", "\xe2\x80\x9d", "\xe2\x80\x98", "\xe2\x80\x99",
        "\xe2\x80\x9e", "\xe2\x80\x92", "\xe2\x80\x93", "\xe2\x80\x94", "\xe2\x80\x95", "\xe2\x80\xa6" };
    if (strchr(";@#$%&?!*()[]{}<>\"`", *p)) return 1;
    if (!strncmp(p, "--", 2)) return strspn(p, "-");
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (!strncmp(p, wide[i], strlen(wide[i]))) return strlen(wide[i]);
    return 0;
}

/* Bytes of a mark at p, those included that stand within words when something certain follows: "3,5", "10:30", "U.S". */
static size_t separator(const char *p) {
    size_t wide = mark(p);
    if (wide) return wide;
    if (*p == ',' || *p == ':') return !isdigit((unsigned char)p[1]);
    if (*p != '.') return 0;
    if (p[1] == '.') return strspn(p, ".");
    return !p[1] || blank(p + 1) || p[1] == '\'' || mark(p + 1);
}

static int token_add(Tokens *t, size_t *used, const char *from, size_t n, int lower, Error *e) {
    char *to = t->text + *used;
    if (!n) return 0;
    if (mem_grow(&t->words, &t->cap, t->n + 1, sizeof *t->words, "words", e)) return -1;
    for (size_t i = 0; i < n; i++) to[i] = lower && from[i] >= 'A' && from[i] <= 'Z' ? (char)(from[i] + 32) : from[i];
    to[n] = 0;
    t->words[t->n++] = to;
    *used += n + 1;
    return 0;
}

/* Where a word's clitic begins ('s 'm 'd 'll 're 've n't), or its end. */
static size_t clitic(const char *word, size_t n) {
    static const char *const ends[] = { "'s", "'m", "'d", "'ll", "'re", "'ve", "n't" };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t k = strlen(ends[i]);
        if (n > k && !strncasecmp(word + n - k, ends[i], k)) return n - k;
    }
    return n;
}

/* What stands between blanks and marks: quotes at its ends apart, then the clitic. */
static int word_add(Tokens *t, size_t *used, const char *p, size_t n, int lower, Error *e) {
    size_t quotes = 0;
    for (; n && *p == '\''; p++, n--)
        if (token_add(t, used, p, 1, lower, e)) return -1;
    while (quotes < n && p[n - 1 - quotes] == '\'') quotes++;
    size_t word = n - quotes, body = clitic(p, word);
    if (token_add(t, used, p, body, lower, e) || token_add(t, used, p + body, word - body, lower, e)) return -1;
    for (size_t i = 0; i < quotes; i++)
        if (token_add(t, used, "'", 1, lower, e)) return -1;
    return 0;
}

int tokens_split(Tokens *t, const char *text, int lower, Error *e) {
    size_t used = 0, n;
    t->n = 0;
    if (mem_grow(&t->text, &t->text_cap, 2 * strlen(text) + 1, 1, "words", e)) return -1; /* each byte may be a word, and its end */
    for (const char *p = text; *p; p += n) {
        if ((n = blank(p))) continue;
        if ((n = separator(p))) {
            if (token_add(t, &used, p, n, lower, e)) return -1;
            continue;
        }
        for (n = 1; p[n] && !blank(p + n) && !separator(p + n); n++) {}
        if (word_add(t, &used, p, n, lower, e)) return -1;
    }
    return 0;
}

void tokens_free(Tokens *t) {
    free(t->words);
    free(t->text);
    memset(t, 0, sizeof *t);
}

/* ---- lemmas ---- */

static int exception_add(Lemmas *l, const char *plural, const char *singular, Error *e) {
    json_t *all = json_object_get(l->exceptions, plural);
    if (!all) {
        all = json_array();
        if (json_object_set_new(l->exceptions, plural, all)) return error_what(e, "out of memory"), error_where(e, "noun.exc");
    }
    return json_array_append_new(all, json_string(singular)) ? (error_what(e, "out of memory"), error_where(e, "noun.exc")) : 0;
}

/* One line of noun.exc: a plural and its singulars. */
static int exception_line(Lemmas *l, char *line, Error *e) {
    char *rest = NULL, *plural = strtok_r(line, " \r", &rest);
    for (char *word; plural && (word = strtok_r(NULL, " \r", &rest));)
        if (exception_add(l, plural, word, e)) return -1;
    return 0;
}

/* One line of index.noun: the noun to the first blank; lines that begin with a blank are its licence. */
static int index_line(Lemmas *l, char *line, Error *e) {
    if (*line == ' ' || !*line) return 0;
    line[strcspn(line, " ")] = 0;
    return json_object_set_new(l->nouns, line, json_true()) ? (error_what(e, "out of memory"), error_where(e, "index.noun")) : 0;
}

static int lines_each(
    Lemmas *l, const char *folder, const char *name, int (*take)(Lemmas *, char *, Error *), const json_t *filled, Error *e) {
    enum { LIMIT = 64 << 20 };
    char path[PATH_SIZE], *text, *rest = NULL;
    size_t size;
    int bad = 0;
    if (path_join(path, folder, name, e)) return -1;
    if (file_read(path, LIMIT, &text, &size, e))
        return error_hint(e, "--wordnet is a folder such as Debian's /usr/share/wordnet (wordnet-base)"), -1;
    for (char *line = strtok_r(text, "\n", &rest); line && !bad; line = strtok_r(NULL, "\n", &rest)) bad = take(l, line, e);
    free(text);
    if (!bad && !json_object_size(filled))
        bad = error_what(e, "not a file of WordNet"), error_where(e, "%s", path), error_found(e, "no words");
    return bad;
}

int lemmas_open(Lemmas *l, const char *wordnet, Error *e) {
    /* Nouns of AMBER and COCO whose plural the rules do not undo. */
    static const char *const irregular[][2] = { { "children", "child" }, { "geese", "goose" }, { "knives", "knife" }, { "mice", "mouse" },
        { "oxen", "ox" } };
    *l = (Lemmas){ .wordnet = wordnet != NULL, .nouns = json_object(), .exceptions = json_object() };
    int bad = l->nouns && l->exceptions ? 0 : error_what(e, "out of memory");
    if (!bad && wordnet)
        bad = lines_each(l, wordnet, "noun.exc", exception_line, l->exceptions, e) ||
              lines_each(l, wordnet, "index.noun", index_line, l->nouns, e);
    for (size_t i = 0; i < sizeof irregular / sizeof *irregular && !bad && !wordnet; i++)
        bad = exception_add(l, irregular[i][0], irregular[i][1], e);
    if (bad) lemmas_free(l);
    return bad ? -1 : 0;
}

int lemmas_know(Lemmas *l, const char *noun, Error *e) {
    for (const char *p = noun; !l->wordnet && *p;) {
        size_t n = strcspn(p, " ");
        if (n && json_object_setn_new(l->nouns, p, n, json_true())) return error_what(e, "out of memory"), error_where(e, "nouns");
        p += n + (p[n] == ' ');
    }
    return 0;
}

void lemmas_free(Lemmas *l) {
    json_decref(l->nouns);
    json_decref(l->exceptions);
    memset(l, 0, sizeof *l);
}

const char *lemma_of(const Lemmas *l, const char *word, char out[WORD_SIZE]) {
    static const char *const rules[][2] = { { "s", "" }, { "ses", "s" }, { "ves", "f" }, { "xes", "x" }, { "zes", "z" }, { "ches", "ch" },
        { "shes", "sh" }, { "men", "man" }, { "ies", "y" } };
    size_t n = strlen(word), i, best = json_object_get(l->nouns, word) ? n : SIZE_MAX;
    const json_t *known = json_object_get(l->exceptions, word), *singular;
    if (n >= WORD_SIZE - 2) return word; /* a rule adds at most no byte; an exception is checked below */
    const char *lemma = word;
    json_array_foreach(known, i, singular) {
        const char *s = json_string_value(singular);
        size_t k = strlen(s);
        if (k < best && k < WORD_SIZE && json_object_get(l->nouns, s)) lemma = strcpy(out, s), best = k;
    }
    for (i = 0; !known && i < sizeof rules / sizeof *rules; i++) {
        size_t cut = strlen(rules[i][0]);
        if (n < cut || strcmp(word + n - cut, rules[i][0])) continue;
        char form[WORD_SIZE];
        size_t k = (size_t)snprintf(form, sizeof form, "%.*s%s", (int)(n - cut), word, rules[i][1]);
        if (k < best && json_object_get(l->nouns, form)) lemma = strcpy(out, form), best = k;
    }
    return lemma;
}

/* ---- nouns without a tagger ---- */

static int word_in(const char *word, const char *const *list) {
    for (; *list; list++)
        if (!strcasecmp(word, *list)) return 1;
    return 0;
}

int noun_here(const Tokens *t, size_t i, const char *lemma) {
    static const char *const verbs[] = { "board", "box", "brush", "drink", "file", "leave", "light", "lock", "note", "pack", "paddle",
        "plug", "rock", "sailing", "skate", "ski", "sound", "spray", "support", "switch", "train", "watch", NULL };
    static const char *const before_verbs[] = { "to", "i", "you", "we", "they", "he", "she", "it", "who", "can", "could", "will", "would",
        "may", "might", "must", "should", "not", "is", "are", "was", "were", "be", "been", "being", NULL };
    static const char *const before_can[] = { "a", "the", "one", "this", "that", "each", "trash", "garbage", "soda", "beer", "tin", "spray",
        "watering", NULL };
    const char *before = i ? t->words[i - 1] : "";
    if (!strcmp(lemma, "hot")) return 0; /* an adjective; it is in AMBER's vocabulary for hot dogs */
    if (!strcmp(t->words[i], "can")) return word_in(before, before_can);
    return !word_in(lemma, verbs) || !word_in(before, before_verbs);
}

/* chair_words.c - owns the way from a text to COCO's classes: small letters, words, singulars, pairs of words, synonyms. Refuses files of
 * synonyms in which a line has no name. */
#include "engine/eval/chair.h"

#include "base/file.h"

#include <string.h>
#include <stdlib.h>

static int pair_add(ChairWords *w, const char *first, const char *second, const char *means, Error *e) {
    char pair[2 * WORD_SIZE];
    snprintf(pair, sizeof pair, "%s%s%s", first, *second ? " " : "", second);
    return json_object_set_new(w->pairs, pair, json_string(means)) || lemmas_know(&w->lemmas, pair, e)
               ? (error_what(e, "out of memory"), error_where(e, "pairs of words"))
               : 0;
}

/* The pairs that are one word, or that would name a person where there is none. */
static int pairs_open(ChairWords *w, Error *e) {
    static const char *const animals[] = { "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal",
        "cub" };
    static const char *const other[][3] = { { "home", "plate", "home plate" }, { "train", "track", "train track" },
        { "passenger", "jet", "jet" }, { "passenger", "train", "train" }, { "bow", "tie", "tie" }, { "toilet", "seat", "toilet" },
        { "wine", "glas", "wine glass" } };
    const char *word;
    json_t *class;
    json_object_foreach(w->class_of, word, class) if (strchr(word, ' ') && pair_add(w, word, "", word, e)) return -1;
    for (size_t i = 0; i < sizeof animals / sizeof *animals; i++)
        if (pair_add(w, "baby", animals[i], animals[i], e) || pair_add(w, "adult", animals[i], animals[i], e)) return -1;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (pair_add(w, other[i][0], other[i][1], other[i][2], e)) return -1;
    return 0;
}

/* Without blanks at its ends. */
static char *trimmed(char *text) {
    size_t n;
    text += strspn(text, " \t\r");
    for (n = strlen(text); n && strchr(" \t\r", text[n - 1]);) text[--n] = 0;
    return text;
}

static int synonyms_line(ChairWords *w, char *line, const char *path, int number, Error *e) {
    char *name = NULL;
    for (char *part; (part = strsep(&line, ","));) {
        char *word = trimmed(part);
        if (!name) name = word;
        if (!*name || strlen(word) >= WORD_SIZE)
            return error_what(e, "bad synonyms"), error_where(e, "%s:%d", path, number),
                   error_expected(e, "the name of a class and its synonyms, apart by commas");
        if (*word && (json_object_set_new(w->class_of, word, json_string(name)) || lemmas_know(&w->lemmas, word, e)))
            return error_what(e, "out of memory"), error_where(e, "%s", path);
    }
    return 0;
}

static int synonyms_read(ChairWords *w, const char *path, Error *e) {
    char *text, *line, *rest;
    size_t size;
    int number = 0, bad = 0;
    if (file_read(path, 1 << 20, &text, &size, e)) return -1;
    for (rest = text; !bad && (line = strsep(&rest, "\n"));) {
        number++;
        if (*trimmed(line)) bad = synonyms_line(w, line, path, number, e);
    }
    free(text);
    if (!bad && !json_object_size(w->class_of)) bad = error_what(e, "no synonyms"), error_where(e, "%s", path);
    return bad;
}

int chair_words_open(ChairWords *w, const char *synonyms, const char *wordnet, Error *e) {
    memset(w, 0, sizeof *w);
    if (lemmas_open(&w->lemmas, wordnet, e)) return -1;
    w->class_of = json_object();
    w->pairs = json_object();
    int bad = !w->class_of || !w->pairs ? error_what(e, "out of memory") : 0;
    if (bad || synonyms_read(w, synonyms, e) || pairs_open(w, e)) {
        chair_words_free(w);
        return -1;
    }
    return 0;
}

void chair_words_free(ChairWords *w) {
    lemmas_free(&w->lemmas);
    tokens_free(&w->tokens);
    json_decref(w->class_of);
    json_decref(w->pairs);
    memset(w, 0, sizeof *w);
}

const char *chair_class(const ChairWords *w, const char *name) { return json_string_value(json_object_get(w->class_of, name)); }

/* The word at place i, or the one that it stands for together with the next; *taken is how many tokens that are. */
static const char *word_at(const ChairWords *w, size_t i, char out[WORD_SIZE], size_t *taken) {
    char pair[2 * WORD_SIZE + 1], second[WORD_SIZE];
    const char *first = lemma_of(&w->lemmas, w->tokens.words[i], out);
    *taken = 1;
    if (i + 1 == w->tokens.n) return first;
    const char *next = lemma_of(&w->lemmas, w->tokens.words[i + 1], second);
    int whole = (size_t)snprintf(pair, sizeof pair, "%s %s", first, next) < sizeof pair;
    const char *means = whole ? json_string_value(json_object_get(w->pairs, pair)) : NULL;
    if (means) *taken = 2;
    return means ? means : first;
}

json_t *chair_words_find(ChairWords *w, const char *text, Error *e) {
    json_t *found = json_array();
    int toilet = 0, bad = !found || tokens_split(&w->tokens, text, 1, e);
    size_t taken;
    for (size_t i = 0; i < w->tokens.n && !bad; i += taken) {
        char out[WORD_SIZE];
        const char *word = word_at(w, i, out, &taken), *class = chair_class(w, word);
        toilet |= !strcmp(word, "toilet");
        if (class && json_array_append_new(found, json_pack("[s, s]", word, class)))
            bad = error_what(e, "out of memory"), error_where(e, "objects of an answer");
    }
    /* The seat of a toilet is no chair. */
    for (size_t i = json_array_size(found); toilet && !bad && i-- > 0;)
        if (!strcmp(json_string_value(json_array_get(json_array_get(found, i), 0)), "seat")) json_array_remove(found, i);
    if (!bad) return found;
    json_decref(found);
    return NULL;
}

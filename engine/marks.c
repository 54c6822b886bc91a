/* marks.c - walks an answer as claims.c did, and finds the words of the claims that were rejected. Owns no grammar of its own. */
#include "engine/marks.h"

#include "engine/plain.h"
#include "engine/scenes/sentence.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void marks_free(Marks *m) {
    free(m->list);
    memset(m, 0, sizeof *m);
}

static int mark_add(Marks *m, size_t at, size_t size, Error *e) {
    if (mem_grow(&m->list, &m->cap, m->n + 1, sizeof *m->list, "marks", e)) return -1;
    size_t i = m->n++;
    for (; i > 0 && m->list[i - 1].at > at; i--) m->list[i] = m->list[i - 1];
    m->list[i] = (Mark){ at, size };
    return 0;
}

static int accepted(const json_t *probes, size_t i) { return json_is_true(json_object_get(json_array_get(probes, i), "accepted")); }

static int letter(char c) { return c >= 'a' && c <= 'z'; }

static const char *word_find(const char *text, size_t size, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= size; i++)
        if (!memcmp(text + i, word, n) && (i == 0 || !letter(text[i - 1])) && (i + n == size || !letter(text[i + n]))) return text + i;
    return NULL;
}

static int stood_before(const char *answer, const char *text, size_t size) {
    const char *earlier;
    size_t n;
    while (sentence_next(&answer, &earlier, &n) && earlier < text)
        if (n == size && !memcmp(earlier, text, size)) return 1;
    return 0;
}

/* Returns how many probes the answer has, or -1. */
static int64_t scenes_marks(const char *answer, const json_t *probes, Marks *out, Error *e) {
    const char *cursor = answer, *text;
    size_t size, probe = 0;
    while (sentence_next(&cursor, &text, &size)) {
        SceneSentence sentence;
        SceneFact facts[SENTENCE_FACTS_MOST];
        if (stood_before(answer, text, size) || !sentence_parse(text, size, &sentence)) {
            if (!accepted(probes, probe++) && mark_add(out, (size_t)(text - answer), size, e)) return -1;
            continue;
        }
        int n = sentence_facts(&sentence, facts);
        for (int i = 0; i < n; i++) {
            const char *word = facts[i].about == FACT_EXISTS ? scene_kinds[facts[i].kind] : fact_word(&facts[i]),
                       *at = word_find(text, size, word);
            if (!accepted(probes, probe++) && at && mark_add(out, (size_t)(at - answer), strlen(word), e)) return -1;
        }
    }
    return (int64_t)probe;
}

/* A sentence is marked once, whichever of its claims was rejected. */
static int sentence_mark(Marks *m, size_t at, size_t size, Error *e) {
    for (size_t i = 0; i < m->n; i++)
        if (m->list[i].at == at) return 0;
    return mark_add(m, at, size, e);
}

static int64_t plain_marks(const char *answer, const json_t *probes, Marks *out, Error *e) {
    ClaimList list;
    if (claims_by_rule(CLAIM_GRAMMAR_PLAIN, answer, &list, e)) return -1;
    int64_t n = (int64_t)list.count;
    for (size_t i = 0; i < list.count && n >= 0; i++)
        if (!accepted(probes, i) && sentence_mark(out, list.claims[i].at, list.claims[i].size, e)) n = -1;
    claims_free(&list);
    return n;
}

static int in_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80; }

/* How many words of three letters or more of `question` stand in the sentence; *words: how many it has. */
static int words_shared(const char *question, const char *text, size_t size, int *words) {
    int shared = 0;
    *words = 0;
    while (*question) {
        size_t n = 0, found = 0;
        while (in_word(question[n])) n++;
        for (size_t i = 0; n > 2 && i + n <= size && !found; i++)
            found = !strncasecmp(text + i, question, n) && (i == 0 || !in_word(text[i - 1])) && (i + n == size || !in_word(text[i + n]));
        *words += n > 2, shared += found != 0;
        question += n ? n : 1;
    }
    return shared;
}

int marks_by_words(const char *answer, const json_t *probes, Marks *out, Error *e) {
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < json_array_size(probes); i++) {
        const char *question = json_string_value(json_object_get(json_array_get(probes, i), "question")), *cursor = answer, *text;
        size_t size, at = 0, length = 0;
        int most = 0, words;
        char mark;
        if (accepted(probes, i) || !question) continue;
        while (plain_sentence_next(&cursor, &text, &size, &mark)) {
            int shared = words_shared(question, text, size, &words);
            if (2 * shared >= words && shared > most) most = shared, at = (size_t)(text - answer), length = size;
        }
        if (most > 0 && sentence_mark(out, at, length, e)) return marks_free(out), -1;
    }
    return 0;
}

int marks_find(ClaimGrammar grammar, const char *text, const json_t *probes, Marks *out, Error *e) {
    memset(out, 0, sizeof *out);
    int64_t n = grammar == CLAIM_GRAMMAR_SCENES ? scenes_marks(text, probes, out, e) : plain_marks(text, probes, out, e);
    if (n >= 0 && (size_t)n != json_array_size(probes)) {
        error_what(e, "labels are not of this answer"), error_where(e, "\"%.60s\"", text);
        error_found(e, "%zu probes", json_array_size(probes)), error_expected(e, "%lld", (long long)n);
        n = -1;
    }
    if (n < 0) marks_free(out);
    return n < 0 ? -1 : 0;
}

char *marks_apply(const char *text, const Marks *m, const char *open, const char *close, Error *e) {
    size_t before = strlen(open), after = strlen(close), used = 0, at = 0;
    char *out = mem_new(strlen(text) + m->n * (before + after) + 1, 1, "a marked answer", e);
    if (!out) return NULL;
    for (size_t i = 0; i < m->n; i++) {
        const Mark *k = &m->list[i];
        memcpy(out + used, text + at, k->at - at), used += k->at - at;
        memcpy(out + used, open, before), used += before;
        memcpy(out + used, text + k->at, k->size), used += k->size;
        memcpy(out + used, close, after), used += after;
        at = k->at + k->size;
    }
    strcpy(out + used, text + at);
    return out;
}

int marks_of_run(const RunConfig *c, const char *text, const json_t *probes, Marks *out, Error *e) {
    if (c->label.mode == LABEL_HOLISTIC) return 0;
    return claims_by_model(c) ? marks_by_words(text, probes, out, e) : marks_find(c->claims.grammar, text, probes, out, e);
}

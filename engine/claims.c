/* claims.c - the rule-based splitter of answers.
 *
 * Owns both grammars' policy: what becomes a claim, what is rejected unasked, what is dropped. The forms of the built-in world's sentences
 * are scenes/sentence.c's. Plain English is turned into questions by inversion where that is safe ("The dog is big." -> "Is the dog big?")
 * and by "Is it true that ...?" everywhere else. Opinions cannot be told from facts by rule, so none are left out. Refuses nothing but lack
 * of memory: any text is an answer somebody's model may give. */
#include "engine/claims.h"

#include "base/json.h"
#include "engine/scenes/sentence.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const char claim_probe_ending[] = " Please answer yes or no.";

enum {
    PLAIN_WORDS_LEAST = 3,
    PLAIN_BYTES_MOST = 1000, /* longer than any sentence people write; random models make such, and a probe of one tests nothing */
    SUBJECT_WORDS_MOST = 6,  /* a copula further on belongs to a clause, not to the subject */
};

int claim_grammar_find(const char *name, ClaimGrammar *out, Error *e) {
    static const char *const names[] = { "scenes", "plain" };
    for (int i = 0; i < 2; i++)
        if (!strcmp(names[i], name)) return *out = (ClaimGrammar)i, 0;
    return error_what(e, "unknown claim grammar"), error_found(e, "\"%s\"", name), error_expected(e, "scenes or plain");
}

void claims_free(ClaimList *list) {
    for (size_t i = 0; i < list->count; i++) free(list->claims[i].text), free(list->claims[i].question);
    for (size_t i = 0; i < list->drop_count; i++) free(list->drops[i].text);
    free(list->claims), free(list->drops);
    *list = (ClaimList){ 0 };
}

static char *text_copy(const char *text, size_t size, Error *e) {
    char *copy = mem_new(size + 1, 1, "a claim", e);
    if (copy) memcpy(copy, text, size);
    return copy;
}

/* question NULL: rejected unasked. */
static int claim_append(ClaimList *list, const char *text, size_t size, const char *question, ClaimFlaw flaw, Error *e) {
    if (mem_grow(&list->claims, &list->cap, list->count + 1, sizeof *list->claims, "claims", e)) return -1;
    Claim c = { .flaw = flaw };
    if (!(c.text = text_copy(text, size, e))) return -1;
    if (question && !(c.question = text_copy(question, strlen(question), e))) return free(c.text), -1;
    list->claims[list->count++] = c;
    return 0;
}

static int drop_append(ClaimList *list, const char *text, size_t size, const char *why, Error *e) {
    if (mem_grow(&list->drops, &list->drop_cap, list->drop_count + 1, sizeof *list->drops, "dropped sentences", e)) return -1;
    ClaimDrop d = { .why = why };
    if (!(d.text = text_copy(text, size, e))) return -1;
    list->drops[list->drop_count++] = d;
    return 0;
}

/* Sentences seen so far, as they stand in the answer. */
typedef struct Seen {
    struct SeenText {
        const char *text;
        size_t size;
    } * texts;
    size_t count, cap;
} Seen;

/* 1 when it was there before, 0 when it is now, -1 when memory is out. */
static int seen_add(Seen *seen, const char *text, size_t size, Error *e) {
    for (size_t i = 0; i < seen->count; i++)
        if (seen->texts[i].size == size && !memcmp(seen->texts[i].text, text, size)) return 1;
    if (mem_grow(&seen->texts, &seen->cap, seen->count + 1, sizeof *seen->texts, "sentences", e)) return -1;
    seen->texts[seen->count++] = (struct SeenText){ text, size };
    return 0;
}

/* ---- the built-in world ---- */

static int scenes_sentence(ClaimList *list, Seen *seen, const char *text, size_t size, Error *e) {
    int repeated = seen_add(seen, text, size, e);
    if (repeated) return repeated < 0 ? -1 : claim_append(list, text, size, NULL, CLAIM_REPEATED, e);
    SceneSentence sentence;
    if (!sentence_parse(text, size, &sentence)) return claim_append(list, text, size, NULL, CLAIM_MALFORMED, e);
    SceneFact facts[SENTENCE_FACTS_MOST];
    int n = sentence_facts(&sentence, facts);
    for (int i = 0; i < n; i++) {
        char claim[SENTENCE_TEXT], question[SENTENCE_TEXT];
        fact_claim(&facts[i], claim), fact_question(&facts[i], question);
        if (claim_append(list, claim, strlen(claim), question, CLAIM_SOUND, e)) return -1;
    }
    return 0;
}

/* ---- plain English ---- */

static int plain_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f'; }

/* Cuts the next sentence off *cursor. A full stop ends one only before white space or the end, so "3.5" and "e.g" stay whole; a newline
 * always does. *mark is what ended it: '.', '!', '?', or '\n' for a line or the text. The mark is not part of the text. */
static int plain_next(const char **cursor, const char **text, size_t *size, char *mark) {
    const char *p = *cursor;
    while (plain_space(*p)) p++;
    if (!*p) return 0;
    const char *end = p;
    while (*end && *end != '\n' && !(strchr(".!?", *end) && (!end[1] || plain_space(end[1]) || strchr(".!?\"')", end[1])))) end++;
    *mark = *end ? *end : '\n';
    *cursor = end;
    while (**cursor && strchr(".!?\"')", **cursor)) { /* "...", "?!" and closing quotes end one sentence, not several */
        if (**cursor == '?') *mark = '?';
        ++*cursor;
    }
    while (end > p && plain_space(end[-1])) end--;
    *text = p, *size = (size_t)(end - p);
    return 1;
}

static size_t word_size(const char *p, const char *end) {
    const char *start = p;
    while (p < end && !plain_space(*p)) p++;
    return (size_t)(p - start);
}

static int word_among(const char *word, size_t size, const char *const *list) {
    for (; *list; list++)
        if (strlen(*list) == size && !strncasecmp(*list, word, size)) return 1;
    return 0;
}

/* Words that lose their capital inside a sentence; any other capital may be a name's. */
static const char *const small_words[] = { "the", "a", "an", "this", "that", "these", "those", "it", "he", "she", "they", "there", "in",
    "on", "at", "some", "one", "two", "three", "several", "many", "its", "his", "her", "their", "another", "each", "both", "all", "to",
    "behind", NULL };
static const char *const subject_words[] = { "the", "a", "an", "this", "that", "these", "those", "it", "he", "she", "they", "there", "some",
    "its", "his", "her", "their", NULL };
static const char *const copulas[] = { "is", "are", "was", "were", NULL };

/* The question of a sentence of two words or more, into out (at least size + 32 bytes). */
static void plain_question(const char *text, size_t size, char *out) {
    const char *end = text + size, *first_end = text + word_size(text, end), *p = text;
    int inverts = word_among(text, (size_t)(first_end - text), subject_words);
    size_t verb = 0;
    for (int word = 0; inverts && word <= SUBJECT_WORDS_MOST && p < end; word++) {
        size_t n = word_size(p, end);
        if (word && word_among(p, n, copulas)) {
            verb = n;
            break;
        }
        if (memchr(p, ',', n)) break; /* a clause, not a subject */
        p += n;
        while (p < end && plain_space(*p)) p++;
    }
    const char *rest = p + verb;
    while (rest < end && plain_space(*rest)) rest++;
    char *subject;
    if (verb && rest < end) { /* VERB SUBJECT REST? */
        out[0] = (char)toupper((unsigned char)p[0]);
        for (size_t i = 1; i < verb; i++) out[i] = (char)tolower((unsigned char)p[i]);
        out += verb;
        *out++ = ' ';
        subject = out;
        memcpy(out, text, (size_t)(p - text)), out += p - text; /* with the space after it */
        memcpy(out, rest, (size_t)(end - rest)), out += end - rest;
    } else {
        static const char opening[] = "Is it true that ";
        memcpy(out, opening, sizeof opening - 1), out += sizeof opening - 1;
        subject = out;
        memcpy(out, text, size), out += size;
    }
    if (word_among(text, (size_t)(first_end - text), small_words)) subject[0] = (char)tolower((unsigned char)subject[0]);
    *out++ = '?', *out = 0;
}

static int plain_sentence(ClaimList *list, Seen *seen, const char *text, size_t size, char mark, Error *e) {
    int words = 0;
    for (const char *p = text, *end = text + size; p < end;) {
        p += word_size(p, end), words++;
        while (p < end && plain_space(*p)) p++;
    }
    if (mark == '?') return drop_append(list, text, size, "a question", e);
    if (words < PLAIN_WORDS_LEAST) return drop_append(list, text, size, "fewer than three words", e);
    if (size > PLAIN_BYTES_MOST) return drop_append(list, text, size, "longer than 1000 bytes", e);
    int repeated = seen_add(seen, text, size, e);
    if (repeated) return repeated < 0 ? -1 : drop_append(list, text, size, "repeats an earlier sentence", e);
    char question[PLAIN_BYTES_MOST + 32];
    plain_question(text, size, question);
    return claim_append(list, text, size, question, CLAIM_SOUND, e);
}

int claims_by_rule(ClaimGrammar grammar, const char *answer, ClaimList *out, Error *e) {
    *out = (ClaimList){ 0 };
    Seen seen = { 0 };
    const char *text;
    size_t size;
    char mark;
    int failed = 0;
    if (grammar == CLAIM_GRAMMAR_SCENES)
        while (!failed && sentence_next(&answer, &text, &size)) failed = scenes_sentence(out, &seen, text, size, e);
    else
        while (!failed && plain_next(&answer, &text, &size, &mark)) failed = plain_sentence(out, &seen, text, size, mark, e);
    free(seen.texts);
    if (failed) claims_free(out);
    return failed;
}

/* ---- files ---- */

json_t *claims_to_json(const ClaimList *list) {
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++) {
        const Claim *c = &list->claims[i];
        if (json_array_append_new(array, json_pack("{s:s, s:s?}", "claim", c->text, "question", c->question)))
            return json_decref(array), NULL;
    }
    return array;
}

int claims_from_json(const json_t *array, const char *where, ClaimList *out, Error *e) {
    *out = (ClaimList){ 0 };
    if (!json_is_array(array))
        return error_what(e, "claims are not a list"), error_where(e, "%s", where), error_found(e, "%s", json_kind(array)),
               error_expected(e, "[{claim, question}]");
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *row = json_array_get(array, i);
        const char *text = NULL, *question = NULL;
        if (json_need_string(row, "claim", where, &text, e) || json_may_string(row, "question", where, &question, e) ||
            claim_append(out, text, strlen(text), question, question ? CLAIM_SOUND : CLAIM_MALFORMED, e))
            return claims_free(out), -1;
    }
    return 0;
}

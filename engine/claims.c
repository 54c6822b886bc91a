/* claims.c - lists of claims, their JSON, and the grammar of the built-in world: what becomes a claim there and what is rejected unasked.
 *
 * The forms of the built-in world's sentences are scenes/sentence.c's; plain English is plain.c's. Refuses nothing but lack of memory: any
 * text is an answer somebody's model may give. */
#include "engine/claims.h"

#include "base/json.h"
#include "engine/plain.h"
#include "engine/scenes/sentence.h"

#include <stdlib.h>
#include <string.h>

const char claim_probe_ending[] = " Please answer yes or no.";

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

int claims_add(ClaimList *list, const char *text, size_t size, const char *question, ClaimFlaw flaw, Error *e) {
    if (mem_grow(&list->claims, &list->cap, list->count + 1, sizeof *list->claims, "claims", e)) return -1;
    Claim c = { .flaw = flaw };
    if (!(c.text = text_copy(text, size, e))) return -1;
    if (question && !(c.question = text_copy(question, strlen(question), e))) return free(c.text), -1;
    list->claims[list->count++] = c;
    return 0;
}

int claims_drop(ClaimList *list, const char *text, size_t size, const char *why, Error *e) {
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

static int scenes_claims(ClaimList *list, Seen *seen, const char *text, size_t size, Error *e) {
    int repeated = seen_add(seen, text, size, e);
    if (repeated) return repeated < 0 ? -1 : claims_add(list, text, size, NULL, CLAIM_REPEATED, e);
    SceneSentence sentence;
    if (!sentence_parse(text, size, &sentence)) return claims_add(list, text, size, NULL, CLAIM_MALFORMED, e);
    SceneFact facts[SENTENCE_FACTS_MOST];
    int n = sentence_facts(&sentence, facts);
    for (int i = 0; i < n; i++) {
        char claim[SENTENCE_TEXT], question[SENTENCE_TEXT];
        fact_claim(&facts[i], claim), fact_question(&facts[i], question);
        if (claims_add(list, claim, strlen(claim), question, CLAIM_SOUND, e)) return -1;
    }
    return 0;
}

static int scenes_answer(ClaimList *list, const char *answer, Error *e) {
    Seen seen = { 0 };
    const char *cursor = answer, *text;
    size_t size;
    int failed = 0;
    while (!failed && sentence_next(&cursor, &text, &size)) {
        size_t first = list->count;
        failed = scenes_claims(list, &seen, text, size, e);
        for (; first < list->count; first++) list->claims[first].at = (size_t)(text - answer), list->claims[first].size = size;
    }
    free(seen.texts);
    return failed;
}

int claims_by_rule(ClaimGrammar grammar, const char *answer, ClaimList *out, Error *e) {
    *out = (ClaimList){ 0 };
    int failed = grammar == CLAIM_GRAMMAR_SCENES ? scenes_answer(out, answer, e) : plain_answer(out, answer, e);
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

static json_t *left_out_json(const ClaimList *list) {
    json_t *out = json_array();
    for (size_t i = 0; out && i < list->drop_count; i++)
        if (json_array_append_new(out, json_pack("{s:s, s:s}", "text", list->drops[i].text, "why", list->drops[i].why)))
            return json_decref(out), NULL;
    return out;
}

json_t *claims_row(const ClaimList *list, const char *id, int64_t candidate) {
    json_t *claims = claims_to_json(list);
    json_t *row = claims ? json_pack("{s:s, s:I, s:o}", "id", id, "candidate", (json_int_t)candidate, "claims", claims) : NULL;
    if (row && list->drop_count > 0 && json_object_set_new(row, "left_out", left_out_json(list))) return json_decref(row), NULL;
    return row;
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
            claims_add(out, text, strlen(text), question, question ? CLAIM_SOUND : CLAIM_MALFORMED, e))
            return claims_free(out), -1;
    }
    return 0;
}

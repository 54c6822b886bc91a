/* claims.h - an answer taken apart into atomic claims, each with the yes/no question that tests it, by rule. (By a model: claim_replies.h.)
 *
 * Two grammars. `scenes` knows the built-in world's English: each sentence gives its facts; a sentence that does not parse, or that repeats
 * an earlier one word for word, is one claim that is rejected without being asked (otherwise malformed text would be free reward). `plain`
 * takes any English: each declarative sentence of three words or more is a claim, or several where it can be taken apart safely (plain.h),
 * and what is left out is listed with the reason. An answer may give no claims at all; such answers have no score. */
#ifndef RLAIFV_ENGINE_CLAIMS_H
#define RLAIFV_ENGINE_CLAIMS_H

#include "base/error.h"

#include <jansson.h>
#include <stdint.h>

typedef enum ClaimGrammar { CLAIM_GRAMMAR_SCENES, CLAIM_GRAMMAR_PLAIN } ClaimGrammar;
int claim_grammar_find(const char *name, ClaimGrammar *out, Error *e); /* "scenes", "plain"; 0 or -1 */

/* What a probe adds to a question (PAPER 3.5): "Is there a ball?" + " Please answer yes or no." */
extern const char claim_probe_ending[];

typedef enum ClaimFlaw { CLAIM_SOUND, CLAIM_MALFORMED, CLAIM_REPEATED } ClaimFlaw;
typedef struct Claim {
    char *text;
    char *question; /* without claim_probe_ending; NULL: rejected without asking, for the flaw below */
    ClaimFlaw flaw;
    size_t at, size; /* by rule: the bytes of the answer that state it; size 0: not known */
} Claim;

typedef struct ClaimDrop {
    char *text;
    const char *why; /* a constant sentence part: "fewer than three words", "a question", ... */
} ClaimDrop;

typedef struct ClaimList {
    Claim *claims;
    ClaimDrop *drops;
    size_t count, cap, drop_count, drop_cap;
} ClaimList;

/* The claims of `answer` (UTF-8, 0-terminated), in its order; *out is written over. 0, or -1 when memory is out (the list is then empty).
 */
int claims_by_rule(ClaimGrammar grammar, const char *answer, ClaimList *out, Error *e);
void claims_free(ClaimList *list);

/* Appends; texts are copied. question NULL: rejected unasked, or not known yet. why: a constant. */
int claims_add(ClaimList *list, const char *text, size_t size, const char *question, ClaimFlaw flaw, Error *e);
int claims_drop(ClaimList *list, const char *text, size_t size, const char *why, Error *e);

/* [{"claim", "question"}], question null when rejected unasked. New reference, or NULL when memory is out. */
json_t *claims_to_json(const ClaimList *list);
/* A row of claims.jsonl: {id, candidate, claims, left_out where there is any}. New reference, or NULL when memory is out. */
json_t *claims_row(const ClaimList *list, const char *id, int64_t candidate);
/* Reads that array back (an unasked claim comes back as CLAIM_MALFORMED: JSON does not keep flaws apart). 0, or -1 with an empty list. */
int claims_from_json(const json_t *array, const char *where, ClaimList *out, Error *e);

#endif

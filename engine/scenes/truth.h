/* truth.h - answers about a scene judged exactly, and what a set of answers amounts to.
 *
 * The same sentences that claims.c turns into questions are compared with the scene itself. Metrics follow CHAIR (Rohrbach et al. 2018) and
 * the paper's human evaluation: a response hallucinates objects when it names a kind that is not there, and hallucinates at all when any of
 * its claims is false. */
#ifndef RLAIFV_ENGINE_SCENES_TRUTH_H
#define RLAIFV_ENGINE_SCENES_TRUTH_H

#include "engine/scenes/sentence.h"

/* One answer. A malformed sentence is one false claim, and the kinds it names are mentions, but it covers nothing: text that cannot be read
 * neither hides a hallucination nor tells anybody of an object. An exact repetition states nothing new: it is counted apart, not judged. */
typedef struct TruthAnswer {
    int words, sentences, malformed, repeated;
    int claims, false_claims;
    int mentions, absent_mentions; /* of kinds, one per object sentence */
    unsigned named, covered;       /* kinds as bits: named at all; present and named by a well-formed sentence */
} TruthAnswer;

void truth_answer(const Scene *s, const char *answer, TruthAnswer *out);
/* Kinds an answer names in well-formed sentences, as bits. Needs no scene. */
unsigned truth_kinds(const char *answer);
int truth_bits(unsigned kinds); /* how many */

/* The answer as a person would correct it who changes no more than must be: false attributes, counts and backgrounds set right; a thing that is
 * not there becomes one that is and that nothing was said of, while there are such; other sentences about what is not there, those that cannot be read, and
 * those that come again are left out. 1 when that changed something and left something. out: truth_correct_size(answer) bytes. */
int truth_correct(const Scene *s, const char *answer, char *out);
size_t truth_correct_size(const char *answer);

/* A set of answers; zero it, add, read. */
typedef struct TruthTally {
    int answers, answers_naming, answers_absent, answers_false;
    long words, sentences, malformed, repeated, claims, false_claims, mentions, absent_mentions, present, covered, distinct;
} TruthTally;
void truth_add(TruthTally *t, const Scene *s, const TruthAnswer *a);

/* Shares are in 0..1; an empty set gives 0. */
typedef struct TruthRates {
    double object_responses;        /* answers that name an absent kind, of answers that name any */
    double object_mentions;         /* mentions of absent kinds, of mentions */
    double any_false;               /* answers with a false claim, of answers */
    double false_claims;            /* of claims */
    double coverage;                /* kinds covered, of kinds present */
    double malformed, repeated;     /* of sentences */
    double words, claims, distinct; /* per answer; distinct: different kinds named */
} TruthRates;
TruthRates truth_rates(const TruthTally *t);
json_t *truth_rates_to_json(const TruthRates *r); /* fields by the names above; NULL when memory is out */
int truth_rates_from_json(const json_t *object, const char *where, TruthRates *out, Error *e);

#endif

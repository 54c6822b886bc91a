/* pairs.h - scored candidates -> preference pairs (PAPER 3.6, with its faults mended: seeded draws, duplicates removed). */
#ifndef RLAIFV_ENGINE_PAIRS_H
#define RLAIFV_ENGINE_PAIRS_H

#include "engine/config.h"

typedef struct PairCandidate {
    const char *text;
    int candidate;    /* its number among the prompt's */
    int other;        /* by the second model (sample.other) */
    int scored;       /* 0: no score (no claims, or questions that do not match the facts): cannot be paired */
    double score;
    int words;        /* by white space */
    int objects;      /* distinct objects named and accepted by the labeler, for keep_objects */
} PairCandidate;

typedef struct PairChoice {
    int prompt; /* index */
    int chosen, rejected; /* indices into the prompt's candidates */
    int words_chosen, words_rejected;
} PairChoice;

typedef struct PairList {
    PairChoice *list;
    size_t n, cap;
} PairList;

typedef struct PairCounts {
    int prompts, prompts_without, candidates, unscored, duplicates;
    int64_t possible;        /* unordered pairs with enough gap */
    int drawn;               /* after the cap per prompt */
    int balanced_away, past_most, kept;
    double ratio;            /* the sweep's choice, for BALANCE_RATIO */
    double words_chosen, words_rejected; /* means of what is kept */
} PairCounts;

int words_count(const char *text);
/* Distinct objects that a labelled answer names and the labeler accepted: `probes` of a row of labels.jsonl. 0 where questions are not of the built-in world. */
int objects_accepted(const json_t *probes);

/* Draws pairs of one prompt and appends them: candidates with equal text are one; |score gap| >= min_gap, the higher chosen; at most per_prompt
 * (with cap = image: all), at random by (run.seed, stream); further rules of [pair] in config. */
int pairs_draw(const RunConfig *c, int prompt, uint64_t stream, const PairCandidate *candidates, int n, PairList *list, PairCounts *counts, Error *e);
/* With cap = image: of the pairs drawn, at most per_prompt of each image, at random by (run.seed, stream), in place. images: by prompt, equal texts are
 * one image. */
int pairs_cap_image(const RunConfig *c, const char *const *images, uint64_t stream, PairList *list, PairCounts *counts, Error *e);
/* The global length filter over all pairs drawn, in place; then the draw of pair.most of the rest by (run.seed, stream). */
int pairs_filter(const RunConfig *c, uint64_t stream, PairList *list, PairCounts *counts, Error *e);
void pairs_free(PairList *list);

/* The arrow: candidates.jsonl + labels.jsonl (rows of the same id and candidate) -> pairs.jsonl. Every candidate must be labelled. `iteration` enters the seed. */
int pairs_write(const RunConfig *c, const char *candidates, const char *labels, const char *out, int iteration, PairCounts *counts, Error *e);

#endif

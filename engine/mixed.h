/* mixed.h - preferences that are not of the policy's own answers alone, for the paper's ablations: answers of a second model among the candidates (without
 * "deconfounding"), and pairs of other feedback beside an iteration's own. */
#ifndef RLAIFV_ENGINE_MIXED_H
#define RLAIFV_ENGINE_MIXED_H

#include "engine/crew.h"

/* What answers a prompt beside the policy (`policy`, where sample.other is empty). */
const char *other_model(const RunConfig *c, const char *policy);
/* The second model's own draws: else, being the policy, it would repeat the first one's. */
uint64_t other_seed(uint64_t seed);

/* policy.jsonl and other.jsonl of an iteration -> candidates.jsonl: of each prompt first the policy's answers, then the other's, numbered through,
 * with a field `model` (policy, other). A prompt that one of them could not take has the answers of the one that could. Counts are of the result. */
int answers_join(const Dataset *prompts, const char *policy, const char *other, const char *out, SampleCounts *counts, Error *e);

/* candidates.jsonl of [sample]: of the policy alone, or joined, the two files beside it. For `lead` of crew_run; seed: of the iteration. */
int mixed_sample(Loop *l, const char *policy, uint64_t seed, const Dataset *prompts, const char *folder, SampleCounts *counts, Error *e);

/* An iteration's pairs.jsonl and data.pairs -> `out`: the former as they are, then the latter as rows of ours with their ids, `from` saying where they are
 * from. Unusable rows of data.pairs are dropped and counted, or with data.strict refused. */
typedef struct MergeCounts {
    int own, other, dropped;
} MergeCounts;
int pairs_merge(const RunConfig *c, const char *pairs, const char *out, MergeCounts *counts, Error *e);

/* Refuses a data.pairs that pairs_merge could not read, before anything is computed. */
int pairs_merge_check(const RunConfig *c, Error *e);

#endif

/* arrows.h - the first arrows of the loop, file to file: sample, claims, label. Rows are those of ARCHITECTURE's table.
 *
 *   prompts -> candidates.jsonl   {id, image, question, candidate, text, tokens, logp, finished}; image: an absolute path, or null
 *           -> claims.jsonl       {id, candidate, claims: [{claim, question}], left_out: [{text, why}]}; question null: rejected unasked;
 *                                by model also retried, dropped, reply (docs/claims.md)
 *           -> labels.jsonl       {id, candidate, probes: [{question, p_yes, p_no, accepted}], score}; score: minus the rejected
 *                                claims, or of a whole answer label.score; null: no claims, or refused
 *
 * Each file appears when it is whole. What is finished before a kill is kept beside it (partial.h) and not done again; the result is the
 * same, probabilities to rounding. Rows whose image does not decode are dropped and counted, or with [data] strict end the arrow. */
#ifndef RLAIFV_ENGINE_ARROWS_H
#define RLAIFV_ENGINE_ARROWS_H

#include "engine/config.h"
#include "engine/dataset.h"
#include "engine/progress.h"
#include "engine/ranks.h"
#include "engine/vlm.h"

/* What counts say about a file that was just written, or stood there already. */
typedef struct SampleCounts {
    int prompts, refused; /* refused: prompts dropped for their image or length */
    int64_t candidates, finished, tokens;
} SampleCounts;
typedef struct ClaimCounts {
    int64_t answers, without; /* without: answers with no claim */
    int64_t claims, unasked, left_out;
    int64_t retried, dropped; /* by model: replies asked for again; answers whose second reply was malformed too */
} ClaimCounts;
typedef struct LabelCounts {
    int64_t answers, unscored;                    /* unscored: no claims, or refused */
    int64_t claims, rejected, probes, probes_yes; /* probes: asked of the labeler */
    double score;                                 /* sum over scored answers */
} LabelCounts;

/* How commands that take a config begin: reads it, and refuses when one of the `needed` keys (NULL-ended) is empty. 0 go on; else what the
 * command returns, where 1 stands for "help was given": nothing is left to do. */
int command_config(RunConfig *c, int argc, char **argv, const char *synopsis, const char *const *needed, Error *e);
/* The same for commands that all ranks take part in (main.c): all return what rank 0 does. */
int command_config_ranks(RunConfig *c, int argc, char **argv, const char *synopsis, const char *const *needed, Error *e);

/* The folder of an iteration: RUN/iter-N. */
int arrow_folder(const RunConfig *c, int iteration, char out[PATH_SIZE], Error *e);

/* c->sample.n candidates for each prompt. seed: of this iteration; instruction indices are row indices of `prompts`. */
int arrow_sample(const Ranks *ranks, Vlm *policy, const RunConfig *c, uint64_t seed, const Dataset *prompts, const char *out, SampleCounts *counts,
    Progress *progress, Error *e);
/* Claims by rule, c->claims.grammar; with label.mode = holistic each answer as one claim (claim_replies.h). */
int arrow_claims(const RunConfig *c, const char *candidates, const char *out, ClaimCounts *counts, Error *e);
/* Claims by a text model (claim_replies.h): two passes of greedy decoding over all answers, the prompts' fixed beginnings shared. */
int arrow_claims_model(const Ranks *ranks, Vlm *v, const RunConfig *c, const char *candidates, const char *out, ClaimCounts *counts,
    Progress *progress, Error *e);
/* The model of [claims] where `labeler` would label, the template it is asked by (empty: the checkpoint's own), and what else its claims depend
 * on, as words for config_hash: by mode. */
const char *claims_model(const RunConfig *c, const char *labeler);
const char *claims_template(const RunConfig *c);
const char *claims_settings(const RunConfig *c);
/* What labels depend on besides the labeler, candidates and claims: words for config_hash, by mode. */
const char *label_settings(const RunConfig *c);
/* Every claim's question, with claim_probe_ending, asked of the labeler about the candidate's image. Equal questions are asked once. */
int arrow_label(const Ranks *ranks, Vlm *labeler, const RunConfig *c, const char *candidates, const char *claims, const char *out, LabelCounts *counts,
    Progress *progress, Error *e);

/* What a model's answers depend on, as text for a partial's key. */
int arrow_model_key(Vlm *v, char *out, size_t size, Error *e);

#endif

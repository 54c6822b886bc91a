/* sample.h - candidate answers from a Forest that grows.
 *
 * Each prompt's trunk is prefilled once and its candidates grow from it as leaves, one row each per step, all in one batch. A leaf that
 * ends (eos, or max_new_tokens) is released and the next waiting candidate takes its place at once, whichever prompt it belongs to, so the
 * batch stays full until the prompts run out. Prompts of one image that are in flight together share the image's rows.
 *
 * A token is a function of (seed, instruction, candidate, position) and of the model's probabilities alone: neither the batch's size nor
 * its composition nor the order of prompts enters (beyond rounding of the logits).
 *
 * A search's beams are leaves of its prompt, all of which start together. Where two beams go on from one, the key/value memory of that leaf is copied to
 * the leaf of a beam that none goes on from, from where the two differ. A search that found fewer answers than n, as few ids are allowed, leaves the others
 * empty. */
#ifndef RLAIFV_ENGINE_SAMPLE_H
#define RLAIFV_ENGINE_SAMPLE_H

#include "engine/progress.h"
#include "engine/vlm.h"

enum { SAMPLE_LEAVES = 64 }; /* leaves in flight unless the caller says otherwise */
#define REPETITION_HELP "what an answer has said is that much less likely (Transformers' rule); 1: off"

typedef struct SampleConfig {
    int n;                    /* candidates per prompt */
    float temperature, top_p; /* temperature 0: greedy; top_p 1: off */
    int top_k;                /* 0: off */
    int max_new_tokens;
    int leaves; /* in flight at once, beams among them, of which there is room for one search always; 0: SAMPLE_LEAVES */
    uint64_t seed;
    const IdList *head; /* prompts without an image that begin with these ids, and go on, share their rows; NULL: none */
    float repetition_penalty; /* of ids that an answer has already (Kernels.penalise); 1 or 0: none. Of draws alone: beams have none */
    int beams; /* above 1: the n best answers of a search with so many beams (beam.h), at most BEAMS_MOST and at least n; nothing is drawn */
} SampleConfig;

/* Leaves of a prompt. */
static inline int sample_spread(int n, int beams) { return beams > 1 ? beams : n; }

typedef struct Candidate {
    IdList ids;   /* the id that ended it included when finished */
    double logp;  /* sum of the ids' log-probs at temperature 1, a penalty included */
    int finished; /* ended by an id that does (vlm_ends), not by the limit or the model's last position */
} Candidate;

/* Where results go: called once per prompt, in order of completion, with its n candidates (owned by the sampler, gone after the call; ids
 * may be taken by zeroing the list). A non-zero return ends the call with -1. */
typedef struct SampleSink {
    void *context;
    int (*prompt_done)(void *context, size_t prompt, Candidate *candidates, Error *e);
} SampleSink;

/* Samples config->n candidates for each prompt. instructions: the Philox instruction index of each prompt, NULL for 0, 1, 2, ...: whoever
 * samples a part of a set gives the indices in the whole set. progress counts candidates. An answer that would pass the model's last
 * position ends there, unfinished. */
int sample_candidates(Vlm *v, const Prompt *prompts, const uint32_t *instructions, size_t n, const SampleConfig *config,
    const SampleSink *sink, const Refusals *refusals, Progress *progress, Error *e);

/* The size of the largest step, key/value memory included, for prompts of at most `longest` tokens of which `images` have one; head: tokens before
 * an image, and those of config->head. *leaves: that grow at once. */
StepSize sample_step_size(
    const ModelConfig *c, const SampleConfig *config, int64_t head, int64_t longest, int64_t prompts, int64_t images, int *leaves);

/* The same with all results kept: *out has n * config->n candidates, prompt by prompt (those of refused prompts empty: no ids). Free with
 * candidates_free. */
int sample_all(Vlm *v, const Prompt *prompts, size_t n, const SampleConfig *config, Candidate **out, const Refusals *refusals,
    Progress *progress, Error *e);
void candidates_free(Candidate *c, size_t n);

#endif

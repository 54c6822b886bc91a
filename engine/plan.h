/* plan.h - what a run needs before it begins: the bytes of every buffer in every phase on the rank that holds most, and what each phase
 * costs.
 *
 * Sizes come from the functions that the phases themselves reserve their buffers by (sample_step_size, label_step_size, train_step_size,
 * model_sizes, shard_sizes, params_plan) and from kernels/overhead.h, so a plan needs config.json of the models and nothing else of them.
 * What depends on data is measured where the data and a tokenizer are there, and else bounded by the settings, or assumed; PlanNumber.from
 * says which.
 *
 * A phase begins with weights alone (crew.c, train.c let everything else go), so the need of a run is the largest phase, not their sum. */
#ifndef RLAIFV_ENGINE_PLAN_H
#define RLAIFV_ENGINE_PLAN_H

#include "engine/config.h"
#include "engine/progress.h"

typedef enum PlanPhaseKind {
    PLAN_LOAD,   /* the larger of the models in memory alone; in mode parameters the policy whole while it is dealt, and when it is gathered
                    again */
    PLAN_SAMPLE, /* answers of the policy */
    PLAN_OTHER,  /* answers of a second model (sample.other) */
    PLAN_CLAIMS, /* claims of the answers, where a model finds them */
    PLAN_LABEL,  /* probes of the labeler */
    PLAN_REFERENCE,  /* log-probs under the starting weights */
    PLAN_TRAIN,      /* steps */
    PLAN_CHECKPOINT, /* training once the first was written: what that needed stays */
    PLAN_EVALUATE,   /* answers with [eval]'s settings */
    PLAN_PHASES
} PlanPhaseKind;
extern const char *const plan_phase_names[PLAN_PHASES];

enum {
    PLAN_OF_TRAIN = 1 << PLAN_LOAD | 1 << PLAN_REFERENCE | 1 << PLAN_TRAIN | 1 << PLAN_CHECKPOINT, /* rlaifv train */
    PLAN_OF_RUN = PLAN_OF_TRAIN | 1 << PLAN_SAMPLE | 1 << PLAN_OTHER | 1 << PLAN_CLAIMS | 1 << PLAN_LABEL | 1 << PLAN_EVALUATE, /* rlaifv run */
    PLAN_OF_SAMPLE = 1 << PLAN_LOAD | 1 << PLAN_SAMPLE | 1 << PLAN_OTHER,                          /* and so on */
    PLAN_OF_LABEL = 1 << PLAN_LOAD | 1 << PLAN_CLAIMS | 1 << PLAN_LABEL,
    PLAN_OF_EVAL = 1 << PLAN_LOAD | 1 << PLAN_EVALUATE,
    PLAN_BUFFERS = 64
};

typedef struct PlanNumber {
    int64_t most;
    double mean;
    const char *from; /* "measured", "given", "bound", "assumed" */
} PlanNumber;

/* What a plan has to know of the data. Tokens of a prompt, a probe and a pair count the image's rows and the text before it; a pair is a
 * prompt with both answers. `most` of prompts, eval_prompts and pairs: how many there are, for one iteration. */
typedef struct PlanData {
    int64_t head; /* tokens before the image */
    int images;   /* whether prompts have one */
    char chat[1600]; /* the policy's chat template and why, or why there is none; "" without a tokenizer */
    PlanNumber prompts, prompt, eval_prompts, eval_prompt, answer, claims, probe, pairs, pair;
    int64_t claims_head; /* tokens that all prompts of the claims model begin with */
    PlanNumber claims_prompt; /* of the longest and the mean prompt of that model, without them */
} PlanData;

typedef struct PlanBuffer {
    const char *what;
    int64_t bytes;
    int on_host; /* not in the device's memory, where that is another */
} PlanBuffer;

typedef struct PlanPhase {
    int wanted;
    PlanBuffer buffers[PLAN_BUFFERS];
    int n;
    int64_t device, host; /* sums */
    /* of one iteration, on one rank; seconds are predictions for the stated speeds (plan_work.c) */
    double tokens, flops, traffic, sent, seconds;
    double exposed; /* of the seconds: waiting for other ranks */
    double steps;
} PlanPhase;

typedef struct PlanSpeeds {
    double tflops, bandwidth, network; /* reached, not peak: TFLOP/s, GB/s of memory, GB/s that a rank sends */
} PlanSpeeds;

typedef struct Plan {
    const RunConfig *config;
    const ModelConfig *policy, *labeler, *claims, *other;
    const PlanData *data;
    int ranks; /* of the world */
    PlanPhase phases[PLAN_PHASES];
    PlanPhaseKind largest;
    int64_t peak; /* bytes of device memory (on a CPU: of memory) in the largest phase */
} Plan;

/* The models' shapes as a rank of the config holds them: config.json of model.dir, labeler.dir, where claims are by model claims.dir, and sample.other
 * where that answers. */
typedef struct PlanModels {
    ModelConfig policy, labeler, claims, other;
} PlanModels;
int plan_models(PlanModels *m, const RunConfig *c, Error *e);

/* Measures what is there to measure, and fills in the rest. `given` (may be NULL): numbers above 0 that count in place of what would be
 * found. */
typedef struct PlanGiven {
    int64_t prompts, prompt_text, answer, claims, probe_text, pairs;
} PlanGiven;
int plan_data(PlanData *d, const RunConfig *c, const ModelConfig *policy, unsigned phases, const PlanGiven *given, Error *e);

/* Refuses numbers of ranks that the settings do not divide among (ranks_check). */
int plan_make(Plan *p, const RunConfig *c, const PlanModels *m, const PlanData *d, int ranks, unsigned phases, Error *e);
/* Adds work, traffic and seconds to a plan. */
int plan_work(Plan *p, const PlanSpeeds *s, Error *e);

static inline int plan_on_cpu(const RunConfig *c) { return c->run.device[0] == 'c' && c->run.device[1] == 'p'; }
/* Answers to a prompt, of both models. */
static inline int plan_answers(const RunConfig *c) { return c->sample.n + c->sample.other_n; }
/* What is needed of the memory that `phase` is computed in. */
int64_t plan_phase_bytes(const Plan *p, PlanPhaseKind phase);

/* The smallest change of settings with which the plan fits into `memory` bytes, as text in `out`: found by trying (plan_fit.c). 1, 0 when
 * nothing that is tried is enough, -1. */
int plan_fit(const Plan *p, int64_t memory, char *out, size_t size, Error *e);

/* At the start of a run: says the plan in a few lines, and refuses it where `memory` (below 0: not known) is too small (run.plan). */
int plan_start(const RunConfig *c, int ranks, int64_t memory, unsigned phases, Progress *progress, Error *e);

/* "12.3 GiB". Returns out. */
char *plan_bytes_text(int64_t bytes, char out[32]);

#endif

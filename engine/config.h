/* config.h - the settings of a run: one table of keys, read from an INI file and the command line into one struct.
 *
 * The table (config.c) is the only place that says a key's section, name, type, range or choices, default and help, and the field that
 * holds it: a new key is one line there and one field here. A file looks like
 *
 *     [train]
 *     lr = 5e-7            ; a comment after " ;"
 *     freeze = vision, projector
 *
 * and any key can be given as --train.lr=5e-7 (or --train.lr 5e-7) instead, which wins. --device, --dtype, --threads and --seed mean those
 * keys of [run]. Relative paths are relative to the file that holds them, or to the current folder when given on the command line.
 * A file that begins with [run] base = FILE has what that one says, but for what it says itself. Unknown
 * keys, keys given twice, and values of the wrong kind or range are refused with the file and line, or the option. */
#ifndef RLAIFV_ENGINE_CONFIG_H
#define RLAIFV_ENGINE_CONFIG_H

#include "base/file.h"
#include "engine/claims.h"
#include "kernels/kernels.h"
#include "model/image.h"
#include "model/shard.h"

#include <stdint.h>

typedef enum ClaimMode { CLAIM_BY_RULE, CLAIM_BY_MODEL } ClaimMode;
typedef enum Compat { COMPAT_NONE, COMPAT_UPSTREAM } Compat;
typedef enum PairBetween { BETWEEN_ANY, BETWEEN_MODELS } PairBetween;
typedef enum PairCap { CAP_PROMPT, CAP_IMAGE } PairCap;
typedef enum PairsAspect { PAIRS_SAME, PAIRS_PAD, PAIRS_CROP } PairsAspect;
typedef enum LabelMode { LABEL_CLAIMS, LABEL_HOLISTIC } LabelMode;
typedef enum LabelScore { SCORE_LOG_ODDS, SCORE_P_YES } LabelScore;
typedef enum LengthBalance {
    BALANCE_OFF,
    BALANCE_RATIO, /* the paper's filter: drop pairs whose chosen answer is shorter by more than the ratio that makes mean lengths meet */
    BALANCE_MEAN   /* drop the pairs with the shortest chosen answers until the mean difference is at least length_delta words */
} LengthBalance;
typedef enum SftReduce { SFT_MEAN, SFT_SUM } SftReduce;
typedef enum Schedule { SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_CONSTANT } Schedule;
typedef enum TrainReference { REFERENCE_COMPUTE, REFERENCE_FILE } TrainReference;
typedef enum TrainOrder { ORDER_SHUFFLE, ORDER_FILE } TrainOrder;
typedef enum SaveDType { SAVE_SAME, SAVE_FP32, SAVE_BF16, SAVE_FP16 } SaveDType;
typedef enum SelectRule {
    SELECT_LAST,      /* the last checkpoint of the iteration */
    SELECT_REJECTIONS, /* fewest rejected claims an answer on the validation prompts, among those that still name enough objects */
    SELECT_TEST_SET    /* upstream's: fewest on the evaluation's own prompts, whatever is named */
} SelectRule;
typedef enum SftTask { SFT_ANSWERS, SFT_TOWER } SftTask;
typedef enum SftSource { SFT_ROWS, SFT_SCENES } SftSource;
typedef enum EvalKind {
    EVAL_LABELER, /* what the labeler says of the answers: needs no truth */
    EVAL_SCENES   /* against the built-in world's truth in the rows */
} EvalKind;

enum { CONFIG_WORD = 64 };

/* Paths are absolute or relative to the current folder; empty when not set. */
typedef enum PlanRule { PLAN_CHECK, PLAN_WARN, PLAN_OFF } PlanRule;
typedef enum Recompute { RECOMPUTE_NONE, RECOMPUTE_LAYER } Recompute;
typedef enum Offload { OFFLOAD_NONE, OFFLOAD_OPTIMIZER } Offload;

typedef struct RunConfig {
    struct {
        char dir[PATH_SIZE];
        int64_t seed;
        char device[CONFIG_WORD];
        DType dtype;
        int threads; /* 0: all cores */
        int iterations;
        int quiet; /* no progress bars */
        PlanRule plan;
        Compat compat;
    } run;
    struct {
        char dir[PATH_SIZE];
    } model;
    struct {
        char dir[PATH_SIZE]; /* empty: the policy labels itself */
    } labeler;
    struct {
        char template_name[PATH_SIZE]; /* a name, a path, or auto (tokenizer/template.h) */
    } chat;
    struct {
        ClaimMode mode;
        char dir[PATH_SIZE]; /* empty: the labeler */
        char template_name[PATH_SIZE];
        char split_prompt[PATH_SIZE], question_prompt[PATH_SIZE]; /* empty: built in */
        int max_new_tokens;
        ClaimGrammar grammar;
    } claims;
    struct {
        char prompts[PATH_SIZE], train[PATH_SIZE], pairs[PATH_SIZE], validation[PATH_SIZE], eval[PATH_SIZE], images[PATH_SIZE];
        int per_iteration; /* prompts an iteration takes, each iteration the next ones; 0: all of them every time */
        int strict;
        ImageExif exif;
        int prefetch; /* images */
    } data;
    struct {
        int n;
        double temperature, top_p;
        int top_k, max_new_tokens;
        double repetition_penalty;
        int beams;
        int batch; /* leaves that grow together */
        char other[PATH_SIZE], other_template[PATH_SIZE]; /* a second model that answers; empty: the policy */
        int other_n;                                      /* its answers a prompt, beside n; 0: none */
        double other_temperature;                         /* below 0: temperature */
        int other_beams;
    } sample;
    struct {
        LabelMode mode;
        LabelScore score;       /* of LABEL_HOLISTIC */
        char prompt[PATH_SIZE]; /* of LABEL_HOLISTIC; empty: built in */
        int batch;              /* rows of one step */
    } label;
    struct {
        int per_prompt;
        int most; /* kept of an iteration; 0: all */
        PairCap cap;
        PairBetween between;
        double min_gap;
        LengthBalance balance_length;
        double length_delta;      /* words; for BALANCE_MEAN */
        double max_length_change; /* |chosen - rejected| / rejected in words at most this; 0: any */
        int disjoint;             /* the pairs of a prompt share no answer */
        int keep_objects;         /* chosen names at least as many objects as rejected (scenes grammar) */
    } pair;
    struct {
        LossKind loss;
        double beta, label_smoothing, sft_weight, token_weight, length_alpha, conditional_weight, anchor_weight;
        SftReduce sft_reduce;
        double lr, lr_end; /* lr_end: what cosine and linear end at, as a share of lr */
        Schedule schedule;
        int warmup_steps; /* when above 0 it counts, else warmup_ratio of the steps, rounded up */
        double warmup_ratio;
        int steps; /* 0: as many as epochs give */
        double epochs;
        int batch_pairs;
        TrainOrder order;
        double adam_beta1, adam_beta2, adam_eps, weight_decay, clip; /* clip 0: off */
        unsigned freeze;                                             /* bits 1 << ParamPart */
        ImageAspect image_aspect;
        PairsAspect pairs_aspect;                                    /* of training where it differs */
        TrainReference reference;
        int save_every;     /* steps; 0: only at the end */
        double save_epochs; /* the same in epochs; 0: by save_every */
        int keep;       /* newest checkpoints kept besides the selected; 0: all */
        int rows; /* token rows computed at once */
        Recompute recompute;
        int max_tokens;
        SaveDType save_dtype;
        int log_every;
    } train;
    struct {
        int tensor; /* ranks that hold one model together, each a slice of it */
        ShardMode shard;
        Offload offload;
        int parts;    /* of a step's pairs, summed as a tree; 0: one per rank */
        int watchdog; /* seconds */
    } ranks;
    struct {
        SftTask task;
        SftSource source;
        int random;            /* start from random weights */
        char tower[PATH_SIZE]; /* checkpoint whose tower is taken; empty: the model's own */
        int captions, yes_no, open; /* turns of each scene */
        unsigned forms; /* of captions' sentences about objects: bits 1 << SentenceForm */
        double noise_partner, noise_colour, noise_position, noise_count;
        int batch_images;
        double one_word_weight; /* weight of answers of one word in the loss */
    } sft;
    struct {
        SelectRule rule;
        double min_objects_ratio; /* objects named per answer against the start of the run */
        int prompts;              /* of data.validation; 0: all */
    } select;
    struct {
        EvalKind kind;
        int prompts; /* of data.eval; 0: all */
        int n;       /* answers a prompt */
        double temperature, top_p;
        int top_k, max_new_tokens;
        double repetition_penalty;
        int beams;
        int examples; /* before and after answers kept for the report */
    } eval;
} RunConfig;

/* Who labels: the labeler, or where there is none `policy`. */
static inline const char *labeler_or(const RunConfig *c, const char *policy) { return c->labeler.dir[0] ? c->labeler.dir : policy; }
/* 1 when a text model takes answers apart: neither rules do, nor is the whole answer asked about. */
static inline int claims_by_model(const RunConfig *c) { return c->label.mode == LABEL_CLAIMS && c->claims.mode == CLAIM_BY_MODEL; }

/* Results of config_arguments beside 0 and -1. */
enum { CONFIG_HELP = 1, CONFIG_USAGE = 2 };

void config_defaults(RunConfig *c);
/* Sets what the file says over *c. 0 or -1. */
int config_read(RunConfig *c, const char *path, Error *e);
/* Sets one key from text, "train.lr" to "5e-7"; relative paths are relative to the current folder. `where` names the source for messages.
 */
int config_set(RunConfig *c, const char *key, const char *value, const char *where, Error *e);
/* Reads a command's arguments (after its name): CONFIG and options in any order, over the defaults. 0; CONFIG_HELP when help is asked for;
 * CONFIG_USAGE with the Error filled for options that are wrong; -1 when the file is refused. */
int config_arguments(RunConfig *c, int argc, char **argv, Error *e);
/* An Error that names the key when it is empty: for commands that cannot do without it. */
int config_need(const RunConfig *c, const char *key, Error *e);

/* The table as help text, defaults included. */
void config_help(FILE *to);
/* The resolved settings as an INI file that config_read reads back to the same values (paths made absolute). */
int config_write(const RunConfig *c, const char *path, Error *e);
/* A hash of the settings named in `keys`: words that are "section" or "section.key", for ledgers and cache keys. Unknown words are refused.
 */
int config_hash(const RunConfig *c, const char *keys, char out[HASH_TEXT], Error *e);

#endif

/* config.c - owns the table of settings: their names, types, ranges, defaults and help; reads, prints, writes and hashes them.
 *
 * inih (github.com/benhoyt/inih) splits the lines; what they mean is decided here. `base` in [run], which is no setting but names a config that is read
 * first, is known to the reader of files alone. Refuses unknown sections and keys, keys given twice,
 * values outside a key's range or choices, and lines that are none of [section], key = value, or a comment. */
#include "engine/config.h"

#include "engine/beam.h"
#include "engine/compat.h"
#include "engine/sample.h"
#include "kernels/comm/world.h"
#include "model/params.h"
#include "tokenizer/template.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Choices stand in the order of their enums. */
static const char *const dtypes[] = { [FP32] = "fp32", [BF16] = "bf16", NULL };
static const char *const claim_modes[] = { [CLAIM_BY_RULE] = "rule", [CLAIM_BY_MODEL] = "model", NULL };
static const char *const compats[] = { [COMPAT_NONE] = "none", [COMPAT_UPSTREAM] = "upstream", NULL };
static const char *const pair_caps[] = { [CAP_PROMPT] = "prompt", [CAP_IMAGE] = "image", NULL };
static const char *const pair_betweens[] = { [BETWEEN_ANY] = "any", [BETWEEN_MODELS] = "models", NULL };
static const char *const pairs_aspects[] = { [PAIRS_SAME] = "same", [PAIRS_PAD] = "pad", [PAIRS_CROP] = "crop", NULL };
static const char *const label_modes[] = { [LABEL_CLAIMS] = "claims", [LABEL_HOLISTIC] = "holistic", NULL };
static const char *const label_scores[] = { [SCORE_LOG_ODDS] = "log_odds", [SCORE_P_YES] = "p_yes", NULL };
static const char *const references[] = { [REFERENCE_COMPUTE] = "compute", [REFERENCE_FILE] = "file", NULL };
static const char *const grammars[] = { [CLAIM_GRAMMAR_SCENES] = "scenes", [CLAIM_GRAMMAR_PLAIN] = "plain", NULL };
static const char *const balances[] = { [BALANCE_OFF] = "off", [BALANCE_RATIO] = "ratio", [BALANCE_MEAN] = "mean", NULL };
static const char *const losses[] = { [LOSS_SIGMOID] = "sigmoid",
    [LOSS_IPO] = "ipo",
    [LOSS_HINGE] = "hinge",
    [LOSS_ROBUST] = "robust",
    [LOSS_SIGMOID_NORM] = "sigmoid_norm",
    NULL };
static const char *const sft_reduces[] = { [SFT_MEAN] = "mean", [SFT_SUM] = "sum", NULL };
static const char *const schedules[] = {
    [SCHEDULE_COSINE] = "cosine", [SCHEDULE_LINEAR] = "linear", [SCHEDULE_CONSTANT] = "constant", NULL
};
static const char *const orders[] = { [ORDER_SHUFFLE] = "shuffle", [ORDER_FILE] = "file", NULL };
static const char *const parts[] = { [PART_VISION] = "vision", [PART_PROJECTOR] = "projector", [PART_DECODER] = "decoder", NULL };
static const char *const save_dtypes[] = { [SAVE_SAME] = "same", [SAVE_FP32] = "fp32", [SAVE_BF16] = "bf16", [SAVE_FP16] = "fp16", NULL };
static const char *const select_rules[] = { [SELECT_LAST] = "last", [SELECT_REJECTIONS] = "rejections", [SELECT_TEST_SET] = "test_set", NULL };
static const char *const eval_kinds[] = { [EVAL_LABELER] = "labeler", [EVAL_SCENES] = "scenes", NULL };

static const char *const sft_tasks[] = { [SFT_ANSWERS] = "answers", [SFT_TOWER] = "tower", NULL };
static const char *const plan_rules[] = { [PLAN_CHECK] = "check", [PLAN_WARN] = "warn", [PLAN_OFF] = "off", NULL };
static const char *const recomputes[] = { [RECOMPUTE_NONE] = "none", [RECOMPUTE_LAYER] = "layer", NULL };
static const char *const offloads[] = { [OFFLOAD_NONE] = "none", [OFFLOAD_OPTIMIZER] = "optimizer", NULL };
static const char *const shards[] = { [SHARD_NONE] = "none",
    [SHARD_OPTIMIZER] = "optimizer",
    [SHARD_GRADIENTS] = "gradients",
    [SHARD_PARAMETERS] = "parameters",
    NULL };
/* In the order of SentenceForm. */
static const char *const sentence_forms[] = { "there_is", "i_see", "is_in", NULL };
static const char *const sft_sources[] = { [SFT_ROWS] = "rows", [SFT_SCENES] = "scenes", NULL };

typedef enum KeyType {
    KEY_INT,
    KEY_INT64,
    KEY_NUMBER,
    KEY_BOOL,
    KEY_TEXT,   /* char [CONFIG_WORD] */
    KEY_PATH,   /* char [PATH_SIZE] */
    KEY_CHAT,   /* char [PATH_SIZE]: a chat template's name, or its path, which holds a '/' */
    KEY_CHOICE, /* an enum */
    KEY_SET     /* bits 1 << choice, written as a list with commas */
} KeyType;

typedef struct Key {
    const char *section, *name;
    KeyType type;
    size_t at; /* of the field in RunConfig */
    const char *initial;
    double least, most;
    const char *const *choices;
    const char *help;
} Key;

#define TEXT_OF(WORD) #WORD
#define AS_TEXT(MACRO) TEXT_OF(MACRO)
#define AT(FIELD) offsetof(RunConfig, FIELD)
#define WHOLE(S, N, FIELD, INITIAL, LEAST, MOST, HELP)                                                                                     \
    { S, N, KEY_INT, AT(FIELD), INITIAL, LEAST, MOST, NULL, HELP }
#define LONG(S, N, FIELD, INITIAL, LEAST, MOST, HELP)                                                                                      \
    { S, N, KEY_INT64, AT(FIELD), INITIAL, LEAST, MOST, NULL, HELP }
#define NUMBER(S, N, FIELD, INITIAL, LEAST, MOST, HELP)                                                                                    \
    { S, N, KEY_NUMBER, AT(FIELD), INITIAL, LEAST, MOST, NULL, HELP }
#define BOOL(S, N, FIELD, INITIAL, HELP)                                                                                                   \
    { S, N, KEY_BOOL, AT(FIELD), INITIAL, 0, 1, NULL, HELP }
#define TEXT(S, N, FIELD, INITIAL, HELP)                                                                                                   \
    { S, N, KEY_TEXT, AT(FIELD), INITIAL, 0, 0, NULL, HELP }
#define PATH(S, N, FIELD, HELP)                                                                                                            \
    { S, N, KEY_PATH, AT(FIELD), "", 0, 0, NULL, HELP }
#define CHOICE(S, N, FIELD, INITIAL, CHOICES, HELP)                                                                                        \
    { S, N, KEY_CHOICE, AT(FIELD), INITIAL, 0, 0, CHOICES, HELP }
#define SET(S, N, FIELD, INITIAL, CHOICES, HELP)                                                                                           \
    { S, N, KEY_SET, AT(FIELD), INITIAL, 0, 0, CHOICES, HELP }

/* The defaults are the paper's for its 7B model (RLAIF-V, arXiv 2405.17220, and its public code) unless the line says why not. */
/* clang-format off */
static const Key keys[] = {
    PATH("run", "dir", run.dir, "folder of the run: all its files go there"),
    LONG("run", "seed", run.seed, "0", 0, 9007199254740991.0, "of everything random"),
    TEXT("run", "device", run.device, "cpu", "where to compute: cpu or cuda"),
    CHOICE("run", "dtype", run.dtype, "fp32", dtypes, "weights and activations; the paper trains in bf16, fp32 is exact on every machine"),
    WHOLE("run", "threads", run.threads, "0", 0, 4096, "0: all cores"),
    WHOLE("run", "iterations", run.iterations, "4", 1, 1000, "rounds of sample, label, pair, train, evaluate"),
    CHOICE("run", "plan", run.plan, "check", plan_rules, "check: a run that does not fit in memory is refused at its start; warn: only said; off: not looked at"),
    CHOICE("run", "compat", run.compat, "none", compats, "upstream: keys at their defaults take the values of upstream's oversights: docs/paper.md lists them, and a run says them"),
    BOOL("run", "quiet", run.quiet, "false", "no progress bars"),

    PATH("model", "dir", model.dir, "checkpoint folder of the policy at the start"),
    PATH("labeler", "dir", labeler.dir, "checkpoint folder of the labeler; empty: the policy labels itself"),
    { "chat", "template", KEY_CHAT, AT(chat.template_name), TEMPLATE_AUTO, 0, 0, NULL,
        "how a conversation is written: auto, a template by name (vicuna_v1, chatml_direct, mistral, ...: configs/chat), or the path of a file of your own" },

    CHOICE("claims", "mode", claims.mode, "rule", claim_modes, "how answers become claims and questions: by rule, or by a text model as in the paper, which has two fine-tuned ones"),
    PATH("claims", "dir", claims.dir, "for mode = model: checkpoint folder of a model that follows instructions; empty: the labeler, without the image"),
    { "claims", "template", KEY_CHAT, AT(claims.template_name), "", 0, 0, NULL, "for mode = model: how that model is asked; empty: as the checkpoint says, of the labeler chat.template" },
    PATH("claims", "split_prompt", claims.split_prompt, "for mode = model: text with {question} and {answer} that asks for facts, one a line; empty: built in (configs/prompts)"),
    PATH("claims", "question_prompt", claims.question_prompt, "for mode = model: text with {facts} that asks for a yes/no question each; empty: built in"),
    WHOLE("claims", "max_new_tokens", claims.max_new_tokens, "512", 1, 1e6, "for mode = model: longest reply; a longer one is malformed"),
    CHOICE("claims", "grammar", claims.grammar, "plain", grammars, "for mode = rule: scenes knows the built-in world, plain takes any English"),

    PATH("data", "prompts", data.prompts, "JSONL of {image, question} to sample answers for"),
    PATH("data", "train", data.train, "JSONL of preference pairs (train) or of {image, question, answer} (sft)"),
    PATH("data", "pairs", data.pairs, "JSONL of preference pairs, in any form that train reads, which every iteration trains on beside its own"),
    PATH("data", "validation", data.validation, "JSONL of prompts that choose the checkpoint; never the evaluation's"),
    PATH("data", "eval", data.eval, "JSONL of prompts to evaluate on"),
    PATH("data", "images", data.images, "folder searched by file name for images that are not where a row says"),
    WHOLE("data", "per_iteration", data.per_iteration, "0", 0, 1e9, "prompts an iteration takes, each iteration the next ones; 0: all, every time"),
    BOOL("data", "strict", data.strict, "false", "stop at the first bad row or absent image instead of dropping it"),
    CHOICE("data", "exif", data.exif, "ignore", image_exifs, "orientation that a camera wrote into a picture; ignored upstream"),
    WHOLE("data", "prefetch", data.prefetch, "16", 0, 4096, "images decoded by up to 4 threads ahead of their step; changes speed and memory, not results; 0: none"),

    WHOLE("sample", "n", sample.n, "10", 2, 1000, "answers for each prompt"),
    NUMBER("sample", "temperature", sample.temperature, "0.7", 0, 100, "0: greedy"),
    NUMBER("sample", "top_p", sample.top_p, "1", 1e-6, 1, "1: off. Upstream inherits what the checkpoint says; LLaVA-1.5's says nothing"),
    WHOLE("sample", "top_k", sample.top_k, "0", 0, 1e9, "0: off. Upstream's 50 is a library default that nobody chose"),
    WHOLE("sample", "max_new_tokens", sample.max_new_tokens, "512", 1, 1e6, "longest answer"),
    NUMBER("sample", "repetition_penalty", sample.repetition_penalty, "1", 1, 100, REPETITION_HELP),
    WHOLE("sample", "beams", sample.beams, "1", 1, BEAMS_MOST, BEAMS_HELP),
    PATH("sample", "other", sample.other, "checkpoint folder of a second model that answers, for pairs that differ in more than truth; empty: the policy, at other_temperature"),
    WHOLE("sample", "other_n", sample.other_n, "0", 0, 1000, "answers of the second model for each prompt, beside the policy's n"),
    NUMBER("sample", "other_temperature", sample.other_temperature, "-1", -1, 100, "of the second model; below 0: temperature"),
    WHOLE("sample", "other_beams", sample.other_beams, "1", 1, BEAMS_MOST, "beams of the second model, at other_temperature 0"),
    { "sample", "other_template", KEY_CHAT, AT(sample.other_template), TEMPLATE_AUTO, 0, 0, NULL, "chat template of the second model" },
    WHOLE("sample", "batch", sample.batch, "64", 1, 65536, "answers that grow together; changes speed and memory, not results"),

    CHOICE("label", "mode", label.mode, "claims", label_modes, "claims: an answer's claims one by one, as in the paper; holistic: one question about the whole answer, its ablation"),
    CHOICE("label", "score", label.score, "log_odds", label_scores, "for mode = holistic, and the unit of pair.min_gap then: ln(yes / no), or yes / (yes + no)"),
    PATH("label", "prompt", label.prompt, "for mode = holistic: text with {question} and {answer} that asks whether the answer is true; empty: built in (configs/prompts)"),
    WHOLE("label", "batch", label.batch, "2048", 1, 1e7, "token rows of one step; changes speed and memory, not results"),

    WHOLE("pair", "per_prompt", pair.per_prompt, "2", 1, 1e6, "pairs kept of a prompt"),
    WHOLE("pair", "most", pair.most, "0", 0, 1e9, "pairs kept of an iteration, at random; 0: all. For comparisons at equal numbers"),
    CHOICE("pair", "between", pair.between, "any", pair_betweens, "models: the two answers are by different models (sample.other)"),
    CHOICE("pair", "cap", pair.cap, "prompt", pair_caps, "what per_prompt counts: the pairs of a prompt, or, as upstream, of all prompts about one image"),
    NUMBER("pair", "min_gap", pair.min_gap, "1", 1e-9, 1e9, "least difference of scores, in rejected claims; with label.mode = holistic in units of label.score"),
    CHOICE("pair", "balance_length", pair.balance_length, "ratio", balances, "ratio: the paper's filter; mean: drop the shortest chosen until length_delta is met"),
    NUMBER("pair", "length_delta", pair.length_delta, "0", -1e6, 1e6, "for mean: words that chosen must exceed rejected by on average"),
    NUMBER("pair", "max_length_change", pair.max_length_change, "0", 0, 1e6, "largest |chosen - rejected| / rejected in words; 0: any"),
    BOOL("pair", "disjoint", pair.disjoint, "false", "pairs of a prompt share no answer"),
    BOOL("pair", "keep_objects", pair.keep_objects, "false", "chosen names at least as many objects as rejected (grammar scenes)"),

    CHOICE("train", "loss", train.loss, "sigmoid", losses, "preference loss, as TRL names them"),
    NUMBER("train", "beta", train.beta, "0.1", 1e-9, 1e6, "of the loss"),
    NUMBER("train", "label_smoothing", train.label_smoothing, "0", 0, 0.499, "share of labels taken to be wrong (sigmoid, robust)"),
    NUMBER("train", "sft_weight", train.sft_weight, "0", 0, 1e6, "weight of the chosen answer's negative log-prob"),
    CHOICE("train", "sft_reduce", train.sft_reduce, "mean", sft_reduces, "of its tokens: mean (TRL), sum (upstream)"),
    NUMBER("train", "token_weight", train.token_weight, "1", 1e-3, 1e3, "DDPO: what a corrected token counts in an answer's log-prob (spans by difflib's rule); 1: as any other"),
    NUMBER("train", "length_alpha", train.length_alpha, "1", 0, 1, "LD-DPO: what tokens beyond the shorter answer's length count; 1: as any other"),
    NUMBER("train", "conditional_weight", train.conditional_weight, "0", 0, 1e6, "mDPO: of the term that prefers chosen with its image to chosen without"),
    NUMBER("train", "anchor_weight", train.anchor_weight, "0", 0, 1e6, "mDPO: of the term that keeps chosen from becoming less likely"),
    NUMBER("train", "lr", train.lr, "5e-7", 0, 1e3, "largest learning rate"),
    NUMBER("train", "lr_end", train.lr_end, "0", 0, 1, "what cosine and linear end at, as a share of lr"),
    CHOICE("train", "schedule", train.schedule, "cosine", schedules, "of the learning rate after warmup"),
    WHOLE("train", "warmup_steps", train.warmup_steps, "0", 0, 1e9, "above 0 it counts, else warmup_ratio"),
    NUMBER("train", "warmup_ratio", train.warmup_ratio, "0.05", 0, 1, "share of the steps"),
    WHOLE("train", "steps", train.steps, "0", 0, 1e9, "0: as many as epochs give"),
    NUMBER("train", "epochs", train.epochs, "4", 0, 1e6, "passes over the pairs"),
    WHOLE("train", "batch_pairs", train.batch_pairs, "8", 1, 65536, "pairs of one optimiser step"),
    CHOICE("train", "order", train.order, "shuffle", orders, "of the pairs: shuffled each epoch, or as in the file"),
    NUMBER("train", "adam_beta1", train.adam_beta1, "0.9", 0, 0.999999, "AdamW"),
    NUMBER("train", "adam_beta2", train.adam_beta2, "0.999", 0, 0.9999999, "AdamW"),
    NUMBER("train", "adam_eps", train.adam_eps, "1e-8", 0, 1, "AdamW"),
    NUMBER("train", "weight_decay", train.weight_decay, "0.01", 0, 100, "of parameters with two or more dimensions"),
    NUMBER("train", "clip", train.clip, "0", 0, 1e9, "largest norm of the gradient; 0: off, as upstream's DeepSpeed settings leave it"),
    SET("train", "freeze", train.freeze, "vision", parts, "parts that do not learn; upstream's tower gets no gradient"),
    CHOICE("train", "image_aspect", train.image_aspect, "pad", image_aspects,
        "for every arrow; upstream trains on crops but samples and evaluates padded images. Checkpoints of tiled images are always given tiles (anyres)"),
    CHOICE("train", "reference", train.reference, "compute", references,
        "compute: log-probs of the starting weights; file: those that the rows of data.train bring as upstream's `logps` (train alone; docs/paper.md)"),
    CHOICE("train", "pairs_aspect", train.pairs_aspect, "same", pairs_aspects, "of pictures in training, references included, where it is not that of the other arrows"),
    WHOLE("train", "save_every", train.save_every, "0", 0, 1e9, "steps between checkpoints; 0: only at the end"),
    NUMBER("train", "save_epochs", train.save_epochs, "0", 0, 1e6, "for preference training, in place of save_every: epochs between checkpoints, .25 upstream; 0: by save_every"),
    WHOLE("train", "keep", train.keep, "0", 0, 1e6, "newest checkpoints kept; 0: all"),
    WHOLE("train", "rows", train.rows, "8192", 1, 1e7, "token rows computed at once: a step of more is cut into chunks whose gradients add up"),
    CHOICE("train", "recompute", train.recompute, "none", recomputes,
        "layer: backward computes each block again, in place of keeping its activations: a third more work, a fraction of the memory"),
    WHOLE("train", "max_tokens", train.max_tokens, "2048", 8, 1e7, "longest prompt and answer, image tokens included; longer pairs are dropped"),
    CHOICE("train", "save_dtype", train.save_dtype, "same", save_dtypes, "of model/ and of checkpoints; same: as the start was stored"),
    WHOLE("train", "log_every", train.log_every, "1", 1, 1e9, "steps between rows of metrics"),

    WHOLE("ranks", "tensor", ranks.tensor, "1", 1, 64,
        "ranks that hold one model together: each has a share of its heads, of its feed-forward and of the vocabulary (tensor parallelism)"),
    CHOICE("ranks", "shard", ranks.shard, "none", shards,
        "what ranks hold in parts: nothing; the optimizer's state; summed gradients too; the decoder's weights too (ZeRO 1, 2, 3)"),
    CHOICE("ranks", "offload", ranks.offload, "none", offloads,
        "what is kept in host memory and stepped there: nothing; Adam's moments and master weights. On the CPU they are there already"),
    WHOLE("ranks", "parts", ranks.parts, "0", 0, 65536,
        "parts of a step's pairs, whose gradients are summed as a tree; 0: one per rank. The same parts give the same bits on 1, 2, 4 ... ranks"),
    WHOLE("ranks", "watchdog", ranks.watchdog, AS_TEXT(WORLD_WATCHDOG_SECONDS), 1, 1e6,
        "seconds that a rank waits for the others in one operation before it gives up"),

    CHOICE("sft", "task", sft.task, "answers", sft_tasks,
        "answers: answer tokens given image and question; tower: the tower alone learns the built-in world (kind, colour, size, cell of each patch)"),
    CHOICE("sft", "source", sft.source, "rows", sft_sources, "rows: data.train; scenes: fresh scenes of the built-in world at every step"),
    BOOL("sft", "random", sft.random, "false", "start from random weights in the shape of model.dir/config.json"),
    PATH("sft", "tower", sft.tower, "checkpoint folder whose vision tower is taken before training (empty: the model's own)"),
    WHOLE("sft", "captions", sft.captions, "1", 0, 64, "captions of each scene (source = scenes)"),
    WHOLE("sft", "yes_no", sft.yes_no, "9", 0, 64, "yes/no questions of each scene"),
    WHOLE("sft", "open", sft.open, "6", 0, 64, "one-word questions of each scene"),
    SET("sft", "forms", sft.forms, "there_is, i_see, is_in", sentence_forms, "how captions put what they say of an object: a model's style"),
    NUMBER("sft", "noise_partner", sft.noise_partner, ".85", 0, 1, "captions name the absent partner of a present kind this often"),
    NUMBER("sft", "noise_colour", sft.noise_colour, ".35", 0, 1, "captions give a kind its typical colour instead of the true one this often"),
    NUMBER("sft", "noise_position", sft.noise_position, ".12", 0, 1, "captions give a wrong position this often"),
    NUMBER("sft", "noise_count", sft.noise_count, ".25", 0, 1, "captions count one object too many this often"),
    WHOLE("sft", "batch_images", sft.batch_images, "16", 1, 65536, "images of one step, each with all its questions"),
    NUMBER("sft", "one_word_weight", sft.one_word_weight, "1", 0, 1e6, "weight of one-word answers in the loss"),

    CHOICE("select", "rule", select.rule, "rejections", select_rules, "which checkpoint the next iteration starts from; rejections: by data.validation; test_set: by data.eval, as upstream, which makes the evaluation say too much"),
    NUMBER("select", "min_objects_ratio", select.min_objects_ratio, "0.95", 0, 100, "least objects an answer names, against the start of the run"),
    WHOLE("select", "prompts", select.prompts, "0", 0, 1e9, "validation prompts used; 0: all"),

    CHOICE("eval", "kind", eval.kind, "labeler", eval_kinds, "judged by the labeler, or against the built-in world's truth"),
    WHOLE("eval", "prompts", eval.prompts, "0", 0, 1e9, "evaluation prompts used; 0: all"),
    WHOLE("eval", "n", eval.n, "1", 1, 1000, "answers for each prompt"),
    NUMBER("eval", "temperature", eval.temperature, "0", 0, 100, "0: greedy"),
    NUMBER("eval", "top_p", eval.top_p, "1", 1e-6, 1, "1: off"),
    WHOLE("eval", "top_k", eval.top_k, "0", 0, 1e9, "0: off"),
    WHOLE("eval", "max_new_tokens", eval.max_new_tokens, "1024", 1, 1e6, "longest answer"),
    NUMBER("eval", "repetition_penalty", eval.repetition_penalty, "1", 1, 100, REPETITION_HELP),
    WHOLE("eval", "beams", eval.beams, "1", 1, BEAMS_MOST, BEAMS_HELP),
    WHOLE("eval", "examples", eval.examples, "3", 0, 1000, "answers shown before and after"),
};
/* clang-format on */
enum { KEYS = sizeof keys / sizeof *keys };

/* --device and so on mean these keys. */
static const struct {
    const char *option, *key;
} shorthands[] = {
    { "device", "run.device" },
    { "dtype", "run.dtype" },
    { "threads", "run.threads" },
    { "seed", "run.seed" },
};

/* ---- one key ---- */

static void *field_of(const RunConfig *c, const Key *k) { return (char *)(uintptr_t)c + k->at; }

static int choice_find(const char *const *choices, const char *word, size_t size) {
    for (int i = 0; choices[i]; i++)
        if (strlen(choices[i]) == size && !memcmp(choices[i], word, size)) return i;
    return -1;
}

static void choices_text(const char *const *choices, const char *joint, char *out, size_t size) {
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; choices[i] && used < size; i++) used += (size_t)snprintf(out + used, size - used, "%s%s", i ? joint : "", choices[i]);
}

static void expected_text(const Key *k, char *out, size_t size) {
    char list[200];
    switch (k->type) {
    case KEY_INT:
    case KEY_INT64:
        snprintf(out, size, "an integer from %.0f to %.0f", k->least, k->most);
        break;
    case KEY_NUMBER:
        snprintf(out, size, "a number from %g to %g", k->least, k->most);
        break;
    case KEY_BOOL:
        snprintf(out, size, "true or false");
        break;
    case KEY_TEXT:
        snprintf(out, size, "text of at most %d bytes", CONFIG_WORD - 1);
        break;
    case KEY_PATH:
    case KEY_CHAT:
        snprintf(out, size, "a path of at most %d bytes", PATH_SIZE - 1);
        break;
    case KEY_CHOICE:
        choices_text(k->choices, " | ", out, size);
        break;
    case KEY_SET:
        choices_text(k->choices, ", ", list, sizeof list);
        snprintf(out, size, "nothing, or a list of %s", list);
        break;
    }
}

static int set_parse(const Key *k, const char *value, unsigned *out) {
    *out = 0;
    for (const char *p = value; *p;) {
        size_t size = strcspn(p, ","), lead = strspn(p, " \t"), word = size;
        if (lead > size) lead = size;
        while (word > lead && isspace((unsigned char)p[word - 1])) word--;
        int i = choice_find(k->choices, p + lead, word - lead);
        if (i < 0) return -1;
        *out |= 1u << i;
        p += size;
        if (*p == ',' && !*++p) return -1; /* a comma with nothing after it */
    }
    return 0;
}

static int whole_parse(const Key *k, const char *value, int64_t *out) {
    char *end;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (end == value || *end || errno || (double)n < k->least || (double)n > k->most) return -1;
    *out = n;
    return 0;
}

static int number_parse(const Key *k, const char *value, double *out) {
    char *end;
    double x = strtod(value, &end);
    if (end == value || *end || !isfinite(x) || x < k->least || x > k->most) return -1;
    *out = x;
    return 0;
}

static int bool_parse(const char *value, int *out) {
    static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1", NULL };
    int i = choice_find(words, value, strlen(value));
    *out = i & 1;
    return i < 0 ? -1 : 0;
}

static int text_parse(const char *value, char *out, size_t size) {
    size_t n = strlen(value);
    /* What an INI line cannot carry back: a comment's start, ends that are trimmed, line ends. */
    if (n >= size || strpbrk(value, "\r\n") || strstr(value, " ;") || strstr(value, "\t;") ||
        (n && (isspace((unsigned char)value[0]) || isspace((unsigned char)value[n - 1]))))
        return -1;
    memcpy(out, value, n + 1);
    return 0;
}

/* Sets the field of `k`; `folder` is what relative paths are relative to. */
static int key_set(RunConfig *c, const Key *k, const char *value, const char *folder, const char *where, Error *e) {
    void *at = field_of(c, k);
    int failed = 0, choice;
    int64_t whole;
    char expected[300], path[PATH_SIZE];
    switch (k->type) {
    case KEY_INT:
    case KEY_INT64:
        failed = whole_parse(k, value, &whole);
        if (!failed && k->type == KEY_INT) *(int *)at = (int)whole;
        else if (!failed) *(int64_t *)at = whole;
        break;
    case KEY_NUMBER:
        failed = number_parse(k, value, at);
        break;
    case KEY_BOOL:
        failed = bool_parse(value, at);
        break;
    case KEY_TEXT:
        failed = text_parse(value, at, CONFIG_WORD);
        break;
    case KEY_PATH:
    case KEY_CHAT:
        failed = text_parse(value, path, sizeof path);
        if (!failed && path[0] && strcmp(folder, ".") && (k->type == KEY_PATH || template_is_path(path))) failed = path_join(at, folder, path, NULL);
        else if (!failed) memcpy(at, path, strlen(path) + 1);
        break;
    case KEY_CHOICE:
        choice = choice_find(k->choices, value, strlen(value));
        failed = choice < 0;
        if (!failed) memcpy(at, &choice, sizeof choice);
        break;
    case KEY_SET:
        failed = set_parse(k, value, at);
        break;
    }
    if (!failed) return 0;
    expected_text(k, expected, sizeof expected);
    error_what(e, "bad value of %s.%s", k->section, k->name);
    error_where(e, "%s", where), error_found(e, "\"%.200s\"", value), error_expected(e, "%s", expected);
    if (k->type == KEY_CHOICE || k->type == KEY_SET) {
        size_t n = 0;
        while (k->choices[n]) n++;
        const char *near = nearest_name(value, k->choices, n);
        if (near) error_hint(e, "did you mean %s?", near);
    }
    return -1;
}

/* The value as text that key_set reads back to the same; `out` holds PATH_SIZE bytes or more. */
static void key_text(const RunConfig *c, const Key *k, char *out) {
    const void *at = field_of(c, k);
    int choice;
    switch (k->type) {
    case KEY_INT:
        snprintf(out, PATH_SIZE, "%d", *(const int *)at);
        break;
    case KEY_INT64:
        snprintf(out, PATH_SIZE, "%lld", (long long)*(const int64_t *)at);
        break;
    case KEY_NUMBER: /* the shortest of these that reads back exactly */
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(out, PATH_SIZE, "%.*g", digits, *(const double *)at);
            if (strtod(out, NULL) == *(const double *)at) break;
        }
        break;
    case KEY_BOOL:
        snprintf(out, PATH_SIZE, "%s", *(const int *)at ? "true" : "false");
        break;
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_CHAT:
        snprintf(out, PATH_SIZE, "%s", (const char *)at);
        break;
    case KEY_CHOICE:
        memcpy(&choice, at, sizeof choice);
        snprintf(out, PATH_SIZE, "%s", k->choices[choice]);
        break;
    case KEY_SET: {
        size_t used = 0;
        out[0] = 0;
        for (int i = 0; k->choices[i]; i++)
            if (*(const unsigned *)at >> i & 1)
                used += (size_t)snprintf(out + used, PATH_SIZE - used, "%s%s", used ? ", " : "", k->choices[i]);
        break;
    }
    }
}

/* ---- finding keys ---- */

static int section_known(const char *section) {
    for (int i = 0; i < KEYS; i++)
        if (!strcmp(keys[i].section, section)) return 1;
    return 0;
}

/* The key, or NULL with the Error naming the nearest. */
static const Key *key_find(const char *section, const char *name, const char *where, Error *e) {
    const char *names[KEYS], *elsewhere = NULL;
    size_t n = 0;
    for (int i = 0; i < KEYS; i++)
        if (!strcmp(keys[i].section, section) && !strcmp(keys[i].name, name)) return &keys[i];
    for (int i = 0; i < KEYS; i++)
        if (!strcmp(keys[i].name, name)) elsewhere = keys[i].section;
    if (!section_known(section)) {
        for (int i = 0; i < KEYS; i++)
            if (!i || strcmp(keys[i].section, keys[i - 1].section)) names[n++] = keys[i].section;
        if (section[0]) error_what(e, "unknown section [%.80s]", section);
        else error_what(e, "key \"%.80s\" before any section", name);
    } else {
        for (int i = 0; i < KEYS; i++)
            if (!strcmp(keys[i].section, section)) names[n++] = keys[i].name;
        error_what(e, "unknown key \"%.80s\" in [%s]", name, section);
    }
    error_where(e, "%s", where);
    const char *near = nearest_name(section_known(section) ? name : section, names, n);
    if (section[0] && near) error_hint(e, section_known(section) ? "did you mean %s?" : "did you mean [%s]?", near);
    else if (elsewhere) error_hint(e, "[%s] has a key of that name", elsewhere);
    else error_hint(e, "`rlaifv run --help` lists all keys");
    return NULL;
}

static const Key *key_find_dotted(const char *dotted, const char *where, Error *e) {
    char section[CONFIG_WORD];
    const char *dot = strchr(dotted, '.');
    size_t n = dot ? (size_t)(dot - dotted) : 0;
    if (!dot || n >= sizeof section) {
        const char *names[KEYS];
        char full[KEYS][CONFIG_WORD];
        for (int i = 0; i < KEYS; i++) {
            snprintf(full[i], sizeof full[i], "%s.%s", keys[i].section, keys[i].name);
            names[i] = !dot && !strcmp(keys[i].name, dotted) ? dotted : full[i];
        }
        const char *near = nearest_name(dotted, names, KEYS);
        error_what(e, "unknown option --%.100s", dotted), error_where(e, "%s", where);
        for (int i = 0; near && i < KEYS; i++)
            if (names[i] == near) error_hint(e, "did you mean --%s?", full[i]);
        return NULL;
    }
    memcpy(section, dotted, n);
    section[n] = 0;
    return key_find(section, dot + 1, where, e);
}

void config_defaults(RunConfig *c) {
    memset(c, 0, sizeof *c);
    for (int i = 0; i < KEYS; i++) key_set(c, &keys[i], keys[i].initial, ".", "default", NULL);
}

int config_set(RunConfig *c, const char *key, const char *value, const char *where, Error *e) {
    const Key *k = key_find_dotted(key, where, e);
    return k ? key_set(c, k, value, ".", where, e) : -1;
}

int config_need(const RunConfig *c, const char *key, Error *e) {
    char text[PATH_SIZE];
    const Key *k = key_find_dotted(key, key, e);
    if (!k) return -1;
    key_text(c, k, text);
    if (text[0]) return 0;
    return error_what(e, "missing setting"), error_where(e, "%s in [%s]", k->name, k->section), error_expected(e, "%s", k->help),
           error_hint(e, "set it in the config or give --%s=...", key);
}

/* ---- files ---- */

enum { BASES = 4 }; /* files that one config is made of, besides itself */

typedef struct Reading {
    RunConfig *config;
    int depth, keys; /* files above this one; keys read from it */
    FILE *stream;
    char *line;
    size_t line_size;
    int number, failed;
    const char *path, *folder;
    int given[KEYS]; /* line that set the key */
    Error *e;
} Reading;

/* inih asks for lines here, so that their numbers are known and none is cut at its buffer's end. */
static char *read_line(char *out, int size, void *user) {
    Reading *r = user;
    if (r->failed) return NULL;
    ssize_t n = getline(&r->line, &r->line_size, r->stream);
    if (n < 0) return NULL;
    r->number++;
    while (n && (r->line[n - 1] == '\n' || r->line[n - 1] == '\r')) n--;
    int nul = memchr(r->line, 0, (size_t)n) != NULL;
    if (nul || n + 1 >= size) {
        r->failed = 1;
        error_what(r->e, nul ? "NUL byte in a config" : "line too long"), error_where(r->e, "%s:%d", r->path, r->number);
        error_expected(r->e, "text of at most %d bytes a line", size - 2);
        return NULL;
    }
    memcpy(out, r->line, (size_t)n);
    out[n] = 0;
    return out;
}

static int file_take(RunConfig *c, const char *path, int depth, Error *e);

/* The config that this one is made from: what it sets is set before, and may be set again. */
static int base_take(Reading *r, const char *value, const char *where) {
    char path[PATH_SIZE];
    if (r->keys)
        return error_what(r->e, "run.base after other keys"), error_where(r->e, "%s", where), error_expected(r->e, "it to come first, as it would undo them");
    if (r->depth == BASES)
        return error_what(r->e, "too many configs within each other"), error_where(r->e, "%s", where), error_expected(r->e, "at most %d", BASES),
               error_hint(r->e, "does one name itself?");
    if (!value[0] || text_parse(value, path, sizeof path) || path_join(path, r->folder, value, NULL))
        return error_what(r->e, "bad value of run.base"), error_where(r->e, "%s", where), error_found(r->e, "\"%.200s\"", value),
               error_expected(r->e, "the path of a config");
    return file_take(r->config, path, r->depth + 1, r->e);
}

static int take_pair(void *user, const char *section, const char *name, const char *value) {
    Reading *r = user;
    char where[PATH_SIZE + 16];
    if (r->failed) return 0;
    snprintf(where, sizeof where, "%s:%d", r->path, r->number);
    if (!strcmp(section, "run") && !strcmp(name, "base")) {
        r->failed = base_take(r, value, where) != 0;
        r->keys++;
        return !r->failed;
    }
    r->keys++;
    const Key *k = key_find(section, name, where, r->e);
    int *given = k ? &r->given[k - keys] : NULL;
    if (given && *given) {
        error_what(r->e, "%s.%s is given twice", section, name), error_where(r->e, "%s", where);
        error_hint(r->e, "line %d gives it too: keep one", *given);
        k = NULL;
    }
    r->failed = !k || key_set(r->config, k, value, r->folder, where, r->e);
    if (given) *given = r->number;
    return !r->failed;
}

static int file_take(RunConfig *c, const char *path, int depth, Error *e) {
    char folder[PATH_SIZE];
    Reading r = { .config = c, .depth = depth, .path = path, .folder = folder, .e = e };
    path_folder(folder, path);
    if (!(r.stream = fopen(path, "re")))
        return error_what(e, "cannot open config"), error_where(e, "%s", path), error_found(e, "%s", strerror(errno)),
               error_hint(e, "check the path");
    ini_allow_multiline = false;
    ini_stop_on_first_error = true;
    ini_use_stack = false;
    ini_max_line = PATH_SIZE + 256;
    ini_initial_alloc = PATH_SIZE + 256;
    int bad = ini_parse_stream(read_line, &r, take_pair, &r);
    int broken = ferror(r.stream);
    fclose(r.stream);
    free(r.line);
    if (r.failed) return -1;
    if (broken) return error_what(e, "cannot read config"), error_where(e, "%s", path), error_expected(e, "a readable text file");
    if (bad < 0) return error_what(e, "out of memory"), error_where(e, "%s", path);
    if (bad > 0)
        return error_what(e, "bad line in a config"), error_where(e, "%s:%d", path, bad),
               error_expected(e, "[section], key = value, or ; comment");
    return 0;
}

int config_read(RunConfig *c, const char *path, Error *e) { return file_take(c, path, 0, e); }

int config_write(const RunConfig *c, const char *path, Error *e) {
    FileOut f;
    char text[PATH_SIZE], here[PATH_SIZE], full[PATH_SIZE];
    if (!getcwd(here, sizeof here))
        return error_what(e, "cannot name the current folder"), error_where(e, "%s", path), error_found(e, "%s", strerror(errno));
    if (file_create(&f, path, e)) return -1;
    for (int i = 0; i < KEYS; i++) {
        const Key *k = &keys[i];
        if (!i || strcmp(k->section, keys[i - 1].section)) fprintf(f.stream, "%s[%s]\n", i ? "\n" : "", k->section);
        key_text(c, k, text);
        if ((k->type == KEY_PATH && text[0]) || (k->type == KEY_CHAT && template_is_path(text))) {
            if (path_join(full, here, text, e)) {
                file_abandon(&f);
                return -1;
            }
            fprintf(f.stream, "%s = %s\n", k->name, full);
        } else fprintf(f.stream, "%s =%s%s\n", k->name, text[0] ? " " : "", text);
    }
    return file_commit(&f, e);
}

/* What stands for the value in a hash: of a chat template, its content. */
static int key_hashed(const RunConfig *c, const Key *k, char *out, Error *e) {
    if (k->type == KEY_CHAT) return template_setting_hash(field_of(c, k), out, e);
    key_text(c, k, out);
    return 0;
}

int config_hash(const RunConfig *c, const char *words, char out[HASH_TEXT], Error *e) {
    char text[PATH_SIZE], *all = NULL;
    size_t used = 0, cap = 0;
    int result = -1;
    for (const char *p = words; *(p += strspn(p, " "));) {
        size_t size = strcspn(p, " ");
        int found = 0;
        for (int i = 0; i < KEYS; i++) {
            const Key *k = &keys[i];
            size_t section = strlen(k->section), name = strlen(k->name);
            int whole = size == section, one = size == section + 1 + name && p[section] == '.';
            if (strncmp(p, k->section, section) || !(whole || (one && !memcmp(p + section + 1, k->name, name)))) continue;
            found = 1;
            if (key_hashed(c, k, text, e)) goto end;
            size_t need = used + section + name + strlen(text) + 4;
            if (mem_grow(&all, &cap, need, 1, "settings to hash", e)) goto end;
            used += (size_t)snprintf(all + used, cap - used, "%s.%s=%s\n", k->section, k->name, text);
        }
        if (!found) {
            error_what(e, "unknown setting to hash"), error_where(e, "%.*s", (int)size, p);
            goto end;
        }
        p += size;
    }
    hash_bytes(all ? all : "", used, out);
    result = 0;
end:
    free(all);
    return result;
}

/* Settings that are fine alone and wrong together, or that this program cannot honour: said before any work is done. */
static int config_check(const RunConfig *c, const char *file, Error *e) {
    if (template_setting_check(c->chat.template_name, e) || (*c->claims.template_name && template_setting_check(c->claims.template_name, e))) return -1;
    if (!c->train.steps && c->train.epochs <= 0)
        return error_what(e, "nothing to train"), error_where(e, "%s: steps and epochs in [train]", file), error_found(e, "0 and 0"),
               error_expected(e, "one of them above 0");
    if (c->train.save_every > 0 && c->train.save_epochs > 0)
        return error_what(e, "checkpoints by steps and by epochs"), error_where(e, "%s: save_every and save_epochs in [train]", file),
               error_found(e, "%d and %g", c->train.save_every, c->train.save_epochs), error_expected(e, "one of them to be 0");
    if (c->train.reference == REFERENCE_FILE && c->train.conditional_weight != 0)
        return error_what(e, "references that no file has"), error_where(e, "%s: reference and conditional_weight in [train]", file),
               error_expected(e, "reference = compute, as mDPO's term takes log-probs without the image");
    if (c->pair.between == BETWEEN_MODELS && !c->sample.other_n)
        return error_what(e, "pairs between models, and one model"), error_where(e, "%s: between in [pair]", file), error_found(e, "models"),
               error_expected(e, "other_n in [sample] above 0, or between = any");
    if (!c->sample.other_n && c->sample.other[0])
        return error_what(e, "a second model that answers nothing"), error_where(e, "%s: other in [sample]", file), error_found(e, "%.200s", c->sample.other),
               error_expected(e, "other_n above 0, or no other");
    double other_temperature = c->sample.other_temperature < 0 ? c->sample.temperature : c->sample.other_temperature;
    const struct {
        const char *name;
        int beams, n;
        double temperature, penalty;
    } searches[] = { { "beams in [sample]", c->sample.beams, c->sample.n, c->sample.temperature, c->sample.repetition_penalty },
        { "other_beams in [sample]", c->sample.other_beams, c->sample.other_n, other_temperature, c->sample.repetition_penalty },
        { "beams in [eval]", c->eval.beams, c->eval.n, c->eval.temperature, c->eval.repetition_penalty } };
    for (size_t i = 0; i < sizeof searches / sizeof *searches; i++)
        if (beams_check(searches[i].beams, searches[i].n, searches[i].temperature, searches[i].penalty, e)) return error_where(e, "%s: %s", file, searches[i].name);
    return template_setting_check(c->sample.other_template, e);
}

/* ---- the command line ---- */

int config_arguments(RunConfig *c, int argc, char **argv, Error *e) {
    const char *file = NULL;
    for (int i = 0; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return CONFIG_HELP;
    config_defaults(c);
    /* Two passes: the file first, so that options win wherever they stand. */
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < argc; i++) {
            const char *word = argv[i];
            if (strncmp(word, "--", 2)) {
                if (pass) continue;
                if (file)
                    return error_what(e, "more than one config"), error_where(e, "%s", word), error_hint(e, "%s is one already", file),
                           CONFIG_USAGE;
                file = word;
                continue;
            }
            char key[2 * CONFIG_WORD];
            size_t n = strcspn(word + 2, "=");
            const char *value = word[2 + n] ? word + 3 + n : i + 1 < argc ? argv[++i] : NULL;
            if (!pass) continue;
            snprintf(key, sizeof key, "%.*s", n < sizeof key ? (int)n : (int)sizeof key - 1, word + 2);
            for (size_t s = 0; s < sizeof shorthands / sizeof *shorthands; s++)
                if (!strcmp(key, shorthands[s].option)) snprintf(key, sizeof key, "%s", shorthands[s].key);
            const Key *k = key_find_dotted(key, "command line", e);
            if (!k) return CONFIG_USAGE;
            if (!value) return error_what(e, "--%s needs a value", key), error_where(e, "command line"), CONFIG_USAGE;
            if (key_set(c, k, value, ".", "command line", e)) return CONFIG_USAGE;
        }
        if (!file)
            return error_what(e, "no config given"), error_where(e, "command line"), error_expected(e, "an INI file"),
                   error_hint(e, "see configs/, or --help for the keys"), CONFIG_USAGE;
        if (!pass && config_read(c, file, e)) return -1;
    }
    return compat_apply(c, e) || config_check(c, file, e) ? -1 : 0;
}

void config_help(FILE *to) {
    char kind[200];
    fprintf(to,
        "A config is an INI file; --section.key=value sets a key over it. --device, --dtype, --threads and --seed are keys of [run].\n"
        "Relative paths are relative to the file that holds them.\n"
        "base = FILE, the first key of [run], reads another config before this one.\n");
    for (int i = 0; i < KEYS; i++) {
        const Key *k = &keys[i];
        if (!i || strcmp(k->section, keys[i - 1].section)) fprintf(to, "\n[%s]\n", k->section);
        if (k->type == KEY_CHOICE || k->type == KEY_SET) choices_text(k->choices, k->type == KEY_SET ? ", " : " | ", kind, sizeof kind);
        else
            snprintf(kind, sizeof kind, "%s",
                k->type == KEY_BOOL     ? "true | false"
                : k->type == KEY_NUMBER ? "number"
                : k->type == KEY_TEXT   ? "text"
                : k->type == KEY_PATH   ? "path"
                : k->type == KEY_CHAT   ? "name or path"
                                        : "integer");
        fprintf(to, "  %s = %s   (%s)\n      %s\n", k->name, k->initial, kind, k->help);
    }
}

/* bench_jobs.c - owns `rlaifv bench jobs`: the four jobs of an online iteration on fixed ids, timed the way the peer scripts time them.
 *
 * dpo     one optimiser step on 4 pairs: reference log-probs given, tower frozen, AdamW           -> pairs/s
 * sample  10 answers of exactly 64 new tokens for each of 2 images, temperature 0.7               -> new tokens/s
 * label   60 probes about one image                                                               -> probes/s
 * score   log-probs of 4 pairs, no gradient                                                       -> pairs/s
 *
 * Every sequence is id 1, the image, then ids of the jobs file. Pixels are random; each run starts with no cached features, so the tower is
 * part of the timed work, once per distinct image. One warm-up run, then the median of three. Refuses a jobs file whose ids or image do
 * not fit the model. */
#include "engine/bench.h"

#include "base/json.h"
#include "base/philox.h"
#include "bench/measure.h"
#include "engine/dpo.h"
#include "engine/label.h"
#include "engine/optimizer.h"
#include "engine/options.h"
#include "engine/ranks.h"
#include "engine/sample.h"
#include "engine/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { BENCH_PAIRS = 4, BENCH_PROBES = 60, BENCH_IMAGES = 2, BENCH_CANDIDATES = 10, BENCH_TOKENS = 64, BENCH_RUNS = 3 };

typedef enum Job { JOB_DPO, JOB_SAMPLE, JOB_LABEL, JOB_SCORE } Job;
static const char *const job_names[] = { "dpo", "sample", "label", "score", NULL };

typedef struct Bench {
    Vlm v;
    float *pixels; /* (BENCH_PAIRS, 3, S, S) */
    Prompt prompts[BENCH_PAIRS], probes[BENCH_PROBES];
    IdList answers[2 * BENCH_PAIRS]; /* chosen and rejected of each pair in turn */
    RunConfig *config;               /* of the optimiser */
    Ranks ranks;
    Shard *shard;
    double reference[2 * BENCH_PAIRS];
    int64_t step;
    Trunks trunks;
    uint64_t seed;
} Bench;

/* ---- the jobs file ---- */

static int read_ids(const json_t *root, const char *key, int n, const char *path, int vocab, IdList *out, size_t stride, Error *e) {
    const json_t *rows = json_object_get(root, key);
    if (json_array_size(rows) < (size_t)n)
        return error_what(e, "jobs file lacks rows"), error_where(e, "%s: field \"%s\"", path, key),
               error_found(e, "%zu", json_array_size(rows)), error_expected(e, "%d lists of ids", n);
    for (int i = 0; i < n; i++) {
        const json_t *row = json_array_get(rows, (size_t)i), *value;
        size_t at;
        if (json_array_size(row) == 0) return error_what(e, "empty list of ids"), error_where(e, "%s: field \"%s\", row %d", path, key, i);
        json_array_foreach(row, at, value) {
            json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
            if (id < 0 || id >= vocab)
                return error_what(e, "not an id of this model"), error_where(e, "%s: field \"%s\", row %d", path, key, i),
                       error_expected(e, "0 .. %d", vocab - 1);
            int own = (int)id;
            if (idlist_append(&out[(size_t)i * stride], &own, 1, e)) return -1;
        }
    }
    return 0;
}

static int jobs_read(Bench *b, const char *path, Error *e) {
    const ModelConfig *c = &b->v.model.config;
    json_t *root;
    int64_t image_tokens, side;
    IdList prompts[BENCH_PAIRS] = { 0 }, probes[BENCH_PROBES] = { 0 };
    if (json_read_object(path, &root, e)) return -1;
    int vocab = c->decoder.vocab, bad = json_need_integer(root, "image_tokens", path, 1, 1 << 20, &image_tokens, e) ||
                                        json_need_integer(root, "img", path, 1, 4096, &side, e);
    if (!bad && (image_tokens != config_rows_of_tile(c) || side != c->vision.image_side))
        bad = error_what(e, "jobs file and model do not fit"), error_where(e, "%s", path),
        error_found(e, "images of %lld pixels a side, %lld tokens", (long long)side, (long long)image_tokens),
        error_expected(e, "%d and %d as %s says", c->vision.image_side, config_rows_of_tile(c), b->v.model.folder);
    if (!bad)
        bad = read_ids(root, "prompt", BENCH_PAIRS, path, vocab, prompts, 1, e) ||
              read_ids(root, "chosen", BENCH_PAIRS, path, vocab, b->answers, 2, e) ||
              read_ids(root, "rejected", BENCH_PAIRS, path, vocab, b->answers + 1, 2, e) ||
              read_ids(root, "probes", BENCH_PROBES, path, vocab, probes, 1, e);
    json_decref(root);
    size_t each = 3 * (size_t)c->vision.image_side * (size_t)c->vision.image_side;
    for (int i = 0; i < BENCH_PAIRS; i++) b->prompts[i] = (Prompt){ .image.pixels = b->pixels + (size_t)i * each, .tail = prompts[i] };
    for (int i = 0; i < BENCH_PROBES; i++) b->probes[i] = (Prompt){ .image.pixels = b->pixels, .tail = probes[i] };
    return bad ? -1 : 0;
}

/* Independent N(0, 1) (Box and Muller 1958). */
static void fill_normal(float *x, size_t n, uint64_t seed) {
    Rng r = { .seed = seed, .stream = 2 };
    for (size_t i = 0; i < n; i++) {
        double u = 1 - rng_uniform(&r), angle = 6.283185307179586 * rng_uniform(&r);
        x[i] = (float)(sqrt(-2 * log(u)) * cos(angle));
    }
}

/* ---- the jobs ---- */

static int pairs_of(Bench *b, DpoPair pairs[BENCH_PAIRS], Error *e) {
    trunks_clear(&b->trunks);
    for (int i = 0; i < BENCH_PAIRS; i++) {
        int trunk = trunks_find(&b->v, &b->trunks, &b->prompts[i], e);
        if (trunk < 0) return -1;
        for (int s = 0; s < 2; s++)
            pairs[i].sequences[s] = (DpoSequence){ .trunk = trunk, .answer = &b->answers[2 * i + s], .reference = b->reference[2 * i + s] };
    }
    return 0;
}

static int run_score(Bench *b, double *count, Error *e) {
    ScoreItem items[BENCH_PAIRS];
    AnswerScore *scores;
    for (int i = 0; i < BENCH_PAIRS; i++) items[i] = (ScoreItem){ &b->prompts[i], &b->answers[2 * i], 2 };
    if (score_answers(&b->v, items, BENCH_PAIRS, 0, &scores, NULL, NULL, e)) return -1;
    for (int i = 0; i < 2 * BENCH_PAIRS; i++) b->reference[i] = scores[i].sum;
    scores_free(scores, 2 * BENCH_PAIRS);
    *count = BENCH_PAIRS;
    return 0;
}

static int run_dpo(Bench *b, double *count, Error *e) {
    const PreferenceLoss loss = { .kind = LOSS_SIGMOID, .beta = 0.1f, .pair_scale = 1.0f / BENCH_PAIRS };
    DpoPair pairs[BENCH_PAIRS];
    DpoSums sums = { 0 };
    double norm;
    *count = BENCH_PAIRS;
    return pairs_of(b, pairs, e) || dpo_backward(&b->v, &b->trunks.forest, &b->trunks.images, pairs, BENCH_PAIRS, &loss, &sums, e) ||
                   shard_pass_end(b->shard, e) || optimizer_step(b->shard, b->config, b->config->train.lr, ++b->step, &norm, e)
               ? -1
               : 0;
}

static int run_sample(Bench *b, double *count, Error *e) {
    const SampleConfig config = { .n = BENCH_CANDIDATES, .temperature = 0.7f, .top_p = 1, .max_new_tokens = BENCH_TOKENS, .seed = b->seed };
    Candidate *out;
    if (sample_all(&b->v, b->prompts, BENCH_IMAGES, &config, &out, NULL, NULL, e)) return -1;
    *count = 0;
    for (int i = 0; i < BENCH_IMAGES * BENCH_CANDIDATES; i++) *count += (double)out[i].ids.count;
    candidates_free(out, BENCH_IMAGES * BENCH_CANDIDATES);
    return 0;
}

static int run_label(Bench *b, double *count, Error *e) {
    static const int words[PROBE_WORDS] = { 10, 11, 12, 13 }; /* any four: the model knows no words */
    ProbeResult results[BENCH_PROBES];
    *count = BENCH_PROBES;
    return label_probes(&b->v, words, b->probes, BENCH_PROBES, 0, results, NULL, NULL, e);
}

static int (*const job_runs[])(Bench *, double *, Error *) = { run_dpo, run_sample, run_label, run_score };

/* What dpo has before the clock starts: reference log-probs, gradients, moments. */
static int dpo_prepare(Bench *b, Error *e) {
    double count;
    b->config = mem_new(1, sizeof *b->config, "settings of the optimiser", e);
    if (!b->config || run_score(b, &count, e)) return -1;
    config_defaults(b->config);
    b->config->train.lr = 1e-6;
    b->config->train.weight_decay = 0.01; /* torch's default */
    b->config->train.clip = 0;
    if (ranks_lone(&b->ranks, b->v.model.k, e)) return -1;
    return shard_open(&b->shard, &b->v.model, b->ranks.data, SHARD_NONE, 1u << PART_VISION, 1, NULL, e);
}

static int measure(Bench *b, Job job, double seconds[BENCH_RUNS], double *count, VlmWork *work, Error *e) {
    for (int run = -1; run < BENCH_RUNS; run++) {
        vlm_forget_features(&b->v);
        b->v.work = (VlmWork){ 0 };
        double start = progress_seconds();
        if (job_runs[job](b, count, e)) return -1;
        if (run >= 0) seconds[run] = progress_seconds() - start;
    }
    *work = b->v.work;
    return 0;
}

static void bench_close(Bench *b) {
    for (int i = 0; i < BENCH_PAIRS; i++) prompt_free(&b->prompts[i]);
    for (int i = 0; i < BENCH_PROBES; i++) prompt_free(&b->probes[i]);
    for (int i = 0; i < 2 * BENCH_PAIRS; i++) idlist_free(&b->answers[i]);
    trunks_free(&b->trunks);
    shard_close(b->shard, NULL);
    ranks_close(&b->ranks);
    vlm_close(&b->v);
    free(b->config);
    free(b->pixels);
    free(b);
}

int bench_jobs(int argc, char **argv, Error *e) {
    const char *model = NULL, *jobs = NULL;
    int job = JOB_DPO;
    CommonOptions common = COMMON_DEFAULTS;
    const Option table[] = { { "model", OPTION_TEXT, &model, "DIR", "checkpoint folder; no tokenizer is needed", 1, 0, 0, NULL },
        { "jobs", OPTION_TEXT, &jobs, "FILE", "jobs.json of the peer script", 1, 0, 0, NULL },
        { "job", OPTION_CHOICE, &job, "JOB", "what to time", 1, 0, 0, job_names }, OPTIONS_COMMON(common), { .name = NULL } };
    int got = options_parse(table, argc, argv, NULL, e);
    if (got == OPTIONS_HELP)
        return options_help(table, "bench jobs --model DIR --jobs FILE --job JOB [OPTION]...",
                   "Times a job of the peer script on the same ids: one warm-up, median of three, one JSON line.", stdout),
               0;
    if (got) return 2;
    Bench *b = mem_new(1, sizeof *b, "bench", e);
    const Kernels *k = b ? kernels_open(common.device, (int)common.threads, e) : NULL;
    double seconds[BENCH_RUNS], count = 0;
    VlmWork work;
    int bad = !k || vlm_open_ids(&b->v, k, model, (DType)common.dtype, e);
    if (!bad) {
        size_t side = (size_t)b->v.model.config.vision.image_side, pixels = BENCH_PAIRS * 3 * side * side;
        b->seed = (uint64_t)common.seed;
        b->pixels = mem_new(pixels + 1, sizeof *b->pixels, "pixels", e);
        if (b->pixels) fill_normal(b->pixels, pixels, b->seed);
        bad =
            !b->pixels || jobs_read(b, jobs, e) || (job == JOB_DPO && dpo_prepare(b, e)) || measure(b, (Job)job, seconds, &count, &work, e);
    }
    if (!bad) {
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        double median = measure_median(seconds, BENCH_RUNS),
               flops = work.flops * (job == JOB_DPO ? 3 : 1) + work.tower_flops; /* backward is twice forward */
        bad = jsonl_write(stdout,
            json_pack("{s:s, s:s, s:f, s:f, s:I, s:I, s:f, s:f, s:I, s:s, s:s}", "job", job_names[job], "dtype",
                dtype_choices[common.dtype], "seconds", median, "rate", count / median, "peak_mb", (json_int_t)(usage.ru_maxrss / 1024),
                "tokens", (json_int_t)work.tokens, "flops", flops, "gflops_per_second", flops / median * 1e-9, "images",
                (json_int_t)work.images, "device", k->name, "isa", k->isa),
            e);
    }
    if (b) bench_close(b);
    return bad ? -1 : 0;
}

/* loop.h - what the arrows of a run share: its folder, ledger, metrics, progress, and the one model that is in memory.
 *
 * Arrows ask for the model they need; when it is the one that is open nothing is read again, else the open one is closed first. So a run
 * never holds two sets of weights, and holds one throughout when the policy labels itself. */
#ifndef RLAIFV_ENGINE_LOOP_H
#define RLAIFV_ENGINE_LOOP_H

#include "engine/arrows.h"
#include "engine/ledger.h"
#include "engine/metrics.h"
#include "engine/ranks.h"

typedef struct KnownHash {
    char path[PATH_SIZE], hash[HASH_TEXT];
} KnownHash;

typedef struct Loop {
    const RunConfig *config;
    RunConfig *answering; /* the same with [eval]'s sampling in place of [sample]'s: how models are evaluated and validated */
    RunConfig *other;     /* the same with sample.other_* in place of the policy's, its template too: how a second model answers */
    const Kernels *kernels;
    Ranks ranks;
    Ledger ledger;
    Metrics *metrics;
    Progress progress;
    Vlm vlm;
    char open[PATH_SIZE]; /* folder of the model in vlm; empty: none */
    char chat[PATH_SIZE]; /* the template it was opened with */
    KnownHash *known;     /* hashes of model folders, which nobody changes while a run is at work */
    size_t known_n, known_cap;
    json_t *told; /* what was said about data files: once is enough */
    int lock;
} Loop;

/* Opens the run folder for this process alone. Refuses a folder that another process works in. */
int loop_open(Loop *l, const RunConfig *c, Error *e);
/* For ranks that serve: the same without the folder, its files, and speech. */
int loop_join(Loop *l, const RunConfig *c, Error *e);
int loop_ranks_open(Loop *l, Error *e);
static inline Progress *loop_progress(Loop *l) { return l->metrics ? &l->progress : NULL; }
void loop_close(Loop *l);
int loop_config_write(const Loop *l, Error *e); /* RUN/config.ini: for commands that make a run, not for those that look at one */

/* plan_start for the command's phases (plan.h), against the memory of this rank: its device's, or its share of the machine's. */
int loop_plan(Loop *l, unsigned phases, Error *e);

/* The model of a checkpoint folder, asked by the chat template, in memory until another is asked for. */
int loop_model(Loop *l, const char *folder, const char *chat, Vlm **out, Error *e);
void loop_model_drop(Loop *l); /* its weights were changed, or its folder will be */

/* RUN/RELATIVE. */
int loop_path(const Loop *l, char out[PATH_SIZE], Error *e, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* An arrow's input that is a model folder (hashed once a run), or the settings named (see config_hash). */
int loop_input_model(Loop *l, Arrow *a, const char *name, const char *folder, Error *e);
/* What claims by a model depend on beside the settings: the model and both prompts; of whole answers: their prompt. By rule: nothing. */
int loop_input_claims(Loop *l, Arrow *a, const char *labeler, Error *e);
int loop_input_settings(const Loop *l, Arrow *a, const char *keys, Error *e);
/* ledger_done, saying what is skipped, and why what was done is done again. 1 skip, 0 run, -1. */
int loop_skip(Loop *l, const Arrow *a, Error *e);

/* Makes *row ready for the numbers of an arrow that is about to be recorded, after cutting off what a killed attempt left. */
int loop_metrics(Loop *l, const Arrow *a, MetricRow *row, Error *e);

/* Reads a data file of prompts; first, limit: as in DataOptions. loop_dataset_say tells its summary and
 * every dropped row, what it told before left out. */
int loop_dataset(const Loop *l, const char *path, int first, int limit, Dataset *out, Error *e);
void loop_dataset_say(Loop *l, const Dataset *d);

/* Makes `folder` the model in checkpoint folder `from`: links (or, across file systems, copies) of its files without the training state,
 * under a temporary name that is then renamed. */
int loop_install(Loop *l, const char *from, const char *folder, Error *e);

/* 64-bit seeds of sampling: of an iteration (from 1; the first one's is run.seed itself, so that `rlaifv sample` does what iteration 1
 * does), and of answers that are judged (the same for all models, so that they are compared on equal draws). */
uint64_t loop_seed(const RunConfig *c, int iteration);
uint64_t loop_seed_judged(const RunConfig *c);

#endif

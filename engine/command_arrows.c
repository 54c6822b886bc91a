/* command_arrows.c - the later arrows of the loop as commands of their own: pair, train, eval. (sample and label stand in arrows.c.) */
#include "engine/checkpoint.h"
#include "engine/commands.h"
#include "engine/judge.h"
#include "engine/pairs.h"
#include "engine/train.h"

#include <stdlib.h>
#include <string.h>

/* Reads the config and calls `work`. What a command returns. */
static int command_with(
    int argc, char **argv, const char *synopsis, const char *const *needed, int (*work)(const RunConfig *c, Error *e), Error *e) {
    RunConfig *c = mem_new(1, sizeof *c, "config", e);
    if (!c) return -1;
    int got = command_config(c, argc, argv, synopsis, needed, e);
    if (!got) got = work(c, e) ? -1 : 0;
    free(c);
    return got == 1 ? 0 : got;
}

static int pair_work(const RunConfig *c, Error *e) {
    char folder[PATH_SIZE], candidates[PATH_SIZE], labels[PATH_SIZE], out[PATH_SIZE];
    PairCounts n;
    if (arrow_folder(c, 1, folder, e) || path_join(candidates, folder, "candidates.jsonl", e) ||
        path_join(labels, folder, "labels.jsonl", e) || path_join(out, folder, "pairs.jsonl", e) ||
        pairs_write(c, candidates, labels, out, 1, &n, e))
        return -1;
    printf("%s: %d pairs = %d drawn - %d dropped for length, of %lld possible; %d prompts, %d without pairs; %d answers, %d without a "
           "score, %d repeat another; "
           "words %.1f chosen, %.1f rejected\n",
        out, n.kept, n.drawn, n.balanced_away, (long long)n.possible, n.prompts, n.prompts_without, n.candidates, n.unscored, n.duplicates,
        n.words_chosen, n.words_rejected);
    return 0;
}

int command_pair(int argc, char **argv, Error *e) {
    static const char *const needed[] = { "run.dir", NULL };
    return command_with(argc, argv, "pair CONFIG [--section.key=value]...", needed, pair_work, e);
}

static int train_in(Loop *l, Error *e) {
    const RunConfig *c = l->config;
    char checkpoint[PATH_SIZE], model[PATH_SIZE];
    TrainPlan plan = { c, c->data.train, c->run.dir, 0, l->metrics, &l->progress };
    TrainResult r;
    Vlm *v;
    if (loop_config_write(l, e) || loop_model(l, c->model.dir, &v, e) || train_pairs(v, &plan, &r, e)) return -1;
    checkpoint_path(checkpoint, c->run.dir, r.steps);
    if (loop_path(l, model, e, "model") || loop_install(l, checkpoint, model, e) || checkpoint_prune(c->run.dir, c->train.keep, NULL, 0, e))
        return -1;
    printf("%s: %lld steps on %d pairs, %d dropped; mean loss %.4f in %.1f s\n", model, (long long)r.steps, r.pairs, r.dropped, r.loss,
        r.seconds);
    return 0;
}

static int eval_in(Loop *l, Error *e) {
    const RunConfig *c = l->config;
    char line[256], result[PATH_SIZE];
    Judgement j;
    Answers a = { .name = "evaluate", .folder = "eval", .model = c->model.dir }; /* "eval" is the loop's, which may own this folder */
    if (judge_evaluate(l, a, "eval.json", &j, e) || loop_path(l, result, e, "eval.json")) return -1;
    printf("%s: %d answers to %d prompts: %s\n", result, j.answers, j.prompts, judgement_text(c, &j, line, sizeof line));
    return 0;
}

static int in_loop(const RunConfig *c, int (*work)(Loop *l, Error *e), Error *e) {
    Loop *l = mem_new(1, sizeof *l, "run", e);
    if (!l) return -1;
    int bad = loop_open(l, c, e);
    if (!bad) {
        bad = work(l, e);
        loop_close(l);
    }
    free(l);
    return bad;
}

static int train_work(const RunConfig *c, Error *e) { return in_loop(c, train_in, e); }
static int eval_work(const RunConfig *c, Error *e) { return in_loop(c, eval_in, e); }

int command_train(int argc, char **argv, Error *e) {
    static const char *const needed[] = { "run.dir", "model.dir", "data.train", NULL };
    return command_with(argc, argv, "train CONFIG [--section.key=value]...", needed, train_work, e);
}

int command_eval(int argc, char **argv, Error *e) {
    static const char *const needed[] = { "run.dir", "model.dir", "data.eval", NULL };
    return command_with(argc, argv, "eval CONFIG [--section.key=value]...", needed, eval_work, e);
}

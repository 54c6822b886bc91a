/* command_arrows.c - the arrows of the loop as commands of their own: sample, label, pair, train, eval. */
#include "engine/checkpoint.h"
#include "engine/commands.h"
#include "engine/crew.h"
#include "engine/iteration.h"
#include "engine/judge.h"
#include "engine/mixed.h"
#include "engine/pairs.h"
#include "engine/plan.h"
#include "engine/train.h"

#include <stdlib.h>
#include <string.h>

/* Reads the config and leads the ranks through `lead`. What a command returns. */
static int command_with(int argc, char **argv, const char *synopsis, const char *const *needed,
    int (*lead)(Loop *l, void *context, Error *e), Error *e) {
    RunConfig *c = mem_new(1, sizeof *c, "config", e);
    if (!c) return -1;
    int got = command_config_ranks(c, argc, argv, synopsis, needed, e);
    if (!got) got = crew_run(c, lead, NULL, e);
    free(c);
    return got == 1 ? 0 : got;
}

static int sample_lead(Loop *l, void *context, Error *e) {
    (void)context;
    const RunConfig *c = l->config;
    char folder[PATH_SIZE], unpack[PATH_SIZE], line[512];
    Dataset set = { 0 };
    SampleCounts counts;
    DataOptions options = { .need = DATA_IMAGE | DATA_QUESTION | DATA_UNIQUE,
        .images = c->data.images,
        .unpack = unpack,
        .strict = c->data.strict,
        .limit = c->data.per_iteration };
    if (loop_plan(l, PLAN_OF_SAMPLE, e) || arrow_folder(c, 1, folder, e) || path_join(unpack, c->run.dir, "images", e) ||
        dataset_read(&set, c->data.prompts, &options, e))
        return -1;
    for (int i = 0; i < set.drops_n; i++) progress_say(&l->progress, "row dropped: %s", set.drops[i].reason);
    int bad = mixed_sample(l, c->model.dir, (uint64_t)c->run.seed, &set, folder, &counts, e);
    if (!bad) {
        progress_say(&l->progress, "%s", dataset_summary(&set, line, sizeof line));
        printf("%s/candidates.jsonl: %lld answers to %d prompts, %lld tokens, %lld ended by themselves, %d prompts dropped\n", folder, (long long)counts.candidates,
            counts.prompts - counts.refused, (long long)counts.tokens, (long long)counts.finished, counts.refused + set.drops_n);
    }
    dataset_free(&set);
    return bad;
}

static int label_lead(Loop *l, void *context, Error *e) {
    (void)context;
    const RunConfig *c = l->config;
    char folder[PATH_SIZE], candidates[PATH_SIZE], claims[PATH_SIZE], labels[PATH_SIZE];
    const char *labeler = *c->labeler.dir ? c->labeler.dir : c->model.dir;
    ClaimCounts split;
    LabelCounts counts;
    if (arrow_folder(c, 1, folder, e) || path_join(candidates, folder, "candidates.jsonl", e) || path_join(claims, folder, "claims.jsonl", e) ||
        path_join(labels, folder, "labels.jsonl", e) || loop_plan(l, PLAN_OF_LABEL, e) || iteration_claims(l, 1, c->model.dir, &split, e) ||
        crew_label(l, labeler, candidates, claims, labels, &counts, e))
        return -1;
    printf("%s: %lld claims of %lld answers, %lld answers without, %lld rejected unasked, %lld sentences left out\n", claims,
        (long long)split.claims, (long long)split.answers, (long long)split.without, (long long)split.unasked, (long long)split.left_out);
    if (claims_by_model(c))
        printf("%s: %lld replies asked for again, %lld answers dropped as the second was malformed too\n", claims, (long long)split.retried,
            (long long)split.dropped);
    printf("%s: %lld claims rejected, %lld of %lld probes answered yes, %lld answers without a score\n", labels, (long long)counts.rejected,
        (long long)counts.probes_yes, (long long)counts.probes, (long long)counts.unscored);
    return 0;
}

int command_sample(int argc, char **argv, Error *e) {
    static const char *const needed[] = { "run.dir", "model.dir", "data.prompts", NULL };
    return command_with(argc, argv, "sample CONFIG [--section.key=value]...", needed, sample_lead, e);
}

int command_label(int argc, char **argv, Error *e) {
    static const char *const needed[] = { "run.dir", "model.dir", NULL };
    return command_with(argc, argv, "label CONFIG [--section.key=value]...", needed, label_lead, e);
}

static int pair_work(const RunConfig *c, Error *e) {
    char folder[PATH_SIZE], candidates[PATH_SIZE], labels[PATH_SIZE], out[PATH_SIZE];
    PairCounts n;
    if (arrow_folder(c, 1, folder, e) || path_join(candidates, folder, "candidates.jsonl", e) ||
        path_join(labels, folder, "labels.jsonl", e) || path_join(out, folder, "pairs.jsonl", e) ||
        pairs_write(c, candidates, labels, out, 1, &n, e))
        return -1;
    printf("%s: %d pairs = %d drawn - %d dropped for length - %d past pair.most, of %lld possible; %d prompts, %d without pairs; %d answers, %d without a "
           "score, %d repeat another; "
           "words %.1f chosen, %.1f rejected\n",
        out, n.kept, n.drawn, n.balanced_away, n.past_most, (long long)n.possible, n.prompts, n.prompts_without, n.candidates, n.unscored, n.duplicates,
        n.words_chosen, n.words_rejected);
    return 0;
}

int command_pair(int argc, char **argv, Error *e) {
    static const char *const needed[] = { "run.dir", NULL };
    RunConfig *c = mem_new(1, sizeof *c, "config", e);
    if (!c) return -1;
    int got = command_config(c, argc, argv, "pair CONFIG [--section.key=value]...", needed, e);
    if (!got) got = pair_work(c, e);
    free(c);
    return got == 1 ? 0 : got;
}

static int train_lead(Loop *l, void *context, Error *e) {
    (void)context;
    const RunConfig *c = l->config;
    char checkpoint[PATH_SIZE], model[PATH_SIZE];
    TrainPlan plan = { .config = c, .pairs = c->data.train, .folder = c->run.dir };
    TrainResult r;
    if (loop_plan(l, PLAN_OF_TRAIN, e) || loop_config_write(l, e) || crew_train(l, c->model.dir, plan, &r, e)) return -1;
    checkpoint_path(checkpoint, c->run.dir, r.steps);
    if (loop_path(l, model, e, "model") || loop_install(l, checkpoint, model, e) || checkpoint_prune(c->run.dir, c->train.keep, NULL, 0, e))
        return -1;
    printf("%s: %lld steps on %d pairs, %d dropped; mean loss %.4f in %.1f s\n", model, (long long)r.steps, r.pairs, r.dropped, r.loss,
        r.seconds);
    return 0;
}

static int eval_lead(Loop *l, void *context, Error *e) {
    (void)context;
    const RunConfig *c = l->config;
    char line[256], result[PATH_SIZE];
    Judgement j;
    Answers a = { .name = "evaluate", .folder = "eval", .model = c->model.dir }; /* "eval" is the loop's, which may own this folder */
    if (loop_plan(l, c->eval.kind == EVAL_SCENES ? PLAN_OF_EVAL : PLAN_OF_EVAL | PLAN_OF_LABEL, e) || judge_evaluate(l, a, "eval.json", &j, e) || loop_path(l, result, e, "eval.json")) return -1;
    printf("%s: %d answers to %d prompts: %s\n", result, j.answers, j.prompts, judgement_text(c, &j, line, sizeof line));
    return 0;
}

int command_train(int argc, char **argv, Error *e) {
    static const char *const needed[] = { "run.dir", "model.dir", "data.train", NULL };
    return command_with(argc, argv, "train CONFIG [--section.key=value]...", needed, train_lead, e);
}

int command_eval(int argc, char **argv, Error *e) {
    static const char *const needed[] = { "run.dir", "model.dir", "data.eval", NULL };
    int known, result = command_benchmark(argc, argv, &known, e);
    if (known) return result;
    return command_with(argc, argv, "eval CONFIG [--section.key=value]... | eval amber|pope|chair|choice|scenes|mmhal|refomb|llava-bench|mhumaneval ...", needed, eval_lead, e);
}

/* judge.h - a model's answers to a set of prompts and what is thought of them: evaluation, and the validation that chooses checkpoints.
 *
 * Answers are sampled with [eval]'s settings. Files of a set of answers, below the run folder: FOLDER/candidates.jsonl, and where the
 * labeler is asked claims.jsonl and labels.jsonl. Each step is an arrow of the ledger. */
#ifndef RLAIFV_ENGINE_JUDGE_H
#define RLAIFV_ENGINE_JUDGE_H

#include "engine/eval/labeler_eval.h"
#include "engine/loop.h"
#include "engine/scenes/truth.h"

/* Which answers: of which model, to which prompts, where they go, and how the ledger calls them. */
typedef struct Answers {
    int iteration;
    const char *name;   /* "eval", "validation-120": arrows are NAME-answers and NAME-labels */
    const char *folder; /* relative to the run folder */
    const char *model;
    const char *data;
    int prompts; /* the first so many; 0: all */
} Answers;

typedef struct Judgement {
    int prompts, answers;
    TruthRates scenes;    /* EVAL_SCENES */
    LabelerRates labeler; /* EVAL_LABELER */
} Judgement;

/* The checkpoint folder that judges: the labeler's, or where the policy labels itself the policy as it was at the start, one judge for all.
 */
const char *judge_folder(const RunConfig *c);

int answers_make(Loop *l, const Answers *a, Error *e);
/* The claims of FOLDER/candidates.jsonl and what the judge says of them. */
int answers_label(Loop *l, const Answers *a, Error *e);
int answers_rates(const Loop *l, const Answers *a, LabelerRates *out, Error *e);

/* The evaluation of a->model on data.eval by eval.kind, all its arrows, and the summary `result` (relative to the run folder). a->data,
 * a->prompts and a->name are set here unless they are given. */
int judge_evaluate(Loop *l, Answers a, const char *result, Judgement *out, Error *e);
/* One line for people. Returns out. */
char *judgement_text(const RunConfig *c, const Judgement *j, char *out, size_t size);

#endif

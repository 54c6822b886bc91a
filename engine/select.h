/* select.h - which checkpoint goes on: rules that need no truth.
 *
 * DPO on few rejected claims can learn to say less. So among the checkpoints that still name enough (at least min_ratio of what the model
 * at the start of the run named), the one whose answers to the validation prompts have the fewest rejected claims is taken; where none
 * names enough, the one that names most. The same rule chooses among the iterations at the end. Upstream's (SELECT_TEST_SET) takes the fewest of
 * the evaluation's own prompts, whatever is named. */
#ifndef RLAIFV_ENGINE_SELECT_H
#define RLAIFV_ENGINE_SELECT_H

#include "engine/config.h"
#include "engine/eval/labeler_eval.h"

typedef struct SelectEntry {
    int64_t step;      /* of the checkpoint; or the iteration */
    double rejections; /* rejected claims per answer */
    double named;      /* see select_named */
} SelectEntry;

typedef struct SelectChoice {
    int index, qualified; /* into the list; how many name enough */
    char why[200];        /* "fewest rejections (0.41) of 3 that name at least 2.93 objects" */
} SelectChoice;

/* Whether a rule needs answers that are judged; to which prompts; and the least share of what was named at the start. */
static inline int select_judges(const RunConfig *c) { return c->select.rule != SELECT_LAST; }
static inline const char *select_prompts(const RunConfig *c) { return c->select.rule == SELECT_TEST_SET ? c->data.eval : c->data.validation; }
static inline double select_ratio(const RunConfig *c) { return c->select.rule == SELECT_TEST_SET ? 0 : c->select.min_objects_ratio; }

/* What is to be kept: distinct accepted objects per answer in the built-in world, accepted claims per answer elsewhere. */
double select_named(const RunConfig *c, const LabelerRates *r);
const char *select_named_what(const RunConfig *c); /* "objects" or "accepted claims" */

/* n >= 1. `before`: what the model at the start names. Equal rejections: the one that names more; then the earlier one. */
void select_choose(const SelectEntry *list, int n, double before, double min_ratio, const char *what, SelectChoice *out);

#endif

/* choice.h - multiple-choice questions, as in MMStar: the letter that an answer chooses, and how often it is the right one. */
#ifndef RLAIFV_ENGINE_EVAL_CHOICE_H
#define RLAIFV_ENGINE_EVAL_CHOICE_H

#include "engine/eval/benchmark.h"

/* `questions`: rows {question_id | id | index, answer: letter, options?, category?}. Shares in percent; an answer that chooses no letter is
 * wrong. A section for all, and one for each category. */
int choice_eval(const EvalSettings *s, const char *questions, const char *out, FILE *table, Error *e);

enum { CHOICES_MOST = 26 };
/* The letter that an answer chooses among the first n of the alphabet, or 0. options: their texts, each may be NULL. The rules, in order:
 * docs/evaluations.md. */
char choice_letter(const char *answer, const char *const *options, int n);

#endif

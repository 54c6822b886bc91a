/* pope.h - POPE (Li et al. 2023): is there an X in the image? Random, popular and adversarial X. */
#ifndef RLAIFV_ENGINE_EVAL_POPE_H
#define RLAIFV_ENGINE_EVAL_POPE_H

#include "engine/eval/benchmark.h"

/* `questions`: files of rows {question_id, label: yes | no}, apart by commas, and as many files of answers. One section for each, by the
 * name of its file, and, for several, one of all together. Shares in percent, positive is yes. */
int pope_eval(const EvalSettings *s, const char *questions, const char *out, FILE *table, Error *e);

/* What POPE's program takes an answer for: 0 (no) when its first sentence holds the word No, no or not, else 1 (yes). */
int pope_says(const char *answer);

#endif

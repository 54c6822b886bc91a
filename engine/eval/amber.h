/* amber.h - AMBER (Wang et al. 2023): descriptions against annotated objects, and yes/no questions on existence, attributes and relations.
 */
#ifndef RLAIFV_ENGINE_EVAL_AMBER_H
#define RLAIFV_ENGINE_EVAL_AMBER_H

#include "engine/eval/benchmark.h"

/* AMBER's files. relation and safe_words may be NULL when nothing generative is evaluated; queries NULL: all that is annotated was asked;
 * wordnet NULL: lemmas by rules (nouns.h). */
typedef struct AmberFiles {
    const char *annotations, *relation, *safe_words, *queries, *wordnet;
} AmberFiles;
int amber_eval(const EvalSettings *s, const AmberFiles *files, const char *out, FILE *table, Error *e);

#endif

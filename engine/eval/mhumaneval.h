/* mhumaneval.h - MHumanEval (Yu et al. 2023, arXiv 2312.00849): people mark the pieces of answers that are not true of the picture, by
 * type. A sheet for them, and the numbers of the sheet that they give back. */
#ifndef RLAIFV_ENGINE_EVAL_MHUMANEVAL_H
#define RLAIFV_ENGINE_EVAL_MHUMANEVAL_H

#include "engine/eval/benchmark.h"

/* Writes the sheet: id, image, question, answer, done, and a column for each type, empty. s->answers, s->partial are used. Says on `talk`
 * how many rows it has. */
int mhumaneval_export(const EvalSettings *s, const char *questions, const char *out, FILE *talk, Error *e);
/* Reads a sheet that was filled in: in each type's column the false pieces of the answer, word for word, apart by "|"; `done` says yes.
 * Refuses, by line, other words in `done`, pieces that are not in the answer, the same piece under a type twice, rows not done (s->partial:
 * they are counted as missing). people: who marked them, for the result. */
int mhumaneval_import(const EvalSettings *s, const char *labels, const char *people, const char *out, FILE *table, Error *e);

#endif

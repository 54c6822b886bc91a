/* judged.h - questions of a benchmark whose answers a judge decides: what was asked, what the model answered, the answer it is held
 * against, and what the judge, who sees no picture, is told of it. */
#ifndef RLAIFV_ENGINE_EVAL_JUDGED_H
#define RLAIFV_ENGINE_EVAL_JUDGED_H

#include "engine/eval/answers.h"
#include "engine/eval/sections.h"
#include "engine/eval/text_judge.h"

enum { JUDGED_KEYS = 5 };
/* A benchmark: the fields of its rows by name, the first that is there counts; how its questions are asked about. */
typedef struct JudgedBenchmark {
    const char *name;
    const char *question[JUDGED_KEYS], *reference[JUDGED_KEYS], *context[JUDGED_KEYS], *category[JUDGED_KEYS]; /* NULL ends each */
    const char *const *cycle; /* categories of rows that name none, by their place: the first of `period` names, the second, ... */
    int period;
} JudgedBenchmark;

/* Files and ways to ask; NULL: none. */
typedef struct JudgedFiles {
    const char *questions;
    const char *references; /* rows {id, answer}, for questions without one in their own row */
    const char *contexts;   /* rows {image, caption | captions, instances}, likewise */
    const char *prompt, *second_prompt;
    int64_t runs; /* times that everything is asked */
    int swap;     /* pairs are asked about in both orders (RefoMB) */
} JudgedFiles;

typedef struct JudgedItem {
    char *id, *question, *answer, *reference, *context, *category;
} JudgedItem;
typedef struct JudgedSet {
    JudgedItem *all;
    size_t n, cap;
    int missing, extra;
} JudgedSet;

/* What a judged evaluation has open; the benchmarks fill and read it. */
typedef struct Judged {
    JudgedSet set;
    TextJudge judge;
    EvalResult result;
    Sections sections;
    char *prompts[2]; /* the second NULL where there is none */
} Judged;
/* A prompt of a benchmark: what it is for, its built-in text, its file's name, and the place that must be in it. */
typedef struct JudgedPrompt {
    const char *use, *builtin, *file, *needed;
} JudgedPrompt;
/* Reads questions, answers and prompts, and opens judge and result. prompts: 1 or 2. Refuses questions without what the prompt has a place
 * for. 0, or -1 with nothing held. */
int judged_open(Judged *j, const JudgedBenchmark *b, const EvalSettings *s, const JudgedFiles *f, const JudgeSettings *judge,
    const JudgedPrompt *prompts, int prompts_n, const char *out, Error *e);
/* The measures of all and of each category, who judged, and by which prompts; then the result, its table and rows; or, `bad`, nothing.
 * Closes. Returns 0 or -1. */
int judged_finish(Judged *j, int bad, const SectionMeasure *measures, int n, const EvalSettings *s, const JudgedFiles *f, const char *out,
    FILE *table, Error *e);

/* Adds who was asked to a result, and what: `key`: "judge", "extractor"; prompts: texts with their files (NULL: built in), hashed. */
int judged_by(EvalResult *r, const char *key, const TextJudge *judge, const char *const *prompts, const char *const *files, int n,
    int64_t runs, Error *e);

/* A prompt filled with an item: {question}, {reference}, {context}, {answer}; {answer_a} and {answer_b} are reference and answer, the other
 * way round when swapped; {review} is `review`, may be NULL. malloc'd, or NULL. */
char *judged_text(const char *prompt, const JudgedItem *item, int swapped, const char *review, Error *e);

/* Asks one thing about each item, `runs` times, and adds each item's counts to the sections; `count` adds what one reply says of it to
 * `counts`, and its row to the result. */
typedef int JudgedCount(Judged *j, const JudgedItem *item, const Ask *asked, int32_t *counts, Error *e);
int judged_ask(Judged *j, const char *step, int64_t runs, JudgedCount *count, Error *e);

/* The benchmarks (mmhal.c, refomb.c, llava_bench.c). */
int mmhal_eval(const EvalSettings *s, const JudgedFiles *f, const JudgeSettings *judge, const char *out, FILE *table, Error *e);
int refomb_eval(const EvalSettings *s, const JudgedFiles *f, const JudgeSettings *judge, const char *out, FILE *table, Error *e);
int llava_bench_eval(const EvalSettings *s, const JudgedFiles *f, const JudgeSettings *judge, const char *out, FILE *table, Error *e);

#endif

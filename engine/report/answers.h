/* answers.h - answers with their claims, what the labeler said of each, and the truth, from the files of a folder of answers. */
#ifndef RLAIFV_ENGINE_REPORT_ANSWERS_H
#define RLAIFV_ENGINE_REPORT_ANSWERS_H

#include "engine/report/run_folder.h"

typedef enum Verdict { VERDICT_ACCEPTED, VERDICT_REJECTED, VERDICT_UNASKED, VERDICT_NONE, VERDICTS } Verdict;
/* VERDICT_UNASKED: rejected without being asked; VERDICT_NONE: the labeler saw no claim of this answer. */
typedef struct Said {
    char *claim;
    Verdict verdict;
    double p_yes; /* where it was asked */
    int truth;    /* 1, 0; -1: not known */
} Said;

typedef struct Answer {
    const char *id, *image, *question, *text; /* of the row, which is held; image NULL: none */
    int candidate, labelled;
    Said *said;
    int n;
    Marks rejected; /* of text */
    json_t *row;
} Answer;

typedef struct AnswerFiles {
    const RunFolder *run;
    int truth, labelled; /* TRUTH_EVAL or TRUTH_PROMPTS; whether claims.jsonl and labels.jsonl are there */
    JsonLines candidates, claims, labels;
} AnswerFiles;

/* The files of RUN/FOLDER. 1; 0: there are no answers yet; -1. */
int answer_files_open(AnswerFiles *f, const RunFolder *run, const char *folder, int truth, Error *e);
/* 1 and an answer to be freed; 0 at the end; -1: a bad row, or files that do not match. */
int answer_files_next(AnswerFiles *f, Answer *out, Error *e);
void answer_files_close(AnswerFiles *f);
void answer_free(Answer *a);

#endif

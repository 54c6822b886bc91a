/* answers.h - rows of files, and a model's answers by the ids of what they answer.
 *
 * Both JSONL and one JSON array of objects are read. An answer is {id | question_id | image_id, response | answer | text | model_answer |
 * answers: [{text}]}; ids are whole
 * numbers or texts, and 7 is the same id as "7". */
#ifndef RLAIFV_ENGINE_EVAL_ANSWERS_H
#define RLAIFV_ENGINE_EVAL_ANSWERS_H

#include "base/json.h"

/* Calls `take` for each row; stops when it returns non-zero, and returns that. `where` is "file:line", of an array "file[place]". */
typedef int RowTaker(void *context, const json_t *row, const char *where, Error *e);
int rows_each(const char *path, RowTaker *take, void *context, Error *e);

/* What a row is about. IDS_OF_QUESTIONS: question_id, else id, else index. IDS_OF_IMAGES: image_id, else image, else id; of a name such as
 * COCO_val2014_000000310196.jpg it is the number at its end (310196). IDS_OR_PLACES, for files whose rows may have no ids: as of questions,
 * else image_id as it is written, else the row's place, from 0, as "#0", which is nobody's id; the others do not look at `place`. *out is
 * malloc'd. */
typedef enum IdKind { IDS_OF_QUESTIONS, IDS_OF_IMAGES, IDS_OR_PLACES } IdKind;
int row_id(const json_t *row, IdKind kind, size_t place, const char *where, char **out, Error *e);

typedef struct Answer {
    char *id, *text;
    int used;
} Answer;
typedef struct AnswerSet {
    const char *path; /* borrowed */
    Answer *all;      /* in the file's order */
    size_t n, cap;
    json_t *index; /* id -> place in all (of the last, where ids repeat) */
    json_t *asked; /* ids of questions that answers_ask was called with */
    int used, missing;
    char first_missing[80];
} AnswerSet;
/* Refuses rows without an id or an answer, a second answer to one question (IDS_OF_IMAGES: an image may have several), and no rows at all.
 */
int answers_read(AnswerSet *s, const char *path, IdKind kind, Error *e);
void answers_free(AnswerSet *s);
/* The answer to a question, which then counts as used; NULL, and one more is missing. */
const Answer *answers_take(AnswerSet *s, const char *id);
/* The same, to *out, of a file of questions: refuses one for the second time. 0 or -1. */
int answers_ask(AnswerSet *s, const char *id, const char *where, const Answer **out, Error *e);
/* Once all questions have been asked: refuses missing and extra answers unless `partial`, and, always, when nothing was used. */
int answers_settle(const AnswerSet *s, int partial, Error *e);
/* Adds up what is missing and extra: for the numbers of a result. */
void answers_tally(const AnswerSet *s, int *missing, int *extra);

#endif

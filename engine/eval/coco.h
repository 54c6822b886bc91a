/* coco.h - COCO's annotation files, walked without being held: instances_train2014.json has 450 MB, a row of it a few hundred bytes. */
#ifndef RLAIFV_ENGINE_EVAL_COCO_H
#define RLAIFV_ENGINE_EVAL_COCO_H

#include "engine/eval/answers.h"

/* 1 when the file begins with a JSON object that has a member `key`, 0 when not, -1 when it cannot be read. */
int coco_has(const char *path, const char *key, Error *e);
/* Calls `take` for each element of the top's array `key`; `where` is "file: key[place]". `wanted`: a set of image ids; elements about other
 * images are passed over unread; NULL: all are taken. Refuses a file that has no such array, or whose brackets do not close. */
int coco_each(const char *path, const char *key, const json_t *wanted, RowTaker *take, void *context, Error *e);

#endif

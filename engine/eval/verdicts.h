/* verdicts.h - what a judge's reply says: a rating, a verdict, two scores, a list of objects. Nothing is guessed: a reply that does not say
 * it in its form is unread. */
#ifndef RLAIFV_ENGINE_EVAL_VERDICTS_H
#define RLAIFV_ENGINE_EVAL_VERDICTS_H

#include "base/json.h"

/* MMHal-Bench: the one digit from 0 to 6 that stands after "rating: ", whatever the size of letters; it may be said more than once. -1:
 * none, two different ones, or a longer number. */
int rating_read(const char *reply);

/* RefoMB: the letter in [[A]], [[B]] or [[C]]; 0: none, or two different ones. */
char verdict_read(const char *reply);

/* LLaVA-Bench: the two numbers that are all of the first line, apart by blanks or a comma, each from 1 to 10. 0, or -1. */
int scores_read(const char *reply, double out[2]);

/* Object names in a reply: a JSON array of texts, alone, in an object or in a fence; else lines that begin with "-", "*", a bullet or a
 * number; or only "none". A new array of texts without blanks at their ends; *unread: it is neither, and the array is empty. NULL with the
 * Error filled when memory is out. */
json_t *objects_read(const char *reply, int *unread, Error *e);

#endif

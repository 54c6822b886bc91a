/* labeler_eval.h - what the labeler says of a set of answers: rejected claims, and how much is left that it accepts. Needs no truth. */
#ifndef RLAIFV_ENGINE_EVAL_LABELER_EVAL_H
#define RLAIFV_ENGINE_EVAL_LABELER_EVAL_H

#include "base/json.h"

/* Means over the answers that were judged; an answer without claims was, and has nothing rejected. */
typedef struct LabelerRates {
    int answers, refused;     /* refused: not judged, and in no mean */
    double rejections, any;   /* rejected claims per answer; share of answers with one */
    double accepted, objects; /* accepted claims per answer; distinct accepted objects (0 outside the built-in world) */
    double words;
} LabelerRates;

/* Reads candidates.jsonl and the labels.jsonl made of it, row by row. Refuses files that do not match. 0 or -1. */
int labeler_eval(const char *candidates, const char *labels, LabelerRates *out, Error *e);
json_t *labeler_rates_to_json(const LabelerRates *r); /* fields by the names above; NULL when memory is out */
int labeler_rates_from_json(const json_t *object, const char *where, LabelerRates *out, Error *e);

/* Walks two files of rows {id, candidate, ...} in step, e.g. candidates and their labels. 1 and two new references; 0 at the end of both;
 * -1: a bad row, or rows that do not speak of the same candidate. */
int rows_next_two(JsonLines *first, JsonLines *second, json_t **a, json_t **b, Error *e);

#endif

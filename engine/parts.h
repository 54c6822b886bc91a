/* parts.h - the pairs of a step dealt into parts, so that ranks finish together. */
#ifndef RLAIFV_ENGINE_PARTS_H
#define RLAIFV_ENGINE_PARTS_H

#include "base/error.h"

/* part_of[i] of n items that cost tokens[i]: the longest first, each to the part that has least so far (Graham 1969), equal ones in order. A
 * function of the costs alone. parts at most n: then none is empty. */
int parts_deal(const int *tokens, int n, int parts, int *part_of, Error *e);

#endif

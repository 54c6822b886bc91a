/* inspect.h - what a checkpoint folder holds, in words: `rlaifv inspect DIR`. */
#ifndef RLAIFV_MODEL_INSPECT_H
#define RLAIFV_MODEL_INSPECT_H

#include "base/error.h"

#include <stdio.h>

/* Writes what the checkpoint is, its shapes, parameters and bytes of each part, dtype, layout, tokenizer, and everything missing or odd to
 * `out`. 0 when the checkpoint can be used; -1 with the Error filled when it cannot, after all that could be said about it. */
int model_inspect(const char *folder, FILE *out, Error *e);

#endif

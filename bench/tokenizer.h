/* tokenizer.h - how fast a checkpoint's tokenizer is. */
#ifndef RLAIFV_BENCH_TOKENIZER_H
#define RLAIFV_BENCH_TOKENIZER_H

#include "base/error.h"

#include <stdio.h>

/* Encodes and decodes the file's bytes on one thread, in pieces of `piece` bytes (0: as one text), three times; prints one JSON line with
 * the best MB/s of each, ids, and bytes. 0 or -1. */
int bench_tokenizer(const char *folder, const char *file, size_t piece, FILE *out, Error *e);

#endif

/* out_of_memory.h - what evaluations say where memory is out. */
#ifndef RLAIFV_ENGINE_EVAL_OUT_OF_MEMORY_H
#define RLAIFV_ENGINE_EVAL_OUT_OF_MEMORY_H

#include "base/error.h"

/* where: what it was wanted for: "requests", or a row. Returns -1. */
static inline int out_of_memory(const char *where, Error *e) { return error_what(e, "out of memory"), error_where(e, "%s", where); }

#endif

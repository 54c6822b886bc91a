/* scenes_files.h - answers and pairs in files, about scenes of the built-in world, held against the truth; and the answers corrected by it. */
#ifndef RLAIFV_ENGINE_EVAL_SCENES_FILES_H
#define RLAIFV_ENGINE_EVAL_SCENES_FILES_H

#include "engine/eval/benchmark.h"

typedef struct ScenesFiles {
    const char *data;        /* rows {id, image, question, truth}, as `rlaifv scenes` writes them */
    const char *pairs;       /* pairs.jsonl, or NULL */
    const char *corrections; /* gets {id, image, question, chosen: the answer corrected, rejected: the answer}; NULL: not wanted */
} ScenesFiles;

/* settings->answers, rows {id, text}, may be NULL when there are pairs. Section "all" is of the answers, "pairs" of the pairs; shares in percent. */
int scenes_files_eval(const EvalSettings *s, const ScenesFiles *files, const char *out, FILE *table, Error *e);

#endif

/* reference.h - reference log-probs kept by content, so that a stale cache cannot exist.
 *
 * A key hashes everything the number depends on: weights, dtype, tokens before the image, image bytes and how they are fitted, prompt and answer ids.
 * The file is JSONL, {"key", "sum"}, appended as they are computed; a last line cut short by a kill is dropped. */
#ifndef RLAIFV_ENGINE_REFERENCE_H
#define RLAIFV_ENGINE_REFERENCE_H

#include "engine/vlm.h"

typedef struct ReferenceCache {
    FILE *stream;
    char path[PATH_SIZE];
    struct ReferenceEntry {
        char key[HASH_TEXT];
        double sum;
        int used;
    } *table; /* open addressing, a power of two long */
    size_t cap, n;
} ReferenceCache;

int reference_open(ReferenceCache *c, const char *path, Error *e);
int reference_find(const ReferenceCache *c, const char *key, double *sum); /* 1 found */
int reference_add(ReferenceCache *c, const char *key, double sum, Error *e);
/* Flushes what was added to the disk. */
int reference_close(ReferenceCache *c, Error *e);

/* What a model contributes to keys. Called by all ranks that hold slices of it. */
int reference_model_key(Vlm *v, char out[HASH_TEXT], Error *e);
/* weights: of the answer's tokens, or NULL for ones; blind: the prompt's image is not seen. */
int reference_key(const char *model, const Prompt *prompt, const IdList *answer, const float *weights, int blind, char out[HASH_TEXT], Error *e);

#endif

/* names.h - inside the tokenizer's room: which tokens begin and end a text, from the files beside the vocabulary. */
#ifndef RLAIFV_TOKENIZER_NAMES_H
#define RLAIFV_TOKENIZER_NAMES_H

#include "base/error.h"

typedef enum SpecialName { SPECIAL_BOS, SPECIAL_EOS, SPECIAL_UNK, SPECIAL_PAD, SPECIAL_NAMES } SpecialName;
typedef struct SpecialIds {
    int id[SPECIAL_NAMES]; /* -1: nothing says */
    int add_bos;           /* -1: nothing says */
} SpecialIds;

/* Looks in FOLDER's tokenizer_config.json, then special_tokens_map.json (names, found by `find`), then generation_config.json and
 * config.json (ids below `count`); the first that speaks of a token decides. Ids that are set already stay. 0 or -1: damaged files, names
 * of no token. */
int special_ids_read(
    SpecialIds *s, const char *folder, int count, int (*find)(const void *self, const char *name), const void *self, Error *e);

#endif

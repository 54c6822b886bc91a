/* chat_tokens.h - what `rlaifv tokenize --chat` shows: a row's conversation as the model gets it, and which tokens are trained. */
#ifndef RLAIFV_ENGINE_CHAT_TOKENS_H
#define RLAIFV_ENGINE_CHAT_TOKENS_H

#include "tokenizer/template.h"

#include <stdio.h>

/* For each row of `data` (dialogue.h) a table on `to`: position, id, "*" where it is trained, piece. The image is one line with its rows.
 * `out` (NULL: none): JSONL rows {ids, pieces, trained, image_rows}; the image is a null among the ids. */
int chat_tokens(const char *model, const char *setting, const char *data, const char *out, FILE *to, Error *e);

#endif

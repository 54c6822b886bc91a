/* dialogue.h - the conversation in a row of data: `messages` ({role, content}), LLaVA's `conversations` ({from, value}), or `question` and,
 * when there is one, `answer`.
 *
 * The mark "<image>" at either end of the first question says where LLaVA's rows have their image; it is taken out, as chat templates
 * put the image where the model had it in training. Refuses unknown roles, content that is no text, and the mark anywhere else. */
#ifndef RLAIFV_ENGINE_DIALOGUE_H
#define RLAIFV_ENGINE_DIALOGUE_H

#include "base/json.h"
#include "tokenizer/template.h"

typedef struct Dialogue {
    ChatTurn *turns; /* texts are owned */
    size_t n;
    int has_image; /* the row names an image, or the first question is marked */
} Dialogue;
int dialogue_in(const json_t *row); /* 1 when the row has messages or conversations */
int dialogue_read(const json_t *row, const char *where, Dialogue *out, Error *e);
void dialogue_free(Dialogue *d);

#endif

/* sentence.h - the English of the built-in world, both ways: sentences and questions <-> what they state.
 *
 * A sentence is one of five forms and states one to four facts. A fact is what is judged: it has a claim ("The ball is red."), a yes/no
 * question ("Is the ball red?") and, in a given scene, a truth value. Parsing accepts exactly what writing makes, nothing near it. */
#ifndef RLAIFV_ENGINE_SCENES_SENTENCE_H
#define RLAIFV_ENGINE_SCENES_SENTENCE_H

#include "engine/scenes/world.h"

enum { SENTENCE_TEXT = 96, SENTENCE_FACTS_MOST = 4, SCENE_COUNTS = 7 };
extern const char *const scene_counts[SCENE_COUNTS]; /* "zero" .. "six" */

typedef enum SentenceForm { SENTENCE_THERE_IS, SENTENCE_I_SEE, SENTENCE_IS_IN, SENTENCE_COUNT, SENTENCE_BACKGROUND } SentenceForm;
typedef struct SceneSentence {
    SentenceForm form;
    int kind, size, colour, cell; /* object forms; -1: not said (the kind always is; SENTENCE_IS_IN says the cell) */
    int value;                    /* SENTENCE_COUNT: the number; SENTENCE_BACKGROUND: the background */
} SceneSentence;

typedef enum FactAbout { FACT_EXISTS, FACT_COLOUR, FACT_SIZE, FACT_POSITION, FACT_COUNT, FACT_BACKGROUND, FACT_ABOUTS } FactAbout;
typedef struct SceneFact {
    FactAbout about;
    int kind;  /* the first four; else -1 */
    int value; /* colour, size, cell, number or background; -1 for FACT_EXISTS */
} SceneFact;

int sentence_is_object(const SceneSentence *s);
void sentence_write(const SceneSentence *s, char out[SENTENCE_TEXT]); /* with its full stop */
/* `text` of `size` bytes, full stop included. 1 parsed, 0 not a sentence of the world. */
int sentence_parse(const char *text, size_t size, SceneSentence *out);
int sentence_facts(const SceneSentence *s, SceneFact out[SENTENCE_FACTS_MOST]); /* how many */

/* Cuts the next sentence off *cursor: up to and with the next full stop, or to the end; surrounding white space is not part of it. 1 found
 * (never empty), 0 at the end. */
int sentence_next(const char **cursor, const char **text, size_t *size);

const char *fact_word(const SceneFact *f); /* of its value: "red"; "" for FACT_EXISTS */
void fact_claim(const SceneFact *f, char out[SENTENCE_TEXT]);
void fact_question(const SceneFact *f, char out[SENTENCE_TEXT]);
int fact_from_question(const char *question, SceneFact *out); /* 1 parsed, 0 not a question of the world */
int fact_holds(const SceneFact *f, const Scene *s);           /* attributes of an absent object are false */

#endif

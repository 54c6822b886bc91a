/* language.h - what people say about a scene: instructions, captions, yes/no questions and one-word questions, drawn at random.
 *
 * Captions can hallucinate as captions of real data make a model do: each kind of falsehood has its chance in SceneNoise and follows a
 * prior (kinds that tend to come together, colours things tend to have), so that a model that learnt from them repeats them at low
 * temperature. */
#ifndef RLAIFV_ENGINE_SCENES_LANGUAGE_H
#define RLAIFV_ENGINE_SCENES_LANGUAGE_H

#include "engine/scenes/sentence.h"

enum { CAPTION_SENTENCES_MOST = 7, CAPTION_TEXT = CAPTION_SENTENCES_MOST * SENTENCE_TEXT, SCENE_INSTRUCTIONS = 4, ANSWER_WORD = 16 };
extern const char *const scene_instructions[SCENE_INSTRUCTIONS];

typedef struct SceneNoise {
    double partner;  /* after the first kind without its partner, the absent partner is described too */
    double colour;   /* the kind's typical colour in place of the true one, per colour said */
    double position; /* one of the other eight cells, per position said */
    double count;    /* one object too many */
} SceneNoise;
extern const SceneNoise scene_noise_none, scene_noise_default;

typedef struct SceneCaption {
    int count;
    SceneSentence sentences[CAPTION_SENTENCES_MOST];
    int absent_kind; /* the kind described though absent, or -1 */
    int false_facts; /* planted by the noise, all kinds together */
} SceneCaption;

/* forms: of sentences about objects, bits 1 << SentenceForm; 0: all. What is drawn when all are is not moved by there being a choice. */
void caption_draw(const Scene *s, const SceneNoise *noise, unsigned forms, Rng *rng, SceneCaption *out);
void caption_write(const SceneCaption *c, char out[CAPTION_TEXT]);

const char *instruction_draw(Rng *rng);
/* A fact to ask about, as often true as false; 1 when it is true. Half of the absent kinds asked about are missing partners. */
int question_draw(const Scene *s, Rng *rng, SceneFact *out);
/* A question with a one-word answer, e.g. "Where is the ball?" "north"; "none" when what is asked about is not there. */
void open_question_draw(const Scene *s, Rng *rng, char question[SENTENCE_TEXT], char answer[ANSWER_WORD]);

#endif

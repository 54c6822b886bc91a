/* scenes.h - the built-in world as data: training examples in memory, and folders of PNG files with JSONL rows.
 *
 * Example `index` of world `seed` is always the same, whichever function makes it, so a folder written here and a trainer that draws its
 * scenes on the fly agree. */
#ifndef RLAIFV_ENGINE_SCENES_SCENES_H
#define RLAIFV_ENGINE_SCENES_SCENES_H

#include "engine/scenes/language.h"

enum { SCENES_TURNS_MOST = 64, SCENES_QUESTION = 160, SCENES_COUNT_MOST = 10000000 };

/* What is said about each scene in training. */
typedef struct ScenesMix {
    int captions, yes_no, open; /* turns per scene; together at most SCENES_TURNS_MOST */
    double short_weight;        /* loss weight of one-word answers beside 1 for captions */
    unsigned forms;             /* of the captions' sentences (caption_draw) */
    SceneNoise noise;           /* of the captions; questions are always answered truly */
} ScenesMix;

typedef struct ScenesTurn {
    char question[SCENES_QUESTION], answer[CAPTION_TEXT];
    double weight;
} ScenesTurn;

typedef struct ScenesExample {
    Scene scene;
    unsigned char rgb[SCENE_BYTES];
    int count;
    ScenesTurn turns[SCENES_TURNS_MOST];
} ScenesExample;

/* The scene, its picture and its turns: captions first, then yes/no questions (each ending as a probe does, answered "Yes" or "No"), then
 * open ones. 0, or -1 for a mix with too many or negative turns. */
int scenes_sft_example(uint64_t seed, uint64_t index, const ScenesMix *mix, ScenesExample *out, Error *e);

/* The instruction that prompts for a description of scene `index`. */
const char *scenes_prompt(uint64_t seed, uint64_t index);

/* Writes `count` scenes from `first` on: OUT/images/INDEX.png, OUT/prompts.jsonl with rows {id, image, question, truth}, and, when the mix
 * asks for turns, OUT/sft.jsonl with rows {id, image, question, answer, weight}. Image paths are relative to OUT; ids are "sSEED-INDEX".
 * `progress` (may be NULL) is called after each scene with how many are done. 0 or -1. */
typedef struct ScenesOutput {
    const char *folder;
    uint64_t seed, first;
    int count;
    ScenesMix mix;
    void (*progress)(void *context, int done);
    void *context;
} ScenesOutput;
int scenes_write(const ScenesOutput *o, Error *e);

#endif

/* chair.h - CHAIR (Rohrbach et al. 2018) as Object HalBench counts it without a language model: objects of COCO's 80 classes that a
 * description names, held against those annotated in the picture or named by its five captions; or as it counts them with a model that
 * lists the objects of each answer. */
#ifndef RLAIFV_ENGINE_EVAL_CHAIR_H
#define RLAIFV_ENGINE_EVAL_CHAIR_H

#include "engine/eval/benchmark.h"
#include "engine/eval/nouns.h"
#include "engine/eval/text_judge.h"

/* ---- words (chair_words.c) ---- */

/* Words of the 80 classes. */
typedef struct ChairWords {
    json_t *class_of, *pairs; /* word or pair -> class; "first second" -> the word that the pair stands for */
    Lemmas lemmas;
    Tokens tokens;
} ChairWords;
/* synonyms: a class a line, its name first, apart by commas. wordnet: as lemmas_open. */
int chair_words_open(ChairWords *w, const char *synonyms, const char *wordnet, Error *e);
void chair_words_free(ChairWords *w);
/* The objects that a text names, in order: an array of [word, class]. A new reference, or NULL with the Error filled. */
json_t *chair_words_find(ChairWords *w, const char *text, Error *e);
/* The class of a name or synonym, or NULL. */
const char *chair_class(const ChairWords *w, const char *name);

/* ---- truth (chair_truth.c) ---- */

/* Adds the classes in the pictures of `truth` (image id -> set of classes), which holds the images that are wanted, from one file: rows
 * {image_id, objects, captions}, COCO's instances or COCO's captions. Images of rows that are not wanted are counted in *unasked;
 * `described` gets the ids of those that the file says something about. */
int chair_truth_read(const char *path, ChairWords *w, json_t *truth, json_t *described, int *unasked, Error *e);

/* ---- objects listed by a model (chair_objects.c) ---- */

/* Answers of at most so many pieces between blanks name nothing; a model is not asked about them. */
enum { CHAIR_PIECES_FEW = 3 };
/* Asks which objects each text names, and finds those among COCO's classes: found[i] is an array of [word, class] with each word once, or
 * NULL where the reply is no list. `prompt`: a file, or NULL. Adds the extractor to the result. On -1 nothing is held. */
int chair_objects_find(ChairWords *w, const JudgeSettings *extractor, const char *prompt, const char *out, const char *const *ids,
    const char *const *texts, size_t n, json_t **found, EvalResult *r, Error *e);

/* ---- together (chair.c) ---- */

/* Pieces between single blanks, of the text without blanks at its ends: so the original counts words, and an empty answer is one. */
int32_t chair_pieces(const char *text);

/* truth: files apart by commas. extractor NULL: the objects are those that chair_words_find finds in the answers themselves. Shares in
 * percent. */
typedef struct ChairFiles {
    const char *synonyms, *truth, *wordnet;
    const JudgeSettings *extractor;
    const char *prompt;
} ChairFiles;
int chair_eval(const EvalSettings *s, const ChairFiles *files, const char *out, FILE *table, Error *e);

#endif

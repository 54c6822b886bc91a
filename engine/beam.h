/* beam.h - beam search for one prompt: which tokens follow which beams, and which answers have ended. Knows no model.
 *
 * After each step the model gives the most likely tokens behind every beam. Of all beams' tokens, those with the highest sums of log-probs are looked at
 * in order: one that ends an answer gives it a place among the ended if it stands among the first `width`; the first `width` of the others are the next
 * beams. An answer's score is the mean log-prob of its tokens, the end included. The search is over when `width` answers have ended and no beam's mean is
 * above the worst of theirs. These are the rules of Transformers' generate(num_beams = width) at its defaults (length_penalty 1, early_stopping off). */
#ifndef RLAIFV_ENGINE_BEAM_H
#define RLAIFV_ENGINE_BEAM_H

#include "tokenizer/tokenizer.h"

enum { BEAMS_MOST = 16 }; /* more than anybody searches with; a prompt's state holds so many */

/* What an option or a setting that takes a number of beams says of itself. */
#define BEAMS_HELP "above 1: the n best answers of a search with so many beams, at temperature 0"
/* Whether a search can do this (beams 1: no search); the Error lacks where it was asked for. */
int beams_check(int beams, int n, double temperature, double repetition_penalty, Error *e);

/* An answer, whole or on its way. */
typedef struct Beam {
    IdList ids;
    double logp;
    int finished; /* by an id that ends answers */
} Beam;

typedef struct BeamSearch {
    int width, most; /* most: tokens of an answer */
    int n, ended_n;
    Beam beams[BEAMS_MOST], ended[BEAMS_MOST]; /* best first */
    int from[BEAMS_MOST];                      /* the beam before that each goes on from */
    int done;
} BeamSearch;

void beams_begin(BeamSearch *s, int width, int most);
void beams_free(BeamSearch *s);
/* Rows of tokens that beams_step takes: one at first, where there is the prompt alone. */
int beams_rows(const BeamSearch *s);
/* Tokens a row needs, so that `width` beams can go on whatever ends, where `ends` ids do. */
int beams_tokens(int width, size_t ends);
/* ids, logps (beams_rows, n = beams_tokens): the most likely tokens behind each beam, best first, -1 where there are no more. When the search is over, `ended` has every answer. */
int beams_step(BeamSearch *s, const int *ids, const float *logps, int n, int (*ends)(const void *context, int id), const void *context, Error *e);
double beam_score(const Beam *b);

#endif

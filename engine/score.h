/* score.h - log-probs of given answers: trunks with answers as leaves, no padding, the head on answer rows only.
 *
 * Items that share an image share its rows within a step, items with equal prompts share the whole trunk. Used for `rlaifv score`, the
 * reference log-probs of training, best-of-N and the bench. */
#ifndef RLAIFV_ENGINE_SCORE_H
#define RLAIFV_ENGINE_SCORE_H

#include "engine/progress.h"
#include "engine/vlm.h"

enum { SCORE_ROWS = 2048 }; /* rows of a step unless the caller says otherwise */

/* An answer is all its ids, eos included where it is to be scored. Everything is borrowed. */
typedef struct ScoreItem {
    const Prompt *prompt;
    const IdList *answers;
    int n;
} ScoreItem;

typedef struct AnswerScore {
    float *logps; /* (tokens): log p(answer[t] | prompt, answer[< t]) in nats; NULL: the item was refused */
    int tokens;
    double sum;
} AnswerScore;

/* Scores all answers of n items: *out holds them in order, item by item. A step is closed once it has `rows` rows (0: SCORE_ROWS), so at
 * least one item goes in. Answers that pass the model's last position, or are empty, are refused. progress counts items. Free with
 * scores_free. */
int score_answers(
    Vlm *v, const ScoreItem *items, size_t n, int rows, AnswerScore **out, const Refusals *refusals, Progress *progress, Error *e);
void scores_free(AnswerScore *scores, size_t n);

#endif

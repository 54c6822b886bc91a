/* score.c - owns the packing of answers into steps without slots, and the way of log-probs back to their answers.
 *
 * Refuses answers that are empty or longer than the model's positions leave. */
#include "engine/score.h"

#include <stdlib.h>
#include <string.h>

void scores_free(AnswerScore *scores, size_t n) {
    if (!scores) return;
    for (size_t i = 0; i < n; i++) free(scores[i].logps);
    free(scores);
}

/* Refuses what cannot be scored, before the step knows of it. */
static int item_check(const Vlm *v, const ScoreItem *item, Error *e) {
    int room = v->model.config.decoder.positions - prompt_tokens(v, item->prompt);
    for (int i = 0; i < item->n; i++) {
        size_t count = item->answers[i].count;
        if (count == 0) return error_what(e, "an empty answer cannot be scored"), error_hint(e, "even an empty text has </s>");
        if (count > (size_t)(room > 0 ? room : 0))
            return error_what(e, "answer too long"), error_found(e, "%zu tokens", count),
                   error_expected(e, "at most %d after this prompt", room > 0 ? room : 0),
                   config_explain_positions(&v->model.config.decoder, e);
    }
    return 0;
}

/* Hangs the answers of an item from its trunk. 0 done, TRUNK_REFUSED, -1. */
static int item_append(Vlm *v, Trunks *t, const ScoreItem *item, Error *e) {
    if (item_check(v, item, e)) return TRUNK_REFUSED;
    int trunk = trunks_find(v, t, item->prompt, e);
    if (trunk < 0) return trunk;
    for (int i = 0; i < item->n; i++) {
        int leaf = forest_segment(&t->forest, trunk, (int)item->answers[i].count, e);
        if (leaf < 0 || forest_extend(&t->forest, leaf, item->answers[i].ids, (int)item->answers[i].count, e) ||
            forest_score(&t->forest, leaf, 0, e))
            return -1;
    }
    return 0;
}

/* Runs the step and deals its log-probs to scores first .. (those with tokens set), in order. */
static int step_run(Vlm *v, Trunks *t, AnswerScore *scores, size_t n, float **logps, size_t *cap, Error *e) {
    int R = t->forest.scored_n, at = 0;
    if (R == 0) return 0;
    if (mem_grow(logps, cap, (size_t)R, sizeof **logps, "log-probs", e) || vlm_forward(v, &t->forest, &t->images, STEP_SCORE, e) ||
        model_score(&v->model, &t->forest, *logps, NULL, NULL, NULL, e))
        return -1;
    for (size_t i = 0; i < n; i++) {
        AnswerScore *s = &scores[i];
        if (s->tokens == 0) continue;
        s->logps = mem_new((size_t)s->tokens, sizeof *s->logps, "log-probs", e);
        if (!s->logps) return -1;
        memcpy(s->logps, *logps + at, (size_t)s->tokens * sizeof *s->logps);
        for (int j = 0; j < s->tokens; j++) s->sum += s->logps[j];
        at += s->tokens;
    }
    return 0;
}

/* Buffers of the largest step: closed at `rows` rows, so the last item may pass them. */
static int steps_reserve(Vlm *v, const ScoreItem *items, size_t n, int rows, Error *e) {
    int64_t all = 0, longest = 0, images = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t tokens = prompt_tokens(v, items[i].prompt);
        for (int a = 0; a < items[i].n; a++) tokens += (int64_t)items[i].answers[a].count;
        all += tokens;
        images += prompt_has_image(items[i].prompt);
        if (tokens > longest) longest = tokens;
    }
    int64_t most = rows + longest < all ? rows + longest : all;
    StepSize size = vlm_step_size(&v->model.config, STEP_SCORE, USES_SCORES, most, most, images, 0);
    return vlm_reserve(v, &size, e);
}

int score_answers(
    Vlm *v, const ScoreItem *items, size_t n, int rows, AnswerScore **out, const Refusals *refusals, Progress *progress, Error *e) {
    size_t answers = 0, first = 0, at = 0, cap = 0;
    for (size_t i = 0; i < n; i++) answers += (size_t)items[i].n;
    AnswerScore *scores = mem_new(answers ? answers : 1, sizeof *scores, "scores", e);
    if (!scores) return -1;
    if (rows <= 0) rows = SCORE_ROWS;
    Trunks t = { 0 };
    trunks_clear(&t);
    float *logps = NULL;
    for (size_t i = 0; i < n; i++) vlm_ahead(v, &items[i].prompt->image);
    int bad = n > 0 && steps_reserve(v, items, n, rows, e);
    for (size_t i = 0, waiting = 0; i < n && !bad; i++) {
        Error why = { 0 };
        int got = item_append(v, &t, &items[i], &why);
        if (got == TRUNK_REFUSED) bad = refuse(refusals, i, &why, e);
        else if (got < 0) {
            if (e) *e = why;
            bad = -1;
        } else
            for (int a = 0; a < items[i].n; a++) scores[at + (size_t)a].tokens = (int)items[i].answers[a].count;
        at += (size_t)items[i].n;
        waiting++;
        if (bad || (i + 1 < n && t.forest.rows_n < rows && t.images.n < VLM_IMAGES)) continue;
        bad = step_run(v, &t, scores + first, at - first, &logps, &cap, e);
        progress_add(progress, (int64_t)waiting);
        trunks_clear(&t);
        first = at;
        waiting = 0;
    }
    vlm_ahead_clear(v);
    trunks_free(&t);
    free(logps);
    if (bad) {
        scores_free(scores, answers);
        return -1;
    }
    *out = scores;
    return 0;
}

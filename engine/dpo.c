/* dpo.c - Direct Preference Optimization (Rafailov et al. 2023) on a Forest. The loss and its coefficients are one kernel. */
#include "engine/dpo.h"

#include <stdlib.h>

/* Hangs every answer from its trunk and scores it; first[2 i + side] is where a sequence's scored rows start, first[2 n] the end. */
static int leaves_append(Forest *f, const DpoPair *pairs, int n, int *first, Error *e) {
    first[0] = f->scored_n;
    for (int i = 0; i < n; i++)
        for (int side = 0; side < 2; side++) {
            int leaf = forest_segment(f, pairs[i].trunk, 0, e);
            if (leaf < 0 || forest_extend(f, leaf, side ? pairs[i].rejected : pairs[i].chosen, side ? pairs[i].rejected_n : pairs[i].chosen_n, e) || forest_score(f, leaf, 0, e))
                return -1;
            first[2 * i + side + 1] = f->scored_n;
        }
    return 0;
}

int dpo_reference(Vlm *v, Forest *f, StepImages *images, DpoPair *pairs, int n, Error *e) {
    int result = -1;
    float *logp = NULL;
    int *first = mem_new((size_t)(2 * n + 1), sizeof *first, "sequence offsets", e);
    if (!first || leaves_append(f, pairs, n, first, e)) goto done;
    logp = mem_new((size_t)f->scored_n, sizeof *logp, "token log-probs", e);
    if (!logp || vlm_forward(v, f, images, STEP_SCORE, e) || model_score(&v->model, f, logp, NULL, NULL, NULL, e)) goto done;
    for (int s = 0; s < 2 * n; s++) {
        double sum = 0;
        for (int r = first[s]; r < first[s + 1]; r++) sum += logp[r];
        pairs[s / 2].reference[s % 2] = sum;
    }
    result = 0;
done:
    free(first);
    free(logp);
    return result;
}

int dpo_backward(Vlm *v, Forest *f, StepImages *images, const DpoPair *pairs, int n, const PreferenceLoss *loss, DpoSums *sums, Error *e) {
    Model *m = &v->model;
    int result = -1;
    int *first = mem_new((size_t)(2 * n + 1), sizeof *first, "sequence offsets", e);
    double *reference = mem_new((size_t)(2 * n), sizeof *reference, "reference log-probs", e);
    double *columns = mem_new((size_t)n * PAIR_COLUMNS, sizeof *columns, "pair columns", e);
    float *rows = NULL;
    if (!first || !reference || !columns) goto done;
    if (leaves_append(f, pairs, n, first, e)) goto done;
    for (int i = 0; i < 2 * n; i++) reference[i] = pairs[i / 2].reference[i % 2];
    int R = f->scored_n;
    rows = mem_new((size_t)R * 4, sizeof *rows, "token log-probs", e);
    Buf dlogp = model_dlogp(m, f, e);
    if (!rows || !dlogp.at) goto done;
    float *logp = rows, *entropy = rows + R, *hit = rows + 2 * R, *mean_logit = rows + 3 * R;
    if (vlm_forward(v, f, images, STEP_TRAIN, e) || model_score(m, f, logp, entropy, hit, mean_logit, e)) goto done;
    m->k->preference_loss(dlogp, columns, model_logp(m), first, reference, n, loss);
    if (model_backward(m, f, dlogp, e)) goto done;

    sums->pairs += n;
    sums->rows += f->rows_n;
    for (int i = 0; i < n; i++) {
        const double *c = columns + (size_t)i * PAIR_COLUMNS;
        sums->loss += c[PAIR_LOSS];
        sums->reward[0] += c[PAIR_REWARD_CHOSEN];
        sums->reward[1] += c[PAIR_REWARD_REJECTED];
        sums->logp[0] += c[PAIR_LOGP_CHOSEN];
        sums->logp[1] += c[PAIR_LOGP_REJECTED];
        sums->accuracies += c[PAIR_REWARD_CHOSEN] > c[PAIR_REWARD_REJECTED];
        for (int side = 0; side < 2; side++) {
            sums->tokens[side] += first[2 * i + side + 1] - first[2 * i + side];
            for (int r = first[2 * i + side]; r < first[2 * i + side + 1]; r++) {
                sums->logit[side] += mean_logit[r];
                sums->entropy += entropy[r];
                sums->hits += hit[r];
            }
        }
    }
    result = 0;
done:
    free(first);
    free(reference);
    free(columns);
    free(rows);
    return result;
}

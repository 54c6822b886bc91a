/* dpo.c - Direct Preference Optimization (Rafailov et al. 2023) on a Forest. The loss and its coefficients are one kernel. */
#include "engine/dpo.h"

#include <stdlib.h>

/* Hangs every answer from its trunk and scores it; first[sequences * i + s] is where a sequence's scored rows start, the last entry the end. */
static int leaves_append(Forest *f, const DpoPair *pairs, int n, int sequences, int *first, Error *e) {
    first[0] = f->scored_n;
    for (int i = 0; i < n * sequences; i++) {
        const DpoSequence *s = &pairs[i / sequences].sequences[i % sequences];
        int leaf = forest_segment(f, s->trunk, 0, e);
        if (leaf < 0 || forest_extend(f, leaf, s->answer->ids, (int)s->answer->count, e) || forest_score(f, leaf, 0, e)) return -1;
        first[i + 1] = f->scored_n;
    }
    return 0;
}

int dpo_reference(Vlm *v, Forest *f, StepImages *images, DpoPair *pairs, int n, int sequences, Error *e) {
    int result = -1;
    float *logp = NULL;
    int *first = mem_new((size_t)(sequences * n + 1), sizeof *first, "sequence offsets", e);
    if (!first || leaves_append(f, pairs, n, sequences, first, e)) goto done;
    logp = mem_new((size_t)f->scored_n, sizeof *logp, "token log-probs", e);
    if (!logp || vlm_forward(v, f, images, STEP_SCORE, e) || model_score(&v->model, f, logp, NULL, NULL, NULL, e)) goto done;
    for (int i = 0; i < sequences * n; i++) {
        DpoSequence *s = &pairs[i / sequences].sequences[i % sequences];
        s->reference = 0;
        for (int r = first[i]; r < first[i + 1]; r++) s->reference += (s->weights ? s->weights[r - first[i]] : 1.0) * logp[r];
    }
    result = 0;
done:
    free(first);
    free(logp);
    return result;
}

/* Weights of all scored rows; NULL when all are ones. -1 when memory is out. */
static int weights_join(const DpoPair *pairs, int n, int sequences, const int *first, float **out, Error *e) {
    int weighted = 0;
    *out = NULL;
    for (int i = 0; i < n * sequences; i++) weighted |= pairs[i / sequences].sequences[i % sequences].weights != NULL;
    if (!weighted) return 0;
    float *all = *out = mem_new((size_t)first[n * sequences], sizeof *all, "token weights", e);
    if (!all) return -1;
    for (int i = 0; i < n * sequences; i++) {
        const float *own = pairs[i / sequences].sequences[i % sequences].weights;
        for (int r = first[i]; r < first[i + 1]; r++) all[r] = own ? own[r - first[i]] : 1;
    }
    return 0;
}

int dpo_backward(Vlm *v, Forest *f, StepImages *images, const DpoPair *pairs, int n, const PreferenceLoss *loss, DpoSums *sums, Error *e) {
    Model *m = &v->model;
    int result = -1, sequences = loss_sequences(loss);
    int *first = mem_new((size_t)(sequences * n + 1), sizeof *first, "sequence offsets", e);
    double *reference = mem_new((size_t)(sequences * n), sizeof *reference, "reference log-probs", e);
    double *columns = mem_new((size_t)n * PAIR_COLUMNS, sizeof *columns, "pair columns", e);
    float *rows = NULL, *weights = NULL;
    if (!first || !reference || !columns) goto done;
    if (leaves_append(f, pairs, n, sequences, first, e) || weights_join(pairs, n, sequences, first, &weights, e)) goto done;
    for (int i = 0; i < sequences * n; i++) reference[i] = pairs[i / sequences].sequences[i % sequences].reference;
    int R = f->scored_n;
    rows = mem_new((size_t)R * 4, sizeof *rows, "token log-probs", e);
    Buf dlogp = model_dlogp(m, f, e);
    if (!rows || !dlogp.at) goto done;
    float *logp = rows, *entropy = rows + R, *hit = rows + 2 * R, *mean_logit = rows + 3 * R;
    if (vlm_forward(v, f, images, STEP_TRAIN, e) || model_score(m, f, logp, entropy, hit, mean_logit, e)) goto done;
    m->k->preference_loss(dlogp, columns, model_logp(m), weights, first, reference, n, loss);
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
            sums->tokens[side] += first[sequences * i + side + 1] - first[sequences * i + side];
            for (int r = first[sequences * i + side]; r < first[sequences * i + side + 1]; r++) {
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
    free(weights);
    return result;
}

/* loss.c - preference losses over pairs, and their gradient with respect to every scored token's log-prob.
 *
 * Direct preference optimisation (Rafailov et al. 2023) and its kin, with the formulas of TRL 1.16. With d_w, d_l = log-prob sums of policy
 * minus reference of the chosen and rejected answer, |w|, |l| their tokens, e the label smoothing, s the logistic function: sigmoid -(1 -
 * e) log s(beta (d_w - d_l)) - e log s(-beta (d_w - d_l))         (conservative DPO; e = 0 is DPO) robust        (-(1 - e) log s(beta (d_w
 * - d_l)) + e log s(-beta (d_w - d_l))) / (1 - 2 e) hinge         max(0, 1 - beta (d_w - d_l)) ipo           (d_w / |w| - d_l / |l| - 1 /
 * (2 beta))^2 sigmoid_norm  -log s(beta (d_w / |w| - d_l / |l|)) plus sft_weight times the mean negative log-prob of the chosen tokens.
 * Other kinds do not read the smoothing. Everything is double: it is a few numbers. Refuses (asserts) a sequence without tokens, and robust
 * with e = 1/2. */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"

#include <assert.h>
#include <math.h>

/* log(1 / (1 + e^-z)) without overflow */
static double log_sigmoid(double z) { return z < 0 ? z - log1p(exp(z)) : -log1p(exp(-z)); }
static double sigmoid(double z) { return z < 0 ? exp(z) / (1 + exp(z)) : 1 / (1 + exp(-z)); }

/* The loss at margin z = d_w - d_l (per token for the normalised kinds), and its slope in z. */
static double loss_at(const PreferenceLoss *l, double z, double *slope) {
    double beta = l->beta, e = l->label_smoothing, b = beta * z;
    switch (l->kind) {
    case LOSS_HINGE:
        *slope = b < 1 ? -beta : 0;
        return b < 1 ? 1 - b : 0;
    case LOSS_IPO:
        *slope = 2 * (z - 1 / (2 * beta));
        return (z - 1 / (2 * beta)) * (z - 1 / (2 * beta));
    case LOSS_ROBUST:
        assert(e != 0.5);
        *slope = -beta * ((1 - e) * sigmoid(-b) + e * sigmoid(b)) / (1 - 2 * e);
        return (-(1 - e) * log_sigmoid(b) + e * log_sigmoid(-b)) / (1 - 2 * e);
    case LOSS_SIGMOID_NORM:
        *slope = -beta * sigmoid(-b);
        return -log_sigmoid(b);
    default:
        *slope = -beta * ((1 - e) * sigmoid(-b) - e * sigmoid(b));
        return -(1 - e) * log_sigmoid(b) - e * log_sigmoid(-b);
    }
}

static double sum_of(const float *x, int first, int end) {
    double s = 0;
    for (int r = first; r < end; r++) s += x[r];
    return s;
}

void ISA_FN(preference_loss)(
    Buf dlogp, double *columns, Buf logp, const int *first, const double *ref, int pairs, const PreferenceLoss *loss) {
    const float *x = logp.at;
    float *dx = dlogp.at;
    int by_token = loss->kind == LOSS_IPO || loss->kind == LOSS_SIGMOID_NORM;
    for (int i = 0; i < pairs; i++) {
        const int *f = first + 2 * i;
        double tokens_w = f[1] - f[0], tokens_l = f[2] - f[1];
        assert(tokens_w > 0 && tokens_l > 0);
        double logp_w = sum_of(x, f[0], f[1]), logp_l = sum_of(x, f[1], f[2]);
        double d_w = logp_w - ref[2 * i], d_l = logp_l - ref[2 * i + 1], slope;
        double unit_w = by_token ? 1 / tokens_w : 1, unit_l = by_token ? 1 / tokens_l : 1;
        double value = loss_at(loss, d_w * unit_w - d_l * unit_l, &slope) - loss->sft_weight * logp_w / tokens_w;
        if (dx) {
            float g_w = (float)(loss->pair_scale * (slope * unit_w - loss->sft_weight / tokens_w)),
                  g_l = (float)(-loss->pair_scale * slope * unit_l);
            for (int r = f[0]; r < f[1]; r++) dx[r] = g_w;
            for (int r = f[1]; r < f[2]; r++) dx[r] = g_l;
        }
        double *c = columns + (int64_t)i * PAIR_COLUMNS;
        c[PAIR_LOSS] = value;
        c[PAIR_REWARD_CHOSEN] = loss->beta * d_w;
        c[PAIR_REWARD_REJECTED] = loss->beta * d_l;
        c[PAIR_LOGP_CHOSEN] = logp_w;
        c[PAIR_LOGP_REJECTED] = logp_l;
    }
}

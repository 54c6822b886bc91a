/* loss.c - preference losses over pairs, and their gradient with respect to every scored token's log-prob.
 *
 * Direct preference optimisation (Rafailov et al. 2023) and its kin, with the formulas of TRL 1.16; docs/losses.md states them. Everything is
 * double: it is a few numbers. Refuses (asserts) a sequence without weight, and robust with a smoothing of 1/2. */
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

/* A sequence: its log-prob as the loss weighs it, less the reference's; plain sum; total weight; tokens. */
typedef struct Sequence {
    int first, end;
    double d, logp, weight;
} Sequence;

static Sequence sequence_of(const float *x, const float *weights, const int *first, double ref) {
    Sequence s = { .first = first[0], .end = first[1], .d = -ref };
    for (int r = s.first; r < s.end; r++) {
        double w = weights ? weights[r] : 1;
        s.logp += x[r], s.d += w * x[r], s.weight += w;
    }
    assert(s.weight > 0);
    return s;
}

/* The gradient of its rows: of = d loss / d (weighted log-prob), plain = d loss / d (sum of log-probs). */
static void sequence_grad(float *dx, const float *weights, const Sequence *s, double of, double plain) {
    for (int r = s->first; r < s->end; r++) dx[r] = (float)(of * (weights ? weights[r] : 1) + plain);
}

void ISA_FN(preference_loss)(
    Buf dlogp, double *columns, Buf logp, const float *weights, const int *first, const double *ref, int pairs, const PreferenceLoss *loss) {
    const float *x = logp.at;
    float *dx = dlogp.at;
    int by_token = loss->kind == LOSS_IPO || loss->kind == LOSS_SIGMOID_NORM, n = loss_sequences(loss);
    double beta = loss->beta, scale = loss->pair_scale;
    for (int i = 0; i < pairs; i++) {
        const int *f = first + n * i;
        const double *r = ref + n * i;
        Sequence w = sequence_of(x, weights, f, r[0]), l = sequence_of(x, weights, f + 1, r[1]), blind = { 0 };
        double unit_w = by_token ? 1 / w.weight : 1, unit_l = by_token ? 1 / l.weight : 1, slope;
        double value = loss_at(loss, w.d * unit_w - l.d * unit_l, &slope), slope_w = slope * unit_w, slope_blind = 0;
        double sft = (double)loss->sft_weight / (loss->sft_sum ? 1 : w.end - w.first);
        value -= sft * w.logp;
        if (loss->anchor_weight != 0) {
            value -= loss->anchor_weight * log_sigmoid(beta * w.d);
            slope_w -= loss->anchor_weight * beta * sigmoid(-beta * w.d);
        }
        if (n == 3) {
            blind = sequence_of(x, weights, f + 2, r[2]);
            double z = beta * (w.d - blind.d);
            value -= loss->conditional_weight * log_sigmoid(z);
            slope_blind = loss->conditional_weight * beta * sigmoid(-z);
            slope_w -= slope_blind;
        }
        if (dx) {
            sequence_grad(dx, weights, &w, scale * slope_w, -scale * sft);
            sequence_grad(dx, weights, &l, -scale * slope * unit_l, 0);
            if (n == 3) sequence_grad(dx, weights, &blind, scale * slope_blind, 0);
        }
        double *c = columns + (int64_t)i * PAIR_COLUMNS;
        c[PAIR_LOSS] = value;
        c[PAIR_REWARD_CHOSEN] = beta * w.d;
        c[PAIR_REWARD_REJECTED] = beta * l.d;
        c[PAIR_LOGP_CHOSEN] = w.logp;
        c[PAIR_LOGP_REJECTED] = l.logp;
    }
}

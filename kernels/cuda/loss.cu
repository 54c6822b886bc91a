/* loss.cu - preference losses over pairs, and their gradient with respect to every scored token's log-prob.
 *
 * Direct preference optimisation (Rafailov et al. 2023) and its kin; docs/losses.md has the formulas. A block takes a pair: it adds the
 * log-probs of its sequences, in double and in a fixed order, and writes the gradients of their rows. Everything is double: it is a few numbers.
 * Waits for the result, which the host reads. Refuses (asserts) a sequence without tokens, and robust with a smoothing of 1/2. */
#include "kernels/cuda/rows.cuh"

#include <assert.h>
#include <math.h>

enum { LOSS_THREADS = 256 };

/* log(1 / (1 + e^-z)) without overflow */
__device__ __forceinline__ double log_sigmoid(double z) { return z < 0 ? z - log1p(exp(z)) : -log1p(exp(-z)); }
__device__ __forceinline__ double sigmoid(double z) { return z < 0 ? exp(z) / (1 + exp(z)) : 1 / (1 + exp(-z)); }

/* The loss at margin z = d_w - d_l (per token for the normalised kinds), and its slope in z. */
__device__ double loss_at(const PreferenceLoss &l, double z, double *slope) {
    double beta = l.beta, e = l.label_smoothing, b = beta * z;
    switch (l.kind) {
    case LOSS_HINGE:
        *slope = b < 1 ? -beta : 0;
        return b < 1 ? 1 - b : 0;
    case LOSS_IPO:
        *slope = 2 * (z - 1 / (2 * beta));
        return (z - 1 / (2 * beta)) * (z - 1 / (2 * beta));
    case LOSS_ROBUST:
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

/* A sequence: its log-prob as the loss weighs it, less the reference's; plain sum; total weight. */
typedef struct Sequence {
    int first, end;
    double d, logp, weight;
} Sequence;

__device__ __forceinline__ Sequence sequence_of(const float *x, const float *weights, const int *first, double ref) {
    Sequence s = { first[0], first[1], 0, 0, 0 };
    for (int r = s.first + (int)threadIdx.x; r < s.end; r += LOSS_THREADS) {
        double w = weights ? weights[r] : 1;
        s.logp += x[r], s.d += w * x[r], s.weight += w;
    }
    s.logp = block_sum_double<LOSS_THREADS>(s.logp);
    s.weight = weights ? block_sum_double<LOSS_THREADS>(s.weight) : s.end - s.first;
    s.d = (weights ? block_sum_double<LOSS_THREADS>(s.d) : s.logp) - ref;
    return s;
}

/* The gradient of its rows: of = d loss / d (weighted log-prob), plain = d loss / d (sum of log-probs). */
__device__ __forceinline__ void sequence_grad(float *dx, const float *weights, const Sequence &s, double of, double plain) {
    for (int r = s.first + (int)threadIdx.x; r < s.end; r += LOSS_THREADS) dx[r] = (float)(of * (weights ? weights[r] : 1) + plain);
}

__global__ void __launch_bounds__(LOSS_THREADS) preference_loss_kernel(
    float *dlogp, double *columns, const float *logp, const float *weights, const int *first, const double *ref, PreferenceLoss loss) {
    int pair = blockIdx.x, n = loss.conditional_weight != 0 ? 3 : 2, by_token = loss.kind == LOSS_IPO || loss.kind == LOSS_SIGMOID_NORM;
    double beta = loss.beta, scale = loss.pair_scale;
    first += n * pair, ref += n * pair;
    Sequence w = sequence_of(logp, weights, first, ref[0]), l = sequence_of(logp, weights, first + 1, ref[1]), blind = { 0, 0, 0, 0, 0 };
    double unit_w = by_token ? 1 / w.weight : 1, unit_l = by_token ? 1 / l.weight : 1, slope;
    double value = loss_at(loss, w.d * unit_w - l.d * unit_l, &slope), slope_w = slope * unit_w, slope_blind = 0;
    double sft = (double)loss.sft_weight / (loss.sft_sum ? 1 : w.end - w.first);
    value -= sft * w.logp;
    if (loss.anchor_weight != 0) {
        value -= loss.anchor_weight * log_sigmoid(beta * w.d);
        slope_w -= loss.anchor_weight * beta * sigmoid(-beta * w.d);
    }
    if (n == 3) {
        blind = sequence_of(logp, weights, first + 2, ref[2]);
        double z = beta * (w.d - blind.d);
        value -= loss.conditional_weight * log_sigmoid(z);
        slope_blind = loss.conditional_weight * beta * sigmoid(-z);
        slope_w -= slope_blind;
    }
    if (dlogp) {
        sequence_grad(dlogp, weights, w, scale * slope_w, -scale * sft);
        sequence_grad(dlogp, weights, l, -scale * slope * unit_l, 0);
        sequence_grad(dlogp, weights, blind, scale * slope_blind, 0);
    }
    if (threadIdx.x > 0) return;
    double *c = columns + (int64_t)pair * PAIR_COLUMNS;
    c[PAIR_LOSS] = value;
    c[PAIR_REWARD_CHOSEN] = beta * w.d;
    c[PAIR_REWARD_REJECTED] = beta * l.d;
    c[PAIR_LOGP_CHOSEN] = w.logp;
    c[PAIR_LOGP_REJECTED] = l.logp;
}

extern "C" void cuda_preference_loss(
    Buf dlogp, double *columns, Buf logp, const float *weights, const int *first, const double *ref, int pairs, const PreferenceLoss *loss) {
    const Buf all[] = { dlogp, logp };
    int64_t n = (int64_t)loss_sequences(loss) * pairs;
    assert(loss->kind != LOSS_ROBUST || loss->label_smoothing != 0.5f);
    for (int64_t s = 0; s < n; s++) assert(first[s + 1] > first[s]);
    if (pairs <= 0 || !dtypes_agree("preference_loss", FP32, all, 2)) return;
    int64_t bytes = (int64_t)pairs * PAIR_COLUMNS * (int64_t)sizeof(double);
    double *results = (double *)cuda_scratch(CUDA_SCRATCH_ROWS, bytes);
    const int *staged_first = (const int *)cuda_stage(first, (n + 1) * (int64_t)sizeof *first);
    const double *staged_ref = (const double *)cuda_stage(ref, n * (int64_t)sizeof *ref);
    const float *staged_weights = weights ? (const float *)cuda_stage(weights, first[n] * (int64_t)sizeof *weights) : NULL;
    if (!results || !staged_first || !staged_ref || (weights && !staged_weights)) return;
    LAUNCH(preference_loss_kernel, (unsigned)pairs, LOSS_THREADS, 0, cuda_stream(), (float *)dlogp.at, results, (const float *)logp.at, staged_weights,
        staged_first, staged_ref, *loss);
    cuda_bytes_download(columns, results, bytes);
}

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

/* Of each sequence: its log-prob as the loss weighs it, less the reference's; plain sum; total weight. Then the gradient of its rows:
 * of = d loss / d (weighted log-prob), plain = d loss / d (sum of log-probs). */
typedef struct PairState {
    double d[3], logp[3], weight[3], of[3], plain;
} PairState;

/* What one thread makes of the sums of a pair. */
__device__ void pair_loss(PairState *p, double *column, int tokens, int n, const PreferenceLoss &loss) {
    int by_token = loss.kind == LOSS_IPO || loss.kind == LOSS_SIGMOID_NORM;
    double beta = loss.beta, scale = loss.pair_scale, unit_w = by_token ? 1 / p->weight[0] : 1, unit_l = by_token ? 1 / p->weight[1] : 1, slope;
    double value = loss_at(loss, p->d[0] * unit_w - p->d[1] * unit_l, &slope), slope_w = slope * unit_w;
    double sft = (double)loss.sft_weight / (loss.sft_sum ? 1 : tokens);
    value -= sft * p->logp[0];
    p->of[2] = 0;
    if (loss.anchor_weight != 0) {
        value -= loss.anchor_weight * log_sigmoid(beta * p->d[0]);
        slope_w -= loss.anchor_weight * beta * sigmoid(-beta * p->d[0]);
    }
    if (n == 3) {
        double z = beta * (p->d[0] - p->d[2]), slope_blind = loss.conditional_weight * beta * sigmoid(-z);
        value -= loss.conditional_weight * log_sigmoid(z);
        slope_w -= slope_blind;
        p->of[2] = scale * slope_blind;
    }
    p->of[0] = scale * slope_w, p->of[1] = -scale * slope * unit_l, p->plain = -scale * sft;
    column[PAIR_LOSS] = value;
    column[PAIR_REWARD_CHOSEN] = beta * p->d[0];
    column[PAIR_REWARD_REJECTED] = beta * p->d[1];
    column[PAIR_LOGP_CHOSEN] = p->logp[0];
    column[PAIR_LOGP_REJECTED] = p->logp[1];
}

__global__ void __launch_bounds__(LOSS_THREADS) preference_loss_kernel(
    float *dlogp, double *columns, const float *logp, const float *weights, const int *first, const double *ref, PreferenceLoss loss) {
    SHARED(PairState, state, 1);
    int pair = blockIdx.x, n = loss.conditional_weight != 0 ? 3 : 2;
    first += n * pair, ref += n * pair;
#pragma unroll 1
    for (int s = 0; s < n; s++) {
        double d = 0, sum = 0, weight = 0;
        for (int r = first[s] + (int)threadIdx.x; r < first[s + 1]; r += LOSS_THREADS) {
            double w = weights ? weights[r] : 1;
            sum += logp[r], d += w * logp[r], weight += w;
        }
        sum = block_sum_double<LOSS_THREADS>(sum), d = block_sum_double<LOSS_THREADS>(d), weight = block_sum_double<LOSS_THREADS>(weight);
        if (threadIdx.x == 0) state->logp[s] = sum, state->d[s] = d - ref[s], state->weight[s] = weight;
    }
    if (threadIdx.x == 0) pair_loss(state, columns + (int64_t)pair * PAIR_COLUMNS, first[1] - first[0], n, loss);
    __syncthreads();
    if (!dlogp) return;
#pragma unroll 1
    for (int s = 0; s < n; s++) {
        double plain = s == 0 ? state->plain : 0;
        for (int r = first[s] + (int)threadIdx.x; r < first[s + 1]; r += LOSS_THREADS) dlogp[r] = (float)(state->of[s] * (weights ? weights[r] : 1) + plain);
    }
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

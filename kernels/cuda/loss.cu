/* loss.cu - preference losses over pairs, and their gradient with respect to every scored token's log-prob.
 *
 * Direct preference optimisation (Rafailov et al. 2023) and its kin; kernels/cpu/loss.c has the formulas. A block takes a pair: it adds the
 * log-probs of both answers, in double and in a fixed order, and writes their common gradients. Everything is double: it is a few numbers.
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

__device__ __forceinline__ double sum_of(const float *x, int first, int end) {
    double s = 0;
    for (int r = first + (int)threadIdx.x; r < end; r += LOSS_THREADS) s += x[r];
    return block_sum_double<LOSS_THREADS>(s);
}

__global__ void __launch_bounds__(LOSS_THREADS)
    preference_loss_kernel(float *dlogp, double *columns, const float *logp, const int *first, const double *ref, PreferenceLoss loss) {
    int pair = blockIdx.x, w = first[2 * pair], l = first[2 * pair + 1], end = first[2 * pair + 2];
    int by_token = loss.kind == LOSS_IPO || loss.kind == LOSS_SIGMOID_NORM;
    double tokens_w = l - w, tokens_l = end - l, logp_w = sum_of(logp, w, l), logp_l = sum_of(logp, l, end);
    double d_w = logp_w - ref[2 * pair], d_l = logp_l - ref[2 * pair + 1], slope;
    double unit_w = by_token ? 1 / tokens_w : 1, unit_l = by_token ? 1 / tokens_l : 1;
    double value = loss_at(loss, d_w * unit_w - d_l * unit_l, &slope) - loss.sft_weight * logp_w / tokens_w;
    if (dlogp) {
        float g_w = (float)(loss.pair_scale * (slope * unit_w - loss.sft_weight / tokens_w)),
              g_l = (float)(-loss.pair_scale * slope * unit_l);
        for (int r = w + (int)threadIdx.x; r < end; r += LOSS_THREADS) dlogp[r] = r < l ? g_w : g_l;
    }
    if (threadIdx.x > 0) return;
    double *c = columns + (int64_t)pair * PAIR_COLUMNS;
    c[PAIR_LOSS] = value;
    c[PAIR_REWARD_CHOSEN] = loss.beta * d_w;
    c[PAIR_REWARD_REJECTED] = loss.beta * d_l;
    c[PAIR_LOGP_CHOSEN] = logp_w;
    c[PAIR_LOGP_REJECTED] = logp_l;
}

extern "C" void cuda_preference_loss(
    Buf dlogp, double *columns, Buf logp, const int *first, const double *ref, int pairs, const PreferenceLoss *loss) {
    const Buf all[] = { dlogp, logp };
    assert(loss->kind != LOSS_ROBUST || loss->label_smoothing != 0.5f);
    for (int s = 0; s < 2 * pairs; s++) assert(first[s + 1] > first[s]);
    if (pairs <= 0 || !dtypes_agree("preference_loss", FP32, all, 2)) return;
    int64_t bytes = (int64_t)pairs * PAIR_COLUMNS * (int64_t)sizeof(double);
    double *results = (double *)cuda_scratch(CUDA_SCRATCH_ROWS, bytes);
    const int *staged_first = (const int *)cuda_stage(first, (2 * (int64_t)pairs + 1) * (int64_t)sizeof *first);
    const double *staged_ref = (const double *)cuda_stage(ref, 2 * (int64_t)pairs * (int64_t)sizeof *ref);
    if (!results || !staged_first || !staged_ref) return;
    LAUNCH(preference_loss_kernel, (unsigned)pairs, LOSS_THREADS, 0, cuda_stream(), (float *)dlogp.at, results, (const float *)logp.at,
        staged_first, staged_ref, *loss);
    cuda_bytes_download(columns, results, bytes);
}

/* logprob.c - the lm_head applied to scored rows: log-probabilities of targets and their gradient, in chunks of rows.
 *
 * Logits of a chunk (rows x vocabulary, fp32) are one product; they are used while they are in cache and overwritten by the next chunk.
 * With p = softmax(l): logp = l[target] - lse, entropy = lse - sum p l, dL/dl[j] = dL/dlogp (1[j = target] - p[j]). Backward computes the
 * chunk's logits again rather than keep them. */
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/softmax.h"
#include "kernels/cpu_state.h"
#include "kernels/overhead.h"

#include <math.h>
#include <string.h>

/* The gradient of w (V, D) is read and written once per chunk, so a chunk must be long enough to hide that: 256 rows of 32000 logits. */
static const int64_t chunk_bytes = CPU_LOGITS_BYTES;

/* Rows per chunk: as even as can be, so that no chunk is a short remainder. */
static int chunk_rows(int R, int V) {
    int64_t most = chunk_bytes / ((int64_t)V * 4);
    if (most < 1) most = 1;
    int64_t chunks = (R + most - 1) / most;
    return (int)((R + chunks - 1) / chunks);
}

static int min_int(int a, int b) { return a < b ? a : b; }

static void put(Buf to, int64_t at, double v) {
    if (to.at) ((float *)to.at)[at] = (float)v;
}

/* Whether the target is the argmax: the lowest id among equals. */
static int is_argmax(const float *l, int target, float largest) {
    if (!(l[target] == largest)) return 0;
    for (int j = 0; j < target; j++)
        if (l[j] == largest) return 0;
    return 1;
}

/* sum of exp(l - largest) (l - largest) */
static double row_sum_exp_times(const float *l, int V, float largest) {
    double total = 0;
    for (int from = 0; from < V; from += SOFTMAX_BLOCK) {
        int to = min_int(from + SOFTMAX_BLOCK, V);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int j = from; j < to; j++) {
            float d = l[j] - largest;
            d = d < -104.0f ? -104.0f : d; /* its exponential is 0, and 0 * infinity is not */
            sum += vm_exp(d) * d;
        }
        total += (double)sum;
    }
    return total;
}

static double row_mean(const float *l, int V) {
    double total = 0;
    for (int from = 0; from < V; from += SOFTMAX_BLOCK) {
        int to = min_int(from + SOFTMAX_BLOCK, V);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int j = from; j < to; j++) sum += l[j];
        total += (double)sum;
    }
    return total / V;
}

void ISA_FN(logprob_forward)(
    Buf logp, Buf entropy, Buf hit, Buf mean_logit, Buf lse, Buf largest_logit, Buf h, Buf w, const int *targets, int R, int V, int D) {
    if (R <= 0) return;
    int chunk = chunk_rows(R, V);
    float *l = cpu_scratch(SCRATCH_LOGITS, (int64_t)chunk * V * 4);
    if (!l) return;
    for (int from = 0; from < R; from += chunk) {
        int rows = min_int(chunk, R - from);
        ISA_FN(linear_forward)((Buf){ l, FP32 }, buf_at(h, (int64_t)from * D), w, BUF_NONE, BUF_NONE, rows, V, D);
#pragma omp parallel for
        for (int i = 0; i < rows; i++) {
            const float *row = l + (int64_t)i * V;
            int r = from + i, target = targets[r], here = target >= 0 && target < V;
            float largest = row_max(row, V);
            double sum = row_sum_exp(row, V, largest), log_sum = log(sum);
            put(lse, r, (double)largest + log_sum);
            put(largest_logit, r, (double)largest);
            put(logp, r, here ? ((double)row[target] - (double)largest) - log_sum : -INFINITY);
            if (entropy.at) put(entropy, r, log_sum - row_sum_exp_times(row, V, largest) / sum);
            if (hit.at) put(hit, r, here && is_argmax(row, target, largest));
            if (mean_logit.at) put(mean_logit, r, row_mean(row, V));
        }
    }
}

/* In place: l = dlogp (1[j = target] - exp(l - lse)). The target may be outside the slice. */
static void gradient_fp32(float *l, int V, float lse, float dlogp, int target) {
#pragma omp simd
    for (int j = 0; j < V; j++) l[j] = -dlogp * vm_exp(l[j] - lse);
    if (target >= 0 && target < V) l[target] += dlogp;
}

static void gradient_bf16(bf16 *dl, float *l, int V, float lse, float dlogp, int target) {
    gradient_fp32(l, V, lse, dlogp, target);
#pragma omp simd
    for (int j = 0; j < V; j++) dl[j] = float_to_bf16(l[j]);
}

void ISA_FN(logprob_backward)(Buf dh, Buf dw, Buf dlogp, Buf lse, Buf h, Buf w, const int *targets, int R, int V, int D) {
    if (R <= 0) return;
    const float *dlogps = dlogp.at, *lses = lse.at;
    ISA_FN(zero)(dh, (int64_t)R * D);
    int chunk = chunk_rows(R, V), narrow = w.dtype == BF16;
    size_t h_row = (size_t)D * dtype_size(h.dtype), dh_row = (size_t)D * dtype_size(dh.dtype);
    float *l = cpu_scratch(SCRATCH_LOGITS, (int64_t)chunk * V * (narrow ? 6 : 4));
    char *gathered = cpu_scratch(SCRATCH_ROWS, (int64_t)chunk * ((int64_t)h_row + (int64_t)dh_row + (int64_t)sizeof(int)));
    if (!l || !gathered) return;
    bf16 *dl = (bf16 *)(l + (int64_t)chunk * V);
    /* Rows with a gradient are gathered, a chunk at a time. */
    Buf hs = { gathered, h.dtype }, dhs = { gathered + (size_t)chunk * h_row, dh.dtype };
    int *rows = (int *)(gathered + (size_t)chunk * (h_row + dh_row));
    for (int next = 0; next < R;) {
        int n = 0;
        for (; next < R && n < chunk; next++) {
            if (dlogps[next] == 0.0f) continue;
            memcpy((char *)hs.at + (size_t)n * h_row, (const char *)h.at + (size_t)next * h_row, h_row);
            rows[n++] = next;
        }
        if (!n) break;
        ISA_FN(linear_forward)((Buf){ l, FP32 }, hs, w, BUF_NONE, BUF_NONE, n, V, D);
#pragma omp parallel for
        for (int i = 0; i < n; i++) {
            float *row = l + (int64_t)i * V;
            int r = rows[i];
            if (narrow) gradient_bf16(dl + (int64_t)i * V, row, V, lses[r], dlogps[r], targets[r]);
            else gradient_fp32(row, V, lses[r], dlogps[r], targets[r]);
        }
        Buf gradient = narrow ? (Buf){ dl, BF16 } : (Buf){ l, FP32 };
        ISA_FN(linear_backward_input)(dhs, gradient, w, n, V, D, 0);
        for (int i = 0; i < n; i++) memcpy((char *)dh.at + (size_t)rows[i] * dh_row, (char *)dhs.at + (size_t)i * dh_row, dh_row);
        if (dw.at) ISA_FN(linear_backward_weight)(dw, BUF_NONE, gradient, hs, n, V, D);
    }
}

void ISA_FN(logits)(Buf logits, Buf h, Buf w, int R, int V, int D) { ISA_FN(linear_forward)(logits, h, w, BUF_NONE, BUF_NONE, R, V, D); }

void ISA_FN(probe)(Buf p, Buf logits, const int *ids, int n, int R, int V) {
#pragma omp parallel for
    for (int r = 0; r < R; r++) {
        const float *row = (const float *)logits.at + (int64_t)r * V;
        double lse = row_lse(row, V);
        for (int i = 0; i < n; i++) put(p, (int64_t)r * n + i, exp((double)row[ids[i]] - lse));
    }
}

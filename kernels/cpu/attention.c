/* attention.c - scaled dot-product attention of a Forest, forward and backward (simple form). */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vmath.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static inline float at(Buf b, int64_t i) { return b.dtype == FP32 ? ((float *)b.at)[i] : bf16_to_float(((bf16 *)b.at)[i]); }
static inline void put(Buf b, int64_t i, float x) {
    if (b.dtype == FP32) ((float *)b.at)[i] = x;
    else ((bf16 *)b.at)[i] = float_to_bf16(x);
}
/* the slots of row i of segment s, in order; returns their number */
static int slots_of(const AttentionPlan *p, const AttentionSegment *s, int i, int *slots) {
    int n = 0;
    for (int r = 0; r < s->range_count; r++)
        for (int j = 0; j < p->ranges[s->range_first + r].count; j++) slots[n++] = p->ranges[s->range_first + r].first + j;
    int own = p->causal ? s->self_before + i + 1 : s->self_before + s->q_count;
    for (int j = 0; j < own; j++) slots[n++] = s->self_first + j;
    return n;
}
static int slots_most(const AttentionPlan *p) {
    int most = 0;
    for (int s = 0; s < p->segments_n; s++) {
        int n = p->segments[s].self_before + p->segments[s].q_count;
        for (int r = 0; r < p->segments[s].range_count; r++) n += p->ranges[p->segments[s].range_first + r].count;
        if (n > most) most = n;
    }
    return most;
}

void ISA_FN(attention_forward)(Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride, int64_t kv_stride, const AttentionPlan *p) {
    int E = p->head_size, group = p->heads / p->kv_heads, most = slots_most(p);
    int *slots = malloc((size_t)most * sizeof(int));
    float *scores = malloc((size_t)most * sizeof(float)), *sum = malloc((size_t)E * sizeof(float));
    for (int si = 0; si < p->segments_n; si++)
        for (int i = 0; i < p->segments[si].q_count; i++)
            for (int h = 0; h < p->heads; h++) {
                int row = p->segments[si].q_first + i, n = slots_of(p, &p->segments[si], i, slots);
                float top = -FLT_MAX, total = 0;
                for (int j = 0; j < n; j++) {
                    float s = 0;
                    for (int e = 0; e < E; e++) s += at(q, row * q_stride + h * E + e) * at(k, slots[j] * kv_stride + h / group * E + e);
                    scores[j] = s * p->scale;
                    if (scores[j] > top) top = scores[j];
                }
                for (int e = 0; e < E; e++) sum[e] = 0;
                for (int j = 0; j < n; j++) {
                    float w = vm_exp(scores[j] - top);
                    total += w;
                    for (int e = 0; e < E; e++) sum[e] += w * at(v, slots[j] * kv_stride + h / group * E + e);
                }
                for (int e = 0; e < E; e++) put(out, ((int64_t)row * p->heads + h) * E + e, sum[e] / total);
                if (lse.at) ((float *)lse.at)[(int64_t)row * p->heads + h] = top + logf(total);
            }
    free(slots), free(scores), free(sum);
}

void ISA_FN(attention_backward)(Buf dq, Buf dk, Buf dv, Buf dout, Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride,
    int64_t kv_stride, int T, int kv_rows, const AttentionPlan *p) {
    (void)T;
    int E = p->head_size, group = p->heads / p->kv_heads, most = slots_most(p), KE = p->kv_heads * E;
    int *slots = malloc((size_t)most * sizeof(int));
    float *sk = calloc((size_t)kv_rows * KE, sizeof(float)), *sv = calloc((size_t)kv_rows * KE, sizeof(float)),
          *sq = malloc(E * sizeof(float));
    for (int si = 0; si < p->segments_n; si++)
        for (int i = 0; i < p->segments[si].q_count; i++)
            for (int h = 0; h < p->heads; h++) {
                int row = p->segments[si].q_first + i, n = slots_of(p, &p->segments[si], i, slots), kh = h / group;
                float D = 0;
                for (int e = 0; e < E; e++)
                    D += at(dout, ((int64_t)row * p->heads + h) * E + e) * at(out, ((int64_t)row * p->heads + h) * E + e), sq[e] = 0;
                for (int j = 0; j < n; j++) {
                    float s = 0, dp = 0;
                    int64_t kv = slots[j] * kv_stride + kh * E, g = (int64_t)slots[j] * KE + kh * E;
                    for (int e = 0; e < E; e++)
                        s += at(q, row * q_stride + h * E + e) * at(k, kv + e),
                            dp += at(dout, ((int64_t)row * p->heads + h) * E + e) * at(v, kv + e);
                    float pr = vm_exp(s * p->scale - ((float *)lse.at)[(int64_t)row * p->heads + h]), ds = pr * (dp - D) * p->scale;
                    for (int e = 0; e < E; e++) {
                        sv[g + e] += pr * at(dout, ((int64_t)row * p->heads + h) * E + e);
                        sk[g + e] += ds * at(q, row * q_stride + h * E + e);
                        sq[e] += ds * at(k, kv + e);
                    }
                }
                for (int e = 0; e < E; e++) put(dq, row * q_stride + h * E + e, sq[e]);
            }
    for (int r = 0; r < kv_rows; r++)
        for (int e = 0; e < KE; e++)
            put(dk, r * kv_stride + e, sk[(int64_t)r * KE + e]), put(dv, r * kv_stride + e, sv[(int64_t)r * KE + e]);
    free(slots), free(sk), free(sv), free(sq);
}

void ISA_FN(rows_store)(Buf to, int64_t to_stride, Buf from, int64_t from_stride, const int *slots, int T, int width) {
    for (int t = 0; t < T; t++) row_copy(to, slots[t] * to_stride, from, t * from_stride, width);
}

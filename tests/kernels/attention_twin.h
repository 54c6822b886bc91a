/* attention_twin.h - attention as its definition reads, in double precision and with all scores at hand, and little forests to run it on.
 */
#ifndef RLAIFV_TESTS_KERNELS_ATTENTION_TWIN_H
#define RLAIFV_TESTS_KERNELS_ATTENTION_TWIN_H

#include "tests/kernels/kernel_test.h"

enum { TWIN_SEGMENTS = 96, TWIN_DEPTH = 8 };

/* Segments of a step, each with a parent (-1: none) among the earlier ones and a number of rows. Rows lie in the order of `order`, which is
 * that of the segments unless a test says otherwise. */
typedef struct TwinForest {
    int n, parent[TWIN_SEGMENTS], rows[TWIN_SEGMENTS];
    int first[TWIN_SEGMENTS]; /* of its rows */
    int T;
    AttentionSegment segments[TWIN_SEGMENTS];
    KeyRange ranges[TWIN_SEGMENTS * TWIN_DEPTH];
    AttentionPlan plan;
} TwinForest;

static inline void twin_segment(TwinForest *f, int parent, int rows) {
    assert_in_range(f->n, 0, TWIN_SEGMENTS - 1);
    f->parent[f->n] = parent, f->rows[f->n] = rows, f->first[f->n] = f->T;
    f->n++, f->T += rows;
}

/* The plan of a step that holds all tokens: slots are rows. */
static inline void twin_plan(TwinForest *f, int heads, int kv_heads, int E, int causal) {
    int ranges = 0;
    for (int s = 0; s < f->n; s++) {
        int chain[TWIN_DEPTH], depth = 0;
        for (int up = f->parent[s]; up >= 0; up = f->parent[up]) chain[depth++] = up;
        f->segments[s] = (AttentionSegment){ f->first[s], f->rows[s], ranges, depth, f->first[s], 0 };
        while (depth-- > 0) f->ranges[ranges++] = (KeyRange){ f->first[chain[depth]], f->rows[chain[depth]] };
    }
    f->plan = (AttentionPlan){ f->segments, f->ranges, f->n, ranges, causal, heads, kv_heads, E, (float)(1 / sqrt(E)) };
}

static inline int twin_slots(const AttentionPlan *p, const AttentionSegment *s, int i, int *slots) {
    int n = 0;
    for (int r = 0; r < s->range_count; r++)
        for (int j = 0; j < p->ranges[s->range_first + r].count; j++) slots[n++] = p->ranges[s->range_first + r].first + j;
    int own = s->self_before + (p->causal ? i + 1 : s->q_count);
    for (int j = 0; j < own; j++) slots[n++] = s->self_first + j;
    return n;
}

/* out (T, H E) and lse (T, H) from rows of q (q_stride) and slots of k and v (kv_stride). Rows not in the plan are left alone. */
static inline void twin_forward(double *out, double *lse, const double *q, const double *k, const double *v, int64_t q_stride,
    int64_t kv_stride, int slots_n, const AttentionPlan *p) {
    int E = p->head_size, *slots = malloc((size_t)slots_n * sizeof *slots);
    double *w = malloc((size_t)slots_n * sizeof *w);
    for (int s = 0; s < p->segments_n; s++)
        for (int i = 0; i < p->segments[s].q_count; i++)
            for (int h = 0; h < p->heads; h++) {
                int64_t row = p->segments[s].q_first + i, at = h / (p->heads / p->kv_heads) * E;
                int n = twin_slots(p, &p->segments[s], i, slots);
                double top = -INFINITY, total = 0, *y = out + (row * p->heads + h) * E;
                for (int j = 0; j < n; j++) {
                    w[j] = 0;
                    for (int e = 0; e < E; e++) w[j] += q[row * q_stride + h * E + e] * k[slots[j] * kv_stride + at + e];
                    w[j] *= (double)p->scale;
                    top = fmax(top, w[j]);
                }
                for (int j = 0; j < n; j++) total += w[j] = exp(w[j] - top);
                for (int e = 0; e < E; e++) y[e] = 0;
                for (int j = 0; j < n; j++)
                    for (int e = 0; e < E; e++) y[e] += w[j] / total * v[slots[j] * kv_stride + at + e];
                lse[row * p->heads + h] = top + log(total);
            }
    free(slots);
    free(w);
}

/* Gradients of sum(out * dout): dq like q, dk and dv like k, all zeroed by the caller. */
static inline void twin_backward(double *dq, double *dk, double *dv, const double *dout, const double *out, const double *lse,
    const double *q, const double *k, const double *v, int64_t q_stride, int64_t kv_stride, int slots_n, const AttentionPlan *p) {
    int E = p->head_size, *slots = malloc((size_t)slots_n * sizeof *slots);
    for (int s = 0; s < p->segments_n; s++)
        for (int i = 0; i < p->segments[s].q_count; i++)
            for (int h = 0; h < p->heads; h++) {
                int64_t row = p->segments[s].q_first + i, head = row * p->heads + h, query = row * q_stride + h * E;
                int n = twin_slots(p, &p->segments[s], i, slots);
                double delta = 0;
                for (int e = 0; e < E; e++) delta += dout[head * E + e] * out[head * E + e];
                for (int j = 0; j < n; j++) {
                    int64_t slot = slots[j] * kv_stride + h / (p->heads / p->kv_heads) * E;
                    double score = 0, dp = 0;
                    for (int e = 0; e < E; e++) {
                        score += q[query + e] * k[slot + e];
                        dp += dout[head * E + e] * v[slot + e];
                    }
                    double weight = exp(score * (double)p->scale - lse[head]), ds = weight * (dp - delta) * (double)p->scale;
                    for (int e = 0; e < E; e++) {
                        dq[query + e] += ds * k[slot + e];
                        dk[slot + e] += ds * q[query + e];
                        dv[slot + e] += weight * dout[head * E + e];
                    }
                }
            }
    free(slots);
}

#endif

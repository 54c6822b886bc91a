/* optimizer.c - AdamW (Loshchilov and Hutter 2019), sums of squares, scaling.
 *
 * AdamW repeats torch.optim.AdamW's order of operations in fp32: decay first, then the moments, then p -= lr / bias1 * m / (sqrt(v) /
 * sqrt(bias2) + eps). The two step sizes are computed in double and rounded once, as that code does. */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/rows.h"

#include <math.h>

enum { SLICES = 256 }; /* of a sum of squares: fixed, so that the sum does not depend on the threads */

void ISA_FN(adamw)(Buf p, Buf master, Buf m, Buf v, Buf g, int64_t n, const AdamW *a) {
    double bias1 = 1 - pow(a->beta1, (double)a->step), bias2 = 1 - pow(a->beta2, (double)a->step);
    float step_size = (float)((double)a->lr / bias1), root2 = (float)sqrt(bias2), keep = (float)(1 - (double)a->lr * a->weight_decay);
    float rest1 = (float)(1 - a->beta1), beta2 = (float)a->beta2, rest2 = (float)(1 - a->beta2), eps = a->eps, by = a->gradient_scale;
    float *weights = master.at ? master.at : p.at, *m_all = m.at, *v_all = v.at;
    const float *g_all = g.at;
#pragma omp parallel for schedule(static) if (n >= PARALLEL_LEAST)
    for (int64_t at = 0; at < n; at += ROW_PIECE) {
        int64_t count = least(n - at, ROW_PIECE);
        float *w = weights + at, *ms = m_all + at, *vs = v_all + at;
        const float *gs = g_all + at;
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            float gi = gs[i] * by;
            float mi = ms[i] + rest1 * (gi - ms[i]), vi = beta2 * vs[i] + rest2 * gi * gi;
            ms[i] = mi;
            vs[i] = vi;
            w[i] = w[i] * keep - step_size * (mi / (sqrtf(vi) / root2 + eps));
        }
        if (master.at) row_copy(p, at, master, at, count);
    }
}

double ISA_FN(norm_squared)(Buf x, int64_t n) {
    double sums[SLICES];
    int64_t slice = (n + SLICES - 1) / SLICES;
#pragma omp parallel for schedule(static) if (n >= PARALLEL_LEAST)
    for (int s = 0; s < SLICES; s++) {
        float piece[ROW_PIECE];
        double total = 0;
        int64_t end = least(n, (s + 1) * slice);
        for (int64_t at = s * slice; at < end; at += ROW_PIECE) {
            int64_t count = least(end - at, ROW_PIECE);
            const float *p = row_read(x, at, count, piece);
            double part = 0;
#pragma omp simd reduction(+ : part)
            for (int64_t i = 0; i < count; i++) part += (double)p[i] * p[i];
            total += part;
        }
        sums[s] = total;
    }
    double total = 0;
    for (int s = 0; s < SLICES; s++) total += sums[s];
    return total;
}

void ISA_FN(scale)(Buf x, float by, int64_t n) {
#pragma omp parallel for schedule(static) if (n >= PARALLEL_LEAST)
    for (int64_t at = 0; at < n; at += ROW_PIECE) {
        float piece[ROW_PIECE], out[ROW_PIECE];
        int64_t count = least(n - at, ROW_PIECE);
        const float *p = row_read(x, at, count, piece);
        float *y = row_open(x, at, out);
#pragma omp simd
        for (int64_t i = 0; i < count; i++) y[i] = p[i] * by;
        row_done(x, at, count, y);
    }
}

/* norm.c - RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba, Kiros, Hinton 2016), forward and backward.
 *
 * Forward and dx run over rows, gradients of weight and bias over columns, so no sum depends on the number of threads. Statistics are fp32,
 * from two passes over the row for LayerNorm (mean first, then squared deviations: no cancellation). */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/rows.h"

#include <math.h>

enum { COLUMNS = 64 }; /* of one task of a weight's gradient */

static float sum_of_squares(Buf x, int64_t row, int D, float mean) {
    float piece[ROW_PIECE], total = 0;
    for (int at = 0; at < D; at += ROW_PIECE) {
        int n = (int)least(D - at, ROW_PIECE);
        const float *p = row_read(x, row + at, n, piece);
        float s = 0;
#pragma omp simd reduction(+ : s)
        for (int i = 0; i < n; i++) s += (p[i] - mean) * (p[i] - mean);
        total += s;
    }
    return total;
}

static float sum_of(Buf x, int64_t row, int D) {
    float piece[ROW_PIECE], total = 0;
    for (int at = 0; at < D; at += ROW_PIECE) {
        int n = (int)least(D - at, ROW_PIECE);
        const float *p = row_read(x, row + at, n, piece);
        float s = 0;
#pragma omp simd reduction(+ : s)
        for (int i = 0; i < n; i++) s += p[i];
        total += s;
    }
    return total;
}

/* y = (x - mean) * rstd * w [+ b] */
static void row_normalise(Buf y, Buf x, Buf w, Buf b, int64_t row, int D, float mean, float rstd) {
    float px[ROW_PIECE], pw[ROW_PIECE], pb[ROW_PIECE], py[ROW_PIECE];
    for (int at = 0; at < D; at += ROW_PIECE) {
        int n = (int)least(D - at, ROW_PIECE);
        const float *xs = row_read(x, row + at, n, px), *ws = row_read(w, at, n, pw);
        float *ys = row_open(y, row + at, py);
        if (b.at) {
            const float *bs = row_read(b, at, n, pb);
#pragma omp simd
            for (int i = 0; i < n; i++) ys[i] = (xs[i] - mean) * rstd * ws[i] + bs[i];
        } else {
#pragma omp simd
            for (int i = 0; i < n; i++) ys[i] = (xs[i] - mean) * rstd * ws[i];
        }
        row_done(y, row + at, n, ys);
    }
}

void ISA_FN(rmsnorm_forward)(Buf y, Buf rstd, Buf x, Buf w, int T, int D, float eps) {
#pragma omp parallel for schedule(static) if ((int64_t)T * D >= PARALLEL_LEAST)
    for (int t = 0; t < T; t++) {
        int64_t row = (int64_t)t * D;
        float r = 1.0f / sqrtf(sum_of_squares(x, row, D, 0) / (float)D + eps);
        if (rstd.at) ((float *)rstd.at)[t] = r;
        row_normalise(y, x, w, BUF_NONE, row, D, 0, r);
    }
}

void ISA_FN(layernorm_forward)(Buf y, Buf mean, Buf rstd, Buf x, Buf w, Buf b, int T, int D, float eps) {
#pragma omp parallel for schedule(static) if ((int64_t)T * D >= PARALLEL_LEAST)
    for (int t = 0; t < T; t++) {
        int64_t row = (int64_t)t * D;
        float m = sum_of(x, row, D) / (float)D, r = 1.0f / sqrtf(sum_of_squares(x, row, D, m) / (float)D + eps);
        if (mean.at) ((float *)mean.at)[t] = m;
        if (rstd.at) ((float *)rstd.at)[t] = r;
        row_normalise(y, x, w, b, row, D, m, r);
    }
}

/* dx += rstd * (g - centre * mean(g) - n * mean(g n)) with g = dy w and n = (x - mean) rstd. RMSNorm subtracts no mean, so centre is 0. */
static void row_backward(Buf dx, Buf dy, Buf x, Buf w, int64_t row, int D, float mean, float rstd, int centre) {
    float px[ROW_PIECE], pw[ROW_PIECE], py[ROW_PIECE], pd[ROW_PIECE], po[ROW_PIECE];
    float sum_g = 0, sum_gn = 0;
    for (int at = 0; at < D; at += ROW_PIECE) {
        int n = (int)least(D - at, ROW_PIECE);
        const float *xs = row_read(x, row + at, n, px), *ws = row_read(w, at, n, pw), *gs = row_read(dy, row + at, n, py);
        float a = 0, b = 0;
#pragma omp simd reduction(+ : a, b)
        for (int i = 0; i < n; i++) {
            float g = gs[i] * ws[i];
            a += g;
            b += g * ((xs[i] - mean) * rstd);
        }
        sum_g += a;
        sum_gn += b;
    }
    float mean_g = centre ? sum_g / (float)D : 0, mean_gn = sum_gn / (float)D;
    for (int at = 0; at < D; at += ROW_PIECE) {
        int n = (int)least(D - at, ROW_PIECE);
        const float *xs = row_read(x, row + at, n, px), *ws = row_read(w, at, n, pw), *gs = row_read(dy, row + at, n, py);
        const float *ds = row_read(dx, row + at, n, pd);
        float *os = row_open(dx, row + at, po);
#pragma omp simd
        for (int i = 0; i < n; i++) os[i] = ds[i] + rstd * (gs[i] * ws[i] - mean_g - (xs[i] - mean) * rstd * mean_gn);
        row_done(dx, row + at, n, os);
    }
}

/* dw += sum over rows of dy (x - mean) rstd, db += sum over rows of dy, for a few columns */
static void columns_backward(float *dw, float *db, Buf dy, Buf x, const float *mean, const float *rstd, int T, int D, int first) {
    int n = (int)least(D - first, COLUMNS);
    float w_sum[COLUMNS] = { 0 }, b_sum[COLUMNS] = { 0 }, px[COLUMNS], py[COLUMNS];
    for (int t = 0; t < T; t++) {
        int64_t at = (int64_t)t * D + first;
        const float *xs = row_read(x, at, n, px), *gs = row_read(dy, at, n, py);
        float m = mean ? mean[t] : 0, r = rstd[t];
#pragma omp simd
        for (int i = 0; i < n; i++) {
            w_sum[i] += gs[i] * ((xs[i] - m) * r);
            b_sum[i] += gs[i];
        }
    }
    if (dw)
        for (int i = 0; i < n; i++) dw[first + i] += w_sum[i];
    if (db)
        for (int i = 0; i < n; i++) db[first + i] += b_sum[i];
}

static void norm_backward(Buf dx, Buf dw, Buf db, Buf dy, Buf x, Buf w, const float *mean, const float *rstd, int T, int D) {
    int worth = (int64_t)T * D >= PARALLEL_LEAST;
#pragma omp parallel if (worth)
    {
        /* Columns first: the barrier after them lets dx share memory with dy. */
        if (dw.at || db.at) {
#pragma omp for schedule(static)
            for (int first = 0; first < D; first += COLUMNS) columns_backward(dw.at, db.at, dy, x, mean, rstd, T, D, first);
        }
#pragma omp for schedule(static)
        for (int t = 0; t < T; t++) row_backward(dx, dy, x, w, (int64_t)t * D, D, mean ? mean[t] : 0, rstd[t], mean != NULL);
    }
}

void ISA_FN(rmsnorm_backward)(Buf dx, Buf dw, Buf dy, Buf x, Buf w, Buf rstd, int T, int D) {
    norm_backward(dx, dw, BUF_NONE, dy, x, w, NULL, rstd.at, T, D);
}

void ISA_FN(layernorm_backward)(Buf dx, Buf dw, Buf db, Buf dy, Buf x, Buf w, Buf mean, Buf rstd, int T, int D) {
    norm_backward(dx, dw, db, dy, x, w, mean.at, rstd.at, T, D);
}

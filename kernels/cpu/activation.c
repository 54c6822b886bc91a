/* activation.c - GELU (exact, by erf; Hendrycks and Gimpel 2016), quick-GELU (x sigmoid(1.702 x), as CLIP uses it), SwiGLU (Shazeer 2020)
 * and addition.
 *
 * Element by element: outputs may be inputs. Arithmetic is fp32 whatever the storage. */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vmath.h"

#define QUICK 1.702f
#define SQRT_HALF 0.70710678f
#define SQRT_HALF_PI_INVERSE 0.39894228f /* 1 / sqrt(2 pi): the normal density at 0 */

static inline float gelu(float x) { return 0.5f * x * (1.0f + vm_erf(x * SQRT_HALF)); }
static inline float gelu_slope(float x) { return 0.5f * (1.0f + vm_erf(x * SQRT_HALF)) + x * SQRT_HALF_PI_INVERSE * vm_exp(-0.5f * x * x); }
static inline float quick_gelu(float x) { return x * vm_sigmoid(QUICK * x); }
static inline float quick_gelu_slope(float x) {
    float s = vm_sigmoid(QUICK * x);
    return s + QUICK * x * s * (1.0f - s);
}

void ISA_FN(activation_forward)(Buf y, Buf x, Activation a, int64_t n) {
#pragma omp parallel for schedule(static) if (n >= PARALLEL_LEAST)
    for (int64_t at = 0; at < n; at += ROW_PIECE) {
        float px[ROW_PIECE], py[ROW_PIECE];
        int64_t m = least(n - at, ROW_PIECE);
        const float *xs = row_read(x, at, m, px);
        float *ys = row_open(y, at, py);
        if (a == GELU) {
#pragma omp simd
            for (int64_t i = 0; i < m; i++) ys[i] = gelu(xs[i]);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < m; i++) ys[i] = quick_gelu(xs[i]);
        }
        row_done(y, at, m, ys);
    }
}

void ISA_FN(activation_backward)(Buf dx, Buf dy, Buf x, Activation a, int64_t n) {
#pragma omp parallel for schedule(static) if (n >= PARALLEL_LEAST)
    for (int64_t at = 0; at < n; at += ROW_PIECE) {
        float px[ROW_PIECE], py[ROW_PIECE], pd[ROW_PIECE];
        int64_t m = least(n - at, ROW_PIECE);
        const float *xs = row_read(x, at, m, px), *gs = row_read(dy, at, m, py);
        float *ds = row_open(dx, at, pd);
        if (a == GELU) {
#pragma omp simd
            for (int64_t i = 0; i < m; i++) ds[i] = gs[i] * gelu_slope(xs[i]);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < m; i++) ds[i] = gs[i] * quick_gelu_slope(xs[i]);
        }
        row_done(dx, at, m, ds);
    }
}

void ISA_FN(swiglu_forward)(Buf y, Buf gate_up, int T, int F) {
    int64_t pieces = ((int64_t)F + ROW_PIECE - 1) / ROW_PIECE, tasks = pieces * T;
#pragma omp parallel for schedule(static) if ((int64_t)T * F >= PARALLEL_LEAST)
    for (int64_t task = 0; task < tasks; task++) {
        float pg[ROW_PIECE], pu[ROW_PIECE], py[ROW_PIECE];
        int64_t t = task / pieces, at = task % pieces * ROW_PIECE, m = least(F - at, ROW_PIECE);
        const float *g = row_read(gate_up, t * 2 * F + at, m, pg), *u = row_read(gate_up, t * 2 * F + F + at, m, pu);
        float *ys = row_open(y, t * F + at, py);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) ys[i] = g[i] * vm_sigmoid(g[i]) * u[i];
        row_done(y, t * F + at, m, ys);
    }
}

void ISA_FN(swiglu_backward)(Buf dgate_up, Buf dy, Buf gate_up, int T, int F) {
    int64_t pieces = ((int64_t)F + ROW_PIECE - 1) / ROW_PIECE, tasks = pieces * T;
#pragma omp parallel for schedule(static) if ((int64_t)T * F >= PARALLEL_LEAST)
    for (int64_t task = 0; task < tasks; task++) {
        float pg[ROW_PIECE], pu[ROW_PIECE], py[ROW_PIECE], pdg[ROW_PIECE], pdu[ROW_PIECE];
        int64_t t = task / pieces, at = task % pieces * ROW_PIECE, m = least(F - at, ROW_PIECE), gate = t * 2 * F + at, up = gate + F;
        const float *g = row_read(gate_up, gate, m, pg), *u = row_read(gate_up, up, m, pu), *d = row_read(dy, t * F + at, m, py);
        float *dg = row_open(dgate_up, gate, pdg), *du = row_open(dgate_up, up, pdu);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) {
            float s = vm_sigmoid(g[i]), silu = g[i] * s, slope = s + silu * (1.0f - s), dyi = d[i];
            dg[i] = dyi * u[i] * slope;
            du[i] = dyi * silu;
        }
        row_done(dgate_up, gate, m, dg);
        row_done(dgate_up, up, m, du);
    }
}

void ISA_FN(add)(Buf y, Buf a, Buf b, int64_t n) {
#pragma omp parallel for schedule(static) if (n >= PARALLEL_LEAST)
    for (int64_t at = 0; at < n; at += ROW_PIECE) {
        float pa[ROW_PIECE], pb[ROW_PIECE], py[ROW_PIECE];
        int64_t m = least(n - at, ROW_PIECE);
        const float *as = row_read(a, at, m, pa), *bs = row_read(b, at, m, pb);
        float *ys = row_open(y, at, py);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) ys[i] = as[i] + bs[i];
        row_done(y, at, m, ys);
    }
}

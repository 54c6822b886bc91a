/* linear.c - products with weights, forward and backward.
 *
 * Two ways forward, chosen here and nowhere else. oneDNN (kernels/dnnl_products.h) from packed weights where it packs them, with AVX-512:
 * from one row, which it reads at the memory's bandwidth, to thousands, and in fp32 with the same bits for a row whatever M is. Elsewhere
 * panel.c: oneDNN's AVX2 code has no packed form, loses up to 20 rows, and sums in an order that depends on M; its emulation of bf16
 * reaches a third of what widening does.
 *
 * Backwards, oneDNN; bf16 on CPUs without bf16 instructions is widened tile by tile and multiplied in fp32. Widened tiles cost memory for a
 * tile, never for a matrix.
 *
 * Gradients: dL/dx = dy w, dL/dw = dy^T x, dL/db = column sums of dy. */
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/panel.h"
#include "kernels/cpu_state.h"
#include "kernels/dnnl_products.h"
#include "kernels/packs.h"

#include <string.h>

enum {
    TILE_M = 512,            /* rows of x or dy widened at a time: w is widened once per so many */
    TILE_ELEMENTS = 1 << 19, /* of a widened tile of w: half of a second-level cache of 4 bytes each */
    COLUMNS = 64,            /* of a bias gradient summed by one thread at a time */
};

#ifdef __AVX512BF16__
static const int native_bf16 = 1;
#else
static const int native_bf16 = 0;
#endif
#ifdef __AVX512F__
static const int packs_fp32 = 1;
#else
static const int packs_fp32 = 0;
#endif

/* Whether oneDNN takes a bf16 product whose sums have `inner` terms. With AMX its code for 63 of them (2.6.3: some shapes) ends in an
 * illegal instruction; a scan of dy^T x over 1 to 200 terms at 16 widths found no other length. */
static int takes_bf16(int inner) { return native_bf16 && inner != 63; }

static int min_int(int a, int b) { return a < b ? a : b; }

/* ---- widening ---- */

/* to (rows, columns) dense fp32 = from, BF16 rows of `stride` elements */
static void widen(float *to, const bf16 *from, int rows, int columns, int64_t stride) {
#pragma omp parallel for if ((int64_t)rows * columns > 65536)
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) to[(int64_t)r * columns + c] = bf16_to_float(from[(int64_t)r * stride + c]);
}

static float value(Buf b, int64_t i) { return b.dtype == FP32 ? ((const float *)b.at)[i] : bf16_to_float(((const bf16 *)b.at)[i]); }

/* Tile (rows, columns) of fp32 sums to its place in y, plus bias and residual. */
static void tile_finish(Buf y, const float *tile, Buf bias, Buf residual, int64_t row, int column, int rows, int columns, int64_t stride) {
#pragma omp parallel for if ((int64_t)rows * columns > 65536)
    for (int r = 0; r < rows; r++) {
        const float *from = tile + (int64_t)r * columns;
        int64_t at = (row + r) * stride + column;
        for (int c = 0; c < columns; c++) {
            float v = from[c];
            if (bias.at) v += value(bias, column + c);
            if (residual.at) v += value(residual, at + c);
            if (y.dtype == FP32) ((float *)y.at)[at + c] = v;
            else ((bf16 *)y.at)[at + c] = float_to_bf16(v);
        }
    }
}

static Buf fp32(float *at) { return (Buf){ at, FP32 }; }

/* Columns of a tile of w whose rows have `length` elements. */
static int tile_rows(int length, int n) {
    int rows = TILE_ELEMENTS / length / 16 * 16;
    return min_int(rows < 16 ? 16 : rows, n);
}

static void widened_backward_input(Buf dx, Buf dy, Buf w, int M, int N, int K, int accumulate) {
    int tile_m = min_int(M, TILE_M), tile_n = tile_rows(K, N);
    float *dyt = cpu_scratch(SCRATCH_X, (int64_t)tile_m * tile_n * 4), *wt = cpu_scratch(SCRATCH_W, (int64_t)tile_n * K * 4);
    float *dxt = cpu_scratch(SCRATCH_Y, (int64_t)tile_m * K * 4);
    if (!dyt || !wt || !dxt) return;
    for (int m = 0; m < M; m += tile_m) {
        int rows = min_int(tile_m, M - m);
        for (int n = 0; n < N; n += tile_n) {
            int inner = min_int(tile_n, N - n);
            widen(wt, (const bf16 *)w.at + (int64_t)n * K, inner, K, K);
            widen(dyt, (const bf16 *)dy.at + (int64_t)m * N + n, rows, inner, N);
            product_run(&(Product){ .kind = PRODUCT_X_W,
                .m = rows,
                .n = K,
                .k = inner,
                .c = fp32(dxt),
                .a = fp32(dyt),
                .b = fp32(wt),
                .residual = n ? fp32(dxt) : BUF_NONE });
        }
        tile_finish(dx, dxt, BUF_NONE, accumulate ? dx : BUF_NONE, m, 0, rows, K, K);
    }
}

static void widened_backward_weight(float *dw, Buf dy, Buf x, int M, int N, int K) {
    int tile_m = min_int(M, TILE_M), tile_n = tile_rows(tile_m, N);
    float *xt = cpu_scratch(SCRATCH_X, (int64_t)tile_m * K * 4), *dyt = cpu_scratch(SCRATCH_W, (int64_t)tile_m * tile_n * 4);
    if (!xt || !dyt) return;
    for (int m = 0; m < M; m += tile_m) {
        int inner = min_int(tile_m, M - m);
        widen(xt, (const bf16 *)x.at + (int64_t)m * K, inner, K, K);
        for (int n = 0; n < N; n += tile_n) {
            int rows = min_int(tile_n, N - n);
            Buf c = fp32(dw + (int64_t)n * K);
            widen(dyt, (const bf16 *)dy.at + (int64_t)m * N + n, inner, rows, N);
            product_run(
                &(Product){ .kind = PRODUCT_XT_Y, .m = rows, .n = K, .k = inner, .c = c, .a = fp32(dyt), .b = fp32(xt), .residual = c });
        }
    }
}

/* ---- the operations ---- */

void ISA_FN(linear_forward)(Buf y, Buf x, Buf w, Buf bias, Buf residual, int M, int N, int K) {
    if (M <= 0 || N <= 0) return;
    if (w.dtype == FP32 ? packs_fp32 : takes_bf16(K))
        product_run(&(Product){
            .kind = PRODUCT_X_WT, .m = M, .n = N, .k = K, .keep = 1, .c = y, .a = x, .b = w, .bias = bias, .residual = residual });
    else ISA_FN(panel_forward)(y, x, w, bias, residual, M, N, K);
}

void ISA_FN(linear_backward_input)(Buf dx, Buf dy, Buf w, int M, int N, int K, int accumulate) {
    if (M <= 0 || K <= 0) return;
    if (w.dtype == BF16 && !takes_bf16(N)) widened_backward_input(dx, dy, w, M, N, K, accumulate);
    else
        product_run(
            &(Product){ .kind = PRODUCT_X_W, .m = M, .n = K, .k = N, .c = dx, .a = dy, .b = w, .residual = accumulate ? dx : BUF_NONE });
}

/* Each column is summed by one thread, over rows in order: in fp32 over runs of rows, in double over the runs. */
static void bias_gradient(float *db, Buf dy, int M, int N) {
    enum { RUN = 64 };
#pragma omp parallel for if ((int64_t)M * N > 65536)
    for (int n = 0; n < N; n += COLUMNS) {
        int columns = min_int(COLUMNS, N - n);
        double total[COLUMNS] = { 0 };
        for (int m = 0; m < M; m += RUN) {
            float sum[COLUMNS] = { 0 };
            for (int r = m; r < min_int(m + RUN, M); r++) {
                if (dy.dtype == FP32)
                    for (int c = 0; c < columns; c++) sum[c] += ((const float *)dy.at)[(int64_t)r * N + n + c];
                else
                    for (int c = 0; c < columns; c++) sum[c] += bf16_to_float(((const bf16 *)dy.at)[(int64_t)r * N + n + c]);
            }
            for (int c = 0; c < columns; c++) total[c] += (double)sum[c];
        }
        for (int c = 0; c < columns; c++) db[n + c] += (float)total[c];
    }
}

void ISA_FN(linear_backward_weight)(Buf dw, Buf db, Buf dy, Buf x, int M, int N, int K) {
    if (M <= 0 || N <= 0) return;
    if (db.at) bias_gradient(db.at, dy, M, N);
    if (x.dtype == BF16 && !takes_bf16(M)) widened_backward_weight(dw.at, dy, x, M, N, K);
    else product_run(&(Product){ .kind = PRODUCT_XT_Y, .m = N, .n = K, .k = M, .c = dw, .a = dy, .b = x, .residual = dw });
}

void ISA_FN(weights_changed)(Buf w, int64_t count) { packs_forget(w.at, count * (int64_t)dtype_size(w.dtype)); }

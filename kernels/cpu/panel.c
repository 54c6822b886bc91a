/* panel.c - y = x w^T from weights packed into panels.
 *
 * A panel is PANEL rows of w, interleaved by k: what one step of the register-blocked product (tile.c) reads lies side by side. Panels are
 * kept by address (packs.h) in the weights' dtype; a bf16 panel is read as it is by a few rows, and for more of them widened when a thread takes
 * it up, once per ROWS_MOST rows of x. A thread owns a range of panels: each is read from memory once and stays in the second-level cache while the rows pass over it, TILE_ROWS
 * at a time. As fast as oneDNN's AVX2 code or faster at nearly every number of rows (bench/SPEED.md). */
#include "kernels/cpu/panel.h"

#include "kernels/cpu/rows.h"
#include "kernels/cpu/tile.h"
#include "kernels/cpu_state.h"
#include "kernels/packs.h"

#include <omp.h>

enum {
    PANEL = TILE_NARROW_VECTORS * VEC_WIDTH,
    TILE_ROWS = 96,        /* sums of a tile stay in the first-level cache */
    ROWS_MOST = 1024,      /* of x widened at a time */
    NARROW_ROWS = 24,      /* up to so many, widening on the way costs less than a widened copy */
    SERIAL_BELOW = 1 << 15 /* products with fewer weights than this run on one thread */
};

static int panels_of(int N) { return (N + PANEL - 1) / PANEL; }

/* to (K, PANEL) = w's rows n .. n + PANEL - 1, zeros beyond the last. Blocks of k keep both sides in cache lines. */
static void panel_pack(void *to, Buf w, int n, int N, int K) {
    enum { BLOCK = 16 };
    int count = N - n < PANEL ? N - n : PANEL;
    size_t size = dtype_size(w.dtype);
    if (count < PANEL) memset(to, 0, (size_t)K * PANEL * size);
    for (int k0 = 0; k0 < K; k0 += BLOCK) {
        int k1 = K - k0 < BLOCK ? K : k0 + BLOCK;
        for (int j = 0; j < count; j++) {
            int64_t from = (int64_t)(n + j) * K;
            if (w.dtype == FP32)
                for (int k = k0; k < k1; k++) ((float *)to)[(int64_t)k * PANEL + j] = ((const float *)w.at)[from + k];
            else
                for (int k = k0; k < k1; k++) ((bf16 *)to)[(int64_t)k * PANEL + j] = ((const bf16 *)w.at)[from + k];
        }
    }
}

static char *packed_weights(Buf w, int N, int K) {
    int panels = panels_of(N), made;
    size_t bytes = (size_t)K * PANEL * dtype_size(w.dtype);
    char *packed = packs_take(w, N, K, panels * (int64_t)bytes, &made);
    if (made) return packed;
    if (!packed) {
        cpu_failure_set("out of memory", "no room for packed weights");
        return NULL;
    }
#pragma omp parallel for if ((int64_t)N * K >= SERIAL_BELOW)
    for (int p = 0; p < panels; p++) panel_pack(packed + (size_t)p * bytes, w, p * PANEL, N, K);
    return packed;
}

static float value(Buf b, int64_t i) { return b.dtype == FP32 ? ((const float *)b.at)[i] : bf16_to_float(((const bf16 *)b.at)[i]); }

/* Sums of `rows` rows from row m and of the panel at column n, to their place in y, plus bias and residual. */
static void tile_finish(Buf y, const float *sums, Buf bias, Buf residual, int m, int n, int rows, int N) {
    int count = N - n < PANEL ? N - n : PANEL;
    float shift[PANEL] = { 0 };
    for (int j = 0; bias.at && j < count; j++) shift[j] = value(bias, n + j);
    for (int r = 0; r < rows; r++, sums += PANEL) {
        int64_t at = (int64_t)(m + r) * N + n;
        float out[PANEL];
        for (int j = 0; j < PANEL; j++) out[j] = sums[j] + shift[j];
        if (residual.at)
            for (int j = 0; j < count; j++) out[j] += value(residual, at + j);
        if (y.dtype == FP32) memcpy((float *)y.at + at, out, (size_t)count * sizeof(float));
        else
            for (int j = 0; j < count; j++) ((bf16 *)y.at)[at + j] = float_to_bf16(out[j]);
    }
}

void ISA_FN(panel_forward)(Buf y, Buf x, Buf w, Buf bias, Buf residual, int M, int N, int K) {
    const char *packed = packed_weights(w, N, K);
    if (!packed) return;
    int threads = (int64_t)N * K < SERIAL_BELOW ? 1 : omp_get_max_threads(), panels = panels_of(N), most = M < ROWS_MOST ? M : ROWS_MOST;
    size_t bytes = (size_t)K * PANEL * dtype_size(w.dtype);
    float *wide_x = NULL, *wide_w = NULL;
    if (x.dtype == BF16 && !(wide_x = cpu_scratch(SCRATCH_X, (int64_t)most * K * 4))) return;
    int narrow = w.dtype == BF16 && M <= NARROW_ROWS;
    if (w.dtype == BF16 && !narrow && !(wide_w = cpu_scratch(SCRATCH_W, (int64_t)threads * K * PANEL * 4))) return;
    for (int first = 0; first < M; first += most) {
        int rows = M - first < most ? M - first : most;
#pragma omp parallel num_threads(threads)
        {
            float sums[TILE_ROWS * PANEL] __attribute__((aligned(64)));
            float *own = wide_w ? wide_w + (int64_t)omp_get_thread_num() * K * PANEL : NULL;
            const float *rows_x = wide_x ? wide_x : (const float *)x.at + (int64_t)first * K;
            if (wide_x) {
#pragma omp for schedule(static)
                for (int r = 0; r < rows; r++) row_read(x, (int64_t)(first + r) * K, K, wide_x + (int64_t)r * K);
            }
#pragma omp for schedule(static)
            for (int p = 0; p < panels; p++) {
                const float *panel = (const float *)(const void *)(packed + (size_t)p * bytes);
                if (own) panel = row_read((Buf){ (void *)(packed + (size_t)p * bytes), BF16 }, 0, (int64_t)K * PANEL, own);
                for (int m = 0; m < rows; m += TILE_ROWS) {
                    int n = rows - m < TILE_ROWS ? rows - m : TILE_ROWS;
                    if (narrow) ISA_FN(tile_product_narrow)(sums, (TileView){ rows_x + (int64_t)m * K, K, 1 }, (const bf16 *)(const void *)panel, n, K);
                    else ISA_FN(tile_product)
                    (sums, PANEL, (TileView){ rows_x + (int64_t)m * K, K, 1 }, panel, PANEL, n, PANEL, K, TILE_SET, NULL);
                    tile_finish(y, sums, bias, residual, first + m, p * PANEL, n, N);
                }
            }
        }
    }
}

/* embed.c - rows by index: the token table, image features in their places, gather and scatter.
 *
 * Indices are trusted: ids are below the table's rows, image rows below the features'. Gradients are summed in the order of the rows, by
 * columns, so that no sum depends on the number of threads. */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu_state.h"

enum { COLUMNS = 256 }; /* of one task of a gradient */

void ISA_FN(embed_forward)(Buf y, Buf table, Buf features, const int *ids, const int *image_rows, int T, int D) {
#pragma omp parallel for schedule(static) if ((int64_t)T * D >= PARALLEL_LEAST)
    for (int t = 0; t < T; t++) {
        if (ids[t] >= 0) row_copy(y, (int64_t)t * D, table, (int64_t)ids[t] * D, D);
        else row_copy(y, (int64_t)t * D, features, (int64_t)image_rows[t] * D, D);
    }
}

/* Columns first .. first + n - 1 of dfeatures. next[t] is the next row that holds the same features as row t, or -1; head[t] says that t is
 * the first. */
static void features_backward(
    Buf dfeatures, Buf dy, const int *ids, const int *image_rows, const int *next, const char *head, int T, int D, int first, int n) {
    float sum[COLUMNS], piece[COLUMNS];
    for (int t = 0; t < T; t++) {
        if (ids[t] >= 0 || !head[t]) continue;
        int64_t to = (int64_t)image_rows[t] * D + first;
        if (next[t] < 0) {
            row_copy(dfeatures, to, dy, (int64_t)t * D + first, n);
            continue;
        }
        memset(sum, 0, sizeof sum);
        for (int u = t; u >= 0; u = next[u]) {
            const float *g = row_read(dy, (int64_t)u * D + first, n, piece);
            for (int i = 0; i < n; i++) sum[i] += g[i];
        }
        if (dfeatures.dtype == FP32) memcpy((float *)dfeatures.at + to, sum, (size_t)n * sizeof *sum);
        else row_done(dfeatures, to, n, sum);
    }
}

void ISA_FN(embed_backward)(Buf dtable, Buf dfeatures, Buf dy, const int *ids, const int *image_rows, int T, int D) {
    int images = 0;
    for (int t = 0; t < T; t++)
        if (ids[t] < 0 && image_rows[t] >= images) images = image_rows[t] + 1;
    int *next = NULL, *last = NULL;
    char *head = NULL;
    if (dfeatures.at && images > 0) {
        next = cpu_scratch(SCRATCH_EMBED, (int64_t)sizeof(int) * (T + (int64_t)images) + T);
        if (!next) return;
        last = next + T;
        head = (char *)(last + images);
        for (int i = 0; i < images; i++) last[i] = -1;
        for (int t = 0; t < T; t++) {
            next[t] = -1;
            if (ids[t] >= 0) continue;
            head[t] = last[image_rows[t]] < 0;
            if (!head[t]) next[last[image_rows[t]]] = t;
            last[image_rows[t]] = t;
        }
    }
#pragma omp parallel for schedule(static) if ((int64_t)T * D >= PARALLEL_LEAST)
    for (int first = 0; first < D; first += COLUMNS) {
        int n = (int)least(D - first, COLUMNS);
        if (dtable.at)
            for (int t = 0; t < T; t++)
                if (ids[t] >= 0) row_add(dtable, (int64_t)ids[t] * D + first, dy, (int64_t)t * D + first, n);
        if (next) features_backward(dfeatures, dy, ids, image_rows, next, head, T, D, first, n);
    }
}

void ISA_FN(rows_gather)(Buf y, Buf x, const int *rows, int R, int D) {
#pragma omp parallel for schedule(static) if ((int64_t)R * D >= PARALLEL_LEAST)
    for (int r = 0; r < R; r++) row_copy(y, (int64_t)r * D, x, (int64_t)rows[r] * D, D);
}

void ISA_FN(rows_scatter_add)(Buf y, Buf x, const int *rows, int R, int D) {
#pragma omp parallel for schedule(static) if ((int64_t)R * D >= PARALLEL_LEAST)
    for (int first = 0; first < D; first += COLUMNS)
        for (int r = 0; r < R; r++) row_add(y, (int64_t)rows[r] * D + first, x, (int64_t)r * D + first, least(D - first, COLUMNS));
}

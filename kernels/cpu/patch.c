/* patch.c - an image cut into the tower's patches, and patches made into rows with class token and positions (Dosovitskiy et al. 2021).
 *
 * Pixels right of or below the last whole patch are not read, as in a convolution with stride p. */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/rows.h"

void ISA_FN(patches_gather)(Buf y, Buf pixels, int B, int C, int S, int p) {
    int grid = S / p;
    int64_t P = (int64_t)grid * grid, width = (int64_t)C * p * p;
#pragma omp parallel for schedule(static)
    for (int64_t patch = 0; patch < B * P; patch++) {
        int64_t image = patch / P, row = patch % P / grid, column = patch % grid;
        for (int c = 0; c < C; c++)
            for (int i = 0; i < p; i++)
                row_copy(y, patch * width + ((int64_t)c * p + i) * p, pixels, ((image * C + c) * S + row * p + i) * S + column * p, p);
    }
}

void ISA_FN(patches_embed)(Buf x, Buf patches, Buf cls, Buf position, int B, int P, int D) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < (int64_t)B * (1 + P); row++) {
        int64_t image = row / (1 + P), i = row % (1 + P);
        if (i == 0) row_copy(x, row * D, cls, 0, D);
        else row_copy(x, row * D, patches, (image * P + i - 1) * D, D);
        row_add(x, row * D, position, i * D, D);
    }
}

void ISA_FN(patches_embed_backward)(Buf dpatches, Buf dcls, Buf dposition, Buf dx, int B, int P, int D) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < 1 + P; i++)
        for (int64_t image = 0; image < B; image++) {
            int64_t from = (image * (1 + P) + i) * D;
            if (i > 0 && dpatches.at) row_copy(dpatches, (image * P + i - 1) * D, dx, from, D);
            if (i == 0 && dcls.at) row_add(dcls, 0, dx, from, D);
            if (dposition.at) row_add(dposition, i * D, dx, from, D);
        }
}

/* patch_test.c - patches of an image and the rows made of them, by index arithmetic of the test's own. */
#include "tests/kernels/kernel_test.h"

typedef struct Shape {
    int B, C, S, p, D;
} Shape;
static const Shape shapes[] = { { 1, 1, 1, 1, 1 }, { 2, 3, 12, 4, 5 }, { 3, 3, 30, 14, 33 }, { 1, 3, 7, 3, 1100 }, { 1, 2, 200, 100, 8 },
    { 1, 1, 634, 14, 4 } };
/* 30 and 7: a margin is dropped; the last two: a patch, and a row of patches, larger than a CUDA block takes at once */
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void test_gather(void **state) {
    (void)state;
    for (int c = 0; c < SHAPES; c++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
            Shape s = shapes[c];
            int grid = s.S / s.p, pixels_n = s.B * s.C * s.S * s.S, width = s.C * s.p * s.p, n = s.B * grid * grid * width;
            float *x = fill_normal(pixels_n, 1, t, 1);
            double *want = malloc((size_t)n * sizeof *want);
            for (int b = 0; b < s.B; b++)
                for (int channel = 0; channel < s.C; channel++)
                    for (int i = 0; i < grid * s.p; i++)
                        for (int j = 0; j < grid * s.p; j++) {
                            int patch = (b * grid + i / s.p) * grid + j / s.p, inside = (channel * s.p + i % s.p) * s.p + j % s.p;
                            want[patch * width + inside] = x[((b * s.C + channel) * s.S + i) * s.S + j];
                        }
            Buf pixels = buf_of(k, FP32, x, pixels_n), y = buf_new(k, t, n);
            k->patches_gather(y, pixels, s.B, s.C, s.S, s.p);
            compare_nmse(k, "patches", y, want, n, 0);
            k->free(pixels), k->free(y);
            free(x), free(want);
        }
}

static void test_embed(void **state) {
    (void)state;
    for (int c = 0; c < SHAPES; c++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
            Shape s = shapes[c];
            int P = s.S / s.p * (s.S / s.p), D = s.D, rows = 1 + P;
            float *fp = fill_normal(s.B * P * D, 1, t, 1), *fc = fill_normal(D, 1, t, 2), *fpos = fill_normal(rows * D, 1, t, 3);
            float *fdx = fill_normal(s.B * rows * D, 1, t, 4), *fdc = fill_normal(D, 1, FP32, 5),
                  *fdpos = fill_normal(rows * D, 1, FP32, 6);
            double *x = malloc((size_t)(s.B * rows * D) * sizeof *x), *dp = malloc((size_t)(s.B * P * D) * sizeof *dp);
            double *dc = wide_of(fdc, D), *dpos = wide_of(fdpos, rows * D);
            for (int b = 0; b < s.B; b++)
                for (int r = 0; r < rows; r++)
                    for (int i = 0; i < D; i++) {
                        int at = (b * rows + r) * D + i;
                        x[at] = (r ? fp[(b * P + r - 1) * D + i] : fc[i]) + (double)fpos[r * D + i];
                        dpos[r * D + i] += fdx[at];
                        if (r) dp[(b * P + r - 1) * D + i] = fdx[at];
                        else dc[i] += fdx[at];
                    }
            Buf patches = buf_of(k, t, fp, s.B * P * D), cls = buf_of(k, t, fc, D), position = buf_of(k, t, fpos, rows * D),
                y = buf_new(k, t, s.B * rows * D);
            Buf dy = buf_of(k, t, fdx, s.B * rows * D), gp = buf_new(k, t, s.B * P * D), gc = buf_of(k, FP32, fdc, D),
                gpos = buf_of(k, FP32, fdpos, rows * D);
            k->patches_embed(y, patches, cls, position, s.B, P, D);
            compare_nmse(k, "patches_embed", y, x, s.B * rows * D, nmse_bound(t));
            k->patches_embed_backward(gp, gc, gpos, dy, s.B, P, D);
            compare_nmse(k, "dpatches", gp, dp, s.B * P * D, 0);
            compare_nmse(k, "dcls", gc, dc, D, NMSE_FP32);
            compare_nmse(k, "dposition", gpos, dpos, rows * D, NMSE_FP32);
            Buf all[] = { patches, cls, position, y, dy, gp, gc, gpos };
            for (size_t i = 0; i < sizeof all / sizeof *all; i++) k->free(all[i]);
            free(fp), free(fc), free(fpos), free(fdx), free(fdc), free(fdpos), free(x), free(dp), free(dc), free(dpos);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_gather), cmocka_unit_test(test_embed) };
    return cmocka_run_group_tests_name("patch_test", tests, NULL, NULL);
}

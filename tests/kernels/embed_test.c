/* embed_test.c - embeddings, image rows, gather and scatter, and their gradients: exact where nothing is summed. */
#include "tests/kernels/kernel_test.h"

enum { T = 23, VOCABULARY = 9, IMAGE_ROWS = 7 };
static const int widths[] = { 1, 24, 300, 1500, 4096 };
enum { WIDTHS = sizeof widths / sizeof *widths };

/* Tokens recur; image rows are shared by several rows, one (5) is used by none. */
static void rows_fill(int *ids, int *image_rows) {
    for (int t = 0; t < T; t++) {
        int image = t % 3 == 1;
        ids[t] = image ? -200 : t * t % VOCABULARY;
        image_rows[t] = image ? t % 5 == 0 ? 6 : t % 5 : -1;
    }
}

static void test_embed(void **state) {
    (void)state;
    int ids[T], image_rows[T];
    rows_fill(ids, image_rows);
    for (int w = 0; w < WIDTHS; w++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
            int D = widths[w];
            float *ftable = fill_normal(VOCABULARY * D, 1, t, 1), *ffeatures = fill_normal(IMAGE_ROWS * D, 1, t, 2),
                  *fdy = fill_normal(T * D, 1, t, 3);
            float *fdtable = fill_normal(VOCABULARY * D, 1, FP32, 4), *fdfeatures = fill_normal(IMAGE_ROWS * D, 1, t, 5);
            double *y = malloc((size_t)(T * D) * sizeof *y), *dtable = wide_of(fdtable, VOCABULARY * D),
                   *dfeatures = wide_of(fdfeatures, IMAGE_ROWS * D);
            for (int r = 0; r < T; r++)
                if (ids[r] < 0) memset(dfeatures + image_rows[r] * D, 0, (size_t)D * sizeof *dfeatures);
            for (int r = 0; r < T; r++)
                for (int i = 0; i < D; i++) {
                    y[r * D + i] = ids[r] < 0 ? ffeatures[image_rows[r] * D + i] : ftable[ids[r] * D + i];
                    *(ids[r] < 0 ? &dfeatures[image_rows[r] * D + i] : &dtable[ids[r] * D + i]) += fdy[r * D + i];
                }
            Buf table = buf_of(k, t, ftable, VOCABULARY * D), features = buf_of(k, t, ffeatures, IMAGE_ROWS * D), to = buf_new(k, t, T * D);
            Buf dy = buf_of(k, t, fdy, T * D), gtable = buf_of(k, FP32, fdtable, VOCABULARY * D),
                gfeatures = buf_of(k, t, fdfeatures, IMAGE_ROWS * D);
            k->embed_forward(to, table, features, ids, image_rows, T, D);
            compare_nmse(k, "embed", to, y, T * D, 0);
            k->embed_backward(gtable, BUF_NONE, dy, ids, image_rows, T, D);
            k->embed_backward(BUF_NONE, gfeatures, dy, ids, image_rows, T, D);
            compare_nmse(k, "table gradient", gtable, dtable, VOCABULARY * D, NMSE_FP32);
            compare_nmse(k, "features gradient", gfeatures, dfeatures, IMAGE_ROWS * D, nmse_bound(t));
            Buf all[] = { table, features, to, dy, gtable, gfeatures };
            for (size_t i = 0; i < sizeof all / sizeof *all; i++) k->free(all[i]);
            free(ftable), free(ffeatures), free(fdy), free(fdtable), free(fdfeatures), free(y), free(dtable), free(dfeatures);
        }
}

static void test_gather_scatter(void **state) {
    (void)state;
    enum { ROWS = 11, R = 8 };
    static const int rows[R] = { 4, 0, 4, 10, 3, 3, 3, 9 };
    for (int w = 0; w < WIDTHS; w++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
            int D = widths[w];
            float *fx = fill_normal(ROWS * D, 1, t, 1), *fr = fill_normal(R * D, 1, t, 2);
            double *gathered = malloc((size_t)(R * D) * sizeof *gathered), *summed = wide_of(fx, ROWS * D);
            for (int r = 0; r < R; r++)
                for (int i = 0; i < D; i++) {
                    gathered[r * D + i] = fx[rows[r] * D + i];
                    summed[rows[r] * D + i] += fr[r * D + i];
                }
            Buf x = buf_of(k, t, fx, ROWS * D), y = buf_new(k, t, R * D), from = buf_of(k, t, fr, R * D);
            k->rows_gather(y, x, rows, R, D);
            compare_nmse(k, "gather", y, gathered, R * D, 0);
            k->rows_scatter_add(x, from, rows, R, D);
            compare_nmse(k, "scatter", x, summed, ROWS * D, nmse_bound(t));
            k->free(x), k->free(y), k->free(from);
            free(fx), free(fr), free(gathered), free(summed);
        }
}

/* A token that comes in most rows, and none of the others'; sums keep the order of the rows. */
static void test_crowd(void **state) {
    (void)state;
    enum { R = 97, ROWS = 3 };
    int rows[R], out_of_order[R];
    for (int r = 0; r < R; r++) rows[r] = r % 9 == 4 ? 0 : 2;
    for (int r = 0; r < R; r++) out_of_order[r] = rows[(r * 5 + 2) % R];
    FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
        enum { D = 40 };
        float *fx = fill_normal(R * D, 1, t, 1), *fy = fill_normal(ROWS * D, 1, FP32, 2);
        for (int order = 0; order < 2; order++) {
            const int *to = order ? out_of_order : rows;
            double *want = wide_of(fy, ROWS * D);
            float *exact = malloc(ROWS * D * sizeof *exact);
            memcpy(exact, fy, ROWS * D * sizeof *exact);
            for (int r = 0; r < R; r++)
                for (int i = 0; i < D; i++) want[to[r] * D + i] += fx[r * D + i], exact[to[r] * D + i] += fx[r * D + i];
            Buf x = buf_of(k, t, fx, R * D), y = buf_of(k, FP32, fy, ROWS * D), same = buf_of(k, FP32, exact, ROWS * D);
            k->embed_backward(y, BUF_NONE, x, to, to, R, D);
            compare_nmse(k, "crowd", y, want, ROWS * D, NMSE_FP32);
            compare_bits(k, "crowd, in order", y, same, ROWS * D);
            k->free(x), k->free(y), k->free(same);
            free(want), free(exact);
        }
        free(fx), free(fy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_embed), cmocka_unit_test(test_gather_scatter), cmocka_unit_test(test_crowd) };
    return cmocka_run_group_tests_name("embed_test", tests, NULL, NULL);
}

/* rope_test.c - rotary embedding against complex rotation in double precision, by plain frequencies and by any others; backward is its
 * transpose. */
#include "tests/kernels/kernel_test.h"

typedef struct Shape {
    int T, heads, E, gap;
    float theta;
    int first;   /* position of the first row; the others are scattered behind it */
    int divided; /* the slowest so many pairs turn this much more slowly again: frequencies that are no power */
} Shape;
static const Shape shapes[] = { { 1, 1, 2, 0, 10000, 0, 0 }, { 5, 3, 8, 7, 10000, 3, 0 }, { 40, 12, 64, 256, 10000, 500, 0 },
    { 9, 2, 128, 0, 5e5f, 4000, 0 }, { 6, 2, 10, 1, 5e6f, 70000, 0 }, { 3, 1, 16, 0, 1e6f, 0, 0 }, { 3, 1, 16, 0, 2e6f, 0, 0 },
    { 4, 2, 64, 0, 10000, 1500, 0 }, { 3, 64, 128, 4096, 10000, 600, 0 } /* Llama 7B's queries and keys beside its values */,
    { 1100, 1, 64, 8, 10000, 0, 0 } /* several rows in a CUDA block */,
    /* of one size, and the same but for the last pairs */
    { 5, 3, 16, 0, 10000, 30, 1 }, { 5, 3, 16, 0, 10000, 30, 3 }, { 5, 3, 16, 0, 10000, 30, 0 }, { 3, 2, 24, 5, 10000, 66000, 8 } };

static void shape_frequencies(const Shape *s, float *out) {
    rope_frequencies(out, s->E, s->theta);
    for (int i = 0; i < s->E / 2; i++) {
        double want = pow((double)s->theta, -2.0 * i / s->E);
        assert_true(fabs(out[i] - want) <= 1.2e-6 * want);
        if (i >= s->E / 2 - s->divided) out[i] /= 8;
    }
}

static void test_rope(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
            Shape s = shapes[i];
            float frequencies[ROPE_HEAD_MOST / 2];
            shape_frequencies(&s, frequencies);
            int stride = s.heads * s.E + s.gap, n = s.T * stride, half = s.E / 2, *positions = malloc((size_t)s.T * sizeof *positions);
            float *x = fill_normal(n, 1, t, 1);
            double *want = wide_of(x, n), *unturned = wide_of(x, n);
            for (int r = 0; r < s.T; r++) {
                positions[r] = s.first + (r * 7) % 11;
                for (int h = 0; h < s.heads; h++)
                    for (int p = 0; p < half; p++) {
                        double a = x[r * stride + h * s.E + p], b = x[r * stride + h * s.E + half + p];
                        double angle = (double)positions[r] * frequencies[p];
                        want[r * stride + h * s.E + p] = a * cos(angle) - b * sin(angle);
                        want[r * stride + h * s.E + half + p] = b * cos(angle) + a * sin(angle);
                    }
            }
            Buf b = buf_of(k, t, x, n);
            k->rope(b, stride, positions, s.T, s.heads, s.E, frequencies, 1);
            /* Angles are rounded to fp32 as Transformers rounds them: at position p they are off by up to p * 2^-24. */
            double angle_error = (s.first + 11) * 6e-8;
            compare_nmse(k, "rope", b, want, n, nmse_bound(t) + angle_error * angle_error);
            k->rope(b, stride, positions, s.T, s.heads, s.E, frequencies, -1); /* the transpose of a rotation is its inverse */
            compare_nmse(k, "rope backward", b, unturned, n, 2 * nmse_bound(t));
            k->free(b);
            free(positions), free(x), free(want), free(unturned);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_rope) };
    return cmocka_run_group_tests_name("rope_test", tests, NULL, NULL);
}

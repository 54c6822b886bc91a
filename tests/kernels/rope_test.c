/* rope_test.c - rotary embedding against complex rotation in double precision; backward is its transpose. */
#include "tests/kernels/kernel_test.h"

typedef struct Shape {
    int T, heads, E, gap;
    float theta;
    int first; /* position of the first row; the others are scattered behind it */
} Shape;
static const Shape shapes[] = { { 1, 1, 2, 0, 10000, 0 }, { 5, 3, 8, 7, 10000, 3 }, { 40, 12, 64, 256, 10000, 500 },
    { 9, 2, 128, 0, 5e5f, 4000 }, { 6, 2, 10, 1, 5e6f, 70000 }, { 3, 1, 16, 0, 1e6f, 0 }, { 3, 1, 16, 0, 2e6f, 0 },
    { 4, 2, 64, 0, 10000, 1500 }, { 3, 64, 128, 4096, 10000, 600 } /* Llama 7B's queries and keys beside its values */,
    { 1100, 1, 64, 8, 10000, 0 } /* several rows in a CUDA block */ };

static void test_rope(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) {
            Shape s = shapes[i];
            int stride = s.heads * s.E + s.gap, n = s.T * stride, half = s.E / 2, *positions = malloc((size_t)s.T * sizeof *positions);
            float *x = fill_normal(n, 1, t, 1);
            double *want = wide_of(x, n), *unturned = wide_of(x, n);
            for (int r = 0; r < s.T; r++) {
                positions[r] = s.first + (r * 7) % 11;
                for (int h = 0; h < s.heads; h++)
                    for (int p = 0; p < half; p++) {
                        double a = x[r * stride + h * s.E + p], b = x[r * stride + h * s.E + half + p];
                        double angle = positions[r] * pow((double)s.theta, -2.0 * p / s.E);
                        want[r * stride + h * s.E + p] = a * cos(angle) - b * sin(angle);
                        want[r * stride + h * s.E + half + p] = b * cos(angle) + a * sin(angle);
                    }
            }
            Buf b = buf_of(k, t, x, n);
            k->rope(b, stride, positions, s.T, s.heads, s.E, s.theta, 1);
            /* Angles are rounded to fp32 as Transformers rounds them: at position p they are off by up to p * 2^-24. */
            double angle_error = (s.first + 11) * 6e-8;
            compare_nmse(k, "rope", b, want, n, nmse_bound(t) + angle_error * angle_error);
            k->rope(b, stride, positions, s.T, s.heads, s.E, s.theta, -1); /* the transpose of a rotation is its inverse */
            compare_nmse(k, "rope backward", b, unturned, n, 2 * nmse_bound(t));
            k->free(b);
            free(positions), free(x), free(want), free(unturned);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_rope) };
    return cmocka_run_group_tests_name("rope_test", tests, NULL, NULL);
}

/* logprob_test.c - log-probabilities of targets, their statistics and gradients, logits and probes, against a double-precision twin. */
#include "tests/kernels/isa_run.h"

typedef struct Shape {
    int R, V, D;
} Shape;
#ifdef WITH_SIMT
/* Chunks that are crossed by shapes that an emulated device can follow. */
extern int64_t cuda_logprob_chunk_bytes;
enum { VOCABULARY_LARGE = 13000, CHUNK_BYTES = 1 << 20 };
#else
enum { VOCABULARY_LARGE = 130000 };
#endif
/* A single row, a vocabulary of one, few rows, odd everything, vectors and tiles just filled and just not, several chunks (32 MiB of logits
 * each), a sum over 4099 logits. */
static const Shape shapes[] = { { 1, 1, 1 }, { 1, 17, 3 }, { 3, 1, 5 }, { 7, 33, 65 }, { 37, 257, 19 }, { 101, 130, 33 }, { 32, 1028, 24 },
    { 33, 128, 72 }, { 129, 264, 40 }, { 70, VOCABULARY_LARGE, 5 }, { 300, 4099, 9 } };
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct Twin {
    float *h, *w;
    int *targets;
    double *logits, *logp, *entropy, *hit, *mean, *lse, *largest;
} Twin;

static double *doubles(int64_t n) {
    double *x = calloc((size_t)n, sizeof *x);
    assert_non_null(x);
    return x;
}

static Twin twin_new(Shape s, DType t, float scale) {
    Twin y = { .h = fill_normal((int64_t)s.R * s.D, scale, t, 1), .w = fill_normal((int64_t)s.V * s.D, 1, t, 2) };
    y.targets = malloc((size_t)s.R * sizeof *y.targets);
    assert_non_null(y.targets);
    y.logits = doubles((int64_t)s.R * s.V), y.logp = doubles(s.R), y.entropy = doubles(s.R), y.hit = doubles(s.R);
    y.mean = doubles(s.R), y.lse = doubles(s.R), y.largest = doubles(s.R);
    for (int r = 0; r < s.R; r++) {
        double *l = y.logits + (int64_t)r * s.V, largest = -INFINITY, sum = 0;
        int argmax = 0;
        for (int v = 0; v < s.V; v++) {
            for (int d = 0; d < s.D; d++) l[v] += (double)y.h[r * s.D + d] * (double)y.w[(int64_t)v * s.D + d];
            if (l[v] > largest) largest = l[v], argmax = v;
            y.mean[r] += l[v] / s.V;
        }
        for (int v = 0; v < s.V; v++) sum += exp(l[v] - largest);
        y.largest[r] = largest;
        y.lse[r] = largest + log(sum);
        for (int v = 0; v < s.V; v++) {
            double p = exp(l[v] - y.lse[r]);
            y.entropy[r] -= p > 0 ? p * (l[v] - y.lse[r]) : 0;
        }
        y.targets[r] = r % 3 ? (int)(((int64_t)r * 7919) % s.V) : argmax;
        y.hit[r] = y.targets[r] == argmax;
        y.logp[r] = l[y.targets[r]] - y.lse[r];
    }
    return y;
}

static void twin_free(Twin *y) {
    free(y->h), free(y->w), free(y->targets), free(y->logits), free(y->logp), free(y->entropy), free(y->hit), free(y->mean), free(y->lse),
        free(y->largest);
}

/* Absolute, as one reads log-probabilities: logits of size `size` in fp32 have that many units of 6e-8. */
static void close_each(const char *what, Buf got, const double *want, int n, double bound) {
    float *x = buf_read(k, got, n);
    for (int i = 0; i < n; i++)
        if (!(fabs((double)x[i] - want[i]) <= bound))
            fail_msg("%s (%s): row %d is %.9g, expected %.9g", what, k->isa, i, (double)x[i], want[i]);
    free(x);
}

static float first_of(Buf b) {
    float x;
    k->download(&x, b, 1);
    return x;
}

static void forward_case(Shape s, DType t, float scale) {
    if (!case_taken()) return;
    Twin y = twin_new(s, t, scale);
    Buf h = buf_of(k, t, y.h, (int64_t)s.R * s.D), w = buf_of(k, t, y.w, (int64_t)s.V * s.D), out[6], again[6];
    for (int i = 0; i < 6; i++) out[i] = buf_new(k, FP32, s.R), again[i] = buf_new(k, FP32, s.R);
    k->logprob_forward(out[0], out[1], out[2], out[3], out[4], out[5], h, w, y.targets, s.R, s.V, s.D);
    sync_ok();
    double size = 1e-6 * (1 + (double)scale * sqrt(s.D) * 5);
    close_each("logp", out[0], y.logp, s.R, 4 * size);
    close_each("entropy", out[1], y.entropy, s.R, 4 * size);
    close_each("hit", out[2], y.hit, s.R, 0);
    close_each("mean_logit", out[3], y.mean, s.R, size);
    close_each("lse", out[4], y.lse, s.R, 4 * size);
    close_each("largest", out[5], y.largest, s.R, 4 * size);
    k->logprob_forward(again[0], again[1], again[2], again[3], again[4], again[5], h, w, y.targets, s.R, s.V, s.D);
    for (int i = 0; i < 6; i++) compare_bits(k, "logprob_forward", out[i], again[i], s.R);
    k->zero(again[0], s.R);
    k->logprob_forward(again[0], BUF_NONE, BUF_NONE, BUF_NONE, BUF_NONE, BUF_NONE, h, w, y.targets, s.R, s.V, s.D);
    compare_bits(k, "logprob_forward of logp alone", out[0], again[0], s.R);
    for (int i = 0; i < 6; i++) k->free(out[i]), k->free(again[i]);
    k->free(h), k->free(w);
    twin_free(&y);
}

static void test_forward(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) FOR_EACH_DTYPE(t) {
            forward_case(shapes[i], t, 0.3f);
            if (shapes[i].V < 1000) forward_case(shapes[i], t, 60); /* logits of hundreds: exponentials over- and underflow */
        }
}

/* Equal logits: the argmax is the lowest id. */
static void test_ties(void **state) {
    (void)state;
    enum { V = 40, D = 2 };
    float h[D] = { 1, 2 }, w[V * D];
    for (int i = 0; i < V * D; i++) w[i] = 0.5f;
    w[0] = -1;
    Buf bh = buf_of(k, FP32, h, D), bw = buf_of(k, FP32, w, V * D), hit = buf_new(k, FP32, 1), entropy = buf_new(k, FP32, 1);
    for (int target = 0; target < V; target++) {
        k->logprob_forward(BUF_NONE, entropy, hit, BUF_NONE, BUF_NONE, BUF_NONE, bh, bw, &target, 1, V, D);
        assert_true(first_of(hit) == (target == 1));
    }
    k->free(bh), k->free(bw), k->free(hit), k->free(entropy);
}

static void backward_case(Shape s, DType t, int with_dw, int every) {
    if (!case_taken()) return;
    Twin y = twin_new(s, t, 0.3f);
    int64_t rd = (int64_t)s.R * s.D, vd = (int64_t)s.V * s.D;
    double *dh = doubles(rd), *dw = doubles(vd);
    float *dlogp = fill_normal(s.R, 1, FP32, 3), *dw0 = fill_normal(vd, 0.1f, FP32, 4);
    for (int64_t i = 0; i < vd; i++) dw[i] = (double)dw0[i];
    for (int r = 0; r < s.R; r++) {
        if (r % every) dlogp[r] = 0;
        for (int v = 0; v < s.V && dlogp[r] != 0; v++) {
            double g = (double)dlogp[r] * ((v == y.targets[r]) - exp(y.logits[(int64_t)r * s.V + v] - y.lse[r]));
            for (int d = 0; d < s.D; d++) {
                dh[r * s.D + d] += g * (double)y.w[(int64_t)v * s.D + d];
                dw[(int64_t)v * s.D + d] += g * (double)y.h[r * s.D + d];
            }
        }
    }
    Buf h = buf_of(k, t, y.h, rd), w = buf_of(k, t, y.w, vd), lse = buf_new(k, FP32, s.R), g = buf_of(k, FP32, dlogp, s.R);
    k->logprob_forward(BUF_NONE, BUF_NONE, BUF_NONE, BUF_NONE, lse, BUF_NONE, h, w, y.targets, s.R, s.V, s.D);
    Buf bdh[2], bdw[2];
    for (int i = 0; i < 2; i++) {
        bdh[i] = buf_of(k, t, y.h, rd), bdw[i] = buf_of(k, FP32, dw0, vd); /* dh holds something: it must be overwritten */
        k->logprob_backward(bdh[i], with_dw ? bdw[i] : BUF_NONE, g, lse, h, w, y.targets, s.R, s.V, s.D);
        sync_ok();
    }
    /* bf16: the gradient of the logits is rounded as well, and its rounding does not average out over one large entry */
    double bound = t == FP32 ? 1e-10 : 2e-5;
    if (s.V > 1) { /* with one token every gradient is zero */
        compare_nmse(k, "dh", bdh[0], dh, rd, bound);
        if (with_dw) compare_nmse(k, "dw", bdw[0], dw, vd, bound);
    }
    float *got_dh = buf_read(k, bdh[0], rd);
    for (int64_t i = 0; i < rd && every > 1; i++) {
        if (i / s.D % every == 0) continue;
        assert_true(got_dh[i] == 0);
    }
    free(got_dh);
    compare_bits(k, "dh", bdh[0], bdh[1], rd);
    compare_bits(k, "dw", bdw[0], bdw[1], vd);
    if (!with_dw) {
        float *got = buf_read(k, bdw[0], vd);
        assert_memory_equal(got, dw0, (size_t)vd * sizeof *got);
        free(got);
    }
    for (int i = 0; i < 2; i++) k->free(bdh[i]), k->free(bdw[i]);
    k->free(h), k->free(w), k->free(lse), k->free(g);
    free(dh), free(dw), free(dlogp), free(dw0);
    twin_free(&y);
}

static void test_backward(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) FOR_EACH_DTYPE(t) {
            backward_case(shapes[i], t, 1, 1);
            backward_case(shapes[i], t, i & 1, 3);
        }
    backward_case((Shape){ 5, 33, 7 }, FP32, 1, 1000); /* one row left of five */
}

/* Slices of a vocabulary: what each says of its own logits, and gradients by the log-sum of all, which add up to those of the whole. */
static void slices_case(Shape s, DType t, int slices) {
    if (!case_taken()) return;
    Twin y = twin_new(s, t, 0.3f);
    int each = (s.V + slices - 1) / slices;
    int64_t rd = (int64_t)s.R * s.D;
    double *want = doubles(s.R), *dh = doubles(rd), *have = doubles(rd);
    float *dlogp = fill_normal(s.R, 1, FP32, 3), *lses = malloc((size_t)s.R * sizeof *lses);
    int *targets = malloc((size_t)s.R * sizeof *targets);
    assert_non_null(lses), assert_non_null(targets);
    for (int r = 0; r < s.R; r++) {
        lses[r] = (float)y.lse[r];
        for (int v = 0; v < s.V; v++)
            for (int d = 0; d < s.D; d++)
                dh[r * s.D + d] += (double)dlogp[r] * ((v == y.targets[r]) - exp(y.logits[(int64_t)r * s.V + v] - y.lse[r])) *
                                   (double)y.w[(int64_t)v * s.D + d];
    }
    Buf h = buf_of(k, t, y.h, rd), w = buf_of(k, t, y.w, (int64_t)s.V * s.D), g = buf_of(k, FP32, dlogp, s.R);
    Buf whole_lse = buf_of(k, FP32, lses, s.R), logp = buf_new(k, FP32, s.R), hit = buf_new(k, FP32, s.R), lse = buf_new(k, FP32, s.R),
        largest = buf_new(k, FP32, s.R), part = buf_new(k, t, rd);
    double size = 4e-6 * (1 + 0.3 * sqrt(s.D) * 5);
    for (int first = 0; first < s.V; first += each) {
        int V = s.V - first < each ? s.V - first : each;
        Buf slice = buf_at(w, (int64_t)first * s.D);
        for (int r = 0; r < s.R; r++) targets[r] = y.targets[r] - first;
        k->logprob_forward(logp, BUF_NONE, hit, BUF_NONE, lse, largest, h, slice, targets, s.R, V, s.D);
        k->logprob_backward(part, BUF_NONE, g, whole_lse, h, slice, targets, s.R, V, s.D);
        sync_ok();
        float *got = buf_read(k, logp, s.R), *hits = buf_read(k, hit, s.R), *back = buf_read(k, part, rd);
        for (int r = 0; r < s.R; r++) {
            const double *l = y.logits + (int64_t)r * s.V + first;
            double most = -INFINITY, sum = 0;
            int argmax = 0, here = targets[r] >= 0 && targets[r] < V;
            for (int v = 0; v < V; v++)
                if (l[v] > most) most = l[v], argmax = v;
            for (int v = 0; v < V; v++) sum += exp(l[v] - most);
            want[r] = most + log(sum);
            if (here) assert_true(fabs((double)got[r] - (l[targets[r]] - want[r])) <= size);
            else assert_true(got[r] == -INFINITY);
            assert_true(hits[r] == (here && targets[r] == argmax));
        }
        for (int64_t i = 0; i < rd; i++) have[i] += (double)back[i];
        close_each("lse of a slice", lse, want, s.R, size);
        free(got), free(hits), free(back);
        k->weights_changed(slice, (int64_t)V * s.D);
    }
    double error = 0, all = 0;
    for (int64_t i = 0; i < rd; i++) error += (have[i] - dh[i]) * (have[i] - dh[i]), all += dh[i] * dh[i];
    assert_true(error <= all * (t == FP32 ? 1e-10 : 1e-4));
    const Buf bufs[] = { h, w, g, whole_lse, logp, hit, lse, largest, part };
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) k->free(bufs[i]);
    free(want), free(dh), free(have), free(dlogp), free(lses), free(targets);
    twin_free(&y);
}

static void test_slices(void **state) {
    (void)state;
    FOR_EACH_DTYPE(t) {
        slices_case((Shape){ 37, 256, 19 }, t, 2);
        slices_case((Shape){ 20, 257, 33 }, t, 4);
        slices_case((Shape){ 33, 1028, 24 }, t, 3);
    }
}

static double objective(Buf h, Buf w, const int *targets, const float *c, Shape s) {
    Buf logp = buf_new(k, FP32, s.R);
    k->weights_changed(w, (int64_t)s.V * s.D);
    k->logprob_forward(logp, BUF_NONE, BUF_NONE, BUF_NONE, BUF_NONE, BUF_NONE, h, w, targets, s.R, s.V, s.D);
    float *x = buf_read(k, logp, s.R);
    double sum = 0;
    for (int r = 0; r < s.R; r++) sum += (double)x[r] * (double)c[r];
    k->free(logp);
    free(x);
    return sum;
}

static void test_finite_differences(void **state) {
    (void)state;
    Shape s = { 6, 29, 11 };
    Twin y = twin_new(s, FP32, 0.5f);
    float *c = fill_normal(s.R, 1, FP32, 3);
    Buf bufs[] = { buf_of(k, FP32, y.h, s.R * s.D), buf_of(k, FP32, y.w, s.V * s.D) }, g = buf_of(k, FP32, c, s.R),
        lse = buf_new(k, FP32, s.R);
    Buf grads[] = { buf_new(k, FP32, s.R * s.D), buf_new(k, FP32, s.V * s.D) };
    int sizes[] = { s.R * s.D, s.V * s.D };
    k->logprob_forward(BUF_NONE, BUF_NONE, BUF_NONE, BUF_NONE, lse, BUF_NONE, bufs[0], bufs[1], y.targets, s.R, s.V, s.D);
    k->logprob_backward(grads[0], grads[1], g, lse, bufs[0], bufs[1], y.targets, s.R, s.V, s.D);
    for (int which = 0; which < 2; which++) {
        float *gradient = buf_read(k, grads[which], sizes[which]), *value = which ? y.w : y.h;
        for (int i = 0; i < sizes[which]; i++) {
            if (!case_taken()) continue;
            Buf at = buf_at(bufs[which], i);
            float step = 1.0f / 64, more = value[i] + step, less = value[i] - step;
            k->upload(at, &more, 1);
            double up = objective(bufs[0], bufs[1], y.targets, c, s);
            k->upload(at, &less, 1);
            double down = objective(bufs[0], bufs[1], y.targets, c, s);
            k->upload(at, &value[i], 1);
            double want = (up - down) / (2 * (double)step), got = gradient[i];
            if (fabs(got - want) > 1e-3) fail_msg("operand %d, element %d: gradient %g, difference %g", which, i, got, want);
        }
        free(gradient);
    }
    for (int i = 0; i < 2; i++) k->free(bufs[i]), k->free(grads[i]);
    k->free(g), k->free(lse);
    free(c);
    twin_free(&y);
}

static void test_logits_and_probe(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) FOR_EACH_DTYPE(t) {
            Shape s = shapes[i];
            if ((int64_t)s.R * s.V > 100000 || !case_taken()) continue;
            Twin y = twin_new(s, t, 0.3f);
            Buf h = buf_of(k, t, y.h, (int64_t)s.R * s.D), w = buf_of(k, t, y.w, (int64_t)s.V * s.D),
                l = buf_new(k, FP32, (int64_t)s.R * s.V);
            k->logits(l, h, w, s.R, s.V, s.D);
            compare_nmse(k, "logits", l, y.logits, (int64_t)s.R * s.V, NMSE_FP32);
            int ids[3] = { s.V - 1, 0, s.V / 2 };
            Buf p = buf_new(k, FP32, (int64_t)s.R * 3);
            double *want = doubles((int64_t)s.R * 3);
            for (int r = 0; r < s.R; r++)
                for (int j = 0; j < 3; j++) want[r * 3 + j] = exp(y.logits[(int64_t)r * s.V + ids[j]] - y.lse[r]);
            k->probe(p, l, ids, 3, s.R, s.V);
            sync_ok();
            compare_nmse(k, "probe", p, want, (int64_t)s.R * 3, 1e-11);
            k->free(h), k->free(w), k->free(l), k->free(p);
            free(want);
            twin_free(&y);
        }
}

int main(void) {
#ifdef WITH_SIMT
    cuda_logprob_chunk_bytes = CHUNK_BYTES;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_logits_and_probe),
    };
    return ISA_GROUPS_RUN("logprob", tests);
}

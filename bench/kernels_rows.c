/* kernels_rows.c - ladders of what works row by row or element by element: norms, activations, rope, AdamW. All of them live by bandwidth:
 * a rung's share is that of the memory roof, above 100 % where the operands stay in the caches, as they do in the engine. */
#include "bench/kernels.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Operands (T, D) unless said otherwise; `wide` are the naive loop's, in fp32. */
typedef struct Rows {
    const Kernels *k;
    int T, D;
    DType dtype;
    Buf x, dy, w, y, rstd, mean, double_x, dw; /* double_x (T, 2 D); w (D), dw (D) fp32 */
    Buf parameters, master, m, v, g;           /* AdamW: T * D of each */
    float *naive_m, *naive_v;
    int *positions;
} Rows;

static const float eps = 1e-5f;
static const AdamW adamw = {
    .lr = 1e-3f, .eps = 1e-8f, .weight_decay = 0.01f, .beta1 = 0.9, .beta2 = 0.999, .gradient_scale = 1, .step = 1
};

static float *at(Buf b, int64_t i) { return (float *)b.at + i; }

static void run_rmsnorm(void *of) {
    Rows *r = of;
    r->k->rmsnorm_forward(r->y, r->rstd, r->x, r->w, r->T, r->D, eps);
}
static void run_rmsnorm_naive(void *of) {
    Rows *r = of;
    for (int t = 0; t < r->T; t++) {
        float *x = at(r->x, (int64_t)t * r->D), *y = at(r->y, (int64_t)t * r->D), *w = at(r->w, 0), square = 0;
        for (int i = 0; i < r->D; i++) square += x[i] * x[i];
        float rstd = 1 / sqrtf(square / (float)r->D + eps);
        for (int i = 0; i < r->D; i++) y[i] = x[i] * rstd * w[i];
        *at(r->rstd, t) = rstd;
    }
}

/* Gradients are added to what is there; the sums of many calls stay finite, and the first one is compared. */
static void run_rmsnorm_backward(void *of) {
    Rows *r = of;
    r->k->rmsnorm_backward(r->y, r->dw, r->dy, r->x, r->w, r->rstd, r->T, r->D);
}
static void run_rmsnorm_backward_naive(void *of) {
    Rows *r = of;
    for (int t = 0; t < r->T; t++) {
        int64_t row = (int64_t)t * r->D;
        float *x = at(r->x, row), *dx = at(r->y, row), *dy = at(r->dy, row), *w = at(r->w, 0), *dw = at(r->dw, 0), rstd = *at(r->rstd, t),
              sum = 0;
        for (int i = 0; i < r->D; i++) sum += dy[i] * w[i] * x[i];
        sum *= rstd * rstd / (float)r->D;
        for (int i = 0; i < r->D; i++) {
            dx[i] += rstd * (dy[i] * w[i] - x[i] * sum);
            dw[i] += dy[i] * x[i] * rstd;
        }
    }
}

static void run_layernorm(void *of) {
    Rows *r = of;
    r->k->layernorm_forward(r->y, r->mean, r->rstd, r->x, r->w, r->w, r->T, r->D, eps);
}
static void run_layernorm_naive(void *of) {
    Rows *r = of;
    for (int t = 0; t < r->T; t++) {
        float *x = at(r->x, (int64_t)t * r->D), *y = at(r->y, (int64_t)t * r->D), *w = at(r->w, 0), mean = 0, square = 0;
        for (int i = 0; i < r->D; i++) mean += x[i];
        mean /= (float)r->D;
        for (int i = 0; i < r->D; i++) square += (x[i] - mean) * (x[i] - mean);
        float rstd = 1 / sqrtf(square / (float)r->D + eps);
        for (int i = 0; i < r->D; i++) y[i] = (x[i] - mean) * rstd * w[i] + w[i];
    }
}

static void run_swiglu(void *of) {
    Rows *r = of;
    r->k->swiglu_forward(r->y, r->double_x, r->T, r->D);
}
static void run_swiglu_naive(void *of) {
    Rows *r = of;
    for (int t = 0; t < r->T; t++)
        for (int i = 0; i < r->D; i++) {
            float gate = *at(r->double_x, (int64_t)t * 2 * r->D + i), up = *at(r->double_x, (int64_t)t * 2 * r->D + r->D + i);
            *at(r->y, (int64_t)t * r->D + i) = gate / (1 + expf(-gate)) * up;
        }
}

static void run_quick_gelu(void *of) {
    Rows *r = of;
    r->k->activation_forward(r->y, r->x, QUICK_GELU, (int64_t)r->T * r->D);
}
static void run_quick_gelu_naive(void *of) {
    Rows *r = of;
    for (int64_t i = 0; i < (int64_t)r->T * r->D; i++) *at(r->y, i) = *at(r->x, i) / (1 + expf(-1.702f * *at(r->x, i)));
}

enum { ROPE_HEAD = 64 };
static void run_rope(void *of) {
    Rows *r = of;
    float frequencies[ROPE_HEAD / 2];
    rope_frequencies(frequencies, ROPE_HEAD, 10000);
    r->k->copy(r->y, r->x, (int64_t)r->T * r->D);
    r->k->rope(r->y, r->D, r->positions, r->T, r->D / ROPE_HEAD, ROPE_HEAD, frequencies, 1);
}
static void run_rope_naive(void *of) {
    Rows *r = of;
    for (int t = 0; t < r->T; t++)
        for (int i = 0; i < r->D / 2; i++) {
            int64_t left = (int64_t)t * r->D + i / (ROPE_HEAD / 2) * ROPE_HEAD + i % (ROPE_HEAD / 2), right = left + ROPE_HEAD / 2;
            float angle = (float)r->positions[t] * powf(10000, -2.0f * (float)(i % (ROPE_HEAD / 2)) / ROPE_HEAD), c = cosf(angle),
                  s = sinf(angle);
            *at(r->y, left) = *at(r->x, left) * c - *at(r->x, right) * s;
            *at(r->y, right) = *at(r->x, right) * c + *at(r->x, left) * s;
        }
}

static void run_adamw(void *of) {
    Rows *r = of;
    r->k->adamw(r->parameters, r->master, r->m, r->v, r->g, (int64_t)r->T * r->D, &adamw);
}
static void run_adamw_naive(void *of) {
    Rows *r = of;
    for (int64_t i = 0; i < (int64_t)r->T * r->D; i++) {
        float g = *at(r->g, i), *p = at(r->parameters, i), *m = &r->naive_m[i], *v = &r->naive_v[i];
        *m = 0.9f * *m + 0.1f * g;
        *v = 0.999f * *v + 0.001f * g * g;
        *p -= adamw.lr * (*m / 0.1f / (sqrtf(*v / 0.001f) + adamw.eps) + adamw.weight_decay * *p);
    }
}

/* Traffic is counted in elements of the storage type and in fp32 numbers, per element of (T, D). */
typedef struct Operation {
    const char *kernel;
    void (*naive)(void *), (*ours)(void *);
    size_t result; /* which buffer of Rows */
    double elements, floats;
} Operation;
static const Operation operations[] = {
    { "rmsnorm_forward", run_rmsnorm_naive, run_rmsnorm, offsetof(Rows, y), 2, 0 },
    { "rmsnorm_backward", run_rmsnorm_backward_naive, run_rmsnorm_backward, offsetof(Rows, y), 4, 0 },
    { "layernorm_forward", run_layernorm_naive, run_layernorm, offsetof(Rows, y), 2, 0 },
    { "swiglu_forward", run_swiglu_naive, run_swiglu, offsetof(Rows, y), 3, 0 },
    { "activation_forward", run_quick_gelu_naive, run_quick_gelu, offsetof(Rows, y), 2, 0 },
    { "rope", run_rope_naive, run_rope, offsetof(Rows, y), 4, 0 },
    { "adamw", run_adamw_naive, run_adamw, offsetof(Rows, parameters), 0, 7 },
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static int rows_fill(Rows *r, Bench *b, Error *e) {
    const Kernels *k = r->k;
    int64_t n = (int64_t)r->T * r->D;
    if (bench_filled(b, &r->x, r->dtype, n, 1, e) || bench_filled(b, &r->dy, r->dtype, n, 1, e) ||
        bench_filled(b, &r->w, r->dtype, r->D, 1, e) || bench_filled(b, &r->double_x, r->dtype, 2 * n, 4, e) ||
        bench_filled(b, &r->g, FP32, n, 1, e) || k->alloc(&r->y, r->dtype, n, "rows", e) || k->alloc(&r->rstd, FP32, r->T, "rows", e) ||
        k->alloc(&r->mean, FP32, r->T, "rows", e) || k->alloc(&r->dw, FP32, r->D, "rows", e) || k->alloc(&r->m, FP32, n, "rows", e) ||
        k->alloc(&r->v, FP32, n, "rows", e) || k->alloc(&r->parameters, r->dtype, n, "rows", e) ||
        (r->dtype == BF16 && k->alloc(&r->master, FP32, n, "rows", e)))
        return -1;
    r->naive_m = mem_new((size_t)n, sizeof(float), "rows", e);
    r->naive_v = mem_new((size_t)n, sizeof(float), "rows", e);
    r->positions = mem_new((size_t)r->T, sizeof(int), "rows", e);
    if (!r->naive_m || !r->naive_v || !r->positions) return -1;
    for (int t = 0; t < r->T; t++) r->positions[t] = t;
    run_rmsnorm(r); /* its backward wants rstd */
    return 0;
}

static void rows_free(Rows *r) {
    Buf all[] = { r->x, r->dy, r->w, r->y, r->rstd, r->mean, r->double_x, r->dw, r->parameters, r->master, r->m, r->v, r->g };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) r->k->free(all[i]);
    free(r->naive_m), free(r->naive_v), free(r->positions);
}

static int rows_run(Bench *b, const Operation *o, int T, int D, DType t, Error *e) {
    Rows r = { .k = bench_table(b), .T = T, .D = D, .dtype = t };
    BenchLadder l = { .kernel = o->kernel, .dtype = t, .of = &r, .compared = (int64_t)T * D, .bound = 1e-9 };
    double n = (double)T * D;
    l.bytes = n * (o->elements * (double)dtype_size(t) + 4 * o->floats);
    if (o->floats > 0 && t == BF16) l.bytes += 2 * n; /* the parameters beside their masters */
    l.flops = 10 * n;                                 /* nominal: these do not live by arithmetic */
    snprintf(l.shape, sizeof l.shape, "T%d D%d", T, D);
    int bad = rows_fill(&r, b, e);
    if (t == FP32) l.rungs[l.rungs_n++] = (BenchRung){ "naive", o->naive, 1 }; /* the naive loops know fp32 only */
    l.rungs[l.rungs_n++] = (BenchRung){ "rlaifv", o->ours, 1 };
    memcpy(&l.result, (const char *)&r + o->result, sizeof l.result);
    if (!bad) bad = bench_ladder(b, &l, e);
    rows_free(&r);
    return bad;
}

int bench_rows(Bench *b, Error *e) {
    static const int dims[][2] = { { 20, 512 }, { 588, 512 }, { 4096, 2048 } };
    for (DType t = FP32; t <= BF16; t++)
        for (int o = 0; o < OPERATIONS; o++)
            for (size_t i = 0; i < sizeof dims / sizeof *dims && bench_wants(b, operations[o].kernel); i++)
                if (rows_run(b, &operations[o], dims[i][0], dims[i][1], t, e)) return -1;
    return 0;
}

/* kernels_vocabulary.c - ladders of what works on the vocabulary: log-probabilities forward and backward, and sampling. */
#include "bench/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BEST = 6 }; /* tokens a row, as 3 beams ask for */

typedef struct Vocabulary {
    const Kernels *k;
    int R, V, D;
    DType dtype;
    Buf h, w, logp, lse, dlogp, dh, dw, logits, narrow;
    int *targets;
    unsigned char *allowed;
    SampleRow *rows;
    int *ids;
    float *sort;
} Vocabulary;

static void run_logprob_forward(void *of) {
    Vocabulary *v = of;
    v->k->logprob_forward(v->logp, BUF_NONE, BUF_NONE, BUF_NONE, v->lse, BUF_NONE, v->h, v->w, v->targets, v->R, v->V, v->D);
}

static void run_logprob_backward(void *of) {
    Vocabulary *v = of;
    v->k->logprob_backward(v->dh, v->dw, v->dlogp, v->lse, v->h, v->w, v->targets, v->R, v->V, v->D);
}

/* The operation spelled out: all logits in memory, then a softmax by the C library, row after row. */
static void run_logprob_forward_spelled(void *of) {
    Vocabulary *v = of;
    v->k->logits(v->logits, v->h, v->w, v->R, v->V, v->D);
    for (int r = 0; r < v->R; r++) {
        const float *l = (const float *)v->logits.at + (int64_t)r * v->V;
        double sum = 0;
        float largest = l[0];
        for (int i = 1; i < v->V; i++) largest = fmaxf(largest, l[i]);
        for (int i = 0; i < v->V; i++) sum += exp((double)l[i] - (double)largest);
        ((float *)v->lse.at)[r] = (float)((double)largest + log(sum));
        ((float *)v->logp.at)[r] = (float)((double)l[v->targets[r]] - (double)largest - log(sum));
    }
}

/* Gradient by its formula on all logits, then two products. */
static void run_logprob_backward_spelled(void *of) {
    Vocabulary *v = of;
    v->k->logits(v->logits, v->h, v->w, v->R, v->V, v->D);
    for (int r = 0; r < v->R; r++) {
        float *l = (float *)v->logits.at + (int64_t)r * v->V, g = ((const float *)v->dlogp.at)[r], lse = ((const float *)v->lse.at)[r];
        for (int i = 0; i < v->V; i++) l[i] = g * ((float)(i == v->targets[r]) - expf(l[i] - lse));
    }
    Buf dl = v->logits;
    if (v->dtype == BF16) {
        dl = v->narrow;
        v->k->copy(dl, v->logits, (int64_t)v->R * v->V);
    }
    v->k->linear_backward_input(v->dh, dl, v->w, v->R, v->V, v->D, 0);
    v->k->linear_backward_weight(v->dw, BUF_NONE, dl, v->h, v->R, v->V, v->D);
}

static void run_sample(void *of) {
    Vocabulary *v = of;
    v->k->sample(v->ids, v->logp.at, v->logits, v->allowed, v->rows, v->R, v->V);
}

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* What sampling costs by sorting the vocabulary. It computes the log-probabilities of the tokens that run_sample drew. */
static void run_sample_sorting(void *of) {
    Vocabulary *v = of;
    run_sample(v);
    for (int r = 0; r < v->R; r++) {
        const float *l = (const float *)v->logits.at + (int64_t)r * v->V;
        memcpy(v->sort, l, (size_t)v->V * sizeof *v->sort);
        qsort(v->sort, (size_t)v->V, sizeof *v->sort, descending);
        double sum = 0;
        for (int i = 0; i < v->V; i++) sum += exp((double)v->sort[i] - (double)v->sort[0]);
        ((float *)v->logp.at)[r] = (float)((double)l[v->ids[r]] - (double)v->sort[0] - log(sum));
    }
}

static void run_best(void *of) {
    Vocabulary *v = of;
    v->k->best(v->ids, v->logp.at, v->logits, v->allowed, BEST, v->R, v->V);
}

/* Log-probabilities of the most likely tokens, by sorting the vocabulary. */
static void run_best_sorting(void *of) {
    Vocabulary *v = of;
    for (int r = 0; r < v->R; r++) {
        memcpy(v->sort, (const float *)v->logits.at + (int64_t)r * v->V, (size_t)v->V * sizeof *v->sort);
        qsort(v->sort, (size_t)v->V, sizeof *v->sort, descending);
        double sum = 0;
        for (int i = 0; i < v->V; i++) sum += exp((double)v->sort[i] - (double)v->sort[0]);
        for (int j = 0; j < BEST; j++) ((float *)v->logp.at)[r * BEST + j] = (float)((double)v->sort[j] - (double)v->sort[0] - log(sum));
    }
}

static void vocabulary_free(Vocabulary *v) {
    Buf bufs[] = { v->h, v->w, v->logp, v->lse, v->dlogp, v->dh, v->dw, v->logits, v->narrow };
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) v->k->free(bufs[i]);
    free(v->targets), free(v->allowed), free(v->rows), free(v->ids), free(v->sort);
}

static int vocabulary_new(Vocabulary *v, Bench *b, Error *e) {
    int64_t rd = (int64_t)v->R * v->D, vd = (int64_t)v->V * v->D;
    size_t rows = (size_t)v->R;
    if (bench_filled(b, &v->h, v->dtype, rd, 0.5f, e) || bench_filled(b, &v->w, v->dtype, vd, 0.5f, e) ||
        bench_filled(b, &v->dlogp, FP32, v->R, 1, e) || v->k->alloc(&v->logp, FP32, (int64_t)v->R * BEST, "benchmark", e) ||
        v->k->alloc(&v->lse, FP32, v->R, "benchmark", e) || v->k->alloc(&v->dh, v->dtype, rd, "benchmark", e) ||
        v->k->alloc(&v->dw, FP32, vd, "benchmark", e) || bench_filled(b, &v->logits, FP32, (int64_t)v->R * v->V, 6, e) ||
        v->k->alloc(&v->narrow, BF16, (int64_t)v->R * v->V, "benchmark", e))
        return -1;
    v->targets = mem_new(rows, sizeof *v->targets, "benchmark", e);
    v->allowed = mem_new((size_t)v->V, 1, "benchmark", e);
    v->rows = mem_new(rows, sizeof *v->rows, "benchmark", e);
    v->ids = mem_new(rows * BEST, sizeof *v->ids, "benchmark", e);
    v->sort = mem_new((size_t)v->V, sizeof *v->sort, "benchmark", e);
    if (!v->targets || !v->allowed || !v->rows || !v->ids || !v->sort) return -1;
    memset(v->allowed, 1, (size_t)v->V);
    for (int r = 0; r < v->R; r++) v->targets[r] = (int)((int64_t)r * 7919 % v->V);
    return 0;
}

static int logprob_ladders(Bench *b, DType t, Error *e) {
    Vocabulary v = { .k = bench_table(b), .R = 512, .V = 32000, .D = 512, .dtype = t };
    int bad = vocabulary_new(&v, b, e);
    double product = 2.0 * v.R * v.V * v.D, w = (double)v.V * v.D;
    if (!bad && bench_wants(b, "logprob_forward")) {
        BenchLadder l = {
            .kernel = "logprob_forward", .dtype = t, .flops = product, .bytes = (double)dtype_size(t) * w, .of = &v, .rungs_n = 2
        };
        l.rungs[0] = (BenchRung){ "spelled out", run_logprob_forward_spelled, 1 };
        l.rungs[1] = (BenchRung){ "rlaifv", run_logprob_forward, 1 };
        l.result = v.logp, l.compared = v.R, l.bound = 1e-10;
        snprintf(l.shape, sizeof l.shape, "R%d V%d D%d", v.R, v.V, v.D);
        bad = bench_ladder(b, &l, e);
    }
    if (!bad && bench_wants(b, "logprob_backward")) {
        BenchLadder l = { .kernel = "logprob_backward", .dtype = t, .flops = 3 * product, .of = &v, .rungs_n = 2 };
        l.bytes = (2 * (double)dtype_size(t) + 8) * w;
        l.rungs[0] = (BenchRung){ "spelled out", run_logprob_backward_spelled, 1 };
        l.rungs[1] = (BenchRung){ "rlaifv", run_logprob_backward, 1 };
        l.result = v.dh, l.compared = (int64_t)v.R * v.D, l.bound = t == FP32 ? 1e-10 : 1e-4;
        snprintf(l.shape, sizeof l.shape, "R%d V%d D%d", v.R, v.V, v.D);
        run_logprob_forward(&v); /* lse */
        bad = bench_ladder(b, &l, e);
    }
    vocabulary_free(&v);
    return bad;
}

static int sample_ladders(Bench *b, Error *e) {
    static const struct {
        float temperature, top_p;
        int top_k;
    } filters[] = { { 0.7f, 1, 0 }, { 0.7f, 0.95f, 0 }, { 0.7f, 1, 50 } };
    Vocabulary v = { .k = bench_table(b), .R = 20, .V = 32000, .D = 1, .dtype = FP32 };
    int bad = vocabulary_new(&v, b, e);
    for (size_t f = 0; f < sizeof filters / sizeof *filters && !bad; f++) {
        for (int r = 0; r < v.R; r++)
            v.rows[r] = (SampleRow){ filters[f].temperature, filters[f].top_p, filters[f].top_k, { 1, 2 }, { 0, (uint32_t)r, 0, 0 } };
        BenchLadder l = { .kernel = "sample", .dtype = FP32, .bytes = 4.0 * v.R * v.V, .of = &v, .rungs_n = 2 };
        l.rungs[0] = (BenchRung){ "sorting", run_sample_sorting, 1 };
        l.rungs[1] = (BenchRung){ "rlaifv", run_sample, 1 };
        l.result = v.logp, l.compared = v.R, l.bound = 1e-10;
        snprintf(l.shape, sizeof l.shape, "R%d V%d p%.2f k%d", v.R, v.V, (double)filters[f].top_p, filters[f].top_k);
        bad = bench_ladder(b, &l, e);
    }
    vocabulary_free(&v);
    return bad;
}

static int best_ladder(Bench *b, Error *e) {
    Vocabulary v = { .k = bench_table(b), .R = 60, .V = 32000, .D = 1, .dtype = FP32 };
    int bad = vocabulary_new(&v, b, e);
    BenchLadder l = { .kernel = "best", .dtype = FP32, .bytes = 4.0 * v.R * v.V, .of = &v, .rungs_n = 2 };
    l.rungs[0] = (BenchRung){ "sorting", run_best_sorting, 1 };
    l.rungs[1] = (BenchRung){ "rlaifv", run_best, 1 };
    l.result = v.logp, l.compared = (int64_t)v.R * BEST, l.bound = 1e-10;
    snprintf(l.shape, sizeof l.shape, "R%d V%d n%d", v.R, v.V, BEST);
    bad = bad || bench_ladder(b, &l, e);
    vocabulary_free(&v);
    return bad;
}

int bench_vocabulary(Bench *b, Error *e) {
    if (bench_wants(b, "logprob_forward") || bench_wants(b, "logprob_backward"))
        for (DType t = FP32; t <= BF16; t++)
            if (logprob_ladders(b, t, e)) return -1;
    if (bench_wants(b, "sample") && sample_ladders(b, e)) return -1;
    return bench_wants(b, "best") ? best_ladder(b, e) : 0;
}

/* kernels.c - see kernels.h. Times are the best of several batches of calls: on a shared machine the least disturbed one says most. */
#include "bench/kernels.h"

#include "bench/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct Bench {
    const Kernels *k;
    const char *name;
    FILE *table, *json;
    double read_rate, copy_rate, product_rate[2]; /* bytes and operations per second; by DType */
    int ladders;
};

typedef int (*BenchGroup)(Bench *b, Error *e);
static const BenchGroup groups[] = { bench_products, bench_vocabulary, bench_attention, bench_rows };

enum { BATCHES = 7 };
static const double batch_seconds = 0.03;

/* Seconds of one call. Slow calls (over a second) are timed once. */
static double seconds_of(void (*run)(void *), void *of) {
    double start = measure_now();
    run(of);
    double once = measure_now() - start, best = once;
    if (once > 1) return once;
    int calls = (int)(batch_seconds / (once + 1e-7)) + 1;
    for (int batch = 0; batch < BATCHES; batch++) {
        start = measure_now();
        for (int i = 0; i < calls; i++) run(of);
        double each = (measure_now() - start) / calls;
        if (each < best) best = each;
    }
    return best;
}

const Kernels *bench_table(const Bench *b) { return b->k; }

int bench_wants(Bench *b, const char *kernel) { return !b->name || strstr(kernel, b->name); }

int bench_filled(Bench *b, Buf *out, DType dtype, int64_t n, float scale, Error *e) {
    Buf wide;
    *out = BUF_NONE;
    if (b->k->alloc(&wide, FP32, n, "benchmark", e)) return -1;
    if (b->k->alloc(out, dtype, n, "benchmark", e)) return b->k->free(wide), -1;
    float *x = malloc((size_t)n * sizeof *x);
    if (!x) {
        b->k->free(wide), b->k->free(*out);
        *out = BUF_NONE;
        return error_what(e, "out of memory for a benchmark's numbers");
    }
    measure_fill(x, n, scale, 12345);
    b->k->upload(wide, x, n);
    b->k->copy(*out, wide, n);
    b->k->free(wide);
    free(x);
    return 0;
}

/* ---- roofs ---- */

typedef struct RoofMemory {
    char *from, *to;
    size_t bytes;
    uint64_t sum;
} RoofMemory;

static void roof_read(void *of) {
    RoofMemory *m = of;
    const uint64_t *x = (const uint64_t *)(const void *)m->from;
    size_t n = m->bytes / sizeof *x;
    uint64_t sum = 0;
#pragma omp parallel for simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += x[i];
    m->sum = sum;
}

static void roof_copy(void *of) {
    RoofMemory *m = of;
    size_t piece = 1 << 22;
#pragma omp parallel for
    for (size_t at = 0; at < m->bytes; at += piece) memcpy(m->to + at, m->from + at, m->bytes - at < piece ? m->bytes - at : piece);
}

typedef struct RoofProduct {
    const Kernels *k;
    Buf y, x, w;
    int M, N, K;
} RoofProduct;

static void roof_product(void *of) {
    RoofProduct *p = of;
    p->k->linear_forward(p->y, p->x, p->w, BUF_NONE, BUF_NONE, p->M, p->N, p->K);
}

static int roofs_measure(Bench *b, Error *e) {
    enum { BYTES = 256 << 20 };
    Buf from, to;
    if (b->k->alloc(&from, FP32, BYTES / 4, "memory roof", e)) return -1;
    if (b->k->alloc(&to, FP32, BYTES / 4, "memory roof", e)) return b->k->free(from), -1;
    memset(from.at, 1, BYTES);
    RoofMemory m = { from.at, to.at, BYTES, 0 };
    b->read_rate = BYTES / seconds_of(roof_read, &m);
    b->copy_rate = 2.0 * BYTES / seconds_of(roof_copy, &m);
    b->k->free(from), b->k->free(to);
    for (DType t = FP32; t <= BF16; t++) {
        RoofProduct p = { .k = b->k, .M = 768, .N = 1536, .K = 768 };
        int bad = bench_filled(b, &p.x, t, p.M * p.K, 1, e) || bench_filled(b, &p.w, t, p.N * p.K, 1, e) ||
                  b->k->alloc(&p.y, t, (int64_t)p.M * p.N, "product roof", e);
        if (!bad) b->product_rate[t] = 2.0 * p.M * p.N * p.K / seconds_of(roof_product, &p);
        b->k->free(p.x), b->k->free(p.w), b->k->free(p.y);
        if (bad) return -1;
    }
    return b->k->sync(e);
}

/* ---- ladders ---- */

/* The result in fp32, as the host sees it; NULL when there is no memory. */
static float *result_read(Bench *b, const BenchLadder *l, Error *e) {
    Buf wide;
    if (b->k->alloc(&wide, FP32, l->compared, "benchmark result", e)) return NULL;
    float *x = mem_new((size_t)l->compared, sizeof *x, "benchmark result", e);
    b->k->copy(wide, l->result, l->compared);
    if (x) b->k->download(x, wide, l->compared);
    b->k->free(wide);
    return x;
}

static void rung_print(Bench *b, const BenchLadder *l, const BenchRung *r, double seconds) {
    double flops = l->flops * r->part / seconds, bytes = l->bytes * r->part / seconds;
    double share = fmax(flops / b->product_rate[l->dtype], bytes / b->read_rate);
    const char *dtype = dtype_name(l->dtype);
    if (b->table)
        fprintf(b->table, "%-24s %-4s %-22s %-18s %12.1f us %9.1f GFLOP/s %8.1f GB/s %6.1f %%\n", l->kernel, dtype, l->shape, r->name,
            seconds / r->part * 1e6, flops * 1e-9, bytes * 1e-9, 100 * share);
    if (b->json)
        fprintf(b->json,
            "{\"kernel\": \"%s\", \"isa\": \"%s\", \"dtype\": \"%s\", \"shape\": \"%s\", \"rung\": \"%s\", \"seconds\": %.9g, "
            "\"flops_per_second\": "
            "%.6g, \"bytes_per_second\": %.6g, \"share\": %.4f}\n",
            l->kernel, b->k->isa, dtype, l->shape, r->name, seconds / r->part, flops, bytes, share);
}

int bench_ladder(Bench *b, const BenchLadder *l, Error *e) {
    float *want = NULL;
    int bad = 0;
    b->ladders++;
    for (int i = 0; i < l->rungs_n && !bad; i++) {
        b->k->zero(l->result, l->compared);
        l->rungs[i].run(l->of);
        if (b->k->sync(e)) {
            bad = 1;
            break;
        }
        float *got = result_read(b, l, e);
        bad = !got;
        if (got && want && !(measure_nmse(got, want, l->compared) <= l->bound)) {
            error_what(e, "a kernel computes something else than its naive form");
            error_where(e, "%s %s, rung %s", l->kernel, l->shape, l->rungs[i].name);
            error_found(e, "NMSE %.3g", measure_nmse(got, want, l->compared));
            error_expected(e, "at most %.3g", l->bound);
            bad = 1;
        }
        if (want) free(got);
        else want = got;
        if (!bad) rung_print(b, l, l->rungs + i, seconds_of(l->rungs[i].run, l->of));
        if (b->table) fflush(b->table);
    }
    free(want);
    return bad ? -1 : b->k->sync(e);
}

int bench_kernels(const char *name, const Kernels *k, FILE *table, FILE *json, Error *e) {
    Bench b = { .k = k, .name = name, .table = table, .json = json };
    if (roofs_measure(&b, e)) return -1;
    if (table)
        fprintf(table, "roofs (%s, %s): read %.1f GB/s, copy %.1f GB/s, products fp32 %.0f, bf16 %.0f GFLOP/s\n", k->name, k->isa,
            b.read_rate * 1e-9, b.copy_rate * 1e-9, b.product_rate[FP32] * 1e-9, b.product_rate[BF16] * 1e-9);
    if (json)
        fprintf(json, "{\"roofs\": {\"isa\": \"%s\", \"read\": %.6g, \"copy\": %.6g, \"fp32\": %.6g, \"bf16\": %.6g}}\n", k->isa,
            b.read_rate, b.copy_rate, b.product_rate[FP32], b.product_rate[BF16]);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (groups[i](&b, e)) return -1;
    if (b.ladders) return 0;
    error_what(e, "no kernel of that name is measured");
    error_found(e, "%s", name ? name : "");
    error_expected(e,
        "a part of linear_forward, linear_backward_input, linear_backward_weight, logprob_forward, logprob_backward, sample, best, "
        "attention_forward, "
        "attention_backward, rmsnorm_forward, rmsnorm_backward, layernorm_forward, swiglu_forward, activation_forward, rope or adamw");
    return -1;
}

/* kernels_products.c - ladders of the products: the naive loop, oneDNN on weights as they are stored, and the engine's own choice.
 *
 * Weights rotate through more memory than the caches hold, as in a model whose layers follow each other. */
#include "bench/kernels.h"
#include "kernels/dnnl_products.h"

#include <stdlib.h>
#include <string.h>

enum { ROTATE_BYTES = 96 << 20, ROTATE_MOST = 64, NAIVE_FLOPS = 20000000 };

typedef enum Way { FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT } Way;
static const char *const way_names[] = { "linear_forward", "linear_backward_input", "linear_backward_weight" };

/* x (M, K), dy (M, N), w (N, K); the result is (M, N), (M, K) or (N, K). */
typedef struct Case {
    const Kernels *k;
    Way way;
    int M, N, K, naive_rows;
    DType dtype;
    Buf x, dy, w[ROTATE_MOST], result;
    int weights, next;
    float *a, *b; /* the naive loop's operands */
} Case;

static Buf next_weight(Case *c) { return c->w[c->next = (c->next + 1) % c->weights]; }

static void run_ours(void *of) {
    Case *c = of;
    switch (c->way) {
    case FORWARD:
        c->k->linear_forward(c->result, c->x, next_weight(c), BUF_NONE, BUF_NONE, c->M, c->N, c->K);
        break;
    case BACKWARD_INPUT:
        c->k->linear_backward_input(c->result, c->dy, next_weight(c), c->M, c->N, c->K, 0);
        break;
    case BACKWARD_WEIGHT:
        c->k->zero(c->result, (int64_t)c->naive_rows * c->K); /* it accumulates; what is compared starts from zero */
        c->k->linear_backward_weight(c->result, BUF_NONE, c->dy, c->x, c->M, c->N, c->K);
    }
}

static void run_as_stored(void *of) {
    Case *c = of;
    product_run(&(Product){ .kind = PRODUCT_X_WT, .m = c->M, .n = c->N, .k = c->K, .c = c->result, .a = c->x, .b = next_weight(c) });
}

/* result (rows, columns) of sums over `inner`, for the first naive_rows rows */
static void run_naive(void *of) {
    Case *c = of;
    int columns = c->way == FORWARD ? c->N : c->K, inner = c->way == FORWARD ? c->K : c->way == BACKWARD_INPUT ? c->N : c->M;
    int64_t a_row = c->way == BACKWARD_WEIGHT ? 1 : inner, a_step = c->way == BACKWARD_WEIGHT ? c->N : 1;
    int64_t b_column = c->way == FORWARD ? inner : 1, b_step = c->way == FORWARD ? 1 : columns;
    float *y = malloc((size_t)c->naive_rows * (size_t)columns * sizeof *y);
    if (!y) return;
    for (int r = 0; r < c->naive_rows; r++)
        for (int n = 0; n < columns; n++) {
            float sum = 0;
            for (int i = 0; i < inner; i++) sum += c->a[r * a_row + i * a_step] * c->b[n * b_column + i * b_step];
            y[(int64_t)r * columns + n] = sum;
        }
    int64_t count = (int64_t)c->naive_rows * columns;
    Buf wide;
    if (!c->k->alloc(&wide, FP32, count, "naive result", NULL)) {
        c->k->upload(wide, y, count);
        c->k->copy(c->result, wide, count);
        c->k->free(wide);
    }
    free(y);
}

static float *wide_copy(const Kernels *k, Buf b, int64_t n, Error *e) {
    Buf wide;
    if (k->alloc(&wide, FP32, n, "naive operand", e)) return NULL;
    float *x = mem_new((size_t)n, sizeof *x, "naive operand", e);
    k->copy(wide, b, n);
    if (x) k->download(x, wide, n);
    k->free(wide);
    return x;
}

static void case_free(Case *c) {
    c->k->free(c->x), c->k->free(c->dy), c->k->free(c->result);
    for (int i = 0; i < c->weights; i++) c->k->free(c->w[i]);
    free(c->a), free(c->b);
}

/* Operands, of which each way needs two. All weights are equal, so that any of them has the naive result. */
static int case_fill(Case *c, Bench *b, Error *e) {
    int64_t mk = (int64_t)c->M * c->K, mn = (int64_t)c->M * c->N, nk = (int64_t)c->N * c->K;
    if (c->way != BACKWARD_INPUT && bench_filled(b, &c->x, c->dtype, mk, 1, e)) return -1;
    if (c->way != FORWARD && bench_filled(b, &c->dy, c->dtype, mn, 1, e)) return -1;
    int copies = (int)(ROTATE_BYTES / (nk * (int64_t)dtype_size(c->dtype))) + 1;
    if (copies > ROTATE_MOST) copies = ROTATE_MOST;
    for (int i = 0; c->way != BACKWARD_WEIGHT && i < copies; i++) {
        if (i == 0 ? bench_filled(b, &c->w[i], c->dtype, nk, 1, e) : c->k->alloc(&c->w[i], c->dtype, nk, "benchmark weights", e)) return -1;
        c->weights++;
        c->k->copy(c->w[i], c->w[0], nk);
    }
    int64_t result = c->way == FORWARD ? mn : c->way == BACKWARD_INPUT ? mk : nk;
    if (c->k->alloc(&c->result, c->way == BACKWARD_WEIGHT ? FP32 : c->dtype, result, "benchmark result", e)) return -1;
    c->a = c->way == FORWARD ? wide_copy(c->k, c->x, mk, e) : wide_copy(c->k, c->dy, mn, e);
    c->b = c->way == BACKWARD_WEIGHT ? wide_copy(c->k, c->x, mk, e) : wide_copy(c->k, c->w[0], nk, e);
    return c->a && c->b ? 0 : -1;
}

static int case_run(Bench *b, Way way, int M, int N, int K, DType t, Error *e) {
    const Kernels *k = bench_table(b);
    Case c = { .k = k, .way = way, .M = M, .N = N, .K = K, .dtype = t };
    int rows = way == BACKWARD_WEIGHT ? N : M, columns = way == FORWARD ? N : K;
    double flops = 2.0 * M * N * K, size = (double)dtype_size(t);
    c.naive_rows = (int)(rows * (NAIVE_FLOPS / flops));
    if (c.naive_rows > rows) c.naive_rows = rows;
    if (c.naive_rows < 1) c.naive_rows = 1;
    BenchLadder l = { .kernel = way_names[way], .dtype = t, .flops = flops, .of = &c, .rungs_n = 1 };
    /* weights and activations once; a gradient of weights is read and written */
    l.bytes = size * ((double)M * K + (double)M * N) + (way == BACKWARD_WEIGHT ? 8.0 : size) * N * K;
    l.compared = (int64_t)c.naive_rows * columns;
    l.bound = t == FP32 ? 1e-10 : 1e-5;
    l.rungs[0] = (BenchRung){ "naive", run_naive, (double)c.naive_rows / rows };
    if (way == FORWARD && (t == FP32 || k->native_bf16)) l.rungs[l.rungs_n++] = (BenchRung){ "oneDNN, as stored", run_as_stored, 1 };
    l.rungs[l.rungs_n++] = (BenchRung){ "rlaifv", run_ours, 1 };
    snprintf(l.shape, sizeof l.shape, "M%d N%d K%d", M, N, K);
    int bad = case_fill(&c, b, e);
    l.result = c.result;
    if (!bad) bad = bench_ladder(b, &l, e);
    case_free(&c);
    return bad;
}

int bench_products(Bench *b, Error *e) {
    /* Outputs and inputs of the products: decoder and lm_head of the peers' base model, its tower, the demo's decoder, a layer of
     * LLaVA-1.5-7B. */
    static const struct {
        int N, K, rows[7];
    } forward[] = { { 1536, 512, { 1, 4, 8, 16, 20, 32, 333 } }, { 512, 512, { 1, 4, 8, 16, 20, 32, 333 } },
        { 2752, 512, { 1, 4, 8, 16, 20, 32, 333 } }, { 512, 1376, { 1, 4, 8, 16, 20, 32, 333 } },
        { 32000, 512, { 1, 4, 8, 16, 20, 32, 256 } }, { 1152, 384, { 257 } }, { 1536, 384, { 257 } }, { 384, 1536, { 257 } },
        { 384, 128, { 20, 200 } }, { 4096, 4096, { 1, 20, 300 } } };
    static const int backward[][3] = { { 333, 1536, 512 }, { 333, 2752, 512 }, { 333, 512, 1376 }, { 256, 32000, 512 },
        { 257, 1536, 384 } };
    for (DType t = FP32; t <= BF16; t++) {
        for (size_t i = 0; i < sizeof forward / sizeof *forward && bench_wants(b, way_names[FORWARD]); i++)
            for (int r = 0; r < 7 && forward[i].rows[r]; r++)
                if (case_run(b, FORWARD, forward[i].rows[r], forward[i].N, forward[i].K, t, e)) return -1;
        for (Way way = BACKWARD_INPUT; way <= BACKWARD_WEIGHT; way++)
            for (size_t i = 0; i < sizeof backward / sizeof *backward && bench_wants(b, way_names[way]); i++)
                if (case_run(b, way, backward[i][0], backward[i][1], backward[i][2], t, e)) return -1;
    }
    return 0;
}

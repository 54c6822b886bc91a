/* kernels_attention.c - ladders of attention over a Forest: row by row from the definition, the engine's kernel on one segment at a time
 * (each leaf reads its trunk again), and the engine's kernel on the whole plan. The shapes are those of the jobs: prefill, a preference
 * pair, decoding, probes, the tower. */
#include "bench/kernels.h"

#include <math.h>
#include <stdlib.h>

enum { NAIVE_FLOPS = 100000000 };

/* Trunks with leaves below them. Decoding holds trunks and the leaves' first tokens in key/value memory; each leaf then has one row. */
typedef struct Shape {
    const char *name;
    int trunks, trunk, leaves, leaf, heads, kv_heads, E, causal, decode;
} Shape;
static const Shape shapes[] = {
    { "prefill 288", 1, 288, 0, 0, 8, 8, 64, 1, 0 },
    { "pair 288 + 2x150", 1, 288, 2, 150, 8, 8, 64, 1, 0 },
    { "decode 1 leaf", 1, 288, 1, 32, 8, 8, 64, 1, 1 },
    { "decode 20 leaves", 1, 288, 20, 32, 8, 8, 64, 1, 1 },
    { "decode 60 leaves", 1, 288, 60, 32, 8, 8, 64, 1, 1 },
    { "probes 257 + 60x24", 1, 257, 60, 24, 8, 8, 64, 1, 0 },
    { "tower 4x257", 4, 257, 0, 0, 6, 6, 64, 0, 0 },
    { "demo 32x(80 + 2x30)", 32, 80, 2, 30, 4, 4, 32, 1, 0 },
    { "grouped 600", 1, 600, 0, 0, 32, 8, 64, 1, 0 },
    { "7B pair 640 + 2x100", 1, 640, 2, 100, 8, 8, 128, 1, 0 },
};

typedef struct Case {
    const Kernels *k;
    AttentionPlan plan;
    AttentionSegment *segments;
    KeyRange *ranges;
    int T, slots, naive_segments; /* rows, key/value slots, segments the naive loop does */
    double naive_part;
    Buf q, kv, out, lse, dout, dq, dkv;
    float *q_wide, *kv_wide, *out_wide, *dout_wide, *row; /* the naive loop's */
} Case;

static int64_t q_width(const Case *c) { return (int64_t)c->plan.heads * c->plan.head_size; }
static int64_t kv_width(const Case *c) { return 2 * (int64_t)c->plan.kv_heads * c->plan.head_size; }
static Buf values_of(const Case *c, Buf kv) { return buf_at(kv, kv_width(c) / 2); }

static void run_forward(void *of) {
    Case *c = of;
    c->k->attention_forward(c->out, c->lse, c->q, c->kv, values_of(c, c->kv), q_width(c), kv_width(c), &c->plan);
}

static void run_forward_apart(void *of) {
    Case *c = of;
    for (int s = 0; s < c->plan.segments_n; s++) {
        AttentionPlan one = c->plan;
        one.segments += s;
        one.segments_n = 1;
        c->k->attention_forward(c->out, c->lse, c->q, c->kv, values_of(c, c->kv), q_width(c), kv_width(c), &one);
    }
}

static void run_backward(void *of) {
    Case *c = of;
    c->k->attention_backward(c->dq, c->dkv, values_of(c, c->dkv), c->dout, c->out, c->lse, c->q, c->kv, values_of(c, c->kv), q_width(c),
        kv_width(c), c->T, c->slots, &c->plan);
}

/* The slots that row i of a segment sees, in order, into `slots`; their number. */
static int slots_seen(const AttentionPlan *p, const AttentionSegment *s, int i, int *slots) {
    int n = 0, own = s->self_before + (p->causal ? i + 1 : s->q_count);
    for (int r = 0; r < s->range_count; r++)
        for (int j = 0; j < p->ranges[s->range_first + r].count; j++) slots[n++] = p->ranges[s->range_first + r].first + j;
    for (int j = 0; j < own; j++) slots[n++] = s->self_first + j;
    return n;
}

/* One row and head by the definition; its weights stay in `row`. */
static void naive_row(Case *c, int64_t row, int head, const int *slots, int n) {
    int E = c->plan.head_size;
    const float *q = c->q_wide + row * q_width(c) + head * E, *k = c->kv_wide + head / (c->plan.heads / c->plan.kv_heads) * E,
                *v = k + kv_width(c) / 2;
    float *y = c->out_wide + row * q_width(c) + head * E, top = -INFINITY, total = 0;
    for (int j = 0; j < n; j++) {
        float score = 0;
        for (int e = 0; e < E; e++) score += q[e] * k[slots[j] * kv_width(c) + e];
        c->row[j] = score * c->plan.scale;
        top = fmaxf(top, c->row[j]);
    }
    for (int j = 0; j < n; j++) total += c->row[j] = expf(c->row[j] - top);
    for (int e = 0; e < E; e++) y[e] = 0;
    for (int j = 0; j < n; j++) {
        c->row[j] /= total;
        for (int e = 0; e < E; e++) y[e] += c->row[j] * v[slots[j] * kv_width(c) + e];
    }
}

static void naive_each(Case *c, void (*row_run)(Case *c, int64_t row, int head, const int *slots, int n), Buf to, const float *result) {
    int *slots = malloc((size_t)c->slots * sizeof *slots), rows = 0;
    if (!slots) return;
    for (int s = 0; s < c->naive_segments; s++) {
        const AttentionSegment *a = &c->plan.segments[s];
        for (int i = 0; i < a->q_count; i++) {
            int n = slots_seen(&c->plan, a, i, slots);
            for (int h = 0; h < c->plan.heads; h++) row_run(c, a->q_first + i, h, slots, n);
        }
        rows += a->q_count;
    }
    free(slots);
    Buf wide;
    if (c->k->alloc(&wide, FP32, rows * q_width(c), "naive result", NULL)) return;
    c->k->upload(wide, result, rows * q_width(c));
    c->k->copy(to, wide, rows * q_width(c));
    c->k->free(wide);
}

static void run_forward_naive(void *of) {
    Case *c = of;
    naive_each(c, naive_row, c->out, c->out_wide);
}

/* dQ by its formula, and as much arithmetic for dK and dV, which nobody reads. */
static void naive_row_backward(Case *c, int64_t row, int head, const int *slots, int n) {
    int E = c->plan.head_size;
    int64_t at = row * q_width(c) + head * E, key = head / (c->plan.heads / c->plan.kv_heads) * E;
    naive_row(c, row, head, slots, n);
    float *dq = c->q_wide + c->T * q_width(c) + at, *dkv = c->kv_wide + c->slots * kv_width(c), delta = 0;
    const float *q = c->q_wide + at, *dout = c->dout_wide + at;
    for (int e = 0; e < E; e++) delta += c->out_wide[at + e] * dout[e], dq[e] = 0;
    for (int j = 0; j < n; j++) {
        int64_t slot = slots[j] * kv_width(c) + key, value = slot + kv_width(c) / 2;
        float dp = 0;
        for (int e = 0; e < E; e++) dp += dout[e] * c->kv_wide[value + e];
        float ds = c->row[j] * (dp - delta) * c->plan.scale;
        for (int e = 0; e < E; e++) {
            dq[e] += ds * c->kv_wide[slot + e];
            dkv[slot + e] += ds * q[e];
            dkv[value + e] += c->row[j] * dout[e];
        }
    }
}

static void run_backward_naive(void *of) {
    Case *c = of;
    naive_each(c, naive_row_backward, c->dq, c->q_wide + c->T * q_width(c));
}

/* Copies b, in fp32, to the start of an array with room for `room` numbers. */
static float *wide_copy(const Kernels *k, Buf b, int64_t n, int64_t room, Error *e) {
    Buf wide;
    if (k->alloc(&wide, FP32, n, "naive operand", e)) return NULL;
    float *x = mem_new((size_t)room, sizeof *x, "naive operand", e);
    k->copy(wide, b, n);
    if (x) k->download(x, wide, n);
    k->free(wide);
    return x;
}

/* Multiply-adds of one head, summed over what every row sees. */
static double plan_fill(Case *c, const Shape *s) {
    int n = 0;
    double pairs = 0;
    for (int t = 0; t < s->trunks; t++) {
        int first = c->slots;
        if (!s->decode) {
            c->segments[n++] = (AttentionSegment){ .q_first = c->T, .q_count = s->trunk, .self_first = first };
            c->T += s->trunk;
            pairs += s->causal ? s->trunk * (s->trunk + 1.0) / 2 : (double)s->trunk * s->trunk;
        }
        c->ranges[t] = (KeyRange){ first, s->trunk };
        c->slots += s->trunk;
        for (int l = 0; l < s->leaves; l++) {
            int rows = s->decode ? 1 : s->leaf;
            c->segments[n++] = (AttentionSegment){ c->T, rows, t, 1, c->slots, s->leaf - rows };
            c->T += rows;
            c->slots += s->leaf;
            pairs += (double)rows * s->trunk + (s->decode ? s->leaf : s->leaf * (s->leaf + 1.0) / 2);
        }
    }
    c->plan = (AttentionPlan){ c->segments, c->ranges, n, s->trunks, s->causal, s->heads, s->kv_heads, s->E, 1 / sqrtf((float)s->E) };
    return pairs;
}

static int case_fill(Case *c, Bench *b, DType t, Error *e) {
    int64_t q = c->T * q_width(c), kv = c->slots * kv_width(c);
    if (bench_filled(b, &c->q, t, q, 1, e) || bench_filled(b, &c->kv, t, kv, 1, e) || bench_filled(b, &c->dout, t, q, 1, e) ||
        c->k->alloc(&c->out, t, q, "attention", e) || c->k->alloc(&c->dq, t, q, "attention", e) ||
        c->k->alloc(&c->dkv, t, kv, "attention", e) || c->k->alloc(&c->lse, FP32, (int64_t)c->T * c->plan.heads, "attention", e))
        return -1;
    c->q_wide = wide_copy(c->k, c->q, q, 2 * q, e);
    c->kv_wide = wide_copy(c->k, c->kv, kv, 2 * kv, e);
    c->dout_wide = wide_copy(c->k, c->dout, q, q, e);
    c->out_wide = mem_new((size_t)q, sizeof(float), "naive result", e);
    c->row = mem_new((size_t)c->slots, sizeof(float), "naive scores", e);
    return c->q_wide && c->kv_wide && c->dout_wide && c->out_wide && c->row ? 0 : -1;
}

static void case_free(Case *c) {
    Buf all[] = { c->q, c->kv, c->dout, c->out, c->dq, c->dkv, c->lse };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) c->k->free(all[i]);
    free(c->q_wide), free(c->kv_wide), free(c->dout_wide), free(c->out_wide), free(c->row);
    free(c->segments), free(c->ranges);
}

static int case_run(Bench *b, const Shape *s, DType t, Error *e) {
    int forward = bench_wants(b, "attention_forward"), backward = bench_wants(b, "attention_backward") && !s->decode;
    if (!forward && !backward) return 0;
    Case c = { .k = bench_table(b) };
    c.segments = mem_new((size_t)(s->trunks * (1 + s->leaves)), sizeof *c.segments, "plan", e);
    c.ranges = mem_new((size_t)s->trunks, sizeof *c.ranges, "plan", e);
    if (!c.segments || !c.ranges) return case_free(&c), -1;
    double pairs = plan_fill(&c, s), flops = 4.0 * pairs * s->heads * s->E, size = (double)dtype_size(t);
    int rows = 0;
    double done = 0; /* scores of the segments the naive loop does: whole segments, at least one */
    while (c.naive_segments < c.plan.segments_n && (c.naive_segments == 0 || done / pairs * flops < NAIVE_FLOPS)) {
        const AttentionSegment *a = &c.segments[c.naive_segments++];
        double own = s->causal ? a->q_count * (a->self_before + (a->q_count + 1.0) / 2) : (double)a->q_count * a->q_count;
        done += own + (a->range_count ? (double)a->q_count * s->trunk : 0);
        rows += a->q_count;
    }
    BenchLadder l = { .kernel = "attention_forward", .dtype = t, .flops = flops, .of = &c, .rungs_n = 3, .compared = rows * q_width(&c) };
    l.bytes = size * (2.0 * c.T * (double)q_width(&c) + c.slots * (double)kv_width(&c));
    l.bound = t == FP32 ? 1e-10 : 3e-5;
    snprintf(l.shape, sizeof l.shape, "%s", s->name);
    int bad = case_fill(&c, b, t, e);
    l.rungs[0] = (BenchRung){ "naive", run_forward_naive, done / pairs };
    l.rungs[1] = (BenchRung){ "segments apart", run_forward_apart, 1 };
    l.rungs[2] = (BenchRung){ "rlaifv", run_forward, 1 };
    l.result = c.out;
    if (!bad && forward) bad = bench_ladder(b, &l, e);
    if (!bad && backward) {
        run_forward(&c);
        l.kernel = "attention_backward", l.result = c.dq, l.rungs_n = 2;
        l.flops *= 2.5, l.bytes *= 2;
        l.rungs[0] = (BenchRung){ "naive", run_backward_naive, done / pairs };
        l.rungs[1] = (BenchRung){ "rlaifv", run_backward, 1 };
        bad = bench_ladder(b, &l, e);
    }
    case_free(&c);
    return bad;
}

int bench_attention(Bench *b, Error *e) {
    for (DType t = FP32; t <= BF16; t++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            if (case_run(b, &shapes[i], t, e)) return -1;
    return 0;
}

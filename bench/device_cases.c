/* device_cases.c - the kernels and shapes of bench/device.c: LLaVA-1.5-7B (width 4096, 32 heads of 128, feed-forward 11008, tower 1024 with
 * heads of 64), the decoder of LLaVA-NeXT-34B (width 7168, 56 heads on 8), and the demo's (width 128). The emulator takes those marked
 * small, whose rows are few where the count per row does not depend on them.
 *
 * Bytes that must move: every operand that is read once, every result that is written once; where a result is added to what is there, both.
 */
#include "bench/device.h"

#include <math.h>

typedef const DeviceCase *C;
static double size(C c) { return (double)dtype_size(c->dtype); }
static double none(C c) { return (void)c, 0; }

/* ---- rows of n[0] x n[1] ---- */

static int64_t all(C c) { return (int64_t)c->n[0] * c->n[1]; }
static double elements(C c) { return (double)all(c); }

static int rows_open(Operands *o, Error *e) { /* x, y, w, b, mean, rstd, dy, dw, db */
    C c = o->c;
    DType t = c->dtype;
    int64_t n = all(c);
    int bad = operand_new(o, t, n, 1, e) || operand_new(o, t, n, 0, e) || operand_new(o, t, c->n[1], 1, e) ||
              operand_new(o, t, c->n[1], 1, e) || operand_new(o, FP32, c->n[0], 0, e) || operand_new(o, FP32, c->n[0], 0, e) ||
              operand_new(o, t, n, 1, e) || operand_new(o, FP32, c->n[1], 0, e) || operand_new(o, FP32, c->n[1], 0, e);
    if (!bad) o->k->layernorm_forward(o->b[1], o->b[4], o->b[5], o->b[0], o->b[2], o->b[3], c->n[0], c->n[1], 1e-5f);
    return bad ? -1 : 0;
}
static void rms_run(Operands *o) { o->k->rmsnorm_forward(o->b[1], o->b[5], o->b[0], o->b[2], o->c->n[0], o->c->n[1], 1e-5f); }
static void rms_back_run(Operands *o) {
    o->k->zero(o->b[1], all(o->c));
    o->k->rmsnorm_backward(o->b[1], o->b[7], o->b[6], o->b[0], o->b[2], o->b[5], o->c->n[0], o->c->n[1]);
}
static void layer_run(Operands *o) {
    o->k->layernorm_forward(o->b[1], o->b[4], o->b[5], o->b[0], o->b[2], o->b[3], o->c->n[0], o->c->n[1], 1e-5f);
}
static void layer_back_run(Operands *o) {
    o->k->zero(o->b[1], all(o->c));
    o->k->layernorm_backward(o->b[1], o->b[7], o->b[8], o->b[6], o->b[0], o->b[2], o->b[4], o->b[5], o->c->n[0], o->c->n[1]);
}
static double norm_bytes(C c) { return size(c) * (2 * elements(c) + c->n[1]) + 4.0 * c->n[0]; }
static double norm_back_bytes(C c) {
    return size(c) * (4 * elements(c) + c->n[1]) + 4.0 * c->n[0] + 8.0 * c->n[1];
} /* dx is read and written */

static int elements_open(Operands *o, Error *e) { /* x, y, a second of twice the width, its gradient */
    int64_t n = all(o->c);
    DType t = o->c->dtype;
    return operand_new(o, t, n, 1, e) || operand_new(o, t, n, 1, e) || operand_new(o, t, 2 * n, 1, e) || operand_new(o, t, 2 * n, 0, e) ? -1
                                                                                                                                        : 0;
}
static int ranks_open(Operands *o, Error *e) { /* runs, their sum */
    return operand_new(o, o->c->dtype, all(o->c), 1, e) || operand_new(o, o->c->dtype, o->c->n[1], 0, e) ? -1 : 0;
}
static void ranks_run(Operands *o) { o->k->sum_tree(o->b[1], o->b[0], o->c->n[0], o->c->n[1]); }
static int64_t one_run(C c) { return c->n[1]; }
static double ranks_bytes(C c) { return size(c) * (elements(c) + c->n[1]); }

static void gelu_run(Operands *o) { o->k->activation_forward(o->b[1], o->b[0], QUICK_GELU, all(o->c)); }
static void swiglu_run(Operands *o) { o->k->swiglu_forward(o->b[1], o->b[2], o->c->n[0], o->c->n[1]); }
static void swiglu_back_run(Operands *o) { o->k->swiglu_backward(o->b[3], o->b[0], o->b[2], o->c->n[0], o->c->n[1]); }
static double two_bytes(C c) { return size(c) * 2 * elements(c); }
static double three_bytes(C c) { return size(c) * 3 * elements(c); }
static double five_bytes(C c) { return size(c) * 5 * elements(c); }
static int64_t twice(C c) { return 2 * all(c); }

static int adamw_open(Operands *o, Error *e) { /* p, master, m, v, g */
    int64_t n = all(o->c);
    return operand_new(o, o->c->dtype, n, 1, e) || operand_new(o, FP32, n, 1, e) || operand_new(o, FP32, n, 0, e) ||
                   operand_new(o, FP32, n, 0, e) || operand_new(o, FP32, n, 1, e)
               ? -1
               : 0;
}
static void adamw_run(Operands *o) {
    static const AdamW a = { .lr = 1e-3f, .eps = 1e-8f, .weight_decay = .01f, .beta1 = .9, .beta2 = .999, .gradient_scale = 1, .step = 1 };
    o->k->adamw(o->b[0], o->c->dtype == BF16 ? o->b[1] : BUF_NONE, o->b[2], o->b[3], o->b[4], all(o->c), &a);
}
static double adamw_bytes(C c) { return elements(c) * (c->dtype == BF16 ? 8 + 16 + 4 + 2 : 8 + 16 + 4); }

/* ---- rope: n[0] rows, n[1] = heads * head size n[2] ---- */

enum { POSITIONS = 4096 };
static void rope_run(Operands *o) {
    C c = o->c;
    static int positions[POSITIONS];
    float frequencies[ROPE_HEAD_MOST / 2];
    for (int i = 0; i < c->n[0]; i++) positions[i] = i;
    rope_frequencies(frequencies, c->n[2], 1e4f);
    o->k->copy(o->b[1], o->b[0], all(c));
    o->k->rope(o->b[1], c->n[1], positions, c->n[0], c->n[1] / c->n[2], c->n[2], frequencies, 1);
}
static double rope_bytes(C c) { return size(c) * 2 * elements(c) + 4.0 * c->n[0]; } /* a copy gives it fresh rows: no kernel's */

/* ---- products: n = M, N, K ---- */

static int product_open(Operands *o, Error *e) { /* x, w, y, dy, dx, dw */
    C c = o->c;
    int64_t M = c->n[0], N = c->n[1], K = c->n[2];
    DType t = c->dtype;
    float scale = 1 / sqrtf((float)K);
    return operand_new(o, t, M * K, 1, e) || operand_new(o, t, N * K, scale, e) || operand_new(o, t, M * N, 0, e) ||
                   operand_new(o, t, M * N, 1, e) || operand_new(o, t, M * K, 0, e) || operand_new(o, FP32, N * K, 0, e)
               ? -1
               : 0;
}
static void product_run_forward(Operands *o) {
    o->k->linear_forward(o->b[2], o->b[0], o->b[1], BUF_NONE, BUF_NONE, o->c->n[0], o->c->n[1], o->c->n[2]);
}
static void product_run_input(Operands *o) {
    o->k->linear_backward_input(o->b[4], o->b[3], o->b[1], o->c->n[0], o->c->n[1], o->c->n[2], 0);
}
static void product_run_weight(Operands *o) {
    o->k->zero(o->b[5], (int64_t)o->c->n[1] * o->c->n[2]);
    o->k->linear_backward_weight(o->b[5], BUF_NONE, o->b[3], o->b[0], o->c->n[0], o->c->n[1], o->c->n[2]);
}
static double MN(C c) { return (double)c->n[0] * c->n[1]; }
static double MK(C c) { return (double)c->n[0] * c->n[2]; }
static double NK(C c) { return (double)c->n[1] * c->n[2]; }
static double product_flops(C c) { return 2 * MN(c) * c->n[2]; }
static double product_bytes(C c) { return size(c) * (MN(c) + MK(c) + NK(c)); }
static double product_weight_bytes(C c) { return size(c) * (MN(c) + MK(c)) + 8 * NK(c); } /* dw is read and written */
static int64_t product_y(C c) { return (int64_t)c->n[0] * c->n[1]; }
static int64_t product_dx(C c) { return (int64_t)c->n[0] * c->n[2]; }
static int64_t product_dw(C c) { return (int64_t)c->n[1] * c->n[2]; }

/* ---- the vocabulary: n = R, V, D ---- */

enum { TARGETS = 1024 };
static const int *targets_of(C c) {
    static int targets[TARGETS];
    for (int i = 0; i < c->n[0]; i++) targets[i] = (int)((int64_t)i * 7919 % c->n[1]);
    return targets;
}
static int vocabulary_open(Operands *o, Error *e) { /* h, w, logp, entropy, lse, dlogp, dh, dw */
    C c = o->c;
    int64_t R = c->n[0], V = c->n[1], D = c->n[2];
    DType t = c->dtype;
    int bad = operand_new(o, t, R * D, 1, e) || operand_new(o, t, V * D, 2 / sqrtf((float)D), e) || operand_new(o, FP32, R, 0, e) ||
              operand_new(o, FP32, R, 0, e) || operand_new(o, FP32, R, 0, e) || operand_new(o, FP32, R, 1, e) ||
              operand_new(o, t, R * D, 0, e) || operand_new(o, FP32, V * D, 0, e);
    if (!bad)
        o->k->logprob_forward(
            o->b[2], BUF_NONE, BUF_NONE, BUF_NONE, o->b[4], BUF_NONE, o->b[0], o->b[1], targets_of(c), c->n[0], c->n[1], c->n[2]);
    return bad ? -1 : 0;
}
static void logprob_run(Operands *o) {
    C c = o->c;
    o->k->logprob_forward(
        o->b[2], o->b[3], BUF_NONE, BUF_NONE, o->b[4], BUF_NONE, o->b[0], o->b[1], targets_of(c), c->n[0], c->n[1], c->n[2]);
}
static void logprob_back_run(Operands *o) {
    C c = o->c;
    o->k->logprob_backward(o->b[6], BUF_NONE, o->b[5], o->b[4], o->b[0], o->b[1], targets_of(c), c->n[0], c->n[1], c->n[2]);
}
static double logprob_bytes(C c) { return size(c) * (NK(c) + MK(c)) + 12.0 * c->n[0]; }
static double logprob_back_bytes(C c) { return size(c) * (2 * NK(c) + 2 * MK(c)) + 8.0 * c->n[0]; }
static double twice_flops(C c) { return 2 * product_flops(c); }
static int64_t scored(C c) { return c->n[0]; }

/* ---- the tower's patches: n = images, channels, side, patch, width ---- */

static int64_t grid(C c) { return c->n[2] / c->n[3]; }
static int64_t patches_rows(C c) { return c->n[0] * grid(c) * grid(c); }
static int64_t patches_width(C c) { return (int64_t)c->n[1] * c->n[3] * c->n[3]; }
static int64_t patches_out(C c) { return patches_rows(c) * c->n[4]; }

static int patches_open(Operands *o, Error *e) { /* pixels, w, patches, y */
    C c = o->c;
    DType t = c->dtype;
    int64_t K = patches_width(c), pixels = (int64_t)c->n[0] * c->n[1] * c->n[2] * c->n[2];
    return operand_new(o, FP32, pixels, 1, e) || operand_new(o, t, c->n[4] * K, 1 / sqrtf((float)K), e) ||
                   operand_new(o, t, patches_rows(c) * K, 0, e) || operand_new(o, t, patches_out(c), 0, e)
               ? -1
               : 0;
}
static void patches_run(Operands *o) {
    C c = o->c;
    o->k->patches_gather(o->b[2], o->b[0], c->n[0], c->n[1], c->n[2], c->n[3]);
    o->k->linear_forward(o->b[3], o->b[2], o->b[1], BUF_NONE, BUF_NONE, (int)patches_rows(c), c->n[4], (int)patches_width(c));
}
static int patches_peer(Operands *o, const Peers *peers) {
    C c = o->c;
    return peers->patches_linear(o->b[3], o->b[0], o->b[1], c->n[0], c->n[1], c->n[2], c->n[3], c->n[4]);
}
static double patches_flops(C c) { return 2.0 * (double)patches_out(c) * (double)patches_width(c); }
static double patches_bytes(C c) { /* what lies between the two operations need not move */
    return 4.0 * (double)(patches_rows(c) * patches_width(c)) + size(c) * (double)(c->n[4] * patches_width(c) + patches_out(c));
}

/* ---- attention: n = trunk, leaves, leaf, heads, kv heads, head size; leaf 1: decoding, the trunk in key/value memory; trunk 0: one
 * leaf that stands alone ---- */

enum { LEAVES = 64 };
typedef struct Plan {
    AttentionSegment segments[LEAVES + 1];
    KeyRange range;
    AttentionPlan plan;
    int rows, slots;
} Plan;

static int decodes(C c) { return c->n[1] > 0 && c->n[2] == 1; }
static Plan *plan_of(C c, Plan *p, int causal) {
    int n = 0, rows = 0, slots = c->n[0];
    p->range = (KeyRange){ 0, c->n[0] };
    if (c->n[0] && !decodes(c)) p->segments[n++] = (AttentionSegment){ 0, c->n[0], 0, 0, 0, 0 }, rows = c->n[0];
    for (int l = 0; l < c->n[1]; l++) {
        p->segments[n++] = (AttentionSegment){ rows, c->n[2], 0, c->n[0] > 0, slots, 0 };
        rows += c->n[2], slots += c->n[2];
    }
    p->plan = (AttentionPlan){ p->segments, &p->range, n, 1, causal, c->n[3], c->n[4], c->n[5], 1 / sqrtf((float)c->n[5]) };
    p->rows = rows, p->slots = slots;
    return p;
}
static int causal_of(C c) { return c->n[1] > 0; } /* a trunk without leaves is a picture in the tower */
static int64_t q_width(C c) { return (int64_t)c->n[3] * c->n[5]; }
static int64_t kv_width(C c) { return (int64_t)c->n[4] * c->n[5]; }

static int attention_open(Operands *o, Error *e) { /* q, k v, out, lse, dout, dq, dkv */
    C c = o->c;
    Plan p;
    plan_of(c, &p, causal_of(c));
    DType t = c->dtype;
    int64_t q = p.rows * q_width(c), kv = p.slots * 2 * kv_width(c);
    int bad = operand_new(o, t, q, 1, e) || operand_new(o, t, kv, 1, e) || operand_new(o, t, q, 0, e) ||
              operand_new(o, FP32, (int64_t)p.rows * c->n[3], 0, e) || operand_new(o, t, q, 1, e) || operand_new(o, t, q, 0, e) ||
              operand_new(o, t, p.slots * 2 * q_width(c), 0, e);
    return bad ? -1 : 0;
}
static void attention_run(Operands *o) {
    C c = o->c;
    Plan p;
    plan_of(c, &p, causal_of(c));
    o->k->attention_forward(o->b[2], o->b[3], o->b[0], o->b[1], buf_at(o->b[1], kv_width(c)), q_width(c), 2 * kv_width(c), &p.plan);
}
static int attention_peer(Operands *o, const Peers *peers) {
    C c = o->c;
    Plan p;
    plan_of(c, &p, causal_of(c));
    return peers->attention_forward(o->b[2], o->b[0], o->b[1], buf_at(o->b[1], kv_width(c)), q_width(c), 2 * kv_width(c), p.rows,
        p.plan.causal, c->n[3], c->n[4], c->n[5], p.plan.scale);
}
static int attention_back_open(Operands *o, Error *e) {
    if (attention_open(o, e)) return -1;
    attention_run(o);
    return 0;
}
static void attention_back_run(Operands *o) {
    C c = o->c;
    Plan p;
    plan_of(c, &p, causal_of(c));
    o->k->attention_backward(o->b[5], o->b[6], buf_at(o->b[6], kv_width(c)), o->b[4], o->b[2], o->b[3], o->b[0], o->b[1],
        buf_at(o->b[1], kv_width(c)), q_width(c), 2 * kv_width(c), p.rows, p.slots, &p.plan);
}
static double pairs_of(C c) {
    double trunk = c->n[0], leaf = c->n[2], own = leaf * (leaf + 1) / 2, first = causal_of(c) ? trunk * (trunk + 1) / 2 : trunk * trunk;
    return (decodes(c) ? 0 : first) + c->n[1] * (leaf * trunk + own);
}
static double attention_flops(C c) { return 4 * pairs_of(c) * (double)q_width(c); }
static double attention_back_flops(C c) { return 2.5 * attention_flops(c); }
static double attention_bytes(C c) {
    Plan p;
    plan_of(c, &p, 1);
    return size(c) * (2.0 * p.rows * (double)q_width(c) + 2.0 * p.slots * (double)kv_width(c)) + 4.0 * p.rows * c->n[3];
}
static double attention_back_bytes(C c) {
    Plan p;
    plan_of(c, &p, 1);
    return size(c) * (4.0 * p.rows * (double)q_width(c) + 4.0 * p.slots * (double)kv_width(c)) + 4.0 * p.rows * c->n[3];
}
static int64_t attention_out(C c) {
    Plan p;
    return plan_of(c, &p, 1)->rows * q_width(c);
}

#define EXACT 1e-10  /* fp32 in another order of sums */
#define ROUNDED 3e-5 /* bf16 results */
#define ROWS(KERNEL, SHAPE, T, SMALL, R, D, RUN, RESULT, BYTES, BOUND)                                                                     \
    { KERNEL, SHAPE, T, SMALL, { R, D }, rows_open, RUN, RESULT, all, none, BYTES, BOUND }
#define PRODUCT(KERNEL, SHAPE, T, SMALL, M, N, K, RUN, RESULT, COMPARED, BYTES, BOUND)                                                     \
    { KERNEL, SHAPE, T, SMALL, { M, N, K }, product_open, RUN, RESULT, COMPARED, product_flops, BYTES, BOUND }
#define ATTENTION(SHAPE, T, SMALL, BOUND, ...)                                                                                             \
    {                                                                                                                                      \
        "attention_forward", SHAPE, T, SMALL, { __VA_ARGS__ }, attention_open, attention_run, 2, attention_out, attention_flops,           \
            attention_bytes, BOUND                                                                                                         \
    }
#define PATCHES(SHAPE, T, SMALL, BOUND, ...)                                                                                               \
    { "patches_linear", SHAPE, T, SMALL, { __VA_ARGS__ }, patches_open, patches_run, 3, patches_out, patches_flops, patches_bytes, BOUND }
#define ATTENTION_BACK(SHAPE, T, SMALL, BOUND, ...)                                                                                        \
    {                                                                                                                                      \
        "attention_backward", SHAPE, T, SMALL, { __VA_ARGS__ }, attention_back_open, attention_back_run, 5, attention_out,                 \
            attention_back_flops, attention_back_bytes, BOUND                                                                              \
    }

const DeviceCase device_cases[] = {
    ROWS("rmsnorm_forward", "7B, 2048 rows", BF16, 1, 2048, 4096, rms_run, 1, norm_bytes, ROUNDED),
    ROWS("rmsnorm_forward", "34B, 64 rows", BF16, 1, 64, 7168, rms_run, 1, norm_bytes, ROUNDED),
    ROWS("rmsnorm_forward", "demo, 256 rows", FP32, 1, 256, 128, rms_run, 1, norm_bytes, EXACT),
    ROWS("rmsnorm_forward", "7B, 4096 rows", BF16, 0, 4096, 4096, rms_run, 1, norm_bytes, ROUNDED),
    ROWS("rmsnorm_backward", "7B, 4096 rows", BF16, 1, 4096, 4096, rms_back_run, 1, norm_back_bytes, ROUNDED),
    ROWS("layernorm_forward", "tower, 4 x 577 rows", BF16, 1, 2308, 1024, layer_run, 1, norm_bytes, ROUNDED),
    ROWS("layernorm_forward", "tower, 9232 rows", BF16, 0, 9232, 1024, layer_run, 1, norm_bytes, ROUNDED),
    ROWS("layernorm_backward", "tower, 8 x 577 rows", BF16, 1, 4616, 1024, layer_back_run, 1, norm_back_bytes, ROUNDED),
    { "activation_forward", "tower, 64 rows", BF16, 1, { 64, 4096 }, elements_open, gelu_run, 1, all, none, two_bytes, ROUNDED },
    { "swiglu_forward", "7B, 32 rows", BF16, 1, { 32, 11008 }, elements_open, swiglu_run, 1, all, none, three_bytes, ROUNDED },
    { "swiglu_forward", "7B, 4096 rows", BF16, 0, { 4096, 11008 }, elements_open, swiglu_run, 1, all, none, three_bytes, ROUNDED },
    { "swiglu_backward", "7B, 32 rows", BF16, 1, { 32, 11008 }, elements_open, swiglu_back_run, 3, twice, none, five_bytes, ROUNDED },
    { "rope", "7B, 32 rows", BF16, 1, { 32, 8192, 128 }, elements_open, rope_run, 1, all, none, rope_bytes, ROUNDED },
    { "rope", "7B, 4096 rows", BF16, 0, { 4096, 8192, 128 }, elements_open, rope_run, 1, all, none, rope_bytes, ROUNDED },
    { "adamw", "1 M", FP32, 0, { 1024, 1024 }, adamw_open, adamw_run, 0, all, none, adamw_bytes, EXACT },
    { "adamw", "64 K", FP32, 1, { 256, 256 }, adamw_open, adamw_run, 0, all, none, adamw_bytes, EXACT },
    { "adamw", "64 K", BF16, 1, { 256, 256 }, adamw_open, adamw_run, 0, all, none, adamw_bytes, ROUNDED },
    { "adamw", "256 M", BF16, 0, { 16384, 16384 }, adamw_open, adamw_run, 0, all, none, adamw_bytes, ROUNDED },
    { "sum_tree", "8 ranks, 64 K", FP32, 1, { 8, 65536 }, ranks_open, ranks_run, 1, one_run, none, ranks_bytes, EXACT },
    { "sum_tree", "64 ranks, 4 K", BF16, 1, { 64, 4096 }, ranks_open, ranks_run, 1, one_run, none, ranks_bytes, ROUNDED },
    { "sum_tree", "8 ranks, 4 MiB each", FP32, 0, { 8, 1 << 20 }, ranks_open, ranks_run, 1, one_run, none, ranks_bytes, EXACT },
    PRODUCT("linear_forward", "7B, 20 rows", BF16, 1, 20, 1024, 4096, product_run_forward, 2, product_y, product_bytes, ROUNDED),
    PRODUCT("linear_forward", "7B, 20 rows", FP32, 1, 20, 512, 4096, product_run_forward, 2, product_y, product_bytes, EXACT),
    PRODUCT("linear_forward", "7B, 256 rows", BF16, 1, 256, 256, 1024, product_run_forward, 2, product_y, product_bytes, ROUNDED),
    PRODUCT("linear_forward", "7B, 256 rows", FP32, 1, 256, 256, 512, product_run_forward, 2, product_y, product_bytes, EXACT),
    PRODUCT("linear_forward", "7B, 1 row", BF16, 0, 1, 12288, 4096, product_run_forward, 2, product_y, product_bytes, ROUNDED),
    PRODUCT("linear_forward", "7B, 20 rows, all", BF16, 0, 20, 12288, 4096, product_run_forward, 2, product_y, product_bytes, ROUNDED),
    PRODUCT("linear_forward", "7B, 4096 rows", BF16, 0, 4096, 12288, 4096, product_run_forward, 2, product_y, product_bytes, ROUNDED),
    PRODUCT("linear_forward", "34B, 4096 rows", BF16, 0, 4096, 7168, 20480, product_run_forward, 2, product_y, product_bytes, ROUNDED),
    PRODUCT("linear_backward_input", "7B, 256 rows", BF16, 1, 256, 512, 256, product_run_input, 4, product_dx, product_bytes, ROUNDED),
    PRODUCT("linear_backward_input", "7B, 4096 rows", BF16, 0, 4096, 12288, 4096, product_run_input, 4, product_dx, product_bytes, ROUNDED),
    PRODUCT(
        "linear_backward_weight", "7B, 256 rows", BF16, 1, 256, 256, 256, product_run_weight, 5, product_dw, product_weight_bytes, 1e-9),
    PRODUCT("linear_backward_weight", "7B, 4096 rows", BF16, 0, 4096, 12288, 4096, product_run_weight, 5, product_dw, product_weight_bytes,
        1e-9),
    { "logprob_forward", "7B, 64 rows", BF16, 1, { 64, 2000, 512 }, vocabulary_open, logprob_run, 2, scored, product_flops, logprob_bytes,
        1e-5 },
    { "logprob_forward", "7B, 1024 rows", BF16, 0, { 1024, 32000, 4096 }, vocabulary_open, logprob_run, 2, scored, product_flops,
        logprob_bytes, 1e-5 },
    { "logprob_backward", "7B, 64 rows", BF16, 1, { 64, 2000, 512 }, vocabulary_open, logprob_back_run, 6, product_dx, twice_flops,
        logprob_back_bytes, ROUNDED },
    { "logprob_backward", "7B, 1024 rows", BF16, 0, { 1024, 32000, 4096 }, vocabulary_open, logprob_back_run, 6, product_dx, twice_flops,
        logprob_back_bytes, ROUNDED },
    PATCHES("demo, 2 images", FP32, 1, EXACT, 2, 3, 40, 8, 128),
    PATCHES("tower, small", BF16, 1, ROUNDED, 2, 3, 100, 14, 96),
    PATCHES("tower, 1 image", FP32, 0, EXACT, 1, 3, 336, 14, 1024),
    PATCHES("tower, 1 image", BF16, 0, ROUNDED, 1, 3, 336, 14, 1024),
    PATCHES("tower, 16 images", BF16, 0, ROUNDED, 16, 3, 336, 14, 1024),
    ATTENTION("7B alone, small", BF16, 1, ROUNDED, 0, 1, 200, 2, 2, 128),
    ATTENTION("7B alone", BF16, 0, ROUNDED, 0, 1, 2048, 32, 32, 128),
    ATTENTION("34B alone", BF16, 0, ROUNDED, 0, 1, 4096, 56, 8, 128),
    ATTENTION("7B pair, small", BF16, 1, ROUNDED, 160, 2, 96, 2, 2, 128),
    ATTENTION("34B pair, small", BF16, 1, ROUNDED, 160, 2, 96, 7, 1, 128),
    ATTENTION("7B decode 10, small", BF16, 1, ROUNDED, 320, 10, 1, 2, 2, 128),
    ATTENTION("tower, small", BF16, 1, ROUNDED, 257, 0, 0, 2, 2, 64),
    ATTENTION("demo pair", FP32, 1, EXACT, 60, 2, 40, 4, 4, 32),
    ATTENTION("7B pair", BF16, 0, ROUNDED, 640, 2, 256, 32, 32, 128),
    ATTENTION("34B pair", BF16, 0, ROUNDED, 2900, 2, 256, 56, 8, 128),
    ATTENTION("7B decode 60", BF16, 0, ROUNDED, 640, 60, 1, 32, 32, 128),
    ATTENTION("tower", BF16, 0, ROUNDED, 577, 0, 0, 16, 16, 64),
    ATTENTION_BACK("7B pair, small", BF16, 1, 1e-4, 96, 2, 64, 2, 2, 128),
    ATTENTION_BACK("demo pair", FP32, 1, EXACT, 60, 2, 40, 4, 4, 32),
    ATTENTION_BACK("7B pair", BF16, 0, 1e-4, 640, 2, 256, 32, 32, 128),
};
const int device_cases_n = sizeof device_cases / sizeof *device_cases;

PeerRun device_case_peer(const DeviceCase *c) {
    int stands_alone = c->n[0] == 0 || c->n[1] == 0; /* a forest is not among the peer's operations */
    if (c->run == patches_run) return patches_peer;
    return c->run == attention_run && c->dtype == BF16 && stands_alone ? attention_peer : NULL;
}

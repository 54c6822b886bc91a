/* attention_test.c - attention over a Forest against the definition in double precision: shapes, depths, group sizes, key/value memory,
 * gradients. */
#include "tests/kernels/attention_twin.h"

/* A step with queries, keys and values side by side in one row of (H + 2 K) E elements and `gap` more, as the model has them. */
typedef struct Step {
    const Kernels *k;
    const AttentionPlan *plan;
    int T;
    int64_t stride;
    DType dtype;
    Buf qkv, out, lse;
    double *wide_qkv, *wide_out, *wide_lse;
} Step;

static Buf keys_of(const Step *s, Buf qkv) { return buf_at(qkv, (int64_t)s->plan->heads * s->plan->head_size); }
static Buf values_of(const Step *s, Buf qkv) { return buf_at(qkv, (int64_t)(s->plan->heads + s->plan->kv_heads) * s->plan->head_size); }

static Step step_new(const Kernels *k, const AttentionPlan *plan, int T, int gap, DType dtype, uint64_t seed) {
    Step s = { .k = k, .plan = plan, .T = T, .dtype = dtype };
    s.stride = (int64_t)(plan->heads + 2 * plan->kv_heads) * plan->head_size + gap;
    int64_t n = T * s.stride, heads = (int64_t)T * plan->heads;
    float *x = fill_normal(n, 1.5f, dtype, seed);
    s.qkv = buf_of(k, dtype, x, n);
    s.wide_qkv = wide_of(x, n);
    free(x);
    s.out = buf_new(k, dtype, heads * plan->head_size);
    s.lse = buf_new(k, FP32, heads);
    s.wide_out = calloc((size_t)(heads * plan->head_size), sizeof(double));
    s.wide_lse = calloc((size_t)heads, sizeof(double));
    int64_t key = (int64_t)plan->heads * plan->head_size, value = key + (int64_t)plan->kv_heads * plan->head_size;
    twin_forward(s.wide_out, s.wide_lse, s.wide_qkv, s.wide_qkv + key, s.wide_qkv + value, s.stride, s.stride, T, plan);
    k->attention_forward(s.out, s.lse, s.qkv, keys_of(&s, s.qkv), values_of(&s, s.qkv), s.stride, s.stride, plan);
    return s;
}

static void step_free(Step *s) {
    s->k->free(s->qkv);
    s->k->free(s->out);
    s->k->free(s->lse);
    free(s->wide_qkv);
    free(s->wide_out);
    free(s->wide_lse);
}

static void forward_check(const Step *s, const char *name) {
    int64_t heads = (int64_t)s->T * s->plan->heads;
    compare_nmse(s->k, name, s->out, s->wide_out, heads * s->plan->head_size, nmse_bound(s->dtype));
    compare_nmse(s->k, name, s->lse, s->wide_lse, heads, NMSE_FP32);
    Buf again = buf_new(s->k, s->dtype, heads * s->plan->head_size);
    s->k->attention_forward(again, BUF_NONE, s->qkv, keys_of(s, s->qkv), values_of(s, s->qkv), s->stride, s->stride, s->plan);
    compare_bits(s->k, name, s->out, again, heads * s->plan->head_size);
    s->k->free(again);
}

static void backward_check(const Step *s, const char *name) {
    const Kernels *k = s->k;
    int64_t n = s->T * s->stride, heads = (int64_t)s->T * s->plan->heads, E = s->plan->head_size;
    float *g = fill_normal(heads * E, 1, s->dtype, 99);
    double *wide_g = wide_of(g, heads * E), *want = calloc((size_t)n, sizeof *want);
    int64_t key = s->plan->heads * E, value = key + s->plan->kv_heads * E;
    float *out = buf_read(k, s->out, heads * E), *lse = buf_read(k, s->lse, heads); /* rounded as the kernel will see them */
    double *wide_out = wide_of(out, heads * E), *wide_lse = wide_of(lse, heads);
    twin_backward(want, want + key, want + value, wide_g, wide_out, wide_lse, s->wide_qkv, s->wide_qkv + key, s->wide_qkv + value,
        s->stride, s->stride, s->T, s->plan);
    Buf dout = buf_of(k, s->dtype, g, heads * E), grad = buf_new(k, s->dtype, n), again = buf_new(k, s->dtype, n);
    for (int run = 0; run < 2; run++) {
        Buf to = run ? again : grad;
        k->attention_backward(to, keys_of(s, to), values_of(s, to), dout, s->out, s->lse, s->qkv, keys_of(s, s->qkv), values_of(s, s->qkv),
            s->stride, s->stride, s->T, s->T, s->plan);
    }
    compare_nmse(k, name, grad, want, n, nmse_bound(s->dtype));
    compare_bits(k, name, grad, again, n);
    k->free(dout);
    k->free(grad);
    k->free(again);
    free(g);
    free(wide_g);
    free(want);
    free(out);
    free(lse);
    free(wide_out);
    free(wide_lse);
}

static void forest_check(const char *name, TwinForest *f, int heads, int kv_heads, int E, int causal, int gap) {
    twin_plan(f, heads, kv_heads, E, causal);
    FOR_EACH_ISA(k) FOR_EACH_DTYPE(t) {
        if (!case_taken()) continue;
        Step s = step_new(k, &f->plan, f->T, gap, t, 7);
        forward_check(&s, name);
        backward_check(&s, name);
        step_free(&s);
    }
}

static void test_one_segment(void **state) {
    (void)state;
    static const int lengths[] = { 1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130 };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        TwinForest f = { 0 };
        twin_segment(&f, -1, lengths[i]);
        forest_check("one segment", &f, 2, 2, 16, 1, 0);
    }
}

static void test_head_sizes(void **state) {
    (void)state;
    static const int sizes[] = { 1, 4, 5, 8, 12, 16, 24, 32, 40, 48, 64, 72, 80, 88, 96, 112, 120, 128, 160 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        TwinForest f = { 0 };
        twin_segment(&f, -1, 21);
        twin_segment(&f, 0, 1);
        twin_segment(&f, 0, 19);
        forest_check("head sizes", &f, 2, 1, sizes[i], 1, 0);
        forest_check("head sizes, odd rows", &f, 2, 1, sizes[i], 1, 3);
    }
}

static void test_three_levels(void **state) {
    (void)state;
    TwinForest f = { 0 };
    twin_segment(&f, -1, 70); /* 0: image */
    twin_segment(&f, 0, 13);  /* 1, 2, 3: questions */
    twin_segment(&f, 0, 1);
    twin_segment(&f, 0, 66);
    for (int leaf = 0; leaf < 9; leaf++)
        twin_segment(&f, 1 + leaf % 3, leaf % 4 ? 1 + 5 * leaf : 1); /* leaves of different parents alternate */
    twin_segment(&f, 7, 9);                                          /* 13: a fourth level */
    twin_segment(&f, -1, 5);                                         /* a second tree, and a lone token */
    twin_segment(&f, -1, 1);
    forest_check("three levels", &f, 4, 2, 32, 1, 0);
    forest_check("three levels, one key head", &f, 8, 1, 16, 1, 5);
}

static void test_chunk_edges(void **state) {
    (void)state;
    TwinForest f = { 0 }; /* segments longer than a chunk, leaves that fill one exactly, groups that do not divide a vector */
    twin_segment(&f, -1, 301);
    twin_segment(&f, 0, 256);
    twin_segment(&f, 0, 31);
    for (int leaf = 0; leaf < 30; leaf++) twin_segment(&f, 0, 24);
    forest_check("chunk edges", &f, 3, 1, 8, 1, 0);
}

/* Rows and keys around the edges of tiles, with the head sizes of large models: 7 query heads per key head are 18 rows to 126 columns. */
static void test_tile_edges(void **state) {
    (void)state;
    static const int edges[] = { 63, 64, 65, 127, 128, 129 };
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        TwinForest f = { 0 };
        twin_segment(&f, -1, edges[i]);
        twin_segment(&f, 0, edges[(i + 2) % 6]);
        twin_segment(&f, 0, 17);
        forest_check("tile edges", &f, 1, 1, 64, 1, 0);
    }
    TwinForest f = { 0 };
    twin_segment(&f, -1, 130);
    for (int leaf = 0; leaf < 4; leaf++) twin_segment(&f, 0, 9 + leaf);
    forest_check("tile edges, 7 heads", &f, 7, 1, 128, 1, 0);
}

/* Leaves of one token, as probes have them, gathered below one trunk and below others. */
static void test_single_token_leaves(void **state) {
    (void)state;
    TwinForest f = { 0 };
    twin_segment(&f, -1, 150);
    twin_segment(&f, 0, 20);
    for (int leaf = 0; leaf < 40; leaf++) twin_segment(&f, leaf % 2, 1);
    forest_check("single-token leaves", &f, 2, 1, 80, 1, 0);
}

static void test_images(void **state) {
    (void)state;
    TwinForest f = { 0 };
    twin_segment(&f, -1, 257);
    twin_segment(&f, -1, 50);
    twin_segment(&f, -1, 1);
    forest_check("images", &f, 3, 3, 64, 0, 0);
    TwinForest tower = { 0 }; /* the rows of an image of 336 x 336 in patches of 14 */
    twin_segment(&tower, -1, 577);
    forest_check("tower", &tower, 1, 1, 16, 0, 0);
}

/* One key with a score far above the others, then far below: sums must neither overflow nor vanish. */
static void test_large_scores(void **state) {
    (void)state;
    TwinForest f = { 0 };
    twin_segment(&f, -1, 80);
    twin_segment(&f, 0, 3);
    twin_plan(&f, 1, 1, 16, 1);
    f.plan.scale = 30;
    FOR_EACH_ISA(k) {
        Step s = step_new(k, &f.plan, f.T, 0, FP32, 3);
        int64_t n = f.T * 16;
        compare_nmse(k, "large scores", s.out, s.wide_out, n, 1e-8); /* scores of some hundreds carry errors of 1e-5 */
        step_free(&s);
    }
}

/* A plan may name only the last rows of a segment, as the model's last block does: the others' dq is untouched, keys nobody saw get zeros.
 */
static void test_tail(void **state) {
    (void)state;
    TwinForest f = { 0 };
    twin_segment(&f, -1, 90);
    twin_segment(&f, 0, 40);
    twin_segment(&f, 0, 33);
    twin_plan(&f, 2, 2, 16, 1);
    f.segments[0] = f.segments[1]; /* the trunk has no rows of its own here */
    f.segments[1] = f.segments[2];
    f.plan.segments_n = 2;
    f.segments[0].q_first += 10, f.segments[0].q_count = 25, f.segments[0].self_before = 10;
    FOR_EACH_ISA(k) FOR_EACH_DTYPE(t) {
        Step s = step_new(k, &f.plan, f.T, 0, t, 11);
        forward_check(&s, "tail");
        backward_check(&s, "tail");
        step_free(&s);
    }
}

/* A decode step: the last row of each of ten leaves, whose earlier ones are held, below a long trunk; and a question of a few rows between.
 */
static void test_decode_long_trunk(void **state) {
    (void)state;
    static const int groups[] = { 1, 7 };
    for (int i = 0; i < 2; i++) {
        enum { LEAVES = 10 };
        TwinForest f = { 0 };
        twin_segment(&f, -1, 600);
        twin_segment(&f, 0, 5);
        for (int leaf = 0; leaf < LEAVES; leaf++) twin_segment(&f, leaf % 2, leaf == 3 ? 70 : 1 + leaf);
        twin_plan(&f, groups[i], 1, 128, 1);
        for (int s = 0; s < LEAVES; s++) { /* only leaves have rows in this step */
            f.segments[s] = f.segments[2 + s];
            int held = f.segments[s].q_count - 1;
            f.segments[s].q_first += held, f.segments[s].q_count = 1, f.segments[s].self_before = held;
        }
        f.plan.segments_n = LEAVES;
        FOR_EACH_ISA(k) FOR_EACH_DTYPE(t) {
            Step s = step_new(k, &f.plan, f.T, 0, t, 13);
            forward_check(&s, "decode below a long trunk");
            step_free(&s);
        }
    }
}

/* A segment's rows have the same bits in a step of their own as in company: what is sampled does not depend on what shares the batch. */
static void test_rows_alone(void **state) {
    (void)state;
    enum { HEADS = 4, KV_HEADS = 2, E = 32 };
    static const int rows[] = { 150, 33, 3, 1, 1, 7, 70, 20, 9, 64, 1, 130 }, parents[] = { -1, 0, 0, 1, 1, 1, 0, 1, 2, 0, -1, -1 };
    TwinForest f = { 0 };
    for (size_t s = 0; s < sizeof rows / sizeof *rows; s++) twin_segment(&f, parents[s], rows[s]);
    twin_plan(&f, HEADS, KV_HEADS, E, 1);
    FOR_EACH_ISA(k) FOR_EACH_DTYPE(t) {
        Step s = step_new(k, &f.plan, f.T, 0, t, 17);
        Buf alone = buf_new(k, t, (int64_t)f.T * HEADS * E), lse = buf_new(k, FP32, (int64_t)f.T * HEADS);
        for (int i = 0; i < f.n; i++) {
            AttentionPlan plan = f.plan;
            plan.segments = &f.segments[i], plan.segments_n = 1;
            k->attention_forward(alone, lse, s.qkv, keys_of(&s, s.qkv), values_of(&s, s.qkv), s.stride, s.stride, &plan);
        }
        compare_bits(k, "rows alone", s.out, alone, (int64_t)f.T * HEADS * E);
        compare_bits(k, "rows alone, lse", s.lse, lse, (int64_t)f.T * HEADS);
        k->free(alone);
        k->free(lse);
        step_free(&s);
    }
}

/* Prefill of a trunk, then leaves growing by one token a step out of key/value memory, must give what one step over everything gives. */
static void test_decode_equals_full(void **state) {
    (void)state;
    enum { TRUNK = 77, LEAVES = 21, GROWN = 5, HEADS = 4, KV_HEADS = 2, E = 32, WIDTH = (HEADS + 2 * KV_HEADS) * E, CAPACITY = 8 };
    TwinForest f = { 0 };
    twin_segment(&f, -1, TRUNK);
    for (int leaf = 0; leaf < LEAVES; leaf++) twin_segment(&f, 0, GROWN);
    twin_plan(&f, HEADS, KV_HEADS, E, 1);
    FOR_EACH_ISA(k) FOR_EACH_DTYPE(t) {
        Step s = step_new(k, &f.plan, f.T, 0, t, 5);
        int kv_width = 2 * KV_HEADS * E, slots_n = 3 + TRUNK + LEAVES * CAPACITY;
        Buf memory = buf_new(k, t, (int64_t)slots_n * kv_width), q = buf_new(k, t, (int64_t)TRUNK * WIDTH),
            out = buf_new(k, t, (int64_t)TRUNK * HEADS * E);
        Buf whole = buf_new(k, t, (int64_t)f.T * HEADS * E);
        KeyRange trunk = { 3, TRUNK };
        AttentionSegment segments[LEAVES] = { { 0, TRUNK, 0, 0, 3, 0 } };
        AttentionPlan plan = f.plan;
        plan.segments = segments, plan.ranges = &trunk, plan.segments_n = 1, plan.ranges_n = 0;
        int rows[LEAVES > TRUNK ? LEAVES : TRUNK], slots[LEAVES > TRUNK ? LEAVES : TRUNK];
        for (int step = 0; step <= GROWN; step++) {
            int n = step ? LEAVES : TRUNK;
            for (int i = 0; i < n; i++) {
                rows[i] = step ? TRUNK + i * GROWN + step - 1 : i;
                slots[i] = step ? 3 + TRUNK + i * CAPACITY + step - 1 : 3 + i;
                if (step) segments[i] = (AttentionSegment){ i, 1, 0, 1, 3 + TRUNK + i * CAPACITY, step - 1 };
            }
            if (step) plan.segments_n = LEAVES, plan.ranges_n = 1;
            k->rows_gather(q, s.qkv, rows, n, WIDTH);
            k->rows_store(memory, kv_width, buf_at(q, HEADS * E), WIDTH, slots, n, kv_width);
            k->attention_forward(out, BUF_NONE, q, memory, buf_at(memory, KV_HEADS * E), WIDTH, kv_width, &plan);
            k->rows_store(whole, HEADS * E, out, HEADS * E, rows, n, HEADS * E);
        }
        compare_nmse(k, "decode", whole, s.wide_out, (int64_t)f.T * HEADS * E, nmse_bound(t));
        k->free(memory);
        k->free(q);
        k->free(out);
        k->free(whole);
        step_free(&s);
    }
}

/* The twin's own gradients, by central differences of its forward. */
static void test_twin_gradients(void **state) {
    (void)state;
    enum { HEADS = 2, KV_HEADS = 1, E = 3, WIDTH = (HEADS + 2 * KV_HEADS) * E };
    TwinForest f = { 0 };
    twin_segment(&f, -1, 4);
    twin_segment(&f, 0, 1);
    twin_segment(&f, 0, 3);
    twin_segment(&f, 2, 2);
    twin_plan(&f, HEADS, KV_HEADS, E, 1);
    float *x = fill_normal(f.T * WIDTH, 1, FP32, 1), *g = fill_normal(f.T * HEADS * E, 1, FP32, 2);
    double *w = wide_of(x, f.T * WIDTH), *wg = wide_of(g, f.T * HEADS * E), out[10 * HEADS * E], lse[10 * HEADS], grad[10 * WIDTH] = { 0 };
    const double step = 1e-5;
    twin_forward(out, lse, w, w + HEADS * E, w + (HEADS + KV_HEADS) * E, WIDTH, WIDTH, f.T, &f.plan);
    twin_backward(grad, grad + HEADS * E, grad + (HEADS + KV_HEADS) * E, wg, out, lse, w, w + HEADS * E, w + (HEADS + KV_HEADS) * E, WIDTH,
        WIDTH, f.T, &f.plan);
    for (int i = 0; i < f.T * WIDTH; i++) {
        double at = w[i], loss[2];
        for (int side = 0; side < 2; side++) {
            w[i] = side ? at + step : at - step;
            twin_forward(out, lse, w, w + HEADS * E, w + (HEADS + KV_HEADS) * E, WIDTH, WIDTH, f.T, &f.plan);
            loss[side] = 0;
            for (int j = 0; j < f.T * HEADS * E; j++) loss[side] += wg[j] * out[j];
        }
        w[i] = at;
        assert_true(fabs((loss[1] - loss[0]) / (2 * step) - grad[i]) < 1e-8);
    }
    free(x);
    free(g);
    free(w);
    free(wg);
}

/* Rows are stored by slot, converted where the types differ, and nothing else is written. */
static void test_rows_store(void **state) {
    (void)state;
    enum { T = 5, WIDTH = 7, FROM = 9, TO = 11, SLOTS = 8 };
    static const int slots[T] = { 6, 0, 3, 7, 2 };
    FOR_EACH_ISA(k) FOR_EACH_DTYPE(t) {
        float *x = fill_normal(T * FROM, 1, BF16, 4);
        double want[SLOTS * TO] = { 0 };
        for (int r = 0; r < T; r++)
            for (int i = 0; i < WIDTH; i++) want[slots[r] * TO + i] = x[r * FROM + i];
        Buf from = buf_of(k, FP32, x, T * FROM), to = buf_new(k, t, SLOTS * TO);
        k->rows_store(to, TO, from, FROM, slots, T, WIDTH);
        compare_nmse(k, "rows_store", to, want, SLOTS * TO, 0);
        k->free(from);
        k->free(to);
        free(x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin_gradients),
        cmocka_unit_test(test_one_segment),
        cmocka_unit_test(test_head_sizes),
        cmocka_unit_test(test_three_levels),
        cmocka_unit_test(test_chunk_edges),
        cmocka_unit_test(test_tile_edges),
        cmocka_unit_test(test_single_token_leaves),
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_large_scores),
        cmocka_unit_test(test_tail),
        cmocka_unit_test(test_decode_long_trunk),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_decode_equals_full),
        cmocka_unit_test(test_rows_store),
    };
    return cmocka_run_group_tests_name("attention_test", tests, NULL, NULL);
}

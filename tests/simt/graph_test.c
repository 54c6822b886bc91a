/* graph_test.c - steps captured as graphs (kernels/cuda/graph.c) on the emulated runtime: the same bits as without, how often a graph is
 * made, what host arrays cost, memory that comes and goes within a step, and what is left of a step in which a call fails. */
#include "tests/check.h"
#include "tests/kernels/kernel_test.h"

#include "kernels/cuda/state.h"

#include <unistd.h>

static char calls_path[] = "/tmp/graph-test-XXXXXX"; /* the names of all calls of the runtime */

/* Lines of the log from line `from` on that are `name`; all of them where it is NULL. */
static int calls_count(const char *name, int from) {
    char line[256];
    int n = 0, number = 0;
    FILE *f = fopen(calls_path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        n += ++number > from && (!name || !strcmp(line, name));
    }
    fclose(f);
    return n;
}
static int calls_now(void) { return calls_count(NULL, 0); }

static void graphs(int on) { setenv("RLAIFV_GRAPHS", on ? "on" : "off", 1); }

static void sync_fine(const Kernels *k) {
    Error e;
    char line[2048];
    if (k->sync(&e)) fail_msg("%s", error_text(&e, line, sizeof line));
}
static void sync_says(const Kernels *k, const char *text) {
    Error e;
    assert_int_equal(k->sync(&e), -1);
    error_says(&e, text);
}

/* ---- a decoder of one layer, whose leaves grow by a row a step ---- */

enum { D = 44, H = 6, KV = 2, E = 24, F = 36, V = 101, Q = (H + 2 * KV) * E, KE = KV * E, SLOTS = 300, LEAVES = 37 };

typedef struct Decoder {
    const Kernels *k;
    DType dtype;
    Buf embed, qkv_w, out_w, up_w, down_w, norm_w, norm_b; /* weights */
    Buf x, normed, rstd, mean, qkv, attended, lse, mid, gate_up, gated, last, kv, logits;
    int before[LEAVES]; /* keys of each leaf, which stand in slots SLOTS * leaf and on */
} Decoder;

/* Equal seeds give equal decoders. */
static Buf weight_new(const Decoder *d, int64_t n, float scale, uint64_t seed) {
    float *x = fill_normal(n, scale, d->dtype, seed);
    Buf b = buf_of(d->k, d->dtype, x, n);
    free(x);
    return b;
}

static Decoder decoder_new(const Kernels *k, DType t) {
    Decoder d = { .k = k, .dtype = t };
    d.embed = weight_new(&d, (int64_t)V * D, 1, 1), d.qkv_w = weight_new(&d, (int64_t)Q * D, .2f, 2);
    d.out_w = weight_new(&d, (int64_t)D * H * E, .1f, 3), d.up_w = weight_new(&d, (int64_t)2 * F * D, .2f, 4);
    d.down_w = weight_new(&d, (int64_t)D * F, .2f, 5), d.norm_w = weight_new(&d, D, 1, 6), d.norm_b = weight_new(&d, D, 1, 7);
    d.kv = weight_new(&d, (int64_t)LEAVES * SLOTS * 2 * KE, 1, 8);
    Buf *rows[] = { &d.x, &d.normed, &d.mid, &d.last };
    for (int i = 0; i < 4; i++) *rows[i] = buf_new(k, t, LEAVES * D);
    d.rstd = buf_new(k, FP32, LEAVES), d.mean = buf_new(k, FP32, LEAVES), d.lse = buf_new(k, FP32, LEAVES * H);
    d.qkv = buf_new(k, t, LEAVES * Q), d.attended = buf_new(k, t, LEAVES * H * E), d.gate_up = buf_new(k, t, LEAVES * 2 * F);
    d.gated = buf_new(k, t, LEAVES * F), d.logits = buf_new(k, FP32, LEAVES * V);
    for (int i = 0; i < LEAVES; i++)
        d.before[i] = i % 3 == 0 ? 250 - i % 7 : 5 + i; /* some come to more keys than one part has, most do not */
    return d;
}

static void decoder_free(Decoder *d) {
    Buf all[] = { d->embed, d->qkv_w, d->out_w, d->up_w, d->down_w, d->norm_w, d->norm_b, d->x, d->normed, d->rstd, d->mean, d->qkv,
        d->attended, d->lse, d->mid, d->gate_up, d->gated, d->last, d->kv, d->logits };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) d->k->free(all[i]);
}

/* One step of the first `rows` leaves. The host arrays are gone when it returns. */
static void decoder_step(Decoder *d, int rows, int step) {
    const Kernels *k = d->k;
    int ids[LEAVES], no_image[LEAVES], positions[LEAVES], slots[LEAVES], order[LEAVES];
    float frequencies[E / 2];
    AttentionSegment segments[LEAVES];
    for (int i = 0; i < rows; i++) {
        ids[i] = (step * 31 + i * 7) % V, no_image[i] = -1, positions[i] = d->before[i];
        slots[i] = SLOTS * i + d->before[i], order[i] = rows - 1 - i;
        segments[i] = (AttentionSegment){ i, 1, 0, 0, SLOTS * i, d->before[i] };
        d->before[i]++;
    }
    AttentionPlan plan = { segments, NULL, rows, 0, 1, H, KV, E, (float)(1 / sqrt(E)) };
    rope_frequencies(frequencies, E, 1e4f);
    k->step_begin(rows);
    k->embed_forward(d->x, d->embed, BUF_NONE, ids, no_image, rows, D);
    k->rmsnorm_forward(d->normed, d->rstd, d->x, d->norm_w, rows, D, 1e-5f);
    k->linear_forward(d->qkv, d->normed, d->qkv_w, BUF_NONE, BUF_NONE, rows, Q, D);
    k->rope(d->qkv, Q, positions, rows, H + KV, E, frequencies, 1);
    k->rows_store(d->kv, 2 * KE, buf_at(d->qkv, H * E), Q, slots, rows, 2 * KE);
    k->attention_forward(d->attended, d->lse, d->qkv, d->kv, buf_at(d->kv, KE), Q, 2 * KE, &plan);
    k->attention_forward(
        d->attended, d->lse, d->qkv, d->kv, buf_at(d->kv, KE), Q, 2 * KE, &plan); /* as a second layer with the same plan */
    k->linear_forward(d->mid, d->attended, d->out_w, BUF_NONE, d->x, rows, D, H * E);
    k->layernorm_forward(d->normed, d->mean, d->rstd, d->mid, d->norm_w, d->norm_b, rows, D, 1e-5f);
    k->linear_forward(d->gate_up, d->normed, d->up_w, BUF_NONE, BUF_NONE, rows, 2 * F, D);
    k->swiglu_forward(d->gated, d->gate_up, rows, F);
    k->linear_forward(d->x, d->gated, d->down_w, BUF_NONE, d->mid, rows, D, F);
    k->rows_gather(d->last, d->x, order, rows, D);
    k->logits(d->logits, d->last, d->embed, rows, V, D);
    memset(ids, 0x55, sizeof ids), memset(positions, 0x55, sizeof positions), memset(slots, 0x55, sizeof slots);
    memset(order, 0x55, sizeof order), memset(segments, 0x55, sizeof segments), memset(frequencies, 0x55, sizeof frequencies);
    k->step_end();
}

static void decoders_agree(const Decoder *a, const Decoder *b, int rows) {
    compare_bits(a->k, "logits", a->logits, b->logits, (int64_t)rows * V);
    compare_bits(a->k, "attention", a->attended, b->attended, (int64_t)rows * H * E);
    compare_bits(a->k, "lse", a->lse, b->lse, (int64_t)rows * H);
}

/* Two decoders step by step, one with graphs and one without, through several buckets of rows and past the number of keys at which they
 * begin to be dealt in parts. */
static void test_same_bits(void **state) {
    (void)state;
    static const int rows[] = { 5, 5, 6, 7, 8, 5, 5, 5, 3, 4, 3, 33, 37, 35, 36, 1, 1, 1, 5, 6 };
    const Kernels *k = isa_open("simt");
    FOR_EACH_DTYPE(t) {
        if (!case_taken()) continue;
        Decoder with = decoder_new(k, t), without = decoder_new(k, t);
        int from = calls_now(), steps = (int)(sizeof rows / sizeof *rows);
        for (int s = 0; s < steps; s++) {
            graphs(1), decoder_step(&with, rows[s], s);
            graphs(0), decoder_step(&without, rows[s], s);
            decoders_agree(&with, &without, rows[s]);
            sync_fine(k);
        }
        compare_bits(k, "keys and values", with.kv, without.kv, (int64_t)LEAVES * SLOTS * 2 * KE);
        assert_true(with.before[0] > 256); /* some keys were dealt in parts, and at first none were */
        assert_true(calls_count("cudaGraphLaunch", from) >= steps - 4);
        decoder_free(&with), decoder_free(&without);
    }
    sync_fine(k);
}

/* Many steps without a sync between them: stages are written again while the stream still has work. */
static void test_far_ahead(void **state) {
    (void)state;
    if (!case_taken()) return;
    const Kernels *k = isa_open("simt");
    Decoder with = decoder_new(k, BF16), without = decoder_new(k, BF16);
    graphs(1);
    for (int s = 0; s < 20; s++) decoder_step(&with, 7, s);
    graphs(0);
    for (int s = 0; s < 20; s++) decoder_step(&without, 7, s);
    decoders_agree(&with, &without, 7);
    compare_bits(k, "keys and values", with.kv, without.kv, (int64_t)LEAVES * SLOTS * 2 * KE);
    sync_fine(k);
    decoder_free(&with), decoder_free(&without);
}

/* A step like the one before costs one update, one launch and one copy; one whose keys begin to be dealt in parts costs a new graph. */
static void test_calls(void **state) {
    (void)state;
    const Kernels *k = isa_open("simt");
    Decoder d = decoder_new(k, BF16);
    graphs(1);
    for (int i = 0; i < LEAVES; i++) d.before[i] = 20 + i;
    for (int s = 0; s < 4; s++) decoder_step(&d, 6, s); /* whatever the bucket held before */
    int from = calls_now();
    for (int s = 4; s < 9; s++) decoder_step(&d, 5 + s % 4, s);
    assert_int_equal(calls_count("cudaGraphInstantiate", from), 0);
    assert_int_equal(calls_count("cudaGraphExecUpdate", from), 5);
    assert_int_equal(calls_count("cudaGraphLaunch", from), 5);
    assert_int_equal(calls_count("cudaMemcpyAsync", from), 5);
    assert_int_equal(calls_count("cudaStreamSynchronize", from), 0);
    for (int i = 0; i < 3; i++) d.before[i] = 256;
    from = calls_now();
    decoder_step(&d, 6, 9);
    assert_int_equal(calls_count("cudaGraphInstantiate", from), 1);
    decoder_step(&d, 6, 10);
    assert_int_equal(calls_count("cudaGraphInstantiate", from), 1);
    sync_fine(k);
    decoder_free(&d);
}

/* ---- small steps ---- */

/* Two steps of rows_gather: what it takes for the bucket's graph to be there. */
static void gather_warm(const Kernels *k, Buf y, Buf x, int rows) {
    const int first[] = { 0 };
    for (int i = 0; i < 2; i++) {
        k->step_begin(rows);
        k->rows_gather(y, x, first, 1, 1);
        k->step_end();
    }
}

/* The bucket used longest ago makes room; what was made is not made again while it is kept. */
static void test_buckets(void **state) {
    (void)state;
    const Kernels *k = isa_open("simt");
    Buf x = buf_new(k, FP32, 3), y = buf_new(k, FP32, 3);
    graphs(1);
    for (int rows = 1 << 10; rows <= 1 << 17; rows *= 2) gather_warm(k, y, x, rows); /* eight, and none of the tests' before */
    int from = calls_now();
    for (int rows = 1 << 10; rows <= 1 << 17; rows *= 2) gather_warm(k, y, x, rows - 3);
    assert_int_equal(calls_count("cudaGraphInstantiate", from), 0);
    assert_int_equal(calls_count("cudaGraphLaunch", from), 16);
    gather_warm(k, y, x, 1 << 18); /* in place of the first */
    from = calls_now();
    gather_warm(k, y, x, 1 << 11);
    assert_int_equal(calls_count("cudaGraphInstantiate", from), 0);
    gather_warm(k, y, x, 1 << 10);
    assert_int_equal(calls_count("cudaGraphInstantiate", from), 1);
    sync_fine(k);
    k->free(x), k->free(y);
}

/* Host arrays of many times a stage's memory: nothing that was handed out moves, and the stage is one run of bytes when it comes round. */
static void test_stage_grows(void **state) {
    (void)state;
    enum { ROWS = 40001, TABLE = 1009, ARRAYS = 5, STEPS = 7 };
    if (!case_taken()) return;
    const Kernels *k = isa_open("simt");
    float *numbers = fill_normal(TABLE, 1, FP32, 3), *got = malloc(ROWS * sizeof *got);
    int *rows = malloc(ROWS * sizeof *rows), copies[STEPS];
    assert_non_null(got), assert_non_null(rows);
    Buf table = buf_of(k, FP32, numbers, TABLE), y[ARRAYS];
    for (int a = 0; a < ARRAYS; a++) y[a] = buf_new(k, FP32, ROWS);
    graphs(1);
    for (int s = 0; s < STEPS; s++) {
        int from = calls_now();
        k->step_begin(1 << 20);
        for (int a = 0; a < ARRAYS; a++) {
            for (int i = 0; i < ROWS; i++) rows[i] = (i * 13 + a * 101 + s * 7) % TABLE;
            k->rows_gather(y[a], table, rows, ROWS, 1);
        }
        k->upload(y[ARRAYS - 1], numbers, 10); /* after the gather, in the order of the step */
        k->step_end();
        copies[s] = calls_count("cudaMemcpyAsync", from);
        for (int a = 0; a < ARRAYS; a++) {
            k->download(got, y[a], ROWS);
            for (int i = 0; i < ROWS; i++)
                if (got[i] != numbers[a == ARRAYS - 1 && i < 10 ? i : (i * 13 + a * 101 + s * 7) % TABLE])
                    fail_msg("step %d, array %d: element %d is wrong", s, a, i);
        }
    }
    assert_true(copies[1] > 2 && copies[2] > 2); /* both stages grow; one copy more is the upload's own */
    assert_true(copies[STEPS - 2] == 2 && copies[STEPS - 1] == 2);
    sync_fine(k);
    for (int a = 0; a < ARRAYS; a++) k->free(y[a]);
    k->free(table);
    free(numbers), free(got), free(rows);
}

/* Buffers that are made and given back within a step, as when a workspace grows: what was queued for the old one still finds it. */
static void test_memory_within(void **state) {
    (void)state;
    enum { N = 1000 };
    const Kernels *k = isa_open("simt");
    float *numbers = fill_normal(N, 1, FP32, 4);
    Buf from = buf_of(k, FP32, numbers, N), to = buf_new(k, FP32, N);
    graphs(1);
    for (int s = 0; s < 5; s++) {
        k->zero(to, N);
        Buf old = buf_new(k, FP32, N);
        k->step_begin(3 << 20);
        k->copy(old, from, N);
        Buf grown = buf_new(k, FP32, N + 1 + s);
        k->copy(grown, old, N);
        k->free(old);
        k->copy(to, grown, N);
        k->free(grown);
        k->step_end();
        compare_bits(k, "through both", to, from, N);
        sync_fine(k);
    }
    k->free(from), k->free(to);
    free(numbers);
}

/* ---- what must not be, and failures ---- */

/* After all that came before: a step does what it should. */
static void steps_go_on(const Kernels *k, Buf y, Buf x) {
    float got;
    const int row = 2;
    sync_fine(k);
    for (int s = 0; s < 3; s++) {
        k->zero(y, 1);
        k->step_begin(2);
        k->rows_gather(y, x, &row, 1, 1);
        k->step_end();
        k->download(&got, y, 1);
        assert_true(got == 12);
        sync_fine(k);
    }
}

static void test_refused(void **state) {
    (void)state;
    const Kernels *k = isa_open("simt");
    const float numbers[] = { 10, 11, 12 };
    float got = 1;
    Error e;
    Buf x = buf_of(k, FP32, numbers, 3), y = buf_new(k, FP32, 1);
    graphs(1);
    gather_warm(k, y, x, 2);
    for (int taken = 0; taken < 2; taken++) { /* whether the failure is taken within the step makes no difference */
        k->step_begin(2);
        k->copy(y, buf_at(x, 1), 1);
        k->download(&got, y, 1);
        assert_true(got == 0);
        if (taken) assert_int_equal(k->sync(&e), -1);
        k->step_end();
        if (!taken) sync_says(k, "a download within a step");
        k->download(&got, y, 1);
        assert_true(got == 10); /* nothing of the step has run */
        steps_go_on(k, y, x);
        k->copy(y, x, 1);
    }
    k->step_begin(2);
    sync_says(k, "sync within a step");
    k->step_end();
    steps_go_on(k, y, x);
    k->step_begin(2);
    k->step_begin(2);
    k->step_end();
    k->step_end();
    sync_says(k, "a step begins within a step");
    steps_go_on(k, y, x);
    setenv("RLAIFV_GRAPHS", "perhaps", 1);
    k->step_begin(2);
    k->step_end();
    sync_says(k, "RLAIFV_GRAPHS says neither on nor off");
    graphs(1);
    cuda_failure_set("a failure from before", "%d", 1);
    int from = calls_now();
    k->step_begin(2);
    k->step_end();
    assert_int_equal(calls_now(), from);
    sync_says(k, "a failure from before");
    steps_go_on(k, y, x);
    k->free(x), k->free(y);
}

static void name_read(int number, char *out, size_t size) {
    FILE *f = fopen(calls_path, "r");
    assert_non_null(f);
    while (number-- > 0) assert_non_null(fgets(out, (int)size, f));
    out[strcspn(out, "\n")] = 0;
    fclose(f);
}

/* Each call of a step fails in turn, but those that wait, after which nothing works any more (faults.sh tries them, a process each). The
 * failure is reported by the call's name, the step has not run, and the same step done again gives the right bits. */
static void calls_fail(Decoder *with, Decoder *without, int crossing) {
    const Kernels *k = with->k;
    char name[256], number[16];
    int tried = 0, start = calls_now();
    graphs(1), decoder_step(with, 5, 0);
    graphs(0), decoder_step(without, 5, 0);
    name_read(start + 1, name, sizeof name);
    assert_string_equal(name, "cudaEventSynchronize"); /* the only one that waits */
    for (int call = 2, more = 1; more; call++) {
        if (crossing) /* keys come to be dealt in parts: the update is refused, and a graph made */
            for (int i = 0; i < 5; i++) with->before[i] = without->before[i] = call % 2 ? 256 : 20;
        graphs(0), decoder_step(without, 5, call);
        int from = calls_now(), failed;
        graphs(1);
        snprintf(number, sizeof number, "%d", from + call);
        setenv("SIMT_FAIL_CALL", number, 1);
        decoder_step(with, 5, call);
        more = calls_now() >= from + call;
        if (more) name_read(from + call, name, sizeof name);
        unsetenv("SIMT_FAIL_CALL");
        Error e;
        failed = k->sync(&e) != 0;
        if (more) {
            assert_true(failed); /* cudaGraphDestroy and the like too: what cannot be given back is said */
            error_says(&e, *name == '(' || !strncmp(name, "cuda", 4) || !strncmp(name, "cublasLt", 8) ? name : "kernel");
            tried++;
            enum cudaStreamCaptureStatus status;
            assert_int_equal(cudaStreamIsCapturing(cuda_stream(), &status), cudaSuccess);
            assert_int_equal(status, cudaStreamCaptureStatusNone);
            for (int i = 0; i < 5; i++) with->before[i]--;
            for (int again = 0; again < 2; again++) { /* the failed step dropped its graph: once without, once captured */
                decoder_step(with, 5, call);
                if (!again)
                    for (int i = 0; i < 5; i++) with->before[i]--;
            }
        } else assert_false(failed);
        decoders_agree(with, without, 5);
        sync_fine(k);
    }
    assert_true(tried > 15);
}

static void test_calls_fail(void **state) {
    (void)state;
    const Kernels *k = isa_open("simt");
    for (int crossing = 0; crossing < 2; crossing++) {
        if (!case_taken()) continue;
        Decoder with = decoder_new(k, BF16), without = decoder_new(k, BF16);
        for (int i = 0; i < LEAVES; i++) with.before[i] = without.before[i] = 20 + i;
        graphs(1);
        for (int s = 0; s < 2; s++) decoder_step(&with, 5, s);
        graphs(0);
        for (int s = 0; s < 2; s++) decoder_step(&without, 5, s);
        calls_fail(&with, &without, crossing);
        decoder_free(&with), decoder_free(&without);
    }
}

int main(void) {
    int fd = mkstemp(calls_path);
    if (fd < 0) return 2;
    close(fd);
    setenv("SIMT_CALLS", calls_path, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_far_ahead),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_stage_grows),
        cmocka_unit_test(test_memory_within),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_calls_fail),
    };
    int failed = cmocka_run_group_tests_name("steps as graphs", tests, NULL, NULL);
    unlink(calls_path);
    return failed;
}

/* cudnn_test.c - cuDNN as a peer (kernels/cuda/cudnn.c) on the emulated library: both operations against double-precision twins, what is
 * not offered, failures of every call, and what the emulated library refuses, by the statuses that libcudnn 9.19 was seen to answer with.
 */
#include "kernels/cuda/cudnn.h"
#include "kernels/peers.h"
#include "tests/kernels/attention_twin.h"

#include <sys/wait.h>
#include <unistd.h>

static int peer_sync(const Kernels *k) {
    Error e;
    return k->sync(&e);
}

/* ---- the patches as a convolution ---- */

typedef struct Patches {
    int B, C, S, p, D;
} Patches;

static double *patches_twin(const Patches *s, const float *pixels, const float *w) {
    int grid = s->S / s->p, rows = s->B * grid * grid;
    double *y = calloc((size_t)(rows * s->D), sizeof *y);
    assert_non_null(y);
    for (int r = 0; r < rows; r++)
        for (int d = 0; d < s->D; d++)
            for (int c = 0; c < s->C; c++)
                for (int i = 0; i < s->p; i++)
                    for (int j = 0; j < s->p; j++) {
                        int b = r / (grid * grid), top = r / grid % grid * s->p + i, left = r % grid * s->p + j;
                        y[r * s->D + d] +=
                            (double)pixels[((b * s->C + c) * s->S + top) * s->S + left] * w[((d * s->C + c) * s->p + i) * s->p + j];
                    }
    return y;
}

/* Twice: a plan is kept and its addresses change. */
static void patches_try(const Kernels *k, const Patches *s, DType t) {
    int grid = s->S / s->p, pixels_n = s->B * s->C * s->S * s->S, w_n = s->D * s->C * s->p * s->p, y_n = s->B * grid * grid * s->D;
    for (int turn = 0; turn < 2; turn++) {
        float *pixels = fill_normal(pixels_n, 1, t, (uint64_t)turn + 1), *w = fill_normal(w_n, 1, t, 3);
        double *want = patches_twin(s, pixels, w);
        Buf x = buf_of(k, FP32, pixels, pixels_n), weights = buf_of(k, t, w, w_n), y = buf_new(k, t, y_n);
        assert_int_equal(cuda_peers()->patches_linear(y, x, weights, s->B, s->C, s->S, s->p, s->D), 1);
        assert_int_equal(cuda_peers()->patches_linear(y, x, weights, s->B, s->C, s->S, s->p, s->D), 1);
        assert_int_equal(peer_sync(k), 0);
        compare_nmse(k, "patches_linear", y, want, y_n, nmse_bound(t));
        k->free(x), k->free(weights), k->free(y);
        free(pixels), free(w), free(want);
    }
}

static const Patches patches[] = { { 1, 1, 1, 1, 1 }, { 2, 3, 12, 4, 5 }, { 3, 3, 30, 14, 33 }, { 1, 3, 7, 3, 20 }, { 2, 2, 9, 2, 7 },
    { 1, 4, 23, 5, 129 } }; /* the third and those after it have a margin that no patch covers */
enum { PATCHES_N = sizeof patches / sizeof *patches };

/* A plan on TF32 or with sums in bf16, which the emulated library proposes first, would be outside these bounds. */
static void test_patches(void **state) {
    (void)state;
    for (int i = 0; i < PATCHES_N; i++) FOR_EACH_DTYPE(t) FOR_EACH_ISA(k) patches_try(k, &patches[i], t);
}

/* ---- attention of a segment that stands alone ---- */

typedef struct Alone {
    int T, heads, kv_heads, E, causal;
} Alone;

static void attention_try(const Kernels *k, const Alone *s) {
    TwinForest f = { .n = 0 };
    twin_segment(&f, -1, s->T);
    twin_plan(&f, s->heads, s->kv_heads, s->E, s->causal);
    int width = s->heads * s->E, kv_width = s->kv_heads * s->E, q_stride = width + 8, kv_stride = 2 * kv_width, q_n = s->T * q_stride,
        kv_n = s->T * kv_stride, out_n = s->T * width;
    float *q = fill_normal(q_n, 1, BF16, 1), *kv = fill_normal(kv_n, 1, BF16, 2);
    double *wq = wide_of(q, q_n), *wkv = wide_of(kv, kv_n), *want = calloc((size_t)out_n, sizeof *want),
           *lse = calloc((size_t)(s->T * s->heads), sizeof *lse);
    assert_non_null(want), assert_non_null(lse);
    twin_forward(want, lse, wq, wkv, wkv + kv_width, q_stride, kv_stride, s->T, &f.plan);
    Buf bq = buf_of(k, BF16, q, q_n), bkv = buf_of(k, BF16, kv, kv_n), out = buf_new(k, BF16, out_n);
    assert_int_equal(cuda_peers()->attention_forward(out, bq, bkv, buf_at(bkv, kv_width), q_stride, kv_stride, s->T, s->causal, s->heads,
                         s->kv_heads, s->E, f.plan.scale),
        1);
    assert_int_equal(peer_sync(k), 0);
    compare_nmse(k, "attention_forward", out, want, out_n, 3e-5); /* weights of values are rounded to bf16, as tensor cores take them */
    k->free(bq), k->free(bkv), k->free(out);
    free(q), free(kv), free(wq), free(wkv), free(want), free(lse);
}

static void test_attention(void **state) {
    (void)state;
    static const Alone shapes[] = { { 1, 1, 1, 8, 1 }, { 37, 2, 2, 64, 1 }, { 37, 2, 2, 64, 0 }, { 53, 6, 2, 128, 1 }, { 29, 3, 1, 72, 0 },
        { 130, 2, 1, 80, 1 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) FOR_EACH_ISA(k) attention_try(k, &shapes[i]);
}

/* More shapes than plans are kept; each is right, and what made room is given back (or the program would not end well). */
static void test_many_shapes(void **state) {
    (void)state;
    FOR_EACH_ISA(k)
    for (int turn = 0; turn < 2; turn++)
        for (int D = 1; D <= 19; D++) patches_try(k, &(Patches){ 1, 2, 6, 3, D }, BF16);
}

static void test_not_offered(void **state) {
    (void)state;
    FOR_EACH_ISA(k) {
        Buf wide = buf_new(k, FP32, 4096), narrow = buf_new(k, BF16, 4096), odd = { (char *)narrow.at + 2, BF16 };
        const Peers *p = cuda_peers();
        assert_int_equal(p->attention_forward(wide, wide, wide, wide, 8, 8, 4, 1, 1, 1, 8, 1), 0);
        assert_int_equal(p->attention_forward(narrow, narrow, narrow, narrow, 136, 136, 4, 1, 1, 1, 136, 1), 0);
        assert_int_equal(p->attention_forward(narrow, narrow, narrow, narrow, 12, 12, 4, 1, 1, 1, 12, 1), 0);
        assert_int_equal(p->attention_forward(narrow, odd, narrow, narrow, 8, 8, 4, 1, 1, 1, 8, 1), 0);
        assert_int_equal(p->patches_linear(narrow, narrow, narrow, 1, 1, 4, 2, 4), 0);
        assert_int_equal(p->patches_linear(narrow, wide, wide, 1, 1, 4, 2, 4), 0);
        assert_int_equal(p->patches_linear(odd, wide, narrow, 1, 1, 4, 2, 4), 0);
        assert_int_equal(p->patches_linear(narrow, wide, narrow, 1, 1, 4, 5, 4), 0);
        assert_int_equal(peer_sync(k), 0);
        k->free(wide), k->free(narrow);
    }
}

/* ---- failures ---- */

/* What a child does whose n-th call fails: 0 right, 1 refused, 2 wrong. */
static int faulty_main(void) {
    Error e;
    const Kernels *k = kernels_open("simt", 0, &e);
    enum { S = 5, p = 2, D = 3, ROWS = 4, K = 4, T = 3, E = 8 };
    Buf x, w, y;
    float pixels[S * S], weights[D * K], got[ROWS * D], want[ROWS * D] = { 0 };
    if (!k) return 1;
    for (int i = 0; i < S * S; i++) pixels[i] = (float)(i % 7);
    for (int i = 0; i < D * K; i++) weights[i] = (float)(i % 5);
    for (int r = 0; r < ROWS; r++)
        for (int d = 0; d < D; d++)
            for (int i = 0; i < K; i++) want[r * D + d] += pixels[(r / 2 * p + i / p) * S + r % 2 * p + i % p] * weights[d * K + i];
    if (k->alloc(&x, FP32, S * S, "x", &e)) return 1;
    if (k->alloc(&w, FP32, D * K, "w", &e)) return k->free(x), 1;
    if (k->alloc(&y, FP32, ROWS * D, "y", &e)) return k->free(x), k->free(w), 1;
    k->upload(x, pixels, S * S), k->upload(w, weights, D * K);
    int offered = cuda_peers()->patches_linear(y, x, w, 1, 1, S, p, D);
    k->download(got, y, ROWS * D);
    int bad = k->sync(&e);
    k->free(x), k->free(w), k->free(y);
    if (bad) return 1;
    return offered && !memcmp(got, want, sizeof got) ? 0 : 2;
}

static const char *program;
static int faulty_run(int n, const char *calls) {
    char number[16];
    int status;
    snprintf(number, sizeof number, "%d", n);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (n) setenv("SIMT_FAIL_CALL", number, 1);
        if (calls) setenv("SIMT_CALLS", calls, 1);
        /* what could not be given back as planned is no leak (the emulator counts the others), and what ASan finds is no refusal */
        setenv("ASAN_OPTIONS", "detect_stack_use_after_return=0:detect_leaks=0:exitcode=9", 1);
        execl(program, program, "faulty", (char *)NULL);
        _exit(9);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_failures(void **state) {
    (void)state;
    char calls[] = "/tmp/cudnn_test_XXXXXX", line[80];
    int file = mkstemp(calls), of_cudnn = 0, refused = 0, n = 0;
    assert_true(file >= 0);
    assert_int_equal(faulty_run(0, calls), 0);
    FILE *f = fdopen(file, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        n++;
        if (strncmp(line, "cudnn", 5)) continue;
        int code = faulty_run(n, NULL);
        of_cudnn++, refused += code == 1;
        if (code != 1 && !(code == 0 && strstr(line, "Destroy"))) fail_msg("call %d, %s: exit code %d", n, line, code);
    }
    fclose(f), unlink(calls);
    assert_true(of_cudnn > 100 && refused > 50);
}

/* ---- what the library refuses ---- */

static CudnnPart made(cudnnBackendDescriptorType_t type) {
    CudnnPart p;
    assert_int_equal(cudnnBackendCreateDescriptor(type, &p), CUDNN_STATUS_SUCCESS);
    return p;
}
static int set_ints(CudnnPart p, cudnnBackendAttributeName_t name, int64_t n, const int64_t *values) {
    return cudnnBackendSetAttribute(p, name, CUDNN_TYPE_INT64, n, values);
}

/* A finalized tensor, or what finalizing it said. */
static int tensor_status(CudnnPart t, int64_t align, const int64_t *dims, int dims_n, const int64_t *strides) {
    const cudnnDataType_t type = CUDNN_DATA_FLOAT;
    const int64_t id = 1;
    assert_int_equal(cudnnBackendSetAttribute(t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type), CUDNN_STATUS_SUCCESS);
    assert_int_equal(set_ints(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &id), CUDNN_STATUS_SUCCESS);
    if (align) assert_int_equal(set_ints(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1, &align), CUDNN_STATUS_SUCCESS);
    if (dims_n) assert_int_equal(set_ints(t, CUDNN_ATTR_TENSOR_DIMENSIONS, dims_n, dims), CUDNN_STATUS_SUCCESS);
    assert_int_equal(set_ints(t, CUDNN_ATTR_TENSOR_STRIDES, 4, strides), CUDNN_STATUS_SUCCESS);
    return cudnnBackendFinalize(t);
}

static void test_refused_tensors(void **state) {
    (void)state;
    const int64_t dims[] = { 1, 2, 3, 4 }, strides[] = { 24, 12, 4, 1 }, back[] = { 24, 12, -4, 1 };
    const int32_t small[] = { 1, 2, 3, 4 };
    const cudnnDataType_t types[] = { CUDNN_DATA_FLOAT, CUDNN_DATA_FLOAT };
    int64_t found, got[4];
    CudnnPart t[6];
    for (int i = 0; i < 6; i++) t[i] = made(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    assert_int_equal(tensor_status(t[0], 16, dims, 4, strides), CUDNN_STATUS_SUCCESS);
    assert_int_equal(tensor_status(t[1], 0, dims, 4, strides), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(tensor_status(t[2], 3, dims, 4, strides), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(tensor_status(t[3], 16, dims, 0, strides), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(tensor_status(t[4], 16, dims, 4, back), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(set_ints(t[0], CUDNN_ATTR_TENSOR_DIMENSIONS, 4, dims), CUDNN_STATUS_BAD_PARAM); /* it is finalized */
    assert_int_equal(cudnnBackendFinalize(t[0]), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(
        cudnnBackendSetAttribute(t[5], CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT32, 4, small), CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE);
    assert_int_equal(cudnnBackendSetAttribute(t[5], CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 2, types), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(set_ints(t[5], CUDNN_ATTR_CONVOLUTION_DILATIONS, 2, dims), CUDNN_STATUS_BAD_PARAM); /* not a tensor's */
    assert_int_equal(set_ints(t[5], CUDNN_ATTR_TENSOR_DIMENSIONS, 0, dims), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(set_ints(t[5], CUDNN_ATTR_TENSOR_DIMENSIONS, 4, NULL), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(
        cudnnBackendGetAttribute(t[5], CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, &found, got), CUDNN_STATUS_NOT_INITIALIZED);
    for (int i = 0; i < 6; i++) assert_int_equal(cudnnBackendDestroyDescriptor(t[i]), CUDNN_STATUS_SUCCESS);
    assert_int_equal(cudnnBackendDestroyDescriptor(NULL), CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
}

/* The graph of a convolution, as cudnn.c makes them: refused with shapes that do not fit, without a plan where types differ. */
static void graph_try(const int64_t *y, cudnnDataType_t y_type, int is_bad, int has_plan) {
    static const int64_t x[] = { 2, 3, 7, 7 }, w[] = { 4, 3, 3, 3 };
    CudnnGraph g = { .parts_n = 0 };
    Error e;
    FOR_EACH_ISA(k) {
        assert_int_equal(cudnn_open(), 0);
        CudnnPart parts[] = { cudnn_tensor(&g, CUDNN_MEMORY, CUDNN_DATA_FLOAT, x, NULL),
            cudnn_tensor(&g, CUDNN_MEMORY, CUDNN_DATA_FLOAT, w, NULL), cudnn_tensor(&g, CUDNN_MEMORY, y_type, y, NULL) };
        cudnn_convolution(&g, parts[2], parts[0], parts[1], 3);
        int planned = cudnn_graph_plan(&g, 0);
        assert_int_equal(g.is_bad, is_bad), assert_int_equal(planned, has_plan);
        cudnn_graph_end(&g);
        assert_int_equal(k->sync(&e), is_bad ? -1 : 0);
        if (is_bad && !strstr(e.found, "cudnnBackendFinalize at kernels/cuda/cudnn_graph.c:")) fail_msg("it says: %s", e.found);
    }
}

static void test_refused_graphs(void **state) {
    (void)state;
    graph_try((int64_t[]){ 2, 4, 2, 2 }, CUDNN_DATA_FLOAT, 0, 1);
    graph_try((int64_t[]){ 2, 4, 2, 2 }, CUDNN_DATA_BFLOAT16, 0, 0);
    graph_try((int64_t[]){ 2, 4, 3, 3 }, CUDNN_DATA_FLOAT, 1, 0);
    graph_try((int64_t[]){ 2, 5, 2, 2 }, CUDNN_DATA_FLOAT, 1, 0);
    graph_try((int64_t[]){ 1, 4, 2, 2 }, CUDNN_DATA_FLOAT, 1, 0);
}

int main(int argc, char **argv) {
    program = argv[0];
    if (argc > 1) return faulty_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patches),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_many_shapes),
        cmocka_unit_test(test_not_offered),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_refused_tensors),
        cmocka_unit_test(test_refused_graphs),
    };
    return cmocka_run_group_tests_name("cuDNN as a peer", tests, NULL, NULL);
}

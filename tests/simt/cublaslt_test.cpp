/* cublaslt_test.cpp - the emulated cuBLASLt against plain loops in double precision, and its refusals. */
extern "C" {
#include "kernels/kernels.h"
}
#include "tests/simt/cudart.h"

#include <cublasLt.h>
#include <cuda_bf16.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
extern "C" {
#include <cmocka.h>
}
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

static void ok(cublasStatus_t status) {
    if (status) fail_msg("%s", cublasLtGetStatusName(status));
}
static void ok(cudaError_t code) {
    if (code) fail_msg("%s", cudaGetErrorName(code));
}

/* A matrix on both sides, column by column with a leading dimension. */
struct Matrix {
    int rows, columns, ld;
    cudaDataType type;
    void *at;
    std::vector<float> host;
    cublasLtMatrixLayout_t layout;
};

static float rounded(float x, cudaDataType type) { return type == CUDA_R_32F ? x : __bfloat162float(__float2bfloat16_rn(x)); }

static void matrix_upload(Matrix *m) {
    std::vector<__nv_bfloat16> narrow(m->host.size());
    for (size_t i = 0; i < narrow.size(); i++) narrow[i] = __float2bfloat16_rn(m->host[i]);
    size_t each = m->type == CUDA_R_32F ? 4 : 2;
    const void *from = m->type == CUDA_R_32F ? (const void *)m->host.data() : (const void *)narrow.data();
    ok(cudaMemcpy(m->at, from, m->host.size() * each, cudaMemcpyHostToDevice));
}

static void matrix_make(Matrix *m, int rows, int columns, int ld, cudaDataType type, unsigned seed) {
    *m = Matrix{ rows, columns, ld, type, NULL, std::vector<float>((size_t)ld * (size_t)columns), NULL };
    for (float &x : m->host) {
        seed = seed * 1664525u + 1013904223u;
        x = rounded((float)(int)(seed >> 16) / 32768 - 1, type);
    }
    ok(cudaMalloc(&m->at, m->host.size() * 4));
    ok(cublasLtMatrixLayoutCreate(&m->layout, type, (uint64_t)rows, (uint64_t)columns, ld));
    matrix_upload(m);
}

static void matrix_read(Matrix *m) {
    if (m->type == CUDA_R_32F) {
        ok(cudaMemcpy(m->host.data(), m->at, m->host.size() * 4, cudaMemcpyDeviceToHost));
        return;
    }
    std::vector<__nv_bfloat16> narrow(m->host.size());
    ok(cudaMemcpy(narrow.data(), m->at, narrow.size() * 2, cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < narrow.size(); i++) m->host[i] = __bfloat162float(narrow[i]);
}

static void matrix_free(Matrix *m) {
    ok(cublasLtMatrixLayoutDestroy(m->layout));
    ok(cudaFree(m->at));
}

static double at(const Matrix &m, int trans, int i, int j) {
    return trans ? m.host[(size_t)(j + i * m.ld)] : m.host[(size_t)(i + j * m.ld)];
}

struct Case {
    int m, n, k, trans_a, trans_b, pad; /* added to each leading dimension */
    cudaDataType in, out;
    float alpha, beta;
    int bias, in_place;
};

static cublasLtHandle_t handle;

/* The heuristic's one algorithm for operands of that alignment. */
static cublasStatus_t algorithm_find(cublasLtMatmulAlgo_t *out, cublasLtMatmulDesc_t o, const Matrix &a, const Matrix &b, const Matrix &c,
    const Matrix &d, uint64_t workspace, uint32_t alignment) {
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t result[2];
    int found = -1;
    ok(cublasLtMatmulPreferenceCreate(&preference));
    ok(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
    const cublasLtMatmulPreferenceAttributes_t aligned[] = { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES };
    for (cublasLtMatmulPreferenceAttributes_t attribute : aligned)
        ok(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &alignment, sizeof alignment));
    cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, o, a.layout, b.layout, c.layout, d.layout, preference, 2, result, &found);
    ok(cublasLtMatmulPreferenceDestroy(preference));
    if (status) return status;
    assert_int_equal(found, 1);
    assert_int_equal(result[0].state, CUBLAS_STATUS_SUCCESS);
    assert_true(result[0].workspaceSize <= workspace);
    *out = result[0].algo;
    return status;
}

static void operation_make(cublasLtMatmulDesc_t *o, const Case &t, const void *bias) {
    int32_t trans_a = t.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N, trans_b = t.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    ok(cublasLtMatmulDescCreate(o, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    ok(cublasLtMatmulDescSetAttribute(*o, CUBLASLT_MATMUL_DESC_TRANSA, &trans_a, sizeof trans_a));
    ok(cublasLtMatmulDescSetAttribute(*o, CUBLASLT_MATMUL_DESC_TRANSB, &trans_b, sizeof trans_b));
    ok(cublasLtMatmulDescSetAttribute(*o, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    if (bias) ok(cublasLtMatmulDescSetAttribute(*o, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
}

static void product_try(const Case &t) {
    enum { WORKSPACE = 4096 };
    Matrix a, b, c, d, bias;
    cublasLtMatmulDesc_t o;
    cublasLtMatmulAlgo_t algorithm;
    cudaStream_t stream;
    void *workspace;
    ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)), ok(cudaMalloc(&workspace, WORKSPACE));
    matrix_make(&a, t.trans_a ? t.k : t.m, t.trans_a ? t.m : t.k, (t.trans_a ? t.k : t.m) + t.pad, t.in, 1);
    matrix_make(&b, t.trans_b ? t.n : t.k, t.trans_b ? t.k : t.n, (t.trans_b ? t.n : t.k) + t.pad, t.in, 2);
    matrix_make(&c, t.m, t.n, t.m + t.pad, t.out, 3);
    matrix_make(&d, t.m, t.n, t.m + (t.in_place ? t.pad : 2 * t.pad), t.out, 4);
    matrix_make(&bias, t.m, 1, t.m, t.out, 5);
    if (t.beta == 0) /* C is not read then */
        for (float &x : c.host) x = NAN;
    matrix_upload(&c);
    std::vector<float> before = t.in_place ? c.host : d.host;
    operation_make(&o, t, t.bias ? bias.at : NULL);
    ok(algorithm_find(&algorithm, o, a, b, c, d, WORKSPACE, 2));
    Matrix *result = t.in_place ? &c : &d;
    std::vector<float> c_host = c.host;
    ok(cublasLtMatmul(handle, o, &t.alpha, a.at, a.layout, b.at, b.layout, &t.beta, c.at, c.layout, result->at, result->layout, &algorithm,
        workspace, WORKSPACE, stream));
    ok(cudaStreamSynchronize(stream));
    matrix_read(result);
    double error = 0, size = 0;
    for (int j = 0; j < t.n; j++)
        for (int i = 0; i < result->ld; i++) {
            float got = result->host[(size_t)(i + j * result->ld)];
            if (i >= t.m) { /* between columns nothing changes */
                float kept = before[(size_t)(i + j * result->ld)];
                assert_true(memcmp(&got, &kept, sizeof got) == 0 || (isnan(got) && isnan(kept)));
                continue;
            }
            double want = 0;
            for (int p = 0; p < t.k; p++) want += at(a, t.trans_a, i, p) * at(b, t.trans_b, p, j);
            want *= t.alpha;
            if (t.beta != 0) want += t.beta * (double)c_host[(size_t)(i + j * c.ld)];
            if (t.bias) want += bias.host[(size_t)i];
            error += (got - want) * (got - want), size += want * want;
        }
    double bound = t.out == CUDA_R_32F ? 1e-12 : 1e-5;
    if (!(error <= bound * size)) fail_msg("%d x %d x %d: NMSE %g", t.m, t.n, t.k, error / size);
    ok(cublasLtMatmulDescDestroy(o));
    for (Matrix *m : { &a, &b, &c, &d, &bias }) matrix_free(m);
    ok(cudaFree(workspace)), ok(cudaStreamDestroy(stream));
}

static void test_products(void **) {
    const int shapes[][3] = { { 1, 1, 1 }, { 5, 7, 3 }, { 4, 4, 8 }, { 33, 17, 65 }, { 128, 64, 96 }, { 3, 70, 257 } };
    int number = 0;
    for (const auto &s : shapes)
        for (int trans = 0; trans < 4; trans++)
            for (int types = 0; types < 3; types++) {
                number++;
                cudaDataType in = types ? CUDA_R_16BF : CUDA_R_32F, out = types == 2 ? CUDA_R_16BF : CUDA_R_32F;
                float alpha = number % 3 ? 1 : 0.5f, beta = number % 2 ? 0 : number % 4 ? 1 : -2;
                product_try(
                    Case{ s[0], s[1], s[2], trans & 1, trans >> 1, number % 4, in, out, alpha, beta, number % 5 < 2, number % 7 < 3 });
            }
}

static void test_refusals(void **) {
    Matrix a, b, c, wrong;
    cublasLtMatmulDesc_t o;
    cublasLtMatmulAlgo_t algorithm;
    Case t = { 8, 8, 8, 0, 0, 0, CUDA_R_32F, CUDA_R_32F, 1, 0, 0, 0 };
    matrix_make(&a, 8, 8, 8, CUDA_R_32F, 1), matrix_make(&b, 8, 8, 8, CUDA_R_32F, 1), matrix_make(&c, 8, 8, 8, CUDA_R_16BF, 1);
    matrix_make(&wrong, 9, 8, 9, CUDA_R_32F, 1);
    operation_make(&o, t, NULL);
    assert_int_equal(algorithm_find(&algorithm, o, a, b, c, c, 0, 16), CUBLAS_STATUS_NOT_SUPPORTED); /* fp32 to bf16 */
    assert_int_equal(algorithm_find(&algorithm, o, a, wrong, a, a, 0, 16), CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(algorithm_find(&algorithm, o, a, b, a, wrong, 0, 16), CUBLAS_STATUS_INVALID_VALUE);
    int64_t ld = 7;
    assert_int_equal(cublasLtMatrixLayoutSetAttribute(a.layout, CUBLASLT_MATRIX_LAYOUT_LD, &ld, 4), CUBLAS_STATUS_INVALID_VALUE);
    ok(cublasLtMatrixLayoutSetAttribute(a.layout, CUBLASLT_MATRIX_LAYOUT_LD, &ld, sizeof ld));
    assert_int_equal(algorithm_find(&algorithm, o, a, b, b, b, 0, 16), CUBLAS_STATUS_INVALID_VALUE);
    ok(cublasLtMatmulDescDestroy(o));
    for (Matrix *m : { &a, &b, &c, &wrong }) matrix_free(m);
}

/* A pointer less aligned than the heuristic was told, and a workspace too small, end the process. */
static int misuse(int shift, uint64_t workspace) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        Matrix a, b, c;
        cublasLtMatmulDesc_t o;
        cublasLtMatmulAlgo_t algorithm;
        Case t = { 8, 8, 8, 0, 0, 0, CUDA_R_32F, CUDA_R_32F, 1, 0, 0, 0 };
        void *room;
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        matrix_make(&a, 8, 8, 8, CUDA_R_32F, 1), matrix_make(&b, 8, 4, 8, CUDA_R_32F, 1), matrix_make(&c, 8, 4, 8, CUDA_R_32F, 1);
        operation_make(&o, t, NULL);
        ok(cudaMalloc(&room, 4096));
        ok(algorithm_find(&algorithm, o, a, b, c, c, 4096, 16));
        ok(cublasLtMatmul(handle, o, &t.alpha, (char *)a.at, a.layout, (char *)b.at + shift, b.layout, &t.beta, c.at, c.layout, c.at,
            c.layout, &algorithm, room, workspace, NULL));
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}
static void test_misuse(void **) {
    assert_int_equal(misuse(0, 4096), 0);
    int status = misuse(4, 4096);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = misuse(0, 100);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void) {
    if (cublasLtCreate(&handle)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_misuse),
    };
    int failed = cmocka_run_group_tests_name("emulated cuBLASLt", tests, NULL, NULL);
    return cublasLtDestroy(handle) ? 1 : failed;
}

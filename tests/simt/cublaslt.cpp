/* cublaslt.cpp - the part of cuBLASLt that the engine uses, on the emulated runtime: D = epilogue(alpha op(A) op(B) + beta C) with matrices
 * of fp32 or bf16, sums in fp32, and the epilogues DEFAULT and BIAS.
 *
 * It refuses what the real library refuses and this project could meet by mistake: shapes that do not fit, a result of another type than
 * the library offers, pointers less aligned than the heuristic was told, a workspace smaller than the algorithm asked for. Attributes that
 * are not emulated end the process. */
#include "tests/simt/cudart.h"

#include <cublasLt.h>
#include <cuda_bf16.h>

#include <new>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

/* ---- what the opaque structures hold ---- */

struct Operation {
    int32_t trans_a, trans_b, compute, scale, epilogue, bias_type;
    const void *bias;
};
struct Layout {
    int32_t type, order, batch;
    uint64_t rows, columns;
    int64_t ld, batch_stride;
};
struct Preference {
    uint64_t workspace;
    uint32_t reductions; /* allowed; the emulated algorithm splits no sum */
    uint32_t align[4];   /* of A, B, C, D */
};
struct Algorithm {
    uint64_t is_one, workspace;
    uint32_t align[4];
};
static_assert(sizeof(Operation) <= sizeof(cublasLtMatmulDescOpaque_t), "room");
static_assert(sizeof(Layout) <= sizeof(cublasLtMatrixLayoutOpaque_t), "room");
static_assert(sizeof(Preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t), "room");
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t), "room");
struct cublasLtContext {
    int used;
};

static Operation *operation_of(cublasLtMatmulDesc_t d) { return (Operation *)d; }
static Layout *layout_of(cublasLtMatrixLayout_t d) { return (Layout *)d; }
static Preference *preference_of(cublasLtMatmulPreference_t d) { return (Preference *)d; }

#define CALL(error)                                                                                                                        \
    do {                                                                                                                                   \
        if (runtime_call(__func__)) return error;                                                                                          \
    } while (0)

template <typename Opaque, typename T> static cublasStatus_t make(Opaque **out, const T &value) {
    *out = new (std::nothrow) Opaque();
    if (!*out) return CUBLAS_STATUS_ALLOC_FAILED;
    memcpy((void *)*out, (const void *)&value, sizeof value);
    runtime_handle(1);
    return CUBLAS_STATUS_SUCCESS;
}
template <typename Opaque> static cublasStatus_t unmake(Opaque *it) {
    if (!it) return CUBLAS_STATUS_INVALID_VALUE;
    delete it;
    runtime_handle(-1);
    return CUBLAS_STATUS_SUCCESS;
}
/* Stores an attribute of sizeof(T) bytes. */
template <typename T> static cublasStatus_t store(T *to, const void *value, size_t bytes) {
    if (bytes != sizeof *to) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy((void *)to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- handles and descriptors ---- */

cublasStatus_t cublasLtCreate(cublasLtHandle_t *out) {
    CALL(CUBLAS_STATUS_NOT_INITIALIZED);
    return make(out, cublasLtContext{ 1 });
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    CALL(CUBLAS_STATUS_NOT_INITIALIZED);
    return unmake(handle);
}
size_t cublasLtGetVersion(void) { return CUBLAS_VERSION; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute, cudaDataType_t scale) {
    CALL(CUBLAS_STATUS_ALLOC_FAILED);
    return make(out, Operation{ CUBLAS_OP_N, CUBLAS_OP_N, compute, scale, CUBLASLT_EPILOGUE_DEFAULT, -1, NULL });
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
    CALL(CUBLAS_STATUS_NOT_INITIALIZED);
    return unmake(d);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(
    cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t attribute, const void *value, size_t bytes) {
    CALL(CUBLAS_STATUS_INVALID_VALUE);
    Operation *o = operation_of(d);
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return store(&o->trans_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return store(&o->trans_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return store(&o->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return store(&o->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        return store(&o->bias_type, value, bytes);
    default:
        runtime_fail("%s: attribute %d is not emulated", __func__, (int)attribute);
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows, uint64_t columns, int64_t ld) {
    CALL(CUBLAS_STATUS_ALLOC_FAILED);
    return make(out, Layout{ type, CUBLASLT_ORDER_COL, 1, rows, columns, ld, 0 });
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t d) {
    CALL(CUBLAS_STATUS_NOT_INITIALIZED);
    return unmake(d);
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(
    cublasLtMatrixLayout_t d, cublasLtMatrixLayoutAttribute_t attribute, const void *value, size_t bytes) {
    CALL(CUBLAS_STATUS_INVALID_VALUE);
    Layout *l = layout_of(d);
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
        return store(&l->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        return store(&l->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
        return store(&l->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
        return store(&l->columns, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
        return store(&l->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return store(&l->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        return store(&l->batch_stride, value, bytes);
    default:
        runtime_fail("%s: attribute %d is not emulated", __func__, (int)attribute);
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
    CALL(CUBLAS_STATUS_ALLOC_FAILED);
    return make(out, Preference{ 0, CUBLASLT_REDUCTION_SCHEME_MASK, { 256, 256, 256, 256 } });
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t d) {
    CALL(CUBLAS_STATUS_NOT_INITIALIZED);
    return unmake(d);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t d, cublasLtMatmulPreferenceAttributes_t attribute, const void *value, size_t bytes) {
    CALL(CUBLAS_STATUS_INVALID_VALUE);
    Preference *p = preference_of(d);
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return store(&p->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return store(&p->reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        return store(&p->align[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        return store(&p->align[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        return store(&p->align[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return store(&p->align[3], value, bytes);
    default:
        runtime_fail("%s: attribute %d is not emulated", __func__, (int)attribute);
    }
}

/* ---- a product ---- */

struct Product {
    Operation o;
    Layout a, b, c, d;
    float alpha, beta;
    const void *at_a, *at_b, *at_c;
    void *at_d;
    int64_t m, n, k;
};

static size_t type_size(int32_t type) { return type == CUDA_R_32F ? 4 : 2; }
static int type_is_known(int32_t type) { return type == CUDA_R_32F || type == CUDA_R_16BF; }

static cublasStatus_t product_check(Product *p) {
    const Layout *all[] = { &p->a, &p->b, &p->c, &p->d };
    const Operation &o = p->o;
    for (const Layout *l : all) {
        if (l->order != CUBLASLT_ORDER_COL) runtime_fail("cublasLtMatmul: order %d is not emulated", l->order);
        if (!type_is_known(l->type)) return CUBLAS_STATUS_NOT_SUPPORTED;
        if (!l->rows || !l->columns || l->ld < (int64_t)l->rows || l->batch != p->a.batch) return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (o.epilogue != CUBLASLT_EPILOGUE_DEFAULT && o.epilogue != CUBLASLT_EPILOGUE_BIAS)
        runtime_fail("cublasLtMatmul: epilogue %d is not emulated", o.epilogue);
    if ((o.trans_a != CUBLAS_OP_N && o.trans_a != CUBLAS_OP_T) || (o.trans_b != CUBLAS_OP_N && o.trans_b != CUBLAS_OP_T))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (o.compute != CUBLAS_COMPUTE_32F || o.scale != CUDA_R_32F)
        runtime_fail("cublasLtMatmul: compute type %d with scale type %d is not emulated", o.compute, o.scale);
    p->m = (int64_t)(o.trans_a == CUBLAS_OP_N ? p->a.rows : p->a.columns);
    p->k = (int64_t)(o.trans_a == CUBLAS_OP_N ? p->a.columns : p->a.rows);
    p->n = (int64_t)(o.trans_b == CUBLAS_OP_N ? p->b.columns : p->b.rows);
    int64_t other_k = (int64_t)(o.trans_b == CUBLAS_OP_N ? p->b.rows : p->b.columns);
    if (other_k != p->k || (int64_t)p->d.rows != p->m || (int64_t)p->d.columns != p->n || p->c.rows != p->d.rows ||
        p->c.columns != p->d.columns)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (p->a.type != p->b.type || p->c.type != p->d.type || (p->a.type == CUDA_R_32F && p->d.type != CUDA_R_32F))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (o.epilogue == CUBLASLT_EPILOGUE_BIAS && o.bias_type >= 0 && o.bias_type != p->d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

static float number(const void *at, int32_t type, int64_t i) {
    return type == CUDA_R_32F ? ((const float *)at)[i] : __bfloat162float(((const __nv_bfloat16 *)at)[i]);
}

/* `lines` rows of op(A), or columns of op(B), each of k numbers, as fp32. along: distance of a line's neighbours in memory. */
static std::vector<float> lines_of(const void *at, int32_t type, int64_t lines, int64_t k, int64_t across, int64_t along) {
    std::vector<float> out((size_t)(lines * k));
#pragma omp parallel for if (lines * k > 65536)
    for (int64_t i = 0; i < lines; i++)
        for (int64_t j = 0; j < k; j++) out[(size_t)(i * k + j)] = number(at, type, i * across + j * along);
    return out;
}

/* sum[i][j] = a_i . b_j for up to 4 x 4 lines of k numbers: eight partial sums each, so that compilers vectorise and sums stay accurate. */
enum { TILE = 4, LANES = 8 };
static void tile_dot(float sum[TILE][TILE], const float *const a[TILE], const float *const b[TILE], int64_t k) {
    typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));
    Lanes part[TILE][TILE] = {};
    int64_t whole = k / LANES * LANES;
    for (int64_t p = 0; p < whole; p += LANES) {
        Lanes x[TILE], y[TILE];
        for (int i = 0; i < TILE; i++) memcpy(&x[i], a[i] + p, sizeof x[i]), memcpy(&y[i], b[i] + p, sizeof y[i]);
        for (int i = 0; i < TILE; i++)
            for (int j = 0; j < TILE; j++) part[i][j] += x[i] * y[j];
    }
    for (int i = 0; i < TILE; i++)
        for (int j = 0; j < TILE; j++) {
            float s = 0;
            for (int l = 0; l < LANES; l++) s += part[i][j][l];
            for (int64_t p = whole; p < k; p++) s += a[i][p] * b[j][p];
            sum[i][j] = s;
        }
}

static void product_run_one(const Product &p, const void *at_a, const void *at_b, const void *at_c, void *at_d) {
    int a_plain = p.o.trans_a == CUBLAS_OP_N, b_plain = p.o.trans_b == CUBLAS_OP_N;
    std::vector<float> a = lines_of(at_a, p.a.type, p.m, p.k, a_plain ? 1 : p.a.ld, a_plain ? p.a.ld : 1);
    std::vector<float> b = lines_of(at_b, p.b.type, p.n, p.k, b_plain ? p.b.ld : 1, b_plain ? 1 : p.b.ld);
    int with_bias = p.o.epilogue == CUBLASLT_EPILOGUE_BIAS;
#pragma omp parallel for collapse(2) if (p.m * p.n * p.k > 65536)
    for (int64_t j0 = 0; j0 < p.n; j0 += TILE)
        for (int64_t i0 = 0; i0 < p.m; i0 += TILE) {
            const float *rows[TILE], *columns[TILE];
            float sum[TILE][TILE];
            for (int t = 0; t < TILE; t++) {
                rows[t] = &a[(size_t)((i0 + t < p.m ? i0 + t : p.m - 1) * p.k)];
                columns[t] = &b[(size_t)((j0 + t < p.n ? j0 + t : p.n - 1) * p.k)];
            }
            tile_dot(sum, rows, columns, p.k);
            for (int64_t i = i0; i < p.m && i < i0 + TILE; i++)
                for (int64_t j = j0; j < p.n && j < j0 + TILE; j++) {
                    float value = p.alpha * sum[i - i0][j - j0];
                    if (p.beta != 0) value += p.beta * number(at_c, p.c.type, i + j * p.c.ld);
                    if (with_bias) value += number(p.o.bias, p.d.type, i);
                    if (p.d.type == CUDA_R_32F) ((float *)at_d)[i + j * p.d.ld] = value;
                    else ((__nv_bfloat16 *)at_d)[i + j * p.d.ld] = __float2bfloat16_rn(value);
                }
        }
}

static const char *batch_at(const void *at, const Layout &l, int i) {
    return (const char *)at + l.batch_stride * i * (int64_t)type_size(l.type);
}

static size_t layout_bytes(const Layout &l) {
    return (((size_t)l.columns - 1) * (size_t)l.ld + (size_t)l.rows + (size_t)(l.batch - 1) * (size_t)l.batch_stride) * type_size(l.type);
}

static void product_memory_check(const Product &p) {
    memory_check("cublasLtMatmul, A", p.at_a, layout_bytes(p.a));
    memory_check("cublasLtMatmul, B", p.at_b, layout_bytes(p.b));
    if (p.beta != 0) memory_check("cublasLtMatmul, C", p.at_c, layout_bytes(p.c));
    memory_check("cublasLtMatmul, D", p.at_d, layout_bytes(p.d));
    if (p.o.epilogue == CUBLASLT_EPILOGUE_BIAS) memory_check("cublasLtMatmul, bias", p.o.bias, (size_t)p.m * type_size(p.d.type));
}

static void product_run(const Product &p) {
    product_memory_check(p);
    for (int i = 0; i < p.d.batch; i++) {
        char *d = (char *)batch_at(p.at_d, p.d, i);
        product_run_one(p, batch_at(p.at_a, p.a, i), batch_at(p.at_b, p.b, i), batch_at(p.at_c, p.c, i), d);
        for (int64_t j = 0; j < p.n; j++) memory_written(d + j * p.d.ld * (int64_t)type_size(p.d.type), (size_t)p.m * type_size(p.d.type));
    }
}

/* What the emulated algorithm asks for, where the caller allows so much. */
static const uint64_t WORKSPACE = 1 << 20;

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t o, cublasLtMatrixLayout_t a,
    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int asked,
    cublasLtMatmulHeuristicResult_t results[], int *found) {
    CALL(CUBLAS_STATUS_NOT_INITIALIZED);
    if (!handle || asked < 1) return CUBLAS_STATUS_INVALID_VALUE;
    Product p = {};
    p.o = *operation_of(o), p.a = *layout_of(a), p.b = *layout_of(b), p.c = *layout_of(c), p.d = *layout_of(d);
    cublasStatus_t status = product_check(&p);
    *found = 0;
    if (status) return status;
    const Preference *wanted = preference_of(preference);
    Algorithm one = { 1, wanted->workspace < WORKSPACE ? wanted->workspace : WORKSPACE, {} };
    memcpy(one.align, wanted->align, sizeof one.align);
    memset((void *)results, 0, (size_t)asked * sizeof *results);
    memcpy((void *)&results[0].algo, (const void *)&one, sizeof one);
    results[0].workspaceSize = one.workspace;
    results[0].state = CUBLAS_STATUS_SUCCESS;
    results[0].wavesCount = 1;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t o, const void *alpha, const void *at_a,
    cublasLtMatrixLayout_t a, const void *at_b, cublasLtMatrixLayout_t b, const void *beta, const void *at_c, cublasLtMatrixLayout_t c,
    void *at_d, cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t workspace_bytes,
    cudaStream_t stream) {
    CALL(CUBLAS_STATUS_EXECUTION_FAILED);
    if (!handle || !algorithm) return CUBLAS_STATUS_INVALID_VALUE;
    Product p = { *operation_of(o), *layout_of(a), *layout_of(b), *layout_of(c), *layout_of(d), *(const float *)alpha, *(const float *)beta,
        at_a, at_b, at_c, at_d, 0, 0, 0 };
    cublasStatus_t status = product_check(&p);
    if (status) return status;
    Algorithm one;
    memcpy((void *)&one, (const void *)algorithm, sizeof one);
    if (one.is_one != 1) return CUBLAS_STATUS_INVALID_VALUE;
    const void *at[] = { at_a, at_b, p.beta != 0 ? at_c : NULL, at_d };
    for (int i = 0; i < 4; i++)
        if ((uintptr_t)at[i] % one.align[i])
            runtime_fail("cublasLtMatmul: operand %c is not aligned to the %u bytes that the heuristic was told", "ABCD"[i], one.align[i]);
    if (workspace_bytes < one.workspace)
        runtime_fail("cublasLtMatmul: a workspace of %zu bytes, and the algorithm asked for %llu", workspace_bytes,
            (unsigned long long)one.workspace);
    product_memory_check(p);
    memory_check("cublasLtMatmul, workspace", workspace, one.workspace);
    size_t used = one.workspace;
    runtime_stream_check("cublasLtMatmul", stream);
    if (capture_refuses_work(stream)) return CUBLAS_STATUS_EXECUTION_FAILED;
    auto run = [p, workspace, used]() {
        memory_check("cublasLtMatmul, workspace", workspace, used);
        memset(workspace, 0xFF, used); /* whatever was there is gone */
        product_run(p);
    };
    runtime_queue(stream, Work{ WORK_KERNEL, 0, run, nullptr, 0, nullptr });
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "the function failed to launch on the GPU";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "the functionality requested is not supported";
    default:
        return "unknown status";
    }
}
const char *cublasLtGetStatusName(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
        return "CUBLAS_STATUS_UNKNOWN";
    }
}

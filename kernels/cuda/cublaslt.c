/* cublaslt.c - products by cuBLASLt: fp32 operands with fp32 products (never TF32), bf16 operands with fp32 sums, bias and residual fused.
 *
 * The library's matrices are column-major: a row-major c (m, n) is its c^T (n, m), so it is asked for c^T = op(b)^T op(a)^T. Descriptors
 * and the algorithm that the heuristic names are kept by shape. Algorithms that add to the result from several blocks at once, in no fixed
 * order, are excluded; with the one workspace on the one stream, equal calls give equal bits. The workspace is reserved at the first
 * product and never grows.
 *
 * Calls: cublasLtCreate, Destroy, GetStatusName, GetStatusString; MatmulDescCreate, Destroy, SetAttribute (TRANSA, TRANSB, EPILOGUE,
 * BIAS_POINTER); MatrixLayoutCreate, Destroy; MatmulPreferenceCreate, Destroy, SetAttribute (MAX_WORKSPACE_BYTES, REDUCTION_SCHEME_MASK,
 * MIN_ALIGNMENT_x_BYTES); MatmulAlgoGetHeuristic; Matmul. */
#include "kernels/cuda/products.h"
#include "kernels/cuda/state.h"

#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

enum {
    SETS = 128, /* of shapes that are kept: a training step has about 40, a decoding loop few */
    WAYS = 4,
    WORKSPACE = CUBLASLT_WORKSPACE,
    ALIGN_MOST = 16       /* what the widest access asks for */
};

/* What descriptors and algorithm depend on. */
typedef struct Shape {
    int form, m, n, k, operand, result, bias, residual, align[4]; /* dtypes; bias and residual are 0 or 1; of A, B, C, D */
} Shape;

typedef struct Plan {
    Shape shape;
    int is_used, has_algorithm;
    uint64_t last_use;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
} Plan;

static cublasLtHandle_t handle;
static Plan plans[SETS][WAYS];
static uint64_t uses;

static int check(cublasStatus_t status, const char *call, int line) {
    if (status == CUBLAS_STATUS_SUCCESS) return 0;
    cuda_failure_set("a matrix product failed", "%.*s at %s:%d: %s (%s)", (int)strcspn(call, "("), call, __FILE__, line,
        cublasLtGetStatusString(status), cublasLtGetStatusName(status));
    return -1;
}
/* Not zero when the call failed; the failure is recorded by the call's name, file and line. */
#define TRY(call) check((call), #call, __LINE__)

/* ---- plans ---- */

static void plan_forget(Plan *p) {
    if (p->operation) TRY(cublasLtMatmulDescDestroy(p->operation));
    cublasLtMatrixLayout_t layouts[] = { p->a, p->b, p->c };
    for (int i = 0; i < 3; i++)
        if (layouts[i]) TRY(cublasLtMatrixLayoutDestroy(layouts[i]));
    memset(p, 0, sizeof *p);
}

static void close_library(void) {
    for (int s = 0; s < SETS; s++)
        for (int w = 0; w < WAYS; w++) plan_forget(&plans[s][w]);
    if (handle) TRY(cublasLtDestroy(handle));
    handle = NULL;
}

static int library_ready(void) {
    static int registered;
    if (handle) return 1;
    if (TRY(cublasLtCreate(&handle))) return 0;
    if (!registered && atexit(close_library)) cuda_failure_set("a matrix product failed", "atexit");
    registered = 1;
    return 1;
}

static cudaDataType_t data_type(int dtype) { return dtype == FP32 ? CUDA_R_32F : CUDA_R_16BF; }

/* The descriptors of c^T = A B: A is b, B is a. */
static int plan_describe(Plan *p) {
    const Shape *s = &p->shape;
    cublasOperation_t trans_a = s->form == FORM_X_WT ? CUBLAS_OP_T : CUBLAS_OP_N,
                      trans_b = s->form == FORM_XT_Y ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = s->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    int a_row = s->form == FORM_X_WT ? s->k : s->n, a_rows = s->form == FORM_X_WT ? s->n : s->k;
    int b_row = s->form == FORM_XT_Y ? s->m : s->k, b_rows = s->form == FORM_XT_Y ? s->k : s->m;
    cudaDataType_t operand = data_type(s->operand), result = data_type(s->result);
    return TRY(cublasLtMatmulDescCreate(&p->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F)) ||
           TRY(cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSA, &trans_a, sizeof trans_a)) ||
           TRY(cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSB, &trans_b, sizeof trans_b)) ||
           TRY(cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue)) ||
           TRY(cublasLtMatrixLayoutCreate(&p->a, operand, (uint64_t)a_row, (uint64_t)a_rows, a_row)) ||
           TRY(cublasLtMatrixLayoutCreate(&p->b, operand, (uint64_t)b_row, (uint64_t)b_rows, b_row)) ||
           TRY(cublasLtMatrixLayoutCreate(&p->c, result, (uint64_t)s->n, (uint64_t)s->m, s->n));
}

static int preference_fill(cublasLtMatmulPreference_t preference, const Shape *s) {
    static const cublasLtMatmulPreferenceAttributes_t align[] = { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES };
    uint64_t workspace = WORKSPACE;
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* through the workspace, in fp32; or none */
    int bad =
        TRY(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace)) ||
        TRY(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions));
    for (int i = 0; i < 4 && !bad; i++) {
        uint32_t bytes = (uint32_t)s->align[i];
        bad = TRY(cublasLtMatmulPreferenceSetAttribute(preference, align[i], &bytes, sizeof bytes));
    }
    return bad;
}

/* Sets has_algorithm. */
static int plan_choose(Plan *p) {
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t best;
    int found = 0, bad = TRY(cublasLtMatmulPreferenceCreate(&preference));
    if (bad) return bad;
    bad = preference_fill(preference, &p->shape);
    if (!bad) {
        cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, p->operation, p->a, p->b, p->c, p->c, preference, 1, &best, &found);
        if (status != CUBLAS_STATUS_NOT_SUPPORTED) bad = check(status, "cublasLtMatmulAlgoGetHeuristic", __LINE__);
    }
    p->has_algorithm = !bad && found > 0 && best.state == CUBLAS_STATUS_SUCCESS;
    if (p->has_algorithm) p->algorithm = best.algo;
    return TRY(cublasLtMatmulPreferenceDestroy(preference)) || bad;
}

static uint32_t shape_hash(const Shape *s) {
    const unsigned char *bytes = (const unsigned char *)s;
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < sizeof *s; i++) h = (h ^ bytes[i]) * 16777619u;
    return h ^ h >> 15;
}

/* NULL after a failure. The plan used longest ago makes room. */
static Plan *plan_of(const Shape *s) {
    Plan *set = plans[shape_hash(s) % SETS], *oldest = set;
    for (int w = 0; w < WAYS; w++) {
        if (set[w].is_used && !memcmp(&set[w].shape, s, sizeof *s)) return set[w].last_use = ++uses, &set[w];
        if (set[w].last_use < oldest->last_use) oldest = &set[w];
    }
    plan_forget(oldest);
    oldest->shape = *s;
    if (plan_describe(oldest) || plan_choose(oldest)) return plan_forget(oldest), NULL;
    oldest->is_used = 1, oldest->last_use = ++uses;
    return oldest;
}

/* ---- products ---- */

static int align_of(const void *at) {
    int bytes = 1;
    while (bytes < ALIGN_MOST && (uintptr_t)at % (uintptr_t)(bytes * 2) == 0) bytes *= 2;
    return bytes;
}

int cublaslt_run(const CudaProduct *p) {
    const void *c = p->residual.at ? p->residual.at : p->c.at;
    if (p->k <= 0 || (p->bias.at && p->bias.dtype != p->c.dtype) || (p->residual.at && p->residual.dtype != p->c.dtype)) return 0;
    if (!library_ready()) return 1;
    Shape s = { p->form, p->m, p->n, p->k, p->b.dtype, p->c.dtype, p->bias.at != NULL, p->residual.at != NULL,
        { align_of(p->b.at), align_of(p->a.at), align_of(c), align_of(p->c.at) } };
    Plan *plan = plan_of(&s);
    if (plan && !plan->has_algorithm) return 0;
    void *workspace = cuda_scratch(CUDA_SCRATCH_CUBLASLT, WORKSPACE);
    if (!plan || !workspace) return 1;
    if (s.bias && TRY(cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias.at, sizeof p->bias.at)))
        return 1;
    const float alpha = 1, beta = s.residual ? 1 : 0;
    TRY(cublasLtMatmul(handle, plan->operation, &alpha, p->b.at, plan->a, p->a.at, plan->b, &beta, c, plan->c, p->c.at, plan->c,
        &plan->algorithm, workspace, WORKSPACE, cuda_stream()));
    return 1;
}

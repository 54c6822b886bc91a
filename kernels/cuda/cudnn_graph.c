/* cudnn_graph.c - see cudnn.h. Owns the library's handle, and the life of descriptors: a graph keeps every one that it made until its end,
 * because the library does not say which of them a plan still reads.
 *
 * Calls: cudnnCreate, Destroy, SetStream, GetErrorString, GetLastErrorString; cudnnBackendCreateDescriptor, DestroyDescriptor,
 * SetAttribute, GetAttribute, Finalize, Execute. */
#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/state.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum { PROPOSALS = 32 };

static cudnnHandle_t handle;

static int check(cudnnStatus_t status, const char *call, const char *of, int line) {
    if (status == CUDNN_STATUS_SUCCESS) return 0;
    char why[160] = "";
    cudnnGetLastErrorString(why, sizeof why);
    cuda_failure_set("cuDNN failed", "%.*s%s%s at %s:%d: %s: %s", (int)strcspn(call, "("), call, *of ? " of " : "", of, __FILE__, line,
        cudnnGetErrorString(status), why);
    return -1;
}
/* Not zero when the call failed; the failure is recorded by the call's name, file and line. */
#define TRY(call) check((call), #call, "", __LINE__)

int cudnn_open(void) {
    if (handle) return 0;
    if (TRY(cudnnCreate(&handle))) return handle = NULL, -1;
    if (!TRY(cudnnSetStream(handle, cuda_stream()))) return 0;
    cudnn_close();
    return -1;
}

void cudnn_close(void) {
    if (handle) TRY(cudnnDestroy(handle));
    handle = NULL;
}

/* ---- descriptors ---- */

static CudnnPart part_new(CudnnGraph *g, cudnnBackendDescriptorType_t type) {
    CudnnPart p = NULL;
    assert(g->parts_n < CUDNN_PARTS_MOST);
    if (g->is_bad) return NULL;
    if (TRY(cudnnBackendCreateDescriptor(type, &p))) return g->is_bad = 1, NULL;
    return g->parts[g->parts_n++] = p;
}

static void part_set(CudnnGraph *g, CudnnPart p, cudnnBackendAttributeName_t name, const char *text, cudnnBackendAttributeType_t type,
    int64_t n, const void *values, int line) {
    if (!g->is_bad) g->is_bad = !!check(cudnnBackendSetAttribute(p, name, type, n, values), "cudnnBackendSetAttribute", text, line);
}
/* The attribute `name` of part p: n values of a type, or one. */
#define SET_ALL(p, name, type, n, values) part_set(g, p, name, #name, type, n, values, __LINE__)
#define SET(p, name, type, value) SET_ALL(p, name, type, 1, &(value))
#define SET_PART(p, name, part) SET(p, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, part)

static void part_finish(CudnnGraph *g, CudnnPart p, int line) {
    if (!g->is_bad) g->is_bad = !!check(cudnnBackendFinalize(p), "cudnnBackendFinalize", "", line);
}
#define FINISH(p) part_finish(g, p, __LINE__)

/* How many values of the attribute there were; at most n are stored. */
static int64_t part_get(CudnnGraph *g, CudnnPart p, cudnnBackendAttributeName_t name, const char *text, cudnnBackendAttributeType_t type,
    int64_t n, void *values, int line) {
    int64_t found = 0;
    if (g->is_bad) return 0;
    g->is_bad = !!check(cudnnBackendGetAttribute(p, name, type, n, &found, values), "cudnnBackendGetAttribute", text, line);
    return g->is_bad ? 0 : found;
}
#define GET_ALL(p, name, type, n, values) part_get(g, p, name, #name, type, n, values, __LINE__)

CudnnPart cudnn_tensor(CudnnGraph *g, CudnnTensor kind, cudnnDataType_t type, const int64_t *dims, const int64_t *strides) {
    CudnnPart t = part_new(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    int64_t dense[CUDNN_RANK] = { 0 }, align = kind == CUDNN_SCALAR ? (int64_t)sizeof(float) : CUDNN_ALIGN, id = ++g->tensors_n;
    const bool yes = true;
    dense[CUDNN_RANK - 1] = 1;
    for (int i = CUDNN_RANK - 2; i >= 0; i--) dense[i] = dense[i + 1] * dims[i + 1];
    SET(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id);
    SET(t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type);
    SET(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, align);
    SET_ALL(t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, CUDNN_RANK, dims);
    SET_ALL(t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, CUDNN_RANK, strides ? strides : dense);
    if (kind == CUDNN_INSIDE) SET(t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, yes);
    if (kind == CUDNN_SCALAR) SET(t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, yes);
    FINISH(t);
    if (kind == CUDNN_INSIDE) return t;
    assert(g->given_n < CUDNN_GIVEN_MOST);
    g->given[g->given_n++] = id;
    return t;
}

/* ---- operations ---- */

static void operation_add(CudnnGraph *g, CudnnPart operation, int line) {
    assert(g->operations_n < CUDNN_OPERATIONS_MOST);
    part_finish(g, operation, line);
    g->operations[g->operations_n++] = operation;
}
#define ADD(operation) operation_add(g, operation, __LINE__)

static const cudnnDataType_t fp32 = CUDNN_DATA_FLOAT;

void cudnn_convolution(CudnnGraph *g, CudnnPart y, CudnnPart x, CudnnPart w, int64_t stride) {
    CudnnPart how = part_new(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR),
              o = part_new(g, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    const int64_t dims = 2, strides[] = { stride, stride }, none[] = { 0, 0 }, ones[] = { 1, 1 };
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const float alpha = 1, beta = 0;
    SET(how, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, fp32);
    SET(how, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, mode);
    SET(how, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, dims);
    SET_ALL(how, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, dims, strides);
    SET_ALL(how, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, dims, none);
    SET_ALL(how, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, dims, none);
    SET_ALL(how, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, dims, ones);
    FINISH(how);
    SET(o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, alpha);
    SET(o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, beta);
    SET_PART(o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, how);
    SET_PART(o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    SET_PART(o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
    SET_PART(o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    ADD(o);
}

void cudnn_product(CudnnGraph *g, CudnnPart c, CudnnPart a, CudnnPart b) {
    CudnnPart how = part_new(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR), o = part_new(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    SET(how, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, fp32);
    FINISH(how);
    SET_PART(o, CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
    SET_PART(o, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    SET_PART(o, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    SET_PART(o, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    ADD(o);
}

void cudnn_pointwise(
    CudnnGraph *g, CudnnPart y, cudnnPointwiseMode_t mode, cudnnDataType_t type, CudnnPart x, CudnnPart b, CudnnPart t, int64_t axis) {
    CudnnPart how = part_new(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR), o = part_new(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    SET(how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode);
    SET(how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, type);
    if (mode == CUDNN_POINTWISE_GEN_INDEX) SET(how, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, axis);
    FINISH(how);
    SET_PART(o, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    SET_PART(o, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b) SET_PART(o, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    if (t) SET_PART(o, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, t);
    SET_PART(o, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    ADD(o);
}

void cudnn_reduction(CudnnGraph *g, CudnnPart y, cudnnReduceTensorOp_t by, CudnnPart x) {
    CudnnPart how = part_new(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR), o = part_new(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    SET(how, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, by);
    SET(how, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, fp32);
    FINISH(how);
    SET_PART(o, CUDNN_ATTR_OPERATION_REDUCTION_DESC, how);
    SET_PART(o, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    SET_PART(o, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    ADD(o);
}

/* ---- plans ---- */

static int proposal_accepted(CudnnGraph *g, CudnnPart proposal, unsigned refused) {
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    CudnnPart engine = part_new(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    GET_ALL(proposal, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine);
    int64_t n = GET_ALL(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes);
    for (int64_t i = 0; i < n && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++)
        if (refused >> notes[i] & 1) return 0;
    return !g->is_bad;
}

/* A proposal that the library itself cannot carry out after all is no failure: the next one may do. */
static int proposal_plan(CudnnGraph *g, CudnnPart proposal) {
    CudnnPart plan = part_new(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    SET(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle);
    SET_PART(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, proposal);
    if (g->is_bad) return 0;
    cudnnStatus_t status = cudnnBackendFinalize(plan);
    if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED) return 0;
    g->is_bad = !!check(status, "cudnnBackendFinalize", "a plan", __LINE__);
    GET_ALL(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &g->workspace_bytes);
    if (!g->is_bad) g->plan = plan;
    return !g->is_bad;
}

int cudnn_graph_plan(CudnnGraph *g, unsigned refused) {
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    CudnnPart proposals[PROPOSALS], graph = part_new(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR),
                                    advice = part_new(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    SET(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle);
    SET_ALL(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->operations_n, g->operations);
    FINISH(graph);
    SET_PART(advice, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    SET(advice, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
    FINISH(advice);
    for (int i = 0; i < PROPOSALS; i++) proposals[i] = part_new(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    int64_t n = GET_ALL(advice, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, PROPOSALS, proposals);
    for (int64_t i = 0; i < n && i < PROPOSALS && !g->plan && !g->is_bad; i++)
        if (proposal_accepted(g, proposals[i], refused)) proposal_plan(g, proposals[i]);
    return g->plan != NULL;
}

/* The addresses of a run, for the plan to read: kept, since most runs of a graph have those of the run before. */
static void pack_make(CudnnGraph *g, const void *const *at, void *workspace) {
    if (g->pack) g->is_bad |= !!TRY(cudnnBackendDestroyDescriptor(g->pack));
    g->pack = NULL;
    if (g->is_bad || (g->is_bad = !!TRY(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &g->pack)))) return;
    SET_ALL(g->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, g->given_n, g->given);
    SET_ALL(g->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, g->given_n, at);
    SET(g->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
    FINISH(g->pack);
    memcpy(g->at, at, (size_t)g->given_n * sizeof *at);
    g->at[g->given_n] = workspace;
}

void cudnn_graph_run(CudnnGraph *g, const void *const *at, void *workspace) {
    assert(g->plan);
    if (!g->pack || memcmp(g->at, at, (size_t)g->given_n * sizeof *at) || g->at[g->given_n] != workspace) pack_make(g, at, workspace);
    if (!g->is_bad) TRY(cudnnBackendExecute(handle, g->plan, g->pack));
}

void cudnn_graph_end(CudnnGraph *g) {
    if (g->pack) TRY(cudnnBackendDestroyDescriptor(g->pack));
    while (g->parts_n) TRY(cudnnBackendDestroyDescriptor(g->parts[--g->parts_n]));
    memset(g, 0, sizeof *g);
}

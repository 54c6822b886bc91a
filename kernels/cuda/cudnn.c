/* cudnn.c - cuDNN as a peer (kernels/peers.h): the tower's patches as a convolution, and attention of one dense segment. For benchmarks
 * only; built in by `make CUDNN=yes`. docs/cuda.md says why the engine computes patches as a product instead.
 *
 * Plans are kept by shape. A plan that adds in no fixed order or in less than fp32 is refused, and for fp32 operands one on tensor cores
 * (TF32), so that a peer keeps the rules that our kernels keep. Softmax is spelled out with the log-sum-exp at its end, the form in which
 * the library finds its fused kernels; that sum goes to scratch, because our kernel writes one too. */
#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/state.h"
#include "kernels/peers.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WITH_SIMT
#define LIBRARY "emulated cuDNN" /* tests/simt/cudnn.cpp */
#else
#define LIBRARY "cuDNN"
#endif

enum { ENTRIES = 16, ALIGN = 256, HEAD_MOST = 128, HEAD_STEP = 8 };

typedef enum Operation { PATCHES, ATTENTION } Operation;
/* What a plan depends on. */
typedef struct Shape {
    Operation operation;
    DType dtype;
    int n[5]; /* B, C, S, p, D; or T, heads, kv_heads, head_size, causal */
    float scale;
    int64_t q_stride, kv_stride;
} Shape;
_Static_assert(sizeof(Shape) == 8 * sizeof(int) + 2 * sizeof(int64_t), "compared by its bytes: no padding");
typedef struct Entry {
    Shape shape;
    uint64_t last_use; /* 0: never */
    CudnnGraph graph;
} Entry;
static Entry entries[ENTRIES];
static uint64_t uses;

static void close_library(void) {
    for (int i = 0; i < ENTRIES; i++) cudnn_graph_end(&entries[i].graph);
    cudnn_close();
}

static int library_ready(void) {
    static int registered;
    if (cudnn_open()) return 0;
    if (!registered && atexit(close_library)) cuda_failure_set("cuDNN failed", "atexit");
    registered = 1;
    return 1;
}

/* ---- the graphs ---- */

static cudnnDataType_t data_type(DType t) { return t == FP32 ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16; }
static CudnnPart inside(CudnnGraph *g, cudnnDataType_t type, const int64_t *dims) {
    return cudnn_tensor(g, CUDNN_INSIDE, type, dims, NULL);
}

/* Given: x, w, y. Pixels are planes, and a row of the result is a patch: x and w have the channel before the place, y after it. */
static void patches_build(CudnnGraph *g, const Shape *s) {
    int64_t B = s->n[0], C = s->n[1], S = s->n[2], p = s->n[3], D = s->n[4], grid = S / p;
    cudnnDataType_t t = data_type(s->dtype);
    CudnnPart x = cudnn_tensor(g, CUDNN_MEMORY, t, (int64_t[]){ B, C, S, S }, NULL),
              w = cudnn_tensor(g, CUDNN_MEMORY, t, (int64_t[]){ D, C, p, p }, NULL),
              y = cudnn_tensor(g, CUDNN_MEMORY, t, (int64_t[]){ B, D, grid, grid }, (int64_t[]){ grid * grid * D, 1, grid * D, D });
    cudnn_convolution(g, y, x, w, p);
}

/* Scores of row i are those of columns j <= i, others as low as can be. Given, after what was given before: that lowest score. */
static CudnnPart mask_build(CudnnGraph *g, CudnnPart scores, const int64_t *square) {
    const int64_t one[] = { 1, 1, 1, 1 };
    CudnnPart row = inside(g, CUDNN_DATA_INT32, square), column = inside(g, CUDNN_DATA_INT32, square),
              seen = inside(g, CUDNN_DATA_BOOLEAN, square), masked = inside(g, CUDNN_DATA_FLOAT, square),
              lowest = cudnn_tensor(g, CUDNN_SCALAR, CUDNN_DATA_FLOAT, one, NULL);
    cudnn_pointwise(g, row, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_INT32, scores, NULL, NULL, 2);
    cudnn_pointwise(g, column, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_INT32, scores, NULL, NULL, 3);
    cudnn_pointwise(g, seen, CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN, row, column, NULL, 0);
    cudnn_pointwise(g, masked, CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, scores, lowest, seen, 0);
    return masked;
}

/* Given: q, k, v, out, scale, [lowest score,] log-sum-exp. */
static void attention_build(CudnnGraph *g, const Shape *s) {
    int64_t T = s->n[0], H = s->n[1], K = s->n[2], E = s->n[3];
    const int64_t square[] = { 1, H, T, T }, rows[] = { 1, H, T, 1 }, one[] = { 1, 1, 1, 1 }, heads[] = { 1, H, T, E };
    const cudnnDataType_t bf16 = CUDNN_DATA_BFLOAT16, fp32 = CUDNN_DATA_FLOAT;
    const int64_t q_strides[] = { T * s->q_stride, E, s->q_stride, 1 }, out_strides[] = { T * H * E, E, H * E, 1 };
    const int64_t k_dims[] = { 1, K, E, T }, k_strides[] = { T * s->kv_stride, E, 1, s->kv_stride }; /* transposed */
    const int64_t v_dims[] = { 1, K, T, E }, v_strides[] = { T * s->kv_stride, E, s->kv_stride, 1 };
    CudnnPart q = cudnn_tensor(g, CUDNN_MEMORY, bf16, heads, q_strides), k = cudnn_tensor(g, CUDNN_MEMORY, bf16, k_dims, k_strides),
              v = cudnn_tensor(g, CUDNN_MEMORY, bf16, v_dims, v_strides), out = cudnn_tensor(g, CUDNN_MEMORY, bf16, heads, out_strides),
              scale = cudnn_tensor(g, CUDNN_SCALAR, fp32, one, NULL), dots = inside(g, fp32, square), scores = inside(g, fp32, square);
    cudnn_product(g, dots, q, k);
    cudnn_pointwise(g, scores, CUDNN_POINTWISE_MUL, fp32, dots, scale, NULL, 0);
    if (s->n[4]) scores = mask_build(g, scores, square);
    CudnnPart most = inside(g, fp32, rows), below = inside(g, fp32, square), powers = inside(g, fp32, square), sum = inside(g, fp32, rows),
              log = inside(g, fp32, rows), lse = cudnn_tensor(g, CUDNN_MEMORY, fp32, rows, NULL), shares = inside(g, bf16, square);
    cudnn_reduction(g, most, CUDNN_REDUCE_TENSOR_MAX, scores);
    cudnn_pointwise(g, below, CUDNN_POINTWISE_SUB, fp32, scores, most, NULL, 0);
    cudnn_pointwise(g, powers, CUDNN_POINTWISE_EXP, fp32, below, NULL, NULL, 0);
    cudnn_reduction(g, sum, CUDNN_REDUCE_TENSOR_ADD, powers);
    cudnn_pointwise(g, log, CUDNN_POINTWISE_LOG, fp32, sum, NULL, NULL, 0);
    cudnn_pointwise(g, lse, CUDNN_POINTWISE_ADD, fp32, most, log, NULL, 0);
    cudnn_pointwise(g, shares, CUDNN_POINTWISE_DIV, fp32, powers, sum, NULL, 0);
    cudnn_product(g, out, shares, v);
}

/* ---- plans by shape ---- */

/* NULL after a failure; its graph has no plan when the library has none. The plan used longest ago makes room. */
static Entry *entry_of(const Shape *s) {
    Entry *oldest = entries;
    for (Entry *e = entries; e < entries + ENTRIES; e++) {
        if (e->last_use && !memcmp(&e->shape, s, sizeof *s)) return e->last_use = ++uses, e;
        if (e->last_use < oldest->last_use) oldest = e;
    }
    unsigned refused = 1u << CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC | 1u << CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION |
                       1u << CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS;
    if (s->dtype == FP32) refused |= 1u << CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    cudnn_graph_end(&oldest->graph);
    *oldest = (Entry){ .shape = *s };
    (s->operation == PATCHES ? patches_build : attention_build)(&oldest->graph, s);
    cudnn_graph_plan(&oldest->graph, refused);
    if (oldest->graph.is_bad) return cudnn_graph_end(&oldest->graph), NULL;
    oldest->last_use = ++uses;
    return oldest;
}

/* Scratch for the workspace, and `*more` bytes behind it. */
static char *scratch_of(const CudnnGraph *g, int64_t bytes, void **more) {
    int64_t workspace = (g->workspace_bytes + ALIGN - 1) / ALIGN * ALIGN;
    char *at = cuda_scratch(CUDA_SCRATCH_CUDNN, workspace + bytes);
    *more = at ? at + workspace : NULL;
    return at;
}

static int is_aligned(const Buf *all, int n) {
    for (int i = 0; i < n; i++)
        if ((uintptr_t)all[i].at % CUDNN_ALIGN) return 0;
    return 1;
}

/* ---- the peers ---- */

static int patches_linear(Buf y, Buf pixels, Buf w, int B, int C, int S, int p, int D) {
    const Buf all[] = { y, pixels, w };
    int64_t n = (int64_t)B * C * S * S;
    if (n <= 0 || D <= 0 || p <= 0 || p > S || pixels.dtype != FP32 || y.dtype != w.dtype || !is_aligned(all, 3)) return 0;
    if (!library_ready()) return 1;
    Entry *e = entry_of(&(Shape){ .operation = PATCHES, .dtype = w.dtype, .n = { B, C, S, p, D } });
    if (!e) return 1;
    if (!e->graph.plan) return 0;
    Buf x = { NULL, w.dtype };
    char *workspace = scratch_of(&e->graph, w.dtype == FP32 ? 0 : n * (int64_t)dtype_size(w.dtype), &x.at);
    if (!workspace) return 1;
    if (w.dtype == FP32) x = pixels;
    else cuda_copy(x, pixels, n);
    cudnn_graph_run(&e->graph, (const void *[]){ x.at, w.at, y.at }, workspace);
    return 1;
}

static int attention_forward(Buf out, Buf q, Buf k, Buf v, int64_t q_stride, int64_t kv_stride, int T, int causal, int heads, int kv_heads,
    int head_size, float scale) {
    static const float lowest = -FLT_MAX;
    const Buf all[] = { out, q, k, v };
    for (int i = 0; i < 4; i++)
        if (all[i].dtype != BF16) return 0;
    if (T <= 0 || head_size > HEAD_MOST || head_size % HEAD_STEP || q_stride % HEAD_STEP || kv_stride % HEAD_STEP || !is_aligned(all, 4))
        return 0;
    if (!library_ready()) return 1;
    Entry *e = entry_of(&(Shape){ ATTENTION, BF16, { T, heads, kv_heads, head_size, !!causal }, scale, q_stride, kv_stride });
    if (!e) return 1;
    if (!e->graph.plan) return 0;
    void *lse;
    char *workspace = scratch_of(&e->graph, (int64_t)T * heads * (int64_t)sizeof(float), &lse);
    if (!workspace) return 1;
    const void *at[] = { q.at, k.at, v.at, out.at, &e->shape.scale, lse, lse };
    if (causal) at[5] = &lowest;
    cudnn_graph_run(&e->graph, at, workspace);
    return 1;
}

const Peers *cuda_peers(void) {
    static char name[64];
    static const Peers peers = { name, patches_linear, attention_forward };
    size_t version = cudnnGetVersion();
    snprintf(name, sizeof name, LIBRARY " %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
    return &peers;
}

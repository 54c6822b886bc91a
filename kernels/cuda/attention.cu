/* attention.cu - attention of a Forest on the device: the choice of kernels, the work on the device, and the merge of parts.
 *
 * Follows Dao 2023 (arXiv 2307.08691) with key ranges in place of a mask. Rows of a few new tokens (decoding) have their keys dealt to many
 * thread blocks, and the parts merged by their log-sum-exp, in order. Refuses head sizes above ATTENTION_HEAD_MOST and more query heads per
 * key/value head than half a tile has columns. */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/rows.cuh"

enum { MERGE_THREADS = 128 };

/* ---- the merge of parts: one warp per row and query head ---- */

template <typename T, int N> __global__ void __launch_bounds__(MERGE_THREADS) attention_merge_kernel(AttentionCall c) {
    int64_t index = (int64_t)blockIdx.x * (MERGE_THREADS / 32) + threadIdx.x / 32;
    if (index >= (int64_t)c.lists.merges_n * c.heads) return;
    AttentionMerge m = c.lists.merges[index / c.heads];
    int head = (int)(index % c.heads);
    const float *lses = c.part_lse + (int64_t)m.part_first * c.heads + head;
    float top = -INFINITY, total = 0;
    for (int p = 0; p < m.parts_n; p++) top = fmaxf(top, lses[(int64_t)p * c.heads]);
    for (int p = 0; p < m.parts_n; p++) total += expf(lses[(int64_t)p * c.heads] - top);
    int64_t to = (int64_t)m.row * c.heads + head;
    for (int e = threadIdx.x % 32 * N; e < c.E; e += 32 * N) {
        float sums[N] = { 0 };
        for (int p = 0; p < m.parts_n; p++) {
            float weight = expf(lses[(int64_t)p * c.heads] - top);
            Vec<float, N> x = elements_load<N>(c.part_out + ((int64_t)(m.part_first + p) * c.heads + head) * c.E + e);
            UNROLL
            for (int i = 0; i < N; i++) sums[i] = fmaf(weight, x.v[i], sums[i]);
        }
        Vec<T, N> y;
        UNROLL
        for (int i = 0; i < N; i++) y.v[i] = from_float<T>(sums[i] / total);
        elements_store((T *)c.out + to * c.E + e, y);
    }
    if (threadIdx.x % 32 == 0 && c.lse) c.lse[to] = top + logf(total);
}

static void merge_launch(const AttentionCall *c, DType dtype) {
    if (c->lists.merges_n == 0) return;
    unsigned blocks = (unsigned)blocks_for((int64_t)c->lists.merges_n * c->heads, MERGE_THREADS / 32);
    FOR_DTYPE(dtype, T, {
        if (c->E % 4 == 0 && (uintptr_t)c->out % (4 * sizeof(T)) == 0)
            LAUNCH((attention_merge_kernel<T, 4>), blocks, MERGE_THREADS, 0, cuda_stream(), *c);
        else LAUNCH((attention_merge_kernel<T, 1>), blocks, MERGE_THREADS, 0, cuda_stream(), *c);
    });
}

/* ---- the work ---- */

/* Within a step: the lists go with its other host arrays, once for all layers. */
static const void *lists_stage(const AttentionWork *w, AttentionPurpose purpose) {
    static struct {
        uint64_t step;
        int built;
        const void *at;
    } kept[2];
    if (kept[purpose].step != cuda_step_number() || kept[purpose].built != w->built) {
        kept[purpose] = { 0, 0, cuda_stage(w->bytes, w->bytes_n) };
        if (kept[purpose].at) kept[purpose].step = cuda_step_number(), kept[purpose].built = w->built;
    }
    return cuda_failed() ? NULL : kept[purpose].at;
}

/* The lists of a plan on the device: uploaded when they are new, else those of the call before. -1 after a recorded failure. */
static int lists_open(AttentionCall *c, const AttentionPlan *plan, AttentionPurpose purpose, int columns, int kv_rows) {
    static AttentionWork works[2];
    static int uploaded[2]; /* which build is on the device */
    AttentionWork *w = &works[purpose];
    Error e;
    if (attention_work_build(w, plan, purpose, columns, kv_rows, &e)) return cuda_failure_set(e.what, "%s", e.where), -1;
    if (cuda_step_number()) {
        const void *staged = lists_stage(w, purpose);
        if (staged) c->lists = attention_lists_at(w, staged);
        return staged ? 0 : -1;
    }
    CudaScratch use = purpose == ATTENTION_FORWARD ? CUDA_SCRATCH_ATTENTION_FORWARD : CUDA_SCRATCH_ATTENTION_BACKWARD;
    void *at = cuda_scratch(use, w->bytes_n);
    if (at && uploaded[purpose] != w->built) {
        uploaded[purpose] = 0;
        cuda_bytes_upload(at, w->bytes, w->bytes_n);
        at = cuda_scratch(use, w->bytes_n); /* NULL when that failed */
        if (at) uploaded[purpose] = w->built;
    }
    if (!at) return -1;
    c->lists = attention_lists_at(w, at);
    return 0;
}

/* 1 when tensor cores can do it: bfloat16, and every head of every row starts at a multiple of 16 bytes. */
static int tensor_cores_fit(const AttentionCall *c, DType dtype, const Buf *operands, int n) {
    return dtype == BF16 && c->E % 8 == 0 && c->E <= ATTENTION_TENSOR_HEAD_MOST && c->q_stride % 8 == 0 && c->kv_stride % 8 == 0 &&
           buffers_aligned(16, operands, n);
}

/* 1 when the plan can be computed; otherwise the failure is recorded. */
static int plan_accepted(const AttentionPlan *plan) {
    if (plan->head_size > ATTENTION_HEAD_MOST)
        return cuda_failure_set("attention of this head size is not computed", "%d; at most %d", plan->head_size, ATTENTION_HEAD_MOST), 0;
    if (plan->heads / plan->kv_heads > ATTENTION_STEP)
        return cuda_failure_set("attention with so many query heads per key/value head is not computed", "%d; at most %d",
                   plan->heads / plan->kv_heads, ATTENTION_STEP),
               0;
    return 1;
}

extern "C" void cuda_attention_forward(
    Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride, int64_t kv_stride, const AttentionPlan *plan) {
    const Buf all[] = { out, q, k, v };
    if (!plan_accepted(plan) || !dtypes_agree("attention_forward", q.dtype, all, 4)) return;
    AttentionCall c = {};
    c.q = q.at, c.k = k.at, c.v = v.at, c.out = out.at, c.lse = (float *)lse.at;
    c.q_stride = q_stride, c.kv_stride = kv_stride;
    c.heads = plan->heads, c.kv_heads = plan->kv_heads, c.E = plan->head_size, c.scale = plan->scale;
    int tensor = tensor_cores_fit(&c, q.dtype, all, 4);
    if (lists_open(&c, plan, ATTENTION_FORWARD, tensor ? attention_tensor_columns(c.E) : ATTENTION_STEP, 0)) return;
    if (c.lists.tiles_n == 0) return;
    if (c.lists.parts_n > 0) {
        int64_t rows = (int64_t)c.lists.parts_n * c.heads;
        c.part_out = (float *)cuda_scratch(CUDA_SCRATCH_ATTENTION_PARTS, rows * (c.E + 1) * (int64_t)sizeof(float));
        if (!c.part_out) return;
        c.part_lse = c.part_out + rows * c.E;
    }
    if (tensor) attention_tensor_forward(&c);
    else attention_plain_forward(&c, q.dtype);
    merge_launch(&c, q.dtype);
}

/* ---- backward: sums of dout * attended per row and query head, one warp each, for the rows that the plan names ---- */

template <typename T, int N> __global__ void __launch_bounds__(MERGE_THREADS) attention_delta_kernel(AttentionCall c) {
    int64_t index = (int64_t)blockIdx.x * (MERGE_THREADS / 32) + threadIdx.x / 32;
    if (index >= (int64_t)c.lists.rows_n * c.heads) return;
    int64_t head = (int64_t)c.lists.rows[index / c.heads] * c.heads + index % c.heads;
    const T *dout = (const T *)c.dout + head * c.E, *attended = (const T *)c.attended + head * c.E;
    float sum = 0;
    for (int e = threadIdx.x % 32 * N; e < c.E; e += 32 * N) {
        Vec<T, N> x = elements_load<N>(dout + e), y = elements_load<N>(attended + e);
        UNROLL
        for (int i = 0; i < N; i++) sum = fmaf(to_float(x.v[i]), to_float(y.v[i]), sum);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) c.delta[head] = sum;
}

static void delta_launch(const AttentionCall *c, DType dtype) {
    unsigned blocks = (unsigned)blocks_for((int64_t)c->lists.rows_n * c->heads, MERGE_THREADS / 32);
    FOR_DTYPE(dtype, T, {
        if (c->E % 4 == 0 && ((uintptr_t)c->dout | (uintptr_t)c->attended) % (4 * sizeof(T)) == 0)
            LAUNCH((attention_delta_kernel<T, 4>), blocks, MERGE_THREADS, 0, cuda_stream(), *c);
        else LAUNCH((attention_delta_kernel<T, 1>), blocks, MERGE_THREADS, 0, cuda_stream(), *c);
    });
}

extern "C" void cuda_attention_backward(Buf dq, Buf dk, Buf dv, Buf dout, Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride,
    int64_t kv_stride, int T, int kv_rows, const AttentionPlan *plan) {
    const Buf all[] = { dq, dk, dv, dout, out, q, k, v };
    if (!plan_accepted(plan) || !dtypes_agree("attention_backward", q.dtype, all, 8)) return;
    AttentionCall c = {};
    c.q = q.at, c.k = k.at, c.v = v.at, c.dout = dout.at, c.attended = out.at, c.lse = (float *)lse.at;
    c.dq = dq.at, c.dk = dk.at, c.dv = dv.at;
    c.q_stride = q_stride, c.kv_stride = kv_stride;
    c.heads = plan->heads, c.kv_heads = plan->kv_heads, c.E = plan->head_size, c.scale = plan->scale;
    int tensor = tensor_cores_fit(&c, q.dtype, all, 8);
    if (lists_open(&c, plan, ATTENTION_BACKWARD, tensor ? attention_tensor_columns(c.E) : ATTENTION_STEP, kv_rows)) return;
    c.delta = (float *)cuda_scratch(CUDA_SCRATCH_ATTENTION_PARTS, (int64_t)T * c.heads * (int64_t)sizeof(float));
    if (!c.delta) return;
    if (c.lists.rows_n > 0) delta_launch(&c, q.dtype);
    if (tensor) attention_tensor_backward(&c);
    else attention_plain_backward(&c, q.dtype);
}

/* attention.cuh - what the kernels of attention share: their operands, and how columns, sights and keys are found (attention_work.h).
 *
 * A thread block works for one key/value head on a tile of columns (forward, dQ) or on a tile of keys (dK and dV). Blocks of all heads of
 * the costliest tile come first. Weights are exp(scale * score - lse) with lse the log of the sum over all that a row sees. */
#ifndef RLAIFV_KERNELS_CUDA_ATTENTION_CUH
#define RLAIFV_KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/attention_work.h"
#include "kernels/cuda/device.cuh"

enum { ATTENTION_HEAD_MOST = 256, ATTENTION_TENSOR_HEAD_MOST = 128 };

typedef struct AttentionCall {
    AttentionLists lists;                    /* on the device */
    const void *q, *k, *v, *dout, *attended; /* attended: the result of forward, for backward */
    void *out, *dq, *dk, *dv;
    float *lse;                 /* forward: may be NULL */
    float *part_out, *part_lse; /* (parts, H, E) and (parts, H): forward of rows whose keys are dealt in parts */
    float *delta;               /* (T, H): sum of dout * attended */
    int64_t q_stride, kv_stride;
    int heads, kv_heads, E;
    float scale;
} AttentionCall;

/* The kernels of attention_plain.cu take any strides and alignment; those of attention_tensor.cu and attention_tensor_backward.cu bfloat16
 * operands whose heads start at multiples of 16 bytes. */
void attention_plain_forward(const AttentionCall *c, DType dtype);
void attention_plain_backward(const AttentionCall *c, DType dtype);
void attention_tensor_forward(const AttentionCall *c);
void attention_tensor_backward(const AttentionCall *c);
/* Columns of a tile that the tensor-core kernels take at a head size. */
int attention_tensor_columns(int E);

/* ---- where things are ---- */

/* The query row and head of a column as one index: row * heads + head. */
__device__ __forceinline__ int64_t column_head(const AttentionCall &c, const AttentionTile &tile, int kv_head, int column) {
    int row = c.lists.rows[tile.row_first + column / c.lists.group];
    return (int64_t)row * c.heads + kv_head * c.lists.group + column % c.lists.group;
}
/* Where the query of a column starts. */
__device__ __forceinline__ int64_t column_query(const AttentionCall &c, const AttentionTile &tile, int kv_head, int column) {
    int row = c.lists.rows[tile.row_first + column / c.lists.group];
    return row * c.q_stride + (int64_t)(kv_head * c.lists.group + column % c.lists.group) * c.E;
}
/* Where the sums of a column of a part go, as an index of (parts, H). */
__device__ __forceinline__ int64_t column_part(const AttentionCall &c, const AttentionTile &tile, int kv_head, int column) {
    int part = c.lists.part_first[tile.row_first + column / c.lists.group] + tile.part;
    return (int64_t)part * c.heads + kv_head * c.lists.group + column % c.lists.group;
}

/* How many keys of a sight a column sees. */
__device__ __forceinline__ int column_sees(const AttentionSight &s, int column, int group) {
    if (column < s.column_first || column >= s.column_end) return 0;
    int sees = s.limit + (column - s.column_first) / group;
    return sees < s.keys ? sees : s.keys;
}
/* Most and least that columns from .. end - 1 see, of those that the tile has. */
__device__ __forceinline__ int columns_see_most(const AttentionSight &s, int from, int end, int group) {
    if (from >= s.column_end || end <= s.column_first) return 0;
    return column_sees(s, (end < s.column_end ? end : s.column_end) - 1, group);
}
__device__ __forceinline__ int columns_see_least(const AttentionSight &s, int from, int end, int columns, int group) {
    if (end > columns) end = columns;
    return from >= s.column_first && end <= s.column_end ? column_sees(s, from, group) : 0;
}

#endif

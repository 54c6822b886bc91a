/* embed.cu - rows by index: the token table, image features in their places, gather, scatter, and rows stored into slots.
 *
 * Copies move bytes, whatever they mean. Sums of rows that share a destination are made without atomics: the host lists the rows of each
 * destination in their order, and one thread adds a column of them from first to last, in fp32, rounded once. Indices are trusted: ids are
 * below the table's rows, image rows below the features'. */
#include "kernels/cuda/rows.cuh"

#include <stdlib.h>
#include <string.h>

/* ---- copies ---- */

enum { COPY_THREADS = 256, COPY_DEEP = 4 /* words that a thread has in flight */ };

/* Row t of `rows` goes to row to_rows[t] (t itself where that is NULL), from row from_rows[t] of `from` (t where NULL), or, where that is
 * negative, from row other_rows[t] of `other`. Strides and width in words. */
typedef struct RowsCopy {
    void *to;
    const void *from, *other;
    const int *to_rows, *from_rows, *other_rows;
    int64_t to_stride, from_stride;
    int rows, width;
} RowsCopy;

/* `lanes` threads copy a row in words of N numbers of type W. */
template <typename W, int N> __global__ void __launch_bounds__(COPY_THREADS) rows_copy_kernel(RowsCopy c, int lanes) {
    int t = blockIdx.x * (COPY_THREADS / lanes) + threadIdx.x / lanes;
    if (t >= c.rows) return;
    int64_t from_row = c.from_rows ? c.from_rows[t] : t, to_row = c.to_rows ? c.to_rows[t] : t;
    const W *from =
        from_row < 0 ? (const W *)c.other + c.other_rows[t] * c.from_stride * N : (const W *)c.from + from_row * c.from_stride * N;
    W *to = (W *)c.to + to_row * c.to_stride * N;
    for (int base = threadIdx.x % lanes; base < c.width; base += lanes * COPY_DEEP) {
        Vec<W, N> words[COPY_DEEP];
        UNROLL
        for (int d = 0; d < COPY_DEEP; d++)
            if (base + d * lanes < c.width) words[d] = elements_load<N>(from + (base + d * lanes) * N);
        UNROLL
        for (int d = 0; d < COPY_DEEP; d++)
            if (base + d * lanes < c.width) elements_store(to + (base + d * lanes) * N, words[d]);
    }
}

/* Copies rows of `width` elements of `size` bytes in the largest words that every row is aligned to. */
static void rows_copy(RowsCopy c, int64_t size) {
    if (c.rows <= 0 || c.width <= 0) return;
    uintptr_t odd = (uintptr_t)c.to | (uintptr_t)c.from | (uintptr_t)c.other | (uintptr_t)(c.width * size) |
                    (uintptr_t)(c.to_stride * size) | (uintptr_t)(c.from_stride * size);
    int64_t word = odd % 16 == 0 ? 16 : odd % 4 == 0 ? 4 : 2;
    c.width = (int)(c.width * size / word);
    c.to_stride = c.to_stride * size / word, c.from_stride = c.from_stride * size / word;
    int lanes = 32;
    while (lanes < COPY_THREADS && lanes < c.width) lanes *= 2;
    unsigned blocks = (unsigned)blocks_for(c.rows, COPY_THREADS / lanes);
    if (word == 16) LAUNCH((rows_copy_kernel<uint32_t, 4>), blocks, COPY_THREADS, 0, cuda_stream(), c, lanes);
    else if (word == 4) LAUNCH((rows_copy_kernel<uint32_t, 1>), blocks, COPY_THREADS, 0, cuda_stream(), c, lanes);
    else LAUNCH((rows_copy_kernel<uint16_t, 1>), blocks, COPY_THREADS, 0, cuda_stream(), c, lanes);
}

/* A host array of n indices on the device; NULL for NULL. *bad is set when there is no room. */
static const int *indices_stage(const int *rows, int n, int *bad) {
    if (!rows) return NULL;
    const int *staged = (const int *)cuda_stage(rows, n * (int64_t)sizeof *rows);
    if (!staged) *bad = 1;
    return staged;
}

extern "C" void cuda_embed_forward(Buf y, Buf table, Buf features, const int *ids, const int *image_rows, int T, int D) {
    const Buf all[] = { y, table, features };
    int bad = 0;
    if (T <= 0 || !dtypes_agree("embed_forward", y.dtype, all, 3)) return;
    RowsCopy c = { y.at, table.at, features.at, NULL, indices_stage(ids, T, &bad), indices_stage(features.at ? image_rows : NULL, T, &bad),
        D, D, T, D };
    if (!bad) rows_copy(c, (int64_t)dtype_size(y.dtype));
}

extern "C" void cuda_rows_gather(Buf y, Buf x, const int *rows, int R, int D) {
    const Buf all[] = { y, x };
    int bad = 0;
    if (R <= 0 || !dtypes_agree("rows_gather", y.dtype, all, 2)) return;
    RowsCopy c = { y.at, x.at, NULL, NULL, indices_stage(rows, R, &bad), NULL, D, D, R, D };
    if (!bad) rows_copy(c, (int64_t)dtype_size(y.dtype));
}

/* Element e of row t, of another type, to row slots[t]. */
template <typename To, typename From>
__global__ void __launch_bounds__(COPY_THREADS)
    rows_convert_kernel(To *to, const From *from, const int *slots, int64_t to_stride, int64_t from_stride, int T, int width) {
    int64_t i = (int64_t)blockIdx.x * COPY_THREADS + threadIdx.x, t = i / width, e = i % width;
    if (t < T) to[slots[t] * to_stride + e] = from_float<To>(to_float(from[t * from_stride + e]));
}

extern "C" void cuda_rows_store(Buf to, int64_t to_stride, Buf from, int64_t from_stride, const int *slots, int T, int width) {
    int bad = 0;
    if (T <= 0 || width <= 0) return;
    const int *staged = indices_stage(slots, T, &bad);
    if (bad) return;
    if (to.dtype == from.dtype) {
        rows_copy(RowsCopy{ to.at, from.at, NULL, staged, NULL, NULL, to_stride, from_stride, T, width }, (int64_t)dtype_size(to.dtype));
        return;
    }
    unsigned blocks = (unsigned)blocks_for((int64_t)T * width, COPY_THREADS);
    if (to.dtype == BF16)
        LAUNCH((rows_convert_kernel<bf16, float>), blocks, COPY_THREADS, 0, cuda_stream(), (bf16 *)to.at, (const float *)from.at, staged,
            to_stride, from_stride, T, width);
    else
        LAUNCH((rows_convert_kernel<float, bf16>), blocks, COPY_THREADS, 0, cuda_stream(), (float *)to.at, (const bf16 *)from.at, staged,
            to_stride, from_stride, T, width);
}

/* ---- sums ---- */

/* Which rows go to which destination, packed in one array so that it is staged at once:
 *   destination (groups), first (groups + 1), order: rows first[g] .. first[g + 1) of it go to destination g, ascending. */
typedef struct RowGroups {
    int *packed;
    int groups;
    int64_t ints; /* of `packed` */
} RowGroups;

/* Host memory kept between calls; it grows only. NULL after the failure is recorded. */
static int *host_ints(int64_t n) {
    static int *kept;
    static int64_t room;
    if (n <= room) return kept;
    free(kept);
    room = n + n / 4;
    kept = (int *)malloc((size_t)room * sizeof *kept);
    if (!kept) room = 0;
    if (!kept) cuda_failure_set("out of memory", "no room for %lld indices of rows on the host", (long long)n);
    return kept;
}

/* Rows without a destination, and, where ids are given, those of tokens. */
static inline int left_out(const int *destination, const int *ids, int t) { return ids ? ids[t] >= 0 : destination[t] < 0; }

/* Groups the n rows by destination[t], but for those left out. Counting sort: groups come in the order of their first rows. 0, or -1 when
 * there is no memory. */
static int rows_group(RowGroups *out, const int *destination, const int *ids, int n) {
    int largest = -1, chosen = 0;
    for (int t = 0; t < n; t++) {
        if (left_out(destination, ids, t)) continue;
        chosen++;
        if (destination[t] > largest) largest = destination[t];
    }
    int64_t destinations = (int64_t)largest + 1;
    int *count = host_ints(destinations + 3 * (int64_t)chosen + 1);
    if (!count) return -1;
    int *packed = count + destinations, groups = 0, next = 0;
    memset(count, 0, (size_t)destinations * sizeof *count);
    for (int t = 0; t < n; t++)
        if (!left_out(destination, ids, t)) groups += count[destination[t]]++ == 0;
    int *first = packed + groups, *order = first + groups + 1, group = 0;
    /* count becomes minus one minus the place of the destination's next row */
    for (int t = 0; t < n; t++) {
        if (left_out(destination, ids, t)) continue;
        int *c = count + destination[t];
        if (*c > 0) {
            packed[group] = destination[t];
            first[group++] = next;
            int rows = *c;
            *c = -1 - next;
            next += rows;
        }
        order[-1 - *c] = t;
        --*c;
    }
    first[groups] = chosen;
    *out = RowGroups{ packed, groups, 2 * (int64_t)groups + 1 + chosen };
    return 0;
}

enum { SUM_THREADS = 256, SUM_DEEP = 4 /* rows that a thread has in flight */ };

/* to[destination] += (ADD) or = the sum of its rows of `from`. A block takes a run of columns of one group. */
template <typename TO, typename FROM, int N, bool ADD>
__global__ void __launch_bounds__(SUM_THREADS) rows_sum_kernel(TO *to, const FROM *from, const int *packed, int groups, int D) {
    int group = blockIdx.x, column = (int)((blockIdx.y * blockDim.x + threadIdx.x) * N);
    if (column >= D) return;
    const int *first = packed + groups, *order = first + groups + 1;
    int at = first[group], end = first[group + 1];
    to += (int64_t)packed[group] * D + column;
    from += column;
    float sum[N];
    if constexpr (ADD) {
        Vec<TO, N> start = elements_load<N>(to);
        UNROLL
        for (int j = 0; j < N; j++) sum[j] = to_float(start.v[j]);
    } else {
        Vec<FROM, N> start = elements_load<N>(from + (int64_t)order[at++] * D);
        UNROLL
        for (int j = 0; j < N; j++) sum[j] = to_float(start.v[j]);
    }
    for (; at < end; at += SUM_DEEP) {
        Vec<FROM, N> rows[SUM_DEEP];
        UNROLL
        for (int d = 0; d < SUM_DEEP; d++)
            if (at + d < end) rows[d] = elements_load<N>(from + (int64_t)order[at + d] * D);
        UNROLL
        for (int d = 0; d < SUM_DEEP; d++) {
            if (at + d >= end) continue;
            UNROLL
            for (int j = 0; j < N; j++) sum[j] += to_float(rows[d].v[j]);
        }
    }
    Vec<TO, N> out;
    UNROLL
    for (int j = 0; j < N; j++) out.v[j] = from_float<TO>(sum[j]);
    elements_store(to, out);
}

template <typename TO, typename FROM, int N, bool ADD> static void rows_sum_launch(Buf to, Buf from, const int *packed, int groups, int D) {
    int64_t runs = blocks_for(D, N);
    unsigned threads = (unsigned)least(blocks_for(runs, 32) * 32, SUM_THREADS);
    dim3 grid((unsigned)groups, (unsigned)blocks_for(runs, threads));
    LAUNCH((rows_sum_kernel<TO, FROM, N, ADD>), grid, threads, 0, cuda_stream(), (TO *)to.at, (const FROM *)from.at, packed, groups, D);
}

template <typename TO, typename FROM, bool ADD> static void rows_sum_typed(Buf to, Buf from, const int *packed, int groups, int D) {
    constexpr int N = 16 / (int)(sizeof(TO) > sizeof(FROM) ? sizeof(TO) : sizeof(FROM));
    if (D % N == 0 && buffers_aligned(N * (int)sizeof(TO), &to, 1) && buffers_aligned(N * (int)sizeof(FROM), &from, 1))
        rows_sum_launch<TO, FROM, N, ADD>(to, from, packed, groups, D);
    else rows_sum_launch<TO, FROM, 1, ADD>(to, from, packed, groups, D);
}

template <bool ADD> static void rows_sum(const char *operation, Buf to, Buf from, const int *destination, const int *ids, int n, int D) {
    RowGroups g;
    if (rows_group(&g, destination, ids, n) || g.groups == 0) return;
    const int *packed = (const int *)cuda_stage(g.packed, g.ints * (int64_t)sizeof *g.packed);
    if (!packed) return;
    if (to.dtype == FP32 && from.dtype == FP32) rows_sum_typed<float, float, ADD>(to, from, packed, g.groups, D);
    else if (to.dtype == FP32) rows_sum_typed<float, bf16, ADD>(to, from, packed, g.groups, D);
    else if (from.dtype == BF16) rows_sum_typed<bf16, bf16, ADD>(to, from, packed, g.groups, D);
    else cuda_failure_set(operation, "a bf16 sum of fp32 rows");
}

extern "C" void cuda_embed_backward(Buf dtable, Buf dfeatures, Buf dy, const int *ids, const int *image_rows, int T, int D) {
    if (T <= 0 || D <= 0) return;
    if (dtable.at) rows_sum<true>("embed_backward", dtable, dy, ids, NULL, T, D);
    if (dfeatures.at) rows_sum<false>("embed_backward", dfeatures, dy, image_rows, ids, T, D);
}

extern "C" void cuda_rows_scatter_add(Buf y, Buf x, const int *rows, int R, int D) {
    if (R > 0 && D > 0) rows_sum<true>("rows_scatter_add", y, x, rows, NULL, R, D);
}

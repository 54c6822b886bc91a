/* rows.h - runs of elements read as fp32 and written back in their storage type.
 *
 * Operations compute in fp32 whatever the storage: they walk a row in pieces of at most ROW_PIECE elements, which stay in the first-level
 * cache. An fp32 run is used where it lies; a bf16 run is converted into the caller's piece. */
#ifndef RLAIFV_KERNELS_CPU_ROWS_H
#define RLAIFV_KERNELS_CPU_ROWS_H

#include "kernels/cpu/bf16.h"
#include "kernels/kernels.h"

enum {
    ROW_PIECE = 1024,
    PARALLEL_LEAST = 16384 /* elements: below this, waking the other threads costs more than they save */
};

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Elements offset .. offset + n - 1 of b, as fp32: in place, or converted into `piece`. */
static inline const float *row_read(Buf b, int64_t offset, int64_t n, float *piece) {
    if (b.dtype == FP32) return (const float *)b.at + offset;
    const bf16 *from = (const bf16 *)b.at + offset;
    for (int64_t i = 0; i < n; i++) piece[i] = bf16_to_float(from[i]);
    return piece;
}

/* Asks for elements offset .. offset + n - 1 ahead of their use. */
static inline void row_prefetch(Buf b, int64_t offset, int64_t n) {
    const char *from = buf_at(b, offset).at, *end = from + n * (int64_t)dtype_size(b.dtype);
    for (; from < end; from += 64) __builtin_prefetch(from, 0, 2);
}

/* Where to compute the elements at `offset` of b before row_done. */
static inline float *row_open(Buf b, int64_t offset, float *piece) { return b.dtype == FP32 ? (float *)b.at + offset : piece; }

/* Stores what was computed at row_open's address. */
static inline void row_done(Buf b, int64_t offset, int64_t n, const float *piece) {
    if (b.dtype == FP32) return;
    bf16 *to = (bf16 *)b.at + offset;
    for (int64_t i = 0; i < n; i++) to[i] = float_to_bf16(piece[i]);
}

static inline void row_copy(Buf to, int64_t to_offset, Buf from, int64_t from_offset, int64_t n) {
    if (to.dtype == from.dtype) {
        memcpy(buf_at(to, to_offset).at, buf_at(from, from_offset).at, (size_t)n * dtype_size(to.dtype));
    } else if (to.dtype == FP32) {
        row_read(from, from_offset, n, (float *)to.at + to_offset);
    } else {
        row_done(to, to_offset, n, (const float *)from.at + from_offset);
    }
}

/* to += from, rounded once. */
static inline void row_add(Buf to, int64_t to_offset, Buf from, int64_t from_offset, int64_t n) {
    float a[ROW_PIECE], b[ROW_PIECE], c[ROW_PIECE];
    for (int64_t at = 0; at < n; at += ROW_PIECE) {
        int64_t m = least(n - at, ROW_PIECE);
        const float *x = row_read(to, to_offset + at, m, a), *y = row_read(from, from_offset + at, m, b);
        float *z = row_open(to, to_offset + at, c);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) z[i] = x[i] + y[i];
        row_done(to, to_offset + at, m, z);
    }
}

#endif

/* skinny.c - y = x w^T for few rows of x, from weights in the layout they are stored in.
 *
 * A thread owns a range of w's rows and takes four at a time: every row is streamed from memory once, and stays in the first cache level
 * while all blocks of x's rows pass over it. Inside, 4 x up to X_ROWS sums live in registers, each a vector over k; a transposing tree
 * turns four vectors into four numbers at the end. bf16 is multiplied as such where vdpbf16ps exists, and widened elsewhere: in registers
 * when x is one block, otherwise once per four rows of w. The next four rows are prefetched meanwhile. Tails of k are padded with zeros, so
 * no sum depends on what lies beyond a row. */
#include "kernels/cpu/skinny.h"

#include "kernels/cpu/bf16.h"
#include "kernels/cpu_state.h"

#include <omp.h>
#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
enum { LANES = 16, X_ROWS = 6 };
#elif defined(__AVX2__)
enum { LANES = 8, X_ROWS = 2 };
#else
enum { LANES = 4, X_ROWS = 2 };
#endif
enum { W_ROWS = 4, CACHE_LINE = 64, SERIAL_BELOW = 1 << 15 }; /* products with fewer weights than this run on one thread */

typedef float Vec __attribute__((vector_size(LANES * 4), aligned(4)));
typedef uint32_t VecU __attribute__((vector_size(LANES * 4)));
typedef int32_t VecI __attribute__((vector_size(LANES * 4)));
typedef uint16_t VecH __attribute__((vector_size(LANES * 2), aligned(2)));
typedef float Vec4 __attribute__((vector_size(16), aligned(4)));

/* How a row of w, and with it x, is stored. */
typedef enum Form { FORM_FP32, FORM_BF16_WIDEN, FORM_BF16 } Form;

#define INLINE static inline __attribute__((always_inline))

INLINE Vec load_fp32(const float *p) { return *(const Vec *)p; }
INLINE Vec load_widen(const bf16 *p) { return (Vec)(__builtin_convertvector(*(const VecH *)p, VecU) << 16); }

/* Elements of k in one step: a vector of fp32, or two of bf16. */
INLINE int form_step(Form f) { return f == FORM_BF16 ? 2 * LANES : LANES; }
INLINE size_t form_size(Form f) { return f == FORM_FP32 ? 4 : 2; }

INLINE Vec load_w(const char *row, int k, Form f) {
    if (f == FORM_FP32) return load_fp32((const float *)row + k);
    if (f == FORM_BF16_WIDEN) return load_widen((const bf16 *)row + k);
    Vec raw;
    memcpy(&raw, (const bf16 *)row + k, sizeof raw);
    return raw;
}
INLINE Vec multiply_add(Vec sum, Vec x, Vec w, Form f) {
#ifdef __AVX512BF16__
    if (f == FORM_BF16) return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)w);
#endif
    (void)f;
    return sum + x * w;
}

/* Lane i of the result: a[i] + a[i ^ d] where i & d is 0, else b[i] + b[i ^ d]. After d = 1, 2, ... over 2^n vectors, lane i holds the sum
 * of vector i over all lanes that the steps joined. */
INLINE Vec join(Vec a, Vec b, int d) {
    VecI first, second;
    for (int i = 0; i < LANES; i++) {
        first[i] = i & d ? LANES + (i ^ d) : i;
        second[i] = i & d ? LANES + i : i ^ d;
    }
    return __builtin_shuffle(a, b, first) + __builtin_shuffle(a, b, second);
}

typedef struct Skinny {
    Buf y, w, bias, residual;
    const char *x; /* rows of x_stride bytes, as FP32, or BF16 for FORM_BF16, padded with zeros to whole steps */
    size_t x_stride;
    int M, N, K;
} Skinny;

/* Four sums of row m, for columns n .. n + count - 1. */
INLINE void finish(const Skinny *s, Vec4 sum, int m, int n, int count) {
    int64_t at = (int64_t)m * s->N + n;
    if (count == W_ROWS && s->y.dtype == FP32 && (!s->bias.at || s->bias.dtype == FP32) && (!s->residual.at || s->residual.dtype == FP32)) {
        if (s->bias.at) sum += *(const Vec4 *)((const float *)s->bias.at + n);
        if (s->residual.at) sum += *(const Vec4 *)((const float *)s->residual.at + at);
        *(Vec4 *)((float *)s->y.at + at) = sum;
        return;
    }
    for (int i = 0; i < count; i++) {
        float v = sum[i];
        if (s->bias.at) v += s->bias.dtype == FP32 ? ((const float *)s->bias.at)[n + i] : bf16_to_float(((const bf16 *)s->bias.at)[n + i]);
        if (s->residual.at)
            v +=
                s->residual.dtype == FP32 ? ((const float *)s->residual.at)[at + i] : bf16_to_float(((const bf16 *)s->residual.at)[at + i]);
        if (s->y.dtype == FP32) ((float *)s->y.at)[at + i] = v;
        else ((bf16 *)s->y.at)[at + i] = float_to_bf16(v);
    }
}

/* What a block asks the cache for while it computes: its share of the next four rows of w, which lie in one piece. */
typedef struct Ahead {
    const char *at;
    int lines, bytes; /* per step of k */
} Ahead;

/* `rows` rows of x from m, against four rows of w. */
INLINE void block(const Skinny *s, const char *const *w, Ahead ahead, int m, int rows, int n, int count, Form f) {
    Vec sum[X_ROWS][W_ROWS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < W_ROWS; j++) sum[i][j] = (Vec){ 0 };
    const char *x = s->x + (size_t)m * s->x_stride;
    int step = form_step(f), whole = s->K / step * step;
    for (int k = 0; k < whole; k += step) {
        Vec wv[W_ROWS];
        for (int line = 0; line < ahead.lines; line++) __builtin_prefetch(ahead.at + line * CACHE_LINE, 0, 3);
        ahead.at += ahead.bytes;
        for (int j = 0; j < W_ROWS; j++) wv[j] = load_w(w[j], k, f);
        for (int i = 0; i < rows; i++) {
            Vec xv = load_w(x + (size_t)i * s->x_stride, k, f == FORM_BF16 ? FORM_BF16 : FORM_FP32);
            for (int j = 0; j < W_ROWS; j++) sum[i][j] = multiply_add(sum[i][j], xv, wv[j], f);
        }
    }
    if (whole < s->K) {
        for (int j = 0; j < W_ROWS; j++) {
            char tail[sizeof(Vec)] = { 0 };
            memcpy(tail, w[j] + (size_t)whole * form_size(f), (size_t)(s->K - whole) * form_size(f));
            Vec wv = load_w(tail, 0, f);
            for (int i = 0; i < rows; i++)
                sum[i][j] =
                    multiply_add(sum[i][j], load_w(x + (size_t)i * s->x_stride, whole, f == FORM_BF16 ? FORM_BF16 : FORM_FP32), wv, f);
        }
    }
    for (int i = 0; i < rows; i++) {
        Vec t = join(join(sum[i][0], sum[i][1], 1), join(sum[i][2], sum[i][3], 1), 2);
        Vec4 four = (Vec4){ t[0], t[1], t[2], t[3] };
        for (int part = 4; part < LANES; part += 4) four += (Vec4){ t[part], t[part + 1], t[part + 2], t[part + 3] };
        finish(s, four, m + i, n, count);
    }
}

/* All rows of x, in blocks of nearly equal size, against four rows of w. */
INLINE void rows_of_x(const Skinny *s, const char *const *w, const char *next, int n, int count, Form f) {
    int blocks = (s->M + X_ROWS - 1) / X_ROWS, m = 0;
    int64_t bytes = (int64_t)W_ROWS * s->K * (int64_t)dtype_size(s->w.dtype), steps = s->K / form_step(f) + 1;
    Ahead ahead = { next, 0, (int)((bytes / blocks + steps - 1) / steps) };
    ahead.lines = next ? (ahead.bytes + CACHE_LINE - 1) / CACHE_LINE : 0;
    for (int b = 0; b < blocks; b++) {
        int rows = s->M / blocks + (b < s->M % blocks);
        switch (rows) {
        case 1:
            block(s, w, ahead, m, 1, n, count, f);
            break;
        case 2:
            block(s, w, ahead, m, 2, n, count, f);
            break;
#ifdef __AVX512F__
        case 3:
            block(s, w, ahead, m, 3, n, count, f);
            break;
        case 4:
            block(s, w, ahead, m, 4, n, count, f);
            break;
        case 5:
            block(s, w, ahead, m, 5, n, count, f);
            break;
        default:
            block(s, w, ahead, m, 6, n, count, f);
            break;
#endif
        }
        m += rows;
        ahead.at += bytes / blocks;
    }
}

static int64_t padded(int K) { return ((int64_t)K + 2 * LANES - 1) / (2 * LANES) * (2 * LANES); }

/* Columns n .. end - 1 of y. `panel` holds four widened rows of w, when they are to be widened beforehand. */
static void columns(const Skinny *s, int n, int end, Form f, float *panel) {
    size_t row_bytes = (size_t)s->K * dtype_size(s->w.dtype);
    for (; n < end; n += W_ROWS) {
        int count = end - n < W_ROWS ? end - n : W_ROWS;
        const char *w[W_ROWS];
        for (int j = 0; j < W_ROWS; j++) w[j] = (const char *)s->w.at + (size_t)(n + (j < count ? j : count - 1)) * row_bytes;
        const char *next = n + 2 * W_ROWS <= end ? w[0] + W_ROWS * row_bytes : NULL;
        if (f == FORM_FP32) rows_of_x(s, w, next, n, count, FORM_FP32);
        else if (f == FORM_BF16) rows_of_x(s, w, next, n, count, FORM_BF16);
        else if (!panel) rows_of_x(s, w, next, n, count, FORM_BF16_WIDEN);
        else {
            for (int j = 0; j < W_ROWS; j++) {
                float *to = panel + j * padded(s->K);
                const bf16 *from = (const bf16 *)w[j];
                for (int k = 0; k < s->K; k++) to[k] = bf16_to_float(from[k]);
                w[j] = (const char *)to;
            }
            rows_of_x(s, w, next, n, count, FORM_FP32);
        }
    }
}

/* x as the loop wants it: in its form, with rows padded by zeros. NULL when there is no memory. */
static char *x_panel(Buf x, int M, int K, Form f, size_t *stride) {
    int64_t width = padded(K);
    *stride = (size_t)width * (f == FORM_BF16 ? 2 : 4);
    char *to = cpu_scratch(SCRATCH_X, (int64_t)*stride * M);
    if (!to) return NULL;
    size_t row = (size_t)K * dtype_size(x.dtype), used = f == FORM_BF16_WIDEN ? (size_t)K * 4 : row;
    for (int m = 0; m < M; m++) {
        char *at = to + (size_t)m * *stride;
        const char *from = (const char *)x.at + (size_t)m * row;
        if (f == FORM_BF16_WIDEN)
            for (int k = 0; k < K; k++) ((float *)at)[k] = bf16_to_float(((const bf16 *)from)[k]);
        else memcpy(at, from, row);
        memset(at + used, 0, *stride - used);
    }
    return to;
}

void ISA_FN(skinny_forward)(Buf y, Buf x, Buf w, Buf bias, Buf residual, int M, int N, int K) {
#ifdef __AVX512BF16__
    Form form = w.dtype == FP32 ? FORM_FP32 : FORM_BF16;
#else
    Form form = w.dtype == FP32 ? FORM_FP32 : FORM_BF16_WIDEN;
#endif
    Skinny s = { .y = y, .w = w, .bias = bias, .residual = residual, .M = M, .N = N, .K = K };
    s.x = x_panel(x, M, K, form, &s.x_stride);
    if (!s.x) return;
    int threads = (int64_t)N * K < SERIAL_BELOW ? 1 : omp_get_max_threads(), blocks = (N + W_ROWS - 1) / W_ROWS;
    float *panels = NULL;
    if (form == FORM_BF16_WIDEN && M > X_ROWS && !(panels = cpu_scratch(SCRATCH_W, (int64_t)threads * W_ROWS * padded(K) * 4))) return;
#pragma omp parallel num_threads(threads)
    {
        int t = omp_get_thread_num(), of = omp_get_num_threads();
        int from = (int)((int64_t)blocks * t / of) * W_ROWS, to = (int)((int64_t)blocks * (t + 1) / of) * W_ROWS;
        columns(&s, from, to < N ? to : N, form, panels ? panels + (int64_t)t * W_ROWS * padded(K) : NULL);
    }
}

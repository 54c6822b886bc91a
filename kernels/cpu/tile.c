/* tile.c - the register-blocked product behind attention.
 *
 * A micro-kernel holds a block of `rows` x `vectors` sums in registers and walks k: it loads `vectors` vectors of b and multiplies them
 * with `rows` broadcast elements of a. The largest block leaves registers for one row of b and a broadcast; smaller ones serve the edges.
 */
#include "kernels/cpu/tile.h"

#if defined(__AVX512F__)
enum { ROWS = 6, VECTORS = 4 }; /* 24 of 32 registers */
#elif defined(__AVX2__)
enum { ROWS = 6, VECTORS = 2 }; /* 12 of 16 */
#else
enum { ROWS = 4, VECTORS = 2 }; /* 8 of 16: without a fused multiply-add the product needs one too */
#endif

typedef struct MicroCall {
    float *c;
    const float *a, *b, *scale;
    const uint16_t *narrow; /* b in bf16, in place of b */
    int64_t c_row, a_row, a_column, b_row;
    int K;
    TileMode mode;
} MicroCall;

static inline __attribute__((always_inline)) void micro(const MicroCall *t, const int rows, const int vectors, const int is_narrow) {
    vec sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) sum[i][j] = (vec){ 0 };
    const float *a = t->a, *b = t->b;
    const uint16_t *narrow = t->narrow;
    int64_t a_row = t->a_row, a_column = t->a_column, b_row = t->b_row;
    for (int k = t->K; k > 0; k--, a += a_column) {
        vec right[VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) right[j] = is_narrow ? vec_load_bf16(narrow + j * VEC_WIDTH) : vec_load(b + j * VEC_WIDTH);
        if (is_narrow) narrow += b_row;
        else b += b_row;
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vec left = vec_all(a[i * a_row]);
#pragma GCC unroll 8
            for (int j = 0; j < vectors; j++) sum[i][j] += left * right[j];
        }
    }
    float *c = t->c;
    int64_t c_row = t->c_row;
#define EACH_SUM(NEW)                                                                                                                      \
    _Pragma("GCC unroll 8") for (int i = 0; i < rows; i++) _Pragma("GCC unroll 8") for (int j = 0; j < vectors; j++) {                     \
        float *at = c + i * c_row + j * VEC_WIDTH;                                                                                         \
        vec_store(at, NEW);                                                                                                                \
    }
    if (t->mode == TILE_SET) {
        EACH_SUM(sum[i][j])
    } else if (t->mode == TILE_ADD) {
        EACH_SUM(sum[i][j] + vec_load(at))
    } else {
        EACH_SUM(sum[i][j] + vec_load(at) * t->scale[i])
    }
#undef EACH_SUM
}

#define MICRO(R, V)                                                                                                                        \
    static void micro_##R##_##V(const MicroCall *t) { micro(t, R, V, 0); }
#if defined(__AVX512F__)
#define MICRO_ROW(R) MICRO(R, 1) MICRO(R, 2) MICRO(R, 3) MICRO(R, 4)
#define MICRO_NAMES(R)                                                                                                                     \
    { micro_##R##_1, micro_##R##_2, micro_##R##_3, micro_##R##_4 }
#else
#define MICRO_ROW(R) MICRO(R, 1) MICRO(R, 2)
#define MICRO_NAMES(R)                                                                                                                     \
    { micro_##R##_1, micro_##R##_2 }
#endif
MICRO_ROW(1)
MICRO_ROW(2)
MICRO_ROW(3)
MICRO_ROW(4)
#if defined(__AVX2__)
MICRO_ROW(5)
MICRO_ROW(6)
#endif

#define MICRO_NARROW(R)                                                                                                                    \
    static void micro_narrow_##R(const MicroCall *t) { micro(t, R, TILE_NARROW_VECTORS, 1); }
MICRO_NARROW(1)
MICRO_NARROW(2)
MICRO_NARROW(3)
MICRO_NARROW(4)
#if defined(__AVX2__)
MICRO_NARROW(5)
MICRO_NARROW(6)
#endif
static void (*const micros_narrow[ROWS])(const MicroCall *) = {
    micro_narrow_1,
    micro_narrow_2,
    micro_narrow_3,
    micro_narrow_4,
#if defined(__AVX2__)
    micro_narrow_5,
    micro_narrow_6,
#endif
};

static void (*const micros[ROWS][VECTORS])(const MicroCall *) = {
    MICRO_NAMES(1),
    MICRO_NAMES(2),
    MICRO_NAMES(3),
    MICRO_NAMES(4),
#if defined(__AVX2__)
    MICRO_NAMES(5),
    MICRO_NAMES(6),
#endif
};

void ISA_FN(tile_product)(
    float *c, int64_t c_row, TileView a, const float *b, int64_t b_row, int M, int N, int K, TileMode mode, const float *scale) {
    for (int n = 0; n < N; n += VECTORS * VEC_WIDTH) {
        int vectors = (N - n) / VEC_WIDTH < VECTORS ? (N - n) / VEC_WIDTH : VECTORS;
        for (int m = 0; m < M; m += ROWS) {
            int rows = M - m < ROWS ? M - m : ROWS;
            MicroCall t = { .c = c + m * c_row + n,
                .a = a.at + m * a.row,
                .b = b + n,
                .scale = scale ? scale + m : 0,
                .c_row = c_row,
                .a_row = a.row,
                .a_column = a.column,
                .b_row = b_row,
                .K = K,
                .mode = mode };
            micros[rows - 1][vectors - 1](&t);
        }
    }
}

void ISA_FN(tile_product_narrow)(float *c, TileView a, const uint16_t *b, int M, int K) {
    enum { N = TILE_NARROW_VECTORS * VEC_WIDTH };
    for (int m = 0; m < M; m += ROWS) {
        int rows = M - m < ROWS ? M - m : ROWS;
        MicroCall t = { .c = c + m * N, .a = a.at + m * a.row, .narrow = b, .c_row = N, .a_row = a.row, .a_column = a.column, .b_row = N, .K = K };
        micros_narrow[rows - 1](&t);
    }
}

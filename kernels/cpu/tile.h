/* tile.h - products of small matrices that lie in the first-level cache: what attention is made of. */
#ifndef RLAIFV_KERNELS_CPU_TILE_H
#define RLAIFV_KERNELS_CPU_TILE_H

#include "kernels/cpu/isa.h"
#include "kernels/cpu/vec.h"

#include <stdint.h>

/* One operand: element (i, j) at `at[i * row + j * column]`. */
typedef struct TileView {
    const float *at;
    int64_t row, column;
} TileView;

typedef enum TileMode {
    TILE_SET,   /* c = a b */
    TILE_ADD,   /* c = c + a b */
    TILE_SCALE, /* c = c * scale[i] + a b, row by row */
} TileMode;

/* c (M, N) from a (M, K) and b (K, N), both b and c with rows of unit stride. N is a multiple of VEC_WIDTH: pad with columns nobody reads.
 * Each element is one chain of multiply-adds in the order of k, so that its bits depend on its own row and column only. */
void ISA_FN(tile_product)(
    float *c, int64_t c_row, TileView a, const float *b, int64_t b_row, int M, int N, int K, TileMode mode, const float *scale);

/* c (M, N) = a (M, K) b (K, N) with b in bf16 and N of TILE_NARROW_VECTORS vectors: the same bits as of a widened b. */
enum { TILE_NARROW_VECTORS = 2 };
void ISA_FN(tile_product_narrow)(float *c, TileView a, const uint16_t *b, int M, int K);

#endif

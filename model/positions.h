/* positions.h - tables of learned or computed positions over a square grid, at another size than they were made for. */
#ifndef RLAIFV_MODEL_POSITIONS_H
#define RLAIFV_MODEL_POSITIONS_H

#include "kernels/kernels.h"

#include <stdint.h>

/* Both are cubic convolution (Keys, IEEE Trans. ASSP 29, 1981) between centres of cells. */
typedef enum PositionsFilter {
    POSITIONS_SMOOTH, /* a = -1/2, widened when shrinking, weights of what lies outside dealt to the rest: PyTorch's bicubic with antialias,
                         as timm's towers */
    POSITIONS_PLAIN   /* a = -3/4, the border repeated: PyTorch's bicubic without */
} PositionsFilter;

/* to (to_side^2, width) from `from` (from_side^2, width), rows of the grid one after another. Equal sides copy. */
int positions_resize(float *to, int to_side, const float *from, int from_side, int width, PositionsFilter filter, Error *e);
/* The way back: dfrom += the gradient of `from`, given that of `to`. */
int positions_resize_backward(float *dfrom, int from_side, const float *dto, int to_side, int width, PositionsFilter filter, Error *e);

/* The same for tables on the device, of any dtype, that begin with `lead` rows which are copied. */
int positions_table(const Kernels *k, Buf to, int to_side, Buf from, int from_side, int width, int lead, PositionsFilter filter, Error *e);

/* Element `at` (row-major) of the table that resamplers start from: sines and cosines of the column in the first half of a row's `width` (a
 * multiple of four) elements, of the row in the second, with the frequencies of Vaswani et al. 2017. */
float positions_sincos(int64_t at, int side, int width);

#endif

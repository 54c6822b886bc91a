/* skinny.h - products of few rows, bound by the memory that streams the weights. */
#ifndef RLAIFV_KERNELS_CPU_SKINNY_H
#define RLAIFV_KERNELS_CPU_SKINNY_H

#include "kernels/cpu/isa.h"
#include "kernels/kernels.h"

/* As linear_forward (kernels/kernels.h); meant for M up to about 32. w is read once, as stored. Each element of y is one sum in one order
 * that does not depend on M. */
void ISA_FN(skinny_forward)(Buf y, Buf x, Buf w, Buf bias, Buf residual, int M, int N, int K);

#endif

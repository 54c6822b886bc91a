/* panel.h - products with kept weights, for the instruction sets on which oneDNN is no help: AVX2 and less, and bf16 without bf16
 * instructions. */
#ifndef RLAIFV_KERNELS_CPU_PANEL_H
#define RLAIFV_KERNELS_CPU_PANEL_H

#include "kernels/cpu/isa.h"
#include "kernels/kernels.h"

/* As linear_forward (kernels/kernels.h), for any number of rows. Each element of y is one sum in the order of k: its bits do not depend on
 * M or on the rows beside it. */
void ISA_FN(panel_forward)(Buf y, Buf x, Buf w, Buf bias, Buf residual, int M, int N, int K);

#endif

/* products.h - the ways of computing a matrix product on the device. linear.cu chooses among them; benches and tests may name one.
 *
 * A product is c (m, n) = op(a, b) [+ bias (n)] [+ residual (m, n)], all row-major and dense. a and b have one dtype, c has it or is FP32,
 * bias and residual may be of either; residual may be c itself. Sums are fp32. */
#ifndef RLAIFV_KERNELS_CUDA_PRODUCTS_H
#define RLAIFV_KERNELS_CUDA_PRODUCTS_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ProductForm {
    FORM_X_WT, /* a (m, k) b (n, k)^T */
    FORM_X_W,  /* a (m, k) b (k, n) */
    FORM_XT_Y  /* a (k, m)^T b (k, n) */
} ProductForm;

typedef struct CudaProduct {
    ProductForm form;
    int m, n, k;
    Buf c, a, b, bias, residual; /* the last two may be BUF_NONE */
} CudaProduct;

/* Which way: RLAIFV_PRODUCTS = own | cublaslt | auto. `own` are the kernels written here; `cublaslt` is that library wherever it has the
 * product; `auto` (also when the variable is not set) is skinny_run for few rows, the library for the rest where it has it. */
void cuda_product(const CudaProduct *p);

/* skinny.cu: FORM_X_WT with at most SKINNY_ROWS rows, at the bandwidth of b. A row's bits do not depend on m. */
enum { SKINNY_ROWS = 32 };
void skinny_run(const CudaProduct *p);

/* gemm.cu: bf16 operands on tensor cores, any shape and alignment. gemm_fp32.cu: fp32 operands, exact products. */
void gemm_bf16_run(const CudaProduct *p);
void gemm_fp32_run(const CudaProduct *p);

/* cublaslt.c: 0 when the library does not have the product, and nothing was done. */
int cublaslt_run(const CudaProduct *p);

#ifdef __cplusplus
}
#endif

#endif

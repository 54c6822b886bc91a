/* dnnl_products.h - large matrix products by oneDNN, behind one call.
 *
 * What oneDNN needs is kept between calls: primitives by shape (a bounded number, the least recently used goes first), packed weights by
 * address, one scratchpad. Nothing here converts: operands of one product are both FP32 or both BF16, and whether BF16 is worth asking for
 * is the caller's business (oneDNN emulates it on CPUs without the instructions). Called from one host thread at a time. */
#ifndef RLAIFV_KERNELS_DNNL_PRODUCTS_H
#define RLAIFV_KERNELS_DNNL_PRODUCTS_H

#include "kernels/kernels.h"

/* Holds oneDNN to what the named copy of the backend may use. Only the first call of a process counts: oneDNN fixes its limit then. */
void products_limit_isa(const char *isa);

/* C (m, n) = A B [+ bias (n)] [+ residual (m, n)], all row-major and dense; A is (m, k) and B is (k, n) unless stored transposed:
 *   PRODUCT_X_WT   B is stored (n, k): x w^T. When `keep` is set, its packed form is kept by address as packs.h says.
 *   PRODUCT_X_W    B is stored (k, n): dy w
 *   PRODUCT_XT_Y   A is stored (k, m): dy^T x
 * C may be FP32 for BF16 operands. residual may be C itself. A failure goes to cpu_failure_set. */
typedef enum ProductKind { PRODUCT_X_WT, PRODUCT_X_W, PRODUCT_XT_Y } ProductKind;
typedef struct Product {
    ProductKind kind;
    int m, n, k, keep;
    Buf c, a, b, bias, residual;
} Product;
void product_run(const Product *p);

#endif

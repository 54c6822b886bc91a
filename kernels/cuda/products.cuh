/* products.cuh - what the kernels of products share: the epilogue, through which sums reach the result. */
#ifndef RLAIFV_KERNELS_CUDA_PRODUCTS_CUH
#define RLAIFV_KERNELS_CUDA_PRODUCTS_CUH

#include "kernels/cuda/products.h"
#include "kernels/cuda/rows.cuh"

/* c = sums + bias + residual, added in this order. The dtypes are looked at here and not compiled in: they are the same for a whole launch,
 * and an epilogue is short beside its product. residual may be c: each element is read, then written, by one thread. */
typedef struct Epilogue {
    void *c;
    const void *bias, *residual; /* or NULL */
    int m, n;
    int c_wide, bias_wide, residual_wide; /* 1: FP32 */
    int vectors;                          /* rows of c, of residual, and bias may be read and written 4 elements at a time */
} Epilogue;

static inline Epilogue epilogue_of(const CudaProduct *p) {
    const Buf all[] = { p->c, p->bias, p->residual };
    int aligned = p->n % 4 == 0;
    for (int i = 0; i < 3; i++)
        if (all[i].at && (uintptr_t)all[i].at % (4 * dtype_size(all[i].dtype))) aligned = 0;
    return Epilogue{ p->c.at, p->bias.at, p->residual.at, p->m, p->n, p->c.dtype == FP32, p->bias.dtype == FP32, p->residual.dtype == FP32,
        aligned };
}

__device__ __forceinline__ float epilogue_read(const void *from, int wide, int64_t at) {
    return wide ? ((const float *)from)[at] : to_float(((const bf16 *)from)[at]);
}

__device__ __forceinline__ void epilogue_add_four(float (&v)[4], const void *from, int wide, int64_t at) {
    if (wide) {
        Vec<float, 4> x = elements_load<4>((const float *)from + at);
        UNROLL
        for (int i = 0; i < 4; i++) v[i] += x.v[i];
    } else {
        Vec<bf16, 4> x = elements_load<4>((const bf16 *)from + at);
        UNROLL
        for (int i = 0; i < 4; i++) v[i] += to_float(x.v[i]);
    }
}

__device__ __forceinline__ void epilogue_store(const Epilogue &e, int row, int column, float v) {
    if (row >= e.m || column >= e.n) return;
    int64_t at = (int64_t)row * e.n + column;
    if (e.bias) v += epilogue_read(e.bias, e.bias_wide, column);
    if (e.residual) v += epilogue_read(e.residual, e.residual_wide, at);
    if (e.c_wide) ((float *)e.c)[at] = v;
    else ((bf16 *)e.c)[at] = from_float<bf16>(v);
}

/* Four sums of consecutive columns, the first a multiple of 4; those outside the result are dropped. */
__device__ __forceinline__ void epilogue_store_four(const Epilogue &e, int row, int column, const float (&sums)[4]) {
    if (!e.vectors) {
        UNROLL
        for (int i = 0; i < 4; i++) epilogue_store(e, row, column + i, sums[i]);
        return;
    }
    if (row >= e.m || column >= e.n) return;
    int64_t at = (int64_t)row * e.n + column;
    float v[4] = { sums[0], sums[1], sums[2], sums[3] };
    if (e.bias) epilogue_add_four(v, e.bias, e.bias_wide, column);
    if (e.residual) epilogue_add_four(v, e.residual, e.residual_wide, at);
    if (e.c_wide) {
        elements_store((float *)e.c + at, Vec<float, 4>{ { v[0], v[1], v[2], v[3] } });
    } else {
        Vec<bf16, 4> out;
        UNROLL
        for (int i = 0; i < 4; i++) out.v[i] = from_float<bf16>(v[i]);
        elements_store((bf16 *)e.c + at, out);
    }
}

#endif

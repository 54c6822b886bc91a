/* ptx.cuh - every asm() of the project, each with its emulation beside it (PTX ISA 8.x, sections named below).
 *
 * Fragments of a warp: lane l has group g = l / 4 and t = l % 4. Registers of bfloat16 hold two numbers, the one of lower index in the
 * lower half. All lanes of a warp take part in every operation that says warp. */
#ifndef RLAIFV_KERNELS_CUDA_PTX_CUH
#define RLAIFV_KERNELS_CUDA_PTX_CUH

#include "kernels/cuda/device.cuh"

#ifdef __CUDACC__
__device__ __forceinline__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
#endif

/* ---- d = a b + c, 16 x 8 x 16, bfloat16 operands, fp32 sums; warp (mma.sync.aligned.m16n8k16) ----
 *   a: a[0] (g, 2t..)  a[1] (g + 8, 2t..)  a[2] (g, 2t + 8..)  a[3] (g + 8, 2t + 8..)      rows x k
 *   b: b[0] (2t.., g)  b[1] (2t + 8.., g)                                                  k x columns
 *   c, d: [0] (g, 2t) [1] (g, 2t + 1) [2] (g + 8, 2t) [3] (g + 8, 2t + 1) */
#ifdef __CUDACC__
__device__ __forceinline__ void mma_m16n8k16_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};\n"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
#else
struct SimtMma {
    uint32_t a[4], b[2];
    float c[4], d[4];
};
void simt_perform_mma(void *const operand[32], unsigned mask);
static inline void simt_mma(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4], SimtSite site) {
    SimtMma m;
    memcpy(m.a, a, sizeof m.a), memcpy(m.b, b, sizeof m.b), memcpy(m.c, c, sizeof m.c);
    simt_collective(simt_perform_mma, &m, FULL_WARP, site);
    memcpy(d, m.d, sizeof m.d);
}
#define mma_m16n8k16_bf16(d, a, b, c) simt_mma((d), (a), (b), (c), SIMT_HERE)
#endif

/* ---- 8 x 8 matrices of 16-bit numbers from shared memory; warp (ldmatrix) ----
 * Lanes 8 i .. 8 i + 7 give the addresses of the rows of matrix i, 16 bytes each and so aligned. Register i of lane l then holds elements
 * 2t and 2t + 1 of row g of matrix i; with _trans, of column g: elements (2t, g) and (2t + 1, g). x2 reads the addresses of lanes 0 to 15.
 */
#ifdef __CUDACC__
__device__ __forceinline__ void ldmatrix_x4(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t r[2], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];\n"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t r[2], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];\n"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
}
#else
struct SimtLdmatrix {
    const void *row;
    uint32_t r[4];
    int matrices, trans, lane;
    SimtSite site;
};
void simt_perform_ldmatrix(void *const operand[32], unsigned mask);
static inline void simt_ldmatrix(uint32_t *r, const void *row, int matrices, int trans, SimtSite site) {
    SimtLdmatrix m = { row, {}, matrices, trans, simt_lane(), site };
    simt_collective(simt_perform_ldmatrix, &m, FULL_WARP, site);
    memcpy(r, m.r, sizeof *r * (size_t)matrices);
}
#define ldmatrix_x4(r, row) simt_ldmatrix((r), (row), 4, 0, SIMT_HERE)
#define ldmatrix_x4_trans(r, row) simt_ldmatrix((r), (row), 4, 1, SIMT_HERE)
#define ldmatrix_x2(r, row) simt_ldmatrix((r), (row), 2, 0, SIMT_HERE)
#define ldmatrix_x2_trans(r, row) simt_ldmatrix((r), (row), 2, 1, SIMT_HERE)
#endif

/* ---- global to shared memory past the registers (cp.async.cg): 16 bytes between multiples of 16, of which the first `valid` are read and
 * the rest become zero. A copy is there for its own thread after the wait for its group, for others after a barrier too. ---- */
#ifdef __CUDACC__
__device__ __forceinline__ void cp_async_16(void *shared, const void *global, int valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)), "l"(global), "r"(valid) : "memory");
}
__device__ __forceinline__ void cp_async_commit(void) { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
/* Waits until at most LEFT of the newest groups are on the way. */
template <int LEFT> __device__ __forceinline__ void cp_async_wait(void) {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(LEFT) : "memory");
}
#else
#define cp_async_16(shared, global, valid) simt_copy_async((shared), (global), (valid), SIMT_HERE)
static inline void cp_async_commit(void) { simt_copy_commit(); }
template <int LEFT> static inline void cp_async_wait(void) { simt_copy_wait(LEFT); }
#endif

/* ---- 2^x, within 2 units of the last place (ex2.approx.ftz.f32); 0 for x of -infinity ---- */
#ifdef __CUDACC__
__device__ __forceinline__ float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
    return y;
}
#else
static inline float exp2_approx(float x) { return exp2f(x); }
#endif

#endif

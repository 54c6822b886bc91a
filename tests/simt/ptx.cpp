/* ptx.cpp - the warp-wide operations of ptx.cuh, performed for all lanes at once. Products are exact in fp32 (a bfloat16 has 8 bits); sums
 * over k go in order, in double, and are rounded once: the hardware's order is its own, and tests must not depend on it. */
#include "kernels/cuda/ptx.cuh"

#include "tests/simt/counters.h"
#include "tests/simt/engine.h"

/* The copy for the widest vectors of the machine is picked when the program starts. */
#if defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define WIDE
#endif
typedef double Row __attribute__((vector_size(8 * sizeof(double))));

static inline float number(uint32_t pair, int high) { return __uint_as_float(high ? pair & 0xffff0000u : pair << 16); }

WIDE void simt_perform_mma(void *const operand[32], unsigned) {
    counters_mma();
    double a[16][16];
    Row b[16], sum[16];
    for (int l = 0; l < 32; l++) {
        const SimtMma *m = (const SimtMma *)operand[l];
        int g = l / 4, t = l % 4;
        for (int h = 0; h < 2; h++) {
            for (int i = 0; i < 4; i++) a[g + i % 2 * 8][2 * t + i / 2 * 8 + h] = number(m->a[i], h);
            for (int i = 0; i < 2; i++) b[2 * t + i * 8 + h][g] = number(m->b[i], h);
        }
        for (int i = 0; i < 4; i++) sum[g + i / 2 * 8][2 * t + i % 2] = m->c[i];
    }
    for (int row = 0; row < 16; row++) {
        Row s = sum[row];
        for (int k = 0; k < 16; k++) s += a[row][k] * b[k];
        sum[row] = s;
    }
    for (int l = 0; l < 32; l++) {
        SimtMma *m = (SimtMma *)operand[l];
        for (int i = 0; i < 4; i++) m->d[i] = (float)sum[l / 4 + i / 2 * 8][2 * (l % 4) + i % 2];
    }
}

void simt_perform_ldmatrix(void *const operand[32], unsigned) {
    uint16_t matrix[4][8][8];
    const SimtLdmatrix *first = (const SimtLdmatrix *)operand[0];
    for (int l = 0; l < 8 * first->matrices; l++) {
        const SimtLdmatrix *m = (const SimtLdmatrix *)operand[l];
        if ((uintptr_t)m->row % 16) simt_fail(m->site, "lane %d gives ldmatrix a row that is not aligned to 16 bytes", l);
        checker_read_for(simt_self->linear / 32 * 32 + l, m->row, 16, m->site);
        memcpy(matrix[l / 8][l % 8], m->row, 16);
    }
    for (int l = 0; l < 32; l++) {
        SimtLdmatrix *m = (SimtLdmatrix *)operand[l];
        int g = l / 4, t = l % 4;
        if (m->matrices != first->matrices || m->trans != first->trans) simt_fail(m->site, "lanes of one ldmatrix ask for different forms");
        for (int i = 0; i < m->matrices; i++) {
            uint32_t low = m->trans ? matrix[i][2 * t][g] : matrix[i][g][2 * t],
                     high = m->trans ? matrix[i][2 * t + 1][g] : matrix[i][g][2 * t + 1];
            m->r[i] = low | high << 16;
        }
    }
}

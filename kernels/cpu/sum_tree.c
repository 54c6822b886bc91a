/* sum_tree.c - sums over ranks in the one order that does not depend on how many ranks there are (kernels.h).
 *
 * The runs are added as a counter counts: sums[l] holds a tree over 2^l runs while bit l of the number of runs seen is set, and a run that
 * comes in carries. What is left at the end is joined from the smallest tree to the largest. That is the pairwise tree, with the odd one of
 * every level passed up, in log2(n) sums a piece. */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu_state.h"

enum { LEVELS = 7, TREE_PIECE = 512 }; /* 2^(LEVELS - 1) runs; all levels of a piece stay in the first-level cache */
_Static_assert(1 << (LEVELS - 1) == SUM_TREE_MOST, "levels");

static void sum_add(float *to, const float *left, const float *right, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) to[i] = left[i] + right[i];
}

static void piece_sum(Buf y, Buf parts, int n, int64_t count, int64_t at, int64_t m) {
    float sums[LEVELS][TREE_PIECE], held[TREE_PIECE];
    for (int r = 0; r < n; r++) {
        const float *run = row_read(parts, r * count + at, m, held);
        int level = 0;
        for (; r >> level & 1; level++) {
            sum_add(sums[level], sums[level], run, m);
            run = sums[level];
        }
        if (run != sums[level]) memmove(sums[level], run, (size_t)m * sizeof *run);
    }
    const float *sum = NULL;
    for (int level = 0; level < LEVELS; level++) {
        if (!(n >> level & 1)) continue;
        if (sum) sum_add(sums[level], sums[level], sum, m);
        sum = sums[level];
    }
    float *to = row_open(y, at, held);
    memcpy(to, sum, (size_t)m * sizeof *sum);
    row_done(y, at, m, to);
}

void ISA_FN(sum_tree)(Buf y, Buf parts, int n, int64_t count) {
    if (n < 1 || n > SUM_TREE_MOST || y.dtype != parts.dtype) {
        cpu_failure_set("sum_tree", n < 1 || n > SUM_TREE_MOST ? "a number of runs that is not 1 to 64" : "operands of two dtypes");
        return;
    }
#pragma omp parallel for schedule(static) if (count * n >= PARALLEL_LEAST)
    for (int64_t at = 0; at < count; at += TREE_PIECE) piece_sum(y, parts, n, count, at, least(count - at, TREE_PIECE));
}

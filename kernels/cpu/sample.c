/* sample.c - draws tokens from logits: temperature, then top-k, then top-p, in the order and with the meaning of Transformers' warpers; and the most
 * likely tokens (best).
 *
 * With the allowed tokens' weights e[i] = exp((l[i] - largest) / T):
 *   top-k keeps i while fewer than k allowed tokens have a larger logit;
 *   top-p keeps i while the tokens with a larger logit weigh less than p of what top-k left.
 * So ties at a cut are kept, at least one token is, and the kept set is {i : l[i] >= cut} for one cut that is found by radix selection on
 * the bits of the logits, without sorting. The draw inverts the cumulative weight in the order of ids by one Philox number, which depends
 * on the row's key and counter alone: the same row draws the same token in any batch. */
#include "base/philox.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/softmax.h"
#include "kernels/cpu_state.h"

#include <omp.h>
#include <string.h>

enum { RADIX_BITS = 11, RADIX = 1 << RADIX_BITS };

/* An unsigned key in the order of the floats; 0 and -0 are one. */
static uint32_t ordered(float x) {
    uint32_t bits = vm_bits(x + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
static float unordered(uint32_t key) { return vm_from_bits(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key); }

typedef struct Candidate {
    uint32_t key;
    float weight;
} Candidate;

/* The smallest logit that is kept: the largest value v such that the weight of all candidates with l >= v reaches `limit` (the lowest of
 * all when it never does). Three rounds of 11, 11 and 10 bits; each keeps only the bucket where the limit falls. c is reordered and
 * shortened. */
static float cut_find(Candidate *c, int n, double limit) {
    double above = 0;
    uint32_t prefix = 0;
    for (int shift = 32 - RADIX_BITS;; shift = shift > RADIX_BITS ? shift - RADIX_BITS : 0) {
        double weight[RADIX];
        unsigned char present[RADIX];
        memset(weight, 0, sizeof weight);
        memset(present, 0, sizeof present);
        for (int i = 0; i < n; i++) {
            uint32_t digit = c[i].key >> shift & (RADIX - 1);
            weight[digit] += (double)c[i].weight;
            present[digit] = 1;
        }
        int crossing = 0, reached = 0;
        for (int digit = RADIX - 1; digit >= 0 && !reached; digit--) {
            if (!present[digit]) continue;
            crossing = digit;
            reached = above + weight[digit] >= limit;
            if (!reached) above += weight[digit];
        }
        if (!reached) above -= weight[crossing]; /* all of the lowest bucket is kept */
        prefix |= (uint32_t)crossing << shift;
        if (shift == 0) return unordered(prefix);
        int kept = 0;
        for (int i = 0; i < n; i++)
            if ((c[i].key >> shift & (RADIX - 1)) == (uint32_t)crossing) c[kept++] = c[i];
        n = kept;
    }
}

/* Sum of e over blocks of ids, block sums into `blocks`. */
static double block_sums(const float *e, int V, double *blocks) {
    double total = 0;
    for (int from = 0, b = 0; from < V; from += SOFTMAX_BLOCK, b++) {
        int to = from + SOFTMAX_BLOCK < V ? from + SOFTMAX_BLOCK : V;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int i = from; i < to; i++) sum += e[i];
        total += blocks[b] = (double)sum;
    }
    return total;
}

/* 53 bits of the block that the row's counter names. */
static double uniform(const SampleRow *row) {
    Philox p = philox4x32(row->counter[0], row->counter[1], row->counter[2], row->counter[3], row->seed[0], row->seed[1]);
    return (double)((uint64_t)p.v[0] << 21 | p.v[1] >> 11) * 0x1p-53;
}

/* What a thread works in: V weights, V candidates, sums of blocks. */
typedef struct SampleScratch {
    float *e;
    Candidate *candidates;
    double *blocks;
} SampleScratch;

static int64_t scratch_bytes(int V, int64_t *candidates_at, int64_t *blocks_at) {
    int64_t rows = ((int64_t)V + 15) / 16 * 16;
    *candidates_at = rows * (int64_t)sizeof(float);
    *blocks_at = *candidates_at + rows * (int64_t)sizeof(Candidate);
    return *blocks_at + (rows / SOFTMAX_BLOCK + 8) / 8 * 8 * (int64_t)sizeof(double);
}

static int greedy(const float *l, const unsigned char *allowed, int V, float largest) {
    for (int i = 0; i < V; i++)
        if (allowed[i] && l[i] == largest) return i;
    return -1;
}

/* -1 when no allowed token has a finite weight: all are masked, or the logits are not numbers. */
static int draw(const float *l, const unsigned char *allowed, const SampleRow *row, int V, const SampleScratch *s) {
    float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (int i = 0; i < V; i++) {
        float x = allowed[i] ? l[i] : -INFINITY;
        largest = x > largest ? x : largest;
    }
    if (!(largest > -INFINITY && largest < INFINITY)) return -1;
    if (row->temperature <= 0) return greedy(l, allowed, V, largest);
    float *e = s->e, t = row->temperature;
#pragma omp simd
    for (int i = 0; i < V; i++) {
        float x = vm_exp((l[i] - largest) / t);
        e[i] = allowed[i] ? x : 0.0f;
    }
    float cut = -INFINITY;
    if (row->top_k > 0 && row->top_k < V) {
        int n = 0;
        for (int i = 0; i < V; i++) {
            s->candidates[n] = (Candidate){ ordered(l[i]), 1 };
            n += allowed[i] != 0;
        }
        cut = cut_find(s->candidates, n, row->top_k);
#pragma omp simd
        for (int i = 0; i < V; i++) e[i] = l[i] >= cut ? e[i] : 0.0f;
    }
    double total = block_sums(e, V, s->blocks);
    if (!(total > 0 && total < INFINITY)) return -1;
    if (row->top_p < 1) {
        /* All tokens lighter than (1 - p) / V of the whole weigh less than 1 - p together, so none of them is kept. */
        float least = (float)((1 - (double)row->top_p) * total / V) * 0.999f;
        int n = 0;
        for (int i = 0; i < V; i++) {
            s->candidates[n] = (Candidate){ ordered(l[i]), e[i] };
            n += e[i] > 0 && e[i] >= least;
        }
        cut = cut_find(s->candidates, n, (double)row->top_p * total);
#pragma omp simd
        for (int i = 0; i < V; i++) e[i] = l[i] >= cut ? e[i] : 0.0f;
        total = block_sums(e, V, s->blocks);
    }
    double left = uniform(row) * total;
    int b = 0, chosen = -1;
    while ((b + 1) * SOFTMAX_BLOCK < V && left >= s->blocks[b]) left -= s->blocks[b++];
    /* Rounding may leave the last blocks empty of weight, or a block's own sum short: then the last token with weight before it is taken.
     */
    for (int i = b * SOFTMAX_BLOCK; i < V && i < (b + 1) * SOFTMAX_BLOCK; i++) {
        if (!(e[i] > 0)) continue;
        chosen = i;
        left -= (double)e[i];
        if (left < 0) return chosen;
    }
    for (int i = b * SOFTMAX_BLOCK - 1; chosen < 0 && i >= 0; i--)
        if (e[i] > 0) chosen = i;
    return chosen;
}

void ISA_FN(sample)(int *ids, float *logp, Buf logits, const unsigned char *allowed, const SampleRow *rows, int R, int V) {
    int64_t candidates_at, blocks_at, each = scratch_bytes(V, &candidates_at, &blocks_at);
    int threads = omp_get_max_threads() < R ? omp_get_max_threads() : R, bad = 0;
    if (R <= 0) return;
    char *scratch = cpu_scratch(SCRATCH_SAMPLE, each * threads);
    if (!scratch) return;
#pragma omp parallel for num_threads(threads) reduction(+ : bad)
    for (int r = 0; r < R; r++) {
        const float *l = (const float *)logits.at + (int64_t)r * V;
        char *mine = scratch + each * omp_get_thread_num();
        SampleScratch s = { (float *)mine, (Candidate *)(mine + candidates_at), (double *)(mine + blocks_at) };
        int id = draw(l, allowed, &rows[r], V, &s);
        if (id < 0) bad++, id = 0;
        ids[r] = id;
        if (logp) logp[r] = (float)((double)l[id] - row_lse(l, V));
    }
    if (bad) cpu_failure_set("no token can be sampled", "logits that are not finite, or no allowed token");
}

void ISA_FN(penalise)(Buf logits, const int *first, const int *ids, float penalty, int R, int V) {
    for (int r = 0; r < R; r++) {
        float *l = (float *)logits.at + (int64_t)r * V;
        for (int i = first[r]; i < first[r + 1]; i++) l[ids[i]] = l[ids[i]] > 0 ? l[ids[i]] / penalty : l[ids[i]] * penalty;
    }
}

/* ---- the most likely tokens ---- */

/* Puts id i where it belongs among the `count` best so far, of which `most` are kept; ids come in rising order, so that an equal logit goes behind. The
 * number there are then. */
static int best_insert(int *ids, const float *l, int i, int count, int most) {
    int at = count < most ? count : most - 1;
    for (; at > 0 && l[ids[at - 1]] < l[i]; at--) ids[at] = ids[at - 1];
    ids[at] = i;
    return count < most ? count + 1 : most;
}

/* Whether the row has a token to give. */
static int best_of_row(int *ids, float *logp, const float *l, const unsigned char *allowed, int n, int V) {
    int count = 0, numbers = 1;
    float least = -INFINITY;
    for (int i = 0; i < V; i++) {
        numbers &= l[i] < INFINITY; /* not of NaN */
        if (!allowed[i] || !(l[i] > least)) continue;
        count = best_insert(ids, l, i, count, n);
        if (count == n) least = l[ids[n - 1]];
    }
    double lse = row_lse(l, V);
    for (int j = 0; j < n; j++) {
        if (j >= count) ids[j] = -1;
        logp[j] = j < count ? (float)((double)l[ids[j]] - lse) : -INFINITY;
    }
    return count > 0 && numbers;
}

void ISA_FN(best)(int *ids, float *logp, Buf logits, const unsigned char *allowed, int n, int R, int V) {
    int bad = 0;
#pragma omp parallel for reduction(+ : bad)
    for (int r = 0; r < R; r++)
        bad += !best_of_row(ids + (int64_t)r * n, logp + (int64_t)r * n, (const float *)logits.at + (int64_t)r * V, allowed, n, V);
    if (bad) cpu_failure_set("no token can be chosen", "logits that are not finite, or no allowed token");
}

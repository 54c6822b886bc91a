/* philox.h - counter-based random numbers: Philox4x32-10 of Salmon, Moraes, Dror and Shaw 2011 (Random123).
 *
 * A draw is a pure function of a key and a counter, so it depends on neither batch composition, rank nor order. Plain C in a header so that
 * CPU and CUDA sources use the same lines. */
#ifndef RLAIFV_BASE_PHILOX_H
#define RLAIFV_BASE_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define PHILOX_FN static __host__ __device__ inline
#else
#define PHILOX_FN static inline
#endif

typedef struct Philox {
    uint32_t v[4];
} Philox;

PHILOX_FN Philox philox4x32(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1, c3 = (uint32_t)p0, c0 = n0, c2 = n2;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    Philox r = { { c0, c1, c2, c3 } };
    return r;
}

/* Uniform in [0, 1) with 24 bits. */
PHILOX_FN float philox_uniform(uint32_t bits) { return (float)(bits >> 8) * (1.0f / 16777216.0f); }

#undef PHILOX_FN

/* A host-side stream for shuffles and worlds: (seed, stream) names it, each draw advances its counter. */
typedef struct Rng {
    uint64_t seed, stream, counter;
} Rng;

static inline uint32_t rng_bits(Rng *r) {
    Philox p = philox4x32((uint32_t)r->counter, (uint32_t)(r->counter >> 32), (uint32_t)r->stream, (uint32_t)(r->stream >> 32), (uint32_t)r->seed,
        (uint32_t)(r->seed >> 32));
    r->counter++;
    return p.v[0];
}
static inline double rng_uniform(Rng *r) { return (double)rng_bits(r) * (1.0 / 4294967296.0); }
/* Uniform in 0 .. n-1 without bias that matters (n far below 2^32). */
static inline uint32_t rng_below(Rng *r, uint32_t n) { return (uint32_t)(((uint64_t)rng_bits(r) * n) >> 32); }

#endif

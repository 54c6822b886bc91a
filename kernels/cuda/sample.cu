/* sample.cu - draws tokens from logits: temperature, then top-k, then top-p, in the order and with the meaning of Transformers' warpers;
 * probabilities of given tokens (probe); and the most likely tokens (best).
 *
 * With the allowed tokens' weights e[i] = exp((l[i] - largest) / T):
 *   top-k keeps i while fewer than k allowed tokens have a larger logit;
 *   top-p keeps i while the tokens with a larger logit weigh less than p of what top-k left.
 * So ties at a cut are kept, at least one token is, and the kept set is {i : l[i] >= cut} for one cut that is found by histogram selection,
 * without sorting. Weights are integers, multiples of 2^-42 of the largest: their sums are exact, so histograms may be filled in any order
 * and equal calls give equal bits. The draw inverts the cumulative weight in the order of ids by one Philox number, which depends on the
 * row's key and counter alone: the same row draws the same token in any batch.
 *
 * A block takes a row. It is read from memory once and kept in shared memory where it fits (V up to about 37 thousand on an A100, 53
 * thousand on an H100), else read again, from the second cache level, by each of up to ten passes. */
#include "base/philox.h"
#include "kernels/cuda/rows.cuh"

#include <math.h>

enum {
    ROW_THREADS = 1024,  /* of a block */
    SMALL_THREADS = 128, /* of one that takes a row of at most SMALL_ROW logits: barriers cost more than reading */
    SMALL_ROW = 4096,
    ROW_DEEP = 4, /* vectors of a row that a thread has in flight */
    BUCKETS = 2048,
    WEIGHT_BITS = 42,     /* of the largest weight: a vocabulary of 2^21 tokens sums to less than 2^63 */
    VOCABULARY_BITS = 21, /* at most */
    ROUNDS = 4            /* of a selection */
};

typedef unsigned long long Weight;

/* ---- log sum exp of a row, in one pass ---- */

/* sum = sum of exp(x - largest) */
typedef struct LogSum {
    float largest, sum;
} LogSum;

template <int COUNT> __device__ __forceinline__ void log_sum_add(LogSum &s, const float (&x)[COUNT]) {
    float largest = s.largest;
    UNROLL
    for (int i = 0; i < COUNT; i++) largest = fmaxf(largest, x[i]);
    if (largest > s.largest) {
        s.sum *= expf(s.largest - largest);
        s.largest = largest;
    }
    UNROLL
    for (int i = 0; i < COUNT; i++) s.sum += x[i] == -INFINITY ? 0.0f : expf(x[i] - largest);
}

/* A thread's next ROW_DEEP vectors of N logits, the first at id i; -infinity beyond the row. */
template <int N, int THREADS> __device__ __forceinline__ void logits_load(float (&x)[ROW_DEEP * N], const float *l, int i, int V) {
    UNROLL
    for (int d = 0; d < ROW_DEEP; d++) {
        int at = i + d * THREADS * N;
        Vec<float, N> v;
        if (at < V) v = elements_load<N>(l + at);
        UNROLL
        for (int j = 0; j < N; j++) x[d * N + j] = at < V ? v.v[j] : -INFINITY;
    }
}

/* The whole block's, in every thread. Threads' sums are joined in a fixed order. */
template <int THREADS> __device__ __forceinline__ double log_sum_join(LogSum s) {
    float largest = block_max<THREADS>(s.largest);
    double part = s.sum == 0 ? 0.0 : (double)s.sum * exp((double)s.largest - (double)largest);
    return (double)largest + log(block_sum_double<THREADS>(part));
}

/* Of a row that is read for nothing else. */
template <int N, int THREADS> __device__ __forceinline__ double row_log_sum(const float *l, int V) {
    LogSum s = { -INFINITY, 0 };
    for (int i = (int)threadIdx.x * N; i < V; i += THREADS * N * ROW_DEEP) {
        float x[ROW_DEEP * N];
        logits_load<N, THREADS>(x, l, i, V);
        log_sum_add(s, x);
    }
    return log_sum_join<THREADS>(s);
}

/* ---- probe ---- */

template <int N, int THREADS>
__global__ void __launch_bounds__(THREADS, 1) probe_kernel(float *p, const float *logits, const int *ids, int n, int V) {
    const float *l = logits + (int64_t)blockIdx.x * V;
    double lse = row_log_sum<N, THREADS>(l, V);
    for (int i = threadIdx.x; i < n; i += THREADS) p[(int64_t)blockIdx.x * n + i] = (float)exp((double)l[ids[i]] - lse);
}

/* Runs the statement with N, the logits of a vector (4 where every row is aligned for it), and THREADS, those of a block. Both depend on V
 * and on where the logits lie alone, so that a row's result does not depend on its neighbours. */
#define FOR_ROWS(logits, V, ...)                                                                                                           \
    do {                                                                                                                                   \
        int vectorised = (V) % 4 == 0 && buffers_aligned(16, &(logits), 1);                                                                \
        if ((V) <= SMALL_ROW && vectorised) {                                                                                              \
            constexpr int N = 4, THREADS = SMALL_THREADS;                                                                                  \
            __VA_ARGS__;                                                                                                                   \
        } else if ((V) <= SMALL_ROW) {                                                                                                     \
            constexpr int N = 1, THREADS = SMALL_THREADS;                                                                                  \
            __VA_ARGS__;                                                                                                                   \
        } else if (vectorised) {                                                                                                           \
            constexpr int N = 4, THREADS = ROW_THREADS;                                                                                    \
            __VA_ARGS__;                                                                                                                   \
        } else {                                                                                                                           \
            constexpr int N = 1, THREADS = ROW_THREADS;                                                                                    \
            __VA_ARGS__;                                                                                                                   \
        }                                                                                                                                  \
    } while (0)

extern "C" void cuda_probe(Buf p, Buf logits, const int *ids, int n, int R, int V) {
    const Buf all[] = { p, logits };
    if (R <= 0 || n <= 0 || V <= 0 || !dtypes_agree("probe", FP32, all, 2)) return;
    const int *staged = (const int *)cuda_stage(ids, n * (int64_t)sizeof *ids);
    if (!staged) return;
    FOR_ROWS(logits, V,
        LAUNCH((probe_kernel<N, THREADS>), (unsigned)R, THREADS, 0, cuda_stream(), (float *)p.at, (const float *)logits.at, staged, n, V));
}

/* ---- a row while a token is drawn from it ---- */

typedef struct DrawRow {
    const float *kept; /* logits in shared memory, -infinity where not allowed; or NULL */
    const float *logits;
    const unsigned char *allowed;
    int V;
    float largest, temperature; /* largest: of the allowed */
    float cut;                  /* tokens below it weigh nothing */
} DrawRow;

__device__ __forceinline__ float logit_at(const DrawRow &row, int i) {
    if (row.kept) return row.kept[i];
    return row.allowed[i] ? row.logits[i] : -INFINITY;
}

__device__ __forceinline__ Weight weight_of(const DrawRow &row, float l) {
    if (!(l >= row.cut)) return 0;
    return (Weight)(expf((l - row.largest) / row.temperature) * (float)(1ull << WEIGHT_BITS));
}

__device__ __forceinline__ Weight warp_sum_weight(Weight w) {
    UNROLL
    for (int step = 16; step > 0; step /= 2) w += __shfl_xor_sync(FULL_WARP, w, step);
    return w;
}

/* Sum over the lanes up to and including this one. */
__device__ __forceinline__ Weight warp_scan_weight(Weight w) {
    int lane = threadIdx.x % 32;
    UNROLL
    for (int step = 1; step < 32; step *= 2) {
        Weight below = __shfl_up_sync(FULL_WARP, w, step);
        if (lane >= step) w += below;
    }
    return w;
}

/* ---- selection of the cut ---- */

/* A histogram of 64-bit weights in 32-bit halves, whose atomics are native; carries go up as they happen. */
typedef struct Selection {
    unsigned low[BUCKETS], high[BUCKETS];
    Weight warps[32];
    int crossing;
    Weight above;
} Selection;

__device__ __forceinline__ void bucket_add(Selection *s, int bucket, Weight w) {
    unsigned low = (unsigned)w, high = (unsigned)(w >> 32), before = atomicAdd(&s->low[bucket], low);
    if (before + low < before) high++;
    if (high) atomicAdd(&s->high[bucket], high);
}
__device__ __forceinline__ Weight bucket_weight(const Selection *s, int bucket) { return (Weight)s->high[bucket] << 32 | s->low[bucket]; }

/* An unsigned key in the order of the floats; 0 and -0 are one. */
__device__ __forceinline__ uint32_t ordered(float x) {
    uint32_t bits = __float_as_uint(x + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float unordered(uint32_t key) { return __uint_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key); }

/* The first round's bucket: 64 to a unit of the logit below the largest, so that a vocabulary spreads over many of them; the last holds all
 * that is 32 units below. Larger logits never have a lower bucket. */
__device__ __forceinline__ int bucket_near(const DrawRow &row, float l) {
    return BUCKETS - 1 - (int)fminf((row.largest - l) * 64.0f, (float)(BUCKETS - 1));
}

/* The bucket of a logit in a round, or -1 where it is out of the running: rounds after the first sort by bits of the key what fell into the
 * first round's crossing bucket `near`, 11, 11 and 10 of them, and go on with the bucket where `prefix` leads. */
__device__ __forceinline__ int bucket_of(const DrawRow &row, float l, int round, int near, uint32_t prefix) {
    int own = bucket_near(row, l);
    if (round == 0) return own;
    uint32_t key = ordered(l);
    if (own != near || (round == 2 && key >> 21 != prefix >> 21) || (round == 3 && key >> 10 != prefix >> 10)) return -1;
    return round == 1 ? key >> 21 : round == 2 ? key >> 10 & 2047 : key & 1023;
}

/* Finds the bucket where the weights, added from the highest bucket down, reach `limit`, and what lies above it. The limit is reached. Each
 * thread looks at neighbouring buckets; every thread gets the result. */
template <int THREADS> __device__ __forceinline__ int crossing_find(Selection *s, Weight limit, Weight *above) {
    constexpr int EACH = BUCKETS / THREADS;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, top = BUCKETS - 1 - (int)threadIdx.x * EACH;
    Weight own = 0;
    UNROLL
    for (int i = 0; i < EACH; i++) own += bucket_weight(s, top - i);
    Weight through = warp_scan_weight(own);
    if (lane == 31) s->warps[warp] = through;
    __syncthreads();
    Weight before = *above + through - own + warp_sum_weight(lane < warp ? s->warps[lane] : 0);
    UNROLL
    for (int i = 0; i < EACH; i++) {
        Weight w = bucket_weight(s, top - i);
        if (before < limit && before + w >= limit) s->crossing = top - i, s->above = before;
        before += w;
    }
    __syncthreads();
    *above = s->above;
    return s->crossing;
}

/* The cut: the largest logit v such that the tokens with l >= v weigh at least `limit` together, which is at most what all weigh. With
 * by_count every token weighs 1. *kept becomes what they weigh. */
template <int THREADS> __device__ float cut_find(const DrawRow &row, Selection *s, Weight limit, bool by_count, Weight *kept) {
    int near = 0, crossing = 0;
    uint32_t prefix = 0;
    Weight above = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = threadIdx.x; i < BUCKETS; i += THREADS) s->low[i] = s->high[i] = 0;
        __syncthreads();
        for (int base = threadIdx.x / 32 * 32; base < row.V; base += THREADS) {
            int i = base + threadIdx.x % 32, bucket = -1;
            Weight w = 0;
            if (i < row.V) {
                float l = logit_at(row, i);
                bucket = l > -INFINITY ? bucket_of(row, l, round, near, prefix) : -1;
                if (bucket >= 0) w = by_count ? 1 : weight_of(row, l);
            }
            unsigned heavy = __ballot_sync(FULL_WARP, w > 0);
            if (!heavy) continue;
            /* Equal buckets all through a warp, as in a flat row, are added up first. */
            int leader = __ffs(heavy) - 1, shared = __shfl_sync(FULL_WARP, bucket, leader);
            if (__all_sync(FULL_WARP, w == 0 || bucket == shared)) {
                w = warp_sum_weight(w);
                if ((int)threadIdx.x % 32 == leader) bucket_add(s, shared, w);
            } else if (w > 0) {
                bucket_add(s, bucket, w);
            }
        }
        __syncthreads();
        crossing = crossing_find<THREADS>(s, limit, &above);
        if (round == 0) near = crossing;
        else prefix |= (uint32_t)crossing << (round == 1 ? 21 : round == 2 ? 10 : 0);
        *kept = above + bucket_weight(s, crossing);
        __syncthreads();
    }
    return unordered(prefix);
}

/* ---- the draw ---- */

template <int THREADS> __device__ __forceinline__ Weight block_sum_weight(Weight w, Weight *warps) {
    w = warp_sum_weight(w);
    __syncthreads();
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = w;
    __syncthreads();
    return warp_sum_weight(threadIdx.x % 32 < THREADS / 32 ? warps[threadIdx.x % 32] : 0);
}

/* 53 bits of the block that the row's counter names. */
__device__ __forceinline__ double uniform(const SampleRow &row) {
    Philox p = philox4x32(row.counter[0], row.counter[1], row.counter[2], row.counter[3], row.seed[0], row.seed[1]);
    return (double)((uint64_t)p.v[0] << 21 | p.v[1] >> 11) * (1.0 / 9007199254740992.0);
}

/* The token whose weight covers `left` of the cumulative weight in the order of ids, into *id. A warp sums a run of ids, then the warp
 * whose run is met walks it. */
template <int THREADS> __device__ __forceinline__ void token_find(const DrawRow &row, Weight *warps, Weight left, int *id) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, run = (row.V + THREADS - 1) / THREADS * 32;
    int first = warp * run, end = first + run < row.V ? first + run : row.V;
    Weight own = 0;
    for (int i = first + lane; i < end; i += 32) own += weight_of(row, logit_at(row, i));
    own = warp_sum_weight(own);
    __syncthreads(); /* whoever still reads another sum */
    if (lane == 0) warps[warp] = own;
    __syncthreads();
    Weight before = warp_sum_weight(lane < warp ? warps[lane] : 0);
    if (left < before || left >= before + own) return;
    for (int base = first; base < end; base += 32) {
        Weight through = before + warp_scan_weight(base + lane < end ? weight_of(row, logit_at(row, base + lane)) : 0);
        unsigned past = __ballot_sync(FULL_WARP, through > left);
        if (past) {
            if (lane == 0) *id = base + __ffs(past) - 1;
            return;
        }
        before = __shfl_sync(FULL_WARP, through, 31);
    }
}

/* ids[row] = the drawn token, or -1 when no allowed token has a finite weight: all are masked, or the logits are not numbers. */
template <int N, int THREADS>
__global__ void __launch_bounds__(THREADS, 1)
    sample_kernel(int *ids, float *logp, const float *logits, const unsigned char *allowed, const SampleRow *rows, int V, int keep) {
    SHARED(Selection, selection, 1);
    SHARED(int, chosen, 1); /* greedy: V minus the token, so that the largest is the lowest id */
    SHARED(int, broken, 1);
    SHARED_DYN(float, kept);
    const SampleRow sample = rows[blockIdx.x];
    DrawRow row = { keep ? kept : NULL, logits + (int64_t)blockIdx.x * V, allowed, V, -INFINITY, sample.temperature, -INFINITY };
    if (threadIdx.x == 0) *chosen = -1, *broken = 0;
    __syncthreads();

    LogSum all = { -INFINITY, 0 };
    float largest = -INFINITY;
    int not_numbers = 0;
    for (int i = (int)threadIdx.x * N; i < V; i += THREADS * N * ROW_DEEP) {
        float x[ROW_DEEP * N];
        logits_load<N, THREADS>(x, row.logits, i, V);
        log_sum_add(all, x);
        UNROLL
        for (int d = 0; d < ROW_DEEP; d++) {
            int at = i + d * THREADS * N;
            if (at >= V) continue;
            Vec<unsigned char, N> may = elements_load<N>(allowed + at);
            Vec<float, N> l;
            UNROLL
            for (int j = 0; j < N; j++) {
                l.v[j] = may.v[j] ? x[d * N + j] : -INFINITY;
                largest = fmaxf(largest, l.v[j]);
                not_numbers |= l.v[j] != l.v[j];
            }
            if (keep) vec_store(kept + at, l);
        }
    }
    double lse = log_sum_join<THREADS>(all);
    row.largest = block_max<THREADS>(largest);
    if (not_numbers) atomicMax(broken, 1);
    __syncthreads();
    bool finite = row.largest > -INFINITY && row.largest < INFINITY, greedy = sample.temperature <= 0;
    if (finite && greedy) {
        for (int i = threadIdx.x; i < V; i += THREADS)
            if (logit_at(row, i) == row.largest) atomicMax(chosen, V - i);
        __syncthreads();
        if (threadIdx.x == 0) *chosen = V - *chosen;
    } else if (finite && !*broken) {
        Weight total = 0, count = 0;
        for (int i = threadIdx.x; i < V; i += THREADS) {
            float l = logit_at(row, i);
            count += l > -INFINITY;
            total += weight_of(row, l);
        }
        total = block_sum_weight<THREADS>(total, selection->warps);
        if (sample.top_k > 0 && sample.top_k < V) {
            count = block_sum_weight<THREADS>(count, selection->warps);
            Weight limit = (Weight)sample.top_k < count ? (Weight)sample.top_k : count, enough;
            row.cut = cut_find<THREADS>(row, selection, limit, true, &enough);
            total = 0;
            for (int i = threadIdx.x; i < V; i += THREADS) total += weight_of(row, logit_at(row, i));
            total = block_sum_weight<THREADS>(total, selection->warps);
        }
        if (sample.top_p < 1) {
            Weight limit = (Weight)ceil((double)sample.top_p * (double)total);
            row.cut = cut_find<THREADS>(row, selection, limit < 1 ? 1 : limit < total ? limit : total, false, &total);
        }
        Weight left = (Weight)(uniform(sample) * (double)total);
        token_find<THREADS>(row, selection->warps, left < total ? left : total - 1, chosen);
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    int id = *chosen;
    ids[blockIdx.x] = id;
    logp[blockIdx.x] = id < 0 ? 0.0f : (float)((double)row.logits[id] - lse);
}

extern "C" void cuda_sample(int *ids, float *logp, Buf logits, const unsigned char *allowed, const SampleRow *rows, int R, int V) {
    if (R <= 0 || V <= 0 || !dtypes_agree("sample", FP32, &logits, 1)) return;
    if (V > 1 << VOCABULARY_BITS) {
        cuda_failure_set("sample", "a vocabulary of %d tokens, too large", V);
        return;
    }
    const unsigned char *staged_allowed = (const unsigned char *)cuda_stage(allowed, V);
    const SampleRow *staged_rows = (const SampleRow *)cuda_stage(rows, R * (int64_t)sizeof *rows);
    int *drawn = (int *)cuda_scratch(CUDA_SCRATCH_ROWS, R * (int64_t)(sizeof *ids + sizeof *logp));
    if (!staged_allowed || !staged_rows || !drawn) return;
    float *drawn_logp = (float *)(drawn + R);
    int64_t room = cuda_shared_limit() - (int64_t)sizeof(Selection) - 1024, bytes = (int64_t)V * (int64_t)sizeof(float);
    int keep = bytes <= room;
    FOR_ROWS(logits, V,
        LAUNCH((sample_kernel<N, THREADS>), (unsigned)R, THREADS, keep ? bytes : 0, cuda_stream(), drawn, drawn_logp,
            (const float *)logits.at, staged_allowed, staged_rows, V, keep));
    cuda_bytes_download(ids, drawn, R * (int64_t)sizeof *ids);
    if (logp) cuda_bytes_download(logp, drawn_logp, R * (int64_t)sizeof *logp);
    int bad = 0;
    for (int r = 0; r < R; r++)
        if (ids[r] < 0) bad++, ids[r] = 0;
    if (bad) cuda_failure_set("no token can be sampled", "logits that are not finite, or no allowed token, in %d of %d rows", bad, R);
}

/* ---- what was said before ---- */

/* A block takes a row. */
__global__ void __launch_bounds__(SMALL_THREADS) penalise_kernel(float *logits, const int *first, const int *ids, float penalty, int V) {
    float *l = logits + (int64_t)blockIdx.x * V;
    for (int i = first[blockIdx.x] + (int)threadIdx.x; i < first[blockIdx.x + 1]; i += SMALL_THREADS) {
        float x = l[ids[i]];
        l[ids[i]] = x > 0 ? x / penalty : x * penalty;
    }
}

extern "C" void cuda_penalise(Buf logits, const int *first, const int *ids, float penalty, int R, int V) {
    if (R <= 0 || first[R] == first[0] || !dtypes_agree("penalise", FP32, &logits, 1)) return;
    const int *staged_first = (const int *)cuda_stage(first, (R + 1) * (int64_t)sizeof *first);
    const int *staged_ids = (const int *)cuda_stage(ids, first[R] * (int64_t)sizeof *ids);
    if (!staged_first || !staged_ids) return;
    LAUNCH(penalise_kernel, (unsigned)R, SMALL_THREADS, 0, cuda_stream(), (float *)logits.at, staged_first, staged_ids, penalty, V);
}

/* ---- the most likely tokens ---- */

/* Larger for a larger logit and, among equal ones, for a lower id; 0 is no token. */
__device__ __forceinline__ Weight place_of(float l, int id) { return (Weight)ordered(l) << 32 | (0xFFFFFFFFu - (unsigned)id); }

__device__ __forceinline__ Weight warp_max_weight(Weight w) {
    UNROLL
    for (int step = 16; step > 0; step /= 2) {
        Weight other = __shfl_xor_sync(FULL_WARP, w, step);
        w = other > w ? other : w;
    }
    return w;
}

template <int THREADS> __device__ __forceinline__ Weight block_max_weight(Weight w, Weight *warps) {
    w = warp_max_weight(w);
    __syncthreads();
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = w;
    __syncthreads();
    return warp_max_weight(threadIdx.x % 32 < THREADS / 32 ? warps[threadIdx.x % 32] : 0);
}

/* A pass over the row for each of n tokens: the one with the highest place below the last. The row stays in the second cache level. A first id of -1:
 * there is none, or logits are not numbers. */
template <int N, int THREADS>
__global__ void __launch_bounds__(THREADS, 1) best_kernel(int *ids, float *logp, const float *logits, const unsigned char *allowed, int n, int V) {
    SHARED(Weight, warps, 32);
    const float *l = logits + (int64_t)blockIdx.x * V;
    double lse = row_log_sum<N, THREADS>(l, V);
    Weight last = isfinite(lse) ? ~(Weight)0 : 0;
    for (int j = 0; j < n; j++) {
        Weight found = 0;
        for (int i = threadIdx.x; i < V && last > 0; i += THREADS) {
            if (!allowed[i]) continue;
            Weight place = l[i] > -INFINITY ? place_of(l[i], i) : 0;
            if (place < last && place > found) found = place;
        }
        last = block_max_weight<THREADS>(found, warps);
        if (threadIdx.x > 0) continue;
        int id = last > 0 ? (int)(0xFFFFFFFFu - (unsigned)last) : -1;
        ids[(int64_t)blockIdx.x * n + j] = id;
        logp[(int64_t)blockIdx.x * n + j] = id < 0 ? -INFINITY : (float)((double)l[id] - lse);
    }
}

extern "C" void cuda_best(int *ids, float *logp, Buf logits, const unsigned char *allowed, int n, int R, int V) {
    if (R <= 0 || V <= 0 || n <= 0 || !dtypes_agree("best", FP32, &logits, 1)) return;
    const unsigned char *staged = (const unsigned char *)cuda_stage(allowed, V);
    int64_t count = (int64_t)R * n;
    int *found = (int *)cuda_scratch(CUDA_SCRATCH_ROWS, count * (int64_t)(sizeof *ids + sizeof *logp));
    if (!staged || !found) return;
    float *found_logp = (float *)(found + count);
    FOR_ROWS(logits, V,
        LAUNCH((best_kernel<N, THREADS>), (unsigned)R, THREADS, 0, cuda_stream(), found, found_logp, (const float *)logits.at, staged, n, V));
    cuda_bytes_download(ids, found, count * (int64_t)sizeof *ids);
    cuda_bytes_download(logp, found_logp, count * (int64_t)sizeof *logp);
    int bad = 0;
    for (int r = 0; r < R; r++) bad += ids[(int64_t)r * n] < 0;
    if (bad) cuda_failure_set("no token can be chosen", "logits that are not finite, or no allowed token, in %d of %d rows", bad, R);
}

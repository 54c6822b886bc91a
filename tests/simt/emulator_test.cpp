/* emulator_test.cpp - the emulator against the manual, and against kernels with a planted bug each.
 *
 * Fragment layouts are written here as the PTX manual's tables state them, element by element, apart from ptx.cpp. Kernels with bugs run in
 * a child process that must end with the right message, or give wrong numbers under at least one of twenty seeds. */
#include "kernels/cuda/ptx.cuh"
#include "tests/simt/counters.h"
#include "tests/simt/cudart.h"

#include <setjmp.h>
#include <stdarg.h>
extern "C" {
#include <cmocka.h>
}
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEEDS = 20, N = 256 };

static float value(bf16 x) { return __bfloat162float(x); }
static bf16 small(int i) { return __float2bfloat16_rn((float)(i * 37 % 17 - 8)); }

/* ---- what the manual says of fragments ---- */

/* mma.m16n8k16, .bf16: element i of lane's fragment; i / 2 is the register, i % 2 its half. */
static int a_row(int lane, int i) { return i < 2 || (4 <= i && i < 6) ? lane >> 2 : (lane >> 2) + 8; }
static int a_column(int lane, int i) { return (lane & 3) * 2 + (i & 1) + (i < 4 ? 0 : 8); }
static int b_row(int lane, int i) { return (lane & 3) * 2 + (i & 1) + (i < 2 ? 0 : 8); }
static int b_column(int lane, int) { return lane >> 2; }
static int c_row(int lane, int i) { return i < 2 ? lane >> 2 : (lane >> 2) + 8; }
static int c_column(int lane, int i) { return (lane & 3) * 2 + (i & 1); }

static __global__ void mma_kernel(float *out, const uint32_t *a, const uint32_t *b, const float *c) {
    float d[4];
    mma_m16n8k16_bf16(d, a + threadIdx.x * 4, b + threadIdx.x * 2, c + threadIdx.x * 4);
    for (int i = 0; i < 4; i++) out[threadIdx.x * 4 + i] = d[i];
}

static void test_mma(void **) {
    bf16 a[16][16], b[16][8];
    float c[16][8], fc[32][4], out[32][4];
    uint16_t fa[32][8], fb[32][4];
    for (int i = 0; i < 16 * 16; i++) a[i / 16][i % 16] = small(i);
    for (int i = 0; i < 16 * 8; i++) b[i / 8][i % 8] = small(3 * i + 1), c[i / 8][i % 8] = (float)i;
    for (int l = 0; l < 32; l++) {
        for (int i = 0; i < 8; i++) memcpy(&fa[l][i], &a[a_row(l, i)][a_column(l, i)], 2);
        for (int i = 0; i < 4; i++) memcpy(&fb[l][i], &b[b_row(l, i)][b_column(l, i)], 2), fc[l][i] = c[c_row(l, i)][c_column(l, i)];
    }
    LAUNCH(mma_kernel, 1, 32, 0, 0, out[0], (const uint32_t *)fa, (const uint32_t *)fb, fc[0]);
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            int m = c_row(l, i), n = c_column(l, i);
            float want = c[m][n];
            for (int k = 0; k < 16; k++) want += value(a[m][k]) * value(b[k][n]);
            assert_true(out[l][i] == want);
        }
}

static __global__ void ldmatrix_kernel(uint32_t *out, const uint16_t *in) { /* four 8 x 8 matrices, rows of 16 bytes */
    SHARED(uint16_t, s, 4 * 64);
    int l = threadIdx.x;
    for (int i = l; i < 4 * 64; i += 32) s[i] = in[i];
    __syncthreads();
    ldmatrix_x4(out + l * 12, s + l * 8);
    ldmatrix_x4_trans(out + l * 12 + 4, s + l * 8);
    ldmatrix_x2(out + l * 12 + 8, s + l % 16 * 8);
    ldmatrix_x2_trans(out + l * 12 + 10, s + l % 16 * 8);
}

static void test_ldmatrix(void **) {
    uint16_t in[4][8][8];
    uint32_t out[32][12];
    for (int i = 0; i < 256; i++) in[i / 64][i / 8 % 8][i % 8] = (uint16_t)(1000 + i);
    LAUNCH(ldmatrix_kernel, 1, 32, 0, 0, out[0], in[0][0]);
    for (int l = 0; l < 32; l++) /* "thread l holds elements of row l / 4, columns l % 4 * 2 and the next" */
        for (int i = 0; i < 12; i++) {
            int trans = (i >= 4 && i < 8) || i >= 10, matrix = i < 8 ? i % 4 : i % 2;
            for (int h = 0; h < 2; h++) {
                int row = l / 4, column = l % 4 * 2 + h;
                assert_int_equal(out[l][i] >> (16 * h) & 0xffff, trans ? in[matrix][column][row] : in[matrix][row][column]);
            }
        }
}

static __global__ void copy_kernel(float *out, const float *in) { /* three groups, waited for one by one */
    SHARED(float, s, 3 * 32 * 4);
    int l = threadIdx.x;
    for (int group = 0; group < 3; group++) {
        cp_async_16(s + (group * 32 + l) * 4, in + (group * 32 + l) * 4, group == 2 ? 4 * (l % 5) : 16);
        cp_async_commit();
    }
    cp_async_wait<2>();
    out[l] = s[l * 4 + 1];
    cp_async_wait<0>();
    for (int i = 0; i < 4; i++) out[32 + l * 4 + i] = s[(64 + l) * 4 + i];
}

static void test_copies(void **) {
    alignas(16) static float in[3 * 32 * 4];
    float out[32 + 128];
    for (int i = 0; i < 3 * 32 * 4; i++) in[i] = (float)(i + 1);
    LAUNCH(copy_kernel, 1, 32, 0, 0, out, (const float *)in);
    for (int l = 0; l < 32; l++) {
        assert_true(out[l] == in[l * 4 + 1]);
        for (int i = 0; i < 4; i++) assert_true(out[32 + l * 4 + i] == (i < l % 5 ? in[(64 + l) * 4 + i] : 0)); /* the rest is zero */
    }
}

static __global__ void warp_kernel(int *out) {
    int l = threadIdx.x, base = l * 16;
    out[base] = __shfl_sync(FULL_WARP, l, 5);
    out[base + 1] = __shfl_xor_sync(FULL_WARP, l, 3);
    out[base + 2] = __shfl_up_sync(FULL_WARP, l, 2);
    out[base + 3] = __shfl_down_sync(FULL_WARP, l, 4);
    out[base + 4] = __shfl_sync(FULL_WARP, l, 2, 8);
    out[base + 5] = __shfl_up_sync(FULL_WARP, l, 1, 16);
    out[base + 6] = __shfl_down_sync(FULL_WARP, l, 1, 4);
    out[base + 7] = (int)__ballot_sync(FULL_WARP, l % 3 == 0);
    out[base + 8] = __any_sync(FULL_WARP, l == 31);
    out[base + 9] = __all_sync(FULL_WARP, l < 31);
    if (l < 8) out[base + 10] = __shfl_sync(0xffu, l * l, 7 - l);
    else out[base + 10] = (int)(__shfl_xor_sync(~0xffu, (double)l, 1) * 2);
    out[base + 11] = __syncthreads_count(l % 2);
    out[base + 12] = __syncthreads_or(l == 3);
    out[base + 13] = __syncthreads_and(l < 100);
}

static void test_warps(void **) {
    int out[32][16];
    LAUNCH(warp_kernel, 1, 32, 0, 0, out[0]);
    unsigned thirds = 0;
    for (int l = 0; l < 32; l += 3) thirds |= 1u << l;
    for (int l = 0; l < 32; l++) {
        const int want[] = { 5, l ^ 3, l < 2 ? l : l - 2, l + 4 > 31 ? l : l + 4, l / 8 * 8 + 2, l % 16 ? l - 1 : l, l % 4 == 3 ? l : l + 1,
            (int)thirds, 1, 0, l < 8 ? (7 - l) * (7 - l) : (l ^ 1) * 2, 16, 1, 1 };
        for (int i = 0; i < 14; i++) assert_int_equal(out[l][i], want[i]);
    }
}

/* ---- schedules ---- */

static void schedule_set(const char *schedule, int seed) {
    char text[16];
    snprintf(text, sizeof text, "%d", seed);
    setenv("SIMT_SCHEDULE", schedule, 1);
    setenv("SIMT_SEED", text, 1);
}

/* Writes the order in which threads and blocks came. */
static __global__ void order_kernel(int *order, int *next) {
    order[atomicAdd(next, 1)] = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    __syncthreads();
    order[atomicAdd(next, 1)] = (int)(blockIdx.x * blockDim.x + threadIdx.x);
}

static void test_schedules(void **) {
    static int order[SEEDS + 2][4 * N];
    for (int i = 0; i < SEEDS + 2; i++) {
        int next = 0, seen[2 * N] = { 0 };
        schedule_set(i == 0 ? "fifo" : i == 1 ? "lifo" : "random", i);
        LAUNCH(order_kernel, 2, N, 0, 0, order[i], &next); /* few threads: one block after the other */
        assert_int_equal(next, 4 * N);
        for (int j = 0; j < 4 * N; j++) seen[order[i][j]]++;
        for (int j = 0; j < 2 * N; j++) assert_int_equal(seen[j], 2);
        for (int other = 0; other < i; other++) assert_memory_not_equal(order[other], order[i], sizeof order[i]);
        int again[4 * N];
        next = 0;
        LAUNCH(order_kernel, 2, N, 0, 0, again, &next);
        if (i < 2) assert_memory_equal(again, order[i], sizeof again);
    }
    schedule_set("fifo", 0);
}

/* Sums by a tree in shared memory; BUG leaves something out. */
enum Bug { RIGHT, NO_BARRIER, NO_SECOND_BARRIER, NO_BOUND, LOOSE_WAIT, NO_WAIT, LATE_BARRIER, UNINITIALISED };
template <int BUG> static __global__ void sum_kernel(float *out, const float *in, int n) {
    SHARED(float, s, N);
    int t = threadIdx.x;
    if (BUG != UNINITIALISED || t != 77) s[t] = t < n ? in[t] : 0;
    if (BUG != NO_BARRIER) __syncthreads();
    for (int half = N / 2; half > 0; half /= 2) {
        if (t < half) s[t] += s[t + half];
        if (BUG != NO_SECOND_BARRIER) __syncthreads();
    }
    if (t == 0) out[0] = s[0];
    if (BUG == NO_BOUND && t == 0) s[n + 3] = 1; /* one beyond the array */
}

/* Two stages of copies, each used by another thread than the one that issued it. */
template <int BUG> static __global__ void stages_kernel(float *out, const float *in) {
    SHARED(float, s, 2 * 32 * 4);
    int l = threadIdx.x;
    cp_async_16(s + l * 4, in + l * 4, 16);
    cp_async_commit();
    float sum = 0;
    for (int stage = 0; stage < 4; stage++) {
        if (stage + 1 < 4) cp_async_16(s + ((stage + 1) % 2 * 32 + l) * 4, in + ((stage + 1) * 32 + l) * 4, 16);
        cp_async_commit();
        if (BUG == LOOSE_WAIT) cp_async_wait<2>();
        else if (BUG != NO_WAIT) cp_async_wait<1>();
        __syncthreads();
        sum += s[(stage % 2 * 32 + 31 - l) * 4];
        if (BUG != LATE_BARRIER) __syncthreads();
    }
    cp_async_wait<0>();
    out[l] = sum;
}

typedef int (*Trial)(void); /* 1 when the numbers are right */

template <int BUG> static int sum_trial(void) {
    float in[N], out = -1, want = 0;
    for (int i = 0; i < N; i++) in[i] = (float)(i + 1), want += i < N - 3 ? in[i] : 0;
    LAUNCH((sum_kernel<BUG>), 1, N, 0, 0, &out, (const float *)in, N - 3);
    return out == want;
}
template <int BUG> static int stages_trial(void) {
    alignas(16) static float in[4 * 32 * 4];
    float out[32];
    for (int i = 0; i < 4 * 32 * 4; i++) in[i] = (float)(i * 7 % 101);
    LAUNCH((stages_kernel<BUG>), 1, 32, 0, 0, out, (const float *)in);
    for (int l = 0; l < 32; l++) {
        float want = 0;
        for (int stage = 0; stage < 4; stage++) want += in[(stage * 32 + 31 - l) * 4];
        if (out[l] != want) return 0;
    }
    return 1;
}

/* What the child says before it ends; it must end by abort(). */
static void dies_saying(Trial trial, const char *message) {
    int ends[2], status;
    char said[4096] = { 0 };
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        signal(SIGABRT, SIG_DFL); /* not the test runner's */
        trial();
        _exit(0);
    }
    close(ends[1]);
    for (size_t n = 0; n + 1 < sizeof said;) {
        ssize_t got = read(ends[0], said + n, sizeof said - 1 - n);
        if (got <= 0) break;
        n += (size_t)got;
    }
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status == 0 || !strstr(said, message)) fail_msg("expected an end with \"%s\"; status %d: %s", message, status, said);
}

#ifndef WITH_CHECKER /* which ends the process at the first race, whatever the numbers */
static int wrong_seeds(Trial trial) {
    int wrong = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        schedule_set("random", seed);
        wrong += !trial();
    }
    schedule_set("fifo", 0);
    return wrong;
}

static void test_order_bugs(void **) {
    assert_int_equal(wrong_seeds(sum_trial<RIGHT>), 0);
    assert_int_equal(wrong_seeds(stages_trial<RIGHT>), 0);
    assert_true(wrong_seeds(sum_trial<NO_BARRIER>) >= SEEDS / 2);
    assert_true(wrong_seeds(sum_trial<NO_SECOND_BARRIER>) >= SEEDS / 2);
    assert_true(wrong_seeds(sum_trial<UNINITIALISED>) == SEEDS); /* NaN */
    assert_true(wrong_seeds(stages_trial<LOOSE_WAIT>) >= SEEDS / 2);
    assert_true(wrong_seeds(stages_trial<LATE_BARRIER>) >= SEEDS / 2);
    assert_true(wrong_seeds(stages_trial<NO_WAIT>) >= SEEDS / 2);
}
#endif

/* ---- what ends the run by itself ---- */

static __global__ void divergent_kernel(int *out) {
    int l = threadIdx.x, v;
    if (l < 16) v = __shfl_sync(FULL_WARP, l, 0);
    else v = __shfl_sync(FULL_WARP, l, 1);
    out[l] = v;
}
static __global__ void mask_kernel(int *out) {
    out[threadIdx.x] = __shfl_sync(threadIdx.x < 16 ? 0xffffu : FULL_WARP, (int)threadIdx.x, 0);
}
static __global__ void outside_kernel(int *out) { out[threadIdx.x] = (int)__ballot_sync(0x7fffffffu, 1); }
static __global__ void missing_kernel(int *out) {
    if (threadIdx.x < 31) out[threadIdx.x] = (int)__ballot_sync(FULL_WARP, 1);
}
static __global__ void unread_kernel(int *out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, (int)threadIdx.x, 20);
}
static __global__ void early_kernel(int *out) {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}
static __global__ void two_barriers_kernel(int *out) {
    if (threadIdx.x < 32) __syncthreads();
    else __syncthreads();
    out[threadIdx.x] = 1;
}
static __global__ void lone_barrier_kernel(int *out) {
    if (threadIdx.x < 32) __syncthreads();
    else __ballot_sync(FULL_WARP, threadIdx.x < 50 ? 1 : 0), out[threadIdx.x] = 1;
}
static __global__ void flying_kernel(int *out) {
    SHARED(int, s, 4);
    cp_async_16(s, out, 16);
    cp_async_commit();
}
static __global__ void crooked_kernel(int *out) {
    SHARED(int, s, 8);
    cp_async_16(s + 1, out, 16);
    cp_async_wait<0>();
}
static __global__ void large_kernel(float *out) {
    SHARED(float, s, 13000);
    s[threadIdx.x] = 0, out[0] = s[0];
}

alignas(16) static int scratch_out[N];
static int run_divergent(void) { return LAUNCH(divergent_kernel, 1, 32, 0, 0, scratch_out), 1; }
static int run_mask(void) { return LAUNCH(mask_kernel, 1, 32, 0, 0, scratch_out), 1; }
static int run_outside(void) { return LAUNCH(outside_kernel, 1, 32, 0, 0, scratch_out), 1; }
static int run_missing(void) { return LAUNCH(missing_kernel, 1, 32, 0, 0, scratch_out), 1; }
static int run_unread(void) { return LAUNCH(unread_kernel, 1, 32, 0, 0, scratch_out), 1; }
static int run_early(void) { return LAUNCH(early_kernel, 1, 64, 0, 0, scratch_out), 1; }
static int run_two_barriers(void) { return LAUNCH(two_barriers_kernel, 1, 64, 0, 0, scratch_out), 1; }
static int run_lone_barrier(void) { return LAUNCH(lone_barrier_kernel, 1, 64, 0, 0, scratch_out), 1; }
static int run_flying(void) { return LAUNCH(flying_kernel, 1, 1, 0, 0, scratch_out), 1; }
static int run_crooked(void) { return LAUNCH(crooked_kernel, 1, 1, 0, 0, scratch_out), 1; }
static int run_large(void) { return LAUNCH(large_kernel, 1, 32, 0, 0, (float *)scratch_out), 1; }
static int run_wide(void) {
    return simt_run(SimtLaunch{ "a wide one", __FILE__, __LINE__, dim3(1), dim3(2048), 0, [] {} }), 1;
}

static void test_refusals(void **) {
    dies_saying(run_divergent, "emulator_test.cpp");
    dies_saying(run_divergent, "while lane 0 is at");
    dies_saying(run_mask, "mask ffffffff");
    dies_saying(run_outside, "is not in the mask");
    dies_saying(run_missing, "lane 31 returns while others wait");
    dies_saying(run_unread, "lane 0 reads lane 20");
    dies_saying(run_early, "barrier");
    dies_saying(run_two_barriers, "a barrier while thread 0 waits at the one of");
    dies_saying(run_lone_barrier, "barrier");
    dies_saying(run_flying, "in flight");
    dies_saying(run_crooked, "multiples of 16");
    dies_saying(run_large, "static");
    dies_saying(run_wide, "cannot be launched");
#ifdef WITH_CHECKER
    dies_saying(sum_trial<NO_BOUND>, "a write outside of every shared array");
#elif defined(__SANITIZE_ADDRESS__)
    dies_saying(sum_trial<NO_BOUND>, "out of bounds");
#else
    dies_saying(sum_trial<NO_BOUND>, "a write beyond");
#endif
}

/* ---- what only the checker sees ---- */

#ifdef WITH_CHECKER
static __global__ void neighbours_kernel(int *out) { /* each block reads what the next one writes */
    out[blockIdx.x] = 1;
    if (threadIdx.x == 0 && out[(blockIdx.x + 1) % gridDim.x] > 100) out[0] = 2;
}
static __global__ void same_place_kernel(int *out) { out[0] = (int)threadIdx.x; }
static __global__ void counted_kernel(int *out) { /* atomics order nothing, but do not race */
    atomicAdd(out, 1);
}
static __global__ void warp_step_kernel(int *out) { /* within a warp a warp-wide operation is order enough */
    SHARED(int, s, 64);
    int t = threadIdx.x, warp = t / 32 * 32;
    for (int i = 0; i < 4; i++) {
        s[t] = t + i;
        __syncwarp();
        out[t] = s[warp + 31 - t % 32];
        __syncwarp();
    }
}
static __global__ void across_warps_kernel(int *out) {
    SHARED(int, s, 64);
    int t = threadIdx.x;
    s[t] = t;
    __syncwarp();
    out[t] = s[63 - t];
}
static __global__ void unwritten_kernel(int *out) { out[threadIdx.x] = out[threadIdx.x] + 1; }
static __global__ void beyond_kernel(int *out) { out[N + threadIdx.x] = 1; }
static __global__ void many_readers_kernel(int *out) { /* all read, then one of them writes without a barrier */
    SHARED(int, s, 1);
    if (threadIdx.x == 0) s[0] = 3;
    __syncthreads();
    out[threadIdx.x] = s[0];
    if (threadIdx.x == 63) s[0] = 4;
}
/* Sums by blocks, which the last one to come adds up. Without the fence nothing orders its reads after the others' writes. */
template <int FENCE> static __global__ void last_block_kernel(int *out) { /* out[0]: blocks done, out[1]: the sum, out[2 ..]: parts */
    SHARED(int, last, 1);
    if (threadIdx.x == 0) {
        out[2 + blockIdx.x] = (int)blockIdx.x + 1;
        if (FENCE) __threadfence();
        last[0] = atomicAdd(out, 1) == (int)gridDim.x - 1;
    }
    __syncthreads();
    if (!last[0] || threadIdx.x != 40) return;
    int sum = 0;
    for (unsigned i = 0; i < gridDim.x; i++) sum += out[2 + i];
    out[1] = sum;
}
struct Whole {
    int v[16];
};
static __global__ void whole_kernel(int *out) { /* an object copied by a call of memcpy, of which half was written */
    if (threadIdx.x == 0) {
        Whole w;
        for (int i = 0; i < 8; i++) out[i] = i;
        w = *(Whole *)out;
        for (int i = 0; i < 16; i++) out[16 + i] = w.v[(i + out[0]) % 16];
    }
}
static __global__ void crooked_load_kernel(int *out) { out[0] = *(int *)((char *)out + 5); }
/* Watched memory of N numbers, written when `written`. */
static int *watched(int written) {
    static int *at;
    if (!at) at = (int *)aligned_alloc(4096, 4096), checker_region_new(at, N * sizeof *at, "test");
    if (written) memset(at, 0, N * sizeof *at), checker_region_written(at, N * sizeof *at);
    return at;
}
static int run_neighbours(void) { return LAUNCH(neighbours_kernel, 2, 32, 0, 0, watched(1)), 1; }
static int run_same_place(void) { return LAUNCH(same_place_kernel, 1, 64, 0, 0, watched(1)), 1; }
static int run_across_warps(void) { return LAUNCH(across_warps_kernel, 1, 64, 0, 0, watched(1)), 1; }
static int run_unwritten(void) { return LAUNCH(unwritten_kernel, 1, 64, 0, 0, watched(0)), 1; }
static int run_beyond(void) { return LAUNCH(beyond_kernel, 1, 1, 0, 0, watched(1)), 1; }
static int run_fenceless(void) { return LAUNCH(last_block_kernel<0>, 3, 64, 0, 0, watched(1)), 1; }
static int run_whole(void) { return LAUNCH(whole_kernel, 1, 32, 0, 0, watched(0)), 1; }
static int run_crooked_load(void) { return LAUNCH(crooked_load_kernel, 1, 1, 0, 0, watched(1)), 1; }
static int run_host_memory(void) {
    checker_host_open(0);
    return LAUNCH(same_place_kernel, 1, 1, 0, 0, scratch_out), 1;
}
static int run_many_readers(void) { return LAUNCH(many_readers_kernel, 1, 64, 0, 0, watched(1)), 1; }

static void test_checker(void **) {
    for (int seed = 0; seed < SEEDS; seed++) {
        schedule_set("random", seed);
        assert_true(sum_trial<RIGHT>() && stages_trial<RIGHT>());
    }
    schedule_set("fifo", 0);
    dies_saying(sum_trial<NO_BARRIER>, "never written");
    dies_saying(sum_trial<NO_SECOND_BARRIER>, "races with");
    dies_saying(sum_trial<NO_SECOND_BARRIER>, "emulator_test.cpp:");
    dies_saying(sum_trial<UNINITIALISED>, "a read of memory that was never written");
    dies_saying(stages_trial<LOOSE_WAIT>, "in flight");
    dies_saying(stages_trial<NO_WAIT>, "in flight");
    dies_saying(stages_trial<LATE_BARRIER>, "in flight"); /* the next stage's copy, while others read this one */
    dies_saying(run_unwritten, "never written");
    dies_saying(run_neighbours, "races with");
    dies_saying(run_same_place, "a write races with a write");
    dies_saying(run_across_warps, "never written");
    dies_saying(run_many_readers, "a write races with a read");
    dies_saying(run_beyond, "at offset 1024 of an allocation of 1024 bytes");
    dies_saying(run_fenceless, "a read races with a write by thread 0 of block 0");
    dies_saying(run_whole, "never written");
    dies_saying(run_crooked_load, "not aligned");
    dies_saying(run_host_memory, "of the host's memory");
    LAUNCH(last_block_kernel<1>, 3, 64, 0, 0, watched(1));
    assert_int_equal(watched(0)[1], 1 + 2 + 3);
    LAUNCH(counted_kernel, 3, 64, 0, 0, watched(1));
    assert_int_equal(watched(0)[0], 3 * 64);
    LAUNCH(warp_step_kernel, 1, 64, 0, 0, watched(1));
}

static __global__ void traffic_kernel(float *out, const float *in) {
    SHARED(float, s, 32 * 32);
    int l = threadIdx.x;
    Vec<float, 4> v = vec_load<4>(in + l * 4); /* 16 sectors, no fewer possible */
    out[l * 8] = v.v[0];                       /* 32 sectors where 4 would do */
    s[l * 32] = v.v[1];                        /* all in one bank: 32 passes */
    __syncwarp();
    s[l] = v.v[2]; /* one pass */
    __syncwarp();
    vec_store(s + l * 4, v);    /* quarter warps: 4 passes */
    if (l == 0) out[1] = in[0]; /* one sector each */
}

static void test_counters(void **) {
    float *memory = (float *)aligned_alloc(4096, 3 * 4096), *in = memory, *out = memory + 2048;
    checker_region_new(in, 128 * sizeof *in, "in"), checker_region_written(in, 128 * sizeof *in),
        checker_region_new(out, 256 * sizeof *out, "out");
    counters_start();
    LAUNCH(traffic_kernel, 1, 32, 0, 0, out, (const float *)in);
    LAUNCH(traffic_kernel, 1, 32, 0, 0, out, (const float *)in);
    int n;
    const KernelCounts *c = counters_stop(&n);
    assert_int_equal(n, 1);
    assert_string_equal(c->name, "traffic_kernel");
    assert_int_equal(c->launches, 2);
    assert_int_equal(c->requests, 2 * 4);
    assert_int_equal(c->sectors, 2 * (16 + 32 + 1 + 1));
    assert_int_equal(c->sectors_least, 2 * (16 + 4 + 1 + 1));
    assert_int_equal(c->bytes_read, 2 * (512 + 4));
    assert_int_equal(c->bytes_written, 2 * (128 + 4));
    assert_int_equal(c->passes, 2 * (32 + 1 + 4));
    assert_int_equal(c->passes_least, 2 * (1 + 1 + 4));
    assert_int_equal(c->sectors_once, 2 * (16 + 32));
    uint64_t sectors = 0, passes = 0;
    const KernelCounts *l = counters_lines(&n);
    assert_int_equal(n, 6); /* the kernel's lines that touch memory */
    assert_int_equal(l->sectors, 2 * 32);
    assert_non_null(strstr(l->file, "emulator_test.cpp"));
    for (int i = 0; i < n; i++) sectors += l[i].sectors, passes += l[i].passes;
    assert_true(sectors == c->sectors && passes == c->passes);
    checker_region_gone(in), checker_region_gone(out);
    free(memory);
}
#endif

int main(void) {
#ifdef WITH_CHECKER
    checker_host_open(1); /* most kernels here work on the test's own variables */
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mma),
        cmocka_unit_test(test_ldmatrix),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_warps),
        cmocka_unit_test(test_schedules),
#ifdef WITH_CHECKER
        cmocka_unit_test(test_checker),
        cmocka_unit_test(test_counters),
#else
        cmocka_unit_test(test_order_bugs),
#endif
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("emulator", tests, NULL, NULL);
}

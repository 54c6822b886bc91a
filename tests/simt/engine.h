/* engine.h - what the parts of the emulator know of a running block: for the checker and for tests, not for kernels. */
#ifndef RLAIFV_TESTS_SIMT_ENGINE_H
#define RLAIFV_TESTS_SIMT_ENGINE_H

#include "tests/simt/fiber.h"
#include "tests/simt/simt.h"

#include <vector>

enum {
    WARPS_MOST = FIBERS_MOST / 32,
    SHARED_MOST = 227 << 10,
    SHARED_STATIC_MOST = 48 << 10,
    SHARED_ARENA = 1 << 20,
    ARENA_START = 128,
    RED_ZONE = 64
};

struct SimtCopy { /* one cp.async in flight */
    char *to;
    const char *from;
    int valid, group, landed;
    SimtSite site;
};

struct SimtLane {
    SimtPerform perform; /* of the collective it waits in, or NULL */
    void *operand;
    unsigned mask;
    SimtSite site; /* where it waits */
    SimtBarrier barrier;
    int predicate, answer;
    std::vector<SimtCopy> copies;
    int groups; /* committed */
};

struct SimtWarp {
    unsigned alive, ready;
    unsigned parked;   /* lanes in a collective */
    unsigned priority; /* of the random schedule */
    uint64_t tick;     /* when its last collective completed */
};

struct SimtArray { /* a static shared array */
    const void *key;
    char *at;
    size_t bytes;
};

/* A block on the way. There is one context for each thread of the host, kept between blocks. */
struct SimtBlock {
    const SimtLaunch *launch;
    uint64_t launch_number, block_number; /* of the process; within the grid */
    const void *call;                     /* the kernel's arguments */
    size_t call_bytes;
    int threads, alive, waiting, predicate_sum, running;
    /* Goes on at every barrier and collective, from block to block; the block's first, and that of its last barrier. */
    uint64_t tick, first_tick, barrier_tick;
    uint64_t random;
    SimtBarrier barrier;
    SimtSite barrier_site;
    int barrier_first; /* the thread that came first */
    unsigned warps_ready;
    SimtWarp warps[WARPS_MOST];
    SimtThread self[FIBERS_MOST];
    SimtLane lanes[FIBERS_MOST];
    Fiber fibers[FIBERS_MOST], host;
    char *arena;
    size_t arena_used, static_used;
    std::vector<SimtArray> arrays;
};
extern __thread SimtBlock *simt_block;

/* What the checker wants to know (checker.cpp); in other builds nothing (checker_none.cpp). */
int checker_is_on(void);                                                 /* blocks then run one after the other */
void checker_region_new(const void *at, size_t bytes, const char *name); /* device memory, uninitialised */
void checker_region_gone(const void *at);
void checker_region_written(const void *at, size_t bytes); /* by a copy or a fill */
void checker_host_open(int open);                          /* kernels may touch the host's memory, as tests of the emulator do */
void checker_launch_begin(const SimtLaunch &launch, uint64_t number);
void checker_launch_end(const SimtLaunch &launch);
void checker_block_begin(SimtBlock *b);
void checker_block_end(SimtBlock *b);
void checker_shared_new(SimtBlock *b, const void *at, size_t bytes); /* uninitialised from now on */
void checker_copy_issue(const void *to, const void *from, int valid, SimtSite site);
void checker_copy_land(const void *to, SimtSite site);                          /* the thread waited for it */
void checker_read_for(int thread, const void *at, size_t bytes, SimtSite site); /* the runtime reads for a thread */

/* 0 .. n - 1, from the block's seed. */
unsigned simt_random(SimtBlock *b, unsigned n);

#endif

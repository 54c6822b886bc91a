/* checker.cpp - memory of kernels, watched: reads of what was never written, accesses beyond allocations and shared arrays, races between
 * threads, and the use of bytes that an asynchronous copy still has in flight.
 *
 * Kernels are compiled with clang's -fsanitize=thread, whose runtime is not linked: its hooks are defined here. Every two bytes of a
 * watched region have a Cell with their last writer and readers. Of two accesses by different threads one of which writes, the earlier must
 * be ordered before the later: by a barrier of their block, by a warp-wide operation of their warp, by the end of a launch, or, between
 * blocks, by a __threadfence and an atomic operation of the one that the other's atomic operation on the same number follows (the last
 * block to finish may read what the others wrote). Other memory than device memory, shared memory, a kernel's stack, its parameters and
 * constants is the host's, out of reach.
 *
 * Blocks run one after the other, so that reports repeat, and time is one number: the tick of the block's context, which goes on at every
 * barrier and warp-wide operation and never goes back. Of two neighbouring bytes that different threads write, only the last has a record.
 */
#include "tests/simt/counters.h"
#include "tests/simt/cudart.h"
#include "tests/simt/engine.h"
#include "tests/simt/sites.h"

#include <algorithm>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unordered_map>

enum CellState : uint8_t { UNWRITTEN, WRITTEN, NOWHERE }; /* of new cells: the first */
enum Readers : uint8_t { ONE_LANE, ONE_WARP, ONE_BLOCK, MANY_BLOCKS };
enum { CELL_BYTES = 2, MARGIN = 256 }; /* around an allocation: addresses that belong to it, but to nobody */
enum { READ, WRITE };
enum { PLAIN, ATOMIC };

struct Access {
    uint64_t tick; /* 0: none */
    uint32_t code; /* the instruction: code_of */
    uint16_t thread;
    uint8_t atomic;
    uint8_t bytes; /* of the cell, as bits */
};
struct Cell {
    Access writer, reader; /* the last of each */
    CellState state;
    Readers readers; /* since the last write, those that nothing orders before each other */
    uint8_t flying;
};

struct Region {
    uintptr_t at;
    size_t bytes;
    Cell *cells;
    char name[64]; /* or empty */
};
static std::vector<Region> regions; /* by address */
static Cell *shared_cells;
static int host_open; /* kernels may touch the host's memory */

int checker_is_on(void) { return 1; }
int counters_are_here(void) { return 1; }

/* Addresses of instructions, and keys of sites, in four bytes: relative to the program. */
extern "C" const char __executable_start;
static uint32_t code_of(uintptr_t pc) { return (uint32_t)(pc < (uintptr_t)&__executable_start ? pc : pc - (uintptr_t)&__executable_start); }
static SimtSite site_of_code(uint32_t code) { return site_of(site_is_key(code) ? code : code + (uintptr_t)&__executable_start); }

/* ---- regions ---- */

static Cell *cells_new(size_t bytes) {
    size_t size = (bytes / CELL_BYTES + 1) * sizeof(Cell);
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) perror("simt: no room for the checker's cells"), abort();
    return (Cell *)at;
}

static void cells_state(Cell *cells, size_t from, size_t bytes, CellState state) {
    for (size_t i = from / CELL_BYTES; i < (from + bytes + CELL_BYTES - 1) / CELL_BYTES; i++) cells[i] = Cell(), cells[i].state = state;
}

static size_t region_after(uintptr_t at) { /* index of the first region that starts beyond */
    auto beyond = [](uintptr_t a, const Region &r) { return a < r.at; };
    return (size_t)(std::upper_bound(regions.begin(), regions.end(), at, beyond) - regions.begin());
}

void checker_region_new(const void *at, size_t bytes, const char *name) {
    Region r = { (uintptr_t)at, bytes, cells_new(bytes), {} };
    if (name) snprintf(r.name, sizeof r.name, " (%s)", name);
    regions.insert(regions.begin() + (ptrdiff_t)region_after(r.at), r);
}

void checker_region_gone(const void *at) {
    size_t i = region_after((uintptr_t)at);
    if (i == 0 || regions[i - 1].at != (uintptr_t)at) return;
    munmap(regions[i - 1].cells, (regions[i - 1].bytes / CELL_BYTES + 1) * sizeof(Cell));
    regions.erase(regions.begin() + (ptrdiff_t)i - 1);
}

void checker_region_written(const void *at, size_t bytes) {
    size_t i = region_after((uintptr_t)at);
    if (i == 0) return;
    const Region &r = regions[i - 1];
    size_t from = (uintptr_t)at - r.at;
    if (from < r.bytes) cells_state(r.cells, from, bytes < r.bytes - from ? bytes : r.bytes - from, WRITTEN);
}

/* In what the program and its libraries were loaded with and cannot change. */
static int is_constant(uintptr_t at) {
    static std::vector<std::pair<uintptr_t, size_t>> images;
    if (images.empty())
        dl_iterate_phdr(
            [](struct dl_phdr_info *info, size_t, void *) {
                for (int i = 0; i < info->dlpi_phnum; i++)
                    if (info->dlpi_phdr[i].p_type == PT_LOAD && !(info->dlpi_phdr[i].p_flags & PF_W))
                        images.push_back({ info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, info->dlpi_phdr[i].p_memsz });
                return 0;
            },
            NULL);
    for (const auto &image : images)
        if (at - image.first < image.second) return 1;
    return 0;
}

static int is_within(uintptr_t at, const void *from, size_t bytes) { return at - (uintptr_t)from < bytes; }

/* What belongs to the running thread alone, or never changes: nothing to watch. */
static int is_own(const SimtBlock *b, uintptr_t at) {
    uintptr_t stacks = (uintptr_t)b->fibers[0].stack.low, stride = (uintptr_t)b->fibers[1].stack.low - stacks;
    return at - stacks < FIBERS_MOST * stride || is_within(at, &simt_self, sizeof simt_self) || is_within(at, b, sizeof *b) ||
           is_within(at, b->call, b->call_bytes) || is_within(at, b->launch, sizeof *b->launch);
}

void checker_host_open(int open) { host_open = open; }

static const char *what_of(int write) { return write ? "a write" : "a read"; }

/* The cells of an address, or NULL where nobody watches. An address in a region's margin is an error. */
static Cell *cells_at(const SimtBlock *b, uintptr_t at, size_t bytes, uint32_t code, int write) {
    static const Region none = { 0, 0, NULL, {} };
    size_t offset = at - (uintptr_t)b->arena;
    if (offset < b->arena_used) return shared_cells + offset / CELL_BYTES;
    if (offset < SHARED_ARENA) simt_fail(site_of_code(code), "%s outside of every shared array", what_of(write));
    size_t i = region_after(at);
    const Region &before = i > 0 ? regions[i - 1] : none, &after = i < regions.size() ? regions[i] : none;
    offset = at - before.at;
    if (offset < before.bytes && bytes <= before.bytes - offset) return before.cells + offset / CELL_BYTES;
    const Region *r = i > 0 && offset < before.bytes + MARGIN ? &before : i < regions.size() && after.at - at <= MARGIN ? &after : NULL;
    if (r)
        simt_fail(site_of_code(code), "%s of %zu bytes at offset %lld of an allocation of %zu bytes%s", what_of(write), bytes,
            (long long)(at - r->at), r->bytes, r->name);
    if (host_open || is_constant(at)) return NULL;
    const char *text = memory_text((void *)at); /* freed lately, or further from an allocation than its margin */
    if (text) simt_fail(site_of_code(code), "%s of %zu bytes at %s", what_of(write), bytes, text);
    simt_fail(site_of_code(code), "%s of %zu bytes of the host's memory at %p", what_of(write), bytes, (void *)at);
}

/* ---- order ---- */

/* Where a thread stands. What another of its block did is before that when a barrier lies between, or an operation of both their warp. */
struct Moment {
    uint64_t tick, first_tick, barrier_tick,
        warp_tick; /* the block's first; since the last barrier, since the last operation of the warp */
    int thread;
};
static int is_before(uint64_t tick, int thread, const Moment &m) { /* of one block */
    return tick < m.barrier_tick || thread == m.thread || (thread / 32 == m.thread / 32 && tick < m.warp_tick);
}

struct Acquire { /* an atomic operation, and how many releases of that address went before */
    Moment when;
    uintptr_t at;
    size_t releases;
};
static std::unordered_map<uintptr_t, std::vector<Moment>> releases; /* of the running launch, by the address of the atomic operation */
static std::vector<Acquire> acquires;                               /* of the running block */
static int fenced;                                                  /* the running block called __threadfence */

static uint64_t launch_tick;                                      /* the first of the running launch */
static std::vector<std::pair<uint64_t, uint64_t>> blocks_started; /* first ticks and numbers of its blocks so far */

static void atomic_order(uintptr_t at, const Moment &now) {
    std::vector<Moment> &there = releases[at];
    if (!there.empty()) acquires.push_back(Acquire{ now, at, there.size() });
    if (fenced) there.push_back(now);
}

static int is_ordered_across(uint64_t tick, int thread, const Moment &now) {
    for (const Acquire &a : acquires) {
        const std::vector<Moment> &there = releases[a.at];
        if (!is_before(a.when.tick, a.when.thread, now)) continue;
        for (size_t i = 0; i < a.releases; i++)
            if (there[i].first_tick <= tick && tick <= there[i].tick && is_before(tick, thread, there[i])) return 1;
    }
    return 0;
}

static int is_ordered(const Access &earlier, Readers who, const Moment &now) {
    if (earlier.tick < launch_tick) return 1;
    if (who == MANY_BLOCKS) return 0;
    if (earlier.tick < now.first_tick) return is_ordered_across(earlier.tick, earlier.thread, now);
    return earlier.tick < now.barrier_tick || (who == ONE_LANE && earlier.thread == now.thread) ||
           (who <= ONE_WARP && earlier.thread / 32 == now.thread / 32 && earlier.tick < now.warp_tick);
}

[[noreturn]] static void race(int write, const char *then, const Access &earlier, uint32_t code) {
    auto later = [](uint64_t tick, const std::pair<uint64_t, uint64_t> &block) { return tick < block.first; };
    auto block = std::upper_bound(blocks_started.begin(), blocks_started.end(), earlier.tick, later) - 1;
    SimtSite s = site_of_code(earlier.code);
    simt_fail(site_of_code(code), "%s races with %s by thread %d of block %llu at %s:%d", what_of(write), then, earlier.thread,
        (unsigned long long)block->second, s.file ? s.file : "?", s.line);
}

/* ---- accesses ---- */

static void cell_check(Cell *c, const Access &now, const Moment &moment, int write) {
    if (c->state == NOWHERE) simt_fail(site_of_code(now.code), "%s outside of every shared array", what_of(write));
    if (c->flying) simt_fail(site_of_code(now.code), "%s of bytes that an asynchronous copy has in flight", what_of(write));
    if (c->state == UNWRITTEN && (!write || now.atomic))
        simt_fail(site_of_code(now.code), "%s of memory that was never written", what_of(write));
    if (!(now.atomic & c->writer.atomic) && (now.bytes & c->writer.bytes) && !is_ordered(c->writer, ONE_LANE, moment))
        race(write, "a write", c->writer, now.code);
    int ordered = is_ordered(c->reader, c->readers, moment);
    if (write) {
        if (!ordered && !(now.atomic & c->reader.atomic) && (now.bytes & c->reader.bytes)) race(write, "a read", c->reader, now.code);
        c->writer = now;
        c->reader = Access();
        c->state = WRITTEN;
        return;
    }
    Readers who = ONE_LANE;
    Access both = now;
    if (!ordered) { /* one more beside those there are */
        int other = c->reader.thread, thread = now.thread;
        if (c->reader.tick < moment.first_tick) who = MANY_BLOCKS;
        else if (other / 32 != thread / 32) who = ONE_BLOCK;
        else if (other != thread) who = ONE_WARP;
        who = std::max(who, c->readers);
        both.atomic &= c->reader.atomic, both.bytes |= c->reader.bytes;
    }
    c->reader = both;
    c->readers = who;
}

static void check(const void *address, size_t bytes, int write, int atomic, int thread, uintptr_t pc) {
    const SimtBlock *b = simt_block;
    uintptr_t at = (uintptr_t)address, last = at + bytes - 1;
    if (!b || !b->launch || !bytes || is_own(b, at)) return;
    Access now = { b->tick, code_of(pc), (uint16_t)thread, (uint8_t)atomic, 3 };
    Moment moment = { b->tick, b->first_tick, b->barrier_tick, b->warps[thread / 32].tick, thread };
    Cell *first = cells_at(b, at, bytes, now.code, write);
    if (!first) return;
    for (uintptr_t i = at / CELL_BYTES; i <= last / CELL_BYTES; i++) {
        now.bytes = (uint8_t)((i * CELL_BYTES >= at) | (i * CELL_BYTES + 1 <= last) << 1);
        cell_check(first + (i - at / CELL_BYTES), now, moment, write);
    }
    if (write && atomic) atomic_order(at, moment);
    counters_access(b, address, bytes, thread, pc, at - (uintptr_t)b->arena < SHARED_ARENA, write);
}

/* ---- what the engine tells ---- */

void checker_launch_begin(const SimtLaunch &, uint64_t) {
    releases.clear();
    blocks_started.clear();
}
void checker_launch_end(const SimtLaunch &launch) { counters_launch_end(launch); }

void checker_block_begin(SimtBlock *b) {
    if (!shared_cells) shared_cells = cells_new(SHARED_ARENA);
    cells_state(shared_cells, 0, std::max(b->arena_used, (size_t)ARENA_START), NOWHERE); /* what the last block had */
    if (blocks_started.empty()) launch_tick = b->first_tick;
    blocks_started.push_back({ b->first_tick, b->block_number });
    acquires.clear();
    fenced = 0;
}

void checker_block_end(SimtBlock *b) { counters_block_end(b); }

void checker_shared_new(SimtBlock *b, const void *at, size_t bytes) {
    size_t from = (size_t)((const char *)at - b->arena);
    cells_state(shared_cells, from + bytes, b->arena_used - from - bytes, NOWHERE); /* first, where an odd end shares its cell */
    cells_state(shared_cells, from, bytes, UNWRITTEN);
}

/* Where the runtime acts for a thread, a place in the source stands in for an instruction. */
static void check_for(int thread, const void *at, size_t bytes, int write, SimtSite site) {
    check(at, bytes, write, PLAIN, thread, site_key(site));
}

void checker_read_for(int thread, const void *at, size_t bytes, SimtSite site) { check_for(thread, at, bytes, READ, site); }

static void flying_set(const void *to, int flying) {
    Cell *c = shared_cells + (size_t)((const char *)to - simt_block->arena) / CELL_BYTES;
    for (int i = 0; i < 16 / CELL_BYTES; i++) c[i].flying = (uint8_t)flying;
}

void checker_copy_issue(const void *to, const void *from, int valid, SimtSite site) {
    int thread = simt_self->linear;
    check_for(thread, from, (size_t)valid, READ, site);
    check_for(thread, to, 16, WRITE, site);
    flying_set(to, 1);
}

/* The copy is this thread's write, made now. */
void checker_copy_land(const void *to, SimtSite site) {
    flying_set(to, 0);
    int counting = counters_pause(1);
    check_for(simt_self->linear, to, 16, WRITE, site);
    counters_pause(counting);
}

/* ---- what the compiler calls ---- */

#define PC ((uintptr_t)__builtin_return_address(0) - 1)

static void check_own(const void *at, size_t bytes, int write, int atomic, uintptr_t pc) {
    if (simt_self) check(at, bytes, write, atomic, simt_self->linear, pc);
}

/* Of an access whose type has that alignment; compilers use the same hooks for 16 bytes at multiples of 8. */
static void check_aligned(const void *at, size_t bytes, int write, uintptr_t pc) {
    if (simt_self && (uintptr_t)at % (bytes < 8 ? bytes : 8))
        simt_fail(site_of(pc), "an access of %zu bytes at %p, which is not aligned", bytes, at);
    check_own(at, bytes, write, PLAIN, pc);
}

#define HOOKS(N)                                                                                                                           \
    void __tsan_read##N(void *at) { check_aligned(at, N, READ, PC); }                                                                      \
    void __tsan_write##N(void *at) { check_aligned(at, N, WRITE, PC); }                                                                    \
    void __tsan_unaligned_read##N(void *at) { check_own(at, N, READ, PLAIN, PC); }                                                         \
    void __tsan_unaligned_write##N(void *at) { check_own(at, N, WRITE, PLAIN, PC); }
#define ATOMICS(N, T)                                                                                                                      \
    T __tsan_atomic##N##_load(const volatile T *p, int) {                                                                                  \
        check_own((const void *)p, sizeof(T), READ, ATOMIC, PC);                                                                           \
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                                                       \
    }                                                                                                                                      \
    T __tsan_atomic##N##_exchange(volatile T *p, T v, int) {                                                                               \
        check_own((const void *)p, sizeof(T), WRITE, ATOMIC, PC);                                                                          \
        return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                                                \
    }                                                                                                                                      \
    T __tsan_atomic##N##_fetch_add(volatile T *p, T v, int) {                                                                              \
        check_own((const void *)p, sizeof(T), WRITE, ATOMIC, PC);                                                                          \
        return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                                                                 \
    }                                                                                                                                      \
    T __tsan_atomic##N##_fetch_or(volatile T *p, T v, int) {                                                                               \
        check_own((const void *)p, sizeof(T), WRITE, ATOMIC, PC);                                                                          \
        return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);                                                                                  \
    }                                                                                                                                      \
    T __tsan_atomic##N##_compare_exchange_val(volatile T *p, T expected, T v, int, int) {                                                  \
        check_own((const void *)p, sizeof(T), WRITE, ATOMIC, PC);                                                                          \
        __atomic_compare_exchange_n(p, &expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                                               \
        return expected;                                                                                                                   \
    }

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
void __tsan_atomic_thread_fence(int) { fenced = 1; }
void __tsan_atomic_signal_fence(int) {}
void __tsan_init(void) {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}

/* Larger objects are copied by calls; older compilers call the library's functions, which are renamed in their objects (cuda.mk). */
void *__tsan_memcpy(void *to, const void *from, size_t bytes) {
    check_own(from, bytes, READ, PLAIN, PC), check_own(to, bytes, WRITE, PLAIN, PC);
    return memcpy(to, from, bytes);
}
void *__tsan_memmove(void *to, const void *from, size_t bytes) {
    check_own(from, bytes, READ, PLAIN, PC), check_own(to, bytes, WRITE, PLAIN, PC);
    return memmove(to, from, bytes);
}
void *__tsan_memset(void *to, int value, size_t bytes) {
    check_own(to, bytes, WRITE, PLAIN, PC);
    return memset(to, value, bytes);
}
}

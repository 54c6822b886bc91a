/* checker.cpp - memory of kernels, watched: reads of what was never written, accesses beyond allocations and shared arrays, races between
 * threads, and the use of bytes that an asynchronous copy still has in flight.
 *
 * Kernels are compiled with clang's -fsanitize=thread, whose runtime is not linked: its hooks are defined here. Every two bytes of a
 * watched region have a Cell with their last writer and readers. Of two accesses by different threads one of which writes, the earlier must
 * be ordered before the later: by a barrier of their block, by a warp-wide operation of their warp, or by the end of a launch. Memory that
 * is not registered (a kernel's stack, constants) is not watched. Blocks run one after the other, so that reports repeat. */
#include "tests/simt/counters.h"
#include "tests/simt/cudart.h"
#include "tests/simt/engine.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum CellState : uint8_t { NOWHERE, UNWRITTEN, WRITTEN };
enum Readers : uint8_t { ONE_LANE, ONE_WARP, ONE_BLOCK, MANY_BLOCKS };
enum { CELL_BYTES = 2, MARGIN = 256 }; /* around an allocation: addresses that belong to it, but to nobody */

struct Access {
    uint32_t block, epoch, warp_epoch;
    uint16_t thread; /* plus one; 0: none in this launch */
    uint8_t atomic;
    uintptr_t pc;
};
struct Cell {
    uint64_t launch; /* that writer and reader belong to */
    Access writer, reader;
    CellState state;
    Readers readers;
    uint8_t flying;
};

struct Region {
    uintptr_t at;
    size_t bytes;
    Cell *cells;
    char name[64]; /* or empty */
};
static std::vector<Region> regions; /* by address */
static thread_local Cell *shared_cells;
static thread_local int busy; /* inside the checker */

int checker_is_on(void) { return 1; }
int counters_are_here(void) { return 1; }

/* ---- where in the source ---- */

/* The file and line of an instruction, from the program's debug information. */
static SimtSite site_of(uintptr_t pc) {
    static char file[600];
    SimtSite site = { NULL, 0 };
    if (counters_site_of(pc, &site)) return site;
    Dl_info info;
    char command[1024], line[sizeof file];
    if (!pc || !dladdr((void *)pc, &info)) return site;
    snprintf(command, sizeof command, "addr2line -e '%s' 0x%lx 2>/dev/null || addr2line -e '%s' 0x%lx", info.dli_fname,
        (unsigned long)(pc - (uintptr_t)info.dli_fbase), info.dli_fname, (unsigned long)pc);
    FILE *f = popen(command, "r");
    if (!f) return site;
    if (fgets(line, sizeof line, f)) {
        char *colon = strrchr(line, ':');
        if (colon) {
            *colon = 0;
            snprintf(file, sizeof file, "%s", line);
            site = SimtSite{ file, atoi(colon + 1) };
        }
    }
    pclose(f);
    return site;
}

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
    size_t low = 0, high = regions.size();
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (regions[middle].at <= at) low = middle + 1;
        else high = middle;
    }
    return low;
}

void checker_region_new(const void *at, size_t bytes, const char *name) {
    Region r = { (uintptr_t)at, bytes, cells_new(bytes), {} };
    if (name) snprintf(r.name, sizeof r.name, " (%s)", name);
    cells_state(r.cells, 0, bytes, UNWRITTEN);
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

/* The cells of an address, or NULL where nobody watches. An address in a region's margin is an error. */
static Cell *cells_at(SimtBlock *b, uintptr_t at, size_t bytes, uintptr_t pc, int write) {
    uintptr_t arena = (uintptr_t)b->arena, stacks = (uintptr_t)b->fibers[0].stack.low;
    if (at - arena < SHARED_ARENA) return shared_cells + (at - arena) / CELL_BYTES;
    if (at - stacks < FIBERS_MOST * ((uintptr_t)b->fibers[1].stack.low - stacks)) return NULL;
    size_t i = region_after(at);
    const Region *before = i > 0 ? &regions[i - 1] : NULL, *after = i < regions.size() ? &regions[i] : NULL;
    if (before && at - before->at < before->bytes) {
        if (at - before->at + bytes <= before->bytes) return before->cells + (at - before->at) / CELL_BYTES;
    } else if (!(before && at - (before->at + before->bytes) < MARGIN) && !(after && after->at - at <= MARGIN)) return NULL;
    const Region *r = before && at - (before->at + before->bytes) < MARGIN ? before
                      : before && at - before->at < before->bytes          ? before
                                                                           : after;
    simt_fail(site_of(pc), "%s of %zu bytes at offset %lld of an allocation of %zu bytes%s", write ? "a write" : "a read", bytes,
        (long long)(at - r->at), r->bytes, r->name);
}

/* ---- accesses ---- */

static int is_ordered(const SimtBlock *b, const Access &earlier, Readers who, int thread) {
    if (who == MANY_BLOCKS || earlier.block != (uint32_t)b->block_number) return 0;
    if (earlier.epoch < (uint32_t)b->epoch) return 1;
    int other = earlier.thread - 1;
    if (who == ONE_LANE && other == thread) return 1;
    return who <= ONE_WARP && other / 32 == thread / 32 && earlier.warp_epoch < (uint32_t)b->warps[thread / 32].epoch;
}

[[noreturn]] static void race(const char *now, const char *then, const Access &earlier, uintptr_t pc) {
    char before[640];
    SimtSite s = site_of(earlier.pc);
    snprintf(before, sizeof before, "%.600s:%d", s.file ? s.file : "?", s.line);
    simt_fail(site_of(pc), "%s races with %s by thread %d of block %u at %s", now, then, earlier.thread - 1, earlier.block, before);
}

static void cell_check(SimtBlock *b, Cell *c, int write, int atomic, int thread, uintptr_t pc) {
    const char *what = write ? "a write" : "a read";
    if (c->state == NOWHERE) simt_fail(site_of(pc), "%s outside of every shared array", what);
    if (c->flying) simt_fail(site_of(pc), "%s of bytes that an asynchronous copy has in flight", what);
    if (c->state == UNWRITTEN && (!write || atomic)) simt_fail(site_of(pc), "%s of memory that was never written", what);
    if (c->launch != b->launch_number) c->launch = b->launch_number, c->writer.thread = c->reader.thread = 0;
    Access now = { (uint32_t)b->block_number, (uint32_t)b->epoch, (uint32_t)b->warps[thread / 32].epoch, (uint16_t)(thread + 1),
        (uint8_t)atomic, pc };
    if (c->writer.thread && !(atomic && c->writer.atomic) && !is_ordered(b, c->writer, ONE_LANE, thread))
        race(what, "a write", c->writer, pc);
    if (write) {
        if (c->reader.thread && !is_ordered(b, c->reader, c->readers, thread)) race(what, "a read", c->reader, pc);
        c->writer = now;
        c->reader.thread = 0;
        c->state = WRITTEN;
    } else {
        Readers who = ONE_LANE;
        if (c->reader.thread && !is_ordered(b, c->reader, c->readers, thread)) { /* one more beside those there are */
            int other = c->reader.thread - 1;
            who = c->reader.block != now.block ? MANY_BLOCKS
                  : other / 32 != thread / 32  ? ONE_BLOCK
                  : other != thread            ? ONE_WARP
                                               : ONE_LANE;
            if (who < c->readers) who = c->readers;
        }
        c->reader = now;
        c->readers = who;
    }
}

static void check(const void *at, size_t bytes, int write, int atomic, int thread, uintptr_t pc) {
    SimtBlock *b = simt_block;
    if (!b || !b->launch || busy) return;
    busy = 1;
    Cell *c = cells_at(b, (uintptr_t)at, bytes, pc, write);
    if (c) {
        Cell *end = c + ((uintptr_t)at % CELL_BYTES + bytes + CELL_BYTES - 1) / CELL_BYTES;
        for (; c < end; c++) cell_check(b, c, write, atomic, thread, pc);
        counters_access(b, at, bytes, thread, pc, (uintptr_t)at - (uintptr_t)b->arena < SHARED_ARENA, write);
    }
    busy = 0;
}

/* ---- what the engine tells ---- */

void checker_launch_begin(const SimtLaunch &, uint64_t) {}
void checker_launch_end(const SimtLaunch &launch) { counters_launch_end(launch); }

void checker_block_begin(SimtBlock *b) {
    if (!shared_cells) shared_cells = cells_new(SHARED_ARENA);
    cells_state(shared_cells, 0, b->arena_used, NOWHERE); /* what the last block had */
}

void checker_block_end(SimtBlock *b) { counters_block_end(b); }

void checker_shared_new(SimtBlock *b, const void *at, size_t bytes) {
    cells_state(shared_cells, (size_t)((const char *)at - b->arena), bytes, UNWRITTEN);
}

/* Where the runtime acts for a thread, a place in the source stands in for an instruction. */
static void check_for(int thread, const void *at, size_t bytes, int write, SimtSite site) {
    check(at, bytes, write, 0, thread, counters_site_key(site));
}

void checker_read_for(int thread, const void *at, size_t bytes, SimtSite site) { check_for(thread, at, bytes, 0, site); }

static void flying_set(const void *to, int flying) {
    Cell *c = shared_cells + (size_t)((const char *)to - simt_block->arena) / CELL_BYTES;
    for (int i = 0; i < 16 / CELL_BYTES; i++) c[i].flying = (uint8_t)flying;
}

void checker_copy_issue(const void *to, const void *from, int valid, SimtSite site) {
    int thread = simt_self->linear;
    if (valid) check_for(thread, from, (size_t)valid, 0, site);
    check_for(thread, to, 16, 1, site);
    flying_set(to, 1);
}

/* The copy is this thread's write, made now. */
void checker_copy_land(const void *to, SimtSite site) {
    flying_set(to, 0);
    int counting = counters_pause(1);
    check_for(simt_self->linear, to, 16, 1, site);
    counters_pause(counting);
}

/* ---- what the compiler calls ---- */

#define PC ((uintptr_t)__builtin_return_address(0) - 1)
#define SELF (simt_self ? simt_self->linear : 0)
#define HOOKS(N)                                                                                                                           \
    void __tsan_read##N(void *at) { check(at, N, 0, 0, SELF, PC); }                                                                        \
    void __tsan_write##N(void *at) { check(at, N, 1, 0, SELF, PC); }                                                                       \
    void __tsan_unaligned_read##N(void *at) { check(at, N, 0, 0, SELF, PC); }                                                              \
    void __tsan_unaligned_write##N(void *at) { check(at, N, 1, 0, SELF, PC); }                                                             \
    void __tsan_read_write##N(void *at) { check(at, N, 0, 0, SELF, PC), check(at, N, 1, 0, SELF, PC); }
#define ATOMICS(N, T)                                                                                                                      \
    T __tsan_atomic##N##_load(const volatile T *p, int) {                                                                                  \
        check((const void *)p, sizeof(T), 0, 1, SELF, PC);                                                                                 \
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                                                       \
    }                                                                                                                                      \
    void __tsan_atomic##N##_store(volatile T *p, T v, int) {                                                                               \
        check((const void *)p, sizeof(T), 1, 0, SELF, PC);                                                                                 \
        __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                                                          \
    }                                                                                                                                      \
    T __tsan_atomic##N##_exchange(volatile T *p, T v, int) {                                                                               \
        check((const void *)p, sizeof(T), 1, 1, SELF, PC);                                                                                 \
        return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                                                \
    }                                                                                                                                      \
    T __tsan_atomic##N##_fetch_add(volatile T *p, T v, int) {                                                                              \
        check((const void *)p, sizeof(T), 1, 1, SELF, PC);                                                                                 \
        return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                                                                 \
    }                                                                                                                                      \
    T __tsan_atomic##N##_fetch_or(volatile T *p, T v, int) {                                                                               \
        check((const void *)p, sizeof(T), 1, 1, SELF, PC);                                                                                 \
        return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);                                                                                  \
    }                                                                                                                                      \
    int __tsan_atomic##N##_compare_exchange_strong(volatile T *p, T *expected, T v, int, int) {                                            \
        check((const void *)p, sizeof(T), 1, 1, SELF, PC);                                                                                 \
        return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                                         \
    }

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
void __tsan_atomic_thread_fence(int) {}
void __tsan_init(void) {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}
void __tsan_vptr_update(void **at, void *) { check(at, sizeof *at, 1, 0, SELF, PC); }
void __tsan_vptr_read(void **at) { check(at, sizeof *at, 0, 0, SELF, PC); }
}

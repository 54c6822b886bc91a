/* engine.cpp - owns the running of launches: blocks over host threads, threads as fibers, warps by a schedule, barriers, collectives,
 * shared memory and asynchronous copies. See simt.h.
 *
 * A fiber that must wait picks the next one itself and switches to it; the host's own stack only starts and ends a block. Nothing is
 * preempted, so what one thread does between two waits is not interleaved with another's: the schedules make up for that by running warps
 * in the order of random priorities that change rarely, which finds missing barriers that any fixed order misses. */
#include "tests/simt/engine.h"

#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

__thread SimtThread *simt_self;
__thread SimtBlock *simt_block;

enum Schedule { SCHEDULE_FIFO, SCHEDULE_LIFO, SCHEDULE_RANDOM };
enum { PRIORITY_CHANGES = 32, COPY_EARLY = 4, SERIAL_THREADS = 2048 }; /* one in so many */

static Schedule schedule(void) {
    const char *s = getenv("SIMT_SCHEDULE");
    if (!s || !strcmp(s, "fifo")) return SCHEDULE_FIFO;
    if (!strcmp(s, "lifo")) return SCHEDULE_LIFO;
    if (!strcmp(s, "random")) return SCHEDULE_RANDOM;
    fprintf(stderr, "simt: SIMT_SCHEDULE is %s; expected fifo, lifo or random\n", s);
    abort();
}
static uint64_t seed(void) {
    const char *s = getenv("SIMT_SEED");
    return s ? strtoull(s, NULL, 10) : 0;
}
static thread_local Schedule current_schedule;

/* splitmix64 */
static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}
unsigned simt_random(SimtBlock *b, unsigned n) { return (unsigned)((mix(b->random++) >> 32) * n >> 32); }

/* ---- failure ---- */

static void print_site(SimtSite s) {
    if (s.file) fprintf(stderr, "%s:%d: ", s.file, s.line);
}

void simt_fail(SimtSite site, const char *format, ...) {
    va_list arguments;
    fprintf(stderr, "simt: ");
    print_site(site);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    const SimtBlock *b = simt_block;
    if (b && b->launch) {
        const uint3 k = b->self[0].block;
        fprintf(
            stderr, "\n  in %s, launched at %s:%d, block (%u, %u, %u)", b->launch->name, b->launch->file, b->launch->line, k.x, k.y, k.z);
        if (simt_self) fprintf(stderr, ", thread (%u, %u, %u)", simt_self->thread.x, simt_self->thread.y, simt_self->thread.z);
    }
    const char *s = getenv("SIMT_SCHEDULE");
    fprintf(stderr, "\n  schedule %s, seed %llu\n", s ? s : "fifo", (unsigned long long)seed());
    fflush(stderr);
    abort();
}

static int same_site(SimtSite a, SimtSite b) { return a.line == b.line && (a.file == b.file || !strcmp(a.file, b.file)); }

/* ---- which thread goes on ---- */

static void ready_set(SimtBlock *b, int thread) {
    SimtWarp *w = &b->warps[thread / 32];
    w->ready |= 1u << thread % 32;
    b->warps_ready |= 1u << thread / 32;
}
static void ready_clear(SimtBlock *b, int thread) {
    SimtWarp *w = &b->warps[thread / 32];
    w->ready &= ~(1u << thread % 32);
    if (!w->ready) b->warps_ready &= ~(1u << thread / 32);
}

static int highest(unsigned bits) { return 31 - __builtin_clz(bits); }
static int lowest(unsigned bits) { return __builtin_ctz(bits); }

static int thread_pick(SimtBlock *b) {
    if (current_schedule == SCHEDULE_FIFO) {
        int w = lowest(b->warps_ready);
        return w * 32 + lowest(b->warps[w].ready);
    }
    if (current_schedule == SCHEDULE_LIFO) {
        int w = highest(b->warps_ready);
        return w * 32 + highest(b->warps[w].ready);
    }
    int best = lowest(b->warps_ready);
    for (unsigned left = b->warps_ready; left; left &= left - 1) {
        int w = lowest(left);
        if (b->warps[w].priority > b->warps[best].priority) best = w;
    }
    SimtWarp *w = &b->warps[best];
    if (simt_random(b, PRIORITY_CHANGES) == 0) w->priority = simt_random(b, 1u << 30);
    unsigned turn = simt_random(b, 32), turned = w->ready >> turn | (turn ? w->ready << (32 - turn) : 0);
    return best * 32 + ((lowest(turned) + (int)turn) & 31);
}

[[noreturn]] static void stuck(SimtBlock *b) {
    for (int t = 0; t < b->threads; t++) {
        SimtLane *l = &b->lanes[t];
        if (!(b->warps[t / 32].alive >> t % 32 & 1)) continue;
        simt_self = &b->self[t];
        if (l->perform)
            simt_fail(l->site, "a warp-wide operation of mask %08x is never reached by all its lanes (here: %08x)", l->mask,
                b->warps[t / 32].parked);
        simt_fail(l->site, "a barrier is never reached by all threads: %d of %d are there", b->waiting, b->alive);
    }
    simt_fail(SIMT_HERE, "no thread can go on");
}

/* Goes on in another fiber; returns when the running one is picked again, at once when that is next. */
static void leave(SimtBlock *b, int last) {
    Fiber *from = &b->fibers[b->running];
    if (!b->warps_ready) {
        if (b->alive) stuck(b);
        simt_self = NULL;
        fiber_switch(from, &b->host, last);
        return;
    }
    int next = thread_pick(b);
    simt_self = &b->self[next];
    if (next == b->running && !last) return;
    b->running = next;
    fiber_switch(from, &b->fibers[next], last);
}

static void wait_here(SimtBlock *b, int thread, SimtSite site) {
    b->lanes[thread].site = site;
    ready_clear(b, thread);
    leave(b, 0);
}

/* ---- barriers ---- */

static void barrier_release(SimtBlock *b) {
    for (int t = 0; t < b->threads; t++) {
        b->lanes[t].answer = b->barrier == SIMT_SYNC_OR    ? b->predicate_sum != 0
                             : b->barrier == SIMT_SYNC_AND ? b->predicate_sum == b->threads
                                                           : b->predicate_sum;
        ready_set(b, t);
    }
    b->waiting = b->predicate_sum = 0;
    b->barrier_tick = ++b->tick;
}

int simt_barrier(SimtBarrier kind, int predicate, SimtSite site) {
    SimtBlock *b = simt_block;
    int t = simt_self->linear;
    if (b->alive != b->threads) simt_fail(site, "a barrier after %d threads of the block have returned", b->threads - b->alive);
    if (b->waiting == 0) b->barrier = kind, b->barrier_site = site, b->barrier_first = t;
    else if (b->barrier != kind || !same_site(b->barrier_site, site))
        simt_fail(
            site, "a barrier while thread %d waits at the one of %s:%d", b->barrier_first, b->barrier_site.file, b->barrier_site.line);
    b->waiting++;
    b->predicate_sum += predicate != 0;
    if (b->waiting == b->threads) {
        barrier_release(b);
        leave(b, 0); /* the last to come is not always the first to go on */
    } else wait_here(b, t, site);
    return b->lanes[t].answer;
}

/* ---- collectives ---- */

static void lanes_agree(const SimtLane *own, const SimtLane *other, int own_lane, int other_lane) {
    if (other->perform != own->perform || other->mask != own->mask || !same_site(other->site, own->site))
        simt_fail(own->site, "lane %d is here with mask %08x while lane %d is at %s:%d with mask %08x", own_lane, own->mask, other_lane,
            other->site.file, other->site.line, other->mask);
}

void simt_collective(SimtPerform perform, void *operand, unsigned mask, SimtSite site) {
    SimtBlock *b = simt_block;
    int t = simt_self->linear, warp = t / 32, lane = t % 32;
    SimtWarp *w = &b->warps[warp];
    SimtLane *all = &b->lanes[warp * 32], *own = &all[lane];
    if (!(mask >> lane & 1)) simt_fail(site, "lane %d is not in the mask %08x of its own operation", lane, mask);
    if (mask & ~w->alive) simt_fail(site, "mask %08x names lanes that are not there or have returned (%08x are there)", mask, w->alive);
    own->perform = perform, own->operand = operand, own->mask = mask, own->site = site;
    unsigned there = mask & w->parked;
    if (there) lanes_agree(own, &all[lowest(there)], lane, lowest(there));
    w->parked |= 1u << lane;
    if ((w->parked & mask) != mask) {
        wait_here(b, t, site);
        return;
    }
    void *operands[32] = { NULL };
    for (unsigned left = mask; left; left &= left - 1) {
        int l = lowest(left);
        lanes_agree(own, &all[l], lane, l); /* all of them, before any operand is touched */
        operands[l] = all[l].operand;
    }
    perform(operands, mask);
    for (unsigned left = mask; left; left &= left - 1) all[lowest(left)].perform = NULL;
    w->tick = ++b->tick;
    w->parked &= ~mask;
    w->ready |= mask;
    b->warps_ready |= 1u << warp;
    if (current_schedule == SCHEDULE_RANDOM) leave(b, 0);
}

void simt_perform_shuffle(void *const operand[32], unsigned mask) {
    for (unsigned left = mask; left; left &= left - 1) {
        SimtShuffle *s = (SimtShuffle *)operand[lowest(left)];
        if (s->from != s->lane && !(mask >> s->from & 1))
            simt_fail(SimtSite{ NULL, 0 }, "lane %d reads lane %d, which is not in the mask %08x", s->lane, s->from, mask);
        s->result = ((SimtShuffle *)operand[s->from])->value;
    }
}

void simt_perform_ballot(void *const operand[32], unsigned mask) {
    unsigned votes = 0;
    for (unsigned left = mask; left; left &= left - 1) votes |= (unsigned)((SimtBallot *)operand[lowest(left)])->predicate << lowest(left);
    for (unsigned left = mask; left; left &= left - 1) ((SimtBallot *)operand[lowest(left)])->result = votes;
}

void simt_perform_sync(void *const operand[32], unsigned mask) { (void)operand, (void)mask; }

/* ---- shared memory ---- */

static void zone_paint(char *at) { memset(at, 0xA5, RED_ZONE); }
static int zone_intact(const char *at) {
    for (int i = 0; i < RED_ZONE; i++)
        if ((unsigned char)at[i] != 0xA5) return 0;
    return 1;
}
static size_t aligned(size_t n) { return (n + 127) & ~(size_t)127; }

/* An array and the red zone behind it. */
static char *arena_take(SimtBlock *b, size_t bytes) {
    char *at = b->arena + b->arena_used;
    ASAN_UNPOISON_MEMORY_REGION(at, bytes + RED_ZONE);
    memset(at, 0xFF, bytes);
    zone_paint(at + bytes);
    ASAN_POISON_MEMORY_REGION(at + bytes, RED_ZONE);
    b->arena_used = aligned(b->arena_used + bytes + RED_ZONE);
    checker_shared_new(b, at, bytes);
    return at;
}

void *simt_shared(const void *key, size_t bytes, SimtSite site) {
    SimtBlock *b = simt_block;
    for (const SimtArray &a : b->arrays)
        if (a.key == key) return a.at;
    b->static_used += (bytes + 15) & ~(size_t)15;
    if (b->static_used > SHARED_STATIC_MOST || b->static_used + b->launch->shared_bytes > SHARED_MOST)
        simt_fail(site, "%zu bytes of static and %zu of dynamic shared memory", b->static_used, b->launch->shared_bytes);
    b->arrays.push_back(SimtArray{ key, arena_take(b, bytes), bytes });
    return b->arrays.back().at;
}

static void arena_check(SimtBlock *b) {
    simt_self = NULL;
    ASAN_UNPOISON_MEMORY_REGION(b->arena, SHARED_ARENA);
    if (!zone_intact(b->arena)) simt_fail(SIMT_HERE, "a write before the first shared array");
    if (b->launch->shared_bytes && !zone_intact(b->arena + ARENA_START + b->launch->shared_bytes))
        simt_fail(SIMT_HERE, "a write beyond dynamic shared memory of %zu bytes", b->launch->shared_bytes);
    for (const SimtArray &a : b->arrays)
        if (!zone_intact(a.at + a.bytes)) simt_fail(SIMT_HERE, "a write beyond a shared array of %zu bytes", a.bytes);
}

/* ---- asynchronous copies ---- */

static void copy_land(SimtCopy *c) {
    if (c->landed) return;
    for (int i = 0; i < 16; i++) c->to[i] = i < c->valid ? c->from[i] : 0;
    c->landed = 1;
}

void simt_copy_async(void *to, const void *from, int valid, SimtSite site) {
    SimtBlock *b = simt_block;
    SimtLane *l = &b->lanes[simt_self->linear];
    if (valid < 0 || valid > 16) simt_fail(site, "an asynchronous copy of %d of 16 bytes", valid);
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16) simt_fail(site, "an asynchronous copy between addresses that are no multiples of 16");
    if ((char *)to < b->arena || (char *)to + 16 > b->arena + b->arena_used) simt_fail(site, "an asynchronous copy to no shared memory");
    checker_copy_issue(to, from, valid, site);
    l->copies.push_back(SimtCopy{ (char *)to, (const char *)from, valid, l->groups, 0, site });
    if (current_schedule == SCHEDULE_RANDOM && simt_random(b, COPY_EARLY) == 0) copy_land(&l->copies.back());
}

void simt_copy_commit(void) { simt_block->lanes[simt_self->linear].groups++; }

void simt_copy_wait(int groups_left) {
    SimtLane *l = &simt_block->lanes[simt_self->linear];
    size_t kept = 0;
    for (SimtCopy &c : l->copies) {
        if (c.group < l->groups - groups_left) {
            copy_land(&c);
            checker_copy_land(c.to, c.site);
        } else l->copies[kept++] = c;
    }
    l->copies.resize(kept, SimtCopy());
}

/* ---- blocks ---- */

void simt_called(const void *call, size_t bytes) { simt_block->call = call, simt_block->call_bytes = bytes; }

static void thread_main(void) {
    fiber_entered();
    SimtBlock *b = simt_block;
    b->launch->body();
    int t = simt_self->linear;
    SimtLane *l = &b->lanes[t];
    if (!l->copies.empty()) simt_fail(l->copies[0].site, "a thread returns while an asynchronous copy is in flight");
    if (b->waiting) simt_fail(b->barrier_site, "thread %d returns while others wait at this barrier", t);
    ready_clear(b, t);
    b->warps[t / 32].alive &= ~(1u << t % 32);
    b->alive--;
    if (b->warps[t / 32].parked) {
        const SimtLane *other = &b->lanes[t / 32 * 32 + lowest(b->warps[t / 32].parked)];
        if (other->mask >> t % 32 & 1) simt_fail(other->site, "lane %d returns while others wait for it in this operation", t % 32);
    }
    leave(b, 1);
    simt_fail(SIMT_HERE, "a thread that returned goes on");
}

static SimtBlock *block_context(void) {
    if (simt_block) return simt_block;
    SimtBlock *b = new SimtBlock();
    fibers_make(b->fibers);
    b->arena = (char *)mmap(NULL, SHARED_ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (b->arena == MAP_FAILED) perror("simt: no room for shared memory"), abort();
    pthread_attr_t attr;
    void *low;
    size_t bytes;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &low, &bytes);
    pthread_attr_destroy(&attr);
    b->host.stack = FiberStack{ (char *)low, bytes };
    return simt_block = b;
}

static void block_run(const SimtLaunch &launch, uint64_t launch_number, uint64_t number) {
    SimtBlock *b = block_context();
    dim3 grid = launch.grid, size = launch.block;
    uint3 at = { (unsigned)(number % grid.x), (unsigned)(number / grid.x % grid.y), (unsigned)(number / grid.x / grid.y) };
    b->launch = &launch, b->launch_number = launch_number, b->block_number = number;
    b->threads = b->alive = (int)(size.x * size.y * size.z);
    b->waiting = b->predicate_sum = 0;
    b->first_tick = b->barrier_tick = ++b->tick;
    b->random = mix(mix(seed() ^ mix(launch_number)) ^ number);
    b->arrays.clear();
    b->static_used = 0;
    b->warps_ready = 0;
    checker_block_begin(b);
    zone_paint(b->arena);
    ASAN_POISON_MEMORY_REGION(b->arena, SHARED_ARENA); /* but for the arrays */
    b->arena_used = ARENA_START;
    void *dynamic = launch.shared_bytes ? arena_take(b, launch.shared_bytes) : NULL;
    for (int w = 0; w * 32 < b->threads; w++) {
        int lanes = b->threads - w * 32;
        b->warps[w] = SimtWarp{ lanes < 32 ? (1u << lanes) - 1 : 0xffffffffu, 0, 0, simt_random(b, 1u << 30), 0 };
    }
    for (int t = 0; t < b->threads; t++) {
        unsigned x = (unsigned)t % size.x, y = (unsigned)t / size.x % size.y, z = (unsigned)t / size.x / size.y;
        b->self[t] = SimtThread{ { x, y, z }, at, size, grid, t, dynamic };
        b->lanes[t].perform = NULL;
        b->lanes[t].groups = 0;
        b->lanes[t].copies.clear();
        fiber_start(&b->fibers[t], thread_main);
        ready_set(b, t);
    }
    b->running = thread_pick(b);
    simt_self = &b->self[b->running];
    fiber_switch(&b->host, &b->fibers[b->running], 0);
    arena_check(b);
    checker_block_end(b);
    b->launch = NULL;
}

/* The order in which blocks start: as numbered, from the last, or by a stride that visits each once. */
static uint64_t block_at(Schedule s, uint64_t i, uint64_t blocks, uint64_t stride) {
    return s == SCHEDULE_FIFO ? i : s == SCHEDULE_LIFO ? blocks - 1 - i : (uint64_t)((unsigned __int128)i * stride % blocks);
}

static uint64_t common_divisor(uint64_t a, uint64_t b) { return b ? common_divisor(b, a % b) : a; }

void simt_run(const SimtLaunch &launch) {
    static uint64_t launches;
    uint64_t number = ++launches, blocks = (uint64_t)launch.grid.x * launch.grid.y * launch.grid.z;
    size_t threads = (size_t)launch.block.x * launch.block.y * launch.block.z;
    if (!blocks || !threads || threads > FIBERS_MOST || launch.shared_bytes > SHARED_MOST || launch.grid.y > 65535 ||
        launch.grid.z > 65535 || launch.block.z > 64)
        simt_fail(SimtSite{ launch.file, launch.line }, "%s cannot be launched: grid (%u, %u, %u), block (%u, %u, %u), %zu bytes",
            launch.name, launch.grid.x, launch.grid.y, launch.grid.z, launch.block.x, launch.block.y, launch.block.z, launch.shared_bytes);
    Schedule how = schedule();
    uint64_t stride = mix(seed() ^ number) % blocks;
    while (blocks > 1 && common_divisor(stride, blocks) != 1) stride = (stride + 1) % blocks;
    checker_launch_begin(launch, number);
#pragma omp parallel for schedule(dynamic) if (blocks > 1 && blocks * threads > SERIAL_THREADS && !checker_is_on())
    for (int64_t i = 0; i < (int64_t)blocks; i++) {
        current_schedule = how;
        block_run(launch, number, block_at(how, (uint64_t)i, blocks, stride));
    }
    checker_launch_end(launch);
}

__attribute__((weak)) int simt_enqueue(SimtLaunch launch, cudaStream_t stream) {
    (void)stream;
    simt_run(launch);
    return 0;
}

/* cudart_memory.cpp - device and pinned memory of the emulated runtime: allocations between guard pages, shut to the host, and what is said
 * when somebody reaches for them. See cudart.h. */
#include "tests/simt/cudart.h"
#include "tests/simt/engine.h"

#include <deque>
#include <execinfo.h>
#include <map>
#include <signal.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

enum { SHOWN_MOST = 1 << 16, PAGE = 4096, GUARD = 256 * PAGE, ALIGN = 256, FRAMES = 12, PAINT = 0xA5, FREED_KEPT = 1000 };
static const int64_t DEVICE_BYTES = (int64_t)80 << 30;

/* [guard][paint][bytes][paint][guard]; the bytes end as near to the guard as their alignment lets them. */
struct Allocation {
    MemoryKind kind;
    int freed; /* kept for a while, so that who comes late is told what it was */
    int shown; /* in sight since the device that runs reached for it */
    char *map, *at;
    size_t mapped, bytes;
    uint64_t number;
    std::string name;
    void *frames[FRAMES];
    int frames_n;
};

static std::map<uintptr_t, Allocation> allocations; /* by the end of the mapping */
static std::deque<uintptr_t> freed;                 /* keys of the freed ones, the oldest first */
static uint64_t allocations_made;
static size_t device_live;
static int device_shown;                            /* the device runs: what it reaches for comes in sight */
static uint64_t device_runs;                        /* times that it did */
static Allocation *shown[SHOWN_MOST];               /* what has, since the host ran last */
static int shown_n;
static struct sigaction fault_before;

static Allocation *allocation_around(const void *at) {
    auto found = allocations.upper_bound((uintptr_t)at);
    if (found == allocations.end() || (uintptr_t)at < (uintptr_t)found->second.map) return NULL;
    return &found->second;
}

static Allocation *allocation_live(const void *at) {
    Allocation *a = allocation_around(at);
    return a && !a->freed ? a : NULL;
}

static const char *allocation_text(const Allocation &a) {
    static char text[256];
    snprintf(text, sizeof text, "%s%s memory \"%s\" (allocation %llu, %zu bytes)", a.freed ? "freed " : "",
        a.kind == MEMORY_DEVICE ? "device" : "pinned", a.name.empty() ? "without a name" : a.name.c_str(), (unsigned long long)a.number,
        a.bytes);
    return text;
}

const char *memory_text(const void *at) {
    static char text[320];
    const Allocation *a = allocation_around(at);
    if (!a) return NULL;
    snprintf(text, sizeof text, "byte %lld of %s", (long long)((const char *)at - a->at), allocation_text(*a));
    return text;
}

static void frames_print(const char *title, void *const *frames, int n) {
    fprintf(stderr, "  %s\n", title);
    fflush(stderr);
    backtrace_symbols_fd(frames, n, 2);
}

void runtime_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("simt: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    fflush(stderr);
    abort();
}

/* ---- faults ---- */

static void pages_protect(const Allocation &a, int protection) { mprotect(a.map + GUARD, a.mapped - 2 * GUARD, protection); }

/* Changing the protection of all memory at each launch would cost more than most launches, so a launch's first touch of an allocation faults, and
 * brings that one in sight. Several threads may touch it at once. */
static void allocation_show(Allocation *a) {
    pages_protect(*a, PROT_READ | PROT_WRITE);
    if (__atomic_exchange_n(&a->shown, 1, __ATOMIC_SEQ_CST)) return;
    int i = __atomic_fetch_add(&shown_n, 1, __ATOMIC_SEQ_CST);
    if (i >= SHOWN_MOST) runtime_fail("more than %d allocations in one launch", SHOWN_MOST);
    shown[i] = a;
}

static void fault(int number, siginfo_t *info, void *context) {
    Allocation *a = allocation_around(info->si_addr);
    const char *touched = (const char *)info->si_addr;
    static thread_local const char *before; /* a second fault at one place, while the device runs on, is no first touch */
    static thread_local uint64_t before_run;
    int again = touched == before && device_runs == before_run;
    before = touched, before_run = device_runs;
    if (a && device_shown && !again && !a->freed && a->kind == MEMORY_DEVICE && touched >= a->map + GUARD && touched < a->map + a->mapped - GUARD) {
        allocation_show(a);
        return; /* and tries again */
    }
    if (!a) {
        sigaction(number, &fault_before, NULL);
        if (fault_before.sa_flags & SA_SIGINFO) fault_before.sa_sigaction(number, info, context);
        return; /* and faults again */
    }
    const char *text = memory_text(info->si_addr);
    if (simt_self) simt_fail(SIMT_HERE, "an access at %s", text);
    void *here[FRAMES];
    fflush(stdout);
    fprintf(stderr, "simt: the host touches %s\n", text);
    frames_print("at", here, backtrace(here, FRAMES));
    frames_print("allocated at", a->frames, a->frames_n);
    abort();
}

/* Test frameworks set handlers of their own: whenever the host gets device memory out of sight, this one takes its place again. */
static void faults_watch(void) {
    static int prepared;
    if (!prepared) {
        prepared = 1;
        void *loaded[1];
        backtrace(loaded, 1); /* loads what it needs now, not in the handler */
        static char stack[64 << 10];
        stack_t alternative = {};
        alternative.ss_sp = stack;
        alternative.ss_size = sizeof stack;
        if (sigaltstack(&alternative, NULL)) perror("simt: no fault handler"), abort();
    }
    struct sigaction now = {}, action = {};
    sigaction(SIGSEGV, NULL, &now);
    if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == fault) return;
    fault_before = now;
    action.sa_sigaction = fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (sigaction(SIGSEGV, &action, NULL)) perror("simt: no fault handler"), abort();
}

/* ---- allocations ---- */

static int64_t device_bytes(void) { return runtime_setting("SIMT_MEMORY", DEVICE_BYTES); }

void *memory_new(MemoryKind kind, size_t bytes) {
    faults_watch();
    if (kind == MEMORY_DEVICE && (bytes > (size_t)device_bytes() || device_live > (size_t)device_bytes() - bytes)) return NULL;
    size_t room = (bytes + ALIGN - 1) / ALIGN * ALIGN, pages = (room + ALIGN + PAGE - 1) / PAGE * PAGE;
    Allocation a = {};
    a.kind = kind;
    a.mapped = pages + 2 * GUARD;
    a.map = (char *)mmap(NULL, a.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (a.map == MAP_FAILED) return NULL;
    char *from = a.map + GUARD;
    if (mprotect(from, pages, PROT_READ | PROT_WRITE)) return munmap(a.map, a.mapped), nullptr;
    a.at = from + pages - room;
    a.bytes = bytes;
    a.number = ++allocations_made;
    a.frames_n = backtrace(a.frames, FRAMES);
    memset(from, PAINT, (size_t)(a.at - from));
    memset(a.at, 0xFF, bytes);
    memset(a.at + bytes, PAINT, room - bytes);
    ASAN_POISON_MEMORY_REGION(from, (size_t)(a.at - from));
    ASAN_POISON_MEMORY_REGION(a.at + bytes, room - bytes);
    if (kind == MEMORY_DEVICE) {
        device_live += bytes;
        mprotect(from, pages, PROT_NONE);
        checker_region_new(a.at, bytes, NULL);
    }
    allocations[(uintptr_t)a.map + a.mapped] = a;
    return a.at;
}

static void paint_check(const Allocation &a) {
    const char *from = a.map + GUARD, *to = a.map + a.mapped - GUARD;
    ASAN_UNPOISON_MEMORY_REGION(from, (size_t)(to - from));
    for (const char *p = from; p < to; p = p + 1 == a.at ? a.at + a.bytes : p + 1)
        if ((unsigned char)*p != PAINT) runtime_fail("byte %lld of %s was written", (long long)(p - a.at), allocation_text(a));
}

int memory_free(MemoryKind kind, void *at) {
    Allocation *a = allocation_live(at);
    if (!a || a->kind != kind || a->at != at) return -1;
    pages_protect(*a, PROT_READ | PROT_WRITE);
    paint_check(*a);
    if (kind == MEMORY_DEVICE) {
        device_live -= a->bytes;
        checker_region_gone(a->at);
    }
    a->freed = 1;
    mmap(a->map, a->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    freed.push_back((uintptr_t)a->map + a->mapped);
    if (freed.size() <= FREED_KEPT) return 0;
    const Allocation &oldest = allocations[freed.front()];
    munmap(oldest.map, oldest.mapped);
    allocations.erase(freed.front());
    freed.pop_front();
    return 0;
}

int memory_is(MemoryKind kind, const void *at) {
    const Allocation *a = allocation_live(at);
    return a && a->kind == kind && (const char *)at >= a->at && (const char *)at < a->at + a->bytes;
}

void memory_check(const char *call, const void *at, size_t bytes) {
    const Allocation *a = allocation_around(at);
    if (!bytes) return;
    if (!a || a->kind != MEMORY_DEVICE) runtime_fail("%s: %p is no device memory", call, at);
    if (a->freed) runtime_fail("%s: %p is in %s", call, at, allocation_text(*a));
    long long offset = (const char *)at - a->at;
    if (offset < 0 || (size_t)offset > a->bytes || bytes > a->bytes - (size_t)offset)
        runtime_fail("%s: %zu bytes from byte %lld reach beyond %s", call, bytes, offset, allocation_text(*a));
}

void memory_show(int runs) {
    if (device_shown == runs) return;
    device_shown = runs;
    device_runs += (uint64_t)runs;
    faults_watch();
    if (runs) return;
    for (int i = 0; i < shown_n; i++) {
        shown[i]->shown = 0;
        if (!shown[i]->freed) pages_protect(*shown[i], PROT_NONE);
    }
    shown_n = 0;
}

void memory_written(const void *at, size_t bytes) { checker_region_written(at, bytes); }

void memory_info(size_t *free_bytes, size_t *total) {
    *total = (size_t)device_bytes();
    *free_bytes = *total - device_live;
}

int memory_leaks(void) {
    int leaks = 0;
    for (const auto &entry : allocations) {
        const Allocation &a = entry.second;
        if (a.freed) continue;
        leaks++;
        fprintf(stderr, "simt: not freed: %s\n", allocation_text(a));
        frames_print("allocated at", a.frames, a.frames_n);
    }
    return leaks;
}

void simt_memory_name(const void *at, const char *name) {
    Allocation *a = allocation_live(at);
    if (!a) return;
    a->name = name;
    if (a->kind != MEMORY_DEVICE) return;
    checker_region_gone(a->at);
    checker_region_new(a->at, a->bytes, name);
}

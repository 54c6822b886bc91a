/* cpu_state.c - see cpu_state.h. Memory of the CPU backend comes from calloc, whose large blocks are untouched zero pages: what is never
 * written costs nothing. Large blocks ask for huge pages, which lets products read weights with fewer TLB misses. */
#include "kernels/cpu_state.h"

#include "kernels/overhead.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 64, HUGE_PAGE = 2 << 20 };
/* No processor this runs on maps more. */
static const int64_t ADDRESSES = (int64_t)1 << 47;

static _Atomic int64_t bytes_live, bytes_peak;

void cpu_bytes_add(int64_t bytes) {
    int64_t live = atomic_fetch_add(&bytes_live, bytes) + bytes, peak = atomic_load(&bytes_peak);
    while (live > peak && !atomic_compare_exchange_weak(&bytes_peak, &peak, live)) {}
}

int64_t cpu_bytes_peak(void) { return atomic_load(&bytes_peak); }

/* The number after `key` at the start of a line of a file of the system ("": at its start); -1: there is none ("max"). */
static int64_t number_in(const char *path, const char *key) {
    char line[256];
    long long value;
    int64_t found = -1;
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    while (found < 0 && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key)) && sscanf(line + strlen(key), "%lld", &value) == 1) found = value;
    fclose(f);
    return found;
}

/* Pages of files that nobody reads any more count as used, but are given back when memory is asked for. */
static int64_t cgroup_free(const char *limit_path, const char *used_path, const char *stat_path, const char *idle_key) {
    int64_t limit = number_in(limit_path, ""), used = number_in(used_path, ""), idle = number_in(stat_path, idle_key);
    return limit < 0 || used < 0 ? -1 : limit - used + (idle > 0 ? idle : 0);
}

int64_t cpu_bytes_free(void) {
    int64_t kib = number_in("/proc/meminfo", "MemAvailable:"), left = kib < 0 ? -1 : kib * 1024;
    const int64_t groups[] = { cgroup_free("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file "),
        cgroup_free("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.stat",
            "total_inactive_file ") };
    for (int i = 0; i < 2; i++)
        if (groups[i] >= 0 && (left < 0 || groups[i] < left)) left = groups[i];
    return left;
}

static int failed;
static Error failure;

void cpu_failure_set(const char *what, const char *found) {
    if (failed) return;
    failed = 1;
    error_what(&failure, "%s", what);
    error_where(&failure, "cpu backend");
    error_found(&failure, "%s", found);
}

int cpu_failure_take(Error *e) {
    if (!failed) return 0;
    failed = 0;
    if (e) *e = failure;
    return -1;
}

/* The 64 bytes before what is handed out remember where the block starts and its size. */
typedef struct BlockHead {
    void *block;
    int64_t bytes;
} BlockHead;

void *cpu_memory_new(int64_t bytes, const char *what, Error *e) {
    if (bytes < 0 || bytes > ADDRESSES) {
        error_what(e, "cannot allocate %s", what);
        error_found(e, "%lld bytes", (long long)bytes);
        return NULL;
    }
    int64_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGN;
    char *block = calloc(1, (size_t)(bytes + ALIGN + align));
    if (!block) {
        error_what(e, "out of memory for %s", what);
        error_found(e, "no room for %lld bytes", (long long)bytes);
        error_hint(e, "use a smaller batch or model, or dtype = bf16");
        return NULL;
    }
    uintptr_t at = ((uintptr_t)block + ALIGN + (uintptr_t)align - 1) / (uintptr_t)align * (uintptr_t)align;
    if (align == HUGE_PAGE) madvise((void *)at, (size_t)bytes, MADV_HUGEPAGE);
    memcpy((char *)at - ALIGN, &(BlockHead){ block, bytes }, sizeof(BlockHead));
    cpu_bytes_add(bytes);
    return (void *)at;
}

static BlockHead block_head(const void *at) {
    BlockHead head;
    memcpy(&head, (const char *)at - ALIGN, sizeof head);
    return head;
}

int64_t cpu_memory_bytes(const void *at) { return block_head(at).bytes; }

void cpu_memory_free(void *at) {
    if (!at) return;
    BlockHead head = block_head(at);
    cpu_bytes_add(-head.bytes);
    free(head.block);
}

static struct {
    void *at;
    int64_t bytes;
} scratch[SCRATCH_USES];

void *cpu_scratch(CpuScratch use, int64_t bytes) {
    if (scratch[use].bytes >= bytes && scratch[use].at) return scratch[use].at;
    cpu_memory_free(scratch[use].at);
    Error e;
    int64_t want = scratch_size(bytes);
    scratch[use].at = cpu_memory_new(want, "scratch", &e);
    scratch[use].bytes = scratch[use].at ? want : 0;
    if (!scratch[use].at) cpu_failure_set(e.what, e.found);
    return scratch[use].at;
}

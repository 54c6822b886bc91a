/* counters.cpp - see counters.h. Accesses are kept until their block ends, by instruction and warp; the lanes' n-th accesses are then one
 * request. An instruction that only some lanes execute the n-th time is a request of those lanes. */
#include "tests/simt/counters.h"

#include <algorithm>
#include <unordered_map>

enum { SECTOR = 32, BANKS = 32, BANK_BYTES = 4 };

struct Request {
    uint32_t lanes;
    uintptr_t at[32];
};
struct Stream { /* of one instruction in one warp */
    int bytes, shared, write;
    uint32_t times[32];
    std::vector<Request> requests;
};

static int counting, paused;
static std::unordered_map<uint64_t, Stream> streams; /* of the running block */
static uint64_t mma;
static std::vector<KernelCounts> counts;
static std::vector<SimtSite> sites;

int counters_pause(int pause) {
    int before = paused;
    paused = pause;
    return before;
}

/* Keys of places lie below every address of code. */
uintptr_t counters_site_key(SimtSite site) {
    for (size_t i = 0; i < sites.size(); i++)
        if (sites[i].file == site.file && sites[i].line == site.line) return i + 1;
    sites.push_back(site);
    return sites.size();
}
int counters_site_of(uintptr_t key, SimtSite *out) {
    if (key == 0 || key > sites.size()) return 0;
    *out = sites[key - 1];
    return 1;
}

void counters_access(SimtBlock *, const void *at, size_t bytes, int thread, uintptr_t pc, int shared, int write) {
    if (!counting || paused) return;
    Stream &s = streams[(uint64_t)pc * 128 + (uint64_t)(thread / 32) * 4 + (uint64_t)write * 2 + (uint64_t)shared];
    uint32_t lane = (uint32_t)thread % 32, n = s.times[lane]++;
    s.bytes = (int)bytes, s.shared = shared, s.write = write;
    if (s.requests.size() <= n) s.requests.resize(n + 1);
    s.requests[n].lanes |= 1u << lane;
    s.requests[n].at[lane] = (uintptr_t)at;
}

void counters_mma(void) { mma += counting; }

static KernelCounts *counts_of(const SimtLaunch &launch) {
    for (KernelCounts &c : counts)
        if (!strncmp(c.name, launch.name, sizeof c.name - 1)) return &c;
    KernelCounts c = {};
    strncpy(c.name, launch.name, sizeof c.name - 1);
    counts.push_back(c);
    return &counts.back();
}

/* Distinct numbers among the first n, which are sorted here. */
static size_t distinct(uintptr_t *x, size_t n) {
    std::sort(x, x + n);
    return (size_t)(std::unique(x, x + n) - x);
}

static void count_global(KernelCounts *c, const Stream &s, const Request &r) {
    uintptr_t sectors[64], words[128];
    size_t n = 0, m = 0, unit = std::min((size_t)s.bytes, (size_t)BANK_BYTES);
    for (uint32_t left = r.lanes; left; left &= left - 1) {
        uintptr_t at = r.at[__builtin_ctz(left)];
        sectors[n++] = at / SECTOR;
        sectors[n++] = (at + (uintptr_t)s.bytes - 1) / SECTOR;
        for (size_t i = 0; i < (size_t)s.bytes; i += unit) words[m++] = (at + i) / unit;
    }
    c->requests++;
    c->sectors += distinct(sectors, n);
    c->sectors_least += (distinct(words, m) * unit + SECTOR - 1) / SECTOR;
    (s.write ? c->bytes_written : c->bytes_read) += (uint64_t)__builtin_popcount(r.lanes) * (uint64_t)s.bytes;
}

/* Lanes go together as far as they fill the banks: 32 of up to 4 bytes, 16 of 8, 8 of 16. */
static void count_shared(KernelCounts *c, const Stream &s, const Request &r) {
    int together = s.bytes <= BANK_BYTES ? 32 : 32 * BANK_BYTES / s.bytes;
    c->shared_requests++;
    for (int first = 0; first < 32; first += together) {
        uintptr_t words[128];
        size_t n = 0, bank_passes = 0;
        for (int l = first; l < first + together; l++)
            if (r.lanes >> l & 1)
                for (int i = 0; i < s.bytes; i += BANK_BYTES) words[n++] = (r.at[l] + (uintptr_t)i) / BANK_BYTES;
        if (!n) continue;
        n = distinct(words, n);
        size_t banks[BANKS] = { 0 };
        for (size_t i = 0; i < n; i++) bank_passes = std::max(bank_passes, ++banks[words[i] % BANKS]);
        c->passes += bank_passes;
        c->passes_least += (n + BANKS - 1) / BANKS;
    }
}

void counters_block_end(SimtBlock *b) {
    if (!counting) return;
    KernelCounts *c = counts_of(*b->launch);
    c->blocks++;
    c->mma += mma;
    mma = 0;
    for (const auto &entry : streams)
        for (const Request &r : entry.second.requests)
            if (entry.second.shared) count_shared(c, entry.second, r);
            else count_global(c, entry.second, r);
    streams.clear();
}

void counters_launch_end(const SimtLaunch &launch) {
    if (counting) counts_of(launch)->launches++;
}

void counters_start(void) {
    counts.clear();
    streams.clear();
    mma = 0;
    counting = 1;
}

const KernelCounts *counters_stop(int *n) {
    counting = 0;
    *n = (int)counts.size();
    return counts.data();
}

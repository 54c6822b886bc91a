/* counters.cpp - see counters.h. Accesses are kept until their block ends, by instruction and warp; the lanes' n-th accesses are then one
 * request. An instruction that only some lanes execute the n-th time is a request of those lanes; at barriers and warp-wide operations
 * lanes come together again. */
#include "tests/simt/counters.h"
#include "tests/simt/sites.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

enum { SECTOR = 32, BANKS = 32, BANK_BYTES = 4, ACCESS = 16 }; /* bytes; the widest access of a lane */

struct Request {
    uint32_t lanes;
    uint8_t bytes[32];
    uintptr_t at[32];
};
struct Stream { /* of one instruction in one warp */
    uintptr_t pc;
    int shared, write;
    uint64_t tick; /* since its newest accesses the warp has waited for nothing */
    uint32_t times[32];
    std::vector<Request> requests;
};

static int counting, paused;
static std::unordered_map<uint64_t, Stream> streams; /* of the running block */
static std::unordered_set<uintptr_t> once[2];        /* sectors read, sectors written, by the running launch */
static uint64_t mma;
static std::vector<KernelCounts> counts, lines;
static std::map<std::pair<size_t, uintptr_t>, KernelCounts> instructions; /* by kernel and pc */

int counters_pause(int pause) {
    int before = paused;
    paused = pause;
    return before;
}

void counters_access(const SimtBlock *b, const void *at, size_t bytes, int thread, uintptr_t pc, int shared, int write) {
    if (!counting || paused) return;
    Stream &s = streams[(uint64_t)pc * 128 + (uint64_t)(thread / 32) * 4 + (uint64_t)write * 2 + (uint64_t)shared];
    uint64_t tick = std::max(b->barrier_tick, b->warps[thread / 32].tick);
    if (s.tick != tick) {
        for (uint32_t &n : s.times) n = (uint32_t)s.requests.size();
        s.pc = pc, s.shared = shared, s.write = write, s.tick = tick;
    }
    for (size_t done = 0; done < bytes; done += ACCESS) {
        uint32_t lane = (uint32_t)thread % 32, n = s.times[lane]++;
        if (s.requests.size() <= n) s.requests.resize(n + 1);
        s.requests[n].lanes |= 1u << lane;
        s.requests[n].bytes[lane] = (uint8_t)std::min(bytes - done, (size_t)ACCESS);
        s.requests[n].at[lane] = (uintptr_t)at + done;
    }
}

void counters_mma(void) { mma += counting; }

static size_t kernel_of(const SimtLaunch &launch) {
    for (size_t i = 0; i < counts.size(); i++)
        if (!strncmp(counts[i].name, launch.name, sizeof counts[i].name - 1)) return i;
    KernelCounts c = {};
    strncpy(c.name, launch.name, sizeof c.name - 1);
    counts.push_back(c);
    return counts.size() - 1;
}

/* Distinct numbers among the first n, which are sorted here. */
static size_t distinct(uintptr_t *x, size_t n) {
    std::sort(x, x + n);
    return (size_t)(std::unique(x, x + n) - x);
}

static void count_global(KernelCounts *c, const Stream &s, const Request &r) {
    uintptr_t sectors[64], halves[32 * ACCESS / 2 + 32];
    size_t n = 0, m = 0;
    for (uint32_t left = r.lanes; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        uintptr_t last = r.at[l] + r.bytes[l] - 1;
        sectors[n++] = r.at[l] / SECTOR;
        sectors[n++] = last / SECTOR;
        for (uintptr_t half = r.at[l] / 2; half <= last / 2; half++) halves[m++] = half;
        (s.write ? c->bytes_written : c->bytes_read) += r.bytes[l];
    }
    n = distinct(sectors, n);
    once[s.write].insert(sectors, sectors + n);
    c->requests++;
    c->sectors += n;
    c->sectors_least += (distinct(halves, m) * 2 + SECTOR - 1) / SECTOR;
}

/* Lanes go together as far as they fill the banks: 32 of up to 4 bytes, 16 of 8, 8 of 16. */
static void count_shared(KernelCounts *c, const Request &r) {
    int widest = *std::max_element(r.bytes, r.bytes + 32), together = widest <= BANK_BYTES ? 32 : 32 * BANK_BYTES / widest;
    c->shared_requests++;
    for (int first = 0; first < 32; first += together) {
        uintptr_t words[160];
        size_t n = 0, bank_passes = 0;
        for (int l = first; l < first + together; l++)
            if (r.lanes >> l & 1)
                for (uintptr_t word = r.at[l] / BANK_BYTES; word <= (r.at[l] + r.bytes[l] - 1) / BANK_BYTES; word++) words[n++] = word;
        if (!n) continue;
        n = distinct(words, n);
        size_t banks[BANKS] = { 0 };
        for (size_t i = 0; i < n; i++) bank_passes = std::max(bank_passes, ++banks[words[i] % BANKS]);
        c->passes += bank_passes;
        c->passes_least += (n + BANKS - 1) / BANKS;
    }
}

static void counts_add(KernelCounts *sum, const KernelCounts &c) {
    sum->requests += c.requests, sum->sectors += c.sectors, sum->sectors_least += c.sectors_least;
    sum->bytes_read += c.bytes_read, sum->bytes_written += c.bytes_written;
    sum->shared_requests += c.shared_requests, sum->passes += c.passes, sum->passes_least += c.passes_least;
}

void counters_block_end(SimtBlock *b) {
    if (!counting) return;
    size_t kernel = kernel_of(*b->launch);
    counts[kernel].blocks++;
    counts[kernel].mma += mma;
    mma = 0;
    for (const auto &entry : streams) {
        const Stream &s = entry.second;
        KernelCounts c = {};
        for (const Request &r : s.requests)
            if (s.shared) count_shared(&c, r);
            else count_global(&c, s, r);
        counts_add(&counts[kernel], c);
        counts_add(&instructions[{ kernel, s.pc }], c);
    }
    streams.clear();
}

void counters_launch_end(const SimtLaunch &launch) {
    if (!counting) return;
    KernelCounts *c = &counts[kernel_of(launch)];
    c->launches++;
    for (auto &sectors : once) {
        c->sectors_once += sectors.size();
        sectors.clear();
    }
}

void counters_start(void) {
    counts.clear();
    instructions.clear();
    streams.clear();
    mma = 0;
    counting = 1;
}

const KernelCounts *counters_stop(int *n) {
    counting = 0;
    *n = (int)counts.size();
    return counts.data();
}

const KernelCounts *counters_lines(int *n) {
    std::vector<uintptr_t> pcs;
    for (const auto &entry : instructions) pcs.push_back(entry.first.second);
    sites_find(pcs.data(), pcs.size());
    lines.clear();
    for (const auto &entry : instructions) {
        SimtSite site = site_of(entry.first.second);
        const KernelCounts &kernel = counts[entry.first.first];
        auto same = [&](const KernelCounts &l) {
            return l.line == site.line && !strcmp(l.name, kernel.name) && !strcmp(l.file, site.file ? site.file : "?");
        };
        auto at = std::find_if(lines.begin(), lines.end(), same);
        if (at == lines.end()) {
            KernelCounts c = {};
            memcpy(c.name, kernel.name, sizeof c.name);
            c.file = site.file ? site.file : "?", c.line = site.line;
            at = lines.insert(at, c);
        }
        counts_add(&*at, entry.second);
    }
    std::stable_sort(lines.begin(), lines.end(),
        [](const KernelCounts &a, const KernelCounts &b) { return a.sectors + a.passes > b.sectors + b.passes; });
    *n = (int)lines.size();
    return lines.data();
}

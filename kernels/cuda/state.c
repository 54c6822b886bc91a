/* state.c - see state.h. Owns the choice of the device, the stream, the account of device memory, scratch, the failure record, and the way
 * of host arrays to and from the device.
 *
 * That way is a ring: pinned host memory in PARTS parts, and device memory of the same shape behind it. A copy from pinned memory is
 * asynchronous, so a part may be written again only when the event recorded on leaving it has passed; on the device the order of the stream
 * is enough. An array larger than a part makes a larger ring; the old ones stay, because what was staged in them may still be read. Their
 * sizes double, so that all together they hold no more than the last. Within a step (graph.c) host arrays go with the step instead, and
 * memory that is given back stays until the step is launched. */
#include "kernels/cuda/state.h"

#include "kernels/cuda/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WITH_SIMT
void simt_memory_name(const void *at, const char *name); /* for the messages of the emulated device (tests/simt/cudart.h) */
#endif

enum { PARTS = CUDA_STAGE_PARTS, RINGS = 32, CAPABILITY_LEAST = 8 };
/* No device this runs on has more. */
static const int64_t ADDRESSES = (int64_t)1 << 47;

typedef struct Ring {
    char *host, *device;
    int64_t part, used; /* bytes of a part; bytes used of the current one */
    int current, left_before[PARTS];
    cudaEvent_t left[PARTS];
} Ring;

typedef struct Block {
    void *at;
    int64_t bytes;
    int is_free; /* kept for the step that is being captured */
} Block;

char cuda_capability[16] = "none";
static struct {
    int is_open, multiprocessors, rings;
    cudaStream_t used; /* in place of `stream` */
    int64_t shared_limit;
    cudaStream_t stream;
    cudaEvent_t arrived[2]; /* of the two pieces of a download that are on the way */
    Ring ring[RINGS];       /* the last one is in use */
    Block scratch[CUDA_SCRATCH_USES], *blocks;
    size_t blocks_n, blocks_cap;
    int64_t bytes_live, bytes_peak;
} state;

/* ---- failures ---- */

static int failed;
static Error failure;

static void failure_fill(const char *what, const char *where, const char *format, va_list args) {
    if (failed) return;
    failed = 1;
    error_what(&failure, "%s", what);
    error_where(&failure, "%s", where);
    vsnprintf(failure.found, sizeof failure.found, format, args);
}

void cuda_failure_set(const char *what, const char *format, ...) {
    va_list args;
    va_start(args, format);
    failure_fill(what, "cuda backend", format, args);
    va_end(args);
}

int cuda_failed(void) { return failed; }

int cuda_failure_take(Error *e) {
    if (!failed) return 0;
    failed = 0;
    graph_spoil();
    if (e) *e = failure;
    return -1;
}

/* "cudaMalloc" of "cudaMalloc(&at, bytes)" */
static int name_length(const char *call) { return (int)strcspn(call, "("); }

int cuda_check(cudaError_t code, const char *call, const char *file, int line) {
    if (code == cudaSuccess) return 0;
    cudaGetLastError(); /* or the next launch would find it */
    if (failed) return -1;
    failed = 1;
    error_what(&failure, "%.*s failed", name_length(call), call);
    error_where(&failure, "%s:%d", file, line);
    error_found(&failure, "%s (%s)", cudaGetErrorString(code), cudaGetErrorName(code));
    return -1;
}

/* ---- waiting ---- */

static void (*wait_before)(void), (*wait_after)(void);

void cuda_waits_watch(void (*before)(void), void (*after)(void)) { wait_before = before, wait_after = after; }

int cuda_stream_wait(void) {
    if (wait_before) wait_before();
    int bad = CUDA_TRY(cudaStreamSynchronize(state.stream));
    if (wait_after) wait_after();
    return bad;
}

int cuda_event_wait(cudaEvent_t event) {
    if (wait_before) wait_before();
    int bad = CUDA_TRY(cudaEventSynchronize(event));
    if (wait_after) wait_after();
    return bad;
}

/* ---- the device ---- */

static int refuse(Error *e, cudaError_t code, const char *call) {
    cudaGetLastError();
    error_what(e, "cannot use the GPU");
    error_found(e, "%s: %s (%s)", call, cudaGetErrorString(code), cudaGetErrorName(code));
    return error_hint(e, "use --device cpu");
}

static int device_index;

void cuda_device_choose(int index) { device_index = index; }

static int device_find(Error *e) {
    int devices = 0, driver = 0, runtime = 0;
    cudaError_t code = cudaGetDeviceCount(&devices);
    if (code == cudaErrorInsufficientDriver) {
        cudaGetLastError();
        code = cudaDriverGetVersion(&driver);
        if (!code) code = cudaRuntimeGetVersion(&runtime);
        if (code) return refuse(e, code, "version");
        error_what(e, driver ? "the NVIDIA driver is too old" : "there is no NVIDIA driver");
        if (driver) error_found(e, "a driver for CUDA %d.%d", driver / 1000, driver % 1000 / 10);
        error_expected(e, "a driver for CUDA %d.%d", runtime / 1000, runtime % 1000 / 10);
        return error_hint(e, "use --device cpu");
    }
    if (code == cudaErrorNoDevice || (!code && !devices)) {
        cudaGetLastError();
        return error_what(e, "there is no GPU that CUDA can use"), error_hint(e, "use --device cpu");
    }
    if (code) return refuse(e, code, "cudaGetDeviceCount");
    code = devices > 1 ? cudaSetDevice(device_index % devices) : cudaSuccess;
    return code ? refuse(e, code, "cudaSetDevice") : 0;
}

static int device_accept(Error *e) {
    int device = 0, major = 0, minor = 0, shared = 0;
    struct cudaDeviceProp properties;
    cudaError_t code = cudaGetDevice(&device);
    if (!code) code = cudaGetDeviceProperties(&properties, device);
    if (code) return refuse(e, code, "cudaGetDeviceProperties");
    major = properties.major, minor = properties.minor;
    if (major < CAPABILITY_LEAST) {
        error_what(e, "the GPU is too old");
        error_found(e, "%s, compute capability %d.%d", properties.name, major, minor);
        error_expected(e, "compute capability %d.0 or more", CAPABILITY_LEAST);
        return error_hint(e, "use --device cpu, or choose another GPU with CUDA_VISIBLE_DEVICES");
    }
    snprintf(cuda_capability, sizeof cuda_capability, "sm_%d%d", major, minor);
    shared = (int)properties.sharedMemPerBlockOptin;
    state.multiprocessors = properties.multiProcessorCount;
    state.shared_limit = shared;
    return 0;
}

static int ring_add(int64_t part);
static void state_close(void);

int cuda_open(Error *e) {
    if (state.is_open) return 0;
    if (device_find(e) || device_accept(e)) return -1;
    failed = 0;
    if (CUDA_TRY(cudaStreamCreateWithFlags(&state.stream, cudaStreamNonBlocking)) ||
        CUDA_TRY(cudaEventCreateWithFlags(&state.arrived[0], cudaEventDisableTiming)) ||
        CUDA_TRY(cudaEventCreateWithFlags(&state.arrived[1], cudaEventDisableTiming)) || ring_add(CUDA_STAGE_KEPT)) {
        state_close();
        cuda_failure_take(e);
        return error_hint(e, "use --device cpu");
    }
    state.is_open = 1;
    return atexit(state_close) ? error_what(e, "atexit failed") : 0;
}

cudaStream_t cuda_stream(void) { return state.used ? state.used : state.stream; }
void cuda_stream_use(cudaStream_t stream) { state.used = stream; }
int cuda_multiprocessors(void) { return state.multiprocessors; }
int64_t cuda_shared_limit(void) { return state.shared_limit; }

/* ---- memory ---- */

void *cuda_memory_new(int64_t bytes, const char *what, Error *e) {
    if (bytes < 0 || bytes > ADDRESSES) {
        error_what(e, "cannot allocate %s", what);
        error_found(e, "%lld bytes", (long long)bytes);
        return NULL;
    }
    void *at = NULL;
    if (mem_grow(&state.blocks, &state.blocks_cap, state.blocks_n + 1, sizeof *state.blocks, what, e)) return NULL;
    cudaError_t code = cudaMalloc(&at, bytes ? (size_t)bytes : 1);
    if (code == cudaErrorMemoryAllocation) {
        size_t free = 0, total = 0;
        cudaGetLastError();
        error_what(e, "out of memory for %s", what);
        if (cudaMemGetInfo(&free, &total)) cudaGetLastError();
        error_found(e, "no room for %lld bytes: %zu of the device's %zu are free", (long long)bytes, free, total);
        error_hint(e, "use a smaller batch or model, or dtype = bf16");
        return NULL;
    }
    if (code) {
        cudaGetLastError();
        error_what(e, "cannot allocate %s", what);
        error_found(e, "cudaMalloc of %lld bytes: %s (%s)", (long long)bytes, cudaGetErrorString(code), cudaGetErrorName(code));
        return NULL;
    }
#ifdef WITH_SIMT
    simt_memory_name(at, what);
#endif
    state.blocks[state.blocks_n++] = (Block){ at, bytes, 0 };
    state.bytes_live += bytes;
    if (state.bytes_live > state.bytes_peak) state.bytes_peak = state.bytes_live;
    return at;
}

void cuda_memory_free(void *at) {
    if (!at) return;
    size_t i = 0;
    while (i < state.blocks_n && (state.blocks[i].at != at || state.blocks[i].is_free)) i++;
    if (i == state.blocks_n) {
        cuda_failure_set("memory is freed that was not allocated", "%p", at);
        return;
    }
    if (cuda_step_number()) {
        state.blocks[i].is_free = 1;
        return;
    }
    state.bytes_live -= state.blocks[i].bytes;
    state.blocks[i] = state.blocks[--state.blocks_n];
    cuda_stream_wait();
    CUDA_TRY(cudaFree(at));
}

void cuda_memory_free_kept(void) {
    for (size_t i = state.blocks_n; i-- > 0;) {
        if (!state.blocks[i].is_free) continue;
        state.blocks[i].is_free = 0;
        cuda_memory_free(state.blocks[i].at);
    }
}

int64_t cuda_memory_peak(void) { return state.bytes_peak; }

#define SCRATCH_TEXT(use, text) text,
static const char *const scratch_names[] = { CUDA_SCRATCH_LIST(SCRATCH_TEXT) };
#undef SCRATCH_TEXT

void *cuda_scratch(CudaScratch use, int64_t bytes) {
    Block *s = &state.scratch[use];
    if (failed) return NULL;
    if (s->at && s->bytes >= bytes) return s->at;
    Error e;
    int64_t want = scratch_size(bytes);
    cuda_memory_free(s->at);
    s->at = cuda_memory_new(want, scratch_names[use], &e);
    if (!s->at) s->at = cuda_memory_new(want = bytes, scratch_names[use], &e);
    s->bytes = s->at ? want : 0;
    if (!s->at) cuda_failure_set(e.what, "%s", e.found);
    return s->at;
}

/* ---- the ring ---- */

static Ring *ring_last(void) { return &state.ring[state.rings - 1]; }

static void ring_free(Ring *r) {
    for (int p = 0; p < PARTS; p++)
        if (r->left[p]) CUDA_TRY(cudaEventDestroy(r->left[p]));
    cuda_memory_free(r->device);
    if (r->host) CUDA_TRY(cudaFreeHost(r->host));
    *r = (Ring){ 0 };
}

static int ring_add(int64_t part) {
    Error e;
    if (state.rings == RINGS) return cuda_failure_set("cannot stage a host array", "%lld bytes", (long long)part), -1;
    Ring *r = &state.ring[state.rings];
    *r = (Ring){ .part = part };
    int bad = CUDA_TRY(cudaMallocHost((void **)&r->host, (size_t)(PARTS * part)));
    for (int p = 0; p < PARTS && !bad; p++) bad = CUDA_TRY(cudaEventCreateWithFlags(&r->left[p], cudaEventDisableTiming));
    if (!bad && !(r->device = cuda_memory_new(PARTS * part, "host arrays on their way", &e))) {
        cuda_failure_set(e.what, "%s", e.found);
        bad = -1;
    }
    if (bad) return ring_free(r), -1;
    state.rings++;
    return 0;
}

/* The offset in the last ring of a run of at most `part` bytes that the host may write, or -1. */
static int64_t ring_take(int64_t bytes) {
    Ring *r = ring_last();
    bytes = (bytes + CUDA_STAGE_ALIGN - 1) / CUDA_STAGE_ALIGN * CUDA_STAGE_ALIGN;
    if (r->used + bytes > r->part) {
        if (CUDA_TRY(cudaEventRecord(r->left[r->current], state.stream))) return -1;
        r->left_before[r->current] = 1;
        r->current = (r->current + 1) % PARTS;
        r->used = 0;
        if (r->left_before[r->current] && cuda_event_wait(r->left[r->current])) return -1;
    }
    int64_t at = r->current * r->part + r->used;
    r->used += bytes;
    return at;
}

const void *cuda_stage(const void *host, int64_t bytes) {
    int64_t part = ring_last()->part;
    if (failed) return NULL;
    if (cuda_step_number()) return graph_stage(host, bytes);
    while (part < bytes) part *= 2;
    if (part > ring_last()->part && ring_add(part)) return NULL;
    Ring *r = ring_last();
    int64_t at = ring_take(bytes);
    if (at < 0) return NULL;
    if (!bytes) return r->device + at;
    memcpy(r->host + at, host, (size_t)bytes);
    return CUDA_TRY(cudaMemcpyAsync(r->device + at, r->host + at, (size_t)bytes, cudaMemcpyHostToDevice, state.stream)) ? NULL
                                                                                                                        : r->device + at;
}

typedef struct Piece {
    int64_t at, done, bytes; /* where in the ring; bytes before it; its own */
} Piece;

static int piece_next(Piece *p, int64_t done, int64_t bytes) {
    int64_t part = ring_last()->part;
    *p = (Piece){ 0, done, bytes - done < part ? bytes - done : part };
    p->at = ring_take(p->bytes);
    return p->at < 0 ? -1 : 0;
}

/* Within a step: a copy on the device, from where the array stands when the step runs. */
static void step_upload(void *to, const void *from, int64_t bytes) {
    const void *staged = cuda_stage(from, bytes);
    if (staged && bytes > 0) CUDA_TRY(cudaMemcpyAsync(to, staged, (size_t)bytes, cudaMemcpyDeviceToDevice, state.stream));
}

void cuda_bytes_upload(void *to, const void *from, int64_t bytes) {
    if (cuda_step_number()) {
        step_upload(to, from, bytes);
        return;
    }
    char *host = ring_last()->host;
    Piece p;
    for (int64_t done = 0; done < bytes && !failed; done += p.bytes) {
        if (piece_next(&p, done, bytes)) return;
        memcpy(host + p.at, (const char *)from + done, (size_t)p.bytes);
        CUDA_TRY(cudaMemcpyAsync((char *)to + done, host + p.at, (size_t)p.bytes, cudaMemcpyHostToDevice, state.stream));
    }
}

static int piece_queue(Piece *p, const void *from, cudaEvent_t arrived) {
    return CUDA_TRY(cudaMemcpyAsync(
               ring_last()->host + p->at, (const char *)from + p->done, (size_t)p->bytes, cudaMemcpyDeviceToHost, state.stream)) ||
           CUDA_TRY(cudaEventRecord(arrived, state.stream));
}

static int piece_arrive(const Piece *p, void *to, cudaEvent_t arrived) {
    if (cuda_event_wait(arrived)) return -1;
    memcpy((char *)to + p->done, ring_last()->host + p->at, (size_t)p->bytes);
    return 0;
}

/* While one piece is copied out of pinned memory, the next is on the way. */
void cuda_bytes_download(void *to, const void *from, int64_t bytes) {
    Piece pieces[2];
    int64_t queued = 0;
    if (cuda_step_number()) cuda_failure_set("a download within a step", "%lld bytes", (long long)bytes);
    int bad = failed, turn = 0, on_way = 0;
    while (!bad && (queued < bytes || on_way)) {
        int more = queued < bytes;
        if (more) {
            bad = piece_next(&pieces[turn], queued, bytes) || piece_queue(&pieces[turn], from, state.arrived[turn]);
            queued += pieces[turn].bytes;
        }
        if (!bad && on_way) bad = piece_arrive(&pieces[!turn], to, state.arrived[!turn]);
        on_way = more;
        turn = !turn;
    }
    if (bad) memset(to, 0, (size_t)bytes); /* numbers that callers may use before they ask sync */
}

static void state_close(void) {
    graph_close();
    for (int use = 0; use < CUDA_SCRATCH_USES; use++) cuda_memory_free(state.scratch[use].at);
    while (state.rings) ring_free(&state.ring[--state.rings]);
    for (int i = 0; i < 2; i++)
        if (state.arrived[i]) CUDA_TRY(cudaEventDestroy(state.arrived[i]));
    if (state.stream) CUDA_TRY(cudaStreamDestroy(state.stream));
    free(state.blocks);
    memset(&state, 0, sizeof state);
}

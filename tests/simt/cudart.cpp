/* cudart.cpp - the calls of the emulated CUDA runtime: which of them fail, streams as queues, events, copies, the device. See cudart.h. */
#include "tests/simt/cudart.h"
#include "tests/simt/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <unistd.h>

/* ---- settings and failures ---- */

int64_t runtime_setting(const char *name, int64_t otherwise) {
    const char *text = getenv(name);
    if (!text || !*text) return otherwise;
    char *end;
    long long value = strtoll(text, &end, 10);
    if (*end) runtime_fail("%s is %s; expected a whole number", name, text);
    return value;
}

static cudaError_t last_error, lasting_error;
static uint64_t calls;
static int handles;      /* streams, events, graphs and what other libraries have made */
static int frees_failed; /* as planned, or because an earlier error stays */

cudaError_t runtime_failed(cudaError_t code) { return last_error = code; }

void runtime_handle(int by) { handles += by; }

static void leaks_report(void) {
    if (frees_failed || (!memory_leaks() && !handles)) return;
    if (handles) fprintf(stderr, "simt: not destroyed: %d streams, events, graphs or handles\n", handles);
    fflush(NULL);
    _exit(23); /* as LeakSanitizer does */
}

static int is_among(const char *name, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, names[i])) return 1;
    return 0;
}

/* What the call to fail fails with: what the real one most likely would. */
static cudaError_t planned_failure(const char *name) {
    static const char *const memory[] = { "cudaMalloc", "cudaMallocHost", "cudaHostAlloc", "cudaMallocAsync", "cudaGraphInstantiate" };
    static const char *const waiting[] = { "cudaStreamSynchronize", "cudaEventSynchronize", "cudaDeviceSynchronize", "cudaMemcpy" };
    if (is_among(name, memory, sizeof memory / sizeof *memory)) return cudaErrorMemoryAllocation;
    if (is_among(name, waiting, sizeof waiting / sizeof *waiting)) return lasting_error = cudaErrorIllegalAddress;
    return cudaErrorUnknown;
}

static FILE *calls_log;

void runtime_calls_restart(void) {
    const char *path = getenv("SIMT_CALLS");
    calls = 0;
    if (!path) return;
    if (!(calls_log = fopen(path, "w"))) runtime_fail("cannot write %s", path);
    setvbuf(calls_log, NULL, _IOLBF, 0);
}

cudaError_t runtime_call(const char *name) {
    static int called;
    if (!called) {
        called = 1;
        if (atexit(leaks_report)) runtime_fail("no atexit");
        runtime_calls_restart();
    }
    calls++;
    if (calls_log) fprintf(calls_log, "%s\n", name);
    cudaError_t code = lasting_error;
    if (!code && calls == (uint64_t)runtime_setting("SIMT_FAIL_CALL", 0)) code = planned_failure(name);
    if (!code) return cudaSuccess;
    if (strstr(name, "Free") || strstr(name, "Destroy")) frees_failed = 1;
    return runtime_failed(code);
}
/* Ends a call that something forbids. */
#define UNLESS(error)                                                                                                                      \
    do {                                                                                                                                   \
        cudaError_t unless_error_ = (error);                                                                                               \
        if (unless_error_) return unless_error_;                                                                                           \
    } while (0)

static uint64_t random_state;
static unsigned random_below(unsigned n) {
    if (!random_state) random_state = ((uint64_t)runtime_setting("SIMT_SEED", 0) + 1) * 0x9E3779B97F4A7C15u;
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    return (unsigned)((random_state >> 32) * n >> 32);
}
static int schedule_is_random(void) {
    const char *s = getenv("SIMT_SCHEDULE");
    return s && !strcmp(s, "random");
}

/* ---- queues ---- */

struct CUevent_st {
    std::shared_ptr<Record> record;
};

static std::vector<cudaStream_t> streams;
static CUstream_st default_stream;
enum { QUEUE_MOST = 100000, PROGRESS = 4, SHARED_PAUSE = 50 /* microseconds */ };

static int stream_is(cudaStream_t s) {
    for (cudaStream_t each : streams)
        if (each == s) return 1;
    return 0;
}

static int ready(const CUstream_st *s) {
    if (s->queue.empty()) return 0;
    const Work &w = s->queue.front();
    return !w.waits || w.waits->done >= w.until;
}

enum Progress { NOTHING_READY, OTHERS_AWAITED, WORKED };

/* Runs one piece of work of a stream that is ready. Device memory stays in sight until the caller shuts it. */
static Progress work_run(void) {
    std::vector<cudaStream_t> choice;
    Progress progress = NOTHING_READY;
    for (cudaStream_t s : streams)
        if (ready(s)) choice.push_back(s);
    while (!choice.empty()) {
        size_t i = schedule_is_random() ? random_below((unsigned)choice.size()) : 0;
        cudaStream_t s = choice[i];
        memory_show(1);
        if (s->queue.front().advance) {
            progress = OTHERS_AWAITED;
            if (!s->queue.front().advance()) {
                choice.erase(choice.begin() + (ptrdiff_t)i);
                continue;
            }
        }
        Work w = std::move(s->queue.front());
        s->queue.pop_front();
        if (w.run) w.run();
        return WORKED;
    }
    return progress;
}

int simt_progress(void) {
    int worked = work_run() == WORKED;
    memory_show(0);
    return worked;
}

/* Runs work until the condition holds. */
template <typename F> static void run_until(F holds) {
    while (!holds()) {
        Progress progress = work_run();
        if (progress == NOTHING_READY) runtime_fail("the host waits for work that waits for an event which nobody records");
        if (progress == OTHERS_AWAITED) usleep(SHARED_PAUSE);
    }
    memory_show(0);
}

static void stream_drain(cudaStream_t s) {
    run_until([s]() { return s->queue.empty(); });
}
static void all_drain(void) {
    for (cudaStream_t s : streams) stream_drain(s);
}

void runtime_queue(cudaStream_t s, Work w) {
    if (capture_takes(s, w)) return;
    if (!s) { /* the default stream: after the streams that wait for it, at once */
        for (cudaStream_t each : streams)
            if (each->waits_for_default) stream_drain(each);
        memory_show(1);
        if (w.run) w.run();
        memory_show(0);
        return;
    }
    s->queue.push_back(std::move(w));
    if (s->queue.size() > QUEUE_MOST) stream_drain(s);
    if (schedule_is_random())
        for (unsigned n = random_below(PROGRESS); n > 0 && work_run() == WORKED; n--) {}
    memory_show(0);
}

void runtime_stream_check(const char *call, cudaStream_t s) {
    if (s && !stream_is(s)) runtime_fail("%s: no such stream", call);
}

static Work work_of(WorkKind kind, std::function<void()> run) { return Work{ kind, 0, std::move(run), nullptr, 0, nullptr }; }

void runtime_queue_shared(cudaStream_t stream, std::function<int()> advance) {
    if (!stream || !stream_is(stream)) runtime_fail("work that needs other processes is for streams that were made");
    if (stream->capture) runtime_fail("work that needs other processes is not captured");
    runtime_queue(stream, Work{ WORK_EVENT, 0, nullptr, nullptr, 0, std::move(advance) });
}

int simt_enqueue(SimtLaunch launch, cudaStream_t stream) {
    cudaError_t code = runtime_call(launch.name);
    uint64_t threads = (uint64_t)launch.block.x * launch.block.y * launch.block.z;
    runtime_stream_check(launch.name, stream);
    if (!code && (!launch.grid.x || !launch.grid.y || !launch.grid.z || launch.grid.x > INT32_MAX || launch.grid.y > 65535 ||
                     launch.grid.z > 65535 || !threads || threads > 1024 || launch.block.z > 64))
        code = cudaErrorInvalidConfiguration;
    if (!code && launch.shared_bytes > SHARED_MOST) code = cudaErrorInvalidValue;
    if (!code) code = capture_refuses_work(stream);
    last_error = cudaSuccess; /* a launch reports by cudaGetLastError, which clears */
    if (!code) runtime_queue(stream, work_of(WORK_KERNEL, [launch]() { simt_run(launch); }));
    return code;
}

/* ---- streams and events ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
    RUNTIME_CALL();
    *out = new CUstream_st{ {}, flags != cudaStreamNonBlocking, cudaStreamCaptureStatusNone, {} };
    streams.push_back(*out);
    runtime_handle(1);
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *out) { return cudaStreamCreateWithFlags(out, cudaStreamDefault); }

/* What is queued still runs. */
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    RUNTIME_CALL();
    runtime_stream_check(__func__, s);
    if (s->capture) runtime_fail("%s: the stream captures", __func__);
    stream_drain(s);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == s) streams.erase(streams.begin() + (ptrdiff_t)i);
    delete s;
    runtime_handle(-1);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    RUNTIME_CALL();
    runtime_stream_check(__func__, s);
    UNLESS(capture_refuses_wait(s));
    if (s) stream_drain(s);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t s) {
    RUNTIME_CALL();
    runtime_stream_check(__func__, s);
    UNLESS(capture_refuses_wait(s));
    if (s && !s->queue.empty()) work_run(), memory_show(0);
    return !s || s->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize(void) {
    RUNTIME_CALL();
    UNLESS(capture_refuses_wait(NULL));
    all_drain();
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t event, unsigned) {
    RUNTIME_CALL();
    runtime_stream_check(__func__, s);
    if (!event) return runtime_failed(cudaErrorInvalidResourceHandle);
    std::shared_ptr<Record> r = event->record;
    uint64_t until = r->queued;
    UNLESS(capture_refuses_work(s));
    UNLESS(capture_waits(s, *r));
    if (!s) run_until([r, until]() { return r->done >= until; });
    else if (!s->capture) runtime_queue(s, Work{ WORK_EVENT, 0, nullptr, r, until, nullptr }); /* a capture's nodes are in order already */
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned) {
    RUNTIME_CALL();
    *out = new CUevent_st{ std::make_shared<Record>() };
    runtime_handle(1);
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *out) { return cudaEventCreateWithFlags(out, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    RUNTIME_CALL();
    if (!event) return runtime_failed(cudaErrorInvalidResourceHandle);
    delete event;
    runtime_handle(-1);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t s) {
    RUNTIME_CALL();
    runtime_stream_check(__func__, s);
    if (!event) return runtime_failed(cudaErrorInvalidResourceHandle);
    std::shared_ptr<Record> r = event->record;
    UNLESS(capture_refuses_work(s));
    r->captured = s && s->capture;
    if (r->captured) return cudaSuccess; /* names a place among the nodes, and is none */
    uint64_t number = ++r->queued;
    runtime_queue(s, work_of(WORK_EVENT, [r, number]() {
        r->done = number;
        clock_gettime(CLOCK_MONOTONIC, &r->at);
    }));
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    RUNTIME_CALL();
    if (!event) return runtime_failed(cudaErrorInvalidResourceHandle);
    std::shared_ptr<Record> r = event->record;
    UNLESS(capture_refuses_event(*r));
    run_until([r]() { return r->done >= r->queued; });
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    RUNTIME_CALL();
    if (!event) return runtime_failed(cudaErrorInvalidResourceHandle);
    UNLESS(capture_refuses_event(*event->record));
    if (event->record->done < event->record->queued) work_run(), memory_show(0);
    return event->record->done < event->record->queued ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
    RUNTIME_CALL();
    UNLESS(capture_refuses_event(*from->record));
    UNLESS(capture_refuses_event(*to->record));
    if (!from->record->done || !to->record->done || from->record->done < from->record->queued || to->record->done < to->record->queued)
        return runtime_failed(cudaErrorNotReady);
    *ms = (float)((double)(to->record->at.tv_sec - from->record->at.tv_sec) * 1e3 +
                  (double)(to->record->at.tv_nsec - from->record->at.tv_nsec) * 1e-6);
    return cudaSuccess;
}

/* ---- memory ---- */

cudaError_t cudaMalloc(void **out, size_t bytes) {
    RUNTIME_CALL();
    *out = memory_new(MEMORY_DEVICE, bytes);
    return *out ? cudaSuccess : runtime_failed(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *at) {
    RUNTIME_CALL();
    UNLESS(capture_refuses_wait(NULL));
    all_drain();
    return !at || !memory_free(MEMORY_DEVICE, at) ? cudaSuccess : runtime_failed(cudaErrorInvalidValue);
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned) {
    RUNTIME_CALL();
    *out = memory_new(MEMORY_PINNED, bytes);
    return *out ? cudaSuccess : runtime_failed(cudaErrorMemoryAllocation);
}
cudaError_t cudaMallocHost(void **out, size_t bytes) { return cudaHostAlloc(out, bytes, cudaHostAllocDefault); }

cudaError_t cudaFreeHost(void *at) {
    RUNTIME_CALL();
    UNLESS(capture_refuses_wait(NULL));
    all_drain();
    return !at || !memory_free(MEMORY_PINNED, at) ? cudaSuccess : runtime_failed(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    RUNTIME_CALL();
    memory_info(free_bytes, total);
    return cudaSuccess;
}

/* A copy of rows, checked when it is queued and again when it runs. */
struct Copy {
    char *to;
    const char *from;
    size_t to_pitch, from_pitch, width, height;
    int to_device, from_device;
};

static size_t span(size_t pitch, const Copy &c) { return c.height ? pitch * (c.height - 1) + c.width : 0; }

static void copy_check(const char *call, const Copy &c) {
    if (c.to_device) memory_check(call, c.to, span(c.to_pitch, c));
    else if (memory_is(MEMORY_DEVICE, c.to)) runtime_fail("%s: a copy to the host is to device memory", call);
    if (c.from_device) memory_check(call, c.from, span(c.from_pitch, c));
    else if (memory_is(MEMORY_DEVICE, c.from)) runtime_fail("%s: a copy from the host is from device memory", call);
}

static void copy_run(const char *call, const Copy &c) {
    copy_check(call, c);
    for (size_t row = 0; row < c.height; row++) {
        char *to = c.to + row * c.to_pitch;
        const char *from = c.from + row * c.from_pitch;
        if (to < from + c.width && from < to + c.width && c.to_device && c.from_device) runtime_fail("%s: the ranges overlap", call);
        memcpy(to, from, c.width);
        if (c.to_device) memory_written(to, c.width);
    }
}

/* Queues a copy as the runtime does: pageable memory of the host is read at once, and is written before the call returns. */
static cudaError_t copy_queue(const char *call, Copy c, cudaMemcpyKind kind, cudaStream_t s, int wait) {
    runtime_stream_check(call, s);
    c.to_device = kind == cudaMemcpyDefault ? memory_is(MEMORY_DEVICE, c.to) : kind & 1;
    c.from_device = kind == cudaMemcpyDefault ? memory_is(MEMORY_DEVICE, c.from) : kind >> 1 & 1;
    if (wait) UNLESS(capture_refuses_wait(s));
    UNLESS(capture_refuses_work(s));
    if (!c.width || !c.height) return cudaSuccess;
    copy_check(call, c);
    Work w = { WORK_COPY, c.from_device << 1 | c.to_device, [call, c]() { copy_run(call, c); }, nullptr, 0, nullptr };
    int captures = s && s->capture; /* then memory of the host is read and written when the graph runs */
    if (!captures && c.to_device && !c.from_device && !memory_is(MEMORY_PINNED, c.from)) {
        auto kept = std::make_shared<std::string>(c.from, span(c.from_pitch, c));
        c.from = kept->data();
        w.run = [call, c, kept]() { copy_run(call, c); };
    }
    runtime_queue(s, w);
    if (s && !captures && (wait || (!c.to_device && !memory_is(MEMORY_PINNED, c.to)))) stream_drain(s);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s) {
    RUNTIME_CALL();
    return copy_queue(__func__, Copy{ (char *)to, (const char *)from, bytes, bytes, bytes, 1, 0, 0 }, kind, s, 0);
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    RUNTIME_CALL();
    return copy_queue(__func__, Copy{ (char *)to, (const char *)from, bytes, bytes, bytes, 1, 0, 0 }, kind, NULL, 1);
}
cudaError_t cudaMemcpy2DAsync(
    void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t s) {
    RUNTIME_CALL();
    if (width > to_pitch || width > from_pitch) return runtime_failed(cudaErrorInvalidPitchValue);
    return copy_queue(__func__, Copy{ (char *)to, (const char *)from, to_pitch, from_pitch, width, height, 0, 0 }, kind, s, 0);
}

cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t s) {
    RUNTIME_CALL();
    runtime_stream_check(__func__, s);
    UNLESS(capture_refuses_work(s));
    memory_check(__func__, at, bytes);
    runtime_queue(s, work_of(WORK_MEMSET, [at, value, bytes]() {
        memory_check("cudaMemsetAsync", at, bytes);
        memset(at, value, bytes);
        memory_written(at, bytes);
    }));
    return cudaSuccess;
}
cudaError_t cudaMemset(void *at, int value, size_t bytes) { return cudaMemsetAsync(at, value, bytes, NULL); }

/* ---- the device ---- */

/* An H100, unless SIMT_DEVICE says otherwise. */
static const char *device_setting(void) {
    const char *s = getenv("SIMT_DEVICE");
    return s && *s ? s : "9.0";
}

static int device_now;
static int devices(void) { return (int)runtime_setting("SIMT_DEVICES", 1); }

cudaError_t cudaGetDeviceCount(int *n) {
    RUNTIME_CALL();
    *n = 0;
    if (!strcmp(device_setting(), "none")) return runtime_failed(cudaErrorNoDevice);
    if (!strcmp(device_setting(), "nodriver")) return runtime_failed(cudaErrorInsufficientDriver);
    *n = devices();
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    RUNTIME_CALL();
    *version = strcmp(device_setting(), "nodriver") ? CUDART_VERSION : 0;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    RUNTIME_CALL();
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
    RUNTIME_CALL();
    *device = device_now;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    RUNTIME_CALL();
    if (device < 0 || device >= devices()) return runtime_failed(cudaErrorInvalidDevice);
    if (device != device_now && !streams.empty()) runtime_fail("cudaSetDevice: the device is in use already");
    device_now = device;
    return cudaSuccess;
}

static void properties_fill(struct cudaDeviceProp *p) {
    size_t free_bytes = 0;
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "emulated device");
    if (sscanf(device_setting(), "%d.%d", &p->major, &p->minor) != 2) runtime_fail("SIMT_DEVICE is %s", device_setting());
    memory_info(&free_bytes, &p->totalGlobalMem);
    p->multiProcessorCount = (int)runtime_setting("SIMT_MULTIPROCESSORS", 132);
    p->sharedMemPerBlock = SHARED_STATIC_MOST;
    p->sharedMemPerBlockOptin = SHARED_MOST;
    p->sharedMemPerMultiprocessor = SHARED_MOST + 1024;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsPerMultiProcessor = 2048;
    p->l2CacheSize = 50 << 20;
    p->memoryBusWidth = 5120;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
    RUNTIME_CALL();
    if (device < 0 || device >= devices()) return runtime_failed(cudaErrorInvalidDevice);
    properties_fill(p);
    int owner = getenv("SIMT_DEVICES") ? 0 : (int)getpid();
    memcpy(p->uuid.bytes, &owner, sizeof owner);
    memcpy(p->uuid.bytes + sizeof owner, &device, sizeof device);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
    RUNTIME_CALL();
    if (device < 0 || device >= devices()) return runtime_failed(cudaErrorInvalidDevice);
    struct cudaDeviceProp p;
    properties_fill(&p);
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
        *value = p.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = p.minor;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = p.multiProcessorCount;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)p.sharedMemPerBlockOptin;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = (int)p.sharedMemPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = (int)p.sharedMemPerMultiprocessor;
        break;
    case cudaDevAttrL2CacheSize:
        *value = p.l2CacheSize;
        break;
    default:
        runtime_fail("cudaDeviceGetAttribute: attribute %d is not emulated", (int)attribute);
    }
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute attribute, int value) {
    RUNTIME_CALL();
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && (value < 0 || value > SHARED_MOST))
        return runtime_failed(cudaErrorInvalidValue);
    return cudaSuccess;
}

/* ---- errors ---- */

cudaError_t cudaGetLastError(void) {
    cudaError_t code = last_error;
    last_error = lasting_error;
    return code;
}
cudaError_t cudaPeekAtLastError(void) { return last_error; }

#define ERRORS(E)                                                                                                                          \
    E(cudaSuccess, "no error")                                                                                                             \
    E(cudaErrorInvalidValue, "invalid argument")                                                                                           \
    E(cudaErrorMemoryAllocation, "out of memory")                                                                                          \
    E(cudaErrorInvalidConfiguration, "invalid configuration argument")                                                                     \
    E(cudaErrorInvalidPitchValue, "invalid pitch argument")                                                                                \
    E(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version")                                         \
    E(cudaErrorNoDevice, "no CUDA-capable device is detected")                                                                             \
    E(cudaErrorInvalidDevice, "invalid device ordinal")                                                                                    \
    E(cudaErrorInvalidResourceHandle, "invalid resource handle")                                                                           \
    E(cudaErrorIllegalState, "the operation cannot be performed in the present state")                                                     \
    E(cudaErrorNotReady, "device not ready")                                                                                               \
    E(cudaErrorIllegalAddress, "an illegal memory access was encountered")                                                                 \
    E(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")                                               \
    E(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture")                                        \
    E(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream")                                          \
    E(cudaErrorStreamCaptureImplicit, "operation would make the legacy stream depend on a capturing blocking stream")                      \
    E(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream")                                   \
    E(cudaErrorGraphExecUpdateFailure, "the graph update was not performed")                                                               \
    E(cudaErrorUnknown, "unknown error")
const char *cudaGetErrorString(cudaError_t code) {
    switch (code) {
#define TEXT(name, text)                                                                                                                   \
    case name:                                                                                                                             \
        return text;
        ERRORS(TEXT)
#undef TEXT
    default:
        return "unrecognized error code";
    }
}
const char *cudaGetErrorName(cudaError_t code) {
    switch (code) {
#define NAME(name, text)                                                                                                                   \
    case name:                                                                                                                             \
        return #name;
        ERRORS(NAME)
#undef NAME
    default:
        return "unrecognized error code";
    }
}

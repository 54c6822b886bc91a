/* cudart_test.cpp - the emulated runtime: what it lets pass, and that what it must not let pass ends with the right message.
 *
 * What ends a process is tried in a child, whose exit and stderr are looked at. */
extern "C" {
#include "kernels/kernels.h"
}
#include "kernels/cuda/device.cuh"
#include "tests/simt/cudart.h"
#include "tests/simt/engine.h"

#include <setjmp.h>
#include <stdarg.h>
extern "C" {
#include <cmocka.h>
}
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEEDS = 20, N = 100 };

static void ok(cudaError_t code) {
    if (code) fail_msg("%s", cudaGetErrorName(code));
}

/* ---- children ---- */

static char said[1 << 16]; /* what the last child wrote to stderr */

/* Runs `what` in a child; returns its wait status. */
static int child_run(void (*what)(void)) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]), close(ends[1]);
        runtime_calls_restart();
        what();
        exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], said + n, sizeof said - 1 - n)) > 0;) n += (size_t)got;
    said[n] = 0;
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}
static void says(const char *text) {
    if (!strstr(said, text)) fail_msg("\"%s\" is not in: %s", text, said);
}
static void aborts(void (*what)(void), const char *text) {
    int status = child_run(what);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) fail_msg("status %d instead of an abort: %s", status, said);
    says(text);
}
static void exits(void (*what)(void), int code, const char *text) {
    int status = child_run(what);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code) fail_msg("status %d instead of exit %d: %s", status, code, said);
    if (text) says(text);
    else assert_string_equal(said, "");
}

/* In a child: the process ends unless it holds. */
static void must(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "not so: %s\n", what);
    exit(1);
}
#define MUST(holds) must((holds), #holds)

/* ---- memory ---- */

static __global__ void add_kernel(int *to, int from, int n) {
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) to[i] += from;
}
static __global__ void write_at_kernel(char *to, int at) { to[at] = 1; }

static int *device_ints(const char *name) {
    void *at = NULL;
    if (cudaMalloc(&at, N * sizeof(int))) exit(2);
    simt_memory_name(at, name);
    return (int *)at;
}

static void host_reads(void) {
    volatile int *at = device_ints("hidden states");
    exit(at[3]);
}
static void host_writes_after_run(void) {
    int *at = device_ints("hidden states");
    cudaMemset(at, 0, N * sizeof(int));
    at[N - 1] = 1;
}
static void kernel_far(void) { LAUNCH(write_at_kernel, 1, 1, 0, 0, (char *)device_ints("weights"), 8192); }
#ifndef __SANITIZE_ADDRESS__ /* which sees it first, and in its own words */
static void kernel_near(void) {
    int *at = device_ints("weights");
    LAUNCH(write_at_kernel, 1, 1, 0, 0, (char *)at, N * (int)sizeof(int) + 3);
    cudaFree(at);
}
#endif
static void kernel_after_free(void) {
    int *at = device_ints("weights");
    cudaFree(at);
    LAUNCH(add_kernel, 1, 32, 0, 0, at, 1, N);
}
static void copy_too_long(void) {
    int host[2 * N] = { 0 };
    cudaMemcpy(device_ints("weights"), host, sizeof host, cudaMemcpyHostToDevice);
}
static void copy_wrong_way(void) {
    int host[N] = { 0 };
    cudaMemcpy(host, device_ints("weights"), sizeof host, cudaMemcpyHostToDevice);
}

static void test_memory_guarded(void **) {
    aborts(host_reads, "the host touches byte 12 of device memory \"hidden states\" (allocation 1, 400 bytes)");
    aborts(host_writes_after_run, "the host touches byte 396 of device memory \"hidden states\"");
    aborts(kernel_far, checker_is_on() ? "a write of 1 bytes at byte 8192 of device memory \"weights\"" : "an access at byte 8192 of device memory \"weights\"");
#ifndef __SANITIZE_ADDRESS__
    if (!checker_is_on()) aborts(kernel_near, "byte 403 of device memory \"weights\" (allocation 1, 400 bytes) was written");
#endif
    aborts(kernel_after_free, "of freed device memory \"weights\"");
    aborts(copy_too_long, "cudaMemcpy: 800 bytes from byte 0 reach beyond device memory \"weights\"");
    aborts(copy_wrong_way, "cudaMemcpy: 0x");
}

static void test_memory_new(void **) {
    unsigned host[N];
    int *at = device_ints("new"), *other = device_ints("other");
    ok(cudaMemcpy(host, at, sizeof host, cudaMemcpyDeviceToHost));
    for (int i = 0; i < N; i++) assert_int_equal(host[i], 0xffffffffu);
    assert_true((uintptr_t)at % 256 == 0 && (uintptr_t)other % 256 == 0);
    ok(cudaMemset(at, 0, sizeof host));
    ok(cudaMemcpy(other, at, sizeof host, cudaMemcpyDeviceToDevice));
    LAUNCH(add_kernel, 1, 32, 0, 0, other, 5, N);
    ok(cudaMemcpy(host, other, sizeof host, cudaMemcpyDeviceToHost));
    for (int i = 0; i < N; i++) assert_int_equal(host[i], 5);
    assert_int_equal(cudaFree(at + 1), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    ok(cudaFree(at)), ok(cudaFree(other)), ok(cudaFree(NULL));
}

/* ---- streams and events ---- */

/* Adds on one stream, copies out on another; ordered by an event, or not. What arrives in pinned memory. */
static int streams_try(int ordered, int seed) {
    char text[16];
    snprintf(text, sizeof text, "%d", seed);
    setenv("SIMT_SCHEDULE", "random", 1), setenv("SIMT_SEED", text, 1);
    cudaStream_t a, b;
    cudaEvent_t added;
    void *pinned;
    int *at = device_ints("numbers"), result;
    ok(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking)), ok(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
    ok(cudaEventCreateWithFlags(&added, cudaEventDisableTiming)), ok(cudaMallocHost(&pinned, N * sizeof(int)));
    ok(cudaMemsetAsync(at, 0, N * sizeof(int), a));
    for (int i = 0; i < 5; i++) LAUNCH(add_kernel, 1, 32, 0, a, at, 1, N);
    if (ordered) ok(cudaEventRecord(added, a)), ok(cudaStreamWaitEvent(b, added, 0));
    ok(cudaMemcpyAsync(pinned, at, N * sizeof(int), cudaMemcpyDeviceToHost, b));
    ok(cudaStreamSynchronize(b));
    result = ((int *)pinned)[N - 1];
    ok(cudaStreamDestroy(a)), ok(cudaStreamDestroy(b)), ok(cudaEventDestroy(added)), ok(cudaFreeHost(pinned)), ok(cudaFree(at));
    unsetenv("SIMT_SCHEDULE"), unsetenv("SIMT_SEED");
    return result;
}

static void test_streams_ordered(void **) {
    int early = 0, late = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        assert_int_equal(streams_try(1, seed), 5);
        streams_try(0, seed) == 5 ? late++ : early++;
    }
    assert_true(early > 0 && late > 0); /* the missing event shows, though not always */
}

/* Work waits until it is waited for: a pinned array changed meanwhile arrives changed, a pageable one as it was. */
static void test_copies_from_host(void **) {
    cudaStream_t s;
    int pageable[N], got[N];
    int *at = device_ints("numbers");
    void *p;
    ok(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking)), ok(cudaMallocHost(&p, sizeof pageable));
    int *pinned = (int *)p;
    for (int i = 0; i < N; i++) pinned[i] = pageable[i] = 1;
    ok(cudaMemcpyAsync(at, pinned, sizeof got, cudaMemcpyHostToDevice, s));
    pinned[7] = 2;
    ok(cudaMemcpyAsync(got, at, sizeof got, cudaMemcpyDeviceToHost, s)); /* to pageable memory: waits */
    assert_int_equal(got[7], 2);
    ok(cudaMemcpyAsync(at, pageable, sizeof got, cudaMemcpyHostToDevice, s));
    pageable[7] = 2;
    ok(cudaMemcpyAsync(got, at, sizeof got, cudaMemcpyDeviceToHost, s));
    assert_int_equal(got[7], 1);
    ok(cudaStreamDestroy(s)), ok(cudaFreeHost(p)), ok(cudaFree(at));
}

static void test_events(void **) {
    cudaStream_t s;
    cudaEvent_t from, to;
    float ms = -1;
    ok(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking)), ok(cudaEventCreate(&from)), ok(cudaEventCreate(&to));
    ok(cudaEventSynchronize(from)); /* never recorded: nothing to wait for */
    ok(cudaEventRecord(from, s)), ok(cudaEventRecord(to, s));
    assert_int_equal(cudaEventElapsedTime(&ms, from, to), cudaErrorNotReady);
    cudaGetLastError();
    ok(cudaEventSynchronize(to)), ok(cudaEventQuery(from)), ok(cudaEventElapsedTime(&ms, from, to));
    assert_true(ms >= 0);
    ok(cudaStreamDestroy(s)), ok(cudaEventDestroy(from)), ok(cudaEventDestroy(to));
}

static void test_launches_refused(void **) {
    assert_int_equal(simt_enqueue(SimtLaunch{ "k", "f", 1, dim3(0), dim3(32), 0, []() {} }, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(simt_enqueue(SimtLaunch{ "k", "f", 1, dim3(1), dim3(1025), 0, []() {} }, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(simt_enqueue(SimtLaunch{ "k", "f", 1, dim3(1, 65536), dim3(32), 0, []() {} }, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(simt_enqueue(SimtLaunch{ "k", "f", 1, dim3(1), dim3(32), (227 << 10) + 1, []() {} }, 0), cudaErrorInvalidValue);
}

/* ---- the backend on top: failures, limits, leaks ---- */

static const Kernels *open_or_exit(void) {
    Error e;
    char line[sizeof(Error) + 64];
    const Kernels *k = kernels_open("simt", 0, &e);
    if (k) return k;
    fprintf(stderr, "%s\n", error_text(&e, line, sizeof line));
    exit(1);
}
/* Says what sync reports, and ends with it. */
static void sync_or_exit(const Kernels *k) {
    Error e;
    char line[sizeof(Error) + 64];
    if (!k->sync(&e)) return;
    fprintf(stderr, "%s\n", error_text(&e, line, sizeof line));
    if (!k->sync(&e)) fprintf(stderr, "and goes on\n");
    exit(1);
}

static void some_work(void) {
    const Kernels *k = open_or_exit();
    float x[N] = { 1, 2, 3 };
    Buf a, b;
    Error e;
    MUST(!k->alloc(&a, FP32, N, "numbers", &e) && !k->alloc(&b, BF16, N, "rounded numbers", &e));
    k->upload(a, x, N);
    k->copy(b, a, N);
    k->zero(a, N);
    k->copy(a, b, N);
    k->download(x, a, N);
    k->free(a), k->free(b);
    sync_or_exit(k);
    MUST(x[2] == 3);
}

/* The number of the i-th call of that name (from 1) in what some_work does. */
static int call_number(const char *name, int i) {
    char path[] = "/tmp/simt-calls-XXXXXX", line[256];
    int fd = mkstemp(path), number = 0;
    assert_true(fd >= 0);
    close(fd);
    setenv("SIMT_CALLS", path, 1);
    exits(some_work, 0, NULL);
    unsetenv("SIMT_CALLS");
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (i > 0 && fgets(line, sizeof line, f)) {
        number++;
        line[strcspn(line, "\n")] = 0;
        if (strstr(line, name)) i--;
    }
    fclose(f);
    unlink(path);
    if (i > 0) fail_msg("%s is called %d times too few", name, i);
    return number;
}

static void some_work_fails(const char *name, int i, const char *text, const char *where) {
    char number[16];
    snprintf(number, sizeof number, "%d", call_number(name, i));
    setenv("SIMT_FAIL_CALL", number, 1);
    exits(some_work, 1, text);
    unsetenv("SIMT_FAIL_CALL");
    says(where);
}

static void test_failures(void **) {
    some_work_fails("cast_kernel", 1, "a kernel could not be launched", "cast_kernel");
    says("kernels/cuda/cast.cu:");
    says("and goes on");
    some_work_fails("cudaMemsetAsync", 3, "cudaMemsetAsync failed: kernels/cuda/memory.c:", "cudaErrorUnknown");
    some_work_fails("cudaMemcpyAsync", 1, "cudaMemcpyAsync failed: kernels/cuda/state.c:", "cudaErrorUnknown");
    some_work_fails("cudaEventSynchronize", 1, "cudaEventSynchronize failed: kernels/cuda/state.c:", "cudaErrorIllegalAddress");
    assert_null(strstr(said, "and goes on")); /* that error stays */
    some_work_fails("cudaStreamCreateWithFlags", 1, "cudaStreamCreateWithFlags failed", "--device cpu");
}

static void another_device(void) { open_or_exit(); }
static void test_devices_refused(void **) {
    setenv("SIMT_DEVICE", "none", 1);
    exits(another_device, 1, "there is no GPU");
    says("--device cpu");
    setenv("SIMT_DEVICE", "nodriver", 1);
    exits(another_device, 1, "there is no NVIDIA driver");
    says("--device cpu");
    setenv("SIMT_DEVICE", "7.5", 1);
    exits(another_device, 1, "emulated device, compute capability 7.5");
    says("8.0");
    setenv("SIMT_DEVICE", "8.0", 1);
    exits(another_device, 0, NULL);
    unsetenv("SIMT_DEVICE");
}

static void too_much(void) {
    const Kernels *k = open_or_exit();
    Buf a, b;
    Error e;
    char line[sizeof(Error) + 64];
    MUST(!k->alloc(&a, FP32, 1 << 20, "weights", &e));
    MUST(k->alloc(&b, FP32, 100 << 20, "gradients", &e) && !b.at);
    fprintf(stderr, "%s\n", error_text(&e, line, sizeof line));
    k->free(a);
    sync_or_exit(k); /* nothing else is wrong */
}
static void test_memory_limit(void **) {
    setenv("SIMT_MEMORY", "134217728", 1);
    exits(too_much, 0, "out of memory for gradients");
    unsetenv("SIMT_MEMORY");
    says("419430400 bytes");
    says("of the device's 134217728");
}

static void leak_memory(void) {
    const Kernels *k = open_or_exit();
    Buf a;
    Error e;
    MUST(!k->alloc(&a, FP32, N, "forgotten", &e));
}
static void leak_event(void) {
    cudaEvent_t event;
    MUST(!cudaEventCreate(&event));
}
static void leak_graph(void) {
    cudaStream_t s;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    MUST(!cudaStreamCreate(&s) && !cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed) && !cudaStreamEndCapture(s, &graph));
    MUST(!cudaGraphInstantiate(&exec, graph, 0) && !cudaStreamDestroy(s));
}
static void test_leaks(void **) {
    exits(leak_memory, 23, "not freed: device memory \"forgotten\"");
    exits(leak_event, 23, "not destroyed: 1 streams, events, graphs or handles");
    exits(leak_graph, 23, "not destroyed: 2 streams, events, graphs or handles");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_guarded),
        cmocka_unit_test(test_memory_new),
        cmocka_unit_test(test_streams_ordered),
        cmocka_unit_test(test_copies_from_host),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_launches_refused),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_devices_refused),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_leaks),
    };
    return cmocka_run_group_tests_name("emulated runtime", tests, NULL, NULL);
}

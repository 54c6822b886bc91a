/* cudart_graph_test.cpp - graphs of the emulated runtime: when captured work runs and with what, which updates are refused, and what must
 * not be done to a stream that captures. */
#include "kernels/cuda/device.cuh"
#include "tests/simt/cudart.h"

#include <setjmp.h>
#include <stdarg.h>
extern "C" {
#include <cmocka.h>
}
#include <stdlib.h>
#include <string.h>

enum { N = 77, BYTES = N * sizeof(int), SHORT = N / 2 * sizeof(int) };

static void is(cudaError_t code, cudaError_t expected) {
    if (code != expected) fail_msg("%s instead of %s", cudaGetErrorName(code), cudaGetErrorName(expected));
    cudaGetLastError();
}
static void ok(cudaError_t code) { is(code, cudaSuccess); }

static __global__ void add_kernel(int *to, int from, int n) {
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) to[i] += from;
}
static __global__ void double_kernel(int *to, int n) {
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) to[i] *= 2;
}

/* A stream and N numbers on the device, all 1; N pinned ones. */
struct Scene {
    cudaStream_t s;
    int *at, *pinned;
};
static Scene scene_new(unsigned flags = cudaStreamNonBlocking) {
    Scene c;
    void *at, *pinned;
    ok(cudaStreamCreateWithFlags(&c.s, flags));
    ok(cudaMalloc(&at, BYTES)), ok(cudaMallocHost(&pinned, BYTES));
    c.at = (int *)at, c.pinned = (int *)pinned;
    for (int i = 0; i < N; i++) c.pinned[i] = 1;
    ok(cudaMemcpyAsync(c.at, c.pinned, BYTES, cudaMemcpyHostToDevice, c.s));
    ok(cudaStreamSynchronize(c.s));
    return c;
}
static void scene_free(const Scene &c) { ok(cudaStreamDestroy(c.s)), ok(cudaFree(c.at)), ok(cudaFreeHost(c.pinned)); }
static void numbers_are(const Scene &c, int value) {
    int got[N];
    ok(cudaMemcpyAsync(got, c.at, BYTES, cudaMemcpyDeviceToHost, c.s));
    ok(cudaStreamSynchronize(c.s));
    for (int i = 0; i < N; i++) assert_int_equal(got[i], value);
}

static void begin(const Scene &c) { ok(cudaStreamBeginCapture(c.s, cudaStreamCaptureModeRelaxed)); }
static cudaGraph_t end(const Scene &c) {
    cudaGraph_t graph = NULL;
    ok(cudaStreamEndCapture(c.s, &graph));
    assert_non_null(graph);
    return graph;
}
static void status_is(const Scene &c, cudaStreamCaptureStatus expected) {
    cudaStreamCaptureStatus got;
    ok(cudaStreamIsCapturing(c.s, &got));
    assert_int_equal(got, expected);
}

/* ---- capture and launch ---- */

/* Nothing runs until it is launched; then all of it, as often as it is launched, with what pinned memory holds by then. */
static void test_launch(void **) {
    Scene c = scene_new();
    cudaGraphExec_t exec = NULL;
    begin(c);
    status_is(c, cudaStreamCaptureStatusActive);
    ok(cudaMemcpyAsync(c.at, c.pinned, BYTES, cudaMemcpyHostToDevice, c.s));
    LAUNCH(add_kernel, 1, 32, 0, c.s, c.at, 3, N);
    LAUNCH(double_kernel, 1, 64, 0, c.s, c.at, N);
    cudaGraph_t graph = end(c);
    status_is(c, cudaStreamCaptureStatusNone);
    numbers_are(c, 1);
    ok(cudaGraphInstantiate(&exec, graph, 0)), ok(cudaGraphDestroy(graph));
    numbers_are(c, 1);
    for (int i = 0; i < N; i++) c.pinned[i] = 10;
    ok(cudaGraphLaunch(exec, c.s));
    numbers_are(c, 26);
    for (int i = 0; i < N; i++) c.pinned[i] = 20;
    ok(cudaGraphLaunch(exec, c.s));
    LAUNCH(add_kernel, 1, 32, 0, c.s, c.at, 1, N); /* after the graph, in the order of the stream */
    ok(cudaGraphExecDestroy(exec));                /* what is launched runs nevertheless */
    numbers_are(c, 47);
    scene_free(c);
}

/* Pageable memory is read when the graph runs, not when the copy is captured. */
static void test_pageable(void **) {
    Scene c = scene_new();
    static int host[N];
    cudaGraphExec_t exec = NULL;
    for (int i = 0; i < N; i++) host[i] = 5;
    begin(c);
    ok(cudaMemcpyAsync(c.at, host, BYTES, cudaMemcpyHostToDevice, c.s));
    cudaGraph_t graph = end(c);
    ok(cudaGraphInstantiate(&exec, graph, 0)), ok(cudaGraphDestroy(graph));
    for (int i = 0; i < N; i++) host[i] = 6;
    ok(cudaGraphLaunch(exec, c.s));
    numbers_are(c, 6);
    ok(cudaGraphExecDestroy(exec));
    scene_free(c);
}

/* ---- update ---- */

static cudaGraph_t graph_adds(const Scene &c, int n, int by) {
    begin(c);
    for (int i = 0; i < n; i++) LAUNCH(add_kernel, 1, 32, 0, c.s, c.at, by, N);
    return end(c);
}
/* Of one node. */
enum Other { OTHER_KERNEL, OTHER_MEMSET, OTHER_COPY, OTHER_SHORT_COPY, OTHER_COPY_OUT };
static cudaGraph_t graph_other(const Scene &c, Other which) {
    begin(c);
    if (which == OTHER_KERNEL) LAUNCH(double_kernel, 1, 96, 64, c.s, c.at, N);
    if (which == OTHER_MEMSET) ok(cudaMemsetAsync(c.at, 0, BYTES, c.s));
    if (which == OTHER_COPY) ok(cudaMemcpyAsync(c.at, c.pinned, BYTES, cudaMemcpyHostToDevice, c.s));
    if (which == OTHER_SHORT_COPY) ok(cudaMemcpyAsync(c.at, c.pinned, SHORT, cudaMemcpyHostToDevice, c.s));
    if (which == OTHER_COPY_OUT) ok(cudaMemcpyAsync(c.pinned, c.at, BYTES, cudaMemcpyDeviceToHost, c.s));
    return end(c);
}
/* Updates and destroys the graph. */
static void update(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResult expected) {
    cudaGraphExecUpdateResultInfo info;
    is(cudaGraphExecUpdate(exec, graph, &info), expected ? cudaErrorGraphExecUpdateFailure : cudaSuccess);
    assert_int_equal(info.result, expected);
    assert_null(info.errorNode);
    ok(cudaGraphDestroy(graph));
}

static void test_update(void **) {
    Scene c = scene_new();
    cudaGraphExec_t adds, copy;
    cudaGraph_t graph = graph_adds(c, 1, 2);
    ok(cudaGraphInstantiate(&adds, graph, 0)), ok(cudaGraphDestroy(graph));
    graph = graph_other(c, OTHER_COPY);
    ok(cudaGraphInstantiate(&copy, graph, 0)), ok(cudaGraphDestroy(graph));
    ok(cudaGraphLaunch(adds, c.s));
    update(adds, graph_adds(c, 1, 100), cudaGraphExecUpdateSuccess); /* not for the launch before */
    numbers_are(c, 3);
    ok(cudaGraphLaunch(adds, c.s));
    numbers_are(c, 103);
    update(adds, graph_adds(c, 2, 1), cudaGraphExecUpdateErrorTopologyChanged);
    update(adds, graph_other(c, OTHER_MEMSET), cudaGraphExecUpdateErrorNodeTypeChanged);
    update(adds, graph_other(c, OTHER_COPY), cudaGraphExecUpdateErrorNodeTypeChanged);
    ok(cudaGraphLaunch(adds, c.s)); /* a refused update changes nothing */
    numbers_are(c, 203);
    update(copy, graph_other(c, OTHER_COPY_OUT), cudaGraphExecUpdateErrorParametersChanged);
    update(copy, graph_other(c, OTHER_SHORT_COPY), cudaGraphExecUpdateSuccess); /* fewer bytes */
    for (int i = 0; i < N; i++) c.pinned[i] = i < N / 2 ? 203 : 7;
    ok(cudaGraphLaunch(copy, c.s));
    numbers_are(c, 203);
    update(adds, graph_other(c, OTHER_KERNEL), cudaGraphExecUpdateSuccess); /* another function and grid */
    ok(cudaGraphLaunch(adds, c.s));
    numbers_are(c, 406);
    ok(cudaGraphDestroy(graph_adds(c, 0, 0))); /* an empty one is one too */
    ok(cudaGraphExecDestroy(adds)), ok(cudaGraphExecDestroy(copy));
    scene_free(c);
}

/* ---- what must not be ---- */

/* The capture is spoilt: work is refused, the end gives no graph, and then the stream is as it was. */
static void spoilt(const Scene &c) {
    cudaGraph_t graph = (cudaGraph_t)1;
    status_is(c, cudaStreamCaptureStatusInvalidated);
    is(cudaMemsetAsync(c.at, 0, BYTES, c.s), cudaErrorStreamCaptureInvalidated);
    is((cudaError_t)simt_enqueue(SimtLaunch{ "k", "f", 1, dim3(1), dim3(32), 0, []() {} }, c.s), cudaErrorStreamCaptureInvalidated);
    is(cudaStreamEndCapture(c.s, &graph), cudaErrorStreamCaptureInvalidated);
    assert_null(graph);
    status_is(c, cudaStreamCaptureStatusNone);
    numbers_are(c, 1);
}

static void test_forbidden(void **) {
    Scene c = scene_new();
    cudaStream_t other;
    cudaEvent_t before, within;
    cudaGraph_t graph = NULL;
    float ms;
    ok(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking)), ok(cudaEventCreate(&before)), ok(cudaEventCreate(&within));
    is(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeRelaxed), cudaErrorStreamCaptureUnsupported);
    is(cudaStreamEndCapture(c.s, &graph), cudaErrorIllegalState);
    for (int what = 0; what < 13; what++) {
        ok(cudaEventRecord(before, other));
        begin(c);
        LAUNCH(add_kernel, 1, 32, 0, c.s, c.at, 3, N);
        ok(cudaEventRecord(within, c.s));
        ok(cudaStreamWaitEvent(c.s, within, 0));
        cudaError_t code = cudaErrorStreamCaptureUnsupported;
        switch (what) {
        case 0:
            is(cudaStreamSynchronize(c.s), code);
            break;
        case 1:
            is(cudaStreamQuery(c.s), code);
            break;
        case 2:
            is(cudaDeviceSynchronize(), code);
            break;
        case 3:
            is(cudaFree(NULL), code);
            break;
        case 4:
            is(cudaFreeHost(NULL), code);
            break;
        case 5:
            is(cudaMemcpy(c.pinned, c.at, BYTES, cudaMemcpyDeviceToHost), code);
            break;
        case 6:
            is(cudaEventSynchronize(within), cudaErrorCapturedEvent);
            break;
        case 7:
            is(cudaEventQuery(within), cudaErrorCapturedEvent);
            break;
        case 8:
            is(cudaEventElapsedTime(&ms, before, within), cudaErrorCapturedEvent);
            break;
        case 9:
            is(cudaStreamWaitEvent(c.s, before, 0), cudaErrorStreamCaptureIsolation);
            break;
        case 10:
            is(cudaStreamBeginCapture(c.s, cudaStreamCaptureModeRelaxed), cudaErrorIllegalState);
            break;
        default: /* allowed: what has nothing to do with the stream */
            ok(what == 11 ? cudaStreamSynchronize(other) : cudaEventSynchronize(before));
            void *more;
            ok(cudaMalloc(&more, 10));
            ok(cudaGraphDestroy(end(c))), ok(cudaFree(more));
            continue;
        }
        spoilt(c);
        is(cudaEventQuery(within), cudaErrorCapturedEvent); /* until it is recorded again */
        ok(cudaEventRecord(within, c.s)), ok(cudaEventSynchronize(within));
    }
    ok(cudaStreamDestroy(other)), ok(cudaEventDestroy(before)), ok(cudaEventDestroy(within));
    scene_free(c);
}

/* The default stream would wait for a stream that is not cudaStreamNonBlocking. */
static void test_default_stream(void **) {
    Scene c = scene_new(cudaStreamDefault);
    begin(c);
    is(cudaMemsetAsync(c.at, 0, BYTES, NULL), cudaErrorStreamCaptureImplicit);
    spoilt(c);
    scene_free(c);
    c = scene_new();
    begin(c);
    ok(cudaMemsetAsync(c.at, 0, BYTES, NULL));
    ok(cudaGraphDestroy(end(c)));
    numbers_are(c, 0);
    scene_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_launch),
        cmocka_unit_test(test_pageable),
        cmocka_unit_test(test_update),
        cmocka_unit_test(test_forbidden),
        cmocka_unit_test(test_default_stream),
    };
    return cmocka_run_group_tests_name("graphs of the emulated runtime", tests, NULL, NULL);
}

/* cudart_graph.cpp - graphs of the emulated CUDA runtime: capture of one stream, executable graphs, their update and launch. See cudart.h.
 *
 * Work given to a stream that captures becomes a node instead. What the runtime forbids meanwhile (waiting for the stream or for an event
 * of its, freeing memory, synchronous copies) is refused and spoils the capture: all later work on the stream is refused too, and the end
 * of the capture gives no graph. Nodes form a chain, so that graphs are alike when their nodes agree one by one. As the CUDA manual has it,
 * an update may change a kernel's function, grid and arguments and a copy's or memset's addresses and size, but neither what kind a node is
 * nor whether an address is the host's or the device's.
 *
 * Not emulated, and the end of the process: captures of several streams that events join, graphs within graphs, modes other than relaxed.
 */
#include "tests/simt/cudart.h"

#include <algorithm>
#include <string.h>

struct CUgraph_st {
    std::vector<Work> nodes;
};
struct CUgraphExec_st {
    std::vector<Work> nodes;
};

static std::vector<cudaStream_t> capturing;

/* ---- what a capture refuses ---- */

static void spoil(cudaStream_t s) {
    s->capture = cudaStreamCaptureStatusInvalidated;
    s->captured.clear();
}

cudaError_t capture_refuses_wait(cudaStream_t s) {
    if (capturing.empty() || (s && !s->capture)) return cudaSuccess;
    for (cudaStream_t each : capturing)
        if (!s || each == s) spoil(each);
    return runtime_failed(cudaErrorStreamCaptureUnsupported);
}

cudaError_t capture_refuses_event(const Record &r) {
    if (!r.captured) return cudaSuccess;
    for (cudaStream_t each : capturing) spoil(each);
    return runtime_failed(cudaErrorCapturedEvent);
}

cudaError_t capture_refuses_work(cudaStream_t s) {
    if (s) return s->capture == cudaStreamCaptureStatusInvalidated ? runtime_failed(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
    cudaError_t code = cudaSuccess;
    for (cudaStream_t each : capturing) /* the default stream would wait for it */
        if (each->waits_for_default) spoil(each), code = runtime_failed(cudaErrorStreamCaptureImplicit);
    return code;
}

cudaError_t capture_waits(cudaStream_t s, const Record &r) {
    int captures = s && s->capture;
    if (captures && !r.captured) return spoil(s), runtime_failed(cudaErrorStreamCaptureIsolation);
    if (!captures && r.captured) runtime_fail("cudaStreamWaitEvent: a second stream that joins a capture is not emulated");
    return cudaSuccess;
}

int capture_takes(cudaStream_t s, const Work &w) {
    if (!s || !s->capture) return 0;
    s->captured.push_back(w);
    return 1;
}

/* ---- captures ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode) {
    RUNTIME_CALL();
    runtime_stream_check(__func__, s);
    if (mode != cudaStreamCaptureModeRelaxed) runtime_fail("%s: mode %d is not emulated", __func__, (int)mode);
    if (!s) return runtime_failed(cudaErrorStreamCaptureUnsupported);
    if (s->capture) return spoil(s), runtime_failed(cudaErrorIllegalState);
    s->capture = cudaStreamCaptureStatusActive;
    capturing.push_back(s);
    return cudaSuccess;
}

/* The capture is over whatever is returned. */
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *out) {
    cudaError_t code = runtime_call(__func__);
    *out = NULL;
    runtime_stream_check(__func__, s);
    if (!s || !s->capture) return code ? code : runtime_failed(cudaErrorIllegalState);
    std::vector<Work> nodes = std::move(s->captured);
    cudaStreamCaptureStatus status = s->capture;
    s->captured.clear();
    s->capture = cudaStreamCaptureStatusNone;
    capturing.erase(std::find(capturing.begin(), capturing.end(), s));
    if (code) return code;
    if (status == cudaStreamCaptureStatusInvalidated) return runtime_failed(cudaErrorStreamCaptureInvalidated);
    *out = new CUgraph_st{ std::move(nodes) };
    runtime_handle(1);
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *out) {
    RUNTIME_CALL();
    runtime_stream_check(__func__, s);
    *out = s ? s->capture : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

/* ---- graphs ---- */

/* Gone whatever is returned, so that leaks are what callers forget. */
template <typename Handle> static cudaError_t destroy(const char *call, Handle *it) {
    cudaError_t code = runtime_call(call);
    if (!it) return code ? code : runtime_failed(cudaErrorInvalidValue);
    delete it;
    runtime_handle(-1);
    return code;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return destroy(__func__, graph); }
/* What is launched runs nevertheless. */
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return destroy(__func__, exec); }

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags) {
    RUNTIME_CALL();
    if (flags) runtime_fail("%s: flags %llu are not emulated", __func__, flags);
    if (!graph) return runtime_failed(cudaErrorInvalidValue);
    *out = new CUgraphExec_st{ graph->nodes };
    runtime_handle(1);
    return cudaSuccess;
}

/* Nodes are not handed out, so a result names none. */
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info) {
    RUNTIME_CALL();
    memset(info, 0, sizeof *info);
    info->result = cudaGraphExecUpdateError;
    if (!exec || !graph) return runtime_failed(cudaErrorInvalidValue);
    info->result = cudaGraphExecUpdateSuccess;
    if (exec->nodes.size() != graph->nodes.size()) info->result = cudaGraphExecUpdateErrorTopologyChanged;
    for (size_t i = 0; i < graph->nodes.size() && !info->result; i++) {
        const Work &before = exec->nodes[i], &now = graph->nodes[i];
        if (before.kind != now.kind) info->result = cudaGraphExecUpdateErrorNodeTypeChanged;
        else if (before.direction != now.direction) info->result = cudaGraphExecUpdateErrorParametersChanged;
    }
    if (info->result) return runtime_failed(cudaErrorGraphExecUpdateFailure);
    exec->nodes = graph->nodes;
    return cudaSuccess;
}

/* The nodes as they are now: an update changes later launches alone. */
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s) {
    RUNTIME_CALL();
    runtime_stream_check(__func__, s);
    if (!exec) return runtime_failed(cudaErrorInvalidValue);
    if (s && s->capture) runtime_fail("%s: a graph within a graph is not emulated", __func__);
    for (const Work &w : exec->nodes) runtime_queue(s, w);
    return cudaSuccess;
}

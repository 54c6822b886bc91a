/* graph.c - steps that repeat, launched whole: what is queued between cuda_step_begin and cuda_step_end is captured as a CUDA graph,
 * written over the executable graph kept for about as many rows, and launched as one piece of work.
 *
 * A step differs from the one before in addresses, grid sizes and scalars, all of which cudaGraphExecUpdate carries over; where operations
 * come or go (keys begin to be dealt in parts, say) the graph is instantiated anew. The first step of a bucket of rows runs without: it
 * loads kernels and grows scratch, and a bucket that is met once is not worth a graph.
 *
 * While a step is captured nothing may wait and nothing may be freed. Its host arrays gather in a stage, pinned memory with device memory
 * of the same shape behind it, and go over in one copy before the launch. There are two stages, so that one can be filled while the other
 * is still read; each is written again when the event recorded after its copy has passed. (On the device the order of the stream is
 * enough.) Memory that is given back within a step is kept until the step is launched (state.c).
 *
 * Refuses, by a recorded failure: steps within steps, and, in state.c and memory.c, downloads and sync within one. */
#include "kernels/cuda/graph.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/state.h"

#include <stdlib.h>
#include <string.h>

enum {
    STAGES = 2,
    RUNS = 16, /* each at least twice as long as the one before */
    RUN_LEAST = 64 << 10,
    GRAPHS = 8 /* buckets of rows: 1 to 128, of one model */
};

typedef struct Run {
    char *host, *device;
    int64_t bytes, used;
} Run;

typedef struct Stage {
    Run runs[RUNS]; /* the last one is in use; those before are full */
    int runs_n, was_sent;
    cudaEvent_t sent;
} Stage;

typedef struct Graph {
    int rows; /* of the bucket, a power of two; 0: entry free */
    uint64_t last_use;
    cudaGraphExec_t exec; /* NULL: none yet */
} Graph;

static Stage stages[STAGES];
static Graph graphs[GRAPHS];
static uint64_t steps, uses; /* steps captured, steps begun */
static struct {
    int is_open, is_spoiled;
    Stage *stage;
    Graph *graph;
} step;

uint64_t cuda_step_number(void) { return step.is_open ? steps : 0; }
void graph_spoil(void) { step.is_spoiled = 1; }

/* ---- stages ---- */

static void runs_free(Stage *s) {
    for (; s->runs_n > 0; s->runs_n--) {
        Run *r = &s->runs[s->runs_n - 1];
        cuda_memory_free(r->device);
        if (r->host) CUDA_TRY(cudaFreeHost(r->host));
        *r = (Run){ 0 };
    }
}

static int run_add(Stage *s, int64_t bytes) {
    Error e;
    if (s->runs_n == RUNS) return cuda_failure_set("cannot stage a step's host array", "%lld bytes", (long long)bytes), -1;
    int64_t least = s->runs_n > 0 ? 2 * s->runs[s->runs_n - 1].bytes : RUN_LEAST;
    Run *r = &s->runs[s->runs_n++];
    *r = (Run){ .bytes = bytes > least ? bytes : least };
    if (CUDA_TRY(cudaMallocHost((void **)&r->host, (size_t)r->bytes))) return -1;
    r->device = cuda_memory_new(r->bytes, "host arrays of a step", &e);
    return r->device ? 0 : (cuda_failure_set(e.what, "%s", e.found), -1);
}

/* Empties a stage, waiting for what is still read of it. Runs that were added are made one, so that the next step is one copy again. */
static int stage_open(Stage *s) {
    int64_t bytes = 0;
    if (!s->sent && CUDA_TRY(cudaEventCreateWithFlags(&s->sent, cudaEventDisableTiming))) return -1;
    if (s->was_sent && cuda_event_wait(s->sent)) return -1;
    s->was_sent = 0;
    for (int i = 0; i < s->runs_n; i++) bytes += s->runs[i].bytes;
    if (s->runs_n != 1) {
        runs_free(s);
        if (run_add(s, bytes)) return runs_free(s), -1;
    }
    s->runs[0].used = 0;
    return 0;
}

const void *graph_stage(const void *host, int64_t bytes) {
    Stage *s = step.stage;
    int64_t room = (bytes + CUDA_STAGE_ALIGN - 1) / CUDA_STAGE_ALIGN * CUDA_STAGE_ALIGN;
    Run *r = &s->runs[s->runs_n - 1];
    if (r->used + room > r->bytes) {
        if (run_add(s, room)) return NULL;
        r = &s->runs[s->runs_n - 1];
    }
    char *at = r->device + r->used;
    if (bytes > 0) memcpy(r->host + r->used, host, (size_t)bytes);
    r->used += room;
    return at;
}

static int stage_send(Stage *s) {
    for (int i = 0; i < s->runs_n; i++) {
        const Run *r = &s->runs[i];
        if (r->used > 0 && CUDA_TRY(cudaMemcpyAsync(r->device, r->host, (size_t)r->used, cudaMemcpyHostToDevice, cuda_stream()))) return -1;
    }
    s->was_sent = 1;
    return CUDA_TRY(cudaEventRecord(s->sent, cuda_stream()));
}

/* ---- executable graphs ---- */

static void graph_forget(Graph *g) {
    if (g->exec) CUDA_TRY(cudaGraphExecDestroy(g->exec));
    *g = (Graph){ 0 };
}

/* The entry of a bucket; the one used longest ago makes room. *is_new is set when there was none. */
static Graph *graph_of(int rows, int *is_new) {
    Graph *oldest = graphs;
    int bucket = 1;
    while (bucket < rows && bucket <= INT32_MAX / 2) bucket *= 2;
    *is_new = 0;
    for (Graph *g = graphs; g < graphs + GRAPHS; g++) {
        if (g->rows == bucket) return g->last_use = ++uses, g;
        if (g->last_use < oldest->last_use) oldest = g;
    }
    graph_forget(oldest);
    *oldest = (Graph){ .rows = bucket, .last_use = ++uses };
    *is_new = 1;
    return oldest;
}

/* Makes what was captured executable: as new parameters of the graph at hand, or as another graph where operations came or went. */
static int graph_renew(Graph *g, cudaGraph_t captured) {
    if (g->exec) {
        cudaGraphExecUpdateResultInfo why;
        cudaError_t code = cudaGraphExecUpdate(g->exec, captured, &why);
        if (code == cudaSuccess) return 0;
        if (code != cudaErrorGraphExecUpdateFailure) return cuda_check(code, "cudaGraphExecUpdate", __FILE__, __LINE__);
        cudaGetLastError(); /* or the next launch would find it */
        int bad = CUDA_TRY(cudaGraphExecDestroy(g->exec));
        g->exec = NULL;
        if (bad) return -1;
    }
    return CUDA_TRY(cudaGraphInstantiate(&g->exec, captured, 0));
}

/* ---- steps ---- */

/* Looked at in every step: tests set it as they go. */
static int graphs_wanted(void) {
    const char *s = getenv("RLAIFV_GRAPHS");
    if (!s || !strcmp(s, "on")) return 1;
    if (strcmp(s, "off") != 0) cuda_failure_set("RLAIFV_GRAPHS says neither on nor off", "%s", s);
    return 0;
}

void cuda_step_begin(int rows) {
    int is_new;
    if (step.is_open) {
        cuda_failure_set("a step begins within a step", "%d rows", rows);
        return;
    }
    if (cuda_failed() || !graphs_wanted()) return;
    Graph *g = graph_of(rows, &is_new);
    Stage *s = &stages[steps % STAGES];
    if (is_new || stage_open(s) || CUDA_TRY(cudaStreamBeginCapture(cuda_stream(), cudaStreamCaptureModeRelaxed))) return;
    step.is_open = 1, step.is_spoiled = 0;
    step.stage = s, step.graph = g;
    steps++;
}

void cuda_step_end(void) {
    cudaGraph_t captured = NULL;
    if (!step.is_open) return;
    step.is_open = 0; /* whatever the call returns, the stream captures no more */
    int bad = CUDA_TRY(cudaStreamEndCapture(cuda_stream(), &captured)) || cuda_failed() || step.is_spoiled;
    if (!bad && (stage_send(step.stage) || graph_renew(step.graph, captured) || CUDA_TRY(cudaGraphLaunch(step.graph->exec, cuda_stream()))))
        graph_forget(step.graph);
    if (captured) CUDA_TRY(cudaGraphDestroy(captured));
    cuda_memory_free_kept();
}

void graph_close(void) {
    graph_spoil();
    cuda_step_end();
    for (int i = 0; i < GRAPHS; i++) graph_forget(&graphs[i]);
    for (int i = 0; i < STAGES; i++) {
        runs_free(&stages[i]);
        if (stages[i].sent) CUDA_TRY(cudaEventDestroy(stages[i].sent));
    }
    memset(stages, 0, sizeof stages);
}

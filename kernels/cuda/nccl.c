/* nccl.c - groups of ranks with one GPU each (kernels/comm/comm_device.h), by NCCL: one communicator and one stream a group.
 *
 * Events order that stream and the compute stream, so that moves and sums go on beside compute. NCCL only moves bytes here; sums are
 * comm.c's. A call that fails aborts the communicator, and everything after it is refused.
 *
 * Refuses two ranks on one GPU, which NCCL cannot serve. */
#include "kernels/comm/comm_device.h"
#include "kernels/cuda/state.h"

#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct NcclLink {
    int ranks[WORLD_RANKS_MOST]; /* of the world */
    int n, self;
    ncclComm_t comm; /* NULL after a failure */
    cudaStream_t stream;
    cudaEvent_t computed, moved;
} NcclLink;

#ifdef WITH_SIMT
int simt_progress(
    void); /* the emulated device works while its host waits for messages, as a real one does by itself (tests/simt/cudart.h) */
#endif

/* ---- failures ---- */

/* "ncclSend" of "ncclSend(at, count)" */
static int name_length(const char *call) { return (int)strcspn(call, "("); }

/* The communicator is of no use any more, here or elsewhere: the others are told by an end of the run, not by waiting. */
static int nccl_check(NcclLink *l, ncclResult_t code, const char *call, const char *file, int line, Error *e) {
    if (code == ncclSuccess) return 0;
    const char *last = ncclGetLastError(l->comm);
    error_what(e, "%.*s failed", name_length(call), call);
    error_where(e, "rank %d, %s:%d", l->ranks[l->self], file, line);
    error_found(e, "%s%s%s", ncclGetErrorString(code), last && *last ? ": " : "", last ? last : "");
    cudaGetLastError();
    if (l->comm) ncclCommAbort(l->comm);
    l->comm = NULL;
    return -1;
}
#define NCCL_TRY(call) nccl_check(l, (call), #call, __FILE__, __LINE__, e)

static int cuda_result(const NcclLink *l, cudaError_t code, const char *call, const char *file, int line, Error *e) {
    if (code == cudaSuccess) return 0;
    cudaGetLastError();
    error_what(e, "%.*s failed", name_length(call), call);
    error_where(e, "rank %d, %s:%d", l->ranks[l->self], file, line);
    return error_found(e, "%s (%s)", cudaGetErrorString(code), cudaGetErrorName(code));
}
#define RUNTIME_TRY(call) cuda_result(l, (call), #call, __FILE__, __LINE__, e)

static int usable(const NcclLink *l, const char *what, Error *e) {
    if (l->comm) return 0;
    error_what(e, "%s: this group of ranks has failed before", what);
    return error_where(e, "rank %d", l->ranks[l->self]);
}

/* ---- watching the host wait ---- */

static char last_queued[128]; /* the collective that the device may be waiting in */
static int links;             /* open ones */

static void wait_before(void) { world_watch(last_queued); }
static void wait_after(void) { world_unwatch(); }

/* Groups come (1) and go (-1): while there are any, whatever the host waits for on the device may depend on other ranks. */
static void links_count(int by) {
    links += by;
    if (links) cuda_waits_watch(wait_before, wait_after);
    else cuda_waits_watch(NULL, NULL);
}

static void queued(const char *what) { snprintf(last_queued, sizeof last_queued, "the device, whose last collective is %s", what); }

/* ---- open, close ---- */

/* Passes `bytes` around the group: all[i] is what its rank i gave. */
static int group_gather(const NcclLink *l, const void *mine, void *all, int64_t bytes, Error *e) {
    WorldMove moves[2 * WORLD_RANKS_MOST];
    int n = 0;
    for (int i = 0; i < l->n; i++) {
        if (i == l->self) continue;
        moves[n++] = (WorldMove){ l->ranks[i], 1, (void *)mine, bytes };
        moves[n++] = (WorldMove){ l->ranks[i], 0, (char *)all + i * bytes, bytes };
    }
    memcpy((char *)all + l->self * bytes, mine, (size_t)bytes);
    return world_exchange("opening a group of ranks", moves, n, e);
}

static int gpus_differ(const NcclLink *l, Error *e) {
    struct cudaDeviceProp p;
    cudaUUID_t all[WORLD_RANKS_MOST];
    int device = 0;
    if (RUNTIME_TRY(cudaGetDevice(&device)) || RUNTIME_TRY(cudaGetDeviceProperties(&p, device)) ||
        group_gather(l, &p.uuid, all, sizeof p.uuid, e))
        return -1;
    for (int i = 0; i < l->n; i++)
        for (int j = 0; j < i; j++) {
            if (memcmp(&all[i], &all[j], sizeof *all)) continue;
            error_what(e, "two ranks share one GPU"), error_found(e, "ranks %d and %d", l->ranks[j], l->ranks[i]);
            return error_hint(e, "start as many ranks on a node as it has GPUs");
        }
    return 0;
}

/* The first rank of the group makes the id. It is sent even where making it failed, so that nobody waits. */
static int communicator_open(NcclLink *l, Error *e) {
    struct {
        int made;
        ncclUniqueId id;
    } mine, all[WORLD_RANKS_MOST];
    memset(&mine, 0, sizeof mine);
    int bad = l->self == 0 && NCCL_TRY(ncclGetUniqueId(&mine.id));
    mine.made = !bad;
    if (group_gather(l, &mine, all, sizeof mine, bad ? NULL : e) || bad) return -1;
    if (!all[0].made) return error_what(e, "rank %d made no id for NCCL", l->ranks[0]), error_where(e, "rank %d", l->ranks[l->self]);
    return NCCL_TRY(ncclCommInitRank(&l->comm, l->n, all[0].id, l->self));
}

static void nccl_close(void *at) {
    NcclLink *l = at;
    Error unsaid, *e = &unsaid;
    if (l->comm) NCCL_TRY(ncclCommDestroy(l->comm));
    if (l->computed) RUNTIME_TRY(cudaEventDestroy(l->computed));
    if (l->moved) RUNTIME_TRY(cudaEventDestroy(l->moved));
    if (l->stream) RUNTIME_TRY(cudaStreamDestroy(l->stream));
    links_count(-1);
    free(l);
}

static int nccl_open(void **out, const int *ranks, int n, int self, Error *e) {
    NcclLink *l = mem_new(1, sizeof *l, "a group of ranks", e);
    if (!l) return -1;
    memcpy(l->ranks, ranks, (size_t)n * sizeof *ranks);
    l->n = n, l->self = self;
#ifdef WITH_SIMT
    world_idle_set(simt_progress);
#endif
    queued("opening a group of ranks");
    links_count(1);
    if (gpus_differ(l, e) || RUNTIME_TRY(cudaStreamCreateWithFlags(&l->stream, cudaStreamNonBlocking)) ||
        RUNTIME_TRY(cudaEventCreateWithFlags(&l->computed, cudaEventDisableTiming)) ||
        RUNTIME_TRY(cudaEventCreateWithFlags(&l->moved, cudaEventDisableTiming)) || communicator_open(l, e)) {
        nccl_close(l);
        return -1;
    }
    *out = l;
    return 0;
}

/* ---- moves ---- */

static int nccl_begin(void *at, Error *e) {
    NcclLink *l = at;
    if (usable(l, "a collective", e) || RUNTIME_TRY(cudaEventRecord(l->computed, cuda_stream())) ||
        RUNTIME_TRY(cudaStreamWaitEvent(l->stream, l->computed, 0)))
        return -1;
    cuda_stream_use(l->stream);
    return 0;
}

static int nccl_end(void *at, Error *e) {
    NcclLink *l = at;
    cuda_stream_use(NULL);
    return RUNTIME_TRY(cudaEventRecord(l->moved, l->stream));
}

static ncclDataType_t type_of(Buf b) { return b.dtype == FP32 ? ncclFloat32 : ncclBfloat16; }

static int nccl_exchange(void *at, const char *what, const CommMove *moves, int n, Error *e) {
    NcclLink *l = at;
    queued(what);
    if (NCCL_TRY(ncclGroupStart())) return -1;
    ncclResult_t code = ncclSuccess, ended;
    int i = 0;
    for (; i < n && !code; i++) {
        const CommMove *m = &moves[i];
        if (m->sends) code = ncclSend(m->at.at, (size_t)m->count, type_of(m->at), m->peer, l->comm, l->stream);
        else code = ncclRecv(m->at.at, (size_t)m->count, type_of(m->at), m->peer, l->comm, l->stream);
    }
    ended = ncclGroupEnd(); /* in any case, and before the communicator may go */
    if (code) return nccl_check(l, code, moves[i - 1].sends ? "ncclSend" : "ncclRecv", __FILE__, __LINE__, e);
    return nccl_check(l, ended, "ncclGroupEnd", __FILE__, __LINE__, e);
}

static int nccl_all_gather(void *at, const char *what, Buf all, Buf mine, int64_t each, Error *e) {
    NcclLink *l = at;
    queued(what);
    return NCCL_TRY(ncclAllGather(mine.at, all.at, (size_t)each, type_of(all), l->comm, l->stream));
}

static int nccl_broadcast(void *at, const char *what, Buf x, int64_t count, int root, Error *e) {
    NcclLink *l = at;
    queued(what);
    return NCCL_TRY(ncclBroadcast(x.at, x.at, (size_t)count, type_of(x), root, l->comm, l->stream));
}

static int nccl_wait(void *at, Error *e) {
    NcclLink *l = at;
    return usable(l, "waiting", e) || RUNTIME_TRY(cudaStreamWaitEvent(cuda_stream(), l->moved, 0)) ? -1 : 0;
}

static int nccl_finish(void *at, const char *what, Error *e) {
    NcclLink *l = at;
    ncclResult_t came = ncclSuccess;
    if (usable(l, what, e)) return -1;
    world_watch(what);
    int bad = RUNTIME_TRY(cudaStreamSynchronize(l->stream)) || NCCL_TRY(ncclCommGetAsyncError(l->comm, &came)) || NCCL_TRY(came);
    world_unwatch();
    return bad ? -1 : 0;
}

const CommDevice comm_nccl = {
    .open = nccl_open,
    .close = nccl_close,
    .begin = nccl_begin,
    .end = nccl_end,
    .exchange = nccl_exchange,
    .all_gather = nccl_all_gather,
    .broadcast = nccl_broadcast,
    .wait = nccl_wait,
    .finish = nccl_finish,
};

/* nccl.cpp - the part of NCCL that the engine uses, between processes on the emulated runtime: communicators, grouped sends and receives,
 * all-gather and broadcast of fp32 and bf16.
 *
 * A communicator is memory that its processes share, with a mailbox for each pair of them. The memory has no name: the id says which file
 * descriptor of which process it is, so nothing is left behind however a process ends. Operations are work of the stream that is asked
 * until it is done (runtime_queue_shared): nobody waits inside, and a peer that is gone leaves the waiting to the caller's watchdog.
 *
 * Ends the process, with both sides named, where two ranks disagree on what they do together, and where a communicator goes while work is
 * queued on it. Communicators that are never destroyed are leaks. Calls fail as SIMT_FAIL_CALL says. */
#include "tests/simt/cudart.h"

#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <fcntl.h>
#include <memory>
#include <new>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

enum { RANKS_MOST = 64, MAIL = 32 << 10, POSTS = 4, PAUSE = 50 /* microseconds */ };

/* ---- what processes share ---- */

/* What a rank says it does. */
struct Post {
    const char *verb(void) const;
    int kind, type, root;
    uint64_t count;
};
enum Kind { SEND, ALL_GATHER, BROADCAST };

struct Mailbox {
    std::atomic<uint32_t> full;
    uint32_t bytes;
    Post post; /* of the whole message, with each piece of it */
    char data[MAIL];
};
struct Seat {
    std::atomic<uint64_t> posted; /* collectives announced so far; no rank is further than one ahead of another */
    Post posts[POSTS];
};
struct Shared {
    std::atomic<int> attached;
    Seat seats[RANKS_MOST];
    Mailbox boxes[RANKS_MOST * RANKS_MOST]; /* from * RANKS_MOST + to; pages that are not touched cost nothing */
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free, "between processes");

const char *Post::verb(void) const { return kind == SEND ? "a message" : kind == ALL_GATHER ? "ncclAllGather" : "ncclBroadcast"; }

struct ncclComm {
    Shared *shared;
    int n, rank, queued;
    uint64_t collectives;
};

/* ---- calls ---- */

static char last_error[128];

#define CALL(error)                                                                                                                        \
    do {                                                                                                                                   \
        if (runtime_call(__func__)) {                                                                                                      \
            snprintf(last_error, sizeof last_error, "the emulated %s was made to fail", __func__);                                         \
            return error;                                                                                                                  \
        }                                                                                                                                  \
    } while (0)

const char *ncclGetErrorString(ncclResult_t code) {
    static const char *const texts[] = { "no error", "unhandled cuda error", "unhandled system error", "internal error", "invalid argument",
        "invalid usage", "remote process exited or there was a network error", "NCCL operation in progress" };
    return code >= 0 && (size_t)code < sizeof texts / sizeof *texts ? texts[code] : "unknown result code";
}
const char *ncclGetLastError(ncclComm_t) { return last_error; }

static size_t size_of(const char *call, ncclDataType_t type) {
    if (type == ncclFloat32) return 4;
    if (type == ncclBfloat16) return 2;
    runtime_fail("%s: data type %d is not emulated", call, (int)type);
}
static const char *type_name(int type) { return type == ncclFloat32 ? "float32" : "bfloat16"; }

static void comm_check(const char *call, ncclComm_t comm, int peer) {
    if (!comm) runtime_fail("%s: no communicator", call);
    if (peer < 0 || peer >= comm->n) runtime_fail("%s: rank %d of a communicator of %d", call, peer, comm->n);
}

/* ---- communicators ---- */

struct Id {
    int pid, file;
};
static int own_file = -1; /* of the id that this process gave out last */

ncclResult_t ncclGetUniqueId(ncclUniqueId *out) {
    CALL(ncclSystemError);
    if (own_file >= 0) close(own_file);
    own_file = memfd_create("simt-nccl", MFD_CLOEXEC);
    if (own_file < 0 || ftruncate(own_file, sizeof(Shared))) return ncclSystemError;
    Id id = { (int)getpid(), own_file };
    memset(out, 0, sizeof *out);
    memcpy(out, &id, sizeof id);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *out, int n, ncclUniqueId unique, int rank) {
    Id id;
    char path[64];
    CALL(ncclSystemError);
    if (n < 1 || n > RANKS_MOST || rank < 0 || rank >= n) return ncclInvalidArgument;
    memcpy(&id, &unique, sizeof id);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", id.pid, id.file);
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *at = file < 0 ? MAP_FAILED : mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (file >= 0) close(file);
    if (at == MAP_FAILED) return ncclSystemError;
    Shared *shared = (Shared *)at; /* zeros are its beginning */
    shared->attached.fetch_add(1);
    while (shared->attached.load() < n)
        if (!simt_progress()) usleep(PAUSE);
    *out = new ncclComm{ shared, n, rank, 0, 0 };
    runtime_handle(1);
    return ncclSuccess;
}

static void comm_release(ncclComm_t comm) {
    munmap(comm->shared, sizeof(Shared));
    delete comm;
    runtime_handle(-1);
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    CALL(ncclInternalError);
    comm_check(__func__, comm, 0);
    if (comm->queued) runtime_fail("%s: %d operations are still queued", __func__, comm->queued);
    comm_release(comm);
    return ncclSuccess;
}

static std::vector<ncclComm_t> aborted; /* with work that still names them */

ncclResult_t ncclCommAbort(ncclComm_t comm) {
    runtime_call(__func__);
    comm_check(__func__, comm, 0);
    if (comm->queued) {
        aborted.push_back(comm);
        runtime_handle(-1);
    } else {
        comm_release(comm);
    }
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *out) {
    CALL(ncclInternalError);
    comm_check(__func__, comm, 0);
    *out = ncclSuccess;
    return ncclSuccess;
}

static int is_aborted(ncclComm_t comm) {
    for (ncclComm_t each : aborted)
        if (each == comm) return 1;
    return 0;
}

/* ---- messages ---- */

struct Transfer {
    int sends, peer;
    char *at;
    Post post;
    size_t bytes, done;
    int ended;
};

static Transfer transfer(const char *call, int sends, int peer, const void *at, size_t count, ncclDataType_t type, Kind kind, int root) {
    size_t bytes = count * size_of(call, type);
    memory_check(call, at, bytes);
    return Transfer{ sends, peer, (char *)const_cast<void *>(at), Post{ kind, type, root, count }, bytes, 0, 0 };
}

static void posts_compare(const Post &mine, int rank, const Post &theirs, int peer) {
    if (mine.kind == theirs.kind && mine.type == theirs.type && mine.count == theirs.count && mine.root == theirs.root) return;
    runtime_fail("ranks do not agree: rank %d has %s of %llu x %s, root %d; rank %d has %s of %llu x %s, root %d", rank, mine.verb(),
        (unsigned long long)mine.count, type_name(mine.type), mine.root, peer, theirs.verb(), (unsigned long long)theirs.count,
        type_name(theirs.type), theirs.root);
}

/* Moves the next piece of a message; 0 when the mailbox is not as it must be for that. */
static int transfer_step(ncclComm_t comm, Transfer &t) {
    Mailbox &box = comm->shared->boxes[t.sends ? comm->rank * RANKS_MOST + t.peer : t.peer * RANKS_MOST + comm->rank];
    if (box.full.load(std::memory_order_acquire) == (uint32_t)t.sends) return 0;
    if (!t.done) memory_check(t.sends ? "ncclSend" : "ncclRecv", t.at, t.bytes);
    if (t.sends) {
        box.post = t.post;
        box.bytes = (uint32_t)std::min(t.bytes - t.done, (size_t)MAIL);
        memcpy(box.data, t.at + t.done, box.bytes);
    } else {
        posts_compare(t.post, comm->rank, box.post, t.peer);
        memcpy(t.at + t.done, box.data, box.bytes);
        memory_written(t.at + t.done, box.bytes);
    }
    t.done += box.bytes;
    t.ended = t.done == t.bytes;
    box.full.store((uint32_t)t.sends, std::memory_order_release);
    return 1;
}

/* Messages between two ranks one way go in order; others do not wait for each other. 1 when all have ended. */
static int transfers_advance(ncclComm_t comm, std::vector<Transfer> &all) {
    int open = 0;
    uint64_t blocked[2] = { 0, 0 };
    for (Transfer &t : all) {
        if (t.ended || blocked[t.sends] >> t.peer & 1) {
            open |= !t.ended;
            continue;
        }
        while (!t.ended && transfer_step(comm, t)) {}
        if (t.ended) continue;
        open = 1;
        blocked[t.sends] |= (uint64_t)1 << t.peer;
    }
    return !open;
}

static void transfers_queue(ncclComm_t comm, cudaStream_t stream, std::vector<Transfer> all) {
    auto kept = std::make_shared<std::vector<Transfer>>(std::move(all));
    comm->queued++;
    runtime_queue_shared(stream, [comm, kept]() {
        if (!is_aborted(comm) && !transfers_advance(comm, *kept)) return 0;
        comm->queued--;
        return 1;
    });
}

/* ---- groups ---- */

static int group_depth;
static std::vector<Transfer> grouped;
static ncclComm_t group_comm;
static cudaStream_t group_stream;

ncclResult_t ncclGroupStart(void) {
    CALL(ncclInternalError);
    if (!group_depth++) grouped.clear(), group_comm = NULL;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void) {
    if (!group_depth) runtime_fail("%s without ncclGroupStart", __func__);
    group_depth--;
    CALL(ncclUnhandledCudaError);
    if (!group_depth && group_comm) transfers_queue(group_comm, group_stream, std::move(grouped));
    return ncclSuccess;
}

static ncclResult_t message(const char *call, ncclComm_t comm, cudaStream_t stream, const Transfer &t) {
    comm_check(call, comm, t.peer);
    if (!group_depth) return transfers_queue(comm, stream, { t }), ncclSuccess;
    if (group_comm && (group_comm != comm || group_stream != stream))
        runtime_fail("%s: groups over two communicators are not emulated", call);
    group_comm = comm, group_stream = stream;
    grouped.push_back(t);
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *at, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
    CALL(ncclUnhandledCudaError);
    return message(__func__, comm, stream, transfer(__func__, 1, peer, at, count, type, SEND, -1));
}
ncclResult_t ncclRecv(void *at, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
    CALL(ncclUnhandledCudaError);
    return message(__func__, comm, stream, transfer(__func__, 0, peer, at, count, type, SEND, -1));
}

/* ---- collectives: announced by all, compared, then made of messages ---- */

static void collective_queue(const char *call, ncclComm_t comm, cudaStream_t stream, Post post, std::vector<Transfer> all) {
    if (group_depth) runtime_fail("%s in a group is not emulated", call);
    uint64_t number = comm->collectives++;
    auto announced = std::make_shared<int>(0);
    comm->queued++;
    runtime_queue_shared(stream, [comm, post, number, announced]() {
        Seat *seats = comm->shared->seats;
        int all_here = 1;
        if (!*announced) {
            seats[comm->rank].posts[number % POSTS] = post;
            seats[comm->rank].posted.store(number + 1, std::memory_order_release);
            *announced = 1;
        }
        for (int r = 0; r < comm->n && !is_aborted(comm); r++) {
            if (seats[r].posted.load(std::memory_order_acquire) <= number) all_here = 0;
            else posts_compare(post, comm->rank, seats[r].posts[number % POSTS], r);
        }
        if (all_here) comm->queued--;
        return all_here;
    });
    transfers_queue(comm, stream, std::move(all));
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream) {
    CALL(ncclUnhandledCudaError);
    comm_check(__func__, comm, 0);
    size_t bytes = count * size_of(__func__, type);
    char *own = (char *)to + (size_t)comm->rank * bytes;
    std::vector<Transfer> all;
    for (int r = 0; r < comm->n; r++) {
        if (r == comm->rank) continue;
        all.push_back(transfer(__func__, 1, r, from, count, type, ALL_GATHER, -1));
        all.push_back(transfer(__func__, 0, r, (char *)to + (size_t)r * bytes, count, type, ALL_GATHER, -1));
    }
    collective_queue(__func__, comm, stream, Post{ ALL_GATHER, type, -1, count }, std::move(all));
    if (own == from) return ncclSuccess;
    if ((const char *)from < (char *)to + bytes * (size_t)comm->n && (char *)to < (const char *)from + bytes)
        runtime_fail("%s: the part is in the result, but not in its place", __func__);
    memory_check(__func__, own, bytes);
    runtime_queue(stream, Work{ WORK_COPY, cudaMemcpyDeviceToDevice, [own, from, bytes]() {
        memcpy(own, from, bytes);
        memory_written(own, bytes);
    }, nullptr, 0, nullptr });
    return ncclSuccess;
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream) {
    CALL(ncclUnhandledCudaError);
    comm_check(__func__, comm, root);
    std::vector<Transfer> all;
    if (from != to) runtime_fail("%s: only in place is emulated", __func__);
    if (comm->rank != root) all.push_back(transfer(__func__, 0, root, to, count, type, BROADCAST, root));
    for (int r = 0; r < comm->n && comm->rank == root; r++)
        if (r != root) all.push_back(transfer(__func__, 1, r, from, count, type, BROADCAST, root));
    collective_queue(__func__, comm, stream, Post{ BROADCAST, type, root, count }, std::move(all));
    return ncclSuccess;
}

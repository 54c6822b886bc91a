/* world_exchange.c - messages between ranks in plain memory. Owns the one way that bytes travel by MPI, world_exchange, and the collectives
 * made of it.
 *
 * Waiting is done by asking, with pauses that grow: ranks that wait leave their processor to others, and an emulated device goes on
 * (world_idle_set). */
#include "kernels/comm/world_private.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* MPI counts in int; the pauses begin after a while of asking, and are short at first. */
enum { PIECE = 1 << 30, ASK = 400, ASK_LONG = 20000, PAUSE_SHORT = 50000, PAUSE_LONG = 2000000, ROUNDS = 7 };

static int (*idle)(void);

void world_idle_set(int (*by)(void)) { idle = by; }

/* ---- exchange ---- */

/* A message on its way. */
typedef struct Message {
    int peer, sends, bytes;
} Message;

static int fails(const char *what, const Message *m, int code, Error *e) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    error_what(e, "%s failed", what);
    if (m) error_where(e, "rank %d, %s rank %d", world_self()->rank, m->sends ? "sending to" : "receiving from", m->peer);
    else error_where(e, "rank %d", world_self()->rank);
    return error_found(e, "%s", text);
}

static int64_t pieces_of(int64_t bytes) { return bytes ? (bytes + PIECE - 1) / PIECE : 1; }

static int wait_all(MPI_Request *requests, MPI_Status *statuses, int n, int *code) {
    int done = 0;
    for (int asked = 0; !done; asked++) {
        *code = MPI_Testall(n, requests, &done, statuses);
        if (*code) return -1;
        if (idle && idle()) asked = 0;
        if (done || asked < ASK) continue;
        nanosleep(&(struct timespec){ .tv_nsec = asked < ASK_LONG ? PAUSE_SHORT : PAUSE_LONG }, NULL);
        if (asked > ASK_LONG) asked = ASK_LONG;
    }
    return 0;
}

static int messages_check(const char *what, const Message *messages, const MPI_Status *statuses, int n, int code, Error *e) {
    for (int i = 0; i < n; i++) {
        int got = 0;
        if (code == MPI_ERR_IN_STATUS && statuses[i].MPI_ERROR && statuses[i].MPI_ERROR != MPI_ERR_PENDING)
            return fails(what, &messages[i], statuses[i].MPI_ERROR, e);
        if (code || messages[i].sends) continue;
        MPI_Get_count(&statuses[i], MPI_BYTE, &got);
        if (got == messages[i].bytes) continue;
        error_what(e, "%s: two ranks do not agree on a size", what);
        error_where(e, "rank %d, receiving from rank %d", world_self()->rank, messages[i].peer);
        error_found(e, "%d bytes", got);
        return error_expected(e, "%d bytes", messages[i].bytes);
    }
    return code ? fails(what, NULL, code, e) : 0;
}

static int messages_run(const char *what, const WorldMove *moves, int n, Message *m, MPI_Request *r, MPI_Status *s, Error *e) {
    int at = 0, code = 0;
    for (int i = 0; i < n; i++)
        for (int64_t done = 0, left = pieces_of(moves[i].bytes); left; left--, done += PIECE, at++) {
            int bytes = (int)(moves[i].bytes - done < PIECE ? moves[i].bytes - done : PIECE);
            char *from = (char *)moves[i].at + done;
            m[at] = (Message){ moves[i].peer, moves[i].sends, bytes };
            code = moves[i].sends ? MPI_Isend(from, bytes, MPI_BYTE, moves[i].peer, 0, MPI_COMM_WORLD, &r[at])
                                  : MPI_Irecv(from, bytes, MPI_BYTE, moves[i].peer, 0, MPI_COMM_WORLD, &r[at]);
            if (code) return fails(what, &m[at], code, e);
        }
    wait_all(r, s, at, &code);
    return messages_check(what, m, s, at, code, e);
}

int world_exchange(const char *what, const WorldMove *moves, int n, Error *e) {
    int64_t all = 0;
    for (int i = 0; i < n; i++) all += pieces_of(moves[i].bytes);
    if (!all) return 0;
    Message *messages = mem_new((size_t)all, sizeof *messages, what, e);
    MPI_Request *requests = mem_new((size_t)all, sizeof(MPI_Request), what, e);
    MPI_Status *statuses = mem_new((size_t)all, sizeof *statuses, what, e);
    int bad = !messages || !requests || !statuses;
    world_watch(what);
    if (!bad) bad = messages_run(what, moves, n, messages, requests, statuses, e);
    world_unwatch();
    free(messages), free(requests), free(statuses);
    return bad ? -1 : 0;
}

/* ---- collectives ---- */

/* In round i a rank hears from the one 2^i before it, and so of 2^(i+1) ranks in all. */
int world_meet(const char *what, int64_t *value, Error *e) {
    const World *w = world_self();
    for (int step = 1; step < w->size; step *= 2) {
        int64_t theirs = 0, mine = *value;
        WorldMove moves[2] = { { (w->rank + step) % w->size, 1, &mine, sizeof mine },
            { (w->rank - step + w->size) % w->size, 0, &theirs, sizeof theirs } };
        if (world_exchange(what, moves, 2, e)) return -1;
        if (theirs > *value) *value = theirs;
    }
    return 0;
}

int world_barrier(const char *what, Error *e) {
    int64_t nothing = 0;
    return world_meet(what, &nothing, e);
}

/* Down a binomial tree: who has it sends it to the rank half as far away as the one before. */
int world_broadcast(const char *what, int root, void *at, int64_t bytes, Error *e) {
    const World *w = world_self();
    WorldMove moves[ROUNDS];
    int n = 0, from_root = (w->rank - root + w->size) % w->size, step = 1;
    for (; step < w->size && !(from_root & step); step *= 2) {}
    world_watch(what);
    int bad = from_root && world_exchange(what, &(WorldMove){ (w->rank - step + w->size) % w->size, 0, at, bytes }, 1, e);
    for (step /= 2; step; step /= 2)
        if (from_root + step < w->size) moves[n++] = (WorldMove){ (w->rank + step) % w->size, 1, at, bytes };
    if (!bad) bad = world_exchange(what, moves, n, e);
    world_unwatch();
    return bad ? -1 : 0;
}

void world_bytes_free(WorldBytes *b) {
    free(b->data), free(b->begin);
    *b = (WorldBytes){ 0 };
}

/* Everybody's `bytes` to everybody: all[rank * bytes]. */
static int fixed_all_gather(const char *what, const void *mine, int64_t bytes, void *all, Error *e) {
    const World *w = world_self();
    WorldMove moves[2 * WORLD_RANKS_MOST];
    int n = 0;
    for (int r = 0; r < w->size; r++) {
        if (r == w->rank) continue;
        moves[n++] = (WorldMove){ r, 1, (void *)mine, bytes };
        moves[n++] = (WorldMove){ r, 0, (char *)all + r * bytes, bytes };
    }
    if (bytes) memcpy((char *)all + w->rank * bytes, mine, (size_t)bytes);
    return world_exchange(what, moves, n, e);
}

/* To `root`, or to all where it is -1. */
static int gather(const char *what, int root, const void *mine, int64_t bytes, WorldBytes *all, Error *e) {
    const World *w = world_self();
    WorldMove moves[2 * WORLD_RANKS_MOST];
    int64_t counts[WORLD_RANKS_MOST];
    int n = 0, takes = root < 0 || root == w->rank;
    if (fixed_all_gather(what, &bytes, sizeof bytes, counts, e)) return -1;
    if (takes) {
        *all = (WorldBytes){ .begin = mem_new((size_t)w->size + 1, sizeof *all->begin, what, e) };
        if (!all->begin) return -1;
        for (int r = 0; r < w->size; r++) all->begin[r + 1] = all->begin[r] + counts[r];
        if (!(all->data = mem_new((size_t)all->begin[w->size], 1, what, e))) return world_bytes_free(all), -1;
        if (bytes) memcpy(all->data + all->begin[w->rank], mine, (size_t)bytes);
    }
    for (int r = 0; r < w->size; r++) {
        if (r == w->rank) continue;
        if (bytes && (root < 0 || r == root)) moves[n++] = (WorldMove){ r, 1, (void *)mine, bytes };
        if (takes && counts[r]) moves[n++] = (WorldMove){ r, 0, all->data + all->begin[r], counts[r] };
    }
    if (!world_exchange(what, moves, n, e)) return 0;
    if (takes) world_bytes_free(all);
    return -1;
}

int world_gather(const char *what, int root, const void *mine, int64_t bytes, WorldBytes *all, Error *e) {
    return gather(what, root, mine, bytes, all, e);
}
int world_all_gather(const char *what, const void *mine, int64_t bytes, WorldBytes *all, Error *e) {
    return gather(what, -1, mine, bytes, all, e);
}

#define ALL_REDUCE(NAME, T)                                                                                                                \
    static T NAME##_join(WorldReduce reduce, T a, T b) { return reduce == WORLD_SUM ? a + b : (reduce == WORLD_MAX) == (a > b) ? a : b; }  \
    int world_all_reduce_##NAME(const char *what, WorldReduce reduce, T *x, int n, Error *e) {                                             \
        int size = world_self()->size;                                                                                                     \
        T *all = mem_new((size_t)size * (size_t)n, sizeof *all, what, e);                                                                  \
        int bad = !all || fixed_all_gather(what, x, n * (int64_t)sizeof *x, all, e);                                                       \
        for (int i = 0; i < n && !bad; i++) {                                                                                              \
            x[i] = all[i];                                                                                                                 \
            for (int r = 1; r < size; r++) x[i] = NAME##_join(reduce, x[i], all[r * n + i]);                                               \
        }                                                                                                                                  \
        free(all);                                                                                                                         \
        return bad ? -1 : 0;                                                                                                               \
    }
ALL_REDUCE(int64, int64_t)
ALL_REDUCE(double, double)

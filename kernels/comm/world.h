/* world.h - the processes of a run, and what they tell each other in plain memory.
 *
 * `mpirun -np N rlaifv ...` or `srun` starts N processes; here they find out who they are. MPI carries the messages, and is started only
 * when the environment shows a launcher: a lone process is rank 0 of 1, and nothing of MPI runs in it.
 *
 * Every function that needs other ranks must be called by all of them, in the same order, from the thread that opened the world. `what`
 * names the operation for messages. After a failure the ranks no longer agree on what comes next: call world_fail.
 *
 * No operation waits for ever. A watchdog thread ends the process, with exit code 1 and one line that names this rank and the operation,
 * when an operation takes longer than the stated time, when a rank of the same node is gone, when the launcher says SIGTERM, and (whatever
 * this rank does) when the launcher itself is gone. docs/ranks.md says more. */
#ifndef RLAIFV_KERNELS_COMM_WORLD_H
#define RLAIFV_KERNELS_COMM_WORLD_H

#include "base/error.h"

#include <stdint.h>

typedef struct World {
    int rank, size;
    int node_rank, node_size; /* among the ranks that share this one's memory */
} World;

enum { WORLD_RANKS_MOST = 64 };
#define WORLD_WATCHDOG_SECONDS 600 /* a word for the table of settings, too */

/* Joins the run. NULL with the Error filled when MPI cannot start, or its ranks are not those that the launcher started. The result is good
 * until world_close. */
const World *world_open(Error *e);

/* The world that was opened; before that, and in a lone process, rank 0 of 1. */
const World *world_here(void);

/* Waits for all ranks without limit of time, as long as all live, and leaves. Returns the largest status of all ranks: the exit code. Ranks
 * that have nothing to do wait here. */
int world_close(int status);

/* Prints the error, once for all ranks of a node that fail together, ends the other ranks, and exits with 1. */
_Noreturn void world_fail(const Error *e);

/* ---- messages in plain memory ---- */

typedef struct WorldMove {
    int peer, sends; /* this rank sends to peer, or receives from it */
    void *at;
    int64_t bytes;
} WorldMove;
/* All at once. Moves between the same two ranks go in order. A move that is shorter or longer on the other side is an error. */
int world_exchange(const char *what, const WorldMove *moves, int n, Error *e);

int world_barrier(const char *what, Error *e);
int world_broadcast(const char *what, int root, void *at, int64_t bytes, Error *e);

/* What each rank gave, one after another: rank r's bytes are data[begin[r]] to data[begin[r + 1]]. */
typedef struct WorldBytes {
    char *data;
    int64_t *begin;
} WorldBytes;
void world_bytes_free(WorldBytes *b);
int world_gather(
    const char *what, int root, const void *mine, int64_t bytes, WorldBytes *all, Error *e); /* `all` is filled at root alone */
int world_all_gather(const char *what, const void *mine, int64_t bytes, WorldBytes *all, Error *e);

typedef enum WorldReduce { WORLD_SUM, WORLD_MAX, WORLD_MIN } WorldReduce;
/* In place. Every rank adds what all gave in the order of ranks, so that all have the same bits, always. */
int world_all_reduce_int64(const char *what, WorldReduce reduce, int64_t *x, int n, Error *e);
int world_all_reduce_double(const char *what, WorldReduce reduce, double *x, int n, Error *e);

/* Work to go on with while messages are waited for; not zero when there was some. NULL: none. */
void world_idle_set(int (*idle)(void));

/* ---- the watchdog ---- */

/* Around whatever may wait for other ranks. They nest, and the outermost name is the one that is told. Without other ranks they do nothing.
 */
void world_watch(const char *what);
void world_watch_untimed(const char *what); /* for what may take any time: only deaths are looked for */
void world_unwatch(void);
/* Seconds that one operation may take, 1 or more; WORLD_WATCHDOG_SECONDS until set. */
void world_watchdog_set(int seconds);

#endif

/* world_private.h - what the files of the world share among themselves: its state, and the watchdog's side of opening and closing. */
#ifndef RLAIFV_KERNELS_COMM_WORLD_PRIVATE_H
#define RLAIFV_KERNELS_COMM_WORLD_PRIVATE_H

#include "kernels/comm/world.h"

#include <stdatomic.h>
#include <sys/types.h>

/* A rank of this node, as the watchdog knows it. */
typedef struct WorldSeat {
    int rank;
    pid_t pid;
    int64_t started; /* in the kernel's ticks: a number that comes again is another process */
} WorldSeat;

/* Memory that the ranks of a node share. */
typedef struct WorldBoard {
    _Atomic int failing; /* 1 + the first rank that says why the run ends */
    struct {
        _Atomic int left;  /* has said goodbye */
        _Atomic int waits; /* is in something that is watched */
    } by_rank[WORLD_RANKS_MOST]; /* of the node */
} WorldBoard;

/* The state of /proc/PID/stat and when it started; 0, or -1 when there is no such process. */
int process_look(pid_t pid, char *state, int64_t *started);

/* This rank's world, before world_open a lone one. */
const World *world_self(void);

/* Keeps SIGTERM from this thread and those it starts, MPI's too, or lets it come again. */
void watch_signal(int block);
/* Starts the thread, after watch_signal(1). Seats whose process cannot be seen from here (another pid namespace) are not looked at. */
int watch_start(const World *w, const WorldSeat *seats, WorldBoard *board, Error *e);
/* From here on ranks may leave, and the board may go; only the time is watched. status: what all ranks end with. Where it is not 0, the first to end has the
 * launcher end the others, which then do so without a word: why is said. */
void watch_peers_end(int status);
void watch_stop(void);

/* The largest of all ranks' values, which all have when all have come. */
int world_meet(const char *what, int64_t *value, Error *e);
#endif

/* comm_host.c - groups of ranks whose buffers are plain memory: moves are messages of world.h, done when the function returns. */
#include "kernels/comm/comm_device.h"

#include <stdlib.h>

typedef struct HostLink {
    int ranks[WORLD_RANKS_MOST]; /* of the world */
} HostLink;

static int host_open(void **out, const int *ranks, int n, int self, Error *e) {
    (void)self;
    HostLink *link = mem_new(1, sizeof *link, "a group of ranks", e);
    if (!link) return -1;
    for (int i = 0; i < n; i++) link->ranks[i] = ranks[i];
    *out = link;
    return 0;
}

static void host_close(void *link) { free(link); }

static int host_exchange(void *at, const char *what, const CommMove *moves, int n, Error *e) {
    const HostLink *link = at;
    WorldMove all[2 * WORLD_RANKS_MOST];
    for (int i = 0; i < n; i++)
        all[i] = (WorldMove){ link->ranks[moves[i].peer], moves[i].sends, moves[i].at.at,
            moves[i].count * (int64_t)dtype_size(moves[i].at.dtype) };
    return world_exchange(what, all, n, e);
}

static int at_once(void *link, Error *e) {
    (void)link, (void)e;
    return 0;
}
static int finished(void *link, const char *what, Error *e) {
    (void)link, (void)what, (void)e;
    return 0;
}

const CommDevice comm_host = {
    .open = host_open,
    .close = host_close,
    .begin = at_once,
    .end = at_once,
    .exchange = host_exchange,
    .wait = at_once,
    .finish = finished,
};

/* comm_device.h - what a device offers to a group of ranks: bytes from one device's memory to another's, in an order beside that of
 * compute. comm.c makes the collectives of it.
 *
 * `link` is the device's own; ranks are counted within the group. Functions return 0, or -1 with the Error filled. */
#ifndef RLAIFV_KERNELS_COMM_COMM_DEVICE_H
#define RLAIFV_KERNELS_COMM_COMM_DEVICE_H

#include "kernels/comm/world.h"
#include "kernels/kernels.h"

typedef struct CommMove {
    int peer, sends; /* to peer, or from it; never this rank itself */
    Buf at;
    int64_t count; /* not 0 */
} CommMove;

typedef struct CommDevice {
    int (*open)(void **link, const int *ranks, int n, int self, Error *e); /* ranks of the world; the group's `self` is this one */
    void (*close)(void *link);
    /* From begin to end, moves and operations of Kernels are queued behind all compute so far, and beside that which follows. */
    int (*begin)(void *link, Error *e);
    int (*end)(void *link, Error *e);
    int (*exchange)(void *link, const char *what, const CommMove *moves, int n, Error *e); /* all at once */
    /* Equal parts; mine may lie in its place in all. NULL: exchange serves. */
    int (*all_gather)(void *link, const char *what, Buf all, Buf mine, int64_t each, Error *e);
    int (*broadcast)(void *link, const char *what, Buf x, int64_t count, int root, Error *e); /* NULL: exchange serves */
    int (*wait)(void *link, Error *e);                                                        /* compute queued later waits */
    int (*finish)(void *link, const char *what, Error *e);                                    /* the host waits */
} CommDevice;

/* For devices whose memory the host reads and writes itself (comm_host.c). */
extern const CommDevice comm_host;

#endif

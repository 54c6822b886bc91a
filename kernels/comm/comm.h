/* comm.h - a group of ranks that hold parts of the same numbers in device memory, and what they do together.
 *
 * Every rank of the group calls the same functions in the same order. They are queued in that order. A collective begins after all work of
 * the device that was queued before it, and goes on beside what is queued later, which must not touch the operands until comm_wait: work
 * queued after that comes after all collectives so far. On the CPU a collective is done when the function returns.
 *
 * Sums are made by Kernels.sum_tree: one order whatever the number of ranks or the device, in fp32, rounded once. With fp32 operands the
 * sum over 4 ranks, and the sum over 2 ranks of what sum_tree made of two each, have the same bits.
 *
 * A buffer of `count` elements is dealt to the ranks of a group in parts of ceil(count / n); the last ones may be shorter, or empty. What
 * only moves numbers keeps their bits: int32 ids may travel as FP32. `what` names the operation for messages; while the host waits, the
 * watchdog of world.h watches. After a failure nothing is known of the group's buffers: call world_fail.
 *
 * Bytes that one rank sends, for b bytes of operand at n ranks: all_gather and reduce_scatter (n - 1) / n * b; all_reduce twice that;
 * all_to_all all but its own part; broadcast on the CPU (n - 1) * b at the root, on GPUs what NCCL makes of it. */
#ifndef RLAIFV_KERNELS_COMM_COMM_H
#define RLAIFV_KERNELS_COMM_COMM_H

#include "kernels/comm/world.h"
#include "kernels/kernels.h"

typedef struct Comm Comm;

enum { COMM_PIECE_BYTES = 4 << 20 };

/* A group of n ranks of the world, this one among them; their order is the order of sums and of parts. Collective over the group. A group
 * of one needs no other process. */
int comm_open(Comm **out, const Kernels *k, const World *w, const int *ranks, int n, Error *e);
/* Waits for what is queued. NULL is allowed. */
void comm_close(Comm *c);
int comm_rank(const Comm *c);
int comm_size(const Comm *c);

/* Sums pass through n pieces of at most so many bytes (COMM_PIECE_BYTES until set; the same on all ranks). Changes memory and speed, not
 * results. */
int comm_piece_set(Comm *c, int64_t bytes, Error *e);

/* Where part i of n begins; part n is the end. */
int64_t comm_part(int64_t count, int n, int i);

int comm_all_reduce(Comm *c, const char *what, Buf x, int64_t count, Error *e); /* x = sum over ranks */
/* out = this rank's part of the sum of x (count), which may lie in its place in x. */
int comm_reduce_scatter(Comm *c, const char *what, Buf out, Buf x, int64_t count, Error *e);
/* all (count) = every rank's part; `mine` is this rank's, which may lie in its place in `all`. */
int comm_all_gather(Comm *c, const char *what, Buf all, Buf mine, int64_t count, Error *e);
int comm_broadcast(Comm *c, const char *what, Buf x, int64_t count, int root, Error *e);
/* from holds from_counts[r] elements for each rank r, one after another; `to` takes to_counts[r] from each. */
int comm_all_to_all(Comm *c, const char *what, Buf to, const int64_t *to_counts, Buf from, const int64_t *from_counts, Error *e);

/* Work of the device that is queued from here on waits for all collectives so far. */
int comm_wait(Comm *c, Error *e);
/* The host waits for all collectives so far, of all ranks of the group. */
int comm_barrier(Comm *c, const char *what, Error *e);

#endif

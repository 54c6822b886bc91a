/* shard.h - training state dealt over ranks (ZeRO, Rajbhandari et al. 2020, arXiv 1910.02054), and the way of gradients and weights between them.
 *
 * A unit of parameters (params.h) is cut into as many runs as the group has ranks; rank r owns the r-th run of every unit.
 *
 *     mode         every rank holds whole        only the owner holds
 *     none         weights, gradients, state     -
 *     optimizer    weights, gradients            state: Adam's moments, fp32 master weights; summed gradients
 *     gradients    weights                       state, summed gradients; a unit's own gradients exist while its backward runs
 *     parameters   -                             state, summed gradients, weights: a unit's are gathered before it computes, the next one's meanwhile
 *
 * In the last two modes it is the decoder's units that travel, as every step passes all of them in one order on every rank; what projector and
 * tower (which steps without images leave out) hold stays whole, but for their state.
 *
 * One step: `passes` times a backward over any number of forests and shard_pass_end, by which the gradients are added over the ranks; then the
 * owner's pieces are stepped, and by shard_step_end the new weights are known to all. Both go by the unit, beside compute, where they can: sums
 * begin while the last backward of a pass (shard_pass_last) still runs, and weights go out while later units are stepped.
 *
 * The state may be kept in host memory instead of the device's: a step then streams the gradients down, steps by the host's kernels, and streams
 * the new weights up. Masters are kept for fp32 models too, so that weights need not come down.
 *
 * Sums have a fixed order: pass p of rank r of n is leaf p * n + r of a binary tree. So n ranks and k passes, and 2 n ranks and k / 2 passes, give
 * the same bits when every leaf computes the same (modes none and optimizer; the others add a leaf's forests one by one). */
#ifndef RLAIFV_MODEL_SHARD_H
#define RLAIFV_MODEL_SHARD_H

#include "kernels/comm/comm.h"
#include "model/model.h"

typedef enum ShardMode { SHARD_NONE, SHARD_OPTIMIZER, SHARD_GRADIENTS, SHARD_PARAMETERS } ShardMode;

typedef struct Shard Shard;

/* What a rank steps of one tensor: elements first .. first + count - 1 of it. p: weights in the model's dtype; master: fp32, or none where p is
 * itself fp32 and the state is on the device; g: the summed gradient. */
typedef struct ShardPiece {
    const Param *param;
    int64_t first, count;
    const Kernels *keeper; /* in whose memory master, m and v are; p and g are always the model's */
    Buf p, master, m, v, g;
} ShardPiece;

/* Of a model in slices (Model.slices) `comm` is the group of those ranks that hold the same slice as this one. What is said of ranks here is said of that
 * group; only norms and checkpoints are made over both. */
/* Makes the training state of the parts that are not frozen (bit mask of 1 << ParamPart). comm is borrowed; every rank of it has the same weights
 * and calls the same functions. In mode parameters the decoder's whole weights are let go until shard_close. host: in whose (unified) memory the
 * state is kept and by whom it is stepped; NULL, or a model whose memory is the host's: by the model's own. */
int shard_open(Shard **out, Model *m, Comm *comm, ShardMode mode, unsigned frozen, int passes, const Kernels *host, Error *e);
/* Lets the training state go; all ranks have whole weights again. s NULL is allowed. e NULL: after a failure, which other ranks may not share: nothing
 * is gathered, and in mode parameters the model is left without weights. */
int shard_close(Shard *s, Error *e);

/* The next backward is the last of this pass: what it has done with may be summed over the ranks. Changes when sums begin, not their results. */
void shard_pass_last(Shard *s);
int shard_pass_end(Shard *s, Error *e);
/* The pieces of this rank, in the order of the arena. */
const ShardPiece *shard_pieces(const Shard *s, int *n);
/* Sum of squares of the summed gradient over all ranks; of a model in slices, which all ranks of the world must train, what all slices hold counts once. Rounded to fp32 unless the tree has one leaf: other numbers of ranks cut the sum elsewhere,
 * and what they differ by in double is gone but for one step in some ten million. */
int shard_gradient_squares(Shard *s, double *sum, Error *e);
/* Steps piece `i`. Pieces are stepped in their order, each once. */
int shard_piece_step(Shard *s, int i, const AdamW *a, Error *e);
/* Masters (where there are any) were loaded: weights are what they round to. */
void shard_masters_loaded(Shard *s);
/* After the pieces were stepped (or loaded): weights go to all, gradients start from zero. */
int shard_step_end(Shard *s, Error *e);

ShardMode shard_mode(const Shard *s);
/* The exact weights of a unit (fp32 masters where there are any) on this rank's device until the next call, for writing checkpoints; collective. Of a unit
 * that is cut, rank 0 of the group gets those of all slices, one after another. */
int shard_unit_exact(Shard *s, int unit, Buf *weights, Error *e);

/* Visits the bytes of every buffer on the device that shard_open makes on rank `rank` of `n`, and of what it lets go (negative); needs no model's
 * weights. offload: the state is in host memory. */
void shard_sizes(const Params *p, DType dtype, ShardMode mode, unsigned frozen, int passes, int offload, int rank, int n,
    void (*visit)(void *context, const char *what, int64_t bytes), void *context);

#endif

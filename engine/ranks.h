/* ranks.h - the ranks of a run as the engine sees them: who is here, which of them hold one model together, and over which a model's work
 * is dealt.
 *
 * Groups of `ranks.tensor` neighbours hold the slices of one model (model/slices.h) and do exactly the same: the same prompts, pairs,
 * chunks. The groups share out the work. With slices, rank R of the world is slice R % slices of copy R / slices. */
#ifndef RLAIFV_ENGINE_RANKS_H
#define RLAIFV_ENGINE_RANKS_H

#include "engine/config.h"
#include "kernels/comm/comm.h"

typedef struct Ranks {
    const World *world;
    Comm *data;     /* one rank of every copy of the model, those with this one's slice: each works on its own pairs */
    int rank, size; /* in data: which copy of the model, of how many */
    Comm *tensor;   /* the ranks of this copy; NULL: this one alone */
    int slice, slices;
    int passes; /* of a rank in one optimiser step: parts of the step's pairs over size */
} Ranks;

/* Copies of the model on `size` ranks, and parts of a step. */
int ranks_copies(const RunConfig *c, int size);
int ranks_parts(const RunConfig *c, int size);
/* Refuses settings that do not divide among `size` ranks. */
int ranks_check(const RunConfig *c, int size, Error *e);
/* Refuses a model that does not divide into ranks.tensor slices; reads its config.json alone. */
int ranks_divide(const RunConfig *c, const char *folder, Error *e);
/* All ranks of the world. */
int ranks_open(Ranks *r, const RunConfig *c, const Kernels *k, Error *e);
/* This rank alone, whoever else there is. */
int ranks_lone(Ranks *r, const Kernels *k, Error *e);
void ranks_close(Ranks *r);

/* ranks.offload: the kernels in whose memory the training state is kept, or NULL for the model's own (shard.h). */
int ranks_offload(const RunConfig *c, const Kernels **host, Error *e);

/* All ranks must mean the same by `what`: refuses on those whose text (of at most PATH_SIZE bytes) is not rank 0's. */
int ranks_agree(const Ranks *r, const char *what, const char *text, Error *e);
/* All ranks have come here. */
int ranks_meet(const Ranks *r, const char *what, Error *e);
/* The same without a limit of time, where some do what the others only wait for: files that are written, read and compared. */
int ranks_meet_patiently(const Ranks *r, const char *what, Error *e);

/* 1 on the rank that owns the run's files and speaks. */
static inline int ranks_lead(const Ranks *r) { return r->rank == 0 && r->slice == 0; }
/* All ranks that work together, and this one's number among them. */
static inline int ranks_all(const Ranks *r) { return r->size * r->slices; }
static inline int ranks_self(const Ranks *r) { return r->rank * r->slices + r->slice; }

#endif

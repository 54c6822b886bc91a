/* ranks.h - the ranks of a run as the engine sees them: who is here, and the group over which a model's training is dealt. */
#ifndef RLAIFV_ENGINE_RANKS_H
#define RLAIFV_ENGINE_RANKS_H

#include "engine/config.h"
#include "kernels/comm/comm.h"

typedef struct Ranks {
    const World *world;
    Comm *data;     /* every rank holds a copy of the model, or its part of one, and works on its own pairs */
    int rank, size; /* in data */
    int passes;     /* of a rank in one optimiser step: parts of the step's pairs over size */
} Ranks;

/* Refuses settings that do not divide among the ranks of the world. */
int ranks_check(const RunConfig *c, Error *e);
/* All ranks of the world. */
int ranks_open(Ranks *r, const RunConfig *c, const Kernels *k, Error *e);
/* This rank alone, whoever else there is. */
int ranks_lone(Ranks *r, const Kernels *k, Error *e);
void ranks_close(Ranks *r);

/* All ranks have come here. */
int ranks_meet(const Ranks *r, const char *what, Error *e);

/* 1 on the rank that owns the run's files and speaks. */
static inline int ranks_lead(const Ranks *r) { return r->rank == 0; }

#endif

/* ranks.c - see ranks.h. */
#include "engine/ranks.h"

#include <stdlib.h>
#include <string.h>

static int group_open(Ranks *r, const Kernels *k, const int *ranks, int n, Error *e) {
    if (comm_open(&r->data, k, r->world, ranks, n, e)) return -1;
    r->rank = comm_rank(r->data);
    r->size = comm_size(r->data);
    r->passes = 1;
    return 0;
}

int ranks_lone(Ranks *r, const Kernels *k, Error *e) {
    *r = (Ranks){ .world = world_here() };
    return group_open(r, k, &r->world->rank, 1, e);
}

static int parts_of(const RunConfig *c) { return c->ranks.parts ? c->ranks.parts : world_here()->size; }

int ranks_check(const RunConfig *c, Error *e) {
    int size = world_here()->size, parts = parts_of(c);
    if (parts % size) {
        error_what(e, "the parts of a step do not divide among the ranks"), error_where(e, "ranks.parts");
        error_found(e, "%d parts, %d ranks", parts, size);
        return error_hint(e, "start as many ranks as divide ranks.parts, or leave it 0");
    }
    if (parts <= c->train.batch_pairs) return 0;
    error_what(e, "a step has fewer pairs than parts"), error_where(e, "train.batch_pairs"), error_found(e, "%d", c->train.batch_pairs);
    error_expected(e, "at least %d, one for each %s", parts, c->ranks.parts ? "of ranks.parts" : "rank");
    return error_hint(e, "larger steps, or fewer ranks");
}

int ranks_open(Ranks *r, const RunConfig *c, const Kernels *k, Error *e) {
    int all[WORLD_RANKS_MOST];
    *r = (Ranks){ .world = world_here() };
    if (ranks_check(c, e)) return -1;
    for (int i = 0; i < r->world->size; i++) all[i] = i;
    if (group_open(r, k, all, r->world->size, e)) return -1;
    r->passes = parts_of(c) / r->size;
    return 0;
}

int ranks_meet(const Ranks *r, const char *what, Error *e) { return r->size > 1 ? comm_barrier(r->data, what, e) : 0; }

void ranks_close(Ranks *r) {
    comm_close(r->data);
    r->data = NULL;
}

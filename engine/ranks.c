/* ranks.c - see ranks.h. */
#include "engine/ranks.h"

#include "model/config.h"

#include <stdlib.h>
#include <string.h>

static int data_open(Ranks *r, const Kernels *k, const int *ranks, int n, Error *e) {
    if (comm_open(&r->data, k, r->world, ranks, n, e)) return -1;
    r->rank = comm_rank(r->data);
    r->size = comm_size(r->data);
    return 0;
}

int ranks_lone(Ranks *r, const Kernels *k, Error *e) {
    *r = (Ranks){ .world = world_here(), .slices = 1, .passes = 1 };
    return data_open(r, k, &r->world->rank, 1, e);
}

int ranks_copies(const RunConfig *c, int size) { return size / c->ranks.tensor; }
int ranks_parts(const RunConfig *c, int size) { return c->ranks.parts ? c->ranks.parts : ranks_copies(c, size); }

int ranks_check(const RunConfig *c, int size, Error *e) {
    int tensor = c->ranks.tensor;
    if (size % tensor) {
        error_what(e, "the ranks do not divide into groups that hold one model"), error_where(e, "ranks.tensor");
        error_found(e, "%d ranks, ranks.tensor = %d", size, tensor);
        return error_hint(e, "start a multiple of ranks.tensor ranks");
    }
    int copies = ranks_copies(c, size), parts = ranks_parts(c, size);
    if (parts % copies) {
        error_what(e, "the parts of a step do not divide among the ranks"), error_where(e, "ranks.parts");
        if (tensor == 1) error_found(e, "%d parts, %d ranks", parts, size);
        else error_found(e, "%d parts, %d groups of %d ranks", parts, copies, tensor);
        return error_hint(e, "start as many ranks as divide ranks.parts, or leave it 0");
    }
    if (parts <= c->train.batch_pairs) return 0;
    error_what(e, "a step has fewer pairs than parts"), error_where(e, "train.batch_pairs"), error_found(e, "%d", c->train.batch_pairs);
    error_expected(e, "at least %d, one for each %s", parts, c->ranks.parts ? "of ranks.parts" : tensor > 1 ? "group of ranks" : "rank");
    return error_hint(e, "larger steps, or fewer ranks");
}

int ranks_divide(const RunConfig *c, const char *folder, Error *e) {
    ModelConfig config;
    return config_load(folder, &config, e) || config_slice(&config, 0, c->ranks.tensor, folder, e) ? -1 : 0;
}

int ranks_open(Ranks *r, const RunConfig *c, const Kernels *k, Error *e) {
    int group[WORLD_RANKS_MOST], slices = c->ranks.tensor, size = world_here()->size, copies = ranks_copies(c, size);
    *r = (Ranks){ .world = world_here(), .slices = slices, .slice = world_here()->rank % slices };
    if (ranks_check(c, size, e)) return -1;
    for (int i = 0; i < copies; i++) group[i] = i * slices + r->slice;
    if (data_open(r, k, group, copies, e)) return -1;
    for (int i = 0; i < slices; i++) group[i] = r->rank * slices + i;
    if (slices > 1 && comm_open(&r->tensor, k, r->world, group, slices, e)) return -1;
    r->passes = ranks_parts(c, size) / r->size;
    return 0;
}

int ranks_offload(const RunConfig *c, const Kernels **host, Error *e) {
    *host = NULL;
    return c->ranks.offload == OFFLOAD_OPTIMIZER && !(*host = kernels_open("cpu", c->run.threads, e)) ? -1 : 0;
}

int ranks_agree(const Ranks *r, const char *what, const char *text, Error *e) {
    char lead[PATH_SIZE] = "";
    if (ranks_all(r) == 1) return 0;
    snprintf(lead, sizeof lead, "%s", text);
    if (world_broadcast(what, 0, lead, sizeof lead, e)) return -1;
    if (!strcmp(lead, text)) return 0;
    error_what(e, "this rank would make something else than rank 0"), error_where(e, "rank %d: %s", r->world->rank, what);
    error_found(e, "%.500s", text), error_expected(e, "%.500s", lead);
    return error_hint(e, "every node needs the same files");
}

/* First those of each copy of the model, then one slice of all copies: then all have come. */
int ranks_meet(const Ranks *r, const char *what, Error *e) {
    if (r->slices > 1 && comm_barrier(r->tensor, what, e)) return -1;
    return r->size > 1 ? comm_barrier(r->data, what, e) : 0;
}

int ranks_meet_patiently(const Ranks *r, const char *what, Error *e) {
    if (ranks_all(r) == 1) return 0;
    world_watch_untimed(what);
    int bad = ranks_meet(r, what, e);
    world_unwatch();
    return bad;
}

void ranks_close(Ranks *r) {
    comm_close(r->tensor);
    comm_close(r->data);
    r->data = r->tensor = NULL;
}

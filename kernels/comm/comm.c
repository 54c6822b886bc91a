/* comm.c - see comm.h. Owns the collectives: which part goes where, in which pieces, and in which order it is summed. How bytes move is the
 * device's (comm_device.h); a group of one moves none.
 *
 * A sum is never left to a library, whose order may depend on the number of ranks: every rank gets all ranks' copies of a piece of its own
 * part, and adds them by sum_tree. That sends the bytes of a ring, in fewer steps, for n pieces of memory. */
#include "kernels/comm/comm.h"

#include "kernels/comm/comm_device.h"

#include <stdlib.h>
#include <string.h>

struct Comm {
    const Kernels *k;
    const CommDevice *device; /* NULL: a group of one */
    void *link;
    int n, self;
    int ranks[WORLD_RANKS_MOST];
    int64_t piece; /* bytes */
    Buf parts;     /* n pieces, one of each rank */
};
_Static_assert((int)WORLD_RANKS_MOST <= (int)SUM_TREE_MOST, "one run of a sum for each rank");

enum { MOVES = 2 * WORLD_RANKS_MOST, PIECE_ALIGN = 16 };

int comm_rank(const Comm *c) { return c->self; }
int comm_size(const Comm *c) { return c->n; }

int64_t comm_part(int64_t count, int n, int i) {
    int64_t each = (count + n - 1) / n;
    return i * each < count ? i * each : count;
}

static int64_t part_size(int64_t count, int n, int i) { return comm_part(count, n, i + 1) - comm_part(count, n, i); }

/* ---- open, close ---- */

static int group_check(const World *w, const int *ranks, int n, int *self, Error *e) {
    *self = -1;
    if (n < 1 || n > WORLD_RANKS_MOST)
        return error_what(e, "bad size of a group of ranks"), error_found(e, "%d", n), error_expected(e, "1 to %d", WORLD_RANKS_MOST);
    for (int i = 0; i < n; i++) {
        int bad = ranks[i] < 0 || ranks[i] >= w->size;
        for (int j = 0; j < i; j++) bad |= ranks[j] == ranks[i];
        if (bad) {
            error_what(e, "bad group of ranks"), error_found(e, "rank %d", ranks[i]);
            return error_expected(e, "ranks 0 to %d, each once", w->size - 1);
        }
        if (ranks[i] == w->rank) *self = i;
    }
    return *self < 0 ? error_what(e, "bad group of ranks"), error_expected(e, "rank %d, which opens it, among them", w->rank) : 0;
}

int comm_open(Comm **out, const Kernels *k, const World *w, const int *ranks, int n, Error *e) {
    int self;
    *out = NULL;
    if (group_check(w, ranks, n, &self, e)) return -1;
    const CommDevice *device = n == 1 ? NULL : k->unified ? &comm_host : k->comm;
    if (n > 1 && !device) {
        error_what(e, "this program was built without NCCL"), error_found(e, "%d ranks on device %s", n, k->name);
        return error_hint(e, "build where nccl.h is found (make found says), use one rank, or use --device cpu");
    }
    Comm *c = mem_new(1, sizeof *c, "a group of ranks", e);
    if (!c) return -1;
    *c = (Comm){ .k = k, .device = device, .n = n, .self = self };
    memcpy(c->ranks, ranks, (size_t)n * sizeof *ranks);
    world_watch("opening a group of ranks");
    int bad = device && (device->open(&c->link, ranks, n, self, e) || comm_piece_set(c, COMM_PIECE_BYTES, e));
    world_unwatch();
    if (bad) return comm_close(c), -1;
    *out = c;
    return 0;
}

void comm_close(Comm *c) {
    if (!c) return;
    Error unsaid;
    world_watch("closing a group of ranks");
    if (c->link) c->device->finish(c->link, "closing a group of ranks", &unsaid);
    c->k->free(c->parts);
    if (c->link) c->device->close(c->link);
    world_unwatch();
    free(c);
}

int comm_piece_set(Comm *c, int64_t bytes, Error *e) {
    Buf parts;
    int64_t piece = (bytes + PIECE_ALIGN - 1) / PIECE_ALIGN * PIECE_ALIGN;
    if (!c->device) return 0;
    if (bytes < 1) return error_what(e, "bad size of the pieces of a sum"), error_found(e, "%lld bytes", (long long)bytes);
    if (c->k->alloc(&parts, FP32, c->n * (piece / (int64_t)dtype_size(FP32)), "pieces of sums over ranks", e)) return -1;
    if (c->device->finish(c->link, "pieces of sums", e)) return c->k->free(parts), -1;
    c->k->free(c->parts);
    c->parts = parts;
    c->piece = piece;
    return 0;
}

/* ---- pieces of collectives, between begin and end ---- */

static int dtypes_check(const char *what, Buf a, Buf b, Error *e) {
    return a.dtype == b.dtype ? 0 : error_what(e, "%s: operands of two dtypes", what);
}

static void move_add(CommMove *moves, int *n, int peer, int sends, Buf at, int64_t count) {
    if (count > 0) moves[(*n)++] = (CommMove){ peer, sends, at, count };
}

static int64_t clip(int64_t x, int64_t most) { return x < 0 ? 0 : x < most ? x : most; }

/* Elements `at` to `at + piece` of every rank's part, as far as there are any: out they go, and this rank's are summed. */
static int piece_reduce(Comm *c, const char *what, Buf out, Buf x, int64_t count, int64_t at, int64_t piece, Error *e) {
    CommMove moves[MOVES];
    Buf parts = { c->parts.at, x.dtype };
    int64_t mine = clip(part_size(count, c->n, c->self) - at, piece);
    int n = 0;
    for (int step = 1; step < c->n; step++) { /* each rank begins with another */
        int to = (c->self + step) % c->n, from = (c->self - step + c->n) % c->n;
        move_add(moves, &n, to, 1, buf_at(x, comm_part(count, c->n, to) + at), clip(part_size(count, c->n, to) - at, piece));
        move_add(moves, &n, from, 0, buf_at(parts, from * mine), mine);
    }
    if (mine) c->k->copy(buf_at(parts, c->self * mine), buf_at(x, comm_part(count, c->n, c->self) + at), mine);
    if (n && c->device->exchange(c->link, what, moves, n, e)) return -1;
    if (mine) c->k->sum_tree(buf_at(out, at), parts, c->n, mine);
    return 0;
}

static int sum_parts(Comm *c, const char *what, Buf out, Buf x, int64_t count, Error *e) {
    int64_t each = part_size(count, c->n, 0), piece = c->piece / (int64_t)dtype_size(x.dtype);
    for (int64_t at = 0; at < each; at += piece)
        if (piece_reduce(c, what, out, x, count, at, piece, e)) return -1;
    return 0;
}

static int gather_parts(Comm *c, const char *what, Buf all, Buf mine, int64_t count, Error *e) {
    CommMove moves[MOVES];
    int n = 0;
    if (count % c->n == 0 && c->device->all_gather) return c->device->all_gather(c->link, what, all, mine, count / c->n, e);
    Buf place = buf_at(all, comm_part(count, c->n, c->self));
    int64_t own = part_size(count, c->n, c->self);
    for (int step = 1; step < c->n; step++) {
        int to = (c->self + step) % c->n, from = (c->self - step + c->n) % c->n;
        move_add(moves, &n, to, 1, mine, own);
        move_add(moves, &n, from, 0, buf_at(all, comm_part(count, c->n, from)), part_size(count, c->n, from));
    }
    if (own && place.at != mine.at) c->k->copy(place, mine, own);
    return n ? c->device->exchange(c->link, what, moves, n, e) : 0;
}

static int broadcast_parts(Comm *c, const char *what, Buf x, int64_t count, int root, Error *e) {
    CommMove moves[MOVES];
    int n = 0;
    if (c->device->broadcast) return c->device->broadcast(c->link, what, x, count, root, e);
    if (c->self != root) move_add(moves, &n, root, 0, x, count);
    else
        for (int r = 0; r < c->n; r++)
            if (r != root) move_add(moves, &n, r, 1, x, count);
    return c->device->exchange(c->link, what, moves, n, e);
}

/* ---- collectives ---- */

/* The body runs between begin and end, watched; `bad` is what became of it. */
#define COLLECTIVE(c, what, e, body)                                                                                                       \
    world_watch(what);                                                                                                                     \
    int bad = (c)->device->begin((c)->link, e) || (body);                                                                                  \
    if ((c)->device->end((c)->link, bad ? NULL : e)) bad = 1;                                                                              \
    world_unwatch();                                                                                                                       \
    return bad ? -1 : 0

int comm_all_reduce(Comm *c, const char *what, Buf x, int64_t count, Error *e) {
    if (!c->device || count <= 0) return 0;
    Buf own = buf_at(x, comm_part(count, c->n, c->self));
    COLLECTIVE(c, what, e, sum_parts(c, what, own, x, count, e) || gather_parts(c, what, x, own, count, e));
}

int comm_reduce_scatter(Comm *c, const char *what, Buf out, Buf x, int64_t count, Error *e) {
    if (dtypes_check(what, out, x, e)) return -1;
    if (count <= 0) return 0;
    if (!c->device) return out.at == x.at ? 0 : (c->k->copy(out, x, count), 0);
    COLLECTIVE(c, what, e, sum_parts(c, what, out, x, count, e));
}

int comm_all_gather(Comm *c, const char *what, Buf all, Buf mine, int64_t count, Error *e) {
    if (dtypes_check(what, all, mine, e)) return -1;
    if (count <= 0) return 0;
    if (!c->device) return all.at == mine.at ? 0 : (c->k->copy(all, mine, count), 0);
    COLLECTIVE(c, what, e, gather_parts(c, what, all, mine, count, e));
}

int comm_broadcast(Comm *c, const char *what, Buf x, int64_t count, int root, Error *e) {
    if (root < 0 || root >= c->n) return error_what(e, "%s: no such rank in the group", what), error_found(e, "%d", root);
    if (!c->device || count <= 0) return 0;
    COLLECTIVE(c, what, e, broadcast_parts(c, what, x, count, root, e));
}

static int deal(Comm *c, const char *what, Buf to, const int64_t *to_counts, Buf from, const int64_t *from_counts, Error *e) {
    CommMove moves[MOVES];
    int64_t to_at = 0, from_at = 0;
    int n = 0;
    for (int r = 0; r < c->n; to_at += to_counts[r], from_at += from_counts[r], r++) {
        if (r == c->self) {
            if (to_counts[r]) c->k->copy(buf_at(to, to_at), buf_at(from, from_at), to_counts[r]);
            continue;
        }
        move_add(moves, &n, r, 1, buf_at(from, from_at), from_counts[r]);
        move_add(moves, &n, r, 0, buf_at(to, to_at), to_counts[r]);
    }
    return n ? c->device->exchange(c->link, what, moves, n, e) : 0;
}

int comm_all_to_all(Comm *c, const char *what, Buf to, const int64_t *to_counts, Buf from, const int64_t *from_counts, Error *e) {
    if (dtypes_check(what, to, from, e)) return -1;
    if (to_counts[c->self] != from_counts[c->self]) {
        error_what(e, "%s: a rank's counts for itself differ", what);
        return error_found(e, "%lld to it, %lld from it", (long long)from_counts[c->self], (long long)to_counts[c->self]);
    }
    if (!c->device) return to_counts[0] > 0 ? (c->k->copy(to, from, to_counts[0]), 0) : 0;
    COLLECTIVE(c, what, e, deal(c, what, to, to_counts, from, from_counts, e));
}

int comm_wait(Comm *c, Error *e) { return c->device ? c->device->wait(c->link, e) : 0; }

/* Every rank hears from every other when what it queued is done. */
int comm_barrier(Comm *c, const char *what, Error *e) {
    WorldMove moves[MOVES];
    int n = 0;
    if (!c->device) return 0;
    world_watch(what);
    int bad = c->device->finish(c->link, what, e);
    for (int r = 0; r < c->n; r++) {
        if (r == c->self) continue;
        moves[n++] = (WorldMove){ c->ranks[r], 1, NULL, 0 };
        moves[n++] = (WorldMove){ c->ranks[r], 0, NULL, 0 };
    }
    if (!bad) bad = world_exchange(what, moves, n, e);
    world_unwatch();
    return bad ? -1 : 0;
}

/* attention_work.c - see attention_work.h. Owns the order in which attention is computed on the device; knows no device and multiplies
 * nothing. Trusts the plan: ranges lie inside the key/value memory, segments see at least one key. */
#include "kernels/cuda/attention_work.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_ALIGN = 16 };

/* The lists while they grow, and rows `first` .. of a segment in the tile at hand. */
typedef struct Piece {
    int segment, first, rows;
} Piece;
typedef struct Build {
    const AttentionPlan *plan;
    AttentionPurpose purpose;
    int columns, group, kv_rows;
    int *order, *part_of; /* segments by chain; first part of a segment's rows, or -1 */
    AttentionTile *tiles;
    AttentionSight *sights;
    AttentionMerge *merges;
    AttentionKeyTile *key_tiles;
    AttentionVisit *visits;
    int *rows, *part_first;
    size_t tiles_cap, sights_cap, merges_cap, key_tiles_cap, rows_cap, part_first_cap, visits_cap, order_cap, part_of_cap;
    int tiles_n, sights_n, merges_n, key_tiles_n, visits_n, rows_n, parts_n;
    Piece pieces[ATTENTION_COLUMNS_MOST]; /* of the tile at hand: at least a row each */
    int pieces_n, tile_rows, row_first;
    Error *e;
} Build;

static int least(int a, int b) { return a < b ? a : b; }
static int spans(int keys) { return (keys + ATTENTION_SPAN - 1) / ATTENTION_SPAN; }

static int grow(Build *b, void *array, size_t *cap, int need, size_t size) {
    return mem_grow(array, cap, (size_t)need, size, "attention's work", b->e);
}

/* ---- segments in order ---- */

static const KeyRange *range_of(const AttentionPlan *plan, int segment, int depth) {
    return &plan->ranges[plan->segments[segment].range_first + depth];
}

/* Segments by their chains of ranges, root first; equal chains in the plan's order. */
static int order_compare(const void *left, const void *right, void *of) {
    const AttentionPlan *plan = of;
    int a = *(const int *)left, b = *(const int *)right, m = plan->segments[a].range_count, n = plan->segments[b].range_count;
    for (int i = 0; i < m && i < n; i++) {
        const KeyRange *x = range_of(plan, a, i), *y = range_of(plan, b, i);
        if (x->first != y->first) return x->first < y->first ? -1 : 1;
        if (x->count != y->count) return x->count < y->count ? -1 : 1;
    }
    if (m != n) return m < n ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* 1 when two segments have the same ranges at depths 0 .. depth. */
static int chain_shared(const AttentionPlan *plan, int a, int b, int depth) {
    if (plan->segments[a].range_count <= depth || plan->segments[b].range_count <= depth) return 0;
    for (int i = 0; i <= depth; i++) {
        const KeyRange *x = range_of(plan, a, i), *y = range_of(plan, b, i);
        if (x->first != y->first || x->count != y->count) return 0;
    }
    return 1;
}

/* How many parts the keys of a segment's rows are dealt into. */
static int segment_parts(const Build *b, int segment) {
    const AttentionSegment *s = &b->plan->segments[segment];
    if (b->purpose == ATTENTION_BACKWARD || s->q_count > ATTENTION_FEW_ROWS) return 1;
    int parts = spans(s->self_before + s->q_count);
    for (int d = 0; d < s->range_count; d++) parts += spans(range_of(b->plan, segment, d)->count);
    return parts;
}

static int segments_order(Build *b) {
    const AttentionPlan *plan = b->plan;
    if (grow(b, &b->order, &b->order_cap, plan->segments_n, sizeof *b->order) ||
        grow(b, &b->part_of, &b->part_of_cap, plan->segments_n, sizeof *b->part_of))
        return -1;
    for (int s = 0; s < plan->segments_n; s++) b->order[s] = s;
    if (plan->segments_n > 1) qsort_r(b->order, (size_t)plan->segments_n, sizeof *b->order, order_compare, (void *)(uintptr_t)plan);
    for (int s = 0; s < plan->segments_n; s++) {
        int parts = segment_parts(b, s), rows = plan->segments[s].q_count;
        b->part_of[s] = parts > 1 ? b->parts_n : -1;
        if (parts == 1) continue;
        if (grow(b, &b->merges, &b->merges_cap, b->merges_n + rows, sizeof *b->merges)) return -1;
        for (int r = 0; r < rows; r++, b->parts_n += parts)
            b->merges[b->merges_n++] = (AttentionMerge){ plan->segments[s].q_first + r, b->parts_n, parts };
    }
    return 0;
}

/* ---- tiles ---- */

/* A tile of rows from .. end - 1 of those at hand. */
static int tile_add(Build *b, int from, int end, int part) {
    if (grow(b, &b->tiles, &b->tiles_cap, b->tiles_n + 1, sizeof *b->tiles)) return -1;
    b->tiles[b->tiles_n++] = (AttentionTile){ b->row_first + from, end - from, b->sights_n, 0, part };
    return 0;
}

static int sight_add(Build *b, AttentionSight s) {
    if (grow(b, &b->sights, &b->sights_cap, b->sights_n + 1, sizeof *b->sights)) return -1;
    b->sights[b->sights_n++] = s;
    b->tiles[b->tiles_n - 1].sights_n++;
    return 0;
}

/* Rows from .. end - 1 of those at hand see a range: a sight of their tile, or, where their keys are dealt in parts, a tile of these rows
 * for each of its spans, from part number `part` on. */
static int sight_deal(Build *b, AttentionSight s, int from, int end, int in_parts, int part) {
    if (s.keys == 0) return 0;
    int before = in_parts ? from : 0; /* rows before the tile's first */
    s.column_first = (from - before) * b->group, s.column_end = (end - before) * b->group;
    if (!in_parts) return sight_add(b, s);
    for (int key = 0; key < s.keys; key += ATTENTION_SPAN) {
        AttentionSight span = s;
        span.key_first += key;
        span.keys = least(ATTENTION_SPAN, s.keys - key);
        span.limit -= key;
        if (tile_add(b, from, end, part++) || sight_add(b, span)) return -1;
    }
    return 0;
}

/* Sights of ancestors at one depth; the parts before them are those of the depths before. *seen is set when there are any. */
static int depth_sights(Build *b, int depth, int in_parts, int *seen) {
    const AttentionPlan *plan = b->plan;
    int row = 0;
    for (int p = 0, next; p < b->pieces_n; p = next) {
        int segment = b->pieces[p].segment, from = row;
        for (next = p; next < b->pieces_n && (next == p || chain_shared(plan, segment, b->pieces[next].segment, depth)); next++)
            row += b->pieces[next].rows;
        if (plan->segments[segment].range_count <= depth) continue;
        *seen = 1;
        int part = 0;
        for (int d = 0; d < depth; d++) part += spans(range_of(plan, segment, d)->count);
        const KeyRange *r = range_of(plan, segment, depth);
        AttentionSight s = { .key_first = r->first, .keys = r->count, .limit = r->count };
        if (sight_deal(b, s, from, row, in_parts, part)) return -1;
    }
    return 0;
}

/* Sights of the pieces' own segments. */
static int own_sights(Build *b, int in_parts) {
    const AttentionPlan *plan = b->plan;
    int row = 0;
    for (int i = 0; i < b->pieces_n; i++) {
        const Piece *p = &b->pieces[i];
        const AttentionSegment *a = &plan->segments[p->segment];
        int part = 0, whole = in_parts || !plan->causal; /* parts are counted alike for all rows of a segment */
        for (int d = 0; d < a->range_count; d++) part += spans(range_of(plan, p->segment, d)->count);
        int keys = a->self_before + (whole ? a->q_count : p->first + p->rows);
        AttentionSight s = { .key_first = a->self_first, .keys = keys, .limit = plan->causal ? a->self_before + p->first + 1 : keys };
        if (sight_deal(b, s, row, row + p->rows, in_parts, part)) return -1;
        row += p->rows;
    }
    return 0;
}

/* Closes the tile at hand. */
static int tile_close(Build *b, int in_parts) {
    if (b->pieces_n == 0) return 0;
    if (!in_parts && tile_add(b, 0, b->tile_rows, -1)) return -1;
    for (int depth = 0, seen = 1; seen; depth++) {
        seen = 0;
        if (depth_sights(b, depth, in_parts, &seen)) return -1;
    }
    if (own_sights(b, in_parts)) return -1;
    b->pieces_n = b->tile_rows = 0;
    return 0;
}

/* Gathers rows of the segments whose keys are (not) dealt in parts into tiles. A segment may end one tile and start the next; one that has
 * nothing in common with the tile at hand starts a new one, for another thread block to work on at the same time. */
static int tiles_gather(Build *b, int in_parts) {
    const AttentionPlan *plan = b->plan;
    int rows_most = (in_parts ? least(b->columns, ATTENTION_FEW_COLUMNS) : b->columns) / b->group;
    for (int i = 0; i < plan->segments_n; i++) {
        int segment = b->order[i], total = plan->segments[segment].q_count;
        if ((b->part_of[segment] >= 0) != in_parts) continue;
        if (b->pieces_n > 0 && !chain_shared(plan, b->pieces[0].segment, segment, 0) && tile_close(b, in_parts)) return -1;
        for (int first = 0, n; first < total; first += n) {
            if (b->tile_rows == rows_most && tile_close(b, in_parts)) return -1;
            n = least(total - first, rows_most - b->tile_rows);
            if (b->pieces_n == 0) b->row_first = b->rows_n;
            if (grow(b, &b->rows, &b->rows_cap, b->rows_n + n, sizeof *b->rows) ||
                grow(b, &b->part_first, &b->part_first_cap, b->rows_n + n, sizeof *b->part_first))
                return -1;
            int parts = in_parts ? segment_parts(b, segment) : 0;
            for (int r = first; r < first + n; r++) {
                b->rows[b->rows_n] = plan->segments[segment].q_first + r;
                b->part_first[b->rows_n++] = in_parts ? b->part_of[segment] + r * parts : -1;
            }
            b->pieces[b->pieces_n++] = (Piece){ segment, first, n };
            b->tile_rows += n;
        }
    }
    return tile_close(b, in_parts);
}

/* Key tiles that a tile walks. */
static int64_t tile_cost(const Build *b, const AttentionTile *t) {
    int64_t cost = 0;
    for (int s = 0; s < t->sights_n; s++) cost += (b->sights[t->sight_first + s].keys + ATTENTION_KEYS - 1) / ATTENTION_KEYS;
    return cost;
}
static int cost_compare(const void *left, const void *right, void *of) {
    const AttentionTile *a = left, *b = right;
    if ((a->part < 0) != (b->part < 0)) return a->part < 0 ? -1 : 1;
    int64_t x = tile_cost(of, a), y = tile_cost(of, b);
    if (x != y) return x > y ? -1 : 1;
    return a->sight_first < b->sight_first ? -1 : a->sight_first > b->sight_first;
}

/* ---- key tiles, for backward ---- */

static int int_compare(const void *left, const void *right) {
    int a = *(const int *)left, b = *(const int *)right;
    return a < b ? -1 : a > b;
}

/* Cuts the slots where ranges start and end, so that few tiles are seen in part only; short runs share a tile. */
static int key_tiles_cut(Build *b) {
    int *cuts = NULL, n = 0;
    size_t cap = 0;
    if (mem_grow(&cuts, &cap, 2 * (size_t)b->sights_n + 2, sizeof *cuts, "attention's work", b->e)) return -1;
    cuts[n++] = 0, cuts[n++] = b->kv_rows;
    for (int s = 0; s < b->sights_n; s++) {
        cuts[n++] = b->sights[s].key_first;
        if (b->sights[s].limit >= b->sights[s].keys) cuts[n++] = b->sights[s].key_first + b->sights[s].keys; /* not where a tile ends */
    }
    qsort(cuts, (size_t)n, sizeof *cuts, int_compare);
    int failed = 0, open = 0; /* open: the last tile holds short runs and may take another */
    for (int i = 0; i + 1 < n && !failed; i++) {
        int run = cuts[i + 1] - cuts[i];
        if (run == 0) continue;
        AttentionKeyTile *last = b->key_tiles_n ? &b->key_tiles[b->key_tiles_n - 1] : NULL;
        if (open && last->slots_n + run <= ATTENTION_KEYS) {
            last->slots_n += run;
            continue;
        }
        open = run < ATTENTION_KEYS;
        int more = (run + ATTENTION_KEYS - 1) / ATTENTION_KEYS;
        failed = grow(b, &b->key_tiles, &b->key_tiles_cap, b->key_tiles_n + more, sizeof *b->key_tiles);
        for (int from = 0; from < run && !failed; from += ATTENTION_KEYS)
            b->key_tiles[b->key_tiles_n++] = (AttentionKeyTile){ cuts[i] + from, least(ATTENTION_KEYS, run - from), 0, 0 };
    }
    free(cuts);
    return failed;
}

/* The key tile that holds a slot. */
static int key_tile_of(const Build *b, int slot) {
    int low = 0, high = b->key_tiles_n - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (b->key_tiles[middle].slot_first <= slot) low = middle;
        else high = middle - 1;
    }
    return low;
}

/* Goes through all visits, in the order in which they are added up: counts them, or files them. */
static void visits_walk(Build *b, int file) {
    for (int t = 0; t < b->tiles_n; t++)
        for (int i = 0; i < b->tiles[t].sights_n; i++) {
            int index = b->tiles[t].sight_first + i;
            const AttentionSight *s = &b->sights[index];
            for (int from = s->column_first / ATTENTION_STEP * ATTENTION_STEP; from < s->column_end; from += ATTENTION_STEP) {
                int last = least(from + ATTENTION_STEP, s->column_end) - 1;
                int sees = least(s->keys, s->limit + (last - s->column_first) / b->group), end = s->key_first + sees;
                if (sees <= 0) continue;
                for (int k = key_tile_of(b, s->key_first); k < b->key_tiles_n && b->key_tiles[k].slot_first < end; k++) {
                    AttentionKeyTile *key_tile = &b->key_tiles[k];
                    if (file) b->visits[key_tile->visit_first + key_tile->visits_n] = (AttentionVisit){ t, from, index };
                    key_tile->visits_n++;
                }
            }
        }
}

static int visits_list(Build *b) {
    visits_walk(b, 0);
    for (int k = 0; k < b->key_tiles_n; k++) {
        b->key_tiles[k].visit_first = b->visits_n;
        b->visits_n += b->key_tiles[k].visits_n;
        b->key_tiles[k].visits_n = 0;
    }
    if (grow(b, &b->visits, &b->visits_cap, b->visits_n, sizeof *b->visits)) return -1;
    visits_walk(b, 1);
    return 0;
}

/* Key tiles that are seen most come first. */
static int visits_compare(const void *left, const void *right) {
    const AttentionKeyTile *a = left, *b = right;
    if (a->visits_n != b->visits_n) return a->visits_n > b->visits_n ? -1 : 1;
    return a->slot_first < b->slot_first ? -1 : a->slot_first > b->slot_first;
}

/* ---- the lists as one run of bytes ---- */

/* Where each list lies, in the order of AttentionLists' members. */
static int64_t lists_place(AttentionLists *l, const char *at) {
    int64_t offset = 0;
#define PLACE(list, n)                                                                                                                     \
    l->list = (const void *)(at + offset), offset += ((int64_t)sizeof *l->list * (n) + LIST_ALIGN - 1) / LIST_ALIGN * LIST_ALIGN
    PLACE(tiles, l->tiles_n);
    PLACE(sights, l->sights_n);
    PLACE(merges, l->merges_n);
    PLACE(key_tiles, l->key_tiles_n);
    PLACE(visits, l->visits_n);
    PLACE(rows, l->rows_n);
    PLACE(part_first, l->rows_n);
#undef PLACE
    return offset;
}

AttentionLists attention_lists_at(const AttentionWork *w, const void *at) {
    AttentionLists l = w->lists;
    lists_place(&l, at);
    return l;
}

static void list_copy(const void *to, const void *from, int n, size_t size) {
    if (n > 0) memcpy((void *)(uintptr_t)to, from, (size_t)n * size);
}

static int lists_pack(AttentionWork *w, const Build *b) {
    AttentionLists l = { .group = b->group,
        .tiles_n = b->tiles_n,
        .sights_n = b->sights_n,
        .merges_n = b->merges_n,
        .key_tiles_n = b->key_tiles_n,
        .visits_n = b->visits_n,
        .rows_n = b->rows_n,
        .parts_n = b->parts_n };
    int64_t bytes = lists_place(&l, NULL);
    if (mem_grow(&w->bytes, &w->bytes_cap, (size_t)bytes, 1, "attention's work", b->e)) return -1;
    if (bytes > 0) memset(w->bytes, 0, (size_t)bytes);
    lists_place(&l, w->bytes);
    list_copy(l.tiles, b->tiles, l.tiles_n, sizeof *l.tiles);
    list_copy(l.sights, b->sights, l.sights_n, sizeof *l.sights);
    list_copy(l.merges, b->merges, l.merges_n, sizeof *l.merges);
    list_copy(l.key_tiles, b->key_tiles, l.key_tiles_n, sizeof *l.key_tiles);
    list_copy(l.visits, b->visits, l.visits_n, sizeof *l.visits);
    list_copy(l.rows, b->rows, l.rows_n, sizeof *l.rows);
    list_copy(l.part_first, b->part_first, l.rows_n, sizeof *l.part_first);
    w->lists = l;
    w->bytes_n = bytes;
    return 0;
}

/* ---- the work ---- */

static int build_all(Build *b) {
    if (segments_order(b) || tiles_gather(b, 0)) return -1;
    if (tiles_gather(b, 1)) return -1;
    if (b->tiles_n > 1) qsort_r(b->tiles, (size_t)b->tiles_n, sizeof *b->tiles, cost_compare, b);
    if (b->purpose == ATTENTION_FORWARD) return 0;
    if (key_tiles_cut(b) || visits_list(b)) return -1;
    if (b->key_tiles_n > 1) qsort(b->key_tiles, (size_t)b->key_tiles_n, sizeof *b->key_tiles, visits_compare);
    return 0;
}

static int same(const AttentionWork *w, const AttentionPlan *p, AttentionPurpose purpose, int columns, int kv_rows) {
    return w->built && w->purpose == purpose && w->columns == columns && w->kv_rows == kv_rows && w->plan.segments_n == p->segments_n &&
           w->plan.ranges_n == p->ranges_n && w->plan.causal == p->causal && w->plan.heads == p->heads && w->plan.kv_heads == p->kv_heads &&
           memcmp(w->segments, p->segments, (size_t)p->segments_n * sizeof *p->segments) == 0 &&
           (p->ranges_n == 0 || memcmp(w->ranges, p->ranges, (size_t)p->ranges_n * sizeof *p->ranges) == 0);
}

int attention_work_build(AttentionWork *w, const AttentionPlan *plan, AttentionPurpose purpose, int columns, int kv_rows, Error *e) {
    int group = plan->heads / plan->kv_heads;
    assert(columns > 0 && columns % ATTENTION_STEP == 0 && columns <= ATTENTION_COLUMNS_MOST && group <= columns);
    if (same(w, plan, purpose, columns, kv_rows)) return 0;
    Build b = { .plan = plan, .purpose = purpose, .columns = columns, .group = group, .kv_rows = kv_rows, .e = e };
    w->plan.segments_n = -1; /* equal to no plan until all is well */
    int failed = mem_grow(&w->segments, &w->segments_cap, (size_t)plan->segments_n, sizeof *w->segments, "attention's work", e) ||
                 mem_grow(&w->ranges, &w->ranges_cap, (size_t)plan->ranges_n, sizeof *w->ranges, "attention's work", e) || build_all(&b) ||
                 lists_pack(w, &b);
    if (!failed) {
        list_copy(w->segments, plan->segments, plan->segments_n, sizeof *w->segments);
        list_copy(w->ranges, plan->ranges, plan->ranges_n, sizeof *w->ranges);
        w->plan = *plan;
        w->purpose = purpose, w->columns = columns, w->kv_rows = kv_rows;
        w->built++;
    }
    free(b.order), free(b.part_of), free(b.tiles), free(b.sights), free(b.merges), free(b.key_tiles), free(b.visits), free(b.rows);
    free(b.part_first);
    return failed ? -1 : 0;
}

void attention_work_free(AttentionWork *w) {
    free(w->bytes);
    free(w->segments);
    free(w->ranges);
    memset(w, 0, sizeof *w);
}

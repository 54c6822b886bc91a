/* attention_work.c - see attention_work.h. Owns the order in which attention is computed, and its scratch memory; multiplies nothing. */
#include "kernels/cpu/attention_work.h"

#include "kernels/cpu/rows.h"
#include "kernels/cpu_state.h"

#include <assert.h>
#include <omp.h>
#include <stdlib.h>

enum { ALIGN = 64 };

/* Segments by their chains of ranges, root first; equal chains in the plan's order. */
static int chain_compare(const AttentionPlan *plan, int a, int b) {
    const AttentionSegment *s = &plan->segments[a], *t = &plan->segments[b];
    for (int i = 0; i < s->range_count && i < t->range_count; i++) {
        const KeyRange *x = &plan->ranges[s->range_first + i], *y = &plan->ranges[t->range_first + i];
        if (x->first != y->first) return x->first < y->first ? -1 : 1;
        if (x->count != y->count) return x->count < y->count ? -1 : 1;
    }
    if (s->range_count != t->range_count) return s->range_count < t->range_count ? -1 : 1;
    return a < b ? -1 : a > b;
}
static int order_compare(const void *a, const void *b, void *plan) { return chain_compare(plan, *(const int *)a, *(const int *)b); }

static int rows_total(const AttentionPlan *plan) {
    int rows = 0;
    for (int s = 0; s < plan->segments_n; s++) rows += plan->segments[s].q_count;
    return rows;
}

int ISA_FN(attention_work_open)(AttentionWork *w, const AttentionPlan *plan) {
    assert(plan->head_size > 0 && plan->kv_heads > 0 && plan->heads % plan->kv_heads == 0);
    int group = plan->heads / plan->kv_heads, threads = omp_get_max_threads(), rows = rows_total(plan);
    assert(group <= CHUNK_COLUMNS);
    /* Smaller chunks where there would be too few tasks for the threads. */
    int columns = CHUNK_COLUMNS;
    while (threads > 1 && columns > BLOCK_COLUMNS && columns / 2 >= group &&
           ((int64_t)rows * group + columns - 1) / columns * plan->kv_heads < 2 * threads)
        columns /= 2;
    int rows_most = columns / group, align = group < VEC_WIDTH ? VEC_WIDTH / group : 1;
    int64_t pieces_most = plan->segments_n + rows / rows_most;
    char *at = cpu_scratch(
        SCRATCH_ATTENTION_WORK, pieces_most * (int64_t)(sizeof(Piece) + sizeof(Chunk)) + plan->segments_n * (int64_t)sizeof(int));
    if (!at) return -1;
    *w = (AttentionWork){ .plan = plan, .group = group, .padded = round_up(plan->head_size, VEC_WIDTH), .threads = threads };
    w->pieces = (Piece *)at;
    w->chunks = (Chunk *)(w->pieces + pieces_most);
    int *order = (int *)(w->chunks + pieces_most), sorted = 1, pieces_n = 0;
    for (int s = 0; s < plan->segments_n; s++) {
        order[s] = s;
        if (s && chain_compare(plan, s - 1, s) > 0) sorted = 0;
    }
    if (!sorted) qsort_r(order, (size_t)plan->segments_n, sizeof *order, order_compare, (void *)(uintptr_t)plan);
    for (int i = 0; i < plan->segments_n; i++) {
        int total = plan->segments[order[i]].q_count;
        if (total == 0) continue;
        int parts = (total + rows_most - 1) / rows_most, each = (total + parts - 1) / parts;
        if (parts > 1 && round_up(each, align) <= rows_most) each = round_up(each, align);
        for (int first = 0; first < total; first += each) {
            int n = (int)least(each, total - first);
            Chunk *c = w->chunks_n ? &w->chunks[w->chunks_n - 1] : NULL;
            if (!c || c->columns + n * group > columns) {
                c = &w->chunks[w->chunks_n++];
                *c = (Chunk){ .piece_first = pieces_n };
            }
            w->pieces[pieces_n++] = (Piece){ order[i], first, n, c->columns };
            c->pieces_n++;
            c->columns += n * group;
        }
    }
    assert(pieces_n <= pieces_most);
    return 0;
}

int ISA_FN(attention_work_scratch)(AttentionWork *w, int64_t shared_floats, int64_t own_floats) {
    int64_t line = ALIGN / (int64_t)sizeof(float);
    shared_floats = (shared_floats + line - 1) / line * line;
    w->own_floats = (own_floats + line - 1) / line * line;
    w->shared = cpu_scratch(SCRATCH_ATTENTION, (shared_floats + w->threads * w->own_floats) * (int64_t)sizeof(float));
    w->own = w->shared ? w->shared + shared_floats : NULL;
    return w->shared ? 0 : -1;
}

static const AttentionSegment *segment_of(const SightWalk *k, int piece) {
    return &k->work->plan->segments[k->work->pieces[piece].segment];
}

/* Other columns of the sight's vectors see nothing. */
static int limits_close(Sight *s, int *limit) {
    int from = s->first / VEC_WIDTH * VEC_WIDTH, end = round_up(s->end, VEC_WIDTH);
    for (int c = from; c < s->first; c++) limit[c] = 0;
    for (int c = s->end; c < end; c++) limit[c] = 0;
    s->limit = limit;
    return 1;
}

int ISA_FN(sight_next)(SightWalk *k, Sight *s, int *limit) {
    const AttentionWork *w = k->work;
    int first = k->chunk->piece_first, end = first + k->chunk->pieces_n;
    while (!k->own) {
        int p = first + k->piece;
        while (p < end && segment_of(k, p)->range_count <= k->depth) p++;
        if (p == end) { /* this depth is done; the last one is that at which nobody has a range */
            if (k->piece == 0) k->own = 1;
            else k->depth++;
            k->piece = 0;
            continue;
        }
        s->few = 0;
        s->range = w->plan->ranges[segment_of(k, p)->range_first + k->depth];
        s->first = w->pieces[p].column;
        for (; p < end && segment_of(k, p)->range_count > k->depth; p++) {
            const KeyRange *r = &w->plan->ranges[segment_of(k, p)->range_first + k->depth];
            if (r->first != s->range.first || r->count != s->range.count) break;
            s->end = w->pieces[p].column + w->pieces[p].rows * w->group;
        }
        k->piece = p - first;
        for (int c = s->first; c < s->end; c++) limit[c] = s->range.count;
        return limits_close(s, limit);
    }
    if (first + k->piece == end) return 0;
    const Piece *p = &w->pieces[first + k->piece++];
    const AttentionSegment *a = &w->plan->segments[p->segment];
    int all = a->self_before + (w->plan->causal ? p->first + p->rows : a->q_count);
    *s = (Sight){ .range = { a->self_first, all },
        .first = p->column,
        .end = p->column + p->rows * w->group,
        .few = a->q_count * w->group <= FEW_COLUMNS };
    for (int c = s->first, row = 0; row < p->rows; row++) {
        int sees = w->plan->causal ? a->self_before + p->first + row + 1 : all;
        for (int g = 0; g < w->group; g++) limit[c++] = sees;
    }
    return limits_close(s, limit);
}

void ISA_FN(chunk_columns)(const AttentionWork *w, const Chunk *chunk, int kv_head, Column *columns) {
    for (int i = 0; i < chunk->pieces_n; i++) {
        const Piece *p = &w->pieces[chunk->piece_first + i];
        int row = w->plan->segments[p->segment].q_first + p->first;
        for (int r = 0; r < p->rows; r++)
            for (int g = 0; g < w->group; g++) *columns++ = (Column){ row + r, kv_head * w->group + g };
    }
}

void ISA_FN(rows_pack)(float *to, int padded, Buf from, int64_t offset, int64_t stride, int rows, int E) {
    int whole = E / VEC_WIDTH * VEC_WIDTH;
    for (int r = 0; r < rows; r++, to += padded, offset += stride) {
        int e = 0;
        if (from.dtype == FP32) {
            const float *x = (const float *)from.at + offset;
            for (; e < whole; e += VEC_WIDTH) vec_store(to + e, vec_load(x + e));
            for (; e < E; e++) to[e] = x[e];
        } else {
            const bf16 *x = (const bf16 *)from.at + offset;
            for (; e < whole; e += VEC_WIDTH) vec_store(to + e, vec_load_bf16(x + e));
            for (; e < E; e++) to[e] = bf16_to_float(x[e]);
        }
        for (; e < padded; e++) to[e] = 0;
    }
}

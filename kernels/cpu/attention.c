/* attention.c - scaled dot-product attention of a Forest, forward: each query row attends to a list of key ranges, its ancestors whole, and
 * to its own segment. Follows Dao 2023 (arXiv 2307.08691) with ranges in place of a mask: scores live in one tile at a time, sums and
 * maxima are carried on (online softmax), and where a row sees several ranges its sums simply go on, which equals merging by log-sum-exp.
 *
 * Rows that share a range are gathered, with all query heads of a key/value head, so that the range is read once and the products are
 * matrix-shaped (attention_work.h). The few new rows of a segment against its own keys, as in decoding, take a path of dot products. Any
 * head size works; multiples of the vector width (16 with AVX-512) waste nothing. */
#include "kernels/cpu/attention_work.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/tile.h"

#include <math.h>
#include <omp.h>

enum { FEW_HEAD_SIZE = 512 }; /* of the path of dot products */

#define UNSEEN (-1e30f) /* score of a key that a column does not see: finite, so that differences stay numbers */

/* What a task works in. Blocks of columns are BLOCK_COLUMNS wide. */
typedef struct Scratch {
    float *queries;               /* (blocks, E, BLOCK_COLUMNS), scaled */
    float *sums;                  /* (columns, padded): numerators */
    float *tops, *totals, *fades; /* per column: largest score, denominator, what the last tile multiplied both by */
    float *scores;                /* (TILE_KEYS, BLOCK_COLUMNS) */
    float *keys, *values;         /* (TILE_KEYS, padded) */
    int *limits[2];               /* per column: of a sight and of the next */
    Column *columns;
} Scratch;

static int64_t scratch_floats(int E, int padded) {
    return CHUNK_COLUMNS * (int64_t)(E + padded + 7) + TILE_KEYS * (int64_t)(BLOCK_COLUMNS + 2 * padded);
}

static void scratch_place(Scratch *s, float *at, int E, int padded) {
    s->queries = at, at += (int64_t)CHUNK_COLUMNS * E;
    s->sums = at, at += (int64_t)CHUNK_COLUMNS * padded;
    s->scores = at, at += TILE_KEYS * BLOCK_COLUMNS;
    s->keys = at, at += TILE_KEYS * padded;
    s->values = at, at += TILE_KEYS * padded;
    s->tops = at, at += CHUNK_COLUMNS;
    s->totals = at, at += CHUNK_COLUMNS;
    s->fades = at, at += CHUNK_COLUMNS;
    for (int i = 0; i < 2; i++) s->limits[i] = (int *)at, at += CHUNK_COLUMNS;
    s->columns = (Column *)at;
}

/* Turns the scores of `keys` keys and VEC_WIDTH columns into weights, and carries the columns' largest score and denominator on. Column c
 * sees the first limit[c] - tile_first of them, or all where `limit` is NULL. */
static void softmax_columns(float *scores, int keys, const int *limit, int tile_first, float *tops, float *totals, float *fades) {
    vec top = vec_load(tops), before = top, total = { 0 };
    if (limit) {
        ivec sees;
        memcpy(&sees, limit, sizeof sees);
        sees -= tile_first;
        for (int j = 0; j < keys; j++) {
            vec s = vec_pick(sees > j, vec_load(scores + j * BLOCK_COLUMNS), vec_all(UNSEEN));
            vec_store(scores + j * BLOCK_COLUMNS, s);
            top = vec_max(top, s);
        }
        for (int j = 0; j < keys; j++) {
            vec p = vec_exp(vec_load(scores + j * BLOCK_COLUMNS) - top);
            p = (vec)((ivec)p & (sees > j));
            vec_store(scores + j * BLOCK_COLUMNS, p);
            total += p;
        }
    } else {
        for (int j = 0; j < keys; j++) top = vec_max(top, vec_load(scores + j * BLOCK_COLUMNS));
        for (int j = 0; j < keys; j++) {
            vec p = vec_exp(vec_load(scores + j * BLOCK_COLUMNS) - top);
            vec_store(scores + j * BLOCK_COLUMNS, p);
            total += p;
        }
    }
    vec fade = vec_exp(before - top);
    vec_store(tops, top);
    vec_store(fades, fade);
    vec_store(totals, vec_load(totals) * fade + total);
}

/* Adds a tile of n keys to the columns from .. end - 1 (whole vectors of one block), as far as they belong to the sight. */
static void tile_add(const Scratch *s, int E, int padded, TileView keys, int n, int tile_first, const Sight *sight, int from, int end) {
    int sees_least, sees_most, block = from / BLOCK_COLUMNS * BLOCK_COLUMNS;
    limit_bounds(sight->limit, from, end, &sees_least, &sees_most);
    if (sees_most <= tile_first) return;
    int full = sees_least >= tile_first + n;
    n = (int)least(n, sees_most - tile_first);
    float *scores = s->scores + (from - block);
    ISA_FN(tile_product)
    (scores, BLOCK_COLUMNS, keys, s->queries + (int64_t)block * E + (from - block), BLOCK_COLUMNS, n, end - from, E, TILE_SET, NULL);
    for (int c = from; c < end; c += VEC_WIDTH)
        softmax_columns(s->scores + (c - block), n, full ? NULL : sight->limit + c, tile_first, s->tops + c, s->totals + c, s->fades + c);
    int first = from < sight->first ? sight->first : from, last = end > sight->end ? sight->end : end;
    ISA_FN(tile_product)
    (s->sums + (int64_t)first * padded, padded, (TileView){ s->scores + (first - block), 1, BLOCK_COLUMNS }, s->values, padded,
        last - first, padded, n, TILE_SCALE, s->fades + first);
}

/* One column and a tile of keys that it sees whole: `keys` and `values` rows are readable for `padded` floats. */
static void few_add(const float *query, float *sum, float *top_at, float *total_at, const float *keys, const float *values, int64_t row,
    int n, int padded) {
    float p[TILE_KEYS];
    vec top = vec_all(*top_at), total = { 0 };
    for (int j = 0; j < n; j++) {
        vec dot = { 0 };
        for (int e = 0; e < padded; e += VEC_WIDTH) dot += vec_load(query + e) * vec_load(keys + j * row + e);
        p[j] = vec_sum(dot);
    }
    int wide = round_up(n, VEC_WIDTH);
    for (int j = n; j < wide; j++) p[j] = UNSEEN;
    for (int j = 0; j < wide; j += VEC_WIDTH) top = vec_max(top, vec_load(p + j));
    float most = top[0];
    for (int i = 1; i < VEC_WIDTH; i++) most = top[i] > most ? top[i] : most;
    for (int j = 0; j < wide; j += VEC_WIDTH) {
        vec w = vec_exp(vec_load(p + j) - most);
        vec_store(p + j, w);
        total += w;
    }
    vec fade = vec_exp(vec_all(*top_at - most));
    *total_at = *total_at * fade[0] + vec_sum(total);
    *top_at = most;
    for (int e = 0; e < padded; e += VEC_WIDTH) {
        vec even = vec_load(sum + e) * fade, odd = { 0 };
        int j = 0;
        for (; j + 1 < n; j += 2) {
            even += vec_load(values + j * row + e) * p[j];
            odd += vec_load(values + (j + 1) * row + e) * p[j + 1];
        }
        if (j < n) even += vec_load(values + j * row + e) * p[j];
        vec_store(sum + e, even + odd);
    }
}

typedef struct Call {
    AttentionWork work;
    Buf out, lse, q, k, v;
    int64_t q_stride, kv_stride;
} Call;

static void sight_few(const Call *call, const Scratch *s, const Sight *sight, int kv_head) {
    int E = call->work.plan->head_size, padded = call->work.padded, direct = call->k.dtype == FP32 && E == padded;
    float query[FEW_HEAD_SIZE];
    for (int c = sight->first; c < sight->end; c++) {
        const float *from = s->queries + (int64_t)(c / BLOCK_COLUMNS) * E * BLOCK_COLUMNS + c % BLOCK_COLUMNS;
        for (int e = 0; e < padded; e++) query[e] = e < E ? from[e * BLOCK_COLUMNS] : 0;
        for (int tile = 0; tile < sight->limit[c]; tile += TILE_KEYS) {
            int n = (int)least(TILE_KEYS, sight->limit[c] - tile);
            int64_t at = (int64_t)(sight->range.first + tile) * call->kv_stride + (int64_t)kv_head * E, row = call->kv_stride;
            const float *keys = (const float *)call->k.at + at, *values = (const float *)call->v.at + at;
            if (!direct) {
                ISA_FN(rows_pack)(s->keys, padded, call->k, at, call->kv_stride, n, E);
                ISA_FN(rows_pack)(s->values, padded, call->v, at, call->kv_stride, n, E);
                keys = s->keys, values = s->values, row = padded;
            }
            few_add(query, s->sums + (int64_t)c * padded, s->tops + c, s->totals + c, keys, values, row, n, padded);
        }
    }
}

static void sight_add(const Call *call, const Scratch *s, const Sight *sight, int kv_head) {
    int E = call->work.plan->head_size, padded = call->work.padded;
    for (int tile = 0; tile < sight->range.count; tile += TILE_KEYS) {
        int n = (int)least(TILE_KEYS, sight->range.count - tile);
        slots_prefetch(call->k, call->v, call->kv_stride, kv_head * E, E, &sight->range, tile + n);
        int64_t at = (int64_t)(sight->range.first + tile) * call->kv_stride + (int64_t)kv_head * E;
        TileView keys = { (const float *)call->k.at + at, call->kv_stride, 1 };
        if (call->k.dtype != FP32) {
            ISA_FN(rows_pack)(s->keys, padded, call->k, at, call->kv_stride, n, E);
            keys = (TileView){ s->keys, padded, 1 };
        }
        ISA_FN(rows_pack)(s->values, padded, call->v, at, call->kv_stride, n, E);
        for (int from = sight->first / VEC_WIDTH * VEC_WIDTH, end; from < sight->end; from = end) {
            end = (int)least(from / BLOCK_COLUMNS * BLOCK_COLUMNS + BLOCK_COLUMNS, round_up(sight->end, VEC_WIDTH));
            int sees_least, sees_most;
            limit_bounds(sight->limit, from, end, &sees_least, &sees_most);
            if (sees_least < tile + n) end = (int)least(end, from / MASKED_COLUMNS * MASKED_COLUMNS + MASKED_COLUMNS);
            tile_add(s, E, padded, keys, n, tile, sight, from, end);
        }
    }
}

static void task_forward(const Call *call, const Scratch *s, const Chunk *chunk, int kv_head) {
    const AttentionPlan *plan = call->work.plan;
    int E = plan->head_size, padded = call->work.padded, wide = round_up(chunk->columns, VEC_WIDTH);
    ISA_FN(chunk_columns)(&call->work, chunk, kv_head, s->columns);
    for (int c = 0; c < wide; c++) {
        float *sum = s->sums + (int64_t)c * padded;
        if (c + AHEAD < chunk->columns)
            row_prefetch(call->q, s->columns[c + AHEAD].row * call->q_stride + (int64_t)s->columns[c + AHEAD].head * E, E);
        if (c < chunk->columns) {
            const float *x = row_read(call->q, s->columns[c].row * call->q_stride + (int64_t)s->columns[c].head * E, E, sum);
            column_set(s->queries, E, c, x, plan->scale);
        }
        memset(sum, 0, (size_t)padded * sizeof *sum);
        if (c >= chunk->columns) column_set(s->queries, E, c, sum, 1);
        s->tops[c] = UNSEEN;
        s->totals[c] = 0;
    }
    SightWalk walk = { .work = &call->work, .chunk = chunk };
    Sight sight, next;
    int more = ISA_FN(sight_next)(&walk, &next, s->limits[0]);
    for (int turn = 1; more; turn = !turn) {
        sight = next;
        more = ISA_FN(sight_next)(&walk, &next, s->limits[turn]);
        if (more) slots_prefetch(call->k, call->v, call->kv_stride, kv_head * E, E, &next.range, 0);
        if (sight.few && padded <= FEW_HEAD_SIZE) sight_few(call, s, &sight, kv_head);
        else sight_add(call, s, &sight, kv_head);
    }
    for (int c = 0; c < chunk->columns; c++) {
        Column at = s->columns[c];
        float *sum = s->sums + (int64_t)c * padded, share = 1.0f / s->totals[c];
        int64_t to = ((int64_t)at.row * plan->heads + at.head) * E;
        float *y = call->out.dtype == FP32 ? (float *)call->out.at + to : sum;
        for (int e = 0; e < E; e++) y[e] = sum[e] * share;
        row_done(call->out, to, E, y);
        if (call->lse.at) ((float *)call->lse.at)[(int64_t)at.row * plan->heads + at.head] = s->tops[c] + logf(s->totals[c]);
    }
}

void ISA_FN(attention_forward)(Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride, int64_t kv_stride, const AttentionPlan *plan) {
    Call call = { .out = out, .lse = lse, .q = q, .k = k, .v = v, .q_stride = q_stride, .kv_stride = kv_stride };
    if (ISA_FN(attention_work_open)(&call.work, plan)) return;
    if (ISA_FN(attention_work_scratch)(&call.work, 0, scratch_floats(plan->head_size, call.work.padded))) return;
    int tasks = call.work.chunks_n * plan->kv_heads;
#pragma omp parallel num_threads(call.work.threads) if (tasks > 1)
    {
        Scratch s;
        scratch_place(&s, call.work.own + omp_get_thread_num() * call.work.own_floats, plan->head_size, call.work.padded);
        /* The last chunks first: causal ones see the most. */
#pragma omp for schedule(dynamic)
        for (int t = tasks - 1; t >= 0; t--) task_forward(&call, &s, &call.work.chunks[t / plan->kv_heads], t % plan->kv_heads);
    }
}

void ISA_FN(rows_store)(Buf to, int64_t to_stride, Buf from, int64_t from_stride, const int *slots, int T, int width) {
#pragma omp parallel for schedule(static) if ((int64_t)T * width >= PARALLEL_LEAST)
    for (int t = 0; t < T; t++) row_copy(to, slots[t] * to_stride, from, t * from_stride, width);
}

/* attention_backward.c - gradients of attention.c's result with respect to queries, keys and values.
 *
 * Scores are computed again, tile by tile, from the log-sum-exp that forward kept (Dao 2023, arXiv 2307.08691): with P = exp(S - lse) and
 * D = rowsum(dout * out),   dV = P^T dout,   dS = P * (dout V^T - D),   dQ = scale dS K,   dK = scale dS^T Q.
 * One pass makes all three. A task is a key/value head and a share of the chunks; it has its own sums of dK and dV over all slots, so that
 * there are no atomics, and shares are added in order at the end. A slot's sum over all rows that see it, of any segment, comes out of the
 * same pass. */
#include "kernels/cpu/attention_work.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/tile.h"

#include <omp.h>

/* What a task works in, per chunk. Blocks of columns are BLOCK_COLUMNS wide. */
typedef struct Scratch {
    float *queries_t, *douts_t;        /* (blocks, E, BLOCK_COLUMNS); queries scaled */
    float *queries, *douts, *dqueries; /* (columns, padded); queries scaled */
    float *scores, *dscores;           /* (TILE_KEYS, BLOCK_COLUMNS) */
    float *keys, *values;              /* (TILE_KEYS, padded) */
    float *lses, *deltas;              /* per column */
    int *limits[2];                    /* per column: of a sight and of the next */
    Column *columns;
} Scratch;

static int64_t scratch_floats(int E, int padded) {
    return CHUNK_COLUMNS * (int64_t)(2 * E + 3 * padded + 6) + TILE_KEYS * (int64_t)(2 * BLOCK_COLUMNS + 2 * padded);
}

static void scratch_place(Scratch *s, float *at, int E, int padded) {
    s->queries_t = at, at += (int64_t)CHUNK_COLUMNS * E;
    s->douts_t = at, at += (int64_t)CHUNK_COLUMNS * E;
    s->queries = at, at += (int64_t)CHUNK_COLUMNS * padded;
    s->douts = at, at += (int64_t)CHUNK_COLUMNS * padded;
    s->dqueries = at, at += (int64_t)CHUNK_COLUMNS * padded;
    s->scores = at, at += TILE_KEYS * BLOCK_COLUMNS;
    s->dscores = at, at += TILE_KEYS * BLOCK_COLUMNS;
    s->keys = at, at += (int64_t)TILE_KEYS * padded;
    s->values = at, at += (int64_t)TILE_KEYS * padded;
    s->lses = at, at += CHUNK_COLUMNS;
    s->deltas = at, at += CHUNK_COLUMNS;
    for (int i = 0; i < 2; i++) s->limits[i] = (int *)at, at += CHUNK_COLUMNS;
    s->columns = (Column *)at;
}

typedef struct Call {
    AttentionWork work;
    Buf dq, dk, dv, dout, out, lse, q, k, v;
    int64_t q_stride, kv_stride;
    int kv_rows, shares; /* of the chunks */
} Call;

/* The sums of a share and key/value head: dK, then dV, (kv_rows, padded) each. */
static float *slots_sum(const Call *c, int share, int kv_head) {
    return c->work.shared + ((int64_t)share * c->work.plan->kv_heads + kv_head) * 2 * c->kv_rows * c->work.padded;
}

/* Scores and dout V^T of `keys` keys and VEC_WIDTH columns become P and dS. Column c sees limit[c] - tile_first of the keys. */
static void scores_backward(
    float *scores, float *dscores, int keys, const int *limit, int tile_first, const float *lses, const float *deltas) {
    vec lse = vec_load(lses), delta = vec_load(deltas);
    ivec sees;
    memcpy(&sees, limit, sizeof sees);
    sees -= tile_first;
    for (int j = 0; j < keys; j++) {
        vec p = vec_exp(vec_load(scores + j * BLOCK_COLUMNS) - lse), ds = p * (vec_load(dscores + j * BLOCK_COLUMNS) - delta);
        ivec seen = sees > j;
        vec_store(scores + j * BLOCK_COLUMNS, (vec)((ivec)p & seen));
        vec_store(dscores + j * BLOCK_COLUMNS, (vec)((ivec)ds & seen));
    }
}

/* The columns from .. end - 1 (whole vectors of one block), as far as they belong to the sight, with a tile of n keys. */
static void tile_backward(const Scratch *s, int E, int padded, TileView values, int n, int tile_first, const Sight *sight, int from,
    int end, float *dkeys, float *dvalues) {
    int sees_least, sees_most, block = from / BLOCK_COLUMNS * BLOCK_COLUMNS;
    limit_bounds(sight->limit, from, end, &sees_least, &sees_most);
    if (sees_most <= tile_first) return;
    n = (int)least(n, sees_most - tile_first);
    int64_t columns_at = (int64_t)block * E + (from - block);
    ISA_FN(tile_product)
    (s->scores + (from - block), BLOCK_COLUMNS, (TileView){ s->keys, padded, 1 }, s->queries_t + columns_at, BLOCK_COLUMNS, n, end - from,
        E, TILE_SET, NULL);
    ISA_FN(tile_product)
    (s->dscores + (from - block), BLOCK_COLUMNS, values, s->douts_t + columns_at, BLOCK_COLUMNS, n, end - from, E, TILE_SET, NULL);
    for (int c = from; c < end; c += VEC_WIDTH)
        scores_backward(s->scores + (c - block), s->dscores + (c - block), n, sight->limit + c, tile_first, s->lses + c, s->deltas + c);
    int first = from < sight->first ? sight->first : from, last = end > sight->end ? sight->end : end;
    const float *p = s->scores + (first - block), *ds = s->dscores + (first - block);
    int64_t row = (int64_t)first * padded;
    ISA_FN(tile_product)
    (dvalues, padded, (TileView){ p, BLOCK_COLUMNS, 1 }, s->douts + row, padded, n, padded, last - first, TILE_ADD, NULL);
    ISA_FN(tile_product)
    (dkeys, padded, (TileView){ ds, BLOCK_COLUMNS, 1 }, s->queries + row, padded, n, padded, last - first, TILE_ADD, NULL);
    ISA_FN(tile_product)
    (s->dqueries + row, padded, (TileView){ ds, 1, BLOCK_COLUMNS }, s->keys, padded, last - first, padded, n, TILE_ADD, NULL);
}

static void sight_backward(const Call *call, const Scratch *s, const Sight *sight, int kv_head, float *dkeys, float *dvalues) {
    int E = call->work.plan->head_size, padded = call->work.padded;
    for (int tile = 0; tile < sight->range.count; tile += TILE_KEYS) {
        int n = (int)least(TILE_KEYS, sight->range.count - tile);
        int64_t slot = sight->range.first + tile, at = slot * call->kv_stride + (int64_t)kv_head * E;
        slots_prefetch(call->k, call->v, call->kv_stride, kv_head * E, E, &sight->range, tile + n);
        ISA_FN(rows_pack)(s->keys, padded, call->k, at, call->kv_stride, n, E);
        TileView values = { (const float *)call->v.at + at, call->kv_stride, 1 };
        if (call->v.dtype != FP32) {
            ISA_FN(rows_pack)(s->values, padded, call->v, at, call->kv_stride, n, E);
            values = (TileView){ s->values, padded, 1 };
        }
        for (int from = sight->first / VEC_WIDTH * VEC_WIDTH, end; from < sight->end; from = end) {
            end = (int)least(from / BLOCK_COLUMNS * BLOCK_COLUMNS + BLOCK_COLUMNS, round_up(sight->end, VEC_WIDTH));
            int sees_least, sees_most;
            limit_bounds(sight->limit, from, end, &sees_least, &sees_most);
            if (sees_least < tile + n) end = (int)least(end, from / MASKED_COLUMNS * MASKED_COLUMNS + MASKED_COLUMNS);
            tile_backward(s, E, padded, values, n, tile, sight, from, end, dkeys + slot * padded, dvalues + slot * padded);
        }
    }
}

static void chunk_backward(const Call *call, const Scratch *s, const Chunk *chunk, int kv_head, float *dkeys, float *dvalues) {
    const AttentionPlan *plan = call->work.plan;
    int E = plan->head_size, padded = call->work.padded, wide = round_up(chunk->columns, VEC_WIDTH);
    ISA_FN(chunk_columns)(&call->work, chunk, kv_head, s->columns);
    for (int c = 0; c < wide; c++) {
        float *query = s->queries + (int64_t)c * padded, *dout = s->douts + (int64_t)c * padded,
              *dquery = s->dqueries + (int64_t)c * padded, delta = 0;
        if (c + AHEAD < chunk->columns) {
            Column ahead = s->columns[c + AHEAD];
            row_prefetch(call->q, ahead.row * call->q_stride + (int64_t)ahead.head * E, E);
            row_prefetch(call->dout, ((int64_t)ahead.row * plan->heads + ahead.head) * E, E);
            row_prefetch(call->out, ((int64_t)ahead.row * plan->heads + ahead.head) * E, E);
        }
        if (c < chunk->columns) {
            Column at = s->columns[c];
            int64_t head = (int64_t)at.row * plan->heads + at.head;
            ISA_FN(rows_pack)(query, padded, call->q, at.row * call->q_stride + (int64_t)at.head * E, 0, 1, E);
            for (int e = 0; e < E; e++) query[e] *= plan->scale;
            ISA_FN(rows_pack)(dout, padded, call->dout, head * E, 0, 1, E);
            const float *out = row_read(call->out, head * E, E, dquery);
#pragma omp simd reduction(+ : delta)
            for (int e = 0; e < E; e++) delta += out[e] * dout[e];
            s->lses[c] = ((const float *)call->lse.at)[head];
        } else {
            memset(query, 0, (size_t)padded * sizeof *query);
            memset(dout, 0, (size_t)padded * sizeof *dout);
            s->lses[c] = 0;
        }
        s->deltas[c] = delta;
        column_set(s->queries_t, E, c, query, 1);
        column_set(s->douts_t, E, c, dout, 1);
        memset(dquery, 0, (size_t)padded * sizeof *dquery);
    }
    SightWalk walk = { .work = &call->work, .chunk = chunk };
    Sight sight, next;
    int more = ISA_FN(sight_next)(&walk, &next, s->limits[0]);
    for (int turn = 1; more; turn = !turn) {
        sight = next;
        more = ISA_FN(sight_next)(&walk, &next, s->limits[turn]);
        if (more) slots_prefetch(call->k, call->v, call->kv_stride, kv_head * E, E, &next.range, 0);
        sight_backward(call, s, &sight, kv_head, dkeys, dvalues);
    }
    for (int c = 0; c < chunk->columns; c++) {
        int64_t to = s->columns[c].row * call->q_stride + (int64_t)s->columns[c].head * E;
        const float *sum = s->dqueries + (int64_t)c * padded;
        float *dq = row_open(call->dq, to, s->queries);
        for (int e = 0; e < E; e++) dq[e] = sum[e] * plan->scale;
        row_done(call->dq, to, E, dq);
    }
}

/* Adds up the shares of one slot and stores it. */
static void slot_store(const Call *call, Buf to, int slot, int which, float *sum) {
    int E = call->work.plan->head_size, padded = call->work.padded;
    for (int h = 0; h < call->work.plan->kv_heads; h++) {
        int64_t from = ((int64_t)which * call->kv_rows + slot) * padded, at = slot * call->kv_stride + (int64_t)h * E;
        float *x = row_open(to, at, sum);
        memcpy(x, slots_sum(call, 0, h) + from, (size_t)E * sizeof *x);
        for (int share = 1; share < call->shares; share++) {
            const float *more = slots_sum(call, share, h) + from;
            for (int e = 0; e < E; e++) x[e] += more[e];
        }
        row_done(to, at, E, x);
    }
}

void ISA_FN(attention_backward)(Buf dq, Buf dk, Buf dv, Buf dout, Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride,
    int64_t kv_stride, int T, int kv_rows, const AttentionPlan *plan) {
    (void)T;
    Call call = { .dq = dq,
        .dk = dk,
        .dv = dv,
        .dout = dout,
        .out = out,
        .lse = lse,
        .q = q,
        .k = k,
        .v = v,
        .q_stride = q_stride,
        .kv_stride = kv_stride,
        .kv_rows = kv_rows };
    if (ISA_FN(attention_work_open)(&call.work, plan)) return;
    int E = plan->head_size, padded = call.work.padded, heads = plan->kv_heads, threads = call.work.threads, chunks = call.work.chunks_n;
    /* More shares than one only where heads alone would leave threads idle. */
    call.shares = threads > 1 && heads % threads ? (2 * threads + heads - 1) / heads : 1;
    if (call.shares > chunks) call.shares = chunks > 0 ? chunks : 1;
    int64_t slots_floats = 2 * (int64_t)kv_rows * padded;
    if (ISA_FN(attention_work_scratch)(&call.work, call.shares * heads * slots_floats, scratch_floats(E, padded))) return;
#pragma omp parallel num_threads(threads)
    {
        Scratch s;
        scratch_place(&s, call.work.own + omp_get_thread_num() * call.work.own_floats, E, padded);
#pragma omp for schedule(dynamic)
        for (int task = 0; task < call.shares * heads; task++) {
            int share = task / heads, kv_head = task % heads;
            float *dkeys = slots_sum(&call, share, kv_head), *dvalues = dkeys + slots_floats / 2;
            memset(dkeys, 0, (size_t)slots_floats * sizeof *dkeys);
            int64_t first = (int64_t)chunks * share / call.shares, end = (int64_t)chunks * (share + 1) / call.shares;
            for (int64_t c = first; c < end; c++) chunk_backward(&call, &s, &call.work.chunks[c], kv_head, dkeys, dvalues);
        }
#pragma omp for schedule(static)
        for (int slot = 0; slot < kv_rows; slot++) {
            slot_store(&call, dk, slot, 0, s.dqueries);
            slot_store(&call, dv, slot, 1, s.dqueries);
        }
    }
}

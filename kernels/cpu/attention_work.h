/* attention_work.h - how attention's work is cut, for attention.c and attention_backward.c.
 *
 * A column is one query row of one query head; the query heads that share a key/value head have theirs side by side. A plan's rows are cut
 * into chunks of at most CHUNK_COLUMNS columns per key/value head; a task is a chunk and a key/value head, and works alone. Within a chunk,
 * a piece is a run of rows of one segment. Pieces are sorted by their ancestor ranges, so that those which share a range adjoin, and its
 * keys are read once for all their columns.
 *
 * Scores are held transposed, keys by columns: maxima and sums over keys are then plain vector operations, keys and values are used as they
 * lie, and only queries are transposed, once per task. */
#ifndef RLAIFV_KERNELS_CPU_ATTENTION_WORK_H
#define RLAIFV_KERNELS_CPU_ATTENTION_WORK_H

#include "kernels/cpu/ops.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vec.h"

enum {
    CHUNK_COLUMNS = 256, /* at most: queries and sums of a task (128 KiB at head size 64) stay in the second-level cache */
    BLOCK_COLUMNS = 64,  /* of a score tile */
    TILE_KEYS = 64,      /* of a score tile: 16 KiB of scores, beside as much of keys */
    AHEAD = 8,           /* columns: how far ahead queries are asked for */
    FEW_COLUMNS = 4,
    MASKED_COLUMNS = 32 /* of a score tile across the causal diagonal: the narrower, the less is computed in vain */
};

typedef struct Piece {
    int segment, first, rows; /* rows first .. first + rows - 1 of the segment */
    int column;               /* of its first row, within the chunk */
} Piece;

typedef struct Chunk {
    int piece_first, pieces_n, columns;
} Chunk;

typedef struct AttentionWork {
    const AttentionPlan *plan;
    int group;   /* query heads per key/value head */
    int padded;  /* head size rounded up to whole vectors: the row length of tiles */
    int threads; /* that work on it */
    int chunks_n;
    Piece *pieces;
    Chunk *chunks;
    float *shared; /* scratch of the call */
    float *own;    /* scratch of the threads, own_floats each */
    int64_t own_floats;
} AttentionWork;

/* Cuts the plan and reserves scratch, aligned to 64 bytes: shared_floats for the call and own_floats for each thread. -1 when there is no
 * memory (sync reports it). */
int ISA_FN(attention_work_open)(AttentionWork *w, const AttentionPlan *plan);
int ISA_FN(attention_work_scratch)(AttentionWork *w, int64_t shared_floats, int64_t own_floats);

/* The columns of a chunk that see one range. */
typedef struct Sight {
    KeyRange range;
    int first, end;   /* columns */
    const int *limit; /* column c sees the first limit[c] keys of the range; 0 for other columns of the vectors these lie in */
    int few;          /* own keys of a segment with few columns in this step: dot products beat tiles, which are whole vectors wide. What
                       * decides is the segment alone, never who shares its chunk: a row's bits must not depend on that. */
} Sight;
/* Walks the sights of a chunk in the order in which they are added up: ancestors from the root down, then own keys. Starts zeroed but for
 * work and chunk. */
typedef struct SightWalk {
    const AttentionWork *work;
    const Chunk *chunk;
    int depth, piece, own;
} SightWalk;
/* The next sight, or 0 at the end; `limit`, of CHUNK_COLUMNS entries, holds its limits. */
int ISA_FN(sight_next)(SightWalk *walk, Sight *s, int *limit);

/* The row of the plan and the query head of each column of a chunk, for one key/value head. */
typedef struct Column {
    int row, head;
} Column;
void ISA_FN(chunk_columns)(const AttentionWork *w, const Chunk *chunk, int kv_head, Column *columns);

/* `rows` rows of E elements, `stride` apart, as fp32 rows of `padded` floats with zeros behind. */
void ISA_FN(rows_pack)(float *to, int padded, Buf from, int64_t offset, int64_t stride, int rows, int E);

/* Asks for the tile of keys and values from key `tile` of the range on: heads lie a slot apart, so the hardware sees no stream to follow.
 */
static inline void slots_prefetch(Buf k, Buf v, int64_t stride, int64_t head_at, int E, const KeyRange *range, int tile) {
    int end = range->count < tile + TILE_KEYS ? range->count : tile + TILE_KEYS;
    for (int j = tile; j < end; j++) {
        row_prefetch(k, (range->first + j) * stride + head_at, E);
        row_prefetch(v, (range->first + j) * stride + head_at, E);
    }
}

/* One row into column `column` of transposed blocks: (block, E, BLOCK_COLUMNS). */
static inline void column_set(float *blocks, int E, int column, const float *x, float by) {
    float *to = blocks + (int64_t)(column / BLOCK_COLUMNS) * E * BLOCK_COLUMNS + column % BLOCK_COLUMNS;
    for (int e = 0; e < E; e++) to[e * BLOCK_COLUMNS] = x[e] * by;
}
static inline int round_up(int x, int to) { return (x + to - 1) / to * to; }

/* Most and least of limit[from .. end - 1]. */
static inline void limit_bounds(const int *limit, int from, int end, int *least, int *most) {
    *least = *most = limit[from];
    for (int c = from + 1; c < end; c++) {
        if (limit[c] < *least) *least = limit[c];
        if (limit[c] > *most) *most = limit[c];
    }
}

#endif

/* attention_work.h - how attention's work is cut for the device: plain data that the host builds from an AttentionPlan and kernels walk.
 *
 * A column is one query row of one query head; the query heads of a key/value head have theirs side by side, row by row. A tile is a run of
 * columns that one thread block computes for one key/value head: rows of any segments, gathered so that those which share an ancestor's
 * keys adjoin, and those keys are loaded once for all of them. A sight is a run of a tile's columns and the keys that they see.
 *
 * A row's result is the same bits whoever shares its step: key tiles start where its ranges start, ranges are added root first, and whether
 * a row's keys are dealt to several thread blocks (parts, merged in order) depends on its own segment alone. */
#ifndef RLAIFV_KERNELS_CUDA_ATTENTION_WORK_H
#define RLAIFV_KERNELS_CUDA_ATTENTION_WORK_H

#include "kernels/kernels.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ATTENTION_KEYS = 64,          /* of a key tile */
    ATTENTION_STEP = 64,          /* columns that backward adds to a key tile's gradients at a time */
    ATTENTION_COLUMNS_MOST = 128, /* of a tile */
    ATTENTION_FEW_ROWS = 8,       /* a segment of at most so many rows (decoding) has its keys dealt to several thread blocks */
    ATTENTION_FEW_COLUMNS = 64,   /* in tiles of at most so many columns, */
    ATTENTION_SPAN = 256          /* and so many keys: enough blocks for the device, and sums of parts that are few beside the keys */
};

/* Column c of [column_first, column_end) sees the first min(keys, limit + (c - column_first) / group) slots from key_first on; other
 * columns of the tile see none of them. */
typedef struct AttentionSight {
    int key_first, keys, column_first, column_end, limit;
} AttentionSight;

/* Rows rows[row_first .. row_first + rows_n) of the work. part -1: all that they see is among the sights, and the result is written.
 * Otherwise the sights are part `part` of what they see. */
typedef struct AttentionTile {
    int row_first, rows_n, sight_first, sights_n, part;
} AttentionTile;

/* A row whose parts are merged: parts part_first .. part_first + parts_n - 1 of all parts. */
typedef struct AttentionMerge {
    int row, part_first, parts_n;
} AttentionMerge;

/* Backward: slots whose gradients one thread block sums, and the visits that do: ATTENTION_STEP columns of a tile, from `column` on,
 * through one sight. The key tiles hold every slot once. */
typedef struct AttentionVisit {
    int tile, column, sight;
} AttentionVisit;
typedef struct AttentionKeyTile {
    int slot_first, slots_n, visit_first, visits_n;
} AttentionKeyTile;

/* The lists of a work, on the host or on the device. */
typedef struct AttentionLists {
    const AttentionTile *tiles;
    const AttentionSight *sights;
    const AttentionMerge *merges;
    const AttentionKeyTile *key_tiles;
    const AttentionVisit *visits;
    const int *rows;       /* of the tiles */
    const int *part_first; /* beside `rows`: the row's first part, or -1 */
    int group;             /* query heads per key/value head */
    int tiles_n, sights_n, merges_n, key_tiles_n, visits_n, rows_n;
    int parts_n; /* of all rows together */
} AttentionLists;

typedef enum AttentionPurpose { ATTENTION_FORWARD, ATTENTION_BACKWARD } AttentionPurpose;

/* What is kept between calls, so that the layers of a step cut their plan once. Starts zeroed. */
typedef struct AttentionWork {
    AttentionLists lists; /* on the host: all inside `bytes`, one after another */
    char *bytes;
    int64_t bytes_n;
    size_t bytes_cap;
    int built; /* counts builds: 0 none yet */
    /* what the lists were built from */
    AttentionPlan plan; /* pointers unused */
    AttentionSegment *segments;
    KeyRange *ranges;
    size_t segments_cap, ranges_cap;
    AttentionPurpose purpose;
    int columns, kv_rows;
} AttentionWork;

/* Cuts the plan into tiles of at most `columns` columns: a multiple of ATTENTION_STEP up to ATTENTION_COLUMNS_MOST, and not less than the
 * query heads of a key/value head. For backward nothing is dealt in parts, and the key tiles of slots 0 .. kv_rows - 1 are listed. Does
 * nothing when the last call was for an equal plan. -1 with the Error filled when there is no memory. */
int attention_work_build(AttentionWork *w, const AttentionPlan *plan, AttentionPurpose purpose, int columns, int kv_rows, Error *e);
void attention_work_free(AttentionWork *w);

/* The same lists at another address: that of a copy of w->bytes. */
AttentionLists attention_lists_at(const AttentionWork *w, const void *at);

#ifdef __cplusplus
}
#endif

#endif

/* rope.c - rotary position embedding (Su et al. 2021) in the rotate-half form of Llama's Transformers code.
 *
 * Pair i of a head is (x[i], x[i + E/2]); it turns by position * frequency i. Angles are rounded to fp32 as that code rounds them. Cosines
 * and sines of the positions seen so far are kept, one table for each set of frequencies; they live as long as the program. Not for
 * concurrent calls: the kernels are driven by one host thread. Where there is no memory for a table, angles are computed on the fly. */
#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/rows.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    HALF_MOST = ROPE_HEAD_MOST / 2,
    TABLES = 4,              /* a model has one set of frequencies; a labeler beside it another */
    POSITIONS_MOST = 1 << 16 /* positions beyond this are computed on the fly: 32 MiB a table at E = 64 */
};

typedef struct RopeTable {
    int half, positions;
    float frequencies[HALF_MOST]; /* half */
    float *cos_sin;               /* (positions, 2, half) */
} RopeTable;
static RopeTable tables[TABLES];

static void angles_fill(float *cos_sin, int position, int half, const float *frequencies) {
    for (int i = 0; i < half; i++) {
        float angle = (float)position * frequencies[i];
        cos_sin[i] = cosf(angle);
        cos_sin[half + i] = sinf(angle);
    }
}

/* A table that holds at least `positions`, or NULL. */
static const RopeTable *table_reach(int half, const float *frequencies, int positions) {
    size_t size = (size_t)half * sizeof *frequencies;
    if (positions > POSITIONS_MOST) return NULL;
    RopeTable *table = NULL;
    for (int i = 0; i < TABLES && !table; i++)
        if (!tables[i].cos_sin || (tables[i].half == half && !memcmp(tables[i].frequencies, frequencies, size))) table = &tables[i];
    if (!table) {
        table = &tables[0];
        free(table->cos_sin);
        *table = (RopeTable){ 0 };
    }
    if (table->positions >= positions) return table;
    int grown = table->positions ? table->positions : 512;
    while (grown < positions) grown *= 2;
    float *cos_sin = realloc(table->cos_sin, (size_t)grown * 2 * size);
    if (!cos_sin) return NULL;
    int from = table->positions;
    table->half = half, table->positions = grown, table->cos_sin = cos_sin;
    memcpy(table->frequencies, frequencies, size);
#pragma omp parallel for schedule(static)
    for (int p = from; p < grown; p++) angles_fill(cos_sin + (int64_t)p * 2 * half, p, half, frequencies);
    return table;
}

static void row_rotate(Buf x, int64_t at, const float *cos_sin, int heads, int E, float sign) {
    float piece[2 * HALF_MOST], turned[2 * HALF_MOST];
    int half = E / 2;
    for (int h = 0; h < heads; h++, at += E) {
        const float *a = row_read(x, at, E, piece), *b = a + half;
        float *p = row_open(x, at, turned), *q = p + half;
#pragma omp simd
        for (int i = 0; i < half; i++) {
            float c = cos_sin[i], s = sign * cos_sin[half + i], left = a[i], right = b[i];
            p[i] = left * c - right * s;
            q[i] = right * c + left * s;
        }
        row_done(x, at, E, p);
    }
}

void ISA_FN(rope)(Buf x, int64_t stride, const int *positions, int T, int heads, int E, const float *frequencies, int sign) {
    assert(E > 0 && E % 2 == 0 && E <= ROPE_HEAD_MOST);
    int reach = 0;
    for (int t = 0; t < T; t++)
        if (positions[t] >= reach) reach = positions[t] + 1;
    const RopeTable *table = table_reach(E / 2, frequencies, reach);
#pragma omp parallel for schedule(static) if ((int64_t)T * heads * E >= PARALLEL_LEAST)
    for (int t = 0; t < T; t++) {
        float own[2 * HALF_MOST];
        const float *cos_sin = own;
        if (table) cos_sin = table->cos_sin + (int64_t)positions[t] * E;
        else angles_fill(own, positions[t], E / 2, frequencies);
        row_rotate(x, t * stride, cos_sin, heads, E, (float)sign);
    }
}

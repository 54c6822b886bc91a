/* merge.h - inside the tokenizer's room: byte-pair merging of numbers, whatever text they stand for.
 *
 * A symbol is a number from 0 up, an id or what a vocabulary makes its own; negative ones never merge. */
#ifndef RLAIFV_TOKENIZER_MERGE_H
#define RLAIFV_TOKENIZER_MERGE_H

#include "base/error.h"

#include <stdint.h>

/* The symbol of each character, 256 code points a page; -1 where there is none. */
typedef struct CharTable {
    int *page[0x1100];
} CharTable;
int char_table_set(CharTable *t, uint32_t code, int symbol, Error *e); /* 0 or -1 (memory) */
static inline int char_table_get(const CharTable *t, uint32_t code) {
    const int *page = t->page[code >> 8];
    return page ? page[code & 255] : -1;
}
void char_table_free(CharTable *t);

typedef struct Merge {
    uint32_t left, right; /* symbols; UINT32_MAX in both: an empty slot */
    int merged;
    uint32_t rank; /* the lowest merges first, the leftmost of equals */
} Merge;
typedef struct MergeTable {
    Merge *slots; /* open-addressed by (left, right); mask + 1 of them, a power of two */
    size_t mask;
} MergeTable;
/* Builds the table; of merges with the same sides the first counts. *twice (may be NULL) becomes the place of one that repeats another, or
 * `count`. 0 or -1 (memory). */
int merge_table_build(MergeTable *t, const Merge *list, size_t count, size_t *twice, Error *e);
void merge_table_free(MergeTable *t);

typedef struct Symbol {
    int symbol, size; /* size in bytes of text; 0 once merged into its left neighbour */
    int prev, next;   /* used by long words only; -1 at the ends */
} Symbol;
/* The two symbols that were last seen to form another. */
typedef struct Split {
    int left, right;
    int known; /* 0 while none did */
} Split;
/* A pair that could merge; stale when either side has gone or grown. */
typedef struct Candidate {
    uint32_t rank;
    int left, right, merged, size;
} Candidate;

/* A word in the making. Zeroed but for `table` (and `splits`, by merged symbol, where its owner wants them) it is ready. */
typedef struct Merger {
    const MergeTable *table;
    Symbol *symbols;
    size_t count, cap;
    Candidate *heap;
    size_t heap_count, heap_cap;
    Split *splits;
} Merger;
int merger_grow(Merger *m, Error *e);
static inline int merger_add(Merger *m, int symbol, int size, Error *e) {
    if (m->count == m->cap && merger_grow(m, e)) return -1;
    m->symbols[m->count++] = (Symbol){ .symbol = symbol, .size = size };
    return 0;
}
/* Merges until no neighbours can; what is left stands packed at the front. O(n log n). 0 or -1 (memory). */
int merger_run(Merger *m, Error *e);
void merger_free(Merger *m);

#endif

/* merge.c - byte-pair merging (Sennrich, Haddow and Birch 2016, arXiv 1508.07909): of all neighbours that can merge, the pair of the lowest
 * rank does, the leftmost of equals first, until none can.
 *
 * Neighbours are looked up as a pair of symbols in one hash table, never as text. Short words are scanned again after each merge, which a
 * few numbers in the first cache bear; long ones go through a heap. Both give the same symbols. */
#include "tokenizer/merge.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT_MOST = 32 /* symbols of a word that is scanned rather than put on the heap */ };
static const Merge EMPTY = { UINT32_MAX, UINT32_MAX, -1, 0 };

/* ---- tables ---- */

int char_table_set(CharTable *t, uint32_t code, int symbol, Error *e) {
    int **page = &t->page[code >> 8];
    if (!*page) {
        if (!(*page = mem_new(256, sizeof **page, "the table of characters", e))) return -1;
        memset(*page, 0xff, 256 * sizeof **page);
    }
    (*page)[code & 255] = symbol;
    return 0;
}

void char_table_free(CharTable *t) {
    for (size_t i = 0; i < sizeof t->page / sizeof *t->page; i++) free(t->page[i]), t->page[i] = NULL;
}

static size_t merge_slot(const MergeTable *t, uint32_t left, uint32_t right) {
    return (size_t)((((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u) >> 32) & t->mask;
}

int merge_table_build(MergeTable *t, const Merge *list, size_t count, size_t *twice, Error *e) {
    size_t slots = 64;
    while (slots < 2 * count) slots *= 2;
    if (!(t->slots = mem_new(slots, sizeof *t->slots, "the table of merges", e))) return -1;
    t->mask = slots - 1;
    if (twice) *twice = count;
    for (size_t i = 0; i < slots; i++) t->slots[i] = EMPTY;
    for (size_t i = 0; i < count; i++) {
        size_t slot = merge_slot(t, list[i].left, list[i].right);
        for (; t->slots[slot].merged >= 0; slot = (slot + 1) & t->mask)
            if (twice && t->slots[slot].left == list[i].left && t->slots[slot].right == list[i].right) *twice = i;
        t->slots[slot] = list[i];
    }
    return 0;
}

void merge_table_free(MergeTable *t) {
    free(t->slots);
    t->slots = NULL;
}

static inline const Merge *merge_find(const MergeTable *t, int left, int right) {
    if (left < 0 || right < 0) return NULL;
    for (size_t slot = merge_slot(t, (uint32_t)left, (uint32_t)right);; slot = (slot + 1) & t->mask) {
        const Merge *m = &t->slots[slot];
        if (m->left == (uint32_t)left && m->right == (uint32_t)right) return m;
        if (m->merged < 0) return NULL;
    }
}

/* ---- merging ---- */

int merger_grow(Merger *m, Error *e) {
    return mem_grow(&m->symbols, &m->cap, m->count + 1, sizeof *m->symbols, "the symbols of a text", e);
}

void merger_free(Merger *m) {
    free(m->symbols), free(m->heap);
    m->symbols = NULL, m->heap = NULL;
}

static const Merge *merger_look(Merger *m, int left, int right) {
    const Merge *t = merge_find(m->table, left, right);
    if (t && m->splits) m->splits[t->merged] = (Split){ left, right, 1 };
    return t;
}

static void merge_short(Merger *m) {
    Symbol *s = m->symbols;
    uint32_t rank[SHORT_MOST];
    int merged[SHORT_MOST], n = (int)m->count;
#define LOOK(i)                                                                                                                            \
    do {                                                                                                                                   \
        const Merge *t = merger_look(m, s[i].symbol, s[(i) + 1].symbol);                                                                   \
        rank[i] = t ? t->rank : UINT32_MAX, merged[i] = t ? t->merged : -1;                                                                \
    } while (0)
    for (int i = 0; i + 1 < n; i++) LOOK(i);
    while (n > 1) {
        int best = 0;
        for (int i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == UINT32_MAX) break;
        s[best].symbol = merged[best];
        s[best].size += s[best + 1].size;
        n--;
        for (int i = best + 1; i < n; i++) s[i] = s[i + 1], rank[i - 1] = rank[i], merged[i - 1] = merged[i];
        if (best > 0) LOOK(best - 1);
        if (best + 1 < n) LOOK(best);
    }
#undef LOOK
    m->count = (size_t)n;
}

static int candidate_before(const Candidate *a, const Candidate *b) {
    return a->rank < b->rank || (a->rank == b->rank && a->left < b->left);
}

/* Puts the pair (left, right) on the heap if it can merge. There is room: merge_long saw to it. */
static void heap_push(Merger *m, int left, int right) {
    if (left < 0 || right < 0) return;
    const Symbol *a = &m->symbols[left], *b = &m->symbols[right];
    const Merge *t = merger_look(m, a->symbol, b->symbol);
    if (!t) return;
    const Candidate c = { t->rank, left, right, t->merged, a->size + b->size };
    size_t i = m->heap_count++;
    for (; i && candidate_before(&c, &m->heap[(i - 1) / 2]); i = (i - 1) / 2) m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = c;
}

static Candidate heap_pop(Merger *m) {
    const Candidate top = m->heap[0], last = m->heap[--m->heap_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < m->heap_count; i = child) {
        if (child + 1 < m->heap_count && candidate_before(&m->heap[child + 1], &m->heap[child])) child++;
        if (!candidate_before(&m->heap[child], &last)) break;
        m->heap[i] = m->heap[child];
    }
    m->heap[i] = last;
    return top;
}

static int merge_long(Merger *m, Error *e) {
    Symbol *s = m->symbols;
    const int n = (int)m->count;
    /* n - 1 pairs at first, and two more for each of at most n - 1 merges */
    if (mem_grow(&m->heap, &m->heap_cap, 3 * m->count, sizeof *m->heap, "the heap of merges", e)) return -1;
    m->heap_count = 0;
    for (int i = 0; i < n; i++) s[i].prev = i - 1, s[i].next = i + 1 < n ? i + 1 : -1;
    for (int i = 0; i + 1 < n; i++) heap_push(m, i, i + 1);
    while (m->heap_count) {
        const Candidate c = heap_pop(m);
        Symbol *left = &s[c.left], *right = &s[c.right];
        if (!left->size || !right->size || left->size + right->size != c.size) continue;
        left->symbol = c.merged, left->size = c.size;
        left->next = right->next;
        if (left->next >= 0) s[left->next].prev = c.left;
        right->size = 0;
        heap_push(m, left->prev, c.left);
        heap_push(m, c.left, left->next);
    }
    size_t kept = 0;
    for (int i = 0; i >= 0; i = s[i].next) s[kept++] = s[i];
    m->count = kept;
    return 0;
}

int merger_run(Merger *m, Error *e) {
    if (m->count <= SHORT_MOST) return merge_short(m), 0;
    return merge_long(m, e);
}

/* bpe.c - byte-pair merging (Sennrich, Haddow and Birch 2016, arXiv 1508.07909) in exactly SentencePiece's order.
 *
 * Text falls into characters and user-defined pieces; the latter never merge. While two neighbours join to a plain piece, the pair with the
 * highest score merges, the leftmost of equals first. What is left and no piece becomes its bytes, or the unknown id without byte fallback.
 * Neighbours are looked up as a pair of symbols in one hash table, never as text. Where no piece crosses a word start, words are merged one
 * by one: short ones by rescanning a few numbers, long ones with a heap. Both give the same ids: merges in one word cannot see another.
 * Unused pieces are merged through, then taken apart again along the last pair that formed them; an unused character counts as unknown. */
#include "tokenizer/pieces.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

enum {
    NO_SYMBOL = -1, /* a character that stands in no piece; below it, a frozen piece id is -2 - id */
    SHORT_MOST = 32 /* symbols of a word that is scanned rather than put on the heap */
};
static const Merge EMPTY = { UINT32_MAX, UINT32_MAX, -1, 0 };

/* ---- tables ---- */

static int *page_at(Bpe *b, uint32_t code, Error *e) {
    int **page = &b->symbol_page[code >> 8];
    if (!*page) {
        if (!(*page = mem_new(256, sizeof **page, "the table of characters", e))) return NULL;
        memset(*page, 0xff, 256 * sizeof **page);
    }
    return *page + (code & 255);
}

static int symbol_of_char(const Bpe *b, uint32_t code) {
    const int *page = b->symbol_page[code >> 8];
    return page ? page[code & 255] : NO_SYMBOL;
}

static int is_mergeable(const Piece *p) { return p->type == PIECE_NORMAL || p->type == PIECE_UNUSED; }

/* Gives each character of a mergeable piece its symbol, pieces first, and finds whether a mark ever follows another character. */
static int build_characters(Bpe *b, const PieceModel *m, Error *e) {
    uint32_t code;
    int next = (int)m->count;
    b->words_apart = 1;
    for (size_t id = 0; id < m->count; id++) {
        const Piece *p = &m->pieces[id];
        if (!is_mergeable(p)) continue;
        b->has_unused |= p->type == PIECE_UNUSED;
        if (utf8_next(p->text, (size_t)p->size, &code) != p->size) continue;
        int *symbol = page_at(b, code, e);
        if (!symbol) return -1;
        *symbol = (int)id;
    }
    for (size_t id = 0; id < m->count; id++) {
        const Piece *p = &m->pieces[id];
        if (!is_mergeable(p)) continue;
        for (int at = 0, other = 0; at < p->size;) {
            at += utf8_next(p->text + at, (size_t)(p->size - at), &code);
            int *symbol = page_at(b, code, e);
            if (!symbol) return -1;
            if (*symbol < 0) *symbol = next++;
            if (code == SPACE_MARK_CODE && other) b->words_apart = 0;
            other |= code != SPACE_MARK_CODE;
        }
    }
    if (b->has_unused) b->words_apart = 0; /* the pair that formed an unused piece last is sought over the whole text */
    return 0;
}

typedef struct Scored {
    float score;
    int id;
} Scored;

static int scored_compare(const void *a, const void *b) {
    float x = ((const Scored *)a)->score, y = ((const Scored *)b)->score;
    return (x < y) - (x > y);
}

/* rank[id]: 0 for the highest score; equal scores share a rank. */
static uint32_t *ranks_new(const PieceModel *m, Error *e) {
    Scored *order = mem_new(m->count, sizeof *order, "the ranks of pieces", e);
    uint32_t *rank = mem_new(m->count, sizeof *rank, "the ranks of pieces", e);
    if (!order || !rank) return free(order), free(rank), NULL;
    for (size_t id = 0; id < m->count; id++) order[id] = (Scored){ m->pieces[id].score, (int)id };
    qsort(order, m->count, sizeof *order, scored_compare);
    uint32_t r = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (i && order[i].score != order[i - 1].score) r++;
        rank[order[i].id] = r;
    }
    free(order);
    return rank;
}

static int symbol_of_text(const Bpe *b, const PieceModel *m, const char *text, int size) {
    uint32_t code;
    if (utf8_next(text, (size_t)size, &code) == size) return symbol_of_char(b, code);
    int id = piece_find(m, text, (size_t)size, 1);
    return id >= 0 && is_mergeable(&m->pieces[id]) ? id : NO_SYMBOL;
}

static size_t merge_slot(const Bpe *b, uint32_t left, uint32_t right) {
    return (size_t)((((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u) >> 32) & b->merges_mask;
}

static const Merge *merge_find(const Bpe *b, int left, int right) {
    if (left < 0 || right < 0) return NULL;
    for (size_t slot = merge_slot(b, (uint32_t)left, (uint32_t)right);; slot = (slot + 1) & b->merges_mask) {
        const Merge *t = &b->merges[slot];
        if (t->left == (uint32_t)left && t->right == (uint32_t)right) return t;
        if (t->merged < 0) return NULL;
    }
}

/* Lists every way in which a mergeable piece is made of two symbols. */
static int list_merges(const Bpe *b, const PieceModel *m, const uint32_t *rank, Merge **list, size_t *count, Error *e) {
    size_t cap = 0;
    uint32_t code;
    for (size_t id = 0; id < m->count; id++) {
        const Piece *p = &m->pieces[id];
        if (!is_mergeable(p)) continue;
        for (int at = utf8_next(p->text, (size_t)p->size, &code); at < p->size;
             at += utf8_next(p->text + at, (size_t)(p->size - at), &code)) {
            int left = symbol_of_text(b, m, p->text, at), right = left < 0 ? NO_SYMBOL : symbol_of_text(b, m, p->text + at, p->size - at);
            if (right < 0) continue;
            if (mem_grow(list, &cap, *count + 1, sizeof **list, "the table of merges", e)) return -1;
            (*list)[(*count)++] = (Merge){ (uint32_t)left, (uint32_t)right, (int)id, rank[id] };
        }
    }
    return 0;
}

static int build_merges(Bpe *b, const PieceModel *m, Error *e) {
    Merge *list = NULL;
    size_t count = 0, slots = 64;
    uint32_t *rank = ranks_new(m, e);
    int bad = !rank || list_merges(b, m, rank, &list, &count, e);
    while (slots < 2 * count) slots *= 2;
    if (!bad) bad = !(b->merges = mem_new(slots, sizeof *b->merges, "the table of merges", e));
    if (!bad) {
        b->merges_mask = slots - 1;
        for (size_t i = 0; i < slots; i++) b->merges[i] = EMPTY;
        for (size_t i = 0; i < count; i++) {
            size_t slot = merge_slot(b, list[i].left, list[i].right);
            while (b->merges[slot].merged >= 0) slot = (slot + 1) & b->merges_mask;
            b->merges[slot] = list[i];
        }
    }
    free(list), free(rank);
    return bad ? -1 : 0;
}

int bpe_build(Bpe *b, const PieceModel *m, Error *e) {
    memset(b, 0, sizeof *b);
    if (!build_characters(b, m, e) && !build_merges(b, m, e)) return 0;
    bpe_free(b);
    return -1;
}

void bpe_free(Bpe *b) {
    for (size_t i = 0; i < sizeof b->symbol_page / sizeof *b->symbol_page; i++) free(b->symbol_page[i]);
    free(b->merges);
    memset(b, 0, sizeof *b);
}

/* ---- merging ---- */

typedef struct Symbol {
    int symbol, size; /* size in bytes of text; 0 once merged into its left neighbour */
    int prev, next;   /* used by merge_long only; -1 at the ends */
} Symbol;

/* A pair that could merge; stale when either side has gone or grown. */
typedef struct Candidate {
    uint32_t rank;
    int left, right, merged, size;
} Candidate;

typedef struct Split {
    int left, right; /* the symbols that formed an unused piece last */
    int known;       /* 0 while none did */
} Split;

typedef struct Run {
    const Bpe *bpe;
    const PieceModel *model;
    Symbol *symbols;
    size_t count, cap;
    Candidate *heap;
    size_t heap_count, heap_cap;
    Split *splits;     /* by piece id; only for models with unused pieces */
    int after_unknown; /* the last id was the unknown one: SentencePiece joins a run of them */
    IdList *out;
} Run;

/* The merge of two neighbours, remembered for taking unused pieces apart. */
static const Merge *run_merge(Run *r, int left, int right) {
    const Merge *t = merge_find(r->bpe, left, right);
    if (t && r->splits && r->model->pieces[t->merged].type == PIECE_UNUSED) r->splits[t->merged] = (Split){ left, right, 1 };
    return t;
}

/* Merges a word of few symbols by looking for the best pair again after each merge. Leaves the symbols packed at the front. */
static void merge_short(Run *r) {
    Symbol *s = r->symbols;
    uint32_t rank[SHORT_MOST];
    int merged[SHORT_MOST], n = (int)r->count;
#define LOOK(i)                                                                                                                            \
    do {                                                                                                                                   \
        const Merge *t = run_merge(r, s[i].symbol, s[(i) + 1].symbol);                                                                     \
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
    r->count = (size_t)n;
}

static int candidate_before(const Candidate *a, const Candidate *b) {
    return a->rank < b->rank || (a->rank == b->rank && a->left < b->left);
}

/* Puts the pair (left, right) on the heap if it can merge. There is room: merge_long saw to it. */
static void heap_push(Run *r, int left, int right) {
    if (left < 0 || right < 0) return;
    const Symbol *a = &r->symbols[left], *b = &r->symbols[right];
    const Merge *t = run_merge(r, a->symbol, b->symbol);
    if (!t) return;
    const Candidate c = { t->rank, left, right, t->merged, a->size + b->size };
    size_t i = r->heap_count++;
    for (; i && candidate_before(&c, &r->heap[(i - 1) / 2]); i = (i - 1) / 2) r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = c;
}

static Candidate heap_pop(Run *r) {
    const Candidate top = r->heap[0], last = r->heap[--r->heap_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < r->heap_count; i = child) {
        if (child + 1 < r->heap_count && candidate_before(&r->heap[child + 1], &r->heap[child])) child++;
        if (!candidate_before(&r->heap[child], &last)) break;
        r->heap[i] = r->heap[child];
    }
    r->heap[i] = last;
    return top;
}

static int merge_long(Run *r, Error *e) {
    Symbol *s = r->symbols;
    const int n = (int)r->count;
    /* n - 1 pairs at first, and two more for each of at most n - 1 merges */
    if (mem_grow(&r->heap, &r->heap_cap, 3 * r->count, sizeof *r->heap, "the heap of merges", e)) return -1;
    r->heap_count = 0;
    for (int i = 0; i < n; i++) s[i].prev = i - 1, s[i].next = i + 1 < n ? i + 1 : -1;
    for (int i = 0; i + 1 < n; i++) heap_push(r, i, i + 1);
    while (r->heap_count) {
        const Candidate c = heap_pop(r);
        Symbol *left = &s[c.left], *right = &s[c.right];
        if (!left->size || !right->size || left->size + right->size != c.size) continue;
        left->symbol = c.merged, left->size = c.size;
        left->next = right->next;
        if (left->next >= 0) s[left->next].prev = c.left;
        right->size = 0;
        heap_push(r, left->prev, c.left);
        heap_push(r, c.left, left->next);
    }
    size_t kept = 0;
    for (int i = 0; i >= 0; i = s[i].next) s[kept++] = s[i];
    r->count = kept;
    return 0;
}

/* ---- ids ---- */

static int emit_id(Run *r, int id, Error *e) {
    IdList *out = r->out;
    if (mem_grow(&out->ids, &out->cap, out->count + 1, sizeof *out->ids, "token ids", e)) return -1;
    out->ids[out->count++] = id;
    return 0;
}

/* Appends what one symbol, standing for `size` bytes of text, is in ids. */
static int emit(Run *r, int symbol, const char *text, int size, Error *e) {
    const PieceModel *m = r->model;
    const int id = symbol <= -2 ? -2 - symbol : symbol;
    const Piece *p = id >= 0 && (size_t)id < m->count ? &m->pieces[id] : NULL;
    if (p && p->type != PIECE_UNUSED) {
        r->after_unknown = 0;
        return emit_id(r, id, e);
    }
    if (p && r->splits[id].known) {
        const Split split = r->splits[id];
        uint32_t code;
        int left = (size_t)split.left < m->count ? m->pieces[split.left].size : utf8_next(text, (size_t)size, &code);
        return emit(r, split.left, text, left, e) || emit(r, split.right, text + left, size - left, e) ? -1 : 0;
    }
    if (m->byte_fallback) {
        for (int i = 0; i < size; i++)
            if (emit_id(r, m->byte_id[(unsigned char)text[i]], e)) return -1;
        return 0;
    }
    if (r->after_unknown) return 0;
    r->after_unknown = 1;
    return emit_id(r, m->unk, e);
}

/* Cuts the next stretch of text that merges by itself (a word, or everything) into symbols; returns its bytes, 0 without memory. */
static size_t cut_word(Run *r, const UserPieces *u, const char *text, size_t size, Error *e) {
    size_t at = 0;
    uint32_t last = SPACE_MARK_CODE;
    r->count = 0;
    while (at < size) {
        uint32_t code = 0;
        int user = user_pieces_match(u, r->model, text + at, size - at), n, symbol;
        if (user >= 0) n = r->model->pieces[user].size, symbol = -2 - user;
        else {
            n = utf8_next(text + at, size - at, &code);
            if (code == SPACE_MARK_CODE && last != SPACE_MARK_CODE && r->bpe->words_apart) break;
            symbol = symbol_of_char(r->bpe, code);
        }
        if (r->count == r->cap && mem_grow(&r->symbols, &r->cap, r->count + 1, sizeof *r->symbols, "the symbols of a text", e)) return 0;
        r->symbols[r->count++] = (Symbol){ .symbol = symbol, .size = n };
        last = code;
        at += (size_t)n;
    }
    return at;
}

static int run_text(Run *r, const UserPieces *u, const char *text, size_t size, Error *e) {
    for (size_t bytes; size; text += bytes, size -= bytes) {
        if (!(bytes = cut_word(r, u, text, size, e))) return -1;
        if (r->count <= SHORT_MOST) merge_short(r);
        else if (merge_long(r, e)) return -1;
        const char *at = text;
        for (size_t i = 0; i < r->count; at += r->symbols[i++].size)
            if (emit(r, r->symbols[i].symbol, at, r->symbols[i].size, e)) return -1;
    }
    return 0;
}

int bpe_encode(const Bpe *b, const PieceModel *m, const UserPieces *u, const char *text, size_t size, IdList *out, Error *e) {
    Run r = { .bpe = b, .model = m, .out = out };
    const size_t before = out->count;
    if (b->has_unused && !(r.splits = mem_new(m->count, sizeof *r.splits, "the parts of unused pieces", e))) return -1;
    int bad = run_text(&r, u, text, size, e);
    if (bad) out->count = before;
    free(r.symbols), free(r.heap), free(r.splits);
    return bad;
}

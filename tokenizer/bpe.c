/* bpe.c - merging pieces (merge.c) in exactly SentencePiece's order.
 *
 * Text falls into characters and user-defined pieces; the latter never merge. While two neighbours join to a plain piece, the pair with the
 * highest score merges, the leftmost of equals first. What is left and no piece becomes its bytes, or the unknown id without byte fallback.
 * Where no piece crosses a word start, words are merged one by one, and words that were met before are not merged again.
 * Unused pieces are merged through, then taken apart again along the last pair that formed them; an unused character counts as unknown. */
#include "tokenizer/pieces.h"

#include <stdlib.h>
#include <string.h>

enum { NO_SYMBOL = -1 /* a character that stands in no piece; below it, a frozen piece id is -2 - id */ };

/* ---- tables ---- */

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
        if (utf8_next(p->text, (size_t)p->size, &code) == p->size && char_table_set(&b->chars, code, (int)id, e)) return -1;
    }
    for (size_t id = 0; id < m->count; id++) {
        const Piece *p = &m->pieces[id];
        if (!is_mergeable(p)) continue;
        for (int at = 0, other = 0; at < p->size;) {
            at += utf8_next(p->text + at, (size_t)(p->size - at), &code);
            if (char_table_get(&b->chars, code) < 0 && char_table_set(&b->chars, code, next++, e)) return -1;
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
    if (utf8_next(text, (size_t)size, &code) == size) return char_table_get(&b->chars, code);
    int id = piece_find(m, text, (size_t)size, 1);
    return id >= 0 && is_mergeable(&m->pieces[id]) ? id : NO_SYMBOL;
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

int bpe_build(Bpe *b, const PieceModel *m, Error *e) {
    memset(b, 0, sizeof *b);
    Merge *list = NULL;
    size_t count = 0;
    uint32_t *rank = build_characters(b, m, e) ? NULL : ranks_new(m, e);
    int bad = !rank || list_merges(b, m, rank, &list, &count, e) || merge_table_build(&b->merges, list, count, NULL, e);
    free(list), free(rank);
    if (!bad && b->words_apart && m->byte_fallback) bad = !(b->words = word_cache_new(e)); /* unknown ids join over words */
    if (bad) bpe_free(b);
    return bad ? -1 : 0;
}

void bpe_free(Bpe *b) {
    char_table_free(&b->chars);
    merge_table_free(&b->merges);
    word_cache_free(b->words);
    b->words = NULL;
}

/* ---- ids ---- */

typedef struct Run {
    const Bpe *bpe;
    const PieceModel *model;
    const UserPieces *user;
    Merger merger;
    int after_unknown; /* the last id was the unknown one: SentencePiece joins a run of them */
    IdList *out;
} Run;

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
    if (p && r->merger.splits[id].known) {
        const Split split = r->merger.splits[id];
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
static size_t cut_word(Run *r, const char *text, size_t size, Error *e) {
    size_t at = 0;
    uint32_t last = SPACE_MARK_CODE;
    r->merger.count = 0;
    while (at < size) {
        uint32_t code = 0;
        int user = user_pieces_match(r->user, r->model, text + at, size - at), n, symbol;
        if (user >= 0) n = r->model->pieces[user].size, symbol = -2 - user;
        else {
            n = utf8_next(text + at, size - at, &code);
            if (code == SPACE_MARK_CODE && last != SPACE_MARK_CODE && r->bpe->words_apart) break;
            symbol = char_table_get(&r->bpe->chars, code);
        }
        if (merger_add(&r->merger, symbol, n, e)) return 0;
        last = code;
        at += (size_t)n;
    }
    return at;
}

/* Bytes of the word at `text`, up to the next mark behind another character, when it is short and no user-defined piece can start in it;
 * else 0. */
static size_t short_word(const UserPieces *u, const char *text, size_t size) {
    size_t at = 0;
    for (int other = 0; at < size; at++) {
        const int b = (unsigned char)text[at];
        if (b == (unsigned char)SPACE_MARK[0] && size - at >= SPACE_MARK_SIZE && !memcmp(text + at, SPACE_MARK, SPACE_MARK_SIZE)) {
            if (other) break;
            if (u->ids && u->first[b] != u->first[b + 1]) return 0;
            at += SPACE_MARK_SIZE - 1;
            continue;
        }
        if (at >= WORD_BYTES || (u->ids && u->first[b] != u->first[b + 1])) return 0;
        other = 1;
    }
    return at <= WORD_BYTES ? at : 0;
}

static int run_text(Run *r, const char *text, size_t size, Error *e) {
    WordCache *words = r->bpe->words;
    int known[WORD_IDS];
    for (size_t bytes; size; text += bytes, size -= bytes) {
        const size_t brief = words ? short_word(r->user, text, size) : 0, before = r->out->count;
        const int n = brief ? word_cache_find(words, text, brief, known) : 0;
        if (n) {
            if (idlist_append(r->out, known, (size_t)n, e)) return -1;
            bytes = brief;
            continue;
        }
        if (!(bytes = cut_word(r, text, size, e)) || merger_run(&r->merger, e)) return -1;
        const char *at = text;
        for (size_t i = 0; i < r->merger.count; at += r->merger.symbols[i++].size)
            if (emit(r, r->merger.symbols[i].symbol, at, r->merger.symbols[i].size, e)) return -1;
        if (brief) word_cache_keep(words, text, brief, r->out->ids + before, r->out->count - before);
    }
    return 0;
}

int bpe_encode(const Bpe *b, const PieceModel *m, const UserPieces *u, const char *text, size_t size, IdList *out, Error *e) {
    Run r = { .bpe = b, .model = m, .user = u, .merger.table = &b->merges, .out = out };
    const size_t before = out->count;
    if (b->has_unused && !(r.merger.splits = mem_new(m->count, sizeof *r.merger.splits, "the parts of unused pieces", e))) return -1;
    int bad = run_text(&r, text, size, e);
    if (bad) out->count = before;
    free(r.merger.splits);
    merger_free(&r.merger);
    return bad;
}

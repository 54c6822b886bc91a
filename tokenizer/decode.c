/* decode.c - ids back to text, as SentencePieceProcessor::Decode does it for a tokenizer.model. */
#include "tokenizer/pieces.h"

#include <stdlib.h>
#include <string.h>

/* Writes bytes that stand for characters, each byte that belongs to none as U+FFFD. Returns the bytes written, at most 3 * size. */
static size_t put_bytes(char *out, const char *bytes, size_t size) {
    size_t n = 0;
    uint32_t code;
    for (size_t at = 0; at < size;) {
        int length = utf8_next(bytes + at, size - at, &code);
        if (length) memcpy(out + n, bytes + at, (size_t)length), n += (size_t)length;
        else memcpy(out + n, REPLACEMENT, REPLACEMENT_SIZE), n += REPLACEMENT_SIZE;
        at += length ? (size_t)length : 1;
    }
    return n;
}

/* Writes a piece with its marks as spaces. Returns the bytes written, at most its size. */
static size_t put_piece(char *out, const char *text, size_t size) {
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        int mark = size - at >= SPACE_MARK_SIZE && !memcmp(text + at, SPACE_MARK, SPACE_MARK_SIZE);
        out[n++] = mark ? ' ' : text[at];
        at += mark ? SPACE_MARK_SIZE : 1;
    }
    return n;
}

static const Piece *piece_at(const PieceModel *m, int id) { return id >= 0 && (size_t)id < m->count ? &m->pieces[id] : NULL; }

char *pieces_decode(const PieceModel *m, const int *ids, size_t n, Error *e) {
    const size_t unk_size = strlen(m->unk_surface);
    size_t most = 1, runs = 0;
    for (size_t i = 0; i < n; i++) {
        const Piece *p = piece_at(m, ids[i]);
        size_t size = !p ? 0 : p->type == PIECE_BYTE ? REPLACEMENT_SIZE : p->type == PIECE_UNKNOWN ? unk_size : (size_t)p->size;
        if (size > SIZE_MAX - most) return error_what(e, "a text is too long to decode"), NULL;
        most += size;
        runs += p && p->type == PIECE_BYTE;
    }
    char *text = mem_new(most, 1, "decoded text", e), *bytes = mem_new(runs + 1, 1, "decoded text", e);
    if (!text || !bytes) return free(text), free(bytes), NULL;
    const int strips = m->add_dummy_prefix || m->remove_extra_whitespaces;
    size_t out = 0, waiting = 0;
    int at_start = 1; /* nothing but invisible tokens so far: a leading mark is the dummy prefix */
    for (size_t i = 0; i < n; i++) {
        const Piece *p = piece_at(m, ids[i]);
        if (p && p->type == PIECE_BYTE) {
            bytes[waiting++] = (char)p->byte;
            continue;
        }
        out += put_bytes(text + out, bytes, waiting);
        waiting = 0;
        if (out) at_start = 0;
        if (!p || p->type == PIECE_CONTROL) continue;
        if (p->type == PIECE_UNKNOWN) {
            memcpy(text + out, m->unk_surface, unk_size), out += unk_size;
            continue;
        }
        int mark = at_start && strips && p->size >= SPACE_MARK_SIZE && !memcmp(p->text, SPACE_MARK, SPACE_MARK_SIZE);
        int skip = mark ? SPACE_MARK_SIZE : 0;
        if (mark && !m->remove_extra_whitespaces) at_start = 0;
        out += put_piece(text + out, p->text + skip, (size_t)(p->size - skip));
    }
    out += put_bytes(text + out, bytes, waiting);
    text[out] = 0;
    free(bytes);
    return text;
}

/* normalize.c - text as SentencePiece sees it before merging, for models whose normalisation is "identity".
 *
 * Owns the matching of user-defined pieces and the handling of spaces and invalid bytes. The order of events is SentencePiece's: a
 * user-defined piece is taken whole; else one character; a byte that starts no character becomes U+FFFD alone. Leading, trailing and
 * repeated spaces go when the model says so, and a mark is put in front when the model says so. */
#include "tokenizer/pieces.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_MOST = 1 << 29 }; /* symbols count in int, and normalisation may triple the bytes */

int user_pieces_build(UserPieces *u, const PieceModel *m, Error *e) {
    memset(u, 0, sizeof *u);
    int n = 0;
    for (size_t id = 0; id < m->count; id++) n += m->pieces[id].type == PIECE_USER;
    if (!n) return 0;
    if (!(u->ids = mem_new((size_t)n, sizeof *u->ids, "the user-defined pieces", e))) return -1;
    for (size_t id = 0; id < m->count; id++)
        if (m->pieces[id].type == PIECE_USER) u->first[(unsigned char)m->pieces[id].text[0] + 1]++;
    for (int b = 0; b < 256; b++) u->first[b + 1] += u->first[b];
    int filled[256] = { 0 };
    for (size_t id = 0; id < m->count; id++) {
        const Piece *p = &m->pieces[id];
        if (p->type != PIECE_USER) continue;
        int b = (unsigned char)p->text[0], *bucket = u->ids + u->first[b], at = filled[b]++;
        for (; at && m->pieces[bucket[at - 1]].size < p->size; at--) bucket[at] = bucket[at - 1];
        bucket[at] = (int)id;
    }
    return 0;
}

void user_pieces_free(UserPieces *u) {
    free(u->ids);
    u->ids = NULL;
}

int user_pieces_match(const UserPieces *u, const PieceModel *m, const char *text, size_t size) {
    if (!u->ids || !size) return -1;
    int b = (unsigned char)text[0];
    for (int i = u->first[b]; i < u->first[b + 1]; i++) {
        const Piece *p = &m->pieces[u->ids[i]];
        if ((size_t)p->size <= size && !memcmp(p->text, text, (size_t)p->size)) return u->ids[i];
    }
    return -1;
}

/* The next unit of raw text: what it turns into (*unit, *unit_size) and how many bytes it took. */
static size_t next_unit(const PieceModel *m, const UserPieces *u, const char *text, size_t size, const char **unit, size_t *unit_size) {
    uint32_t code;
    int id = user_pieces_match(u, m, text, size);
    size_t n = id >= 0 ? (size_t)m->pieces[id].size : (size_t)utf8_next(text, size, &code);
    *unit = n ? text : REPLACEMENT;
    *unit_size = n ? n : REPLACEMENT_SIZE;
    return n ? n : 1;
}

int text_normalize(const PieceModel *m, const UserPieces *u, const char *text, size_t size, char **out, size_t *out_size, Error *e) {
    if (size > TEXT_MOST) {
        error_what(e, "a text is too long to tokenize");
        return error_found(e, "%zu bytes", size), error_expected(e, "at most %d", TEXT_MOST);
    }
    char *buffer = malloc(3 * size + SPACE_MARK_SIZE);
    if (!buffer) return error_what(e, "out of memory for a text of %zu bytes", size);
    const char *space = m->escape_whitespaces ? SPACE_MARK : " ", *unit;
    const size_t space_size = m->escape_whitespaces ? SPACE_MARK_SIZE : 1;
    size_t n = 0, at = 0, unit_size;
    if (m->remove_extra_whitespaces)
        while (at < size) {
            size_t step = next_unit(m, u, text + at, size - at, &unit, &unit_size);
            if (unit_size != 1 || *unit != ' ') break;
            at += step;
        }
    if (m->add_dummy_prefix && at < size) memcpy(buffer, space, space_size), n = space_size;
    for (int after_space = m->remove_extra_whitespaces; at < size;) {
        at += next_unit(m, u, text + at, size - at, &unit, &unit_size);
        for (; after_space && unit_size && *unit == ' '; unit++) unit_size--;
        if (!unit_size) continue;
        after_space = m->remove_extra_whitespaces && unit[unit_size - 1] == ' ';
        for (size_t i = 0; i < unit_size; i++)
            if (unit[i] == ' ') memcpy(buffer + n, space, space_size), n += space_size;
            else buffer[n++] = unit[i];
    }
    if (m->remove_extra_whitespaces)
        while (n >= space_size && !memcmp(buffer + n - space_size, space, space_size)) n -= space_size;
    *out = buffer, *out_size = n;
    return 0;
}

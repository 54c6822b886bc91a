/* pieces.h - inside the tokenizer's room: the vocabulary as read from tokenizer.model, and what encoding builds from it.
 *
 * Nothing above this room includes this file; tokenizer.h is the room's face.
 * "Plain" pieces (normal, user-defined, unused) can be spelled by text. "Reserved" ones (unknown, control, byte) are reached by id only. */
#ifndef RLAIFV_TOKENIZER_PIECES_H
#define RLAIFV_TOKENIZER_PIECES_H

#include "tokenizer/tokenizer.h"

#include <stdint.h>

/* The numbers are those of SentencePiece's protobuf. */
typedef enum PieceType { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE } PieceType;

typedef struct Piece {
    const char *text; /* valid UTF-8, zero-terminated, lives in PieceModel.text */
    int size;         /* bytes */
    float score;
    uint8_t type, byte; /* a PieceType; the byte that a PIECE_BYTE stands for */
} Piece;

/* The word-start mark, U+2581, that stands for a space. */
#define SPACE_MARK "\xe2\x96\x81"
enum { SPACE_MARK_SIZE = 3, SPACE_MARK_CODE = 0x2581 };
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, for what is not UTF-8 */
enum { REPLACEMENT_SIZE = 3 };

typedef struct PieceModel {
    Piece *pieces; /* count, by id */
    size_t count, cap;
    char *text;
    int *index; /* open-addressed hash of piece texts: id or -1; index_size is a power of two */
    size_t index_size;
    int add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, byte_fallback;
    char *unk_surface; /* what the unknown id decodes to */
    int unk, bos, eos, byte_id[256];
} PieceModel;

/* Reads the bytes of a tokenizer.model; `path` is for messages. On failure the model is empty again. 0 or -1. */
int piece_model_read(PieceModel *m, const char *data, size_t size, const char *path, Error *e);
void piece_model_free(PieceModel *m);
/* Id of the plain (or reserved) piece with this text, or -1. */
int piece_find(const PieceModel *m, const char *text, size_t size, int plain);
static inline int piece_is_plain(const Piece *p) { return p->type == PIECE_NORMAL || p->type == PIECE_USER || p->type == PIECE_UNUSED; }

/* Bytes of the UTF-8 character that `text` (size > 0) starts with, its code point in *code; 0 when it starts with none. Overlong forms,
 * surrogates and code points above U+10FFFF are none, and leave U+FFFD in *code. */
static inline int utf8_next(const char *text, size_t size, uint32_t *code) {
    const unsigned char *u = (const unsigned char *)text;
    if (u[0] < 0x80) return *code = u[0], 1;
    *code = 0xfffd;
    int n = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || size < (size_t)n) return 0;
    uint32_t c = u[0] & (0xffu >> (n + 1));
    for (int i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (u[i] & 0x3fu);
    }
    if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
    return *code = c, n;
}

/* The user-defined pieces, which text matches before anything is merged: ids sorted by first byte, then longest first;
 * those starting with byte b are ids[first[b] .. first[b+1]-1]. */
typedef struct UserPieces {
    int *ids, first[257];
} UserPieces;
int user_pieces_build(UserPieces *u, const PieceModel *m, Error *e);
void user_pieces_free(UserPieces *u);
/* Id of the longest user-defined piece that `text` starts with, or -1. */
int user_pieces_match(const UserPieces *u, const PieceModel *m, const char *text, size_t size);

/* Text as SentencePiece sees it: invalid bytes become U+FFFD, spaces become the mark, the leading mark is added. *out is malloc'd. 0 or -1.
 */
int text_normalize(const PieceModel *m, const UserPieces *u, const char *text, size_t size, char **out, size_t *out_size, Error *e);

/* bpe.c - merge tables. A symbol is a plain piece's id, or for a character that stands in pieces but is none itself, a number from `count`
 * up. */
typedef struct Merge {
    uint32_t left, right; /* NO_SYMBOL in both: an empty slot */
    int merged;           /* id of the joined piece */
    uint32_t rank;        /* 0 for the highest score; equal scores share a rank */
} Merge;
typedef struct Bpe {
    Merge *merges; /* open-addressed by (left, right); merges_mask + 1 slots, a power of two */
    size_t merges_mask;
    int *symbol_page[0x1100]; /* symbol of each character, 256 code points a page; -1 where there is none */
    int has_unused;           /* some plain pieces may be merged through but not emitted */
    int words_apart;          /* no piece holds a mark after another character, so no merge crosses a word start */
} Bpe;
int bpe_build(Bpe *b, const PieceModel *m, Error *e);
void bpe_free(Bpe *b);
/* Appends the ids of normalised text. 0 or -1. */
int bpe_encode(const Bpe *b, const PieceModel *m, const UserPieces *u, const char *text, size_t size, IdList *out, Error *e);

#endif

/* pieces.h - inside the tokenizer's room: the vocabulary as read from tokenizer.model, and what encoding builds from it.
 *
 * Nothing above this room includes this file; tokenizer.h is the room's face.
 * "Plain" pieces (normal, user-defined, unused) can be spelled by text. "Reserved" ones (unknown, control, byte) are reached by id only. */
#ifndef RLAIFV_TOKENIZER_PIECES_H
#define RLAIFV_TOKENIZER_PIECES_H

#include "tokenizer/merge.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"
#include "tokenizer/words.h"

/* The numbers are those of SentencePiece's protobuf. */
typedef enum PieceType { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE } PieceType;

typedef struct Piece {
    const char *text; /* valid UTF-8, zero-terminated, lives in PieceModel.text */
    int size;         /* bytes */
    float score;
    uint8_t type, byte; /* a PieceType; the byte that a PIECE_BYTE stands for */
} Piece;

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

/* bpe.c - what merging needs. A symbol is a plain piece's id, or for a character that stands in pieces but is none itself, a number from
 * `count` up. */
typedef struct Bpe {
    MergeTable merges;
    CharTable chars;
    WordCache *words; /* where a word's ids depend on the word alone; else NULL */
    int has_unused;   /* some plain pieces may be merged through but not emitted */
    int words_apart;  /* no piece holds a mark after another character, so no merge crosses a word start */
} Bpe;
int bpe_build(Bpe *b, const PieceModel *m, Error *e);
void bpe_free(Bpe *b);
/* Appends the ids of normalised text. 0 or -1. */
int bpe_encode(const Bpe *b, const PieceModel *m, const UserPieces *u, const char *text, size_t size, IdList *out, Error *e);

/* decode.c - the text of ids as SentencePieceProcessor::Decode gives it. malloc'd, or NULL. */
char *pieces_decode(const PieceModel *m, const int *ids, size_t n, Error *e);

#endif

/* tokenizer.h - text <-> ids, exactly as the checkpoint's own SentencePiece model does it.
 *
 * A tokenizer is the content of `tokenizer.model` (SentencePiece BPE with byte fallback) plus the names of tokens added to it later
 * (`added_tokens.json`: "<image>", "<pad>"). Plain text never becomes a special token, whatever it spells: control, unknown and added
 * tokens are reached only through their ids, which chat templates use. */
#ifndef RLAIFV_TOKENIZER_H
#define RLAIFV_TOKENIZER_H

#include "base/error.h"

typedef struct Tokenizer Tokenizer;

typedef struct IdList {
    int *ids;
    size_t count, cap;
} IdList;
int idlist_append(IdList *list, const int *ids, size_t n, Error *e);
void idlist_free(IdList *list);

/* Loads DIR/tokenizer.model (at most 64 MiB) and, where present, DIR/added_tokens.json. NULL with the Error filled on failure. */
Tokenizer *tokenizer_load(const char *folder, Error *e);
void tokenizer_free(Tokenizer *t);

int tokenizer_vocab(const Tokenizer *t); /* one more than the largest id that means something: pieces and added tokens */
int tokenizer_bos(const Tokenizer *t);
int tokenizer_eos(const Tokenizer *t);
int tokenizer_unk(const Tokenizer *t);
int tokenizer_added(const Tokenizer *t, const char *name); /* id of an added token, or of a control or user-defined piece; or -1 */
/* 1 when sampling may emit this id: normal, user-defined and byte pieces and eos; not unk, bos, other control pieces, added tokens or ids
 * beyond the vocabulary. */
int tokenizer_may_emit(const Tokenizer *t, int id);
/* The piece as stored ("\xe2\x96\x81red"), or NULL for ids beyond. */
const char *tokenizer_piece(const Tokenizer *t, int id);

/* Appends the ids of UTF-8 `text` of `size` bytes (with the model's own word-start mark where it adds one; no BOS). Invalid UTF-8 bytes go
 * through as SentencePiece does it (U+FFFD). 0 or -1 (memory). */
int tokenizer_encode(const Tokenizer *t, const char *text, size_t size, IdList *out, Error *e);
/* The same for text that goes on in a line begun before: no word-start mark of its own, but a space in front is one. */
int tokenizer_encode_inside(const Tokenizer *t, const char *text, size_t size, IdList *out, Error *e);

/* The text of ids, as SentencePiece decodes it: control tokens vanish, byte pieces join to UTF-8 (invalid sequences become U+FFFD), the
 * leading word-start space goes. Ids outside the pieces (added tokens, vocabulary padding) vanish too. malloc'd, or NULL. */
char *tokenizer_decode(const Tokenizer *t, const int *ids, size_t n, Error *e);

/* A hash of everything that determines ids, for cache keys. */
void tokenizer_hash(const Tokenizer *t, char out[33]);

#endif

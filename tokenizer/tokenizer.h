/* tokenizer.h - text <-> ids, exactly as the checkpoint's own tokenizer does it.
 *
 * A tokenizer is the content of `tokenizer.model` (SentencePiece BPE with byte fallback) or, where that is absent, of `tokenizer.json`
 * (Hugging Face BPE, over characters or bytes), and the names of tokens added to it (`added_tokens.json`: "<image>", "<pad>"). When both
 * files are there tokenizer.model is used: it is what the checkpoint was trained with, and conversions to tokenizer.json differ from it in
 * corners.
 *
 * Plain text never becomes a special token, whatever it spells: control, unknown and special added tokens are reached only through their
 * ids, which chat templates use. Two kinds of tokens that are not special do match text: user-defined pieces of a tokenizer.model, and
 * added tokens of a tokenizer.json with "special": false, as in Hugging Face. (There the same is had by encode_special_tokens; what goes
 * further here is that no merge and no whole-word look-up makes a special token either.)
 *
 * A Tokenizer does not change once it is loaded, but for a table of words met before, which is safe: any number of threads may use one. */
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

/* Loads DIR/tokenizer.model or DIR/tokenizer.json (at most 64 MiB) and, where present, DIR/added_tokens.json. Which tokens begin and end
 * texts, a tokenizer.model says itself; for the rest tokenizer_config.json, special_tokens_map.json, generation_config.json and config.json
 * are asked in this order. NULL with the Error filled on failure. */
Tokenizer *tokenizer_load(const char *folder, Error *e);
void tokenizer_free(Tokenizer *t);

int tokenizer_vocab(const Tokenizer *t); /* one more than the largest id that means something: pieces and added tokens */
/* -1: there is none. A tokenizer.model always has the first three. */
int tokenizer_bos(const Tokenizer *t);
int tokenizer_eos(const Tokenizer *t);
int tokenizer_unk(const Tokenizer *t);
int tokenizer_pad(const Tokenizer *t);
/* 1 when texts begin with bos (add_bos_token of tokenizer_config.json, else the post-processor of tokenizer.json, else a tokenizer.model).
 */
int tokenizer_adds_bos(const Tokenizer *t);
/* Id of an added token, or of a control or user-defined piece ("</s>"), by its name; or -1, as for the unknown token. */
int tokenizer_added(const Tokenizer *t, const char *name);
/* 1 when sampling may emit this id: what text can become, bytes, and eos; not unk, bos, other special tokens, or ids that mean nothing. */
int tokenizer_may_emit(const Tokenizer *t, int id);
/* The model's token as stored ("\xe2\x96\x81red", "\xc4\xa0red"), or NULL for other ids. */
const char *tokenizer_piece(const Tokenizer *t, int id);

/* Appends the ids of UTF-8 `text` of `size` bytes (with the model's own word-start mark where it adds one; no BOS). What is not UTF-8 is
 * read as U+FFFD: one for each byte with a tokenizer.model, as SentencePiece does it; one for each ill-formed sequence with a
 * tokenizer.json, as Python's errors="replace" does it. Takes O(n log n) at most. 0 or -1 (memory; a text of half a gigabyte; an expression
 * of tokenizer.json that takes too many steps on this text). */
int tokenizer_encode(const Tokenizer *t, const char *text, size_t size, IdList *out, Error *e);
/* The same for text that goes on in a line begun before: no word-start mark of its own, but a space in front is one. */
int tokenizer_encode_inside(const Tokenizer *t, const char *text, size_t size, IdList *out, Error *e);

/* The text of ids, as SentencePiece or the decoder of tokenizer.json gives it: special tokens vanish, bytes join to UTF-8 (invalid
 * sequences become U+FFFD), the leading word-start space goes where the decoder says so. Ids that mean nothing vanish too. malloc'd, or
 * NULL. */
char *tokenizer_decode(const Tokenizer *t, const int *ids, size_t n, Error *e);

/* A hash of everything that determines ids, for cache keys. */
void tokenizer_hash(const Tokenizer *t, char out[33]);

/* template.c - what a conversation looks like as ids. `head` is everything before the image features (BOS first), `tail` what stands
 * between the image and the answer; each is tokenised as a chunk of its own, the second without BOS (LLaVA's two-chunk rule). A prompt
 * without an image is one chunk, all in `tail` (BOS included), head empty. */
typedef struct ChatTemplate {
    const char *name;
    const char *before_image, *after_image; /* after_image holds one {question} */
    const char *without_image;              /* for text-only prompts, holds one {question} */
} ChatTemplate;
const ChatTemplate *template_find(const char *name, Error *e); /* vicuna_v1, llava_v1 */
int template_prompt(const ChatTemplate *c, const Tokenizer *t, const char *question, int has_image, IdList *head, IdList *tail, Error *e);
/* Ids of an answer (its own word-start mark), ended by eos when `closed`. */
int template_answer(const Tokenizer *t, const char *answer, int closed, IdList *out, Error *e);

#endif

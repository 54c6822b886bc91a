/* hub.h - inside the tokenizer's room: what a Hugging Face `tokenizer.json` says, and what encoding builds from it.
 *
 * A text goes through four stages: added tokens are cut out, what lies between is normalised, pre-tokenisers split it into words, and the
 * BPE model merges each word. Decoders turn tokens back into text. The stages' meaning is that of the Rust library `tokenizers`
 * (github.com/huggingface/tokenizers); peer_tokenizers.py compares every id. Nothing above this room includes this file. */
#ifndef RLAIFV_TOKENIZER_HUB_H
#define RLAIFV_TOKENIZER_HUB_H

#include "base/json.h"
#include "tokenizer/merge.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"
#include "tokenizer/words.h"

enum {
    HUB_IDS_MOST = 1 << 23,  /* several times the largest published vocabulary */
    HUB_STEPS_MOST = 16,     /* of one stage; published files have at most five */
    HUB_TEXT_MOST = 1 << 29, /* bytes of a text, and of what normalisation makes of it: symbols count in int */
    HUB_TOKEN_MOST = 1 << 16 /* bytes of one token */
};

typedef struct Text {
    char *data; /* zero-terminated; NULL: absent */
    int size;
} Text;

/* Open-addressed hash of texts: their place among `keys`, or -1. */
typedef struct TextIndex {
    int *slots;
    size_t mask;
    const Text *keys;
} TextIndex;
/* Texts that are absent are left out; of equal ones the first stays, and *twice (may be NULL) becomes a later one's place, else -1. */
int text_index_build(TextIndex *x, const Text *keys, size_t count, int *twice, Error *e);
int text_index_find(const TextIndex *x, const char *text, size_t size);
void text_index_free(TextIndex *x);
int text_copy(Text *to, const char *text, size_t size, Error *e);

/* ---- steps ---- */

typedef enum NormalKind { NORMAL_NFC, NORMAL_PREPEND, NORMAL_REPLACE } NormalKind;
typedef struct NormalStep {
    NormalKind kind;
    Text pattern, content;
} NormalStep;

typedef enum Matcher { MATCH_REGEX, MATCH_TEXT, MATCH_NUMBER, MATCH_PUNCTUATION, MATCH_SPACE } Matcher;
typedef enum Behaviour { CUT_REMOVED, CUT_ISOLATED, CUT_WITH_PREVIOUS, CUT_WITH_NEXT, CUT_TOGETHER } Behaviour;
typedef enum Prefix { PREFIX_NEVER, PREFIX_FIRST, PREFIX_ALWAYS } Prefix;
typedef struct Regex Regex; /* regex.c */

typedef enum SplitKind {
    SPLIT_CUT,   /* by what matches */
    SPLIT_PREFIX /* `text` for each space when `spaces`, and put before what does not start with it */
} SplitKind;
typedef struct SplitStep {
    SplitKind kind;
    Matcher matcher;
    Behaviour behaviour;
    int invert;
    Regex *regex;
    Text text;
    Prefix prefix;
    int spaces;
} SplitStep;

typedef enum DecodeKind { DECODE_REPLACE, DECODE_BYTE_FALLBACK, DECODE_FUSE, DECODE_STRIP, DECODE_BYTES, DECODE_METASPACE } DecodeKind;
typedef struct DecodeStep {
    DecodeKind kind;
    Text pattern, content; /* metaspace: the mark is the pattern; strip: the character is the content */
    int start, stop;       /* strip: characters; metaspace: start set when the first token loses its marks */
} DecodeStep;

/* ---- added tokens ---- */

typedef struct Added {
    Text text;
    int id;
    uint8_t special, normalized, lstrip, rstrip, single_word,
        from_text; /* from_text 0: named by added_tokens.json alone, matches nothing */
} Added;

/* The added tokens of one kind (matched before or after normalisation) as a tree of bytes. */
typedef struct AddedTree {
    struct AddedNode {
        int child, sibling, added; /* -1: none; added: place in Hub.added */
        unsigned char byte;
    } * nodes;
    size_t count, cap;
    int first[256];
    int useful; /* some of them is not special: text can match it */
} AddedTree;

/* ---- the tokenizer ---- */

enum { TOKEN_MODEL = 1, TOKEN_ADDED = 2, TOKEN_SPECIAL = 4 };

typedef struct Hub {
    Text *tokens;              /* by id; absent ones are holes */
    uint8_t *flags;            /* by id */
    size_t model_count, count; /* ids below which the model's tokens, and all tokens, lie */
    TextIndex index;           /* of tokens */
    Added *added;
    size_t added_count;
    AddedTree raw, normalized;
    NormalStep normal[HUB_STEPS_MOST];
    SplitStep split[HUB_STEPS_MOST];
    DecodeStep decode[HUB_STEPS_MOST];
    int normal_count, split_count, decode_count, decodes; /* decodes 0: no decoder, tokens are joined by spaces */
    int byte_level;                                       /* words are bytes, written in GPT-2's alphabet */
    int byte_fallback, fuse_unk, ignore_merges, unk;
    int byte_id[256];     /* <0x00> to <0xFF>, -1 where absent */
    int byte_symbol[256]; /* byte level: the id of each byte's character */
    CharTable chars;      /* ids of single characters */
    MergeTable merges;
    Text *whole;           /* byte level with ignore_merges: tokens in bytes, by id */
    TextIndex whole_index; /* what ignore_merges looks words up in */
    int words_apart;       /* no merge crosses a word-start mark that stands behind another character */
    WordCache *words;
    int template_bos; /* the id that the post-processor puts first, or -1 */
    char hash[HASH_TEXT];
} Hub;

/* hub_read.c: reads tokenizer.json, and added_tokens.json where it is there. The Hub was zeroed; on failure it may be half filled and is
 * still to be freed. 0 or -1. */
int hub_read(Hub *h, const char *path, const char *added_path, Error *e);
void hub_free(Hub *h);
int hub_find(const Hub *h, const char *name); /* id of a token of any kind, or -1 */

/* hub_steps.c: the stages of tokenizer.json. */
int hub_read_normalizer(Hub *h, const json_t *root, const char *path, Error *e);
int hub_read_splits(Hub *h, const json_t *root, const char *path, Error *e);
int hub_read_decoder(Hub *h, const json_t *root, const char *path, Error *e);
int hub_read_template(Hub *h, const json_t *root, const char *path, Error *e);
void hub_free_steps(Hub *h);
/* "WHAT: PATH: field "FIELD"; found FOUND; expected EXPECTED". Returns -1. */
int hub_refuse(const char *path, const char *field, const char *what, const char *found, const char *expected, Error *e);

/* hub_added.c */
int hub_build_trees(Hub *h, Error *e);
/* Cuts `text` at the tokens of the tree: `between` is called for each stretch between (its place in the text, so that 0 is the start),
 * `token` for each token. Both return 0 or -1. */
typedef struct AddedVisitor {
    void *self;
    int (*between)(void *self, const char *text, size_t size, size_t at, Error *e);
    int (*token)(void *self, int id, Error *e);
} AddedVisitor;
int hub_visit_added(const Hub *h, const AddedTree *tree, const char *text, size_t size, const AddedVisitor *v, Error *e);

/* hub_normalize.c: a buffer that grows, and texts through all normalisers. */
typedef struct Bytes {
    char *data;
    size_t size, cap;
} Bytes;
int bytes_put(Bytes *b, const void *data, size_t size, Error *e);
/* Leaves what became of `text` in *out, which may be `text` itself or stand in either buffer; `inside` leaves what is put in front out.
 * 0 or -1. */
int hub_normalize(const Hub *h, int inside, const char *text, size_t size, Bytes buffers[2], Text *out, Error *e);
int nfc_inert(uint32_t code); /* the character stays as it is whatever stands before it */
int replace_all(Bytes *out, const char *text, size_t size, const Text *pattern, const Text *content, Error *e);

/* hub_encode.c: `inside` is tokenizer_encode_inside. */
int hub_encode(const Hub *h, int inside, const char *text, size_t size, IdList *out, Error *e);
/* hub_decode.c */
char *hub_decode(const Hub *h, const int *ids, size_t n, Error *e);
int byte_of_name(const char *text, size_t size); /* "<0x4F>" -> 0x4F; -1 for anything else */
/* GPT-2's alphabet: the character that stands for a byte, and back (-1: it stands for none). */
uint32_t byte_character(int byte);
int character_byte(uint32_t code);

/* regex.c: an expression of tokenizer.json (Oniguruma's language) through PCRE2. Sharing one among threads is fine. */
Regex *regex_new(const char *pattern, size_t size, const char *path, const char *field, Error *e);
void regex_free(Regex *r);
/* What one thread needs to match. Zeroed, it is ready. */
typedef struct RegexScratch {
    struct pcre2_real_match_data_8 *data;
    struct pcre2_real_match_context_8 *context;
    struct pcre2_real_jit_stack_8 *stack;
} RegexScratch;
/* The next match in `text` (UTF-8) at or behind `from`: 1 and its bounds, 0, or -1 when it takes too many steps. */
int regex_next(const Regex *r, RegexScratch *s, const char *text, size_t size, size_t from, size_t *start, size_t *end, Error *e);
void regex_scratch_free(RegexScratch *s);

#endif

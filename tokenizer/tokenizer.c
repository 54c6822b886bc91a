/* tokenizer.c - owns the Tokenizer: a SentencePiece model with its merge tables, the tokens added beside it, and decoding.
 *
 * added_tokens.json maps names to ids. An added token may restate a piece (Hugging Face files often list "</s>": 2); otherwise its id lies
 * beyond the pieces. Text never spells an added token. Decoding follows SentencePieceProcessor::Decode.
 * Refuses added tokens whose id belongs to another piece or to another added token. */
#include "tokenizer/pieces.h"

#include "base/file.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

enum { MODEL_BYTES_MOST = 64 << 20, ADDED_ID_MOST = 1 << 23 };

typedef struct Added {
    char *name;
    int id;
} Added;

struct Tokenizer {
    PieceModel model;
    UserPieces user;
    Bpe bpe;
    Added *added; /* by id, rising */
    size_t added_count;
    int vocab;
    char hash[HASH_TEXT];
};

int idlist_append(IdList *list, const int *ids, size_t n, Error *e) {
    if (!n) return 0;
    if (n > SIZE_MAX - list->count) return error_what(e, "a list of ids is too long");
    if (mem_grow(&list->ids, &list->cap, list->count + n, sizeof *ids, "token ids", e)) return -1;
    memcpy(list->ids + list->count, ids, n * sizeof *ids);
    list->count += n;
    return 0;
}

void idlist_free(IdList *list) {
    free(list->ids);
    *list = (IdList){ 0 };
}

/* ---- loading ---- */

static int added_compare(const void *a, const void *b) { return ((const Added *)a)->id - ((const Added *)b)->id; }

static int added_refuse(const char *path, const Added *a, const char *found, Error *e) {
    error_what(e, "an added token has a wrong id");
    error_where(e, "%s: \"%.100s\": %d", path, a->name, a->id);
    error_found(e, "%s", found);
    return error_expected(e, "an id of its own, beyond the pieces of tokenizer.model");
}

static int read_added(Tokenizer *t, const char *path, Error *e) {
    json_t *object, *value;
    const char *name;
    if (json_read_object(path, &object, e)) return -1;
    int bad = !(t->added = mem_new(json_object_size(object), sizeof *t->added, "added tokens", e));
    json_object_foreach(object, name, value) {
        int64_t id;
        if (bad || (bad = json_need_integer(object, name, path, 0, ADDED_ID_MOST, &id, e))) break;
        Added *a = &t->added[t->added_count];
        *a = (Added){ strdup(name), (int)id };
        if ((bad = !a->name)) error_what(e, "out of memory for added tokens");
        else t->added_count++;
    }
    json_decref(object);
    if (bad) return -1;
    qsort(t->added, t->added_count, sizeof *t->added, added_compare);
    for (size_t i = 0; i < t->added_count; i++) {
        const Added *a = &t->added[i];
        if (i && a->id == a[-1].id) return added_refuse(path, a, "another added token with this id", e);
        if ((size_t)a->id < t->model.count && strcmp(a->name, t->model.pieces[a->id].text))
            return added_refuse(path, a, "a piece of another name", e);
        if (a->id >= t->vocab) t->vocab = a->id + 1;
    }
    return 0;
}

/* Grows as fields are put in; what they are called does not matter, only that equal tokenizers give equal bytes. */
typedef struct Bytes {
    char *data;
    size_t count, cap;
} Bytes;

static int bytes_put(Bytes *b, const void *data, size_t size, Error *e) {
    if (mem_grow(&b->data, &b->cap, b->count + size, 1, "the tokenizer's hash", e)) return -1;
    memcpy(b->data + b->count, data, size);
    b->count += size;
    return 0;
}

static int hash_content(Tokenizer *t, Error *e) {
    const PieceModel *m = &t->model;
    const int head[] = { m->add_dummy_prefix, m->remove_extra_whitespaces, m->escape_whitespaces, m->byte_fallback, m->unk, m->bos,
        m->eos };
    Bytes b = { 0 };
    int bad = bytes_put(&b, head, sizeof head, e);
    for (size_t i = 0; !bad && i < m->count; i++) {
        const Piece *p = &m->pieces[i];
        bad = bytes_put(&b, &p->type, sizeof p->type, e) || bytes_put(&b, &p->score, sizeof p->score, e) ||
              bytes_put(&b, &p->size, sizeof p->size, e) || bytes_put(&b, p->text, (size_t)p->size, e);
    }
    for (size_t i = 0; !bad && i < t->added_count; i++)
        bad = bytes_put(&b, &t->added[i].id, sizeof t->added[i].id, e) || bytes_put(&b, t->added[i].name, strlen(t->added[i].name) + 1, e);
    if (!bad) hash_bytes(b.data, b.count, t->hash);
    free(b.data);
    return bad ? -1 : 0;
}

static int load(Tokenizer *t, const char *folder, Error *e) {
    char path[PATH_SIZE], *data;
    size_t size;
    if (path_join(path, folder, "tokenizer.model", e) || file_read(path, MODEL_BYTES_MOST, &data, &size, e)) return -1;
    int bad = piece_model_read(&t->model, data, size, path, e);
    free(data);
    if (bad || user_pieces_build(&t->user, &t->model, e) || bpe_build(&t->bpe, &t->model, e)) return -1;
    t->vocab = (int)t->model.count;
    if (path_join(path, folder, "added_tokens.json", e)) return -1;
    if (file_exists(path) && read_added(t, path, e)) return -1;
    return hash_content(t, e);
}

Tokenizer *tokenizer_load(const char *folder, Error *e) {
    Tokenizer *t = mem_new(1, sizeof *t, "a tokenizer", e);
    if (t && load(t, folder, e)) tokenizer_free(t), t = NULL;
    return t;
}

void tokenizer_free(Tokenizer *t) {
    if (!t) return;
    for (size_t i = 0; i < t->added_count; i++) free(t->added[i].name);
    free(t->added);
    bpe_free(&t->bpe);
    user_pieces_free(&t->user);
    piece_model_free(&t->model);
    free(t);
}

/* ---- facts ---- */

static const Piece *piece_at(const Tokenizer *t, int id) { return id >= 0 && (size_t)id < t->model.count ? &t->model.pieces[id] : NULL; }

int tokenizer_vocab(const Tokenizer *t) { return t->vocab; }
int tokenizer_bos(const Tokenizer *t) { return t->model.bos; }
int tokenizer_eos(const Tokenizer *t) { return t->model.eos; }
int tokenizer_unk(const Tokenizer *t) { return t->model.unk; }

int tokenizer_added(const Tokenizer *t, const char *name) {
    for (size_t i = 0; i < t->added_count; i++)
        if (!strcmp(t->added[i].name, name)) return t->added[i].id;
    const Piece *p = piece_at(t, piece_find(&t->model, name, strlen(name), 0));
    if (!p || p->type != PIECE_CONTROL) p = piece_at(t, piece_find(&t->model, name, strlen(name), 1));
    return p && (p->type == PIECE_CONTROL || p->type == PIECE_USER) ? (int)(p - t->model.pieces) : -1;
}

int tokenizer_may_emit(const Tokenizer *t, int id) {
    const Piece *p = piece_at(t, id);
    return p && (id == t->model.eos || p->type == PIECE_NORMAL || p->type == PIECE_USER || p->type == PIECE_BYTE);
}

const char *tokenizer_piece(const Tokenizer *t, int id) {
    const Piece *p = piece_at(t, id);
    return p ? p->text : NULL;
}

void tokenizer_hash(const Tokenizer *t, char out[HASH_TEXT]) { memcpy(out, t->hash, HASH_TEXT); }

/* ---- text to ids and back ---- */

static int encode(const Tokenizer *t, int prefix, const char *text, size_t size, IdList *out, Error *e) {
    PieceModel m = t->model; /* a view of it */
    char *normal;
    size_t normal_size;
    m.add_dummy_prefix = prefix;
    if (text_normalize(&m, &t->user, text, size, &normal, &normal_size, e)) return -1;
    int bad = bpe_encode(&t->bpe, &t->model, &t->user, normal, normal_size, out, e);
    free(normal);
    return bad;
}

int tokenizer_encode(const Tokenizer *t, const char *text, size_t size, IdList *out, Error *e) {
    return encode(t, t->model.add_dummy_prefix, text, size, out, e);
}

int tokenizer_encode_inside(const Tokenizer *t, const char *text, size_t size, IdList *out, Error *e) {
    const int marked = t->model.add_dummy_prefix && size && text[0] == ' ';
    return encode(t, marked, text + marked, size - (size_t)marked, out, e);
}

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

char *tokenizer_decode(const Tokenizer *t, const int *ids, size_t n, Error *e) {
    const PieceModel *m = &t->model;
    const size_t unk_size = strlen(m->unk_surface);
    size_t most = 1, runs = 0;
    for (size_t i = 0; i < n; i++) {
        const Piece *p = piece_at(t, ids[i]);
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
        const Piece *p = piece_at(t, ids[i]);
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

/* tokenizer.c - owns the Tokenizer: which file it is read from, the tokens added beside a tokenizer.model, and what callers ask.
 *
 * added_tokens.json maps names to ids. An added token may restate a piece (Hugging Face files often list "</s>": 2); otherwise its id lies
 * beyond the pieces. Text never spells an added token.
 * Refuses added tokens whose id belongs to another piece or to another added token. */
#include "tokenizer/hub.h"
#include "tokenizer/names.h"
#include "tokenizer/pieces.h"

#include "base/file.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

enum { MODEL_BYTES_MOST = 64 << 20, ADDED_ID_MOST = 1 << 23 };

typedef struct NamedId {
    char *name;
    int id;
} NamedId;

struct Tokenizer {
    Hub *hub; /* of a tokenizer.json; NULL: the tokenizer is a tokenizer.model, in what follows */
    PieceModel model;
    UserPieces user;
    Bpe bpe;
    NamedId *added; /* by id, rising */
    size_t added_count;
    int vocab;
    SpecialIds special;
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

static int added_compare(const void *a, const void *b) { return ((const NamedId *)a)->id - ((const NamedId *)b)->id; }

static int added_refuse(const char *path, const NamedId *a, const char *found, Error *e) {
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
        NamedId *a = &t->added[t->added_count];
        *a = (NamedId){ strdup(name), (int)id };
        if ((bad = !a->name)) error_what(e, "out of memory for added tokens");
        else t->added_count++;
    }
    json_decref(object);
    if (bad) return -1;
    qsort(t->added, t->added_count, sizeof *t->added, added_compare);
    for (size_t i = 0; i < t->added_count; i++) {
        const NamedId *a = &t->added[i];
        if (i && a->id == a[-1].id) return added_refuse(path, a, "another added token with this id", e);
        if ((size_t)a->id < t->model.count && strcmp(a->name, t->model.pieces[a->id].text))
            return added_refuse(path, a, "a piece of another name", e);
        if (a->id >= t->vocab) t->vocab = a->id + 1;
    }
    return 0;
}

/* What fields are called does not matter, only that equal tokenizers give equal bytes. */
static int hash_model(Tokenizer *t, Error *e) {
    const PieceModel *m = &t->model;
    const int head[] = { m->add_dummy_prefix, m->remove_extra_whitespaces, m->escape_whitespaces, m->byte_fallback, m->unk, m->bos,
        m->eos };
    Bytes b = { 0 };
    int bad = bytes_put(&b, head, sizeof head, e) || bytes_put(&b, &t->special, sizeof t->special, e);
    for (size_t i = 0; !bad && i < m->count; i++) {
        const Piece *p = &m->pieces[i];
        bad = bytes_put(&b, &p->type, sizeof p->type, e) || bytes_put(&b, &p->score, sizeof p->score, e) ||
              bytes_put(&b, &p->size, sizeof p->size, e) || bytes_put(&b, p->text, (size_t)p->size, e);
    }
    for (size_t i = 0; !bad && i < t->added_count; i++)
        bad = bytes_put(&b, &t->added[i].id, sizeof t->added[i].id, e) || bytes_put(&b, t->added[i].name, strlen(t->added[i].name) + 1, e);
    if (!bad) hash_bytes(b.data, b.size, t->hash);
    free(b.data);
    return bad ? -1 : 0;
}

static int find_name(const void *self, const char *name) {
    const Tokenizer *t = self;
    if (t->hub) return hub_find(t->hub, name);
    for (int plain = 1; plain >= 0; plain--) {
        const int id = piece_find(&t->model, name, strlen(name), plain);
        if (id >= 0) return id;
    }
    return tokenizer_added(t, name);
}

static int load_model(Tokenizer *t, const char *folder, const char *path, Error *e) {
    char *data, added[PATH_SIZE];
    size_t size;
    if (file_read(path, MODEL_BYTES_MOST, &data, &size, e)) return -1;
    int bad = piece_model_read(&t->model, data, size, path, e);
    free(data);
    if (bad || user_pieces_build(&t->user, &t->model, e) || bpe_build(&t->bpe, &t->model, e)) return -1;
    t->vocab = (int)t->model.count;
    if (path_join(added, folder, "added_tokens.json", e)) return -1;
    if (file_exists(added) && read_added(t, added, e)) return -1;
    t->special.id[SPECIAL_BOS] = t->model.bos, t->special.id[SPECIAL_EOS] = t->model.eos, t->special.id[SPECIAL_UNK] = t->model.unk;
    if (special_ids_read(&t->special, folder, t->vocab, find_name, t, e)) return -1;
    if (t->special.add_bos < 0) t->special.add_bos = 1; /* as Llama's class in Transformers */
    return hash_model(t, e);
}

static int load_hub(Tokenizer *t, const char *folder, const char *path, Error *e) {
    char added[PATH_SIZE];
    if (path_join(added, folder, "added_tokens.json", e) || !(t->hub = mem_new(1, sizeof *t->hub, "a tokenizer", e))) return -1;
    if (hub_read(t->hub, path, added, e)) return -1;
    const Hub *h = t->hub;
    SpecialIds *s = &t->special;
    t->vocab = (int)h->count;
    s->id[SPECIAL_UNK] = h->unk;
    s->id[SPECIAL_BOS] = h->template_bos;
    if (special_ids_read(s, folder, t->vocab, find_name, t, e)) return -1;
    if (s->add_bos < 0) s->add_bos = h->template_bos >= 0;
    if (s->id[SPECIAL_BOS] < 0) s->add_bos = 0;
    char all[HASH_TEXT + sizeof *s];
    memcpy(all, h->hash, HASH_TEXT), memcpy(all + HASH_TEXT, s, sizeof *s);
    hash_bytes(all, sizeof all, t->hash);
    return 0;
}

static int load(Tokenizer *t, const char *folder, Error *e) {
    char model[PATH_SIZE], json[PATH_SIZE];
    if (path_join(model, folder, "tokenizer.model", e) || path_join(json, folder, "tokenizer.json", e)) return -1;
    for (int i = 0; i < SPECIAL_NAMES; i++) t->special.id[i] = -1;
    t->special.add_bos = -1;
    if (file_exists(model)) return load_model(t, folder, model, e);
    if (file_exists(json)) return load_hub(t, folder, json, e);
    error_what(e, "no tokenizer"), error_where(e, "%s", folder), error_found(e, "neither tokenizer.model nor tokenizer.json");
    return error_hint(e, "copy one of them from where the checkpoint came");
}

Tokenizer *tokenizer_load(const char *folder, Error *e) {
    Tokenizer *t = mem_new(1, sizeof *t, "a tokenizer", e);
    if (t && load(t, folder, e)) tokenizer_free(t), t = NULL;
    return t;
}

void tokenizer_free(Tokenizer *t) {
    if (!t) return;
    if (t->hub) hub_free(t->hub);
    free(t->hub);
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
int tokenizer_bos(const Tokenizer *t) { return t->special.id[SPECIAL_BOS]; }
int tokenizer_eos(const Tokenizer *t) { return t->special.id[SPECIAL_EOS]; }
int tokenizer_unk(const Tokenizer *t) { return t->special.id[SPECIAL_UNK]; }
int tokenizer_pad(const Tokenizer *t) { return t->special.id[SPECIAL_PAD]; }
int tokenizer_adds_bos(const Tokenizer *t) { return t->special.add_bos; }

int tokenizer_added(const Tokenizer *t, const char *name) {
    if (t->hub) {
        const int id = hub_find(t->hub, name);
        return id >= 0 && t->hub->flags[id] & TOKEN_ADDED && id != tokenizer_unk(t) ? id : -1;
    }
    for (size_t i = 0; i < t->added_count; i++)
        if (!strcmp(t->added[i].name, name)) return t->added[i].id;
    for (int plain = 0; plain < 2; plain++) {
        const int id = piece_find(&t->model, name, strlen(name), plain), type = id < 0 ? PIECE_NORMAL : t->model.pieces[id].type;
        if (type == PIECE_CONTROL || type == PIECE_USER) return id;
    }
    return -1;
}

int tokenizer_may_emit(const Tokenizer *t, int id) {
    if (id >= 0 && id == tokenizer_eos(t)) return 1;
    if (t->hub)
        return id >= 0 && (size_t)id < t->hub->count && t->hub->tokens[id].data && !(t->hub->flags[id] & TOKEN_SPECIAL) &&
               id != tokenizer_unk(t);
    const Piece *p = piece_at(t, id);
    return p && (p->type == PIECE_NORMAL || p->type == PIECE_USER || p->type == PIECE_BYTE);
}

const char *tokenizer_piece(const Tokenizer *t, int id) {
    if (t->hub) return id >= 0 && (size_t)id < t->hub->count && t->hub->flags[id] & TOKEN_MODEL ? t->hub->tokens[id].data : NULL;
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
    if (t->hub) return hub_encode(t->hub, 0, text, size, out, e);
    return encode(t, t->model.add_dummy_prefix, text, size, out, e);
}

int tokenizer_encode_inside(const Tokenizer *t, const char *text, size_t size, IdList *out, Error *e) {
    if (t->hub) return hub_encode(t->hub, 1, text, size, out, e);
    const int marked = t->model.add_dummy_prefix && size && text[0] == ' ';
    return encode(t, marked, text + marked, size - (size_t)marked, out, e);
}

char *tokenizer_decode(const Tokenizer *t, const int *ids, size_t n, Error *e) {
    return t->hub ? hub_decode(t->hub, ids, n, e) : pieces_decode(&t->model, ids, n, e);
}

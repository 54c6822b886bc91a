/* sentencepiece.c - reads tokenizer.model: a protobuf ModelProto of SentencePiece (github.com/google/sentencepiece,
 * sentencepiece_model.proto).
 *
 * Owns the PieceModel: the pieces with their scores and types, the few settings that change ids, and the index from text to id. The
 * protobuf wire format is read by hand: tag = field << 3 | type, types varint, 8 bytes, length-delimited, 4 bytes; unknown fields are
 * skipped. Refuses: anything that runs past its end; models other than BPE; normalisation other than identity (a character map); spaces as
 * suffixes; pieces that are empty, overlong, not UTF-8, defined twice or with a score that is no number; a missing <unk>, <s> or </s>; an
 * incomplete set of bytes. */
#include "tokenizer/pieces.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE_BYTES_MOST = 1024, /* SentencePiece trains at most 16 characters; building merges is quadratic in this */
    PIECES_MOST = 1 << 22    /* an order of magnitude above the largest published vocabulary */
};

/* ---- the wire format ---- */

typedef enum WireType { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 } WireType;

typedef struct Wire {
    const unsigned char *at, *end, *start; /* start is the file's first byte, for places in messages */
    const char *path;
} Wire;

typedef struct Field {
    uint32_t number, type;
    uint64_t value; /* of a varint or a fixed field */
    Wire bytes;     /* of a length-delimited field */
} Field;

static int wire_bad(const Wire *w, const char *found, const char *expected, Error *e) {
    error_what(e, "damaged tokenizer model");
    error_where(e, "%s, byte %zu", w->path, (size_t)(w->at - w->start));
    error_found(e, "%s", found);
    error_expected(e, "%s", expected);
    error_hint(e, "copy the file again from where it came");
    return -1;
}

static int wire_varint(Wire *w, uint64_t *out, Error *e) {
    uint64_t value = 0;
    const unsigned char *p = w->at;
    for (int shift = 0; shift < 64; shift += 7) {
        if (p == w->end) return wire_bad(w, "the end inside a number", "a whole varint", e);
        value |= (uint64_t)(*p & 0x7f) << shift;
        if (*p++ < 0x80) return w->at = p, *out = value, 0;
    }
    return wire_bad(w, "a number of more than 10 bytes", "a varint", e);
}

static int wire_fixed(Wire *w, int size, uint64_t *out, Error *e) {
    if (w->end - w->at < size) return wire_bad(w, "the end inside a number", "a whole fixed-size number", e);
    *out = 0;
    for (int i = 0; i < size; i++) *out |= (uint64_t)w->at[i] << (8 * i);
    w->at += size;
    return 0;
}

/* The next field of a message: 1, 0 at its end, -1. */
static int wire_next(Wire *w, Field *f, Error *e) {
    if (w->at == w->end) return 0;
    uint64_t tag, size;
    const Wire before = *w;
    if (wire_varint(w, &tag, e)) return -1;
    if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return wire_bad(&before, "a field number out of range", "a protobuf field", e);
    *f = (Field){ .number = (uint32_t)(tag >> 3), .type = (uint32_t)(tag & 7) };
    switch (f->type) {
    case WIRE_VARINT:
        return wire_varint(w, &f->value, e) ? -1 : 1;
    case WIRE_FIXED64:
        return wire_fixed(w, 8, &f->value, e) ? -1 : 1;
    case WIRE_FIXED32:
        return wire_fixed(w, 4, &f->value, e) ? -1 : 1;
    case WIRE_BYTES:
        if (wire_varint(w, &size, e)) return -1;
        if (size > (uint64_t)(w->end - w->at))
            return wire_bad(&before, "a length that runs past the end", "a length within its message", e);
        f->bytes = (Wire){ w->at, w->at + size, w->start, w->path };
        w->at += size;
        return 1;
    default:
        return wire_bad(&before, "a field of an unknown wire type", "varint, fixed or length-delimited", e);
    }
}

static int field_is(const Field *f, WireType type, const Wire *w, Error *e) {
    return f->type == type ? 0 : wire_bad(w, "a known field with another wire type", "the types of sentencepiece_model.proto", e);
}

/* ---- messages ---- */

static int read_piece(PieceModel *m, size_t *text_used, Wire w, Error *e) {
    Field f;
    Wire text = { w.at, w.at, w.start, w.path };
    uint64_t type = PIECE_NORMAL;
    uint32_t score_bits = 0;
    int more;
    while ((more = wire_next(&w, &f, e)) == 1) switch (f.number) {
        case 1:
            if (field_is(&f, WIRE_BYTES, &w, e)) return -1;
            text = f.bytes;
            break;
        case 2:
            if (field_is(&f, WIRE_FIXED32, &w, e)) return -1;
            score_bits = (uint32_t)f.value;
            break;
        case 3:
            if (field_is(&f, WIRE_VARINT, &w, e)) return -1;
            type = f.value;
            break;
        default:
            break;
        }
    if (more < 0) return -1;
    if (type < PIECE_NORMAL || type > PIECE_BYTE) return wire_bad(&text, "a piece of an unknown type", "type 1 to 6", e);
    if (m->count == PIECES_MOST) return wire_bad(&text, "too many pieces", "at most 4194304", e);
    if (mem_grow(&m->pieces, &m->cap, m->count + 1, sizeof *m->pieces, "tokenizer pieces", e)) return -1;
    size_t size = (size_t)(text.end - text.at);
    if (size > PIECE_BYTES_MOST) return wire_bad(&text, "a piece that is too long", "at most 1024 bytes", e);
    Piece *p = &m->pieces[m->count++];
    *p = (Piece){ .text = m->text + *text_used, .size = (int)size, .type = (uint8_t)type };
    memcpy(&p->score, &score_bits, sizeof p->score);
    memcpy(m->text + *text_used, text.at, size);
    *text_used += size + 1;
    return 0;
}

/* What is read only to be checked or to name the special pieces. */
typedef struct Spec {
    uint64_t model_type, space_suffix;
    Wire bos_name, eos_name, unk_surface, normalizer_name;
    size_t charsmap, denormalizer; /* bytes of character maps */
} Spec;

static int read_flag(const Field *f, const Wire *w, int *out, Error *e) {
    if (field_is(f, WIRE_VARINT, w, e)) return -1;
    return *out = f->value != 0, 0;
}

static int read_trainer(PieceModel *m, Spec *s, Wire w, Error *e) {
    Field f;
    int more, suffix;
    while ((more = wire_next(&w, &f, e)) == 1) switch (f.number) {
        case 3:
            if (field_is(&f, WIRE_VARINT, &w, e)) return -1;
            s->model_type = f.value;
            break;
        case 24:
            if (read_flag(&f, &w, &suffix, e)) return -1;
            s->space_suffix = (uint64_t)suffix;
            break;
        case 35:
            if (read_flag(&f, &w, &m->byte_fallback, e)) return -1;
            break;
        case 44:
        case 46:
        case 47:
            if (field_is(&f, WIRE_BYTES, &w, e)) return -1;
            *(f.number == 44 ? &s->unk_surface : f.number == 46 ? &s->bos_name : &s->eos_name) = f.bytes;
            break;
        default:
            break;
        }
    return more;
}

static int read_normalizer(PieceModel *m, Spec *s, Wire w, Error *e) {
    Field f;
    int more, bad = 0;
    while (!bad && (more = wire_next(&w, &f, e)) == 1) switch (f.number) {
        case 1:
            if ((bad = field_is(&f, WIRE_BYTES, &w, e)) == 0) s->normalizer_name = f.bytes;
            break;
        case 2:
            if ((bad = field_is(&f, WIRE_BYTES, &w, e)) == 0) s->charsmap = (size_t)(f.bytes.end - f.bytes.at);
            break;
        case 3:
            bad = read_flag(&f, &w, &m->add_dummy_prefix, e);
            break;
        case 4:
            bad = read_flag(&f, &w, &m->remove_extra_whitespaces, e);
            break;
        case 5:
            bad = read_flag(&f, &w, &m->escape_whitespaces, e);
            break;
        default:
            break;
        }
    return bad ? -1 : more;
}

static int read_denormalizer(Spec *s, Wire w, Error *e) {
    Field f;
    int more;
    while ((more = wire_next(&w, &f, e)) == 1)
        if (f.number == 2 && f.type == WIRE_BYTES) s->denormalizer = (size_t)(f.bytes.end - f.bytes.at);
    return more;
}

static int read_model(PieceModel *m, Spec *s, Wire w, Error *e) {
    Field f;
    size_t text_used = 0;
    int more;
    while ((more = wire_next(&w, &f, e)) == 1) {
        if (f.number != 1 && f.number != 2 && f.number != 3 && f.number != 5) continue;
        if (field_is(&f, WIRE_BYTES, &w, e)) return -1;
        int bad = f.number == 1   ? read_piece(m, &text_used, f.bytes, e)
                  : f.number == 2 ? read_trainer(m, s, f.bytes, e)
                  : f.number == 3 ? read_normalizer(m, s, f.bytes, e)
                                  : read_denormalizer(s, f.bytes, e);
        if (bad) return -1;
    }
    return more;
}

/* ---- checks ---- */

static int refuse(const char *path, const char *what, Error *e) {
    error_what(e, "%s", what);
    return error_where(e, "%s", path);
}

static int refuse_piece(const char *path, size_t id, const char *what, Error *e) {
    error_what(e, "%s", what);
    error_where(e, "%s, piece %zu", path, id);
    return error_hint(e, "copy the file again from where it came");
}

static int check_spec(const Spec *s, const char *path, Error *e) {
    static const char *const types[] = { "0", "UNIGRAM", "BPE", "WORD", "CHAR" };
    if (s->model_type != 2) {
        refuse(path, "this kind of tokenizer is not supported", e);
        error_found(e, "a %s model", s->model_type < sizeof types / sizeof *types ? types[s->model_type] : "newer");
        return error_expected(e, "a BPE model, as Llama and Mistral have");
    }
    if (s->charsmap || s->denormalizer) {
        refuse(path, "this tokenizer rewrites characters, which is not supported", e);
        error_found(e, "%.*s with a character map of %zu bytes", (int)(s->normalizer_name.end - s->normalizer_name.at),
            (const char *)s->normalizer_name.at, s->charsmap + s->denormalizer);
        return error_expected(e, "normalisation \"identity\" (no character map)");
    }
    if (s->space_suffix) {
        refuse(path, "this tokenizer marks word ends, which is not supported", e);
        error_found(e, "treat_whitespace_as_suffix");
        return error_expected(e, "word starts to be marked");
    }
    return 0;
}

static size_t index_slot(const PieceModel *m, const char *text, size_t size, int plain) {
    return (size_t)hash64(text, size, (uint64_t)plain) & (m->index_size - 1);
}

int piece_find(const PieceModel *m, const char *text, size_t size, int plain) {
    for (size_t slot = index_slot(m, text, size, plain);; slot = (slot + 1) & (m->index_size - 1)) {
        int id = m->index[slot];
        if (id < 0) return -1;
        const Piece *p = &m->pieces[id];
        if ((size_t)p->size == size && piece_is_plain(p) == plain && !memcmp(p->text, text, size)) return id;
    }
}

static int index_add(PieceModel *m, int id) {
    const Piece *p = &m->pieces[id];
    if (piece_find(m, p->text, (size_t)p->size, piece_is_plain(p)) >= 0) return -1;
    size_t slot = index_slot(m, p->text, (size_t)p->size, piece_is_plain(p));
    while (m->index[slot] >= 0) slot = (slot + 1) & (m->index_size - 1);
    return m->index[slot] = id, 0;
}

/* "<0x4F>" -> 0x4F; -1 for anything else. */
static int byte_of(const Piece *p) {
    static const char digits[] = "0123456789ABCDEF";
    if (p->size != 6 || memcmp(p->text, "<0x", 3) || p->text[5] != '>') return -1;
    const char *high = memchr(digits, p->text[3], 16), *low = memchr(digits, p->text[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static int check_pieces(PieceModel *m, const char *path, Error *e) {
    if (!m->count) return refuse(path, "a tokenizer without pieces", e);
    m->index_size = 64;
    while (m->index_size < 2 * m->count) m->index_size *= 2;
    if (!(m->index = mem_new(m->index_size, sizeof *m->index, "the index of pieces", e))) return -1;
    memset(m->index, 0xff, m->index_size * sizeof *m->index);
    m->unk = -1;
    memset(m->byte_id, 0xff, sizeof m->byte_id);
    for (size_t id = 0; id < m->count; id++) {
        Piece *p = &m->pieces[id];
        if (!p->size) return refuse_piece(path, id, "an empty piece", e);
        if (utf8_valid(p->text, (size_t)p->size) != (size_t)p->size) return refuse_piece(path, id, "a piece that is not UTF-8", e);
        if (!isfinite(p->score)) return refuse_piece(path, id, "a piece whose score is not a number", e);
        if (index_add(m, (int)id)) {
            refuse_piece(path, id, "a piece that is defined twice", e);
            return error_found(e, "\"%.100s\" again", p->text);
        }
        if (p->type == PIECE_UNKNOWN) {
            if (m->unk >= 0) return refuse_piece(path, id, "a second unknown piece", e);
            m->unk = (int)id;
        }
        if (p->type == PIECE_BYTE) {
            int byte = byte_of(p);
            if (!m->byte_fallback || byte < 0) {
                refuse_piece(
                    path, id, byte < 0 ? "a byte piece with a wrong name" : "a byte piece in a tokenizer without byte fallback", e);
                return error_found(e, "\"%.100s\"", p->text), error_expected(e, "<0x00> to <0xFF>, and byte_fallback set");
            }
            p->byte = (uint8_t)byte;
            m->byte_id[byte] = (int)id;
        }
    }
    if (m->unk < 0) return refuse(path, "a tokenizer without an unknown piece", e);
    for (int byte = 0; m->byte_fallback && byte < 256; byte++)
        if (m->byte_id[byte] < 0) {
            refuse(path, "a tokenizer with byte fallback lacks a byte", e);
            return error_expected(e, "all of <0x00> to <0xFF>"), error_found(e, "no <0x%02X>", byte);
        }
    return 0;
}

static int find_control(const PieceModel *m, Wire name, const char *usual, const char *path, int *out, Error *e) {
    const char *text = name.at ? (const char *)name.at : usual;
    size_t size = name.at ? (size_t)(name.end - name.at) : strlen(usual);
    *out = size ? piece_find(m, text, size, 0) : -1;
    if (*out >= 0 && m->pieces[*out].type == PIECE_CONTROL) return 0;
    refuse(path, "a tokenizer without a begin or end token", e);
    error_found(e, "no control piece \"%.*s\"", (int)(size < 100 ? size : 100), text);
    return error_expected(e, "the control pieces that the model's settings name, usually <s> and </s>");
}

static int read_and_check(PieceModel *m, const char *data, size_t size, const char *path, Error *e) {
    const unsigned char *start = (const unsigned char *)data;
    Spec s = { .model_type = 1 }; /* the defaults of sentencepiece_model.proto */
    m->add_dummy_prefix = m->remove_extra_whitespaces = m->escape_whitespaces = 1;
    /* A piece of n bytes costs at least n + 2 in the file, so all of them with a final zero each fit into the file's size. */
    if (!(m->text = mem_new(size + 1, 1, "the text of pieces", e))) return -1;
    if (read_model(m, &s, (Wire){ start, start + size, start, path }, e)) return -1;
    if (check_spec(&s, path, e) || check_pieces(m, path, e)) return -1;
    if (find_control(m, s.bos_name, "<s>", path, &m->bos, e) || find_control(m, s.eos_name, "</s>", path, &m->eos, e)) return -1;
    m->unk_surface = s.unk_surface.at ? strndup((const char *)s.unk_surface.at, (size_t)(s.unk_surface.end - s.unk_surface.at))
                                      : strdup(" \xe2\x81\x87 ");
    return m->unk_surface ? 0 : error_what(e, "out of memory for the tokenizer");
}

int piece_model_read(PieceModel *m, const char *data, size_t size, const char *path, Error *e) {
    memset(m, 0, sizeof *m);
    if (!read_and_check(m, data, size, path, e)) return 0;
    piece_model_free(m);
    return -1;
}

void piece_model_free(PieceModel *m) {
    free(m->pieces), free(m->text), free(m->index), free(m->unk_surface);
    memset(m, 0, sizeof *m);
}

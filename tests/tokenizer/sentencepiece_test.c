/* sentencepiece_test.c - reading tokenizer.model: each way in which a file can be wrong with its one error, and small models whose ids are
 * worked out by hand (user-defined and unused pieces, spaces, no byte fallback). */
#include "tests/tokenizer/golden.h"

#include "base/philox.h"
#include "tokenizer/pieces.h"

#include <math.h>

/* ---- a protobuf writer ---- */

typedef struct Buffer {
    char data[16384];
    size_t size;
} Buffer;

static void put(Buffer *b, const void *data, size_t size) {
    assert_true(b->size + size <= sizeof b->data);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void put_varint(Buffer *b, uint64_t v) {
    for (; v >= 0x80; v >>= 7) put(b, &(unsigned char){ (unsigned char)(v | 0x80) }, 1);
    put(b, &(unsigned char){ (unsigned char)v }, 1);
}

static void put_number(Buffer *b, int field, uint64_t v) { put_varint(b, (uint64_t)field << 3), put_varint(b, v); }

static void put_bytes(Buffer *b, int field, const void *data, size_t size) {
    put_varint(b, (uint64_t)field << 3 | 2), put_varint(b, size), put(b, data, size);
}

static void put_piece(Buffer *b, const char *text, float score, int type) {
    Buffer p = { .size = 0 };
    put_bytes(&p, 1, text, strlen(text));
    put_varint(&p, 2 << 3 | 5), put(&p, &score, 4);
    put_number(&p, 3, (uint64_t)type);
    put_bytes(b, 1, p.data, p.size);
}

typedef struct Trainer {
    int type, byte_fallback, suffix;
} Trainer;

static void put_trainer(Buffer *b, Trainer t) {
    Buffer p = { .size = 0 };
    put_number(&p, 3, (uint64_t)t.type), put_number(&p, 35, (uint64_t)t.byte_fallback), put_number(&p, 24, (uint64_t)t.suffix);
    put_bytes(&p, 99, "unknown fields are skipped", 26);
    put_bytes(b, 2, p.data, p.size);
}

static void put_normalizer(Buffer *b, const char *name, size_t charsmap, int prefix, int squeeze) {
    Buffer p = { .size = 0 };
    char zeros[64] = { 0 };
    put_bytes(&p, 1, name, strlen(name)), put_bytes(&p, 2, zeros, charsmap);
    put_number(&p, 3, (uint64_t)prefix), put_number(&p, 4, (uint64_t)squeeze);
    put_bytes(b, 3, p.data, p.size);
}

static const Trainer BPE = { 2, 0, 0 };

static void put_specials(Buffer *b) {
    put_piece(b, "<unk>", 0, PIECE_UNKNOWN), put_piece(b, "<s>", 0, PIECE_CONTROL), put_piece(b, "</s>", 0, PIECE_CONTROL);
}

static void put_all_bytes(Buffer *b) {
    for (int i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", i);
        put_piece(b, name, 0, PIECE_BYTE);
    }
}

/* ---- wrong files ---- */

static void empty_piece(Buffer *b) { put_specials(b), put_piece(b, "", 0, PIECE_NORMAL), put_trainer(b, BPE); }
static void no_pieces(Buffer *b) { put_trainer(b, BPE); }
static void no_unknown(Buffer *b) { put_piece(b, "<s>", 0, PIECE_CONTROL), put_piece(b, "</s>", 0, PIECE_CONTROL), put_trainer(b, BPE); }
static void two_unknown(Buffer *b) { put_specials(b), put_piece(b, "<unk2>", 0, PIECE_UNKNOWN), put_trainer(b, BPE); }
static void no_bos(Buffer *b) { put_piece(b, "<unk>", 0, PIECE_UNKNOWN), put_piece(b, "</s>", 0, PIECE_CONTROL), put_trainer(b, BPE); }
static void no_eos(Buffer *b) { put_piece(b, "<unk>", 0, PIECE_UNKNOWN), put_piece(b, "<s>", 0, PIECE_CONTROL), put_trainer(b, BPE); }
static void bos_is_normal(Buffer *b) {
    put_piece(b, "<unk>", 0, PIECE_UNKNOWN), put_piece(b, "<s>", 0, PIECE_NORMAL), put_piece(b, "</s>", 0, PIECE_CONTROL),
        put_trainer(b, BPE);
}
static void twice(Buffer *b) {
    put_specials(b), put_piece(b, "a", 0, PIECE_NORMAL), put_piece(b, "a", -1, PIECE_USER), put_trainer(b, BPE);
}
static void twice_control(Buffer *b) { put_specials(b), put_piece(b, "<s>", 0, PIECE_CONTROL), put_trainer(b, BPE); }
static void score_nan(Buffer *b) { put_specials(b), put_piece(b, "a", NAN, PIECE_NORMAL), put_trainer(b, BPE); }
static void score_infinite(Buffer *b) { put_specials(b), put_piece(b, "a", -INFINITY, PIECE_NORMAL), put_trainer(b, BPE); }
static void not_utf8(Buffer *b) { put_specials(b), put_piece(b, "a\xff", 0, PIECE_NORMAL), put_trainer(b, BPE); }
static void type_seven(Buffer *b) { put_specials(b), put_piece(b, "a", 0, 7), put_trainer(b, BPE); }
static void too_long(Buffer *b) {
    char text[1100];
    memset(text, 'a', sizeof text), text[sizeof text - 1] = 0;
    put_specials(b), put_piece(b, text, 0, PIECE_NORMAL), put_trainer(b, BPE);
}
static void byte_without_fallback(Buffer *b) { put_specials(b), put_piece(b, "<0x00>", 0, PIECE_BYTE), put_trainer(b, BPE); }
static void byte_misnamed(Buffer *b) { put_specials(b), put_piece(b, "<0xaa>", 0, PIECE_BYTE), put_trainer(b, (Trainer){ 2, 1, 0 }); }
static void bytes_missing(Buffer *b) { put_specials(b), put_piece(b, "<0x00>", 0, PIECE_BYTE), put_trainer(b, (Trainer){ 2, 1, 0 }); }
static void unigram(Buffer *b) { put_specials(b), put_trainer(b, (Trainer){ 1, 0, 0 }); }
static void no_trainer(Buffer *b) { put_specials(b); }
static void model_type_nine(Buffer *b) { put_specials(b), put_trainer(b, (Trainer){ 9, 0, 0 }); }
static void suffix(Buffer *b) { put_specials(b), put_trainer(b, (Trainer){ 2, 0, 1 }); }
static void charsmap(Buffer *b) { put_specials(b), put_trainer(b, BPE), put_normalizer(b, "nmt_nfkc", 40, 1, 1); }
static void length_past_end(Buffer *b) { put_specials(b), put(b, "\x0a\x7f\x01", 3); }
static void length_huge(Buffer *b) { put_specials(b), put(b, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11); }
static void inner_length_past_end(Buffer *b) { put_specials(b), put(b, "\x0a\x03\x0a\x09\x61", 5), put_trainer(b, BPE); }
static void varint_too_long(Buffer *b) { put_specials(b), put(b, "\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12); }
static void varint_cut(Buffer *b) { put_specials(b), put(b, "\x20\xff", 2); }
static void fixed_cut(Buffer *b) { put_specials(b), put(b, "\x0a\x03\x15\x00\x00", 5); }
static void group(Buffer *b) { put_specials(b), put(b, "\x0b", 1); }
static void field_zero(Buffer *b) { put_specials(b), put(b, "\x00\x00", 2); }
static void piece_as_number(Buffer *b) { put_specials(b), put_number(b, 1, 5); }
static void score_as_varint(Buffer *b) { put_specials(b), put(b, "\x0a\x02\x10\x05", 4); }
static void text_file(Buffer *b) { put(b, "version https://git-lfs.github.com/spec/v1\n", 43); }
static void nothing(Buffer *b) { (void)b; }

static void wrong_files_are_refused(void **state) {
    (void)state;
    static const char damaged[] = "damaged tokenizer model", kind[] = "this kind of tokenizer is not supported";
    static const char no_end[] = "a tokenizer without a begin or end token", twice_text[] = "a piece that is defined twice";
    static const char score[] = "a piece whose score is not a number";
    static const struct {
        const char *name;
        void (*write)(Buffer *b);
        const char *what, *found; /* found: a part of it */
    } cases[] = {
        { "empty piece", empty_piece, "an empty piece", "" },
        { "no pieces", no_pieces, "a tokenizer without pieces", "" },
        { "no unknown", no_unknown, "a tokenizer without an unknown piece", "" },
        { "two unknown", two_unknown, "a second unknown piece", "" },
        { "no bos", no_bos, no_end, "\"<s>\"" },
        { "no eos", no_eos, no_end, "\"</s>\"" },
        { "bos is normal", bos_is_normal, no_end, "\"<s>\"" },
        { "twice", twice, twice_text, "\"a\"" },
        { "control twice", twice_control, twice_text, "\"<s>\"" },
        { "NaN", score_nan, score, "" },
        { "infinite", score_infinite, score, "" },
        { "not UTF-8", not_utf8, "a piece that is not UTF-8", "" },
        { "type 7", type_seven, damaged, "unknown type" },
        { "too long", too_long, damaged, "too long" },
        { "byte without fallback", byte_without_fallback, "a byte piece in a tokenizer without byte fallback", "<0x00>" },
        { "byte misnamed", byte_misnamed, "a byte piece with a wrong name", "<0xaa>" },
        { "bytes missing", bytes_missing, "a tokenizer with byte fallback lacks a byte", "<0x01>" },
        { "unigram", unigram, kind, "UNIGRAM" },
        { "no trainer", no_trainer, kind, "UNIGRAM" },
        { "type 9", model_type_nine, kind, "newer" },
        { "suffix", suffix, "this tokenizer marks word ends, which is not supported", "" },
        { "charsmap", charsmap, "this tokenizer rewrites characters, which is not supported", "nmt_nfkc with a character map of 40 bytes" },
        { "length past end", length_past_end, damaged, "a length that runs past the end" },
        { "huge length", length_huge, damaged, "a length that runs past the end" },
        { "inner length past end", inner_length_past_end, damaged, "a length that runs past the end" },
        { "long varint", varint_too_long, damaged, "more than 10 bytes" },
        { "cut varint", varint_cut, damaged, "the end inside a number" },
        { "cut fixed", fixed_cut, damaged, "the end inside a number" },
        { "group", group, damaged, "unknown wire type" },
        { "field 0", field_zero, damaged, "field number" },
        { "piece as number", piece_as_number, damaged, "another wire type" },
        { "score as varint", score_as_varint, damaged, "another wire type" },
        { "a text file", text_file, damaged, "" },
        { "nothing", nothing, kind, "UNIGRAM" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buffer b = { .size = 0 };
        PieceModel m;
        Error e = { 0 };
        cases[i].write(&b);
        if (!piece_model_read(&m, b.data, b.size, "x/tokenizer.model", &e)) fail_msg("%s: accepted", cases[i].name);
        if (strcmp(e.what, cases[i].what) || !strstr(e.found, cases[i].found) || !strstr(e.where, "x/tokenizer.model"))
            fail_msg("%s: \"%s\", found \"%s\", where \"%s\"", cases[i].name, e.what, e.found, e.where);
        assert_null(m.pieces); /* left empty */
    }
}

static char *golden_bytes(size_t *size) {
    char *data;
    Error e = { 0 };
    must(!file_read("tests/golden/llava15-hub/model/tokenizer.model", 1 << 20, &data, size, &e), &e);
    return data;
}

/* A file cut anywhere is refused, but for the cuts between whole messages after the trainer's settings; each cut sits at the end of an
 * allocation of its own, so that a sanitizer sees any byte read beyond it. */
static void every_cut_is_refused(void **state) {
    (void)state;
    size_t size;
    char *data = golden_bytes(&size);
    int accepted = 0;
    for (size_t n = 0; n < size; n++) {
        PieceModel m;
        Error e = { 0 };
        char *cut = malloc(n ? n : 1);
        memcpy(cut, data, n);
        if (!piece_model_read(&m, cut, n, "cut", &e)) accepted++, piece_model_free(&m);
        else assert_true(e.what[0]);
        free(cut);
    }
    assert_true(accepted <= 1);
    free(data);
}

/* A byte turned over anywhere gives a refusal or a model that encodes without harm. */
static void no_flipped_byte_does_harm(void **state) {
    (void)state;
    size_t size;
    char *data = golden_bytes(&size);
    int refused = 0;
    for (size_t at = 0; at < size; at++) {
        PieceModel m;
        Bpe b;
        UserPieces u;
        Error e = { 0 };
        data[at] ^= (char)(at % 3 ? 0xff : 1 << at % 8);
        if (piece_model_read(&m, data, size, "flipped", &e)) {
            assert_true(e.what[0]);
            refused++;
        } else {
            char *normal;
            size_t n;
            IdList ids = { 0 };
            must(!user_pieces_build(&u, &m, &e) && !bpe_build(&b, &m, &e), &e);
            must(!text_normalize(&m, &u, "There is a red cat. \xff", 21, &normal, &n, &e), &e);
            must(!bpe_encode(&b, &m, &u, normal, n, &ids, &e), &e);
            for (size_t i = 0; i < ids.count; i++) assert_in_range(ids.ids[i], 0, m.count - 1);
            idlist_free(&ids), free(normal), bpe_free(&b), user_pieces_free(&u), piece_model_free(&m);
        }
        data[at] ^= (char)(at % 3 ? 0xff : 1 << at % 8);
    }
    assert_true(refused > 1000);
    free(data);
}

/* ---- small models ---- */

/* The ids of `text` are `expected`, ended by -1. */
static void gives(const Buffer *b, const char *text, const int *expected) {
    PieceModel m;
    UserPieces u;
    Bpe bpe;
    Error e = { 0 };
    char *normal;
    size_t size, n = 0;
    IdList ids = { 0 };
    must(!piece_model_read(&m, b->data, b->size, "small", &e) && !user_pieces_build(&u, &m, &e) && !bpe_build(&bpe, &m, &e), &e);
    must(!text_normalize(&m, &u, text, strlen(text), &normal, &size, &e) && !bpe_encode(&bpe, &m, &u, normal, size, &ids, &e), &e);
    while (expected[n] >= 0) n++;
    if (ids.count != n) fail_msg("\"%s\": %zu ids, expected %zu", text, ids.count, n);
    for (size_t i = 0; i < n; i++)
        if (ids.ids[i] != expected[i]) fail_msg("\"%s\": id %zu is %d, expected %d", text, i, ids.ids[i], expected[i]);
    idlist_free(&ids), free(normal), bpe_free(&bpe), user_pieces_free(&u), piece_model_free(&m);
}
#define IDS(...)                                                                                                                           \
    (const int[]) { __VA_ARGS__, -1 }

static void merges_go_by_score_then_left(void **state) {
    (void)state;
    Buffer b = { .size = 0 };
    put_specials(&b);                                                                                                    /* 0 1 2 */
    put_piece(&b, "a", -9, PIECE_NORMAL), put_piece(&b, "b", -9, PIECE_NORMAL), put_piece(&b, "c", -9, PIECE_NORMAL);    /* 3 4 5 */
    put_piece(&b, "ab", -2, PIECE_NORMAL), put_piece(&b, "bc", -1, PIECE_NORMAL), put_piece(&b, "aa", -3, PIECE_NORMAL); /* 6 7 8 */
    put_piece(&b, "xa", -4, PIECE_NORMAL); /* 9: its x is no piece */
    put_trainer(&b, BPE), put_normalizer(&b, "identity", 0, 0, 0);
    gives(&b, "abc", IDS(3, 7)); /* bc before ab */
    gives(&b, "aaa", IDS(8, 3)); /* the left pair of equals */
    gives(&b, "aaaa", IDS(8, 8));
    gives(&b, "aab", IDS(3, 6));
    gives(&b, "xa", IDS(9));
    gives(&b, "axbxx", IDS(3, 0, 4, 0)); /* unknown characters join */
    gives(&b, "x", IDS(0));
    gives(&b, "", IDS(-1));
}

/* The rule as written: join the best-scored neighbours that form a piece, the leftmost of equals, until none do. */
static size_t merge_naively(const PieceModel *m, const char *text, int *ids) {
    size_t n = strlen(text), size[256];
    assert_true(n < 256);
    for (size_t i = 0; i < n; i++) size[i] = 1;
    for (;;) {
        float best = -INFINITY;
        size_t best_at = n, at = 0;
        for (size_t i = 0; i + 1 < n; at += size[i++]) {
            int id = piece_find(m, text + at, size[i] + size[i + 1], 1);
            if (id >= 0 && m->pieces[id].score > best) best = m->pieces[id].score, best_at = i;
        }
        if (best_at == n) break;
        size[best_at] += size[best_at + 1];
        memmove(size + best_at + 1, size + best_at + 2, (n - best_at - 2) * sizeof *size);
        n--;
    }
    for (size_t i = 0, at = 0; i < n; at += size[i++]) ids[i] = piece_find(m, text + at, size[i], 1);
    return n;
}

/* Random pieces over two letters with few scores, so that ties and overgrown pairs abound; words on both sides of the scan's limit. */
static void merging_agrees_with_the_naive_rule(void **state) {
    (void)state;
    Rng rng = { .seed = 5 };
    for (int model = 0; model < 20; model++) {
        Buffer b = { .size = 0 };
        PieceModel m;
        UserPieces u = { 0 };
        Bpe bpe;
        Error e = { 0 };
        put_specials(&b);
        for (int length = 1; length <= 5; length++)
            for (int bits = 0; bits < 1 << length; bits++) {
                char piece[8] = "";
                for (int i = 0; i < length; i++) piece[i] = bits >> i & 1 ? 'b' : 'a';
                if (length == 1 || rng_below(&rng, 3)) put_piece(&b, piece, -(float)rng_below(&rng, 6), PIECE_NORMAL);
            }
        put_trainer(&b, BPE), put_normalizer(&b, "identity", 0, 0, 0);
        must(!piece_model_read(&m, b.data, b.size, "small", &e) && !bpe_build(&bpe, &m, &e), &e);
        for (int row = 0; row < 60; row++) {
            char text[256] = "";
            int expected[256];
            const uint32_t length = 1 + rng_below(&rng, 200);
            for (uint32_t i = 0; i < length; i++) text[i] = rng_below(&rng, 3) ? 'a' : 'b';
            IdList ids = { 0 };
            must(!bpe_encode(&bpe, &m, &u, text, length, &ids, &e), &e);
            assert_int_equal(ids.count, merge_naively(&m, text, expected));
            assert_memory_equal(ids.ids, expected, ids.count * sizeof *expected);
            idlist_free(&ids);
        }
        bpe_free(&bpe), piece_model_free(&m);
    }
}

static void user_defined_pieces_come_first(void **state) {
    (void)state;
    Buffer b = { .size = 0 };
    put_specials(&b);
    put_piece(&b, "a", -9, PIECE_NORMAL), put_piece(&b, "b", -9, PIECE_NORMAL), put_piece(&b, "ab", -1, PIECE_NORMAL); /* 3 4 5 */
    put_piece(&b, "ba", 0, PIECE_USER), put_piece(&b, "bab", 0, PIECE_USER), put_piece(&b, "bb", 0, PIECE_USER);       /* 6 7 8 */
    put_trainer(&b, BPE), put_normalizer(&b, "identity", 0, 0, 0);
    gives(&b, "abab", IDS(3, 7)); /* the longest from the left, then no merge with it */
    gives(&b, "aba", IDS(3, 6));
    gives(&b, "abb", IDS(3, 8));
    gives(&b, "ab", IDS(5));
}

static void unused_pieces_are_taken_apart(void **state) {
    (void)state;
    Buffer b = { .size = 0 };
    put_specials(&b);
    put_piece(&b, "a", -9, PIECE_NORMAL), put_piece(&b, "b", -9, PIECE_NORMAL), put_piece(&b, "c", -9, PIECE_NORMAL);       /* 3 4 5 */
    put_piece(&b, "ab", -1, PIECE_UNUSED), put_piece(&b, "abc", -2, PIECE_UNUSED), put_piece(&b, "abcc", -3, PIECE_NORMAL); /* 6 7 8 */
    put_piece(&b, "d", -9, PIECE_UNUSED);                                                                                   /* 9 */
    put_trainer(&b, BPE), put_normalizer(&b, "identity", 0, 0, 0);
    gives(&b, "ab", IDS(3, 4));
    gives(&b, "abc", IDS(3, 4, 5));
    gives(&b, "abcc", IDS(8));
    gives(&b, "ad", IDS(3, 0));
}

static void spaces_follow_the_settings(void **state) {
    (void)state;
    Buffer pieces = { .size = 0 };
    put_specials(&pieces);
    put_piece(&pieces, SPACE_MARK, -9, PIECE_NORMAL), put_piece(&pieces, "a", -9, PIECE_NORMAL);                       /* 3 4 */
    put_piece(&pieces, SPACE_MARK "a", -1, PIECE_NORMAL), put_piece(&pieces, SPACE_MARK SPACE_MARK, -5, PIECE_NORMAL); /* 5 6 */
    put_trainer(&pieces, BPE);
    Buffer prefix = pieces, plain = pieces, squeeze = pieces;
    put_normalizer(&prefix, "identity", 0, 1, 0), put_normalizer(&plain, "identity", 0, 0, 0),
        put_normalizer(&squeeze, "identity", 0, 1, 1);
    gives(&prefix, "  a a ", IDS(6, 5, 5, 3));
    gives(&prefix, " ", IDS(6));
    gives(&plain, "a  a", IDS(4, 3, 5));
    gives(&squeeze, "  a   a ", IDS(5, 5));
    gives(&squeeze, "   ", IDS(-1));
}

static void bytes_stand_for_unknown_characters(void **state) {
    (void)state;
    Buffer b = { .size = 0 };
    put_specials(&b), put_all_bytes(&b), put_piece(&b, "a", -1, PIECE_NORMAL); /* 3 + byte, 259 */
    put_trainer(&b, (Trainer){ 2, 1, 0 }), put_normalizer(&b, "identity", 0, 0, 0);
    gives(&b,
        "a\xe6\xbc\xa2"
        "b",
        IDS(259, 3 + 0xe6, 3 + 0xbc, 3 + 0xa2, 3 + 'b'));
    gives(&b, "<0x41>", IDS(3 + '<', 3 + '0', 3 + 'x', 3 + '4', 3 + '1', 3 + '>'));
}

static void characters_are_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        int length;
        uint32_t code;
    } cases[] = {
        { "", 1, 1, 0 },
        { "A", 1, 1, 'A' },
        { "\xc2\x80", 2, 2, 0x80 },
        { "\xc1\xbf", 2, 0, 0xfffd },
        { "\x80", 1, 0, 0xfffd },
        { "\xc3", 1, 0, 0xfffd },
        { "\xe0\xa0\x80", 3, 3, 0x800 },
        { "\xe0\x9f\xbf", 3, 0, 0xfffd },
        { "\xed\x9f\xbf", 3, 3, 0xd7ff },
        { "\xed\xa0\x80", 3, 0, 0xfffd },
        { "\xee\x80\x80", 3, 3, 0xe000 },
        { "\xe2\x96\x81", 3, 3, 0x2581 },
        { "\xe2\x96", 2, 0, 0xfffd },
        { "\xf0\x90\x80\x80", 4, 4, 0x10000 },
        { "\xf0\x8f\xbf\xbf", 4, 0, 0xfffd },
        { "\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff },
        { "\xf4\x90\x80\x80", 4, 0, 0xfffd },
        { "\xf8\x88\x80\x80", 4, 0, 0xfffd },
        { "\xe2\x28\xa1", 3, 0, 0xfffd },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t code;
        if (utf8_next(cases[i].bytes, cases[i].size, &code) != cases[i].length || code != cases[i].code) fail_msg("case %zu", i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(no_flipped_byte_does_harm),
        cmocka_unit_test(merges_go_by_score_then_left),
        cmocka_unit_test(merging_agrees_with_the_naive_rule),
        cmocka_unit_test(user_defined_pieces_come_first),
        cmocka_unit_test(unused_pieces_are_taken_apart),
        cmocka_unit_test(spaces_follow_the_settings),
        cmocka_unit_test(bytes_stand_for_unknown_characters),
        cmocka_unit_test(characters_are_read_strictly),
    };
    return cmocka_run_group_tests_name("sentencepiece", tests, NULL, NULL);
}

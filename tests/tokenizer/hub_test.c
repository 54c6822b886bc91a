/* hub_test.c - tokenizer.json: ids and text against the vectors that PyPI's tokenizers gave (tests/golden/make_tokenizers.py), which tokens
 * begin and end texts, what text may become, how long words are merged, and what the parts of normalising and splitting are made of. */
#include "tests/check.h"
#include "tests/tokenizer/golden.h"

#include "tokenizer/hub.h"

#include <pthread.h>
#include <time.h>
#include <utf8proc.h>

#define TOKENIZERS "tests/golden/tokenizers/"
static const char *const names[] = { "gpt2", "llama2", "llama3", "metaspace", "qwen2", "words" };
enum { NAMES = sizeof names / sizeof *names };

static Tokenizer *open_named(const char *name) {
    Error e = { 0 };
    char folder[PATH_SIZE];
    snprintf(folder, sizeof folder, TOKENIZERS "%s", name);
    Tokenizer *t = tokenizer_load(folder, &e);
    must(t != NULL, &e);
    return t;
}

/* A tokenizer.json of its own folder, with what stands before the model. */
static Tokenizer *open_text(const char *json, Error *e) {
    char folder[PATH_SIZE];
    scratch_make(folder);
    put(at(folder, "tokenizer.json"), json, strlen(json));
    Tokenizer *t = tokenizer_load(folder, e);
    scratch_drop(folder);
    return t;
}

/* ---- vectors ---- */

/* The bytes of a hexadecimal field, malloc'd, with a zero behind. */
static char *unhex(const json_t *row, const char *key, size_t *size) {
    const char *hex = json_string_value(json_object_get(row, key));
    assert_non_null(hex);
    *size = strlen(hex) / 2;
    char *out = calloc(*size + 1, 1);
    for (size_t i = 0; i < *size; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (char)byte;
    }
    return out;
}

static void same_text(const char *got, const char *want, size_t size, const char *where) {
    for (size_t i = 0; i <= size; i++) /* ends at the first difference: the text may hold zeros, but want ends with one */
        if (got[i] != want[i])
            fail_msg("%s: decoded text differs at byte %zu of %zu: %02x, expected %02x", where, i, size, (unsigned char)got[i],
                (unsigned char)want[i]);
}

static void vectors_agree(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++) {
        Tokenizer *t = open_named(names[i]);
        JsonLines rows;
        Error e = { 0 };
        char path[PATH_SIZE];
        snprintf(path, sizeof path, TOKENIZERS "%s/vectors.jsonl", names[i]);
        must(!jsonl_open(&rows, path, &e), &e);
        int texts = 0, lists = 0;
        for (json_t *row; (row = golden_next(&rows)); json_decref(row)) {
            const json_t *expected = json_object_get(row, "ids");
            IdList ids = { 0 };
            size_t size;
            if (json_object_get(row, "text")) {
                char *text = unhex(row, "text", &size);
                must(!tokenizer_encode(t, text, size, &ids, &e), &e);
                ids_equal(ids.ids, ids.count, expected, rows.where);
                ids.count = 0;
                free(text);
                texts++;
            } else lists++;
            for (size_t k = 0; k < json_array_size(expected); k++) {
                const int id = (int)json_integer_value(json_array_get(expected, k));
                must(!idlist_append(&ids, &id, 1, &e), &e);
            }
            char *want = unhex(row, "decoded", &size), *got = tokenizer_decode(t, ids.ids, ids.count, &e);
            must(got != NULL, &e);
            same_text(got, want, size, rows.where);
            free(want), free(got);
            idlist_free(&ids);
        }
        assert_true(texts >= 200 && lists >= 50);
        jsonl_close(&rows);
        tokenizer_free(t);
    }
}

/* The golden case's own tokenizer.json has the ids of its tokenizer.model where they do not differ by design: without spaces in front. */
static void both_kinds_of_the_golden_case_agree(void **state) {
    (void)state;
    char folder[PATH_SIZE];
    Error e = { 0 };
    scratch_make(folder);
    must(!file_copy("tests/golden/llava15-hub/model/tokenizer.json", at(folder, "tokenizer.json"), &e), &e);
    must(!file_copy("tests/golden/llava15-hub/model/tokenizer_config.json", at(folder, "tokenizer_config.json"), &e), &e);
    Tokenizer *json = tokenizer_load(folder, &e), *model = golden_tokenizer("llava15-hub");
    must(json != NULL, &e);
    JsonLines rows;
    int count = 0;
    golden_open(&rows, "llava15-hub", "expect/tokens.jsonl");
    for (json_t *row; (row = golden_next(&rows)); json_decref(row)) {
        const char *text = json_string_value(json_object_get(row, "text"));
        if (*text == ' ' || !strncmp(text, SPACE_MARK, SPACE_MARK_SIZE)) continue;
        IdList ids = encode(json, text);
        ids_equal(ids.ids, ids.count, json_object_get(row, "ids_plain"), rows.where);
        decodes_to(json, ids.ids, ids.count, json_string_value(json_object_get(row, "decoded")));
        idlist_free(&ids);
        count++;
    }
    assert_true(count >= 25);
    jsonl_close(&rows);
    assert_int_equal(tokenizer_vocab(json), tokenizer_vocab(model));
    for (int id = -1; id < 480; id++) {
        assert_int_equal(tokenizer_may_emit(json, id), tokenizer_may_emit(model, id));
        const char *a = tokenizer_piece(json, id), *b = tokenizer_piece(model, id);
        assert_true(!a == !b && (!a || !strcmp(a, b)));
    }
    static const char *const named[] = { "<s>", "</s>", "<unk>", "<image>", "<pad>", "the", "<0x41>", "" };
    static const int ids[] = { 1, 2, -1, 476, 477, -1, -1, -1 };
    for (int i = 0; i < 8; i++) {
        assert_int_equal(tokenizer_added(json, named[i]), ids[i]);
        assert_int_equal(tokenizer_added(model, named[i]), ids[i]);
    }
    scratch_drop(folder);
    tokenizer_free(json), tokenizer_free(model);
}

/* Text that goes on: nothing is put in front, a space is the word start that it stands for. */
static void text_inside_a_line_gets_no_mark(void **state) {
    (void)state;
    static const char *const tried[] = { "llama2", "metaspace", "gpt2", "llama3", NULL };
    for (int i = 0; i < 5; i++) {
        Tokenizer *t = tried[i] ? open_named(tried[i]) : golden_tokenizer("llava15-hub");
        Error e = { 0 };
        IdList start = { 0 }, space = { 0 }, bare = { 0 };
        must(!tokenizer_encode(t, "there", 5, &start, &e), &e);
        must(!tokenizer_encode_inside(t, " there", 6, &space, &e), &e);
        must(!tokenizer_encode_inside(t, "there", 5, &bare, &e), &e);
        const IdList *same = tried[i] && !strcmp(tried[i], "llama3") ? &bare : &space, *other = same == &bare ? &space : &bare;
        assert_int_equal(start.count, same->count);
        assert_memory_equal(start.ids, same->ids, start.count * sizeof(int));
        assert_true(other->count != start.count || memcmp(start.ids, other->ids, start.count * sizeof(int)));
        idlist_free(&start), idlist_free(&space), idlist_free(&bare);
        tokenizer_free(t);
    }
}

/* ---- what begins and ends a text ---- */

static void special_tokens_come_from_the_files_beside(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int bos, eos, unk, pad, adds, vocab;
    } cases[] = { { "llama3", 1203, 1207, -1, -1, 1, 1208 }, { "qwen2", 1200, 1202, -1, 1200, 0, 1205 },
        { "gpt2", 1000, 1000, -1, -1, 0, 1005 }, { "llama2", 1, 2, 0, -1, 1, 1202 }, { "metaspace", 1, 2, 0, -1, 0, 1000 },
        { "words", -1, -1, -1, -1, 0, 800 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Tokenizer *t = open_named(cases[i].name);
        assert_int_equal(tokenizer_bos(t), cases[i].bos);
        assert_int_equal(tokenizer_eos(t), cases[i].eos);
        assert_int_equal(tokenizer_unk(t), cases[i].unk);
        assert_int_equal(tokenizer_pad(t), cases[i].pad);
        assert_int_equal(tokenizer_adds_bos(t), cases[i].adds);
        assert_int_equal(tokenizer_vocab(t), cases[i].vocab);
        for (int id = -2; id < cases[i].vocab + 2; id++) {
            const int special = id == cases[i].bos || id == cases[i].unk || id == cases[i].pad;
            if (id >= 0 && id == cases[i].eos) assert_true(tokenizer_may_emit(t, id));
            else if (special || id < 0 || id >= cases[i].vocab) assert_false(tokenizer_may_emit(t, id));
        }
        tokenizer_free(t);
    }
    Tokenizer *t = open_named("llama2");
    assert_int_equal(tokenizer_added(t, "<image>"), 1200); /* named by added_tokens.json alone */
    assert_false(tokenizer_may_emit(t, 1200));
    IdList ids = encode(t, "<image><s>");
    for (size_t i = 0; i < ids.count; i++) assert_true(ids.ids[i] > 2 && ids.ids[i] < 1200);
    decodes_to(t, ids.ids, ids.count, "<image><s>");
    idlist_free(&ids);
    tokenizer_free(t);
}

#define MODEL(rest) "\"model\":{\"type\":\"BPE\"," rest "}"

static void text_never_becomes_a_special_token(void **state) {
    (void)state;
    Error e = { 0 };
    /* A merge, a character and a whole word would make special tokens; <n> is not special. */
    Tokenizer *t = open_text(
        "{\"added_tokens\":[{\"id\":2,\"content\":\"ab\",\"special\":true},{\"id\":3,\"content\":\"c\",\"special\":true},"
        "{\"id\":5,\"content\":\"<n>\"}]," MODEL(
            "\"unk_token\":\"u\",\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"c\":3,\"u\":4},\"merges\":[\"a b\"]") "}",
        &e);
    must(t != NULL, &e);
    static const struct {
        const char *text;
        int ids[4];
        size_t n;
    } cases[] = { { "ab", { 0, 1 }, 2 }, { "c", { 4 }, 1 }, { "a<n>b", { 0, 5, 1 }, 3 }, { "u", { 4 }, 1 }, { "b", { 1 }, 1 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        IdList ids = encode(t, cases[i].text);
        assert_int_equal(ids.count, cases[i].n);
        assert_memory_equal(ids.ids, cases[i].ids, cases[i].n * sizeof(int));
        idlist_free(&ids);
    }
    assert_false(tokenizer_may_emit(t, 2));
    assert_true(tokenizer_may_emit(t, 5));
    tokenizer_free(t);
}

static void characters_without_any_token_vanish(void **state) {
    (void)state;
    Error e = { 0 };
    Tokenizer *t = open_text("{" MODEL("\"vocab\":{\"a\":0},\"merges\":[]") "}", &e);
    must(t != NULL, &e);
    for (int i = 0; i < 2; i++) {
        IdList ids = encode(t, "bc"), some = encode(t, "bac");
        assert_int_equal(ids.count, 0);
        assert_int_equal(some.count, 1);
        idlist_free(&ids), idlist_free(&some);
    }
    decodes_to(t, NULL, 0, "");
    tokenizer_free(t);
}

/* ---- speed that a test can hold to ---- */

static double seconds_of(const Tokenizer *t, const char *text, size_t size, size_t *count) {
    struct timespec a, b;
    Error e = { 0 };
    IdList ids = { 0 };
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    must(!tokenizer_encode(t, text, size, &ids, &e), &e);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    *count = ids.count;
    idlist_free(&ids);
    return (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}

/* A word of a megabyte would take minutes if merging it, or looking for its end, took quadratic time. */
static void long_words_take_no_quadratic_time(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE);
    for (int i = 0; i <= NAMES; i++) {
        Tokenizer *t = i < NAMES ? open_named(names[i]) : golden_tokenizer("llava15-hub");
        static const char *const fills[] = { "e", " ", "th", "1", "\n", "\xe5\xad\x97", "e\xcc\x81", "!" };
        for (size_t f = 0; f < sizeof fills / sizeof *fills; f++) {
            const size_t n = strlen(fills[f]);
            for (size_t k = 0; k < SIZE; k++) text[k] = fills[f][k % n];
            size_t count;
            const double seconds = seconds_of(t, text, SIZE, &count);
            if (seconds > 20) fail_msg("%s: %.1f s for a megabyte of \"%s\"", i < NAMES ? names[i] : "tokenizer.model", seconds, fills[f]);
        }
        tokenizer_free(t);
    }
    free(text);
}

/* ---- threads ---- */

typedef struct Work {
    const Tokenizer *t;
    const char *text;
    size_t size;
    IdList ids[8];
} Work;

static void *encode_slices(void *arg) {
    Work *w = arg;
    for (int round = 0; round < 8; round++)
        if (tokenizer_encode(w->t, w->text, w->size, &w->ids[round], NULL)) return NULL;
    return w;
}

static void threads_share_a_tokenizer(void **state) {
    (void)state;
    char *text;
    size_t size;
    Error e = { 0 };
    must(!file_read("docs/architecture.md", 1 << 20, &text, &size, &e), &e);
    for (int i = 0; i < 2; i++) {
        Tokenizer *t = i ? open_named("llama3") : golden_tokenizer("llava15-hub");
        IdList alone = { 0 };
        enum { THREADS = 4 };
        pthread_t threads[THREADS];
        Work work[THREADS] = { 0 };
        for (int k = 0; k < THREADS; k++) {
            work[k] = (Work){ .t = t, .text = text, .size = size };
            assert_int_equal(pthread_create(&threads[k], NULL, encode_slices, &work[k]), 0);
        }
        for (int k = 0; k < THREADS; k++) {
            void *done;
            pthread_join(threads[k], &done);
            assert_non_null(done);
        }
        must(!tokenizer_encode(t, text, size, &alone, &e), &e);
        for (int k = 0; k < THREADS; k++)
            for (int round = 0; round < 8; round++) {
                assert_int_equal(work[k].ids[round].count, alone.count);
                assert_memory_equal(work[k].ids[round].ids, alone.ids, alone.count * sizeof(int));
                idlist_free(&work[k].ids[round]);
            }
        idlist_free(&alone);
        tokenizer_free(t);
    }
    free(text);
}

/* ---- parts ---- */

/* Every inert character is in NFC, is never moved, and never joins the character before it. */
static void inert_characters_are_inert(void **state) {
    (void)state;
    int inert = 0;
    for (utf8proc_int32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xd800 && c < 0xe000) continue;
        utf8proc_int32_t parts[32];
        int boundary;
        const utf8proc_ssize_t n = utf8proc_decompose_char(c, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
        assert_true(n >= 1 && n <= 32);
        for (utf8proc_ssize_t i = 1; i < n; i++) /* what stands behind another can be joined to it */
            if (nfc_inert((uint32_t)parts[i]) && !(c >= 0xac00 && c <= 0xd7a3)) fail_msg("U+%04X is part of U+%04X", parts[i], c);
        if (!nfc_inert((uint32_t)c)) continue;
        inert++;
        char text[5] = { 0 };
        const int size = utf8_put((uint32_t)c, text);
        assert_int_equal(utf8proc_get_property(c)->combining_class, 0);
        if (!c) continue;
        utf8proc_uint8_t *normal = utf8proc_NFC((const utf8proc_uint8_t *)text);
        if (strlen((char *)normal) != (size_t)size || memcmp(normal, text, (size_t)size)) fail_msg("U+%04X is not in NFC", c);
        free(normal);
    }
    assert_true(inert > 80000);
    for (uint32_t jamo = 0x1161; jamo < 0x1200; jamo++) assert_false(nfc_inert(jamo));
}

static void the_alphabet_has_a_character_for_each_byte(void **state) {
    (void)state;
    static const struct {
        int byte;
        uint32_t code;
    } known[] = { { 'A', 'A' }, { ' ', 0x120 }, { '\n', 0x10a }, { 0, 0x100 }, { 0xad, 0x143 }, { 0x7f, 0x121 }, { 0xff, 0xff } };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) assert_int_equal(byte_character(known[i].byte), known[i].code);
    int found = 0;
    for (int b = 0; b < 256; b++) assert_int_equal(character_byte(byte_character(b)), b);
    for (uint32_t c = 0; c < 0x200; c++) found += character_byte(c) >= 0;
    assert_int_equal(found, 256);
}

static void utf8_is_mended_as_unicode_says(void **state) {
    (void)state;
    static const struct {
        const char *raw, *mended;
    } cases[] = { { "a\xff\x62", "a\xef\xbf\xbd\x62" }, { "\xe6\xbc", REPLACEMENT }, { "\xe6\xbc\x41", REPLACEMENT "A" },
        { "\xc0\x80", REPLACEMENT REPLACEMENT }, { "\xed\xa0\x80", REPLACEMENT REPLACEMENT REPLACEMENT }, { "\xf0\x9f\x98", REPLACEMENT },
        { "\xf0\x9f\x98\xf0\x9f\x98\x80", REPLACEMENT "\xf0\x9f\x98\x80" }, { "\xf0\x9f\x41", REPLACEMENT "A" },
        { "\xf4\x90\x80\x80", REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT }, { "\xe0\x80\x80", REPLACEMENT REPLACEMENT REPLACEMENT },
        { "\xc3", REPLACEMENT }, { "\xc3\xa9", "\xc3\xa9" }, { "\xc3\x41", REPLACEMENT "A" }, { "12345678\x80", "12345678" REPLACEMENT } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        const size_t n = utf8_mend(cases[i].raw, strlen(cases[i].raw), out);
        assert_int_equal(n, strlen(cases[i].mended));
        assert_memory_equal(out, cases[i].mended, n);
        assert_int_equal(utf8_valid(out, n), n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_agree),
        cmocka_unit_test(both_kinds_of_the_golden_case_agree),
        cmocka_unit_test(text_inside_a_line_gets_no_mark),
        cmocka_unit_test(special_tokens_come_from_the_files_beside),
        cmocka_unit_test(text_never_becomes_a_special_token),
        cmocka_unit_test(characters_without_any_token_vanish),
        cmocka_unit_test(long_words_take_no_quadratic_time),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(inert_characters_are_inert),
        cmocka_unit_test(the_alphabet_has_a_character_for_each_byte),
        cmocka_unit_test(utf8_is_mended_as_unicode_says),
    };
    return cmocka_run_group_tests_name("hub", tests, NULL, NULL);
}

/* tokenizer_test.c - ids and text against what SentencePiece itself gave: the golden cases, Mistral's vocabulary, and the edges of
 * decoding. */
#include "tests/tokenizer/golden.h"

#include <stdio.h>
#include <unistd.h>

static void golden_rows_agree(void **state) {
    (void)state;
    for (int c = 0; c < GOLDEN_CASES; c++) {
        Tokenizer *t = golden_tokenizer(golden_cases[c]);
        JsonLines rows;
        golden_open(&rows, golden_cases[c], "expect/tokens.jsonl");
        int count = 0;
        for (json_t *row; (row = golden_next(&rows)); json_decref(row), count++) {
            const json_t *text = json_object_get(row, "text"), *with_bos = json_object_get(row, "ids");
            IdList list = { 0 };
            Error e = { 0 };
            must(!tokenizer_encode(t, json_string_value(text), json_string_length(text), &list, &e), &e);
            ids_equal(list.ids, list.count, json_object_get(row, "ids_plain"), rows.where);
            decodes_to(t, list.ids, list.count, json_string_value(json_object_get(row, "decoded")));
            assert_int_equal(json_integer_value(json_array_get(with_bos, 0)), tokenizer_bos(t));
            assert_int_equal(json_array_size(with_bos), list.count + 1);
            idlist_free(&list);
        }
        assert_true(count >= 30);
        jsonl_close(&rows);
        tokenizer_free(t);
    }
}

static void facts_of_a_checkpoint(void **state) {
    (void)state;
    Tokenizer *t = golden_tokenizer("llava15-hub"), *same = golden_tokenizer("llava15-hub"), *other = golden_tokenizer("llava15-orig");
    assert_int_equal(tokenizer_vocab(t), 478);
    assert_int_equal(tokenizer_unk(t), 0);
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 2);
    assert_int_equal(tokenizer_added(t, "<image>"), 476);
    assert_int_equal(tokenizer_added(t, "<pad>"), 477);
    assert_int_equal(tokenizer_added(t, "<s>"), 1);
    assert_int_equal(tokenizer_added(t, "<unk>"), -1);
    assert_string_equal(tokenizer_piece(t, 265), "\xe2\x96\x81the");
    assert_string_equal(tokenizer_piece(t, 0), "<unk>");
    assert_null(tokenizer_piece(t, 476));
    assert_null(tokenizer_piece(t, -1));
    static const struct {
        int id, may;
    } emits[] = { { -1, 0 }, { 0, 0 }, { 1, 0 }, { 2, 1 }, { 3, 1 }, { 258, 1 }, { 259, 1 }, { 475, 1 }, { 476, 0 }, { 477, 0 },
        { 478, 0 } };
    for (size_t i = 0; i < sizeof emits / sizeof *emits; i++) assert_int_equal(tokenizer_may_emit(t, emits[i].id), emits[i].may);
    char a[33], b[33], c[33];
    tokenizer_hash(t, a), tokenizer_hash(same, b), tokenizer_hash(other, c);
    assert_string_equal(a, b);
    assert_string_equal(a, c); /* the files differ in the path of their training only */
    assert_int_equal(strlen(a), 32);
    tokenizer_free(t), tokenizer_free(same), tokenizer_free(other);
}

static void special_names_in_text_stay_text(void **state) {
    (void)state;
    Tokenizer *t = golden_tokenizer("llava15-hub");
    IdList list = encode(t, "<s> </s> <unk> <image> <pad> <0x41>");
    for (size_t i = 0; i < list.count; i++) assert_true(list.ids[i] > 2 && list.ids[i] < 476);
    decodes_to(t, list.ids, list.count, "<s> </s> <unk> <image> <pad> <0x41>");
    idlist_free(&list);
    tokenizer_free(t);
}

static void decoding_edges(void **state) {
    (void)state;
    Tokenizer *t = golden_tokenizer("llava15-hub");
    const int the = 265, byte = 3; /* byte + b is <0xb> */
    const struct {
        int ids[8];
        size_t n;
        const char *text;
    } cases[] = {
        { { 0 }, 0, "" },
        { { 1, the, the, 2 }, 4, "the the" },
        { { 476, the, 477, 478, -1, 1 << 20 }, 6, "the" },
        { { 0, the }, 2, " \xe2\x81\x87  the" },
        { { byte + 0xe6, byte + 0xbc, byte + 0xa2 }, 3, "\xe6\xbc\xa2" },
        { { byte + 0xe6, byte + 0xbc, the }, 3, "\xef\xbf\xbd\xef\xbf\xbd the" },
        { { byte + 0xe6, 2, byte + 0xbc, byte + 0xa2 }, 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { { byte + 0xed, byte + 0xa0, byte + 0x80, byte + 'A' }, 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\x41" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) decodes_to(t, cases[i].ids, cases[i].n, cases[i].text);
    tokenizer_free(t);
}

static void broken_utf8_becomes_replacement(void **state) {
    (void)state;
    Tokenizer *t = golden_tokenizer("llava15-hub");
    static const struct {
        const char *raw, *seen;
    } cases[] = { { "a\xff\x62", "a\xef\xbf\xbd\x62" }, { "\xe6\xbc", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd" }, { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        IdList list = encode(t, cases[i].raw), same = encode(t, cases[i].seen);
        assert_int_equal(list.count, same.count);
        assert_memory_equal(list.ids, same.ids, list.count * sizeof *list.ids);
        decodes_to(t, list.ids, list.count, cases[i].seen);
        idlist_free(&list), idlist_free(&same);
    }
    tokenizer_free(t);
}

/* Words longer than the scan's limit go through the heap; each must give what the words around it do not change. */
static void long_words_merge_like_short_ones(void **state) {
    (void)state;
    Tokenizer *t = golden_tokenizer("llava15-hub");
    enum { COPIES = 2000 };
    char *text = malloc(COPIES * 6 + 1);
    text[0] = 0;
    for (int i = 0; i < COPIES; i++) memcpy(text + 6 * i, i % 2 ? " there" : " table", 7);
    IdList all = encode(t, text + 1), pair = encode(t, "table there");
    assert_int_equal(all.count, pair.count * COPIES / 2);
    for (size_t i = 0; i < all.count; i++) assert_int_equal(all.ids[i], pair.ids[i % pair.count]);
    idlist_free(&all);
    for (int i = 0; i < COPIES * 6; i++) text[i] = "theretable"[i % 10];
    all = encode(t, text);
    decodes_to(t, all.ids, all.count, text);
    assert_true(all.count < COPIES * 4);
    idlist_free(&all), idlist_free(&pair);
    free(text);
    tokenizer_free(t);
}

static void encoding_appends_and_keeps_zero_bytes(void **state) {
    (void)state;
    Tokenizer *t = golden_tokenizer("llava15-hub");
    IdList list = { 0 };
    Error e = { 0 };
    must(!tokenizer_encode(t, "the", 3, &list, &e), &e);
    must(!tokenizer_encode(t, "", 0, &list, &e), &e);
    must(!tokenizer_encode(t, "\0", 1, &list, &e), &e);
    const int expected[] = { 265, 425, 3 };
    assert_int_equal(list.count, 3);
    assert_memory_equal(list.ids, expected, sizeof expected);
    idlist_free(&list);
    tokenizer_free(t);
}

static void added_tokens_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *json, *error; /* error NULL: accepted */
        int vocab;
    } cases[] = {
        { "{}", NULL, 476 },
        { "{\"</s>\": 2, \"<image>\": 476}", NULL, 477 },
        { "{\"<image>\": 500}", NULL, 501 },
        { "{\"<image>\": 2}", "an added token has a wrong id", 0 },
        { "{\"<a>\": 476, \"<b>\": 476}", "an added token has a wrong id", 0 },
        { "{\"<image>\": -1}", NULL, -1 },
        { "{\"<image>\": 1e3}", NULL, -1 },
        { "{\"<image>\": 99999999999}", NULL, -1 },
        { "[1]", NULL, -1 },
        { "{\"<image>\": 476", NULL, -1 },
    };
    char folder[] = "/tmp/rlaifv-tokenizer-XXXXXX", path[PATH_SIZE], hash[33], last_hash[33] = "";
    assert_non_null(mkdtemp(folder));
    Error e = { 0 };
    snprintf(path, sizeof path, "%s/tokenizer.model", folder);
    must(!file_copy("tests/golden/llava15-hub/model/tokenizer.model", path, &e), &e);
    snprintf(path, sizeof path, "%s/added_tokens.json", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        must(!file_write(path, cases[i].json, strlen(cases[i].json), &e), &e);
        Tokenizer *t = tokenizer_load(folder, &e);
        if (cases[i].vocab > 0) {
            must(t != NULL, &e);
            assert_int_equal(tokenizer_vocab(t), cases[i].vocab);
            tokenizer_hash(t, hash);
            assert_string_not_equal(hash, last_hash);
            memcpy(last_hash, hash, sizeof hash);
        } else {
            assert_null(t);
            if (cases[i].error) assert_string_equal(e.what, cases[i].error);
            assert_true(e.what[0] && strstr(e.where, "added_tokens.json"));
        }
        tokenizer_free(t);
    }
    must(!folder_remove(folder, &e), &e);
    assert_null(tokenizer_load(folder, &e));
    assert_string_equal(e.what, "no tokenizer");
}

/* The text form of Mistral's sample writes control tokens as <s> and </s> and spaces as marks; each stretch between is encoded alone. */
static void check_mistral_stretch(const Tokenizer *t, char *stretch, IdList *ids) {
    Error e = { 0 };
    char *to = stretch;
    for (const char *from = stretch; *from;) {
        int mark = !strncmp(from, "\xe2\x96\x81", 3);
        *to++ = mark ? ' ' : *from;
        from += mark ? 3 : 1;
    }
    *to = 0;
    assert_int_equal(stretch[0], ' '); /* the mark that encoding adds */
    size_t first = ids->count;
    must(!tokenizer_encode(t, stretch + 1, strlen(stretch + 1), ids, &e), &e);
    decodes_to(t, ids->ids + first, ids->count - first, stretch + 1);
}

static void mistral_agrees_with_its_vectors(void **state) {
    (void)state;
    const char *shared = getenv("RLAIFV_SHARED") ? getenv("RLAIFV_SHARED") : "../shared";
    char model[PATH_SIZE], path[PATH_SIZE], folder[] = "/tmp/rlaifv-tokenizer-XXXXXX", copy[PATH_SIZE], *text;
    size_t size;
    snprintf(model, sizeof model, "%s/data/mistral-common/tokenizer.model.v1", shared);
    if (!file_exists(model)) {
        print_message("skipped: no %s (set RLAIFV_SHARED)\n", model);
        skip();
    }
    Error e = { 0 };
    assert_non_null(mkdtemp(folder));
    snprintf(copy, sizeof copy, "%s/tokenizer.model", folder);
    must(!file_copy(model, copy, &e), &e);
    Tokenizer *t = tokenizer_load(folder, &e);
    must(t != NULL, &e);
    must(!folder_remove(folder, &e), &e);
    assert_int_equal(tokenizer_vocab(t), 32000);

    json_t *expected;
    snprintf(path, sizeof path, "%s/data/mistral-common/samples/no_tools/text_v1.txt", shared);
    must(!file_read(path, 1 << 20, &text, &size, &e), &e);
    snprintf(path, sizeof path, "%s/data/mistral-common/samples/no_tools/tokens_v1.json", shared);
    must(!json_read_object(path, &expected, &e), &e);
    const int bos = tokenizer_bos(t), eos = tokenizer_eos(t);
    IdList ids = { 0 };
    assert_int_equal(strncmp(text, "<s>", 3), 0);
    must(!idlist_append(&ids, &bos, 1, &e), &e);
    for (char *stretch = text + 3, *end; stretch; stretch = end) {
        if ((end = strstr(stretch, "</s>"))) *end = 0, end += 4;
        check_mistral_stretch(t, stretch, &ids);
        if (end) must(!idlist_append(&ids, &eos, 1, &e), &e);
    }
    assert_true(ids.count > 100);
    ids_equal(ids.ids, ids.count, json_object_get(expected, "tokens"), path);
    json_decref(expected);
    idlist_free(&ids);
    free(text);
    tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_rows_agree),
        cmocka_unit_test(facts_of_a_checkpoint),
        cmocka_unit_test(special_names_in_text_stay_text),
        cmocka_unit_test(decoding_edges),
        cmocka_unit_test(broken_utf8_becomes_replacement),
        cmocka_unit_test(long_words_merge_like_short_ones),
        cmocka_unit_test(encoding_appends_and_keeps_zero_bytes),
        cmocka_unit_test(added_tokens_are_checked),
        cmocka_unit_test(mistral_agrees_with_its_vectors),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}

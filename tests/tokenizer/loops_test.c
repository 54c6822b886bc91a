/* loops_test.c - tokenizers with loops: files in which merges, added tokens, normalisers or sequences seem to lead back to themselves.
 *
 * A cycle of merges cannot be written down: what a merge makes is the text of its parts together, so it is longer than either, and a chain of merges gets
 * longer at every step. What is left are files that try: each is refused by its one message, or ends, with the ids that follow from the rules. */
#include "tests/check.h"
#include "tests/tokenizer/golden.h"

#define BPE(vocab, merges) "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]}"

static Tokenizer *open_text(const char *json, Error *e) {
    char folder[PATH_SIZE];
    scratch_make(folder);
    put(at(folder, "tokenizer.json"), json, strlen(json));
    *e = (Error){ 0 };
    Tokenizer *t = tokenizer_load(folder, e);
    scratch_drop(folder);
    return t;
}

static void refused(const char *json, const char *what, const char *where, const char *found) {
    Error e;
    Tokenizer *t = open_text(json, &e);
    if (t) fail_msg("%.300s was accepted", json);
    error_says(&e, what), error_says(&e, where), error_says(&e, found);
}

static void makes(const char *json, const char *text, const int *ids, size_t n) {
    Error e;
    Tokenizer *t = open_text(json, &e);
    must(t != NULL, &e);
    IdList list = encode(t, text);
    assert_int_equal(list.count, n);
    assert_memory_equal(list.ids, ids, n * sizeof *ids);
    idlist_free(&list);
    tokenizer_free(t);
}

static void merges_that_would_lead_back_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *json, *what, *where, *found;
    } cases[] = {
        /* the two parts together are no token: nothing could lead on from it, or back */
        { "{" BPE("\"a\":0,\"b\":1", "\"a b\"") "}", "a merge that makes no token", "model.merges[0]", "\"a\" and \"b\"" },
        { "{" BPE("\"a\":0,\"b\":1,\"ab\":2", "\"a b\",\"ab a\"") "}", "a merge that makes no token", "model.merges[1]", "\"ab\" and \"a\"" },
        /* what makes one of its own parts has nothing for the other */
        { "{" BPE("\"a\":0", "[\"a\",\"\"]") "}", "a merge with nothing", "model.merges[0]", "\"a\" and \"\"" },
        { "{" BPE("\"a\":0,\"b\":1", "[\"\",\"b\"]") "}", "a merge with nothing", "model.merges[0]", "\"\" and \"b\"" },
        { "{" BPE("\"\":0,\"a\":1", "[\"a\",\"\"]") "}", "wrong length", "model.vocab", "\"\"" },
        /* a pair that says itself what it makes, as a cycle would need it */
        { "{" BPE("\"a\":0,\"b\":1,\"ab\":2", "[\"a\",\"b\",\"a\"]") "}", "a merge that is no pair", "model.merges[0]", "an array" },
        { "{" BPE("\"a\":0,\"b\":1,\"ab\":2", "\"a b a\"") "}", "a merge that is no pair", "model.merges[0]", "a b a" },
        /* the same step once more */
        { "{" BPE("\"a\":0,\"b\":1,\"ab\":2", "\"a b\",\"a b\"") "}", "a merge that stands twice", "model.merges[1]", "\"a\" and \"b\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refused(cases[i].json, cases[i].what, cases[i].where, cases[i].found);
}

/* Merges that make the same token from both sides, and each other's parts: as many steps as there are characters, less one, is the most there can be. */
static void merges_that_make_each_others_parts_end(void **state) {
    (void)state;
#define TANGLED                                                                                                                            \
    "{" BPE("\"a\":0,\"b\":1,\"ab\":2,\"ba\":3,\"aba\":4,\"bab\":5,\"abab\":6",                                                           \
        "\"a b\",\"b a\",\"ab a\",\"a ba\",\"b ab\",\"ba b\",\"ab ab\",\"aba b\",\"a bab\"") "}"
    makes(TANGLED, "a", (int[]){ 0 }, 1);
    makes(TANGLED, "aba", (int[]){ 4 }, 1);
    makes(TANGLED, "bab", (int[]){ 5 }, 1);
    makes(TANGLED, "abab", (int[]){ 6 }, 1);
    makes(TANGLED, "ababab", (int[]){ 6, 2 }, 2);
    /* powers of one letter, and a text of many: 2^16 letters twice and 5 more */
    enum { POWERS = 17, LETTERS = (2 << 16) + 5 };
    size_t cap = 1 << 21;
    char *json = calloc(cap, 1), *text = calloc(LETTERS + 1, 1);
    assert_non_null(json), assert_non_null(text);
    memset(text, 'a', LETTERS);
    int n = snprintf(json, cap, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < POWERS; i++) n += snprintf(json + n, cap - (size_t)n, "%s\"%.*s\":%d", i ? "," : "", 1 << i, text, i);
    n += snprintf(json + n, cap - (size_t)n, "},\"merges\":[");
    for (int i = 1; i < POWERS; i++) n += snprintf(json + n, cap - (size_t)n, "%s\"%.*s %.*s\"", i > 1 ? "," : "", 1 << (i - 1), text, 1 << (i - 1), text);
    snprintf(json + n, cap - (size_t)n, "]}}");
    makes(json, text, (int[]){ 16, 16, 2, 0 }, 4);
    free(json), free(text);
}

/* The leftmost is taken, of those the longest, and the text goes on behind it: nothing is looked for inside of what was found. */
static void added_tokens_that_contain_one_another_end(void **state) {
    (void)state;
#define ADDED(id, text) "{\"id\":" #id ",\"content\":\"" text "\",\"normalized\":false}"
#define NESTED "{\"added_tokens\":[" ADDED(3, "<x>") "," ADDED(4, "<x><x>") "," ADDED(5, "x><x") "," ADDED(6, "<<x>") "]," BPE("\"<\":0,\"x\":1,\">\":2", "") "}"
    makes(NESTED, "<x>", (int[]){ 3 }, 1);
    makes(NESTED, "<x><x>", (int[]){ 4 }, 1);
    makes(NESTED, "<x><x><x>", (int[]){ 4, 3 }, 2);
    makes(NESTED, "x><x>", (int[]){ 5, 2 }, 2);
    makes(NESTED, "<<x><x>", (int[]){ 6, 3 }, 2);
    makes(NESTED, "<<<x>", (int[]){ 0, 6 }, 2);
    refused("{\"added_tokens\":[" ADDED(3, "<x>") "," ADDED(4, "<x>") "]," BPE("\"<\":0,\"x\":1,\">\":2", "") "}", "two ids for one token", "added_tokens", "<x>");
    refused("{\"added_tokens\":[" ADDED(3, "<x>") "," ADDED(3, "<x>") "]," BPE("\"<\":0,\"x\":1,\">\":2", "") "}", "two added tokens of one id", "added_tokens", "<x>");
}

/* A text is rewritten once by each step, not until nothing is left to rewrite. */
static void normalisers_that_make_what_they_replace_end(void **state) {
    (void)state;
#define REPLACE(from, to) "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" from "\"},\"content\":\"" to "\"}"
#define NORMAL(steps) "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" steps "]}," BPE("\"a\":0,\"b\":1", "") "}"
    makes(NORMAL(REPLACE("a", "aa")), "ab", (int[]){ 0, 0, 1 }, 3);
    makes(NORMAL(REPLACE("a", "b") "," REPLACE("b", "a")), "ab", (int[]){ 0, 0 }, 2);
    makes(NORMAL(REPLACE("a", "a")), "aa", (int[]){ 0, 0 }, 2);
    refused(NORMAL(REPLACE("", "a")), "wrong length", "normalizer, step 0", "0 bytes");
    /* sixteen doublings, the most there may be */
    char json[4096] = "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" REPLACE("a", "aa"), *end = strchr(json, 0);
    for (int i = 1; i < 16; i++) strcat(json, "," REPLACE("a", "aa"));
    end = strchr(json, 0);
    strcpy(end, "]}," BPE("\"a\":0", "") "}");
    Error e;
    Tokenizer *t = open_text(json, &e);
    must(t != NULL, &e);
    IdList ids = encode(t, "aaa");
    assert_int_equal(ids.count, 3 << 16);
    idlist_free(&ids);
    tokenizer_free(t);
    strcpy(end, "," REPLACE("a", "aa") "]}," BPE("\"a\":0", "") "}");
    refused(json, "too many steps", "normalizer, step 16", "more");
}

/* What would grow beyond all memory is refused before it does. */
static void normalisers_that_explode_are_stopped(void **state) {
    (void)state;
    enum { MOST = 1 << 16 };
    char *letters = calloc(MOST + 1, 1), *json = calloc(3 * MOST, 1);
    assert_non_null(letters), assert_non_null(json);
    memset(letters, 'a', MOST);
    snprintf(json, 3 * MOST, "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"%s\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"%s\"}]}," BPE("\"a\":0", "") "}", letters, letters);
    Error e;
    Tokenizer *t = open_text(json, &e);
    must(t != NULL, &e);
    IdList ids = { 0 };
    assert_int_equal(tokenizer_encode(t, "a", 1, &ids, &e), -1);
    error_says(&e, "too long to tokenize"), error_says(&e, "4294967296 bytes once normalised"), error_says(&e, "at most 536870912");
    assert_int_equal(ids.count, 0);
    idlist_free(&ids);
    tokenizer_free(t);
    free(letters), free(json);
}

/* A stage that is a Sequence of Sequences, `depth` of them. */
static char *nested(const char *stage, const char *list, int depth) {
    size_t cap = (size_t)depth * 64 + 512, n;
    char *json = calloc(cap, 1);
    assert_non_null(json);
    n = (size_t)snprintf(json, cap, "{\"%s\":", stage);
    for (int i = 0; i < depth; i++) n += (size_t)snprintf(json + n, cap - n, "{\"type\":\"Sequence\",\"%s\":[", list);
    for (int i = 0; i < depth; i++) n += (size_t)snprintf(json + n, cap - n, "]}");
    snprintf(json + n, cap - n, "," BPE("\"a\":0", "") "}");
    return json;
}

static void sequences_within_sequences_are_refused(void **state) {
    (void)state;
    static const char *const stages[][2] = { { "normalizer", "normalizers" }, { "pre_tokenizer", "pretokenizers" }, { "decoder", "decoders" } };
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        char field[64], what[64];
        snprintf(field, sizeof field, "%s, step 0", stages[i][0]), snprintf(what, sizeof what, "this kind of %s is not supported", stages[i][0]);
        static const int depths[] = { 2, 3, 1000, 20000 };
        for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
            char *json = nested(stages[i][0], stages[i][1], depths[d]);
            if (depths[d] <= 1000) refused(json, what, field, "Sequence");
            else refused(json, "bad JSON", "tokenizer.json:1", "maximum parsing depth reached");
            free(json);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_that_would_lead_back_are_refused),
        cmocka_unit_test(merges_that_make_each_others_parts_end),
        cmocka_unit_test(added_tokens_that_contain_one_another_end),
        cmocka_unit_test(normalisers_that_make_what_they_replace_end),
        cmocka_unit_test(normalisers_that_explode_are_stopped),
        cmocka_unit_test(sequences_within_sequences_are_refused),
    };
    return cmocka_run_group_tests_name("loops", tests, NULL, NULL);
}

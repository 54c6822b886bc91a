/* hub_read_test.c - reading tokenizer.json and the files beside it: each way in which they can be wrong with its one error, which names the
 * file and the field; and expressions that the two languages read differently, or that would never end. */
#include "tests/check.h"
#include "tests/tokenizer/golden.h"

#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\" \":3},\"merges\":[\"a b\"]"
#define MODEL(rest) "\"model\":{\"type\":\"BPE\"," rest "}"
#define GOOD MODEL(VOCAB)
#define SPLIT(regex) "{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"" regex "\"}}," GOOD "}"

static Tokenizer *load_with(const char *json, const char *name, const char *beside, Error *e) {
    char folder[PATH_SIZE];
    scratch_make(folder);
    put(at(folder, "tokenizer.json"), json, strlen(json));
    if (name) put(at(folder, name), beside, strlen(beside));
    *e = (Error){ 0 };
    Tokenizer *t = tokenizer_load(folder, e);
    scratch_drop(folder);
    return t;
}

static void refused(const char *json, const char *name, const char *beside, const char *what, const char *where, const char *found) {
    Error e;
    Tokenizer *t = load_with(json, name, beside, &e);
    if (t) fail_msg("%s %s was accepted", json, beside ? beside : "");
    error_says(&e, what), error_says(&e, where), error_says(&e, found);
    assert_non_null(strstr(e.where, name ? name : "tokenizer.json"));
}

typedef struct Case {
    const char *json, *what, *where, *found;
} Case;

static void all_refused(const Case *cases, size_t n) {
    for (size_t i = 0; i < n; i++) refused(cases[i].json, NULL, NULL, cases[i].what, cases[i].where, cases[i].found);
}

static void wrong_models_are_refused(void **state) {
    (void)state;
    static const Case cases[] = {
        { "[]", "bad JSON", "tokenizer.json:1", "an array" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":", "bad JSON", "tokenizer.json:1", "end of file" },
        { "{\"model\":{\"vocab\":{\"a\":0,\"a\":1}}}", "bad JSON", "tokenizer.json:1", "duplicate" },
        { "{}", "wrong type", "\"model\"", "nothing" },
        { "{\"model\":7}", "wrong type", "\"model\"", "an integer" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "not supported", "model.type", "Unigram" },
        { "{\"model\":{\"type\":\"WordPiece\"}}", "not supported", "model.type", "WordPiece" },
        { "{\"model\":{\"type\":3}}", "wrong type", "\"type\"", "an integer" },
        { "{" MODEL("\"dropout\":0.1," VOCAB) "}", "not supported", "model.dropout", "a number" },
        { "{" MODEL("\"continuing_subword_prefix\":\"##\"," VOCAB) "}", "not supported", "model.continuing_subword_prefix", "##" },
        { "{" MODEL("\"end_of_word_suffix\":\"</w>\"," VOCAB) "}", "not supported", "model.end_of_word_suffix", "</w>" },
        { "{" MODEL("\"byte_fallback\":1," VOCAB) "}", "wrong type", "\"byte_fallback\"", "an integer" },
        { "{" MODEL("\"unk_token\":\"<unk>\"," VOCAB) "}", "not in the vocabulary", "model.unk_token", "<unk>" },
        { "{" MODEL("\"merges\":[]") "}", "wrong type", "model.vocab", "nothing" },
        { "{" MODEL("\"vocab\":[\"a\"],\"merges\":[]") "}", "wrong type", "model.vocab", "an array" },
        { "{" MODEL("\"vocab\":{},\"merges\":[]") "}", "without tokens", "model.vocab", "nothing" },
        { "{" MODEL("\"vocab\":{\"\":0},\"merges\":[]") "}", "wrong length", "model.vocab", "\"\"" },
        { "{" MODEL("\"vocab\":{\"a\":\"0\"},\"merges\":[]") "}", "wrong id", "model.vocab", "\"a\"" },
        { "{" MODEL("\"vocab\":{\"a\":0.5},\"merges\":[]") "}", "wrong id", "model.vocab", "\"a\"" },
        { "{" MODEL("\"vocab\":{\"a\":-1},\"merges\":[]") "}", "wrong id", "model.vocab", "-1" },
        { "{" MODEL("\"vocab\":{\"a\":2147483648},\"merges\":[]") "}", "wrong id", "model.vocab", "2147483648" },
        { "{" MODEL("\"vocab\":{\"a\":9223372036854775808},\"merges\":[]") "}", "bad JSON", "tokenizer.json:1", "too big" },
        { "{" MODEL("\"vocab\":{\"a\":0,\"b\":2},\"merges\":[]") "}", "holes", "model.vocab", "ids up to 2 for 2 tokens" },
        { "{\"added_tokens\":[{\"id\":9,\"content\":\"x\"}]," MODEL("\"vocab\":{\"a\":0,\"b\":2},\"merges\":[]") "}", "holes",
            "model.vocab", "no token 1" },
        { "{" MODEL("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]") "}", "two tokens of one id", "model.vocab", "\"b\"" },
        { "{" MODEL("\"vocab\":{\"a\":0}") "}", "wrong type", "model.merges", "nothing" },
        { "{" MODEL("\"vocab\":{\"a\":0},\"merges\":{}") "}", "wrong type", "model.merges", "an object" },
        { "{" MODEL("\"vocab\":{\"a\":0},\"merges\":[7]") "}", "no pair", "model.merges[0]", "an integer" },
        { "{" MODEL("\"vocab\":{\"a\":0},\"merges\":[\"aa\"]") "}", "no pair", "model.merges[0]", "aa" },
        { "{" MODEL("\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]") "}", "no pair", "model.merges[0]", "a a a" },
        { "{" MODEL("\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]") "}", "no pair", "model.merges[0]", "an array" },
        { "{" MODEL("\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"a\",\"a\"]]") "}", "no pair", "model.merges[0]", "an array" },
        { "{" MODEL("\"vocab\":{\"a\":0},\"merges\":[[\"a\",1]]") "}", "no pair", "model.merges[0]", "an array" },
        { "{" MODEL("\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"\"]]") "}", "a merge with nothing", "model.merges[0]", "\"a\" and \"\"" },
        { "{" MODEL("\"vocab\":{\"a\":0},\"merges\":[\" a\"]") "}", "a merge with nothing", "model.merges[0]", "\"\" and \"a\"" },
        { "{" MODEL("\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\",\"aa b\"]") "}", "what is no token", "model.merges[1]",
            "\"aa\" and \"b\"" },
        { "{" MODEL("\"vocab\":{\"a\":0},\"merges\":[\"a a\"]") "}", "makes no token", "model.merges[0]", "\"a\" and \"a\"" },
        { "{" MODEL("\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\",[\"a\",\"a\"]]") "}", "stands twice", "model.merges[1]",
            "\"a\" and \"a\"" },
    };
    all_refused(cases, sizeof cases / sizeof *cases);
}

#define ADDED(list) "{\"added_tokens\":" list "," GOOD "}"

static void wrong_added_tokens_are_refused(void **state) {
    (void)state;
    static const Case cases[] = {
        { ADDED("{}"), "wrong type", "added_tokens", "an object" },
        { ADDED("[4]"), "wrong type", "added_tokens", "an integer" },
        { ADDED("[{\"content\":\"x\"}]"), "missing field", "\"id\"", "nothing" },
        { ADDED("[{\"id\":4}]"), "missing field", "\"content\"", "nothing" },
        { ADDED("[{\"id\":4,\"content\":\"\"}]"), "wrong length", "added_tokens", "\"\"" },
        { ADDED("[{\"id\":2147483648,\"content\":\"x\"}]"), "out of range", "\"id\"", "2147483648" },
        { ADDED("[{\"id\":-4,\"content\":\"x\"}]"), "out of range", "\"id\"", "-4" },
        { ADDED("[{\"id\":4,\"content\":\"x\",\"lstrip\":\"no\"}]"), "wrong type", "\"lstrip\"", "a string" },
        { ADDED("[{\"id\":4,\"content\":\"x\"},{\"id\":4,\"content\":\"y\"}]"), "two added tokens of one id", "added_tokens", "\"y\": 4" },
        { ADDED("[{\"id\":4,\"content\":\"x\"},{\"id\":5,\"content\":\"x\"}]"), "two ids for one token", "added_tokens", "\"x\"" },
        { ADDED("[{\"id\":4,\"content\":\"a\"}]"), "two ids for one token", "added_tokens", "\"a\"" },
        { ADDED("[{\"id\":0,\"content\":\"x\"}]"), "another token's id", "added_tokens", "\"x\": 0" },
    };
    all_refused(cases, sizeof cases / sizeof *cases);
    refused("{" GOOD "}", "added_tokens.json", "{\"x\":2147483648}", "out of range", "\"x\"", "2147483648");
    refused("{" GOOD "}", "added_tokens.json", "{\"x\":\"4\"}", "wrong type", "\"x\"", "a string");
    refused("{" GOOD "}", "added_tokens.json", "{\"x\":4", "bad JSON", "added_tokens.json:1", "end of file");
    Error e;
    Tokenizer *t = load_with(ADDED("[{\"id\":4,\"content\":\"x\",\"special\":true},{\"id\":70,\"content\":\"y\"}]"), "added_tokens.json",
        "{\"x\":4,\"z\":5}", &e);
    must(t != NULL, &e);
    assert_int_equal(tokenizer_vocab(t), 71);
    assert_int_equal(tokenizer_added(t, "z"), 5);
    assert_null(tokenizer_piece(t, 6));
    assert_false(tokenizer_may_emit(t, 6));
    assert_true(tokenizer_may_emit(t, 70));
    tokenizer_free(t);
}

#define STAGE(name, value) "{\"" name "\":" value "," GOOD "}"

static void wrong_stages_are_refused(void **state) {
    (void)state;
    static const Case cases[] = {
        { STAGE("normalizer", "7"), "wrong type", "normalizer", "an integer" },
        { STAGE("normalizer", "{}"), "missing field", "\"type\"", "nothing" },
        { STAGE("normalizer", "{\"type\":\"BertNormalizer\"}"), "this kind of normalizer", "normalizer", "BertNormalizer" },
        { STAGE("normalizer", "{\"type\":\"Sequence\"}"), "without its list", "normalizer", "nothing" },
        { STAGE("normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Sequence\",\"normalizers\":[]}]}"),
            "this kind of normalizer", "normalizer, step 1", "Sequence" },
        { STAGE("normalizer", "{\"type\":\"Prepend\"}"), "missing field", "\"prepend\"", "nothing" },
        { STAGE("normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\"x\"}"), "kind of pattern", "normalizer",
            "Regex" },
        { STAGE("normalizer", "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}"), "wrong length", "\"String\"",
            "0 bytes" },
        { STAGE("pre_tokenizer", "{\"type\":\"BertPreTokenizer\"}"), "this kind of pre_tokenizer", "pre_tokenizer", "BertPreTokenizer" },
        { STAGE("pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]}"),
            "behind ByteLevel", "pre_tokenizer, step 1", "Digits" },
        { STAGE("pre_tokenizer", "{\"type\":\"ByteLevel\",\"use_regex\":\"yes\"}"), "wrong type", "\"use_regex\"", "a string" },
        { STAGE("pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"__\"}"), "not one character", "\"replacement\"", "__" },
        { STAGE("pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}"), "unknown choice",
            "\"prepend_scheme\"", "last" },
        { STAGE("pre_tokenizer", "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"}}"), "missing field", "\"behavior\"", "nothing" },
        { STAGE("pre_tokenizer", "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"Apart\"}"), "unknown choice",
            "\"behavior\"", "Apart" },
        { STAGE("pre_tokenizer", "{\"type\":\"Split\",\"pattern\":\" \",\"behavior\":\"Removed\"}"), "kind of pattern", "pre_tokenizer",
            "a string" },
        { STAGE("pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[7]}"), "wrong type", "pre_tokenizer, step 0", "an integer" },
        { STAGE("decoder", "{\"type\":\"WordPiece\"}"), "this kind of decoder", "decoder", "WordPiece" },
        { STAGE("decoder", "{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}"), "out of range", "\"start\"", "-1" },
        { STAGE("decoder", "{\"type\":\"Strip\",\"content\":\" \",\"start\":2147483648,\"stop\":0}"), "out of range", "\"start\"",
            "2147483648" },
        { STAGE("post_processor", "{\"type\":\"BertProcessing\"}"), "this kind of post_processor", "post_processor", "BertProcessing" },
        { STAGE(
              "post_processor", "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}}],\"special_tokens\":{}}"),
            "without an id", "post_processor", "<s>" },
        { STAGE("post_processor",
              "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"s\"}}],\"special_tokens\":{\"s\":{\"ids\":[4]}}}"),
            "without an id", "post_processor", "s" },
    };
    all_refused(cases, sizeof cases / sizeof *cases);
    char many[4096] = "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}";
    for (int i = 0; i < 16; i++) strcat(many, ",{\"type\":\"NFC\"}");
    strcat(many, "]}," GOOD "}");
    refused(many, NULL, NULL, "too many steps", "normalizer, step 16", "more");
}

static void wrong_names_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *what, *where, *found;
    } cases[] = {
        { "tokenizer_config.json", "{\"eos_token\":\"</s>\"}", "does not have", "eos_token", "</s>" },
        { "tokenizer_config.json", "{\"bos_token\":7}", "wrong type", "bos_token", "a number" },
        { "tokenizer_config.json", "{\"eos_token\":{\"content\":[]}}", "wrong type", "eos_token", "an array" },
        { "tokenizer_config.json", "{\"add_bos_token\":\"yes\"}", "wrong type", "add_bos_token", "a string" },
        { "special_tokens_map.json", "{\"unk_token\":\"<unk>\"}", "does not have", "unk_token", "<unk>" },
        { "special_tokens_map.json", "{", "bad JSON", "special_tokens_map.json:1", "" },
        { "generation_config.json", "{\"eos_token_id\":4}", "wrong id", "eos_token_id", "4" },
        { "generation_config.json", "{\"eos_token_id\":[-1]}", "wrong id", "eos_token_id", "-1" },
        { "config.json", "{\"bos_token_id\":2147483648}", "wrong id", "bos_token_id", "2147483648" },
        { "config.json", "{\"text_config\":{\"eos_token_id\":\"a\"}}", "wrong id", "eos_token_id", "a string" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused("{" GOOD "}", cases[i].name, cases[i].text, cases[i].what, cases[i].where, cases[i].found);
    Error e;
    Tokenizer *t = load_with("{" GOOD "}", "tokenizer_config.json",
        "{\"model_max_length\":1000000000000000019884624838656,\"pad_token\":\"<pad>\",\"eos_token\":{\"content\":\"b\"},\"bos_token\":"
        "\"a\",\"add_bos_token\":true}",
        &e);
    must(t != NULL, &e);
    assert_int_equal(tokenizer_eos(t), 1);
    assert_int_equal(tokenizer_bos(t), 0);
    assert_int_equal(tokenizer_pad(t), -1);
    assert_int_equal(tokenizer_adds_bos(t), 1);
    tokenizer_free(t);
}

static void expressions_that_mean_something_else_are_refused(void **state) {
    (void)state;
    static const char *const unsupported[] = { "\\\\h", "\\\\R+", "a\\\\Kb", "\\\\X", "\\\\N", "\\\\bword", "\\\\Ga", "\\\\1", "\\\\Qa",
        "[[:alpha:]]", "[a[bc]]", "[a&&b]", "[]a]", "[^]a]", "[\\\\S]", "[\\\\W]", "a{2,3}+", "a{,3}", "a{2}?", "(?<name>a)", "(?m:.)",
        "(?x) a", "a(?i)b|c", "(?#c)", "(*ANY)a", "\\\\p{L", "\\\\pL", "\\\\p{Script=Han}", "a\\\\" };
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        char json[512];
        snprintf(json, sizeof json, SPLIT("%s"), unsupported[i]);
        refused(json, NULL, NULL, "an expression is not supported", "pre_tokenizer", "");
    }
    static const char *const broken[] = { "(a", "a)", "[a", "*a", "a{3,2}", "\\\\p{Nothing}", "(?<=a+)b" };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char json[512];
        snprintf(json, sizeof json, SPLIT("%s"), broken[i]);
        refused(json, NULL, NULL, "an expression does not compile", "pre_tokenizer", "");
    }
    refused(SPLIT(""), NULL, NULL, "wrong length", "pre_tokenizer", "0 bytes");
}

/* How many words an expression makes of a text: each word is one unknown token. */
static size_t words_of(const char *regex, const char *text) {
    char json[1024];
    Error e;
    snprintf(json, sizeof json,
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"%s\"}}," MODEL(
            "\"unk_token\":\"u\",\"fuse_unk\":true,\"vocab\":{\"u\":0},\"merges\":[]") "}",
        regex);
    Tokenizer *t = load_with(json, NULL, NULL, &e);
    must(t != NULL, &e);
    IdList ids = encode(t, text);
    const size_t n = ids.count;
    idlist_free(&ids);
    tokenizer_free(t);
    return n;
}

static void expressions_mean_what_oniguruma_says(void **state) {
    (void)state;
    static const struct {
        const char *regex, *text;
        size_t words;
    } cases[] = { { "\\\\s+", "a \t\n\xc2\x85\xe2\x80\xa8 b", 3 }, { "\\\\s", "a\xe1\xa0\x8e\x62", 1 },
        { "\\\\S+", "a\xe1\xa0\x8e\x62 c", 3 }, { "[\\\\s,]+", "a, b", 3 }, { "\\\\w+", "-a1_\xc3\xa9\xe2\x93\x90-", 3 },
        { "\\\\w+", "-\xc2\xb2-", 3 }, { "[^\\\\r\\\\n\\\\p{L}]+", "ab12\ncd", 3 },
        { "(?i:'s)",
            "a'\xc5\xbf"
            "b",
            3 },
        { "^b", "a\nb", 2 }, { "a$", "xa\nb", 3 }, { "(?i)A", "xaz", 3 }, { "\\\\x{61}|\\\\x62", "xaxbx", 5 }, { "{a}", "x{a}y", 3 },
        { "\\\\xc3\\\\xa9|\xc3\xa9", "x\xc3\xa9y", 3 }, { "\\\\-[\\\\-\\\\]]", "a-]b", 3 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n = words_of(cases[i].regex, cases[i].text);
        if (n != cases[i].words) fail_msg("%s makes %zu words of %s, expected %zu", cases[i].regex, n, cases[i].text, cases[i].words);
    }
}

/* An expression of exponential time stops with an error, and leaves the list of ids as it was. */
static void expressions_that_explode_are_stopped(void **state) {
    (void)state;
    static const char *const explosive[] = { "(?:a+)+$", "(?:a|aa)+$", "(?:a*)*[bd]" };
    for (size_t i = 0; i < sizeof explosive / sizeof *explosive; i++) {
        char json[512], text[101];
        Error e;
        snprintf(json, sizeof json, SPLIT("%s"), explosive[i]);
        Tokenizer *t = load_with(json, NULL, NULL, &e);
        must(t != NULL, &e);
        memset(text, 'a', 100), strcpy(text + 99, "c");
        IdList ids = { 0 };
        const int before = 7;
        must(!idlist_append(&ids, &before, 1, &e), &e);
        assert_int_equal(tokenizer_encode(t, text, 100, &ids, &e), -1);
        error_says(&e, "takes too long"), error_says(&e, "tokenizer.json: field \"pre_tokenizer\""), error_says(&e, "leave the text out");
        assert_int_equal(ids.count, 1);
        assert_int_equal(ids.ids[0], 7);
        idlist_free(&ids);
        tokenizer_free(t);
    }
}

static void the_model_file_wins(void **state) {
    (void)state;
    char folder[PATH_SIZE];
    Error e = { 0 };
    char hash[HASH_TEXT], without[HASH_TEXT];
    scratch_make(folder);
    must(!file_copy("tests/golden/llava15-hub/model/tokenizer.model", at(folder, "tokenizer.model"), &e), &e);
    put(at(folder, "tokenizer.json"), "{", 1);
    Tokenizer *t = tokenizer_load(folder, &e);
    must(t != NULL, &e);
    assert_int_equal(tokenizer_vocab(t), 476);
    assert_int_equal(tokenizer_adds_bos(t), 1);
    tokenizer_hash(t, hash);
    tokenizer_free(t);
    static const char config[] = "{\"add_bos_token\":false,\"pad_token\":\"<unk>\"}";
    put(at(folder, "tokenizer_config.json"), config, sizeof config - 1);
    t = tokenizer_load(folder, &e);
    must(t != NULL, &e);
    assert_int_equal(tokenizer_adds_bos(t), 0);
    assert_int_equal(tokenizer_pad(t), 0);
    assert_int_equal(tokenizer_eos(t), 2);
    tokenizer_hash(t, without);
    assert_string_not_equal(hash, without); /* a prompt's ids are others */
    tokenizer_free(t);
    scratch_drop(folder);
    assert_null(tokenizer_load(folder, &e));
    error_says(&e, "neither tokenizer.model nor tokenizer.json");
}

static void equal_files_have_equal_hashes(void **state) {
    (void)state;
    Error e;
    char a[33], b[33], c[33];
    Tokenizer *one = load_with("{" GOOD "}", NULL, NULL, &e), *same = load_with("{" GOOD "}", NULL, NULL, &e),
              *other = load_with("{" GOOD "}", "added_tokens.json", "{\"x\":4}", &e);
    tokenizer_hash(one, a), tokenizer_hash(same, b), tokenizer_hash(other, c);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_int_equal(strlen(a), 32);
    tokenizer_free(one), tokenizer_free(same), tokenizer_free(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_models_are_refused),
        cmocka_unit_test(wrong_added_tokens_are_refused),
        cmocka_unit_test(wrong_stages_are_refused),
        cmocka_unit_test(wrong_names_are_refused),
        cmocka_unit_test(expressions_that_mean_something_else_are_refused),
        cmocka_unit_test(expressions_mean_what_oniguruma_says),
        cmocka_unit_test(expressions_that_explode_are_stopped),
        cmocka_unit_test(the_model_file_wins),
        cmocka_unit_test(equal_files_have_equal_hashes),
    };
    return cmocka_run_group_tests_name("hub_read", tests, NULL, NULL);
}

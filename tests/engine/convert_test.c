/* convert_test.c - preference pairs of every form there and back, read where pairs are read, and what is refused. */
#include "tests/engine/own_folder.h"

#include "engine/commands.h"
#include "engine/dataset.h"

#include <unistd.h>

static const char png[] = "tests/golden/llava15-hub/images/0.png", other_png[] = "tests/golden/llava15-hub/images/1.png";

static void put(const char *name, const char *text) { assert_int_equal(file_write(at(name), text, strlen(text), NULL), 0); }

static const char rows_text[] = "{\"id\":\"a\",\"image\":\"one.png\",\"question\":\"What is \\\"it\\\"?\\nSay.\",\"chosen\":\"A "
                                "caf\xc3\xa9.\",\"rejected\":\"Two dogs.\",\"chosen_score\":-1.5}\n"
                                "{\"id\":\"b\",\"image\":\"two.png\",\"question\":\"Describe <image it.\",\"chosen\":\" A. "
                                "\",\"rejected\":\"B\",\"idx\":7,\"origin_dataset\":\"COCO\"}\n";

static int setup(void **state) {
    (void)state;
    if (folder_open() || file_copy(png, at("one.png"), NULL) || file_copy(other_png, at("two.png"), NULL)) return -1;
    return file_write(at("ours.jsonl"), rows_text, strlen(rows_text), NULL);
}

static int convert(const char *from, const char *to, const char *in, const char *out, int strict, Error *e) {
    char *argv[7] = { "--from", (char *)(uintptr_t)from, "--to", (char *)(uintptr_t)to, (char *)(uintptr_t)at(in),
        (char *)(uintptr_t)at(out), "--strict" };
    memset(e, 0, sizeof *e);
    return command_convert(6 + strict, argv, e);
}

static void converts(const char *from, const char *to, const char *in, const char *out) {
    Error e;
    char text[sizeof(Error) + 64];
    if (convert(from, to, in, out, 1, &e)) fail_msg("%s to %s: %s", from, to, error_text(&e, text, sizeof text));
}

/* Rows of a file, JSONL or a list. */
static json_t *pairs_of(const char *name) {
    json_t *top = json_load_file(at(name), 0, NULL);
    if (json_is_array(top)) return top;
    json_decref(top);
    return rows_of(at(name));
}

static const char *text_in(const json_t *row, const char *key) {
    const char *text = text_of(row, key);
    assert_non_null(text);
    return text;
}

static void same_pairs(const char *name, const char *const *more, int n) {
    json_t *want = pairs_of("ours.jsonl"), *have = pairs_of(name);
    assert_int_equal(json_array_size(have), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *a = json_array_get(want, i), *b = json_array_get(have, i);
        static const char *const keys[] = { "question", "chosen", "rejected" };
        for (size_t k = 0; k < 3; k++) assert_string_equal(text_in(a, keys[k]), text_in(b, keys[k]));
        for (int k = 0; k < n; k++) assert_true(json_equal(json_object_get(a, more[k]), json_object_get(b, more[k])));
        char one[HASH_TEXT], two[HASH_TEXT];
        assert_int_equal(text_in(b, "image")[0], '/');
        assert_int_equal(hash_file(i ? other_png : png, one, NULL), 0);
        assert_int_equal(hash_file(text_in(b, "image"), two, NULL), 0);
        assert_string_equal(one, two);
    }
    json_decref(want);
    json_decref(have);
}

/* What `rlaifv train` would see of a file. */
static void read_as_pairs(const char *name, PairForm form) {
    Dataset d;
    Error e = { 0 };
    char text[sizeof(Error) + 64], unpack[PATH_SIZE];
    snprintf(unpack, sizeof unpack, "%.4000s/unpacked", folder);
    DataOptions options = { .need = DATA_IMAGE | DATA_QUESTION | DATA_PAIR, .unpack = unpack, .strict = 1 };
    if (dataset_read(&d, at(name), &options, &e)) fail_msg("%s: %s", name, error_text(&e, text, sizeof text));
    assert_int_equal(d.n, 2);
    assert_int_equal(d.rows[0].form, form);
    assert_string_equal(d.rows[0].question, "What is \"it\"?\nSay.");
    assert_string_equal(d.rows[0].chosen, "A caf\xc3\xa9.");
    assert_string_equal(d.rows[1].rejected, "B");
    assert_true(file_exists(d.rows[1].image));
    dataset_free(&d);
}

static void to_dataset_and_back(void **state) {
    (void)state;
    converts("rlaifv", "dataset", "ours.jsonl", "set.jsonl");
    assert_false(file_exists(at("set.jsonl.images")));
    json_t *rows = pairs_of("set.jsonl");
    const json_t *row = json_array_get(rows, 0), *image = json_object_get(row, "image");
    static const char *const columns[] = { "ds_name", "image", "question", "chosen", "rejected", "origin_dataset", "origin_split", "idx",
        "image_path" };
    size_t i = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)row, key, value) assert_string_equal(key, columns[i++]);
    assert_int_equal(i, sizeof columns / sizeof *columns);
    assert_string_equal(text_in(row, "ds_name"), "rlaifv");
    assert_string_equal(text_in(row, "origin_split"), "{}");
    assert_string_equal(text_in(row, "image_path"), "one.png");
    assert_string_equal(text_in(image, "path"), "one.png");
    assert_string_equal(text_in(json_array_get(rows, 1), "origin_dataset"), "COCO");
    assert_int_equal(json_integer_value(json_object_get(row, "idx")), 0);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, 1), "idx")), 7);
    json_decref(rows);
    read_as_pairs("set.jsonl", FORM_DATASET);
    converts("dataset", "rlaifv", "set.jsonl", "back.jsonl");
    same_pairs("back.jsonl", NULL, 0);
    /* and the published columns come through our rows unchanged */
    converts("rlaifv", "dataset", "back.jsonl", "again.jsonl");
    const char *picture = text_in(json_array_get(rows = pairs_of("back.jsonl"), 0), "image");
    converts("dataset", "dataset", "set.jsonl", "back.jsonl"); /* pictures that were there before stay, though its own would bear their names */
    assert_true(file_exists(picture));
    json_decref(rows);
    json_t *one = pairs_of("set.jsonl"), *two = pairs_of("again.jsonl");
    for (i = 0; i < 2; i++) { /* an unpacked file goes by its hash, the row by its image_path */
        json_object_del(json_object_get(json_array_get(one, i), "image"), "path");
        json_object_del(json_object_get(json_array_get(two, i), "image"), "path");
    }
    assert_true(json_equal(one, two));
    json_decref(one);
    json_decref(two);
}

static void to_trl_and_back(void **state) {
    (void)state;
    static const char *const kept[] = { "id" };
    converts("rlaifv", "trl", "ours.jsonl", "trl.jsonl");
    json_t *rows = pairs_of("trl.jsonl"), *row = json_array_get(rows, 0);
    const json_t *said = json_array_get(json_object_get(json_array_get(json_object_get(row, "prompt"), 0), "content"), 1);
    assert_string_equal(text_in(said, "text"), "What is \"it\"?\nSay.");
    assert_int_equal(json_array_size(json_object_get(row, "images")), 1);
    /* the same without a prompt of its own: the messages before the last are it */
    FILE *f = fopen(at("implicit.jsonl"), "w");
    json_t *side;
    size_t i;
    json_array_foreach(rows, i, row) {
        for (int k = 0; k < 2; k++) {
            side = json_copy(json_object_get(row, "prompt"));
            json_array_extend(side, json_object_get(row, k ? "rejected" : "chosen"));
            json_object_set_new(row, k ? "rejected" : "chosen", side);
        }
        json_object_del(row, "prompt");
        assert_int_equal(jsonl_write(f, json_incref(row), NULL), 0);
    }
    fclose(f);
    json_decref(rows);
    read_as_pairs("trl.jsonl", FORM_TRL);
    converts("trl", "rlaifv", "trl.jsonl", "back.jsonl");
    same_pairs("back.jsonl", kept, 1);
    converts("trl", "rlaifv", "implicit.jsonl", "back.jsonl");
    same_pairs("back.jsonl", kept, 1);
    put("plain.jsonl", "{\"prompt\":\"Q?\",\"chosen\":\"A\",\"rejected\":\"B\",\"images\":[\"one.png\"]}\n");
    converts("trl", "rlaifv", "plain.jsonl", "back.jsonl");
    rows = pairs_of("back.jsonl");
    assert_string_equal(text_in(json_array_get(rows, 0), "question"), "Q?");
    json_decref(rows);
}

static void to_llava_and_back(void **state) {
    (void)state;
    static const char *const kept[] = { "id" };
    converts("rlaifv", "llava", "ours.jsonl", "llava.json");
    json_t *rows = pairs_of("llava.json"), *row = json_array_get(rows, 1);
    assert_string_equal(text_in(json_array_get(json_object_get(row, "conversations"), 0), "value"), "<image>\nDescribe <image it.");
    assert_string_equal(text_in(json_array_get(json_object_get(row, "rejected_conversations"), 1), "value"), "B");
    FILE *f = fopen(at("llava.jsonl"), "w");
    for (size_t i = 0; i < 2; i++) jsonl_write(f, json_incref(json_array_get(rows, i)), NULL);
    fclose(f);
    json_decref(rows);
    read_as_pairs("llava.jsonl", FORM_LLAVA);
    converts("llava", "rlaifv", "llava.json", "back.jsonl");
    same_pairs("back.jsonl", kept, 1);
    converts("llava", "rlaifv", "llava.jsonl", "back.jsonl");
    same_pairs("back.jsonl", kept, 1);
}

static void human_corrections(void **state) {
    (void)state;
    put("rlhfv.jsonl",
        "{\"ds_name\":\"RLHF-V\",\"image\":{\"bytes\":null,\"path\":\"one.png\"},\"text\":\"{\\\"question\\\": \\\"Q?\\\", \\\"chosen\\\": "
        "\\\"right\\\", "
        "\\\"rejected\\\": \\\"wrong\\\"}\",\"origin_dataset\":\"COCO\",\"origin_split\":\"{}\",\"idx\":3,\"image_path\":\"x.png\"}\n");
    converts("dataset", "rlaifv", "rlhfv.jsonl", "back.jsonl");
    json_t *rows = pairs_of("back.jsonl"), *row = json_array_get(rows, 0);
    assert_string_equal(text_in(row, "chosen"), "right");
    assert_string_equal(text_in(row, "rejected"), "wrong");
    assert_string_equal(text_in(row, "id"), "3");
    assert_null(json_object_get(row, "text"));
    json_decref(rows);
}

/* A row that is refused, and what is said of it. */
static void refused(const char *from, const char *to, const char *row, const char *said) {
    Error e;
    char text[sizeof(Error) + 64];
    put("bad.jsonl", row);
    assert_int_equal(convert(from, to, "bad.jsonl", "never.jsonl", 1, &e), -1);
    if (!strstr(error_text(&e, text, sizeof text), said)) fail_msg("%s: \"%s\" does not say \"%s\"", row, text, said);
    assert_false(file_exists(at("never.jsonl")));
}
#define SET_ROW(REST)                                                                                                                      \
    "{\"ds_name\":\"n\",\"image\":{\"path\":\"one.png\"},\"question\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\",\"image_path\":"           \
    "\"p\"," REST "}"
#define TRL_ROW(PROMPT, REJECTED)                                                                                                          \
    "{\"image\":\"one.png\",\"prompt\":" PROMPT ",\"chosen\":[{\"role\":\"assistant\",\"content\":\"a\"}],\"rejected\":" REJECTED "}"
#define SAYS(ROLE, TEXT) "{\"role\":\"" ROLE "\",\"content\":\"" TEXT "\"}"

static void refusals(void **state) {
    (void)state;
    refused("rlaifv", "trl", "{\"image\":\"one.png\",\"question\":\"q\",\"chosen\":\"a\"}", "field \"rejected\"");
    refused("rlaifv", "trl", "{\"image\":\"gone.png\",\"question\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}", "image not found");
    refused("rlaifv", "dataset", "{\"question\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}", "a row without an image");
    refused("trl", "rlaifv", "{\"image\":\"one.png\",\"question\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}", "--from rlaifv?");
    refused("rlaifv", "trl", TRL_ROW("[" SAYS("user", "q") "]", "[" SAYS("assistant", "b") "]"), "--from trl?");
    refused("trl", "rlaifv",
        TRL_ROW("[" SAYS("user", "q") "," SAYS("assistant", "x") "," SAYS("user", "y") "]", "[" SAYS("assistant", "b") "]"),
        "not one question and one answer");
    refused("trl", "rlaifv", TRL_ROW("[" SAYS("system", "s") "," SAYS("user", "q") "]", "[" SAYS("assistant", "b") "]"), "3 messages");
    refused("trl", "rlaifv", TRL_ROW("[" SAYS("user", "q") "]", "\"b\""), "field \"rejected\"");
    refused("trl", "rlaifv", TRL_ROW("\"q\"", "[" SAYS("assistant", "b") "]"), "field \"prompt\"");
    refused("trl", "rlaifv", TRL_ROW("[" SAYS("user", "q") "]", "[" SAYS("user", "b") "]"), "not one question and one answer");
    refused("trl", "rlaifv", TRL_ROW("[" SAYS("user", "q") "]", "[" SAYS("judge", "b") "]"), "unknown role");
    refused("trl", "rlaifv",
        "{\"chosen\":[" SAYS("user", "q") "," SAYS("assistant", "a") "],\"rejected\":[" SAYS("user", "other") "," SAYS(
            "assistant", "b") "]}",
        "two questions in one pair");
    refused(
        "trl", "rlaifv", "{\"images\":[\"one.png\",\"two.png\"],\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}", "not one image");
    refused("trl", "rlaifv", "{\"images\":\"one.png\",\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}", "not one image");
    refused("trl", "rlaifv", "{\"prompt\":[],\"chosen\":\"a\",\"rejected\":\"b\"}", "field \"prompt\"");
    refused("llava", "rlaifv", "{\"image\":\"one.png\",\"rejected_conversations\":[]}", "field \"conversations\"");
    refused("llava", "rlaifv",
        "{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"a\"}],\"rejected_conversations\":7}",
        "bad conversation");
    refused("dataset", "rlaifv", SET_ROW("\"origin_split\":\"{}\",\"idx\":1"), "field \"origin_dataset\"");
    refused("dataset", "rlaifv", SET_ROW("\"origin_dataset\":\"\",\"origin_split\":\"[1]\",\"idx\":1"), "field \"origin_split\"");
    refused("dataset", "rlaifv", SET_ROW("\"origin_dataset\":\"\",\"origin_split\":\"{}\",\"idx\":\"1\""), "field \"idx\"");
    refused("dataset", "rlaifv", SET_ROW("\"origin_dataset\":\"\",\"origin_split\":\"{}\",\"idx\":1,\"logps\":[]"), "field \"logps\"");
    refused("dataset", "rlaifv",
        "{\"ds_name\":\"n\",\"image\":\"one.png\",\"question\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\",\"image_path\":\"p\",\"origin_"
        "dataset\":\"\",\"origin_split\":\"\",\"idx\":1}",
        "field \"image\"");
    refused("dataset", "rlaifv",
        "{\"text\":\"{\",\"image\":{\"path\":\"one.png\"},\"image_path\":\"p\",\"origin_dataset\":\"\",\"origin_split\":\"{}\",\"idx\":1}",
        "no pair in a text");
    refused("dataset", "rlaifv",
        "{\"text\":\"{\\\"question\\\":\\\"q\\\"}\",\"image\":{\"path\":\"one.png\"},\"image_path\":\"p\",\"origin_dataset\":\"\",\"origin_"
        "split\":\"{}\",\"idx\":1}",
        "in field \"text\"");
    /* lists */
    refused("llava", "rlaifv", "[]", "no usable row");
    refused("llava", "rlaifv", "[7]", "not a list of rows");
    refused("rlaifv", "llava", "[{\"image\":\"one.png\",\"question\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"} {}]", "row 2");
    refused("rlaifv", "llava", "[{\"image\":\"one.png\",\"question\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}", "row 2");
    refused("rlaifv", "llava", "[{\"image\":\"one.png\",\"question\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}] x", "not a list of rows");
    refused("rlaifv", "llava", "[{\"question\":", "not a list of rows");
}

static void bad_rows_are_counted(void **state) {
    (void)state;
    Error e;
    put("mixed.jsonl", "{\"image\":\"one.png\",\"question\":\"q\",\"chosen\":\"a\"}\nnot "
                       "json\n{\"image\":\"one.png\",\"question\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n");
    assert_int_equal(convert("rlaifv", "llava", "mixed.jsonl", "mixed.json", 0, &e), 0);
    json_t *rows = pairs_of("mixed.json");
    assert_int_equal(json_array_size(rows), 1);
    assert_string_equal(text_in(json_array_get(rows, 0), "id"), "3"); /* its line */
    json_decref(rows);
    char *argv[] = { "--from", "rlaifv", "--to", "trl", "one" };
    assert_int_equal(command_convert(5, argv, &e), 2);
    char *split[] = { "--from", "rlaifv", "--to", "dataset", "--split", "{", "one", "two" };
    assert_int_equal(command_convert(8, split, &e), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(to_dataset_and_back), cmocka_unit_test(to_trl_and_back),
        cmocka_unit_test(to_llava_and_back), cmocka_unit_test(human_corrections), cmocka_unit_test(refusals),
        cmocka_unit_test(bad_rows_are_counted) };
    return cmocka_run_group_tests_name("convert", tests, setup, folder_teardown);
}

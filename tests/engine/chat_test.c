/* chat_test.c - chat templates in use: conversations out of rows, prompts and stops of an open model, the config's setting, training on
 * several rounds, and `rlaifv tokenize --chat`. */
#include "tests/engine/golden_case.h"

#include "engine/commands.h"
#include "engine/config.h"
#include "engine/dialogue.h"
#include "engine/sample.h"
#include "engine/score.h"
#include "tests/scratch.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

static const char *const CASE = "llava15-hub";
static const char *write_text(const char *name, const char *text) {
    put(at(folder, name), text, strlen(text));
    return at(folder, name);
}

/* ---- rows ---- */

static json_t *row_of(const char *text) {
    json_t *row = json_loads(text, 0, NULL);
    assert_non_null(row);
    return row;
}

static void rows_are_conversations(void **state) {
    (void)state;
    static const struct {
        const char *row;
        int image;
        size_t n;
        const char *turns[4]; /* the role's first letter, and the text */
    } rows[] = {
        { "{\"question\": \"q\"}", 0, 1, { "uq" } },
        { "{\"question\": \"<image> q\", \"answer\": \"a\", \"image\": \"x.png\"}", 1, 2, { "u<image> q", "aa" } },
        { "{\"question\": \"q\", \"answer\": null, \"image_path\": \"x.png\", \"image\": null}", 1, 1, { "uq" } },
        { "{\"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nq\"}, {\"from\": \"gpt\", \"value\": \"a\"}]}", 1, 2,
            { "uq", "aa" } },
        { "{\"conversations\": [{\"from\": \"system\", \"value\": \"s\"}, {\"from\": \"human\", \"value\": \"q\\n<image>\"}]}", 1, 2,
            { "ss", "uq" } },
        { "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": [{\"type\": \"image\"}, "
          "{\"type\": \"text\", \"text\": \"q\"}, {\"type\": "
          "\"text\", \"text\": \"r\"}]}, {\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}]}]}",
            1, 3, { "ss", "uqr", "aa" } },
        { "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}", 0, 1, { "aa" } }, /* order is the template's business */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *row = row_of(rows[i].row);
        Dialogue d;
        Error e = { 0 };
        if (dialogue_read(row, "rows:1", &d, &e)) fail_with(&e);
        assert_int_equal(d.has_image, rows[i].image);
        assert_int_equal(d.n, rows[i].n);
        for (size_t k = 0; k < d.n; k++) {
            assert_int_equal(chat_roles[d.turns[k].role][0], rows[i].turns[k][0]);
            assert_string_equal(d.turns[k].text, rows[i].turns[k] + 1);
        }
        dialogue_free(&d);
        json_decref(row);
    }
}

#define USER(CONTENT) "{\"role\": \"user\", \"content\": " CONTENT "}"
static void rows_that_are_none(void **state) {
    (void)state;
    static const struct {
        const char *row, *says;
    } rows[] = {
        { "{}", "field \"question\"" },
        { "{\"question\": 3}", "field \"question\"" },
        { "{\"question\": \"q\", \"answer\": 3}", "field \"answer\"" },
        { "{\"messages\": []}", "a list of 1 to 4096 messages" },
        { "{\"messages\": \"hello\"}", "found a string" },
        { "{\"messages\": [3]}", "rows:1: message 1; found an integer" },
        { "{\"messages\": [{\"content\": \"q\"}]}", "field \"role\"" },
        { "{\"messages\": [{\"role\": \"tool\", \"content\": \"q\"}]}", "unknown role: rows:1: message 1; found \"tool\"" },
        { "{\"messages\": [{\"role\": \"user\"}]}", "field \"content\"" },
        { "{\"messages\": [" USER("[3]") "]}", "an integer in a list" },
        { "{\"messages\": [" USER("[{\"text\": \"q\"}]") "]}", "field \"type\"" },
        { "{\"messages\": [" USER("[{\"type\": \"audio\"}]") "]}", "type \"audio\"" },
        { "{\"messages\": [" USER("[{\"type\": \"text\"}]") "]}", "field \"text\"" },
        { "{\"messages\": [" USER("\"q\"") ", " USER("[{\"type\": \"image\"}]") "]}", "outside of the first question: rows:1: message 2" },
        { "{\"messages\": [{\"role\": \"assistant\", \"content\": [{\"type\": \"image\"}]}]}", "outside of the first question" },
        { "{\"messages\": [" USER("\"look at <image> here\"") "]}", "image mark inside a text" },
        { "{\"messages\": [" USER("\"<image>\\nq\"") ", {\"role\": \"assistant\", \"content\": \"<image>\"}]}",
            "image mark inside a text: rows:1: message 2" },
        { "{\"conversations\": [{\"role\": \"user\", \"content\": \"q\"}]}", "field \"from\"" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *row = row_of(rows[i].row);
        Dialogue d;
        Error e = { 0 };
        assert_int_equal(dialogue_read(row, "rows:1", &d, &e), -1);
        error_says(&e, rows[i].says);
        json_decref(row);
    }
}

/* ---- an open model ---- */

/* The golden checkpoint with other added tokens, in FOLDER/NAME. */
static const char *model_with(const char *name, const char *tokens) {
    static const char *const files[] = { "config.json", "model.safetensors", "tokenizer.model", "preprocessor_config.json" };
    static char model[PATH_SIZE];
    Error e = { 0 };
    snprintf(model, sizeof model, "%s", at(folder, name));
    if (folder_make(model, &e)) fail_with(&e);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[PATH_SIZE];
        snprintf(from, sizeof from, "tests/golden/%s/model/%s", CASE, files[i]);
        if (file_copy(from, at(model, files[i]), &e)) fail_with(&e);
    }
    put(at(model, "added_tokens.json"), tokens, strlen(tokens));
    return model;
}

static int open_with(Vlm *v, const char *model, const char *chat, Error *e) {
    memset(e, 0, sizeof *e);
    const Kernels *k = kernels_open("cpu", 0, e);
    return vlm_open(v, k, model, FP32, chat, IMAGE_PAD, e);
}

static void the_model_gets_its_own_template(void **state) {
    (void)state;
    for (int i = 0; i < GOLDEN_CASES; i++) {
        static const char *const next[] = { "mistral", "vicuna_v1" };
        int tiled = !strncmp(golden_cases[i], "next", 4), omni = !strcmp(golden_cases[i], "omnilmm");
        if (!strncmp(golden_cases[i], "text", 4)) continue; /* decoders alone: they do not say */
        Vlm v;
        Error e;
        char text[600];
        if (open_with(&v, golden_path(golden_cases[i], "model"), NULL, &e)) fail_with(&e);
        assert_string_equal(template_name(v.chat), tiled ? next[!strcmp(golden_cases[i], "next-yi")] : golden_chat(golden_cases[i]));
        assert_non_null(strstr(vlm_chat_text(&v, text, sizeof text), tiled || omni ? "(config.json: " : "chat template vicuna_v1 (config.json: model_type llava"));
        assert_int_equal(vlm_ends(&v, tokenizer_eos(v.tokenizer)), 1);
        assert_int_equal(vlm_ends(&v, 5), 0);
        vlm_close(&v);
    }
}

/* What is trained of an answer is what tokenize --chat shows of a whole conversation, whatever stands before it. */
static void answers_as_in_conversations(void **state) {
    (void)state;
    static const char *const names[] = { "vicuna_v1", "llava_v1", "llava-hf", "mistral", "llama-2", "zephyr", "plain" };
    const ChatTurn turns[] = { { CHAT_USER, "Is it red" }, { CHAT_ASSISTANT, "Yes it is." } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        Error e = { 0 };
        Tokenizer *t = tokenizer_load(golden_path(CASE, "model"), &e);
        ChatTemplate *c = t ? template_open(names[i], t, golden_path(CASE, "model"), &e) : NULL;
        ChatParts parts;
        IdList whole = { 0 }, alone = { 0 };
        if (!c || template_parts(c, turns, 2, 0, &parts, &e)) fail_with(&e);
        for (size_t p = 0; p < parts.n; p++)
            if (parts.list[p].trained && template_part_ids(c, &parts, &parts.list[p], &whole, &e)) fail_with(&e);
        if (template_answer(c, turns[1].text, 1, &alone, &e)) fail_with(&e);
        if (alone.count != whole.count || memcmp(alone.ids, whole.ids, whole.count * sizeof *whole.ids)) fail_msg("%s: an answer alone has other ids", names[i]);
        chat_parts_free(&parts);
        idlist_free(&whole), idlist_free(&alone);
        template_free(c);
        tokenizer_free(t);
    }
}

static void templates_a_model_cannot_take(void **state) {
    (void)state;
    Vlm v;
    Error e;
    const char *model = model_with("far", "{\"<|im_start|>\": 476, \"<|im_end|>\": 5000}");
    assert_int_equal(open_with(&v, model, "chatml", &e), -1);
    error_says(&e, "the chat template has ids that the model has no embedding for");
    error_says(&e, "found id 5000");
    assert_int_equal(open_with(&v, model, "llama-3", &e), -1);
    error_says(&e, "no \"<|start_header_id|>\"");
    assert_int_equal(open_with(&v, model, write_text("text.chat", "first = \"{question}\"\nanswer = \"{answer}\"\n"), &e), -1);
    error_says(&e, "no place for an image");
    assert_int_equal(open_with(&v, model, write_text("broken.chat", "first = \"{question\"\n"), &e), -1);
    error_says(&e, "broken.chat:1");
}

static void stops_end_answers(void **state) {
    (void)state;
    Vlm v;
    Error e;
    const char *chat = write_text(
        "stops.chat", "stops = <pad>\nimage = \"{features}\\n\"\nfirst = \"{bos}{image}{question}\"\nanswer = \" {answer}{eos}\"\n");
    if (open_with(&v, golden_path(CASE, "model"), chat, &e)) fail_with(&e);
    int pad = tokenizer_added(v.tokenizer, "<pad>"), ended[2] = { 0 };
    assert_int_equal(v.emit[pad], 1);
    assert_int_equal(vlm_ends(&v, pad) && vlm_ends(&v, tokenizer_eos(v.tokenizer)), 1);
    Prompt p;
    if (vlm_prompt(&v, NULL, "red?", &p, &e)) fail_with(&e);
    SampleConfig config = { .n = 40, .temperature = 100, .top_p = 1, .max_new_tokens = 100, .leaves = 40, .seed = 5 };
    Candidate *got;
    if (sample_all(&v, &p, 1, &config, &got, NULL, NULL, &e)) fail_with(&e);
    for (int i = 0; i < config.n; i++) {
        const IdList *ids = &got[i].ids;
        for (size_t k = 0; k + 1 < ids->count; k++) assert_int_equal(vlm_ends(&v, ids->ids[k]), 0);
        int last = ids->ids[ids->count - 1];
        assert_int_equal(got[i].finished, vlm_ends(&v, last));
        if (got[i].finished) ended[last == pad]++;
    }
    assert_true(ended[0] > 0 && ended[1] > 0);
    candidates_free(got, 40);
    prompt_free(&p);
    vlm_close(&v);
}

static void dialogues_are_prompts(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    golden_open(&v, CASE, FP32);
    const ChatTurn one[] = { { CHAT_USER, "red?" } }, own[] = { { CHAT_SYSTEM, "Be brief." }, { CHAT_USER, "red?" } };
    const ImageRef image = { .path = "x.png" };
    Prompt a, b;
    if (vlm_prompt(&v, "x.png", "red?", &a, &e) || vlm_dialogue(&v, one, 1, &image, &b, &e)) fail_with(&e);
    assert_int_equal(a.tail.count, b.tail.count);
    assert_memory_equal(a.tail.ids, b.tail.ids, a.tail.count * sizeof(int));
    prompt_free(&a), prompt_free(&b);
    if (vlm_dialogue(&v, own, 2, NULL, &b, &e)) fail_with(&e); /* text alone: the system text is part of the prompt */
    prompt_free(&b);
    assert_int_equal(vlm_dialogue(&v, own, 2, &image, &b, &e), -1);
    error_says(&e, "a system text of its own in a conversation with an image; found \"Be brief.\"");
    vlm_close(&v);
}

/* ---- the config ---- */

static void the_config_takes_names_and_paths(void **state) {
    (void)state;
    static RunConfig c, again;
    Error e = { 0 };
    char path[PATH_SIZE], hashes[4][HASH_TEXT];
    write_text("mine.chat", "first = \"{question}\"\nanswer = \"{answer}{eos}\"\n");
    write_text("run.ini", "[chat]\ntemplate = ./mine.chat\n");
    snprintf(path, sizeof path, "%.4000s/./mine.chat", folder);
    config_defaults(&c);
    assert_string_equal(c.chat.template_name, "auto");
    assert_int_equal(config_hash(&c, "chat", hashes[0], &e), 0);
    if (config_read(&c, at(folder, "run.ini"), &e)) fail_with(&e);
    assert_string_equal(c.chat.template_name, path); /* beside the file that holds it */
    assert_int_equal(config_hash(&c, "chat", hashes[1], &e), 0);
    if (config_write(&c, at(folder, "out.ini"), &e)) fail_with(&e);
    config_defaults(&again);
    if (config_read(&again, at(folder, "out.ini"), &e)) fail_with(&e);
    assert_string_equal(again.chat.template_name, path);
    write_text("mine.chat", "first = \"{question} \"\nanswer = \"{answer}{eos}\"\n"); /* the content counts, not the name */
    assert_int_equal(config_hash(&c, "chat", hashes[2], &e), 0);
    assert_int_equal(config_set(&c, "chat.template", "vicuna_v1", "test", &e), 0);
    assert_string_equal(c.chat.template_name, "vicuna_v1");
    assert_int_equal(config_hash(&c, "chat", hashes[3], &e), 0);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < i; k++) assert_string_not_equal(hashes[i], hashes[k]);
    static const char *const bad[] = { "--chat.template=vicuna_v2", "--chat.template=./absent.chat" };
    for (int i = 0; i < 2; i++) {
        char *argv[] = { (char *)(uintptr_t)at(folder, "run.ini"), (char *)(uintptr_t)bad[i] };
        assert_int_not_equal(config_arguments(&c, 2, argv, &e), 0);
        error_says(&e, i ? "absent.chat" : "did you mean vicuna_v1?");
    }
    unlink(at(folder, "mine.chat"));
    assert_int_equal(config_read(&c, at(folder, "run.ini"), &e), 0);
    assert_int_equal(config_hash(&c, "chat", hashes[0], &e), -1);
}

/* ---- commands ---- */

/* Calls a command with words up to NULL; its stdout and stderr go to FOLDER/stdout and FOLDER/stderr. */
static int call(int (*command)(int argc, char **argv, Error *e), Error *e, ...) {
    static char copies[16][PATH_SIZE];
    char *argv[16];
    int argc = 0, kept[2], file[2];
    va_list args;
    va_start(args, e);
    for (const char *word; (word = va_arg(args, const char *)); argc++) {
        assert_true(argc < 16);
        snprintf(copies[argc], PATH_SIZE, "%s", word);
        argv[argc] = copies[argc];
    }
    va_end(args);
    memset(e, 0, sizeof *e);
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        kept[i] = dup(i + 1);
        file[i] = open(at(folder, i ? "stderr" : "stdout"), O_CREAT | O_TRUNC | O_WRONLY, 0666);
        assert_true(kept[i] >= 0 && file[i] >= 0 && dup2(file[i], i + 1) >= 0);
    }
    int result = command(argc, argv, e);
    fflush(NULL);
    for (int i = 0; i < 2; i++) dup2(kept[i], i + 1), close(kept[i]), close(file[i]);
    return result;
}

static void file_says(const char *name, const char *part) {
    char *text;
    assert_int_equal(file_read(at(folder, name), 1 << 20, &text, NULL, NULL), 0);
    if (!strstr(text, part)) fail_msg("\"%s\" does not hold \"%s\"", text, part);
    free(text);
}

static void conversations_are_shown(void **state) {
    (void)state;
    Error e;
    char model[PATH_SIZE], out[PATH_SIZE], data[PATH_SIZE];
    snprintf(model, sizeof model, "%s", golden_path(CASE, "model"));
    snprintf(out, sizeof out, "%s", at(folder, "out.jsonl"));
    snprintf(data, sizeof data, "%s",
        write_text("rows.jsonl", "{\"question\": \"the\", \"answer\": \"the\", \"image\": \"absent.png\"}\n"
                                 "{\"messages\": [{\"role\": \"user\", \"content\": \"the\"}, {\"role\": \"assistant\", \"content\": "
                                 "\"\"}, {\"role\": \"user\", \"content\": \"the\"}]}\n"));
    if (call(command_tokenize, &e, "--chat", "--model", model, "--data", data, "--out", out, NULL)) fail_with(&e);
    file_says("stdout", "chat template vicuna_v1 (");
    file_says("stdout", "     0        1    <s>\n");
    file_says("stdout", "- "), file_says("stdout", "[image: 16 rows]\n");
    file_says("stdout", " 265 *  \xe2\x96\x81the\n");
    file_says("stdout", "   2 *  </s>\n");
    JsonLines lines;
    json_t *row;
    assert_int_equal(jsonl_open(&lines, out, &e), 0);
    assert_int_equal(jsonl_next(&lines, &row, &e), 1);
    const json_t *ids = json_object_get(row, "ids"), *pieces = json_object_get(row, "pieces"), *trained = json_object_get(row, "trained");
    size_t n = json_array_size(ids), images = 0;
    assert_int_equal(json_integer_value(json_object_get(row, "image_rows")), 16);
    assert_int_equal(json_array_size(pieces), n);
    assert_int_equal(json_array_size(trained), n);
    for (size_t i = 0; i < n; i++) {
        images += json_is_null(json_array_get(ids, i));
        assert_int_equal(json_is_true(json_array_get(trained, i)), i >= n - 2);
    }
    assert_int_equal(images, 1);
    assert_int_equal(json_integer_value(json_array_get(ids, n - 2)), 265);
    assert_string_equal(json_string_value(json_array_get(pieces, n - 1)), "</s>");
    json_decref(row);
    assert_int_equal(jsonl_next(&lines, &row, &e), 1);
    assert_null(json_object_get(row, "image_rows"));
    size_t is_trained = 0;
    for (size_t i = 0; i < json_array_size(json_object_get(row, "trained")); i++)
        is_trained += json_is_true(json_array_get(json_object_get(row, "trained"), i));
    assert_int_equal(is_trained, 1); /* the end of the empty answer */
    json_decref(row);
    assert_int_equal(jsonl_next(&lines, &row, &e), 0);
    jsonl_close(&lines);
    /* without --out; tokens that are no pieces go by their names */
    const char *with = model_with("chatml", "{\"<|im_start|>\": 476, \"<|im_end|>\": 477}");
    if (call(command_tokenize, &e, "--chat", "--template=chatml_direct", "--model", with, "--data", data, NULL)) fail_with(&e);
    file_says("stdout", "chat template chatml_direct (as set)");
    file_says("stdout", "477 *  <|im_end|>\n");
    assert_int_equal(call(command_tokenize, &e, "--model", model, "--data", data, NULL), 2);
    error_says(&e, "--out is missing");
    assert_int_equal(call(command_tokenize, &e, "--chat", "--template=vicuna", "--model", model, "--data", data, NULL), -1);
    error_says(&e, "unknown chat template");
    write_text("rows.jsonl", "{\"question\": \"the\"}\n{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}\n");
    remove(out);
    assert_int_equal(call(command_tokenize, &e, "--chat", "--model", model, "--data", data, "--out", out, NULL), -1);
    error_says(&e, "rows.jsonl:2: message 1; found assistant; expected user");
    assert_false(file_exists(out));
    assert_int_equal(call(command_inspect, &e, model, NULL), 0);
    file_says("stdout", "chat template vicuna_v1 (config.json: model_type llava)");
}

/* The loss of a row with two rounds is that of its two answers, each after all that stands before it. */
static void rounds_are_trained(void **state) {
    (void)state;
    Vlm v;
    Error e = { 0 };
    char image[PATH_SIZE], config[2 * PATH_SIZE], rows[3 * PATH_SIZE], here[PATH_SIZE];
    const ChatTurn turns[] = { { CHAT_USER, "Is it red?" }, { CHAT_ASSISTANT, "Yes, it is." }, { CHAT_USER, "the end" },
        { CHAT_ASSISTANT, "the red one" } };
    assert_non_null(getcwd(here, sizeof here));
    golden_open(&v, CASE, FP32);
    snprintf(image, sizeof image, "%.2000s/%s", here, golden_path(CASE, "images/0.png"));
    Prompt prompts[2];
    IdList answers[2] = { 0 };
    ScoreItem items[2];
    AnswerScore *scores;
    for (int i = 0; i < 2; i++) {
        if (vlm_dialogue(&v, turns, 2 * (size_t)i + 1, &(ImageRef){ .path = image }, &prompts[i], &e) ||
            template_answer(v.chat, turns[2 * i + 1].text, 1, &answers[i], &e))
            fail_with(&e);
        items[i] = (ScoreItem){ &prompts[i], &answers[i], 1 };
    }
    assert_true(prompts[1].tail.count > prompts[0].tail.count + answers[0].count);
    if (score_answers(&v, items, 2, 0, &scores, NULL, NULL, &e)) fail_with(&e);
    double loss = -(scores[0].sum + scores[1].sum) / (double)(answers[0].count + answers[1].count);
    scores_free(scores, 2);
    for (int i = 0; i < 2; i++) prompt_free(&prompts[i]), idlist_free(&answers[i]);
    vlm_close(&v);
    snprintf(rows, sizeof rows,
        "{\"image\": \"%.4000s\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\n%s\"}, {\"from\": \"gpt\", \"value\": "
        "\"%s\"}, {\"from\": \"human\", \"value\": "
        "\"%s\"}, {\"from\": \"gpt\", \"value\": \"%s\"}]}\n"
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"no answer\"}]}\n"
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nno image\"}, {\"from\": \"gpt\", \"value\": \"a\"}]}\n"
        "{\"image\": \"%.4000s\", \"messages\": [{\"role\": \"system\", \"content\": \"own\"}, {\"role\": \"user\", \"content\": \"q\"}, "
        "{\"role\": \"assistant\", \"content\": \"a\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}, {\"role\": "
        "\"assistant\", \"content\": \"b\"}]}\n",
        image, turns[0].text, turns[1].text, turns[2].text, turns[3].text, image);
    write_text("rounds.jsonl", rows);
    snprintf(config, sizeof config,
        "[run]\ndir = run\nquiet = true\n[model]\ndir = %.2000s/tests/golden/%s/model\n[data]\ntrain = rounds.jsonl\n[train]\nsteps = "
        "1\nlr = 0\n[sft]\nbatch_images = 1\n",
        here, CASE);
    write_text("sft.ini", config);
    if (call(command_sft, &e, at(folder, "sft.ini"), NULL)) fail_with(&e);
    JsonLines lines;
    json_t *row;
    assert_int_equal(jsonl_open(&lines, at(folder, "run/metrics.jsonl"), &e), 0);
    assert_int_equal(jsonl_next(&lines, &row, &e), 1);
    double got = json_number_value(json_object_get(row, "loss"));
    if (fabs(got - loss) > 1e-5) fail_msg("loss %.9g, expected %.9g", got, loss);
    json_decref(row);
    jsonl_close(&lines);
    /* the others were dropped, each for its reason */
    snprintf(config, sizeof config,
        "[run]\ndir = run2\n[model]\ndir = %.2000s/tests/golden/%s/model\n[data]\ntrain = rounds.jsonl\n[train]\nsteps = 1\nlr = "
        "0\n[sft]\nbatch_images = 1\n",
        here, CASE);
    write_text("sft.ini", config);
    if (call(command_sft, &e, at(folder, "sft.ini"), NULL)) fail_with(&e);
    static const char *const reasons[] = { "5 rows, 1 used, 4 dropped", "a conversation without an answer",
        "an image that its row does not name", "a system text of its own", "out of order", "chat template vicuna_v1 (" };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) file_says("stderr", reasons[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_conversations),
        cmocka_unit_test(rows_that_are_none),
        cmocka_unit_test(the_model_gets_its_own_template),
        cmocka_unit_test(answers_as_in_conversations),
        cmocka_unit_test(templates_a_model_cannot_take),
        cmocka_unit_test(stops_end_answers),
        cmocka_unit_test(dialogues_are_prompts),
        cmocka_unit_test(the_config_takes_names_and_paths),
        cmocka_unit_test(conversations_are_shown),
        cmocka_unit_test(rounds_are_trained),
    };
    return cmocka_run_group_tests_name("chat", tests, setup, teardown);
}

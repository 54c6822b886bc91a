/* template_test.c - chat templates: each one's wording as text, prompts and answers as ids against the golden cases, the marks of words,
 * what of a conversation is trained, and every refusal of a template and of a conversation. */
#include "tests/tokenizer/golden.h"

#include "tests/check.h"
#include "tokenizer/template.h"

static char folder[PATH_SIZE]; /* the golden tokenizer with the tokens of all templates added */
enum { FIRST_ADDED = 476 };
static const char *const added[] = { "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<im_start>",
    "<im_end>" };
enum { ADDED = sizeof added / sizeof *added };

static void write_text(const char *name, const char *text) { put(at(folder, name), text, strlen(text)); }

static int setup(void **state) {
    (void)state;
    scratch_make(folder);
    char json[500] = "{";
    for (int i = 0; i < ADDED; i++)
        snprintf(json + strlen(json), sizeof json - strlen(json), "%s\"%s\": %d", i ? ", " : "", added[i], FIRST_ADDED + i);
    strcat(json, "}");
    write_text("added_tokens.json", json);
    return file_copy("tests/golden/llava15-hub/model/tokenizer.model", at(folder, "tokenizer.model"), NULL);
}

static int teardown(void **state) {
    (void)state;
    scratch_drop(folder);
    return 0;
}

static Tokenizer *tokenizer_here(void) {
    Error e = { 0 };
    Tokenizer *t = tokenizer_load(folder, &e);
    must(t != NULL, &e);
    return t;
}

static ChatTemplate *opened(const char *setting, const Tokenizer *t) {
    Error e = { 0 };
    ChatTemplate *c = template_open(setting, t, folder, &e);
    must(c != NULL, &e);
    return c;
}

static void free_lists(IdList *a, IdList *b) { idlist_free(a), idlist_free(b); }

/* ---- the golden cases ---- */

/* expected = head, some image ids, tail. */
static void check_prompt(const ChatTemplate *c, const Tokenizer *t, const char *question, const json_t *expected, const char *where) {
    Error e = { 0 };
    IdList head = { 0 }, tail = { 0 }, all = { 0 };
    must(!template_prompt(c, question, 1, &head, &tail, &e), &e);
    const int image = tokenizer_added(t, "<image>");
    int images = 0;
    for (size_t i = 0; i < json_array_size(expected); i++) images += json_integer_value(json_array_get(expected, i)) == image;
    assert_true(images == 9 || images == 16);
    must(!idlist_append(&all, head.ids, head.count, &e), &e);
    for (int i = 0; i < images; i++) must(!idlist_append(&all, &image, 1, &e), &e);
    must(!idlist_append(&all, tail.ids, tail.count, &e), &e);
    ids_equal(all.ids, all.count, expected, where);
    assert_int_equal(head.ids[0], tokenizer_bos(t));
    idlist_free(&all), free_lists(&head, &tail);
}

static void golden_prompts_and_answers(void **state) {
    (void)state;
    for (int i = 0; i < GOLDEN_CASES; i++) {
        char model[PATH_SIZE];
        Error e = { 0 };
        snprintf(model, sizeof model, "tests/golden/%s/model", golden_cases[i]);
        Tokenizer *t = golden_tokenizer(golden_cases[i]);
        ChatTemplate *c = template_open(i ? "vicuna_v1" : NULL, t, model, &e); /* the first by itself */
        must(c != NULL, &e);
        assert_string_equal(template_name(c), "vicuna_v1");
        JsonLines pairs, scores;
        golden_open(&pairs, golden_cases[i], "pairs.jsonl");
        golden_open(&scores, golden_cases[i], "expect/score.jsonl");
        int count = 0;
        for (json_t *pair, *score; (pair = golden_next(&pairs)); json_decref(pair), json_decref(score), count++) {
            assert_non_null(score = golden_next(&scores));
            static const char *const sides[] = { "chosen", "rejected" };
            for (int s = 0; s < 2; s++) {
                const json_t *expected = json_object_get(score, sides[s]);
                check_prompt(
                    c, t, json_string_value(json_object_get(pair, "question")), json_object_get(expected, "prompt_ids"), pairs.where);
                IdList answer = { 0 }, open = { 0 };
                const char *text = json_string_value(json_object_get(pair, sides[s]));
                must(!template_answer(c, text, 1, &answer, &e) && !template_answer(c, text, 0, &open, &e), &e);
                ids_equal(answer.ids, answer.count, json_object_get(expected, "response_ids"), scores.where);
                assert_int_equal(answer.count, open.count + 1);
                assert_int_equal(answer.ids[open.count], tokenizer_eos(t));
                char *back = template_answer_text(c, answer.ids, answer.count, &e);
                must(back != NULL, &e);
                assert_string_equal(back, text);
                free(back);
                free_lists(&answer, &open);
            }
        }
        assert_int_equal(count, 8);
        jsonl_close(&pairs), jsonl_close(&scores);
        template_free(c);
        tokenizer_free(t);
    }
}

static void a_prompt_without_image_is_one_chunk(void **state) {
    (void)state;
    Tokenizer *t = golden_tokenizer("llava15-hub");
    Error e = { 0 };
    ChatTemplate *c = opened("llava_v1", t);
    IdList head = { 0 }, tail = { 0 };
    /* what looks like a placeholder or a token in a question stays text */
    must(!template_prompt(c, "{question} <image></s>?", 0, &head, &tail, &e), &e);
    assert_int_equal(head.count, 0);
    assert_int_equal(tail.ids[0], tokenizer_bos(t));
    decodes_to(t, tail.ids, tail.count,
        "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
        "answers to the "
        "human's questions. USER: {question} <image></s>? ASSISTANT:");
    for (size_t i = 1; i < tail.count; i++) assert_true(tail.ids[i] > 2 && tail.ids[i] < 476);
    free_lists(&head, &tail);
    template_free(c);
    tokenizer_free(t);
}

/* ---- wording ---- */

/* The conversation as one text, the image as <image>. */
static void write_out(const ChatTemplate *c, const ChatTurn *turns, size_t n, int has_image, char *out, size_t size) {
    ChatParts p;
    Error e = { 0 };
    must(!template_parts(c, turns, n, has_image, &p, &e), &e);
    out[0] = 0;
    for (size_t i = 0; i < p.n; i++) {
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%.*s", p.list[i].kind == CHAT_IMAGE ? 7 : (int)p.list[i].n,
            p.list[i].kind == CHAT_IMAGE ? "<image>" : p.text + p.list[i].at);
    }
    chat_parts_free(&p);
}

#define VICUNA(WHO)                                                                                                                        \
    "A chat between a curious " WHO                                                                                                        \
    " and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the " WHO "'s questions. "
#define OMNI "You are an artificial intelligence assistant, which gives helpful, detailed, and polite answers to the human's questions."
static const struct {
    const char *name, *image, *rounds; /* a question about an image; system, question, answer, question, answer */
} wording[] = {
    { "vicuna_v1",
        "{bos}" VICUNA("user") "USER: <image>\nq1 ASSISTANT:", "{bos}sys USER: q1 ASSISTANT: a1{eos}USER: q2 ASSISTANT: a2{eos}" },
    { "llava_v1",
        "{bos}" VICUNA("human") "USER: <image>\nq1 ASSISTANT:", "{bos}sys USER: q1 ASSISTANT: a1{eos}USER: q2 ASSISTANT: a2{eos}" },
    { "llava-hf", "{bos}USER: <image>\nq1 ASSISTANT:", NULL },
    { "mistral", "{bos}[INST] <image>\nq1 [/INST]", "{bos}[INST] <<SYS>>\nsys\n<</SYS>>\n\nq1 [/INST] a1{eos}[INST] q2 [/INST] a2{eos}" },
    { "llama-2", "{bos}[INST] <image>\nq1 [/INST]",
        "{bos}[INST] <<SYS>>\nsys\n<</SYS>>\n\nq1 [/INST] a1 {eos}{bos}[INST] q2 [/INST] a2 {eos}" },
    { "llama-3", "{bos}<|start_header_id|>user<|end_header_id|>\n\n<image>\nq1<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "{bos}<|start_header_id|>system<|end_header_id|>\n\nsys<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nq1<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\na1<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nq2<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\na2<|eot_id|>" },
#define CHATML_ROUNDS(N)                                                                                                                   \
    "<|im_start|>system\nsys<|im_end|>" N "<|im_start|>user\nq1<|im_end|>" N "<|im_start|>assistant\na1<|im_end|>" N                       \
    "<|im_start|>user\nq2<|im_end|>" N "<|im_start|>assistant\na2<|im_end|>"
    { "chatml", "<|im_start|>user\n<image>\nq1<|im_end|>\n<|im_start|>assistant\n", CHATML_ROUNDS("\n") },
    { "qwen2",
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\nq1<|im_end|>\n<|im_start|>assistant\n",
        CHATML_ROUNDS("\n") },
    { "qwen2.5",
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
        "assistant.<|im_end|>\n<|im_start|>user\n<image>\nq1<|im_end|>\n"
        "<|im_start|>assistant\n",
        CHATML_ROUNDS("\n") },
    { "chatml_direct", "<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n<image>\nq1<|im_end|><|im_start|>assistant\n",
        CHATML_ROUNDS("") },
    { "zephyr", "{bos}<|user|>\n<image>\nq1{eos}\n<|assistant|>\n",
        "{bos}<|system|>\nsys{eos}\n<|user|>\nq1{eos}\n<|assistant|>\na1{eos}\n<|user|>\nq2{eos}\n<|assistant|>\na2{eos}" },
    { "omnilmm", "{bos}<|system|>\n" OMNI "{eos}\n<|user|>\n<im_start><image><im_end>\nq1{eos}\n<|assistant|>\n",
        "{bos}<|system|>\nsys{eos}\n<|user|>\nq1{eos}\n<|assistant|>\na1{eos}\n<|user|>\nq2{eos}\n<|assistant|>\na2{eos}" },
    { "plain", "{bos}<image>\nq1", NULL },
};
enum { WORDING = sizeof wording / sizeof *wording };

static void every_template_is_worded_so(void **state) {
    (void)state;
    static const ChatTurn turns[] = { { CHAT_SYSTEM, "sys" }, { CHAT_USER, "q1" }, { CHAT_ASSISTANT, "a1" }, { CHAT_USER, "q2" },
        { CHAT_ASSISTANT, "a2" } };
    char text[2000], names[500] = "", all[500];
    for (int i = 0; i < WORDING; i++) {
        Error e = { 0 };
        ChatTemplate *c = template_load(wording[i].name, &e);
        must(c != NULL, &e);
        write_out(c, turns + 1, 1, 1, text, sizeof text);
        assert_string_equal(text, wording[i].image);
        if (wording[i].rounds) {
            write_out(c, turns, 5, 0, text, sizeof text);
            assert_string_equal(text, wording[i].rounds);
        }
        assert_non_null(strstr(template_names(all, sizeof all), wording[i].name));
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s, ", wording[i].name);
        template_free(c);
    }
    assert_int_equal(strlen(names), strlen(template_names(all, sizeof all)) + 2); /* none is left out here */
}

/* tests/golden/chat/make_chat.py: the same conversations by Transformers, from the Jinja templates that checkpoints carry. */
static void transformers_writes_the_same(void **state) {
    (void)state;
    JsonLines rows;
    Error e = { 0 };
    int count = 0;
    must(!jsonl_open(&rows, "tests/golden/chat/vectors.jsonl", &e), &e);
    for (json_t *row; (row = golden_next(&rows)); json_decref(row), count++) {
        const json_t *messages = json_object_get(row, "messages");
        ChatTurn turns[8];
        size_t n = json_array_size(messages);
        assert_true(n && n <= 8);
        for (size_t i = 0; i < n; i++) {
            const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
            turns[i].role = !strcmp(role, "system") ? CHAT_SYSTEM : !strcmp(role, "user") ? CHAT_USER : CHAT_ASSISTANT;
            turns[i].text = json_string_value(json_object_get(json_array_get(messages, i), "content"));
        }
        char text[4000];
        ChatTemplate *c = template_load(json_string_value(json_object_get(row, "template")), &e);
        must(c != NULL, &e);
        write_out(c, turns, n, 0, text, sizeof text);
        if (strcmp(text, json_string_value(json_object_get(row, "text"))))
            fail_msg("%s: \"%s\", expected \"%s\"", rows.where, text, json_string_value(json_object_get(row, "text")));
        template_free(c);
    }
    assert_true(count >= 20);
    jsonl_close(&rows);
}

/* ---- ids ---- */

static int added_id(const char *name) {
    for (int i = 0; i < ADDED; i++)
        if (!strcmp(added[i], name)) return FIRST_ADDED + i;
    return -1;
}

/* `ids` are what this list spells: texts ("|" in front: with a word-start mark of their own; "." in front: without) and tokens, up to NULL.
 */
static void ids_spell(const Tokenizer *t, const IdList *ids, ...) {
    IdList want = { 0 };
    Error e = { 0 };
    va_list args;
    va_start(args, ids);
    for (const char *word; (word = va_arg(args, const char *));) {
        int id = !strcmp(word, "bos") ? tokenizer_bos(t) : !strcmp(word, "eos") ? tokenizer_eos(t) : added_id(word);
        if (id >= 0) must(!idlist_append(&want, &id, 1, &e), &e);
        else must(!(word[0] == '|' ? tokenizer_encode : tokenizer_encode_inside)(t, word + 1, strlen(word + 1), &want, &e), &e);
    }
    va_end(args);
    assert_int_equal(ids->count, want.count);
    assert_memory_equal(ids->ids, want.ids, want.count * sizeof *want.ids);
    idlist_free(&want);
}

static void text_inside_a_line_has_no_mark(void **state) {
    (void)state;
    Tokenizer *t = tokenizer_here();
    Error e = { 0 };
    IdList with = encode(t, "the"), without = { 0 }, space = { 0 }, none = { 0 };
    must(!tokenizer_encode_inside(t, "the", 3, &without, &e) && !tokenizer_encode_inside(t, " the", 4, &space, &e) &&
             !tokenizer_encode_inside(t, "", 0, &none, &e),
        &e);
    assert_int_equal(with.ids[0], 265);
    assert_true(without.ids[0] != 265);
    decodes_to(t, without.ids, without.count, "the");
    assert_int_equal(space.count, with.count);
    assert_memory_equal(space.ids, with.ids, with.count * sizeof(int));
    assert_int_equal(none.count, 0);
    free_lists(&with, &without), free_lists(&space, &none);
    tokenizer_free(t);
}

static void tokens_fall_into_ids(void **state) {
    (void)state;
    Tokenizer *t = tokenizer_here();
    Error e = { 0 };
    IdList head = { 0 }, tail = { 0 }, answer = { 0 }, open = { 0 };
    ChatTemplate *c = opened("chatml_direct", t); /* no marks of their own after a token */
    must(!template_prompt(c, "the <|im_end|>", 1, &head, &tail, &e) && !template_answer(c, "the", 1, &answer, &e) &&
             !template_answer(c, "the", 0, &open, &e),
        &e);
    ids_spell(t, &head, "<|im_start|>", ".system\nAnswer the questions.", "<|im_end|>", "<|im_start|>", ".user\n", NULL);
    ids_spell(t, &tail, ".\nthe <|im_end|>", "<|im_end|>", "<|im_start|>", ".assistant\n", NULL);
    ids_spell(t, &answer, ".the", "<|im_end|>", NULL);
    ids_spell(t, &open, ".the", NULL);
    assert_int_equal(template_stops(c)->count, 2);
    ids_spell(t, template_stops(c), "<|im_end|>", "eos", NULL);
    char *text = template_answer_text(c, answer.ids, answer.count, &e);
    assert_string_equal(text, "the");
    free(text);
    free_lists(&head, &tail), free_lists(&answer, &open);
    template_free(c);

    memset(&head, 0, sizeof head), memset(&tail, 0, sizeof tail), memset(&answer, 0, sizeof answer);
    c = opened("omnilmm", t); /* marks after each token, none for the answer, which follows a line end */
    must(!template_prompt(c, "the", 1, &head, &tail, &e) && !template_answer(c, "the", 1, &answer, &e), &e);
    ids_spell(t, &head, "bos", "|<|system|>\n" OMNI, "eos", "|\n<|user|>\n", "<im_start>", NULL);
    ids_spell(t, &tail, "<im_end>", "|\nthe", "eos", "|\n<|assistant|>\n", NULL);
    ids_spell(t, &answer, ".the", "eos", NULL);
    free_lists(&head, &tail), idlist_free(&answer);
    template_free(c);
    tokenizer_free(t);
}

static void an_answer_with_text_around_it(void **state) {
    (void)state;
    Tokenizer *t = tokenizer_here();
    Error e = { 0 };
    IdList answer = { 0 }, open = { 0 };
    ChatTemplate *c = opened("llama-2", t);
    must(!template_answer(c, "the", 1, &answer, &e) && !template_answer(c, "the", 0, &open, &e), &e);
    ids_spell(t, &answer, "|the ", "eos", NULL);
    ids_spell(t, &open, "|the", NULL);
    char *text = template_answer_text(c, answer.ids, answer.count, &e); /* the space before eos is the template's */
    assert_string_equal(text, "the");
    free(text);
    text = template_answer_text(c, answer.ids, answer.count - 1, &e); /* cut off by a limit: all of it */
    assert_string_equal(text, "the ");
    free(text);
    free_lists(&answer, &open);
    template_free(c);
    tokenizer_free(t);
}

static void answers_and_their_ends_are_trained(void **state) {
    (void)state;
    Tokenizer *t = tokenizer_here();
    Error e = { 0 };
    static const ChatTurn turns[] = { { CHAT_USER, "red" }, { CHAT_ASSISTANT, "the" }, { CHAT_USER, "is" }, { CHAT_ASSISTANT, "" } };
    ChatTemplate *c = opened("qwen2", t);
    ChatParts p;
    IdList trained = { 0 }, rest = { 0 }, head = { 0 }, tail = { 0 };
    must(!template_parts(c, turns, 4, 0, &p, &e), &e);
    for (size_t i = 0; i < p.n; i++) must(!template_part_ids(c, &p, &p.list[i], p.list[i].trained ? &trained : &rest, &e), &e);
    ids_spell(t, &trained, ".the", "<|im_end|>", "<|im_end|>", NULL);
    ids_spell(t, &rest, "<|im_start|>", ".system\nYou are a helpful assistant.", "<|im_end|>", ".\n", "<|im_start|>", ".user\nred",
        "<|im_end|>", ".\n", "<|im_start|>", ".assistant\n", ".\n", "<|im_start|>", ".user\nis", "<|im_end|>", ".\n", "<|im_start|>",
        ".assistant\n", NULL);
    must(!template_dialogue(c, turns, 3, 1, &head, &tail, &e), &e); /* up to the second question: the image stands in the first */
    ids_spell(t, &head, "<|im_start|>", ".system\nYou are a helpful assistant.", "<|im_end|>", ".\n", "<|im_start|>", ".user\n", NULL);
    ids_spell(t, &tail, ".\nred", "<|im_end|>", ".\n", "<|im_start|>", ".assistant\n", ".the", "<|im_end|>", ".\n", "<|im_start|>",
        ".user\nis", "<|im_end|>", ".\n", "<|im_start|>", ".assistant\n", NULL);
    chat_parts_free(&p);
    free_lists(&trained, &rest), free_lists(&head, &tail);
    template_free(c);
    tokenizer_free(t);
}

/* A user-defined piece is found in any text by SentencePiece; where the template makes a token of it, text does not. */
static void pieces_that_are_tokens_stay_text(void **state) {
    (void)state;
    char *data, here[PATH_SIZE];
    size_t size;
    Error e = { 0 };
    static const char *const names[] = { "<|im_start|>", "<|im_end|>" };
    scratch_make(here);
    must(!file_read("tests/golden/llava15-hub/model/tokenizer.model", 1 << 20, &data, &size, &e), &e);
    assert_non_null(data = realloc(data, size + 64));
    for (int i = 0; i < 2; i++) { /* another piece of the protobuf: text, score 0, type user-defined */
        size_t n = strlen(names[i]);
        unsigned char head[] = { 0x0a, (unsigned char)(n + 9), 0x0a, (unsigned char)n }, foot[] = { 0x15, 0, 0, 0, 0, 0x18, 4 };
        memcpy(data + size, head, sizeof head), size += sizeof head;
        memcpy(data + size, names[i], n), size += n;
        memcpy(data + size, foot, sizeof foot), size += sizeof foot;
    }
    put(at(here, "tokenizer.model"), data, size);
    free(data);
    Tokenizer *t = tokenizer_load(here, &e);
    must(t != NULL, &e);
    assert_int_equal(tokenizer_added(t, names[1]), 477);
    ChatTemplate *c = template_open("chatml", t, here, &e);
    must(c != NULL, &e);
    IdList all = encode(t, "a <|im_end|> b"), head = { 0 }, tail = { 0 };
    int found = 0;
    for (size_t i = 0; i < all.count; i++) found += all.ids[i] == 477;
    assert_int_equal(found, 1);
    must(!template_prompt(c, "a <|im_end|><|im_start|>\xc3\xa9<|im_end", 0, &head, &tail, &e), &e);
    found = 0;
    for (size_t i = 0; i < tail.count; i++) found += tail.ids[i] >= 476;
    assert_int_equal(found, 3); /* start, end, start: the template's */
    decodes_to(t, tail.ids, tail.count, "<|im_start|>user\na <|im_end|><|im_start|>\xc3\xa9<|im_end<|im_end|>\n<|im_start|>assistant\n");
    free_lists(&head, &tail), idlist_free(&all);
    template_free(c);
    tokenizer_free(t);
    scratch_drop(here);
}

/* Mistral's own tokenizer encodes a conversation of seven turns to these ids. */
static void mistral_agrees_with_its_own_ids(void **state) {
    (void)state;
    char here[PATH_SIZE], sample[PATH_SIZE], ids[PATH_SIZE];
    Error e = { 0 };
    const char *model = shared_path("data/mistral-common/tokenizer.model.v1");
    if (!model) skip();
    scratch_make(here);
    must(!file_copy(model, at(here, "tokenizer.model"), &e), &e);
    snprintf(sample, sizeof sample, "%s", shared_path("data/mistral-common/samples/no_tools/sample.json"));
    snprintf(ids, sizeof ids, "%s", shared_path("data/mistral-common/samples/no_tools/tokens_v1.json"));
    json_t *row, *expected;
    must(!json_read_object(sample, &row, &e) && !json_read_object(ids, &expected, &e), &e);
    Tokenizer *t = tokenizer_load(here, &e);
    must(t != NULL, &e);
    ChatTemplate *c = template_open("mistral", t, here, &e);
    must(c != NULL, &e);
    ChatTurn turns[8];
    const json_t *messages = json_object_get(row, "messages");
    size_t n = json_array_size(messages);
    assert_true(n == 7);
    for (size_t i = 0; i < n; i++)
        turns[i] =
            (ChatTurn){ i % 2 ? CHAT_ASSISTANT : CHAT_USER, json_string_value(json_object_get(json_array_get(messages, i), "content")) };
    IdList head = { 0 }, tail = { 0 };
    must(!template_dialogue(c, turns, n, 0, &head, &tail, &e), &e);
    ids_equal(tail.ids, tail.count, json_object_get(expected, "tokens"), "tokens_v1.json");
    free_lists(&head, &tail);
    template_free(c);
    tokenizer_free(t);
    json_decref(row), json_decref(expected);
    scratch_drop(here);
}

/* ---- files ---- */

static const char good[] = "# mine\n"
                           "tokens = <|im_start|>   # a comment\n"
                           "stops  = <|eot_id|> </s>\n"
                           "first  = \"<|im_start|>\\{q\\}: \\\"{question}\\\" \"   # one string\n"
                           "         \"{bos?}\\t\\\\\"\n"
                           "answer = \"{answer}\"\r\n";

static void a_file_of_ones_own(void **state) {
    (void)state;
    Tokenizer *t = tokenizer_here();
    Error e = { 0 };
    char text[200], hash[HASH_TEXT], other[HASH_TEXT];
    write_text("mine.chat", good);
    ChatTemplate *c = opened(at(folder, "mine.chat"), t);
    write_out(c, &(ChatTurn){ CHAT_USER, "Q" }, 1, 0, text, sizeof text);
    assert_string_equal(text, "<|im_start|>{q}: \"Q\" {bos}\t\\");
    assert_int_equal(template_is_path(template_name(c)), 1);
    assert_string_equal(template_why(c), "as set");
    ids_spell(t, template_stops(c), "<|eot_id|>", "eos", NULL); /* </s> is eos */
    IdList closed = { 0 };
    must(!template_answer(c, "the", 1, &closed, &e), &e); /* this template ends no answer */
    ids_spell(t, &closed, ".the", NULL);
    idlist_free(&closed);
    must(!template_setting_hash(at(folder, "mine.chat"), hash, &e) && !template_setting_check(at(folder, "mine.chat"), &e), &e);
    assert_string_equal(hash, template_hash(c));
    template_free(c);
    static const char *const settings[] = { "vicuna_v1", "llava_v1", "auto" };
    for (int i = 0; i < 3; i++) {
        must(!template_setting_hash(settings[i], other, &e) && !template_setting_check(settings[i], &e), &e);
        assert_string_not_equal(hash, other);
        memcpy(hash, other, sizeof hash);
    }
    must(!template_setting_hash("", other, &e), &e);
    assert_string_equal(hash, other);
    write_text("mine.chat", "first=\"{question}\"\nanswer=\"{answer}\""); /* other content, other hash; no blanks, no last line end */
    must(!template_setting_hash(at(folder, "mine.chat"), other, &e), &e);
    assert_string_not_equal(hash, other);
    template_free(opened(at(folder, "mine.chat"), t));
    tokenizer_free(t);
}

#define REST "\nfirst = \"{question}\"\nanswer = \"{answer}\"\n"
static const struct {
    const char *text, *says, *says_too;
    int line;
} bad_files[] = {
    { "", "lacks a form", "first = ", 0 },
    { "first = \"{question}\"\n", "lacks a form", "answer = ", 0 },
    { "nonsense" REST, "bad line", "nonsense", 1 },
    { "\n\nfrist = \"{question}\"\nanswer = \"{answer}\"\n", "unknown key", "did you mean first?", 3 },
    { "zzzzzzzzzz = 1" REST, "unknown key", "system_form", 1 },
    { "first = \"{question}\"\nfirst = \"{question}\"\n", "given twice", "line 1 gives it too", 2 },
    { "next = {question}" REST, "a form is a string", "next = \"...\"", 1 },
    { "next = \"{question}" REST, "has no end", "the next line may hold another", 1 },
    { "next = \"{question}\\\"" REST, "has no end", NULL, 1 },
    { "next = \"{question}\" x" REST, "text after a string", "\\\"", 1 },
    { "# no key\n\"{question}\"" REST, "without a key", NULL, 2 },
    { "marks = no\n\"{question}\"" REST, "without a key", NULL, 2 },
    { "marks = maybe" REST, "bad value of marks", "yes or no", 1 },
    { "next = \"\\q{question}\"" REST, "unknown escape", "\\q in next", 1 },
    { "next = \"{questoin}\"" REST, "unknown slot", "{questoin} in next", 1 },
    { "next = \"{question\"" REST, "unknown slot", "\\{", 1 },
    { "next = \"{}{question}\"" REST, "unknown slot", "{} in next", 1 },
    { "next = \"{question}{answer}\"" REST, "no place in this form", "{answer} in next", 1 },
    { "next = \"{image}{question}\"" REST, "no place in this form", "{image} in next", 1 },
    { "system_form = \"{system}\"\nsystem = \"{system}\"" REST, "no place in this form", "{system} in system", 2 },
    { "next = \"x\"" REST, "lacks its slot", "{question} in next 0 times", 1 },
    { "next = \"{question}{question}\"" REST, "more than once", "{question} in next 2 times", 1 },
    { "image = \"<image>\"\nfirst = \"{image}{question}\"\nanswer = \"{answer}\"", "lacks its slot", "{features}", 1 },
    { "first = \"{question}\"\nanswer = \"yes\"", "lacks its slot", "{answer}", 2 },
    { "image = \"{features}\"\nfirst = \"{question}{image}\"\nanswer = \"{answer}\"", "image stands after the question",
        "the same for all questions", 2 },
    { "first = \"{image}{question}\"\nanswer = \"{answer}\"", "go together", "{image} in first, but no image", 1 },
    { "image = \"{features}\"" REST, "go together", "no {image} in first for image", 1 },
    { "first = \"{system}{question}\"\nanswer = \"{answer}\"", "go together", "{system} in first, but no system_form", 1 },
    { "system_form = \"{system}\"" REST, "go together", "no {system} in first", 1 },
    { "system = \"hello\"" REST, "without system_form", NULL, 1 },
    { "tokens = <a> <a>" REST, "named twice", "<a>", 1 },
    { "tokens = <a>" REST, "no form uses", "<a>", 1 },
    { "tokens = <a>\nsystem = \"x<a>\"\nsystem_form = \"<a>{system}\"\nfirst = \"{system}{question}\"\nanswer = \"{answer}\"",
        "token in the system text", "<a>", 2 },
};

static void bad_files_are_refused(void **state) {
    (void)state;
    char where[PATH_SIZE + 16];
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        Error e = { 0 };
        write_text("bad.chat", bad_files[i].text);
        if (template_load(at(folder, "bad.chat"), &e)) fail_msg("taken: \"%s\"", bad_files[i].text);
        error_says(&e, bad_files[i].says);
        if (bad_files[i].says_too) error_says(&e, bad_files[i].says_too);
        snprintf(where, sizeof where, bad_files[i].line ? "%s:%d" : "%s", at(folder, "bad.chat"), bad_files[i].line);
        assert_string_equal(e.where, where);
    }
    Error e = { 0 };
    put(at(folder, "bad.chat"), "first\0", 6);
    assert_null(template_load(at(folder, "bad.chat"), &e));
    error_says(&e, "NUL byte");
    char *big = malloc(70000);
    assert_non_null(big);
    memset(big, '#', 70000);
    put(at(folder, "bad.chat"), big, 70000);
    assert_null(template_load(at(folder, "bad.chat"), &e));
    assert_int_equal(template_setting_hash(at(folder, "bad.chat"), big, &e), -1);
    char *p = big + sprintf(big, "tokens =");
    for (int i = 0; i < 65; i++) p += sprintf(p, " <%d>", i);
    strcpy(p, REST);
    write_text("bad.chat", big);
    assert_null(template_load(at(folder, "bad.chat"), &e));
    error_says(&e, "too many tokens");
    free(big);
    assert_null(template_load(at(folder, "absent.chat"), &e));
    error_says(&e, "absent.chat");
    assert_int_equal(template_setting_check(at(folder, "absent.chat"), &e), -1);
    assert_int_equal(template_setting_hash(at(folder, "absent.chat"), (char[HASH_TEXT]){ 0 }, &e), -1);
}

static void an_unknown_template_is_refused(void **state) {
    (void)state;
    Error e = { 0 };
    assert_null(template_load("vicuna_v2", &e));
    assert_string_equal(e.what, "unknown chat template");
    assert_string_equal(e.found, "\"vicuna_v2\"");
    assert_string_equal(e.hint, "did you mean vicuna_v1?");
    error_says(&e, "omnilmm, plain, qwen2");
    assert_null(template_load("my-own-template-of-this-name.chat", &e));
    error_says(&e, "a path has a '/' in it: ./my-own");
    assert_int_equal(template_setting_check("vicuna_v2", &e), -1);
    assert_int_equal(template_setting_hash("vicuna_v2", (char[HASH_TEXT]){ 0 }, &e), -1);
}

static void a_token_the_tokenizer_lacks(void **state) {
    (void)state;
    Tokenizer *t = golden_tokenizer("llava15-hub");
    Error e = { 0 };
    assert_null(template_open("llama-3", t, "some/folder", &e));
    error_says(&e,
        "lacks a token of the chat template: some/folder; found no \"<|start_header_id|>\"; expected the tokens of chat template llama-3");
    write_text("stop.chat", "stops = <|gone|>" REST);
    assert_null(template_open(at(folder, "stop.chat"), t, folder, &e));
    error_says(&e, "<|gone|>");
    tokenizer_free(t);
}

static void conversations_that_do_not_fit(void **state) {
    (void)state;
    Tokenizer *t = tokenizer_here();
    static const ChatTurn turns[] = { { CHAT_SYSTEM, "s" }, { CHAT_USER, "q" }, { CHAT_ASSISTANT, "a" }, { CHAT_USER, "q" } },
                          wrong[] = { { CHAT_USER, "q" }, { CHAT_USER, "q" } }, late[] = { { CHAT_USER, "q" }, { CHAT_SYSTEM, "s" } };
    write_text("text.chat", "first = \"{question}\"\nanswer = \"{answer}\"\n");
    const struct {
        const char *name;
        const ChatTurn *turns;
        size_t n;
        int has_image;
        const char *says;
    } cases[] = {
        { "vicuna_v1", turns, 0, 0, "without a question" },
        { "vicuna_v1", turns, 1, 0, "without a question" },
        { "vicuna_v1", wrong, 2, 0, "out of order: message 2; found user; expected assistant" },
        { "vicuna_v1", turns + 2, 1, 0, "out of order: message 1; found assistant; expected user" },
        { "vicuna_v1", late, 2, 0, "out of order: message 2; found system" },
        { "llava-hf", turns, 2, 0, "no place for a system text: message 1" },
        { "plain", turns + 1, 3, 0, "no form for a second question: message 3; expected a conversation for chat template plain" },
        { at(folder, "text.chat"), turns + 1, 1, 1, "no place for an image" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = { 0 };
        ChatParts p;
        ChatTemplate *c = opened(cases[i].name, t);
        assert_int_equal(template_parts(c, cases[i].turns, cases[i].n, cases[i].has_image, &p, &e), -1);
        error_says(&e, cases[i].says);
        template_free(c);
    }
    Error e = { 0 };
    IdList head = { 0 }, tail = { 0 };
    ChatTemplate *c = opened("vicuna_v1", t);
    assert_int_equal(template_dialogue(c, turns, 3, 0, &head, &tail, &e), -1); /* a prompt ends with a question */
    error_says(&e, "message 3; found assistant; expected user");
    template_free(c);
    tokenizer_free(t);
}

/* ---- recognition ---- */

#define LLAMA3 "{{ '<|start_header_id|>' + message['role'] }}"
static const struct {
    const char *config, *jinja_file, *jinja; /* jinja_file NULL: none */
    int tokens;                              /* the tokenizer of setup, with its added tokens */
    const char *name, *why;                  /* name NULL: refused */
} checkpoints[] = {
    { "{\"model_type\": \"llava\", \"vision_config\": {}, \"text_config\": {\"model_type\": \"llama\"}}", NULL, NULL, 0, "vicuna_v1",
        "config.json: model_type llava" },
    { "{\"model_type\": \"llava_llama\", \"mm_vision_tower\": \"x\"}", NULL, NULL, 0, "vicuna_v1", "config.json: model_type llava_llama" },
    { "{\"model_type\": \"llava\", \"mm_vision_tower\": \"x\"}", NULL, NULL, 0, "vicuna_v1", "model_type llava" },
    { "{\"model_type\": \"llava\", \"vision_config\": {}}", "chat_template.json",
        "{\"chat_template\": \"{{ role.upper() + ': ' }}{{ 'ASSISTANT:' }}\"}", 0, "vicuna_v1", "its chat_template.json has ASSISTANT:" },
    { "{\"model_type\": \"llava_next\", \"vision_config\": {}, \"text_config\": {\"model_type\": \"mistral\"}}", NULL, NULL, 0, "mistral",
        "vision-language model on mistral" },
    { "{\"model_type\": \"llava_next\", \"vision_config\": {}, \"text_config\": {\"model_type\": \"mistral\"}}", "chat_template.json",
        "{\"chat_template\": \"{{ '<<SYS>>' }}{{ '[INST] ' }}\"}", 0, "mistral", "[INST]" },
    { "{\"model_type\": \"llava_mistral\", \"mm_vision_tower\": \"x\"}", NULL, NULL, 0, "mistral", "mistral" },
    { "{\"model_type\": \"llava_qwen\", \"mm_vision_tower\": \"x\"}", NULL, NULL, 1, "qwen2", "qwen2" },
    { "{\"model_type\": \"llava_llama\", \"mm_vision_tower\": \"x\"}", NULL, NULL, 1, "chatml_direct", "its tokenizer has <|im_start|>" },
    { "{\"model_type\": \"llava_next\", \"vision_config\": {}, \"text_config\": {\"model_type\": \"llama\"}}", "chat_template.json",
        "{\"chat_template\": \"<|im_start|>\"}", 1, "chatml_direct", "its chat_template.json has <|im_start|>" },
    { "{\"model_type\": \"omnilmm\", \"mm_vision_tower\": \"x\"}", "tokenizer_config.json",
        "{\"chat_template\": \"<|user|> <|assistant|> eos_token\"}", 0, "omnilmm", "model_type omnilmm" },
    { "{\"model_type\": \"llama\"}", "chat_template.jinja", LLAMA3, 0, "llama-3", "its chat_template.jinja has <|start_header_id|>" },
    { "{\"model_type\": \"llava\", \"vision_config\": {}}", "chat_template.jinja", LLAMA3, 0, "llama-3", "<|start_header_id|>" },
    { "{\"model_type\": \"qwen2\"}", "tokenizer_config.json", "{\"chat_template\": \"<|im_start|>system\\nYou are a helpful assistant.\"}",
        0, "qwen2", "its tokenizer_config.json has <|im_start|>" },
    { "{\"model_type\": \"qwen2\"}", "tokenizer_config.json",
        "{\"chat_template\": \"<|im_start|> You are Qwen, created by Alibaba Cloud. You are a helpful assistant.\"}", 0, "qwen2.5", "" },
    { "{\"model_type\": \"llama\"}", "tokenizer_config.json",
        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"[INST]\"}, {\"name\": \"default\", \"template\": "
        "\"<|im_start|>\"}]}",
        0, "chatml", "" },
    { "{\"model_type\": \"mistral\"}", "tokenizer_config.json", "{\"chat_template\": \"<|user|> <|assistant|> + eos_token\"}", 0, "zephyr",
        "<|user|> and <|assistant|>" },
    { "{\"model_type\": \"mistral\"}", "tokenizer_config.json", "{\"chat_template\": \"[INST]\"}", 0, "mistral", "" },
    { "{\"model_type\": \"llama\"}", "tokenizer_config.json", "{\"chat_template\": \"<<SYS>> [INST]\"}", 0, "llama-2", "" },
    { "{\"model_type\": \"llama\"}", "tokenizer_config.json", "{\"chat_template\": \"USER: ASSISTANT:\"}", 0, "vicuna_v1", "" },
    { "{\"model_type\": \"llama\"}", NULL, NULL, 1, NULL, "no chat template" },
    { "{\"model_type\": \"phi3\"}", "tokenizer_config.json", "{\"chat_template\": \"<|user|> <|end|> <|assistant|> eos_token\"}", 0, NULL,
        "a chat template that is not known here" },
    { "{\"model_type\": \"llama\"}", "tokenizer_config.json", "{\"chat_template\": 3}", 0, NULL, "no chat template" },
    { "{\"model_type\": \"llama\"}", "tokenizer_config.json", "{broken", 0, NULL, "no chat template" },
    { "{\"model_type\": \"paligemma\", \"vision_config\": {}}", NULL, NULL, 0, NULL, "paligemma" },
    { NULL, NULL, NULL, 0, NULL, "no chat template" },
    { "{broken", NULL, NULL, 0, NULL, "config.json" },
};

static void checkpoints_are_recognised(void **state) {
    (void)state;
    Tokenizer *with = tokenizer_here(), *without = golden_tokenizer("llava15-hub");
    for (size_t i = 0; i < sizeof checkpoints / sizeof *checkpoints; i++) {
        char here[PATH_SIZE];
        Error e = { 0 };
        TemplateGuess g;
        scratch_make(here);
        const char *config = checkpoints[i].config, *jinja = checkpoints[i].jinja;
        if (config) put(at(here, "config.json"), config, strlen(config));
        if (jinja) put(at(here, checkpoints[i].jinja_file), jinja, strlen(jinja));
        const Tokenizer *t = checkpoints[i].tokens ? with : without;
        int bad = template_recognise(here, t, &g, &e);
        if (checkpoints[i].name) {
            must(!bad, &e);
            assert_string_equal(g.name, checkpoints[i].name);
            if (!strstr(g.why, checkpoints[i].why)) fail_msg("\"%s\" does not say \"%s\"", g.why, checkpoints[i].why);
        } else {
            assert_int_equal(bad, -1);
            error_says(&e, here);
            error_says(&e, checkpoints[i].why);
            if (config && config[1] == '"') error_says(&e, "plain for a base model"), error_says(&e, "vicuna_v1, zephyr");
            assert_null(template_open("auto", t, here, &e));
        }
        scratch_drop(here);
    }
    tokenizer_free(with), tokenizer_free(without);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_prompts_and_answers),
        cmocka_unit_test(a_prompt_without_image_is_one_chunk),
        cmocka_unit_test(every_template_is_worded_so),
        cmocka_unit_test(transformers_writes_the_same),
        cmocka_unit_test(text_inside_a_line_has_no_mark),
        cmocka_unit_test(tokens_fall_into_ids),
        cmocka_unit_test(an_answer_with_text_around_it),
        cmocka_unit_test(answers_and_their_ends_are_trained),
        cmocka_unit_test(pieces_that_are_tokens_stay_text),
        cmocka_unit_test(mistral_agrees_with_its_own_ids),
        cmocka_unit_test(a_file_of_ones_own),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(an_unknown_template_is_refused),
        cmocka_unit_test(a_token_the_tokenizer_lacks),
        cmocka_unit_test(conversations_that_do_not_fit),
        cmocka_unit_test(checkpoints_are_recognised),
    };
    return cmocka_run_group_tests_name("template", tests, setup, teardown);
}

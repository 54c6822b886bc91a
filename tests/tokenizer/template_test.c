/* template_test.c - prompts and answers as ids, against the golden cases' prompt and response ids. */
#include "tests/tokenizer/golden.h"

static void free_lists(IdList *a, IdList *b) { idlist_free(a), idlist_free(b); }

/* expected = head, some image ids, tail. */
static void check_prompt(const Tokenizer *t, const char *question, const json_t *expected, const char *where) {
    Error e = { 0 };
    IdList head = { 0 }, tail = { 0 }, all = { 0 };
    const ChatTemplate *c = template_find("vicuna_v1", &e);
    must(c && !template_prompt(c, t, question, 1, &head, &tail, &e), &e);
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
    for (int c = 0; c < GOLDEN_CASES; c++) {
        Tokenizer *t = golden_tokenizer(golden_cases[c]);
        JsonLines pairs, scores;
        golden_open(&pairs, golden_cases[c], "pairs.jsonl");
        golden_open(&scores, golden_cases[c], "expect/score.jsonl");
        int count = 0;
        for (json_t *pair, *score; (pair = golden_next(&pairs)); json_decref(pair), json_decref(score), count++) {
            assert_non_null(score = golden_next(&scores));
            static const char *const sides[] = { "chosen", "rejected" };
            for (int s = 0; s < 2; s++) {
                const json_t *expected = json_object_get(score, sides[s]);
                check_prompt(t, json_string_value(json_object_get(pair, "question")), json_object_get(expected, "prompt_ids"), pairs.where);
                IdList answer = { 0 }, open = { 0 };
                Error e = { 0 };
                const char *text = json_string_value(json_object_get(pair, sides[s]));
                must(!template_answer(t, text, 1, &answer, &e) && !template_answer(t, text, 0, &open, &e), &e);
                ids_equal(answer.ids, answer.count, json_object_get(expected, "response_ids"), scores.where);
                assert_int_equal(answer.count, open.count + 1);
                assert_int_equal(answer.ids[open.count], tokenizer_eos(t));
                free_lists(&answer, &open);
            }
        }
        assert_int_equal(count, 8);
        jsonl_close(&pairs), jsonl_close(&scores);
        tokenizer_free(t);
    }
}

static void a_prompt_without_image_is_one_chunk(void **state) {
    (void)state;
    Tokenizer *t = golden_tokenizer("llava15-hub");
    Error e = { 0 };
    const ChatTemplate *c = template_find("llava_v1", &e);
    must(c != NULL, &e);
    IdList head = { 0 }, tail = { 0 };
    /* what looks like a placeholder or a token in a question stays text */
    must(!template_prompt(c, t, "{question} <image>?", 0, &head, &tail, &e), &e);
    assert_int_equal(head.count, 0);
    assert_int_equal(tail.ids[0], tokenizer_bos(t));
    decodes_to(t, tail.ids, tail.count,
        "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
        "answers to the "
        "human's questions. USER: {question} <image>? ASSISTANT:");
    for (size_t i = 0; i < tail.count; i++) assert_true(tail.ids[i] < 476);
    free_lists(&head, &tail);
    tokenizer_free(t);
}

static void the_two_templates_differ_in_the_user_only(void **state) {
    (void)state;
    Error e = { 0 };
    const ChatTemplate *vicuna = template_find("vicuna_v1", &e), *llava = template_find("llava_v1", &e);
    assert_non_null(strstr(vicuna->before_image, "curious user"));
    assert_non_null(strstr(llava->before_image, "curious human"));
    assert_string_equal(vicuna->after_image, "\n{question} ASSISTANT:");
    assert_string_equal(llava->after_image, vicuna->after_image);
}

static void an_unknown_template_is_refused(void **state) {
    (void)state;
    Error e = { 0 };
    assert_null(template_find("vicuna_v2", &e));
    assert_string_equal(e.what, "unknown chat template");
    assert_string_equal(e.found, "\"vicuna_v2\"");
    assert_string_equal(e.hint, "did you mean vicuna_v1?");
    assert_null(template_find("", &e));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_prompts_and_answers),
        cmocka_unit_test(a_prompt_without_image_is_one_chunk),
        cmocka_unit_test(the_two_templates_differ_in_the_user_only),
        cmocka_unit_test(an_unknown_template_is_refused),
    };
    return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}

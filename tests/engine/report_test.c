/* The table at the end of a run, and the marks in its examples. */
#include "tests/check.h"

#include "engine/report_text.h"

static char *print(const Report *r, ReportStyle style) {
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(report_print(r, style, f, NULL), 0);
    size_t size = (size_t)ftell(f);
    char *text = calloc(size + 1, 1);
    rewind(f);
    assert_int_equal(fread(text, 1, size, f), size);
    fclose(f);
    return text;
}

static Report scenes_report(void) {
    static ReportRow rows[] = {
        { REPORT_BEFORE, 0,
            { .object_responses = .548, .object_mentions = .143, .any_false = .825, .false_claims = .199, .coverage = .969, .words = 39.3 },
            { 0 } },
        { REPORT_ITERATION, 1,
            { .object_responses = .165, .object_mentions = .047, .any_false = .502, .false_claims = .084, .coverage = .929, .words = 38.5 },
            { 0 } },
        { REPORT_ITERATION, 2,
            { .object_responses = .04, .object_mentions = .012, .any_false = .352, .false_claims = .041, .coverage = .907, .words = 41.3 },
            { 0 } },
        { REPORT_LABELER, 0,
            { .object_responses = .582, .object_mentions = .166, .any_false = .965, .false_claims = .392, .coverage = .904, .words = 38.6 },
            { 0 } },
    };
    return (Report){ .kind = EVAL_SCENES, .prompts = 400, .answers = 400, .temperature = .7, .rows = rows, .n = 4, .chosen = 2 };
}

static void the_table_of_scenes(void **state) {
    (void)state;
    Report r = scenes_report();
    char *text = print(&r, REPORT_PLAIN);
    static const char expected[] = "400 evaluation scenes, judged by their truth, 400 answers of each model at temperature 0.7. * is the "
                                   "result, chosen without the truth.\n"
                                   "\n"
                                   "                object hallucination                overall\n"
                                   "                           responses   mentions   responses   claims   coverage   words\n"
                                   "before                        54.8 %     14.3 %      82.5 %   19.9 %     96.9 %    39.3\n"
                                   "iteration 1                   16.5 %      4.7 %      50.2 %    8.4 %     92.9 %    38.5\n"
                                   "iteration 2 *                  4.0 %      1.2 %      35.2 %    4.1 %     90.7 %    41.3\n"
                                   "labeler                       58.2 %     16.6 %      96.5 %   39.2 %     90.4 %    38.6\n"
                                   "\n"
                                   "                                  before   iteration 2    change   the paper's\n"
                                   "object hallucination, responses   54.8 %         4.0 %   -92.7 %       -84.1 %\n"
                                   "object hallucination, mentions    14.3 %         1.2 %   -91.6 %       -82.9 %\n"
                                   "overall hallucination             82.5 %        35.2 %   -57.3 %       -42.1 %\n"
                                   "false claims                      19.9 %         4.1 %   -79.4 %\n"
                                   "coverage                          96.9 %        90.7 %    -6.4 %\n"
                                   "words                               39.3          41.3    +5.1 %\n"
                                   "\n";
    assert_string_equal(text, expected);
    free(text);
}

static void the_table_in_markdown(void **state) {
    (void)state;
    Report r = scenes_report();
    char *text = print(&r, REPORT_MARKDOWN);
    assert_non_null(strstr(text, "|  | object hallucination, responses | object hallucination, mentions | overall hallucination |"));
    assert_non_null(strstr(text, "|---|---:|---:|---:|---:|---:|---:|\n"));
    assert_non_null(strstr(text, "| iteration 2 * | 4.0 % | 1.2 % | 35.2 % | 4.1 % | 90.7 % | 41.3 |\n"));
    assert_null(strstr(text, "\033"));
    free(text);
}

static void the_table_of_the_labeler(void **state) {
    (void)state;
    ReportRow rows[] = { { .role = REPORT_BEFORE, .labeler = { .any = .5, .rejections = 0, .accepted = 4, .words = 10 } },
        { .role = REPORT_ITERATION, .iteration = 1, .labeler = { .any = .25, .rejections = 1, .accepted = 5, .words = 11 } } };
    Report r = { .kind = EVAL_LABELER, .prompts = 4, .answers = 8, .rows = rows, .n = 2, .chosen = 1 };
    char *text = print(&r, REPORT_PLAIN);
    assert_non_null(strstr(text, "judged by the labeler, 8 answers"));
    assert_non_null(strstr(text, "iteration 1 *"));
    assert_non_null(strstr(text, "-50.0 %"));
    assert_null(strstr(text, "paper"));
    assert_null(strstr(text, "inf"));
    free(text);
}

/* "Q": accepted y or rejected n */
static json_t *probes_of(const char *verdicts) {
    json_t *list = json_array();
    for (; *verdicts; verdicts++) json_array_append_new(list, json_pack("{s:b}", "accepted", *verdicts == 'y'));
    return list;
}

static void marks_say(ClaimGrammar grammar, const char *text, const char *verdicts, const char *expected) {
    Marks m;
    json_t *probes = probes_of(verdicts);
    assert_int_equal(marks_find(grammar, text, probes, &m, NULL), 0);
    char *marked = marks_apply(text, &m, "[", "]", NULL);
    assert_string_equal(marked, expected);
    free(marked);
    marks_free(&m);
    json_decref(probes);
}

static void marks_in_answers_about_scenes(void **state) {
    (void)state;
    marks_say(CLAIM_GRAMMAR_SCENES, "There are three objects. There is a small red ball in the north. The background is gray.", "nyynny",
        "There are [three] objects. There is a small [red] ball in the [north]. The background is gray.");
    marks_say(CLAIM_GRAMMAR_SCENES, "There is a ball. There is a ball. There ball is.", "ynn",
        "There is a ball. [There is a ball.] [There ball is.]");
    marks_say(CLAIM_GRAMMAR_SCENES, "", "", "");
}

static void marks_in_plain_answers(void **state) {
    (void)state;
    marks_say(CLAIM_GRAMMAR_PLAIN, "The dog is big. It sleeps on a mat. Yes.", "yn", "The dog is big. [It sleeps on a mat]. Yes.");
    marks_say(CLAIM_GRAMMAR_PLAIN, "Oh. The man is wearing a hat and holding a cup. It rains a lot.", "nny", "Oh. [The man is wearing a hat and holding a cup]. It rains a lot.");
}

static void marks_by_words_of_questions(void **state) {
    (void)state;
    static const char answer[] = "A man in a red hat is on the left. He holds two cups. It is a nice day.";
    static const struct {
        const char *question, *expected;
    } cases[] = {
        { "Is the man's hat red?", "[A man in a red hat is on the left]. He holds two cups. It is a nice day." },
        { "Are there two CUPS?", "A man in a red hat is on the left. [He holds two cups]. It is a nice day." },
        { "Is there an elephant near the river?", "A man in a red hat is on the left. He holds two cups. It is a nice day." },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Marks m;
        json_t *probes = json_pack("[{s:s, s:b}, {s:s, s:b}, {s:n, s:b}, {s:s, s:b}]", "question", cases[i].question, "accepted", 0, "question",
            "Is it a nice day?", "accepted", 1, "question", "accepted", 0, "question", cases[i].question, "accepted", 0);
        assert_int_equal(marks_by_words(answer, probes, &m, NULL), 0);
        char *marked = marks_apply(answer, &m, "[", "]", NULL);
        assert_string_equal(marked, cases[i].expected);
        free(marked);
        marks_free(&m);
        json_decref(probes);
    }
}

static void probes_of_another_answer(void **state) {
    (void)state;
    Marks m;
    Error e = { 0 };
    json_t *probes = probes_of("yy");
    assert_int_equal(marks_find(CLAIM_GRAMMAR_SCENES, "There is a ball.", probes, &m, &e), -1);
    error_says(&e, "not of this answer");
    json_decref(probes);
}

static void examples_are_wrapped_and_cleaned(void **state) {
    (void)state;
    Report r = scenes_report();
    Mark mark = { 11, 4 };
    char before[400] = "there is a ball .", image[] = "x.png", question[] = "what is there?", after[] = "a\033[2Jb\tc";
    for (int i = 0; i < 10; i++) strcat(before, " there is a cone in the northwest .");
    ReportExample x = { image, question, { before, { &mark, 1, 1 } }, { after, { 0 } } };
    r.examples = &x, r.examples_n = 1;
    char *text = print(&r, REPORT_PLAIN);
    assert_non_null(strstr(text, "x.png  \"what is there?\"\n  before: there is a [ball] . there"));
    assert_non_null(strstr(text, "  after: a [2Jb c\n")); /* what an answer holds cannot steer a terminal */
    for (size_t i = (size_t)(strstr(text, "  before:") - text); text[i]; i += strcspn(text + i, "\n") + 1)
        assert_true(strcspn(text + i, "\n") <= 100);
    free(text);
    text = print(&r, REPORT_COLOUR);
    assert_non_null(strstr(text, "a \033[1;31mball\033[0m ."));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_scenes),
        cmocka_unit_test(the_table_in_markdown),
        cmocka_unit_test(the_table_of_the_labeler),
        cmocka_unit_test(marks_in_answers_about_scenes),
        cmocka_unit_test(marks_in_plain_answers),
        cmocka_unit_test(marks_by_words_of_questions),
        cmocka_unit_test(probes_of_another_answer),
        cmocka_unit_test(examples_are_wrapped_and_cleaned),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}

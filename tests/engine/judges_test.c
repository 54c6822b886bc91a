/* Evaluations by a judge, without one: numbers and intervals as the Python twin's from replies in a transcript; how replies are read;
 * transcripts that were cut, joined or filled by others; addresses and answers of servers; sheets there and back; refusals. */
#include "tests/engine/eval_expect.h"

#include "engine/commands.h"
#include "engine/eval/chair.h"
#include "engine/eval/judged.h"
#include "engine/eval/mhumaneval.h"
#include "engine/eval/sheet.h"
#include "engine/eval/verdicts.h"

#define GOLDEN(NAME) EVAL_GOLDEN "/" NAME

static const EvalSettings small = { .resamples = 1000, .seed = 5 };
static const char *out(void) { return at(folder, "result.json"); }
static const char *file(const char *name, const char *text) {
    const char *path = at(folder, name);
    put(path, text, strlen(text));
    return strdup(path); /* the test frees it */
}

/* ---- a transcript of replies that were made up ---- */

static JudgeSettings replayed(void) {
    JudgeSettings s = JUDGE_DEFAULTS("judge");
    s.endpoint.url = "https://example.com", s.endpoint.model = "golden";
    s.transcript = strdup(at(folder, "transcript.jsonl")); /* freed with the test's settings */
    return s;
}

static void reply_add(TextJudge *j, const char *text, int run, const char *reply) {
    char key[HASH_TEXT];
    assert_int_equal(text_judge_key(j, text, run, key, NULL), 0);
    json_t *row =
        json_pack("{s:s, s:O, s:s, s:b, s:s}", "key", key, "judge", j->identity, "reply", reply, "finished", 1, "model", "golden-1");
    assert_int_equal(json_object_update(row, j->decoding), 0);
    assert_int_equal(transcript_add(&j->transcript, row, NULL), 0);
}

static int golden_take(void *context, const json_t *row, const char *where, Error *e) {
    (void)where, (void)e;
    reply_add(context, json_string_value(json_object_get(row, "text")), (int)json_integer_value(json_object_get(row, "run")),
        json_string_value(json_object_get(row, "reply")));
    return 0;
}

/* Settings that replay judge_replies.jsonl. */
static JudgeSettings golden_judge(void) {
    JudgeSettings s = replayed();
    TextJudge j;
    Error e = { 0 };
    if (text_judge_open(&j, &s, out(), &e)) fail_msg("%s: %s", e.what, e.where);
    assert_int_equal(rows_each(GOLDEN("judge_replies.jsonl"), golden_take, &j, NULL), 0);
    text_judge_close(&j);
    s.replay = 1;
    return s;
}

static void says(int got, const Error *e) {
    char line[2048];
    if (got) fail_msg("%s", error_text(e, line, sizeof line));
}

/* ---- the twin's numbers ---- */

static void numbers_of_mmhal(void **state) {
    (void)state;
    Error e = { 0 };
    EvalSettings s = small;
    JudgeSettings judge = golden_judge();
    const char *prompt = file("prompt", "{answer}\n");
    JudgedFiles f = { .questions = GOLDEN("mmhal.json"), .prompt = prompt, .runs = 1 };
    s.answers = GOLDEN("mmhal.json"), s.rows = strdup(at(folder, "rows.jsonl"));
    says(mmhal_eval(&s, &f, &judge, out(), table, &e), &e);
    result_agrees(out(), json_object_get(expected("small", "mmhal"), "1"));
    assert_int_equal(result_count(out(), "counting", "answers"), 2); /* by place, and by name */
    json_t *result;
    assert_int_equal(json_read_object(out(), &result, NULL), 0);
    const json_t *by = json_object_get(result, "judge");
    assert_string_equal(json_string_value(json_object_get(by, "name")), "golden");
    assert_string_equal(json_string_value(json_object_get(by, "version")), "golden-1");
    assert_string_equal(json_string_value(json_object_get(by, "endpoint")), "https://example.com/v1/chat/completions");
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(by, "prompts"), 0), "prompt")), prompt);
    json_decref(result);
    f.runs = 2;
    says(mmhal_eval(&s, &f, &judge, out(), table, &e), &e);
    result_agrees(out(), json_object_get(expected("small", "mmhal"), "2"));
    judge.endpoint.url = judge.endpoint.model = NULL; /* who it was, the transcript knows */
    says(mmhal_eval(&s, &f, &judge, out(), table, &e), &e);
    result_agrees(out(), json_object_get(expected("small", "mmhal"), "2"));
    f.runs = 3;
    assert_int_equal(mmhal_eval(&s, &f, &judge, out(), table, &e), -1);
    error_says(&e, "10 of 30 missing (first: the rating of question 0)");
    free((char *)prompt), free((char *)s.rows), free((char *)judge.transcript);
}

static void numbers_of_refomb(void **state) {
    (void)state;
    Error e = { 0 };
    EvalSettings s = small;
    JudgeSettings judge = golden_judge();
    JudgedFiles f = { .questions = GOLDEN("refomb_questions.jsonl"),
        .prompt = file("prompt", "{answer_b}"),
        .second_prompt = file("second", "{review}"),
        .runs = 1 };
    s.answers = GOLDEN("refomb_answers.jsonl");
    says(refomb_eval(&s, &f, &judge, out(), table, &e), &e);
    result_agrees(out(), json_object_get(expected("small", "refomb"), "one"));
    f.swap = 1;
    says(refomb_eval(&s, &f, &judge, out(), table, &e), &e);
    result_agrees(out(), json_object_get(expected("small", "refomb"), "both"));
    free((char *)f.prompt), free((char *)f.second_prompt), free((char *)judge.transcript);
}

static void numbers_of_llava_bench(void **state) {
    (void)state;
    Error e = { 0 };
    EvalSettings s = small;
    JudgeSettings judge = golden_judge();
    JudgedFiles f = { .questions = GOLDEN("llava_questions.jsonl"),
        .references = GOLDEN("llava_references.jsonl"),
        .contexts = GOLDEN("llava_context.jsonl"),
        .prompt = file("prompt", "{answer_b}"),
        .runs = 1 };
    s.answers = GOLDEN("llava_answers.jsonl");
    says(llava_bench_eval(&s, &f, &judge, out(), table, &e), &e);
    result_agrees(out(), expected("small", "llava-bench"));
    free((char *)f.prompt), free((char *)judge.transcript);
}

static void numbers_of_listed_objects(void **state) {
    (void)state;
    Error e = { 0 };
    EvalSettings s = small;
    JudgeSettings judge = golden_judge();
    ChairFiles f = { .synonyms = GOLDEN("chair_synonyms.txt"),
        .truth = GOLDEN("chair_instances.json") "," GOLDEN("chair_captions.json") "," GOLDEN("chair_light.jsonl"),
        .extractor = &judge,
        .prompt = file("prompt", "{answer}") };
    s.answers = GOLDEN("chair_answers.jsonl");
    says(chair_eval(&s, &f, out(), table, &e), &e);
    result_agrees(out(), expected("small", "chair_listed"));
    free((char *)f.prompt), free((char *)judge.transcript);
}

static void numbers_of_mhumaneval(void **state) {
    (void)state;
    Error e = { 0 };
    EvalSettings s = small;
    assert_int_equal(mhumaneval_import(&s, GOLDEN("mhumaneval.csv"), "people", out(), table, &e), -1);
    error_says(&e, "answers that nobody is done with: tests/golden/eval/mhumaneval.csv:6; found 1 of 6 rows");
    s.partial = 1;
    says(mhumaneval_import(&s, GOLDEN("mhumaneval.csv"), "people", out(), table, &e), &e);
    result_agrees(out(), expected("small", "mhumaneval"));
    assert_int_equal(result_count(out(), NULL, "missing"), 1);
}

/* ---- replies ---- */

static void ratings(void **state) {
    (void)state;
    static const struct {
        const char *reply;
        int rating;
    } cases[] = { { "Rating: 0", 0 }, { "x\nRATING: 6\n", 6 }, { "rating: 3 and again Rating: 3.", 3 }, { "Rating: 3, Rating: 4", -1 },
        { "", -1 }, { "Rating:3", -1 }, { "Rating: ", -1 }, { "rating: 7", -1 }, { "rating: 7, no, rating: 2", 2 }, { "Rating: 10", -1 },
        { "Rating: 5/6", 5 }, { "**Rating: 4**", 4 }, { "**Rating**: 4", -1 }, { "Rating\xef\xbc\x9a 4", -1 },
        { "\xe8\xa9\x95\xe4\xbe\xa1 rating: 1 \xe3\x81\xa7\xe3\x81\x99", 1 }, { "The rating is 4", -1 }, { "overrating: 2", 2 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (rating_read(cases[i].reply) != cases[i].rating) fail_msg("\"%s\" is read as %d", cases[i].reply, rating_read(cases[i].reply));
}

static void verdicts(void **state) {
    (void)state;
    static const struct {
        const char *reply;
        char verdict;
    } cases[] = { { "[[A]]", 'A' }, { "so B it is: [[B]]\n", 'B' }, { "[[C]] [[C]]", 'C' }, { "[[A]] or [[B]]", 0 }, { "[A]", 0 },
        { "[[D]] [[A]]", 'A' }, { "[[a]]", 0 }, { "", 0 }, { "[[", 0 }, { "[[[A]]]", 'A' }, { "[[A]", 0 }, { "[[ A ]]", 0 },
        { "\xe3\x80\x90[[B]]\xe3\x80\x91", 'B' }, { "[[A|B]]", 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (verdict_read(cases[i].reply) != cases[i].verdict)
            fail_msg("\"%s\" is read as %c", cases[i].reply, verdict_read(cases[i].reply) ? verdict_read(cases[i].reply) : '-');
}

static void two_scores(void **state) {
    (void)state;
    static const struct {
        const char *reply;
        double first, second; /* 0: unread */
    } cases[] = { { "8 9", 8, 9 }, { " 8,  9.5 \nGood.", 8, 9.5 }, { "8.25\t10\r\n", 8.25, 10 }, { "8", 0, 0 }, { "8 9 7", 0, 0 },
        { "8/10 9/10", 0, 0 }, { "0 5", 0, 0 }, { "5 11", 0, 0 }, { "", 0, 0 }, { "\n8 9", 0, 0 }, { "Scores: 8 9", 0, 0 },
        { "nan 5", 0, 0 }, { "0x8 9", 0, 0 }, { "1e1 5", 0, 0 }, { "-3 5", 0, 0 }, { "8 9\xc2\xa0", 0, 0 }, { "8.5.1 9", 0, 0 },
        { "89", 0, 0 }, { "8 ,9", 8, 9 }, { "1111111111111111111111111111111111111111111111111111111111111111111111111 2", 0, 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double s[2] = { 0 };
        int unread = scores_read(cases[i].reply, s);
        if (unread ? cases[i].first != 0 : s[0] != cases[i].first || s[1] != cases[i].second)
            fail_msg("\"%s\" is read as %g and %g", cases[i].reply, unread ? 0 : s[0], s[1]);
    }
}

static void objects(void **state) {
    (void)state;
    static const struct {
        const char *reply, *list; /* NULL: unread */
    } cases[] = { { "[\"dog\", \" cat \"]", "[\"dog\",\"cat\"]" }, { "[]", "[]" }, { "none", "[]" }, { " \"None.\" \n", "[]" },
        { "```json\n[\"dog\"]\n```", "[\"dog\"]" }, { "{\"objects\": [\"dog\"]}", "[\"dog\"]" },
        { "- dog\n* cat\n\xe2\x80\xa2 bus\n3) car\nand talk", "[\"dog\",\"cat\",\"bus\",\"car\"]" }, { "dog, cat", NULL }, { "", NULL },
        { "[1] see\n- dog", "[\"dog\"]" }, { "[\"dog\", 3]", NULL }, { "[\"dog\"", NULL }, { "none of them\n- dog", "[\"dog\"]" },
        { "**bold**", NULL }, { "[\"\xe7\x8a\xac\"]", "[\"\xe7\x8a\xac\"]" }, { "[\"\", \"a\"]", "[\"a\"]" }, { "-\n- \n", NULL } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int unread;
        json_t *names = objects_read(cases[i].reply, &unread, NULL);
        char *text = json_dumps(names, JSON_COMPACT);
        if (unread != !cases[i].list || strcmp(text, cases[i].list ? cases[i].list : "[]"))
            fail_msg("\"%s\" is read as %s%s", cases[i].reply, text, unread ? ", unread" : "");
        free(text);
        json_decref(names);
    }
}

/* Whatever stands in a reply or a sheet, reading it ends, within its bytes (the sanitizers' build): texts cut anywhere, and with each byte
 * in turn replaced. */
static void anything(const char *text, size_t size) {
    EndpointReply r;
    Sheet sheet;
    double scores[2];
    char why[200];
    int unread;
    char *exact = malloc(size + 1); /* its end is where the sanitizer looks */
    memcpy(exact, text, size), exact[size] = 0;
    assert_in_range(rating_read(exact) + 1, 0, 7);
    assert_in_range(verdict_read(exact), 0, 'C');
    if (!scores_read(exact, scores)) assert_true(scores[0] >= 1 && scores[0] <= 10 && scores[1] >= 1 && scores[1] <= 10);
    json_t *names = objects_read(exact, &unread, NULL);
    assert_true(!unread || !json_array_size(names));
    json_decref(names);
    if (!endpoint_reply_read(exact, size, &r, why, NULL)) endpoint_reply_free(&r);
    FILE *to = fopen(at(folder, "any"), "w"); /* not flushed to the disk, thousands of times */
    assert_int_equal(fwrite(exact, 1, size, to), size);
    assert_int_equal(fclose(to), 0);
    if (!sheet_read(&sheet, at(folder, "any"), NULL)) sheet_free(&sheet);
    free(exact);
}

static void made_up_replies(void **state) {
    (void)state;
    static const char *const texts[] = { "Rating: 3 [[A]]\n8 9.5", "8, 9\n- a\n2. b", "[\"a\", \"b\"]", "a;\"b\"\"c\";'=d\r\n\"x\ny\";z",
        "{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"x\"}}]}" };
    static const char bytes[] = "\"[]{}'|,;\n\r\t\\-*9: A\xff\xc3";
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[100];
        size_t n = strlen(texts[i]);
        for (size_t cut = 0; cut <= n; cut++) anything(texts[i], cut);
        for (size_t at_byte = 0; at_byte < n; at_byte++)
            for (size_t b = 0; b < sizeof bytes; b++) { /* the zero at its end too */
                memcpy(text, texts[i], n);
                text[at_byte] = bytes[b];
                anything(text, n);
            }
    }
}

/* ---- transcripts ---- */

static void transcripts(void **state) {
    (void)state;
    Transcript t;
    Error e = { 0 };
    const char *path = file("t.jsonl", "{\"key\":\"a\",\"reply\":\"1\"}\n{\"key\":\"b\",\"failed\":\"status 500\"}\n{\"key\":\"c\",\"rep");
    assert_int_equal(transcript_open(&t, path, 0, NULL), 0);
    assert_non_null(transcript_find(&t, "a"));
    assert_null(transcript_find(&t, "b"));
    transcript_close(&t);
    assert_int_equal(transcript_open(&t, path, 1, NULL), 0);
    Transcript second;
    assert_int_equal(transcript_open(&second, path, 1, &e), -1);
    error_says(&e, "another process adds to this transcript");
    assert_int_equal(transcript_open(&second, path, 0, NULL), 0); /* reading is not adding */
    transcript_close(&second);
    assert_int_equal(transcript_add(&t, json_pack("{s:s, s:s}", "key", "c", "reply", "3"), NULL), 0);
    transcript_close(&t);
    char *text;
    size_t size;
    assert_int_equal(file_read(path, 1000, &text, &size, NULL), 0);
    assert_string_equal(
        text, "{\"key\":\"a\",\"reply\":\"1\"}\n{\"key\":\"b\",\"failed\":\"status 500\"}\n{\"key\":\"c\",\"reply\":\"3\"}\n");
    free(text);
    static const struct {
        const char *text, *says;
    } bad[] = { { "{\"reply\":\"1\"}\n", "t.jsonl:1: field \"key\"" }, { "{\"key\":\"a\",\"reply\":1}\n", "field \"reply\"" },
        { "{\"key\":\"a\",\"rep\n{\"key\":\"b\"}\n", "t.jsonl:1" },
        { "{\"key\":\"a\",\"reply\":\"1\"}\n{\"key\":\"a\",\"reply\":\"2\"}\n", "two replies to one request" }, { "[]\n", "bad JSON" } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int adds = 0; adds < 2; adds++) {
            put(path, bad[i].text, strlen(bad[i].text));
            assert_int_equal(transcript_open(&t, path, adds, &e), -1);
            error_says(&e, bad[i].says);
        }
    assert_int_equal(transcript_open(&t, at(folder, "absent"), 0, &e), -1);
    error_says(&e, "cannot open file");
    free((char *)path);
}

/* What a request is: anything that could change its reply makes another. */
static void keys(void **state) {
    (void)state;
    char first[HASH_TEXT], other[HASH_TEXT];
    JudgeSettings s = replayed();
    for (int change = 0; change < 7; change++) {
        JudgeSettings changed = s;
        TextJudge j;
        if (change == 1) changed.endpoint.model = "another";
        if (change == 2) changed.endpoint.url = "https://example.org";
        if (change == 3) changed.temperature = 0.5;
        if (change == 4) changed.max_tokens = 7;
        assert_int_equal(text_judge_open(&j, &changed, out(), NULL), 0);
        assert_int_equal(text_judge_key(&j, change == 5 ? "what" : "What", change == 6, change ? other : first, NULL), 0);
        text_judge_close(&j);
        if (change && !strcmp(first, other)) fail_msg("change %d makes no other request", change);
    }
    free((char *)s.transcript);
}

static void judge_refused(const JudgeSettings *s, const char *what) {
    Error e = { 0 };
    TextJudge j;
    assert_int_equal(text_judge_open(&j, s, out(), &e), -1);
    error_says(&e, what);
}

static void judges_refused(void **state) {
    (void)state;
    JudgeSettings s = JUDGE_DEFAULTS("extractor");
    judge_refused(&s, "nobody to ask: command line; expected --extractor DIR, --endpoint URL with --extractor-name MODEL");
    s.replay = 1;
    judge_refused(&s, "nothing to replay");
    s.transcript = file("t.jsonl", "{\"key\":\"b\",\"failed\":\"status 500\"}\n");
    judge_refused(&s, "no replies to go by");
    free((char *)s.transcript);
    s.transcript = file("t.jsonl",
        "{\"key\":\"b\",\"reply\":\"x\",\"judge\":{\"name\":\"p\"}}\n{\"key\":\"c\",\"reply\":\"x\",\"judge\":{\"name\":\"q\"}}\n");
    judge_refused(&s, "replies by several judges");
    s.endpoint.model = "r";
    judge_refused(&s, "nothing by \"r\"");
    s.endpoint.model = "q";
    TextJudge j;
    assert_int_equal(text_judge_open(&j, &s, out(), NULL), 0);
    assert_string_equal(json_string_value(json_object_get(j.identity, "name")), "q");
    text_judge_close(&j);
    s.folder = "a", s.endpoint.url = "b", s.replay = 0;
    judge_refused(&s, "two judges");
    s.folder = NULL, s.endpoint.model = NULL;
    judge_refused(&s, "no name of a model: --extractor-name");
    free((char *)s.transcript);
}

/* ---- endpoints ---- */

static void addresses(void **state) {
    (void)state;
    static const struct {
        const char *url;
        int plain_http;
        const char *whole, *wrong;
    } cases[] = { { "https://api.openai.com/v1", 0, "https://api.openai.com/v1/chat/completions", NULL },
        { "api.openai.com", 0, "https://api.openai.com/v1/chat/completions", NULL },
        { "https://a.b/c/v1/chat/completions/", 0, "https://a.b/c/v1/chat/completions", NULL },
        { "http://localhost:8000/", 0, "http://localhost:8000/v1/chat/completions", NULL },
        { "http://127.0.0.1:1/v1", 0, "http://127.0.0.1:1/v1/chat/completions", NULL },
        { "http://[::1]:1", 0, "http://[::1]:1/v1/chat/completions", NULL }, { "http://example.com", 0, NULL, "--plain-http" },
        { "http://127.0.0.1.example.com", 0, NULL, "--plain-http" },
        { "http://example.com", 1, "http://example.com/v1/chat/completions", NULL },
        { "ftp://example.com", 1, NULL, "neither https nor http" }, { "file:///etc/passwd", 1, NULL, "bad address" },
        { "https://me:secret@example.com", 0, NULL, "a user, password" }, { "https://example.com/?key=secret", 0, NULL, "query" },
        { "https://", 0, NULL, "bad address" }, { "///", 0, NULL, "no address" }, { "https://exa mple.com", 0, NULL, "no address" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = { 0 };
        char line[2048], *whole = endpoint_address(cases[i].url, cases[i].plain_http, &e);
        if (!whole != !cases[i].whole || (whole && strcmp(whole, cases[i].whole)))
            fail_msg("%s is %s", cases[i].url, whole ? whole : error_text(&e, line, sizeof line));
        if (!whole) error_says(&e, cases[i].wrong);
        if (strstr(error_text(&e, line, sizeof line), "secret")) fail_msg("a secret is shown: %s", line);
        free(whole);
    }
}

static void completions(void **state) {
    (void)state;
    static const struct {
        const char *body, *text, *model, *why;
        int finished;
    } cases[] = { { "{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"Hi \\u00e9\"},\"finish_reason\":\"stop\"}]}", "Hi \xc3\xa9",
                      "m", NULL, 1 },
        { "{\"choices\":[{\"message\":{\"content\":\"cut\"},\"finish_reason\":\"length\"}]}", "cut", "", NULL, 0 },
        { "{\"choices\":[{\"message\":{\"content\":null}}]}", "", "", NULL, 1 }, { "", NULL, NULL, "malformed JSON", 0 },
        { "{\"choices\":[", NULL, NULL, "malformed JSON", 0 }, { "[]", NULL, NULL, "no choices[0].message", 0 },
        { "{\"choices\":[]}", NULL, NULL, "no choices[0].message", 0 },
        { "{\"choices\":[{\"message\":{\"content\":[1]}}]}", NULL, NULL, "an array in place of", 0 },
        { "{\"choices\":[{\"message\":{}}]}", NULL, NULL, "nothing in place of", 0 }, { "<html>", NULL, NULL, "malformed JSON", 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        EndpointReply r;
        char why[200] = "";
        int got = endpoint_reply_read(cases[i].body, strlen(cases[i].body), &r, why, NULL);
        assert_int_equal(got, cases[i].why != NULL);
        if (got && !strstr(why, cases[i].why)) fail_msg("%s: %s", cases[i].body, why);
        if (got) continue;
        assert_string_equal(r.text, cases[i].text);
        assert_string_equal(r.model, cases[i].model);
        assert_int_equal(r.finished, cases[i].finished);
        endpoint_reply_free(&r);
    }
}

/* ---- questions ---- */

static void questions_refused(void **state) {
    (void)state;
    static const struct {
        const char *questions, *answers, *says;
    } cases[] = { { "{\"id\":1,\"gt_answer\":\"x\"}", "{\"id\":1,\"text\":\"y\"}", "question without what is asked: " },
        { "{\"id\":1,\"question\":\"x\"}", "{\"id\":1,\"text\":\"y\"}", "question without an answer to be held against" },
        { "{\"id\":1,\"question\":\"x\",\"reference\":\"r\"}", "{\"id\":1,\"text\":\"y\"}",
            "expected a field image_content or context, or a row of --context" },
        { "{\"id\":1,\"question\":\"x\",\"reference\":\"r\",\"context\":3}", "{\"id\":1,\"text\":\"y\"}",
            "field \"context\"; found an integer; expected text, or a list of texts" },
        { "{\"id\":1,\"question\":\"x\",\"reference\":\"r\",\"context\":\"c\"}\n{\"id\":1,\"question\":\"x\",\"reference\":\"r\","
          "\"context\":\"c\"}",
            "{\"id\":1,\"text\":\"y\"}", "a question for the second time" },
        { "{\"question\":\"x\",\"reference\":\"r\",\"context\":\"c\"}", "{\"text\":\"y\"}\n{\"text\":\"z\"}",
            "1 to nothing that was asked (first: #1)" },
        { "{\"id\":1,\"question\":\"x\",\"reference\":\"r\",\"context\":\"c\",\"category\":\"all\"}", "{\"id\":1,\"text\":\"y\"}",
            "bad category" } };
    Error e = { 0 };
    EvalSettings s = small;
    JudgeSettings judge = golden_judge();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        JudgedFiles f = { .questions = file("q", cases[i].questions), .prompt = file("p", "{answer} {reference} {context}"), .runs = 1 };
        s.answers = file("a", cases[i].answers);
        assert_int_equal(mmhal_eval(&s, &f, &judge, out(), table, &e), -1);
        error_says(&e, cases[i].says);
        assert_false(file_exists(out()));
        free((char *)f.questions), free((char *)f.prompt), free((char *)s.answers);
    }
    JudgedFiles f = { .questions = GOLDEN("mmhal.json"), .prompt = file("p", "{question}"), .runs = 1 };
    s.answers = GOLDEN("mmhal.json");
    assert_int_equal(mmhal_eval(&s, &f, &judge, out(), table, &e), -1);
    error_says(&e, "not a prompt for ratings: ");
    error_says(&e, "{answer} 0 times");
    free((char *)f.prompt), free((char *)judge.transcript);
}

static void questions_of_a_sheet_refused(void **state) {
    (void)state;
    Error e = { 0 };
    EvalSettings s = small;
    s.answers = file("a", "{\"id\":1,\"text\":\"y\"}"), s.partial = 1;
    const char *questions = file("q", "{\"id\":1,\"text\":\"x\"}\n{\"id\":2,\"text\":\"x\"}\n{\"id\":\"2\",\"text\":\"x\"}");
    assert_int_equal(mhumaneval_export(&s, questions, out(), table, &e), -1);
    error_says(&e, "a question for the second time: "); /* though it has no answer */
    error_says(&e, "/q:3; found id 2");
    assert_false(file_exists(out()));
    free((char *)questions), free((char *)s.answers);
}

/* ---- sheets ---- */

static void sheets_there_and_back(void **state) {
    (void)state;
    enum { ROWS = 6, CELLS = 4 };
    static const char *const cells[ROWS][CELLS] = { { "id", "b", "c", "d" }, { "=1+1", "+x", "-y", "@z" },
        { "'quoted'", "''", "'=", "a'b" }, { "a,b", "say \"hi\"", "two\nlines\r\nthree", " blanks " },
        { "", "\ttab", ";", "\xc3\xa9\xe7\x8a\xac" }, { "", "", "", "x" } };
    const char *path = at(folder, "sheet.csv");
    FILE *to = fopen(path, "w");
    sheet_begin(to);
    for (int i = 0; i < ROWS; i++) sheet_write(to, cells[i], CELLS);
    assert_int_equal(fclose(to), 0);
    char *text;
    size_t size;
    assert_int_equal(file_read(path, 1000, &text, &size, NULL), 0);
    assert_true(!strncmp(text, "\xef\xbb\xbfid,b,c,d\r\n\"'=1+1\",\"'+x\",\"'-y\",\"'@z\"\r\n", 40));
    free(text);
    Sheet s;
    assert_int_equal(sheet_read(&s, path, NULL), 0);
    assert_int_equal(s.n, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(s.rows[i].n, CELLS);
        for (int k = 0; k < CELLS; k++) assert_string_equal(s.rows[i].cells[k], cells[i][k]);
    }
    assert_int_equal(s.rows[3].line, 4);
    assert_int_equal(s.rows[4].line, 7); /* after a row of three lines */
    sheet_free(&s);
}

static void sheets_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = { { "a,b\n\"x,y\nz", ":2; found a quote that does not close" }, { "a,b\nx\"y,z", ":2; found a quote within a cell" },
        { "a,b\n\"x\"y,z", ":2; found text after a closing quote" }, { "a,\xff", "text that is not UTF-8" },
        { "a,\xc0\xaf", "text that is not UTF-8" }, { "a,\xed\xa0\x80", "text that is not UTF-8" },
        { "a,\xf4\x90\x80\x80", "text that is not UTF-8" }, { "a,\xe2\x82", "text that is not UTF-8" } };
    Sheet s;
    Error e = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(at(folder, "x.csv"), cases[i].text, strlen(cases[i].text));
        assert_int_equal(sheet_read(&s, at(folder, "x.csv"), &e), -1);
        error_says(&e, cases[i].says);
    }
    put(at(folder, "x.csv"), "a\0b", 3);
    assert_int_equal(sheet_read(&s, at(folder, "x.csv"), &e), -1);
    error_says(&e, "a NUL byte");
    static char wide[4000];
    memset(wide, ',', sizeof wide);
    put(at(folder, "x.csv"), wide, sizeof wide);
    assert_int_equal(sheet_read(&s, at(folder, "x.csv"), &e), -1);
    error_says(&e, "more than 1000 cells");
    free((char *)file("x.csv", "id;b\r\n\r\n1;\r2;c"));
    assert_int_equal(sheet_read(&s, at(folder, "x.csv"), NULL), 0);
    assert_int_equal(s.n, 3);
    assert_string_equal(s.rows[1].cells[1], "");
    assert_string_equal(s.rows[2].cells[1], "c");
    sheet_free(&s);
}

#define HEADER "id,answer,done,object,position,number,attribute,action,other\n"
static void labels_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = { { "", "no labels" }, { HEADER, "no labels" }, { "id,answer,done\n1,x,yes\n", ":1; found no column object" },
        { "id,answer,done,object,position,number,attribute,action,other,Object\n1,x,yes,,,,,,,\n", "two columns object" },
        { HEADER "1,x,yes,,,,,\n", ":2; found 8 cells; expected 9" }, { HEADER "1,x,yes,,,,,,\n,y,yes,,,,,,\n", ":3: column id" },
        { HEADER "1,x,yes,,,,,,\n1,y,yes,,,,,,\n", ":3: column id; found \"1\"; expected each id once" },
        { HEADER "1,x,maybe,,,,,,\n", ":2: column done; found \"maybe\"" },
        { HEADER "1,a dog,,dog,,,,,\n", ":2: column done; found \"\"; expected yes in a row that has marks" },
        { HEADER "1,a dog,yes,cat,,,,,\n", ":2: column object; found \"cat\"" },
        { HEADER "1,a dog,yes,dog|dog,,,,,\n", "expected each piece once" }, { HEADER "1,a dog,yes,dog||a,,,,,\n", "on each side of |" },
        { HEADER "1,a dog,yes,|,,,,,\n", "on each side of |" }, { HEADER "1,a dog,yes,,,,,,dog|\n", "column other" },
        { HEADER "1,a dog,no,,,,,,\n", "answers that nobody is done with" } };
    EvalSettings s = small;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = { 0 };
        put(at(folder, "x.csv"), cases[i].text, strlen(cases[i].text));
        assert_int_equal(mhumaneval_import(&s, at(folder, "x.csv"), "people", out(), table, &e), -1);
        error_says(&e, cases[i].says);
        assert_false(file_exists(out()));
    }
    free((char *)file("x.csv", HEADER "1,A  Dog\there,Y,a dog,,,,,HERE\n")); /* blanks and the size of letters are all one */
    assert_int_equal(mhumaneval_import(&s, at(folder, "x.csv"), "people", out(), table, NULL), 0);
}

/* ---- the commands ---- */

static void commands(void **state) {
    (void)state;
    static const struct {
        const char *words[8], *says;
    } cases[] = { { { "mmhal" }, "--questions is missing" }, { { "refomb" }, "--questions is missing" },
        { { "llava-bench" }, "--questions is missing" }, { { "mhumaneval" }, "expected export or import" },
        { { "mhumaneval", "exports" }, "found \"exports\"" }, { { "mhumaneval", "export" }, "--questions is missing" },
        { { "mhumaneval", "import" }, "--labels is missing" }, { { "mmhal", "--judge", "x", "--runs", "0" }, "bad value of --runs" },
        { { "chair", "--judge", "x" }, "unknown option --judge" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = { 0 };
        int argc = 0, known;
        while (cases[i].words[argc]) argc++;
        assert_int_equal(command_benchmark(argc, (char **)cases[i].words, &known, &e), 2);
        assert_int_equal(known, 1);
        error_says(&e, cases[i].says);
    }
}

#define SCRATCH(TEST) cmocka_unit_test_setup_teardown(TEST, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = { SCRATCH(numbers_of_mmhal), SCRATCH(numbers_of_refomb), SCRATCH(numbers_of_llava_bench),
        SCRATCH(numbers_of_listed_objects), SCRATCH(numbers_of_mhumaneval), cmocka_unit_test(ratings), cmocka_unit_test(verdicts),
        cmocka_unit_test(two_scores), cmocka_unit_test(objects), SCRATCH(made_up_replies), SCRATCH(transcripts), SCRATCH(keys),
        SCRATCH(judges_refused), cmocka_unit_test(addresses), cmocka_unit_test(completions), SCRATCH(questions_refused),
        SCRATCH(questions_of_a_sheet_refused), SCRATCH(sheets_there_and_back), SCRATCH(sheets_refused), SCRATCH(labels_refused),
        cmocka_unit_test(commands) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

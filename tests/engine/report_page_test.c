/* report_page_test.c - the page of a small run, made here file by file: what stands in it, that nothing of the data gets out of its place,
 * that every state of an unfinished run has a page, and what is refused. How it looks and works in a browser is `make report-check`. */
#include "tests/check.h"

#include "engine/commands.h"
#include "engine/report/curves.h"
#include "engine/report/html.h"
#include "engine/report/page.h"
#include "engine/report/picture.h"
#include "engine/eval/labeler_eval.h"
#include "engine/scenes/truth.h"

#include <sys/stat.h>

static char folder[PATH_SIZE];
static char *path_before;
static const PageOptions usual = { .examples = 10, .pairs = 10, .picture_bytes = 1 << 20 };

/* ---- a run ---- */

/* What an answer with everything that could end a place it stands in looks like, and JSON's way to write it. */
#define NASTY "</script><script>alert(1)</script><img src=x onerror=alert(2)> \" ' & \x01 \xe2\x80\xa8 --> ]]>"
#define NASTY_JSON "</script><script>alert(1)</script><img src=x onerror=alert(2)> \\\" ' & \\u0001 \xe2\x80\xa8 --> ]]>"
#define NASTY_HTML                                                                                                                         \
    "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt; &quot; &#39; &amp; &#65533; \xe2\x80\xa8 "     \
    "--&gt; ]]&gt;"

#define TRUTH                                                                                                                              \
    "\"truth\":{\"background\":\"gray\",\"objects\":[{\"kind\":\"box\",\"color\":\"red\",\"size\":\"small\",\"position\":\"north\"},"      \
    "{\"kind\":\"moon\",\"color\":\"white\",\"size\":\"large\",\"position\":\"south\"}]}"
#define RATES(FALSE, WORDS)                                                                                                                \
    "{\"kind\":\"scenes\",\"prompts\":2,\"answers\":2,\"temperature\":0.7,\"object_responses\":" FALSE ",\"object_mentions\":0.25,"        \
    "\"any_false\":0.5,\"false_claims\":0.125,\"coverage\":0.75,\"malformed\":0,\"repeated\":0,\"words\":" WORDS                           \
    ",\"claims\":3,\"distinct\":2}\n"
#define ASKED(QUESTION, YES, SAID) "{\"question\":\"" QUESTION "\",\"p_yes\":" YES ",\"p_no\":0.1,\"accepted\":" SAID "}"
#define UNASKED "{\"question\":null,\"p_yes\":0,\"p_no\":0,\"accepted\":false}"
#define CLAIM(TEXT, QUESTION) "{\"claim\":\"" TEXT "\",\"question\":\"" QUESTION "\"}"

/* The box is red (so it is, and the labeler says no: it is wrong) and in the north; a ball that is not there; text that is no sentence of
 * the world. */
#define BOX "A red box is in the north."
#define BOX_CLAIMS                                                                                                                         \
    CLAIM("There is a box.", "Is there a box?")                                                                                            \
    "," CLAIM("The box is red.", "Is the box red?") "," CLAIM("The box is in the north.", "Is the box in the north?")
#define BOX_PROBES                                                                                                                         \
    ASKED("Is there a box?", "0.91", "true")                                                                                               \
    "," ASKED("Is the box red?", "0.0625", "false") "," ASKED("Is the box in the north?", "0.8", "true")
#define BALL "There is a ball."
#define BALL_CLAIMS CLAIM("There is a ball.", "Is there a ball?")
#define BALL_PROBES ASKED("Is there a ball?", "0.03", "false")
#define NASTY_CLAIMS "{\"claim\":\"" NASTY_JSON "\",\"question\":null}"

#define CANDIDATE(ID, N, TEXT)                                                                                                             \
    "{\"id\":\"" ID "\",\"image\":\"IMAGE\",\"question\":\"Q " NASTY_JSON "\",\"candidate\":" N ",\"text\":\"" TEXT "\"}\n"
#define CLAIMS(ID, N, LIST)                                                                                                                \
    "{\"id\":\"" ID "\",\"candidate\":" N ",\"claims\":[" LIST "],\"left_out\":[{\"text\":\"" NASTY_JSON "\",\"why\":\"a question\"}]}\n"
#define LABELS(ID, N, LIST) "{\"id\":\"" ID "\",\"candidate\":" N ",\"probes\":[" LIST "],\"score\":-1}\n"

/* In the order in which a run makes them; `arrow` is the row of the ledger that lists the file. */
static const struct Made {
    int iteration;
    const char *arrow, *counts, *file, *text;
} made[] = {
    { 0, "eval-answers", "\"dropped\":1", "iter-0/eval/candidates.jsonl", CANDIDATE("e1", "0", BOX) CANDIDATE("e2", "0", BALL) },
    { 0, "eval", "", "iter-0/eval.json", RATES("0.5", "40") },
    { 1, "sample", "\"dropped_rows\":0,\"refused\":3", "iter-1/candidates.jsonl",
        CANDIDATE("p1", "0", BOX) CANDIDATE("p1", "1", BALL) CANDIDATE("p1", "2", NASTY_JSON) },
    { 1, "claims", "\"left_out\":3", "iter-1/claims.jsonl",
        CLAIMS("p1", "0", BOX_CLAIMS) CLAIMS("p1", "1", BALL_CLAIMS) CLAIMS("p1", "2", NASTY_CLAIMS) },
    { 1, "label", "\"answers\":3", "iter-1/labels.jsonl",
        LABELS("p1", "0", BOX_PROBES) LABELS("p1", "1", BALL_PROBES) LABELS("p1", "2", UNASKED) },
    { 1, "pair", "\"pairs\":2", "iter-1/pairs.jsonl",
        "{\"id\":\"p1\",\"image\":\"IMAGE\",\"question\":\"Q\",\"chosen\":\"" BOX "\",\"rejected\":\"" BALL
        "\",\"chosen_candidate\":0,\"rejected_candidate\":1,\"chosen_score\":-1,\"rejected_score\":-3}\n"
        "{\"id\":\"p1\",\"image\":\"IMAGE\",\"question\":\"Q\",\"chosen\":\"" BOX "\",\"rejected\":\"" NASTY_JSON
        "\",\"chosen_candidate\":0,\"rejected_candidate\":2,\"chosen_score\":-1,\"rejected_score\":-5}\n" },
    { 1, "train", "\"pairs\":2", "iter-1/train.json", "{}" },
    { 1, "select", "", "iter-1/select.json", "{\"step\":7,\"why\":\"fewest " NASTY_JSON "\"}" },
    { 1, "eval-answers", "", "iter-1/eval/candidates.jsonl",
        CANDIDATE("e1", "0", "There is a white moon.") CANDIDATE("e2", "0", NASTY_JSON) },
    { 1, "eval", "", "iter-1/eval.json", RATES("0.1", "30") },
    { 1, "final", "\"iteration\":1", "model", NULL },
    { 1, "examples", "", "examples/candidates.jsonl", CANDIDATE("e1", "0", BOX) CANDIDATE("e1", "1", "There is a white moon.") },
    { 1, "examples-claims", "", "examples/claims.jsonl",
        CLAIMS("e1", "0", BOX_CLAIMS)
            CLAIMS("e1", "1", CLAIM("There is a moon.", "Is there a moon?") "," CLAIM("The moon is white.", "Is the moon white?")) },
    { 1, "examples-labels", "", "examples/labels.jsonl",
        LABELS("e1", "0", BOX_PROBES)
            LABELS("e1", "1", ASKED("Is there a moon?", "0.99", "true") "," ASKED("Is the moon white?", "0.7", "true")) },
};
enum { MADE = sizeof made / sizeof *made };

static const char config[] =
    "[run]\niterations = 1\n[model]\ndir = policy-<b>\n[claims]\ngrammar = scenes\n[data]\nprompts = ../data/prompts.jsonl\n"
    "eval = ../data/eval.jsonl\n[eval]\nkind = scenes\ntemperature = 0.7\n";
static const char metrics[] = "{\"iteration\":0,\"phase\":\"eval\",\"step\":0,\"object_responses\":0.5,\"any_false\":0.5,\"words\":40}\n"
                              "{\"iteration\":1,\"phase\":\"label\",\"step\":0,\"score\":-2,\"claims\":8,\"rejected\":2}\n"
                              "{\"iteration\":1,\"phase\":\"train\",\"step\":1,\"loss\":0.6931,\"grad_norm\":2}\n"
                              "{\"iteration\":1,\"phase\":\"train\",\"step\":2,\"loss\":0.5,\"grad_norm\":null}\n";

static Image noise(int width, int height) {
    Image image = { .width = width, .height = height, .rgb = malloc((size_t)width * (size_t)height * 3) };
    uint32_t x = 1;
    for (int i = 0; i < width * height * 3; i++) image.rgb[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
    return image;
}

static void picture_put(const char *name, int width, int height) {
    Image image = noise(width, height);
    assert_int_equal(image_write_png(at(folder, name), &image, NULL), 0);
    image_free(&image);
}

static void text_put(const char *name, const char *text) {
    char whole[PATH_SIZE], parent[PATH_SIZE];
    strcpy(whole, at(folder, name));
    path_folder(parent, whole);
    assert_int_equal(folder_make(parent, NULL), 0);
    put(whole, text, strlen(text));
}

/* The text with IMAGE in it replaced by where the picture is. */
static char *placed(const char *text) {
    const char *image = at(folder, "data/e.png");
    char *out;
    size_t size;
    FILE *to = open_memstream(&out, &size);
    assert_non_null(to);
    while (*text)
        if (!strncmp(text, "IMAGE", 5)) fputs(image, to), text += 5;
        else putc(*text++, to);
    fclose(to);
    return out;
}

/* The first `n` things a run makes, under folder/run. */
static void run_put(int n) {
    char *ledger;
    size_t size;
    FILE *rows = open_memstream(&ledger, &size);
    assert_non_null(rows);
    if (file_exists(at(folder, "run"))) assert_int_equal(folder_remove(at(folder, "run"), NULL), 0);
    text_put("data/eval.jsonl",
        "{\"id\":\"e1\",\"image\":\"e.png\",\"question\":\"Q\"," TRUTH "}\n{\"id\":\"e2\",\"image\":\"e.png\",\"question\":\"Q\"," TRUTH
        "}\n{\"id\":\"bad\",\"image\":\"absent.png\",\"question\":\"Q\"}\n");
    text_put("data/prompts.jsonl", "{\"id\":\"p1\",\"image\":\"e.png\",\"question\":\"Q\"," TRUTH "}\n");
    picture_put("data/e.png", 24, 16);
    text_put("run/config.ini", config);
    for (int i = 0; i < n; i++) {
        char name[256];
        snprintf(name, sizeof name, "run/%s", made[i].file);
        if (made[i].text) {
            char *text = placed(made[i].text);
            text_put(name, text);
            free(text);
        }
        fprintf(rows,
            "{\"iteration\":%d,\"arrow\":\"%s\",\"inputs\":{\"in\":\"abc\"},\"outputs\":{\"%s\":\"0123456789abcdef\"},\"counts\":{%s},"
            "\"seconds\":1.5}\n",
            made[i].iteration, made[i].arrow, made[i].file, made[i].counts);
    }
    fclose(rows);
    if (n) text_put("run/ledger.jsonl", ledger), text_put("run/metrics.jsonl", metrics);
    free(ledger);
}

static char *page_of(const PageOptions *o) {
    Error e = { 0 };
    char *text, line[sizeof(Error) + 64];
    size_t n;
    if (page_make(at(folder, "run"), o, &e)) fail_msg("%s", error_text(&e, line, sizeof line));
    assert_int_equal(file_read(at(folder, "run/report.html"), 64 << 20, &text, &n, NULL), 0);
    assert_int_equal(strlen(text), n);
    return text;
}

static void has(const char *page, const char *part) {
    if (!strstr(page, part)) fail_msg("the page lacks \"%s\"", part);
}
static void lacks(const char *page, const char *part) {
    if (strstr(page, part)) fail_msg("the page has \"%s\"", part);
}
static int times(const char *page, const char *part) {
    int n = 0;
    for (; (page = strstr(page, part)); page += strlen(part)) n++;
    return n;
}

static json_t *data_of(const char *page) {
    static const char open[] = "<script type=\"application/json\" id=\"data\">";
    const char *from = strstr(page, open), *to = from ? strstr(from, "</script>") : NULL;
    assert_non_null(to);
    from += strlen(open);
    json_t *data = json_loadb(from, (size_t)(to - from), 0, NULL);
    assert_non_null(data);
    return data;
}

/* gnuplot is looked for in folder/bin alone, so that a machine's own changes nothing here. */
static int set_up(void **state) {
    (void)state;
    scratch_make(folder);
    path_before = strdup(getenv("PATH"));
    assert_int_equal(folder_make(at(folder, "bin"), NULL), 0);
    setenv("PATH", at(folder, "bin"), 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    setenv("PATH", path_before, 1);
    free(path_before);
    scratch_drop(folder);
    return 0;
}

/* ---- what stands in it ---- */

static const char *const sections[] = { "results", "curves", "answers", "browse", "dropped", "settings", "ledger" };

static void a_whole_run(void **state) {
    (void)state;
    run_put(MADE);
    char *page = page_of(&usual);
    has(page, "Finished. The result is iteration 1 of 1.");
    /* The table, and the paper beside it. */
    has(page, "<tr class=\"chosen\"><th scope=\"row\">iteration 1 *</th><td>10.0 %</td>");
    has(page, "<th scope=\"row\">object hallucination, responses</th><td>50.0 %</td><td>10.0 %</td><td>-80.0 %</td><td>-84.1 %</td>");
    has(page, "iteration 1: step 7, fewest ");
    /* Answers: marked where the labeler rejects, claims with verdict, P(yes) and truth. */
    has(page, "A <mark>red</mark> box is in the north.");
    has(page, "<li class=\"yes\"><span class=\"sign\" aria-hidden=\"true\">✓</span> <span class=\"claim\">There is a box.</span> <span "
              "class=\"unseen\">accepted</span> "
              "<span class=\"p\" title=\"P(yes)\">0.910</span> <span class=\"truth true\">true</span></li>");
    has(page, "<li class=\"no wrong\"><span class=\"sign\" aria-hidden=\"true\">✗</span> <span class=\"claim\">The box is red.</span>");
    has(page, "3 claims, 1 rejected, 3 of 3 true");
    /* e2 was in no example: its claims are made by rule, judged by the truth alone. */
    has(page, "<li class=\"open\"><span class=\"sign\" aria-hidden=\"true\">·</span> <span class=\"claim\">There is a ball.</span> <span "
              "class=\"unseen\">not judged</span> "
              "<span class=\"truth false\">false</span></li>");
    assert_int_equal(times(page, "<article class=\"card\">"), 2);
    /* Pictures as they are. */
    Pictures all = { .budget = 1 << 20 };
    char *uri = picture_uri(&all, &picture_whole, at(folder, "data/e.png"));
    has(page, uri);
    free(uri);
    /* What was left out. */
    has(page, "<th scope=\"row\">prompts refused for their picture or length</th><td>–</td><td class=\"some\">3</td>");
    has(page, "<th scope=\"row\">sentence left out: a question</th><td>3</td>");
    has(page, "eval.jsonl:3"); /* the row of the evaluation that was dropped, and why */
    has(page, "absent.png");
    /* Settings and ledger. */
    has(page, "dir = policy-&lt;b&gt;");
    has(page, "<dt>out iter-1/pairs.jsonl</dt><dd>0123456789abcdef</dd>");
    assert_int_equal(times(page, "<th scope=\"row\">eval-answers</th>"), 2);
    for (size_t i = 0; i < 7; i++) {
        char id[64];
        snprintf(id, sizeof id, "<section id=\"%s\">", sections[i]);
        has(page, id);
    }
    /* Nothing is loaded: no address but data: and places within. */
    for (const char *p = page; (p = strstr(p, "src=\"")); p += 5) assert_memory_equal(p + 5, "data:", 5);
    for (const char *p = page; (p = strstr(p, "href=\"")); p += 6) assert_true(p[6] == '#' || !strncmp(p + 6, "data:", 5));
    lacks(page, "@import");
    lacks(page, "url(");
    has(page, "No plan.txt:");
    char *again = page_of(&usual);
    assert_string_equal(page, again);
    free(again), free(page);
    text_put("run/plan.txt", "peak: <1> byte");
    page = page_of(&usual);
    has(page, "peak: &lt;1&gt; byte");
    free(page);
}

/* Judged as a whole: one verdict an answer, and no word of it is marked, whatever its claims by rule would be. */
static void a_holistic_run(void **state) {
    (void)state;
    char whole[sizeof config + 64];
    run_put(7);
    snprintf(whole, sizeof whole, "%s[label]\nmode = holistic\nscore = p_yes\n", config);
    text_put("run/config.ini", whole);
    text_put("run/iter-1/claims.jsonl", CLAIMS("p1", "0", CLAIM(BOX, "Is this right: " BOX)) CLAIMS("p1", "1", CLAIM(BALL, "Is this right: " BALL))
            CLAIMS("p1", "2", CLAIM("all of it", "Is this right?")));
    text_put("run/iter-1/labels.jsonl", LABELS("p1", "0", ASKED("Is this right: " BOX, "0.1", "false")) LABELS("p1", "1", ASKED("Is this right: " BALL, "0.1", "false"))
            LABELS("p1", "2", ASKED("Is this right?", "0.2", "false")));
    char *page = page_of(&usual);
    has(page, BOX);
    lacks(page, "<mark>");
    free(page);
}

static void pairs_as_data(void **state) {
    (void)state;
    run_put(MADE);
    char *page = page_of(&usual);
    json_t *data = data_of(page), *pair = json_array_get(json_object_get(data, "pairs"), 1), *k;
    assert_int_equal(json_array_size(json_object_get(data, "pictures")), 1); /* both are of one picture */
    assert_int_equal(json_array_size(json_object_get(data, "pairs")), 2);
    assert_int_equal(json_integer_value(json_object_get(pair, "i")), 1);
    assert_int_equal(json_integer_value(json_object_get(pair, "p")), 0);
    const json_t *chosen = json_object_get(pair, "c"), *rejected = json_object_get(pair, "r");
    assert_string_equal(json_string_value(json_object_get(chosen, "t")), BOX);
    assert_true(json_number_value(json_object_get(chosen, "s")) == -1 && json_number_value(json_object_get(rejected, "s")) == -5);
    assert_string_equal(json_string_value(json_object_get(rejected, "t")), NASTY);
    k = json_array_get(json_object_get(chosen, "k"), 1); /* the box is red: rejected, P(yes) 1/16, true */
    char *text = json_dumps(k, JSON_COMPACT);
    assert_string_equal(text, "[\"The box is red.\",1,0.0625,1]");
    free(text);
    k = json_array_get(json_object_get(rejected, "k"), 0);
    assert_string_equal(json_string_value(json_array_get(k, 0)), NASTY);
    assert_int_equal(json_integer_value(json_array_get(k, 1)), 2); /* unasked */
    assert_true(json_is_null(json_array_get(k, 2)));
    json_decref(data), free(page);
    /* Fewer than there are: said, and one from each part of the file. */
    PageOptions one = usual;
    one.pairs = 1, one.examples = 1;
    page = page_of(&one);
    has(page, "1 of 2 pairs are in this page");
    has(page, "1 of 2 prompts are shown");
    data = data_of(page);
    assert_int_equal(json_array_size(json_object_get(data, "pairs")), 1);
    json_decref(data), free(page);
    one.pairs = one.examples = 0;
    page = page_of(&one);
    has(page, "0 of 2 pairs are in this page");
    free(page);
}

static void nothing_gets_out(void **state) {
    (void)state;
    run_put(MADE);
    char *page = page_of(&usual);
    has(page, NASTY_HTML);
    lacks(page, "<script>"); /* the page's own two have attributes */
    lacks(page, "<img src=x");
    lacks(page, "\x01");
    assert_int_equal(times(page, "<script"), 2);
    assert_int_equal(times(page, "</script>"), 2);
    has(page, "\\u003c/script\\u003e");
    /* The policy allows scripts by a nonce alone, and the page's has it. */
    const char *nonce = strstr(page, "script-src 'nonce-");
    assert_non_null(nonce);
    char tag[64];
    snprintf(tag, sizeof tag, "<script nonce=\"%.32s\">", nonce + strlen("script-src 'nonce-"));
    has(page, tag);
    has(page, "default-src 'none'");
    free(page);

    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    html_text(f, "a\tb\n\x7f\x1f<>&\"'");
    fclose(f);
    assert_string_equal(text, "a\tb\n&#65533;&#65533;&lt;&gt;&amp;&quot;&#39;");
    free(text);
}

/* ---- unfinished ---- */

static void every_state_has_a_page(void **state) {
    (void)state;
    for (int n = 0; n <= MADE; n++) {
        run_put(n);
        char *page = page_of(&usual);
        for (size_t i = 0; i < 7; i++) {
            char id[64];
            snprintf(id, sizeof id, "<section id=\"%s\">", sections[i]);
            has(page, id);
        }
        assert_int_equal(times(page, "<section"), times(page, "</section>"));
        has(page, "</body>\n</html>\n");
        if (n == 0)
            has(page, "Nothing is done yet."), has(page, "Nothing is evaluated yet."), has(page, "No pairs yet."),
                has(page, "No evaluation answers yet.");
        else if (n < 11) has(page, "Not finished"), lacks(page, "The result is"), lacks(page, ", the result.");
        if (n >= 2 && n < 10) lacks(page, "From the start to"), has(page, "Nothing is trained and evaluated yet.");
        if (n == 10) has(page, "From the start to the newest iteration"), has(page, "After: iteration 1, the newest.");
        if (n > 10) has(page, "From the start to the result");
        free(page);
    }
    /* While another process writes: last lines without their ends. */
    run_put(3);
    FILE *f = fopen(at(folder, "run/ledger.jsonl"), "a");
    fputs("{\"iteration\":1,\"arr", f), fclose(f);
    f = fopen(at(folder, "run/metrics.jsonl"), "a");
    fputs("{\"iteration\":1,\"ph", f), fclose(f);
    free(page_of(&usual));
}

/* ---- refused ---- */

static void refused(const char *what, const char *where) {
    Error e = { 0 };
    assert_int_equal(page_make(at(folder, "run"), &usual, &e), -1);
    error_says(&e, what);
    error_says(&e, where);
    assert_false(file_exists(at(folder, "run/report.html")));
}

static void what_is_refused(void **state) {
    (void)state;
    Error e = { 0 };
    assert_int_equal(page_make(at(folder, "nowhere"), &usual, &e), -1);
    error_says(&e, "not a run's folder");
    assert_false(file_exists(at(folder, "nowhere")));
    /* Each file that a page reads, gone. */
    for (int i = 0; i < MADE; i++) {
        if (!made[i].text || !strcmp(made[i].file, "iter-1/train.json")) continue;
        char name[256];
        run_put(MADE);
        snprintf(name, sizeof name, "run/%s", made[i].file);
        assert_int_equal(remove(at(folder, name)), 0);
        refused("a file of the run is gone", made[i].file);
    }
    static const struct {
        const char *file, *text, *says;
    } bad[] = {
        { "run/config.ini", "[run]\nnothing = 1\n", "config.ini:2" },
        { "run/iter-1/eval.json", "{\"kind\":\"labeler\",\"prompts\":1,\"answers\":1}", "an evaluation of another kind" },
        { "run/iter-1/eval.json", "{\"kind\":\"scenes\",\"prompts\":1,\"answers\":1}", "object_responses" },
        { "run/iter-1/select.json", "{\"step\":1}", "why" },
        { "run/iter-1/pairs.jsonl", "{\"id\":\"p1\",\"question\":\"Q\"}\n", "pairs.jsonl:1" },
        { "run/iter-1/labels.jsonl", LABELS("p1", "0", BOX_PROBES) LABELS("p2", "1", BALL_PROBES), "rows do not match" },
        { "run/iter-1/labels.jsonl", LABELS("p1", "0", BOX_PROBES), "found the end of the file" },
        { "run/iter-1/labels.jsonl", LABELS("p1", "0", BALL_PROBES), "labels are not of these claims" },
        { "run/iter-1/labels.jsonl", "{\"id\":\"p1\",\"candidate\":0}\n", "expected a list" },
        { "run/iter-1/claims.jsonl", CLAIMS("p1", "0", "{}"), "claim" },
        { "run/iter-1/eval/candidates.jsonl", CANDIDATE("e2", "0", "x"), "rows do not match" },
        { "run/metrics.jsonl", "{\"iteration\":\n{}\n", "metrics.jsonl:1" },
        { "run/ledger.jsonl", "{\"iteration\":1}\n{}\n", "ledger.jsonl:1" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        run_put(MADE);
        text_put(bad[i].file, bad[i].text);
        refused(bad[i].says, "");
    }
}

static void the_command(void **state) {
    (void)state;
    Error e = { 0 };
    char run[PATH_SIZE], out[PATH_SIZE], option[] = "--out", examples[] = "--examples", wrong[] = "-1";
    run_put(MADE);
    strcpy(run, at(folder, "run")), strcpy(out, at(folder, "page.html"));
    assert_int_equal(command_report(0, (char *[]){ NULL }, &e), 2);
    error_says(&e, "report takes one folder of a run");
    assert_int_equal(command_report(3, (char *[]){ run, examples, wrong }, &e), 2);
    error_says(&e, "--examples");
    assert_int_equal(command_report(3, (char *[]){ run, option, out }, &e), 0);
    assert_true(file_exists(out));
    assert_false(file_exists(at(folder, "run/report.html")));
    assert_int_equal(command_report(1, (char *[]){ run }, &e), 0);
    assert_true(file_exists(at(folder, "run/report.html")));
    strcpy(out, at(folder, "none/page.html"));
    assert_int_equal(command_report(3, (char *[]){ run, option, out }, &e), -1);
    error_says(&e, "none/page.html");
}

/* ---- pictures ---- */

static unsigned char *uri_bytes(const char *uri, size_t *size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = strchr(uri, ',') + 1;
    unsigned char *out = malloc(strlen(p));
    unsigned group = 0;
    int bits = 0;
    for (*size = 0; *p && *p != '='; p++) {
        assert_non_null(strchr(digits, *p));
        group = group << 6 | (unsigned)(strchr(digits, *p) - digits), bits += 6;
        if (bits >= 8) out[(*size)++] = (unsigned char)(group >> (bits -= 8));
    }
    return out;
}

static void pictures(void **state) {
    (void)state;
    Pictures p = { .budget = 1 << 20 };
    char *file;
    size_t n, size;
    Image image;
    for (int width = 4; width < 7; width++) { /* all three ends of base64, by files of some sizes */
        picture_put("small.png", width, 3);
        char *uri = picture_uri(&p, &picture_thumbnail, at(folder, "small.png"));
        assert_int_equal(strncmp(uri, "data:image/png;base64,", 22), 0);
        unsigned char *bytes = uri_bytes(uri, &n);
        assert_int_equal(file_read(at(folder, "small.png"), 1 << 20, &file, &size, NULL), 0);
        assert_int_equal(n, size);
        assert_memory_equal(bytes, file, n);
        free(bytes), free(file), free(uri);
    }
    /* Past the size of files that go in as they are: shrunk, its proportions kept. */
    picture_put("large.png", 600, 300);
    char *uri = picture_uri(&p, &picture_whole, at(folder, "large.png"));
    assert_non_null(uri);
    unsigned char *bytes = uri_bytes(uri, &n);
    assert_int_equal(image_decode(bytes, n, "uri", &image, NULL), 0);
    assert_int_equal(image.width, picture_whole.side);
    assert_int_equal(image.height, picture_whole.side / 2);
    image_free(&image), free(bytes);
    assert_int_equal(p.shown, 4);
    /* A budget that it just fits, and one byte less. */
    Pictures exact = { .budget = strlen(uri) }, less = { .budget = strlen(uri) - 1 };
    char *again = picture_uri(&exact, &picture_whole, at(folder, "large.png"));
    assert_string_equal(again, uri);
    assert_int_equal(exact.budget, 0);
    assert_null(picture_uri(&less, &picture_whole, at(folder, "large.png")));
    assert_int_equal(less.over_budget, 1);
    free(again), free(uri);
    /* A PPM is small, and no browser shows it. */
    put(at(folder, "x.ppm"), "P6 1 1 255 abc", 14);
    uri = picture_uri(&p, &picture_whole, at(folder, "x.ppm"));
    assert_int_equal(strncmp(uri, "data:image/png;base64,", 22), 0);
    free(uri);
    put(at(folder, "x.txt"), "no picture", 10);
    assert_null(picture_uri(&p, &picture_whole, at(folder, "x.txt")));
    assert_null(picture_uri(&p, &picture_whole, at(folder, "absent.png")));
    assert_null(picture_uri(&p, &picture_whole, folder));
    assert_int_equal(p.unreadable, 3);
    /* In the page: said, and the answers are there all the same. */
    PageOptions tight = usual;
    tight.picture_bytes = 100;
    run_put(MADE);
    char *page = page_of(&tight);
    has(page, "2 pictures are left out: together they would pass the page's limit of bytes.");
    has(page, "<div class=\"nothing\">picture left out</div>");
    lacks(page, "data:image");
    has(page, "A <mark>red</mark> box");
    free(page);
    assert_int_equal(remove(at(folder, "data/e.png")), 0);
    page = page_of(&usual);
    has(page, "2 pictures are gone or cannot be read.");
    has(page, "1 pictures are gone or cannot be read.");
    free(page);
}

/* ---- curves ---- */

static void gnuplot_put(const char *script) {
    text_put("bin/gnuplot", script);
    assert_int_equal(chmod(at(folder, "bin/gnuplot"), 0755), 0);
}

static void curves_without_gnuplot(void **state) {
    (void)state;
    run_put(MADE);
    char *page = page_of(&usual);
    has(page, "gnuplot was not found or failed");
    has(page, "<b>loss</b> 0.6931 → 0.5</figcaption><svg");
    has(page, "<b>claims rejected, %</b> 25</figcaption>");
    /* From (1, highest) to (2, lowest); a number that was not finite is left out, so grad_norm is a dot. */
    has(page, "points=\"60.00,12.00 408.00,192.00 \"/>");
    has(page, "points=\"60.00,192.00 60.00,192.00\"/>");
    has(page, "<b>grad_norm</b> 2</figcaption>");
    lacks(page, "<b>learning_rate</b>"); /* no such numbers, no chart */
    free(page);
    gnuplot_put("#!/bin/sh\necho '<svg>half'\nexit 1\n");
    page = page_of(&usual);
    has(page, "gnuplot was not found or failed");
    lacks(page, "half");
    free(page);
    gnuplot_put("#!/bin/sh\necho nothing of use\n");
    page = page_of(&usual);
    has(page, "gnuplot was not found or failed");
    lacks(page, "nothing of use");
    free(page);
}

static void curves_by_gnuplot(void **state) {
    (void)state;
    run_put(MADE);
    /* It repeats its script, so that the script can be seen, within what gnuplot writes around. */
    gnuplot_put(
        "#!/bin/sh\necho '<?xml prolog?><svg a=\"b\"><title>c0</title><desc>D</desc><g id=\"gnuplot_canvas\"><defs>SHAPES</defs><text>'\n"
        "while read -r line; do echo \"$line\"; done\necho '</text></g></svg> after'\n");
    char *page = page_of(&usual);
    lacks(page, "gnuplot was not found");
    lacks(page, "<?xml");
    lacks(page, "<title>c0");
    lacks(page, "<desc>");
    lacks(page, "gnuplot_canvas");
    lacks(page, "</svg> after");
    assert_int_equal(times(page, "<defs>SHAPES</defs>"), 1);
    has(page, "plot '-' using 1:2 with linespoints pt 7 ps 0.4 lw 2 lc rgb '#2f7ed8' notitle\n1 0.6931\n2 0.5\ne\n");
    free(page);
    /* More points than pixels become means over neighbours. */
    FILE *f = fopen(at(folder, "run/metrics.jsonl"), "w");
    for (int i = 1; i <= 1601; i++) fprintf(f, "{\"iteration\":%d,\"phase\":\"train\",\"step\":%d,\"loss\":%d}\n", 1, i, i);
    fprintf(f, "{\"iteration\":2,\"phase\":\"train\",\"step\":1,\"loss\":7}\n");
    fclose(f);
    page = page_of(&usual);
    has(page, "\n2 2\n5 5\n");         /* three at a time */
    has(page, "\n1600.5 1600.5\ne\n"); /* the last two */
    has(page, "e\n1602 7\ne\n");       /* the next iteration goes on behind it */
    has(page, "with lines lw 2 lc rgb '#2f7ed8'");
    free(page);
}

/* The real one, where the machine has it: an answer that is one element. */
static void curves_by_the_real_one(void **state) {
    (void)state;
    setenv("PATH", path_before, 1);
    double x[] = { 1, 2, 3 }, y[] = { 1e-5, 2e-5, -1 };
    CurveLine lines[] = { { .x = x, .y = y, .n = 3 }, { .x = x, .y = y + 1, .n = 1, .colour = 9 } };
    char *svg = curve_by_gnuplot(lines, 2, 3);
    if (!svg) {
        print_message("skipped: no gnuplot\n");
        skip();
    }
    assert_int_equal(strncmp(svg, "<svg", 4), 0);
    assert_int_equal(times(svg, "<svg"), 1);
    assert_string_equal(svg + strlen(svg) - 6, "</svg>");
    lacks(svg, "<defs>");
    lacks(svg, "<title>");
    has(svg, "id=\"c3_plot_2\"");
    free(svg);
}

/* ---- rates read back ---- */

static void rates_come_back(void **state) {
    (void)state;
    TruthRates r = { .1, .2, .3, .4, .5, .6, .7, 8, 9, 10 }, back;
    Error e = { 0 };
    json_t *json = truth_rates_to_json(&r);
    assert_int_equal(json_object_size(json), 10);
    assert_int_equal(truth_rates_from_json(json, "f", &back, &e), 0);
    assert_memory_equal(&r, &back, sizeof r);
    json_object_del(json, "words");
    assert_int_equal(truth_rates_from_json(json, "f", &back, &e), -1);
    error_says(&e, "words");
    json_decref(json);
    LabelerRates l = { 3, 1, .5, .25, 2, 4, 9 }, also;
    json = labeler_rates_to_json(&l);
    assert_int_equal(labeler_rates_from_json(json, "f", &also, &e), 0);
    assert_true(l.answers == also.answers && l.refused == also.refused && l.rejections == also.rejections && l.any == also.any &&
                l.accepted == also.accepted && l.objects == also.objects && l.words == also.words);
    json_object_set_new(json, "refused", json_integer(-1));
    assert_int_equal(labeler_rates_from_json(json, "f", &also, &e), -1);
    error_says(&e, "refused");
    json_decref(json);
}

int main(void) {
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest report_page_test[] = { TEST(a_whole_run), TEST(a_holistic_run), TEST(pairs_as_data), TEST(nothing_gets_out),
        TEST(every_state_has_a_page), TEST(what_is_refused), TEST(the_command), TEST(pictures), TEST(curves_without_gnuplot),
        TEST(curves_by_gnuplot), TEST(curves_by_the_real_one), TEST(rates_come_back) };
    return cmocka_run_group_tests(report_page_test, NULL, NULL);
}

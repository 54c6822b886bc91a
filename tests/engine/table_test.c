/* table_test.c - tables of a folder of runs made here: means, spreads and changes beside values by hand, the three formats, what is empty,
 * what holds, and what is refused; and the program's own tables. */
#include "tests/check.h"

#include "engine/commands.h"
#include "engine/table/print.h"

#include <math.h>

static char folder[PATH_SIZE];

/* ---- a small file of tables ---- */

static const char tables[] =
    "{\"sources\": {\"a\": \"paper A\", \"b\": \"paper B\", \"c\": \"nobody's\"},\n"
    "\"runs\": {\"full\": {\"scenes\": \"run full\", \"full\": \"run big\"}, \"full-x\": {\"scenes\": \"run full-x\"}},\n"
    "\"columns\": {\n"
    "  \"rsp\": {\"name\": \"absent\", \"paper\": \"Rsp.\", \"unit\": \"%\", \"better\": \"lower\", \"places\": [\n"
    "    {\"eval\": \"scenes\", \"field\": \"object_responses\", \"scale\": 100},\n"
    "    {\"result\": \"scenes\", \"section\": \"all\", \"measure\": \"object_responses\"},\n"
    "    {\"result\": \"chair\", \"section\": \"objects\", \"measure\": \"chair_s_refine\"}]},\n"
    "  \"change\": {\"name\": \"change\", \"paper\": \"change\", \"unit\": \"%\", \"better\": \"lower\", \"change_of\": \"rsp\"},\n"
    "  \"trust\": {\"name\": \"trust\", \"decimals\": 2, \"better\": \"higher\", \"places\": [\n"
    "    {\"eval\": \"scenes\", \"field\": \"object_responses\", \"scale\": -100, \"offset\": 100}]},\n"
    "  \"agree\": {\"name\": \"agreement\", \"places\": [{\"result\": \"scenes\", \"section\": \"pairs\", \"measure\": \"agreement\"}]},\n"
    "  \"star\": {\"name\": \"MMStar\", \"paper\": \"MMStar\", \"places\": [{\"result\": \"mmstar\", \"benchmark\": \"choice\", "
    "\"section\": \"all\", "
    "\"measure\": \"accuracy\"}]}\n"
    "},\n"
    "\"tables\": [{\"name\": \"one\", \"title\": \"One\", \"note\": \"A, \\\"note\\\".\",\n"
    "  \"columns\": [\"rsp\", \"change\", \"trust\", \"agree\", \"star\"],\n"
    "  \"rows\": [\n"
    "    {\"key\": \"before\", \"title\": \"M\", \"is\": \"the start\", \"paper\": {\"a\": {\"rsp\": 50, \"star\": 30.3}, \"b\": {\"rsp\": "
    "40}}, \"measured\":\n"
    "      [{\"run\": \"full\", \"at\": \"start\", \"columns\": [\"rsp\", \"trust\", \"star\"]}]},\n"
    "    {\"key\": \"after\", \"title\": \"+ ours\", \"base\": \"before\", \"paper\": {\"a\": {\"rsp\": 10.5}, \"b\": {\"rsp\": 8.5, "
    "\"change\": -70}},\n"
    "      \"measured\": [{\"run\": \"full\", \"at\": \"chosen\"}, {\"run\": \"full\", \"at\": \"file iter-1/agreement.json\", "
    "\"columns\": [\"agree\"]}]},\n"
    "    {\"key\": \"best\", \"title\": \"best\", \"base\": \"before\", \"measured\": [{\"run\": \"full\", \"at\": \"file "
    "best/reward-16.json\", \"columns\": "
    "[\"rsp\"], \"command\": \"choose\"}]},\n"
    "    {\"key\": \"x\", \"title\": \"x\", \"measured\": [{\"run\": \"full-x\", \"at\": \"iteration 2\", \"columns\": [\"rsp\"]}]},\n"
    "    {\"key\": \"v\", \"title\": \"V\", \"is\": \"alone\", \"paper\": {\"b\": {\"rsp\": 13.6}}}\n"
    "  ],\n"
    "  \"checks\": [\n"
    "    {\"text\": \"falls by 83\", \"kind\": \"reduction_at_least\", \"cell\": [\"after\", \"rsp\"], \"value\": 83},\n"
    "    {\"text\": \"falls by 84\", \"kind\": \"reduction_at_least\", \"cell\": [\"after\", \"rsp\"], \"value\": 84},\n"
    "    {\"text\": \"by 84 at most\", \"kind\": \"reduction_at_most\", \"cell\": [\"after\", \"rsp\"], \"value\": 84},\n"
    "    {\"text\": \"below 11\", \"kind\": \"less_than\", \"cell\": [\"after\", \"rsp\"], \"value\": 11},\n"
    "    {\"text\": \"better than before\", \"kind\": \"less_than\", \"cell\": [\"after\", \"rsp\"], \"than\": [\"before\", \"rsp\"]},\n"
    "    {\"text\": \"best above\", \"kind\": \"more_than\", \"cell\": [\"best\", \"rsp\"], \"than\": [\"after\", \"rsp\"]},\n"
    "    {\"text\": \"start worse\", \"kind\": \"worse_by_spread\", \"cell\": [\"before\", \"rsp\"], \"than\": [\"after\", \"rsp\"]},\n"
    "    {\"text\": \"start less trusted\", \"kind\": \"worse_by_spread\", \"cell\": [\"before\", \"trust\"], \"than\": [\"after\", "
    "\"trust\"]},\n"
    "    {\"text\": \"ours worse than best\", \"kind\": \"worse_by_spread\", \"cell\": [\"after\", \"rsp\"], \"than\": [\"best\", "
    "\"rsp\"]},\n"
    "    {\"text\": \"x less\", \"kind\": \"less_than\", \"cell\": [\"x\", \"rsp\"], \"than\": [\"before\", \"rsp\"]}\n"
    "  ]}]}\n";

/* ---- runs ---- */

static void text_put(const char *name, const char *text) {
    char whole[PATH_SIZE], parent[PATH_SIZE];
    strcpy(whole, at(folder, name));
    path_folder(parent, whole);
    assert_int_equal(folder_make(parent, NULL), 0);
    put(whole, text, strlen(text));
}

static void json_put(const char *name, json_t *json) {
    char *text = json_dumps(json, JSON_INDENT(1));
    assert_non_null(text);
    text_put(name, text);
    free(text), json_decref(json);
}

/* An eval.json as a run writes it, and its row in the ledger. */
static void eval_put(const char *run, int iteration, double object_responses) {
    char name[256], relative[64];
    TruthRates rates = { .object_responses = object_responses, .coverage = .9, .words = 30 };
    json_t *json = truth_rates_to_json(&rates);
    json_object_set_new(json, "kind", json_string("scenes"));
    json_object_set_new(json, "prompts", json_integer(400)), json_object_set_new(json, "answers", json_integer(400));
    snprintf(relative, sizeof relative, "iter-%d/eval.json", iteration);
    snprintf(name, sizeof name, "runs/%s/%s", run, relative);
    json_put(name, json);
    Ledger ledger;
    Arrow arrow;
    snprintf(name, sizeof name, "runs/%s", run);
    assert_int_equal(ledger_open(&ledger, at(folder, name), NULL), 0);
    assert_int_equal(arrow_begin(&arrow, iteration, "eval", NULL), 0);
    assert_int_equal(arrow_output(&arrow, &ledger, relative, NULL), 0);
    assert_int_equal(ledger_record(&ledger, &arrow, NULL), 0);
    arrow_free(&arrow);
    ledger_close(&ledger);
}

static void final_put(const char *run, int chosen) {
    char name[256];
    Ledger ledger;
    Arrow arrow;
    snprintf(name, sizeof name, "runs/%s", run);
    assert_int_equal(ledger_open(&ledger, at(folder, name), NULL), 0);
    assert_int_equal(arrow_begin(&arrow, 2, "final", NULL), 0);
    assert_int_equal(arrow_count(&arrow, "iteration", chosen, NULL), 0);
    assert_int_equal(ledger_record(&ledger, &arrow, NULL), 0);
    arrow_free(&arrow);
    ledger_close(&ledger);
}

static void config_put(const char *run) {
    char name[256];
    RunConfig *c = malloc(sizeof *c);
    config_defaults(c);
    c->eval.kind = EVAL_SCENES, c->data.per_iteration = 7;
    strcpy(c->model.dir, "tests/golden/llava15-hub/model");
    snprintf(name, sizeof name, "runs/%s", run);
    assert_int_equal(folder_make(at(folder, name), NULL), 0);
    snprintf(name, sizeof name, "runs/%s/config.ini", run);
    assert_int_equal(config_write(c, at(folder, name), NULL), 0);
    free(c);
}

/* A result as `rlaifv eval NAME` writes it. */
static void result_put(const char *name, const char *benchmark, const char *section, const char *measure, double value) {
    json_put(name, json_pack("{s:s, s:i, s:{s:{s:i, s:{s:f, s:f, s:f}}}}", "benchmark", benchmark, "answers", 50, "measures", section,
                       "answers", 50, measure, "value", value, "low", value - 1, "high", value + 1));
}

/* Three seeds that fall from 60, 50, 70 % to 6, 10, 14 %; seed 12 stands for what has just begun. */
static void runs_put(void) {
    static const double start[] = { .6, .5, .7 }, chosen[] = { .06, .1, .14 };
    if (file_exists(at(folder, "runs"))) assert_int_equal(folder_remove(at(folder, "runs"), NULL), 0);
    for (int i = 0; i < 3; i++) {
        char run[32], name[128];
        snprintf(run, sizeof run, "full-%d", i + 1);
        config_put(run);
        eval_put(run, 0, start[i]), eval_put(run, 1, .5), eval_put(run, 2, chosen[i]);
        final_put(run, 2);
        snprintf(name, sizeof name, "runs/%s/best/reward-16.json", run);
        if (i < 2) result_put(name, "scenes", "all", "object_responses", 4);
        snprintf(name, sizeof name, "runs/%s/iter-1/agreement.json", run);
        result_put(name, "scenes", "pairs", "agreement", 96 + i);
        snprintf(name, sizeof name, "runs/%s/iter-0/evals/mmstar.json", run);
        if (i == 1) result_put(name, "choice", "all", "accuracy", 31.5);
    }
    config_put("full-12");
    text_put("runs/full-012/config.ini", "not asked for"), text_put("runs/full/config.ini", "nor this"),
        text_put("runs/full-1x/a", "nor this");
}

static int set_up(void **state) {
    (void)state;
    scratch_make(folder);
    text_put("tables.json", tables);
    runs_put();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    scratch_drop(folder);
    return 0;
}

static int table_run(const char *name, const char *format, const char *extra, Error *e) {
    char word[64], form[32], more[32], runs[] = "--runs", file[] = "--tables", out[] = "--out";
    char in[PATH_SIZE], from[PATH_SIZE], to[PATH_SIZE];
    snprintf(word, sizeof word, "%s", name), snprintf(form, sizeof form, "--format=%s", format);
    snprintf(more, sizeof more, "%s", extra ? extra : "");
    strcpy(in, at(folder, "runs")), strcpy(from, at(folder, "tables.json")), strcpy(to, at(folder, "out"));
    char *argv[] = { word, runs, in, file, from, out, to, form, extra ? more : NULL, NULL };
    return command_table(extra ? 9 : 8, argv, e);
}

static char *out_read(void) {
    char *text;
    size_t size;
    assert_int_equal(file_read(at(folder, "out"), 1 << 24, &text, &size, NULL), 0);
    return text;
}

static char *table_text(const char *format) {
    Error e = { 0 };
    char line[sizeof(Error) + 64];
    if (table_run("one", format, NULL, &e)) fail_msg("%s", error_text(&e, line, sizeof line));
    return out_read();
}

static void has(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("\"%s\" is not in:\n%s", part, text);
}
static void lacks(const char *text, const char *part) {
    if (strstr(text, part)) fail_msg("\"%s\" is in:\n%s", part, text);
}

/* ---- numbers ---- */

static void near(double found, double expected) {
    if (!(fabs(found - expected) < 1e-9)) fail_msg("%.12g, expected %.12g", found, expected);
}

static void numbers(void **state) {
    (void)state;
    TableSpec s;
    TableRuns runs;
    TableFilled f;
    assert_int_equal(spec_open(&s, at(folder, "tables.json"), NULL), 0);
    assert_int_equal(runs_open(&runs, &s, at(folder, "runs"), NULL), 0);
    assert_int_equal(runs.n, 4);
    assert_string_equal(runs.list[3].name, "full-12");
    assert_int_equal(table_fill(&f, &s, &s.tables[0], &runs, NULL), 0);
    const Samples *before = &table_cell(&f, 0, 0)->measured, *after = &table_cell(&f, 1, 0)->measured;
    assert_int_equal(before->n, 3);
    near(before->mean, 60), near(before->spread, 10); /* sqrt((0 + 100 + 100) / 2) */
    near(after->mean, 10), near(after->spread, 4);
    assert_string_equal(after->list[2].file, "full-3/iter-2/eval.json");
    /* -90, -80, -80: the mean of the changes, not the change of the means */
    const Samples *change = &table_cell(&f, 1, 1)->measured;
    near(change->mean, -250.0 / 3), near(change->spread, sqrt(200.0 / 3 / 2));
    near(change->list[0].value, -90);
    const Samples *trust = &table_cell(&f, 1, 2)->measured;
    near(trust->mean, 90), near(trust->spread, 4);
    const Samples *agree = &table_cell(&f, 1, 3)->measured;
    near(agree->mean, 97), near(agree->spread, 1);
    const TableCell *star = table_cell(&f, 0, 4), *best = table_cell(&f, 2, 0);
    assert_int_equal(star->measured.n, 1);
    near(star->measured.mean, 31.5);
    assert_true(isnan(star->measured.spread));
    assert_false(star->in_scenes);
    assert_int_equal(best->measured.n, 2);
    near(best->measured.mean, 4), near(best->measured.spread, 0);
    /* A change is of seeds that both have: 4 from 60, 4 from 50. */
    const Samples *best_change = &table_cell(&f, 2, 1)->measured;
    assert_int_equal(best_change->n, 2);
    near(best_change->mean, 100 * ((4 - 60) / 60. + (4 - 50) / 50.) / 2);
    /* Published changes: of one source, or as printed. */
    const TableCell *paper = table_cell(&f, 1, 1);
    assert_int_equal(paper->papers, 2);
    near(paper->paper[0].value, -79), near(paper->paper[1].value, -70);
    assert_int_equal(table_empty(&f), 1);
    assert_int_equal(table_failing(&f), 2);
    static const CheckVerdict expected[] = { CHECK_HOLDS, CHECK_FAILS, CHECK_HOLDS, CHECK_HOLDS, CHECK_HOLDS, CHECK_FAILS, CHECK_HOLDS,
        CHECK_HOLDS, CHECK_HOLDS, CHECK_OPEN };
    for (int i = 0; i < 10; i++)
        if (f.checks[i].verdict != expected[i]) fail_msg("check %d: %s", i, check_verdicts[f.checks[i].verdict]);
    table_filled_free(&f);
    runs_close(&runs);
    spec_free(&s);
}

/* The difference must pass the larger of both spreads, and a single seed has none. */
static void by_more_than_the_spread(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "runs/full-%d/best/reward-16.json", i + 1);
        result_put(name, "scenes", "all", "object_responses", 6); /* 10 +- 4 beside 6: not more than 4 */
    }
    char *text = table_text("markdown");
    has(text, "- **does not hold**: ours worse than best (10.0 ± 4.0, n = 3 beside 6.0 ± 0.0, n = 3)");
    free(text);
    assert_int_equal(remove(at(folder, "runs/full-2/best/reward-16.json")), 0);
    assert_int_equal(remove(at(folder, "runs/full-3/best/reward-16.json")), 0);
    text = table_text("markdown");
    has(text, "- **not measured**: ours worse than best (10.0 ± 4.0, n = 3 beside 6.0, n = 1); a spread needs two seeds of both");
    free(text);
}

/* ---- formats ---- */

static void markdown(void **state) {
    (void)state;
    char *text = table_text("markdown");
    has(text, "## One\n\nA, \"note\".\n\n"
              "| | in the built-in world | paper: Rsp., % ↓ | absent, % ↓ | paper: change, % ↓ | change, % ↓ | trust ↑ | agreement | "
              "paper: MMStar | MMStar |\n"
              "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
              "| M | the start | 50.0 (a), 40.0 (b) | 60.0 ± 10.0, n = 3 | | | 40.00 ± 10.00, n = 3 | | 30.3 (a) | 31.5, n = 1 |\n"
              "| + ours | | 10.5 (a), 8.5 (b) | 10.0 ± 4.0, n = 3 | -79.0 (a), -70.0 (b) | -83.3 ± 5.8, n = 3 | 90.00 ± 4.00, n = 3 | 97.0 "
              "± 1.0, n = 3 | | [1] |\n"
              "| best | | | 4.0 ± 0.0, n = 2 | | -92.7 ± 0.9, n = 2 | | | | |\n"
              "| x | | | [2] | | | | | | |\n"
              "| V | alone | 13.6 (b) | | | | | | | |\n");
    has(text, "Empty cells are filled by:\n\n- [1] `run big, then rlaifv eval choice ... --out ");
    has(text, "/runs/full-SEED/iter-*/evals/mmstar.json`\n- [2] `run full-x`\n");
    has(text,
        "- **holds**: falls by 83 (change, %: -83.3 ± 5.8, n = 3)\n- **does not hold**: falls by 84 (change, %: -83.3 ± 5.8, n = 3)\n");
    has(text, "- **holds**: below 11 (10.0 ± 4.0, n = 3 beside 11.0)\n");
    has(text, "- **not measured**: x less\n");
    has(text, "Published:\n\n- a: paper A\n- b: paper B\n");
    lacks(text, "nobody's");
    has(text, "full-1`: policy of ");
    has(text, " parameters, 7 prompts an iteration; 400 answers judged; last row of the ledger `");
    has(text, "5 files read, `"); /* of seed 2: two evaluations, best, agreement, mmstar */
    lacks(text, "full-12");
    char *again = table_text("markdown");
    assert_string_equal(text, again);
    free(text), free(again);
}

static void csv(void **state) {
    (void)state;
    char *text = table_text("csv"), *again = table_text("csv");
    assert_string_equal(text, again);
    static const char heading[] =
        "table,row,column,unit,paper,paper_source,paper_also,measured,spread,seeds,measured_by,size,source,fill_command\n";
    assert_memory_equal(text, heading, sizeof heading - 1);
    int lines = 0, quoted = 0;
    for (const char *p = text; *p; p++) quoted ^= *p == '"', lines += *p == '\n' && !quoted;
    assert_int_equal(lines, 1 + 5 * 5);
    has(text, "one,after,rsp,%,10.5,a,b 8.5,10,4,3,scenes,\"policy of ");
    has(text, " prompts an iteration, 400 answers\",full-1/iter-2/eval.json full-2/iter-2/eval.json full-3/iter-2/eval.json,run full\n");
    has(text, "one,after,change,%,-79,a,b -70,-83.33333333,5.773502692,3,,");
    has(text, "one,x,rsp,%,,,,,,0,,,,run full-x\n");
    has(text, "one,v,rsp,%,13.6,b,,,,0,,,,\n");
    has(text, ",full-2/iter-0/evals/mmstar.json,\"run big, then rlaifv eval choice");
    free(text), free(again);
}

static void json(void **state) {
    (void)state;
    char *text = table_text("json"), *again = table_text("json");
    assert_string_equal(text, again);
    json_t *top = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(top);
    const json_t *one = json_array_get(json_object_get(top, "tables"), 0), *cell = json_array_get(json_object_get(one, "cells"), 5), *seeds;
    assert_int_equal(json_array_size(json_object_get(one, "cells")), 25);
    assert_string_equal(json_string_value(json_object_get(cell, "row")), "after");
    assert_string_equal(json_string_value(json_object_get(cell, "fill_command")), "run full");
    near(json_real_value(json_object_get(cell, "measured")), 10), near(json_real_value(json_object_get(cell, "spread")), 4);
    seeds = json_object_get(cell, "seeds");
    assert_int_equal(json_array_size(seeds), 3);
    near(json_real_value(json_object_get(json_array_get(seeds, 1), "value")), 10);
    assert_string_equal(json_string_value(json_object_get(json_array_get(seeds, 1), "file")), "full-2/iter-2/eval.json");
    cell = json_array_get(json_object_get(one, "cells"), 24);
    assert_true(json_is_null(json_object_get(cell, "measured")) && json_is_null(json_object_get(cell, "fill_command")));
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(one, "checks"), 1), "verdict")), "does not hold");
    const json_t *run = json_array_get(json_object_get(one, "runs"), 0);
    assert_int_equal(json_array_size(json_object_get(one, "runs")), 3);
    char hash[HASH_TEXT];
    assert_int_equal(hash_file(at(folder, "runs/full-1/iter-0/eval.json"), hash, NULL), 0);
    assert_string_equal(json_string_value(json_object_get(json_object_get(run, "files"), "iter-0/eval.json")), hash);
    json_decref(top), free(text), free(again);
}

/* ---- the command ---- */

static void what_check_says(void **state) {
    (void)state;
    Error e = { 0 };
    assert_int_equal(table_run("one", "markdown", "--check", &e), -1);
    error_says(&e, "2 checks that do not hold, 1 empty cell of the built-in world");
    assert_true(file_exists(at(folder, "out"))); /* written all the same */
    assert_int_equal(table_run("all", "markdown", NULL, &e), 0);
    assert_int_equal(table_run("wun", "markdown", NULL, &e), 2);
    error_says(&e, "no such table: command line; found \"wun\"; expected all, one");
    assert_int_equal(table_run("on", "markdown", NULL, &e), 2);
    error_says(&e, "did you mean one?");
    assert_int_equal(command_table(0, (char *[]){ NULL }, &e), 2);
    error_says(&e, "table takes one name");
    assert_int_equal(table_run("one", "html", NULL, &e), 2);
    error_says(&e, "markdown | csv | json");
}

/* No runs at all: every cell that could be measured says by what. */
static void nothing_there(void **state) {
    (void)state;
    Error e = { 0 };
    assert_int_equal(folder_remove(at(folder, "runs"), NULL), 0);
    assert_int_equal(table_run("one", "markdown", NULL, &e), -1);
    error_says(&e, "no such folder");
    assert_int_equal(folder_make(at(folder, "runs/full-x-3"), NULL), 0); /* begun: without anything in it */
    char *text = table_text("markdown");
    has(text, "| M | the start | 50.0 (a), 40.0 (b) | [1] | | | [1] | | 30.3 (a) | [2] |\n");
    has(text, "- **not measured**: falls by 83\n");
    lacks(text, "Measured in");
    free(text);
}

/* ---- refused ---- */

static void refused(const char *what, const char *where) {
    Error e = { 0 };
    if (file_exists(at(folder, "out"))) remove(at(folder, "out"));
    assert_int_equal(table_run("one", "markdown", NULL, &e), -1);
    error_says(&e, what);
    error_says(&e, where);
    assert_false(file_exists(at(folder, "out")));
}

static void runs_refused(void **state) {
    (void)state;
    static const struct {
        const char *file, *text, *says;
    } bad[] = {
        { "runs/full-2/iter-2/eval.json", "{\"kind\":\"scenes\",\"prompts\":1,\"answers\":1}", "object_responses" },
        { "runs/full-2/iter-2/eval.json", "{\"kind\":\"scenes\",", "bad JSON" },
        { "runs/full-2/iter-2/eval.json", "{\"kind\":\"labeler\",\"prompts\":1,\"answers\":1}", "an evaluation of another kind" },
        { "runs/full-1/config.ini", "[run]\nnothing = 1\n", "unknown key" },
        { "runs/full-1/ledger.jsonl", "{}\n", "iteration" },
        { "runs/full-3/iter-1/agreement.json", "{\"benchmark\":\"scenes\",\"answers\":1,\"measures\":{\"all\":{}}}",
            "a result without its number" },
        { "runs/full-3/iter-1/agreement.json", "{\"benchmark\":\"scenes\",\"answers\":1}", "measures" },
        { "runs/full-3/iter-1/agreement.json", "{\"answers\":1}", "benchmark" },
        { "runs/full-2/iter-0/evals/mmstar.json", "{\"benchmark\":\"pope\",\"measures\":{}}", "a result of another benchmark" },
        { "runs/full-2/iter-0/evals/mmstar.json", "{\"benchmark\":\"choice\",\"measures\":{\"all\":{\"accuracy\":\"x\"}}}",
            "a result without its number" },
        { "runs/full-2/best/reward-16.json", "{\"benchmark\":\"chair\",\"measures\":{\"objects\":{\"chair_s_refine\":{\"value\":3.5}}}}",
            "seeds measured in different ways" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char run[16];
        runs_put();
        text_put(bad[i].file, bad[i].text);
        snprintf(run, sizeof run, "%.6s", bad[i].file + 5);
        refused(bad[i].says, run);
    }
    runs_put();
    assert_int_equal(remove(at(folder, "runs/full-3/iter-2/eval.json")), 0);
    refused("a file of the run is gone", "full-3/iter-2/eval.json");
    runs_put();
    assert_int_equal(remove(at(folder, "runs/full-3/config.ini")), 0);
    refused("not a run's folder", "full-3");
    /* A number that is undefined is not there; a section that was not asked for neither. */
    runs_put();
    text_put("runs/full-2/iter-0/evals/mmstar.json", "{\"benchmark\":\"choice\",\"measures\":{\"all\":{\"accuracy\":{\"value\":null}}}}");
    free(table_text("markdown"));
    text_put("runs/full-2/iter-0/evals/mmstar.json", "{\"benchmark\":\"choice\",\"measures\":{\"other\":{}}}");
    free(table_text("markdown"));
}

/* The small file with one thing in it replaced. */
static void tables_refused(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *what, *where;
    } bad[] = {
        { "\"sources\"", "\"source\"", "did you mean sources?", "tables.json" },
        { "\"paper A\"", "7", "wrong type", "tables.json: sources: field \"a\"" },
        { "\"paper A\"", "\"A | B\"", "a text that cannot stand in a table", "field \"a\"" },
        { "\"run full-x\"", "\"\"", "a text that cannot stand in a table", "runs.full-x" },
        { "\"lower\", \"places\"", "\"low\", \"places\"", "found \"low\"; expected lower | higher", "columns.rsp: field \"better\"" },
        { "\"field\": \"object_responses\"", "\"field\": \"object_response\"", "did you mean object_responses?", "columns.rsp.places[0]" },
        { "{\"eval\": \"scenes\"", "{\"eval\": \"people\"", "expected scenes | labeler", "columns.rsp.places[0]" },
        { "\"section\": \"pairs\", ", "", "missing field", "columns.agree.places[0]: field \"section\"" },
        { "\"change_of\": \"rsp\"", "\"change_of\": \"trust\"", "no such column before this one", "columns.change" },
        { "\"change_of\": \"rsp\"", "\"change_of\": \"rsp\", \"places\": []", "a column of changes has no places", "columns.change" },
        { "\"decimals\": 2", "\"decimals\": 7", "out of range", "columns.trust: field \"decimals\"" },
        { "[\"rsp\", \"change\", \"trust\"", "[\"change\", \"trust\"", "a change stands behind what changes", "tables[0]" },
        { "[\"rsp\", \"change\", \"trust\"", "[7, \"change\", \"trust\"", "no such column", "tables[0]" },
        { "{\"a\": {\"rsp\": 50", "{\"d\": {\"rsp\": 50", "no such source", "tables[0].rows[0]" },
        { "{\"a\": {\"rsp\": 50", "{\"a\": {\"rps\": 50", "did you mean rsp?", "tables[0].rows[0]" },
        { "{\"a\": {\"rsp\": 50", "{\"a\": {\"rsp\": \"50\"", "wrong type", "tables[0].rows[0]: field \"rsp\"" },
        { "\"base\": \"before\", \"paper\"", "\"base\": \"best\", \"paper\"", "no such row before this one", "tables[0].rows[1]" },
        { "\"key\": \"v\"", "\"key\": \"x\"", "two rows of one key", "tables[0].rows[4]" },
        { "\"run\": \"full-x\"", "\"run\": \"full-y\"", "did you mean full-x?", "tables[0].rows[3].measured[0]" },
        { "\"at\": \"iteration 2\"", "\"at\": \"iteration two\"", "iteration K", "tables[0].rows[3].measured[0]: field \"at\"" },
        { "\"at\": \"iteration 2\"", "\"at\": \"file ../x\"", "below the run", "tables[0].rows[3].measured[0]: field \"at\"" },
        { "\"columns\": [\"agree\"]", "\"columns\": []", "a cell that is measured twice", "tables[0].rows[1].measured[1]" },
        { "\"columns\": [\"agree\"]", "\"columns\": [1]", "expected names of columns", "tables[0].rows[1].measured[1]" },
        { "\"cell\": [\"after\", \"rsp\"], \"value\": 83", "\"cell\": [\"after\"], \"value\": 83", "not a cell", "tables[0].checks[0]" },
        { "\"cell\": [\"after\", \"rsp\"], \"value\": 83", "\"cell\": [\"x\", \"rsp\"], \"value\": 83", "a reduction from nothing",
            "tables[0].checks[0]" },
        { "\"value\": 83", "\"than\": [\"x\", \"rsp\"]", "a check against the wrong thing", "tables[0].checks[0]" },
        { ", \"value\": 11", "", "neither than nor value", "tables[0].checks[3]" },
        { "\"worse_by_spread\", \"cell\": [\"before\", \"rsp\"]", "\"worse_by_spread\", \"cell\": [\"before\", \"agree\"]", "no better",
            "tables[0].checks[6]" },
        { "\"kind\": \"less_than\"", "\"kind\": \"fewer\"", "worse_by_spread", "tables[0].checks[3]: field \"kind\"" },
        { "\"tables\": [{", "\"tables\": [7, {", "wrong type", "tables[0]" },
        { "]}]}", "]}]", "bad JSON", "tables.json" },
        { "\"title\": \"One\",", "\"title\": \"One\", \"title\": \"One\",", "duplicate", "tables.json" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[sizeof tables + 256];
        const char *hit = strstr(tables, bad[i].from);
        if (!hit) fail_msg("no %s", bad[i].from);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(hit - tables), tables, bad[i].to, hit + strlen(bad[i].from));
        text_put("tables.json", text);
        refused(bad[i].what, bad[i].where);
    }
}

/* ---- the program's own ---- */

/* Each config that a run names is there, and each table prints without a single run. */
static void the_built_in_ones(void **state) {
    (void)state;
    static const char *const names[] = { "main", "benchmarks", "ablation-feedback", "ablation-split", "iterations", "labelers", "best-of-n",
        "transfer" };
    TableSpec s;
    TableRuns runs;
    Error e = { 0 };
    char line[sizeof(Error) + 64];
    if (spec_open(&s, NULL, &e)) fail_msg("%s", error_text(&e, line, sizeof line));
    assert_int_equal(s.tables_n, sizeof names / sizeof *names);
    assert_int_equal(runs_open(&runs, &s, at(folder, "nowhere"), NULL), 0);
    for (int i = 0; i < s.tables_n; i++) {
        TableFilled f;
        assert_string_equal(s.tables[i].name, names[i]);
        assert_int_equal(table_fill(&f, &s, &s.tables[i], &runs, NULL), 0);
        assert_int_equal(table_failing(&f), 0);
        assert_int_equal(table_empty(&f) > 0, strcmp(names[i], "benchmarks") != 0);
        table_filled_free(&f);
    }
    for (int i = 0; i < s.runs_n; i++) {
        char path[PATH_SIZE];
        const char *config = s.runs[i].full ? strstr(s.runs[i].full, "configs/") : NULL;
        if (!config) continue;
        snprintf(path, sizeof path, "%.*s", (int)strcspn(config, " ,"), config);
        if (!file_exists(path)) fail_msg("%s is absent", path);
    }
    /* The abstract's changes, out of the tables of its version. */
    TableFilled f;
    assert_int_equal(table_fill(&f, &s, &s.tables[0], &runs, NULL), 0);
    const TableCell *mentions = table_cell(&f, 1, 3), *overall = table_cell(&f, 1, 5);
    assert_string_equal(s.sources[mentions->paper[1].source].key, "v1");
    assert_true(fabs(mentions->paper[1].value + 82.9) < .05 && fabs(overall->paper[1].value + 42.1) < .05);
    table_filled_free(&f);
    runs_close(&runs);
    spec_free(&s);
}

/* A run without truth: benchmarks' results beside its eval.json, whose kind is the labeler's. */
static void at_the_papers_size(void **state) {
    (void)state;
    Error e = { 0 };
    char in[PATH_SIZE], to[PATH_SIZE], word[] = "main", runs[] = "--runs", out[] = "--out", line[sizeof(Error) + 64];
    LabelerRates rates = { .answers = 96, .any = .625, .rejections = 2, .words = 80 };
    json_t *json = labeler_rates_to_json(&rates);
    json_object_set_new(json, "kind", json_string("labeler")), json_object_set_new(json, "prompts", json_integer(96));
    assert_int_equal(folder_remove(at(folder, "runs"), NULL), 0);
    config_put("full-1");
    text_put("runs/full-1/config.ini", "[eval]\nkind = labeler\n[data]\nper_iteration = 4000\n");
    json_put("runs/full-1/iter-0/eval.json", json);
    result_put("runs/full-1/iter-0/evals/chair.json", "chair", "objects", "chair_s_refine", 53.6);
    Ledger ledger;
    Arrow arrow;
    assert_int_equal(ledger_open(&ledger, at(folder, "runs/full-1"), NULL), 0);
    assert_int_equal(arrow_begin(&arrow, 0, "eval", NULL), 0);
    assert_int_equal(ledger_record(&ledger, &arrow, NULL), 0);
    arrow_free(&arrow), ledger_close(&ledger);
    json_t *chair = NULL; /* what else CHAIR measures */
    assert_int_equal(json_read_object(at(folder, "runs/full-1/iter-0/evals/chair.json"), &chair, NULL), 0);
    json_t *objects = json_object_get(json_object_get(chair, "measures"), "objects");
    json_object_set_new(objects, "chair_i", json_pack("{s:f}", "value", 25.2));
    json_object_set_new(objects, "recall", json_pack("{s:n}", "value"));
    json_object_set_new(objects, "words", json_pack("{s:f}", "value", 79.5));
    json_put("runs/full-1/iter-0/evals/chair.json", chair);
    strcpy(in, at(folder, "runs")), strcpy(to, at(folder, "out"));
    if (command_table(5, (char *[]){ word, runs, in, out, to }, &e)) fail_msg("%s", error_text(&e, line, sizeof line));
    char *text = out_read();
    has(text, " 54.5 (v2), 53.6 (v1) | 53.6, n = 1, by chair | | | 27.8 (v2), 25.2 (v1) | 25.2, n = 1, by chair |");
    has(text, " 62.5, n = 1, by labeler |");
    has(text, " 79.5, n = 1, by chair |");
    free(text);
}

int main(void) {
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest table_test[] = { TEST(numbers), TEST(by_more_than_the_spread), TEST(markdown), TEST(csv), TEST(json),
        TEST(what_check_says), TEST(nothing_there), TEST(runs_refused), TEST(tables_refused), TEST(the_built_in_ones),
        TEST(at_the_papers_size) };
    return cmocka_run_group_tests(table_test, NULL, NULL);
}

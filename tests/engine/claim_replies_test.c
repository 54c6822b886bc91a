/* claim_replies_test.c - replies of a text model as given texts: what is a list of facts or of questions and what is not, the second try,
 * the rows. */
#include "engine/claim_replies.h"

#include "engine/prompt_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void facts_are(const char *reply, int n, const char *const *facts) {
    ClaimList l = { 0 };
    const char *why = NULL;
    if (claim_facts_read(reply, &l, &why, NULL)) fail_msg("%s: %s", reply, why ? why : "?");
    assert_int_equal(l.count, n);
    for (int i = 0; i < n; i++) assert_string_equal(l.claims[i].text, facts[i]), assert_null(l.claims[i].question);
    claims_free(&l);
}
#define FACTS_ARE(REPLY, ...)                                                                                                              \
    facts_are(REPLY, (int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)), (const char *[]){ __VA_ARGS__ })

static void lists_of_facts(void **state) {
    (void)state;
    FACTS_ARE("- There is a dog.\n- The dog is 3.5 feet tall.", "There is a dog.", "The dog is 3.5 feet tall.");
    FACTS_ARE(" There are two dogs.\n\n- The dogs lie.\r\n  -  They bark. \n", "The dogs lie.", "They bark.");
    FACTS_ARE("### Facts:\n* One cat sits\n\xe2\x80\xa2 The cat is caf\xc3\xa9 brown", "One cat sits", "The cat is caf\xc3\xa9 brown");
    FACTS_ARE("Here are the facts:\n1. There is a dog.\n2) There is a cat.\n10. The dog barks.\n\nI hope this helps!", "There is a dog.",
        "There is a cat.", "The dog barks.");
    FACTS_ARE("-There is a dog.", "There is a dog.");
    FACTS_ARE("- A cat - a black one - sleeps.", "A cat - a black one - sleeps.");
    facts_are("none", 0, NULL);
    facts_are("\n- None.\n", 0, NULL);
    facts_are("\"NONE\"", 0, NULL);
}

static const char *long_reply(int lines, int bytes) {
    static char text[200000];
    char *to = text;
    for (int i = 0; i < lines; i++) {
        to += sprintf(to, "- Fact %d is ", i);
        memset(to, 'x', (size_t)bytes), to += bytes;
        *to++ = '\n';
    }
    *to = 0;
    return text;
}

static void malformed_facts(void **state) {
    (void)state;
    const struct {
        const char *reply, *why;
    } cases[] = {
        { "", "an empty reply" },
        { " \n\r\n ", "an empty reply" },
        { "There is a dog.", "no list in the reply" },
        { "ball ball 3.5 ball", "no list in the reply" },
        { "**Facts**\n---\n-5 degrees", "no list in the reply" },
        { "none of the dogs bark", "no list in the reply" },
        { "none\nand more", "no list in the reply" },
        { "- There is a dog.\nwhich is brown\n- There is a cat.", "talk within the list" },
        { "- There is a dog.\n-\n- There is a cat.", "an empty line in the list" },
        { "- Is there a dog?", "a question in place of a fact" },
        { "- Dog", "a fact that is no sentence" },
        { "- There is a dog.\n- !! ...", "a fact that is no sentence" },
        { "- There is a dog.\n- .", "a fact that is no sentence" },
    };
    ClaimList l = { 0 };
    const char *why;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        why = NULL;
        assert_int_equal(claim_facts_read(cases[i].reply, &l, &why, NULL), 1);
        assert_string_equal(why, cases[i].why);
        assert_int_equal(l.count, 0);
    }
    assert_int_equal(claim_facts_read(long_reply(65, 3), &l, &why, NULL), 1);
    assert_string_equal(why, "more than 64 lines");
    assert_int_equal(claim_facts_read(long_reply(1, 1000), &l, &why, NULL), 1);
    assert_string_equal(why, "a line longer than 1000 bytes");
    assert_int_equal(claim_facts_read(long_reply(64, 900), &l, &why, NULL), 0); /* of any length that one can have: no cut */
    assert_int_equal(l.count, 64);
    claims_free(&l);
}

static void repeated_facts_are_left_out(void **state) {
    (void)state;
    ClaimList l = { 0 };
    const char *why;
    assert_int_equal(claim_facts_read("- There is a dog.\n- There is a cat.\n- There is a dog.\n- There is a dog", &l, &why, NULL), 0);
    assert_int_equal(l.count, 3);
    assert_string_equal(l.claims[2].text, "There is a dog");
    assert_int_equal(l.drop_count, 1);
    assert_string_equal(l.drops[0].text, "There is a dog.");
    assert_string_equal(l.drops[0].why, "repeats an earlier fact");
    claims_free(&l);
}

static void questions_match_facts(void **state) {
    (void)state;
    ClaimList l = { 0 };
    const char *why = NULL;
    assert_int_equal(claim_facts_read("- There is a dog.\n- The dog is not brown.", &l, &why, NULL), 0);
    const struct {
        const char *reply, *why;
    } cases[] = {
        { "", "an empty reply" },
        { "Is there a dog? Is the dog not brown?", "no list in the reply" },
        { "- Is there a dog?", "fewer questions than facts" },
        { "- Is there a dog?\n- Is the dog not brown?\n- Is it?", "more questions than facts" },
        { "- There is a dog.\n- Is the dog not brown?", "a line that is no question" },
        { "- Is there a dog? Yes?\n- Is the dog not brown?", "a line that is no question" },
        { "- Dog?\n- Is the dog not brown?", "a line that is no question" },
        { "- Is there a dog?\n- What colour is the dog?", "a question for more than yes or no" },
        { "- How many dogs are there?\n- Is the dog not brown?", "a question for more than yes or no" },
        { "- Is there a dog?\nno\n- Is the dog not brown?", "talk within the list" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(claim_questions_read(cases[i].reply, &l, &why, NULL), 1);
        assert_string_equal(why, cases[i].why);
        assert_null(l.claims[0].question);
    }
    assert_int_equal(claim_questions_read("### Modified sentences:\n- Is there a dog?\n\n- Is the dog not brown? \n", &l, &why, NULL), 0);
    assert_string_equal(l.claims[0].question, "Is there a dog?");
    assert_string_equal(l.claims[1].question, "Is the dog not brown?");
    claims_free(&l);
}

/* ---- jobs ---- */

static void reply(ClaimJob *j, const char *text, int finished) { assert_int_equal(claim_job_reply(j, text, finished, NULL), 0); }

static ClaimJob job_of(const char *answer) {
    ClaimJob j;
    assert_int_equal(claim_job_begin(&j, "What is it?", answer, NULL), 0);
    return j;
}

static void row_is(const ClaimJob *j, const char *expected) {
    json_t *row = claim_job_row(j, "p", 3), *want = json_loads(expected, 0, NULL);
    assert_non_null(want);
    char *text = json_dumps(row, JSON_COMPACT);
    if (!json_equal(row, want)) fail_msg("%s\nexpected %s", text, expected);
    free(text);
    json_decref(row), json_decref(want);
}

static void a_job_that_goes_well(void **state) {
    (void)state;
    ClaimJob j = job_of("A dog barks.");
    assert_int_equal(j.stage, CLAIM_SPLIT);
    reply(&j, "- There is a dog.\n- The dog barks.", 1);
    assert_int_equal(j.stage, CLAIM_ASK), assert_int_equal(j.again, 0);
    reply(&j, "- Is there a dog?\n- Does the dog bark?", 1);
    assert_int_equal(j.stage, CLAIM_DONE), assert_null(j.why);
    row_is(&j, "{\"id\": \"p\", \"candidate\": 3, \"claims\": [{\"claim\": \"There is a dog.\", \"question\": \"Is there a dog?\"}, "
               "{\"claim\": \"The dog barks.\", \"question\": \"Does the dog bark?\"}]}");
    claim_job_free(&j);
}

static void each_stage_has_a_second_try(void **state) {
    (void)state;
    ClaimJob j = job_of("A dog barks.");
    reply(&j, "dog dog", 1);
    assert_int_equal(j.stage, CLAIM_SPLIT), assert_int_equal(j.again, 1), assert_int_equal(j.retried, 1);
    reply(&j, "- There is a dog.\n- There is a dog.", 1);
    assert_int_equal(j.stage, CLAIM_ASK), assert_int_equal(j.again, 0);
    reply(&j, "- Is there a dog?", 0); /* whatever it says, it was cut */
    assert_int_equal(j.stage, CLAIM_ASK), assert_int_equal(j.again, 1), assert_int_equal(j.retried, 2);
    reply(&j, "- Is there a dog?", 1);
    row_is(&j, "{\"id\": \"p\", \"candidate\": 3, \"claims\": [{\"claim\": \"There is a dog.\", \"question\": \"Is there a dog?\"}], "
               "\"left_out\": [{\"text\": \"There is a dog.\", \"why\": \"repeats an earlier fact\"}], \"retried\": 2}");
    claim_job_free(&j);
}

static void what_fails_twice_is_dropped(void **state) {
    (void)state;
    ClaimJob j = job_of("A dog barks.");
    reply(&j, "dog", 1), reply(&j, "dog dog", 1);
    assert_int_equal(j.stage, CLAIM_DONE);
    row_is(&j,
        "{\"id\": \"p\", \"candidate\": 3, \"claims\": [], \"retried\": 1, \"dropped\": \"no list in the reply\", \"reply\": \"dog dog\"}");
    claim_job_free(&j);
    j = job_of("A dog barks.");
    reply(&j, "- There is a dog.", 1), reply(&j, "- Is there?\n- Is it?", 1), reply(&j, "- Is there a dog?", 0);
    row_is(&j, "{\"id\": \"p\", \"candidate\": 3, \"claims\": [], \"retried\": 1, \"dropped\": \"cut at its limit\", \"reply\": \"- Is "
               "there a dog?\"}");
    claim_job_free(&j);
    j = job_of("A dog barks.");
    char text[400];
    memset(text, 'a', 299), strcpy(text + 299, "\xc3\xa9\xc3\xa9");
    reply(&j, text, 1), reply(&j, text, 1);
    assert_int_equal(strlen(j.reply), 299); /* no half character */
    claim_job_free(&j);
    j = job_of("A dog barks.");
    claim_job_drop(&j, "longer than the model takes");
    row_is(&j, "{\"id\": \"p\", \"candidate\": 3, \"claims\": [], \"dropped\": \"longer than the model takes\"}");
    claim_job_free(&j);
}

static void answers_without_facts(void **state) {
    (void)state;
    ClaimJob j = job_of("  ... \n");
    assert_int_equal(j.stage, CLAIM_DONE);
    row_is(&j, "{\"id\": \"p\", \"candidate\": 3, \"claims\": []}");
    claim_job_free(&j);
    j = job_of("How lovely!");
    reply(&j, "none", 1);
    assert_int_equal(j.stage, CLAIM_DONE);
    row_is(&j, "{\"id\": \"p\", \"candidate\": 3, \"claims\": []}");
    claim_job_free(&j);
}

/* ---- prompts ---- */

static char folder[] = "/tmp/claim_replies_test_XXXXXX";

static const char *written(const char *name, const char *text, size_t size) {
    static char ring[4][PATH_SIZE];
    static int turn;
    char *path = ring[turn++ % 4];
    assert_int_equal(path_join(path, folder, name, NULL), 0);
    assert_int_equal(file_write(path, text, size, NULL), 0);
    return path;
}
#define WRITTEN(NAME, TEXT) written(NAME, TEXT, sizeof TEXT - 1)

static void prompts_are_filled_once(void **state) {
    (void)state;
    ClaimPrompts p, other;
    Error e = { 0 };
    assert_int_equal(claim_prompts_load(&p, WRITTEN("s", "Q {question} A {answer}.\n\n"), WRITTEN("q", "F:\n{facts}\nQ:\n"), &e), 0);
    ClaimJob j;
    assert_int_equal(claim_job_begin(&j, "{answer}?", "the {question} {facts} {answer}", &e), 0); /* what is put in is text */
    char *text = claim_job_prompt(&j, &p, &e);
    assert_string_equal(text, "Q {answer}? A the {question} {facts} {answer}.");
    free(text);
    reply(&j, "- One {facts} is.\n- Two {answer} are.", 1);
    text = claim_job_prompt(&j, &p, &e);
    assert_string_equal(text, "F:\n- One {facts} is.\n- Two {answer} are.\nQ:");
    free(text);
    claim_job_free(&j);
    /* the hash is of the contents */
    assert_int_equal(claim_prompts_load(&other, WRITTEN("s2", "Q {question} A {answer}.\n\n"), WRITTEN("q", "F:\n{facts}\nQ:\n"), &e), 0);
    assert_string_equal(p.hash, other.hash);
    claim_prompts_free(&other);
    assert_int_equal(claim_prompts_load(&other, WRITTEN("s2", "Q {question} B {answer}.\n\n"), WRITTEN("q", "F:\n{facts}\nQ:\n"), &e), 0);
    assert_string_not_equal(p.hash, other.hash);
    claim_prompts_free(&other), claim_prompts_free(&p);
}

static void the_built_in_prompts(void **state) {
    (void)state;
    static const char *const names[] = { "configs/prompts/split.txt", "configs/prompts/question.txt" };
    ClaimPrompts p;
    char *text;
    size_t size;
    assert_int_equal(claim_prompts_load(&p, "", "", NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(file_read(names[i], 1 << 20, &text, &size, NULL), 0);
        assert_string_equal(text, i ? p.question : p.split); /* byte for byte */
        free(text);
    }
    claim_prompts_free(&p);
}

static void prompts_that_are_none(void **state) {
    (void)state;
    static char big[PROMPT_TEXT_MOST + 2];
    memset(big, 'x', sizeof big - 1);
    const struct {
        const char *split, *question, *what, *found;
    } cases[] = {
        { WRITTEN("none", "Say it."), "", "not a prompt for claims", "{answer} 0 times" },
        { WRITTEN("twice", "{answer} {answer}"), "", "not a prompt for claims", "{answer} 2 times" },
    };
    ClaimPrompts p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = { 0 };
        assert_int_equal(claim_prompts_load(&p, cases[i].split, cases[i].question, &e), -1);
        assert_string_equal(e.what, cases[i].what), assert_string_equal(e.found, cases[i].found);
        assert_null(p.split);
    }
    Error e = { 0 };
    assert_int_equal(claim_prompts_load(&p, WRITTEN("two", "{answer} {question} {question}"), "", &e), -1);
    assert_string_equal(e.found, "{question} 2 times");
    assert_int_equal(claim_prompts_load(&p, "", WRITTEN("facts", "Ask."), &e), -1);
    assert_string_equal(e.found, "{facts} 0 times");
    assert_int_equal(claim_prompts_load(&p, "", written("nul", "{facts}\0 x", 10), &e), -1);
    assert_string_equal(e.what, "NUL byte in a prompt");
    assert_int_equal(claim_prompts_load(&p, written("big", big, sizeof big - 1), "", &e), -1);
    assert_int_equal(claim_prompts_load(&p, "/nowhere/at/all", "", &e), -1);
    assert_null(p.split);
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    return folder_remove(folder, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_facts),
        cmocka_unit_test(malformed_facts),
        cmocka_unit_test(repeated_facts_are_left_out),
        cmocka_unit_test(questions_match_facts),
        cmocka_unit_test(a_job_that_goes_well),
        cmocka_unit_test(each_stage_has_a_second_try),
        cmocka_unit_test(what_fails_twice_is_dropped),
        cmocka_unit_test(answers_without_facts),
        cmocka_unit_test(prompts_are_filled_once),
        cmocka_unit_test(the_built_in_prompts),
        cmocka_unit_test(prompts_that_are_none),
    };
    return cmocka_run_group_tests_name("claim replies", tests, setup, teardown);
}

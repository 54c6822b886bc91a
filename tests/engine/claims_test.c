/* claims_test.c - answers become claims and questions by both grammars; nothing malformed is free; nothing is lost without a reason. */
#include "engine/claims.h"
#include "engine/scenes/language.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static ClaimList claims_of(ClaimGrammar grammar, const char *answer) {
    ClaimList list;
    Error e = { 0 };
    assert_int_equal(claims_by_rule(grammar, answer, &list, &e), 0);
    return list;
}

static void scenes_sentences_give_their_facts(void **state) {
    (void)state;
    ClaimList l = claims_of(CLAIM_GRAMMAR_SCENES, "There are two objects. There is a small red ball in the north. I can see a cone. A "
                                                  "white moon is in the center. The background is gray.");
    static const char *const expected[][2] = {
        { "There are two objects.", "Are there two objects?" },
        { "There is a ball.", "Is there a ball?" },
        { "The ball is small.", "Is the ball small?" },
        { "The ball is red.", "Is the ball red?" },
        { "The ball is in the north.", "Is the ball in the north?" },
        { "There is a cone.", "Is there a cone?" },
        { "There is a moon.", "Is there a moon?" },
        { "The moon is white.", "Is the moon white?" },
        { "The moon is in the center.", "Is the moon in the center?" },
        { "The background is gray.", "Is the background gray?" },
    };
    assert_int_equal(l.count, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < l.count; i++) {
        assert_string_equal(l.claims[i].text, expected[i][0]);
        assert_string_equal(l.claims[i].question, expected[i][1]);
        assert_int_equal(l.claims[i].flaw, CLAIM_SOUND);
    }
    assert_int_equal(l.drop_count, 0);
    claims_free(&l);
}

static void malformed_and_repeated_sentences_are_rejected_unasked(void **state) {
    (void)state;
    ClaimList l =
        claims_of(CLAIM_GRAMMAR_SCENES, "There is a ball. There is a a ball. There is a ball. There is a a ball. There is a cone in the");
    assert_int_equal(l.count, 5);
    static const ClaimFlaw flaws[] = { CLAIM_SOUND, CLAIM_MALFORMED, CLAIM_REPEATED, CLAIM_REPEATED, CLAIM_MALFORMED };
    for (size_t i = 0; i < l.count; i++) {
        assert_int_equal(l.claims[i].flaw, flaws[i]);
        assert_true((l.claims[i].question != NULL) == (flaws[i] == CLAIM_SOUND));
    }
    assert_string_equal(l.claims[4].text, "There is a cone in the");
    claims_free(&l);
    l = claims_of(CLAIM_GRAMMAR_SCENES, "");
    assert_int_equal(l.count, 0);
    claims_free(&l);
    l = claims_of(CLAIM_GRAMMAR_SCENES, " .. \n");
    assert_int_equal(l.count, 2);
    claims_free(&l);
}

/* Every question of a caption can be judged, and the judgements add up to what was planted. */
static void captions_are_judged_through_their_questions(void **state) {
    (void)state;
    for (int i = 0; i < 2000; i++) {
        Scene s;
        SceneCaption c;
        char text[CAPTION_TEXT];
        scene_make(21, (uint64_t)i, &s, NULL);
        Rng rng = scene_rng(21, (uint64_t)i, SCENE_FOR_TURNS);
        caption_draw(&s, i % 2 ? &scene_noise_default : &scene_noise_none, 0, &rng, &c);
        caption_write(&c, text);
        ClaimList l = claims_of(CLAIM_GRAMMAR_SCENES, text);
        int rejected = 0;
        for (size_t k = 0; k < l.count; k++) {
            SceneFact f;
            assert_int_equal(fact_from_question(l.claims[k].question, &f), 1);
            rejected += !fact_holds(&f, &s);
        }
        assert_int_equal(rejected, c.false_facts);
        claims_free(&l);
    }
}

static void plain_sentences_become_questions(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        { "There is a dog on the sofa.", "Is there a dog on the sofa?" },
        { "There are 3.5 cups.", "Are there 3.5 cups?" },
        { "The dog is big", "Is the dog big?" },
        { "The two dogs were asleep!", "Were the two dogs asleep?" },
        { "It is a sunny day.", "Is it a sunny day?" },
        { "A man in a red hat is walking.", "Is a man in a red hat walking?" },
        { "The dog runs fast.", "Is it true that the dog runs fast?" },
        { "The dog, which is big, barks.", "Is it true that the dog, which is big, barks?" },
        { "London is a city.", "Is it true that London is a city?" },
        { "In the picture there is a bus.", "Is it true that in the picture there is a bus?" },
        { "This photo really is", "Is it true that this photo really is?" },
        { "He said \"no way.\"", "Is it true that he said \"no way?" },
        { "xq zzv \xe2\x96\x81"
          "b",
            "Is it true that xq zzv \xe2\x96\x81"
            "b?" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ClaimList l = claims_of(CLAIM_GRAMMAR_PLAIN, cases[i][0]);
        assert_int_equal(l.count, 1);
        assert_int_equal(l.drop_count, 0);
        assert_string_equal(l.claims[0].question, cases[i][1]);
        claims_free(&l);
    }
}

/* One block of claims_plain.txt: an answer, and the lines that say what becomes of it. */
static void block_check(const char *answer, char *const *lines, int n) {
    ClaimList l = claims_of(CLAIM_GRAMMAR_PLAIN, answer);
    char got[2048];
    if ((size_t)n != l.count + l.drop_count) fail_msg("%s: %zu claims and %zu drops", answer, l.count, l.drop_count);
    for (int i = 0; i < n; i++) {
        if ((size_t)i < l.count) snprintf(got, sizeof got, "%s | %s", l.claims[i].text, l.claims[i].question);
        else snprintf(got, sizeof got, "! %s | %s", l.drops[(size_t)i - l.count].text, l.drops[(size_t)i - l.count].why);
        if (strcmp(got, lines[i])) fail_msg("%s\n  gives    %s\n  expected %s", answer, got, lines[i]);
    }
    for (size_t i = 0; i < l.count; i++) assert_true(l.claims[i].size > 0 && l.claims[i].at + l.claims[i].size <= strlen(answer));
    claims_free(&l);
}

static void plain_answers_of_the_table(void **state) {
    (void)state;
    FILE *f = fopen("tests/engine/claims_plain.txt", "r");
    char line[2048], answer[2048] = "", *lines[32];
    int n = 0, blocks = 0, more = 1;
    assert_non_null(f);
    while (more) {
        more = fgets(line, sizeof line, f) != NULL;
        if (more) line[strcspn(line, "\n")] = 0;
        if (more && line[0] == '#') continue;
        if (more && !strncmp(line, "> ", 2)) strcpy(answer, line + 2);
        else if (more && line[0]) {
            assert_true(answer[0] && n < 32);
            lines[n++] = strdup(line);
        } else if (answer[0]) {
            block_check(answer, lines, n);
            while (n > 0) free(lines[--n]);
            answer[0] = 0, blocks++;
        }
    }
    fclose(f);
    assert_true(blocks >= 150);
}

/* Every sentence gives a claim or is left out with its reason, and nothing is made longer than its buffers. */
static void no_sentence_is_lost(void **state) {
    (void)state;
    static const char *const bits[] = { "There", "is", "are", "a", "the", "dog", "cat,", "and", "two", "men", "holding", "wearing", "it", "which",
        "in", "on", "black", "white", "big", "has", "In", "while", "but", "They", "of", "were", "have", "shows", "not", "lamp;", "sitting" };
    Rng rng = { .seed = 11 };
    for (int i = 0; i < 20000; i++) {
        char text[1200] = "The dog is big. ";
        int words = 1 + (int)rng_below(&rng, i % 50 ? 24 : 140);
        for (int k = 0; k < words; k++) strcat(strcat(text, bits[rng_below(&rng, sizeof bits / sizeof *bits)]), k + 1 < words ? " " : ".");
        ClaimList l = claims_of(CLAIM_GRAMMAR_PLAIN, text);
        assert_true(l.count + l.drop_count >= 2);
        for (size_t k = 0; k < l.count; k++) {
            const Claim *c = &l.claims[k];
            assert_true(c->text[0] && strlen(c->question) <= strlen(c->text) + 32 && c->question[strlen(c->question) - 1] == '?');
            assert_true(c->at + c->size <= strlen(text));
        }
        claims_free(&l);
    }
}

static void what_is_dropped_has_a_reason(void **state) {
    (void)state;
    char *answer = malloc(5000);
    assert_non_null(answer);
    strcpy(answer, "Oh no! Is it red? The cat is black.\nThe cat is black... ");
    memset(answer + strlen(answer), 'x', 1200), strcpy(answer + 56 + 1200, " y z.");
    ClaimList l = claims_of(CLAIM_GRAMMAR_PLAIN, answer);
    assert_int_equal(l.count, 1);
    assert_string_equal(l.claims[0].text, "The cat is black");
    static const char *const why[] = { "fewer than three words", "a question", "repeats an earlier sentence", "longer than 1000 bytes" };
    assert_int_equal(l.drop_count, 4);
    for (size_t i = 0; i < 4; i++) assert_string_equal(l.drops[i].why, why[i]);
    claims_free(&l);
    static const char *const empty[] = { "", "...", " \n\t", "?!" };
    for (size_t i = 0; i < 4; i++) {
        l = claims_of(CLAIM_GRAMMAR_PLAIN, empty[i]);
        assert_int_equal(l.count, 0);
        claims_free(&l);
    }
    free(answer);
}

/* Any bytes are an answer; the memory checker watches. */
static void random_text_is_taken(void **state) {
    (void)state;
    static const char *const bits[] = { "There", " is", " a", " ball", ".", "?", "!", "\n", " ", "the", " The", "\"", ",", " was",
        "\xc3\xa9", "x", " in the north", "..." };
    Rng rng = { .seed = 3 };
    for (int i = 0; i < 3000; i++) {
        char text[1024] = "";
        for (int n = (int)rng_below(&rng, 60); n > 0; n--) strcat(text, bits[rng_below(&rng, sizeof bits / sizeof *bits)]);
        for (int g = CLAIM_GRAMMAR_SCENES; g <= CLAIM_GRAMMAR_PLAIN; g++) {
            ClaimList l = claims_of((ClaimGrammar)g, text);
            for (size_t k = 0; k < l.count; k++)
                if (l.claims[k].question) assert_int_equal(l.claims[k].question[strlen(l.claims[k].question) - 1], '?');
            claims_free(&l);
        }
    }
}

static void claims_survive_json(void **state) {
    (void)state;
    Error e = { 0 };
    ClaimList l = claims_of(CLAIM_GRAMMAR_SCENES, "There is a red ball. Nonsense."), back;
    json_t *array = claims_to_json(&l);
    assert_non_null(array);
    assert_int_equal(claims_from_json(array, "claims.jsonl:1", &back, &e), 0);
    assert_int_equal(back.count, 3);
    for (size_t i = 0; i < 3; i++) assert_string_equal(back.claims[i].text, l.claims[i].text);
    assert_string_equal(back.claims[1].question, "Is the ball red?");
    assert_null(back.claims[2].question);
    json_decref(array);
    claims_free(&l), claims_free(&back);
    static const char *const wrong[] = { "{}", "[3]", "[{\"question\": \"x\"}]", "[{\"claim\": \"a\", \"question\": 5}]" };
    for (size_t i = 0; i < 4; i++) {
        char text[2048];
        array = json_loads(wrong[i], 0, NULL);
        assert_int_equal(claims_from_json(array, "claims.jsonl:4", &back, &e), -1);
        assert_non_null(strstr(error_text(&e, text, sizeof text), "claims.jsonl:4"));
        assert_int_equal(back.count, 0);
        json_decref(array);
    }
}

static void grammars_have_names(void **state) {
    (void)state;
    ClaimGrammar g;
    Error e = { 0 };
    assert_int_equal(claim_grammar_find("plain", &g, &e), 0), assert_int_equal(g, CLAIM_GRAMMAR_PLAIN);
    assert_int_equal(claim_grammar_find("scenes", &g, &e), 0), assert_int_equal(g, CLAIM_GRAMMAR_SCENES);
    assert_int_equal(claim_grammar_find("scene", &g, &e), -1);
    assert_non_null(strstr(e.expected, "scenes"));
}

int main(void) {
    const struct CMUnitTest claims_test[] = {
        cmocka_unit_test(scenes_sentences_give_their_facts),
        cmocka_unit_test(malformed_and_repeated_sentences_are_rejected_unasked),
        cmocka_unit_test(captions_are_judged_through_their_questions),
        cmocka_unit_test(plain_sentences_become_questions),
        cmocka_unit_test(plain_answers_of_the_table),
        cmocka_unit_test(no_sentence_is_lost),
        cmocka_unit_test(what_is_dropped_has_a_reason),
        cmocka_unit_test(random_text_is_taken),
        cmocka_unit_test(claims_survive_json),
        cmocka_unit_test(grammars_have_names),
    };
    return cmocka_run_group_tests(claims_test, NULL, NULL);
}

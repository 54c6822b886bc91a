/* scenes_language_test.c - the world's English: writing and parsing are inverse, captions and questions have the stated distribution. */
#include "engine/scenes/language.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static int sentences_equal(const SceneSentence *a, const SceneSentence *b) {
    return a->form == b->form && a->kind == b->kind && a->size == b->size && a->colour == b->colour && a->cell == b->cell &&
           a->value == b->value;
}

static void every_sentence_round_trips(void **state) {
    (void)state;
    char text[SENTENCE_TEXT];
    int written = 0;
    for (int form = SENTENCE_THERE_IS; form <= SENTENCE_IS_IN; form++)
        for (int kind = 0; kind < SCENE_KINDS; kind++)
            for (int size = -1; size < SCENE_SIZES; size++)
                for (int colour = -1; colour < SCENE_COLOURS; colour++)
                    for (int cell = form == SENTENCE_IS_IN ? 0 : -1; cell < SCENE_CELLS; cell++) {
                        SceneSentence s = { (SentenceForm)form, kind, size, colour, cell, -1 }, back;
                        sentence_write(&s, text);
                        assert_true(strlen(text) < SENTENCE_TEXT - 1);
                        assert_int_equal(sentence_parse(text, strlen(text), &back), 1);
                        assert_true(sentences_equal(&s, &back));
                        written++;
                    }
    assert_int_equal(written, (2 * 10 + 9) * 8 * 3 * 7);
    for (int v = 0; v < SCENE_COUNTS; v++) {
        SceneSentence s = { SENTENCE_COUNT, -1, -1, -1, -1, v }, back;
        sentence_write(&s, text);
        assert_int_equal(sentence_parse(text, strlen(text), &back), 1);
        assert_true(sentences_equal(&s, &back));
    }
    for (int v = 0; v < SCENE_BACKGROUNDS; v++) {
        SceneSentence s = { SENTENCE_BACKGROUND, -1, -1, -1, -1, v }, back;
        sentence_write(&s, text);
        assert_int_equal(sentence_parse(text, strlen(text), &back), 1);
        assert_true(sentences_equal(&s, &back));
    }
}

static void near_sentences_do_not_parse(void **state) {
    (void)state;
    static const char *const wrong[] = { "", ".", "There is a ball", "there is a ball.", "There is a ball .", "There is  a ball.",
        "There is a ball!", "There is a ball..", "There is an ball.", "There is a red small ball.", "There is a small small ball.",
        "There is a red.", "There is a dog.", "There is a ball in north.", "There is a ball in the middle.",
        "There is a ball in the north south.", "A ball.", "A red ball is in the.", "A ball is red.", "The ball is in the north.",
        "I see a ball.", "I can see a ball is in the north.", "There are two.", "There are ten objects.", "There are 3 objects.",
        "The background is red.", "The background is black and gray.", " There is a ball.", "There is a ball. ", "There\nis a ball.",
        "There is a ball in the north of the box.", "is a a a a a a a a a a a a a a a." };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        SceneSentence s;
        if (sentence_parse(wrong[i], strlen(wrong[i]), &s)) fail_msg("parsed: \"%s\"", wrong[i]);
    }
}

static void every_fact_has_its_question(void **state) {
    (void)state;
    static const int values[FACT_ABOUTS] = { 1, SCENE_COLOURS, SCENE_SIZES, SCENE_CELLS, SCENE_COUNTS, SCENE_BACKGROUNDS };
    int facts = 0;
    for (int about = 0; about < FACT_ABOUTS; about++)
        for (int kind = 0; kind < (about < FACT_COUNT ? SCENE_KINDS : 1); kind++)
            for (int v = 0; v < values[about]; v++, facts++) {
                SceneFact f = { (FactAbout)about, about < FACT_COUNT ? kind : -1, about == FACT_EXISTS ? -1 : v }, back;
                char question[SENTENCE_TEXT], claim[SENTENCE_TEXT];
                fact_question(&f, question), fact_claim(&f, claim);
                assert_int_equal(fact_from_question(question, &back), 1);
                assert_true(back.about == f.about && back.kind == f.kind && back.value == f.value);
                assert_int_equal(claim[strlen(claim) - 1], '.');
            }
    assert_int_equal(facts, 8 + 48 + 16 + 72 + 7 + 3);
    SceneFact f;
    static const char *const wrong[] = { "", "?", "Is there a dog?", "Is the ball?", "Is the ball in the red?", "Is there a ball",
        "Is there a ball??", "is there a ball?", "Are there many objects?", "Is the background red?", "Where is the ball?",
        "Is the ball red red?" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_int_equal(fact_from_question(wrong[i], &f), 0);
}

static void the_words_are_these(void **state) {
    (void)state;
    char text[SENTENCE_TEXT];
    sentence_write(&(SceneSentence){ SENTENCE_THERE_IS, 0, 0, 0, 1, -1 }, text),
        assert_string_equal(text, "There is a small red ball in the north.");
    sentence_write(&(SceneSentence){ SENTENCE_I_SEE, 4, -1, 3, -1, -1 }, text), assert_string_equal(text, "I can see a yellow star.");
    sentence_write(&(SceneSentence){ SENTENCE_IS_IN, 7, 1, -1, 4, -1 }, text), assert_string_equal(text, "A large cross is in the center.");
    sentence_write(&(SceneSentence){ SENTENCE_COUNT, -1, -1, -1, -1, 3 }, text), assert_string_equal(text, "There are three objects.");
    fact_question(&(SceneFact){ FACT_POSITION, 6, 8 }, text), assert_string_equal(text, "Is the ring in the southeast?");
    fact_claim(&(SceneFact){ FACT_COLOUR, 5, 5 }, text), assert_string_equal(text, "The moon is white.");
}

/* Counts false facts of a written caption, reading it as anybody would. */
static int false_facts(const Scene *s, const char *text, int *facts) {
    int wrong = 0;
    const char *sentence;
    size_t size;
    *facts = 0;
    while (sentence_next(&text, &sentence, &size)) {
        SceneSentence parsed;
        SceneFact f[SENTENCE_FACTS_MOST];
        assert_int_equal(sentence_parse(sentence, size, &parsed), 1);
        int n = sentence_facts(&parsed, f);
        for (int i = 0; i < n; i++) wrong += !fact_holds(&f[i], s);
        *facts += n;
    }
    return wrong;
}

static void clean_captions_are_true(void **state) {
    (void)state;
    char text[CAPTION_TEXT];
    for (int i = 0; i < 3000; i++) {
        Scene s;
        SceneCaption c;
        int facts;
        scene_make(11, (uint64_t)i, &s, NULL);
        Rng rng = scene_rng(11, (uint64_t)i, SCENE_FOR_TURNS);
        caption_draw(&s, &scene_noise_none, 0, &rng, &c);
        caption_write(&c, text);
        assert_int_equal(false_facts(&s, text, &facts), 0);
        assert_int_equal(c.false_facts, 0);
        assert_int_equal(c.absent_kind, -1);
        assert_true(facts > 0);
    }
}

/* With a choice of forms there are no others, and of all forms the draw is the one without a choice. */
static void captions_keep_to_their_forms(void **state) {
    (void)state;
    for (int i = 0; i < 500; i++)
        for (unsigned forms = 1; forms < 8; forms++) {
            Scene s;
            SceneCaption c, all;
            scene_make(13, (uint64_t)i, &s, NULL);
            Rng rng = scene_rng(13, (uint64_t)i, SCENE_FOR_TURNS), same = rng;
            caption_draw(&s, &scene_noise_default, forms, &rng, &c);
            for (int k = 0; k < c.count; k++)
                if (sentence_is_object(&c.sentences[k])) assert_true(forms >> c.sentences[k].form & 1);
            caption_draw(&s, &scene_noise_default, 0, &same, &all);
            if (forms == 7) assert_memory_equal(&c, &all, sizeof c);
        }
}

static void noisy_captions_have_what_was_planted(void **state) {
    (void)state;
    enum { N = 20000 };
    char text[CAPTION_TEXT];
    int any_false = 0, absent = 0, words = 0, sum = 0, counts = 0, lone = 0;
    for (int i = 0; i < N; i++) {
        Scene s;
        SceneCaption c;
        int facts;
        scene_make(12, (uint64_t)i, &s, NULL);
        Rng rng = scene_rng(12, (uint64_t)i, SCENE_FOR_TURNS);
        caption_draw(&s, &scene_noise_default, 0, &rng, &c);
        caption_write(&c, text);
        assert_in_range(c.count, 1, CAPTION_SENTENCES_MOST);
        assert_int_equal(false_facts(&s, text, &facts), c.false_facts);
        if (c.absent_kind >= 0) {
            assert_null(scene_find(&s, c.absent_kind));
            assert_non_null(scene_find(&s, scene_partner(c.absent_kind)));
            assert_non_null(strstr(text, scene_kinds[c.absent_kind]));
        }
        int has_lone = 0;
        for (int k = 0; k < s.count; k++) has_lone |= !scene_find(&s, scene_partner(s.objects[k].kind));
        lone += has_lone, absent += c.absent_kind >= 0, any_false += c.false_facts > 0, sum += facts,
            counts += c.sentences[0].form == SENTENCE_COUNT;
        words++;
        for (const char *p = text; *p; p++) words += *p == ' ' || *p == '.'; /* the prototype counted full stops as words */
    }
    /* The prototype of this world measured 38 words and 13 claims; the rest follows from the chances in language.c. */
    assert_true(fabs((double)words / N - 38) < 1.5);
    assert_true(fabs((double)sum / N - 13) < .7);
    assert_true(fabs((double)counts / N - .4) < .015);
    assert_true((double)absent / lone > .78 && (double)absent / lone < .85);
    assert_true(fabs((double)any_false / N - .83) < .03);
}

static void questions_are_answered_truly(void **state) {
    (void)state;
    enum { N = 40000 };
    static const double about[FACT_ABOUTS] = { .18, .18, .16, .33, .10, .05 };
    int seen[FACT_ABOUTS] = { 0 }, yes[FACT_ABOUTS] = { 0 }, missing = 0, partners = 0;
    for (int i = 0; i < N; i++) {
        Scene s;
        SceneFact f;
        char question[SENTENCE_TEXT];
        scene_make(13, (uint64_t)i, &s, NULL);
        Rng rng = scene_rng(13, (uint64_t)i, SCENE_FOR_TURNS);
        int truth = question_draw(&s, &rng, &f);
        assert_int_equal(truth, fact_holds(&f, &s));
        fact_question(&f, question);
        seen[f.about]++, yes[f.about] += truth;
        if (f.about == FACT_EXISTS && !truth) missing++, partners += scene_find(&s, scene_partner(f.kind)) != NULL;
    }
    for (int a = 0; a < FACT_ABOUTS; a++) {
        assert_true(fabs((double)seen[a] / N - about[a]) < .01);
        assert_true(fabs((double)yes[a] / seen[a] - .5) < .03);
    }
    assert_true((double)partners / missing > .45 && (double)partners / missing < .8); /* half by choice, some by chance */
}

static void open_questions_are_answered_truly(void **state) {
    (void)state;
    enum { N = 20000 };
    int none = 0, counted = 0;
    for (int i = 0; i < N; i++) {
        Scene s;
        char question[SENTENCE_TEXT], answer[ANSWER_WORD], word[ANSWER_WORD];
        scene_make(14, (uint64_t)i, &s, NULL);
        Rng rng = scene_rng(14, (uint64_t)i, SCENE_FOR_TURNS);
        open_question_draw(&s, &rng, question, answer);
        const char *expected = "none";
        const SceneObject *o = NULL;
        int kind = -1, cell = -1;
        const char *last = strrchr(question, ' ') + 1;
        snprintf(word, sizeof word, "%.*s", (int)strlen(last) - 1, last);
        for (int k = 0; k < SCENE_KINDS; k++)
            if (!strcmp(scene_kinds[k], word)) kind = k;
        for (int c = 0; c < SCENE_CELLS; c++)
            if (!strcmp(scene_cells[c], word)) cell = c;
        if (kind >= 0) o = scene_find(&s, kind);
        if (cell >= 0) o = scene_at(&s, cell);
        if (!strncmp(question, "Where", 5)) expected = o ? scene_cells[o->cell] : expected;
        else if (!strncmp(question, "What color", 10)) expected = o ? scene_colours[o->colour] : expected;
        else if (!strncmp(question, "What size", 9)) expected = o ? scene_sizes[o->size] : expected;
        else if (!strncmp(question, "What is in", 10)) expected = o ? scene_kinds[o->kind] : expected;
        else assert_string_equal(question, "How many objects are there?"), expected = scene_counts[s.count], counted++;
        assert_string_equal(answer, expected);
        none += !strcmp(answer, "none");
    }
    assert_true(fabs((double)none / (N - counted) - .2) < .02);
}

static void sentences_are_cut_at_full_stops(void **state) {
    (void)state;
    const char *cursor = "  A b.C.\n\n d e ", *text;
    size_t size;
    static const char *const expected[] = { "A b.", "C.", "d e" };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sentence_next(&cursor, &text, &size), 1);
        assert_int_equal(size, strlen(expected[i]));
        assert_memory_equal(text, expected[i], size);
    }
    assert_int_equal(sentence_next(&cursor, &text, &size), 0);
    cursor = " \n ";
    assert_int_equal(sentence_next(&cursor, &text, &size), 0);
}

int main(void) {
    const struct CMUnitTest scenes_language_test[] = {
        cmocka_unit_test(every_sentence_round_trips),
        cmocka_unit_test(near_sentences_do_not_parse),
        cmocka_unit_test(every_fact_has_its_question),
        cmocka_unit_test(the_words_are_these),
        cmocka_unit_test(clean_captions_are_true),
        cmocka_unit_test(captions_keep_to_their_forms), cmocka_unit_test(noisy_captions_have_what_was_planted),
        cmocka_unit_test(questions_are_answered_truly),
        cmocka_unit_test(open_questions_are_answered_truly),
        cmocka_unit_test(sentences_are_cut_at_full_stops),
    };
    return cmocka_run_group_tests(scenes_language_test, NULL, NULL);
}

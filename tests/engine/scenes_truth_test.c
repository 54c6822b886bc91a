/* scenes_truth_test.c - answers about a known scene are judged by hand-counted numbers, and sets of them by their rates. */
#include "engine/scenes/language.h"
#include "engine/scenes/truth.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A small red ball in the north and a large white moon in the southwest, on gray. */
static const Scene scene = { .count = 2, .background = 1, .objects = { { 0, 0, 0, 1 }, { 5, 5, 1, 6 } } };
enum { BALL = 1u << 0, BOX = 1u << 1, MOON = 1u << 5 };

static void answers_are_judged_exactly(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        TruthAnswer truth;
    } cases[] = {
        { "", { 0 } },
        { "There is a small red ball in the north.",
            { .words = 9, .sentences = 1, .claims = 4, .mentions = 1, .named = BALL, .covered = BALL } },
        { "There is a large blue ball in the south.",
            { .words = 9, .sentences = 1, .claims = 4, .false_claims = 3, .mentions = 1, .named = BALL, .covered = BALL } },
        { "A red box is in the north.", /* attributes of an absent object are false, even where another object has them */
            { .words = 7, .sentences = 1, .claims = 3, .false_claims = 3, .mentions = 1, .absent_mentions = 1, .named = BOX } },
        { "There are two objects. The background is gray.", { .words = 8, .sentences = 2, .claims = 2 } },
        { "There are three objects. The background is black.", { .words = 8, .sentences = 2, .claims = 2, .false_claims = 2 } },
        { "I can see a moon. I can see a moon.",
            { .words = 10, .sentences = 2, .repeated = 1, .claims = 1, .mentions = 1, .named = MOON, .covered = MOON } },
        { "There is a moon. I can see a white moon.",
            { .words = 10, .sentences = 2, .claims = 3, .mentions = 2, .named = MOON, .covered = MOON } },
        { "There is a a box ball. balls", /* malformed text names kinds but covers none; "balls" is not a word of the world */
            { .words = 7,
                .sentences = 2,
                .malformed = 2,
                .claims = 2,
                .false_claims = 2,
                .mentions = 2,
                .absent_mentions = 1,
                .named = BALL | BOX } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TruthAnswer a;
        truth_answer(&scene, cases[i].answer, &a);
        if (memcmp(&a, &cases[i].truth, sizeof a)) fail_msg("case %zu: \"%s\"", i, cases[i].answer);
    }
}

static void answers_are_corrected(void **state) {
    (void)state;
    static const struct {
        const char *answer, *corrected; /* NULL: nothing to correct, or nothing left */
    } cases[] = {
        { "There is a small red ball in the north.", NULL },
        { "", NULL },
        { "There is a box.", "There is a ball." }, /* a thing that is there in its place */
        { "There is a moon. A blue tree is in the east. I can see a small star.", "There is a moon. A red ball is in the north." }, /* while there are any */
        { "nonsense.", NULL }, /* nothing is left */
        { "There is a large blue ball in the south.", "There is a small red ball in the north." },
        { "A blue ball is in the east. There is a box. I can see a moon.", "A red ball is in the north. I can see a moon." },
        { "There are five objects. The background is black. There is a ball.", "There are two objects. The background is gray. There is a ball." },
        { "There is a moon. nonsense. There is a ball.", "There is a moon. There is a ball." },
        { "There is a blue ball. There is a red ball.", "There is a red ball." }, /* the same, once mended */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[512];
        int got = truth_correct(&scene, cases[i].answer, out);
        assert_true(truth_correct_size(cases[i].answer) <= sizeof out && strlen(out) < truth_correct_size(cases[i].answer));
        if (got != (cases[i].corrected != NULL) || (got && strcmp(out, cases[i].corrected))) fail_msg("case %zu: %d \"%s\"", i, got, out);
        TruthAnswer a;
        truth_answer(&scene, out, &a);
        assert_int_equal(a.false_claims, 0);
    }
}

static void rates_add_up(void **state) {
    (void)state;
    static const char *const answers[] = { "There is a red ball. I can see a moon.", "There is a blue ball. There is a box.",
        "There are two objects.", "Nonsense." };
    TruthTally t = { 0 };
    for (int i = 0; i < 4; i++) {
        TruthAnswer a;
        truth_answer(&scene, answers[i], &a);
        truth_add(&t, &scene, &a);
    }
    TruthRates r = truth_rates(&t);
    const struct {
        double found, expected;
    } rates[] = {
        { r.object_responses, 1.0 / 2 }, /* of the two that name kinds */
        { r.object_mentions, 1.0 / 4 },
        { r.any_false, 2.0 / 4 },
        { r.false_claims, 3.0 / 8 },
        { r.coverage, 3.0 / 8 },
        { r.malformed, 1.0 / 6 },
        { r.repeated, 0 },
        { r.words, 24.0 / 4 },
        { r.claims, 8.0 / 4 },
        { r.distinct, 4.0 / 4 },
    };
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        if (fabs(rates[i].found - rates[i].expected) > 1e-12) fail_msg("rate %zu is %g, not %g", i, rates[i].found, rates[i].expected);
    json_t *json = truth_rates_to_json(&r);
    assert_non_null(json);
    assert_true(json_real_value(json_object_get(json, "object_mentions")) == .25);
    assert_int_equal(json_object_size(json), 10);
    json_decref(json);
    r = truth_rates(&(TruthTally){ 0 });
    assert_true(r.object_responses == 0 && r.coverage == 0 && r.words == 0);
}

static void kinds_are_named_without_truth(void **state) {
    (void)state;
    assert_int_equal(truth_kinds("There is a red ball. A moon is in the north. I can see a ball. The box is in"), BALL | MOON);
    assert_int_equal(truth_kinds(""), 0);
    assert_int_equal(truth_bits(BALL | MOON), 2);
}

static void captions_score_as_they_were_made(void **state) {
    (void)state;
    TruthTally clean = { 0 }, noisy = { 0 };
    for (int i = 0; i < 4000; i++) {
        for (int n = 0; n < 2; n++) {
            Scene s;
            SceneCaption c;
            TruthAnswer a;
            char text[CAPTION_TEXT];
            scene_make(31, (uint64_t)i, &s, NULL);
            Rng rng = scene_rng(31, (uint64_t)i, SCENE_FOR_TURNS);
            caption_draw(&s, n ? &scene_noise_default : &scene_noise_none, 0, &rng, &c);
            caption_write(&c, text);
            truth_answer(&s, text, &a);
            assert_int_equal(a.false_claims, c.false_facts);
            assert_int_equal(a.absent_mentions, c.absent_kind >= 0);
            assert_int_equal(a.malformed + a.repeated, 0);
            truth_add(n ? &noisy : &clean, &s, &a);
        }
    }
    TruthRates r = truth_rates(&clean);
    assert_true(r.object_responses == 0 && r.any_false == 0 && r.false_claims == 0);
    assert_true(fabs(r.coverage - .92) < .01);
    r = truth_rates(&noisy);
    assert_true(r.object_responses > .55 && r.object_responses < .68);
    assert_true(r.false_claims > .18 && r.false_claims < .25);
}

int main(void) {
    const struct CMUnitTest scenes_truth_test[] = {
        cmocka_unit_test(answers_are_judged_exactly),
        cmocka_unit_test(answers_are_corrected), cmocka_unit_test(rates_add_up),
        cmocka_unit_test(kinds_are_named_without_truth),
        cmocka_unit_test(captions_score_as_they_were_made),
    };
    return cmocka_run_group_tests(scenes_truth_test, NULL, NULL);
}

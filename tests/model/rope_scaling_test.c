/* rope_scaling_test.c - frequencies of scaled rotary embeddings against those of Transformers 5.24 (LlamaRotaryEmbedding's inv_freq, fp32):
 * public shapes, and those of the golden cases. */
#include "tests/check.h"

#include "model/rope.h"

#include <math.h>

/* A unit in the last place or a few: powers differ by one, and where llama3 goes over its weights are differences. */
static const double BOUND = 1e-6;

static void near_to(const char *what, int pair, double have, double want) {
    if (!(fabs(have - want) <= BOUND * want)) fail_msg("%s: frequency %d is %.9g, expected %.9g", what, pair, have, want);
}

static void public_shapes(void **state) {
    (void)state;
    static const int pairs[] = { 0, 1, 20, 28, 29, 30, 32, 34, 35, 36, 40, 63 };
    enum { N = sizeof pairs / sizeof *pairs };
    static const struct {
        const char *what, *text;
        float theta;
        RopeScaling scaling;
        double want[N];
    } cases[] = {
        { "Llama 3.1", ", scaled as llama3 by 8 from 8192 positions (bounds 1 and 4)", 5e5f, { ROPE_LLAMA3, 8, 1, 4, 8192 },
            { 1, 0.814617217, 0.0165604409, 0.00321144611, 0.00216657063, 0.00137189368, 0.000524846022, 0.000178507791, 9.55621217e-05,
                7.78465546e-05, 3.42810235e-05, 3.06892588e-07 } },
        { "Llama 3.2", ", scaled as llama3 by 32 from 8192 positions (bounds 1 and 4)", 5e5f, { ROPE_LLAMA3, 32, 1, 4, 8192 },
            { 1, 0.814617217, 0.0165604409, 0.00321144611, 0.00211840682, 0.00129054801, 0.000429556705, 9.70828623e-05, 2.38905304e-05,
                1.94616387e-05, 8.57025589e-06, 7.67231469e-08 } },
        { "linear", ", scaled linearly by 2.5", 1e4f, { .kind = ROPE_LINEAR, .factor = 2.5f },
            { 0.400000006, 0.346385747, 0.0224936511, 0.00711311772, 0.00615970604, 0.00533408578, 0.00399999972, 0.00299957697,
                0.00259752665, 0.00224936521, 0.00126491114, 4.61912787e-05 } },
        { "Yi", "", 5e6f, { .kind = ROPE_PLAIN },
            { 1, 0.785830021, 0.00806439668, 0.00117273699, 0.000921571918, 0.000724198821, 0.000447213621, 0.000276167266, 0.000217020512,
                0.000170541214, 6.50344882e-05, 2.54507967e-07 } },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        float have[64];
        char text[160];
        DecoderConfig d = { .head_size = 128, .rope_theta = cases[c].theta, .rope = cases[c].scaling };
        rope_scaled_frequencies(&d, have);
        for (int i = 0; i < N; i++) near_to(cases[c].what, pairs[i], have[pairs[i]], cases[c].want[i]);
        assert_string_equal(rope_text(&d.rope, text, sizeof text), cases[c].text);
    }
}

static void golden(void **state) {
    (void)state;
    static const char *const cases[] = { "tests/golden/text-llama3", "tests/golden/text-mistral", "tests/golden/text-qwen2" };
    for (int c = 0; c < 3; c++) {
        ModelConfig config;
        json_t *facts;
        float have[ROPE_HEAD_MOST / 2];
        assert_int_equal(config_load(at(cases[c], "model"), &config, NULL), 0);
        assert_int_equal(json_read_object(at(cases[c], "case.json"), &facts, NULL), 0);
        const json_t *want = json_object_get(facts, "rope_frequencies");
        assert_int_equal(json_array_size(want), config.decoder.head_size / 2);
        rope_scaled_frequencies(&config.decoder, have);
        for (size_t i = 0; i < json_array_size(want); i++) near_to(cases[c], (int)i, have[i], json_number_value(json_array_get(want, i)));
        json_decref(facts);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(public_shapes), cmocka_unit_test(golden) };
    return cmocka_run_group_tests_name("rope_scaling", tests, NULL, NULL);
}

/* The rule that chooses checkpoints without truth. */
#include "tests/check.h"

#include "engine/select.h"

static const char what[] = "objects";

static SelectChoice choose(const SelectEntry *list, int n, double before, double ratio) {
    SelectChoice c;
    select_choose(list, n, before, ratio, what, &c);
    return c;
}

static void fewest_rejections_among_those_that_name_enough(void **state) {
    (void)state;
    const SelectEntry list[] = { { 10, 1.5, 3.4 }, { 20, 0.5, 3.3 }, { 30, 0.1, 2.9 } };
    SelectChoice c = choose(list, 3, 3.4, 0.95); /* 3.23 asked for: the third says too little */
    assert_int_equal(c.index, 1);
    assert_int_equal(c.qualified, 2);
    assert_non_null(strstr(c.why, "0.500"));
    assert_non_null(strstr(c.why, "3.230 objects"));
    assert_int_equal(choose(list, 3, 3.4, 0.8).index, 2); /* a laxer ratio lets it in */
    assert_int_equal(choose(list, 3, 3.4, 1.0).index, 0); /* the bound itself qualifies */
}

static void none_qualifies_the_nearest_is_taken(void **state) {
    (void)state;
    const SelectEntry list[] = { { 10, 0.2, 2.0 }, { 20, 0.9, 2.5 }, { 30, 0.1, 1.0 } };
    SelectChoice c = choose(list, 3, 3.4, 0.95);
    assert_int_equal(c.index, 1);
    assert_int_equal(c.qualified, 0);
    assert_non_null(strstr(c.why, "none of 3"));
    const SelectEntry equal[] = { { 10, 0.9, 2.0 }, { 20, 0.2, 2.0 } };
    assert_int_equal(choose(equal, 2, 3.4, 0.95).index, 1); /* as near, and fewer rejections */
}

static void ties(void **state) {
    (void)state;
    const SelectEntry named[] = { { 10, 0.5, 3.3 }, { 20, 0.5, 3.5 } };
    assert_int_equal(choose(named, 2, 3.4, 0.9).index, 1);
    const SelectEntry same[] = { { 10, 0.5, 3.3 }, { 20, 0.5, 3.3 } };
    assert_int_equal(choose(same, 2, 3.4, 0.9).index, 0); /* the earlier */
}

static void a_model_that_names_nothing_asks_for_nothing(void **state) {
    (void)state;
    const SelectEntry list[] = { { 1, 2, 0 }, { 2, 1, 0 } };
    SelectChoice c = choose(list, 2, 0, 0.95);
    assert_int_equal(c.index, 1);
    assert_int_equal(c.qualified, 2);
}

static void what_is_named_depends_on_the_grammar(void **state) {
    (void)state;
    static RunConfig c;
    LabelerRates r = { .objects = 3, .accepted = 9 };
    config_defaults(&c);
    c.claims.grammar = CLAIM_GRAMMAR_SCENES;
    assert_true(select_named(&c, &r) == 3);
    c.claims.grammar = CLAIM_GRAMMAR_PLAIN;
    assert_true(select_named(&c, &r) == 9);
    assert_string_equal(select_named_what(&c), "accepted claims");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fewest_rejections_among_those_that_name_enough),
        cmocka_unit_test(none_qualifies_the_nearest_is_taken),
        cmocka_unit_test(ties),
        cmocka_unit_test(a_model_that_names_nothing_asks_for_nothing),
        cmocka_unit_test(what_is_named_depends_on_the_grammar),
    };
    return cmocka_run_group_tests_name("select", tests, NULL, NULL);
}

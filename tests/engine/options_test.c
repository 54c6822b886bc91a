/* options_test.c - option tables: values of each type, operands, help, and one clear error for each kind of mistake. */
#include "engine/options.h"
#include "tests/check.h"

typedef struct Values {
    CommonOptions common;
    const char *model;
    int64_t n;
    double temperature;
    int aspect, clean;
} Values;

static const char *const aspects[] = { "pad", "crop", NULL };

/* Parses words (NULL ends them) into v; operands end up at the front of `rest`. */
static int parse(Values *v, const char *const *words, char **rest, int *operands, Error *e) {
    static char copies[8][128];
    int n = 0;
    for (; words[n]; n++) {
        snprintf(copies[n], sizeof copies[n], "%s", words[n]);
        rest[n] = copies[n];
    }
    *v = (Values){ .common = COMMON_DEFAULTS, .n = 1, .temperature = 0.7 };
    memset(e, 0, sizeof *e);
    const Option table[] = {
        { "model", OPTION_TEXT, &v->model, "DIR", "a checkpoint folder", 1, 0, 0, NULL },
        { "n", OPTION_INT, &v->n, "N", "answers", 0, 1, 100, NULL },
        { "temperature", OPTION_NUMBER, &v->temperature, "T", "0: greedy", 0, 0, 10, NULL },
        { "aspect", OPTION_CHOICE, &v->aspect, NULL, "how images are fitted", 0, 0, 0, aspects },
        { "clean", OPTION_FLAG, &v->clean, NULL, "no noise", 0, 0, 0, NULL },
        OPTIONS_COMMON(v->common),
        { 0 },
    };
    return options_parse(table, n, rest, operands, e);
}

static void test_values(void **state) {
    (void)state;
    Values v;
    Error e;
    char *rest[8];
    int operands;
    const char *const words[] = { "--model=a b", "x.png", "--n", "3", "--temperature=0", "--clean", "y.png", NULL };
    assert_int_equal(parse(&v, words, rest, &operands, &e), 0);
    assert_string_equal(v.model, "a b");
    assert_int_equal(v.n, 3);
    assert_float_equal(v.temperature, 0, 0);
    assert_int_equal(v.clean, 1);
    assert_int_equal(v.aspect, 0);
    assert_string_equal(v.common.device, "cpu");
    assert_int_equal(operands, 2);
    assert_string_equal(rest[0], "x.png");
    assert_string_equal(rest[1], "y.png");
    const char *const more[] = { "--model", "m", "--aspect=crop", "--dtype", "bf16", "--", "--odd.png", NULL };
    assert_int_equal(parse(&v, more, rest, &operands, &e), 0);
    assert_int_equal(v.aspect, 1);
    assert_int_equal(v.common.dtype, BF16);
    assert_int_equal(operands, 1);
    assert_string_equal(rest[0], "--odd.png");
}

static void test_mistakes(void **state) {
    (void)state;
    static const struct {
        const char *words[4], *says[2];
    } cases[] = {
        { { "--modle=x" }, { "unknown option --modle", "did you mean --model?" } },
        { { "--xyzzyxyzzy" }, { "unknown option --xyzzyxyzzy", "--help lists them" } },
        { { "--n=3" }, { "--model is missing", "a checkpoint folder" } },
        { { "--model=x", "--n=0" }, { "bad value of --n", "found \"0\"; expected an integer from 1 to 100" } },
        { { "--model=x", "--n=1.5" }, { "bad value of --n", "\"1.5\"" } },
        { { "--model=x", "--temperature=inf" }, { "bad value of --temperature", "a number from 0 to 10" } },
        { { "--model=x", "--aspect=square" }, { "bad value of --aspect", "pad | crop" } },
        { { "--model=" }, { "bad value of --model", "expected text" } },
        { { "--model" }, { "--model needs a value", "command line" } },
        { { "--model=x", "--clean=1" }, { "--clean takes no value", "command line" } },
        { { "--model=x", "--n=2", "--n=2" }, { "--n is given twice", "command line" } },
        { { "--model=x", "stray" }, { "unexpected argument", "\"stray\"" } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Values v;
        Error e;
        char *rest[8];
        assert_int_equal(parse(&v, cases[i].words, rest, NULL, &e), OPTIONS_USAGE);
        for (int j = 0; j < 2; j++) error_says(&e, cases[i].says[j]);
    }
}

static void test_help(void **state) {
    (void)state;
    Values v;
    Error e;
    char *rest[8], *text = NULL;
    size_t size;
    const char *const words[] = { "--n=999", "--help", NULL };
    assert_int_equal(parse(&v, words, rest, NULL, &e), OPTIONS_HELP); /* before anything else is complained of */
    const Option table[] = { { "n", OPTION_INT, &v.n, "N", "answers", 0, 1, 100, NULL }, OPTIONS_COMMON(v.common), { 0 } };
    FILE *f = open_memstream(&text, &size);
    options_help(table, "try [--n N]", "Tries.", f);
    fclose(f);
    static const char *const parts[] = { "usage: rlaifv try [--n N]\nTries.\n", "--n N", "answers (default 1)", "--dtype fp32 | bf16",
        "(default cpu)" };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(text, parts[i])) fail_msg("help does not hold \"%s\":\n%s", parts[i], text);
    free(text);
}

int main(void) {
    const struct CMUnitTest options_test[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(options_test, NULL, NULL);
}

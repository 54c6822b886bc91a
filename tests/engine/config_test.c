/* config_test.c - the table of settings: defaults, files, overrides, writing and reading back, and one clear error for each kind of
 * mistake. */
#include "engine/config.h"
#include "model/params.h"
#include "tests/check.h"

#include <unistd.h>

static RunConfig *fresh(void) {
    RunConfig *c = malloc(sizeof *c);
    assert_non_null(c);
    config_defaults(c);
    return c;
}

/* Reads `text` as FOLDER/run.ini over the defaults. */
static int read_text(RunConfig *c, const char *folder, const char *text, Error *e) {
    put(at(folder, "run.ini"), text, strlen(text));
    config_defaults(c);
    return config_read(c, at(folder, "run.ini"), e);
}

static void test_defaults(void **state) {
    (void)state;
    RunConfig *c = fresh();
    assert_int_equal(c->sample.n, 10);
    assert_float_equal(c->sample.temperature, 0.7, 0);
    assert_float_equal(c->sample.top_p, 1, 0);
    assert_int_equal(c->run.iterations, 4);
    assert_float_equal(c->train.lr, 5e-7, 0);
    assert_float_equal(c->train.beta, 0.1, 0);
    assert_int_equal(c->train.batch_pairs, 8);
    assert_int_equal(c->train.freeze, 1u << PART_VISION);
    assert_int_equal(c->train.loss, LOSS_SIGMOID);
    assert_string_equal(c->chat.template_name, "auto");
    assert_string_equal(c->run.device, "cpu");
    assert_string_equal(c->labeler.dir, "");
    assert_int_equal(c->eval.max_new_tokens, 1024);
    free(c);
}

static void test_file(void **state) {
    (void)state;
    char folder[PATH_SIZE];
    Error e = { 0 };
    RunConfig *c = fresh();
    scratch_make(folder);
    assert_int_equal(read_text(c, folder,
                         "; a comment\n"
                         "# another\n"
                         "[run]\r\n"
                         "dir = runs/one   ; relative to this file\n"
                         "dtype = bf16\n"
                         "seed = 9007199254740991\n"
                         "[model]\n"
                         "dir = /models/llava 7b\n"
                         "[train]\n"
                         "freeze = projector , vision\n"
                         "lr=1e-4\n"
                         "loss = sigmoid_norm\n"
                         "epochs = 2.5\n"
                         "[data]\n"
                         "strict = yes\n"
                         "images =\n",
                         &e),
        0);
    assert_string_equal(c->run.dir, at(folder, "runs/one"));
    assert_int_equal(c->run.dtype, BF16);
    assert_int_equal(c->run.seed, 9007199254740991);
    assert_string_equal(c->model.dir, "/models/llava 7b");
    assert_int_equal(c->train.freeze, 1u << PART_VISION | 1u << PART_PROJECTOR);
    assert_float_equal(c->train.lr, 1e-4, 0);
    assert_int_equal(c->train.loss, LOSS_SIGMOID_NORM);
    assert_float_equal(c->train.epochs, 2.5, 0);
    assert_int_equal(c->data.strict, 1);
    assert_string_equal(c->data.images, "");
    assert_int_equal(c->sample.n, 10);
    scratch_drop(folder);
    free(c);
}

static void test_bad_files(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *says[3];
    } cases[] = {
        { "[train]\nbeta = 0.1\nbata = 0.2\n", { "unknown key \"bata\" in [train]", "run.ini:3", "did you mean beta?" } },
        { "[trane]\nbeta = 0.1\n", { "unknown section [trane]", "run.ini:2", "did you mean [train]?" } },
        { "[run]\nbeta = 0.1\n", { "unknown key \"beta\" in [run]", "run.ini:2", "[train] has a key of that name" } },
        { "seed = 1\n", { "key \"seed\" before any section", "run.ini:1", "[run] has a key of that name" } },
        { "[train]\nbeta = lots\n", { "bad value of train.beta", "run.ini:2; found \"lots\"", "a number from" } },
        { "[train]\nbeta = nan\n", { "bad value of train.beta", "run.ini:2", "a number from" } },
        { "[train]\nlr = 1e-4x\n", { "bad value of train.lr", "run.ini:2; found \"1e-4x\"", "a number from" } },
        { "[sample]\n\nn = 1\n", { "bad value of sample.n", "run.ini:3; found \"1\"", "an integer from 2 to 1000" } },
        { "[sample]\nn = 99999999999999999999\n", { "bad value of sample.n", "run.ini:2", "an integer from 2 to 1000" } },
        { "[sample]\nn =\n", { "bad value of sample.n", "run.ini:2; found \"\"", "an integer from 2 to 1000" } },
        { "[sample]\ntop_p = 0\n", { "bad value of sample.top_p", "run.ini:2", "a number from 1e-06 to 1" } },
        { "[train]\nloss = sigmoyd\n", { "bad value of train.loss", "sigmoid | ipo | hinge", "did you mean sigmoid?" } },
        { "[train]\nfreeze = vision, tower\n", { "bad value of train.freeze", "run.ini:2", "a list of vision, projector, decoder" } },
        { "[train]\nfreeze = vision,\n", { "bad value of train.freeze", "run.ini:2", "nothing, or a list" } },
        { "[data]\nstrict = maybe\n", { "bad value of data.strict", "run.ini:2; found \"maybe\"", "true or false" } },
        { "[train]\nbeta = 0.1\nbeta = 0.1\n", { "train.beta is given twice", "run.ini:3", "line 2 gives it too" } },
        { "[train]\nbeta\n", { "bad line in a config", "run.ini:2", "key = value" } },
        { "[train\nbeta = 1\n", { "bad line in a config", "run.ini:1", "[section]" } },
    };
    char folder[PATH_SIZE];
    RunConfig *c = fresh();
    scratch_make(folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = { 0 };
        assert_int_equal(read_text(c, folder, cases[i].text, &e), -1);
        for (int j = 0; j < 3; j++) error_says(&e, cases[i].says[j]);
    }
    Error e = { 0 };
    assert_int_equal(config_read(c, at(folder, "absent.ini"), &e), -1);
    error_says(&e, "cannot open config: ");
    assert_int_equal(config_read(c, folder, &e), -1);
    error_says(&e, "cannot read config");
    put(at(folder, "run.ini"), "[run]\nseed = 1\0\n", 16);
    assert_int_equal(config_read(c, at(folder, "run.ini"), &e), -1);
    error_says(&e, "NUL byte in a config");
    char *long_line = malloc(10000);
    memset(long_line, 'x', 10000);
    memcpy(long_line, "[run]\ndir = ", 12);
    put(at(folder, "run.ini"), long_line, 10000);
    assert_int_equal(config_read(c, at(folder, "run.ini"), &e), -1);
    error_says(&e, "line too long");
    error_says(&e, "run.ini:2");
    /* A path that fits stays whole, beyond inih's usual 200 bytes. */
    memset(long_line + 12, 'y', 3000);
    memcpy(long_line + 12, "/", 1);
    put(at(folder, "run.ini"), long_line, 3012);
    assert_int_equal(config_read(c, at(folder, "run.ini"), &e), 0);
    assert_int_equal(strlen(c->run.dir), 3000);
    free(long_line);
    scratch_drop(folder);
    free(c);
}

static int arguments(RunConfig *c, Error *e, const char *file, const char *a, const char *b, const char *d) {
    char *argv[4], copies[4][PATH_SIZE];
    const char *words[4] = { a, file, b, d };
    int n = 0;
    for (int i = 0; i < 4; i++) {
        if (!words[i]) continue;
        snprintf(copies[n], sizeof copies[n], "%s", words[i]);
        argv[n] = copies[n];
        n++;
    }
    memset(e, 0, sizeof *e);
    return config_arguments(c, n, argv, e);
}

static void test_command_line(void **state) {
    (void)state;
    char folder[PATH_SIZE], file[PATH_SIZE];
    Error e;
    RunConfig *c = fresh();
    scratch_make(folder);
    snprintf(file, sizeof file, "%s", at(folder, "run.ini"));
    assert_int_equal(read_text(c, folder, "[train]\nbeta = 0.3\n[run]\nseed = 5\n", &e), 0);

    assert_int_equal(arguments(c, &e, file, "--train.beta=0.2", "--seed", "7"), 0);
    assert_float_equal(c->train.beta, 0.2, 0); /* options win though they stand before the file */
    assert_int_equal(c->run.seed, 7);
    assert_int_equal(arguments(c, &e, file, "--run.dir=here/it", "--dtype=bf16", "--labeler.dir="), 0);
    assert_string_equal(c->run.dir, "here/it"); /* relative to the current folder, not to the file's */
    assert_int_equal(c->run.dtype, BF16);
    assert_float_equal(c->train.beta, 0.3, 0);
    assert_int_equal(arguments(c, &e, file, NULL, "--help", NULL), CONFIG_HELP);

    static const struct {
        const char *a, *b, *says[2];
    } wrong[] = {
        { "--train.bata=1", NULL, { "unknown key \"bata\" in [train]", "did you mean beta?" } },
        { "--beta=1", NULL, { "unknown option --beta", "did you mean --train.beta?" } },
        { "--sead=7", NULL, { "unknown option --sead", "command line" } },
        { NULL, "--train.beta", { "--train.beta needs a value", "command line" } },
        { "--train.beta=-1", NULL, { "bad value of train.beta", "command line; found \"-1\"" } },
        { "other.ini", NULL, { "more than one config", "other.ini is one already" } },
        { "--run.dir=a ;b", NULL, { "bad value of run.dir", "a path of" } },
        { "--run.device=0123456789012345678901234567890123456789012345678901234567890123", NULL,
            { "bad value of run.device", "63 bytes" } },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(arguments(c, &e, file, wrong[i].a, wrong[i].b, NULL), CONFIG_USAGE);
        for (int j = 0; j < 2; j++) error_says(&e, wrong[i].says[j]);
    }
    assert_int_equal(arguments(c, &e, file, "--claims.mode=model", NULL, NULL), 0);
    assert_int_equal(arguments(c, &e, file, "--claims.max_new_tokens=0", NULL, NULL), CONFIG_USAGE);
    error_says(&e, "bad value of claims.max_new_tokens");
    assert_int_equal(arguments(c, &e, file, "--train.epochs=0", NULL, NULL), -1);
    error_says(&e, "nothing to train");
    assert_int_equal(arguments(c, &e, file, "--train.epochs=0", "--train.steps=1", NULL), 0);
    assert_int_equal(arguments(c, &e, file, "--train.save_every=5", "--train.save_epochs=.25", NULL), -1);
    error_says(&e, "checkpoints by steps and by epochs");
    assert_int_equal(arguments(c, &e, file, "--train.reference=file", "--train.conditional_weight=1", NULL), -1);
    error_says(&e, "references that no file has");
    const char *const searches[][3] = { { "--sample.beams=10", NULL, "beams in [sample]" }, { "--eval.beams=2", "--eval.n=3", "beams in [eval]" },
        { "--eval.beams=2", "--eval.repetition_penalty=1.2", "beams in [eval]" }, { "--sample.other_beams=3", NULL, "other_beams in [sample]" } };
    for (size_t i = 0; i < sizeof searches / sizeof *searches; i++) {
        assert_int_equal(arguments(c, &e, file, searches[i][0], searches[i][1], NULL), -1);
        error_says(&e, "a search with beams cannot do this");
        error_says(&e, searches[i][2]);
    }
    assert_int_equal(arguments(c, &e, NULL, "--seed=7", NULL, NULL), CONFIG_USAGE);
    error_says(&e, "no config given");
    assert_int_equal(arguments(c, &e, at(folder, "absent.ini"), NULL, NULL, NULL), -1);
    error_says(&e, "cannot open config");
    scratch_drop(folder);
    free(c);
}

static void test_write_reads_back(void **state) {
    (void)state;
    char folder[PATH_SIZE], here[PATH_SIZE], expected[PATH_SIZE];
    Error e = { 0 };
    RunConfig *c = fresh(), *back = fresh();
    scratch_make(folder);
    static const char *const changes[][2] = { { "run.dir", "runs/x" }, { "train.lr", "3.3333333333333335e-05" }, { "train.freeze", "" },
        { "train.schedule", "linear" }, { "sample.top_k", "40" }, { "pair.disjoint", "on" }, { "run.seed", "123456789012" },
        { "pair.length_delta", "-1.5" }, { "claims.grammar", "scenes" } };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        assert_int_equal(config_set(c, changes[i][0], changes[i][1], "test", &e), 0);
    assert_int_equal(config_write(c, at(folder, "config.ini"), &e), 0);
    assert_int_equal(config_read(back, at(folder, "config.ini"), &e), 0);
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(path_join(expected, here, "runs/x", &e), 0);
    assert_string_equal(back->run.dir, expected); /* paths are made absolute; everything else is equal */
    char hash[2][HASH_TEXT];
    static const char all[] =
        "run.seed run.device run.dtype run.threads run.iterations model labeler chat claims data sample label pair train sft select eval";
    assert_int_equal(config_hash(c, all, hash[0], &e), 0);
    assert_int_equal(config_hash(back, all, hash[1], &e), 0);
    assert_string_equal(hash[0], hash[1]);
    assert_float_equal(back->train.lr, 3.3333333333333335e-05, 0);
    assert_int_equal(back->train.freeze, 0);
    scratch_drop(folder);
    free(c);
    free(back);
}

static void test_hash(void **state) {
    (void)state;
    Error e = { 0 };
    RunConfig *c = fresh();
    char before[HASH_TEXT], after[HASH_TEXT];
    assert_int_equal(config_hash(c, "sample run.seed", before, &e), 0);
    c->train.lr = 1;
    assert_int_equal(config_hash(c, "sample run.seed", after, &e), 0);
    assert_string_equal(before, after); /* not asked for */
    c->sample.top_p = 0.9;
    assert_int_equal(config_hash(c, "sample run.seed", after, &e), 0);
    assert_string_not_equal(before, after);
    assert_int_equal(config_hash(c, "sample.topp", after, &e), -1);
    error_says(&e, "unknown setting to hash: sample.topp");
    assert_int_equal(config_hash(c, "samp", after, &e), -1);
    free(c);
}

static void test_need(void **state) {
    (void)state;
    Error e = { 0 };
    RunConfig *c = fresh();
    assert_int_equal(config_need(c, "data.prompts", &e), -1);
    error_says(&e, "missing setting: prompts in [data]");
    error_says(&e, "--data.prompts=");
    assert_int_equal(config_set(c, "data.prompts", "p.jsonl", "test", &e), 0);
    assert_int_equal(config_need(c, "data.prompts", &e), 0);
    free(c);
}

static void test_help_names_every_key(void **state) {
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    config_help(f);
    fclose(f);
    static const char *const lines[] = { "[run]", "[eval]", "temperature = 0.7   (number)",
        "loss = sigmoid   (sigmoid | ipo | hinge | robust | sigmoid_norm)", "freeze = vision   (vision, projector, decoder)",
        "min_objects_ratio = 0.95", "strict = false   (true | false)" };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(text, lines[i])) fail_msg("help does not hold \"%s\"", lines[i]);
    free(text);
}

static void put_text(const char *path, const char *text) { put(path, text, strlen(text)); }

/* A config made of another: what it does not say is as there, paths relative to where they stand. */
static void test_base(void **state) {
    (void)state;
    char folder[PATH_SIZE], path[PATH_SIZE];
    Error e = { 0 };
    RunConfig *c = fresh();
    scratch_make(folder);
    put_text(at(folder, "base.ini"), "[train]\nlr = 1e-4\nbeta = 0.2\n[model]\ndir = m\n");
    assert_int_equal(folder_make(at(folder, "sub"), &e), 0);
    put_text(at(folder, "sub/middle.ini"), "[run]\nbase = ../base.ini\nseed = 3\n[data]\neval = e\n");
    if (read_text(c, folder, "[run]\nbase = sub/middle.ini\nseed = 4\n[train]\nbeta = 0.3\n", &e)) fail_msg("%s: %s", e.what, e.where);
    assert_float_equal(c->train.lr, 1e-4, 0);
    assert_float_equal(c->train.beta, 0.3, 0);
    assert_int_equal(c->run.seed, 4);
    snprintf(path, sizeof path, "%.4000s/sub/../m", folder);
    assert_string_equal(c->model.dir, path);
    snprintf(path, sizeof path, "%.4000s/sub/e", folder);
    assert_string_equal(c->data.eval, path);
    const struct {
        const char *text, *says[2];
    } wrong[] = {
        { "[run]\nseed = 1\nbase = base.ini\n", { "run.base after other keys", "run.ini:3" } },
        { "[run]\nbase = base.ini\nbase = base.ini\n", { "run.base after other keys", "run.ini:3" } },
        { "[run]\nbase = run.ini\n", { "too many configs within each other", "does one name itself?" } },
        { "[run]\nbase = gone.ini\n", { "cannot open config", "gone.ini" } },
        { "[run]\nbase =\n", { "bad value of run.base", "the path of a config" } },
        { "[run]\nbase = broken.ini\n", { "unknown key", "broken.ini:2" } },
    };
    put_text(at(folder, "broken.ini"), "[run]\nsede = 1\n");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(read_text(c, folder, wrong[i].text, &e), -1);
        for (int j = 0; j < 2; j++) error_says(&e, wrong[i].says[j]);
    }
    assert_int_equal(arguments(c, &e, at(folder, "base.ini"), "--run.base=x", NULL, NULL), CONFIG_USAGE);
    error_says(&e, "unknown key");
    scratch_drop(folder);
    free(c);
}

int main(void) {
    const struct CMUnitTest config_test[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_base),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_write_reads_back),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_need),
        cmocka_unit_test(test_help_names_every_key),
    };
    return cmocka_run_group_tests(config_test, NULL, NULL);
}

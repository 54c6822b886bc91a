/* command_data_test.c - the commands that look at inputs and make data, called as main.c calls them, against the golden cases and for their
 * mistakes. */
#include "engine/commands.h"

#include "base/json.h"
#include "model/safetensors.h"
#include "tests/scratch.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

static const char *const cases[] = { "llava15-hub", "llava15-orig", "llava15-v5", "next-mistral", "next-yi" };
enum { CASES = sizeof cases / sizeof *cases, WORDS = 16 };
typedef int (*Command)(int argc, char **argv, Error *e);

/* Calls a command with words up to NULL; what it prints goes to FOLDER/stdout. */
static int call(Command command, Error *e, ...) {
    static char copies[WORDS][PATH_SIZE];
    char *argv[WORDS];
    int argc = 0;
    va_list args;
    va_start(args, e);
    for (const char *word; (word = va_arg(args, const char *)); argc++) {
        assert_true(argc < WORDS);
        snprintf(copies[argc], PATH_SIZE, "%s", word);
        argv[argc] = copies[argc];
    }
    va_end(args);
    memset(e, 0, sizeof *e);
    fflush(stdout);
    int kept = dup(STDOUT_FILENO), file = open(at(folder, "stdout"), O_CREAT | O_TRUNC | O_WRONLY, 0666);
    assert_true(kept >= 0 && file >= 0 && dup2(file, STDOUT_FILENO) >= 0);
    int result = command(argc, argv, e);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    close(file);
    return result;
}

static void stdout_says(const char *part) {
    char *text;
    assert_int_equal(file_read(at(folder, "stdout"), 1 << 20, &text, NULL, NULL), 0);
    if (!strstr(text, part)) fail_msg("\"%s\" does not hold \"%s\"", text, part);
    free(text);
}

static void golden(char out[PATH_SIZE], int i, const char *name) { snprintf(out, PATH_SIZE, "tests/golden/%s/%s", cases[i], name); }

static void test_tokenize(void **state) {
    (void)state;
    Error e;
    char model[PATH_SIZE], expect[PATH_SIZE], out[PATH_SIZE];
    snprintf(out, sizeof out, "%s", at(folder, "ids.jsonl"));
    for (int i = 0; i < CASES; i++) {
        golden(model, i, "model");
        golden(expect, i, "expect/tokens.jsonl");
        assert_int_equal(call(command_tokenize, &e, "--model", model, "--data", expect, "--out", out, NULL), 0);
        JsonLines ours, theirs;
        json_t *a, *b;
        int rows = 0;
        assert_int_equal(jsonl_open(&ours, out, &e), 0);
        assert_int_equal(jsonl_open(&theirs, expect, &e), 0);
        while (jsonl_next(&theirs, &b, &e) == 1) {
            assert_int_equal(jsonl_next(&ours, &a, &e), 1);
            static const char *const fields[] = { "ids", "ids_plain", "decoded" };
            for (int f = 0; f < 3; f++)
                if (!json_equal(json_object_get(a, fields[f]), json_object_get(b, fields[f])))
                    fail_msg("%s: %s differs", theirs.where, fields[f]);
            json_decref(a);
            json_decref(b);
            rows++;
        }
        assert_true(rows > 5);
        assert_int_equal(jsonl_next(&ours, &a, &e), 0);
        jsonl_close(&ours);
        jsonl_close(&theirs);
    }
    /* Rows line up with their inputs, so a bad one is refused, and nothing is left behind. */
    put(at(folder, "bad.jsonl"), "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n", 27);
    remove(out);
    assert_int_equal(call(command_tokenize, &e, "--model", model, "--data", at(folder, "bad.jsonl"), "--out", out, NULL), -1);
    error_says(&e, "bad.jsonl:2: field \"text\"");
    assert_false(file_exists(out));
    assert_int_equal(call(command_tokenize, &e, "--model", model, NULL), 2);
    error_says(&e, "--data is missing");
    assert_int_equal(call(command_tokenize, &e, "--help", NULL), 0);
    stdout_says("usage: rlaifv tokenize");
}

static void test_preprocess(void **state) {
    (void)state;
    Error e;
    char model[PATH_SIZE], expect[PATH_SIZE], out[PATH_SIZE], images[4][PATH_SIZE];
    snprintf(out, sizeof out, "%s", at(folder, "pixels.safetensors"));
    for (int i = 0; i < CASES; i++) {
        golden(model, i, "model");
        golden(expect, i, "expect/pixels.safetensors");
        for (int j = 0; j < 4; j++) {
            char name[32];
            snprintf(name, sizeof name, "images/%d.png", j);
            golden(images[j], i, name);
        }
        int tiled = !strncmp(cases[i], "next", 4);
        for (int aspect = 0; aspect < 2 + tiled; aspect++) {
            static const char *const aspects[] = { "--aspect=pad", "--aspect=crop", "--aspect=anyres" };
            assert_int_equal(call(command_preprocess, &e, "--model", model, aspect || tiled ? aspects[aspect] : "--threads=1", "--out", out, images[0],
                                 images[1], images[2], images[3], NULL),
                0);
            TensorSet ours, theirs;
            assert_int_equal(tensors_open(&ours, out, &e), 0);
            assert_int_equal(tensors_open(&theirs, expect, &e), 0);
            assert_int_equal(ours.n, 4);
            for (int j = 0; j < 4; j++) {
                char name[16], golden_name[32];
                snprintf(name, sizeof name, "%d", j);
                snprintf(golden_name, sizeof golden_name, "%s.%d", aspects[aspect] + strlen("--aspect="), j);
                const Tensor *a = tensors_find(&ours, name), *b = tensors_find(&theirs, golden_name);
                assert_non_null(a);
                assert_non_null(b);
                assert_int_equal(a->ndim, b->ndim);
                for (int d = 0; d < a->ndim; d++) assert_int_equal(a->shape[d], b->shape[d]);
                assert_memory_equal(a->data, b->data, (size_t)a->count * 4); /* bit for bit on PNG */
            }
            tensors_close(&ours);
            tensors_close(&theirs);
        }
    }
    remove(out);
    assert_int_equal(call(command_preprocess, &e, "--model", model, "--out", out, images[0], "absent.png", NULL), -1);
    error_says(&e, "absent.png");
    assert_false(file_exists(out));
    assert_int_equal(call(command_preprocess, &e, "--model", model, "--out", out, NULL), 2);
    error_says(&e, "no images given");
    assert_int_equal(call(command_preprocess, &e, "--model", model, "--out", out, "--aspect=square", images[0], NULL), 2);
    error_says(&e, "pad | crop | anyres");
    golden(model, 0, "model");
    assert_int_equal(call(command_preprocess, &e, "--model", model, "--out", out, "--aspect=anyres", images[0], NULL), -1);
    error_says(&e, "image_grid_pinpoints");
}

static void test_inspect(void **state) {
    (void)state;
    Error e;
    char model[PATH_SIZE];
    for (int i = 0; i < CASES; i++) {
        golden(model, i, "model");
        assert_int_equal(call(command_inspect, &e, model, NULL), 0);
        stdout_says("parameters");
    }
    assert_int_equal(call(command_inspect, &e, at(folder, "absent"), NULL), -1);
    assert_int_equal(call(command_inspect, &e, NULL), 2);
    error_says(&e, "inspect takes one folder");
    assert_int_equal(call(command_inspect, &e, "--help", NULL), 0);
    stdout_says("usage: rlaifv inspect DIR");
}

static int lines_of(const char *path) {
    JsonLines lines;
    json_t *row;
    Error e;
    int n = 0;
    assert_int_equal(jsonl_open(&lines, path, &e), 0);
    while (jsonl_next(&lines, &row, &e) == 1) n++, json_decref(row);
    jsonl_close(&lines);
    return n;
}

/* An activation of a prompt, malloc'd. */
static float *dumped(const char *model, const char *image, const char *name, const char *to, int64_t *count) {
    Error e;
    TensorSet set;
    assert_int_equal(call(command_inspect, &e, model, "--dump", name, "--dump-to", to, "--image", image, NULL), 0);
    assert_int_equal(tensors_open(&set, to, &e), 0);
    const Tensor *t = tensors_find(&set, name);
    assert_non_null(t);
    float *out = malloc((size_t)t->count * sizeof *out);
    assert_non_null(out);
    assert_int_equal(tensor_read(t, TENSOR_F32, out, &e), 0);
    *count = t->count;
    tensors_close(&set);
    remove(to);
    return out;
}

static void test_dump(void **state) {
    (void)state;
    Error e;
    char model[PATH_SIZE], image[PATH_SIZE], expect[PATH_SIZE], out[PATH_SIZE];
    static const struct {
        const char *name;
        int width;
    } names[] = { { "vision.embedded", 32 }, { "vision.1.out", 32 }, { "vision_features", 32 }, { "projected", 48 }, { "decoder.embedded", 48 },
        { "decoder.1.qkv", (6 + 2 * 3) * 8 }, { "decoder.0.gated", 96 }, { "decoder.1.out", 48 }, { "hidden", 48 }, { "logits", 512 } };
    golden(model, 3, "model"), golden(image, 3, "images/1.png"), golden(expect, 3, "expect/forward.safetensors");
    snprintf(out, sizeof out, "%s", at(folder, "dump.safetensors"));
    TensorSet set, wanted;
    assert_int_equal(tensors_open(&wanted, expect, &e), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(call(command_inspect, &e, model, "--dump", names[i].name, "--dump-to", out, "--image", image, NULL), 0);
        assert_int_equal(tensors_open(&set, out, &e), 0);
        const Tensor *t = tensors_find(&set, names[i].name), *golden = tensors_find(&wanted, names[i].name);
        assert_non_null(t);
        assert_int_equal(t->ndim, 2);
        assert_int_equal(t->shape[1], names[i].width);
        for (int64_t j = 0; golden && i < 4 && j < t->count; j++) /* what does not depend on the question */
            assert_float_equal(((const float *)t->data)[j], ((const float *)golden->data)[j], 1e-4);
        tensors_close(&set);
        remove(out);
    }
    tensors_close(&wanted);
    /* a stream is what it was and what was added to it */
    static const char *const sums[][3] = { { "decoder.embedded", "decoder.0.attention", "decoder.0.mid" }, { "decoder.0.mid", "decoder.0.mlp", "decoder.0.out" },
        { "decoder.1.mid", "decoder.1.mlp", "decoder.1.out" }, { "vision.0.out", "vision.1.attention", "vision.1.mid" },
        { "vision.1.mid", "vision.1.mlp", "vision.1.out" } };
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        int64_t counts[3];
        float *parts[3];
        for (int j = 0; j < 3; j++) parts[j] = dumped(model, image, sums[i][j], out, &counts[j]);
        assert_true(counts[0] == counts[1] && counts[1] == counts[2] && counts[0] > 0);
        for (int64_t j = 0; j < counts[0]; j++) assert_float_equal(parts[0][j] + parts[1][j], parts[2][j], 1e-5);
        for (int j = 0; j < 3; j++) free(parts[j]);
    }
    int64_t n, m;
    float *hidden = dumped(model, image, "projector.hidden", out, &n), *activated = dumped(model, image, "projector.activated", out, &m);
    assert_true(n == m && n % 48 == 0);
    for (int64_t j = 0; j < n; j++) assert_float_equal(activated[j], .5 * (double)hidden[j] * (1 + erf((double)hidden[j] * M_SQRT1_2)), 1e-6);
    free(hidden), free(activated);
    assert_int_equal(call(command_inspect, &e, model, "--dump", "resampler.normed", "--dump-to", out, "--image", image, NULL), -1);
    error_says(&e, "no such activation");
    assert_int_equal(call(command_inspect, &e, model, "--dump", "decoder.2.qkv", "--dump-to", out, NULL), -1);
    error_says(&e, "decoder.{i}.norm1|qkv|attended|attention|mid|norm2|gated|mlp|out, hidden, logits"); /* all of them: not cut short */
    error_says(&e, "projector.hidden|activated, projected");
    error_says(&e, "0 to 1");
    assert_int_equal(call(command_inspect, &e, model, "--dump", "projected", "--dump-to", out, NULL), -1);
    error_says(&e, "give an --image");
    assert_int_equal(call(command_inspect, &e, model, "--dump", "projected", NULL), -1);
    error_says(&e, "--dump-to FILE");
    assert_false(file_exists(out));
}

/* What stands between the resampler's parts, by its last two: its norm of attention's rows, and that times proj, which golden_test.c holds to PyTorch's. */
static void test_dump_resampler(void **state) {
    (void)state;
    enum { Q = 16, P = 25, D = 32 };
    static const char model[] = "tests/golden/omnilmm/model", image[] = "tests/golden/omnilmm/images/1.png";
    static const char *const names[] = { "resampler.asked", "resampler.attended", "resampler.attention", "resampler.normed", "projected", "resampler.values", "resampler.keys" };
    enum { ATTENTION = 2, NORMED, PROJECTED, NAMES = 7 };
    char out[PATH_SIZE];
    float *rows[NAMES], proj[D * D], gain[D], shift[D];
    Error e;
    TensorSet set;
    snprintf(out, sizeof out, "%s", at(folder, "dump.safetensors"));
    for (int i = 0; i < NAMES; i++) {
        int64_t n;
        rows[i] = dumped(model, image, names[i], out, &n);
        assert_int_equal(n, (i > PROJECTED ? P : Q) * D);
    }
    assert_int_equal(tensors_open(&set, model, &e), 0);
    assert_int_equal(tensor_read(tensors_find(&set, "model.resampler.proj"), TENSOR_F32, proj, &e), 0);
    assert_int_equal(tensor_read(tensors_find(&set, "model.resampler.ln_post.weight"), TENSOR_F32, gain, &e), 0);
    assert_int_equal(tensor_read(tensors_find(&set, "model.resampler.ln_post.bias"), TENSOR_F32, shift, &e), 0);
    for (int r = 0; r < Q; r++) {
        const float *x = rows[ATTENTION] + r * D, *y = rows[NORMED] + r * D, *z = rows[PROJECTED] + r * D;
        double mean = 0, square = 0;
        for (int d = 0; d < D; d++) mean += (double)x[d] / D;
        for (int d = 0; d < D; d++) square += pow((double)x[d] - mean, 2) / D;
        for (int d = 0; d < D; d++) {
            double sum = 0;
            for (int i = 0; i < D; i++) sum += (double)y[i] * (double)proj[i * D + d];
            assert_float_equal(y[d], ((double)x[d] - mean) / sqrt(square + 1e-6) * (double)gain[d] + (double)shift[d], 1e-4);
            assert_float_equal(z[d], sum, 1e-4);
        }
    }
    tensors_close(&set);
    for (int i = 0; i < NAMES; i++) free(rows[i]);
    assert_int_equal(call(command_inspect, &e, model, "--dump", "projector.hidden", "--dump-to", out, "--image", image, NULL), -1);
    error_says(&e, "resampler.asked|values|keys|attended|attention|normed, projected");
}

static void test_scenes(void **state) {
    (void)state;
    Error e;
    char out[PATH_SIZE];
    snprintf(out, sizeof out, "%s", at(folder, "world"));
    int quiet = open("/dev/null", O_WRONLY), kept = dup(STDERR_FILENO);
    dup2(quiet, STDERR_FILENO);
    int made = call(command_scenes, &e, "--out", out, "--count=3", "--seed=7", "--captions=1", "--yes-no=2", NULL);
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(quiet);
    assert_int_equal(made, 0);
    assert_int_equal(lines_of(at(out, "prompts.jsonl")), 3);
    assert_int_equal(lines_of(at(out, "sft.jsonl")), 9);
    assert_int_equal(call(command_scenes, &e, "--out", out, NULL), 2);
    error_says(&e, "--count is missing");
    assert_int_equal(call(command_scenes, &e, "--out", out, "--count=0", NULL), 2);
    error_says(&e, "bad value of --count");
}

int main(void) {
    const struct CMUnitTest command_data_test[] = {
        cmocka_unit_test_setup_teardown(test_tokenize, setup, teardown),
        cmocka_unit_test_setup_teardown(test_preprocess, setup, teardown),
        cmocka_unit_test_setup_teardown(test_inspect, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dump, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dump_resampler, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scenes, setup, teardown),
    };
    return cmocka_run_group_tests(command_data_test, NULL, NULL);
}

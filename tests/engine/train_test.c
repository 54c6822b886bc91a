/* train_test.c - DPO end to end on the golden checkpoints: the logged numbers, the final weights, the first step's gradients, and going on
 * after a stop.
 *
 * Bounds are those the golden cases state for a right fp32 implementation: losses 2e-5, final weights 2e-5 absolute, gradients 1e-4
 * relative by norm. */
#include "tests/engine/golden_case.h"

#include "engine/dpo.h"
#include "engine/train.h"
#include "model/safetensors.h"

#include <math.h>
#include <stdlib.h>

static void scratch(char out[PATH_SIZE]) {
    snprintf(out, PATH_SIZE, "/tmp/rlaifv-train-XXXXXX");
    assert_non_null(mkdtemp(out));
}

static void settings(RunConfig *c, const char *name, const char *folder) {
    static const char *const keys[][2] = { { "train.steps", "8" }, { "train.batch_pairs", "2" }, { "train.order", "file" },
        { "train.lr", "5e-4" }, { "train.warmup_steps", "2" }, { "train.beta", "0.1" }, { "train.weight_decay", "0.01" },
        { "train.freeze", "vision" }, { "train.clip", "0" }, { "train.log_every", "1" }, { "train.save_every", "3" } };
    Error e = { 0 };
    config_defaults(c);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (config_set(c, keys[i][0], keys[i][1], "test", &e)) fail_with(&e);
    if (!strcmp(name, "omnilmm") && config_set(c, "train.adam_eps", "1e-4", "test", &e)) fail_with(&e); /* make_omnilmm.py says why */
    snprintf(c->run.dir, sizeof c->run.dir, "%s", folder);
    snprintf(c->data.train, sizeof c->data.train, "%s", golden_path(name, "pairs.jsonl"));
}

static void train(const char *name, const char *folder, DType dtype) {
    RunConfig c;
    Vlm v;
    Error e = { 0 };
    TrainResult result;
    settings(&c, name, folder);
    golden_open(&v, name, dtype);
    Metrics *metrics = metrics_open(folder, &e);
    if (!metrics) fail_with(&e);
    Ranks ranks;
    if (ranks_lone(&ranks, v.model.k, &e)) fail_with(&e);
    TrainPlan plan = { .config = &c, .pairs = c.data.train, .folder = folder, .iteration = 1, .ranks = &ranks, .metrics = metrics };
    if (train_pairs(&v, &plan, &result, &e)) fail_with(&e);
    ranks_close(&ranks);
    assert_int_equal(result.pairs, 8);
    assert_int_equal(result.dropped, 0);
    metrics_close(metrics);
    vlm_close(&v);
}

static double worst_difference(const char *expected_path, const char *got_path) {
    TensorSet expected, got;
    Error e = { 0 };
    double worst = 0;
    if (tensors_open(&expected, expected_path, &e) || tensors_open(&got, got_path, &e)) fail_with(&e);
    for (size_t i = 0; i < expected.n; i++) {
        const Tensor *a = &expected.list[i], *b = tensors_find(&got, a->name);
        if (!b) fail_msg("%s is absent", a->name);
        assert_int_equal(a->count, b->count);
        float *x = malloc((size_t)a->count * 4), *y = malloc((size_t)a->count * 4);
        if (tensor_read(a, TENSOR_F32, x, &e) || tensor_read(b, TENSOR_F32, y, &e)) fail_with(&e);
        for (int64_t j = 0; j < a->count; j++) worst = fmax(worst, fabs((double)x[j] - y[j]));
        free(x);
        free(y);
    }
    assert_true(expected.n > 0);
    tensors_close(&expected);
    tensors_close(&got);
    return worst;
}

static void golden_steps(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double bound; /* relative to the value where it is above 1 */
    } columns[] = { { "loss", 2e-5 }, { "learning_rate", 1e-12 }, { "grad_norm", 1e-4 }, { "rewards/chosen", 2e-5 },
        { "rewards/rejected", 2e-5 }, { "rewards/margins", 2e-5 }, { "logps/chosen", 2e-5 }, { "logps/rejected", 2e-5 } };
    int finals = 0;
    for (int g = 0; g < GOLDEN_CASES; g++) {
        char folder[PATH_SIZE], file[PATH_SIZE];
        Error e = { 0 };
        json_t *expected, *row;
        JsonLines lines;
        scratch(folder);
        train(golden_cases[g], folder, FP32);
        if (json_read_object(golden_path(golden_cases[g], "expect/dpo.json"), &expected, &e)) fail_with(&e);
        assert_int_equal(path_join(file, folder, "metrics.jsonl", NULL), 0);
        if (jsonl_open(&lines, file, &e)) fail_with(&e);
        const json_t *log = json_object_get(expected, "log");
        size_t rows = 0;
        for (; jsonl_next(&lines, &row, &e) == 1; rows++, json_decref(row))
            for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
                double want = json_number_value(json_object_get(json_array_get(log, rows), columns[i].name)),
                       have = json_number_value(json_object_get(row, columns[i].name));
                if (fabs(want - have) > columns[i].bound * fmax(1, fabs(want)))
                    fail_msg("%s step %zu: %s is %.9g, expected %.9g", golden_cases[g], rows + 1, columns[i].name, have, want);
            }
        assert_int_equal(rows, json_array_size(log));
        jsonl_close(&lines);
        json_decref(expected);
        assert_int_equal(path_join(file, folder, "checkpoint-8", NULL), 0);
        const char *final = golden_path(golden_cases[g], "expect/dpo_final.safetensors");
        if (file_exists(final)) { /* of text alone only one case keeps them */
            double worst = worst_difference(final, file);
            if (!(worst <= 2e-5)) fail_msg("%s: final weights differ by %g", golden_cases[g], worst);
            finals++;
        }
        folder_remove(folder, NULL);
    }
    assert_int_equal(finals, GOLDEN_CASES - 2);
}

/* Removing the last checkpoint stands for a kill after step 6: the same command ends with the same bits. */
static void stopped_run_continues(void **state) {
    (void)state;
    for (int dtype = FP32; dtype <= BF16; dtype++) {
        char whole[PATH_SIZE], cut[PATH_SIZE], a[PATH_SIZE], b[PATH_SIZE], ha[HASH_TEXT], hb[HASH_TEXT];
        Error e = { 0 };
        scratch(whole);
        scratch(cut);
        train("llava15-v5", whole, (DType)dtype);
        train("llava15-v5", cut, (DType)dtype);
        assert_int_equal(path_join(a, cut, "checkpoint-8", NULL), 0);
        assert_int_equal(folder_remove(a, NULL), 0);
        train("llava15-v5", cut, (DType)dtype);
        for (int i = 0; i < 2; i++) {
            const char *file = i ? "checkpoint-8/optimizer-00001-of-00001.safetensors" : "checkpoint-8/model.safetensors";
            assert_int_equal(path_join(a, whole, file, NULL) | path_join(b, cut, file, NULL), 0);
            if (hash_file(a, ha, &e) || hash_file(b, hb, &e)) fail_with(&e);
            assert_string_equal(ha, hb);
        }
        folder_remove(whole, NULL);
        folder_remove(cut, NULL);
    }
}

static void golden_gradients(void **state) {
    (void)state;
    for (int g = 0; g < GOLDEN_CASES; g++) {
        Vlm v;
        Error e = { 0 };
        Trunks trunks = { .root = -1 };
        DpoPair pairs[2];
        DpoSums sums = { 0 };
        Prompt prompts[2];
        IdList answers[4] = { 0 };
        char paths[2][PATH_SIZE];
        golden_open(&v, golden_cases[g], FP32);
        json_t *rows = golden_rows(golden_cases[g], "pairs.jsonl");
        for (int i = 0; i < 2; i++) {
            const json_t *row = json_array_get(rows, (size_t)i);
            golden_prompt(&v, golden_cases[g], row, paths[i], &prompts[i]);
            if (template_answer(v.chat, text_of(row, "chosen"), 1, &answers[2 * i], &e) ||
                template_answer(v.chat, text_of(row, "rejected"), 1, &answers[2 * i + 1], &e))
                fail_with(&e);
        }
        for (int pass = 0; pass < 2; pass++) { /* reference log-probs, then gradients at the same weights */
            trunks_clear(&trunks);
            for (int i = 0; i < 2; i++) {
                int trunk = trunks_find(&v, &trunks, &prompts[i], &e);
                if (trunk < 0) fail_with(&e);
                for (int s = 0; s < 2; s++)
                    pairs[i].sequences[s] = (DpoSequence){
                        .trunk = trunk, .answer = &answers[2 * i + s], .reference = pass ? pairs[i].sequences[s].reference : 0
                    };
            }
            PreferenceLoss loss = { .kind = LOSS_SIGMOID, .beta = 0.1f, .pair_scale = 0.5f };
            if (pass && params_train_begin(&v.model.params, v.model.k, 1u << PART_VISION, &e)) fail_with(&e);
            if (pass ? dpo_backward(&v, &trunks.forest, &trunks.images, pairs, 2, &loss, &sums, &e)
                     : dpo_reference(&v, &trunks.forest, &trunks.images, pairs, 2, 2, &e))
                fail_with(&e);
        }
        TensorSet expected;
        size_t compared = 0;
        if (tensors_open(&expected, golden_path(golden_cases[g], "expect/grad_step0.safetensors"), &e)) fail_with(&e);
        const Params *p = &v.model.params;
        for (int i = 0; i < p->n; i++) {
            char name[PARAM_NAME];
            params_name(&p->list[i], p->layout, name);
            const Tensor *t = tensors_find(&expected, name);
            if (!t) continue;
            float *want = malloc((size_t)t->count * 4), *have = malloc((size_t)t->count * 4);
            if (tensor_read(t, TENSOR_F32, want, &e)) fail_with(&e);
            v.model.k->download(have, buf_at(p->grads, p->list[i].offset), t->count);
            double difference = 0, size = 0;
            for (int64_t j = 0; j < t->count; j++)
                difference += ((double)want[j] - have[j]) * ((double)want[j] - have[j]), size += (double)want[j] * want[j];
            if (!(sqrt(difference) <= 1e-4 * sqrt(size)))
                fail_msg("%s %s: gradient differs by %g of its norm", golden_cases[g], name, sqrt(difference / size));
            free(want);
            free(have);
            compared++;
        }
        assert_int_equal(compared, expected.n);
        tensors_close(&expected);
        trunks_free(&trunks);
        for (int i = 0; i < 4; i++) idlist_free(&answers[i]);
        for (int i = 0; i < 2; i++) prompt_free(&prompts[i]);
        json_decref(rows);
        vlm_close(&v);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(golden_steps), cmocka_unit_test(golden_gradients),
        cmocka_unit_test(stopped_run_continues) };
    return cmocka_run_group_tests_name("train", tests, NULL, NULL);
}

/* losses_test.c - what the losses add to DPO, on whole models: the chosen answer without its image against PyTorch, gradients of all terms together against
 * differences of the loss, what cached references hold, and the first step's loss in numbers anyone can check. */
#include "tests/engine/golden_case.h"

#include "engine/dpo.h"
#include "engine/train.h"

#include <math.h>
#include <stdlib.h>

static void answer_of(const Vlm *v, const json_t *row, const char *key, IdList *out) {
    Error e = { 0 };
    *out = (IdList){ 0 };
    if (template_answer(v->chat, text_of(row, key), 1, out, &e)) fail_with(&e);
}

/* tests/golden/blind_vectors.py masks the image's rows in attention; here they are not there. */
static void without_the_image(void **state) {
    (void)state;
    JsonLines in;
    json_t *want;
    Error e = { 0 };
    int compared = 0;
    if (jsonl_open(&in, "tests/golden/blind.jsonl", &e)) fail_with(&e);
    for (; jsonl_next(&in, &want, &e) == 1; json_decref(want), compared++) {
        Vlm v;
        const char *name = text_of(want, "case");
        golden_open(&v, name, FP32);
        json_t *rows = golden_rows(name, "pairs.jsonl");
        const json_t *row = json_array_get(rows, (size_t)compared % 2), *logps = json_object_get(want, "logps");
        char path[PATH_SIZE];
        Prompt prompt;
        IdList answer;
        Trunks t = { 0 };
        float got[128];
        golden_prompt(&v, name, row, path, &prompt);
        answer_of(&v, row, "chosen", &answer);
        trunks_clear(&t);
        int seeing = trunks_find(&v, &t, &prompt, &e), blind = trunks_find_blind(&v, &t, &prompt, &e);
        assert_true(seeing >= 0 && blind >= 0 && seeing != blind);
        assert_int_equal(trunks_find_blind(&v, &t, &prompt, &e), blind);
        int leaf = forest_segment(&t.forest, blind, 0, &e);
        if (forest_extend(&t.forest, leaf, answer.ids, (int)answer.count, &e) || forest_score(&t.forest, leaf, 0, &e) ||
            vlm_forward(&v, &t.forest, &t.images, STEP_SCORE, &e) || model_score(&v.model, &t.forest, got, NULL, NULL, NULL, &e))
            fail_with(&e);
        assert_int_equal(answer.count, json_array_size(logps));
        for (size_t i = 0; i < answer.count; i++) assert_float_equal(got[i], json_number_value(json_array_get(logps, i)), 5e-5);
        idlist_free(&answer);
        prompt_free(&prompt);
        trunks_free(&t);
        json_decref(rows);
        vlm_close(&v);
    }
    jsonl_close(&in);
    assert_int_equal(compared, 4);
}

typedef struct Step {
    Vlm v;
    Trunks trunks;
    Prompt prompts[2];
    char paths[2][PATH_SIZE];
    IdList answers[4];
    float *weights[4];
    double reference[2][DPO_SEQUENCES];
} Step;

static double step_loss(Step *s, const PreferenceLoss *loss, int make_reference) {
    DpoPair pairs[2];
    DpoSums sums = { 0 };
    Error e = { 0 };
    trunks_clear(&s->trunks);
    for (int i = 0; i < 2; i++) {
        int trunk = trunks_find(&s->v, &s->trunks, &s->prompts[i], &e), blind = trunks_find_blind(&s->v, &s->trunks, &s->prompts[i], &e);
        assert_true(trunk >= 0 && blind >= 0);
        for (int q = 0; q < DPO_SEQUENCES; q++)
            pairs[i].sequences[q] = (DpoSequence){
                q == 2 ? blind : trunk, &s->answers[2 * i + (q == 1)], s->weights[2 * i + (q == 1)], s->reference[i][q]
            };
    }
    if (make_reference) {
        if (dpo_reference(&s->v, &s->trunks.forest, &s->trunks.images, pairs, 2, DPO_SEQUENCES, &e)) fail_with(&e);
        for (int i = 0; i < 2; i++) /* somewhere else than the policy, so that no term is at its symmetric point */
            for (int q = 0; q < DPO_SEQUENCES; q++) s->reference[i][q] = pairs[i].sequences[q].reference + 3 * q - 2 - i;
        return 0;
    }
    if (dpo_backward(&s->v, &s->trunks.forest, &s->trunks.images, pairs, 2, loss, &sums, &e)) fail_with(&e);
    return sums.loss / 2;
}

/* weights += by * direction, over what is trained. */
static void move(Step *s, const float *direction, double by) {
    Params *p = &s->v.model.params;
    float *weights = p->weights.at; /* the CPU's memory is one */
    for (int64_t i = 0; i < p->trained_count; i++) weights[i] += (float)(by * direction[i]);
    model_weights_changed(&s->v.model);
}

static void gradient_of_all_terms(void **state) {
    (void)state;
    static const LossKind kinds[] = { LOSS_SIGMOID, LOSS_SIGMOID_NORM };
    for (int c = 0; c < 2; c++) {
        const char *name = c ? "next-mistral" : "llava15-v5";
        Step s = { 0 };
        Error e = { 0 };
        PreferenceLoss loss = { .kind = kinds[c], .beta = .2f, .sft_weight = .05f, .sft_sum = c, .conditional_weight = .7f, .anchor_weight = .4f, .pair_scale = .5f };
        golden_open(&s.v, name, FP32);
        json_t *rows = golden_rows(name, "pairs.jsonl");
        for (int i = 0; i < 2; i++) {
            golden_prompt(&s.v, name, json_array_get(rows, (size_t)i), s.paths[i], &s.prompts[i]);
            for (int side = 0; side < 2; side++) {
                IdList *a = &s.answers[2 * i + side];
                answer_of(&s.v, json_array_get(rows, (size_t)i), side ? "rejected" : "chosen", a);
                s.weights[2 * i + side] = calloc(a->count, sizeof(float));
                for (size_t t = 0; t < a->count; t++) s.weights[2 * i + side][t] = t % 3 ? 1 : 1.5f;
            }
        }
        step_loss(&s, &loss, 1);
        Params *p = &s.v.model.params;
        if (params_train_begin(p, s.v.model.k, 1u << PART_VISION, &e)) fail_with(&e);
        step_loss(&s, &loss, 0);
        float *gradient = malloc((size_t)p->trained_count * sizeof *gradient);
        double norm = 0;
        memcpy(gradient, p->grads.at, (size_t)p->trained_count * sizeof *gradient);
        for (int64_t i = 0; i < p->trained_count; i++) norm += (double)gradient[i] * gradient[i];
        norm = sqrt(norm);
        double by = 2e-3 / norm; /* a step of 2e-3 along the gradient */
        move(&s, gradient, by);
        double up = step_loss(&s, &loss, 0);
        move(&s, gradient, -2 * by);
        double down = step_loss(&s, &loss, 0), slope = (up - down) / (2 * 2e-3);
        print_message("%s: slope %.6g along a gradient of norm %.6g\n", name, slope, norm);
        assert_true(fabs(slope - norm) < 2e-3 * norm);
        free(gradient);
        for (int i = 0; i < 4; i++) idlist_free(&s.answers[i]), free(s.weights[i]);
        for (int i = 0; i < 2; i++) prompt_free(&s.prompts[i]);
        trunks_free(&s.trunks);
        json_decref(rows);
        params_train_end(p, s.v.model.k);
        vlm_close(&s.v);
    }
}

static int lines_in(const char *folder, const char *name) {
    char path[PATH_SIZE];
    FILE *in;
    int c, n = 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_non_null(in = fopen(path, "r"));
    while ((c = fgetc(in)) != EOF) n += c == '\n';
    fclose(in);
    return n;
}

/* Trains two steps with the settings; the first step's loss. */
static double first_loss(const char *folder, const char *const settings[][2], int n) {
    RunConfig c;
    Vlm v;
    Error e = { 0 };
    Ranks ranks;
    TrainResult result;
    char checkpoint[PATH_SIZE];
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint-1", folder); /* of the call before: else there would be nothing left to do */
    if (file_exists(checkpoint) && folder_remove(checkpoint, &e)) fail_with(&e);
    config_defaults(&c);
    static const char *const common[][2] = { { "train.steps", "1" }, { "train.batch_pairs", "2" }, { "train.order", "file" }, { "train.lr", "1e-4" } };
    for (int i = 0; i < 4; i++) assert_int_equal(config_set(&c, common[i][0], common[i][1], "test", &e), 0);
    for (int i = 0; i < n; i++) assert_int_equal(config_set(&c, settings[i][0], settings[i][1], "test", &e), 0);
    golden_open(&v, "llava15-hub", FP32);
    if (ranks_lone(&ranks, v.model.k, &e)) fail_with(&e);
    TrainPlan plan = { .config = &c, .pairs = golden_path("llava15-hub", "pairs.jsonl"), .folder = folder, .iteration = 1, .ranks = &ranks };
    if (train_pairs(&v, &plan, &result, &e)) fail_with(&e);
    ranks_close(&ranks);
    vlm_close(&v);
    return result.loss;
}

static void from_settings(void **state) {
    (void)state;
    char folder[] = "/tmp/rlaifv-losses-XXXXXX";
    assert_non_null(mkdtemp(folder));
    static const char *const plain[][2] = { { "train.beta", "0.1" } };
    static const char *const mdpo[][2] = { { "train.conditional_weight", "1" }, { "train.anchor_weight", "1" } };
    static const char *const weighted[][2] = { { "train.token_weight", "5" }, { "train.length_alpha", "0.25" }, { "train.loss", "sigmoid_norm" } };
    assert_float_equal(first_loss(folder, plain, 1), log(2), 1e-6); /* the reference is the policy: every margin is 0 */
    assert_int_equal(lines_in(folder, "reference.jsonl"), 16);
    assert_float_equal(first_loss(folder, mdpo, 2), 3 * log(2), 1e-6);
    assert_int_equal(lines_in(folder, "reference.jsonl") - 16, 8); /* those without the image are new */
    assert_float_equal(first_loss(folder, weighted, 3), log(2), 1e-6);
    int weighted_lines = lines_in(folder, "reference.jsonl");
    assert_true(weighted_lines > 24); /* other weights are other references */
    assert_float_equal(first_loss(folder, weighted, 3), log(2), 1e-6);
    char path[64];
    snprintf(path, sizeof path, "%s/reference.jsonl", folder);
    FILE *torn = fopen(path, "a");
    fputs("{\"key\": \"00", torn); /* as a kill leaves it */
    fclose(torn);
    assert_float_equal(first_loss(folder, weighted, 3), log(2), 1e-6);
    assert_int_equal(lines_in(folder, "reference.jsonl"), weighted_lines); /* all of them known now, and nothing else there */
    folder_remove(folder, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(without_the_image), cmocka_unit_test(gradient_of_all_terms), cmocka_unit_test(from_settings) };
    return cmocka_run_group_tests_name("losses", tests, NULL, NULL);
}

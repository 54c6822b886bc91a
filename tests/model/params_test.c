/* params_test.c - the parameter table: every tensor once, adjoining where one product uses several, named in each layout, training state at
 * the arena's beginning, and initial weights. */
#include "tests/check.h"

#include "base/json.h"
#include "model/names.h"

#include <math.h>

static const Kernels *cpu(void) {
    Error e = { 0 };
    const Kernels *k = kernels_open("cpu", 1, &e);
    assert_non_null(k);
    return k;
}

/* A small LLaVA with grouped heads whose heads are wider than the model, a tower of which two of three blocks run. */
static ModelConfig config_small(void) {
    return (ModelConfig){
        .vision = { .width = 24,
            .ff = 40,
            .layers = 3,
            .heads = 3,
            .image_side = 8,
            .patch = 4,
            .patches = 4,
            .feature_layers = 2,
            .eps = 1e-5f },
        .decoder = { .width = 20,
            .ff = 28,
            .layers = 2,
            .heads = 4,
            .kv_heads = 2,
            .head_size = 8,
            .vocab = 33,
            .eps = 1e-5f,
            .rope_theta = 1e4f },
        .model_type = "llava",
    };
}

static Params plan(const ModelConfig *c) {
    Params p;
    Error e = { 0 };
    assert_int_equal(params_plan(&p, c, &e), 0);
    return p;
}

static void golden_counts(void **state) {
    (void)state;
    static const struct {
        const char *folder;
        int tensors;
    } cases[] = { { "tests/golden/llava15-hub", 89 }, { "tests/golden/llava15-orig", 80 }, { "tests/golden/llava15-v5", 80 } };
    for (int i = 0; i < 3; i++) {
        ModelConfig c;
        json_t *facts;
        int64_t parameters, n = 0;
        assert_int_equal(json_read_object(at(cases[i].folder, "case.json"), &facts, NULL), 0);
        assert_int_equal(json_need_integer(facts, "params", "case.json", 1, 1 << 30, &parameters, NULL), 0);
        json_decref(facts);
        assert_int_equal(config_load(at(cases[i].folder, "model"), &c, NULL), 0);
        Params p = plan(&c);
        for (int j = 0; j < p.n; j++) n += p.list[j].count;
        assert_int_equal(n, parameters);
        assert_int_equal(p.n, cases[i].tensors);
        params_free(&p, cpu());
    }
}

static void arena(void **state) {
    (void)state;
    ModelConfig c = config_small();
    Params p = plan(&c);
    int64_t end = 0;
    for (int i = 0; i < p.n; i++) { /* in order, no overlap, gaps below one alignment */
        const Param *q = &p.list[i];
        int64_t count = 1;
        for (int d = 0; d < q->ndim; d++) count *= q->shape[d];
        assert_int_equal(count, q->count);
        assert_in_range(q->offset - end, 0, 15);
        end = q->offset + q->count;
        assert_ptr_equal(params_find(&p, q->kind, q->layer), q);
    }
    assert_int_equal(p.count, end);
    for (int l = 0; l < 2; l++) {
        int64_t q = params_offset(&p, P_Q, l), gate = params_offset(&p, P_GATE, l);
        assert_int_equal(q % 16, 0);
        assert_int_equal(params_offset(&p, P_K, l), q + 32 * 20);
        assert_int_equal(params_offset(&p, P_V, l), q + 48 * 20);
        assert_int_equal(gate % 16, 0);
        assert_int_equal(params_offset(&p, P_UP, l), gate + 28 * 20);
    }
    for (int l = 0; l < 3; l++) {
        int64_t w = params_offset(&p, P_VISION_Q_W, l), b = params_offset(&p, P_VISION_Q_B, l);
        assert_int_equal(w % 16 + b % 16, 0);
        assert_int_equal(params_offset(&p, P_VISION_V_W, l), w + 2 * 24 * 24);
        assert_int_equal(params_offset(&p, P_VISION_K_B, l), b + 24);
        assert_int_equal(params_offset(&p, P_VISION_V_B, l), b + 48);
        assert_int_equal(params_find(&p, P_VISION_Q_W, l)->used, l < 2);
    }
    assert_false(params_find(&p, P_VISION_POST_W, -1)->used);
    assert_true(params_find(&p, P_VISION_PRE_B, -1)->used);
    const Param *o = params_find(&p, P_O, 1), *patch = params_find(&p, P_VISION_PATCH, -1);
    assert_int_equal(o->shape[0], 20);
    assert_int_equal(o->shape[1], 32);
    assert_int_equal(patch->ndim, 4);
    assert_int_equal(patch->count, 24 * 3 * 4 * 4);
    params_free(&p, cpu());
}

static void tied_and_text(void **state) {
    (void)state;
    ModelConfig c = config_small();
    c.vision.layers = 0;
    c.decoder.tied = 1;
    Params p = plan(&c);
    assert_int_equal(p.n, 1 + 2 * 9 + 1);
    assert_int_equal(params_offset(&p, P_HEAD, -1), params_offset(&p, P_EMBED, -1));
    params_free(&p, cpu());
}

/* Query, key and value may have biases: rows that adjoin as their matrices do, in every block; without them nothing else moves. */
static void biases(void **state) {
    (void)state;
    ModelConfig c = config_small(), plain = c;
    c.decoder.qkv_bias = 1;
    Params p = plan(&c), without = plan(&plain);
    assert_int_equal(p.n, without.n + 2 * 3);
    assert_int_equal(without.index[P_Q_B].first, -1);
    for (int l = 0; l < 2; l++) {
        int64_t q = params_offset(&p, P_Q_B, l);
        const Param *v = params_find(&p, P_V_B, l);
        assert_int_equal(q % 16, 0);
        assert_int_equal(params_offset(&p, P_K_B, l), q + 32);
        assert_int_equal(v->offset, q + 48);
        assert_int_equal(v->count, 16);
        assert_int_equal(v->ndim, 1); /* the optimiser decays matrices alone */
        assert_int_equal(v->unit, params_find(&p, P_O, l)->unit);
        assert_int_equal(v->layer, l);
    }
    for (int i = 0; i < p.n; i++) assert_ptr_equal(params_find(&p, p.list[i].kind, p.list[i].layer), &p.list[i]);
    char name[PARAM_NAME];
    static const char *const want[LAYOUTS] = { [LAYOUT_HUB] = "language_model.model.layers.1.self_attn.k_proj.bias",
        [LAYOUT_ORIGINAL] = "model.layers.1.self_attn.k_proj.bias",
        [LAYOUT_V5] = "language_model.model.layers.1.self_attn.k_proj.bias",
        [LAYOUT_MEMORY] = "model.language_model.layers.1.self_attn.k_proj.bias",
        [LAYOUT_TEXT] = "model.layers.1.self_attn.k_proj.bias",
        [LAYOUT_OMNILMM] = "model.layers.1.self_attn.k_proj.bias" };
    for (int layout = 0; layout < LAYOUTS; layout++) {
        params_name(params_find(&p, P_K_B, 1), (Layout)layout, name);
        assert_string_equal(name, want[layout]);
    }
    params_free(&p, cpu()), params_free(&without, cpu());
}

static void names(void **state) {
    (void)state;
    ModelConfig c = config_small();
    Params p = plan(&c);
    static const struct {
        ParamKind kind;
        int layer;
        Layout layout;
        const char *name;
    } cases[] = {
        { P_Q, 1, LAYOUT_HUB, "language_model.model.layers.1.self_attn.q_proj.weight" },
        { P_HEAD, -1, LAYOUT_HUB, "language_model.lm_head.weight" },
        { P_VISION_FC1_B, 2, LAYOUT_HUB, "vision_tower.vision_model.encoder.layers.2.mlp.fc1.bias" },
        { P_VISION_PRE_W, -1, LAYOUT_HUB, "vision_tower.vision_model.pre_layrnorm.weight" },
        { P_PROJECTOR_2_B, -1, LAYOUT_HUB, "multi_modal_projector.linear_2.bias" },
        { P_DOWN, 0, LAYOUT_ORIGINAL, "model.layers.0.mlp.down_proj.weight" },
        { P_HEAD, -1, LAYOUT_ORIGINAL, "lm_head.weight" },
        { P_PROJECTOR_1_W, -1, LAYOUT_ORIGINAL, "model.mm_projector.0.weight" },
        { P_PROJECTOR_2_W, -1, LAYOUT_ORIGINAL, "model.mm_projector.2.weight" },
        { P_VISION_CLASS, -1, LAYOUT_ORIGINAL, "model.vision_tower.vision_tower.vision_model.embeddings.class_embedding" },
        { P_VISION_O_W, 0, LAYOUT_V5, "vision_tower.encoder.layers.0.self_attn.out_proj.weight" },
        { P_NORM, -1, LAYOUT_V5, "language_model.model.norm.weight" },
        { P_EMBED, -1, LAYOUT_MEMORY, "model.language_model.embed_tokens.weight" },
        { P_HEAD, -1, LAYOUT_MEMORY, "lm_head.weight" },
        { P_PROJECTOR_1_B, -1, LAYOUT_MEMORY, "model.multi_modal_projector.linear_1.bias" },
        { P_FF_NORM, 1, LAYOUT_TEXT, "model.layers.1.post_attention_layernorm.weight" },
    };
    char name[PARAM_NAME];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        params_name(params_find(&p, cases[i].kind, cases[i].layer), cases[i].layout, name);
        assert_string_equal(name, cases[i].name);
    }
    assert_true(names_harmless("model.layers.3.self_attn.rotary_emb.inv_freq"));
    assert_false(names_harmless("model.layers.3.self_attn.q_proj.bias"));
    params_free(&p, cpu());
}

static void training_state(void **state) {
    (void)state;
    const Kernels *k = cpu();
    ModelConfig c = config_small();
    Error e = { 0 };
    for (DType dtype = FP32; dtype <= BF16; dtype++) {
        Params p = plan(&c);
        assert_int_equal(params_init(&p, k, dtype, LAYOUT_HUB, 1, &e), 0);
        assert_int_equal(params_train_begin(&p, k, 1u << PART_VISION, &e), 0);
        const Param *last = params_find(&p, P_HEAD, -1);
        assert_int_equal(p.trained_count, last->offset + last->count); /* a frozen tower costs nothing */
        assert_null(params_grad(&p, P_VISION_Q_W, 0).at);
        assert_ptr_equal(params_grad(&p, P_UP, 1).at, buf_at(p.grads, params_offset(&p, P_UP, 1)).at);
        assert_int_equal(p.master.at != NULL, dtype == BF16);
        if (p.master.at) {
            float *masters = calloc((size_t)p.trained_count, sizeof *masters);
            uint16_t *stored = calloc((size_t)p.trained_count, sizeof *stored);
            k->download(masters, p.master, p.trained_count);
            k->download(stored, p.weights, p.trained_count);
            for (int64_t i = 0; i < p.trained_count; i++) {
                uint32_t bits;
                memcpy(&bits, &masters[i], sizeof bits);
                assert_int_equal(bits, (uint32_t)stored[i] << 16);
            }
            free(masters), free(stored);
        }
        params_train_end(&p, k);
        assert_int_equal(params_train_begin(&p, k, 0, &e), 0);
        assert_true(params_find(&p, P_VISION_Q_W, 1)->trained);
        assert_false(params_find(&p, P_VISION_Q_W, 2)->trained); /* unused */
        params_train_end(&p, k);
        assert_int_equal(params_train_begin(&p, k, 7, &e), -1);
        error_says(&e, "nothing to train");
        params_free(&p, k);
    }
}

static float *values_of(const Params *p, const Kernels *k, ParamKind kind, int layer) {
    const Param *q = params_find(p, kind, layer);
    float *x = calloc((size_t)q->count, sizeof *x);
    assert_non_null(x);
    k->download(x, params_weight(p, kind, layer), q->count);
    return x;
}

static void initial_weights(void **state) {
    (void)state;
    const Kernels *k = cpu();
    ModelConfig c = config_small();
    c.decoder.width = 200, c.decoder.vocab = 500, c.vision.width = 96;
    Error e = { 0 };
    Params p = plan(&c), again = plan(&c), other = plan(&c);
    assert_int_equal(params_init(&p, k, FP32, LAYOUT_V5, 7, &e) | params_init(&again, k, FP32, LAYOUT_V5, 7, &e), 0);
    assert_int_equal(params_init(&other, k, FP32, LAYOUT_V5, 8, &e), 0);
    assert_int_equal(p.layout, LAYOUT_V5);
    char a[HASH_TEXT], b[HASH_TEXT];
    params_hash(&p, k, a), params_hash(&again, k, b);
    assert_string_equal(a, b);
    params_hash(&other, k, b);
    assert_string_not_equal(a, b);
    const struct {
        ParamKind kind;
        int layer;
        double mean, deviation;
    } cases[] = {
        { P_EMBED, -1, 0, .5 },
        { P_HEAD, -1, 0, .02 },
        { P_Q, 0, 0, 1 / sqrt(200) },
        { P_O, 0, 0, 1 / sqrt(32) / 2 },
        { P_DOWN, 1, 0, 1 / sqrt(28) / 2 },
        { P_NORM, -1, 1, 0 },
        { P_PROJECTOR_1_B, -1, 0, 0 },
        { P_VISION_LN1_W, 2, 1, 0 },
        { P_VISION_LN1_B, 2, 0, 0 },
        { P_VISION_PATCH, -1, 0, 1 / sqrt(48) },
        { P_VISION_FC2_W, 0, 0, 1 / sqrt(40) / sqrt(6) },
        { P_VISION_POSITION, -1, 0, .02 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float *x = values_of(&p, k, cases[i].kind, cases[i].layer);
        int64_t n = params_find(&p, cases[i].kind, cases[i].layer)->count;
        double sum = 0, squares = 0;
        for (int64_t j = 0; j < n; j++) sum += x[j], squares += (x[j] - cases[i].mean) * (x[j] - cases[i].mean);
        /* five standard errors of a normal sample */
        assert_true(fabs(sum / (double)n - cases[i].mean) <= 5 * cases[i].deviation / sqrt((double)n));
        assert_true(fabs(sqrt(squares / (double)n) - cases[i].deviation) <= 5 * cases[i].deviation / sqrt(2.0 * (double)n));
        free(x);
    }
    /* The bf16 weights are the rounded fp32 ones. */
    Params half = plan(&c);
    assert_int_equal(params_init(&half, k, BF16, LAYOUT_V5, 7, &e), 0);
    Buf rounded = BUF_NONE;
    assert_int_equal(k->alloc(&rounded, BF16, p.count, "rounded", &e), 0);
    k->copy(rounded, p.weights, p.count);
    uint16_t *x = calloc(2 * (size_t)p.count, sizeof *x);
    k->download(x, rounded, p.count), k->download(x + p.count, half.weights, p.count);
    assert_memory_equal(x, x + p.count, (size_t)p.count * sizeof *x);
    free(x);
    k->free(rounded);
    params_free(&p, k), params_free(&again, k), params_free(&other, k), params_free(&half, k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_counts),
        cmocka_unit_test(arena),
        cmocka_unit_test(tied_and_text),
        cmocka_unit_test(biases),
        cmocka_unit_test(names),
        cmocka_unit_test(training_state),
        cmocka_unit_test(initial_weights),
    };
    return cmocka_run_group_tests_name("params", tests, NULL, NULL);
}

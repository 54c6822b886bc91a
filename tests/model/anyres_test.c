/* anyres_test.c - the layout of tiled images against what Transformers says of two hundred sizes (tests/golden/anyres_vectors.py), and its limits. */
#include "tests/model/steps.h"

#include "model/anyres.h"
#include "model/checkpoint.h"

/* LLaVA-NeXT's own. */
static ModelConfig config(void) {
    ModelConfig c = { .vision = { .image_side = 336, .patch = 14, .patches = 576 },
        .tile_rows = 576,
        .newline = 1,
        .grids_n = 5,
        .grids = { { 1, 2 }, { 2, 1 }, { 2, 2 }, { 3, 1 }, { 1, 3 } } };
    config_set_tiles(&c);
    return c;
}

static void as_transformers(void **state) {
    (void)state;
    ModelConfig c = config();
    FILE *in = fopen("tests/golden/anyres.txt", "r");
    int width, height, down, across, rows, n = 0;
    long long sum;
    int *order = malloc((size_t)c.image_tokens * sizeof *order);
    assert_non_null(in);
    assert_non_null(order);
    for (; fscanf(in, "%d %d %d %d %d %lld", &width, &height, &down, &across, &rows, &sum) == 6; n++) {
        ImageLayout x = image_layout(&c, width, height);
        if (x.grid.down != down || x.grid.across != across || x.rows != rows)
            fail_msg("%d x %d: %d x %d tiles and %d rows, not %d x %d and %d", width, height, x.grid.down, x.grid.across, x.rows, down, across, rows);
        assert_int_equal(x.tiles, 1 + down * across);
        assert_in_range(x.rows, c.tile_rows, c.image_tokens);
        image_layout_rows(&c, &x, 0, order);
        long long total = 0;
        for (int i = 0; i < rows; i++) {
            assert_in_range(order[i], 0, x.tiles * c.tile_rows);
            total = (total + (i + 1LL) * order[i]) % 2147483647;
        }
        if (total != sum) fail_msg("%d x %d: rows in another order", width, height);
        image_layout_rows(&c, &x, 3, order); /* as the fourth tile of a step: every row but the learned one moves by three tiles */
        long long moved = 0;
        for (int i = 0; i < rows; i++) moved = (moved + (i + 1LL) * (order[i] ? order[i] - 3 * c.tile_rows : 0)) % 2147483647;
        assert_int_equal(moved, sum);
    }
    assert_true(n > 200);
    free(order);
    fclose(in);
}

static void one_tile(void **state) {
    (void)state;
    ModelConfig c = config();
    ImageLayout x = image_layout(&c, 0, 0); /* pixels of a tile that came ready */
    assert_int_equal(x.tiles, 1);
    assert_int_equal(x.rows, 576);
    assert_int_equal(c.tiles, 5);
    assert_int_equal(c.image_tokens, 576 + 48 * 49);
    c.grids_n = c.newline = 0;
    config_set_tiles(&c);
    assert_int_equal(c.tiles, 1);
    assert_int_equal(c.image_tokens, 576);
    x = image_layout(&c, 640, 480);
    assert_int_equal(x.rows, 576);
    int order[576];
    image_layout_rows(&c, &x, 2, order);
    for (int i = 0; i < 576; i++) assert_int_equal(order[i], 2 * 576 + i);
}

static void thin_images(void **state) { /* a strip whose patches lie wholly in the margins leaves the whole image's rows alone */
    (void)state;
    ModelConfig c = config();
    ImageLayout x = image_layout(&c, 60000, 1);
    assert_int_equal(x.height, 0);
    assert_int_equal(x.rows, 576);
    x = image_layout(&c, 1, 60000);
    assert_int_equal(x.width, 0);
    assert_int_equal(x.rows, 576 + x.height); /* an empty row of patches still ends */
}

/* The original code's names and config.json say the same as the hub's: equal weights, grids in the same order. */
static void both_layouts(void **state) {
    (void)state;
    static const char hub[] = "tests/golden/next-yi/model",
                      text[] = "{\"model_type\": \"llava_llama\", \"hidden_size\": 56, \"intermediate_size\": 128, \"num_hidden_layers\": 2, "
                               "\"num_attention_heads\": 7, \"num_key_value_heads\": 1, \"vocab_size\": 512, \"rms_norm_eps\": 1e-5, "
                               "\"rope_theta\": 5e6, \"mm_vision_tower\": \"./vision\", \"mm_hidden_size\": 32, \"mm_projector_type\": \"mlp2x_gelu\", "
                               "\"image_aspect_ratio\": \"anyres\", \"mm_patch_merge_type\": \"spatial_unpad\", "
                               "\"image_grid_pinpoints\": [[84, 42], [42, 84], [84, 84], [42, 126], [126, 42]]}",
                      vision[] = "{\"model_type\": \"clip_vision_model\", \"hidden_size\": 32, \"intermediate_size\": 128, \"num_hidden_layers\": 3, "
                                 "\"num_attention_heads\": 2, \"image_size\": 42, \"patch_size\": 14}";
    char folder[PATH_SIZE], ours[HASH_TEXT], theirs[HASH_TEXT];
    Error e = { 0 };
    Model m, o;
    scratch_make(folder);
    open_model(&m, hub, FP32);
    m.params.layout = LAYOUT_ORIGINAL;
    ok(folder_make(at(folder, "vision"), &e) || params_write(&m.params, k, NULL, TENSOR_F32, folder, 1 << 30, &e), &e);
    put(at(folder, "config.json"), text, strlen(text));
    put(at(folder, "vision/config.json"), vision, strlen(vision));
    open_model(&o, folder, FP32);
    assert_int_equal(o.params.layout, LAYOUT_ORIGINAL);
    ok(model_hash(&m, ours, &e) || model_hash(&o, theirs, &e), &e);
    assert_string_equal(ours, theirs);
    assert_int_equal(o.config.grids_n, m.config.grids_n);
    assert_memory_equal(o.config.grids, m.config.grids, sizeof *m.config.grids * (size_t)m.config.grids_n);
    assert_int_equal(o.config.image_tokens, m.config.image_tokens);
    assert_true(params_find(&o.params, P_NEWLINE, -1)->used);
    model_free(&m);
    model_free(&o);
    scratch_drop(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_transformers),
        cmocka_unit_test(one_tile),
        cmocka_unit_test(thin_images),
        cmocka_unit_test(both_layouts),
    };
    return cmocka_run_group_tests_name("anyres", tests, kernels_setup, NULL);
}

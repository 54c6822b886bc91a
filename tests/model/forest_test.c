/* forest_test.c - the Forest is exact: a tree whose trunks are computed once has the log-probs and gradients of its root-to-leaf paths
 * computed one by one, decoding token by token has the logits of the whole sequence, and what cannot be computed is refused.
 *
 * The tree is five levels deep: text, image, question, three answers (one of a single token), and below each answer two probes. Gradients
 * are also held to differences along random directions, one for each part of the model, the tower included. */
#include "tests/model/steps.h"

#include "base/philox.h"

static const char *const CASES[] = { "tests/golden/llava15-hub/model", "tests/golden/llava15-v5/model" };
enum { CASES_N = 2, ANSWERS = 3, PROBES = 2, PATHS = ANSWERS * PROBES, HEAD = 6, TAIL = 5, TEXT_MOST = 16, SCORED_MOST = 256 };
static const int answer_lengths[ANSWERS] = { 9, 1, 4 }, probe_lengths[PROBES] = { 1, 7 };

/* fp32 sums in another order: a few units of the last place of a logit. */
static const double LOGP_BOUND = 1e-5, LOGIT_RANGE_BOUND = 1e-5, GRADIENT_BOUND = 1e-5;

/* All texts of the tree, by draws from the vocabulary, and the weight of each token's log-prob in the objective. */
typedef struct Tree {
    int head[HEAD], tail[TAIL], answer[ANSWERS][TEXT_MOST], probe[ANSWERS][PROBES][TEXT_MOST];
    float answer_weight[ANSWERS][TEXT_MOST], probe_weight[ANSWERS][PROBES][TEXT_MOST];
} Tree;

static void draw(Rng *r, int vocab, int *ids, float *weights, int n) {
    for (int i = 0; i < n; i++) {
        ids[i] = 3 + (int)(rng_uniform(r) * (vocab - 3));
        if (weights) weights[i] = (float)(2 * rng_uniform(r) - 1);
    }
}

static void tree_draw(Tree *t, int vocab) {
    Rng r = { .seed = 7 };
    draw(&r, vocab, t->head, NULL, HEAD);
    draw(&r, vocab, t->tail, NULL, TAIL);
    for (int a = 0; a < ANSWERS; a++) {
        draw(&r, vocab, t->answer[a], t->answer_weight[a], answer_lengths[a]);
        for (int p = 0; p < PROBES; p++) draw(&r, vocab, t->probe[a][p], t->probe_weight[a][p], probe_lengths[p]);
    }
}

/* The tower's features of a random picture; saved for the way back when `save`. */
static Buf features_of(Model *m, int save) {
    Error e = { 0 };
    int side = m->config.vision.image_side, n = 3 * side * side;
    float *pixels = malloc((size_t)n * sizeof *pixels);
    assert_non_null(pixels);
    Rng r = { .seed = 9 };
    for (int i = 0; i < n; i++) pixels[i] = (float)(4 * rng_uniform(&r) - 2);
    Buf features;
    ok(k->alloc(&features, m->dtype, (int64_t)m->config.tile_rows * m->config.vision.width, "features", &e) ||
            model_encode(m, features, pixels, 1, save, &e) || k->sync(&e),
        &e);
    free(pixels);
    return features;
}

/* A text whose every token is scored, with its weights. */
static int scored_text(Forest *f, int parent, const int *ids, const float *weights, int n, float *all) {
    Error e = { 0 };
    int s = add_text(f, parent, ids, n);
    memcpy(all + f->scored_n, weights, (size_t)n * sizeof *weights);
    ok(forest_score(f, s, 0, &e), &e);
    return s;
}

static int trunk(const Model *m, Forest *f, const Tree *t) {
    Error e = { 0 };
    int s = add_text(f, -1, t->head, HEAD);
    s = add_segment(f, s, m->config.tile_rows);
    ok(forest_extend_image(f, s, 0, m->config.tile_rows, &e), &e);
    return add_text(f, s, t->tail, TAIL);
}

static void whole_tree(const Model *m, Forest *f, const Tree *t, float *weights) {
    int question = trunk(m, f, t), answers[ANSWERS];
    for (int a = 0; a < ANSWERS; a++) answers[a] = scored_text(f, question, t->answer[a], t->answer_weight[a], answer_lengths[a], weights);
    for (int a = 0; a < ANSWERS; a++)
        for (int p = 0; p < PROBES; p++) scored_text(f, answers[a], t->probe[a][p], t->probe_weight[a][p], probe_lengths[p], weights);
}

/* One path of the tree as a sequence of its own. The answer's tokens count in its first path only. */
static void one_path(const Model *m, Forest *f, const Tree *t, int a, int p, float *weights) {
    static const float none[TEXT_MOST];
    int s = scored_text(f, trunk(m, f, t), t->answer[a], p ? none : t->answer_weight[a], answer_lengths[a], weights);
    scored_text(f, s, t->probe[a][p], t->probe_weight[a][p], probe_lengths[p], weights);
}

/* Log-probs of a step, and with `train` its gradients on top of those there are. */
static double step(Model *m, Forest *f, Buf features, const float *weights, float *logp, int train) {
    Error e = { 0 };
    ok(model_forward(m, f, features, train ? STEP_TRAIN : STEP_SCORE, &e) || model_score(m, f, logp, NULL, NULL, NULL, &e), &e);
    double objective = 0;
    for (int i = 0; i < f->scored_n; i++) objective += (double)weights[i] * (double)logp[i];
    if (!train) return objective;
    Buf dlogp = model_dlogp(m, f, &e);
    ok(!dlogp.at, &e);
    k->upload(dlogp, weights, f->scored_n);
    ok(model_backward(m, f, dlogp, &e), &e);
    return objective;
}

static float *grads_take(Model *m) {
    float *g = malloc((size_t)m->params.trained_count * sizeof *g);
    assert_non_null(g);
    k->download(g, m->params.grads, m->params.trained_count);
    k->zero(m->params.grads, m->params.trained_count);
    return g;
}

/* Where the scored rows of path (a, p) stand among the tree's: the answers come first, then the probes. */
static int answer_at(int a) {
    int at = 0;
    while (a > 0) at += answer_lengths[--a];
    return at;
}
static int probe_at(int a, int p) {
    int each = 0, at = answer_at(ANSWERS);
    for (int i = 0; i < PROBES; i++) each += probe_lengths[i];
    at += a * each;
    while (p > 0) at += probe_lengths[--p];
    return at;
}

static double norm_of(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* Each tensor by its own norm; of one whose gradient is nothing but rounding (a key bias adds the same to all of a row's scores) by a
 * thousandth of the largest of its part. */
static void compare_parts(const Model *m, const char *folder, const float *tree, const float *paths) {
    static const char *const names[PARTS] = { [PART_VISION] = "tower", [PART_PROJECTOR] = "projector", [PART_DECODER] = "decoder" };
    double largest[PARTS] = { 0 };
    for (int i = 0; i < m->params.n; i++) {
        const Param *q = &m->params.list[i];
        if (q->trained) largest[q->part] = fmax(largest[q->part], norm_of(paths + q->offset, q->count));
    }
    for (int i = 0; i < m->params.n; i++) {
        const Param *q = &m->params.list[i];
        if (!q->trained) continue;
        char what[PATH_SIZE];
        snprintf(what, sizeof what, "%s, %s: gradient of tensor %d", folder, names[q->part], i);
        double own = norm_of(paths + q->offset, q->count), gap = sqrt(error_squared(tree + q->offset, paths + q->offset, q->count)) * own;
        within(what, gap / fmax(own, 1e-3 * largest[q->part]), GRADIENT_BOUND);
    }
}

/* The tower's features are computed once in both cases and its gradients are those of one picture seen by all paths. */
static void tree_and_paths(const char *folder, int tower) {
    Error e = { 0 };
    Model m;
    Tree t;
    open_model(&m, folder, FP32);
    tree_draw(&t, m.config.decoder.vocab);
    ok(params_train_begin(&m.params, k, tower ? 0 : 1u << PART_VISION, &e), &e);
    float weights[SCORED_MOST], logp[SCORED_MOST], path_logp[SCORED_MOST];
    Forest f = { 0 };
    Buf features = features_of(&m, 1);
    whole_tree(&m, &f, &t, weights);
    step(&m, &f, features, weights, logp, 1);
    float *tree = grads_take(&m);
    for (int a = 0; a < ANSWERS; a++)
        for (int p = 0; p < PROBES; p++) {
            forest_clear(&f);
            one_path(&m, &f, &t, a, p, weights);
            step(&m, &f, features, weights, path_logp, 1);
            within("answer's log-probs", largest_gap(path_logp, logp + answer_at(a), answer_lengths[a]), LOGP_BOUND);
            within("probe's log-probs", largest_gap(path_logp + answer_lengths[a], logp + probe_at(a, p), probe_lengths[p]), LOGP_BOUND);
        }
    float *paths = grads_take(&m);
    compare_parts(&m, folder, tree, paths);
    free(tree), free(paths);
    forest_free(&f);
    k->free(features);
    params_train_end(&m.params, k);
    model_free(&m);
}

static void test_tree_equals_paths(void **state) {
    (void)state;
    for (int c = 0; c < CASES_N; c++) tree_and_paths(CASES[c], 0);
}
static void test_tree_equals_paths_tower(void **state) {
    (void)state;
    for (int c = 0; c < CASES_N; c++) tree_and_paths(CASES[c], 1);
}

/* Blocks computed again in backward give the gradients' bits, with fewer buffers. */
static void test_recompute(void **state) {
    (void)state;
    for (int c = 0; c < CASES_N; c++) {
        int64_t bytes[2];
        float *grads[2], weights[SCORED_MOST], logp[2][SCORED_MOST];
        int64_t n = 0;
        for (int recompute = 0; recompute < 2; recompute++) {
            Error e = { 0 };
            Model m;
            Tree t;
            Forest f = { 0 };
            open_model(&m, CASES[c], FP32);
            m.recompute = recompute;
            tree_draw(&t, m.config.decoder.vocab);
            ok(params_train_begin(&m.params, k, 0, &e), &e);
            Buf features = features_of(&m, 1);
            whole_tree(&m, &f, &t, weights);
            step(&m, &f, features, weights, logp[recompute], 1);
            grads[recompute] = grads_take(&m);
            n = m.params.trained_count;
            bytes[recompute] = model_bytes(&m);
            forest_free(&f);
            k->free(features);
            params_train_end(&m.params, k);
            model_free(&m);
        }
        assert_memory_equal(grads[0], grads[1], (size_t)n * sizeof *grads[0]);
        assert_true(bytes[1] < bytes[0]);
        free(grads[0]), free(grads[1]);
    }
}

/* Moves the weights of one part by h along a direction; returns nothing, the caller moves back. */
static void part_move(Model *m, ParamPart part, const float *direction, float h, float *work) {
    int64_t n = m->params.trained_count;
    k->download(work, m->params.weights, n);
    for (int i = 0; i < m->params.n; i++) {
        const Param *q = &m->params.list[i];
        if (q->part != part || !q->trained) continue;
        for (int64_t j = q->offset; j < q->offset + q->count; j++) work[j] += h * direction[j];
    }
    k->upload(m->params.weights, work, n);
    model_weights_changed(m);
}

/* (f(w + h d) - f(w - h d)) / 2 h against grad . d, d the normalised gradient of the part itself plus noise: its derivative is not small.
 */
static void test_gradients_by_differences(void **state) {
    (void)state;
    for (int c = 0; c < CASES_N; c++) {
        Error e = { 0 };
        Model m;
        Tree t;
        open_model(&m, CASES[c], FP32);
        tree_draw(&t, m.config.decoder.vocab);
        ok(params_train_begin(&m.params, k, 0, &e), &e);
        int64_t n = m.params.trained_count;
        float weights[SCORED_MOST], logp[SCORED_MOST], *kept = malloc((size_t)n * 4), *work = malloc((size_t)n * 4),
                                                       *direction = malloc((size_t)n * 4);
        assert_true(kept && work && direction);
        Forest f = { 0 };
        Buf features = features_of(&m, 1);
        whole_tree(&m, &f, &t, weights);
        step(&m, &f, features, weights, logp, 1);
        float *grad = grads_take(&m);
        k->download(kept, m.params.weights, n);
        for (ParamPart part = 0; part < PARTS; part++) {
            double square = 0, slope = 0, values[2];
            Rng r = { .seed = 11, .stream = (uint64_t)part };
            for (int i = 0; i < m.params.n; i++) {
                const Param *q = &m.params.list[i];
                if (q->part == part && q->trained) square += pow(norm_of(grad + q->offset, q->count), 2);
            }
            double norm = sqrt(square);
            assert_true(norm > 1e-3);
            for (int64_t j = 0; j < n; j++) direction[j] = (float)((double)grad[j] / norm + 0.02 * (2 * rng_uniform(&r) - 1));
            for (int i = 0; i < m.params.n; i++) {
                const Param *q = &m.params.list[i];
                if (q->part == part && q->trained)
                    for (int64_t j = q->offset; j < q->offset + q->count; j++) slope += (double)grad[j] * (double)direction[j];
            }
            const float h = 5e-4f; /* of 4e-3 down to here the gap falls as h^2 */
            for (int side = 0; side < 2; side++) {
                part_move(&m, part, direction, side ? -h : h, work);
                k->free(features);
                features = features_of(&m, 0);
                values[side] = step(&m, &f, features, weights, logp, 0);
                k->upload(m.params.weights, kept, n);
                model_weights_changed(&m);
            }
            double difference = (values[0] - values[1]) / (2 * (double)h);
            char what[PATH_SIZE];
            snprintf(what, sizeof what, "%s, part %d: gradient %g, difference %g, relative", CASES[c], (int)part, slope, difference);
            within(what, fabs(difference - slope) / fabs(slope), 3e-4);
        }
        free(grad), free(kept), free(work), free(direction);
        forest_free(&f);
        k->free(features);
        params_train_end(&m.params, k);
        model_free(&m);
    }
}

/* Logits after each of the last `n` tokens of a path, from one step over all of it. */
static float *logits_whole(Model *m, const Tree *t, Buf features, int a, int p, int *rows) {
    Error e = { 0 };
    Forest f = { 0 };
    Buf b;
    int V = m->config.decoder.vocab, s = trunk(m, &f, t);
    ok(forest_want(&f, s, &e), &e);
    for (int i = 0; i < answer_lengths[a]; i++) {
        s = add_text(&f, s, &t->answer[a][i], 1);
        ok(forest_want(&f, s, &e), &e);
    }
    for (int i = 0; i < probe_lengths[p]; i++) {
        s = add_text(&f, s, &t->probe[a][p][i], 1);
        ok(forest_want(&f, s, &e), &e);
    }
    *rows = f.scored_n;
    ok(model_forward(m, &f, features, STEP_SCORE, &e) || model_logits(m, &f, &b, &e), &e);
    float *out = malloc((size_t)f.scored_n * (size_t)V * sizeof *out);
    assert_non_null(out);
    k->download(out, b, (int64_t)f.scored_n * V);
    forest_free(&f);
    return out;
}

/* All six paths grow in key/value memory at once, a token a step, below answers that have ended: each step's logits are the whole
 * sequence's. Finished paths are released, and what comes later uses their slots. */
static void test_decode_equals_whole(void **state) {
    (void)state;
    for (int c = 0; c < CASES_N; c++) {
        Error e = { 0 };
        Model m;
        Tree t;
        open_model(&m, CASES[c], FP32);
        tree_draw(&t, m.config.decoder.vocab);
        int V = m.config.decoder.vocab, slots = HEAD + m.config.tile_rows + TAIL + ANSWERS * (TEXT_MOST + PROBES * TEXT_MOST),
            rows[PATHS];
        Buf features = features_of(&m, 0), b;
        float *whole[PATHS], *got = malloc((size_t)PATHS * (size_t)V * sizeof *got);
        for (int i = 0; i < PATHS; i++) whole[i] = logits_whole(&m, &t, features, i / PROBES, i % PROBES, &rows[i]);
        Forest f = { 0 };
        ok(forest_slots(&f, slots, &e) || model_reserve(&m, &(StepSize){ .uses = USES_SLOTS, .slots = slots }, &e), &e);
        for (int round = 0; round < 2; round++) {
            int question = trunk(&m, &f, &t), answer[ANSWERS], probe[PATHS];
            ok(forest_want(&f, question, &e) || model_forward(&m, &f, features, STEP_CACHED, &e) || model_logits(&m, &f, &b, &e), &e);
            k->download(got, b, V);
            within("prefill", largest_gap(got, whole[0], V) / range_of(whole[0], V), LOGIT_RANGE_BOUND);
            forest_step_end(&f);
            for (int a = 0; a < ANSWERS; a++) answer[a] = add_segment(&f, question, answer_lengths[a]);
            for (int i = 0; i < TEXT_MOST; i++) { /* the answers, side by side */
                int at[ANSWERS], n = 0;
                for (int a = 0; a < ANSWERS; a++) {
                    if (i >= answer_lengths[a]) continue;
                    ok(forest_extend(&f, answer[a], &t.answer[a][i], 1, &e) || forest_want(&f, answer[a], &e), &e);
                    at[n++] = a;
                }
                if (!n) break;
                ok(model_forward(&m, &f, BUF_NONE, STEP_CACHED, &e) || model_logits(&m, &f, &b, &e), &e);
                k->download(got, b, (int64_t)n * V);
                for (int j = 0; j < n; j++) {
                    const float *want = whole[at[j] * PROBES] + (int64_t)(1 + i) * V;
                    within("an answer's token", largest_gap(got + (int64_t)j * V, want, V) / range_of(want, V), LOGIT_RANGE_BOUND);
                }
                forest_step_end(&f);
            }
            for (int i = 0; i < PATHS; i++) probe[i] = add_segment(&f, answer[i / PROBES], probe_lengths[i % PROBES]);
            for (int i = 0; i < PATHS; i++) { /* the probes, each in one step of its own, released at once */
                const int *ids = t.probe[i / PROBES][i % PROBES];
                int n = probe_lengths[i % PROBES];
                ok(forest_extend(&f, probe[i], ids, n, &e) || forest_want(&f, probe[i], &e) ||
                        model_forward(&m, &f, BUF_NONE, STEP_CACHED, &e) || model_logits(&m, &f, &b, &e),
                    &e);
                k->download(got, b, V);
                const float *want = whole[i] + (int64_t)(rows[i] - 1) * V;
                within("a probe", largest_gap(got, want, V) / range_of(want, V), LOGIT_RANGE_BOUND);
                forest_step_end(&f);
                ok(forest_release(&f, probe[i], &e), &e);
            }
            for (int a = 0; a < ANSWERS; a++) ok(forest_release(&f, answer[a], &e), &e);
            int image = f.segments[question].parent, head = f.segments[image].parent;
            ok(forest_release(&f, question, &e) || forest_release(&f, image, &e) || forest_release(&f, head, &e), &e);
        }
        forest_free(&f);
        for (int i = 0; i < PATHS; i++) free(whole[i]);
        free(got);
        k->free(features);
        model_free(&m);
    }
}

/* `failed` must be set, with an error that says something. */
static void refused(const char *what, int failed, Error *e) {
    if (!failed) fail_msg("not refused: %s", what);
    assert_true(e->what[0]);
    *e = (Error){ 0 };
}

static void test_refusals(void **state) {
    (void)state;
    Error e = { 0 };
    Model m;
    open_model(&m, CASES[0], FP32);
    Forest f = { 0 };
    int id = 5, beyond = m.config.decoder.vocab;
    int root = add_text(&f, -1, &id, 1);
    refused("a text of no tokens", forest_extend(&f, root, &id, 0, &e), &e);
    refused("an image of no rows", forest_extend_image(&f, root, 0, 0, &e), &e);
    refused("nothing scored", model_forward(&m, &f, BUF_NONE, STEP_SCORE, &e), &e);
    int leaf = add_text(&f, root, &id, 1);
    refused("growth of a parent", forest_extend(&f, root, &id, 1, &e), &e);
    refused("the release of a parent", forest_release(&f, root, &e), &e);
    ok(forest_want(&f, leaf, &e), &e);
    refused("cached mode without slots", model_forward(&m, &f, BUF_NONE, STEP_CACHED, &e), &e);
    forest_clear(&f);
    root = add_text(&f, -1, &beyond, 1);
    ok(forest_want(&f, root, &e), &e);
    refused("an id beyond the vocabulary", model_forward(&m, &f, BUF_NONE, STEP_SCORE, &e), &e);
    forest_clear(&f);
    root = add_segment(&f, -1, m.config.tile_rows);
    ok(forest_extend_image(&f, root, 0, m.config.tile_rows, &e) || forest_want(&f, root, &e), &e);
    refused("image rows without features", model_forward(&m, &f, BUF_NONE, STEP_SCORE, &e), &e);
    forest_free(&f);
    f = (Forest){ 0 };
    ok(forest_slots(&f, 4, &e), &e);
    root = add_segment(&f, -1, 3);
    int ids[4] = { 5, 6, 7, 8 };
    refused("more tokens than slots were taken for", forest_extend(&f, root, ids, 4, &e), &e);
    refused("more slots than there are", forest_segment(&f, -1, 2, &e) < 0, &e);
    ok(forest_extend(&f, root, ids, 3, &e) || forest_want(&f, root, &e), &e);
    refused("key/value memory that was not reserved", model_forward(&m, &f, BUF_NONE, STEP_CACHED, &e), &e);
    forest_free(&f);
    model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_equals_paths),
        cmocka_unit_test(test_tree_equals_paths_tower),
        cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_gradients_by_differences),
        cmocka_unit_test(test_decode_equals_whole),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("forest", tests, kernels_setup, NULL);
}

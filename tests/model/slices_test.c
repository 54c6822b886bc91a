/* slices_test.c - models in slices without other ranks: what slices hold adds up to the whole model, whether it was read or made; so do
 * their hashes; an export from all slices is the checkpoint that was read; what does not divide is refused by name; log-probs that
 * slices know make those of the whole. */
#include "tests/check.h"

#include "base/json.h"
#include "base/philox.h"
#include "model/checkpoint.h"
#include "model/slices.h"

#include <math.h>

static const Kernels *k;

static void ok(int failed, const Error *e) {
    char line[2048];
    if (failed) fail_msg("%s", error_text(e, line, sizeof line));
}

enum { SLICES_MOST = 2 };

typedef struct Piece {
    ModelConfig config;
    Params params;
} Piece;

static void piece_plan(Piece *x, const char *folder, int slice, int slices) {
    Error e = { 0 };
    ok(config_load(folder, &x->config, &e) || config_slice(&x->config, slice, slices, folder, &e) ||
            params_plan(&x->params, &x->config, &e),
        &e);
}

static float *values(const Params *p, const Param *q) {
    float *x = calloc((size_t)q->count, sizeof *x);
    Buf wide;
    Error e = { 0 };
    assert_non_null(x);
    ok(k->alloc(&wide, FP32, q->count, "a tensor", &e), &e);
    k->copy(wide, buf_at(p->weights, q->offset), q->count);
    k->download(x, wide, q->count);
    k->free(wide);
    return x;
}

/* Every element of every slice is what the whole has in its place, and every place of a tensor that is cut is in one slice. */
static void slices_are_the_whole(const Params *whole, Piece *pieces, int n) {
    uint64_t cut = 0;
    char a[HASH_TEXT], b[HASH_TEXT];
    for (int i = 0; i < whole->n; i++) {
        const Param *w = &whole->list[i];
        float *want = values(whole, w);
        int *seen = calloc((size_t)w->count, sizeof *seen);
        assert_non_null(seen);
        for (int s = 0; s < n; s++) {
            const Params *p = &pieces[s].params;
            const Param *q = &p->list[i];
            int64_t shape[4], run;
            float *have = values(p, q);
            params_whole_shape(p, q, shape);
            assert_memory_equal(shape, w->shape, sizeof shape);
            assert_int_equal(q->whole_offset, w->offset);
            assert_int_equal(q->count, q->cut == CUT_NONE ? w->count : w->count / n);
            for (int64_t at = 0; at < q->count; at++) {
                int64_t place = params_whole_at(p, q, at, &run);
                assert_true(have[at] == want[place]);
                assert_true(run >= 1 && params_whole_at(p, q, at + run - 1, &(int64_t){ 0 }) == place + run - 1);
                seen[place]++;
            }
            free(have);
        }
        for (int64_t at = 0; at < w->count; at++) assert_int_equal(seen[at], pieces[0].params.list[i].cut == CUT_NONE ? n : 1);
        free(want);
        free(seen);
    }
    assert_int_equal(pieces[0].params.whole_count, whole->count);
    for (int s = 0; s < n; s++) cut += params_sums(&pieces[s].params, k).cut;
    params_hash(whole, k, a);
    for (int s = 0; s < n; s++) {
        params_sums_hash(&pieces[s].params, (ParamSums){ cut, params_sums(&pieces[s].params, k).whole }, b);
        assert_string_equal(a, b);
    }
}

enum { FOLDERS = 3 };
static char made[PATH_SIZE], biased[PATH_SIZE];
static const char *const folders[FOLDERS] = { "tests/golden/llava15-v5/model", "tests/golden/llava15-orig/model", biased }; /* heads in
    groups; a tower apart; biases of query, key and value */

/* A checkpoint whose decoder is Qwen2's, with biases that are not 0, in the shape of the first. */
static void biased_make(void) {
    Error e = { 0 };
    Piece whole;
    json_t *o;
    char shape[PATH_SIZE];
    scratch_make(made);
    strcpy(shape, at(made, "shape")), strcpy(biased, at(made, "model"));
    ok(folder_make(shape, &e) || json_read_object(at(folders[0], "config.json"), &o, &e), &e);
    json_object_set_new(json_object_get(o, "text_config"), "model_type", json_string("qwen2"));
    char *text = json_dumps(o, 0);
    put(at(shape, "config.json"), text, strlen(text));
    free(text);
    json_decref(o);
    piece_plan(&whole, shape, 0, 1);
    Params *p = &whole.params;
    assert_int_equal(whole.config.decoder.qkv_bias, 1);
    ok(params_init(p, k, FP32, LAYOUT_HUB, 9, &e), &e);
    for (ParamKind kind = P_Q_B; kind <= P_V_B; kind++)
        for (int l = 0; l < whole.config.decoder.layers; l++) {
            const Param *q = params_find(p, kind, l);
            for (int64_t i = 0; i < q->count; i++)
                k->upload(buf_at(p->weights, q->offset + i), &(float){ (float)(100 * (int)kind + 50 * l + (int)i) }, 1);
        }
    ok(params_export(p, k, TENSOR_F32, shape, biased, &e), &e);
    params_free(p, k);
}

static void read_or_made(void **state) {
    (void)state;
    for (int f = 0; f < FOLDERS; f++)
        for (int way = 0; way < 4; way++) {
            DType t = way & 1 ? BF16 : FP32;
            Piece all[1 + SLICES_MOST];
            Error e = { 0 };
            for (int i = 0; i <= SLICES_MOST; i++) {
                piece_plan(&all[i], folders[f], i ? i - 1 : 0, i ? SLICES_MOST : 1);
                Params *p = &all[i].params;
                ok(way & 2 ? params_init(p, k, t, LAYOUT_HUB, 5, &e) : params_load(p, k, t, folders[f], &e), &e);
            }
            slices_are_the_whole(&all[0].params, all + 1, SLICES_MOST);
            for (int i = 0; i <= SLICES_MOST; i++) params_free(&all[i].params, k);
        }
}

/* Slices one after another, as ranks gather them. */
typedef struct Gathered {
    const Piece *pieces;
    Buf buf;
} Gathered;

static int unit_gathered(void *context, int unit, Buf *weights, Error *e) {
    (void)e;
    const Gathered *g = context;
    const Params *p = &g->pieces[0].params;
    for (int s = 0; s < SLICES_MOST; s++)
        k->copy(buf_at(g->buf, s * p->units[unit].count), buf_at(g->pieces[s].params.weights, p->units[unit].offset), p->units[unit].count);
    *weights = g->buf;
    return 0;
}

static void exported(void **state) {
    (void)state;
    char scratch[PATH_SIZE];
    scratch_make(scratch);
    for (int f = 0; f < FOLDERS; f++) {
        Piece pieces[SLICES_MOST];
        Error e = { 0 };
        Gathered g = { .pieces = pieces };
        for (int i = 0; i < SLICES_MOST; i++) {
            piece_plan(&pieces[i], folders[f], i, SLICES_MOST);
            ok(params_load(&pieces[i].params, k, FP32, folders[f], &e), &e);
        }
        Params *p = &pieces[0].params;
        ok(k->alloc(&g.buf, FP32, SLICES_MOST * p->count, "gathered", &e), &e);
        char number[16];
        snprintf(number, sizeof number, "%d", f);
        const char *out = at(scratch, number);
        ok(params_export_from(p, k, &(ParamSource){ &g, unit_gathered }, TENSOR_F32, folders[f], out, &e), &e);
        TensorSet want, have;
        ok(tensors_open(&want, folders[f], &e) || tensors_open(&have, out, &e), &e);
        for (size_t i = 0; i < want.n; i++) {
            const Tensor *a = &want.list[i], *b = tensors_find(&have, a->name);
            assert_non_null(b);
            assert_memory_equal(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape);
            assert_memory_equal(a->data, b->data, (size_t)a->count * tensor_type_size(a->type));
        }
        tensors_close(&want), tensors_close(&have);
        k->free(g.buf);
        for (int i = 0; i < SLICES_MOST; i++) params_free(&pieces[i].params, k);
    }
    scratch_drop(scratch);
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *folder, *says;
        int slices, ff, vocab, tied;
    } cases[] = {
        { "tests/golden/llava15-hub/model", "3 heads", 2, 0, 0, 0 },
        { "tests/golden/llava15-v5/model", "2 key/value heads", 4, 0, 0, 0 },
        { "tests/golden/llava15-v5/model", "72 columns of the feed-forward", 2, 72, 0, 0 },
        { "tests/golden/llava15-v5/model", "513 tokens of vocabulary", 2, 0, 513, 0 },
        { "tests/golden/llava15-v5/model", "embedding table", 2, 0, 0, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ModelConfig c;
        Error e = { 0 };
        ok(config_load(cases[i].folder, &c, &e), &e);
        if (cases[i].ff) c.decoder.ff = cases[i].ff;
        if (cases[i].vocab) c.decoder.vocab = cases[i].vocab;
        c.decoder.tied = cases[i].tied;
        assert_int_equal(config_slice(&c, 0, cases[i].slices, cases[i].folder, &e), -1);
        error_says(&e, cases[i].says);
        error_says(&e, "ranks.tensor");
        assert_int_equal(config_slice(&c, 0, 1, cases[i].folder, &e), 0);
    }
}

/* ---- log-probs ---- */

/* What a slice says, in double. */
static void slice_says(const double *l, int V, int target, float says[SAYS]) {
    double largest = -INFINITY, sum = 0, weighted = 0, mean = 0;
    int argmax = 0;
    for (int v = 0; v < V; v++) {
        if (l[v] > largest) largest = l[v], argmax = v;
        mean += l[v] / V;
    }
    for (int v = 0; v < V; v++) sum += exp(l[v] - largest), weighted += exp(l[v] - largest) * l[v];
    double lse = largest + log(sum);
    says[SAYS_LSE] = (float)lse, says[SAYS_LARGEST] = (float)largest, says[SAYS_MEAN] = (float)mean;
    says[SAYS_ENTROPY] = (float)(lse - weighted / sum);
    says[SAYS_LOGP] = target >= 0 && target < V ? (float)(l[target] - lse) : -INFINITY;
    says[SAYS_HIT] = target == argmax;
}

/* Six numbers a slice make those of the whole, with every target, also where logits are equal, far apart, or hundreds. */
static void rows_of_slices(void **state) {
    (void)state;
    enum { V = 24, ROWS = 40 };
    for (int row = 0; row < ROWS; row++)
        for (int n = 1; n <= 4; n++)
            for (int target = 0; target < V; target++) {
                double l[V];
                float want[SAYS], have[SAYS], said[4][SAYS];
                const float *says[4];
                for (int v = 0; v < V; v++) {
                    Philox r = philox4x32((uint32_t)v, (uint32_t)row, 0, 0, 1, 2);
                    double x = r.v[0] / 4294967296.0 - .5;
                    l[v] = row % 4 == 0 ? floor(3 * x) : (row % 4 == 1 ? 400 : 10) * x - (row % 4 == 2 && v % 12 < 6 ? 200 : 0);
                }
                for (int i = 0; i < n; i++) slice_says(l + i * (V / n), V / n, target - i * (V / n), said[i]), says[i] = said[i];
                slice_says(l, V, target, want);
                slices_row(have, says, n, 1);
                for (int i = 0; i < SAYS; i++)
                    if (i != SAYS_LARGEST && !(fabs((double)have[i] - (double)want[i]) <= 4e-6 * (1 + fabs((double)want[i]))))
                        fail_msg("row %d, %d slices, target %d: number %d is %.9g, expected %.9g", row, n, target, i, (double)have[i],
                            (double)want[i]);
            }
}

static int group_begin(void **state) {
    (void)state;
    Error e = { 0 };
    k = kernels_open("cpu", 1, &e);
    if (k) biased_make();
    return k ? 0 : -1;
}

static int group_end(void **state) {
    (void)state;
    scratch_drop(made);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(read_or_made), cmocka_unit_test(exported), cmocka_unit_test(refusals),
        cmocka_unit_test(rows_of_slices) };
    return cmocka_run_group_tests_name("slices", tests, group_begin, group_end);
}

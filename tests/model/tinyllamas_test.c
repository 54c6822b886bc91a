/* tinyllamas_test.c - a published checkpoint that another program trained and another wrote: stories260K of karpathy/tinyllamas, turned into a
 * Hugging Face Llama folder here, must give the 300 greedy ids and the first 32 rows of logits of an independent implementation.
 *
 * The llama2.c file (version 0) is seven int32 - width, feed-forward width, layers, heads, key/value heads, vocabulary (negative when the head
 * is a tensor of its own), positions - and float32 tensors, each for all layers at once. Its rotary embedding turns neighbouring elements
 * (2i, 2i + 1) of a head, Llama in Transformers turns (i, i + E / 2): the rows of wq and wk move accordingly. */
#include "tests/model/steps.h"

#include "base/json.h"

enum { LOGIT_ROWS = 32, GREEDY_IDS = 300, FIELDS = 7, LIMIT = 64 << 20 };
static const double LOGIT_BOUND = 1e-4;

typedef struct Story {
    int width, ff, layers, heads, kv_heads, vocab, positions;
} Story;

typedef struct Piece {
    const char *name; /* %d stands for the layer, absent in tensors outside blocks */
    int64_t rows, columns; /* columns 0: a vector */
    int rope_heads; /* heads whose rows move; 0 for most */
    const float *data;
} Piece;

enum { PIECES = 11 };

/* In the file's order. */
static void list_pieces(const Story *s, const float *at, const float *end, Piece out[PIECES]) {
    int64_t D = s->width, F = s->ff, KV = D / s->heads * s->kv_heads;
    const Piece pieces[PIECES] = {
        { "model.embed_tokens.weight", s->vocab, D, 0, NULL },
        { "model.layers.%d.input_layernorm.weight", D, 0, 0, NULL },
        { "model.layers.%d.self_attn.q_proj.weight", D, D, s->heads, NULL },
        { "model.layers.%d.self_attn.k_proj.weight", KV, D, s->kv_heads, NULL },
        { "model.layers.%d.self_attn.v_proj.weight", KV, D, 0, NULL },
        { "model.layers.%d.self_attn.o_proj.weight", D, D, 0, NULL },
        { "model.layers.%d.post_attention_layernorm.weight", D, 0, 0, NULL },
        { "model.layers.%d.mlp.gate_proj.weight", F, D, 0, NULL },
        { "model.layers.%d.mlp.down_proj.weight", D, F, 0, NULL },
        { "model.layers.%d.mlp.up_proj.weight", F, D, 0, NULL },
        { "model.norm.weight", D, 0, 0, NULL },
    };
    for (int i = 0; i < PIECES; i++) {
        out[i] = pieces[i];
        out[i].data = at;
        at += pieces[i].rows * (pieces[i].columns ? pieces[i].columns : 1) * (strchr(pieces[i].name, '%') ? s->layers : 1);
    }
    at += (int64_t)s->positions * (D / s->heads); /* tables of cosines and sines, which follow from the positions */
    assert_ptr_equal(at, end);
}

/* Row i of half h of a head stands at 2 i + h in the file. */
static void append_turned(TensorWriter *w, const char *name, const float *data, const Piece *p) {
    Error e = { 0 };
    int64_t E = p->rows / p->rope_heads;
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t i = r % E, from = r - i + 2 * (i % (E / 2)) + i / (E / 2);
        ok(tensors_append(w, name, data + from * p->columns, TENSOR_F32, p->columns, &e), &e);
    }
}

static void write_tensors(const Story *s, const Piece *pieces, const char *path) {
    Error e = { 0 };
    TensorWriter *w;
    ok(tensors_create(&w, path, 0, &e), &e);
    for (int writing = 0; writing < 2; writing++) /* every tensor is declared before the first is filled */
        for (int i = 0; i < PIECES; i++) {
            const Piece *p = &pieces[i];
            int64_t shape[2] = { p->rows, p->columns }, n = p->rows * (p->columns ? p->columns : 1);
            for (int layer = 0; layer < (strchr(p->name, '%') ? s->layers : 1); layer++) {
                char name[PARAM_NAME];
                const char *mark = strchr(p->name, '%');
                if (mark) snprintf(name, sizeof name, "%.*s%d%s", (int)(mark - p->name), p->name, layer, mark + 2);
                else snprintf(name, sizeof name, "%s", p->name);
                if (!writing) ok(tensors_declare(w, name, TENSOR_F32, p->columns ? 2 : 1, shape, &e), &e);
                else if (p->rope_heads) append_turned(w, name, p->data + layer * n, p);
                else ok(tensors_append(w, name, p->data + layer * n, TENSOR_F32, n, &e), &e);
            }
        }
    ok(tensors_commit(w, &e), &e);
}

/* Turns the file at `path` into a checkpoint folder. */
static void convert(const char *path, const char *folder) {
    Error e = { 0 };
    char *bytes, config[1024];
    size_t size;
    ok(file_read(path, LIMIT, &bytes, &size, &e), &e);
    assert_true(size > FIELDS * sizeof(int32_t) && size % sizeof(float) == 0);
    int32_t v[FIELDS];
    memcpy(v, bytes, sizeof v);
    for (int i = 0; i < FIELDS; i++) assert_in_range(v[i], 1, 1 << 16); /* a positive vocabulary: the head is the embedding table */
    const Story s = { v[0], v[1], v[2], v[3], v[4], v[5], v[6] };
    Piece pieces[PIECES];
    const float *words = (const float *)(const void *)bytes;
    list_pieces(&s, words + FIELDS, words + size / sizeof(float), pieces);
    write_tensors(&s, pieces, at(folder, "model.safetensors"));
    int n = snprintf(config, sizeof config,
        "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": %d, \"intermediate_size\": %d, "
        "\"num_hidden_layers\": %d, \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"vocab_size\": %d, "
        "\"max_position_embeddings\": %d, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\", "
        "\"bos_token_id\": 1, \"eos_token_id\": 2, \"tie_word_embeddings\": true}\n",
        s.width, s.ff, s.layers, s.heads, s.kv_heads, s.vocab, s.positions);
    put(at(folder, "config.json"), config, (size_t)n);
    free(bytes);
}

static void read_greedy(const char *path, int ids[GREEDY_IDS]) {
    Error e = { 0 };
    json_t *top;
    ok(json_read_object(path, &top, &e), &e);
    const json_t *list = json_object_get(top, "greedy_ids");
    assert_int_equal(json_array_size(list), GREEDY_IDS);
    for (int i = 0; i < GREEDY_IDS; i++) ids[i] = (int)json_integer_value(json_array_get(list, (size_t)i));
    json_decref(top);
}

static int largest(const float *x, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* One token a step from the first id: each step's argmax is the next id, and the first rows of logits are the recorded ones. */
static void decode_all(Model *m, const int ids[GREEDY_IDS], const float *rows) {
    Error e = { 0 };
    int V = m->config.decoder.vocab;
    float logits[1 << 10];
    assert_in_range(V, 1, (int)(sizeof logits / sizeof *logits));
    Forest f = { 0 };
    ok(forest_slots(&f, GREEDY_IDS, &e) || model_reserve(m, &(StepSize){ .uses = USES_SLOTS, .slots = GREEDY_IDS }, &e), &e);
    int s = add_segment(&f, -1, GREEDY_IDS), id = ids[0];
    for (int i = 0; i + 1 < GREEDY_IDS; i++) {
        Buf b;
        ok(forest_extend(&f, s, &id, 1, &e) || forest_want(&f, s, &e) || model_forward(m, &f, BUF_NONE, STEP_CACHED, &e) ||
               model_logits(m, &f, &b, &e),
            &e);
        k->download(logits, b, V);
        if (i < LOGIT_ROWS) {
            char what[64];
            snprintf(what, sizeof what, "logits of row %d by decoding", i);
            within(what, largest_gap(logits, rows + (int64_t)i * V, V), LOGIT_BOUND);
        }
        forest_step_end(&f);
        id = largest(logits, V);
        if (id != ids[i + 1]) fail_msg("greedy id %d: %d instead of %d", i + 1, id, ids[i + 1]);
    }
    forest_free(&f);
}

/* The same rows of logits from one step over all tokens. */
static void prefill_all(Model *m, const int ids[GREEDY_IDS], const float *rows) {
    Error e = { 0 };
    Forest f = { 0 };
    Buf b;
    int s = add_text(&f, -1, ids, LOGIT_ROWS);
    ok(forest_score(&f, s, 1, &e) || forest_want(&f, s, &e) || model_forward(m, &f, BUF_NONE, STEP_SCORE, &e) || model_logits(m, &f, &b, &e),
        &e);
    assert_int_equal(f.scored_n, LOGIT_ROWS);
    int64_t n = (int64_t)LOGIT_ROWS * m->config.decoder.vocab;
    float *got = malloc((size_t)n * sizeof *got);
    assert_non_null(got);
    k->download(got, b, n);
    within("logits of 32 rows in one step", largest_gap(got, rows, n), LOGIT_BOUND);
    free(got);
    forest_free(&f);
}

static void test_stories260k(void **state) {
    (void)state;
    const char *shared = shared_path("data/tinyllamas/stories260K.bin");
    if (!shared) skip();
    char folder[PATH_SIZE], data[PATH_SIZE], *rows;
    path_folder(data, shared);
    scratch_make(folder);
    convert(at(data, "stories260K.bin"), folder);
    int ids[GREEDY_IDS];
    read_greedy(at(data, "greedy.json"), ids);
    Error e = { 0 };
    size_t size;
    ok(file_read(at(data, "logits_first32_f32.bin"), LIMIT, &rows, &size, &e), &e);
    Model m;
    open_model(&m, folder, FP32);
    assert_int_equal(size, LOGIT_ROWS * (size_t)m.config.decoder.vocab * sizeof(float));
    prefill_all(&m, ids, (const float *)(const void *)rows);
    decode_all(&m, ids, (const float *)(const void *)rows);
    model_free(&m);
    free(rows);
    scratch_drop(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_stories260k) };
    return cmocka_run_group_tests_name("tinyllamas", tests, kernels_setup, NULL);
}

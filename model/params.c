/* params.c - owns the parameter table: which tensors a model has, what they are called, their shapes, and where they stand in the arena.
 *
 * One row per kind; rows of a block repeat for each layer. Everything else about parameters (names in a layout, loading, export, initial
 * values, training state) loops over the list made here. Shapes are written with the letters of model.h; widths come from a config whose
 * sizes config_load has bounded, so products cannot overflow. */
#include "model/params.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Elements: tensors that do not adjoin another start at a multiple of this, one cache line of fp32. */
enum { ALIGNMENT = 16 };

typedef enum Dim {
    NO_DIM, ONE, VISION_W, VISION_3W, VISION_F, CHANNELS, PATCH, VISION_POSITIONS, GRID_POSITIONS, QUERIES, D, D_3, F, HEADS_E, KV_E, V, HEAD_V
} Dim;
typedef enum Place { ALONE, BLOCK } Place;     /* outside blocks, or once per layer */
typedef enum Start { ALIGNED, ADJOINS } Start; /* ADJOINS: directly after the row above, as one matrix with it */

/* In the order of the arena. Projector names begin with what names.c calls its two products. */
static const struct Row {
    ParamKind kind;
    ParamPart part;
    Place place;
    Start start;
    const char *suffix;
    Dim dims[4];
} table[] = {
    { P_PROJECTOR_1_W, PART_PROJECTOR, ALONE, ALIGNED, ".weight", { D, VISION_W } },
    { P_PROJECTOR_1_B, PART_PROJECTOR, ALONE, ALIGNED, ".bias", { D } },
    { P_PROJECTOR_2_W, PART_PROJECTOR, ALONE, ALIGNED, ".weight", { D, D } },
    { P_PROJECTOR_2_B, PART_PROJECTOR, ALONE, ALIGNED, ".bias", { D } },
    { P_NEWLINE, PART_PROJECTOR, ALONE, ALIGNED, "image_newline", { D } },

    { P_RESAMPLER_POSITION, PART_PROJECTOR, ALONE, ALIGNED, "pos_embed", { QUERIES, D } },
    { P_RESAMPLER_QUERY, PART_PROJECTOR, ALONE, ALIGNED, "query", { QUERIES, D } },
    { P_RESAMPLER_KV, PART_PROJECTOR, ALONE, ALIGNED, "kv_proj.weight", { D, VISION_W } },
    { P_RESAMPLER_IN_W, PART_PROJECTOR, ALONE, ALIGNED, "attn.in_proj_weight", { D_3, D } },
    { P_RESAMPLER_IN_B, PART_PROJECTOR, ALONE, ALIGNED, "attn.in_proj_bias", { D_3 } },
    { P_RESAMPLER_OUT_W, PART_PROJECTOR, ALONE, ALIGNED, "attn.out_proj.weight", { D, D } },
    { P_RESAMPLER_OUT_B, PART_PROJECTOR, ALONE, ALIGNED, "attn.out_proj.bias", { D } },
    { P_RESAMPLER_LN_Q_W, PART_PROJECTOR, ALONE, ALIGNED, "ln_q.weight", { D } },
    { P_RESAMPLER_LN_Q_B, PART_PROJECTOR, ALONE, ALIGNED, "ln_q.bias", { D } },
    { P_RESAMPLER_LN_KV_W, PART_PROJECTOR, ALONE, ALIGNED, "ln_kv.weight", { D } },
    { P_RESAMPLER_LN_KV_B, PART_PROJECTOR, ALONE, ALIGNED, "ln_kv.bias", { D } },
    { P_RESAMPLER_LN_POST_W, PART_PROJECTOR, ALONE, ALIGNED, "ln_post.weight", { D } },
    { P_RESAMPLER_LN_POST_B, PART_PROJECTOR, ALONE, ALIGNED, "ln_post.bias", { D } },
    { P_RESAMPLER_PROJ, PART_PROJECTOR, ALONE, ALIGNED, "proj", { D, D } },

    { P_EMBED, PART_DECODER, ALONE, ALIGNED, "embed_tokens.weight", { V, D } },
    { P_ATTN_NORM, PART_DECODER, BLOCK, ALIGNED, "layers.{i}.input_layernorm.weight", { D } },
    { P_Q, PART_DECODER, BLOCK, ALIGNED, "layers.{i}.self_attn.q_proj.weight", { HEADS_E, D } },
    { P_K, PART_DECODER, BLOCK, ADJOINS, "layers.{i}.self_attn.k_proj.weight", { KV_E, D } },
    { P_V, PART_DECODER, BLOCK, ADJOINS, "layers.{i}.self_attn.v_proj.weight", { KV_E, D } },
    { P_Q_B, PART_DECODER, BLOCK, ALIGNED, "layers.{i}.self_attn.q_proj.bias", { HEADS_E } },
    { P_K_B, PART_DECODER, BLOCK, ADJOINS, "layers.{i}.self_attn.k_proj.bias", { KV_E } },
    { P_V_B, PART_DECODER, BLOCK, ADJOINS, "layers.{i}.self_attn.v_proj.bias", { KV_E } },
    { P_O, PART_DECODER, BLOCK, ALIGNED, "layers.{i}.self_attn.o_proj.weight", { D, HEADS_E } },
    { P_FF_NORM, PART_DECODER, BLOCK, ALIGNED, "layers.{i}.post_attention_layernorm.weight", { D } },
    { P_GATE, PART_DECODER, BLOCK, ALIGNED, "layers.{i}.mlp.gate_proj.weight", { F, D } },
    { P_UP, PART_DECODER, BLOCK, ADJOINS, "layers.{i}.mlp.up_proj.weight", { F, D } },
    { P_DOWN, PART_DECODER, BLOCK, ALIGNED, "layers.{i}.mlp.down_proj.weight", { D, F } },
    { P_NORM, PART_DECODER, ALONE, ALIGNED, "norm.weight", { D } },
    { P_HEAD, PART_DECODER, ALONE, ALIGNED, "lm_head.weight", { HEAD_V, D } },

    { P_VISION_CLASS, PART_VISION, ALONE, ALIGNED, "embeddings.class_embedding", { VISION_W } },
    { P_VISION_PATCH, PART_VISION, ALONE, ALIGNED, "embeddings.patch_embedding.weight", { VISION_W, CHANNELS, PATCH, PATCH } },
    { P_VISION_POSITION, PART_VISION, ALONE, ALIGNED, "embeddings.position_embedding.weight", { VISION_POSITIONS, VISION_W } },
    { P_VISION_PRE_W, PART_VISION, ALONE, ALIGNED, "pre_layrnorm.weight", { VISION_W } }, /* spelled so by every CLIP checkpoint */
    { P_VISION_PRE_B, PART_VISION, ALONE, ALIGNED, "pre_layrnorm.bias", { VISION_W } },
    { P_VISION_LN1_W, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.layer_norm1.weight", { VISION_W } },
    { P_VISION_LN1_B, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.layer_norm1.bias", { VISION_W } },
    { P_VISION_Q_W, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.self_attn.q_proj.weight", { VISION_W, VISION_W } },
    { P_VISION_K_W, PART_VISION, BLOCK, ADJOINS, "encoder.layers.{i}.self_attn.k_proj.weight", { VISION_W, VISION_W } },
    { P_VISION_V_W, PART_VISION, BLOCK, ADJOINS, "encoder.layers.{i}.self_attn.v_proj.weight", { VISION_W, VISION_W } },
    { P_VISION_Q_B, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.self_attn.q_proj.bias", { VISION_W } },
    { P_VISION_K_B, PART_VISION, BLOCK, ADJOINS, "encoder.layers.{i}.self_attn.k_proj.bias", { VISION_W } },
    { P_VISION_V_B, PART_VISION, BLOCK, ADJOINS, "encoder.layers.{i}.self_attn.v_proj.bias", { VISION_W } },
    { P_VISION_O_W, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.self_attn.out_proj.weight", { VISION_W, VISION_W } },
    { P_VISION_O_B, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.self_attn.out_proj.bias", { VISION_W } },
    { P_VISION_LN2_W, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.layer_norm2.weight", { VISION_W } },
    { P_VISION_LN2_B, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.layer_norm2.bias", { VISION_W } },
    { P_VISION_FC1_W, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.mlp.fc1.weight", { VISION_F, VISION_W } },
    { P_VISION_FC1_B, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.mlp.fc1.bias", { VISION_F } },
    { P_VISION_FC2_W, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.mlp.fc2.weight", { VISION_W, VISION_F } },
    { P_VISION_FC2_B, PART_VISION, BLOCK, ALIGNED, "encoder.layers.{i}.mlp.fc2.bias", { VISION_W } },
    { P_VISION_POST_W, PART_VISION, ALONE, ALIGNED, "post_layernorm.weight", { VISION_W } },
    { P_VISION_POST_B, PART_VISION, ALONE, ALIGNED, "post_layernorm.bias", { VISION_W } },

    { P_EVA_CLASS, PART_VISION, ALONE, ALIGNED, "cls_token", { ONE, ONE, VISION_W } },
    { P_EVA_POSITION, PART_VISION, ALONE, ALIGNED, "pos_embed", { ONE, GRID_POSITIONS, VISION_W } },
    { P_EVA_PATCH_W, PART_VISION, ALONE, ALIGNED, "patch_embed.proj.weight", { VISION_W, CHANNELS, PATCH, PATCH } },
    { P_EVA_PATCH_B, PART_VISION, ALONE, ALIGNED, "patch_embed.proj.bias", { VISION_W } },
    { P_EVA_QKV_W, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.attn.qkv.weight", { VISION_3W, VISION_W } },
    { P_EVA_Q_B, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.attn.q_bias", { VISION_W } },
    { P_EVA_K_B, PART_VISION, BLOCK, ADJOINS, "blocks.{i}.attn.k_bias", { VISION_W } },
    { P_EVA_V_B, PART_VISION, BLOCK, ADJOINS, "blocks.{i}.attn.v_bias", { VISION_W } },
    { P_EVA_O_W, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.attn.proj.weight", { VISION_W, VISION_W } },
    { P_EVA_O_B, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.attn.proj.bias", { VISION_W } },
    { P_EVA_LN1_W, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.norm1.weight", { VISION_W } },
    { P_EVA_LN1_B, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.norm1.bias", { VISION_W } },
    { P_EVA_FC1_W, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.mlp.fc1.weight", { VISION_F, VISION_W } },
    { P_EVA_FC1_B, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.mlp.fc1.bias", { VISION_F } },
    { P_EVA_FC2_W, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.mlp.fc2.weight", { VISION_W, VISION_F } },
    { P_EVA_FC2_B, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.mlp.fc2.bias", { VISION_W } },
    { P_EVA_LN2_W, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.norm2.weight", { VISION_W } },
    { P_EVA_LN2_B, PART_VISION, BLOCK, ALIGNED, "blocks.{i}.norm2.bias", { VISION_W } },
    { P_EVA_NORM_W, PART_VISION, ALONE, ALIGNED, "norm.weight", { VISION_W } },
    { P_EVA_NORM_B, PART_VISION, ALONE, ALIGNED, "norm.bias", { VISION_W } },
};
enum { ROWS = sizeof table / sizeof *table };

const char *params_suffix(ParamKind kind) {
    for (int r = 0; r < ROWS; r++)
        if (table[r].kind == kind) return table[r].suffix;
    assert(!"every kind has a row");
    return "";
}

static int64_t dim_size(Dim dim, const ModelConfig *c) {
    switch (dim) {
    case NO_DIM:
        return 0;
    case ONE:
        return 1;
    case VISION_W:
        return c->vision.width;
    case VISION_3W:
        return 3LL * c->vision.width;
    case VISION_F:
        return c->vision.ff;
    case CHANNELS:
        return 3;
    case PATCH:
        return c->vision.patch;
    case VISION_POSITIONS:
        return c->vision.patches + 1;
    case GRID_POSITIONS:
        return (int64_t)c->vision.positions_side * c->vision.positions_side + 1;
    case QUERIES:
        return c->queries;
    case D:
        return c->decoder.width;
    case D_3:
        return 3LL * c->decoder.width;
    case F:
        return c->decoder.ff;
    case HEADS_E:
        return (int64_t)c->decoder.heads * c->decoder.head_size;
    case KV_E:
        return (int64_t)c->decoder.kv_heads * c->decoder.head_size;
    case V:
        return c->decoder.vocab;
    case HEAD_V:
        return config_head_rows(c);
    }
    return 0;
}

/* What slices divide (Shoeybi et al. 2019, arXiv 1909.08053): where a product's rows are cut, the columns of the one after it are. */
static int dim_is_cut(Dim dim) { return dim == F || dim == HEADS_E || dim == KV_E || dim == HEAD_V; }
static ParamCut cut_of(const ModelConfig *c, const struct Row *row) {
    if (config_slices(c) == 1) return CUT_NONE;
    return dim_is_cut(row->dims[0]) ? CUT_ROWS : dim_is_cut(row->dims[1]) ? CUT_COLUMNS : CUT_NONE;
}

void params_whole_shape(const Params *p, const Param *q, int64_t shape[4]) {
    memcpy(shape, q->shape, sizeof q->shape);
    if (q->cut != CUT_NONE) shape[q->cut == CUT_COLUMNS] *= config_slices(p->config);
}

int64_t params_whole_at(const Params *p, const Param *q, int64_t i, int64_t *run) {
    int64_t columns = q->shape[1], slice = p->config->decoder.slice;
    *run = q->count - i;
    if (q->cut == CUT_NONE) return i;
    if (q->cut == CUT_ROWS) return slice * q->count + i;
    *run = columns - i % columns;
    return (i / columns * config_slices(p->config) + slice) * columns + i % columns;
}

static int layers_of(const ModelConfig *c, ParamPart part) { return part == PART_VISION ? c->vision.layers : c->decoder.layers; }

static int row_exists(const ModelConfig *c, const struct Row *row) {
    int vision = c->vision.layers > 0;
    if (row->kind == P_NEWLINE) return c->newline;
    if (row->part == PART_VISION) return vision && (c->vision.kind == TOWER_EVA) == (row->kind >= P_EVA_CLASS);
    if (row->part == PART_PROJECTOR) return vision && (c->queries > 0) == (row->kind >= P_RESAMPLER_POSITION);
    if (row->kind == P_Q_B || row->kind == P_K_B || row->kind == P_V_B) return c->decoder.qkv_bias;
    return row->kind != P_HEAD || !c->decoder.tied;
}

static int64_t aligned(int64_t count) { return (count + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static void append(Params *p, const struct Row *row, int layer) {
    Param *q = &p->list[p->n];
    *q = (Param){ .kind = row->kind, .part = row->part, .layer = layer, .count = 1, .cut = cut_of(p->config, row) };
    for (; q->ndim < 4 && row->dims[q->ndim]; q->ndim++) {
        q->shape[q->ndim] = dim_size(row->dims[q->ndim], p->config);
        q->count *= q->shape[q->ndim];
    }
    q->used = row->part != PART_VISION ||
              (layer < p->config->vision.feature_layers && row->kind != P_VISION_POST_W && row->kind != P_VISION_POST_B && row->kind != P_EVA_K_B);
    q->constant = row->kind == P_RESAMPLER_POSITION;
    q->absent = row->kind == P_EVA_K_B; /* no checkpoint has it */
    if (row->start == ALIGNED) p->count = aligned(p->count), p->whole_count = aligned(p->whole_count);
    q->offset = p->count, q->whole_offset = p->whole_count;
    p->count += q->count;
    p->whole_count += q->count * (q->cut == CUT_NONE ? 1 : config_slices(p->config));
    const Param *before = p->n ? q - 1 : NULL;
    if (!before || before->part != q->part || before->layer != q->layer) p->units[p->units_n++].offset = q->offset;
    q->unit = p->units_n - 1;
    p->units[q->unit].count = p->count - p->units[q->unit].offset;
    p->units[q->unit].cut |= q->cut != CUT_NONE;
    p->n++;
}

void params_units_at(Params *p, Buf weights, Buf grads) {
    for (int u = 0; u < p->units_n; u++) {
        ParamUnit *unit = &p->units[u];
        unit->weights = weights.at ? buf_at(weights, unit->offset) : BUF_NONE;
        unit->grads = grads.at ? buf_at(grads, unit->offset) : BUF_NONE;
    }
}

int params_plan(Params *p, const ModelConfig *c, Error *e) {
    memset(p, 0, sizeof *p);
    p->config = c;
    size_t n = 0;
    for (int r = 0; r < ROWS; r++) n += row_exists(c, &table[r]) ? (table[r].place == BLOCK ? (size_t)layers_of(c, table[r].part) : 1) : 0;
    p->list = mem_new(n, sizeof *p->list, "parameter table", e);
    p->units = mem_new(n, sizeof *p->units, "parameter table", e);
    if (!p->list || !p->units) return params_plan_free(p), -1;
    for (int k = 0; k < PARAM_KINDS; k++) p->index[k].first = -1;
    for (int r = 0; r < ROWS;) {
        int end = r + 1, rows = 0; /* of the run of rows that repeat together */
        while (table[r].place == BLOCK && end < ROWS && table[end].place == BLOCK && table[end].part == table[r].part) end++;
        int block = table[r].place == BLOCK, layers = block ? layers_of(c, table[r].part) : 1;
        for (int i = r; i < end; i++) rows += row_exists(c, &table[i]);
        for (int i = r, at = p->n; i < end; i++)
            if (row_exists(c, &table[i])) p->index[table[i].kind] = (struct ParamIndex){ at++, block ? rows : 0 };
        for (int layer = 0; layer < layers; layer++)
            for (int i = r; i < end; i++)
                if (row_exists(c, &table[i])) append(p, &table[i], block ? layer : -1);
        r = end;
    }
    if (c->decoder.tied) p->index[P_HEAD] = p->index[P_EMBED];
    assert((size_t)p->n == n);
    return 0;
}

void params_plan_free(Params *p) {
    free(p->list);
    free(p->units);
    memset(p, 0, sizeof *p);
}

const Param *params_find(const Params *p, ParamKind kind, int layer) {
    const struct ParamIndex *index = &p->index[kind];
    int i = index->first + (index->stride ? layer * index->stride : 0);
    assert(index->first >= 0 && i < p->n && p->list[i].layer == layer);
    return &p->list[i];
}

int64_t params_offset(const Params *p, ParamKind kind, int layer) { return params_find(p, kind, layer)->offset; }

int params_part_is_trained(const Params *p, ParamPart part) {
    for (int i = 0; i < p->n; i++)
        if (p->list[i].part == part && p->list[i].trained) return 1;
    return 0;
}

/* ---- training state ---- */

int64_t params_trained_count(const Params *p, unsigned frozen) {
    int64_t n = 0;
    for (int i = 0; i < p->n; i++)
        if (params_may_train(&p->list[i], frozen)) n = p->list[i].offset + p->list[i].count;
    return n;
}

int params_mark_trained(Params *p, unsigned frozen, Error *e) {
    int64_t n = params_trained_count(p, frozen);
    if (!n) return error_what(e, "nothing to train"), error_found(e, "every part is frozen"), error_hint(e, "leave one part out of freeze");
    for (int i = 0; i < p->n; i++) p->list[i].trained = params_may_train(&p->list[i], frozen);
    p->trained_count = n;
    return 0;
}

int params_train_begin(Params *p, const Kernels *k, unsigned frozen, Error *e) {
    assert(!p->grads.at);
    if (params_mark_trained(p, frozen, e)) return -1;
    int64_t n = p->trained_count;
    if (k->alloc(&p->grads, FP32, n, "gradients", e) || k->alloc(&p->m, FP32, n, "first moments", e) ||
        k->alloc(&p->v, FP32, n, "second moments", e) || (p->weights.dtype == BF16 && k->alloc(&p->master, FP32, n, "master weights", e))) {
        params_train_end(p, k);
        return -1;
    }
    if (p->master.at) k->copy(p->master, p->weights, n);
    params_units_at(p, p->weights, p->grads);
    return 0;
}

static void drop(Buf *b, const Kernels *k) {
    if (b->at) k->free(*b);
    *b = BUF_NONE;
}

void params_train_end(Params *p, const Kernels *k) {
    drop(&p->grads, k), drop(&p->m, k), drop(&p->v, k), drop(&p->master, k);
    p->trained_count = 0;
    params_units_at(p, p->weights, BUF_NONE);
    for (int i = 0; i < p->n; i++) p->list[i].trained = 0;
}

void params_free(Params *p, const Kernels *k) {
    params_train_end(p, k);
    if (p->weights.at) k->weights_changed(p->weights, p->count);
    drop(&p->weights, k);
    params_plan_free(p);
}

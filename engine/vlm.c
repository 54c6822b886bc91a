/* vlm.c - owns an open model with its tokenizer, and how prompts become segments. Image features live in features.c.
 *
 * Refuses a tokenizer whose ids go beyond the embedding table, and prompts longer than the model has positions. Every forward pass of
 * inference goes through vlm_forward, which keeps the account of tokens and FLOPs. */
#include "engine/vlm.h"

#include "engine/features.h"
#include "engine/prefetch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void vlm_close(Vlm *v) {
    prefetch_free(v->ahead); /* its threads look at the model's config */
    if (v->features) features_free(v->features, v->model.k);
    if (v->model.k) model_free(&v->model);
    template_free(v->chat);
    tokenizer_free(v->tokenizer);
    idlist_free(&v->head);
    idlist_free(&v->ends);
    free(v->emit);
    memset(v, 0, sizeof *v);
}

static int fail_open(Vlm *v) {
    vlm_close(v);
    return -1;
}

static int open_model(Vlm *v, const Kernels *k, Comm *slices, const char *folder, DType dtype, Error *e) {
    memset(v, 0, sizeof *v);
    if (model_load_slice(&v->model, k, slices, folder, dtype, e)) {
        memset(v, 0, sizeof *v);
        return -1;
    }
    v->ahead_images = VLM_AHEAD;
    v->features = features_new(e);
    v->emit = mem_new((size_t)v->model.config.decoder.vocab, 1, "table of ids to emit", e);
    return v->features && v->emit ? 0 : fail_open(v);
}

static int aspect_take(Vlm *v, int aspect, Error *e) {
    const ModelConfig *c = &v->model.config;
    v->aspect = c->grids_n ? IMAGE_ANYRES : c->squash ? IMAGE_SQUASH : aspect;
    if (v->aspect != IMAGE_ANYRES || c->grids_n) return 0;
    return error_what(e, "the model was not trained on tiled images"), error_where(e, "%s", v->model.folder), error_found(e, "image aspect anyres"),
           error_expected(e, "pad, crop or squash"), error_hint(e, "checkpoints of LLaVA-NeXT are");
}

static int refuse_id(const Vlm *v, int id, const char *what, const char *hint, Error *e) {
    error_what(e, "%s has ids that the model has no embedding for", what), error_where(e, "%s", v->model.folder);
    error_found(e, "id %d", id), error_expected(e, "ids below vocab_size %d", v->model.config.decoder.vocab);
    return error_hint(e, "%s", hint);
}

static int ids_check(const Vlm *v, const IdList *ids, Error *e) {
    for (size_t i = 0; i < ids->count; i++)
        if (ids->ids[i] >= v->model.config.decoder.vocab)
            return refuse_id(v, ids->ids[i], "the chat template", "choose the template that this checkpoint was trained with", e);
    return 0;
}

/* What ends an answer. */
static int open_ends(Vlm *v, Error *e) {
    const DecoderConfig *d = &v->model.config.decoder;
    const IdList *stops = template_stops(v->chat);
    int eos = tokenizer_eos(v->tokenizer), bad = idlist_append(&v->ends, stops->ids, stops->count, e);
    if (eos >= 0 && !vlm_ends(v, eos)) bad = bad || idlist_append(&v->ends, &eos, 1, e);
    for (int i = 0; i < d->eos_n && !bad; i++)
        if (d->eos[i] < d->vocab && !vlm_ends(v, d->eos[i])) bad = idlist_append(&v->ends, &d->eos[i], 1, e);
    for (size_t i = 0; i < v->ends.count && !bad; i++) v->emit[v->ends.ids[i]] = 1;
    return bad;
}

/* Makes the head, and refuses ids of the template beyond the embedding table. */
static int open_chat(Vlm *v, Error *e) {
    IdList tail = { 0 }, answer = { 0 };
    int has_image = v->model.config.vision.layers > 0;
    int bad = template_prompt(v->chat, "", has_image, &v->head, &tail, e) || template_answer(v->chat, "", 1, &answer, e) ||
              ids_check(v, &v->head, e) || ids_check(v, &tail, e) || ids_check(v, &answer, e) || ids_check(v, template_stops(v->chat), e);
    idlist_free(&tail);
    idlist_free(&answer);
    if (!bad && has_image && !v->head.count)
        bad = error_what(e, "the chat template has nothing before the image"), error_where(e, "%s", v->model.folder), error_found(e, "%s", template_name(v->chat)),
        error_expected(e, "a token or text that all prompts begin with"), error_hint(e, "{bos}, or a system text");
    return bad || open_ends(v, e) ? -1 : 0;
}

int vlm_open_slice(Vlm *v, const Kernels *k, Comm *slices, const char *folder, DType dtype, const char *chat, int aspect, Error *e) {
    if (open_model(v, k, slices, folder, dtype, e)) return -1;
    if (aspect_take(v, aspect, e)) return fail_open(v);
    v->tokenizer = tokenizer_load(folder, e);
    if (!v->tokenizer) return fail_open(v);
    const Tokenizer *t = v->tokenizer;
    int vocab = v->model.config.decoder.vocab;
    for (int id = 0; id < tokenizer_vocab(t); id++) {
        int known = tokenizer_may_emit(t, id) || id == tokenizer_bos(t) || id == tokenizer_unk(t);
        if (id < vocab) v->emit[id] = (unsigned char)known;
        else if (known) {
            refuse_id(v, id, "the tokenizer", "take the tokenizer from the same checkpoint as the weights", e);
            return fail_open(v);
        }
    }
    v->chat = template_open(chat, t, folder, e);
    return v->chat && !open_chat(v, e) ? 0 : fail_open(v);
}

int vlm_open(Vlm *v, const Kernels *k, const char *folder, DType dtype, const char *chat, int aspect, Error *e) {
    return vlm_open_slice(v, k, NULL, folder, dtype, chat, aspect, e);
}

int vlm_refit(Vlm *v, int aspect, Error *e) {
    int before = v->aspect;
    prefetch_free(v->ahead); /* its threads look at the aspect */
    v->ahead = NULL;
    if (aspect_take(v, aspect, e)) return v->aspect = before, -1;
    if (v->aspect != before) vlm_forget_features(v);
    return 0;
}

int vlm_open_ids(Vlm *v, const Kernels *k, const char *folder, DType dtype, Error *e) {
    if (open_model(v, k, NULL, folder, dtype, e)) return -1;
    const DecoderConfig *d = &v->model.config.decoder;
    aspect_take(v, IMAGE_PAD, e);
    memset(v->emit, 1, (size_t)d->vocab);
    int silent[EOS_MOST + 2] = { d->pad, v->model.config.image_token }, bos = d->bos < 0 ? 0 : d->bos;
    memcpy(silent + 2, d->eos, (size_t)d->eos_n * sizeof *d->eos);
    for (int i = 0; i < d->eos_n + 2; i++)
        if (silent[i] >= 0 && silent[i] < d->vocab) v->emit[silent[i]] = 0;
    return idlist_append(&v->head, &bos, 1, e) ? fail_open(v) : 0;
}

int vlm_ends(const Vlm *v, int id) {
    for (size_t i = 0; i < v->ends.count; i++)
        if (v->ends.ids[i] == id) return 1;
    return 0;
}

char *vlm_chat_text(const Vlm *v, char *out, size_t size) {
    snprintf(out, size, "chat template %s (%s)", template_name(v->chat), template_why(v->chat));
    return out;
}

void vlm_forget_features(Vlm *v) { features_forget(v->features); }
void vlm_feature_budget(Vlm *v, size_t bytes) { features_budget(v->features, bytes); }

/* ---- prompts ---- */

int prompt_has_image(const Prompt *p) { return p->image.path || p->image.pixels; }

static int image_rows(const Vlm *v, const Prompt *p) { return p->image_rows ? p->image_rows : config_rows_of_tile(&v->model.config); }

int prompt_tokens(const Vlm *v, const Prompt *p) {
    return (int)p->tail.count + (prompt_has_image(p) ? (int)v->head.count + image_rows(v, p) : 0);
}

void prompt_free(Prompt *p) {
    idlist_free(&p->tail);
    memset(p, 0, sizeof *p);
}

void prompts_free(Prompt *p, size_t n) {
    if (!p) return;
    for (size_t i = 0; i < n; i++) prompt_free(&p[i]);
    free(p);
}

int vlm_needs_tower(const Vlm *v, const char *what, Error *e) {
    if (v->model.config.vision.layers > 0) return 0;
    return error_what(e, "the model has no vision tower"), error_where(e, "%s", v->model.folder),
           error_found(e, "a prompt with image %s", what), error_hint(e, "leave the image out, or use a vision-language checkpoint");
}

int vlm_dialogue(const Vlm *v, const ChatTurn *turns, size_t n, const ImageRef *image, Prompt *out, Error *e) {
    int has_image = image != NULL;
    assert(v->tokenizer);
    memset(out, 0, sizeof *out);
    IdList head = { 0 };
    if (image) {
        out->image = *image;
        out->image_rows = config_rows_of_tile(&v->model.config);
        if (image->path && v->model.config.grids_n) {
            ImageLayout layout;
            if (vlm_image_layout(v, image->path, &layout, e)) return -1;
            out->image_rows = layout.rows;
        }
    }
    int bad = template_dialogue(v->chat, turns, n, has_image, &head, &out->tail, e);
    if (!bad && has_image && (head.count != v->head.count || memcmp(head.ids, v->head.ids, head.count * sizeof *head.ids))) {
        error_what(e, "a system text of its own in a conversation with an image"), error_found(e, "\"%.60s\"", turns[0].text);
        bad = error_hint(e, "put it into the chat template, or leave the system turn out");
    }
    int64_t tokens = (int64_t)out->tail.count + (has_image ? (int64_t)head.count + out->image_rows : 0);
    idlist_free(&head); /* the same for all prompts: v->head */
    if (!bad && tokens >= v->model.config.decoder.positions) {
        error_what(e, "prompt too long"), error_where(e, "question \"%.60s\"", turns[n - 1].text), error_found(e, "%lld tokens", (long long)tokens);
        error_expected(e, "fewer than the model's %d positions", v->model.config.decoder.positions);
        bad = config_explain_positions(&v->model.config.decoder, e);
    }
    if (bad) prompt_free(out);
    return bad ? -1 : 0;
}

int vlm_prompt(const Vlm *v, const char *image_path, const char *question, Prompt *out, Error *e) {
    const ImageRef image = { .path = image_path };
    int has_image = image_path && *image_path;
    memset(out, 0, sizeof *out);
    if (has_image && vlm_needs_tower(v, image_path, e)) return -1;
    return vlm_dialogue(v, &(ChatTurn){ CHAT_USER, question }, 1, has_image ? &image : NULL, out, e);
}

int refuse(const Refusals *refusals, size_t item, const Error *why, Error *e) {
    if (refusals) return refusals->refused(refusals->context, item, why, e);
    if (e) *e = *why;
    return -1;
}

/* ---- segments ---- */

static int segment_of(Forest *f, int parent, const int *ids, size_t n, Error *e) {
    int s = forest_segment(f, parent, (int)n, e);
    return s < 0 || forest_extend(f, s, ids, (int)n, e) ? -1 : s;
}

int vlm_root(Vlm *v, Forest *f, Error *e) { return segment_of(f, -1, v->head.ids, v->head.count, e); }

int vlm_tail(Forest *f, int parent, const IdList *tail, Error *e) { return segment_of(f, parent, tail->ids, tail->count, e); }

int vlm_image_trunk(Vlm *v, Forest *f, int root, const StepImages *images, int image, Error *e) {
    const StepImage *x = &images->list[image];
    const ModelConfig *c = &v->model.config;
    int s = -1, end = config_image_rows(c, x->tile + x->layout.tiles);
    int *rows = mem_new((size_t)x->layout.rows, sizeof *rows, "rows of an image", e);
    if (!rows) return -1;
    image_layout_rows(c, &x->layout, x->tile, rows);
    s = forest_segment(f, root, x->layout.rows, e);
    if (s >= 0 && forest_extend_rows(f, s, rows, x->layout.rows, end, e)) s = -1;
    free(rows);
    return s;
}

/* ---- steps ---- */

/* FLOPs of one forward of the planned step: products of every row, attention over the keys each row sees, the head on scored rows. The last
 * block needs only keys and values of rows that nothing is predicted from. */
static double step_flops(const ModelConfig *c, const Forest *f) {
    const DecoderConfig *d = &c->decoder;
    double q = (double)d->heads * d->head_size, kv = (double)d->kv_heads * d->head_size, D = d->width;
    double kept = f->scored_n < f->rows_n ? f->scored_n : f->rows_n, rows = (d->layers - 1.0) * f->rows_n + kept, keys = 0;
    for (int i = 0; i < f->plan_segments_n; i++) {
        const AttentionSegment *a = &f->plan_segments[i];
        double before = a->self_before;
        for (int r = 0; r < a->range_count; r++) before += f->plan_ranges[a->range_first + r].count;
        keys += a->q_count * before + 0.5 * a->q_count * (a->q_count + 1.0);
    }
    double layers = d->layers - 1.0 + kept / f->rows_n; /* the share of the last block's attention that is computed */
    return 2 * rows * (2 * D * q + 3.0 * D * d->ff) + 4.0 * d->layers * f->rows_n * D * kv + 4.0 * layers * q * keys +
           2.0 * D * config_head_rows(c) * f->scored_n + (f->image_rows_n > 0 ? config_feature_rows(c, f->image_rows_n) / c->tile_rows * model_projector_flops(c) : 0);
}

StepSize vlm_step_size(const ModelConfig *c, StepMode mode, unsigned uses, int64_t rows, int64_t scored, int64_t images, int tower_trained) {
    if (mode != STEP_TRAIN) uses &= ~(unsigned)USES_KEEP_INPUTS;
    StepSize s = { .uses = uses | USES_DECODER, .rows = rows, .tail = rows, .scored = scored };
    if (mode == STEP_TRAIN) s.uses |= USES_TRAIN | (uses & USES_KEEP_INPUTS ? 0 : USES_KEEP);
    if (images == 0 || c->vision.layers == 0) return s;
    int64_t held = rows / c->image_tokens;
    images = images < held ? images : held;
    images = images < 1 ? 1 : images > VLM_IMAGES ? VLM_IMAGES : images;
    s.feature_rows = images * c->tiles * c->tile_rows;
    s.image_rows = config_image_rows(c, (int)images * c->tiles);
    s.images = (tower_trained ? images : 1) * c->tiles;
    s.uses |= USES_PROJECTOR | USES_TOWER;
    if (mode == STEP_TRAIN) s.uses |= USES_PROJECTOR_BACKWARD;
    if (mode == STEP_TRAIN && tower_trained) s.uses |= USES_TOWER_KEEP | USES_TOWER_BACKWARD | USES_DFEATURES;
    return s;
}

int vlm_reserve(Vlm *v, const StepSize *s, Error *e) {
    return features_reserve(v->features, v->model.k, v->model.dtype, s->feature_rows * v->model.config.vision.width, e) || model_reserve(&v->model, s, e) ? -1 : 0;
}

void vlm_release(Vlm *v) {
    features_release(v->features, v->model.k);
    model_release(&v->model);
}

int vlm_forward(Vlm *v, Forest *f, StepImages *images, StepMode mode, Error *e) {
    Buf features = BUF_NONE;
    if (images && images->n > 0 && vlm_features(v, images, &features, e)) return -1;
    if (model_forward(&v->model, f, features, mode, e)) return -1;
    v->work.tokens += f->rows_n;
    v->work.scored += f->scored_n;
    v->work.steps++;
    v->work.flops += step_flops(&v->model.config, f);
    return 0;
}

/* ---- trunks ---- */

void trunks_clear(Trunks *t) {
    forest_clear(&t->forest);
    step_images_clear(&t->images);
    t->root = -1;
    t->n = 0;
    t->last = (ImageRef){ 0 };
}

void trunks_free(Trunks *t) {
    forest_free(&t->forest);
    step_images_free(&t->images);
    free(t->list);
    memset(t, 0, sizeof *t);
}

static int same_ids(const IdList *a, const IdList *b) {
    return a == b || (a && b && a->count == b->count && !memcmp(a->ids, b->ids, a->count * sizeof *a->ids));
}

static int trunk_lookup(const Trunks *t, int image, int hidden, const IdList *tail) {
    for (size_t i = t->n; i-- > 0;) /* the latest first: neighbours in a file share images */
        if (t->list[i].image == image && t->list[i].hidden == hidden && same_ids(t->list[i].tail, tail)) return t->list[i].segment;
    return -1;
}

static int trunk_keep(Trunks *t, int image, int hidden, const IdList *tail, int segment, Error *e) {
    if (segment < 0 || mem_grow(&t->list, &t->cap, t->n + 1, sizeof *t->list, "trunks", e)) return -1;
    t->list[t->n++] = (struct Trunk){ .image = image, .hidden = hidden, .segment = segment, .tail = tail };
    return segment;
}

static int trunks_root(Vlm *v, Trunks *t, Error *e) { return t->root >= 0 ? t->root : (t->root = vlm_root(v, &t->forest, e)); }

int trunks_find_blind(Vlm *v, Trunks *t, const Prompt *p, Error *e) {
    if (!prompt_has_image(p)) return trunks_find(v, t, p, e);
    int rows = image_rows(v, p), segment = trunk_lookup(t, -1, rows, &p->tail);
    if (segment >= 0) return segment;
    if (trunks_root(v, t, e) < 0 || (segment = forest_segment(&t->forest, t->root, (int)p->tail.count, e)) < 0) return -1;
    forest_skip(&t->forest, segment, rows);
    if (forest_extend(&t->forest, segment, p->tail.ids, (int)p->tail.count, e)) return -1;
    return trunk_keep(t, -1, rows, &p->tail, segment, e);
}

int trunks_find(Vlm *v, Trunks *t, const Prompt *p, Error *e) {
    int image = -1, parent = -1;
    if (prompt_has_image(p)) {
        if (p->image.path != t->last.path || p->image.pixels != t->last.pixels) {
            t->last_image = vlm_image(v, &t->images, &p->image, e);
            t->last = t->last_image < 0 ? (ImageRef){ 0 } : p->image;
            if (t->last_image < 0) return TRUNK_REFUSED;
        }
        image = t->last_image;
    }
    int segment = trunk_lookup(t, image, 0, &p->tail);
    if (segment >= 0) return segment;
    if (image >= 0) {
        if (trunks_root(v, t, e) < 0) return -1;
        parent = trunk_lookup(t, image, 0, NULL);
        if (parent < 0) parent = trunk_keep(t, image, 0, NULL, vlm_image_trunk(v, &t->forest, t->root, &t->images, image, e), e);
        if (parent < 0) return -1;
    }
    return trunk_keep(t, image, 0, &p->tail, vlm_tail(&t->forest, parent, &p->tail, e), e);
}

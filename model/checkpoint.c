/* checkpoint.c - owns the matching of a checkpoint's tensors with the parameter table, and the words for what does not match.
 *
 * Every tensor of the table must be there once, with its shape, as F64, F32, F16 or BF16; every tensor of the files must be in the table or
 * be known to be harmless. Two exceptions: tensors no computation uses (the tower's last blocks) may be absent, and a tied model may carry
 * its head a second time if it equals the embedding table. The tower of an original checkpoint may stand in its own folder, whose other
 * tensors (CLIP's text half) are nobody's concern, and its projector in a file of its own. */
#include "model/checkpoint.h"

#include "model/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int match(Checkpoint *c) {
    const Params *p = c->params;
    int tower = 0;
    for (int i = 0; i < p->n; i++) {
        char name[PARAM_NAME];
        params_name(&p->list[i], c->layout, name);
        const Tensor *t = tensors_find(&c->main, name);
        if (!t) continue;
        c->tensors[i] = t;
        c->taken[t - c->main.list] = 1;
        tower += p->list[i].part == PART_VISION;
    }
    for (size_t i = 0; i < c->main.n; i++)
        if (!c->taken[i] && names_harmless(c->main.list[i].name)) c->taken[i] = 2;
    return tower;
}

/* A CLIP checkpoint calls its tower vision_model.*; saved by newer code, the tower alone has no prefix. */
static int match_tower(Checkpoint *c, Error *e) {
    const Params *p = c->params;
    if (tensors_open(&c->tower, p->config->vision_folder, e)) {
        if (e && !e->hint[0]) error_hint(e, "the checkpoint holds no vision tower, and the folder mm_vision_tower names has none that can be read");
        return -1;
    }
    for (int i = 0; i < p->n; i++) {
        if (p->list[i].part != PART_VISION) continue;
        char name[PARAM_NAME] = "vision_model.", suffix[PARAM_NAME];
        params_name(&p->list[i], LAYOUT_V5, suffix);
        const char *own = suffix + strlen("vision_tower.");
        snprintf(name + strlen(name), sizeof name - strlen(name), "%s", own);
        c->tensors[i] = tensors_find(&c->tower, name);
        if (!c->tensors[i]) c->tensors[i] = tensors_find(&c->tower, own);
    }
    return 0;
}

/* LLaVA's code writes the projector that it trained first into a file of its own, which stays beside the weights of the decoder. It counts where
 * those hold no projector. */
static int add_projector(Checkpoint *c, const char *folder, Error *e) {
    char path[PATH_SIZE];
    if (c->layout != LAYOUT_ORIGINAL) return 0;
    for (size_t i = 0; i < c->main.n; i++)
        if (strstr(c->main.list[i].name, "mm_projector.")) return 0;
    if (path_join(path, folder, "mm_projector.bin", e)) return -1;
    return file_exists(path) ? tensors_add(&c->main, path, e) : 0;
}

int checkpoint_open(Checkpoint *c, const Params *p, const char *folder, Error *e) {
    *c = (Checkpoint){ .params = p };
    if (tensors_open(&c->main, folder, e)) return -1;
    if (names_recognise(p, &c->main, &c->layout, e) || add_projector(c, folder, e)) goto failed;
    c->tensors = mem_new((size_t)p->n, sizeof *c->tensors, "checkpoint", e);
    c->taken = c->tensors ? mem_new(c->main.n, 1, "checkpoint", e) : NULL;
    if (!c->taken) goto failed;
    if (!match(c) && c->layout == LAYOUT_ORIGINAL && p->config->vision_folder[0] && match_tower(c, e)) goto failed;
    return 0;
failed:
    checkpoint_close(c);
    return -1;
}

void checkpoint_close(Checkpoint *c) {
    tensors_close(&c->main);
    tensors_close(&c->tower);
    free(c->tensors);
    free(c->taken);
    *c = (Checkpoint){ 0 };
}

/* ---- problems ---- */

static char *shape_text(int ndim, const int64_t *shape, char *out, size_t size) {
    int n = snprintf(out, size, "(");
    for (int i = 0; i < ndim && n > 0 && (size_t)n < size; i++)
        n += snprintf(out + n, size - (size_t)n, i ? ", %lld" : "%lld", (long long)shape[i]);
    if (n > 0 && (size_t)n < size) snprintf(out + n, size - (size_t)n, ")");
    return out;
}

/* The end of a name: what tells two tensors apart, within what nearest_name compares. */
static const char *tail(const char *name) {
    size_t n = strlen(name);
    return n > 60 ? name + n - 60 : name;
}

/* The stray tensor whose name is nearest to a missing one. */
static const char *nearest_stray(const Checkpoint *c, const char *name) {
    const char **tails = malloc((c->main.n + 1) * sizeof *tails), *near = NULL;
    size_t n = 0;
    if (!tails) return NULL;
    for (size_t i = 0; i < c->main.n; i++)
        if (!c->taken[i]) tails[n++] = tail(c->main.list[i].name);
    const char *best = nearest_name(tail(name), tails, n);
    for (size_t i = 0; best && i < c->main.n; i++)
        if (!c->taken[i] && tail(c->main.list[i].name) == best) near = c->main.list[i].name;
    free(tails);
    return near;
}

static int missing(const Checkpoint *c, const Param *q, const char *name, Error *e) {
    char shape[128];
    int64_t whole[4];
    const ModelConfig *config = c->params->config;
    const char *near = nearest_stray(c, name), *file = c->main.n ? c->main.list[0].file : "checkpoint";
    error_what(e, "missing tensor"), error_where(e, "%s (layout %s)", file, layout_names[c->layout]), error_found(e, "no \"%s\"", name);
    params_whole_shape(c->params, q, whole);
    error_expected(e, "shape %s", shape_text(q->ndim, whole, shape, sizeof shape));
    if (near) error_hint(e, "the nearest name is \"%s\"", near);
    else if (q->part == PART_VISION && c->layout == LAYOUT_ORIGINAL && !config->vision_folder[0])
        error_hint(
            e, "put the tower's folder (config.json and its weights) beside the checkpoint, under the name mm_vision_tower gives");
    else if (q->layer >= 0)
        error_hint(e, "config.json says %d layers", q->part == PART_VISION ? config->vision.layers : config->decoder.layers);
    return -1;
}

static int param_problem(const Checkpoint *c, int i, Error *e) {
    const Param *q = &c->params->list[i];
    const Tensor *t = c->tensors[i];
    char name[PARAM_NAME], found[128], expected[128];
    params_name(q, c->layout, name);
    if (!t) return q->used ? missing(c, q, name, e) : 0;
    int64_t whole[4];
    params_whole_shape(c->params, q, whole);
    if (t->ndim != q->ndim || memcmp(t->shape, whole, (size_t)q->ndim * sizeof *whole))
        return error_what(e, "wrong shape"), error_where(e, "%s: tensor \"%s\"", t->file, t->name),
               error_found(e, "%s", shape_text(t->ndim, t->shape, found, sizeof found)),
               error_expected(e, "%s", shape_text(q->ndim, whole, expected, sizeof expected)),
               error_hint(e, "config.json and weights disagree");
    if (t->type != TENSOR_F64 && t->type != TENSOR_F32 && t->type != TENSOR_F16 && t->type != TENSOR_BF16)
        return error_what(e, "unsupported dtype"), error_where(e, "%s: tensor \"%s\"", t->file, t->name),
               error_found(e, "%s", tensor_type_name(t->type)), error_expected(e, "F32, F16, BF16 or F64"),
               error_hint(e, "quantised checkpoints are not read");
    return 0;
}

/* A tied model's second copy of its embedding table. */
static int stray_problem(const Checkpoint *c, const Tensor *t, Error *e) {
    char name[PARAM_NAME];
    params_name(&(Param){ .kind = P_HEAD, .part = PART_DECODER, .layer = -1 }, c->layout, name);
    if (c->params->config->decoder.tied && !strcmp(t->name, name)) {
        const Tensor *embed = c->tensors[c->params->index[P_EMBED].first];
        if (embed && embed->type == t->type && embed->count == t->count &&
            !memcmp(embed->data, t->data, (size_t)t->count * tensor_type_size(t->type)))
            return 0;
        return error_what(e, "head differs from embedding table"), error_where(e, "%s: tensor \"%s\"", t->file, t->name),
               error_found(e, "other values"), error_expected(e, "the same, as config.json says tie_word_embeddings"),
               error_hint(e, "set tie_word_embeddings to false in config.json if the head was trained apart");
    }
    return error_what(e, "stray tensor"), error_where(e, "%s: tensor \"%s\"", t->file, t->name),
           error_expected(e, "only tensors of a %s model in layout %s", c->params->config->model_type, layout_names[c->layout]),
           error_hint(e, "it would be lost on export; remove it, or correct config.json if it belongs to the model");
}

int checkpoint_problem(const Checkpoint *c, int from, Error *problem) {
    int n = c->params->n;
    for (int i = from; i < n; i++)
        if (param_problem(c, i, problem)) return i;
    for (size_t i = from > n ? (size_t)(from - n) : 0; i < c->main.n; i++)
        if (!c->taken[i] && stray_problem(c, &c->main.list[i], problem)) return n + (int)i;
    return -1;
}

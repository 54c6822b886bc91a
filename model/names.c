/* names.c - owns the naming layouts: what stands before a table entry's own name, and how a layout is recognised.
 *
 * The layouts differ only in prefixes and in how the projector's two products are called; the suffixes stand in the parameter table
 * (params.c). Layout by layout: the hub's llava-hf files; the original LLaVA code, which numbers the projector as an nn.Sequential; what
 * Transformers 5 saves for a model made from scratch; its names in memory, found in state dicts; a Llama alone; OmniLMM, whose tower has timm's names. */
#include "model/names.h"

#include <stdio.h>
#include <string.h>

const char *const layout_names[LAYOUTS] = { "hub", "original", "v5", "memory", "text", "omnilmm" };

static const struct {
    const char *vision, *projector, *first, *second, *decoder, *head, *newline;
} prefixes[LAYOUTS] = {
    [LAYOUT_HUB] = { "vision_tower.vision_model.", "multi_modal_projector.", "linear_1", "linear_2", "language_model.model.",
        "language_model.", "" },
    [LAYOUT_ORIGINAL] = { "model.vision_tower.vision_tower.vision_model.", "model.mm_projector.", "0", "2", "model.", "", "model." },
    [LAYOUT_V5] = { "vision_tower.", "multi_modal_projector.", "linear_1", "linear_2", "language_model.model.", "language_model.", "" },
    [LAYOUT_MEMORY] = { "model.vision_tower.", "model.multi_modal_projector.", "linear_1", "linear_2", "model.language_model.", "", "model." },
    [LAYOUT_TEXT] = { "vision_tower.", "multi_modal_projector.", "linear_1", "linear_2", "model.", "", "" },
    [LAYOUT_OMNILMM] = { "model.vision_tower.", "model.resampler.", "", "", "model.", "", "" },
};

void params_name(const Param *q, Layout layout, char out[PARAM_NAME]) {
    const char *suffix = params_suffix(q->kind), *block = strstr(suffix, "{i}");
    const char *lead = q->part == PART_VISION      ? prefixes[layout].vision
                       : q->part == PART_PROJECTOR ? prefixes[layout].projector
                       : q->kind == P_HEAD         ? prefixes[layout].head
                                                   : prefixes[layout].decoder;
    if (q->kind == P_NEWLINE) snprintf(out, PARAM_NAME, "%s%s", prefixes[layout].newline, suffix);
    else if (q->part == PART_PROJECTOR && q->kind <= P_PROJECTOR_2_B) {
        int second = q->kind == P_PROJECTOR_2_W || q->kind == P_PROJECTOR_2_B;
        snprintf(out, PARAM_NAME, "%s%s%s", lead, second ? prefixes[layout].second : prefixes[layout].first, suffix);
    } else if (block) snprintf(out, PARAM_NAME, "%s%.*s%d%s", lead, (int)(block - suffix), suffix, q->layer, block + 3);
    else snprintf(out, PARAM_NAME, "%s%s", lead, suffix);
}

int names_recognise(const Params *p, const TensorSet *s, Layout *out, Error *e) {
    int best = 0;
    for (int layout = 0; layout < LAYOUTS; layout++) {
        if ((layout == LAYOUT_TEXT) != (p->config->vision.layers == 0) || (layout == LAYOUT_OMNILMM) != (p->config->queries > 0)) continue;
        int found = 0;
        for (int i = 0; i < p->n; i++) {
            char name[PARAM_NAME];
            params_name(&p->list[i], (Layout)layout, name);
            found += tensors_find(s, name) != NULL;
        }
        if (found > best) best = found, *out = (Layout)layout;
    }
    if (best) return 0;
    return error_what(e, "unknown tensor names"), error_where(e, "%s", s->n ? s->list[0].file : "checkpoint"),
           error_found(e, s->n ? "\"%s\"" : "no tensors", s->n ? s->list[0].name : ""),
           error_expected(e, p->config->queries         ? "names of an OmniLMM checkpoint: model.vision_tower.*, model.resampler.*, model.layers.*"
                             : p->config->vision.layers ? "names of a LLaVA checkpoint: layout hub, original, v5 or memory"
                                                        : "names of a Llama checkpoint: model.*, lm_head"),
           error_hint(e, "config.json says %s", p->config->model_type);
}

static int ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

int names_harmless(const char *name) {
    return ends_with(name, "rotary_emb.inv_freq") || ends_with(name, "embeddings.position_ids") || !strcmp(name, "model.image_newline") ||
           !strcmp(name, "image_newline"); /* some checkpoints of one tile have it too */
}

Layout names_preferred(const ModelConfig *c) {
    return !c->vision.layers ? LAYOUT_TEXT : c->queries ? LAYOUT_OMNILMM : config_is_original(c) ? LAYOUT_ORIGINAL : LAYOUT_HUB;
}

/* label.c - owns the packing of probes into steps and the reading of their probabilities. */
#include "engine/label.h"

#include <stdlib.h>
#include <string.h>

const char *const probe_words[PROBE_WORDS] = { "yes", "Yes", "no", "No" };

/* Logits of a step at most: rows x vocabulary fp32, 64 MiB. */
enum { LABEL_LOGITS = 16 << 20 };

int probe_word_ids(const Vlm *v, int ids[PROBE_WORDS], Error *e) {
    for (int i = 0; i < PROBE_WORDS; i++) {
        IdList list = { 0 };
        if (template_answer(v->tokenizer, probe_words[i], 0, &list, e)) return -1;
        ids[i] = list.count > 0 ? list.ids[list.count - 1] : -1;
        idlist_free(&list);
        if (ids[i] < 0) return error_what(e, "the tokenizer gives no id for \"%s\"", probe_words[i]), error_where(e, "%s", v->model.folder);
    }
    for (int yes = WORD_LOWER_YES; yes <= WORD_YES; yes++)
        for (int no = WORD_LOWER_NO; no <= WORD_NO; no++)
            if (ids[yes] == ids[no])
                return error_what(e, "the tokenizer cannot tell yes from no"), error_where(e, "%s", v->model.folder),
                       error_found(e, "id %d ends both \"%s\" and \"%s\"", ids[yes], probe_words[yes], probe_words[no]),
                       error_hint(e, "use another labeler");
    return 0;
}

typedef struct Packer {
    Trunks trunks;
    int *row_of; /* by segment: the scored row that is its last, -1 when not asked */
    size_t row_of_cap;
    int *rows; /* by probe of the step: its scored row, -1 when refused */
    size_t rows_n, rows_cap;
    float *p; /* (scored, PROBE_WORDS) */
    size_t p_cap;
} Packer;

/* 0 done, TRUNK_REFUSED, -1. */
static int probe_append(Vlm *v, Packer *k, const Prompt *probe, Error *e) {
    Forest *f = &k->trunks.forest;
    int known = f->segments_n, segment = trunks_find(v, &k->trunks, probe, e);
    if (segment < 0) return segment;
    if (mem_grow(&k->row_of, &k->row_of_cap, (size_t)f->segments_n, sizeof *k->row_of, "probe rows", e)) return -1;
    for (int s = known; s < f->segments_n; s++) k->row_of[s] = -1;
    if (k->row_of[segment] < 0) {
        k->row_of[segment] = f->scored_n;
        if (forest_want(f, segment, e)) return -1;
    }
    k->rows[k->rows_n - 1] = k->row_of[segment];
    return 0;
}

/* Scored rows of a step at most. */
static int scored_limit(const ModelConfig *c) { return LABEL_LOGITS / c->decoder.vocab; }

StepSize label_step_size(const ModelConfig *c, int rows, int64_t longest, int64_t all, int64_t probes, int64_t images) {
    if (rows <= 0) rows = LABEL_ROWS;
    int64_t most = rows + longest < all ? rows + longest : all, scored = scored_limit(c); /* closed at `rows` rows, so the last probe may pass them */
    return vlm_step_size(c, STEP_SCORE, USES_LOGITS, most, scored < probes ? scored : probes, images, 0);
}

/* Buffers of the largest step. */
static int steps_reserve(Vlm *v, const Prompt *probes, size_t n, int rows, Error *e) {
    int64_t all = 0, longest = 0, images = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t tokens = prompt_tokens(v, &probes[i]);
        all += tokens;
        images += prompt_has_image(&probes[i]);
        if (tokens > longest) longest = tokens;
    }
    StepSize size = label_step_size(&v->model.config, rows, longest, all, (int64_t)n, images);
    return vlm_reserve(v, &size, e);
}

static int step_run(Vlm *v, Packer *k, const int ids[PROBE_WORDS], ProbeResult *out, Error *e) {
    Model *m = &v->model;
    int R = k->trunks.forest.scored_n;
    for (size_t i = 0; i < k->rows_n; i++) out[i] = (ProbeResult){ .refused = k->rows[i] < 0 };
    if (R == 0) return 0;
    if (mem_grow(&k->p, &k->p_cap, (size_t)R * PROBE_WORDS, sizeof *k->p, "probe results", e) ||
        vlm_forward(v, &k->trunks.forest, &k->trunks.images, STEP_SCORE, e) ||
        model_probe(m, &k->trunks.forest, ids, PROBE_WORDS, k->p, e))
        return -1;
    for (size_t i = 0; i < k->rows_n; i++) {
        if (k->rows[i] < 0) continue;
        ProbeResult *r = &out[i];
        memcpy(r->p, k->p + (size_t)k->rows[i] * PROBE_WORDS, sizeof r->p);
        r->p_yes = (double)r->p[WORD_LOWER_YES] + r->p[WORD_YES];
        r->p_no = (double)r->p[WORD_LOWER_NO] + r->p[WORD_NO];
        r->accepted = r->p_yes > r->p_no;
    }
    return 0;
}

int label_probes(Vlm *v, const int ids[PROBE_WORDS], const Prompt *probes, size_t n, int rows, ProbeResult *out, const Refusals *refusals,
    Progress *progress, Error *e) {
    Packer k = { 0 };
    trunks_clear(&k.trunks);
    if (rows <= 0) rows = LABEL_ROWS;
    for (size_t i = 0; i < n; i++) vlm_ahead(v, &probes[i].image);
    int scored_most = scored_limit(&v->model.config), bad = n > 0 && steps_reserve(v, probes, n, rows, e);
    for (size_t i = 0, first = 0; i < n && !bad; i++) {
        Error why = { 0 };
        bad = mem_grow(&k.rows, &k.rows_cap, k.rows_n + 1, sizeof *k.rows, "probe rows", e);
        if (bad) break;
        k.rows[k.rows_n++] = -1;
        int got = probe_append(v, &k, &probes[i], &why);
        if (got == TRUNK_REFUSED) bad = refuse(refusals, i, &why, e);
        else if (got < 0) {
            if (e) *e = why;
            bad = -1;
        }
        const Forest *f = &k.trunks.forest;
        if (bad || (i + 1 < n && f->rows_n < rows && f->scored_n < scored_most && k.trunks.images.n < VLM_IMAGES)) continue;
        bad = step_run(v, &k, ids, out + first, e);
        progress_add(progress, (int64_t)k.rows_n);
        trunks_clear(&k.trunks);
        k.rows_n = 0;
        first = i + 1;
    }
    vlm_ahead_clear(v);
    trunks_free(&k.trunks);
    free(k.row_of);
    free(k.rows);
    free(k.p);
    return bad ? -1 : 0;
}

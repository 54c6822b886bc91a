/* slices.c - see slices.h. */
#include "model/slices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int slices_of(const Model *m) { return config_slices(&m->config); }

int slices_sum(Model *m, const char *what, Buf x, int64_t count, Error *e) {
    if (slices_of(m) == 1) return 0;
    return comm_all_reduce(m->slices, what, x, count, e) || comm_wait(m->slices, e) ? -1 : 0;
}

int slices_sum_onto(Model *m, const char *what, Buf x, Buf residual, int64_t count, Error *e) {
    if (slices_of(m) == 1) return 0; /* the product has added it */
    if (slices_sum(m, what, x, count, e)) return -1;
    m->k->add(x, x, residual, count);
    return 0;
}

/* ---- the vocabulary ---- */

const int *slices_targets(Model *m, const Forest *f, Error *e) {
    Workspace *w = m->work;
    int first = config_head_first(&m->config);
    if (slices_of(m) == 1) return f->score_targets;
    if (mem_grow(&w->slice_targets, &w->slice_targets_cap, (size_t)f->scored_n, sizeof *w->slice_targets, "targets of a slice", e))
        return NULL;
    for (int r = 0; r < f->scored_n; r++) w->slice_targets[r] = f->score_targets[r] - first;
    return w->slice_targets;
}

/* The formulas: docs/losses.md. */
void slices_row(float out[SAYS], const float *const *says, int n, int64_t stride) {
#define SAID(i, which) ((double)says[i][(which)*stride])
    double largest = -INFINITY, sum = 0, entropy = 0, mean = 0, logp = -INFINITY, hit = 0;
    for (int i = 0; i < n; i++) largest = fmax(largest, SAID(i, SAYS_LSE));
    for (int i = 0; i < n; i++) sum += exp(SAID(i, SAYS_LSE) - largest);
    double lse = largest + log(sum);
    for (int i = 0; i < n; i++) {
        double share = SAID(i, SAYS_LSE) - lse, p = exp(share); /* of the probability */
        entropy += p > 0 ? p * (SAID(i, SAYS_ENTROPY) - share) : 0;
        mean += SAID(i, SAYS_MEAN) / n;
        if (SAID(i, SAYS_LOGP) > -INFINITY) logp = SAID(i, SAYS_LOGP) + share;
        if (SAID(i, SAYS_HIT) > 0) { /* the lowest id among equals: that of the lowest rank */
            hit = 1;
            for (int j = 0; j < n; j++)
                if (j < i ? SAID(j, SAYS_LARGEST) >= SAID(i, SAYS_LARGEST) : SAID(j, SAYS_LARGEST) > SAID(i, SAYS_LARGEST)) hit = 0;
        }
    }
#undef SAID
    out[SAYS_LARGEST] = 0;
    out[SAYS_LOGP] = (float)logp, out[SAYS_LSE] = (float)lse, out[SAYS_ENTROPY] = (float)entropy, out[SAYS_HIT] = (float)hit,
    out[SAYS_MEAN] = (float)mean;
}

int slices_scores(Model *m, int R, Error *e) {
    const Kernels *k = m->k;
    Workspace *w = m->work;
    int n = slices_of(m), self = m->config.decoder.slice;
    int64_t each = (int64_t)SAYS * R;
    if (n == 1) return 0;
    Buf own[SAYS] = { w->logp.buf, w->lse.buf, w->largest.buf, w->entropy.buf, w->hit.buf, w->mean_logit.buf };
    Buf all = w->slice_scores.buf, mine = buf_at(all, self * each);
    if (mem_grow(&w->slice_said, &w->slice_said_cap, (size_t)(n * each), sizeof *w->slice_said, "scores of slices", e)) return -1;
    float *host = w->slice_said;
    for (int i = 0; i < SAYS; i++) k->copy(buf_at(mine, (int64_t)i * R), own[i], R);
    if (comm_all_gather(m->slices, "gathering scores", all, mine, n * each, e) || comm_wait(m->slices, e)) return -1;
    k->download(host, all, n * each);
    if (k->sync(e)) return -1;
    for (int r = 0; r < R; r++) {
        const float *says[WORLD_RANKS_MOST];
        float out[SAYS];
        for (int i = 0; i < n; i++) says[i] = host + i * each + r;
        slices_row(out, says, n, R);
        for (int i = 0; i < SAYS; i++)
            host[(int64_t)i * R + r] = out[i]; /* in the place of rank 0's word on this row, which is read no more */
    }
    for (int i = 0; i < SAYS; i++)
        if (i != SAYS_LARGEST) k->upload(own[i], host + (int64_t)i * R, R);
    return 0;
}

Buf slices_logits_place(const Model *m, int R) {
    const Workspace *w = m->work;
    if (slices_of(m) == 1) return w->logits.buf;
    return buf_at(w->slice_logits.buf, (int64_t)m->config.decoder.slice * R * config_head_rows(&m->config));
}

int slices_logits(Model *m, int R, Error *e) {
    Workspace *w = m->work;
    int n = slices_of(m), V = config_head_rows(&m->config);
    int64_t each = (int64_t)R * V;
    if (n == 1) return 0;
    if (mem_grow(&w->slice_rows, &w->slice_rows_cap, (size_t)R, sizeof *w->slice_rows, "rows of logits", e)) return -1;
    for (int r = 0; r < R; r++) w->slice_rows[r] = r;
    if (comm_all_gather(m->slices, "gathering logits", w->slice_logits.buf, slices_logits_place(m, R), n * each, e) ||
        comm_wait(m->slices, e))
        return -1;
    for (int i = 0; i < n; i++)
        m->k->rows_store(
            buf_at(w->logits.buf, (int64_t)i * V), (int64_t)n * V, buf_at(w->slice_logits.buf, i * each), V, w->slice_rows, R, V);
    return 0;
}

/* ---- the hash ---- */

/* all: every rank's 64 bits, in the order of ranks. They travel as two numbers each, whose bits are kept. */
static int words_gather(Model *m, uint64_t mine, uint64_t *all, Error *e) {
    const Kernels *k = m->k;
    int n = slices_of(m);
    Buf words;
    if (k->alloc(&words, FP32, 2LL * n, "hashes of slices", e)) return -1;
    Buf own = buf_at(words, 2LL * m->config.decoder.slice);
    k->upload(own, &mine, 2);
    int bad = comm_all_gather(m->slices, "hashing weights", words, own, 2LL * n, e) || comm_wait(m->slices, e);
    if (!bad) {
        k->download(all, words, 2LL * n);
        bad = k->sync(e);
    }
    k->free(words);
    return bad ? -1 : 0;
}

int model_hash(Model *m, char out[HASH_TEXT], Error *e) {
    ParamSums sums = params_sums(&m->params, m->k);
    int n = slices_of(m);
    uint64_t all[WORLD_RANKS_MOST];
    if (n > 1 && words_gather(m, sums.cut, all, e)) return -1;
    if (n > 1) sums.cut = 0;
    for (int i = 0; i < n && n > 1; i++) sums.cut += all[i];
    params_sums_hash(&m->params, sums, out);
    return 0;
}

/* beam.c - owns the beams of one prompt and the answers that have ended. */
#include "engine/beam.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A token behind a beam. */
typedef struct Next {
    int beam, id;
    double logp; /* of the whole */
} Next;

int beams_check(int beams, int n, double temperature, double repetition_penalty, Error *e) {
    if (beams == 1 || (temperature == 0 && repetition_penalty == 1 && n <= beams)) return 0;
    error_what(e, "a search with beams cannot do this");
    error_found(e, "%d beams, temperature %g, repetition penalty %g, %d answers", beams, temperature, repetition_penalty, n);
    return error_expected(e, "temperature 0, no penalty, and no more answers than beams");
}

void beams_begin(BeamSearch *s, int width, int most) { *s = (BeamSearch){ .width = width, .most = most }; }

void beams_free(BeamSearch *s) {
    for (int i = 0; i < BEAMS_MOST; i++) idlist_free(&s->beams[i].ids), idlist_free(&s->ended[i].ids);
    memset(s, 0, sizeof *s);
}

int beams_rows(const BeamSearch *s) { return s->n ? s->n : 1; }

int beams_tokens(int width, size_t ends) { return width * (1 + (int)ends); }

double beam_score(const Beam *b) { return b->ids.count ? b->logp / (double)b->ids.count : -INFINITY; }

static int better(const void *a, const void *b) {
    const Next *x = a, *y = b;
    if (x->logp != y->logp) return x->logp < y->logp ? 1 : -1;
    return x->beam != y->beam ? x->beam - y->beam : x->id - y->id;
}

/* The beam that `next` makes. */
static int grown(Beam *out, const Beam *before, const Next *next, int finished, Error *e) {
    *out = (Beam){ .logp = next->logp, .finished = finished };
    if ((!before || !before->ids.count || !idlist_append(&out->ids, before->ids.ids, before->ids.count, e)) && !idlist_append(&out->ids, &next->id, 1, e)) return 0;
    idlist_free(&out->ids);
    return -1;
}

/* Gives an answer its place among the ended, or drops it where they are all better. */
static void end(BeamSearch *s, Beam answer) {
    int at = s->ended_n;
    if (at == s->width) {
        if (beam_score(&s->ended[at - 1]) >= beam_score(&answer)) {
            idlist_free(&answer.ids);
            return;
        }
        idlist_free(&s->ended[--at].ids);
    } else s->ended_n++;
    for (; at > 0 && beam_score(&s->ended[at - 1]) < beam_score(&answer); at--) s->ended[at] = s->ended[at - 1];
    s->ended[at] = answer;
}

/* The tokens behind all beams, best first; their number. */
static int all_next(const BeamSearch *s, const int *ids, const float *logps, int n, Next *out) {
    int count = 0;
    for (int b = 0; b < beams_rows(s); b++)
        for (int j = 0; j < n && ids[b * n + j] >= 0; j++)
            out[count++] = (Next){ b, ids[b * n + j], (s->n ? s->beams[b].logp : 0) + (double)logps[b * n + j] };
    qsort(out, (size_t)count, sizeof *out, better);
    return count < n ? count : n;
}

int beams_step(BeamSearch *s, const int *ids, const float *logps, int n, int (*ends)(const void *context, int id), const void *context, Error *e) {
    Next *next = mem_new((size_t)(beams_rows(s) * n), sizeof *next, "beams", e);
    if (!next) return -1;
    Beam beams[BEAMS_MOST] = { 0 };
    int count = all_next(s, ids, logps, n, next), beams_n = 0, bad = 0, length = s->n ? (int)s->beams[0].ids.count + 1 : 1;
    for (int i = 0; i < count && beams_n < s->width && !bad; i++) {
        int finished = ends(context, next[i].id);
        Beam b;
        if ((finished || length == s->most) && i >= s->width) continue;
        if ((bad = grown(&b, s->n ? &s->beams[next[i].beam] : NULL, &next[i], finished, e))) break;
        if (finished || length == s->most) end(s, b);
        else {
            s->from[beams_n] = next[i].beam;
            beams[beams_n++] = b;
        }
    }
    free(next);
    for (int i = 0; i < s->n; i++) idlist_free(&s->beams[i].ids);
    memcpy(s->beams, beams, sizeof beams);
    s->n = beams_n;
    s->done = !s->n || (s->ended_n == s->width && beam_score(&s->beams[0]) <= beam_score(&s->ended[s->ended_n - 1]));
    return bad ? -1 : 0;
}

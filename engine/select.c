/* select.c - owns the rule of select.h. Cannot fail. */
#include "engine/select.h"

#include <assert.h>
#include <stdio.h>

double select_named(const RunConfig *c, const LabelerRates *r) {
    return c->claims.grammar == CLAIM_GRAMMAR_SCENES ? r->objects : r->accepted;
}

const char *select_named_what(const RunConfig *c) { return c->claims.grammar == CLAIM_GRAMMAR_SCENES ? "objects" : "accepted claims"; }

void select_choose(const SelectEntry *list, int n, double before, double min_ratio, const char *what, SelectChoice *out) {
    assert(n >= 1);
    const double least = before * min_ratio;
    int best = -1, most = 0;
    *out = (SelectChoice){ 0 };
    for (int i = 0; i < n; i++) {
        const SelectEntry *x = &list[i], *m = &list[most];
        if (x->named > m->named || (x->named == m->named && x->rejections < m->rejections)) most = i;
        if (x->named < least) continue;
        out->qualified++;
        const SelectEntry *b = best < 0 ? NULL : &list[best];
        if (!b || x->rejections < b->rejections || (x->rejections == b->rejections && x->named > b->named)) best = i;
    }
    out->index = best < 0 ? most : best;
    if (best < 0)
        snprintf(out->why, sizeof out->why, "none of %d names the %.3f %s an answer that are asked for: the one that names most (%.3f)", n,
            least, what, list[most].named);
    else
        snprintf(out->why, sizeof out->why, "fewest rejected claims an answer (%.3f) of the %d of %d that name at least %.3f %s",
            list[best].rejections, out->qualified, n, least, what);
}

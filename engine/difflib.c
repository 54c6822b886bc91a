/* difflib.c - longest common runs found again and again on both sides of the longest (Ratcliff and Obershelp's matching, as Python's difflib does it).
 *
 * Of runs of equal length the one that begins first in a, then first in b, is taken. Sequences b of 200 tokens or more treat those that make up more
 * than a hundredth of it as junk: a run does not begin with them, but is lengthened over them on both ends. */
#include "engine/difflib.h"

#include <stdlib.h>
#include <string.h>

enum { JUNK_FROM = 200 };

typedef struct Place {
    int token, at;
} Place;

/* b's tokens with their places, sorted; junk left out. */
typedef struct Index {
    Place *places;
    int n;
} Index;

static int place_compare(const void *x, const void *y) {
    const Place *p = x, *q = y;
    return p->token != q->token ? (p->token > q->token) - (p->token < q->token) : p->at - q->at;
}

static int index_build(Index *x, const int *b, int m, Error *e) {
    *x = (Index){ .places = mem_new((size_t)m + 1, sizeof *x->places, "tokens compared", e) };
    if (!x->places) return -1;
    for (int j = 0; j < m; j++) x->places[j] = (Place){ b[j], j };
    qsort(x->places, (size_t)m, sizeof *x->places, place_compare);
    for (int from = 0, end; from < m; from = end) {
        for (end = from + 1; end < m && x->places[end].token == x->places[from].token;) end++;
        if (m >= JUNK_FROM && end - from > m / 100 + 1) continue;
        memmove(&x->places[x->n], &x->places[from], (size_t)(end - from) * sizeof *x->places);
        x->n += end - from;
    }
    return 0;
}

static int index_find(const Index *x, int token) {
    int low = 0, high = x->n;
    while (low < high) {
        int middle = (low + high) / 2;
        if (x->places[middle].token < token) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* runs, fresh (m + 1): length of the run that ends at b[j - 1] and the row above, or this one. */
typedef struct Work {
    const int *a, *b;
    Index index;
    int *runs, *fresh;
} Work;

static MatchBlock longest(const Work *w, int a_from, int a_end, int b_from, int b_end) {
    MatchBlock best = { a_from, b_from, 0 };
    int *runs = w->runs, *fresh = w->fresh;
    memset(runs + b_from, 0, (size_t)(b_end - b_from + 1) * sizeof *runs);
    for (int i = a_from; i < a_end; i++) {
        memset(fresh + b_from, 0, (size_t)(b_end - b_from + 1) * sizeof *fresh);
        for (int p = index_find(&w->index, w->a[i]); p < w->index.n && w->index.places[p].token == w->a[i]; p++) {
            int j = w->index.places[p].at;
            if (j < b_from) continue;
            if (j >= b_end) break;
            int run = fresh[j + 1] = runs[j] + 1;
            if (run > best.size) best = (MatchBlock){ i - run + 1, j - run + 1, run };
        }
        int *swap = runs;
        runs = fresh, fresh = swap;
    }
    while (best.a > a_from && best.b > b_from && w->a[best.a - 1] == w->b[best.b - 1]) best.a--, best.b--, best.size++;
    while (best.a + best.size < a_end && best.b + best.size < b_end && w->a[best.a + best.size] == w->b[best.b + best.size]) best.size++;
    return best;
}

/* Stands on the stack for two pieces that are still to be searched. */
typedef struct Pending {
    int a_from, a_end, b_from, b_end;
} Pending;

static int block_compare(const void *x, const void *y) { return ((const MatchBlock *)x)->a - ((const MatchBlock *)y)->a; }

int difflib_blocks(const int *a, int n, const int *b, int m, MatchBlock *blocks, int *count, Error *e) {
    Work w = { .a = a, .b = b };
    Pending *stack = mem_new((size_t)n + 2, sizeof *stack, "tokens compared", e); /* each block leaves at most one more piece than it took */
    int bad = !stack || index_build(&w.index, b, m, e), depth = 0, found = 0;
    w.runs = bad ? NULL : mem_new((size_t)m + 1, sizeof(int), "tokens compared", e);
    w.fresh = w.runs ? mem_new((size_t)m + 1, sizeof(int), "tokens compared", e) : NULL;
    bad = bad || !w.fresh;
    if (!bad) stack[depth++] = (Pending){ 0, n, 0, m };
    while (depth > 0) {
        Pending p = stack[--depth];
        MatchBlock x = longest(&w, p.a_from, p.a_end, p.b_from, p.b_end);
        if (!x.size) continue;
        blocks[found++] = x;
        if (p.a_from < x.a && p.b_from < x.b) stack[depth++] = (Pending){ p.a_from, x.a, p.b_from, x.b };
        if (x.a + x.size < p.a_end && x.b + x.size < p.b_end) stack[depth++] = (Pending){ x.a + x.size, p.a_end, x.b + x.size, p.b_end };
    }
    qsort(blocks, (size_t)found, sizeof *blocks, block_compare);
    int kept = 0;
    for (int i = 0; i < found; i++) {
        MatchBlock *last = &blocks[kept - (kept > 0)];
        if (kept && last->a + last->size == blocks[i].a && last->b + last->size == blocks[i].b) last->size += blocks[i].size;
        else blocks[kept++] = blocks[i];
    }
    *count = kept;
    free(stack);
    free(w.index.places);
    free(w.runs);
    free(w.fresh);
    return bad ? -1 : 0;
}

int difflib_changed(const int *a, int n, const int *b, int m, int shortest, unsigned char *changed_a, unsigned char *changed_b, Error *e) {
    int count = 0, at_a = 0, at_b = 0;
    MatchBlock *blocks = mem_new((size_t)(n < m ? n : m) + 1, sizeof *blocks, "tokens compared", e);
    if (!blocks || difflib_blocks(a, n, b, m, blocks, &count, e)) {
        free(blocks);
        return -1;
    }
    memset(changed_a, 0, (size_t)n);
    memset(changed_b, 0, (size_t)m);
    for (int i = 0; i <= count; i++) {
        MatchBlock x = i < count ? blocks[i] : (MatchBlock){ n, m, shortest };
        if (x.size < shortest) continue;
        if (x.a > at_a && x.b > at_b) {
            memset(changed_a + at_a, 1, (size_t)(x.a - at_a));
            memset(changed_b + at_b, 1, (size_t)(x.b - at_b));
        }
        at_a = x.a + x.size, at_b = x.b + x.size;
    }
    free(blocks);
    return 0;
}

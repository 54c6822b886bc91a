/* parts.c - see parts.h. */
#include "engine/parts.h"

#include <assert.h>
#include <stdlib.h>

typedef struct Item {
    int index, tokens;
} Item;

static int longest_first(const void *a, const void *b) {
    const Item *x = a, *y = b;
    if (x->tokens != y->tokens) return x->tokens > y->tokens ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

int parts_deal(const int *tokens, int n, int parts, int *part_of, Error *e) {
    assert(n > 0 && parts > 0 && parts <= n);
    Item *items = mem_new((size_t)n, sizeof *items, "pairs of a step", e);
    int64_t *load = mem_new((size_t)parts, sizeof *load, "parts of a step", e);
    int bad = !items || !load;
    for (int i = 0; i < n && !bad; i++) items[i] = (Item){ i, tokens[i] > 0 ? tokens[i] : 1 };
    if (!bad) qsort(items, (size_t)n, sizeof *items, longest_first);
    for (int i = 0; i < n && !bad; i++) {
        int least = 0;
        for (int p = 1; p < parts; p++)
            if (load[p] < load[least]) least = p;
        part_of[items[i].index] = least;
        load[least] += items[i].tokens;
    }
    free(items);
    free(load);
    return bad ? -1 : 0;
}

/* packs.c - see packs.h. A model has a few hundred packs: they are searched in order. */
#include "kernels/packs.h"

#include "kernels/cpu_state.h"
#include "kernels/overhead.h"

typedef struct Pack {
    const char *weights;
    int64_t weights_bytes;
    int n, k;
    DType dtype;
    void *packed; /* NULL: known, not packed */
} Pack;
static Pack *packs;
static size_t packs_n, packs_cap;

static Pack *find(Buf w, int n, int k) {
    for (size_t i = 0; i < packs_n; i++)
        if (packs[i].weights == w.at && packs[i].n == n && packs[i].k == k && packs[i].dtype == w.dtype) return &packs[i];
    return NULL;
}

/* A new entry of weights; NULL when there is no memory for it. */
static Pack *note(Buf w, int n, int k) {
    int64_t bytes = (int64_t)n * k * (int64_t)dtype_size(w.dtype);
    packs_freed(w.at, bytes); /* the same memory under another shape */
    if (mem_grow(&packs, &packs_cap, packs_n + 1, sizeof *packs, "packed weights", NULL)) return NULL;
    packs[packs_n] = (Pack){ w.at, bytes, n, k, w.dtype, NULL };
    return &packs[packs_n++];
}

void *packs_take(Buf w, int n, int k, int64_t bytes, int *made) {
    Pack *p = find(w, n, k);
    *made = p && p->packed;
    if (*made) return p->packed;
    if (!p) {
        if (!(p = note(w, n, k))) return NULL;
        if (bytes <= PACK_FIRST_BYTES) return cpu_scratch(SCRATCH_PACK, bytes);
    }
    return p->packed = cpu_memory_new(bytes, "packed weights", NULL);
}

static int overlaps(const Pack *p, const char *from, int64_t bytes) {
    return p->weights < from + bytes && from < p->weights + p->weights_bytes;
}

void packs_forget(const void *at, int64_t bytes) {
    for (size_t i = 0; i < packs_n; i++) {
        if (!overlaps(&packs[i], at, bytes)) continue;
        cpu_memory_free(packs[i].packed);
        packs[i].packed = NULL;
    }
}

void packs_freed(const void *at, int64_t bytes) {
    size_t kept = 0;
    packs_forget(at, bytes);
    for (size_t i = 0; i < packs_n; i++)
        if (!overlaps(&packs[i], at, bytes)) packs[kept++] = packs[i];
    packs_n = kept;
}

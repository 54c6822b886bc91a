/* packs.c - see packs.h. A model has a few hundred packs: they are searched in order. */
#include "kernels/packs.h"

#include "kernels/cpu_state.h"

typedef struct Pack {
    const char *weights;
    int64_t weights_bytes;
    int n, k;
    DType dtype;
    void *packed;
} Pack;
static Pack *packs;
static size_t packs_n, packs_cap;

void *packs_find(Buf w, int n, int k) {
    for (size_t i = 0; i < packs_n; i++)
        if (packs[i].weights == w.at && packs[i].n == n && packs[i].k == k && packs[i].dtype == w.dtype) return packs[i].packed;
    return NULL;
}

void *packs_add(Buf w, int n, int k, int64_t bytes) {
    int64_t weights_bytes = (int64_t)n * k * (int64_t)dtype_size(w.dtype);
    packs_forget(w.at, weights_bytes); /* the same memory under another shape */
    if (mem_grow(&packs, &packs_cap, packs_n + 1, sizeof *packs, "packed weights", NULL)) return NULL;
    void *packed = cpu_memory_new(bytes, "packed weights", NULL);
    if (packed) packs[packs_n++] = (Pack){ w.at, weights_bytes, n, k, w.dtype, packed };
    return packed;
}

void packs_forget(const void *at, int64_t bytes) {
    const char *from = at;
    size_t kept = 0;
    for (size_t i = 0; i < packs_n; i++) {
        if (packs[i].weights < from + bytes && from < packs[i].weights + packs[i].weights_bytes) cpu_memory_free(packs[i].packed);
        else packs[kept++] = packs[i];
    }
    packs_n = kept;
}

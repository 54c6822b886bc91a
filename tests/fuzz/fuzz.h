/* fuzz.h - what fuzz targets share: a file in memory with no byte to spare, and the reading of all that a parser found in it. */
#ifndef RLAIFV_TESTS_FUZZ_FUZZ_H
#define RLAIFV_TESTS_FUZZ_FUZZ_H

#include "model/tensor_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void must(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

static volatile unsigned char fuzz_sink;

/* Reads data as a file by `add`. Whatever was found must lie within the file, every byte of it; a refusal must say why. */
static inline void fuzz_file(const uint8_t *data, size_t size, int (*add)(TensorSet *, const TensorFile *, Error *)) {
    Error e = { 0 };
    TensorSet s = { 0 };
    void *exact = malloc(size ? size : 1);
    must(exact != NULL, "memory");
    memcpy(exact, data, size);
    TensorFile f = { .path = (char *)(uintptr_t) "fuzz", .map = exact, .size = size };
    if (add(&s, &f, &e)) must(e.what[0] && e.where[0], "a refusal says what and where");
    else
        for (size_t i = 0; i < s.n; i++) {
            const Tensor *t = &s.list[i];
            size_t bytes = (size_t)t->count * tensor_type_size(t->type);
            must(tensor_bytes(t->shape, t->ndim, tensor_type_size(t->type)) == (int64_t)bytes, "the count follows from the shape");
            must(bytes <= size, "a tensor is no longer than its file");
            for (size_t b = 0; b < bytes; b++) fuzz_sink ^= ((const unsigned char *)t->data)[b];
        }
    tensors_close(&s);
    free(exact);
}

#endif

/* pickle_fuzz.c - any bytes as PyTorch's file, and, since few inventions are archives, as the pickle within one. */
#include "tests/fuzz/fuzz.h"

#include "model/pickle.h"

static int take(void *context, const PickleTensor *t, Error *e) {
    const uint8_t **span = context;
    (void)e;
    must(t->name[0] && memchr(t->name, 0, sizeof t->name), "a name ends");
    must((const uint8_t *)t->key >= span[0] && (const uint8_t *)t->key + t->key_n <= span[1], "a key stands in the pickle");
    must(t->ndim >= 0 && t->ndim <= TENSOR_DIMS && t->type < TENSOR_TYPES, "dimensions and type");
    must(t->offset >= 0 && t->storage_count >= 0, "an offset and a count");
    for (int i = 0; i < t->ndim; i++) must(t->shape[i] >= 0 && t->stride[i] >= 0, "a size and a stride");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_file(data, size, torch_add);
    Error e = { 0 };
    uint8_t *exact = malloc(size ? size : 1);
    must(exact != NULL, "memory");
    memcpy(exact, data, size);
    const uint8_t *span[] = { exact, exact + size };
    if (pickle_tensors(exact, size, "fuzz", take, span, &e)) must(e.what[0] && e.where[0], "a refusal says what and where");
    free(exact);
    return 0;
}

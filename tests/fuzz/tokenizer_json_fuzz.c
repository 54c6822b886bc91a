/* tokenizer_json_fuzz.c - any bytes as tokenizer.json, and what follows their first zero byte as text: loading either refuses with an error
 * or gives a tokenizer that encodes and decodes without a fault. `make fuzz-tokenizer`. */
#include "tokenizer/tokenizer.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/rlaifv-fuzz-XXXXXX", path[sizeof folder + sizeof "/tokenizer.json"];

static void folder_drop(void) { folder_remove(folder, NULL); }

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    if (!mkdtemp(folder)) abort();
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    atexit(folder_drop);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *zero = memchr(data, 0, size);
    const size_t json = zero ? (size_t)(zero - data) : size, text = zero ? size - json - 1 : 0;
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, json, f) != json || fclose(f)) abort();
    Error e = { 0 };
    Tokenizer *t = tokenizer_load(folder, &e);
    if (!t) {
        if (!e.what[0] || !e.where[0]) abort(); /* no refusal without a word */
        return 0;
    }
    IdList ids = { 0 };
    const int vocab = tokenizer_vocab(t);
    if (!tokenizer_encode(t, zero ? (const char *)zero + 1 : "", text, &ids, &e)) {
        for (size_t i = 0; i < ids.count; i++)
            if (ids.ids[i] < 0 || ids.ids[i] >= vocab) abort();
        free(tokenizer_decode(t, ids.ids, ids.count, &e));
    }
    idlist_free(&ids);
    tokenizer_free(t);
    return 0;
}

/* safetensors_fuzz.c - any bytes as a safetensors file. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_file(data, size, safetensors_add);
    return 0;
}

/* image_fuzz.c - any bytes as an image file: what is decoded lies within the caps, every byte of it, and can be turned; a refusal says what
 * and where. PNG chunks get the checksums that they lack, else none but the seeds would come past them. */
#include "model/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t fuzz_sink;

static void must(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

static void checksums_mend(uint8_t *p, size_t size) {
    if (size < 8 || memcmp(p, "\x89PNG\r\n\x1a\n", 8)) return;
    for (size_t at = 8; size - at >= 12;) {
        size_t length = (size_t)p[at] << 24 | (size_t)p[at + 1] << 16 | (size_t)p[at + 2] << 8 | p[at + 3];
        if (length > size - at - 12) return;
        uint32_t crc = ~0u;
        for (size_t i = at + 4; i < at + 8 + length; i++) {
            crc ^= p[i];
            for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
        crc = ~crc;
        for (size_t i = 0; i < 4; i++) p[at + 8 + length + i] = (uint8_t)(crc >> (24 - 8 * i));
        at += length + 12;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size ? size : 1);
    Image image;
    Error e = { 0 };
    must(exact != NULL, "memory");
    memcpy(exact, data, size);
    checksums_mend(exact, size);
    int orientation = image_orientation(exact, size);
    must(orientation >= 1 && orientation <= 8, "an orientation is one of eight");
    if (image_decode(exact, size, "fuzz", &image, &e)) {
        must(e.what[0] && e.where[0], "a refusal says what and where");
        must(!image.rgb, "a refusal holds nothing");
    } else {
        must(image.width >= 1 && image.height >= 1 && image.width <= IMAGE_SIDE && image.height <= IMAGE_SIDE &&
                 (int64_t)image.width * image.height <= IMAGE_PIXELS,
            "sides are within the caps");
        must(!image_orient(&image, orientation, &e), "it can be turned");
        for (size_t i = 0; i < (size_t)image.width * (size_t)image.height * 3; i++) fuzz_sink ^= image.rgb[i];
        image_free(&image);
    }
    free(exact);
    return 0;
}

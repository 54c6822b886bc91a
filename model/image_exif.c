/* image_exif.c - owns the orientation that cameras write into EXIF data: found in JPEG (APP1) and PNG (eXIf) files, and applied to pixels.
 *
 * EXIF data is a TIFF file within the file; of it only tag 0x0112 of the first directory is looked at. What is malformed, out
 * of bounds or out of range counts as absent, as it does to Pillow's exif_transpose: a picture is not refused for its metadata. */
#include "model/image_formats.h"

#include <stdlib.h>

const char *const image_exifs[] = { [EXIF_IGNORE] = "ignore", [EXIF_APPLY] = "apply", NULL };

/* The tag in a TIFF structure of n bytes; 1 when there is none. */
static int tiff_orientation(const uint8_t *p, size_t n) {
    if (n < 8) return 1;
    int big = p[0] == 'M';
    if (memcmp(p, big ? "MM\0*" : "II*\0", 4)) return 1;
    uint32_t (*two)(const uint8_t *) = big ? big16 : little16, (*four)(const uint8_t *) = big ? big32 : little32;
    size_t at = four(p + 4);
    if (at > n - 2) return 1;
    size_t entries = two(p + at);
    for (at += 2; entries > 0 && n - at >= 12; entries--, at += 12) {
        if (two(p + at) != 0x0112) continue;
        uint32_t type = two(p + at + 2), value = type == 4 ? four(p + at + 8) : two(p + at + 8); /* 3: 16 bits, as it should be; 4: 32 */
        return (type == 3 || type == 4) && four(p + at + 4) == 1 && value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

static int jpeg_orientation(const Bytes *b) {
    for (size_t at = 2; b->size - at >= 4;) {
        const uint8_t *p = b->at + at;
        if (p[0] != 0xff) return 1;
        if (p[1] == 0xff) {
            at++;
            continue;
        }
        size_t length = big16(p + 2);
        if (p[1] == 0xda || p[1] == 0xd9 || length < 2 || length > b->size - at - 2) return 1; /* the pictures begin */
        if (p[1] == 0xe1 && length >= 8 && !memcmp(p + 4, "Exif\0\0", 6)) return tiff_orientation(p + 10, length - 8);
        at += 2 + length;
    }
    return 1;
}

static int png_orientation(const Bytes *b) {
    for (size_t at = 8; b->size - at >= 12;) {
        const uint8_t *p = b->at + at;
        size_t length = big32(p);
        if (length > b->size - at - 12) return 1;
        if (!memcmp(p + 4, "eXIf", 4)) return tiff_orientation(p + 8, length);
        at += length + 12;
    }
    return 1;
}

int image_orientation(const void *bytes, size_t size) {
    Bytes b = { bytes, size, "" };
    if (bytes_start(&b, "\xff\xd8\xff", 3)) return jpeg_orientation(&b);
    return bytes_start(&b, "\x89PNG\r\n\x1a\n", 8) ? png_orientation(&b) : 1;
}

int image_orient(Image *image, int orientation, Error *e) {
    if (orientation < 2 || orientation > 8) return 0;
    size_t w = (size_t)image->width, h = (size_t)image->height;
    int turned = orientation >= 5;
    uint8_t *out = mem_new(w * h, 3, "turned image", e);
    if (!out) return -1;
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            /* 2, 3, 6, 7 end mirrored along the row of the result, 3, 4, 7, 8 along its column. */
            size_t across = turned ? y : x, down = turned ? x : y, width = turned ? h : w, height = turned ? w : h;
            if (orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7) across = width - 1 - across;
            if (orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8) down = height - 1 - down;
            memcpy(out + (down * width + across) * 3, image->rgb + (y * w + x) * 3, 3);
        }
    free(image->rgb);
    *image = (Image){ (int)(turned ? h : w), (int)(turned ? w : h), out };
    return 0;
}

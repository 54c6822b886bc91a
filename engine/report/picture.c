/* picture.c - owns what becomes of a picture's file on its way into a page. Decoding and resampling are model/image.h's. */
#include "engine/report/picture.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Whole: a photograph at a tower's resolution (336) is some 40 KB as JPEG. Thumbnails stand beside each of hundreds of pairs. */
const PictureSize picture_whole = { 128 << 10, 384 }, picture_thumbnail = { 8 << 10, 112 };

static char *uri_make(const char *type, const unsigned char *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *uri = malloc(size / 3 * 4 + 64), *out = uri;
    if (!uri) return NULL;
    out += sprintf(out, "data:image/%s;base64,", type);
    for (size_t i = 0; i < size; i += 3) {
        size_t n = size - i < 3 ? size - i : 3;
        unsigned group = (unsigned)bytes[i] << 16 | (n > 1 ? (unsigned)bytes[i + 1] << 8 : 0) | (n > 2 ? bytes[i + 2] : 0u);
        for (size_t k = 0; k < 4; k++) *out++ = k <= n ? digits[group >> (18 - 6 * k) & 63] : '=';
    }
    *out = 0;
    return uri;
}

static char *uri_as_is(const PictureSize *size, const char *path) {
    struct stat info;
    char *bytes, *uri = NULL;
    size_t n;
    if (stat(path, &info) || !S_ISREG(info.st_mode) || (size_t)info.st_size > size->as_is || file_read(path, size->as_is, &bytes, &n, NULL))
        return NULL;
    const char *kind = image_extension(bytes, n);
    if (kind && !strcmp(kind, "png")) uri = uri_make("png", (const unsigned char *)bytes, n);
    if (kind && !strcmp(kind, "jpg")) uri = uri_make("jpeg", (const unsigned char *)bytes, n);
    free(bytes);
    return uri;
}

static char *uri_shrunk(const PictureSize *size, ImageExif exif, const char *path) {
    Image image, small;
    unsigned char *png;
    size_t n;
    char *uri = NULL;
    if (image_load_exif(path, exif, &image, NULL)) return NULL;
    if (!image_shrink(&image, size->side, &small, NULL)) {
        if (!image_encode_png(&small, &png, &n, NULL)) {
            uri = uri_make("png", png, n);
            free(png);
        }
        image_free(&small);
    }
    image_free(&image);
    return uri;
}

char *picture_uri(Pictures *p, const PictureSize *size, const char *path) {
    char *uri = uri_as_is(size, path);
    if (!uri) uri = uri_shrunk(size, p->exif, path);
    if (!uri) return p->unreadable++, NULL;
    size_t n = strlen(uri);
    if (n > p->budget) {
        free(uri);
        return p->over_budget++, NULL;
    }
    p->budget -= n;
    p->shown++;
    return uri;
}

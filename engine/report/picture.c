/* picture.c - owns what becomes of a picture's file on its way into a page. Decoding and resampling are model/image.h's. */
#include "engine/report/picture.h"

#include "base/base64.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Whole: a photograph at a tower's resolution (336) is some 40 KB as JPEG. Thumbnails stand beside each of hundreds of pairs. */
const PictureSize picture_whole = { 128 << 10, 384 }, picture_thumbnail = { 8 << 10, 112 };

static char *uri_make(const char *type, const void *bytes, size_t size) {
    char *text = base64_encode(bytes, size, NULL), *uri = NULL;
    if (text && asprintf(&uri, "data:image/%s;base64,%s", type, text) < 0) uri = NULL;
    free(text);
    return uri;
}

static char *uri_as_is(const PictureSize *size, const char *path) {
    struct stat info;
    char *bytes, *uri = NULL;
    size_t n;
    if (stat(path, &info) || !S_ISREG(info.st_mode) || (size_t)info.st_size > size->as_is || file_read(path, size->as_is, &bytes, &n, NULL))
        return NULL;
    const char *kind = image_extension(bytes, n);
    if (kind && !strcmp(kind, "png")) uri = uri_make("png", bytes, n);
    if (kind && !strcmp(kind, "jpg")) uri = uri_make("jpeg", bytes, n);
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

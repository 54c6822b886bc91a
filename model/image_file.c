/* image_file.c - owns the choice of a decoder by a file's first bytes, the decoding of PNG and its writing. stb_image and stb_image_write
 * (Sean Barrett, nothings.org/stb) do the compression; their code is compiled here and nowhere else.
 *
 * stb_image trusts its input more than this program may: it checks no PNG checksums and fills cut-short files with what it has. So the
 * structure is walked first, and memory is bounded. Refuses what is damaged, cut short, above the caps of image.h, or in another format. */
#include "model/image_formats.h"

#include "base/file.h"

#include <stdlib.h>

/* ---- stb, with bounded and zeroed memory: a table that the file never defines then reads as empty, not as whatever was there ---- */

enum { STB_BYTES = 1 << 30 }; /* 100 megapixels of 16-bit RGBA need 800 MB */

static void *stb_new(size_t size) { return size <= STB_BYTES ? calloc(size ? size : 1, 1) : NULL; }

static void *stb_resize(void *old, size_t old_size, size_t size) {
    char *p = size <= STB_BYTES ? realloc(old, size ? size : 1) : NULL;
    if (p && size > old_size) memset(p + old_size, 0, size - old_size);
    return p;
}

#define STBI_MALLOC(size) stb_new(size)
#define STBI_REALLOC_SIZED(old, old_size, size) stb_resize(old, old_size, size)
#define STBI_FREE(p) free(p)
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_ONLY_PNG
#define STBI_MAX_DIMENSIONS IMAGE_SIDE
#define STB_IMAGE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#pragma GCC diagnostic ignored "-Warray-bounds"
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

/* ---- what the decoders share ---- */

int image_bad(const Bytes *b, const char *format, const char *found, Error *e) {
    return error_what(e, "bad %s image", format), error_where(e, "%s", b->name), error_found(e, "%s", found);
}

int image_cut_short(const Bytes *b, const char *format, Error *e) {
    return image_bad(b, format, "a file that ends too early", e), error_hint(e, "fetch or save the image again");
}

int image_sides_check(const Bytes *b, const char *format, int64_t w, int64_t h, Error *e) {
    if (w >= 1 && h >= 1 && w <= IMAGE_SIDE && h <= IMAGE_SIDE && w * h <= IMAGE_PIXELS) return 0;
    return error_what(e, "bad %s image", format), error_where(e, "%s", b->name),
           error_found(e, "%lld x %lld pixels", (long long)w, (long long)h),
           error_expected(e, "sides of 1 to %d and at most %d pixels in all", IMAGE_SIDE, IMAGE_PIXELS);
}

int image_new(const Bytes *b, const char *format, int64_t w, int64_t h, Image *out, Error *e) {
    if (image_sides_check(b, format, w, h, e) || !(out->rgb = mem_new((size_t)w * (size_t)h, 3, b->name, e))) return -1;
    out->width = (int)w, out->height = (int)h;
    return 0;
}

/* ---- PNG: every chunk whole, with its checksum right, up to IEND ---- */

static const char png_signature[] = "\x89PNG\r\n\x1a\n";

/* CRC-32 of ISO 3309, four bits at a time. */
static uint32_t crc32_bytes(const uint8_t *p, size_t n) {
    static const uint32_t table[16] = { 0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c };
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* grey16: whether the pixels are 16-bit grey without alpha, which Pillow treats apart. */
static int png_check(const Bytes *b, int *grey16, Error *e) {
    size_t at = strlen(png_signature);
    for (int first = 1;; first = 0) {
        if (b->size - at < 12) return image_cut_short(b, "PNG", e);
        const uint8_t *chunk = b->at + at;
        size_t length = big32(chunk);
        if (length > b->size - at - 12) return image_cut_short(b, "PNG", e);
        if (crc32_bytes(chunk + 4, length + 4) != big32(chunk + 8 + length))
            return image_bad(b, "PNG", "a chunk whose checksum is wrong", e), error_hint(e, "the file is damaged: fetch or save it again");
        if (first) {
            if (memcmp(chunk + 4, "IHDR", 4) || length != 13) return image_bad(b, "PNG", "no IHDR chunk at the start", e);
            if (image_sides_check(b, "PNG", big32(chunk + 8), big32(chunk + 12), e)) return -1;
            *grey16 = chunk[16] == 16 && chunk[17] == 0;
        }
        at += length + 12;
        if (!memcmp(chunk + 4, "IEND", 4)) return 0;
    }
}

/* Pillow clips 16-bit grey at 255 when it becomes RGB, where 16-bit colour keeps its high byte. */
static uint8_t *grey16_decode(const Bytes *b, int *w, int *h) {
    int channels;
    uint16_t *grey = stbi_load_16_from_memory(b->at, (int)b->size, w, h, &channels, 1);
    if (!grey) return NULL;
    size_t area = (size_t)*w * (size_t)*h;
    uint8_t *rgb = stb_new(area * 3);
    for (size_t i = 0; rgb && i < area; i++) memset(rgb + 3 * i, grey[i] > 255 ? 255 : grey[i], 3);
    free(grey);
    return rgb;
}

static int png_decode(const Bytes *b, Image *out, Error *e) {
    int w, h, channels, grey16 = 0;
    if (png_check(b, &grey16, e)) return -1;
    uint8_t *rgb = grey16 ? grey16_decode(b, &w, &h) : stbi_load_from_memory(b->at, (int)b->size, &w, &h, &channels, 3);
    if (!rgb) return image_bad(b, "PNG", stbi_failure_reason(), e);
    *out = (Image){ w, h, rgb };
    return 0;
}

static int png_measure(const Bytes *b, int64_t *w, int64_t *h, Error *e) {
    if (b->size < 33) return image_cut_short(b, "PNG", e);
    if (memcmp(b->at + 8, "\0\0\0\15IHDR", 8)) return image_bad(b, "PNG", "no IHDR chunk at the start", e);
    *w = big32(b->at + 16), *h = big32(b->at + 20);
    return 0;
}

/* ---- all of them ---- */

static const struct {
    const char *magic, *extension;
    int (*decode)(const Bytes *b, Image *out, Error *e);
    int (*measure)(const Bytes *b, int64_t *w, int64_t *h, Error *e);
} formats[] = { { png_signature, "png", png_decode, png_measure }, { "\xff\xd8\xff", "jpg", jpeg_decode, jpeg_measure },
    { "BM", "bmp", bmp_decode, bmp_measure }, { "P1", "pbm", pnm_decode, pnm_measure }, { "P2", "pgm", pnm_decode, pnm_measure },
    { "P3", "ppm", pnm_decode, pnm_measure }, { "P4", "pbm", pnm_decode, pnm_measure }, { "P5", "pgm", pnm_decode, pnm_measure },
    { "P6", "ppm", pnm_decode, pnm_measure } };
enum { FORMATS = sizeof formats / sizeof *formats };

/* Index of the format that the bytes begin like; -1 for none. */
static int format_find(const Bytes *b) {
    for (int i = 0; i < FORMATS; i++)
        if (bytes_start(b, formats[i].magic, strlen(formats[i].magic))) return i;
    return -1;
}

const char *image_extension(const void *head, size_t size) {
    int format = format_find(&(Bytes){ head, size, "" });
    return format < 0 ? NULL : formats[format].extension;
}

int image_unknown(const void *head, size_t size, const char *name, Error *e) {
    Bytes b = { head, size, name };
    char found[64];
    if (bytes_start(&b, "GIF8", 4)) strcpy(found, "a GIF");
    else if (size >= 12 && !memcmp(b.at, "RIFF", 4) && !memcmp(b.at + 8, "WEBP", 4)) strcpy(found, "a WebP");
    else if (bytes_start(&b, "II*\0", 4) || bytes_start(&b, "MM\0*", 4)) strcpy(found, "a TIFF");
    else if (size < 4) strcpy(found, size ? "a file of a few bytes" : "an empty file");
    else snprintf(found, sizeof found, "bytes %02x %02x %02x %02x", b.at[0], b.at[1], b.at[2], b.at[3]);
    return error_what(e, "unknown image format"), error_where(e, "%s", name), error_found(e, "%s", found),
           error_expected(e, "PNG, JPEG, BMP, PPM, PGM or PBM"), error_hint(e, "convert the image to PNG");
}

int image_decode(const void *bytes, size_t size, const char *name, Image *out, Error *e) {
    Bytes b = { bytes, size, name };
    memset(out, 0, sizeof *out);
    if (size > IMAGE_FILE_BYTES)
        return error_what(e, "image file too large"), error_where(e, "%s", name), error_found(e, "%zu bytes", size),
               error_expected(e, "at most %d", IMAGE_FILE_BYTES);
    int format = format_find(&b);
    if (format < 0) return image_unknown(bytes, size, name, e);
    if (!formats[format].decode(&b, out, e)) return 0;
    image_free(out);
    return -1;
}

int image_load_exif(const char *path, ImageExif exif, Image *out, Error *e) {
    char *bytes;
    size_t size;
    memset(out, 0, sizeof *out);
    if (file_read(path, IMAGE_FILE_BYTES, &bytes, &size, e)) return -1;
    int bad = image_decode(bytes, size, path, out, e);
    if (!bad && exif == EXIF_APPLY && (bad = image_orient(out, image_orientation(bytes, size), e))) image_free(out);
    free(bytes);
    return bad;
}

int image_load(const char *path, Image *out, Error *e) { return image_load_exif(path, EXIF_IGNORE, out, e); }

int image_measure(const char *path, ImageExif exif, int *width, int *height, Error *e) {
    char *bytes;
    size_t size;
    int64_t w, h;
    if (file_read(path, IMAGE_FILE_BYTES, &bytes, &size, e)) return -1;
    Bytes b = { (const uint8_t *)bytes, size, path };
    int format = format_find(&b), turned = exif == EXIF_APPLY && image_orientation(bytes, size) >= 5;
    int bad = format < 0 ? image_unknown(bytes, size, path, e)
                         : formats[format].measure(&b, &w, &h, e) || image_sides_check(&b, formats[format].extension, w, h, e);
    if (!bad) *width = (int)(turned ? h : w), *height = (int)(turned ? w : h);
    free(bytes);
    return bad ? -1 : 0;
}

static int png_encode(const Image *image, const char *name, unsigned char **bytes, size_t *size, Error *e) {
    Bytes b = { NULL, 0, name };
    int length;
    if (image_sides_check(&b, "PNG", image->width, image->height, e)) return -1;
    *bytes = stbi_write_png_to_mem(image->rgb, image->width * 3, image->width, image->height, 3, &length); /* from malloc */
    if (!*bytes) return error_what(e, "out of memory"), error_where(e, "%s", name);
    *size = (size_t)length;
    return 0;
}

int image_encode_png(const Image *image, unsigned char **bytes, size_t *size, Error *e) { return png_encode(image, "a picture", bytes, size, e); }

int image_write_png(const char *path, const Image *image, Error *e) {
    unsigned char *png;
    size_t size;
    if (png_encode(image, path, &png, &size, e)) return -1;
    int result = file_write(path, png, size, e);
    free(png);
    return result;
}

/* image_file.c - owns the decoding of image files and the writing of PNG. stb_image and stb_image_write (Sean Barrett, nothings.org/stb) do
 * the compression formats; their code is compiled here and nowhere else.
 *
 * stb_image trusts its input more than this program may: it checks no PNG checksums, fills cut-short files with what it has, and takes
 * Huffman tables longer than its own arrays. So each format's structure is checked first, by the short walkers below, and its memory is
 * bounded. Refuses what is damaged, cut short, above the caps of image.h, or in another format. Formats: PNG (W3C), JPEG (ITU-T T.81), BMP,
 * PNM (netpbm). */
#include "model/image.h"
#include "base/file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

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
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
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

/* ---- bytes of a file ---- */

typedef struct Bytes {
    const uint8_t *at;
    size_t size;
    const char *name;
} Bytes;

static int bad(const Bytes *b, const char *format, const char *found, Error *e) {
    return error_what(e, "bad %s image", format), error_where(e, "%s", b->name), error_found(e, "%s", found);
}

static int cut_short(const Bytes *b, const char *format, Error *e) {
    return bad(b, format, "a file that ends too early", e), error_hint(e, "fetch or save the image again");
}

static uint32_t big16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }
static uint32_t big32(const uint8_t *p) { return big16(p) << 16 | big16(p + 2); }
static uint32_t little16(const uint8_t *p) { return (uint32_t)p[1] << 8 | p[0]; }
static uint32_t little32(const uint8_t *p) { return little16(p + 2) << 16 | little16(p); }

static int dimensions_check(const Bytes *b, const char *format, int64_t w, int64_t h, Error *e) {
    if (w >= 1 && h >= 1 && w <= IMAGE_SIDE && h <= IMAGE_SIDE && w * h <= IMAGE_PIXELS) return 0;
    return error_what(e, "bad %s image", format), error_where(e, "%s", b->name),
           error_found(e, "%lld x %lld pixels", (long long)w, (long long)h),
           error_expected(e, "sides of 1 to %d and at most %d pixels in all", IMAGE_SIDE, IMAGE_PIXELS);
}

/* ---- PNG: every chunk whole, with its checksum right, up to IEND ---- */

static const uint8_t png_signature[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };

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
    size_t at = sizeof png_signature;
    for (int first = 1;; first = 0) {
        if (b->size - at < 12) return cut_short(b, "PNG", e);
        const uint8_t *chunk = b->at + at;
        size_t length = big32(chunk);
        if (length > b->size - at - 12) return cut_short(b, "PNG", e);
        if (crc32_bytes(chunk + 4, length + 4) != big32(chunk + 8 + length))
            return bad(b, "PNG", "a chunk whose checksum is wrong", e), error_hint(e, "the file is damaged: fetch or save it again");
        if (first) {
            if (memcmp(chunk + 4, "IHDR", 4) || length != 13) return bad(b, "PNG", "no IHDR chunk at the start", e);
            *grey16 = chunk[16] == 16 && chunk[17] == 0;
        }
        at += length + 12;
        if (!memcmp(chunk + 4, "IEND", 4)) return 0;
    }
}

/* ---- JPEG: markers walk from SOI through whole segments to EOI, and Huffman tables fit ---- */

/* One DHT segment: tables of (class and id, 16 counts, that many symbols). No coder defines all 256 symbols; codes must fit their lengths.
 */
static int huffman_check(const uint8_t *p, size_t n) {
    while (n) {
        if (n < 17) return -1;
        size_t symbols = 0;
        uint32_t code = 0;
        for (int length = 1; length <= 16; length++) {
            code = code * 2 + p[length];
            if (code > 1u << length) return -1;
            symbols += p[length];
        }
        if (symbols > 255 || n < 17 + symbols) return -1;
        p += 17 + symbols, n -= 17 + symbols;
    }
    return 0;
}

static int jpeg_check(const Bytes *b, Error *e) {
    size_t at = 2;
    for (int scans = 0;;) {
        /* Between segments, and within a scan, everything up to the next marker is skipped: stuffed zeros and restarts are not markers. */
        const uint8_t *found = at < b->size ? memchr(b->at + at, 0xff, b->size - at) : NULL;
        if (!found || (size_t)(found - b->at) + 1 >= b->size) return cut_short(b, "JPEG", e);
        at = (size_t)(found - b->at) + 1;
        uint8_t marker = b->at[at];
        if (marker == 0xff) continue;
        at++;
        if (marker == 0 || marker == 1 || (marker >= 0xd0 && marker <= 0xd8)) continue;
        if (marker == 0xd9) return scans ? 0 : bad(b, "JPEG", "an end without any scan", e);
        if (b->size - at < 2) return cut_short(b, "JPEG", e);
        size_t length = big16(b->at + at);
        if (length < 2) return bad(b, "JPEG", "a segment of impossible length", e);
        if (length > b->size - at) return cut_short(b, "JPEG", e);
        if (marker == 0xc4 && huffman_check(b->at + at + 2, length - 2)) return bad(b, "JPEG", "an impossible Huffman table", e);
        if (marker == 0xda) scans++;
        at += length;
    }
}

/* ---- BMP: the pixels it announces are there ---- */

static int bmp_check(const Bytes *b, Error *e) {
    if (b->size < 54) return cut_short(b, "BMP", e);
    uint32_t offset = little32(b->at + 10), header = little32(b->at + 14), bits = little16(b->at + 28), compression = little32(b->at + 30);
    int64_t w = (int32_t)little32(b->at + 18), h = (int32_t)little32(b->at + 22);
    if (header < 40) return bad(b, "BMP", "an OS/2 header", e), error_expected(e, "a Windows one");
    if (compression == 1 || compression == 2) return bad(b, "BMP", "run-length compression", e), error_expected(e, "plain pixels");
    if (dimensions_check(b, "BMP", w, h < 0 ? -h : h, e)) return -1;
    int64_t stride = (w * bits + 31) / 32 * 4;
    return offset + stride * (h < 0 ? -h : h) > (int64_t)b->size ? cut_short(b, "BMP", e) : 0;
}

/* ---- binary PGM and PPM, read here ---- */

/* The next number of the header, after blanks and comments; -1 when there is none. Caps itself well above what is accepted. */
static int64_t pnm_number(const Bytes *b, size_t *at) {
    int64_t n = -1;
    while (*at < b->size) {
        uint8_t c = b->at[*at];
        if (c == '#')
            while (*at < b->size && b->at[*at] != '\n') (*at)++;
        else if (c == ' ' || (c >= '\t' && c <= '\r')) (*at)++;
        else break;
    }
    for (; *at < b->size && b->at[*at] >= '0' && b->at[*at] <= '9'; (*at)++)
        n = n > INT32_MAX ? n : (n < 0 ? 0 : n * 10) + (b->at[*at] - '0');
    return n;
}

static int pnm_decode(const Bytes *b, Image *out, Error *e) {
    size_t at = 2, channels = b->at[1] == '6' ? 3 : 1;
    int64_t w = pnm_number(b, &at), h = pnm_number(b, &at), most = pnm_number(b, &at);
    if (w < 0 || h < 0 || most < 0) return bad(b, "PNM", "a header without width, height and maximum", e);
    if (dimensions_check(b, "PNM", w, h, e)) return -1;
    if (most != 255)
        return bad(b, "PNM", "another maximum", e), error_expected(e, "samples of 0 to 255"),
               error_hint(e, "convert the image to 8 bits or to PNG");
    size_t area = (size_t)w * (size_t)h;
    if (b->size - at < 1 + area * channels) return cut_short(b, "PNM", e);
    if (!(out->rgb = mem_new(area, 3, b->name, e))) return -1;
    const uint8_t *p = b->at + at + 1;
    if (channels == 3) memcpy(out->rgb, p, area * 3);
    else
        for (size_t i = 0; i < area; i++) memset(out->rgb + 3 * i, p[i], 3);
    out->width = (int)w, out->height = (int)h;
    return 0;
}

/* ---- all of them ---- */

static int starts(const Bytes *b, const void *magic, size_t n) { return b->size >= n && !memcmp(b->at, magic, n); }

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

static int stb_decode(const Bytes *b, const char *format, int grey16, Image *out, Error *e) {
    int w, h, channels;
    if (!stbi_info_from_memory(b->at, (int)b->size, &w, &h, &channels)) return bad(b, format, stbi_failure_reason(), e);
    if (dimensions_check(b, format, w, h, e)) return -1;
    uint8_t *rgb = grey16 ? grey16_decode(b, &w, &h) : stbi_load_from_memory(b->at, (int)b->size, &w, &h, &channels, 3);
    if (!rgb) return bad(b, format, stbi_failure_reason(), e);
    out->rgb = rgb, out->width = w, out->height = h;
    return 0;
}

static int format_unknown(const Bytes *b, Error *e) {
    char found[64];
    if (starts(b, "GIF8", 4)) strcpy(found, "a GIF");
    else if (b->size >= 12 && !memcmp(b->at, "RIFF", 4) && !memcmp(b->at + 8, "WEBP", 4)) strcpy(found, "a WebP");
    else if (b->size < 4) strcpy(found, b->size ? "a file of a few bytes" : "an empty file");
    else snprintf(found, sizeof found, "bytes %02x %02x %02x %02x", b->at[0], b->at[1], b->at[2], b->at[3]);
    return error_what(e, "unknown image format"), error_where(e, "%s", b->name), error_found(e, "%s", found),
           error_expected(e, "PNG, JPEG, BMP or binary PPM"), error_hint(e, "convert the image to PNG");
}

int image_decode(const void *bytes, size_t size, const char *name, Image *out, Error *e) {
    Bytes b = { bytes, size, name };
    int grey16 = 0;
    memset(out, 0, sizeof *out);
    if (size > IMAGE_FILE_BYTES)
        return error_what(e, "image file too large"), error_where(e, "%s", name), error_found(e, "%zu bytes", size),
               error_expected(e, "at most %d", IMAGE_FILE_BYTES);
    if (starts(&b, png_signature, sizeof png_signature)) return png_check(&b, &grey16, e) ? -1 : stb_decode(&b, "PNG", grey16, out, e);
    if (starts(&b, "\xff\xd8\xff", 3)) return jpeg_check(&b, e) ? -1 : stb_decode(&b, "JPEG", 0, out, e);
    if (starts(&b, "BM", 2)) return bmp_check(&b, e) ? -1 : stb_decode(&b, "BMP", 0, out, e);
    if (starts(&b, "P5", 2) || starts(&b, "P6", 2)) return pnm_decode(&b, out, e);
    return format_unknown(&b, e);
}

int image_load(const char *path, Image *out, Error *e) {
    char *bytes;
    size_t size;
    memset(out, 0, sizeof *out);
    if (file_read(path, IMAGE_FILE_BYTES, &bytes, &size, e)) return -1;
    int result = image_decode(bytes, size, path, out, e);
    free(bytes);
    return result;
}

int image_measure(const char *path, int *width, int *height, Error *e) {
    char *bytes;
    size_t size;
    int channels, result = 0;
    if (file_read(path, IMAGE_FILE_BYTES, &bytes, &size, e)) return -1;
    Bytes b = { (const uint8_t *)bytes, size, path };
    if (starts(&b, "P5", 2) || starts(&b, "P6", 2)) {
        size_t at = 2;
        *width = (int)pnm_number(&b, &at), *height = (int)pnm_number(&b, &at);
    } else if (!stbi_info_from_memory(b.at, (int)size, width, height, &channels)) result = format_unknown(&b, e);
    if (!result) result = dimensions_check(&b, "image", *width, *height, e);
    free(bytes);
    return result;
}

int image_write_png(const char *path, const Image *image, Error *e) {
    Bytes b = { NULL, 0, path };
    if (dimensions_check(&b, "PNG", image->width, image->height, e)) return -1;
    int length;
    unsigned char *png = stbi_write_png_to_mem(image->rgb, image->width * 3, image->width, image->height, 3, &length);
    if (!png) return error_what(e, "out of memory"), error_where(e, "%s", path);
    int result = file_write(path, png, (size_t)length, e);
    STBIW_FREE(png);
    return result;
}

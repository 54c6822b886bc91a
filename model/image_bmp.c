/* image_bmp.c - owns the decoding of BMP as Pillow reads it: 1, 4 and 8 bits with a palette, 16, 24 and 32 bits with the usual masks,
 * headers of 12 (OS/2) to 124 bytes, rows from the bottom or the top. Alpha is dropped; 5 and 6 bits are scaled to 8 with the fraction cut
 * off.
 *
 * Refuses run lengths, embedded JPEG and PNG, other masks, and files shorter than the pixels they announce. */
#include "model/image_formats.h"

enum { RAW = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3 };

typedef struct Bmp {
    uint32_t header, offset, bits, compression, colours;
    int64_t width, height;
    int top_down;
    uint32_t masks[4];
    uint32_t shift[3], most[3]; /* of red, green and blue in a pixel of 16 or 32 bits */
} Bmp;

static int bmp_header(Bmp *m, const Bytes *b, Error *e) {
    if (b->size < 26) return image_cut_short(b, "BMP", e);
    const uint8_t *p = b->at + 14;
    m->offset = little32(b->at + 10), m->header = little32(p);
    static const uint8_t sizes[] = { 12, 40, 52, 56, 64, 108, 124 };
    if (m->header > 124 || !memchr(sizes, (int)m->header, sizeof sizes)) return image_bad(b, "BMP", "a header of unknown size", e);
    if (b->size < 14 + (size_t)m->header) return image_cut_short(b, "BMP", e);
    if (m->header == 12) {
        m->width = little16(p + 4), m->height = little16(p + 6), m->bits = little16(p + 10);
        return 0;
    }
    m->width = little32(p + 4), m->height = (int32_t)little32(p + 8);
    m->bits = little16(p + 14), m->compression = little32(p + 16), m->colours = little32(p + 32);
    m->top_down = m->height < 0;
    if (m->top_down) m->height = -m->height;
    if (m->compression != BITFIELDS) return 0;
    /* Headers of 40 bytes have three masks after them; longer ones have them within, and the fourth from 56 bytes on. */
    int n = m->header >= 56 ? 4 : 3;
    if (b->size < 14 + 40 + 12) return image_cut_short(b, "BMP", e);
    for (int i = 0; i < n; i++) m->masks[i] = little32(p + 40 + 4 * i);
    return 0;
}

/* Where the colours of a pixel lie. */
static int bmp_layout(Bmp *m, const Bytes *b, Error *e) {
    static const struct {
        uint32_t bits, masks[4], shift[3], most[3];
    } layouts[] = {
#define BYTES_AT(R, G, B) { R, G, B }, { 255, 255, 255 }
        { 32, { 0xff0000, 0xff00, 0xff, 0 }, BYTES_AT(16, 8, 0) },
        { 32, { 0xff000000, 0xff0000, 0xff00, 0 }, BYTES_AT(24, 16, 8) },
        { 32, { 0xff000000, 0xff00, 0xff, 0 }, BYTES_AT(24, 8, 0) },
        { 32, { 0xff000000, 0xff0000, 0xff00, 0xff }, BYTES_AT(24, 16, 8) },
        { 32, { 0xff, 0xff00, 0xff0000, 0xff000000 }, BYTES_AT(0, 8, 16) },
        { 32, { 0xff0000, 0xff00, 0xff, 0xff000000 }, BYTES_AT(16, 8, 0) },
        { 32, { 0xff000000, 0xff00, 0xff, 0xff0000 }, BYTES_AT(24, 8, 0) },
        { 32, { 0, 0, 0, 0 }, BYTES_AT(16, 8, 0) },
        { 24, { 0xff0000, 0xff00, 0xff, 0 }, BYTES_AT(16, 8, 0) },
        { 16, { 0x7c00, 0x3e0, 0x1f, 0 }, { 10, 5, 0 }, { 31, 31, 31 } },
        { 16, { 0xf800, 0x7e0, 0x1f, 0 }, { 11, 5, 0 }, { 31, 63, 31 } },
    };
    if (m->compression == RLE8 || m->compression == RLE4)
        return image_bad(b, "BMP", "run-length compression", e), error_expected(e, "plain pixels");
    if (m->compression != RAW && m->compression != BITFIELDS)
        return image_bad(b, "BMP", "unknown compression", e), error_expected(e, "plain pixels");
    if (m->compression == RAW && (m->bits == 1 || m->bits == 4 || m->bits == 8)) return 0;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        size_t masks = layouts[i].bits == 32 ? 4 : 3;
        if (layouts[i].bits != m->bits || (m->compression == BITFIELDS && memcmp(layouts[i].masks, m->masks, masks * sizeof *m->masks)))
            continue;
        memcpy(m->shift, layouts[i].shift, sizeof m->shift);
        memcpy(m->most, layouts[i].most, sizeof m->most);
        return 0;
    }
    return image_bad(
               b, "BMP", m->compression == BITFIELDS ? "colour masks that no program here writes" : "another number of bits a pixel", e),
           error_expected(e, "1, 4, 8, 16, 24 or 32 bits");
}

/* The palette's colours as RGB; those that the file does not give are black. */
static int bmp_palette(const Bmp *m, const Bytes *b, uint8_t palette[256][3], Error *e) {
    size_t each = m->header == 12 ? 3 : 4, at = 14 + (size_t)m->header, n = m->colours ? m->colours : (size_t)1 << m->bits;
    memset(palette, 0, 256 * 3);
    if (n > 65536) return image_bad(b, "BMP", "an impossible palette", e);
    if (b->size - at < n * each) return image_cut_short(b, "BMP", e);
    for (size_t i = 0; i < n && i < 256; i++)
        for (int c = 0; c < 3; c++) palette[i][c] = b->at[at + i * each + 2 - (size_t)c];
    return 0;
}

static void bmp_row(const Bmp *m, const uint8_t *p, uint8_t palette[256][3], uint8_t *rgb) {
    size_t n = (size_t)m->width, bytes = m->bits / 8;
    for (size_t x = 0; x < n; x++, rgb += 3) {
        if (m->bits <= 8) {
            size_t bit = x * m->bits;
            memcpy(rgb, palette[p[bit / 8] >> (8 - m->bits - bit % 8) & ((1u << m->bits) - 1)], 3);
            continue;
        }
        uint32_t pixel = 0;
        for (size_t i = bytes; i-- > 0;) pixel = pixel << 8 | p[x * bytes + i];
        for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)((pixel >> m->shift[c] & m->most[c]) * 255 / m->most[c]);
    }
}

int bmp_measure(const Bytes *b, int64_t *w, int64_t *h, Error *e) {
    Bmp m = { 0 };
    if (bmp_header(&m, b, e)) return -1;
    *w = m.width, *h = m.height;
    return 0;
}

int bmp_decode(const Bytes *b, Image *out, Error *e) {
    Bmp m = { 0 };
    uint8_t palette[256][3];
    if (bmp_header(&m, b, e) || bmp_layout(&m, b, e) || image_sides_check(b, "BMP", m.width, m.height, e) ||
        (m.bits <= 8 && bmp_palette(&m, b, palette, e)))
        return -1;
    size_t stride = ((size_t)m.width * m.bits + 31) / 32 * 4, at = m.offset, end = 14 + (size_t)m.header;
    /* A palette that is announced shorter than it is: the pixels follow what the header says. */
    if (m.bits <= 8 && at == end) at += (m.header == 12 ? 3 : 4) * (size_t)(m.colours ? m.colours : 1u << m.bits);
    if (at < end) return image_bad(b, "BMP", "pixels that begin within the header", e);
    if (at > b->size || b->size - at < stride * (size_t)m.height) return image_cut_short(b, "BMP", e);
    if (image_new(b, "BMP", m.width, m.height, out, e)) return -1;
    for (size_t y = 0; y < (size_t)m.height; y++)
        bmp_row(&m, b->at + at + stride * (m.top_down ? y : (size_t)m.height - 1 - y), palette, out->rgb + y * (size_t)m.width * 3);
    return 0;
}

/* image_pnm.c - owns the decoding of PBM, PGM and PPM (netpbm), in bytes and in digits, of any maximum, as Pillow reads them: samples are
 * scaled to 8 bits by round(255 v / maximum), ties to even; grey with a maximum above 255 is scaled to 16 bits and then clipped at 255,
 * which is what becomes of 16-bit grey on its way to RGB.
 *
 * Refuses maxima of 0 and above 65535, samples of digits above the maximum, and files shorter than the pixels they announce. */
#include "model/image_formats.h"

#include <math.h>

typedef struct Pnm {
    const Bytes *b;
    size_t at;
    int kind; /* 1 .. 6 */
    int64_t most;
} Pnm;

static int blank(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void blanks_skip(Pnm *p) {
    const Bytes *b = p->b;
    for (; p->at < b->size && (blank(b->at[p->at]) || b->at[p->at] == '#'); p->at++)
        if (b->at[p->at] == '#')
            while (p->at + 1 < b->size && b->at[p->at] != '\n' && b->at[p->at] != '\r') p->at++;
}

/* The next number, after blanks and comments; -1 when there is none. Caps itself well above what is accepted. */
static int64_t number_next(Pnm *p) {
    const Bytes *b = p->b;
    int64_t n = -1;
    blanks_skip(p);
    for (; p->at < b->size && b->at[p->at] >= '0' && b->at[p->at] <= '9'; p->at++)
        n = n > INT32_MAX ? n : (n < 0 ? 0 : n * 10) + (b->at[p->at] - '0');
    return n;
}

/* In floating point as Pillow does it, so that what falls next to a half falls to the same side. */
static uint8_t scaled(int64_t v, int64_t most, int wide) {
    double top = wide ? 65535 : 255;
    int64_t level = (double)most == top ? v : llrint((double)v / (double)most * top);
    return (uint8_t)(level > 255 ? 255 : level);
}

/* Sample i of a file of bytes whose first is at `at`. */
static int64_t binary_sample(const Pnm *p, size_t i) {
    const uint8_t *at = p->b->at + p->at;
    return p->most > 255 ? big16(at + 2 * i) : at[i];
}

static int digits_read(Pnm *p, Image *out, size_t channels, Error *e) {
    size_t n = (size_t)out->width * (size_t)out->height * channels;
    int wide = p->kind == 2 && p->most > 255;
    for (size_t i = 0; i < n; i++) {
        int64_t v;
        if (p->kind == 1) { /* single digits, blanks between them optional */
            blanks_skip(p);
            v = p->at < p->b->size ? p->b->at[p->at++] - '0' : -1;
            if (v == 0 || v == 1) v = !v;
            else if (v != -1) v = 2;
        } else v = number_next(p);
        if (v < 0) return p->at < p->b->size ? image_bad(p->b, "PNM", "something that is no number", e) : image_cut_short(p->b, "PNM", e);
        if (v > p->most) return image_bad(p->b, "PNM", "a sample above the maximum", e);
        uint8_t level = scaled(v, p->most, wide);
        if (channels == 3) out->rgb[i] = level;
        else memset(out->rgb + 3 * i, level, 3);
    }
    return 0;
}

static int pnm_header(Pnm *p, const Bytes *b, int64_t *w, int64_t *h, Error *e) {
    *p = (Pnm){ .b = b, .at = 2, .kind = b->at[1] - '0', .most = 1 };
    *w = number_next(p), *h = number_next(p);
    if (p->kind != 1 && p->kind != 4) p->most = number_next(p);
    return *w < 0 || *h < 0 || p->most < 0 ? image_bad(b, "PNM", "a header without width, height and maximum", e) : 0;
}

int pnm_measure(const Bytes *b, int64_t *w, int64_t *h, Error *e) {
    Pnm p;
    return pnm_header(&p, b, w, h, e);
}

int pnm_decode(const Bytes *b, Image *out, Error *e) {
    Pnm p;
    int64_t w, h;
    if (pnm_header(&p, b, &w, &h, e)) return -1;
    size_t channels = p.kind == 3 || p.kind == 6 ? 3 : 1;
    if (image_sides_check(b, "PNM", w, h, e)) return -1;
    if (p.most < 1 || p.most > 65535) return image_bad(b, "PNM", "an impossible maximum", e), error_expected(e, "1 to 65535");
    size_t width = (size_t)w, height = (size_t)h, samples = width * height * channels;
    /* Digits take a byte a sample at least, bits an eighth. */
    size_t least = p.kind == 4 ? (width + 7) / 8 * height : p.kind < 4 ? samples : samples * (p.most > 255 ? 2 : 1);
    if (b->size - p.at < (p.kind == 1 ? 0 : 1) + least) return image_cut_short(b, "PNM", e);
    if (image_new(b, "PNM", w, h, out, e)) return -1;
    if (p.kind < 4) return digits_read(&p, out, channels, e);
    p.at++;
    if (p.kind == 4) { /* a set bit is black; rows begin at a byte */
        for (size_t y = 0; y < height; y++)
            for (size_t x = 0; x < width; x++)
                memset(out->rgb + (y * width + x) * 3, b->at[p.at + y * ((width + 7) / 8) + x / 8] >> (7 - x % 8) & 1 ? 0 : 255, 3);
        return 0;
    }
    int wide = p.kind == 5 && p.most > 255;
    for (size_t i = 0; i < samples; i++) {
        uint8_t level = scaled(binary_sample(&p, i), p.most, wide);
        if (channels == 3) out->rgb[i] = level;
        else memset(out->rgb + 3 * i, level, 3);
    }
    return 0;
}

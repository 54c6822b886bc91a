/* image_jpeg.c - owns the decoding of JPEG (ITU-T T.81) by libjpeg-turbo.
 *
 * Pixels are Pillow's bit for bit, since Pillow decodes by the same library with the same settings: its defaults, the accurate integer DCT
 * and smooth chroma upsampling, whose results do not depend on the processor. The IJG's own libjpeg has other pixels, so it is refused when
 * this is compiled. Four channels (CMYK, YCCK) are taken as inverted, whether Adobe's marker says so or not, and become RGB by Pillow's
 * formula.
 *
 * Refuses files without their end, data that is missing or damaged within (Pillow would show grey there), more scans than anyone writes,
 * two channels, 12 bits, and whatever the library refuses. */
#include "model/image_formats.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h> /* after it: which codes there are depends on how the library was built */

#ifndef LIBJPEG_TURBO_VERSION
#error "libjpeg-turbo is needed: other libraries of this interface decode to other pixels"
#endif

enum {
    SCANS = 500,            /* ten are usual; each costs a pass over all blocks, however short its data is */
    LIBRARY_BYTES = 1 << 30 /* coefficients of 100 megapixels in four channels take 800 MB */
};

typedef struct Jpeg {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    char message[JMSG_LENGTH_MAX];
} Jpeg;

static void jpeg_fail(j_common_ptr c) {
    Jpeg *j = c->client_data;
    j->errors.format_message(c, j->message);
    longjmp(j->failed, 1);
}

/* Level -1 is a warning. Those that mean lost pixels end the decoding; the rest (stray bytes between segments, odd headers) lose nothing.
 */
static void jpeg_warn(j_common_ptr c, int level) {
    if (level >= 0) return;
    switch (c->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_JPEG_EOF:
        jpeg_fail(c);
    }
}

/* Markers lead from SOI through whole segments to EOI, one of them a frame's (SOF) with its size. */
static int jpeg_walk(const Bytes *b, int64_t *w, int64_t *h, Error *e) {
    size_t at = 2;
    *w = *h = -1;
    for (int scans = 0;;) {
        /* Between segments, and within a scan, everything up to the next marker is skipped: stuffed zeros and restarts are not markers. */
        const uint8_t *found = at < b->size ? memchr(b->at + at, 0xff, b->size - at) : NULL;
        if (!found || (size_t)(found - b->at) + 1 >= b->size) return image_cut_short(b, "JPEG", e);
        at = (size_t)(found - b->at) + 1;
        uint8_t marker = b->at[at];
        if (marker == 0xff) continue;
        at++;
        if (marker == 0 || marker == 1 || (marker >= 0xd0 && marker <= 0xd8)) continue;
        if (marker == 0xd9) return scans && *w >= 0 ? 0 : image_bad(b, "JPEG", scans ? "no frame" : "an end without any scan", e);
        if (b->size - at < 2) return image_cut_short(b, "JPEG", e);
        size_t length = big16(b->at + at);
        if (length < 2) return image_bad(b, "JPEG", "a segment of impossible length", e);
        if (length > b->size - at) return image_cut_short(b, "JPEG", e);
        if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc && length >= 7 && *w < 0)
            *h = big16(b->at + at + 3), *w = big16(b->at + at + 5);
        if (marker == 0xda && ++scans > SCANS) {
            image_bad(b, "JPEG", "too many scans", e);
            return error_expected(e, "at most %d", SCANS);
        }
        at += length;
    }
}

static uint8_t times255(uint32_t a, uint32_t b) {
    uint32_t t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

/* A row of inverted CMYK, c = 255 - p[0] and so on: each colour is what black leaves, less its share. */
static void cmyk_row(const uint8_t *p, uint8_t *rgb, size_t n) {
    for (size_t i = 0; i < n; i++, p += 4, rgb += 3)
        for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)(p[3] - times255(255u - p[c], p[3]));
}

/* The part that the library may leave by longjmp; whatever is held is reachable from j, out and *row. */
static int jpeg_run(Jpeg *j, const Bytes *b, Image *out, uint8_t **row, Error *e) {
    struct jpeg_decompress_struct *d = &j->d;
    if (setjmp(j->failed)) return image_bad(b, "JPEG", j->message, e);
    jpeg_create_decompress(d);
    d->client_data = j;
    d->mem->max_memory_to_use = LIBRARY_BYTES;
    jpeg_mem_src(d, b->at, (unsigned long)b->size);
    jpeg_read_header(d, TRUE);
    if (d->num_components != 1 && d->num_components != 3 && d->num_components != 4) {
        image_bad(b, "JPEG", "another number of channels", e);
        return error_expected(e, "1, 3 or 4");
    }
    d->out_color_space = d->num_components == 1 ? JCS_GRAYSCALE : d->num_components == 3 ? JCS_RGB : JCS_CMYK;
    if (image_new(b, "JPEG", d->image_width, d->image_height, out, e)) return -1;
    size_t n = (size_t)out->width;
    if (!(*row = mem_new(n, 4, b->name, e))) return -1;
    jpeg_start_decompress(d);
    while (d->output_scanline < d->output_height) {
        uint8_t *rgb = out->rgb + (size_t)d->output_scanline * n * 3, *line = d->num_components == 3 ? rgb : *row;
        jpeg_read_scanlines(d, &line, 1);
        if (d->num_components == 4) cmyk_row(line, rgb, n);
        else if (d->num_components == 1)
            for (size_t i = 0; i < n; i++) memset(rgb + 3 * i, line[i], 3);
    }
    jpeg_finish_decompress(d);
    return 0;
}

int jpeg_measure(const Bytes *b, int64_t *w, int64_t *h, Error *e) { return jpeg_walk(b, w, h, e); }

int jpeg_decode(const Bytes *b, Image *out, Error *e) {
    int64_t w, h;
    if (jpeg_walk(b, &w, &h, e) || image_sides_check(b, "JPEG", w, h, e)) return -1;
    Jpeg *j = mem_new(1, sizeof *j, b->name, e);
    if (!j) return -1;
    j->d.err = jpeg_std_error(&j->errors);
    j->d.client_data = j; /* for errors of the creation itself */
    j->errors.error_exit = jpeg_fail;
    j->errors.emit_message = jpeg_warn;
    uint8_t *row = NULL;
    int bad = jpeg_run(j, b, out, &row, e);
    jpeg_destroy_decompress(&j->d);
    free(row);
    free(j);
    return bad;
}

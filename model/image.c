/* image.c - owns what happens to an image between its file and the vision tower: padding, cropping, resampling, normalisation.
 *
 * Resampling is Pillow's 8-bit bicubic, reproduced to the bit: two passes (rows first) with a rounding to 8 bits between them, and weights
 * held as integers in units of 2^-22. The kernel is Keys' cubic convolution (IEEE Trans. ASSP 29, 1981) with a = -1/2, widened by the scale
 * when shrinking, which is what makes it antialiased. Padding follows LLaVA's expand2square, cropping CLIPImageProcessor of Transformers, squashing torchvision's Resize to two sides.
 *
 * Neither the padded square nor the part of the resized image that the crop would throw away is ever made, so extreme shapes cost no more
 * memory than S rows of the longest side. Refuses sizes outside 1 .. 4096. */
#include "model/image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Fused multiply-adds would round the weights differently from Pillow's. */
#pragma STDC FP_CONTRACT OFF
#ifdef __GNUC__
#pragma GCC optimize("fp-contract=off")
#endif

const char *const image_aspects[] = { [IMAGE_PAD] = "pad", [IMAGE_CROP] = "crop", [IMAGE_ANYRES] = "anyres", [IMAGE_SQUASH] = "squash", NULL };

enum { WEIGHT_BITS = 32 - 8 - 2 }; /* 8 bits of pixel, 2 of headroom for the kernel's overshoot */

/* One axis of a resampling: output pixel i of the wanted window is a weighted sum of `count[i]` source pixels from `first[i]` on. */
typedef struct Axis {
    int n, taps, *first, *count;
    int32_t *weights; /* (n, taps) */
} Axis;

static double cubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static void axis_free(Axis *a) {
    free(a->first);
    free(a->count);
    free(a->weights);
    memset(a, 0, sizeof *a);
}

/* The pixels offset .. offset + n - 1 of an axis of `from` pixels resized to `to`. */
static int axis_plan(Axis *a, int from, int to, int offset, int n, Error *e) {
    double scale = (double)from / to, stretch = scale < 1.0 ? 1.0 : scale, support = 2.0 * stretch;
    memset(a, 0, sizeof *a);
    a->n = n;
    a->taps = (int)ceil(support) * 2 + 1;
    double *w = mem_new((size_t)a->taps, sizeof *w, "resampling weights", e);
    a->first = mem_new((size_t)n, sizeof *a->first, "resampling table", e);
    a->count = mem_new((size_t)n, sizeof *a->count, "resampling table", e);
    a->weights = mem_new((size_t)n * (size_t)a->taps, sizeof *a->weights, "resampling weights", e);
    if (!w || !a->first || !a->count || !a->weights) {
        free(w);
        axis_free(a);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        double centre = (offset + i + 0.5) * scale, inverse = 1.0 / stretch, sum = 0;
        int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        if (first < 0) first = 0;
        if (end > from) end = from;
        for (int t = 0; t < end - first; t++) sum += w[t] = cubic((t + first - centre + 0.5) * inverse);
        for (int t = 0; t < end - first; t++) {
            double weight = (sum != 0.0 ? w[t] / sum : w[t]) * (1 << WEIGHT_BITS);
            a->weights[(size_t)i * (size_t)a->taps + (size_t)t] = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
        }
        a->first[i] = first, a->count[i] = end - first;
    }
    free(w);
    return 0;
}

static inline uint8_t clip8(int32_t sum) {
    sum >>= WEIGHT_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* An image lying at (x, y) on a ground of one colour. */
typedef struct Canvas {
    const Image *image;
    int width, height, x, y;
    uint8_t colour[3];
} Canvas;

/* The canvas's row y: a row of the image itself where that is the whole of it, else composed in `line`, whose margins already hold the
 * ground. NULL for a row of ground only. */
static const uint8_t *canvas_row(const Canvas *c, int y, uint8_t *line) {
    const Image *image = c->image;
    if (y < c->y || y >= c->y + image->height) return NULL;
    const uint8_t *row = image->rgb + (size_t)(y - c->y) * (size_t)image->width * 3;
    if (image->width == c->width) return row;
    memcpy(line + (size_t)c->x * 3, row, (size_t)image->width * 3);
    return line;
}

static void row_resample(const Axis *a, const uint8_t *row, uint8_t *out) {
    for (int i = 0; i < a->n; i++, out += 3) {
        const int32_t *w = a->weights + (size_t)i * (size_t)a->taps;
        const uint8_t *p = row + (size_t)a->first[i] * 3;
        int32_t r = 1 << (WEIGHT_BITS - 1), g = r, b = r;
        for (int t = 0; t < a->count[i]; t++, p += 3) r += p[0] * w[t], g += p[1] * w[t], b += p[2] * w[t];
        out[0] = clip8(r), out[1] = clip8(g), out[2] = clip8(b);
    }
}

static void sums_add(int32_t *sums, const uint8_t *row, int32_t weight, size_t n) {
    for (size_t j = 0; j < n; j++) sums[j] += row[j] * weight;
}

/* Rounds the sums into `out` and starts them anew. */
static void sums_take(int32_t *sums, uint8_t *out, size_t n) {
    for (size_t j = 0; j < n; j++) out[j] = clip8(sums[j]), sums[j] = 1 << (WEIGHT_BITS - 1);
}

/* What both orders of the passes work with. */
typedef struct Resize {
    Axis across, down;
    uint8_t *line, *ground; /* canvas rows: one being composed, one of ground only */
    uint8_t *row;           /* one canvas row after the pass down */
    int32_t *sums;          /* as long */
} Resize;

/* Along rows first: `middle` holds the canvas rows that the window needs, as wide as it. */
static int resize_rows_first(Resize *r, const Canvas *c, Image *out, Error *e) {
    const Axis *down = &r->down;
    int first = down->first[0], end = down->first[out->height - 1] + down->count[out->height - 1];
    size_t stride = (size_t)out->width * 3;
    uint8_t *middle = mem_new((size_t)(end - first), stride, "rows of an image", e);
    if (!middle) return -1;
    for (int y = first; y < end; y++) {
        const uint8_t *row = canvas_row(c, y, r->line);
        row_resample(&r->across, row ? row : r->ground, middle + (size_t)(y - first) * stride);
    }
    for (int i = 0; i < out->height; i++) {
        for (int t = 0; t < down->count[i]; t++)
            sums_add(r->sums, middle + (size_t)(down->first[i] + t - first) * stride,
                down->weights[(size_t)i * (size_t)down->taps + (size_t)t], stride);
        sums_take(r->sums, out->rgb + (size_t)i * stride, stride);
    }
    free(middle);
    return 0;
}

static void resize_columns_first(Resize *r, const Canvas *c, Image *out) {
    const Axis *down = &r->down;
    size_t stride = (size_t)c->width * 3;
    for (int i = 0; i < out->height; i++) {
        for (int t = 0; t < down->count[i]; t++) {
            const uint8_t *row = canvas_row(c, down->first[i] + t, r->line);
            sums_add(r->sums, row ? row : r->ground, down->weights[(size_t)i * (size_t)down->taps + (size_t)t], stride);
        }
        sums_take(r->sums, r->row, stride);
        row_resample(&r->across, r->row, out->rgb + (size_t)i * (size_t)out->width * 3);
    }
}

/* The window from (left, top) on, of the size that `out` has, of the canvas resized to (width, height). A pass that changes no size has weights of exactly
 * one, so it needs no special case. */
static int canvas_resize(const Canvas *c, int width, int height, int left, int top, Image *out, Error *e) {
    Resize r = { 0 };
    int result = -1;
    size_t most = (size_t)(c->width > out->width ? c->width : out->width) * 3;
    out->rgb = mem_new((size_t)out->width * (size_t)out->height, 3, "resized image", e);
    if (!out->rgb || axis_plan(&r.across, c->width, width, left, out->width, e) || axis_plan(&r.down, c->height, height, top, out->height, e)) goto end;
    r.line = mem_new(1, most, "row of an image", e);
    r.ground = mem_new(1, most, "row of an image", e);
    r.row = mem_new(1, most, "row of an image", e);
    r.sums = mem_new(most, sizeof *r.sums, "row of an image", e);
    if (!r.line || !r.ground || !r.row || !r.sums) goto end;
    for (int x = 0; x < c->width; x++) memcpy(r.line + (size_t)x * 3, c->colour, 3);
    memcpy(r.ground, r.line, (size_t)c->width * 3);
    for (size_t j = 0; j < most; j++) r.sums[j] = 1 << (WEIGHT_BITS - 1);
    result = 0;
    /* Down the columns first when the height loses more than twice what the width does. */
    if (height < c->height && c->height - height > 2 * (c->width - width)) resize_columns_first(&r, c, out);
    else result = resize_rows_first(&r, c, out, e);
end:
    axis_free(&r.across);
    axis_free(&r.down);
    free(r.line);
    free(r.ground);
    free(r.row);
    free(r.sums);
    if (result) image_free(out);
    return result;
}

void image_free(Image *image) {
    free(image->rgb);
    memset(image, 0, sizeof *image);
}

static int sizes_check(const Image *image, int S, Error *e) {
    int w = image->width, h = image->height;
    if (S < 1 || S > IMAGE_FIT_MOST) return error_what(e, "bad image size"), error_found(e, "%d", S), error_expected(e, "1 to %d", IMAGE_FIT_MOST);
    if (w < 1 || h < 1 || w > IMAGE_SIDE || h > IMAGE_SIDE)
        return error_what(e, "bad image"), error_found(e, "%d x %d", w, h), error_expected(e, "sides of 1 to %d", IMAGE_SIDE);
    return 0;
}

int image_fit(const Image *image, ImageAspect aspect, int S, const float mean[3], Image *out, Error *e) {
    int w = image->width, h = image->height, shorter = w < h ? w : h, longer = w < h ? h : w;
    *out = (Image){ .width = S, .height = S };
    if (sizes_check(image, S, e)) return -1;
    if (aspect == IMAGE_PAD) {
        Canvas square = { .image = image, .width = longer, .height = longer, .x = (longer - w) / 2, .y = (longer - h) / 2 };
        for (int c = 0; c < 3; c++) {
            float level = 255.0f * mean[c];
            square.colour[c] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
        }
        return canvas_resize(&square, S, S, 0, 0, out, e);
    }
    Canvas whole = { .image = image, .width = w, .height = h };
    if (aspect == IMAGE_ANYRES || aspect == IMAGE_SQUASH) return canvas_resize(&whole, S, S, 0, 0, out, e);
    int stretched = (int)((double)S * longer / shorter), width = w <= h ? S : stretched, height = w <= h ? stretched : S;
    return canvas_resize(&whole, width, height, (width - S) / 2, (height - S) / 2, out, e);
}

int image_shrink(const Image *image, int side, Image *out, Error *e) {
    int w = image->width, h = image->height, longer = w < h ? h : w;
    *out = (Image){ .width = w, .height = h };
    if (sizes_check(image, side, e)) return -1;
    if (longer > side) {
        out->width = (int)fmax(1, round((double)w * side / longer));
        out->height = (int)fmax(1, round((double)h * side / longer));
    }
    Canvas whole = { .image = image, .width = w, .height = h };
    return canvas_resize(&whole, out->width, out->height, 0, 0, out, e);
}

/* What the 256 levels of each channel become. Transformers rescales in float64, rounds to float32, then subtracts and divides there. */
typedef float Levels[3][256];
static int levels_make(Levels level, const float mean[3], const float std[3], Error *e) {
    for (int c = 0; c < 3; c++) {
        if (!isfinite(mean[c]) || !isfinite(std[c]) || std[c] <= 0)
            return error_what(e, "bad image normalisation"), error_found(e, "mean %g, std %g", (double)mean[c], (double)std[c]),
                   error_expected(e, "a finite mean and a positive std");
        for (int v = 0; v < 256; v++) level[c][v] = ((float)(v * (1.0 / 255.0)) - mean[c]) / std[c];
    }
    return 0;
}

/* The (S, S) window of an image from (left, top) on, which may reach beyond it, where it is black. */
static void normalize(const Image *image, int left, int top, int S, Levels level, float *out) {
    size_t area = (size_t)S * (size_t)S;
    for (int y = 0; y < S; y++)
        for (int x = 0; x < S; x++) {
            int inside = x + left >= 0 && x + left < image->width && y + top >= 0 && y + top < image->height;
            const uint8_t *rgb = inside ? image->rgb + 3 * ((size_t)(y + top) * (size_t)image->width + (size_t)(x + left)) : NULL;
            for (size_t c = 0; c < 3; c++) out[c * area + (size_t)y * (size_t)S + (size_t)x] = level[c][rgb ? rgb[c] : 0];
        }
}

int image_preprocess(const Image *image, ImageAspect aspect, int S, const float mean[3], const float std[3], float *out, Error *e) {
    Image fit;
    Levels level;
    if (levels_make(level, mean, std, e) || image_fit(image, aspect, S, mean, &fit, e)) return -1;
    normalize(&fit, 0, 0, S, level, out);
    image_free(&fit);
    return 0;
}

int image_tiles(const Image *image, int down, int across, int S, const float mean[3], const float std[3], float *out, Error *e) {
    Levels level;
    Image fit;
    Canvas whole = { .image = image, .width = image->width, .height = image->height };
    size_t each = 3 * (size_t)S * (size_t)S;
    if (levels_make(level, mean, std, e)) return -1;
    if (S < 1 || down < 1 || across < 1 || down > IMAGE_FIT_MOST / S || across > IMAGE_FIT_MOST / S)
        return error_what(e, "bad image tiling"), error_found(e, "%d x %d tiles of %d", down, across, S), error_expected(e, "sides of at most %d", IMAGE_FIT_MOST);
    if (image_fit(image, IMAGE_ANYRES, S, mean, &fit, e)) return -1;
    normalize(&fit, 0, 0, S, level, out);
    image_free(&fit);
    int W = across * S, H = down * S;
    double wide = (double)W / image->width, high = (double)H / image->height;
    fit = (Image){ .width = W, .height = H };
    if (wide < high) fit.height = (int)ceil(image->height * wide);
    else fit.width = (int)ceil(image->width * high);
    if (fit.height > H) fit.height = H;
    if (fit.width > W) fit.width = W;
    if (canvas_resize(&whole, fit.width, fit.height, 0, 0, &fit, e)) return -1;
    int left = (W - fit.width) / 2, top = (H - fit.height) / 2;
    for (int t = 0; t < down * across; t++)
        normalize(&fit, t % across * S - left, t / across * S - top, S, level, out + (size_t)(t + 1) * each);
    image_free(&fit);
    return 0;
}

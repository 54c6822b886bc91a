/* image.h - images from files to the pixels a vision tower reads, bit for bit as Pillow and Transformers' CLIP preprocessing make them.
 *
 * Decoding (image_file.c and one file a format): PNG, JPEG, BMP, PPM, PGM and PBM become 8-bit RGB, the same as Pillow's convert("RGB") gives:
 * alpha is dropped, not blended, grey is repeated, 16-bit colour keeps its high byte, 16-bit grey is clipped at 255, CMYK is taken as inverted.
 * docs/images.md has the kinds. EXIF orientation is ignored, as there, unless asked for.
 * Preprocessing (image.c): bicubic resampling with antialiasing, pad to square or centre crop, normalisation. */
#ifndef RLAIFV_MODEL_IMAGE_H
#define RLAIFV_MODEL_IMAGE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
    IMAGE_FILE_BYTES = 64 << 20, /* the largest file that is read */
    IMAGE_PIXELS = 100000000,    /* the largest area, */
    IMAGE_SIDE = 65535,          /* and side, that is decoded */
    IMAGE_FIT_MOST = 4096        /* the largest side of what a picture is fitted to, one tile or several */
};

typedef struct Image {
    int width, height;
    uint8_t *rgb; /* (height, width, 3), rows from the top */
} Image;

typedef enum ImageAspect {
    IMAGE_PAD, /* centred on a square of colour int(255 * mean), then resized (LLaVA's expand2square) */
    IMAGE_CROP, /* shortest side resized to S, then the centre cut out (CLIP) */
    IMAGE_ANYRES, /* tiles (image_tiles); of one tile, the whole image squeezed into it */
    IMAGE_SQUASH, /* the whole image squeezed into the tile (OmniLMM) */
    IMAGE_ASPECTS
} ImageAspect;

extern const char *const image_aspects[]; /* "pad", "crop", "anyres", "squash", NULL */

typedef enum ImageExif { EXIF_IGNORE, EXIF_APPLY } ImageExif; /* what is done with a camera's orientation */
extern const char *const image_exifs[]; /* "ignore", "apply", NULL */

/* The usual extension ("png") of the format that a file's first bytes announce (12 are enough); NULL for none that is read here. */
const char *image_extension(const void *head, size_t size);
/* "unknown image format: NAME; found ...". -1. */
int image_unknown(const void *head, size_t size, const char *name, Error *e);
/* `name` stands for the bytes in messages. 0 or -1 with nothing held. Damaged and cut-short files are refused. May be called by several
 * threads at a time. */
int image_decode(const void *bytes, size_t size, const char *name, Image *out, Error *e);
int image_load(const char *path, Image *out, Error *e);
int image_load_exif(const char *path, ImageExif exif, Image *out, Error *e);
/* Width and height alone, from the file's header. */
int image_measure(const char *path, ImageExif exif, int *width, int *height, Error *e);
/* Orientation 1 .. 8 from the EXIF data of a JPEG or PNG file; 1 where there is none, or none that can be read. */
int image_orientation(const void *bytes, size_t size);
/* Turns and mirrors the pixels so that a picture of this orientation stands upright. */
int image_orient(Image *image, int orientation, Error *e);
void image_free(Image *image);
/* Deterministic: the same pixels give the same bytes. */
int image_write_png(const char *path, const Image *image, Error *e);
/* The same bytes in memory, malloc'd. 0 or -1. */
int image_encode_png(const Image *image, unsigned char **bytes, size_t *size, Error *e);
/* For people to look at: the image resized so that its longer side is at most `side` (1 to 4096), never enlarged, its proportions kept. */
int image_shrink(const Image *image, int side, Image *out, Error *e);

/* The (S, S) RGB image that the tower sees, before normalisation. mean, in 0 .. 1, colours the padding. 1 <= S <= 4096. */
int image_fit(const Image *image, ImageAspect aspect, int S, const float mean[3], Image *out, Error *e);
/* image_fit, then (x / 255 - mean) / std into out (3, S, S) fp32, rounded where Transformers rounds. */
int image_preprocess(const Image *image, ImageAspect aspect, int S, const float mean[3], const float std[3], float *out, Error *e);
/* The tiles of an image (anyres.h), normalised, into out (1 + down * across, 3, S, S) fp32: the whole image squeezed into one tile; then the image resized to
 * fit into down x across tiles, centred on black, cut into them row by row. Sides of at most 4096. */
int image_tiles(const Image *image, int down, int across, int S, const float mean[3], const float std[3], float *out, Error *e);

#endif

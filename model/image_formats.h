/* image_formats.h - what the decoders of image files share (image_file.c chooses among them): bytes under a name, the errors they speak,
 * the caps of image.h. Inside the room only. */
#ifndef RLAIFV_MODEL_IMAGE_FORMATS_H
#define RLAIFV_MODEL_IMAGE_FORMATS_H

#include "model/image.h"

#include <string.h>

typedef struct Bytes {
    const uint8_t *at;
    size_t size;
    const char *name; /* in messages */
} Bytes;

static inline uint32_t big16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }
static inline uint32_t big32(const uint8_t *p) { return big16(p) << 16 | big16(p + 2); }
static inline uint32_t little16(const uint8_t *p) { return (uint32_t)p[1] << 8 | p[0]; }
static inline uint32_t little32(const uint8_t *p) { return little16(p + 2) << 16 | little16(p); }
static inline int bytes_start(const Bytes *b, const void *magic, size_t n) { return b->size >= n && !memcmp(b->at, magic, n); }

/* "bad FORMAT image: NAME; found FOUND". -1. */
int image_bad(const Bytes *b, const char *format, const char *found, Error *e);
int image_cut_short(const Bytes *b, const char *format, Error *e);
/* Whether sides and area are within the caps; asked before anything of that size is allocated. */
int image_sides_check(const Bytes *b, const char *format, int64_t w, int64_t h, Error *e);
/* image_sides_check, then zeroed pixels. */
int image_new(const Bytes *b, const char *format, int64_t w, int64_t h, Image *out, Error *e);

/* Each takes bytes that begin as its format does. 0, or -1 with whatever *out then holds for the caller to free; measuring looks at headers
 * only, and leaves the caps to the caller. */
int jpeg_decode(const Bytes *b, Image *out, Error *e);
int jpeg_measure(const Bytes *b, int64_t *w, int64_t *h, Error *e);
int bmp_decode(const Bytes *b, Image *out, Error *e);
int bmp_measure(const Bytes *b, int64_t *w, int64_t *h, Error *e);
int pnm_decode(const Bytes *b, Image *out, Error *e); /* P1 .. P6 */
int pnm_measure(const Bytes *b, int64_t *w, int64_t *h, Error *e);

#endif

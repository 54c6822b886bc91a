/* picture.h - pictures as data URIs, so that a page needs no other file.
 *
 * A PNG or JPEG file that is small enough goes in as it is; all else is decoded, shrunk and written as PNG. The pictures of a page have a
 * budget of bytes; what does not fit is left out and counted, and so is what is gone or cannot be read: the page is about the answers. */
#ifndef RLAIFV_ENGINE_REPORT_PICTURE_H
#define RLAIFV_ENGINE_REPORT_PICTURE_H

#include "model/image.h"

typedef struct PictureSize {
    size_t as_is; /* bytes of a file that goes in untouched, at most */
    int side;     /* of what is shrunk */
} PictureSize;
extern const PictureSize picture_whole, picture_thumbnail;

typedef struct Pictures {
    ImageExif exif;
    size_t budget; /* bytes of URIs that are left */
    int shown, over_budget, unreadable;
} Pictures;

/* The URI, malloc'd; NULL: left out, and counted why. */
char *picture_uri(Pictures *p, const PictureSize *size, const char *path);

#endif

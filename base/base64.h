/* base64.h - bytes as text and back (RFC 4648, the alphabet with + and /). */
#ifndef RLAIFV_BASE_BASE64_H
#define RLAIFV_BASE_BASE64_H

#include "base/error.h"

/* Decodes; line ends are allowed and padding is required. malloc'd, or NULL with *size 0 when it is not base64 of a byte or more, or memory
 * is out. */
unsigned char *base64_decode(const char *text, size_t n, size_t *size);
/* One line with padding, zero-ended, malloc'd; NULL with the Error filled when memory is out. */
char *base64_encode(const void *bytes, size_t n, Error *e);

#endif

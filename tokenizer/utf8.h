/* utf8.h - characters and bytes: what every file of this room knows of UTF-8; of those above, whoever has to know whether bytes are. */
#ifndef RLAIFV_TOKENIZER_UTF8_H
#define RLAIFV_TOKENIZER_UTF8_H

#include "base/error.h"

#include <stdint.h>

/* The word-start mark, U+2581, that stands for a space. */
#define SPACE_MARK "\xe2\x96\x81"
enum { SPACE_MARK_SIZE = 3, SPACE_MARK_CODE = 0x2581 };
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, for what is not UTF-8 */
enum { REPLACEMENT_SIZE = 3 };

/* Bytes of the UTF-8 character that `text` (size > 0) starts with, its code point in *code; 0 when it starts with none. Overlong forms,
 * surrogates and code points above U+10FFFF are none, and leave U+FFFD in *code. */
static inline int utf8_next(const char *text, size_t size, uint32_t *code) {
    const unsigned char *u = (const unsigned char *)text;
    if (u[0] < 0x80) return *code = u[0], 1;
    *code = 0xfffd;
    int n = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || size < (size_t)n) return 0;
    uint32_t c = u[0] & (0xffu >> (n + 1));
    for (int i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (u[i] & 0x3fu);
    }
    if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
    return *code = c, n;
}

/* Bytes of the character that ends where `text + size` stands (valid UTF-8, size > 0), its code point in *code. */
static inline int utf8_last(const char *text, size_t size, uint32_t *code) {
    size_t n = 1;
    while (n < size && n < 4 && ((unsigned char)text[size - n] & 0xc0) == 0x80) n++;
    return utf8_next(text + size - n, n, code);
}

/* Writes the character; returns its bytes, at most 4. */
int utf8_put(uint32_t code, char out[4]);
/* Bytes at the start of `text` that are whole characters. */
size_t utf8_valid(const char *text, size_t size);
/* `text` with each ill-formed sequence as one U+FFFD (the longest start of a character, else one byte: Unicode 3.9, as Python's
 * errors="replace" and Rust's from_utf8_lossy do it): written to `out`, at most 3 * size bytes. Returns the bytes written. */
size_t utf8_mend(const char *text, size_t size, char *out);

#endif

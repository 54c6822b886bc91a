/* utf8.c - owns what is too long to be inlined of utf8.h: finding and mending what is not UTF-8. */
#include "tokenizer/utf8.h"

#include <string.h>

int utf8_put(uint32_t code, char out[4]) {
    if (code < 0x80) return out[0] = (char)code, 1;
    const int n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (int i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[n] | code);
    return n;
}

size_t utf8_valid(const char *text, size_t size) {
    size_t at = 0;
    uint32_t code;
    while (at < size) {
        uint64_t eight;
        if (size - at >= sizeof eight) {
            memcpy(&eight, text + at, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                at += sizeof eight;
                continue;
            }
        }
        const int n = utf8_next(text + at, size - at, &code);
        if (!n) break;
        at += (size_t)n;
    }
    return at;
}

/* Bytes of the ill-formed sequence at `text` that one U+FFFD stands for: as many as some character starts with, at least one. */
static size_t ill_formed(const char *text, size_t size) {
    const unsigned char *u = (const unsigned char *)text;
    if (u[0] < 0xe0 || u[0] > 0xf4 || size < 2) return 1; /* a lead of two bytes that fails has no second one */
    const unsigned low = u[0] == 0xe0 ? 0xa0 : u[0] == 0xf0 ? 0x90 : 0x80, high = u[0] == 0xed ? 0x9f : u[0] == 0xf4 ? 0x8f : 0xbf;
    if (u[1] < low || u[1] > high) return 1;
    return u[0] >= 0xf0 && size > 2 && (u[2] & 0xc0) == 0x80 ? 3 : 2;
}

size_t utf8_mend(const char *text, size_t size, char *out) {
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        const size_t good = utf8_valid(text + at, size - at);
        memcpy(out + n, text + at, good), n += good, at += good;
        if (at == size) break;
        memcpy(out + n, REPLACEMENT, REPLACEMENT_SIZE), n += REPLACEMENT_SIZE;
        at += ill_formed(text + at, size - at);
    }
    return n;
}

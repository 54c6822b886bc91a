/* base64.c - owns base64. Refuses text that is neither padded nor whole. */
#include "base/base64.h"

#include <stdlib.h>

static int digit_value(int c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

unsigned char *base64_decode(const char *text, size_t n, size_t *size) {
    unsigned char *out = malloc(n / 4 * 3 + 3);
    unsigned bits = 0;
    size_t digits = 0, pads = 0, used = 0;
    for (size_t i = 0; out && i < n; i++) {
        int c = (unsigned char)text[i], d = digit_value(c);
        if (c == '\n' || c == '\r') continue;
        if (c == '=') d = 0, pads++;
        else if (d < 0 || pads) goto bad;
        bits = bits << 6 | (unsigned)d;
        if (++digits % 4) continue;
        for (int byte = 0; byte < 3; byte++) out[used++] = (unsigned char)(bits >> (16 - 8 * byte));
    }
    if (!out || digits % 4 || pads > 2 || used < 3) goto bad;
    *size = used - pads;
    return out;
bad:
    free(out);
    *size = 0;
    return NULL;
}

char *base64_encode(const void *bytes, size_t n, Error *e) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *from = bytes;
    char *out = mem_new(n / 3 + 2, 4, "base64", e), *to = out;
    for (size_t i = 0; out && i < n; i += 3) {
        size_t here = n - i < 3 ? n - i : 3;
        unsigned bits = 0;
        for (size_t k = 0; k < 3; k++) bits = bits << 8 | (k < here ? from[i + k] : 0);
        for (size_t k = 0; k < 4; k++) *to++ = k <= here ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    return out;
}

/* hub_normalize.c - owns the normalisers of tokenizer.json: NFC (Unicode Standard Annex 15, by utf8proc), Prepend, Replace.
 *
 * Most text is in NFC already. Only stretches are normalised that hold a character which could be rewritten, reordered, or joined to the
 * one before it, together with that one; INERT lists blocks whose characters surely are none of these (hub_test.c proves it). */
#include "tokenizer/hub.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

int bytes_put(Bytes *b, const void *data, size_t size, Error *e) {
    if (size > b->cap - b->size && mem_grow(&b->data, &b->cap, b->size + size, 1, "a text", e)) return -1;
    if (size) memcpy(b->data + b->size, data, size);
    b->size += size;
    return 0;
}

static int too_long(size_t size, Error *e) {
    error_what(e, "a text is too long to tokenize");
    return error_found(e, "%zu bytes once normalised", size), error_expected(e, "at most %d", HUB_TEXT_MOST);
}

/* What a character is replaced by may be long enough for a short text to fill the memory: where that could be, hits are counted first. */
static int length_check(const char *text, size_t size, const Text *pattern, const Text *content, Error *e) {
    const size_t n = (size_t)pattern->size, each = (size_t)content->size;
    if (size / n < HUB_TEXT_MOST / (each + 1)) return 0;
    size_t hits = 0;
    for (const char *at = text, *end = text + size; (at = memmem(at, (size_t)(end - at), pattern->data, n)); at += n) hits++;
    const size_t length = size - hits * n + hits * each;
    return length > HUB_TEXT_MOST ? too_long(length, e) : 0;
}

int replace_all(Bytes *out, const char *text, size_t size, const Text *pattern, const Text *content, Error *e) {
    const size_t n = (size_t)pattern->size;
    if (length_check(text, size, pattern, content, e)) return -1;
    for (;;) {
        const char *hit = memmem(text, size, pattern->data, n);
        const size_t before = hit ? (size_t)(hit - text) : size;
        if (bytes_put(out, text, before, e)) return -1;
        if (!hit) return 0;
        if (bytes_put(out, content->data, (size_t)content->size, e)) return -1;
        text += before + n, size -= before + n;
    }
}

/* ---- NFC ---- */

int nfc_inert(uint32_t code) {
    static const struct {
        uint32_t first, last;
    } inert[] = { { 0, 0x2ff }, { 0x3a3, 0x482 }, { 0x48a, 0x52f }, { 0x5d0, 0x5ea }, { 0x620, 0x64a }, { 0x660, 0x66f }, { 0x671, 0x6d5 },
        { 0x904, 0x928 }, { 0x92a, 0x930 }, { 0x1ea0, 0x1ef9 }, { 0x2010, 0x2027 }, { 0x2030, 0x205e }, { 0x2190, 0x219a },
        { 0x2500, 0x27bf }, { 0x2e80, 0x2fff }, { 0x3000, 0x3029 }, { 0x3041, 0x3096 }, { 0x30a1, 0x30ff }, { 0x3400, 0x9fff },
        { 0xac00, 0xd7a3 }, { 0xff01, 0xffef }, { 0x1f000, 0x1fbff }, { 0x20000, 0x2a6df } };
    size_t low = 0, high = sizeof inert / sizeof *inert;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        if (inert[middle].first <= code) low = middle;
        else high = middle;
    }
    return code <= inert[low].last;
}

/* Appends `text` (few characters) composed. */
static int compose(Bytes *out, const char *text, size_t size, Error *e) {
    utf8proc_uint8_t *made = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &made, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) return error_what(e, "a text cannot be normalised"), error_found(e, "%s", utf8proc_errmsg(n));
    int bad = bytes_put(out, made, (size_t)n, e);
    free(made);
    return bad;
}

/* Bytes at the start of `text` that are inert as they stand: the last character before one that is not is not among them. */
static size_t inert_bytes(const char *text, size_t size) {
    size_t at = 0, last = 0;
    uint32_t code;
    while (at < size) {
        uint64_t eight;
        if (size - at > sizeof eight) {
            memcpy(&eight, text + at, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                at += sizeof eight, last = at - 1;
                continue;
            }
        }
        const int n = utf8_next(text + at, size - at, &code);
        if (!nfc_inert(code)) return last;
        last = at, at += (size_t)n;
    }
    return size;
}

static int nfc(Bytes *out, const char *text, size_t size, Error *e) {
    uint32_t code;
    for (size_t at = 0; at < size;) {
        const size_t still = inert_bytes(text + at, size - at);
        if (bytes_put(out, text + at, still, e)) return -1;
        if ((at += still) == size) break;
        size_t end = at + (size_t)utf8_next(text + at, size - at, &code); /* inert or not: the others lean on it */
        for (int n; end < size; end += (size_t)n) {
            n = utf8_next(text + end, size - end, &code);
            if (nfc_inert(code)) break;
        }
        if (compose(out, text + at, end - at, e)) return -1;
        at = end;
    }
    return 0;
}

/* ---- all steps ---- */

int hub_normalize(const Hub *h, int inside, const char *text, size_t size, Bytes buffers[2], Text *out, Error *e) {
    int next = 0;
    for (int i = 0; i < h->normal_count; i++) {
        const NormalStep *s = &h->normal[i];
        if (s->kind == NORMAL_PREPEND && (inside || !size)) continue;
        if (s->kind == NORMAL_NFC && inert_bytes(text, size) == size) continue;
        Bytes *b = &buffers[next];
        b->size = 0;
        int bad = s->kind == NORMAL_NFC       ? nfc(b, text, size, e)
                  : s->kind == NORMAL_REPLACE ? replace_all(b, text, size, &s->pattern, &s->content, e)
                                              : bytes_put(b, s->content.data, (size_t)s->content.size, e) || bytes_put(b, text, size, e);
        if (bad) return -1;
        if (b->size > HUB_TEXT_MOST) return too_long(b->size, e);
        text = b->data ? b->data : "", size = b->size, next = !next;
    }
    *out = (Text){ (char *)text, (int)size };
    return 0;
}

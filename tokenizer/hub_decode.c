/* hub_decode.c - ids back to text, as the Rust library does it: special tokens and ids without a token vanish, the decoders of
 * tokenizer.json rewrite the list of tokens one after another, and what is left is joined. */
#include "tokenizer/hub.h"

#include <stdlib.h>
#include <string.h>

/* Texts one after another; text i ends at ends[i]. */
typedef struct Chain {
    Bytes text;
    size_t *ends, count, cap;
} Chain;

static int chain_end(Chain *c, Error *e) {
    if (c->count == c->cap && mem_grow(&c->ends, &c->cap, c->count + 1, sizeof *c->ends, "decoded text", e)) return -1;
    c->ends[c->count++] = c->text.size;
    return 0;
}

static int chain_add(Chain *c, const char *text, size_t size, Error *e) {
    return bytes_put(&c->text, text, size, e) || chain_end(c, e) ? -1 : 0;
}

static int is_utf8(const Bytes *b) { return utf8_valid(b->data, b->size) == b->size; }

/* The bytes that stood in a row: the text that they are, or one U+FFFD for each. */
static int flush_bytes(Chain *to, Bytes *run, Error *e) {
    if (!run->size) return 0;
    if (is_utf8(run)) {
        if (chain_add(to, run->data, run->size, e)) return -1;
    } else
        for (size_t i = 0; i < run->size; i++)
            if (chain_add(to, REPLACEMENT, REPLACEMENT_SIZE, e)) return -1;
    run->size = 0;
    return 0;
}

static int hex_digit(char c) {
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

int byte_of_name(const char *text, size_t size) {
    if (size != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    const int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static int join_bytes(Chain *to, Bytes *run, const char *text, size_t size, Error *e) {
    const int value = byte_of_name(text, size);
    if (value >= 0) return bytes_put(run, &(char){ (char)value }, 1, e);
    return flush_bytes(to, run, e) || chain_add(to, text, size, e) ? -1 : 0;
}

/* The bytes that a token's characters stand for; one with another character is its own bytes. */
static int put_alphabet(Bytes *out, const char *text, size_t size, Error *e) {
    const size_t before = out->size;
    uint32_t code;
    for (size_t at = 0; at < size; at += (size_t)utf8_next(text + at, size - at, &code)) {
        utf8_next(text + at, size - at, &code);
        const int byte = character_byte(code);
        if (byte < 0) return out->size = before, bytes_put(out, text, size, e);
        if (bytes_put(out, &(char){ (char)byte }, 1, e)) return -1;
    }
    return 0;
}

static int strip(Chain *to, const DecodeStep *d, const char *text, size_t size, Error *e) {
    const size_t n = (size_t)d->content.size;
    for (int i = 0; i < d->start && size >= n && !memcmp(text, d->content.data, n); i++) text += n, size -= n;
    for (int i = 0; i < d->stop && size >= n && !memcmp(text + size - n, d->content.data, n); i++) size -= n;
    return chain_add(to, text, size, e);
}

static int decode_step(const DecodeStep *d, const Chain *from, Chain *to, Error *e) {
    static const Text nothing = { (char *)"", 0 }, space = { (char *)" ", 1 };
    Bytes run = { 0 };
    int bad = 0;
    size_t at = 0;
    for (size_t i = 0; !bad && i < from->count; at = from->ends[i++]) {
        const char *text = from->text.data ? from->text.data + at : "";
        const size_t size = from->ends[i] - at;
        switch (d->kind) {
        case DECODE_REPLACE:
            bad = replace_all(&to->text, text, size, &d->pattern, &d->content, e) || chain_end(to, e);
            break;
        case DECODE_METASPACE:
            bad = replace_all(&to->text, text, size, &d->pattern, !i && d->start ? &nothing : &space, e) || chain_end(to, e);
            break;
        case DECODE_BYTE_FALLBACK:
            bad = join_bytes(to, &run, text, size, e);
            break;
        case DECODE_FUSE:
            bad = bytes_put(&to->text, text, size, e);
            break;
        case DECODE_STRIP:
            bad = strip(to, d, text, size, e);
            break;
        case DECODE_BYTES:
            bad = put_alphabet(&run, text, size, e);
            break;
        }
    }
    if (d->kind == DECODE_BYTE_FALLBACK) bad = bad || flush_bytes(to, &run, e);
    if (d->kind == DECODE_FUSE) bad = bad || chain_end(to, e);
    if (d->kind == DECODE_BYTES && !bad && run.size) {
        char *mended = mem_new(run.size, 3, "decoded text", e);
        bad = !mended || bytes_put(&to->text, mended, utf8_mend(run.data, run.size, mended), e);
        free(mended);
    }
    if (d->kind == DECODE_BYTES) bad = bad || chain_end(to, e);
    free(run.data);
    return bad ? -1 : 0;
}

char *hub_decode(const Hub *h, const int *ids, size_t n, Error *e) {
    Chain chains[2] = { 0 }, *from = &chains[0], *to = &chains[1];
    int bad = 0;
    for (size_t i = 0; !bad && i < n; i++) {
        const int id = ids[i];
        if (id < 0 || (size_t)id >= h->count || !h->tokens[id].data || h->flags[id] & TOKEN_SPECIAL) continue;
        if (!h->decodes && from->count) bad = bytes_put(&from->text, " ", 1, e); /* no decoder: words */
        bad = bad || chain_add(from, h->tokens[id].data, (size_t)h->tokens[id].size, e);
    }
    for (int i = 0; !bad && i < h->decode_count; i++) {
        to->text.size = to->count = 0;
        bad = decode_step(&h->decode[i], from, to, e);
        Chain *done = from;
        from = to, to = done;
    }
    char *text = bad ? NULL : mem_new(from->text.size + 1, 1, "decoded text", e);
    if (text && from->text.size) memcpy(text, from->text.data, from->text.size);
    for (int i = 0; i < 2; i++) free(chains[i].text.data), free(chains[i].ends);
    return text;
}

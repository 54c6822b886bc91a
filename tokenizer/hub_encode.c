/* hub_encode.c - owns the way of a text through a tokenizer.json: mended, cut at added tokens, normalised, split, merged.
 *
 * A character that is no token becomes its bytes where all of them are tokens, else the unknown token (runs of them one, when fuse_unk says
 * so), else nothing. */
#include "tokenizer/hub.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct Run {
    const Hub *hub;
    Merger merger;
    RegexScratch regex;
    Bytes normal[2], step[HUB_STEPS_MOST]; /* what each step makes of its text */
    int at_start;                          /* of the text, in the stretch that is being normalised */
    int inside;                            /* nothing is put in front */
    IdList *out;
} Run;

/* ---- GPT-2's alphabet ---- */

static int stands_for_itself(int byte) { return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad); }

uint32_t byte_character(int byte) {
    if (stands_for_itself(byte)) return (uint32_t)byte;
    uint32_t code = 0x100;
    for (int b = 0; b < byte; b++) code += !stands_for_itself(b);
    return code;
}

int character_byte(uint32_t code) {
    if (code < 0x100) return stands_for_itself((int)code) ? (int)code : -1;
    /* the others in order: 0 to 0x20, 0x7f to 0xa0, 0xad */
    if (code <= 0x120) return (int)code - 0x100;
    if (code <= 0x142) return (int)code - 0x121 + 0x7f;
    return code == 0x143 ? 0xad : -1;
}

/* ---- words ---- */

static inline int emit(Run *r, const int *ids, size_t n, Error *e) {
    IdList *out = r->out;
    if (n > out->cap - out->count) return idlist_append(out, ids, n, e);
    for (size_t i = 0; i < n; i++) out->ids[out->count + i] = ids[i];
    out->count += n;
    return 0;
}

/* Adds the symbols of a character that is no token; *unknown is the size of an unknown token still to be added. */
static int add_unknown(Run *r, const char *text, int size, int bytes, int *unknown, Error *e) {
    const Hub *h = r->hub;
    int known = h->byte_fallback;
    for (int i = 0; known && i < size; i++) known = h->byte_id[(unsigned char)text[i]] >= 0;
    if (known) {
        for (int i = 0; i < size; i++)
            if (merger_add(&r->merger, h->byte_id[(unsigned char)text[i]], 1, e)) return -1;
        return 0;
    }
    if (h->unk < 0) return 0;
    if (*unknown && !h->fuse_unk) {
        if (merger_add(&r->merger, h->unk, *unknown, e)) return -1;
        *unknown = 0;
    }
    *unknown += bytes;
    return 0;
}

static int add_symbols(Run *r, const char *text, size_t size, Error *e) {
    const Hub *h = r->hub;
    int unknown = 0;
    r->merger.count = 0;
    for (size_t at = 0; at < size;) {
        uint32_t code;
        char character[4];
        const int byte = (unsigned char)text[at];
        const int n = h->byte_level ? 1 : utf8_next(text + at, size - at, &code);
        const int id = h->byte_level ? h->byte_symbol[byte] : char_table_get(&h->chars, code);
        if (id < 0) {
            const int length = h->byte_level ? utf8_put(byte_character(byte), character) : n;
            if (add_unknown(r, h->byte_level ? character : text + at, length, n, &unknown, e)) return -1;
        } else {
            if (unknown && merger_add(&r->merger, h->unk, unknown, e)) return -1;
            unknown = 0;
            if (merger_add(&r->merger, id, n, e)) return -1;
        }
        at += (size_t)n;
    }
    return unknown ? merger_add(&r->merger, h->unk, unknown, e) : 0;
}

/* The ids of what merges by itself. */
static int encode_word(Run *r, const char *text, size_t size, Error *e) {
    const Hub *h = r->hub;
    int known[WORD_IDS], n = word_cache_find(h->words, text, size, known);
    if (n) return emit(r, known, (size_t)n, e);
    const size_t before = r->out->count;
    const int whole = h->ignore_merges ? text_index_find(&h->whole_index, text, size) : -1;
    if (whole >= 0) {
        if (emit(r, &whole, 1, e)) return -1;
    } else {
        if (add_symbols(r, text, size, e) || merger_run(&r->merger, e)) return -1;
        for (size_t i = 0; i < r->merger.count; i++)
            if (emit(r, &r->merger.symbols[i].symbol, 1, e)) return -1;
    }
    if (r->out->count > before) word_cache_keep(h->words, text, size, r->out->ids + before, r->out->count - before);
    return 0;
}

/* Where no merge crosses a word start, words may be taken one by one. */
static int encode_piece(Run *r, const char *text, size_t size, Error *e) {
    if (!r->hub->words_apart) return encode_word(r, text, size, e);
    size_t start = 0;
    for (size_t at = 1; at < size; at++) { /* a mark that comes first starts the word itself */
        const char *mark = memchr(text + at, SPACE_MARK[0], size - at);
        if (!mark) break;
        at = (size_t)(mark - text);
        if (size - at < SPACE_MARK_SIZE || memcmp(mark, SPACE_MARK, SPACE_MARK_SIZE)) continue;
        if (at >= SPACE_MARK_SIZE && !memcmp(mark - SPACE_MARK_SIZE, SPACE_MARK, SPACE_MARK_SIZE)) continue;
        if (encode_word(r, text + start, at - start, e)) return -1;
        start = at;
    }
    return encode_word(r, text + start, size - start, e);
}

/* ---- splitting ---- */

static int split_text(Run *r, int step, const char *text, size_t size, int at_start, Error *e);

/* Pieces on their way from a cut to the next step. */
typedef struct Cutter {
    Run *run;
    int step, at_start, pending, last_matched;
    const char *text;
    size_t start, end; /* of the pending piece */
} Cutter;

static int cutter_pass(Cutter *c, size_t start, size_t end, Error *e) {
    return start < end ? split_text(c->run, c->step + 1, c->text + start, end - start, c->at_start && !start, e) : 0;
}

static int cutter_flush(Cutter *c, Error *e) {
    const int pending = c->pending;
    c->pending = 0;
    return pending ? cutter_pass(c, c->start, c->end, e) : 0;
}

/* Takes the next stretch, which matched or lies between matches. */
static int cutter_take(Cutter *c, const SplitStep *s, size_t start, size_t end, int matched, Error *e) {
    matched ^= s->invert;
    if (s->behaviour == CUT_ISOLATED) return cutter_pass(c, start, end, e);
    if (s->behaviour == CUT_REMOVED) return matched ? 0 : cutter_pass(c, start, end, e);
    const int last = c->last_matched, joins = s->behaviour == CUT_TOGETHER        ? matched == last
                                              : s->behaviour == CUT_WITH_PREVIOUS ? matched && !last
                                                                                  : !matched && last;
    c->last_matched = matched;
    if (c->pending && joins) return c->end = end, 0;
    if (cutter_flush(c, e)) return -1;
    c->pending = 1, c->start = start, c->end = end;
    return 0;
}

static int class_matches(Matcher m, uint32_t code) {
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)code);
    switch (m) {
    case MATCH_NUMBER:
        return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
    case MATCH_PUNCTUATION: /* with ASCII's symbols, as Rust's is_ascii_punctuation */
        return (k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO) ||
               (code < 0x80 && k >= UTF8PROC_CATEGORY_SM && k <= UTF8PROC_CATEGORY_SO);
    default:
        return (code >= 9 && code <= 13) || code == 0x85 || (k >= UTF8PROC_CATEGORY_ZS && k <= UTF8PROC_CATEGORY_ZP);
    }
}

/* The next match at or behind `from`: 1, 0, or -1. */
static int next_match(Run *r, const SplitStep *s, const char *text, size_t size, size_t from, size_t *start, size_t *end, Error *e) {
    if (s->matcher == MATCH_REGEX) return regex_next(s->regex, &r->regex, text, size, from, start, end, e);
    if (s->matcher == MATCH_TEXT) {
        const char *hit = memmem(text + from, size - from, s->text.data, (size_t)s->text.size);
        if (hit) *start = (size_t)(hit - text), *end = *start + (size_t)s->text.size;
        return hit != NULL;
    }
    uint32_t code;
    for (size_t at = from; at < size; at = *end) {
        *start = at, *end = at + (size_t)utf8_next(text + at, size - at, &code);
        if (class_matches(s->matcher, code)) return 1;
    }
    return 0;
}

static int cut(Run *r, int step, const char *text, size_t size, int at_start, Error *e) {
    const SplitStep *s = &r->hub->split[step];
    Cutter c = { .run = r, .step = step, .at_start = at_start, .text = text };
    size_t from = 0, done = 0, start, end;
    uint32_t code;
    for (int got, any = 0; from <= size; any = 1) {
        if ((got = next_match(r, s, text, size, from, &start, &end, e)) < 0) return -1;
        if (!got) break;
        if (start == end && any && start == done) { /* nothing, where the last match ended: on by one character */
            from += from < size ? (size_t)utf8_next(text + from, size - from, &code) : 1;
            continue;
        }
        if (done < start && cutter_take(&c, s, done, start, 0, e)) return -1;
        if (cutter_take(&c, s, start, end, 1, e)) return -1;
        done = from = end;
    }
    if (done < size && cutter_take(&c, s, done, size, 0, e)) return -1;
    return cutter_flush(&c, e);
}

static int put_prefix(Run *r, int step, const char *text, size_t size, int at_start, Error *e) {
    const SplitStep *s = &r->hub->split[step];
    static const Text space = { (char *)" ", 1 };
    const size_t n = (size_t)s->text.size;
    const int there = (s->spaces && *text == ' ') || (size >= n && !memcmp(text, s->text.data, n));
    const int puts = !there && !r->inside && (s->prefix == PREFIX_ALWAYS || (s->prefix == PREFIX_FIRST && at_start));
    if (!puts && !(s->spaces && memchr(text, ' ', size))) return split_text(r, step + 1, text, size, at_start, e);
    Bytes *b = &r->step[step];
    b->size = 0;
    if (puts && bytes_put(b, s->text.data, n, e)) return -1;
    if (s->spaces ? replace_all(b, text, size, &space, &s->text, e) : bytes_put(b, text, size, e)) return -1;
    return split_text(r, step + 1, b->data, b->size, at_start, e);
}

static int split_text(Run *r, int step, const char *text, size_t size, int at_start, Error *e) {
    if (step == r->hub->split_count) return encode_piece(r, text, size, e);
    return (r->hub->split[step].kind == SPLIT_CUT ? cut : put_prefix)(r, step, text, size, at_start, e);
}

/* ---- texts ---- */

static int take_token(void *self, int id, Error *e) { return emit(self, &id, 1, e); }

static int take_normal(void *self, const char *text, size_t size, size_t at, Error *e) {
    Run *r = self;
    return split_text(r, 0, text, size, r->at_start && !at, e);
}

static int take_raw(void *self, const char *text, size_t size, size_t at, Error *e) {
    Run *r = self;
    Text normal;
    if (hub_normalize(r->hub, r->inside, text, size, r->normal, &normal, e)) return -1;
    r->at_start = !at;
    const AddedVisitor visitor = { r, take_normal, take_token };
    return hub_visit_added(r->hub, &r->hub->normalized, normal.data, (size_t)normal.size, &visitor, e);
}

int hub_encode(const Hub *h, int inside, const char *text, size_t size, IdList *out, Error *e) {
    if (size > HUB_TEXT_MOST / 3) {
        error_what(e, "a text is too long to tokenize");
        return error_found(e, "%zu bytes", size), error_expected(e, "at most %d", HUB_TEXT_MOST / 3);
    }
    Run r = { .hub = h, .inside = inside, .merger.table = &h->merges, .out = out };
    const AddedVisitor visitor = { &r, take_raw, take_token };
    const size_t before = out->count;
    char *mended = NULL;
    int bad = 0;
    if (utf8_valid(text, size) < size) {
        bad = !(mended = mem_new(size, 3, "a text", e));
        if (!bad) size = utf8_mend(text, size, mended), text = mended;
    }
    bad = bad || hub_visit_added(h, &h->raw, text, size, &visitor, e);
    if (bad) out->count = before;
    for (int i = 0; i < h->split_count; i++) free(r.step[i].data);
    free(r.normal[0].data), free(r.normal[1].data), free(mended);
    regex_scratch_free(&r.regex);
    merger_free(&r.merger);
    return bad ? -1 : 0;
}

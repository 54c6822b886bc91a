/* regex.c - owns the expressions of tokenizer.json: written for Oniguruma, matched by PCRE2.
 *
 * The languages agree on what published tokenizers use, but for a few words that are translated here: \s is Unicode's White_Space (PCRE2
 * adds U+180E), \w is Oniguruma's word characters, ^ and $ stand at every line. Refuses what would mean something else in PCRE2: \h \R \X
 * \K \N \b and the like, sets within sets, intersections of sets, {n,m}+, groups other than (?: (?i: (?> and lookaround. Matching stops
 * with an error after STEPS_MOST steps, so that no expression can hold the program up.
 *
 * What \p{L} and the like hold is the libraries' business: PCRE2 10.42 knows Unicode 14, the Rust library's Oniguruma 16. On characters
 * that were assigned in between they can differ. */
#include "tokenizer/hub.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATTERN_MOST = 1 << 16,
    STEPS_MOST = 20 << 20,  /* of one match; Llama-3's expression takes as many as there are spaces in a row */
    STACK_START = 32 << 10, /* PCRE2 begins on the thread's own stack and asks for more where that is not enough */
    STACK_MOST = 64 << 20
};

struct Regex {
    pcre2_code *code;
    char *where; /* "PATH: field "FIELD"", for messages */
};

/* ---- translation ---- */

#define SPACES "\\x09-\\x0d\\x{85}\\p{Z}"
#define WORDS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

typedef struct Translation {
    const char *at, *end;
    Bytes out;
    int set; /* within [...] */
} Translation;

static int put_text(Translation *t, const char *text, Error *e) { return bytes_put(&t->out, text, strlen(text), e); }

/* Says why an expression is refused: `found` of it. */
static int unsupported(const char *found, size_t size, Error *e) {
    error_what(e, "an expression is not supported");
    error_found(e, "%.*s", (int)(size < 60 ? size : 60), found);
    return error_expected(e, "what means the same to Oniguruma and PCRE2");
}

static int translate_escape(Translation *t, Error *e) {
    const char *start = t->at;
    if (t->end - start < 2) return unsupported(start, 1, e);
    const char c = start[1];
    t->at += 2;
    if (c == 's') return put_text(t, t->set ? SPACES : "[" SPACES "]", e);
    if (c == 'w') return put_text(t, t->set ? WORDS : "[" WORDS "]", e);
    if ((c == 'S' || c == 'W') && !t->set) return put_text(t, c == 'S' ? "[^" SPACES "]" : "[^" WORDS "]", e);
    if (c == 'p' || c == 'P') {
        const char *close = t->at < t->end && *t->at == '{' ? memchr(t->at, '}', (size_t)(t->end - t->at)) : NULL;
        if (!close || close - t->at < 2) return unsupported(start, (size_t)(t->end - start), e);
        for (const char *p = t->at + 1; p < close; p++)
            if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') && *p != '_' && !(*p == '^' && p == t->at + 1))
                return unsupported(start, (size_t)(close + 1 - start), e);
        t->at = close + 1;
        return bytes_put(&t->out, start, (size_t)(t->at - start), e);
    }
    if (c == 'x') {
        const char *p = t->at;
        if (p < t->end && *p == '{') p = memchr(p, '}', (size_t)(t->end - p)) ? (const char *)memchr(p, '}', (size_t)(t->end - p)) + 1 : p;
        else
            while (p < t->end && p - t->at < 2 && strchr("0123456789abcdefABCDEF", *p) && *p) p++;
        if (p == t->at) return unsupported(start, 2, e);
        t->at = p;
        return bytes_put(&t->out, start, (size_t)(p - start), e);
    }
    const int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter && !strchr(t->set ? "dDrntf" : "dDrntfAz", c)) return unsupported(start, 2, e);
    if (c & 0x80) t->at--; /* the backslash takes nothing from a character beyond ASCII */
    return bytes_put(&t->out, start, (size_t)(t->at - start), e);
}

static int translate_group(Translation *t, Error *e) {
    static const char *const known[] = { "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)" };
    const size_t left = (size_t)(t->end - t->at), in_front = sizeof known / sizeof *known - 1;
    for (size_t i = 0; i < in_front + !t->out.size; i++) { /* "a(?i)b|c" is a(?:b|c) to one and ab|c to the other */
        const size_t n = strlen(known[i]);
        if (left >= n && !memcmp(t->at, known[i], n)) return t->at += n, bytes_put(&t->out, known[i], n, e);
    }
    if (left >= 2 && (t->at[1] == '?' || t->at[1] == '*')) return unsupported(t->at, left, e);
    t->at++;
    return put_text(t, "(", e);
}

/* {n}, {n,} or {n,m}; "{" that starts none of them is itself to both. Oniguruma takes {,n} for {0,n}, a "+" behind as one more repeat, and
 * {n}? as perhaps n. */
static int translate_count(Translation *t, Error *e) {
    const char *p = t->at + 1;
    while (p < t->end && ((*p >= '0' && *p <= '9') || *p == ',')) p++;
    const int counts = p < t->end && *p == '}' && p > t->at + 1;
    if (counts && (t->at[1] == ',' || (p + 1 < t->end && (p[1] == '+' || (p[1] == '?' && !memchr(t->at, ',', (size_t)(p - t->at)))))))
        return unsupported(t->at, (size_t)(t->end - t->at), e);
    const char *start = t->at;
    t->at = counts ? p + 1 : t->at + 1;
    return bytes_put(&t->out, start, (size_t)(t->at - start), e);
}

static int translate(Translation *t, Error *e) {
    int first = 0; /* at the start of a set, where "]" would be a member to one and the end to the other */
    while (t->at < t->end) {
        const char c = *t->at;
        const size_t left = (size_t)(t->end - t->at);
        if (c == '\\') {
            if (translate_escape(t, e)) return -1;
            first = 0;
            continue;
        }
        if (t->set) {
            if (c == ']' && first) return unsupported(t->at, left, e);
            if (c == '[' || (c == '&' && left > 1 && t->at[1] == '&')) return unsupported(t->at, left, e);
            if (c == ']') t->set = 0;
            first = first && c == '^' && t->at[-1] == '[';
        } else if (c == '[') t->set = first = 1;
        else if (c == '(') {
            if (translate_group(t, e)) return -1;
            continue;
        } else if (c == '{') {
            if (translate_count(t, e)) return -1;
            continue;
        }
        if (bytes_put(&t->out, t->at++, 1, e)) return -1;
    }
    return 0;
}

/* ---- compiling ---- */

static int compile(Regex *r, const Translation *t, Error *e) {
    int number;
    PCRE2_SIZE place;
    PCRE2_UCHAR message[160];
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return error_what(e, "out of memory for an expression");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    r->code = pcre2_compile(
        (PCRE2_SPTR)t->out.data, t->out.size, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &number, &place, context);
    pcre2_compile_context_free(context);
    if (!r->code) {
        pcre2_get_error_message(number, message, sizeof message);
        error_what(e, "an expression does not compile");
        error_found(e, "%s", (const char *)message);
        return error_expected(e, "a regular expression");
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* without it, matching is slower and means the same */
    return 0;
}

Regex *regex_new(const char *pattern, size_t size, const char *path, const char *field, Error *e) {
    Regex *r = mem_new(1, sizeof *r, "an expression", e);
    if (!r) return NULL;
    Translation t = { .at = pattern, .end = pattern + size };
    const size_t room = strlen(path) + strlen(field) + 16;
    int bad = !(r->where = mem_new(room, 1, "an expression", e));
    if (!bad) {
        snprintf(r->where, room, "%s: field \"%s\"", path, field);
        if (!size || size > PATTERN_MOST) {
            error_what(e, "an expression of a wrong length"), error_found(e, "%zu bytes", size);
            bad = error_expected(e, "1 to %d", PATTERN_MOST);
        } else bad = translate(&t, e) || compile(r, &t, e);
        if (bad) error_where(e, "%s", r->where);
    }
    free(t.out.data);
    if (!bad) return r;
    regex_free(r);
    return NULL;
}

void regex_free(Regex *r) {
    if (!r) return;
    pcre2_code_free(r->code);
    free(r->where);
    free(r);
}

/* ---- matching ---- */

void regex_scratch_free(RegexScratch *s) {
    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->context);
    pcre2_jit_stack_free(s->stack);
    *s = (RegexScratch){ 0 };
}

static int scratch_ready(RegexScratch *s, Error *e) {
    if (s->data && s->context) return 0;
    if (!s->data) s->data = pcre2_match_data_create(1, NULL);
    if (!s->context) s->context = pcre2_match_context_create(NULL);
    if (!s->data || !s->context) return error_what(e, "out of memory for matching");
    pcre2_set_match_limit(s->context, STEPS_MOST);
    pcre2_set_heap_limit(s->context, STACK_MOST >> 10);
    return 0;
}

int regex_next(const Regex *r, RegexScratch *s, const char *text, size_t size, size_t from, size_t *start, size_t *end, Error *e) {
    if (scratch_ready(s, e)) return -1;
    int got = pcre2_match(r->code, (PCRE2_SPTR)text, size, from, PCRE2_NO_UTF_CHECK, s->data, s->context);
    if (got == PCRE2_ERROR_JIT_STACKLIMIT && !s->stack && (s->stack = pcre2_jit_stack_create(STACK_START, STACK_MOST, NULL))) {
        pcre2_jit_stack_assign(s->context, NULL, s->stack);
        got = pcre2_match(r->code, (PCRE2_SPTR)text, size, from, PCRE2_NO_UTF_CHECK, s->data, s->context);
    }
    if (got == PCRE2_ERROR_NOMATCH) return 0;
    if (got < 0) {
        PCRE2_UCHAR message[160];
        pcre2_get_error_message(got, message, sizeof message);
        error_what(e, "a tokenizer's expression takes too long on a text"), error_where(e, "%s", r->where);
        error_found(e, "%s, at byte %zu of %zu", (const char *)message, from, size);
        return error_hint(e, "leave the text out, or correct the expression");
    }
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(s->data);
    return *start = bounds[0], *end = bounds[1], 1;
}

/* choice.c - owns the reading of a chosen letter, and accuracy by category. Refuses questions without a right letter among their options.
 */
#include "engine/eval/choice.h"

#include "engine/eval/answers.h"
#include "engine/eval/sections.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- the letter ---- */

static int word_byte(char c) { return isalnum((unsigned char)c) || c == '_' || c == '\'' || (unsigned char)c >= 0x80; }

/* The letter at p when it is one of the first n, stands apart from words, and is written large or, `small`, either way. */
static char letter_at(const char *text, const char *p, int n, int small) {
    char c = small ? (char)toupper((unsigned char)*p) : *p;
    if (c < 'A' || c >= 'A' + n || word_byte(p[1])) return 0;
    return p > text && word_byte(p[-1]) ? 0 : c;
}

/* A at p that is an article: a word follows, and not one that goes on about a choice. */
static int article(const char *p) {
    static const char *const on[] = { "or", "and", "is", "because", "since", "as" };
    if (*p != 'A' || p[1] != ' ' || !isalpha((unsigned char)p[2])) return 0;
    for (size_t i = 0; i < sizeof on / sizeof *on; i++)
        if (!strncmp(p + 2, on[i], strlen(on[i])) && !word_byte(p[2 + strlen(on[i])])) return 0;
    return 1;
}

/* Past opening brackets, quotes, marks of emphasis and blanks. */
static const char *opened(const char *p) { return p + strspn(p, " \t\r\n([{\"'*`"); }

/* 1. Nothing but the letter and punctuation: "b", "(B).", "**B**". */
static char alone(const char *text, int n) {
    const char *p = opened(text);
    char c = letter_at(text, p, n, 1);
    return c && !p[1 + strspn(p + 1, " \t\r\n)]}\"'*`.,:;!")] ? c : 0;
}

/* 2. What follows "answer is", "answer:", "option" or "choice"; two different letters are none. */
static char announced(const char *text, int n) {
    static const char *const cues[] = { "answer is", "answer:", "option", "choice" };
    char found = 0;
    for (const char *p = text; *p; p++)
        for (size_t i = 0; i < sizeof cues / sizeof *cues; i++) {
            size_t k = strlen(cues[i]);
            if (strncasecmp(p, cues[i], k)) continue;
            const char *q = opened(p + k);
            if (*q == ':') q = opened(q + 1);
            if (!strncasecmp(q, "option ", 7) || !strncasecmp(q, "choice ", 7)) continue; /* the cue that follows says it */
            char c = letter_at(text, q, n, 0);
            if (article(q)) c = 0;
            if (c && found && c != found) return 0;
            if (c) found = c;
        }
    return found;
}

/* 3. The letter first, marked as one: "B. a dog", "(B) a dog", "B: a dog". */
static char leading(const char *text, int n) {
    const char *p = opened(text);
    char c = letter_at(text, p, n, 0);
    return c && strchr(".):]", p[1]) && p[1] ? c : 0;
}

/* 4. The only large letter that stands apart; not an article, nor I. */
static char only(const char *text, int n) {
    char found = 0;
    for (const char *p = text; *p; p++) {
        char c = letter_at(text, p, n, 0);
        if (!c || c == 'I' || article(p)) continue;
        if (found && c != found) return 0;
        found = c;
    }
    return found;
}

/* Whether `part` stands in `text` as whole words, whatever the size of letters. */
static int holds(const char *text, const char *part) {
    size_t k = strlen(part);
    if (!k) return 0;
    for (const char *p = text; (p = strcasestr(p, part)); p++)
        if ((p == text || !word_byte(p[-1]) || !word_byte(*part)) && (!word_byte(p[k]) || !word_byte(part[k - 1]))) return 1;
    return 0;
}

/* 5. The only option whose text stands in the answer; one that is part of another that does is not counted. */
static char quoted(const char *text, const char *const *options, int n) {
    char found = 0;
    for (int i = 0; i < n; i++) {
        int within = 0;
        if (!options[i] || !holds(text, options[i])) continue;
        for (int j = 0; j < n; j++)
            within |=
                j != i && options[j] && strlen(options[j]) > strlen(options[i]) && holds(options[j], options[i]) && holds(text, options[j]);
        if (within) continue;
        if (found) return 0;
        found = (char)('A' + i);
    }
    return found;
}

char choice_letter(const char *answer, const char *const *options, int n) {
    char c = alone(answer, n);
    if (!c) c = announced(answer, n);
    if (!c) c = leading(answer, n);
    if (!c) c = only(answer, n);
    return c ? c : quoted(answer, options, n);
}

/* ---- questions ---- */

enum { ASKED, CORRECT, UNREAD, COLUMNS };

typedef struct Choice {
    AnswerSet answers;
    EvalResult *result;
    Sections sections;
} Choice;

static double accuracy(const int64_t *s, int part) { return share((double)s[part * COLUMNS + CORRECT], (double)s[part * COLUMNS + ASKED]); }
static double unread(const int64_t *s, int part) { return share((double)s[part * COLUMNS + UNREAD], (double)s[part * COLUMNS + ASKED]); }

/* Options as a list, or as an object of letters; without any, four letters. Returns how many, or -1. */
static int options_read(const json_t *row, const char *where, const char *texts[CHOICES_MOST], Error *e) {
    const json_t *options = json_object_get(row, "options");
    int n = (int)(json_is_array(options) ? json_array_size(options) : json_object_size(options)), bad = 0;
    if (!options || json_is_null(options)) return 4;
    for (int i = 0; i < n && i < CHOICES_MOST && !bad; i++) {
        char letter[2] = { (char)('A' + i), 0 };
        texts[i] = json_string_value(json_is_array(options) ? json_array_get(options, (size_t)i) : json_object_get(options, letter));
        bad = !texts[i];
    }
    if (n < 2 || n > CHOICES_MOST || bad)
        return error_what(e, "bad options"), error_where(e, "%s", where), error_found(e, "%s", json_kind(options)),
               error_expected(e, "a list of 2 to %d texts, or an object of texts by the letters A, B, ...", CHOICES_MOST);
    return n;
}

static int answer_judge(Choice *c, const json_t *row, const char *id, const char *where, Error *e) {
    const char *texts[CHOICES_MOST] = { 0 }, *right, *category = CATEGORY_NONE;
    if (json_need_string(row, "answer", where, &right, e) || json_may_string(row, "category", where, &category, e)) return -1;
    int n = options_read(row, where, texts, e);
    if (n < 0) return -1;
    if (right[0] < 'A' || right[0] >= 'A' + n || right[1])
        return error_what(e, "bad answer of a question"), error_where(e, "%s", where), error_found(e, "\"%.40s\"", right),
               error_expected(e, "a letter from A to %c", 'A' + n - 1);
    const Answer *a;
    if (answers_ask(&c->answers, id, where, &a, e)) return -1;
    if (!a) return 0;
    char said[2] = { choice_letter(a->text, texts, n), 0 };
    const int32_t counts[COLUMNS] = { 1, said[0] == right[0], !said[0] };
    return sections_add(&c->sections, category, counts, e) ||
                   eval_row(c->result,
                       json_pack("{s:s, s:s, s:s, s:s, s:b}", "id", id, "category", category, "right", right, "said", said, "correct",
                           said[0] == right[0]),
                       e)
               ? -1
               : 0;
}

static int question_add(void *context, const json_t *row, const char *where, Error *e) {
    char *id;
    if (row_id(row, IDS_OF_QUESTIONS, 0, where, &id, e)) return -1;
    int bad = answer_judge(context, row, id, where, e);
    free(id);
    return bad;
}

int choice_eval(const EvalSettings *s, const char *questions, const char *out, FILE *table, Error *e) {
    static const SectionMeasure measures[] = { { "accuracy", accuracy }, { "unread", unread } };
    EvalResult r;
    Choice c = { .result = &r, .sections = { .columns = COLUMNS } };
    int bad = eval_open(&r, "choice", s, e);
    if (!bad) {
        bad = answers_read(&c.answers, s->answers, IDS_OF_QUESTIONS, e) || rows_each(questions, question_add, &c, e) ||
              answers_settle(&c.answers, s->partial, e) || sections_measure(&c.sections, measures, 2, &r, s, e);
        r.answers = (int)c.sections.n;
        answers_tally(&c.answers, &r.missing, &r.extra);
        answers_free(&c.answers);
        if (bad) eval_abandon(&r);
        else bad = eval_finish(&r, out, table, e);
    }
    sections_free(&c.sections);
    return bad ? -1 : 0;
}

/* pope.c - owns POPE's reading of answers and its numbers. Refuses labels that are neither yes nor no, and files that do not pair up. */
#include "engine/eval/pope.h"

#include "engine/eval/answers.h"

#include <stdlib.h>
#include <string.h>

/* As POPE's evaluate.py: up to the first full stop, commas taken out, cut at each blank. */
int pope_says(const char *answer) {
    char word[4];
    size_t n = 0; /* letters of the word so far, commas not counted */
    for (const char *p = answer;; p++) {
        int end = !*p || *p == '.';
        if (end || *p == ' ') {
            if ((n == 2 && (!memcmp(word, "No", 2) || !memcmp(word, "no", 2))) || (n == 3 && !memcmp(word, "not", 3))) return 0;
            n = 0;
        } else if (*p != ',') {
            if (n < sizeof word) word[n] = *p;
            n++;
        }
        if (end) return 1;
    }
}

enum { YES_YES, YES_NO, NO_YES, NO_NO, COLUMNS }; /* label, answer */

static double accuracy(const int64_t *s, int part) {
    return (void)part, share((double)(s[YES_YES] + s[NO_NO]), (double)(s[YES_YES] + s[YES_NO] + s[NO_YES] + s[NO_NO]));
}
static double precision(const int64_t *s, int part) { return (void)part, share((double)s[YES_YES], (double)(s[YES_YES] + s[NO_YES])); }
static double recall(const int64_t *s, int part) { return (void)part, share((double)s[YES_YES], (double)(s[YES_YES] + s[YES_NO])); }
static double f1(const int64_t *s, int part) { return harmonic(precision(s, part), recall(s, part)); }
static double yes_ratio(const int64_t *s, int part) {
    return (void)part, share((double)(s[YES_YES] + s[NO_YES]), (double)(s[YES_YES] + s[YES_NO] + s[NO_YES] + s[NO_NO]));
}

typedef struct Pope {
    AnswerSet answers;
    Counts here, all;
    EvalResult *result;
    const char *section;
} Pope;

static int question_add(void *context, const json_t *row, const char *where, Error *e) {
    Pope *p = context;
    const Answer *a = NULL;
    const char *label;
    char *id;
    if (json_need_string(row, "label", where, &label, e) || row_id(row, IDS_OF_QUESTIONS, 0, where, &id, e)) return -1;
    int yes = !strcmp(label, "yes"), bad = 0;
    if (!yes && strcmp(label, "no"))
        bad = error_what(e, "bad label"), error_where(e, "%s", where), error_found(e, "\"%.40s\"", label), error_expected(e, "yes or no");
    else bad = answers_ask(&p->answers, id, where, &a, e);
    if (a) {
        int said = pope_says(a->text);
        int32_t counts[COLUMNS] = { 0 };
        counts[yes ? (said ? YES_YES : YES_NO) : (said ? NO_YES : NO_NO)] = 1;
        bad = counts_add(&p->here, counts, e) || counts_add(&p->all, counts, e) ||
              eval_row(p->result,
                  json_pack("{s:s, s:s, s:s, s:s, s:b}", "section", p->section, "id", id, "label", label, "said", said ? "yes" : "no",
                      "correct", said == yes),
                  e);
    }
    free(id);
    return bad ? -1 : 0;
}

static int measures_add(EvalResult *r, const Counts *c, const char *section, const EvalSettings *s, Error *e) {
    const Measure measures[] = { { section, "accuracy", accuracy, 0 }, { section, "precision", precision, 0 },
        { section, "recall", recall, 0 }, { section, "f1", f1, 0 }, { section, "yes_ratio", yes_ratio, 0 } };
    return eval_count(r, section, "answers", (int64_t)c->n, e) || eval_measure(r, c, measures, sizeof measures / sizeof *measures, s, e)
               ? -1
               : 0;
}

/* The name of a file without folder and extension. */
static void stem(const char *path, char *out, size_t size) {
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    snprintf(out, size, "%.*s", (int)(strcspn(base, ".") ? strcspn(base, ".") : strlen(base)), base);
}

static int file_eval(Pope *p, const char *questions, const char *answers, const EvalSettings *s, Error *e) {
    char section[80];
    stem(questions, section, sizeof section);
    p->section = section;
    if (json_object_get(json_object_get(p->result->json, "measures"), section) || !strcmp(section, "all"))
        return error_what(e, "two sections of one name"), error_where(e, "--questions"), error_found(e, "%s", section),
               error_expected(e, "files of different names, none \"all\"");
    if (answers_read(&p->answers, answers, IDS_OF_QUESTIONS, e)) return -1;
    int bad = rows_each(questions, question_add, p, e) || answers_settle(&p->answers, s->partial, e) ||
              measures_add(p->result, &p->here, section, s, e);
    p->result->answers += (int)p->here.n;
    answers_tally(&p->answers, &p->result->missing, &p->result->extra);
    answers_free(&p->answers);
    counts_free(&p->here);
    return bad ? -1 : 0;
}

int pope_eval(const EvalSettings *s, const char *questions, const char *out, FILE *table, Error *e) {
    EvalResult r;
    Pope p = { .here = { .columns = COLUMNS }, .all = { .columns = COLUMNS }, .result = &r };
    char **asked = NULL, **said = NULL;
    int n, m, bad = names_split(questions, "--questions", &asked, &n, e);
    if (bad) return -1;
    bad = names_split(s->answers, "--answers", &said, &m, e);
    if (bad) said = NULL;
    if (!bad && n != m)
        bad = error_what(e, "files do not pair up"), error_where(e, "--answers"), error_found(e, "%d", m),
        error_expected(e, "%d, one for each of --questions", n);
    bad = bad || eval_open(&r, "pope", s, e);
    if (!bad) {
        for (int i = 0; i < n && !bad; i++) bad = file_eval(&p, asked[i], said[i], s, e);
        if (!bad && n > 1) bad = measures_add(&r, &p.all, "all", s, e);
        if (bad) eval_abandon(&r);
        else bad = eval_finish(&r, out, table, e);
    }
    counts_free(&p.all);
    names_free(asked);
    names_free(said);
    return bad ? -1 : 0;
}

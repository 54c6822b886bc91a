/* chair.c - owns the counts of CHAIR over answers. Without an extractor every mention counts, also of a class named before; with one, each
 * word once: so Object HalBench has it on either path. Answers whose list of objects cannot be read are left out, and counted. Refuses
 * answers about pictures of which no truth is given. */
#include "engine/eval/chair.h"

#include "engine/eval/answers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWERS, NAMING, FALSE_ANSWERS, MENTIONS, FALSE_MENTIONS, COVERED, PRESENT, WORDS, COLUMNS };

static double chair_s(const int64_t *s, int part) { return (void)part, share((double)s[FALSE_ANSWERS], (double)s[ANSWERS]); }
static double chair_s_refine(const int64_t *s, int part) { return (void)part, share((double)s[FALSE_ANSWERS], (double)s[NAMING]); }
static double chair_i(const int64_t *s, int part) { return (void)part, share((double)s[FALSE_MENTIONS], (double)s[MENTIONS]); }
static double recall(const int64_t *s, int part) { return (void)part, share((double)s[COVERED], (double)s[PRESENT]); }
static double f1(const int64_t *s, int part) { return harmonic(100 - chair_i(s, part), recall(s, part)); }
static double response_f1(const int64_t *s, int part) {
    return harmonic(100 - chair_s_refine(s, part), share((double)s[NAMING], (double)s[ANSWERS]));
}
static double words(const int64_t *s, int part) { return (void)part, s[ANSWERS] ? (double)s[WORDS] / (double)s[ANSWERS] : NAN; }

int32_t chair_pieces(const char *text) {
    static const char blanks[] = " \t\r\n\f\v";
    size_t n;
    int32_t count = 1;
    text += strspn(text, blanks);
    for (n = strlen(text); n && strchr(blanks, text[n - 1]);) n--;
    for (size_t i = 0; i < n; i++) count += text[i] == ' ';
    return count;
}

/* mentions: [word, class] each. */
static int answer_add(const Answer *a, json_t *mentions, const json_t *classes, Counts *c, EvalResult *r, Error *e) {
    const json_t *pair;
    size_t i;
    int32_t counts[COLUMNS] = { [ANSWERS] = 1, [PRESENT] = (int32_t)json_object_size(classes), [WORDS] = chair_pieces(a->text) };
    json_t *covered = json_object(), *absent = json_array(), *present = json_array();
    int bad = !covered || !absent || !present ? error_what(e, "out of memory") : 0;
    const char *class;
    json_t *value;
    json_array_foreach(mentions, i, pair) {
        class = json_string_value(json_array_get(pair, 1));
        int here = json_object_get(classes, class) != NULL;
        if (!bad && (here ? json_object_set_new(covered, class, json_true()) : json_array_append(absent, (json_t *)pair)))
            bad = error_what(e, "out of memory");
    }
    json_object_foreach((json_t *)classes, class, value) if (!bad && json_array_append_new(present, json_string(class))) bad =
        error_what(e, "out of memory");
    counts[MENTIONS] = (int32_t)json_array_size(mentions);
    counts[FALSE_MENTIONS] = (int32_t)json_array_size(absent);
    counts[NAMING] = counts[MENTIONS] > 0;
    counts[FALSE_ANSWERS] = counts[FALSE_MENTIONS] > 0;
    counts[COVERED] = (int32_t)json_object_size(covered);
    bad = bad || counts_add(c, counts, e) ||
          eval_row(r,
              json_pack("{s:s, s:O, s:O, s:O, s:i, s:i}", "image_id", a->id, "mentions", mentions, "hallucinated", absent, "present",
                  present, "covered", (int)counts[COVERED], "words", (int)counts[WORDS]),
              e);
    json_decref(covered);
    json_decref(absent);
    json_decref(present);
    return bad ? -1 : 0;
}

static int truth_read(
    const char *files, const AnswerSet *answers, ChairWords *w, json_t *truth, json_t *described, int *unasked, Error *e) {
    char **paths;
    int n, bad = 0;
    for (size_t i = 0; i < answers->n; i++)
        if (!json_object_get(truth, answers->all[i].id) && json_object_set_new(truth, answers->all[i].id, json_object()))
            return error_what(e, "out of memory");
    if (names_split(files, "--truth", &paths, &n, e)) return -1;
    for (int i = 0; i < n && !bad; i++) bad = chair_truth_read(paths[i], w, truth, described, unasked, e);
    names_free(paths);
    return bad;
}

/* The mentions of all answers that are used: by their words, or by an extractor; NULL: unread. */
static int mentions_find(
    const ChairFiles *f, const AnswerSet *answers, ChairWords *w, const char *out, EvalResult *r, json_t **found, Error *e) {
    size_t n = 0;
    const char **ids = mem_new(answers->n, sizeof *ids, "answers", e), **texts = mem_new(answers->n, sizeof *texts, "answers", e);
    int bad = !ids || !texts;
    for (size_t i = 0; i < answers->n && !bad; i++)
        if (answers->all[i].used) ids[n] = answers->all[i].id, texts[n++] = answers->all[i].text;
    if (!bad && f->extractor) bad = chair_objects_find(w, f->extractor, f->prompt, out, ids, texts, n, found, r, e);
    else if (!bad) bad = eval_note(r, "extractor", "none, the words of the answers", e);
    for (size_t i = 0; i < n && !bad && !f->extractor; i++) bad = !(found[i] = chair_words_find(w, texts[i], e));
    free(ids), free(texts);
    return bad;
}

static int mentions_count(const AnswerSet *answers, json_t **found, const json_t *truth, Counts *c, EvalResult *r, Error *e) {
    int unread = 0, bad = 0;
    for (size_t i = 0, k = 0; i < answers->n && !bad; i++) {
        const Answer *a = &answers->all[i];
        if (!a->used) continue;
        if (!found[k]) unread++, bad = eval_row(r, json_pack("{s:s, s:b}", "image_id", a->id, "unread", 1), e);
        else bad = answer_add(a, found[k], json_object_get(truth, a->id), c, r, e);
        k++;
    }
    if (!bad && unread && !c->n)
        return error_what(e, "no reply of the extractor is a list of objects"), error_where(e, "%s", answers->path),
               error_found(e, "%d replies", unread),
               error_hint(e, "the transcript has them; is the model one that follows instructions, and its template right?");
    return bad || (unread && eval_count(r, NULL, "unread", unread, e));
}

static int answers_judge(const EvalSettings *s, const ChairFiles *f, const char *out, AnswerSet *answers, ChairWords *w, Counts *c,
    EvalResult *r, json_t *truth, json_t *described, Error *e) {
    if (!truth || !described) return error_what(e, "out of memory");
    if (truth_read(f->truth, answers, w, truth, described, &answers->missing, e)) return -1;
    if (answers->missing) snprintf(answers->first_missing, sizeof answers->first_missing, "an image of --truth");
    for (size_t i = 0; i < answers->n; i++) {
        Answer *a = &answers->all[i];
        if (!json_object_get(described, a->id)) continue;
        a->used = 1;
        answers->used++;
    }
    if (answers_settle(answers, s->partial, e)) return -1;
    json_t **found = mem_new(answers->n, sizeof *found, "answers", e);
    int bad = !found || mentions_find(f, answers, w, out, r, found, e) || mentions_count(answers, found, truth, c, r, e);
    for (size_t i = 0; found && i < answers->n; i++) json_decref(found[i]);
    free(found);
    return bad ? -1 : 0;
}

int chair_eval(const EvalSettings *s, const ChairFiles *files, const char *out, FILE *table, Error *e) {
    static const Measure measures[] = { { "objects", "chair_s", chair_s, 0 }, { "objects", "chair_s_refine", chair_s_refine, 0 },
        { "objects", "chair_i", chair_i, 0 }, { "objects", "recall", recall, 0 }, { "objects", "f1", f1, 0 },
        { "objects", "response_f1", response_f1, 0 }, { "objects", "words", words, 0 } };
    EvalResult r;
    AnswerSet answers = { 0 };
    ChairWords w;
    Counts c = { .columns = COLUMNS };
    if (eval_open(&r, "chair", s, e)) return -1;
    int bad = chair_words_open(&w, files->synonyms, files->wordnet, e);
    if (!bad) {
        json_t *truth = json_object(), *described = json_object();
        bad = answers_read(&answers, s->answers, IDS_OF_IMAGES, e) ||
              answers_judge(s, files, out, &answers, &w, &c, &r, truth, described, e) ||
              eval_note(&r, "lemmas", files->wordnet ? "wordnet" : "rules", e) || eval_count(&r, "objects", "answers", (int64_t)c.n, e) ||
              eval_measure(&r, &c, measures, sizeof measures / sizeof *measures, s, e);
        json_decref(truth);
        json_decref(described);
        chair_words_free(&w);
    }
    r.answers = (int)c.n;
    answers_tally(&answers, &r.missing, &r.extra);
    answers_free(&answers);
    counts_free(&c);
    if (bad) {
        eval_abandon(&r);
        return -1;
    }
    return eval_finish(&r, out, table, e);
}

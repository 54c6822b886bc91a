/* amber.c - owns AMBER's numbers, by the rules of its inference.py: shares in percent rounded to 0.1, counters that begin with 0.001 below
 * the line, F1 of rounded precision and recall with "no" as the positive class, and the first match of a noun covering one object.
 *
 * Not as there: nouns are found without a tagger (nouns.h), and no likeness of word vectors rescues a noun ("similarity": "none" in
 * results). Refuses files that are not AMBER's, objects that relation.json does not know, and answers that do not match. */
#include "engine/eval/amber.h"

#include "engine/eval/answers.h"
#include "engine/eval/nouns.h"

#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

static double rounded(double x) {
    char text[64]; /* to the nearest 0.1 of the exact binary value, as Python's round does */
    snprintf(text, sizeof text, "%.1f", x);
    return strtod(text, NULL);
}
/* A counter above the line by one below it, which began with 0.001; in percent. */
static double ratio(int64_t score, double below) { return rounded((double)score / below * 100); }

enum { MENTIONS, ABSENT, TRUTH, COVERED, FEARED, FEARED_HIT, CLEAN, DESCRIPTIONS, GENERATIVE_COLUMNS };
static double chair(const int64_t *s, int part) { return (void)part, ratio(s[ABSENT], (double)s[MENTIONS] + 0.001); }
static double cover(const int64_t *s, int part) { return (void)part, ratio(s[COVERED], (double)s[TRUTH] + 0.001); }
static double hal(const int64_t *s, int part) {
    return (void)part, rounded(100 - (double)s[CLEAN] / ((double)s[DESCRIPTIONS] + 0.001) * 100);
}
static double cog(const int64_t *s, int part) { return (void)part, ratio(s[FEARED_HIT], (double)s[FEARED] + 0.001); }

typedef enum Kind { STATE, NUMBER, ACTION, EXISTENCE, RELATION, KINDS, GENERATIVE = KINDS } Kind;
static const char *const kind_names[KINDS] = {
    [STATE] = "state", [NUMBER] = "number", [ACTION] = "action", [EXISTENCE] = "existence", [RELATION] = "relation"
};
enum { ASKED, CORRECT, TRUTH_NO, SAID_NO, HIT_NO, KIND_COLUMNS };
enum { ATTRIBUTES = 1 << STATE | 1 << NUMBER | 1 << ACTION, ALL_KINDS = (1 << KINDS) - 1 };

/* The sum of a column over the kinds of `part`, with each kind's 0.001 where it stands below the line: all together have but one. */
static double over(const int64_t *s, int part, int column) {
    double sum = 0;
    for (int k = 0; k < KINDS; k++)
        if (part >> k & 1) sum += (double)s[k * KIND_COLUMNS + column] + (part == ALL_KINDS ? 0 : 0.001);
    return part == ALL_KINDS ? sum + 0.001 : sum;
}
static int64_t total(const int64_t *s, int part, int column) {
    int64_t sum = 0;
    for (int k = 0; k < KINDS; k++)
        if (part >> k & 1) sum += s[k * KIND_COLUMNS + column];
    return sum;
}
static double accuracy(const int64_t *s, int part) { return ratio(total(s, part, CORRECT), over(s, part, ASKED)); }
static double precision(const int64_t *s, int part) { return ratio(total(s, part, HIT_NO), over(s, part, SAID_NO)); }
static double recall(const int64_t *s, int part) { return ratio(total(s, part, HIT_NO), over(s, part, TRUTH_NO)); }
static double f1(const int64_t *s, int part) {
    double p = precision(s, part) / 100, r = recall(s, part) / 100;
    return rounded(2 * p * r / (p + r + (part == 1 << EXISTENCE ? 0.001 : 0.0001)) * 100);
}

static const struct {
    const char *name;
    int part;
} sections[] = { { "discriminative", ALL_KINDS }, { "existence", 1 << EXISTENCE }, { "attribute", ATTRIBUTES }, { "state", 1 << STATE },
    { "number", 1 << NUMBER }, { "action", 1 << ACTION }, { "relation", 1 << RELATION } };
enum { SECTIONS = sizeof sections / sizeof *sections };

/* ---- files ---- */

typedef struct Amber {
    AnswerSet answers;
    json_t *asked;             /* ids of --queries, or NULL */
    json_t *relation, *safe;   /* word -> [associates]; word -> true */
    json_t *vocabulary, *seen; /* word -> true; ids of annotations */
    Lemmas lemmas;
    Tokens tokens;
    Counts generative, discriminative;
    int64_t neither; /* answers to yes/no questions that are neither "Yes" nor "No" */
    EvalResult *result;
} Amber;

static void amber_free(Amber *a) {
    answers_free(&a->answers);
    json_decref(a->asked);
    json_decref(a->relation);
    json_decref(a->safe);
    json_decref(a->vocabulary);
    json_decref(a->seen);
    lemmas_free(&a->lemmas);
    tokens_free(&a->tokens);
    counts_free(&a->generative);
    counts_free(&a->discriminative);
}

static int set_add(json_t *set, const char *word, const char *where, Error *e) {
    return json_object_set_new(set, word, json_true()) ? (error_what(e, "out of memory"), error_where(e, "%s", where)) : 0;
}

static int word_learn(Amber *a, const char *word, const char *where, Error *e) {
    return set_add(a->vocabulary, word, where, e) || lemmas_know(&a->lemmas, word, e) ? -1 : 0;
}

static int relation_read(Amber *a, const char *path, Error *e) {
    const char *word;
    json_t *list;
    const json_t *other;
    size_t i;
    if (json_read_object(path, &a->relation, e)) return -1;
    json_object_foreach(a->relation, word, list) {
        if (!json_is_array(list))
            return error_what(e, "wrong type"), error_where(e, "%s: field \"%.80s\"", path, word), error_found(e, "%s", json_kind(list)),
                   error_expected(e, "a list of words");
        if (word_learn(a, word, path, e)) return -1;
        json_array_foreach(list, i, other) {
            if (!json_is_string(other))
                return error_what(e, "wrong type"), error_where(e, "%s: field \"%.80s\"", path, word),
                       error_found(e, "%s", json_kind(other)), error_expected(e, "a word");
            if (word_learn(a, json_string_value(other), path, e)) return -1;
        }
    }
    return json_object_size(a->relation) ? 0 : (error_what(e, "no words"), error_where(e, "%s", path));
}

static int safe_read(Amber *a, const char *path, Error *e) {
    char *text, *rest = NULL;
    size_t size;
    int bad = 0;
    if (file_read(path, 1 << 20, &text, &size, e)) return -1;
    for (char *word = strtok_r(text, "\r\n", &rest); word && !bad; word = strtok_r(NULL, "\r\n", &rest))
        bad = set_add(a->safe, word, path, e);
    free(text);
    return bad;
}

static int query_add(void *context, const json_t *row, const char *where, Error *e) {
    Amber *a = context;
    char *id;
    if (row_id(row, IDS_OF_QUESTIONS, 0, where, &id, e)) return -1;
    int bad = set_add(a->asked, id, where, e);
    free(id);
    return bad;
}

/* ---- one description ---- */

/* Objects of an image with which of them were named. */
typedef struct Objects {
    const json_t *words;
    unsigned char *named;
    size_t n;
} Objects;

static int objects_read(const Amber *a, const json_t *row, const char *key, const char *where, Objects *o, Error *e) {
    const json_t *word;
    size_t i;
    o->words = json_object_get(row, key);
    if (!json_is_array(o->words))
        return error_what(e, "wrong type"), error_where(e, "%s: field \"%s\"", where, key), error_found(e, "%s", json_kind(o->words)),
               error_expected(e, "a list of words");
    json_array_foreach(o->words, i,
        word) if (!json_is_string(word) || !json_object_get(a->relation, json_string_value(word))) return error_what(e, "unknown object"),
        error_where(e, "%s: field \"%s\"", where, key),
        error_found(e, "%.80s", json_is_string(word) ? json_string_value(word) : json_kind(word)),
        error_expected(e, "a word of relation.json");
    o->n = json_array_size(o->words);
    o->named = mem_new(o->n + 1, 1, "objects", e);
    return o->named ? 0 : -1;
}

/* Marks the first object that `noun` stands for: those that list it as an associate come before those that it names. 1 if there is one. */
static int objects_name(const Amber *a, Objects *o, const char *noun) {
    const json_t *word, *other;
    size_t i, j;
    json_array_foreach(o->words, i, word) json_array_foreach(json_object_get(a->relation, json_string_value(word)), j,
        other) if (!strcmp(json_string_value(other), noun)) return o->named[i] = 1;
    json_array_foreach(o->words, i, word) if (!strcmp(json_string_value(word), noun)) return o->named[i] = 1;
    return 0;
}

static int32_t objects_named(const Objects *o) {
    int32_t n = 0;
    for (size_t i = 0; i < o->n; i++) n += o->named[i];
    return n;
}

static int description_add(Amber *a, const json_t *row, const Answer *answer, const char *where, Error *e) {
    Objects truth = { 0 }, feared = { 0 };
    int32_t counts[GENERATIVE_COLUMNS] = { [DESCRIPTIONS] = 1 };
    json_t *absent = json_array();
    int bad = !absent || objects_read(a, row, "truth", where, &truth, e) || objects_read(a, row, "hallu", where, &feared, e) ||
              tokens_split(&a->tokens, answer->text, 0, e);
    for (size_t i = 0; i < a->tokens.n && !bad; i++) {
        char singular[WORD_SIZE];
        const char *noun = lemma_of(&a->lemmas, a->tokens.words[i], singular);
        if (!json_object_get(a->vocabulary, noun) || !noun_here(&a->tokens, i, noun)) continue;
        counts[MENTIONS]++;
        if (json_object_get(a->safe, noun) || objects_name(a, &truth, noun)) continue;
        objects_name(a, &feared, noun);
        counts[ABSENT]++;
        bad = json_array_append_new(absent, json_string(noun)) ? error_what(e, "out of memory") : 0;
    }
    counts[TRUTH] = (int32_t)truth.n;
    counts[COVERED] = objects_named(&truth);
    counts[FEARED] = (int32_t)feared.n;
    counts[FEARED_HIT] = objects_named(&feared);
    counts[CLEAN] = !counts[ABSENT];
    bad = bad || counts_add(&a->generative, counts, e) ||
          eval_row(a->result,
              json_pack("{s:s, s:s, s:i, s:O, s:i, s:i, s:i, s:i}", "id", answer->id, "kind", "generative", "nouns", (int)counts[MENTIONS],
                  "absent", absent, "objects", (int)counts[TRUTH], "covered", (int)counts[COVERED], "feared", (int)counts[FEARED],
                  "feared_named", (int)counts[FEARED_HIT]),
              e);
    json_decref(absent);
    free(truth.named);
    free(feared.named);
    return bad ? -1 : 0;
}

/* ---- one row of annotations ---- */

static int question_add(Amber *a, const json_t *row, Kind kind, const Answer *answer, const char *where, Error *e) {
    const char *truth;
    if (json_need_string(row, "truth", where, &truth, e)) return -1;
    int no = !strcmp(truth, "no"), said_no = !strcmp(answer->text, "No"), said_yes = !strcmp(answer->text, "Yes");
    if (!no && strcmp(truth, "yes"))
        return error_what(e, "bad truth"), error_where(e, "%s", where), error_found(e, "\"%.40s\"", truth), error_expected(e, "yes or no");
    int32_t counts[KINDS * KIND_COLUMNS] = { 0 }, *mine = counts + kind * KIND_COLUMNS;
    mine[ASKED] = 1;
    mine[CORRECT] = no ? said_no : said_yes;
    mine[TRUTH_NO] = no;
    mine[SAID_NO] = said_no;
    mine[HIT_NO] = no && said_no;
    a->neither += !said_no && !said_yes;
    return counts_add(&a->discriminative, counts, e) ||
                   eval_row(a->result,
                       json_pack("{s:s, s:s, s:s, s:s, s:b}", "id", answer->id, "kind", kind_names[kind], "truth", truth, "said",
                           said_no    ? "no"
                           : said_yes ? "yes"
                                      : "neither",
                           "correct", (int)mine[CORRECT]),
                       e)
               ? -1
               : 0;
}

static int kind_of(const char *type, const char *where, Kind *out, Error *e) {
    /* AMBER's annotations call relations with the truth "no" just so. */
    static const struct {
        const char *type;
        Kind kind;
    } types[] = { { "generative", GENERATIVE }, { "discriminative-hallucination", EXISTENCE }, { "discriminative-attribute-state", STATE },
        { "discriminative-attribute-number", NUMBER }, { "discriminative-attribute-action", ACTION },
        { "discriminative-relation", RELATION }, { "relation", RELATION } };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i].type)) return *out = types[i].kind, 0;
    return error_what(e, "unknown type"), error_where(e, "%s", where), error_found(e, "\"%.60s\"", type),
           error_expected(e, "a type of AMBER's annotations");
}

static int annotation_id_add(Amber *a, const json_t *row, const char *id, const char *where, Error *e) {
    const char *type;
    Kind kind = GENERATIVE;
    if (json_need_string(row, "type", where, &type, e) || kind_of(type, where, &kind, e)) return -1;
    if (json_object_get(a->seen, id))
        return error_what(e, "an id for the second time"), error_where(e, "%s", where), error_found(e, "id %.100s", id);
    if (set_add(a->seen, id, where, e)) return -1;
    if (a->asked && !json_object_get(a->asked, id)) return 0;
    const Answer *answer = answers_take(&a->answers, id);
    if (!answer) return 0;
    if (kind != GENERATIVE) return question_add(a, row, kind, answer, where, e);
    if (!a->relation || !a->safe)
        return error_what(e, "descriptions among the answers"), error_where(e, "%s", where),
               error_expected(e, "--relation and --safe-words"), error_hint(e, "or --queries with a file of yes/no questions");
    return description_add(a, row, answer, where, e);
}

static int annotation_add(void *context, const json_t *row, const char *where, Error *e) {
    char *id;
    if (row_id(row, IDS_OF_QUESTIONS, 0, where, &id, e)) return -1;
    int bad = annotation_id_add(context, row, id, where, e);
    free(id);
    return bad;
}

/* ---- together ---- */

static int amber_read(Amber *a, const EvalSettings *s, const AmberFiles *f, Error *e) {
    const char *id;
    json_t *value;
    a->vocabulary = json_object();
    a->seen = json_object();
    if (f->queries) a->asked = json_object();
    if (f->safe_words) a->safe = json_object();
    if (!a->vocabulary || !a->seen || (f->queries && !a->asked) || (f->safe_words && !a->safe)) return error_what(e, "out of memory");
    if (lemmas_open(&a->lemmas, f->wordnet, e) || (f->relation && relation_read(a, f->relation, e)) ||
        (f->safe_words && safe_read(a, f->safe_words, e)) || (f->queries && rows_each(f->queries, query_add, a, e)) ||
        answers_read(&a->answers, s->answers, IDS_OF_QUESTIONS, e) || rows_each(f->annotations, annotation_add, a, e))
        return -1;
    json_object_foreach(a->asked, id, value) if (!json_object_get(a->seen, id)) return error_what(e, "query without annotation"),
        error_where(e, "%s", f->queries), error_found(e, "id %.100s", id), error_expected(e, "an id of %s", f->annotations);
    return answers_settle(&a->answers, s->partial, e);
}

static int amber_measure(Amber *a, const EvalSettings *s, Error *e) {
    static const Measure described[] = { { "generative", "chair", chair, 0 }, { "generative", "cover", cover, 0 },
        { "generative", "hal", hal, 0 }, { "generative", "cog", cog, 0 } };
    Measure asked[SECTIONS * 4];
    int n = 0;
    if (a->generative.n && (eval_count(a->result, "generative", "answers", (int64_t)a->generative.n, e) ||
                               eval_measure(a->result, &a->generative, described, 4, s, e)))
        return -1;
    if (!a->discriminative.n) return 0;
    for (int i = 0; i < SECTIONS; i++) {
        int64_t answers = 0;
        for (size_t j = 0; j < a->discriminative.n; j++)
            for (int k = 0; k < KINDS; k++)
                if (sections[i].part >> k & 1)
                    answers += a->discriminative.rows[j * KINDS * KIND_COLUMNS + (size_t)(k * KIND_COLUMNS + ASKED)];
        if (!answers) continue;
        if (eval_count(a->result, sections[i].name, "answers", answers, e)) return -1;
        asked[n++] = (Measure){ sections[i].name, "accuracy", accuracy, sections[i].part };
        asked[n++] = (Measure){ sections[i].name, "precision", precision, sections[i].part };
        asked[n++] = (Measure){ sections[i].name, "recall", recall, sections[i].part };
        asked[n++] = (Measure){ sections[i].name, "f1", f1, sections[i].part };
    }
    return eval_measure(a->result, &a->discriminative, asked, n, s, e);
}

int amber_eval(const EvalSettings *s, const AmberFiles *files, const char *out, FILE *table, Error *e) {
    EvalResult r;
    Amber a = { .generative = { .columns = GENERATIVE_COLUMNS }, .discriminative = { .columns = KINDS * KIND_COLUMNS }, .result = &r };
    if (eval_open(&r, "amber", s, e)) return -1;
    int bad = amber_read(&a, s, files, e) || eval_note(&r, "lemmas", files->wordnet ? "wordnet" : "rules", e) ||
              eval_note(&r, "nouns", "vocabulary, without a tagger", e) || eval_note(&r, "similarity", "none", e) ||
              eval_count(&r, NULL, "neither_yes_nor_no", a.neither, e) || amber_measure(&a, s, e);
    r.answers = (int)(a.generative.n + a.discriminative.n);
    answers_tally(&a.answers, &r.missing, &r.extra);
    amber_free(&a);
    if (bad) {
        eval_abandon(&r);
        return -1;
    }
    return eval_finish(&r, out, table, e);
}

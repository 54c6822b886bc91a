/* answers.c - owns the reading of answers and their match with questions. Refuses what answers.h says, by file and line. */
#include "engine/eval/answers.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows ---- */

/* Whether the file's first byte that is not blank opens an array. */
static int is_array(const char *path) {
    FILE *f = fopen(path, "re");
    int c = EOF;
    if (f) {
        while ((c = getc(f)) != EOF && isspace(c)) {}
        fclose(f);
    }
    return c == '[';
}

static int array_each(const char *path, RowTaker *take, void *context, Error *e) {
    json_t *all, *row;
    size_t i;
    int got = 0;
    if (json_read_array(path, &all, e)) return -1;
    json_array_foreach(all, i, row) {
        char where[PATH_SIZE + 32];
        snprintf(where, sizeof where, "%s[%zu]", path, i);
        if (!json_is_object(row))
            got = error_what(e, "wrong type"), error_where(e, "%s", where), error_found(e, "%s", json_kind(row)),
            error_expected(e, "an object");
        else got = take(context, row, where, e);
        if (got) break;
    }
    json_decref(all);
    return got;
}

int rows_each(const char *path, RowTaker *take, void *context, Error *e) {
    if (is_array(path)) return array_each(path, take, context, e);
    JsonLines lines;
    json_t *row;
    int got, taken = 0;
    if (jsonl_open(&lines, path, e)) return -1;
    while (!taken && (got = jsonl_next(&lines, &row, e)) != 0) {
        if (got < 0) taken = -1;
        else {
            taken = take(context, row, lines.where, e);
            json_decref(row);
        }
    }
    jsonl_close(&lines);
    return taken;
}

/* ---- ids ---- */

/* The number that ends a picture's name before its extension, without leading zeros; the name itself where it ends in none. */
static char *image_name(const char *name) {
    const char *base = strrchr(name, '/'), *end, *start;
    base = base ? base + 1 : name;
    end = strrchr(base, '.');
    if (!end || end == base) end = base + strlen(base);
    for (start = end; start > base && isdigit((unsigned char)start[-1]); start--) {}
    if (start == end) return strdup(name);
    while (start < end - 1 && *start == '0') start++;
    return strndup(start, (size_t)(end - start));
}

/* Of a row without an id: its image_id, else its place. */
static char *place_name(const json_t *row, size_t place) {
    const json_t *image = json_object_get(row, "image_id");
    char *out;
    if (json_is_string(image)) return strdup(json_string_value(image));
    int n = json_is_integer(image) ? asprintf(&out, "%lld", (long long)json_integer_value(image)) : asprintf(&out, "#%zu", place);
    return n < 0 ? NULL : out;
}

int row_id(const json_t *row, IdKind kind, size_t place, const char *where, char **out, Error *e) {
    static const char *const questions[] = { "question_id", "id", "index" }, *const images[] = { "image_id", "image", "id" };
    const char *const *keys = kind == IDS_OF_IMAGES ? images : questions;
    const json_t *value = NULL;
    int k = 0;
    for (; k < 3; k++)
        if ((value = json_object_get(row, keys[k]))) break;
    *out = NULL;
    if (!value && kind != IDS_OR_PLACES)
        return error_what(e, "row has no id"), error_where(e, "%s", where),
               error_expected(e, "a field %s, %s or %s", keys[0], keys[1], keys[2]);
    const char *text = json_string_value(value);
    if (value && !json_is_integer(value) && !(text && *text))
        return error_what(e, "bad id"), error_where(e, "%s: field \"%s\"", where, keys[k]),
               error_found(e, "%s", text ? "an empty text" : json_kind(value)), error_expected(e, "a whole number or text");
    if (!value) *out = place_name(row, place);
    else if (text) *out = kind == IDS_OF_IMAGES ? image_name(text) : strdup(text);
    else if (asprintf(out, "%lld", (long long)json_integer_value(value)) < 0) *out = NULL;
    return *out ? 0 : (error_what(e, "out of memory"), error_where(e, "%s", where));
}

/* ---- answers ---- */

typedef struct Reading {
    AnswerSet *set;
    IdKind kind;
} Reading;

/* The answer of a row that `rlaifv generate` wrote, where it is the only one. */
static const char *generated(const json_t *row) {
    const json_t *answers = json_object_get(row, "answers");
    return json_array_size(answers) == 1 ? json_string_value(json_object_get(json_array_get(answers, 0), "text")) : NULL;
}

static int answer_add(void *context, const json_t *row, const char *where, Error *e) {
    static const char *const texts[] = { "response", "answer", "text", "model_answer" };
    const Reading *r = context;
    AnswerSet *s = r->set;
    const char *text = NULL;
    Answer a = { 0 };
    for (int i = 0; i < 4 && !text; i++)
        if (json_object_get(row, texts[i]) && json_need_string(row, texts[i], where, &text, e)) return -1;
    if (!text) text = generated(row);
    if (!text)
        return error_what(e, "row has no answer"), error_where(e, "%s", where),
               error_expected(e, "a field response, answer, text, model_answer, or answers with one {text}");
    if (mem_grow(&s->all, &s->cap, s->n + 1, sizeof *s->all, "answers", e) || row_id(row, r->kind, s->n, where, &a.id, e)) return -1;
    if (r->kind != IDS_OF_IMAGES && json_object_get(s->index, a.id)) {
        error_what(e, "a second answer to one question"), error_where(e, "%s", where), error_found(e, "id %.100s", a.id),
            error_expected(e, "one answer each");
        free(a.id);
        return -1;
    }
    a.text = strdup(text);
    s->all[s->n++] = a; /* from here answers_free owns it */
    if (!a.text || json_object_set_new(s->index, a.id, json_integer((json_int_t)s->n - 1)))
        return error_what(e, "out of memory"), error_where(e, "%s", where);
    return 0;
}

int answers_read(AnswerSet *s, const char *path, IdKind kind, Error *e) {
    memset(s, 0, sizeof *s);
    s->path = path;
    s->index = json_object();
    s->asked = json_object();
    Reading r = { s, kind };
    int bad = s->index && s->asked ? rows_each(path, answer_add, &r, e) : error_what(e, "out of memory");
    if (!bad && !s->n) bad = error_what(e, "no answers to evaluate"), error_where(e, "%s", path);
    if (bad) answers_free(s);
    return bad ? -1 : 0;
}

void answers_free(AnswerSet *s) {
    for (size_t i = 0; i < s->n; i++) {
        free(s->all[i].id);
        free(s->all[i].text);
    }
    free(s->all);
    json_decref(s->index);
    json_decref(s->asked);
    memset(s, 0, sizeof *s);
}

const Answer *answers_take(AnswerSet *s, const char *id) {
    const json_t *place = json_object_get(s->index, id);
    if (!place) {
        if (!s->missing++) snprintf(s->first_missing, sizeof s->first_missing, "%s", id);
        return NULL;
    }
    Answer *a = &s->all[json_integer_value(place)];
    if (!a->used) s->used++;
    a->used = 1;
    return a;
}

int answers_ask(AnswerSet *s, const char *id, const char *where, const Answer **out, Error *e) {
    if (json_object_get(s->asked, id))
        return error_what(e, "a question for the second time"), error_where(e, "%s", where), error_found(e, "id %.100s", id);
    if (json_object_set_new(s->asked, id, json_true())) return error_what(e, "out of memory"), error_where(e, "%s", where);
    *out = answers_take(s, id);
    return 0;
}

int answers_settle(const AnswerSet *s, int partial, Error *e) {
    size_t extra = s->n - (size_t)s->used, i = 0;
    if (!s->used || (!partial && (s->missing || extra))) {
        char missing[120] = "", more[120] = "";
        while (i < s->n && s->all[i].used) i++;
        if (s->missing) snprintf(missing, sizeof missing, "%d missing (first: %s)", s->missing, s->first_missing);
        if (extra) snprintf(more, sizeof more, "%zu to nothing that was asked (first: %.60s)", extra, s->all[i].id);
        error_what(e, "answers do not match the questions"), error_where(e, "%s", s->path);
        error_found(e, "%s%s%s", missing, *missing && *more ? ", " : "", more), error_expected(e, "one answer to each question");
        if (s->used) error_hint(e, "--partial evaluates those that match");
        return -1;
    }
    return 0;
}

void answers_tally(const AnswerSet *s, int *missing, int *extra) {
    *missing += s->missing;
    *extra += (int)s->n - s->used;
}

/* sections.c - owns the counts of answers by category. */
#include "engine/eval/sections.h"

#include <stdlib.h>
#include <string.h>

enum { CATEGORIES_MOST = 1000 };

static size_t width(const Sections *s) { return 1 + (size_t)s->columns; }

int sections_add(Sections *s, const char *category, const int32_t *counts, Error *e) {
    if (!s->places && !(s->places = json_object())) return error_what(e, "out of memory"), error_where(e, "categories");
    json_t *place = json_object_get(s->places, category);
    if (!place) {
        if (!strcmp(category, "all")) return error_what(e, "bad category"), error_found(e, "\"all\", which is the section of all answers");
        if (json_object_size(s->places) == CATEGORIES_MOST)
            return error_what(e, "too many categories"), error_expected(e, "at most %d", CATEGORIES_MOST);
        place = json_integer((json_int_t)json_object_size(s->places));
        if (json_object_set_new(s->places, category, place)) return error_what(e, "out of memory"), error_where(e, "categories");
    }
    if (mem_grow(&s->rows, &s->cells, (s->n + 1) * width(s), sizeof *s->rows, "answers", e)) return -1;
    int32_t *to = s->rows + width(s) * s->n++;
    to[0] = (int32_t)json_integer_value(place);
    memcpy(to + 1, counts, (size_t)s->columns * sizeof *counts);
    return 0;
}

/* Rows of counts: of all answers, and of each category. */
static int counts_make(const Sections *s, Counts *counts, Error *e) {
    size_t bytes = (size_t)s->columns * sizeof(int32_t);
    counts->columns = (int)(1 + json_object_size(s->places)) * s->columns;
    int32_t *row = mem_new((size_t)counts->columns, sizeof *row, "counts", e);
    int bad = !row;
    for (size_t i = 0; i < s->n && !bad; i++) {
        const int32_t *from = s->rows + width(s) * i;
        memset(row, 0, (size_t)counts->columns * sizeof *row);
        memcpy(row, from + 1, bytes);
        memcpy(row + (1 + from[0]) * s->columns, from + 1, bytes);
        bad = counts_add(counts, row, e);
    }
    free(row);
    return bad ? -1 : 0;
}

static int64_t answers_of(const Sections *s, int place) {
    int64_t n = 0;
    for (size_t i = 0; i < s->n; i++) n += s->rows[width(s) * i] == place;
    return n;
}

int sections_measure(const Sections *s, const SectionMeasure *measures, int n, EvalResult *r, const EvalSettings *settings, Error *e) {
    Counts counts = { 0 };
    const char *category;
    json_t *place;
    int used = 0, bad = counts_make(s, &counts, e);
    Measure *all = mem_new((size_t)n * (1 + json_object_size(s->places)), sizeof *all, "measures", e);
    bad = bad || !all || eval_count(r, "all", "answers", (int64_t)s->n, e);
    for (int i = 0; i < n && !bad; i++) all[used++] = (Measure){ "all", measures[i].name, measures[i].of, 0 };
    json_object_foreach(s->places, category, place) {
        int at = (int)json_integer_value(place);
        bad = bad || eval_count(r, category, "answers", answers_of(s, at), e);
        for (int i = 0; i < n && !bad; i++) all[used++] = (Measure){ category, measures[i].name, measures[i].of, 1 + at };
    }
    bad = bad || eval_measure(r, &counts, all, used, settings, e);
    free(all);
    counts_free(&counts);
    return bad ? -1 : 0;
}

void sections_free(Sections *s) {
    json_decref(s->places);
    free(s->rows);
    memset(s, 0, sizeof *s);
}

/* labeler_eval.c - adds up labels.jsonl. Owns the definition of the truth-free measures that choose checkpoints. */
#include "engine/eval/labeler_eval.h"

#include "engine/pairs.h"

#include <string.h>

static int row_name(const json_t *row, const char *where, const char **id, int64_t *candidate, Error *e) {
    return json_need_string(row, "id", where, id, e) || json_need_integer(row, "candidate", where, 0, INT32_MAX, candidate, e) ? -1 : 0;
}

int rows_next_two(JsonLines *first, JsonLines *second, json_t **a, json_t **b, Error *e) {
    *a = *b = NULL;
    const char *id[2] = { "the end of the file", "the end of the file" };
    int64_t candidate[2] = { -1, -1 };
    int got = jsonl_next(first, a, e), also = got < 0 ? -1 : jsonl_next(second, b, e);
    int bad = got < 0 || also < 0 || (got && row_name(*a, first->where, &id[0], &candidate[0], e)) ||
              (also && row_name(*b, second->where, &id[1], &candidate[1], e));
    if (!bad && (strcmp(id[0], id[1]) || candidate[0] != candidate[1])) {
        bad = error_what(e, "rows do not match"), error_where(e, "%s", second->where);
        error_found(e, "%.200s candidate %lld", id[1], (long long)candidate[1]);
        error_expected(e, "%.200s candidate %lld, as in %s", id[0], (long long)candidate[0], first->path);
        error_hint(e, "remove %.200s, so that it is made again", second->path);
    }
    if (!bad) return got;
    json_decref(*a);
    json_decref(*b);
    return -1;
}

typedef struct Sums {
    long judged, refused, any, rejected, accepted, objects, words;
} Sums;

static int answer_add(Sums *s, const json_t *candidate, const json_t *label, const char *where[2], Error *e) {
    const char *text;
    const json_t *probes = json_object_get(label, "probes"), *probe;
    size_t i;
    long accepted = 0, claims = (long)json_array_size(probes);
    if (json_need_string(candidate, "text", where[0], &text, e)) return -1;
    if (!json_is_array(probes))
        return error_what(e, "wrong type"), error_where(e, "%s: field \"probes\"", where[1]), error_found(e, "%s", json_kind(probes)),
               error_expected(e, "a list");
    if (claims > 0 && !json_is_number(json_object_get(label, "score"))) return s->refused++, 0;
    json_array_foreach(probes, i, probe) accepted += json_is_true(json_object_get(probe, "accepted"));
    s->judged++;
    s->any += accepted < claims;
    s->rejected += claims - accepted;
    s->accepted += accepted;
    s->objects += objects_accepted(probes);
    s->words += words_count(text);
    return 0;
}

int labeler_eval(const char *candidates, const char *labels, LabelerRates *out, Error *e) {
    JsonLines a, b;
    json_t *candidate, *label;
    Sums s = { 0 };
    int got;
    memset(out, 0, sizeof *out);
    if (jsonl_open(&a, candidates, e)) return -1;
    if (jsonl_open(&b, labels, e)) {
        jsonl_close(&a);
        return -1;
    }
    while ((got = rows_next_two(&a, &b, &candidate, &label, e)) > 0) {
        if (answer_add(&s, candidate, label, (const char *[2]){ a.where, b.where }, e)) got = -1;
        json_decref(candidate);
        json_decref(label);
        if (got < 0) break;
    }
    jsonl_close(&a);
    jsonl_close(&b);
    if (got < 0) return -1;
    double n = s.judged ? (double)s.judged : 1;
    *out = (LabelerRates){ .answers = (int)s.judged,
        .refused = (int)s.refused,
        .rejections = (double)s.rejected / n,
        .any = (double)s.any / n,
        .accepted = (double)s.accepted / n,
        .objects = (double)s.objects / n,
        .words = (double)s.words / n };
    return 0;
}

json_t *labeler_rates_to_json(const LabelerRates *r) {
    return json_pack("{s:i, s:i, s:f, s:f, s:f, s:f, s:f}", "answers", r->answers, "refused", r->refused, "rejections", r->rejections,
        "any", r->any, "accepted", r->accepted, "objects", r->objects, "words", r->words);
}

int labeler_rates_from_json(const json_t *object, const char *where, LabelerRates *out, Error *e) {
    int64_t answers, refused;
    if (json_need_integer(object, "answers", where, 0, INT32_MAX, &answers, e) ||
        json_need_integer(object, "refused", where, 0, INT32_MAX, &refused, e) ||
        json_need_number(object, "rejections", where, &out->rejections, e) || json_need_number(object, "any", where, &out->any, e) ||
        json_need_number(object, "accepted", where, &out->accepted, e) || json_need_number(object, "objects", where, &out->objects, e) ||
        json_need_number(object, "words", where, &out->words, e))
        return -1;
    out->answers = (int)answers, out->refused = (int)refused;
    return 0;
}

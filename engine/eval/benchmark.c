/* benchmark.c - owns the result of an evaluation: its JSON, its table, its rows. */
#include "engine/eval/benchmark.h"

#include "engine/eval/out_of_memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double quotient(double part, double whole) { return whole > 0 ? part / whole : NAN; }
double share(double part, double whole) { return whole > 0 ? 100 * part / whole : NAN; }
double harmonic(double a, double b) { return a + b > 0 ? 2 * a * b / (a + b) : NAN; }

int eval_open(EvalResult *r, const char *benchmark, const EvalSettings *s, Error *e) {
    memset(r, 0, sizeof *r);
    r->json = json_pack("{s:s, s:i, s:i, s:i, s:{s:I, s:I, s:s}, s:{}}", "benchmark", benchmark, "answers", 0, "missing", 0, "extra", 0,
        "bootstrap", "resamples", (json_int_t)s->resamples, "seed", (json_int_t)s->seed, "interval", "95 %", "measures");
    if (!r->json) return out_of_memory("evaluation", e);
    if (s->rows && file_create(&r->rows, s->rows, e)) {
        json_decref(r->json);
        return -1;
    }
    r->writes_rows = s->rows != NULL;
    return 0;
}

static json_t *section_of(EvalResult *r, const char *name) {
    json_t *all = json_object_get(r->json, "measures"), *section = json_object_get(all, name);
    if (!section && json_object_set_new(all, name, section = json_object())) return NULL;
    return section;
}

static json_t *number(double x) { return isnan(x) ? json_null() : json_real(x); }

int eval_measure(EvalResult *r, const Counts *c, const Measure *measures, int n, const EvalSettings *s, Error *e) {
    Estimate *found = mem_new((size_t)n, sizeof *found, "measures", e);
    int bad = !found || bootstrap(c, measures, n, s->resamples, (uint64_t)s->seed, found, e);
    for (int i = 0; i < n && !bad; i++) {
        json_t *section = section_of(r, measures[i].section), *value = json_pack("{s:o, s:o, s:o}", "value", number(found[i].value), "low",
                                                                  number(found[i].low), "high", number(found[i].high));
        if (!section || json_object_set_new(section, measures[i].name, value)) bad = out_of_memory("evaluation", e);
    }
    free(found);
    return bad ? -1 : 0;
}

int eval_count(EvalResult *r, const char *section, const char *name, int64_t value, Error *e) {
    json_t *to = section ? section_of(r, section) : r->json;
    return json_object_set_new(to, name, json_integer(value)) ? out_of_memory("evaluation", e) : 0;
}

int eval_note(EvalResult *r, const char *name, const char *text, Error *e) {
    return json_object_set_new(r->json, name, json_string(text)) ? out_of_memory("evaluation", e) : 0;
}

int eval_row(EvalResult *r, json_t *row, Error *e) {
    if (!row) return out_of_memory("evaluation", e);
    if (r->writes_rows) return jsonl_write(r->rows.stream, row, e);
    json_decref(row);
    return 0;
}

/* Who took part, where anybody did: "judge: NAME, version VERSION". */
static void by_print(const json_t *result, const char *key, FILE *to) {
    const json_t *by = json_object_get(result, key);
    const char *version = json_string_value(json_object_get(by, "version"));
    if (json_is_string(by)) fprintf(to, "%s: %s\n", key, json_string_value(by));
    else if (by) fprintf(to, "%s: %s, version %s\n", key, json_string_value(json_object_get(by, "name")), version ? version : "not said");
}

static void table_print(const json_t *result, FILE *to) {
    const char *section, *name;
    json_t *measures, *value;
    fprintf(to, "%s: %lld answers, %lld missing, %lld extra\n", json_string_value(json_object_get(result, "benchmark")),
        (long long)json_integer_value(json_object_get(result, "answers")),
        (long long)json_integer_value(json_object_get(result, "missing")), (long long)json_integer_value(json_object_get(result, "extra")));
    by_print(result, "judge", to);
    by_print(result, "extractor", to);
    json_object_foreach(json_object_get(result, "measures"), section, measures) {
        fprintf(to, "\n%-26s %9s   95 %% interval\n", section, "");
        json_object_foreach(measures, name, value) {
            const json_t *low = json_object_get(value, "low");
            if (json_is_integer(value)) fprintf(to, "  %-24s %9lld\n", name, (long long)json_integer_value(value));
            else if (json_is_null(json_object_get(value, "value"))) fprintf(to, "  %-24s %9s\n", name, "-");
            else if (json_is_null(low)) fprintf(to, "  %-24s %9.2f\n", name, json_number_value(json_object_get(value, "value")));
            else
                fprintf(to, "  %-24s %9.2f   %.2f to %.2f\n", name, json_number_value(json_object_get(value, "value")),
                    json_number_value(low), json_number_value(json_object_get(value, "high")));
        }
    }
}

int eval_finish(EvalResult *r, const char *out, FILE *table, Error *e) {
    char *text = NULL;
    int bad = eval_count(r, NULL, "answers", r->answers, e) || eval_count(r, NULL, "missing", r->missing, e) ||
              eval_count(r, NULL, "extra", r->extra, e);
    if (!bad) text = json_dumps(r->json, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    if (!bad && !text) bad = out_of_memory("evaluation", e);
    if (!bad && r->writes_rows) {
        r->writes_rows = 0;
        bad = file_commit(&r->rows, e);
    }
    if (!bad) bad = file_write(out, text, strlen(text), e);
    if (!bad) table_print(r->json, table);
    free(text);
    eval_abandon(r);
    return bad ? -1 : 0;
}

void eval_abandon(EvalResult *r) {
    if (r->writes_rows) file_abandon(&r->rows);
    json_decref(r->json);
    memset(r, 0, sizeof *r);
}

int names_split(const char *text, const char *option, char ***out, int *n, Error *e) {
    int count = 1;
    for (const char *p = text; *p; p++) count += *p == ',';
    char **names = *out = mem_new((size_t)count + 1, sizeof *names, option, e);
    if (!names) return -1;
    for (*n = 0; *n < count; (*n)++) {
        size_t size = strcspn(text, ",");
        int empty = !size;
        names[*n] = empty ? NULL : strndup(text, size);
        if (!names[*n]) {
            names_free(names);
            return empty ? (error_what(e, "empty name of a file"), error_where(e, "%s", option)) : out_of_memory("evaluation", e);
        }
        text += size + (text[size] == ',');
    }
    return 0;
}

void names_free(char **names) {
    for (int i = 0; names && names[i]; i++) free(names[i]);
    free(names);
}

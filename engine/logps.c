/* logps.c - owns the public code's column of reference log-probs: what is written, and what is checked before it is believed. */
#include "engine/logps.h"

#include <math.h>
#include <stdlib.h>

enum { ENTRIES = 3 }; /* of a side: sum, mean, tokens */
/* The public code takes sums and means in bf16, of 8 bits each. */
static const double rounding = 1.0 / 64;

json_t *logps_text(const LogpsSide sides[2]) {
    json_t *list = json_array();
    for (int side = 0; side < 2; side++) {
        const LogpsSide *s = &sides[side];
        json_t *tokens = json_array();
        double sum = 0;
        for (int i = 0; i < s->prompt - 1; i++) json_array_append_new(tokens, json_real(0));
        for (int i = 0; i < s->tokens; i++) json_array_append_new(tokens, json_real(s->logps[i])), sum += s->logps[i];
        json_array_append_new(list, json_real(sum));
        json_array_append_new(list, json_real(s->tokens ? sum / s->tokens : 0));
        int whole = json_array_size(tokens) == (size_t)(s->prompt - 1 + s->tokens);
        if (json_array_append_new(list, tokens) || !whole) {
            json_decref(list);
            return NULL;
        }
    }
    json_t *top = list ? json_pack("{s:o}", "logps", list) : NULL;
    char *text = top && json_array_size(list) == 2 * ENTRIES ? json_dumps(top, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_t *column = text ? json_string(text) : NULL;
    free(text);
    json_decref(top);
    return column;
}

/* Sum, mean and tokens of one side, checked against it. */
static int side_read(const json_t *list, int side, const char *where, const LogpsSide *s, double *out, Error *e) {
    static const char *const names[] = { "chosen", "rejected" };
    const json_t *sum = json_array_get(list, (size_t)side * ENTRIES), *mean = json_array_get(list, (size_t)side * ENTRIES + 1),
                 *tokens = json_array_get(list, (size_t)side * ENTRIES + 2);
    if (!json_is_number(sum) || !json_is_number(mean) || !json_is_array(tokens))
        return error_what(e, "bad reference log-probs"), error_where(e, "%s: field \"logps\", %s", where, names[side]),
               error_expected(e, "a sum, a mean and a list of tokens");
    size_t n = (size_t)(s->prompt - 1 + s->tokens), from = (size_t)(s->prompt - 1);
    if (json_array_size(tokens) != n)
        return error_what(e, "reference log-probs of other tokens"), error_where(e, "%s: field \"logps\", %s", where, names[side]),
               error_found(e, "%zu positions", json_array_size(tokens)),
               error_expected(e, "%zu: %d of the prompt and %d of the answer, less the first", n, s->prompt, s->tokens),
               error_hint(e, "they were made by another model, tokenizer or chat template");
    double all = json_number_value(sum), weighted = 0;
    for (size_t i = from; i < n; i++) {
        const json_t *token = json_array_get(tokens, i);
        double logp = json_number_value(token);
        if (!json_is_number(token) || logp > 0)
            return error_what(e, "bad reference log-probs"), error_where(e, "%s: field \"logps\", %s, position %zu", where, names[side], i),
                   error_expected(e, "a number that is not above 0");
        weighted += (s->weights ? s->weights[i - from] : 1.0) * logp;
    }
    if (fabs(json_number_value(mean) * s->tokens - all) > rounding * fabs(all))
        return error_what(e, "reference log-probs of other tokens"), error_where(e, "%s: field \"logps\", %s", where, names[side]),
               error_found(e, "a sum of %g that is %.1f times its mean", all, all / json_number_value(mean)),
               error_expected(e, "the answer's %d tokens", s->tokens);
    *out = s->weights ? weighted : all;
    return 0;
}

int logps_read(const json_t *row, const char *where, const LogpsSide sides[2], double sums[2], Error *e) {
    const char *text = NULL;
    json_error_t why;
    if (json_may_string(row, "logps", where, &text, e)) return -1;
    if (!text)
        return error_what(e, "a pair without reference log-probs"), error_where(e, "%s: field \"logps\"", where), error_found(e, "nothing"),
               error_expected(e, "what `rlaifv score --logps upstream` writes"), error_hint(e, "or train.reference = compute");
    json_t *top = json_loads(text, 0, &why);
    const json_t *list = json_is_object(top) ? json_object_get(top, "logps") : top;
    int bad = 0;
    if (!json_is_array(list) || json_array_size(list) != 2 * ENTRIES)
        bad = error_what(e, "bad reference log-probs"), error_where(e, "%s: field \"logps\"", where),
        error_found(e, "%s", !top ? why.text : json_kind(list)), error_expected(e, "a text of JSON: a list of %d", 2 * ENTRIES);
    for (int side = 0; side < 2 && !bad; side++) bad = side_read(list, side, where, &sides[side], &sums[side], e);
    json_decref(top);
    return bad ? -1 : 0;
}

/* dropped.c - owns the account of what did not come through: counts from the ledger, reasons from claims.jsonl and, where rows of data were
 * dropped, from the data, read again. */
#include "engine/report/html.h"
#include "engine/report/sections.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DROPS_SHOWN = 20, EXAMPLE_BYTES = 200 };

static const struct {
    const char *arrow, *count, *says;
} counts[] = {
    { "sample", "dropped_rows", "rows of the prompts that could not be used" },
    { "sample", "refused", "prompts refused for their picture or length" },
    { "claims", "without", "answers without a claim" },
    { "claims", "unasked", "claims rejected unasked: malformed or said before" },
    { "claims", "left_out", "sentences left out" },
    { "claims", "retries", "replies asked for again" },
    { "claims", "malformed", "answers dropped: replies malformed twice, or longer than the model takes" },
    { "label", "unscored", "answers without a score" },
    { "pair", "duplicates", "answers that repeat another" },
    { "pair", "prompts_without", "prompts without a pair" },
    { "pair", "balanced_away", "pairs dropped to balance lengths" },
    { "train", "dropped", "pairs that training could not use" },
    { "eval-answers", "dropped", "rows of the evaluation that could not be used" },
    { "eval-answers", "refused", "evaluation prompts refused for their picture or length" },
};
enum { COUNTS = sizeof counts / sizeof *counts };

static void counts_write(const RunFolder *r, FILE *to) {
    html_table_open(to, "Counts by iteration");
    fputs("<tr><th scope=\"col\">left out</th>", to);
    for (int i = 0; i <= r->iterations; i++) fprintf(to, i ? "<th scope=\"col\">iteration %d</th>" : "<th scope=\"col\">before</th>", i);
    fputs("</tr>\n", to);
    for (int k = 0; k < COUNTS; k++) {
        fprintf(to, "<tr><th scope=\"row\">%s</th>", counts[k].says);
        for (int i = 0; i <= r->iterations; i++) {
            double n = run_folder_count(r, i, counts[k].arrow, counts[k].count);
            fputs(n > 0 ? "<td class=\"some\">" : "<td>", to);
            if (isnan(n)) fputs("–", to);
            else html_number(to, n);
            fputs("</td>", to);
        }
        fputs("</tr>\n", to);
    }
    html_table_close(to);
}

/* ---- reasons of claims ---- */

static int reason_add(json_t *reasons, const char *what, const char *why, const char *example, Error *e) {
    char *key = NULL;
    if (asprintf(&key, "%s: %s", what, why) < 0) return error_what(e, "out of memory"), error_where(e, "report");
    json_t *entry = json_object_get(reasons, key);
    int bad = 0;
    if (!entry) bad = json_object_set_new(reasons, key, entry = json_pack("{s:i, s:s}", "n", 0, "example", example));
    if (!bad) bad = json_object_set_new(entry, "n", json_integer(json_integer_value(json_object_get(entry, "n")) + 1));
    free(key);
    return bad ? (error_what(e, "out of memory"), error_where(e, "report")) : 0;
}

static int row_reasons(const json_t *row, json_t *reasons, Error *e) {
    size_t i;
    json_t *item;
    const char *why;
    json_array_foreach(json_object_get(row, "left_out"), i, item) {
        const char *text = json_string_value(json_object_get(item, "text"));
        why = json_string_value(json_object_get(item, "why"));
        if (why && reason_add(reasons, "sentence left out", why, text ? text : "", e)) return -1;
    }
    why = json_string_value(json_object_get(row, "dropped"));
    const char *reply = json_string_value(json_object_get(row, "reply"));
    return why ? reason_add(reasons, "answer dropped", why, reply ? reply : "", e) : 0;
}

static int reasons_read(const RunFolder *r, json_t *reasons, Error *e) {
    char path[PATH_SIZE];
    for (int i = 1; i <= r->iterations; i++) {
        JsonLines lines;
        json_t *row;
        int got = run_folder_has(r, path, e, "iter-%d/claims.jsonl", i);
        if (got < 0) return -1;
        if (!got) continue;
        if (jsonl_open(&lines, path, e)) return -1;
        while ((got = jsonl_next(&lines, &row, e)) > 0) {
            if (row_reasons(row, reasons, e)) got = -1;
            json_decref(row);
            if (got < 0) break;
        }
        jsonl_close(&lines);
        if (got < 0) return -1;
    }
    return 0;
}

static void reasons_write(const json_t *reasons, FILE *to) {
    const char *why;
    json_t *entry;
    if (json_object_size(reasons) == 0) return;
    html_table_open(to, "Why sentences and answers were left out");
    fputs("<tr><th scope=\"col\">why</th><th scope=\"col\">how often</th><th scope=\"col\" class=\"left\">for example</th></tr>\n", to);
    json_object_foreach((json_t *)(uintptr_t)reasons, why, entry) {
        const char *example = json_string_value(json_object_get(entry, "example"));
        size_t n = strlen(example);
        if (n > EXAMPLE_BYTES)
            for (n = EXAMPLE_BYTES; n > 0 && ((unsigned char)example[n] & 0xc0) == 0x80;) n--; /* whole characters */
        fputs("<tr><th scope=\"row\">", to);
        html_text(to, why);
        fprintf(to, "</th><td>%lld</td><td class=\"words\">", (long long)json_integer_value(json_object_get(entry, "n")));
        html_bytes(to, example, n);
        fputs(example[n] ? " …</td></tr>\n" : "</td></tr>\n", to);
    }
    html_table_close(to);
}

/* ---- rows of data ---- */

static void drops_write(const RunFolder *r, const char *path, const char *what, FILE *to) {
    Dataset set;
    Error why = { 0 };
    DataOptions options = { .need = DATA_IMAGE | DATA_QUESTION | DATA_UNIQUE | DATA_LOOK, .images = r->config->data.images };
    fprintf(to, "<h3>Rows of %s</h3>\n", what);
    if (dataset_read(&set, path, &options, &why)) {
        char text[sizeof(Error) + 64];
        fputs("<p class=\"note\">The reasons can no longer be told: ", to);
        html_text(to, error_text(&why, text, sizeof text));
        fputs("</p>\n", to);
        return;
    }
    fputs("<ul class=\"reasons\">\n", to);
    for (int i = 0; i < set.drops_n && i < DROPS_SHOWN; i++) {
        fputs("<li>", to);
        html_text(to, set.drops[i].reason);
        fputs("</li>\n", to);
    }
    fputs("</ul>\n", to);
    if (set.drops_n > DROPS_SHOWN) fprintf(to, "<p class=\"note\">And %d more.</p>\n", set.drops_n - DROPS_SHOWN);
    dataset_free(&set);
}

int dropped_write(const RunFolder *r, FILE *to, Error *e) {
    json_t *reasons = json_object();
    if (!reasons) return error_what(e, "out of memory"), error_where(e, "report");
    counts_write(r, to);
    int bad = reasons_read(r, reasons, e), prompts = 0, eval = 0;
    if (!bad) reasons_write(reasons, to);
    json_decref(reasons);
    for (int i = 0; i <= r->iterations; i++) {
        prompts |= run_folder_count(r, i, "sample", "dropped_rows") > 0;
        eval |= run_folder_count(r, i, "eval-answers", "dropped") > 0;
    }
    if (!bad && prompts) drops_write(r, r->config->data.prompts, "the prompts", to);
    if (!bad && eval) drops_write(r, r->config->data.eval, "the evaluation", to);
    return bad ? -1 : 0;
}

/* curves.c - owns which numbers of metrics.jsonl are charts, and where their points lie.
 *
 * Numbers of training stand over the steps of the whole run, a line for each iteration; all others over iterations. Points that are not
 * finite are left out. A last line of the file without its end is passed over: the run may be at work. */
#include "engine/report/curves.h"

#include "engine/report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 800, LINES_MOST = 64, SERIES = 2 }; /* more points than pixels show nothing more: a line's are then means over neighbours */

typedef struct Series {
    const char *title, *phase, *name, *of; /* of: the name that it is divided by, NULL: none */
    double scale;                          /* 0: one */
} Series;
typedef struct Chart {
    int kind; /* the EvalKind that has it; EVAL_ANY: all */
    Series series[SERIES];
} Chart;
enum { EVAL_ANY = -1 };

static const Chart training[] = {
    { EVAL_ANY, { { "loss", "train", "loss", NULL, 0 } } },
    { EVAL_ANY, { { "rewards/margins", "train", "rewards/margins", NULL, 0 } } },
    { EVAL_ANY, { { "rewards/accuracies", "train", "rewards/accuracies", NULL, 0 } } },
    { EVAL_ANY, { { "grad_norm", "train", "grad_norm", NULL, 0 } } },
    { EVAL_ANY, { { "learning_rate", "train", "learning_rate", NULL, 0 } } },
};
static const Chart labels[] = {
    { EVAL_ANY, { { "mean score of an answer", "label", "score", NULL, 0 } } },
    { EVAL_ANY, { { "claims rejected, %", "label", "rejected", "claims", 100 } } },
    { EVAL_ANY, { { "claims an answer", "claims", "claims_per_answer", NULL, 0 } } },
    { EVAL_ANY, { { "pairs kept", "pair", "pairs", NULL, 0 } } },
    { EVAL_ANY, { { "words, chosen", "pair", "words_chosen", NULL, 0 }, { "words, rejected", "pair", "words_rejected", NULL, 0 } } },
};
static const Chart evaluation[] = {
    { EVAL_SCENES, { { "object hallucination: responses, %", "eval", "object_responses", NULL, 100 },
                       { "mentions, %", "eval", "object_mentions", NULL, 100 } } },
    { EVAL_SCENES,
        { { "overall hallucination: responses, %", "eval", "any_false", NULL, 100 }, { "claims, %", "eval", "false_claims", NULL, 100 } } },
    { EVAL_SCENES, { { "coverage, %", "eval", "coverage", NULL, 100 } } },
    { EVAL_LABELER, { { "answers with a rejected claim, %", "eval", "any", NULL, 100 } } },
    { EVAL_LABELER, { { "accepted an answer", "eval", "accepted", NULL, 0 }, { "rejected an answer", "eval", "rejections", NULL, 0 } } },
    { EVAL_ANY, { { "words an answer", "eval", "words", NULL, 0 } } },
};

/* ---- lines ---- */

static void lines_free(CurveLine *lines, int n) {
    for (int i = 0; i < n; i++) free(lines[i].x), free(lines[i].y);
}

static int point_add(CurveLine *l, double x, double y, Error *e) {
    if (mem_grow(&l->x, &l->x_cap, l->n + 1, sizeof *l->x, "curve", e) || mem_grow(&l->y, &l->y_cap, l->n + 1, sizeof *l->y, "curve", e))
        return -1;
    l->x[l->n] = x, l->y[l->n++] = y;
    return 0;
}

static void line_thin(CurveLine *l) {
    size_t each = (l->n + POINTS - 1) / POINTS, kept = 0;
    for (size_t i = 0; each > 1 && i < l->n; i += each, kept++) {
        double x = 0, y = 0;
        size_t n = l->n - i < each ? l->n - i : each;
        for (size_t j = 0; j < n; j++) x += l->x[i + j], y += l->y[i + j];
        l->x[kept] = x / (double)n, l->y[kept] = y / (double)n;
    }
    if (each > 1) l->n = kept;
}

static int of_phase(const json_t *row, const char *phase) {
    const char *is = json_string_value(json_object_get(row, "phase"));
    return is && !strcmp(is, phase);
}

static int value_of(const json_t *row, const Series *s, double *y) {
    const json_t *value = json_object_get(row, s->name);
    if (!of_phase(row, s->phase) || !json_is_number(value)) return 0;
    *y = json_number_value(value) * (s->scale != 0 ? s->scale : 1);
    if (s->of) *y /= json_number_value(json_object_get(row, s->of));
    return isfinite(*y);
}

/* A line for each iteration that was trained; steps go on where the iteration before ended. Returns how many, or -1. */
static int steps_lines(const json_t *rows, const Series *s, CurveLine lines[LINES_MOST], Error *e) {
    size_t i;
    json_t *row;
    int n = 0, iteration = -1;
    double before = 0, last = 0, y;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
        if (!of_phase(row, s->phase)) continue;
        int is = (int)json_integer_value(json_object_get(row, "iteration"));
        double step = json_number_value(json_object_get(row, "step"));
        if (is != iteration) {
            if (n == LINES_MOST) break;
            iteration = is, before += last;
            lines[n++] = (CurveLine){ .colour = (is > 0 ? is - 1 : 0) % CURVE_COLOURS };
        }
        last = step;
        if (value_of(row, s, &y) && point_add(&lines[n - 1], before + step, y, e)) return lines_free(lines, n), -1;
    }
    for (int j = 0; j < n; j++) line_thin(&lines[j]);
    return n;
}

static int iterations_lines(const json_t *rows, const Chart *c, CurveLine lines[LINES_MOST], Error *e) {
    int n = 0;
    for (int k = 0; k < SERIES && c->series[k].name; k++) {
        size_t i;
        json_t *row;
        double y;
        lines[n++] = (CurveLine){ .colour = k };
        json_array_foreach((json_t *)(uintptr_t)rows, i,
            row) if (value_of(row, &c->series[k], &y) &&
                     point_add(&lines[k], json_number_value(json_object_get(row, "iteration")), y, e)) return lines_free(lines, n),
            -1;
    }
    return n;
}

/* ---- charts ---- */

typedef struct Drawing {
    FILE *to;
    int figures, charts, by_hand; /* charts: figures that are more than a number */
} Drawing;

static void caption_write(const Chart *c, const CurveLine *lines, int n, int by_step, FILE *to) {
    fputs("<figcaption>", to);
    for (int k = 0; k < SERIES && c->series[k].name; k++) {
        const CurveLine *first = by_step ? NULL : &lines[k], *last = first;
        for (int i = 0; by_step && i < n; i++)
            if (lines[i].n) first = first ? first : &lines[i], last = &lines[i];
        if (k) fputs("<br>", to);
        if (!by_step && c->series[1].name) fprintf(to, "<i class=\"swatch c%d\"></i> ", k);
        fprintf(to, "<b>%s</b> ", c->series[k].title);
        if (first && first->n) html_number(to, first->y[0]);
        if (first && last->n && (first != last || first->n > 1)) fputs(" → ", to), html_number(to, last->y[last->n - 1]);
    }
    fputs("</figcaption>", to);
}

static int chart_write(Drawing *d, const json_t *rows, const Chart *c, int by_step, Error *e) {
    CurveLine lines[LINES_MOST];
    int n = by_step ? steps_lines(rows, &c->series[0], lines, e) : iterations_lines(rows, c, lines, e), drawn = 0, goes_on = by_step;
    if (n < 0) return -1;
    CurveLine full[LINES_MOST];
    for (int i = 0; i < n; i++)
        if (lines[i].n) goes_on |= lines[i].n > 1, full[drawn++] = lines[i];
    if (drawn) {
        fputs("<figure class=\"curve\">", d->to);
        caption_write(c, lines, n, by_step, d->to);
        if (goes_on) { /* of one iteration the caption says it all */
            char *svg = d->by_hand ? NULL : curve_by_gnuplot(full, drawn, d->charts++);
            if (svg) fputs(svg, d->to);
            else d->by_hand = 1, curve_by_hand(full, drawn, d->to);
            free(svg);
        }
        fputs("</figure>\n", d->to);
        d->figures++;
    }
    lines_free(lines, n);
    return 0;
}

static int group_write(
    Drawing *d, const RunFolder *r, const json_t *rows, const char *title, const Chart *charts, int n, int by_step, Error *e) {
    int before = d->figures;
    fprintf(d->to, "<h3>%s</h3>\n", title);
    if (by_step && r->iterations > 1) {
        fputs("<p class=\"legend\">", d->to);
        for (int i = 1; i <= r->iterations && i <= LINES_MOST; i++)
            fprintf(d->to, "<span><i class=\"swatch c%d\"></i> iteration %d</span> ", (i - 1) % CURVE_COLOURS, i);
        fputs("</p>\n", d->to);
    }
    fputs("<div class=\"curves\">\n", d->to);
    for (int i = 0; i < n; i++)
        if ((charts[i].kind == EVAL_ANY || charts[i].kind == (int)r->config->eval.kind) && chart_write(d, rows, &charts[i], by_step, e))
            return -1;
    fputs("</div>\n", d->to);
    if (d->figures == before) fputs("<p class=\"note\">Nothing yet.</p>\n", d->to);
    return 0;
}

static json_t *metrics_read(const RunFolder *r, Error *e) {
    char path[PATH_SIZE];
    JsonLines lines;
    json_t *row, *rows = json_array();
    int got = 0;
    if (!rows) return error_what(e, "out of memory"), NULL;
    if (path_join(path, r->folder, "metrics.jsonl", e)) return json_decref(rows), NULL;
    if (!file_exists(path)) return rows;
    if (jsonl_open(&lines, path, e)) return json_decref(rows), NULL;
    while ((got = jsonl_next(&lines, &row, e)) > 0)
        if (json_array_append_new(rows, row)) {
            got = (error_what(e, "out of memory"), -2);
            break;
        }
    if (got == -1 && feof(lines.stream)) got = 0;
    jsonl_close(&lines);
    if (got < 0) json_decref(rows);
    return got < 0 ? NULL : rows;
}

int curves_write(const RunFolder *r, FILE *to, Error *e) {
    Drawing d = { .to = to };
    json_t *rows = metrics_read(r, e);
    if (!rows) return -1;
#define GROUP(TITLE, CHARTS, BY_STEP) group_write(&d, r, rows, TITLE, CHARTS, (int)(sizeof(CHARTS) / sizeof *(CHARTS)), BY_STEP, e)
    int bad = GROUP("Training, over steps", training, 1) || GROUP("Labels and pairs, over iterations", labels, 0) ||
              GROUP("Evaluation, over iterations", evaluation, 0);
#undef GROUP
    json_decref(rows);
    if (d.by_hand)
        fputs("<p class=\"note\">gnuplot was not found or failed, so the curves are plain lines between their lowest and highest numbers. "
              "With it (Debian: gnuplot-nox) they have scales.</p>\n",
            to);
    return bad ? -1 : 0;
}

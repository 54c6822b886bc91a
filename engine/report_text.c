/* report_text.c - owns the layout of the final table, and the two numbers of the paper that stand in it. Computes nothing but differences.
 */
#include "engine/report_text.h"

#include <stdlib.h>
#include <string.h>

enum { WIDTH = 100, COLUMNS_MOST = 8, CELL = 32 };

/* RLAIF-V 7B against LLaVA-1.5 7B, relative changes in percent (arXiv 2405.17220v1: the abstract's two numbers are of mentions and of answers). */
static const double paper_responses = -84.1, paper_mentions = -82.9, paper_overall = -42.1;

void report_free(Report *r) {
    for (int i = 0; i < r->examples_n; i++) {
        ReportExample *x = &r->examples[i];
        free(x->image), free(x->question), free(x->before.text), free(x->after.text);
        marks_free(&x->before.rejected), marks_free(&x->after.rejected);
    }
    free(r->examples);
    free(r->rows);
    memset(r, 0, sizeof *r);
}

/* ---- columns ---- */

typedef struct Column {
    const char *group, *name, *change; /* two lines of heading; the row of the table of changes, NULL: none */
    const char *format;                /* of a value */
    double paper;                      /* 0: the paper has none */
    double (*value)(const ReportRow *r);
} Column;

static const char percent[] = "%.1f %%";

static double object_responses(const ReportRow *r) { return 100 * r->scenes.object_responses; }
static double object_mentions(const ReportRow *r) { return 100 * r->scenes.object_mentions; }
static double any_false(const ReportRow *r) { return 100 * r->scenes.any_false; }
static double false_claims(const ReportRow *r) { return 100 * r->scenes.false_claims; }
static double coverage(const ReportRow *r) { return 100 * r->scenes.coverage; }
static double scenes_words(const ReportRow *r) { return r->scenes.words; }
static const Column scenes_columns[] = {
    { "object hallucination", "responses", "object hallucination, responses", percent, paper_responses, object_responses },
    { "", "mentions", "object hallucination, mentions", percent, paper_mentions, object_mentions },
    { "overall", "responses", "overall hallucination", percent, paper_overall, any_false },
    { "", "claims", "false claims", percent, 0, false_claims },
    { "", "coverage", "coverage", percent, 0, coverage },
    { "", "words", "words", "%.1f", 0, scenes_words },
    { 0 },
};

static double rejecting(const ReportRow *r) { return 100 * r->labeler.any; }
static double rejections(const ReportRow *r) { return r->labeler.rejections; }
static double accepted(const ReportRow *r) { return r->labeler.accepted; }
static double labeler_words(const ReportRow *r) { return r->labeler.words; }
static const Column labeler_columns[] = {
    { "answers with a", "rejected claim", "answers with a rejected claim", percent, 0, rejecting },
    { "rejected", "per answer", "rejected claims per answer", "%.2f", 0, rejections },
    { "accepted", "per answer", "accepted claims per answer", "%.2f", 0, accepted },
    { "", "words", "words", "%.1f", 0, labeler_words },
    { 0 },
};

static const Column *columns_of(const Report *r) { return r->kind == EVAL_SCENES ? scenes_columns : labeler_columns; }

static void number_text(const Column *c, double value, char out[CELL]) { snprintf(out, CELL, c->format, value); }

static const ReportRow *chosen_row(const Report *r) {
    for (int i = 0; i < r->n; i++)
        if (r->rows[i].role == REPORT_ITERATION && r->rows[i].iteration == r->chosen) return &r->rows[i];
    return NULL;
}

static void row_name(const Report *r, const ReportRow *row, char out[CELL]) {
    if (row->role == REPORT_BEFORE) snprintf(out, CELL, "before");
    else if (row->role == REPORT_LABELER) snprintf(out, CELL, "labeler");
    else snprintf(out, CELL, "iteration %d%s", row->iteration, row->iteration == r->chosen ? " *" : "");
}

/* ---- tables: cells first, so that text and Markdown share them ---- */

typedef struct Grid {
    char (*cells)[COLUMNS_MOST][CELL + 8];
    int rows, columns, capacity;
} Grid;

static int grid_open(Grid *g, int capacity, Error *e) {
    *g = (Grid){ .capacity = capacity };
    g->cells = mem_new((size_t)capacity, sizeof *g->cells, "report", e);
    return g->cells ? 0 : -1;
}

static void grid_print(const Grid *g, ReportStyle style, FILE *to) {
    int width[COLUMNS_MOST] = { 0 };
    for (int i = 0; i < g->rows; i++)
        for (int j = 0; j < g->columns; j++)
            if ((int)strlen(g->cells[i][j]) > width[j]) width[j] = (int)strlen(g->cells[i][j]);
    for (int i = 0; i < g->rows; i++) {
        if (style == REPORT_MARKDOWN) {
            for (int j = 0; j < g->columns; j++) fprintf(to, "| %s ", g->cells[i][j]);
            fputs("|\n", to);
            for (int j = 0; i == 0 && j < g->columns; j++) fputs(j ? "|---:" : "|---", to);
            if (i == 0) fputs("|\n", to);
            continue;
        }
        char line[COLUMNS_MOST * (CELL + 12)];
        int used = 0;
        for (int j = 0; j < g->columns; j++)
            used += snprintf(line + used, sizeof line - (size_t)used, j ? "   %*s" : "%-*s", width[j], g->cells[i][j]);
        while (used > 0 && line[used - 1] == ' ') used--;
        fprintf(to, "%.*s\n", used, line);
    }
    fputc('\n', to);
}

/* The program's own words and numbers: nothing in a cell needs escaping. */
static void grid_print_html(const Grid *g, const char *caption, FILE *to) {
    fprintf(to, "<div class=\"scroller\" tabindex=\"0\" role=\"region\" aria-label=\"%s\"><table><caption>%s</caption>\n", caption, caption);
    for (int i = 0; i < g->rows; i++) {
        fprintf(to, strchr(g->cells[i][0], '*') ? "<tr class=\"chosen\">" : "<tr>");
        for (int j = 0; j < g->columns; j++)
            if (i == 0) fprintf(to, "<th scope=\"col\">%s</th>", g->cells[i][j]);
            else if (j == 0) fprintf(to, "<th scope=\"row\">%s</th>", g->cells[i][j]);
            else fprintf(to, "<td>%s</td>", g->cells[i][j]);
        fputs("</tr>\n", to);
    }
    fputs("</table></div>\n", to);
}

static void rates_grid(const Report *r, int two_lines, Grid *g) {
    const Column *c = columns_of(r);
    g->rows = two_lines ? 2 : 1;
    g->columns = 1;
    for (int j = 0; c[j].name; j++, g->columns++) {
        if (two_lines) {
            snprintf(g->cells[0][j + 1], CELL, "%s", c[j].group);
            snprintf(g->cells[1][j + 1], CELL, "%s", c[j].name);
        } else snprintf(g->cells[0][j + 1], CELL + 8, "%s", c[j].change);
    }
    for (int i = 0; i < r->n; i++, g->rows++) {
        row_name(r, &r->rows[i], g->cells[g->rows][0]);
        for (int j = 0; c[j].name; j++) number_text(&c[j], c[j].value(&r->rows[i]), g->cells[g->rows][j + 1]);
    }
}

static void changes_grid(const Report *r, const ReportRow *after, Grid *g) {
    const Column *c = columns_of(r);
    const ReportRow *before = &r->rows[0];
    memset(g->cells, 0, (size_t)g->capacity * sizeof *g->cells);
    g->columns = r->kind == EVAL_SCENES ? 5 : 4;
    g->rows = 1;
    const char *const headings[] = { "", "before", NULL, "change", "the paper's" };
    for (int j = 0; j < g->columns; j++)
        if (headings[j]) snprintf(g->cells[0][j], CELL, "%s", headings[j]);
        else snprintf(g->cells[0][j], CELL, "iteration %d", after->iteration);
    for (int j = 0; c[j].name; j++, g->rows++) {
        double was = c[j].value(before), is = c[j].value(after);
        char(*row)[CELL + 8] = g->cells[g->rows];
        snprintf(row[0], CELL + 8, "%s", c[j].change);
        number_text(&c[j], was, row[1]);
        number_text(&c[j], is, row[2]);
        if (was != 0) snprintf(row[3], CELL, "%+.1f %%", 100 * (is - was) / was);
        if (c[j].paper != 0 && g->columns > 4) snprintf(row[4], CELL, "%+.1f %%", c[j].paper);
    }
}

/* ---- examples ---- */

static const struct Pen {
    const char *open, *close;
} pens[] = { [REPORT_PLAIN] = { "[", "]" }, [REPORT_COLOUR] = { "\033[1;31m", "\033[0m" }, [REPORT_MARKDOWN] = { "~~", "~~" } };

/* Width on the screen of n bytes: escape sequences and continuation bytes of UTF-8 have none. */
static int shown(const char *text, size_t n) {
    int width = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\033') {
            while (i < n && text[i] != 'm') i++;
            continue;
        }
        width += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return width;
}

/* Prints words with line breaks; control characters of an answer never reach a terminal. */
static void wrapped_print(const char *text, const char *indent, FILE *to) {
    int column = 0;
    for (const char *p = text; *p;) {
        p += strspn(p, " \t\r\n");
        size_t n = strcspn(p, " \t\r\n");
        int width = shown(p, n);
        if (n == 0) break;
        if (column && column + 1 + width > WIDTH) {
            fprintf(to, "\n%s", indent);
            column = (int)strlen(indent);
        } else if (column) fputc(' ', to), column++;
        fwrite(p, 1, n, to);
        column += width;
        p += n;
    }
    fputc('\n', to);
}

static int answer_print(const char *label, const ReportAnswer *a, ReportStyle style, FILE *to, Error *e) {
    char *clean = strdup(a->text), *marked, *line;
    if (!clean) return error_what(e, "out of memory"), error_where(e, "report");
    for (char *p = clean; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127) *p = ' ';
    marked = marks_apply(clean, &a->rejected, pens[style].open, pens[style].close, e);
    free(clean);
    if (!marked) return -1;
    int bad = asprintf(&line, style == REPORT_MARKDOWN ? "- %s: %s" : "  %s: %s", label, *marked ? marked : "(nothing)") < 0;
    free(marked);
    if (bad) return error_what(e, "out of memory"), error_where(e, "report");
    if (style == REPORT_MARKDOWN) fprintf(to, "%s\n", line);
    else fputs("  ", to), wrapped_print(line, "          ", to);
    free(line);
    return 0;
}

static int examples_print(const Report *r, ReportStyle style, FILE *to, Error *e) {
    static const char *const marked[] = {
        [REPORT_PLAIN] = "in [brackets]", [REPORT_COLOUR] = "in \033[1;31mred\033[0m", [REPORT_MARKDOWN] = "~~struck out~~"
    };
    if (r->examples_n == 0) return 0;
    fprintf(to, "What the labeler rejects stands %s.\n\n", marked[style]);
    for (int i = 0; i < r->examples_n; i++) {
        const ReportExample *x = &r->examples[i];
        fprintf(to, style == REPORT_MARKDOWN ? "**%s** %s\n\n" : "%s  \"%s\"\n", x->image, x->question);
        if (answer_print("before", &x->before, style, to, e) || answer_print("after", &x->after, style, to, e)) return -1;
        fputc('\n', to);
    }
    return 0;
}

int report_print(const Report *r, ReportStyle style, FILE *to, Error *e) {
    Grid g;
    if (grid_open(&g, r->n + COLUMNS_MOST + 2, e)) return -1;
    const ReportRow *after = chosen_row(r);
    fprintf(to, "%s%d %s, %d answers of each model at temperature %.2g%s\n\n", style == REPORT_MARKDOWN ? "### " : "", r->prompts,
        r->kind == EVAL_SCENES ? "evaluation scenes, judged by their truth" : "evaluation prompts, judged by the labeler", r->answers,
        r->temperature,
        style == REPORT_MARKDOWN ? ""
        : after                  ? ". * is the result, chosen without the truth."
                                 : ".");
    rates_grid(r, style != REPORT_MARKDOWN, &g);
    grid_print(&g, style, to);
    if (after) {
        changes_grid(r, after, &g);
        grid_print(&g, style, to);
    }
    free(g.cells);
    return examples_print(r, style, to, e);
}

int report_print_html(const Report *r, FILE *to, Error *e) {
    Grid g;
    const ReportRow *after = chosen_row(r);
    for (int i = r->n; !after && i-- > 0;)
        if (r->rows[i].role == REPORT_ITERATION) after = &r->rows[i];
    if (grid_open(&g, r->n + COLUMNS_MOST + 2, e)) return -1;
    fprintf(to, "<p>%d %s, %d answers of each model at temperature %.2g.%s</p>\n", r->prompts,
        r->kind == EVAL_SCENES ? "evaluation scenes, judged by their truth" : "evaluation prompts, judged by the labeler", r->answers,
        r->temperature, chosen_row(r) ? " * is the result, chosen without the truth." : "");
    rates_grid(r, 0, &g);
    grid_print_html(&g, "Each model's answers", to);
    if (after && r->rows[0].role == REPORT_BEFORE) {
        changes_grid(r, after, &g);
        grid_print_html(&g, chosen_row(r) ? "From the start to the result" : "From the start to the newest iteration", to);
    }
    free(g.cells);
    return 0;
}

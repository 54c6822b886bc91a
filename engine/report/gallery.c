/* gallery.c - owns how a picture's answers are shown: the text with what the labeler rejects marked, and every claim with verdict, P(yes)
 * and truth. */
#include "engine/report/html.h"
#include "engine/report/sections.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A sign beside each colour, and a word for those who see neither. */
static const struct {
    const char *class, *sign, *word;
} verdicts[VERDICTS] = {
    [VERDICT_ACCEPTED] = { "yes", "✓", "accepted" },
    [VERDICT_REJECTED] = { "no", "✗", "rejected" },
    [VERDICT_UNASKED] = { "no", "⊘", "rejected unasked: malformed or said before" },
    [VERDICT_NONE] = { "open", "·", "not judged" },
};

static void text_write(const Answer *a, FILE *to) {
    size_t at = 0;
    if (!a->text[0]) fputs("<em>(nothing)</em>", to);
    for (size_t i = 0; i < a->rejected.n; i++) {
        const Mark *m = &a->rejected.list[i];
        html_bytes(to, a->text + at, m->at - at);
        fputs("<mark>", to);
        html_bytes(to, a->text + m->at, m->size);
        fputs("</mark>", to);
        at = m->at + m->size;
    }
    html_text(to, a->text + at);
}

static void said_write(const Said *s, FILE *to) {
    int wrong =
        s->truth >= 0 && (s->verdict == VERDICT_ACCEPTED || s->verdict == VERDICT_REJECTED) && s->truth != (s->verdict == VERDICT_ACCEPTED);
    fprintf(to, "<li class=\"%s%s\"><span class=\"sign\" aria-hidden=\"true\">%s</span> <span class=\"claim\">", verdicts[s->verdict].class,
        wrong ? " wrong" : "", verdicts[s->verdict].sign);
    html_text(to, s->claim);
    fprintf(to, "</span> <span class=\"unseen\">%s</span>", verdicts[s->verdict].word);
    if (isfinite(s->p_yes)) fprintf(to, " <span class=\"p\" title=\"P(yes)\">%.3f</span>", s->p_yes);
    if (s->truth >= 0) fprintf(to, " <span class=\"truth %s\">%s</span>", s->truth ? "true" : "false", s->truth ? "true" : "false");
    fputs("</li>\n", to);
}

static void answer_write(const char *label, const Answer *a, FILE *to) {
    fprintf(to, "<div class=\"answer\"><h4>%s</h4>\n<p dir=\"auto\">", label);
    text_write(a, to);
    fputs("</p>\n", to);
    if (a->n) {
        int accepted = 0, right = 0, known = 0;
        for (int i = 0; i < a->n; i++) {
            accepted += a->said[i].verdict == VERDICT_ACCEPTED;
            known += a->said[i].truth >= 0, right += a->said[i].truth == 1;
        }
        fprintf(to, "<details open><summary>%d claim%s", a->n, a->n == 1 ? "" : "s");
        if (a->labelled) fprintf(to, ", %d rejected", a->n - accepted);
        if (known) fprintf(to, ", %d of %d true", right, known);
        fputs("</summary><ul class=\"claims\">\n", to);
        for (int i = 0; i < a->n; i++) said_write(&a->said[i], to);
        fputs("</ul></details>\n", to);
    } else if (a->labelled) fputs("<p class=\"note\">No claim was found.</p>\n", to);
    fputs("</div>\n", to);
}

/* after NULL: nothing was trained yet. */
static void card_write(const Answer *before, const Answer *after, Pictures *pictures, FILE *to) {
    char *uri = before->image ? picture_uri(pictures, &picture_whole, before->image) : NULL;
    fputs("<article class=\"card\">\n<div class=\"picture\">", to);
    if (uri) {
        fprintf(to, "<img src=\"%s\" alt=\"the picture of ", uri);
        html_text(to, before->id);
        fputs("\">", to);
    } else fprintf(to, "<div class=\"nothing\">%s</div>", before->image ? "picture left out" : "no picture");
    fputs("</div>\n<div class=\"about\"><h3 dir=\"auto\">", to);
    html_text(to, before->question);
    fputs("</h3><p class=\"note\">", to);
    html_text(to, before->id);
    fputs("</p></div>\n", to);
    answer_write("Before", before, to);
    if (after) answer_write("After", after, to);
    fputs("</article>\n", to);
    free(uri);
}

typedef struct Gallery {
    const RunFolder *run;
    Pictures *pictures;
    FILE *to;
    json_t *shown; /* ids */
    int most, n;
} Gallery;

static int gallery_add(Gallery *g, const Answer *before, const Answer *after, Error *e) {
    if (json_object_set_new(g->shown, before->id, json_true())) return error_what(e, "out of memory"), error_where(e, "report");
    card_write(before, after, g->pictures, g->to);
    g->n++;
    return 0;
}

/* RUN/examples holds each prompt twice, as candidate 0 before and 1 after (examples.h). */
static int examples_show(Gallery *g, Error *e) {
    AnswerFiles f;
    Answer before = { 0 }, after;
    int got = answer_files_open(&f, g->run, "examples", TRUTH_EVAL, e), bad = 0;
    if (got <= 0) return got;
    while (!bad && g->n < g->most && (got = answer_files_next(&f, &after, e)) > 0) {
        if (after.candidate == 1 && before.id && !strcmp(before.id, after.id)) {
            bad = gallery_add(g, &before, &after, e);
            answer_free(&before), answer_free(&after);
        } else answer_free(&before), before = after;
    }
    answer_free(&before);
    answer_files_close(&f);
    return bad || got < 0 ? -1 : 0;
}

/* Both evaluations answer the same prompts in the same order. */
static int evaluations_show(Gallery *g, int after_iteration, Error *e) {
    AnswerFiles one, two = { 0 };
    char folder[64];
    snprintf(folder, sizeof folder, "iter-%d/eval", after_iteration);
    int got = answer_files_open(&one, g->run, "iter-0/eval", TRUTH_EVAL, e), has = 0, bad = 0;
    if (got <= 0) return got;
    if (after_iteration > 0 && (has = answer_files_open(&two, g->run, folder, TRUTH_EVAL, e)) < 0) bad = -1;
    while (!bad && g->n < g->most) {
        Answer before = { 0 }, after = { 0 };
        got = answer_files_next(&one, &before, e);
        if (got > 0 && has) got = answer_files_next(&two, &after, e);
        if (got > 0 && has && (strcmp(before.id, after.id) || before.candidate != after.candidate))
            bad = (error_what(e, "rows do not match"), error_where(e, "%s", two.candidates.where), error_found(e, "%.200s", after.id),
                error_expected(e, "%.200s, as in %s", before.id, one.candidates.path));
        else if (got > 0 && before.candidate == 0 && !json_object_get(g->shown, before.id))
            bad = gallery_add(g, &before, has ? &after : NULL, e);
        answer_free(&before), answer_free(&after);
        if (got <= 0) break;
    }
    answer_files_close(&one);
    if (has > 0) answer_files_close(&two);
    return bad || got < 0 ? -1 : 0;
}

int gallery_write(const RunFolder *r, int most, Pictures *pictures, FILE *to, Error *e) {
    Gallery g = { .run = r, .pictures = pictures, .to = to, .shown = json_object(), .most = most };
    int after = r->table.chosen, bad;
    for (int i = 0; !r->table.chosen && i < r->table.n; i++)
        if (r->table.rows[i].role == REPORT_ITERATION) after = r->table.rows[i].iteration;
    if (!g.shown) return error_what(e, "out of memory"), error_where(e, "report");
    if (after)
        fprintf(to, "<p>Before: as the run began. After: iteration %d%s. ", after, r->table.chosen ? ", the result" : ", the newest");
    else fputs("<p>Before: as the run began. Nothing is trained and evaluated yet. ", to);
    fputs("<span class=\"key\"><span class=\"yes\">✓ accepted</span> and <span class=\"no\">✗ rejected</span> is the labeler's word, the "
          "number its P(yes)",
        to);
    if (r->truth[TRUTH_EVAL].index)
        fputs("; <span class=\"truth true\">true</span> and <span class=\"truth false\">false</span> what is so; outlined: the labeler is "
              "wrong",
            to);
    fputs(".</span></p>\n<div class=\"gallery\">\n", to);
    bad = examples_show(&g, e) || evaluations_show(&g, after, e);
    fputs("</div>\n", to);
    if (!g.n) fputs("<p class=\"note\">No evaluation answers yet.</p>\n", to);
    else if (g.n == most && most < r->table.prompts)
        fprintf(to, "<p class=\"note\">%d of %d prompts are shown: <code>--examples N</code> shows more.</p>\n", g.n, r->table.prompts);
    json_decref(g.shown);
    return bad ? -1 : 0;
}

/* page.c - owns the page's frame: its head, the order of its sections, what stands above them, and the command `report`.
 *
 * Style and script are configs/report/, part of the program. A content security policy forbids the page to load anything, and any script
 * but its own. Refuses a folder that is no run's, and one from which files are gone that its ledger says were made. */
#include "engine/report/page.h"

#include "engine/commands.h"
#include "engine/options.h"
#include "engine/report/curves.h"
#include "engine/report/html.h"
#include "engine/report/sections.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const char data_report_page_css[], data_report_page_js[];

/* ---- what stands above ---- */

static const char *folder_name(const char *folder) {
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/') n--;
    while (n > 0 && folder[n - 1] != '/') n--;
    return folder + n;
}

static void fact_write(FILE *to, const char *name, const char *value) {
    fprintf(to, "<div><dt>%s</dt><dd>", name);
    html_text(to, value);
    fputs("</dd></div>\n", to);
}

static void state_write(const RunFolder *r, FILE *to) {
    size_t n = json_array_size(r->ledger.rows);
    const json_t *last = n ? json_array_get(r->ledger.rows, n - 1) : NULL;
    fputs("<p class=\"state\">", to);
    if (r->table.chosen) fprintf(to, "Finished. The result is iteration %d of %d.", r->table.chosen, r->iterations);
    else if (!last) fputs("Nothing is done yet.", to);
    else {
        fprintf(to, "Not finished: of %d iterations, the last thing done is <b>", r->config->run.iterations);
        html_text(to, json_string_value(json_object_get(last, "arrow")));
        fprintf(to, "</b> of iteration %lld.", (long long)json_integer_value(json_object_get(last, "iteration")));
    }
    fputs("</p>\n", to);
}

static void facts_write(const RunFolder *r, FILE *to) {
    const RunConfig *c = r->config;
    double seconds = 0, pairs = 0;
    char text[64];
    for (size_t i = 0; i < json_array_size(r->ledger.rows); i++)
        seconds += json_number_value(json_object_get(json_array_get(r->ledger.rows, i), "seconds"));
    for (int i = 1; i <= r->iterations; i++) {
        double n = run_folder_count(r, i, "pair", "pairs");
        pairs += isnan(n) ? 0 : n;
    }
    fputs("<dl class=\"facts\">\n", to);
    fact_write(to, "policy", c->model.dir);
    fact_write(to, "labeler", c->labeler.dir[0] ? c->labeler.dir : "the policy itself");
    snprintf(text, sizeof text, "%.0f", pairs), fact_write(to, "pairs", text);
    snprintf(text, sizeof text, "%d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60) % 60, (int)seconds % 60);
    fact_write(to, "time of the arrows", text);
    fputs("</dl>\n", to);
}

/* ---- results ---- */

static int choices_write(const RunFolder *r, FILE *to, Error *e) {
    int any = 0;
    for (int i = 1; i <= r->iterations; i++) {
        char path[PATH_SIZE];
        json_t *top;
        const char *why;
        int64_t step;
        int has = run_folder_has(r, path, e, "iter-%d/select.json", i);
        if (has < 0) return -1;
        if (!has) continue;
        if (json_read_object(path, &top, e)) return -1;
        int bad = json_need_string(top, "why", path, &why, e) || json_need_integer(top, "step", path, 1, INT64_MAX, &step, e);
        if (!bad) {
            fprintf(to, "%s<li>iteration %d: step %lld, ", any++ ? "" : "<h3>Which checkpoint went on</h3>\n<ul class=\"reasons\">\n", i,
                (long long)step);
            html_text(to, why);
            fputs("</li>\n", to);
        }
        json_decref(top);
        if (bad) return -1;
    }
    if (any) fputs("</ul>\n", to);
    return 0;
}

static int results_write(const RunFolder *r, FILE *to, Error *e) {
    if (r->table.n == 0) fputs("<p class=\"note\">Nothing is evaluated yet.</p>\n", to);
    else if (report_print_html(&r->table, to, e)) return -1;
    int trained = 0;
    for (int i = 0; i < r->table.n; i++) trained |= r->table.rows[i].role == REPORT_ITERATION;
    if (trained && r->table.kind == EVAL_SCENES)
        fputs("<p class=\"note\">The paper's: RLAIF-V 7B against LLaVA-1.5 7B, relative changes (arXiv 2405.17220, abstract).</p>\n", to);
    return choices_write(r, to, e);
}

/* ---- the frame ---- */

static void section_open(FILE *to, const char *id, const char *title) { fprintf(to, "<section id=\"%s\">\n<h2>%s</h2>\n", id, title); }
static void section_close(FILE *to) { fputs("</section>\n", to); }

/* The nonce keeps scripts out that might come in by other ways than html.c; it only has to be unknown to those who wrote the data. */
static void head_write(const RunFolder *r, const char *nonce, FILE *to) {
    const char *name = folder_name(r->folder);
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n", to);
    fprintf(to,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        "script-src 'nonce-%s'; base-uri 'none'; form-action 'none'\">\n",
        nonce);
    fputs("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
          "<link rel=\"icon\" href=\"data:,\">\n<title>rlaifv: ",
        to);
    html_text(to, name);
    fputs("</title>\n<style>\n", to);
    fputs(data_report_page_css, to);
    if (r->config->data.exif == EXIF_IGNORE) fputs(".picture img, .pair img { image-orientation: none; }\n", to); /* as the model saw it */
    fputs("</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#results\">to the results</a>\n<header>\n<h1>", to);
    html_text(to, name);
    fputs("</h1>\n", to);
    state_write(r, to);
    facts_write(r, to);
    fputs("<nav aria-label=\"sections\"><a href=\"#results\">Results</a> <a href=\"#curves\">Curves</a> <a href=\"#answers\">Answers</a> "
          "<a href=\"#browse\">Pairs</a> <a href=\"#dropped\">Left out</a> <a href=\"#settings\">Settings</a> <a "
          "href=\"#ledger\">Ledger</a></nav>\n"
          "</header>\n<main>\n",
        to);
}

static void pictures_say(const Pictures *p, FILE *to) {
    if (p->over_budget)
        fprintf(
            to, "<p class=\"note\">%d pictures are left out: together they would pass the page's limit of bytes.</p>\n", p->over_budget);
    if (p->unreadable) fprintf(to, "<p class=\"note\">%d pictures are gone or cannot be read.</p>\n", p->unreadable);
}

static int body_write(const RunFolder *r, const PageOptions *o, FILE *to, Error *e) {
    Pictures whole = { .exif = r->config->data.exif, .budget = o->picture_bytes / 3 * 2 },
             small = { .exif = r->config->data.exif, .budget = o->picture_bytes / 3 };
    section_open(to, "results", "Results");
    if (results_write(r, to, e)) return -1;
    section_close(to);
    section_open(to, "curves", "Curves");
    if (curves_write(r, to, e)) return -1;
    section_close(to);
    section_open(to, "answers", "Answers before and after");
    if (gallery_write(r, o->examples, &whole, to, e)) return -1;
    pictures_say(&whole, to);
    section_close(to);
    section_open(to, "browse", "Preference pairs");
    if (browser_write(r, o->pairs, &small, to, e)) return -1;
    pictures_say(&small, to);
    section_close(to);
    section_open(to, "dropped", "What was left out");
    if (dropped_write(r, to, e)) return -1;
    section_close(to);
    section_open(to, "settings", "Settings");
    if (settings_write(r, to, e)) return -1;
    section_close(to);
    section_open(to, "ledger", "Ledger");
    if (ledger_write(r, to, e)) return -1;
    section_close(to);
    return 0;
}

static int page_write(const RunFolder *r, const PageOptions *o, FILE *to, Error *e) {
    char nonce[HASH_TEXT];
    char *rows = json_dumps(r->ledger.rows, JSON_COMPACT);
    if (!rows) return error_what(e, "out of memory"), error_where(e, "report");
    hash_bytes(rows, strlen(rows), nonce);
    free(rows);
    head_write(r, nonce, to);
    if (body_write(r, o, to, e)) return -1;
    fprintf(to,
        "</main>\n<footer>Made by rlaifv report of what the folder holds. Nothing in this page is loaded from elsewhere.</footer>\n"
        "<script nonce=\"%s\">\n%s</script>\n</body>\n</html>\n",
        nonce, data_report_page_js);
    return 0;
}

int page_make(const char *folder, const PageOptions *o, Error *e) {
    RunFolder r;
    FileOut file;
    char path[PATH_SIZE];
    if (run_folder_open(&r, folder, e)) return -1;
    run_folder_truth_read(&r);
    int bad = (o->out ? path_join(path, ".", o->out, e) : path_join(path, folder, "report.html", e)) || file_create(&file, path, e);
    if (!bad && (bad = page_write(&r, o, file.stream, e))) file_abandon(&file);
    else if (!bad) bad = file_commit(&file, e);
    run_folder_close(&r);
    return bad ? -1 : 0;
}

int command_report(int argc, char **argv, Error *e) {
    PageOptions o = { .picture_bytes = PAGE_PICTURE_BYTES };
    int64_t examples = PAGE_EXAMPLES, pairs = PAGE_PAIRS;
    int folders;
    const Option table[] = { { "out", OPTION_TEXT, &o.out, "FILE", "the page; RUN/report.html unless given", 0, 0, 0, NULL },
        { "examples", OPTION_INT, &examples, "N", "pictures with answers before and after, at most", 0, 0, 10000, NULL },
        { "pairs", OPTION_INT, &pairs, "N", "preference pairs to browse, at most", 0, 0, 100000, NULL }, { .name = NULL } };
    int parsed = options_parse(table, argc, argv, &folders, e);
    if (parsed == OPTIONS_HELP)
        return options_help(table, "report RUN [OPTION]...",
                   "One HTML file of a run, finished or not: curves, tables, answers, pairs, what was left out, settings, ledger.", stdout),
               0;
    if (parsed) return 2;
    if (folders != 1)
        return error_what(e, "report takes one folder of a run"), error_where(e, "command line"), error_found(e, "%d", folders), 2;
    o.examples = (int)examples, o.pairs = (int)pairs;
    if (page_make(argv[0], &o, e)) return -1;
    if (o.out) puts(o.out);
    else printf("%s/report.html\n", argv[0]);
    return 0;
}

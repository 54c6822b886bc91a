/* record.c - owns what the page says of how the run was made: settings, plan, and the ledger with its hashes. */
#include "engine/report/html.h"
#include "engine/report/sections.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_MOST = 1 << 20 };

static int file_show(const char *path, const char *summary, FILE *to, Error *e) {
    char *text;
    size_t n;
    if (file_read(path, TEXT_MOST, &text, &n, e)) return -1;
    fprintf(to, "<details><summary>%s</summary><pre class=\"scroller\" tabindex=\"0\">", summary);
    html_bytes(to, text, n);
    fputs("</pre></details>\n", to);
    free(text);
    return 0;
}

int settings_write(const RunFolder *r, FILE *to, Error *e) {
    char path[PATH_SIZE];
    if (path_join(path, r->folder, "config.ini", e) || file_show(path, "config.ini, as it was resolved", to, e)) return -1;
    if (path_join(path, r->folder, "plan.txt", e)) return -1;
    if (file_exists(path)) return file_show(path, "plan.txt: what the run needs", to, e);
    fputs(
        "<p class=\"note\">No plan.txt: <code>rlaifv plan RUN/config.ini &gt;RUN/plan.txt</code> puts what the run needs here.</p>\n", to);
    return 0;
}

static void hashes_write(const char *what, const json_t *hashes, FILE *to) {
    const char *name;
    json_t *hash;
    json_object_foreach((json_t *)(uintptr_t)hashes, name, hash) {
        fprintf(to, "<dt>%s ", what);
        html_text(to, name);
        fputs("</dt><dd>", to);
        if (json_is_string(hash)) html_text(to, json_string_value(hash));
        fputs("</dd>\n", to);
    }
}

static void row_write(const json_t *row, FILE *to) {
    const char *name;
    json_t *value;
    int n = 0;
    fprintf(to, "<tr><td>%lld</td><th scope=\"row\">", (long long)json_integer_value(json_object_get(row, "iteration")));
    html_text(to, json_string_value(json_object_get(row, "arrow")));
    fprintf(to, "</th><td>%.1f</td><td class=\"words\">", json_number_value(json_object_get(row, "seconds")));
    json_object_foreach(json_object_get(row, "counts"), name, value) {
        fputs(n++ ? ", " : "", to);
        html_text(to, name);
        putc(' ', to);
        html_number(to, json_number_value(value));
    }
    const json_t *inputs = json_object_get(row, "inputs"), *outputs = json_object_get(row, "outputs");
    fprintf(to, "</td><td class=\"words\"><details><summary>%zu in, %zu out</summary><dl class=\"hashes\">\n", json_object_size(inputs),
        json_object_size(outputs));
    const char *program = json_string_value(json_object_get(row, "program")), *isa = json_string_value(json_object_get(row, "isa"));
    if (program && isa) {
        fputs("<dt>program</dt><dd>", to);
        html_text(to, program);
        fputs(" on ", to);
        html_text(to, isa);
        fputs("</dd>\n", to);
    }
    hashes_write("in", inputs, to);
    hashes_write("out", outputs, to);
    fputs("</dl></details></td></tr>\n", to);
}

int ledger_write(const RunFolder *r, FILE *to, Error *e) {
    size_t i;
    json_t *row;
    (void)e;
    if (json_array_size(r->ledger.rows) == 0) return fputs("<p class=\"note\">No arrow is done yet.</p>\n", to), 0;
    html_table_open(to, "Arrows that are done, in order");
    fputs("<tr><th scope=\"col\">iteration</th><th scope=\"col\" class=\"left\">arrow</th><th scope=\"col\">seconds</th><th scope=\"col\" "
          "class=\"left\">counts</th>"
          "<th scope=\"col\" class=\"left\">XXH3 hashes</th></tr>\n",
        to);
    json_array_foreach(r->ledger.rows, i, row) row_write(row, to);
    html_table_close(to);
    return 0;
}

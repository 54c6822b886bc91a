/* browser.c - owns the pairs of the page: which of them are taken, and the JSON that configs/report/page.js reads:
 *
 *   {"pictures": [data URI], "pairs": [{"i": iteration, "id", "q": question, "p": index of its picture or -1, "c": SIDE, "r": SIDE}]}
 *   SIDE, chosen or rejected: {"t": text, "s": score, "k": [[claim, verdict, P(yes) or null, truth: 1, 0, or -1 not known]]} */
#include "engine/report/html.h"
#include "engine/report/sections.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Browser {
    const RunFolder *run;
    Pictures *pictures;
    json_t *uris, *places, *pairs; /* places: path -> index of its URI */
    json_t *wanted;                /* of the iteration at work: "candidate id" -> sides that show this answer */
    long there;                    /* pairs in the files */
} Browser;

static int out_of_memory(Error *e) { return error_what(e, "out of memory"), error_where(e, "report"); }

static int picture_place(Browser *b, const char *path, int *place, Error *e) {
    const json_t *known = path ? json_object_get(b->places, path) : NULL;
    *place = known ? (int)json_integer_value(known) : -1;
    if (known || !path) return 0;
    char *uri = picture_uri(b->pictures, &picture_thumbnail, path);
    if (uri) *place = (int)json_array_size(b->uris);
    int bad = (uri && json_array_append_new(b->uris, json_string(uri))) || json_object_set_new(b->places, path, json_integer(*place));
    free(uri);
    return bad ? out_of_memory(e) : 0;
}

static int side_make(Browser *b, const json_t *row, const char *where, const char *side, json_t **out, Error *e) {
    char key[64];
    const char *text, *id;
    int64_t candidate;
    double score;
    snprintf(key, sizeof key, "%s_candidate", side);
    if (json_need_string(row, "id", where, &id, e) || json_need_string(row, side, where, &text, e) ||
        json_need_integer(row, key, where, 0, INT32_MAX, &candidate, e))
        return -1;
    snprintf(key, sizeof key, "%s_score", side);
    if (json_need_number(row, key, where, &score, e)) return -1;
    char *name = NULL;
    if (asprintf(&name, "%lld %s", (long long)candidate, id) < 0) return out_of_memory(e);
    json_t *sides = json_object_get(b->wanted, name);
    if (!sides && !json_object_set_new(b->wanted, name, json_array())) sides = json_object_get(b->wanted, name);
    free(name);
    *out = json_pack("{s:s, s:f, s:[]}", "t", text, "s", score, "k");
    if (*out && sides && !json_array_append(sides, *out)) return 0;
    json_decref(*out);
    *out = NULL;
    return out_of_memory(e);
}

static int pair_add(Browser *b, int iteration, const json_t *row, const char *where, Error *e) {
    json_t *chosen = NULL, *rejected = NULL, *pair;
    const char *id, *question, *image = NULL;
    int place;
    if (json_need_string(row, "id", where, &id, e) || json_need_string(row, "question", where, &question, e) ||
        json_may_string(row, "image", where, &image, e) || picture_place(b, image, &place, e) ||
        side_make(b, row, where, "chosen", &chosen, e))
        return -1;
    if (side_make(b, row, where, "rejected", &rejected, e)) return json_decref(chosen), -1;
    pair = json_pack("{s:i, s:s, s:s, s:i, s:o, s:o}", "i", iteration, "id", id, "q", question, "p", place, "c", chosen, "r", rejected);
    return !pair || json_array_append_new(b->pairs, pair) ? out_of_memory(e) : 0;
}

/* Rows 0, n/k, 2n/k, ... of n, so that those shown are from all over the file. */
static int pairs_take(Browser *b, int iteration, const char *path, int64_t n, int64_t most, Error *e) {
    JsonLines lines;
    json_t *row;
    int got;
    int64_t at = 0, taken = 0;
    if (jsonl_open(&lines, path, e)) return -1;
    if (most > n) most = n;
    while ((got = jsonl_next(&lines, &row, e)) > 0) {
        if (taken < most && at++ == taken * n / most) {
            taken++;
            if (pair_add(b, iteration, row, lines.where, e)) got = -1;
        }
        json_decref(row);
        if (got < 0) break;
    }
    jsonl_close(&lines);
    return got < 0 ? -1 : 0;
}

static int claims_add_to(json_t *sides, const Answer *a, Error *e) {
    size_t i;
    json_t *side, *claims = json_array();
    int bad = !claims;
    for (int k = 0; !bad && k < a->n; k++) {
        const Said *s = &a->said[k];
        json_t *p = isfinite(s->p_yes) ? json_real(round(1e4 * s->p_yes) / 1e4) : json_null();
        bad = json_array_append_new(claims, json_pack("[s, i, o, i]", s->claim, (int)s->verdict, p, s->truth));
    }
    json_array_foreach(sides, i, side) /* an id that stands twice is what its first row says */
        bad = bad || (!json_array_size(json_object_get(side, "k")) && json_array_extend(json_object_get(side, "k"), claims));
    json_decref(claims);
    return bad ? out_of_memory(e) : 0;
}

/* What was said of the answers that are shown. */
static int claims_take(Browser *b, int iteration, Error *e) {
    char folder[32];
    AnswerFiles f;
    Answer a;
    snprintf(folder, sizeof folder, "iter-%d", iteration);
    int got = answer_files_open(&f, b->run, folder, TRUTH_PROMPTS, e), bad = 0;
    if (got <= 0) return got;
    while (!bad && (got = answer_files_next(&f, &a, e)) > 0) {
        char *name = NULL;
        if (asprintf(&name, "%d %s", a.candidate, a.id) < 0) bad = out_of_memory(e);
        else {
            json_t *sides = json_object_get(b->wanted, name);
            if (sides) bad = claims_add_to(sides, &a, e);
            free(name);
        }
        answer_free(&a);
    }
    answer_files_close(&f);
    return bad || got < 0 ? -1 : 0;
}

static int64_t rows_count(const char *path) {
    JsonLines lines;
    json_t *row;
    int64_t n = 0;
    if (jsonl_open(&lines, path, NULL)) return 0;
    while (jsonl_next(&lines, &row, NULL) > 0) n++, json_decref(row);
    jsonl_close(&lines);
    return n;
}

static int pairs_gather(Browser *b, int most, Error *e) {
    char path[PATH_SIZE];
    int left = most;
    for (int i = 1; i <= b->run->iterations; i++) {
        int has = run_folder_has(b->run, path, e, "iter-%d/pairs.jsonl", i);
        if (has < 0) return -1;
        if (!has) continue;
        int64_t n = rows_count(path);
        int share = left / (b->run->iterations - i + 1);
        size_t before = json_array_size(b->pairs);
        b->there += n;
        json_object_clear(b->wanted);
        if (pairs_take(b, i, path, n, share, e) || claims_take(b, i, e)) return -1;
        left -= (int)(json_array_size(b->pairs) - before);
    }
    return 0;
}

/* Without the script there is nothing to browse; the controls appear with it. */
static void controls_write(const RunFolder *r, FILE *to) {
    fputs("<noscript><p class=\"note\">The pairs are shown by a script, and scripts are off.</p></noscript>\n"
          "<form id=\"filters\" hidden>\n<label>iteration <select id=\"f-iteration\"><option value=\"\">all</option>",
        to);
    for (int i = 1; i <= r->iterations; i++) fprintf(to, "<option>%d</option>", i);
    fputs("</select></label>\n<label>score gap at least <input id=\"f-gap\" type=\"number\" min=\"0\" step=\"1\" value=\"0\" "
          "inputmode=\"numeric\"></label>\n"
          "<label>text <input id=\"f-text\" type=\"search\" placeholder=\"in question, answers, claims\" autocomplete=\"off\"></label>\n"
          "<button type=\"reset\">show all</button>\n</form>\n"
          "<div id=\"pager\" hidden><button type=\"button\" id=\"previous\" aria-label=\"previous page of pairs\">←</button> "
          "<span id=\"where\" role=\"status\" aria-live=\"polite\"></span> "
          "<button type=\"button\" id=\"next\" aria-label=\"next page of pairs\">→</button></div>\n"
          "<p class=\"note keys\" hidden id=\"keys\">Keys within the list: ↑ ↓ from pair to pair, ← → from page to page, / to the "
          "search.</p>\n"
          "<div id=\"pairs\" role=\"feed\" aria-label=\"preference pairs\"></div>\n",
        to);
}

int browser_write(const RunFolder *r, int most, Pictures *pictures, FILE *to, Error *e) {
    Browser b = {
        .run = r, .pictures = pictures, .uris = json_array(), .places = json_object(), .pairs = json_array(), .wanted = json_object()
    };
    json_t *all = NULL;
    int bad = !b.uris || !b.places || !b.pairs || !b.wanted ? out_of_memory(e) : pairs_gather(&b, most, e);
    size_t n = json_array_size(b.pairs);
    if (!bad && b.there == 0) fputs("<p class=\"note\">No pairs yet.</p>\n", to);
    else if (!bad) {
        if ((long)n < b.there)
            fprintf(to,
                "<p class=\"note\">%zu of %ld pairs are in this page, spread over the iterations: <code>--pairs N</code> takes more.</p>\n",
                n, b.there);
        else fprintf(to, "<p class=\"note\">All %zu pairs.</p>\n", n);
        controls_write(r, to);
        all = json_pack("{s:O, s:O}", "pictures", b.uris, "pairs", b.pairs);
        fputs("<script type=\"application/json\" id=\"data\">", to);
        bad = html_json(to, all, e);
        fputs("</script>\n", to);
    }
    json_decref(all);
    json_decref(b.uris), json_decref(b.places), json_decref(b.pairs), json_decref(b.wanted);
    return bad ? -1 : 0;
}

/* pairs.c - owns the choice of preference pairs: which of a prompt's candidates, and which of all pairs once lengths are balanced.
 *
 * The paper's score counts rejected claims, so it leans to short answers; the length filter (PAPER 3.6 step 5) is what keeps answers from shrinking. */
#include "engine/pairs.h"

#include "base/json.h"
#include "base/philox.h"
#include "engine/scenes/sentence.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void pairs_free(PairList *list) {
    free(list->list);
    memset(list, 0, sizeof *list);
}

int words_count(const char *text) {
    int n = 0, in = 0;
    for (; *text; text++) {
        int space = isspace((unsigned char)*text);
        n += !space && !in;
        in = !space;
    }
    return n;
}

static int pair_allowed(const RunConfig *c, const PairCandidate *a, const PairCandidate *b) {
    if (c->pair.between == BETWEEN_MODELS && a->other == b->other) return 0;
    if (!a->scored || !b->scored || fabs(a->score - b->score) < c->pair.min_gap || a->score == b->score) return 0;
    const PairCandidate *chosen = a->score > b->score ? a : b, *rejected = a->score > b->score ? b : a;
    if (c->pair.max_length_change > 0 && fabs((double)(chosen->words - rejected->words)) > c->pair.max_length_change * rejected->words) return 0;
    return !c->pair.keep_objects || chosen->objects >= rejected->objects;
}

int pairs_draw(const RunConfig *c, int prompt, uint64_t stream, const PairCandidate *candidates, int n, PairList *list, PairCounts *counts, Error *e) {
    counts->prompts++;
    counts->candidates += n;
    unsigned char *first = mem_new((size_t)n, 1, "candidates", e);
    struct Couple {
        int a, b;
    } *couples = mem_new((size_t)n * (size_t)(n > 0 ? n - 1 : 0) / 2, sizeof *couples, "candidate pairs", e);
    int couples_n = 0, drawn = 0, result = -1;
    if (!first || !couples) goto done;
    for (int i = 0; i < n; i++) {
        first[i] = 1;
        for (int j = 0; j < i && first[i]; j++)
            if (!strcmp(candidates[i].text, candidates[j].text)) first[i] = 0;
        counts->duplicates += !first[i];
        counts->unscored += !candidates[i].scored;
    }
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            if (first[i] && first[j] && pair_allowed(c, &candidates[i], &candidates[j])) couples[couples_n++] = (struct Couple){ i, j };
    counts->possible += couples_n;
    counts->prompts_without += couples_n == 0;
    Rng rng = { (uint64_t)c->run.seed, stream, 0 };
    for (int i = couples_n - 1; i > 0; i--) {
        int j = (int)rng_below(&rng, (uint32_t)i + 1);
        struct Couple t = couples[i];
        couples[i] = couples[j];
        couples[j] = t;
    }
    int most = c->pair.cap == CAP_IMAGE ? couples_n : c->pair.per_prompt;
    for (int i = 0; i < couples_n && drawn < most; i++) {
        int a = couples[i].a, b = couples[i].b;
        if (c->pair.disjoint) {
            if (!first[a] || !first[b]) continue;
            first[a] = first[b] = 0; /* taken */
        }
        if (mem_grow(&list->list, &list->cap, list->n + 1, sizeof *list->list, "pairs", e)) goto done;
        int chosen = candidates[a].score > candidates[b].score ? a : b, rejected = chosen == a ? b : a;
        list->list[list->n++] = (PairChoice){ prompt, chosen, rejected, candidates[chosen].words, candidates[rejected].words };
        drawn++;
    }
    counts->drawn += drawn;
    result = 0;
done:
    free(first);
    free(couples);
    return result;
}

/* The numbers 0 .. n - 1 in an order drawn at random. */
static size_t *order_draw(const RunConfig *c, uint64_t stream, size_t n, Error *e) {
    size_t *order = mem_new(n + 1, sizeof *order, "pair order", e);
    Rng rng = { (uint64_t)c->run.seed, stream, 0 };
    for (size_t i = 0; order && i < n; i++) order[i] = i;
    for (size_t i = order ? n : 0; i > 1; i--) {
        size_t j = rng_below(&rng, (uint32_t)i), t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
    return order;
}

static void list_keep(PairList *list, const unsigned char *keep) {
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++)
        if (keep[i]) list->list[kept++] = list->list[i];
    list->n = kept;
}

int pairs_cap_image(const RunConfig *c, const char *const *images, uint64_t stream, PairList *list, PairCounts *counts, Error *e) {
    json_t *taken = json_object(); /* by image: its pairs */
    size_t *order = order_draw(c, stream, list->n, e);
    unsigned char *keep = mem_new(list->n + 1, 1, "pairs", e);
    int bad = !taken || !order || !keep;
    for (size_t i = 0; i < list->n && !bad; i++) {
        const char *image = images[list->list[order[i]].prompt];
        json_int_t n = json_integer_value(json_object_get(taken, image));
        if (n >= c->pair.per_prompt) continue;
        keep[order[i]] = 1;
        bad = json_object_set_new(taken, image, json_integer(n + 1));
        if (bad) error_what(e, "cannot keep an image's name"), error_where(e, "%.300s", image), error_expected(e, "UTF-8, and memory");
    }
    if (!bad) list_keep(list, keep), counts->drawn = (int)list->n;
    json_decref(taken);
    free(order);
    free(keep);
    return bad ? -1 : 0;
}

/* ---- length balance ---- */

static double shortening(const PairChoice *p) { return p->words_rejected > 0 ? (double)(p->words_rejected - p->words_chosen) / p->words_rejected : 0; }

/* PAPER 3.6 step 5: over r in 0, .02, ... .98, keep pairs whose chosen is not shorter by more than r; take the r whose kept means of length differ least. */
static double ratio_choose(const PairList *list) {
    double best = 1, least = INFINITY;
    for (int step = 0; step < 50; step++) {
        double r = 0.02 * step, chosen = 0, rejected = 0;
        size_t kept = 0;
        for (size_t i = 0; i < list->n; i++)
            if (shortening(&list->list[i]) <= r) chosen += list->list[i].words_chosen, rejected += list->list[i].words_rejected, kept++;
        if (kept == 0 || rejected == 0) continue;
        double gap = fabs(chosen - rejected) / rejected;
        if (gap < least) least = gap, best = r;
    }
    return best;
}

/* Shortest chosen against rejected first; equal ones by their place, so that the order is total. */
static int by_length_change(const void *a, const void *b) {
    const PairChoice *const *x = a, *const *y = b;
    int dx = (*x)->words_chosen - (*x)->words_rejected, dy = (*y)->words_chosen - (*y)->words_rejected;
    return dx != dy ? (dx < dy ? -1 : 1) : *x < *y ? -1 : 1;
}

/* Marks for removal the pairs with the most negative length change until the mean change of the rest is at least delta words. */
static int mean_mark(const PairList *list, double delta, unsigned char *drop, Error *e) {
    const PairChoice **order = mem_new(list->n, sizeof *order, "pair order", e);
    if (!order) return -1;
    double sum = 0;
    for (size_t i = 0; i < list->n; i++) order[i] = &list->list[i], sum += list->list[i].words_chosen - list->list[i].words_rejected;
    qsort(order, list->n, sizeof *order, by_length_change);
    for (size_t i = 0; i < list->n && sum < delta * (double)(list->n - i); i++) {
        sum -= order[i]->words_chosen - order[i]->words_rejected;
        drop[order[i] - list->list] = 1;
    }
    free(order);
    return 0;
}

static int most_keep(const RunConfig *c, uint64_t stream, PairList *list, PairCounts *counts, Error *e) {
    size_t most = (size_t)c->pair.most;
    if (most == 0 || list->n <= most) return 0;
    size_t *order = order_draw(c, stream, list->n, e);
    unsigned char *keep = mem_new(list->n, 1, "pairs", e);
    int bad = !order || !keep;
    for (size_t i = 0; i < most && !bad; i++) keep[order[i]] = 1;
    if (!bad) counts->past_most = (int)(list->n - most), list_keep(list, keep);
    free(order);
    free(keep);
    return bad ? -1 : 0;
}

int pairs_filter(const RunConfig *c, uint64_t stream, PairList *list, PairCounts *counts, Error *e) {
    size_t drawn = list->n;
    unsigned char *drop = mem_new(drawn, 1, "pairs", e);
    if (!drop) return -1;
    counts->ratio = 1;
    if (c->pair.balance_length == BALANCE_RATIO) {
        counts->ratio = ratio_choose(list);
        for (size_t i = 0; i < drawn; i++) drop[i] = shortening(&list->list[i]) > counts->ratio;
    } else if (c->pair.balance_length == BALANCE_MEAN && mean_mark(list, c->pair.length_delta, drop, e)) {
        free(drop);
        return -1;
    }
    for (size_t i = 0; i < drawn; i++) drop[i] = !drop[i]; /* what is kept */
    list_keep(list, drop);
    free(drop);
    counts->balanced_away = (int)(drawn - list->n);
    if (most_keep(c, stream, list, counts, e)) return -1;
    double chosen = 0, rejected = 0, kept = (double)list->n;
    for (size_t i = 0; i < list->n; i++) chosen += list->list[i].words_chosen, rejected += list->list[i].words_rejected;
    counts->kept = (int)list->n;
    counts->words_chosen = list->n ? chosen / kept : 0;
    counts->words_rejected = list->n ? rejected / kept : 0;
    return 0;
}

/* ---- the arrow ---- */

typedef struct PromptRows {
    json_t *first; /* the prompt's first candidate row: id, image, question */
    PairCandidate *candidates;
    int n;
    size_t cap;
} PromptRows;

typedef struct Table {
    PromptRows *prompts;
    size_t n, cap;
    json_t *rows; /* every row read, so that borrowed text lives */
} Table;

int objects_accepted(const json_t *probes) {
    unsigned kinds = 0;
    size_t i;
    json_t *probe;
    json_array_foreach(probes, i, probe) {
        SceneFact fact;
        const char *question = json_string_value(json_object_get(probe, "question"));
        if (question && json_is_true(json_object_get(probe, "accepted")) && fact_from_question(question, &fact) && fact.about == FACT_EXISTS) kinds |= 1u << fact.kind;
    }
    int n = 0;
    for (; kinds; kinds &= kinds - 1) n++;
    return n;
}

/* id + candidate -> label row, as an object "id\ncandidate": row. */
static json_t *labels_read(const char *path, Error *e) {
    json_t *labels = json_object(), *row;
    JsonLines lines;
    int got = -1;
    if (!labels || jsonl_open(&lines, path, e)) {
        json_decref(labels);
        return NULL;
    }
    while ((got = jsonl_next(&lines, &row, e)) > 0) {
        const char *id;
        int64_t candidate;
        char key[1024];
        int bad = json_need_string(row, "id", lines.where, &id, e) || json_need_integer(row, "candidate", lines.where, 0, 1 << 20, &candidate, e);
        if (!bad) {
            snprintf(key, sizeof key, "%.900s\n%lld", id, (long long)candidate);
            bad = json_object_set(labels, key, row) ? error_what(e, "out of memory") : 0;
        }
        json_decref(row);
        if (bad) {
            got = -1;
            break;
        }
    }
    jsonl_close(&lines);
    if (got == 0) return labels;
    json_decref(labels);
    return NULL;
}

static int table_add(Table *t, json_t *row, const json_t *labels, const char *where, Error *e) {
    const char *id, *text, *question, *model = NULL;
    int64_t candidate;
    char key[1024];
    if (json_may_string(row, "model", where, &model, e) || json_need_string(row, "id", where, &id, e) || json_need_string(row, "text", where, &text, e) || json_need_string(row, "question", where, &question, e) ||
        json_need_integer(row, "candidate", where, 0, 1 << 20, &candidate, e))
        return -1;
    snprintf(key, sizeof key, "%.900s\n%lld", id, (long long)candidate);
    const json_t *label = json_object_get(labels, key);
    if (!label) return error_what(e, "candidate has no label"), error_where(e, "%s", where), error_found(e, "id %.200s, candidate %lld", id, (long long)candidate), error_hint(e, "run the label arrow again");
    PromptRows *p = t->n ? &t->prompts[t->n - 1] : NULL;
    if (!p || strcmp(json_string_value(json_object_get(p->first, "id")), id)) {
        if (mem_grow(&t->prompts, &t->cap, t->n + 1, sizeof *t->prompts, "prompts", e)) return -1;
        p = &t->prompts[t->n++];
        *p = (PromptRows){ .first = row };
    }
    if (mem_grow(&p->candidates, &p->cap, (size_t)p->n + 1, sizeof *p->candidates, "candidates", e)) return -1;
    const json_t *score = json_object_get(label, "score");
    p->candidates[p->n++] = (PairCandidate){ .text = text,
        .candidate = (int)candidate,
        .other = model && !strcmp(model, "other"),
        .scored = json_is_number(score),
        .score = json_number_value(score),
        .words = words_count(text),
        .objects = objects_accepted(json_object_get(label, "probes")) };
    return json_array_append(t->rows, row) ? error_what(e, "out of memory") : 0;
}

static void table_free(Table *t) {
    for (size_t i = 0; i < t->n; i++) free(t->prompts[i].candidates);
    free(t->prompts);
    json_decref(t->rows);
}

static int pair_row(const Table *t, const PairChoice *p, FILE *out, Error *e) {
    const PromptRows *prompt = &t->prompts[p->prompt];
    const PairCandidate *chosen = &prompt->candidates[p->chosen], *rejected = &prompt->candidates[p->rejected];
    json_t *row = json_object();
    if (!row) return error_what(e, "out of memory"), error_where(e, "pairs");
    int bad = json_object_set(row, "id", json_object_get(prompt->first, "id"));
    if (json_object_get(prompt->first, "image")) bad |= json_object_set(row, "image", json_object_get(prompt->first, "image"));
    bad |= json_object_set(row, "question", json_object_get(prompt->first, "question"));
    bad |= json_object_set_new(row, "chosen", json_string(chosen->text)) | json_object_set_new(row, "rejected", json_string(rejected->text));
    bad |= json_object_set_new(row, "chosen_candidate", json_integer(chosen->candidate)) | json_object_set_new(row, "rejected_candidate", json_integer(rejected->candidate));
    bad |= json_object_set_new(row, "chosen_score", json_real(chosen->score)) | json_object_set_new(row, "rejected_score", json_real(rejected->score));
    if (bad) {
        json_decref(row);
        return error_what(e, "out of memory"), error_where(e, "pairs");
    }
    return jsonl_write(out, row, e);
}

static int table_cap(const RunConfig *c, const Table *t, int iteration, PairList *list, PairCounts *counts, Error *e) {
    const char **images = mem_new(t->n + 1, sizeof *images, "images", e);
    if (!images) return -1;
    for (size_t i = 0; i < t->n; i++) {
        const char *image = json_string_value(json_object_get(t->prompts[i].first, "image"));
        images[i] = image ? image : json_string_value(json_object_get(t->prompts[i].first, "id")); /* without one a prompt is its own */
    }
    int bad = pairs_cap_image(c, images, hash64(&iteration, sizeof iteration, 0x696d616765u), list, counts, e);
    free(images);
    return bad;
}

int pairs_write(const RunConfig *c, const char *candidates, const char *labels_path, const char *out, int iteration, PairCounts *counts, Error *e) {
    Table t = { .rows = json_array() };
    PairList list = { 0 };
    JsonLines lines;
    FileOut file;
    json_t *row, *labels = labels_read(labels_path, e);
    int got = -1, result = -1;
    memset(counts, 0, sizeof *counts);
    if (!labels || jsonl_open(&lines, candidates, e)) goto done;
    while ((got = jsonl_next(&lines, &row, e)) > 0) {
        int bad = table_add(&t, row, labels, lines.where, e);
        json_decref(row);
        if (bad) {
            got = -1;
            break;
        }
    }
    jsonl_close(&lines);
    if (got != 0) goto done;
    for (size_t i = 0; i < t.n; i++) {
        const char *id = json_string_value(json_object_get(t.prompts[i].first, "id"));
        if (pairs_draw(c, (int)i, hash64(id, strlen(id), (uint64_t)iteration + 0x70616972u), t.prompts[i].candidates, t.prompts[i].n, &list, counts, e)) goto done;
    }
    if (c->pair.cap == CAP_IMAGE && table_cap(c, &t, iteration, &list, counts, e)) goto done;
    if (pairs_filter(c, hash64(&iteration, sizeof iteration, 0x6d6f7374u), &list, counts, e) || file_create(&file, out, e)) goto done;
    for (size_t i = 0; i < list.n; i++)
        if (pair_row(&t, &list.list[i], file.stream, e)) {
            file_abandon(&file);
            goto done;
        }
    result = file_commit(&file, e);
done:
    json_decref(labels);
    pairs_free(&list);
    table_free(&t);
    return result;
}

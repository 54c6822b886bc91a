/* judged.c - owns the rows of judged benchmarks, and what such evaluations open and close together. Refuses questions for the second time,
 * and rows without what the prompt has a place for. */
#include "engine/eval/judged.h"

#include "engine/eval/out_of_memory.h"
#include "engine/prompt_text.h"

#include <stdlib.h>
#include <string.h>

/* ---- fields ---- */

/* "a, b or c". */
static char *keys_text(const char *const *keys, char *out, size_t size) {
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; keys[i] && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", !i ? "" : keys[i + 1] ? ", " : " or ", keys[i]);
    return out;
}

static int text_put(char **out, const char *text, const char *where, Error *e) {
    free(*out);
    return (*out = strdup(text)) ? 0 : out_of_memory(where, e);
}

/* The first of the fields that is there, as text; a list of texts is joined by `between`. *out stays as it was where none is. */
static int field_text(const json_t *row, const char *const *keys, const char *between, const char *where, char **out, Error *e) {
    const json_t *value = NULL, *part;
    int k = 0;
    size_t i, size = 1, used = 0;
    for (; keys[k] && (!value || json_is_null(value)); k++) value = json_object_get(row, keys[k]);
    if (!value || json_is_null(value)) return 0;
    if (json_is_string(value)) return text_put(out, json_string_value(value), where, e);
    int bad = !json_is_array(value);
    json_array_foreach(value, i, part) bad |= !json_is_string(part), size += json_string_length(part) + strlen(between);
    if (bad)
        return error_what(e, "wrong type"), error_where(e, "%s: field \"%s\"", where, keys[k - 1]), error_found(e, "%s", json_kind(value)),
               error_expected(e, "text, or a list of texts");
    char *joined = mem_new(size, 1, where, e);
    if (!joined) return -1;
    json_array_foreach(value, i, part) used += (size_t)sprintf(joined + used, "%s%s", i ? between : "", json_string_value(part));
    free(*out);
    *out = joined;
    return 0;
}

/* What LLaVA-Bench tells of a picture: its captions, one a line, then each instance's class and box. */
static int picture_text(const json_t *row, const char *where, char **out, Error *e) {
    static const char *const captions[] = { "captions", "caption", NULL };
    const json_t *instances = json_object_get(row, "instances"), *instance, *number;
    char *text = NULL;
    size_t i, k, size = 0;
    if (field_text(row, captions, "\n", where, &text, e)) return -1;
    if (json_is_null(instances)) instances = NULL;
    if (!text && (!instances || (json_is_array(instances) && !json_array_size(instances)))) return 0;
    FILE *to = open_memstream(out, &size);
    if (!to) return free(text), out_of_memory(where, e);
    fputs(text ? text : "", to);
    int lines = text && *text, bad = 0;
    free(text);
    json_array_foreach(instances, i, instance) {
        const char *name = json_string_value(json_object_get(instance, "category"));
        const json_t *box = json_object_get(instance, "bbox");
        bad |= !name || !json_is_array(box);
        fprintf(to, "%s%s: [", lines++ ? "\n" : "", name ? name : "");
        json_array_foreach(box, k, number) {
            bad |= !json_is_number(number);
            fprintf(to, "%s%.3f", k ? ", " : "", json_number_value(number));
        }
        putc(']', to);
    }
    if (fclose(to)) return out_of_memory(where, e);
    if (bad || (instances && !json_is_array(instances)))
        return error_what(e, "bad instances of a picture"), error_where(e, "%s", where),
               error_expected(e, "a list of {\"category\": text, \"bbox\": [numbers]}");
    return 0;
}

/* ---- rows ---- */

typedef struct Reading {
    JudgedSet *set;
    const JudgedBenchmark *benchmark;
    AnswerSet answers, references;
    int has_references, needs_reference, needs_context;
    json_t *contexts; /* image -> what is told of it */
    size_t place;
} Reading;

static void item_free(JudgedItem *i) {
    free(i->id), free(i->question), free(i->answer), free(i->reference), free(i->context), free(i->category);
}

/* The name by which a row and a row of contexts mean one picture. */
static const char *image_of(const json_t *row) {
    const char *image = json_string_value(json_object_get(row, "image"));
    return image ? image : json_string_value(json_object_get(row, "image_id"));
}

static int context_add(void *context, const json_t *row, const char *where, Error *e) {
    const Reading *r = context;
    const char *image = image_of(row);
    char *text = NULL;
    if (!image)
        return error_what(e, "missing field"), error_where(e, "%s", where),
               error_expected(e, "image: the picture's name, as questions have it");
    if (picture_text(row, where, &text, e)) return free(text), -1;
    int bad = !text ? (error_what(e, "nothing is told of a picture"), error_where(e, "%s", where),
                          error_expected(e, "captions, caption or instances"))
                    : 0;
    if (!bad && json_object_set_new(r->contexts, image, json_string(text))) bad = out_of_memory(where, e);
    free(text);
    return bad;
}

static int missing(const char *what, const char *const *keys, const char *option, const char *where, Error *e) {
    char text[200];
    return error_what(e, "question without %s", what), error_where(e, "%s", where),
           error_expected(e, "a field %s%s", keys_text(keys, text, sizeof text), option);
}

static int context_find(const Reading *r, const json_t *row, const char *where, JudgedItem *item, Error *e) {
    const char *image = image_of(row), *told = image && r->contexts ? json_string_value(json_object_get(r->contexts, image)) : NULL;
    if (field_text(row, r->benchmark->context, ", ", where, &item->context, e) ||
        (!item->context && picture_text(row, where, &item->context, e)))
        return -1;
    if (!item->context && told) return text_put(&item->context, told, where, e);
    if (item->context) return 0;
    if (r->needs_context)
        return missing("what the judge is told of its picture", r->benchmark->context, ", or a row of --context about its image", where, e);
    return text_put(&item->context, "", where, e);
}

static int reference_find(Reading *r, const json_t *row, const char *where, JudgedItem *item, Error *e) {
    if (field_text(row, r->benchmark->reference, "\n", where, &item->reference, e)) return -1;
    if (item->reference) return 0;
    const Answer *a = r->has_references ? answers_take(&r->references, item->id) : NULL;
    if (a) return text_put(&item->reference, a->text, where, e);
    if (r->needs_reference) return missing("an answer to be held against", r->benchmark->reference, ", or a row of --references", where, e);
    return text_put(&item->reference, "", where, e);
}

static int category_find(const Reading *r, const json_t *row, const char *where, JudgedItem *item, Error *e) {
    const JudgedBenchmark *b = r->benchmark;
    if (field_text(row, b->category, ", ", where, &item->category, e)) return -1;
    if (!item->category || !*item->category)
        return text_put(&item->category, b->cycle ? b->cycle[r->place % (size_t)b->period] : CATEGORY_NONE, where, e);
    if (strcmp(item->category, "all")) return 0;
    return error_what(e, "bad category"), error_where(e, "%s", where), error_found(e, "\"all\", which is the section of all answers");
}

/* 1 taken; 0: the question has no answer, which is counted; -1. */
static int item_fill(Reading *r, const json_t *row, const char *where, JudgedItem *item, Error *e) {
    const Answer *a;
    if (row_id(row, IDS_OR_PLACES, r->place, where, &item->id, e)) return -1;
    if (answers_ask(&r->answers, item->id, where, &a, e)) return -1;
    if (field_text(row, r->benchmark->question, "\n", where, &item->question, e)) return -1;
    if (!item->question) return missing("what is asked", r->benchmark->question, "", where, e);
    if (reference_find(r, row, where, item, e) || context_find(r, row, where, item, e) || category_find(r, row, where, item, e)) return -1;
    if (!a) return 0;
    return text_put(&item->answer, a->text, where, e) ? -1 : 1;
}

static int question_add(void *context, const json_t *row, const char *where, Error *e) {
    Reading *r = context;
    JudgedSet *set = r->set;
    JudgedItem item = { 0 };
    int got = item_fill(r, row, where, &item, e);
    r->place++;
    if (got > 0 && mem_grow(&set->all, &set->cap, set->n + 1, sizeof *set->all, "questions", e)) got = -1;
    if (got > 0) set->all[set->n++] = item;
    else item_free(&item);
    return got < 0 ? -1 : 0;
}

static void set_free(JudgedSet *s) {
    for (size_t i = 0; i < s->n; i++) item_free(&s->all[i]);
    free(s->all);
    memset(s, 0, sizeof *s);
}

static int set_read(JudgedSet *set, const JudgedBenchmark *b, const EvalSettings *s, const JudgedFiles *f, char *const prompts[2], Error *e) {
    Reading r = { .set = set, .benchmark = b, .contexts = json_object() };
    for (int i = 0; i < 2 && prompts[i]; i++) {
        r.needs_context |= strstr(prompts[i], "{context}") != NULL;
        r.needs_reference |= strstr(prompts[i], "{reference}") || strstr(prompts[i], "{answer_a}");
    }
    int bad = r.contexts ? 0 : out_of_memory("questions", e);
    if (!bad && f->references) bad = answers_read(&r.references, f->references, IDS_OR_PLACES, e), r.has_references = !bad;
    bad = bad || (f->contexts && rows_each(f->contexts, context_add, &r, e)) || answers_read(&r.answers, s->answers, IDS_OR_PLACES, e);
    if (!bad) {
        bad = rows_each(f->questions, question_add, &r, e) || answers_settle(&r.answers, s->partial, e);
        answers_tally(&r.answers, &set->missing, &set->extra);
        answers_free(&r.answers);
    }
    if (r.has_references) answers_free(&r.references);
    json_decref(r.contexts);
    return bad ? -1 : 0;
}

/* ---- an evaluation ---- */

static int prompt_open(char **out, const JudgedPrompt *p, const char *path, Error *e) {
    if (prompt_text_load(out, path, p->builtin, e)) return -1;
    return prompt_text_check(*out, p->use, path ? path : p->file, p->needed, NULL, e);
}

static void judged_close(Judged *j) {
    text_judge_close(&j->judge);
    set_free(&j->set);
    sections_free(&j->sections);
    free(j->prompts[0]), free(j->prompts[1]);
    j->prompts[0] = j->prompts[1] = NULL;
}

int judged_open(Judged *j, const JudgedBenchmark *b, const EvalSettings *s, const JudgedFiles *f, const JudgeSettings *judge,
    const JudgedPrompt *prompts, int prompts_n, const char *out, Error *e) {
    memset(j, 0, sizeof *j);
    int bad = 0;
    if (f->runs > 1 && judge->folder && judge->temperature == 0)
        return error_what(e, "every run would be the same"), error_where(e, "--runs"),
               error_found(e, "%lld runs at temperature 0", (long long)f->runs), error_hint(e, "one run, or --temperature above 0");
    for (int i = 0; i < prompts_n && !bad; i++) bad = prompt_open(&j->prompts[i], &prompts[i], i ? f->second_prompt : f->prompt, e);
    bad = bad || set_read(&j->set, b, s, f, j->prompts, e) || text_judge_open(&j->judge, judge, out, e) ||
          eval_open(&j->result, b->name, s, e);
    if (bad) judged_close(j);
    return bad ? -1 : 0;
}

int judged_by(EvalResult *r, const char *key, const TextJudge *judge, const char *const *prompts, const char *const *files, int n,
    int64_t runs, Error *e) {
    json_t *by = text_judge_describe(judge), *list = json_array();
    int bad = !by || !list || json_object_set_new(by, "runs", json_integer(runs));
    for (int i = 0; i < n && !bad; i++) {
        char hash[HASH_TEXT];
        hash_bytes(prompts[i], strlen(prompts[i]), hash);
        bad = json_array_append_new(list, json_pack("{s:s, s:s}", "prompt", files[i] ? files[i] : "built in", "hash", hash));
    }
    bad = bad || json_object_set(by, "prompts", list) || json_object_set(r->json, key, by);
    json_decref(by);
    json_decref(list);
    return bad ? out_of_memory("result", e) : 0;
}

int judged_finish(Judged *j, int bad, const SectionMeasure *measures, int n, const EvalSettings *s, const JudgedFiles *f, const char *out,
    FILE *table, Error *e) {
    const char *files[] = { f->prompt, f->second_prompt };
    bad = bad || judged_by(&j->result, "judge", &j->judge, (const char *const *)j->prompts, files, j->prompts[1] ? 2 : 1, f->runs, e) ||
          sections_measure(&j->sections, measures, n, &j->result, s, e);
    j->result.answers = (int)j->set.n;
    j->result.missing = j->set.missing;
    j->result.extra = j->set.extra;
    if (bad) eval_abandon(&j->result);
    else bad = eval_finish(&j->result, out, table, e);
    judged_close(j);
    return bad ? -1 : 0;
}

char *judged_text(const char *prompt, const JudgedItem *item, int swapped, const char *review, Error *e) {
    const PromptPlace places[] = { { "{question}", item->question }, { "{reference}", item->reference }, { "{context}", item->context },
        { "{answer}", item->answer }, { "{answer_a}", swapped ? item->answer : item->reference },
        { "{answer_b}", swapped ? item->reference : item->answer }, { "{review}", review ? review : "" } };
    return prompt_text_fill(prompt, places, sizeof places / sizeof *places, e);
}

int judged_ask(Judged *j, const char *step, int64_t runs, JudgedCount *count, Error *e) {
    size_t n = 0, all = j->set.n * (size_t)runs;
    Ask *asks = mem_new(all, sizeof *asks, "requests", e);
    int32_t *counts = mem_new((size_t)j->sections.columns, sizeof *counts, "counts", e);
    int bad = !asks || !counts;
    for (; n < all && !bad; n++) {
        const JudgedItem *item = &j->set.all[n / (size_t)runs];
        asks[n] =
            (Ask){ .text = judged_text(j->prompts[0], item, 0, NULL, e), .id = item->id, .step = step, .run = (int)(n % (size_t)runs) };
        bad = !asks[n].text;
    }
    bad = bad || text_judge_ask(&j->judge, asks, all, e);
    for (size_t i = 0; i < j->set.n && !bad; i++) {
        memset(counts, 0, (size_t)j->sections.columns * sizeof *counts);
        for (size_t run = 0; run < (size_t)runs && !bad; run++) bad = count(j, &j->set.all[i], &asks[i * (size_t)runs + run], counts, e);
        bad = bad || sections_add(&j->sections, j->set.all[i].category, counts, e);
    }
    asks_free(asks, all);
    free(counts);
    return bad ? -1 : 0;
}

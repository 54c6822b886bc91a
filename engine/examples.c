/* examples.c - owns RUN/examples: which answers are shown, and the labels that mark them. */
#include "engine/examples.h"

#include "engine/eval/scenes_eval.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char folder[] = "examples";

/* Ids whose answer before is worth showing: id -> true. */
static int ids_by_truth(const Loop *l, const char *answers, json_t *ids, Error *e) {
    const RunConfig *c = l->config;
    char path[PATH_SIZE];
    Dataset set;
    ScenesTruth truth;
    JsonLines lines;
    json_t *row;
    int got = -1;
    if (loop_path(l, path, e, "%s/candidates.jsonl", answers) || loop_dataset(l, c->data.eval, 0, c->eval.prompts, &set, e)) return -1;
    if (scenes_truth_read(&set, &truth, e)) {
        dataset_free(&set);
        return -1;
    }
    if (!jsonl_open(&lines, path, e)) {
        while ((int)json_object_size(ids) < c->eval.examples && (got = jsonl_next(&lines, &row, e)) > 0) {
            const char *id = json_string_value(json_object_get(row, "id")), *text = json_string_value(json_object_get(row, "text"));
            const Scene *scene = id ? scenes_truth_find(&truth, id) : NULL;
            TruthAnswer answer = { 0 };
            if (scene && text && json_integer_value(json_object_get(row, "candidate")) == 0) truth_answer(scene, text, &answer);
            if (answer.false_claims > 0) json_object_set_new(ids, id, json_true());
            json_decref(row);
        }
        jsonl_close(&lines);
        if (c->eval.examples <= (int)json_object_size(ids)) got = 0;
    }
    scenes_truth_free(&truth);
    dataset_free(&set);
    return got < 0 ? -1 : 0;
}

static int any_rejected(const json_t *label) {
    const json_t *probe;
    size_t i;
    json_array_foreach(json_object_get(label, "probes"), i, probe) if (!json_is_true(json_object_get(probe, "accepted"))) return 1;
    return 0;
}

static int ids_by_labels(const Loop *l, const char *answers, json_t *ids, Error *e) {
    char path[PATH_SIZE];
    JsonLines lines;
    json_t *row;
    int got = 0;
    if (loop_path(l, path, e, "%s/labels.jsonl", answers) || jsonl_open(&lines, path, e)) return -1;
    while ((int)json_object_size(ids) < l->config->eval.examples && (got = jsonl_next(&lines, &row, e)) > 0) {
        const char *id = json_string_value(json_object_get(row, "id"));
        if (id && json_integer_value(json_object_get(row, "candidate")) == 0 && any_rejected(row))
            json_object_set_new(ids, id, json_true());
        json_decref(row);
    }
    jsonl_close(&lines);
    return got < 0 ? -1 : 0;
}

static json_t *example_row(const json_t *row, int candidate) {
    static const char *const keys[] = { "id", "image", "question", "text" };
    json_t *out = json_object();
    for (int k = 0; out && k < 4; k++) json_object_set(out, keys[k], json_object_get(row, keys[k]));
    if (out) json_object_set_new(out, "candidate", json_integer(candidate));
    return out;
}

/* Both files hold the same prompts in the same order. */
static int rows_join(JsonLines *before, JsonLines *after, const json_t *ids, FILE *to, int *written, Error *e) {
    json_t *a, *b;
    int got;
    while ((got = rows_next_two(before, after, &a, &b, e)) > 0) {
        int bad = 0;
        if (json_integer_value(json_object_get(a, "candidate")) == 0 && json_object_get(ids, json_string_value(json_object_get(a, "id")))) {
            bad = jsonl_write(to, example_row(a, 0), e) || jsonl_write(to, example_row(b, 1), e);
            ++*written;
        }
        json_decref(a);
        json_decref(b);
        if (bad) return -1;
    }
    return got;
}

static int candidates_write(const Loop *l, const char *before, const char *after, const char *out, int *written, Error *e) {
    char path[2][PATH_SIZE];
    JsonLines one, two;
    FileOut file;
    json_t *ids = json_object();
    int bad = !ids                                  ? error_what(e, "out of memory")
              : l->config->eval.kind == EVAL_SCENES ? ids_by_truth(l, before, ids, e)
                                                    : ids_by_labels(l, before, ids, e);
    bad = bad || loop_path(l, path[0], e, "%s/candidates.jsonl", before) || loop_path(l, path[1], e, "%s/candidates.jsonl", after) ||
          jsonl_open(&one, path[0], e);
    if (!bad) {
        bad = jsonl_open(&two, path[1], e);
        if (!bad) {
            bad = loop_path(l, path[0], e, "%s", folder) || folder_make(path[0], e) || file_create(&file, out, e);
            if (!bad && (bad = rows_join(&one, &two, ids, file.stream, written, e))) file_abandon(&file);
            else if (!bad) bad = file_commit(&file, e);
            jsonl_close(&two);
        }
        jsonl_close(&one);
    }
    json_decref(ids);
    return bad ? -1 : 0;
}

/* A path as people here would write it: from the current folder when it is below it. */
static char *path_shown(const char *path) {
    char here[PATH_SIZE];
    size_t n = getcwd(here, sizeof here) ? strlen(here) : 0;
    return strdup(n > 0 && !strncmp(path, here, n) && path[n] == '/' ? path + n + 1 : path);
}

static int answer_fill(const RunConfig *c, const json_t *row, const json_t *label, ReportAnswer *out, Error *e) {
    const char *text = json_string_value(json_object_get(row, "text"));
    out->text = strdup(text ? text : "");
    if (!out->text) return error_what(e, "out of memory"), error_where(e, "examples");
    return marks_of_run(c, out->text, json_object_get(label, "probes"), &out->rejected, e);
}

static int examples_read(const Loop *l, Report *r, Error *e) {
    char path[2][PATH_SIZE];
    JsonLines one, two;
    json_t *row, *label;
    int got = -1;
    if (loop_path(l, path[0], e, "%s/candidates.jsonl", folder) || loop_path(l, path[1], e, "%s/labels.jsonl", folder) ||
        jsonl_open(&one, path[0], e))
        return -1;
    if (jsonl_open(&two, path[1], e)) {
        jsonl_close(&one);
        return -1;
    }
    while ((got = rows_next_two(&one, &two, &row, &label, e)) > 0) {
        int after = json_integer_value(json_object_get(row, "candidate")) == 1, bad = 0;
        if (!after) {
            bad = mem_grow(&r->examples, &r->examples_cap, (size_t)r->examples_n + 1, sizeof *r->examples, "examples", e);
            if (!bad) {
                ReportExample *x = &r->examples[r->examples_n++];
                const char *image = json_string_value(json_object_get(row, "image")),
                           *question = json_string_value(json_object_get(row, "question"));
                *x = (ReportExample){ .image = path_shown(image ? image : ""), .question = strdup(question ? question : "") };
                if (!x->image || !x->question) bad = (error_what(e, "out of memory"), error_where(e, "examples"));
            }
        }
        if (!bad && r->examples_n > 0) {
            ReportExample *x = &r->examples[r->examples_n - 1];
            bad = answer_fill(l->config, row, label, after ? &x->after : &x->before, e);
        }
        json_decref(row);
        json_decref(label);
        if (bad) {
            got = -1;
            break;
        }
    }
    jsonl_close(&one);
    jsonl_close(&two);
    return got;
}

int examples_make(Loop *l, int iteration, const char *before, const char *after, Report *r, Error *e) {
    char path[2][PATH_SIZE], out[PATH_SIZE];
    Arrow a;
    int written = 0;
    if (l->config->eval.examples == 0) return 0;
    if (loop_path(l, path[0], e, "%s/candidates.jsonl", before) || loop_path(l, path[1], e, "%s/candidates.jsonl", after) ||
        loop_path(l, out, e, "%s/candidates.jsonl", folder) || arrow_begin(&a, iteration, "examples", e))
        return -1;
    int bad = arrow_input_file(&a, "before", path[0], e) || arrow_input_file(&a, "after", path[1], e) ||
              arrow_input_file(&a, "data", l->config->data.eval, e) || loop_input_settings(l, &a, "eval", e);
    int skip = bad ? -1 : loop_skip(l, &a, e);
    if (skip == 0)
        skip = candidates_write(l, before, after, out, &written, e) || arrow_count(&a, "examples", written, e) ||
                       arrow_output(&a, &l->ledger, "examples/candidates.jsonl", e) || ledger_record(&l->ledger, &a, e)
                   ? -1
                   : 0;
    arrow_free(&a);
    if (skip < 0) return -1;
    const json_t *row = ledger_find(&l->ledger, iteration, "examples");
    if (json_number_value(json_object_get(json_object_get(row, "counts"), "examples")) == 0) return 0; /* nothing was wrong before */
    Answers answers = { .iteration = iteration, .name = "examples", .folder = folder };
    return answers_label(l, &answers, e) || examples_read(l, r, e) ? -1 : 0;
}

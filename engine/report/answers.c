/* answers.c - walks candidates.jsonl, claims.jsonl and labels.jsonl in step. Where nobody labelled and claims are made by rule, it makes
 * them, so that they can be held against the truth. Refuses rows that do not speak of the same answer, and labels that are not of the
 * claims. */
#include "engine/report/answers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void answer_free(Answer *a) {
    for (int i = 0; i < a->n; i++) free(a->said[i].claim);
    free(a->said);
    marks_free(&a->rejected);
    json_decref(a->row);
    memset(a, 0, sizeof *a);
}

int answer_files_open(AnswerFiles *f, const RunFolder *run, const char *folder, int truth, Error *e) {
    char path[3][PATH_SIZE];
    int has[3];
    static const char *const names[] = { "candidates.jsonl", "claims.jsonl", "labels.jsonl" };
    JsonLines *lines[] = { &f->candidates, &f->claims, &f->labels };
    memset(f, 0, sizeof *f);
    f->run = run, f->truth = truth;
    for (int i = 0; i < 3; i++)
        if ((has[i] = run_folder_has(run, path[i], e, "%s/%s", folder, names[i])) < 0) return -1;
    if (!has[0]) return 0;
    f->labelled = has[1] && has[2];
    for (int i = 0; i < (f->labelled ? 3 : 1); i++)
        if (jsonl_open(lines[i], path[i], e)) return answer_files_close(f), -1;
    return 1;
}

void answer_files_close(AnswerFiles *f) {
    jsonl_close(&f->candidates);
    jsonl_close(&f->claims);
    jsonl_close(&f->labels);
}

static int said_fill(Said *s, const json_t *claim, const json_t *probe, const Scene *scene, const char *where, Error *e) {
    const char *text, *question = NULL;
    SceneFact fact;
    if (json_need_string(claim, "claim", where, &text, e) || json_may_string(claim, "question", where, &question, e)) return -1;
    *s = (Said){ .claim = strdup(text), .verdict = VERDICT_NONE, .p_yes = NAN, .truth = -1 };
    if (!s->claim) return error_what(e, "out of memory"), error_where(e, "%s", where);
    if (probe) {
        s->verdict = !question ? VERDICT_UNASKED : json_is_true(json_object_get(probe, "accepted")) ? VERDICT_ACCEPTED : VERDICT_REJECTED;
        if (question && json_need_number(probe, "p_yes", where, &s->p_yes, e)) return -1;
    }
    if (scene && question && fact_from_question(question, &fact)) s->truth = fact_holds(&fact, scene);
    return 0;
}

/* probes NULL: not labelled. */
static int answer_fill(
    const RunConfig *c, const Scene *scene, const json_t *claims, const json_t *probes, const char *where, Answer *a, Error *e) {
    size_t n = json_array_size(claims);
    if (probes && json_array_size(probes) != n)
        return error_what(e, "labels are not of these claims"), error_where(e, "%s", where),
               error_found(e, "%zu probes", json_array_size(probes)), error_expected(e, "%zu", n);
    if (n && !(a->said = mem_new(n, sizeof *a->said, "claims", e))) return -1;
    for (; (size_t)a->n < n; a->n++) {
        Said *s = &a->said[a->n];
        if (said_fill(s, json_array_get(claims, (size_t)a->n), probes ? json_array_get(probes, (size_t)a->n) : NULL, scene, where, e))
            return free(s->claim), s->claim = NULL, -1;
    }
    if (!probes) return 0;
    return marks_of_run(c, a->text, probes, &a->rejected, e);
}

static int answer_by_rule(const RunConfig *c, const Scene *scene, const char *where, Answer *a, Error *e) {
    ClaimList list;
    if (c->claims.mode != CLAIM_BY_RULE) return 0;
    if (claims_by_rule(c->claims.grammar, a->text, &list, e)) return -1;
    json_t *claims = claims_to_json(&list);
    claims_free(&list);
    int bad = claims ? answer_fill(c, scene, claims, NULL, where, a, e) : error_what(e, "out of memory");
    json_decref(claims);
    return bad;
}

/* The next row of a file that goes in step with the candidates. */
static int beside(JsonLines *lines, const Answer *a, json_t **row, Error *e) {
    const char *id = "the end of the file";
    int64_t candidate = -1;
    *row = NULL;
    int got = jsonl_next(lines, row, e);
    if (got < 0) return -1;
    if (got && (json_need_string(*row, "id", lines->where, &id, e) ||
                   json_need_integer(*row, "candidate", lines->where, 0, INT32_MAX, &candidate, e)))
        return -1;
    if (!strcmp(id, a->id) && candidate == a->candidate) return 0;
    error_what(e, "rows do not match"), error_where(e, "%s", lines->where),
        error_found(e, "%.200s candidate %lld", id, (long long)candidate);
    return error_expected(e, "%.200s candidate %d, as in candidates.jsonl", a->id, a->candidate);
}

static int answer_read(AnswerFiles *f, Answer *a, Error *e) {
    const char *where = f->candidates.where;
    const RunConfig *c = f->run->config;
    int64_t candidate;
    json_t *claims = NULL, *labels = NULL;
    if (json_need_string(a->row, "id", where, &a->id, e) || json_need_integer(a->row, "candidate", where, 0, INT32_MAX, &candidate, e) ||
        json_need_string(a->row, "question", where, &a->question, e) || json_need_string(a->row, "text", where, &a->text, e) ||
        json_may_string(a->row, "image", where, &a->image, e))
        return -1;
    a->candidate = (int)candidate, a->labelled = f->labelled;
    const Scene *scene = run_folder_scene(f->run, f->truth, a->id);
    if (!f->labelled) return answer_by_rule(c, scene, where, a, e);
    int bad = beside(&f->claims, a, &claims, e) || beside(&f->labels, a, &labels, e);
    if (!bad) {
        const json_t *probes = json_object_get(labels, "probes");
        if (!json_is_array(probes))
            bad = (error_what(e, "wrong type"), error_where(e, "%s: field \"probes\"", f->labels.where),
                error_found(e, "%s", json_kind(probes)), error_expected(e, "a list"));
        else bad = answer_fill(c, scene, json_object_get(claims, "claims"), probes, f->labels.where, a, e);
    }
    json_decref(claims);
    json_decref(labels);
    return bad ? -1 : 0;
}

int answer_files_next(AnswerFiles *f, Answer *out, Error *e) {
    memset(out, 0, sizeof *out);
    int got = jsonl_next(&f->candidates, &out->row, e);
    if (got <= 0) return got < 0 ? -1 : 0;
    if (!answer_read(f, out, e)) return 1;
    answer_free(out);
    return -1;
}

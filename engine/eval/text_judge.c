/* text_judge.c - owns who is asked, the keys of requests, and the way of a reply into the transcript and out of it. */
#include "engine/eval/text_judge.h"

#include "engine/eval/out_of_memory.h"
#include "base/file.h"
#include "tokenizer/template.h"

#include <stdlib.h>
#include <string.h>

void asks_free(Ask *list, size_t n) {
    for (size_t i = 0; list && i < n; i++) free(list[i].text);
    free(list);
}

/* ---- who is asked ---- */

/* A folder's own name, wherever it stands and however it is written. */
static int folder_name(const char *folder, char out[PATH_SIZE], Error *e) {
    char *whole = realpath(folder, NULL);
    if (!whole) return file_error(e, "cannot open the judge's folder", folder);
    const char *slash = strrchr(whole, '/');
    snprintf(out, PATH_SIZE, "%s", slash && slash[1] ? slash + 1 : whole);
    free(whole);
    return 0;
}

static int folder_identity(TextJudge *j, Error *e) {
    const JudgeSettings *s = j->settings;
    char name[PATH_SIZE], version[HASH_TEXT], chat[HASH_TEXT];
    if (folder_name(s->folder, name, e) || hash_path(s->folder, version, e) || template_setting_hash(s->chat, chat, e)) return -1;
    j->identity = json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", name, "version", version, "template",
        template_is_path(s->chat) ? "a file" : s->chat, "template_hash", chat, "dtype", dtype_name((DType)s->dtype));
    return j->identity ? 0 : out_of_memory("requests", e);
}

static int endpoint_identity(TextJudge *j, Error *e) {
    const EndpointSettings *s = &j->settings->endpoint;
    if (!s->model)
        return error_what(e, "no name of a model"), error_where(e, "--%s-name", j->settings->role),
               error_expected(e, "the model that --endpoint is to ask");
    char *address = endpoint_address(s->url, s->plain_http, e);
    if (!address) return -1;
    j->identity = json_pack("{s:s, s:s}", "name", s->model, "endpoint", address);
    free(address);
    return j->identity ? 0 : out_of_memory("requests", e);
}

static int decoding_make(TextJudge *j, Error *e) {
    const JudgeSettings *s = j->settings;
    j->decoding = json_pack("{s:f, s:I}", "temperature", s->temperature, "max_tokens", (json_int_t)s->max_tokens);
    int bad = !j->decoding || (s->folder && s->temperature > 0 && json_object_set_new(j->decoding, "seed", json_integer(s->seed)));
    return bad ? out_of_memory("requests", e) : 0;
}

static json_t *decoding_of(const json_t *row) {
    static const char *const keys[] = { "temperature", "max_tokens", "seed" };
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(row, keys[i])) json_object_set(out, keys[i], json_object_get(row, keys[i]));
    return out;
}

/* The one judge, asked in one way, whose replies the transcript has; of several the one that is named. */
static int transcript_identity(TextJudge *j, Error *e) {
    const char *wanted = j->settings->endpoint.model, *key;
    json_t *row;
    int several = 0;
    json_object_foreach(j->transcript.replies, key, row) {
        json_t *judge = json_object_get(row, "judge"), *decoding = decoding_of(row);
        const char *name = json_string_value(json_object_get(judge, "name"));
        if (name && !(wanted && strcmp(wanted, name))) {
            if (!j->identity) j->identity = json_incref(judge), j->decoding = json_incref(decoding);
            else several |= !json_equal(j->identity, judge) || !json_equal(j->decoding, decoding);
        }
        json_decref(decoding);
    }
    if (j->identity && !several) return 0;
    error_what(e, several ? "replies by several judges, or by one that was asked in several ways" : "no replies to go by");
    error_where(e, "%s", j->transcript.path);
    if (wanted && !several) error_found(e, "nothing by \"%.100s\"", wanted);
    return error_hint(e,
        several ? "say which: --%s-name MODEL, or --%s DIR, or --endpoint URL, with its --temperature and --max-tokens"
                : "without --replay the judge is asked: --%s DIR, or --endpoint URL --%s-name MODEL",
        j->settings->role, j->settings->role);
}

static int judge_find(TextJudge *j, Error *e) {
    const JudgeSettings *s = j->settings;
    if (s->folder && s->endpoint.url)
        return error_what(e, "two judges"), error_where(e, "command line"), error_expected(e, "--%s DIR or --endpoint URL", s->role);
    if (s->folder || s->endpoint.url) return (s->folder ? folder_identity(j, e) : endpoint_identity(j, e)) || decoding_make(j, e) ? -1 : 0;
    if (s->replay) return transcript_identity(j, e);
    return error_what(e, "nobody to ask"), error_where(e, "command line"),
           error_expected(e, "--%s DIR, --endpoint URL with --%s-name MODEL, or --replay of a --transcript", s->role, s->role);
}

int text_judge_open(TextJudge *j, const JudgeSettings *s, const char *out, Error *e) {
    char path[PATH_SIZE];
    memset(j, 0, sizeof *j);
    j->settings = s;
    progress_init(&j->progress, stderr);
    if (s->replay && !s->transcript)
        return error_what(e, "nothing to replay"), error_where(e, "--replay"), error_expected(e, "--transcript F");
    int n = s->transcript ? snprintf(path, sizeof path, "%s", s->transcript) : snprintf(path, sizeof path, "%s.transcript.jsonl", out);
    if (n >= (int)sizeof path) return error_what(e, "path too long"), error_where(e, "%.100s...", out);
    int bad = !s->replay && judge_find(j, e); /* before a transcript is made, or from the one that is there */
    bad = bad || transcript_open(&j->transcript, path, !s->replay, e) || (s->replay && judge_find(j, e));
    if (!bad && !(j->models = json_object())) bad = out_of_memory("requests", e);
    if (bad) text_judge_close(j);
    return bad ? -1 : 0;
}

void text_judge_close(TextJudge *j) {
    progress_end(&j->progress);
    transcript_close(&j->transcript);
    json_decref(j->identity);
    json_decref(j->models);
    json_decref(j->decoding);
    endpoint_close(j->endpoint);
    folder_judge_close(j->folder);
    j->identity = j->models = j->decoding = NULL, j->endpoint = NULL, j->folder = NULL;
}

/* ---- requests ---- */

/* {messages, temperature, max_tokens}. */
static json_t *request_body(const TextJudge *j, const char *text) {
    json_t *body = json_pack("{s:[{s:s, s:s}]}", "messages", "role", "user", "content", text);
    if (body && !json_object_update(body, j->decoding)) return body;
    json_decref(body);
    return NULL;
}

int text_judge_key(const TextJudge *j, const char *text, int run, char key[HASH_TEXT], Error *e) {
    json_t *request = request_body(j, text);
    char *all = NULL;
    if (request && !json_object_set(request, "judge", j->identity) && !json_object_set_new(request, "run", json_integer(run)))
        all = json_dumps(request, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    json_decref(request);
    if (!all) return error_what(e, "cannot make a request"), error_found(e, "text that is not UTF-8, or no memory");
    hash_bytes(all, strlen(all), key);
    free(all);
    return 0;
}

/* The row of a try; `body` with what it asked, or NULL. */
static json_t *try_row(const TextJudge *j, const Ask *a, const char *key, json_t *body) {
    json_t *row = json_pack("{s:s, s:s, s:s, s:i, s:O}", "key", key, "id", a->id, "step", a->step, "run", a->run, "judge", j->identity);
    if (row && body && json_object_update(row, body)) json_decref(row), row = NULL;
    return row;
}

static int reply_keep(TextJudge *j, const Ask *a, const char *key, const char *reply, int finished, const char *model, Error *e) {
    json_t *body = request_body(j, a->text), *row = body ? try_row(j, a, key, body) : NULL;
    json_decref(body);
    if (!row || json_object_set_new(row, "reply", json_string(reply)) || json_object_set_new(row, "finished", json_boolean(finished)) ||
        (model && json_object_set_new(row, "model", json_string(model)))) {
        json_decref(row);
        return error_what(e, "cannot keep a reply"), error_where(e, "question %.100s", a->id),
               error_found(e, "text that is not UTF-8, or no memory");
    }
    progress_add(&j->progress, 1);
    return transcript_add(&j->transcript, row, e);
}

/* What is to be asked: one of each request without a reply. */
typedef struct Waiting {
    TextJudge *judge;
    const Ask *list;
    char (*keys)[HASH_TEXT];
    size_t *places, n; /* in the list */
} Waiting;

typedef struct Failing {
    Waiting *w;
    size_t place;
} Failing;

static int try_failed(void *context, int number, const char *why, double wait, Error *e) {
    const Failing *f = context;
    TextJudge *j = f->w->judge;
    json_t *row = try_row(j, &f->w->list[f->place], f->w->keys[f->place], NULL);
    if (!row || json_object_set_new(row, "try", json_integer(number)) || json_object_set_new(row, "failed", json_string(why)))
        return json_decref(row), out_of_memory("requests", e);
    if (wait >= 0) progress_say(&j->progress, "try %d of question %s: %s; again in %.3g s", number, f->w->list[f->place].id, why, wait);
    return transcript_add(&j->transcript, row, e);
}

static int endpoint_work(Waiting *w, Error *e) {
    TextJudge *j = w->judge;
    int bad = 0;
    if (!j->endpoint && !(j->endpoint = endpoint_open(&j->settings->endpoint, e))) return -1;
    for (size_t i = 0; i < w->n && !bad; i++) {
        const Ask *a = &w->list[w->places[i]];
        Failing failing = { w, w->places[i] };
        EndpointReply reply = { 0 };
        json_t *body = request_body(j, a->text);
        bad = !body ? out_of_memory("requests", e) : endpoint_ask(j->endpoint, body, &(EndpointTries){ &failing, try_failed }, &reply, e);
        if (!bad) bad = reply_keep(j, a, w->keys[w->places[i]], reply.text, reply.finished, reply.model, e);
        json_decref(body);
        endpoint_reply_free(&reply);
    }
    return bad;
}

static int folder_reply(void *context, size_t text, const char *reply, int finished, Error *e) {
    Waiting *w = context;
    return reply_keep(w->judge, &w->list[w->places[text]], w->keys[w->places[text]], reply, finished, NULL, e);
}

static int folder_work(Waiting *w, Error *e) {
    TextJudge *j = w->judge;
    if (!j->folder && !(j->folder = folder_judge_open(j->settings, &j->progress, e))) return -1;
    const char **texts = mem_new(w->n, sizeof *texts, "requests", e), **names = mem_new(w->n, sizeof *names, "requests", e);
    uint32_t *draws = mem_new(w->n, sizeof *draws, "requests", e);
    int bad = !texts || !names || !draws;
    for (size_t i = 0; i < w->n && !bad; i++) {
        const Ask *a = &w->list[w->places[i]];
        texts[i] = a->text, names[i] = a->id;
        draws[i] =
            (uint32_t)hash64(w->keys[w->places[i]], HASH_TEXT - 1, 0); /* of the request alone: a run that was killed draws the same */
    }
    if (!bad) bad = folder_judge_ask(j->folder, texts, names, draws, w->n, folder_reply, w, e);
    free(texts), free(names), free(draws);
    return bad;
}

/* Where a judge gave up: what was said so far is not lost. */
static int given_up(const TextJudge *j, Error *e) {
    if (!e || !j->transcript.stream) return -1;
    char hint[sizeof e->hint];
    snprintf(hint, sizeof hint, "%s", e->hint);
    return error_hint(e, "%.180s%sthe same command goes on from the transcript (%.90s)", hint, *hint ? "; " : "", j->transcript.path);
}

static int missing_refuse(const Waiting *w, size_t n, Error *e) {
    const TextJudge *j = w->judge;
    return error_what(e, "replies are missing from the transcript"), error_where(e, "%s", j->transcript.path),
           error_found(
               e, "%zu of %zu missing (first: the %s of question %.60s)", w->n, n, w->list[w->places[0]].step, w->list[w->places[0]].id),
           error_expected(e, "a reply to every request"),
           error_hint(e, "without --replay they are asked for; was the transcript made with these answers, prompt and settings?");
}

static int waiting_find(Waiting *w, size_t n, Error *e) {
    json_t *seen = json_object();
    int bad = seen ? 0 : out_of_memory("requests", e);
    for (size_t i = 0; i < n && !bad; i++) {
        bad = text_judge_key(w->judge, w->list[i].text, w->list[i].run, w->keys[i], e);
        if (bad || transcript_find(&w->judge->transcript, w->keys[i]) || json_object_get(seen, w->keys[i])) continue;
        w->places[w->n++] = i;
        if (json_object_set_new(seen, w->keys[i], json_true())) bad = out_of_memory("requests", e);
    }
    json_decref(seen);
    return bad;
}

static int replies_take(TextJudge *j, Ask *list, size_t n, char (*keys)[HASH_TEXT], Error *e) {
    size_t cut = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *row = transcript_find(&j->transcript, keys[i]);
        const char *model = json_string_value(json_object_get(row, "model"));
        list[i].reply = json_string_value(json_object_get(row, "reply"));
        cut += json_is_false(json_object_get(row, "finished"));
        if (model && *model && json_object_set_new(j->models, model, json_true())) return out_of_memory("requests", e);
    }
    if (cut) progress_say(&j->progress, "%s: %zu of %zu replies were cut at their limit (--max-tokens)", list->step, cut, n);
    return 0;
}

int text_judge_ask(TextJudge *j, Ask *list, size_t n, Error *e) {
    Waiting w = { .judge = j, .list = list };
    if (!n) return 0;
    w.keys = mem_new(n, sizeof *w.keys, "requests", e);
    w.places = mem_new(n, sizeof *w.places, "requests", e);
    int bad = !w.keys || !w.places || waiting_find(&w, n, e);
    if (!bad && w.n && j->settings->replay) bad = missing_refuse(&w, n, e);
    else if (!bad && w.n) {
        progress_begin(&j->progress, list->step, "replies", (int64_t)n, (int64_t)(n - w.n));
        bad = (j->settings->folder ? folder_work(&w, e) : endpoint_work(&w, e)) ? given_up(j, e) : 0;
        progress_end(&j->progress);
    }
    if (!bad) bad = replies_take(j, list, n, w.keys, e);
    free(w.keys);
    free(w.places);
    return bad ? -1 : 0;
}

json_t *text_judge_describe(const TextJudge *j) {
    json_t *out = json_deep_copy(j->identity), *model;
    const char *name;
    char versions[400] = "";
    size_t used = 0;
    if (!out || json_object_update(out, j->decoding)) return json_decref(out), NULL;
    if (json_object_get(out, "version")) return out;
    json_object_foreach(j->models, name, model) if (used < sizeof versions) used +=
        (size_t)snprintf(versions + used, sizeof versions - used, "%s%s", used ? ", " : "", name);
    return json_object_set_new(out, "version", json_string(used ? versions : "not said")) ? (json_decref(out), NULL) : out;
}

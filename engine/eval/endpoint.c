/* endpoint.c - owns the conversation with a server: address, key, rate, tries. Refuses bodies above 16 MiB. */
#include "engine/eval/endpoint.h"

#include "engine/progress.h"

#include <curl/curl.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BODY_MOST = 16 << 20, KEY_LEAST = 8, KEY_MOST = 4096 };
#define PATH_END "/chat/completions"

typedef struct Body {
    char *bytes;
    size_t n, cap;
    int over;
} Body;

struct Endpoint {
    EndpointSettings settings;
    char *address, *key; /* key NULL: none */
    CURL *curl;
    struct curl_slist *headers;
    double next; /* no request before this time */
};

/* ---- the address ---- */

static int here(const char *host) {
    return !strcasecmp(host, "localhost") || (!strncmp(host, "127.", 4) && !host[strspn(host, "0123456789.")]) || !strcmp(host, "[::1]") ||
           !strcmp(host, "::1");
}

static int address_bad(const char *url, const char *found, Error *e) {
    return error_what(e, "bad address of an endpoint"), error_where(e, "--endpoint"), error_found(e, "%s", found),
           error_expected(e, "such as https://api.openai.com/v1 or http://localhost:8000/v1"), *url ? 0 : error_hint(e, "--endpoint URL");
}

/* What is wrong with the parts of an address, or NULL. The address itself is not shown: it may hold a secret. */
static const char *parts_wrong(CURLU *u, const char *url, int plain_http) {
    static const CURLUPart none[] = { CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT };
    char *part = NULL, *host = NULL;
    const char *wrong = NULL;
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME)) return "no address";
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (!curl_url_get(u, none[i], &part, 0)) {
            curl_free(part);
            return "a user, password, query or fragment in it; keys come from the environment (--key-env)";
        }
    if (curl_url_get(u, CURLUPART_SCHEME, &part, 0) || curl_url_get(u, CURLUPART_HOST, &host, 0)) wrong = "no host";
    else if (!strcmp(part, "http") && !plain_http && !here(host))
        wrong = "http to another machine, which anybody on the way can read; --plain-http allows it";
    else if (strcmp(part, "https") && strcmp(part, "http")) wrong = "neither https nor http";
    curl_free(part);
    curl_free(host);
    return wrong;
}

char *endpoint_address(const char *url, int plain_http, Error *e) {
    char *whole = NULL;
    const char *scheme = strstr(url, "://");
    size_t n = strlen(url), host = scheme ? (size_t)(scheme - url) + 3 : 0;
    while (n > host && url[n - 1] == '/') n--;
    int complete = n >= strlen(PATH_END) && !strncmp(url + n - strlen(PATH_END), PATH_END, strlen(PATH_END));
    int versioned = n >= 3 && !strncmp(url + n - 3, "/v1", 3);
    if (asprintf(
            &whole, "%s%.*s%s%s", scheme ? "" : "https://", (int)n, url, complete || versioned ? "" : "/v1", complete ? "" : PATH_END) < 0)
        return error_what(e, "out of memory"), error_where(e, "--endpoint"), NULL;
    CURLU *u = curl_url();
    const char *wrong = n == host || !u ? "no address" : parts_wrong(u, whole, plain_http);
    curl_url_cleanup(u);
    if (!wrong) return whole;
    free(whole);
    address_bad(url, wrong, e);
    return NULL;
}

/* ---- the key ---- */

static int key_read(Endpoint *p, Error *e) {
    const char *name = p->settings.key_env ? p->settings.key_env : "OPENAI_API_KEY", *key = getenv(name);
    if (!key || !*key) {
        if (!p->settings.key_env) return 0;
        return error_what(e, "no API key"), error_where(e, "environment variable %.100s", name),
               error_found(e, key ? "an empty text" : "nothing"),
               error_hint(e, "export it, or leave out --key-env where the server wants none");
    }
    for (const char *c = key; *c; c++)
        if (*c <= ' ' || *c > '~' || c - key > KEY_MOST)
            return error_what(e, "bad API key"), error_where(e, "environment variable %.100s", name),
                   error_expected(e, "at most %d visible characters of ASCII", KEY_MOST);
    return (p->key = strdup(key)) ? 0 : (error_what(e, "out of memory"), error_where(e, "API key"));
}

/* Servers repeat a key that they do not know. What is shorter than any real key is a word that a server without keys was given, and may stand in a reply. */
static void key_blot(const Endpoint *p, char *text, size_t n) {
    size_t k = p->key ? strlen(p->key) : 0;
    for (char *at = text, *end = text + n; k >= KEY_LEAST && (at = memmem(at, (size_t)(end - at), p->key, k)); at += k) memset(at, '*', k);
}
static void key_blot_text(const Endpoint *p, char *text) {
    if (text) key_blot(p, text, strlen(text));
}

/* ---- opening ---- */

static size_t body_take(char *bytes, size_t one, size_t n, void *context) {
    Body *b = context;
    (void)one;
    b->over = b->over || n > BODY_MOST - b->n;
    if (b->over || mem_grow(&b->bytes, &b->cap, b->n + n + 1, 1, "a reply", NULL)) return 0;
    memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
    b->bytes[b->n] = 0;
    return n;
}

static int header_add(Endpoint *p, const char *header) {
    struct curl_slist *longer = curl_slist_append(p->headers, header);
    if (longer) p->headers = longer;
    return longer ? 0 : -1;
}

static int curl_prepare(Endpoint *p, Error *e) {
    char *bearer = NULL;
    int bad = header_add(p, "Content-Type: application/json") || header_add(p, "Accept: application/json") || header_add(p, "Expect:");
    if (!bad && p->key) bad = asprintf(&bearer, "Authorization: Bearer %s", p->key) < 0 || header_add(p, bearer);
    free(bearer);
    CURL *c = p->curl = bad ? NULL : curl_easy_init();
    if (!c) return error_what(e, "out of memory"), error_where(e, "libcurl");
    long ms = (long)(p->settings.timeout * 1000);
    bad = curl_easy_setopt(c, CURLOPT_URL, p->address) || curl_easy_setopt(c, CURLOPT_HTTPHEADER, p->headers) ||
          curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, body_take) || curl_easy_setopt(c, CURLOPT_USERAGENT, "rlaifv") ||
          curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, ms) || curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, ms < 30000 ? ms : 30000L);
    /* http is for this machine, and what it asks stays there: no proxy of the environment. */
    if (!bad && !strncmp(p->address, "http://", 7) && !p->settings.plain_http) bad = curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    if (!bad && p->settings.ca_file && curl_easy_setopt(c, CURLOPT_CAINFO, p->settings.ca_file)) bad = 1;
    return bad ? (error_what(e, "cannot prepare a request"), error_where(e, "libcurl"), error_found(e, "%s", curl_version())) : 0;
}

Endpoint *endpoint_open(const EndpointSettings *s, Error *e) {
    static int ready;
    if (!ready && curl_global_init(CURL_GLOBAL_DEFAULT)) return error_what(e, "cannot start libcurl"), NULL;
    ready = 1;
    Endpoint *p = mem_new(1, sizeof *p, "endpoint", e);
    if (!p) return NULL;
    p->settings = *s;
    if ((p->address = endpoint_address(s->url, s->plain_http, e)) && !key_read(p, e) && !curl_prepare(p, e)) return p;
    endpoint_close(p);
    return NULL;
}

void endpoint_close(Endpoint *p) {
    if (!p) return;
    curl_easy_cleanup(p->curl);
    curl_slist_free_all(p->headers);
    if (p->key) explicit_bzero(p->key, strlen(p->key));
    free(p->key);
    free(p->address);
    free(p);
}

/* ---- replies ---- */

void endpoint_reply_free(EndpointReply *r) {
    free(r->text);
    free(r->model);
    memset(r, 0, sizeof *r);
}

int endpoint_reply_read(const char *body, size_t size, EndpointReply *out, char why[200], Error *e) {
    json_error_t bad;
    json_t *top = json_loadb(body, size, 0, &bad);
    const json_t *choice = json_array_get(json_object_get(top, "choices"), 0), *message = json_object_get(choice, "message"),
                 *content = json_object_get(message, "content");
    const char *ended = json_string_value(json_object_get(choice, "finish_reason")),
               *model = json_string_value(json_object_get(top, "model"));
    int got = 0;
    *out = (EndpointReply){ .finished = !ended || strcmp(ended, "length") };
    char shown[150];
    if (!top) got = 1, snprintf(why, 200, "malformed JSON: %s", bytes_show(bad.text, strlen(bad.text), shown, sizeof shown));
    else if (!message) got = 1, snprintf(why, 200, "no choices[0].message in it");
    else if (!json_is_string(content) && !json_is_null(content))
        got = 1, snprintf(why, 200, "%s in place of the message's content", json_kind(content));
    else {
        out->text = strdup(json_is_string(content) ? json_string_value(content) : ""); /* null: the model refused to speak */
        out->model = strdup(model ? model : "");
        if (!out->text || !out->model) endpoint_reply_free(out), got = (error_what(e, "out of memory"), error_where(e, "a reply"));
    }
    json_decref(top);
    return got;
}

/* What the body of a refusal says, as one line. The key is blotted before anything is cut: half of it is not known again. */
static void refusal_text(const Endpoint *p, const Body *b, char *out, size_t size) {
    json_t *top = b->n ? json_loadb(b->bytes, b->n, 0, NULL) : NULL, *inner = json_object_get(top, "error");
    const char *said = json_string_value(json_is_object(inner) ? json_object_get(inner, "message") : inner);
    if (!said) said = json_string_value(json_object_get(top, "message"));
    char *whole = said ? strdup(said) : NULL;
    key_blot_text(p, whole);
    if (said) bytes_show(whole ? whole : "", whole && strlen(whole) < size ? strlen(whole) : whole ? size - 1 : 0, out, size);
    else bytes_show(b->bytes ? b->bytes : "", b->n < 120 ? b->n : 120, out, size);
    free(whole);
    json_decref(top);
}

/* ---- one request ---- */

enum { TRY_GOOD, TRY_AGAIN, TRY_REFUSED };

typedef struct Try {
    char why[400];
    double wait; /* seconds that the server asks for; 0: it does not say */
    const char *hint;
} Try;

static int broken_off(CURLcode code) {
    return code == CURLE_OPERATION_TIMEDOUT || code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING ||
           code == CURLE_PARTIAL_FILE || code == CURLE_SSL_CONNECT_ERROR || code == CURLE_HTTP2 || code == CURLE_HTTP2_STREAM;
}

static int status_judge(Endpoint *p, const Body *b, long status, Try *t) {
    curl_off_t after = 0;
    char said[240];
    refusal_text(p, b, said, sizeof said);
    snprintf(t->why, sizeof t->why, "status %ld%s%s", status, *said ? ": " : "", said);
    if (!curl_easy_getinfo(p->curl, CURLINFO_RETRY_AFTER, &after) && after > 0) t->wait = (double)after;
    if (status == 408 || status == 429 || status >= 500) return t->hint = "ask again later, or slower by --per-minute", TRY_AGAIN;
    t->hint = status == 401 || status == 403  ? "is the API key right? --key-env names the variable that holds it"
              : status == 404                 ? "is the address right, and does the server know --judge-name?"
              : status >= 300 && status < 400 ? "redirects are not followed: give the address that it leads to"
                                              : "the server does not take this request; its manual says what it wants";
    return TRY_REFUSED;
}

/* -1: memory is out. */
static int try_once(Endpoint *p, const char *request, size_t size, EndpointReply *out, Try *t, Error *e) {
    Body b = { 0 };
    char said[CURL_ERROR_SIZE] = "";
    long status = 0;
    int got;
    *t = (Try){ .hint = "is the server running, and the address right?" };
    curl_easy_setopt(p->curl, CURLOPT_ERRORBUFFER, said);
    curl_easy_setopt(p->curl, CURLOPT_WRITEDATA, &b);
    curl_easy_setopt(p->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
    curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, request);
    CURLcode code = curl_easy_perform(p->curl);
    curl_easy_setopt(p->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        t->hint = "a server with a certificate of its own: --ca FILE names those to trust";
    if (b.over) snprintf(t->why, sizeof t->why, "a reply above %d bytes", BODY_MOST), got = TRY_REFUSED;
    else if (code == CURLE_OUT_OF_MEMORY || code == CURLE_WRITE_ERROR) got = (error_what(e, "out of memory"), error_where(e, "a reply"));
    else if (code) {
        snprintf(t->why, sizeof t->why, "%s", *said ? said : curl_easy_strerror(code));
        got = broken_off(code) ? TRY_AGAIN : TRY_REFUSED;
    } else if (status != 200) {
        if (b.n) key_blot(p, b.bytes, b.n); /* before what is shown of it is cut */
        got = status_judge(p, &b, status, t);
    } else {
        char why[200];
        int read = endpoint_reply_read(b.bytes ? b.bytes : "", b.n, out, why, e);
        if (read > 0) { /* what is shown of it is cut: blotted before, read once more */
            key_blot(p, b.bytes, b.n);
            read = endpoint_reply_read(b.bytes ? b.bytes : "", b.n, out, why, e);
            snprintf(t->why, sizeof t->why, "%s", why), t->hint = "is this an OpenAI-compatible server?";
        }
        got = read < 0 ? -1 : read ? TRY_AGAIN : TRY_GOOD;
        if (!read) key_blot_text(p, out->text), key_blot_text(p, out->model); /* as read: JSON may write a key in several ways */
    }
    key_blot_text(p, t->why);
    free(b.bytes);
    return got;
}

static void sleep_until(double when) {
    for (double left; (left = when - progress_seconds()) > 0;) {
        struct timespec t = { (time_t)left, (long)((left - floor(left)) * 1e9) };
        nanosleep(&t, NULL);
    }
}

static char *request_make(const Endpoint *p, const json_t *extra) {
    const char *limit = p->settings.limit_field;
    json_t *body = json_pack("{s:s}", "model", p->settings.model);
    int bad = !body || json_object_update(body, (json_t *)extra);
    if (!bad && limit && strcmp(limit, "max_tokens"))
        bad = json_object_set(body, limit, json_object_get(body, "max_tokens")) || json_object_del(body, "max_tokens");
    char *text = bad ? NULL : json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(body);
    return text;
}

static int given_up(const Endpoint *p, const Try *t, int tries, Error *e) {
    if (tries > 1) error_what(e, "no answer from the endpoint in %d tries", tries);
    else error_what(e, "no answer from the endpoint");
    error_where(e, "%s", p->address), error_found(e, "%s", t->why), error_expected(e, "a chat completion of \"%.100s\"", p->settings.model);
    return t->wait > ENDPOINT_ASKED_WAIT_MOST ? error_hint(e, "the server says to come back in %.0f s", t->wait)
                                              : error_hint(e, "%s", t->hint);
}

int endpoint_ask(Endpoint *p, const json_t *extra, const EndpointTries *tries, EndpointReply *out, Error *e) {
    const EndpointSettings *s = &p->settings;
    char *request = request_make(p, extra);
    if (!request) return error_what(e, "out of memory"), error_where(e, "a request");
    double wait = s->wait;
    int got = TRY_AGAIN, n = 0, bad = 0;
    while (!bad && got == TRY_AGAIN) {
        Try t;
        sleep_until(p->next);
        if (s->per_minute) p->next = progress_seconds() + 60.0 / (double)s->per_minute;
        got = try_once(p, request, strlen(request), out, &t, e);
        n++;
        bad = got < 0;
        if (bad || got == TRY_GOOD) break;
        int again = got == TRY_AGAIN && n <= s->retries && t.wait <= ENDPOINT_ASKED_WAIT_MOST;
        double pause = t.wait > 0 ? t.wait : wait;
        bad = tries && tries->failed(tries->context, n, t.why, again ? pause : -1, e);
        if (!bad && !again) bad = given_up(p, &t, n, e);
        if (p->next < progress_seconds() + pause) p->next = progress_seconds() + pause;
        wait = 2 * wait < ENDPOINT_WAIT_MOST ? 2 * wait : ENDPOINT_WAIT_MOST;
    }
    free(request);
    return bad ? -1 : 0;
}

/* endpoint.h - a judge behind an OpenAI-compatible endpoint: POST URL/v1/chat/completions, by libcurl.
 *
 * https unless the server is this machine or plain_http is set; certificates are checked; redirects are not followed. The API key is read
 * from an environment variable and goes into one header. Where the server repeats it, it is blotted out of the texts that are handed on (a
 * reply, its model, the reason of a try that failed), once they are decoded, as JSON may write it in several ways. A key of fewer than 8
 * characters is not: it may be a word of a reply. */
#ifndef RLAIFV_ENGINE_EVAL_ENDPOINT_H
#define RLAIFV_ENGINE_EVAL_ENDPOINT_H

#include "base/json.h"

typedef struct EndpointSettings {
    const char *url, *model;
    const char *key_env;     /* NULL: OPENAI_API_KEY where that is set, else no key; a variable that is named here must be set */
    const char *ca_file;     /* certificates that are trusted, PEM; NULL: the system's */
    const char *limit_field; /* what the server calls the longest reply; NULL: max_tokens */
    int plain_http;
    double timeout, wait;        /* seconds: of one request; before the second try, doubled before each further one */
    int64_t retries, per_minute; /* tries after the first; requests, 0: as many as it takes */
} EndpointSettings;
enum { ENDPOINT_WAIT_MOST = 60, ENDPOINT_ASKED_WAIT_MOST = 3600 }; /* seconds between tries: by doubling; where the server says how long */

/* The address that requests go to: URL itself where it ends in /chat/completions, else with what is missing of /v1/chat/completions.
 * Refuses what is no http(s) address, one with a user, password, query or fragment in it, and http to another machine unless plain_http.
 * malloc'd, or NULL. */
char *endpoint_address(const char *url, int plain_http, Error *e);

typedef struct Endpoint Endpoint;
Endpoint *endpoint_open(const EndpointSettings *s, Error *e); /* makes no request */
void endpoint_close(Endpoint *p);

typedef struct EndpointReply {
    char *text, *model; /* malloc'd; model: what the reply says made it, "" where it says nothing */
    int finished;       /* 0: cut at its limit */
} EndpointReply;
void endpoint_reply_free(EndpointReply *r);
/* What a server's answer to a request says. 0; 1 when it is no chat completion, with what is wrong in why (at least 200 bytes); -1 when
 * memory is out. */
int endpoint_reply_read(const char *body, size_t size, EndpointReply *out, char why[200], Error *e);

/* Called for each try that failed; it is made again after `wait` seconds, or, below 0, not. Non-zero ends the request with -1. */
typedef struct EndpointTries {
    void *context;
    int (*failed)(void *context, int number, const char *why, double wait, Error *e);
} EndpointTries;
/* Makes one request; `extra`, the rest of its body, is {messages, temperature, max_tokens}. Waits first where the rate asks for it. Tries
 * again after 408, 429, 5xx, what is no chat completion, a time-out or a broken connection, as often as the settings say; refuses at once
 * all else. */
int endpoint_ask(Endpoint *p, const json_t *extra, const EndpointTries *tries, EndpointReply *out, Error *e);

#endif

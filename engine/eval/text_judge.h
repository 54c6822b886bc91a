/* text_judge.h - a language model that is asked about texts: a checkpoint folder of this machine, a server (endpoint.h), or, with replay,
 * nobody.
 *
 * Whatever is asked goes through a transcript: a request that it has the reply to is not made again. A request is a hash of who is asked (a
 * folder's content and template; a model's name and address), the message, temperature, limit and number of the run. */
#ifndef RLAIFV_ENGINE_EVAL_TEXT_JUDGE_H
#define RLAIFV_ENGINE_EVAL_TEXT_JUDGE_H

#include "engine/eval/endpoint.h"
#include "engine/eval/transcript.h"
#include "engine/progress.h"
#include "kernels/kernels.h"

typedef struct JudgeSettings {
    const char *role;   /* the option that names a folder, and what the judge is called: "judge", "extractor" */
    const char *folder; /* a checkpoint's; NULL: endpoint.url, or replay */
    const char *chat;   /* its template */
    const char *device;
    int dtype;                    /* DType */
    int64_t threads, batch, seed; /* batch: replies that grow together; seed: of draws at a temperature above 0 */
    EndpointSettings endpoint;    /* .url NULL: none */
    double temperature;
    int64_t max_tokens;
    const char *transcript; /* NULL: beside the result, OUT.transcript.jsonl */
    int replay;             /* nobody is asked; without folder and endpoint the judge is the transcript's own */
} JudgeSettings;
enum { JUDGE_TOKENS = 1024, JUDGE_BATCH = 8, JUDGE_RETRIES = 6 };
#define JUDGE_DEFAULTS(ROLE)                                                                                                               \
    ((JudgeSettings){ .role = ROLE,                                                                                                        \
        .chat = "auto",                                                                                                                    \
        .device = "cpu",                                                                                                                   \
        .dtype = FP32,                                                                                                                     \
        .batch = JUDGE_BATCH,                                                                                                              \
        .max_tokens = JUDGE_TOKENS,                                                                                                        \
        .endpoint = { .timeout = 120, .wait = 1, .retries = JUDGE_RETRIES } })

/* One thing to ask. */
typedef struct Ask {
    char *text;       /* owned */
    const char *id;   /* what it is about: a question's id */
    const char *step; /* "rating", "review": for whoever reads the transcript */
    int run;
    const char *reply; /* set by text_judge_ask; the judge's, until it is closed */
} Ask;
void asks_free(Ask *list, size_t n); /* the texts and the array; NULL is fine */

typedef struct FolderJudge FolderJudge;

typedef struct TextJudge {
    const JudgeSettings *settings;
    Transcript transcript;
    json_t *identity;   /* what the transcript calls the judge: {name, ...} */
    json_t *models;     /* names that an endpoint's replies gave, as a set */
    json_t *decoding;   /* {temperature, max_tokens}, and the seed where it matters */
    Endpoint *endpoint; /* this one or the next, from the first request that has to be made; else NULL */
    FolderJudge *folder;
    Progress progress;
} TextJudge;

/* out: the result's file, for the transcript's name. Opens no model and makes no request. Refuses no judge at all, two, replay of a
 * transcript that several judges filled without saying which. 0, or -1 with nothing held. */
int text_judge_open(TextJudge *j, const JudgeSettings *s, const char *out, Error *e);
/* Fills in the replies: from the transcript, else by asking; says how many were cut at their limit. With replay refuses when one is
 * missing. */
int text_judge_ask(TextJudge *j, Ask *list, size_t n, Error *e);
/* {name, version, ..., temperature, max_tokens}: for results. A new reference, or NULL when memory is out. */
json_t *text_judge_describe(const TextJudge *j);
void text_judge_close(TextJudge *j);

/* The key of a request in the transcript. 0, or -1 when memory is out. */
int text_judge_key(const TextJudge *j, const char *text, int run, char key[HASH_TEXT], Error *e);

/* ---- a folder's model (folder_judge.c) ---- */

/* Reads the model in s->folder (`s` is borrowed) and says its template. NULL with nothing held. */
FolderJudge *folder_judge_open(const JudgeSettings *s, Progress *progress, Error *e);
void folder_judge_close(FolderJudge *f); /* NULL is fine */
/* Takes the reply to one of the texts: 0, or -1 to end. */
typedef int JudgeReply(void *context, size_t text, const char *reply, int finished, Error *e);
/* Asks the model all the texts, as many at once as the settings' batch; draws[i] numbers the draws of text i at a temperature above 0.
 * Refuses a text that the model has no positions for; names[i] says which it is. */
int folder_judge_ask(FolderJudge *f, const char *const *texts, const char *const *names, const uint32_t *draws, size_t n, JudgeReply *take,
    void *context, Error *e);

#endif

/* eval_options.h - the option tables that evaluations over answers in files share: command_benchmarks.c and command_judges.c. */
#ifndef RLAIFV_ENGINE_EVAL_OPTIONS_H
#define RLAIFV_ENGINE_EVAL_OPTIONS_H

#include "engine/eval/text_judge.h"
#include "engine/eval/benchmark.h"
#include "engine/options.h"

typedef struct Shared {
    EvalSettings settings;
    const char *out;
} Shared;
#define SHARED_DEFAULTS ((Shared){ .settings = { .resamples = RESAMPLES } })
/* The table lines of every benchmark, for a Shared variable; `answers` explains the file. */
#define OPTIONS_SHARED(S, ANSWERS) { "answers", OPTION_TEXT, &(S).settings.answers, "F", ANSWERS, 1, 0, 0, NULL }, OPTIONS_RESULT(S)
/* The same for what has its answers elsewhere. */
#define OPTIONS_RESULT(S)                                                                                                                  \
    { "out", OPTION_TEXT, &(S).out, "F", "the result, as JSON; a table goes to stdout", 1, 0, 0, NULL },                                   \
        { "rows", OPTION_TEXT, &(S).settings.rows, "F", "what was found in each answer, as JSONL", 0, 0, 0, NULL },                        \
        { "partial", OPTION_FLAG, &(S).settings.partial, NULL, "count missing and extra answers, do not refuse them", 0, 0, 0, NULL },     \
        { "resamples", OPTION_INT, &(S).settings.resamples, "N", "of the bootstrap", 0, 100, 1000000, NULL }, {                            \
        "seed", OPTION_INT, &(S).settings.seed, "N", "of the bootstrap, and of a model that draws", 0, 0, 9007199254740991.0, NULL         \
    }
#define ANSWERS_OF_QUESTIONS "rows {question_id | id, response | answer | text}, JSONL or a JSON array"

/* The table lines of a judge, for a JudgeSettings variable; ROLE is its role as a literal. */
#define OPTIONS_JUDGE(J, ROLE)                                                                                                             \
    { ROLE, OPTION_TEXT, &(J).folder, "DIR", "a checkpoint of this machine that is asked", 0, 0, 0, NULL },                                \
        { ROLE "-template", OPTION_TEXT, &(J).chat, "NAME",                                                                                \
            "its chat template: a name, the path of a file, or auto: the checkpoint's own", 0, 0, 0, NULL },                               \
        { "endpoint", OPTION_TEXT, &(J).endpoint.url, "URL", "an OpenAI-compatible server that is asked instead", 0, 0, 0, NULL },         \
        { ROLE "-name", OPTION_TEXT, &(J).endpoint.model, "MODEL", "the server's name of the model", 0, 0, 0, NULL },                      \
        { "key-env", OPTION_TEXT, &(J).endpoint.key_env, "VAR", "environment variable with the API key (OPENAI_API_KEY, where it is set)", \
            0, 0, 0, NULL },                                                                                                               \
        { "ca", OPTION_TEXT, &(J).endpoint.ca_file, "F", "certificates to trust, as PEM; else the system's", 0, 0, 0, NULL },              \
        { "plain-http", OPTION_FLAG, &(J).endpoint.plain_http, NULL, "allow http to other machines; the key is then readable on the way",  \
            0, 0, 0, NULL },                                                                                                               \
        { "temperature", OPTION_NUMBER, &(J).temperature, "T", "0: greedy", 0, 0, 2, NULL },                                               \
        { "max-tokens", OPTION_INT, &(J).max_tokens, "N", "longest reply", 0, 1, 1e6, NULL },                                              \
        { "limit-field", OPTION_TEXT, &(J).endpoint.limit_field, "NAME", "the server's name of that (max_tokens)", 0, 0, 0, NULL },        \
        { "timeout", OPTION_NUMBER, &(J).endpoint.timeout, "S", "seconds that a request may take", 0, 0.1, 86400, NULL },                  \
        { "retries", OPTION_INT, &(J).endpoint.retries, "N", "tries after the first", 0, 0, 1000, NULL },                                  \
        { "wait", OPTION_NUMBER, &(J).endpoint.wait, "S", "seconds before the second try, doubled before each further one", 0, 0, 60,      \
            NULL },                                                                                                                        \
        { "per-minute", OPTION_INT, &(J).endpoint.per_minute, "N", "requests at most; 0: as many as it takes", 0, 0, 1e6, NULL },          \
        { "transcript", OPTION_TEXT, &(J).transcript, "F",                                                                                 \
            "requests and replies; what is in it is not asked again (OUT.transcript.jsonl)", 0, 0, 0, NULL },                              \
        { "replay", OPTION_FLAG, &(J).replay, NULL, "ask nobody: all replies are in --transcript", 0, 0, 0, NULL },                        \
        { "device", OPTION_TEXT, &(J).device, "NAME", "of --" ROLE ": cpu or cuda", 0, 0, 0, NULL },                                       \
        { "dtype", OPTION_CHOICE, &(J).dtype, "TYPE", "of --" ROLE ": weights and activations", 0, 0, 0, dtype_choices },                  \
        { "threads", OPTION_INT, &(J).threads, "N", "of --" ROLE "; 0: all cores", 0, 0, 4096, NULL }, {                                   \
        "batch", OPTION_INT, &(J).batch, "N", "of --" ROLE ": replies that grow together; changes speed and memory, not results", 0, 1,    \
            65536, NULL                                                                                                                    \
    }

/* 1: go on; else what the command returns. */
int eval_parsed(const Option *table, int argc, char **argv, const char *synopsis, const char *about, Error *e);

/* Evaluations that people or a language model judge (command_judges.c). */
int eval_mmhal(int argc, char **argv, Error *e);
int eval_refomb(int argc, char **argv, Error *e);
int eval_llava_bench(int argc, char **argv, Error *e);
int eval_mhumaneval(int argc, char **argv, Error *e);

#endif

/* claim_replies.h - claims by a text model: what it is asked, how its replies are read, and what happens to replies that cannot be.
 *
 * An answer is a job of two stages (PAPER 3.3, 3.4): split (the reply lists facts, one a line) and ask (the reply lists a yes/no question
 * for each fact). A reply that is malformed is asked for once more, drawn at CLAIM_RETRY_TEMPERATURE where the first was greedy; when that
 * is malformed too the answer is dropped, with the reason, and has no claims. Nothing is cut, zipped short or guessed.
 *
 * The question about a whole answer, which takes nothing apart, is made here too. Knows no model: whoever has one takes claim_job_prompt to it and brings back the reply. */
#ifndef RLAIFV_ENGINE_CLAIM_REPLIES_H
#define RLAIFV_ENGINE_CLAIM_REPLIES_H

#include "base/file.h"
#include "engine/claims.h"

enum {
    CLAIM_FACTS_MOST = 64,        /* of one answer: more is a model that goes round in circles */
    CLAIM_LINE_MOST = 1000,       /* bytes of a fact or a question */
    CLAIM_REPLY_KEPT = 300        /* bytes of a malformed reply that its row shows */
};
#define CLAIM_RETRY_TEMPERATURE 0.7f

/* The two prompts. split holds {answer} once and {question} at most once; question holds {facts} once. */
typedef struct ClaimPrompts {
    char *split, *question;
    char hash[HASH_TEXT]; /* of both texts */
} ClaimPrompts;
/* From files, or where a path is empty as built in (configs/prompts). Refuses texts without their places, or too long. */
int claim_prompts_load(ClaimPrompts *p, const char *split_path, const char *question_path, Error *e);
void claim_prompts_free(ClaimPrompts *p);

/* The text that asks about a whole answer ([label] mode = holistic): holds {answer} once and {question} at most once. From a file, or where the
 * path is empty as built in. malloc'd. */
int claim_whole_load(char **prompt, const char *path, Error *e);
/* The answer as its one claim, with that text as its question; none where it has neither letter nor digit. *out is written over. */
int claim_whole(const char *prompt, const char *question, const char *answer, ClaimList *out, Error *e);

/* Reads a reply that should list facts: appends them to `list` as claims without questions, and what repeats an earlier fact to its drops.
 * 0; 1 malformed, with *why (a constant) and the list as it was; -1. "none" is a list without facts. */
int claim_facts_read(const char *reply, ClaimList *list, const char **why, Error *e);
/* Reads a reply that should ask about each claim of the list, in order, and gives them their questions. As above. */
int claim_questions_read(const char *reply, ClaimList *list, const char **why, Error *e);

typedef enum ClaimStage { CLAIM_SPLIT, CLAIM_ASK, CLAIM_DONE } ClaimStage;
typedef struct ClaimJob {
    char *question, *answer;
    ClaimStage stage;
    int again;   /* the stage's first reply was malformed */
    int retried; /* replies asked for a second time */
    ClaimList list;
    const char *why; /* dropped: a constant; NULL: not */
    char *reply;     /* the one it was dropped for, cut */
} ClaimJob;
/* Copies both texts. An answer without a letter or digit is done at once. */
int claim_job_begin(ClaimJob *j, const char *question, const char *answer, Error *e);
void claim_job_free(ClaimJob *j);
/* What to ask the model now, malloc'd; NULL when memory is out. The job is not done. */
char *claim_job_prompt(const ClaimJob *j, const ClaimPrompts *p, Error *e);
/* Takes the reply; finished 0: it was cut at its limit, which is malformed. 0 or -1. */
int claim_job_reply(ClaimJob *j, const char *reply, int finished, Error *e);
/* Ends a job that cannot be asked. why: a constant. */
void claim_job_drop(ClaimJob *j, const char *why);
/* The row of claims.jsonl of a job that is done, or NULL when memory is out. */
json_t *claim_job_row(const ClaimJob *j, const char *id, int64_t candidate);

#endif

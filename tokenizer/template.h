/* template.h - chat templates: what a conversation looks like as ids, and which of them are trained.
 *
 * Templates are text files (docs/formats.md: chat templates). Those of configs/chat are part of the program; a path names one of the
 * user's. A conversation becomes *parts*: runs of text, tokens, and the place of the image. Each run of text is tokenised by itself, so
 * that a prompt falls into chunks around the image as LLaVA has it. Only a template makes tokens: what system, question and answer spell
 * stays text. */
#ifndef RLAIFV_TOKENIZER_TEMPLATE_H
#define RLAIFV_TOKENIZER_TEMPLATE_H

#include "base/file.h"
#include "tokenizer/tokenizer.h"

typedef struct ChatTemplate ChatTemplate;

/* ---- choosing ---- */

#define TEMPLATE_AUTO "auto"

/* A setting is a template's name, the path of a file (it holds a '/'), or "auto" (also "" and NULL): recognised from the checkpoint. */
int template_is_path(const char *setting);
/* The names of the templates in the program, "chatml, chatml_direct, ...". Returns out. */
char *template_names(char *out, size_t size);

/* What the checkpoint in `folder` is written for: the name of a template, and why. t (may be NULL) knows the added tokens. Refuses, with
 * the list of names, when nothing is recognised. */
typedef struct TemplateGuess {
    const char *name;
    char why[240];
} TemplateGuess;
int template_recognise(const char *folder, const Tokenizer *t, TemplateGuess *out, Error *e);

/* Reads a template by name or path, not "auto": text only, no ids yet. NULL with the Error (file and line) filled. */
ChatTemplate *template_load(const char *setting, Error *e);
/* The template of a setting for a checkpoint, ready to make ids by its tokenizer (borrowed). Refuses one whose tokens the tokenizer lacks.
 */
ChatTemplate *template_open(const char *setting, const Tokenizer *t, const char *folder, Error *e);
void template_free(ChatTemplate *c);

const char *template_name(const ChatTemplate *c); /* a name or a path */
const char *template_why(const ChatTemplate *c);  /* how it came to be chosen: "config.json: ...", or "as set" */
const char *template_hash(const ChatTemplate *c); /* of its content */
/* Refuses a setting that no checkpoint could use: an unknown name, a file that is no template. */
int template_setting_check(const char *setting, Error *e);
/* The hash without a checkpoint, for keys of what a setting decides; of "auto" all templates of the program. */
int template_setting_hash(const char *setting, char out[HASH_TEXT], Error *e);

/* ---- conversations ---- */

typedef enum ChatRole { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_ROLES } ChatRole;
extern const char *const chat_roles[CHAT_ROLES];
typedef struct ChatTurn {
    ChatRole role;
    const char *text;
} ChatTurn;

typedef enum ChatPartKind { CHAT_TEXT, CHAT_TOKEN, CHAT_IMAGE } ChatPartKind;
typedef struct ChatPart {
    ChatPartKind kind;
    int trained;  /* part of an answer, or what ends it */
    int inside;   /* of text: it goes on in a line of text, and has no word-start mark of its own */
    int id;       /* of a token; -1 before the template has a tokenizer */
    size_t at, n; /* its bytes in ChatParts.text: the text, or the token's name ("{bos}" and "{eos}" for these) */
} ChatPart;
typedef struct ChatParts {
    ChatPart *list;
    size_t n, cap;
    char *text;
    size_t text_n, text_cap;
} ChatParts;
/* An optional system turn (else the template's own text), then user and assistant in turns. The image stands in the first user turn.
 * Refuses other orders, a system turn or an image that the template has no place for, and more rounds than one when it has no `next`. */
int template_parts(const ChatTemplate *c, const ChatTurn *turns, size_t n, int has_image, ChatParts *out, Error *e);
void chat_parts_free(ChatParts *p);
/* Appends the ids of one part; the image has none. The template has a tokenizer (template_open). */
int template_part_ids(const ChatTemplate *c, const ChatParts *p, const ChatPart *part, IdList *out, Error *e);

/* A question as ids: `head` is everything before the image's rows, the same for all questions; `tail` what stands between the image and the
 * answer. A prompt without an image is all in `tail`, head empty. */
int template_prompt(const ChatTemplate *c, const char *question, int has_image, IdList *head, IdList *tail, Error *e);
/* The same for a conversation that ends with a user's turn. */
int template_dialogue(const ChatTemplate *c, const ChatTurn *turns, size_t n, int has_image, IdList *head, IdList *tail, Error *e);
/* Ids of an answer as it follows a question, with what ends it when `closed`. */
int template_answer(const ChatTemplate *c, const char *answer, int closed, IdList *out, Error *e);
/* The ids that end an answer: the template's, those it names as stops, and eos. */
const IdList *template_stops(const ChatTemplate *c);
/* The text of an answer that was sampled: without the stop at its end, and without what the template puts around it. malloc'd, or NULL. */
char *template_answer_text(const ChatTemplate *c, const int *ids, size_t n, Error *e);

#endif

/* template_form.h - inside the tokenizer's room: a chat template as read, before and after it meets a tokenizer. */
#ifndef RLAIFV_TOKENIZER_TEMPLATE_FORM_H
#define RLAIFV_TOKENIZER_TEMPLATE_FORM_H

#include "tokenizer/template.h"

/* What a form is made of. From BIT_SYSTEM on: slots, filled when a conversation is written. */
typedef enum BitKind {
    BIT_TEXT,
    BIT_TOKEN,
    BIT_BOS,
    BIT_BOS_IF,
    BIT_EOS,
    BIT_SYSTEM,
    BIT_IMAGE,
    BIT_FEATURES,
    BIT_QUESTION,
    BIT_ANSWER,
    BITS
} BitKind;
typedef struct FormBit {
    BitKind kind;
    int token;  /* of BIT_TOKEN: index among the template's tokens */
    char *text; /* of BIT_TEXT, n bytes */
    size_t n;
} FormBit;

typedef enum FormKind { FORM_SYSTEM_TEXT, FORM_SYSTEM, FORM_IMAGE, FORM_FIRST, FORM_NEXT, FORM_ANSWER, FORMS } FormKind;
typedef struct Form {
    FormBit *bits;
    size_t n, cap;
    int line; /* of the file; 0: the template has none */
} Form;

typedef struct TemplateTokens {
    char **names;
    int *ids; /* as long as names; -1 before there is a tokenizer */
    size_t n, cap, ids_cap;
} TemplateTokens;

struct ChatTemplate {
    char name[PATH_SIZE], why[240], hash[HASH_TEXT];
    TemplateTokens tokens, stop_names; /* in forms; that end an answer too */
    Form forms[FORMS];
    char *system; /* the system text that stands where a conversation has none; "" */
    int marks;    /* text after a token (bos apart) has a word-start mark of its own */
    const Tokenizer *t;
    IdList stops;
    int lead_stays; /* decoding an answer leaves the text that its form begins with */
};

/* The templates of configs/chat, put into the program by the build (chat_builtins.c is generated). */
typedef struct ChatBuiltin {
    const char *name, *text;
} ChatBuiltin;
extern const ChatBuiltin chat_builtins[];
extern const size_t chat_builtins_n;

#endif

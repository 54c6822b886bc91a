/* template.c - owns how a conversation is written in a chat template's forms, and how its parts become ids.
 *
 * Text between two tokens, or a token and the image, is one run and is tokenised as a whole; an answer is a run of its own, as it is when
 * it is sampled. A run that begins the conversation or follows bos has the tokenizer's word-start mark; one that follows another token or
 * the image has it where the template's `marks` says so (LLaVA tokenises both sides of an image by themselves); an answer that follows text
 * has none, but may begin with a space, which is one. */
#include "tokenizer/template_form.h"

#include <stdlib.h>
#include <string.h>

const char *const chat_roles[CHAT_ROLES] = { [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant" };

void chat_parts_free(ChatParts *p) {
    free(p->list);
    free(p->text);
    memset(p, 0, sizeof *p);
}

/* ---- parts ---- */

/* What fills the slots of a form. */
typedef struct Writer {
    const ChatTemplate *c;
    ChatParts *out;
    const char *system, *text;    /* text: the question or the answer */
    int has_image, trained, open; /* open: nothing after an answer */
    int after_bos;                /* the last part is bos */
    Error *e;
} Writer;

static int part_add(Writer *w, ChatPartKind kind, int id, const char *text, size_t n) {
    ChatParts *p = w->out;
    if (mem_grow(&p->text, &p->text_cap, p->text_n + n + 1, 1, "a conversation", w->e)) return -1;
    ChatPart *last = p->n ? &p->list[p->n - 1] : NULL;
    if (kind == CHAT_TEXT && last && last->kind == CHAT_TEXT && last->trained == w->trained) last->n += n;
    else if (kind != CHAT_TEXT || n) {
        if (mem_grow(&p->list, &p->cap, p->n + 1, sizeof *p->list, "a conversation", w->e)) return -1;
        last = p->n ? &p->list[p->n - 1] : NULL;
        int inside = last && !w->after_bos && (last->kind == CHAT_TEXT || !w->c->marks);
        p->list[p->n++] = (ChatPart){ .kind = kind, .trained = w->trained, .inside = inside, .id = id, .at = p->text_n, .n = n };
        w->after_bos = 0;
    }
    if (n) memcpy(p->text + p->text_n, text, n);
    p->text_n += n;
    p->text[p->text_n] = 0;
    return 0;
}

static int text_add(Writer *w, const char *text, size_t n) { return part_add(w, CHAT_TEXT, -1, text, n); }
static int special_add(Writer *w, const char *name, int id) { return part_add(w, CHAT_TOKEN, id, name, strlen(name)); }

static int form_write(Writer *w, FormKind kind);

static int bit_write(Writer *w, const FormBit *b) {
    const ChatTemplate *c = w->c;
    int bos = c->t ? tokenizer_bos(c->t) : -1;
    switch (b->kind) {
    case BIT_TEXT:
        return text_add(w, b->text, b->n);
    case BIT_TOKEN:
        return special_add(w, c->tokens.names[b->token], c->tokens.ids[b->token]);
    case BIT_BOS_IF:
        if (c->t && (bos < 0 || !tokenizer_adds_bos(c->t))) return 0;
        /* fall through */
    case BIT_BOS:
        if (special_add(w, "{bos}", bos)) return -1;
        w->after_bos = 1;
        return 0;
    case BIT_EOS:
        return special_add(w, "{eos}", c->t ? tokenizer_eos(c->t) : -1);
    case BIT_IMAGE:
        return w->has_image ? form_write(w, FORM_IMAGE) : 0;
    case BIT_FEATURES:
        return part_add(w, CHAT_IMAGE, -1, NULL, 0);
    case BIT_SYSTEM:
        return w->system ? (w->system[0] ? form_write(w, FORM_SYSTEM) : 0) : 0;
    case BIT_QUESTION:
    case BIT_ANSWER:
        return text_add(w, w->text, strlen(w->text));
    case BITS:
        break;
    }
    return 0;
}

/* {system} in `first` is where the system form goes; in that form it is the text. */
static int form_write(Writer *w, FormKind kind) {
    const Form *f = &w->c->forms[kind];
    for (size_t i = 0; i < f->n; i++) {
        const FormBit *b = &f->bits[i];
        int is_text = kind == FORM_SYSTEM && b->kind == BIT_SYSTEM;
        if (is_text ? text_add(w, w->system, strlen(w->system)) : bit_write(w, b)) return -1;
        if (w->open && b->kind == BIT_ANSWER) break;
    }
    return 0;
}

static int refuse_turns(const ChatTemplate *c, size_t turn, const char *what, Error *e) {
    error_what(e, "%s", what), error_where(e, "message %zu", turn + 1);
    return error_expected(e, "a conversation for chat template %.200s", c->name);
}

static int refuse_order(const ChatTurn *turns, size_t turn, ChatRole wanted, Error *e) {
    error_what(e, "turns of a conversation are out of order"), error_where(e, "message %zu", turn + 1);
    return error_found(e, "%s", chat_roles[turns[turn].role]), error_expected(e, "%s", chat_roles[wanted]);
}

/* The turns after the system's: user and assistant by turns. */
static int turns_check(const ChatTemplate *c, const ChatTurn *turns, size_t n, int has_image, Error *e) {
    size_t first = n && turns[0].role == CHAT_SYSTEM;
    if (first && !c->forms[FORM_SYSTEM].line && turns[0].text[0])
        return refuse_turns(c, 0, "the chat template has no place for a system text", e);
    if (n == first) return error_what(e, "a conversation without a question"), error_expected(e, "a user's turn");
    for (size_t i = first; i < n; i++) {
        ChatRole wanted = (i - first) % 2 ? CHAT_ASSISTANT : CHAT_USER;
        if (turns[i].role != wanted) return refuse_order(turns, i, wanted, e);
    }
    if (n > first + 2 && !c->forms[FORM_NEXT].line)
        return refuse_turns(c, first + 2, "the chat template has no form for a second question", e);
    if (!has_image || c->forms[FORM_IMAGE].line) return 0;
    error_what(e, "the chat template has no place for an image"), error_where(e, "%.400s", c->name);
    return error_hint(e, "give it image = \"{features}\\n\" and {image} in first, or leave images out");
}

static int parts_write(const ChatTemplate *c, const ChatTurn *turns, size_t n, int has_image, int open, ChatParts *out, Error *e) {
    memset(out, 0, sizeof *out);
    if (turns_check(c, turns, n, has_image, e)) return -1;
    size_t first = turns[0].role == CHAT_SYSTEM;
    Writer w = { .c = c, .out = out, .system = first ? turns[0].text : c->system, .has_image = has_image, .open = open, .e = e };
    for (size_t i = first; i < n; i++) {
        w.text = turns[i].text;
        w.trained = turns[i].role == CHAT_ASSISTANT;
        if (!form_write(&w, w.trained ? FORM_ANSWER : i == first ? FORM_FIRST : FORM_NEXT)) continue;
        chat_parts_free(out);
        return -1;
    }
    return 0;
}

int template_parts(const ChatTemplate *c, const ChatTurn *turns, size_t n, int has_image, ChatParts *out, Error *e) {
    return parts_write(c, turns, n, has_image, 0, out, e);
}

/* ---- ids ---- */

static int is_token(const TemplateTokens *tokens, int id) {
    for (size_t i = 0; i < tokens->n; i++)
        if (tokens->ids[i] == id) return 1;
    return 0;
}

/* Where the first name of one of the template's tokens stands in the text, or its end. */
static size_t name_at(const TemplateTokens *tokens, const char *text, size_t n) {
    size_t first = n;
    for (size_t i = 0; i < tokens->n; i++) {
        const char *at = memmem(text, n, tokens->names[i], strlen(tokens->names[i]));
        if (at && (size_t)(at - text) < first) first = (size_t)(at - text);
    }
    return first;
}

static int run_encode(const ChatTemplate *c, const char *text, size_t n, int inside, IdList *out, Error *e) {
    return inside ? tokenizer_encode_inside(c->t, text, n, out, e) : tokenizer_encode(c->t, text, n, out, e);
}

/* Where the tokens of a template are user-defined pieces, SentencePiece finds them in any text. A name that stands in text is cut behind
 * its first character, so that both sides stay text. */
static int text_encode(const ChatTemplate *c, const char *text, size_t n, int inside, IdList *out, Error *e) {
    const size_t before = out->count;
    if (run_encode(c, text, n, inside, out, e)) return -1;
    int made = 0;
    for (size_t i = before; i < out->count; i++) made |= is_token(&c->tokens, out->ids[i]) || is_token(&c->stop_names, out->ids[i]);
    if (!made) return 0;
    out->count = before;
    while (n) {
        size_t tokens = name_at(&c->tokens, text, n), stops = name_at(&c->stop_names, text, n), cut = tokens < stops ? tokens : stops;
        if (cut < n) cut++;
        while (cut < n && (text[cut] & 0xc0) == 0x80) cut++;
        if (run_encode(c, text, cut, inside, out, e)) return -1;
        text += cut, n -= cut, inside = 1;
    }
    return 0;
}

int template_part_ids(const ChatTemplate *c, const ChatParts *p, const ChatPart *part, IdList *out, Error *e) {
    switch (part->kind) {
    case CHAT_TEXT:
        return text_encode(c, p->text + part->at, part->n, part->inside, out, e);
    case CHAT_TOKEN:
        return idlist_append(out, &part->id, 1, e);
    case CHAT_IMAGE:
        break;
    }
    return 0;
}

int template_dialogue(const ChatTemplate *c, const ChatTurn *turns, size_t n, int has_image, IdList *head, IdList *tail, Error *e) {
    ChatParts p;
    if (n && turns[n - 1].role != CHAT_USER) return refuse_order(turns, n - 1, CHAT_USER, e);
    if (template_parts(c, turns, n, has_image, &p, e)) return -1;
    IdList *out = has_image ? head : tail;
    int bad = 0;
    for (size_t i = 0; i < p.n && !bad; i++) {
        if (p.list[i].kind == CHAT_IMAGE) out = tail;
        bad = template_part_ids(c, &p, &p.list[i], out, e);
    }
    chat_parts_free(&p);
    return bad ? -1 : 0;
}

int template_prompt(const ChatTemplate *c, const char *question, int has_image, IdList *head, IdList *tail, Error *e) {
    return template_dialogue(c, &(ChatTurn){ CHAT_USER, question }, 1, has_image, head, tail, e);
}

int template_answer(const ChatTemplate *c, const char *answer, int closed, IdList *out, Error *e) {
    const ChatTurn turns[] = { { CHAT_USER, "?" }, { CHAT_ASSISTANT, answer } }; /* text stands before every answer */
    ChatParts p;
    if (parts_write(c, turns, 2, 0, !closed, &p, e)) return -1;
    int bad = 0;
    for (size_t i = 0; i < p.n && !bad; i++) bad = p.list[i].trained && template_part_ids(c, &p, &p.list[i], out, e);
    chat_parts_free(&p);
    return bad ? -1 : 0;
}

/* The text that stands between an answer and what ends it. */
static const FormBit *answer_close(const ChatTemplate *c) {
    const Form *f = &c->forms[FORM_ANSWER];
    for (size_t i = 1; i < f->n; i++)
        if (f->bits[i - 1].kind == BIT_ANSWER) return f->bits[i].kind == BIT_TEXT ? &f->bits[i] : NULL;
    return NULL;
}

char *template_answer_text(const ChatTemplate *c, const int *ids, size_t n, Error *e) {
    int ended = 0;
    for (size_t i = 0; n && i < c->stops.count && !ended; i++) ended = ids[n - 1] == c->stops.ids[i];
    char *text = tokenizer_decode(c->t, ids, n - (size_t)ended, e);
    if (!text) return NULL;
    size_t size = strlen(text);
    const FormBit *lead = &c->forms[FORM_ANSWER].bits[0], *close = answer_close(c);
    if (ended && close && size >= close->n && !memcmp(text + size - close->n, close->text, close->n)) text[size -= close->n] = 0;
    if (c->lead_stays && size >= lead->n && !memcmp(text, lead->text, lead->n)) memmove(text, text + lead->n, size - lead->n + 1);
    return text;
}

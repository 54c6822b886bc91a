/* template.c - owns the chat templates: the text around an image, a question and an answer, and how it falls into ids.
 *
 * The wording is LLaVA's (conversation.py, conv_vicuna_v1 and conv_llava_v1). The prompt is tokenised in two chunks around the image, each
 * with its own word-start mark; an answer is a chunk of its own too, and eos ends it. */
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define QUESTION "{question}"
#define VICUNA                                                                                                                             \
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers "   \
    "to the "                                                                                                                              \
    "user's questions. USER: "
#define LLAVA                                                                                                                              \
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers "  \
    "to the "                                                                                                                              \
    "human's questions. USER: "
#define TURN QUESTION " ASSISTANT:"

static const ChatTemplate templates[] = {
    { "vicuna_v1", VICUNA, "\n" TURN, VICUNA TURN },
    { "llava_v1", LLAVA, "\n" TURN, LLAVA TURN },
};
enum { TEMPLATES = sizeof templates / sizeof *templates };

const ChatTemplate *template_find(const char *name, Error *e) {
    const char *names[TEMPLATES];
    for (size_t i = 0; i < TEMPLATES; i++) {
        if (!strcmp(templates[i].name, name)) return &templates[i];
        names[i] = templates[i].name;
    }
    error_what(e, "unknown chat template");
    error_found(e, "\"%.100s\"", name);
    error_expected(e, "vicuna_v1 or llava_v1");
    const char *near = nearest_name(name, names, TEMPLATES);
    if (near) error_hint(e, "did you mean %s?", near);
    return NULL;
}

/* Appends the ids of `pattern` with the question put in its place. */
static int append_filled(const Tokenizer *t, const char *pattern, const char *question, IdList *out, Error *e) {
    const char *place = strstr(pattern, QUESTION);
    const size_t before = (size_t)(place - pattern), middle = strlen(question), after = strlen(place) - strlen(QUESTION);
    char *text = mem_new(before + middle + after + 1, 1, "a prompt", e);
    if (!text) return -1;
    memcpy(text, pattern, before);
    memcpy(text + before, question, middle);
    memcpy(text + before + middle, place + strlen(QUESTION), after);
    int bad = tokenizer_encode(t, text, before + middle + after, out, e);
    free(text);
    return bad;
}

int template_prompt(const ChatTemplate *c, const Tokenizer *t, const char *question, int has_image, IdList *head, IdList *tail, Error *e) {
    const int bos = tokenizer_bos(t);
    if (!has_image) return idlist_append(tail, &bos, 1, e) || append_filled(t, c->without_image, question, tail, e) ? -1 : 0;
    if (idlist_append(head, &bos, 1, e) || tokenizer_encode(t, c->before_image, strlen(c->before_image), head, e)) return -1;
    return append_filled(t, c->after_image, question, tail, e);
}

int template_answer(const Tokenizer *t, const char *answer, int closed, IdList *out, Error *e) {
    const int eos = tokenizer_eos(t);
    if (tokenizer_encode(t, answer, strlen(answer), out, e)) return -1;
    return closed ? idlist_append(out, &eos, 1, e) : 0;
}

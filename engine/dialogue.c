/* dialogue.c - owns the reading of conversations from rows: their names for roles, content as text or as a list of typed parts, and LLaVA's
 * image mark. The order of turns is the template's business (template_parts). */
#include "engine/dialogue.h"

#include <stdlib.h>
#include <string.h>

static const char mark[] = "<image>";
enum { MARK = sizeof mark - 1, TURNS_MOST = 4096 };

void dialogue_free(Dialogue *d) {
    for (size_t i = 0; i < d->n; i++) free((char *)(uintptr_t)d->turns[i].text);
    free(d->turns);
    memset(d, 0, sizeof *d);
}

int dialogue_in(const json_t *row) { return json_object_get(row, "messages") || json_object_get(row, "conversations"); }

static int turn_add(Dialogue *d, ChatRole role, const char *text, Error *e) {
    char *copy = strdup(text);
    if (!copy) return error_what(e, "out of memory"), error_where(e, "a conversation");
    d->turns[d->n++] = (ChatTurn){ role, copy };
    return 0;
}

static int role_of(const char *name) {
    static const struct {
        const char *name;
        ChatRole role;
    } names[] = { { "system", CHAT_SYSTEM }, { "user", CHAT_USER }, { "human", CHAT_USER }, { "assistant", CHAT_ASSISTANT },
        { "gpt", CHAT_ASSISTANT } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i].name, name)) return (int)names[i].role;
    return -1;
}

/* The text of a list of {type: text | image} parts, joined; *image is set when one is an image. malloc'd, or NULL. */
static char *content_join(const json_t *list, const char *where, int *image, Error *e) {
    size_t n = 0;
    char *text = mem_new(1, 1, "a message", e);
    for (size_t i = 0; text && i < json_array_size(list); i++) {
        const char *type = NULL, *part = NULL;
        const json_t *item = json_array_get(list, i);
        if (!json_is_object(item))
            error_what(e, "wrong type"), error_where(e, "%s: content of a message", where), error_found(e, "%s in a list", json_kind(item)),
                error_expected(e, "{\"type\": \"text\", \"text\": ...}");
        else if (json_need_string(item, "type", where, &type, e)) type = NULL;
        else if (!strcmp(type, "image")) {
            *image = 1;
            continue;
        } else if (strcmp(type, "text"))
            error_what(e, "unknown part of a message"), error_where(e, "%s", where), error_found(e, "type \"%.60s\"", type),
                error_expected(e, "text or image");
        else if (!json_need_string(item, "text", where, &part, e)) {
            size_t size = strlen(part);
            char *longer = realloc(text, n + size + 1);
            if (longer) {
                memcpy(longer + n, part, size + 1);
                text = longer, n += size;
                continue;
            }
            error_what(e, "out of memory"), error_where(e, "%s", where);
        }
        free(text);
        text = NULL;
    }
    return text;
}

static int message_read(Dialogue *d, const json_t *m, const char *role_key, const char *text_key, const char *where, Error *e) {
    const char *name, *text = NULL;
    char *joined = NULL;
    int image = 0;
    if (!json_is_object(m))
        return error_what(e, "wrong type"), error_where(e, "%s: message %zu", where, d->n + 1), error_found(e, "%s", json_kind(m)),
               error_expected(e, "an object");
    if (json_need_string(m, role_key, where, &name, e)) return -1;
    int role = role_of(name);
    if (role < 0)
        return error_what(e, "unknown role"), error_where(e, "%s: message %zu", where, d->n + 1), error_found(e, "\"%.60s\"", name),
               error_expected(e, "system, user (human) or assistant (gpt)");
    const json_t *content = json_object_get(m, text_key);
    if (json_is_array(content) && !(text = joined = content_join(content, where, &image, e))) return -1;
    if (!joined && json_need_string(m, text_key, where, &text, e)) return -1;
    int bad = turn_add(d, (ChatRole)role, text, e);
    free(joined);
    if (bad || !image) return bad;
    d->has_image = 1;
    for (size_t i = 0; i + 1 < d->n; i++)
        if (d->turns[i].role == CHAT_USER) role = -1;
    if (role == CHAT_USER) return 0;
    return error_what(e, "an image outside of the first question"), error_where(e, "%s: message %zu", where, d->n),
           error_expected(e, "one image, in the first question");
}

/* Takes "<image>\n" off the front of the first question, or "\n<image>" off its end. */
static void mark_take(Dialogue *d) {
    size_t i = 0;
    while (i < d->n && d->turns[i].role != CHAT_USER) i++;
    if (i == d->n) return;
    char *text = (char *)(uintptr_t)d->turns[i].text;
    size_t n = strlen(text);
    if (!strncmp(text, mark, MARK)) {
        size_t from = MARK + (text[MARK] == '\n');
        memmove(text, text + from, n - from + 1);
    } else if (n > MARK && !strcmp(text + n - MARK - 1, "\n<image>")) text[n - MARK - 1] = 0;
    else return;
    d->has_image = 1;
}

static int turns_read(const json_t *row, const char *where, Dialogue *d, Error *e) {
    const int llava = json_object_get(row, "messages") == NULL;
    const char *key = llava ? "conversations" : "messages";
    const json_t *list = json_object_get(row, key);
    if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > TURNS_MOST)
        return error_what(e, "bad conversation"), error_where(e, "%s: field \"%s\"", where, key),
               error_found(e, "%s of %zu", json_kind(list), json_array_size(list)),
               error_expected(e, "a list of 1 to %d messages", TURNS_MOST);
    if (!(d->turns = mem_new(json_array_size(list), sizeof *d->turns, "a conversation", e))) return -1;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (message_read(d, json_array_get(list, i), llava ? "from" : "role", llava ? "value" : "content", where, e)) return -1;
    mark_take(d);
    for (size_t i = 0; i < d->n; i++)
        if (strstr(d->turns[i].text, mark))
            return error_what(e, "an image mark inside a text"), error_where(e, "%s: message %zu", where, i + 1),
                   error_expected(e, "one %s, at either end of the first question", mark);
    return 0;
}

int dialogue_read(const json_t *row, const char *where, Dialogue *out, Error *e) {
    static const char *const images[] = { "image", "image_path" };
    const char *question, *answer = NULL;
    int bad;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        const json_t *image = json_object_get(row, images[i]);
        out->has_image |= json_is_string(image) || json_is_object(image);
    }
    if (dialogue_in(row)) bad = turns_read(row, where, out, e);
    else
        bad = json_need_string(row, "question", where, &question, e) || json_may_string(row, "answer", where, &answer, e) ||
              !(out->turns = mem_new(2, sizeof *out->turns, "a conversation", e)) || turn_add(out, CHAT_USER, question, e) ||
              (answer && turn_add(out, CHAT_ASSISTANT, answer, e));
    if (bad) dialogue_free(out);
    return bad ? -1 : 0;
}

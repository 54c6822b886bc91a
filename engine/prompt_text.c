/* prompt_text.c - owns the reading, checking and filling of prompts. */
#include "engine/prompt_text.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

static size_t times(const char *text, const char *place) {
    size_t n = 0;
    for (; (text = strstr(text, place)); text += strlen(place)) n++;
    return n;
}

int prompt_text_check(const char *text, const char *use, const char *where, const char *needed, const char *allowed, Error *e) {
    size_t n = times(text, needed), m = allowed ? times(text, allowed) : 0;
    if (n == 1 && m <= 1) return 0;
    return error_what(e, "not a prompt for %s", use), error_where(e, "%s", where),
           error_found(e, "%s %zu times", n == 1 ? allowed : needed, n == 1 ? m : n),
           error_expected(e, "%s once", n == 1 ? allowed : needed), error_hint(e, "configs/prompts has the built-in ones");
}

int prompt_text_load(char **out, const char *path, const char *builtin, Error *e) {
    size_t size;
    if (path && path[0]) {
        if (file_read(path, PROMPT_TEXT_MOST, out, &size, e)) return -1;
        if (!memchr(*out, 0, size)) return 0;
        free(*out), *out = NULL;
        return error_what(e, "NUL byte in a prompt"), error_where(e, "%s", path), error_expected(e, "text");
    }
    if ((*out = strdup(builtin))) return 0;
    return error_what(e, "out of memory"), error_where(e, "a prompt");
}

char *prompt_text_fill(const char *prompt, const PromptPlace *places, int n, Error *e) {
    size_t size = strlen(prompt) + 1, used = 0;
    for (int i = 0; i < n; i++) size += strlen(places[i].text) * times(prompt, places[i].name);
    char *out = mem_new(size, 1, "a prompt", e);
    if (!out) return NULL;
    while (*prompt) {
        int i = 0;
        while (i < n && strncmp(prompt, places[i].name, strlen(places[i].name))) i++;
        if (i == n) out[used++] = *prompt++;
        else {
            memcpy(out + used, places[i].text, strlen(places[i].text));
            used += strlen(places[i].text);
            prompt += strlen(places[i].name);
        }
    }
    while (used > 0 && out[used - 1] == '\n') out[--used] = 0; /* a file's last line end is not part of what is said */
    return out;
}

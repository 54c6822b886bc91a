/* prompt_text.h - what text models are asked: texts with places such as {answer}, in files or carried by the program (configs/prompts). */
#ifndef RLAIFV_ENGINE_PROMPT_TEXT_H
#define RLAIFV_ENGINE_PROMPT_TEXT_H

#include "base/error.h"

enum { PROMPT_TEXT_MOST = 64 << 10 }; /* bytes of a prompt's file */

/* The text of a file, or, path NULL or empty, the built-in one. malloc'd. Refuses NUL bytes and files that are too long. */
int prompt_text_load(char **out, const char *path, const char *builtin, Error *e);
/* Refuses a text in which the place `needed` does not stand once, or `allowed` (may be NULL) more than once. use: what the prompt is for,
 * `where`: its file. */
int prompt_text_check(const char *text, const char *use, const char *where, const char *needed, const char *allowed, Error *e);

typedef struct PromptPlace {
    const char *name, *text;
} PromptPlace;
/* The prompt with its places filled, without line ends at its end; text that is put in is not searched for places. malloc'd; NULL when
 * memory is out. */
char *prompt_text_fill(const char *prompt, const PromptPlace *places, int n, Error *e);

#endif

/* correct.c - owns what a person who sees the scene would make of an answer about it. Never fails. */
#include "engine/scenes/truth.h"

#include <stdio.h>
#include <string.h>

/* 0: what the sentence is about is not there. */
static int sentence_mend(SceneSentence *s, const Scene *scene) {
    if (s->form == SENTENCE_COUNT) return s->value = scene->count, 1;
    if (s->form == SENTENCE_BACKGROUND) return s->value = scene->background, 1;
    const SceneObject *o = scene_find(scene, s->kind);
    if (!o) return 0;
    if (s->size >= 0) s->size = o->size;
    if (s->colour >= 0) s->colour = o->colour;
    if (s->cell >= 0) s->cell = o->cell;
    return 1;
}

int truth_correct(const Scene *scene, const char *answer, char *out, size_t size) {
    const char *cursor = answer, *text;
    size_t n, at = 0;
    int changed = 0;
    out[0] = 0;
    while (sentence_next(&cursor, &text, &n)) {
        SceneSentence s;
        char mended[SENTENCE_TEXT];
        if (!sentence_parse(text, n, &s) || !sentence_mend(&s, scene)) {
            changed = 1;
            continue;
        }
        sentence_write(&s, mended);
        changed |= strlen(mended) != n || memcmp(mended, text, n) != 0;
        if (strstr(out, mended)) { /* said already */
            changed = 1;
            continue;
        }
        if (at + strlen(mended) + 2 > size) break;
        at += (size_t)snprintf(out + at, size - at, "%s%s", at ? " " : "", mended);
    }
    return changed && at > 0;
}

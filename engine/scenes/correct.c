/* correct.c - owns what a person who sees the scene would make of an answer about it. Never fails. */
#include "engine/scenes/truth.h"

#include <stdio.h>
#include <string.h>

/* An object that nothing is said of yet; NULL: there is none. */
static const SceneObject *object_left(const Scene *scene, unsigned named) {
    for (int i = 0; i < scene->count; i++)
        if (!(named & 1u << scene->objects[i].kind)) return &scene->objects[i];
    return NULL;
}

/* *named: kinds that are spoken of. 0: what the sentence is about is not there, and nothing else is left to say. */
static int sentence_mend(SceneSentence *s, const Scene *scene, unsigned *named) {
    if (s->form == SENTENCE_COUNT) return s->value = scene->count, 1;
    if (s->form == SENTENCE_BACKGROUND) return s->value = scene->background, 1;
    const SceneObject *o = scene_find(scene, s->kind);
    if (!o && !(o = object_left(scene, *named))) return 0;
    s->kind = o->kind;
    *named |= 1u << o->kind;
    if (s->size >= 0) s->size = o->size;
    if (s->colour >= 0) s->colour = o->colour;
    if (s->cell >= 0) s->cell = o->cell;
    return 1;
}

/* A sentence has SENTENCE_TEXT bytes at most, and there are no more of them than full stops. */
size_t truth_correct_size(const char *answer) {
    size_t sentences = 1;
    for (const char *p = answer; *p; p++) sentences += *p == '.';
    return sentences * (SENTENCE_TEXT + 1) + 1;
}

int truth_correct(const Scene *scene, const char *answer, char *out) {
    const char *cursor = answer, *text;
    size_t n, at = 0;
    int changed = 0;
    unsigned named = truth_kinds(answer);
    out[0] = 0;
    while (sentence_next(&cursor, &text, &n)) {
        SceneSentence s;
        char mended[SENTENCE_TEXT];
        if (!sentence_parse(text, n, &s) || !sentence_mend(&s, scene, &named)) {
            changed = 1;
            continue;
        }
        sentence_write(&s, mended);
        changed |= strlen(mended) != n || memcmp(mended, text, n) != 0;
        if (strstr(out, mended)) { /* said already */
            changed = 1;
            continue;
        }
        at += (size_t)sprintf(out + at, "%s%s", at ? " " : "", mended);
    }
    return changed && at > 0;
}

/* sentence.c - writes and parses the English of the built-in world.
 *
 * Owns every form of words; callers hold structs. The parser works on words and refuses anything the writer would not have written: other
 * case, other order, other or missing punctuation, two spaces. Strictness is part of the method: text that is nearly a sentence would
 * otherwise state nothing that could be judged false, and so be rewarded. */
#include "engine/scenes/sentence.h"

#include <stdio.h>
#include <string.h>

const char *const scene_counts[SCENE_COUNTS] = { "zero", "one", "two", "three", "four", "five", "six" };

int sentence_is_object(const SceneSentence *s) { return s->form <= SENTENCE_IS_IN; }

void sentence_write(const SceneSentence *s, char out[SENTENCE_TEXT]) {
    if (s->form == SENTENCE_COUNT) {
        snprintf(out, SENTENCE_TEXT, "There are %s objects.", scene_counts[s->value]);
        return;
    }
    if (s->form == SENTENCE_BACKGROUND) {
        snprintf(out, SENTENCE_TEXT, "The background is %s.", scene_backgrounds[s->value]);
        return;
    }
    static const char *const opening[] = { "There is a", "I can see a", "A" };
    snprintf(out, SENTENCE_TEXT, "%s%s%s%s%s %s%s%s%s.", opening[s->form], s->size < 0 ? "" : " ", s->size < 0 ? "" : scene_sizes[s->size],
        s->colour < 0 ? "" : " ", s->colour < 0 ? "" : scene_colours[s->colour], scene_kinds[s->kind],
        s->form == SENTENCE_IS_IN ? " is" : "", s->cell < 0 ? "" : " in the ", s->cell < 0 ? "" : scene_cells[s->cell]);
}

/* ---- parsing: a line of words split by single spaces ---- */

enum { WORDS_MOST = 10 };
typedef struct Words {
    const char *text[WORDS_MOST];
    size_t size[WORDS_MOST];
    int count, at;
} Words;

/* 0 when there are no words, too many, or an empty one (a double space). */
static int words_split(const char *text, size_t size, Words *w) {
    w->count = w->at = 0;
    const char *end = text + size;
    for (;;) {
        const char *stop = memchr(text, ' ', (size_t)(end - text));
        if (!stop) stop = end;
        if (stop == text || w->count == WORDS_MOST) return 0;
        w->text[w->count] = text, w->size[w->count++] = (size_t)(stop - text);
        if (stop == end) return 1;
        text = stop + 1;
    }
}

static int words_take(Words *w, const char *word) {
    if (w->at == w->count || strlen(word) != w->size[w->at] || memcmp(word, w->text[w->at], w->size[w->at])) return 0;
    return w->at++, 1;
}

/* Takes one of `n` words and returns its index, or takes nothing and returns -1. */
static int words_take_of(Words *w, const char *const *words, int n) {
    for (int i = 0; i < n; i++)
        if (words_take(w, words[i])) return i;
    return -1;
}

static int words_done(const Words *w) { return w->at == w->count; }

/* "a b c" in order, or nothing. */
static int words_take_all(Words *w, const char *const *words, int n) {
    int at = w->at;
    for (int i = 0; i < n; i++)
        if (!words_take(w, words[i])) return w->at = at, 0;
    return 1;
}
#define WORDS_TAKE(w, ...) words_take_all(w, (const char *const[]){ __VA_ARGS__ }, sizeof(char *[]){ __VA_ARGS__ } / sizeof(char *))

int sentence_parse(const char *text, size_t size, SceneSentence *out) {
    Words w;
    if (!size || text[size - 1] != '.' || !words_split(text, size - 1, &w)) return 0;
    SceneSentence s = { .kind = -1, .size = -1, .colour = -1, .cell = -1, .value = -1 };
    if (WORDS_TAKE(&w, "There", "are")) {
        s.form = SENTENCE_COUNT, s.value = words_take_of(&w, scene_counts, SCENE_COUNTS);
        if (s.value < 0 || !WORDS_TAKE(&w, "objects")) return 0;
    } else if (WORDS_TAKE(&w, "The", "background", "is")) {
        s.form = SENTENCE_BACKGROUND, s.value = words_take_of(&w, scene_backgrounds, SCENE_BACKGROUNDS);
        if (s.value < 0) return 0;
    } else {
        if (WORDS_TAKE(&w, "There", "is", "a")) s.form = SENTENCE_THERE_IS;
        else if (WORDS_TAKE(&w, "I", "can", "see", "a")) s.form = SENTENCE_I_SEE;
        else if (WORDS_TAKE(&w, "A")) s.form = SENTENCE_IS_IN;
        else return 0;
        s.size = words_take_of(&w, scene_sizes, SCENE_SIZES);
        s.colour = words_take_of(&w, scene_colours, SCENE_COLOURS);
        s.kind = words_take_of(&w, scene_kinds, SCENE_KINDS);
        if (s.kind < 0 || (s.form == SENTENCE_IS_IN && !WORDS_TAKE(&w, "is"))) return 0;
        if (WORDS_TAKE(&w, "in", "the")) {
            s.cell = words_take_of(&w, scene_cells, SCENE_CELLS);
            if (s.cell < 0) return 0;
        } else if (s.form == SENTENCE_IS_IN) return 0;
    }
    if (!words_done(&w)) return 0;
    *out = s;
    return 1;
}

int sentence_facts(const SceneSentence *s, SceneFact out[SENTENCE_FACTS_MOST]) {
    if (s->form == SENTENCE_COUNT) return out[0] = (SceneFact){ FACT_COUNT, -1, s->value }, 1;
    if (s->form == SENTENCE_BACKGROUND) return out[0] = (SceneFact){ FACT_BACKGROUND, -1, s->value }, 1;
    int n = 0;
    out[n++] = (SceneFact){ FACT_EXISTS, s->kind, -1 };
    if (s->size >= 0) out[n++] = (SceneFact){ FACT_SIZE, s->kind, s->size };
    if (s->colour >= 0) out[n++] = (SceneFact){ FACT_COLOUR, s->kind, s->colour };
    if (s->cell >= 0) out[n++] = (SceneFact){ FACT_POSITION, s->kind, s->cell };
    return n;
}

static int is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

int sentence_next(const char **cursor, const char **text, size_t *size) {
    const char *p = *cursor;
    while (is_space(*p)) p++;
    const char *end = strchr(p, '.');
    end = end ? end + 1 : p + strlen(p);
    *cursor = end;
    while (end > p && is_space(end[-1])) end--;
    *text = p, *size = (size_t)(end - p);
    return end > p;
}

/* ---- facts ---- */

const char *fact_word(const SceneFact *f) {
    switch (f->about) {
    case FACT_COLOUR:
        return scene_colours[f->value];
    case FACT_SIZE:
        return scene_sizes[f->value];
    case FACT_POSITION:
        return scene_cells[f->value];
    case FACT_COUNT:
        return scene_counts[f->value];
    case FACT_BACKGROUND:
        return scene_backgrounds[f->value];
    default:
        return "";
    }
}

void fact_claim(const SceneFact *f, char out[SENTENCE_TEXT]) {
    const char *word = fact_word(f);
    switch (f->about) {
    case FACT_EXISTS:
        snprintf(out, SENTENCE_TEXT, "There is a %s.", scene_kinds[f->kind]);
        break;
    case FACT_POSITION:
        snprintf(out, SENTENCE_TEXT, "The %s is in the %s.", scene_kinds[f->kind], word);
        break;
    case FACT_COUNT:
        snprintf(out, SENTENCE_TEXT, "There are %s objects.", word);
        break;
    case FACT_BACKGROUND:
        snprintf(out, SENTENCE_TEXT, "The background is %s.", word);
        break;
    default:
        snprintf(out, SENTENCE_TEXT, "The %s is %s.", scene_kinds[f->kind], word);
    }
}

void fact_question(const SceneFact *f, char out[SENTENCE_TEXT]) {
    const char *word = fact_word(f);
    switch (f->about) {
    case FACT_EXISTS:
        snprintf(out, SENTENCE_TEXT, "Is there a %s?", scene_kinds[f->kind]);
        break;
    case FACT_POSITION:
        snprintf(out, SENTENCE_TEXT, "Is the %s in the %s?", scene_kinds[f->kind], word);
        break;
    case FACT_COUNT:
        snprintf(out, SENTENCE_TEXT, "Are there %s objects?", word);
        break;
    case FACT_BACKGROUND:
        snprintf(out, SENTENCE_TEXT, "Is the background %s?", word);
        break;
    default:
        snprintf(out, SENTENCE_TEXT, "Is the %s %s?", scene_kinds[f->kind], word);
    }
}

int fact_from_question(const char *question, SceneFact *out) {
    Words w;
    size_t size = strlen(question);
    if (!size || question[size - 1] != '?' || !words_split(question, size - 1, &w)) return 0;
    SceneFact f = { FACT_EXISTS, -1, -1 };
    if (WORDS_TAKE(&w, "Is", "there", "a")) {
        if ((f.kind = words_take_of(&w, scene_kinds, SCENE_KINDS)) < 0) return 0;
    } else if (WORDS_TAKE(&w, "Are", "there")) {
        f.about = FACT_COUNT, f.value = words_take_of(&w, scene_counts, SCENE_COUNTS);
        if (f.value < 0 || !WORDS_TAKE(&w, "objects")) return 0;
    } else if (WORDS_TAKE(&w, "Is", "the", "background")) {
        f.about = FACT_BACKGROUND, f.value = words_take_of(&w, scene_backgrounds, SCENE_BACKGROUNDS);
        if (f.value < 0) return 0;
    } else if (WORDS_TAKE(&w, "Is", "the")) {
        if ((f.kind = words_take_of(&w, scene_kinds, SCENE_KINDS)) < 0) return 0;
        if (WORDS_TAKE(&w, "in", "the")) f.about = FACT_POSITION, f.value = words_take_of(&w, scene_cells, SCENE_CELLS);
        else if ((f.value = words_take_of(&w, scene_colours, SCENE_COLOURS)) >= 0) f.about = FACT_COLOUR;
        else f.about = FACT_SIZE, f.value = words_take_of(&w, scene_sizes, SCENE_SIZES);
        if (f.value < 0) return 0;
    } else return 0;
    if (!words_done(&w)) return 0;
    *out = f;
    return 1;
}

int fact_holds(const SceneFact *f, const Scene *s) {
    const SceneObject *o = f->kind >= 0 ? scene_find(s, f->kind) : NULL;
    switch (f->about) {
    case FACT_EXISTS:
        return o != NULL;
    case FACT_COLOUR:
        return o && o->colour == f->value;
    case FACT_SIZE:
        return o && o->size == f->value;
    case FACT_POSITION:
        return o && o->cell == f->value;
    case FACT_COUNT:
        return s->count == f->value;
    default:
        return s->background == f->value;
    }
}

/* language.c - draws captions and questions about a scene.
 *
 * Owns the chances with which things are said and asked. Words and forms are sentence.c's. Never fails: every draw has an answer. */
#include "engine/scenes/language.h"

#include <stdio.h>
#include <string.h>

const char *const scene_instructions[SCENE_INSTRUCTIONS] = { "Describe the image in detail.", "What is in this image?",
    "Tell me what you see.", "Please describe this picture thoroughly." };
const SceneNoise scene_noise_none = { 0 };
const SceneNoise scene_noise_default = { .partner = .85, .colour = .35, .position = .12, .count = .25 };

/* Chances that something is said in a caption. */
#define SAY_COUNT .4
#define SAY_BACKGROUND .3
#define SAY_OBJECT .92
#define SAY_SIZE .5
#define SAY_COLOUR .85
#define SAY_POSITION .7
#define FORM_THERE_IS .45
#define FORM_I_SEE .25 /* the rest: SENTENCE_IS_IN */

/* Chances of what is asked, in the order of FactAbout; positions are the hardest to learn. */
static const double ask_about[FACT_ABOUTS] = { .18, .18, .16, .33, .10, .05 };
#define ASK_PARTNER .5             /* of absent kinds: one whose partner is present */
#define ASK_ATTRIBUTE_OF_ABSENT .3 /* of false attributes: of a kind that is not there */

typedef enum OpenAbout { OPEN_WHERE, OPEN_COLOUR, OPEN_SIZE, OPEN_WHAT, OPEN_COUNT, OPEN_ABOUTS } OpenAbout;
static const double ask_open[OPEN_ABOUTS] = { .30, .20, .15, .25, .10 };
#define ASK_NONE .2 /* of open questions about a kind or a cell: one that is not there, or empty */

static int chance(Rng *rng, double p) { return rng_uniform(rng) < p; }

static int weighted(Rng *rng, const double *weights, int n) {
    double u = rng_uniform(rng);
    for (int i = 0; i < n - 1; i++) {
        if (u < weights[i]) return i;
        u -= weights[i];
    }
    return n - 1;
}

/* One of n values other than `not`. */
static int other_than(Rng *rng, int n, int not ) {
    int v = (int)rng_below(rng, (uint32_t)n - 1);
    return v + (v >= not );
}

static int empty_cell(const Scene *s, Rng *rng) {
    int cells[SCENE_CELLS], n = 0;
    for (int i = 0; i < SCENE_CELLS; i++)
        if (!scene_at(s, i)) cells[n++] = i;
    return cells[rng_below(rng, (uint32_t)n)];
}

static int partner_missing(const Scene *s, int kind) { return !scene_find(s, scene_partner(kind)); }

static int absent_kind(const Scene *s, Rng *rng) {
    int kinds[SCENE_KINDS], n = 0, lone = chance(rng, ASK_PARTNER);
    for (int pass = 0; pass < 2 && !n; pass++, lone = 0) /* a scene of whole couples has no missing partner */
        for (int k = 0; k < SCENE_KINDS; k++)
            if (!scene_find(s, k) && (!lone || !partner_missing(s, k))) kinds[n++] = k;
    return kinds[rng_below(rng, (uint32_t)n)];
}

/* ---- captions ---- */

/* How `o` is described, before any noise. */
static SceneSentence object_sentence(const SceneObject *o, unsigned forms, Rng *rng) {
    SceneSentence s = { .kind = o->kind, .size = -1, .colour = -1, .cell = -1, .value = -1 };
    do {
        double form = rng_uniform(rng);
        s.form = form < FORM_THERE_IS ? SENTENCE_THERE_IS : form < FORM_THERE_IS + FORM_I_SEE ? SENTENCE_I_SEE : SENTENCE_IS_IN;
    } while (forms && !(forms & 1u << s.form));
    if (chance(rng, SAY_SIZE)) s.size = o->size;
    if (chance(rng, SAY_COLOUR)) s.colour = o->colour;
    if (chance(rng, SAY_POSITION) || s.form == SENTENCE_IS_IN) s.cell = o->cell;
    return s;
}

static int sentence_spoil(SceneSentence *s, const SceneNoise *noise, Rng *rng) {
    int planted = 0;
    if (s->colour >= 0 && chance(rng, noise->colour)) {
        planted += s->colour != scene_typical(s->kind);
        s->colour = scene_typical(s->kind);
    }
    if (s->cell >= 0 && chance(rng, noise->position)) s->cell = other_than(rng, SCENE_CELLS, s->cell), planted++;
    return planted;
}

void caption_draw(const Scene *s, const SceneNoise *noise, unsigned forms, Rng *rng, SceneCaption *out) {
    memset(out, 0, sizeof *out);
    out->absent_kind = -1;
    if (chance(rng, SAY_COUNT)) {
        int more = chance(rng, noise->count);
        out->sentences[out->count++] = (SceneSentence){ SENTENCE_COUNT, -1, -1, -1, -1, s->count + more };
        out->false_facts += more;
    }
    int order[SCENE_OBJECTS_MOST], said = 0, lone_seen = 0;
    for (int i = 0; i < s->count; i++) {
        int j = (int)rng_below(rng, (uint32_t)i + 1);
        order[i] = order[j], order[j] = i;
    }
    for (int i = 0; i < s->count; i++) {
        const SceneObject *o = &s->objects[order[i]];
        int last_chance = i == s->count - 1 && !said; /* a description names something */
        if (!chance(rng, SAY_OBJECT) && !last_chance) continue;
        said++;
        SceneSentence *sentence = &out->sentences[out->count++];
        *sentence = object_sentence(o, forms, rng);
        out->false_facts += sentence_spoil(sentence, noise, rng);
        if (lone_seen || !partner_missing(s, o->kind)) continue;
        lone_seen = 1;
        if (!chance(rng, noise->partner)) continue;
        SceneObject ghost = { .kind = scene_partner(o->kind), .size = (int)rng_below(rng, SCENE_SIZES), .cell = empty_cell(s, rng) };
        ghost.colour = scene_colour_draw(ghost.kind, rng);
        sentence = &out->sentences[out->count++];
        *sentence = object_sentence(&ghost, forms, rng);
        SceneFact facts[SENTENCE_FACTS_MOST];
        out->absent_kind = ghost.kind;
        out->false_facts += sentence_facts(sentence, facts);
    }
    if (chance(rng, SAY_BACKGROUND) && out->count < CAPTION_SENTENCES_MOST)
        out->sentences[out->count++] = (SceneSentence){ SENTENCE_BACKGROUND, -1, -1, -1, -1, s->background };
}

void caption_write(const SceneCaption *c, char out[CAPTION_TEXT]) {
    size_t at = 0;
    for (int i = 0; i < c->count; i++) {
        char sentence[SENTENCE_TEXT];
        sentence_write(&c->sentences[i], sentence);
        at += (size_t)snprintf(out + at, CAPTION_TEXT - at, "%s%s", i ? " " : "", sentence);
    }
}

/* ---- questions ---- */

const char *instruction_draw(Rng *rng) { return scene_instructions[rng_below(rng, SCENE_INSTRUCTIONS)]; }

static int object_value(const SceneObject *o, FactAbout about) {
    return about == FACT_COLOUR ? o->colour : about == FACT_SIZE ? o->size : o->cell;
}

int question_draw(const Scene *s, Rng *rng, SceneFact *out) {
    static const int values[FACT_ABOUTS] = { [FACT_COLOUR] = SCENE_COLOURS, [FACT_SIZE] = SCENE_SIZES, [FACT_POSITION] = SCENE_CELLS };
    SceneFact f = { (FactAbout)weighted(rng, ask_about, FACT_ABOUTS), -1, -1 };
    int truth = chance(rng, .5);
    const SceneObject *o = &s->objects[rng_below(rng, (uint32_t)s->count)];
    switch (f.about) {
    case FACT_EXISTS:
        f.kind = truth ? o->kind : absent_kind(s, rng);
        break;
    case FACT_COUNT: { /* false: mostly one too many, as captions have it */
        int most = SCENE_OBJECTS_MOST + 1, least = SCENE_OBJECTS_LEAST;
        f.value = truth ? s->count : chance(rng, .5) ? s->count + 1 : least + other_than(rng, most - least + 1, s->count - least);
        break;
    }
    case FACT_BACKGROUND:
        f.value = truth ? s->background : other_than(rng, SCENE_BACKGROUNDS, s->background);
        break;
    default:
        if (!truth && chance(rng, ASK_ATTRIBUTE_OF_ABSENT)) {
            f.kind = absent_kind(s, rng);
            f.value = f.about == FACT_COLOUR ? scene_colour_draw(f.kind, rng) : (int)rng_below(rng, (uint32_t)values[f.about]);
            break;
        }
        f.kind = o->kind, f.value = object_value(o, f.about);
        if (truth) break;
        int typical = scene_typical(o->kind);
        if (f.about == FACT_COLOUR && typical != o->colour && chance(rng, .5)) f.value = typical;
        else f.value = other_than(rng, values[f.about], f.value);
    }
    *out = f;
    return truth;
}

void open_question_draw(const Scene *s, Rng *rng, char question[SENTENCE_TEXT], char answer[ANSWER_WORD]) {
    OpenAbout about = (OpenAbout)weighted(rng, ask_open, OPEN_ABOUTS);
    int none = about != OPEN_COUNT && chance(rng, ASK_NONE);
    const SceneObject *o = &s->objects[rng_below(rng, (uint32_t)s->count)];
    const char *kind = scene_kinds[none && about != OPEN_WHAT ? absent_kind(s, rng) : o->kind], *word = "none";
    switch (about) {
    case OPEN_WHERE:
        snprintf(question, SENTENCE_TEXT, "Where is the %s?", kind), word = none ? word : scene_cells[o->cell];
        break;
    case OPEN_COLOUR:
        snprintf(question, SENTENCE_TEXT, "What color is the %s?", kind), word = none ? word : scene_colours[o->colour];
        break;
    case OPEN_SIZE:
        snprintf(question, SENTENCE_TEXT, "What size is the %s?", kind), word = none ? word : scene_sizes[o->size];
        break;
    case OPEN_WHAT:
        snprintf(question, SENTENCE_TEXT, "What is in the %s?", scene_cells[none ? empty_cell(s, rng) : o->cell]),
            word = none ? word : kind;
        break;
    default:
        snprintf(question, SENTENCE_TEXT, "How many objects are there?"), word = scene_counts[s->count];
    }
    snprintf(answer, ANSWER_WORD, "%s", word);
}

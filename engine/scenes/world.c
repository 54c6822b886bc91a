/* world.c - draws scenes, paints them, and turns them into JSON and back.
 *
 * Owns the world's words, priors and shapes. Shapes are exact predicates on a point relative to the object's centre, painted by averaging
 * 4x4 samples per pixel. No function of the mathematics library with room for rounding is used (noise is a sum of bytes, near enough to a
 * Gaussian), so a picture is the same under every compiler and library that does not fuse multiplications and additions.
 * Refuses truth rows that could not have come from scene_draw. */
#include "engine/scenes/world.h"

#include "base/json.h"

#include <math.h>
#include <string.h>

const char *const scene_kinds[SCENE_KINDS] = { "ball", "box", "cone", "tree", "star", "moon", "ring", "cross" };
const char *const scene_colours[SCENE_COLOURS] = { "red", "green", "blue", "yellow", "purple", "white" };
const char *const scene_sizes[SCENE_SIZES] = { "small", "large" };
const char *const scene_cells[SCENE_CELLS] = { "northwest", "north", "northeast", "west", "center", "east", "southwest", "south",
    "southeast" };
const char *const scene_backgrounds[SCENE_BACKGROUNDS] = { "black", "gray", "brown" };

enum { BALL, BOX, CONE, TREE, STAR, MOON, RING, CROSS };
enum { RED, GREEN, BLUE, YELLOW, PURPLE, WHITE };

static const int typical_colour[SCENE_KINDS] = { RED, BLUE, PURPLE, GREEN, YELLOW, WHITE, YELLOW, RED };
static const unsigned char colour_rgb[SCENE_COLOURS][3] = { { 220, 38, 40 }, { 36, 190, 62 }, { 48, 92, 232 }, { 236, 206, 40 },
    { 182, 50, 216 }, { 240, 240, 240 } };
static const unsigned char background_rgb[SCENE_BACKGROUNDS][3] = { { 20, 20, 25 }, { 110, 110, 115 }, { 120, 80, 45 } };
static const double size_radius[SCENE_SIZES] = { 4.2, 7.0 };

#define COUNT_STEPS                                                                                                                        \
    { .2, .5, .8, 1 } /* running sum of the chances of 2, 3, 4 and 5 objects */
#define PARTNER_CHANCE .5
#define TYPICAL_CHANCE .4
#define JITTER 2.0
#define BRIGHT_LEAST .8
#define BRIGHT_MOST 1.05
#define NOISE_SIGMA 8.0

enum { PURPOSE_BITS = 3, SAMPLES = 4 };

Rng scene_rng(uint64_t seed, uint64_t index, ScenePurpose purpose) {
    return (Rng){ .seed = seed, .stream = index << PURPOSE_BITS | (uint64_t)purpose, .counter = 0 };
}

int scene_partner(int kind) { return kind ^ 1; } /* the table of kinds lists partners side by side */
int scene_typical(int kind) { return typical_colour[kind]; }

int scene_colour_draw(int kind, Rng *rng) {
    return rng_uniform(rng) < TYPICAL_CHANCE ? typical_colour[kind] : (int)rng_below(rng, SCENE_COLOURS);
}

void scene_draw(Scene *s, Rng *rng) {
    static const double steps[] = COUNT_STEPS;
    double u = rng_uniform(rng);
    int count = SCENE_OBJECTS_LEAST;
    while (u >= steps[count - SCENE_OBJECTS_LEAST]) count++;
    int kinds[SCENE_KINDS], cells[SCENE_CELLS], kinds_left = SCENE_KINDS, cells_left = SCENE_CELLS, partner_due = -1;
    for (int i = 0; i < SCENE_KINDS; i++) kinds[i] = i;
    for (int i = 0; i < SCENE_CELLS; i++) cells[i] = i;
    memset(s, 0, sizeof *s);
    while (s->count < count) {
        int at = (int)rng_below(rng, (uint32_t)kinds_left);
        if (partner_due >= 0)
            for (at = 0; kinds[at] != partner_due; at++) {}
        SceneObject *o = &s->objects[s->count++];
        o->kind = kinds[at];
        kinds[at] = kinds[--kinds_left];
        int cell = (int)rng_below(rng, (uint32_t)cells_left);
        o->cell = cells[cell];
        cells[cell] = cells[--cells_left];
        o->colour = scene_colour_draw(o->kind, rng);
        o->size = (int)rng_below(rng, SCENE_SIZES);
        partner_due = !scene_find(s, scene_partner(o->kind)) && rng_uniform(rng) < PARTNER_CHANCE ? scene_partner(o->kind) : -1;
    }
    s->background = (int)rng_below(rng, SCENE_BACKGROUNDS);
}

/* ---- shapes: is the point (x right, y down, in radii from the centre) inside? ---- */

static int star_holds(double x, double y) {
    /* Five lines through alternate tips; a point is in the star when it is inside at least four of the five half-planes. */
    static const double normal[5][2] = { { 0, -1 }, { .9510565162951536, -.3090169943749474 }, { .5877852522924731, .8090169943749475 },
        { -.5877852522924731, .8090169943749475 }, { -.9510565162951536, -.3090169943749474 } };
    const double reach = .35; /* .309 for tips on the circle; they are thin, so they go 13 % beyond */
    int inside = 0;
    for (int i = 0; i < 5; i++) inside += x * normal[i][0] + y * normal[i][1] <= reach;
    return inside >= 4;
}

static int shape_holds(int kind, double x, double y) {
    double ax = x < 0 ? -x : x, ay = y < 0 ? -y : y, rr = x * x + y * y;
    switch (kind) {
    case BALL:
        return rr <= 1;
    case BOX:
        return ax <= .88 && ay <= .88;
    case CONE:
        return y >= -1 && y <= .84 && ax <= (y + 1) * .5;
    case TREE:
        return (y >= -1 && y <= .3 && ax <= (y + 1) * .75) || (ax <= .22 && y >= 0 && y <= 1);
    case STAR:
        return star_holds(x, y);
    case MOON:
        return rr <= 1 && (x - .55) * (x - .55) + y * y > .62;
    case RING:
        return rr <= 1 && rr >= .4;
    default:
        return (ax <= .29 && ay <= 1) || (ay <= .29 && ax <= 1); /* CROSS */
    }
}

static void object_paint(const SceneObject *o, Rng *rng, float *canvas) {
    double radius = size_radius[o->size];
    double cx = (o->cell % SCENE_GRID + .5) * SCENE_CELL + (rng_uniform(rng) * 2 - 1) * JITTER;
    double cy = (o->cell / SCENE_GRID + .5) * SCENE_CELL + (rng_uniform(rng) * 2 - 1) * JITTER;
    double bright = BRIGHT_LEAST + rng_uniform(rng) * (BRIGHT_MOST - BRIGHT_LEAST);
    /* A star's tips reach 13 % beyond the radius. */
    int x0 = (int)floor(cx - radius * 1.14), x1 = (int)floor(cx + radius * 1.14), y0 = (int)floor(cy - radius * 1.14),
        y1 = (int)floor(cy + radius * 1.14);
    if (x0 < 0) x0 = 0;
    if (y0 < 0) y0 = 0;
    if (x1 >= SCENE_SIDE) x1 = SCENE_SIDE - 1;
    if (y1 >= SCENE_SIDE) y1 = SCENE_SIDE - 1;
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
            int hits = 0;
            for (int k = 0; k < SAMPLES * SAMPLES; k++) {
                double px = x + (k % SAMPLES + .5) / SAMPLES, py = y + (k / SAMPLES + .5) / SAMPLES;
                hits += shape_holds(o->kind, (px - cx) / radius, (py - cy) / radius);
            }
            float cover = (float)hits / (SAMPLES * SAMPLES), *p = canvas + (y * SCENE_SIDE + x) * 3;
            for (int c = 0; c < 3; c++) p[c] += cover * ((float)(colour_rgb[o->colour][c] * bright) - p[c]);
        }
}

/* A sum of eight uniform bytes less its mean, scaled to standard deviation 1. */
static float noise_of(uint32_t a, uint32_t b) {
    int sum = 0;
    for (int i = 0; i < 32; i += 8) sum += (int)(a >> i & 255) + (int)(b >> i & 255);
    const float deviation = 209.0223f; /* sqrt(8 (256^2 - 1) / 12) */
    return ((float)sum - 1020.0f) / deviation;
}

static unsigned char level_of(float v) { return v <= 0 ? 0 : v >= 255 ? 255 : (unsigned char)(v + .5f); }

void scene_render(const Scene *s, Rng *rng, unsigned char *rgb) {
    float canvas[SCENE_BYTES];
    for (int i = 0; i < SCENE_BYTES; i++) canvas[i] = background_rgb[s->background][i % 3];
    for (int i = 0; i < s->count; i++) object_paint(&s->objects[i], rng, canvas);
    for (int i = 0; i < SCENE_BYTES; i += 2) {
        uint64_t n = rng->counter++;
        Philox p = philox4x32((uint32_t)n, (uint32_t)(n >> 32), (uint32_t)rng->stream, (uint32_t)(rng->stream >> 32), (uint32_t)rng->seed,
            (uint32_t)(rng->seed >> 32));
        rgb[i] = level_of(canvas[i] + (float)NOISE_SIGMA * noise_of(p.v[0], p.v[1]));
        rgb[i + 1] = level_of(canvas[i + 1] + (float)NOISE_SIGMA * noise_of(p.v[2], p.v[3]));
    }
}

void scene_make(uint64_t seed, uint64_t index, Scene *s, unsigned char *rgb) {
    Rng world = scene_rng(seed, index, SCENE_FOR_WORLD), pixels = scene_rng(seed, index, SCENE_FOR_PIXELS);
    scene_draw(s, &world);
    if (rgb) scene_render(s, &pixels, rgb);
}

const SceneObject *scene_find(const Scene *s, int kind) {
    for (int i = 0; i < s->count; i++)
        if (s->objects[i].kind == kind) return &s->objects[i];
    return NULL;
}

const SceneObject *scene_at(const Scene *s, int cell) {
    for (int i = 0; i < s->count; i++)
        if (s->objects[i].cell == cell) return &s->objects[i];
    return NULL;
}

/* ---- truth as JSON ---- */

json_t *scene_to_json(const Scene *s) {
    json_t *objects = json_array();
    for (int i = 0; i < s->count; i++) {
        const SceneObject *o = &s->objects[i];
        json_array_append_new(objects, json_pack("{s:s, s:s, s:s, s:s}", "kind", scene_kinds[o->kind], "color", scene_colours[o->colour],
                                           "size", scene_sizes[o->size], "position", scene_cells[o->cell]));
    }
    return json_pack("{s:s, s:o}", "background", scene_backgrounds[s->background], "objects", objects);
}

static int word_need(const json_t *object, const char *key, const char *where, const char *const *words, int n, int *out, Error *e) {
    const char *word;
    if (json_need_string(object, key, where, &word, e)) return -1;
    for (int i = 0; i < n; i++)
        if (!strcmp(words[i], word)) return *out = i, 0;
    error_what(e, "\"%s\" is not a word of the world", key), error_where(e, "%s", where), error_found(e, "\"%s\"", word);
    const char *near = nearest_name(word, words, (size_t)n);
    if (near) error_hint(e, "did you mean \"%s\"?", near);
    return -1;
}

int scene_from_json(const json_t *truth, const char *where, Scene *s, Error *e) {
    memset(s, 0, sizeof *s);
    if (!json_is_object(truth))
        return error_what(e, "the truth of a scene is not an object"), error_where(e, "%s", where), error_found(e, "%s", json_kind(truth)),
               error_expected(e, "{background, objects}");
    if (word_need(truth, "background", where, scene_backgrounds, SCENE_BACKGROUNDS, &s->background, e)) return -1;
    const json_t *objects = json_object_get(truth, "objects");
    size_t n = json_array_size(objects);
    if (n < SCENE_OBJECTS_LEAST || n > SCENE_OBJECTS_MOST)
        return error_what(e, "wrong number of objects in a scene"), error_where(e, "%s", where), error_found(e, "%zu", n),
               error_expected(e, "an array of %d to %d", SCENE_OBJECTS_LEAST, SCENE_OBJECTS_MOST);
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(objects, i);
        SceneObject o = { 0 };
        if (word_need(row, "kind", where, scene_kinds, SCENE_KINDS, &o.kind, e) ||
            word_need(row, "color", where, scene_colours, SCENE_COLOURS, &o.colour, e) ||
            word_need(row, "size", where, scene_sizes, SCENE_SIZES, &o.size, e) ||
            word_need(row, "position", where, scene_cells, SCENE_CELLS, &o.cell, e))
            return -1;
        if (scene_find(s, o.kind) || scene_at(s, o.cell))
            return error_what(e, "two objects of one kind or in one cell"), error_where(e, "%s", where),
                   error_found(e, "a second %s or a second object in the %s", scene_kinds[o.kind], scene_cells[o.cell]);
        s->objects[s->count++] = o;
    }
    return 0;
}

/* world.h - the built-in world: what a scene is, how one is drawn at random, and its picture.
 *
 * A scene is a 3x3 grid of 16-pixel cells holding two to five objects of distinct kinds in distinct cells before a plain background. It is
 * a pure function of (seed, index): the streams below name what each draw is for, so that asking for captions never moves a picture. */
#ifndef RLAIFV_ENGINE_SCENES_WORLD_H
#define RLAIFV_ENGINE_SCENES_WORLD_H

#include "base/error.h"
#include "base/philox.h"

#include <jansson.h>

enum {
    SCENE_CELL = 16, /* pixels; also the patch of the demo's vision tower, so a cell is an image token */
    SCENE_GRID = 3,
    SCENE_CELLS = SCENE_GRID * SCENE_GRID,
    SCENE_SIDE = SCENE_GRID * SCENE_CELL,
    SCENE_BYTES = SCENE_SIDE * SCENE_SIDE * 3,
    SCENE_KINDS = 8,
    SCENE_COLOURS = 6,
    SCENE_SIZES = 2,
    SCENE_BACKGROUNDS = 3,
    SCENE_OBJECTS_LEAST = 2,
    SCENE_OBJECTS_MOST = 5,
};

/* The words of the world, by value. Cells are numbered along rows from the top left. */
extern const char *const scene_kinds[SCENE_KINDS], *const scene_colours[SCENE_COLOURS], *const scene_sizes[SCENE_SIZES];
extern const char *const scene_cells[SCENE_CELLS], *const scene_backgrounds[SCENE_BACKGROUNDS];

typedef struct SceneObject {
    int kind, colour, size, cell;
} SceneObject;

typedef struct Scene {
    int count, background;
    SceneObject objects[SCENE_OBJECTS_MOST];
} Scene;

/* What a stream of random numbers is for; scene_rng(seed, index, purpose) starts it. */
typedef enum ScenePurpose { SCENE_FOR_WORLD, SCENE_FOR_PIXELS, SCENE_FOR_PROMPT, SCENE_FOR_TURNS } ScenePurpose;
Rng scene_rng(uint64_t seed, uint64_t index, ScenePurpose purpose);

int scene_partner(int kind);               /* the kind that tends to come with this one; the relation is mutual */
int scene_typical(int kind);               /* the colour this kind tends to have */
int scene_colour_draw(int kind, Rng *rng); /* the world's own distribution: typical with p .4, else uniform */

void scene_draw(Scene *s, Rng *rng);
/* rgb (SCENE_SIDE, SCENE_SIDE, 3), rows from the top. */
void scene_render(const Scene *s, Rng *rng, unsigned char *rgb);
/* Scene `index` of world `seed`; rgb may be NULL. */
void scene_make(uint64_t seed, uint64_t index, Scene *s, unsigned char *rgb);

const SceneObject *scene_find(const Scene *s, int kind); /* or NULL: no object of this kind */
const SceneObject *scene_at(const Scene *s, int cell);   /* or NULL: the cell is empty */

/* {"background": "gray", "objects": [{"kind", "color", "size", "position"}]}. NULL only when memory is out. */
json_t *scene_to_json(const Scene *s);
/* Refuses words that are not of the world, wrong counts, and two objects of one kind or in one cell. `where` is "file:line". 0 or -1. */
int scene_from_json(const json_t *truth, const char *where, Scene *s, Error *e);

#endif

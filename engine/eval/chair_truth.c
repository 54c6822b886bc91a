/* chair_truth.c - owns which of COCO's classes are in a picture: those of its annotated instances and those its captions name. Refuses
 * names that the synonyms do not know, and COCO files of neither kind. */
#include "engine/eval/answers.h"
#include "engine/eval/chair.h"
#include "engine/eval/coco.h"
#include "engine/eval/out_of_memory.h"

#include <stdlib.h>

typedef struct Truth {
    ChairWords *words;
    json_t *truth, *described, *categories; /* categories: id -> class */
    int *unasked;
} Truth;

static int class_add(json_t *classes, const char *class, const char *where, Error *e) {
    return json_object_set_new(classes, class, json_true()) ? out_of_memory(where, e) : 0;
}

static int object_add(const Truth *t, json_t *classes, const json_t *name, const char *where, Error *e) {
    const char *class = json_is_string(name) ? chair_class(t->words, json_string_value(name)) : NULL;
    if (!class)
        return error_what(e, "unknown object"), error_where(e, "%s", where),
               error_found(e, "%.80s", json_is_string(name) ? json_string_value(name) : json_kind(name)),
               error_expected(e, "a name of the synonyms");
    return class_add(classes, class, where, e);
}

static int caption_add(const Truth *t, json_t *classes, const json_t *caption, const char *where, Error *e) {
    const json_t *pair;
    size_t i;
    int bad = 0;
    if (!json_is_string(caption))
        return error_what(e, "wrong type"), error_where(e, "%s", where), error_found(e, "%s", json_kind(caption)),
               error_expected(e, "a caption, which is text");
    json_t *found = chair_words_find(t->words, json_string_value(caption), e);
    if (!found) return -1;
    json_array_foreach(found, i, pair) if (!bad) bad = class_add(classes, json_string_value(json_array_get(pair, 1)), where, e);
    json_decref(found);
    return bad;
}

/* The set of classes of a row's image; NULL when it is not wanted. */
static int classes_of(const Truth *t, const json_t *row, const char *where, json_t **out, Error *e) {
    char *id;
    if (row_id(row, IDS_OF_IMAGES, 0, where, &id, e)) return -1;
    *out = json_object_get(t->truth, id);
    int bad = *out ? class_add(t->described, id, where, e) : 0;
    free(id);
    return bad;
}

/* {image_id, objects: [...], captions: [...]}; either list may be absent. */
static int light_row(void *context, const json_t *row, const char *where, Error *e) {
    const Truth *t = context;
    const json_t *objects = json_object_get(row, "objects"), *captions = json_object_get(row, "captions"), *value;
    json_t *classes;
    size_t i;
    if ((objects && !json_is_array(objects)) || (captions && !json_is_array(captions)) || (!objects && !captions))
        return error_what(e, "bad truth of an image"), error_where(e, "%s", where),
               error_expected(e, "lists objects and captions, or one of them");
    if (classes_of(t, row, where, &classes, e)) return -1;
    if (!classes) return ++*t->unasked, 0;
    json_array_foreach(objects, i, value) if (object_add(t, classes, value, where, e)) return -1;
    json_array_foreach(captions, i, value) if (caption_add(t, classes, value, where, e)) return -1;
    return 0;
}

static int category_row(void *context, const json_t *row, const char *where, Error *e) {
    const Truth *t = context;
    const char *name;
    char key[24];
    int64_t id;
    if (json_need_string(row, "name", where, &name, e) || json_need_integer(row, "id", where, 0, INT32_MAX, &id, e)) return -1;
    const char *class = chair_class(t->words, name);
    if (!class)
        return error_what(e, "unknown category"), error_where(e, "%s", where), error_found(e, "%.80s", name),
               error_expected(e, "a name of the synonyms");
    snprintf(key, sizeof key, "%lld", (long long)id);
    return json_object_set_new(t->categories, key, json_string(class)) ? out_of_memory(where, e) : 0;
}

/* An instance {image_id, category_id} or a caption {image_id, caption}. */
static int annotation_row(void *context, const json_t *row, const char *where, Error *e) {
    const Truth *t = context;
    const json_t *caption = json_object_get(row, "caption");
    json_t *classes;
    char key[24];
    int64_t id;
    if (classes_of(t, row, where, &classes, e)) return -1;
    if (!classes) return 0;
    if (caption) return caption_add(t, classes, caption, where, e);
    if (json_need_integer(row, "category_id", where, 0, INT32_MAX, &id, e)) return -1;
    snprintf(key, sizeof key, "%lld", (long long)id);
    const char *class = json_string_value(json_object_get(t->categories, key));
    if (!class)
        return error_what(e, "unknown category"), error_where(e, "%s", where), error_found(e, "%s", key),
               error_expected(e, "an id of the file's categories");
    return class_add(classes, class, where, e);
}

int chair_truth_read(const char *path, ChairWords *w, json_t *truth, json_t *described, int *unasked, Error *e) {
    Truth t = { .words = w, .truth = truth, .described = described, .categories = json_object(), .unasked = unasked };
    int coco = t.categories ? coco_has(path, "annotations", e) : out_of_memory(path, e), bad = coco < 0;
    if (coco > 0) {
        int instances = coco_has(path, "categories", e); /* captions have none */
        bad = instances < 0 || (instances && coco_each(path, "categories", NULL, category_row, &t, e)) ||
              coco_each(path, "annotations", truth, annotation_row, &t, e);
    } else if (!bad) bad = rows_each(path, light_row, &t, e);
    json_decref(t.categories);
    return bad ? -1 : 0;
}

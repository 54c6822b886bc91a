/* features.c - owns images from their files to tower features: what a path held last time, features by content, the step's device buffer.
 *
 * The key of features is the hash of the preprocessed pixels, so equal pictures under different names are encoded once, and a changed file
 * is noticed (its size or time differs, it is read again, its hash differs). Features are held in host memory in the model's dtype up to a
 * byte budget; the least recently used go first. A tower in training has no cache: every step encodes all its images and keeps what
 * backward needs. Refuses images that cannot be read (image.h says which), and more than VLM_IMAGES of them in a step. */
#include "engine/features.h"

#include "engine/prefetch.h"
#include "engine/vlm.h"

#include <assert.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    FEATURE_BUCKETS = 4096, /* power of two */
    AHEAD_THREADS = 4       /* each holds a picture at full size while it works (docs/images.md) */
};

/* What a path held when it was last read. */
typedef struct PathEntry {
    struct PathEntry *next;
    char hash[HASH_TEXT]; /* "": only its size was read so far */
    ImageLayout layout;
    struct stat file;
    char path[];
} PathEntry;

typedef struct FeatureEntry {
    struct FeatureEntry *next;          /* of its bucket */
    struct FeatureEntry *newer, *older; /* by use */
    char hash[HASH_TEXT];
    unsigned char *bytes; /* (tiles * tile_rows, W) in model dtype */
    size_t size;
} FeatureEntry;

struct FeatureCache {
    PathEntry *paths[FEATURE_BUCKETS];
    FeatureEntry *entries[FEATURE_BUCKETS];
    FeatureEntry *newest, *oldest;
    size_t held, budget;
    Buf step; /* device: the features of the current step */
    int64_t step_count;
};

FeatureCache *features_new(Error *e) {
    FeatureCache *c = mem_new(1, sizeof *c, "feature cache", e);
    if (c) c->budget = FEATURE_BUDGET;
    return c;
}

static size_t bucket_of(const char *text, size_t size) { return (size_t)hash64(text, size, 0) & (FEATURE_BUCKETS - 1); }

static void use_remove(FeatureCache *c, FeatureEntry *x) {
    *(x->newer ? &x->newer->older : &c->newest) = x->older;
    *(x->older ? &x->older->newer : &c->oldest) = x->newer;
    x->newer = x->older = NULL;
}

static void use_first(FeatureCache *c, FeatureEntry *x) {
    x->newer = NULL;
    x->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = x;
    c->newest = x;
}

static void entry_drop(FeatureCache *c, FeatureEntry *x) {
    FeatureEntry **at = &c->entries[bucket_of(x->hash, HASH_TEXT - 1)];
    while (*at != x) at = &(*at)->next;
    *at = x->next;
    use_remove(c, x);
    c->held -= x->size;
    free(x->bytes);
    free(x);
}

void features_forget(FeatureCache *c) {
    while (c->oldest) entry_drop(c, c->oldest);
}

void features_budget(FeatureCache *c, size_t bytes) {
    c->budget = bytes;
    while (c->held > c->budget) entry_drop(c, c->oldest);
}

void features_free(FeatureCache *c, const Kernels *k) {
    features_forget(c);
    for (size_t i = 0; i < FEATURE_BUCKETS; i++)
        for (PathEntry *p = c->paths[i], *next; p; p = next) {
            next = p->next;
            free(p);
        }
    features_release(c, k);
    free(c);
}

static FeatureEntry *entry_look(const FeatureCache *c, const char *hash) {
    FeatureEntry *x = c->entries[bucket_of(hash, HASH_TEXT - 1)];
    while (x && strcmp(x->hash, hash)) x = x->next;
    return x;
}

/* The same, for use: it becomes the latest used. */
static FeatureEntry *entry_find(FeatureCache *c, const char *hash) {
    FeatureEntry *x = entry_look(c, hash);
    if (x) {
        use_remove(c, x);
        use_first(c, x);
    }
    return x;
}

/* Keeps a copy of features on the device. What does not fit the budget is simply not kept. */
static int entry_keep(FeatureCache *c, const Kernels *k, const char *hash, Buf from, int64_t count, Error *e) {
    size_t size = (size_t)count * dtype_size(from.dtype);
    if (size > c->budget) return 0;
    while (c->held + size > c->budget) entry_drop(c, c->oldest);
    FeatureEntry *x = mem_new(1, sizeof *x, "feature cache", e);
    if (!x) return -1;
    x->bytes = mem_new(size, 1, "feature cache", e);
    if (!x->bytes) {
        free(x);
        return -1;
    }
    k->download(x->bytes, from, count);
    x->size = size;
    memcpy(x->hash, hash, HASH_TEXT);
    FeatureEntry **at = &c->entries[bucket_of(hash, HASH_TEXT - 1)];
    x->next = *at;
    *at = x;
    use_first(c, x);
    c->held += size;
    return 0;
}

/* ---- the step's images ---- */

void step_images_clear(StepImages *s) {
    for (int i = 0; i < s->n; i++) free(s->list[i].pixels);
    s->n = s->tiles = 0;
}

void step_images_free(StepImages *s) {
    step_images_clear(s);
    free(s->list);
    memset(s, 0, sizeof *s);
}

/* Of one tile. */
static size_t pixel_count(const Vlm *v) {
    size_t side = (size_t)v->model.config.vision.image_side;
    return 3 * side * side;
}

static int images_find(const StepImages *s, const char *hash) {
    for (int i = s->n; i-- > 0;)
        if (!strcmp(s->list[i].hash, hash)) return i;
    return -1;
}

/* Appends an image that the step does not have; takes `pixels`, also on failure. */
static int images_append(StepImages *s, const char *hash, const ImageLayout *layout, float *pixels, Error *e) {
    if (s->n >= VLM_IMAGES) {
        free(pixels);
        return error_what(e, "too many images in one step"), error_expected(e, "at most %d", VLM_IMAGES),
               error_hint(e, "use smaller batches");
    }
    if (mem_grow(&s->list, &s->cap, (size_t)s->n + 1, sizeof *s->list, "step images", e)) {
        free(pixels);
        return -1;
    }
    StepImage *x = &s->list[s->n];
    *x = (StepImage){ .pixels = pixels, .layout = *layout, .tile = s->tiles };
    memcpy(x->hash, hash, HASH_TEXT);
    s->tiles += layout->tiles;
    return s->n++;
}

/* Adds preprocessed pixels (taken, also on failure); hash (may be NULL) receives their content's, which of tiled images includes how they are read. */
static int images_take(Vlm *v, StepImages *s, const ImageLayout *layout, float *pixels, char *hash_out, Error *e) {
    char hash[HASH_TEXT];
    hash_bytes(pixels, (size_t)layout->tiles * pixel_count(v) * sizeof *pixels, hash);
    if (layout->tiles > 1) {
        char text[HASH_TEXT + 64];
        int n = snprintf(text, sizeof text, "%s %d %d %d %d", hash, layout->top, layout->left, layout->height, layout->width);
        hash_bytes(text, (size_t)n, hash);
    }
    if (hash_out) memcpy(hash_out, hash, HASH_TEXT);
    int at = images_find(s, hash);
    if (at >= 0) {
        free(pixels);
        return at;
    }
    if (!v->tower_trained && entry_find(v->features, hash)) {
        free(pixels);
        pixels = NULL;
    }
    return images_append(s, hash, layout, pixels, e);
}

static float *pixels_of(const Vlm *v, const Image *image, ImageLayout *layout, Error *e) {
    const ModelConfig *c = &v->model.config;
    *layout = image_layout(c, image->width, image->height);
    int S = c->vision.image_side;
    float *pixels = mem_new((size_t)layout->tiles * pixel_count(v), sizeof *pixels, "image pixels", e);
    if (!pixels) return NULL;
    int bad = layout->tiles > 1 ? image_tiles(image, layout->grid.down, layout->grid.across, S, c->image_mean, c->image_std, pixels, e)
                                : image_preprocess(image, (ImageAspect)v->aspect, S, c->image_mean, c->image_std, pixels, e);
    if (!bad) return pixels;
    free(pixels);
    return NULL;
}

/* ---- images of files, now or ahead ---- */

static PathEntry **path_slot(FeatureCache *c, const char *path) {
    PathEntry **slot = &c->paths[bucket_of(path, strlen(path))];
    while (*slot && strcmp((*slot)->path, path)) slot = &(*slot)->next;
    return slot;
}

static PathEntry *path_know(PathEntry **slot, const char *path, Error *e) {
    size_t size = strlen(path) + 1;
    if (*slot || !(*slot = mem_new(1, sizeof **slot + size, "image path", e))) return *slot;
    memcpy((*slot)->path, path, size);
    return *slot;
}

static int same_file(const struct stat *a, const struct stat *b) {
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int vlm_image_layout(const Vlm *v, const char *path, ImageLayout *out, Error *e) {
    PathEntry **slot = path_slot(v->features, path), *known = *slot;
    int width, height;
    struct stat st;
    if (stat(path, &st))
        return error_what(e, "no such image"), error_where(e, "%s", path), error_hint(e, "image paths are relative to the data file");
    if (!known || !same_file(&known->file, &st)) {
        if (image_measure(path, v->exif, &width, &height, e) || !(known = path_know(slot, path, e))) return -1;
        known->hash[0] = 0;
        known->layout = image_layout(&v->model.config, width, height);
        known->file = st;
    }
    *out = known->layout;
    return 0;
}

/* What a file gave, and the file as it was before it was read. */
typedef struct Loaded {
    float *pixels; /* NULL once taken */
    ImageLayout layout;
    struct stat file;
} Loaded;

static void loaded_drop(void *result) {
    Loaded *l = result;
    if (l) free(l->pixels);
    free(l);
}

static Loaded *file_load(const Vlm *v, const char *path, Error *e) {
    Image image = { 0 };
    Loaded *l = mem_new(1, sizeof *l, "image", e);
    if (!l) return NULL;
    if (stat(path, &l->file)) file_error(e, "cannot inspect file", path);
    else if (!image_load_exif(path, v->exif, &image, e)) l->pixels = pixels_of(v, &image, &l->layout, e);
    image_free(&image);
    if (l->pixels) return l;
    loaded_drop(l);
    return NULL;
}

/* Run by threads beside the caller's: of the Vlm they see the config and what is set before its first image. */
static void *load_ahead(const void *context, const char *path) { return file_load(context, path, NULL); }

static int needless_ahead(const void *context, const char *path) {
    const Vlm *v = context;
    const PathEntry *known = *path_slot(v->features, path);
    return known && known->hash[0] && !v->tower_trained && entry_look(v->features, known->hash);
}

void vlm_ahead(Vlm *v, const ImageRef *image) {
    if (!image->path || image->pixels || v->ahead_images <= 0) return;
    if (!v->ahead) {
        int threads = omp_get_max_threads();
        v->ahead = prefetch_new(
            &(PrefetchWork){ v, load_ahead, loaded_drop, needless_ahead }, v->ahead_images, threads < AHEAD_THREADS ? threads : AHEAD_THREADS, NULL);
    }
    if (v->ahead) prefetch_add(v->ahead, image->path);
}

void vlm_ahead_clear(Vlm *v) {
    if (v->ahead) prefetch_clear(v->ahead);
}

int vlm_image_file(Vlm *v, StepImages *s, const char *path, Error *e) {
    Loaded *l = v->ahead ? prefetch_take(v->ahead, path) : NULL; /* asked in any case: the list goes on by it */
    FeatureCache *c = v->features;
    PathEntry **slot = path_slot(c, path), *known = *slot;
    struct stat st;
    int result = -1;
    if (stat(path, &st)) {
        error_what(e, "no such image"), error_where(e, "%s", path), error_hint(e, "image paths are relative to the data file");
        goto done;
    }
    if (known && known->hash[0] && same_file(&known->file, &st)) {
        if ((result = images_find(s, known->hash)) >= 0) goto done;
        if (!v->tower_trained && entry_find(c, known->hash)) {
            result = images_append(s, known->hash, &known->layout, NULL, e);
            goto done;
        }
    }
    if (!l || !same_file(&l->file, &st)) {
        loaded_drop(l);
        if (!(l = file_load(v, path, e))) goto done;
    }
    if (!(known = path_know(slot, path, e))) goto done;
    known->layout = l->layout;
    known->file = l->file;
    result = images_take(v, s, &l->layout, l->pixels, known->hash, e);
    l->pixels = NULL;
done:
    loaded_drop(l);
    return result;
}

int vlm_image_pixels(Vlm *v, StepImages *s, const float *pixels, Error *e) {
    float *own = mem_new(pixel_count(v), sizeof *own, "image pixels", e);
    if (!own) return -1;
    memcpy(own, pixels, pixel_count(v) * sizeof *own);
    ImageLayout one = image_layout(&v->model.config, 0, 0);
    return images_take(v, s, &one, own, NULL, e);
}

int vlm_image(Vlm *v, StepImages *s, const ImageRef *image, Error *e) {
    assert(image->path || image->pixels);
    return image->pixels ? vlm_image_pixels(v, s, image->pixels, e) : vlm_image_file(v, s, image->path, e);
}

/* ---- features ---- */

/* FLOPs of the tower for one tile. */
static double tower_flops(const VisionConfig *c) {
    double W = c->width, rows = c->patches + 1.0;
    return 2 * rows * c->feature_layers * (4 * W * W + 2 * W * c->ff + 2 * rows * W) + 2.0 * c->patches * W * 3 * c->patch * c->patch;
}

/* Elements of a tile's features. */
static int64_t tile_count(const Vlm *v) { return (int64_t)v->model.config.tile_rows * v->model.config.vision.width; }

/* Runs the tower on images first .. first + n - 1 of the step. */
static int encode(Vlm *v, StepImages *s, int first, int n, int save, Error *e) {
    const StepImage *x = &s->list[first], *last = x + n - 1;
    int tiles = last->tile + last->layout.tiles - x->tile;
    size_t count = pixel_count(v);
    float *pixels = x->pixels, *joined = NULL;
    if (n > 1) {
        joined = mem_new((size_t)tiles * count, sizeof *joined, "image pixels", e);
        if (!joined) return -1;
        for (int i = 0; i < n; i++) memcpy(joined + (size_t)(x[i].tile - x->tile) * count, x[i].pixels, (size_t)x[i].layout.tiles * count * sizeof *joined);
        pixels = joined;
    }
    int bad = model_encode(&v->model, buf_at(v->features->step, x->tile * tile_count(v)), pixels, tiles, save, e);
    free(joined);
    v->work.images += n;
    v->work.tower_flops += tiles * tower_flops(&v->model.config.vision);
    return bad;
}

void features_release(FeatureCache *c, const Kernels *k) {
    if (c->step.at) k->free(c->step);
    c->step = BUF_NONE, c->step_count = 0;
}

int features_reserve(FeatureCache *c, const Kernels *k, DType dtype, int64_t count, Error *e) {
    if (count <= c->step_count) return 0;
    features_release(c, k);
    if (k->alloc(&c->step, dtype, count, "image features", e)) return -1;
    c->step_count = count;
    return 0;
}

int vlm_features(Vlm *v, StepImages *s, Buf *features, Error *e) {
    const Kernels *k = v->model.k;
    FeatureCache *c = v->features;
    assert(s->n > 0 && s->n <= VLM_IMAGES);
    if (features_reserve(c, k, v->model.dtype, tile_count(v) * s->tiles, e)) return -1;
    *features = c->step;
    if (v->tower_trained) return encode(v, s, 0, s->n, 1, e);
    for (int i = 0; i < s->n; i++) { /* before anything new pushes them out */
        const StepImage *x = &s->list[i];
        if (x->pixels) continue;
        FeatureEntry *kept = entry_find(c, x->hash);
        if (!kept)
            return error_what(e, "image features were dropped before their step"), error_hint(e, "vlm_forget_features between steps only");
        k->upload(buf_at(c->step, x->tile * tile_count(v)), kept->bytes, x->layout.tiles * tile_count(v));
    }
    /* One by one: what is kept under a picture's hash must not depend on the pictures beside it, and products of many rows may add in another order. */
    for (int i = 0; i < s->n; i++) {
        const StepImage *x = &s->list[i];
        Buf own = buf_at(c->step, x->tile * tile_count(v));
        if (!x->pixels) continue;
        if (encode(v, s, i, 1, 0, e) || k->sync(e) || entry_keep(c, k, x->hash, own, x->layout.tiles * tile_count(v), e)) return -1;
    }
    return 0;
}

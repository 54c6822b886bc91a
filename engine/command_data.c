/* command_data.c - the commands that look at inputs and make data, without running a model: tokenize, preprocess, scenes.
 *
 * Their outputs line up with their inputs one to one, so unlike the loop they refuse a bad row instead of dropping it. */
#include "engine/commands.h"

#include "base/json.h"
#include "engine/chat_tokens.h"
#include "engine/options.h"
#include "engine/progress.h"
#include "engine/scenes/scenes.h"
#include "model/anyres.h"
#include "model/config.h"
#include "model/image.h"
#include "model/safetensors.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* ---- tokenize ---- */

static json_t *ids_to_json(const int *ids, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, json_integer(ids[i]))) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

/* One row {ids, ids_plain, decoded} for `text`. */
static int tokenize_text(const Tokenizer *t, const char *text, FILE *out, Error *e) {
    IdList ids = { 0 };
    int bos = tokenizer_adds_bos(t) ? tokenizer_bos(t) : -1, result = -1;
    char *decoded = NULL;
    const size_t first = bos >= 0;
    if (idlist_append(&ids, &bos, first, e) || tokenizer_encode(t, text, strlen(text), &ids, e)) goto end;
    if (!(decoded = tokenizer_decode(t, ids.ids, ids.count, e))) goto end;
    result = jsonl_write(out,
        json_pack("{s:o,s:o,s:s}", "ids", ids_to_json(ids.ids, ids.count), "ids_plain", ids_to_json(ids.ids + first, ids.count - first), "decoded",
            decoded),
        e);
end:
    free(decoded);
    idlist_free(&ids);
    return result;
}

static int tokenize_rows(const Tokenizer *t, const char *from, const char *to, Error *e) {
    JsonLines lines;
    FileOut out;
    json_t *row;
    const char *text;
    int got, failed = 0;
    if (jsonl_open(&lines, from, e)) return -1;
    if (file_create(&out, to, e)) {
        jsonl_close(&lines);
        return -1;
    }
    while (!failed && (got = jsonl_next(&lines, &row, e)) != 0) {
        failed = got < 0;
        if (failed) break;
        failed = json_need_string(row, "text", lines.where, &text, e) || tokenize_text(t, text, out.stream, e);
        json_decref(row);
    }
    jsonl_close(&lines);
    if (failed) return file_abandon(&out), -1;
    return file_commit(&out, e);
}

int command_tokenize(int argc, char **argv, Error *e) {
    CommonOptions common = COMMON_DEFAULTS;
    const char *model = NULL, *data = NULL, *out = NULL, *setting = TEMPLATE_AUTO;
    int chat = 0;
    const Option table[] = {
        { "model", OPTION_TEXT, &model, "DIR", "checkpoint folder with tokenizer.model or tokenizer.json", 1, 0, 0, NULL },
        { "data", OPTION_TEXT, &data, "F", "JSONL rows {text}; with --chat {question, answer, image} or {messages}", 1, 0, 0, NULL },
        { "out", OPTION_TEXT, &out, "F", "JSONL rows {ids, ids_plain, decoded}; with --chat, where it may be left out, {ids, pieces, trained, image_rows}", 0, 0, 0, NULL },
        { "chat", OPTION_FLAG, &chat, NULL, "rows as the model is given them, with what is trained: a table on stdout", 0, 0, 0, NULL },
        { "template", OPTION_TEXT, &setting, "NAME", "chat template: a name, the path of a file, or auto: the checkpoint's own", 0, 0, 0, NULL },
        OPTIONS_COMMON(common),
        { 0 },
    };
    int parsed = options_parse(table, argc, argv, NULL, e);
    if (parsed == OPTIONS_HELP)
        return options_help(table, "tokenize --model DIR --data F --out F | tokenize --chat [--template NAME] --model DIR --data F [--out F]",
                   "Ids of each text, with the leading BOS where the tokenizer has one and without, and back again; or conversations in a chat template, token by token.", stdout),
               0;
    if (parsed) return 2;
    if (chat) return chat_tokens(model, setting, data, out, stdout, e);
    if (!out) return error_what(e, "--out is missing"), error_where(e, "command line"), error_expected(e, "a file, or --chat"), 2;
    Tokenizer *t = tokenizer_load(model, e);
    if (!t) return -1;
    int result = tokenize_rows(t, data, out, e);
    tokenizer_free(t);
    return result;
}

/* ---- preprocess ---- */

/* Declares the tensors, whose shapes follow from the images' sizes, then fills them. */
static int preprocess_write(const ModelConfig *c, ImageAspect aspect, ImageExif exif, char **paths, int n, TensorWriter *w, Error *e) {
    char name[16];
    int side = c->vision.image_side, width, height;
    int64_t each = 3LL * side * side;
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%d", i);
        if (image_measure(paths[i], exif, &width, &height, e)) return -1;
        int tiled = aspect == IMAGE_ANYRES;
        int64_t shape[4] = { image_layout(c, width, height).tiles, 3, side, side };
        if (tensors_declare(w, name, TENSOR_F32, 3 + tiled, shape + !tiled, e)) return -1;
    }
    for (int i = 0; i < n; i++) {
        Image image;
        snprintf(name, sizeof name, "%d", i);
        if (image_load_exif(paths[i], exif, &image, e)) return -1;
        ImageLayout x = image_layout(c, image.width, image.height);
        int tiles = aspect == IMAGE_ANYRES ? x.tiles : 1;
        float *pixels = mem_new((size_t)tiles * (size_t)each, sizeof *pixels, "pixels", e);
        int bad = !pixels || (aspect == IMAGE_ANYRES ? image_tiles(&image, x.grid.down, x.grid.across, side, c->image_mean, c->image_std, pixels, e)
                                                     : image_preprocess(&image, aspect, side, c->image_mean, c->image_std, pixels, e));
        image_free(&image);
        bad = bad || tensors_append(w, name, pixels, TENSOR_F32, tiles * each, e);
        free(pixels);
        if (bad) return -1;
    }
    return 0;
}

static int preprocess_images(const ModelConfig *c, ImageAspect aspect, ImageExif exif, char **paths, int n, const char *out, Error *e) {
    TensorWriter *w;
    if (aspect == IMAGE_ANYRES && !c->grids_n)
        return error_what(e, "the model has no tiled images"), error_where(e, "--aspect"), error_found(e, "anyres"), error_expected(e, "pad, crop or squash"),
               error_hint(e, "checkpoints of LLaVA-NeXT have image_grid_pinpoints");
    if (tensors_create(&w, out, 0, e)) return -1;
    if (!preprocess_write(c, aspect, exif, paths, n, w, e)) return tensors_commit(w, e);
    tensors_abandon(w);
    return -1;
}

int command_preprocess(int argc, char **argv, Error *e) {
    CommonOptions common = COMMON_DEFAULTS;
    const char *model = NULL, *out = NULL;
    const char *aspects[IMAGE_ASPECTS + 2] = { [IMAGE_ASPECTS] = "own" };
    memcpy(aspects, image_aspects, IMAGE_ASPECTS * sizeof *aspects);
    int own = IMAGE_ASPECTS, aspect = own, exif = EXIF_IGNORE, images;
    const Option table[] = {
        { "model", OPTION_TEXT, &model, "DIR", "checkpoint folder: its tower's image size, mean and deviation", 1, 0, 0, NULL },
        { "out", OPTION_TEXT, &out, "F", "safetensors file: float32 (3, S, S), of anyres (tiles, 3, S, S), named \"0\", \"1\", ... in the order given", 1, 0, 0, NULL },
        { "aspect", OPTION_CHOICE, &aspect, NULL, "pad to square, cut the centre out, tiles, squash to square; own: the checkpoint's way, of one tile padded", 0, 0, 0, aspects },
        { "exif", OPTION_CHOICE, &exif, NULL, "orientation that a camera wrote", 0, 0, 0, image_exifs },
        OPTIONS_COMMON(common),
        { 0 },
    };
    int parsed = options_parse(table, argc, argv, &images, e);
    if (parsed == OPTIONS_HELP)
        return options_help(table, "preprocess --model DIR --out F [--aspect pad|crop|anyres|squash|own] [--exif ignore|apply] IMAGE...",
                   "The normalised pixels that a checkpoint's tower is given.", stdout),
               0;
    if (parsed) return 2;
    if (!images) return error_what(e, "no images given"), error_where(e, "command line"), error_expected(e, "the paths of images"), 2;
    ModelConfig config;
    if (config_load(model, &config, e)) return -1;
    if (!config.vision.layers)
        return error_what(e, "no vision tower"), error_where(e, "%s", model), error_found(e, "a text model"),
               error_expected(e, "a LLaVA checkpoint");
    if (config.squash) aspect = IMAGE_SQUASH; /* what its tower is given, whatever is asked */
    else if (aspect == own) aspect = config.grids_n ? IMAGE_ANYRES : IMAGE_PAD;
    return preprocess_images(&config, (ImageAspect)aspect, (ImageExif)exif, argv, images, out, e);
}

/* ---- scenes ---- */

static void scenes_progress(void *context, int done) {
    Progress *p = context;
    progress_add(p, done - p->done);
}

int command_scenes(int argc, char **argv, Error *e) {
    CommonOptions common = COMMON_DEFAULTS;
    const char *out = NULL;
    int64_t count = 0, first = 0, captions = 0, yes_no = 0, open = 0;
    double weight = 4;
    int clean = 0;
    const Option table[] = {
        { "out", OPTION_TEXT, &out, "DIR", "folder for images/, prompts.jsonl and sft.jsonl", 1, 0, 0, NULL },
        { "count", OPTION_INT, &count, "N", "how many scenes", 1, 1, SCENES_COUNT_MOST, NULL },
        { "first", OPTION_INT, &first, "I", "index of the first: disjoint ranges of one seed are different scenes", 0, 0, 1e15, NULL },
        { "captions", OPTION_INT, &captions, "N", "captions for each scene in sft.jsonl", 0, 0, SCENES_TURNS_MOST, NULL },
        { "yes-no", OPTION_INT, &yes_no, "N", "yes/no questions for each scene", 0, 0, SCENES_TURNS_MOST, NULL },
        { "open", OPTION_INT, &open, "N", "one-word questions for each scene", 0, 0, SCENES_TURNS_MOST, NULL },
        { "one-word-weight", OPTION_NUMBER, &weight, "W", "weight of one-word answers in training", 0, 0, 1e6, NULL },
        { "clean", OPTION_FLAG, &clean, NULL, "captions that state only what is true", 0, 0, 0, NULL },
        OPTIONS_COMMON(common),
        { 0 },
    };
    int parsed = options_parse(table, argc, argv, NULL, e);
    if (parsed == OPTIONS_HELP)
        return options_help(table, "scenes --out DIR --count N [--seed S]",
                   "Pictures of the built-in world, with prompts and exact truth for each.", stdout),
               0;
    if (parsed) return 2;
    Progress progress;
    progress_init(&progress, stderr);
    progress_begin(&progress, "scenes", "scenes", count, 0);
    ScenesOutput output = {
        .folder = out,
        .seed = (uint64_t)common.seed,
        .first = (uint64_t)first,
        .count = (int)count,
        .mix = { (int)captions, (int)yes_no, (int)open, weight, 0, clean ? scene_noise_none : scene_noise_default },
        .progress = scenes_progress,
        .context = &progress,
    };
    int result = scenes_write(&output, e);
    progress_end(&progress);
    return result;
}

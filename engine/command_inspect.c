/* command_inspect.c - the command that says what a checkpoint is, and that writes what it computes on the way, tensor by tensor, for comparison. */
#include "engine/commands.h"

#include "engine/options.h"
#include "engine/vlm.h"
#include "model/inspect.h"

typedef struct Dump {
    const char *name, *to, *image, *question, *chat;
    int aspect, exif;
} Dump;

/* Computes one prompt, up to the logits after it, with a dump asked for. */
static int dump_run(Vlm *v, const Dump *d, Error *e) {
    Prompt prompt = { 0 };
    Trunks trunks = { 0 };
    Buf logits;
    trunks_clear(&trunks);
    int bad = model_dump(&v->model, d->name, d->to, e) || vlm_prompt(v, d->image, d->question, &prompt, e);
    if (!bad) {
        int trunk = trunks_find(v, &trunks, &prompt, e);
        bad = trunk < 0 || forest_want(&trunks.forest, trunk, e) || vlm_forward(v, &trunks.forest, &trunks.images, STEP_SCORE, e) ||
              model_logits(&v->model, &trunks.forest, &logits, e) || v->model.k->sync(e);
    }
    if (!bad && model_dump_waits(&v->model))
        bad = error_what(e, "the activation was not computed"), error_where(e, "--dump"), error_found(e, "%s", d->name), error_hint(e, "give an --image");
    trunks_free(&trunks);
    prompt_free(&prompt);
    return bad ? -1 : 0;
}

static int inspect_dump(const char *folder, const Dump *d, const CommonOptions *common, Error *e) {
    Vlm v;
    if (!d->to || !d->name)
        return error_what(e, "half a request"), error_where(e, "command line"), error_expected(e, "--dump NAME --dump-to FILE");
    const Kernels *k = kernels_open(common->device, (int)common->threads, e);
    if (!k || vlm_open(&v, k, folder, (DType)common->dtype, d->chat, d->aspect, e)) return -1;
    v.exif = (ImageExif)d->exif;
    int bad = dump_run(&v, d, e);
    vlm_close(&v);
    return bad;
}

int command_inspect(int argc, char **argv, Error *e) {
    CommonOptions common = COMMON_DEFAULTS;
    Dump dump = { .question = "Describe the image.", .chat = TEMPLATE_AUTO, .aspect = IMAGE_PAD };
    int folders;
    const Option table[] = {
        { "dump", OPTION_TEXT, &dump.name, "NAME", "computes a prompt and writes an activation: decoder.0.qkv, decoder.0.mlp, projector.hidden, ... (docs/formats.md); a wrong name lists them", 0, 0, 0, NULL },
        { "dump-to", OPTION_TEXT, &dump.to, "FILE", "safetensors file for it: (rows, width) float32", 0, 0, 0, NULL },
        { "image", OPTION_TEXT, &dump.image, "FILE", "of that prompt", 0, 0, 0, NULL },
        { "aspect", OPTION_CHOICE, &dump.aspect, "HOW", "how it is fitted to one tile; models of tiled images have their own way", 0, 0, 0, image_aspects },
        { "exif", OPTION_CHOICE, &dump.exif, "HOW", "orientation that a camera wrote", 0, 0, 0, image_exifs },
        { "question", OPTION_TEXT, &dump.question, "TEXT", "of that prompt", 0, 0, 0, NULL },
        { "template", OPTION_TEXT, &dump.chat, "NAME", "chat template of that prompt: a name, the path of a file, or auto: the checkpoint's own", 0, 0, 0, NULL },
        OPTIONS_COMMON(common),
        { 0 },
    };
    int parsed = options_parse(table, argc, argv, &folders, e);
    if (parsed == OPTIONS_HELP)
        return options_help(table, "inspect DIR [--dump NAME --dump-to FILE]", "What a checkpoint is, its shapes, and what is missing or odd.", stdout), 0;
    if (parsed) return 2;
    if (folders != 1) return error_what(e, "inspect takes one folder"), error_where(e, "command line"), error_found(e, "%d", folders), 2;
    if (dump.name || dump.to) return inspect_dump(argv[0], &dump, &common, e);
    return model_inspect(argv[0], stdout, e);
}

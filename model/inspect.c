/* inspect.c - owns the description of a checkpoint folder for people.
 *
 * Says everything at once, where loading stops at the first problem: each missing, stray or misshapen tensor, values that are not finite,
 * and settings of companion files that disagree with the model. Only what would stop loading makes it fail. */
#include "model/inspect.h"

#include "base/json.h"
#include "model/checkpoint.h"
#include "model/rope.h"
#include "tokenizer/template.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 20 }; /* problems of one sort that are spelled out; the rest are counted */
enum { PIECE = 1 << 14 };

typedef struct Inspection {
    FILE *out;
    const char *folder;
    ModelConfig config;
    Params params;
    int odd;
} Inspection;

static void odd(Inspection *x, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void odd(Inspection *x, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("odd           ", x->out);
    vfprintf(x->out, format, args);
    fputc('\n', x->out);
    va_end(args);
    x->odd++;
}

static void describe_shape(const Inspection *x) {
    const DecoderConfig *d = &x->config.decoder;
    const VisionConfig *v = &x->config.vision;
    fprintf(x->out, "checkpoint    %s\nmodel         %s\n", x->folder, x->config.model_type);
    fprintf(x->out, "decoder       %d layers, width %d, feed-forward %d, %d heads of %d, %d key/value heads\n", d->layers, d->width, d->ff,
        d->heads, d->head_size, d->kv_heads);
    fprintf(x->out, "              vocabulary %d%s, norm eps %g, query, key and value %s\n", d->vocab, d->tied ? " (head tied)" : "",
        (double)d->eps, d->qkv_bias ? "with biases" : "without biases");
    char scaling[160];
    fprintf(x->out, "              %d positions, rope theta %g%s\n", d->positions, (double)d->rope_theta, rope_text(&d->rope, scaling, sizeof scaling));
    if (d->window)
        fprintf(x->out, "              sliding window of %d positions, %s\n", d->window,
            d->window == d->positions ? "which bounds them" : "more than there are");
    fprintf(x->out, "              answers end at id");
    for (int i = 0; i < d->eos_n; i++) fprintf(x->out, "%s %d", i ? "," : "", d->eos[i]);
    fprintf(x->out, "%s\n", d->eos_n ? "" : "s of the tokenizer alone");
    if (!v->layers) return;
    fprintf(x->out, "vision tower  %d layers, of which %d run, width %d, feed-forward %d, %d heads, %s\n", v->layers, v->feature_layers,
        v->width, v->ff, v->heads, v->activation == GELU ? "gelu" : "quick-gelu");
    fprintf(x->out, "              image %d x %d in patches of %d: %d rows a tile (class token %s)\n", v->image_side, v->image_side,
        v->patch, x->config.tile_rows, v->keep_class ? "kept" : "dropped");
    if (v->kind == TOWER_EVA)
        fprintf(x->out, "              EVA-02 with post-norm blocks; positions of a grid of %d x %d, resampled\n", v->positions_side, v->positions_side);
    if (x->config.queries)
        fprintf(x->out, "resampler     %d queries, %d heads: %d rows an image\n", x->config.queries, x->config.resampler_heads, x->config.queries);
    if (!x->config.grids_n) return;
    fprintf(x->out, "images        tiled (anyres): one whole and a grid of tiles (down x across):");
    for (int i = 0; i < x->config.grids_n; i++) fprintf(x->out, " %d x %d", x->config.grids[i].down, x->config.grids[i].across);
    fprintf(x->out, "; at most %d rows%s\n", x->config.image_tokens, x->config.newline ? ", each row of patches ended by image_newline" : "");
}

/* ---- tensors ---- */

/* "2 files of PyTorch (.bin)"; of which, when there are both sorts. */
static char *describe_files(const TensorSet *s, char *out, size_t size) {
    size_t torch = 0;
    for (size_t i = 0; i < s->files_n; i++) torch += s->files[i].format == FORMAT_TORCH;
    int n = snprintf(out, size, "%zu file%s of %s", s->files_n, s->files_n == 1 ? "" : "s", torch == s->files_n ? "PyTorch (.bin)" : "safetensors");
    if (torch && torch < s->files_n && n > 0 && (size_t)n < size) snprintf(out + n, size - (size_t)n, ", %zu of them PyTorch's (.bin)", torch);
    return out;
}

static void describe_parts(const Inspection *x, const Checkpoint *c) {
    static const char *const names[PARTS] = { "vision", "projector", "decoder" };
    for (int part = 0; part < PARTS; part++) {
        int64_t tensors = 0, count = 0, bytes = 0, unused = 0, types[TENSOR_TYPES] = { 0 };
        for (int i = 0; i < c->params->n; i++) {
            const Param *q = &c->params->list[i];
            const Tensor *t = c->tensors[i];
            if ((int)q->part != part || !t) continue;
            tensors++, count += t->count, bytes += t->count * (int64_t)tensor_type_size(t->type), types[t->type]++;
            if (!q->used) unused += t->count;
        }
        if (!tensors) continue;
        fprintf(x->out, "%-13s %lld parameters in %lld tensors, %.1f MB", names[part], (long long)count, (long long)tensors,
            (double)bytes / 1e6);
        for (int t = 0; t < TENSOR_TYPES; t++)
            if (types[t]) fprintf(x->out, ", %s", tensor_type_name((TensorType)t));
        if (unused) fprintf(x->out, " (%lld parameters are not computed with)", (long long)unused);
        fputc('\n', x->out);
    }
}

static int64_t count_not_finite(const Tensor *t) {
    float values[PIECE];
    int64_t bad = 0;
    size_t size = tensor_type_size(t->type);
    for (int64_t done = 0, n; done < t->count; done += n) {
        n = t->count - done < PIECE ? t->count - done : PIECE;
        if (tensor_convert((const char *)t->data + (size_t)done * size, t->type, values, TENSOR_F32, n, NULL)) return bad;
        for (int64_t i = 0; i < n; i++) bad += !isfinite(values[i]);
    }
    return bad;
}

static void describe_oddities(Inspection *x, const Checkpoint *c) {
    int absent = 0, harmless = 0;
    for (int i = 0; i < c->params->n; i++) {
        absent += !c->tensors[i] && !c->params->list[i].used && c->params->list[i].kind != P_EVA_K_B; /* no checkpoint has these */
        int64_t bad = c->tensors[i] ? count_not_finite(c->tensors[i]) : 0;
        if (bad) odd(x, "tensor \"%s\" has %lld values that are not finite", c->tensors[i]->name, (long long)bad);
    }
    for (size_t i = 0; i < c->main.n; i++) harmless += c->taken[i] == 2;
    if (absent) odd(x, "%d tensors of the tower are absent; nothing computes with them", absent);
    if (harmless) odd(x, "%d tensors are skipped: buffers that are computed", harmless);
    char files[96];
    if (c->tower.n) fprintf(x->out, "tower from    %s, %s\n", x->config.vision_folder, describe_files(&c->tower, files, sizeof files));
}

static int inspect_tensors(Inspection *x, Error *e) {
    Checkpoint c;
    Error problem;
    char text[2048];
    int problems = 0;
    if (checkpoint_open(&c, &x->params, x->folder, e)) return -1;
    fprintf(x->out, "layout        %s, %s\n", layout_names[c.layout], describe_files(&c.main, text, sizeof text));
    describe_parts(x, &c);
    for (int i = 0; (i = checkpoint_problem(&c, i, &problem)) >= 0; i++) {
        if (!problems) *e = problem;
        if (problems++ < SHOWN) fprintf(x->out, "problem       %s\n", error_text(&problem, text, sizeof text));
    }
    if (problems > SHOWN) fprintf(x->out, "problem       and %d more\n", problems - SHOWN);
    describe_oddities(x, &c);
    checkpoint_close(&c);
    return problems ? -1 : 0;
}

/* ---- companion files ---- */

static void inspect_chat(Inspection *x, const Tokenizer *t) {
    Error e = { 0 };
    char text[2048];
    ChatTemplate *c = template_open(TEMPLATE_AUTO, t, x->folder, &e);
    if (c) fprintf(x->out, "chat template %s (%s)\n", template_name(c), template_why(c));
    else odd(x, "%s", error_text(&e, text, sizeof text));
    template_free(c);
}

static void inspect_tokenizer(Inspection *x) {
    Error e = { 0 };
    char path[PATH_SIZE], json[PATH_SIZE], text[2048];
    const DecoderConfig *d = &x->config.decoder;
    if (path_join(path, x->folder, "tokenizer.model", &e) || path_join(json, x->folder, "tokenizer.json", &e)) return;
    if (!file_exists(path) && !file_exists(json)) {
        odd(x, "no tokenizer.model and no tokenizer.json: text cannot be read or written");
        return;
    }
    Tokenizer *t = tokenizer_load(x->folder, &e);
    if (!t) {
        odd(x, "the tokenizer cannot be read: %s", error_text(&e, text, sizeof text));
        return;
    }
    fprintf(x->out, "tokenizer     %d ids, bos %d, eos %d\n", tokenizer_vocab(t), tokenizer_bos(t), tokenizer_eos(t));
    if (tokenizer_vocab(t) > d->vocab) odd(x, "the tokenizer has %d ids, the embedding table only %d rows", tokenizer_vocab(t), d->vocab);
    int ends = 0;
    for (int i = 0; i < d->eos_n; i++) ends |= d->eos[i] == tokenizer_eos(t);
    if (d->bos >= 0 && tokenizer_bos(t) != d->bos) odd(x, "bos is %d in config.json, %d in the tokenizer", d->bos, tokenizer_bos(t));
    if (d->eos_n && !ends) odd(x, "eos %d of the tokenizer is not among the ids that config.json ends answers with", tokenizer_eos(t));
    inspect_chat(x, t);
    tokenizer_free(t);
}

/* An integer field of a JSON file of the folder, in an inner object when `inner` is given; -1 when it is not there. */
static int64_t field_of(const Inspection *x, const char *file, const char *inner, const char *key) {
    char path[PATH_SIZE];
    json_t *o;
    int64_t value = -1;
    if (path_join(path, x->folder, file, NULL) || !file_exists(path) || json_read_object(path, &o, NULL)) return -1;
    const json_t *field = json_object_get(inner ? json_object_get(o, inner) : o, key);
    if (json_is_integer(field)) value = json_integer_value(field);
    json_decref(o);
    return value;
}

static void inspect_companions(Inspection *x) {
    const ModelConfig *c = &x->config;
    inspect_tokenizer(x);
    if (!c->vision.layers) return;
    char path[PATH_SIZE];
    int64_t side = field_of(x, "preprocessor_config.json", "crop_size", "height"),
            rows = field_of(x, "config.json", NULL, "image_seq_length");
    if (side >= 0 && side != c->vision.image_side)
        odd(x, "preprocessor_config.json crops to %lld pixels, the tower sees %d", (long long)side, c->vision.image_side);
    if (rows >= 0 && rows != config_rows_of_tile(c) && !c->grids_n)
        odd(x, "config.json says %lld rows an image (image_seq_length), the tower gives %d", (long long)rows, config_rows_of_tile(c));
    if (!c->queries && !path_join(path, x->folder, "preprocessor_config.json", NULL) && !file_exists(path)) /* OmniLMM has none, and CLIP's */
        odd(x, "no preprocessor_config.json: CLIP's mean and deviation are assumed");
}

int model_inspect(const char *folder, FILE *out, Error *e) {
    Inspection x = { .out = out, .folder = folder };
    if (config_load(folder, &x.config, e)) return -1;
    describe_shape(&x);
    if (params_plan(&x.params, &x.config, e)) return -1;
    int failed = inspect_tensors(&x, e);
    inspect_companions(&x);
    fprintf(out, "verdict       %s\n", failed ? "cannot be used" : x.odd ? "can be used; see what is odd" : "can be used");
    params_plan_free(&x.params);
    return failed;
}

/* dump.c - owns the names of activations, and writes the one that a dump asked for as a float32 safetensors file, for comparison with other programs.
 *
 * One name is one tensor of one step: the first step after the request that computes it. Refuses names that this model does not compute. */
#include "model/safetensors.h"
#include "model/workspace.h"

#include <stdlib.h>
#include <string.h>

/* {i}: a block. Of the decoder's last block, what stands behind its attention is computed for the rows from which something is predicted alone. */
static const char *const names[] = { "vision.embedded", "vision.{i}.qkv", "vision.{i}.attended", "vision.{i}.attention", "vision.{i}.mid", "vision.{i}.activated",
    "vision.{i}.mlp", "vision.{i}.out", "vision_features", "projector.hidden", "projector.activated", "resampler.asked", "resampler.values",
    "resampler.keys", "resampler.attended", "resampler.attention", "resampler.normed", "projected", "decoder.embedded", "decoder.{i}.norm1",
    "decoder.{i}.qkv", "decoder.{i}.attended", "decoder.{i}.attention", "decoder.{i}.mid", "decoder.{i}.norm2", "decoder.{i}.gated", "decoder.{i}.mlp",
    "decoder.{i}.out", "hidden", "logits" };
enum { NAMES = sizeof names / sizeof *names };

static void name_fill(char *out, size_t size, const char *name, int layer) {
    const char *place = strstr(name, "{i}");
    if (place) snprintf(out, size, "%.*s%d%s", (int)(place - name), name, layer, place + 3);
    else snprintf(out, size, "%s", name);
}

/* Blocks of the part that a name belongs to; 1 for names outside blocks; 0: the model does not have it. */
static int layers_of(const Model *m, const char *name) {
    int tower = !strncmp(name, "vision", 6), projector = !strncmp(name, "projector.", 10), resampler = !strncmp(name, "resampler.", 10);
    if ((tower || projector || resampler || !strcmp(name, "projected")) && !m->config.vision.layers) return 0;
    if (m->config.queries ? projector : resampler) return 0;
    return !strstr(name, "{i}") ? 1 : tower ? m->config.vision.feature_layers : m->config.decoder.layers;
}

/* Adds a name to a list; of one that differs from the name before it in its last word, that alone: a message has room for no more. */
static void name_list(char *out, size_t size, const char *before, const char *name) {
    const char *end = strrchr(name, '.');
    size_t stem = end ? (size_t)(end - name) + 1 : 0, used = strlen(out);
    int same = stem && !strncmp(before, name, stem) && !strchr(before + stem, '.');
    snprintf(out + used, size - used, "%s%s", same ? "|" : used ? ", " : "", name + (same ? stem : 0));
}

int model_dump(Model *m, const char *name, const char *path, Error *e) {
    char known[512] = "", full[160];
    for (int i = 0; i < NAMES; i++) {
        int layers = layers_of(m, names[i]);
        for (int l = 0; l < layers; l++) {
            name_fill(full, sizeof full, names[i], l);
            if (strcmp(name, full)) continue;
            if (strlen(path) >= sizeof m->work->dump_path) return error_what(e, "path is too long"), error_where(e, "%.200s...", path);
            strcpy(m->work->dump_name, full);
            strcpy(m->work->dump_path, path);
            return 0;
        }
        if (layers) name_list(known, sizeof known, i ? names[i - 1] : "", names[i]);
    }
    return error_what(e, "no such activation"), error_where(e, "--dump"), error_found(e, "%.100s", name), error_expected(e, "one of: %s", known),
           error_hint(e, "{i} is a block: 0 to %d of the decoder", m->config.decoder.layers - 1);
}

int model_dump_waits(const Model *m) { return m->work->dump_name[0] != 0; }

/* Whether this is the one; its name in full. */
static int is_wanted(const Model *m, const char *name, int layer, char *full, size_t size) {
    if (!m->work->dump_name[0]) return 0;
    name_fill(full, size, name, layer);
    return !strcmp(m->work->dump_name, full);
}

int dump_write(Model *m, const char *name, int layer, Buf b, int rows, int width, Error *e) {
    Workspace *w = m->work;
    char full[160];
    if (!is_wanted(m, name, layer, full, sizeof full)) return 0;
    w->dump_name[0] = 0;
    int64_t n = (int64_t)rows * width, shape[2] = { rows, width };
    void *host = mem_new((size_t)n, dtype_size(b.dtype), "dump", e);
    if (!host) return -1;
    m->k->download(host, b, n);
    TensorWriter *out = NULL;
    int bad = m->k->sync(e) || tensors_create(&out, w->dump_path, 0, e) || tensors_declare(out, full, TENSOR_F32, 2, shape, e) ||
              tensors_append(out, full, host, b.dtype == FP32 ? TENSOR_F32 : TENSOR_BF16, n, e);
    free(host);
    if (bad) {
        if (out) tensors_abandon(out);
        return -1;
    }
    return tensors_commit(out, e);
}

int dump_product(Model *m, const char *name, int layer, Buf x, Buf weights, Buf bias, int rows, int width, int inner, Error *e) {
    char full[160];
    Buf y;
    if (!is_wanted(m, name, layer, full, sizeof full)) return 0;
    if (m->k->alloc(&y, FP32, (int64_t)rows * width, "dump", e)) return -1;
    m->k->linear_forward(y, x, weights, bias, BUF_NONE, rows, width, inner);
    int bad = dump_write(m, name, layer, y, rows, width, e);
    m->k->free(y);
    return bad;
}

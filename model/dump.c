/* dump.c - writes the one activation a dump asked for, as a float32 safetensors file, for comparison with other programs. */
#include "model/safetensors.h"
#include "model/workspace.h"

#include <stdlib.h>
#include <string.h>

int dump_write(Model *m, const char *name, Buf b, int rows, int width, Error *e) {
    Workspace *w = m->work;
    if (!w->dump_name[0] || strcmp(w->dump_name, name)) return 0;
    w->dump_name[0] = 0;
    int64_t n = (int64_t)rows * width, shape[2] = { rows, width };
    void *host = mem_new((size_t)n, dtype_size(b.dtype), "dump", e);
    if (!host) return -1;
    m->k->download(host, b, n);
    TensorWriter *out = NULL;
    int bad = m->k->sync(e) || tensors_create(&out, w->dump_path, 0, e) || tensors_declare(out, name, TENSOR_F32, 2, shape, e) ||
              tensors_append(out, name, host, b.dtype == FP32 ? TENSOR_F32 : TENSOR_BF16, n, e);
    free(host);
    if (bad) {
        if (out) tensors_abandon(out);
        return -1;
    }
    return tensors_commit(out, e);
}

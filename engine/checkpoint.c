/* checkpoint.c - owns the content of checkpoint-N folders. */
#include "engine/checkpoint.h"

#include "base/json.h"
#include "model/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char state_name[] = "trainer_state.json", optimizer_name[] = "optimizer.safetensors";
enum { CHUNK = 1 << 20 }; /* elements streamed at a time */

void checkpoint_path(char out[PATH_SIZE], const char *folder, int64_t step) { snprintf(out, PATH_SIZE, "%s/checkpoint-%lld", folder, (long long)step); }

TensorType checkpoint_dtype(const Model *m, const RunConfig *c) {
    static const TensorType types[] = { [SAVE_FP32] = TENSOR_F32, [SAVE_BF16] = TENSOR_BF16, [SAVE_FP16] = TENSOR_F16 };
    return c->train.save_dtype == SAVE_SAME ? m->params.stored : types[c->train.save_dtype];
}

/* The flat fp32 tensors of training: exact weights, and Adam's moments. */
typedef struct Flat {
    const char *name;
    Buf buf;
} Flat;
static int flats(const Params *p, Flat out[3]) {
    out[0] = (Flat){ "weights", p->master.at ? p->master : p->weights };
    out[1] = (Flat){ "m", p->m };
    out[2] = (Flat){ "v", p->v };
    return 3;
}

static int save_optimizer(const Model *m, const char *path, Error *e) {
    Flat list[3];
    int n = flats(&m->params, list), bad = 0;
    TensorWriter *w = NULL;
    float *chunk = mem_new(CHUNK, sizeof *chunk, "checkpoint buffer", e);
    if (!chunk) return -1;
    bad = tensors_create(&w, path, 0, e);
    for (int i = 0; i < n && !bad; i++) bad = tensors_declare(w, list[i].name, TENSOR_F32, 1, &m->params.trained_count, e);
    for (int i = 0; i < n && !bad; i++)
        for (int64_t at = 0; at < m->params.trained_count && !bad; at += CHUNK) {
            int64_t count = m->params.trained_count - at < CHUNK ? m->params.trained_count - at : CHUNK;
            m->k->download(chunk, buf_at(list[i].buf, at), count);
            bad = m->k->sync(e) || tensors_append(w, list[i].name, chunk, TENSOR_F32, count, e);
        }
    free(chunk);
    if (!bad) return tensors_commit(w, e);
    if (w) tensors_abandon(w);
    return -1;
}

static int save_state(const TrainState *s, const char *path, Error *e) {
    FileOut f;
    if (file_create(&f, path, e)) return -1;
    json_t *j = json_pack("{s:I, s:I, s:s}", "global_step", (json_int_t)s->step, "num_tokens", (json_int_t)s->tokens, "job", s->job);
    if (!j || jsonl_write(f.stream, j, e)) {
        file_abandon(&f);
        return j ? -1 : error_what(e, "out of memory");
    }
    return file_commit(&f, e);
}

int checkpoint_save(Model *m, const RunConfig *c, const char *folder, const TrainState *s, Error *e) {
    char path[PATH_SIZE], temporary[PATH_SIZE], file[PATH_SIZE];
    checkpoint_path(path, folder, s->step);
    if (snprintf(temporary, sizeof temporary, "%s.partial", path) >= (int)sizeof temporary) return error_what(e, "path is too long"), error_where(e, "%.200s...", path);
    if (folder_remove(temporary, e) || folder_make(folder, e) || params_export(&m->params, m->k, checkpoint_dtype(m, c), m->folder, temporary, e)) return -1;
    if (path_join(file, temporary, optimizer_name, e) || save_optimizer(m, file, e) || path_join(file, temporary, state_name, e) || save_state(s, file, e)) {
        folder_remove(temporary, NULL);
        return -1;
    }
    return folder_remove(path, e) || folder_rename(temporary, path, e) ? -1 : 0;
}

static int state_read(const char *path, TrainState *s, Error *e) {
    json_t *j;
    const char *job;
    if (json_read_object(path, &j, e)) return -1;
    int bad = json_need_integer(j, "global_step", path, 0, INT64_MAX, &s->step, e) || json_need_integer(j, "num_tokens", path, 0, INT64_MAX, &s->tokens, e) ||
              json_need_string(j, "job", path, &job, e);
    if (!bad) snprintf(s->job, sizeof s->job, "%s", job);
    json_decref(j);
    return bad ? -1 : 0;
}

static int by_step(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Steps of the checkpoint folders in `folder`, newest first. The number of them, or -1. */
static int steps_list(const char *folder, int64_t **out, Error *e) {
    *out = NULL;
    DIR *d = opendir(folder);
    if (!d) return errno == ENOENT ? 0 : (error_what(e, "cannot list folder"), error_where(e, "%s", folder), error_found(e, "%s", strerror(errno)));
    size_t n = 0, cap = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        long long step;
        int end = 0;
        if (sscanf(entry->d_name, "checkpoint-%lld%n", &step, &end) != 1 || entry->d_name[end]) continue;
        if (mem_grow(out, &cap, n + 1, sizeof **out, "checkpoints", e)) {
            closedir(d);
            return -1;
        }
        (*out)[n++] = step;
    }
    closedir(d);
    if (n) qsort(*out, n, sizeof **out, by_step);
    return (int)n;
}

int checkpoint_latest(const char *folder, const char *job, TrainState *s, Error *e) {
    int64_t *steps;
    int n = steps_list(folder, &steps, e), found = 0;
    for (int i = 0; i < n && !found; i++) {
        char path[PATH_SIZE], file[PATH_SIZE];
        checkpoint_path(path, folder, steps[i]);
        /* a pruned checkpoint has no optimizer state; one of another job is not ours to continue */
        if (path_join(file, path, optimizer_name, NULL) || !file_exists(file) || path_join(file, path, state_name, NULL) || state_read(file, s, NULL)) continue;
        found = !strcmp(s->job, job) && s->step == steps[i];
    }
    free(steps);
    return n < 0 ? -1 : found;
}

int checkpoint_load(Model *m, const char *folder, int64_t step, Error *e) {
    char path[PATH_SIZE], file[PATH_SIZE];
    checkpoint_path(path, folder, step);
    if (path_join(file, path, optimizer_name, e)) return -1;
    TensorSet set;
    if (tensors_open(&set, file, e)) return -1;
    Flat list[3];
    int n = flats(&m->params, list), bad = 0;
    float *chunk = mem_new(CHUNK, sizeof *chunk, "checkpoint buffer", e);
    bad = !chunk;
    for (int i = 0; i < n && !bad; i++) {
        const Tensor *t = tensors_find(&set, list[i].name);
        if (!t || t->type != TENSOR_F32 || t->count != m->params.trained_count) {
            bad = error_what(e, "checkpoint does not fit the model"), error_where(e, "%s: %s", file, list[i].name);
            error_found(e, "%lld values", t ? (long long)t->count : 0LL);
            error_expected(e, "%lld float32 values", (long long)m->params.trained_count);
            break;
        }
        for (int64_t at = 0; at < t->count; at += CHUNK) {
            int64_t count = t->count - at < CHUNK ? t->count - at : CHUNK;
            memcpy(chunk, (const char *)t->data + at * 4, (size_t)count * 4); /* mapped data has no alignment */
            m->k->upload(buf_at(list[i].buf, at), chunk, count);
        }
    }
    if (!bad && m->params.master.at) m->k->copy(m->params.weights, m->params.master, m->params.trained_count);
    free(chunk);
    tensors_close(&set);
    model_weights_changed(m);
    return bad ? -1 : m->k->sync(e);
}

int checkpoint_prune(const char *folder, int keep, const int64_t *spare, int spare_n, Error *e) {
    if (keep <= 0) return 0;
    int64_t *steps;
    int n = steps_list(folder, &steps, e), bad = n < 0;
    for (int i = keep; i < n && !bad; i++) {
        char path[PATH_SIZE];
        int spared = 0;
        for (int j = 0; j < spare_n; j++) spared |= spare[j] == steps[i];
        checkpoint_path(path, folder, steps[i]);
        if (!spared) bad = folder_remove(path, e);
    }
    free(steps);
    return bad ? -1 : 0;
}

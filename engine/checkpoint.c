/* checkpoint.c - owns the content of checkpoint-N folders. */
#include "engine/checkpoint.h"

#include "base/json.h"
#include "model/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char trainer_name[] = "trainer_state.json", list_name[] = "state.json", optimizer_prefix[] = "optimizer-", partial[] = ".partial";
enum { CHUNK = 1 << 20, FLATS = 3, NAME = 64 }; /* CHUNK: elements streamed at a time */

/* The flat fp32 tensors of training: exact weights, and Adam's moments. */
static const char *const flat_names[FLATS] = { "weights", "m", "v" };
static Buf flat_of(const ShardPiece *p, int flat) { return flat == 1 ? p->m : flat == 2 ? p->v : p->master.at ? p->master : p->p; }

int checkpoint_is_state(const char *name) {
    return !strncmp(name, optimizer_prefix, sizeof optimizer_prefix - 1) || !strcmp(name, trainer_name) || !strcmp(name, list_name);
}

void checkpoint_path(char out[PATH_SIZE], const char *folder, int64_t step) { snprintf(out, PATH_SIZE, "%s/checkpoint-%lld", folder, (long long)step); }

TensorType checkpoint_dtype(const RunConfig *c) {
    static const TensorType types[] = { [SAVE_SAME] = (TensorType)TENSOR_AS_STORED, [SAVE_FP32] = TENSOR_F32, [SAVE_BF16] = TENSOR_BF16, [SAVE_FP16] = TENSOR_F16 };
    return types[c->train.save_dtype];
}

/* ---- save ---- */

/* Ranks that own a part of the training state: one of each slice where all copies of the model have the same. */
static int owners(const Shard *shard, const Ranks *r) { return shard_mode(shard) == SHARD_NONE ? r->slices : ranks_all(r); }
static void optimizer_name(char out[NAME], int rank, int n) { snprintf(out, NAME, "%s%05d-of-%05d.safetensors", optimizer_prefix, rank + 1, n); }

static int flat_append(const Kernels *k, TensorWriter *w, const char *name, Buf from, int64_t count, float *chunk, Error *e) {
    for (int64_t at = 0, n; at < count; at += n) {
        n = count - at < CHUNK ? count - at : CHUNK;
        k->download(chunk, buf_at(from, at), n);
        if (k->sync(e) || tensors_append(w, name, chunk, TENSOR_F32, n, e)) return -1;
    }
    return 0;
}

/* What this rank writes: of tensors that all slices hold whole, the first slice's. */
static int piece_is_written(const Model *m, const ShardPiece *p) { return p->param->cut != CUT_NONE || m->config.decoder.slice == 0; }

/* The runs of a piece in the arena of the whole model, into runs (n, 2) unless it is NULL. The number of them. */
static int64_t piece_runs(const Model *m, const ShardPiece *p, int64_t *runs) {
    int64_t n = 0;
    for (int64_t at = p->first, end = p->first + p->count, run; at < end; at += run, n++) {
        int64_t place = p->param->whole_offset + params_whole_at(&m->params, p->param, at, &run);
        if (run > end - at) run = end - at;
        if (runs) runs[2 * n] = place, runs[2 * n + 1] = run;
    }
    return n;
}

/* "runs": (n, 2), where each begins in the arena of the whole model and how long it is, in rising order. */
static int save_optimizer(const Model *m, const Shard *shard, const char *path, Error *e) {
    int n;
    const ShardPiece *pieces = shard_pieces(shard, &n);
    TensorWriter *w = NULL;
    int64_t total = 0, shape[2] = { 0, 2 };
    for (int i = 0; i < n; i++)
        if (piece_is_written(m, &pieces[i])) total += pieces[i].count, shape[0] += piece_runs(m, &pieces[i], NULL);
    int64_t *runs = mem_new((size_t)shape[0] * 2 + 1, sizeof *runs, "checkpoint buffer", e), at = 0;
    float *chunk = mem_new(CHUNK, sizeof *chunk, "checkpoint buffer", e);
    for (int i = 0; i < n && runs; i++)
        if (piece_is_written(m, &pieces[i])) at += piece_runs(m, &pieces[i], runs + 2 * at);
    int bad = !runs || !chunk || tensors_create(&w, path, 0, e) || tensors_declare(w, "runs", TENSOR_I64, 2, shape, e);
    for (int f = 0; f < FLATS && !bad; f++) bad = tensors_declare(w, flat_names[f], TENSOR_F32, 1, &total, e);
    bad = bad || tensors_append(w, "runs", runs, TENSOR_I64, shape[0] * 2, e);
    for (int f = 0; f < FLATS && !bad; f++)
        for (int i = 0; i < n && !bad; i++)
            if (piece_is_written(m, &pieces[i])) bad = flat_append(pieces[i].keeper, w, flat_names[f], flat_of(&pieces[i], f), pieces[i].count, chunk, e);
    free(chunk);
    free(runs);
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

/* What a listed file must be. */
typedef struct Listed {
    char name[NAME], hash[HASH_TEXT];
    int64_t size;
} Listed;

static int listed_look(const char *folder, const char *name, Listed *out, Error *e) {
    char path[PATH_SIZE];
    struct stat st;
    snprintf(out->name, sizeof out->name, "%s", name);
    if (path_join(path, folder, name, e) || hash_file(path, out->hash, e)) return -1;
    if (stat(path, &st)) return error_what(e, "cannot read file"), error_where(e, "%s", path), error_found(e, "%s", strerror(errno));
    out->size = st.st_size;
    return 0;
}

static int list_write(const char *folder, const Listed *list, int n, Error *e) {
    char path[PATH_SIZE];
    json_t *files = json_array();
    for (int i = 0; files && i < n; i++)
        json_array_append_new(files, json_pack("{s:s, s:I, s:s}", "name", list[i].name, "bytes", (json_int_t)list[i].size, "xxh3", list[i].hash));
    json_t *top = files ? json_pack("{s:o}", "files", files) : NULL;
    char *text = top ? json_dumps(top, JSON_INDENT(1)) : NULL;
    json_decref(top);
    int bad = !text ? error_what(e, "out of memory") : path_join(path, folder, list_name, e) || file_write(path, text, strlen(text), e);
    free(text);
    return bad ? -1 : 0;
}

static int unit_exact(void *shard, int unit, Buf *weights, Error *e) { return shard_unit_exact(shard, unit, weights, e); }

/* The model's files, written by rank 0, to which the others give what they hold. */
static int model_write(Model *m, Shard *shard, const Ranks *r, const RunConfig *c, const char *folder, Error *e) {
    ParamSource source = { shard, unit_exact };
    if (ranks_lead(r)) return params_export_from(&m->params, m->k, &source, checkpoint_dtype(c), m->folder, folder, e);
    for (int u = 0; u < m->params.units_n; u++) {
        Buf weights;
        if (shard_unit_exact(shard, u, &weights, e)) return -1;
    }
    return m->k->sync(e);
}

/* What every slice of a model holds whole is stepped by each alone and must stay the same to the bit; a checkpoint stores the first slice's. */
static int slices_agree(const Shard *shard, const Ranks *r, Error *e) {
    int n, bad = 0;
    const ShardPiece *pieces = shard_pieces(shard, &n);
    uint64_t mine = 0;
    WorldBytes all = { 0 };
    if (r->slices == 1) return 0;
    float *chunk = mem_new(CHUNK, sizeof *chunk, "checkpoint buffer", e);
    if (!chunk) return -1;
    for (int i = 0; i < n * FLATS && !bad; i++) {
        const ShardPiece *p = &pieces[i / FLATS];
        for (int64_t at = 0, count; at < p->count && p->param->cut == CUT_NONE && !bad; at += count) {
            count = p->count - at < CHUNK ? p->count - at : CHUNK;
            p->keeper->download(chunk, buf_at(flat_of(p, i % FLATS), at), count);
            bad = p->keeper->sync(e);
            mine = hash64(chunk, (size_t)count * sizeof *chunk, mine);
        }
    }
    free(chunk);
    if (bad || world_all_gather("comparing slices", &mine, sizeof mine, &all, e)) return -1;
    if (((const uint64_t *)all.data)[ranks_self(r) - r->slice] != mine) {
        error_what(e, "the slices of the model have come apart"), error_where(e, "norms and embedding of slice %d", r->slice);
        error_found(e, "other bits than slice 0 has");
        bad = error_hint(e, "ranks.tensor needs ranks that compute the same bits: equal processors and programs");
    }
    world_bytes_free(&all);
    return bad ? -1 : 0;
}

/* This rank's part of the state, and the list of all parts on rank 0. */
static int state_write(Model *m, Shard *shard, const Ranks *r, const char *folder, const TrainState *s, Error *e) {
    char name[NAME], path[PATH_SIZE];
    int n = owners(shard, r), bad = 0;
    Listed mine = { 0 }, *list;
    WorldBytes all = { 0 };
    if (ranks_self(r) < n) {
        optimizer_name(name, ranks_self(r), n);
        if (path_join(path, folder, name, e) || save_optimizer(m, shard, path, e) || listed_look(folder, name, &mine, e)) return -1;
    }
    if (ranks_all(r) > 1 && world_gather("saving a checkpoint", 0, &mine, sizeof mine, &all, e)) return -1;
    if (!ranks_lead(r)) return 0;
    if (!(list = mem_new((size_t)n + 1, sizeof *list, "checkpoint's list", e))) bad = -1;
    else {
        for (int i = 0; i < n; i++) list[i] = ranks_all(r) > 1 ? ((const Listed *)all.data)[i] : mine;
        bad = path_join(path, folder, trainer_name, e) || save_state(s, path, e) || listed_look(folder, trainer_name, &list[n], e) ||
              list_write(folder, list, n + 1, e);
    }
    free(list);
    world_bytes_free(&all);
    return bad ? -1 : 0;
}

static int folder_save(Model *m, Shard *shard, const Ranks *r, const RunConfig *c, const char *folder, const TrainState *s, Error *e) {
    char path[PATH_SIZE], temporary[PATH_SIZE];
    checkpoint_path(path, folder, s->step);
    if (snprintf(temporary, sizeof temporary, "%s%s", path, partial) >= (int)sizeof temporary) return error_what(e, "path is too long"), error_where(e, "%.200s...", path);
    if (ranks_lead(r) && (folder_remove(temporary, e) || folder_make(folder, e))) return -1;
    if (slices_agree(shard, r, e) || model_write(m, shard, r, c, temporary, e) || ranks_meet(r, "saving a checkpoint", e) || state_write(m, shard, r, temporary, s, e)) {
        if (ranks_all(r) == 1) folder_remove(temporary, NULL); /* of several, others may be writing there: the next start removes it */
        return -1;
    }
    if (ranks_lead(r) && (folder_remove(path, e) || folder_rename(temporary, path, e))) return -1;
    return ranks_meet(r, "saving a checkpoint", e);
}

/* One rank writes what the others wait for, however long the disk takes. */
int checkpoint_save(Model *m, Shard *shard, const Ranks *r, const RunConfig *c, const char *folder, const TrainState *s, Error *e) {
    world_watch_untimed("saving a checkpoint");
    int bad = folder_save(m, shard, r, c, folder, s, e);
    world_unwatch();
    return bad;
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

/* Steps of the folders named checkpoint-STEP and `suffix` in `folder`, newest first. The number of them, or -1. */
static int steps_list(const char *folder, const char *suffix, int64_t **out, Error *e) {
    *out = NULL;
    DIR *d = opendir(folder);
    if (!d) return errno == ENOENT ? 0 : (error_what(e, "cannot list folder"), error_where(e, "%s", folder), error_found(e, "%s", strerror(errno)));
    size_t n = 0, cap = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        long long step;
        int end = 0;
        if (sscanf(entry->d_name, "checkpoint-%lld%n", &step, &end) != 1 || strcmp(entry->d_name + end, suffix)) continue;
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

/* The newest checkpoint of a job before step `before`. */
static int latest_find(const char *folder, const char *job, int64_t before, TrainState *s, Error *e) {
    int64_t *steps;
    int n = steps_list(folder, "", &steps, e), found = 0;
    for (int i = 0; i < n && !found; i++) {
        char path[PATH_SIZE], file[PATH_SIZE];
        checkpoint_path(path, folder, steps[i]);
        /* a pruned checkpoint has no optimizer state; one of another job is not ours to continue */
        if (steps[i] >= before || path_join(file, path, list_name, NULL) || !file_exists(file) || path_join(file, path, trainer_name, NULL) || state_read(file, s, NULL)) continue;
        found = !strcmp(s->job, job) && s->step == steps[i];
    }
    free(steps);
    return n < 0 ? -1 : found;
}

/* Removes what a kill left of checkpoints that were being written. */
static int partials_remove(const char *folder, Error *e) {
    int64_t *steps;
    int n = steps_list(folder, partial, &steps, e), bad = n < 0;
    for (int i = 0; i < n && !bad; i++) {
        char path[PATH_SIZE], temporary[PATH_SIZE + sizeof partial];
        checkpoint_path(path, folder, steps[i]);
        snprintf(temporary, sizeof temporary, "%s%s", path, partial);
        bad = folder_remove(temporary, e);
    }
    free(steps);
    return bad ? -1 : 0;
}

int checkpoint_latest(const char *folder, const Ranks *r, const char *job, TrainState *s, Error *e) {
    struct {
        TrainState state;
        int found;
    } latest = { 0 };
    if (ranks_lead(r) && partials_remove(folder, e)) return -1;
    if (ranks_lead(r) && (latest.found = latest_find(folder, job, INT64_MAX, &latest.state, e)) < 0) return -1;
    if (ranks_all(r) > 1 && world_broadcast("looking for a checkpoint", 0, &latest, sizeof latest, e)) return -1;
    *s = latest.state;
    return latest.found;
}

/* ---- load ---- */

/* What to do about a damaged checkpoint. */
static int damaged(const char *folder, const TrainState *s, Error *e) {
    TrainState before;
    char path[PATH_SIZE], older[PATH_SIZE];
    checkpoint_path(path, folder, s->step);
    if (latest_find(folder, s->job, s->step, &before, NULL) == 1) {
        checkpoint_path(older, folder, before.step);
        return error_hint(e, "remove %.300s to go on from %.300s", path, older);
    }
    return error_hint(e, "remove %.300s to begin again", path);
}

static int listed_check(const char *folder, const Listed *l, Error *e) {
    Listed have;
    if (listed_look(folder, l->name, &have, e)) return -1;
    if (have.size == l->size && !strcmp(have.hash, l->hash)) return 0;
    error_what(e, "a file of the checkpoint is not what was written"), error_where(e, "%s/%s", folder, l->name);
    error_found(e, "%lld bytes, hash %s", (long long)have.size, have.hash);
    return error_expected(e, "%lld bytes, hash %s", (long long)l->size, l->hash);
}

/* The listed files. The number of them, or -1. */
static int list_read(const char *folder, Listed **out, Error *e) {
    char path[PATH_SIZE];
    json_t *top;
    *out = NULL;
    if (path_join(path, folder, list_name, e) || json_read_object(path, &top, e)) return -1;
    const json_t *files = json_object_get(top, "files");
    int n = (int)json_array_size(files), bad = n < 1 ? error_what(e, "no files are listed"), error_where(e, "%s", path), -1 : 0;
    if (!bad && !(*out = mem_new((size_t)n, sizeof **out, "checkpoint's list", e))) bad = -1;
    for (int i = 0; i < n && !bad; i++) {
        const json_t *file = json_array_get(files, (size_t)i);
        const char *name, *hash;
        bad = json_need_string(file, "name", path, &name, e) || json_need_string(file, "xxh3", path, &hash, e) ||
              json_need_integer(file, "bytes", path, 0, INT64_MAX, &(*out)[i].size, e);
        if (bad) break;
        if (!checkpoint_is_state(name) || strlen(name) >= NAME || strlen(hash) >= HASH_TEXT)
            bad = error_what(e, "not a file of a checkpoint"), error_where(e, "%s", path), error_found(e, "%.100s", name);
        else strcpy((*out)[i].name, name), strcpy((*out)[i].hash, hash);
    }
    json_decref(top);
    if (bad) free(*out), *out = NULL;
    return bad ? -1 : n;
}

/* One rank's file, open. */
typedef struct Stored {
    TensorSet set;
    const Tensor *flats[FLATS];
    int64_t *runs, *places, runs_n, total; /* places: where each run's values begin in the flats */
} Stored;

static void stored_close(Stored *s) {
    free(s->runs);
    free(s->places);
    tensors_close(&s->set);
}

static int stored_open(Stored *s, const char *path, Error *e) {
    *s = (Stored){ 0 };
    if (tensors_open(&s->set, path, e)) return -1;
    const Tensor *runs = tensors_find(&s->set, "runs");
    int bad = !runs || runs->type != TENSOR_I64 || runs->ndim != 2 || runs->shape[1] != 2;
    if (!bad) {
        s->runs_n = runs->shape[0];
        s->runs = mem_new((size_t)runs->count + 1, sizeof *s->runs, "checkpoint buffer", e);
        s->places = s->runs ? mem_new((size_t)s->runs_n + 1, sizeof *s->places, "checkpoint buffer", e) : NULL;
        if (!s->places) return stored_close(s), -1;
        memcpy(s->runs, runs->data, (size_t)runs->count * sizeof *s->runs);
        for (int64_t i = 0, end = 0; i < s->runs_n && !bad; i++) {
            s->places[i] = s->total;
            bad = s->runs[2 * i] < end || s->runs[2 * i + 1] < 0 || __builtin_add_overflow(s->runs[2 * i], s->runs[2 * i + 1], &end) ||
                  __builtin_add_overflow(s->total, s->runs[2 * i + 1], &s->total);
        }
    }
    for (int f = 0; f < FLATS && !bad; f++) {
        s->flats[f] = tensors_find(&s->set, flat_names[f]);
        bad = !s->flats[f] || s->flats[f]->type != TENSOR_F32 || s->flats[f]->count != s->total;
    }
    if (!bad) return 0;
    stored_close(s);
    return error_what(e, "not a part of a training state"), error_where(e, "%s", path), error_expected(e, "runs (n, 2) in rising order, and weights, m and v that fill them");
}

/* The last run of the file that begins at or before `place`, or the first one. */
static int64_t run_before(const Stored *s, int64_t place) {
    int64_t low = 0, high = s->runs_n;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (s->runs[2 * middle] <= place) low = middle;
        else high = middle;
    }
    return low;
}

/* Copies what the file has of elements `place` to `place + count` of the whole model's arena, which are those from `at` on of the piece. */
static int64_t run_fill(const Stored *s, const ShardPiece *p, int64_t at, int64_t place, int64_t count, float *chunk) {
    int64_t filled = 0;
    for (int64_t i = run_before(s, place); i < s->runs_n && s->runs[2 * i] < place + count; i++) {
        int64_t run = s->runs[2 * i], run_end = run + s->runs[2 * i + 1];
        int64_t from = run > place ? run : place, to = run_end < place + count ? run_end : place + count;
        for (int64_t x = from, n; x < to; x += n) {
            n = to - x < CHUNK ? to - x : CHUNK;
            for (int f = 0; f < FLATS; f++) {
                memcpy(chunk, (const char *)s->flats[f]->data + (s->places[i] + x - run) * 4, (size_t)n * 4); /* mapped data has no alignment */
                p->keeper->upload(buf_at(flat_of(p, f), at + x - place), chunk, n);
            }
        }
        if (to > from) filled += to - from;
    }
    return filled;
}

/* Copies what the file has of a piece. How many of its elements that are. */
static int64_t piece_fill(const Model *m, const Stored *s, const ShardPiece *p, float *chunk) {
    int64_t filled = 0;
    for (int64_t at = 0, run; at < p->count; at += run) {
        int64_t place = p->param->whole_offset + params_whole_at(&m->params, p->param, p->first + at, &run);
        if (run > p->count - at) run = p->count - at;
        filled += run_fill(s, p, at, place, run, chunk);
    }
    return filled;
}

static int pieces_load(Model *m, Shard *shard, const char *folder, const Listed *list, int n, Error *e) {
    int pieces_n, bad = 0;
    const ShardPiece *pieces = shard_pieces(shard, &pieces_n);
    int64_t want = 0, filled = 0;
    float *chunk = mem_new(CHUNK, sizeof *chunk, "checkpoint buffer", e);
    if (!chunk) return -1;
    for (int f = 0; f < n && !bad; f++) {
        Stored s;
        char path[PATH_SIZE];
        if (strncmp(list[f].name, optimizer_prefix, sizeof optimizer_prefix - 1)) continue;
        if ((bad = path_join(path, folder, list[f].name, e) || stored_open(&s, path, e))) break;
        for (int i = 0; i < pieces_n; i++) filled += piece_fill(m, &s, &pieces[i], chunk);
        stored_close(&s);
    }
    free(chunk);
    for (int i = 0; i < pieces_n; i++) want += pieces[i].count;
    shard_masters_loaded(shard);
    if (!bad && filled != want) {
        error_what(e, "checkpoint does not fit the model"), error_where(e, "%s", folder);
        error_found(e, "%lld of this rank's values", (long long)filled), error_expected(e, "%lld", (long long)want);
        bad = -1;
    }
    return bad ? -1 : 0;
}

static int folder_load(Model *m, Shard *shard, const Ranks *r, const char *folder, const TrainState *s, Error *e) {
    char path[PATH_SIZE];
    Listed *list;
    checkpoint_path(path, folder, s->step);
    int n = list_read(path, &list, e), bad = n < 0;
    for (int i = ranks_self(r); i < n && !bad; i += ranks_all(r)) bad = listed_check(path, &list[i], e); /* each rank looks at some */
    if (bad) {
        damaged(folder, s, e);
        free(list);
        return -1;
    }
    bad = ranks_meet(r, "checking a checkpoint", e) || pieces_load(m, shard, path, list, n, e) || shard_step_end(shard, e);
    free(list);
    return bad ? -1 : 0;
}

int checkpoint_load(Model *m, Shard *shard, const Ranks *r, const char *folder, const TrainState *s, Error *e) {
    world_watch_untimed("reading a checkpoint");
    int bad = folder_load(m, shard, r, folder, s, e);
    world_unwatch();
    return bad;
}

int checkpoint_prune(const char *folder, int keep, const int64_t *spare, int spare_n, Error *e) {
    if (keep <= 0) return 0;
    int64_t *steps;
    int n = steps_list(folder, "", &steps, e), bad = n < 0;
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

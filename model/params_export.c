/* params_export.c - owns the writing of a whole checkpoint folder: weights, and the files other tools expect beside them.
 *
 * The folder is written under another name and renamed when it is complete, so an old checkpoint stands until the new one does.
 * Files are copied byte for byte, except where a copy would say what is no longer so: config.json's dtype, mm_vision_tower when the
 * tower's folder stood outside the checkpoint, and a generation_config.json that Transformers refuses to save again.
 * Refuses to replace a folder that is not a checkpoint. */
#include "model/checkpoint.h"

#include "base/json.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const int64_t SHARD_LIMIT = 5000000000; /* as Transformers cuts them */

static const char *const companions[] = { "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt", "added_tokens.json",
    "special_tokens_map.json", "preprocessor_config.json", "processor_config.json", "chat_template.json", "chat_template.jinja" };

static int copy_if_there(const char *from_folder, const char *to_folder, const char *name, Error *e) {
    char from[PATH_SIZE], to[PATH_SIZE];
    if (path_join(from, from_folder, name, e)) return -1;
    if (!file_exists(from)) return 0;
    return path_join(to, to_folder, name, e) || file_copy(from, to, e) ? -1 : 0;
}

static int write_json(const json_t *o, const char *folder, const char *name, Error *e) {
    char path[PATH_SIZE];
    if (path_join(path, folder, name, e)) return -1;
    char *text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    if (!text) return error_what(e, "out of memory"), error_where(e, "%s", path);
    size_t n = strlen(text);
    text[n] = '\n'; /* in place of the end: the file needs none */
    int failed = file_write(path, text, n + 1, e);
    free(text);
    return failed;
}

static int set_string(json_t *o, const char *key, const char *value, Error *e) {
    if (!json_object_set_new(o, key, json_string(value))) return 0;
    return error_what(e, "out of memory"), error_where(e, "config.json");
}

/* Where the tower's config stands within `like`: the path below it, or NULL when it stands elsewhere or nowhere. */
static const char *tower_within(const Params *p, const char *like) {
    size_t n = strlen(like);
    while (n > 1 && like[n - 1] == '/') n--;
    const char *folder = p->config->vision_folder;
    if (strncmp(folder, like, n) || folder[n] != '/' || strstr(folder + n, "/../")) return NULL;
    while (folder[n] == '/') n++;
    return folder + n;
}

static int copy_tower(const Params *p, const char *like, const char *folder, Error *e) {
    char to[PATH_SIZE];
    if (!p->config->vision_folder[0]) return 0;
    const char *within = tower_within(p, like);
    return path_join(to, folder, within ? within : "vision", e) || folder_make(to, e) ||
                   copy_if_there(p->config->vision_folder, to, "config.json", e) ||
                   copy_if_there(p->config->vision_folder, to, "preprocessor_config.json", e)
               ? -1
               : 0;
}

static int write_config(const Params *p, TensorType store, const char *like, const char *folder, Error *e) {
    const char *dtype = store == TENSOR_BF16 ? "bfloat16" : store == TENSOR_F16 ? "float16" : "float32";
    int as_stored = store == (TensorType)TENSOR_AS_STORED;
    char path[PATH_SIZE];
    json_t *o;
    if (path_join(path, like, "config.json", e) || json_read_object(path, &o, e)) return -1;
    const char *key = json_object_get(o, "dtype") ? "dtype" : "torch_dtype", *said = json_string_value(json_object_get(o, key));
    int outside = p->config->vision_folder[0] && !tower_within(p, like);
    int failed = 0;
    int agrees = as_stored || !strcmp(said ? said : "float32", dtype);
    if (agrees && !outside) failed = copy_if_there(like, folder, "config.json", e);
    else
        failed = (!agrees && set_string(o, key, dtype, e)) || (outside && set_string(o, "mm_vision_tower", "./vision", e)) ||
                 write_json(o, folder, "config.json", e);
    json_decref(o);
    return failed ? -1 : 0;
}

/* Transformers refuses to save a model whose generation_config sets sampling values without do_sample (vicuna's does); greedy decoding
 * ignored them, so they go. */
static int write_generation_config(const char *like, const char *folder, Error *e) {
    static const char *const name = "generation_config.json";
    static const char *const sampling[] = { "temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff" };
    char path[PATH_SIZE];
    json_t *o;
    if (path_join(path, like, name, e)) return -1;
    if (!file_exists(path)) return 0;
    if (json_read_object(path, &o, e)) return -1;
    int changed = 0;
    for (size_t i = 0; i < sizeof sampling / sizeof *sampling && !json_is_true(json_object_get(o, "do_sample")); i++)
        changed |= !json_object_del(o, sampling[i]);
    int failed = changed ? write_json(o, folder, name, e) : copy_if_there(like, folder, name, e);
    json_decref(o);
    return failed;
}

static int write_all(const Params *p, const Kernels *k, const ParamSource *source, TensorType store, const char *like, const char *folder, Error *e) {
    if (folder_make(folder, e) || params_write(p, k, source, store, folder, SHARD_LIMIT, e) || write_config(p, store, like, folder, e) ||
        write_generation_config(like, folder, e) || copy_tower(p, like, folder, e))
        return -1;
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++)
        if (copy_if_there(like, folder, companions[i], e)) return -1;
    return 0;
}

/* ---- taking the place of what was there ---- */

/* 0 nothing there, 1 a checkpoint or an empty folder, -1 something that must not be lost. */
static int target_state(const char *folder, Error *e) {
    struct stat info;
    char config[PATH_SIZE];
    if (lstat(folder, &info)) return 0;
    if (path_join(config, folder, "config.json", e)) return -1;
    int entries = 0;
    DIR *open = S_ISDIR(info.st_mode) ? opendir(folder) : NULL;
    if (open) {
        for (struct dirent *entry; (entry = readdir(open));) entries += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
        closedir(open);
        if (!entries || file_exists(config)) return 1;
    }
    return error_what(e, "will not replace"), error_where(e, "%s", folder),
           error_found(e, open ? "a folder without config.json" : "not a folder"),
           error_expected(e, "nothing, an empty folder, or a checkpoint"), error_hint(e, "choose another place for the model");
}

static int replace(const char *whole, const char *folder, const char *old, Error *e) {
    if (folder_remove(old, e) || folder_rename(folder, old, e)) return -1;
    if (folder_rename(whole, folder, e)) {
        folder_rename(old, folder, NULL); /* back to what it was; the first error is the one to tell */
        return -1;
    }
    return folder_remove(old, e);
}

int params_export_from(const Params *p, const Kernels *k, const ParamSource *source, TensorType store, const char *like, const char *folder, Error *e) {
    char partial[PATH_SIZE], old[PATH_SIZE];
    int n = (int)strlen(folder);
    while (n > 1 && folder[n - 1] == '/') n--;
    if (snprintf(partial, sizeof partial, "%.*s.partial", n, folder) >= (int)sizeof partial ||
        snprintf(old, sizeof old, "%.*s.old", n, folder) >= (int)sizeof old)
        return error_what(e, "path too long"), error_where(e, "%.100s...", folder);
    int there = target_state(folder, e);
    if (there < 0 || folder_remove(partial, e)) return -1;
    if (write_all(p, k, source, store, like, partial, e) || (there ? replace(partial, folder, old, e) : folder_rename(partial, folder, e))) {
        folder_remove(partial, NULL);
        return -1;
    }
    return 0;
}

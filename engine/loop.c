/* loop.c - owns the run folder of a process and the model in memory. */
#include "engine/loop.h"

#include "engine/checkpoint.h"
#include "engine/claim_replies.h"
#include "engine/plan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the folder ---- */

/* An flock ends with the process, however it ends. */
static int lock_take(Loop *l, Error *e) {
    char path[PATH_SIZE];
    if (folder_make(l->config->run.dir, e) || path_join(path, l->config->run.dir, ".lock", e)) return -1;
    l->lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (l->lock < 0) return error_what(e, "cannot make lock"), error_where(e, "%s", path), error_found(e, "%s", strerror(errno));
    return file_lock(l->lock, l->config->run.dir, "another process works in this run folder", "", "wait for it, or give another run.dir", e);
}

static int begin(Loop *l, const RunConfig *c, Error *e) {
    memset(l, 0, sizeof *l);
    l->config = c;
    l->lock = -1;
    l->answering = mem_new(1, sizeof *l->answering, "config", e);
    l->other = mem_new(1, sizeof *l->other, "config", e);
    if (!l->answering || !l->other) return -1;
    *l->answering = *c;
    l->answering->sample.n = c->eval.n;
    l->answering->sample.temperature = c->eval.temperature;
    l->answering->sample.top_p = c->eval.top_p;
    l->answering->sample.top_k = c->eval.top_k;
    l->answering->sample.max_new_tokens = c->eval.max_new_tokens;
    l->answering->sample.repetition_penalty = c->eval.repetition_penalty;
    l->answering->sample.beams = c->eval.beams;
    *l->other = *c;
    l->other->sample.n = c->sample.other_n;
    if (c->sample.other[0]) memcpy(l->other->chat.template_name, c->sample.other_template, sizeof l->other->chat.template_name);
    l->other->sample.beams = c->sample.other_beams;
    if (c->sample.other_temperature >= 0) l->other->sample.temperature = c->sample.other_temperature;
    return 0;
}

int loop_open(Loop *l, const RunConfig *c, Error *e) {
    if (begin(l, c, e)) goto fail;
    progress_init(&l->progress, c->run.quiet ? NULL : stderr);
    l->told = json_object();
    if (lock_take(l, e) || !(l->kernels = kernels_open(c->run.device, c->run.threads, e)) || ledger_open(&l->ledger, c->run.dir, e)) goto fail;
    l->ledger.isa = l->kernels->isa;
    if (!(l->metrics = metrics_open(c->run.dir, e))) goto fail;
    return 0;
fail:
    loop_close(l);
    return -1;
}

int loop_join(Loop *l, const RunConfig *c, Error *e) {
    if (!begin(l, c, e) && (l->kernels = kernels_open(c->run.device, c->run.threads, e))) return 0;
    loop_close(l);
    return -1;
}

/* What became of the plan; what host code holds is not in it. */
static void memory_say(Loop *l) {
    char text[32];
    int64_t peak = l->kernels->bytes_peak();
    progress_say(&l->progress, "memory: at most %lld bytes (%s) were held on %s", (long long)peak, plan_bytes_text(peak, text), l->kernels->name);
}

int loop_ranks_open(Loop *l, Error *e) { return ranks_open(&l->ranks, l->config, l->kernels, e); }

void loop_close(Loop *l) {
    loop_model_drop(l);
    ranks_close(&l->ranks);
    if (l->metrics && l->config->run.plan != PLAN_OFF) memory_say(l);
    if (l->metrics) metrics_close(l->metrics);
    if (l->ledger.rows) ledger_close(&l->ledger);
    json_decref(l->told);
    free(l->known);
    free(l->answering);
    free(l->other);
    if (l->lock >= 0) close(l->lock);
    memset(l, 0, sizeof *l);
    l->lock = -1;
}

int loop_path(const Loop *l, char out[PATH_SIZE], Error *e, const char *format, ...) {
    char relative[PATH_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(relative, sizeof relative, format, args);
    va_end(args);
    if (n < 0 || n >= (int)sizeof relative) return error_what(e, "path too long"), error_where(e, "%.100s...", relative);
    return path_join(out, l->config->run.dir, relative, e);
}

int loop_config_write(const Loop *l, Error *e) {
    char path[PATH_SIZE];
    return loop_path(l, path, e, "config.ini") || config_write(l->config, path, e) ? -1 : 0;
}

int loop_plan(Loop *l, unsigned phases, Error *e) {
    int64_t memory = l->kernels->bytes_free();
    if (l->kernels->unified && memory > 0) memory /= world_here()->node_size;
    return plan_start(l->config, world_here()->size, memory, phases, loop_progress(l), e);
}

/* ---- the model ---- */

void loop_model_drop(Loop *l) {
    if (l->open[0]) vlm_close(&l->vlm);
    l->open[0] = 0;
}

/* Each template once, by the rank that speaks. */
static void chat_say(Loop *l) {
    char line[600];
    vlm_chat_text(&l->vlm, line, sizeof line);
    if (!l->told || json_object_get(l->told, line)) return;
    progress_say(&l->progress, "%s", line);
    json_object_set_new(l->told, line, json_true());
}

int loop_model(Loop *l, const char *folder, const char *chat, Vlm **out, Error *e) {
    const RunConfig *c = l->config;
    *out = &l->vlm;
    if (!strcmp(l->open, folder) && !strcmp(l->chat, chat)) return 0;
    loop_model_drop(l);
    if (vlm_open_slice(&l->vlm, l->kernels, l->ranks.tensor, folder, c->run.dtype, chat, (int)c->train.image_aspect, e)) return -1;
    l->vlm.exif = c->data.exif;
    l->vlm.ahead_images = c->data.prefetch;
    snprintf(l->open, sizeof l->open, "%s", folder);
    snprintf(l->chat, sizeof l->chat, "%s", chat);
    chat_say(l);
    return 0;
}

/* ---- arrows ---- */

static void known_forget(Loop *l, const char *folder) {
    for (size_t i = 0; i < l->known_n; i++)
        if (!strcmp(l->known[i].path, folder)) l->known[i--] = l->known[--l->known_n];
}

int loop_input_model(Loop *l, Arrow *a, const char *name, const char *folder, Error *e) {
    for (size_t i = 0; i < l->known_n; i++)
        if (!strcmp(l->known[i].path, folder)) return arrow_input_text(a, name, l->known[i].hash, e);
    if (mem_grow(&l->known, &l->known_cap, l->known_n + 1, sizeof *l->known, "hashes", e)) return -1;
    KnownHash *k = &l->known[l->known_n];
    snprintf(k->path, sizeof k->path, "%s", folder);
    if (hash_path(folder, k->hash, e)) return -1;
    l->known_n++;
    return arrow_input_text(a, name, k->hash, e);
}

int loop_input_claims(Loop *l, Arrow *a, const char *labeler, Error *e) {
    const RunConfig *c = l->config;
    ClaimPrompts prompts;
    if (c->label.mode == LABEL_HOLISTIC) {
        char *whole, hash[HASH_TEXT];
        if (claim_whole_load(&whole, c->label.prompt, e)) return -1;
        hash_bytes(whole, strlen(whole), hash);
        free(whole);
        return arrow_input_text(a, "label_prompt", hash, e);
    }
    if (!claims_by_model(c)) return 0;
    if (claim_prompts_load(&prompts, c->claims.split_prompt, c->claims.question_prompt, e)) return -1;
    int bad = loop_input_model(l, a, "claims_model", claims_model(c, labeler), e) || arrow_input_text(a, "claims_prompts", prompts.hash, e);
    claim_prompts_free(&prompts);
    return bad ? -1 : 0;
}

int loop_input_settings(const Loop *l, Arrow *a, const char *keys, Error *e) {
    char hash[HASH_TEXT];
    return config_hash(l->config, keys, hash, e) ? -1 : arrow_input_text(a, "settings", hash, e);
}

int loop_skip(Loop *l, const Arrow *a, Error *e) {
    char why[256];
    int done = ledger_done(&l->ledger, a, why, sizeof why, e);
    if (done < 0) return -1;
    const json_t *row = ledger_find(&l->ledger, a->iteration, a->name);
    if (done && ledger_by_other(&l->ledger, row))
        progress_say(&l->progress, "  %s: done before, by rlaifv %s on %s", a->name, json_string_value(json_object_get(row, "program")),
            json_string_value(json_object_get(row, "isa")));
    else if (done) progress_say(&l->progress, "  %s: done before", a->name);
    else if (row) progress_say(&l->progress, "  %s: again, as %s", a->name, why);
    return done;
}

int loop_metrics(Loop *l, const Arrow *a, MetricRow *row, Error *e) {
    metric_row(row, a->iteration, a->name, 0);
    if (ledger_find(&l->ledger, a->iteration, a->name)) return 0; /* a repeat: the new row follows the old */
    for (size_t i = 0; i < json_array_size(l->ledger.rows); i++)
        if (json_integer_value(json_object_get(json_array_get(l->ledger.rows, i), "iteration")) > a->iteration) return 0;
    return metrics_resume(l->metrics, a->iteration, a->name, -1, e);
}

int loop_dataset(const Loop *l, const char *path, int first, int limit, Dataset *out, Error *e) {
    char unpack[PATH_SIZE];
    if (loop_path(l, unpack, e, "images")) return -1;
    DataOptions options = { .need = DATA_IMAGE | DATA_QUESTION | DATA_UNIQUE,
        .images = l->config->data.images,
        .unpack = unpack,
        .strict = l->config->data.strict,
        .first = first,
        .limit = limit };
    return dataset_read(out, path, &options, e);
}

void loop_dataset_say(Loop *l, const Dataset *d) {
    char line[512], key[PATH_SIZE + 512];
    snprintf(key, sizeof key, "%s\n%s", d->path, dataset_summary(d, line, sizeof line));
    if (json_object_get(l->told, key)) return;
    progress_say(&l->progress, "  %s", line);
    json_object_set_new(l->told, key, json_true());
    if (json_object_get(l->told, d->path)) return;
    json_object_set_new(l->told, d->path, json_true());
    for (int i = 0; i < d->drops_n; i++) progress_say(&l->progress, "    dropped: %s", d->drops[i].reason);
}

uint64_t loop_seed(const RunConfig *c, int iteration) { return (uint64_t)c->run.seed + (uint64_t)(iteration - 1) * 0x9e3779b97f4a7c15u; }

uint64_t loop_seed_judged(const RunConfig *c) { return hash64(&c->run.seed, sizeof c->run.seed, 0x6a75646765u); }

/* ---- model folders ---- */


static int folder_link(const char *from, const char *to, int depth, Error *e) {
    DIR *d = opendir(from);
    if (!d) return error_what(e, "cannot list folder"), error_where(e, "%s", from), error_found(e, "%s", strerror(errno));
    int bad = folder_make(to, e);
    for (struct dirent *entry; !bad && (entry = readdir(d));) {
        char source[PATH_SIZE], target[PATH_SIZE];
        struct stat info;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || (depth == 0 && checkpoint_is_state(entry->d_name))) continue;
        bad = path_join(source, from, entry->d_name, e) || path_join(target, to, entry->d_name, e);
        if (!bad && stat(source, &info))
            bad = error_what(e, "cannot inspect file"), error_where(e, "%s", source), error_found(e, "%s", strerror(errno));
        if (bad) break;
        if (S_ISDIR(info.st_mode))
            bad = depth < 4 ? folder_link(source, target, depth + 1, e) : (error_what(e, "folders too deep"), error_where(e, "%s", source));
        else if (link(source, target)) bad = file_copy(source, target, e); /* files of a checkpoint are replaced, never written in place */
    }
    closedir(d);
    return bad ? -1 : 0;
}

int loop_install(Loop *l, const char *from, const char *folder, Error *e) {
    char temporary[PATH_SIZE];
    if (snprintf(temporary, sizeof temporary, "%s.partial", folder) >= (int)sizeof temporary)
        return error_what(e, "path too long"), error_where(e, "%.200s...", folder);
    if (!strcmp(l->open, folder)) loop_model_drop(l);
    known_forget(l, folder);
    if (folder_remove(temporary, e) || folder_link(from, temporary, 0, e) || folder_remove(folder, e)) return -1;
    return folder_rename(temporary, folder, e);
}

/* partial.c - owns the .growing file of an arrow. A line cut short by a crash is cut away; a damaged line ends what is trusted. */
#include "engine/partial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void partial_close(Partial *p) {
    if (p->stream) fclose(p->stream);
    free(p->lines);
    memset(p, 0, sizeof *p);
}

static int mark(Partial *p, size_t group, int64_t offset, Error *e) {
    size_t had = p->cap;
    if (mem_grow(&p->lines, &p->cap, group + 1, sizeof *p->lines, "finished groups", e)) return -1;
    memset(p->lines + had, 0, (p->cap - had) * sizeof *p->lines);
    if (!p->lines[group]) p->done++;
    p->lines[group] = offset + 1;
    if (group >= p->groups) p->groups = group + 1;
    return 0;
}

static int lead(const Partial *p) { return !p->ranks || ranks_lead(p->ranks); }
static int together(const Partial *p) { return p->ranks && ranks_all(p->ranks) > 1; }
/* The slices of one model have the same rows: the first writes them. */
static int writes(const Partial *p) { return !p->ranks || p->ranks->slice == 0; }

/* Takes over what an earlier start left. Returns the length of the file that is good, 0 when nothing is; -1 when memory is out. */
static int64_t take_over(Partial *p, const char *key, Error *e) {
    JsonLines in;
    json_t *row = NULL;
    int64_t good = 0;
    if (jsonl_open(&in, p->path, NULL)) return 0;
    while (jsonl_next(&in, &row, NULL) == 1) {
        const char *had = NULL;
        int64_t group = -1, end = ftell(in.stream);
        int fits, bad = 0;
        if (good == 0) fits = !json_need_string(row, "key", in.where, &had, NULL) && !strcmp(had, key);
        else {
            fits = !json_need_integer(row, "group", in.where, 0, INT32_MAX, &group, NULL) && json_is_array(json_object_get(row, "rows"));
            bad = fits && mark(p, (size_t)group, good, e);
        }
        json_decref(row);
        if (bad) good = -1;
        if (bad || !fits) break;
        good = end;
    }
    jsonl_close(&in);
    return good;
}

int partial_has(const Partial *p, size_t group) { return group < p->groups && p->lines[group] > 0; }

static int key_write(Partial *p, const char *key, Error *e) {
    return jsonl_write(p->stream, json_pack("{s:s}", "key", key), e) || fflush(p->stream) ? file_error(e, "cannot write file", p->path) : 0;
}

/* Rank 0's file, with what is good of an earlier start. */
static int own_open(Partial *p, const char *key, Error *e) {
    int64_t good = take_over(p, key, e);
    if (good < 0) return -1;
    p->stream = fopen(p->path, good > 0 ? "r+e" : "w+e");
    if (!p->stream || (good > 0 && (ftruncate(fileno(p->stream), good) || fseek(p->stream, 0, SEEK_END))))
        return file_error(e, "cannot write file", p->path);
    /* a whole line without its newline: the crash fell between the two */
    if (good > 0 && (fseek(p->stream, -1, SEEK_END) || fgetc(p->stream) != '\n') &&
        (fseek(p->stream, 0, SEEK_END), fputc('\n', p->stream) == EOF))
        return file_error(e, "cannot write file", p->path);
    fseek(p->stream, 0, SEEK_END);
    return good == 0 ? key_write(p, key, e) : 0;
}

/* Takes over what a rank has left, as far as it is whole, has this key and is new, and removes its file. */
static int rank_take(Partial *p, int rank, const char *key, Error *e) {
    char path[PATH_SIZE + 16];
    JsonLines in;
    json_t *row = NULL, *rows;
    int bad = 0, first = 1;
    snprintf(path, sizeof path, "%s-%d", p->path, rank);
    if (!file_exists(path)) return 0;
    if (jsonl_open(&in, path, NULL)) return unlink(path), 0;
    while (!bad && jsonl_next(&in, &row, NULL) == 1) {
        const char *had = NULL, *refused = json_string_value(json_object_get(row, "refused"));
        int64_t group = -1;
        int fits = first ? !json_need_string(row, "key", in.where, &had, NULL) && !strcmp(had, key)
                         : !json_need_integer(row, "group", in.where, 0, INT32_MAX, &group, NULL) &&
                               json_is_array(rows = json_object_get(row, "rows"));
        if (fits && !first && !partial_has(p, (size_t)group)) bad = partial_add(p, (size_t)group, json_incref(rows), refused, e);
        json_decref(row);
        if (!fits) break;
        first = 0;
    }
    jsonl_close(&in);
    if (!bad) unlink(path);
    return bad;
}

static int ranks_take(Partial *p, const char *key, Error *e) {
    for (int rank = 1; rank < WORLD_RANKS_MOST; rank++)
        if (rank_take(p, rank, key, e)) return -1;
    return 0;
}

/* What rank 0 has is known to all. */
static int done_tell(Partial *p, Error *e) {
    int64_t n = (int64_t)p->groups;
    if (world_broadcast("finished groups", 0, &n, sizeof n, e)) return -1;
    unsigned char *has = mem_new((size_t)n + 1, 1, "finished groups", e);
    if (!has) return -1;
    for (int64_t g = 0; g < n && lead(p); g++) has[g] = (unsigned char)partial_has(p, (size_t)g);
    int bad = world_broadcast("finished groups", 0, has, n, e);
    for (int64_t g = 0; g < n && !lead(p) && !bad; g++)
        if (has[g]) bad = mark(p, (size_t)g, 0, e);
    free(has);
    return bad;
}

int partial_open(Partial *p, const char *out, const char *key, const Ranks *ranks, Error *e) {
    memset(p, 0, sizeof *p);
    p->ranks = ranks;
    char folder[PATH_SIZE];
    path_folder(folder, out);
    int rank = lead(p) ? 0 : ranks->rank, n = snprintf(p->path, sizeof p->path, rank ? "%s.growing-%d" : "%s.growing", out, rank);
    if (n >= (int)sizeof p->path || snprintf(p->out, sizeof p->out, "%s", out) >= (int)sizeof p->out)
        return error_what(e, "path is too long"), error_where(e, "%.200s...", out);
    int bad = together(p) && ranks_agree(ranks, "what is to be made", key, e);
    if (!bad && lead(p)) bad = folder_make(folder, e) || own_open(p, key, e) || ranks_take(p, key, e);
    if (!bad && together(p)) bad = done_tell(p, e);
    if (!bad && !lead(p) && writes(p))
        bad = !(p->stream = fopen(p->path, "w+e")) ? file_error(e, "cannot write file", p->path) : key_write(p, key, e);
    if (bad) partial_close(p);
    snprintf(p->key, sizeof p->key, "%s", key);
    return bad ? -1 : 0;
}

int partial_add(Partial *p, size_t group, json_t *rows, const char *refused, Error *e) {
    if (!writes(p)) return json_decref(rows), mark(p, group, 0, e);
    int64_t offset = ftell(p->stream);
    json_t *line = rows ? json_pack("{s:I, s:o}", "group", (json_int_t)group, "rows", rows) : NULL;
    if (!line) return error_what(e, "out of memory"), error_where(e, "%s", p->path);
    if (refused) json_object_set_new(line, "refused", json_string(refused));
    if (offset < 0 || jsonl_write(p->stream, line, e) || fflush(p->stream)) return file_error(e, "cannot write file", p->path);
    return mark(p, group, offset, e);
}

/* Reads one group's line and writes its rows. */
static int group_write(Partial *p, size_t group, FILE *to, char **buffer, size_t *size, void (*each)(void *, const json_t *), void *context,
    int *refused, Error *e) {
    if (!partial_has(p, group))
        return error_what(e, "a group is missing"), error_where(e, "%s", p->path), error_found(e, "nothing for group %zu", group);
    if (fseek(p->stream, (long)(p->lines[group] - 1), SEEK_SET) || getline(buffer, size, p->stream) < 0)
        return file_error(e, "cannot read file", p->path);
    json_t *line = json_loads(*buffer, 0, NULL), *row;
    if (!line) return error_what(e, "damaged line"), error_where(e, "%s", p->path), error_hint(e, "delete this file and start again");
    size_t i;
    int bad = 0;
    if (json_object_get(line, "refused") && refused) ++*refused;
    json_array_foreach(json_object_get(line, "rows"), i, row) {
        if (each) each(context, row);
        if ((bad = jsonl_write(to, json_incref(row), e))) break;
    }
    json_decref(line);
    return bad;
}

int partial_finish(Partial *p, size_t groups, void (*each)(void *context, const json_t *row), void *context, int *refused, Error *e) {
    FileOut out;
    char *buffer = NULL;
    size_t size = 0;
    if (together(p) && ranks_meet_patiently(p->ranks, "waiting for the other ranks' rows", e)) return -1;
    if (!lead(p)) {
        const Ranks *ranks = p->ranks;
        partial_close(p);
        return ranks_meet_patiently(ranks, "rank 0's file", e);
    }
    if (ranks_take(p, p->key, e) || file_create(&out, p->out, e)) return -1;
    int bad = 0;
    for (size_t g = 0; g < groups && !bad; g++) bad = group_write(p, g, out.stream, &buffer, &size, each, context, refused, e);
    free(buffer);
    if (bad) {
        file_abandon(&out);
        return -1;
    }
    if (file_commit(&out, e)) return -1;
    const Ranks *ranks = p->ranks;
    unlink(p->path);
    partial_close(p);
    return ranks ? ranks_meet_patiently(ranks, "rank 0's file", e) : 0;
}

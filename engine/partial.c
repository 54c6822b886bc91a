/* partial.c - owns the .growing file of an arrow. A line cut short by a crash is cut away; a damaged line ends what is trusted. */
#include "engine/partial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int io_error(Error *e, const char *what, const char *path) {
    return error_what(e, "%s", what), error_where(e, "%s", path), error_found(e, "%s", strerror(errno)),
           error_hint(e, "check permissions and free space");
}

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

int partial_open(Partial *p, const char *out, const char *key, Error *e) {
    memset(p, 0, sizeof *p);
    char folder[PATH_SIZE];
    path_folder(folder, out);
    if (snprintf(p->path, sizeof p->path, "%s.growing", out) >= (int)sizeof p->path ||
        snprintf(p->out, sizeof p->out, "%s", out) >= (int)sizeof p->out)
        return error_what(e, "path is too long"), error_where(e, "%.200s...", out);
    if (folder_make(folder, e)) return -1;
    int64_t good = take_over(p, key, e);
    if (good < 0) goto fail;
    p->stream = fopen(p->path, good > 0 ? "r+e" : "w+e");
    if (!p->stream || (good > 0 && (ftruncate(fileno(p->stream), good) || fseek(p->stream, 0, SEEK_END)))) {
        io_error(e, "cannot write file", p->path);
        goto fail;
    }
    /* a whole line without its newline: the crash fell between the two */
    if (good > 0 && (fseek(p->stream, -1, SEEK_END) || fgetc(p->stream) != '\n') &&
        (fseek(p->stream, 0, SEEK_END), fputc('\n', p->stream) == EOF)) {
        io_error(e, "cannot write file", p->path);
        goto fail;
    }
    fseek(p->stream, 0, SEEK_END);
    if (good == 0 && (jsonl_write(p->stream, json_pack("{s:s}", "key", key), e) || fflush(p->stream))) goto fail;
    return 0;
fail:
    partial_close(p);
    return -1;
}

int partial_has(const Partial *p, size_t group) { return group < p->groups && p->lines[group] > 0; }

int partial_add(Partial *p, size_t group, json_t *rows, const char *refused, Error *e) {
    int64_t offset = ftell(p->stream);
    json_t *line = rows ? json_pack("{s:I, s:o}", "group", (json_int_t)group, "rows", rows) : NULL;
    if (!line) return error_what(e, "out of memory"), error_where(e, "%s", p->path);
    if (refused) json_object_set_new(line, "refused", json_string(refused));
    if (offset < 0 || jsonl_write(p->stream, line, e) || fflush(p->stream)) return io_error(e, "cannot write file", p->path);
    return mark(p, group, offset, e);
}

/* Reads one group's line and writes its rows. */
static int group_write(Partial *p, size_t group, FILE *to, char **buffer, size_t *size, void (*each)(void *, const json_t *), void *context,
    int *refused, Error *e) {
    if (!partial_has(p, group))
        return error_what(e, "a group is missing"), error_where(e, "%s", p->path), error_found(e, "nothing for group %zu", group);
    if (fseek(p->stream, (long)(p->lines[group] - 1), SEEK_SET) || getline(buffer, size, p->stream) < 0)
        return io_error(e, "cannot read file", p->path);
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
    if (file_create(&out, p->out, e)) return -1;
    int bad = 0;
    for (size_t g = 0; g < groups && !bad; g++) bad = group_write(p, g, out.stream, &buffer, &size, each, context, refused, e);
    free(buffer);
    if (bad) {
        file_abandon(&out);
        return -1;
    }
    if (file_commit(&out, e)) return -1;
    unlink(p->path);
    partial_close(p);
    return 0;
}

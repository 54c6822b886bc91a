/* transcript.c - owns the file of requests and replies. */
#include "engine/eval/transcript.h"

#include <string.h>

static int row_keep(Transcript *t, json_t *row, const char *where, Error *e) {
    const char *key, *reply = NULL, *model = NULL;
    int finished;
    if (json_need_string(row, "key", where, &key, e) || json_may_string(row, "reply", where, &reply, e) ||
        json_may_string(row, "model", where, &model, e) || json_may_bool(row, "finished", where, &finished, e))
        return -1;
    if (!reply) return 0; /* a try that failed */
    const json_t *had = json_object_get(t->replies, key);
    if (had && strcmp(json_string_value(json_object_get(had, "reply")), reply))
        return error_what(e, "two replies to one request"), error_where(e, "%s", where), error_found(e, "key %.40s", key),
               error_hint(e, "two transcripts were joined? remove one of the rows");
    return json_object_set(t->replies, key, row) ? (error_what(e, "out of memory"), error_where(e, "%s", where)) : 0;
}

/* torn: a last line without its end is passed over; else it has been cut off, and one is refused. */
static int rows_read(Transcript *t, int torn, Error *e) {
    JsonLines lines;
    json_t *row;
    int got, bad = 0;
    if (jsonl_open(&lines, t->path, e)) return -1;
    while (!bad && (got = jsonl_next(&lines, &row, e)) > 0) {
        bad = row_keep(t, row, lines.where, e);
        json_decref(row);
    }
    if (!bad && got < 0) bad = got == -1 && torn && feof(lines.stream) ? 0 : -1;
    jsonl_close(&lines);
    return bad ? error_hint(e, "mend or remove the line; its request is then made again") : 0;
}

int transcript_open(Transcript *t, const char *path, int adds, Error *e) {
    memset(t, 0, sizeof *t);
    if ((size_t)snprintf(t->path, sizeof t->path, "%s", path) >= sizeof t->path)
        return error_what(e, "path too long"), error_where(e, "%.100s...", path);
    if (!(t->replies = json_object())) return error_what(e, "out of memory"), error_where(e, "%s", path);
    int bad = adds && !(t->stream = fopen(path, "ae")) ? file_error(e, "cannot write the transcript", path) : 0;
    /* Two that add would each ask all that the other has asked since, and cut off a row that the other is writing. */
    if (!bad && adds)
        bad = file_lock(fileno(t->stream), path, "another process adds to this transcript", "", "wait for it, or give another --transcript", e) ||
              file_cut_torn_line(path, e);
    bad = bad || rows_read(t, !adds, e);
    if (bad) transcript_close(t);
    return bad ? -1 : 0;
}

const json_t *transcript_find(const Transcript *t, const char *key) { return json_object_get(t->replies, key); }

int transcript_add(Transcript *t, json_t *row, Error *e) {
    json_incref(row); /* jsonl_write takes one */
    int bad = jsonl_write(t->stream, row, e) || (fflush(t->stream) ? file_error(e, "cannot write the transcript", t->path) : 0) ||
              row_keep(t, row, t->path, e);
    json_decref(row);
    return bad ? -1 : 0;
}

void transcript_close(Transcript *t) {
    if (t->stream) fclose(t->stream);
    json_decref(t->replies);
    t->stream = NULL, t->replies = NULL;
}

/* convert.c - the command convert: preference pairs from one form to another (pair_forms.h), row by row.
 *
 * Reads JSONL or one JSON list, whichever the file is; writes JSONL, and for llava a list, which is what its readers take. Images that rows
 * hold become files beside the output where the new form names them. Rows that cannot be read, or are not of the form that was said, are
 * named, counted and left out; with --strict they end the command. */
#include "engine/commands.h"
#include "engine/dataset.h"
#include "engine/options.h"
#include "engine/progress.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Rows of either kind of file, in turn. */
typedef struct RowReader {
    JsonLines lines;
    int list; /* one JSON list */
    int n;
    char where[PATH_SIZE + 32];
} RowReader;

static int blank_skip(FILE *f) {
    int c;
    do c = getc(f);
    while (c != EOF && isspace(c));
    return c;
}

static int reader_open(RowReader *r, const char *path, Error *e) {
    memset(r, 0, sizeof *r);
    if (jsonl_open(&r->lines, path, e)) return -1;
    int c = blank_skip(r->lines.stream);
    r->list = c == '[';
    if (!r->list && fseek(r->lines.stream, 0, SEEK_SET)) {
        jsonl_close(&r->lines);
        return file_error(e, "cannot read file", path);
    }
    return 0;
}

/* An element of the list: after the first a comma precedes it. A broken list cannot be read on. */
static int list_next(RowReader *r, json_t **row, Error *e) {
    FILE *f = r->lines.stream;
    int c = blank_skip(f);
    json_error_t why;
    if (c == ']' && blank_skip(f) == EOF) return 0;
    if (r->n++ && c == ',') c = blank_skip(f);
    else if (r->n > 1) c = 0;
    snprintf(r->where, sizeof r->where, "%s: row %d", r->lines.path, r->n);
    if (c != '{' || ungetc(c, f) == EOF || !(*row = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &why)))
        return error_what(e, "not a list of rows"), error_where(e, "%s", r->where), error_found(e, "%s", c == '{' ? why.text : "no object"),
               error_expected(e, "[{...}, {...}]"), -2;
    return 1;
}

/* 1, 0 at the end, -1 a bad row after which reading goes on, -2. */
static int reader_next(RowReader *r, json_t **row, Error *e) {
    if (r->list) return list_next(r, row, e);
    int got = jsonl_next(&r->lines, row, e);
    snprintf(r->where, sizeof r->where, "%s", r->lines.where);
    r->n += got == 1 || got == -1;
    return got;
}

typedef struct Convert {
    const char *images, *name, *split;
    int from, to, strict;
    char folder[PATH_SIZE], unpack[PATH_SIZE];
    Progress progress;
    FileOut out;
    int written, dropped;
} Convert;

/* The row in its new form, or NULL. A file made of an embedded image that the new form holds again is not left behind. */
static json_t *row_convert(Convert *c, DataRow *row, const char *where, Error *e) {
    DataOptions options = { .need = DATA_QUESTION | DATA_PAIR, .images = c->images, .unpack = c->unpack };
    if (c->from == FORM_DATASET && pair_dataset_check(row->json, where, e)) return NULL;
    if (dataset_row_fill(row, c->folder, where, &options, e)) return NULL;
    if ((int)row->form != c->from && (c->from != FORM_RLAIFV || row->form != FORM_DATASET)) {
        error_what(e, "a row of another form"), error_where(e, "%s", where), error_found(e, "%s", pair_forms[row->form]);
        error_expected(e, "%s", pair_forms[c->from]), error_hint(e, "--from %s?", pair_forms[row->form]);
        return NULL;
    }
    char *absolute = row->image ? realpath(row->image, NULL) : NULL;
    if (row->image && !absolute) {
        file_error(e, "cannot find an image again", row->image);
        return NULL;
    }
    PairExtra extra = { row->id, absolute, c->name, c->split, c->written };
    json_t *out = pair_form_write((PairForm)c->to, row->json, where, &extra, e);
    if (row->unpacked && pair_form_embeds((PairForm)c->to)) unlink(row->image);
    free(absolute);
    return out;
}

static int row_put(Convert *c, json_t *row, Error *e) {
    if (c->to == FORM_LLAVA && fputs(c->written ? ",\n" : "[\n", c->out.stream) < 0) {
        json_decref(row);
        return file_error(e, "cannot write file", c->out.path);
    }
    if (c->to != FORM_LLAVA) return c->written++, jsonl_write(c->out.stream, row, e);
    int bad = json_dumpf(row, c->out.stream, JSON_COMPACT);
    json_decref(row);
    c->written++;
    return bad ? file_error(e, "cannot write file", c->out.path) : 0;
}

static int rows_convert(Convert *c, RowReader *r, Error *e) {
    char text[sizeof(Error) + 64];
    json_t *json;
    int got;
    Error why = { 0 };
    while ((got = reader_next(r, &json, &why)) != 0) {
        DataRow row = { .line = r->n, .json = got == 1 ? json : NULL };
        json_t *out = got == 1 ? row_convert(c, &row, r->where, &why) : NULL;
        dataset_row_free(&row);
        if (out && row_put(c, out, e)) return -1;
        if (!out && (c->strict || got == -2)) {
            if (e) *e = why;
            return -1;
        }
        if (!out) {
            c->dropped++;
            progress_say(&c->progress, "row dropped: %s", error_text(&why, text, sizeof text));
        }
        progress_add(&c->progress, 1);
    }
    if (!c->written)
        return error_what(e, "no usable row"), error_where(e, "%s", r->lines.path),
               error_hint(e, "the messages above say why each was dropped");
    return c->to == FORM_LLAVA && fputs("\n]\n", c->out.stream) < 0 ? file_error(e, "cannot write file", c->out.path) : 0;
}

static int convert_file(Convert *c, const char *in, const char *out, Error *e) {
    RowReader r;
    json_error_t why;
    json_t *split = json_loads(c->split, 0, &why);
    int object = json_is_object(split);
    json_decref(split);
    if (!object)
        return error_what(e, "bad value of --split"), error_where(e, "command line"), error_found(e, "\"%.200s\"", c->split),
               error_expected(e, "a JSON object, such as {\"model\": \"llava15-7b\", \"type\": \"question answering\"}"), 2;
    path_folder(c->folder, in);
    if (snprintf(c->unpack, sizeof c->unpack, "%s.images", out) >= (int)sizeof c->unpack)
        return error_what(e, "path too long"), error_where(e, "%.200s...", out);
    int had = file_exists(c->unpack);
    if (reader_open(&r, in, e)) return -1;
    if (file_create(&c->out, out, e)) {
        jsonl_close(&r.lines);
        return -1;
    }
    progress_init(&c->progress, stderr);
    progress_begin(&c->progress, "convert", "rows", 0, 0);
    int bad = rows_convert(c, &r, e), rows = r.n;
    progress_end(&c->progress);
    jsonl_close(&r.lines);
    if (!had && pair_form_embeds((PairForm)c->to)) rmdir(c->unpack); /* empty, where there was one */
    if (bad) {
        file_abandon(&c->out);
        return -1;
    }
    if (file_commit(&c->out, e)) return -1;
    printf("%s: %d rows = %d written + %d dropped\n", out, rows, c->written, c->dropped);
    return 0;
}

int command_convert(int argc, char **argv, Error *e) {
    Convert c = { .images = "", .name = "rlaifv", .split = "{}", .from = FORM_RLAIFV, .to = FORM_RLAIFV };
    int files;
    const Option table[] = {
        { "from", OPTION_CHOICE, &c.from, "FORM", "what IN is", 1, 0, 0, pair_forms },
        { "to", OPTION_CHOICE, &c.to, "FORM", "what OUT becomes", 1, 0, 0, pair_forms },
        { "images", OPTION_TEXT, &c.images, "DIR", "where images are looked for by file name", 0, 0, 0, NULL },
        { "name", OPTION_TEXT, &c.name, "NAME", "to dataset: ds_name of rows without one", 0, 0, 0, NULL },
        { "split", OPTION_TEXT, &c.split, "JSON", "to dataset: origin_split of rows without one", 0, 0, 0, NULL },
        { "strict", OPTION_FLAG, &c.strict, NULL, "an unusable row ends the command", 0, 0, 0, NULL },
        { 0 },
    };
    int parsed = options_parse(table, argc, argv, &files, e);
    if (parsed == OPTIONS_HELP)
        return options_help(table, "convert --from FORM --to FORM [OPTION]... IN OUT",
                   "Preference pairs from one form to another: rlaifv (this program's rows), dataset (RLAIF-V-Dataset's and RLHF-V's), trl "
                   "(images, prompt,\n"
                   "chosen, rejected as messages), llava (conversations and rejected_conversations). IN is JSONL or one JSON list; OUT is "
                   "JSONL, of llava a list.",
                   stdout),
               0;
    if (parsed) return 2;
    if (files != 2)
        return error_what(e, "not two files"), error_where(e, "command line"), error_found(e, "%d", files), error_expected(e, "IN and OUT"),
               2;
    return convert_file(&c, argv[0], argv[1], e);
}

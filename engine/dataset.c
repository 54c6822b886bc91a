/* dataset.c - owns the reading of data rows and the finding of their images.
 *
 * Accepts this program's rows and the public code's (RLAIF-V's muffin_vqa input: ds_question_id, image_path or base64 image, question,
 * metainfos); where pairs are asked for also rows of other programs (pair_forms.h). Refuses rows without what the caller needs, images that
 * no decoder here reads (judged by their first bytes; decoding proper comes later), and base64 that is neither padded nor whole. */
#include "engine/dataset.h"

#include "base/base64.h"
#include "engine/dialogue.h"
#include "engine/pair_forms.h"
#include "model/image.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PATH_LONGEST = 100, /* an `image` text above this is base64 unless a file of that name exists: the public code's rule */
    SNIFF = 12,
    WRITER_TRIES = 3000 /* of 10 ms each */
};

/* ---- images ---- */

static int image_check(const char *path, const char *where, Error *e) {
    unsigned char head[SNIFF];
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    int bad = !f || ferror(f) ? file_error(e, "unreadable image", path) : 0; /* a folder, for one */
    if (f) fclose(f);
    if (bad) return error_where(e, "%s: %.300s", where, path);
    if (image_extension(head, n)) return 0;
    return image_unknown(head, n, path, e), error_where(e, "%s: %.300s", where, path);
}

/* 1 when it made the file, 0 when it was there; ranks that read the same rows meet here, and wait for each other. */
static int unpacked_write(const char *path, const void *bytes, size_t size, Error *e) {
    const struct timespec pause = { .tv_nsec = 10000000 };
    for (int tries = 0; !file_exists(path); tries++) {
        Error why = { 0 };
        if (!file_write(path, bytes, size, &why)) return 1;
        if (tries >= WRITER_TRIES || strcmp(why.found, "another writer of the same file")) {
            if (e) *e = why;
            return -1;
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* Takes an embedded image: text is base64, or a data URL. Its file, named by the hash of its bytes, becomes row->image, and its path stands
 * in the row in place of the text, so that no row holds an image and what is written of the row leads to it. */
static int image_unpack(DataRow *row, const char *text, const char *where, const DataOptions *o, Error *e) {
    char name[HASH_TEXT + 8], hash[HASH_TEXT], path[PATH_SIZE], *absolute = NULL;
    if (!strncmp(text, "data:", 5)) {
        const char *comma = strchr(text, ',');
        if (!comma || comma - text < 7 || strncmp(comma - 7, ";base64", 7))
            return error_what(e, "unreadable image"), error_where(e, "%s: field \"image\"", where), error_found(e, "\"%.60s...\"", text),
                   error_expected(e, "a data URL in base64 (data:image/png;base64,...)");
        text = comma + 1;
    }
    size_t size;
    unsigned char *bytes = base64_decode(text, strlen(text), &size);
    const char *extension = bytes ? image_extension(bytes, size) : NULL;
    int bad = -1;
    if (!bytes) {
        error_what(e, "image not found"), error_where(e, "%s: field \"image\"", where), error_found(e, "\"%.60s...\"", text);
        error_expected(e, "the path of an image, or one in base64");
    } else if (!extension) image_unknown(bytes, size, "", e), error_where(e, "%s: field \"image\"", where);
    else if (o->need & DATA_LOOK) bad = (row->image = strdup("")) ? 0 : (error_what(e, "out of memory"), error_where(e, "%s", where));
    else if (!o->unpack || !o->unpack[0])
        error_what(e, "no folder to unpack an embedded image"), error_where(e, "%s", where), error_expected(e, "the path of an image");
    else {
        hash_bytes(bytes, size, hash);
        snprintf(name, sizeof name, "%s.%s", hash, extension);
        bad = folder_make(o->unpack, e) || path_join(path, o->unpack, name, e) || (row->unpacked = unpacked_write(path, bytes, size, e)) < 0;
        if (!bad && (!(absolute = realpath(path, NULL)) || json_object_set_new(row->json, "image", json_string(absolute)) ||
                        !(row->image = strdup(path))))
            bad = error_what(e, "cannot keep the path of an image"), error_where(e, "%s: %.300s", where, path),
            error_expected(e, "UTF-8, and memory");
    }
    free(absolute);
    free(bytes);
    return bad;
}

/* Looks for one path as a row gives it. 1 found (in `out`), 0 not. */
static int image_find(const char *written, const char *folder, const char *images, char out[PATH_SIZE]) {
    if (!path_join(out, folder, written, NULL) && file_exists(out)) return 1;
    const char *slash = strrchr(written, '/'), *name = slash ? slash + 1 : written;
    return images && images[0] && name[0] && !path_join(out, images, name, NULL) && file_exists(out);
}

/* What the field `image` holds: a path or base64 (*image), or an object with one of them, as data sets in Parquet have it: {"bytes" or
 * "base64": text or null, "path": text or null}. *embedded: it is base64 for certain. */
static int image_field(const DataRow *row, const char *where, const char **image, int *embedded, Error *e) {
    const json_t *field = json_object_get(row->json, "image");
    char place[PATH_SIZE + 64];
    if (!json_is_object(field)) return json_may_string(row->json, "image", where, image, e);
    snprintf(place, sizeof place, "%s: in field \"image\"", where);
    const char *bytes = NULL;
    if (json_may_string(field, "bytes", place, &bytes, e) || json_may_string(field, "base64", place, &bytes, e) ||
        json_may_string(field, "path", place, image, e))
        return -1;
    if (bytes) *image = bytes, *embedded = 1;
    if (*image) return 0;
    return error_what(e, "missing field"), error_where(e, "%s: field \"image\"", where), error_found(e, "an object without an image"),
           error_expected(e, "\"bytes\" in base64, or \"path\"");
}

/* Sets row->image from `image` or `image_path`. 0, with NULL when the row has neither, or -1. */
static int image_resolve(DataRow *row, const char *folder, const char *where, const DataOptions *o, Error *e) {
    const char *image = NULL, *image_path = NULL, *base = "";
    char path[PATH_SIZE];
    int embedded = 0;
    if (image_field(row, where, &image, &embedded, e) || json_may_string(row->json, "image_path", where, &image_path, e)) return -1;
    if (!image && !image_path) return 0;
    if (image && (embedded || !strncmp(image, "data:", 5))) return image_unpack(row, image, where, o, e);
    if ((image && image_find(image, folder, o->images, path)) || (image_path && image_find(image_path, folder, o->images, path))) {
        if (image_check(path, where, e)) return -1;
        row->image = strdup(path);
        if (!row->image || (json_is_object(json_object_get(row->json, "image")) &&
                               json_object_set_new(row->json, "image", json_string(image ? image : image_path))))
            return error_what(e, "out of memory"), error_where(e, "%s", where);
        return 0;
    }
    if (image && strlen(image) > PATH_LONGEST) return image_unpack(row, image, where, o, e);
    if (o->images && o->images[0]) base = o->images;
    error_what(e, "image not found"), error_where(e, "%s", where), error_found(e, "no file %.250s", image ? image : image_path);
    if (base[0]) error_hint(e, "looked beside the data file, then by file name in %.200s", base);
    else error_hint(e, "paths are relative to the data file; [data] images names a folder to search by file name");
    return -1;
}

/* ---- rows ---- */

void dataset_row_free(DataRow *row) {
    free((char *)(uintptr_t)row->id);
    free((char *)(uintptr_t)row->image);
    json_decref(row->json);
}

static int row_id(DataRow *row, const char *where, Error *e) {
    static const char *const names[] = { "id", "ds_question_id", "question_id", "image_id", "idx" };
    char *id = NULL;
    int got = -1;
    for (size_t i = 0; got < 0 && i < sizeof names / sizeof *names; i++) {
        const json_t *value = json_object_get(row->json, names[i]);
        if (json_is_string(value) && json_string_length(value)) got = asprintf(&id, "%s", json_string_value(value));
        else if (json_is_integer(value)) got = asprintf(&id, "%lld", (long long)json_integer_value(value));
        else if (value && !json_is_null(value))
            return error_what(e, "wrong type"), error_where(e, "%s: field \"%s\"", where, names[i]), error_found(e, "%s", json_kind(value)),
                   error_expected(e, "text that is not empty, or an integer");
        else continue;
        if (got < 0) return error_what(e, "out of memory"), error_where(e, "%s", where);
    }
    if (got < 0 && asprintf(&id, "%d", row->line) < 0) return error_what(e, "out of memory"), error_where(e, "%s", where);
    row->id = id;
    return 0;
}

/* A text field; when needed it must hold something. */
static int row_text(const DataRow *row, const char *key, int needed, const char *where, const char **out, Error *e) {
    if (needed ? json_need_string(row->json, key, where, out, e) : json_may_string(row->json, key, where, out, e)) return -1;
    if (!needed || (*out)[strspn(*out, " \t\r\n")]) return 0;
    return error_what(e, "empty field"), error_where(e, "%s: field \"%s\"", where, key), error_expected(e, "text");
}

int dataset_row_fill(DataRow *row, const char *folder, const char *where, const DataOptions *o, Error *e) {
    unsigned need = o->need;
    if (need & DATA_PAIR && pair_form_read(row->json, where, &row->form, e)) return -1;
    if (need & DATA_ANSWER && dialogue_in(row->json)) need &= ~(unsigned)(DATA_QUESTION | DATA_ANSWER); /* the conversation holds them */
    if (row_id(row, where, e) || row_text(row, "question", !!(need & DATA_QUESTION), where, &row->question, e) ||
        row_text(row, "chosen", !!(need & DATA_PAIR), where, &row->chosen, e) ||
        row_text(row, "rejected", !!(need & DATA_PAIR), where, &row->rejected, e) ||
        row_text(row, "answer", !!(need & DATA_ANSWER), where, &row->answer, e) || image_resolve(row, folder, where, o, e))
        return -1;
    if (!row->image && (need & DATA_IMAGE))
        return error_what(e, "missing field"), error_where(e, "%s: field \"image\"", where), error_found(e, "nothing"),
               error_expected(e, "the path of an image (image or image_path)");
    return 0;
}

/* Makes an id name one prompt: `seen` maps ids and hashes of whole prompts to the line that has them. */
static int row_unique(DataRow *row, json_t *seen, const char *where, Error *e) {
    char hash[HASH_TEXT], key[HASH_TEXT + 1], *all = NULL;
    int n = asprintf(&all, "%s\n%s\n%s", row->id, row->image ? row->image : "", row->question ? row->question : "");
    if (n < 0) return error_what(e, "out of memory"), error_where(e, "%s", where);
    hash_bytes(all, (size_t)n, hash);
    free(all);
    snprintf(key, sizeof key, "\x01%s", hash); /* \x01 keeps hashes apart from ids */
    const json_t *before = json_object_get(seen, key);
    if (before)
        return error_what(e, "repeated prompt"), error_where(e, "%s", where),
               error_found(e, "the id, image and question of line %d", (int)json_integer_value(before));
    for (int copy = 2; json_object_get(seen, row->id); copy++) {
        char *longer = NULL;
        const char *mark = copy > 2 ? strrchr(row->id, '#') : NULL;
        int stem = mark ? (int)(mark - row->id) : (int)strlen(row->id);
        if (asprintf(&longer, "%.*s#%d", stem, row->id, copy) < 0) return error_what(e, "out of memory"), error_where(e, "%s", where);
        free((char *)(uintptr_t)row->id);
        row->id = longer;
    }
    if (json_object_set_new(seen, key, json_integer(row->line)) || json_object_set_new(seen, row->id, json_integer(row->line)))
        return error_what(e, "cannot keep an id"), error_where(e, "%s", where), error_expected(e, "UTF-8, and memory");
    return 0;
}

static int drop_add(Dataset *d, int line, const Error *why, Error *e) {
    char text[sizeof(Error) + 64];
    if (mem_grow(&d->drops, &d->drops_cap, (size_t)d->drops_n + 1, sizeof *d->drops, "dropped rows", e)) return -1;
    char *reason = strdup(error_text(why, text, sizeof text));
    if (!reason) return error_what(e, "out of memory"), error_where(e, "%s:%d", d->path, line);
    /* A message cut within a character is not UTF-8, and reasons go into JSON. */
    json_t *valid = json_string(reason);
    for (char *p = reason; !valid && *p; p++)
        if (*p & 0x80) *p = '?';
    json_decref(valid);
    d->drops[d->drops_n++] = (DataDrop){ line, reason };
    return 0;
}

int dataset_read(Dataset *d, const char *path, const DataOptions *options, Error *e) {
    char folder[PATH_SIZE];
    JsonLines lines;
    Error bad;
    json_t *json, *seen = json_object();
    int got, good = 0, result = -1;
    memset(d, 0, sizeof *d);
    snprintf(d->path, sizeof d->path, "%s", path);
    path_folder(folder, path);
    if (jsonl_open(&lines, path, e)) {
        json_decref(seen);
        return -1;
    }
    while ((got = jsonl_next(&lines, &json, &bad)) != 0) {
        if (got == -2) {
            if (e) *e = bad;
            goto end;
        }
        d->rows_read++;
        DataRow row = { .line = lines.line, .json = got == 1 ? json : NULL };
        if (got < 0 || dataset_row_fill(&row, folder, lines.where, options, &bad) ||
            ((options->need & DATA_UNIQUE) && row_unique(&row, seen, lines.where, &bad))) {
            dataset_row_free(&row);
            if (options->strict) {
                if (e) *e = bad;
                goto end;
            }
            if (drop_add(d, lines.line, &bad, e)) goto end;
            continue;
        }
        int wanted = good >= options->first && (!options->limit || good - options->first < options->limit);
        good++;
        if (!wanted) {
            d->past_limit++;
            dataset_row_free(&row);
            continue;
        }
        if (mem_grow(&d->rows, &d->rows_cap, (size_t)d->n + 1, sizeof *d->rows, "data rows", e)) {
            dataset_row_free(&row);
            goto end;
        }
        d->rows[d->n++] = row;
    }
    if (!d->n) {
        error_what(e, "no usable rows"), error_where(e, "%s", path);
        error_found(e, "%d rows, %d dropped, %d not asked for", d->rows_read, d->drops_n, d->past_limit);
        if (d->drops_n) error_hint(e, "the first: %.300s", d->drops[0].reason);
        goto end;
    }
    result = 0;
end:
    jsonl_close(&lines);
    json_decref(seen);
    if (result) dataset_free(d);
    return result;
}

int dataset_drop(Dataset *d, int index, const Error *why, Error *e) {
    if (drop_add(d, d->rows[index].line, why, e)) return -1;
    dataset_row_free(&d->rows[index]);
    d->n--;
    memmove(d->rows + index, d->rows + index + 1, (size_t)(d->n - index) * sizeof *d->rows);
    return 0;
}

void dataset_free(Dataset *d) {
    for (int i = 0; i < d->n; i++) dataset_row_free(&d->rows[i]);
    for (int i = 0; i < d->drops_n; i++) free(d->drops[i].reason);
    free(d->rows);
    free(d->drops);
    memset(d, 0, sizeof *d);
}

char *dataset_summary(const Dataset *d, char *out, size_t size) {
    const char *slash = strrchr(d->path, '/');
    int n = snprintf(out, size, "%s: %d rows, %d used, %d dropped", slash ? slash + 1 : d->path, d->rows_read, d->n, d->drops_n);
    if (d->past_limit && n >= 0 && (size_t)n < size) snprintf(out + n, size - (size_t)n, ", %d not asked for", d->past_limit);
    return out;
}

json_t *dataset_drops_json(const Dataset *d) {
    json_t *list = json_array();
    for (int i = 0; list && i < d->drops_n; i++)
        if (json_array_append_new(list, json_pack("{s:i,s:s}", "line", d->drops[i].line, "reason", d->drops[i].reason))) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

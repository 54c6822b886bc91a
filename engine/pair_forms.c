/* pair_forms.c - owns the forms of preference pairs: which fields tell them apart, and the way from each to ours and back. */
#include "engine/pair_forms.h"

#include "base/base64.h"
#include "engine/dialogue.h"
#include "model/image.h"

#include <stdlib.h>
#include <string.h>

const char *const pair_forms[] = { [FORM_RLAIFV] = "rlaifv", [FORM_DATASET] = "dataset", [FORM_TRL] = "trl", [FORM_LLAVA] = "llava", NULL };


static int memory_out(const char *where, Error *e) { return error_what(e, "out of memory"), error_where(e, "%s", where); }

/* ---- to ours ---- */

/* A conversation under `key` of one question and one answer, of a new reference to `list`. */
static int side_read(json_t *list, const char *key, const char *where, const char *side, Dialogue *d, Error *e) {
    json_t *row = json_object();
    char place[PATH_SIZE + 64];
    snprintf(place, sizeof place, "%s: %s", where, side);
    if (!row || !list || json_object_set_new(row, key, list)) {
        json_decref(row);
        return memory_out(where, e);
    }
    int bad = dialogue_read(row, place, d, e);
    json_decref(row);
    if (bad) return -1;
    if (d->n == 2 && d->turns[0].role == CHAT_USER && d->turns[1].role == CHAT_ASSISTANT) return 0;
    error_what(e, "not one question and one answer"), error_where(e, "%s", place), error_found(e, "%zu messages", d->n);
    error_expected(e, "a user's and an assistant's message");
    dialogue_free(d);
    return -1;
}

/* Both sides as dialogues: the row's question and answers become theirs. */
static int sides_take(json_t *row, json_t *chosen, json_t *rejected, const char *key, const char *where, Error *e) {
    Dialogue d[2] = { 0 };
    int bad = side_read(chosen, key, where, "chosen", &d[0], e);
    if (bad) json_decref(rejected);
    else bad = side_read(rejected, key, where, "rejected", &d[1], e);
    if (!bad && strcmp(d[0].turns[0].text, d[1].turns[0].text))
        bad = error_what(e, "two questions in one pair"), error_where(e, "%s", where), error_found(e, "\"%.100s\"", d[1].turns[0].text),
        error_expected(e, "that of chosen: \"%.100s\"", d[0].turns[0].text);
    if (!bad && (json_object_set_new(row, "question", json_string(d[0].turns[0].text)) ||
                    json_object_set_new(row, "chosen", json_string(d[0].turns[1].text)) ||
                    json_object_set_new(row, "rejected", json_string(d[1].turns[1].text))))
        bad = memory_out(where, e);
    dialogue_free(&d[0]);
    dialogue_free(&d[1]);
    return bad ? -1 : 0;
}

/* The prompt's messages, where there is a prompt, and then those of a side. New reference. */
static json_t *messages_join(const json_t *row, const char *side) {
    json_t *all = json_array(), *prompt = json_object_get(row, "prompt");
    if (all && ((prompt && json_array_extend(all, prompt)) || json_array_extend(all, json_object_get(row, side)))) {
        json_decref(all);
        return NULL;
    }
    return all;
}

static int trl_image(json_t *row, const char *where, Error *e) {
    const json_t *images = json_object_get(row, "images");
    if (!images || json_is_null(images)) return 0;
    if (!json_is_array(images) || json_array_size(images) > 1)
        return error_what(e, "not one image"), error_where(e, "%s: field \"images\"", where),
               error_found(e, "%s of %zu", json_kind(images), json_array_size(images)), error_expected(e, "a list of one at most");
    if (json_array_size(images) && json_object_set(row, "image", json_array_get(images, 0))) return memory_out(where, e);
    return json_object_del(row, "images");
}

static int trl_read(json_t *row, const char *where, Error *e) {
    static const char *const lists[] = { "prompt", "chosen", "rejected" };
    const json_t *prompt = json_object_get(row, "prompt");
    if (trl_image(row, where, e)) return -1;
    if (json_is_string(json_object_get(row, "chosen"))) { /* plain texts */
        const char *question;
        if (json_need_string(row, "prompt", where, &question, e)) return -1;
        return json_object_set(row, "question", json_object_get(row, "prompt")) ? memory_out(where, e) : json_object_del(row, "prompt");
    }
    for (size_t i = !prompt; i < sizeof lists / sizeof *lists; i++) {
        const json_t *list = json_object_get(row, lists[i]);
        if (!json_is_array(list))
            return error_what(e, "wrong type"), error_where(e, "%s: field \"%s\"", where, lists[i]), error_found(e, "%s", json_kind(list)),
                   error_expected(e, "a list of messages, as chosen is one");
    }
    if (sides_take(row, messages_join(row, "chosen"), messages_join(row, "rejected"), "messages", where, e)) return -1;
    if (prompt) json_object_del(row, "prompt");
    return 0;
}

static int llava_read(json_t *row, const char *where, Error *e) {
    json_t *chosen = json_object_get(row, "conversations"), *rejected = json_object_get(row, "rejected_conversations");
    if (!chosen)
        return error_what(e, "missing field"), error_where(e, "%s: field \"conversations\"", where),
               error_expected(e, "what \"rejected_conversations\" is worse than");
    if (sides_take(row, json_incref(chosen), json_incref(rejected), "conversations", where, e)) return -1;
    return json_object_del(row, "conversations") || json_object_del(row, "rejected_conversations") ? memory_out(where, e) : 0;
}

/* RLHF-V's rows: {"question", "chosen", "rejected"} as JSON within a text. */
static int text_read(json_t *row, const char *where, Error *e) {
    static const char *const names[] = { "question", "chosen", "rejected" };
    char place[PATH_SIZE + 64];
    json_error_t why;
    json_t *top = json_loads(json_string_value(json_object_get(row, "text")), JSON_REJECT_DUPLICATES, &why);
    snprintf(place, sizeof place, "%s: in field \"text\"", where);
    if (!json_is_object(top)) {
        json_decref(top);
        return error_what(e, "no pair in a text"), error_where(e, "%s", place), error_found(e, "%s", top ? "no object" : why.text),
               error_expected(e, "JSON of question, chosen and rejected");
    }
    int bad = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && !bad; i++) {
        const char *text;
        bad = json_need_string(top, names[i], place, &text, e);
        if (!bad && json_object_set(row, names[i], json_object_get(top, names[i]))) bad = memory_out(where, e);
    }
    json_decref(top);
    return bad || json_object_del(row, "text") ? -1 : 0;
}

int pair_form_read(json_t *row, const char *where, PairForm *form, Error *e) {
    int question = json_object_get(row, "question") != NULL;
    *form = FORM_RLAIFV;
    if (json_object_get(row, "rejected_conversations")) return *form = FORM_LLAVA, llava_read(row, where, e);
    if (json_is_array(json_object_get(row, "chosen")) || (!question && json_object_get(row, "prompt")))
        return *form = FORM_TRL, trl_read(row, where, e);
    if (json_object_get(row, "ds_name") || json_object_get(row, "origin_split")) *form = FORM_DATASET;
    if (!question && json_is_string(json_object_get(row, "text"))) return *form = FORM_DATASET, text_read(row, where, e);
    return 0;
}

/* ---- the published columns ---- */

int pair_dataset_check(const json_t *row, const char *where, Error *e) {
    static const char *const texts[] = { "ds_name", "question", "chosen", "rejected", "origin_dataset", "origin_split", "image_path" };
    const json_t *image = json_object_get(row, "image");
    const char *text = NULL, *split = NULL;
    int64_t index;
    for (size_t i = json_is_string(json_object_get(row, "text")) ? 4 : 0; i < sizeof texts / sizeof *texts; i++)
        if (json_need_string(row, texts[i], where, i == 5 ? &split : &text, e)) return -1;
    if (json_need_integer(row, "idx", where, INT64_MIN, INT64_MAX, &index, e) || json_may_string(row, "logps", where, &text, e)) return -1;
    if (!json_is_object(image))
        return error_what(e, "wrong type"), error_where(e, "%s: field \"image\"", where),
               error_found(e, "%s", image ? json_kind(image) : "nothing"), error_expected(e, "an object of bytes and path");
    json_error_t why;
    json_t *top = split[0] ? json_loads(split, 0, &why) : json_object();
    if (!json_is_object(top)) {
        json_decref(top);
        return error_what(e, "bad column"), error_where(e, "%s: field \"origin_split\"", where), error_found(e, "\"%.100s\"", split),
               error_expected(e, "a text that is a JSON object");
    }
    json_decref(top);
    return 0;
}

/* ---- from ours ---- */

int pair_form_embeds(PairForm form) { return form == FORM_DATASET || form == FORM_TRL; }

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* {bytes, path}: the file in base64, and its name. */
static json_t *image_object(const char *path, const char *where, Error *e) {
    char *bytes, *text;
    size_t size;
    if (file_read(path, IMAGE_FILE_BYTES, &bytes, &size, e)) return NULL;
    text = base64_encode(bytes, size, e);
    free(bytes);
    if (!text) return NULL;
    json_t *image = json_pack("{s:s, s:s}", "bytes", text, "path", file_name(path));
    free(text);
    if (!image)
        error_what(e, "cannot keep the name of an image"), error_where(e, "%s: %.300s", where, path),
            error_expected(e, "UTF-8, and memory");
    return image;
}

/* A new reference to the field, or to what stands in for it. */
static json_t *text_or(const json_t *row, const char *key, const char *instead) {
    json_t *value = json_object_get(row, key);
    return json_is_string(value) ? json_incref(value) : json_string(instead);
}

/* As the columns follow one another in the published files. Steals `image`. */
static json_t *dataset_row(const json_t *row, json_t *image, const PairExtra *x) {
    json_t *index = json_object_get(row, "idx"), *logps = json_object_get(row, "logps");
    json_t *out = json_pack("{s:o, s:o, s:O, s:O, s:O, s:o, s:o, s:o, s:o}", "ds_name", text_or(row, "ds_name", x->name), "image", image,
        "question", json_object_get(row, "question"), "chosen", json_object_get(row, "chosen"), "rejected",
        json_object_get(row, "rejected"), "origin_dataset", text_or(row, "origin_dataset", ""), "origin_split",
        text_or(row, "origin_split", x->split), "idx", json_is_integer(index) ? json_incref(index) : json_integer(x->index), "image_path",
        text_or(row, "image_path", file_name(x->image)));
    if (out && json_is_string(logps) && json_object_set(out, "logps", logps)) {
        json_decref(out);
        return NULL;
    }
    return out;
}

static json_t *trl_message(const char *role, const json_t *text, int image) {
    return image ? json_pack("[{s:s, s:[{s:s}, {s:s, s:O}]}]", "role", role, "content", "type", "image", "type", "text", "text", text)
                 : json_pack("[{s:s, s:[{s:s, s:O}]}]", "role", role, "content", "type", "text", "text", text);
}

/* Steals `image`, which may be NULL. */
static json_t *trl_row(const json_t *row, json_t *image, const PairExtra *x) {
    json_t *prompt = trl_message("user", json_object_get(row, "question"), image != NULL);
    json_t *images = image ? json_pack("[o]", image) : json_array();
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "id", x->id, "images", images, "prompt", prompt, "chosen",
        trl_message("assistant", json_object_get(row, "chosen"), 0), "rejected",
        trl_message("assistant", json_object_get(row, "rejected"), 0));
}

static json_t *llava_turns(const json_t *question, const json_t *answer) {
    return json_pack("[{s:s, s:O}, {s:s, s:O}]", "from", "human", "value", question, "from", "gpt", "value", answer);
}

static json_t *llava_row(const json_t *row, const PairExtra *x) {
    char *marked = NULL;
    if (x->image && asprintf(&marked, "<image>\n%s", json_string_value(json_object_get(row, "question"))) < 0) return NULL;
    json_t *question = marked ? json_string(marked) : json_incref(json_object_get(row, "question"));
    free(marked);
    json_t *out = json_pack("{s:s, s:s*, s:o, s:o}", "id", x->id, "image", x->image, "conversations",
        llava_turns(question, json_object_get(row, "chosen")), "rejected_conversations",
        llava_turns(question, json_object_get(row, "rejected")));
    json_decref(question);
    return out;
}

/* Ours: what makes a pair first, then what else the row has. */
static json_t *own_row(const json_t *row, const PairExtra *x) {
    const char *key;
    json_t *value,
        *out = json_pack("{s:s, s:s*, s:O, s:O, s:O}", "id", x->id, "image", x->image, "question", json_object_get(row, "question"),
            "chosen", json_object_get(row, "chosen"), "rejected", json_object_get(row, "rejected"));
    json_object_foreach((json_t *)(uintptr_t)row, key,
        value) if (out && !json_object_get(out, key) && strcmp(key, "image") && json_object_set(out, key, value)) {
        json_decref(out);
        out = NULL;
    }
    return out;
}

json_t *pair_form_write(PairForm to, const json_t *row, const char *where, const PairExtra *x, Error *e) {
    json_t *image = NULL, *out = NULL;
    if (to == FORM_DATASET && !x->image) {
        error_what(e, "a row without an image"), error_where(e, "%s", where),
            error_expected(e, "an image: rows of RLAIF-V-Dataset have one");
        return NULL;
    }
    if (pair_form_embeds(to) && x->image && !(image = image_object(x->image, where, e))) return NULL;
    switch (to) {
    case FORM_RLAIFV:
        out = own_row(row, x);
        break;
    case FORM_DATASET:
        out = dataset_row(row, image, x);
        break;
    case FORM_TRL:
        out = trl_row(row, image, x);
        break;
    case FORM_LLAVA:
        out = llava_row(row, x);
        break;
    }
    if (!out) error_what(e, "cannot make a row"), error_where(e, "%s", where), error_expected(e, "UTF-8, and memory");
    return out;
}

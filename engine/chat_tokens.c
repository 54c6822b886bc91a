/* chat_tokens.c - owns the table and the rows of `rlaifv tokenize --chat`. Needs config.json for the image's rows only where a row has one.
 */
#include "engine/chat_tokens.h"

#include "engine/dialogue.h"
#include "model/config.h"

#include <stdlib.h>
#include <string.h>

typedef struct Show {
    const char *model;
    const Tokenizer *t;
    const ChatTemplate *chat;
    int image_rows; /* -1: not asked for yet */
    int tiled;      /* they are the most that a picture takes */
    FILE *to;
    int position;
    json_t *ids, *pieces, *trained;
} Show;

static int image_rows(Show *s, Error *e) {
    ModelConfig c;
    if (s->image_rows >= 0) return 0;
    if (config_load(s->model, &c, e)) return -1;
    if (!c.vision.layers)
        return error_what(e, "the model has no vision tower"), error_where(e, "%s", s->model), error_found(e, "a row with an image");
    s->image_rows = c.image_tokens;
    s->tiled = c.grids_n > 0;
    return 0;
}

static void text_print(FILE *to, const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20) fprintf(to, "\\x%02x", (unsigned char)*text);
        else fputc(*text, to);
    fputc('\n', to);
}

/* One line and one entry. id -1: the image. */
static int entry(Show *s, int id, const char *piece, int trained, Error *e) {
    if (id < 0) fprintf(s->to, "%6d %8s %c  ", s->position, "-", ' ');
    else fprintf(s->to, "%6d %8d %c  ", s->position, id, trained ? '*' : ' ');
    text_print(s->to, piece);
    s->position += id < 0 ? s->image_rows : 1;
    if (!json_array_append_new(s->ids, id < 0 ? json_null() : json_integer(id)) && !json_array_append_new(s->pieces, json_string(piece)) &&
        !json_array_append_new(s->trained, json_boolean(trained)))
        return 0;
    return error_what(e, "cannot keep a token"), error_found(e, "\"%.60s\"", piece), error_expected(e, "UTF-8, and memory");
}

static int part_show(Show *s, const ChatParts *p, const ChatPart *part, Error *e) {
    char image[64], name[256];
    if (part->kind == CHAT_IMAGE) {
        snprintf(image, sizeof image, s->tiled ? "[image: at most %d rows]" : "[image: %d rows]", s->image_rows);
        return entry(s, -1, image, 0, e);
    }
    IdList ids = { 0 };
    int bad = template_part_ids(s->chat, p, part, &ids, e);
    for (size_t i = 0; i < ids.count && !bad; i++) {
        const char *piece = tokenizer_piece(s->t, ids.ids[i]);
        snprintf(
            name, sizeof name, "%.*s", part->kind == CHAT_TOKEN ? (int)part->n : 1, part->kind == CHAT_TOKEN ? p->text + part->at : "?");
        bad = entry(s, ids.ids[i], piece ? piece : name, part->trained, e);
    }
    idlist_free(&ids);
    return bad ? -1 : 0;
}

static int row_show(Show *s, const json_t *row, const char *where, FILE *out, Error *e) {
    Dialogue d;
    ChatParts p = { 0 };
    if (dialogue_read(row, where, &d, e)) return -1;
    s->position = 0;
    s->ids = json_array(), s->pieces = json_array(), s->trained = json_array();
    int bad = (d.has_image && image_rows(s, e)) || template_parts(s->chat, d.turns, d.n, d.has_image, &p, e);
    if (bad && e && !strstr(e->where, where)) {
        char inner[sizeof e->where];
        snprintf(inner, sizeof inner, "%s", e->where);
        error_where(e, "%.300s%s%.200s", where, inner[0] ? ": " : "", inner);
    }
    if (!bad) fprintf(s->to, "%s\n", where);
    for (size_t i = 0; i < p.n && !bad; i++) bad = part_show(s, &p, &p.list[i], e);
    chat_parts_free(&p);
    json_t *result = bad || !out ? NULL : json_pack("{s:O,s:O,s:O}", "ids", s->ids, "pieces", s->pieces, "trained", s->trained);
    if (result && d.has_image && json_object_set_new(result, "image_rows", json_integer(s->image_rows)))
        bad = error_what(e, "out of memory"), error_where(e, "%s", where);
    if (result && !bad) bad = jsonl_write(out, result, e);
    dialogue_free(&d);
    json_decref(s->ids), json_decref(s->pieces), json_decref(s->trained);
    return bad ? -1 : 0;
}

static int rows_show(Show *s, const char *data, const char *out, Error *e) {
    JsonLines lines;
    FileOut file = { 0 };
    json_t *row;
    int got = 0, bad = 0;
    if (jsonl_open(&lines, data, e)) return -1;
    if (out && file_create(&file, out, e)) bad = -1;
    while (!bad && (got = jsonl_next(&lines, &row, e)) != 0) {
        if ((bad = got < 0)) break;
        bad = row_show(s, row, lines.where, file.stream, e);
        json_decref(row);
    }
    jsonl_close(&lines);
    if (!bad) return out ? file_commit(&file, e) : 0;
    if (file.stream) file_abandon(&file);
    return -1;
}

int chat_tokens(const char *model, const char *setting, const char *data, const char *out, FILE *to, Error *e) {
    Tokenizer *t = tokenizer_load(model, e);
    ChatTemplate *chat = t ? template_open(setting, t, model, e) : NULL;
    Show s = { .model = model, .t = t, .chat = chat, .image_rows = -1, .to = to };
    int bad = !chat;
    if (!bad) {
        fprintf(to, "chat template %s (%s); * is trained\n", template_name(chat), template_why(chat));
        bad = rows_show(&s, data, out, e);
    }
    template_free(chat);
    tokenizer_free(t);
    return bad ? -1 : 0;
}

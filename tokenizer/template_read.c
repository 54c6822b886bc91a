/* template_read.c - owns the reading of chat templates: from the program's own and from files, line by line, and the check of what they
 * say.
 *
 * A template is `key = value` lines (docs/formats.md). Forms are strings with escapes and {slots}; names given in `tokens` are tokens where
 * they stand in a form. Refuses, with file and line: keys that are unknown or given twice, strings that do not end, unknown escapes and
 * slots, slots in the wrong form, wanting or too often, an image after the question (the ids before it would not be the same for all
 * questions), tokens that no form uses, files with NUL bytes or above 64 KiB. */
#include "tokenizer/template_form.h"

#include <stdlib.h>
#include <string.h>

enum { TEMPLATE_BYTES_MOST = 64 << 10, NAMES_MOST = 64 };

/* A key's value as it stands in the file. */
typedef struct Raw {
    char *text; /* of a string: still with its escapes; pieces on several lines are joined */
    size_t n, cap;
    int line;
} Raw;

typedef enum TemplateKey {
    KEY_SYSTEM,
    KEY_SYSTEM_FORM,
    KEY_IMAGE,
    KEY_FIRST,
    KEY_NEXT,
    KEY_ANSWER,
    KEY_TOKENS,
    KEY_STOPS,
    KEY_MARKS,
    TEMPLATE_KEYS
} TemplateKey;
static const char *const key_names[TEMPLATE_KEYS] = { "system", "system_form", "image", "first", "next", "answer", "tokens", "stops",
    "marks" };
static int is_form(TemplateKey k) { return k < KEY_TOKENS; } /* a FormKind too */

typedef struct Reader {
    const char *path;
    int line;
    Raw raw[TEMPLATE_KEYS];
    ChatTemplate *c;
    Error *e;
} Reader;

static int refuse(const Reader *r, int line, const char *what) {
    return error_what(r->e, "%s", what), error_where(r->e, "%s:%d", r->path, line);
}

/* ---- lines ---- */

static int raw_put(Reader *r, Raw *raw, const char *text, size_t n) {
    if (mem_grow(&raw->text, &raw->cap, raw->n + n + 1, 1, "a chat template", r->e)) return -1;
    memcpy(raw->text + raw->n, text, n);
    raw->n += n;
    raw->text[raw->n] = 0;
    return 0;
}

static const char *skip_blanks(const char *p) { return p + strspn(p, " \t\r"); }

/* The string that starts at `p` (a quote), appended to raw. */
static int take_string(Reader *r, Raw *raw, const char *p) {
    const char *from = ++p;
    for (; *p != '"'; p++) {
        if (*p == '\\' && p[1]) p++;
        if (!*p)
            return refuse(r, r->line, "a string has no end"),
                   error_hint(r->e, "it ends with \" in its line; the next line may hold another, which is joined to it");
    }
    const char *after = skip_blanks(p + 1);
    if (*after && *after != '#')
        return refuse(r, r->line, "text after a string"), error_found(r->e, "\"%.60s\"", after),
               error_hint(r->e, "write a quote inside a string as \\\"");
    return raw_put(r, raw, from, (size_t)(p - from));
}

static int take_key(Reader *r, char *line, TemplateKey *last) {
    char *equals = strchr(line, '=');
    if (!equals)
        return refuse(r, r->line, "bad line in a chat template"), error_found(r->e, "\"%.80s\"", line),
               error_expected(r->e, "key = value, a string that goes on, or # comment");
    size_t n = (size_t)(equals - line);
    while (n && strchr(" \t", line[n - 1])) n--;
    line[n] = 0;
    TemplateKey k = 0;
    while (k < TEMPLATE_KEYS && strcmp(key_names[k], line)) k++;
    if (k == TEMPLATE_KEYS) {
        const char *near = nearest_name(line, key_names, TEMPLATE_KEYS);
        refuse(r, r->line, "unknown key in a chat template"), error_found(r->e, "\"%.80s\"", line);
        return near ? error_hint(r->e, "did you mean %s?", near)
                    : error_expected(r->e, "system, system_form, image, first, next, answer, tokens, stops or marks");
    }
    Raw *raw = &r->raw[k];
    if (raw->line)
        return refuse(r, r->line, "a key of a chat template is given twice"), error_found(r->e, "%s", line),
               error_hint(r->e, "line %d gives it too: keep one", raw->line);
    raw->line = r->line;
    const char *value = skip_blanks(equals + 1);
    *last = k;
    if (!is_form(k)) {
        n = strcspn(value, "#");
        while (n && strchr(" \t\r", value[n - 1])) n--;
        return raw_put(r, raw, value, n);
    }
    if (*value != '"')
        return refuse(r, r->line, "a form is a string"), error_found(r->e, "%s = %.60s", line, value),
               error_expected(r->e, "%s = \"...\"", line);
    return take_string(r, raw, value);
}

static int take_lines(Reader *r, char *text) {
    TemplateKey last = TEMPLATE_KEYS;
    for (char *line = text, *next; line; line = next) {
        r->line++;
        if ((next = strchr(line, '\n'))) *next++ = 0;
        line += strspn(line, " \t\r");
        if (!*line || *line == '#') continue;
        if (*line == '"') {
            if (last == TEMPLATE_KEYS || !is_form(last)) return refuse(r, r->line, "a string without a key");
            if (take_string(r, &r->raw[last], line)) return -1;
        } else if (take_key(r, line, &last)) return -1;
    }
    return 0;
}

/* ---- names ---- */

static int name_find(const TemplateTokens *names, const char *text, size_t n) {
    for (size_t i = 0; i < names->n; i++)
        if (strlen(names->names[i]) == n && !memcmp(names->names[i], text, n)) return (int)i;
    return -1;
}

static int take_names(Reader *r, TemplateKey key, TemplateTokens *out) {
    const Raw *raw = &r->raw[key];
    for (const char *p = raw->text; p && *(p = skip_blanks(p));) {
        size_t n = strcspn(p, " \t\r");
        if (name_find(out, p, n) >= 0) return refuse(r, raw->line, "a token is named twice"), error_found(r->e, "%.*s", (int)n, p);
        if (out->n == NAMES_MOST)
            return refuse(r, raw->line, "too many tokens in a chat template"), error_expected(r->e, "at most %d", NAMES_MOST);
        if (mem_grow(&out->names, &out->cap, out->n + 1, sizeof *out->names, "tokens of a chat template", r->e) ||
            mem_grow(&out->ids, &out->ids_cap, out->n + 1, sizeof *out->ids, "tokens of a chat template", r->e))
            return -1;
        if (!(out->names[out->n] = strndup(p, n))) return error_what(r->e, "out of memory for a chat template");
        out->ids[out->n++] = -1;
        p += n;
    }
    return 0;
}

/* ---- forms ---- */

static const char *const slot_names[BITS] = { [BIT_BOS] = "bos",
    [BIT_BOS_IF] = "bos?",
    [BIT_EOS] = "eos",
    [BIT_SYSTEM] = "system",
    [BIT_IMAGE] = "image",
    [BIT_FEATURES] = "features",
    [BIT_QUESTION] = "question",
    [BIT_ANSWER] = "answer" };
#define BIT(K) (1u << BIT_##K)
#define MARKS (BIT(TEXT) | BIT(TOKEN) | BIT(BOS) | BIT(BOS_IF) | BIT(EOS))
/* What a form may hold, and what it must. */
static const struct {
    unsigned may, must;
} form_slots[FORMS] = {
    [FORM_SYSTEM_TEXT] = { BIT(TEXT), 0 },
    [FORM_SYSTEM] = { MARKS | BIT(SYSTEM), BIT(SYSTEM) },
    [FORM_IMAGE] = { MARKS | BIT(FEATURES), BIT(FEATURES) },
    [FORM_FIRST] = { MARKS | BIT(SYSTEM) | BIT(IMAGE) | BIT(QUESTION), BIT(QUESTION) },
    [FORM_NEXT] = { MARKS | BIT(QUESTION), BIT(QUESTION) },
    [FORM_ANSWER] = { MARKS | BIT(ANSWER), BIT(ANSWER) },
};

static int bit_add(Reader *r, Form *f, BitKind kind, int token) {
    if (mem_grow(&f->bits, &f->cap, f->n + 1, sizeof *f->bits, "a chat template", r->e)) return -1;
    f->bits[f->n++] = (FormBit){ .kind = kind, .token = token };
    return 0;
}

/* `most`: bytes that the text may come to hold. */
static int letter_add(Reader *r, Form *f, char letter, size_t most) {
    if ((!f->n || f->bits[f->n - 1].kind != BIT_TEXT) && bit_add(r, f, BIT_TEXT, -1)) return -1;
    FormBit *b = &f->bits[f->n - 1];
    if (!b->text && !(b->text = mem_new(most + 1, 1, "a chat template", r->e))) return -1;
    b->text[b->n++] = letter;
    return 0;
}

static int letter_of(char escape) {
    switch (escape) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case '\\':
    case '"':
    case '{':
    case '}':
        return escape;
    }
    return -1;
}

/* The slot that starts at p (a brace). Returns the bytes it takes, or 0. */
static size_t take_slot(Reader *r, TemplateKey key, const char *p, Form *f) {
    size_t n = strcspn(p, "}");
    BitKind kind = BIT_BOS;
    while (kind < BITS && (strlen(slot_names[kind]) != n - 1 || memcmp(slot_names[kind], p + 1, n - 1))) kind++;
    const int known = p[n] == '}' && kind < BITS;
    if (!known || !(form_slots[key].may >> kind & 1)) {
        refuse(r, f->line, known ? "a slot that has no place in this form" : "unknown slot in a form");
        error_found(r->e, "%.*s in %s", (int)(n < 60 ? n + (p[n] != 0) : 60), p, key_names[key]);
        if (!known)
            error_expected(r->e, "{bos}, {bos?}, {eos}, {system}, {image}, {features}, {question} or {answer}"),
                error_hint(r->e, "write a brace as \\{");
        return 0;
    }
    return bit_add(r, f, kind, -1) ? 0 : n + 1;
}

static int token_at(const TemplateTokens *tokens, const char *p) {
    int best = -1;
    for (size_t i = 0; i < tokens->n; i++) {
        size_t n = strlen(tokens->names[i]);
        if (!strncmp(p, tokens->names[i], n) && (best < 0 || n > strlen(tokens->names[best]))) best = (int)i;
    }
    return best;
}

static int take_form(Reader *r, TemplateKey key) {
    const Raw *raw = &r->raw[key];
    Form *f = &r->c->forms[key];
    if (!(f->line = raw->line)) return 0;
    for (const char *p = raw->text; *p;) {
        int token = token_at(&r->c->tokens, p), letter = *p == '\\' ? letter_of(p[1]) : (unsigned char)*p;
        if (token >= 0) {
            if (!(form_slots[key].may & BIT(TOKEN)))
                return refuse(r, f->line, "a token in the system text"), error_found(r->e, "%s", r->c->tokens.names[token]),
                       error_hint(r->e, "tokens belong into system_form");
            if (bit_add(r, f, BIT_TOKEN, token)) return -1;
            p += strlen(r->c->tokens.names[token]);
        } else if (*p == '{') {
            size_t n = take_slot(r, key, p, f);
            if (!n) return -1;
            p += n;
        } else {
            if (letter < 0)
                return refuse(r, f->line, "unknown escape in a form"), error_found(r->e, "\\%c in %s", p[1], key_names[key]),
                       error_expected(r->e, "\\n, \\t, \\\\, \\\", \\{ or \\}");
            if (letter_add(r, f, (char)letter, raw->n)) return -1;
            p += *p == '\\' ? 2 : 1;
        }
    }
    return 0;
}

/* Index of the form's first bit of a kind, or -1; *times: how many there are. */
static int bit_find(const Form *f, BitKind kind, int *times) {
    int first = -1, count = 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->bits[i].kind == kind && !count++) first = (int)i;
    if (times) *times = count;
    return first;
}

static int check_slots(Reader *r) {
    const Form *forms = r->c->forms;
    for (FormKind k = 0; k < FORMS; k++)
        for (BitKind b = BIT_SYSTEM; forms[k].line && b < BITS; b++) {
            int times, must = form_slots[k].must >> b & 1;
            bit_find(&forms[k], b, &times);
            if (times <= 1 && times >= must) continue;
            refuse(r, forms[k].line, times ? "a slot stands more than once in a form" : "a form lacks its slot");
            return error_found(r->e, "{%s} in %s %d times", slot_names[b], key_names[k], times),
                   error_expected(r->e, must ? "once" : "at most once");
        }
    return 0;
}

static int check_forms(Reader *r) {
    const Form *forms = r->c->forms, *first = &forms[FORM_FIRST];
    static const FormKind needed[] = { FORM_FIRST, FORM_ANSWER };
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!forms[needed[i]].line)
            return error_what(r->e, "a chat template lacks a form"), error_where(r->e, "%s", r->path),
                   error_expected(r->e, "%s = \"...\"", key_names[needed[i]]);
    if (check_slots(r)) return -1;
    int image = bit_find(first, BIT_IMAGE, NULL), system = bit_find(first, BIT_SYSTEM, NULL);
    if (image > bit_find(first, BIT_QUESTION, NULL))
        return refuse(r, first->line, "the image stands after the question"),
               error_hint(r->e, "what stands before the image must be the same for all questions");
    const struct {
        int slot, line;
        const char *named, *form;
    } pairs[] = { { image >= 0, forms[FORM_IMAGE].line, "{image}", "image" },
        { system >= 0, forms[FORM_SYSTEM].line, "{system}", "system_form" } };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (pairs[i].slot == (pairs[i].line > 0)) continue;
        refuse(r, pairs[i].slot ? first->line : pairs[i].line, "a slot and its form go together");
        return error_found(r->e, pairs[i].slot ? "%s in first, but no %s" : "no %s in first for %s", pairs[i].named, pairs[i].form);
    }
    if (forms[FORM_SYSTEM_TEXT].line && !forms[FORM_SYSTEM].line)
        return refuse(r, forms[FORM_SYSTEM_TEXT].line, "a system text without system_form");
    return 0;
}

static int check_tokens(Reader *r) {
    const TemplateTokens *tokens = &r->c->tokens;
    for (size_t i = 0; i < tokens->n; i++) {
        int used = 0;
        for (FormKind k = 0; k < FORMS; k++)
            for (size_t b = 0; b < r->c->forms[k].n; b++)
                used |= r->c->forms[k].bits[b].kind == BIT_TOKEN && r->c->forms[k].bits[b].token == (int)i;
        if (!used)
            return refuse(r, r->raw[KEY_TOKENS].line, "a token that no form uses"), error_found(r->e, "%s", tokens->names[i]),
                   error_hint(r->e, "check its spelling; what only ends answers stands in stops");
    }
    return 0;
}

static int take_marks(Reader *r) {
    const Raw *raw = &r->raw[KEY_MARKS];
    r->c->marks = !raw->line || !strcmp(raw->text, "yes");
    if (r->c->marks || !strcmp(raw->text, "no")) return 0;
    return refuse(r, raw->line, "bad value of marks"), error_found(r->e, "\"%.60s\"", raw->text), error_expected(r->e, "yes or no");
}

/* ---- templates ---- */

/* `text` is used up. */
static int template_parse(ChatTemplate *c, const char *path, char *text, Error *e) {
    Reader r = { .path = path, .c = c, .e = e };
    int bad = take_lines(&r, text) || take_names(&r, KEY_TOKENS, &c->tokens) || take_names(&r, KEY_STOPS, &c->stop_names) || take_marks(&r);
    for (TemplateKey k = 0; !bad && is_form(k); k++) bad = take_form(&r, k);
    bad = bad || check_forms(&r) || check_tokens(&r);
    const Form *system = &c->forms[FORM_SYSTEM_TEXT];
    if (!bad && !(c->system = strndup(system->n ? system->bits[0].text : "", system->n ? system->bits[0].n : 0)))
        bad = error_what(e, "out of memory for a chat template");
    for (TemplateKey k = 0; k < TEMPLATE_KEYS; k++) free(r.raw[k].text);
    return bad ? -1 : 0;
}

int template_is_path(const char *setting) { return setting && strchr(setting, '/') != NULL; }

char *template_names(char *out, size_t size) {
    size_t n = 0;
    if (size) out[0] = 0;
    for (size_t i = 0; i < chat_builtins_n && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? ", " : "", chat_builtins[i].name);
    return out;
}

static const ChatBuiltin *builtin_find(const char *name, Error *e) {
    const char *names[64], *near;
    size_t n = 0;
    for (size_t i = 0; i < chat_builtins_n; i++) {
        if (!strcmp(chat_builtins[i].name, name)) return &chat_builtins[i];
        if (n < sizeof names / sizeof *names) names[n++] = chat_builtins[i].name;
    }
    char list[300];
    error_what(e, "unknown chat template"), error_found(e, "\"%.100s\"", name);
    error_expected(e, "%s, %s, or the path of a file", TEMPLATE_AUTO, template_names(list, sizeof list));
    if ((near = nearest_name(name, names, n))) error_hint(e, "did you mean %s?", near);
    else error_hint(e, "a path has a '/' in it: ./%.60s", name);
    return NULL;
}

/* The text of a template, malloc'd, and what messages call it. */
static char *template_text(const char *setting, char path[PATH_SIZE], size_t *size, Error *e) {
    char *text;
    if (template_is_path(setting)) {
        snprintf(path, PATH_SIZE, "%s", setting);
        if (file_read(setting, TEMPLATE_BYTES_MOST, &text, size, e)) return NULL;
        if (strlen(text) == *size) return text;
        error_what(e, "NUL byte in a chat template"), error_where(e, "%s", setting);
        return free(text), NULL;
    }
    const ChatBuiltin *b = builtin_find(setting, e);
    if (!b) return NULL;
    snprintf(path, PATH_SIZE, "%s.chat (in the program)", b->name);
    *size = strlen(b->text);
    if (!(text = strdup(b->text))) error_what(e, "out of memory for a chat template");
    return text;
}

ChatTemplate *template_load(const char *setting, Error *e) {
    char path[PATH_SIZE];
    size_t size;
    char *text = template_text(setting, path, &size, e);
    ChatTemplate *c = text ? mem_new(1, sizeof *c, "a chat template", e) : NULL;
    if (c) {
        snprintf(c->name, sizeof c->name, "%s", setting);
        snprintf(c->why, sizeof c->why, "as set");
        hash_bytes(text, size, c->hash);
        if (template_parse(c, path, text, e)) template_free(c), c = NULL;
    }
    free(text);
    return c;
}

static int is_auto(const char *setting) { return !setting || !setting[0] || !strcmp(setting, TEMPLATE_AUTO); }

int template_setting_check(const char *setting, Error *e) {
    if (is_auto(setting)) return 0;
    ChatTemplate *c = template_load(setting, e);
    template_free(c);
    return c ? 0 : -1;
}

int template_setting_hash(const char *setting, char out[HASH_TEXT], Error *e) {
    if (!is_auto(setting)) {
        char path[PATH_SIZE];
        size_t size;
        char *text = template_text(setting, path, &size, e);
        if (!text) return -1;
        hash_bytes(text, size, out);
        return free(text), 0;
    }
    uint64_t all[2] = { 0, 1 };
    for (size_t i = 0; i < chat_builtins_n; i++)
        for (int h = 0; h < 2; h++) all[h] = hash64(chat_builtins[i].text, strlen(chat_builtins[i].text), all[h]);
    hash_bytes(all, sizeof all, out);
    return 0;
}

/* ---- with a tokenizer ---- */

static int tokens_bind(TemplateTokens *tokens, const ChatTemplate *c, const char *folder, Error *e) {
    for (size_t i = 0; i < tokens->n; i++) {
        if ((tokens->ids[i] = tokenizer_added(c->t, tokens->names[i])) >= 0) continue;
        error_what(e, "the tokenizer lacks a token of the chat template"), error_where(e, "%s", folder);
        error_found(e, "no \"%.100s\"", tokens->names[i]), error_expected(e, "the tokens of chat template %.200s", c->name);
        return error_hint(e, "choose the template that this checkpoint was trained with ([chat] template)");
    }
    return 0;
}

static int specials_bind(const ChatTemplate *c, const char *folder, Error *e) {
    for (FormKind k = 0; k < FORMS; k++)
        for (size_t i = 0; i < c->forms[k].n; i++) {
            BitKind kind = c->forms[k].bits[i].kind;
            if ((kind != BIT_BOS || tokenizer_bos(c->t) >= 0) && (kind != BIT_EOS || tokenizer_eos(c->t) >= 0)) continue;
            error_what(e, "the tokenizer lacks a token of the chat template"), error_where(e, "%s", folder);
            error_found(e, "no token is its %s", slot_names[kind]),
                error_expected(e, "{%s} of chat template %.200s", slot_names[kind], c->name);
            return error_hint(e, "choose the template that this checkpoint was trained with ([chat] template)");
        }
    return 0;
}

static int stop_add(ChatTemplate *c, int id, Error *e) {
    for (size_t i = 0; i < c->stops.count; i++)
        if (c->stops.ids[i] == id) return 0;
    return id < 0 ? 0 : idlist_append(&c->stops, &id, 1, e);
}

static int stops_bind(ChatTemplate *c, Error *e) {
    const Form *answer = &c->forms[FORM_ANSWER];
    const FormBit *end = &answer->bits[answer->n - 1];
    if (end->kind == BIT_TOKEN && stop_add(c, c->tokens.ids[end->token], e)) return -1;
    for (size_t i = 0; i < c->stop_names.n; i++)
        if (stop_add(c, c->stop_names.ids[i], e)) return -1;
    return stop_add(c, tokenizer_eos(c->t), e);
}

/* Whether decoding leaves in front of an answer what the template put there: a word-start mark vanishes, the space of other tokenizers does
 * not. */
static int lead_bind(ChatTemplate *c, Error *e) {
    const FormBit *lead = &c->forms[FORM_ANSWER].bits[0];
    IdList ids = { 0 };
    char *text = template_answer(c, "a", 0, &ids, e) ? NULL : tokenizer_decode(c->t, ids.ids, ids.count, e);
    idlist_free(&ids);
    if (!text) return -1;
    c->lead_stays = lead->kind == BIT_TEXT && strlen(text) == lead->n + 1 && !memcmp(text, lead->text, lead->n);
    free(text);
    return 0;
}

ChatTemplate *template_open(const char *setting, const Tokenizer *t, const char *folder, Error *e) {
    TemplateGuess guess = { .name = setting };
    const int recognised = is_auto(setting);
    if (recognised && template_recognise(folder, t, &guess, e)) return NULL;
    ChatTemplate *c = template_load(guess.name, e);
    if (!c) return NULL;
    c->t = t;
    if (recognised) snprintf(c->why, sizeof c->why, "%s", guess.why);
    if (!tokens_bind(&c->tokens, c, folder, e) && !tokens_bind(&c->stop_names, c, folder, e) && !specials_bind(c, folder, e) &&
        !stops_bind(c, e) && !lead_bind(c, e))
        return c;
    template_free(c);
    return NULL;
}

static void tokens_free(TemplateTokens *tokens) {
    for (size_t i = 0; i < tokens->n; i++) free(tokens->names[i]);
    free(tokens->names);
    free(tokens->ids);
}

void template_free(ChatTemplate *c) {
    if (!c) return;
    for (FormKind k = 0; k < FORMS; k++) {
        for (size_t i = 0; i < c->forms[k].n; i++) free(c->forms[k].bits[i].text);
        free(c->forms[k].bits);
    }
    tokens_free(&c->tokens);
    tokens_free(&c->stop_names);
    idlist_free(&c->stops);
    free(c->system);
    free(c);
}

const char *template_name(const ChatTemplate *c) { return c->name; }
const char *template_why(const ChatTemplate *c) { return c->why; }
const char *template_hash(const ChatTemplate *c) { return c->hash; }
const IdList *template_stops(const ChatTemplate *c) { return &c->stops; }

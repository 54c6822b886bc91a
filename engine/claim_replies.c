/* claim_replies.c - owns the prompts of the claims model, the reading of its replies, and the rule of the second try.
 *
 * A reply is a list: lines that begin with "-", "*", a bullet or a number. Headings and talk around the list are passed over, since chat
 * models add them whatever they are told; a line of talk within it is not, since it may be half a fact. */
#include "engine/claim_replies.h"

#include "engine/prompt_text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- prompts ---- */

/* configs/prompts as the Makefile makes arrays of them. */
extern const char data_prompts_split_txt[], data_prompts_question_txt[], data_prompts_holistic_txt[];

int claim_prompts_load(ClaimPrompts *p, const char *split_path, const char *question_path, Error *e) {
    *p = (ClaimPrompts){ 0 };
    const char *where[2] = { split_path[0] ? split_path : "configs/prompts/split.txt",
        question_path[0] ? question_path : "configs/prompts/question.txt" };
    if (prompt_text_load(&p->split, split_path, data_prompts_split_txt, e) ||
        prompt_text_load(&p->question, question_path, data_prompts_question_txt, e) ||
        prompt_text_check(p->split, "claims", where[0], "{answer}", "{question}", e) || prompt_text_check(p->question, "claims", where[1], "{facts}", NULL, e))
        return claim_prompts_free(p), -1;
    uint64_t h[2] = { hash64(p->split, strlen(p->split) + 1, 0), hash64(p->question, strlen(p->question) + 1, 1) };
    hash_bytes(h, sizeof h, p->hash);
    return 0;
}

void claim_prompts_free(ClaimPrompts *p) {
    free(p->split), free(p->question);
    *p = (ClaimPrompts){ 0 };
}

int claim_whole_load(char **prompt, const char *path, Error *e) {
    if (prompt_text_load(prompt, path, data_prompts_holistic_txt, e)) return -1;
    if (prompt_text_check(*prompt, "claims", path[0] ? path : "configs/prompts/holistic.txt", "{answer}", "{question}", e)) return free(*prompt), *prompt = NULL, -1;
    return 0;
}

/* ---- lines of a reply ---- */

typedef struct Line {
    const char *text;
    size_t size;
    int item; /* had a bullet or a number, which is cut off */
} Line;

static int blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static int line_next(const char **cursor, Line *out) {
    const char *p = *cursor;
    if (!*p) return 0;
    const char *end = p + strcspn(p, "\n");
    *cursor = *end ? end + 1 : end;
    while (p < end && blank(*p)) p++;
    size_t digits = 0, mark = 0;
    while (p + digits < end && isdigit((unsigned char)p[digits])) digits++;
    if (digits > 0 && digits < 4 && p + digits < end && (p[digits] == '.' || p[digits] == ')')) mark = digits + 1;
    else if (p < end && (*p == '-' || *p == '*')) mark = 1;
    else if (end - p >= 3 && !memcmp(p, "\xe2\x80\xa2", 3)) mark = 3;
    if (mark == 1 && p + 1 < end && (p[1] == *p || isdigit((unsigned char)p[1]))) mark = 0; /* "**bold**", "---", "-3" */
    if (mark == digits + 1 && digits && p + mark < end && !blank(p[mark])) mark = 0;        /* "3.5" */
    p += mark;
    while (p < end && blank(*p)) p++;
    while (end > p && blank(end[-1])) end--;
    *out = (Line){ p, (size_t)(end - p), mark > 0 };
    return 1;
}

enum { LIST_GOOD, LIST_MALFORMED, LIST_FAILED = -1 };

/* The items of a reply, at most CLAIM_FACTS_MOST of them. */
typedef struct Items {
    Line list[CLAIM_FACTS_MOST];
    size_t n;
} Items;

static int is_none(const char *reply) {
    Line line = { 0 };
    while (line_next(&reply, &line) && !line.size) {}
    while (line.size && strchr(".\"'", line.text[line.size - 1])) line.size--;
    while (line.size && strchr("\"'", line.text[0])) line.text++, line.size--;
    if (line.size != 4 || strncasecmp(line.text, "none", 4)) return 0;
    for (; *reply; reply++)
        if (!isspace((unsigned char)*reply)) return 0;
    return 1;
}

/* 0, or 1 with *why. */
static int items_read(const char *reply, Items *out, const char **why) {
    Line line;
    int talk = 0;
    out->n = 0;
    if (!reply[strspn(reply, " \t\r\n")]) return *why = "an empty reply", 1;
    while (line_next(&reply, &line)) {
        if (!line.size && !line.item) continue;
        if (!line.item) {
            talk = out->n > 0 && line.text[0] != '#';
            continue;
        }
        if (talk) return *why = "talk within the list", 1;
        if (!line.size) return *why = "an empty line in the list", 1;
        if (line.size > CLAIM_LINE_MOST) return *why = "a line longer than 1000 bytes", 1;
        if (out->n == CLAIM_FACTS_MOST) return *why = "more than 64 lines", 1;
        out->list[out->n++] = line;
    }
    if (out->n == 0) return *why = "no list in the reply", 1;
    return 0;
}

static int words_two(const Line *l) {
    size_t i = 0;
    while (i < l->size && !blank(l->text[i])) i++;
    return i < l->size;
}

static int has_letter(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (isalnum((unsigned char)text[i]) || (unsigned char)text[i] >= 0x80) return 1;
    return 0;
}

int claim_facts_read(const char *reply, ClaimList *list, const char **why, Error *e) {
    Items items;
    if (is_none(reply)) return 0;
    if (items_read(reply, &items, why)) return LIST_MALFORMED;
    for (size_t i = 0; i < items.n; i++) {
        const Line *l = &items.list[i];
        if (l->text[l->size - 1] == '?') return *why = "a question in place of a fact", LIST_MALFORMED;
        if (!words_two(l) || !has_letter(l->text, l->size)) return *why = "a fact that is no sentence", LIST_MALFORMED;
    }
    for (size_t i = 0; i < items.n; i++) {
        const Line *l = &items.list[i];
        size_t k = 0;
        while (k < i && (items.list[k].size != l->size || memcmp(items.list[k].text, l->text, l->size))) k++;
        if (k < i ? claims_drop(list, l->text, l->size, "repeats an earlier fact", e)
                  : claims_add(list, l->text, l->size, NULL, CLAIM_SOUND, e))
            return LIST_FAILED;
    }
    return LIST_GOOD;
}

int claim_whole(const char *prompt, const char *question, const char *answer, ClaimList *out, Error *e) {
    *out = (ClaimList){ 0 };
    if (!has_letter(answer, strlen(answer))) return 0;
    char *text = prompt_text_fill(prompt, (PromptPlace[]){ { "{question}", question }, { "{answer}", answer } }, 2, e);
    int bad = !text || claims_add(out, answer, strlen(answer), text, CLAIM_SOUND, e);
    free(text);
    return bad ? -1 : 0;
}

/* Asked with one of these, the answer is not yes or no. */
static int asks_what(const Line *l) {
    static const char *const words[] = { "what", "which", "who", "whom", "whose", "where", "when", "why", "how" };
    size_t n = 0;
    while (n < l->size && isalpha((unsigned char)l->text[n])) n++;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == n && !strncasecmp(words[i], l->text, n)) return 1;
    return 0;
}

int claim_questions_read(const char *reply, ClaimList *list, const char **why, Error *e) {
    Items items;
    if (items_read(reply, &items, why)) return LIST_MALFORMED;
    if (items.n != list->count)
        return *why = items.n < list->count ? "fewer questions than facts" : "more questions than facts", LIST_MALFORMED;
    for (size_t i = 0; i < items.n; i++) {
        const Line *l = &items.list[i];
        if (l->text[l->size - 1] != '?' || memchr(l->text, '?', l->size - 1) || !words_two(l))
            return *why = "a line that is no question", LIST_MALFORMED;
        if (asks_what(l)) return *why = "a question for more than yes or no", LIST_MALFORMED;
    }
    for (size_t i = 0; i < items.n; i++) {
        Claim *c = &list->claims[i];
        free(c->question);
        if (!(c->question = strndup(items.list[i].text, items.list[i].size)))
            return error_what(e, "out of memory"), error_where(e, "claims"), LIST_FAILED;
    }
    return LIST_GOOD;
}

/* ---- jobs ---- */

int claim_job_begin(ClaimJob *j, const char *question, const char *answer, Error *e) {
    *j = (ClaimJob){ .question = strdup(question), .answer = strdup(answer) };
    if (!j->question || !j->answer) return claim_job_free(j), error_what(e, "out of memory"), error_where(e, "claims");
    if (!has_letter(answer, strlen(answer))) j->stage = CLAIM_DONE;
    return 0;
}

void claim_job_free(ClaimJob *j) {
    free(j->question), free(j->answer), free(j->reply);
    claims_free(&j->list);
    *j = (ClaimJob){ 0 };
}

char *claim_job_prompt(const ClaimJob *j, const ClaimPrompts *p, Error *e) {
    if (j->stage == CLAIM_SPLIT) return prompt_text_fill(p->split, (PromptPlace[]){ { "{question}", j->question }, { "{answer}", j->answer } }, 2, e);
    size_t size = 1, used = 0;
    for (size_t i = 0; i < j->list.count; i++) size += strlen(j->list.claims[i].text) + 3;
    char *facts = mem_new(size, 1, "a prompt", e);
    if (!facts) return NULL;
    for (size_t i = 0; i < j->list.count; i++)
        used += (size_t)snprintf(facts + used, size - used, "%s- %s", i ? "\n" : "", j->list.claims[i].text);
    char *out = prompt_text_fill(p->question, (PromptPlace[]){ { "{facts}", facts } }, 1, e);
    free(facts);
    return out;
}

void claim_job_drop(ClaimJob *j, const char *why) {
    claims_free(&j->list);
    j->stage = CLAIM_DONE, j->again = 0, j->why = why;
}

/* The reply's beginning, without half a character at its end. */
static char *reply_kept(const char *reply) {
    size_t n = strlen(reply);
    if (n > CLAIM_REPLY_KEPT) n = CLAIM_REPLY_KEPT;
    while (n > 0 && ((unsigned char)reply[n] & 0xc0) == 0x80) n--;
    return strndup(reply, n);
}

int claim_job_reply(ClaimJob *j, const char *reply, int finished, Error *e) {
    const char *why = "cut at its limit";
    int got = !finished                 ? LIST_MALFORMED
              : j->stage == CLAIM_SPLIT ? claim_facts_read(reply, &j->list, &why, e)
                                        : claim_questions_read(reply, &j->list, &why, e);
    if (got == LIST_FAILED) return -1;
    if (got == LIST_GOOD) {
        j->again = 0;
        j->stage = j->stage == CLAIM_SPLIT && j->list.count > 0 ? CLAIM_ASK : CLAIM_DONE;
        return 0;
    }
    if (!j->again) return j->again = 1, j->retried++, 0;
    if (!(j->reply = reply_kept(reply))) return error_what(e, "out of memory"), error_where(e, "claims");
    claim_job_drop(j, why);
    return 0;
}

json_t *claim_job_row(const ClaimJob *j, const char *id, int64_t candidate) {
    json_t *row = claims_row(&j->list, id, candidate);
    if (row && j->retried) json_object_set_new(row, "retried", json_integer(j->retried));
    if (row && j->why) json_object_set_new(row, "dropped", json_string(j->why));
    if (row && j->reply) json_object_set_new(row, "reply", json_string(j->reply));
    return row;
}

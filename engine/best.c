/* best.c - owns best-of-N by the implicit reward of preference training: which of N answers to a prompt is kept.
 *
 * A policy trained by DPO against a reference rewards an answer y with beta log(p_policy(y) / p_reference(y)) (Rafailov et al. 2023); RLAIF-V ranks by it
 * divided by the answer's tokens, because the sum favours short answers. The answers may be any model's. Baselines: the mean log-prob (perplexity) under the
 * policy, or under the reference. The first N answers of a prompt compete, ties go to the earlier one, so N = 1 is plain sampling.
 * Refuses rows without answers; an answer that does not fit the models' positions is left out, with its reason. */
#include "engine/commands.h"

#include "engine/dataset.h"
#include "engine/options.h"
#include "engine/pairs.h"
#include "engine/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COUNTS = 16 };

typedef enum Rule { BY_REWARD, BY_REWARD_SUM, BY_POLICY, BY_REFERENCE, RULES } Rule;
static const char *const rule_names[] = { "reward", "reward-sum", "policy-ppl", "reference-ppl" };

typedef struct Entry { /* an answer; those of a prompt stand together */
    int row;           /* of the data */
    int prompt, candidate, finished;
    const char *text;  /* owned by the row */
    IdList ids;
    double logp[2], tokens[2]; /* under policy, reference; NAN: refused */
} Entry;

typedef struct Best {
    const char *models[2], *data, *out, *images, *chat;
    CommonOptions common;
    int aspect, exif;
    int64_t prefetch;
    double beta;
    int counts[MOST_COUNTS], counts_n;
    int64_t rows;
    Dataset set;
    Entry *entries;
    size_t n, cap;
    int prompts;
    Progress progress;
} Best;

/* ---- the answers ---- */

static int entry_add(Best *b, int row, const json_t *from, int candidate, const char *where, Error *e) {
    const char *text;
    int finished = 1;
    if (json_need_string(from, "text", where, &text, e) || json_may_bool(from, "finished", where, &finished, e)) return -1;
    if (mem_grow(&b->entries, &b->cap, b->n + 1, sizeof *b->entries, "answers", e)) return -1;
    b->entries[b->n++] = (Entry){ .row = row, .prompt = b->prompts - 1, .candidate = candidate, .finished = finished, .text = text, .logp = { NAN, NAN } };
    return 0;
}

static int same_prompt(const DataRow *a, const DataRow *b) {
    return !strcmp(a->id, b->id) && !strcmp(a->question, b->question) && !strcmp(a->image ? a->image : "", b->image ? b->image : "");
}

/* Rows of one answer each (candidates.jsonl: those of a prompt follow one another), or of all answers of a prompt (`rlaifv generate`). */
static int entries_read(Best *b, Error *e) {
    for (int i = 0; i < b->set.n; i++) {
        const DataRow *r = &b->set.rows[i];
        const json_t *answers = json_object_get(r->json, "answers"), *answer;
        char where[PATH_SIZE + 16];
        size_t k;
        snprintf(where, sizeof where, "%s:%d", b->data, r->line);
        if (!i || answers || !same_prompt(r, r - 1)) b->prompts++;
        if (!answers) {
            int candidate = b->n && b->entries[b->n - 1].prompt == b->prompts - 1 ? b->entries[b->n - 1].candidate + 1 : 0;
            if (entry_add(b, i, r->json, candidate, where, e)) return -1;
            continue;
        }
        if (!json_is_array(answers) || !json_array_size(answers))
            return error_what(e, "a row has no answers"), error_where(e, "%s: field \"answers\"", where), error_found(e, "%s", json_kind(answers)),
                   error_expected(e, "[{\"text\"}, ...], or rows of one {\"text\"} each");
        json_array_foreach(answers, k, answer) if (entry_add(b, i, answer, (int)k, where, e)) return -1;
    }
    return 0;
}

/* ---- log-probs ---- */

typedef struct Scoring {
    Best *b;
    const size_t *first; /* entry of each item */
} Scoring;

static int item_refused(void *context, size_t item, const Error *why, Error *e) {
    (void)e;
    Scoring *s = context;
    char text[1600];
    progress_say(&s->b->progress, "left out: %s:%d: %s", s->b->data, s->b->set.rows[s->b->entries[s->first[item]].row].line, error_text(why, text, sizeof text));
    return 0;
}

/* All entries under model `which`; each answer is an item of its own, so that one that does not fit takes no other with it. */
static int entries_score(Best *b, int which, Vlm *v, Error *e) {
    Prompt *prompts = mem_new((size_t)b->prompts, sizeof *prompts, "prompts", e);
    ScoreItem *items = mem_new(b->n, sizeof *items, "answers", e);
    size_t *first = mem_new(b->n, sizeof *first, "answers", e), n = 0;
    AnswerScore *scores = NULL;
    int bad = !prompts || !items || !first, made = 0;
    for (size_t i = 0; i < b->n && !bad; i++) {
        Entry *x = &b->entries[i];
        const DataRow *r = &b->set.rows[x->row];
        Error why = { 0 };
        if (made == x->prompt) {
            if (vlm_prompt(v, r->image, r->question, &prompts[made++], &why)) {
                char text[1600];
                progress_say(&b->progress, "left out: %s:%d: %s", b->data, r->line, error_text(&why, text, sizeof text));
            }
        }
        if (!prompts[x->prompt].tail.count) continue; /* refused */
        idlist_free(&x->ids);
        if ((bad = template_answer(v->chat, x->text, x->finished, &x->ids, e))) break;
        first[n] = i;
        items[n++] = (ScoreItem){ &prompts[x->prompt], &x->ids, 1 };
    }
    Scoring context = { b, first };
    if (!bad) {
        progress_begin(&b->progress, which ? "reference" : "policy", "answers", (int64_t)n, 0);
        bad = score_answers(v, items, n, (int)b->rows, &scores, &(Refusals){ &context, item_refused }, &b->progress, e);
        progress_end(&b->progress);
    }
    for (size_t i = 0; i < n && !bad; i++)
        if (scores[i].logps) b->entries[first[i]].logp[which] = scores[i].sum, b->entries[first[i]].tokens[which] = scores[i].tokens;
    scores_free(scores, n);
    prompts_free(prompts, (size_t)b->prompts);
    free(items);
    free(first);
    return bad ? -1 : 0;
}

static int models_score(Best *b, Error *e) {
    const Kernels *k = kernels_open(b->common.device, (int)b->common.threads, e);
    for (int which = 0; which < 2; which++) {
        Vlm v;
        if (!k || vlm_open(&v, k, b->models[which], (DType)b->common.dtype, b->chat, b->aspect, e)) return -1;
        v.exif = (ImageExif)b->exif;
        v.ahead_images = (int)b->prefetch;
        int bad = entries_score(b, which, &v, e);
        vlm_close(&v); /* one model in memory at a time */
        if (bad) return -1;
    }
    return 0;
}

/* ---- the choice ---- */

static double value_of(const Best *b, const Entry *x, Rule rule) {
    double sum = b->beta * (x->logp[0] - x->logp[1]);
    switch (rule) {
    case BY_REWARD: return sum / x->tokens[0];
    case BY_REWARD_SUM: return sum;
    case BY_POLICY: return x->logp[0] / x->tokens[0];
    default: return x->logp[1] / x->tokens[1];
    }
}

static json_t *entry_json(const Best *b, const Entry *x) {
    const DataRow *r = &b->set.rows[x->row];
    json_t *row = json_pack("{s:s, s:s*, s:s, s:i, s:s, s:b}", "id", r->id, "image", r->image, "question", r->question, "candidate", x->candidate, "text", x->text,
        "finished", x->finished);
    for (int rule = 0; row && rule < RULES; rule++) {
        double value = value_of(b, x, (Rule)rule);
        json_object_set_new(row, rule_names[rule], isfinite(value) ? json_real(value) : json_null());
    }
    if (row) json_object_set_new(row, "tokens", json_integer((json_int_t)x->tokens[0]));
    return row;
}

/* Where the answers to the prompt of entry i end. */
static size_t prompt_end(const Best *b, size_t i) {
    size_t end = i;
    while (end < b->n && b->entries[end].prompt == b->entries[i].prompt) end++;
    return end;
}

/* Of the prompt's first `count` answers, from entry i on; NULL: none of them could be scored. */
static const Entry *choose(const Best *b, size_t i, Rule rule, int count) {
    const Entry *best = NULL;
    size_t end = prompt_end(b, i);
    if (end - i > (size_t)count) end = i + (size_t)count;
    for (; i < end; i++) {
        double value = value_of(b, &b->entries[i], rule);
        if (isfinite(value) && (!best || value > value_of(b, best, rule))) best = &b->entries[i];
    }
    return best;
}

static int row_write(const Best *b, const Entry *x, FileOut *out, Error *e) {
    json_t *row = entry_json(b, x);
    return row ? jsonl_write(out->stream, row, e) : error_what(e, "out of memory");
}

/* Every answer with its values. */
static int scores_write(const Best *b, Error *e) {
    char path[PATH_SIZE];
    FileOut out;
    int bad = 0;
    if (path_join(path, b->out, "scores.jsonl", e) || file_create(&out, path, e)) return -1;
    for (size_t i = 0; i < b->n && !bad; i++) bad = row_write(b, &b->entries[i], &out, e);
    if (!bad) return file_commit(&out, e);
    file_abandon(&out);
    return -1;
}

/* The answers that a rule keeps; their length is said, as that is what a sum is biased by. */
static int choices_write(const Best *b, Rule rule, int count, Error *e) {
    char path[PATH_SIZE], name[64];
    FileOut out;
    int bad = 0, n = 0;
    double words = 0;
    snprintf(name, sizeof name, "%s-%d.jsonl", rule_names[rule], count);
    if (path_join(path, b->out, name, e) || file_create(&out, path, e)) return -1;
    for (size_t i = 0; i < b->n && !bad; i = prompt_end(b, i)) {
        const Entry *best = choose(b, i, rule, count);
        if (!best) continue;
        n++, words += (double)words_count(best->text);
        bad = row_write(b, best, &out, e);
    }
    if (bad) {
        file_abandon(&out);
        return -1;
    }
    printf("%-14s N = %-3d %d answers, %.1f words\n", rule_names[rule], count, n, n ? words / n : 0);
    return file_commit(&out, e);
}

static int counts_read(Best *b, const char *text, Error *e) {
    for (const char *p = text; *p;) {
        char *end;
        long n = strtol(p, &end, 10);
        if (end == p || n < 1 || n > 1000000 || b->counts_n == MOST_COUNTS || (*end && *end != ','))
            return error_what(e, "bad value of --n"), error_where(e, "command line"), error_found(e, "%s", text),
                   error_expected(e, "up to %d numbers from 1 on, as 1,2,4,8", MOST_COUNTS);
        b->counts[b->counts_n++] = (int)n;
        p = *end ? end + 1 : end;
    }
    return 0;
}

static int best_run(Best *b, Error *e) {
    char unpack[PATH_SIZE];
    DataOptions options = { .need = DATA_QUESTION, .images = b->images, .unpack = unpack };
    if (path_join(unpack, b->out, "images", e)) return -1;
    progress_init(&b->progress, stderr);
    if (dataset_read(&b->set, b->data, &options, e)) return -1;
    for (int i = 0; i < b->set.drops_n; i++) progress_say(&b->progress, "row dropped: %s", b->set.drops[i].reason);
    if (entries_read(b, e) || models_score(b, e) || folder_make(b->out, e) || scores_write(b, e)) return -1;
    for (int rule = 0; rule < RULES; rule++)
        for (int i = 0; i < b->counts_n; i++)
            if (choices_write(b, (Rule)rule, b->counts[i], e)) return -1;
    return 0;
}

int command_best(int argc, char **argv, Error *e) {
    Best b = { .common = COMMON_DEFAULTS, .beta = 0.1, .rows = SCORE_ROWS, .images = "", .chat = TEMPLATE_AUTO, .aspect = IMAGE_PAD, .prefetch = VLM_AHEAD };
    const char *counts = "1,2,4,8,16,32,64";
    const Option table[] = { { "policy", OPTION_TEXT, &b.models[0], "DIR", "the aligned model", 1, 0, 0, NULL },
        { "reference", OPTION_TEXT, &b.models[1], "DIR", "the model it was aligned from", 1, 0, 0, NULL },
        { "data", OPTION_TEXT, &b.data, "FILE", "answers of any model: candidates.jsonl, or what `rlaifv generate` wrote", 1, 0, 0, NULL },
        { "out", OPTION_TEXT, &b.out, "DIR", "gets scores.jsonl and RULE-N.jsonl: the answers kept", 1, 0, 0, NULL },
        { "n", OPTION_TEXT, &counts, "LIST", "how many of a prompt's answers compete", 0, 0, 0, NULL },
        { "beta", OPTION_NUMBER, &b.beta, "B", "of the reward; ranks do not depend on it", 0, 1e-9, 1e6, NULL },
        { "template", OPTION_TEXT, &b.chat, "NAME", "chat template: a name, the path of a file, or auto: the checkpoint's own", 0, 0, 0, NULL },
        { "aspect", OPTION_CHOICE, &b.aspect, "HOW", "how images are fitted to one tile; models of tiled images have their own way", 0, 0, 0, image_aspects },
        { "exif", OPTION_CHOICE, &b.exif, "HOW", "orientation that a camera wrote", 0, 0, 0, image_exifs },
        { "prefetch", OPTION_INT, &b.prefetch, "N", "images decoded ahead of their step; changes speed and memory, not results", 0, 0, 4096, NULL },
        { "images", OPTION_TEXT, &b.images, "DIR", "where images are looked for by file name", 0, 0, 0, NULL },
        { "batch", OPTION_INT, &b.rows, "ROWS", "token rows of one step; changes speed and memory, not results", 0, 1, 1e7, NULL },
        OPTIONS_COMMON(b.common),
        { .name = NULL } };
    int got = options_parse(table, argc, argv, NULL, e);
    if (got == OPTIONS_HELP)
        return options_help(table, "best --policy DIR --reference DIR --data FILE --out DIR [OPTION]...",
                   "Best-of-N by self-reward: of each prompt's first N answers the one with the largest beta / tokens * log(policy / reference) (reward), the same "
                   "not divided by tokens (reward-sum), or the best mean log-prob (policy-ppl, reference-ppl).",
                   stdout),
               0;
    if (got || counts_read(&b, counts, e)) return 2;
    int bad = best_run(&b, e);
    for (size_t i = 0; i < b.n; i++) idlist_free(&b.entries[i].ids);
    free(b.entries);
    dataset_free(&b.set);
    return bad ? -1 : 0;
}

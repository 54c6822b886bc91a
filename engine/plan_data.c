/* plan_data.c - owns what a plan knows of the data: lengths measured from files where they and the tokenizer are there, and what stands for
 * them where they are not. Never fails for want of data: a plan is asked for before there is any. */
#include "engine/plan.h"

#include "engine/arrows.h"
#include "engine/claim_replies.h"
#include "engine/dataset.h"
#include "model/anyres.h"
#include "model/image.h"
#include "tokenizer/template.h"

#include <stdlib.h>
#include <string.h>

/* What stands for numbers that nothing says: an iteration of the paper (PAPER.md: 4000 prompts), questions and answers of a few sentences.
 */
enum { PROMPTS = 4000, HEAD = 40, QUESTION = 60, ANSWER = 100, CLAIMS = 8, PROBE = 48, CLAIMS_HEAD = 400, WHOLE_TEXT = 70 };

static const char measured[] = "measured", given_text[] = "given", bound[] = "bound", assumed[] = "assumed";

typedef struct Measure {
    Tokenizer *tokenizer;
    ChatTemplate *chat; /* NULL: nothing can be measured */
    const ModelConfig *policy;
    ImageExif exif;
    int head, image_tokens;
    int blind; /* pairs hold the chosen answer once more, without the image */
    int64_t n, images, longest, sum, pair_longest, pair_sum;
} Measure;

/* Rows of a picture: of a tiled one by its size, at most as many where it cannot be read. */
static int64_t image_rows(const Measure *m, const char *path) {
    int width, height;
    if (!m->policy->grids_n || image_measure(path, m->exif, &width, &height, NULL)) return m->image_tokens;
    return image_layout(m->policy, width, height).rows;
}

static int row_add(Measure *m, const DataRow *r, int64_t limit, Error *e) {
    IdList head = { 0 }, tail = { 0 }, answers[2] = { 0 };
    int has_image = r->image != NULL;
    int bad = template_prompt(m->chat, r->question, has_image, &head, &tail, e);
    int64_t prompt = (int64_t)tail.count + (has_image ? m->head + image_rows(m, r->image) : 0), pair = prompt, most = 0;
    for (int side = 0; side < 2 && r->chosen && r->rejected && !bad; side++) {
        bad = template_answer(m->chat, side ? r->rejected : r->chosen, 1, &answers[side], e);
        pair += (int64_t)answers[side].count;
        if (m->blind && !side) pair += m->head + (int64_t)tail.count + (int64_t)answers[side].count;
        if ((int64_t)answers[side].count > most) most = (int64_t)answers[side].count;
    }
    for (int side = 0; side < 2; side++) idlist_free(&answers[side]);
    idlist_free(&head);
    idlist_free(&tail);
    if (bad) return -1;
    if (prompt + most > limit) return 0; /* will be dropped */
    m->n++, m->images += has_image;
    m->sum += prompt, m->pair_sum += pair;
    if (prompt > m->longest) m->longest = prompt;
    if (pair > m->pair_longest) m->pair_longest = pair;
    return 0;
}

/* 1 when there was something to measure. */
static int file_measure(Measure *m, const RunConfig *c, const char *path, unsigned need, int rows, int64_t limit) {
    Dataset d;
    DataOptions options = { .need = DATA_QUESTION | DATA_LOOK | need, .images = c->data.images, .limit = rows };
    m->n = m->images = m->longest = m->sum = m->pair_longest = m->pair_sum = 0;
    if (!m->chat || !path[0] || !file_exists(path) || dataset_read(&d, path, &options, NULL)) return 0;
    int bad = 0;
    for (int i = 0; i < d.n && !bad; i++) bad = row_add(m, &d.rows[i], limit, NULL);
    dataset_free(&d);
    return !bad && m->n > 0;
}

static PlanNumber number(int64_t most, double mean, const char *from) { return (PlanNumber){ most, mean, from }; }
static PlanNumber constant(int64_t n, const char *from) { return number(n, (double)n, from); }

static void lengths_from(Measure *m, PlanNumber *count, PlanNumber *length) {
    *count = constant(m->n, measured);
    *length = number(m->longest, (double)m->sum / (double)m->n, measured);
}

/* The longest answer that is taken apart or asked about. */
static int64_t answer_longest(const RunConfig *c, unsigned phases) {
    int evaluates = (phases >> PLAN_EVALUATE & 1) != 0, samples = phases >> PLAN_SAMPLE & 1 || !evaluates;
    int64_t answer = samples ? c->sample.max_new_tokens : 0;
    return evaluates && c->eval.max_new_tokens > answer ? c->eval.max_new_tokens : answer;
}

/* Tokens of a prompt's file by the labeler's tokenizer, or what is assumed where that is not there. */
static int64_t text_tokens(const Tokenizer *t, const char *text, int64_t otherwise) {
    IdList ids = { 0 };
    int bad = !t || tokenizer_encode(t, text, strlen(text), &ids, NULL);
    int64_t n = bad ? otherwise : (int64_t)ids.count;
    idlist_free(&ids);
    return n;
}

/* One probe an answer, which holds its question and all of it. */
static void whole_measure(PlanData *d, const RunConfig *c, unsigned phases, int64_t trunk) {
    char *prompt;
    Tokenizer *t = tokenizer_load(labeler_or(c, c->model.dir), NULL);
    int64_t fixed = WHOLE_TEXT, image = d->images ? trunk : 0;
    if (!claim_whole_load(&prompt, c->label.prompt, NULL)) {
        fixed = text_tokens(t, prompt, WHOLE_TEXT);
        free(prompt);
    }
    int64_t before = image + fixed + d->prompt.most - trunk;
    d->claims = constant(1, bound);
    d->probe = number(before + answer_longest(c, phases), (double)before + d->answer.mean, bound);
    tokenizer_free(t);
}

/* Tokens of the prompts of a claims model: what they begin with, and what follows: a question and an answer, or the facts in it, at their
 * longest. `trunk`: what d->prompt counts beside the question. */
static void claims_measure(PlanData *d, const RunConfig *c, unsigned phases, int64_t trunk, int64_t chat) {
    ClaimPrompts p;
    Tokenizer *t = tokenizer_load(claims_model(c, labeler_or(c, c->model.dir)), NULL);
    int64_t answer = answer_longest(c, phases), question = d->prompt.most - trunk, fixed[2] = { CLAIMS_HEAD, CLAIMS_HEAD };
    if (!claim_prompts_load(&p, c->claims.split_prompt, c->claims.question_prompt, NULL)) {
        const char *texts[2] = { p.split, p.question };
        for (int i = 0; i < 2; i++) fixed[i] = text_tokens(t, texts[i], CLAIMS_HEAD);
        if (!strstr(p.split, "{question}")) question = 0;
        claim_prompts_free(&p);
    }
    int64_t split = fixed[0] + question + answer, ask = fixed[1] + c->claims.max_new_tokens, most = split > ask ? split : ask;
    d->claims_head = chat + (fixed[0] > fixed[1] ? fixed[0] : fixed[1]);
    d->claims_prompt = number(most - fixed[split < ask], (double)question / 2 + d->answer.mean, bound);
    tokenizer_free(t);
}

static void tokenizer_open(Measure *m, const RunConfig *c, PlanData *d) {
    IdList head = { 0 }, tail = { 0 };
    Error why = { 0 };
    d->chat[0] = 0;
    if (!(m->tokenizer = tokenizer_load(c->model.dir, NULL))) return;
    m->chat = template_open(c->chat.template_name, m->tokenizer, c->model.dir, &why);
    if (m->chat) snprintf(d->chat, sizeof d->chat, "%.200s (%s)", template_name(m->chat), template_why(m->chat));
    else error_text(&why, d->chat, sizeof d->chat);
    if (m->chat && !template_prompt(m->chat, "", 1, &head, &tail, NULL)) m->head = (int)head.count;
    idlist_free(&head);
    idlist_free(&tail);
}

/* Pairs of answers that were not drawn yet. */
static PlanNumber pair_bound(const PlanData *d, const RunConfig *c, int64_t limit, int64_t image_tokens) {
    int64_t answer = c->sample.max_new_tokens, most = d->prompt.most + 2 * answer;
    if (most > limit + answer) most = limit + answer; /* prompt and longer answer are kept up to the limit */
    if (most > 2 * limit) most = 2 * limit;
    double mean = d->prompt.mean + 2 * d->answer.mean;
    if (c->train.conditional_weight != 0) {
        int64_t prompt = d->prompt.most - image_tokens;
        most += prompt + answer < limit ? prompt + answer : limit;
        mean += d->prompt.mean - (double)image_tokens + d->answer.mean;
    }
    return number(most, mean < (double)most ? mean : (double)most, bound);
}

int plan_data(PlanData *d, const RunConfig *c, const ModelConfig *policy, unsigned phases, const PlanGiven *given, Error *e) {
    static const PlanGiven nothing;
    (void)e;
    if (!given) given = &nothing;
    int samples = !(phases >> PLAN_TRAIN & 1) || phases >> PLAN_SAMPLE & 1, image_tokens = policy->vision.layers ? policy->image_tokens : 0;
    int64_t limit = policy->decoder.positions;
    Measure m = { .head = HEAD, .policy = policy, .exif = c->data.exif, .image_tokens = image_tokens, .blind = c->train.conditional_weight != 0 };
    *d = (PlanData){ .images = image_tokens > 0 };
    tokenizer_open(&m, c, d);
    d->head = m.head;
    int64_t trunk = m.head + image_tokens;
    d->prompts = constant(c->data.per_iteration ? c->data.per_iteration : PROMPTS, c->data.per_iteration ? bound : assumed);
    d->prompt = d->eval_prompt = constant(trunk + QUESTION, assumed);
    d->eval_prompts = constant(c->eval.prompts ? c->eval.prompts : 500, c->eval.prompts ? bound : assumed);
    if (samples && file_measure(&m, c, c->data.eval, 0, c->eval.prompts, limit)) lengths_from(&m, &d->eval_prompts, &d->eval_prompt);
    if (samples && file_measure(&m, c, c->data.prompts, 0, c->data.per_iteration, limit)) {
        lengths_from(&m, &d->prompts, &d->prompt);
        d->images = m.images > 0;
    }
    if (given->prompts) d->prompts = constant(given->prompts, given_text);
    if (given->prompt_text) d->prompt = d->eval_prompt = constant(trunk + given->prompt_text, given_text);
    double answer = given->answer ? (double)given->answer : c->sample.max_new_tokens < ANSWER ? c->sample.max_new_tokens : ANSWER;
    d->answer = number(c->sample.max_new_tokens, answer, given->answer ? given_text : assumed);
    d->claims = constant(given->claims ? given->claims : CLAIMS, given->claims ? given_text : assumed);
    if (claims_by_model(c) && phases >> PLAN_CLAIMS & 1) claims_measure(d, c, phases, trunk, m.head);
    d->probe =
        constant((d->images ? trunk : 0) + (given->probe_text ? given->probe_text : PROBE), given->probe_text ? given_text : assumed);
    if (c->label.mode == LABEL_HOLISTIC && !given->probe_text) whole_measure(d, c, phases, trunk);
    if (c->train.max_tokens < limit) limit = c->train.max_tokens;
    int64_t own = d->prompts.most * c->pair.per_prompt;
    d->pairs = constant((c->pair.most > 0 && c->pair.most < own ? c->pair.most : own) + (c->data.pairs[0] ? file_lines(c->data.pairs) : 0), bound);
    d->pair = pair_bound(d, c, limit, image_tokens);
    if (!samples && file_measure(&m, c, c->data.train, DATA_PAIR, 0, limit)) {
        d->pairs = constant(m.n, measured);
        d->pair = number(m.pair_longest, (double)m.pair_sum / (double)m.n, measured);
        d->images = m.images > 0;
    }
    if (given->pairs) d->pairs = constant(given->pairs, given_text);
    template_free(m.chat);
    tokenizer_free(m.tokenizer);
    return 0;
}

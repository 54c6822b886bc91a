/* sample.c - owns the lockstep growth of candidates: admission of prompts, refill of finished leaves, slots, the draw.
 *
 * One step is: admit prompts (their trunks are rows of this step) while leaves are free; start waiting candidates whose first token is
 * known; one row per leaf; one forward; one draw per scored row. A trunk's last row is scored once per candidate, so all first tokens are
 * drawn in the step that prefilled it, and a candidate that waits is just a number. A trunk is released with its last candidate. With beams it is scored
 * once, for the first tokens of all; a search that waits for its leaves has them all at once or none.
 *
 * Key/value memory is sized once, from the longest prompt and the number of leaves; where holes are too small, admission waits. */
#include "engine/sample.h"

#include "engine/beam.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* An image whose rows are held, shared by the prompts in flight that ask about it. */
typedef struct HeldImage {
    char hash[HASH_TEXT];
    int segment; /* -1: entry free */
} HeldImage;

/* A prompt in flight. */
typedef struct Flight {
    size_t prompt;
    int segment, image; /* forest segment of its tail; index of its HeldImage, -1 for text alone */
    int tokens;
    int started, open; /* candidates that have a leaf or ended without one, or beams that have one; candidates not ended */
    Candidate *candidates;
    IdList *said; /* each candidate's ids, each once; or NULL */
    BeamSearch *search;                /* or NULL */
    int leaves[BEAMS_MOST];            /* segments, one for each beam there can be */
    int leaf[BEAMS_MOST];              /* which of them each beam has; beyond the beams, spare ones */
    int alike[BEAMS_MOST][BEAMS_MOST]; /* of two leaves: so many rows from the first on are equal to the bit */
} Flight;

typedef struct Leaf {
    Flight *flight;
    int candidate, segment;
} Leaf;

/* Whose row a scored row is. */
typedef struct Drawn {
    Flight *flight;
    int candidate;
} Drawn;

typedef struct Sampler {
    Vlm *v;
    const Prompt *prompts;
    const uint32_t *instructions;
    size_t n, next; /* prompts, and the first not admitted */
    const SampleConfig *config;
    const SampleSink *sink;
    const Refusals *refusals;
    Progress *progress;
    Forest forest;
    StepImages images;
    int root, leaves_max; /* root: what stands before images; -1: not yet */
    int head;             /* the segment of config->head, held to the end; -1: not yet */
    Leaf *leaves;
    int leaves_n;
    int leaf_rows; /* rows of this step that are leaves' */
    Flight **flights; /* in order of admission */
    size_t flights_n, flights_cap;
    HeldImage *held;
    size_t held_n, held_cap;
    Drawn *drawn;
    size_t drawn_cap;
    SampleRow *rows;
    int *ids;
    float *logps;
    size_t rows_cap, ids_cap, logps_cap;
    int *said_first;
    size_t said_first_cap;
    IdList said; /* of this step's rows, one after another */
} Sampler;

void candidates_free(Candidate *c, size_t n) {
    if (!c) return;
    for (size_t i = 0; i < n; i++) idlist_free(&c[i].ids);
    free(c);
}

static void flight_free(const Sampler *s, Flight *f) {
    candidates_free(f->candidates, (size_t)s->config->n);
    for (int i = 0; f->said && i < s->config->n; i++) idlist_free(&f->said[i]);
    free(f->said);
    if (f->search) beams_free(f->search);
    free(f->search);
    free(f);
}

static void sampler_free(Sampler *s) {
    for (size_t i = 0; i < s->flights_n; i++) flight_free(s, s->flights[i]);
    free(s->flights);
    forest_free(&s->forest);
    step_images_free(&s->images);
    free(s->leaves);
    free(s->held);
    free(s->drawn);
    free(s->rows);
    free(s->ids);
    free(s->logps);
    free(s->said_first);
    idlist_free(&s->said);
}

/* ---- sizes ---- */

/* Tokens a leaf below a trunk of `tokens` may draw: what the config allows and the positions leave. */
static int answer_room(const Sampler *s, int tokens) {
    int room = s->v->model.config.decoder.positions - tokens + 1; /* the last token drawn is never a row */
    return room < s->config->max_new_tokens ? room : s->config->max_new_tokens;
}

static int leaf_capacity(const Sampler *s, int tokens) {
    int room = answer_room(s, tokens) - 1;
    return room > 1 ? room : 1;
}

StepSize sample_step_size(
    const ModelConfig *c, const SampleConfig *config, int64_t head, int64_t longest, int64_t prompts, int64_t images, int *leaves) {
    int64_t n = sample_spread(config->n, config->beams), wanted = config->leaves > 0 ? config->leaves : SAMPLE_LEAVES, all = (prompts < 1 << 20 ? prompts : 1 << 20) * n;
    if (config->beams > wanted) wanted = config->beams;
    int64_t most = wanted < all ? wanted : all, full = (most + n - 1) / n;
    /* twice the trunks that full leaves need: stragglers keep theirs */
    int64_t trunks = 2 * full + 1 < prompts ? 2 * full + 1 : prompts;
    *leaves = (int)most;
    /* a step admits prompts until their candidates fill the leaves */
    StepSize s = vlm_step_size(c, STEP_CACHED, USES_LOGITS | USES_SLOTS, head + full * longest + most, most + n, images, 0);
    s.slots = head + trunks * longest + most * config->max_new_tokens;
    return s;
}

/* Tokens of a prompt that it shares by config->head. */
static int shared(const Sampler *s, const Prompt *p) {
    const IdList *head = s->config->head;
    if (!head || prompt_has_image(p) || p->tail.count <= head->count || memcmp(p->tail.ids, head->ids, head->count * sizeof *head->ids)) return 0;
    return (int)head->count;
}

static int sampler_open(Sampler *s, Error *e) {
    const ModelConfig *c = &s->v->model.config;
    int longest = 0, images = 0;
    for (size_t i = 0; i < s->n; i++) {
        int tokens = prompt_tokens(s->v, &s->prompts[i]);
        if (tokens >= c->decoder.positions)
            return error_what(e, "prompt too long"), error_where(e, "prompt %zu", i + 1), error_found(e, "%d tokens", tokens),
                   error_expected(e, "fewer than the model's %d positions", c->decoder.positions), config_explain_positions(&c->decoder, e);
        if (tokens - shared(s, &s->prompts[i]) > longest) longest = tokens - shared(s, &s->prompts[i]);
        images += prompt_has_image(&s->prompts[i]);
    }
    StepSize most = sample_step_size(c, s->config, (int64_t)s->v->head.count + (s->config->head ? (int64_t)s->config->head->count : 0), longest, (int64_t)s->n, images, &s->leaves_max);
    if (most.slots > 1 << 30)
        return error_what(e, "too much key/value memory"), error_found(e, "%lld slots", (long long)most.slots),
               error_hint(e, "fewer leaves in flight");
    for (size_t i = 0; i < s->n; i++) vlm_ahead(s->v, &s->prompts[i].image);
    s->leaves = mem_new((size_t)s->leaves_max, sizeof *s->leaves, "leaves", e);
    return s->leaves && !vlm_reserve(s->v, &most, e) ? forest_slots(&s->forest, (int)most.slots, e) : -1;
}

static int searches(const Sampler *s) { return s->config->beams > 1; }
static int penalises(const Sampler *s) { return s->config->repetition_penalty > 0 && s->config->repetition_penalty != 1; }

/* ---- admission ---- */

static int no_slots(const Error *e) { return !strcmp(e->what, "no free slots"); }

/* Index of the held image with these contents, made when there is none; -1 with the Error filled. */
static int image_hold(Sampler *s, int image, Error *e) {
    const char *hash = s->images.list[image].hash;
    size_t at = s->held_n;
    for (size_t i = 0; i < s->held_n; i++) {
        if (s->held[i].segment >= 0 && !strcmp(s->held[i].hash, hash)) return (int)i;
        if (s->held[i].segment < 0) at = i;
    }
    if (s->root < 0 && (s->root = vlm_root(s->v, &s->forest, e)) < 0) return -1;
    if (at == s->held_n && mem_grow(&s->held, &s->held_cap, s->held_n + 1, sizeof *s->held, "images in flight", e)) return -1;
    int segment = vlm_image_trunk(s->v, &s->forest, s->root, &s->images, image, e);
    if (segment < 0) return -1;
    s->held[at] = (HeldImage){ .segment = segment };
    memcpy(s->held[at].hash, hash, HASH_TEXT);
    if (at == s->held_n) s->held_n++;
    return (int)at;
}

/* Makes the trunk of the next prompt. 1 admitted, 0 no slots now, 2 refused and skipped, -1. */
static int admit(Sampler *s, Error *e) {
    const Prompt *p = &s->prompts[s->next];
    Error why = { 0 };
    int held = -1, parent = -1;
    if (s->images.n >= VLM_IMAGES) return 0;
    if (prompt_has_image(p)) {
        int image = vlm_image(s->v, &s->images, &p->image, &why);
        if (image < 0) return refuse(s->refusals, s->next++, &why, e) ? -1 : 2;
        held = image_hold(s, image, &why);
        if (held >= 0) parent = s->held[held].segment;
    }
    int segment = -1, head = shared(s, p), ready = held >= 0 || !prompt_has_image(p);
    if (head > 0 && s->head < 0 && (s->head = vlm_tail(&s->forest, -1, s->config->head, &why)) < 0) ready = 0;
    if (head > 0) parent = s->head;
    IdList rest = { .ids = p->tail.ids + head, .count = p->tail.count - (size_t)head };
    if (ready) segment = vlm_tail(&s->forest, parent, &rest, &why);
    if (segment < 0) { /* an image just held keeps its rows of this step: it is taken by this prompt at a later admission, or dropped */
        if (e) *e = why;
        return no_slots(&why) ? 0 : -1;
    }
    if (mem_grow(&s->flights, &s->flights_cap, s->flights_n + 1, sizeof *s->flights, "prompts in flight", e)) return -1;
    Flight *f = mem_new(1, sizeof *f, "prompt in flight", e);
    if (!f) return -1;
    *f = (Flight){ .prompt = s->next, .segment = segment, .image = held, .tokens = prompt_tokens(s->v, p), .open = s->config->n };
    s->flights[s->flights_n++] = f;
    f->candidates = mem_new((size_t)s->config->n, sizeof *f->candidates, "candidates", e);
    if (!f->candidates) return -1;
    if (penalises(s) && !(f->said = mem_new((size_t)s->config->n, sizeof *f->said, "candidates", e))) return -1;
    if (searches(s)) {
        if (!(f->search = mem_new(1, sizeof *f->search, "beams", e))) return -1;
        beams_begin(f->search, s->config->beams, answer_room(s, f->tokens));
    }
    s->next++;
    return 1;
}

/* ---- the step's rows ---- */

/* A scored row for a candidate, whose next position the counters name, or for a beam. */
static int want(Sampler *s, Flight *f, int candidate, int segment, Error *e) {
    size_t at = (size_t)s->forest.scored_n;
    if (mem_grow(&s->drawn, &s->drawn_cap, at + 1, sizeof *s->drawn, "rows to draw", e) ||
        mem_grow(&s->rows, &s->rows_cap, at + 1, sizeof *s->rows, "rows to draw", e) || forest_want(&s->forest, segment, e))
        return -1;
    const SampleConfig *c = s->config;
    s->drawn[at] = (Drawn){ f, candidate };
    if (!f->search) s->rows[at] = (SampleRow){ .temperature = c->temperature,
        .top_p = c->top_p,
        .top_k = c->top_k,
        .seed = { (uint32_t)c->seed, (uint32_t)(c->seed >> 32) },
        .counter = { s->instructions ? s->instructions[f->prompt] : (uint32_t)f->prompt, (uint32_t)candidate,
            (uint32_t)f->candidates[candidate].ids.count, 0 } };
    return 0;
}

/* Gives leaves to waiting candidates, oldest prompt first. Called before admission: every trunk is held, every first token drawn. */
static int start_leaves(Sampler *s, Error *e) {
    for (size_t i = 0; i < s->flights_n && s->leaves_n < s->leaves_max; i++) {
        Flight *f = s->flights[i];
        while (f->started < s->config->n && s->leaves_n < s->leaves_max) {
            Candidate *c = &f->candidates[f->started];
            if (!c->finished && (int)c->ids.count < answer_room(s, f->tokens)) {
                Error why = { 0 };
                int segment = forest_segment(&s->forest, f->segment, leaf_capacity(s, f->tokens), &why);
                if (segment < 0) {
                    if (e) *e = why;
                    return no_slots(&why) && s->leaves_n > 0 ? 0 : -1;
                }
                s->leaves[s->leaves_n++] = (Leaf){ f, f->started, segment };
            }
            f->started++;
        }
    }
    return 0;
}

/* Gives its beams their leaves, all or none. 1 given, 0 no slots now, -1. */
static int beams_start(Sampler *s, Flight *f, Error *e) {
    int n = 0, width = f->search->width;
    Error why = { 0 };
    while (n < width && (f->leaves[n] = forest_segment(&s->forest, f->segment, leaf_capacity(s, f->tokens), &why)) >= 0) n++;
    if (n == width) {
        for (int b = 0; b < width; b++) f->leaf[b] = b;
        return f->started = width, 1;
    }
    while (n > 0)
        if (forest_release(&s->forest, f->leaves[--n], e)) return -1;
    if (e) *e = why;
    return no_slots(&why) ? 0 : -1;
}

/* The same for searches whose first tokens are known, the oldest first; one row a beam of those that have theirs. */
static int start_beams(Sampler *s, Error *e) {
    int growing = 0, waits = 0;
    for (size_t i = 0; i < s->flights_n; i++) {
        Flight *f = s->flights[i];
        int got = f->started || waits || !f->search->n ? f->started : beams_start(s, f, e);
        if (got < 0) return -1;
        if (got > 0) growing++;
        else waits |= f->search->n > 0;
    }
    return waits && !growing ? -1 : 0;
}

static int beam_rows(Sampler *s, Error *e) {
    for (size_t i = 0; i < s->flights_n; i++) {
        Flight *f = s->flights[i];
        for (int b = 0; f->started && b < f->search->n; b++) {
            const IdList *ids = &f->search->beams[b].ids;
            int segment = f->leaves[f->leaf[b]];
            if (forest_extend(&s->forest, segment, &ids->ids[ids->count - 1], 1, e) || want(s, f, b, segment, e)) return -1;
            s->leaf_rows++;
        }
    }
    return 0;
}

/* Leaves that prompts in flight have or wait for. */
static int planned_leaves(const Sampler *s) {
    int n = s->leaves_n;
    for (size_t i = 0; i < s->flights_n; i++) n += searches(s) ? s->config->beams : s->config->n - s->flights[i]->started;
    return n;
}

static int step_build(Sampler *s, Error *e) {
    if (searches(s) ? start_beams(s, e) : start_leaves(s, e)) return -1;
    int planned = planned_leaves(s);
    s->leaf_rows = 0;
    while (s->next < s->n && planned + (searches(s) ? s->config->beams - 1 : 0) < s->leaves_max) {
        int got = admit(s, e);
        if (got < 0) return -1;
        if (got == 0) {
            if (planned == 0) return -1; /* nothing in flight will ever free slots: e says what is short */
            break;
        }
        if (got == 1) planned += sample_spread(s->config->n, s->config->beams);
    }
    for (size_t i = 0; i < s->flights_n; i++) {
        Flight *f = s->flights[i];
        if (s->forest.segments[f->segment].rows == 0) continue;
        for (int c = 0; c < (searches(s) ? 1 : s->config->n); c++)
            if (want(s, f, c, f->segment, e)) return -1;
    }
    if (searches(s)) return beam_rows(s, e);
    for (int i = 0; i < s->leaves_n; i++) {
        const Leaf *l = &s->leaves[i];
        const IdList *ids = &l->flight->candidates[l->candidate].ids;
        if (forest_extend(&s->forest, l->segment, &ids->ids[ids->count - 1], 1, e) || want(s, l->flight, l->candidate, l->segment, e))
            return -1;
    }
    s->leaf_rows = s->leaves_n;
    return 0;
}

/* ---- after the draw ---- */

static int said_add(IdList *said, int id, Error *e) {
    for (size_t i = 0; i < said->count; i++)
        if (said->ids[i] == id) return 0;
    return idlist_append(said, &id, 1, e);
}

static int take_token(Sampler *s, const Drawn *d, int id, float logp, Error *e) {
    Flight *f = d->flight;
    Candidate *c = &f->candidates[d->candidate];
    if (idlist_append(&c->ids, &id, 1, e)) return -1;
    if (f->said && said_add(&f->said[d->candidate], id, e)) return -1;
    c->logp += logp;
    c->finished = vlm_ends(s->v, id);
    if (c->finished || (int)c->ids.count >= answer_room(s, f->tokens)) {
        f->open--;
        progress_add(s->progress, 1);
    }
    return 0;
}

static int ends(const void *v, int id) { return vlm_ends(v, id); }

/* Leaf `to` becomes what leaf `from` is. */
static void leaf_copy(Sampler *s, Flight *f, int from, int to) {
    const Segment *source = &s->forest.segments[f->leaves[from]], *target = &s->forest.segments[f->leaves[to]];
    int same = f->alike[from][to];
    if (source->cached > same) model_kv_copy(&s->v->model, source->slot + same, target->slot + same, source->cached - same);
    forest_hold_as(&s->forest, f->leaves[to], f->leaves[from]);
    for (int i = 0; i < f->search->width; i++) f->alike[to][i] = f->alike[i][to] = f->alike[from][i];
    f->alike[from][to] = f->alike[to][from] = source->cached;
}

/* Gives each beam the leaf of the one that it goes on from; of several from one all but the first have a copy, in leaves that none goes on from. */
static void leaves_follow(Sampler *s, Flight *f) {
    int width = f->search->width, leaf[BEAMS_MOST], taken[BEAMS_MOST] = { 0 }, copied[BEAMS_MOST] = { 0 }, spare = 0;
    for (int b = 0; b < f->search->n; b++) {
        leaf[b] = f->leaf[f->search->from[b]];
        copied[b] = taken[leaf[b]];
        taken[leaf[b]] = 1;
    }
    for (int b = 0; b < width; b++) {
        if (b < f->search->n && !copied[b]) continue;
        while (taken[spare]) spare++;
        if (b < f->search->n) leaf_copy(s, f, leaf[b], spare);
        leaf[b] = spare++;
    }
    memcpy(f->leaf, leaf, (size_t)width * sizeof *leaf);
}

/* What a search that is over found. */
static int search_end(Sampler *s, Flight *f, Error *e) {
    for (int c = 0; c < s->config->n && c < f->search->ended_n; c++) {
        Beam *b = &f->search->ended[c];
        f->candidates[c] = (Candidate){ b->ids, b->logp, b->finished };
        b->ids = (IdList){ 0 };
    }
    progress_add(s->progress, s->config->n);
    f->open = 0;
    for (int b = 0; f->started && b < f->search->width; b++)
        if (forest_release(&s->forest, f->leaves[b], e)) return -1;
    return 0;
}

/* R rows of n tokens: those of one search follow one another, in the order of its beams. */
static int take_beams(Sampler *s, int n, int R, Error *e) {
    for (int r = 0; r < R;) {
        Flight *f = s->drawn[r].flight;
        int rows = beams_rows(f->search);
        if (beams_step(f->search, s->ids + (int64_t)r * n, s->logps + (int64_t)r * n, n, ends, s->v, e) || (f->search->done && search_end(s, f, e))) return -1;
        if (!f->search->done && f->started) leaves_follow(s, f);
        r += rows;
    }
    return 0;
}

static int release_ended(Sampler *s, Error *e) {
    int kept = 0;
    for (int i = 0; i < s->leaves_n; i++) {
        Leaf l = s->leaves[i];
        const Candidate *c = &l.flight->candidates[l.candidate];
        if (c->finished || (int)c->ids.count >= answer_room(s, l.flight->tokens)) {
            if (forest_release(&s->forest, l.segment, e)) return -1;
        } else s->leaves[kept++] = l;
    }
    s->leaves_n = kept;
    size_t left = 0;
    int bad = 0;
    for (size_t i = 0; i < s->flights_n; i++) {
        Flight *f = s->flights[i];
        if (f->open > 0 || bad) {
            s->flights[left++] = f;
            continue;
        }
        bad = forest_release(&s->forest, f->segment, e) || s->sink->prompt_done(s->sink->context, f->prompt, f->candidates, e);
        flight_free(s, f);
    }
    s->flights_n = left;
    for (size_t i = 0; i < s->held_n && !bad; i++) {
        int segment = s->held[i].segment;
        if (segment < 0 || s->forest.segments[segment].children > 0) continue;
        bad = forest_release(&s->forest, segment, e);
        s->held[i].segment = -1;
    }
    return bad ? -1 : 0;
}

/* Queues the step up to its logits. A step of one new row a leaf, and nothing else, is one of many that are alike; not where ranks hold
 * slices of the model, as what they send each other is no part of a captured step. */
static int logits_queue(Sampler *s, Buf *logits, Error *e) {
    const Kernels *k = s->v->model.k;
    int rows = s->forest.rows_n, repeats = rows == s->leaf_rows && s->images.n == 0 && config_slices(&s->v->model.config) == 1;
    if (repeats) k->step_begin(rows);
    int bad = vlm_forward(s->v, &s->forest, &s->images, STEP_CACHED, e) || model_logits(&s->v->model, &s->forest, logits, e);
    if (repeats) k->step_end();
    return bad ? -1 : 0;
}

/* Queues the penalties of R rows. */
static int penalise(Sampler *s, Buf logits, int R, Error *e) {
    s->said.count = 0;
    if (mem_grow(&s->said_first, &s->said_first_cap, (size_t)R + 1, sizeof *s->said_first, "penalties", e)) return -1;
    s->said_first[0] = 0;
    for (int r = 0; r < R; r++) {
        const IdList *said = &s->drawn[r].flight->said[s->drawn[r].candidate];
        if (said->count && idlist_append(&s->said, said->ids, said->count, e)) return -1;
        s->said_first[r + 1] = (int)s->said.count;
    }
    s->v->model.k->penalise(logits, s->said_first, s->said.ids, s->config->repetition_penalty, R, s->v->model.config.decoder.vocab);
    return 0;
}

static int step_run(Sampler *s, Error *e) {
    Model *m = &s->v->model;
    Buf logits;
    int R = s->forest.scored_n, each = searches(s) ? beams_tokens(s->config->beams, s->v->ends.count) : 1;
    size_t count = (size_t)R * (size_t)each;
    if (mem_grow(&s->ids, &s->ids_cap, count, sizeof *s->ids, "drawn ids", e) || mem_grow(&s->logps, &s->logps_cap, count, sizeof *s->logps, "drawn log-probs", e) ||
        logits_queue(s, &logits, e) || (penalises(s) && penalise(s, logits, R, e)))
        return -1;
    if (searches(s)) m->k->best(s->ids, s->logps, logits, s->v->emit, each, R, m->config.decoder.vocab);
    else m->k->sample(s->ids, s->logps, logits, s->v->emit, s->rows, R, m->config.decoder.vocab);
    if (m->k->sync(e)) return -1;
    forest_step_end(&s->forest);
    step_images_clear(&s->images);
    if (searches(s) && take_beams(s, each, R, e)) return -1;
    for (int r = 0; r < R && !searches(s); r++)
        if (take_token(s, &s->drawn[r], s->ids[r], s->logps[r], e)) return -1;
    return release_ended(s, e);
}

int sample_candidates(Vlm *v, const Prompt *prompts, const uint32_t *instructions, size_t n, const SampleConfig *config,
    const SampleSink *sink, const Refusals *refusals, Progress *progress, Error *e) {
    assert(config->n > 0 && config->max_new_tokens > 0 && config->temperature >= 0);
    assert(config->beams <= 1 || (config->beams <= BEAMS_MOST && config->n <= config->beams && (config->repetition_penalty == 0 || config->repetition_penalty == 1)));
    if (n == 0) return 0;
    Sampler s = { .v = v,
        .prompts = prompts,
        .instructions = instructions,
        .n = n,
        .config = config,
        .sink = sink,
        .refusals = refusals,
        .progress = progress,
        .root = -1,
        .head = -1 };
    int bad = sampler_open(&s, e);
    while (!bad && (s.next < s.n || s.flights_n > 0)) {
        bad = step_build(&s, e);
        if (!bad && s.forest.scored_n > 0) bad = step_run(&s, e);
    }
    vlm_ahead_clear(v);
    sampler_free(&s);
    return bad ? -1 : 0;
}

/* ---- all results kept ---- */

typedef struct KeepAll {
    Candidate *out;
    int n;
} KeepAll;

static int keep_prompt(void *context, size_t prompt, Candidate *candidates, Error *e) {
    (void)e;
    KeepAll *k = context;
    memcpy(k->out + prompt * (size_t)k->n, candidates, (size_t)k->n * sizeof *candidates);
    memset(candidates, 0, (size_t)k->n * sizeof *candidates);
    return 0;
}

int sample_all(Vlm *v, const Prompt *prompts, size_t n, const SampleConfig *config, Candidate **out, const Refusals *refusals,
    Progress *progress, Error *e) {
    KeepAll keep = { mem_new(n ? n * (size_t)config->n : 1, sizeof(Candidate), "candidates", e), config->n };
    SampleSink sink = { .context = &keep, .prompt_done = keep_prompt };
    if (!keep.out) return -1;
    if (sample_candidates(v, prompts, NULL, n, config, &sink, refusals, progress, e)) {
        candidates_free(keep.out, n * (size_t)config->n);
        return -1;
    }
    *out = keep.out;
    return 0;
}

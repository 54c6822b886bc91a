/* plan_fit.c - owns the search for settings with which a plan fits, and the word on it at the start of a run. Settings are tried from those
 * that cost little to those that cost much; each phase has its own, and the first that is enough is taken. */
#include "engine/plan.h"

#include "kernels/comm/world.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { SLICES_MOST = 8 }; /* of a model that are tried: the GPUs of a node */

typedef struct Search {
    const Plan *start;
    int64_t memory;
    RunConfig *c;    /* with what is decided so far */
    int ranks, more; /* more: ranks than there are may be taken */
    PlanData data;
    PlanModels models;
} Search;

/* Whether the phases in `phases` fit with the settings as they are now. 1, 0, -1. */
static int fits(Search *s, unsigned phases, Error *e) {
    Plan *p = mem_new(1, sizeof *p, "plan", e);
    if (!p) return -1;
    Error unsaid;
    int result = !plan_models(&s->models, s->c, &unsaid) &&
                 !plan_make(p, s->c, &s->models, &s->data, s->ranks, phases, &unsaid); /* what does not divide does not fit */
    for (int i = 0; i < PLAN_PHASES && result; i++)
        if (phases >> i & 1) result = plan_phase_bytes(p, (PlanPhaseKind)i) <= s->memory;
    free(p);
    return result;
}

/* Halves *value while the phases do not fit, down to `least`. */
static int halve(Search *s, int *value, int least, unsigned phases, Error *e) {
    int before = *value, got = fits(s, phases, e);
    while (got == 0 && *value > least) {
        *value = *value / 2 > least ? *value / 2 : least;
        got = fits(s, phases, e);
    }
    if (got != 1) *value = before;
    return got;
}

static int train_try(Search *s, unsigned phases, Error *e) {
    const RunConfig *c = s->start->config;
    RunConfig *now = s->c;
    int most = s->ranks > 1 ? SHARD_PARAMETERS : c->ranks.shard, got = 0;
    for (int again = c->train.recompute; again <= RECOMPUTE_LAYER && !got; again++)
        for (int shard = c->ranks.shard; shard <= most && !got; shard++) {
            now->train.recompute = (Recompute)again, now->ranks.shard = (ShardMode)shard;
            got = fits(s, phases, e);
        }
    if (got || now->train.rows <= 1) return got;
    return halve(s, &now->train.rows, 256, phases, e); /* the most that is dealt, and recomputed */
}

static int train_fit(Search *s, unsigned phases, Error *e) {
    int got = train_try(s, phases, e), pairs = s->c->train.batch_pairs, rows = s->c->train.rows; /* references may have lowered rows */
    for (int ranks = s->start->ranks * 2; s->more && !got && ranks <= WORLD_RANKS_MOST; ranks *= 2) {
        s->ranks = ranks;
        s->c->train.rows = rows;
        s->c->ranks.parts = 0;
        if (ranks > pairs) s->c->train.batch_pairs = ranks;
        got = train_try(s, phases, e);
    }
    if (got) return got;
    s->ranks = s->start->ranks, s->c->train.batch_pairs = pairs;
    return 0;
}

static void say(char *out, size_t size, const char *format, ...) {
    size_t used = strlen(out);
    va_list args;
    if (used && used + 3 < size) strcpy(out + used, ", "), used += 2;
    va_start(args, format);
    vsnprintf(out + used, size - used, format, args);
    va_end(args);
}

static void changes_say(const Search *s, char *out, size_t size) {
    static const char *const shards[] = { "none", "optimizer", "gradients", "parameters" };
    const RunConfig *a = s->start->config, *b = s->c;
    out[0] = 0;
    if (a->run.dtype != b->run.dtype) say(out, size, "run.dtype = bf16");
    if (a->sample.batch != b->sample.batch) say(out, size, "sample.batch = %d", b->sample.batch);
    if (a->label.batch != b->label.batch) say(out, size, "label.batch = %d", b->label.batch);
    if (s->ranks != s->start->ranks) say(out, size, "%d ranks", s->ranks);
    if (a->train.batch_pairs != b->train.batch_pairs) say(out, size, "train.batch_pairs = %d", b->train.batch_pairs);
    if (a->ranks.tensor != b->ranks.tensor) say(out, size, "ranks.tensor = %d", b->ranks.tensor);
    if (a->ranks.shard != b->ranks.shard) say(out, size, "ranks.shard = %s", shards[b->ranks.shard]);
    if (a->train.recompute != b->train.recompute) say(out, size, "train.recompute = layer");
    if (a->train.rows != b->train.rows) say(out, size, "train.rows = %d", b->train.rows);
}

static int search(Search *s, unsigned phases, Error *e) {
    const unsigned draws = phases & (1u << PLAN_SAMPLE | 1u << PLAN_OTHER | 1u << PLAN_CLAIMS | 1u << PLAN_EVALUATE), label = phases & 1u << PLAN_LABEL,
                   reference = phases & 1u << PLAN_REFERENCE;
    const unsigned training = phases & (1u << PLAN_TRAIN | 1u << PLAN_CHECKPOINT | 1u << PLAN_LOAD);
    int got = 1;
    if (got == 1 && draws) got = halve(s, &s->c->sample.batch, 1, draws, e);
    if (got == 1 && label) got = halve(s, &s->c->label.batch, 64, label, e);
    if (got == 1 && reference) got = halve(s, &s->c->train.rows, 256, reference, e);
    if (got == 1 && training && (got = fits(s, training, e)) == 0) got = train_fit(s, training, e);
    return got;
}

int plan_fit(const Plan *p, int64_t memory, char *out, size_t size, Error *e) {
    Search s = { .start = p, .memory = memory, .ranks = p->ranks, .data = *p->data };
    unsigned phases = 0;
    for (int i = 0; i < PLAN_PHASES; i++) phases |= (unsigned)(p->phases[i].wanted != 0) << i;
    if (!(s.c = mem_new(1, sizeof *s.c, "plan", e))) return -1;
    int got = 0, tensor = p->config->ranks.tensor, most = p->ranks < SLICES_MOST ? p->ranks : SLICES_MOST;
    for (int dtype = p->config->run.dtype; dtype <= BF16 && !got; dtype++)
        for (s.more = 0; s.more < 2 && !got; s.more++)
            for (int slices = tensor; (slices == tensor || slices <= most) && !got; slices *= 2) {
                *s.c = *p->config;
                s.c->run.dtype = (DType)dtype, s.c->ranks.tensor = slices;
                s.ranks = p->ranks;
                got = search(&s, phases, e);
            }
    if (got == 1) changes_say(&s, out, size);
    free(s.c);
    return got;
}

/* ---- the start of a run ---- */

static void plan_say(const Plan *p, int64_t memory, Progress *progress) {
    char line[400] = "", text[32], all[32], where[64] = "";
    for (int i = 0; i < PLAN_PHASES; i++)
        if (p->phases[i].wanted)
            say(line, sizeof line, "%s %s", plan_phase_names[i], plan_bytes_text(plan_phase_bytes(p, (PlanPhaseKind)i), text));
    if (memory >= 0) snprintf(where, sizeof where, " of %s free", plan_bytes_text(memory, all));
    progress_say(progress, "plan, each rank: %s", line);
    progress_say(progress, "plan: the most is %s (%s)%s", plan_bytes_text(p->peak, text), plan_phase_names[p->largest], where);
}

static int refuse_plan(const Plan *p, int64_t memory, Error *e) {
    char need[32], there[32], how[256];
    int got = plan_fit(p, memory, how, sizeof how, e);
    if (got < 0) return -1;
    error_what(e, "the run does not fit in memory");
    error_where(e, "%s", plan_phase_names[p->largest]);
    error_found(e, "%s free for each rank", plan_bytes_text(memory, there));
    error_expected(e, "%s", plan_bytes_text(p->peak, need));
    if (got) return error_hint(e, "it fits with %s; `rlaifv plan` shows every buffer, run.plan = warn goes on", how);
    return error_hint(e, "no setting that was tried is enough; `rlaifv plan` shows every buffer, run.plan = warn goes on");
}

int plan_start(const RunConfig *c, int ranks, int64_t memory, unsigned phases, Progress *progress, Error *e) {
    if (c->run.plan == PLAN_OFF) return 0;
    Plan *p = mem_new(1, sizeof *p, "plan", e);
    PlanModels *m = mem_new(1, sizeof *m, "plan", e);
    PlanData d;
    int bad = !p || !m || plan_models(m, c, e) || plan_data(&d, c, &m->policy, phases, NULL, e) || plan_make(p, c, m, &d, ranks, phases, e);
    if (!bad) plan_say(p, memory, progress);
    if (!bad && memory >= 0 && p->peak > memory) {
        char text[sizeof(Error) + 64];
        Error why = { 0 };
        refuse_plan(p, memory, &why);
        if (c->run.plan == PLAN_WARN) progress_say(progress, "%s", error_text(&why, text, sizeof text));
        else {
            if (e) *e = why;
            bad = -1;
        }
    }
    free(p);
    free(m);
    return bad ? -1 : 0;
}

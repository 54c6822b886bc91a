/* crew.c - owns the orders: what rank 0 tells the others to do, and their doing it. */
#include "engine/crew.h"

#include "engine/compat.h"

#include <stdlib.h>
#include <string.h>

typedef enum Job { JOB_END, JOB_OPEN, JOB_SAMPLE, JOB_CLAIMS, JOB_LABEL, JOB_TRAIN } Job;
typedef enum As { AS_POLICY, AS_JUDGED, AS_OTHER } As; /* whose [sample] settings: Loop's config, answering, other */
typedef struct Order {
    Job job;
    As as;
    int reopen;    /* the model's folder may hold another than before */
    int iteration;
    uint64_t seed;
    int64_t bytes; /* of the prompts that follow */
    char model[PATH_SIZE], in[PATH_SIZE], also[PATH_SIZE], out[PATH_SIZE];
} Order;

static int alone(void) { return world_here()->size == 1; }

/* From here on a failure is one of all ranks. */
static int together(int bad, const Error *e) {
    if (bad && !alone()) world_fail(e);
    return bad ? -1 : 0;
}

static void order_path(char out[PATH_SIZE], const char *path) { snprintf(out, PATH_SIZE, "%s", path); }

static int order_send(Order *o, const void *prompts, Error *e) {
    if (alone()) return 0;
    return together(world_broadcast("an order", 0, o, sizeof *o, e) || (o->bytes > 0 && world_broadcast("prompts", 0, (void *)(uintptr_t)prompts, o->bytes, e)), e);
}

/* ---- prompts on their way ---- */

static char *prompts_text(const Dataset *d) {
    json_t *rows = json_array();
    for (int i = 0; rows && i < d->n; i++) {
        const DataRow *r = &d->rows[i];
        json_array_append_new(rows, json_pack("{s:s, s:s?, s:s, s:i}", "id", r->id, "image", r->image, "question", r->question, "line", r->line));
    }
    json_t *top = rows ? json_pack("{s:s, s:o}", "path", d->path, "rows", rows) : NULL;
    char *text = top ? json_dumps(top, JSON_COMPACT) : NULL;
    json_decref(top);
    return text;
}

/* The same rows again, borrowed from *top. */
static int prompts_read(const char *text, json_t **top, Dataset *d, Error *e) {
    *d = (Dataset){ 0 };
    if (!(*top = json_loads(text, 0, NULL))) return error_what(e, "an order is damaged");
    const json_t *rows = json_object_get(*top, "rows");
    size_t n = json_array_size(rows);
    snprintf(d->path, sizeof d->path, "%s", json_string_value(json_object_get(*top, "path")));
    d->rows = mem_new(n + 1, sizeof *d->rows, "prompts", e);
    if (!d->rows) return json_decref(*top), -1;
    for (d->n = 0; (size_t)d->n < n; d->n++) {
        const json_t *r = json_array_get(rows, (size_t)d->n);
        d->rows[d->n] = (DataRow){ .line = (int)json_integer_value(json_object_get(r, "line")),
            .id = json_string_value(json_object_get(r, "id")),
            .image = json_string_value(json_object_get(r, "image")),
            .question = json_string_value(json_object_get(r, "question")) };
    }
    return 0;
}

/* ---- orders, on every rank ---- */

static const RunConfig *config_of(const Loop *l, const Order *o) { return o->as == AS_JUDGED ? l->answering : o->as == AS_OTHER ? l->other : l->config; }

static int model_open(Loop *l, const Order *o, Vlm **v, Error *e) {
    const char *chat = o->job == JOB_CLAIMS ? claims_template(l->config) : config_of(l, o)->chat.template_name;
    if (o->reopen && !ranks_lead(&l->ranks)) loop_model_drop(l);
    if (loop_model(l, o->model, chat, v, e)) return -1;
    vlm_release(*v); /* what the order before needed */
    return 0;
}

static int sample_do(Loop *l, const Order *o, const Dataset *prompts, SampleCounts *counts, Error *e) {
    Vlm *v;
    return model_open(l, o, &v, e) ||
                   arrow_sample(&l->ranks, v, config_of(l, o), o->seed, prompts, o->out, counts, loop_progress(l), e)
               ? -1
               : 0;
}

static int claims_do(Loop *l, const Order *o, ClaimCounts *counts, Error *e) {
    Vlm *v;
    return model_open(l, o, &v, e) || arrow_claims_model(&l->ranks, v, l->config, o->in, o->out, counts, loop_progress(l), e) ? -1 : 0;
}

static int label_do(Loop *l, const Order *o, LabelCounts *counts, Error *e) {
    Vlm *v;
    return model_open(l, o, &v, e) || arrow_label(&l->ranks, v, l->config, o->in, o->also, o->out, counts, loop_progress(l), e) ? -1 : 0;
}

static int train_do(Loop *l, const Order *o, TrainPlan plan, TrainResult *result, Error *e) {
    Vlm *v;
    plan.ranks = &l->ranks, plan.metrics = l->metrics, plan.progress = loop_progress(l);
    PairsAspect own = l->config->train.pairs_aspect;
    int bad = model_open(l, o, &v, e) || (own != PAIRS_SAME && vlm_refit(v, own == PAIRS_CROP ? IMAGE_CROP : IMAGE_PAD, e)) || train_pairs(v, &plan, result, e);
    loop_model_drop(l);
    return bad ? -1 : 0;
}

/* ---- rank 0 ---- */

static Order order_of(const Loop *l, Job job, const char *model) {
    Order o = { .job = job, .reopen = strcmp(l->open, model) != 0 };
    order_path(o.model, model);
    return o;
}

int crew_sample(Loop *l, const char *model, const RunConfig *c, uint64_t seed, const Dataset *prompts, const char *out, SampleCounts *counts,
    Error *e) {
    Order o = order_of(l, JOB_SAMPLE, model);
    o.as = c == l->answering ? AS_JUDGED : c == l->other ? AS_OTHER : AS_POLICY, o.seed = seed;
    order_path(o.out, out);
    char *text = alone() ? NULL : prompts_text(prompts);
    if (!text && !alone()) return error_what(e, "out of memory"), error_where(e, "prompts");
    o.bytes = text ? (int64_t)strlen(text) + 1 : 0;
    int bad = order_send(&o, text, e);
    free(text);
    return bad ? -1 : together(sample_do(l, &o, prompts, counts, e), e);
}

int crew_claims(Loop *l, const char *model, const char *candidates, const char *out, ClaimCounts *counts, Error *e) {
    if (!claims_by_model(l->config)) return arrow_claims(l->config, candidates, out, counts, e);
    Order o = order_of(l, JOB_CLAIMS, claims_model(l->config, model));
    order_path(o.in, candidates), order_path(o.out, out);
    return order_send(&o, NULL, e) || together(claims_do(l, &o, counts, e), e) ? -1 : 0;
}

int crew_label(Loop *l, const char *model, const char *candidates, const char *claims, const char *out, LabelCounts *counts, Error *e) {
    Order o = order_of(l, JOB_LABEL, model);
    order_path(o.in, candidates), order_path(o.also, claims), order_path(o.out, out);
    return order_send(&o, NULL, e) || together(label_do(l, &o, counts, e), e) ? -1 : 0;
}

int crew_train(Loop *l, const char *model, TrainPlan plan, TrainResult *result, Error *e) {
    Order o = order_of(l, JOB_TRAIN, model);
    o.iteration = plan.iteration;
    order_path(o.in, plan.pairs), order_path(o.out, plan.folder);
    return order_send(&o, NULL, e) || together(train_do(l, &o, plan, result, e), e) ? -1 : 0;
}

/* ---- the others ---- */

static int order_do(Loop *l, const Order *o, const char *text, Error *e) {
    SampleCounts samples;
    ClaimCounts claims;
    LabelCounts labels;
    TrainResult result;
    Dataset prompts;
    json_t *top;
    switch (o->job) {
    case JOB_OPEN: return loop_ranks_open(l, e);
    case JOB_SAMPLE: {
        if (prompts_read(text, &top, &prompts, e)) return -1;
        int bad = sample_do(l, o, &prompts, &samples, e);
        free(prompts.rows);
        json_decref(top);
        return bad;
    }
    case JOB_CLAIMS: return claims_do(l, o, &claims, e);
    case JOB_LABEL: return label_do(l, o, &labels, e);
    case JOB_TRAIN: return train_do(l, o, (TrainPlan){ .config = l->config, .pairs = o->in, .folder = o->out, .iteration = o->iteration }, &result, e);
    case JOB_END: break;
    }
    return 0;
}

static void serve(Loop *l) {
    Error e = { 0 };
    Order *o = mem_new(1, sizeof *o, "order", &e);
    int bad = !o;
    while (!bad) {
        world_watch_untimed("waiting for an order");
        bad = world_broadcast("an order", 0, o, sizeof *o, &e);
        world_unwatch();
        if (bad || o->job == JOB_END) break;
        char *text = o->bytes > 0 ? mem_new((size_t)o->bytes, 1, "prompts", &e) : NULL;
        bad = (o->bytes > 0 && (!text || world_broadcast("prompts", 0, text, o->bytes, &e))) || order_do(l, o, text, &e);
        free(text);
    }
    if (bad) world_fail(&e);
    free(o);
}

int crew_run(const RunConfig *c, int (*lead)(Loop *l, void *context, Error *e), void *context, Error *e) {
    int leads = world_here()->rank == 0, bad;
    Loop *l = mem_new(1, sizeof *l, "run", e);
    if (!l) return together(-1, e);
    if (!leads) {
        if (loop_join(l, c, e)) world_fail(e);
        serve(l);
        loop_close(l);
        free(l);
        return 0;
    }
    bad = loop_open(l, c, e) || ranks_check(c, world_here()->size, e);
    if (!bad) compat_say(c, loop_progress(l));
    if (!bad) bad = order_send(&(Order){ .job = JOB_OPEN }, NULL, e) || together(loop_ranks_open(l, e), e) || lead(l, context, e);
    if (order_send(&(Order){ .job = JOB_END }, NULL, bad ? NULL : e)) bad = -1;
    if (l->config) loop_close(l);
    free(l);
    return bad ? -1 : 0;
}

/* plan.c - see plan.h. Owns which buffers each phase holds. */
#include "engine/plan.h"

#include "engine/features.h"
#include "engine/label.h"
#include "engine/ranks.h"
#include "engine/sample.h"
#include "engine/train.h"
#include "kernels/overhead.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const plan_phase_names[PLAN_PHASES] = { "load", "sample", "sample-other", "claims", "label", "reference", "train", "checkpoint", "evaluate" };

static int model_read(ModelConfig *m, const char *folder, const RunConfig *c, Error *e) {
    return config_load(folder, m, e) || config_slice(m, 0, c->ranks.tensor, folder, e) ? -1 : 0;
}

int plan_models(PlanModels *m, const RunConfig *c, Error *e) {
    if (model_read(&m->policy, c->model.dir, c, e)) return -1;
    m->labeler = m->policy;
    if (c->labeler.dir[0] && model_read(&m->labeler, c->labeler.dir, c, e)) return -1;
    m->claims = m->labeler;
    m->other = m->policy;
    if (c->sample.other_n > 0 && c->sample.other[0] && model_read(&m->other, c->sample.other, c, e)) return -1;
    return claims_by_model(c) && c->claims.dir[0] && model_read(&m->claims, c->claims.dir, c, e) ? -1 : 0;
}

/* ---- buffers of a phase ---- */

static void buffer_add(PlanPhase *p, const char *what, int64_t bytes, int on_host) {
    int i = 0;
    while (i < p->n && (p->buffers[i].on_host != on_host || strcmp(p->buffers[i].what, what))) i++;
    if (i == PLAN_BUFFERS) i--; /* the last one stands for all that have no room */
    if (i == p->n) p->buffers[p->n++] = (PlanBuffer){ .what = what, .on_host = on_host };
    p->buffers[i].bytes += bytes;
    if (on_host) p->host += bytes;
    else p->device += bytes;
}
static void on_device(void *phase, const char *what, int64_t bytes) { buffer_add(phase, what, bytes, 0); }
static void on_host(PlanPhase *p, const char *what, int64_t bytes) { buffer_add(p, what, bytes, 1); }

int64_t plan_phase_bytes(const Plan *p, PlanPhaseKind phase) {
    const PlanPhase *x = &p->phases[phase];
    return x->device + (plan_on_cpu(p->config) ? x->host : 0);
}

/* Everything that stands in a table, for one plan. */
typedef struct Making {
    Plan *plan;
    const RunConfig *c;
    DType dtype;
    int64_t size; /* of an element */
    int copies, threads, parts, passes;
    Params policy, labeler, claims, other;
} Making;

/* Whether a product reads it: what a CPU packs. */
static int is_factor(const Params *p, const Param *q) {
    int looked_up = (q->kind == P_EMBED && !p->config->decoder.tied) || q->kind == P_VISION_POSITION || q->kind == P_EVA_CLASS ||
                    q->kind == P_EVA_POSITION || q->kind == P_RESAMPLER_POSITION || q->kind == P_RESAMPLER_QUERY;
    return q->used && q->ndim >= 2 && !looked_up;
}

/* Elements of a unit that are factors. -1: of all units. */
static int64_t factors(const Params *p, int unit) {
    int64_t n = 0;
    for (int i = 0; i < p->n; i++)
        if (is_factor(p, &p->list[i]) && (unit < 0 || p->list[i].unit == unit)) n += p->list[i].count;
    return n;
}

/* Elements of the largest factor whose first pack is made in scratch memory. */
static int64_t first_pack(const Making *m, const Params *p) {
    int64_t most = 0;
    for (int i = 0; i < p->n; i++) {
        const Param *q = &p->list[i];
        if (is_factor(p, q) && q->count * m->size <= PACK_FIRST_BYTES && q->count > most) most = q->count;
    }
    return most;
}

/* Packed copies of weights. In mode parameters a block's are dropped before the next one computes. */
static int64_t packs_bytes(const Making *m, const Params *p, int travel) {
    int64_t all = 0, longest = 0;
    if (!plan_on_cpu(m->c)) return 0;
    if (!travel) return factors(p, -1) * m->size;
    for (int u = 0; u < p->units_n; u++) {
        int64_t n = factors(p, u);
        int i = 0;
        while (p->list[i].unit != u) i++;
        if (p->list[i].part != PART_DECODER) all += n;
        else if (n > longest) longest = n;
    }
    return (all + longest) * m->size;
}

static int64_t tile_bytes(const ModelConfig *c) { return 3LL * c->vision.image_side * c->vision.image_side * 4; }

/* Weights, and what the largest step of a phase needs. */
static void step_add(const Making *m, PlanPhase *phase, const Params *p, const StepSize *s, int travel, int64_t keys, int64_t leaves) {
    const ModelConfig *c = p->config;
    const DecoderConfig *d = &c->decoder;
    OverheadStep o = { .dtype = m->dtype,
        .backward = (s->uses & USES_BACKWARD) != 0,
        .scores = (s->uses & USES_SCORES) != 0,
        .rows = s->rows,
        .scored = s->scored,
        .keys = keys,
        .leaves = leaves,
        .width = d->width,
        .ff = d->ff,
        .heads = d->heads,
        .kv_heads = d->kv_heads,
        .head_size = d->head_size,
        .vocab = config_head_rows(c),
        .first_pack = first_pack(m, p),
        .threads = m->threads };
    int64_t step_tiles = c->tile_rows > 0 ? s->feature_rows / c->tile_rows : 0;
    on_device(phase, "weights", p->count * m->size);
    if (packs_bytes(m, p, travel)) on_device(phase, "packed weights", packs_bytes(m, p, travel));
    model_sizes(c, m->dtype, s, on_device, phase);
    if (s->feature_rows) on_device(phase, "image features", s->feature_rows * c->vision.width * m->size);
    overhead_sizes(m->c->run.device, &o, on_device, phase);
    const int groups[] = { m->copies, m->c->ranks.tensor };
    for (int i = 0; i < 2; i++)
        if (groups[i] > 1) on_device(phase, "pieces of sums over ranks", (int64_t)groups[i] * COMM_PIECE_BYTES);
    if (step_tiles) on_host(phase, "pixels", step_tiles * tile_bytes(c));
}

/* Features of a frozen tower are kept in host memory, as many as the budget holds; besides, the tiles of pictures that wait decoded (prefetch.h). */
static void features_add(const Making *m, PlanPhase *phase, const ModelConfig *c, int64_t images) {
    int64_t each = (int64_t)c->tiles * c->tile_rows * c->vision.width * m->size, kept = each ? FEATURE_BUDGET / each : 0, ahead = m->c->data.prefetch;
    if (!m->plan->data->images || !each) return;
    on_host(phase, "image features kept", (images < kept ? images : kept) * each);
    if (ahead) on_host(phase, "images decoded ahead", (images < ahead ? images : ahead) * c->tiles * tile_bytes(c));
}

static int64_t share(const Making *m, int64_t n) { return (n + m->copies - 1) / m->copies; }

/* ---- the phases ---- */

/* Prompts were measured as the policy has them; of another model they have another number of image rows. */
static void sample_add(const Making *m, PlanPhase *phase, const Params *params, SampleConfig config, const PlanNumber *prompt, int64_t prompts) {
    const PlanData *d = m->plan->data;
    const ModelConfig *model = params->config;
    int leaves;
    int64_t mine = share(m, prompts), longest = prompt->most + (d->images ? model->image_tokens - m->plan->policy->image_tokens : 0);
    StepSize s = sample_step_size(model, &config, d->head, longest, mine, d->images ? mine : 0, &leaves);
    step_add(m, phase, params, &s, 0, longest + config.max_new_tokens, leaves);
    features_add(m, phase, model, mine);
}

static SampleConfig sample_settings(const RunConfig *c) {
    return (SampleConfig){ .n = c->sample.n, .max_new_tokens = c->sample.max_new_tokens, .leaves = c->sample.batch, .beams = c->sample.beams };
}
static SampleConfig other_settings(const RunConfig *c) {
    return (SampleConfig){ .n = c->sample.other_n, .max_new_tokens = c->sample.max_new_tokens, .leaves = c->sample.batch, .beams = c->sample.other_beams };
}
static SampleConfig eval_settings(const RunConfig *c) {
    return (SampleConfig){ .n = c->eval.n, .max_new_tokens = c->eval.max_new_tokens, .leaves = c->sample.batch, .beams = c->eval.beams };
}

/* One answer each, below the shared beginning of the prompts; batches are larger than what grows together (claims_arrow.c). */
static void by_model_add(const Making *m, PlanPhase *phase) {
    const PlanData *d = m->plan->data;
    SampleConfig config = { .n = 1, .max_new_tokens = m->c->claims.max_new_tokens, .leaves = m->c->sample.batch };
    int leaves;
    StepSize s = sample_step_size(m->plan->claims, &config, d->claims_head, d->claims_prompt.most, share(m, d->prompts.most * plan_answers(m->c)), 0, &leaves);
    step_add(m, phase, &m->claims, &s, 0, d->claims_head + d->claims_prompt.most + config.max_new_tokens, leaves);
}

static void label_add(const Making *m, PlanPhase *phase) {
    const PlanData *d = m->plan->data;
    int64_t prompts = share(m, d->prompts.most), probes = (int64_t)((double)prompts * plan_answers(m->c) * d->claims.mean) + 1;
    StepSize s =
        label_step_size(m->plan->labeler, m->c->label.batch, d->probe.most, probes * d->probe.most, probes, d->images ? probes : 0);
    step_add(m, phase, &m->labeler, &s, 0, 0, 0);
    features_add(m, phase, m->plan->labeler, prompts);
}

static void reference_add(const Making *m, PlanPhase *phase) {
    const PlanData *d = m->plan->data;
    StepSize s = train_step_size(m->plan->policy, m->c, m->parts, STEP_SCORE, d->pair.most, d->pairs.most, d->images ? d->pairs.most : 0);
    step_add(m, phase, &m->policy, &s, 0, 0, 0);
    features_add(m, phase, m->plan->policy, share(m, d->pairs.most));
}

/* State that is kept in host memory; masters too of fp32 models (model/shard.c). */
static void state_on_host(void *phase, const char *what, int64_t bytes) {
    int moments = !strcmp(what, "first moments");
    if (moments || !strcmp(what, "second moments")) on_host(phase, what, bytes);
    if (moments) on_host(phase, "master weights", bytes);
}

static void train_add(const Making *m, PlanPhase *phase) {
    const PlanData *d = m->plan->data;
    const RunConfig *c = m->c;
    StepSize s = train_step_size(m->plan->policy, c, m->parts, STEP_TRAIN, d->pair.most, d->pairs.most, d->images ? d->pairs.most : 0);
    step_add(m, phase, &m->policy, &s, c->ranks.shard == SHARD_PARAMETERS, 0, 0);
    int offload = c->ranks.offload == OFFLOAD_OPTIMIZER && !plan_on_cpu(c);
    shard_sizes(&m->policy, m->dtype, c->ranks.shard, c->train.freeze, m->passes, offload, 0, m->copies, on_device, phase);
    if (offload) shard_sizes(&m->policy, m->dtype, c->ranks.shard, c->train.freeze, m->passes, 0, 0, m->copies, state_on_host, phase);
    features_add(m, phase, m->plan->policy, d->pairs.most);
}

static void checkpoint_add(const Making *m, PlanPhase *phase) {
    int64_t longest = 0, longest_cut = 0, slices = config_slices(m->policy.config);
    ShardMode mode = m->c->ranks.shard;
    train_add(m, phase);
    for (int u = 0; u < m->policy.units_n; u++) {
        const ParamUnit *unit = &m->policy.units[u];
        if (unit->count > longest) longest = unit->count;
        if (unit->cut && unit->count > longest_cut) longest_cut = unit->count;
    }
    /* A unit is gathered where its exact weights are nowhere whole on the device: fp32 weights are, but in mode parameters. */
    int away = mode != SHARD_NONE || (m->c->ranks.offload == OFFLOAD_OPTIMIZER && !plan_on_cpu(m->c));
    if (mode == SHARD_PARAMETERS || (m->dtype == BF16 && away)) on_device(phase, "a unit for the checkpoint", longest * 4);
    if (slices > 1) on_device(phase, "slices of a unit for the checkpoint", slices * longest_cut * 4);
    on_host(phase, "values on their way to the file", 3LL << 22);
}

static void own_weights_add(void *phase, const char *what, int64_t bytes) {
    if (!strcmp(what, "own weights")) on_device(phase, what, bytes);
}

static void load_add(const Making *m, PlanPhase *phase, unsigned phases) {
    const unsigned of_labeler = 1u << PLAN_LABEL, of_claims = 1u << PLAN_CLAIMS, of_other = 1u << PLAN_OTHER,
                   of_policy = ~(of_labeler | of_claims | of_other | 1u << PLAN_LOAD);
    int labeler = phases & of_labeler && (!(phases & of_policy) || m->labeler.count > m->policy.count);
    const Params *most = labeler ? &m->labeler : &m->policy;
    if (claims_by_model(m->c) && phases & of_claims && m->claims.count > most->count) most = &m->claims;
    if (m->c->sample.other_n > 0 && phases & of_other && m->other.count > most->count) most = &m->other;
    int deals = phases >> PLAN_TRAIN & 1 && m->c->ranks.shard == SHARD_PARAMETERS;
    on_device(phase, "weights", most->count * m->size);
    if (!deals || most != &m->policy) return;
    if (packs_bytes(m, most, 0)) on_device(phase, "packed weights", packs_bytes(m, most, 0));
    shard_sizes(most, m->dtype, SHARD_PARAMETERS, m->c->train.freeze, m->passes, 0, 0, m->copies, own_weights_add, phase);
}

int plan_make(Plan *p, const RunConfig *c, const PlanModels *models, const PlanData *d, int ranks, unsigned phases, Error *e) {
    *p = (Plan){ .config = c, .policy = &models->policy, .labeler = &models->labeler, .claims = &models->claims, .other = &models->other, .data = d, .ranks = ranks };
    if (ranks_check(c, ranks, e)) return -1;
    Making m = { .plan = p,
        .c = c,
        .dtype = c->run.dtype,
        .size = (int64_t)dtype_size(c->run.dtype),
        .copies = ranks_copies(c, ranks),
        .parts = ranks_parts(c, ranks),
        .threads = c->run.threads ? c->run.threads : (int)sysconf(_SC_NPROCESSORS_ONLN) };
    m.passes = m.parts / m.copies;
    int bad = params_plan(&m.policy, p->policy, e) || params_plan(&m.labeler, p->labeler, e) || params_plan(&m.claims, p->claims, e) || params_plan(&m.other, p->other, e);
    for (int i = 0; i < PLAN_PHASES && !bad; i++) {
        PlanPhase *phase = &p->phases[i];
        if (!(phase->wanted = (int)(phases >> i & 1) && (i != PLAN_CLAIMS || claims_by_model(c)) && (i != PLAN_OTHER || c->sample.other_n > 0))) continue;
        switch ((PlanPhaseKind)i) {
        case PLAN_LOAD:
            load_add(&m, phase, phases);
            break;
        case PLAN_SAMPLE:
            sample_add(&m, phase, &m.policy, sample_settings(c), &d->prompt, d->prompts.most);
            break;
        case PLAN_OTHER:
            sample_add(&m, phase, &m.other, other_settings(c), &d->prompt, d->prompts.most);
            break;
        case PLAN_CLAIMS:
            by_model_add(&m, phase);
            break;
        case PLAN_LABEL:
            label_add(&m, phase);
            break;
        case PLAN_REFERENCE:
            reference_add(&m, phase);
            break;
        case PLAN_TRAIN:
            train_add(&m, phase);
            break;
        case PLAN_CHECKPOINT:
            checkpoint_add(&m, phase);
            break;
        case PLAN_EVALUATE:
            sample_add(&m, phase, &m.policy, eval_settings(c), &d->eval_prompt, d->eval_prompts.most);
            break;
        case PLAN_PHASES:
            break;
        }
        if (plan_phase_bytes(p, (PlanPhaseKind)i) > p->peak) p->largest = (PlanPhaseKind)i, p->peak = plan_phase_bytes(p, p->largest);
    }
    params_plan_free(&m.policy);
    params_plan_free(&m.labeler);
    params_plan_free(&m.claims);
    params_plan_free(&m.other);
    return bad ? -1 : 0;
}

char *plan_bytes_text(int64_t bytes, char out[32]) {
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    double x = (double)bytes;
    int u = 0;
    while (x >= 1024 && u < 4) x /= 1024, u++;
    snprintf(out, 32, "%.*f %s", !u ? 0 : x < 10 ? 2 : 1, x, units[u]);
    return out;
}

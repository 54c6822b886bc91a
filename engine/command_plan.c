/* command_plan.c - `rlaifv plan`: what a run needs, on paper. Reads config.json of the models, and data where there is some; computes
 * nothing. */
#include "engine/commands.h"
#include "engine/options.h"
#include "engine/plan.h"

#include "base/json.h"
#include "kernels/comm/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct PlanOptions {
    int64_t ranks;
    const char *memory;
    PlanSpeeds speeds;
    PlanGiven given;
    int json, brief, scaling;
} PlanOptions;

enum { NAMES = 16, COLUMN = 15 };

/* ---- options: those of this command, and the config's ---- */

/* Moves what this command's table names to the front of argv, with its values. How many. */
static int options_front(const Option *table, int argc, char **argv, char **own, char **rest, int *rest_n) {
    int n = 0;
    *rest_n = 0;
    for (int i = 0; i < argc; i++) {
        const Option *o = table;
        size_t size = strncmp(argv[i], "--", 2) ? 0 : strcspn(argv[i] + 2, "=");
        while (o->name && (size != strlen(o->name) || strncmp(argv[i] + 2, o->name, size))) o++;
        if (!size || !o->name) {
            rest[(*rest_n)++] = argv[i];
            continue;
        }
        own[n++] = argv[i];
        if (o->type != OPTION_FLAG && argv[i][2 + size] != '=' && i + 1 < argc) own[n++] = argv[++i];
    }
    return n;
}

/* "80G" is 80e9 bytes, as memory is sold; "80Gi" 80 * 2^30. */
static int memory_parse(const char *text, int64_t *out, Error *e) {
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    double x = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (unit) {
        double step = end[1] == 'i' ? 1024 : 1000;
        end += 1 + (end[1] == 'i');
        for (const char *u = units; u <= unit; u++) x *= step;
    }
    if (*end == 'B') end++;
    if (!errno && !*end && x > 0 && x < 1e18) return *out = (int64_t)x, 0;
    return error_what(e, "not a size of memory"), error_where(e, "--gpu-memory"), error_found(e, "%.60s", text),
           error_expected(e, "80G, 40Gi, 512M, ...");
}

/* ---- text ---- */

static void number_say(const char *name, const PlanNumber *n, int mean) {
    printf("  %-28s %10lld", name, (long long)n->most);
    if (mean) printf(" at most, %.1f on average", n->mean);
    printf(" (%s)\n", n->from);
}

static void data_print(const Plan *p) {
    const PlanData *d = p->data;
    int samples = p->phases[PLAN_SAMPLE].wanted;
    if (d->chat[0]) printf("chat template %s\n\n", d->chat);
    printf("sizes that depend on data\n");
    if (samples) {
        number_say("prompts of an iteration", &d->prompts, 0);
        number_say("tokens of a prompt", &d->prompt, 1);
        number_say("tokens of an answer", &d->answer, 1);
        number_say("claims of an answer", &d->claims, 0);
        number_say("tokens of a probe", &d->probe, 0);
        number_say("prompts of the evaluation", &d->eval_prompts, 0);
        number_say("tokens of such a prompt", &d->eval_prompt, 1);
    }
    number_say("pairs", &d->pairs, 0);
    number_say("tokens of a pair", &d->pair, 1);
}

static const PlanBuffer *buffer_in(const PlanPhase *p, const char *what, int on_host) {
    for (int i = 0; i < p->n; i++)
        if (p->buffers[i].on_host == on_host && !strcmp(p->buffers[i].what, what)) return &p->buffers[i];
    return NULL;
}

static void line_print(
    const Plan *p, const char *name, int64_t (*value)(const PlanPhase *phase, const PlanBuffer *like), const PlanBuffer *like) {
    printf("%-34s", name);
    for (int i = 0; i < PLAN_PHASES; i++) {
        if (!p->phases[i].wanted) continue;
        int64_t bytes = value(&p->phases[i], like);
        if (bytes) printf("%*lld", COLUMN, (long long)bytes);
        else printf("%*s", COLUMN, "-");
    }
    putchar('\n');
}

static int64_t value_buffer(const PlanPhase *p, const PlanBuffer *like) {
    const PlanBuffer *b = buffer_in(p, like->what, like->on_host);
    return b ? b->bytes : 0;
}
static int64_t value_device(const PlanPhase *p, const PlanBuffer *like) { return (void)like, p->device; }
static int64_t value_host(const PlanPhase *p, const PlanBuffer *like) { return (void)like, p->host; }

static int64_t most_of(const Plan *p, const PlanBuffer *like) {
    int64_t most = 0;
    for (int i = 0; i < PLAN_PHASES; i++) {
        int64_t bytes = value_buffer(&p->phases[i], like);
        if (bytes > most) most = bytes;
    }
    return most;
}

/* Every buffer of every phase, the largest first. */
static void buffers_print(const Plan *p) {
    const PlanBuffer *list[PLAN_PHASES * PLAN_BUFFERS];
    int n = 0;
    for (int i = 0; i < PLAN_PHASES; i++)
        for (int j = 0; j < p->phases[i].n; j++) {
            const PlanBuffer *b = &p->phases[i].buffers[j];
            int known = 0, at = n;
            for (int k = 0; k < n; k++) known |= list[k]->on_host == b->on_host && !strcmp(list[k]->what, b->what);
            if (known || !most_of(p, b)) continue;
            for (; at > 0 && most_of(p, list[at - 1]) < most_of(p, b); at--) list[at] = list[at - 1];
            list[at] = b;
            n++;
        }
    for (int i = 0; i < n; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", list[i]->what, list[i]->on_host ? " (host)" : "");
        line_print(p, name, value_buffer, list[i]);
    }
}

static void sizes_print(const Plan *p, int brief) {
    printf("\nbytes on the rank that holds most\n%-34s", "");
    for (int i = 0; i < PLAN_PHASES; i++)
        if (p->phases[i].wanted) printf("%*s", COLUMN, plan_phase_names[i]);
    putchar('\n');
    if (!brief) buffers_print(p);
    line_print(p, plan_on_cpu(p->config) ? "buffers" : "device memory", value_device, NULL);
    line_print(p, "host memory beside it", value_host, NULL);
}

static void work_print(const Plan *p, const PlanSpeeds *s) {
    int timed = s->tflops > 0 || s->bandwidth > 0 || s->network > 0;
    printf("\nwork of an iteration on one rank");
    if (timed) printf(", predicted for %g TFLOP/s, %g GB/s of memory, %g GB/s sent", s->tflops, s->bandwidth, s->network);
    printf(
        "\n%-12s%14s%14s%12s%18s%12s%12s\n", "", "tokens", "FLOPs", "steps", "sent a step", timed ? "seconds" : "", timed ? "waiting" : "");
    for (int i = 0; i < PLAN_PHASES; i++) {
        const PlanPhase *x = &p->phases[i];
        if (!x->wanted || x->flops <= 0) continue;
        printf("%-12s%14.0f%14.3e%12.0f%18.0f", plan_phase_names[i], x->tokens, x->flops, x->steps, x->sent);
        if (timed) printf("%12.1f%12.1f", x->seconds, x->exposed);
        putchar('\n');
    }
}

static void verdict_print(const Plan *p, int64_t memory, int fits, const char *how) {
    char peak[32], all[32];
    printf("\npeak: %lld bytes, %s, in %s", (long long)p->peak, plan_bytes_text(p->peak, peak), plan_phase_names[p->largest]);
    if (memory <= 0) printf("\n");
    else if (fits) printf("; fits into %s\n", plan_bytes_text(memory, all));
    else
        printf("; does not fit into %s. %s%s\n", plan_bytes_text(memory, all),
            how[0] ? "It would with " : "Nothing that was tried is enough", how);
}

/* ---- the same as JSON ---- */

static json_t *phase_json(const PlanPhase *x) {
    json_t *list = json_array();
    for (int i = 0; list && i < x->n; i++)
        if (x->buffers[i].bytes)
            json_array_append_new(list, json_pack("{s:s, s:I, s:b}", "what", x->buffers[i].what, "bytes", (json_int_t)x->buffers[i].bytes,
                                            "host", x->buffers[i].on_host));
    return list ? json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "device", (json_int_t)x->device, "host", (json_int_t)x->host,
                      "tokens", x->tokens, "flops", x->flops, "steps", x->steps, "sent", x->sent, "seconds", x->seconds, "waiting",
                      x->exposed, "buffers", list)
                : NULL;
}

static int json_print(const Plan *p, int64_t memory, int fits, const char *how, Error *e) {
    json_t *phases = json_object(), *numbers = json_object();
    const PlanData *d = p->data;
    const struct {
        const char *name;
        const PlanNumber *n;
    } data[] = { { "prompts", &d->prompts }, { "prompt", &d->prompt }, { "answer", &d->answer }, { "claims", &d->claims },
        { "probe", &d->probe }, { "eval_prompts", &d->eval_prompts }, { "eval_prompt", &d->eval_prompt }, { "pairs", &d->pairs },
        { "pair", &d->pair } };
    for (size_t i = 0; numbers && i < sizeof data / sizeof *data; i++)
        json_object_set_new(numbers, data[i].name,
            json_pack("{s:I, s:f, s:s}", "most", (json_int_t)data[i].n->most, "mean", data[i].n->mean, "from", data[i].n->from));
    for (int i = 0; phases && i < PLAN_PHASES; i++)
        if (p->phases[i].wanted) json_object_set_new(phases, plan_phase_names[i], phase_json(&p->phases[i]));
    json_t *top = phases && numbers
                      ? json_pack("{s:i, s:s, s:I, s:s, s:o, s:o}", "ranks", p->ranks, "device", p->config->run.device, "peak",
                            (json_int_t)p->peak, "largest", plan_phase_names[p->largest], "data", numbers, "phases", phases)
                      : NULL;
    if (top && memory > 0) json_object_set_new(top, "memory", json_integer(memory)), json_object_set_new(top, "fits", json_boolean(fits));
    if (top && how[0]) json_object_set_new(top, "fits_with", json_string(how));
    char *text = top ? json_dumps(top, JSON_INDENT(1) | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(top);
    if (!text) return error_what(e, "out of memory");
    puts(text);
    free(text);
    return 0;
}

/* ---- more ranks, on paper ---- */

/* As many pairs for each rank as now. Efficiency: the share of a step that is not spent waiting. */
static int scaling_print(const RunConfig *base, const PlanModels *m, const PlanData *d, int ranks, const PlanSpeeds *s, Error *e) {
    RunConfig *c = mem_new(1, sizeof *c, "plan", e);
    Plan *p = mem_new(1, sizeof *p, "plan", e);
    int bad = !c || !p;
    if (!bad)
        printf("\nscaling at %.3g pairs a rank\n%6s%12s%18s%14s%14s%12s%14s\n", (double)base->train.batch_pairs / ranks, "ranks", "batch",
            "sent a step", "step s", "waiting s", "efficiency", "peak");
    for (int n = ranks; n <= WORLD_RANKS_MOST && !bad; n *= 2) {
        char peak[32];
        *c = *base;
        c->train.batch_pairs = (int)((int64_t)base->train.batch_pairs * n / ranks);
        c->ranks.parts = base->ranks.parts * n / ranks;
        bad = plan_make(p, c, m, d, n, PLAN_OF_TRAIN, e) || plan_work(p, s, e);
        if (bad) break;
        const PlanPhase *x = &p->phases[PLAN_TRAIN];
        double step = x->seconds / x->steps, waits = x->exposed / x->steps;
        printf("%6d%12d%18.0f%14.3f%14.3f%11.1f%%%14s\n", n, c->train.batch_pairs, x->sent, step, waits,
            step > 0 ? 100 * (1 - waits / step) : 100.0, plan_bytes_text(p->peak, peak));
    }
    free(c);
    free(p);
    return bad ? -1 : 0;
}

/* ---- the command ---- */

static int plan_print(const RunConfig *c, const PlanOptions *o, int64_t memory, Error *e) {
    unsigned phases = c->data.prompts[0] || !c->data.train[0] ? PLAN_OF_RUN : PLAN_OF_TRAIN;
    Plan *p = mem_new(1, sizeof *p, "plan", e);
    PlanModels *m = mem_new(1, sizeof *m, "plan", e);
    PlanData d;
    char how[256] = "";
    int fits = 1, bad = !p || !m || plan_models(m, c, e) || plan_data(&d, c, &m->policy, phases, &o->given, e) ||
                        plan_make(p, c, m, &d, (int)o->ranks, phases, e) || plan_work(p, &o->speeds, e);
    if (!bad && memory > 0) fits = p->peak <= memory;
    if (!bad && !fits) bad = plan_fit(p, memory, how, sizeof how, e) < 0;
    if (!bad && o->json) bad = json_print(p, memory, fits, how, e);
    else if (!bad) {
        if (!o->brief) data_print(p);
        sizes_print(p, o->brief);
        work_print(p, &o->speeds);
        if (o->scaling) bad = scaling_print(c, m, &d, (int)o->ranks, &o->speeds, e);
        verdict_print(p, memory, fits, how);
    }
    if (!bad && !fits) {
        char peak[32], all[32];
        error_what(e, "the run does not fit in memory"), error_where(e, "%s", plan_phase_names[p->largest]);
        error_found(e, "--gpu-memory %s", plan_bytes_text(memory, all)), error_expected(e, "%s", plan_bytes_text(p->peak, peak));
        if (how[0]) error_hint(e, "it fits with %s", how);
        bad = -1;
    }
    free(p);
    free(m);
    return bad ? -1 : 0;
}

int command_plan(int argc, char **argv, Error *e) {
    PlanOptions o = { .ranks = 1 };
    const Option table[] = { { "ranks", OPTION_INT, &o.ranks, "N", "processes, one for each GPU", 0, 1, WORLD_RANKS_MOST, NULL },
        { "gpu-memory", OPTION_TEXT, &o.memory, "SIZE", "of a rank: 80G (80e9 bytes), 80Gi; what does not fit is refused, with what would",
            0, 0, 0, NULL },
        { "tflops", OPTION_NUMBER, &o.speeds.tflops, "X", "TFLOP/s that products reach, for predictions", 0, 0, 1e6, NULL },
        { "bandwidth", OPTION_NUMBER, &o.speeds.bandwidth, "X", "GB/s that memory is read at", 0, 0, 1e6, NULL },
        { "network", OPTION_NUMBER, &o.speeds.network, "X", "GB/s that a rank sends", 0, 0, 1e6, NULL },
        { "prompts", OPTION_INT, &o.given.prompts, "N", "of an iteration, in place of what the data says", 0, 1, 1e9, NULL },
        { "prompt-text", OPTION_INT, &o.given.prompt_text, "N", "tokens of the longest question", 0, 1, 1e6, NULL },
        { "answer", OPTION_INT, &o.given.answer, "N", "tokens of an answer on average, for predictions", 0, 1, 1e6, NULL },
        { "claims", OPTION_INT, &o.given.claims, "N", "of an answer", 0, 1, 1e4, NULL },
        { "probe-text", OPTION_INT, &o.given.probe_text, "N", "tokens of a claim's question", 0, 1, 1e4, NULL },
        { "pairs", OPTION_INT, &o.given.pairs, "N", "of an iteration", 0, 1, 1e9, NULL },
        { "json", OPTION_FLAG, &o.json, NULL, "print JSON", 0, 0, 0, NULL },
        { "brief", OPTION_FLAG, &o.brief, NULL, "sums only", 0, 0, 0, NULL },
        { "scaling", OPTION_FLAG, &o.scaling, NULL, "a table for more ranks", 0, 0, 0, NULL }, { .name = NULL } };
    RunConfig *c = mem_new(1, sizeof *c, "config", e);
    char **own = mem_new(2 * (size_t)argc + 2, sizeof *own, "options", e);
    int64_t memory = 0;
    int rest_n, got = -1, n;
    if (!c || !own) goto done;
    char **rest = own + argc + 1;
    n = options_front(table, argc, argv, own, rest, &rest_n);
    config_defaults(c);
    got = config_arguments(c, rest_n, rest, e);
    if (got == CONFIG_HELP) {
        options_help(table, "plan CONFIG [OPTION]... [--section.key=value]...",
            "The bytes of every buffer in every phase on the rank that holds most, and what each phase costs. Exit code 1 when it does not "
            "fit.",
            stdout);
        got = 0;
        goto done;
    }
    if (!got) got = options_parse(table, n, own, NULL, e);
    if (!got && (config_need(c, "model.dir", e) || (o.memory && memory_parse(o.memory, &memory, e)))) got = -1;
    if (!got) got = plan_print(c, &o, memory, e);
done:
    free(c);
    free(own);
    return got;
}

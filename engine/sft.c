/* sft.c - owns supervised fine-tuning: its data (rows of a file, or scenes made as they are needed), its step, and `rlaifv sft`.
 *
 * The start is model.dir as it is, or (sft.random) random weights in its shape, and (sft.tower) the tower of another checkpoint; it is
 * written to RUN/start first, so that a resumed run begins from the same bytes. */
#include "engine/sft.h"

#include "engine/arrows.h"
#include "engine/checkpoint.h"
#include "engine/commands.h"
#include "engine/dataset.h"
#include "engine/dialogue.h"
#include "engine/optimizer.h"
#include "engine/scenes/scenes.h"

#include "base/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Turn {
    Prompt prompt; /* its tail is what counts; the image is the group's */
    IdList answer;
    float weight;
} Turn;

typedef struct Group { /* one image and what is said about it */
    ImageRef image;
    float *pixels; /* owned, for scenes */
    Turn *turns;
    int n;
    size_t cap;
} Group;

typedef struct Sft {
    Vlm *v;
    const RunConfig *config;
    Group *groups; /* the whole file, or the scenes of one step */
    int n;
    size_t cap;
    Dataset data;
    ScenesExample *example;
} Sft;

static void turn_free(Turn *t) {
    prompt_free(&t->prompt);
    idlist_free(&t->answer);
}

static void group_clear(Group *g) {
    for (int i = 0; i < g->n; i++) turn_free(&g->turns[i]);
    free(g->turns);
    free(g->pixels);
    memset(g, 0, sizeof *g);
}

/* A turn of the group: the conversation up to a question, and its answer. Refused when it is longer than allowed. */
static int turn_add(Sft *s, Group *g, const ChatTurn *turns, size_t n, const char *answer, double weight, Error *e) {
    if (mem_grow(&g->turns, &g->cap, (size_t)g->n + 1, sizeof *g->turns, "turns", e)) return -1;
    Turn *t = &g->turns[g->n];
    *t = (Turn){ .weight = (float)weight };
    int has_image = g->image.path || g->image.pixels;
    int bad = (has_image && vlm_needs_tower(s->v, g->image.path ? g->image.path : "of a scene", e)) || vlm_dialogue(s->v, turns, n, has_image ? &g->image : NULL, &t->prompt, e) ||
              template_answer(s->v->chat, answer, 1, &t->answer, e);
    int tokens = prompt_tokens(s->v, &t->prompt) + (int)t->answer.count, most = s->config->train.max_tokens;
    if (!bad && tokens > most) {
        bad = error_what(e, "turn is too long");
        error_found(e, "%d tokens", tokens);
        error_expected(e, "at most %d (train.max_tokens)", most);
    }
    if (!bad) return g->n++, 0;
    turn_free(t);
    return -1;
}

static int one_word(const char *answer) { return !strpbrk(answer, " \t\n"); }

/* Every answer of a row, each with the conversation before it, or none of them. A row's weight counts for all. */
static int row_add(Sft *s, Group *g, const DataRow *r, const char *where, Error *e) {
    const int before = g->n;
    double weight = 0;
    Dialogue d;
    int weighted = json_is_number(json_object_get(r->json, "weight"));
    if (json_may_number(r->json, "weight", where, &weight, e) || dialogue_read(r->json, where, &d, e)) return -1;
    int bad = 0, asked = 0;
    for (size_t i = 0; i < d.n && !bad; i++) {
        if (d.turns[i].role != CHAT_ASSISTANT) continue;
        const char *answer = d.turns[i].text;
        double of_word = one_word(answer) ? s->config->sft.one_word_weight : 1;
        asked++;
        bad = turn_add(s, g, d.turns, i, answer, weighted ? weight : of_word, e);
    }
    if (!bad && !asked) bad = error_what(e, "a conversation without an answer"), error_where(e, "%.500s", where);
    if (!bad && d.has_image && !r->image) bad = error_what(e, "a conversation with an image that its row does not name"), error_where(e, "%.500s", where);
    dialogue_free(&d);
    while (bad && g->n > before) turn_free(&g->turns[--g->n]);
    return bad ? -1 : 0;
}

/* All rows of data.train; consecutive rows of one image are one group. */
static int rows_read(Sft *s, Progress *progress, Error *e) {
    const RunConfig *c = s->config;
    char unpack[PATH_SIZE];
    DataOptions options = { .need = DATA_QUESTION | DATA_ANSWER, .images = c->data.images, .unpack = unpack, .strict = c->data.strict };
    if (config_need(c, "data.train", e) || path_join(unpack, c->run.dir, "images", e) || dataset_read(&s->data, c->data.train, &options, e)) return -1;
    for (int i = 0; i < s->data.n;) {
        DataRow *r = &s->data.rows[i];
        Group *g = s->n ? &s->groups[s->n - 1] : NULL;
        Error why = { 0 };
        char where[PATH_SIZE + 16];
        snprintf(where, sizeof where, "%.4000s:%d", s->data.path, r->line);
        if (!g || !r->image || !g->image.path || strcmp(g->image.path, r->image)) {
            if (mem_grow(&s->groups, &s->cap, (size_t)s->n + 1, sizeof *s->groups, "images", e)) return -1;
            g = &s->groups[s->n];
            *g = (Group){ .image = { .path = r->image } };
        }
        int fresh = g == &s->groups[s->n];
        if (row_add(s, g, r, where, &why)) {
            if (!why.where[0]) error_where(&why, "%.500s", where);
            if (fresh) group_clear(g);
            if (c->data.strict) {
                if (e) *e = why;
                return -1;
            }
            if (dataset_drop(&s->data, i, &why, e)) return -1;
            continue;
        }
        if (fresh) s->n++;
        i++;
    }
    char line[600];
    progress_say(progress, "%s", dataset_summary(&s->data, line, sizeof line));
    for (int i = 0; i < s->data.drops_n; i++) progress_say(progress, "  dropped: %s", s->data.drops[i].reason);
    return s->n > 0 ? 0 : (error_what(e, "no row is left to train on"), error_where(e, "%s", c->data.train));
}

/* Scene `index` as a group. */
static int scene_group(Sft *s, uint64_t index, Group *g, Error *e) {
    const RunConfig *c = s->config;
    const ModelConfig *m = &s->v->model.config;
    int S = m->vision.image_side;
    ScenesMix mix = { .captions = c->sft.captions,
        .yes_no = c->sft.yes_no,
        .open = c->sft.open,
        .short_weight = c->sft.one_word_weight,
        .forms = c->sft.forms,
        .noise = { .partner = c->sft.noise_partner,
            .colour = c->sft.noise_colour,
            .position = c->sft.noise_position,
            .count = c->sft.noise_count } };
    memset(g, 0, sizeof *g);
    if (scenes_sft_example((uint64_t)c->run.seed, index, &mix, s->example, e)) return -1;
    g->pixels = mem_new((size_t)3 * (size_t)S * (size_t)S, sizeof(float), "pixels", e);
    Image image = { SCENE_SIDE, SCENE_SIDE, s->example->rgb };
    if (!g->pixels || image_preprocess(&image, (ImageAspect)s->v->aspect, S, m->image_mean, m->image_std, g->pixels, e)) return -1;
    g->image.pixels = g->pixels;
    for (int i = 0; i < s->example->count; i++) {
        const ScenesTurn *t = &s->example->turns[i];
        if (turn_add(s, g, &(ChatTurn){ CHAT_USER, t->question }, 1, t->answer, t->weight, e)) return -1;
    }
    return 0;
}

/* ---- the step ---- */

typedef struct SftSums {
    double loss, weight;    /* weighted */
    double nll[2], hits[2]; /* captions and longer answers, one-word answers; per token */
    int64_t tokens[2], rows;
} SftSums;

static int group_rows(const Sft *s, const Group *g) {
    int known = g->n ? g->turns[0].prompt.image_rows : 0, rows = known ? known : config_rows_of_tile(&s->v->model.config);
    for (int i = 0; i < g->n; i++) rows += (int)(g->turns[i].prompt.tail.count + g->turns[i].answer.count);
    return rows;
}

/* Forward and backward over groups [0, n): one chunk. weight_all: the step's total token weight. */
static int chunk_run(Sft *s, Trunks *trunks, Group *const *groups, int n, double weight_all, SftSums *sums, Error *e) {
    Model *m = &s->v->model;
    Forest *f = &trunks->forest;
    trunks_clear(trunks);
    int root = -1, result = -1, first = 0;
    float *rows = NULL;
    int *kinds = NULL;
    for (int i = 0; i < n; i++) {
        Group *g = groups[i];
        int trunk = -1;
        if (g->image.path || g->image.pixels) {
            int image = vlm_image(s->v, &trunks->images, &g->image, e);
            if (image < 0 || (root < 0 && (root = vlm_root(s->v, f, e)) < 0) || (trunk = vlm_image_trunk(s->v, f, root, &trunks->images, image, e)) < 0)
                return -1;
        }
        for (int j = 0; j < g->n; j++) {
            const Turn *t = &g->turns[j];
            int leaf = forest_segment(f, trunk, 0, e);
            if (leaf < 0 || forest_extend(f, leaf, t->prompt.tail.ids, (int)t->prompt.tail.count, e) ||
                forest_extend(f, leaf, t->answer.ids, (int)t->answer.count, e) || forest_score(f, leaf, (int)t->prompt.tail.count, e))
                return -1;
        }
    }
    int R = f->scored_n;
    rows = mem_new((size_t)R * 3, sizeof *rows, "token losses", e);
    kinds = mem_new((size_t)R, sizeof *kinds, "token kinds", e);
    Buf dlogp = model_dlogp(m, f, e);
    if (!rows || !kinds || !dlogp.at) goto done;
    float *logp = rows, *hit = rows + R, *gradient = rows + 2 * R;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < groups[i]->n; j++) {
            const Turn *t = &groups[i]->turns[j];
            for (size_t k = 0; k < t->answer.count; k++, first++) {
                gradient[first] = (float)(-t->weight / weight_all);
                kinds[first] = t->answer.count <= 2; /* a word and the end */
            }
        }
    if (vlm_forward(s->v, f, &trunks->images, STEP_TRAIN, e) || model_score(m, f, logp, NULL, hit, NULL, e)) goto done;
    m->k->upload(dlogp, gradient, R);
    if (model_backward(m, f, dlogp, e)) goto done;
    for (int r = 0; r < R; r++) {
        sums->loss += (double)gradient[r] * logp[r];
        sums->nll[kinds[r]] -= logp[r];
        sums->hits[kinds[r]] += hit[r];
        sums->tokens[kinds[r]]++;
    }
    sums->rows += f->rows_n;
    result = 0;
done:
    free(rows);
    free(kinds);
    return result;
}

static int step_run(Sft *s, Trunks *trunks, Group **groups, int n, SftSums *sums, Error *e) {
    double weight = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < groups[i]->n; j++) weight += groups[i]->turns[j].weight * (double)groups[i]->turns[j].answer.count;
    if (weight <= 0) return error_what(e, "a step has nothing to learn: all weights are zero"), error_where(e, "sft");
    for (int at = 0, count; at < n; at += count) {
        int rows = 0;
        for (count = 0; at + count < n && count < VLM_IMAGES; count++) {
            rows += group_rows(s, groups[at + count]);
            if (count > 0 && rows > s->config->train.rows) break;
        }
        if (chunk_run(s, trunks, groups + at, count, weight, sums, e)) return -1;
    }
    return 0;
}

static int step_log(Metrics *metrics, Progress *progress, const RunConfig *c, const SftSums *s, int64_t step, int64_t steps, double lr,
    double norm, double seconds, Error *e) {
    MetricRow row;
    int64_t all = s->tokens[0] + s->tokens[1];
    metric_row(&row, 0, "sft", step);
    metric_set(&row, "loss", s->loss);
    metric_set(&row, "learning_rate", lr);
    metric_set(&row, "grad_norm", norm);
    metric_set(&row, "mean_token_accuracy", (s->hits[0] + s->hits[1]) / (double)all);
    if (s->tokens[0]) metric_set(&row, "nll/long", s->nll[0] / (double)s->tokens[0]);
    if (s->tokens[1]) metric_set(&row, "nll/one_word", s->nll[1] / (double)s->tokens[1]);
    if (s->tokens[1])
        metric_set(&row, "accuracy/one_word", 2 * s->hits[1] / (double)s->tokens[1] - 1); /* the end after a word is always right */
    metric_set(&row, "num_tokens", (double)s->rows);
    metric_set(&row, "step_time", seconds);
    char text[160];
    progress_note(progress, "%s", metric_row_text(&row, text, sizeof text));
    return metrics && (step % c->train.log_every == 0 || step == 1 || step == steps) ? metrics_write(metrics, &row, e) : 0;
}

static int job_hash(const RunConfig *c, const Vlm *v, char out[HASH_TEXT], Error *e) {
    char settings[HASH_TEXT], weights[HASH_TEXT], data[HASH_TEXT] = "", text[256];
    if (config_hash(c, "train sft data.exif run.seed run.dtype", settings, e) || (c->sft.source == SFT_ROWS && hash_file(c->data.train, data, e)))
        return -1;
    params_hash(&v->model.params, v->model.k, weights);
    if (v->model.k->sync(e)) return -1;
    int n = snprintf(text, sizeof text, "sft %s %s %s %s", settings, weights, data, template_hash(v->chat));
    hash_bytes(text, (size_t)n, out);
    return 0;
}

static void epoch_order(const RunConfig *c, int n, int64_t epoch, int *order) {
    for (int i = 0; i < n; i++) order[i] = i;
    if (c->train.order == ORDER_FILE) return;
    Rng rng = { (uint64_t)c->run.seed, hash64(&epoch, sizeof epoch, 0x736674u), 0 };
    for (int i = n - 1; i > 0; i--) {
        int j = (int)rng_below(&rng, (uint32_t)i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

int sft_answers(Vlm *v, const RunConfig *c, Metrics *metrics, Progress *progress, Error *e) {
    Sft s = { .v = v, .config = c };
    Model *m = &v->model;
    Trunks trunks = { .root = -1 };
    TrainState state = { 0 };
    Ranks ranks = { 0 };
    const Kernels *host;
    Shard *shard = NULL;
    int bad = -1, scenes = c->sft.source == SFT_SCENES, batch = c->sft.batch_images, *order = NULL, *ahead = NULL;
    Group **chosen = mem_new((size_t)batch, sizeof *chosen, "batch", e);
    char own[HASH_TEXT];
    if (!chosen) return -1;
    if (scenes) {
        s.example = mem_new(1, sizeof *s.example, "scene", e);
        s.groups = mem_new((size_t)batch, sizeof *s.groups, "scenes", e);
        if (!s.example || !s.groups) goto done;
        if (c->train.steps <= 0) {
            error_what(e, "fresh scenes have no epochs"), error_where(e, "train.steps"), error_found(e, "0"),
                error_hint(e, "set train.steps");
            goto done;
        }
    } else if (rows_read(&s, progress, e) || !(order = mem_new(2 * (size_t)s.n, sizeof *order, "order", e))) goto done;
    int64_t steps = c->train.steps > 0 ? c->train.steps : (int64_t)ceil(c->train.epochs * s.n / batch), epoch = -1, ahead_epoch = -1;
    if (order) ahead = order + s.n;
    m->recompute = c->train.recompute == RECOMPUTE_LAYER;
    v->tower_trained = !(c->train.freeze & 1u << PART_VISION);
    if (job_hash(c, v, own, e) || ranks_lone(&ranks, m->k, e) || ranks_offload(c, &host, e) ||
        shard_open(&shard, m, ranks.data, SHARD_NONE, c->train.freeze, 1, host, e))
        goto done;
    int resumed = checkpoint_latest(c->run.dir, &ranks, own, &state, e);
    if (resumed < 0 || (resumed && checkpoint_load(m, shard, &ranks, c->run.dir, &state, e))) goto trained;
    if (!resumed) state = (TrainState){ 0 };
    memcpy(state.job, own, sizeof own);
    if (metrics && metrics_resume(metrics, 0, "sft", state.step, e)) goto trained;
    progress_begin(progress, "sft", "steps", steps, state.step);
    int64_t told = state.step * batch; /* rows whose images are said to come */
    while (state.step < steps) {
        double start = progress_seconds(), norm;
        for (; !scenes && told < (state.step + 2 < steps ? state.step + 2 : steps) * batch; told++) { /* this step's and the next one's */
            if (told / s.n != ahead_epoch) epoch_order(c, s.n, ahead_epoch = told / s.n, ahead);
            vlm_ahead(v, &s.groups[ahead[told % s.n]].image);
        }
        for (int i = 0; i < batch; i++) {
            int64_t at = state.step * batch + i;
            if (scenes) {
                group_clear(&s.groups[i]);
                if (scene_group(&s, (uint64_t)at, &s.groups[i], e)) goto trained;
                chosen[i] = &s.groups[i];
                s.n = i + 1 > s.n ? i + 1 : s.n;
            } else {
                if (at / s.n != epoch) epoch_order(c, s.n, epoch = at / s.n, order);
                chosen[i] = &s.groups[order[at % s.n]];
            }
        }
        SftSums sums = { 0 };
        if (step_run(&s, &trunks, chosen, batch, &sums, e)) goto trained;
        double lr = schedule_lr(c, state.step, steps);
        state.step++;
        state.tokens += sums.rows;
        if (shard_pass_end(shard, e) || optimizer_step(shard, c, lr, state.step, &norm, e)) goto trained;
        if (v->tower_trained) vlm_forget_features(v);
        if (step_log(metrics, progress, c, &sums, state.step, steps, lr, norm, progress_seconds() - start, e)) goto trained;
        progress_add(progress, 1);
        if (state.step == steps || (c->train.save_every > 0 && state.step % c->train.save_every == 0))
            if (checkpoint_save(m, shard, &ranks, c, c->run.dir, &state, e) || checkpoint_prune(c->run.dir, c->train.keep, NULL, 0, e)) goto trained;
    }
    progress_end(progress);
    bad = 0;
trained:
    vlm_ahead_clear(v);
    if (shard_close(shard, bad ? NULL : e)) bad = -1;
done:
    ranks_close(&ranks);
    v->tower_trained = 0;
    for (int i = 0; i < s.n; i++) group_clear(&s.groups[i]);
    free(s.groups);
    free(s.example);
    free(chosen);
    free(order);
    trunks_free(&trunks);
    dataset_free(&s.data);
    return bad;
}

/* ---- the command ---- */

/* The checkpoint training starts from: model.dir, or RUN/start made from random weights and another's tower. */
static int start_make(const RunConfig *c, const Kernels *k, char out[PATH_SIZE], Error *e) {
    if (!c->sft.random && !c->sft.tower[0]) return snprintf(out, PATH_SIZE, "%s", c->model.dir), 0;
    if (path_join(out, c->run.dir, "start", e)) return -1;
    if (file_exists(out)) return 0;
    Model m;
    int bad = c->sft.random ? model_init(&m, k, c->model.dir, FP32, (uint64_t)c->run.seed, e) : model_load(&m, k, c->model.dir, FP32, e);
    if (bad) return -1;
    if (c->sft.tower[0]) {
        Model from;
        if (!(bad = model_load(&from, k, c->sft.tower, FP32, e))) {
            for (int i = 0; i < m.params.n && !bad; i++) {
                const Param *p = &m.params.list[i], *q = i < from.params.n ? &from.params.list[i] : p;
                if (p->part != PART_VISION) continue;
                if (i >= from.params.n || q->kind != p->kind || q->count != p->count) {
                    bad = error_what(e, "towers have different shapes"), error_where(e, "sft.tower = %s", c->sft.tower),
                    error_expected(e, "the shape of %s", c->model.dir);
                    break;
                }
                k->copy(buf_at(m.params.weights, p->offset), buf_at(from.params.weights, q->offset), p->count);
            }
            model_free(&from);
        }
    }
    bad = bad || folder_make(c->run.dir, e) || params_export(&m.params, k, TENSOR_F32, c->model.dir, out, e);
    model_free(&m);
    return bad ? -1 : 0;
}

int command_sft(int argc, char **argv, Error *e) {
    static const char *const needed[] = { "run.dir", "model.dir", NULL };
    RunConfig c;
    int got = command_config(&c, argc, argv, "sft CONFIG [--section.key=value]...", needed, e);
    if (got) return got == 1 ? 0 : got;
    char start[PATH_SIZE], path[PATH_SIZE], model[PATH_SIZE];
    Vlm v;
    Progress progress;
    const Kernels *k;
    if (!(k = kernels_open(c.run.device, c.run.threads, e)) || folder_make(c.run.dir, e) || path_join(path, c.run.dir, "config.ini", e) ||
        config_write(&c, path, e) || start_make(&c, k, start, e) ||
        vlm_open(&v, k, start, c.run.dtype, c.chat.template_name, c.train.image_aspect, e))
        return -1;
    char line[600];
    v.exif = c.data.exif;
    v.ahead_images = c.data.prefetch;
    progress_init(&progress, c.run.quiet ? NULL : stderr);
    progress_say(&progress, "%s", vlm_chat_text(&v, line, sizeof line));
    Metrics *metrics = metrics_open(c.run.dir, e);
    int bad = !metrics || (c.sft.task == SFT_TOWER ? sft_tower : sft_answers)(&v, &c, metrics, &progress, e);
    /* the result under a name that does not depend on the number of steps */
    bad = bad || path_join(model, c.run.dir, "model", e) ||
          params_export(&v.model.params, k, checkpoint_dtype(&c), v.model.folder, model, e);
    if (!bad) printf("%s\n", model);
    if (metrics) metrics_close(metrics);
    vlm_close(&v);
    return bad ? -1 : 0;
}

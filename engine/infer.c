/* infer.c - the commands that ask a checkpoint about rows of a file: generate, score, probe.
 *
 * Each reads JSONL rows, gives the model all of them at once, and writes one row per usable input row, in the file's order, with the row's
 * id, image and question carried over. Images embedded in rows are written to OUT.images/, and the output row has their paths. Unusable rows are named with file and line, counted, and left out; with --strict they end the
 * command. */
#include "engine/beam.h"
#include "engine/commands.h"
#include "engine/dataset.h"
#include "engine/label.h"
#include "engine/logps.h"
#include "engine/options.h"
#include "engine/sample.h"
#include "engine/score.h"

#include <stdlib.h>
#include <string.h>

/* What the three have in common. */
typedef struct Infer {
    const char *model, *data, *out, *chat, *images, *dump, *dump_to;
    int aspect, exif, strict;
    int64_t rows, prefetch; /* of one step; images ahead of it */
    CommonOptions common;
    Dataset set;
    Vlm vlm;
    Prompt *prompts;
    unsigned char *refused; /* by row */
    Progress progress;
} Infer;

#define INFER_DEFAULTS                                                                                                                     \
    { .chat = TEMPLATE_AUTO, .images = "", .aspect = IMAGE_PAD, .prefetch = VLM_AHEAD, .common = COMMON_DEFAULTS }
#define OPTIONS_INFER(I)                                                                                                                   \
    { "model", OPTION_TEXT, &(I).model, "DIR", "checkpoint folder", 1, 0, 0, NULL },                                                       \
        { "data", OPTION_TEXT, &(I).data, "FILE", "JSONL rows; image paths are relative to it", 1, 0, 0, NULL },                           \
        { "out", OPTION_TEXT, &(I).out, "FILE", "JSONL results, one row per usable input row", 1, 0, 0, NULL },                            \
        { "template", OPTION_TEXT, &(I).chat, "NAME", "chat template: a name, the path of a file, or auto: the checkpoint's own", 0, 0, 0, NULL }, \
        { "aspect", OPTION_CHOICE, &(I).aspect, "HOW", "how images are fitted to one tile; models of tiled images have their own way", 0, 0, 0, image_aspects }, \
        { "exif", OPTION_CHOICE, &(I).exif, "HOW", "orientation that a camera wrote", 0, 0, 0, image_exifs },                             \
        { "prefetch", OPTION_INT, &(I).prefetch, "N", "images decoded ahead of their step; changes speed and memory, not results", 0, 0,   \
            4096, NULL },                                                                                                                  \
        { "images", OPTION_TEXT, &(I).images, "DIR", "where images are looked for by file name", 0, 0, 0, NULL },                          \
        { "dump", OPTION_TEXT, &(I).dump, "NAME", "writes an activation of the first step: see inspect --help", 0, 0, 0, NULL },           \
        { "dump-to", OPTION_TEXT, &(I).dump_to, "FILE", "safetensors file for it", 0, 0, 0, NULL },                                        \
        { "strict", OPTION_FLAG, &(I).strict, NULL, "an unusable row ends the command", 0, 0, 0, NULL }, OPTIONS_COMMON((I).common)

static void infer_close(Infer *in) {
    progress_end(&in->progress);
    if (in->prompts) prompts_free(in->prompts, (size_t)in->set.n);
    vlm_close(&in->vlm);
    dataset_free(&in->set);
    free(in->refused);
}

static int infer_open(Infer *in, unsigned need, Error *e) {
    progress_init(&in->progress, stderr);
    char unpack[PATH_SIZE];
    DataOptions options = { .need = need | DATA_QUESTION, .images = in->images, .unpack = unpack, .strict = in->strict };
    if (snprintf(unpack, sizeof unpack, "%s.images", in->out) >= (int)sizeof unpack) return error_what(e, "path too long"), error_where(e, "%.200s...", in->out);
    if (dataset_read(&in->set, in->data, &options, e)) return -1;
    for (int i = 0; i < in->set.drops_n; i++) progress_say(&in->progress, "row dropped: %s", in->set.drops[i].reason);
    const Kernels *k = kernels_open(in->common.device, (int)in->common.threads, e);
    if (!k || vlm_open(&in->vlm, k, in->model, (DType)in->common.dtype, in->chat, in->aspect, e)) return -1;
    char line[600];
    in->vlm.exif = (ImageExif)in->exif;
    in->vlm.ahead_images = (int)in->prefetch;
    progress_say(&in->progress, "%s", vlm_chat_text(&in->vlm, line, sizeof line));
    size_t n = (size_t)in->set.n;
    in->prompts = mem_new(n, sizeof *in->prompts, "prompts", e);
    in->refused = mem_new(n, 1, "prompts", e);
    if (!in->prompts || !in->refused) return -1;
    if (!in->dump != !in->dump_to)
        return error_what(e, "half a request"), error_where(e, in->dump ? "--dump" : "--dump-to"), error_expected(e, "--dump NAME --dump-to FILE");
    return in->dump ? model_dump(&in->vlm.model, in->dump, in->dump_to, e) : 0;
}

/* A row that the model or the image decoder will not take: said and marked, or, with --strict, the end. */
static int infer_refuse(void *context, size_t row, const Error *why, Error *e) {
    Infer *in = context;
    if (in->strict) {
        if (e) *e = *why;
        return -1;
    }
    char text[1600];
    in->refused[row] = 1;
    progress_say(&in->progress, "row dropped: %s:%d: %s", in->data, in->set.rows[row].line, error_text(why, text, sizeof text));
    return 0;
}

/* Encodes the questions; rows that cannot be are refused and left as prompts of no tokens, which no caller hands on. */
static int infer_prompts(Infer *in, Error *e) {
    for (int i = 0; i < in->set.n; i++) {
        Error why = { 0 };
        const DataRow *r = &in->set.rows[i];
        if (vlm_prompt(&in->vlm, r->image, r->question, &in->prompts[i], &why) && infer_refuse(in, (size_t)i, &why, e)) return -1;
    }
    return 0;
}

/* The output row of input row i, with what is carried over. */
static json_t *infer_row(const Infer *in, int i) {
    static const char *const keys[] = { "id", "image", "question" };
    json_t *row = json_object();
    for (int k = 0; row && k < 3; k++) {
        json_t *value = json_object_get(in->set.rows[i].json, keys[k]);
        if (value) json_object_set(row, keys[k], value);
        else if (k == 0) json_object_set_new(row, "id", json_string(in->set.rows[i].id));
    }
    return row;
}

static int infer_done(Infer *in, FileOut *out, int bad, Error *e) {
    int dropped = in->set.drops_n, left = 0;
    for (int i = 0; i < in->set.n; i++)
        if (in->refused[i]) dropped++;
        else left++;
    if (!bad && left == 0) {
        error_what(e, "no usable row"), error_where(e, "%s", in->data), error_hint(e, "the messages above say why each was dropped");
        bad = -1;
    }
    if (!bad && in->dump && model_dump_waits(&in->vlm.model))
        bad = error_what(e, "the activation was not computed"), error_where(e, "--dump"), error_found(e, "%s", in->dump),
        error_hint(e, "no row of %s has an image?", in->data);
    if (bad) {
        file_abandon(out);
        return -1;
    }
    progress_end(&in->progress);
    progress_say(&in->progress, "%s: %d rows, %d used, %d dropped", in->data, in->set.rows_read, left, dropped);
    return file_commit(out, e);
}

/* The rows that were not refused, as one array of what to work on: prompts (moved), and their row numbers. */
static int infer_compact(const Infer *in, Prompt **prompts, uint32_t **rows, size_t *n, Error *e) {
    *prompts = mem_new((size_t)in->set.n, sizeof **prompts, "prompts", e);
    *rows = mem_new((size_t)in->set.n, sizeof **rows, "prompts", e);
    if (!*prompts || !*rows) return -1;
    *n = 0;
    for (int i = 0; i < in->set.n; i++)
        if (!in->refused[i]) {
            (*prompts)[*n] = in->prompts[i]; /* a view: in->prompts owns the ids */
            (*rows)[(*n)++] = (uint32_t)i;
        }
    return 0;
}

/* Refusals of the compacted rows, by their row in the file. */
typedef struct RowRefusals {
    Infer *in;
    const uint32_t *rows;
} RowRefusals;
static int refuse_row(void *context, size_t item, const Error *why, Error *e) {
    const RowRefusals *r = context;
    return infer_refuse(r->in, r->rows[item], why, e);
}

/* ---- generate ---- */

typedef struct Answers {
    Infer *in;
    const uint32_t *rows;
    json_t **answers; /* by row of the file */
    int n;
} Answers;

static json_t *ids_json(const IdList *ids) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < ids->count; i++) json_array_append_new(list, json_integer(ids->ids[i]));
    return list;
}

static int answers_keep(void *context, size_t prompt, Candidate *candidates, Error *e) {
    Answers *a = context;
    json_t *list = json_array();
    for (int i = 0; list && i < a->n; i++) {
        const Candidate *c = &candidates[i];
        char *text = template_answer_text(a->in->vlm.chat, c->ids.ids, c->ids.count, e);
        if (!text) {
            json_decref(list);
            return -1;
        }
        json_array_append_new(
            list, json_pack("{s:s, s:o, s:f, s:b}", "text", text, "ids", ids_json(&c->ids), "logp", c->logp, "finished", c->finished));
        free(text);
    }
    if (!list || json_array_size(list) != (size_t)a->n) {
        json_decref(list);
        return error_what(e, "out of memory"), error_where(e, "answers");
    }
    a->answers[a->rows[prompt]] = list;
    return 0;
}

int command_generate(int argc, char **argv, Error *e) {
    Infer in = INFER_DEFAULTS;
    int64_t n = 1, top_k = 0, max_new = 512, batch = SAMPLE_LEAVES, beams = 1;
    double temperature = 0, top_p = 1, penalty = 1;
    const Option table[] = { OPTIONS_INFER(in), { "n", OPTION_INT, &n, "N", "answers for each row", 0, 1, 1000, NULL },
        { "temperature", OPTION_NUMBER, &temperature, "T", "0: greedy", 0, 0, 100, NULL },
        { "top-p", OPTION_NUMBER, &top_p, "P", "1: off", 0, 1e-6, 1, NULL },
        { "top-k", OPTION_INT, &top_k, "K", "0: off", 0, 0, 1e9, NULL },
        { "repetition-penalty", OPTION_NUMBER, &penalty, "P", REPETITION_HELP, 0, 1, 100, NULL },
        { "beams", OPTION_INT, &beams, "B", BEAMS_HELP, 0, 1, BEAMS_MOST, NULL },
        { "max-new-tokens", OPTION_INT, &max_new, "M", "longest answer", 0, 1, 1e6, NULL },
        { "batch", OPTION_INT, &batch, "N", "answers that grow together; changes speed and memory, not results", 0, 1, 65536, NULL },
        { .name = NULL } };
    int got = options_parse(table, argc, argv, NULL, e);
    if (got == OPTIONS_HELP)
        return options_help(table, "generate --model DIR --data FILE --out FILE [OPTION]...",
                   "Answers each row's question about its image: {\"answers\": [{\"text\", \"ids\", \"logp\", \"finished\"}]}.", stdout),
               0;
    if (got) return 2;
    if (beams_check((int)beams, (int)n, temperature, penalty, e)) return error_where(e, "--beams"), 2;
    SampleConfig config = { .n = (int)n,
        .temperature = (float)temperature,
        .top_p = (float)top_p,
        .top_k = (int)top_k,
        .max_new_tokens = (int)max_new,
        .leaves = (int)batch,
        .seed = (uint64_t)in.common.seed,
        .repetition_penalty = (float)penalty,
        .beams = (int)beams };
    Answers a = { .in = &in, .n = (int)n };
    Prompt *prompts = NULL;
    uint32_t *rows = NULL;
    size_t count = 0;
    FileOut out = { 0 };
    int bad =
        infer_open(&in, 0, e) || infer_prompts(&in, e) || infer_compact(&in, &prompts, &rows, &count, e) || file_create(&out, in.out, e);
    if (!bad) {
        a.rows = rows;
        a.answers = mem_new((size_t)in.set.n, sizeof *a.answers, "answers", e);
        RowRefusals refused = { &in, rows };
        progress_begin(&in.progress, "generate", "answers", (int64_t)count * n, 0);
        bad = !a.answers || sample_candidates(&in.vlm, prompts, rows, count, &config, &(SampleSink){ &a, answers_keep },
                                &(Refusals){ &refused, refuse_row }, &in.progress, e);
        for (int i = 0; i < in.set.n && !bad; i++) {
            if (!a.answers[i]) continue;
            json_t *row = infer_row(&in, i);
            json_object_set(row, "answers", a.answers[i]);
            bad = jsonl_write(out.stream, row, e);
        }
        bad = infer_done(&in, &out, bad, e);
    }
    for (int i = 0; a.answers && i < in.set.n; i++) json_decref(a.answers[i]);
    free(a.answers);
    free(prompts);
    free(rows);
    infer_close(&in);
    return bad ? -1 : 0;
}

/* ---- score ---- */

static json_t *score_json(const AnswerScore *s) {
    json_t *logps = json_array();
    for (int i = 0; logps && i < s->tokens; i++) json_array_append_new(logps, json_real(s->logps[i]));
    return json_pack("{s:f, s:i, s:o}", "sum", s->sum, "tokens", s->tokens, "logps", logps);
}

/* The input row with its references in the public code's form, its image by a path that holds from anywhere. NULL when memory is out. */
static json_t *score_upstream(const Infer *in, int i, const Prompt *prompt, const AnswerScore scores[2]) {
    const DataRow *r = &in->set.rows[i];
    char *absolute = r->image ? realpath(r->image, NULL) : NULL;
    json_t *row = json_copy(r->json);
    LogpsSide sides[2];
    for (int side = 0; side < 2; side++) sides[side] = (LogpsSide){ prompt_tokens(&in->vlm, prompt), scores[side].tokens, scores[side].logps, NULL };
    int bad = !row || (absolute && json_object_set_new(row, "image", json_string(absolute))) || json_object_set_new(row, "logps", logps_text(sides));
    free(absolute);
    if (!bad) return row;
    json_decref(row);
    return NULL;
}

int command_score(int argc, char **argv, Error *e) {
    Infer in = INFER_DEFAULTS;
    in.rows = SCORE_ROWS;
    static const char *const forms[] = { "own", "upstream", NULL };
    int upstream = 0;
    const Option table[] = { OPTIONS_INFER(in),
        { "logps", OPTION_CHOICE, &upstream, "FORM", "upstream: the input's rows with a column `logps`, as RLAIF-V's code caches its references", 0, 0, 0, forms },
        { "batch", OPTION_INT, &in.rows, "ROWS", "token rows of one step; changes speed and memory, not results", 0, 1, 1e7, NULL },
        { .name = NULL } };
    int got = options_parse(table, argc, argv, NULL, e);
    if (got == OPTIONS_HELP)
        return options_help(table, "score --model DIR --data FILE --out FILE [OPTION]...",
                   "Log-probs of each row's chosen and rejected answers: {\"chosen\": {\"sum\", \"tokens\", \"logps\"}, \"rejected\": "
                   "{...}}.",
                   stdout),
               0;
    if (got) return 2;
    Prompt *prompts = NULL;
    uint32_t *rows = NULL;
    size_t count = 0;
    FileOut out = { 0 };
    IdList *answers = NULL;
    ScoreItem *items = NULL;
    AnswerScore *scores = NULL;
    int bad = infer_open(&in, DATA_PAIR, e) || infer_prompts(&in, e) || infer_compact(&in, &prompts, &rows, &count, e) ||
              file_create(&out, in.out, e);
    if (!bad) {
        answers = mem_new(2 * count + 1, sizeof *answers, "answers", e);
        items = mem_new(count + 1, sizeof *items, "answers", e);
        bad = !answers || !items;
        for (size_t i = 0; i < count && !bad; i++) {
            const DataRow *r = &in.set.rows[rows[i]];
            items[i] = (ScoreItem){ &prompts[i], &answers[2 * i], 2 };
            bad = template_answer(in.vlm.chat, r->chosen, 1, &answers[2 * i], e) ||
                  template_answer(in.vlm.chat, r->rejected, 1, &answers[2 * i + 1], e);
        }
        RowRefusals refused = { &in, rows };
        progress_begin(&in.progress, "score", "pairs", (int64_t)count, 0);
        if (!bad) bad = score_answers(&in.vlm, items, count, (int)in.rows, &scores, &(Refusals){ &refused, refuse_row }, &in.progress, e);
        for (size_t i = 0; i < count && !bad; i++) {
            if (!scores[2 * i].logps) continue;
            json_t *row = upstream ? score_upstream(&in, (int)rows[i], &prompts[i], &scores[2 * i]) : infer_row(&in, (int)rows[i]);
            if (!upstream) {
                json_object_set_new(row, "chosen", score_json(&scores[2 * i]));
                json_object_set_new(row, "rejected", score_json(&scores[2 * i + 1]));
            }
            bad = row ? jsonl_write(out.stream, row, e) : (error_what(e, "out of memory"), error_where(e, "%s", in.out));
        }
        bad = infer_done(&in, &out, bad, e);
    }
    scores_free(scores, 2 * count);
    for (size_t i = 0; answers && i < 2 * count; i++) idlist_free(&answers[i]);
    free(answers);
    free(items);
    free(prompts);
    free(rows);
    infer_close(&in);
    return bad ? -1 : 0;
}

/* ---- probe ---- */

int command_probe(int argc, char **argv, Error *e) {
    Infer in = INFER_DEFAULTS;
    in.rows = LABEL_ROWS;
    const Option table[] = { OPTIONS_INFER(in),
        { "batch", OPTION_INT, &in.rows, "ROWS", "token rows of one step; changes speed and memory, not results", 0, 1, 1e7, NULL },
        { .name = NULL } };
    int got = options_parse(table, argc, argv, NULL, e);
    if (got == OPTIONS_HELP)
        return options_help(table, "probe --model DIR --data FILE --out FILE [OPTION]...",
                   "Probabilities of the first answer token: {\"yes\", \"Yes\", \"no\", \"No\", \"p_yes\", \"p_no\"}. Questions are taken "
                   "as they are.",
                   stdout),
               0;
    if (got) return 2;
    Prompt *prompts = NULL;
    uint32_t *rows = NULL;
    size_t count = 0;
    int words[PROBE_WORDS];
    FileOut out = { 0 };
    ProbeResult *results = NULL;
    int bad = infer_open(&in, 0, e) || probe_word_ids(&in.vlm, words, e) || infer_prompts(&in, e) ||
              infer_compact(&in, &prompts, &rows, &count, e) || file_create(&out, in.out, e);
    if (!bad) {
        results = mem_new(count + 1, sizeof *results, "probe results", e);
        RowRefusals refused = { &in, rows };
        progress_begin(&in.progress, "probe", "probes", (int64_t)count, 0);
        bad = !results ||
              label_probes(&in.vlm, words, prompts, count, (int)in.rows, results, &(Refusals){ &refused, refuse_row }, &in.progress, e);
        for (size_t i = 0; i < count && !bad; i++) {
            if (results[i].refused) continue;
            json_t *row = infer_row(&in, (int)rows[i]);
            for (int w = 0; w < PROBE_WORDS; w++) json_object_set_new(row, probe_words[w], json_real(results[i].p[w]));
            json_object_set_new(row, "p_yes", json_real(results[i].p_yes));
            json_object_set_new(row, "p_no", json_real(results[i].p_no));
            bad = jsonl_write(out.stream, row, e);
        }
        bad = infer_done(&in, &out, bad, e);
    }
    free(results);
    free(prompts);
    free(rows);
    infer_close(&in);
    return bad ? -1 : 0;
}

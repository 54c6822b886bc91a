/* scenes.c - writes the built-in world to disk and serves it to training.
 *
 * Owns the mix of turns per scene and the rows of its files. Files appear whole or not at all; pictures are written before the rows that
 * name them. Refuses mixes and counts out of range. */
#include "engine/scenes/scenes.h"

#include "base/file.h"
#include "base/json.h"
#include "engine/claims.h"
#include "model/image.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int mix_check(const ScenesMix *m, Error *e) {
    if (m->captions < 0 || m->yes_no < 0 || m->open < 0 || (int64_t)m->captions + m->yes_no + m->open > SCENES_TURNS_MOST)
        return error_what(e, "wrong mix of training turns"),
               error_found(e, "%d captions, %d yes/no, %d open questions per scene", m->captions, m->yes_no, m->open),
               error_expected(e, "none negative, together at most %d", SCENES_TURNS_MOST);
    return 0;
}

int scenes_sft_example(uint64_t seed, uint64_t index, const ScenesMix *mix, ScenesExample *out, Error *e) {
    if (mix_check(mix, e)) return -1;
    scene_make(seed, index, &out->scene, out->rgb);
    Rng rng = scene_rng(seed, index, SCENE_FOR_TURNS);
    out->count = mix->captions + mix->yes_no + mix->open;
    for (int i = 0; i < out->count; i++) {
        ScenesTurn *turn = &out->turns[i];
        if (i < mix->captions) {
            SceneCaption caption;
            snprintf(turn->question, sizeof turn->question, "%s", instruction_draw(&rng));
            caption_draw(&out->scene, &mix->noise, mix->forms, &rng, &caption);
            caption_write(&caption, turn->answer);
            turn->weight = 1;
            continue;
        }
        turn->weight = mix->short_weight;
        char question[SENTENCE_TEXT], word[ANSWER_WORD];
        if (i < mix->captions + mix->yes_no) {
            SceneFact fact;
            int truth = question_draw(&out->scene, &rng, &fact);
            fact_question(&fact, question);
            snprintf(turn->question, sizeof turn->question, "%s%s", question, claim_probe_ending);
            snprintf(turn->answer, sizeof turn->answer, "%s", truth ? "Yes" : "No");
        } else {
            open_question_draw(&out->scene, &rng, question, word);
            snprintf(turn->question, sizeof turn->question, "%s", question);
            snprintf(turn->answer, sizeof turn->answer, "%s", word);
        }
    }
    return 0;
}

const char *scenes_prompt(uint64_t seed, uint64_t index) {
    Rng rng = scene_rng(seed, index, SCENE_FOR_PROMPT);
    return instruction_draw(&rng);
}

/* Pictures wait for the disk more than for the processor: this many are drawn and written at a time, by all threads. */
enum { SCENES_AT_ONCE = 64 };

static void image_name(char out[64], uint64_t index) { snprintf(out, 64, "images/%06" PRIu64 ".png", index); }

static int scene_picture(const ScenesOutput *o, uint64_t index, ScenesExample *x, Error *e) {
    char image[64], path[PATH_SIZE];
    image_name(image, index);
    Image picture = { .width = SCENE_SIDE, .height = SCENE_SIDE, .rgb = x->rgb };
    return scenes_sft_example(o->seed, index, &o->mix, x, e) || path_join(path, o->folder, image, e) || image_write_png(path, &picture, e)
               ? -1
               : 0;
}

static int scene_rows(const ScenesOutput *o, uint64_t index, const ScenesExample *x, FILE *prompts, FILE *sft, Error *e) {
    char id[64], image[64];
    snprintf(id, sizeof id, "s%" PRIu64 "-%06" PRIu64, o->seed, index);
    image_name(image, index);
    if (jsonl_write(prompts,
            json_pack("{s:s, s:s, s:s, s:o}", "id", id, "image", image, "question", scenes_prompt(o->seed, index), "truth",
                scene_to_json(&x->scene)),
            e))
        return -1;
    for (int i = 0; i < x->count; i++)
        if (jsonl_write(sft,
                json_pack("{s:s, s:s, s:s, s:s, s:f}", "id", id, "image", image, "question", x->turns[i].question, "answer",
                    x->turns[i].answer, "weight", x->turns[i].weight),
                e))
            return -1;
    return 0;
}

/* Scenes first .. first + n - 1 of the output; of several failures the first in order is kept. */
static int scenes_block(const ScenesOutput *o, int first, int n, ScenesExample *x, FILE *prompts, FILE *sft, Error *e) {
    uint64_t from = o->first + (uint64_t)first;
    int failed = n;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < n; i++) {
        Error own = { 0 };
        if (!scene_picture(o, from + (uint64_t)i, &x[i], &own)) continue;
#pragma omp critical
        if (i < failed) failed = i, *e = own;
    }
    if (failed < n) return -1;
    for (int i = 0; i < n; i++)
        if (scene_rows(o, from + (uint64_t)i, &x[i], prompts, sft, e)) return -1;
    return 0;
}

int scenes_write(const ScenesOutput *o, Error *e) {
    if (mix_check(&o->mix, e)) return -1;
    if (o->count < 1 || o->count > SCENES_COUNT_MOST)
        return error_what(e, "wrong number of scenes"), error_found(e, "%d", o->count), error_expected(e, "1 to %d", SCENES_COUNT_MOST);
    char path[PATH_SIZE];
    int turns = o->mix.captions + o->mix.yes_no + o->mix.open > 0, failed = -1;
    if (path_join(path, o->folder, "images", e) || folder_make(path, e)) return -1;
    ScenesExample *x = mem_new(SCENES_AT_ONCE, sizeof *x, "scenes", e);
    if (!x) return -1;
    FileOut prompts = { 0 }, sft = { 0 };
    if (path_join(path, o->folder, "prompts.jsonl", e) || file_create(&prompts, path, e)) goto end;
    if (turns && (path_join(path, o->folder, "sft.jsonl", e) || file_create(&sft, path, e))) goto end;
    for (int i = 0; i < o->count; i += SCENES_AT_ONCE) {
        int n = o->count - i < SCENES_AT_ONCE ? o->count - i : SCENES_AT_ONCE;
        if (scenes_block(o, i, n, x, prompts.stream, sft.stream, e)) goto end;
        if (o->progress) o->progress(o->context, i + n);
    }
    failed = (turns && file_commit(&sft, e)) || file_commit(&prompts, e) ? -1 : 0;
end:
    if (failed) {
        if (sft.stream) file_abandon(&sft);
        if (prompts.stream) file_abandon(&prompts);
    }
    free(x);
    return failed;
}

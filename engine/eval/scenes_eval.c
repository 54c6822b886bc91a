/* scenes_eval.c - joins answers with the scenes they are about; what is counted is truth.c's. */
#include "engine/eval/scenes_eval.h"

#include <stdlib.h>
#include <string.h>

void scenes_truth_free(ScenesTruth *t) {
    json_decref(t->index);
    free(t->scenes);
    memset(t, 0, sizeof *t);
}

int scenes_truth_read(const Dataset *data, ScenesTruth *out, Error *e) {
    memset(out, 0, sizeof *out);
    out->index = json_object();
    out->scenes = mem_new((size_t)data->n, sizeof *out->scenes, "scenes", e);
    int bad = !out->index || !out->scenes ? error_what(e, "out of memory") : 0;
    for (int i = 0; i < data->n && !bad; i++) {
        const DataRow *r = &data->rows[i];
        const json_t *truth = json_object_get(r->json, "truth");
        char where[PATH_SIZE + 16];
        snprintf(where, sizeof where, "%s:%d", data->path, r->line);
        if (!truth) {
            bad = error_what(e, "row has no truth"), error_where(e, "%s", where), error_expected(e, "rows as `rlaifv scenes` writes them");
            error_hint(e, "other data is evaluated with eval.kind = labeler");
        } else if ((bad = scene_from_json(truth, where, &out->scenes[i], e)) == 0 &&
                   json_object_set_new(out->index, r->id, json_integer(i)))
            bad = error_what(e, "out of memory"), error_where(e, "%s", where);
    }
    if (bad) scenes_truth_free(out);
    return bad ? -1 : 0;
}

const Scene *scenes_truth_find(const ScenesTruth *t, const char *id) {
    const json_t *place = json_object_get(t->index, id);
    return place ? &t->scenes[json_integer_value(place)] : NULL;
}

int scenes_eval(const ScenesTruth *truth, const char *candidates, TruthTally *out, Error *e) {
    JsonLines lines;
    json_t *row;
    int got;
    memset(out, 0, sizeof *out);
    if (jsonl_open(&lines, candidates, e)) return -1;
    while ((got = jsonl_next(&lines, &row, e)) > 0) {
        const char *id, *text;
        int bad = json_need_string(row, "id", lines.where, &id, e) || json_need_string(row, "text", lines.where, &text, e);
        const Scene *scene = bad ? NULL : scenes_truth_find(truth, id);
        if (scene) {
            TruthAnswer answer;
            truth_answer(scene, text, &answer);
            truth_add(out, scene, &answer);
        } else if (!bad)
            bad = error_what(e, "answer to an unknown prompt"), error_where(e, "%s", lines.where), error_found(e, "id %.200s", id),
            error_expected(e, "an id of the evaluation data"), error_hint(e, "remove the answers so that they are made again");
        json_decref(row);
        if (bad) {
            got = -1;
            break;
        }
    }
    jsonl_close(&lines);
    if (got < 0) return -1;
    return out->answers ? 0 : (error_what(e, "no answers to evaluate"), error_where(e, "%s", candidates));
}

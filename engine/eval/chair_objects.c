/* chair_objects.c - owns the way from an answer by a model's list of objects to COCO's classes. What is listed goes the way of words
 * (chair_words.c), each name for itself; the original takes the noun phrases of spaCy there. */
#include "engine/eval/chair.h"
#include "engine/eval/judged.h"
#include "engine/eval/verdicts.h"
#include "engine/prompt_text.h"

#include <stdlib.h>
#include <string.h>

extern const char data_prompts_objects_txt[];

/* The names as one text in which none reaches into the next, found among the classes; then each word once. NULL with the Error filled. */
static json_t *names_find(ChairWords *w, const json_t *names, Error *e) {
    size_t i, size = 0;
    const json_t *name;
    char *text = NULL;
    FILE *to = open_memstream(&text, &size);
    json_t *all = NULL, *pair, *seen = json_object(), *once = json_array();
    json_array_foreach(names, i, name) if (to) fprintf(to, "%s ; ", json_string_value(name));
    int bad = !seen || !once || !to || fclose(to) ? error_what(e, "out of memory") : 0;
    if (!bad) bad = !(all = chair_words_find(w, text, e));
    json_array_foreach(all, i, pair) {
        const char *word = json_string_value(json_array_get(pair, 0));
        if (!bad && !json_object_get(seen, word) && (json_object_set_new(seen, word, json_true()) || json_array_append(once, pair)))
            bad = error_what(e, "out of memory");
    }
    free(text);
    json_decref(all);
    json_decref(seen);
    if (!bad) return once;
    json_decref(once);
    return NULL;
}

static int reply_find(ChairWords *w, const char *reply, json_t **found, Error *e) {
    int unread;
    json_t *names = objects_read(reply, &unread, e);
    if (!names) return -1;
    if (!unread) *found = names_find(w, names, e);
    json_decref(names);
    return unread || *found ? 0 : -1;
}

static int texts_ask(ChairWords *w, TextJudge *judge, const char *prompt, const char *const *ids, const char *const *texts, size_t n,
    json_t **found, Error *e) {
    Ask *asks = mem_new(n, sizeof *asks, "requests", e);
    size_t *places = mem_new(n, sizeof *places, "requests", e), asked = 0;
    int bad = !asks || !places;
    for (size_t i = 0; i < n && !bad; i++) {
        if (chair_pieces(texts[i]) <= CHAIR_PIECES_FEW) {
            bad = (found[i] = json_array()) ? 0 : error_what(e, "out of memory");
            continue;
        }
        asks[asked] =
            (Ask){ .text = prompt_text_fill(prompt, &(PromptPlace){ "{answer}", texts[i] }, 1, e), .id = ids[i], .step = "objects" };
        places[asked] = i;
        bad = !asks[asked++].text;
    }
    bad = bad || text_judge_ask(judge, asks, asked, e);
    for (size_t k = 0; k < asked && !bad; k++) bad = reply_find(w, asks[k].reply, &found[places[k]], e);
    asks_free(asks, n);
    free(places);
    return bad;
}

int chair_objects_find(ChairWords *w, const JudgeSettings *extractor, const char *path, const char *out, const char *const *ids,
    const char *const *texts, size_t n, json_t **found, EvalResult *r, Error *e) {
    char *prompt = NULL;
    TextJudge judge;
    int bad = prompt_text_load(&prompt, path, data_prompts_objects_txt, e) ||
              prompt_text_check(prompt, "lists of objects", path ? path : "configs/prompts/objects.txt", "{answer}", NULL, e) ||
              text_judge_open(&judge, extractor, out, e);
    if (!bad) {
        bad = texts_ask(w, &judge, prompt, ids, texts, n, found, e) ||
              judged_by(r, "extractor", &judge, (const char *const[]){ prompt }, (const char *const[]){ path }, 1, 1, e);
        text_judge_close(&judge);
    }
    free(prompt);
    if (bad)
        for (size_t i = 0; i < n; i++) json_decref(found[i]), found[i] = NULL;
    return bad ? -1 : 0;
}

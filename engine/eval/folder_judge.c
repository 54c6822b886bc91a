/* folder_judge.c - owns a checkpoint of this machine that is asked, read once however often it is: texts without an image, the beginning
 * that all share held once. */
#include "engine/eval/text_judge.h"

#include "engine/sample.h"

#include <stdlib.h>
#include <string.h>

struct FolderJudge {
    const JudgeSettings *settings;
    Vlm vlm;
};

typedef struct Asking {
    Vlm *vlm;
    Prompt *prompts;
    JudgeReply *take;
    void *context;
} Asking;

static int reply_take(void *context, size_t prompt, Candidate *candidates, Error *e) {
    Asking *a = context;
    char *text = template_answer_text(a->vlm->chat, candidates->ids.ids, candidates->ids.count, e);
    int bad = !text || a->take(a->context, prompt, text, candidates->finished, e);
    free(text);
    return bad ? -1 : 0;
}

/* What all prompts begin with; no prompt is all of it. */
static size_t shared_head(const Prompt *prompts, size_t n) {
    size_t head = prompts[0].tail.count - 1;
    for (size_t i = 1; i < n; i++) {
        size_t k = 0;
        while (k < head && k + 1 < prompts[i].tail.count && prompts[i].tail.ids[k] == prompts[0].tail.ids[k]) k++;
        head = k;
    }
    return head;
}

static int prompts_make(Asking *a, const char *const *texts, const char *const *names, size_t n, Error *e) {
    for (size_t i = 0; i < n; i++) {
        if (!vlm_prompt(a->vlm, NULL, texts[i], &a->prompts[i], e)) continue;
        if (e) {
            char where[sizeof e->where];
            snprintf(where, sizeof where, "%s", e->where);
            error_where(e, "the judge's prompt for question %.100s%s%.300s", names[i], *where ? ": " : "", where);
        }
        return error_hint(e, "a judge with more positions, or a shorter --prompt");
    }
    return 0;
}

static int asking_run(Asking *a, const JudgeSettings *s, const uint32_t *draws, size_t n, Error *e) {
    IdList head = { .ids = a->prompts[0].tail.ids, .count = shared_head(a->prompts, n) };
    SampleConfig config = { .n = 1,
        .temperature = (float)s->temperature,
        .top_p = 1,
        .max_new_tokens = (int)s->max_tokens,
        .leaves = (int)s->batch,
        .seed = (uint64_t)s->seed,
        .head = head.count ? &head : NULL };
    return sample_candidates(a->vlm, a->prompts, draws, n, &config, &(SampleSink){ a, reply_take }, NULL, NULL, e);
}

FolderJudge *folder_judge_open(const JudgeSettings *s, Progress *progress, Error *e) {
    char line[600];
    FolderJudge *f = mem_new(1, sizeof *f, "judge", e);
    if (!f) return NULL;
    f->settings = s;
    const Kernels *k = kernels_open(s->device, (int)s->threads, e);
    if (!k || vlm_open(&f->vlm, k, s->folder, (DType)s->dtype, s->chat, IMAGE_PAD, e)) return free(f), NULL;
    progress_say(progress, "%s", vlm_chat_text(&f->vlm, line, sizeof line));
    return f;
}

void folder_judge_close(FolderJudge *f) {
    if (!f) return;
    vlm_close(&f->vlm);
    free(f);
}

int folder_judge_ask(FolderJudge *f, const char *const *texts, const char *const *names, const uint32_t *draws, size_t n, JudgeReply *take,
    void *context, Error *e) {
    Asking a = { .vlm = &f->vlm, .take = take, .context = context };
    a.prompts = mem_new(n, sizeof *a.prompts, "prompts", e);
    int bad = !a.prompts || prompts_make(&a, texts, names, n, e) || asking_run(&a, f->settings, draws, n, e);
    if (a.prompts) prompts_free(a.prompts, n);
    return bad ? -1 : 0;
}

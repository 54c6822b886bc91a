/* label.h - yes/no probes: what a labeler says to questions about an image, from one forward pass and no generated token.
 *
 * A probe's row is the last of its prompt; its probabilities are a softmax over the whole vocabulary at the first answer token, read at the
 * last ids of "yes", "Yes", "no" and "No" encoded as answers (PAPER 3.5). Probes of an image hang from one image trunk, equal probes are
 * asked once, and a step takes the probes of many images. */
#ifndef RLAIFV_ENGINE_LABEL_H
#define RLAIFV_ENGINE_LABEL_H

#include "engine/progress.h"
#include "engine/vlm.h"

enum { LABEL_ROWS = 2048 }; /* rows of a step unless the caller says otherwise */

enum { WORD_LOWER_YES, WORD_YES, WORD_LOWER_NO, WORD_NO, PROBE_WORDS };
extern const char *const probe_words[PROBE_WORDS]; /* "yes", "Yes", "no", "No" */

/* The ids that stand for the words. Refuses a tokenizer that ends a yes and a no in the same id: its probes would say nothing. */
int probe_word_ids(const Vlm *v, int ids[PROBE_WORDS], Error *e);

typedef struct ProbeResult {
    float p[PROBE_WORDS];
    double p_yes, p_no; /* both spellings together */
    int accepted;       /* p_yes > p_no: a tie is a rejection */
    int refused;        /* the image could not be read: the rest is 0 */
} ProbeResult;

/* Asks n probes (prompts whose tail ends where the answer begins). A step is closed once it has `rows` rows (0: LABEL_ROWS). progress
 * counts probes. */
int label_probes(Vlm *v, const int ids[PROBE_WORDS], const Prompt *probes, size_t n, int rows, ProbeResult *out, const Refusals *refusals,
    Progress *progress, Error *e);

/* The size of the largest step for `probes` probes of `all` tokens together, the longest of `longest`, over `images` images. */
StepSize label_step_size(const ModelConfig *c, int rows, int64_t longest, int64_t all, int64_t probes, int64_t images);

#endif

/* logps.h - reference log-probs as RLAIF-V's public code keeps them beside a pair (PAPER 4.2): the column `logps`, a text that holds
 *
 *     {"logps": [chosen_sum, chosen_mean, [chosen_token, ...], rejected_sum, rejected_mean, [rejected_token, ...]]}
 *
 * or, as older files have it, the list alone. A list of tokens has one number for each position of prompt and answer, image rows included,
 * but the first; the answer's are its last. What the public code keeps at positions of the prompt means nothing (log-probs of token 0), and
 * here is 0. */
#ifndef RLAIFV_ENGINE_LOGPS_H
#define RLAIFV_ENGINE_LOGPS_H

#include "base/json.h"

typedef struct LogpsSide {
    int prompt, tokens;   /* positions before the answer, image rows included; of the answer, its end included */
    const float *logps;   /* (tokens); for logps_text alone */
    const float *weights; /* (tokens), what each counts in the sum, or NULL for ones; for logps_read alone */
} LogpsSide;

/* The column of a pair, sides chosen and rejected. New reference, or NULL when memory is out. */
json_t *logps_text(const LogpsSide sides[2]);
/* Reads the column of `row`: the sides' (weighted) sums. Refuses a row without it, one whose numbers of tokens are not those of the sides
 * (another tokenizer, template or image size made it), and numbers that contradict themselves. */
int logps_read(const json_t *row, const char *where, const LogpsSide sides[2], double sums[2], Error *e);

#endif

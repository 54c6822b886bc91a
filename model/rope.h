/* rope.h - how a decoder's rotary embedding is scaled for texts longer than those it was first trained on; private to the model room. */
#ifndef RLAIFV_MODEL_ROPE_H
#define RLAIFV_MODEL_ROPE_H

#include "base/json.h"
#include "model/config.h"

/* Reads theta and scaling from `key` of a config ("rope_scaling" or "rope_parameters"), an object or absent. What is absent stays as it is.
 */
int rope_read(const json_t *config, const char *key, const char *where, DecoderConfig *d, Error *e);
/* The frequencies of the head_size / 2 pairs, at most ROPE_HEAD_MOST / 2. */
void rope_scaled_frequencies(const DecoderConfig *d, float *out);
/* "" or ", scaled: ..." for people. */
const char *rope_text(const RopeScaling *s, char *out, size_t size);

#endif

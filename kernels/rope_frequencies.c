/* rope_frequencies.c - owns the plain frequencies of the rotary position embedding (Su et al. 2021), which all devices get from their
 * caller.
 *
 * In fp32 and in this order, as Llama's code in Transformers: an error of one unit in the last place would turn late positions visibly. */
#include "kernels/kernels.h"

#include <math.h>

void rope_frequencies(float *out, int E, float theta) {
    for (int i = 0; i < E / 2; i++) out[i] = 1.0f / powf(theta, (float)(2 * i) / (float)E);
}

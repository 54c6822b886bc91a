/* rope.c - owns the scaled forms of the rotary embedding: what a config says of them, and the frequencies they make.
 *
 * Linear: every frequency is divided by the factor (Chen et al. 2023, arXiv 2306.15595). llama3 (Grattafiori et al. 2024, arXiv 2407.21783,
 * as in Transformers): by wavelength, in parts of the context that was trained first: pairs that turn often in it stay as they are, those
 * that turn seldom are divided, between the two bounds it goes over from one to the other. fp32, in the order of Transformers' code.
 * Refuses every other form (dynamic, yarn, longrope: they depend on the length of a text or scale attention too), partial rotation, and
 * factors that make no sense. */
#include "model/rope.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    RopeKind kind;
} kinds[] = { { "default", ROPE_PLAIN }, { "linear", ROPE_LINEAR }, { "llama3", ROPE_LLAMA3 } };
enum { KINDS = sizeof kinds / sizeof *kinds };

static int need_factor(const json_t *o, const char *key, const char *where, double least, double most, float *out, Error *e) {
    double value;
    if (json_need_number(o, key, where, &value, e)) return -1;
    if (!(value >= least && value <= most))
        return error_what(e, "out of range"), error_where(e, "%s: field \"%s\"", where, key), error_found(e, "%g", value),
               error_expected(e, "from %g to %g", least, most);
    *out = (float)value;
    return 0;
}

/* positions: max_position_embeddings, which stands for the original ones where they are not said. */
static int read_scaling(const json_t *o, const char *where, const char *type, int positions, RopeScaling *s, Error *e) {
    enum { FACTOR_MOST = 1 << 16 };
    int64_t original = positions;
    *s = (RopeScaling){ 0 };
    for (int i = 0; i < KINDS; i++)
        if (!strcmp(type, kinds[i].name)) s->kind = kinds[i].kind;
    if (s->kind == ROPE_PLAIN && strcmp(type, "default"))
        return error_what(e, "unsupported rotary embedding"), error_where(e, "%s", where), error_found(e, "type \"%.100s\"", type),
               error_expected(e, "default, linear or llama3"), error_hint(e, "other scaled forms are not computed by this engine");
    if (s->kind == ROPE_PLAIN) return 0;
    if (need_factor(o, "factor", where, 1, FACTOR_MOST, &s->factor, e)) return -1;
    if (s->kind == ROPE_LINEAR) return 0;
    if (need_factor(o, "low_freq_factor", where, 1e-6, FACTOR_MOST, &s->low, e) ||
        need_factor(o, "high_freq_factor", where, 1e-6, FACTOR_MOST, &s->high, e) ||
        json_may_integer(o, "original_max_position_embeddings", where, 1, 1 << 24, &original, e))
        return -1;
    s->original = (int)original;
    if (s->low < s->high) return 0;
    return error_what(e, "out of range"), error_where(e, "%s", where),
           error_found(e, "low_freq_factor %g, high_freq_factor %g", (double)s->low, (double)s->high),
           error_expected(e, "the first below the second");
}

int rope_read(const json_t *config, const char *key, const char *where, DecoderConfig *d, Error *e) {
    const json_t *o = json_object_get(config, key);
    if (!o || json_is_null(o)) return 0;
    if (!json_is_object(o))
        return error_what(e, "wrong type"), error_where(e, "%s: field \"%s\"", where, key), error_found(e, "%s", json_kind(o)),
               error_expected(e, "an object or null");
    char place[PATH_SIZE + 64];
    snprintf(place, sizeof place, "%s: %s", where, key);
    const char *type = NULL;
    double partial = 1, theta = (double)d->rope_theta;
    if (json_may_string(o, "type", place, &type, e) || json_may_string(o, "rope_type", place, &type, e) ||
        json_may_number(o, "partial_rotary_factor", place, &partial, e) || json_may_number(o, "rope_theta", place, &theta, e))
        return -1;
    d->rope_theta = (float)theta;
    if (partial != 1)
        return error_what(e, "unsupported rotary embedding"), error_where(e, "%s", place),
               error_found(e, "partial_rotary_factor %g", partial), error_expected(e, "1");
    return type ? read_scaling(o, place, type, d->positions, &d->rope, e) : 0;
}

void rope_scaled_frequencies(const DecoderConfig *d, float *out) {
    const RopeScaling *s = &d->rope;
    rope_frequencies(out, d->head_size, d->rope_theta);
    if (s->kind == ROPE_PLAIN) return;
    float original = (float)s->original, longest = original / s->low, shortest = original / s->high;
    for (int i = 0; i < d->head_size / 2; i++) {
        float plain = out[i], length = (float)(2 * M_PI) / plain;
        if (s->kind == ROPE_LINEAR || length > longest) out[i] = plain / s->factor;
        else if (length >= shortest) {
            float smooth = (original / length - s->low) / (s->high - s->low);
            out[i] = (1 - smooth) * plain / s->factor + smooth * plain;
        }
    }
}

const char *rope_text(const RopeScaling *s, char *out, size_t size) {
    out[0] = 0;
    if (s->kind == ROPE_LINEAR) snprintf(out, size, ", scaled linearly by %g", (double)s->factor);
    if (s->kind == ROPE_LLAMA3)
        snprintf(out, size, ", scaled as llama3 by %g from %d positions (bounds %g and %g)", (double)s->factor, s->original, (double)s->low,
            (double)s->high);
    return out;
}

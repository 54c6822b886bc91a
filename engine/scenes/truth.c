/* truth.c - judges answers about scenes and adds the judgements up. Owns the definitions of the Scenes metrics. Never fails. */
#include "engine/scenes/truth.h"

#include "base/json.h"

#include <stddef.h>
#include <string.h>

static int text_repeated(const char *answer, const char *text, size_t size) {
    const char *earlier;
    size_t n;
    while (sentence_next(&answer, &earlier, &n) && earlier < text)
        if (n == size && !memcmp(earlier, text, size)) return 1;
    return 0;
}

/* The kinds whose words stand in a text, as bits, whatever the rest says. */
static unsigned kinds_spelled(const char *text, size_t size) {
    unsigned kinds = 0;
    for (const char *p = text, *end = text + size; p < end;) {
        size_t n = 0;
        while (p + n < end && p[n] >= 'a' && p[n] <= 'z') n++;
        for (int k = 0; n && k < SCENE_KINDS; k++)
            if (strlen(scene_kinds[k]) == n && !memcmp(scene_kinds[k], p, n)) kinds |= 1u << k;
        p += n ? n : 1;
    }
    return kinds;
}

static int words_count(const char *text) {
    int words = 0, inside = 0;
    for (; *text; text++) {
        int space = *text == ' ' || *text == '\n' || *text == '\t' || *text == '\r';
        words += !space && !inside;
        inside = !space;
    }
    return words;
}

int truth_bits(unsigned kinds) {
    int n = 0;
    for (; kinds; kinds &= kinds - 1) n++;
    return n;
}

static unsigned scene_kind_bits(const Scene *s) {
    unsigned kinds = 0;
    for (int i = 0; i < s->count; i++) kinds |= 1u << s->objects[i].kind;
    return kinds;
}

void truth_answer(const Scene *s, const char *answer, TruthAnswer *out) {
    *out = (TruthAnswer){ .words = words_count(answer) };
    unsigned present = scene_kind_bits(s);
    const char *cursor = answer, *text;
    size_t size;
    while (sentence_next(&cursor, &text, &size)) {
        out->sentences++;
        if (text_repeated(answer, text, size)) {
            out->repeated++;
            continue;
        }
        SceneSentence sentence;
        unsigned kinds = 0;
        if (sentence_parse(text, size, &sentence)) {
            SceneFact facts[SENTENCE_FACTS_MOST];
            int n = sentence_facts(&sentence, facts);
            out->claims += n;
            for (int i = 0; i < n; i++) out->false_claims += !fact_holds(&facts[i], s);
            if (sentence_is_object(&sentence)) kinds = 1u << sentence.kind;
            out->covered |= kinds & present;
        } else {
            out->malformed++, out->claims++, out->false_claims++;
            kinds = kinds_spelled(text, size);
        }
        out->named |= kinds;
        out->mentions += truth_bits(kinds), out->absent_mentions += truth_bits(kinds & ~present);
    }
}

unsigned truth_kinds(const char *answer) {
    unsigned kinds = 0;
    const char *text;
    size_t size;
    SceneSentence sentence;
    while (sentence_next(&answer, &text, &size))
        if (sentence_parse(text, size, &sentence) && sentence_is_object(&sentence)) kinds |= 1u << sentence.kind;
    return kinds;
}

void truth_add(TruthTally *t, const Scene *s, const TruthAnswer *a) {
    t->answers++, t->answers_naming += a->named != 0, t->answers_absent += a->absent_mentions > 0, t->answers_false += a->false_claims > 0;
    t->words += a->words, t->sentences += a->sentences, t->malformed += a->malformed, t->repeated += a->repeated;
    t->claims += a->claims, t->false_claims += a->false_claims, t->mentions += a->mentions, t->absent_mentions += a->absent_mentions;
    t->present += s->count, t->covered += truth_bits(a->covered), t->distinct += truth_bits(a->named);
}

static double share(long part, long whole) { return whole ? (double)part / (double)whole : 0; }

TruthRates truth_rates(const TruthTally *t) {
    return (TruthRates){
        .object_responses = share(t->answers_absent, t->answers_naming),
        .object_mentions = share(t->absent_mentions, t->mentions),
        .any_false = share(t->answers_false, t->answers),
        .false_claims = share(t->false_claims, t->claims),
        .coverage = share(t->covered, t->present),
        .malformed = share(t->malformed, t->sentences),
        .repeated = share(t->repeated, t->sentences),
        .words = share(t->words, t->answers),
        .claims = share(t->claims, t->answers),
        .distinct = share(t->distinct, t->answers),
    };
}

/* What a rate is called in files. */
#define RATE(FIELD) { #FIELD, offsetof(TruthRates, FIELD) }
static const struct {
    const char *name;
    size_t at;
} rates[] = { RATE(object_responses), RATE(object_mentions), RATE(any_false), RATE(false_claims), RATE(coverage), RATE(malformed),
    RATE(repeated), RATE(words), RATE(claims), RATE(distinct) };
enum { RATES = sizeof rates / sizeof *rates };

json_t *truth_rates_to_json(const TruthRates *r) {
    json_t *object = json_object();
    for (int i = 0; object && i < RATES; i++)
        if (json_object_set_new(object, rates[i].name, json_real(*(const double *)((const char *)r + rates[i].at)))) {
            json_decref(object);
            object = NULL;
        }
    return object;
}

int truth_rates_from_json(const json_t *object, const char *where, TruthRates *out, Error *e) {
    for (int i = 0; i < RATES; i++)
        if (json_need_number(object, rates[i].name, where, (double *)((char *)out + rates[i].at), e)) return -1;
    return 0;
}

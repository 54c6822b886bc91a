/* compat.c - owns the list of upstream's ways. */
#include "engine/compat.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *key, *value, *why;
} ways[] = {
    { "sample.top_k", "50", "a default of its library that nobody chose (3.2)" },
    { "train.pairs_aspect", "crop", "training is given the centre of a picture, sampling all of it (2)" },
    { "pair.cap", "image", "all questions about a picture share its pairs (3.6)" },
    { "select.rule", "test_set", "checkpoints are chosen by the sets that results are given on (5)" },
};
enum { WAYS = sizeof ways / sizeof *ways };

int compat_apply(RunConfig *c, Error *e) {
    if (c->run.compat != COMPAT_UPSTREAM) return 0;
    RunConfig *fresh = mem_new(1, sizeof *fresh, "config", e);
    if (!fresh) return -1;
    config_defaults(fresh);
    int bad = 0;
    for (int i = 0; i < WAYS && !bad; i++) {
        char own[HASH_TEXT], untouched[HASH_TEXT];
        bad = config_hash(c, ways[i].key, own, e) || config_hash(fresh, ways[i].key, untouched, e);
        if (!bad && !strcmp(own, untouched)) bad = config_set(c, ways[i].key, ways[i].value, "run.compat", e);
    }
    free(fresh);
    return bad ? -1 : 0;
}

void compat_say(const RunConfig *c, Progress *progress) {
    if (c->run.compat != COMPAT_UPSTREAM) return;
    RunConfig *as = mem_new(1, sizeof *as, "config", NULL);
    for (int i = 0; as && i < WAYS; i++) {
        char own[HASH_TEXT], theirs[HASH_TEXT];
        *as = *c;
        if (config_set(as, ways[i].key, ways[i].value, "run.compat", NULL) || config_hash(c, ways[i].key, own, NULL) ||
            config_hash(as, ways[i].key, theirs, NULL))
            continue;
        if (!strcmp(own, theirs)) progress_say(progress, "as upstream: %s = %s: %s", ways[i].key, ways[i].value, ways[i].why);
        else progress_say(progress, "not as upstream: %s, which is set otherwise", ways[i].key);
    }
    free(as);
}

/* compat.h - run.compat = upstream: what RLAIF-V's public code does where it should not (PAPER 11), as values of ordinary keys, so that its
 * runs can be followed. docs/paper.md lists what that is, and what of upstream no key does. */
#ifndef RLAIFV_ENGINE_COMPAT_H
#define RLAIFV_ENGINE_COMPAT_H

#include "engine/config.h"
#include "engine/progress.h"

/* Gives upstream's values to the keys that stand at their defaults; a key that was set otherwise keeps its value. 0 or -1. */
int compat_apply(RunConfig *c, Error *e);
/* Says at the start of a run what is as upstream, and why. progress may be NULL. */
void compat_say(const RunConfig *c, Progress *progress);

#endif

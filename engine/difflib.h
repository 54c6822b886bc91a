/* difflib.h - which tokens two sequences do not share, by the rule of Python's difflib that RLHF-V takes corrections from (PAPER: DDPO). */
#ifndef RLAIFV_ENGINE_DIFFLIB_H
#define RLAIFV_ENGINE_DIFFLIB_H

#include "base/error.h"

/* Runs of equal tokens, as SequenceMatcher(None, a, b).get_matching_blocks() finds them, automatic junk included, in their order; neighbours are joined and the
 * closing empty one is left out. blocks: at least min(n, m) entries. */
typedef struct MatchBlock {
    int a, b, size;
} MatchBlock;
int difflib_blocks(const int *a, int n, const int *b, int m, MatchBlock *blocks, int *count, Error *e);

/* Marks what was corrected: the spans between blocks of at least `shortest` tokens that are empty on neither side. changed_a (n), changed_b (m): 1 where a
 * token is part of one, else 0. 0, or -1 when memory is out. */
int difflib_changed(const int *a, int n, const int *b, int m, int shortest, unsigned char *changed_a, unsigned char *changed_b, Error *e);

#endif

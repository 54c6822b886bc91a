/* partial.h - a JSONL file that grows out of order, survives a kill, and is put in order when it is whole.
 *
 * OUT.growing holds one line per finished group (a prompt with all its rows): {"group": G, "rows": [...], ...}, after a first line with a
 * key that names everything the rows depend on. Opened again with an equal key, its whole lines count as done; with another key it starts
 * afresh. partial_finish writes OUT (temporary, fsync, rename) in order of groups and removes the partial.
 *
 * Several ranks grow it together: rank R > 0 has OUT.growing-R for its groups, which rank 0 takes over when all have finished, or at the next
 * start, however many ranks there are then. Of ranks that hold one model together the first alone has a file. */
#ifndef RLAIFV_ENGINE_PARTIAL_H
#define RLAIFV_ENGINE_PARTIAL_H

#include "base/json.h"
#include "engine/ranks.h"

typedef struct Partial {
    FILE *stream;
    char path[PATH_SIZE], out[PATH_SIZE];
    int64_t *lines; /* by group: offset of its line plus one, 0 while not done */
    size_t groups, cap, done;
    const Ranks *ranks;
    char key[PATH_SIZE];
} Partial;

/* key: at most 4096 bytes of text. ranks: those who grow the file, all of which call this with equal arguments; NULL: this process alone. 0 or -1 with
 * nothing held. Afterwards all ranks know which groups are done. */
int partial_open(Partial *p, const char *out, const char *key, const Ranks *ranks, Error *e);
int partial_has(const Partial *p, size_t group);
/* Appends a group; steals `rows` (an array of objects). `refused`: why a group has no rows, or NULL. */
int partial_add(Partial *p, size_t group, json_t *rows, const char *refused, Error *e);
/* Writes OUT from groups 0 .. groups - 1, all of which must be there, closes and removes the partial. `each` (may be NULL) sees every row. All
 * ranks call it; those but 0 return when OUT is there. */
int partial_finish(Partial *p, size_t groups, void (*each)(void *context, const json_t *row), void *context, int *refused, Error *e);
/* Closes without finishing: what is there stays for the next time. */
void partial_close(Partial *p);

#endif

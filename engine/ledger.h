/* ledger.h - what each arrow of the loop used and made, with hashes, so that a run can stop and go on anywhere.
 *
 * An arrow (sample, label, pair, train, eval, ...) of an iteration is described by named inputs (hashes of files, folders or settings)
 * before it runs, and by the files it made after. ledger.jsonl gets one row for each arrow done:
 *
 *     {"iteration": 1, "arrow": "sample", "inputs": {"model": HASH, ...}, "outputs": {"iter-1/candidates.jsonl": HASH}, "counts": {...},
 * "seconds": S, "program": VERSION, "isa": ISA}
 *
 * An arrow needs no second run when its last row has equal inputs and its outputs still have the hashes written there. */
#ifndef RLAIFV_ENGINE_LEDGER_H
#define RLAIFV_ENGINE_LEDGER_H

#include "base/json.h"

typedef struct Ledger {
    char folder[PATH_SIZE], path[PATH_SIZE];
    json_t *rows; /* array */
    const char *isa; /* Kernels.isa of those who record, borrowed; NULL: not said */
} Ledger;

typedef struct Arrow {
    int iteration;
    char name[32];
    json_t *inputs, *outputs, *counts;
    double started;
} Arrow;

/* Opens the ledger of a run folder (made when absent). A last row cut short by a crash is forgotten. */
int ledger_open(Ledger *l, const char *folder, Error *e);
/* The same for looking at a run that another process may be working in: nothing is made or mended. */
int ledger_read(Ledger *l, const char *folder, Error *e);
void ledger_close(Ledger *l);

int arrow_begin(Arrow *a, int iteration, const char *name, Error *e);
/* Inputs: the content of a file, of a folder with all in it, or a hash or other text that stands for settings. */
int arrow_input_file(Arrow *a, const char *name, const char *path, Error *e);
int arrow_input_text(Arrow *a, const char *name, const char *text, Error *e);
/* 1 done: nothing to do; 0 to be run, with the reason in why (at least 256 bytes); -1. */
int ledger_done(const Ledger *l, const Arrow *a, char *why, size_t why_size, Error *e);
/* After the work: a file or folder made, named relative to the run folder; a number for people. */
int arrow_output(Arrow *a, const Ledger *l, const char *relative, Error *e);
int arrow_count(Arrow *a, const char *name, double value, Error *e);
/* Appends the row, flushed to the disk. */
int ledger_record(Ledger *l, const Arrow *a, Error *e);
void arrow_free(Arrow *a);

/* Whether a row says that another program than this, or other instructions, made its outputs, whose last bits may then be others. */
int ledger_by_other(const Ledger *l, const json_t *row);
/* The last recorded row of an arrow, borrowed, or NULL. */
const json_t *ledger_find(const Ledger *l, int iteration, const char *arrow);

#endif

/* runs.h - the folder of runs that a table is measured in: DIR/RUN-SEED, as many seeds of a run as there are.
 *
 * Runs are opened when a cell first asks for them, so that a broken one stops only the tables that need it. What a table has read of them
 * is remembered, for its list of sources. */
#ifndef RLAIFV_ENGINE_TABLE_RUNS_H
#define RLAIFV_ENGINE_TABLE_RUNS_H

#include "engine/report/run_folder.h"
#include "engine/table/spec.h"

enum { SIZE_TEXT = 160 };

typedef struct SeedRun {
    int run; /* of the spec */
    int64_t seed;
    char *name; /* RUN-SEED */
    int opened;
    RunFolder folder;
    char size[SIZE_TEXT]; /* "policy of 3.2 M parameters, 1200 prompts an iteration" */
    json_t *read;         /* what the table has read: file -> hash */
} SeedRun;

typedef struct TableRuns {
    char folder[PATH_SIZE];
    SeedRun *list; /* by run, then by seed */
    int n;
    size_t cap;
} TableRuns;

/* Lists the runs in `folder` that the spec names. An absent folder has none. */
int runs_open(TableRuns *r, const TableSpec *s, const char *folder, Error *e);
void runs_close(TableRuns *r);
/* Forgets what was read: for the next table. */
void runs_forget(TableRuns *r);

enum { JUDGE_TEXT = 200 };
typedef struct Reading {
    double value;
    const TablePlace *place;
    int64_t answers;      /* that it is of; 0: not said */
    uint64_t judged; /* a hash of all that is said of that judge: its prompts and decoding too */
    char judge[JUDGE_TEXT]; /* "NAME, version VERSION" of a result that a model had a say in; else empty */
    char file[PATH_SIZE]; /* below the run */
} Reading;
/* What `m` says of the column in list[i]. 1; 0: not there yet; -1: the run is broken. */
int runs_measure(TableRuns *r, int i, const TableMeasured *m, const TableColumn *c, Reading *out, Error *e);

/* One hash of all that was read of a run, names and contents; and of the last row of its ledger ("" without one). 0 or -1. */
int seed_run_read_hash(const SeedRun *r, char out[HASH_TEXT], Error *e);
int seed_run_ledger_hash(const SeedRun *r, char out[HASH_TEXT], Error *e);

#endif

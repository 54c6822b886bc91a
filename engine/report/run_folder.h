/* run_folder.h - a run's folder as a reader sees it: looked at, never touched, whether the run is done, stopped or at work.
 *
 * What there is to read is what ledger.jsonl says was made. */
#ifndef RLAIFV_ENGINE_REPORT_RUN_FOLDER_H
#define RLAIFV_ENGINE_REPORT_RUN_FOLDER_H

#include "engine/config.h"
#include "engine/eval/scenes_eval.h"
#include "engine/ledger.h"
#include "engine/report_text.h"

typedef struct RunFolder {
    char folder[PATH_SIZE];
    RunConfig *config;
    Ledger ledger;
    Report table;         /* chosen: 0 while there is no result */
    int iterations;       /* the newest one the ledger speaks of */
    ScenesTruth truth[2]; /* by id: of the evaluation's scenes and of the prompts; index NULL: not known */
} RunFolder;
enum { TRUTH_EVAL, TRUTH_PROMPTS };

/* Refuses a folder without config.ini, and evaluations that are not of the kind it says. */
int run_folder_open(RunFolder *r, const char *folder, Error *e);
/* Reads truth[] from the data that the settings name: for readers of answers. */
void run_folder_truth_read(RunFolder *r);
void run_folder_close(RunFolder *r);

/* 1 with its path; 0: not made, or not yet. -1: the ledger says it was made, and it is gone. */
int run_folder_has(const RunFolder *r, char path[PATH_SIZE], Error *e, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A count of the ledger; NAN where the arrow is not done or does not count it. */
double run_folder_count(const RunFolder *r, int iteration, const char *arrow, const char *count);
const Scene *run_folder_scene(const RunFolder *r, int which, const char *id); /* or NULL */

#endif

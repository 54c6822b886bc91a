/* spec.h - which tables there are: published numbers, and where in a folder of runs the measured ones beside them stand.
 *
 * All of it is one JSON file, configs/tables/tables.json, which the program carries. Its fields:
 *
 *     sources   key -> where published numbers were printed
 *     runs      key -> {scenes: the command that makes RUN-SEED at the built-in world's size, full: the config for the paper's size}
 *     columns   key -> {name: ours, paper: the paper's heading, unit, decimals, better: "lower" | "higher",
 *                       places: [PLACE, ...], first come first taken, or change_of: COLUMN, in percent, against the row's base}
 *       PLACE     {eval: "scenes" | "labeler", field}, of an eval.json; {result: NAME, benchmark (NAME unless given), section, measure}, of
 *                 evals/NAME.json beside that eval.json, as `rlaifv eval` writes it. Both: scale (1), offset (0): value * scale + offset
 *     tables    [{name, title, note, columns: [COLUMN, ...], rows: [ROW, ...], checks: [CHECK, ...]}, ...]
 *       ROW       {key, title, is: what it is in the built-in world, or why it is only published, base: ROW,
 *                  paper: {SOURCE: {COLUMN: number}}, the source that counts first, measured: [MEASURED, ...]}
 *       MEASURED  {run, at, columns: those it is for (else all that no other one names), command and full: in place of the run's}
 *       at        start | iteration K | chosen | labeler | eval: the eval.json of iter-0, iter-K, the iteration that is the run's result,
 *                 labeler, the run itself; file PATH: a result of `rlaifv eval NAME`, below the run
 *       CHECK     {text, kind, cell: [ROW, COLUMN], than: [ROW, COLUMN] or value: number}
 *
 * Texts are UTF-8 without '|' and line ends, as they become cells. Unknown and doubled fields are refused, and names that name nothing. */
#ifndef RLAIFV_ENGINE_TABLE_SPEC_H
#define RLAIFV_ENGINE_TABLE_SPEC_H

#include "base/json.h"

enum { TABLE_COLUMNS_MOST = 16, TABLE_PAPERS_MOST = 4 };

typedef struct TableSource {
    const char *key, *text;
} TableSource;

typedef struct TableRun {
    const char *key, *scenes, *full; /* full: NULL, none yet */
} TableRun;

typedef enum PlaceKind { PLACE_EVAL, PLACE_RESULT } PlaceKind;
typedef struct TablePlace {
    PlaceKind kind;
    const char *from;      /* the kind of an eval.json, or the name of a result */
    const char *benchmark; /* of a result */
    const char *section;
    const char *field; /* or measure */
    double scale, offset;
} TablePlace;

typedef enum Better { BETTER_LOWER, BETTER_HIGHER, BETTER_NEITHER } Better;
typedef struct TableColumn {
    const char *key, *name, *paper, *unit; /* paper: NULL where the paper has no such column */
    int decimals;
    Better better;
    int change_of; /* the column whose relative change it is; -1 */
    TablePlace *places;
    int places_n;
} TableColumn;

typedef enum TableAt { AT_START, AT_ITERATION, AT_CHOSEN, AT_LABELER, AT_EVAL, AT_FILE } TableAt;
typedef struct TableMeasured {
    int run;
    TableAt at;
    int iteration;
    const char *file, *at_text;
    const char *command, *full;
    unsigned columns; /* bits of the table's columns */
} TableMeasured;

typedef struct TableRow {
    const char *key, *title, *is;
    int base; /* row, or -1 */
    int sources[TABLE_PAPERS_MOST], sources_n;
    double paper[TABLE_PAPERS_MOST][TABLE_COLUMNS_MOST]; /* NAN: no number */
    TableMeasured *measured;
    int measured_n;
} TableRow;

typedef enum CheckKind {
    CHECK_REDUCTION_AT_LEAST, /* the cell against its row's base, in percent */
    CHECK_REDUCTION_AT_MOST,
    CHECK_LESS_THAN, /* means; than the other cell or the value */
    CHECK_MORE_THAN,
    CHECK_WORSE_BY_SPREAD /* worse than the other cell by more than the larger of both spreads */
} CheckKind;
typedef struct TableCheck {
    const char *text;
    CheckKind kind;
    int row, column, than_row, than_column; /* columns of the table; than -1: value */
    double value;
} TableCheck;

typedef struct Table {
    const char *name, *title, *note;
    int columns[TABLE_COLUMNS_MOST], columns_n; /* of the spec */
    TableRow *rows;
    int rows_n;
    TableCheck *checks;
    int checks_n;
} Table;

typedef struct TableSpec {
    json_t *json; /* holds the texts */
    TableSource *sources;
    TableRun *runs;
    TableColumn *columns;
    Table *tables;
    int sources_n, runs_n, columns_n, tables_n;
} TableSpec;

/* Reads the file at `path`, or, NULL, the one that the program carries. 0 or -1. */
int spec_open(TableSpec *s, const char *path, Error *e);
void spec_free(TableSpec *s);
/* The table of that name, or NULL with the Error filled. */
const Table *spec_table(const TableSpec *s, const char *name, Error *e);
/* What measures the column in the row, or NULL. Of a column of changes: what measures the column that changes. */
const TableMeasured *spec_measured(const TableSpec *s, const Table *t, int row, int column);
/* 1 when the place can hold what `m` measures: files of results are named or stand in evals/, where scenes have none, as their eval.json
 * has it all. */
int place_applies(const TablePlace *p, const TableMeasured *m);
/* 1 when a run can fill the column with what `m` (NULL: nothing) measures; in_scenes: a run in the built-in world. */
int spec_can_fill(const TableColumn *c, const TableMeasured *m, int in_scenes);

#endif

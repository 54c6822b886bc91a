/* cells.h - a table's cells: the published number, the measured one over seeds, and what the table's checks come to.
 *
 * Measured: the mean over seeds, and their sample standard deviation (n - 1) as spread. A relative change is taken seed by seed, then
 * averaged like any other number. */
#ifndef RLAIFV_ENGINE_TABLE_CELLS_H
#define RLAIFV_ENGINE_TABLE_CELLS_H

#include "engine/table/runs.h"

typedef struct Sample {
    int64_t seed;
    double value;
    char *file; /* RUN-SEED/FILE that it comes from */
} Sample;

/* n values with their mean; spread NAN below two. */
typedef struct Samples {
    Sample *list;
    int n;
    size_t cap;
    double mean, spread;
} Samples;

typedef struct TablePaper {
    double value;
    int source;
} TablePaper;

typedef struct TableCell {
    TablePaper paper[TABLE_PAPERS_MOST]; /* the first counts */
    int papers;
    const TableMeasured *from; /* what fills it; NULL: nothing does */
    int in_scenes;             /* the built-in world's runs can */
    Samples measured;
    const TablePlace *place; /* of all its values; NULL of a change */
    char size[SIZE_TEXT + 64];
    uint64_t judged;        /* as Reading has them: one judge for all its values */
    char judge[JUDGE_TEXT];
} TableCell;

typedef enum CheckVerdict { CHECK_HOLDS, CHECK_FAILS, CHECK_OPEN } CheckVerdict; /* open: not measured */
typedef struct CheckResult {
    CheckVerdict verdict;
    double number, spread, other, other_spread; /* what was compared: NAN where there is none */
    int seeds, other_seeds;
} CheckResult;

typedef struct TableFilled {
    const TableSpec *spec;
    const Table *table;
    TableRuns *runs;
    TableCell *cells;    /* (rows, columns) */
    CheckResult *checks; /* of the table's */
} TableFilled;

/* Fills the cells from `runs`, which remembers what was read, and checks. 0 or -1. */
int table_fill(TableFilled *f, const TableSpec *s, const Table *t, TableRuns *runs, Error *e);
void table_filled_free(TableFilled *f);
const TableCell *table_cell(const TableFilled *f, int row, int column);
/* Cells that the built-in world's runs can fill and have not, and checks that do not hold. */
int table_empty(const TableFilled *f);
int table_failing(const TableFilled *f);
/* What fills the cell, as a line for people, in a malloc'd text; NULL when memory is out. exact: with the one folder that a benchmark's
 * result goes into, else with a pattern for those of all iterations. The cell must have something that fills it. */
char *table_command(const TableFilled *f, const TableCell *c, int column, int exact, Error *e);

#endif

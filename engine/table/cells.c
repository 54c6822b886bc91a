/* cells.c - owns the arithmetic of tables. Refuses seeds of one cell that were measured in different ways. */
#include "engine/table/cells.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- samples ---- */

/* Steals `file`. */
static int sample_add(Samples *s, int64_t seed, double value, char *file, Error *e) {
    if (mem_grow(&s->list, &s->cap, (size_t)s->n + 1, sizeof *s->list, "cells", e)) return free(file), -1;
    s->list[s->n++] = (Sample){ seed, value, file };
    return 0;
}

static void samples_sum(Samples *s) {
    double sum = 0, squares = 0;
    for (int i = 0; i < s->n; i++) sum += s->list[i].value;
    s->mean = s->n ? sum / s->n : NAN;
    for (int i = 0; i < s->n; i++) squares += (s->list[i].value - s->mean) * (s->list[i].value - s->mean);
    s->spread = s->n > 1 ? sqrt(squares / (s->n - 1)) : NAN;
}

static void samples_free(Samples *s) {
    for (int i = 0; i < s->n; i++) free(s->list[i].file);
    free(s->list);
    memset(s, 0, sizeof *s);
}

/* Relative changes in percent from `before` to `after`, of the seeds that both have; of a change from 0 nothing can be said. */
static int changes_of(const Samples *before, const Samples *after, Samples *out, Error *e) {
    memset(out, 0, sizeof *out);
    for (int i = 0; i < after->n; i++)
        for (int j = 0; j < before->n; j++) {
            double was = before->list[j].value, is = after->list[i].value;
            if (before->list[j].seed != after->list[i].seed || was == 0) continue;
            if (sample_add(out, after->list[i].seed, 100 * (is - was) / was, NULL, e)) return samples_free(out), -1;
        }
    samples_sum(out);
    return 0;
}

/* ---- cells ---- */

static TableCell *cell_at(const TableFilled *f, int row, int column) { return &f->cells[row * f->table->columns_n + column]; }
const TableCell *table_cell(const TableFilled *f, int row, int column) { return cell_at(f, row, column); }

static const TableColumn *column_at(const TableFilled *f, int column) { return &f->spec->columns[f->table->columns[column]]; }

static int place_of_column(const TableFilled *f, int of) {
    int j = 0;
    while (f->table->columns[j] != of) j++;
    return j;
}

/* The published numbers: those that stand in the row, else changes of numbers of one source. */
static void paper_fill(const TableFilled *f, int row, int column, TableCell *cell) {
    const TableRow *r = &f->table->rows[row];
    const TableColumn *c = column_at(f, column);
    for (int i = 0; i < r->sources_n; i++) {
        double value = r->paper[i][column];
        if (isnan(value) && c->change_of >= 0 && r->base >= 0) {
            const TableRow *b = &f->table->rows[r->base];
            int of = place_of_column(f, c->change_of);
            for (int j = 0; j < b->sources_n; j++)
                if (b->sources[j] == r->sources[i]) value = 100 * (r->paper[i][of] - b->paper[j][of]) / b->paper[j][of];
        }
        if (isfinite(value)) cell->paper[cell->papers++] = (TablePaper){ value, r->sources[i] };
    }
}

static void cell_size(TableCell *cell, const char *run, int64_t answers) {
    char size[sizeof cell->size];
    int used = snprintf(size, sizeof size, "%s", run);
    if (answers && used >= 0 && used < (int)sizeof size)
        snprintf(size + used, sizeof size - (size_t)used, "%s%lld answers", used ? ", " : "", (long long)answers);
    if (!cell->size[0]) strcpy(cell->size, size);
    else if (strcmp(cell->size, size) && !strstr(cell->size, "; seeds differ") && strlen(cell->size) + 16 < sizeof cell->size)
        strcat(cell->size, "; seeds differ");
}

static int cell_measure(TableFilled *f, const TableColumn *c, TableCell *cell, Error *e) {
    Reading *got = mem_new(1, sizeof *got, "cells", e);
    int bad = !got;
    for (int i = 0; i < f->runs->n && !bad; i++) {
        const SeedRun *run = &f->runs->list[i];
        char *file = NULL;
        if (run->run != cell->from->run) continue;
        int there = runs_measure(f->runs, i, cell->from, c, got, e);
        if (there == 0) continue;
        if (there < 0) bad = 1;
        else if (cell->place && cell->place != got->place) {
            error_what(e, "seeds measured in different ways"), error_where(e, "%s/%s: %s", f->runs->folder, run->name, c->key);
            error_found(e, "%s, the seeds before it by %s", got->place->from, cell->place->from);
            error_hint(e, "measure all seeds alike, or move the others away"), bad = 1;
        } else if (cell->place && cell->judged != got->judged) {
            error_what(e, "seeds judged in different ways"), error_where(e, "%s/%s: %s", f->runs->folder, run->name, c->key);
            error_found(e, "%s, before it %s", got->judge[0] ? got->judge : "no judge", cell->judge[0] ? cell->judge : "none");
            error_hint(e, "the same judge, prompts and decoding for all seeds, or move the others away"), bad = 1;
        } else if (asprintf(&file, "%s/%s", run->name, got->file) < 0) error_what(e, "out of memory"), error_where(e, "cells"), bad = 1;
        else {
            if (!cell->place) snprintf(cell->judge, JUDGE_TEXT, "%s", got->judge), cell->judged = got->judged;
            cell->place = got->place;
            bad = sample_add(&cell->measured, run->seed, got->value, file, e);
            cell_size(cell, run->size, got->answers);
        }
    }
    free(got);
    samples_sum(&cell->measured);
    return bad ? -1 : 0;
}

static int cell_change(const TableFilled *f, int row, const TableColumn *c, TableCell *cell, Error *e) {
    int of = place_of_column(f, c->change_of), base = f->table->rows[row].base;
    if (base < 0) return cell->from = NULL, 0;
    const TableCell *after = cell_at(f, row, of);
    snprintf(cell->size, sizeof cell->size, "%s", after->size);
    return changes_of(&cell_at(f, base, of)->measured, &after->measured, &cell->measured, e);
}

/* Columns of changes stand behind what they are of, in the spec but not in every table: they are filled last. */
static int cells_fill(TableFilled *f, int changes, Error *e) {
    for (int row = 0; row < f->table->rows_n; row++)
        for (int j = 0; j < f->table->columns_n; j++) {
            const TableColumn *c = column_at(f, j);
            TableCell *cell = cell_at(f, row, j);
            if ((c->change_of >= 0) != changes) continue;
            cell->from = spec_measured(f->spec, f->table, row, j);
            if (!changes && !spec_can_fill(c, cell->from, 0)) cell->from = NULL;
            cell->in_scenes = !changes && spec_can_fill(c, cell->from, 1);
            cell->measured.mean = cell->measured.spread = NAN;
            paper_fill(f, row, j, cell);
            if (!cell->from) continue;
            if (changes ? cell_change(f, row, c, cell, e) : cell_measure(f, c, cell, e)) return -1;
        }
    return 0;
}

/* ---- checks ---- */

static void check_numbers(CheckResult *out, const Samples *a, const Samples *b, double value) {
    out->number = a->mean, out->spread = a->spread, out->seeds = a->n;
    out->other = b ? b->mean : value, out->other_spread = b ? b->spread : NAN, out->other_seeds = b ? b->n : 0;
}

/* The mean of the seeds' reductions beside the value. */
static int check_reduction(const TableFilled *f, const TableCheck *c, CheckResult *out, Error *e) {
    Samples changes;
    const TableRow *r = &f->table->rows[c->row];
    if (changes_of(&cell_at(f, r->base, c->column)->measured, &cell_at(f, c->row, c->column)->measured, &changes, e)) return -1;
    check_numbers(out, &changes, NULL, c->value);
    if (changes.n) {
        out->number = 0 - out->number; /* of a change of 0, not -0 */
        out->verdict =
            (c->kind == CHECK_REDUCTION_AT_LEAST ? out->number >= c->value : out->number <= c->value) ? CHECK_HOLDS : CHECK_FAILS;
    }
    samples_free(&changes);
    return 0;
}

static void check_compare(const TableFilled *f, const TableCheck *c, CheckResult *out) {
    const Samples *a = &cell_at(f, c->row, c->column)->measured;
    const Samples *b = c->than_row >= 0 ? &cell_at(f, c->than_row, c->than_column)->measured : NULL;
    int holds;
    check_numbers(out, a, b, c->value);
    if (!a->n || (b && !b->n)) return;
    if (c->kind == CHECK_WORSE_BY_SPREAD) {
        double worse = column_at(f, c->column)->better == BETTER_LOWER ? a->mean - b->mean : b->mean - a->mean;
        if (a->n < 2 || b->n < 2) return;
        holds = worse > fmax(a->spread, b->spread);
    } else holds = c->kind == CHECK_LESS_THAN ? out->number < out->other : out->number > out->other;
    out->verdict = holds ? CHECK_HOLDS : CHECK_FAILS;
}

static int checks_fill(TableFilled *f, Error *e) {
    for (int i = 0; i < f->table->checks_n; i++) {
        const TableCheck *c = &f->table->checks[i];
        f->checks[i].verdict = CHECK_OPEN;
        if (c->kind > CHECK_REDUCTION_AT_MOST) check_compare(f, c, &f->checks[i]);
        else if (check_reduction(f, c, &f->checks[i], e)) return -1;
    }
    return 0;
}

/* ---- a table ---- */

int table_fill(TableFilled *f, const TableSpec *s, const Table *t, TableRuns *runs, Error *e) {
    *f = (TableFilled){ .spec = s, .table = t, .runs = runs };
    runs_forget(runs);
    f->cells = mem_new((size_t)t->rows_n * (size_t)t->columns_n, sizeof *f->cells, "cells", e);
    f->checks = mem_new((size_t)t->checks_n, sizeof *f->checks, "checks", e);
    if (f->cells && f->checks && !cells_fill(f, 0, e) && !cells_fill(f, 1, e) && !checks_fill(f, e)) return 0;
    table_filled_free(f);
    return -1;
}

void table_filled_free(TableFilled *f) {
    for (int i = 0; f->cells && i < f->table->rows_n * f->table->columns_n; i++) samples_free(&f->cells[i].measured);
    free(f->cells), free(f->checks);
    memset(f, 0, sizeof *f);
}

int table_empty(const TableFilled *f) {
    int n = 0;
    for (int i = 0; i < f->table->rows_n * f->table->columns_n; i++) n += f->cells[i].in_scenes && !f->cells[i].measured.n;
    return n;
}

int table_failing(const TableFilled *f) {
    int n = 0;
    for (int i = 0; i < f->table->checks_n; i++) n += f->checks[i].verdict == CHECK_FAILS;
    return n;
}

char *table_command(const TableFilled *f, const TableCell *c, int column, int exact, Error *e) {
    const TableMeasured *m = c->from;
    const TableColumn *of = column_at(f, column);
    char folder[32] = "iter-*/", *out = NULL;
    if (of->change_of >= 0) of = &f->spec->columns[of->change_of];
    if (exact && m->at != AT_CHOSEN) snprintf(folder, sizeof folder, "iter-%d/", m->iteration);
    if (m->at == AT_LABELER) strcpy(folder, "labeler/");
    if (m->at == AT_EVAL) folder[0] = 0;
    const TablePlace *p = of->places;
    while (p < of->places + of->places_n && !(p->kind == PLACE_RESULT && place_applies(p, m))) p++;
    int n, result = m->at != AT_FILE && p < of->places + of->places_n;
    const char *full = m->full ? m->full : "a run of the paper's size, which has no config yet";
    if (spec_can_fill(of, m, 1)) n = asprintf(&out, "%s", m->command);
    else if (!result) n = asprintf(&out, "%s", full);
    else
        n = asprintf(&out, "%s, then rlaifv eval %s ... --out %s/%s-SEED/%sevals/%s.json", full, p->benchmark, f->runs->folder,
            f->spec->runs[m->run].key, folder, p->from);
    if (n < 0) return error_what(e, "out of memory"), error_where(e, "tables"), NULL;
    return out;
}

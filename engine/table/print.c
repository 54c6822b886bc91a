/* print.c - owns how a filled table looks in Markdown and in CSV. */
#include "engine/table/print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 512 };

const char *const check_verdicts[] = { [CHECK_HOLDS] = "holds", [CHECK_FAILS] = "does not hold", [CHECK_OPEN] = "not measured" };

static const TableColumn *column_at(const TableFilled *f, int column) { return &f->spec->columns[f->table->columns[column]]; }
static int has_measured(const TableColumn *c) { return c->places_n > 0 || c->change_of >= 0; }

static int is_change(const TableColumn *c) { return c->change_of >= 0; }

/* Changes have their sign. */
static void number_text(int decimals, int change, double value, char *out, size_t size) {
    snprintf(out, size, change ? "%+.*f" : "%.*f", decimals, value);
}

/* "4.8 ± 0.9, n = 3"; n 0: a bare number. */
static void mean_text(int decimals, int change, double mean, double spread, int n, char *out, size_t size) {
    number_text(decimals, change, mean, out, size);
    size_t used = strlen(out);
    if (!isnan(spread)) used += (size_t)snprintf(out + used, size - used, " ± %.*f", decimals, spread);
    if (n) snprintf(out + used, size - used, ", n = %d", n);
}

/* ---- what fills the empty cells: commands, each once, numbered as they come ---- */

typedef struct Commands {
    char **list;
    int n;
    size_t cap;
} Commands;

static void commands_free(Commands *c) {
    for (int i = 0; i < c->n; i++) free(c->list[i]);
    free(c->list);
}

/* Its number from 1, or -1. */
static int commands_add(Commands *c, const TableFilled *f, const TableCell *cell, int column, Error *e) {
    char *text = table_command(f, cell, column, 0, e);
    if (!text) return -1;
    for (int i = 0; i < c->n; i++)
        if (!strcmp(c->list[i], text)) return free(text), i + 1;
    if (mem_grow(&c->list, &c->cap, (size_t)c->n + 1, sizeof *c->list, "tables", e)) return free(text), -1;
    c->list[c->n++] = text;
    return c->n;
}

/* ---- Markdown ---- */

static void heading_print(const TableFilled *f, FILE *to) {
    static const char *const arrows[] = { [BETTER_LOWER] = " ↓", [BETTER_HIGHER] = " ↑", [BETTER_NEITHER] = "" };
    fputs("| | in the built-in world |", to);
    for (int j = 0; j < f->table->columns_n; j++) {
        const TableColumn *c = column_at(f, j);
        const char *comma = c->unit ? ", " : "", *unit = c->unit ? c->unit : "";
        if (c->paper) fprintf(to, " paper: %s%s%s%s |", c->paper, comma, unit, arrows[c->better]);
        if (has_measured(c)) fprintf(to, " %s%s%s%s |", c->name, comma, unit, arrows[c->better]);
    }
    fputs("\n|---|---|", to);
    for (int j = 0; j < f->table->columns_n; j++)
        fprintf(to, "%s%s", column_at(f, j)->paper ? "---:|" : "", has_measured(column_at(f, j)) ? "---:|" : "");
    fputc('\n', to);
}

static void paper_print(const TableFilled *f, const TableColumn *c, const TableCell *cell, FILE *to) {
    for (int i = 0; i < cell->papers; i++) {
        char number[64];
        number_text(c->decimals, is_change(c), cell->paper[i].value, number, sizeof number);
        fprintf(to, "%s%s (%s)", i ? ", " : " ", number, f->spec->sources[cell->paper[i].source].key);
    }
    fputs(" |", to);
}

static int cell_print(const TableFilled *f, int row, int j, Commands *empty, FILE *to, Error *e) {
    const TableColumn *c = column_at(f, j);
    const TableCell *cell = table_cell(f, row, j);
    if (c->paper) paper_print(f, c, cell, to);
    if (!has_measured(c)) return 0;
    if (cell->measured.n) {
        char text[128];
        mean_text(c->decimals, is_change(c), cell->measured.mean, cell->measured.spread, cell->measured.n, text, sizeof text);
        const char *by = cell->place && strcmp(cell->place->from, c->places[0].from) ? cell->place->from : NULL;
        fprintf(to, by ? " %s, by %s |" : " %s |", text, by);
    } else if (cell->from) {
        int number = commands_add(empty, f, cell, j, e);
        if (number < 0) return -1;
        fprintf(to, " [%d] |", number);
    } else fputs(" |", to);
    return 0;
}

static void check_print(const TableFilled *f, int i, FILE *to) {
    const TableCheck *check = &f->table->checks[i];
    const CheckResult *r = &f->checks[i];
    const TableColumn *c = column_at(f, check->column);
    int reduction = check->kind <= CHECK_REDUCTION_AT_MOST;
    char number[128], other[128];
    fprintf(to, "- **%s**: %s", check_verdicts[r->verdict], check->text);
    if (r->seeds && reduction) {
        mean_text(c->decimals, 1, 0 - r->number, r->spread, r->seeds, number, sizeof number);
        fprintf(to, " (change, %%: %s)", number);
    } else if (r->seeds) {
        mean_text(c->decimals, is_change(c), r->number, r->spread, r->seeds, number, sizeof number);
        mean_text(c->decimals, is_change(c), r->other, r->other_spread, r->other_seeds, other, sizeof other);
        fprintf(to, isnan(r->other) ? " (%s)" : " (%s beside %s)", number, other);
    }
    if (r->verdict == CHECK_OPEN && check->kind == CHECK_WORSE_BY_SPREAD && r->seeds && r->other_seeds)
        fputs("; a spread needs two seeds of both", to);
    fputc('\n', to);
}

static void sources_print(const TableFilled *f, FILE *to) {
    int first = 1;
    for (int s = 0; s < f->spec->sources_n; s++) {
        int used = 0;
        for (int row = 0; row < f->table->rows_n; row++)
            for (int j = 0; j < f->table->columns_n; j++)
                for (int i = 0; i < table_cell(f, row, j)->papers; i++) used |= table_cell(f, row, j)->paper[i].source == s;
        if (!used) continue;
        fprintf(to, "%s\n- %s: %s", first ? "\nPublished:\n" : "", f->spec->sources[s].key, f->spec->sources[s].text);
        first = 0;
    }
    if (!first) fputc('\n', to);
}

/* Which models had a say in the numbers, each once by column. */
static void judges_print(const TableFilled *f, FILE *to) {
    int first = 1;
    for (int j = 0; j < f->table->columns_n; j++) {
        for (int row = 0, said; row < f->table->rows_n; row++) {
            const char *judge = table_cell(f, row, j)->judge;
            said = !*judge;
            for (int earlier = 0; earlier < row; earlier++) said |= !strcmp(table_cell(f, earlier, j)->judge, judge);
            if (said) continue;
            fprintf(to, "%s\n- %s: %s", first ? "\nJudged by:\n" : "", column_at(f, j)->name, judge);
            first = 0;
        }
    }
    if (!first) fputc('\n', to);
}

static int runs_print(const TableFilled *f, FILE *to, Error *e) {
    char ledger[HASH_TEXT], read[HASH_TEXT];
    int first = 1;
    for (int i = 0; i < f->runs->n; i++) {
        const SeedRun *r = &f->runs->list[i];
        size_t files = json_object_size(r->read);
        if (!files) continue;
        if (seed_run_ledger_hash(r, ledger, e) || seed_run_read_hash(r, read, e)) return -1;
        fprintf(to, "%s\n- `%s/%s`: %s%s", first ? "\nMeasured in:\n" : "", f->runs->folder, r->name, r->size, r->size[0] ? "; " : "");
        if (r->folder.table.n) fprintf(to, "%d answers judged; ", r->folder.table.answers);
        if (ledger[0]) fprintf(to, "last row of the ledger `%s`; ", ledger);
        fprintf(to, "%zu file%s read, `%s`", files, files == 1 ? "" : "s", read);
        first = 0;
    }
    if (!first) fputc('\n', to);
    return 0;
}

static int rows_print(const TableFilled *f, Commands *empty, FILE *to, Error *e) {
    heading_print(f, to);
    for (int row = 0; row < f->table->rows_n; row++) {
        const TableRow *r = &f->table->rows[row];
        fprintf(to, r->is ? "| %s | %s |" : "| %s | |", r->title, r->is);
        for (int j = 0; j < f->table->columns_n; j++)
            if (cell_print(f, row, j, empty, to, e)) return -1;
        fputc('\n', to);
    }
    if (empty->n) fputs("\nEmpty cells are filled by:\n\n", to);
    for (int i = 0; i < empty->n; i++) fprintf(to, "- [%d] `%s`\n", i + 1, empty->list[i]);
    return 0;
}

int table_print_markdown(const TableFilled *f, FILE *to, Error *e) {
    Commands empty = { 0 };
    fprintf(to, "## %s\n\n", f->table->title);
    if (f->table->note) fprintf(to, "%s\n\n", f->table->note);
    int bad = rows_print(f, &empty, to, e);
    commands_free(&empty);
    if (bad) return -1;
    for (int i = 0; i < f->table->checks_n; i++) {
        if (!i) fputc('\n', to);
        check_print(f, i, to);
    }
    sources_print(f, to);
    judges_print(f, to);
    if (runs_print(f, to, e)) return -1;
    fputc('\n', to);
    return 0;
}

/* ---- CSV (RFC 4180) ---- */

static void csv_text(const char *text, const char *end, FILE *to) {
    if (!strpbrk(text, ",\"\r\n")) fputs(text, to);
    else {
        fputc('"', to);
        for (; *text; text++) fprintf(to, *text == '"' ? "\"\"" : "%c", *text);
        fputc('"', to);
    }
    fputs(end, to);
}

static void csv_number(double x, const char *end, FILE *to) {
    if (isfinite(x)) fprintf(to, "%.10g", x);
    fputs(end, to);
}

void csv_heading_print(FILE *to) {
    fputs("table,row,column,unit,paper,paper_source,paper_also,measured,spread,seeds,measured_by,judge,size,source,fill_command\n", to);
}

static void csv_also(const TableFilled *f, const TableCell *cell, FILE *to) {
    for (int i = 1; i < cell->papers; i++)
        fprintf(to, "%s%s %.10g", i > 1 ? "; " : "", f->spec->sources[cell->paper[i].source].key, cell->paper[i].value);
    fputc(',', to);
}

static int csv_cell(const TableFilled *f, int row, int j, FILE *to, Error *e) {
    const TableColumn *c = column_at(f, j);
    const TableCell *cell = table_cell(f, row, j);
    const Samples *s = &cell->measured;
    char *command = cell->from ? table_command(f, cell, j, 1, e) : NULL;
    if (cell->from && !command) return -1;
    csv_text(f->table->name, ",", to), csv_text(f->table->rows[row].key, ",", to), csv_text(c->key, ",", to);
    csv_text(c->unit ? c->unit : "", ",", to);
    csv_number(cell->papers ? cell->paper[0].value : NAN, ",", to);
    csv_text(cell->papers ? f->spec->sources[cell->paper[0].source].key : "", ",", to);
    csv_also(f, cell, to);
    csv_number(s->mean, ",", to), csv_number(s->n ? s->spread : NAN, ",", to);
    fprintf(to, "%d,", s->n);
    csv_text(cell->place ? cell->place->from : "", ",", to), csv_text(cell->judge, ",", to), csv_text(cell->size, ",", to);
    for (int i = 0; i < s->n; i++)
        if (s->list[i].file) fprintf(to, "%s%s", i ? " " : "", s->list[i].file); /* a run's name and a file of the spec: no commas */
    fputc(',', to);
    csv_text(command ? command : "", "\n", to);
    free(command);
    return 0;
}

int table_print_csv(const TableFilled *f, FILE *to, Error *e) {
    for (int row = 0; row < f->table->rows_n; row++)
        for (int j = 0; j < f->table->columns_n; j++)
            if (csv_cell(f, row, j, to, e)) return -1;
    return 0;
}

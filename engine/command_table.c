/* command_table.c - `rlaifv table`: the paper's tables, published numbers beside measured ones. */
#include "engine/commands.h"

#include "engine/options.h"
#include "engine/table/print.h"

#include <stdlib.h>
#include <string.h>

typedef enum TableFormat { FORMAT_MARKDOWN, FORMAT_CSV, FORMAT_JSON } TableFormat;

static int json_finish(json_t *tables, FILE *to, Error *e) {
    json_t *top = json_pack("{s:O}", "tables", tables);
    int bad = !top || json_dumpf(top, to, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) || fputc('\n', to) == EOF;
    json_decref(top);
    return bad ? error_what(e, "cannot write the tables") : 0;
}

/* Prints the table of that name, or all, and counts what --check is about. */
static int tables_print(
    const TableSpec *s, TableRuns *runs, const char *name, TableFormat format, FILE *to, int *empty, int *failing, Error *e) {
    const Table *one = strcmp(name, "all") ? spec_table(s, name, e) : NULL;
    json_t *list = json_array();
    int bad = !list;
    if (format == FORMAT_CSV) csv_heading_print(to);
    for (int i = 0; i < s->tables_n && !bad; i++) {
        TableFilled f;
        if (one && one != &s->tables[i]) continue;
        if ((bad = table_fill(&f, s, &s->tables[i], runs, e))) break;
        *empty += table_empty(&f), *failing += table_failing(&f);
        if (format == FORMAT_MARKDOWN) bad = table_print_markdown(&f, to, e);
        else if (format == FORMAT_CSV) bad = table_print_csv(&f, to, e);
        else {
            json_t *table = table_to_json(&f, e);
            bad = !table || json_array_append_new(list, table);
        }
        table_filled_free(&f);
    }
    if (!bad && format == FORMAT_JSON) bad = json_finish(list, to, e);
    json_decref(list);
    return bad ? -1 : 0;
}

/* To the file, whole or not at all, or to stdout. */
static int tables_write(
    const TableSpec *s, TableRuns *runs, const char *name, TableFormat format, const char *out, int *empty, int *failing, Error *e) {
    FileOut file;
    if (!out) return tables_print(s, runs, name, format, stdout, empty, failing, e);
    if (file_create(&file, out, e)) return -1;
    if (!tables_print(s, runs, name, format, file.stream, empty, failing, e)) return file_commit(&file, e);
    file_abandon(&file);
    return -1;
}

static int check_say(int empty, int failing, Error *e) {
    if (!empty && !failing) return 0;
    return error_what(e, "the tables are not as they must be"), error_where(e, "--check"),
           error_found(e, "%d check%s that do%s not hold, %d empty cell%s of the built-in world", failing, failing == 1 ? "" : "s",
               failing == 1 ? "es" : "", empty, empty == 1 ? "" : "s"),
           error_hint(e, "the table says which, and what fills a cell");
}

/* The program's own tables by name. */
static int help_print(const Option *table, Error *e) {
    TableSpec s;
    if (spec_open(&s, NULL, e)) return -1;
    options_help(table, "table NAME|all [OPTION]...",
        "The paper's tables: each published number, with where it was printed, beside the mean and spread of what runs measured,\n"
        "and what the paper says of them, checked. Empty cells say what fills them.",
        stdout);
    putchar('\n');
    for (int i = 0; i < s.tables_n; i++) printf("  %-18s %s\n", s.tables[i].name, s.tables[i].title);
    spec_free(&s);
    return 0;
}

int command_table(int argc, char **argv, Error *e) {
    static const char *const formats[] = { [FORMAT_MARKDOWN] = "markdown", [FORMAT_CSV] = "csv", [FORMAT_JSON] = "json", NULL };
    static const char usual[] = "runs/tables"; /* which need not be there */
    const char *folder = usual, *out = NULL, *tables = NULL;
    int format = FORMAT_MARKDOWN, check = 0, operands, empty = 0, failing = 0;
    TableSpec s;
    TableRuns runs;
    const Option table[] = { { "runs", OPTION_TEXT, &folder, "DIR", "where runs are, each seed of a run in DIR/RUN-SEED", 0, 0, 0, NULL },
        { "format", OPTION_CHOICE, &format, NULL, "csv has a line for each cell, json each seed's value", 0, 0, 0, formats },
        { "out", OPTION_TEXT, &out, "FILE", "in place of stdout", 0, 0, 0, NULL },
        { "tables", OPTION_TEXT, &tables, "FILE", "tables of yours, as configs/tables/tables.json has the built-in ones", 0, 0, 0, NULL },
        { "check", OPTION_FLAG, &check, NULL, "exit with 1 when a check does not hold or a cell of the built-in world is empty", 0, 0, 0,
            NULL },
        { .name = NULL } };
    int parsed = options_parse(table, argc, argv, &operands, e);
    if (parsed == OPTIONS_HELP) return help_print(table, e);
    if (parsed) return 2;
    if (operands != 1)
        return error_what(e, "table takes one name"), error_where(e, "command line"), error_found(e, "%d", operands),
               error_expected(e, "a table, or all"), 2;
    if (folder != usual && !file_exists(folder))
        return error_what(e, "no such folder"), error_where(e, "--runs"), error_found(e, "%.200s", folder),
               error_expected(e, "a folder of runs, each seed in a folder RUN-SEED");
    if (spec_open(&s, tables, e)) return -1;
    int got = strcmp(argv[0], "all") && !spec_table(&s, argv[0], e) ? 2 : runs_open(&runs, &s, folder, e);
    if (!got) {
        got = tables_write(&s, &runs, argv[0], (TableFormat)format, out, &empty, &failing, e);
        runs_close(&runs);
    }
    spec_free(&s);
    return !got && check ? check_say(empty, failing, e) : got;
}

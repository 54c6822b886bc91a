/* options.c - owns the parsing and printing of option tables. Refuses unknown options (naming the nearest), repeated ones, values outside
 * an option's type and range, missing required ones, and operands where a command takes none. */
#include "engine/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const dtype_choices[] = { [FP32] = "fp32", [BF16] = "bf16", NULL };

enum { OPTIONS_MOST = 64 };

static size_t table_size(const Option *table) {
    size_t n = 0;
    while (table[n].name) n++;
    return n;
}

static const Option *option_find(const Option *table, const char *word, size_t size, Error *e) {
    const char *names[OPTIONS_MOST + 1];
    char name[64];
    size_t n = 0;
    for (const Option *o = table; o->name; o++) {
        if (strlen(o->name) == size && !memcmp(o->name, word, size)) return o;
        if (n < OPTIONS_MOST) names[n++] = o->name;
    }
    names[n++] = "help";
    snprintf(name, sizeof name, "%.*s", (int)(size < 63 ? size : 63), word);
    const char *near = nearest_name(name, names, n);
    error_what(e, "unknown option --%s", name), error_where(e, "command line");
    if (near) error_hint(e, "did you mean --%s?", near);
    else error_hint(e, "--help lists them");
    return NULL;
}

static void choices_text(const char *const *choices, char *out, size_t size) {
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; choices[i] && used < size; i++) used += (size_t)snprintf(out + used, size - used, "%s%s", i ? " | " : "", choices[i]);
}

static int option_set(const Option *o, const char *value, Error *e) {
    char expected[200] = "text", *end;
    int failed = 0;
    errno = 0;
    switch (o->type) {
    case OPTION_TEXT:
        failed = !value[0];
        if (!failed) *(const char **)o->value = value;
        break;
    case OPTION_INT: {
        long long n = strtoll(value, &end, 10);
        failed = end == value || *end || errno || (double)n < o->least || (double)n > o->most;
        if (!failed) *(int64_t *)o->value = n;
        snprintf(expected, sizeof expected, "an integer from %.0f to %.0f", o->least, o->most);
        break;
    }
    case OPTION_NUMBER: {
        double x = strtod(value, &end);
        failed = end == value || *end || !isfinite(x) || x < o->least || x > o->most;
        if (!failed) *(double *)o->value = x;
        snprintf(expected, sizeof expected, "a number from %g to %g", o->least, o->most);
        break;
    }
    case OPTION_CHOICE: {
        int i = 0;
        while (o->choices[i] && strcmp(o->choices[i], value)) i++;
        failed = !o->choices[i];
        if (!failed) *(int *)o->value = i;
        choices_text(o->choices, expected, sizeof expected);
        break;
    }
    case OPTION_FLAG:
        *(int *)o->value = 1;
        break;
    }
    if (!failed) return 0;
    return error_what(e, "bad value of --%s", o->name), error_where(e, "command line"), error_found(e, "\"%.200s\"", value),
           error_expected(e, "%s", expected);
}

int options_parse(const Option *table, int argc, char **argv, int *operands, Error *e) {
    int kept = 0, only_operands = 0;
    unsigned char given[OPTIONS_MOST] = { 0 };
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return OPTIONS_HELP;
    for (int i = 0; i < argc; i++) {
        char *word = argv[i];
        if (!only_operands && !strcmp(word, "--")) {
            only_operands = 1;
            continue;
        }
        if (only_operands || strncmp(word, "--", 2)) {
            if (!operands)
                return error_what(e, "unexpected argument"), error_where(e, "command line"), error_found(e, "\"%.200s\"", word),
                       error_hint(e, "--help shows what this command takes"), OPTIONS_USAGE;
            argv[kept++] = word;
            continue;
        }
        size_t size = strcspn(word + 2, "=");
        const Option *o = option_find(table, word + 2, size, e);
        if (!o) return OPTIONS_USAGE;
        const char *value = word[2 + size] ? word + 3 + size : NULL;
        if (o->type == OPTION_FLAG ? value != NULL : !value && i + 1 >= argc)
            return error_what(e, value ? "--%s takes no value" : "--%s needs a value", o->name), error_where(e, "command line"),
                   OPTIONS_USAGE;
        if (given[o - table]++) return error_what(e, "--%s is given twice", o->name), error_where(e, "command line"), OPTIONS_USAGE;
        if (!value && o->type != OPTION_FLAG) value = argv[++i];
        if (option_set(o, value, e)) return OPTIONS_USAGE;
    }
    for (size_t i = 0; i < table_size(table); i++)
        if (table[i].required && !given[i])
            return error_what(e, "--%s is missing", table[i].name), error_where(e, "command line"), error_expected(e, "%s", table[i].help),
                   error_hint(e, "--help shows what this command takes"), OPTIONS_USAGE;
    if (operands) *operands = kept;
    return 0;
}

void options_help(const Option *table, const char *synopsis, const char *about, FILE *to) {
    fprintf(to, "usage: rlaifv %s\n%s\n\n", synopsis, about);
    for (const Option *o = table; o->name; o++) {
        char left[320], choices[200];
        if (o->type == OPTION_CHOICE) choices_text(o->choices, choices, sizeof choices);
        else snprintf(choices, sizeof choices, "%s", o->argument ? o->argument : "");
        snprintf(left, sizeof left, "--%s%s%s", o->name, choices[0] ? " " : "", choices);
        fprintf(to, "  %-28s %s", left, o->help);
        if (o->required) fputs(" (required)", to);
        else if (o->type == OPTION_INT) fprintf(to, " (default %lld)", (long long)*(const int64_t *)o->value);
        else if (o->type == OPTION_NUMBER) fprintf(to, " (default %g)", *(const double *)o->value);
        else if (o->type == OPTION_CHOICE) fprintf(to, " (default %s)", o->choices[*(const int *)o->value]);
        else if (o->type == OPTION_TEXT && *(const char *const *)o->value) fprintf(to, " (default %s)", *(const char *const *)o->value);
        putc('\n', to);
    }
    fprintf(to, "  %-28s %s\n", "--help", "this text");
}

/* options.h - the options of commands that take no config: a table per command, parsed and explained by one piece of code.
 *
 * An option is --name VALUE or --name=VALUE; a flag takes no value. What does not begin with "--" is an operand, and "--" alone ends the
 * options. Every table gets --help, and those built on OPTIONS_COMMON get --device, --dtype, --threads and --seed. */
#ifndef RLAIFV_ENGINE_OPTIONS_H
#define RLAIFV_ENGINE_OPTIONS_H

#include "base/error.h"
#include "kernels/kernels.h"

#include <stdio.h>

typedef enum OptionType {
    OPTION_TEXT,   /* const char **, never empty */
    OPTION_INT,    /* int64_t *, least <= value <= most */
    OPTION_NUMBER, /* double *, least <= value <= most */
    OPTION_CHOICE, /* int *: index into choices */
    OPTION_FLAG    /* int *: 1 when given */
} OptionType;

typedef struct Option {
    const char *name; /* without the dashes; NULL ends a table */
    OptionType type;
    void *value;                 /* holds the default before parsing */
    const char *argument, *help; /* "DIR", "a checkpoint folder" */
    int required;
    double least, most;
    const char *const *choices; /* NULL-terminated */
} Option;

/* What every command takes. */
typedef struct CommonOptions {
    const char *device;
    int dtype; /* DType */
    int64_t threads, seed;
} CommonOptions;
#define COMMON_DEFAULTS ((CommonOptions){ .device = "cpu", .dtype = FP32 })
extern const char *const dtype_choices[]; /* in the order of DType */
/* The four table lines for a CommonOptions variable. */
#define OPTIONS_COMMON(C)                                                                                                                  \
    { "device", OPTION_TEXT, &(C).device, "NAME", "where to compute: cpu or cuda", 0, 0, 0, NULL },                                           \
        { "dtype", OPTION_CHOICE, &(C).dtype, "TYPE", "weights and activations", 0, 0, 0, dtype_choices },                                 \
        { "threads", OPTION_INT, &(C).threads, "N", "0: all cores", 0, 0, 4096, NULL }, {                                                  \
        "seed", OPTION_INT, &(C).seed, "N", "of everything random", 0, 0, 9007199254740991.0, NULL                                         \
    }

/* Results of options_parse beside 0. */
enum { OPTIONS_HELP = 1, OPTIONS_USAGE = 2 };

/* Parses argv. Operands are moved to its front and counted in *operands (NULL: none are allowed). 0; OPTIONS_HELP; OPTIONS_USAGE with the
 * Error filled. */
int options_parse(const Option *table, int argc, char **argv, int *operands, Error *e);
/* "usage: rlaifv SYNOPSIS", what it does, and the table with defaults (the table must still hold them: call before parsing changed it, or
 * after OPTIONS_HELP). */
void options_help(const Option *table, const char *synopsis, const char *about, FILE *to);

#endif

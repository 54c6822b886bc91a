/* bench.c - `rlaifv bench`: which part, and the command line of `bench kernels` (the measuring stands in bench/). */
#include "engine/bench.h"

#include "bench/device.h"
#include "bench/kernels.h"
#include "bench/load.h"
#include "bench/tokenizer.h"
#include "engine/commands.h"
#include "engine/options.h"

#include <string.h>

/* `rlaifv bench kernels [NAME]`: a table on stderr, one JSON object per rung on stdout. */
static int kernels_part(int argc, char **argv, Error *e) {
    CommonOptions common = COMMON_DEFAULTS;
    int operands = 0;
    const Option table[] = { OPTIONS_COMMON(common), { .name = NULL } };
    int got = options_parse(table, argc, argv, &operands, e);
    if (got == OPTIONS_HELP)
        return options_help(table, "bench kernels [NAME] [OPTION]...",
                   "Checks and times the kernels whose names contain NAME: on the CPU by ladders beside this machine's measured roofs, on "
                   "a GPU at the "
                   "models' shapes beside its roofs; the emulator counts memory traffic instead of time.",
                   stdout),
               0;
    if (got) return 2;
    if (operands > 1)
        return error_what(e, "too many names"), error_where(e, "rlaifv bench kernels"), error_found(e, "%d", operands),
               error_expected(e, "at most one"), 2;
    const Kernels *k = kernels_open(common.device, (int)common.threads, e);
    return k ? (k->unified ? bench_kernels : bench_device)(operands ? argv[0] : NULL, k, stderr, stdout, e) : -1;
}

/* `rlaifv bench tokenizer --model DIR --data FILE`: one JSON line on stdout. */
static int tokenizer_part(int argc, char **argv, Error *e) {
    const char *model = NULL, *data = NULL;
    int64_t piece = 10000;
    const Option table[] = { { "model", OPTION_TEXT, &model, "DIR", "checkpoint folder with tokenizer.model or tokenizer.json", 1, 0, 0, NULL },
        { "data", OPTION_TEXT, &data, "FILE", "any text", 1, 0, 0, NULL },
        { "piece", OPTION_INT, &piece, "N", "bytes of each text that the file is cut into; 0: the file is one", 0, 0, INT32_MAX, NULL },
        { .name = NULL } };
    int got = options_parse(table, argc, argv, NULL, e);
    if (got == OPTIONS_HELP)
        return options_help(table, "bench tokenizer --model DIR --data FILE [--piece N]",
                   "MB/s of encoding and decoding on one thread: the best of three, and the first, which has met no word before.", stdout),
               0;
    return got ? 2 : bench_tokenizer(model, data, (size_t)piece, stdout, e);
}

/* `rlaifv bench load --model DIR`: a line for each round on stderr, one JSON line on stdout. */
static int load_part(int argc, char **argv, Error *e) {
    const char *model = NULL;
    int64_t runs = 9;
    int cached = 0;
    CommonOptions common = COMMON_DEFAULTS;
    const Option table[] = { { "model", OPTION_TEXT, &model, "DIR", "checkpoint folder", 1, 0, 0, NULL },
        { "runs", OPTION_INT, &runs, "N", "times each", 0, 1, BENCH_LOADS, NULL },
        { "cached", OPTION_FLAG, &cached, NULL, "with the files in the page cache; else they are taken from it before each", 0, 0, 0, NULL },
        OPTIONS_COMMON(common), { .name = NULL } };
    int got = options_parse(table, argc, argv, NULL, e);
    if (got == OPTIONS_HELP)
        return options_help(table, "bench load --model DIR [OPTION]...",
                   "Seconds of loading a checkpoint beside those of reading its files, through a small buffer and into memory as large, in turn: least and median.",
                   stdout),
               0;
    if (got) return 2;
    const Kernels *k = kernels_open(common.device, (int)common.threads, e);
    return k ? bench_load(model, k, (DType)common.dtype, (int)runs, cached, stderr, stdout, e) : -1;
}

int command_bench(int argc, char **argv, Error *e) {
    static const struct {
        const char *name, *help;
        int (*part)(int argc, char **argv, Error *e);
    } parts[] = { { "kernels", "every kernel's ladder against the machine's roofs", kernels_part },
        { "jobs", "the jobs of an online iteration, as the peer scripts time them", bench_jobs },
        { "load", "seconds of loading a checkpoint beside reading its files", load_part },
        { "tokenizer", "MB/s of a checkpoint's tokenizer", tokenizer_part } };
    enum { PARTS = sizeof parts / sizeof *parts };
    const char *names[PARTS];
    for (int i = 0; i < PARTS; i++) {
        names[i] = parts[i].name;
        if (argc > 0 && !strcmp(argv[0], parts[i].name)) return parts[i].part(argc - 1, argv + 1, e);
    }
    if (argc > 0 && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))) {
        printf("usage: rlaifv bench PART ...\n\n");
        for (int i = 0; i < PARTS; i++) printf("  %-9s %s\n", parts[i].name, parts[i].help);
        return 0;
    }
    const char *near = argc > 0 ? nearest_name(argv[0], names, PARTS) : NULL;
    error_what(e, argc > 0 ? "unknown part of bench" : "bench needs a part"), error_where(e, "rlaifv bench");
    if (argc > 0) error_found(e, "%.100s", argv[0]);
    if (near) error_hint(e, "did you mean %s?", near);
    else error_expected(e, "kernels, jobs, load or tokenizer");
    return 2;
}

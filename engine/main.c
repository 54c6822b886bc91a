/* main.c - the program: which command, and how its result becomes an exit code. Nothing else.
 *
 * Exits 0 done, 1 refused input or failed, 2 wrong usage. Errors go to stderr as one line that begins with "rlaifv: ".
 *
 * Started by mpirun or srun it is one of several ranks. Commands that know of no ranks run on rank 0; the others wait for it, and all exit
 * with its code. Rank 0 says what is wrong; an error that another rank has alone ends all where it is found. */
#include "engine/commands.h"
#include "engine/version.h"
#include "kernels/comm/world.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*command)(int argc, char **argv, Error *e);
    int all_ranks; /* take part; else rank 0 alone */
    const char *help;
} commands[] = {
    { "run", command_run, 1, "the whole loop: sample, label, pair, train, evaluate; again from where it stopped" },
    { "sample", command_sample, 1, "candidate answers of the policy" },
    { "label", command_label, 1, "claims of the answers, and what the labeler says of each" },
    { "pair", command_pair, 0, "preference pairs from scores" },
    { "train", command_train, 1, "preference optimisation on pairs" },
    { "eval", command_eval, 1, "answers on evaluation prompts, and how far they can be trusted" },
    { "plan", command_plan, 0, "the memory that a run needs, and what it costs, before it begins" },
    { "report", command_report, 0, "a run as one HTML page: curves, tables, answers, pairs" },
    { "table", command_table, 0, "the paper's tables: published numbers beside measured ones" },
    { "sft", command_sft, 0, "supervised fine-tuning on the same engine" },
    { "score", command_score, 0, "log-probs of chosen and rejected answers" },
    { "generate", command_generate, 0, "answers to prompts" },
    { "best", command_best, 0, "best-of-N by the model's own reward" },
    { "probe", command_probe, 0, "probabilities of yes and no as the first word" },
    { "tokenize", command_tokenize, 0, "ids of text" },
    { "preprocess", command_preprocess, 0, "images as the tower sees them" },
    { "inspect", command_inspect, 0, "what a checkpoint is" },
    { "convert", command_convert, 0, "preference pairs between this program's rows and other programs'" },
    { "scenes", command_scenes, 0, "pictures and rows of the built-in world" },
    { "bench", command_bench, 0, "speed of kernels and jobs" },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void usage(FILE *to) {
    fputs("usage: rlaifv COMMAND ...\n\n", to);
    for (int i = 0; i < COMMANDS; i++) fprintf(to, "  %-11s %s\n", commands[i].name, commands[i].help);
    fputs("\n`rlaifv COMMAND --help` explains one; `rlaifv --version` says which program this is.\n", to);
}

static int report(const Error *e) {
    char text[sizeof(Error) + 64];
    fflush(stdout);
    fprintf(stderr, "rlaifv: %s%s\n", world_here()->size > 1 ? "rank 0: " : "", error_text(e, text, sizeof text));
    return 1;
}

static int takes_part(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(name, commands[i].name)) return commands[i].all_ranks;
    return 0;
}

static int run(const World *w, int argc, char **argv) {
    Error e = { 0 };
    if (argc < 2) return w->rank ? 2 : (usage(stderr), 2);
    if (w->rank && !takes_part(argv[1])) return 0;
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) return usage(stdout), 0;
    if (!strcmp(argv[1], "--version")) return printf("rlaifv %s\n", program_version()), 0;
    const char *names[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        names[i] = commands[i].name;
        if (strcmp(argv[1], commands[i].name)) continue;
        int result = commands[i].command(argc - 2, argv + 2, &e);
        if (result) return w->rank ? 0 : report(&e), result == 2 ? 2 : 1;
        /* Results that never reached their reader are a failure too. */
        if (fflush(stdout) || ferror(stdout)) return error_what(&e, "cannot write to stdout"), report(&e);
        return 0;
    }
    const char *near = nearest_name(argv[1], names, COMMANDS);
    error_what(&e, "unknown command \"%.100s\"", argv[1]);
    if (near) error_hint(&e, "did you mean %s?", near);
    else error_hint(&e, "`rlaifv --help` lists them");
    return report(&e), 2;
}

int main(int argc, char **argv) {
    Error e = { 0 };
    const World *w = world_open(&e);
    if (!w) world_fail(&e);
    kernels_device_choose(w->node_rank);
    return world_close(run(w, argc, argv));
}

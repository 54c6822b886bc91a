/* commands.h - the commands of the program, one function each. main.c lists them; each stands in the file that does its work.
 *
 * argv holds the arguments after the command's name. Results go to stdout, talk to stderr. Returns 0 done; -1 with the Error filled:
 * refused input or failure; 2 with the Error filled: wrong usage. --help prints the command's help and returns 0. */
#ifndef RLAIFV_ENGINE_COMMANDS_H
#define RLAIFV_ENGINE_COMMANDS_H

#include "base/error.h"

int command_run(int argc, char **argv, Error *e);
int command_sample(int argc, char **argv, Error *e);
int command_label(int argc, char **argv, Error *e);
int command_pair(int argc, char **argv, Error *e);
int command_train(int argc, char **argv, Error *e);
int command_eval(int argc, char **argv, Error *e);
/* What `eval` does when its first argument names a benchmark (eval_options.h; command_benchmarks.c lists them), else nothing, and *known is 0. */
int command_benchmark(int argc, char **argv, int *known, Error *e);
int command_sft(int argc, char **argv, Error *e);
int command_score(int argc, char **argv, Error *e);
int command_generate(int argc, char **argv, Error *e);
int command_best(int argc, char **argv, Error *e);
int command_probe(int argc, char **argv, Error *e);
int command_tokenize(int argc, char **argv, Error *e);
int command_preprocess(int argc, char **argv, Error *e);
int command_inspect(int argc, char **argv, Error *e);
int command_convert(int argc, char **argv, Error *e);
int command_scenes(int argc, char **argv, Error *e);
int command_report(int argc, char **argv, Error *e);
int command_table(int argc, char **argv, Error *e);
int command_plan(int argc, char **argv, Error *e);
int command_bench(int argc, char **argv, Error *e);

#endif

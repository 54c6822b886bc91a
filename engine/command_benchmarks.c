/* command_benchmarks.c - `rlaifv eval amber | pope | chair | choice | scenes`: published evaluations over answers in files. Needs no model. */
#include "engine/commands.h"
#include "engine/eval/amber.h"
#include "engine/eval/chair.h"
#include "engine/eval/choice.h"
#include "engine/eval/pope.h"
#include "engine/eval/scenes_files.h"
#include "engine/options.h"
#include "kernels/comm/world.h"

#include <string.h>

typedef struct Shared {
    EvalSettings settings;
    const char *out;
} Shared;
#define SHARED_DEFAULTS ((Shared){ .settings = { .resamples = RESAMPLES } })
/* The table lines of every benchmark, for a Shared variable; `answers` explains the file. */
#define OPTIONS_SHARED(S, ANSWERS) OPTIONS_SHARED_BUT(S, ANSWERS, 1)
#define OPTIONS_SHARED_BUT(S, ANSWERS, NEEDED)                                                                                             \
    { "answers", OPTION_TEXT, &(S).settings.answers, "F", ANSWERS, NEEDED, 0, 0, NULL },                                                   \
        { "out", OPTION_TEXT, &(S).out, "F", "the result, as JSON; a table goes to stdout", 1, 0, 0, NULL },                               \
        { "rows", OPTION_TEXT, &(S).settings.rows, "F", "what was found in each answer, as JSONL", 0, 0, 0, NULL },                        \
        { "partial", OPTION_FLAG, &(S).settings.partial, NULL, "count missing and extra answers, do not refuse them", 0, 0, 0, NULL },     \
        { "resamples", OPTION_INT, &(S).settings.resamples, "N", "of the bootstrap", 0, 100, 1000000, NULL }, {                            \
        "seed", OPTION_INT, &(S).settings.seed, "N", "of the bootstrap", 0, 0, 9007199254740991.0, NULL                                    \
    }
#define ANSWERS_OF_QUESTIONS "rows {question_id | id, response | answer | text}, JSONL or a JSON array"
#define WORDNET(VALUE)                                                                                                                     \
    {                                                                                                                                      \
        "wordnet", OPTION_TEXT, VALUE, "DIR", "WordNet's noun.exc and index.noun (Debian: /usr/share/wordnet); else built-in rules", 0, 0, \
            0, NULL                                                                                                                        \
    }

/* 1: go on; else what the command returns. */
static int parsed(const Option *table, int argc, char **argv, const char *synopsis, const char *about, Error *e) {
    int got = options_parse(table, argc, argv, NULL, e);
    if (got == OPTIONS_HELP) return options_help(table, synopsis, about, stdout), 0;
    return got ? 2 : 1;
}

static int amber(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    AmberFiles f = { 0 };
    const Option table[] = {
        { "annotations", OPTION_TEXT, &f.annotations, "F", "AMBER's annotations.json", 1, 0, 0, NULL },
        { "relation", OPTION_TEXT, &f.relation, "F", "AMBER's relation.json, for descriptions", 0, 0, 0, NULL },
        { "safe-words", OPTION_TEXT, &f.safe_words, "F", "AMBER's safe_words.txt, for descriptions", 0, 0, 0, NULL },
        { "queries", OPTION_TEXT, &f.queries, "F", "what was asked, such as query_generative.json; else all that is annotated", 0, 0, 0,
            NULL },
        WORDNET(&f.wordnet),
        OPTIONS_SHARED(s, ANSWERS_OF_QUESTIONS),
        { 0 },
    };
    int got = parsed(table, argc, argv, "eval amber --answers F --annotations F [--relation F --safe-words F] [--queries F] --out F",
        "AMBER: CHAIR, Cover, Hal and Cog of descriptions; accuracy, precision, recall and F1 of yes/no answers.", e);
    return got == 1 ? amber_eval(&s.settings, &f, s.out, stdout, e) : got;
}

static int pope(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    const char *questions = NULL;
    const Option table[] = {
        { "questions", OPTION_TEXT, &questions, "F[,F]", "POPE's files, rows {question_id, label}", 1, 0, 0, NULL },
        OPTIONS_SHARED(s, "as many files of " ANSWERS_OF_QUESTIONS),
        { 0 },
    };
    int got = parsed(table, argc, argv, "eval pope --questions F[,F,F] --answers F[,F,F] --out F",
        "POPE: accuracy, precision, recall, F1 and share of yes, by file.", e);
    return got == 1 ? pope_eval(&s.settings, questions, s.out, stdout, e) : got;
}

static int chair(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    ChairFiles f = { 0 };
    const Option table[] = {
        { "truth", OPTION_TEXT, &f.truth, "F[,F]", "COCO's instances_*.json and captions_*.json, or rows {image_id, objects, captions}", 1,
            0, 0, NULL },
        { "synonyms", OPTION_TEXT, &f.synonyms, "F", "a class of COCO a line with its synonyms, apart by commas", 1, 0, 0, NULL },
        WORDNET(&f.wordnet),
        OPTIONS_SHARED(s, "rows {image_id | image | id, response | answer | text}, JSONL or a JSON array"),
        { 0 },
    };
    int got = parsed(table, argc, argv, "eval chair --answers F --truth F[,F] --synonyms F --out F",
        "CHAIR, as Object HalBench counts it without a language model: hallucinated answers and mentions, recall.", e);
    return got == 1 ? chair_eval(&s.settings, &f, s.out, stdout, e) : got;
}

static int choice(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    const char *questions = NULL;
    const Option table[] = {
        { "questions", OPTION_TEXT, &questions, "F", "rows {question_id | id | index, answer: letter, options, category}", 1, 0, 0, NULL },
        OPTIONS_SHARED(s, ANSWERS_OF_QUESTIONS),
        { 0 },
    };
    int got = parsed(
        table, argc, argv, "eval choice --questions F --answers F --out F", "Multiple choice, such as MMStar: accuracy by category.", e);
    return got == 1 ? choice_eval(&s.settings, questions, s.out, stdout, e) : got;
}

static int scenes(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    ScenesFiles f = { 0 };
    const Option table[] = {
        { "data", OPTION_TEXT, &f.data, "F", "prompts.jsonl of `rlaifv scenes`: rows {id, image, question, truth}", 1, 0, 0, NULL },
        { "pairs", OPTION_TEXT, &f.pairs, "F", "pairs.jsonl: how often the truth prefers what it prefers", 0, 0, 0, NULL },
        { "corrections", OPTION_TEXT, &f.corrections, "F", "gets pairs of each answer corrected by the truth and as it was, as people's corrections are", 0, 0, 0,
            NULL },
        OPTIONS_SHARED_BUT(s, "rows {id, text}, such as candidates.jsonl", 0),
        { 0 },
    };
    int got = parsed(table, argc, argv, "eval scenes --data F [--answers F] [--pairs F] [--corrections F] --out F",
        "The built-in world's truth: hallucination and coverage of answers, agreement of pairs.", e);
    return got == 1 ? scenes_files_eval(&s.settings, &f, s.out, stdout, e) : got;
}

int command_benchmark(int argc, char **argv, int *known, Error *e) {
    static const struct {
        const char *name;
        int (*command)(int argc, char **argv, Error *e);
    } all[] = { { "amber", amber }, { "pope", pope }, { "chair", chair }, { "choice", choice }, { "scenes", scenes } };
    *known = 0;
    for (size_t i = 0; argc > 0 && i < sizeof all / sizeof *all; i++) {
        if (strcmp(argv[0], all[i].name)) continue;
        *known = 1;
        return world_here()->rank ? 0 : all[i].command(argc - 1, argv + 1, e); /* nothing here is worth dealing out */
    }
    return 0;
}

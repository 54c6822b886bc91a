/* command_benchmarks.c - `rlaifv eval NAME`: published evaluations over answers in files. amber, pope, chair, choice and scenes stand here; those that people or
 * a language model judge in command_judges.c. */
#include "engine/commands.h"
#include "engine/eval/amber.h"
#include "engine/eval/chair.h"
#include "engine/eval/choice.h"
#include "engine/eval/pope.h"
#include "engine/eval/scenes_files.h"
#include "engine/eval_options.h"
#include "kernels/comm/world.h"

#include <string.h>

#define WORDNET(VALUE)                                                                                                                     \
    {                                                                                                                                      \
        "wordnet", OPTION_TEXT, VALUE, "DIR", "WordNet's noun.exc and index.noun (Debian: /usr/share/wordnet); else built-in rules", 0, 0, \
            0, NULL                                                                                                                        \
    }

int eval_parsed(const Option *table, int argc, char **argv, const char *synopsis, const char *about, Error *e) {
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
    int got = eval_parsed(table, argc, argv, "eval amber --answers F --annotations F [--relation F --safe-words F] [--queries F] --out F",
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
    int got = eval_parsed(table, argc, argv, "eval pope --questions F[,F,F] --answers F[,F,F] --out F",
        "POPE: accuracy, precision, recall, F1 and share of yes, by file.", e);
    return got == 1 ? pope_eval(&s.settings, questions, s.out, stdout, e) : got;
}

static int chair(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    JudgeSettings extractor = JUDGE_DEFAULTS("extractor");
    ChairFiles f = { 0 };
    const Option table[] = {
        { "truth", OPTION_TEXT, &f.truth, "F[,F]", "COCO's instances_*.json and captions_*.json, or rows {image_id, objects, captions}", 1,
            0, 0, NULL },
        { "synonyms", OPTION_TEXT, &f.synonyms, "F", "a class of COCO a line with its synonyms, apart by commas", 1, 0, 0, NULL },
        WORDNET(&f.wordnet),
        { "prompt", OPTION_TEXT, &f.prompt, "F", "what an extractor is asked: a text with {answer}; else the built-in one", 0, 0, 0, NULL },
        OPTIONS_JUDGE(extractor, "extractor"),
        OPTIONS_SHARED(s, "rows {image_id | image | id, response | answer | text}, JSONL or a JSON array"),
        { 0 },
    };
    int got = eval_parsed(table, argc, argv, "eval chair --answers F --truth F[,F] --synonyms F --out F",
        "CHAIR, as Object HalBench counts it: hallucinated answers and mentions, recall. Objects are found by the words of the answers or, with\n"
        "--extractor, --endpoint or --replay, listed by a language model.",
        e);
    if (got != 1) return got;
    extractor.seed = s.settings.seed;
    if (extractor.folder || extractor.endpoint.url || extractor.replay) f.extractor = &extractor;
    return chair_eval(&s.settings, &f, s.out, stdout, e);
}

static int choice(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    const char *questions = NULL;
    const Option table[] = {
        { "questions", OPTION_TEXT, &questions, "F", "rows {question_id | id | index, answer: letter, options, category}", 1, 0, 0, NULL },
        OPTIONS_SHARED(s, ANSWERS_OF_QUESTIONS),
        { 0 },
    };
    int got = eval_parsed(
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
        { "answers", OPTION_TEXT, &s.settings.answers, "F", "rows {id, text}, such as candidates.jsonl", 0, 0, 0, NULL },
        OPTIONS_RESULT(s),
        { 0 },
    };
    int got = eval_parsed(table, argc, argv, "eval scenes --data F [--answers F] [--pairs F] [--corrections F] --out F",
        "The built-in world's truth: hallucination and coverage of answers, agreement of pairs.", e);
    return got == 1 ? scenes_files_eval(&s.settings, &f, s.out, stdout, e) : got;
}

int command_benchmark(int argc, char **argv, int *known, Error *e) {
    static const struct {
        const char *name;
        int (*command)(int argc, char **argv, Error *e);
    } all[] = { { "amber", amber }, { "pope", pope }, { "chair", chair }, { "choice", choice }, { "scenes", scenes }, { "mmhal", eval_mmhal }, { "refomb", eval_refomb },
        { "llava-bench", eval_llava_bench }, { "mhumaneval", eval_mhumaneval } };
    *known = 0;
    for (size_t i = 0; argc > 0 && i < sizeof all / sizeof *all; i++) {
        if (strcmp(argv[0], all[i].name)) continue;
        *known = 1;
        return world_here()->rank ? 0 : all[i].command(argc - 1, argv + 1, e); /* nothing here is worth dealing out */
    }
    return 0;
}

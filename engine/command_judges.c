/* command_judges.c - `rlaifv eval mmhal | refomb | llava-bench | mhumaneval`: evaluations that a language model or people judge. */
#include "engine/eval/judged.h"
#include "engine/eval/mhumaneval.h"
#include "engine/eval_options.h"

#include <string.h>

#define OPTIONS_QUESTIONS(F, ROWS)                                                                                                         \
    { "questions", OPTION_TEXT, &(F).questions, "F", ROWS, 1, 0, 0, NULL },                                                                \
        { "references", OPTION_TEXT, &(F).references, "F",                                                                                 \
            "rows {id, answer}: the answers to be held against, of questions that have none", 0, 0, 0, NULL },                             \
        { "prompt", OPTION_TEXT, &(F).prompt, "F", "what the judge is asked; else the built-in one of configs/prompts", 0, 0, 0, NULL }, { \
        "runs", OPTION_INT, &(F).runs, "N", "times that everything is asked; the numbers are averages", 0, 1, 100, NULL                    \
    }
#define ANSWERS_BY_ID "rows {question_id | id | index, response | answer | text | model_answer}; without ids by their place"

static int evaluate(int got, Shared *s, const JudgedFiles *f, JudgeSettings *judge,
    int (*eval)(const EvalSettings *, const JudgedFiles *, const JudgeSettings *, const char *, FILE *, Error *), Error *e) {
    judge->seed = s->settings.seed;
    return got == 1 ? eval(&s->settings, f, judge, s->out, stdout, e) : got;
}

int eval_mmhal(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    JudgedFiles f = { .runs = 1 };
    JudgeSettings judge = JUDGE_DEFAULTS("judge");
    const Option table[] = {
        OPTIONS_QUESTIONS(f, "MMHal-Bench's rows {question, gt_answer, image_content, question_type}; the file of answers may be the same"),
        OPTIONS_JUDGE(judge, "judge"),
        OPTIONS_SHARED(s, ANSWERS_BY_ID),
        { 0 },
    };
    int got = eval_parsed(table, argc, argv,
        "eval mmhal --questions F --answers F (--judge DIR | --endpoint URL --judge-name MODEL) --out F",
        "MMHal-Bench: a judge rates each answer from 0 to 6; score, share with a hallucination, informativeness, by type of question.", e);
    return evaluate(got, &s, &f, &judge, mmhal_eval, e);
}

int eval_refomb(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    JudgedFiles f = { .runs = 1 };
    JudgeSettings judge = JUDGE_DEFAULTS("judge");
    const Option table[] = {
        OPTIONS_QUESTIONS(f, "RefoMB's rows {id, question, description, answer: the reference's, type}"),
        { "hallucination-prompt", OPTION_TEXT, &f.second_prompt, "F", "what the judge is asked about its review; else the built-in one", 0,
            0, 0, NULL },
        { "swap", OPTION_FLAG, &f.swap, NULL, "compare in both orders, not with the reference first alone", 0, 0, 0, NULL },
        OPTIONS_JUDGE(judge, "judge"),
        OPTIONS_SHARED(s, ANSWERS_BY_ID),
        { 0 },
    };
    int got = eval_parsed(table, argc, argv,
        "eval refomb --questions F --answers F (--judge DIR | --endpoint URL --judge-name MODEL) --out F",
        "RefoMB: a judge compares each answer with a reference's; wins and, from its reviews, who hallucinates less (trust), by category.",
        e);
    return evaluate(got, &s, &f, &judge, refomb_eval, e);
}

int eval_llava_bench(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    JudgedFiles f = { .runs = 1 };
    JudgeSettings judge = JUDGE_DEFAULTS("judge");
    const Option table[] = {
        OPTIONS_QUESTIONS(f, "LLaVA-Bench's rows {question_id, image, text, category}"),
        { "context", OPTION_TEXT, &f.contexts, "F", "rows {image, captions | caption, instances}: what the judge is told of the pictures",
            0, 0, 0, NULL },
        OPTIONS_JUDGE(judge, "judge"),
        OPTIONS_SHARED(s, ANSWERS_BY_ID),
        { 0 },
    };
    int got = eval_parsed(table, argc, argv,
        "eval llava-bench --questions F --references F --context F --answers F (--judge DIR | --endpoint URL --judge-name MODEL) --out F",
        "LLaVA-Bench: a judge scores a reference answer and the model's from 1 to 10; 100 x mean(model) / mean(reference), by category.",
        e);
    return evaluate(got, &s, &f, &judge, llava_bench_eval, e);
}

/* ---- people ---- */

static int mhumaneval_out(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    const char *questions = NULL;
    const Option table[] = {
        { "questions", OPTION_TEXT, &questions, "F", "rows {question_id | id | index, image, question | text}; without ids by their place",
            1, 0, 0, NULL },
        { "answers", OPTION_TEXT, &s.settings.answers, "F", ANSWERS_BY_ID, 1, 0, 0, NULL },
        { "out", OPTION_TEXT, &s.out, "F", "the sheet, as CSV", 1, 0, 0, NULL },
        { "partial", OPTION_FLAG, &s.settings.partial, NULL, "leave out questions without an answer, and answers to nothing", 0, 0, 0,
            NULL },
        { 0 },
    };
    int got = eval_parsed(table, argc, argv, "eval mhumaneval export --questions F --answers F --out SHEET.csv",
        "A sheet for people who mark what is not true of the pictures: a row for each answer, a column for each type.", e);
    return got == 1 ? mhumaneval_export(&s.settings, questions, s.out, stdout, e) : got;
}

static int mhumaneval_in(int argc, char **argv, Error *e) {
    Shared s = SHARED_DEFAULTS;
    const char *labels = NULL, *people = "people";
    const Option table[] = {
        { "labels", OPTION_TEXT, &labels, "F", "the sheet, filled in", 1, 0, 0, NULL },
        { "judges", OPTION_TEXT, &people, "WHO", "what the table calls those who marked", 0, 0, 0, NULL },
        OPTIONS_RESULT(s),
        { 0 },
    };
    int got = eval_parsed(table, argc, argv, "eval mhumaneval import --labels SHEET.csv --out F",
        "MHumanEval: the share of answers with a marked piece, of all types and of each, and pieces an answer.", e);
    return got == 1 ? mhumaneval_import(&s.settings, labels, people, s.out, stdout, e) : got;
}

int eval_mhumaneval(int argc, char **argv, Error *e) {
    if (argc > 0 && !strcmp(argv[0], "export")) return mhumaneval_out(argc - 1, argv + 1, e);
    if (argc > 0 && !strcmp(argv[0], "import")) return mhumaneval_in(argc - 1, argv + 1, e);
    if (argc > 0 && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h")))
        return puts("usage: rlaifv eval mhumaneval export | import ...\nexport writes a sheet for people to mark, import counts what they "
                    "marked; each explains itself with --help."),
               0;
    return error_what(e, "which half of mhumaneval?"), error_where(e, "command line"),
           error_found(e, "\"%.100s\"", argc > 0 ? argv[0] : ""), error_expected(e, "export or import"), 2;
}

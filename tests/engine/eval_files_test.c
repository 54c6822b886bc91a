/* Published evaluations over small files of our own: numbers and intervals as the Python twin's, how words and letters are read, refusals.
 */
#include "tests/engine/eval_expect.h"

#include "engine/commands.h"
#include "engine/eval/amber.h"
#include "engine/eval/answers.h"
#include "engine/eval/bootstrap.h"
#include "engine/eval/chair.h"
#include "engine/eval/choice.h"
#include "engine/eval/coco.h"
#include "engine/eval/nouns.h"
#include "engine/eval/pope.h"

static const char *file(const char *name, const char *text) {
    const char *path = at(folder, name);
    put(path, text, strlen(text));
    return strdup(path); /* the test frees it */
}

static const EvalSettings small = { .resamples = 1000, .seed = 5 };
static const char *out(void) { return at(folder, "result.json"); }
#define GOLDEN(NAME) EVAL_GOLDEN "/" NAME

/* ---- the twin's numbers ---- */

static const AmberFiles amber_files = {
    .annotations = GOLDEN("amber_annotations.json"), .relation = GOLDEN("amber_relation.json"), .safe_words = GOLDEN("amber_safe_words.txt")
};
static const ChairFiles chair_files = { .synonyms = GOLDEN("chair_synonyms.txt"),
    .truth = GOLDEN("chair_instances.json") "," GOLDEN("chair_captions.json") "," GOLDEN("chair_light.jsonl") };

static void numbers_of_amber(void **state) {
    (void)state;
    Error e = { 0 };
    EvalSettings s = small;
    s.answers = GOLDEN("amber_answers.jsonl");
    if (amber_eval(&s, &amber_files, out(), table, &e)) fail_msg("%s: %s", e.what, e.where);
    result_agrees(out(), expected("small", "amber"));
    assert_int_equal(result_count(out(), NULL, "answers"), 12);
    assert_int_equal(result_count(out(), NULL, "neither_yes_nor_no"), 2);
    assert_int_equal(result_count(out(), "relation", "answers"), 3);
}

static void numbers_of_pope(void **state) {
    (void)state;
    EvalSettings s = small;
    s.answers = GOLDEN("pope_answers.json");
    assert_int_equal(pope_eval(&s, GOLDEN("pope_questions.jsonl"), out(), table, NULL), 0);
    result_agrees(out(), expected("small", "pope"));
}

static void numbers_of_chair(void **state) {
    (void)state;
    Error e = { 0 };
    EvalSettings s = small;
    s.answers = GOLDEN("chair_answers.jsonl");
    if (chair_eval(&s, &chair_files, out(), table, &e)) fail_msg("%s: %s", e.what, e.where);
    result_agrees(out(), expected("small", "chair"));
}

static void numbers_of_choice(void **state) {
    (void)state;
    EvalSettings s = small;
    s.answers = GOLDEN("choice_answers.jsonl");
    assert_int_equal(choice_eval(&s, GOLDEN("choice_questions.jsonl"), out(), table, NULL), 0);
    result_agrees(out(), expected("small", "choice"));
}

/* By hand: what each answer of the small AMBER holds, and the table. */
static void rows_and_table(void **state) {
    (void)state;
    EvalSettings s = small;
    JsonLines lines;
    json_t *row;
    char text[4096] = "";
    s.answers = GOLDEN("amber_answers.jsonl");
    s.rows = strdup(at(folder, "rows.jsonl"));
    assert_int_equal(amber_eval(&s, &amber_files, out(), table, NULL), 0);
    assert_int_equal(jsonl_open(&lines, s.rows, NULL), 0);
    assert_int_equal(jsonl_next(&lines, &row, NULL), 1);
    /* man, boys (no: "boy" is an associate of person), knives, ship, sailing after a comma, dogs, leaves, ship, [is sailing], forest, light
     */
    assert_int_equal(json_integer_value(json_object_get(row, "nouns")), 10);
    char *absent = json_dumps(json_object_get(row, "absent"), JSON_COMPACT);
    assert_string_equal(absent, "[\"sailing\",\"dog\"]");
    assert_int_equal(json_integer_value(json_object_get(row, "covered")), 4); /* the second tree is never reached */
    assert_int_equal(json_integer_value(json_object_get(row, "feared_named")), 1);
    free(absent);
    json_decref(row);
    jsonl_close(&lines);
    fflush(table);
    rewind(table);
    assert_true(fread(text, 1, sizeof text - 1, table) > 100);
    assert_non_null(strstr(text, "amber: 12 answers, 0 missing, 0 extra"));
    assert_non_null(strstr(text, "existence"));
    free((char *)s.rows);
}

/* ---- words ---- */

static void tokens_are(const char *text, const char *expect) {
    Tokens t = { 0 };
    char line[512] = "";
    assert_int_equal(tokens_split(&t, text, 0, NULL), 0);
    for (size_t i = 0; i < t.n; i++) strcat(strcat(line, i ? "|" : ""), t.words[i]);
    tokens_free(&t);
    assert_string_equal(line, expect);
}

static void words_of_a_text(void **state) {
    (void)state;
    tokens_are("", "");
    tokens_are("A man's dog.", "A|man|'s|dog|.");
    tokens_are("a well-made t-shirt/hat, 3,500 at 10:30: yes", "a|well-made|t-shirt/hat|,|3,500|at|10:30|:|yes");
    tokens_are("It isn't 'red' \"blue\" (dogs)...cats", "It|is|n't|'|red|'|\"|blue|\"|(|dogs|)|...|cats");
    tokens_are("U.S. cars.And .5 more--less", "U.S|.|cars.And|.5|more|--|less");
    tokens_are("\xe2\x80\x9csky\xe2\x80\x9d\xe2\x80\x94sea\xc2\xa0no", "\xe2\x80\x9c|sky|\xe2\x80\x9d|\xe2\x80\x94|sea|no");
    tokens_are("dogs' o'clock '' n't 'S", "dogs|'|o'clock|'|'|n't|'|S");
}

static void lemma_is(const Lemmas *l, const char *word, const char *expect) {
    char out[WORD_SIZE];
    assert_string_equal(lemma_of(l, word, out), expect);
}

static void singulars(void **state) {
    (void)state;
    Lemmas l;
    assert_int_equal(lemmas_open(&l, NULL, NULL), 0);
    for (const char *const *w = (const char *const[]){ "box", "wine glass", "dish", "bench", "baby", "shelf", "woman", "knife", "child",
             "bus", "slippers", "leave", NULL };
         *w; w++)
        assert_int_equal(lemmas_know(&l, *w, NULL), 0);
    lemma_is(&l, "boxes", "box");
    lemma_is(&l, "glasses", "glass");
    lemma_is(&l, "wines", "wine");
    lemma_is(&l, "dishes", "dish");
    lemma_is(&l, "benches", "bench");
    lemma_is(&l, "babies", "baby");
    lemma_is(&l, "shelves", "shelf");
    lemma_is(&l, "women", "woman");
    lemma_is(&l, "knives", "knife");
    lemma_is(&l, "children", "child");
    lemma_is(&l, "mice", "mice"); /* an exception of a noun that nobody made known */
    lemma_is(&l, "bus", "bus");
    lemma_is(&l, "buses", "bus");
    lemma_is(&l, "slippers", "slippers");
    lemma_is(&l, "leaves", "leave");
    lemma_is(&l, "Boxes", "Boxes");
    lemma_is(&l, "s", "s");
    char longest[3 * WORD_SIZE];
    memset(longest, 's', sizeof longest - 1), longest[sizeof longest - 1] = 0;
    lemma_is(&l, longest, longest);
    lemmas_free(&l);
}

static void lemmas_of_wordnet(void **state) {
    (void)state;
    Lemmas l;
    Error e = { 0 };
    free((char *)file("noun.exc", "leaves leaf leave\nmice mouse\nsupernumerarynoun x\n"));
    free((char *)file("index.noun", "  1 licence\nleaf n 1\nleave n 1\nglass n 1\nglasses n 1\nslipper n 1\n"));
    assert_int_equal(lemmas_open(&l, folder, NULL), 0);
    assert_int_equal(lemmas_know(&l, "slippers", NULL), 0);
    lemma_is(&l, "leaves", "leaf");
    lemma_is(&l, "glasses", "glass"); /* the shortest, though "glasses" is a noun */
    lemma_is(&l, "slippers", "slipper");
    lemma_is(&l, "mice", "mice"); /* its singular is in no index here */
    lemma_is(&l, "dogs", "dogs");
    lemmas_free(&l);
    assert_int_equal(lemmas_open(&l, at(folder, "absent"), &e), -1);
    error_says(&e, "wordnet-base");
    free((char *)file("index.noun", "  1 licence\n"));
    assert_int_equal(lemmas_open(&l, folder, &e), -1);
    error_says(&e, "not a file of WordNet");
}

static void noun_is(const char *text, size_t i, const char *lemma, int expect) {
    Tokens t = { 0 };
    assert_int_equal(tokens_split(&t, text, 0, NULL), 0);
    if (noun_here(&t, i, lemma) != expect) fail_msg("\"%s\", word %zu: %s a noun", text, i, expect ? "not" : "wrongly");
    tokens_free(&t);
}

static void nouns_and_verbs(void **state) {
    (void)state;
    noun_is("we can see", 1, "can", 0);
    noun_is("a can", 1, "can", 1);
    noun_is("The cans", 1, "can", 1);
    noun_is("can", 0, "can", 0);
    noun_is("They watch", 1, "watch", 0);
    noun_is("his watch", 1, "watch", 1);
    noun_is("next to water", 2, "water", 1);
    noun_is("is sailing", 1, "sailing", 0);
    noun_is("hot", 0, "hot", 0);
}

static void objects_of_a_caption(void **state) {
    (void)state;
    ChairWords w;
    assert_int_equal(chair_words_open(&w, GOLDEN("chair_synonyms.txt"), NULL, NULL), 0);
    json_t *found = chair_words_find(&w, "A baby bear and Geese, a passenger train; wine, glasses. The toilet's seat", NULL);
    char *text = json_dumps(found, JSON_COMPACT);
    assert_string_equal(text, "[[\"bear\",\"bear\"],[\"goose\",\"bird\"],[\"train\",\"train\"],[\"toilet\",\"toilet\"]]");
    free(text);
    json_decref(found);
    assert_string_equal(chair_class(&w, "stop light"), "traffic light");
    assert_null(chair_class(&w, "baby bear"));
    chair_words_free(&w);
}

/* ---- answers ---- */

static void pope_reads(void **state) {
    (void)state;
    assert_int_equal(pope_says("Yes"), 1);
    assert_int_equal(pope_says("No"), 0);
    assert_int_equal(pope_says("no,"), 0);
    assert_int_equal(pope_says("It is not"), 0);
    assert_int_equal(pope_says("Not sure"), 1);
    assert_int_equal(pope_says("NO"), 1);
    assert_int_equal(pope_says("None, nothing"), 1);
    assert_int_equal(pope_says("Yes. No"), 1);
    assert_int_equal(pope_says("n,ot"), 0);
    assert_int_equal(pope_says("no!"), 1);
    assert_int_equal(pope_says(""), 1);
}

static void choice_reads(void **state) {
    (void)state;
    static const char *const colours[CHOICES_MOST] = { "red", "dark red", "blue" };
    static const struct {
        const char *text;
        char letter;
    } cases[] = { { "A", 'A' }, { " (b). ", 'B' }, { "**C**", 'C' }, { "d", 'D' }, { "E", 0 }, { "B. a cat", 'B' }, { "(C) a cat", 'C' },
        { "B: cat", 'B' }, { "A cat", 0 }, { "The answer is C, not B.", 'C' }, { "Answer: (D)", 'D' },
        { "The correct answer is option B", 'B' }, { "The answer is A. No, the answer is B", 0 }, { "The answer is A dog, so C", 'C' },
        { "I would say B", 'B' }, { "B or C", 0 }, { "A or B", 0 }, { "I choose A because", 'A' }, { "Like A DOG", 0 }, { "", 0 },
        { "It is Dark Red", 'B' }, { "red", 'A' }, { "red and blue", 0 }, { "infrared", 0 }, { "choice C is better than choice C", 'C' },
        { "I", 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char c = choice_letter(cases[i].text, colours, 4);
        if (c != cases[i].letter) fail_msg("\"%s\": read %c, not %c", cases[i].text, c ? c : '-', cases[i].letter ? cases[i].letter : '-');
    }
    assert_int_equal(choice_letter("I", colours, 26), 'I'); /* alone it is a letter */
    assert_int_equal(choice_letter("I think so", colours, 26), 0);
}

static void id_is(const char *row, IdKind kind, const char *expect) {
    json_t *json = json_loads(row, 0, NULL);
    char *id;
    assert_int_equal(row_id(json, kind, 5, "here", &id, NULL), 0);
    assert_string_equal(id, expect);
    free(id);
    json_decref(json);
}

static void ids_of_rows(void **state) {
    (void)state;
    id_is("{\"id\":\"a\",\"question_id\":7}", IDS_OF_QUESTIONS, "7");
    id_is("{\"id\":\"007\"}", IDS_OF_QUESTIONS, "007");
    id_is("{\"image_id\":310196}", IDS_OF_IMAGES, "310196");
    id_is("{\"image\":\"v/COCO_val2014_000000310196.jpg\"}", IDS_OF_IMAGES, "310196");
    id_is("{\"image\":\"000000.jpg\"}", IDS_OF_IMAGES, "0");
    id_is("{\"image\":\"cat.jpg\"}", IDS_OF_IMAGES, "cat.jpg");
    id_is("{\"id\":7,\"image_id\":\"x\"}", IDS_OR_PLACES, "7");
    id_is("{\"image_id\":\"x_012.jpg\"}", IDS_OR_PLACES, "x_012.jpg");
    id_is("{\"image_id\":3}", IDS_OR_PLACES, "3");
    id_is("{\"image\":\"3.jpg\"}", IDS_OR_PLACES, "#5");
    json_t *row = json_pack("{s:s}", "id", "");
    Error e = { 0 };
    char *id;
    assert_int_equal(row_id(row, IDS_OF_QUESTIONS, 5, "f:3", &id, &e), -1);
    error_says(&e, "bad id: f:3: field \"id\"; found an empty text");
    assert_int_equal(row_id(row, IDS_OR_PLACES, 5, "f:3", &id, &e), -1);
    error_says(&e, "bad id: f:3: field \"id\"; found an empty text");
    json_object_clear(row);
    assert_int_equal(row_id(row, IDS_OF_IMAGES, 5, "f:3", &id, &e), -1);
    error_says(&e, "row has no id: f:3; expected a field image_id, image or id");
    json_decref(row);
}

static void answers_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = { { "", "no answers to evaluate" }, { "[]", "no answers to evaluate" }, { "{\"id\":1}", "row has no answer" },
        { "{\"id\":1,\"text\":3}", "field \"text\"" }, { "{\"id\":1,\"answers\":[{\"text\":\"x\"},{\"text\":\"y\"}]}", "row has no answer" },
        { "{\"id\":1,\"answers\":[{\"text\":3}]}", "row has no answer" }, { "{\"text\":\"x\"}", "row has no id" },
        { "[{\"id\":1,\"text\":\"x\"},3]", "x.json[1]" },
        { "{\"id\":1,\"text\":\"x\"}\n{\"id\":\"1\",\"text\":\"y\"}", "a second answer to one question: " },
        { "{\"id\":1,\"text\":\"x\"}\n{", "x.json:2" }, { "[{\"id\":1,", "bad JSON" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AnswerSet s;
        Error e = { 0 };
        put(at(folder, "x.json"), cases[i].text, strlen(cases[i].text));
        assert_int_equal(answers_read(&s, at(folder, "x.json"), IDS_OF_QUESTIONS, &e), -1);
        error_says(&e, cases[i].says);
    }
}

/* What `rlaifv generate` writes. */
static void answers_generated(void **state) {
    (void)state;
    AnswerSet s;
    const char *path = file("g.jsonl", "{\"id\":\"7\",\"image\":\"a.jpg\",\"question\":\"x\",\"answers\":[{\"text\":\"y\",\"ids\":[1],\"logp\":-1}]}\n");
    assert_int_equal(answers_read(&s, path, IDS_OF_QUESTIONS, NULL), 0);
    assert_string_equal(answers_take(&s, "7")->text, "y");
    answers_free(&s);
    free((char *)path);
}

static void missing_and_extra(void **state) {
    (void)state;
    Error e = { 0 };
    EvalSettings s = small;
    const char *questions = file("q.jsonl", "{\"id\":1,\"label\":\"yes\"}\n{\"id\":2,\"label\":\"no\"}\n{\"id\":3,\"label\":\"no\"}\n");
    s.answers = file("a.jsonl", "{\"id\":2,\"text\":\"No\"}\n{\"id\":9,\"text\":\"No\"}\n");
    s.rows = strdup(at(folder, "rows.jsonl"));
    assert_int_equal(pope_eval(&s, questions, out(), table, &e), -1);
    error_says(&e, "found 2 missing (first: 1), 1 to nothing that was asked (first: 9)");
    error_says(&e, "--partial");
    assert_false(file_exists(out()));
    assert_false(file_exists(s.rows));
    s.partial = 1;
    assert_int_equal(pope_eval(&s, questions, out(), table, &e), 0);
    assert_int_equal(result_count(out(), NULL, "answers"), 1);
    assert_int_equal(result_count(out(), NULL, "missing"), 2);
    assert_int_equal(result_count(out(), NULL, "extra"), 1);
    assert_true(file_exists(s.rows));
    put(s.answers, "{\"id\":9,\"text\":\"No\"}\n", 21);
    assert_int_equal(pope_eval(&s, questions, out(), table, &e), -1);
    error_says(&e, "answers do not match the questions");
    free((char *)questions), free((char *)s.answers), free((char *)s.rows);
}

/* ---- refusals of each benchmark ---- */

static void pope_refuses(void **state) {
    (void)state;
    Error e = { 0 };
    EvalSettings s = small;
    s.answers = GOLDEN("pope_answers.json");
    const char *path = file("q.jsonl", "{\"id\":1,\"label\":\"Yes\"}\n");
    assert_int_equal(pope_eval(&s, path, out(), table, &e), -1);
    error_says(&e, "q.jsonl:1; found \"Yes\"; expected yes or no");
    put(path, "{\"id\":1,\"label\":\"yes\"}\n{\"id\":1,\"label\":\"yes\"}\n", 46);
    assert_int_equal(pope_eval(&s, path, out(), table, &e), -1);
    error_says(&e, "a question for the second time");
    assert_int_equal(pope_eval(&s, "a,b", out(), table, &e), -1);
    error_says(&e, "files do not pair up: --answers; found 1");
    assert_int_equal(pope_eval(&s, "a,", out(), table, &e), -1);
    error_says(&e, "empty name of a file: --questions");
    s.answers = GOLDEN("pope_answers.json") "," GOLDEN("pope_answers.json");
    assert_int_equal(pope_eval(&s, GOLDEN("pope_questions.jsonl") "," GOLDEN("pope_questions.jsonl"), out(), table, &e), -1);
    error_says(&e, "two sections of one name");
    free((char *)path);
}

static void amber_says(AmberFiles f, const char *answers, const char *says) {
    Error e = { 0 };
    EvalSettings s = small;
    s.answers = answers;
    assert_int_equal(amber_eval(&s, &f, out(), table, &e), -1);
    error_says(&e, says);
    assert_false(file_exists(out()));
}

static void amber_refuses(void **state) {
    (void)state;
    const char *answers = GOLDEN("amber_answers.jsonl"), *path;
    AmberFiles f = amber_files;
    f.relation = NULL;
    amber_says(f, answers, "expected --relation and --safe-words");
    f = amber_files;
    f.relation = path = file("x.json", "{\"a\":[\"b\",3]}");
    amber_says(f, answers, "field \"a\"; found an integer; expected a word");
    put(path, "{\"a\":3}", 7);
    amber_says(f, answers, "expected a list of words");
    put(path, "{}", 2);
    amber_says(f, answers, "no words");
    put(path, "{\"person\":[]}", 13);
    amber_says(f, answers, "field \"truth\"; found tree; expected a word of relation.json");
    f = amber_files;
    f.queries = path;
    put(path, "[{\"id\":77}]", 11);
    amber_says(f, answers, "query without annotation");
    f = amber_files;
    f.annotations = path;
    put(path, "[{\"id\":1,\"type\":\"x\"}]", 21);
    amber_says(f, answers, "unknown type: ");
    put(path, "[{\"id\":4,\"type\":\"relation\",\"truth\":\"No\"}]", 41);
    amber_says(f, answers, "bad truth");
    put(path, "[{\"id\":1,\"type\":\"generative\",\"truth\":3}]", 40);
    amber_says(f, answers, "expected a list of words");
    put(path, "[{\"id\":4,\"type\":\"relation\",\"truth\":\"no\"},{\"id\":4,\"type\":\"relation\",\"truth\":\"no\"}]", 81);
    amber_says(f, answers, "an id for the second time");
    free((char *)path);
}

/* A file of queries says what was asked: here yes/no questions alone, which need no words. */
static void amber_queries(void **state) {
    (void)state;
    EvalSettings s = small;
    AmberFiles f = { .annotations = GOLDEN("amber_annotations.json"), .queries = file("q.json", "[{\"id\":4},{\"id\":12}]") };
    s.answers = file("a.json", "[{\"id\":4,\"response\":\"No\"},{\"id\":12,\"response\":\"No\"}]");
    assert_int_equal(amber_eval(&s, &f, out(), table, NULL), 0);
    assert_int_equal(result_count(out(), "existence", "answers"), 1);
    assert_int_equal(result_count(out(), "discriminative", "answers"), 2);
    json_t *result;
    assert_int_equal(json_read_object(out(), &result, NULL), 0);
    assert_int_equal(json_object_size(json_object_get(result, "measures")), 3); /* and relation; no attributes, no descriptions */
    assert_string_equal(json_string_value(json_object_get(result, "similarity")), "none");
    assert_string_equal(json_string_value(json_object_get(result, "lemmas")), "rules");
    json_decref(result);
    free((char *)f.queries), free((char *)s.answers);
}

static void chair_says(ChairFiles f, const char *answers, int partial, const char *says) {
    Error e = { 0 };
    EvalSettings s = small;
    s.answers = answers;
    s.partial = partial;
    assert_int_equal(chair_eval(&s, &f, out(), table, &e), -1);
    error_says(&e, says);
    assert_false(file_exists(out()));
}

static void chair_refuses(void **state) {
    (void)state;
    const char *answers = GOLDEN("chair_answers.jsonl"), *path;
    ChairFiles f = chair_files;
    f.synonyms = path = file("x", "person, man\n, b\n");
    chair_says(f, answers, 0, "bad synonyms: ");
    chair_says(f, answers, 0, ":2");
    put(path, "\n\n", 2);
    chair_says(f, answers, 0, "no synonyms");
    f = chair_files;
    f.truth = GOLDEN("chair_light.jsonl");
    chair_says(f, answers, 0, "2 to nothing that was asked (first: 7)");
    f.truth = path;
    static const struct {
        const char *text, *says;
    } cases[] = { { "{\"image_id\":7,\"objects\":[\"sofa\"]}", "unknown object" },
        { "{\"image_id\":7,\"objects\":[3]}", "found an integer" }, { "{\"image_id\":7}", "bad truth of an image" },
        { "{\"image_id\":7,\"captions\":[3]}", "which is text" },
        { "{\"annotations\":[{\"image_id\":7,\"category_id\":1}]}", "unknown category" },
        { "{\"annotations\":[{\"image_id\":7}]}", "field \"category_id\"" },
        { "{\"categories\":[{\"id\":1,\"name\":\"sofa\"}],\"annotations\":[]}", "unknown category" },
        { "{\"annotations\":[{\"image_id\":7,\"caption\":\"x\"}", "the end of the file" }, { "{\"annotations\":3}", "bad JSON" },
        { "{\"annotations\":[{\"image_id\":7,\"caption\":x}]}", "bad JSON" },
        { "{\"annotations\":[{\"image_id\":7 \"caption\":1}]}", "bad JSON" },
        { "{\"image_id\":70,\"captions\":[]}", "1 missing (first: an image of --truth), 5 to nothing" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(path, cases[i].text, strlen(cases[i].text));
        chair_says(f, answers, 0, cases[i].says);
    }
    put(path, "{\"image_id\":70,\"captions\":[]}", 29);
    chair_says(f, answers, 1, "answers do not match"); /* nothing is left to count */
    free((char *)path);
}

static int row_count(void *context, const json_t *row, const char *where, Error *e) {
    (void)row, (void)where, (void)e;
    return ++*(int *)context, 0;
}

/* A file of COCO cut anywhere before the end of its annotations is refused; whole, it is walked. */
static void coco_cut(void **state) {
    (void)state;
    char *text;
    const char *path = at(folder, "cut.json");
    size_t size;
    Error e = { 0 };
    assert_int_equal(file_read(GOLDEN("chair_instances.json"), 1 << 20, &text, &size, NULL), 0);
    size_t last = (size_t)(strrchr(text, ']') - text);
    for (size_t cut = 1; cut <= last; cut++) {
        int n = 0;
        put(path, text, cut);
        assert_int_equal(coco_each(path, "annotations", NULL, row_count, &n, &e), -1);
        assert_true(n <= 4);
    }
    int all = 0, some = 0;
    json_t *wanted = json_pack("{s:b}", "7", 1);
    put(path, text, size);
    assert_int_equal(coco_each(path, "annotations", NULL, row_count, &all, NULL), 0);
    assert_int_equal(coco_each(path, "annotations", wanted, row_count, &some, NULL), 0);
    assert_int_equal(all, 4);
    assert_int_equal(some, 2);
    assert_int_equal(coco_has(path, "categories", NULL), 1);
    assert_int_equal(coco_has(path, "image_id", NULL), 0);
    assert_int_equal(coco_each(path, "licences", NULL, row_count, &all, &e), -1);
    error_says(&e, "found no \"licences\"");
    put(path, "{\"annotations\":[1]}", 19);
    assert_int_equal(coco_each(path, "annotations", NULL, row_count, &all, &e), -1);
    json_decref(wanted);
    free(text);
}

static void choice_refuses(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = { { "{\"id\":0,\"answer\":\"E\"}", "found \"E\"; expected a letter from A to D" },
        { "{\"id\":0,\"answer\":\"AB\"}", "found \"AB\"" }, { "{\"id\":0}", "field \"answer\"" },
        { "{\"id\":0,\"answer\":\"A\",\"options\":[\"x\"]}", "bad options" },
        { "{\"id\":0,\"answer\":\"A\",\"options\":{\"A\":\"x\",\"C\":\"y\"}}", "bad options" },
        { "{\"id\":0,\"answer\":\"A\",\"options\":[\"x\",4]}", "bad options" },
        { "{\"id\":0,\"answer\":\"A\",\"options\":\"x\"}", "bad options" },
        { "{\"id\":0,\"answer\":\"A\",\"category\":\"all\"}", "bad category" },
        { "{\"id\":0,\"answer\":\"A\"}\n{\"id\":0,\"answer\":\"A\"}", "a question for the second time" } };
    EvalSettings s = small;
    s.answers = GOLDEN("choice_answers.jsonl");
    s.partial = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = { 0 };
        const char *path = file("q.jsonl", cases[i].text);
        assert_int_equal(choice_eval(&s, path, out(), table, &e), -1);
        error_says(&e, cases[i].says);
        free((char *)path);
    }
    assert_false(file_exists(out()));
}

/* ---- bootstrap ---- */

static double mean(const int64_t *s, int part) { return (void)part, s[0] ? (double)s[1] / (double)s[0] : NAN; }
static double undefined(const int64_t *s, int part) { return (void)s, (void)part, NAN; }

static void intervals(void **state) {
    (void)state;
    Counts c = { .columns = 2 };
    for (int i = 0; i < 1000; i++) assert_int_equal(counts_add(&c, (const int32_t[]){ 1, i % 10 < 3 }, NULL), 0);
    const Measure m[] = { { "", "mean", mean, 0 }, { "", "undefined", undefined, 0 } };
    Estimate a[2], b[2];
    assert_int_equal(bootstrap(&c, m, 2, RESAMPLES, 1, a, NULL), 0);
    double half = 1.96 * sqrt(.3 * .7 / 1000);
    assert_true(a[0].value == 0.3);
    assert_true(fabs(a[0].low - (.3 - half)) < .1 * half);
    assert_true(fabs(a[0].high - (.3 + half)) < .1 * half);
    assert_true(isnan(a[1].value) && isnan(a[1].low) && isnan(a[1].high));
    assert_int_equal(bootstrap(&c, m, 2, RESAMPLES, 1, b, NULL), 0);
    assert_memory_equal(a, b, sizeof *a);
    assert_int_equal(bootstrap(&c, m, 2, 500, 2, b, NULL), 0);
    assert_true(a[0].low != b[0].low || a[0].high != b[0].high);
    counts_free(&c);
    Error e = { 0 };
    assert_int_equal(bootstrap(&c, m, 2, 100, 1, b, &e), -1);
    error_says(&e, "nothing to count");
}

/* ---- the command ---- */

static int command(int *known, Error *e, const char *const *words) {
    char *argv[20];
    int argc = 0;
    for (; words[argc]; argc++) argv[argc] = (char *)words[argc];
    return command_benchmark(argc, argv, known, e);
}

static void commands(void **state) {
    (void)state;
    Error e = { 0 };
    int known = 1;
    assert_int_equal(command(&known, &e, (const char *const[]){ "configs/demo.ini", NULL }), 0);
    assert_int_equal(known, 0);
    assert_int_equal(command(&known, &e, (const char *const[]){ NULL }), 0);
    assert_int_equal(known, 0);
    for (const char *const *name = (const char *const[]){ "amber", "pope", "chair", "choice", NULL }; *name; name++) {
        assert_int_equal(command(&known, &e, (const char *const[]){ *name, NULL }), 2);
        assert_int_equal(known, 1);
        error_says(&e, "is missing");
    }
    const char *result = out();
    assert_int_equal(command(&known, &e,
                         (const char *const[]){ "choice", "--questions", GOLDEN("choice_questions.jsonl"), "--answers",
                             GOLDEN("choice_answers.jsonl"), "--out", result, "--resamples=1000", "--seed=5", NULL }),
        0);
    result_agrees(result, expected("small", "choice"));
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(numbers_of_amber, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_of_pope, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_of_chair, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_of_choice, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_and_table, setup, teardown), cmocka_unit_test(words_of_a_text), cmocka_unit_test(singulars),
        cmocka_unit_test_setup_teardown(lemmas_of_wordnet, setup, teardown), cmocka_unit_test(nouns_and_verbs),
        cmocka_unit_test(objects_of_a_caption), cmocka_unit_test(pope_reads), cmocka_unit_test(choice_reads), cmocka_unit_test(ids_of_rows),
        cmocka_unit_test_setup_teardown(answers_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_generated, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_and_extra, setup, teardown), cmocka_unit_test_setup_teardown(pope_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(amber_refuses, setup, teardown), cmocka_unit_test_setup_teardown(amber_queries, setup, teardown),
        cmocka_unit_test_setup_teardown(chair_refuses, setup, teardown), cmocka_unit_test_setup_teardown(coco_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(choice_refuses, setup, teardown), cmocka_unit_test(intervals),
        cmocka_unit_test_setup_teardown(commands, setup, teardown) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

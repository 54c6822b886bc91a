/* Published evaluations over AMBER's, POPE's and CHAIR's own files (RLAIFV_SHARED), with answers made by rule, beside
 * tests/golden/eval_twin.py, which makes the same; with WordNet's lemmas where RLAIFV_WORDNET or /usr/share/wordnet has its files. Of
 * GPT-4's answers to LLaVA's questions, which have no twin, how many match, and their table for whoever runs the program by itself. */
#include "tests/engine/eval_expect.h"

#include "engine/eval/amber.h"
#include "engine/eval/answers.h"
#include "engine/eval/chair.h"
#include "engine/eval/pope.h"

/* The file, in memory of its own, or NULL after saying that the test skips. */
static char *shared(const char *name) {
    const char *path = shared_path(name);
    return path ? strdup(path) : NULL;
}

static const char *wordnet(void) {
    const char *path = getenv("RLAIFV_WORDNET");
    if (!path || !*path) path = "/usr/share/wordnet";
    if (file_exists(at(path, "index.noun"))) return path;
    print_message("skipped: no WordNet in %s (Debian: wordnet-base; or set RLAIFV_WORDNET)\n", path);
    return NULL;
}

/* ---- answers by rule ---- */

static unsigned draw(int64_t x) { return (unsigned)((uint32_t)((uint64_t)x * 2654435761u) >> 16); }

typedef struct Made {
    FILE *to;
    int64_t i;
} Made;

static void made_write(FILE *to, const char *key, int64_t id, const char *text) {
    json_t *row = json_pack("{s:I, s:s}", key, (json_int_t)id, "answer", text);
    assert_non_null(row);
    assert_int_equal(jsonl_write(to, row, NULL), 0);
}

static int pope_make(void *context, const json_t *row, const char *where, Error *e) {
    static const char *const odd[] = { "There is not a thing like it", "I see, no, doubt one.", "Not sure", "Absolutely. No." };
    Made *m = context;
    const char *label;
    int64_t id;
    if (json_need_string(row, "label", where, &label, e) || json_need_integer(row, "question_id", where, 0, INT32_MAX, &id, e)) return -1;
    int yes = !strcmp(label, "yes");
    unsigned u = draw(m->i++) % 100;
    const char *text = u < 60   ? (yes ? "Yes" : "No")
                       : u < 70 ? (yes ? "Yes, there is one." : "No, there is none. Yes")
                       : u < 80 ? (yes ? "No" : "Yes")
                                : odd[(u - 80) / 5];
    return made_write(m->to, "question_id", id, text), 0;
}

static int amber_make(void *context, const json_t *row, const char *where, Error *e) {
    static const char *const ends[] = { " end. We can see children who watch a watch.",
        " a trash can. Knives and leaves are to light a light.", " more: sailing boats...women" };
    Made *m = context;
    const json_t *truth = json_object_get(row, "truth"), *word;
    char text[4096];
    int64_t id;
    size_t j;
    if (json_need_integer(row, "id", where, 0, INT32_MAX, &id, e)) return -1;
    unsigned u = draw(id) % 100;
    int n = 0;
    if (json_is_string(truth)) {
        int yes = !strcmp(json_string_value(truth), "yes");
        const char *said = u < 70 ? (yes ? "Yes" : "No") : u < 80 ? (yes ? "No" : "Yes") : u < 90 ? "yes" : u < 95 ? "No." : "Yes";
        return made_write(m->to, "id", id, said), 0;
    }
    n += snprintf(text, sizeof text, "The image shows");
    json_array_foreach(truth, j, word) {
        unsigned v = draw(31 * id + (int64_t)j);
        if (v % 3) n += snprintf(text + n, sizeof text - (size_t)n, v % 5 ? " a %s," : " %ss and", json_string_value(word));
    }
    json_array_foreach(json_object_get(row, "hallu"), j, word) {
        unsigned v = draw(37 * id + (int64_t)j);
        if (v % 4 == 0) n += snprintf(text + n, sizeof text - (size_t)n, v % 5 ? " the %s's" : " (%ses)", json_string_value(word));
    }
    snprintf(text + n, sizeof text - (size_t)n, "%s", ends[u % 3]);
    return made_write(m->to, "id", id, text), 0;
}

static char *make(const char *from, const char *name, RowTaker *rule, int64_t first) {
    char *path = strdup(at(folder, name));
    Made m = { fopen(path, "w"), first };
    Error e = { 0 };
    assert_non_null(m.to);
    if (rows_each(from, rule, &m, &e)) fail_msg("%s: %s", e.what, e.where);
    assert_int_equal(fclose(m.to), 0);
    return path;
}

/* ---- POPE ---- */

static void pope_data(void **state) {
    (void)state;
    static const char *const names[] = { "data/POPE/output/coco/coco_pope_random.json", "data/POPE/output/coco/coco_pope_popular.json",
        "data/POPE/output/coco/coco_pope_adversarial.json" };
    char questions[4 * PATH_SIZE] = "", answers[4 * PATH_SIZE] = "", name[24];
    for (int i = 0; i < 3; i++) {
        char *path = shared(names[i]);
        if (!path) return skip();
        snprintf(name, sizeof name, "%d.jsonl", i);
        char *made = make(path, name, pope_make, 3000 * i);
        strcat(strcat(questions, i ? "," : ""), path), strcat(strcat(answers, i ? "," : ""), made);
        free(path), free(made);
    }
    EvalSettings s = { .answers = answers, .resamples = 200 };
    assert_int_equal(pope_eval(&s, questions, at(folder, "r.json"), table, NULL), 0);
    result_agrees(at(folder, "r.json"), expected("real", "pope"));
    assert_int_equal(result_count(at(folder, "r.json"), "all", "answers"), 9000);
}

/* ---- AMBER ---- */

static void amber_with(const char *dictionary, const char *expect) {
    AmberFiles f = { shared("data/AMBER/data/annotations.json"), shared("data/AMBER/data/relation.json"),
        shared("data/AMBER/data/safe_words.txt"), shared("data/AMBER/data/query/query_all.json"), dictionary };
    int present = f.annotations && f.relation && f.safe_words && f.queries;
    if (present) {
        char *answers = make(f.annotations, "amber.jsonl", amber_make, 0);
        EvalSettings s = { .answers = answers, .resamples = 200 };
        assert_int_equal(amber_eval(&s, &f, at(folder, "r.json"), table, NULL), 0);
        result_agrees(at(folder, "r.json"), expected("real", expect));
        assert_int_equal(result_count(at(folder, "r.json"), "generative", "answers"), 1004);
        assert_int_equal(result_count(at(folder, "r.json"), "relation", "answers"), 1664);
        free(answers);
    }
    free((char *)f.annotations), free((char *)f.relation), free((char *)f.safe_words), free((char *)f.queries);
    if (!present) skip();
}
static void amber_data(void **state) {
    (void)state;
    amber_with(NULL, "amber");
}
static void amber_wordnet(void **state) {
    (void)state;
    if (!wordnet()) skip();
    amber_with(wordnet(), "amber_wordnet");
}

/* ---- CHAIR ---- */

/* Class names in the order of the synonyms' lines. */
static json_t *class_names(const char *synonyms) {
    FILE *f = fopen(synonyms, "r");
    json_t *all = json_array();
    char *line = NULL;
    size_t size = 0;
    assert_non_null(f);
    while (getline(&line, &size, f) > 0) {
        line[strcspn(line, ",\n")] = 0;
        json_array_append_new(all, json_string(line));
    }
    free(line);
    fclose(f);
    return all;
}

static int64_t place_of(const json_t *names, const char *name) {
    const json_t *value;
    size_t i;
    json_array_foreach(names, i, value) if (!strcmp(json_string_value(value), name)) return (int64_t)i;
    fail_msg("no class %s", name);
    return -1;
}

static int row_keep(void *context, const json_t *row, const char *where, Error *e) {
    (void)where, (void)e;
    return json_array_append(context, (json_t *)row);
}

/* Of each caption's picture: the caption after it, and one class by number. */
static char *truth_make(const json_t *captions, const json_t *names) {
    char *path = strdup(at(folder, "truth.jsonl"));
    FILE *to = fopen(path, "w");
    const json_t *row;
    size_t i, n = json_array_size(captions);
    assert_non_null(to);
    json_array_foreach(captions, i, row) {
        json_t *next = json_array_get(captions, (i + 1) % n);
        assert_int_equal(jsonl_write(to,
                             json_pack("{s:O, s:[O], s:[O]}", "image_id", json_object_get(row, "image_id"), "objects",
                                 json_array_get(names, i * 7 % json_array_size(names)), "captions", json_object_get(next, "text")),
                             NULL),
            0);
    }
    assert_int_equal(fclose(to), 0);
    return path;
}

/* Every mention of every answer, in order, as one number. */
static int64_t mentions_mark(const char *path, const json_t *names) {
    JsonLines lines;
    json_t *row;
    const json_t *pair;
    size_t i;
    int64_t mark = 0;
    assert_int_equal(jsonl_open(&lines, path, NULL), 0);
    while (jsonl_next(&lines, &row, NULL) > 0) {
        json_array_foreach(json_object_get(row, "mentions"), i, pair) mark =
            (mark * 131 + place_of(names, json_string_value(json_array_get(pair, 1))) + 1) % 1000000007;
        json_decref(row);
    }
    jsonl_close(&lines);
    return mark;
}

static void chair_with(const char *dictionary, const char *expect) {
    char *synonyms = shared("data/CHAIR/synonyms.txt"), *captions = shared("data/POPE/caption_data/Instruction2_llava.json");
    int present = synonyms && captions;
    if (present) {
        json_t *names = class_names(synonyms), *all = json_array();
        assert_int_equal(json_array_size(names), 80);
        assert_int_equal(rows_each(captions, row_keep, all, NULL), 0);
        char *truth = truth_make(all, names), *rows = strdup(at(folder, "rows.jsonl"));
        EvalSettings s = { .answers = captions, .rows = rows, .resamples = 200 };
        ChairFiles f = { .synonyms = synonyms, .truth = truth, .wordnet = dictionary };
        assert_int_equal(chair_eval(&s, &f, at(folder, "r.json"), table, NULL), 0);
        result_agrees(at(folder, "r.json"), expected("real", expect));
        int64_t mark = json_integer_value(json_object_get(json_object_get(expected("real", expect), "objects"), "mark"));
        assert_true(mark != 0);
        assert_int_equal(mentions_mark(rows, names), mark);
        json_decref(names), json_decref(all);
        free(truth), free(rows);
    }
    free(synonyms), free(captions);
    if (!present) skip();
}
static void chair_data(void **state) {
    (void)state;
    chair_with(NULL, "chair");
}
static void chair_wordnet(void **state) {
    (void)state;
    if (!wordnet()) skip();
    chair_with(wordnet(), "chair_wordnet");
}

/* ---- GPT-4's answers to LLaVA's 90 questions about 30 pictures of COCO, of 80 whose truth is there ---- */

/* Rows by a key: those of `from` with id_key -> value_key. */
static json_t *by_id(const json_t *from, const char *id_key, const char *value_key) {
    json_t *out = json_object();
    const json_t *row;
    size_t i;
    char id[24];
    json_array_foreach(from, i, row) {
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(row, id_key)));
        json_object_set(out, id, json_object_get(row, value_key));
    }
    return out;
}

static void gpt4_answers(void **state) {
    (void)state;
    char *synonyms = shared("data/CHAIR/synonyms.txt"), *answers = shared("data-noncommercial/LLaVA/qa90_gpt4_answer.jsonl"),
         *questions = shared("data-noncommercial/LLaVA/qa90_questions.jsonl"),
         *boxes = shared("data-noncommercial/LLaVA/caps_boxes_coco2014_val_80.jsonl");
    int present = synonyms && answers && questions && boxes;
    if (present) {
        json_t *said = json_array(), *asked = json_array(), *seen = json_array();
        assert_int_equal(
            rows_each(answers, row_keep, said, NULL) | rows_each(questions, row_keep, asked, NULL) | rows_each(boxes, row_keep, seen, NULL),
            0);
        json_t *image_of = by_id(asked, "question_id", "image"), *row;
        char *truth = strdup(at(folder, "truth.jsonl")), *rows = strdup(at(folder, "answers.jsonl")), id[24];
        FILE *to = fopen(truth, "w");
        size_t i, j;
        json_array_foreach(seen, i, row) {
            json_t *objects = json_array(), *box;
            json_array_foreach(json_object_get(row, "instances"), j, box) json_array_append(objects, json_object_get(box, "category"));
            assert_int_equal(jsonl_write(to,
                                 json_pack("{s:O, s:o, s:O}", "image_id", json_object_get(row, "id"), "objects", objects, "captions",
                                     json_object_get(row, "captions")),
                                 NULL),
                0);
        }
        assert_int_equal(fclose(to), 0);
        to = fopen(rows, "w");
        json_array_foreach(said, i, row) {
            snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(row, "question_id")));
            assert_int_equal(
                jsonl_write(
                    to, json_pack("{s:O, s:O}", "image", json_object_get(image_of, id), "answer", json_object_get(row, "text")), NULL),
                0);
        }
        assert_int_equal(fclose(to), 0);
        EvalSettings s = { .answers = rows, .resamples = RESAMPLES, .partial = 1 };
        ChairFiles f = { .synonyms = synonyms, .truth = truth };
        assert_int_equal(chair_eval(&s, &f, at(folder, "r.json"), stdout, NULL), 0);
        assert_int_equal(result_count(at(folder, "r.json"), NULL, "answers"), 90);
        assert_int_equal(result_count(at(folder, "r.json"), NULL, "missing"), 50);
        assert_int_equal(result_count(at(folder, "r.json"), NULL, "extra"), 0);
        json_decref(said), json_decref(asked), json_decref(seen), json_decref(image_of);
        free(truth), free(rows);
    }
    free(synonyms), free(answers), free(questions), free(boxes);
    if (!present) skip();
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(pope_data, setup, teardown),
        cmocka_unit_test_setup_teardown(amber_data, setup, teardown), cmocka_unit_test_setup_teardown(amber_wordnet, setup, teardown),
        cmocka_unit_test_setup_teardown(chair_data, setup, teardown), cmocka_unit_test_setup_teardown(chair_wordnet, setup, teardown),
        cmocka_unit_test_setup_teardown(gpt4_answers, setup, teardown) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

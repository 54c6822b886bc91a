/* The loop from end to end on a tiny random checkpoint: what it leaves behind, and that a run killed anywhere goes on to the same files.
 *
 * Every run is a child process, so that killing it is what a power cut is, less the disk. */
#include "tests/scratch.h"

#include "base/json.h"
#include "engine/commands.h"
#include "engine/online.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char model[] = "tests/golden/llava15-hub/model", images[] = "tests/golden/llava15-hub/images";
/* Prompts on the golden images, one row whose image is absent, and a config with tiny counts; `more` is appended. */
static void inputs_make(const char *more) {
    char here[PATH_SIZE], text[8192];
    assert_non_null(getcwd(here, sizeof here));
    int n = 0;
    for (int i = 0; i < 8; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "{\"id\": \"p%d\", \"image\": \"%s/%s/%d.png\", \"question\": \"%s\"}\n", i, here,
            images, i % 4, i < 4 ? "Describe this image in detail." : "What is in the picture?");
    n += snprintf(text + n, sizeof text - (size_t)n, "{\"id\": \"lost\", \"image\": \"lost.png\", \"question\": \"What is this?\"}\n");
    put(at(folder, "prompts.jsonl"), text, (size_t)n);
    n = snprintf(text, sizeof text,
        "[run]\niterations = 2\nthreads = 1\nseed = 5\n[model]\ndir = %s/%s\n"
        "[data]\nprompts = prompts.jsonl\nvalidation = prompts.jsonl\neval = prompts.jsonl\nper_iteration = 4\n"
        "[sample]\nn = 10\ntemperature = 1\nmax_new_tokens = 100\n[pair]\nbalance_length = off\n"
        "[train]\nlr = 1e-3\nwarmup_ratio = 0\nbatch_pairs = 2\nepochs = 2\nsave_every = 1\nkeep = 1\n"
        "[eval]\nn = 2\ntemperature = 1\nmax_new_tokens = 24\nexamples = 2\n[select]\nprompts = 2\n%s",
        here, model, more);
    put(at(folder, "run.ini"), text, (size_t)n);
}

/* `rlaifv COMMAND run.ini --run.dir=FOLDER/NAME` in a child; its talk goes to FOLDER/NAME.log. The child's id. */
static pid_t start(int (*command)(int, char **, Error *), const char *name) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child) return child;
    char log[PATH_SIZE], dir[PATH_SIZE + 16], config[PATH_SIZE];
    snprintf(log, sizeof log, "%.4000s/%s.log", folder, name);
    snprintf(dir, sizeof dir, "--run.dir=%s/%s", folder, name);
    snprintf(config, sizeof config, "%.4000s/run.ini", folder);
    char *argv[] = { config, dir, NULL };
    int fd = open(log, O_CREAT | O_APPEND | O_WRONLY, 0666);
    dup2(fd, 1);
    dup2(fd, 2);
    Error e = { 0 };
    int bad = command(2, argv, &e);
    char text[2048];
    if (bad) fprintf(stderr, "rlaifv: %s\n", error_text(&e, text, sizeof text));
    fflush(NULL);
    _exit(bad ? 1 : 0);
}

static char *log_of(const char *name) {
    char file[64], *text;
    snprintf(file, sizeof file, "%s.log", name);
    assert_int_equal(file_read(at(folder, file), 1 << 20, &text, NULL, NULL), 0);
    return text;
}

static void finish_well(pid_t child, const char *name) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    char *text = log_of(name);
    size_t size = strlen(text);
    fputs(text + (size > 2000 ? size - 2000 : 0), stderr); /* more than a message of cmocka holds */
    fail_msg("%s ended with %d", name, status);
}

static json_t *object_of(const char *relative) {
    json_t *top;
    assert_int_equal(json_read_object(at(folder, relative), &top, NULL), 0);
    return top;
}

static int lines_of(const char *path) {
    int n = 0;
    FILE *f = fopen(path, "r");
    for (int c; f && (c = getc(f)) != EOF;) n += c == '\n';
    if (f) fclose(f);
    return n;
}

static void a_run_leaves_what_it_should(void **state) {
    (void)state;
    inputs_make("");
    finish_well(start(command_run, "a"), "a");
    static const char *const files[] = { "a/config.ini", "a/ledger.jsonl", "a/metrics.jsonl", "a/metrics.csv", "a/table.txt", "a/table.md",
        "a/model/config.json", "a/model/model.safetensors", "a/model/tokenizer.model", "a/iter-0/eval.json", "a/iter-1/candidates.jsonl",
        "a/iter-1/claims.jsonl", "a/iter-1/labels.jsonl", "a/iter-1/pairs.jsonl", "a/iter-1/eval.json", "a/iter-1/select.json",
        "a/iter-1/model/model.safetensors", "a/iter-2/candidates.jsonl", "a/iter-2/model/model.safetensors" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (!file_exists(at(folder, files[i]))) fail_msg("%s is absent", files[i]);
    assert_int_equal(lines_of(at(folder, "a/iter-1/candidates.jsonl")), 4 * 10);
    assert_int_equal(lines_of(at(folder, "a/iter-1/claims.jsonl")), 4 * 10);
    assert_int_equal(lines_of(at(folder, "a/iter-1/labels.jsonl")), 4 * 10);
    assert_false(file_exists(at(folder, "a/model/optimizer-00001-of-00001.safetensors")));
    char *text = log_of("a"), *other;
    const char *const said[] = { "9 rows, 4 used, 1 dropped, 4 not asked for", "dropped: image not found",
        "4 prompts = 4 answered + 0 refused", "40 answers = ", "select: checkpoint", "result: iteration", "iteration 1",
        "answers with a rejected claim", "model: " };
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (!strstr(text, said[i])) fail_msg("the log does not say \"%s\": %s", said[i], text);
    /* the second iteration takes the next prompts, and starts from the first one's choice */
    free(text);
    assert_int_equal(file_read(at(folder, "a/iter-1/candidates.jsonl"), 1 << 20, &text, NULL, NULL), 0);
    assert_int_equal(file_read(at(folder, "a/iter-2/candidates.jsonl"), 1 << 20, &other, NULL, NULL), 0);
    assert_non_null(strstr(text, "\"p0\""));
    assert_non_null(strstr(other, "\"p4\""));
    assert_null(strstr(other, "\"p0\""));
    free(text);
    free(other);
    for (int i = 1; i <= 2; i++) { /* the ledger says which rows they were */
        char row[64];
        snprintf(row, sizeof row, "\"first_line\":%d.0,\"last_line\":%d.0", i == 1 ? 1 : 5, i == 1 ? 4 : 8);
        assert_int_equal(file_read(at(folder, "a/ledger.jsonl"), 1 << 20, &text, NULL, NULL), 0);
        if (!strstr(text, row)) fail_msg("the ledger does not say %s", row);
        free(text);
    }
    json_t *chosen = object_of("a/iter-1/select.json");
    assert_true(json_integer_value(json_object_get(chosen, "step")) >= 1);
    assert_true(json_array_size(json_object_get(chosen, "checkpoints")) > 1);
    json_decref(chosen);

    /* the same command again does nothing again */
    char before[HASH_TEXT], after[HASH_TEXT];
    hash_file(at(folder, "a/ledger.jsonl"), before, NULL);
    finish_well(start(command_run, "a"), "a");
    hash_file(at(folder, "a/ledger.jsonl"), after, NULL);
    assert_string_equal(before, after);
}

/* ---- killed and continued ---- */

/* A row without what no two runs share. */
static char *row_bare(json_t *row) {
    json_object_del(row, "seconds");
    json_object_del(row, "step_time");
    char *text = json_dumps(row, JSON_SORT_KEYS);
    json_decref(row);
    return text;
}

static void rows_equal(const char *one, const char *two) {
    JsonLines a, b;
    json_t *x, *y;
    assert_int_equal(jsonl_open(&a, one, NULL), 0);
    assert_int_equal(jsonl_open(&b, two, NULL), 0);
    for (int got; (got = jsonl_next(&a, &x, NULL)) == jsonl_next(&b, &y, NULL);) {
        if (got == 0) {
            jsonl_close(&a);
            jsonl_close(&b);
            return;
        }
        assert_int_equal(got, 1);
        char *p = row_bare(x), *q = row_bare(y);
        assert_string_equal(p, q);
        free(p);
        free(q);
    }
    fail_msg("%s has another number of rows than %s", one, two);
}

static int differs_by_nature(const char *name) {
    return !strcmp(name, "config.ini") || !strcmp(name, "metrics.csv") || !strcmp(name, ".lock") || strstr(name, "tfevents") != NULL;
}

/* Everything in `one` stands in `two` with the same content; returns how many files. */
static int folders_equal(const char *one, const char *two) {
    DIR *d = opendir(one);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));) {
        char a[PATH_SIZE], b[PATH_SIZE], hash[2][HASH_TEXT];
        struct stat info;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || differs_by_nature(entry->d_name)) continue;
        path_join(a, one, entry->d_name, NULL);
        path_join(b, two, entry->d_name, NULL);
        if (!file_exists(b)) fail_msg("%s is absent", b);
        assert_int_equal(stat(a, &info), 0);
        if (S_ISDIR(info.st_mode)) {
            n += folders_equal(a, b);
            continue;
        }
        n++;
        if (!strcmp(entry->d_name, "ledger.jsonl") || !strcmp(entry->d_name, "metrics.jsonl")) {
            rows_equal(a, b);
            continue;
        }
        assert_int_equal(hash_file(a, hash[0], NULL), 0);
        assert_int_equal(hash_file(b, hash[1], NULL), 0);
        if (strcmp(hash[0], hash[1])) fail_msg("%s and %s differ", a, b);
    }
    closedir(d);
    return n;
}

/* Starts the run again and again, killing it when the ledger has grown by a row, or a little later. Returns the kills it took. */
static int run_with_kills(const char *name) {
    char ledger[PATH_SIZE + 32];
    snprintf(ledger, sizeof ledger, "%s/%s/ledger.jsonl", folder, name);
    for (int kills = 0; kills < 500; kills++) {
        int had = lines_of(ledger), status;
        pid_t child = start(command_run, name), ended;
        while ((ended = waitpid(child, &status, WNOHANG)) == 0 && lines_of(ledger) <= had) usleep(200);
        if (ended == 0) {
            usleep((useconds_t)(kills * 7919 % 13) * 1500); /* somewhere within the next arrow */
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
        }
        if (WIFEXITED(status)) {
            if (WEXITSTATUS(status)) fail_msg("%s: %s", name, log_of(name));
            return kills;
        }
    }
    fail_msg("%s never ends", name);
    return 0;
}

static int64_t ledger_rows(const char *name, const char *arrow) {
    JsonLines lines;
    json_t *row;
    int64_t n = 0;
    char path[64];
    snprintf(path, sizeof path, "%s/ledger.jsonl", name);
    assert_int_equal(jsonl_open(&lines, at(folder, path), NULL), 0);
    while (jsonl_next(&lines, &row, NULL) == 1) {
        n += !strcmp(json_string_value(json_object_get(row, "arrow")), arrow);
        json_decref(row);
    }
    jsonl_close(&lines);
    return n;
}

static void goes_on_to_the_same_files(const char *more) {
    char a[PATH_SIZE], b[PATH_SIZE];
    inputs_make(more);
    path_join(a, folder, "a", NULL);
    path_join(b, folder, "b", NULL);
    finish_well(start(command_run, "a"), "a");
    int kills = run_with_kills("b"), files = folders_equal(a, b);
    assert_int_equal(folders_equal(b, a), files); /* and nothing is left over */
    print_message("%d kills, %d files\n", kills, files);
    assert_true(kills > 10);
}

static void a_killed_run_goes_on_to_the_same_files(void **state) {
    (void)state;
    goes_on_to_the_same_files("");
}

/* Answers of a second model, by a search, among the candidates, pairs between the two alone, of these so many, and pairs of a file beside them. */
static const char mixed[] = "[sample]\nother_n = 4\nother_temperature = 0\nother_beams = 4\n[pair]\nbetween = models\nmost = 5\n[data]\npairs = other.jsonl\n";
enum { OTHERS = 3, OTHERS_BAD = 1 };

static void other_pairs_make(void) {
    char here[PATH_SIZE], text[4096];
    int n = 0;
    assert_non_null(getcwd(here, sizeof here));
    for (int i = 0; i < OTHERS; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "{\"id\": \"o%d\", \"image\": \"%s/%s/%d.png\", \"question\": \"What is it?\", \"chosen\": \"A cat %d.\", \"rejected\": \"A dog.\"}\n", i,
            here, images, i, i);
    n += snprintf(text + n, sizeof text - (size_t)n, "{\"id\": \"bad\", \"question\": \"What is it?\", \"chosen\": \"A cat.\"}\n");
    put(at(folder, "other.jsonl"), text, (size_t)n);
}

static int rows_with(const char *name, const char *part) {
    char *text;
    int n = 0;
    assert_int_equal(file_read(at(folder, name), 1 << 22, &text, NULL, NULL), 0);
    for (const char *p = text; (p = strstr(p, part)); p++) n++;
    free(text);
    return n;
}

static void answers_and_pairs_are_mixed(void **state) {
    (void)state;
    other_pairs_make();
    inputs_make(mixed);
    finish_well(start(command_run, "m"), "m");
    for (int i = 1; i <= 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "m/iter-%d/candidates.jsonl", i);
        assert_int_equal(rows_with(name, "\"model\":\"policy\""), 4 * 10);
        assert_int_equal(rows_with(name, "\"model\":\"other\""), 4 * 4);
        assert_int_equal(rows_with(name, "\"candidate\":13,"), 4); /* numbered through */
        snprintf(name, sizeof name, "m/iter-%d/labels.jsonl", i);
        assert_int_equal(lines_of(at(folder, name)), 4 * 14);
        snprintf(name, sizeof name, "m/iter-%d/pairs.jsonl", i);
        int own = lines_of(at(folder, name));
        assert_in_range(own, 1, 5);
        assert_int_equal(rows_with(name, "\"from\""), 0);
        JsonLines lines;
        json_t *row;
        assert_int_equal(jsonl_open(&lines, at(folder, name), NULL), 0);
        while (jsonl_next(&lines, &row, NULL) == 1) { /* candidates 10 to 13 are the other model's */
            int chosen = json_integer_value(json_object_get(row, "chosen_candidate")) > 9, rejected = json_integer_value(json_object_get(row, "rejected_candidate")) > 9;
            assert_true(chosen != rejected);
            json_decref(row);
        }
        jsonl_close(&lines);
        snprintf(name, sizeof name, "m/iter-%d/merged.jsonl", i);
        assert_int_equal(lines_of(at(folder, name)), own + OTHERS);
        assert_int_equal(rows_with(name, "\"from\":\"data.pairs\""), OTHERS);
        snprintf(name, sizeof name, "m/iter-%d/train.json", i);
        json_t *trained = object_of(name);
        assert_int_equal(json_integer_value(json_object_get(trained, "pairs")), own + OTHERS);
        json_decref(trained);
    }
    char *text = log_of("m");
    if (!strstr(text, "+ 3 of data.pairs, where 1 rows were dropped")) fail_msg("the merge is not said: %s", text);
    free(text);
    char before[HASH_TEXT], after[HASH_TEXT];
    hash_file(at(folder, "m/ledger.jsonl"), before, NULL);
    finish_well(start(command_run, "m"), "m"); /* the same command does nothing again */
    hash_file(at(folder, "m/ledger.jsonl"), after, NULL);
    assert_string_equal(before, after);
    /* a change of the other model's search samples only its answers again */
    inputs_make("[sample]\nother_n = 4\nother_temperature = 0\nother_beams = 5\n[pair]\nbetween = models\nmost = 5\n[data]\npairs = other.jsonl\n");
    finish_well(start(command_run, "m"), "m");
    assert_int_equal(ledger_rows("m", "sample-policy"), 2 + 1); /* iteration 2 has another policy now */
    assert_int_equal(ledger_rows("m", "sample-other"), 2 + 2);
}

static void a_killed_mixed_run_goes_on_to_the_same_files(void **state) {
    (void)state;
    other_pairs_make();
    goes_on_to_the_same_files(mixed);
}

/* ---- what changed is done again, and no more ---- */

static void a_changed_setting_redoes_what_depends_on_it(void **state) {
    (void)state;
    inputs_make("");
    finish_well(start(command_run, "a"), "a");
    int64_t samples = ledger_rows("a", "sample"), trains = ledger_rows("a", "train");
    assert_int_equal(samples, 2);
    assert_int_equal(trains, 2);
    inputs_make("min_objects_ratio = 0.5\n");
    finish_well(start(command_run, "a"), "a");
    assert_int_equal(ledger_rows("a", "train"), trains + 2); /* keep = 1 left too few checkpoints to choose from */
    assert_int_equal(ledger_rows("a", "select"), 4);
    char *text = log_of("a");
    assert_non_null(strstr(text, "select: again, as settings changed since it was done"));
    assert_non_null(strstr(text, "checkpoints to choose from are gone"));
    free(text);
}

/* Upstream's rule: the evaluation's prompts choose, and no validation file is wanted. */
static void the_test_set_chooses(void **state) {
    (void)state;
    inputs_make("rule = test_set\n");
    char *text;
    assert_int_equal(file_read(at(folder, "run.ini"), 1 << 20, &text, NULL, NULL), 0);
    char *line = strstr(text, "validation = prompts.jsonl\n");
    assert_non_null(line);
    memmove(line, line + strlen("validation = prompts.jsonl\n"), strlen(line + strlen("validation = prompts.jsonl\n")) + 1);
    put(at(folder, "run.ini"), text, strlen(text));
    free(text);
    finish_well(start(command_run, "t"), "t");
    assert_int_equal(lines_of(at(folder, "t/iter-0/validation/candidates.jsonl")), 2 * 2); /* select.prompts = 2, eval.n = 2 */
    json_t *chosen = object_of("t/iter-1/select.json"), *entry;
    double least = json_number_value(json_object_get(chosen, "rejections"));
    size_t i;
    json_array_foreach(json_object_get(chosen, "checkpoints"), i, entry) assert_true(json_number_value(json_object_get(entry, "rejections")) >= least);
    json_decref(chosen);
}

/* ---- refusals ---- */

static void refuses(const char *name, const char *more, const char *part) {
    inputs_make(more);
    int status;
    waitpid(start(command_run, name), &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    char *text = log_of(name);
    if (!strstr(text, part)) fail_msg("the log does not say \"%s\": %s", part, text);
    free(text);
}

static void bad_input_is_refused(void **state) {
    (void)state;
    refuses("v", "[train]\nreference = file\n", "pairs of a run bring no references");
    refuses("r1", "nonsense = 1\n", "unknown key");
    refuses("r2", "[chat]\ntemplate = nonsense\n", "nonsense");
    refuses("r4", "[pair]\nbetween = models\n", "pairs between models, and one model");
    refuses("r5", "[sample]\nother = nowhere\n", "a second model that answers nothing");
    refuses("r6", "[sample]\nother_n = 2\nother_template = nonsense\n", "nonsense");
    refuses("r7", "[sample]\nother_n = 2\nother = nowhere\n", "nowhere");
    refuses("r8", "[data]\npairs = nowhere.jsonl\n", "nowhere.jsonl");
    assert_false(file_exists(at(folder, "r8/iter-1"))); /* before anything is computed */
    refuses("r3", "[labeler]\ndir = nowhere\n", "nowhere");
}

/* The ablation without claims, checkpoints by quarters of an epoch. */
static void whole_answers(void **state) {
    (void)state;
    inputs_make("[label]\nmode = holistic\nscore = p_yes\n[pair]\nmin_gap = 1e-7\n[run]\niterations = 1\n[train]\nsave_every = 0\nsave_epochs = .5\n");
    char *text, *at_more, *first;
    assert_int_equal(file_read(at(folder, "run.ini"), 1 << 20, &text, NULL, NULL), 0);
    static const char *const twice[] = { "iterations = 2\n", "save_every = 1\n" }; /* those of inputs_make go */
    for (int i = 0; i < 2; i++) {
        first = strstr(text, twice[i]);
        assert_non_null(first);
        at_more = first + strlen(twice[i]);
        memmove(first, at_more, strlen(at_more) + 1);
    }
    put(at(folder, "run.ini"), text, strlen(text));
    free(text);
    finish_well(start(command_run, "w"), "w");
    assert_int_equal(lines_of(at(folder, "w/iter-1/claims.jsonl")), 4 * 10);
    text = log_of("w");
    if (!strstr(text, "40 claims = 40 to ask + 0 rejected unasked")) fail_msg("not one claim an answer: %s", text);
    free(text);
    /* a checkpoint every half epoch: that many steps, and the last */
    json_t *trained = object_of("w/iter-1/train.json"), *item;
    int pairs = (int)json_integer_value(json_object_get(trained, "pairs")), every = (pairs + 2) / 4;
    int64_t steps = json_integer_value(json_object_get(trained, "steps"));
    size_t i;
    assert_true(pairs > 2 && every > 0);
    json_array_foreach(json_object_get(trained, "checkpoints"), i, item) {
        int64_t step = json_integer_value(json_object_get(item, "step")), due = ((int64_t)i + 1) * every;
        assert_int_equal(step, due < steps ? due : steps);
    }
    assert_true(i >= 4);
    json_decref(trained);
    char before[HASH_TEXT], after[HASH_TEXT];
    hash_file(at(folder, "w/ledger.jsonl"), before, NULL);
    finish_well(start(command_run, "w"), "w");
    hash_file(at(folder, "w/ledger.jsonl"), after, NULL);
    assert_string_equal(before, after);
}

static void one_process_at_a_time(void **state) {
    (void)state;
    inputs_make("");
    pid_t first = start(command_run, "a");
    while (!file_exists(at(folder, "a/config.ini"))) usleep(500);
    int status;
    kill(first, SIGSTOP); /* at work, and not in a hurry */
    waitpid(start(command_run, "a"), &status, 0);
    kill(first, SIGKILL);
    waitpid(first, NULL, 0);
    assert_int_equal(WEXITSTATUS(status), 1);
    char *text = log_of("a");
    assert_non_null(strstr(text, "another process works in this run folder"));
    free(text);
}

/* ---- the arrows as commands ---- */

static void the_arrows_one_by_one(void **state) {
    (void)state;
    inputs_make("[labeler]\ndir =\n");
    finish_well(start(command_run, "a"), "a");
    finish_well(start(command_sample, "b"), "b");
    finish_well(start(command_label, "b"), "b");
    finish_well(start(command_pair, "b"), "b");
    static const char *const same[] = { "candidates", "claims", "labels", "pairs" };
    for (int i = 0; i < 4; i++) { /* what iteration 1 of the loop makes */
        char name[64], hash[2][HASH_TEXT];
        snprintf(name, sizeof name, "a/iter-1/%s.jsonl", same[i]);
        assert_int_equal(hash_file(at(folder, name), hash[0], NULL), 0);
        name[0] = 'b';
        assert_int_equal(hash_file(at(folder, name), hash[1], NULL), 0);
        assert_string_equal(hash[0], hash[1]);
    }
    finish_well(start(command_eval, "b"), "b");
    json_t *one = object_of("a/iter-0/eval.json"), *two = object_of("b/eval.json");
    assert_true(json_equal(one, two));
    json_decref(one);
    json_decref(two);
    inputs_make("");
    char *text;
    size_t size;
    assert_int_equal(file_read(at(folder, "run.ini"), 1 << 20, &text, &size, NULL), 0);
    char *data = strstr(text, "[data]\n");
    FILE *f = fopen(at(folder, "run.ini"), "w");
    fprintf(f, "%.*s[data]\ntrain = b/iter-1/pairs.jsonl\n%s", (int)(data - text), text, data + 7);
    fclose(f);
    free(text);
    finish_well(start(command_train, "c"), "c");
    assert_true(file_exists(at(folder, "c/model/model.safetensors")));
    assert_true(file_exists(at(folder, "c/model/tokenizer.model")));
    assert_true(lines_of(at(folder, "c/metrics.jsonl")) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_run_leaves_what_it_should, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_run_goes_on_to_the_same_files, setup, teardown), cmocka_unit_test_setup_teardown(answers_and_pairs_are_mixed, setup, teardown), cmocka_unit_test_setup_teardown(a_killed_mixed_run_goes_on_to_the_same_files, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_setting_redoes_what_depends_on_it, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_input_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(the_test_set_chooses, setup, teardown),
        cmocka_unit_test_setup_teardown(whole_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(one_process_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(the_arrows_one_by_one, setup, teardown),
    };
    return cmocka_run_group_tests_name("online", tests, NULL, NULL);
}

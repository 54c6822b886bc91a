/* compare.c - holds what the program wrote to what a golden case expects; tests/cli/golden.sh builds and calls it.
 *
 *     compare tokens  EXPECTED.jsonl GOT.jsonl           ids, ids_plain and decoded, exactly
 *     compare score   EXPECTED.jsonl GOT.jsonl [BOUND]   tokens exactly, log-probs within 5e-5 each
 *     compare greedy  EXPECTED.jsonl GOT.jsonl [GAP]     ids exactly, unless the expected row's min_gap, of logits, is under 1e-3
 *     compare beams   EXPECTED.jsonl GOT.jsonl           ids of all answers exactly, mean log-probs
 *     compare probe   EXPECTED.jsonl GOT.jsonl [BOUND]   the four probabilities within 5e-5 of their size
 *     compare pixels  EXPECTED.safetensors GOT.safetensors PREFIX    tensor I of GOT is PREFIX.I, bit for bit
 *     compare weights EXPECTED.safetensors GOT BOUND     every expected tensor, largest absolute difference (GOT a file or a folder)
 *     compare steps   dpo.json metrics.jsonl [BOUND]     the logged numbers of every step
 *     compare losses  A.jsonl B.jsonl BOUND              the loss of every step of two runs
 *     compare metrics A.jsonl B.jsonl [BOUND]            two runs: the same rows, but for the time they took; with BOUND every number
 * within it
 *
 * The bounds are those that the golden cases state for a right fp32 implementation; BOUND and GAP are for those that round more. Prints the
 * largest difference and exits 0, or says what differs first and exits 1. */
#include "base/json.h"
#include "model/safetensors.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static double logp_bound = 5e-5, step_bound; /* step_bound: of those columns that are computed, where it is more than theirs */
static double min_gap = 1e-3;                /* of logits: below it another rounding may choose another token */
static double worst;                         /* largest difference met, in units of its bound's kind */

__attribute__((format(printf, 1, 2), noreturn)) static void differ(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

__attribute__((noreturn)) static void refuse(const Error *e) {
    char text[sizeof(Error) + 64];
    differ("%s", error_text(e, text, sizeof text));
}

/* |have - want| within bound * max(1, |want|); NaN is never within. */
static void near_to(const char *what, size_t row, double want, double have, double bound) {
    double d = fabs(have - want) / fmax(1, fabs(want));
    if (!(d <= bound)) differ("row %zu: %s is %.9g, expected %.9g", row, what, have, want);
    worst = fmax(worst, d);
}

static double number_of(const json_t *row, size_t n, const char *key) {
    const json_t *value = json_object_get(row, key);
    if (!json_is_number(value)) differ("row %zu: no number \"%s\"", n, key);
    return json_number_value(value);
}

static json_t *rows_of(const char *path) {
    JsonLines lines;
    Error e = { 0 };
    json_t *rows = json_array(), *row;
    int got;
    if (jsonl_open(&lines, path, &e)) refuse(&e);
    while ((got = jsonl_next(&lines, &row, &e)) == 1) json_array_append_new(rows, row);
    jsonl_close(&lines);
    if (got) refuse(&e);
    return rows;
}

/* ---- rows against rows ---- */

static void same(const json_t *want, const json_t *have, size_t n, const char *key) {
    const json_t *a = json_object_get(want, key), *b = json_object_get(have, key);
    if (!a || !json_equal(a, b)) differ("row %zu: \"%s\" differs", n, key);
}

static void tokens_row(const json_t *want, const json_t *have, size_t n) {
    same(want, have, n, "ids");
    same(want, have, n, "ids_plain");
    same(want, have, n, "decoded");
}

static void score_row(const json_t *want, const json_t *have, size_t n) {
    static const char *const sides[] = { "chosen", "rejected" };
    for (int s = 0; s < 2; s++) {
        const json_t *a = json_object_get(want, sides[s]), *b = json_object_get(have, sides[s]);
        const json_t *x = json_object_get(a, "logps"), *y = json_object_get(b, "logps");
        size_t count = json_array_size(x);
        if (!count || json_array_size(y) != count || number_of(b, n, "tokens") != (double)count)
            differ("row %zu: %s has %zu log-probs, expected %zu", n, sides[s], json_array_size(y), count);
        for (size_t i = 0; i < count; i++) {
            double d = fabs(json_number_value(json_array_get(x, i)) - json_number_value(json_array_get(y, i)));
            if (!(d <= logp_bound)) differ("row %zu: log-prob %zu of %s differs by %g", n, i, sides[s], d);
            worst = fmax(worst, d);
        }
        near_to("sum", n, number_of(a, n, "sum"), number_of(b, n, "sum"), logp_bound);
    }
}

static void greedy_row(const json_t *want, const json_t *have, size_t n) {
    const json_t *answers = json_object_get(have, "answers"), *ids = json_object_get(json_array_get(answers, 0), "ids");
    if (json_array_size(answers) != 1 || !json_array_size(ids)) differ("row %zu: not one answer with ids", n);
    if (!json_equal(json_object_get(want, "greedy_ids"), ids) && number_of(want, n, "min_gap") >= min_gap) differ("row %zu: ids differ", n);
}

static void beams_row(const json_t *want, const json_t *have, size_t n) {
    const json_t *expected = json_object_get(want, "answers"), *answers = json_object_get(have, "answers"), *a;
    size_t i;
    if (!json_array_size(expected) || json_array_size(answers) != json_array_size(expected)) differ("row %zu: another number of answers", n);
    json_array_foreach(expected, i, a) {
        const json_t *got = json_array_get(answers, i), *ids = json_object_get(got, "ids");
        if (!json_equal(json_object_get(a, "ids"), ids)) differ("row %zu: ids of answer %zu differ", n, i + 1);
        near_to("mean log-prob", n, number_of(a, n, "score"), number_of(got, n, "logp") / (double)json_array_size(ids), logp_bound);
    }
}

static void probe_row(const json_t *want, const json_t *have, size_t n) {
    static const char *const words[] = { "yes", "Yes", "no", "No" };
    const json_t *expected = json_object_get(want, "yes_no");
    for (int i = 0; i < 4; i++) {
        double a = number_of(expected, n, words[i]), d = fabs(number_of(have, n, words[i]) / a - 1);
        if (!(d <= logp_bound)) differ("row %zu: p(%s) is off by %g of itself", n, words[i], d);
        worst = fmax(worst, d);
    }
    near_to("p_yes", n, number_of(expected, n, "yes") + number_of(expected, n, "Yes"), number_of(have, n, "p_yes"), logp_bound);
    near_to("p_no", n, number_of(expected, n, "no") + number_of(expected, n, "No"), number_of(have, n, "p_no"), logp_bound);
}

static void metrics_row(const json_t *want, const json_t *have, size_t n) {
    json_t *a = json_copy((json_t *)(uintptr_t)want), *b = json_copy((json_t *)(uintptr_t)have);
    json_object_del(a, "step_time");
    json_object_del(b, "step_time");
    const char *key;
    json_t *value;
    if (json_object_size(a) != json_object_size(b)) differ("row %zu has other columns", n);
    if (step_bound > 0) {
        json_object_foreach(a, key, value) if (json_is_number(value))
            near_to(key, n, json_number_value(value), number_of(b, n, key), step_bound);
    } else if (!json_equal(a, b)) differ("row %zu of the metrics differs", n);
    json_decref(a);
    json_decref(b);
}

static void rows_compare(const char *expected, const char *got, void (*row)(const json_t *want, const json_t *have, size_t n)) {
    json_t *want = rows_of(expected), *have = rows_of(got);
    if (!json_array_size(want) || json_array_size(want) != json_array_size(have))
        differ("%s has %zu rows, expected %zu", got, json_array_size(have), json_array_size(want));
    for (size_t i = 0; i < json_array_size(want); i++) row(json_array_get(want, i), json_array_get(have, i), i + 1);
    json_decref(want);
    json_decref(have);
}

/* ---- training ---- */

static void steps_compare(const char *expected, const char *got) {
    static const struct {
        const char *name;
        double bound;
        int is_computed;
    } columns[] = { { "step", 0, 0 }, { "loss", 2e-5, 1 }, { "learning_rate", 1e-12, 0 }, { "grad_norm", 1e-4, 1 },
        { "rewards/chosen", 2e-5, 1 }, { "rewards/rejected", 2e-5, 1 }, { "rewards/margins", 2e-5, 1 }, { "logps/chosen", 2e-5, 1 },
        { "logps/rejected", 2e-5, 1 } };
    Error e = { 0 };
    json_t *whole, *have = rows_of(got);
    if (json_read_object(expected, &whole, &e)) refuse(&e);
    const json_t *want = json_object_get(whole, "log");
    if (!json_array_size(want) || json_array_size(want) != json_array_size(have))
        differ("%s has %zu rows, expected %zu", got, json_array_size(have), json_array_size(want));
    for (size_t i = 0; i < json_array_size(want); i++)
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
            const char *name = columns[c].name;
            near_to(name, i + 1, number_of(json_array_get(want, i), i + 1, name), number_of(json_array_get(have, i), i + 1, name),
                columns[c].is_computed ? fmax(columns[c].bound, step_bound) : columns[c].bound);
        }
    json_decref(whole);
    json_decref(have);
}

/* Two runs whose sums have another order. */
static void losses_compare(const char *expected, const char *got, double bound) {
    json_t *want = rows_of(expected), *have = rows_of(got);
    if (!json_array_size(want) || json_array_size(want) != json_array_size(have))
        differ("%s has %zu rows, expected %zu", got, json_array_size(have), json_array_size(want));
    for (size_t i = 0; i < json_array_size(want); i++)
        near_to("loss", i + 1, number_of(json_array_get(want, i), i + 1, "loss"), number_of(json_array_get(have, i), i + 1, "loss"), bound);
    json_decref(want);
    json_decref(have);
}

/* ---- tensors ---- */

static void tensor_compare(const Tensor *want, const Tensor *have, double bound) {
    if (!have) differ("tensor %s is absent", want->name);
    if (want->ndim != have->ndim || memcmp(want->shape, have->shape, (size_t)want->ndim * sizeof *want->shape))
        differ("tensor %s has another shape", want->name);
    Error e = { 0 };
    float *x = mem_new((size_t)want->count, sizeof *x, "tensor", &e), *y = mem_new((size_t)want->count, sizeof *y, "tensor", &e);
    if (!x || !y || tensor_read(want, TENSOR_F32, x, &e) || tensor_read(have, TENSOR_F32, y, &e)) refuse(&e);
    for (int64_t i = 0; i < want->count; i++) {
        double d = fabs((double)x[i] - y[i]);
        if (!(d <= bound)) differ("tensor %s: element %lld is %.9g, expected %.9g", want->name, (long long)i, y[i], x[i]);
        worst = fmax(worst, d);
    }
    free(x);
    free(y);
}

static void tensors_compare(const char *expected, const char *got, const char *prefix, double bound) {
    TensorSet want, have;
    Error e = { 0 };
    size_t skip = strlen(prefix), compared = 0;
    if (tensors_open(&want, expected, &e) || tensors_open(&have, got, &e)) refuse(&e);
    for (size_t i = 0; i < want.n; i++)
        if (!strncmp(want.list[i].name, prefix, skip)) {
            tensor_compare(&want.list[i], tensors_find(&have, want.list[i].name + skip), bound);
            compared++;
        }
    if (!compared || (skip && compared != have.n)) differ("%zu tensors compared, %zu in %s", compared, have.n, got);
    tensors_close(&want);
    tensors_close(&have);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*row)(const json_t *want, const json_t *have, size_t n);
    } kinds[] = { { "tokens", tokens_row }, { "score", score_row }, { "greedy", greedy_row }, { "beams", beams_row }, { "probe", probe_row },
        { "metrics", metrics_row } };
    const char *kind = argc > 3 ? argv[1] : "";
    int known = 0;
    if (argc > 4 && !strcmp(kind, "greedy")) min_gap = atof(argv[4]);
    else if (argc > 4) logp_bound = step_bound = atof(argv[4]);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kind, kinds[i].name)) rows_compare(argv[2], argv[3], kinds[i].row), known = 1;
    if (!strcmp(kind, "steps")) steps_compare(argv[2], argv[3]), known = 1;
    if (argc > 4 && !strcmp(kind, "losses")) losses_compare(argv[2], argv[3], atof(argv[4])), known = 1;
    if (argc > 4 && !strcmp(kind, "weights")) tensors_compare(argv[2], argv[3], "", atof(argv[4])), known = 1;
    if (argc > 4 && !strcmp(kind, "pixels")) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "%s.", argv[4]);
        tensors_compare(argv[2], argv[3], prefix, 0), known = 1;
    }
    if (!known) differ("usage: compare tokens|score|greedy|beams|probe|pixels|weights|steps|losses|metrics EXPECTED GOT [PREFIX|BOUND|GAP]");
    printf("%s: largest difference %.2g\n", kind, worst);
    return 0;
}

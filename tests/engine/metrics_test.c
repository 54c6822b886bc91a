/* metrics_test.c - the three files of metrics: their exact contents, TFRecord checksums against values from elsewhere, and that they agree
 * after a crash or a resumed run. */
#include "engine/metrics.h"
#include "tests/check.h"

#include <glob.h>
#include <math.h>

/* CRC32C by table: another form than the one tested. Its check value is the one every catalogue of CRCs gives. */
static uint32_t crc_by_table(const unsigned char *p, size_t n) {
    static uint32_t table[256];
    for (uint32_t i = 0; i < 256 && !table[255]; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        table[i] = c;
    }
    uint32_t crc = ~0u;
    while (n--) crc = table[(crc ^ *p++) & 255] ^ crc >> 8;
    return ~crc;
}
static uint32_t masked(const unsigned char *p, size_t n) {
    uint32_t crc = crc_by_table(p, n);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}
static uint32_t read32(const unsigned char *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

typedef struct Events {
    unsigned char *bytes;
    size_t size;
    int n;
    const unsigned char *data[64];
    size_t sizes[64];
} Events;

static void events_path(const char *folder, char out[PATH_SIZE]) {
    glob_t found;
    char pattern[PATH_SIZE];
    snprintf(pattern, sizeof pattern, "%s", at(folder, "events.out.tfevents.*"));
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1); /* resuming goes on in the same file */
    snprintf(out, PATH_SIZE, "%s", found.gl_pathv[0]);
    globfree(&found);
}

/* Reads the one event file, checking every frame. */
static Events events_read(const char *folder) {
    Events v = { 0 };
    char path[PATH_SIZE], *bytes;
    events_path(folder, path);
    assert_int_equal(file_read(path, 1 << 20, &bytes, &v.size, NULL), 0);
    v.bytes = (unsigned char *)bytes;
    for (size_t i = 0; i < v.size;) {
        assert_true(v.size - i >= 16 && v.n < 64);
        size_t n = read32(v.bytes + i);
        assert_int_equal(read32(v.bytes + i + 4), 0);
        assert_int_equal(read32(v.bytes + i + 8), masked(v.bytes + i, 8));
        assert_true(n <= v.size - i - 16);
        assert_int_equal(read32(v.bytes + i + 12 + n), masked(v.bytes + i + 12, n));
        v.data[v.n] = v.bytes + i + 12, v.sizes[v.n++] = n;
        i += 16 + n;
    }
    return v;
}

static void file_holds(const char *path, const char *expected) {
    char *text;
    assert_int_equal(file_read(path, 1 << 20, &text, NULL, NULL), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void write_row(Metrics *m, int iteration, const char *phase, int64_t step, const char *name, double value) {
    MetricRow r;
    metric_row(&r, iteration, phase, step);
    metric_set(&r, name, value);
    assert_int_equal(metrics_write(m, &r, NULL), 0);
}

static void test_three_files(void **state) {
    (void)state;
    char folder[PATH_SIZE];
    Error e = { 0 };
    MetricRow r;
    assert_int_equal(crc_by_table((const unsigned char *)"123456789", 9), 0xe3069283u);
    scratch_make(folder);
    Metrics *m = metrics_open(folder, &e);
    assert_non_null(m);
    metric_row(&r, 1, "train", 3);
    metric_set(&r, "loss", 0.25);
    metric_set(&r, "loss", 0.5); /* the last one counts */
    metric_set(&r, "grad_norm", INFINITY);
    assert_int_equal(metrics_write(m, &r, &e), 0);
    file_holds(at(folder, "metrics.csv"), "iteration,phase,step,loss,grad_norm\n1,train,3,0.5,nan\n"); /* flushed before closing */
    write_row(m, 1, "label", 200, "label/yes_rate", 0.75);
    metrics_close(m);

    file_holds(at(folder, "metrics.jsonl"), "{\"iteration\":1,\"phase\":\"train\",\"step\":3,\"loss\":0.5,\"grad_norm\":null}\n"
                                            "{\"iteration\":1,\"phase\":\"label\",\"step\":200,\"label/yes_rate\":0.75}\n");
    file_holds(at(folder, "metrics.csv"), "iteration,phase,step,loss,grad_norm,label/yes_rate\n1,train,3,0.5,nan,\n1,label,200,,,0.75\n");

    Events v = events_read(folder);
    assert_int_equal(v.n, 3);
    /* Every event file TensorFlow writes begins with these bytes: length 24, and its masked checksum. */
    static const unsigned char start[] = { 24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22, 0x09 };
    assert_memory_equal(v.bytes, start, sizeof start);
    assert_memory_equal(v.data[0] + 9,
        "\x1a\x0d"
        "brain.Event:2",
        15);
    /* After the time: step 3, and a summary of two values. */
    static const unsigned char row[] = "\x10\x03\x2a\x2b"
                                       "\x0a\x11\x0a\x0atrain/loss\x15\0\0\0\x3f"
                                       "\x0a\x16\x0a\x0ftrain/grad_norm\x15\0\0\x80\x7f";
    assert_int_equal(v.data[1][0], 9);
    assert_int_equal(v.sizes[1], 9 + sizeof row - 1);
    assert_memory_equal(v.data[1] + 9, row, sizeof row - 1);
    /* A name that begins with its phase is not given it twice; 200 takes two bytes. */
    static const unsigned char label[] = "\x10\xc8\x01\x2a\x17\x0a\x15\x0a\x0elabel/yes_rate\x15\0\0\x40\x3f";
    assert_int_equal(v.sizes[2], 9 + sizeof label - 1);
    assert_memory_equal(v.data[2] + 9, label, sizeof label - 1);
    free(v.bytes);
    scratch_drop(folder);
}

static void test_resume(void **state) {
    (void)state;
    char folder[PATH_SIZE];
    Error e = { 0 };
    scratch_make(folder);
    Metrics *m = metrics_open(folder, &e);
    write_row(m, 1, "sample", 1, "tokens", 5);
    for (int step = 1; step <= 4; step++) write_row(m, 1, "train", step, "loss", 1.0 / step);
    write_row(m, 1, "eval", 4, "bad", 1);
    write_row(m, 2, "sample", 2, "tokens", 6);
    metrics_close(m);

    m = metrics_open(folder, &e);
    assert_non_null(m);
    Events v = events_read(folder);
    assert_int_equal(v.n, 8); /* opening changes nothing */
    free(v.bytes);
    assert_int_equal(metrics_resume(m, 1, "train", 2, &e), 0);
    file_holds(at(folder, "metrics.csv"), "iteration,phase,step,tokens,loss\n1,sample,1,5,\n1,train,1,,1\n1,train,2,,0.5\n");
    v = events_read(folder);
    assert_int_equal(v.n, 4);
    free(v.bytes);
    write_row(m, 1, "train", 3, "loss", 9);
    metrics_close(m);
    file_holds(at(folder, "metrics.jsonl"),
        "{\"iteration\":1,\"phase\":\"sample\",\"step\":1,\"tokens\":5.0}\n{\"iteration\":1,\"phase\":\"train\",\"step\":1,\"loss\":1.0}\n"
        "{\"iteration\":1,\"phase\":\"train\",\"step\":2,\"loss\":0.5}\n{\"iteration\":1,\"phase\":\"train\",\"step\":3,\"loss\":9.0}\n");
    v = events_read(folder);
    assert_int_equal(v.n, 5);
    assert_int_equal(v.data[4][10], 3);
    free(v.bytes);
    scratch_drop(folder);
}

static void test_crash(void **state) {
    (void)state;
    char folder[PATH_SIZE], path[PATH_SIZE];
    Error e = { 0 };
    scratch_make(folder);
    Metrics *m = metrics_open(folder, &e);
    write_row(m, 1, "train", 1, "loss", 1);
    write_row(m, 1, "train", 2, "loss", 2);
    metrics_close(m);
    /* A row cut short, a CSV line too many, and an event cut short. */
    FILE *f = fopen(at(folder, "metrics.jsonl"), "a");
    fputs("{\"iteration\":1,\"phase\":\"tr", f);
    fclose(f);
    f = fopen(at(folder, "metrics.csv"), "a");
    fputs("1,train,9,9\n", f);
    fclose(f);
    Events v = events_read(folder);
    events_path(folder, path);
    put(path, v.bytes, v.size - 3);
    free(v.bytes);
    m = metrics_open(folder, &e);
    assert_non_null(m);
    write_row(m, 1, "train", 3, "loss", 3);
    metrics_close(m);
    file_holds(at(folder, "metrics.csv"), "iteration,phase,step,loss\n1,train,1,1\n1,train,2,2\n1,train,3,3\n");
    v = events_read(folder);
    assert_int_equal(v.n, 4);
    assert_int_equal(v.data[2][10], 2); /* written again from metrics.jsonl */
    assert_int_equal(v.data[3][10], 3);
    free(v.bytes);
    /* A flipped bit in the first row's event: everything from there is written again. */
    v = events_read(folder);
    v.bytes[v.data[1] - v.bytes + 20] ^= 1;
    put(path, v.bytes, v.size);
    free(v.bytes);
    m = metrics_open(folder, &e);
    assert_non_null(m);
    metrics_close(m);
    v = events_read(folder);
    assert_int_equal(v.n, 4);
    free(v.bytes);
    scratch_drop(folder);
}

static void test_bad_files(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "{\"iteration\":1,\"phase\":\"train\",\"step\":1}\nrubbish\n", "metrics.jsonl:2" },
        { "{\"iteration\":1,\"step\":1}\n", "field \"phase\"" },
        { "{\"iteration\":-1,\"phase\":\"train\",\"step\":1}\n", "out of range" },
        { "{\"iteration\":1,\"phase\":\"train\",\"step\":1,\"loss\":\"low\"}\n", "field \"loss\"; found a string" },
    };
    char folder[PATH_SIZE];
    scratch_make(folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = { 0 };
        put(at(folder, "metrics.jsonl"), cases[i].text, strlen(cases[i].text));
        assert_null(metrics_open(folder, &e));
        error_says(&e, cases[i].says);
    }
    Error e = { 0 };
    put(at(folder, "plain"), "x", 1);
    assert_null(metrics_open(at(folder, "plain"), &e));
    error_says(&e, "cannot make folder");
    scratch_drop(folder);
}

static void test_line(void **state) {
    (void)state;
    MetricRow r;
    char text[200], tiny[12];
    metric_row(&r, 1, "train", 12);
    metric_set(&r, "logps/chosen", -40.123456);
    metric_set(&r, "grad_norm", 1.5);
    metric_set(&r, "loss", 0.693147);
    assert_string_equal(metric_row_text(&r, text, sizeof text), "train step 12  loss 0.6931  grad_norm 1.5  logps/chosen -40.12");
    assert_string_equal(metric_row_text(&r, tiny, sizeof tiny), "train step ");
}

int main(void) {
    const struct CMUnitTest metrics_test[] = {
        cmocka_unit_test(test_three_files),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_crash),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_line),
    };
    return cmocka_run_group_tests(metrics_test, NULL, NULL);
}

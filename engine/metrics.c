/* metrics.c - owns the files of metrics: metrics.jsonl (the truth), metrics.csv, and events.out.tfevents.* for TensorBoard.
 *
 * The event file is TFRecord framing (TensorFlow's record_writer.cc: length, masked CRC32C of it, data, masked CRC32C of that) around Event
 * protobufs (event.proto, summary.proto), both written by hand since they are a few bytes. It holds one record that names the version and
 * then one record per row of metrics.jsonl, which is what lets both be cut at the same row. CRC32C is Castagnoli's polynomial, reflected
 * (RFC 3720, appendix B.4).
 *
 * Refuses a metrics.jsonl with a bad line inside; a last line cut short by a crash is forgotten. */
#include "engine/metrics.h"

#include "base/json.h"

#include <assert.h>
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    COLUMNS = 512,                                          /* distinct names of a run; phases have a dozen each */
    RECORD_MOST = 64 + METRICS_ROW * (3 * METRIC_NAME + 32) /* bytes of one event */
};

struct Metrics {
    char folder[PATH_SIZE], jsonl_path[PATH_SIZE], csv_path[PATH_SIZE], events_path[PATH_SIZE];
    FILE *jsonl, *csv, *events;
    char columns[COLUMNS][METRIC_NAME];
    int columns_n;
};

/* ---- rows ---- */

void metric_row(MetricRow *r, int iteration, const char *phase, int64_t step) {
    memset(r, 0, sizeof *r);
    r->iteration = iteration, r->step = step;
    snprintf(r->phase, sizeof r->phase, "%s", phase);
}

void metric_set(MetricRow *r, const char *name, double value) {
    int i = 0;
    while (i < r->n && strcmp(r->list[i].name, name)) i++;
    assert(i < METRICS_ROW); /* a row is sized for every metric of a phase */
    if (i == r->n) snprintf(r->list[r->n++].name, METRIC_NAME, "%s", name);
    r->list[i].value = value;
}

static json_t *row_to_json(const MetricRow *r) {
    json_t *o = json_pack("{s:i,s:s,s:I}", "iteration", r->iteration, "phase", r->phase, "step", (json_int_t)r->step);
    for (int i = 0; o && i < r->n; i++) {
        double v = r->list[i].value;
        if (json_object_set_new(o, r->list[i].name, isfinite(v) ? json_real(v) : json_null())) {
            json_decref(o);
            o = NULL;
        }
    }
    return o;
}

static int row_from_json(const json_t *o, const char *where, MetricRow *r, Error *e) {
    int64_t iteration, step;
    const char *phase, *key;
    json_t *value;
    if (json_need_integer(o, "iteration", where, 0, INT32_MAX, &iteration, e) || json_need_string(o, "phase", where, &phase, e) ||
        json_need_integer(o, "step", where, 0, INT64_MAX, &step, e))
        return -1;
    if (json_object_size(o) > METRICS_ROW)
        return error_what(e, "too many metrics in a row"), error_where(e, "%s", where), error_found(e, "%zu", json_object_size(o)),
               error_expected(e, "at most %d", METRICS_ROW);
    metric_row(r, (int)iteration, phase, step);
    json_object_foreach((json_t *)(uintptr_t)o, key, value) {
        if (!strcmp(key, "iteration") || !strcmp(key, "phase") || !strcmp(key, "step")) continue;
        if (strlen(key) >= METRIC_NAME)
            return error_what(e, "name of a metric too long"), error_where(e, "%s", where), error_found(e, "\"%.100s\"", key),
                   error_expected(e, "at most %d bytes", METRIC_NAME - 1);
        if (!json_is_number(value) && !json_is_null(value))
            return error_what(e, "wrong type"), error_where(e, "%s: field \"%s\"", where, key), error_found(e, "%s", json_kind(value)),
                   error_expected(e, "a number or null");
        metric_set(r, key, json_is_null(value) ? NAN : json_number_value(value));
    }
    return 0;
}

char *metric_row_text(const MetricRow *r, char *out, size_t size) {
    static const char *const first[] = { "loss", "rewards/accuracies", "rewards/margins", "grad_norm", "learning_rate" };
    enum { FIRST = sizeof first / sizeof *first };
    int n = snprintf(out, size, "%s step %lld", r->phase, (long long)r->step);
    for (int pass = 0; pass <= FIRST; pass++) {
        for (int i = 0; i < r->n; i++) {
            int rank = 0;
            while (rank < FIRST && strcmp(first[rank], r->list[i].name)) rank++;
            if (rank != pass || n < 0 || (size_t)n >= size) continue;
            n += snprintf(out + n, size - (size_t)n, "  %s %.4g", r->list[i].name, r->list[i].value);
        }
    }
    return out;
}

/* ---- the event file ---- */

static uint32_t crc32c(const unsigned char *data, size_t n) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
    }
    return ~crc;
}

/* TFRecord's mask, so that a checksum over data that holds checksums stays useful. */
static uint32_t crc_masked(const unsigned char *data, size_t n) {
    uint32_t crc = crc32c(data, n);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static size_t put_fixed(unsigned char *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) out[i] = (unsigned char)(value >> 8 * i);
    return (size_t)bytes;
}

static uint64_t get_fixed(const unsigned char *in, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)in[i] << 8 * i;
    return value;
}

static size_t put_varint(unsigned char *out, uint64_t value) {
    size_t n = 0;
    for (; value >= 128; value >>= 7) out[n++] = (unsigned char)(value | 128);
    out[n++] = (unsigned char)value;
    return n;
}

static size_t put_bytes(unsigned char *out, int field, const void *data, size_t size) {
    size_t n = put_varint(out, (uint64_t)field << 3 | 2);
    n += put_varint(out + n, size);
    memcpy(out + n, data, size);
    return n + size;
}

/* The name under which TensorBoard shows a metric: grouped by phase, as Transformers' writer does it. */
static void tag_of(const MetricRow *r, int i, char out[2 * METRIC_NAME]) {
    size_t n = strlen(r->phase);
    int grouped = !strncmp(r->list[i].name, r->phase, n) && r->list[i].name[n] == '/';
    snprintf(out, 2 * METRIC_NAME, "%s%s%s", grouped ? "" : r->phase, grouped ? "" : "/", r->list[i].name);
}

/* Event { 1: double wall_time, 2: int64 step, 3: string file_version, 5: Summary { 1: Value { 1: string tag, 2: float simple_value } } }.
 * r NULL: the first record, which names the version. */
static size_t event_encode(const MetricRow *r, unsigned char *out) {
    unsigned char summary[RECORD_MOST];
    size_t n = 0, used = 0;
    double wall = (double)time(NULL);
    uint64_t bits;
    memcpy(&bits, &wall, sizeof bits);
    out[n++] = 1 << 3 | 1;
    n += put_fixed(out + n, bits, 8);
    if (!r) return n + put_bytes(out + n, 3, "brain.Event:2", 13);
    out[n++] = 2 << 3 | 0;
    n += put_varint(out + n, (uint64_t)r->step);
    for (int i = 0; i < r->n; i++) {
        unsigned char value[2 * METRIC_NAME + 16];
        char tag[2 * METRIC_NAME];
        float x = (float)r->list[i].value;
        uint32_t x_bits;
        tag_of(r, i, tag);
        memcpy(&x_bits, &x, sizeof x_bits);
        size_t m = put_bytes(value, 1, tag, strlen(tag));
        value[m++] = 2 << 3 | 5;
        m += put_fixed(value + m, x_bits, 4);
        used += put_bytes(summary + used, 1, value, m);
    }
    return n + put_bytes(out + n, 5, summary, used);
}

static int write_failed(const char *path, Error *e) {
    int reason = errno;
    return error_what(e, "cannot write metrics"), error_where(e, "%s", path), error_found(e, "%s", strerror(reason)),
           error_hint(e, "free space on this disk");
}

static int event_write(FILE *f, const char *path, const MetricRow *r, Error *e) {
    static const int head = 12, foot = 4;
    unsigned char record[12 + 2 * RECORD_MOST + 4];
    size_t n = event_encode(r, record + head);
    put_fixed(record, n, 8);
    put_fixed(record + 8, crc_masked(record, 8), 4);
    put_fixed(record + head + n, crc_masked(record + head, n), foot);
    n += (size_t)(head + foot);
    return fwrite(record, 1, n, f) == n && !fflush(f) ? 0 : write_failed(path, e);
}

/* Moves past up to `most` whole, valid records; returns how many, with their end in *end. */
static int64_t events_walk(FILE *f, int64_t most, long *end) {
    unsigned char head[12], data[2 * RECORD_MOST + 4];
    int64_t n = 0;
    rewind(f);
    for (*end = 0; n < most; n++) {
        if (fread(head, 1, sizeof head, f) != sizeof head || get_fixed(head + 8, 4) != crc_masked(head, 8)) break;
        uint64_t size = get_fixed(head, 8);
        if (size > 2 * RECORD_MOST || fread(data, 1, size + 4, f) != size + 4 || get_fixed(data + size, 4) != crc_masked(data, size)) break;
        *end += (long)(16 + size);
    }
    return n;
}

/* An event file of this run, or the name of a new one. TensorBoard reads all names that hold "tfevents". */
static int events_name(Metrics *m, Error *e) {
    char pattern[PATH_SIZE], host[64] = "host", name[128];
    glob_t found = { 0 };
    if (path_join(pattern, m->folder, "events.out.tfevents.*", e)) return -1;
    /* A folder whose own name has glob characters only costs a new event file. */
    int any = !glob(pattern, 0, NULL, &found) && found.gl_pathc;
    if (any) snprintf(m->events_path, sizeof m->events_path, "%s", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    if (any) return 0;
    gethostname(host, sizeof host - 1);
    for (char *p = host; *p; p++)
        if (*p == '/') *p = '_';
    snprintf(name, sizeof name, "events.out.tfevents.%lld.%s", (long long)time(NULL), host);
    return path_join(m->events_path, m->folder, name, e);
}

/* ---- keeping the three alike ---- */

/* 1 when the row comes after (iteration, phase, step) in the sense of metrics_resume. */
static int row_is_past(const MetricRow *r, int iteration, const char *phase, int64_t step) {
    return r->iteration > iteration || (r->iteration == iteration && !strcmp(r->phase, phase) && r->step > step);
}

static int column_add(Metrics *m, const char *name, Error *e) {
    for (int i = 0; i < m->columns_n; i++)
        if (!strcmp(m->columns[i], name)) return 0;
    if (m->columns_n == COLUMNS)
        return error_what(e, "too many metrics"), error_where(e, "%s", m->csv_path), error_found(e, "another name, %s", name),
               error_expected(e, "at most %d names", COLUMNS);
    snprintf(m->columns[m->columns_n++], METRIC_NAME, "%s", name);
    return 1;
}

static int csv_line(const Metrics *m, FILE *f, const MetricRow *r) {
    fprintf(f, "%d,%s,%" PRId64, r->iteration, r->phase, r->step);
    for (int c = 0; c < m->columns_n; c++) {
        putc(',', f);
        for (int i = 0; i < r->n; i++) {
            if (strcmp(r->list[i].name, m->columns[c])) continue;
            if (isfinite(r->list[i].value)) fprintf(f, "%.9g", r->list[i].value);
            else fputs("nan", f);
        }
    }
    return putc('\n', f) == EOF ? -1 : 0;
}

/* Reads metrics.jsonl from its start to `end` bytes, calling `take` for each row. */
typedef int (*TakeRow)(Metrics *m, const MetricRow *r, void *user, Error *e);
static int rows_each(Metrics *m, TakeRow take, void *user, Error *e) {
    JsonLines lines;
    json_t *json;
    MetricRow row;
    int got;
    if (jsonl_open(&lines, m->jsonl_path, e)) return -1;
    while ((got = jsonl_next(&lines, &json, e)) > 0) {
        int failed = row_from_json(json, lines.where, &row, e) || take(m, &row, user, e);
        json_decref(json);
        if (failed) {
            got = -1;
            break;
        }
    }
    jsonl_close(&lines);
    return got < 0 ? -1 : 0;
}

static int take_columns(Metrics *m, const MetricRow *r, void *user, Error *e) {
    (void)user;
    for (int i = 0; i < r->n; i++)
        if (column_add(m, r->list[i].name, e) < 0) return -1;
    return 0;
}

static int take_csv(Metrics *m, const MetricRow *r, void *user, Error *e) {
    return csv_line(m, user, r) ? write_failed(m->csv_path, e) : 0;
}

/* Writes metrics.csv anew: when a run is resumed, and when a name is seen first. */
static int csv_rebuild(Metrics *m, Error *e) {
    FileOut f;
    if (m->csv) fclose(m->csv);
    m->csv = NULL;
    if (file_create(&f, m->csv_path, e)) return -1;
    fputs("iteration,phase,step", f.stream);
    for (int c = 0; c < m->columns_n; c++) fprintf(f.stream, ",%s", m->columns[c]);
    putc('\n', f.stream);
    if (rows_each(m, take_csv, f.stream, e)) {
        file_abandon(&f);
        return -1;
    }
    if (file_commit(&f, e)) return -1;
    if (!(m->csv = fopen(m->csv_path, "ae"))) return write_failed(m->csv_path, e);
    return 0;
}

typedef struct Replay {
    int64_t skip; /* rows whose events are already there */
} Replay;
static int take_event(Metrics *m, const MetricRow *r, void *user, Error *e) {
    Replay *replay = user;
    return replay->skip-- > 0 ? 0 : event_write(m->events, m->events_path, r, e);
}

typedef struct Cut {
    int iteration;
    const char *phase;
    int64_t step, rows; /* rows: kept so far */
    int cutting;        /* 0: keep all */
    int done;
} Cut;
static int take_cut(Metrics *m, const MetricRow *r, void *user, Error *e) {
    Cut *cut = user;
    (void)m, (void)e;
    if (cut->cutting && row_is_past(r, cut->iteration, cut->phase, cut->step)) cut->done = 1;
    if (!cut->done) cut->rows++;
    return 0;
}

/* The byte after line `n` (rows are lines: this program writes no blank ones), and whether the file ends there. */
static int line_end(Metrics *m, int64_t n, long *end, Error *e) {
    *end = 0;
    rewind(m->jsonl);
    for (int c; n > 0 && (c = getc_unlocked(m->jsonl)) != EOF;) {
        ++*end;
        if (c == '\n') n--;
    }
    return ferror(m->jsonl) ? (error_what(e, "cannot read metrics"), error_where(e, "%s", m->jsonl_path)) : 0;
}

static int cut_file(FILE *f, const char *path, long end, Error *e) {
    return fflush(f) || ftruncate(fileno(f), end) || fseek(f, end, SEEK_SET) ? write_failed(path, e) : 0;
}

/* Cuts off what `cut` says, then makes the CSV and the events agree with what is left. */
static int metrics_align(Metrics *m, Cut *cut, Error *e) {
    long end;
    if (rows_each(m, take_cut, cut, e) || line_end(m, cut->rows, &end, e) || cut_file(m->jsonl, m->jsonl_path, end, e)) return -1;
    m->columns_n = 0;
    if (rows_each(m, take_columns, NULL, e) || csv_rebuild(m, e)) return -1;
    Replay replay = { events_walk(m->events, cut->rows + 1, &end) - 1 };
    if (cut_file(m->events, m->events_path, end, e)) return -1;
    if (replay.skip < 0 && event_write(m->events, m->events_path, NULL, e)) return -1;
    return rows_each(m, take_event, &replay, e);
}

static FILE *open_update(const char *path, Error *e) {
    FILE *f = fopen(path, "r+e");
    if (!f && errno == ENOENT) f = fopen(path, "w+e");
    if (!f) write_failed(path, e);
    return f;
}

Metrics *metrics_open(const char *folder, Error *e) {
    Metrics *m = mem_new(1, sizeof *m, "metrics", e);
    Cut all = { 0 };
    if (!m) return NULL;
    snprintf(m->folder, sizeof m->folder, "%s", folder);
    if (folder_make(folder, e) || path_join(m->jsonl_path, folder, "metrics.jsonl", e) ||
        path_join(m->csv_path, folder, "metrics.csv", e) || events_name(m, e) || !(m->jsonl = open_update(m->jsonl_path, e)) ||
        !(m->events = open_update(m->events_path, e)) || file_cut_torn_line(m->jsonl_path, e) || metrics_align(m, &all, e)) {
        metrics_close(m);
        return NULL;
    }
    return m;
}

int metrics_resume(Metrics *m, int iteration, const char *phase, int64_t step, Error *e) {
    Cut cut = { .iteration = iteration, .phase = phase, .step = step, .cutting = 1 };
    return metrics_align(m, &cut, e);
}

int metrics_write(Metrics *m, const MetricRow *r, Error *e) {
    int new_names = 0;
    for (int i = 0; i < r->n; i++) {
        int added = column_add(m, r->list[i].name, e);
        if (added < 0) return -1;
        new_names |= added;
    }
    if (jsonl_write(m->jsonl, row_to_json(r), e)) return -1;
    if (fflush(m->jsonl)) return write_failed(m->jsonl_path, e);
    if (new_names) {
        if (csv_rebuild(m, e)) return -1;
    } else if (csv_line(m, m->csv, r) || fflush(m->csv)) return write_failed(m->csv_path, e);
    return event_write(m->events, m->events_path, r, e);
}

void metrics_close(Metrics *m) {
    if (!m) return;
    if (m->jsonl) fclose(m->jsonl);
    if (m->csv) fclose(m->csv);
    if (m->events) fclose(m->events);
    free(m);
}

/* device.c - see device.h. */
#include "bench/device.h"

#include "bench/counts.h"
#include "bench/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES = 7 };
static const double batch_seconds = 0.03;

typedef struct DeviceBench {
    const Kernels *k, *cpu;
    const Peers *peers; /* NULL: not built in */
    FILE *table, *json;
    int counts;
    double copy_rate, product_rate[2];
} DeviceBench;
/* Who computes a case: our kernels where `run` is NULL. */
typedef struct Contender {
    PeerRun run;
    const Peers *peers;
} Contender;
static const Contender ours = { NULL, NULL };

/* Whether it was queued; a peer may not have the operation. */
static int contender_run(const Contender *by, Operands *o) {
    if (by->run) return by->run(o, by->peers);
    o->c->run(o);
    return 1;
}

int operand_new(Operands *o, DType dtype, int64_t n, float scale, Error *e) {
    if (o->bufs_n == DEVICE_BUFS) return error_what(e, "too many operands in a benchmark");
    Buf *to = &o->b[o->bufs_n], wide;
    if (o->k->alloc(to, dtype, n, "benchmark operand", e)) return -1;
    o->bufs_n++;
    if (scale == 0) return 0;
    float *x = mem_new((size_t)n, sizeof *x, "benchmark numbers", e);
    if (!x || o->k->alloc(&wide, FP32, n, "benchmark numbers", e)) return free(x), -1;
    measure_fill(x, n, scale, 12345u + 77u * (uint32_t)o->bufs_n);
    o->k->upload(wide, x, n);
    o->k->copy(*to, wide, n);
    o->k->free(wide);
    free(x);
    return 0;
}

static void operands_free(Operands *o) {
    for (int i = 0; i < o->bufs_n; i++) o->k->free(o->b[i]);
    o->bufs_n = 0;
}

/* The result of one call, in fp32 on the host; malloc'd. */
static float *result_of(const Contender *by, Operands *o, Error *e) {
    const DeviceCase *c = o->c;
    int64_t n = c->compared(c);
    Buf wide;
    contender_run(by, o);
    if (o->k->sync(e) || o->k->alloc(&wide, FP32, n, "benchmark result", e)) return NULL;
    float *x = mem_new((size_t)n, sizeof *x, "benchmark result", e);
    o->k->copy(wide, o->b[c->result], n);
    if (x) o->k->download(x, wide, n);
    o->k->free(wide);
    if (!o->k->sync(e)) return x;
    free(x);
    return NULL;
}

/* The device's result against the CPU's; `o` holds the device's operands afterwards. */
static int case_check(DeviceBench *b, Operands *o, Error *e) {
    const DeviceCase *c = o->c;
    Operands host = { .k = b->cpu, .c = c };
    float *want = c->open(&host, e) ? NULL : result_of(&ours, &host, e), *got = want && !c->open(o, e) ? result_of(&ours, o, e) : NULL;
    operands_free(&host);
    int bad = !got;
    if (got) {
        double far = measure_nmse(got, want, c->compared(c));
        if (!(far <= c->bound)) {
            error_what(e, "a kernel computes something else than the CPU"), error_where(e, "%s %s", c->kernel, c->shape);
            error_found(e, "NMSE %.3g", far);
            bad = -1, error_expected(e, "at most %.3g", c->bound);
        }
    }
    free(want), free(got);
    return bad ? -1 : 0;
}

/* The peer's result against ours. 0 when the peer does not have the operation, 1 when it agrees, -1 otherwise. */
static int peer_check(const Contender *peer, Operands *o, double *far, Error *e) {
    const DeviceCase *c = o->c;
    int64_t n = c->compared(c);
    int has = 0;
    float *want = result_of(&ours, o, e), *got = NULL;
    if (!want) return -1;
    o->k->zero(o->b[c->result], n);
    if ((has = contender_run(peer, o)) && !(got = result_of(peer, o, e))) has = -1;
    if (got && !((*far = measure_nmse(got, want, n)) <= c->bound)) {
        error_what(e, "a peer computes something else than our kernel"),
            error_where(e, "%s, %s %s", peer->peers->name, c->kernel, c->shape);
        error_found(e, "NMSE %.3g", *far);
        has = -1, error_expected(e, "at most %.3g", c->bound);
    }
    free(want), free(got);
    return has;
}

/* Seconds of a call: the best of several batches, each queued whole and waited for once. */
static double case_seconds(const Contender *by, Operands *o, Error *e) {
    double start = measure_now(), best;
    contender_run(by, o);
    if (o->k->sync(e)) return -1;
    best = measure_now() - start;
    int calls = (int)(batch_seconds / (best + 1e-7)) + 1;
    for (int batch = 0; batch < BATCHES; batch++) {
        start = measure_now();
        for (int i = 0; i < calls; i++) contender_run(by, o);
        if (o->k->sync(e)) return -1;
        double each = (measure_now() - start) / calls;
        if (each < best) best = each;
    }
    return best;
}

/* The peer's column: who it is, whether it agrees, and on a GPU its time and how often that goes into ours. Written into `table` and
 * `json`, empty for cases that have no peer. */
enum { COLUMN = 160 };
static int peer_column(DeviceBench *b, Operands *o, double our_seconds, char *table, char *json, Error *e) {
    Contender peer = { device_case_peer(o->c), b->peers };
    double far = 0, seconds = 0;
    *table = *json = 0;
    if (!peer.run) return 0;
    if (!b->peers) {
        snprintf(table, COLUMN, "  cuDNN left out");
        snprintf(json, COLUMN, ", \"peer\": \"left out\"");
        return 0;
    }
    int has = peer_check(&peer, o, &far, e);
    if (has < 0 || (has && !b->counts && (seconds = case_seconds(&peer, o, e)) < 0)) return -1;
    int n = snprintf(json, COLUMN, ", \"peer\": \"%s\"", b->peers->name);
    if (!has) snprintf(table, COLUMN, "  %s has no plan", b->peers->name);
    else if (b->counts) snprintf(table, COLUMN, "  %s agrees, NMSE %.1e", b->peers->name, far);
    else snprintf(table, COLUMN, "  %s %10.1f us, %5.2f of ours", b->peers->name, seconds * 1e6, seconds / our_seconds);
    if (has) n += snprintf(json + n, (size_t)(COLUMN - n), ", \"peer_nmse\": %.3g", far);
    if (has && !b->counts) snprintf(json + n, (size_t)(COLUMN - n), ", \"peer_seconds\": %.9g", seconds);
    return 0;
}

static int case_time(DeviceBench *b, Operands *o, Error *e) {
    const DeviceCase *c = o->c;
    double seconds = case_seconds(&ours, o, e), flops = c->flops(c), bytes = c->bytes(c);
    char peer_table[COLUMN], peer_json[COLUMN];
    if (seconds < 0 || peer_column(b, o, seconds, peer_table, peer_json, e)) return -1;
    double share = fmax(flops / b->product_rate[c->dtype], bytes / b->copy_rate) / seconds;
    if (b->table)
        fprintf(b->table, "%-24s %-4s %-26s %10.1f us %9.2f TFLOP/s %8.1f GB/s %6.1f %%%s\n", c->kernel, dtype_name(c->dtype), c->shape,
            seconds * 1e6, flops / seconds * 1e-12, bytes / seconds * 1e-9, 100 * share, peer_table);
    if (b->json)
        fprintf(b->json,
            "{\"kernel\": \"%s\", \"device\": \"%s\", \"dtype\": \"%s\", \"shape\": \"%s\", \"seconds\": %.9g, \"flops_per_second\": %.6g, "
            "\"bytes_per_second\": %.6g, \"share\": %.4f%s}\n",
            c->kernel, b->k->isa, dtype_name(c->dtype), c->shape, seconds, flops / seconds, bytes / seconds, share, peer_json);
    return 0;
}

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

/* Kernels of one call, and their sum: bytes that lanes asked for over bytes that must move, sectors over the least, passes over the least.
 */
static int case_count(DeviceBench *b, Operands *o, Error *e) {
    const DeviceCase *c = o->c;
    int n;
    counters_start();
    c->run(o);
    int bad = o->k->sync(e);
    const KernelCounts *counts = counters_stop(&n);
    if (bad) return -1;
    KernelCounts sum = { .launches = 0 };
    for (int i = 0; i < n; i++) {
        sum.launches += counts[i].launches, sum.sectors += counts[i].sectors, sum.sectors_least += counts[i].sectors_least;
        sum.bytes_read += counts[i].bytes_read, sum.bytes_written += counts[i].bytes_written;
        sum.passes += counts[i].passes, sum.passes_least += counts[i].passes_least, sum.mma += counts[i].mma;
    }
    double moved = 32.0 * (double)sum.sectors, least = c->bytes(c);
    char peer_table[COLUMN], peer_json[COLUMN];
    if (peer_column(b, o, 0, peer_table, peer_json, e)) return -1;
    if (b->table)
        fprintf(b->table, "%-24s %-4s %-26s %2d launches  %11.0f bytes  %6.3f of least  sectors %6.3f  banks %6.3f  mma %llu%s\n",
            c->kernel, dtype_name(c->dtype), c->shape, (int)sum.launches, moved, ratio(moved, least),
            ratio((double)sum.sectors, (double)sum.sectors_least), ratio((double)sum.passes, (double)sum.passes_least),
            (unsigned long long)sum.mma, peer_table);
    if (b->json)
        fprintf(b->json,
            "{\"kernel\": \"%s\", \"device\": \"simt\", \"dtype\": \"%s\", \"shape\": \"%s\", \"launches\": %d, \"bytes\": %.0f, "
            "\"bytes_least\": %.0f, \"sectors\": %llu, \"sectors_least\": %llu, \"passes\": %llu, \"passes_least\": %llu, \"mma\": "
            "%llu%s}\n",
            c->kernel, dtype_name(c->dtype), c->shape, (int)sum.launches, moved, least, (unsigned long long)sum.sectors,
            (unsigned long long)sum.sectors_least, (unsigned long long)sum.passes, (unsigned long long)sum.passes_least,
            (unsigned long long)sum.mma, peer_json);
    return 0;
}

/* A copy of much memory, and a large product, both by the device's own operations. */
static int roofs_measure(DeviceBench *b, Error *e) {
    enum { COPY = 256 << 20, SIDE = 8192 };
    Operands o = { .k = b->k };
    int bad = operand_new(&o, FP32, COPY / 4, 0, e) || operand_new(&o, FP32, COPY / 4, 0, e);
    for (int i = 0; i < 3 && !bad; i++) {
        double start = measure_now();
        for (int j = 0; j < 10; j++) b->k->copy(o.b[1], o.b[0], COPY / 4);
        bad = b->k->sync(e);
        b->copy_rate = fmax(b->copy_rate, 20.0 * COPY / (measure_now() - start));
    }
    operands_free(&o);
    for (DType t = FP32; t <= BF16 && !bad; t++) {
        bad = operand_new(&o, t, (int64_t)SIDE * SIDE, 1, e) || operand_new(&o, t, (int64_t)SIDE * SIDE, 1, e) ||
              operand_new(&o, t, (int64_t)SIDE * SIDE, 0, e);
        for (int i = 0; i < 3 && !bad; i++) {
            double start = measure_now();
            b->k->linear_forward(o.b[2], o.b[0], o.b[1], BUF_NONE, BUF_NONE, SIDE, SIDE, SIDE);
            bad = b->k->sync(e);
            b->product_rate[t] = fmax(b->product_rate[t], 2.0 * SIDE * SIDE * SIDE / (measure_now() - start));
        }
        operands_free(&o);
    }
    if (!bad && b->table)
        fprintf(b->table, "roofs (%s): copy %.1f GB/s, products fp32 %.1f, bf16 %.1f TFLOP/s\n", b->k->isa, b->copy_rate * 1e-9,
            b->product_rate[FP32] * 1e-12, b->product_rate[BF16] * 1e-12);
    return bad ? -1 : 0;
}

int bench_device(const char *name, const Kernels *k, FILE *table, FILE *json, Error *e) {
    DeviceBench b = { .k = k, .table = table, .json = json };
    int ran = 0, simt = !strcmp(k->name, "simt");
    b.counts = simt;
    b.peers = cuda_peers ? cuda_peers() : NULL;
    if (simt && !(counters_are_here && counters_are_here()))
        return error_what(e, "this build does not count"), error_where(e, "--device simt"),
               error_hint(e, "`make simt-counts` builds the one that does");
    if (!(b.cpu = kernels_open("cpu", 0, e)) || (!simt && roofs_measure(&b, e))) return -1;
    for (int i = 0; i < device_cases_n; i++) {
        const DeviceCase *c = &device_cases[i];
        if ((name && !strstr(c->kernel, name)) || (simt && !c->small)) continue;
        Operands o = { .k = k, .c = c };
        int bad = case_check(&b, &o, e) || (b.counts ? case_count : case_time)(&b, &o, e);
        operands_free(&o);
        if (bad) return -1;
        if (table) fflush(table);
        ran++;
    }
    return ran ? 0 : (error_what(e, "no kernel of that name is measured"), error_found(e, "%s", name ? name : ""));
}

/* load.c - owns `rlaifv bench load`: seconds of loading a checkpoint beside those of reading its files and doing nothing with them.
 *
 * A virtual machine's host may have taken back memory that was free, and gives it again at many times the cost of clearing it; which of the
 * three ways then pays is chance. Memory written and freed before each makes that rarer, not impossible: the least seconds say more than the
 * median where the two are far apart. */
#include "bench/load.h"

#include "base/file.h"
#include "base/json.h"
#include "bench/measure.h"
#include "kernels/cpu_state.h"
#include "model/checkpoint.h"
#include "model/model.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef enum Way { WAY_SMALL, WAY_WHOLE, WAY_LOAD, WAYS } Way;

enum {
    SMALL = 128 << 10, /* cat's buffer */
    BEFOREHAND = 2,    /* times the files' bytes: in the page cache, and in memory */
};

typedef struct LoadBench {
    const char *folder;
    const Kernels *k;
    DType dtype;
    char (*files)[PATH_SIZE];
    size_t *sizes, n, bytes;
    double seconds[WAYS][BENCH_LOADS];
} LoadBench;

static int files_add(LoadBench *b, const TensorSet *s, Error *e) {
    for (size_t i = 0; i < s->files_n; i++) {
        if (path_join(b->files[b->n], "", s->files[i].path, e)) return -1;
        b->sizes[b->n] = s->files[i].size;
        b->bytes += b->sizes[b->n++];
    }
    return 0;
}

/* Loads it once, which says what is wrong with it, and what files it has. */
static int files_list(LoadBench *b, Error *e) {
    Model m;
    Checkpoint c;
    if (model_load(&m, b->k, b->folder, b->dtype, e)) return -1;
    int bad = checkpoint_open(&c, &m.params, b->folder, e);
    if (!bad) {
        size_t n = c.main.files_n + c.tower.files_n;
        b->files = mem_new(n, sizeof *b->files, "names of files", e);
        b->sizes = b->files ? mem_new(n, sizeof *b->sizes, "sizes of files", e) : NULL;
        bad = !b->sizes || files_add(b, &c.main, e) || files_add(b, &c.tower, e);
        checkpoint_close(&c);
    }
    model_free(&m);
    return bad;
}

/* The share of the files that stands in the page cache; NAN where the system does not tell who may not write them. */
static int cached_share(const LoadBench *b, double *share, Error *e) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t in = 0, pages = 0;
    int told = 1;
    for (size_t i = 0; i < b->n; i++) {
        const void *map;
        size_t size;
        if (file_map(b->files[i], &map, &size, e)) return -1;
        size_t n = (size + page - 1) / page;
        unsigned char *is_in = mem_new(n, 1, "pages of a file", e);
        int bad = !is_in || mincore((void *)(uintptr_t)map, size, is_in);
        if (is_in && bad) file_error(e, "cannot ask for the cached pages of", b->files[i]);
        for (size_t j = 0; !bad && j < n; j++) in += is_in[j] & 1;
        pages += n;
        told &= !access(b->files[i], W_OK);
        free(is_in);
        file_unmap(map, size);
        if (bad) return -1;
    }
    *share = told ? (double)in / (double)pages : NAN;
    return 0;
}

/* What is dirty does not leave the cache. */
static int leave_cache(const char *path, Error *e) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int bad = file < 0 || fdatasync(file);
    if (!bad) bad = (errno = posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)) != 0;
    if (bad) file_error(e, "cannot take from the page cache", path);
    if (file >= 0) close(file);
    return bad ? -1 : 0;
}

/* By the pages that weights have. */
static int memory_write(size_t bytes, Error *e) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), half = (size_t)sysconf(_SC_AVPHYS_PAGES) / 2 * page;
    if (bytes > half) bytes = half;
    volatile char *at = cpu_memory_new((int64_t)bytes, "memory given beforehand", e);
    for (size_t i = 0; at && i < bytes; i += page) at[i] = 1;
    cpu_memory_free((void *)(uintptr_t)at);
    return at ? 0 : -1;
}

/* NULL `memory`: through a small buffer; else one after the other into it. */
static int files_read(const LoadBench *b, char *memory, Error *e) {
    static char small[SMALL];
    int bad = 0;
    for (size_t i = 0, before = 0; !bad && i < b->n; before += b->sizes[i++]) {
        int file = open(b->files[i], O_RDONLY | O_CLOEXEC);
        if (file < 0) return file_error(e, "cannot open file", b->files[i]);
        for (size_t at = 0, n; !bad && at < b->sizes[i]; at += n) {
            n = !memory && b->sizes[i] - at > SMALL ? SMALL : b->sizes[i] - at;
            bad = file_read_at(file, b->files[i], memory ? memory + before : small, n, at, e);
        }
        close(file);
    }
    return bad;
}

static int files_prepare(const LoadBench *b, int cached, Error *e) {
    if (cached && files_read(b, NULL, e)) return -1;
    for (size_t i = 0; !cached && i < b->n; i++)
        if (leave_cache(b->files[i], e)) return -1;
    return memory_write(BEFOREHAND * b->bytes, e);
}

/* What is held is let go after the clock. */
static int way_time(const LoadBench *b, Way way, double *seconds, Error *e) {
    Model m = { 0 };
    char *memory = NULL;
    const double start = measure_now();
    if (way == WAY_WHOLE && !(memory = cpu_memory_new((int64_t)b->bytes, "the checkpoint's files", e))) return -1;
    int bad = way == WAY_LOAD ? model_load(&m, b->k, b->folder, b->dtype, e) : files_read(b, memory, e);
    *seconds = measure_now() - start;
    cpu_memory_free(memory);
    if (!bad && way == WAY_LOAD) model_free(&m);
    return bad;
}

static int bench_report(LoadBench *b, int runs, int cached, double share, FILE *out, Error *e) {
    static const char *const names[WAYS] = { [WAY_SMALL] = "read_through", [WAY_WHOLE] = "read_whole", [WAY_LOAD] = "load" };
    json_t *row = json_pack("{s:I, s:s, s:s, s:i, s:b, s:i}", "bytes", (json_int_t)b->bytes, "dtype", dtype_name(b->dtype), "device",
        b->k->name, "threads", omp_get_max_threads(), "cached", cached, "runs", runs);
    int bad = !row || json_object_set_new(row, "cached_share", isnan(share) ? json_null() : json_real(share));
    for (int way = 0; way < WAYS; way++) {
        double *seconds = b->seconds[way], median = measure_median(seconds, runs);
        bad = bad || json_object_set_new(row, names[way], json_pack("{s:f, s:f}", "least_seconds", seconds[0], "median_seconds", median));
    }
    if (!bad) return jsonl_write(out, row, e);
    json_decref(row);
    return error_what(e, "out of memory"), error_where(e, "bench load");
}

/* least, most: the shares of the files that were in the page cache before a run. */
static void share_note(int cached, double least, double most, FILE *table) {
    if (isnan(most)) fprintf(table, "note: who may not write the files is not told what of them is in the page cache\n");
    else if (cached && least < 0.99) fprintf(table, "note: the page cache had no room: before a run it held %.0f %% of the files\n", 100 * least);
    else if (!cached && most > 0.01)
        fprintf(table, "note: before a run %.0f %% of the files were in the page cache, which keeps what others map, and file systems in memory\n", 100 * most);
}

int bench_load(const char *folder, const Kernels *k, DType dtype, int runs, int cached, FILE *table, FILE *out, Error *e) {
    LoadBench b = { .folder = folder, .k = k, .dtype = dtype };
    double least = 1, most = 0, share = 0;
    int bad = files_list(&b, e);
    for (int run = 0; !bad && run < runs; run++) {
        for (int i = 0; !bad && i < WAYS; i++) {
            const int way = (run + i) % WAYS; /* in turn the first, second and third */
            bad = files_prepare(&b, cached, e) || cached_share(&b, &share, e) || way_time(&b, (Way)way, &b.seconds[way][run], e);
            if (!(share >= least)) least = share; /* NAN stays */
            if (!(share <= most)) most = share;
        }
        if (!bad)
            fprintf(table, "run %2d: read through %.3f s, read whole %.3f s, loaded %.3f s\n", run + 1, b.seconds[WAY_SMALL][run],
                b.seconds[WAY_WHOLE][run], b.seconds[WAY_LOAD][run]);
    }
    if (!bad) share_note(cached, least, most, table);
    if (!bad) bad = bench_report(&b, runs, cached, cached ? least : most, out, e);
    free(b.files);
    free(b.sizes);
    return bad ? -1 : 0;
}

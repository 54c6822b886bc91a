/* load.c - owns `rlaifv bench load`: seconds of loading a checkpoint beside those of reading its files and doing nothing with them.
 *
 * A virtual machine's host may have taken back memory that was free, and gives it again at many times the cost of clearing it; which of three ways then pays is
 * chance. So as much memory as any of them needs is written and freed before each. */
#include "bench/load.h"

#include "base/file.h"
#include "base/json.h"
#include "bench/measure.h"
#include "model/checkpoint.h"
#include "model/model.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef enum Way { WAY_SMALL, WAY_WHOLE, WAY_LOAD, WAYS } Way;

enum { SMALL = 128 << 10 /* cat's */, WHOLE = 1 << 30, BEFOREHAND = 2 /* the files in the cache, and in memory */ };

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
        b->sizes = b->files ? mem_new(n, sizeof *b->sizes, "names of files", e) : NULL;
        bad = !b->sizes || files_add(b, &c.main, e) || files_add(b, &c.tower, e);
        checkpoint_close(&c);
    }
    model_free(&m);
    return bad;
}

static int read_all(const char *path, char *buffer, size_t room, int whole, Error *e) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : 1;
    for (size_t at = 0; got > 0; at += whole ? (size_t)got : 0) got = read(file, buffer + at, room - at < WHOLE ? room - at : WHOLE);
    if (got < 0) file_error(e, "cannot read", path);
    if (file >= 0) close(file);
    return got < 0 ? -1 : 0;
}

/* The share of the files that stands in the page cache. */
static int cached_share(const LoadBench *b, double *share, Error *e) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t in = 0, pages = 0;
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
        free(is_in);
        file_unmap(map, size);
        if (bad) return -1;
    }
    *share = (double)in / (double)pages;
    return 0;
}

/* What is dirty does not leave the cache. */
static int leave_cache(const char *path, Error *e) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int bad = file < 0 || fdatasync(file) || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    if (bad) file_error(e, "cannot take from the page cache", path);
    if (file >= 0) close(file);
    return bad ? -1 : 0;
}

/* NULL: there is none. */
static char *memory_new(size_t bytes) {
    char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return NULL;
    madvise(at, bytes, MADV_HUGEPAGE);
    return at;
}

static void write_memory(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), half = (size_t)sysconf(_SC_AVPHYS_PAGES) / 2 * page;
    if (bytes > half) bytes = half;
    char *at = memory_new(bytes);
    if (!at) return;
    for (size_t i = 0; i < bytes; i += page) ((volatile char *)at)[i] = 1;
    munmap(at, bytes);
}

static int files_read(const LoadBench *b, int whole, Error *e) {
    static char small[SMALL];
    for (size_t i = 0; i < b->n; i++) {
        size_t room = whole ? b->sizes[i] + 1 : SMALL; /* one more, so that read() says that the file ends */
        char *to = whole ? memory_new(room) : small;
        if (!to) return file_error(e, "no memory for the whole of", b->files[i]);
        int bad = read_all(b->files[i], to, room, whole, e);
        if (whole) munmap(to, room);
        if (bad) return -1;
    }
    return 0;
}

static int prepare(const LoadBench *b, int cached, Error *e) {
    if (cached && files_read(b, 0, e)) return -1;
    for (size_t i = 0; !cached && i < b->n; i++)
        if (leave_cache(b->files[i], e)) return -1;
    write_memory(BEFOREHAND * b->bytes);
    return 0;
}

static int go(const LoadBench *b, Way way, double *seconds, Error *e) {
    Model m = { 0 };
    const double start = measure_now();
    if (way == WAY_LOAD ? model_load(&m, b->k, b->folder, b->dtype, e) : files_read(b, way == WAY_WHOLE, e)) return -1;
    *seconds = measure_now() - start;
    if (way == WAY_LOAD) model_free(&m);
    return 0;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int report(LoadBench *b, int runs, int cached, double share, FILE *out, Error *e) {
    double least[WAYS], median[WAYS];
    for (int way = 0; way < WAYS; way++) {
        qsort(b->seconds[way], (size_t)runs, sizeof(double), by_value);
        least[way] = b->seconds[way][0];
        median[way] = b->seconds[way][runs / 2];
    }
    return jsonl_write(out,
        json_pack("{s:I, s:s, s:b, s:f, s:i, s:[ff], s:[ff], s:[ff], s:f, s:f}", "bytes", (json_int_t)b->bytes, "weights",
            tensor_type_name(params_tensor_type(b->dtype)), "cached", cached, "cached_share", share, "runs", runs, "read_through_seconds",
            least[WAY_SMALL], median[WAY_SMALL], "read_whole_seconds", least[WAY_WHOLE], median[WAY_WHOLE], "load_seconds", least[WAY_LOAD],
            median[WAY_LOAD], "load_per_read_through", median[WAY_LOAD] / median[WAY_SMALL], "load_per_read_whole",
            median[WAY_LOAD] / median[WAY_WHOLE]),
        e);
}

int bench_load(const char *folder, const Kernels *k, DType dtype, int runs, int cached, FILE *table, FILE *out, Error *e) {
    LoadBench b = { .folder = folder, .k = k, .dtype = dtype };
    double least = 1, most = 0; /* of the files, in the page cache before a run */
    int bad = files_list(&b, e);
    for (int run = 0; !bad && run < runs; run++) {
        for (int i = 0; !bad && i < WAYS; i++) {
            const int way = (run + i) % WAYS; /* each is the first, second and third as often */
            double share = 0;
            bad = prepare(&b, cached, e) || cached_share(&b, &share, e) || go(&b, (Way)way, &b.seconds[way][run], e);
            if (share < least) least = share;
            if (share > most) most = share;
        }
        if (!bad)
            fprintf(table, "run %2d: read through %.3f s, read whole %.3f s, loaded %.3f s\n", run + 1, b.seconds[WAY_SMALL][run], b.seconds[WAY_WHOLE][run],
                b.seconds[WAY_LOAD][run]);
    }
    if (!bad && (cached ? least < 0.99 : most > 0.01))
        fprintf(table, "note: %.0f to %.0f %% of the files were in the page cache (what others map stays there, and a file system in memory)\n",
            100 * least, 100 * most);
    if (!bad) bad = report(&b, runs, cached, cached ? least : most, out, e);
    free(b.files);
    free(b.sizes);
    return bad ? -1 : 0;
}

/* tokenizer.c - owns `rlaifv bench tokenizer`: MB/s of encoding and decoding a file. The first of three runs meets each word for the first
 * time, the others find it in the table of words, as a run over a data set does. */
#include "bench/tokenizer.h"

#include "base/json.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <time.h>

enum { RUNS = 3, FILE_BYTES_MOST = 256 << 20 };

typedef struct Speeds {
    double load, first, encode, decode; /* seconds */
    size_t ids;
} Speeds;

/* Seconds of this thread on its core: what else runs on the machine does not count. */
static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One pass over the text. */
static int run(const Tokenizer *t, const char *text, size_t size, size_t piece, Speeds *s, int first, Error *e) {
    IdList ids = { 0 };
    double encode = 0, decode = 0;
    int bad = 0;
    s->ids = 0;
    for (size_t at = 0, n; !bad && at < size; at += n) {
        n = piece && piece < size - at ? piece : size - at;
        ids.count = 0;
        double start = cpu_seconds();
        bad = tokenizer_encode(t, text + at, n, &ids, e);
        encode += cpu_seconds() - start;
        if (bad) break;
        start = cpu_seconds();
        char *back = tokenizer_decode(t, ids.ids, ids.count, e);
        decode += cpu_seconds() - start;
        bad = !back;
        free(back);
        s->ids += ids.count;
    }
    idlist_free(&ids);
    if (first) s->first = encode;
    if (first || encode < s->encode) s->encode = encode;
    if (first || decode < s->decode) s->decode = decode;
    return bad ? -1 : 0;
}

int bench_tokenizer(const char *folder, const char *file, size_t piece, FILE *out, Error *e) {
    char *text;
    size_t size;
    Speeds s = { 0 };
    if (file_read(file, FILE_BYTES_MOST, &text, &size, e)) return -1;
    const double start = cpu_seconds();
    Tokenizer *t = tokenizer_load(folder, e);
    s.load = cpu_seconds() - start;
    int bad = !t || !size;
    if (t && !size) error_what(e, "nothing to encode"), error_where(e, "%s", file), error_expected(e, "a text");
    for (int i = 0; !bad && i < RUNS; i++) bad = run(t, text, size, piece, &s, !i, e);
    const double megabytes = (double)size * 1e-6;
    if (!bad)
        bad = jsonl_write(out,
            json_pack("{s:I, s:I, s:f, s:f, s:f, s:f}", "bytes", (json_int_t)size, "ids", (json_int_t)s.ids, "encode_mb_per_second",
                megabytes / s.encode, "first_mb_per_second", megabytes / s.first, "decode_mb_per_second", megabytes / s.decode,
                "load_seconds", s.load),
            e);
    tokenizer_free(t);
    free(text);
    return bad ? -1 : 0;
}

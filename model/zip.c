/* zip.c - owns the reading of zip archives whose entries are stored as they are (APPNOTE.TXT of PKWARE, 4.3), with zip64 records.
 *
 * Where things are is taken from the central directory; of an entry's own header only what is needed to find its bytes, and that it bears
 * the same name. Refuses compressed and encrypted entries, archives in several parts, comments and anything else after the end record, gaps
 * between directory and end record, entries that reach over the directory or over each other, and a name that stands twice. Does not check
 * CRCs: PyTorch does not either, and files may be written without. */
#include "model/zip.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { END_SIZE = 22, END64_SIZE = 56, LOCATOR_SIZE = 20, CENTRAL_SIZE = 46, LOCAL_SIZE = 30 };
enum { END_MARK = 0x06054b50, END64_MARK = 0x06064b50, LOCATOR_MARK = 0x07064b50, CENTRAL_MARK = 0x02014b50, LOCAL_MARK = 0x04034b50 };
enum { ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13, SHOWN = 100, ENTRIES_MOST = 1 << 20, EXTRA_ZIP64 = 1 };
static const uint64_t SATURATED = 0xffffffff; /* "see the zip64 record" */

typedef struct Reader {
    const unsigned char *map;
    uint64_t size;
    const char *path;
    Error *e;
} Reader;

/* Where an entry begins and ends, its own header included; for the check of overlaps. */
typedef struct Span {
    uint64_t begin, end;
    const ZipEntry *entry;
} Span;

static uint64_t number(const unsigned char *p, int size) {
    uint64_t x = 0;
    for (int i = size - 1; i >= 0; i--) x = x << 8 | p[i];
    return x;
}

static int zip_bad(const Reader *r, const char *found) {
    return error_what(r->e, "bad zip archive"), error_where(r->e, "%s", r->path), error_found(r->e, "%s", found),
           error_hint(r->e, "the file may be cut short or damaged: fetch it again");
}

static int entry_bad(const Reader *r, const ZipEntry *entry, const char *what) {
    char name[SHOWN];
    return error_what(r->e, "%s", what),
           error_where(r->e, "%s: entry \"%s\"", r->path, bytes_show(entry->name, entry->name_n, name, sizeof name));
}

/* ---- the end of the archive ---- */

typedef struct Directory {
    uint64_t entries, size, at;
} Directory;

/* The zip64 end record, when its locator stands before the end record; 1 when it does. *end becomes the place of the record. */
static int end64_read(const Reader *r, uint64_t *end, Directory *d) {
    if (*end < LOCATOR_SIZE || number(r->map + *end - LOCATOR_SIZE, 4) != LOCATOR_MARK) return 0;
    const unsigned char *locator = r->map + *end - LOCATOR_SIZE;
    uint64_t place = number(locator + 8, 8), before = *end - LOCATOR_SIZE;
    if (number(locator + 4, 4) || number(locator + 16, 4) != 1) return zip_bad(r, "an archive in several parts");
    if (place > before || before - place != END64_SIZE || number(r->map + place, 4) != END64_MARK)
        return zip_bad(r, "no zip64 end record where its locator says");
    const unsigned char *p = r->map + place;
    if (number(p + 4, 8) != END64_SIZE - 12 || number(p + 16, 4) || number(p + 20, 4) || number(p + 24, 8) != number(p + 32, 8))
        return zip_bad(r, "a zip64 end record that makes no sense");
    *d = (Directory){ number(p + 32, 8), number(p + 40, 8), number(p + 48, 8) };
    *end = place;
    return 1;
}

/* What the end record says may be less than the zip64 record only by being saturated. */
static int agrees(uint64_t is, uint64_t says, uint64_t saturated) { return says == is || says == saturated; }

static int directory_find(const Reader *r, Directory *d) {
    if (r->size < END_SIZE || number(r->map + r->size - END_SIZE, 4) != END_MARK) return zip_bad(r, "no end record at the end of the file");
    uint64_t end = r->size - END_SIZE;
    const unsigned char *p = r->map + end;
    uint64_t entries = number(p + 10, 2), size = number(p + 12, 4), at = number(p + 16, 4);
    if (number(p + 20, 2)) return zip_bad(r, "a comment that is not there");
    if (number(p + 4, 2) || number(p + 6, 2) || number(p + 8, 2) != entries) return zip_bad(r, "an archive in several parts");
    *d = (Directory){ entries, size, at };
    int zip64 = end64_read(r, &end, d);
    if (zip64 < 0) return -1;
    if (!zip64 && (entries == 0xffff || size == SATURATED || at == SATURATED))
        return zip_bad(r, "no zip64 end record, which the sizes call for");
    if (!agrees(d->entries, entries, 0xffff) || !agrees(d->size, size, SATURATED) || !agrees(d->at, at, SATURATED))
        return zip_bad(r, "two end records that disagree");
    if (d->at > end || d->size != end - d->at) return zip_bad(r, "a directory that does not end where the end record begins");
    if (d->entries > ENTRIES_MOST || d->entries > d->size / CENTRAL_SIZE) return zip_bad(r, "more entries than the directory can hold");
    return 0;
}

/* ---- entries ---- */

/* Replaces what is saturated by the values of the zip64 field, which follow each other in this order. */
static int extra_read(const Reader *r, const ZipEntry *entry, const unsigned char *extra, size_t n, uint64_t *const values[3]) {
    const unsigned char *field = NULL, *end = extra + n;
    for (size_t size; end - extra >= 4 && !field; extra += 4 + size) {
        size = (size_t)number(extra + 2, 2);
        if (size > (size_t)(end - extra) - 4) break;
        if (number(extra, 2) == EXTRA_ZIP64) field = extra + 4, end = field + size;
    }
    for (int i = 0; i < 3; i++) {
        if (*values[i] != SATURATED) continue;
        if (!field || end - field < 8)
            return entry_bad(r, entry, "bad zip entry"), error_found(r->e, "no zip64 sizes, which the directory calls for");
        *values[i] = number(field, 8);
        field += 8;
    }
    return 0;
}

/* The entry's bytes, by its own header at `place`, all before the directory at `limit`. */
static int local_read(const Reader *r, uint64_t place, uint64_t size, uint64_t limit, ZipEntry *entry, Span *span) {
    if (place > limit || limit - place < LOCAL_SIZE || number(r->map + place, 4) != LOCAL_MARK)
        return entry_bad(r, entry, "bad zip entry"), error_found(r->e, "no entry at byte %llu", (unsigned long long)place);
    const unsigned char *p = r->map + place;
    size_t name_n = (size_t)number(p + 26, 2);
    uint64_t before = LOCAL_SIZE + name_n + number(p + 28, 2), room = limit - place;
    if (before > room || size > room - before)
        return entry_bad(r, entry, "zip entry reaches beyond the archive's data"),
               error_found(r->e, "%llu bytes at byte %llu", (unsigned long long)size, (unsigned long long)place),
               error_expected(r->e, "an end before byte %llu", (unsigned long long)limit);
    if (name_n != entry->name_n || memcmp(p + LOCAL_SIZE, entry->name, name_n))
        return entry_bad(r, entry, "bad zip entry"), error_found(r->e, "another name in its own header");
    entry->data = p + before;
    entry->size = (size_t)size;
    *span = (Span){ place, place + before + size, entry };
    return 0;
}

/* One entry of the directory at *at, which ends at `end`. */
static int central_read(const Reader *r, uint64_t *at, uint64_t end, uint64_t limit, ZipEntry *entry, Span *span) {
    if (end - *at < CENTRAL_SIZE || number(r->map + *at, 4) != CENTRAL_MARK) return zip_bad(r, "fewer entries than the end record says");
    const unsigned char *p = r->map + *at;
    size_t name_n = (size_t)number(p + 28, 2), extra_n = (size_t)number(p + 30, 2), comment_n = (size_t)number(p + 32, 2);
    uint64_t length = CENTRAL_SIZE + name_n + extra_n + comment_n;
    if (length > end - *at) return zip_bad(r, "an entry that reaches beyond the directory");
    *at += length;
    entry->name = (const char *)p + CENTRAL_SIZE;
    entry->name_n = name_n;
    uint64_t packed = number(p + 20, 4), size = number(p + 24, 4), place = number(p + 42, 4);
    if (extra_read(r, entry, p + CENTRAL_SIZE + name_n, extra_n, (uint64_t *const[]){ &size, &packed, &place })) return -1;
    if (number(p + 8, 2) & ENCRYPTED) return entry_bad(r, entry, "zip entry is encrypted");
    if (number(p + 10, 2))
        return entry_bad(r, entry, "zip entry is compressed"), error_found(r->e, "method %llu", (unsigned long long)number(p + 10, 2)),
               error_expected(r->e, "stored as it is, which torch.save does"),
               error_hint(r->e, "write it again by torch.save; TorchScript programs are not read");
    if (packed != size) return entry_bad(r, entry, "bad zip entry"), error_found(r->e, "two sizes of what is stored as it is");
    return local_read(r, place, size, limit, entry, span);
}

static int names_order(const char *a, size_t n, const char *b, size_t m) {
    int order = memcmp(a, b, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

static int by_name(const void *a, const void *b) {
    const ZipEntry *s = a, *t = b;
    return names_order(s->name, s->name_n, t->name, t->name_n);
}

static int by_begin(const void *a, const void *b) {
    const Span *s = a, *t = b;
    return (s->begin > t->begin) - (s->begin < t->begin);
}

/* No two entries share a byte: what one holds is nobody else's header. */
static int spans_check(const Reader *r, Span *spans, size_t n) {
    qsort(spans, n, sizeof *spans, by_begin);
    for (size_t i = 1; i < n; i++)
        if (spans[i].begin < spans[i - 1].end) {
            char name[SHOWN];
            const ZipEntry *other = spans[i - 1].entry;
            return entry_bad(r, spans[i].entry, "zip entries overlap"),
                   error_found(r->e, "it begins within \"%s\"", bytes_show(other->name, other->name_n, name, sizeof name));
        }
    return 0;
}

static int entries_read(const Reader *r, const Directory *d, Zip *z, Span *spans) {
    uint64_t at = d->at, end = d->at + d->size;
    for (; z->n < d->entries; z->n++)
        if (central_read(r, &at, end, d->at, &z->list[z->n], &spans[z->n])) return -1;
    if (at != end) return zip_bad(r, "more entries than the end record says");
    if (spans_check(r, spans, z->n)) return -1;
    qsort(z->list, z->n, sizeof *z->list, by_name);
    for (size_t i = 1; i < z->n; i++)
        if (!by_name(&z->list[i - 1], &z->list[i])) return entry_bad(r, &z->list[i], "zip entry stands twice");
    return 0;
}

int zip_open(Zip *z, const void *map, size_t size, const char *path, Error *e) {
    Reader r = { map, size, path, e };
    Directory d = { 0 };
    *z = (Zip){ 0 };
    if (directory_find(&r, &d)) return -1;
    Span *spans = mem_new((size_t)d.entries, sizeof *spans, "zip directory", e);
    z->list = spans ? mem_new((size_t)d.entries, sizeof *z->list, "zip directory", e) : NULL;
    int failed = !z->list || entries_read(&r, &d, z, spans);
    free(spans);
    if (failed) zip_close(z);
    return failed ? -1 : 0;
}

void zip_close(Zip *z) {
    free(z->list);
    *z = (Zip){ 0 };
}

const ZipEntry *zip_find(const Zip *z, const char *lead, size_t lead_n, const char *name, size_t name_n) {
    size_t low = 0, high = z->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const ZipEntry *entry = &z->list[middle];
        size_t shared = entry->name_n < lead_n ? entry->name_n : lead_n;
        int order = names_order(entry->name, shared, lead, lead_n);
        if (!order) order = entry->name_n > lead_n ? (unsigned char)entry->name[lead_n] - '/' : -1;
        if (!order) order = names_order(entry->name + lead_n + 1, entry->name_n - lead_n - 1, name, name_n);
        if (!order) return entry;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

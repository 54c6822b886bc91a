/* zip_write.h - what tests of archives share: an archive in memory as torch.save lays it out, to be spoilt byte by byte. */
#ifndef RLAIFV_TESTS_MODEL_ZIP_WRITE_H
#define RLAIFV_TESTS_MODEL_ZIP_WRITE_H

#include "tests/check.h"

typedef struct Put {
    const char *name;
    const void *data;
    size_t size;
} Put;

typedef struct Bytes {
    unsigned char *at;
    size_t n;
} Bytes;

CHECK_UNUSED static void bytes_add(Bytes *b, const void *data, size_t n) {
    b->at = realloc(b->at, b->n + n + 1);
    assert_non_null(b->at);
    if (n) memcpy(b->at + b->n, data, n);
    b->n += n;
}

/* `size` bytes, the lowest first. */
CHECK_UNUSED static void bytes_set(unsigned char *at, uint64_t x, int size) {
    for (int i = 0; i < size; i++) at[i] = (unsigned char)(x >> (8 * i));
}
CHECK_UNUSED static void bytes_number(Bytes *b, uint64_t x, int size) {
    unsigned char at[8];
    bytes_set(at, x, size);
    bytes_add(b, at, (size_t)size);
}

/* What both headers of an entry share: flags, method, time, date and CRC, which are 0 here; sizes, and the length of the name. */
CHECK_UNUSED static void entry_common(Bytes *b, uint64_t size, size_t name_n) {
    bytes_number(b, 0, 8), bytes_number(b, 0, 4);
    bytes_number(b, size, 4), bytes_number(b, size, 4), bytes_number(b, name_n, 2);
}

CHECK_UNUSED static void local_put(Bytes *b, const char *name, uint64_t size) {
    bytes_add(b, "PK\3\4\0\0", 6);
    entry_common(b, size, strlen(name));
    bytes_number(b, 0, 2);
    bytes_add(b, name, strlen(name));
}

/* extra: the zip64 field, whole. */
CHECK_UNUSED static void central_put(Bytes *b, const char *name, uint64_t size, uint64_t place, Bytes extra) {
    bytes_add(b, "PK\1\2\0\0\0\0", 8);
    entry_common(b, size, strlen(name));
    bytes_number(b, extra.n, 2), bytes_number(b, 0, 2), bytes_number(b, 0, 2), bytes_number(b, 0, 2), bytes_number(b, 0, 4);
    bytes_number(b, place, 4);
    bytes_add(b, name, strlen(name));
    bytes_add(b, extra.at, extra.n);
}

CHECK_UNUSED static void end_put(Bytes *b, uint64_t entries, uint64_t size, uint64_t place) {
    bytes_add(b, "PK\5\6\0\0\0\0", 8);
    bytes_number(b, entries, 2), bytes_number(b, entries, 2), bytes_number(b, size, 4), bytes_number(b, place, 4), bytes_number(b, 0, 2);
}

CHECK_UNUSED static void end64_put(Bytes *b, uint64_t entries, uint64_t size, uint64_t place) {
    uint64_t at = place + size;
    bytes_add(b, "PK\6\6", 4);
    bytes_number(b, 44, 8), bytes_number(b, 0, 4), bytes_number(b, 0, 4), bytes_number(b, 0, 4);
    bytes_number(b, entries, 8), bytes_number(b, entries, 8), bytes_number(b, size, 8), bytes_number(b, place, 8);
    bytes_add(b, "PK\6\7", 4);
    bytes_number(b, 0, 4), bytes_number(b, at, 8), bytes_number(b, 1, 4);
}

/* An archive of these entries; free its bytes. */
CHECK_UNUSED static Bytes archive_of(const Put *list, size_t n) {
    Bytes b = { 0 };
    size_t places[64];
    assert_in_range(n, 0, 64);
    for (size_t i = 0; i < n; i++) {
        places[i] = b.n;
        local_put(&b, list[i].name, list[i].size);
        bytes_add(&b, list[i].data, list[i].size);
    }
    size_t place = b.n;
    for (size_t i = 0; i < n; i++) central_put(&b, list[i].name, list[i].size, places[i], (Bytes){ 0 });
    end_put(&b, n, b.n - place, place);
    return b;
}

/* The n-th place (from 0) where a record with this mark begins. */
CHECK_UNUSED static unsigned char *record(const Bytes *b, const char *mark, int n) {
    for (size_t i = 0; i + 4 <= b->n; i++)
        if (!memcmp(b->at + i, mark, 4) && n-- == 0) return b->at + i;
    fail_msg("no such record");
    return NULL;
}

#endif

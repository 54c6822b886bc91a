/* zip.h - the entries of a zip archive that stores them without compression, as torch.save writes it: where each lies in the mapped file.
 */
#ifndef RLAIFV_MODEL_ZIP_H
#define RLAIFV_MODEL_ZIP_H

#include "base/error.h"

#include <stddef.h>

typedef struct ZipEntry {
    const char *name; /* in the map, without an end */
    size_t name_n;
    const unsigned char *data; /* in the map; of any alignment */
    size_t size;
} ZipEntry;

typedef struct Zip {
    ZipEntry *list; /* in order of names */
    size_t n;
} Zip;

/* Reads the central directory of the archive of `size` bytes at `map`; the entries borrow from it. Everything is checked: no entry reaches
 * beyond the file, none lies over another, no name stands twice. `path` is for messages. 0 or -1 with nothing held. */
int zip_open(Zip *z, const void *map, size_t size, const char *path, Error *e);
void zip_close(Zip *z);
/* The entry LEAD/NAME, NULL when absent. */
const ZipEntry *zip_find(const Zip *z, const char *lead, size_t lead_n, const char *name, size_t name_n);

#endif

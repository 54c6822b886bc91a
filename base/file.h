/* file.h - whole files in, whole files out, never half a file.
 *
 * Everything a run leaves behind is written beside its final name, flushed to the disk and renamed, so a reader sees the old file or the new
 * one. Directories are flushed after the rename. Hashes are XXH3-128 in hex. */
#ifndef RLAIFV_BASE_FILE_H
#define RLAIFV_BASE_FILE_H

#include "base/error.h"

#include <stdint.h>
#include <stdio.h>

enum { HASH_TEXT = 33, PATH_SIZE = 4096 }; /* 32 hex digits and the end */

/* Reads a whole file of at most `limit` bytes. *out is malloc'd, with a zero byte after its end. 0 or -1. */
int file_read(const char *path, size_t limit, char **out, size_t *size, Error *e);

/* Maps a file read-only. A zero-length file is refused. Unmap with file_unmap. */
int file_map(const char *path, const void **out, size_t *size, Error *e);
void file_unmap(const void *map, size_t size);
/* Lines that end, for a progress bar: 0 when it cannot be told. */
int64_t file_lines(const char *path);

/* What tells a file from another that has its name later. */
typedef struct FileIdentity {
    uint64_t device, number;
} FileIdentity;
int file_map_identified(const char *path, const void **out, size_t *size, FileIdentity *which, Error *e);
/* A mapped file once more, for file_read_at: large files come in at the disk's speed by read(), at a fraction of it by the faults of a map. A descriptor to
 * close(), or -1 when the name leads elsewhere by now or nowhere: the map still holds. */
int file_reopen(const char *path, FileIdentity which);
/* Exactly `size` bytes from `at` on. path: for messages. */
int file_read_at(int file, const char *path, void *out, size_t size, size_t at, Error *e);
/* Takes an open file's lock until it is closed. what, found ("": nothing), hint: the Error's, where another has it; where: what is locked. 0 or -1. */
int file_lock(int file, const char *where, const char *what, const char *found, const char *hint, Error *e);
/* Has the disk bring bytes of a mapped file into the page cache; returns when they are asked for. A hint: it cannot fail. */
void file_read_ahead(const void *at, size_t size);

/* An output file that appears only when it is whole: write to `stream`, then commit (flush, fsync, rename, fsync the folder) or abandon. */
typedef struct FileOut {
    FILE *stream;
    char path[PATH_SIZE], temporary[PATH_SIZE];
} FileOut;
int file_create(FileOut *f, const char *path, Error *e);
int file_commit(FileOut *f, Error *e);
void file_abandon(FileOut *f);

int file_write(const char *path, const void *data, size_t size, Error *e); /* create, write, commit */
int file_copy(const char *from, const char *to, Error *e);
/* Cuts off what follows the last line end, as a killed writer leaves it: what is appended again makes the file of an undisturbed one. 0 or -1. */
int file_cut_torn_line(const char *path, Error *e);
int file_exists(const char *path);

/* Fills the Error of a system call that failed: what was tried, on which path, the system's reason (errno), and what to do about it. Returns -1. */
int file_error(Error *e, const char *what, const char *path);
int folder_make(const char *path, Error *e); /* with its parents; an existing folder is fine */
int folder_remove(const char *path, Error *e); /* with all it holds; an absent one is fine */
int folder_rename(const char *from, const char *to, Error *e); /* and flushes the parent */

/* Joins with one '/'; an absolute `name` stands alone. Refuses what does not fit. */
int path_join(char out[PATH_SIZE], const char *folder, const char *name, Error *e);
/* The folder part of a path ("." when there is none). */
void path_folder(char out[PATH_SIZE], const char *path);

void hash_bytes(const void *data, size_t size, char out[HASH_TEXT]);
int hash_file(const char *path, char out[HASH_TEXT], Error *e);
/* One hash of a file, or of a folder: names and contents of all files in it, in order of names. */
int hash_path(const char *path, char out[HASH_TEXT], Error *e);
uint64_t hash64(const void *data, size_t size, uint64_t seed);

#endif

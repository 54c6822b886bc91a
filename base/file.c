/* file.c - owns the reading, mapping, hashing and crash-safe writing of files, and the making and removing of folders.
 *
 * Refuses to put an output over anything that is not a regular file, and two writers of one file at the same time. Hashes are XXH3 by Yann
 * Collet (xxhash.com), the 128-bit one in the canonical big-endian hex that xxh128sum prints. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { COPY_CHUNK = 1 << 20, WRITE_BUFFER = 1 << 16 };

/* Reads errno first, before anything can change it. */
int file_error(Error *e, const char *what, const char *path) {
    int reason = errno;
    error_what(e, "%s", what);
    error_where(e, "%s", path);
    error_found(e, "%s", strerror(reason));
    if (reason == ENOENT) error_hint(e, "check the path");
    if (reason == EACCES || reason == EPERM || reason == EROFS) error_hint(e, "check the permissions");
    if (reason == ENOSPC || reason == EDQUOT) error_hint(e, "free space on this disk or choose another folder");
    if (reason == EFBIG) error_hint(e, "raise the limit on the size of files (ulimit -f)");
    return -1;
}

/* ---- reading ---- */

static int open_to_read(const char *path, struct stat *info, Error *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return file_error(e, "cannot open file", path);
    if (fstat(fd, info)) {
        file_error(e, "cannot inspect file", path);
        close(fd);
        return -1;
    }
    if (S_ISDIR(info->st_mode)) {
        close(fd);
        return error_what(e, "cannot read file"), error_where(e, "%s", path), error_found(e, "a folder"), error_expected(e, "a file");
    }
    return fd;
}

static int too_large(const char *path, size_t limit, Error *e) {
    return error_what(e, "file too large"), error_where(e, "%s", path), error_expected(e, "at most %zu bytes", limit);
}

int file_read(const char *path, size_t limit, char **out, size_t *size, Error *e) {
    struct stat info;
    int fd = open_to_read(path, &info, e);
    if (fd < 0) return -1;
    char *data = NULL;
    size_t used = 0, capacity = 0;
    /* The size is a hint only: pipes and /proc say 0, and a file may grow while it is read. One byte more than the limit is asked for, so
     * that going over it is seen; another is kept for the end. */
    size_t guess = S_ISREG(info.st_mode) && info.st_size > 0 ? (size_t)info.st_size : WRITE_BUFFER;
    if (S_ISREG(info.st_mode) && (size_t)info.st_size > limit) goto over;
    for (;;) {
        if (capacity < used + 2) {
            size_t want = used ? used * 2 : guess + 2;
            char *grown = want > used ? realloc(data, want) : NULL;
            if (!grown) {
                error_what(e, "out of memory"), error_where(e, "%s", path), error_expected(e, "%zu bytes", want);
                goto fail;
            }
            data = grown, capacity = want;
        }
        ssize_t n = read(fd, data + used, capacity - used - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            file_error(e, "cannot read file", path);
            goto fail;
        }
        if (n == 0) break;
        used += (size_t)n;
        if (used > limit) goto over;
    }
    close(fd);
    data[used] = 0;
    *out = data;
    if (size) *size = used;
    return 0;
over:
    too_large(path, limit, e);
fail:
    free(data);
    close(fd);
    return -1;
}

static FileIdentity identity_of(const struct stat *info) { return (FileIdentity){ (uint64_t)info->st_dev, (uint64_t)info->st_ino }; }

int file_map(const char *path, const void **out, size_t *size, Error *e) {
    FileIdentity which;
    return file_map_identified(path, out, size, &which, e);
}

int file_map_identified(const char *path, const void **out, size_t *size, FileIdentity *which, Error *e) {
    struct stat info;
    int fd = open_to_read(path, &info, e);
    if (fd < 0) return -1;
    if (!S_ISREG(info.st_mode) || info.st_size <= 0) {
        close(fd);
        return error_what(e, "cannot map file"), error_where(e, "%s", path),
               error_found(e, S_ISREG(info.st_mode) ? "an empty file" : "not a regular file"), error_expected(e, "a file with content");
    }
    void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
        file_error(e, "cannot map file", path);
        close(fd);
        return -1;
    }
    close(fd);
    *out = map;
    *size = (size_t)info.st_size;
    *which = identity_of(&info);
    return 0;
}

int file_reopen(const char *path, FileIdentity which) {
    struct stat info;
    int fd = open_to_read(path, &info, NULL);
    if (fd < 0) return -1;
    FileIdentity found = identity_of(&info);
    if (found.device == which.device && found.number == which.number) return fd;
    close(fd);
    return -1;
}

int file_read_at(int file, const char *path, void *out, size_t size, size_t at, Error *e) {
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(file, (char *)out + done, size - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return file_error(e, "cannot read file", path);
        if (n == 0)
            return error_what(e, "file became shorter while it was read"), error_where(e, "%s", path), error_found(e, "%zu bytes", at + done),
                   error_expected(e, "%zu", at + size), error_hint(e, "write beside a file that is in use, and rename");
        done += (size_t)n;
    }
    return 0;
}

int file_lock(int file, const char *where, const char *what, const char *found, const char *hint, Error *e) {
    if (!flock(file, LOCK_EX | LOCK_NB)) return 0;
    if (errno != EWOULDBLOCK) return file_error(e, "cannot lock", where);
    return error_what(e, "%s", what), error_where(e, "%s", where), error_found(e, "%s", found), error_hint(e, "%s", hint);
}

/* One call asks the disk for no more than it reads ahead by itself (read_ahead_kb, 128 where nobody has set it) or does in one request, and
 * drops the rest. */
void file_read_ahead(const void *at, size_t size) {
    enum { STEP = 128 << 10 };
    const size_t before = (uintptr_t)at % (size_t)sysconf(_SC_PAGESIZE);
    char *from = (char *)(uintptr_t)at - before;
    for (size_t done = 0, left = size + before; done < left; done += STEP) madvise(from + done, left - done < STEP ? left - done : STEP, MADV_WILLNEED);
}

void file_unmap(const void *map, size_t size) {
    if (map) munmap((void *)(uintptr_t)map, size);
}

int file_cut_torn_line(const char *path, Error *e) {
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return file_error(e, "cannot open file for appending", path);
    off_t end = lseek(file, 0, SEEK_END), kept = end;
    char last;
    while (kept > 0 && pread(file, &last, 1, kept - 1) == 1 && last != '\n') kept--;
    int bad = end < 0 || (kept < end && ftruncate(file, kept));
    if (bad) file_error(e, "cannot cut off a line that was not finished", path);
    close(file);
    return bad ? -1 : 0;
}

int file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

/* ---- writing ---- */

/* Makes the entries of a folder durable. File systems that cannot flush a folder say EINVAL; there is nothing more to do there. */
static int folder_flush(const char *folder, Error *e) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return file_error(e, "cannot open folder", folder);
    int failed = fsync(fd) && errno != EINVAL;
    if (failed) file_error(e, "cannot flush folder", folder);
    close(fd);
    return failed ? -1 : 0;
}

/* Opens the temporary file and locks it. The lock is held until after the rename, so a second writer that opened the same inode finds, once
 * it has the lock, that the name no longer leads there, and opens anew. */
static int open_temporary(const char *path, Error *e) {
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0) return file_error(e, "cannot create file", path);
        struct stat mine, named;
        const char *hint = "wait for the other run or give this one its own folder";
        if (file_lock(fd, path, "cannot create file", "another writer of the same file", hint, e)) {
            close(fd);
            return -1;
        }
        if (fstat(fd, &mine)) {
            file_error(e, "cannot inspect file", path);
        } else if (lstat(path, &named) || mine.st_ino != named.st_ino || mine.st_dev != named.st_dev) {
            close(fd);
            continue;
        } else if (ftruncate(fd, 0)) {
            file_error(e, "cannot empty file", path);
        } else return fd;
        close(fd);
        return -1;
    }
}

int file_create(FileOut *f, const char *path, Error *e) {
    memset(f, 0, sizeof *f);
    static const char suffix[] = ".partial";
    size_t length = strlen(path);
    if (length + sizeof suffix > sizeof f->temporary)
        return error_what(e, "path too long"), error_where(e, "%.100s...", path),
               error_expected(e, "at most %zu bytes", sizeof f->temporary - sizeof suffix);
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return error_what(e, "cannot write file"), error_where(e, "%s", path),
               error_found(e, S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe"), error_expected(e, "a regular file or none");
    memcpy(f->path, path, length + 1);
    memcpy(f->temporary, path, length);
    memcpy(f->temporary + length, suffix, sizeof suffix);
    int fd = open_temporary(f->temporary, e);
    if (fd < 0) return -1;
    f->stream = fdopen(fd, "w");
    if (!f->stream) {
        file_error(e, "cannot open stream", f->temporary);
        unlink(f->temporary);
        close(fd);
        return -1;
    }
    setvbuf(f->stream, NULL, _IOFBF, WRITE_BUFFER);
    return 0;
}

int file_commit(FileOut *f, Error *e) {
    if (!f->stream) return error_what(e, "file is not open for writing"), error_where(e, "%s", f->path);
    char folder[PATH_SIZE];
    path_folder(folder, f->path);
    /* A write that failed earlier leaves its mark on the stream; by now errno is gone, so the reason is asked for once more by flushing. */
    errno = 0;
    int failed = fflush(f->stream) || ferror(f->stream);
    if (failed && !errno) errno = EIO;
    if (failed || fsync(fileno(f->stream)) || rename(f->temporary, f->path)) {
        file_error(e, "cannot write file", f->path);
        file_abandon(f);
        return -1;
    }
    int closed = fclose(f->stream);
    f->stream = NULL;
    if (closed) return file_error(e, "cannot close file", f->path);
    return folder_flush(folder, e);
}

void file_abandon(FileOut *f) {
    if (!f->stream) return;
    unlink(f->temporary);
    fclose(f->stream);
    f->stream = NULL;
}

int file_write(const char *path, const void *data, size_t size, Error *e) {
    FileOut f;
    if (file_create(&f, path, e)) return -1;
    if (size && fwrite(data, 1, size, f.stream) != size) {
        file_error(e, "cannot write file", path);
        file_abandon(&f);
        return -1;
    }
    return file_commit(&f, e);
}

int file_copy(const char *from, const char *to, Error *e) {
    FileOut f;
    struct stat info;
    int fd = open_to_read(from, &info, e), result = -1;
    if (fd < 0) return -1;
    char *chunk = mem_new(1, COPY_CHUNK, "copy buffer", e);
    if (!chunk || file_create(&f, to, e)) goto end;
    for (;;) {
        ssize_t n = read(fd, chunk, COPY_CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) {
            result = file_commit(&f, e);
            break;
        }
        if (n < 0 || fwrite(chunk, 1, (size_t)n, f.stream) != (size_t)n) {
            file_error(e, n < 0 ? "cannot read file" : "cannot write file", n < 0 ? from : to);
            file_abandon(&f);
            break;
        }
    }
end:
    free(chunk);
    close(fd);
    return result;
}

/* ---- folders and paths ---- */

int folder_make(const char *path, Error *e) {
    char part[PATH_SIZE], parent[PATH_SIZE];
    size_t n = strlen(path);
    if (!n || n >= sizeof part)
        return error_what(e, n ? "path too long" : "empty path"), error_where(e, "%.100s", path),
               error_expected(e, "1 to %d bytes", PATH_SIZE - 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        memcpy(part, path, i);
        part[i] = 0;
        struct stat info;
        if (stat(part, &info) == 0) {
            if (S_ISDIR(info.st_mode)) continue;
            return error_what(e, "cannot make folder"), error_where(e, "%s", part), error_found(e, "a file of that name"),
                   error_hint(e, "choose another name");
        }
        if (mkdir(part, 0777) == 0) {
            path_folder(parent, part);
            if (folder_flush(parent, e)) return -1;
        } else if (errno != EEXIST) return file_error(e, "cannot make folder", part);
    }
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

int folder_remove(const char *path, Error *e) {
    struct stat info;
    if (lstat(path, &info)) return errno == ENOENT ? 0 : file_error(e, "cannot inspect folder", path);
    if (!S_ISDIR(info.st_mode))
        return error_what(e, "cannot remove folder"), error_where(e, "%s", path), error_found(e, "not a folder"),
               error_expected(e, "a folder");
    /* Depth first, and links are removed rather than followed, so nothing outside the folder is touched. */
    return nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) ? file_error(e, "cannot remove folder", path) : 0;
}

int folder_rename(const char *from, const char *to, Error *e) {
    char old_parent[PATH_SIZE], new_parent[PATH_SIZE];
    if (rename(from, to)) return file_error(e, "cannot rename folder", from);
    path_folder(old_parent, from);
    path_folder(new_parent, to);
    if (folder_flush(new_parent, e)) return -1;
    return strcmp(old_parent, new_parent) ? folder_flush(old_parent, e) : 0;
}

int path_join(char out[PATH_SIZE], const char *folder, const char *name, Error *e) {
    int alone = name[0] == '/' || !folder[0], slash = !alone && folder[strlen(folder) - 1] != '/';
    int n = alone ? snprintf(out, PATH_SIZE, "%s", name) : snprintf(out, PATH_SIZE, "%s%s%s", folder, slash ? "/" : "", name);
    if (n < 0 || n >= PATH_SIZE)
        return error_what(e, "path too long"), error_where(e, "%.100s/%.100s", folder, name),
               error_expected(e, "at most %d bytes", PATH_SIZE - 1);
    return 0;
}

void path_folder(char out[PATH_SIZE], const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    while (n > 1 && path[n - 1] == '/') n--;
    if (n >= PATH_SIZE) n = PATH_SIZE - 1;
    if (!n) path = ".", n = 1;
    memcpy(out, path, n);
    out[n] = 0;
}

/* ---- hashes ---- */

static void hash_hex(XXH128_hash_t hash, char out[HASH_TEXT]) {
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, hash);
    for (size_t i = 0; i < sizeof bytes.digest; i++) snprintf(out + 2 * i, 3, "%02x", bytes.digest[i]);
}

void hash_bytes(const void *data, size_t size, char out[HASH_TEXT]) { hash_hex(XXH3_128bits(data, size), out); }

int hash_file(const char *path, char out[HASH_TEXT], Error *e) {
    struct stat info;
    int fd = open_to_read(path, &info, e), result = -1;
    if (fd < 0) return -1;
    XXH3_state_t *state = XXH3_createState();
    char *chunk = mem_new(1, COPY_CHUNK, "hash buffer", e);
    if (!chunk) goto end;
    if (!state) {
        error_what(e, "out of memory"), error_where(e, "hash state");
        goto end;
    }
    XXH3_128bits_reset(state);
    for (;;) {
        ssize_t n = read(fd, chunk, COPY_CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            file_error(e, "cannot read file", path);
            break;
        }
        if (n == 0) {
            hash_hex(XXH3_128bits_digest(state), out);
            result = 0;
            break;
        }
        XXH3_128bits_update(state, chunk, (size_t)n);
    }
end:
    free(chunk);
    XXH3_freeState(state);
    close(fd);
    return result;
}

uint64_t hash64(const void *data, size_t size, uint64_t seed) { return XXH3_64bits_withSeed(data, size, seed); }

int64_t file_lines(const char *path) {
    const void *map;
    size_t size;
    int64_t n = 0;
    if (file_map(path, &map, &size, NULL)) return 0;
    for (const char *at = map, *end = at + size; (at = memchr(at, '\n', (size_t)(end - at))); at++) n++;
    file_unmap(map, size);
    return n;
}

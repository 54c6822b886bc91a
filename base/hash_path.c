/* hash_path.c - owns the hash of what stands at a path, a file or a folder with all below it. Refuses what cannot be read, and folders too deep. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEPTH = 32 };

static int not_dot(const struct dirent *entry) { return strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."); }

static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* Appends "name hash\n" for every file below `folder`. */
static int folder_list(const char *folder, const char *prefix, int depth, char **text, size_t *used, size_t *cap, Error *e) {
    struct dirent **entries;
    int n = scandir(folder, &entries, not_dot, by_bytes), result = 0;
    if (n < 0) return error_what(e, "cannot read folder"), error_where(e, "%s", folder), error_found(e, "%s", strerror(errno));
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE], name[PATH_SIZE], hash[HASH_TEXT];
        struct stat info;
        if (result || path_join(path, folder, entries[i]->d_name, e) || path_join(name, prefix, entries[i]->d_name, e)) {
            result = -1;
        } else if (stat(path, &info)) {
            result = error_what(e, "cannot inspect file"), error_where(e, "%s", path), error_found(e, "%s", strerror(errno));
        } else if (S_ISDIR(info.st_mode)) {
            result = depth >= DEPTH ? (error_what(e, "folders too deep"), error_where(e, "%s", path), error_expected(e, "%d levels", DEPTH))
                                    : folder_list(path, name, depth + 1, text, used, cap, e);
        } else if (hash_file(path, hash, e) || mem_grow(text, cap, *used + strlen(name) + HASH_TEXT + 2, 1, "folder listing", e)) {
            result = -1;
        } else {
            *used += (size_t)sprintf(*text + *used, "%s %s\n", name, hash);
        }
        free(entries[i]);
    }
    free(entries);
    return result;
}

int hash_path(const char *path, char out[HASH_TEXT], Error *e) {
    struct stat info;
    if (stat(path, &info))
        return error_what(e, "cannot inspect file"), error_where(e, "%s", path), error_found(e, "%s", strerror(errno)),
               error_hint(e, "check the path");
    if (!S_ISDIR(info.st_mode)) return hash_file(path, out, e);
    char *text = NULL;
    size_t used = 0, cap = 0;
    int result = folder_list(path, "", 0, &text, &used, &cap, e);
    if (!result) hash_bytes(text ? text : "", used, out);
    free(text);
    return result;
}

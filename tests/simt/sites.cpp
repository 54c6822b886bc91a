/* sites.cpp - see sites.h. */
#include "tests/simt/sites.h"

#include <dlfcn.h>
#include <limits.h>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <unistd.h>
#include <unordered_map>
#include <vector>

enum { AT_ONCE = 512 }; /* addresses in a command line */

static std::vector<SimtSite> keyed;
static std::unordered_map<uintptr_t, SimtSite> found;
static std::set<std::string> names; /* which keep file names alive */

uintptr_t site_key(SimtSite site) {
    for (size_t i = 0; i < keyed.size(); i++)
        if (keyed[i].file == site.file && keyed[i].line == site.line) return i + 1;
    keyed.push_back(site);
    return keyed.size();
}

int site_is_key(uintptr_t key) { return key <= keyed.size(); }

/* As the compiler was given it: without the folder it was started in. */
static std::string path_short(const std::string &path) {
    char here[PATH_MAX];
    std::string prefix = getcwd(here, sizeof here) ? std::string(here) + "/" : "";
    std::string rest = !prefix.empty() && path.compare(0, prefix.size(), prefix) == 0 ? path.substr(prefix.size()) : path;
    return rest.compare(0, 2, "./") == 0 ? rest.substr(2) : rest;
}

static int is_wrapper(const std::string &path) {
    for (const char *name : { "/device.cuh", "/ptx.cuh", "/simt.h" }) {
        size_t n = strlen(name);
        if (path.size() >= n && path.compare(path.size() - n, n, name) == 0) return 1;
    }
    return 0;
}

/* Lines of `addr2line -a -i`: an address, then the line, then those it was inlined into. */
static void answer_read(FILE *f, uintptr_t base) {
    char line[PATH_MAX + 32];
    uintptr_t at = 0;
    int settled = 0;
    while (fgets(line, sizeof line, f)) {
        if (!strncmp(line, "0x", 2)) {
            at = base + strtoull(line, NULL, 16);
            settled = 0;
            continue;
        }
        char *colon = strrchr(line, ':');
        if (!colon || settled || line[0] == '?') continue;
        std::string path(line, colon);
        settled = !is_wrapper(path);
        if (!settled && found[at].file) continue; /* the innermost, where all are wrappers */
        found[at] = SimtSite{ names.insert(path_short(path)).first->c_str(), atoi(colon + 1) };
    }
}

void sites_find(const uintptr_t *keys, size_t n) {
    for (size_t first = 0; first < n; first += AT_ONCE) {
        std::unordered_map<std::string, std::pair<uintptr_t, std::string>> asked; /* by program or library */
        for (size_t i = first; i < n && i < first + AT_ONCE; i++) {
            Dl_info info;
            if (site_is_key(keys[i]) || found.count(keys[i]) || !dladdr((void *)keys[i], &info)) continue;
            found[keys[i]] = SimtSite{ NULL, 0 };
            char text[24];
            snprintf(text, sizeof text, " 0x%lx", (unsigned long)(keys[i] - (uintptr_t)info.dli_fbase));
            auto &entry = asked[info.dli_fname];
            entry.first = (uintptr_t)info.dli_fbase;
            entry.second += text;
        }
        for (const auto &entry : asked) {
            FILE *f = popen(("addr2line -a -i -e '" + entry.first + "'" + entry.second.second).c_str(), "r");
            if (!f) continue;
            answer_read(f, entry.second.first);
            pclose(f);
        }
    }
}

SimtSite site_of(uintptr_t key) {
    if (key == 0) return SimtSite{ NULL, 0 };
    if (site_is_key(key)) return keyed[key - 1];
    sites_find(&key, 1);
    return found[key];
}

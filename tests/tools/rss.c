/* rss FILE PROGRAM ARGUMENTS... - runs the program and appends the most anonymous memory that it had resident, in bytes, to FILE: what it allocated and
 * touched. Pages of files (libraries) are left out, because how many of them are mapped depends on what else the machine does. Looks every
 * PAUSE microseconds. Exits as the program does. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAUSE = 1000 };

static long long anonymous(pid_t pid) {
    char path[64], line[256];
    long long kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "RssAnon:", 8)) sscanf(line + 8, "%lld", &kilobytes);
    if (f) fclose(f);
    return kilobytes * 1024;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int status;
    long long most = 0;
    pid_t child = fork(), got;
    if (child == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    if (child < 0) return 1;
    while ((got = waitpid(child, &status, WNOHANG)) == 0) {
        long long now = anonymous(child);
        most = now > most ? now : most;
        usleep(PAUSE);
    }
    FILE *f = fopen(argv[1], "a");
    if (got != child || !f || fprintf(f, "%lld\n", most) < 0 || fclose(f)) return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

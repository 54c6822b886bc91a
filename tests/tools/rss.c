/* rss FILE PROGRAM ARGUMENTS... - runs the program and appends the most memory that it had resident, in bytes, to FILE. Exits as the
 * program does. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int status;
    struct rusage used;
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &used) != child) return 1;
    FILE *f = fopen(argv[1], "a");
    if (!f || fprintf(f, "%lld\n", (long long)used.ru_maxrss * 1024) < 0 || fclose(f)) return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

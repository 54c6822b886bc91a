/* world_watch.c - the watchdog of a run of several processes. Owns its thread, what this rank is waiting for, and the words that are said
 * when that does not come. Calls nothing of MPI, which a lost rank may have left waiting.
 *
 * SIGTERM is blocked in all threads and taken by this one, so that it can look around and speak before it ends the process. */
#include "kernels/comm/world_private.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NAME = 128, LINE = 512, GAP_MOST = 2 /* seconds between two looks, of which there is one a second */ };

static struct {
    pthread_mutex_t lock;
    char what[NAME];
    int depth, limited;
    double since;
} now = { .lock = PTHREAD_MUTEX_INITIALIZER };
static _Atomic int limit = WORLD_WATCHDOG_SECONDS, runs, stops, peers_end, agreed;

static World world;
static WorldSeat seats[WORLD_RANKS_MOST];
static int stopped[WORLD_RANKS_MOST]; /* by node rank: looks in a row, one a second, that found it stopped */
static WorldBoard *board, own_board; /* own_board: once the ranks may leave, and take the shared one with them */
static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;
static pid_t launcher;
static pthread_t thread;

int process_look(pid_t pid, char *state, int64_t *started) {
    char path[64], text[1024];
    long long ticks;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    if (n <= 0) return -1;
    text[n] = 0;
    const char *rest = strrchr(text, ')'); /* a program's name may hold anything */
    if (!rest || sscanf(rest, ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lld", state, &ticks) != 2)
        return -1;
    *started = ticks;
    return 0;
}

static int seat_gone(const WorldSeat *s) {
    char state = 0;
    int64_t started = 0;
    return process_look(s->pid, &state, &started) || started != s->started || state == 'Z' || state == 'X';
}

/* The index of a rank of this node that is gone without having said goodbye, or -1. */
static int peer_gone(void) {
    if (atomic_load(&peers_end)) return -1;
    for (int i = 0; i < world.node_size; i++)
        if (seats[i].pid && i != world.node_rank && !atomic_load(&board->by_rank[i].left) && seat_gone(&seats[i]) &&
            !atomic_load(&board->by_rank[i].left))
            return i;
    return -1;
}

static void stopped_count(void) {
    char state = 0;
    int64_t started;
    for (int i = 0; i < world.node_size; i++)
        stopped[i] = seats[i].pid && !process_look(seats[i].pid, &state, &started) && started == seats[i].started && state == 'T' ? stopped[i] + 1 : 0;
}

/* Why nobody answers, as far as this node can see: a rank that is stopped, or one that does not wait as this one does. */
static const char *suspect(char text[NAME]) {
    int who = -1;
    for (int i = 0; i < world.node_size && who < 0; i++)
        if (stopped[i]) who = i;
    for (int i = 0; i < world.node_size && who < 0 && !atomic_load(&peers_end); i++)
        if (i != world.node_rank && !atomic_load(&board->by_rank[i].left) && !atomic_load(&board->by_rank[i].waits)) who = i;
    text[0] = 0;
    if (who >= 0) snprintf(text, NAME, "; rank %d (pid %d) %s", seats[who].rank, (int)seats[who].pid, stopped[who] ? "is stopped" : "does not come");
    return text;
}

/* A rank that has been stopped for as long as an operation may take, or -1. */
static int peer_stopped(void) {
    for (int i = 0; i < world.node_size; i++)
        if (stopped[i] > atomic_load(&limit)) return i;
    return -1;
}

/* The rank of this node, other than this one, that has said why the run ends; -1 for none. Claims that for this one. */
static int other_failed(void) {
    int who = 0;
    atomic_compare_exchange_strong(&board->failing, &who, 1 + world.rank);
    return who == 1 + world.rank ? -1 : who - 1;
}

/* One line, in one write, and the end. What stdout still holds is not waited for: its lock may be held by a thread that waits. */
__attribute__((format(printf, 1, 2))) static void end(const char *format, ...) {
    char line[LINE];
    int n = snprintf(line, sizeof line, "rlaifv: rank %d: ", world.rank);
    va_list args;
    va_start(args, format);
    n += vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    if (n > LINE - 2) n = LINE - 2;
    line[n++] = '\n';
    if (write(2, line, (size_t)n) < 0) _exit(1);
    _exit(1);
}

void watch_signal(int block) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void launcher_ends(const char *what) {
    if (atomic_load(&agreed)) _exit(atomic_load(&agreed));
    if (!*what) { /* nothing was waited for: as if there were no watchdog */
        signal(SIGTERM, SIG_DFL);
        watch_signal(0);
        raise(SIGTERM);
        _exit(1);
    }
    int i = peer_gone(), who = atomic_load(&board->failing); /* not claimed: the launcher may have its own reasons */
    if (who) end("%s: ended by the launcher (SIGTERM), because rank %d failed", what, who - 1);
    if (i >= 0) end("%s: ended by the launcher (SIGTERM); rank %d (pid %d) is gone", what, seats[i].rank, (int)seats[i].pid);
    end("%s: ended by the launcher (SIGTERM)", what);
}

static double clock_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Takes what is waited for now, and for how many seconds; an empty name when nothing is. A process that was itself stopped, with its whole job
 * as batch systems do, has not waited meanwhile: of a longer gap between two looks a second counts. */
static double now_take(char what[NAME], int *limited, double *last) {
    pthread_mutex_lock(&now.lock);
    double t = clock_seconds();
    if (t - *last > GAP_MOST) now.since += t - *last - 1;
    *last = t;
    double seconds = t - now.since;
    snprintf(what, NAME, "%s", now.depth ? now.what : "");
    *limited = now.limited;
    pthread_mutex_unlock(&now.lock);
    return seconds;
}

static void look(int signal_got, double *last) {
    char what[NAME], why[NAME];
    int limited;
    double waited = now_take(what, &limited, last);
    if (signal_got == SIGTERM) launcher_ends(what);
    if (getppid() != launcher) end("%s: the launcher is gone", *what ? what : "at work");
    stopped_count();
    if (!*what) return;
    int i = peer_gone();
    int late = (limited && waited > atomic_load(&limit)) || peer_stopped() >= 0, who = i >= 0 || late ? other_failed() : -1;
    if (late) end("%s: no answer for %d s%s", what, atomic_load(&limit), suspect(why));
    if (who >= 0) end("%s: ended, because rank %d failed", what, who);
    if (i >= 0) end("%s: rank %d (pid %d) is gone", what, seats[i].rank, (int)seats[i].pid);
}

static void *watch_run(void *unused) {
    sigset_t set;
    double last = clock_seconds();
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    while (!atomic_load(&stops)) {
        int got = sigtimedwait(&set, NULL, &(struct timespec){ .tv_sec = 1 });
        if (atomic_load(&stops)) break;
        pthread_mutex_lock(&looking);
        look(got, &last);
        pthread_mutex_unlock(&looking);
    }
    return unused;
}

int watch_start(const World *w, const WorldSeat *peers, WorldBoard *shared, Error *e) {
    world = *w;
    board = shared;
    launcher = getppid();
    for (int i = 0; i < w->node_size; i++) {
        seats[i] = peers[i];
        if (seat_gone(&seats[i])) seats[i].pid = 0;
    }
    int code = pthread_create(&thread, NULL, watch_run, NULL);
    if (code) return error_what(e, "cannot start the watchdog"), error_found(e, "%s", strerror(code));
    atomic_store(&runs, 1);
    return 0;
}

void watch_peers_end(int status) {
    pthread_mutex_lock(&looking);
    atomic_store(&agreed, status);
    atomic_store(&peers_end, 1);
    board = &own_board;
    pthread_mutex_unlock(&looking);
}

void watch_stop(void) {
    if (!atomic_load(&runs)) return;
    atomic_store(&runs, 0);
    atomic_store(&stops, 1);
    pthread_kill(thread, SIGTERM); /* it looks at once */
    pthread_join(thread, NULL);
}

static void watch(const char *what, int limited) {
    if (!atomic_load(&runs)) return;
    pthread_mutex_lock(&now.lock);
    if (!now.depth++) {
        snprintf(now.what, sizeof now.what, "%s", what);
        now.limited = limited;
        now.since = clock_seconds();
        atomic_store(&board->by_rank[world.node_rank].waits, 1);
    }
    pthread_mutex_unlock(&now.lock);
}
void world_watch(const char *what) { watch(what, 1); }
void world_watch_untimed(const char *what) { watch(what, 0); }

void world_unwatch(void) {
    if (!atomic_load(&runs)) return;
    pthread_mutex_lock(&now.lock);
    if (!--now.depth) atomic_store(&board->by_rank[world.node_rank].waits, 0);
    pthread_mutex_unlock(&now.lock);
}

void world_watchdog_set(int seconds) { atomic_store(&limit, seconds); }

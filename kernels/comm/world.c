/* world.c - see world.h. Owns the start and the end of MPI, who shares a node, and the end of a run that fails.
 *
 * Refuses launchers that start several processes which MPI does not see as one run: each would do all the work, into the same files. */
#include "kernels/comm/world_private.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ABORT_SECONDS = 5 };

static World world = { 0, 1, 0, 1 };
static int has_mpi;
static WorldBoard *board;
static MPI_Comm node = MPI_COMM_NULL;
static MPI_Win window = MPI_WIN_NULL;

const World *world_self(void) { return &world; }

/* ---- who started us ---- */

static int setting(const char *name) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : -1;
}

/* How many processes the launcher says it started: 0 for no launcher, -1 where it does not say. */
static int launcher_size(void) {
    static const char *const sizes[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE" };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (setting(sizes[i]) > 0) return setting(sizes[i]);
    /* a batch script has SLURM's variables too, but no step; its size counts where several processes make it up */
    if (setting("SLURM_STEP_ID") >= 0 && setting("SLURM_STEP_NUM_TASKS") > 1) return setting("SLURM_STEP_NUM_TASKS");
    return getenv("PMIX_RANK") || getenv("PMI_RANK") ? -1 : 0;
}

static int mpi_check(int code, const char *call, Error *e) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS) return 0;
    MPI_Error_string(code, text, &length);
    error_what(e, "%.*s failed", (int)strcspn(call, "("), call);
    error_where(e, "rank %d", world.rank);
    return error_found(e, "%s", text);
}
#define MPI_TRY(call) mpi_check((call), #call, e)

/* ---- open ---- */

static int mpi_start(int expected, Error *e) {
    int level;
    if (MPI_TRY(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level))) return -1;
    has_mpi = 1;
    if (MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN)) || MPI_TRY(MPI_Comm_rank(MPI_COMM_WORLD, &world.rank)) ||
        MPI_TRY(MPI_Comm_size(MPI_COMM_WORLD, &world.size)))
        return -1;
    if (expected > 0 && world.size != expected) {
        error_what(e, "the launcher and MPI do not agree on the number of processes");
        error_found(e, "%d started, %d in MPI's world", expected, world.size);
        return error_hint(e, "start with the mpirun of the MPI this program was built with, or with srun --mpi=pmix");
    }
    if (world.size > WORLD_RANKS_MOST) {
        error_what(e, "too many ranks"), error_found(e, "%d", world.size);
        return error_expected(e, "at most %d", WORLD_RANKS_MOST);
    }
    return 0;
}

static int node_find(Error *e) {
    MPI_Aint bytes;
    int unit;
    if (MPI_TRY(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world.rank, MPI_INFO_NULL, &node)) ||
        MPI_TRY(MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN)) || MPI_TRY(MPI_Comm_rank(node, &world.node_rank)) ||
        MPI_TRY(MPI_Comm_size(node, &world.node_size)))
        return -1;
    bytes = world.node_rank ? 0 : (MPI_Aint)sizeof *board;
    if (MPI_TRY(MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, node, &board, &window)) ||
        MPI_TRY(MPI_Win_shared_query(window, 0, &bytes, &unit, &board)))
        return -1;
    if (!world.node_rank) memset((void *)board, 0, (size_t)bytes);
    return 0;
}

static int seats_take(WorldSeat *seats, Error *e) {
    WorldSeat mine = { .rank = world.rank, .pid = getpid() };
    char state;
    if (process_look(mine.pid, &state, &mine.started)) mine.started = -1;
    return MPI_TRY(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, seats, sizeof mine, MPI_BYTE, node));
}

const World *world_open(Error *e) {
    WorldSeat seats[WORLD_RANKS_MOST];
    int expected = launcher_size();
    if (!expected) return &world;
    watch_signal(1);
    if (mpi_start(expected, e)) return NULL;
    if (world.size == 1) return watch_signal(0), &world;
    return node_find(e) || seats_take(seats, e) || watch_start(&world, seats, board, e) ? NULL : &world;
}

const World *world_here(void) { return &world; }

/* ---- the end ---- */

int world_close(int status) {
    Error e_own, *e = &e_own;
    int64_t all = status;
    if (!has_mpi) return status;
    if (world.size > 1) {
        world_watch_untimed("the end of the run");
        if (world_meet("the end of the run", &all, e)) world_fail(e);
        world_unwatch();
        fflush(stdout); /* the launcher may end this rank from here on */
        watch_peers_end((int)all);
        world_watch("the end of MPI");
        atomic_store(&board->by_rank[world.node_rank].left, 1);
        board = NULL;
        if (MPI_TRY(MPI_Win_free(&window)) || MPI_TRY(MPI_Comm_free(&node))) world_fail(e);
    }
    if (MPI_TRY(MPI_Finalize())) world_fail(e);
    watch_stop();
    return (int)all;
}

_Noreturn void world_fail(const Error *e) {
    char text[sizeof(Error) + 64];
    int several = has_mpi && world.size > 1, none = 0;
    int first = !several || !board || atomic_compare_exchange_strong(&board->failing, &none, 1 + world.rank);
    fflush(stdout);
    if (first && several) fprintf(stderr, "rlaifv: rank %d: %s\n", world.rank, error_text(e, text, sizeof text));
    else if (first) fprintf(stderr, "rlaifv: %s\n", error_text(e, text, sizeof text));
    fflush(stderr);
    if (!several) exit(1);
    if (first) {
        alarm(ABORT_SECONDS); /* its default action ends the process, if MPI_Abort does not */
        MPI_Abort(MPI_COMM_WORLD, 1);
    } else {
        sleep(ABORT_SECONDS); /* the rank that spoke ends the run */
    }
    _exit(1);
}
